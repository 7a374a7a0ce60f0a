from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from delineate.errors import ResourceError, ShapeError, UsageError
from delineate.model_file import SegmentationModel, save_model
from delineate.models import build_model
from delineate.prediction.engines import torch_engine
from delineate.prediction.predictor import Predictor, load_predictor
from delineate.preprocessing import Preprocessing
from delineate.task import Task
from delineate.tiling import blend_weights, tile_windows

BINARY = Task("binary", ("cell",))
LAND = Task("multiclass", ("ground", "road", "roof"), background="ground")
GREY = Preprocessing(1, (0.0, 1.0), (0.0,), (1.0,))
CPU = torch.device("cpu")


def tile_dependent(tiles: Tensor) -> Tensor:
    """Logits that depend on the tile that a pixel is in, so that blending shows."""
    return tiles * 3 - tiles.mean(dim=(2, 3), keepdim=True)


def noise(height: int, width: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(0).random((height, width, channels), dtype=np.float32)


def blended(image: np.ndarray, size: tuple[int, int], overlap: float, kind: Any) -> np.ndarray:
    """The definition, in float64: the weighted mean of the tiles' probabilities."""
    sums = np.zeros(image.shape)
    totals = np.zeros(image.shape)
    for window in tile_windows(*image.shape, size, overlap):
        tile = image[window.slices].astype(np.float64)
        weights = blend_weights(tile.shape, kind).astype(np.float64)
        sums[window.slices] += weights / (1 + np.exp(-(tile * 3 - tile.mean())))
        totals[window.slices] += weights
    return sums / totals


@pytest.mark.parametrize("kind", ["gaussian", "average"])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("shape", [(40, 55), (9, 40), (16, 16), (1, 1)])
def test_probabilities_are_the_weighted_mean_of_the_tiles(
    kind: Any, overlap: float, shape: tuple[int, int]
) -> None:
    pixels = noise(*shape)
    predictor = Predictor(
        tile_dependent, BINARY, GREY, tile_size=(16, 20), overlap=overlap, blend=kind, batch_size=3
    )
    probs = predictor.predict_probs(pixels)
    assert probs.dtype == np.float32
    expected = blended(pixels[..., 0], (16, 20), overlap, kind)
    np.testing.assert_allclose(probs[0], expected, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 0.9), st.floats(-30, 30))
def test_blending_a_constant_returns_it(
    height: int, width: int, overlap: float, logit: float
) -> None:
    def constant(tiles: Tensor) -> Tensor:
        return torch.full_like(tiles, logit)

    predictor = Predictor(constant, BINARY, GREY, tile_size=(8, 12), overlap=overlap)
    probs = predictor.predict_probs(noise(height, width))
    expected = 1 / (1 + np.exp(-logit))
    np.testing.assert_allclose(probs, np.full((1, height, width), expected), rtol=1e-5)
    assert probs.max() <= 1


def test_class_probabilities_sum_to_one_and_the_mask_takes_the_largest() -> None:
    def logits(tiles: Tensor) -> Tensor:
        return torch.cat([tiles, 2 * tiles - 0.4, 1.5 - 3 * tiles], dim=1)

    predictor = Predictor(logits, LAND, GREY, tile_size=(16, 16))
    pixels = noise(40, 30)
    probs = predictor.predict_probs(pixels)
    np.testing.assert_allclose(probs.sum(axis=0), 1, atol=1e-6)
    np.testing.assert_array_equal(predictor.predict_mask(pixels), probs.argmax(axis=0))


@pytest.mark.parametrize("batch_size", [1, 2, 7, 100])
def test_batches_are_full_in_row_order_and_change_nothing(batch_size: int) -> None:
    sizes: list[int] = []

    def engine(tiles: Tensor) -> Tensor:
        sizes.append(len(tiles))
        return tile_dependent(tiles)

    predictor = Predictor(engine, BINARY, GREY, tile_size=(16, 16), batch_size=batch_size)
    probs = predictor.predict_probs(noise(40, 40))
    assert sum(sizes) == 9
    assert sizes[:-1] == [batch_size] * (len(sizes) - 1)
    reference = Predictor(tile_dependent, BINARY, GREY, tile_size=(16, 16), batch_size=1)
    np.testing.assert_array_equal(probs, reference.predict_probs(noise(40, 40)))


