"""What the course of a loss or score says, told apart from its noise.

Curves are (epochs,) and smoothed by running medians of three, which single bad epochs do not move.
Their noise is estimated by second differences, which a trend does not enter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Curve = NDArray[np.float64]

FEWEST_EPOCHS = 4
"""Epochs below which a course says nothing."""
FEWEST_HALVES = 8
"""Epochs below which two halves are not compared."""
MEDIAN_TO_MEAN = 1.2533
"""Standard error of a median in that of a mean, of a normal distribution."""
MAD_TO_SIGMA = 1.4826
"""Standard deviations of a normal distribution in one median absolute deviation."""


def smooth(curve: Curve) -> Curve:
    """Return running medians of three; the ends are those of two."""
    padded = np.concatenate([curve[:1], curve, curve[-1:]])
    triples = np.stack([padded[:-2], padded[1:-1], padded[2:]])
    return np.asarray(np.median(triples, axis=0), dtype=np.float64)


def noise(curve: Curve) -> float:
    """Return the standard deviation of what is not trend."""
    if len(curve) < FEWEST_EPOCHS:
        return 0.0
    second = np.diff(curve, n=2)
    return float(MAD_TO_SIGMA * np.median(np.abs(second)) / np.sqrt(6))


def late(curve: Curve) -> float:
    """Return the median over the last quarter, three epochs at least."""
    return float(np.median(curve[-max(3, len(curve) // 4) :]))


def rise_after_minimum(loss: Curve) -> float:
    """Return by which share a loss has risen since its minimum; 0 where that is noise.

    The minimum has to lie in the first 70 % of the epochs, and the rise has to be three times what
    noise makes of the difference.
    """
    if len(loss) < FEWEST_HALVES:
        return 0.0
    smoothed = smooth(loss)
    lowest = int(np.argmin(smoothed))
    # around it, as the very lowest value of a noisy curve is too low
    level = float(np.median(loss[max(0, lowest - 2) : lowest + 3]))
    rise = late(loss) - level
    if lowest > 0.7 * (len(loss) - 1) or rise <= 3 * noise(loss) or level <= 0:
        return 0.0
    return rise / level


def has_stood(loss: Curve) -> bool:
    """Whether the last epochs are no better, by 3 %, than the first half had been at its best.

    False where noise leaves the level of the last epochs open by more than 8 %.
    """
    if len(loss) < FEWEST_HALVES:
        return False
    before, now = float(smooth(loss)[: len(loss) // 2].min()), late(loss)
    num_late = max(3, len(loss) // 4)
    return now >= 0.97 * before and MEDIAN_TO_MEAN * noise(loss) / num_late**0.5 <= 0.08 * now


def fall(loss: Curve, start: int = 0) -> float:
    """Return by which share a loss has fallen from an epoch, counted from 0, to the end."""
    if len(loss) < FEWEST_EPOCHS:
        return 0.0
    first = float(loss[0] if start == 0 else smooth(loss)[start])
    return 1 - late(loss) / first if first > 0 else 0.0


def largest_rise(loss: Curve) -> float:
    """Return by which share a smoothed loss at most exceeds what it had been, beyond noise."""
    if len(loss) < FEWEST_EPOCHS:
        return 0.0
    smoothed = smooth(loss)
    before = np.minimum.accumulate(smoothed)
    rise = smoothed - before
    rise[rise <= 4 * noise(loss)] = 0
    return float(np.max(rise / np.maximum(before, np.finfo(float).tiny)))


def late_gain(score: Curve) -> float:
    """Return what the last third of the epochs has added to the best score; 0 where it is noise."""
    known = score[np.isfinite(score)]
    if len(known) < FEWEST_EPOCHS:
        return 0.0
    start = 2 * len(known) // 3
    gain = float(known[start:].max() - known[:start].max())
    return gain if gain > 1.5 * noise(known) else 0.0
