from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from delineate.errors import UsageError
from delineate.morphology import fill_holes, opening, remove_small
from delineate.postprocess import postprocess_mask
from delineate.task import Task

BINARY = Task("binary", ("cell",))
TAGS = Task("multilabel", ("road", "roof"))
LAND = Task("multiclass", ("ground", "road", "roof"), background="ground")
NO_GROUND = Task("multiclass", ("water", "road", "roof"))

LABELS = arrays(np.uint8, (14, 17), elements=st.integers(0, 2))
AREAS = st.integers(0, 9)
RADII = st.integers(0, 2)
FEW = settings(deadline=None, max_examples=40)


@pytest.mark.parametrize("task", [BINARY, TAGS, LAND, NO_GROUND], ids=lambda task: task.kind)
def test_by_default_nothing_changes(task: Task) -> None:
    shape = (2, 9, 8) if task.kind == "multilabel" else (9, 8)
    mask = np.random.default_rng(0).integers(0, 2, shape, dtype=np.uint8)
    np.testing.assert_array_equal(postprocess_mask(mask, task), mask)


def test_binary_specks_go_and_holes_close() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[4:14, 4:14] = 1
    expected = mask.copy()
    mask[8, 8] = 0
    mask[17:19, 17:19] = 1
    np.testing.assert_array_equal(
        postprocess_mask(mask, BINARY, min_object_area=5, min_hole_area=2), expected
    )


def test_the_guides_recipe_is_a_special_case() -> None:
    mask = (np.random.default_rng(1).random((60, 50)) < 0.8).astype(np.uint8)
    opened = opening(mask, 1)
    labels, number = ndimage.label(opened, structure=np.ones((3, 3)))
    expected = np.zeros_like(mask)
    for label in range(1, number + 1):
        if (labels == label).sum() >= 12:
            expected[labels == label] = 1
    actual = postprocess_mask(mask, BINARY, opening_radius=1, min_object_area=12)
    np.testing.assert_array_equal(actual, expected)


@FEW
@given(arrays(np.uint8, (2, 14, 17), elements=st.integers(0, 1)), RADII, RADII, AREAS, AREAS)
def test_multilabel_channels_are_binary_masks_of_their_own(
    mask: np.ndarray, opening_radius: int, closing_radius: int, objects: int, holes: int
) -> None:
    settings = {
        "opening_radius": opening_radius,
        "closing_radius": closing_radius,
        "min_object_area": objects,
        "min_hole_area": holes,
    }
    cleaned = postprocess_mask(mask, TAGS, **settings)
    for channel in range(2):
        np.testing.assert_array_equal(
            cleaned[channel], postprocess_mask(mask[channel], BINARY, **settings)
        )


@FEW
@given(LABELS, AREAS)
def test_freed_pixels_take_the_nearest_class_that_stays(mask: np.ndarray, area: int) -> None:
    cleaned = postprocess_mask(mask, NO_GROUND, min_object_area=area)
    stays = np.zeros(mask.shape, bool)
    for index in range(3):
        stays |= remove_small(mask == index, area)
    if not stays.any():
        np.testing.assert_array_equal(cleaned, mask)
        return
    np.testing.assert_array_equal(cleaned[stays], mask[stays])
    kept = np.argwhere(stays)
    for row, col in np.argwhere(~stays):
        distances = ((kept - (row, col)) ** 2).sum(axis=1)
        nearest = kept[distances == distances.min()]
        assert cleaned[row, col] in {mask[r, c] for r, c in nearest}


@FEW
@given(LABELS, RADII, AREAS)
def test_growing_takes_background_only(mask: np.ndarray, radius: int, area: int) -> None:
    cleaned = postprocess_mask(mask, LAND, closing_radius=radius, min_hole_area=area)
    np.testing.assert_array_equal(cleaned[mask != 0], mask[mask != 0])
    if radius == 0:
        roads = fill_holes(mask == 1, area) & ((mask == 0) | (mask == 1))
        np.testing.assert_array_equal(cleaned == 1, roads)


def test_the_background_is_never_small() -> None:
    mask = np.ones((10, 10), np.uint8)
    mask[4, 4] = 0
    np.testing.assert_array_equal(postprocess_mask(mask, LAND, min_object_area=9), mask)


def test_growing_needs_a_background() -> None:
    with pytest.raises(UsageError, match=r"task\.background"):
        postprocess_mask(np.zeros((4, 4), np.uint8), NO_GROUND, closing_radius=1)


@FEW
@given(LABELS, AREAS)
def test_only_the_largest_object_stays_the_first_of_equals(mask: np.ndarray, area: int) -> None:
    mask = (mask > 0).astype(np.uint8)
    labels, number = ndimage.label(mask, structure=np.ones((3, 3)))
    areas = [int((labels == label).sum()) for label in range(1, number + 1)]
    expected = np.zeros_like(mask)
    if areas and max(areas) >= area:
        expected[labels == 1 + areas.index(max(areas))] = 1  # scipy numbers in reading order
    actual = postprocess_mask(mask, BINARY, min_object_area=area, largest_only=True)
    np.testing.assert_array_equal(actual, expected)


def test_of_each_class_only_the_largest_object_stays() -> None:
    mask = np.zeros((12, 12), np.uint8)
    mask[:4, :4], mask[6:8, 6:8], mask[10, 10], mask[3, 8:] = 1, 1, 2, 2
    expected = mask.copy()
    expected[6:8, 6:8], expected[10, 10] = 0, 0
    np.testing.assert_array_equal(postprocess_mask(mask, LAND, largest_only=True), expected)
