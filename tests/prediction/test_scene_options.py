"""Rasters are opened as the user says, and results come back on the raster's own grid."""

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
import shapely
import torch
from pyogrio.raw import read as read_vectors
from pyogrio.raw import write as write_vectors
from torch import nn

from delineate.errors import DelineateError, UsageError
from delineate.model_file import SegmentationModel
from delineate.prediction.predict import predict
from delineate.prediction.scene_options import (
    SceneOptions,
    check_options,
    finish_scene,
    open_scene,
)
from delineate.preprocessing import Preprocessing
from delineate.raster_windows import create_raster
from delineate.rasters import GeoReference, read_raster
from delineate.refinement import guided_filter
from delineate.task import Task
from delineate.tiling import Window

PLACE = GeoReference("EPSG:32616", (0.5, 0.0, 733601.0, 0.0, -0.5, 3725139.0))
PREDICTOR = SimpleNamespace(task=Task("binary", ("road",)), preprocessing=Preprocessing(3))


class Stored:
    """What was computed, in memory."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.is_prob = pixels.dtype.kind == "f"

    def read(self, window: Window) -> np.ndarray:
        return self.pixels[:, *window.slices]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 255, (4, 60, 80)).astype(np.uint8)
    names = ["blue", "green", "red", "nir"]
    with create_raster(tmp_path / "a.tif", 60, 80, bands=4, geo=PLACE, names=names) as writer:
        writer.write(Window(0, 0, 60, 80), pixels)
    return tmp_path / "a.tif"


def windows() -> list[Window]:
    return [Window(0, 0, 25, 80), Window(25, 0, 35, 33), Window(25, 33, 35, 47)]


def test_nothing_asked_is_nothing_done(image: Path) -> None:
    options = SceneOptions()
    assert not options.needs_bands
    assert options.identity() == {}
    with open_scene(image, 4, options) as scene:
        computed = Stored(np.zeros((1, 60, 80), np.uint8))
        assert scene.reader is scene.original
        assert finish_scene(computed, scene, PREDICTOR, options) is computed


def test_bands_by_name(image: Path) -> None:
    with open_scene(image, 3, SceneOptions(bands=("red", "green", "blue"))) as scene:
        assert scene.reader.band_names == ("red", "green", "blue")


def test_probabilities_come_back_bilinearly(image: Path) -> None:
    options = SceneOptions(resolution=1.0)
    with open_scene(image, 4, options) as scene:
        assert scene.needs_probs(options)
        assert (scene.reader.height, scene.reader.width) == (30, 40)
        rows = np.linspace(0, 1, 30, dtype=np.float32)
        coarse = np.repeat(rows[:, None], 40, axis=1)[None]
        coarse[0, :, 35:] = np.nan
        found = finish_scene(Stored(coarse), scene, PREDICTOR, options)
        whole = found.read(Window(0, 0, 60, 80))
        for window in windows():
            part = found.read(window)
            assert np.allclose(part, whole[:, *window.slices], equal_nan=True)
    assert whole.shape == (1, 60, 80)
    assert np.isnan(whole[0, :, 71:]).all()
    assert not np.isnan(whole[0, :, :69]).any()
    inner = whole[0, 1:-1, 0]
    assert np.allclose(np.diff(inner), 1 / 58, atol=1e-6)


def test_guided_filter_by_windows_is_that_of_the_whole(image: Path) -> None:
    options = SceneOptions(bands=("1", "2", "3"), refine="guided")
    probs = np.random.default_rng(1).random((1, 60, 80)).astype(np.float32)
    with open_scene(image, 3, options) as scene:
        pixels, _ = scene.original.read(scene.original.window)
        found = finish_scene(Stored(probs), scene, PREDICTOR, options)
        whole = guided_filter(pixels, probs)
        for window in windows():
            assert np.allclose(found.read(window), whole[:, *window.slices], atol=1e-5)


def test_area_limits_what_is_read_and_what_is_written(tmp_path: Path, image: Path) -> None:
    field = shapely.box(733606, 3725120, 733616, 3725130)
    shapes = shapely.to_wkb(np.array([field], object))
    options = {"driver": "GPKG", "geometry_type": "Polygon", "crs": PLACE.crs, "layer": "a"}
    write_vectors(tmp_path / "aoi.gpkg", shapes, [], [], **options)
    chosen = SceneOptions(aoi=tmp_path / "aoi.gpkg")
    assert chosen.identity()["scene"]["aoi"]["bytes"] > 0
    wanted = np.zeros((60, 80), bool)
    wanted[18:38, 10:30] = True
    with open_scene(image, 4, chosen) as scene:
        for missing, pixels in (
            (255, np.ones((1, 60, 80), np.uint8)),
            (np.nan, np.full((1, 60, 80), 0.25, np.float32)),
        ):
            found = finish_scene(Stored(pixels), scene, PREDICTOR, chosen)
            for window in windows():
                outside = ~wanted[window.slices]
                part = found.read(window)[0]
                assert np.array_equal(part == pixels[0, 0, 0], ~outside)
                assert np.array_equal(np.isnan(part) | (part == missing), outside)


def test_the_overlay_washes_out_what_lies_outside_the_area(tmp_path: Path, image: Path) -> None:
    ring = [[733606, 3725120], [733616, 3725120], [733616, 3725130], [733606, 3725130]]
    crs = {"type": "name", "properties": {"name": "EPSG:32616"}}
    shape = {"type": "Polygon", "coordinates": [[*ring, ring[0]]], "crs": crs}
    (tmp_path / "aoi.geojson").write_text(json.dumps(shape))
    chosen = SceneOptions(aoi=tmp_path / "aoi.geojson", bands=("1",))
    nothing = replace(MODEL, network=Bright(), thresholds=(1.0,))
    with torch.no_grad():
        nothing.network.scale.fill_(0)
    predict(nothing, image, out=tmp_path / "o", save=["overlay"], options=chosen, device="cpu")
    found = read_raster(tmp_path / "o" / "a_overlay.png").pixels
    with rasterio.open(image) as file:
        pixels = np.repeat(file.read(1)[..., None], 3, axis=2)
    outside = np.ones((60, 80), bool)
    outside[18:38, 10:30] = False
    assert np.array_equal(found[~outside], pixels[~outside])
    assert np.array_equal(found[outside], 110 + pixels[outside] // 2)


def test_what_cannot_be_done_is_refused_beforehand(tmp_path: Path) -> None:
    classes = Task("multiclass", ("land", "river", "road"), background="land")
    check_options(SceneOptions(refine="guided"), PREDICTOR.task, ["lines", "polygons"])
    check_options(SceneOptions(refine="crf", lines_of="road"), classes, ["lines"])
    for options, task, products, text in (
        (SceneOptions(refine="crf"), PREDICTOR.task, [], "--refine guided"),
        (SceneOptions(aoi=tmp_path / "a.gpkg"), classes, [], "--aoi .* is no file"),
        (SceneOptions(resolution=0.0), classes, [], "should be above 0"),
        (SceneOptions(simplify=-1.0), classes, [], "0 or more"),
        (SceneOptions(), classes, ["lines"], "--lines-of: one of river, road"),
        (SceneOptions(lines_of="raod"), classes, ["lines"], "Did you mean 'road'"),
        (SceneOptions(lines_of="road"), classes, ["mask"], "add --save lines"),
    ):
        with pytest.raises(UsageError, match=text):
            check_options(options, task, products)


def test_random_field_by_windows(image: Path) -> None:
    pytest.importorskip("pydensecrf.densecrf", reason="the extra crf is not installed")
    task = Task("multiclass", ("a", "b"))
    predictor = SimpleNamespace(task=task, preprocessing=Preprocessing(3))
    options = SceneOptions(bands=("1", "2", "3"), refine="crf")
    probs = np.full((2, 60, 80), 0.5, np.float32)
    probs[0, :, :40], probs[1, :, :40] = 0.9, 0.1
    probs[:, :5] = np.nan
    with ExitStack() as stack:
        scene = stack.enter_context(open_scene(image, 3, options))
        part = finish_scene(Stored(probs), scene, predictor, options).read(Window(0, 0, 30, 30))
    assert np.isnan(part[:, :5]).all()
    assert np.allclose(part[:, 5:].sum(axis=0), 1, atol=1e-4)


class Bright(nn.Module):
    """Marks what is brighter than the middle of the range."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(20.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scale * images


