"""The thresholds that turn probabilities into masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from delineate.metrics.curves import ProbabilityHistogram


def tune_thresholds(histogram: ProbabilityHistogram) -> tuple[float, ...] | None:
    """Return the threshold of each class that maximises its pooled Dice.

    To be asked of validation data only. A class without positive pixels gets 0.5; on a plateau
    the middle is taken (`ProbabilityHistogram.best_threshold`).

    Returns:
        One threshold per class, each a bin edge; None for a multiclass task, which takes the
        argmax.
    """
    if not histogram.task.has_threshold:
        return None
    return tuple(histogram.best_threshold(i)[0] for i in range(histogram.task.num_classes))
