"""Losses that look at shape: distance to the boundary, and centrelines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from delineate.errors import UsageError
from delineate.losses.blocks import PixelTerm
from delineate.losses.fused import sum_pixels
from delineate.losses.inputs import read_class_weights, read_labels
from delineate.losses.reduction import (
    SMALLEST_DENOMINATOR,
    Reduction,
    check_reduction,
    divide,
    find_absent,
    mean_over_cells,
)
from delineate.morphology import signed_distance

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.losses.inputs import Labels
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
    weights = _foreground_weights(class_weights, labels, task)
    num_pixels = logits.shape[2] * logits.shape[3]
    absent = find_absent(labels, weights, "image")
    is_full = labels.num_positive == num_pixels
    has_boundary = (labels.num_positive > 0) & ~is_full & (weights > 0)

    distances = _distance_maps(_positives(labels, task), has_boundary, logits.shape[2:])
    probs = task.probs(logits).flatten(2)
    distances = distances.to(probs)
    if labels.valid is not None:
        distances *= labels.valid.reshape(len(logits), -1, num_pixels)
    costs = (probs * distances).sum(dim=2)
    is_flat = absent | is_full
    if bool(is_flat.any()):
        sums = sum_pixels(logits, labels, task, absent=absent, term=PixelTerm(), has_overlap=False)
        costs = costs + sums.penalty + torch.where(is_full, sums.pixelwise, 0.0)
    return divide((costs * weights).sum(), (labels.num_valid * weights).sum())


def cl_dice_loss(
    logits: Tensor,
    target: Tensor,
    task: Task,
    valid: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    iterations: int = 5,
    reduction: Reduction = "batch",
    smooth: float = 1.0,
) -> Tensor:
    """Return 1 - soft centreline Dice, averaged over the classes, in [0, 1] where present.

    The harmonic mean of how much of the predicted centreline lies in the target,
    (sum(S(p) g) + s) / (sum(S(p)) + s), and how much of the target's centreline is predicted,
    (sum(S(g) p) + s) / (sum(S(g)) + s), S being a soft thinning by minima and maxima of
    neighbouring pixels (https://arxiv.org/abs/2003.07311). It judges connection, not width: use
    it beside a loss of area. A declared background does not take part. Ignored pixels are taken
    as background by the thinning and left out of the sums.

    Empty target: as in `dice_loss`, on the probabilities, not on their centreline: an absent class
    has the loss -mean(log(1 - P)), in [0, inf); see `delineate.losses`.

    Args:
        logits: Network output, (B, C, H, W); `task` owns the activation.
        target: Class indices, (B, H, W); multilabel (B, C, H, W).
        task: The classes.
        valid: Pixels that count, bool, (B, 1, H, W). None counts all but the ignored ones.
        class_weights: One per class, (C,). None weighs all alike.
        iterations: Rounds of thinning, at least half the width of the thickest structure.
        reduction: Sums over each image, over the batch, or over the batch and all its classes.
        smooth: Pixels added to numerators and denominators (s), 0 or more.

    Raises:
        ShapeError: If `logits`, `target` and `valid` do not fit `task` and each other.
        UsageError: If a setting is out of range.
    """
    check_reduction(reduction, smooth)
    if iterations < 1:
        raise UsageError(f"iterations is {iterations} but must be 1 or more")
    labels = read_labels(logits, target, task, valid)
    weights = _foreground_weights(class_weights, labels, task)
    absent = find_absent(labels, weights, reduction)
    penalty = sum_pixels(logits, labels, task, absent=absent, has_overlap=False).penalty

    chosen = weights.nonzero().squeeze(1)
    probs = task.probs(logits).index_select(1, chosen)
    present = _positives(labels, task).reshape(logits.shape)
    present = present.index_select(1, chosen).to(probs)
    if labels.valid is not None:
        counts = labels.valid.reshape(len(logits), -1, *logits.shape[2:])
        probs = probs * (counts if counts.shape[1] == 1 else counts.index_select(1, chosen))
    thin_probs = soft_skeleton(probs, iterations)
    thin_target = soft_skeleton(present, iterations)
    parts = (thin_probs * present, thin_probs, thin_target * probs, thin_target)
    sums = tuple(
        torch.zeros_like(penalty).index_add(1, chosen, part.sum(dim=(2, 3))) for part in parts
    )

    def formula(
        precise: Tensor, thin_probs: Tensor, sensitive: Tensor, thin_target: Tensor
    ) -> Tensor:
        floor = SMALLEST_DENOMINATOR
        precision = (precise + smooth) / (thin_probs + smooth).clamp_min(floor)
        sensitivity = (sensitive + smooth) / (thin_target + smooth).clamp_min(floor)
        return 1 - 2 * precision * sensitivity / (precision + sensitivity).clamp_min(floor)

    return mean_over_cells(formula, sums, penalty, labels, weights, reduction)


def soft_skeleton(values: Tensor, iterations: int) -> Tensor:
    """Return how much each pixel belongs to a centreline, (B, C, H, W), for values in [0, 1].

    What an opening takes away is line-like; it is collected while the shape is eroded step by
    step. The outside of the image neither erodes nor fills.
    """
    eroded = _erode(values)
    skeleton = F.relu(values - _dilate(eroded))
    for _ in range(iterations):
        values = eroded
        eroded = _erode(values)
        lines = F.relu(values - _dilate(eroded))
        skeleton = skeleton + F.relu(lines - skeleton * lines)
    return skeleton


def _erode(values: Tensor) -> Tensor:
    vertical = F.max_pool2d(-values, (3, 1), stride=1, padding=(1, 0))
    horizontal = F.max_pool2d(-values, (1, 3), stride=1, padding=(0, 1))
    return -torch.maximum(vertical, horizontal)


def _dilate(values: Tensor) -> Tensor:
    return F.max_pool2d(values, 3, stride=1, padding=1)


def _foreground_weights(class_weights: Tensor | None, labels: Labels, task: Task) -> Tensor:
    weights = read_class_weights(class_weights, task, labels.num_valid)
    shown = torch.zeros_like(weights)
    shown[list(task.foreground)] = 1.0
    return weights * shown


def _positives(labels: Labels, task: Task) -> Tensor:
    """Return where each class is, uint8 or bool (B, C, N); not in pixels that do not count."""
    if task.kind != "multiclass":
        return labels.classes
    indices = torch.arange(task.num_classes, device=labels.classes.device)
    positives = labels.classes.unsqueeze(1) == indices[:, None]
    return positives if labels.valid is None else positives * labels.valid.unsqueeze(1)


def _distance_maps(positives: Tensor, wanted: Tensor, size: torch.Size) -> Tensor:
    """Return the signed distances of the wanted (B, C) cells and 0 elsewhere, (B, C, N)."""
    masks = positives.cpu().numpy()
    distances = np.zeros(masks.shape, dtype=np.float32)
    for image, index in wanted.nonzero().tolist():
        distances[image, index] = signed_distance(masks[image, index].reshape(size)).ravel()
    return torch.from_numpy(distances).to(positives.device)
