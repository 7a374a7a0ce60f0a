"""What an open raster offers, whatever file it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import ShapeError, UsageError
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.rasters import GeoReference


@dataclass(frozen=True)
class RasterReader:
    """An open raster. Windows may be read from any thread, one at a time."""

    path: Path
    height: int
    width: int
    dtype: np.dtype[Any]
    """Type of the pixels; where bands differ, the type that holds them all."""
    band_names: tuple[str, ...]
    """A name for each band that is read: the file's description of it, else its number."""
    geo: GeoReference | None
    """Place on the ground, where the file gives one."""
    nodata: float | None
    """Value that the file declares to hold nothing; NaN takes its place in float pixels."""
    palette: NDArray[np.uint8] | None
    """Colours of a palette file that is read as indices, (N, 3)."""
    block_size: tuple[int, int]
    """Height and width of the blocks that the file is stored in."""
    _read: Callable[[Window], tuple[NDArray[Any], NDArray[np.bool_]]]
    spacing: tuple[float, float] | None = field(default=None, kw_only=True)
    """Millimetres from one row to the next and from one column to the next, where known."""

    @property
    def count(self) -> int:
        """Number of bands that are read."""
        return len(self.band_names)

    @property
    def window(self) -> Window:
        """The whole raster."""
        return Window(0, 0, self.height, self.width)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return the pixels of a window and which of them hold data.

        A pixel holds data where at least one of the bands read is neither the file's nodata value
        nor not finite, and where the file's internal mask and its alpha band are not 0.

        Args:
            window: Lies inside the raster.

        Returns:
            Pixels (height, width, count), nodata of float bands replaced by NaN; valid
            (height, width).

        Raises:
            ShapeError: If the window leaves the raster or is empty.
            UnreadableFileError: If the file is truncated or damaged there.
        """
        bottom, right = window.row + window.height, window.col + window.width
        inside = window.row >= 0 and window.col >= 0
        inside = inside and bottom <= self.height and right <= self.width
        if not inside or window.height < 1 or window.width < 1:
            raise ShapeError(f"{window} is not inside {self.path}, {self.height}x{self.width}")
        return self._read(window)


def choose_bands(path: Path, names: Sequence[str], bands: Sequence[int | str]) -> list[int]:
    """Return the numbers, from 1, of bands given by number or by name.

    Raises:
        UsageError: If a band is not there, named twice in the file, or none is given.
    """
    chosen = []
    listed = ", ".join(f"{i} {name!r}" if name != str(i) else name for i, name in _numbered(names))
    for band in bands:
        if isinstance(band, int) or (band.isdecimal() and band not in names):
            matches = [int(band)] if 1 <= int(band) <= len(names) else []
        else:
            matches = [i for i, name in _numbered(names) if name.lower() == band.lower()]
        if len(matches) != 1:
            problem = "has no band" if not matches else f"has {len(matches)} bands of the name"
            raise UsageError(f"{path} {problem} {band!r}; choose by number from: {listed}")
        chosen += matches
    if not chosen:
        raise UsageError(f"no band is chosen of {path}; choose from: {listed}")
    return chosen


def _numbered(names: Sequence[str]) -> list[tuple[int, str]]:
    return list(enumerate(names, start=1))
