"""What tuning chooses is the best there is, and luck is not taken for it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from delineate.config import TuningConfig
from delineate.errors import DataError, UsageError
from delineate.evaluation.tuning import tune
from delineate.evaluation.tuning_counts import Step
from delineate.evaluation.tuning_objectives import Objective
from delineate.evaluation.tuning_predictions import (
    NUM_LEVELS,
    PredictionStore,
    thresholds_of,
)
from delineate.evaluation.tuning_search import best_level, list_steps, search
from delineate.postprocess import postprocess_mask
from delineate.task import Task

BINARY = Task("binary", ("cell",))
TAGS = Task("multilabel", ("road", "roof"))
LAND = Task("multiclass", ("ground", "road", "roof"), background="ground")
AREAS = (0, 6, 30)
SMALL = TuningConfig(
    opening_radii=(0,),
    closing_radii=(0,),
    min_object_areas=AREAS,
    min_hole_areas=AREAS,
    temperature=False,
)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-values))).astype(np.float32)


def smooth(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> np.ndarray:
    field = ndimage.gaussian_filter(rng.normal(size=shape), (0,) * (len(shape) - 2) + (sigma,) * 2)
    return np.asarray(field / field.std())


def images(
    task: Task, num_images: int = 8, size: int = 40, shift: float = -1.5, noise: float = 0.7
) -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Predictions that lie too low by `shift` logits and are speckled."""
    found = []
    for index in range(num_images):
        rng = np.random.default_rng(index)
        field = smooth(rng, (task.num_classes, size, size), 3.0) - 0.5
        logits = 3 * field + shift + noise * 3 * rng.normal(size=field.shape)
        if task.kind == "multiclass":
            probs = np.exp(logits - logits.max(axis=0))
            probs = (probs / probs.sum(axis=0)).astype(np.float32)
            target = field.argmax(axis=0)
        else:
            probs = sigmoid(logits)
            target = (field > 0).astype(np.uint8)
            target = target[0] if task.kind == "binary" else target
        target = np.where(rng.random(target.shape) < 0.05, task.ignore_index, target)
        found.append((f"{index}", probs, target.astype(np.uint8), rng.random((size, size)) < 0.95))
    return found


def keep(
    task: Task, made: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]], **settings: Any
) -> PredictionStore:
    store = PredictionStore(task, **settings)
    for name, probs, target, valid in made:
        store.add(name, probs, target, valid)
    return store


def score_by_hand(
    task: Task,
    made: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]],
    step: Step,
    thresholds: tuple[float, ...] | None,
    name: str,
) -> float:
    """The objective from the probabilities themselves, through `Task.mask`."""
    rows = []
    for _, probs, target, valid in made:
        mask = postprocess_mask(task.mask(probs, thresholds), task, **step._asdict())
        for index in task.foreground:
            plane = mask[index] if task.kind == "multilabel" else mask
            labels = target[index] if task.kind == "multilabel" else target
            wanted = index if task.kind == "multiclass" else 1
            counted = valid & (labels != task.ignore_index)
            hit, real = (plane == wanted)[counted], (labels == wanted)[counted]
            rows.append(((hit & real).sum(), (hit & ~real).sum(), (~hit & real).sum()))
    counts = np.asarray(rows, dtype=float).reshape(len(made), -1, 3)
    if name == "dice_per_image":
        tp, fp, fn = np.moveaxis(counts, 2, 0)
        return float((2 * tp / (2 * tp + fp + fn)).mean(axis=0).mean())
    tp, fp, fn = np.moveaxis(counts.sum(axis=0), 1, 0)
    if name == "iou":
        return float((tp / (tp + fp + fn)).mean())
    if name == "f_beta":
        return float((5 * tp / (5 * tp + 4 * fn + fp)).mean())
    if name == "cost":
        num_pixels = sum(int((v & (t != task.ignore_index)).sum()) for _, _, t, v in made)
        return float(-(5 * fn + fp).mean() / num_pixels)
    if name == "recall_at_precision":
        precision = np.where(tp + fp > 0, tp / np.maximum(tp + fp, 1), 1.0)
        recall = tp / (tp + fn)
        return float(np.where(precision >= 0.9, recall, precision - 0.9).mean())
    return float((2 * tp / (2 * tp + fp + fn)).mean())


