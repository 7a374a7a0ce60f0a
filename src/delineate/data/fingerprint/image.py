"""What one labelled image tells: values, classes, objects, edges."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from delineate.morphology import dilate, distance_map, label_components, skeleton
from delineate.preprocessing import convert_channels
from delineate.randomness import generator_for
from delineate.task import Task

SAMPLED_PIXELS = 4096
"""Pixels whose values are kept of an image, and as many again of its foreground."""
MEASURED_OBJECTS = 1000
"""Objects of a class that are measured in an image; all are counted."""
WINDOW = 768
"""Side of the window, in pixels, whose objects and texture are measured in larger images."""
RING = 5
"""Width of an object's surroundings, in pixels."""
TOUCHING_GAP = 2
"""Objects that are no more than this many pixels apart count as touching."""


@dataclass(frozen=True)
class ObjectShapes:
    """The components of one class in one image."""

    num_objects: int
    areas: NDArray[np.float64]
    """In pixels, (N,); of at most `MEASURED_OBJECTS`, drawn evenly."""
    widths: NDArray[np.float64]
    """In pixels, (N,)."""
    extents: NDArray[np.float64]
    """Longer sides of the bounding boxes, in pixels, (N,)."""
    boundary_pixels: int
    """Pixels of the class that have a 4-neighbour outside of it."""
    skeleton_pixels: int
    """Of the class; what its skeleton is long."""
    num_pixels: int
    num_touching: int
    """Measured objects that another one is near."""
    contrast: float | None
    """Difference to the surroundings, in their joint standard deviation; see `measure_image`."""


@dataclass(frozen=True)
class ImageMeasurement:
    """One image, measured."""

    size: tuple[int, int]
    num_valid_pixels: int
    class_counts: NDArray[np.int64]
    """Pixels of each class; binary: background, foreground; multilabel: positives."""
    values: NDArray[np.float64]
    """(N, C), values of evenly drawn valid pixels, in the file's units."""
    labels: NDArray[np.uint8]
    """(N,), their classes; of a multilabel task 1 + the first class that a pixel has, or 0."""
    foreground_values: NDArray[np.float64]
    """(N, C), the same of the foreground."""
    texture: float
    """Share of the variance that lies between neighbouring pixels, 0 (smooth) to about 1."""
    objects: dict[int, ObjectShapes] = field(default_factory=dict)
    """By foreground class; classes that the image does not show are left out."""

    @property
    def is_empty(self) -> bool:
        """Whether no pixel belongs to a foreground class."""
        return not self.objects


def measure_image(
    pixels: NDArray[Any],
    target: NDArray[np.uint8],
    task: Task,
    *,
    in_channels: int,
    index: int = 0,
) -> ImageMeasurement:
    """Measure a labelled image.

    Objects are 8-connected components. An object's width is ``4 m - 2`` with ``m`` the mean of its
    pixels' distances to the outside: exact for long strips of even width, two thirds of the
    diameter for a disc. Contrast compares the mean of the class's pixels with that of the pixels
    within `RING` pixels around them, in standard deviations of the two together, in the channel
    where they differ most. Classes are counted in the whole image; all else is measured in a window
    of at most `WINDOW` pixels a side, placed at random.

    Args:
        pixels: (H, W, C), as read from the file.
        target: (H, W), multilabel (K, H, W); the ignore index where a pixel does not count.
        task: Says which classes are foreground.
        in_channels: Channels to convert the pixels to.
        index: The image's place in the set, which seeds what is drawn.
    """
    rng = generator_for(0, index)
    size = pixels.shape[:2]
    counts = _count_classes(target, task)
    is_labelled = target != task.ignore_index
    num_valid = int((is_labelled.any(axis=0) if target.ndim == 3 else is_labelled).sum())
    pixels, target = _cut_window(pixels, target, rng)
    pixels = convert_channels(pixels, in_channels)
    classes = {index: _class_mask(target, task, index) for index in task.foreground}
    is_labelled = target != task.ignore_index
    valid = is_labelled.any(axis=0) if target.ndim == 3 else is_labelled
    foreground = np.logical_or.reduce(list(classes.values()))
    drawn = _draw_positions(valid, rng)
    return ImageMeasurement(
        size=(size[0], size[1]),
        num_valid_pixels=num_valid,
        class_counts=counts,
        values=_take(pixels, drawn),
        labels=_label(target, task).ravel()[drawn],
        foreground_values=_take(pixels, _draw_positions(foreground, rng)),
        texture=_measure_texture(pixels, valid),
        objects={
            index: _measure_objects(mask, valid, pixels, rng)
            for index, mask in classes.items()
            if mask.any()
        },
    )


