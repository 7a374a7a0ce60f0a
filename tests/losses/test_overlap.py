"""Dice and Tversky against MONAI, and their rule for absent classes."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from monai.losses import DiceLoss, TverskyLoss
from torch import Tensor

from delineate.losses import dice_loss, focal_tversky_loss, tversky_loss
from delineate.losses.overlap import CHORD_END
from delineate.task import Task

TASKS = {
    "binary": Task("binary", ("vessel",)),
    "multiclass": Task("multiclass", ("ground", "road", "roof")),
    "multilabel": Task("multilabel", ("road", "roof", "tree")),
}


def draw(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, target, and the target with one channel per class."""
    logits = 2 * torch.randn(4, task.num_classes, 9, 8)
    if task.kind == "multilabel":
        target = torch.randint(0, 2, (4, 3, 9, 8))
        return logits, target, target.float()
    target = torch.randint(0, max(2, task.num_classes), (4, 9, 8))
    if task.kind == "binary":
        return logits, target, target[:, None].float()
    return logits, target, torch.nn.functional.one_hot(target, 3).movedim(3, 1).float()


@pytest.mark.parametrize("kind", list(TASKS))
@pytest.mark.parametrize("reduction", ["image", "batch"])
def test_dice_and_tversky_are_monais(kind: str, reduction: Literal["image", "batch"]) -> None:
    task = TASKS[kind]
    logits, target, channels = draw(task)
    sums = {
        "softmax": kind == "multiclass",
        "sigmoid": kind != "multiclass",
        "batch": reduction == "batch",
        "smooth_nr": 0.7,
        "smooth_dr": 0.7,
    }

    dice = dice_loss(logits, target, task, reduction=reduction, smooth=0.7)
    tversky = tversky_loss(
        logits, target, task, alpha=0.2, beta=0.9, reduction=reduction, smooth=0.7
    )

    torch.testing.assert_close(dice, DiceLoss(**sums)(logits, channels))
    theirs = TverskyLoss(alpha=0.2, beta=0.9, **sums)
    torch.testing.assert_close(tversky, theirs(logits, channels))


def test_batch_class_is_one_ratio_of_weighted_sums() -> None:
    task = TASKS["multilabel"]
    logits, target, channels = draw(task)
    weights = torch.tensor([1.0, 3.0, 2.0])
    probs = logits.sigmoid()

    loss = dice_loss(
        logits, target, task, class_weights=weights, reduction="batch_class", smooth=0.0
    )

    overlap = ((probs * channels).sum(dim=(0, 2, 3)) * weights).sum()
    total = ((probs + channels).sum(dim=(0, 2, 3)) * weights).sum()
    torch.testing.assert_close(loss, 1 - 2 * overlap / total)


def test_classes_are_averaged_by_weight() -> None:
    task = TASKS["multiclass"]
    logits, target, channels = draw(task)
    weights = torch.tensor([0.0, 3.0, 1.0])

    loss = dice_loss(logits, target, task, class_weights=weights)

    theirs = DiceLoss(softmax=True, batch=True, reduction="none", smooth_nr=1.0, smooth_dr=1.0)
    each = theirs(logits, channels).flatten()
    torch.testing.assert_close(loss, (3 * each[1] + each[2]) / 4)


def test_tversky_with_halves_is_dice_with_twice_the_smooth() -> None:
    task = TASKS["binary"]
    logits, target, _ = draw(task)

    torch.testing.assert_close(
        tversky_loss(logits, target, task, alpha=0.5, beta=0.5, smooth=2.0),
        dice_loss(logits, target, task, smooth=4.0),
    )


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.33, 3.0])
def test_focal_tversky_is_a_power_per_class(gamma: float) -> None:
    task = TASKS["multilabel"]
    logits, target, _ = draw(task)
    each = [tversky_loss(logits[:, k : k + 1], target[:, k], TASKS["binary"]) for k in range(3)]

    loss = focal_tversky_loss(logits, target, task, gamma=gamma)

    torch.testing.assert_close(loss, torch.stack(each).pow(gamma).mean())


def test_chord_joins_the_power_and_ends_at_zero() -> None:
    task = TASKS["binary"]
    target = torch.ones(1, 50, 50, dtype=torch.long)

    def loss(error: float, gamma: float) -> float:
        odds = torch.tensor((1 - error) / error, dtype=torch.float64)
        logits = odds.log().expand(1, 1, 50, 50)
        keywords = {"alpha": 0.5, "beta": 1.0, "smooth": 0.0}
        return focal_tversky_loss(logits, target, task, gamma=gamma, **keywords).item()

    assert loss(CHORD_END, 0.5) == pytest.approx(CHORD_END**0.5)
    assert loss(CHORD_END / 4, 0.5) == pytest.approx(CHORD_END**0.5 / 4)
    assert loss(1e-12, 0.5) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("reduction", ["image", "batch", "batch_class"])
def test_absent_class_has_a_cross_entropy(
    reduction: Literal["image", "batch", "batch_class"],
) -> None:
    task = TASKS["multilabel"]
    logits, target, channels = draw(task)
    target[:, 1] = 0
    channels[:, 1] = 0

    loss = dice_loss(logits, target, task, reduction=reduction)

    present = [0, 2]
    few = Task("multilabel", ("road", "tree"))
    rest = dice_loss(logits[:, present], target[:, present], few, reduction=reduction)
    penalty = torch.nn.functional.softplus(logits[:, 1]).mean()
    torch.testing.assert_close(loss, (2 * rest + penalty) / 3)


def test_absent_classes_that_exclude_each_other_share_one_penalty() -> None:
    task = Task("multiclass", ("ground", "road", "roof", "tree"))
    logits = torch.randn(2, 4, 7, 6)
    target = torch.randint(0, 2, (2, 7, 6))
    probs = logits.softmax(dim=1)
    channels = torch.nn.functional.one_hot(target, 4).movedim(3, 1).float()

    loss = dice_loss(logits, target, task)

    theirs = DiceLoss(softmax=True, batch=True, reduction="none", smooth_nr=1.0, smooth_dr=1.0)
    each = theirs(logits, channels).flatten()
    penalty = -probs[:, :2].sum(dim=1).log().mean()
    torch.testing.assert_close(loss, (each[0] + each[1] + 2 * penalty) / 4)


def test_image_without_valid_pixels_is_left_out_of_the_mean() -> None:
    task = TASKS["binary"]
    logits, target, _ = draw(task)
    valid = torch.ones(4, 1, 9, 8, dtype=torch.bool)
    valid[2] = False
    kept = [0, 1, 3]

    torch.testing.assert_close(
        dice_loss(logits, target, task, valid, reduction="image"),
        dice_loss(logits[kept], target[kept], task, reduction="image"),
    )
