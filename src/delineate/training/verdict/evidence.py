"""What a verdict rests on: the epochs, the final validation, and facts of plan and data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.config import dump_settings, flatten_settings
from delineate.metrics.confusion import score_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.metrics.confusion import ConfusionCounts
    from delineate.training.history import EpochRecord
    from delineate.training.preparation import Preparation
    from delineate.training.validation import Validation


@dataclass(frozen=True)
class ClassEvidence:
    """A foreground class in the final validation."""

    name: str
    true_share: float
    """Of the validation pixels that count."""
    predicted_share: float
    dice: float | None
    precision: float | None
    recall: float | None
    training_share: float = math.nan
    """Of the training pixels."""


@dataclass(frozen=True)
class Evidence:
    """All that the rules look at; pure numbers, so that each can be made up for a test."""

    records: tuple[EpochRecord, ...]
    num_steps: int
    classes: tuple[ClassEvidence, ...]
    settings: Mapping[str, Any]
    """By their dotted names."""
    dice: float
    """Of the final model, pooled over the validation split; NaN where undefined."""
    task_kind: str = "binary"
    empty_share: float = 0.0
    """Of the training images, those without foreground."""
    border_ratio: float = 1.0
    """Length of the borders in the predictions per length of the true ones."""
    num_rollbacks: int = 0
    """How often training went back to good weights, as the loss was not finite."""

    def curve(self, name: str) -> NDArray[np.float64]:
        """Return a column of the records, (epochs,)."""
        return np.array([getattr(record, name) for record in self.records], dtype=np.float64)


def gather_evidence(
    prep: Preparation,
    validation: Validation,
    records: Iterable[EpochRecord],
    *,
    num_steps: int,
    num_rollbacks: int,
) -> Evidence:
    """Return the evidence of a training that has ended.

    Args:
        prep: What was settled before it.
        validation: Of the final model.
        records: Of its epochs.
        num_steps: Made in all.
        num_rollbacks: How often it went back to good weights.
    """
    fingerprint = prep.plan.fingerprint
    return Evidence(
        records=tuple(records),
        num_steps=num_steps,
        classes=tuple(describe_classes(validation.scores.counts, fingerprint.class_shares)),
        settings=flatten_settings(dump_settings(prep.settings)),
        dice=validation.dice,
        task_kind=prep.task.kind,
        empty_share=fingerprint.empty_share,
        border_ratio=measure_borders(validation),
        num_rollbacks=num_rollbacks,
    )


def describe_classes(
    counts: ConfusionCounts, training_shares: Mapping[str, float]
) -> Iterable[ClassEvidence]:
    """Yield what became of each foreground class that the target holds."""
    task = counts.task
    for index in task.foreground:
        tp, fp, fn, tn = counts.class_counts()[index]
        num_pixels = tp + fp + fn + tn
        if not tp + fn:
            continue
        scores = score_counts(tp, fp, fn, tn)
        yield ClassEvidence(
            name=task.class_names[index],
            true_share=(tp + fn) / num_pixels,
            predicted_share=(tp + fp) / num_pixels,
            dice=scores["dice"],
            precision=scores["precision"],
            recall=scores["recall"],
            training_share=training_shares.get(task.class_names[index], math.nan),
        )


def measure_borders(validation: Validation) -> float:
    """Return the length of predicted borders per length of true ones, over the kept images.

    A border is between two neighbouring pixels of different labels, both of which count.
    """
    ignore = validation.scores.task.ignore_index
    predicted = true = 0
    for image in validation.kept:
        mask = validation.mask(image)
        is_counted = image.target != ignore
        predicted += _count_borders(mask, is_counted)
        true += _count_borders(image.target, is_counted)
    return predicted / true if true else 1.0


def _count_borders(labels: NDArray[Any], is_counted: NDArray[np.bool_]) -> int:
    above = (labels[..., 1:, :] != labels[..., :-1, :]) & is_counted[..., 1:, :]
    beside = (labels[..., 1:] != labels[..., :-1]) & is_counted[..., 1:]
    above &= is_counted[..., :-1, :]
    beside &= is_counted[..., :-1]
    return int(np.count_nonzero(above) + np.count_nonzero(beside))
