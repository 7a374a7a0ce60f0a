from __future__ import annotations

import threading
import tracemalloc
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from delineate.errors import UsageError
from delineate.models import build_model
from delineate.prediction.engines import torch_engine
from delineate.prediction.predictor import Predictor
from delineate.prediction.seams import SeamSums
from delineate.prediction.streaming import stream_bands
from delineate.prediction.strips import memory_per_pixel, plan_strips
from delineate.prediction.tile_choice import network_halo
from delineate.preprocessing import Preprocessing
from delineate.task import Task
from delineate.tiling import Window, plan_tiles

BINARY = Task("binary", ("cell",))
LAND = Task("multiclass", ("ground", "road", "roof"), background="ground")
GREY = Preprocessing(1, (0.0, 1.0), (0.0,), (1.0,))
CPU = torch.device("cpu")


@dataclass
class ArraySource:
    """A raster in memory that notes what is read of it."""

    pixels: np.ndarray
    valid: np.ndarray

    def __post_init__(self) -> None:
        self.height, self.width = self.pixels.shape[:2]
        self.dtype = self.pixels.dtype
        self.windows: list[Window] = []

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        self.windows.append(window)
        return self.pixels[window.slices], self.valid[window.slices]


def noise_source(height: int, width: int, channels: int = 1) -> ArraySource:
    pixels = np.random.default_rng(0).random((height, width, channels), dtype=np.float32)
    return ArraySource(pixels, np.ones((height, width), dtype=bool))


def tile_dependent(tiles: Tensor) -> Tensor:
    """Logits that depend on the tile that a pixel is in, so that blending shows."""
    return tiles * 3 - tiles.mean(dim=(2, 3), keepdim=True)


def run(
    predictor: Predictor, source: Any, *, first: tuple[int, int] = (0, 0), **limits: Any
) -> tuple[np.ndarray, SeamSums, list[tuple[int, int]]]:
    plan = predictor.plan(source.height, source.width)
    classes = predictor.task.num_classes
    strips = plan_strips(plan, limits.get("bytes_per_pixel", memory_per_pixel(4, classes)))
    result = np.full((classes, source.height, source.width), -1, np.float32)
    seams = SeamSums()
    order = []
    for band in stream_bands(
        predictor.tile_probs,
        source,
        predictor.preprocessing,
        plan,
        strips,
        num_classes=classes,
        batch_size=predictor.batch_size,
        num_workers=predictor.num_workers,
        first=first,
    ):
        assert (result[:, *band.window.slices] == -1).all()
        result[:, *band.window.slices] = band.probs
        np.testing.assert_array_equal(band.valid, source.valid[band.window.slices])
        seams += band.seams
        order.append((band.strip, band.row))
    assert threading.active_count() == 1 or not any(
        thread.name.startswith("delineate-") for thread in threading.enumerate()
    )
    return result, seams, order


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 40),
    st.integers(1, 50),
    st.integers(8, 24),
    st.integers(8, 24),
    st.floats(0, 0.7),
    st.sampled_from(["gaussian", "average"]),
    st.integers(1, 5),
    st.sampled_from([1, 4]),
    st.integers(1, 10**7),
    st.sampled_from([1, 3]),
)
def test_bands_are_the_weighted_mean_of_the_tiles(
    height: int, width: int, tile_height: int, tile_width: int, overlap: float, blend: Any,
    batch_size: int, stride: int, bytes_per_pixel: int, num_workers: int,
) -> None:  # fmt: skip
    source = noise_source(height, width)
    predictor = Predictor(
        *(tile_dependent, BINARY, GREY),
        tile_size=(tile_height, tile_width),
        overlap=overlap,
        blend=blend,
        batch_size=batch_size,
        stride=stride,
        num_workers=num_workers,
    )
    result, _, order = run(predictor, source, bytes_per_pixel=bytes_per_pixel)
    assert order == sorted(order)
    # The definition, in ten lines of float64.
    image = source.pixels[..., 0].astype(np.float64)
    sums, totals = np.zeros(image.shape), np.zeros(image.shape)
    plan = plan_tiles(height, width, predictor.tile_size, "blended", overlap=overlap, stride=stride)
    for row in plan.rows:
        for col in plan.cols:
            tile = image[row.start : row.stop, col.start : col.stop]
            offsets = [np.arange(side) - (side - 1) / 2 for side in tile.shape]
            bells = [np.exp(-0.5 * (8 * o / len(o)) ** 2) for o in offsets]
            weights = np.outer(*bells) if blend == "gaussian" else np.ones(tile.shape)
            window = (slice(row.start, row.stop), slice(col.start, col.stop))
            sums[window] += weights / (1 + np.exp(-(tile * 3 - tile.mean())))
            totals[window] += weights
    np.testing.assert_allclose(result[0], sums / totals, rtol=0, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 10**7), st.randoms())
