"""The labels that the out-of-fold predictions contradict: a table, and pictures of the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.evaluation.suspects import Suspect, find_suspects, save_suspects
from delineate.pictures import gallery, overlay, to_rgb
from delineate.rasters import write_image
from delineate.training.folds.out_of_fold import FOLDER, read_probs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.task import Task
    from delineate.training.folds.ensemble import Pool

TABLE, PICTURES = "suspects.csv", "suspects.png"
NUM_SHOWN = 8
"""Regions in the picture."""

_CELL = 288
_NAME_LENGTH = 20
_SURROUNDINGS = 1.0
_LEAST_SIDE = 64
_FRAME = (255, 40, 40)


def check_labels(pool: Pool, task: Task, thresholds: Sequence[float] | None) -> tuple[Suspect, ...]:
    """Write `suspects.csv` and `suspects.png` beside the out-of-fold predictions.

    Args:
        pool: The images.
        task: What labels and probabilities mean.
        thresholds: One per class; None is 0.5, or the most probable class.

    Returns:
        The regions that are listed, the most suspect first.
    """

    def images() -> Iterator[tuple[str, NDArray[np.float32], NDArray[Any]]]:
        for image in pool.labelled():
            target = np.asarray(image.target)
            if image.valid is not None:
                target = np.where(image.valid, target, np.uint8(task.ignore_index))
            yield image.name, read_probs(pool.run, image.name), target

    suspects = find_suspects(images, task, thresholds)
    folder = pool.run / FOLDER
    save_suspects(suspects, folder / TABLE)
    if suspects:
        write_image(folder / PICTURES, _draw(pool, suspects[:NUM_SHOWN], task, thresholds))
    return tuple(suspects)


def _draw(
    pool: Pool, suspects: Sequence[Suspect], task: Task, thresholds: Sequence[float] | None
) -> NDArray[np.uint8]:
    """Return rows of image, label and prediction around each region, framed."""
    index_of = {sample.name: index for index, sample in enumerate(pool.samples)}
    rows = []
    for one in suspects:
        pixels, target, _ = pool.images[index_of[one.image]]
        mask = task.mask(read_probs(pool.run, one.image), thresholds)
        place = _surround(one, pixels.shape[:2])
        rgb = to_rgb(pixels)
        pictures = (rgb, overlay(rgb, target, task), overlay(rgb, mask, task))
        rows.append([_frame(picture, one)[place] for picture in pictures])
    return gallery(
        rows,
        captions=[
            f"{rank}. {_shorten(one.image)}, row {one.row}, column {one.col}: "
            f"labelled {one.label}, predicted {one.suggestion}"
            for rank, one in enumerate(suspects, start=1)
        ],
        headings=("image", "label", "prediction"),
        cell_size=_CELL,
    )


def _shorten(name: str) -> str:
    """Return the last part of an image's name, if need be its middle left out."""
    last = name.rpartition("/")[2]
    half = _NAME_LENGTH // 2
    return last if len(last) <= _NAME_LENGTH else f"{last[:half]}...{last[-half:]}"


def _surround(one: Suspect, size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the part of an image to show: the region, and as much again on each side."""
    slices = []
    for start, length, whole in ((one.row, one.height, size[0]), (one.col, one.width, size[1])):
        side = max(int(max(one.height, one.width) * (1 + 2 * _SURROUNDINGS)), _LEAST_SIDE)
        first = max(0, start + length // 2 - side // 2)
        slices.append(slice(first, min(whole, first + side)))
    return slices[0], slices[1]


def _frame(picture: NDArray[np.uint8], one: Suspect) -> NDArray[np.uint8]:
    """Return the picture with a frame of one pixel around the bounding box."""
    framed = picture.copy()
    top, left = max(one.row - 1, 0), max(one.col - 1, 0)
    bottom = min(one.row + one.height, len(picture) - 1)
    right = min(one.col + one.width, picture.shape[1] - 1)
    framed[[top, bottom], left : right + 1] = _FRAME
    framed[top : bottom + 1, [left, right]] = _FRAME
    return framed
