"""Whether thin structures hang together as they should: centreline Dice and Betti numbers.

Inside, pixels hang together at corners too (8-connected); outside, at sides only (4-connected).
A hole is a part of the outside that does not reach the image's border.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.metrics.classes import check_masks, window_of_both
from delineate.morphology import label_components, skeleton

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.metrics.confusion import Scores

TOPOLOGY_SCORES = ("cl_dice", "parts_error", "holes_error")
"""What `topology_scores` returns: a score in [0, 1], and two numbers of parts and of holes."""


def cl_dice(mask: NDArray[Any], target: NDArray[Any]) -> float | None:
    """Return the centreline Dice: whether each centreline lies inside the other mask.

    The harmonic mean of the share of the predicted skeleton inside the target and the share of the
    target's skeleton inside the prediction (https://arxiv.org/abs/2003.07311), with the skeletons
    of `delineate.morphology.skeleton`.

    Args:
        mask: Prediction, (H, W), non-zero inside.
        target: Truth, (H, W), non-zero inside.

    Returns:
        In [0, 1]; None if both masks are empty, 0 if one is.

    Raises:
        ShapeError: If the shapes differ or are not (H, W).
    """
    check_masks(mask, target)
    window = window_of_both(mask, target)
    inside, truth = mask[window] != 0, target[window] != 0
    if not (inside.any() and truth.any()):
        return 0.0 if inside.any() or truth.any() else None
    predicted_line, true_line = skeleton(inside), skeleton(truth)
    precision = np.count_nonzero(predicted_line & truth) / np.count_nonzero(predicted_line)
    recall = np.count_nonzero(true_line & inside) / np.count_nonzero(true_line)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def betti_numbers(mask: NDArray[Any]) -> tuple[int, int]:
    """Return the number of parts (b0, 8-connected) and of holes (b1, 4-connected) of a mask."""
    inside = mask[window_of_both(mask, mask)] != 0
    if not inside.size:
        return 0, 0
    # A frame of outside pixels joins all that reaches the border.
    _, parts = label_components(inside)
    _, outside = label_components(np.pad(~inside, 1, constant_values=True), connectivity=4)
    return parts.size - 1, outside.size - 2


def topology_scores(mask: NDArray[Any], target: NDArray[Any]) -> Scores:
    """Return `TOPOLOGY_SCORES` of one class in one image.

    `parts_error` and `holes_error` are the absolute differences of the Betti numbers b0 and b1 of
    the whole masks. Where both masks are empty, all are None.

    Args:
        mask: Prediction, (H, W), non-zero inside.
        target: Truth, (H, W), non-zero inside.

    Raises:
        ShapeError: If the shapes differ or are not (H, W).
    """
    score = cl_dice(mask, target)
    if score is None:
        return dict.fromkeys(TOPOLOGY_SCORES)
    predicted, true = betti_numbers(mask), betti_numbers(target)
    errors = [float(abs(a - b)) for a, b in zip(predicted, true, strict=True)]
    return dict(zip(TOPOLOGY_SCORES, [score, *errors], strict=True))
