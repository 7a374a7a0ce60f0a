from __future__ import annotations

import inspect

import numpy as np
import pytest

from delineate.augmentation import IntensityAugmentation
from delineate.config import IntensityConfig
from delineate.errors import UsageError

OFF = {"odds": 0.0, "blur": 0.0, "noise": 0.0, "jpeg": 0.0}


def picture(channels: int = 3, size: int = 48) -> np.ndarray:
    rows, cols = np.mgrid[:size, :size]
    planes = [60 + 100 * (rows + k * cols) / (size * (k + 1)) for k in range(channels)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def only(**settings: float) -> IntensityAugmentation:
    return IntensityAugmentation(**{**OFF, **settings})  # type: ignore[arg-type]


def test_the_settings_are_those_of_the_constructor() -> None:
    parameters = inspect.signature(IntensityAugmentation.__init__).parameters
    defaults = {name: p.default for name, p in parameters.items() if name != "self"}
    assert defaults == IntensityConfig().model_dump()


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_shape_and_type_stay(dtype: type, channels: int) -> None:
    pixels = picture(channels).astype(dtype)
    if dtype == np.float32:
        pixels /= 255
    augmentation = IntensityAugmentation(odds=1, blur=1, noise=1, jpeg=1)
    before = pixels.copy()
    out = augmentation(pixels, np.random.default_rng(0))
    assert out.shape == pixels.shape
    assert out.dtype == dtype
    assert not np.array_equal(out, pixels)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_equal_generators_change_alike(dtype: type) -> None:
    pixels = (picture() / (255 if dtype == np.float32 else 1)).astype(dtype)
    augmentation = IntensityAugmentation(blur=0.5, noise=0.5, jpeg=0.5)
    for seed in range(10):
        one, other = (augmentation(pixels, np.random.default_rng(seed)) for _ in range(2))
        np.testing.assert_array_equal(one, other)


def test_nothing_drawn_changes_nothing() -> None:
    pixels = picture()
    assert only()(pixels, np.random.default_rng(0)) is pixels


@pytest.mark.parametrize("seed", range(6))
def test_bytes_and_floats_go_through_the_same_curve(seed: int) -> None:
    pixels = picture()
    augmentation = only(odds=1.0, brightness=0.1, contrast=0.1, gamma=0.2, channel_jitter=0.05)
    as_bytes = augmentation(pixels, np.random.default_rng(seed))
    as_floats = augmentation(pixels.astype(np.float32) / 255, np.random.default_rng(seed))
    np.testing.assert_allclose(as_bytes, 255 * np.clip(as_floats, 0, 1), atol=0.51)


def test_contrast_keeps_the_mean_and_brightness_shifts_it() -> None:
    pixels = picture().astype(np.float32) / 255
    contrast = only(odds=1, brightness=0, gamma=0, channel_jitter=0, contrast=0.5)
    brightness = only(odds=1, brightness=0.3, gamma=0, channel_jitter=0, contrast=0)
    out = contrast(pixels, np.random.default_rng(1))
    np.testing.assert_allclose(out.mean(axis=(0, 1)), pixels.mean(axis=(0, 1)), atol=1e-5)
    assert out.std() != pytest.approx(pixels.std(), rel=0.02)
    moved = brightness(pixels, np.random.default_rng(1)) - pixels
    shares = moved / (4 * pixels.std(axis=(0, 1)))
    assert np.ptp(shares) < 1e-5
    assert 0 < abs(shares.mean()) <= 0.3


def test_gamma_keeps_both_ends_of_the_range_and_signs() -> None:
    pixels = np.array([0, 0.5, 1, -0.5, 2], np.float32).reshape(1, 5, 1)
    gamma = only(odds=1, brightness=0, contrast=0, channel_jitter=0, gamma=0.5)
    out = gamma(pixels, np.random.default_rng(0))[0, :, 0]
    assert out[0] == 0
    assert out[2] == 1
    assert out[3] == -out[1] != -0.5
    assert np.isfinite(out).all()


def test_channel_jitter_moves_channels_apart() -> None:
    pixels = picture().astype(np.float32) / 255
    jitter = only(odds=1, brightness=0, contrast=0, gamma=0, channel_jitter=0.1)
    moved = (jitter(pixels, np.random.default_rng(0)) - pixels).mean(axis=(0, 1))
    assert len(set(moved.round(4))) == 3
    assert np.abs(moved).max() <= 0.1


def test_dark_patches_keep_their_signal() -> None:
    # Cells 8 levels above black: shifts and noise of a photograph's size would hide them.
    pixels = np.full((64, 64, 3), 2, np.uint8)
    pixels[20:44, 20:44] = 10
    augmentation = IntensityAugmentation(odds=1, blur=1, noise=1)
    for seed in range(30):
        out = augmentation(pixels, np.random.default_rng(seed)).astype(float).mean(axis=2)
        inside, outside = out[24:40, 24:40], out[:16]
        assert inside.mean() - outside.mean() > 3 * (inside.std() + outside.std()) / 2


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_noise_has_no_mean_and_blur_takes_detail_away(dtype: type) -> None:
    scale = 255 if dtype == np.uint8 else 1
    pixels = (picture(size=64) * (scale / 255)).astype(dtype)
    noisy = only(noise=1, noise_sigma=0.1)(pixels, np.random.default_rng(0))
    change = noisy.astype(np.float64) - pixels
    assert (change.std(axis=(0, 1)) > 0).all()
    assert (change.std(axis=(0, 1)) <= 0.4 * pixels.std(axis=(0, 1))).all()
    assert abs(change.mean()) < 0.005 * scale
    blurred = only(blur=1, blur_sigma=3)(noisy, np.random.default_rng(2))
    detail = [np.diff(image.astype(np.float64), axis=1).std() for image in (noisy, blurred)]
    assert detail[1] < 0.5 * detail[0]


def test_jpeg_artefacts_are_small_and_keep_the_order_of_the_channels() -> None:
    pixels = picture()
    out = only(jpeg=1)(pixels, np.random.default_rng(0))
    difference = np.abs(out.astype(int) - pixels)
    assert 0 < difference.max() < 30
    assert difference.mean(axis=(0, 1)).max() < 4


@pytest.mark.parametrize("quality", [(0, 50), (60, 50), (50, 101)])
def test_impossible_qualities_are_refused(quality: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="jpeg_quality"):
        IntensityAugmentation(jpeg_quality=quality)
