"""Pictures of validation predictions: a few small ones each epoch, larger ones at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from delineate.pictures import error_overlay, gallery, label_picture, shrink, to_rgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.task import Task
    from delineate.training.preparation import Preparation
    from delineate.training.validation import KeptImage, Validation

    Picture = NDArray[np.uint8]

GALLERY_SIZE = 6
"""Validation images in the gallery, at most."""
PICTURE_SIZE = 320
"""Longer side of a picture in the gallery, in pixels."""
TILE_SIZE = 128
"""Longer side of a picture of an epoch, in pixels."""
TIME_SHARE = 0.01
"""Share of the time since the first epoch's picture that pictures of epochs may take, drawing and
writing together."""
_THINNING = 20


def draw_gallery(prep: Preparation, validation: Validation) -> Picture:
    """Return rows of image, truth, prediction and errors, (H, W, 3)."""
    task = prep.task
    shown = _spread(validation.kept, GALLERY_SIZE)
    rows = []
    for image in shown:
        rgb = to_rgb(image.pixels)
        mask = validation.mask(image)
        row = [
            rgb,
            label_picture(image.target, task),
            label_picture(mask, task),
            error_overlay(rgb, mask, image.target, task),
        ]
        rows.append([shrink(picture, PICTURE_SIZE) for picture in row])
    return gallery(
        rows,
        captions=[_short_name(image) for image in shown],
        headings=("image", "truth", "prediction", "errors"),
        cell_size=PICTURE_SIZE,
    )


class EpochPictures:
    """Draws the same few validation images epoch after epoch, to watch a network learn.

    The first `_THINNING` epochs are all drawn, then every second one, every third and so on; none
    is drawn where pictures have already taken more than `TIME_SHARE` of the time.
    """

    def __init__(self, task: Task, num_images: int, take: Callable[[Picture], None]) -> None:
        """Prepare pictures of some images.

        Args:
            task: What is segmented.
            num_images: Rows of a picture; 0 draws none.
            take: Writes a picture.
        """
        self._task = task
        self._take = take
        self._num_images = num_images
        self._fixed: dict[int, tuple[Picture, Picture]] = {}
        self._started: float | None = None
        self.seconds = 0.0
        """Spent so far."""

    def show(self, validation: Validation, epoch: int) -> None:
        """Draw and write an epoch, if it is due.

        Args:
            validation: Of the epoch.
            epoch: Counted from 1.
        """
        if not self._num_images or not validation.kept or not self._is_due(epoch):
            return
        before = time.perf_counter()
        self._take(self._draw(validation))
        self.seconds += time.perf_counter() - before

    def _draw(self, validation: Validation) -> Picture:
        """Return rows of image, truth, prediction and probability, (H, W, 3)."""
        shown = _spread(validation.kept, self._num_images)
        rows = [
            [
                *self._fix(image),
                shrink(label_picture(validation.mask(image), self._task), TILE_SIZE),
                shrink(picture_probability(image), TILE_SIZE),
            ]
            for image in shown
        ]
        return gallery(
            rows,
            captions=[_short_name(image) for image in shown],
            headings=("image", "truth", "prediction", "probability"),
            cell_size=TILE_SIZE,
        )

    def _is_due(self, epoch: int) -> bool:
        now = time.perf_counter()
        if self._started is None:
            self._started = now
            return True
        is_cheap = self.seconds <= TIME_SHARE * (now - self._started)
        return is_cheap and epoch % (1 + epoch // _THINNING) == 0

    def _fix(self, image: KeptImage) -> tuple[Picture, Picture]:
        """Return what stays the same from epoch to epoch."""
        if image.index not in self._fixed:
            self._fixed[image.index] = (
                shrink(to_rgb(image.pixels), TILE_SIZE),
                shrink(label_picture(image.target, self._task), TILE_SIZE),
            )
        return self._fixed[image.index]


def picture_probability(image: KeptImage) -> Picture:
    """Return the probability in grey, (H, W, 3): black is 0, white is 1.

    Of several classes it is that of the most probable one.
    """
    grey = image.certainty
    if grey is None:
        grey = np.rint(255 * image.output.max(axis=0).astype(np.float32)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _spread(images: Sequence[KeptImage], wanted: int) -> list[KeptImage]:
    """Return so many images from all over the split, or all of them."""
    if len(images) <= wanted:
        return list(images)
    return [images[number * len(images) // wanted] for number in range(wanted)]


def _short_name(image: KeptImage) -> str:
    return image.name.rpartition("/")[2]
