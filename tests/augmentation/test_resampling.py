from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from delineate.augmentation import SpatialAugmentation, SpatialDraw, cut_patch, resize_target

ORIENTATIONS = [
    SpatialDraw(turns, horizontal, vertical)
    for turns, horizontal, vertical in product(range(4), (False, True), (False, True))
]
DTYPES = [np.uint8, np.uint16, np.int16, np.float32]


def noise(shape: tuple[int, ...], dtype: type = np.uint8, high: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, high, shape).astype(dtype)


def orient(array: np.ndarray, draw: SpatialDraw) -> np.ndarray:
    array = np.rot90(array, draw.quarter_turns)
    array = array[:, ::-1] if draw.flip_horizontal else array
    return array[::-1] if draw.flip_vertical else array


@pytest.mark.parametrize("draw", ORIENTATIONS)
def test_orientations_are_bit_exact(draw: SpatialDraw) -> None:
    pixels, target = noise((40, 50, 3)), noise((40, 50), high=4)
    patch, labels, valid = cut_patch(pixels, target, (4, 7), (16, 20), draw)
    height, width = draw.window_size((16, 20))
    window = (slice(4, 4 + height), slice(7, 7 + width))
    np.testing.assert_array_equal(patch, orient(pixels[window], draw))
    np.testing.assert_array_equal(labels, orient(target[window], draw))
    assert valid.all()
    assert patch.flags.c_contiguous


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    patch_size=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    corner=st.tuples(st.integers(-30, 30), st.integers(-30, 30)),
    draw=st.sampled_from(ORIENTATIONS),
)
def test_the_outside_is_not_valid_and_mirrors_the_inside(
    size: tuple[int, int],
    patch_size: tuple[int, int],
    corner: tuple[int, int],
    draw: SpatialDraw,
) -> None:
    pixels, target = noise((*size, 2)), noise(size, high=3)
    patch, labels, valid = cut_patch(pixels, target, corner, patch_size, draw)
    mirrored = np.pad(pixels, ((60, 60), (60, 60), (0, 0)), mode="reflect")
    around = np.pad(target, 60, constant_values=255)
    height, width = draw.window_size(patch_size)
    window = np.s_[corner[0] + 60 :, corner[1] + 60 :]
    np.testing.assert_array_equal(patch, orient(mirrored[window][:height, :width], draw))
    np.testing.assert_array_equal(labels, orient(around[window][:height, :width], draw))
    np.testing.assert_array_equal(valid, labels != 255)


@pytest.mark.parametrize("draw", ORIENTATIONS)
@pytest.mark.parametrize("patch_size", [(16, 20), (17, 10)])
def test_the_resampled_map_agrees_with_slicing(
    draw: SpatialDraw, patch_size: tuple[int, int]
) -> None:
    pixels, target = noise((40, 50, 3)), noise((40, 50), high=4)
    still = np.zeros((2, 2, 2), np.float32)
    for corner in [(4, 7), (-5, 40), (33, -3)]:
        exact, labels, valid = cut_patch(pixels, target, corner, patch_size, draw)
        for other in (replace(draw, linear=np.eye(2)), replace(draw, displacement=still)):
            patch, other_labels, other_valid = cut_patch(pixels, target, corner, patch_size, other)
            np.testing.assert_array_equal(other_labels, labels)
            np.testing.assert_array_equal(other_valid, valid)
            np.testing.assert_array_equal(patch[valid], exact[valid])


@pytest.mark.parametrize("draw", ORIENTATIONS[::3])
def test_a_constant_displacement_shifts(draw: SpatialDraw) -> None:
    pixels, target = noise((60, 60, 3)), noise((60, 60), high=4)
    shift = np.full((3, 3, 2), (2, -3), np.float32)
    moved = cut_patch(pixels, target, (20, 20), (16, 12), replace(draw, displacement=shift))
    row, col = draw.matrix() @ (2, -3)
    still = cut_patch(pixels, target, (20 + round(row), 20 + round(col)), (16, 12), draw)
    for one, other in zip(moved, still, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_warp_agrees_with_scipy(dtype: type) -> None:
    pixels = cv2.GaussianBlur(noise((80, 90, 3), dtype), (0, 0), 3)
    target = (pixels[..., 0] > pixels[..., 0].mean()).astype(np.uint8)
    draw = SpatialAugmentation(warp=1, scale=(0.9, 1.1)).draw(np.random.default_rng(3), (24, 32))
    patch, labels, valid = cut_patch(pixels, target, (20, 30), (24, 32), draw)
    window = draw.window_size((24, 32))
    middle = np.array([20 + (window[0] - 1) / 2, 30 + (window[1] - 1) / 2])
    offset = middle - draw.matrix() @ (11.5, 15.5)
    assert valid.all()
    assert patch.dtype == dtype
    for channel in range(3):
        expected = ndimage.affine_transform(
            pixels[..., channel].astype(np.float64), draw.matrix(), offset, (24, 32), order=1
        )
        # OpenCV rounds positions to 1/32 pixel for some types, and integers to integers.
        np.testing.assert_allclose(patch[..., channel], expected, atol=1)
    expected = ndimage.affine_transform(target, draw.matrix(), offset, (24, 32), order=0)
    assert (labels != expected).mean() < 0.01


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), corner=st.tuples(st.integers(-20, 60), st.integers(-20, 60)))
def test_warps_make_no_new_labels_and_keep_image_and_target_together(
    seed: int, corner: tuple[int, int]
) -> None:
    target = noise((64, 70), high=3) * 2
    pixels = target[..., None].astype(np.float32)
    augmentation = SpatialAugmentation(warp=1, elastic=0.5, rotation=45, scale=(0.8, 1.25))
    draw = augmentation.draw(np.random.default_rng(seed), (24, 24))
    patch, labels, valid = cut_patch(pixels, target, corner, (24, 24), draw)
    assert set(np.unique(labels)) <= {0, 2, 4, 255}
    np.testing.assert_array_equal(valid, labels != 255)
    assert patch.min() >= 0
    assert patch.max() <= 4


