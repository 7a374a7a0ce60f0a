from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from skimage import measure, morphology

from delineate.morphology import (
    closing,
    dilate,
    distance_map,
    erode,
    fill_holes,
    label_components,
    nearest_inside,
    opening,
    remove_small,
    signed_distance,
    skeleton,
)

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=24))
FEW = settings(deadline=None, max_examples=40)


def disc(radius: int) -> np.ndarray:
    rows, cols = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return rows**2 + cols**2 <= radius**2


def blobs(shape: tuple[int, int], seed: int = 0, share: float = 0.5) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, 3)
    return smooth > np.quantile(smooth, 1 - share)


@FEW
@given(MASKS, st.sampled_from([4, 8]))
def test_components_and_areas_agree_with_skimage(mask: np.ndarray, connectivity: int) -> None:
    labels, areas = label_components(mask, connectivity=connectivity)
    expected = measure.label(mask, connectivity=connectivity // 4)
    np.testing.assert_array_equal(areas, np.bincount(labels.ravel(), minlength=len(areas)))
    assert len(areas) == expected.max() + 1
    pairs = set(zip(labels.ravel().tolist(), expected.ravel().tolist(), strict=True))
    assert len(pairs) == len({first for first, _ in pairs}) == len({last for _, last in pairs})


@FEW
@given(MASKS, st.integers(0, 12))
def test_small_parts_and_holes_go_as_in_skimage(mask: np.ndarray, min_area: int) -> None:
    labels = measure.label(mask, connectivity=2)
    sizes = np.bincount(labels.ravel())
    expected = mask & (sizes[labels] >= min_area)
    np.testing.assert_array_equal(remove_small(mask, min_area), expected)
    np.testing.assert_array_equal(fill_holes(mask), ndimage.binary_fill_holes(mask))
    holes = ndimage.binary_fill_holes(mask) & ~mask
    hole_labels = measure.label(holes, connectivity=1)
    hole_sizes = np.bincount(hole_labels.ravel())
    filled = mask | (holes & (hole_sizes[hole_labels] < min_area))
    np.testing.assert_array_equal(fill_holes(mask, min_area), filled)


@FEW
@given(MASKS, st.integers(0, 5))
def test_opening_and_closing_by_a_disc_agree_with_skimage(mask: np.ndarray, radius: int) -> None:
    # Padding with the neutral value keeps skimage's border out of the comparison.
    outside = np.pad(mask, 2 * radius)
    inside = np.pad(mask, 2 * radius, constant_values=True)
    core = tuple(slice(2 * radius, 2 * radius + side) for side in mask.shape)
    np.testing.assert_array_equal(
        dilate(mask, radius), morphology.dilation(outside, disc(radius))[core]
    )
    np.testing.assert_array_equal(
        erode(mask, radius), morphology.erosion(inside, disc(radius))[core]
    )
    assert (opening(mask, radius) <= mask).all()
    assert (closing(mask, radius) >= mask).all()
    np.testing.assert_array_equal(opening(mask, radius), ~closing(~mask, radius))
    once = opening(mask, radius)
    np.testing.assert_array_equal(opening(once, radius), once)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (64, 64), (97, 130), (3, 2100)])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_distances_are_the_exact_ones_rounded(shape: tuple[int, int], share: float) -> None:
    mask = blobs(shape, share=share)
    mask[-1, -1] = False
    expected = ndimage.distance_transform_edt(mask).astype(np.float32)
    np.testing.assert_array_equal(distance_map(mask), expected)


def test_spacing_is_the_size_of_a_pixel() -> None:
    mask = blobs((40, 50))
    expected = ndimage.distance_transform_edt(mask, sampling=(2.0, 0.5))
    np.testing.assert_allclose(distance_map(mask, spacing=(2.0, 0.5)), expected, rtol=1e-6)


def test_without_an_outside_the_distance_is_infinite() -> None:
    assert np.isposinf(distance_map(np.ones((4, 5), bool))).all()


@FEW
@given(MASKS)
def test_signed_distance_is_negative_inside_and_odd_under_swapping(mask: np.ndarray) -> None:
    distance = signed_distance(mask)
    assert distance.dtype == np.float32
    np.testing.assert_array_equal(distance < 0, mask)
    assert (np.abs(distance) >= 0.5).all()
    np.testing.assert_array_equal(signed_distance(~mask), -distance)


def test_signed_distance_across_an_edge_and_without_one() -> None:
    mask = np.zeros((2, 6), np.uint8)
    mask[:, 3:] = 1
    np.testing.assert_array_equal(signed_distance(mask)[0], [2.5, 1.5, 0.5, -0.5, -1.5, -2.5])
    np.testing.assert_array_equal(signed_distance(np.zeros((3, 4))), np.float32(5))
    np.testing.assert_array_equal(signed_distance(np.ones((3, 4))), np.float32(-5))


def test_nearest_inside_is_as_far_as_the_distance() -> None:
    mask = blobs((30, 20), share=0.1)
    rows, cols = nearest_inside(mask)
    assert mask[rows, cols].all()
    here = np.indices(mask.shape)
    distances = np.hypot(rows - here[0], cols - here[1]).astype(np.float32)
    np.testing.assert_allclose(distances, distance_map(~mask), rtol=1e-6)


def test_long_distances_are_exact() -> None:
    mask = np.ones((2048, 2000), bool)
    mask[0, 3] = False
    rows, cols = np.mgrid[:2048, -3:1997]
    expected = np.sqrt(rows.astype(np.float64) ** 2 + cols**2).astype(np.float32)
    np.testing.assert_array_equal(distance_map(mask), expected)


@FEW
@given(mask=MASKS)
def test_skeleton_equals_scikit_image_and_keeps_parts_and_holes(mask: np.ndarray) -> None:
    thinned = skeleton(mask)
    np.testing.assert_array_equal(thinned, morphology.thin(mask))
    assert not (thinned & ~mask).any()
    eight = np.ones((3, 3))
    assert ndimage.label(thinned, eight)[1] == ndimage.label(mask, eight)[1]
    holes = [ndimage.label(np.pad(~m, 1, constant_values=True))[1] for m in (thinned, mask)]
    assert holes[0] == holes[1]


def test_skeleton_of_thick_shapes() -> None:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((200, 160)), 5)
    for mask in (disc(40), np.ones((31, 9), bool), smooth > np.median(smooth)):
        np.testing.assert_array_equal(skeleton(mask), morphology.thin(mask))
    assert skeleton(np.ones((31, 9), bool)).any(axis=1).sum() > 20
    assert skeleton(np.zeros((0, 5), bool)).shape == (0, 5)
