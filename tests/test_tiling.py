from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delineate.errors import ShapeError, UnknownNameError, UsageError
from delineate.tiling import Window, blend_weights, least_exact_tile, plan_tiles, tile_windows

SIZES = st.integers(1, 70)
OVERLAPS = st.floats(0, 0.95)


@settings(deadline=None, max_examples=60)
@given(SIZES, SIZES, SIZES, SIZES, OVERLAPS, st.sampled_from([1, 4, 16]))
def test_windows_cover_each_pixel_and_stay_inside(
    height: int, width: int, tile_height: int, tile_width: int, overlap: float, multiple: int
) -> None:
    windows = tile_windows(height, width, (tile_height, tile_width), overlap, multiple=multiple)
    covered = np.zeros((height, width), dtype=int)
    for window in windows:
        assert covered[window.slices].shape == (min(height, tile_height), min(width, tile_width))
        covered[window.slices] += 1
    assert covered.min() >= 1
    assert windows == sorted(set(windows))


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 300), st.integers(1, 64), OVERLAPS, st.sampled_from([1, 8]))
def test_neighbours_share_at_least_the_overlap(
    length: int, tile: int, overlap: float, multiple: int
) -> None:
    rows = [w.row for w in tile_windows(length, 1, (tile, 1), overlap, multiple=multiple)]
    steps = np.diff(rows)
    assert (steps <= max(1, tile * (1 - overlap) + 1e-6)).all()
    if tile * (1 - overlap) > 2 * multiple:
        assert all(row % multiple == 0 for row in rows[:-1])


def test_a_tenth_of_ten_is_one_in_spite_of_rounding() -> None:
    assert [w.row for w in tile_windows(13, 5, (10, 10), 0.9)] == [0, 1, 2, 3]


def test_a_small_image_is_one_window() -> None:
    assert tile_windows(3, 5, (8, 8), 0.5) == [Window(0, 0, 3, 5)]


@pytest.mark.parametrize("overlap", [-0.1, 1.0, float("nan")])
def test_overlap_outside_its_range_is_refused(overlap: float) -> None:
    with pytest.raises(UsageError, match="overlap"):
        tile_windows(9, 9, (4, 4), overlap)


def test_empty_images_and_tiles_are_refused() -> None:
    with pytest.raises(ShapeError, match="0x4"):
        tile_windows(0, 4, (2, 2), 0)
    with pytest.raises(UsageError, match="tile size"):
        tile_windows(4, 4, (0, 2), 0)


@pytest.mark.parametrize("size", [(1, 1), (7, 16), (512, 512)])
def test_gaussian_weights_are_positive_symmetric_and_highest_in_the_middle(
    size: tuple[int, int],
) -> None:
    weights = blend_weights(size)
    assert weights.shape == size
    assert weights.dtype == np.float32
    assert 0 < weights.min() <= weights.max() <= 1
    np.testing.assert_array_equal(weights, weights[::-1, ::-1])
    assert weights[size[0] // 2, size[1] // 2] == weights.max()


def test_average_weighs_all_alike_and_other_names_are_refused() -> None:
    assert (blend_weights((3, 4), "average") == 1).all()
    with pytest.raises(UnknownNameError, match="gaussian, average"):
        blend_weights((3, 4), "gausian")  # type: ignore[arg-type]


@settings(deadline=None, max_examples=100)
@given(
    st.integers(1, 400), st.integers(0, 12), st.sampled_from([1, 2, 4, 8, 16]), st.integers(0, 40)
)
def test_exact_tiles_keep_each_pixel_once_a_halo_away_from_every_cut(
    length: int, halo: int, stride: int, extra: int
) -> None:
    tile = least_exact_tile(halo, stride) + extra
    plan = plan_tiles(length, 1, (tile, tile), "exact", stride=stride, halo=halo)
    spans = plan.rows
    assert [span.kept_start for span in spans[1:]] == [span.kept_stop for span in spans[:-1]]
    assert (spans[0].kept_start, spans[-1].kept_stop) == (0, length)
    assert (spans[0].start, spans[-1].stop) == (0, length)
    assert plan.num_tiles == len(spans)
    for index, span in enumerate(spans):
        assert span.start % stride == 0
        assert span.stop - span.start <= tile
        assert index == 0 or span.kept_start - halo >= span.start
        is_last = index == len(spans) - 1
        assert is_last or span.kept_stop + halo <= span.stop
        # The network pads the last tile as it pads the image.
        assert (span.stop - span.start) % stride == (length % stride if is_last else 0)
        assert span.stop - span.start >= min(length, stride + 1)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 200), st.integers(1, 50), OVERLAPS, st.sampled_from(["gaussian", "average"]))
def test_shares_of_blended_tiles_sum_to_one(
    length: int, tile: int, overlap: float, blend: Any
) -> None:
    plan = plan_tiles(length, 1, (tile, 1), "blended", overlap=overlap, blend=blend)
    total = np.zeros(length)
    owners = np.zeros(length, dtype=int)
    for span in plan.rows:
        assert (span.kept_start, span.kept_stop) == (span.start, span.stop)
        total[span.start : span.stop] += span.shares
        owners[span.own_start : span.own_stop] += 1
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert (owners == 1).all()


def test_exact_tiles_of_less_than_four_halos_are_refused() -> None:
    with pytest.raises(UsageError, match=r"at least 428 pixels a side, not 400x512"):
        plan_tiles(1000, 1000, (400, 512), "exact", stride=16, halo=107)


@pytest.mark.parametrize("tiling", ["blended", "exact"])
def test_the_plan_of_a_huge_raster_is_small(tiling: Any) -> None:
    tracemalloc.start()
    try:
        plan = plan_tiles(10**6, 10**6, (512, 512), tiling, stride=16, halo=107)
        size = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert plan.num_tiles == len(plan.rows) ** 2 > 6 * 10**6
    assert size < 60e6