def _cut_window(
    pixels: NDArray[Any], target: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[NDArray[Any], NDArray[np.uint8]]:
    sides = [min(side, WINDOW) for side in pixels.shape[:2]]
    row, col = (
        int(rng.integers(whole - side + 1))
        for whole, side in zip(pixels.shape[:2], sides, strict=True)
    )
    rows, cols = slice(row, row + sides[0]), slice(col, col + sides[1])
    return pixels[rows, cols], target[..., rows, cols]


def _class_mask(target: NDArray[np.uint8], task: Task, index: int) -> NDArray[np.bool_]:
    if task.kind == "multilabel":
        return np.asarray(target[index] == 1)
    return np.asarray(target == (1 if task.kind == "binary" else index))


def _count_classes(target: NDArray[np.uint8], task: Task) -> NDArray[np.int64]:
    if task.kind == "multilabel":
        return np.asarray((target == 1).sum(axis=(1, 2)), dtype=np.int64)
    num_values = 2 if task.kind == "binary" else task.num_classes
    return np.bincount(target.ravel(), minlength=256)[:num_values].astype(np.int64)


def _draw_positions(where: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    positions = np.flatnonzero(where)
    if positions.size > SAMPLED_PIXELS:
        positions = positions[rng.integers(positions.size, size=SAMPLED_PIXELS)]
    return positions


def _take(pixels: NDArray[Any], positions: NDArray[np.int64]) -> NDArray[np.float64]:
    return pixels.reshape(-1, pixels.shape[2])[positions].astype(np.float64)


def _label(target: NDArray[np.uint8], task: Task) -> NDArray[np.uint8]:
    if task.kind != "multilabel":
        return target
    positive = target == 1
    return np.where(positive.any(axis=0), positive.argmax(axis=0) + 1, 0).astype(np.uint8)


def _measure_texture(pixels: NDArray[Any], valid: NDArray[np.bool_]) -> float:
    """Return half the mean squared difference of neighbours in a row, over the variance."""
    grey = pixels.astype(np.float32).mean(axis=2)
    values = grey[valid]
    variance = float(values.var()) if values.size else 0.0
    pairs = valid[:, 1:] & valid[:, :-1]
    if variance <= 0 or not pairs.any():
        return 0.0
    steps = (grey[:, 1:] - grey[:, :-1])[pairs]
    return float(np.square(steps, dtype=np.float64).mean() / (2 * variance))


def _measure_objects(
    mask: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    pixels: NDArray[Any],
    rng: np.random.Generator,
) -> ObjectShapes:
    """Measure one class's objects; the image's border is not an edge of theirs."""
    labels, areas = label_components(mask)
    num_objects = len(areas) - 1
    distances = distance_map(mask)
    is_finite = np.isfinite(distances)
    depths = np.bincount(
        labels.ravel(), weights=np.where(is_finite, distances, 0).ravel(), minlength=len(areas)
    )
    chosen = np.arange(1, num_objects + 1)
    if num_objects > MEASURED_OBJECTS:
        chosen = np.sort(rng.choice(chosen, MEASURED_OBJECTS, replace=False))
    widths = np.maximum(4 * depths[chosen] / areas[chosen] - 2, 1)
    if not is_finite.all():
        widths = np.full(len(chosen), float(min(mask.shape)))
    return ObjectShapes(
        num_objects=num_objects,
        areas=areas[chosen].astype(np.float64),
        widths=widths,
        extents=_measure_extents(labels)[chosen - 1],
        boundary_pixels=int((distances == 1)[mask].sum()),
        skeleton_pixels=int(skeleton(mask).sum()),
        num_pixels=int(mask.sum()),
        num_touching=_count_touching(labels, mask, chosen),
        contrast=_measure_contrast(mask, valid, pixels),
    )


def _measure_extents(labels: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the longer side of each object's bounding box, the first object's first."""
    boxes = ndimage.find_objects(labels)
    return np.array(
        [max(side.stop - side.start for side in box) for box in boxes if box is not None],
        dtype=np.float64,
    )


def _count_touching(
    labels: NDArray[np.int32], mask: NDArray[np.bool_], chosen: NDArray[np.int64]
) -> int:
    """Return how many of the chosen objects have another one within `TOUCHING_GAP` pixels."""
    if labels.max(initial=0) < 2:
        return 0
    # Grown by half the gap, near objects melt into one component.
    grown, _ = label_components(dilate(mask, (TOUCHING_GAP + 1) // 2))
    of_object = np.zeros(int(labels.max()) + 1, dtype=np.int64)
    of_object[labels[mask]] = grown[mask]
    members = np.bincount(of_object[1:], minlength=int(grown.max()) + 1)
    return int((members[of_object[chosen]] > 1).sum())


def _measure_contrast(
    mask: NDArray[np.bool_], valid: NDArray[np.bool_], pixels: NDArray[Any]
) -> float | None:
    ring = dilate(mask, RING) & ~mask & valid
    if not ring.any():
        return None
    inside = pixels[mask].astype(np.float64)
    outside = pixels[ring].astype(np.float64)
    joint = np.sqrt((inside.var(axis=0) + outside.var(axis=0)) / 2)
    differences = np.abs(inside.mean(axis=0) - outside.mean(axis=0))
    with np.errstate(divide="ignore", invalid="ignore"):
        contrasts = np.where(joint > 0, differences / joint, np.where(differences > 0, 100.0, 0.0))
    return float(contrasts.max())
