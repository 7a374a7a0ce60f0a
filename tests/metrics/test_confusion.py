from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    jaccard_score,
    precision_recall_fscore_support,
    recall_score,
)

from delineate.errors import ShapeError
from delineate.metrics.confusion import (
    AVERAGES,
    ConfusionCounts,
    mean_averages,
    mean_of_defined,
    score_counts,
)
from delineate.task import Task

BINARY = Task("binary", ("cell",))
CLASSES = Task("multiclass", ("ground", "road", "roof"), background="ground")
LABELS = Task("multilabel", ("road", "water"))


def count(task: Task, mask: object, target: object, valid: object = None) -> ConfusionCounts:
    counts = ConfusionCounts(task)
    counts.update(
        np.asarray(mask, np.uint8),
        np.asarray(target, np.uint8),
        None if valid is None else np.asarray(valid, bool),
    )
    return counts


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), num_classes=st.integers(2, 6))
def test_multiclass_equals_scikit_learn(seed: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    task = Task("multiclass", tuple("abcdef"[:num_classes]))
    target, mask = rng.integers(0, num_classes, (2, 30, 20), dtype=np.uint8)
    counts = count(task, mask, target)
    labels = list(range(num_classes))
    expected = confusion_matrix(target.ravel(), mask.ravel(), labels=labels)
    np.testing.assert_array_equal(counts.matrix, expected)
    precision, recall, f1, _ = precision_recall_fscore_support(
        target.ravel(), mask.ravel(), labels=labels
    )
    for index, scores in enumerate(counts.class_scores()):
        assert scores["dice"] == pytest.approx(f1[index], abs=1e-12)
        assert scores["precision"] == pytest.approx(precision[index], abs=1e-12)
        assert scores["recall"] == pytest.approx(recall[index], abs=1e-12)
    accuracy = accuracy_score(target.ravel(), mask.ravel())
    assert counts.pixel_accuracy == pytest.approx(accuracy, abs=1e-12)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), num_classes=st.integers(2, 6))
def test_averages_equal_scikit_learn(seed: int, num_classes: int) -> None:
    rng = np.random.default_rng(seed)
    names = tuple("abcdef"[:num_classes])
    target, mask = rng.integers(0, num_classes, (2, 40, 30), dtype=np.uint8)
    counts = count(Task("multiclass", names, background="a"), mask, target)
    for with_background in (True, False):
        labels = list(range(0 if with_background else 1, num_classes))
        averages = counts.averages(with_background=with_background)
        assert tuple(averages) == AVERAGES
        for average, found in averages.items():
            arguments = {"labels": labels, "average": average}
            precision, recall, f1, _ = precision_recall_fscore_support(
                target.ravel(), mask.ravel(), **arguments
            )
            iou = jaccard_score(target.ravel(), mask.ravel(), **arguments)
            for name, expected in zip(
                ("precision", "recall", "dice", "iou"), (precision, recall, f1, iou), strict=True
            ):
                assert found[name] == pytest.approx(expected, abs=1e-12)
    recall = counts.averages(with_background=True)["macro"]["recall"]
    expected = balanced_accuracy_score(target.ravel(), mask.ravel())
    assert recall == pytest.approx(expected, abs=1e-12)
    micro = counts.averages(with_background=True)["micro"]
    assert micro["dice"] == pytest.approx(counts.pixel_accuracy, abs=1e-12)


def test_balanced_accuracy_and_specificity_equal_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    target = (rng.random((50, 40)) < 0.1).astype(np.uint8)
    mask = (rng.random((50, 40)) < 0.1 + 0.5 * target).astype(np.uint8)
    scores = count(BINARY, mask, target).scores()
    expected = balanced_accuracy_score(target.ravel(), mask.ravel())
    assert scores["balanced_accuracy"] == pytest.approx(expected, abs=1e-12)
    expected = recall_score(target.ravel(), mask.ravel(), pos_label=0)
    assert scores["specificity"] == pytest.approx(expected, abs=1e-12)


def test_means_over_images_leave_out_true_empties() -> None:
    found, missed = count(CLASSES, [[0, 1]], [[0, 1]]), count(CLASSES, [[0, 0]], [[2, 0]])
    empty = count(CLASSES, [[0, 0]], [[0, 0]])
    means = mean_averages([found, missed, empty])
    assert means["macro"]["dice"] == means["micro"]["recall"] == 0.5
    assert means["macro"]["specificity"] == 1.0
    with_background = mean_averages([found, missed, empty], with_background=True)
    assert with_background["micro"]["dice"] == pytest.approx((1 + 0.5 + 1) / 3)
    assert set(mean_averages([])["weighted"].values()) == {None}


