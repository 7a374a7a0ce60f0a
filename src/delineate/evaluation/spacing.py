"""How large a pixel is, where the file of an image says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from delineate.raster_windows import PixelSize, read_pixel_size
from delineate.rasters import read_header

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Spacing(NamedTuple):
    """Size of a pixel."""

    size: tuple[float, float]
    """Height and width."""
    unit: str
    """``m`` or ``mm``."""

    @property
    def metres(self) -> PixelSize:
        """The size in metres."""
        scale = 0.001 if self.unit == "mm" else 1.0
        return self.size[0] * scale, self.size[1] * scale


def read_spacing(path: Path) -> Spacing | None:
    """Return the size of a pixel of an image; None where its file does not tell.

    Georeferenced images tell it in metres, at their middle row; volumes and microscopes in
    millimetres.
    """
    size = read_pixel_size(path)
    if size is None:
        return None
    geo = read_header(path).geo
    if geo is not None and geo.crs is not None:
        return Spacing(size, "m")
    return Spacing((size[0] * 1000, size[1] * 1000), "mm")


def common_unit(spacings: Sequence[Spacing | None]) -> str | None:
    """Return the unit if all images tell the size of their pixels in the same one."""
    units = {None if spacing is None else spacing.unit for spacing in spacings}
    return units.pop() if len(units) == 1 else None
