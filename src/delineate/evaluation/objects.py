"""The true objects of an image, and how much of each was found."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from delineate.morphology import label_components, opening
from delineate.pictures import class_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from delineate.task import Task

RING_WIDTH = 5
"""Pixels around an object that its contrast is taken against."""
WIDTHS = (3, 7, 15)
"""Widths in pixels that part structures into thin and thick; odd, as discs have a middle."""
EDGE_SHARE = 0.05
"""Share of the image's shorter side from its rim that counts as the edge."""


@dataclass(frozen=True)
class ObjectTable:
    """One entry per connected part of a foreground class of the truth."""

    image: NDArray[np.intp]
    """Position of the image in the split."""
    class_index: NDArray[np.intp]
    area: NDArray[np.float64]
    """Pixels."""
    found: NDArray[np.float64]
    """Pixels of these that the prediction gives the same class."""
    contrast: NDArray[np.float64]
    """Brightness less that of a ring around it, in standard deviations of the image, unsigned;
    NaN where nothing surrounds the object."""

    def __len__(self) -> int:
        return len(self.area)


def join_tables(tables: Sequence[ObjectTable]) -> ObjectTable:
    """Return the entries of all tables."""
    return ObjectTable(
        **{
            field.name: np.concatenate([getattr(table, field.name) for table in tables])
            for field in fields(ObjectTable)
        }
    )


def measure_objects(
    image: int, grey: NDArray[np.float32], target: NDArray[Any], mask: NDArray[Any], task: Task
) -> ObjectTable:
    """Return the objects of one image.

    Args:
        image: Its position in the split.
        grey: Brightness, (H, W).
        target: True labels, (H, W); multilabel (C, H, W).
        mask: Predicted labels of the same shape.
        task: What the labels mean.
    """
    spread = max(float(grey.std()), 1e-6)
    predicted = dict(class_layers(mask, task))
    nothing, no_index = np.zeros(0), np.zeros(0, np.intp)
    tables = [ObjectTable(no_index, no_index, nothing, nothing, nothing)]
    for index, where in class_layers(target, task):
        labels, areas = label_components(where)
        count = len(areas) - 1
        if not count:
            continue
        own = labels[where]
        inside = np.bincount(own, grey[where], count + 1)[1:] / areas[1:]
        tables.append(
            ObjectTable(
                image=np.full(count, image, np.intp),
                class_index=np.full(count, index, np.intp),
                area=areas[1:].astype(np.float64),
                found=np.bincount(own, predicted[index][where], count + 1)[1:].astype(np.float64),
                contrast=np.abs(inside - _ring_means(grey, where, labels, count)) / spread,
            )
        )
    return join_tables(tables)


def _ring_means(
    grey: NDArray[np.float32], where: NDArray[np.bool_], labels: NDArray[np.int32], count: int
) -> NDArray[np.float64]:
    """Return the mean brightness around each object; NaN where nothing is around it."""
    distances, nearest = cv2.distanceTransformWithLabels(
        (~where).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP
    )
    # OpenCV numbers the same objects in an order of its own.
    ours = np.zeros(int(nearest.max()) + 1, np.intp)
    ours[nearest[where]] = labels[where]
    ring = ~where & (distances <= RING_WIDTH)
    owner = ours[nearest[ring]]
    sums = np.bincount(owner, grey[ring], count + 1)[1:]
    sizes = np.bincount(owner, minlength=count + 1)[1:]
    means = np.full(count, np.nan)
    np.divide(sums, sizes, out=means, where=sizes > 0)
    return means


def tally_widths(target: NDArray[Any], mask: NDArray[Any], task: Task) -> NDArray[np.float64]:
    """Return found and all true pixels by the width of the structure they lie in.

    A pixel lies in a structure at least w wide if a disc of that width around some centre holds
    it and lies inside the structure.

    Returns:
        (len(WIDTHS) + 1, 2): narrower than each of `WIDTHS`, then the rest.
    """
    counts = np.zeros((len(WIDTHS) + 1, 2))
    predicted = dict(class_layers(mask, task))
    for index, where in class_layers(target, task):
        if not where.any():
            continue
        rest = where
        for row, width in enumerate(WIDTHS):
            wider = opening(rest, width // 2)
            narrow = rest & ~wider
            counts[row] += (narrow & predicted[index]).sum(), narrow.sum()
            rest = wider
        counts[-1] += (rest & predicted[index]).sum(), rest.sum()
    return counts


def zone_masks(shape: tuple[int, int]) -> dict[tuple[str, str], NDArray[np.bool_]]:
    """Return where each zone of an image is, by (property, label).

    Args:
        shape: Height and width of the image.
    """
    height, width = shape
    rim = max(1, round(EDGE_SHARE * min(shape)))
    inside = np.zeros(shape, bool)
    inside[rim : height - rim, rim : width - rim] = True
    rows = (np.arange(height) * 3 // max(1, height))[:, None]
    cols = (np.arange(width) * 3 // max(1, width))[None]
    zones = {("edge", "edge"): ~inside, ("edge", "inside"): inside}
    for number, name in enumerate(("top", "middle", "bottom")):
        zones["height", name] = np.broadcast_to(rows == number, shape)
    for number, name in enumerate(("left", "centre", "right")):
        zones["width of image", name] = np.broadcast_to(cols == number, shape)
    return zones
