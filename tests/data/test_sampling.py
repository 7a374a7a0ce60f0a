from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.data.sampling import PatchSampler, find_class_pixels, place_window
from delineate.errors import DataError
from delineate.task import Task

BINARY = Task("binary", ("nucleus",))
LAND = Task("multiclass", ("ground", "road", "roof"), background="ground")


def test_found_pixels_belong_to_their_class() -> None:
    target = np.random.default_rng(0).integers(0, 3, (30, 20)).astype(np.uint8)
    target[:3] = 255
    found = find_class_pixels(target, LAND, np.random.default_rng(0), limit=50)
    assert sorted(found) == [1, 2]
    for index, pixels in found.items():
        assert pixels.shape == (50, 2)
        assert (target[tuple(pixels.T)] == index).all()


def test_few_pixels_are_all_kept_and_absent_classes_left_out() -> None:
    target = np.zeros((6, 6), np.uint8)
    target[2, 3] = target[4, 1] = 1
    found = find_class_pixels(target, LAND, np.random.default_rng(0))
    assert list(found) == [1]
    assert found[1].tolist() == [[2, 3], [4, 1]]
    assert list(find_class_pixels(target, BINARY, np.random.default_rng(0))) == [0]


def test_planes_of_multilabel_targets_are_searched() -> None:
    target = np.zeros((2, 4, 5), np.uint8)
    target[1, 2, 3] = 1
    target[0] = 255
    found = find_class_pixels(
        target, Task("multilabel", ("tumour", "vessel")), np.random.default_rng(0)
    )
    assert {index: pixels.tolist() for index, pixels in found.items()} == {1: [[2, 3]]}


def test_the_stated_odds_hold_and_rare_classes_get_their_share() -> None:
    common, rare = np.array([[50, 50]], np.int32), np.array([[10, 90]], np.int32)
    sampler = PatchSampler(
        [(100, 100)] * 10, [{1: common}] * 9 + [{1: common, 2: rare}], foreground_odds=0.5
    )
    rng = np.random.default_rng(0)
    draws = np.array([sampler.draw(rng, (4, 4)) for _ in range(4000)])
    near_rare = (np.abs(draws[:, 1:] - [10, 90]) <= 1).all(axis=1)
    near_common = (np.abs(draws[:, 1:] - [50, 50]) <= 1).all(axis=1)
    assert 0.23 < near_rare.mean() < 0.28
    assert 0.23 < near_common.mean() < 0.28
    assert set(draws[near_rare, 0]) - {9} == set() or near_rare[draws[:, 0] != 9].mean() < 0.01


def test_a_drawn_pixel_lies_in_its_window_but_not_always_in_the_middle() -> None:
    sampler = PatchSampler([(200, 200)], [{0: np.array([[80, 90]], np.int32)}], foreground_odds=1)
    rng = np.random.default_rng(0)
    centres = np.array([sampler.draw(rng, (32, 16))[1:] for _ in range(300)])
    away = np.abs(centres - [80, 90])
    assert away[:, 0].max() == 8
    assert away[:, 1].max() == 4
    for centre in centres:
        row, col = place_window((centre[0], centre[1]), (200, 200), (32, 16))
        assert row <= 80 < row + 32
        assert col <= 90 < col + 16


def test_other_patches_are_drawn_by_area_and_reach_every_pixel() -> None:
    sampler = PatchSampler([(3, 4), (6, 8)], [{}, {}], foreground_odds=1)
    rng = np.random.default_rng(0)
    draws = [sampler.draw(rng, (4, 4)) for _ in range(6000)]
    pixels, counts = np.unique(draws, axis=0, return_counts=True)
    assert len(pixels) == 3 * 4 + 6 * 8
    assert counts.min() > 50
    assert counts.max() < 160


def test_border_pixels_are_seen_at_least_half_as_often_as_others() -> None:
    sampler = PatchSampler([(64, 64)], [{}], foreground_odds=0)
    rng = np.random.default_rng(0)
    seen = np.zeros((64, 64))
    for _ in range(8000):
        _, row, col = sampler.draw(rng, (16, 16))
        top, left = place_window((row, col), (64, 64), (16, 16))
        seen[top : top + 16, left : left + 16] += 1
    along = seen.mean(axis=1)
    assert 0.4 < along[0] / along[32] < 0.65
    assert along.max() / along[32] < 1.7


def test_images_without_pixels_are_refused() -> None:
    with pytest.raises(DataError, match="0 images"):
        PatchSampler([], [])
    with pytest.raises(DataError, match="at least one pixel"):
        PatchSampler([(0, 5)], [{}])


@settings(deadline=None, max_examples=100)
@given(
    centre=st.tuples(st.integers(-50, 150), st.integers(-50, 150)),
    size=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    window=st.tuples(st.integers(1, 120), st.integers(1, 120)),
)
def test_windows_leave_the_image_only_where_it_is_smaller(
    centre: tuple[int, int], size: tuple[int, int], window: tuple[int, int]
) -> None:
    corner = place_window(centre, size, window)
    for start, middle, side, extent in zip(corner, centre, size, window, strict=True):
        if extent <= side:
            assert 0 <= start <= side - extent
            if extent // 2 <= middle < side - extent:
                assert start + extent // 2 == middle
        else:
            before, after = -start, start + extent - side
            assert abs(before - after) <= 1
