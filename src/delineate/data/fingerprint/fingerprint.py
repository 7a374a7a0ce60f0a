"""The fingerprint of a data set: what the planner decides on, in numbers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate.data.fingerprint.image import ImageMeasurement, ObjectShapes
from delineate.errors import DataError
from delineate.files import write_text
from delineate.randomness import generator_for
from delineate.task import Task

FORMAT_VERSION = 1
FILE_NAME = "fingerprint.json"
PERCENTILES = (0.5, 5.0, 25.0, 50.0, 75.0, 95.0, 99.5)
KEPT_VALUES = 1 << 20
"""Sampled pixel values kept over all images."""
KEPT_OBJECTS = 1 << 16
"""Objects kept per class over all images."""

Quantiles = dict[str, float]
"""Percentile, as "50" or "99.5", to value."""


@dataclass(frozen=True)
class ChannelStatistics:
    """One input channel over the training images, in the units of the files."""

    mean: float
    std: float
    percentiles: Quantiles
    foreground_mean: float | None
    """None where no image has foreground."""
    foreground_std: float | None
    foreground_percentiles: Quantiles
    between_images: float
    """Standard deviation of the images' means over that of all pixels: 0 where all images are
    equally bright, towards 1 where an image's brightness says all."""


@dataclass(frozen=True)
class ClassStatistics:
    """One foreground class over the training images."""

    pixel_share: float
    """Of the valid pixels."""
    image_share: float
    """Of the images."""
    num_objects: int
    objects_per_image: Quantiles
    """In the images that show the class."""
    area: Quantiles
    """Of the objects, in pixels."""
    width: Quantiles
    """Of the objects, in pixels."""
    elongation: float
    """Median length of the objects in widths, by area: about 2 for a disc, more for lines.

    Weighted by area: what most of the class's pixels belong to."""
    typical_width: float
    """Median width, in pixels, of the object that a pixel of the class belongs to."""
    boundary_share: float
    """Of the class's pixels, those that lie on its boundary."""
    touching_share: float
    """Of the objects, those with another within two pixels."""
    contrast: float | None
    """Median over the images, in standard deviations."""


