"""How large a pixel is, where the file of an image says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from delineate.raster_windows.ground import pixel_sides
from delineate.rasters import image_suffix, read_raster

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_TELLING_SUFFIXES = (".tif", ".tiff", ".nii", ".nii.gz", ".npy")


class Spacing(NamedTuple):
    """Size of a pixel."""

    size: tuple[float, float]
    """Height and width."""
    unit: str
    """``m`` or ``mm``."""


def read_spacing(path: Path) -> Spacing | None:
    """Return the size of a pixel of an image; None where its file does not tell.

    Georeferenced images tell it in metres, at their middle row; volumes and microscopes in
    millimetres.
    """
    if image_suffix(path).lower() not in _TELLING_SUFFIXES:
        return None
    raster = read_raster(path)
    if raster.spacing is not None:
        return Spacing(raster.spacing, "mm")
    sides, unit = pixel_sides(raster.geo)
    return None if unit == "px" else Spacing(sides(raster.pixels.shape[0] / 2), unit)


def common_unit(spacings: Sequence[Spacing | None]) -> str | None:
    """Return the unit if all images tell the size of their pixels in the same one."""
    units = {None if spacing is None else spacing.unit for spacing in spacings}
    return units.pop() if len(units) == 1 else None
