"""Losses that are means over pixels: cross-entropy and focal loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delineate.errors import UsageError
from delineate.losses.blocks import PixelTerm
from delineate.losses.fused import sum_pixels
from delineate.losses.inputs import read_class_weights, read_labels
from delineate.losses.joint import add_up
from delineate.losses.reduction import divide

if TYPE_CHECKING:
    from torch import Tensor

    from delineate.losses.inputs import Labels
    from delineate.task import Task


def cross_entropy_loss(
    logits: Tensor,
    target: Tensor,
    task: Task,
    valid: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    pos_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the mean cross-entropy of the valid pixels, in [0, inf).

    Multiclass: sum(w_y (-log p_y)) / sum(w_y), y the true class. Binary and multilabel: the mean
    over pixels and channels of v_g (-log p_g), with v = `pos_weight` where the label g is 1, else
    1, weighted by the channel's class weight. With `label_smoothing` e, the true label keeps
    1 - e of the target and e is spread evenly over all labels (two in binary and multilabel);
    unlike in PyTorch, the weight of a pixel stays that of its true label.

    Empty target: a pixel of an absent class has the gradient p - e / K (K labels) over the number
    of pixels, at least (1 - e) / 2 of it where p >= 1/2.

    Args:
        logits: Network output, (B, C, H, W); `task` owns the activation.
        target: Class indices, (B, H, W); multilabel (B, C, H, W).
        task: The classes.
        valid: Pixels that count, bool, (B, 1, H, W). None counts all but the ignored ones.
        class_weights: One per class, (C,). None weighs all alike.
        pos_weight: Weight of positive pixels (binary and multilabel).
        label_smoothing: Share of the target that is spread evenly, in [0, 1).

    Raises:
        ShapeError: If `logits`, `target` and `valid` do not fit `task` and each other.
        UsageError: If a setting is out of range.
    """
    labels = read_labels(logits, target, task, valid)
    term = cross_entropy_term(pos_weight, label_smoothing)
    weights = read_class_weights(class_weights, task, labels.num_valid)
    sums = sum_pixels(logits, labels, task, term=term, has_overlap=False)
    return mean_over_pixels(sums.pixelwise, labels, task, weights)


def focal_loss(
    logits: Tensor,
    target: Tensor,
    task: Task,
    valid: Tensor | None = None,
    *,
    class_weights: Tensor | None = None,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """Return the mean focal loss of the valid pixels, in [0, inf).

    -a (1 - p_t)^gamma log(p_t), p_t the probability of the true label and a = `alpha` where it is
    positive, 1 - `alpha` where it is negative (https://arxiv.org/abs/1708.02002). In multiclass
    tasks the declared background is the negative, every other class is positive. Divided by the
    number of pixels (and channels; with class weights by the sum of the pixels' weights), not by
    that of the positives as in the paper, which detects boxes.

    Empty target: a pixel of an absent class has, over the number of pixels, the gradient
    a p^gamma (p - gamma (1 - p) log(1 - p)) in binary and multilabel tasks, and at least
    a p^(1 + gamma) in all, hence a / 2^(1 + gamma) or more where p >= 1/2. Here a is that of the
    true label: 1 - `alpha` where it is negative, so that `alpha` = 1 leaves nothing.

    Args:
        logits: Network output, (B, C, H, W); `task` owns the activation.
        target: Class indices, (B, H, W); multilabel (B, C, H, W).
        task: The classes.
        valid: Pixels that count, bool, (B, 1, H, W). None counts all but the ignored ones.
        class_weights: One per class, (C,). None weighs all alike.
        alpha: Weight of the positives, in [0, 1]. None weighs both by 1.
        gamma: Exponent, 0 or more; 0 is the cross-entropy.

    Raises:
        ShapeError: If `logits`, `target` and `valid` do not fit `task` and each other.
        UsageError: If a setting is out of range.
    """
    labels = read_labels(logits, target, task, valid)
    term = focal_term(alpha, gamma)
    weights = read_class_weights(class_weights, task, labels.num_valid)
    sums = sum_pixels(logits, labels, task, term=term, has_overlap=False)
    pixelwise = weigh_focal(sums.pixelwise, task, alpha)
    return mean_over_pixels(pixelwise, labels, task, weights)


def cross_entropy_term(pos_weight: float, label_smoothing: float) -> PixelTerm:
    """Return the per-pixel cross-entropy.

    Raises:
        UsageError: If a setting is out of range.
    """
    if not pos_weight > 0:
        raise UsageError(f"pos_weight is {pos_weight} but must be above 0")
    if not 0 <= label_smoothing < 1:
        raise UsageError(f"label_smoothing is {label_smoothing} but must be in [0, 1)")
    return PixelTerm(label_smoothing=label_smoothing, positive_weight=pos_weight)


def focal_term(alpha: float | None, gamma: float) -> PixelTerm:
    """Return the per-pixel focal loss.

    Raises:
        UsageError: If a setting is out of range.
    """
    if not gamma >= 0:
        raise UsageError(f"gamma is {gamma} but must be 0 or more")
    if alpha is None:
        return PixelTerm(gamma=gamma)
    if not 0 <= alpha <= 1:
        raise UsageError(f"alpha is {alpha} but must be in [0, 1], or None to weigh both alike")
    return PixelTerm(gamma=gamma, positive_weight=alpha, negative_weight=1 - alpha)


def weigh_focal(pixelwise: Tensor, task: Task, alpha: float | None) -> Tensor:
    """Return multiclass sums, (B, C), weighted by `alpha`; in other tasks the pixels were."""
    if task.kind != "multiclass" or alpha is None:
        return pixelwise
    foreground = task.foreground
    shares = [alpha if index in foreground else 1 - alpha for index in range(task.num_classes)]
    return pixelwise * pixelwise.new_tensor(shares)


def mean_over_pixels(pixelwise: Tensor, labels: Labels, task: Task, weights: Tensor) -> Tensor:
    """Return the mean of a per-pixel loss from its sums, (B, C), and the class weights, (C,).

    Numerator and denominator are whole sums over the batch; without a valid pixel the mean is 0.
    """
    counts = labels.num_positive if task.kind == "multiclass" else labels.num_valid
    return divide(*add_up((pixelwise * weights).sum(), (counts * weights).sum()))
