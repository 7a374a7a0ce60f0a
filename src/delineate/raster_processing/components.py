"""Connected parts of a raster, numbered block by block and joined across the blocks.

Blocks are numbered on their own. Parts that touch across a border are united a row of blocks at a
time: a part that reaches the row's last line is carried on, all others are finished. What a part
adds up to is known when the last row is done and is handed back, from the last row to the first,
along the links from row to row. So memory holds one row of blocks, and the rest is on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Read = Callable[[Window], NDArray[Any]]
    """Values of a window, (height, width)."""
    Measure = Callable[[Window], NDArray[np.float64]]
    """Quantities of each pixel of a window that are summed over parts, (Q, height, width)."""

BLOCK_SIDE = 1024
"""Height and width of the blocks that a raster is worked on by."""


@dataclass(frozen=True)
class Parts:
    """What is known of parts over the whole raster; entry 0 stands for pixels of no part."""

    value: NDArray[np.int64]
    """The value of the pixels, (N,)."""
    area: NDArray[np.int64]
    """Number of pixels, (N,)."""
    first: NDArray[np.int64]
    """Number of the first pixel, row x width + col, (N,); no two parts share it."""
    touches_border: NDArray[np.bool_]
    """Whether the part touches the raster's border, (N,)."""
    sums: NDArray[np.float64]
    """Sums of the quantities measured, (Q, N)."""

    def take(self, index: NDArray[np.intp]) -> Parts:
        """Return the parts of the numbers given."""
        return Parts(
            self.value[index],
            self.area[index],
            self.first[index],
            self.touches_border[index],
            self.sums[:, index],
        )


def grid_rows(height: int, width: int, side: int) -> Iterator[list[Window]]:
    """Yield the blocks of a raster, row by row; the last ones are smaller."""
    for row in range(0, height, side):
        rows = min(side, height - row)
        yield [Window(row, col, rows, min(side, width - col)) for col in range(0, width, side)]


def grid(height: int, width: int, side: int) -> Iterator[Window]:
    """Yield the blocks of a raster one by one."""
    for row in grid_rows(height, width, side):
        yield from row