def test_any_band_may_be_the_first(height: int, width: int, size: int, random: Any) -> None:
    source = noise_source(height, width)
    predictor = Predictor(tile_dependent, BINARY, GREY, tile_size=(12, 16), overlap=0.5)
    whole, _, order = run(predictor, source, bytes_per_pixel=size)
    start = random.randrange(len(order))
    part, _, left = run(predictor, source, bytes_per_pixel=size, first=order[start])
    assert left == order[start:]
    is_done = part != -1
    np.testing.assert_array_equal(part[is_done], whole[is_done])


@pytest.mark.parametrize(
    ("name", "style"),
    [
        ("unet", {"width": 4, "depth": 2}),
        ("unet", {"width": 4, "depth": 3, "upsampling": "bilinear"}),
        ("unet", {"width": 4, "depth": 2, "stem_stride": 2}),
        ("resunet", {"width": 4, "depth": 2, "preactivation": True}),
    ],
)
@pytest.mark.parametrize("shape", [(150, 333), (40, 401), (97, 98)])
def test_exact_tiling_equals_the_whole_image(
    name: str, style: dict[str, Any], shape: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    network = build_model(name, 1, 3, norm="batch", **style).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, std=0.3)
    engine = torch_engine(network, CPU)
    source = noise_source(*shape)
    side = 4 * network.halo
    predictor = Predictor(
        *(engine, LAND, GREY), tile_size=(side, side + 5), tiling="exact",
        stride=network.stride, halo=network.halo,
    )  # fmt: skip
    whole = Predictor(engine, LAND, GREY, tile_size=shape).predict_probs(source.pixels)
    streamed, _, _ = run(predictor, source, bytes_per_pixel=50_000)
    np.testing.assert_allclose(streamed, whole, rtol=0, atol=1e-5)
    _, seams, _ = run(predictor, source)
    np.testing.assert_allclose(predictor.predict_probs(source.pixels), whole, rtol=0, atol=1e-5)
    assert seams.largest < 1e-5
    assert (seams.count > 0) == (predictor.plan(*shape).num_tiles > 1)


@pytest.mark.parametrize(
    ("name", "halo", "shape"), [("unet", 107, (2048, 2048)), ("resunet", 137, (1100, 1300))]
)
def test_networks_of_four_poolings_are_exact_on_large_images(
    name: str, halo: int, shape: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    network = build_model(name, 1, 1, width=4, depth=4).eval()
    assert network.halo == halo
    engine = torch_engine(network, CPU)
    source = noise_source(*shape)
    with torch.inference_mode():
        image = torch.from_numpy(GREY.network_input(source.pixels))
        whole = engine(image[None]).sigmoid()[0].numpy()
    predictor = Predictor(
        *(engine, BINARY, GREY), tile_size=(1024, 768), tiling="exact",
        stride=network.stride, halo=network.halo,
    )  # fmt: skip
    streamed, seams, _ = run(predictor, source)
    np.testing.assert_allclose(streamed, whole, rtol=0, atol=2e-6)
    assert 0 <= seams.largest <= 2e-6
    assert seams.count > 3000


def test_networks_that_normalise_whole_tiles_are_not_called_exact() -> None:
    torch.manual_seed(0)
    network = build_model("unet", 1, 1, width=4, depth=2, norm="instance").eval()
    assert network_halo(network) is None
    predictor = Predictor(torch_engine(network, CPU), BINARY, GREY, tile_size=(96, 96))
    with pytest.raises(UsageError, match="normalises over whole tiles"):
        replace(predictor, tiling="exact").plan(300, 300)
    _, seams, _ = run(predictor, noise_source(300, 300))
    assert seams.mean is not None
    assert seams.mean > 1e-4


@dataclass
class EndlessSource:
    """A raster of any size that is made up as it is read."""

    height: int
    width: int

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(np.uint8)

    def read(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        pixels = np.full((window.height, window.width, 3), window.row % 251, np.uint8)
        return pixels, np.ones((window.height, window.width), dtype=bool)


def peak_bytes(height: int, width: int) -> int:
    plan = plan_tiles(height, width, (64, 64), "blended")
    preprocessing = Preprocessing(3)
    tracemalloc.start()
    try:
        for _ in stream_bands(
            lambda tiles: np.zeros((len(tiles), 2, *tiles.shape[2:]), np.float32),
            EndlessSource(height, width),
            preprocessing,
            plan,
            plan_strips(plan, memory_per_pixel(3, 2)),
            num_classes=2,
        ):
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_raster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("delineate.prediction.strips.MAX_STRIP_WIDTH", 1024)
    small, tall, wide = peak_bytes(600, 1300), peak_bytes(3000, 1300), peak_bytes(600, 6000)
    assert small < 64 * 1024 * memory_per_pixel(3, 2) * 1.5
    assert max(tall, wide) < 1.1 * small
