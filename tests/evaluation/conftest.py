"""An evaluation of made-up images, whose names try to break out of pages."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from delineate.evaluation.details import DetailCollector
from delineate.evaluation.examples import choose_examples
from delineate.evaluation.intervals import score_intervals
from delineate.evaluation.result import Evaluation, Example
from delineate.evaluation.scoring import LabelledImage, score_samples
from delineate.evaluation.slices import find_slices
from delineate.prediction.quality import QualityEstimator
from delineate.preprocessing import Preprocessing
from delineate.task import Task, TaskKind

HOSTILE = '<script>alert("x")</script>'


class EvaluationOf(Protocol):
    def __call__(
        self, kind: TaskKind, num_images: int = 3, *, is_empty: bool = False
    ) -> Evaluation: ...


@pytest.fixture
def evaluation_of() -> EvaluationOf:
    return _evaluation_of


class PixelsAreProbs:
    def predict_probs(self, pixels: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        return pixels.transpose(2, 0, 1)


def _evaluation_of(kind: TaskKind, num_images: int = 3, *, is_empty: bool = False) -> Evaluation:
    names = (HOSTILE,) if kind == "binary" else (HOSTILE, "road", "roof")
    task = Task(kind, names, background="road" if kind == "multiclass" else None)
    rng = np.random.default_rng(0)
    samples, examples = [], []
    thresholds = None if kind == "multiclass" else [0.4] * len(names)
    for index in range(num_images):
        probs = rng.dirichlet(np.ones(3), (20, 30))[..., : len(names)].astype(np.float32)
        shape = (3, 20, 30) if kind == "multilabel" else (20, 30)
        target = rng.integers(0, 3 if kind == "multiclass" else 2, shape, dtype=np.uint8)
        target[..., :3, :3] = 255
        if is_empty:
            probs, target = np.zeros_like(probs), np.zeros_like(target)
        samples.append(LabelledImage(f"{index}{HOSTILE}.png", probs, target))
    calibration = [((0.0, 0.0), (1.0, 1.0))] * len(names)
    estimator = QualityEstimator(task, Preprocessing(len(names)), tuple(calibration))
    collector = DetailCollector(estimator)
    scores = score_samples(
        PixelsAreProbs(), samples, task, thresholds=thresholds, observe=collector
    )
    for rank, index in choose_examples([i.scores["dice"] for i in scores.images]):
        _, pixels, target, *_ = samples[index]
        mask = task.mask(pixels.transpose(2, 0, 1), thresholds)
        dice = scores.images[index].scores["dice"]
        probs = pixels.transpose(2, 0, 1)
        examples.append(Example(rank, samples[index].name, dice, pixels, target, mask, probs))
    groups = [f"{HOSTILE}{index // 2}" for index in range(num_images)]
    details = collector.finish()
    return Evaluation(
        split="test",
        data={"name": f"data{HOSTILE}", "digest": "ab"},
        model={"name": "run", "digest": None, "architecture": {"name": "unet", "in_channels": 3}},
        prediction={
            "tile_size": [32, 32],
            "overlap": 0.25,
            "blend": "gaussian",
            "postprocessing": {"opening_radius": 1, "min_hole_area": 0},
        },
        scores=scores,
        examples=tuple(examples),
        folder=Path("nowhere"),
        intervals=score_intervals([image.counts for image in scores.images], groups),
        details=details,
        groups=tuple(groups),
        slices=tuple(find_slices(scores, details, groups)),
        alerts=(f"look out {HOSTILE}",),
    )
