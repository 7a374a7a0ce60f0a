"""Sums of many numbers in [0, 1] that come out the same in any order and on any machine.

A sum of floats depends on the order of its terms, so it differs between one process and many. Here
each number is rounded once, to a multiple of 2**-40 (by at most 4.6e-13), and whole numbers are
added. A sum is two int64, ones and fractions of 2**-40, on a last axis of length 2; sums that are
added plainly, as by an all-reduce over up to 2**22 processes, are put right by `carry`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRACTION_BITS = 40
_HALF_BITS = FRACTION_BITS // 2


def carry(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the same sums with fractions below one, (..., 2)."""
    ones, fractions = words[..., 0], words[..., 1]
    return np.stack(
        [ones + (fractions >> FRACTION_BITS), fractions & ((1 << FRACTION_BITS) - 1)], axis=-1
    )


def sum_exactly(values: NDArray[np.floating[Any]]) -> NDArray[np.int64]:
    """Return the sum of the values, (2,).

    Args:
        values: In [0, 1], (N,), N below 2**31.
    """
    upper, lower = _halves(values)
    return _joined(np.asarray(upper.sum()), np.asarray(lower.sum()))


def sum_by_bin(
    values: NDArray[np.floating[Any]], bins: NDArray[np.intp], num_bins: int
) -> NDArray[np.int64]:
    """Return the sum of the values of each bin, (num_bins, 2).

    Args:
        values: In [0, 1], (N,), N below 2**31.
        bins: Below `num_bins`, (N,).
        num_bins: Length of the result.
    """
    upper, lower = _halves(values)
    return _joined(np.bincount(bins, upper, num_bins), np.bincount(bins, lower, num_bins))


def _halves(
    values: NDArray[np.floating[Any]],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the upper and the lower bits as whole numbers whose sums float64 holds exactly."""
    scaled = np.rint(values * np.float64(2.0**FRACTION_BITS))
    upper = np.floor(scaled * 2.0**-_HALF_BITS)
    return upper, scaled - upper * 2.0**_HALF_BITS


def _joined(upper: NDArray[Any], lower: NDArray[Any]) -> NDArray[np.int64]:
    high, low = upper.astype(np.int64), lower.astype(np.int64)
    to_ones = FRACTION_BITS - _HALF_BITS
    ones, rest = high >> to_ones, high & ((1 << to_ones) - 1)
    return carry(np.stack([ones, (rest << _HALF_BITS) + low], axis=-1))


def as_float(words: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sums as floats, (...)."""
    return np.asarray(words[..., 0] + np.ldexp(words[..., 1].astype(np.float64), -FRACTION_BITS))
