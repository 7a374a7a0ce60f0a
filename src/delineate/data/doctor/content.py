"""What the pixels of an image and of its mask say about each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.task import Task


@dataclass(frozen=True)
class Content:
    """Facts about one image and its decoded mask."""

    class_pixels: tuple[int, ...]
    """Pixels of each class (binary: background, foreground; multilabel: positives)."""
    num_ignored: int
    """Pixels that do not count."""


def measure_content(pixels: NDArray[Any], target: NDArray[np.uint8], task: Task) -> Content:
    """Measure one image and its mask.

    Args:
        pixels: (H, W, C) of the image.
        target: Class indices, (H, W); multilabel (K, H, W). `task.ignore_index` does not count.
        task: What the indices mean.
    """
    counted = target != task.ignore_index
    if task.kind == "multilabel":
        counts = [int((band == 1).sum()) for band in target]
    else:
        num_classes = 2 if task.kind == "binary" else task.num_classes
        counts = np.bincount(target[counted], minlength=num_classes).tolist()
    return Content(tuple(counts), int(target.size - counted.sum()))
