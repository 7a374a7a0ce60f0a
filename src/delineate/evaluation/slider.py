"""What a slider of thresholds needs: its positions, and the counts at each.

For a task with thresholds each class has its own positions; for a multiclass task the slider moves
the confidence below which a pixel is left undecided.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from delineate.evaluation.confidence import ConfidenceTally
    from delineate.evaluation.scoring import SplitScores

    FloatArray = NDArray[np.float64]

MAX_LEVELS = 255
"""Positions of a slider: a byte says how many of them a probability reaches."""

_WANTED = (*(i / 200 for i in range(1, 200)), 0.0005, 0.001, 0.002, 0.003, 0.997, 0.998, 0.999)


def slider_levels(edges: FloatArray, thresholds: Sequence[float] = ()) -> FloatArray:
    """Return rising thresholds in (0, 1] for a slider, at most `MAX_LEVELS`.

    Args:
        edges: Bin edges of the histogram that is read at them; only these are chosen, so that its
            counts hold exactly.
        thresholds: To be among them.
    """
    inner = edges[1:]
    nearest = np.abs(inner[None] - np.asarray(_WANTED)[:, None]).argmin(axis=1)
    levels = sorted({*inner[nearest].tolist(), *(float(value) for value in thresholds)})
    return np.asarray(levels[-MAX_LEVELS:])


def count_reached(probs: NDArray[np.float32], levels: FloatArray) -> NDArray[np.uint8]:
    """Return how many levels each probability reaches, of any shape."""
    return np.searchsorted(levels.astype(np.float32), probs, side="right").astype(np.uint8)


def describe_thresholds(scores: SplitScores) -> dict[str, Any]:
    """Return the positions of each class and the counts at them, JSON-ready."""
    assert scores.thresholds is not None
    classes = []
    for index, threshold in enumerate(scores.thresholds):
        levels = slider_levels(scores.histogram.thresholds, [threshold])
        counts = [scores.histogram.counts_at(index, float(level)) for level in levels]
        tp, fp, fn, tn = counts[0]
        classes.append(
            {
                "levels": [round(float(level), 7) for level in levels],
                "start": int(np.searchsorted(levels, threshold)),
                "tp": [count[0] for count in counts],
                "fp": [count[1] for count in counts],
                "positives": tp + fn,
                "negatives": fp + tn,
            }
        )
    return {"mode": "threshold", "classes": classes}


def describe_confidence(tally: ConfidenceTally) -> dict[str, Any]:
    """Return the positions of the confidence, and what is decided and right at them."""
    levels = confidence_levels(tally)
    total, right = tally.reached(levels)
    entry = {
        "levels": [round(float(level), 7) for level in levels],
        "start": 0,
        "total": total.tolist(),
        "right": right.tolist(),
    }
    return {"mode": "confidence", "classes": [entry]}


def confidence_levels(tally: ConfidenceTally) -> FloatArray:
    """Return the positions of the confidence: the first is below what any pixel can have."""
    chance = 1 / tally.num_classes
    levels = slider_levels(tally.edges)
    return np.concatenate([[0.0], levels[levels > chance]])
