"""Resampling of sums over groups, and the intervals that come of it.

Groups are drawn with replacement, as many as there are (https://doi.org/10.1201/9780429246593).
What is resampled are sums, so a resample is a row of a matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from delineate.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

Method = Literal["bca", "percentile"]

NUM_RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Interval:
    """A number and the range that its sampling error spans."""

    estimate: float | None
    """The number of the whole set; None where undefined."""
    low: float | None
    high: float | None
    """The ends; None where there are fewer than two groups, or too few resamples define it."""
    standard_error: float | None

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is told from none."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def bootstrap(
    sums: FloatArray,
    statistic: Callable[[FloatArray], FloatArray],
    *,
    confidence: float = CONFIDENCE,
    method: Method = "bca",
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[Interval]:
    """Return the intervals of statistics of sums over groups.

    Args:
        sums: What each group adds, (num_groups, num_columns).
        statistic: From the sums of whole sets, (n, num_columns), to the numbers, (n, m); NaN is
            undefined.
        confidence: See `score_intervals`.
        method: See `score_intervals`.
        num_resamples: See `score_intervals`.
        seed: See `score_intervals`.

    Returns:
        One interval for each of the m numbers.
    """
    if not 0 < confidence < 1:
        raise UsageError(f"confidence must lie between 0 and 1, got {confidence}")
    if num_resamples < 1:
        raise UsageError(f"num_resamples must be at least 1, got {num_resamples}")
    sums = np.asarray(sums, dtype=np.float64)
    num_groups = len(sums)
    total = sums.sum(axis=0)
    estimates = statistic(total[None])[0]
    if num_groups < 2:
        return [Interval(_number(value), None, None, None) for value in estimates]
    rng = np.random.default_rng(seed)
    shares = np.full(num_groups, 1 / num_groups)
    drawn = rng.multinomial(num_groups, shares, size=num_resamples).astype(np.float64)
    resampled = statistic(drawn @ sums)
    without_one = statistic(total - sums)
    return [
        _interval(float(estimate), resampled[:, i], without_one[:, i], confidence, method)
        for i, estimate in enumerate(estimates)
    ]


def _interval(
    estimate: float,
    resampled: FloatArray,
    without_one: FloatArray,
    confidence: float,
    method: Method,
) -> Interval:
    defined = np.sort(resampled[np.isfinite(resampled)])
    if not np.isfinite(estimate) or len(defined) < len(resampled) / 2:
        return Interval(_number(estimate), None, None, None)
    levels = np.asarray([(1 - confidence) / 2, (1 + confidence) / 2])
    if method == "bca":
        levels = _correct_levels(levels, estimate, defined, without_one)
    low, high = np.quantile(defined, levels)
    error = float(defined.std(ddof=1)) if len(defined) > 1 else None
    return Interval(estimate, float(low), float(high), error)


def _correct_levels(
    levels: FloatArray, estimate: float, resampled: FloatArray, without_one: FloatArray
) -> FloatArray:
    """Return the quantiles that BCa takes in place of the plain ones."""
    from scipy.special import ndtr, ndtri

    # Equal values count half, so that a constant score is not taken for a biased one.
    below = (
        np.searchsorted(resampled, estimate, "left") + np.searchsorted(resampled, estimate, "right")
    ) / (2 * len(resampled))
    if not 0 < below < 1:
        return levels
    bias = ndtri(below)
    spread = without_one[np.isfinite(without_one)]
    deviation = spread.mean() - spread if len(spread) else np.zeros(1)
    scale = float((deviation**2).sum()) ** 1.5
    acceleration = float((deviation**3).sum()) / (6 * scale) if scale > 0 else 0.0
    shifted = bias + ndtri(levels)
    stretch = np.maximum(1 - acceleration * shifted, 1e-6)  # beyond it the level is 1 anyway
    return np.asarray(ndtr(bias + shifted / stretch), dtype=np.float64)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
