"""Learn from other networks: their probabilities beside the labels.

The targets of training get planes more: the probability that the teachers give to each class, in
254 steps. They are cut, turned and warped with the labels, and the loss is a mixture of that of the
labels and of the cross-entropy to these probabilities (https://arxiv.org/abs/1503.02531, at
temperature 1).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from delineate.data.cache import DecodedSample, ImageCache
from delineate.data.resolution import grid_to
from delineate.errors import DataError
from delineate.files import write_text
from delineate.training.objective import Loss
from delineate.training.run_folder import TEACHING

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.task import Task

    ReadProbs = Callable[[str], NDArray[np.float32]]

STEPS = 254
"""Steps between the probabilities 0 and 1 as they are taught; 255 lies outside of the image."""


@dataclass(frozen=True)
class Teaching:
    """What a training learns beside its labels."""

    read_probs: ReadProbs
    """Name of an image to its probabilities on its own grid, (C, H, W)."""
    share: float
    """Of the loss, that the teachers' part has; 0 to 1."""


def save_share(run: Path, share: float) -> None:
    """Say in the folder of a run that it is taught by the out-of-fold predictions beside it."""
    write_text(run / TEACHING, json.dumps({"share": share}) + "\n")


def load_share(run: Path) -> float | None:
    """Return what `save_share` wrote; None where a run has no teachers.

    Raises:
        DataError: If the file is damaged.
    """
    path = run / TEACHING
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["share"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}); start the training anew") from error


class TaughtImages(Sequence[DecodedSample]):
    """Training images whose targets have the teachers' probabilities as planes more."""

    def __init__(
        self,
        images: Sequence[DecodedSample],
        cache: ImageCache,
        teaching: Teaching,
        pixel_size: tuple[float, float] | None,
    ) -> None:
        """Read all probabilities.

        Args:
            images: The images, as they are to be learned from.
            cache: Where they come from; names them.
            teaching: The teachers.
            pixel_size: Size of the pixels that images were brought to; None leaves them alone.

        Raises:
            UnreadableFileError: If probabilities are missing or damaged.
        """
        self._images = images
        self._codes = []
        for sample in cache.samples:
            probs = teaching.read_probs(sample.name)
            grid = grid_to(sample.image, pixel_size)
            if grid is not None:
                moved, _ = grid.resample_image(np.moveaxis(probs, 0, -1), None)
                probs = np.moveaxis(moved, -1, 0)
            self._codes.append(np.rint(probs.clip(0, 1) * STEPS).astype(np.uint8))

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> DecodedSample:  # type: ignore[override]
        image = self._images[index]
        labels = image.target if image.target.ndim == 3 else image.target[None]
        return image._replace(target=np.concatenate([labels, self._codes[index]]))


def mix_losses(loss: Loss, task: Task, share: float) -> Loss:
    """Return the loss of logits against labels and probabilities together.

    Its target has the planes of `TaughtImages`, (B, K, H, W). Pixels whose label does not count do
    not count for the teachers either.

    Args:
        loss: Of the labels.
        task: What logits and labels mean.
        share: Of the teachers' part, 0 to 1.
    """

    def mixed(logits: Tensor, target: Tensor, valid: Tensor | None) -> Tensor:
        planes, codes = target[:, : -task.num_classes], target[:, -task.num_classes :]
        counted = (planes != task.ignore_index) & (codes <= STEPS)
        if valid is not None:
            counted = counted & valid
        labels = planes if task.kind == "multilabel" else planes[:, 0]
        probs = codes.clamp(max=STEPS).to(logits.dtype) / STEPS
        taught = soft_cross_entropy(logits, probs, counted, task)
        return (1 - share) * loss(logits, labels, valid) + share * taught

    return mixed


def soft_cross_entropy(logits: Tensor, probs: Tensor, counted: Tensor, task: Task) -> Tensor:
    """Return the mean cross-entropy of logits to probabilities over the pixels that count.

    Args:
        logits: (B, C, H, W).
        probs: What they should become, (B, C, H, W).
        counted: Pixels that count, bool, (B, C, H, W), or of a multiclass task in any channel.
        task: Says whether classes exclude each other.
    """
    if task.kind == "multiclass":
        # Codes are rounded one by one, so that they add up to 1 only about.
        probs = probs / probs.sum(dim=1, keepdim=True).clamp(min=1 / STEPS)
        pixels = -(probs * F.log_softmax(logits, dim=1)).sum(dim=1)
        weights = counted.any(dim=1).to(pixels.dtype)
    else:
        pixels = F.binary_cross_entropy_with_logits(logits, probs, reduction="none")
        weights = counted.expand_as(pixels).to(pixels.dtype)
    return (pixels * weights).sum() / weights.sum().clamp(min=1)
