"""Sums over pixels that the losses are made of, with their gradients in closed form.

A loss needs of millions of logits only a few sums per image and class: the soft false positives
and false negatives, and the sum of a per-pixel loss. Each is taken here in one pass over the data,
block by block, so that intermediate values stay in the cache and nothing as large as the logits
is allocated except their gradient. The backward pass recomputes a block from the logits, which
costs less than writing and reading back what the forward pass knew. What follows, divisions and
means, happens on (B, C) tensors under ordinary autograd, so that a reduction across processes can
be put between the two.

Blocks are computed in float32, or in float64 for float64 logits, whatever autocast says. The
gradient is that of the formula everywhere, also where a probability is 0 or 1 in floating point.
It can be taken once: second derivatives are not available.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

from delineate.losses.sigmoid_sums import SigmoidSums
from delineate.losses.softmax_sums import SoftmaxSums

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.losses.blocks import PixelTerm
    from delineate.losses.inputs import Labels
    from delineate.task import Task


@dataclass(frozen=True)
class PixelSums:
    """Sums over the valid pixels of each image, all (B, C)."""

    false_positive: Tensor
    """Probability given to the class where it is not; 0 for absent classes."""
    false_negative: Tensor
    """Probability withheld from the class where it is."""
    penalty: Tensor
    """-log(1 - P) for absent classes, else 0. P is the probability of the class or, where classes
    exclude each other, of all absent classes of the image together."""
    pixelwise: Tensor
    """The per-pixel loss, by the true class in multiclass tasks, else by channel."""


def sum_pixels(
    logits: Tensor,
    labels: Labels,
    task: Task,
    *,
    absent: Tensor | None = None,
    term: PixelTerm | None = None,
    has_overlap: bool = True,
) -> PixelSums:
    """Sum errors over the pixels of each image and class.

    Args:
        logits: Network output, (B, C, H, W).
        labels: Its labels, from `read_labels`.
        task: The classes.
        absent: Classes to penalise instead of measuring their overlap, bool (B, C). They must
            have no positive in the image.
        term: The per-pixel loss to sum; None leaves `pixelwise` at 0.
        has_overlap: Whether false positives and negatives are wanted (0 otherwise).
    """
    is_absent = absent if absent is not None and bool(absent.any()) else None
    function = SoftmaxSums if task.kind == "multiclass" else SigmoidSums
    sums = cast(
        "Tensor",
        function.apply(  # type: ignore[no-untyped-call]
            logits.flatten(2), labels.classes, labels.valid, is_absent, term, has_overlap
        ),
    )
    false_positive, false_negative, pixelwise = sums.unbind()
    penalty = torch.zeros_like(false_positive)
    if is_absent is not None:
        penalty = torch.where(is_absent, false_positive, 0.0)
        false_positive = torch.where(is_absent, 0.0, false_positive)
    return PixelSums(false_positive, false_negative, penalty, pixelwise)
