from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from torchmetrics.functional.classification import (
    binary_calibration_error,
    multiclass_calibration_error,
)

from delineate.errors import ShapeError, UsageError
from delineate.metrics.calibration import CalibrationCounts
from delineate.task import Task

BINARY = Task("binary", ("cell",))
CLASSES = Task("multiclass", ("a", "b", "c"))
SEEDS = st.integers(0, 2**32 - 1)


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probs = rng.beta(0.5, 0.7, (1, 30, 20)).astype(np.float32)
    return probs, (rng.random(probs.shape[1:]) < probs[0] ** 1.5).astype(np.uint8)


def draw_classes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(3, 0.4), (25, 20)).transpose(2, 0, 1)
    return probs, rng.integers(0, 3, (25, 20), dtype=np.uint8)


def fill(
    task: Task, probs: np.ndarray, target: np.ndarray, num_bins: int = 16
) -> CalibrationCounts:
    counts = CalibrationCounts(task, num_bins)
    counts.update(probs, target)
    return counts


@settings(deadline=None, max_examples=25)
@given(seed=SEEDS, num_bins=st.sampled_from([4, 16, 64]))
def test_binary_equals_scikit_learn(seed: int, num_bins: int) -> None:
    probs, target = draw(seed)
    counts = fill(BINARY, probs, target, num_bins)
    truth, flat = target.ravel(), probs.ravel().astype(np.float64)
    expected = brier_score_loss(truth, flat)
    assert counts.brier_error(0) == pytest.approx(expected, abs=1e-12)
    shares, means = calibration_curve(truth, flat, n_bins=num_bins)
    reliability = counts.reliability(0)
    np.testing.assert_allclose(reliability.mean_probs, means, atol=1e-12)
    np.testing.assert_allclose(reliability.shares, shares, atol=1e-12)
    assert reliability.num_pixels.sum() == truth.size


@settings(deadline=None, max_examples=15)
@given(seed=SEEDS)
def test_calibration_error_equals_torchmetrics(seed: int) -> None:
    probs, target = draw(seed)
    found = fill(BINARY, probs, target).scores()["expected_calibration_error"]
    expected = binary_calibration_error(
        torch.from_numpy(probs.ravel().astype(np.float64)),
        torch.from_numpy(target.ravel()).long(),
        n_bins=16,
    )
    assert found == pytest.approx(expected.item(), abs=1e-6)  # torchmetrics adds in float32

    probs, target = draw_classes(seed)
    found = fill(CLASSES, probs, target).scores()["expected_calibration_error"]
    expected = multiclass_calibration_error(
        torch.from_numpy(probs.reshape(3, -1).T.copy()),
        torch.from_numpy(target.ravel()).long(),
        num_classes=3,
        n_bins=16,
    )
    assert found == pytest.approx(expected.item(), abs=1e-6)


@settings(deadline=None, max_examples=15)
@given(seed=SEEDS)
def test_calibration_error_equals_its_definition_in_float64(seed: int) -> None:
    probs, target = draw_classes(seed)
    top, right = probs.max(axis=0), probs.argmax(axis=0) == target
    bins = np.minimum(np.floor(top * 16), 15)
    expected = sum(
        abs(top[bins == index].mean() - right[bins == index].mean()) * (bins == index).mean()
        for index in np.unique(bins)
    )
    counts = fill(CLASSES, probs, target)
    scores = counts.scores()
    assert scores["expected_calibration_error"] == pytest.approx(expected, abs=1e-12)
    one_hot = np.eye(3)[target].transpose(2, 0, 1)
    brier = brier_score_loss(target.ravel(), probs.reshape(3, -1).T, labels=[0, 1, 2])
    assert scores["brier_error"] == pytest.approx(brier, abs=3e-12)  # three roundings
    for index, of_class in enumerate(counts.class_scores()):
        expected = brier_score_loss(one_hot[index].ravel(), probs[index].ravel())
        assert of_class["brier_error"] == pytest.approx(expected, abs=1e-12)


def test_a_probability_on_an_edge_belongs_to_the_upper_bin() -> None:
    counts = fill(BINARY, np.asarray([[[0.25, 0.24, 1.0]]]), np.asarray([[1, 0, 1]]), 4)
    reliability = counts.reliability(0)
    np.testing.assert_allclose(reliability.mean_probs, [0.24, 0.25, 1.0], atol=1e-12)
    assert reliability.shares.tolist() == [0, 1, 1]


def test_the_right_answer_is_calibrated_and_the_wrong_one_is_not() -> None:
    target = np.asarray([[0, 1, 1, 0]], np.uint8)
    right = fill(BINARY, target[None].astype(np.float32), target).scores()
    assert right == {"expected_calibration_error": 0.0, "brier_error": 0.0}
    wrong = fill(BINARY, 1 - target[None].astype(np.float32), target).scores()
    assert wrong == {"expected_calibration_error": 1.0, "brier_error": 1.0}


def test_any_order_and_any_split_give_the_same_numbers() -> None:
    probs, target = draw(4)
    whole = fill(BINARY, probs, target)
    parts = [fill(BINARY, probs[:, [row]], target[[row]]) for row in reversed(range(30))]
    together = sum(parts[1:], start=parts[0])
    for name, array in whole.as_dict().items():
        np.testing.assert_array_equal(together.as_dict()[name], array)


def test_ignored_pixels_and_channels_of_their_own() -> None:
    task = Task("multilabel", ("a", "b"))
    probs = np.asarray([[[0.9, 0.1]], [[0.4, np.nan]]], np.float32)
    target = np.asarray([[[1, 255]], [[0, 1]]], np.uint8)
    counts = CalibrationCounts(task)
    counts.update(probs, target, np.asarray([[True, False]]))
    brier = [scores["brier_error"] for scores in counts.class_scores()]
    assert brier == pytest.approx([0.01, 0.16], abs=1e-7)
    assert counts.scores()["brier_error"] == pytest.approx(0.085, abs=1e-7)
    assert counts.top_label() is None


def test_nothing_counted_is_undefined() -> None:
    assert set(CalibrationCounts(CLASSES).scores().values()) == {None}
    ignored = fill(BINARY, np.asarray([[[0.3]]]), np.asarray([[255]]))
    assert set(ignored.scores().values()) == {None}


def test_refusals_name_the_values() -> None:
    with pytest.raises(UsageError, match="power of two of bins, up to 256"):
        CalibrationCounts(BINARY, 10)
    with pytest.raises(ShapeError, match=r"'cell' must lie in \[0, 1\], got 1.5 to 1.5"):
        fill(BINARY, np.asarray([[[1.5]]]), np.asarray([[1]]))
    with pytest.raises(ShapeError, match=r"\(1, 1, 2\) do not fit a target \(1, 3\)"):
        fill(BINARY, np.zeros((1, 1, 2)), np.zeros((1, 3), np.uint8))
    with pytest.raises(ShapeError, match=r"counts of a calibration of this task"):
        CalibrationCounts(BINARY, 16).rebuild(CalibrationCounts(BINARY, 8).as_dict())
