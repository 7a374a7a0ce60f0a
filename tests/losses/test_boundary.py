"""Boundary loss by its definition, clDice against MONAI."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.losses import SoftclDiceLoss
from monai.losses.cldice import soft_skel
from scipy import ndimage
from torch import Tensor

from delineate.losses import boundary_loss, cl_dice_loss
from delineate.losses.centreline import soft_skeleton
from delineate.task import Task

BINARY = Task("binary", ("vessel",))
MULTICLASS = Task("multiclass", ("ground", "road", "roof"), background="ground")


def blobs(num_images: int, size: int = 24) -> Tensor:
    """Return smooth binary targets, none empty or full."""
    noise = np.random.default_rng(0).normal(size=(num_images, size, size))
    return torch.from_numpy(ndimage.gaussian_filter(noise, (0, 2, 2)) > 0.02).long()


def distances(mask: Tensor) -> Tensor:
    inside = mask.numpy() > 0
    outward = ndimage.distance_transform_edt(~inside) - 0.5
    inward = 0.5 - ndimage.distance_transform_edt(inside)
    return torch.from_numpy(np.where(inside, inward, outward)).float()


def test_boundary_loss_is_mean_probability_times_distance() -> None:
    target = blobs(3)
    logits = torch.randn(3, 1, 24, 24)

    loss = boundary_loss(logits, target, BINARY)

    phi = torch.stack([distances(mask) for mask in target])
    torch.testing.assert_close(loss, (logits[:, 0].sigmoid() * phi).mean())


def test_boundary_loss_leaves_a_declared_background_out() -> None:
    target = blobs(2) + blobs(4)[2:]
    logits = torch.randn(2, 3, 24, 24)

    loss = boundary_loss(logits, target, MULTICLASS, class_weights=torch.tensor([9.0, 1.0, 3.0]))

    probs = logits.softmax(dim=1)
    road, roof = (torch.stack([distances(mask == k) for mask in target]) for k in (1, 2))
    wanted = ((probs[:, 1] * road).mean() + 3 * (probs[:, 2] * roof).mean()) / 4
    torch.testing.assert_close(loss, wanted)


def test_boundary_loss_is_lowest_at_the_target() -> None:
    target = blobs(2)
    right = torch.where(target > 0, 20.0, -20.0).unsqueeze(1)

    best = boundary_loss(right, target, BINARY)

    assert best < 0
    for shift in (1, 3):
        assert boundary_loss(right.roll(shift, 3), target, BINARY) > best


def test_class_without_a_boundary_has_a_cross_entropy() -> None:
    logits = torch.randn(2, 1, 24, 24)
    target = torch.zeros(2, 24, 24, dtype=torch.long)
    target[1] = 1

    loss = boundary_loss(logits, target, BINARY)

    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], target.float())
    torch.testing.assert_close(loss, wanted)


@pytest.mark.parametrize("iterations", [1, 3, 6])
def test_skeleton_and_cl_dice_are_monais(iterations: int) -> None:
    target = blobs(3)
    logits = 3 * torch.randn(3, 1, 24, 24)
    probs = logits.sigmoid()

    torch.testing.assert_close(soft_skeleton(probs, iterations), soft_skel(probs, iterations))
    # MONAI averages over images and adds `smooth` to the harmonic mean's denominator too.
    theirs = SoftclDiceLoss(iter_=iterations, smooth=1e-12, sigmoid=True)
    loss = cl_dice_loss(logits, target, BINARY, iterations=iterations, reduction="image")
    torch.testing.assert_close(loss, theirs(logits, target[:, None].float()))


def test_cl_dice_sees_a_gap_that_dice_does_not() -> None:
    target = torch.zeros(1, 31, 31, dtype=torch.long)
    target[0, 12:19, 2:29] = 1
    whole = torch.where(target > 0, 20.0, -20.0).unsqueeze(1)
    broken, frayed = whole.clone(), whole.clone()
    broken[..., 14:16] = -20.0  # 14 pixels: the line is cut
    frayed[:, :, 12, 5:19] = -20.0  # as many, at its edge

    losses = [cl_dice_loss(z, target, BINARY).item() for z in (whole, frayed, broken)]

    assert losses[0] == pytest.approx(0.0, abs=1e-4)
    assert losses[0] <= losses[1] < losses[2]


def test_cl_dice_scores_the_foreground_classes() -> None:
    target = blobs(2) + blobs(4)[2:]
    logits = 3 * torch.randn(2, 3, 24, 24)
    probs = logits.softmax(dim=1)

    loss = cl_dice_loss(logits, target, MULTICLASS, reduction="image", iterations=3)

    theirs = SoftclDiceLoss(iter_=3, smooth=1e-12)
    each = [theirs(probs[:, k : k + 1], (target == k)[:, None].float()) for k in (1, 2)]
    torch.testing.assert_close(loss, (each[0] + each[1]) / 2)
