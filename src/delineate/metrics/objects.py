"""Objects found and missed, by connected parts: detection scores, panoptic quality, count error.

An object is an 8-connected part of a mask; two that touch are one. A predicted and a true object
match if their IoU is above the threshold, which is 0.5 or more, so that each has at most one match
and no assignment has to be chosen. Ignored pixels belong to no true object and to no IoU, and an
unmatched object of which more than half is ignored is left out, as in panoptic quality
(https://arxiv.org/abs/1801.00868).

Beside that an object is *missed* if no predicted pixel of its class lies in it, and *spurious* if
it is predicted where no true pixel is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import ShapeError, UsageError
from delineate.metrics.classes import check_masks, class_planes, window_of_both
from delineate.metrics.confusion import mean_of_defined
from delineate.metrics.fixed_point import as_float, carry, sum_exactly
from delineate.morphology import label_components
from delineate.task import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from delineate.metrics.confusion import Scores

OBJECT_SCORES = (
    "object_precision",
    "object_recall",
    "object_f1",
    "panoptic_quality",
    "segmentation_quality",
    "recognition_quality",
    "count_error",
    "count_bias",
)
"""The scores of objects: shares in [0, 1], but for the last two, which are numbers of objects.

- Precision, recall and F1 of detection. Recognition quality is F1 by its other name.
- Segmentation quality is the mean IoU of the matched pairs; panoptic quality is its product with
  recognition quality.
- Count error is |predicted - true objects| of an image, averaged over the images with any; count
  bias is the same with its sign, positive where too many are predicted.
