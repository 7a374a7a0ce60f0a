"""Whether a probability of 0.8 is right eight times in ten: reliability, ECE and Brier score.

Probabilities are counted in bins of equal width, [k / n, (k + 1) / n), the last one with 1. In each
bin the mean probability is set against the share of positives (the reliability diagram); the
expected calibration error (ECE) is the mean of their absolute differences, weighted by pixels
(https://arxiv.org/abs/1706.04599). The Brier score is the mean squared difference of probability
and truth. The means are those of the probabilities themselves, not of bin centres, and exact to
1e-12, for any number of pixels in constant memory (`delineate.metrics.fixed_point`).

Classes are judged one against the rest. A multiclass task also has its top label, the class of the
highest probability, judged by how often it is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import ShapeError, UsageError
from delineate.metrics.classes import class_probs, counted_pixels
from delineate.metrics.confusion import mean_of_defined
from delineate.metrics.fixed_point import as_float, carry, sum_by_bin, sum_exactly

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from delineate.metrics.confusion import Scores
    from delineate.task import Task

    FloatArray = NDArray[np.float64]
    IntArray = NDArray[np.int64]

CALIBRATION_SCORES = ("expected_calibration_error", "brier_error")
"""What `CalibrationCounts.class_scores` returns of each class; better when lower."""

MAX_RELIABILITY_BINS = 256
_BLOCK = 2**16  # pixels whose numbers stay in the processor's cache


@dataclass(frozen=True)
class Reliability:
    """The reliability diagram of one class: the bins that hold pixels, probabilities rising."""

    mean_probs: FloatArray
    """Mean probability of each bin, in [0, 1]."""
    shares: FloatArray
    """Share of positive pixels in each bin, in [0, 1]; of the top label, of right ones."""
    num_pixels: IntArray
    """Pixels in each bin."""

    @property
    def expected_calibration_error(self) -> float | None:
        """Mean absolute difference of the two, weighted by pixels; None without pixels."""
        total = int(self.num_pixels.sum())
        if not total:
            return None
        differences = np.abs(self.mean_probs - self.shares)
        return float((differences * self.num_pixels).sum() / total)


class CalibrationCounts:
    """What reliability diagrams and Brier scores are made from, in int64.

    The last row of a multiclass task with K classes, row K, is its top label.

    - `counts`, (rows, num_bins, 2): negatives and positives.
    - `prob_sums`, (rows, num_bins, 2): sums of the probabilities, in two words.
    - `squares`, (rows, 2): sums of the squared differences, in two words.
    """

    def __init__(self, task: Task, num_bins: int = 16) -> None:
        if not 1 <= num_bins <= MAX_RELIABILITY_BINS or num_bins & (num_bins - 1):
            raise UsageError(
                f"a reliability diagram has a power of two of bins, up to {MAX_RELIABILITY_BINS}, "
                f"so that their edges are exact, got {num_bins}"
            )
        self.task = task
        self.num_bins = num_bins
        rows = task.num_classes + (task.kind == "multiclass")
        self.counts: IntArray = np.zeros((rows, num_bins, 2), np.int64)
        self.prob_sums: IntArray = np.zeros((rows, num_bins, 2), np.int64)
        self.squares: IntArray = np.zeros((rows, 2), np.int64)

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
            self._add(index, values, positive)
        if self.task.kind == "multiclass":
            highest, is_right = probs.max(axis=0), target == probs.argmax(axis=0)
            counted = counted_pixels(target, self.task, valid)
            if counted is not None:
                highest, is_right = highest[counted], is_right[counted]
            self._add(self.task.num_classes, highest.ravel(), is_right.ravel())

    def _add(self, row: int, probs: NDArray[Any], positive: NDArray[np.bool_]) -> None:
        """Add probabilities and what came true, both (N,)."""
        for start in range(0, probs.size, _BLOCK):
            block = slice(start, start + _BLOCK)
            self._add_block(row, probs[block].astype(np.float64), positive[block])

    def _add_block(self, row: int, probs: FloatArray, positive: NDArray[np.bool_]) -> None:
        bins = np.minimum((probs * self.num_bins).astype(np.intp), self.num_bins - 1)
        counts = np.bincount(2 * bins + positive, minlength=2 * self.num_bins)
        self.counts[row] += counts.reshape(-1, 2)
        self.prob_sums[row] = carry(self.prob_sums[row] + sum_by_bin(probs, bins, self.num_bins))
        squares = sum_exactly(np.square(probs - positive))
        self.squares[row] = carry(self.squares[row] + squares)

    def reliability(self, index: int) -> Reliability:
        """Return the reliability diagram of a class."""
        num_pixels = self.counts[index].sum(axis=1)
        held = num_pixels > 0
        num_held = num_pixels[held]
        return Reliability(
            as_float(self.prob_sums[index][held]) / num_held,
            self.counts[index, held, 1] / num_held,
            num_held,
        )

    def top_label(self) -> Reliability | None:
        """Return the reliability diagram of a multiclass task's top label; None for others."""
        if self.task.kind != "multiclass":
            return None
        return self.reliability(self.task.num_classes)

    def brier_error(self, index: int) -> float | None:
        """Return the Brier score of a class against the rest; None without pixels."""
        num_pixels = int(self.counts[index].sum())
        return float(as_float(self.squares[index])) / num_pixels if num_pixels else None

    def class_scores(self) -> tuple[Scores, ...]:
        """Return `CALIBRATION_SCORES` of each class, in the order of `task.class_names`."""
        return tuple(
            {
                "expected_calibration_error": self.reliability(index).expected_calibration_error,
                "brier_error": self.brier_error(index),
            }
            for index in range(self.task.num_classes)
        )

    def scores(self) -> Scores:
        """Return the scores of the task as a whole.

        `brier_error` of a multiclass task is the sum over its classes, in [0, 2]; otherwise it is
        the mean over the classes. `expected_calibration_error` is that of the top label, or the
        mean over the classes.
        """
        per_class = self.class_scores()
        means = {name: mean_of_defined(s[name] for s in per_class) for name in CALIBRATION_SCORES}
        top = self.top_label()
        if top is not None:
            means["expected_calibration_error"] = top.expected_calibration_error
            if means["brier_error"] is not None:
                means["brier_error"] *= self.task.num_classes
        return means

    def as_dict(self) -> dict[str, IntArray]:
        """Return the counts by name, ready to be stored or summed over processes."""
        return {"counts": self.counts, "prob_sums": self.prob_sums, "squares": self.squares}

    def rebuild(self, arrays: Mapping[str, NDArray[Any]]) -> CalibrationCounts:
        """Return counts of the same task and bins that hold what `as_dict` returned, or sums."""
        rebuilt = CalibrationCounts(self.task, self.num_bins)
        for name, own in rebuilt.as_dict().items():
            if arrays[name].shape != own.shape:
                raise ShapeError(
                    f"{name} of a calibration of this task is {own.shape}, got {arrays[name].shape}"
                )
        rebuilt.counts = arrays["counts"].astype(np.int64)
        rebuilt.prob_sums = carry(arrays["prob_sums"].astype(np.int64))
        rebuilt.squares = carry(arrays["squares"].astype(np.int64))
        return rebuilt

    def __add__(self, other: CalibrationCounts) -> CalibrationCounts:
        theirs = other.as_dict()
        return self.rebuild({name: own + theirs[name] for name, own in self.as_dict().items()})
