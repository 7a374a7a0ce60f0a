from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from delineate.errors import DataError, PartialResultError, UnknownNameError, UsageError
from delineate.model_file import SegmentationModel
from delineate.prediction.images import valid_pixels
from delineate.prediction.predict import predict
from delineate.preprocessing import Preprocessing
from delineate.rasters import GeoReference, Raster, read_raster, write_image, write_probs
from delineate.task import Task

BINARY = Task("binary", ("cell",))
LAND = Task("multiclass", ("ground", "road", "roof"), background="ground")
TAGS = Task("multilabel", ("road", "roof"))
GEO = GeoReference(None, (0.5, 0.0, 1000.0, 0.0, -0.5, 2000.0))


class Brightness(nn.Module):
    """Logits that rise with the first channel, faster from class to class; 0 at half of it."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([(i + 1) * (images[:, :1] - 0.5) for i in range(self.num_classes)], dim=1)


def make_model(task: Task = BINARY, in_channels: int = 1, **parts: Any) -> SegmentationModel:
    zeros, ones = (0.0,) * in_channels, (1.0,) * in_channels
    preprocessing = Preprocessing(in_channels, (0.0, 255.0), zeros, ones)
    network = Brightness(task.num_classes)
    return SegmentationModel(network, task, preprocessing, {}, (16, 16), **parts)


def write_grey(path: Path, seed: int = 0, shape: tuple[int, ...] = (20, 33)) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def read(path: Path) -> np.ndarray:
    return read_raster(path).pixels


def listing(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_one_image_into_one_file(tmp_path: Path) -> None:
    pixels = write_grey(tmp_path / "a.png")
    out = tmp_path / "deep" / "result.png"
    summary = predict(make_model(), tmp_path / "a.png", out=out, device="cpu")
    np.testing.assert_array_equal(read(out)[..., 0], np.where(pixels >= 127.5, 255, 0))
    assert summary.files == (out,)
    assert (summary.num_images, summary.num_pixels) == (1, 20 * 33)


def test_further_products_lie_beside_the_named_file(tmp_path: Path) -> None:
    write_grey(tmp_path / "a.png")
    out = tmp_path / "out" / "result.png"
    save = ("overlay", "prob", "mask")
    summary = predict(make_model(), [tmp_path / "a.png"], out=out, save=save, device="cpu")
    names = ["result.png", "result_overlay.png", "result_prob.tif"]
    assert listing(tmp_path / "out") == names
    assert [file.name for file in summary.files] == ["result.png", names[2], names[1]]
    assert read(tmp_path / "out" / "result_overlay.png").shape == (20, 33, 3)


def test_folders_keep_their_structure_and_results_inside_are_no_sources(tmp_path: Path) -> None:
    source = tmp_path / "scans"
    for index, name in enumerate(["a.png", "left/b.png", "right/b.bmp"]):
        write_grey(source / name, index)
    for _ in range(2):
        summary = predict(
            make_model(), source, out=source / "found", save=("mask",), exist_ok=True, device="cpu"
        )
        assert summary.num_images == 3
    assert listing(source / "found") == ["a.png", "left/b.png", "right/b.png"]


def test_probabilities_and_threshold(tmp_path: Path) -> None:
    pixels = write_grey(tmp_path / "a.png")
    out = tmp_path / "out"
    predict(
        make_model(thresholds=(0.9,)),
        tmp_path / "a.png",
        out=out,
        save=("mask", "prob"),
        threshold=0.6,
        device="cpu",
    )
    expected = 1 / (1 + np.exp(0.5 - pixels / 255))
    probs = read(out / "a_prob.tif")[..., 0]
    assert probs.dtype == np.float32
    np.testing.assert_allclose(probs, expected, atol=1e-6)
    np.testing.assert_array_equal(read(out / "a.png")[..., 0], 255 * (probs >= 0.6))


def test_the_models_threshold_and_postprocessing_hold_unless_told(tmp_path: Path) -> None:
    pixels = np.zeros((20, 20), np.uint8)
    pixels[2:9, 2:9] = pixels[15, 15] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    model = make_model(
        thresholds=(0.6,), prediction={"postprocessing": {"min_object_area": 5}, "overlap": 0.5}
    )
    predict(model, tmp_path / "a.png", out=tmp_path / "cleaned", device="cpu")
    assert read(tmp_path / "cleaned" / "a.png").sum() == 255 * 49
    raw = {"prediction": {"postprocessing": {"min_object_area": 0}}}
    predict(model, tmp_path / "a.png", out=tmp_path / "raw", overrides=raw, device="cpu")
    np.testing.assert_array_equal(read(tmp_path / "raw" / "a.png")[..., 0], pixels)


def test_classes_are_indices_and_labels_are_bands(tmp_path: Path) -> None:
    pixels = write_grey(tmp_path / "a.png")
    predict(make_model(LAND), tmp_path / "a.png", out=tmp_path / "classes", device="cpu")
    raster = read_raster(tmp_path / "classes" / "a.png")
    np.testing.assert_array_equal(raster.pixels[..., 0], np.where(pixels > 127.5, 2, 0))
    assert raster.palette is not None
    predict(make_model(TAGS), tmp_path / "a.png", out=tmp_path / "labels", device="cpu")
    assert read(tmp_path / "labels" / "a.tif").shape == (20, 33, 2)


@pytest.mark.parametrize("task", [BINARY, LAND, TAGS], ids=lambda task: task.kind)
def test_georeference_and_missing_pixels_are_kept(tmp_path: Path, task: Task) -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 30, 40)).astype(np.float32)
    pixels[:, :4, :7] = np.nan
    write_probs(tmp_path / "scene.tif", pixels, geo=GEO)
    save = ("mask", "prob", "overlay")
    predict(make_model(task), tmp_path / "scene.tif", out=tmp_path / "o", save=save, device="cpu")
    mask = read_raster(tmp_path / "o" / "scene.tif")
    probs = read_raster(tmp_path / "o" / "scene_prob.tif")
    assert mask.geo == probs.geo == GEO
    is_missing = np.isnan(pixels[0])
    assert (mask.pixels[is_missing] == 255).all()
    assert (mask.pixels[~is_missing] < 3).all()
    np.testing.assert_array_equal(np.isnan(probs.pixels).all(axis=2), is_missing)
    np.testing.assert_array_equal(np.isnan(probs.pixels).any(axis=2), is_missing)


def test_valid_pixels_have_data_in_a_band() -> None:
    pixels = np.ones((2, 3, 2), np.float32)
    assert valid_pixels(Raster(pixels)) is None
    pixels[0, 0] = (np.nan, -9)
    pixels[0, 1] = (1, -9)
    pixels[1, 2] = np.inf
    expected = np.array([[False, True, True], [True, True, False]])
    np.testing.assert_array_equal(valid_pixels(Raster(pixels, nodata=-9.0)), expected)
    black = np.zeros((1, 2, 3), np.uint8)
    black[0, 1, 1] = 7
    np.testing.assert_array_equal(valid_pixels(Raster(black, nodata=0.0)), [[False, True]])


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (17, 3)])
def test_tiny_and_thin_images(tmp_path: Path, shape: tuple[int, int]) -> None:
    pixels = write_grey(tmp_path / "a.png", shape=shape)
    predict(make_model(), tmp_path / "a.png", out=tmp_path / "o", device="cpu")
    np.testing.assert_array_equal(read(tmp_path / "o" / "a.png")[..., 0] > 0, pixels > 127)


def test_bad_images_are_listed_and_the_others_written(tmp_path: Path) -> None:
    source = tmp_path / "scans"
    for name in ("a.png", "b.png", "c.png"):
        write_grey(source / name)
    (source / "b.png").write_bytes((source / "b.png").read_bytes()[:200])
    write_probs(source / "d.tif", np.zeros((5, 8, 8), np.float32))
    with pytest.raises(PartialResultError, match="2 of 4 images") as caught:
        predict(make_model(), source, out=tmp_path / "o", device="cpu")
    assert caught.value.exit_code == 6
    assert str(source / "b.png") in str(caught.value)
    assert f"{source / 'd.tif'}: an image has 5 channels" in str(caught.value)
    assert listing(tmp_path / "o") == ["a.png", "c.png"]


def test_when_every_image_fails_nothing_is_partial(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"no image")
    with pytest.raises(DataError, match="none of the 2 images"):
        predict(make_model(), tmp_path, out=tmp_path / "o", device="cpu")
    with pytest.raises(DataError, match="no image format") as caught:
        predict(make_model(), tmp_path / "a.png", out=tmp_path / "o", device="cpu")
    assert "none of" not in str(caught.value)


def test_existing_results_stay_unless_told(tmp_path: Path) -> None:
    write_grey(tmp_path / "a.png")
    (tmp_path / "o").mkdir()
    (tmp_path / "o" / "a.png").write_bytes(b"precious")
    with pytest.raises(UsageError, match="1 of the results exist already"):
        predict(make_model(), tmp_path / "a.png", out=tmp_path / "o", device="cpu")
    assert (tmp_path / "o" / "a.png").read_bytes() == b"precious"
    predict(make_model(), tmp_path / "a.png", out=tmp_path / "o", exist_ok=True, device="cpu")
    assert read(tmp_path / "o" / "a.png").shape == (20, 33, 1)
    assert listing(tmp_path / "o") == ["a.png"]


def test_a_source_is_never_replaced(tmp_path: Path) -> None:
    write_grey(tmp_path / "a.png")
    before = (tmp_path / "a.png").read_bytes()
    for out in (tmp_path, tmp_path / "a.png"):
        with pytest.raises(UsageError, match="would replace a source image"):
            predict(make_model(), tmp_path / "a.png", out=out, exist_ok=True, device="cpu")
    assert (tmp_path / "a.png").read_bytes() == before


@pytest.mark.parametrize(
    "names", [("l/a.png", "r/a.png"), ("a.png", "a.bmp"), ("a.png", "b/a.tif")]
)
def test_names_that_collide_are_refused_before_the_work(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        write_image(path, np.zeros((4, 4), np.uint8)) if path.suffix == ".tif" else write_grey(path)
    with pytest.raises(UsageError, match="would both become"):
        predict(make_model(), paths, out=tmp_path / "o", device="cpu")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("task", "sources", "out", "save", "message"),
    [
        (BINARY, ["a.png", "b.png"], "one.png", ["mask"], "one file but there are 2 images"),
        (BINARY, ["."], "one.png", ["mask"], "is one file but"),
        (BINARY, ["a.png"], "one.jpg", ["mask"], r"cannot hold .* mask; end it in \.png"),
        (BINARY, ["a.png"], "one.png", ["prob"], r"cannot hold .* prob; end it in \.tif"),
        (TAGS, ["a.png"], "one.png", ["mask"], r"end it in \.tif"),
        (BINARY, ["a.png"], "notes", ["mask"], "is a file; name a folder"),
        (BINARY, ["a.png"], "o", [], "nothing to save"),
    ],
)
def test_destinations_that_do_not_fit_are_refused(
    tmp_path: Path, task: Task, sources: list[str], out: str, save: list[str], message: str
) -> None:
    for name in ("a.png", "b.png"):
        write_grey(tmp_path / name)
    (tmp_path / "notes").write_text("notes")
    before = listing(tmp_path)
    paths = [tmp_path / source for source in sources]
    with pytest.raises(UsageError, match=message):
        predict(make_model(task), paths, out=tmp_path / out, save=save, device="cpu")
    assert listing(tmp_path) == before


def test_unknown_names_list_the_choices(tmp_path: Path) -> None:
    write_grey(tmp_path / "a.png")
    with pytest.raises(UnknownNameError, match="mask, prob, overlay"):
        predict(make_model(), tmp_path / "a.png", out=tmp_path / "o", save=("masks",), device="cpu")
    overrides: dict[str, Any] = {"training": {}, "loss": {}}
    with pytest.raises(UsageError, match="not of loss, training"):
        predict(make_model(), tmp_path / "a.png", out=tmp_path / "o", overrides=overrides)


def test_missing_sources_are_named_together(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    paths = [tmp_path / "none.png", tmp_path / "empty"]
    with pytest.raises(DataError, match=r"(?s)none\.png.*empty"):
        predict(make_model(), paths, out=tmp_path / "o", device="cpu")
