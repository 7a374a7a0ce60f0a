"""Targets with probabilities, and the loss that learns from both."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from delineate.augmentation import SpatialAugmentation, cut_patch
from delineate.data.cache import DecodedSample
from delineate.errors import DataError
from delineate.losses import build_loss
from delineate.task import Task
from delineate.training.folds.teaching import (
    STEPS,
    TaughtImages,
    Teaching,
    load_share,
    mix_losses,
    save_share,
    soft_cross_entropy,
)

TASKS = {
    "binary": Task("binary", ("a",)),
    "multiclass": Task("multiclass", ("a", "b", "c")),
    "multilabel": Task("multilabel", ("a", "b")),
}


def draw(task, seed=0, size=9):
    """Return logits, labels and probabilities of a batch of two, in float64."""
    rng = np.random.default_rng(seed)
    channels = task.num_classes
    logits = torch.from_numpy(rng.normal(0, 3, (2, channels, size, size)))
    if task.kind == "multiclass":
        labels = torch.from_numpy(rng.integers(0, channels, (2, 1, size, size)))
    else:
        labels = torch.from_numpy(rng.integers(0, 2, (2, channels, size, size)))
    probs = task.probs(torch.from_numpy(rng.normal(0, 2, (2, channels, size, size))))
    return logits, labels, probs


def join(labels, probs):
    return torch.cat([labels, (probs * STEPS).round().long()], dim=1)


@pytest.mark.parametrize("kind", TASKS)
def test_hard_probabilities_are_labels(kind):
    task = TASKS[kind]
    logits, labels, _ = draw(task)
    classes = labels[:, 0] if kind == "multiclass" else labels
    if kind == "multiclass":
        hard = F.one_hot(classes, task.num_classes).movedim(-1, 1)
        wanted = F.cross_entropy(logits, classes)
    else:
        hard = classes
        wanted = F.binary_cross_entropy_with_logits(logits, classes.double())
    found = soft_cross_entropy(logits, hard.double(), torch.ones_like(hard, dtype=bool), task)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("kind", TASKS)
def test_nothing_teaches_better_than_the_teachers_own_logits(kind):
    """The gradient vanishes where the student's probabilities are the teacher's."""
    task = TASKS[kind]
    logits, labels, _ = draw(task)
    logits.requires_grad_()
    probs = task.probs(logits.detach())
    counted = torch.ones_like(labels, dtype=bool)
    soft_cross_entropy(logits, probs, counted, task).backward()
    assert logits.grad.abs().max() < 1e-12


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_mixture_is_of_the_two_losses_alone(kind, share):
    task = TASKS[kind]
    logits, labels, probs = draw(task)
    loss = build_loss("ce_dice", task)
    valid = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(0)) > 0.2
    plain = loss(logits, labels if kind == "multilabel" else labels[:, 0], valid)
    codes = (probs * STEPS).round() / STEPS
    if kind == "multiclass":
        codes = codes / codes.sum(dim=1, keepdim=True)
        pixels = F.cross_entropy(logits, codes, reduction="none")[:, None]
    else:
        pixels = F.binary_cross_entropy_with_logits(logits, codes, reduction="none")
    taught = pixels[valid.expand_as(pixels)].mean()
    found = mix_losses(loss, task, share)(logits, join(labels, probs), valid)
    torch.testing.assert_close(found, (1 - share) * plain + share * taught)


@pytest.mark.parametrize("kind", TASKS)
def test_pixels_that_do_not_count_teach_nothing(kind):
    task = TASKS[kind]
    logits, labels, probs = draw(task)
    target = join(labels, probs)
    target[:, :, :4] = 255  # outside of the image
    target[:, : -task.num_classes, 4:6] = 255  # labels that do not count
    logits.requires_grad_()
    mixed = mix_losses(build_loss("ce_dice", task), task, 0.5)
    mixed(logits, target, None).backward()
    assert not logits.grad[:, :, :6].any()
    assert (logits.grad[:, :, 6:] != 0).any(dim=1).all()
    everything_void = torch.full_like(target, 255)
    assert torch.isfinite(mixed(logits, everything_void, None))


def make_images(kind, number=3):
    """Return images whose probabilities show where each pixel has come from."""
    task = TASKS[kind]
    rng = np.random.default_rng(0)
    shape = (40, 50) if kind != "multilabel" else (2, 40, 50)
    images = [
        DecodedSample(
            rng.integers(0, 255, (40, 50, 1), dtype=np.uint8),
            rng.integers(0, 2, shape, dtype=np.uint8),
            None,
        )
        for _ in range(number)
    ]
    samples = [SimpleNamespace(name=str(i), image=None) for i in range(number)]
    probs = {
        sample.name: (np.broadcast_to(image.target, (task.num_classes, 40, 50)) * 0.5).astype("f4")
        for sample, image in zip(samples, images, strict=True)
    }
    return images, SimpleNamespace(samples=samples), probs, task


@pytest.mark.parametrize("kind", TASKS)
def test_probabilities_move_with_the_labels(kind):
    images, cache, probs, task = make_images(kind)
    taught = TaughtImages(images, cache, Teaching(probs.__getitem__, 0.5), None)
    assert len(taught) == 3
    image = taught[1]
    planes = len(image.target) - task.num_classes
    assert planes == (2 if kind == "multilabel" else 1)
    np.testing.assert_array_equal(
        image.target[planes:] > 0,
        np.broadcast_to(image.target[:planes], (task.num_classes, 40, 50)),
    )
    augmentation = SpatialAugmentation(warp=1.0, elastic=1.0)
    for seed in range(5):
        change = augmentation.draw(np.random.default_rng(seed), (32, 32))
        _, target, _ = cut_patch(image.pixels, image.target, (-20, -10), (32, 32), change)
        labels, codes = target[:planes], target[planes:]
        outside = labels == 255
        assert outside.any()
        wanted = np.where(outside, 255, labels * (STEPS // 2))
        np.testing.assert_array_equal(codes, np.broadcast_to(wanted, codes.shape))


def test_the_share_is_kept_in_the_run_folder(tmp_path):
    assert load_share(tmp_path) is None
    save_share(tmp_path, 0.25)
    assert load_share(tmp_path) == 0.25
    (tmp_path / "teaching.json").write_text("{")
    with pytest.raises(DataError, match="start the training anew"):
        load_share(tmp_path)
