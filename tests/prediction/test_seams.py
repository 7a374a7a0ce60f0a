from __future__ import annotations

import numpy as np
import pytest

from delineate.prediction.seams import SeamMeter, SeamSums
from delineate.tiling import plan_tiles


@pytest.mark.parametrize("tiling", ["blended", "exact"])
def test_the_difference_of_neighbours_is_measured_on_the_lines_between_them(tiling: str) -> None:
    plan = plan_tiles(40, 50, (16, 16), tiling, overlap=0.5, stride=2, halo=3)
    valid = np.ones((40, 50), dtype=bool)
    rows, cols = np.indices((40, 50))
    meter = SeamMeter(plan.rows, plan.cols)
    sums = SeamSums()
    expected = []
    for r, row in enumerate(plan.rows):
        for c, col in enumerate(plan.cols):
            window = slice(row.start, row.stop), slice(col.start, col.stop)
            # All tiles agree but for what is added to every second one.
            probs = (rows + cols)[window] / 100 + (0.5 if (r + c) % 2 else 0.0)
            meter.add(r, c, probs[None].astype(np.float32))
            expected.append((c > 0) * (row.own_stop - row.own_start))
            expected.append((r > 0) * (col.own_stop - col.own_start))
        sums += meter.take(valid[row.start : row.stop], r, 0)
    assert sums.count == sum(expected)
    assert sums.mean == pytest.approx(0.5, abs=1e-6)
    assert sums.largest == pytest.approx(0.5, abs=1e-6)


def test_pixels_without_data_and_tiles_apart_are_not_compared() -> None:
    plan = plan_tiles(16, 60, (16, 16), "blended", overlap=0.5)
    meter = SeamMeter(plan.rows, plan.cols)
    zeros, ones = np.zeros((1, 16, 16), np.float32), np.ones((1, 16, 16), np.float32)
    meter.add(0, 0, zeros)
    meter.add(0, 2, ones)
    assert meter.take(np.ones((16, 60), dtype=bool), 0, 0) == SeamSums()
    meter.add(0, 3, zeros)
    valid = np.ones((16, 60), dtype=bool)
    valid[4:] = False
    assert meter.take(valid, 0, 0) == SeamSums(4, 4.0, 1.0)


def test_tiles_that_do_not_overlap_have_no_seam_error() -> None:
    plan = plan_tiles(16, 32, (16, 16), "blended", overlap=0.0)
    meter = SeamMeter(plan.rows, plan.cols)
    for col in range(2):
        meter.add(0, col, np.zeros((1, 16, 16), np.float32))
    assert meter.take(np.ones((16, 32), dtype=bool), 0, 0).mean is None