def test_averages_leave_out_what_is_undefined() -> None:
    # "road" is never predicted: scikit-learn would take its precision as 0.
    counts = count(CLASSES, [[0, 0, 2, 2]], [[1, 0, 2, 0]])
    averages = counts.averages()
    assert averages["macro"]["precision"] == averages["weighted"]["precision"] == 0.5
    assert averages["macro"]["recall"] == averages["weighted"]["recall"] == 0.5
    empty = count(BINARY, [[0, 0]], [[0, 0]]).averages()
    assert empty["weighted"]["dice"] is empty["micro"]["dice"] is None
    assert empty["micro"]["specificity"] == 1.0


def test_binary_counts_by_hand() -> None:
    counts = count(BINARY, [[1, 1, 0, 0]], [[1, 0, 1, 0]])
    assert counts.class_counts() == ((1, 1, 1, 1),)
    scores = counts.scores()
    assert scores["dice"] == 0.5
    assert scores["iou"] == pytest.approx(1 / 3, abs=1e-15)
    assert scores["specificity"] == 0.5
    assert scores["pixel_accuracy"] == 0.5


def test_ignored_and_invalid_pixels_do_not_count() -> None:
    counts = count(BINARY, [[1, 1, 1, 0]], [[1, 255, 0, 0]], [[True, True, False, True]])
    assert counts.class_counts() == ((1, 0, 0, 1),)
    assert counts.num_pixels == 2


def test_multilabel_classes_are_counted_apart() -> None:
    counts = count(LABELS, [[[1, 1]], [[0, 1]]], [[[1, 0]], [[255, 1]]])
    assert counts.class_counts() == ((1, 1, 0, 0), (1, 0, 0, 0))
    assert counts.pixel_accuracy == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("mask", "target", "dice", "is_true_empty"),
    [([[0, 0]], [[0, 0]], None, True), ([[0, 1]], [[0, 0]], 0.0, False),
     ([[0, 0]], [[0, 1]], 0.0, False), ([[0, 1]], [[0, 1]], 1.0, False),
     ([[0, 1]], [[255, 255]], None, False)],
)  # fmt: skip
def test_empty_images(
    mask: object, target: object, dice: float | None, is_true_empty: bool
) -> None:
    counts = count(BINARY, mask, target)
    assert counts.scores()["dice"] == dice
    assert counts.scores()["iou"] == dice
    assert counts.is_true_empty is is_true_empty


def test_absent_class_is_left_out_of_the_mean_and_background_is_named() -> None:
    counts = count(CLASSES, [[0, 0, 1, 1]], [[0, 1, 1, 1]])
    per_class = counts.class_scores()
    assert per_class[2]["dice"] is None
    scores = counts.scores()
    assert scores["dice"] == per_class[1]["dice"] == 0.8
    assert scores["dice_with_background"] == pytest.approx((2 / 3 + 0.8) / 2)
    assert "iou_with_background" not in count(BINARY, [[0]], [[0]]).scores()


def test_undefined_ratios_are_none() -> None:
    assert score_counts(0, 0, 5, 0) == {
        "dice": 0.0,
        "iou": 0.0,
        "precision": None,
        "recall": 0.0,
        "specificity": None,
        "balanced_accuracy": None,
    }
    assert mean_of_defined([None, None]) is None
    assert mean_of_defined([None, 0.0, 1.0]) == 0.5


def test_adding_equals_counting_together() -> None:
    rng = np.random.default_rng(3)
    target, mask = rng.integers(0, 3, (2, 8, 8), dtype=np.uint8)
    together = count(CLASSES, mask, target)
    halves = count(CLASSES, mask[:4], target[:4]) + count(CLASSES, mask[4:], target[4:])
    np.testing.assert_array_equal(together.matrix, halves.matrix)
    again = ConfusionCounts(CLASSES).rebuild(halves.as_dict())
    assert again.scores() == together.scores()


def test_counts_beyond_float32_are_exact() -> None:
    matrix = np.array([[[2**40, 1], [0, 2**40 + 1]]])
    counts = ConfusionCounts(BINARY, matrix) + count(BINARY, [[1]], [[1]])
    assert counts.class_counts() == ((2**40 + 2, 1, 0, 2**40),)


def test_refusals_name_the_values() -> None:
    with pytest.raises(ShapeError, match="label 7 but the task has labels 0 to 2"):
        count(CLASSES, [[0, 0]], [[0, 7]])
    with pytest.raises(ShapeError, match=r"one shape, got \(1, 1\) and \(1, 2\)"):
        count(CLASSES, [[0]], [[0, 1]])
    with pytest.raises(ShapeError, match=r"\(3, 3\), got \(2, 2\)"):
        ConfusionCounts(CLASSES, np.zeros((2, 2), np.int64))
