"""Vector files hold the regions of a mask, with class, area and probability."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from pyogrio import read_info
from pyogrio.raw import read
from scipy import ndimage

from delineate.errors import DataError, UsageError
from delineate.polygons import polygonize_raster
from delineate.raster_windows import create_raster
from delineate.rasters import GeoReference
from delineate.task import Task
from delineate.tiling import Window

PLACE = GeoReference("EPSG:32616", (0.5, 0.0, 733601.0, 0.0, -0.5, 3725139.0))
DEGREES = GeoReference("EPSG:4326", (1e-4, 0.0, -60.0, 0.0, -1e-4, -3.0))
BINARY = Task("binary", ("building",))
CLASSES = Task("multiclass", ("land", "water", "road"), background="land")
COVER = Task("multiclass", ("land", "water", "road"))


def write(path: Path, bands: np.ndarray, geo: GeoReference | None = PLACE) -> Path:
    bands = bands[None] if bands.ndim == 2 else bands
    count, height, width = bands.shape
    options = {"bands": count, "dtype": bands.dtype, "geo": geo}
    if bands.dtype == np.uint8:
        options["nodata"] = 255
    with create_raster(path, height, width, **options) as writer:
        writer.write(Window(0, 0, height, width), bands)
    return path


def scene(levels: int, size: tuple[int, int] = (90, 130)) -> np.ndarray:
    noise = ndimage.gaussian_filter(np.random.default_rng(5).random(size), 3)
    quantiles = np.quantile(noise, np.arange(1, levels) / levels)
    mask = np.digitize(noise, quantiles).astype(np.uint8)
    mask[:6, 40:80] = 255
    return mask


def features_of(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    meta, _, shapes, columns = read(path)
    return shapely.from_wkb(shapes), dict(zip(meta["fields"], columns, strict=True))


@pytest.mark.parametrize("side", [32, 500])
def test_polygons_of_rasterio_without_simplification(tmp_path: Path, side: int) -> None:
    mask = scene(2)
    path = write(tmp_path / "mask.tif", mask)
    polygonize_raster(path, tmp_path / "a.gpkg", BINARY, tolerance=0, block_side=side)
    found, fields = features_of(tmp_path / "a.gpkg")
    affine = rasterio.Affine(*PLACE.transform)
    wanted = [
        shapely.geometry.shape(shape)
        for shape, value in rasterio.features.shapes(mask, mask == 1, 4, affine)
        if value == 1
    ]
    assert len(found) == len(wanted)
    first = {shape.normalize().wkt for shape in map(shapely.simplify, found, [0] * len(found))}
    assert first == {shapely.simplify(shape, 0).normalize().wkt for shape in wanted}
    assert np.allclose(fields["area_m2"], shapely.area(found))
    assert set(fields["class"]) == {"building"}
    # The version in the header, https://www.geopackage.org/spec131/#r2
    assert (tmp_path / "a.gpkg").read_bytes()[60:64] == (10300).to_bytes(4, "big")
    info = read_info(tmp_path / "a.gpkg")
    assert info["crs"] == "EPSG:32616"
    assert info["geometry_type"] == "Polygon"


@pytest.mark.parametrize("task", [CLASSES, COVER], ids=["background", "cover"])
def test_classes_share_borders_and_know_their_probability(tmp_path: Path, task: Task) -> None:
    mask = scene(3)
    probs = np.random.default_rng(1).random((3, *mask.shape)).astype(np.float32)
    write(tmp_path / "mask.tif", mask)
    write(tmp_path / "prob.tif", probs)
    colours = np.array([[0, 0, 0], [0, 90, 250], [250, 40, 30]], np.uint8)
    out = tmp_path / "a.gpkg"
    summary = polygonize_raster(
        tmp_path / "mask.tif",
        out,
        task,
        probs=tmp_path / "prob.tif",
        colours=colours,
        block_side=40,
    )
    found, fields = features_of(out)
    assert summary.num_polygons == len(found)
    assert fields["id"].tolist() == list(range(1, len(found) + 1))
    assert shapely.is_valid(found).all()
    assert shapely.coverage_is_valid(found)
    shown = (1, 2) if task is CLASSES else (0, 1, 2)
    total = 0
    for index in shown:
        parts, count = ndimage.label(mask == index)
        own = fields["class_index"] == index
        assert own.sum() == count
        means = ndimage.mean(probs[index].astype(float), parts, np.arange(1, count + 1))
        assert np.allclose(np.sort(fields["mean_prob"][own]), np.sort(means), atol=1e-6)
        total += int((mask == index).sum())
        assert set(fields["class"][own]) == {task.class_names[index]}
    assert fields["area_m2"].sum() == pytest.approx(total / 4)
    # Simplified, the borders between classes move, but the ground covered stays in one piece.
    assert shapely.area(found).sum() == pytest.approx(total / 4, rel=0.03)
    style = ElementTree.parse(summary.style)
    names = [category.get("value") for category in style.iter("category")]
    assert names == [task.class_names[index] for index in shown]


def test_geojson_is_in_degrees(tmp_path: Path) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[10:20, 10:30] = 1
    mask[12:15, 12:15] = 0
    write(tmp_path / "mask.tif", mask)
    polygonize_raster(tmp_path / "mask.tif", tmp_path / "a.geojson", BINARY)
    document = json.loads((tmp_path / "a.geojson").read_text())
    assert "crs" not in document
    (feature,) = document["features"]
    shape = shapely.geometry.shape(feature["geometry"])
    left, bottom, right, top = shape.bounds
    assert -84.6 < left < right < -84.4
    assert 33.6 < bottom < top < 33.7
    assert len(shape.interiors) == 1
    assert shape.exterior.is_ccw
    assert not shape.interiors[0].is_ccw
    assert feature["properties"] == {
        "id": 1,
        "class": "building",
        "class_index": 0,
        "area_m2": (200 - 9) / 4,
    }
    wanted = rasterio.warp.transform("EPSG:32616", "EPSG:4326", [733606], [3725134])
    assert left == pytest.approx(wanted[0][0], abs=2e-6)
    assert top == pytest.approx(wanted[1][0], abs=2e-6)


def test_areas_in_degrees_are_those_on_the_ellipsoid(tmp_path: Path) -> None:
    mask = np.ones((100, 100), np.uint8)
    write(tmp_path / "mask.tif", mask, DEGREES)
    polygonize_raster(tmp_path / "mask.tif", tmp_path / "a.gpkg", BINARY)
    _, fields = features_of(tmp_path / "a.gpkg")
    # An equal-area projection of the same square.
    corners = np.array([[-60.0, -3.0], [-59.99, -3.0], [-59.99, -3.01], [-60.0, -3.01]])
    x, y = rasterio.warp.transform("EPSG:4326", "EPSG:6933", corners[:, 0], corners[:, 1])
    wanted = shapely.Polygon(np.column_stack([x, y])).area
    assert fields["area_m2"][0] == pytest.approx(wanted, rel=1e-6)


def test_without_a_place_pixels_are_counted(tmp_path: Path) -> None:
    mask = np.zeros((30, 30), np.uint8)
    mask[3:9, 4:11] = 1
    write(tmp_path / "mask.tif", mask, None)
    polygonize_raster(tmp_path / "mask.tif", tmp_path / "a.geojson", BINARY)
    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert feature["properties"]["area_px"] == 42
    assert shapely.geometry.shape(feature["geometry"]).bounds == (4, -9, 11, -3)


def test_small_regions_are_left_out_and_nothing_is_a_file(tmp_path: Path) -> None:
    mask = np.zeros((30, 30), np.uint8)
    mask[3:9, 4:11] = 1
    mask[20, 20] = 1
    path = write(tmp_path / "mask.tif", mask)
    assert polygonize_raster(path, tmp_path / "a.gpkg", BINARY, min_area=2).num_polygons == 1
    assert polygonize_raster(path, tmp_path / "b.gpkg", BINARY, min_area=99).num_polygons == 0
    assert len(features_of(tmp_path / "b.gpkg")[0]) == 0
    assert read_info(tmp_path / "b.gpkg")["ogr_types"] == [
        *("OFTInteger64", "OFTString", "OFTInteger64", "OFTReal"),
    ]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.gpkg", "b.gpkg", "mask.tif"]


def test_multilabel_bands_are_layers_that_may_overlap(tmp_path: Path) -> None:
    bands = np.zeros((2, 30, 30), np.uint8)
    bands[0, 3:20, 4:20] = 1
    bands[1, 10:25, 10:25] = 1
    path = write(tmp_path / "mask.tif", bands)
    task = Task("multilabel", ("water", "road"))
    polygonize_raster(path, tmp_path / "a.gpkg", task, block_side=8)
    shapes, fields = features_of(tmp_path / "a.gpkg")
    assert fields["class"].tolist() == ["water", "road"]
    assert shapely.area(shapes).tolist() == [17 * 16 / 4, 15 * 15 / 4]


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "mask.tif", scene(2))
    with pytest.raises(UsageError, match=r"name a \.gpkg or \.geojson"):
        polygonize_raster(path, tmp_path / "a.shp", BINARY)
    with pytest.raises(DataError, match="1 bands of uint8 and a multilabel mask of 2"):
        polygonize_raster(path, tmp_path / "a.gpkg", Task("multilabel", ("a", "b")))
    prob = write(tmp_path / "prob.tif", np.zeros((1, 9, 9), np.float32))
    with pytest.raises(DataError, match="9x9 pixels"):
        polygonize_raster(path, tmp_path / "a.gpkg", BINARY, probs=prob)
    (tmp_path / "a.gpkg").write_text("x")
    with pytest.raises(UsageError, match="--exist-ok"):
        polygonize_raster(path, tmp_path / "a.gpkg", BINARY)