MODEL = SegmentationModel(Bright(), PREDICTOR.task, Preprocessing(1), {}, (32, 32))


@pytest.fixture
def street(tmp_path: Path) -> Path:
    """Draw a road, 4 m wide, in the second of two bands."""
    pixels = np.zeros((2, 100, 120), np.uint8)
    pixels[1, 46:54, 10:110] = 255
    pixels[1, :, :3] = 7
    names = ["red", "nir"]
    options = {"bands": 2, "geo": PLACE, "names": names, "nodata": 7}
    with create_raster(tmp_path / "street.tif", 100, 120, **options) as writer:
        writer.write(Window(0, 0, 100, 120), pixels)
    return tmp_path / "street.tif"


def test_everything_at_once(tmp_path: Path, street: Path) -> None:
    out = tmp_path / "out"
    options = SceneOptions(bands=("nir",), resolution=1.0, refine="guided", cog=True)
    products = ("mask", "prob", "polygons", "lines")
    summary = predict(MODEL, street, out=out, save=products, options=options)
    names = sorted(path.name for path in out.iterdir())
    endings = [".gpkg", ".qml", ".tif", "_lines.gpkg", "_lines.qml", "_prob.tif"]
    assert names == [f"street{ending}" for ending in endings]
    assert sorted(path.name for path in summary.files) == names
    with rasterio.open(out / "street.tif") as dataset:
        mask = dataset.read(1)
        assert dataset.transform[:6] == PLACE.transform
        assert dataset.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert (mask[:, :3] == 255).all()
    assert np.array_equal(np.unique(mask[:, 3:]), [0, 1])
    truth = np.zeros((100, 120), bool)
    truth[46:54, 10:110] = True
    assert ((mask == 1) != truth).sum() <= 120
    _, _, shapes, columns = read_vectors(out / "street.gpkg")
    assert shapely.from_wkb(shapes)[0].area == pytest.approx(8 * 100 / 4, rel=0.1)
    assert columns[4][0] > 0.5
    meta, _, shapes, columns = read_vectors(out / "street_lines.gpkg")
    assert len(shapes) == 1
    assert columns[list(meta["fields"]).index("width_m")][0] == pytest.approx(4, abs=0.5)


