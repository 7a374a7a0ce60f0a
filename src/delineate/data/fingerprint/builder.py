"""From measured images to the fingerprint of all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate.data.fingerprint.fingerprint import (
    ChannelStatistics,
    ClassStatistics,
    Fingerprint,
    Histogram,
    Quantiles,
)
from delineate.data.fingerprint.image import ImageMeasurement, ObjectShapes
from delineate.data.fingerprint.information import held_out_information, normalise_images
from delineate.errors import DataError
from delineate.randomness import generator_for
from delineate.task import Task

PERCENTILES = (0.5, 5.0, 25.0, 50.0, 75.0, 95.0, 99.5)
CLIPPED = (0.5, 99.5)
"""Percentiles beyond which `data.clip` takes values off; among `PERCENTILES`."""
KEPT_VALUES = 1 << 20
"""Sampled pixel values kept over all images."""
KEPT_OBJECTS = 1 << 16
"""Objects kept per class over all images."""

NUM_BINS = 32
"""Bars of a channel's histogram."""


class FingerprintBuilder:
    """Takes image after image in bounded memory, and gives the fingerprint of all."""

    def __init__(self, task: Task, num_images: int) -> None:
        """Take the task and how many images will come."""
        self._task = task
        self._share = max(16, KEPT_VALUES // max(1, num_images))
        self._kept_objects = max(1, KEPT_OBJECTS // max(1, num_images))
        self._sizes: list[tuple[int, int]] = []
        self._num_valid = 0
        self._class_counts: NDArray[np.int64] | None = None
        self._values: list[NDArray[np.float64]] = []
        self._labels: list[NDArray[np.uint8]] = []
        self._groups: list[str] = []
        self._foreground_values: list[NDArray[np.float64]] = []
        self._image_means: list[NDArray[np.float64]] = []
        self._textures: list[float] = []
        self._num_empty = 0
        self._objects: dict[int, list[ObjectShapes]] = {index: [] for index in task.foreground}

    def add(self, image: ImageMeasurement, group: str) -> None:
        """Add one image and the name of its group."""
        self._groups.append(group)
        self._sizes.append(image.size)
        self._num_valid += image.num_valid_pixels
        counts = image.class_counts
        self._class_counts = counts if self._class_counts is None else self._class_counts + counts
        # Drawn with replacement, so any part of them is drawn evenly too.
        self._values.append(image.values[: self._share])
        self._labels.append(image.labels[: self._share])
        self._foreground_values.append(image.foreground_values[: self._share])
        if len(image.values):
            self._image_means.append(image.values.mean(axis=0))
        self._textures.append(image.texture)
        self._num_empty += image.is_empty
        for index, shapes in image.objects.items():
            self._objects[index].append(self._thin(shapes, len(self._sizes)))

    def _thin(self, shapes: ObjectShapes, index: int) -> ObjectShapes:
        if len(shapes.areas) <= self._kept_objects:
            return shapes
        chosen = generator_for(1, index).choice(
            len(shapes.areas), self._kept_objects, replace=False
        )
        share = self._kept_objects / len(shapes.areas)
        return ObjectShapes(
            num_objects=shapes.num_objects,
            areas=shapes.areas[chosen],
            widths=shapes.widths[chosen],
            extents=shapes.extents[chosen],
            boundary_pixels=shapes.boundary_pixels,
            skeleton_pixels=shapes.skeleton_pixels,
            num_pixels=shapes.num_pixels,
            num_touching=round(shapes.num_touching * share),
            contrast=shapes.contrast,
        )

    def build(
        self,
        *,
        digest: str,
        dtype: str,
        spacing: Sequence[float] = (),
        top_bottom_difference: float = 0.0,
        left_right_difference: float = 0.0,
    ) -> Fingerprint:
        """Return the fingerprint of the images added.

        Args:
            digest: Of the files.
            dtype: Of the pixels.
            spacing: Side of a pixel, in metres, of the images that tell it.
            top_bottom_difference: See `Fingerprint`.
            left_right_difference: See `Fingerprint`.

        Raises:
            DataError: If no image was added.
        """
        if not self._sizes or self._class_counts is None:
            raise DataError("there is no training image to measure; add images or change the split")
        task = self._task
        total = max(1, self._num_valid)
        names = ("background", *task.class_names) if task.kind == "binary" else task.class_names
        heights, widths = np.array(self._sizes, dtype=np.float64).T
        return Fingerprint(
            digest=digest,
            task_kind=task.kind,
            class_names=task.class_names,
            in_channels=self._values[0].shape[1],
            dtype=dtype,
            num_images=len(self._sizes),
            num_groups=len(set(self._groups)),
            heights=_quantiles(heights),
            widths=_quantiles(widths),
            spacing=_quantiles(np.array(spacing, dtype=np.float64)),
            num_pixels=int((heights * widths).sum()),
            class_shares={
                name: int(count) / total
                for name, count in zip(names, self._class_counts, strict=True)
            },
            channels=self._describe_channels(),
            classes={
                task.class_names[index]: self._describe_class(index) for index in task.foreground
            },
            empty_share=self._num_empty / len(self._sizes),
            **self._measure_information(),
            texture=float(np.median(self._textures)),
            top_bottom_difference=top_bottom_difference,
            left_right_difference=left_right_difference,
        )

    def _describe_channels(self) -> tuple[ChannelStatistics, ...]:
        values = np.concatenate(self._values)
        foreground = np.concatenate(self._foreground_values)
        is_outside = ~np.isin(np.concatenate(self._labels), self._foreground_labels())
        means = np.stack(self._image_means) if self._image_means else values[:0]
        described = []
        for channel in range(values.shape[1]):
            own = values[:, channel][np.isfinite(values[:, channel])]
            inside = foreground[:, channel][np.isfinite(foreground[:, channel])]
            outside = values[is_outside, channel]
            outside = outside[np.isfinite(outside)]
            std = float(own.std()) if own.size else 0.0
            edges = _bin_edges(own)
            clipped = np.clip(own, *np.percentile(own, CLIPPED)) if own.size else own
            described.append(
                ChannelStatistics(
                    mean=float(own.mean()) if own.size else 0.0,
                    std=std,
                    percentiles=_quantiles(own),
                    foreground_mean=float(inside.mean()) if inside.size else None,
                    foreground_std=float(inside.std()) if inside.size else None,
                    foreground_percentiles=_quantiles(inside),
                    background_mean=float(outside.mean()) if outside.size else None,
                    background_std=float(outside.std()) if outside.size else None,
                    background_percentiles=_quantiles(outside),
                    histogram=_count_bins(own, edges),
                    foreground_histogram=_count_bins(inside, edges),
                    between_images=float(np.nanstd(means[:, channel])) / std if std > 0 else 0.0,
                    clipped_mean=float(clipped.mean()) if own.size else 0.0,
                    clipped_std=float(clipped.std()) if own.size else 0.0,
                )
            )
        return tuple(described)

    def _foreground_labels(self) -> list[int]:
        """Return the labels, as `ImageMeasurement.labels` has them, of foreground classes."""
        shift = 0 if self._task.kind == "multiclass" else 1
        return [index + shift for index in self._task.foreground]

    def _measure_information(self) -> dict[str, float]:
        """Return what pixels tell of their class, as they are and normalised image by image."""
        values = np.concatenate(self._values)
        labels = np.concatenate(self._labels).astype(np.int64)
        images = np.repeat(np.arange(len(self._values)), [len(part) for part in self._values])
        _, group_of_image = np.unique(self._groups, return_inverse=True)
        groups = group_of_image[images]
        is_finite = np.isfinite(values).all(axis=1)
        values, labels = values[is_finite], labels[is_finite]
        images, groups = images[is_finite], groups[is_finite]
        normalised = normalise_images(values, images)
        return {
            "information": held_out_information(values, labels, groups),
            "information_normalised": held_out_information(normalised, labels, groups),
        }

    def _describe_class(self, index: int) -> ClassStatistics:
        images = self._objects[index]
        counts = self._class_counts
        assert counts is not None
        pixels = int(counts[1 if self._task.kind == "binary" else index])
        areas = np.concatenate([shapes.areas for shapes in images]) if images else np.empty(0)
        widths = np.concatenate([shapes.widths for shapes in images]) if images else np.empty(0)
        extents = np.concatenate([shapes.extents for shapes in images]) if images else np.empty(0)
        num_pixels = max(1, sum(shapes.num_pixels for shapes in images))
        contrasts = [shapes.contrast for shapes in images if shapes.contrast is not None]
        measured = max(1, sum(len(shapes.areas) for shapes in images))
        return ClassStatistics(
            pixel_share=pixels / max(1, self._num_valid),
            image_share=len(images) / len(self._sizes),
            num_objects=sum(shapes.num_objects for shapes in images),
            objects_per_image=_quantiles(
                np.array([shapes.num_objects for shapes in images], dtype=np.float64)
            ),
            area=_quantiles(areas),
            area_histogram=_count_bins(
                areas, np.exp2(np.arange(_doublings(areas) + 1, dtype=np.float64))
            ),
            width=_quantiles(widths),
            extent=_quantiles(extents),
            elongation=_weighted_median(areas / np.square(widths), areas),
            thinness=sum(shapes.skeleton_pixels for shapes in images) / num_pixels,
            typical_width=_weighted_median(widths, areas),
            boundary_share=sum(shapes.boundary_pixels for shapes in images) / num_pixels,
            touching_share=sum(shapes.num_touching for shapes in images) / measured,
            contrast=float(np.median(contrasts)) if contrasts else None,
        )


def build_fingerprint(
    measurements: Iterable[tuple[ImageMeasurement, str]],
    task: Task,
    num_images: int,
    **facts: Any,
) -> Fingerprint:
    """Return the fingerprint of images, each with its group; see `FingerprintBuilder.build`."""
    builder = FingerprintBuilder(task, num_images)
    for measurement, group in measurements:
        builder.add(measurement, group)
    return builder.build(**facts)


def _bin_edges(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return even edges over what is not extreme."""
    low, high = np.percentile(values, (0.1, 99.9)) if values.size else (0.0, 1.0)
    return np.linspace(low, high if high > low else low + 1, NUM_BINS + 1)


def _doublings(areas: NDArray[np.float64]) -> int:
    return max(1, int(np.ceil(np.log2(areas.max(initial=1) + 1))))


def _count_bins(values: NDArray[np.float64], edges: NDArray[np.float64]) -> Histogram:
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return Histogram(tuple(map(float, edges)), tuple(map(int, counts)))


def _quantiles(values: NDArray[np.float64]) -> Quantiles:
    if not values.size:
        return {}
    found = np.percentile(values, PERCENTILES)
    return {f"{percent:g}": float(value) for percent, value in zip(PERCENTILES, found, strict=True)}


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the value below which half of the weight lies; 0 of nothing."""
    if not values.size:
        return 0.0
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, reached[-1] / 2)])


def total_variation(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the total variation distance of two class distributions, in [0, 1]."""
    totals = max(1, sum(first)), max(1, sum(second))
    pairs = zip(first, second, strict=True)
    return sum(abs(a / totals[0] - b / totals[1]) for a, b in pairs) / 2
