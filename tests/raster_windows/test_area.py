"""An area of interest is laid over the raster, whatever reference system it is in."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio.features
import shapely
from pyogrio.raw import write as write_vectors
from rasterio.warp import transform

from delineate.errors import DataError, UnreadableFileError, UsageError
from delineate.raster_windows import create_raster, limit_reader, open_raster, read_area
from delineate.rasters import GeoReference
from delineate.tiling import Window

PLACE = GeoReference("EPSG:32616", (0.5, 0.0, 733601.0, 0.0, -0.5, 3725139.0))
FIELD = np.array([[733611.3, 3725130.2], [733640.1, 3725128.9], [733628.4, 3725101.7]])


@pytest.fixture
def image(tmp_path: Path) -> Path:
    with create_raster(tmp_path / "a.tif", 100, 120, geo=PLACE) as writer:
        writer.write(Window(0, 0, 100, 120), np.full((100, 120), 9, np.uint8))
    return tmp_path / "a.tif"


def geopackage(path: Path, shape: shapely.Geometry, crs: str = "EPSG:32616") -> Path:
    shapes = shapely.to_wkb(np.array([shape], object))
    kind = shape.geom_type
    write_vectors(path, shapes, [], [], driver="GPKG", geometry_type=kind, crs=crs, layer="a")
    return path


def expected() -> np.ndarray:
    affine = rasterio.Affine(*PLACE.transform)
    return rasterio.features.rasterize([shapely.Polygon(FIELD)], (100, 120), transform=affine) != 0


def test_geopackage_and_geojson_agree(tmp_path: Path, image: Path) -> None:
    first = geopackage(tmp_path / "fields.gpkg", shapely.Polygon(FIELD))
    x, y = transform("EPSG:32616", "OGC:CRS84", *FIELD.T)
    ring = [*zip(x, y, strict=True), (x[0], y[0])]
    second = tmp_path / "fields.geojson"
    geometry = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": {}, "geometry": geometry}
    second.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    with open_raster(image) as reader:
        for path in (first, second):
            area = read_area(path, reader)
            assert area.num_features == 1
            found = np.zeros((100, 120), bool)
            for row in range(0, 100, 30):
                for col in range(0, 120, 50):
                    window = Window(row, col, min(30, 100 - row), min(50, 120 - col))
                    found[window.slices] = area.covers(window)
            assert np.array_equal(found, expected())


def test_reader_keeps_what_surrounds_the_area(tmp_path: Path, image: Path) -> None:
    path = geopackage(tmp_path / "fields.gpkg", shapely.Polygon(FIELD))
    with open_raster(image) as reader:
        area = read_area(path, reader)
        limited = limit_reader(reader, area, context=10)
        _, valid = limited.read(limited.window)
        assert limited.count == reader.count
    assert valid[expected()].all()
    assert 1.2 * expected().sum() < valid.sum() < valid.size
    assert np.array_equal(valid, area.covers(reader.window, margin=10))


def test_what_is_no_area_is_refused(tmp_path: Path, image: Path) -> None:
    far = geopackage(tmp_path / "far.gpkg", shapely.Polygon(FIELD + 10_000))
    line = geopackage(tmp_path / "line.gpkg", shapely.LineString(FIELD))
    (tmp_path / "bad.gpkg").write_bytes(far.read_bytes()[:100] + bytes(20_000))
    (tmp_path / "a.shp").write_bytes(b"\x00\x00\x27\x0a")
    (tmp_path / "a.geojson").write_text('{"type": "FeatureCollection", "features": 3}')
    with open_raster(image) as reader:
        for path, error, text in (
            (far, DataError, "do not meet anywhere"),
            (line, DataError, "no polygon"),
            (tmp_path / "bad.gpkg", UnreadableFileError, "is damaged"),
            (tmp_path / "a.shp", UnreadableFileError, "neither a GeoPackage nor GeoJSON"),
            (tmp_path / "a.geojson", UnreadableFileError, "is no GeoJSON"),
            (tmp_path / "none.gpkg", UnreadableFileError, "cannot be opened"),
        ):
            with pytest.raises(error, match=text):
                read_area(path, reader)
    with create_raster(tmp_path / "nowhere.tif", 5, 5):
        pass
    with open_raster(tmp_path / "nowhere.tif") as reader, pytest.raises(UsageError, match="where"):
        read_area(far, reader)