@pytest.mark.parametrize(("side", "num_at_once"), [(40, 2), (52, 3), (28, 1)])
def test_workers_compute_single_tiles_side_by_side_and_change_nothing(
    side: int, num_at_once: int
) -> None:
    threads: list[int] = []

    def engine(tiles: Tensor) -> Tensor:
        threads.append(threading.get_ident())
        return tile_dependent(tiles)

    pixels = noise(side, side)
    valid = pixels[..., 0] > 0.2
    settings: dict[str, Any] = {"tile_size": (16, 16), "batch_size": 2}
    predictor = Predictor(engine, BINARY, GREY, num_workers=num_at_once, **settings)
    probs = predictor.predict_probs(pixels, valid)
    num_others = len(threads) - threads.count(threading.get_ident())
    assert num_others == (0 if num_at_once == 1 else len(threads) // num_at_once * num_at_once)
    reference = Predictor(tile_dependent, BINARY, GREY, **settings)
    np.testing.assert_array_equal(probs, reference.predict_probs(pixels, valid))


def test_the_stride_is_respected_except_at_the_border() -> None:
    image = np.arange(50 * 16, dtype=np.float32).reshape(50, 16, 1)
    starts: list[int] = []

    def engine(tiles: Tensor) -> Tensor:
        starts.extend((tiles[:, 0, 0, 0] / 16).int().tolist())
        return torch.zeros_like(tiles)

    Predictor(engine, BINARY, GREY, tile_size=(16, 16), stride=8).predict_probs(image)
    assert starts == [0, 8, 16, 24, 32, 34]


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("no memory"), RuntimeError("DefaultCPUAllocator: can't allocate")],
    ids=["gpu", "cpu"],
)
def test_row_11_out_of_memory_takes_smaller_batches_and_gives_the_same(error: Exception) -> None:
    def engine(tiles: Tensor) -> Tensor:
        if len(tiles) > 1:
            raise error
        return tile_dependent(tiles)

    def helpless(tiles: Tensor) -> Tensor:
        raise error

    pixels = noise(30, 30)
    probs = Predictor(engine, BINARY, GREY, tile_size=(16, 16)).predict_probs(pixels)
    reference = Predictor(tile_dependent, BINARY, GREY, tile_size=(16, 16), batch_size=1)
    np.testing.assert_array_equal(probs, reference.predict_probs(pixels))
    with pytest.raises(ResourceError, match=r"16x16.*smaller tile"):
        Predictor(helpless, BINARY, GREY, tile_size=(16, 16)).predict_probs(pixels)


@pytest.mark.parametrize("kind", ["dataset", "image"])
def test_missing_pixels_are_the_mean_and_do_not_spoil_their_neighbours(kind: Any) -> None:
    pixels = noise(20, 20)
    pixels[3, 4] = np.nan
    pixels[5, 6] = np.inf
    pixels[7, 8] = -9999
    valid = pixels[..., 0] != -9999
    filled = pixels.copy()
    is_known = np.isfinite(pixels[..., 0]) & valid
    known = pixels[is_known].astype(np.float64)
    filled[~is_known] = 0.5 if kind == "dataset" else known.mean()
    stored = Preprocessing(1, (0.0, 1.0), (0.5,), (1.0,), kind)
    fixed = stored
    if kind == "image":
        fixed = Preprocessing(1, (0.0, 1.0), (known.mean(),), (known.std(),))
    np.testing.assert_allclose(
        Predictor(tile_dependent, BINARY, stored).predict_probs(pixels, valid),
        Predictor(tile_dependent, BINARY, fixed).predict_probs(filled),
        atol=1e-6,
    )
    nothing = np.full((4, 4, 1), np.nan, np.float32)
    predictor = Predictor(tile_dependent, BINARY, stored)
    assert np.isfinite(predictor.predict_probs(nothing)).all()


def test_pixels_without_a_channel_axis_are_refused() -> None:
    with pytest.raises(ShapeError, match="height, width, channels"):
        Predictor(tile_dependent, BINARY, GREY).predict_probs(noise(4, 4)[..., 0])


def test_thresholds_and_postprocessing_make_the_mask() -> None:
    pixels = np.zeros((20, 20, 1), np.float32)
    pixels[2:12, 2:12] = 1
    pixels[15, 15] = 1
    predictor = Predictor(tile_dependent, BINARY, GREY, postprocessing={"min_object_area": 4})
    mask = predictor.predict_mask(pixels)
    np.testing.assert_array_equal(mask[:14], pixels[:14, :, 0])
    assert mask[15, 15] == 0
    strict = Predictor(tile_dependent, BINARY, GREY, thresholds=(0.999,))
    assert strict.predict_mask(pixels).sum() == 0


