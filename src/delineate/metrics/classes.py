"""The masks and the probabilities of the single classes of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from delineate.errors import ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from delineate.task import Task


def check_masks(mask: NDArray[Any], target: NDArray[Any]) -> None:
    """Raise `ShapeError` unless the masks of one class are both (H, W)."""
    if mask.shape != target.shape or mask.ndim != 2:
        raise ShapeError(
            f"prediction and target must be of one shape (H, W), got {mask.shape} and "
            f"{target.shape}"
        )


def window_of_both(mask: NDArray[Any], target: NDArray[Any]) -> tuple[slice, slice]:
    """Return the rectangle that holds every inside pixel of both masks, (H, W); empty if none."""
    if not mask.size:
        return slice(0, 0), slice(0, 0)
    either = np.ascontiguousarray((mask != 0) | (target != 0))
    left, top, width, height = cv2.boundingRect(either.view(np.uint8))
    return slice(top, top + height), slice(left, left + width)


def counted_pixels(
    target: NDArray[Any], task: Task, valid: NDArray[np.bool_] | None
) -> NDArray[np.bool_] | None:
    """Return where a target is not ignored and `valid` holds; None if everywhere."""
    counted = np.asarray(target != task.ignore_index)
    if valid is not None:
        counted = counted & valid
    return None if counted.all() else counted


class ClassProbs(NamedTuple):
    """One class at the pixels of an image that count."""

    class_index: int
    """Of the class in `task.class_names`."""
    probs: NDArray[np.floating[Any]]
    """Probabilities in [0, 1], (N,)."""
    positive: NDArray[np.bool_]
    """Whether the target is this class, (N,)."""


def class_probs(
    probs: NDArray[Any], target: NDArray[Any], task: Task, valid: NDArray[np.bool_] | None = None
) -> Iterator[ClassProbs]:
    """Yield the probabilities of each class, one against the rest.

    Args:
        probs: Probabilities in [0, 1], (C, H, W).
        target: Labels, (H, W); multilabel (C, H, W); `task.ignore_index` does not count.
        task: The classes.
        valid: Pixels that count, (H, W); None counts all.

    Raises:
        ShapeError: If shapes do not fit, or a counted probability is not in [0, 1].
    """
    expected = target.shape if task.kind == "multilabel" else (task.num_classes, *target.shape)
    if probs.shape != expected or probs.shape[0] != task.num_classes:
        raise ShapeError(
            f"probabilities {probs.shape} do not fit a target {target.shape} of "
            f"{task.num_classes} classes"
        )
    counted = None if task.kind == "multilabel" else counted_pixels(target, task, valid)
    for index, name in enumerate(task.class_names):
        labels, values = target, probs[index]
        if task.kind == "multilabel":
            labels = target[index]
            counted = counted_pixels(labels, task, valid)
        if counted is not None:
            labels, values = labels[counted], values[counted]
        # The negated form also catches NaN.
        if values.size and not (values.min() >= 0 and values.max() <= 1):
            raise ShapeError(
                f"probabilities of class {name!r} must lie in [0, 1], got {values.min()} to "
                f"{values.max()}"
            )
        positive = labels == (index if task.kind == "multiclass" else 1)
        yield ClassProbs(index, values.ravel(), np.asarray(positive).ravel())


class ClassPlanes(NamedTuple):
    """One class in one image, everything (H, W)."""

    class_index: int
    """Of the class in `task.class_names`."""
    mask: NDArray[np.bool_]
    """Predicted pixels."""
    target: NDArray[np.bool_]
    """True pixels; ignored ones are not."""
    valid: NDArray[np.bool_] | None
    """Pixels that count; None if all do."""


def class_planes(
    mask: NDArray[Any], target: NDArray[Any], task: Task, valid: NDArray[np.bool_] | None = None
) -> Iterator[ClassPlanes]:
    """Yield the masks of each foreground class.

    Args:
        mask: Predicted labels, (H, W); multilabel (C, H, W) of 0 and 1.
        target: Labels of the same shape; `task.ignore_index` does not count.
        task: The classes; a declared background is left out.
        valid: Pixels that count, (H, W); None counts all.

    Raises:
        ShapeError: If the shapes differ or do not fit the task.
    """
    num_dims = 3 if task.kind == "multilabel" else 2
    if mask.shape != target.shape or mask.ndim != num_dims:
        raise ShapeError(
            f"prediction and target of a {task.kind} task must be of one shape, "
            f"{'(C, H, W)' if num_dims == 3 else '(H, W)'}, got {mask.shape} and {target.shape}"
        )
    for index in task.foreground:
        of_mask, of_target, label = mask, target, 1
        if task.kind == "multilabel":
            of_mask, of_target = mask[index], target[index]
        elif task.kind == "multiclass":
            label = index
        counted = counted_pixels(of_target, task, valid)
        truth = np.asarray(of_target == label)
        yield ClassPlanes(
            index,
            np.asarray(of_mask == label),
            truth if counted is None else truth & counted,
            counted,
        )
