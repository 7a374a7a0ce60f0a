"""The temperature that makes probabilities mean what they say.

Logits are divided by one number, fitted by the likelihood of the labels
(https://arxiv.org/abs/1706.04599) on a sample of the pixels of each image. Order is kept, so no
mask changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from delineate.evaluation.tuning_proof import Folds, Proof, prove_values

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.evaluation.tuning_predictions import SampledProbs
    from delineate.task import Task

    FloatArray = NDArray[np.float64]

RANGE = (0.05, 20.0)
_SMALLEST_PROB = 1e-7  # keeps logarithms finite; float32 hardly tells 1 - 1e-7 from 1


def fit_temperature(
    samples: Sequence[SampledProbs], task: Task, folds: Folds, *, confidence: float
) -> tuple[float, Proof]:
    """Return the temperature of the least negative log-likelihood, and its proof.

    The proof's scores are minus the negative log-likelihood, in nats per pixel (and class where
    classes are apart), so higher is better as everywhere.

    Args:
        samples: One per image.
        task: What the probabilities mean.
        folds: Group and fold of each image.
        confidence: How sure its gain must be.
    """
    tables = [_Likelihood(sample, task) for sample in samples]

    def fit(chosen: Sequence[_Likelihood]) -> float:
        from scipy.optimize import minimize_scalar

        def loss(logarithm: float) -> float:
            sums = sum(table.at(float(np.exp(logarithm))) for table in chosen)
            return float(np.asarray(sums)[0])

        found = minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded")
        return float(np.exp(found.x))

    tables_with_pixels = [table for table in tables if table.has_pixels]
    temperature = fit(tables_with_pixels) if tables_with_pixels else 1.0
    per_image = np.zeros((len(tables), 3))
    for fold in range(folds.num_folds):
        others = [t for t, f in zip(tables, folds.fold, strict=True) if f != fold and t.has_pixels]
        judged_by = fit(others) if others else 1.0
        for index in np.flatnonzero(folds.fold == fold):
            before, weight = tables[index].at(1.0)
            per_image[index] = before, tables[index].at(judged_by)[0], weight
    before, after = (_mean(tables, value) for value in (1.0, temperature))
    proof = prove_values(
        "temperature",
        -before,
        -after,
        folds.sum_by_group(per_image),
        lambda sums: ((sums[:, 0] - sums[:, 1]) / np.maximum(sums[:, 2], 1))[:, None],
        confidence=confidence,
    )
    return temperature, proof


def _mean(tables: Sequence[_Likelihood], temperature: float) -> float:
    sums = np.sum([table.at(temperature) for table in tables], axis=0)
    return float(sums[0] / max(sums[1], 1))


class _Likelihood:
    """Negative log-likelihood of the labels of one image at any temperature."""

    def __init__(self, sample: SampledProbs, task: Task) -> None:
        probs = np.clip(sample.probs.astype(np.float64), _SMALLEST_PROB, 1 - _SMALLEST_PROB)
        self._weight = sample.num_pixels / max(len(sample.target), 1)
        self._is_multiclass = task.kind == "multiclass"
        if self._is_multiclass:
            self._logits = np.log(probs)
            self._target = sample.target.astype(np.intp)
            self._num_labels = len(sample.target)
            return
        labels = sample.target.reshape(len(probs), -1)
        counted = labels != task.ignore_index
        logits = np.log(probs) - np.log1p(-probs)
        self._logits = np.where(labels == 1, logits, -logits)[counted]
        self._num_labels = int(counted.sum())

    @property
    def has_pixels(self) -> bool:
        """Whether any pixel was sampled."""
        return self._num_labels > 0

    def at(self, temperature: float) -> FloatArray:
        """Return the sum over the image's pixels and how many there are, (2,)."""
        if not self.has_pixels:
            return np.zeros(2)
        scaled = self._logits / temperature
        if self._is_multiclass:
            largest = scaled.max(axis=1)
            total = largest + np.log(np.exp(scaled - largest[:, None]).sum(axis=1))
            losses = total - scaled[np.arange(len(scaled)), self._target]
        else:
            losses = np.logaddexp(0, -scaled)
        return self._weight * np.asarray([losses.sum(), self._num_labels])
