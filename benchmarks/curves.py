"""Time the precision-recall and ROC curves of five million pixels, ours against others.

Run on a quiet machine: ``python benchmarks/curves.py [--bins 4096] [--thresholds 256]``. Prints
seconds (the best of three of ours and of scikit-learn, one run of torchmetrics, which is slow),
the ratio to ours, and how far the areas differ.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from delineate.metrics.curves import ProbabilityHistogram
from delineate.task import Task

SHAPE = (2000, 2600)
TASK = Task("binary", ("foreground",))


def draw_pixels(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and labels like those of a trained network: mostly near 0 and 1."""
    rng = np.random.default_rng(seed)
    target = (rng.random(SHAPE) < 0.2).astype(np.uint8)
    logits = rng.normal(8.0 * target - 5.0, 2.5)
    return (1 / (1 + np.exp(-logits))).astype(np.float32)[None], target


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the shortest time that `work` took."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bins", type=int, default=4096)
    parser.add_argument("--thresholds", type=int, default=256, help="of torchmetrics; 0 leaves out")
    options = parser.parse_args()
    probs, target = draw_pixels()
    flat_probs, flat_target = probs.ravel(), target.ravel()

    def ours() -> float | None:
        histogram = ProbabilityHistogram(TASK, options.bins)
        histogram.update(probs, target)
        histogram.roc(0)
        histogram.best_threshold(0)
        return histogram.average_precision(0)

    def scikit_learn() -> None:
        precision_recall_curve(flat_target, flat_probs)
        roc_curve(flat_target, flat_probs)

    own = seconds(ours, 3)
    rows = [(f"delineate, {options.bins} bins", own)]
    rows.append(("scikit-learn, exact", seconds(scikit_learn, 3)))
    if options.thresholds:
        import torch
        from torchmetrics.functional.classification import (
            binary_precision_recall_curve,
            binary_roc,
        )

        tensors = torch.from_numpy(flat_probs), torch.from_numpy(flat_target).long()

        def torchmetrics() -> None:
            binary_precision_recall_curve(*tensors, thresholds=options.thresholds)
            binary_roc(*tensors, thresholds=options.thresholds)

        rows.append((f"torchmetrics, {options.thresholds} thresholds", seconds(torchmetrics, 1)))
    print(f"{flat_probs.size:,} pixels, precision-recall and ROC")
    for name, taken in rows:
        print(f"{name:<32} {taken:8.3f} s {taken / own:8.1f} x")
    difference = abs((ours() or 0.0) - average_precision_score(flat_target, flat_probs))
    print(f"average precision differs from scikit-learn's by {difference:.1e}")


if __name__ == "__main__":
    main()
