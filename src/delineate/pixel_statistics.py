"""Sums over the pixels of many images, channel by channel: means, deviations, ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALLEST_STD = 1e-3
"""Share of the value range below which a channel counts as constant and is not stretched."""

_BLOCK_VALUES = 1 << 22
_RANGE_PERCENTILES = (0.5, 99.5)


class PixelStatistics:
    """Sums over pixels of images with the same number of channels.

    Sums are float64, and values that are not finite are left out.
    """

    def __init__(self) -> None:
        """Start with no pixels."""
        self.counts = self.sums = self.squares = np.zeros(0)
        self.lows = self.highs = np.zeros(0)
        self.low, self.high = np.inf, -np.inf
        self.has_equal_colours = True

    def update(self, pixels: NDArray[Any]) -> None:
        """Add the pixels of an image, (H, W, C)."""
        channels = pixels.shape[2]
        if not self.counts.size:
            self.counts, self.sums, self.squares = np.zeros((3, channels))
            self.lows, self.highs = np.full(channels, np.inf), np.full(channels, -np.inf)
        is_float = np.issubdtype(pixels.dtype, np.floating)
        rows_per_block = max(1, _BLOCK_VALUES // max(1, pixels.shape[1] * channels))
        for row in range(0, pixels.shape[0], rows_per_block):
            block = pixels[row : row + rows_per_block].reshape(-1, channels)
            self.has_equal_colours = self.has_equal_colours and bool(
                channels >= 3 and (block[:, :1] == block[:, 1:3]).all()
            )
            values = block.astype(np.float64)
            finite = np.isfinite(values) if is_float else np.ones(values.shape, bool)
            self.counts += finite.sum(axis=0)
            self.lows = np.minimum(self.lows, values.min(axis=0, where=finite, initial=np.inf))
            self.highs = np.maximum(self.highs, values.max(axis=0, where=finite, initial=-np.inf))
            values[~finite] = 0
            self.sums += values.sum(axis=0)
            self.squares += np.einsum("nc,nc->c", values, values)
        if pixels.dtype != np.uint8:
            self._widen_range(pixels)

    def _widen_range(self, pixels: NDArray[Any]) -> None:
        # Every n-th row and column: percentiles need a sample, not each pixel.
        step = max(1, round((pixels.shape[0] * pixels.shape[1] / 65536) ** 0.5))
        sample = pixels[::step, ::step].astype(np.float64)
        sample = sample[np.isfinite(sample)]
        if sample.size:
            low, high = np.percentile(sample, _RANGE_PERCENTILES)
            self.low, self.high = min(self.low, float(low)), max(self.high, float(high))

    def is_constant(self, channel: int) -> bool:
        """Return whether a channel has one value everywhere."""
        return bool(self.lows[channel] == self.highs[channel])

    def converted(self, in_channels: int) -> PixelStatistics:
        """Return the sums of the same images after `convert_channels`."""
        if self.counts.size == in_channels:
            return self
        out = PixelStatistics()
        chosen = [0] * in_channels if in_channels == 1 or self.counts.size < 3 else [0, 1, 2]
        for name in ("counts", "sums", "squares", "lows", "highs"):
            setattr(out, name, getattr(self, name)[chosen])
        out.low, out.high = self.low, self.high
        return out

    def merge(self, other: PixelStatistics) -> None:
        """Add the pixels of other images with as many channels."""
        if not self.counts.size:
            self.counts, self.sums, self.squares = np.zeros((3, other.counts.size))
        self.counts = self.counts + other.counts
        self.sums = self.sums + other.sums
        self.squares = self.squares + other.squares
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def value_range(self) -> tuple[float, float]:
        """Return the lowest 0.5th and the highest 99.5th percentile of any image, rising."""
        if not np.isfinite(self.low):
            return 0.0, 1.0
        return self.low, self.high if self.high > self.low else self.low + 1.0

    def normalisation(
        self, value_range: tuple[float, float]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation in shares of the value range."""
        low, width = value_range[0], value_range[1] - value_range[0]
        counts = np.maximum(self.counts, 1)
        means = np.where(self.counts > 0, self.sums / counts, low)
        variances = np.maximum(self.squares / counts - means**2, 0)
        stds = np.sqrt(variances) / width
        stds = np.where(stds < SMALLEST_STD, 1.0, stds)
        return tuple(((means - low) / width).tolist()), tuple(stds.tolist())
