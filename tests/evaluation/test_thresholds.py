from __future__ import annotations

import numpy as np

from delineate.evaluation.thresholds import tune_thresholds
from delineate.metrics.curves import ProbabilityHistogram
from delineate.task import Task


def test_each_class_gets_the_threshold_of_its_own_best_dice() -> None:
    task = Task("multilabel", ("a", "b", "absent"))
    rng = np.random.default_rng(0)
    probs = rng.random((3, 20, 20), dtype=np.float32)
    target = (probs > np.asarray([0.25, 0.75, 2.0])[:, None, None]).astype(np.uint8)
    histogram = ProbabilityHistogram(task, 16)
    histogram.update(probs, target)
    assert tune_thresholds(histogram) == (0.25, 0.75, 0.5)


def test_multiclass_has_no_threshold() -> None:
    assert tune_thresholds(ProbabilityHistogram(Task("multiclass", ("a", "b")), 16)) is None
