from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from delineate.metrics.fixed_point import as_float, carry, sum_by_bin, sum_exactly

VALUES = arrays(np.float64, st.integers(0, 60), elements=st.floats(0, 1))


@settings(deadline=None, max_examples=50)
@given(values=VALUES, seed=st.integers(0, 99))
def test_sums_are_those_of_the_rounded_numbers_in_any_order(values: np.ndarray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bins = rng.integers(0, 3, values.size)
    words = sum_by_bin(values, bins, 3)
    order = rng.permutation(values.size)
    np.testing.assert_array_equal(sum_by_bin(values[order], bins[order], 3), words)
    np.testing.assert_array_equal(sum_exactly(values), carry(words.sum(axis=0)))
    for index in range(3):
        exact = sum((Fraction(float(v)) for v in values[bins == index]), start=Fraction(0))
        found = int(words[index, 0]) + Fraction(int(words[index, 1]), 2**40)
        assert abs(found - exact) <= Fraction(int((bins == index).sum()), 2**41)
        assert abs(float(as_float(words)[index]) - float(exact)) < 1e-10


def test_plainly_added_sums_are_put_right() -> None:
    once = sum_by_bin(np.full(7, 0.9), np.zeros(7, np.intp), 1)
    added = np.sum([once] * 1000, axis=0)
    assert added[0, 1] >= 2**40
    words = carry(added)
    assert 0 <= words[0, 1] < 2**40
    assert abs(float(as_float(words)[0]) - 6300.0) < 1e-8


def test_far_more_terms_than_float32_or_one_word_hold() -> None:
    words = np.asarray([[2**50, 2**40 - 1]])
    doubled = carry(words + words)
    assert doubled.tolist() == [[2**51 + 1, 2**40 - 2]]
