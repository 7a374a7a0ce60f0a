"""What the pixels of an image and of its mask say about each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from delineate.data.doctor.edges import edge_agreement

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.task import Task

SPECK_PIXELS = 2
"""Parts and holes of at most this many pixels are specks: slips of a pen, or of a conversion.

Crumbs between two other classes are none: they come from drawing on a grid."""

TINY_PIXELS = 16
"""Parts of fewer pixels are tiny: a network that halves its resolution twice sees one pixel."""

_MAX_SPECKS = 1000
_MAX_CHANNELS = 4

MAX_SIDE = 1024
"""Of larger images, a window of this side with many outlines is compared with the edges."""


@dataclass(frozen=True)
class Parts:
    """The connected parts of one class that do not touch the border of the image."""

    count: int
    num_specks: int
    """Parts of at most `SPECK_PIXELS` pixels within one other class."""
    num_tiny: int
    """Parts larger than a speck and smaller than `TINY_PIXELS`."""
    speck: tuple[int, int] | None = None
    """Row and column of one of the specks."""


@dataclass(frozen=True)
class Content:
    """Facts about one image and its decoded mask."""

    class_pixels: tuple[int, ...]
    """Pixels of each class (binary: background, foreground; multilabel: positives)."""
    num_ignored: int
    """Pixels that do not count."""
    class_levels: tuple[float | None, ...] = ()
    """Mean grey value of each class less that of the image, in deviations of the image; None for
    classes that do not occur. Empty where the image has one value only."""
    class_parts: tuple[Parts, ...] = ()
    """For each class, in the order of `class_pixels`; in a binary task, those of the background
    are the holes of the foreground."""
    border_shares: tuple[float, ...] = ()
    """Share of each class in the pixels along the border of the image."""
    class_neighbours: tuple[int, ...] = ()
    """Number of other classes that each touches (multiclass)."""
    class_outlines: tuple[int, ...] = ()
    """Sides of pixels that each class shares with others (multiclass)."""
    agreement: NDArray[np.float32] | None = field(default=None, compare=False, repr=False)
    """Of the mask's outlines with the image's edges, by shift; see `edge_agreement`."""


def measure_content(pixels: NDArray[Any], target: NDArray[np.uint8], task: Task) -> Content:
    """Measure one image and its mask.

    Args:
        pixels: (H, W, C) of the image.
        target: Class indices, (H, W); multilabel (K, H, W). `task.ignore_index` does not count.
        task: What the indices mean.
    """
    outlines: NDArray[Any] = target
    if task.kind == "multilabel":
        members = [band == 1 for band in target]
        counted = (target != task.ignore_index).all(axis=0)
        outlines = _pack_bands(target)
    else:
        num_classes = 2 if task.kind == "binary" else task.num_classes
        members = [target == index for index in range(num_classes)]
        counted = target != task.ignore_index
    num_ignored = int((target == task.ignore_index).sum())
    grey = _grey(pixels)
    neighbours, outlines_of = (
        _measure_neighbours(target, task.num_classes) if task.kind == "multiclass" else ((), ())
    )
    return Content(
        class_pixels=tuple(int(member.sum()) for member in members),
        num_ignored=num_ignored,
        class_levels=_measure_levels(grey, members, counted),
        class_parts=tuple(
            _measure_parts(member, member if task.kind == "multilabel" else target)
            for member in members
        ),
        border_shares=tuple(_border_share(member) for member in members),
        class_neighbours=neighbours,
        class_outlines=outlines_of,
        agreement=_measure_agreement(grey, outlines, counted),
    )


def _pack_bands(target: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return a number for each combination of classes, (H, W)."""
    packed = np.zeros(target.shape[1:], np.int64)
    for band in target[:60]:
        packed = (packed << 1) | (band == 1)
    return packed


