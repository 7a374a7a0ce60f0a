from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS

from delineate.evaluation.spacing import Spacing, common_unit, read_spacing
from delineate.rasters import GeoReference, write_image

PIXELS = np.zeros((10, 12, 3), np.uint8)


def test_projected_rasters_tell_metres_and_photographs_nothing(tmp_path: Path) -> None:
    metres = GeoReference(CRS.from_epsg(32616).to_wkt(), (0.5, 0, 7e5, 0, -0.25, 4e6))
    write_image(tmp_path / "metres.tif", PIXELS, metres)
    assert read_spacing(tmp_path / "metres.tif") == Spacing((0.25, 0.5), "m")
    degrees = GeoReference(CRS.from_epsg(4326).to_wkt(), (1e-5, 0, 10, 0, -1e-5, 60))
    write_image(tmp_path / "degrees.tif", PIXELS, degrees)
    found = read_spacing(tmp_path / "degrees.tif")
    assert found is not None
    # At 60 degrees a degree of longitude is about half as long as one of latitude.
    assert found.size == pytest.approx((1.114, 0.558), abs=0.001)
    write_image(tmp_path / "plain.tif", PIXELS)
    write_image(tmp_path / "plain.png", PIXELS)
    assert read_spacing(tmp_path / "plain.tif") is None
    assert read_spacing(tmp_path / "plain.png") is None


def test_a_unit_is_common_if_all_have_it() -> None:
    metre, millimetre = Spacing((1, 1), "m"), Spacing((2, 1), "mm")
    assert common_unit([metre, metre]) == "m"
    assert common_unit([metre, millimetre]) is None
    assert common_unit([metre, None]) is None
    assert common_unit([None]) is None
