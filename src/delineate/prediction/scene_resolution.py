"""Bring a raster to the pixel size that the model was trained at, and tell what was done."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from delineate.errors import DataError, UsageError
from delineate.raster_windows import (
    Grid,
    PixelSize,
    find_pixel_size,
    format_pixel_size,
    is_alike,
    plan_grid,
    read_pixel_size,
)

if TYPE_CHECKING:
    from delineate.raster_windows import RasterReader

Resolution = float | Literal["native"] | None
"""Metres of a pixel that rasters are brought to; ``native`` takes them as they are, None brings
them to the size that the model was trained at, where both are known."""

MAX_FACTOR = 8.0
"""Farthest that a raster is brought to the model's pixel size without being asked for."""


@dataclass(frozen=True)
class Resampling:
    """What was done about the size of a raster's pixels."""

    own: PixelSize
    """The raster's."""
    trained: PixelSize
    """Those that the network read."""

    def describe(self) -> str:
        """Return it in words."""
        return (
            f"read at {format_pixel_size(self.trained)} a pixel instead of its own "
            f"{format_pixel_size(self.own)}, probabilities resampled back"
        )


def choose_resampling(
    path: Path, own: PixelSize | None, resolution: Resolution, trained: PixelSize | None
) -> Resampling | None:
    """Return how a raster is resampled; None reads it as it is.

    Args:
        path: The raster, for messages.
        own: Size of its pixels, where known.
        resolution: What the user said.
        trained: Size of the training images' pixels, where the model knows it.

    Raises:
        UsageError: If a resolution is given and the raster does not tell its own.
        DataError: If the raster is far from what the model was trained at.
    """
    if resolution == "native":
        return None
    if resolution is not None:
        if own is None:
            raise UsageError(
                f"{path} does not say how large its pixels are, so they cannot be brought to "
                f"{format_pixel_size((resolution, resolution))}; leave --resolution out, or write "
                "the file with its reference system"
            )
        return Resampling(own, (resolution, resolution))
    if own is None or trained is None or is_alike(own, trained):
        return None
    factor = max(max(a / b, b / a) for a, b in zip(own, trained, strict=True))
    if factor > MAX_FACTOR:
        raise DataError(
            f"{path} has pixels of {format_pixel_size(own)} and the model was trained at "
            f"{format_pixel_size(trained)}, {factor:.0f} times off: what it knows cannot be seen "
            "there; give --resolution native to segment it as it is, or --resolution METRES"
        )
    return Resampling(own, trained)


def choose_grid(
    reader: RasterReader, resolution: Resolution, trained: PixelSize | None
) -> tuple[Grid, Resampling] | None:
    """Return the grid that an open raster is read on; None is its own. See `choose_resampling`."""
    own = find_pixel_size(reader.geo, reader.spacing, reader.height)
    chosen = choose_resampling(reader.path, own, resolution, trained)
    if chosen is None:
        return None
    return plan_grid(reader.height, reader.width, chosen.own, chosen.trained), chosen


@dataclass(frozen=True)
class SizeComparison:
    """Which files have other pixels than the model was trained at, by their headers."""

    different: frozenset[Path] = frozenset()
    unknown: frozenset[Path] = frozenset()
    """Those that do not tell."""


def compare_sizes(
    paths: Iterable[Path], resolution: Resolution, trained: PixelSize | None
) -> SizeComparison:
    """Compare files with the pixel size that the model was trained at, where that decides.

    Args:
        paths: Images.
        resolution: What the user said; anything but None decides by itself.
        trained: Size of the training images' pixels, where the model knows it.
    """
    if resolution is not None or trained is None:
        return SizeComparison()
    different, unknown = set(), set()
    for path in paths:
        try:
            own = read_pixel_size(path)
        except DataError:
            # Whoever reads the file says what is wrong with it.
            continue
        if own is None:
            unknown.add(path)
        elif not is_alike(own, trained):
            different.add(path)
    return SizeComparison(frozenset(different), frozenset(unknown))