def _grey(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Return the mean of the first channels, finite, (H, W); the last of four may be alpha."""
    num_channels = pixels.shape[2]
    used = min(3 if num_channels == 4 else num_channels, _MAX_CHANNELS)
    values = np.ascontiguousarray(pixels[..., :used], np.float32)
    grey = np.asarray(cv2.transform(values, np.full((1, used), 1 / used, np.float32)), np.float32)
    if pixels.dtype.kind == "f":
        finite = np.isfinite(grey)
        if not finite.all():
            grey[~finite] = grey[finite].mean() if finite.any() else 0
    return grey


def _measure_levels(
    grey: NDArray[np.float32], members: list[NDArray[np.bool_]], counted: NDArray[np.bool_]
) -> tuple[float | None, ...]:
    values = grey[counted]
    deviation = float(values.std()) if values.size else 0.0
    if deviation < 1e-6:
        return ()
    mean = float(values.mean())
    return tuple(
        (float(grey[member].mean()) - mean) / deviation if member.any() else None
        for member in members
    )


def _measure_parts(member: NDArray[np.bool_], labels: NDArray[Any]) -> Parts:
    """Count the 8-connected parts of a class; `labels` tells what lies around them."""
    number, _, stats, _ = cv2.connectedComponentsWithStats(
        member.view(np.uint8), connectivity=8, ltype=cv2.CV_32S
    )
    if number < 2:
        return Parts(0, 0, 0)
    left, top, width, height, areas = stats[1:].T
    is_inside = (left > 0) & (top > 0)
    is_inside &= (left + width < member.shape[1]) & (top + height < member.shape[0])
    areas = areas[is_inside]
    boxes = stats[1:][is_inside][areas <= SPECK_PIXELS]
    specks = [
        (int(row), int(col))
        for col, row, wide, high, _ in boxes[:_MAX_SPECKS]
        if _is_alone(
            member, labels, (slice(row - 1, row + high + 1), slice(col - 1, col + wide + 1))
        )
    ]
    num_tiny = int((areas < TINY_PIXELS).sum()) - len(boxes)
    return Parts(len(areas) - len(boxes) + len(specks), len(specks), num_tiny, *specks[:1])


def _is_alone(member: NDArray[np.bool_], labels: NDArray[Any], window: tuple[slice, slice]) -> bool:
    """Whether a speck lies within one other class."""
    around = labels[window][~member[window]]
    return bool((around == around[0]).all())


def _border_share(member: NDArray[np.bool_]) -> float:
    border = np.concatenate([member[0], member[-1], member[:, 0], member[:, -1]])
    return float(border.mean())


def _measure_neighbours(
    target: NDArray[np.uint8], num_classes: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return how many classes each class touches, and along how many sides of pixels."""
    touching = np.zeros((num_classes, num_classes), np.int64)
    for one, other in ((target[1:], target[:-1]), (target[:, 1:], target[:, :-1])):
        differs = (one != other) & (one < num_classes) & (other < num_classes)
        codes = one[differs].astype(np.int64) * num_classes + other[differs]
        touching += np.bincount(codes, minlength=num_classes**2).reshape(touching.shape)
    touching += touching.T
    return tuple((touching > 0).sum(axis=1).tolist()), tuple(touching.sum(axis=1).tolist())


def _measure_agreement(
    grey: NDArray[np.float32], labels: NDArray[Any], counted: NDArray[np.bool_]
) -> NDArray[np.float32] | None:
    window = _busiest_window(labels)
    is_whole = bool(counted.all())
    return edge_agreement(grey[window], labels[window], None if is_whole else counted[window])


def _busiest_window(labels: NDArray[Any]) -> tuple[slice, slice]:
    """Return the window of at most `MAX_SIDE` pixels a side that holds the most outlines."""
    starts = []
    for axis in (0, 1):
        length = labels.shape[axis]
        if length <= MAX_SIDE:
            starts.append(0)
            continue
        changes = (np.diff(labels, axis=1 - axis) != 0).sum(axis=1 - axis)
        total = np.concatenate([[0], np.cumsum(changes)])
        sums = total[MAX_SIDE:] - total[:-MAX_SIDE]
        starts.append(int(sums.argmax()))
    rows, cols = starts
    return slice(rows, rows + MAX_SIDE), slice(cols, cols + MAX_SIDE)
