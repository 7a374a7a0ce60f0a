"""Suspect labels: planted faults come first, cleanlab's definition holds, strips are left out."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from delineate.evaluation.suspects import LEAST_PIXELS, SURE, find_suspects, save_suspects
from delineate.task import Task

BINARY = Task("binary", ("cell",))
CLASSES = Task("multiclass", ("ground", "road", "roof"), background="ground")


def find(images, task, thresholds=None):
    return find_suspects(lambda: iter(images), task, thresholds)


def make_probs(target, task, sure=0.9, noise=0.05, seed=0):
    """Return probabilities that agree with a target, give or take."""
    rng = np.random.default_rng(seed)
    if task.kind == "multiclass":
        scores = np.where(np.arange(task.num_classes)[:, None, None] == target, sure, 0.05)
        scores = np.abs(scores + rng.normal(0, noise, scores.shape))
        return (scores / scores.sum(axis=0)).astype(np.float32)
    planes = target[None] if target.ndim == 2 else target
    probs = np.where(planes == 1, sure, 1 - sure) + rng.normal(0, noise, planes.shape)
    return probs.clip(0, 1).astype(np.float32)


def test_planted_faults_come_first_with_their_places():
    images = []
    for number in range(6):
        truth = np.zeros((60, 80), np.uint8)
        truth[10:30, 10:30] = 1
        truth[40:50, 50:70] = 1
        label = truth.copy()
        if number == 2:
            label[10:30, 10:30] = 0  # forgotten
        if number == 4:
            label[5:15, 60:75] = 1  # invented
        images.append((f"i{number}", make_probs(truth, BINARY, seed=number), label))
    found = find(images, BINARY)
    assert [one.image for one in found] == ["i2", "i4"]
    forgotten, invented = found
    assert (forgotten.label, forgotten.suggestion) == ("not cell", "cell")
    assert (invented.label, invented.suggestion) == ("cell", "not cell")
    # Strips of noise at the rim may fray by a pixel.
    for one, box in ((forgotten, (10, 10, 20, 20)), (invented, (5, 60, 10, 15))):
        assert np.abs(np.subtract((one.row, one.col, one.height, one.width), box)).max() <= 2
    assert forgotten.num_pixels == pytest.approx(400, rel=0.05)
    assert forgotten.probability == pytest.approx(0.9, abs=0.05)
    assert forgotten.weight == pytest.approx(forgotten.num_pixels * 0.8, rel=0.1)


@pytest.mark.parametrize(("sure", "bar"), [(0.7, 0.7), (0.99, SURE)])
def test_a_prediction_is_sure_from_its_mean_where_it_is_labelled(sure, bar):
    """https://arxiv.org/abs/1911.00068, equation 2, but at most `SURE`."""
    target = np.zeros((60, 60), np.uint8)
    target[:, 30:] = 1
    probs = np.where(target == 1, sure, 1 - sure)[None].astype(np.float32)
    for row, value in ((5, bar - 0.02), (25, bar + 0.005), (45, 0.45)):
        probs[0, row : row + 8, 5:13] = value
    found = find([("a", probs, target)] + [("b", probs[:, :, 30:], target[:, 30:])] * 20, BINARY)
    assert [(one.row, one.col, one.height, one.width) for one in found] == [(25, 5, 8, 8)]
    # A part of a region that is surely predicted stands for all of it.
    probs[0, 5:7, 5:13] = bar + 0.005
    found = find([("a", probs, target)] + [("b", probs[:, :, 30:], target[:, 30:])] * 20, BINARY)
    assert sorted(one.row for one in found) == [5, 25]


def test_the_class_with_the_highest_probability_is_suggested():
    rng = np.random.default_rng(1)
    target = rng.integers(0, 3, (10, 10)).repeat(12, axis=0).repeat(12, axis=1).astype(np.uint8)
    probs = make_probs(target, CLASSES)
    label = target.copy()
    label[24:36, 48:60] = (target[30, 50] + 1) % 3
    found = find([("a", probs, label)], CLASSES)
    names = CLASSES.class_names
    assert [(one.label, one.suggestion) for one in found] == [
        (names[label[30, 50]], names[target[30, 50]])
    ]
    assert (found[0].row, found[0].col, found[0].num_pixels) == (24, 48, 140)  # less corners


def test_an_outline_that_is_a_pixel_off_is_no_fault():
    truth = np.zeros((50, 50), np.uint8)
    truth[10:40, 10:40] = 1
    label = np.roll(truth, 1, axis=1)
    assert find([("a", make_probs(truth, BINARY), label)], BINARY) == []
    label = np.roll(truth, 4, axis=1)
    assert len(find([("a", make_probs(truth, BINARY), label)], BINARY)) == 2


def test_pixels_that_do_not_count_are_never_suspect():
    truth = np.zeros((40, 40), np.uint8)
    truth[10:30, 10:30] = 1
    probs = make_probs(truth, BINARY)
    label = np.where(truth == 1, np.uint8(255), truth)
    assert find([("a", probs, label), ("b", probs, truth)], BINARY) == []
    assert find([("a", probs, np.where(truth == 1, 0, truth)), ("b", probs, truth)], BINARY)


def test_classes_that_stand_alone_are_asked_one_by_one():
    task = Task("multilabel", ("road", "tree"))
    truth = np.zeros((2, 40, 40), np.uint8)
    truth[0, :, 10:20] = 1
    truth[1, 20:, :] = 1
    label = truth.copy()
    label[1, 25:35, 25:35] = 0
    found = find([("a", make_probs(truth, task), label)], task)
    assert [(one.label, one.suggestion) for one in found] == [("not tree", "tree")]


def test_a_class_that_is_never_labelled_is_never_suggested():
    target = np.zeros((30, 30), np.uint8)
    target[:, 15:] = 1
    probs = make_probs(target, CLASSES)
    probs[:, 5:12, 5:12] = np.float32([0.01, 0.01, 0.98])[:, None, None]
    assert find([("a", probs, target)], CLASSES) == []


def test_small_regions_are_left_out_and_the_table_is_readable(tmp_path):
    truth = np.zeros((60, 60), np.uint8)
    truth[10:30, 10:30] = 1
    label = truth.copy()
    label[40:42, 40:42] = 1
    label[45:55, 5:15] = 1
    found = find([("a,b", make_probs(truth, BINARY, noise=0), label)], BINARY)
    assert [one.row for one in found] == [45]
    assert found[0].num_pixels >= LEAST_PIXELS
    save_suspects(found, tmp_path / "suspects.csv")
    with (tmp_path / "suspects.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["rank"], row["image"], row["label"], row["col"]) == ("1", "a,b", "cell", "5")


def test_what_the_threshold_settles_is_not_suspect():
    """A network that is sure of all that is around a cell is right with a high threshold."""
    target = np.zeros((60, 60), np.uint8)
    target[20:40, 20:40] = 1
    probs = np.where(target == 1, 0.999, 0.1)[None].astype(np.float32)
    probs[0, 10:50, 10:20] = 0.92
    assert [one.col for one in find([("a", probs, target)], BINARY)] == [10]
    assert find([("a", probs, target)], BINARY, (0.995,)) == []
    # There a label is contradicted that 0.5 would have agreed with.
    label = target.copy()
    label[10:50, 10:20] = 1
    (found,) = find([("a", probs, label)], BINARY, (0.995,))
    assert (found.col, found.suggestion) == (10, "not cell")
    odds = (0.92 / 0.08) / (0.995 / 0.005)
    assert found.probability == pytest.approx(1 - odds / (1 + odds), rel=1e-4)