@pytest.mark.parametrize(
    "name", ["dice", "dice_per_image", "iou", "f_beta", "recall_at_precision", "cost"]
)
def test_the_search_equals_brute_force(name: str) -> None:
    made = images(BINARY, num_images=3, size=24)
    store = keep(BINARY, made)
    objective = Objective(name)  # type: ignore[arg-type]
    steps = list_steps(
        BINARY,
        objective,
        opening_radii=(0, 1),
        closing_radii=(0,),
        min_object_areas=(0, 8),
        min_hole_areas=(0, 5),
        largest_only=True,
    )
    assert len(steps) == 2 * (2 * 2 + 1)
    table = search(store, np.asarray([0, 1, 1]), objective, steps)
    levels = range(4, NUM_LEVELS, 14)
    scores = objective.score(table.sums.sum(axis=0))[:, 0]
    for index, step in enumerate(table.steps):
        for level in levels:
            by_hand = score_by_hand(BINARY, made, step, thresholds_of([level]), name)
            np.testing.assert_allclose(scores[index, level], by_hand, rtol=1e-12, err_msg=str(step))
    choice = table.best()
    assert scores[choice.step, choice.levels[0]] == np.nanmax(scores[:, 1:])
    assert choice.step == int(np.nanmax(scores[:, 1:], axis=1).argmax())


def test_classes_get_thresholds_of_their_own_and_share_the_post_processing() -> None:
    made = images(TAGS, num_images=4, size=32)
    for _, probs, _, _ in made:
        probs[1] = sigmoid(np.log(probs[1] / (1 - probs[1])) + 3.0)
    table = search(
        keep(TAGS, made),
        np.zeros(4, dtype=int),
        Objective(),
        [Step(), Step(0, 0, 8, False, 8)],
    )
    choice = table.best()
    low, high = thresholds_of(choice.levels)
    assert low < 0.4 < 0.6 < high
    best = max(
        score_by_hand(TAGS, made, step, thresholds_of((a, b)), "dice")
        for step in table.steps
        for a in range(60, 240, 12)
        for b in range(60, 240, 12)
    )
    assert table.score(table.at(choice)) >= best


def test_multiclass_masks_are_post_processed_as_in_prediction() -> None:
    made = images(LAND, num_images=3, size=24)
    steps = [Step(), Step(0, 0, 6), Step(1, 0, 0), Step(0, 1, 6, False, 6), Step(0, 0, 0, True, 0)]
    table = search(keep(LAND, made), np.zeros(3, dtype=int), Objective(), steps)
    for index, step in enumerate(steps):
        place = table.steps.index(step)
        scored = table.score(table.sums[0, place, :, 0])
        np.testing.assert_allclose(scored, score_by_hand(LAND, made, step, None, "dice"))
        assert index == 0 or scored != table.score(table.sums[0, 0, :, 0])


def test_a_real_gain_is_taken_with_its_proof() -> None:
    tuning = tune(keep(BINARY, images(BINARY)), [str(i) for i in range(8)], SMALL)
    threshold, post = tuning.proof("threshold"), tuning.proof("post-processing")
    assert threshold is not None
    assert post is not None
    assert threshold.is_taken
    assert post.is_taken
    assert tuning.thresholds is not None
    assert tuning.thresholds[0] < 0.4
    assert any(tuning.postprocessing.values())
    assert any(f"with threshold {tuning.thresholds[0]:.3f}" in line for line in tuning.describe())
    unsure = replace(tuning, proofs=(replace(threshold, is_taken=False), post))
    assert any("threshold: not changed by itself" in line for line in unsure.describe())
    assert threshold.nested_gain.estimate is not None
    assert 0 < threshold.nested_gain.estimate <= threshold.gain + 0.02  # type: ignore[operator]
    # The tuned setting is as good on images that nobody has looked at.
    fresh = [image for image in images(BINARY, num_images=24) if int(image[0]) >= 8]
    step = Step(**tuning.postprocessing)
    tuned = score_by_hand(BINARY, fresh, step, tuning.thresholds, "dice")
    plain = score_by_hand(BINARY, fresh, Step(), (0.5,), "dice")
    assert tuned > plain + 0.1
    assert tuning.nested_score == pytest.approx(tuned, abs=0.05)
    json.dumps(tuning.as_dict(), allow_nan=False)


def noise(seed: int, num_images: int = 6) -> PredictionStore:
    """Probabilities that know nothing of the truth, half of which is positive."""
    store = PredictionStore(BINARY)
    rng = np.random.default_rng(seed)
    for index in range(num_images):
        target = (smooth(rng, (32, 32), 2.0) > 0).astype(np.uint8)
        store.add(str(index), sigmoid(2 * smooth(rng, (1, 32, 32), 2.0)), target)
    return store


def test_luck_on_noise_is_refused() -> None:
    """The best of many thresholds makes fewer errors than 0.5, on these images only."""
    config = SMALL.model_copy(update={"objective": "cost", "miss_cost": 1.0, "effort": 0.0})
    proofs = []
    for seed in range(15):
        store = noise(seed, num_images=12)
        proof = tune(store, store.names, config).proof("threshold")
        assert proof is not None
        proofs.append(proof)
    gains = np.asarray([[p.gain, p.nested_gain.estimate, p.luck] for p in proofs], dtype=float)
    assert (gains[:, 0] > 0).mean() > 0.9
    assert gains[:, 0].mean() > 0.01
    # Elsewhere the gain is about none, and seldom taken for one.
    assert abs(gains[:, 1].mean()) < 0.3 * gains[:, 0].mean()
    assert sum(p.is_taken for p in proofs) <= 3
    np.testing.assert_allclose(gains[:, 0] - gains[:, 1], gains[:, 2])


