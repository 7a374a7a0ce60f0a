"""Sums of losses against their parts and MONAI's combinations."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, DiceFocalLoss

from delineate.losses import (
    boundary_loss,
    ce_dice_loss,
    cross_entropy_loss,
    dice_loss,
    focal_dice_loss,
    focal_loss,
    weighted_sum_loss,
)
from delineate.task import Task

BINARY = Task("binary", ("vessel",))
MULTICLASS = Task("multiclass", ("ground", "road", "roof"))
SUMS = {"batch": True, "smooth_nr": 1.0, "smooth_dr": 1.0}


def test_focal_dice_is_monais() -> None:
    logits = 3 * torch.randn(3, 1, 16, 16)
    target = torch.randint(0, 2, (3, 16, 16))

    loss = focal_dice_loss(logits, target, BINARY, balance=0.3)

    theirs = DiceFocalLoss(
        sigmoid=True, gamma=2.0, alpha=0.25, lambda_dice=0.3, lambda_focal=0.7, **SUMS
    )
    torch.testing.assert_close(loss, theirs(logits, target[:, None].float()))


def test_ce_dice_is_monais() -> None:
    logits = 3 * torch.randn(3, 3, 16, 16)
    target = torch.randint(0, 3, (3, 16, 16))
    one = logits[:, :1]
    is_road = (target == 1).long()

    many = ce_dice_loss(logits, target, MULTICLASS)
    binary = ce_dice_loss(one, is_road, BINARY, pos_weight=3.0)

    theirs = DiceCELoss(softmax=True, to_onehot_y=True, **SUMS)
    torch.testing.assert_close(2 * many, theirs(logits, target[:, None]))
    theirs = DiceCELoss(sigmoid=True, weight=torch.tensor(3.0), **SUMS)
    bce = F.binary_cross_entropy_with_logits(
        one[:, 0], is_road.float(), pos_weight=torch.tensor(3.0)
    )
    torch.testing.assert_close(2 * binary, dice_loss(one, is_road, BINARY) + bce)


def test_one_pass_is_the_sum_of_its_parts() -> None:
    task = Task("multilabel", ("road", "roof", "tree"))
    logits = torch.randn(3, 3, 16, 16)
    target = torch.randint(0, 2, (3, 3, 16, 16))
    target[:, 0] = 0
    valid = torch.rand(3, 1, 16, 16) > 0.2
    keywords = {"class_weights": torch.tensor([1.0, 2.0, 3.0])}
    dice = dice_loss(logits, target, task, valid, reduction="image", **keywords)
    focal = focal_loss(logits, target, task, valid, gamma=1.5, **keywords)
    entropy = cross_entropy_loss(logits, target, task, valid, label_smoothing=0.1, **keywords)

    focal_dice = focal_dice_loss(
        logits, target, task, valid, balance=0.2, gamma=1.5, reduction="image", **keywords
    )
    ce_dice = ce_dice_loss(
        logits, target, task, valid, label_smoothing=0.1, reduction="image", **keywords
    )

    torch.testing.assert_close(focal_dice, 0.2 * dice + 0.8 * focal)
    torch.testing.assert_close(ce_dice, 0.5 * dice + 0.5 * entropy)


def test_weighted_sum_takes_any_losses() -> None:
    logits = torch.randn(3, 1, 16, 16)
    target = torch.randint(0, 2, (3, 16, 16))
    sharp = partial(focal_loss, gamma=4.0)

    loss = weighted_sum_loss(
        logits, target, BINARY, terms=[(1.0, dice_loss), (0.01, boundary_loss), (3.0, sharp)]
    )

    wanted = (
        dice_loss(logits, target, BINARY)
        + 0.01 * boundary_loss(logits, target, BINARY)
        + 3 * focal_loss(logits, target, BINARY, gamma=4.0)
    )
    torch.testing.assert_close(loss, wanted)
