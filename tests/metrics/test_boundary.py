from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from scipy import ndimage
from scipy.spatial.distance import cdist

from delineate.errors import ShapeError, UsageError
from delineate.metrics import boundary
from delineate.metrics.boundary import (
    BOUNDARY_SCORES,
    boundary_iou,
    boundary_scores,
    hausdorff_distance,
    surface_distances,
)

FEW = settings(deadline=None, max_examples=60)
SPACINGS = st.sampled_from([None, (1.0, 1.0), (0.3, 0.3), (0.7, 2.5), (3.0, 0.11)])


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=20))
    return draw(arrays(bool, shape)), draw(arrays(bool, shape))


def blobs(seed: int, shape: tuple[int, int], sigma: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first, second = (ndimage.gaussian_filter(rng.random(shape), sigma) for _ in range(2))
    second = first + 0.5 * second
    return first > np.quantile(first, 0.7), second > np.quantile(second, 0.7)


def brute_force(
    mask: np.ndarray, target: np.ndarray, spacing: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray] | None:
    """All pairs of surface pixels, in float64."""
    if not (mask.any() and target.any()):
        return None
    points = [
        np.argwhere(m & ~ndimage.binary_erosion(m)) * np.asarray(spacing or (1.0, 1.0))
        for m in (mask, target)
    ]
    between = cdist(*points)
    return between.min(axis=1), between.min(axis=0)


def check_against_brute_force(
    mask: np.ndarray, target: np.ndarray, spacing: tuple[float, float] | None
) -> None:
    expected, found = brute_force(mask, target, spacing), surface_distances(mask, target, spacing)
    if expected is None:
        assert found is None
        return
    assert found is not None
    for distances, reference in zip((found.from_mask, found.from_target), expected, strict=True):
        assert distances.dtype == np.float64
        np.testing.assert_allclose(distances, reference, rtol=1e-12, atol=0)
    assert found.hausdorff() == pytest.approx(max(map(np.max, expected)), rel=1e-12)
    hd95 = max(np.percentile(reference, 95) for reference in expected)
    assert found.hausdorff(95) == pytest.approx(hd95, rel=1e-12)
    together = np.concatenate(expected)
    assert found.average == pytest.approx(together.mean(), rel=1e-12)
    for tolerance in (0.0, 1.05, 4.9):
        assert found.dice(tolerance) == pytest.approx((together <= tolerance).mean(), abs=1e-15)


@FEW
@given(pair=mask_pairs(), spacing=SPACINGS)
def test_distances_equal_brute_force(
    pair: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float] | None
) -> None:
    check_against_brute_force(*pair, spacing)


@pytest.mark.parametrize("spacing", [None, (0.25, 0.25), (0.8, 2.1)])
@pytest.mark.parametrize("lookups", [1, 0])
def test_distances_of_large_shapes_equal_brute_force(
    spacing: tuple[float, float] | None, lookups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundary, "_LOOKUPS_PER_PIXEL", lookups)
    monkeypatch.setattr(boundary, "_FREE_LOOKUPS", 0)  # so that without look-ups the tree answers
    for sigma in (2.0, 6.0):
        check_against_brute_force(*blobs(0, (150, 190), sigma), spacing)


def test_far_surfaces_are_exact() -> None:
    mask, target = np.zeros((2, 300, 2200), bool)
    mask[:, :150:2] = True
    target[5:290:3, 2100:] = True
    found = surface_distances(mask, target)
    assert found is not None
    reference = ndimage.distance_transform_edt(~(target & ~ndimage.binary_erosion(target)))
    expected = reference[mask & ~ndimage.binary_erosion(mask)]
    np.testing.assert_array_equal(found.from_mask, expected)
    assert np.all(np.rint(found.from_mask**2) == np.rint(expected**2))


@pytest.mark.parametrize("spacing", [None, 0.5, (0.7, 2.5)])
@pytest.mark.parametrize("seed", range(4))
def test_equals_monai(seed: int, spacing: float | tuple[float, float] | None) -> None:
    mask, target = blobs(seed, (90, 70), 4.0)
    pair = [torch.from_numpy(m)[None, None] for m in (mask, target)]
    sides = (spacing, spacing) if isinstance(spacing, float) else spacing
    found = boundary_scores(mask, target, sides, tolerance=1.3)
    common = {"include_background": True, "spacing": spacing}
    with pytest.warns(FutureWarning, match="always_return_as_numpy"):
        expected = {
            "hausdorff_distance": compute_hausdorff_distance(*pair, **common),
            "hd95": compute_hausdorff_distance(*pair, percentile=95, **common),
            "average_surface_distance": compute_average_surface_distance(
                *pair, symmetric=True, **common
            ),
            "surface_dice": compute_surface_dice(*pair, [1.3], **common),
        }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value.item(), rel=3e-6), name  # MONAI's are float32


@FEW
@given(pair=mask_pairs())
def test_boundary_iou_equals_its_authors_construction(pair: tuple[np.ndarray, np.ndarray]) -> None:
    steps = 2
    bands = []
    for mask in pair:
        padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
        eroded = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=steps)
        bands.append(mask & (eroded[1:-1, 1:-1] == 0))
    union = (bands[0] | bands[1]).sum()
    expected = (bands[0] & bands[1]).sum() / union if union else None
    assert boundary_iou(*pair, width=steps) == expected


