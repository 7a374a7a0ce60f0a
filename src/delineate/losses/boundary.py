"""The boundary loss: probability weighed by its distance to the target's boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from delineate.losses.blocks import PixelTerm
from delineate.losses.fused import sum_pixels
from delineate.losses.inputs import class_masks, read_foreground_weights, read_labels
from delineate.losses.joint import add_up
from delineate.losses.reduction import divide, find_absent
from delineate.morphology import signed_distance

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.task import Task


def boundary_loss(
    logits: Tensor,
    target: Tensor,
    task: Task,
    valid: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Return the mean of probability times signed distance to the target's boundary, in pixels.

    mean(p phi), phi negative inside the class and positive outside, half a pixel on both sides of
    an edge (https://arxiv.org/abs/1812.07032, whose phi is 0 on the inner side). Lowest, and below
    0, at the target itself; bounded by the image's diagonal. Meant as an addition to a loss of
    area. A declared background does not take part. The distance is measured in each image by
    itself; ignored pixels count as outside for it.

    Empty target: a class without a boundary in an image, be it absent or everywhere, has the
    cross-entropy of its pixels in place of p phi: -log(1 - P) or -log(p). A pixel of an absent
    class then has the gradient p over the number of pixels, at least half of that where p >= 1/2,
    times the class's share of the weights; see `delineate.losses`.

    Args:
        logits: Network output, (B, C, H, W); `task` owns the activation.
        target: Class indices, (B, H, W); multilabel (B, C, H, W).
        task: The classes.
        valid: Pixels that count, bool, (B, 1, H, W). None counts all but the ignored ones.
        class_weights: One per class, (C,). None weighs all alike.

    Raises:
        ShapeError: If `logits`, `target` and `valid` do not fit `task` and each other.
        UsageError: If a class weight is negative or not finite.
    """
    labels = read_labels(logits, target, task, valid)
    weights = read_foreground_weights(class_weights, task, labels.num_valid)
    num_pixels = logits.shape[2] * logits.shape[3]
    absent = find_absent(labels, weights, "image")
    is_full = labels.num_positive == num_pixels
    has_boundary = (labels.num_positive > 0) & ~is_full & (weights > 0)

    distances = _distance_maps(class_masks(labels, task), has_boundary, logits.shape[2:])
    probs = task.probs(logits).flatten(2)
    distances = distances.to(probs)
    if labels.valid is not None:
        distances *= labels.valid.reshape(len(logits), -1, num_pixels)
    costs = (probs * distances).sum(dim=2)
    is_flat = absent | is_full
    if bool(is_flat.any()):
        sums = sum_pixels(logits, labels, task, absent=absent, term=PixelTerm(), has_overlap=False)
        costs = costs + sums.penalty + torch.where(is_full, sums.pixelwise, 0.0)
    return divide(*add_up((costs * weights).sum(), (labels.num_valid * weights).sum()))


def _distance_maps(positives: Tensor, wanted: Tensor, size: torch.Size) -> Tensor:
    """Return the signed distances of the wanted (B, C) cells and 0 elsewhere, (B, C, N)."""
    masks = positives.cpu().numpy()
    distances = np.zeros(masks.shape, dtype=np.float32)
    for image, index in wanted.nonzero().tolist():
        distances[image, index] = signed_distance(masks[image, index].reshape(size)).ravel()
    return torch.from_numpy(distances).to(positives.device)
