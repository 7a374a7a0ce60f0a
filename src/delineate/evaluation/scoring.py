"""From a predictor and labelled images to pooled and per-image scores, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from delineate.errors import DataError, UsageError
from delineate.evaluation.thresholds import tune_thresholds
from delineate.metrics.confusion import ConfusionCounts, Scores, mean_of_defined
from delineate.metrics.curves import ProbabilityHistogram
from delineate.metrics.reduction import sum_over_processes
from delineate.processes import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from delineate.raster_windows import Grid
    from delineate.task import Task


class ProbabilityPredictor(Protocol):
    """Anything that turns the pixels of one image into probabilities."""

    def predict_probs(
        self,
        pixels: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
        grid: Grid | None = None,
        /,
    ) -> NDArray[np.float32]:
        """Return probabilities, (C, H, W), in [0, 1].

        Args:
            pixels: (H, W, C).
            valid: Pixels that hold a measurement, (H, W); None counts all.
            grid: From the image's pixels to those that the network reads; None where it reads the
                image as it is.
        """
        ...


class LabelledImage(NamedTuple):
    """One image to score."""

    name: str
    pixels: NDArray[Any]
    """(H, W, C), in the file's own data type."""
    target: NDArray[Any]
    """(H, W) labels; multilabel (C, H, W)."""
    valid: NDArray[np.bool_] | None = None
    """Pixels that count beside the target's ignored ones, (H, W); None counts all."""
    spacing: tuple[float, float] | None = None
    """Height and width of a pixel, in metres or millimetres; None if not known."""
    grid: Grid | None = None
    """From its pixels to those that the network reads, where they are of another size."""


def predict_sample(predictor: ProbabilityPredictor, sample: LabelledImage) -> NDArray[np.float32]:
    """Return the probabilities of an image on its own grid, (C, H, W)."""
    if sample.grid is None:
        return predictor.predict_probs(sample.pixels, sample.valid)
    return predictor.predict_probs(sample.pixels, sample.valid, sample.grid)


Observer = Callable[[LabelledImage, "NDArray[np.float32]", "NDArray[np.uint8]"], None]


@dataclass(frozen=True)
class ImageScores:
    """The counts of one image."""

    name: str
    counts: ConfusionCounts

    @property
    def scores(self) -> Scores:
        """Means over the foreground classes, and pixel accuracy."""
        return self.counts.scores()

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        classes = zip(self.counts.task.class_names, self.counts.class_scores(), strict=True)
        return {
            "name": self.name,
            **self.scores,
            "is_true_empty": self.counts.is_true_empty,
            "classes": dict(classes),
        }