@dataclass(frozen=True)
class Fingerprint:
    """What was measured of the training images."""

    digest: str
    """Of the files and of what the settings make of them."""
    task_kind: str
    class_names: tuple[str, ...]
    in_channels: int
    dtype: str
    num_images: int
    num_groups: int
    heights: Quantiles
    widths: Quantiles
    num_pixels: int
    class_shares: dict[str, float]
    """Share of the valid pixels; binary sets name the background too."""
    channels: tuple[ChannelStatistics, ...]
    classes: dict[str, ClassStatistics]
    empty_share: float
    """Of the images, those without foreground."""
    texture: float
    """Median over the images, 0 (smooth) to about 1 (noise)."""
    top_bottom_difference: float
    """Share of the top half's pixels whose class would have to change to match the bottom."""
    left_right_difference: float
    """The same of the left and the right half."""

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description; `Fingerprint.from_dict` is its inverse."""
        return {"format_version": FORMAT_VERSION, **asdict(self)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Fingerprint:
        """Build a fingerprint from what `as_dict` returned.

        Raises:
            DataError: If the document is of another version or not a fingerprint.
        """
        fields = dict(document)
        found = fields.pop("format_version", None)
        if found != FORMAT_VERSION:
            raise DataError(
                f"a fingerprint has the format version {found}; this program reads "
                f"{FORMAT_VERSION}: delete the file and measure again"
            )
        try:
            fields["class_names"] = tuple(fields["class_names"])
            fields["channels"] = tuple(ChannelStatistics(**one) for one in fields["channels"])
            fields["classes"] = {
                name: ClassStatistics(**one) for name, one in fields["classes"].items()
            }
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise DataError(
                f"a fingerprint is incomplete ({error}); delete the file and measure again"
            ) from error


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
        self._foreground_values: list[NDArray[np.float64]] = []
        self._image_means: list[NDArray[np.float64]] = []
        self._textures: list[float] = []
        self._num_empty = 0
        self._objects: dict[int, list[ObjectShapes]] = {index: [] for index in task.foreground}

    def add(self, image: ImageMeasurement) -> None:
        """Add one image."""
        self._sizes.append(image.size)
        self._num_valid += image.num_valid_pixels
        counts = image.class_counts
        self._class_counts = counts if self._class_counts is None else self._class_counts + counts
        # Drawn with replacement, so any part of them is drawn evenly too.
        self._values.append(image.values[: self._share])
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
            boundary_pixels=shapes.boundary_pixels,
            num_pixels=shapes.num_pixels,
            num_touching=round(shapes.num_touching * share),
            contrast=shapes.contrast,
        )

    def build(
        self,
        *,
        digest: str,
        dtype: str,
        num_groups: int,
        top_bottom_difference: float = 0.0,
        left_right_difference: float = 0.0,
    ) -> Fingerprint:
        """Return the fingerprint of the images added.

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
            num_groups=num_groups,
            heights=_quantiles(heights),
            widths=_quantiles(widths),
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
            texture=float(np.median(self._textures)),
            top_bottom_difference=top_bottom_difference,
            left_right_difference=left_right_difference,
        )

    def _describe_channels(self) -> tuple[ChannelStatistics, ...]:
        values = np.concatenate(self._values)
        foreground = np.concatenate(self._foreground_values)
        means = np.stack(self._image_means) if self._image_means else values[:0]
        described = []
        for channel in range(values.shape[1]):
            own = values[:, channel][np.isfinite(values[:, channel])]
            inside = foreground[:, channel][np.isfinite(foreground[:, channel])]
            std = float(own.std()) if own.size else 0.0
            described.append(
                ChannelStatistics(
                    mean=float(own.mean()) if own.size else 0.0,
                    std=std,
                    percentiles=_quantiles(own),
                    foreground_mean=float(inside.mean()) if inside.size else None,
                    foreground_std=float(inside.std()) if inside.size else None,
                    foreground_percentiles=_quantiles(inside),
                    between_images=float(np.nanstd(means[:, channel])) / std if std > 0 else 0.0,
                )
            )
        return tuple(described)

    def _describe_class(self, index: int) -> ClassStatistics:
        images = self._objects[index]
        counts = self._class_counts
        assert counts is not None
        pixels = int(counts[1 if self._task.kind == "binary" else index])
        areas = np.concatenate([shapes.areas for shapes in images]) if images else np.empty(0)
        widths = np.concatenate([shapes.widths for shapes in images]) if images else np.empty(0)
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
            width=_quantiles(widths),
            elongation=_weighted_median(areas / np.square(widths), areas),
            typical_width=_weighted_median(widths, areas),
            boundary_share=sum(shapes.boundary_pixels for shapes in images)
            / max(1, sum(shapes.num_pixels for shapes in images)),
            touching_share=sum(shapes.num_touching for shapes in images) / measured,
            contrast=float(np.median(contrasts)) if contrasts else None,
        )


def build_fingerprint(
    measurements: Iterable[ImageMeasurement],
    task: Task,
    num_images: int,
    **facts: Any,
) -> Fingerprint:
    """Return the fingerprint of measured images; `facts` go to `FingerprintBuilder.build`."""
    builder = FingerprintBuilder(task, num_images)
    for measurement in measurements:
        builder.add(measurement)
    return builder.build(**facts)


def save_fingerprint(fingerprint: Fingerprint, path: Path) -> None:
    """Write a fingerprint as JSON."""
    text = json.dumps(fingerprint.as_dict(), indent=1, sort_keys=True, allow_nan=False)
    write_text(path, text + "\n")


def load_fingerprint(path: Path) -> Fingerprint:
    """Read a fingerprint.

    Raises:
        DataError: If the file is missing, no JSON, or not a fingerprint of this version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as a fingerprint ({error}); delete it and measure again"
        ) from error
    if not isinstance(document, dict):
        raise DataError(f"{path} holds no fingerprint; delete it and measure again")
    return Fingerprint.from_dict(document)


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