def test_lucky_post_processing_is_refused() -> None:
    config = SMALL.model_copy(update={"objective": "cost", "miss_cost": 1.0})
    tuning = tune(noise(3), [str(i) for i in range(6)], config)
    proof = tuning.proof("post-processing")
    assert proof is not None
    assert proof.gain is not None
    assert proof.gain > 0.01
    assert not proof.is_taken, tuning.describe()
    assert not any(tuning.postprocessing.values())
    assert any("none stays" in line for line in tuning.describe())


def test_one_group_proves_nothing() -> None:
    tuning = tune(keep(BINARY, images(BINARY, num_images=3)), ["a"] * 3, SMALL)
    assert tuning.thresholds == (0.5,)
    assert not any(tuning.postprocessing.values())
    assert not any(proof.is_taken for proof in tuning.proofs)
    assert any("one group" in line for line in tuning.describe())


def test_groups_are_never_on_both_sides_of_a_fold() -> None:
    from delineate.evaluation.tuning_proof import assign_folds

    groups = [f"patient{i // 3}" for i in range(21)]
    folds = assign_folds(groups, 5)
    assert folds.num_groups == 7
    assert sorted(np.bincount(folds.fold).tolist()) == [3, 3, 3, 6, 6]
    for group in set(groups):
        assert len({f for f, g in zip(folds.fold, groups, strict=True) if g == group}) == 1


@pytest.mark.parametrize("task", [BINARY, TAGS, LAND], ids=lambda task: task.kind)
def test_a_store_that_spills_is_the_same_store(task: Task) -> None:
    made = images(task, num_images=4, size=17)
    in_memory, on_disk = keep(task, made), keep(task, made, memory_bytes=1500)
    assert in_memory.num_spilled_bytes == 0
    assert on_disk.num_spilled_bytes > 0
    for one, other, (_, probs, _, _) in zip(in_memory, on_disk, made, strict=True):
        np.testing.assert_array_equal(one.output, other.output)
        np.testing.assert_array_equal(one.target, other.target)
        levels = [100, 180][: task.num_classes]
        thresholds = thresholds_of(levels) if task.has_threshold else None
        np.testing.assert_array_equal(
            in_memory.mask(one.output, levels), task.mask(probs, thresholds)
        )


def test_large_images_are_searched_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    made = images(BINARY, num_images=2, size=40)
    step = Step(0, 0, 6, False, 6)
    whole = search(keep(BINARY, made), np.zeros(2, dtype=int), Objective(), [Step(), step])
    monkeypatch.setattr("delineate.evaluation.tuning_search.MAX_TREE_PIXELS", 25**2)
    pieces = search(keep(BINARY, made), np.zeros(2, dtype=int), Objective(), [Step(), step])
    corners = [
        (n, p[:, r, c], t[r, c], v[r, c])
        for n, p, t, v in made
        for r in (slice(0, 25), slice(25, 40))
        for c in (slice(0, 25), slice(25, 40))
    ]
    cut = search(keep(BINARY, corners), np.zeros(8, dtype=int), Objective(), [Step(), step])
    np.testing.assert_array_equal(pieces.sums, cut.sums)
    np.testing.assert_array_equal(pieces.sums[:, 0], whole.sums[:, 0])
    difference = pieces.objective.score(pieces.sums) - whole.objective.score(whole.sums)
    assert 0 < np.nanmax(np.abs(difference)) < 0.1


def test_the_middle_of_a_plateau_near_one_half_is_taken() -> None:
    scores = np.full(NUM_LEVELS, 0.2)
    scores[[10, 11, 12]] = scores[100:121] = 0.7
    assert best_level(scores) == 110
    assert best_level(np.full(NUM_LEVELS, np.nan)) == 128


def test_what_cannot_be_tuned_is_refused() -> None:
    with pytest.raises(DataError, match="no validation image"):
        tune(PredictionStore(BINARY), [], SMALL)
    store = keep(BINARY, images(BINARY, num_images=2))
    with pytest.raises(UsageError, match="1 groups for 2 images"):
        tune(store, ["a"], SMALL)
    with pytest.raises(UsageError, match="have no group, such as 1"):
        tune(store, {"0": "a"}, SMALL)


def test_effort_and_time_limit_the_search() -> None:
    store = keep(BINARY, images(BINARY, num_images=3))
    groups = ["a", "b", "c"]
    whole = tune(store, groups, SMALL)
    assert whole.num_steps_left_out == 0
    none = tune(store, groups, SMALL.model_copy(update={"effort": 0.0}))
    assert none.num_steps == 1
    assert none.proof("post-processing") is None
    late = tune(store, groups, SMALL, deadline=0.0)
    assert late.num_steps == 1
    assert late.thresholds == none.thresholds
    assert any("left out" in line for line in late.describe())
