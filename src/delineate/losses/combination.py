"""Sums of losses: Dice with focal loss or cross-entropy in one pass, and any weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

from delineate.errors import UsageError
from delineate.losses.fused import sum_pixels
from delineate.losses.inputs import read_class_weights, read_labels
from delineate.losses.overlap import dice_formula
from delineate.losses.pixelwise import (
    cross_entropy_term,
    focal_term,
    mean_over_pixels,
    weigh_focal,
)
from delineate.losses.reduction import Reduction, check_reduction, find_absent, mean_over_cells

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.losses.blocks import PixelTerm
    from delineate.task import Task


def focal_dice_loss(
    logits: Tensor,
    target: Tensor,
    task: Task,
    valid: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    balance: float = 0.5,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    reduction: Reduction = "batch",
    smooth: float = 1.0,
) -> Tensor:
    """Return balance x `dice_loss` + (1 - balance) x `focal_loss`, in [0, inf), in one pass.

    Empty target: both push false positives down as they do by themselves; their bounds add up
    with the same weights.

    Args:
        logits: Network output, (B, C, H, W); `task` owns the activation.
        target: Class indices, (B, H, W); multilabel (B, C, H, W).
        task: The classes.
        valid: Pixels that count, bool, (B, 1, H, W). None counts all but the ignored ones.
        class_weights: One per class, (C,). None weighs all alike.
        balance: Share of Dice, in [0, 1].
        alpha: Weight of the positives in the focal part, in [0, 1]. None weighs both by 1.
        gamma: Exponent of the focal part, 0 or more.
        reduction: Dice summed over each image, over the batch, or over the batch and all classes.
        smooth: Pixels added to numerator and denominator of Dice, 0 or more.

    Raises:
        ShapeError: If `logits`, `target` and `valid` do not fit `task` and each other.
        UsageError: If a setting is out of range.
    """
    dice, pixelwise = _dice_and_pixelwise(
        logits,
        target,
        task,
        valid,
        class_weights=class_weights,
        balance=balance,
        term=focal_term(alpha, gamma),
        adjust=lambda sums: weigh_focal(sums, task, alpha),
        reduction=reduction,
        smooth=smooth,
    )
    return balance * dice + (1 - balance) * pixelwise


def ce_dice_loss(
    logits: Tensor,
    target: Tensor,
    task: Task,
    valid: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    balance: float = 0.5,
    pos_weight: float = 1.0,
    label_smoothing: float = 0.0,
    reduction: Reduction = "batch",
    smooth: float = 1.0,
) -> Tensor:
    """Return balance x `dice_loss` + (1 - balance) x `cross_entropy_loss`, in one pass.

    BCE + Dice or CE + Dice, as the task is, in [0, inf).

    Empty target: both push false positives down as they do by themselves; their bounds add up
    with the same weights.

    Args:
        logits: Network output, (B, C, H, W); `task` owns the activation.
        target: Class indices, (B, H, W); multilabel (B, C, H, W).
        task: The classes.
        valid: Pixels that count, bool, (B, 1, H, W). None counts all but the ignored ones.
        class_weights: One per class, (C,). None weighs all alike.
        balance: Share of Dice, in [0, 1].
        pos_weight: Weight of positive pixels in the cross-entropy (binary and multilabel).
        label_smoothing: Share of the target that the cross-entropy spreads evenly, in [0, 1).
        reduction: Dice summed over each image, over the batch, or over the batch and all classes.
        smooth: Pixels added to numerator and denominator of Dice, 0 or more.

    Raises:
        ShapeError: If `logits`, `target` and `valid` do not fit `task` and each other.
        UsageError: If a setting is out of range.
    """
    dice, pixelwise = _dice_and_pixelwise(
        logits,
        target,
        task,
        valid,
        class_weights=class_weights,
        balance=balance,
        term=cross_entropy_term(pos_weight, label_smoothing),
        adjust=lambda sums: sums,
        reduction=reduction,
        smooth=smooth,
    )
    return balance * dice + (1 - balance) * pixelwise


def weighted_sum_loss(
    logits: Tensor,
    target: Tensor,
    task: Task,
    valid: Tensor | None = None,
    *,
    terms: Sequence[tuple[float, Callable[..., Tensor]]],
    class_weights: Tensor | None = None,
) -> Tensor:
    """Return the sum of losses times their weights.

    Empty target: the bounds of the terms add up with their weights.

    Args:
        logits: Network output, (B, C, H, W); `task` owns the activation.
        target: Class indices, (B, H, W); multilabel (B, C, H, W).
        task: The classes.
        valid: Pixels that count, bool, (B, 1, H, W). None counts all but the ignored ones.
        terms: Weight, 0 or more, and loss: a function of this module's kind, called with
            (logits, target, task, valid, class_weights=...).
        class_weights: One per class, (C,), for all terms. None weighs all alike.

    Raises:
        ShapeError: If `logits`, `target` and `valid` do not fit `task` and each other.
        UsageError: If there is no term, or a weight is negative.
    """
    if not terms:
        raise UsageError("a weighted sum of losses has no terms; give at least one")
    for weight, _ in terms:
        if not weight >= 0:
            raise UsageError(f"a term of the weighted sum weighs {weight}; it must be 0 or more")
    losses = [
        weight * loss(logits, target, task, valid, class_weights=class_weights)
        for weight, loss in terms
    ]
    return torch.stack(losses).sum()


def _dice_and_pixelwise(
    logits: Tensor,
    target: Tensor,
    task: Task,
    valid: Tensor | None,
    *,
    class_weights: Tensor | None,
    balance: float,
    term: PixelTerm,
    adjust: Callable[[Tensor], Tensor],
    reduction: Reduction,
    smooth: float,
) -> tuple[Tensor, Tensor]:
    check_reduction(reduction, smooth)
    if not 0 <= balance <= 1:
        raise UsageError(f"balance is {balance} but must be in [0, 1]")
    labels = read_labels(logits, target, task, valid)
    weights = read_class_weights(class_weights, task, labels.num_valid)
    absent = find_absent(labels, weights, reduction)
    sums = sum_pixels(logits, labels, task, absent=absent, term=term)
    counts = (sums.false_positive, sums.false_negative, labels.num_positive)
    dice = mean_over_cells(dice_formula(smooth), counts, sums.penalty, labels, weights, reduction)
    return dice, mean_over_pixels(adjust(sums.pixelwise), labels, task, weights)
