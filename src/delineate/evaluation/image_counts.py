"""The counts of each image of a split, kept beside the scores, so that models can be compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import DataError
from delineate.files import write_text
from delineate.metrics.confusion import ConfusionCounts
from delineate.task import Task

if TYPE_CHECKING:
    from delineate.evaluation.scoring import ImageScores

FILE_NAME = "image-counts.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ImageCounts:
    """What a model made of each image of a split."""

    split: str
    task: Task
    names: tuple[str, ...]
    groups: tuple[str, ...]
    counts: tuple[ConfusionCounts, ...]

    @property
    def total(self) -> ConfusionCounts:
        """The counts of all images."""
        return sum(self.counts, start=ConfusionCounts(self.task))


def save_image_counts(
    folder: Path, split: str, images: Sequence[ImageScores], groups: Sequence[str]
) -> None:
    """Write the confusion matrix of each image into `folder`.

    Args:
        folder: Of the run or of the evaluation.
        split: train, val or test.
        images: The scored images.
        groups: The group of each.
    """
    document = {
        "format_version": FORMAT_VERSION,
        "split": split,
        "task": images[0].counts.task.as_dict() if images else None,
        "images": [
            {"name": image.name, "group": group, "matrix": image.counts.matrix.tolist()}
            for image, group in zip(images, groups, strict=True)
        ],
    }
    write_text(folder / FILE_NAME, json.dumps(document, sort_keys=True) + "\n")


def load_image_counts(path: Path) -> ImageCounts:
    """Read what `save_image_counts` wrote.

    Raises:
        DataError: If the file is missing, damaged or of another version.
    """
    try:
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if document["format_version"] != FORMAT_VERSION:
            raise ValueError(f"its format version is {document['format_version']}")
        task = Task.from_dict(document["task"])
        images = document["images"]
        return ImageCounts(
            split=document["split"],
            task=task,
            names=tuple(image["name"] for image in images),
            groups=tuple(image["group"] for image in images),
            counts=tuple(
                ConfusionCounts(task, np.array(image["matrix"], dtype=np.int64)) for image in images
            ),
        )
    except FileNotFoundError:
        raise DataError(
            f"{path} is not there; evaluate the run first: delineate evaluate RUN DATA"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read ({error}); evaluate the run again") from error
