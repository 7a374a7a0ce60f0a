"""Losses that are ratios of sums: Dice, Tversky and focal Tversky."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch

from delineate.errors import UsageError
from delineate.losses.fused import sum_pixels
from delineate.losses.inputs import read_class_weights, read_labels
from delineate.losses.reduction import (
    SMALLEST_DENOMINATOR,
    Reduction,
    check_reduction,
    find_absent,
    mean_over_cells,
)

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.task import Task

CHORD_END = 1e-4
"""Below it a power with exponent under 1 is replaced by its chord, whose slope is finite."""


def dice_loss(
    logits: Tensor,
    target: Tensor,
    task: Task,
    valid: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    reduction: Reduction = "batch",
    smooth: float = 1.0,
) -> Tensor:
    """Return 1 - soft Dice, averaged over the classes.

    1 - (2 sum(p g) + s) / (sum(p) + sum(g) + s), in [0, 1] for classes that are present
    (https://arxiv.org/abs/1606.04797, which squares p and g in the denominator; we do not).
    All classes count, the background of a multiclass task too, unless its weight is 0.

    Empty target: an absent class has the loss -mean(log(1 - P)) instead, in [0, inf), and a pixel
    of it the gradient p / n times the class's share of the weights, at least half of that where
    p >= 1/2; see `delineate.losses`.

    Args:
        logits: Network output, (B, C, H, W); `task` owns the activation.
        target: Class indices, (B, H, W); multilabel (B, C, H, W).
        task: The classes.
        valid: Pixels that count, bool, (B, 1, H, W). None counts all but the ignored ones.
        class_weights: One per class, (C,). None weighs all alike.
        reduction: Sums over each image, over the batch, or over the batch and all its classes.
        smooth: Pixels added to numerator and denominator (s), 0 or more.

    Raises:
        ShapeError: If `logits`, `target` and `valid` do not fit `task` and each other.
        UsageError: If a setting is out of range.
    """
    formula = dice_formula(smooth)
    return _overlap_loss(formula, logits, target, task, valid, class_weights, reduction, smooth)


def tversky_loss(
    logits: Tensor,
    target: Tensor,
    task: Task,
    valid: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    alpha: float = 0.3,
    beta: float = 0.7,
    reduction: Reduction = "batch",
    smooth: float = 1.0,
) -> Tensor:
    """Return 1 - Tversky index, averaged over the classes.

    1 - (TP + s) / (TP + alpha FP + beta FN + s), with TP = sum(p g), FP = sum(p (1 - g)) and
    FN = sum((1 - p) g), in [0, 1] for classes that are present (https://arxiv.org/abs/1706.05721).
    With `alpha` = `beta` = 1/2 it is Dice with twice the `smooth`.

    Empty target: as in `dice_loss`, whatever `alpha` is.

    Args:
        logits: Network output, (B, C, H, W); `task` owns the activation.
        target: Class indices, (B, H, W); multilabel (B, C, H, W).
        task: The classes.
        valid: Pixels that count, bool, (B, 1, H, W). None counts all but the ignored ones.
        class_weights: One per class, (C,). None weighs all alike.
        alpha: Weight of false positives, 0 or more.
        beta: Weight of false negatives, 0 or more.
        reduction: Sums over each image, over the batch, or over the batch and all its classes.
        smooth: Pixels added to numerator and denominator (s), 0 or more.

    Raises:
        ShapeError: If `logits`, `target` and `valid` do not fit `task` and each other.
        UsageError: If a setting is out of range.
    """
    formula = partial(_tversky_error, alpha=alpha, beta=beta, smooth=smooth)
    _check_tversky(alpha, beta, 1.0)
    return _overlap_loss(formula, logits, target, task, valid, class_weights, reduction, smooth)


def focal_tversky_loss(
    logits: Tensor,
    target: Tensor,
    task: Task,
    valid: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 1.33,
    reduction: Reduction = "batch",
    smooth: float = 1.0,
) -> Tensor:
    """Return (1 - Tversky index)^gamma, averaged over the classes.

    In [0, 1] for classes that are present. The paper (https://arxiv.org/abs/1810.07842) writes the
    exponent 1 / gamma and swaps alpha and beta. For `gamma` < 1 the power is its chord below 1e-4,
    so that the gradient is finite at a perfect prediction.

    Empty target: as in `dice_loss`, whatever `alpha` and `gamma` are.

    Args:
        logits: Network output, (B, C, H, W); `task` owns the activation.
        target: Class indices, (B, H, W); multilabel (B, C, H, W).
        task: The classes.
        valid: Pixels that count, bool, (B, 1, H, W). None counts all but the ignored ones.
        class_weights: One per class, (C,). None weighs all alike.
        alpha: Weight of false positives, 0 or more.
        beta: Weight of false negatives, 0 or more.
        gamma: Exponent, above 0; above 1 dwells on classes that are segmented badly.
        reduction: Sums over each image, over the batch, or over the batch and all its classes.
        smooth: Pixels added to numerator and denominator of the index, 0 or more.

    Raises:
        ShapeError: If `logits`, `target` and `valid` do not fit `task` and each other.
        UsageError: If a setting is out of range.
    """
    _check_tversky(alpha, beta, gamma)

    def formula(false_positive: Tensor, false_negative: Tensor, num_positive: Tensor) -> Tensor:
        error = _tversky_error(
            false_positive, false_negative, num_positive, alpha=alpha, beta=beta, smooth=smooth
        )
        return _finite_power(error, gamma)

    return _overlap_loss(formula, logits, target, task, valid, class_weights, reduction, smooth)


def dice_formula(smooth: float) -> Callable[..., Tensor]:
    """Return 1 - Dice as a function of false positives, false negatives and positives."""
    # 1 - Dice is 1 - Tversky with both weights 1/2; numerator and denominator are doubled.
    return partial(_tversky_error, alpha=0.5, beta=0.5, smooth=smooth / 2)


def _overlap_loss(
    formula: Callable[..., Tensor],
    logits: Tensor,
    target: Tensor,
    task: Task,
    valid: Tensor | None,
    class_weights: Tensor | None,
    reduction: Reduction,
    smooth: float,
) -> Tensor:
    check_reduction(reduction, smooth)
    labels = read_labels(logits, target, task, valid)
    weights = read_class_weights(class_weights, task, labels.num_valid)
    absent = find_absent(labels, weights, reduction)
    sums = sum_pixels(logits, labels, task, absent=absent)
    counts = (sums.false_positive, sums.false_negative, labels.num_positive)
    return mean_over_cells(formula, counts, sums.penalty, labels, weights, reduction)


def _tversky_error(
    false_positive: Tensor,
    false_negative: Tensor,
    num_positive: Tensor,
    *,
    alpha: float,
    beta: float,
    smooth: float,
) -> Tensor:
    """Return 1 - T as the ratio of the errors, which keeps its digits near a perfect score."""
    true_positive = (num_positive - false_negative).clamp_min(0)
    errors = alpha * false_positive + beta * false_negative
    return errors / (true_positive + errors + smooth).clamp_min(SMALLEST_DENOMINATOR)


def _finite_power(base: Tensor, exponent: float) -> Tensor:
    if exponent >= 1:
        return base.pow(exponent)
    is_small = base < CHORD_END
    power = torch.where(is_small, 1.0, base).pow(exponent)
    return torch.where(is_small, base * CHORD_END ** (exponent - 1), power)


def _check_tversky(alpha: float, beta: float, gamma: float) -> None:
    if not (alpha >= 0 and beta >= 0 and alpha + beta > 0):
        raise UsageError(
            f"alpha is {alpha} and beta {beta}, but they must be 0 or more and not both 0"
        )
    if not gamma > 0:
        raise UsageError(f"gamma is {gamma} but must be above 0")
