"""Brightness, contrast, gamma, channel jitter, blur, noise and JPEG artefacts, image alone.

Shifts and noise are measured by the patch's own spread, channel by channel: what suits a well-lit
photograph would drown a dark micrograph, or a channel that hardly varies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from delineate.errors import UsageError

Pixels = NDArray[Any]


@dataclass(frozen=True)
class _Curve:
    """One curve of values per channel: contrast about a pivot, shift, gamma."""

    pivot: NDArray[np.float32]
    contrast: float
    shift: NDArray[np.float32]
    gamma: float

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map values in shares of the range, (..., C)."""
        out = values * np.float32(self.contrast)
        out += self.shift + self.pivot * np.float32(1 - self.contrast)
        if self.gamma != 1:
            # Odd about 0: rasters may hold values outside of the stated range.
            out = np.copysign(np.abs(out) ** np.float32(self.gamma), out)
        return out


class IntensityAugmentation:
    """Changes the values of a patch, never its place."""

    def __init__(
        self,
        *,
        brightness: float = 0.2,
        contrast: float = 0.2,
        gamma: float = 0.2,
        channel_jitter: float = 0.05,
        odds: float = 0.5,
        blur: float = 0.1,
        blur_sigma: float = 1.5,
        noise: float = 0.1,
        noise_sigma: float = 0.05,
        jpeg: float = 0.0,
        jpeg_quality: tuple[int, int] = (50, 95),
    ) -> None:
        """Take the settings of `IntensityConfig`.

        The spread of a channel is four times its standard deviation in the patch, and at most the
        value range.

        Args:
            brightness: Largest shift either way, as a share of the patch's spread.
            contrast: Largest change of the contrast factor around 1; each channel's mean stays.
            gamma: Largest change of the exponent's natural logarithm.
            channel_jitter: Largest shift of a single channel, as a share of its spread.
            odds: Odds of each of brightness, contrast, gamma and channel jitter.
            blur: Odds of a Gaussian blur.
            blur_sigma: Largest standard deviation of the blur, in pixels.
            noise: Odds of Gaussian noise, drawn for each pixel and channel.
            noise_sigma: Largest standard deviation of the noise, as a share of the spread.
            jpeg: Odds of JPEG artefacts; images of other than 1 or 3 channels get none.
            jpeg_quality: Lowest and highest JPEG quality, 1 to 100.

        Raises:
            UsageError: If `jpeg_quality` does not rise within 1 to 100.
        """
        if not 1 <= jpeg_quality[0] <= jpeg_quality[1] <= 100:
            raise UsageError(
                f"augmentation.intensity.jpeg_quality is {jpeg_quality}; give a lowest and a "
                "highest quality between 1 and 100"
            )
        self.brightness = brightness
        self.contrast = contrast
        self.gamma = gamma
        self.channel_jitter = channel_jitter
        self.odds = odds
        self.blur = blur
        self.blur_sigma = blur_sigma
        self.noise = noise
        self.noise_sigma = noise_sigma
        self.jpeg = jpeg
        self.jpeg_quality = jpeg_quality

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """Return a changed patch of the same shape and type.

        Args:
            pixels: (H, W, C), contiguous; uint8 of range 0..255, or float32 whose value range
                maps to 0..1. Float values may leave the range, 8-bit values saturate.
            rng: Where every draw comes from.
        """
        shape = pixels.shape
        mean, spread = _measure(pixels)
        curve = self._draw_curve(mean, spread, rng)
        if curve is not None:
            pixels = _apply_curve(pixels, curve)
        if rng.random() < self.blur:
            sigma = rng.uniform(0, self.blur_sigma)
            # Narrower Gaussians leave the pixels as they are.
            if sigma > 0.2:
                pixels = cv2.GaussianBlur(
                    pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101
                ).reshape(shape)
        if rng.random() < self.noise:
            pixels = _add_noise(pixels, rng.uniform(0, self.noise_sigma) * spread, rng)
        if rng.random() < self.jpeg:
            quality = int(rng.integers(self.jpeg_quality[0], self.jpeg_quality[1] + 1))
            if shape[2] in (1, 3):
                pixels = _compress(pixels, quality)
        return pixels

    def _draw_curve(
        self, mean: NDArray[np.float32], spread: NDArray[np.float32], rng: np.random.Generator
    ) -> _Curve | None:
        shift, contrast, gamma = np.zeros(len(mean)), 1.0, 1.0
        draws = rng.random(4) < self.odds
        if draws[0]:
            shift += rng.uniform(-self.brightness, self.brightness)
        if draws[1]:
            contrast = 1 + rng.uniform(-self.contrast, self.contrast)
        if draws[2]:
            gamma = float(np.exp(rng.uniform(-self.gamma, self.gamma)))
        if draws[3]:
            shift += rng.uniform(-self.channel_jitter, self.channel_jitter, len(mean))
        if not draws.any():
            return None
        return _Curve(mean, contrast, shift.astype(np.float32) * spread, gamma)


