"""What the losses accept, count and refuse."""

from __future__ import annotations

import pytest
import torch

from delineate.errors import ShapeError, UsageError
from delineate.losses.inputs import read_class_weights, read_labels
from delineate.task import Task

BINARY = Task("binary", ("vessel",))
MULTICLASS = Task("multiclass", ("ground", "road", "roof"))
MULTILABEL = Task("multilabel", ("road", "roof"))


def test_counts_leave_out_what_does_not_count() -> None:
    target = torch.tensor([[[0, 1, 2, 255], [2, 2, 1, 0]]])
    valid = torch.ones(1, 1, 2, 4, dtype=torch.bool)
    valid[0, 0, 1, 0] = False

    labels = read_labels(torch.zeros(1, 3, 2, 4), target, MULTICLASS, valid)

    assert labels.num_positive.tolist() == [[2.0, 2.0, 2.0]]
    assert labels.num_valid.tolist() == [[6.0, 6.0, 6.0]]
    assert labels.valid is not None
    assert labels.valid.tolist() == [[1, 1, 1, 0, 0, 1, 1, 1]]


def test_multilabel_pixels_are_ignored_channel_by_channel() -> None:
    target = torch.tensor([[[[0, 1, 255]], [[1, 1, 1]]]])

    labels = read_labels(torch.zeros(1, 2, 1, 3), target, MULTILABEL)

    assert labels.num_positive.tolist() == [[1.0, 3.0]]
    assert labels.num_valid.tolist() == [[2.0, 3.0]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.int64, torch.bool])
def test_integers_and_booleans_are_labels(dtype: torch.dtype) -> None:
    target = torch.tensor([[[0, 1, 1]]]).to(dtype)

    labels = read_labels(torch.zeros(1, 1, 1, 3), target, BINARY)

    assert labels.num_positive.tolist() == [[2.0]]
    assert labels.valid is None


def test_counts_of_float64_logits_are_float64() -> None:
    labels = read_labels(
        torch.zeros(1, 1, 1, 3, dtype=torch.float64), torch.ones(1, 1, 3).long(), BINARY
    )
    assert labels.num_positive.dtype == torch.float64


def test_an_ignored_value_among_the_classes_is_ignored() -> None:
    task = Task("multiclass", ("ground", "road", "roof"), ignore_index=0)
    target = torch.tensor([[[0, 1, 2]]])

    labels = read_labels(torch.zeros(1, 3, 1, 3), target, task)

    assert labels.num_positive.tolist() == [[0.0, 1.0, 1.0]]


@pytest.mark.parametrize(
    ("task", "target", "message"),
    [
        (BINARY, torch.tensor([[[0, 2, 255]]]), "values from 0 to 2, but a binary target"),
        (MULTICLASS, torch.tensor([[[0, 3, 1]]]), "values from 0 to 3"),
        (MULTICLASS, torch.tensor([[[0, -1, 1]]]), "values from -1 to 1"),
        (BINARY, torch.tensor([[[0.0, 1.0, 1.0]]]), "must hold class indices"),
        (BINARY, torch.tensor([[[[0, 1, 1]]]]), r"must be \(1, 1, 3\)"),
        (MULTILABEL, torch.tensor([[[0, 1, 1]]]), r"must be \(1, 2, 1, 3\)"),
    ],
)
def test_targets_that_do_not_fit_are_refused(
    task: Task, target: torch.Tensor, message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        read_labels(torch.zeros(1, task.num_classes, 1, 3), target, task)


def test_logits_and_valid_that_do_not_fit_are_refused() -> None:
    target = torch.zeros(1, 2, 3, dtype=torch.long)
    with pytest.raises(ShapeError, match=r"must be \(batch, 1, height, width\)"):
        read_labels(torch.zeros(1, 2, 2, 3), target, BINARY)
    with pytest.raises(ShapeError, match="floating point"):
        read_labels(torch.zeros(1, 1, 2, 3, dtype=torch.long), target, BINARY)
    for valid in (torch.ones(1, 2, 3, dtype=torch.bool), torch.ones(1, 1, 2, 3)):
        with pytest.raises(ShapeError, match=r"bool of shape \(1, 1, 2, 3\)"):
            read_labels(torch.zeros(1, 1, 2, 3), target, BINARY, valid)


def test_class_weights_that_do_not_fit_are_refused() -> None:
    like = torch.zeros(1)
    assert read_class_weights(None, MULTICLASS, like).tolist() == [1.0, 1.0, 1.0]
    with pytest.raises(ShapeError, match="one weight for each of ground, road, roof"):
        read_class_weights(torch.ones(2), MULTICLASS, like)
    for weight in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="finite and not negative"):
            read_class_weights(torch.tensor([1.0, weight, 1.0]), MULTICLASS, like)
