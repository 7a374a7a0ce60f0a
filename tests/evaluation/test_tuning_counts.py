"""The counts from trees against the same counts made one threshold at a time."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from delineate.evaluation.tuning_counts import (
    Step,
    count_objects,
    count_pixels,
    count_thresholds,
    open_and_close,
)
from delineate.evaluation.tuning_trees import build_component_tree
from delineate.metrics.objects import match_objects
from delineate.morphology import closing, largest_part, opening
from delineate.postprocess import postprocess_mask
from delineate.task import Task

BINARY = Task("binary", ("cell",))
LEVELS = (0, 1, 2, 90, 91, 200, 254, 255)
THRESHOLDS = (1, 2, 3, 90, 91, 92, 201, 254, 255)
FEW = settings(deadline=None, max_examples=30)

CODES = st.tuples(st.integers(1, 16), st.integers(1, 16)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from(LEVELS))
)


def blobs(seed: int, size: int = 48) -> np.ndarray:
    """Codes with parts and holes of many sizes."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=(size, size)), 1.5)
    noisy = smooth / smooth.std() + 0.4 * rng.normal(size=(size, size))
    return np.clip(128 + 70 * noisy, 0, 255).astype(np.uint8)


def truth(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = ndimage.gaussian_filter(rng.normal(size=shape), 1.5) > 0.1
    return positive, rng.random(shape) < 0.9


@FEW
@given(CODES, st.sampled_from([4, 8]), st.integers(0, 6))
def test_parts_of_a_tree_are_those_of_every_threshold(
    codes: np.ndarray, connectivity: int, min_area: int
) -> None:
    tree = build_component_tree(codes, connectivity)
    area = tree.sum_pixels()
    number = tree.sum_by_level((area >= min_area).astype(np.int64))
    pixels = tree.sum_by_level(np.where(area >= min_area, area, 0))
    left = tree.without_small(area, min_area).reshape(codes.shape)
    structure = np.ones((3, 3)) if connectivity == 8 else None
    for level in THRESHOLDS:
        labels, _ = ndimage.label(codes >= level, structure=structure)
        areas = np.bincount(labels.ravel())
        keeps = areas >= min_area
        keeps[0] = False
        assert number[level] == keeps.sum()
        assert pixels[level] == areas[keeps].sum()
        np.testing.assert_array_equal(left >= level, keeps[labels])


@FEW
@given(CODES)
def test_the_largest_part_of_every_threshold(codes: np.ndarray) -> None:
    tree = build_component_tree(codes, 8)
    area, first = tree.sum_pixels(), tree.first_pixels()
    largest = tree.largest_by_level(area)
    for level in THRESHOLDS:
        expected = np.flatnonzero(largest_part(codes >= level))
        if len(expected):
            assert area[largest[level]] == len(expected)
            assert first[largest[level]] == expected[0]
        else:
            assert largest[level] == -1


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (0, 2), (2, 1), (3, 3)])
def test_opening_and_closing_commute_with_thresholds(one: int, other: int) -> None:
    codes = blobs(1)
    morphed = open_and_close(codes, one, other)
    for level in (40, 100, 128, 180, 255):
        expected = closing(opening(codes >= level, one), other)
        np.testing.assert_array_equal(morphed >= level, expected)


@pytest.mark.parametrize("radii", [(0, 0), (1, 0), (0, 1), (1, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_pixel_counts_are_those_of_the_post_processed_masks(
    radii: tuple[int, int], seed: int
) -> None:
    codes = blobs(seed)
    positive, counted = truth(codes.shape, seed)
    steps = [Step(*radii, area, False, hole) for area, hole in product((0, 5, 40), (0, 4, 30))]
    steps += [Step(*radii, 0, True, 0), Step(*radii, 40, True, 0), Step(*radii, 5, True, 30)]
    counts = count_pixels(codes, positive, counted, steps)
    assert (counts.num_positive, counts.num_counted) == ((positive & counted).sum(), counted.sum())
    for index, step in enumerate(steps):
        for level in range(20, 256, 9):
            mask = (codes >= level).astype(np.uint8)
            kept = postprocess_mask(mask, BINARY, **step._asdict()) == 1
            assert counts.hits[index, level] == (kept & positive & counted).sum(), step
            assert counts.alarms[index, level] == (kept & ~positive & counted).sum(), step


def test_histograms_and_trees_count_the_same() -> None:
    codes = blobs(3)
    positive, counted = truth(codes.shape)
    plain = count_thresholds(codes, positive, counted)
    tree = count_pixels(codes, positive, counted, [Step()])
    np.testing.assert_array_equal(plain.hits[:, 1:], tree.hits[:, 1:])
    np.testing.assert_array_equal(plain.alarms[:, 1:], tree.alarms[:, 1:])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_object_counts_are_those_of_the_post_processed_masks(seed: int) -> None:
    codes = blobs(seed)
    positive, counted = truth(codes.shape, seed + 7)
    counted[:12] = False  # so that some objects are mostly ignored
    positive |= codes > 150  # so that many objects match
    steps = [Step(0, 0, area) for area in (0, 3, 20)]
    steps += [Step(0, 0, 0, True), Step(0, 0, 3, False, 9)]
    counts = count_objects(codes, positive, counted, steps)
    assert counts.hits.max() > 3
    for index, step in enumerate(steps):
        for level in range(20, 256, 9):
            mask = postprocess_mask((codes >= level).astype(np.uint8), BINARY, **step._asdict())
            matches = match_objects(mask, positive, counted)
            assert counts.num_positive == matches.num_objects
            assert counts.hits[index, level] == matches.ious.size, (step, level)
            unmatched = matches.num_predicted - matches.ious.size
            assert counts.alarms[index, level] == unmatched, (step, level)
