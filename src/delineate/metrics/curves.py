"""Precision-recall and ROC curves from streaming histograms of probabilities.

Every bin edge is a float32, p = 1 has a bin of its own, and the counts above an edge are exactly
those of ``probs >= edge``. Curves, areas and thresholds are therefore exact to the bin, for any
number of pixels, in constant memory. There are two ways to lay the edges:

- ``even``: at k / num_bins, num_bins being a power of two.
- ``logit``: about even in log(p / (1 - p)). Below one half each halving of p, down to 2**-17, is
  cut into equal parts; above, the same edges are mirrored, 1 - p. Of 4,096 bins 128 then lie
  between 0.0005 and 0.001, where the threshold of a rare class may be, and of even bins two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from delineate.errors import ShapeError, UnknownNameError, UsageError
from delineate.metrics.classes import class_probs
from delineate.metrics.confusion import ConfusionCounts, Scores, score_counts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from delineate.task import Task

    FloatArray = NDArray[np.float64]

Layout = Literal["even", "logit"]

MAX_BINS = 2**16
_HALVINGS = 16  # of p, from 1/2 down to 2**-17 (7.6e-6), that bins even in logits resolve
_LOGIT_BINS = (2 * _HALVINGS, 4096)  # with more, 1 - p would need more than float32's 24 bits
_MANTISSA_BITS = 23
_BLOCK = 2**16  # pixels whose numbers stay in the processor's cache


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


def bin_edges(num_bins: int, layout: Layout = "even") -> FloatArray:
    """Return the edges of the bins, rising from 0 to 1, (num_bins + 1,), each a float32.

    Raises:
        UsageError: If there is no such layout, or `num_bins` is not a power of two in its range.
    """
    if layout not in get_args(Layout):
        raise UnknownNameError("layout of bins", layout, list(get_args(Layout)))
    smallest, largest = (2, MAX_BINS) if layout == "even" else _LOGIT_BINS
    if not smallest <= num_bins <= largest or num_bins & (num_bins - 1):
        raise UsageError(
            f"num_bins must be a power of two from {smallest} to {largest}, so that the edges of "
            f"{layout} bins are exact, got {num_bins}"
        )
    if layout == "even":
        return np.arange(num_bins + 1) / num_bins
    parts = num_bins // (2 * _HALVINGS)
    halving, part = np.divmod(np.arange(num_bins // 2), parts)
    lower = np.ldexp(1 + part / parts, halving - _HALVINGS - 1)
    lower[0] = 0
    return np.concatenate([lower, [0.5], (1 - lower)[::-1]])


class ProbabilityHistogram:
    """Int64 counts of probabilities, apart for positive and negative pixels of each class.

    `counts` is (K, 2, num_bins + 1): negatives, then positives. Classes of a multiclass task are
    counted one against the rest. `thresholds` are the bin edges, (num_bins + 1,); the one in the
    middle is 0.5.
    """

    def __init__(
        self,
        task: Task,
        num_bins: int = 4096,
        counts: NDArray[Any] | None = None,
        *,
        layout: Layout = "even",
    ) -> None:
        self.thresholds = bin_edges(num_bins, layout)
        self.layout: Layout = layout
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
        for index, values, positive in class_probs(probs, target, self.task, valid):
            for start in range(0, values.size, _BLOCK):
                block = slice(start, start + _BLOCK)
                bins = self.bins_of(values[block])
                bins += positive[block] * np.intp(self.num_bins + 1)
                counts = np.bincount(bins, minlength=2 * (self.num_bins + 1))
                self.counts[index] += counts.reshape(2, -1)

    def bins_of(self, probs: NDArray[Any]) -> NDArray[np.intp]:
        """Return the bin of each probability: the last one whose edge it reaches."""
        if probs.dtype.itemsize < 4:
            probs = probs.astype(np.float32)
        if self.layout == "even":
            return np.asarray(probs * probs.dtype.type(self.num_bins)).astype(np.intp)
        if probs.dtype != np.float32:
            return np.asarray(np.searchsorted(self.thresholds, probs, side="right") - 1)
        # The edges are the float32 whose mantissa ends in zeros, so a bin is a float's first bits.
        # The mirrored bins contain their upper end as a value of 1 - p (exact from 1/2 on): one
        # step of the float below is the bin's last.
        is_upper = probs >= 0.5
        folded = np.where(is_upper, np.float32(1) - probs, probs)
        parts = self.num_bins // (2 * _HALVINGS)
        shift = np.int32(_MANTISSA_BITS - (parts.bit_length() - 1))
        first = np.float32(2.0 ** (-_HALVINGS - 1)).view(np.int32) >> shift
        bins = np.maximum(((folded.view(np.int32) - is_upper) >> shift) - first, 0).astype(np.intp)
        mirrored = np.where(is_upper, self.num_bins - 1 - bins, bins)
        return np.asarray(mirrored + (probs == 1), dtype=np.intp)

    def as_dict(self) -> dict[str, NDArray[np.int64]]:
        """Return the counts by name, ready to be stored or summed over processes."""
        return {"counts": self.counts}

    def rebuild(self, arrays: Mapping[str, NDArray[Any]]) -> ProbabilityHistogram:
        """Return a histogram of the same task and bins that holds what `as_dict` returned."""
        return ProbabilityHistogram(self.task, self.num_bins, arrays["counts"], layout=self.layout)

    def __add__(self, other: ProbabilityHistogram) -> ProbabilityHistogram:
        if self.layout != other.layout:
            raise ShapeError(f"{self.layout} bins cannot be added to {other.layout} ones")
        return self.rebuild({"counts": self.counts + other.counts})

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
        return float(self.thresholds[middle]), float(dice[middle])

    def counts_at(self, index: int, threshold: float) -> tuple[int, int, int, int]:
        """Return (tp, fp, fn, tn) of ``probs >= threshold`` for one class.

        Exact where the threshold is a bin edge; any other counts as the next edge above it.
        """
        fp, tp = self._reached(index)
        edge = int(np.searchsorted(self.thresholds, threshold))
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
