from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from delineate.errors import DataError, PartialResultError, ResourceError, ShapeError, UsageError
from delineate.model_file import SegmentationModel
from delineate.prediction import journal, scenes
from delineate.prediction.predict import predict
from delineate.prediction.scene_plan import MASK_BYTES
from delineate.preprocessing import Preprocessing
from delineate.raster_windows import RasterWriter, create_raster, open_raster
from delineate.rasters import GeoReference, read_raster
from delineate.task import Task
from delineate.tiling import Window

BINARY = Task("binary", ("cell",))
LAND = Task("multiclass", ("ground", "road", "roof"), background="ground")
TAGS = Task("multilabel", ("road", "roof"))
GEO = GeoReference(None, (0.5, 0.0, 1000.0, 0.0, -0.5, 2000.0))


class Contrast(nn.Module):
    """Logits that depend on the whole tile, so that tiles matter."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(1.0, num_classes + 1))

    def forward(self, images: Tensor) -> Tensor:
        change = 3 * images[:, :1] - images.mean(dim=(1, 2, 3), keepdim=True)
        return change * self.weight[:, None, None]


def make_model(task: Task = BINARY, kind: Any = "dataset", **parts: Any) -> SegmentationModel:
    preprocessing = Preprocessing(1, (0.0, 255.0), (0.5,), (0.2,), kind)
    return SegmentationModel(Contrast(task.num_classes), task, preprocessing, {}, (32, 40), **parts)


def write_scene(path: Path, height: int = 130, width: int = 170, *, has_hole: bool = True) -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.normal(128, 60, (height, width)).clip(1, 255).astype(np.uint8)
    if has_hole:
        pixels[40:70, 20:110] = 0
    with create_raster(path, height, width, geo=GEO, nodata=0) as writer:
        writer.write(Window(0, 0, height, width), pixels)
    return path


def stream_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute every TIFF by bands, of strips that are a few tiles wide."""
    monkeypatch.setattr(scenes, "STREAMED_PIXELS", 0)
    monkeypatch.setattr("delineate.prediction.strips.MAX_STRIP_WIDTH", 90)
    monkeypatch.setattr(journal, "BLOCK_WIDTH", 64)
    monkeypatch.setattr("delineate.prediction.scene_products.BLOCK_WIDTH", 64)


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    stream_everything(monkeypatch)


def products(folder: Path) -> dict[str, bytes]:
    assert not list(folder.rglob(".*"))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize("task", [BINARY, LAND, TAGS], ids=lambda task: task.kind)
@pytest.mark.parametrize("kind", ["dataset", "image"])
def test_bands_give_what_the_whole_gives(tmp_path: Path, task: Task, kind: Any) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    changes = {"min_object_area": 4, "opening_radius": 1 if task.kind == "binary" else 0}
    model = make_model(task, kind, prediction={"postprocessing": changes, "overlap": 0.4})
    save = ("mask", "prob")
    predict(model, scene, out=tmp_path / "whole", save=save, device="cpu")
    with pytest.MonkeyPatch.context() as patch:
        stream_everything(patch)
        summary = predict(model, scene, out=tmp_path / "bands", save=save, device="cpu")
    (found,) = summary.scenes
    assert (found.choice.tiling, found.num_tiles) == ("blended", 7 * 7)
    assert found.seams.mean is not None
    assert 0 < found.seams.mean < found.seams.largest < 1
    probs = [read_raster(tmp_path / name / "scene_prob.tif") for name in ("whole", "bands")]
    np.testing.assert_allclose(probs[1].pixels, probs[0].pixels, rtol=0, atol=2e-6)
    masks = [read_raster(tmp_path / name / "scene.tif") for name in ("whole", "bands")]
    np.testing.assert_array_equal(masks[1].pixels, masks[0].pixels)
    assert masks[1].geo == probs[1].geo == GEO
    assert masks[1].nodata == masks[0].nodata
    if task.kind == "multiclass":
        np.testing.assert_array_equal(masks[1].palette, masks[0].palette)
    assert list(products(tmp_path / "bands")) == ["scene.tif", "scene_prob.tif"]