@pytest.mark.parametrize("elastic", [0.0, 1.0])
@pytest.mark.parametrize("scale", [0.6, 1.0, 1.7])
def test_image_and_target_have_the_same_centroid(scale: float, elastic: float) -> None:
    rows, cols = np.mgrid[:120, :120]
    disc = ((rows - 60.3) ** 2 + (cols - 59.6) ** 2 < 15**2).astype(np.uint8)
    augmentation = SpatialAugmentation(
        warp=1, rotation=180, scale=(scale, scale), elastic=elastic, elastic_magnitude=3
    )
    differences = []
    for seed in range(12):
        draw = augmentation.draw(np.random.default_rng(seed), (80, 80))
        patch, labels, _ = cut_patch(disc[..., None] * 200.0, disc, (20, 20), (80, 80), draw)
        weights = patch[..., 0] / patch.sum()
        grid = np.mgrid[:80, :80]
        centre = (grid * weights).sum(axis=(1, 2))
        is_disc = labels == 1
        differences.append(centre - grid[:, is_disc].mean(axis=1))
    assert np.abs(np.mean(differences, axis=0)).max() < 0.05
    # An uneven stretch moves a blurred edge a little more than a hard one.
    assert np.abs(differences).max() < 0.4


def test_shrinking_averages_over_area() -> None:
    pixels = noise((400, 400, 1), np.float32)
    target = np.zeros((400, 400), np.uint8)
    half_turn = math.radians(10)
    rotation = np.array(
        [[math.cos(half_turn), -math.sin(half_turn)], [math.sin(half_turn), math.cos(half_turn)]]
    )
    patch, _, valid = cut_patch(
        pixels, target, (168, 168), (64, 64), SpatialDraw(linear=4 * rotation)
    )
    area = cv2.resize(pixels, (100, 100), interpolation=cv2.INTER_AREA)
    assert patch[valid].std() < 1.3 * area.std()
    assert patch[valid].mean() == pytest.approx(area.mean(), rel=0.02)


def test_the_cost_does_not_depend_on_the_size_of_the_image() -> None:
    # 40,000 columns are more than OpenCV samples from at all.
    pixels = noise((16, 40_000, 1))
    target = noise((16, 40_000), high=3)
    draw = SpatialDraw(linear=np.array([[1.0, 0.02], [-0.02, 1.0]]))
    far, _, _ = cut_patch(pixels, target, (0, 39_900), (16, 16), draw)
    near, _, _ = cut_patch(pixels[:, 39_800:], target[:, 39_800:], (0, 100), (16, 16), draw)
    np.testing.assert_array_equal(far, near)


@pytest.mark.parametrize("draw", [SpatialDraw(1), SpatialDraw(1, linear=np.eye(2) * 0.9)])
@pytest.mark.parametrize("num_classes", [1, 3, 4, 6])
def test_multilabel_targets_move_as_their_planes(draw: SpatialDraw, num_classes: int) -> None:
    pixels, target = noise((30, 30, 5)), noise((num_classes, 30, 30), high=2)
    patch, labels, valid = cut_patch(pixels, target, (-4, 6), (20, 12), draw)
    assert patch.shape == (20, 12, 5)
    assert labels.shape == (num_classes, 20, 12)
    for plane, moved in zip(target, labels, strict=True):
        _, expected, inside = cut_patch(pixels, plane, (-4, 6), (20, 12), draw)
        np.testing.assert_array_equal(moved, expected)
        np.testing.assert_array_equal(valid, inside)


def test_a_pixel_ignored_for_all_classes_is_not_valid() -> None:
    target = np.zeros((2, 4, 4), np.uint8)
    target[:, 1, 1] = 255
    target[0, 2, 2] = 255
    _, _, valid = cut_patch(noise((4, 4, 1)), target, (0, 0), (4, 4))
    assert not valid[1, 1]
    assert valid.sum() == 15


@pytest.mark.parametrize("shape", [(40, 30), (2, 40, 30)])
def test_resized_targets_are_not_shifted(shape: tuple[int, ...]) -> None:
    target = np.zeros(shape, np.uint8)
    target[..., 10:30, 5:25] = 3
    resized = resize_target(target, (20, 15))
    assert resized.shape == (*shape[:-2], 20, 15)
    assert set(np.unique(resized)) == {0, 3}
    rows, cols = np.nonzero(resize_target(target, (120, 90)).reshape(-1, 120, 90)[0])
    assert (rows.mean() + 0.5) / 120 == pytest.approx(0.5, abs=1e-6)
    assert (cols.mean() + 0.5) / 90 == pytest.approx(0.5, abs=1e-6)
