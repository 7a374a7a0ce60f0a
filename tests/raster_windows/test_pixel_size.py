"""What files say of the size of their pixels, and sizes compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.warp import transform

from delineate.raster_windows import (
    Grid,
    find_pixel_size,
    format_pixel_size,
    is_alike,
    plan_grid,
    read_pixel_size,
)
from delineate.rasters import GeoReference, Raster, write_image, write_raster

UTM = CRS.from_epsg(32616).to_wkt()


def test_degrees_are_metres_where_the_image_lies(tmp_path: Path) -> None:
    geo = GeoReference(CRS.from_epsg(4326).to_wkt(), (2e-5, 0, 24.9, 0, -1e-5, 60.2))
    write_image(tmp_path / "a.tif", np.zeros((40, 30, 3), np.uint8), geo)
    found = read_pixel_size(tmp_path / "a.tif")
    assert found is not None
    # Independent: the same pixel in metres of UTM zone 35, whose scale there is 0.9996 to 1.0001.
    lon, lat = 24.9 + 15 * 2e-5, 60.2 - 20 * 1e-5
    x, y = transform("EPSG:4326", "EPSG:32635", [lon, lon + 2e-5, lon], [lat, lat, lat - 1e-5])
    width = np.hypot(x[1] - x[0], y[1] - y[0])
    height = np.hypot(x[2] - x[0], y[2] - y[0])
    assert found == pytest.approx((height, width), rel=5e-4)


def test_feet_and_millimetres_are_metres(tmp_path: Path) -> None:
    feet = GeoReference(CRS.from_epsg(2263).to_wkt(), (2.0, 0, 9.8e5, 0, -2.0, 2e5))
    write_image(tmp_path / "feet.tif", np.zeros((8, 9, 3), np.uint8), feet)
    assert read_pixel_size(tmp_path / "feet.tif") == pytest.approx((0.6096, 0.6096), rel=1e-5)
    spaced = Raster(np.zeros((8, 9, 1), np.uint8), spacing=(0.75, 0.4))
    write_raster(tmp_path / "slice.tif", spaced)
    assert read_pixel_size(tmp_path / "slice.tif") == pytest.approx((0.75e-3, 0.4e-3), rel=1e-5)


def test_what_is_not_told_is_not_known(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((8, 9, 3), np.uint8))
    write_image(tmp_path / "a.tif", np.zeros((8, 9, 3), np.uint8))
    nowhere = GeoReference(None, (0.5, 0, 0, 0, -0.5, 0))
    write_image(tmp_path / "b.tif", np.zeros((8, 9, 3), np.uint8), nowhere)
    assert [read_pixel_size(tmp_path / name) for name in ("a.png", "a.tif", "b.tif")] == [None] * 3
    assert find_pixel_size(GeoReference(UTM, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)), None, 9) is None
    # At the pole a degree of longitude has no length.
    pole = GeoReference(CRS.from_epsg(4326).to_wkt(), (1e-5, 0, 0, 0, -1e-5, 90))
    assert find_pixel_size(pole, None, 0) is None


def test_sizes_within_a_tenth_are_alike() -> None:
    assert is_alike((1.0, 1.0), (1.1, 0.91))
    assert is_alike((1.1, 1.1), (1.0, 1.0))
    assert not is_alike((1.0, 1.0), (1.0, 1.12))
    assert not is_alike((1.0, 1.0), (0.89, 1.0))


def test_grid_has_whole_pixels_and_covers_the_same_ground() -> None:
    assert plan_grid(100, 200, (0.25, 0.5), (0.5, 0.5)) == Grid(100, 200, 50, 200)
    assert plan_grid(3, 3, (0.1, 0.1), (10.0, 10.0)) == Grid(3, 3, 1, 1)
    assert plan_grid(100, 200, (0.25, 0.5), (0.5, 0.5)).back == Grid(50, 200, 100, 200)


def test_sizes_in_words() -> None:
    assert format_pixel_size((0.5, 0.5)) == "0.5 m"
    assert format_pixel_size((0.298, 0.2841)) == "0.298 x 0.284 m"
    assert format_pixel_size((0.00075, 0.0004)) == "0.75 x 0.4 mm"
    assert format_pixel_size((2.5e-7, 2.5e-7)) == "0.25 µm"
    assert format_pixel_size((30.0, 30.0)) == "30 m"
