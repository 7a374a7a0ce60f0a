"""Images of one data set brought to pixels of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from delineate.data.cache import DecodedSample
from delineate.errors import DataError
from delineate.raster_windows import (
    Grid,
    PixelSize,
    format_pixel_size,
    is_alike,
    plan_grid,
    read_pixel_size,
)
from delineate.rasters import MAX_PIXELS, read_header

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.task import Task

WantedResolution = float | Literal["auto", "native"]
"""Metres of a pixel; auto brings images that differ to their median, native changes nothing."""

_NUM_SHOWN = 5


@dataclass(frozen=True)
class Resolution:
    """At what pixel size images are learned from."""

    pixel_size: PixelSize | None
    """Of the images as they are learned from; None where it is not known or not the same."""
    num_resampled: int
    """Images that are brought to it."""
    reason: str
    """Why, with the numbers that it rests on."""


def choose_resolution(
    paths: Sequence[Path], sizes: Sequence[PixelSize | None], wanted: WantedResolution = "auto"
) -> Resolution:
    """Return the pixel size to learn at.

    Sizes within `raster_windows.pixel_size.TOLERANCE` of their median count as one.

    Args:
        paths: Training images, for messages.
        sizes: Sizes of their pixels, None where a file does not tell.
        wanted: What the settings say.

    Raises:
        DataError: If a size is given and images do not tell their own.
    """
    if wanted == "native":
        return Resolution(None, 0, "each image is taken as it is, as you said")
    silent = [path for path, size in zip(paths, sizes, strict=True) if size is None]
    known = [size for size in sizes if size is not None]
    if isinstance(wanted, float | int):
        if silent:
            shown = ", ".join(map(str, silent[:_NUM_SHOWN]))
            raise DataError(
                f"data.resolution is {wanted:g} m but {len(silent)} of {len(paths)} images do not "
                f"tell the size of their pixels ({shown}); write them with their reference system, "
                "or set data.resolution to native"
            )
        target = (float(wanted), float(wanted))
        number = sum(not is_alike(size, target) for size in known)
        reason = f"you asked for pixels of {format_pixel_size(target)}"
        return Resolution(target, number, reason)
    if silent or not known:
        reason = f"{len(silent)} of {len(paths)} images do not tell the size of their pixels"
        return Resolution(None, 0, reason)
    middle = (median(size[0] for size in known), median(size[1] for size in known))
    if all(is_alike(size, middle) for size in known):
        return Resolution(middle, 0, f"all images have pixels of {format_pixel_size(middle)}")
    # Three digits, for the settings that people read.
    side = float(f"{median((size[0] * size[1]) ** 0.5 for size in known):.3g}")
    number = sum(not is_alike(size, (side, side)) for size in known)
    smallest, largest = min(known), max(known)
    reason = (
        f"pixels of the training images measure {format_pixel_size(smallest)} to "
        f"{format_pixel_size(largest)}"
    )
    return Resolution((side, side), number, reason)


def read_sizes(paths: Sequence[Path]) -> list[PixelSize | None]:
    """Return the size of each image's pixels; None for a header that cannot be read, too."""
    return [_read_size(path) for path in paths]


def _read_size(path: Path) -> PixelSize | None:
    try:
        return read_pixel_size(path)
    except DataError:
        # Whoever decodes the file says what is wrong with it, with all others.
        return None


def grid_to(path: Path, wanted: PixelSize | None) -> Grid | None:
    """Return the grid that brings an image to pixels of a size; None where it stays as it is.

    Args:
        path: The image.
        wanted: Size of the pixels; None leaves every image as it is.

    Raises:
        DataError: If it would become larger than `MAX_PIXELS`.
    """
    own = None if wanted is None else _read_size(path)
    if wanted is None or own is None or is_alike(own, wanted):
        return None
    grid = plan_grid(*read_header(path).size, own, wanted)
    if grid.new_height * grid.new_width > MAX_PIXELS:
        raise DataError(
            f"{path} has pixels of {format_pixel_size(own)} and would have {grid.new_height} x "
            f"{grid.new_width} of {format_pixel_size(wanted)}; leave it out, or set "
            "data.resolution"
        )
    return grid


@dataclass(frozen=True)
class Resampling:
    """Brings the images of a split to pixels of one size as they are decoded."""

    paths: tuple[Path, ...]
    """The images, in the order of the split."""
    pixel_size: PixelSize | None
    """None leaves them as they are."""
    task: Task
    """What the targets mean."""

    def __call__(self, index: int, sample: DecodedSample) -> DecodedSample:
        """Return a decoded image as it is learned from."""
        grid = grid_to(self.paths[index], self.pixel_size)
        return sample if grid is None else resample_sample(sample, grid, self.task)


def resample_sample(sample: DecodedSample, grid: Grid, task: Task) -> DecodedSample:
    """Return an image and its target on another grid.

    The image is enlarged bilinearly and reduced without aliasing. Of the target each class is
    resampled as the image is; a pixel gets the class with the largest share, and the ignore index
    where less than half of it is labelled.

    Args:
        sample: As decoded.
        grid: From its pixels to the new ones.
        task: What the target means.
    """
    pixels, valid = grid.resample_image(sample.pixels, sample.valid)
    if task.kind == "multilabel":
        target = np.stack([_resample_classes(layer, grid, 2, task) for layer in sample.target])
    else:
        num_values = 2 if task.kind == "binary" else task.num_classes
        target = _resample_classes(sample.target, grid, num_values, task)
    if valid.all():
        return DecodedSample(pixels, target, None)
    return DecodedSample(pixels, np.where(valid, target, np.uint8(task.ignore_index)), valid)


def _resample_classes(
    target: NDArray[np.uint8], grid: Grid, num_values: int, task: Task
) -> NDArray[np.uint8]:
    labelled = target != task.ignore_index
    best: NDArray[Any] = np.full((grid.new_height, grid.new_width), -1.0)
    found = np.zeros(best.shape, np.uint8)
    is_known = np.zeros(best.shape, bool)
    # Class by class, so that many of them take no more memory than one.
    for value in range(num_values):
        share, is_known = grid.resample((target == value)[..., None], labelled, grid.window)
        is_more = share[..., 0] > best
        found[is_more] = value
        best = np.maximum(best, share[..., 0])
    return np.where(is_known, found, np.uint8(task.ignore_index))
