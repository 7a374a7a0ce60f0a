"""Skeletons found by blocks are those of the whole array; thickness is what was drawn."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from delineate.morphology import distance_map, skeleton
from delineate.raster_processing.thinning import thin_blocks


def thin(mask: np.ndarray, side: int, max_thickness: int) -> tuple[np.ndarray, int]:
    found = np.zeros(mask.shape, np.float32)
    num_thick = 0
    for block in thin_blocks(
        lambda w: mask[w.slices], *mask.shape, max_thickness=max_thickness, block_side=side
    ):
        found[block.window.slices] = block.thickness
        num_thick += block.num_thick
    return found, num_thick


@given(
    size=st.tuples(st.integers(1, 130), st.integers(1, 130)),
    side=st.integers(16, 60),
    seed=st.integers(0, 2**32),
    smooth=st.floats(0.5, 3),
    share=st.floats(0.2, 0.6),
)
@settings(deadline=None, max_examples=40)
def test_equals_the_whole_array_up_to_the_thickness(
    size: tuple[int, int], side: int, seed: int, smooth: float, share: float
) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(size), smooth)
    mask = noise >= np.quantile(noise, 1 - share)
    deepest = distance_map(mask)
    max_thickness = int(np.ceil(2 * deepest[np.isfinite(deepest)].max(initial=0)))
    found, num_thick = thin(mask, side, max_thickness)
    if not mask.all():
        assert num_thick == 0
        assert np.array_equal(found > 0, skeleton(mask))


def test_thicker_parts_are_counted() -> None:
    mask = np.zeros((120, 120), np.uint8)
    mask[20:80, 20:80] = 1
    _, num_thick = thin(mask, 64, 20)
    assert num_thick == (60 - 2 * 11) ** 2
    assert thin(mask, 64, 60)[1] == 0


@pytest.mark.parametrize("angle", [0, 90, 30, 45, 67])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 10, 15])
def test_thickness_of_a_road(angle: float, width: int) -> None:
    rows, cols = np.mgrid[:160, :160] - 79.3
    radians = np.radians(angle)
    across = np.abs(cols * np.sin(radians) + rows * np.cos(radians))
    mask = across < width / 2
    found, _ = thin(mask, 64, 32)
    middle = found[40:120, 40:120]
    assert np.median(middle[middle > 0]) == pytest.approx(width, abs=0.75)
    assert cv2.connectedComponents((found > 0).astype(np.uint8))[0] == 2
