"""What is seen of each image while it is scored, beside the counts.

Nothing of the size of an image is kept: tallies, and a row per object.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.data.image_digest import digest_pixels
from delineate.evaluation.confidence import ConfidenceTally
from delineate.evaluation.objects import (
    ObjectTable,
    join_tables,
    measure_objects,
    tally_widths,
    zone_masks,
)
from delineate.metrics.calibration import CalibrationCounts
from delineate.metrics.images import ClassMeasures, image_scores
from delineate.pictures import class_layers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.evaluation.scoring import LabelledImage
    from delineate.prediction.quality import ImageQuality, QualityEstimator
    from delineate.task import Task


@dataclass(frozen=True)
class Details:
    """Rows and tallies of a split, image by image in the order of its scores."""

    brightness: NDArray[np.float64]
    """Mean brightness of each image, in the units of its pixels, (N,)."""
    zones: dict[tuple[str, str], NDArray[np.float64]]
    """(property, label) -> twice the pixels of a foreground class found, and predicted plus true
    ones, in that part of each image, (N, 2): what Dice is the ratio of."""
    widths: NDArray[np.float64]
    """Found and all true pixels by width of the structure (`tally_widths`), (N, W, 2)."""
    objects: ObjectTable
    confidence: ConfidenceTally | None
    """Of a multiclass task."""
    calibration: CalibrationCounts
    """Probabilities against what came true."""
    measures: tuple[dict[str, ClassMeasures], ...]
    """Boundaries, objects and topology of each class of each image."""
    qualities: tuple[ImageQuality, ...]
    """What would have been said of each prediction without the truth."""
    in_training: tuple[bool, ...]
    """Whether the model file knows the pixels of the image as a training image's."""


@dataclass
class DetailCollector:
    """Looks at each image as it is scored; `finish` returns what was seen."""

    estimator: QualityEstimator
    """Judges each prediction without the truth."""
    training_images: frozenset[str] = frozenset()
    """Digests of the training images, as `digest_pixels` gives them."""
    _brightness: list[float] = field(default_factory=list)
    _zones: list[dict[tuple[str, str], tuple[float, float]]] = field(default_factory=list)
    _widths: list[NDArray[np.float64]] = field(default_factory=list)
    _objects: list[ObjectTable] = field(default_factory=list)
    _qualities: list[ImageQuality] = field(default_factory=list)
    _in_training: list[bool] = field(default_factory=list)
    _measures: list[dict[str, ClassMeasures]] = field(default_factory=list)
    _confidence: ConfidenceTally | None = None

    @property
    def task(self) -> Task:
        """What is judged."""
        return self.estimator.task

    def __post_init__(self) -> None:
        self._calibration = CalibrationCounts(self.task)
        if self.task.kind == "multiclass":
            self._confidence = ConfidenceTally(self.task.num_classes)

    def __call__(
        self, sample: LabelledImage, probs: NDArray[np.float32], mask: NDArray[np.uint8]
    ) -> None:
        """Note one image.

        Args:
            sample: Its pixels and truth.
            probs: (C, H, W).
            mask: The labels that are counted, (H, W); multilabel (C, H, W).
        """
        target = sample.target
        self._calibration.update(probs, target, sample.valid)
        self._measures.append(
            image_scores(
                mask, target, self.task, sample.spacing, valid=sample.valid, with_topology=True
            )
        )
        if sample.valid is not None:
            target = np.where(sample.valid, target, self.task.ignore_index)
        self._qualities.append(
            self.estimator.judge(sample.pixels, probs, mask, sample.valid, sample.grid)
        )
        self._in_training.append(digest_pixels(sample.pixels) in self.training_images)
        mask = np.where(target == self.task.ignore_index, self.task.ignore_index, mask)
        grey = np.asarray(sample.pixels[..., :3].mean(axis=-1), dtype=np.float32)
        self._brightness.append(float(grey.mean()))
        self._zones.append(self._tally_zones(target, mask))
        self._widths.append(tally_widths(target, mask, self.task))
        self._objects.append(measure_objects(len(self._objects), grey, target, mask, self.task))
        if self._confidence is not None:
            counted = target != self.task.ignore_index
            self._confidence.update(probs.max(axis=0), mask == target, counted)

    def _tally_zones(
        self, target: NDArray[Any], mask: NDArray[Any]
    ) -> dict[tuple[str, str], tuple[float, float]]:
        both = np.zeros(target.shape[-2:])
        either = np.zeros(target.shape[-2:])
        predicted = dict(class_layers(mask, self.task))
        for index, where in class_layers(target, self.task):
            both += where & predicted[index]
            either += where.astype(np.float64) + predicted[index]
        return {
            name: (2 * float(both[zone].sum()), float(either[zone].sum()))
            for name, zone in zone_masks(both.shape).items()  # type: ignore[arg-type]
        }

    def finish(self) -> Details:
        """Return what was seen; at least one image must have been."""
        return Details(
            brightness=np.asarray(self._brightness),
            zones={
                name: np.asarray([zones[name] for zones in self._zones]) for name in self._zones[0]
            },
            widths=np.stack(self._widths),
            objects=join_tables(self._objects),
            confidence=self._confidence,
            calibration=self._calibration,
            measures=tuple(self._measures),
            qualities=tuple(self._qualities),
            in_training=tuple(self._in_training),
        )
