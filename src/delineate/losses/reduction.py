"""Means over cells, and the rule for classes that have no positive pixel there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch

from delineate.errors import UnknownNameError, UsageError
from delineate.losses.joint import add_up

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.losses.inputs import Labels

Reduction = Literal["image", "batch", "batch_class"]

REDUCTIONS = ("image", "batch", "batch_class")

SMALLEST_DENOMINATOR = 1e-6
"""Pixels; reached only where `smooth` is 0 and nothing is predicted."""


def check_reduction(reduction: str, smooth: float) -> None:
    """Refuse what is no reduction and a negative `smooth`.

    Raises:
        UnknownNameError: If `reduction` is not image, batch or batch_class.
        UsageError: If `smooth` is negative.
    """
    if reduction not in REDUCTIONS:
        raise UnknownNameError("reduction", reduction, list(REDUCTIONS))
    if not smooth >= 0:
        raise UsageError(f"smooth is {smooth} but must be 0 or more pixels")


def find_absent(labels: Labels, class_weights: Tensor, reduction: Reduction) -> Tensor:
    """Return the classes that have valid pixels but no positive one, bool (B, C).

    They are looked for in each image for the reduction ``image``, else in the whole batch. Classes
    of weight 0 are not among them: nothing is asked of them.
    """
    num_positive, num_valid = labels.num_positive, labels.num_valid
    if reduction != "image":
        of_batch = add_up(num_positive.sum(dim=0), num_valid.sum(dim=0))
        num_positive, num_valid = (count.expand_as(num_valid) for count in of_batch)
    return (num_positive == 0) & (num_valid > 0) & (class_weights > 0)


def mean_over_cells(
    formula: Callable[..., Tensor],
    sums: tuple[Tensor, ...],
    penalty: Tensor,
    labels: Labels,
    class_weights: Tensor,
    reduction: Reduction,
) -> Tensor:
    """Apply a formula to the sums of each cell and return the mean weighted by class.

    A cell is a class in one image (``image``), a class in the batch (``batch``), or all classes
    that are present in the batch together, their sums weighted by class (``batch_class``). An
    absent class is a cell of its own, whose loss is `penalty` divided by its pixels. Cells without
    a valid pixel are left out; where there is none at all the mean is 0, with gradient 0.

    Args:
        formula: Loss of a cell from its sums, elementwise, finite at 0.
        sums: What `formula` takes, each (B, C).
        penalty: Sums of the penalty of absent classes, (B, C).
        labels: The labels behind the sums.
        class_weights: (C,).
        reduction: What a cell is.
    """
    num_valid = labels.num_valid
    num_positive = labels.num_positive
    if reduction != "image":
        parts = (penalty, num_valid, num_positive, *sums)
        of_batch = add_up(*(part.sum(dim=0, keepdim=True) for part in parts))
        penalty, num_valid, num_positive, *rest = of_batch
        sums = tuple(rest)
    is_known = num_valid > 0
    is_present = num_positive > 0
    if reduction == "batch_class":
        weights = torch.where(is_present, class_weights, 0.0)
        weights = weights / (weights.sum() / is_present.sum().clamp_min(1)).clamp_min(
            SMALLEST_DENOMINATOR
        )
        sums = tuple((part * weights).sum(dim=1, keepdim=True).expand_as(part) for part in sums)
    losses = torch.where(is_present, formula(*sums), penalty / num_valid.clamp_min(1))
    cell_weights = torch.where(is_known, class_weights, 0.0)
    numerator, denominator = (losses * cell_weights).sum(), cell_weights.sum()
    if reduction == "image":
        numerator, denominator = add_up(numerator, denominator)
    return divide(numerator, denominator)


def divide(numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return numerator / denominator (which is no negative number), or 0 with gradient 0 for 0."""
    is_empty = denominator <= 0
    return torch.where(is_empty, 0.0, numerator) / torch.where(is_empty, 1.0, denominator)
