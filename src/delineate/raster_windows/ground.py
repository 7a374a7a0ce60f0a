"""How large a pixel is on the ground."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.rasters import GeoReference

Unit = Literal["m2", "px"]

_SEMI_MAJOR = 6378137.0  # WGS 84, metres
_FLATTENING = 1 / 298.257223563


def pixel_areas(geo: GeoReference | None) -> tuple[Callable[[int, int], NDArray[np.float64]], Unit]:
    """Return a function from first row and number of rows to the area of a pixel of each row.

    In a projected reference system it is the area on the map, in square metres. In a geographic
    one, degrees, it is the area on the WGS 84 ellipsoid, which shrinks towards the poles. Without
    a reference system pixels are counted.

    Returns:
        The function, and the unit.
    """
    if geo is None or geo.crs is None:
        return lambda row, count: np.ones(count), "px"
    from rasterio.crs import CRS

    crs = CRS.from_wkt(geo.crs)
    a, b, _, d, e, f = geo.transform
    if crs.is_geographic:
        # The area of a band between two latitudes, from the equator up:
        # https://doi.org/10.3133/pp1395, equation 3-12.
        def areas(row: int, count: int) -> NDArray[np.float64]:
            latitudes = np.radians(f + e * np.arange(row, row + count + 1))
            bands = np.abs(np.diff(_area_below(np.clip(latitudes, -np.pi / 2, np.pi / 2))))
            return np.asarray(bands * np.radians(abs(a)))

        if b == 0 and d == 0:
            return areas, "m2"
        return lambda row, count: np.ones(count), "px"
    metres = float(crs.linear_units_factor[1])
    area = abs(a * e - b * d) * metres**2
    return lambda row, count: np.full(count, area), "m2"


def _area_below(latitudes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the area from the equator to each latitude, for one radian of longitude."""
    eccentricity = np.sqrt(_FLATTENING * (2 - _FLATTENING))
    sine = np.sin(latitudes)
    flat = sine / (1 - (eccentricity * sine) ** 2)
    curved = np.arctanh(eccentricity * sine) / eccentricity
    semi_minor = _SEMI_MAJOR * (1 - _FLATTENING)
    return np.asarray(semi_minor**2 / 2 * (flat + curved))


def pixel_sides(geo: GeoReference | None) -> tuple[Callable[[float], tuple[float, float]], str]:
    """Return a function from a row to the height and width of a pixel there, and their unit.

    Metres where the reference system tells, on the WGS 84 ellipsoid where it is geographic; else 1
    by 1 pixel. Rotated grids have the lengths of their sides.
    """
    if geo is None or geo.crs is None:
        return lambda row: (1.0, 1.0), "px"
    from rasterio.crs import CRS

    crs = CRS.from_wkt(geo.crs)
    a, b, _, d, e, f = geo.transform
    if not crs.is_geographic:
        metres = float(crs.linear_units_factor[1])
        sides = float(np.hypot(b, e)) * metres, float(np.hypot(a, d)) * metres
        return lambda row: sides, "m"

    def sides_at(row: float) -> tuple[float, float]:
        latitude = np.radians(f + e * row)
        squared = _FLATTENING * (2 - _FLATTENING)
        bulge = 1 - squared * np.sin(latitude) ** 2
        north = _SEMI_MAJOR * (1 - squared) / bulge**1.5  # radius along the meridian
        east = _SEMI_MAJOR * np.cos(latitude) / np.sqrt(bulge)  # radius of the parallel
        return float(np.radians(abs(e)) * north), float(np.radians(abs(a)) * east)

    return sides_at, "m"
