"""What is done to a mask after the threshold: parts, holes, opening and closing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from delineate.errors import UsageError
from delineate.morphology import (
    closing,
    fill_holes,
    largest_part,
    nearest_inside,
    opening,
    remove_small,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.task import Task


def postprocess_mask(
    mask: NDArray[np.uint8],
    task: Task,
    *,
    opening_radius: int = 0,
    closing_radius: int = 0,
    min_object_area: int = 0,
    largest_only: bool = False,
    min_hole_area: int = 0,
) -> NDArray[np.uint8]:
    """Return the mask without specks, gaps, small objects and small holes, in this order.

    Binary masks, and each channel of multilabel ones, are opened, closed, rid of small objects
    (and of all but the largest) and then of small holes. In a multiclass mask every pixel keeps
    belonging to one class:

    1. Each class but the background is opened and rid of small objects (and of all but its
       largest), by itself. The pixels that this frees take the class of the nearest pixel that
       was not freed.
    2. Each class but the background is closed and its holes filled. It gains background pixels
       only; where several classes gain the same pixel, the first in order has it.

    If step 1 would free every pixel of an image, it is left out.

    Args:
        mask: (H, W) class indices, 0 and 1 where binary; multilabel (C, H, W) of 0 and 1.
        task: The classes.
        opening_radius: Radius of the disc of the opening, in pixels; 0 does not open.
        closing_radius: Radius of the disc of the closing, in pixels; 0 does not close.
        min_object_area: Objects (8-connected) of fewer pixels are removed.
        largest_only: Whether of each class only the largest object stays.
        min_hole_area: Holes (4-connected, off the image's border) of fewer pixels are filled.

    Raises:
        UsageError: If closing or hole filling is asked for in a multiclass task without a
            background class.
    """
    if not (opening_radius or closing_radius or min_object_area or largest_only or min_hole_area):
        return mask

    if task.kind == "multiclass":
        if task.background is None and (closing_radius or min_hole_area):
            raise UsageError(
                "closing_radius and min_hole_area hand background pixels to other classes, and "
                "this task has no background class; set task.background or leave them at 0"
            )
        shrunk = _shrink_classes(mask, task, opening_radius, min_object_area, largest_only)
        return _grow_classes(shrunk, task, closing_radius, min_hole_area)

    cleaned = np.empty_like(mask)
    for index in np.ndindex(mask.shape[:-2]):
        inside = closing(opening(mask[index], opening_radius), closing_radius)
        kept = _keep_objects(inside, min_object_area, largest_only)
        cleaned[index] = fill_holes(kept, min_hole_area)
    return cleaned


def _keep_objects(mask: NDArray[np.bool_], min_area: int, largest_only: bool) -> NDArray[np.bool_]:
    large = remove_small(mask, min_area)
    return largest_part(large) if largest_only else large


def _shrink_classes(
    mask: NDArray[np.uint8],
    task: Task,
    opening_radius: int,
    min_object_area: int,
    largest_only: bool,
) -> NDArray[np.uint8]:
    is_freed = np.zeros(mask.shape, dtype=bool)
    for index in task.foreground:
        inside = mask == index
        opened = opening(inside, opening_radius)
        is_freed |= inside & ~_keep_objects(opened, min_object_area, largest_only)
    if is_freed.all() or not is_freed.any():
        return mask
    rows, cols = nearest_inside(~is_freed)
    return mask[rows, cols]


def _grow_classes(
    mask: NDArray[np.uint8], task: Task, closing_radius: int, min_hole_area: int
) -> NDArray[np.uint8]:
    if task.background is None:
        return mask
    is_free = mask == task.class_names.index(task.background)
    grown = mask.copy()
    for index in task.foreground:
        gained = fill_holes(closing(mask == index, closing_radius), min_hole_area) & is_free
        grown[gained] = index
        is_free &= ~gained
    return grown
