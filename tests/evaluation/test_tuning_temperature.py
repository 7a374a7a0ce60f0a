"""The temperature against PyTorch's own likelihood, and against a known one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from delineate.evaluation.tuning_predictions import PredictionStore
from delineate.evaluation.tuning_proof import assign_folds
from delineate.evaluation.tuning_temperature import fit_temperature
from delineate.task import Task

TASKS = [
    Task("binary", ("cell",)),
    Task("multilabel", ("road", "roof")),
    Task("multiclass", ("ground", "road", "roof")),
]


def draw(
    task: Task, seed: int, overconfidence: float
) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Logits that are too large by a factor, their probabilities, and labels drawn by true ones."""
    rng = np.random.default_rng(seed)
    true = torch.from_numpy(rng.normal(0, 1.5, (1, task.num_classes, 40, 40)))
    likely = task.probs(true)[0].numpy()
    if task.kind == "multiclass":
        target = (rng.random((1, 40, 40)) > likely.cumsum(axis=0)).sum(axis=0).clip(0, 2)
    else:
        target = rng.random(likely.shape) < likely
        target = target[0] if task.kind == "binary" else target
    logits = true * overconfidence
    return logits, task.probs(logits)[0].numpy().astype(np.float32), target.astype(np.uint8)


def fill(task: Task, overconfidence: float, num_images: int = 6) -> PredictionStore:
    store = PredictionStore(task)
    for seed in range(num_images):
        _, probs, target = draw(task, seed, overconfidence)
        store.add(str(seed), probs, target)
    return store


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_a_known_temperature_is_found_and_proved(task: Task) -> None:
    store = fill(task, 2.0)
    found, proof = fit_temperature(
        store.samples, task, assign_folds(store.names, 5), confidence=0.9
    )
    assert found == pytest.approx(2.0, rel=0.1)
    assert proof.is_taken
    assert proof.gain is not None
    assert proof.gain > 0.02


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
def test_the_likelihood_is_that_of_pytorch(task: Task) -> None:
    store = fill(task, 2.0)
    found, proof = fit_temperature(
        store.samples, task, assign_folds(store.names, 5), confidence=0.9
    )
    sums = {1.0: 0.0, found: 0.0}
    for seed in range(6):
        logits, _, target = draw(task, seed, 2.0)
        labels = torch.from_numpy(target.astype(np.int64))[None]
        for temperature in sums:
            scaled = logits / temperature
            if task.kind == "multiclass":
                loss = functional.cross_entropy(scaled, labels)
            else:
                wanted = labels[:, None] if labels.ndim == 3 else labels
                loss = functional.binary_cross_entropy_with_logits(scaled, wanted.double())
            sums[temperature] += float(loss) / 6
    # All pixels of these small images are in the sample.
    assert proof.before == pytest.approx(-sums[1.0], abs=1e-5)
    assert proof.after == pytest.approx(-sums[found], abs=1e-5)


def test_calibrated_probabilities_need_none() -> None:
    task = TASKS[0]
    store = fill(task, 1.0)
    found, proof = fit_temperature(
        store.samples, task, assign_folds(store.names, 5), confidence=0.9
    )
    assert found == pytest.approx(1.0, abs=0.1)
    assert not proof.is_taken


def test_ignored_pixels_do_not_count() -> None:
    task = TASKS[1]
    clean, spoilt = PredictionStore(task), PredictionStore(task)
    for seed in range(3):
        _, probs, target = draw(task, seed, 2.0)
        half = target.copy()
        half[:, 20:] = task.ignore_index
        clean.add(str(seed), probs[:, :20], target[:, :20])
        spoilt.add(str(seed), probs, half)
    folds = assign_folds(clean.names, 3)
    one, other = (
        fit_temperature(store.samples, task, folds, confidence=0.9)[0] for store in (clean, spoilt)
    )
    assert one == pytest.approx(other, rel=1e-3)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.kind)
@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_calibrated_probabilities_are_those_of_divided_logits(
    task: Task, temperature: float
) -> None:
    logits, probs, _ = draw(task, 0, 1.0)
    expected = task.probs(logits / temperature)[0].numpy()
    np.testing.assert_allclose(task.calibrate(probs, temperature), expected, atol=2e-6)
    extreme = np.asarray([1.0, 0.0, 0.0][: task.num_classes], np.float32)[:, None, None]
    np.testing.assert_array_equal(task.calibrate(extreme, temperature), extreme)