@pytest.mark.usefixtures("small_memory")
def test_a_mask_alone_is_that_of_the_probabilities(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    predict(make_model(LAND), scene, out=tmp_path / "alone", device="cpu")
    predict(make_model(LAND), scene, out=tmp_path / "both", save=("mask", "prob"), device="cpu")
    assert products(tmp_path / "alone")["scene.tif"] == products(tmp_path / "both")["scene.tif"]


@pytest.mark.usefixtures("small_memory")
def test_the_overlay_of_a_large_raster_is_thinned_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = write_scene(tmp_path / "scene.tif", 100, 150)
    out = tmp_path / "out"
    predict(make_model(), scene, out=out, save=("overlay",), device="cpu")
    whole = read_raster(out / "scene_overlay.png").pixels
    assert whole.shape == (100, 150, 3)
    monkeypatch.setattr("delineate.prediction.scene_products.OVERLAY_SIDE", 60)
    predict(make_model(), scene, out=out, save=("overlay",), exist_ok=True, device="cpu")
    assert read_raster(out / "scene_overlay.png").pixels.shape == (34, 50, 3)


@pytest.mark.usefixtures("small_memory")
def test_an_interruption_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    add, added = journal.Journal.add, []

    def interrupt(self: journal.Journal, *arguments: Any) -> None:
        if len(added) == 3:
            raise KeyboardInterrupt
        added.append(add(self, *arguments))

    monkeypatch.setattr(journal.Journal, "add", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"kept in .*out/\.unfinished, .* --resume goes on"):
        predict(make_model(), scene, out=tmp_path / "out", device="cpu")
    monkeypatch.setattr(journal.Journal, "add", add)
    predict(make_model(), scene, out=tmp_path / "out", resume=True, device="cpu")
    assert list(products(tmp_path / "out")) == ["scene.tif"]


class Killer:
    """Ends the process without warning at the n-th write to the disk, in the middle of it."""

    def __init__(self, num_writes: int) -> None:
        self.left = num_writes

    def wrap(self, write: Callable[..., Any], half: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                half(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
            return write(*arguments)

        return wrapped


def run_killed(model: SegmentationModel, scene: Path, num_writes: int, **arguments: Any) -> bool:
    """Predict in a child that is killed; return whether it was, and had not ended before."""
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            killer = Killer(num_writes)
            write, window = journal._write_all, RasterWriter.write
            journal._write_all = killer.wrap(
                write, lambda file, content: write(file, content[: len(content) // 2])
            )
            RasterWriter.write = killer.wrap(window, lambda *_: None)
            Path.replace = killer.wrap(Path.replace, lambda *_: None)
            predict(model, scene, device="cpu", **arguments)
        except BaseException as error:
            print(error, file=sys.stderr)
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.usefixtures("small_memory")
@pytest.mark.parametrize("num_writes", [1, 3, 16, 27, 40, 47, 49, 50])
def test_killed_at_any_write_and_resumed_gives_the_same_bytes(
    tmp_path: Path, num_writes: int
) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    model = make_model(prediction={"postprocessing": {"min_object_area": 3}})
    save = ("mask", "prob")
    predict(model, scene, out=tmp_path / "whole", save=save, device="cpu")
    out = tmp_path / "resumed"
    assert run_killed(model, scene, num_writes, out=out, save=save)
    is_begun = (out / ".unfinished" / "run.json").exists()
    assert is_begun or not out.exists() or not list(out.glob("*.tif"))
    if is_begun:
        with pytest.raises(UsageError, match="--resume"):
            predict(model, scene, out=out, save=save, device="cpu")
        with pytest.raises(UsageError, match=r"products was .*, is \['mask'\]"):
            predict(model, scene, out=out, resume=True, device="cpu")
        other = make_model(prediction={"postprocessing": {"min_object_area": 3}})
        other.network.weight.data += 1
        with pytest.raises(UsageError, match="model was"):
            predict(other, scene, out=out, save=save, resume=True, device="cpu")
        # Killed once more while it goes on.
        run_killed(model, scene, 5, out=out, save=save, resume=True)
    summary = predict(model, scene, out=out, save=save, resume=is_begun, device="cpu")
    assert summary.num_images <= 1
    assert products(out) == products(tmp_path / "whole")


@pytest.mark.usefixtures("small_memory")
def test_a_changed_raster_is_refused(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    assert run_killed(make_model(), scene, 12, out=tmp_path / "o.tif")
    os.utime(scene, (0, 0))
    with pytest.raises(UsageError, match="modified was"):
        predict(make_model(), scene, out=tmp_path / "o.tif", resume=True, device="cpu")
    predict(make_model(), scene, out=tmp_path / "o.tif", exist_ok=True, device="cpu")
    assert list(products(tmp_path)) == ["o.tif", "scene.tif"]


@pytest.mark.usefixtures("small_memory")
def test_finished_images_are_not_computed_again(tmp_path: Path) -> None:
    first = write_scene(tmp_path / "in" / "a.tif")
    write_scene(tmp_path / "in" / "b.tif", 60, 50)
    predict(make_model(), tmp_path / "in", out=tmp_path / "whole", device="cpu")
    out = tmp_path / "out"
    # The first raster takes 42 writes.
    assert run_killed(make_model(), tmp_path / "in", 46, out=out)
    assert (out / "a.tif").exists()
    written = (out / "a.tif").stat().st_mtime_ns
    summary = predict(make_model(), tmp_path / "in", out=out, resume=True, device="cpu")
    assert summary.num_images == 1
    assert (out / "a.tif").stat().st_mtime_ns == written
    assert products(out) == products(tmp_path / "whole")
    assert first.exists()


def test_nothing_to_resume_is_an_error(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    with pytest.raises(UsageError, match="no interrupted prediction"):
        predict(make_model(), scene, out=tmp_path / "out", resume=True, device="cpu")


@pytest.mark.usefixtures("small_memory")
def test_results_are_not_replaced_unless_told(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    predict(make_model(), scene, out=tmp_path / "o.tif", device="cpu")
    before = (tmp_path / "o.tif").read_bytes()
    with pytest.raises(UsageError, match="exist already"):
        predict(make_model(), scene, out=tmp_path / "o.tif", device="cpu")
    assert (tmp_path / "o.tif").read_bytes() == before


@pytest.mark.usefixtures("small_memory")
def test_a_disk_that_is_too_small_is_told_before_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    monkeypatch.setattr("delineate.files.free_space", lambda _: 1000)
    with pytest.raises(ResourceError, match=r"disk full: .*1\.0 kB"):
        predict(make_model(), scene, out=tmp_path / "out", save=("prob",), device="cpu")
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.usefixtures("small_memory")
def test_rasters_that_do_not_fit_are_named(tmp_path: Path) -> None:
    good = write_scene(tmp_path / "good.tif", 50, 50)
    with create_raster(tmp_path / "bands.tif", 50, 50, bands=5) as writer:
        writer.write(Window(0, 0, 50, 50), np.zeros((5, 50, 50), np.uint8))
    damaged = write_scene(tmp_path / "damaged.tif", 300, 300)
    damaged.write_bytes(damaged.read_bytes()[:20000])
    sources = [good, tmp_path / "bands.tif", damaged]
    with pytest.raises(PartialResultError, match="2 of 3") as info:
        predict(make_model(), sources, out=tmp_path / "out", device="cpu")
    assert "bands.tif: an image has 5 channels" in str(info.value)
    assert "damaged.tif" in str(info.value)
    assert list(products(tmp_path / "out")) == ["good.tif"]
    with pytest.raises(ShapeError, match="5 channels"):
        predict(make_model(), sources[1], out=tmp_path / "o", device="cpu")
    with pytest.raises(UsageError, match="GeoTIFF"):
        predict(make_model(), good, out=tmp_path / "o.png", device="cpu")


@pytest.mark.usefixtures("small_memory")
def test_one_pixel_is_enough(tmp_path: Path) -> None:
    for height, width in [(1, 1), (1, 200), (33, 1)]:
        scene = write_scene(tmp_path / "s.tif", height, width, has_hole=False)
        predict(make_model(), scene, out=tmp_path / "o.tif", exist_ok=True, device="cpu")
        with open_raster(tmp_path / "o.tif") as reader:
            assert (reader.height, reader.width) == (height, width)


@pytest.mark.usefixtures("small_memory")
def test_a_dry_run_tells_and_writes_nothing(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif")
    summary = predict(make_model(), scene, out=tmp_path / "out", dry_run=True, device="cpu")
    estimate = summary.estimate
    assert estimate is not None
    assert (estimate.num_images, estimate.num_streamed) == (1, 1)
    assert estimate.num_pixels == 130 * 170
    assert estimate.num_tiles >= 6 * 6
    assert estimate.seconds > 0
    assert estimate.disk_bytes == int(2 * MASK_BYTES * 130 * 170)
    assert not (tmp_path / "out").exists()


def test_damage_met_in_the_middle_names_the_file_and_leaves_nothing(
    tmp_path: Path, small_memory: None
) -> None:
    scene = write_scene(tmp_path / "scene.tif", 600, 600)
    content = bytearray(scene.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    scene.write_bytes(content)
    with pytest.raises(DataError, match=r"scene\.tif is truncated or damaged"):
        predict(make_model(), scene, out=tmp_path / "out", device="cpu")
    assert not list((tmp_path / "out").rglob("*"))