class Components:
    """The parts of a raster: pixels of one value that are connected."""

    def __init__(
        self,
        read: Read,
        height: int,
        width: int,
        spill: Path,
        *,
        connectivity: int = 8,
        outside: int | None = 0,
        measure: Measure | None = None,
        block_side: int = BLOCK_SIDE,
    ) -> None:
        """Find the parts, in one pass over the raster.

        Args:
            read: Gives the values of a window, integers from 0 to 255.
            height: Rows of the raster.
            width: Columns of the raster.
            spill: An empty folder for intermediate results.
            connectivity: 8 lets pixels touch at corners, 4 at sides only.
            outside: The value of pixels that belong to no part; None numbers all.
            measure: Gives quantities that are summed over each part.
            block_side: Height and width of the blocks.
        """
        self._read = read
        self._size = height, width
        self._spill = spill
        self._connectivity = connectivity
        self._outside = outside
        self._side = block_side
        self.num_parts = 0
        """Parts of the whole raster."""
        self.largest: dict[int, tuple[int, int]] = {}
        """Value -> area and first pixel of its largest part; of equal ones the first."""
        self._unite(measure)
        self._hand_back()

    def blocks(self) -> Iterator[tuple[Window, NDArray[np.int32], Parts]]:
        """Yield each block with its labels, (h, w), and what is known of each label's part."""
        for number, windows in enumerate(grid_rows(*self._size, self._side)):
            parts = self._load(number, "final")
            nodes = np.load(self._spill / f"{number:07d}-nodes.npy")
            start = 0
            for window in windows:
                labels, count = self._label(window)
                index = np.concatenate([[-1], nodes[start : start + count]])
                start += count
                yield window, labels, _with_none(parts).take(index)

    def _label(self, window: Window) -> tuple[NDArray[np.int32], int]:
        return label_values(self._read(window), self._connectivity, self._outside)[::2]

    def _unite(self, measure: Measure | None) -> None:
        height, width = self._size
        front = np.full(width, -1)  # number in the row before of the part at its last line
        before: Parts | None = None
        for number, windows in enumerate(grid_rows(height, width, self._side)):
            found: list[Parts] = []
            joins: list[NDArray[np.intp]] = []
            top = np.full(width, -1)
            bottom = np.full(width, -1)
            left: NDArray[np.intp] | None = None
            count = 0
            for window in windows:
                labels, values, num_labels = label_values(
                    self._read(window), self._connectivity, self._outside
                )
                found.append(self._describe(window, labels, values, measure))
                nodes = np.where(labels > 0, labels.astype(np.intp) + (count - 1), -1)
                count += num_labels
                cols = window.slices[1]
                top[cols], bottom[cols] = nodes[0], nodes[-1]
                if left is not None:
                    joins.append(self._touching(left, nodes[:, 0]))
                left = nodes[:, -1]
            here = _concatenate(found)
            if before is None:
                before = here.take(np.zeros(0, np.intp))
            reached = np.unique(front[front >= 0])
            carried = before.take(reached)
            place = np.searchsorted(reached, front)
            upper = np.where(front >= 0, place + count, -1)
            both = _concatenate([here, carried])
            pairs = [self._touching(upper, top), *joins]
            groups, united = _merge(both, np.concatenate(pairs, axis=1))
            np.save(self._spill / f"{number:07d}-nodes.npy", groups[:count])
            if number:
                links = np.full(len(before.area), -1)
                links[reached] = groups[count:]
                self._save(number - 1, "open", before, links)
            before = united
            front = np.concatenate([groups, [-1]])[bottom]
        if before is not None:
            self._save(number, "open", before, np.full(len(before.area), -1))

    def _touching(self, one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return pairs of nodes, (2, n), that touch across the border between two lines."""
        shifts = (0,) if self._connectivity == 4 else (-1, 0, 1)
        pairs = []
        for shift in shifts:
            a = one[max(0, shift) : len(one) + min(0, shift)]
            b = other[max(0, -shift) : len(other) + min(0, -shift)]
            both = (a >= 0) & (b >= 0)
            pairs.append(np.stack([a[both], b[both]]))
        found = np.concatenate(pairs, axis=1)
        return np.unique(found, axis=1) if found.size else found

    def _describe(
        self,
        window: Window,
        labels: NDArray[np.int32],
        values: NDArray[np.int64],
        measure: Measure | None,
    ) -> Parts:
        """Return what a block knows of its parts, label 1 first."""
        height, width = self._size
        count = len(values) + 1
        flat = labels.ravel()
        first = np.zeros(count, np.int64)
        first[flat[::-1]] = np.arange(flat.size)[::-1]
        rows, cols = np.divmod(first, window.width)
        touches = np.zeros(count, bool)
        touches[labels[0]] |= window.row == 0
        touches[labels[-1]] |= window.row + window.height == height
        touches[labels[:, 0]] |= window.col == 0
        touches[labels[:, -1]] |= window.col + window.width == width
        layers = [] if measure is None else list(measure(window))
        sums = [np.bincount(flat, layer.ravel(), minlength=count)[1:] for layer in layers]
        return Parts(
            values,
            np.bincount(flat, minlength=count)[1:].astype(np.int64),
            ((rows + window.row) * width + cols + window.col)[1:],
            touches[1:],
            np.array(sums, np.float64).reshape(len(layers), count - 1),
        )

    def _hand_back(self) -> None:
        """Give every part of every row what it adds up to over the whole raster."""
        later: Parts | None = None
        num_rows = -(-self._size[0] // self._side)
        for number in reversed(range(num_rows)):
            parts = self._load(number, "open")
            links = np.load(self._spill / f"{number:07d}-links.npy")
            is_open = links >= 0
            self._count(parts.take(np.flatnonzero(~is_open)))
            if later is not None and is_open.any():
                whole = later.take(links[is_open])
                parts.area[is_open] = whole.area
                parts.first[is_open] = whole.first
                parts.touches_border[is_open] = whole.touches_border
                parts.sums[:, is_open] = whole.sums
            self._save(number, "final", parts)
            (self._spill / f"{number:07d}-open.npz").unlink()
            later = parts

    def _count(self, finished: Parts) -> None:
        self.num_parts += len(finished.area)
        order = np.lexsort((finished.first, -finished.area, finished.value))
        values, starts = np.unique(finished.value[order], return_index=True)
        for value, index in zip(values.tolist(), order[starts], strict=True):
            found = int(finished.area[index]), int(finished.first[index])
            known = self.largest.get(value, (0, 0))
            self.largest[value] = max(known, found, key=lambda part: (part[0], -part[1]))

    def _save(
        self, number: int, stage: str, parts: Parts, links: NDArray[np.intp] | None = None
    ) -> None:
        np.savez(self._spill / f"{number:07d}-{stage}.npz", **vars(parts))
        if links is not None:
            np.save(self._spill / f"{number:07d}-links.npy", links)

    def _load(self, number: int, stage: str) -> Parts:
        with np.load(self._spill / f"{number:07d}-{stage}.npz") as arrays:
            return Parts(**arrays)


def label_values(
    values: NDArray[Any], connectivity: int = 8, outside: int | None = 0
) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
    """Number the connected parts of equal value.

    Args:
        values: (H, W), bool or integers from 0 to 255.
        connectivity: 8 lets pixels touch at corners, 4 at sides only.
        outside: The value of pixels of no part; None numbers all.

    Returns:
        Labels, (H, W), 0 outside, else 1..N; the value of each part, (N,); N.
    """
    labels = np.zeros(values.shape, np.int32)
    found: list[NDArray[np.int64]] = []
    count = 0
    for value in np.flatnonzero(np.bincount(values.ravel().astype(np.uint8), minlength=256)):
        if value == outside:
            continue
        number, own = cv2.connectedComponents(
            (values == value).astype(np.uint8), connectivity=connectivity, ltype=cv2.CV_32S
        )
        np.add(own, count, out=labels, where=own > 0)
        count += number - 1
        found.append(np.full(number - 1, value, np.int64))
    return labels, np.concatenate([np.zeros(0, np.int64), *found]), count


def _merge(parts: Parts, pairs: NDArray[np.intp]) -> tuple[NDArray[np.intp], Parts]:
    """Unite the parts that pairs of equal value join; return each one's group, and the groups."""
    pairs = pairs[:, parts.value[pairs[0]] == parts.value[pairs[1]]]
    count = len(parts.area)
    graph = coo_array((np.ones(pairs.shape[1], np.int8), tuple(pairs)), (count, count))
    num_groups, found = connected_components(graph, directed=False)
    groups: NDArray[np.intp] = found.astype(np.intp)
    value = np.zeros(num_groups, np.int64)
    value[groups] = parts.value
    area = np.zeros(num_groups, np.int64)
    np.add.at(area, groups, parts.area)
    first = np.full(num_groups, np.iinfo(np.int64).max)
    np.minimum.at(first, groups, parts.first)
    touches = np.zeros(num_groups, bool)
    np.logical_or.at(touches, groups, parts.touches_border)
    sums = np.zeros((len(parts.sums), num_groups))
    for total, layer in zip(sums, parts.sums, strict=True):
        total += np.bincount(groups, layer, minlength=num_groups)
    return groups, Parts(value, area, first, touches, sums)


def _concatenate(parts: list[Parts]) -> Parts:
    return Parts(
        np.concatenate([part.value for part in parts]),
        np.concatenate([part.area for part in parts]),
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.touches_border for part in parts]),
        np.concatenate([part.sums for part in parts], axis=1),
    )


def _with_none(parts: Parts) -> Parts:
    """Append the entry of pixels of no part."""
    none = Parts(
        np.array([-1]),
        np.array([0]),
        np.array([-1]),
        np.array([False]),
        np.zeros((len(parts.sums), 1)),
    )
    return _concatenate([parts, none])