def _measure(pixels: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and spread of each channel, in shares of the value range."""
    moments = [
        cv2.meanStdDev(pixels[..., first : first + 4]) for first in range(0, pixels.shape[2], 4)
    ]
    mean, std = (np.concatenate(parts).ravel() for parts in zip(*moments, strict=True))
    if pixels.dtype == np.uint8:
        mean, std = mean / 255, std / 255
    return mean.astype(np.float32), np.minimum(4 * std, 1).astype(np.float32)


def _apply_curve(pixels: Pixels, curve: _Curve) -> Pixels:
    if pixels.dtype != np.uint8:
        return curve(pixels)
    channels = pixels.shape[2]
    levels = np.linspace(0, 1, 256, dtype=np.float32)[:, None].repeat(channels, axis=1)
    table = _to_bytes(curve(levels))
    out: Pixels = cv2.LUT(pixels, table.reshape(256, 1, channels))
    return out.reshape(pixels.shape)


def _add_noise(pixels: Pixels, sigma: NDArray[np.float32], rng: np.random.Generator) -> Pixels:
    """Add Gaussian noise of 256 levels, which a table makes of bytes."""
    draws = np.frombuffer(rng.bytes(pixels.size), np.uint8).reshape(pixels.shape)
    is_bytes = pixels.dtype == np.uint8
    table = _normal_quantiles()[:, None] * sigma * np.float32(255 if is_bytes else 1)
    noise = cv2.LUT(draws, table.reshape(256, 1, -1))
    depth = cv2.CV_8U if is_bytes else cv2.CV_32F
    # As plain rows: OpenCV adds any number of channels only where both types agree.
    rows = (pixels.shape[0], -1)
    noisy: Pixels = cv2.add(pixels.reshape(rows), noise.reshape(rows), dtype=depth)
    return noisy.reshape(pixels.shape)


@cache
def _normal_quantiles() -> NDArray[np.float32]:
    """Return 256 evenly spaced quantiles of the normal distribution, of variance 1."""
    quantiles = np.array([NormalDist().inv_cdf((level + 0.5) / 256) for level in range(256)])
    return np.asarray(quantiles / quantiles.std(), np.float32)


def _compress(pixels: Pixels, quality: int) -> Pixels:
    """Pass 1 or 3 channels through JPEG; floats are rounded to 256 levels on the way."""
    levels = pixels if pixels.dtype == np.uint8 else _to_bytes(pixels)
    # OpenCV takes three channels in the order blue, green, red.
    _, stream = cv2.imencode(".jpg", levels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    out: Any = cv2.imdecode(stream, cv2.IMREAD_UNCHANGED)
    out = out.reshape(pixels.shape)[..., ::-1]
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(out)
    return np.ascontiguousarray(out, dtype=np.float32) / np.float32(255)


def _to_bytes(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
