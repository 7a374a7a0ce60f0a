"""Confusion counts and the scores made from them.

The convention, valid wherever a number is shown: counts are int64 and pooled over the data set;
a ratio whose denominator is zero is undefined (None) and left out of every mean. So a class that
neither the target nor the prediction holds has no Dice, IoU, precision or recall; one that only
the prediction holds has Dice and IoU 0 and no recall; one that only the target holds has Dice, IoU
and recall 0 and no precision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from delineate.task import Task

Scores = dict[str, float | None]

CLASS_SCORES = ("dice", "iou", "precision", "recall", "specificity", "balanced_accuracy")
"""The scores of one class against the rest, each in [0, 1] or undefined.

Balanced accuracy is the mean of recall and specificity, undefined where one of them is.
"""

AVERAGES = ("macro", "weighted", "micro")
"""How the scores of classes become one number; see `ConfusionCounts.averages`."""

CONVENTION = (
    "Counts are pooled over all pixels of the split; per-image means stand beside them. "
    "Ignored pixels do not count. A score whose denominator is zero is undefined (null) and left "
    "out of means: a class absent from both target and prediction has no score in that image. "
    "An image without foreground in target and prediction is left out of the per-image Dice and "
    "IoU and counted as a true-empty; with foreground in the prediction alone it scores 0. "
    "Means over classes are macro means, without the background where the task declares one."
)
"""The rules above in words, for files and reports."""


def mean_of_defined(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are not None; None if there are none."""
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def score_counts(tp: int, fp: int, fn: int, tn: int) -> Scores:
    """Return `CLASS_SCORES` of one class from its counts; None where undefined."""
    recall, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    is_defined = recall is not None and specificity is not None
    return {
        "dice": _ratio(2 * tp, 2 * tp + fp + fn),
        "iou": _ratio(tp, tp + fp + fn),
        "precision": _ratio(tp, tp + fp),
        "recall": recall,
        "specificity": specificity,
        "balanced_accuracy": mean_of_defined((recall, specificity)) if is_defined else None,
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _weighted_mean(values: list[float | None], weights: list[int]) -> float | None:
    defined = [(v, w) for v, w in zip(values, weights, strict=True) if v is not None]
    total = sum(weight for _, weight in defined)
    return sum(value * weight for value, weight in defined) / total if total else None


class ConfusionCounts:
    """Counts of (target, prediction) pairs over the pixels that count.

    `matrix` is int64, rows are targets and columns predictions: (K, K) for a multiclass task,
    (K, 2, 2) for binary and multilabel ones, whose classes are counted apart.
    """

    def __init__(self, task: Task, matrix: NDArray[np.int64] | None = None) -> None:
        num_classes = task.num_classes
        shape = (num_classes,) * 2 if task.kind == "multiclass" else (num_classes, 2, 2)
        if matrix is not None and matrix.shape != shape:
            raise ShapeError(f"a confusion matrix of this task is {shape}, got {matrix.shape}")
        self.task = task
        self.matrix: NDArray[np.int64] = (
            np.zeros(shape, np.int64) if matrix is None else matrix.astype(np.int64)
        )

    def update(
        self, mask: NDArray[Any], target: NDArray[Any], valid: NDArray[np.bool_] | None = None
    ) -> None:
        """Add one image (or batch).

        Args:
            mask: Predicted labels, (H, W); multilabel (C, H, W) of 0 and 1.
            target: Labels of the same shape; `task.ignore_index` does not count.
            valid: Pixels that count, (H, W); None counts all.

        Raises:
            ShapeError: If shapes differ or a label is not one of the task's.
        """
        if mask.shape != target.shape:
            raise ShapeError(
                f"prediction and target must be of one shape, got {mask.shape} and {target.shape}"
            )
        if self.task.kind == "multilabel":
            for index in range(self.task.num_classes):
                self.matrix[index] += self._pairs(mask[index], target[index], valid, 2)
        elif self.task.kind == "binary":
            self.matrix[0] += self._pairs(mask, target, valid, 2)
        else:
            self.matrix += self._pairs(mask, target, valid, self.task.num_classes)

    def _pairs(
        self,
        mask: NDArray[Any],
        target: NDArray[Any],
        valid: NDArray[np.bool_] | None,
        num_labels: int,
    ) -> NDArray[np.int64]:
        counted = target != self.task.ignore_index
        if valid is not None:
            counted &= valid
        if not counted.all():
            mask, target = mask[counted], target[counted]
        for what, labels in (("prediction", mask), ("target", target)):
            if labels.size and (labels.min() < 0 or labels.max() >= num_labels):
                raise ShapeError(
                    f"the {what} holds label {labels.max() if labels.min() >= 0 else labels.min()}"
                    f" but the task has labels 0 to {num_labels - 1}"
                )
        pairs = target.astype(np.int64).ravel() * num_labels + mask.ravel()
        return np.bincount(pairs, minlength=num_labels**2).reshape(num_labels, num_labels)

    def as_dict(self) -> dict[str, NDArray[np.int64]]:
        """Return the counts by name, ready to be stored or summed over processes."""
        return {"matrix": self.matrix}

    def rebuild(self, arrays: Mapping[str, NDArray[Any]]) -> ConfusionCounts:
        """Return counts of the same task that hold what `as_dict` returned."""
        return ConfusionCounts(self.task, arrays["matrix"])

    def __add__(self, other: ConfusionCounts) -> ConfusionCounts:
        return ConfusionCounts(self.task, self.matrix + other.matrix)

    @property
    def num_pixels(self) -> int:
        """Pixels counted; of a multilabel task, the sum over its classes."""
        return int(self.matrix.sum())

    def class_counts(self) -> tuple[tuple[int, int, int, int], ...]:
        """Return (tp, fp, fn, tn) of each class, one against the rest."""
        if self.task.kind != "multiclass":
            return tuple(
                (int(m[1, 1]), int(m[0, 1]), int(m[1, 0]), int(m[0, 0])) for m in self.matrix
            )
        tp = np.diagonal(self.matrix)
        fp = self.matrix.sum(axis=0) - tp
        fn = self.matrix.sum(axis=1) - tp
        tn = self.matrix.sum() - tp - fp - fn
        return tuple(
            (int(a), int(b), int(c), int(d)) for a, b, c, d in zip(tp, fp, fn, tn, strict=True)
        )

    def class_scores(self) -> tuple[Scores, ...]:
        """Return `CLASS_SCORES` of each class, in the order of `task.class_names`."""
        return tuple(score_counts(*counts) for counts in self.class_counts())

    @property
    def pixel_accuracy(self) -> float | None:
        """Share of the counted pixels whose label is right."""
        right = int(np.trace(self.matrix, axis1=-2, axis2=-1).sum())
        return _ratio(right, self.num_pixels)

    def scores(self) -> Scores:
        """Return the macro means over `task.foreground` and the pixel accuracy.

        A task that declares a background gets `dice_with_background` and `iou_with_background`
        too.
        """
        per_class = self.class_scores()
        foreground = [per_class[index] for index in self.task.foreground]
        means = {name: mean_of_defined(s[name] for s in foreground) for name in CLASS_SCORES}
        means["pixel_accuracy"] = self.pixel_accuracy
        if self.task.background is not None:
            for name in ("dice", "iou"):
                means[f"{name}_with_background"] = mean_of_defined(s[name] for s in per_class)
        return means

    def averages(self, *, with_background: bool = False) -> dict[str, Scores]:
        """Return each of `CLASS_SCORES`, averaged over the classes in each way of `AVERAGES`.

        - ``macro``: every class counts alike.
        - ``weighted``: each class counts by its pixels in the target; IoU so weighted is the
          frequency-weighted IoU.
        - ``micro``: one score, of the counts summed over the classes. With the background of a
          multiclass task Dice, precision and recall are then the pixel accuracy.

        Args:
            with_background: Average over all classes, not over `task.foreground` alone.
        """
        counts = self.class_counts()
        if not with_background:
            counts = tuple(counts[index] for index in self.task.foreground)
        per_class = [score_counts(*c) for c in counts]
        weights = [tp + fn for tp, _, fn, _ in counts]
        summed = (sum(column) for column in zip(*counts, strict=True))
        return {
            "macro": {name: mean_of_defined(s[name] for s in per_class) for name in CLASS_SCORES},
            "weighted": {
                name: _weighted_mean([s[name] for s in per_class], weights) for name in CLASS_SCORES
            },
            "micro": score_counts(*summed),
        }

    @property
    def is_true_empty(self) -> bool:
        """Whether pixels were counted and no foreground class is in target or prediction."""
        counts = self.class_counts()
        return self.num_pixels > 0 and all(
            sum(counts[index][:3]) == 0 for index in self.task.foreground
        )


def mean_averages(
    images: Iterable[ConfusionCounts], *, with_background: bool = False
) -> dict[str, Scores]:
    """Return the means over images of what `ConfusionCounts.averages` gives of each.

    An image is left out of the mean of a score that is undefined there, so a true-empty is left
    out of Dice, IoU, precision and recall.

    Args:
        images: The counts of each image by itself.
        with_background: Average over all classes, not over the foreground alone.
    """
    found = [counts.averages(with_background=with_background) for counts in images]
    return {
        average: {
            name: mean_of_defined(each[average][name] for each in found) for name in CLASS_SCORES
        }
        for average in AVERAGES
    }
