"""Rasters are opened as the user says, and results come back on the raster's own grid."""

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import shapely
from pyogrio.raw import write as write_vectors

from delineate.errors import UsageError
from delineate.prediction.scene_options import (
    SceneOptions,
    check_refinement,
    finish_scene,
    open_scene,
)
from delineate.preprocessing import Preprocessing
from delineate.raster_windows import create_raster
from delineate.rasters import GeoReference
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
    assert options.needs_probs
    with open_scene(image, 4, options) as scene:
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


def test_random_field_needs_classes() -> None:
    check_refinement("guided", PREDICTOR)
    with pytest.raises(UsageError, match="--refine guided"):
        check_refinement("crf", PREDICTOR)


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