def test_area_and_vector_file_as_output(tmp_path: Path, street: Path) -> None:
    field = shapely.box(733616, 3725100, 733631, 3725139)
    shapes = shapely.to_wkb(np.array([field], object))
    options = {"driver": "GPKG", "geometry_type": "Polygon", "crs": PLACE.crs, "layer": "a"}
    write_vectors(tmp_path / "aoi.gpkg", shapes, [], [], **options)
    chosen = SceneOptions(bands=("2",), aoi=tmp_path / "aoi.gpkg", simplify=0.0)
    out = tmp_path / "roads.geojson"
    predict(MODEL, street, out=out, save=("polygons",), options=chosen)
    (feature,) = json.loads(out.read_text())["features"]
    assert feature["properties"]["area_m2"] == 15 * 4
    assert feature["properties"]["class"] == "road"


def test_mosaic_is_read_only_if_it_is_named_so(tmp_path: Path, street: Path) -> None:
    from rasterio.shutil import copy

    copy(str(street), str(tmp_path / "mosaic.vrt"), driver="VRT")
    with pytest.raises(DelineateError, match=r"VRT|no image"):
        predict(MODEL, tmp_path / "mosaic.vrt", out=tmp_path / "a", save=("mask",))
    options = SceneOptions(bands=("nir",), vrt=True)
    predict(MODEL, tmp_path / "mosaic.vrt", out=tmp_path / "b", options=options)
    predict(MODEL, street, out=tmp_path / "c", options=SceneOptions(bands=("nir",)))
    with (
        rasterio.open(tmp_path / "b/mosaic.tif") as first,
        rasterio.open(tmp_path / "c/street.tif") as second,
    ):
        assert np.array_equal(first.read(), second.read())
        assert first.crs == second.crs


def test_alpha_of_a_small_raster_counts(tmp_path: Path) -> None:
    pixels = np.full((2, 40, 50), 255, np.uint8)
    pixels[1, :, :9] = 0
    profile = {"driver": "GTiff", "count": 2, "height": 40, "width": 50, "dtype": "uint8"}
    place = {"crs": "EPSG:32616", "transform": rasterio.Affine(*PLACE.transform)}
    with rasterio.open(tmp_path / "a.tif", "w", alpha="yes", **profile, **place) as dataset:
        dataset.write(pixels)
    predict(MODEL, tmp_path / "a.tif", out=tmp_path / "out")
    with rasterio.open(tmp_path / "out/a.tif") as dataset:
        mask = dataset.read(1)
    assert (mask[:, :9] == 255).all()
    assert (mask[:, 9:] == 1).all()
