"""Predicted probabilities against observed frequencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.metrics.curves import ProbabilityHistogram

    FloatArray = NDArray[np.float64]


def reliability(
    histogram: ProbabilityHistogram, index: int, num_groups: int = 20
) -> tuple[FloatArray, FloatArray]:
    """Return mean predicted probability and share of positives of groups of pixels, (n,) each.

    Groups are equally wide in probability; those without pixels are left out. A bin of the
    histogram counts as its middle.
    """
    edges = histogram.thresholds
    middles = np.append((edges[:-1] + edges[1:]) / 2, 1.0)
    negatives, positives = histogram.counts[index]
    group = np.minimum((middles * num_groups).astype(np.intp), num_groups - 1)
    total = np.bincount(group, negatives + positives, num_groups)
    hits = np.bincount(group, positives, num_groups)
    sums = np.bincount(group, (negatives + positives) * middles, num_groups)
    is_any = total > 0
    return sums[is_any] / total[is_any], hits[is_any] / total[is_any]
