from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from skimage.measure import euler_number
from skimage.morphology import thin

from delineate.errors import ShapeError
from delineate.metrics.topology import betti_numbers, cl_dice, topology_scores

FEW = settings(deadline=None, max_examples=40)
MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=20))


@FEW
@given(mask=MASKS)
def test_betti_numbers_equal_scipy_and_scikit_image(mask: np.ndarray) -> None:
    parts, holes = betti_numbers(mask)
    assert parts == ndimage.label(mask, np.ones((3, 3)))[1]
    assert holes == ndimage.label(np.pad(~mask, 1, constant_values=True))[1] - 1
    assert parts - holes == euler_number(mask, connectivity=2)


@FEW
@given(data=st.data())
def test_cl_dice_equals_the_definition_on_scikit_image_skeletons(data: st.DataObject) -> None:
    mask = data.draw(MASKS)
    target = data.draw(arrays(bool, mask.shape))
    found = cl_dice(mask, target)
    if not (mask.any() and target.any()):
        assert found == (0.0 if (mask | target).any() else None)
        return
    precision, recall = target[thin(mask)].mean(), mask[thin(target)].mean()
    expected = 2 * precision * recall / (precision + recall) if precision + recall else 0
    assert found == pytest.approx(expected, abs=1e-12)
    assert cl_dice(target, mask) == pytest.approx(expected, abs=1e-12)
    assert cl_dice(mask, mask) == 1.0


def test_a_gap_costs_a_part_and_a_ring_a_hole() -> None:
    line, broken = np.zeros((2, 9, 40), bool)
    line[3:6] = True
    broken[3:6] = True
    broken[:, 20:22] = False
    assert topology_scores(broken, line)["parts_error"] == 1
    assert topology_scores(broken, line)["holes_error"] == 0
    assert 0.9 < (cl_dice(broken, line) or 0) < 1
    ring = np.ones((7, 7), bool)
    ring[2:5, 2:5] = False
    assert betti_numbers(ring) == (1, 1)
    assert topology_scores(np.ones((7, 7), bool), ring)["holes_error"] == 1


def test_a_diagonal_is_one_part_and_does_not_close_what_it_rings() -> None:
    diamond = np.asarray([[0, 1, 0], [1, 0, 1], [0, 1, 0]], bool)
    assert betti_numbers(diamond) == (1, 1)
    open_to_the_border = np.asarray([[1, 0, 1], [1, 0, 1], [1, 1, 1]], bool)
    assert betti_numbers(open_to_the_border) == (1, 0)
    assert betti_numbers(np.zeros((0, 3), bool)) == (0, 0)


def test_a_thicker_line_keeps_its_centre() -> None:
    target, mask = np.zeros((2, 40, 60), bool)
    target[18:21, 5:55] = True
    mask[15:24, 5:55] = True
    assert cl_dice(mask, target) == 1.0


def test_empty_masks() -> None:
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    assert set(topology_scores(empty, empty).values()) == {None}
    assert topology_scores(full, empty) == {"cl_dice": 0.0, "parts_error": 1.0, "holes_error": 0.0}
    with pytest.raises(ShapeError, match=r"\(4, 4\) and \(4, 3\)"):
        topology_scores(full, full[:, :3])
