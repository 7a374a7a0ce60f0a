"""Checks what a loss is given and counts the labels that its sums are divided by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from delineate.errors import ShapeError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.task import Task


@dataclass(frozen=True)
class Labels:
    """The labels of a batch, flattened over space (N = H x W).

    `classes` holds 0 where a pixel does not count, so that it can always serve as an index.
    """

    classes: Tensor
    """Multiclass: class indices, int64 (B, N). Binary and multilabel: 0 and 1, uint8 (B, C, N)."""
    valid: Tensor | None
    """1 in pixels that count, uint8, shaped as `classes`; None where all do."""
    num_positive: Tensor
    """Valid pixels of each class, (B, C), float32 or float64."""
    num_valid: Tensor
    """Pixels in which each class is known, (B, C), same type."""


def read_labels(logits: Tensor, target: Tensor, task: Task, valid: Tensor | None = None) -> Labels:
    """Check the inputs of a loss and count its labels.

    Args:
        logits: Network output, (B, C, H, W), floating point.
        target: Class indices, (B, H, W), integer or bool; multilabel (B, C, H, W).
        task: The classes, and the target value that does not count.
        valid: Pixels that count, bool, (B, 1, H, W). None counts all.

    Raises:
        ShapeError: If `logits`, `target` and `valid` do not fit `task` and each other, or if
            `target` holds a value that is no class.
    """
    _check_shapes(logits, target, task, valid)
    batch_size, num_classes, height, width = logits.shape
    count_dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    num_values = num_classes if task.kind == "multiclass" else 2
    target = target.detach()
    if task.kind != "multilabel":
        target = target.unsqueeze(1)
    if target.dtype == torch.bool:
        target = target.to(torch.uint8)

    # The common case, nothing ignored, is settled by one look at the extremes.
    low, high = _extremes(target)
    counted = None
    if valid is not None or not (low >= 0 and high < num_values) or task.ignore_index < num_values:
        counted = target != task.ignore_index
        if valid is not None:
            counted = counted & valid
        target = target.masked_fill(~counted, 0)
        low, high = _extremes(target)
        if low < 0 or high >= num_values:
            raise ShapeError(
                f"the target holds values from {low} to {high}, but a {task.kind} target holds "
                f"0 to {num_values - 1}, and {task.ignore_index} where a pixel does not count; "
                "decode the masks for this task"
            )
        if bool(counted.all()):
            counted = None

    if task.kind == "multiclass":
        classes = target.reshape(batch_size, height * width).long()
        bins = classes
        if counted is not None:
            counted = counted.reshape(batch_size, height * width)
            bins = classes.masked_fill(~counted, num_classes)
        totals = torch.stack([torch.bincount(row, minlength=num_classes + 1) for row in bins])
        num_positive = totals[:, :num_classes].to(count_dtype)
        num_valid = num_positive.sum(dim=1, keepdim=True).expand_as(num_positive)
        counts = None if counted is None else _bytes(counted)
        return Labels(classes, counts, num_positive, num_valid)

    shape = (batch_size, num_classes, height * width)
    target = target.reshape(shape)
    num_positive = target.sum(dim=2).to(count_dtype)
    positives = _bytes(target.bool())
    if counted is None:
        return Labels(positives, None, num_positive, torch.full_like(num_positive, shape[2]))
    counted = counted.reshape(shape)
    return Labels(positives, _bytes(counted), num_positive, counted.sum(dim=2).to(count_dtype))


def read_class_weights(class_weights: Tensor | None, task: Task, like: Tensor) -> Tensor:
    """Return one weight per class, (C,), of the type and on the device of `like`; ones for None.

    Raises:
        ShapeError: If there is not one weight for each class.
        UsageError: If a weight is negative or not finite.
    """
    if class_weights is None:
        return torch.ones(task.num_classes, dtype=like.dtype, device=like.device)
    if class_weights.shape != (task.num_classes,):
        raise ShapeError(
            f"class_weights has shape {tuple(class_weights.shape)} but the task has "
            f"{task.num_classes} classes; give one weight for each of {', '.join(task.class_names)}"
        )
    if not bool((class_weights.isfinite() & (class_weights >= 0)).all()):
        raise UsageError(
            f"class_weights must be finite and not negative, got {class_weights.tolist()}"
        )
    return class_weights.detach().to(dtype=like.dtype, device=like.device)


def read_foreground_weights(class_weights: Tensor | None, task: Task, like: Tensor) -> Tensor:
    """Return `read_class_weights` with 0 for a declared background."""
    weights = read_class_weights(class_weights, task, like)
    is_foreground = torch.zeros_like(weights)
    is_foreground[list(task.foreground)] = 1.0
    return weights * is_foreground


def class_masks(labels: Labels, task: Task) -> Tensor:
    """Return where each class is, uint8 or bool (B, C, N); not in pixels that do not count."""
    if task.kind != "multiclass":
        return labels.classes
    indices = torch.arange(task.num_classes, device=labels.classes.device)
    masks = labels.classes.unsqueeze(1) == indices[:, None]
    return masks if labels.valid is None else masks * labels.valid.unsqueeze(1)


def _check_shapes(logits: Tensor, target: Tensor, task: Task, valid: Tensor | None) -> None:
    if logits.ndim != 4 or logits.shape[1] != task.num_classes:
        raise ShapeError(
            f"logits have shape {tuple(logits.shape)} but must be (batch, {task.num_classes}, "
            f"height, width) for the {task.num_classes} classes of the task"
        )
    if not logits.is_floating_point():
        raise ShapeError(f"logits are {logits.dtype} but must be floating point")
    batch_size, num_classes, height, width = logits.shape
    expected = (
        (batch_size, num_classes, height, width)
        if task.kind == "multilabel"
        else (batch_size, height, width)
    )
    if tuple(target.shape) != expected:
        raise ShapeError(
            f"the target has shape {tuple(target.shape)} but must be {expected} for logits of "
            f"shape {tuple(logits.shape)} and a {task.kind} task"
        )
    if target.is_floating_point() or target.is_complex():
        raise ShapeError(
            f"the target is {target.dtype} but must hold class indices; convert it to int64"
        )
    if valid is None:
        return
    if tuple(valid.shape) != (batch_size, 1, height, width) or valid.dtype != torch.bool:
        raise ShapeError(
            f"valid is {valid.dtype} of shape {tuple(valid.shape)} but must be bool of shape "
            f"{(batch_size, 1, height, width)}"
        )


def _bytes(flags: Tensor) -> Tensor:
    # They turn into floating point six times as fast as booleans do.
    return flags.view(torch.uint8)


def _extremes(target: Tensor) -> tuple[int, int]:
    if target.numel() == 0:
        return 0, 0
    low, high = target.aminmax()
    return int(low), int(high)
