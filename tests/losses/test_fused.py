"""The sums behind the losses against the plain way to write them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from delineate.losses import ce_dice_loss
from delineate.losses.blocks import PixelTerm, cut_blocks
from delineate.losses.fused import sum_pixels
from delineate.losses.inputs import read_labels
from delineate.task import Task

MULTICLASS = Task("multiclass", ("ground", "road", "roof", "tree"))
MULTILABEL = Task("multilabel", ("road", "roof", "tree"))


def test_softmax_sums_are_those_of_the_definition() -> None:
    logits = torch.randn(2, 4, 7, 5, dtype=torch.float64)
    target = torch.randint(0, 2, (2, 7, 5))
    absent = torch.tensor([[False, False, True, True], [False, False, False, True]])

    sums = sum_pixels(
        logits, read_labels(logits, target, MULTICLASS), MULTICLASS, absent=absent, term=PixelTerm()
    )

    probs = logits.softmax(dim=1)
    is_class = F.one_hot(target, 4).movedim(3, 1)
    gone = (probs * absent[:, :, None, None]).sum(dim=1)
    penalty = -(1 - gone).log().sum(dim=(1, 2))
    entropy = F.cross_entropy(logits, target, reduction="none").unsqueeze(1)
    wrong = (probs * (1 - is_class)).sum(dim=(2, 3))
    torch.testing.assert_close(sums.false_positive, torch.where(absent, 0.0, wrong))
    torch.testing.assert_close(sums.false_negative, ((1 - probs) * is_class).sum(dim=(2, 3)))
    torch.testing.assert_close(sums.penalty, torch.where(absent, penalty[:, None], 0.0))
    torch.testing.assert_close(sums.pixelwise, (entropy * is_class).sum(dim=(2, 3)))


def test_sigmoid_sums_are_those_of_the_definition() -> None:
    logits = torch.randn(2, 3, 7, 5, dtype=torch.float64)
    target = torch.randint(0, 2, (2, 3, 7, 5))
    target[:, 1] = 0
    absent = torch.tensor([[False, True, False], [False, True, False]])

    sums = sum_pixels(
        logits, read_labels(logits, target, MULTILABEL), MULTILABEL, absent=absent, term=PixelTerm()
    )

    probs = logits.sigmoid()
    wrong = (probs * (1 - target)).sum(dim=(2, 3))
    entropy = F.binary_cross_entropy_with_logits(logits, target.double(), reduction="none")
    torch.testing.assert_close(sums.false_positive, torch.where(absent, 0.0, wrong))
    torch.testing.assert_close(sums.false_negative, ((1 - probs) * target).sum(dim=(2, 3)))
    torch.testing.assert_close(
        sums.penalty, torch.where(absent, -(1 - probs).log().sum(dim=(2, 3)), 0.0)
    )
    torch.testing.assert_close(sums.pixelwise, entropy.sum(dim=(2, 3)))


def test_memory_layout_of_the_logits_does_not_matter() -> None:
    logits = torch.randn(2, 4, 7, 5)
    target = torch.randint(0, 4, (2, 7, 5))
    gradients = []
    for layout in (torch.contiguous_format, torch.channels_last):
        leaf = logits.clone(memory_format=layout).requires_grad_()
        ce_dice_loss(leaf, target, MULTICLASS).backward()
        gradients.append(leaf.grad)

    torch.testing.assert_close(gradients[1], gradients[0])


def test_gradient_can_be_taken_again_but_not_differentiated() -> None:
    logits = torch.randn(2, 4, 7, 5, requires_grad=True)
    loss = ce_dice_loss(logits, torch.randint(0, 4, (2, 7, 5)), MULTICLASS)
    first = torch.autograd.grad(loss, logits, retain_graph=True)[0]
    second = torch.autograd.grad(loss, logits, create_graph=True)[0]

    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        second.sum().backward()


@pytest.mark.parametrize("limit", [1, 5, 12, 30, 1000])
@pytest.mark.parametrize("shape", [(1, 1), (3, 10), (5, 4)])
def test_blocks_cover_each_element_once(limit: int, shape: tuple[int, int]) -> None:
    seen = torch.zeros(shape)
    num_rows, num_columns, blocks = cut_blocks(*shape, 2, limit, seen.device)
    buffer = torch.empty(num_rows, 2, num_columns)
    for block in blocks:
        part = seen[block.rows, block.columns]
        part += 1
        assert block.view(buffer).shape == (part.shape[0], 2, part.shape[1])

    assert (seen == 1).all()
    assert buffer.numel() <= max(limit, 2)
