"""Edge agreement peaks where the mask belongs; parts are those of another library."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from delineate.data.doctor.content import MAX_SIDE, SPECK_PIXELS, TINY_PIXELS, measure_content
from delineate.data.doctor.edges import REACH, edge_agreement
from delineate.data.sample_cells import draw_cells
from delineate.task import Task

BINARY = Task("binary", ("cell",))


def cells(seed: int = 0, size: int = 192) -> tuple[np.ndarray, np.ndarray]:
    picture, mask = draw_cells(np.random.default_rng([2, seed]), size)
    return picture, (mask > 0).astype(np.uint8)


@given(down=st.integers(-9, 9), right=st.integers(-9, 9))
@settings(deadline=None, max_examples=15)
def test_the_peak_undoes_a_shift(down: int, right: int) -> None:
    picture, mask = cells()
    agreement = edge_agreement(picture.astype(np.float32), np.roll(mask, (down, right), (0, 1)))
    assert agreement is not None
    row, col = np.unravel_index(agreement.argmax(), agreement.shape)
    assert abs(row - REACH + down) <= 1
    assert abs(col - REACH + right) <= 1


def test_agreement_is_the_mean_edge_under_the_outline() -> None:
    """Counted one point at a time, on an image that is its own edge map up to a scale."""
    picture, mask = cells(1)
    agreement = edge_agreement(picture.astype(np.float32), mask)
    brighter = edge_agreement(picture.astype(np.float32) * 3 + 40, mask)
    assert agreement is not None
    assert brighter is not None
    np.testing.assert_allclose(agreement, brighter, atol=1e-3)
    far = agreement[:4].mean()
    assert agreement[REACH, REACH] > far + 0.5


def test_ignored_outlines_do_not_count() -> None:
    picture, mask = cells(2)
    counted = np.ones(mask.shape, bool)
    counted[:, 96:] = False
    left = edge_agreement(picture.astype(np.float32), np.where(counted, mask, 255), counted)
    other = mask.copy()
    other[:, 96:] = np.random.default_rng(0).integers(0, 2, (192, 96))
    again = edge_agreement(picture.astype(np.float32), np.where(counted, other, 255), counted)
    np.testing.assert_array_equal(left, again)


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        (np.ones((40, 200), np.float32), np.ones((40, 200), np.uint8)),
        (np.ones((200, 200), np.float32), np.tri(200, dtype=np.uint8)),
        (np.random.default_rng(0).random((200, 200), np.float32), np.zeros((200, 200), np.uint8)),
    ],
    ids=["too small", "flat image", "no outline"],
)
def test_nothing_is_said_where_nothing_can_be(picture: np.ndarray, mask: np.ndarray) -> None:
    assert edge_agreement(picture, mask) is None


def reference_parts(member: np.ndarray) -> list[int]:
    """Return the areas of 8-connected parts that do not touch the border."""
    labels, number = ndimage.label(member, np.ones((3, 3)))
    border = {*labels[0], *labels[-1], *labels[:, 0], *labels[:, -1]}
    return [int((labels == one).sum()) for one in range(1, number + 1) if one not in border]


@given(seed=st.integers(0, 10_000), share=st.floats(0.02, 0.6))
@settings(deadline=None, max_examples=25)
def test_parts_are_those_of_scipy(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    target = (rng.random((40, 50)) < share).astype(np.uint8)
    pixels = rng.integers(0, 256, (40, 50, 1), np.uint8)
    content = measure_content(pixels, target, BINARY)
    for value, parts in enumerate(content.class_parts):
        areas = reference_parts(target == value)
        assert parts.count == len(areas)
        assert parts.num_specks == sum(area <= SPECK_PIXELS for area in areas)
        assert parts.num_tiny == sum(SPECK_PIXELS < area < TINY_PIXELS for area in areas)
        if parts.speck is not None:
            row, col = parts.speck
            assert (target[row : row + 2, col : col + 2] == value).any()


def test_crumbs_between_classes_are_no_specks() -> None:
    target = np.zeros((20, 20), np.uint8)
    target[:, 10:] = 1
    target[5, 10] = 2  # between two classes
    target[15, 15] = 2  # within one
    content = measure_content(
        np.zeros((20, 20, 3), np.uint8), target, Task("multiclass", ("a", "b", "c"))
    )
    assert [parts.num_specks for parts in content.class_parts] == [0, 0, 1]
    assert content.class_parts[2].speck == (15, 15)
    assert content.class_levels == ()
    assert content.class_neighbours == (2, 2, 2)


def test_levels_shares_and_outlines_of_classes() -> None:
    rng = np.random.default_rng(3)
    target = rng.integers(0, 3, (30, 40)).astype(np.uint8)
    target[:5] = 255
    pixels = rng.integers(0, 256, (30, 40, 4), np.uint8)
    content = measure_content(pixels, target, Task("multiclass", ("a", "b", "c")))
    assert content.num_ignored == 200
    grey = pixels[..., :3].astype(np.float64).mean(axis=2)
    counted = grey[target != 255]
    for value in range(3):
        level = (grey[target == value].mean() - counted.mean()) / counted.std()
        assert content.class_levels[value] == pytest.approx(level, abs=1e-4)
        assert content.class_pixels[value] == (target == value).sum()
        sides = sum(
            int(((one == value) ^ (other == value)).sum())
            for one, other in (
                (target[6:], target[5:-1]),
                (target[5:, 1:], target[5:, :-1]),
            )
        )
        assert content.class_outlines[value] == sides


def test_large_images_are_compared_where_their_outlines_are() -> None:
    picture, mask = cells(4, 256)
    large = np.full((MAX_SIDE + 700, MAX_SIDE + 900, 1), 20, np.uint8)
    target = np.zeros(large.shape[:2], np.uint8)
    large[1400:1656, 1500:1756, 0] = picture
    target[1403:1659, 1498:1754] = mask
    agreement = measure_content(large, target, BINARY).agreement
    assert agreement is not None
    row, col = np.unravel_index(agreement.argmax(), agreement.shape)
    assert (abs(int(row) - REACH + 3) <= 1, abs(int(col) - REACH - 2) <= 1) == (True, True)
