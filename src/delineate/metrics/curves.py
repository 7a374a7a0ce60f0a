"""Precision-recall and ROC curves from streaming histograms of probabilities.

A pixel of probability p falls into bin floor(p * num_bins), and p = 1 into a bin of its own.
`num_bins` is a power of two, so that the product and the edges k / num_bins are exact in float32:
the counts above an edge are exactly those of ``probs >= edge``. Curves, areas and thresholds are
therefore exact to the bin, for any number of pixels, in constant memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import ShapeError, UsageError
from delineate.metrics.confusion import ConfusionCounts, Scores, score_counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from delineate.task import Task

    FloatArray = NDArray[np.float64]

MAX_BINS = 2**16


@dataclass(frozen=True)
class PrecisionRecallCurve:
    """Precision and recall at ``p >= threshold``, thresholds rising.

    The last point, which has no threshold, is the prediction of nothing: recall 0, precision 1.
    Where nothing reaches a threshold, precision is 1 by the same convention.
    """

    thresholds: FloatArray
    precision: FloatArray
    recall: FloatArray


@dataclass(frozen=True)
class RocCurve:
    """False and true positive rate at ``p >= threshold``, thresholds rising.

    The last point, which has no threshold, is the prediction of nothing: (0, 0).
    """

    thresholds: FloatArray
    false_positive_rate: FloatArray
    true_positive_rate: FloatArray


class ProbabilityHistogram:
    """Int64 counts of probabilities, apart for positive and negative pixels of each class.

    `counts` is (K, 2, num_bins + 1): negatives, then positives. Classes of a multiclass task are
    counted one against the rest.
    """

    def __init__(
        self, task: Task, num_bins: int = 4096, counts: NDArray[Any] | None = None
    ) -> None:
        if not 2 <= num_bins <= MAX_BINS or num_bins & (num_bins - 1):
            raise UsageError(
                f"num_bins must be a power of two up to {MAX_BINS}, so that bin edges are exact, "
                f"got {num_bins}"
            )
        shape = (task.num_classes, 2, num_bins + 1)
        if counts is not None and counts.shape != shape:
            raise ShapeError(f"histogram counts of this task are {shape}, got {counts.shape}")
        self.task = task
        self.num_bins = num_bins
        self.counts: NDArray[np.int64] = (
            np.zeros(shape, np.int64) if counts is None else counts.astype(np.int64)
        )

    def update(
        self, probs: NDArray[Any], target: NDArray[Any], valid: NDArray[np.bool_] | None = None
    ) -> None:
        """Add one image.

        Args:
            probs: Probabilities in [0, 1], (C, H, W).
            target: Labels, (H, W); multilabel (C, H, W); `task.ignore_index` does not count.
            valid: Pixels that count, (H, W); None counts all.

        Raises:
            ShapeError: If shapes do not fit, or a counted probability is not in [0, 1].
        """
        multilabel = self.task.kind == "multilabel"
        labelled = target.shape if multilabel else (self.task.num_classes, *target.shape)
        if probs.shape != labelled or probs.shape[0] != self.task.num_classes:
            raise ShapeError(
                f"probabilities {probs.shape} do not fit a target {target.shape} of "
                f"{self.task.num_classes} classes"
            )
        if multilabel:
            for index in range(self.task.num_classes):
                counted = self._counted(target[index], valid)
                self._add(index, probs[index], target[index] == 1, counted)
            return
        counted = self._counted(target, valid)
        for index in range(self.task.num_classes):
            positive = target == (1 if self.task.kind == "binary" else index)
            self._add(index, probs[index], positive, counted)

    def _counted(
        self, target: NDArray[Any], valid: NDArray[np.bool_] | None
    ) -> NDArray[np.bool_] | None:
        counted = np.asarray(target != self.task.ignore_index)
        if valid is not None:
            counted &= valid
        return None if counted.all() else counted

    def _add(
        self,
        index: int,
        probs: NDArray[Any],
        positive: NDArray[np.bool_],
        counted: NDArray[np.bool_] | None,
    ) -> None:
        if counted is not None:
            probs, positive = probs[counted], positive[counted]
        if not probs.size:
            return
        # The negated form also catches NaN.
        if not (probs.min() >= 0 and probs.max() <= 1):
            raise ShapeError(
                f"probabilities of class {self.task.class_names[index]!r} must lie in [0, 1], "
                f"got {probs.min()} to {probs.max()}"
            )
        if probs.dtype.itemsize < 4:
            probs = probs.astype(np.float32)
        bins = (probs * probs.dtype.type(self.num_bins)).astype(np.intp).ravel()
        bins += positive.ravel() * np.intp(self.num_bins + 1)
        self.counts[index] += np.bincount(bins, minlength=2 * (self.num_bins + 1)).reshape(2, -1)

    def __add__(self, other: ProbabilityHistogram) -> ProbabilityHistogram:
        return ProbabilityHistogram(self.task, self.num_bins, self.counts + other.counts)

    @property
    def thresholds(self) -> FloatArray:
        """The bin edges, 0 to 1 inclusive, (num_bins + 1,)."""
        return np.arange(self.num_bins + 1) / self.num_bins

    def _reached(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the negatives and positives at or above each edge: (fp, tp)."""
        above = self.counts[index, :, ::-1].cumsum(axis=1)[:, ::-1]
        return above[0], above[1]

    def precision_recall(self, index: int) -> PrecisionRecallCurve | None:
        """Return the precision-recall curve of a class; None if it has no positive pixel."""
        fp, tp = self._reached(index)
        if not tp[0]:
            return None
        predicted = tp + fp
        precision = np.where(predicted > 0, tp / np.maximum(predicted, 1), 1.0)
        return PrecisionRecallCurve(
            self.thresholds, np.append(precision, 1.0), np.append(tp / tp[0], 0.0)
        )

    def roc(self, index: int) -> RocCurve | None:
        """Return the ROC curve of a class; None without positive or without negative pixels."""
        fp, tp = self._reached(index)
        if not (tp[0] and fp[0]):
            return None
        return RocCurve(self.thresholds, np.append(fp / fp[0], 0.0), np.append(tp / tp[0], 0.0))

    def average_precision(self, index: int) -> float | None:
        """Return the average precision: precision weighted by the steps in recall."""
        curve = self.precision_recall(index)
        if curve is None:
            return None
        return float(-np.sum(np.diff(curve.recall) * curve.precision[:-1]))

    def auroc(self, index: int) -> float | None:
        """Return the area under the ROC curve, by trapezoids."""
        curve = self.roc(index)
        if curve is None:
            return None
        return float(-np.trapezoid(curve.true_positive_rate, curve.false_positive_rate))

    def dice_curve(self, index: int) -> FloatArray | None:
        """Return Dice at every edge in `thresholds`; None if the class has no positive pixel."""
        fp, tp = self._reached(index)
        if not tp[0]:
            return None
        return np.asarray(2 * tp / (tp + fp + tp[0]), dtype=np.float64)

    def best_threshold(self, index: int) -> tuple[float, float | None]:
        """Return the threshold in (0, 1] that maximises Dice (and so IoU), and that Dice.

        Where several edges share the maximum, the run of them nearest to 0.5 is taken, and its
        middle. Without positive pixels Dice says nothing: (0.5, None).
        """
        dice = self.dice_curve(index)
        if dice is None:
            return 0.5, None
        best = np.flatnonzero(dice[1:] == dice[1:].max()) + 1
        runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
        half = self.num_bins / 2
        run = min(runs, key=lambda edges: float(np.abs(edges - half).min()))
        middle = int(run[0] + run[-1] + (run[0] + run[-1] < self.num_bins)) // 2
        return middle / self.num_bins, float(dice[middle])

    def counts_at(self, index: int, threshold: float) -> tuple[int, int, int, int]:
        """Return (tp, fp, fn, tn) of ``probs >= threshold`` for one class.

        Exact where the threshold is a bin edge; any other counts as the next edge above it.
        """
        fp, tp = self._reached(index)
        edge = int(np.ceil(threshold * self.num_bins))
        hits, alarms = (int(tp[edge]), int(fp[edge])) if edge <= self.num_bins else (0, 0)
        return hits, alarms, int(tp[0]) - hits, int(fp[0]) - alarms

    def scores_at(self, index: int, threshold: float) -> Scores:
        """Return the scores of one class, against the rest, at a threshold (see `counts_at`)."""
        return score_counts(*self.counts_at(index, threshold))

    def confusion_at(self, thresholds: Sequence[float]) -> ConfusionCounts:
        """Return the counts at one threshold per class (binary and multilabel; see `counts_at`)."""
        counts = [self.counts_at(index, t) for index, t in enumerate(thresholds)]
        matrices = [[[tn, fp], [fn, tp]] for tp, fp, fn, tn in counts]
        return ConfusionCounts(self.task, np.asarray(matrices, dtype=np.int64))