@dataclass(frozen=True)
class SplitScores:
    """The scores of a split: pooled counts, curves, and counts per image."""

    task: Task
    thresholds: tuple[float, ...] | None
    """One per class; None for a multiclass task."""
    counts: ConfusionCounts
    histogram: ProbabilityHistogram
    images: tuple[ImageScores, ...]

    @property
    def pooled(self) -> Scores:
        """Scores of the pooled counts."""
        return self.counts.scores()

    @property
    def per_image(self) -> dict[str, Any]:
        """Means over the images whose score is defined, and how many images had none to give."""
        scores = [image.scores for image in self.images]
        return {
            **{name: mean_of_defined(s[name] for s in scores) for name in self.pooled},
            "num_images": len(self.images),
            "num_scored": sum(s["dice"] is not None for s in scores),
            "num_true_empty": sum(image.counts.is_true_empty for image in self.images),
        }

    @property
    def classes(self) -> dict[str, dict[str, Any]]:
        """Per class: pooled scores, areas under the curves, counts and means over images."""
        per_image = [image.counts.class_scores() for image in self.images]
        pooled = zip(self.counts.class_scores(), self.counts.class_counts(), strict=True)
        return {
            name: {
                **scores,
                "average_precision": self.histogram.average_precision(index),
                "auroc": self.histogram.auroc(index),
                **dict(zip(("tp", "fp", "fn", "tn"), counts, strict=True)),
                "per_image": {
                    score: mean_of_defined(image[index][score] for image in per_image)
                    for score in scores
                },
                "num_images_defined": sum(i[index]["dice"] is not None for i in per_image),
            }
            for index, (name, (scores, counts)) in enumerate(
                zip(self.task.class_names, pooled, strict=True)
            )
        }

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description: numbers, strings and null, never NaN."""
        threshold: float | list[float] | None = None
        if self.thresholds is not None:
            binary = self.task.kind == "binary"
            threshold = self.thresholds[0] if binary else list(self.thresholds)
        return {
            "num_images": len(self.images),
            "threshold": threshold,
            "pooled": self.pooled,
            "per_image": self.per_image,
            "classes": self.classes,
            "confusion": self.counts.matrix.tolist(),
            "images": [image.as_dict() for image in self.images],
        }


def score_samples(
    predictor: ProbabilityPredictor,
    samples: Iterable[LabelledImage | tuple[Any, ...]],
    task: Task,
    *,
    thresholds: Sequence[float] | None = None,
    num_bins: int = 4096,
    postprocess: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] | None = None,
    observe: Observer | None = None,
    team: Team = ALONE,
) -> SplitScores:
    """Predict each image once and score it.

    Where `thresholds` is None (and the task has thresholds), they are tuned on these very images:
    ask that of validation data only. Until then each image is kept as a histogram of its own,
    8 (num_bins + 1) bytes per class, 32 KiB at 4,096 bins; pixels are never kept.

    Args:
        predictor: Called once per image.
        samples: `LabelledImage`s, or plain (name, pixels, target[, valid]), streamed.
        task: What the predictor's channels and the targets mean.
        thresholds: One per class; None tunes them. A multiclass task takes none.
        num_bins: Bins of the histograms behind curves and tuning, a power of two.
        postprocess: Applied to each mask before it is counted; the curves stay those of the raw
            probabilities. Needs `thresholds` unless the task is multiclass.
        observe: Called for each image with the sample, its probabilities (C, H, W) and the mask
            that is counted. Needs `thresholds` unless the task is multiclass.
        team: Processes that have dealt the samples out in turns (`Team.turns`) and all call this;
            each returns the scores of all samples.

    Raises:
        UsageError: If thresholds and task do not fit.
        DataError: If there is no image.
        ShapeError: If a prediction or target does not fit the task.
    """
    if thresholds is not None and (not task.has_threshold or len(thresholds) != task.num_classes):
        expected = task.num_classes if task.has_threshold else 0
        raise UsageError(
            f"a {task.kind} task of {task.num_classes} classes takes {expected} thresholds, "
            f"got {len(thresholds)}"
        )
    is_tuning = task.has_threshold and thresholds is None
    if is_tuning and (postprocess is not None or observe is not None):
        raise UsageError("thresholds are tuned on raw masks; give thresholds to post-process too")

    pooled = ProbabilityHistogram(task, num_bins)
    names: list[str] = []
    histograms: list[NDArray[np.uint32]] = []
    counts: list[ConfusionCounts] = []
    for sample in samples:
        sample = LabelledImage(*sample)
        name, _, target, valid, *_ = sample
        probs = predict_sample(predictor, sample)
        histogram = ProbabilityHistogram(task, num_bins)
        histogram.update(probs, target, valid)
        pooled += histogram
        names.append(name)
        if is_tuning:
            histograms.append(histogram.counts.astype(np.uint32))
            continue
        mask = task.mask(probs, thresholds)
        if postprocess is not None:
            mask = postprocess(mask)
        image_counts = ConfusionCounts(task)
        image_counts.update(mask, target, valid)
        counts.append(image_counts)
        if observe is not None:
            observe(sample, probs, mask)
    pooled = pooled if team.is_alone else sum_over_processes([pooled])[0]
    chosen = tune_thresholds(pooled) if is_tuning else thresholds
    counts.extend(
        ProbabilityHistogram(task, num_bins, kept).confusion_at(chosen or ()) for kept in histograms
    )
    images = team.join([ImageScores(n, c) for n, c in zip(names, counts, strict=True)])
    if not images:
        raise DataError("there is no image to score; the split is empty")
    return SplitScores(
        task=task,
        thresholds=None if chosen is None else tuple(float(t) for t in chosen),
        counts=sum((image.counts for image in images[1:]), start=images[0].counts),
        histogram=pooled,
        images=tuple(images),
    )