def test_band_follows_the_spacing_and_the_diagonal() -> None:
    mask, target = np.zeros((2, 300, 400), bool)
    mask[50:250, 50:350] = True
    target[52:250, 50:350] = True
    assert boundary_iou(mask, target) == boundary_iou(mask, target, width=10)
    assert boundary_iou(mask, target, (0.5, 0.5), width=5) == boundary_iou(mask, target, width=10)
    rows, cols = 200 - 2 * 4, 300 - 2 * 2
    alone = boundary_iou(mask, np.zeros_like(mask) | (mask & False), (0.5, 1.0), width=2)
    assert alone == 0
    inner = mask.copy()
    inner[54:246, 52:348] = False  # the band of 4 rows and 2 columns
    assert inner.sum() == 200 * 300 - rows * cols
    hollow = boundary_iou(mask, inner, (0.5, 1.0), width=2)
    assert hollow == 1.0


def test_empty_masks_are_undefined_and_misses_do_not_score() -> None:
    empty, full = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    assert boundary_scores(empty, empty) == dict.fromkeys(BOUNDARY_SCORES)
    for pair in ((empty, full), (full, empty)):
        scores = boundary_scores(*pair)
        assert [scores[name] for name in BOUNDARY_SCORES] == [None, None, None, 0.0, 0.0]
    assert boundary_scores(np.zeros((0, 3)), np.zeros((0, 3)))["hd95"] is None


def test_the_image_border_is_a_surface() -> None:
    full = np.ones((6, 6), bool)
    distances = surface_distances(full, full)
    assert distances is not None
    assert distances.from_mask.size == 20
    assert distances.hausdorff() == 0


def test_a_shift_of_one_pixel_is_the_distance_one() -> None:
    mask, target = np.zeros((2, 20, 30), bool)
    mask[5:15, 5:15] = True
    target[5:15, 6:16] = True
    scores = boundary_scores(mask, target, (1.0, 2.0))
    assert scores["hausdorff_distance"] == 2.0
    assert scores["surface_dice"] == 1.0  # within two pixels
    assert boundary_scores(mask, target, tolerance=0.5)["surface_dice"] == 36 / 72


@FEW
@given(pair=mask_pairs(), spacing=SPACINGS)
def test_symmetry_padding_and_scale(
    pair: tuple[np.ndarray, np.ndarray], spacing: tuple[float, float] | None
) -> None:
    mask, target = pair
    scores = boundary_scores(mask, target, spacing, width=3)
    assert boundary_scores(target, mask, spacing, width=3) == scores
    padded = [np.pad(m, ((3, 1), (0, 7))) for m in pair]
    assert boundary_scores(*padded, spacing, width=3) == scores
    sides = None if spacing is None else spacing[::-1]
    turned = boundary_scores(mask.T, target.T, sides, width=3)
    for name, score in scores.items():
        assert turned[name] == (score if score is None else pytest.approx(score, rel=1e-12))
    doubled = boundary_scores(mask, target, tuple(2 * s for s in spacing or (1.0, 1.0)))
    if scores["hd95"] is not None:
        assert doubled["hd95"] == pytest.approx(2 * scores["hd95"], rel=1e-12)


def test_a_distance_that_is_the_tolerance_is_within_it() -> None:
    mask, target = np.zeros((2, 9, 12), bool)
    mask[4, 2] = target[4, 5] = True
    assert boundary_scores(mask, target, (0.1, 0.1), tolerance=0.3)["surface_dice"] == 1.0
    assert boundary_scores(mask, target, (0.1, 0.1), tolerance=0.29)["surface_dice"] == 0.0
    assert boundary_scores(mask, target, (7.0, 0.1), tolerance=0.3)["surface_dice"] == 1.0


def test_percentile_and_labels() -> None:
    mask, target = (m.astype(np.uint8) * 7 for m in blobs(3, (40, 40), 3.0))
    largest = hausdorff_distance(mask, target)
    median = hausdorff_distance(mask, target, percentile=50)
    assert largest is not None
    assert median is not None
    assert 0 <= median < largest
    assert math.isclose(largest**2, round(largest**2), abs_tol=1e-9)


def test_refusals_name_the_values() -> None:
    square = np.ones((3, 3), bool)
    with pytest.raises(ShapeError, match=r"\(3, 3\) and \(3, 4\)"):
        boundary_scores(square, np.ones((3, 4), bool))
    with pytest.raises(UsageError, match=r"height and width of a pixel, got \(1, 0\)"):
        surface_distances(square, square, (1, 0))
    with pytest.raises(UsageError, match=r"positive width, got 0"):
        boundary_iou(square, square, width=0)
    with pytest.raises(UsageError, match=r"between 0 and 100, got 101"):
        hausdorff_distance(square, square, percentile=101)
    with pytest.raises(UsageError, match=r"0 or more, got -1"):
        boundary_scores(square, square, tolerance=-1)
