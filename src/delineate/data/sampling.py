"""Which training patches are drawn, and how often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate.errors import DataError
from delineate.task import Task

Size = tuple[int, int]
ClassPixels = Mapping[int, NDArray[np.int32]]
"""Class index to some of its pixels, (n, 2) of (row, col)."""

PIXELS_PER_CLASS = 1000
"""Pixels of a class that are remembered per image."""


def find_class_pixels(
    target: NDArray[Any], task: Task, rng: np.random.Generator, limit: int = PIXELS_PER_CLASS
) -> dict[int, NDArray[np.int32]]:
    """Return some pixels of each foreground class that a target shows.

    Args:
        target: (H, W), or (K, H, W) for a multilabel task.
        task: Says which classes are foreground; the class of a binary task is 0, its channel.
        rng: Chooses among the pixels of a class that has more than `limit`.
        limit: Largest number of pixels per class, drawn evenly (and with replacement).
    """
    found: dict[int, NDArray[np.int32]] = {}
    for index in task.foreground:
        if task.kind == "multilabel":
            positions = np.flatnonzero(target[index] == 1)
        else:
            positions = np.flatnonzero(target == (1 if task.kind == "binary" else index))
        if not positions.size:
            continue
        if positions.size > limit:
            positions = positions[rng.integers(positions.size, size=limit)]
        rows, cols = np.divmod(positions, target.shape[-1])
        found[index] = np.stack([rows, cols], axis=1).astype(np.int32)
    return found


class PatchSampler:
    """Draws an image and the pixel that a patch is centred on.

    With the odds `foreground_odds` a patch is drawn for a class: one of the foreground classes
    that the training images show, each as likely; then one of the images that show it, each as
    likely; then one of its pixels, which lies within a quarter of the patch's sides of the
    centre. The other patches are centred on a pixel drawn evenly over all pixels of all images,
    so large images get their share.
    """

    def __init__(
        self,
        sizes: Sequence[Size],
        class_pixels: Sequence[ClassPixels],
        *,
        foreground_odds: float = 0.33,
    ) -> None:
        """Take the images' (height, width) and what `find_class_pixels` found in each.

        Raises:
            DataError: If there is no image or one has no pixels.
        """
        if not sizes or min(min(size) for size in sizes) < 1:
            raise DataError(
                f"training has {len(sizes)} images; it needs at least one, of at least one pixel"
            )
        self._sizes = list(sizes)
        self._pixels = list(class_pixels)
        self._odds = foreground_odds
        self._areas = np.cumsum([height * width for height, width in sizes])
        classes = sorted({index for found in class_pixels for index in found})
        self._images_of = [
            (index, [image for image, found in enumerate(class_pixels) if index in found])
            for index in classes
        ]

    def draw(self, rng: np.random.Generator, window_size: Size) -> tuple[int, int, int]:
        """Return the image's index and the row and column of the centre.

        Args:
            rng: Where every draw comes from.
            window_size: (height, width) of the patch in the image.
        """
        if self._images_of and rng.random() < self._odds:
            index, images = self._images_of[rng.integers(len(self._images_of))]
            image = images[rng.integers(len(images))]
            pixels = self._pixels[image][index]
            row, col = pixels[rng.integers(len(pixels))]
            reach = np.array(window_size) // 4
            away = rng.integers(-reach, reach + 1)
            return image, int(row + away[0]), int(col + away[1])
        position = int(rng.integers(self._areas[-1]))
        image = int(np.searchsorted(self._areas, position, side="right"))
        height, width = self._sizes[image]
        row, col = divmod(position - int(self._areas[image]) + height * width, width)
        return image, row, col


def place_window(centre: tuple[int, int], size: Size, window_size: Size) -> tuple[int, int]:
    """Return the top left corner of a window, shifted inwards so that it leaves the image least.

    An image that is smaller than the window lies in its middle. Where it is larger, a pixel on
    the border is seen half as often as one inside, for centres that are spread evenly; without
    the shift its patches would be half empty.

    Args:
        centre: Row and column of the wanted centre; may lie outside the image.
        size: (height, width) of the image.
        window_size: (height, width) of the window.
    """
    row, col = (
        -((window - side) // 2)
        if window > side
        else min(max(middle - window // 2, 0), side - window)
        for middle, side, window in zip(centre, size, window_size, strict=True)
    )
    return row, col
