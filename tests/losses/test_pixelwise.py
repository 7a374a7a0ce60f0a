"""Cross-entropy and focal loss against PyTorch and MONAI."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.losses import FocalLoss

from delineate.losses import cross_entropy_loss, focal_loss
from delineate.task import Task

BINARY = Task("binary", ("vessel",))
MULTICLASS = Task("multiclass", ("ground", "road", "roof"))
MULTILABEL = Task("multilabel", ("road", "roof", "tree"))


def test_binary_cross_entropy_is_pytorchs() -> None:
    logits = 3 * torch.randn(2, 1, 8, 9)
    target = torch.randint(0, 2, (2, 8, 9))

    loss = cross_entropy_loss(logits, target, BINARY, pos_weight=2.5)

    wanted = F.binary_cross_entropy_with_logits(
        logits[:, 0], target.float(), pos_weight=torch.tensor(2.5)
    )
    torch.testing.assert_close(loss, wanted)


def test_smoothed_binary_labels_are_spread_over_both() -> None:
    logits = 3 * torch.randn(2, 1, 8, 9)
    target = torch.randint(0, 2, (2, 8, 9))

    loss = cross_entropy_loss(logits, target, BINARY, label_smoothing=0.2)

    wanted = F.binary_cross_entropy_with_logits(logits[:, 0], 0.8 * target + 0.1)
    torch.testing.assert_close(loss, wanted)


def test_multiclass_cross_entropy_is_pytorchs() -> None:
    logits = 3 * torch.randn(2, 3, 8, 9)
    target = torch.randint(0, 3, (2, 8, 9))
    target[:, 2] = 255
    weights = torch.tensor([1.0, 2.0, 0.5])

    loss = cross_entropy_loss(logits, target, MULTICLASS, class_weights=weights)
    smooth = cross_entropy_loss(logits, target, MULTICLASS, label_smoothing=0.3)

    wanted = F.cross_entropy(logits, target, weights, ignore_index=255)
    torch.testing.assert_close(loss, wanted)
    wanted = F.cross_entropy(logits, target, ignore_index=255, label_smoothing=0.3)
    torch.testing.assert_close(smooth, wanted)


def test_weight_of_a_smoothed_pixel_is_that_of_its_label() -> None:
    logits = torch.randn(1, 3, 5, 4)
    target = torch.randint(0, 3, (1, 5, 4))
    weights = torch.tensor([1.0, 20.0, 0.5])

    loss = cross_entropy_loss(
        logits, target, MULTICLASS, class_weights=weights, label_smoothing=0.3
    )

    pixels = F.cross_entropy(logits, target, reduction="none", label_smoothing=0.3)
    torch.testing.assert_close(loss, (pixels * weights[target]).sum() / weights[target].sum())


def test_multilabel_cross_entropy_weighs_channels() -> None:
    logits = torch.randn(2, 3, 5, 4)
    target = torch.randint(0, 2, (2, 3, 5, 4))
    weights = torch.tensor([1.0, 2.0, 0.5])

    loss = cross_entropy_loss(logits, target, MULTILABEL, class_weights=weights)

    pixels = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
    wanted = (pixels.mean(dim=(0, 2, 3)) * weights).sum() / weights.sum()
    torch.testing.assert_close(loss, wanted)


@pytest.mark.parametrize("alpha", [None, 0.25, 0.8])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.3])
def test_sigmoid_focal_is_monais(alpha: float | None, gamma: float) -> None:
    theirs = FocalLoss(gamma=gamma, alpha=alpha)
    logits = 3 * torch.randn(2, 3, 8, 9)
    target = torch.randint(0, 2, (2, 3, 8, 9))

    many = focal_loss(logits, target, MULTILABEL, alpha=alpha, gamma=gamma)
    one = focal_loss(logits[:, :1], target[:, 0], BINARY, alpha=alpha, gamma=gamma)

    torch.testing.assert_close(many, theirs(logits, target.float()))
    torch.testing.assert_close(one, theirs(logits[:, :1], target[:, :1].float()))


@pytest.mark.parametrize("alpha", [None, 0.7])
def test_softmax_focal_is_monais_times_the_number_of_classes(alpha: float | None) -> None:
    task = Task("multiclass", ("ground", "road", "roof"), background="ground")
    logits = 3 * torch.randn(2, 3, 8, 9)
    target = torch.randint(0, 3, (2, 8, 9))

    loss = focal_loss(logits, target, task, alpha=alpha, gamma=1.5)

    # MONAI averages over the zeros of the other classes too.
    theirs = FocalLoss(gamma=1.5, alpha=alpha, use_softmax=True, to_onehot_y=True)
    torch.testing.assert_close(loss, 3 * theirs(logits, target[:, None]))


def test_every_class_is_positive_where_no_background_is_declared() -> None:
    logits = torch.randn(2, 3, 8, 9)
    target = torch.randint(0, 3, (2, 8, 9))

    torch.testing.assert_close(
        focal_loss(logits, target, MULTICLASS, alpha=0.25),
        0.25 * focal_loss(logits, target, MULTICLASS, alpha=None),
    )


def test_confident_pixels_keep_their_digits() -> None:
    logits = torch.full((1, 1, 4, 4), 15.0)
    target = torch.ones(1, 4, 4, dtype=torch.long)

    loss = cross_entropy_loss(logits, target, BINARY)

    torch.testing.assert_close(loss.item(), 3.059022e-07, rtol=1e-5, atol=0.0)
