from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from delineate.errors import DataError, UsageError
from delineate.evaluation.scoring import LabelledImage, score_samples
from delineate.task import Task

BINARY = Task("binary", ("cell",))
CLASSES = Task("multiclass", ("ground", "road", "roof"), background="ground")


class PixelsAreProbs:
    """Takes the pixels, (H, W, C), for the probabilities; counts its calls."""

    def __init__(self) -> None:
        self.num_calls = 0

    def predict_probs(self, pixels: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        self.num_calls += 1
        return pixels.transpose(2, 0, 1)


def binary_samples(num: int = 5, seed: int = 0) -> list[LabelledImage]:
    rng = np.random.default_rng(seed)
    samples = []
    for index in range(num):
        target = (rng.random((16, 12 + index)) < 0.3).astype(np.uint8)
        noise = rng.random(target.shape)
        probs = np.where(target == 1, 0.3 + 0.7 * noise, 0.6 * noise).astype(np.float32)
        target[0, 0] = 255
        samples.append(LabelledImage(f"{index}.png", probs[..., None], target))
    return samples


def test_tuning_equals_scoring_again_at_the_tuned_threshold() -> None:
    predictor = PixelsAreProbs()
    tuned = score_samples(predictor, binary_samples(), BINARY)
    assert predictor.num_calls == 5
    again = score_samples(predictor, binary_samples(), BINARY, thresholds=tuned.thresholds)
    assert tuned.as_dict() == again.as_dict()
    at_half = score_samples(predictor, binary_samples(), BINARY, thresholds=[0.5])
    assert tuned.pooled["dice"] > at_half.pooled["dice"]


def test_pooled_counts_are_the_sum_over_images_and_means_are_beside() -> None:
    scores = score_samples(PixelsAreProbs(), binary_samples(), BINARY, thresholds=[0.4])
    total = sum(image.counts.matrix for image in scores.images)
    np.testing.assert_array_equal(scores.counts.matrix, total)
    dices = [image.scores["dice"] for image in scores.images]
    assert scores.per_image["dice"] == pytest.approx(np.mean(dices))
    assert scores.per_image["num_scored"] == 5
    assert scores.classes["cell"]["dice"] == scores.pooled["dice"]
    assert scores.classes["cell"]["per_image"]["dice"] == scores.per_image["dice"]


def test_true_empties_are_counted_apart() -> None:
    empty = np.zeros((4, 4), np.uint8)
    low, high = np.zeros((4, 4, 1), np.float32), np.ones((4, 4, 1), np.float32)
    samples = [("a", low, empty), ("b", high, empty), ("c", high, empty + 1)]
    scores = score_samples(PixelsAreProbs(), samples, BINARY, thresholds=[0.5])
    assert scores.per_image["num_true_empty"] == 1
    assert scores.per_image["num_scored"] == 2
    assert scores.per_image["dice"] == 0.5
    assert [image.as_dict()["dice"] for image in scores.images] == [None, 0.0, 1.0]


def test_multiclass_takes_the_argmax_and_no_threshold() -> None:
    rng = np.random.default_rng(1)
    probs = rng.dirichlet(np.ones(3), (9, 7)).astype(np.float32)
    target = rng.integers(0, 3, (9, 7), dtype=np.uint8)
    valid = np.ones((9, 7), bool)
    valid[:2] = False
    scores = score_samples(PixelsAreProbs(), [("x", probs, target, valid)], CLASSES)
    assert scores.thresholds is None
    document = scores.as_dict()
    assert document["threshold"] is None
    assert np.sum(document["confusion"]) == 49
    assert set(document["classes"]) == {"ground", "road", "roof"}
    with pytest.raises(UsageError, match="takes 0 thresholds"):
        score_samples(PixelsAreProbs(), [], CLASSES, thresholds=[0.5, 0.5, 0.5])


def test_multilabel_has_a_threshold_per_class() -> None:
    rng = np.random.default_rng(2)
    task = Task("multilabel", ("a", "b"))
    target = rng.integers(0, 2, (2, 9, 7), dtype=np.uint8)
    probs = (0.2 + 0.1 * target + 0.4 * np.asarray([0, 1])[:, None, None]).astype(np.float32)
    samples = [("x", probs.transpose(1, 2, 0), target)]
    scores = score_samples(PixelsAreProbs(), samples, task)
    assert scores.pooled["dice"] == 1.0
    assert scores.as_dict()["threshold"] == list(scores.thresholds or ())
    assert scores.thresholds is not None
    assert 0.2 < scores.thresholds[0] <= 0.3 < 0.6 < scores.thresholds[1] <= 0.7


def test_postprocessing_changes_the_mask_and_not_the_curves() -> None:
    def clear(mask: np.ndarray) -> np.ndarray:
        return np.zeros_like(mask)

    plain = score_samples(PixelsAreProbs(), binary_samples(), BINARY, thresholds=[0.5])
    cleared = score_samples(
        PixelsAreProbs(), binary_samples(), BINARY, thresholds=[0.5], postprocess=clear
    )
    assert cleared.pooled["recall"] == 0.0
    assert cleared.pooled["precision"] is None
    np.testing.assert_array_equal(cleared.histogram.counts, plain.histogram.counts)
    with pytest.raises(UsageError, match="give thresholds"):
        score_samples(PixelsAreProbs(), [], BINARY, postprocess=clear)


def test_the_document_is_json_without_nan() -> None:
    empty = ("a", np.zeros((4, 4, 1), np.float32), np.zeros((4, 4), np.uint8))
    scores = score_samples(PixelsAreProbs(), [empty], BINARY)
    assert scores.thresholds == (0.5,)
    document: dict[str, Any] = json.loads(json.dumps(scores.as_dict(), allow_nan=False))
    assert document["pooled"]["dice"] is None
    assert document["classes"]["cell"]["auroc"] is None
    assert document["num_images"] == 1


def test_an_empty_split_and_a_wrong_number_of_thresholds_are_refused() -> None:
    with pytest.raises(DataError, match="no image to score"):
        score_samples(PixelsAreProbs(), [], BINARY)
    with pytest.raises(UsageError, match="takes 1 thresholds, got 2"):
        score_samples(PixelsAreProbs(), [], BINARY, thresholds=[0.1, 0.2])
