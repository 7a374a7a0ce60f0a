"""A decoded file, and where its pixels lie on the ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import UnreadableFileError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class GeoReference:
    """Where the pixels of a raster lie on the ground."""

    crs: str | None
    """Coordinate reference system as WKT; None where the file names none."""
    transform: tuple[float, float, float, float, float, float]
    """Affine map (a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f."""


@dataclass(frozen=True)
class Raster:
    """A decoded file."""

    pixels: NDArray[Any]
    """(H, W, C) in the file's own type; palette files hold their indices, (H, W, 1)."""
    palette: NDArray[np.uint8] | None = None
    """Colours of a palette file, (N, 3)."""
    geo: GeoReference | None = None
    """Place on the ground, where the file gives one."""
    nodata: float | None = None
    """Value of pixels that hold nothing, where the file gives one."""
    spacing: tuple[float, float] | None = None
    """Millimetres from one row to the next and from one column to the next, where known."""


@dataclass(frozen=True)
class Header:
    """What a file says before its pixels are decoded."""

    size: tuple[int, int]
    """(height, width) after the orientation of EXIF; of one page, where there are several."""
    orientation: int = 1
    """What EXIF or the TIFF tag says, 1 to 8; 0 where the tag holds no such number."""
    num_pages: int = 1
    """Pictures of this size in the file: slices of a volume or pages of a stack."""
    geo: GeoReference | None = None
    """Place on the ground, where the file gives one."""
    spacing: tuple[float, float] | None = None
    """Millimetres from one row to the next and from one column to the next, where known."""


def apply_palette(raster: Raster, path: Path) -> NDArray[np.uint8]:
    """Return the colours of a palette file, (H, W, 3).

    Raises:
        UnreadableFileError: If an index lies beyond the palette.
    """
    palette = np.zeros((0, 3), np.uint8) if raster.palette is None else raster.palette
    highest = int(raster.pixels.max(initial=0))
    if highest >= len(palette):
        raise UnreadableFileError(
            f"{path} holds the palette index {highest} but its palette has {len(palette)} colours; "
            "write the file again with a whole palette"
        )
    return np.take(palette, raster.pixels[..., 0], axis=0)


def upright(pixels: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo an EXIF orientation (CIPA DC-008, tag 274) on (H, W, ...); 0 counts as upright."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def upright_size(height: int, width: int, orientation: int) -> tuple[int, int]:
    """Return (height, width) once an EXIF orientation is undone."""
    return (width, height) if orientation >= 5 else (height, width)