"""

OBJECT_COUNTS = ("num_objects", "num_predicted", "num_matched", "num_missed", "num_spurious")

_LARGEST_TABLE = 2**20  # pairs of labels that are counted in a table; more are sorted
_BLOCK = 2**17  # pixels whose numbers stay in the processor's cache


@dataclass(frozen=True)
class ObjectMatches:
    """What became of the objects of one class in one image."""

    num_objects: int
    """True objects."""
    num_predicted: int
    """Predicted objects."""
    ious: NDArray[np.float64]
    """IoU of each matched pair, in the order of the true objects."""
    num_missed: int
    """True objects without any predicted pixel."""
    num_spurious: int
    """Predicted objects without any true pixel."""

    def counts(self) -> dict[str, int]:
        """Return `OBJECT_COUNTS`."""
        found = (self.num_objects, self.num_predicted, self.ious.size)
        return dict(zip(OBJECT_COUNTS, (*found, self.num_missed, self.num_spurious), strict=True))

    def scores(self) -> Scores:
        """Return `OBJECT_SCORES` of this image alone."""
        single = ObjectCounts(Task("binary", ("object",)))
        single.add(0, self)
        return single.class_scores()[0]


def match_objects(
    mask: NDArray[Any],
    target: NDArray[Any],
    valid: NDArray[np.bool_] | None = None,
    *,
    iou_threshold: float = 0.5,
) -> ObjectMatches:
    """Match the objects of a predicted mask with those of the true one.

    Args:
        mask: Prediction, (H, W), non-zero inside.
        target: Truth, (H, W), non-zero inside.
        valid: Pixels that count, (H, W); None counts all.
        iou_threshold: A pair with an IoU above it matches, in [0.5, 1).

    Raises:
        ShapeError: If the shapes differ or are not (H, W).
        UsageError: If the threshold is out of range.
    """
    check_masks(mask, target)
    if not 0.5 <= iou_threshold < 1:
        raise UsageError(
            f"objects match above an IoU of 0.5 or more and below 1, got {iou_threshold}"
        )
    window = window_of_both(mask, target)
    mask, target = mask[window], target[window]
    if not mask.size:
        return ObjectMatches(0, 0, np.zeros(0), 0, 0)
    if valid is not None:
        valid = valid[window]
    predicted, whole_areas = label_components(mask)
    if valid is None or valid.all():
        true, true_areas = label_components(target)
        areas = whole_areas
    else:
        true, true_areas = label_components((target != 0) & valid)
        areas = np.bincount(predicted[valid], minlength=whole_areas.size)
    # Ignored pixels are in no true object, so not in an overlap either.
    of_true, of_predicted, overlaps = _overlaps(true, predicted, (true_areas.size, areas.size))
    ious = overlaps / (true_areas[of_true] + areas[of_predicted] - overlaps)
    is_match = ious > iou_threshold
    is_counted = 2 * areas >= whole_areas
    is_counted[of_predicted[is_match]] = True
    is_counted[0] = False
    num_objects, num_predicted = true_areas.size - 1, int(np.count_nonzero(is_counted))
    has_truth = np.zeros(areas.size, dtype=bool)
    has_truth[of_predicted] = True
    return ObjectMatches(
        num_objects=num_objects,
        num_predicted=num_predicted,
        ious=ious[is_match],
        num_missed=num_objects - np.unique(of_true).size,
        num_spurious=int(np.count_nonzero(is_counted & ~has_truth)),
    )


def _overlaps(
    true: NDArray[np.int32], predicted: NDArray[np.int32], num_labels: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the labels of each pair of objects that share pixels, and how many they share."""
    size = num_labels[0] * num_labels[1]
    if size <= _LARGEST_TABLE:
        table = np.zeros(size, dtype=np.intp)
        rows = max(1, _BLOCK // true.shape[1])
        for start in range(0, true.shape[0], rows):
            block = slice(start, start + rows)
            pairs = true[block].astype(np.intp) * num_labels[1] + predicted[block]
            counts = np.bincount(pairs.ravel())
            table[: counts.size] += counts
        found = np.flatnonzero(table)
        overlaps = table[found]
    else:
        pairs = true.astype(np.intp) * num_labels[1] + predicted
        found, overlaps = np.unique(pairs, return_counts=True)
    is_shared = (found >= num_labels[1]) & (found % num_labels[1] > 0)
    found, overlaps = found[is_shared], overlaps[is_shared]
    of_true, of_predicted = np.divmod(found, num_labels[1])
    return of_true, of_predicted, overlaps


class ObjectCounts:
    """Objects of each class, counted over images.

    - `numbers`, (K, 8): true, predicted, matched, missed and spurious objects; the difference of
      predicted and true, summed over the images, and without its sign; images with any object.
    - `iou_sums`, (K, 2): sums of the IoU of matched pairs, in two words
      (`delineate.metrics.fixed_point`).
    """

    def __init__(self, task: Task, *, iou_threshold: float = 0.5) -> None:
        self.task = task
        self.iou_threshold = iou_threshold
        self.numbers: NDArray[np.int64] = np.zeros((task.num_classes, 8), np.int64)
        self.iou_sums: NDArray[np.int64] = np.zeros((task.num_classes, 2), np.int64)

    def update(
        self, mask: NDArray[Any], target: NDArray[Any], valid: NDArray[np.bool_] | None = None
    ) -> None:
        """Add one image.

        A declared background has no objects.

        Args:
            mask: Predicted labels, (H, W); multilabel (C, H, W) of 0 and 1.
            target: Labels of the same shape; `task.ignore_index` does not count.
            valid: Pixels that count, (H, W); None counts all.

        Raises:
            ShapeError: If shapes differ.
        """
        for index, inside, truth, counted in class_planes(mask, target, self.task, valid):
            matches = match_objects(inside, truth, counted, iou_threshold=self.iou_threshold)
            self.add(index, matches)

    def add(self, index: int, matches: ObjectMatches) -> None:
        """Add what became of the objects of one class in one image."""
        difference = matches.num_predicted - matches.num_objects
        has_any = matches.num_predicted + matches.num_objects > 0
        self.numbers[index] += (*matches.counts().values(), difference, abs(difference), has_any)
        self.iou_sums[index] = carry(self.iou_sums[index] + sum_exactly(matches.ious))

    def class_counts(self) -> tuple[dict[str, int], ...]:
        """Return `OBJECT_COUNTS` of each class, in the order of `task.class_names`."""
        return tuple(
            dict(zip(OBJECT_COUNTS, map(int, row[: len(OBJECT_COUNTS)]), strict=True))
            for row in self.numbers
        )

    def class_scores(self) -> tuple[Scores, ...]:
        """Return `OBJECT_SCORES` of each class over all images, undefined without objects."""
        scores = []
        for row, total in zip(self.numbers, as_float(self.iou_sums), strict=True):
            true, predicted, matched, _, _, signed, unsigned, num_images = map(int, row)
            iou_sum, num_both = float(total), true + predicted
            f1 = _ratio(2 * matched, num_both)
            values = (
                _ratio(matched, predicted),
                _ratio(matched, true),
                f1,
                _ratio(2 * iou_sum, num_both),
                _ratio(iou_sum, matched),
                f1,
                _ratio(unsigned, num_images),
                _ratio(signed, num_images),
            )
            scores.append(dict(zip(OBJECT_SCORES, values, strict=True)))
        return tuple(scores)

    def scores(self) -> Scores:
        """Return the means of `OBJECT_SCORES` over the foreground classes that have them."""
        per_class = self.class_scores()
        return {
            name: mean_of_defined(per_class[index][name] for index in self.task.foreground)
            for name in OBJECT_SCORES
        }

    def as_dict(self) -> dict[str, NDArray[np.int64]]:
        """Return the counts by name, ready to be stored or summed over processes."""
        return {"numbers": self.numbers, "iou_sums": self.iou_sums}

    def rebuild(self, arrays: Mapping[str, NDArray[Any]]) -> ObjectCounts:
        """Return counts of the same task that hold what `as_dict` returned, or sums of such."""
        rebuilt = ObjectCounts(self.task, iou_threshold=self.iou_threshold)
        for name, own in rebuilt.as_dict().items():
            if arrays[name].shape != own.shape:
                raise ShapeError(f"{name} of this task are {own.shape}, got {arrays[name].shape}")
        rebuilt.numbers = arrays["numbers"].astype(np.int64)
        rebuilt.iou_sums = carry(arrays["iou_sums"].astype(np.int64))
        return rebuilt

    def __add__(self, other: ObjectCounts) -> ObjectCounts:
        theirs = other.as_dict()
        return self.rebuild({name: own + theirs[name] for name, own in self.as_dict().items()})


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
