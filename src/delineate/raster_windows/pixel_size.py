"""How large the pixels of an image are, and images brought to another size of pixel."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from delineate.raster_windows.ground import pixel_sides
from delineate.raster_windows.resampling import Grid
from delineate.rasters import image_suffix, read_header

if TYPE_CHECKING:
    from delineate.rasters import GeoReference

PixelSize = tuple[float, float]
"""Height and width of a pixel, in metres."""

TOLERANCE = 0.1
"""Pixel sizes that differ by no more than this share are not worth a resampling; augmentation
changes scales by more."""

_SMALLEST = 1e-10  # metres; at the poles a degree of longitude has no length

_NOWHERE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)

_TELLING_SUFFIXES = (".tif", ".tiff", ".nii", ".nii.gz")
_UNITS = ((1.0, "m"), (1e-3, "mm"), (1e-6, "µm"))


def read_pixel_size(path: Path) -> PixelSize | None:
    """Return the size of a pixel of an image from its header; None where that does not tell.

    Georeferenced images tell it at their middle row; volumes and microscopes by their spacing.

    Raises:
        UnreadableFileError: If the header is damaged.
    """
    if image_suffix(path).lower() not in _TELLING_SUFFIXES:
        return None
    header = read_header(path)
    return find_pixel_size(header.geo, header.spacing, header.size[0])


def find_pixel_size(
    geo: GeoReference | None, spacing: tuple[float, float] | None, height: int
) -> PixelSize | None:
    """Return the size of a pixel at the middle row of an image; None where it is not known.

    Args:
        geo: Where the image lies; degrees are taken as metres there, on the WGS 84 ellipsoid.
        spacing: Millimetres between rows and between columns, where it lies nowhere.
        height: Rows of the image.
    """
    sides, unit = pixel_sides(geo)
    if geo is not None and geo.transform == _NOWHERE:
        # A reference system without a place: rows that run northwards by 1 m are nobody's.
        unit = "px"
    if unit == "m":
        size = sides(height / 2)
    elif spacing is not None:
        size = (spacing[0] / 1000, spacing[1] / 1000)
    else:
        return None
    return size if all(math.isfinite(side) and side > _SMALLEST for side in size) else None


def is_alike(size: PixelSize, other: PixelSize) -> bool:
    """Return whether two sizes differ by no more than `TOLERANCE`, in height and in width."""
    ratios = (size[0] / other[0], size[1] / other[1])
    # A hair more, so that 1.0 and 1.1 m are alike whatever their last digits.
    limit = (1 + TOLERANCE) * (1 + 1e-6)
    return all(1 / limit <= ratio <= limit for ratio in ratios)


def plan_grid(height: int, width: int, size: PixelSize, wanted: PixelSize) -> Grid:
    """Return the grid of an image when its pixels get another size, rounded to whole pixels."""
    new_height = max(1, round(height * size[0] / wanted[0]))
    new_width = max(1, round(width * size[1] / wanted[1]))
    return Grid(height, width, new_height, new_width)


def format_pixel_size(size: PixelSize) -> str:
    """Return a size in words, such as ``0.5 m`` or ``0.7 x 1.2 mm``."""
    scale, unit = next((entry for entry in _UNITS if max(size) >= 0.01 * entry[0]), _UNITS[-1])
    height, width = (f"{side / scale:.3g}" for side in size)
    return f"{height} {unit}" if height == width else f"{height} x {width} {unit}"
