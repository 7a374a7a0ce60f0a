"""What tuning makes as good as it can: numbers made from counts that add up over images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from delineate.errors import UnknownNameError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

ObjectiveName = Literal[
    "dice", "dice_per_image", "iou", "f_beta", "recall_at_precision", "cost", "object_f1"
]

NUM_STATISTICS = 4


@dataclass(frozen=True)
class Objective:
    """A score of one class, higher is better, from statistics that add up over images.

    - ``dice``, ``iou``: of the pooled counts.
    - ``dice_per_image``: the mean over the images whose Dice is defined.
    - ``f_beta``: (1 + b^2) TP / ((1 + b^2) TP + b^2 FN + FP) of the pooled counts.
    - ``recall_at_precision``: recall where precision reaches `least_precision`; elsewhere what
      precision lacks of it, negative, so that every setting that reaches it is better than all
      that do not.
    - ``cost``: minus (`miss_cost` FN + FP) per counted pixel.
    - ``object_f1``: Dice of pooled counts of objects, 2 matched / (predicted + true); a predicted
      object matches a true one where their IoU exceeds one half.
    """

    name: ObjectiveName = "dice"
    beta: float = 2.0
    least_precision: float = 0.9
    miss_cost: float = 5.0

    def __post_init__(self) -> None:
        if self.name not in get_args(ObjectiveName):
            raise UnknownNameError("objective", self.name, list(get_args(ObjectiveName)))

    @property
    def counts_objects(self) -> bool:
        """Whether the counts are of objects, not of pixels."""
        return self.name == "object_f1"

    def describe(self) -> str:
        """Return the objective in words."""
        return {
            "dice": "Dice of the pooled pixels",
            "dice_per_image": "mean Dice per image",
            "iou": "IoU of the pooled pixels",
            "f_beta": f"F{self.beta:g} of the pooled pixels",
            "recall_at_precision": f"recall at a precision of {self.least_precision:g} or more",
            "cost": f"minus cost per pixel, a miss costing {self.miss_cost:g} false alarms",
            "object_f1": "F1 of objects at an IoU above one half",
        }[self.name]

    def statistics(
        self,
        hits: NDArray[Any],
        alarms: NDArray[Any],
        num_positive: int,
        num_counted: int,
    ) -> FloatArray:
        """Return what one image adds, (..., NUM_STATISTICS).

        Args:
            hits: True positives at each setting, (...).
            alarms: False positives at each setting, (...).
            num_positive: Positive pixels, or true objects.
            num_counted: Pixels that count.
        """
        tp, fp = np.asarray(hits, dtype=np.float64), np.asarray(alarms, dtype=np.float64)
        sums = np.zeros((*tp.shape, NUM_STATISTICS))
        if self.name == "dice_per_image":
            whole = tp + fp + num_positive
            sums[..., 0] = _ratio(2 * tp, whole, undefined=0.0)
            sums[..., 1] = whole > 0
        else:
            sums[..., 0], sums[..., 1] = tp, fp
            sums[..., 2], sums[..., 3] = num_positive, num_counted
        return sums

    def score(self, sums: FloatArray) -> FloatArray:
        """Return the score of summed statistics, (...); NaN where undefined."""
        if self.name == "dice_per_image":
            return _ratio(sums[..., 0], sums[..., 1])
        tp, fp, positive, counted = np.moveaxis(sums, -1, 0)
        fn = positive - tp
        if self.name == "cost":
            return _ratio(-(self.miss_cost * fn + fp), counted)
        if self.name == "iou":
            values = _ratio(tp, tp + fp + fn)
        elif self.name == "f_beta":
            weight = self.beta**2
            values = _ratio((1 + weight) * tp, (1 + weight) * tp + weight * fn + fp)
        elif self.name == "recall_at_precision":
            precision = _ratio(tp, tp + fp, undefined=1.0)
            shortfall = precision - self.least_precision
            values = np.where(shortfall >= 0, _ratio(tp, positive), shortfall)
        else:
            values = _ratio(2 * tp, tp + fp + positive)
        # Without a positive no setting can be told from another by its hits.
        return np.where(positive > 0, values, np.nan)


def mean_over_classes(scores: FloatArray, axis: int = -1) -> FloatArray:
    """Return the mean of the defined scores; NaN where none is."""
    is_defined = np.isfinite(scores)
    return _ratio(np.where(is_defined, scores, 0.0).sum(axis=axis), is_defined.sum(axis=axis))


def _ratio(part: NDArray[Any], whole: NDArray[Any], undefined: float = np.nan) -> FloatArray:
    whole = np.asarray(whole, dtype=np.float64)
    out = np.full(np.broadcast(part, whole).shape, undefined)
    np.divide(part, whole, out=out, where=whole > 0)
    return out
