"""What training minimises: the loss, over all heads of the network, with class weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
T = TypeVar("T", Tensor, Tensor | None)


def supervise_heads(
    loss: Loss, heads: Sequence[Tensor], target: Tensor, valid: Tensor | None
) -> Tensor:
    """Return the loss over all heads, each coarser one with half the weight of the one before.

    The weights add up to 1. Target and valid are brought to a head's size by taking the pixel
    nearest to each of its pixels' centres, which makes up no labels. Deep supervision:
    https://arxiv.org/abs/1409.5185.

    Args:
        loss: Called with (logits, target, valid).
        heads: Logits, (B, C, H, W), the finest first; coarser ones are smaller.
        target: Class indices, (B, H, W); multilabel (B, C, H, W).
        valid: Pixels that count, bool, (B, 1, H, W).
    """
    weights = [0.5**level for level in range(len(heads))]
    terms = [
        weight * loss(head, pick_nearest(target, head), pick_nearest(valid, head))
        for weight, head in zip(weights, heads, strict=True)
        if weight > 0
    ]
    return torch.stack(terms).sum() / sum(weights)


def pick_nearest(labels: T, head: Tensor) -> T:
    """Return labels (..., H, W) at the size of a head, by the nearest pixel centre."""
    if labels is None or labels.shape[-2:] == head.shape[-2:]:
        return labels
    rows, columns = (
        ((torch.arange(small, device=labels.device) + 0.5) * (large / small)).long()
        for small, large in zip(head.shape[-2:], labels.shape[-2:], strict=True)
    )
    return labels[..., rows, :][..., columns]


def balanced_class_weights(counts: Sequence[int] | NDArray[Any]) -> Tensor:
    """Return weights by the inverse square root of the classes' frequencies, of mean 1.

    The square root keeps a class of a thousandth of the pixels from outweighing all others. A
    class that no pixel has gets the weight 1.

    Args:
        counts: Pixels of each class, (C,).
    """
    pixels = np.asarray(counts, dtype=np.float64)
    weights = np.ones_like(pixels)
    is_present = pixels > 0
    if is_present.any():
        inverse = 1 / np.sqrt(pixels[is_present] / pixels.sum())
        weights[is_present] = inverse / inverse.mean()
    return torch.from_numpy(weights).float()