class Probe(nn.Module):
    """Notes the mode and the memory format it is called with."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.calls: list[tuple[bool, bool, torch.dtype]] = []

    def forward(self, images: Tensor) -> Tensor:
        is_channels_last = images.is_contiguous(memory_format=torch.channels_last)
        logits = torch.nn.functional.conv2d(images, torch.ones(4, 4, 1, 1))
        self.calls.append((self.training, is_channels_last, logits.dtype))
        return self.norm(logits)


@pytest.mark.parametrize("is_training", [False, True])
def test_the_engine_evaluates_and_gives_back_the_mode(is_training: bool) -> None:
    network = Probe(nn.BatchNorm2d(4)).train(is_training)
    before = network.norm.running_mean.clone()
    engine = torch_engine(network, CPU)
    logits = engine(torch.rand(2, 4, 8, 8))
    assert network.calls == [(False, True, torch.float32)]
    assert network.training is network.norm.training is is_training
    assert torch.equal(network.norm.running_mean, before)
    assert not logits.requires_grad


def test_reduced_precision_still_gives_float32_probabilities() -> None:
    engine = torch_engine(Probe(nn.Identity()), CPU, torch.bfloat16)
    task = Task("multilabel", ("a", "b", "c", "d"))
    preprocessing = Preprocessing(4, (0.0, 1.0))
    probs = Predictor(engine, task, preprocessing).predict_probs(noise(9, 9, 4))
    assert probs.dtype == np.float32
    assert probs.shape == (4, 9, 9)


def make_model(task: Task = BINARY, **parts: Any) -> SegmentationModel:
    settings = {"width": 4, "depth": 2}
    torch.manual_seed(0)
    architecture = {
        "name": "unet",
        "in_channels": 1,
        "num_classes": task.num_classes,
        "settings": settings,
    }
    network = build_model("unet", 1, task.num_classes, **settings).eval()
    return SegmentationModel(network, task, GREY, architecture, (32, 32), **parts)


def test_a_predictor_is_as_the_model_says_unless_told(tmp_path: Path) -> None:
    model = make_model(
        thresholds=(0.3,),
        prediction={"overlap": 0.5, "postprocessing": {"min_object_area": 9, "min_hole_area": 2}},
    )
    save_model(model, tmp_path / "model.safetensors")
    plain = load_predictor(tmp_path, device="cpu")
    assert (plain.tile_size, plain.overlap, plain.thresholds) == ((32, 32), 0.5, (0.3,))
    assert plain.postprocessing["min_object_area"] == 9
    assert plain.stride == model.network.stride
    changed = load_predictor(
        model,
        device="cpu",
        tile_size=16,
        overlap=None,
        threshold=0.7,
        postprocessing={"min_object_area": 0},
    )
    assert (changed.tile_size, changed.overlap, changed.thresholds) == ((16, 16), 0.5, (0.7,))
    assert changed.postprocessing["min_object_area"] == 0
    assert changed.postprocessing["min_hole_area"] == 2
    pixels = noise(40, 40)
    expected = load_predictor(model, device="cpu").predict_probs(pixels)
    np.testing.assert_array_equal(plain.predict_probs(pixels), expected)


def test_a_batch_is_for_devices_that_gain_from_it() -> None:
    model = make_model(prediction={"batch_size": 6})
    assert load_predictor(model, device="cpu").batch_size == 1
    assert load_predictor(model, device="cpu", batch_size=3).batch_size == 3


def test_tiles_of_a_real_network_agree_with_the_whole_image_away_from_seams() -> None:
    model = make_model()
    pixels = noise(64, 96)
    whole = load_predictor(model, device="cpu", tile_size=128).predict_probs(pixels)
    tiled = load_predictor(model, device="cpu", tile_size=64, overlap=0.5).predict_probs(pixels)
    # The first tile ends at column 64 and the second begins at 32: until 32 there is one tile.
    reach = 32 - model.network.halo
    np.testing.assert_allclose(tiled[..., :reach], whole[..., :reach], atol=1e-5)
    assert np.abs(tiled - whole).max() < 0.1


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        (BINARY, {"overlap": 1.5}, r"prediction\.overlap is 1\.5"),
        (BINARY, {"tile_sise": 3}, "did you mean 'tile_size'"),
        (BINARY, {"threshold": 1.5}, "from 0 to 1"),
        (BINARY, {"threshold": (0.1, 0.2)}, "2 thresholds for 1 classes"),
        (LAND, {"threshold": 0.5}, "most probable class"),
        (BINARY, {"device": "abacus"}, "abacus"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    task: Task, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load_predictor(make_model(task), **{"device": "cpu", **arguments})
