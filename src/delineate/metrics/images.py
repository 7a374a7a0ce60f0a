"""Everything that is measured image by image: boundaries, objects, topology; and its summary."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from delineate.metrics.boundary import BOUNDARY_DISTANCES, boundary_scores
from delineate.metrics.classes import class_planes
from delineate.metrics.confusion import mean_of_defined
from delineate.metrics.objects import ObjectCounts, ObjectMatches, match_objects
from delineate.metrics.topology import topology_scores

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from delineate.metrics.confusion import Scores
    from delineate.task import Task


@dataclass(frozen=True)
class ClassMeasures:
    """What was measured of one class in one image."""

    boundary: Scores
    """`BOUNDARY_SCORES`, distances in pixels."""
    boundary_in_units: Scores | None
    """The same in the unit of the spacing; None without one."""
    objects: ObjectMatches
    topology: Scores | None
    """`TOPOLOGY_SCORES`; None if not asked for."""
    diagonal: float
    """Of the image, in pixels: no distance is longer."""
    diagonal_in_units: float | None

    @property
    def is_true_empty(self) -> bool:
        """Whether the class is neither in the target nor in the prediction."""
        return self.boundary["boundary_iou"] is None

    @property
    def is_without_distance(self) -> bool:
        """Whether the class is in one of target and prediction only: all missed or spurious."""
        return not self.is_true_empty and self.boundary["hd95"] is None

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description: numbers and null, never NaN."""
        return {
            "boundary": self.boundary,
            "boundary_in_units": self.boundary_in_units,
            "objects": {**self.objects.counts(), **self.objects.scores()},
            "topology": self.topology,
        }


def image_scores(
    mask: NDArray[Any],
    target: NDArray[Any],
    task: Task,
    spacing: tuple[float, float] | None = None,
    *,
    valid: NDArray[np.bool_] | None = None,
    tolerance: float | None = None,
    with_topology: bool = False,
) -> dict[str, ClassMeasures]:
    """Measure boundaries, objects and, if asked for, topology of each foreground class.

    Ignored pixels are taken out of both masks: a boundary along them is a boundary of both.

    Args:
        mask: Predicted labels, (H, W); multilabel (C, H, W) of 0 and 1.
        target: Labels of the same shape; `task.ignore_index` does not count.
        task: The classes; a declared background is not measured.
        spacing: Height and width of a pixel, in metres or millimetres; None if not known.
        valid: Pixels that count, (H, W); None counts all.
        tolerance: Of surface Dice, in the unit of the spacing, or in pixels without one; None
            takes two pixels.
        with_topology: Also thin and count holes, which takes several times as long as the rest.

    Returns:
        By class name, in the order of `task.foreground`.

    Raises:
        ShapeError: If shapes do not fit.
        UsageError: If the spacing or the tolerance is out of range.
    """
    measures = {}
    for planes in class_planes(mask, target, task, valid):
        inside, truth = planes.mask, planes.target
        matches = match_objects(inside, truth, planes.valid)
        if planes.valid is not None:
            inside = inside & planes.valid
        in_units = None
        if spacing is None:
            boundary = boundary_scores(inside, truth, tolerance=tolerance)
        else:
            in_units = boundary_scores(inside, truth, spacing, tolerance=tolerance)
            boundary = (
                _scaled(in_units, 1 / spacing[0])
                if spacing[0] == spacing[1]
                else boundary_scores(inside, truth)
            )
        height, width = truth.shape
        measures[task.class_names[planes.class_index]] = ClassMeasures(
            boundary=boundary,
            boundary_in_units=in_units,
            objects=matches,
            topology=topology_scores(inside, truth) if with_topology else None,
            diagonal=math.hypot(height, width),
            diagonal_in_units=(
                None if spacing is None else math.hypot(height * spacing[0], width * spacing[1])
            ),
        )
    return measures


def summarise_images(
    images: Sequence[Mapping[str, ClassMeasures]], task: Task
) -> dict[str, dict[str, Any]]:
    """Return the numbers of a data set from those of its images, JSON-ready, by class name.

    Boundary and topology are means over the images where they are defined; objects are counted
    over all images together. An image whose objects of a class are all missed, or all spurious,
    has no distance. It is counted (`num_without_distance`), and each distance has a second mean,
    ``<name>_with_misses``, in which it stands with the diagonal of the image: that one never
    improves by missing an object's last pixel.

    Args:
        images: What `image_scores` returned, image by image.
        task: The classes.
    """
    summary = {}
    counts = ObjectCounts(task)
    for index in task.foreground:
        name = task.class_names[index]
        measures = [image[name] for image in images]
        for each in measures:
            counts.add(index, each.objects)
        with_topology = [each.topology for each in measures if each.topology is not None]
        has_units = any(each.boundary_in_units is not None for each in measures)
        summary[name] = {
            "boundary": _mean_boundary(
                [(each.boundary, each.diagonal) for each in measures if not each.is_true_empty]
            ),
            "boundary_in_units": _mean_boundary(
                [
                    (each.boundary_in_units, each.diagonal_in_units)
                    for each in measures
                    if not each.is_true_empty
                    and each.boundary_in_units is not None
                    and each.diagonal_in_units is not None
                ]
            )
            if has_units
            else None,
            "num_images": len(measures),
            "num_true_empty": sum(each.is_true_empty for each in measures),
            "num_without_distance": sum(each.is_without_distance for each in measures),
            "objects": {**counts.class_counts()[index], **counts.class_scores()[index]},
            "topology": _means(with_topology) if with_topology else None,
        }
    return summary


def _scaled(scores: Scores, factor: float) -> Scores:
    return {
        name: score * factor if name in BOUNDARY_DISTANCES and score is not None else score
        for name, score in scores.items()
    }


def _means(scores: Sequence[Scores]) -> Scores:
    return {name: mean_of_defined(each[name] for each in scores) for name in scores[0]}


def _mean_boundary(found: Sequence[tuple[Scores, float]]) -> Scores | None:
    """Return the means of the images where the class is, each with its diagonal; None of none."""
    if not found:
        return None
    means = _means([scores for scores, _ in found])
    for name in BOUNDARY_DISTANCES:
        distances = [(scores[name], diagonal) for scores, diagonal in found]
        means[f"{name}_with_misses"] = mean_of_defined(
            diagonal if distance is None else distance for distance, diagonal in distances
        )
    return means
