"""Folds: whole groups, even sizes, even classes, whatever the order of the files."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from delineate.task import Task
from delineate.training.folds.assignment import (
    IMAGE_TOLERANCE,
    count_class_pixels,
    divide_into_folds,
)


@st.composite
def data_sets(draw):
    """Draw groups of 1 to 5 images, class contents with rare classes, and a number of folds."""
    num_folds = draw(st.integers(2, 5))
    sizes = draw(st.lists(st.integers(1, 5), min_size=num_folds, max_size=25))
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    groups = [f"g{index}" for index, size in enumerate(sizes) for _ in range(size)]
    shown = rng.random((len(groups), 4)) < [1, 0.7, 0.2, 0.05]
    return groups, (rng.gamma(0.5, 1000, (len(groups), 4)) * shown).astype(int), num_folds


def imbalance(folds, contents, num_folds):
    """Return the mean squared deviation of class pixels and of images showing them from even."""
    features = np.concatenate([contents, contents > 0], axis=1).astype(float)
    features = features[:, features.sum(axis=0) > 0]
    sums = np.stack([features[folds == fold].sum(axis=0) for fold in range(num_folds)])
    return (((sums * num_folds / features.sum(axis=0)) - 1) ** 2).mean()


@settings(deadline=None, max_examples=60)
@given(data_sets(), st.integers(0, 3))
def test_groups_are_whole_and_folds_are_even(data_set, seed):
    groups, contents, num_folds = data_set
    folds = divide_into_folds(groups, contents, num_folds, seed=seed)

    assert set(folds) == set(range(num_folds))
    fold_of = dict(zip(groups, folds, strict=True))
    assert [fold_of[group] for group in groups] == list(folds)
    # No fold is farther from the mean than one group, beyond what balanced classes may cost.
    counts = np.bincount(folds, minlength=num_folds)
    largest = max(groups.count(group) for group in set(groups))
    tolerance = IMAGE_TOLERANCE * counts.mean() * np.sqrt(num_folds)
    assert np.ptp(counts) <= max(largest, 2 * tolerance) + 1e-9


@settings(deadline=None, max_examples=30)
@given(data_sets(), st.randoms(use_true_random=False))
def test_the_order_of_the_images_does_not_matter(data_set, random):
    groups, contents, num_folds = data_set
    folds = divide_into_folds(groups, contents, num_folds)
    order = list(range(len(groups)))
    random.shuffle(order)
    again = divide_into_folds([groups[i] for i in order], contents[order], num_folds)
    assert list(again) == [folds[i] for i in order]


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 6), st.integers(0, 30), st.integers(0, 2**31))
def test_images_without_groups_are_dealt_out_to_within_one(num_folds, more, seed):
    number = num_folds + more
    contents = np.random.default_rng(seed).integers(0, 1000, (number, 3))
    folds = divide_into_folds([str(i) for i in range(number)], contents, num_folds)
    assert np.ptp(np.bincount(folds, minlength=num_folds)) <= 1


@settings(deadline=None, max_examples=20)
@given(data_sets())
def test_no_swap_of_groups_of_one_size_balances_classes_better(data_set):
    groups, contents, num_folds = data_set
    folds = divide_into_folds(groups, contents, num_folds)
    found = imbalance(folds, contents, num_folds)
    names = sorted(set(groups))
    group_of = np.asarray(groups)
    for first in names:
        for second in names:
            a, b = group_of == first, group_of == second
            if a.sum() != b.sum() or folds[a][0] == folds[b][0]:
                continue
            swapped = folds.copy()
            swapped[a], swapped[b] = folds[b][0], folds[a][0]
            assert imbalance(swapped, contents, num_folds) >= found - 1e-9


@pytest.mark.filterwarnings("ignore:The least populated class")
def test_classes_are_better_balanced_than_by_scikit_learn():
    """StratifiedGroupKFold sees one class an image: its most telling one, the rarest shown."""
    ours, theirs = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        groups = np.repeat(np.arange(20), rng.integers(1, 4, 20))
        shown = rng.random((len(groups), 4)) < [1, 0.6, 0.3, 0.15]
        contents = (rng.gamma(1, 1000, (len(groups), 4)) * shown).astype(int)
        rarest = np.where(shown, np.arange(4), 0).max(axis=1)
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        reference = np.empty(len(groups), dtype=int)
        for fold, (_, held_out) in enumerate(splitter.split(contents, rarest, groups)):
            reference[held_out] = fold
        folds = divide_into_folds([str(group) for group in groups], contents, 5)
        ours.append(imbalance(folds, contents, 5))
        theirs.append(imbalance(reference, contents, 5))
    assert np.mean(ours) < 0.9 * np.mean(theirs)
    assert sum(a < b for a, b in zip(ours, theirs, strict=True)) >= 10


def test_a_rare_class_is_shown_in_as_many_folds_as_it_can_be():
    contents = np.zeros((40, 2), int)
    contents[:, 0] = 1000
    contents[[3, 8, 21, 22, 39], 1] = [5, 400, 30, 80, 1]
    folds = divide_into_folds([str(i) for i in range(40)], contents, 5)
    assert len(set(folds[contents[:, 1] > 0])) == 5


def test_the_seed_decides_between_equals():
    groups, contents = [str(i) for i in range(30)], np.full((30, 2), 7)
    first, second = (divide_into_folds(groups, contents, 3, seed=seed) for seed in (0, 1))
    assert list(first) != list(second)
    assert list(first) == list(divide_into_folds(groups, contents, 3, seed=0))


def test_thousands_of_images_take_no_time():
    rng = np.random.default_rng(0)
    contents = rng.integers(0, 10_000, (3000, 12))
    folds = divide_into_folds([str(i) for i in range(3000)], contents, 5)
    assert set(np.bincount(folds)) == {600}
    assert imbalance(folds, contents, 5) < 1e-4


@pytest.mark.parametrize(
    ("task", "target", "wanted"),
    [
        (Task("binary", ("a",)), [[0, 1, 1], [1, 255, 0]], [2, 3]),
        (Task("multiclass", ("a", "b", "c")), [[0, 2, 2], [2, 255, 0]], [2, 0, 3]),
        (Task("multilabel", ("a", "b")), [[[1, 0]], [[1, 255]]], [1, 1]),
    ],
)
def test_pixels_that_do_not_count_are_not_counted(task, target, wanted):
    assert count_class_pixels([np.array(target, np.uint8)], task).tolist() == [wanted]
