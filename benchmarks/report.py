"""Time the making of a report from six images of 1,024 x 1,024 pixels, and print its size.

Run on a quiet machine: ``python benchmarks/report.py``. Scoring and prediction are not in it.
"""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np

from delineate.evaluation.details import DetailCollector
from delineate.evaluation.intervals import score_intervals
from delineate.evaluation.report import build_report
from delineate.evaluation.result import Evaluation, Example
from delineate.evaluation.scoring import LabelledImage, score_samples
from delineate.evaluation.slices import find_slices
from delineate.prediction.quality import QualityEstimator
from delineate.preprocessing import Preprocessing
from delineate.task import Task

NUM_IMAGES = 6
SIDE = 1024


class Blurred:
    """Takes the image's own channels, softened, for probabilities."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes

    def predict_probs(self, pixels: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """Return (K, H, W)."""
        own = pixels[..., : self.num_classes].astype(np.float32) / 255
        soft = cv2.GaussianBlur(own, (0, 0), 2).reshape(SIDE, SIDE, -1).transpose(2, 0, 1)
        return np.ascontiguousarray(soft / np.maximum(soft.sum(axis=0), 1))


def make(task: Task) -> Evaluation:
    """Return an evaluation of noise with structure."""
    rng = np.random.default_rng(0)
    samples, examples = [], []
    predictor = Blurred(task.num_classes)
    for index in range(NUM_IMAGES):
        fields = [cv2.GaussianBlur(rng.normal(size=(SIDE, SIDE)), (0, 0), 12) for _ in range(3)]
        target = (fields[0] > 0.01).astype(np.uint8)
        if task.kind == "multiclass":
            target = np.argmax(fields, axis=0).astype(np.uint8)
        seen = [target == k for k in range(3)] if task.kind == "multiclass" else [target == 1] * 3
        pixels = np.stack([150 * s + 40 + 20 * f for s, f in zip(seen, fields, strict=True)], -1)
        pixels = np.clip(pixels + rng.normal(0, 15, pixels.shape), 0, 255).astype(np.uint8)
        samples.append(LabelledImage(str(index), pixels, target))
        probs = predictor.predict_probs(pixels)
        thresholds = None if task.kind == "multiclass" else [0.4]
        mask = task.mask(probs, thresholds)
        examples.append(Example("worst", str(index), 0.5, pixels, target, mask, probs))
    collector = DetailCollector(QualityEstimator(task, Preprocessing(3)))
    scores = score_samples(predictor, samples, task, thresholds=thresholds, observe=collector)
    details, groups = collector.finish(), [str(i) for i in range(NUM_IMAGES)]
    return Evaluation(
        split="test",
        data={"name": "data", "digest": "0"},
        model={"name": "run", "digest": None, "architecture": {"name": "unet", "in_channels": 3}},
        prediction={
            "tile_size": [512, 512],
            "overlap": 0.25,
            "blend": "gaussian",
            "postprocessing": {},
        },
        scores=scores,
        examples=tuple(examples),
        folder=Path("nowhere"),
        intervals=score_intervals([image.counts for image in scores.images], groups),
        details=details,
        groups=tuple(groups),
        slices=tuple(find_slices(scores, details, groups)),
    )


def main() -> None:
    """Print seconds and megabytes for a binary and a multiclass task."""
    for task in (Task("binary", ("cell",)), Task("multiclass", ("a", "b", "c"))):
        evaluation = make(task)
        build_report(evaluation)
        wall, cpu = time.perf_counter(), time.process_time()
        page = build_report(evaluation)
        print(
            f"{task.kind:10} {time.perf_counter() - wall:.2f} s "
            f"({time.process_time() - cpu:.2f} s of one core), {len(page) / 1e6:.1f} MB"
        )


if __name__ == "__main__":
    main()
