"""How sure a score is: bootstrap intervals over images, whole groups at a time.

Images are the draws, not pixels: pixels of an image are alike, and so are images of a group (a
patient, a scene). The counts of the groups that are drawn are pooled again, and nothing is
predicted or scored again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import ShapeError
from delineate.evaluation.bootstrap import (
    CONFIDENCE,
    NUM_RESAMPLES,
    Interval,
    Method,
    bootstrap,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.metrics.confusion import ConfusionCounts
    from delineate.task import Task

    FloatArray = NDArray[np.float64]

FEW_GROUPS = 10
"""Groups below which an interval is given with a warning: it is too narrow, by how much nobody
can tell."""

_SCORES = ("dice", "iou", "precision", "recall", "specificity")


@dataclass(frozen=True)
class Intervals:
    """Intervals of the scores of a split, or of the differences of two models on it."""

    pooled: dict[str, Interval]
    """From the pooled counts: those of `SplitScores.pooled`."""
    per_image: dict[str, Interval]
    """Of the means over images: those of `SplitScores.per_image`."""
    classes: dict[str, dict[str, Interval]]
    """Class name -> score -> interval, from the pooled counts."""
    num_images: int
    num_groups: int
    confidence: float
    method: Method
    num_resamples: int
    seed: int
    warning: str | None
    """One sentence where the set is too small to tell; else None."""

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return asdict(self)


def score_intervals(
    counts: Sequence[ConfusionCounts],
    groups: Sequence[str],
    *,
    confidence: float = CONFIDENCE,
    method: Method = "bca",
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Intervals:
    """Return intervals of the pooled and the per-image scores of one split.

    Args:
        counts: One per image (`ImageScores.counts`).
        groups: Group of each image; images of a group are drawn together. Names of their own
            draw images one by one.
        confidence: Share of the sampling distribution that an interval spans.
        method: ``bca`` corrects for bias and skewness (Efron 1987,
            https://doi.org/10.1080/01621459.1987.10478410); ``percentile`` does not.
        num_resamples: Draws of the whole set.
        seed: The same seed gives the same intervals.

    Raises:
        ShapeError: If there is not one group for each image, or no image.
        UsageError: If `confidence` is not within (0, 1) or there is no resample.
    """
    table = _tabulate(counts, groups)
    task = counts[0].task
    return _bootstrap(
        table,
        lambda sums: _scores(sums, task),
        task,
        confidence=confidence,
        method=method,
        num_resamples=num_resamples,
        seed=seed,
    )


def difference_intervals(
    counts: Sequence[ConfusionCounts],
    others: Sequence[ConfusionCounts],
    groups: Sequence[str],
    *,
    confidence: float = CONFIDENCE,
    method: Method = "bca",
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Intervals:
    """Return intervals of the scores of one model less those of another, on the same images.

    The same groups are drawn for both, so what makes an image hard for both cancels out.

    Args:
        counts: One per image, of the model of interest.
        others: Of the model to compare it with, in the same order of images.
        groups: Group of each image.
        confidence: See `score_intervals`.
        method: See `score_intervals`.
        num_resamples: See `score_intervals`.
        seed: See `score_intervals`.

    Raises:
        ShapeError: If there are not as many of each, or the tasks differ in their classes.
        UsageError: See `score_intervals`.
    """
    first, second = _tabulate(counts, groups), _tabulate(others, groups)
    task = counts[0].task
    if others[0].task != task:
        raise ShapeError("two models can be compared on one task only; their classes differ")
    width = first.sums.shape[1]

    def subtract(sums: FloatArray) -> _NamedScores:
        mine, theirs = _scores(sums[:, :width], task), _scores(sums[:, width:], task)
        return {name: values - theirs[name] for name, values in mine.items()}

    both = _Table(np.concatenate([first.sums, second.sums], axis=1), first.num_images)
    return _bootstrap(
        both,
        subtract,
        task,
        confidence=confidence,
        method=method,
        num_resamples=num_resamples,
        seed=seed,
    )


_NamedScores = dict[tuple[str, ...], "FloatArray"]


@dataclass(frozen=True)
class _Table:
    sums: FloatArray
    """Per group: counts of each class (tp, fp, fn, tn), then sums and numbers of image scores."""
    num_images: int


def _tabulate(counts: Sequence[ConfusionCounts], groups: Sequence[str]) -> _Table:
    if not counts or len(counts) != len(groups):
        raise ShapeError(
            f"intervals need images and one group for each, got {len(counts)} images and "
            f"{len(groups)} groups"
        )
    task = counts[0].task
    pixels = np.asarray([image.class_counts() for image in counts], dtype=np.float64)
    flat = pixels.reshape(len(counts), -1)
    scores = np.stack(list(_pooled(flat, task).values()), axis=1)
    is_defined = np.isfinite(scores)
    columns = np.concatenate([flat, np.where(is_defined, scores, 0), is_defined], axis=1)
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((int(member.max()) + 1, columns.shape[1]))
    np.add.at(sums, member, columns)
    return _Table(sums, len(counts))


def _scores(sums: FloatArray, task: Task) -> _NamedScores:
    """Return each number by where it belongs, (n,), from sums, (n, columns)."""
    width = 4 * task.num_classes
    pooled = _pooled(sums[:, :width], task)
    by_class = _class_scores(sums[:, :width])
    means = np.split(sums[:, width:], 2, axis=1)
    named: _NamedScores = {("pooled", name): values for name, values in pooled.items()}
    for index, name in enumerate(pooled):
        named["per_image", name] = _ratio(means[0][:, index], means[1][:, index])
    for index, class_name in enumerate(task.class_names):
        for name, values in by_class.items():
            named["classes", class_name, name] = values[:, index]
    return named


def _class_scores(flat: FloatArray) -> dict[str, FloatArray]:
    """Return the scores of `_SCORES`, (n, K), from counts, (n, 4 K)."""
    tp, fp, fn, tn = np.moveaxis(flat.reshape(len(flat), -1, 4), 2, 0)
    values = (
        _ratio(2 * tp, 2 * tp + fp + fn),
        _ratio(tp, tp + fp + fn),
        _ratio(tp, tp + fp),
        _ratio(tp, tp + fn),
        _ratio(tn, tn + fp),
    )
    return dict(zip(_SCORES, values, strict=True))


def _pooled(flat: FloatArray, task: Task) -> dict[str, FloatArray]:
    """Return what `ConfusionCounts.scores` gives, (n,), from counts, (n, 4 K)."""
    by_class = _class_scores(flat)
    foreground = list(task.foreground)
    pooled = {name: _mean_of_defined(values[:, foreground]) for name, values in by_class.items()}
    tp, fp, fn, tn = np.moveaxis(flat.reshape(len(flat), -1, 4), 2, 0)
    right = tp.sum(axis=1) if task.kind == "multiclass" else (tp + tn).sum(axis=1)
    counted = (tp + fn).sum(axis=1)
    if task.kind != "multiclass":
        counted = (tp + fp + fn + tn).sum(axis=1)
    pooled["pixel_accuracy"] = _ratio(right, counted)
    if task.background is not None:
        for name in ("dice", "iou"):
            pooled[f"{name}_with_background"] = _mean_of_defined(by_class[name])
    return pooled


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    ratios = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratios, where=whole > 0)
    return ratios


def _mean_of_defined(values: FloatArray) -> FloatArray:
    is_defined = np.isfinite(values)
    return _ratio(np.where(is_defined, values, 0).sum(axis=1), is_defined.sum(axis=1).astype(float))


def _bootstrap(
    table: _Table,
    score: Callable[[FloatArray], _NamedScores],
    task: Task,
    *,
    confidence: float,
    method: Method,
    num_resamples: int,
    seed: int,
) -> Intervals:
    names = list(score(table.sums[:1]))
    found = bootstrap(
        table.sums,
        lambda sums: np.stack(list(score(sums).values()), axis=1),
        confidence=confidence,
        method=method,
        num_resamples=num_resamples,
        seed=seed,
    )
    by_name = dict(zip(names, found, strict=True))
    return Intervals(
        pooled={name[1]: value for name, value in by_name.items() if name[0] == "pooled"},
        per_image={name[1]: value for name, value in by_name.items() if name[0] == "per_image"},
        classes={
            class_name: {
                name[2]: value
                for name, value in by_name.items()
                if name[0] == "classes" and name[1] == class_name
            }
            for class_name in task.class_names
        },
        num_images=table.num_images,
        num_groups=len(table.sums),
        confidence=confidence,
        method=method,
        num_resamples=num_resamples,
        seed=seed,
        warning=_warn(table),
    )


def _warn(table: _Table) -> str | None:
    num_groups = len(table.sums)
    if num_groups >= FEW_GROUPS:
        return None
    what = "image" if num_groups == table.num_images else "group"
    several = f"{num_groups} {what}{'s' if num_groups != 1 else ''}"
    if num_groups < 2:
        return f"{several} cannot tell how sure a score is; add images of other groups"
    return (
        f"{several} are too few to tell: real uncertainty is larger than these intervals; treat "
        f"differences as unproven below {FEW_GROUPS} {what}s"
    )
