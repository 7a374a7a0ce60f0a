"""Trace the borders between the regions of a raster, block by block.

Corners of pixels are points (row, col) with whole numbers. A *node* is a corner at which three or
four borders meet, or a corner of the raster. An *arc* is the border between two regions from node
to node, or a closed ring without nodes; it has one region on its left and one on its right all the
way. Every region's outline is put together from arcs, and an arc belongs to both its sides: what is
done to an arc is done to both neighbours alike.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from delineate.raster_processing.components import grid
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Corner = tuple[int, int]
    Regions = Callable[[Window], NDArray[np.int64]]
    """Region numbers of a window, (height, width)."""

_SHORT = 64  # corners; an array of many takes less memory than many arrays of few

OUTSIDE = -1
"""The region beyond the raster."""


@dataclass(frozen=True, eq=False)
class Arc:
    """A border between two regions, with its left and right as one walks from first to last."""

    points: NDArray[np.int32]
    """Corners (N, 2), row and col, where the border turns, and its ends; closed where these are
    one."""
    left: int
    right: int

    def reversed(self) -> Arc:
        """Return the same border walked the other way."""
        return Arc(self.points[::-1], self.right, self.left)


@dataclass(frozen=True, eq=False)
class Traced:
    """What a block shows."""

    window: Window
    vertices: NDArray[np.bool_]
    """Whether a border turns or ends at the upper left corner of each pixel, (height, width); with
    a row and a column more at the raster's lower and right border."""
    pieces: list[Arc]
    """Borders between stops: nodes, and corners on the border of the block."""
    cuts: Set[Corner]
    """Stops that are no nodes."""


def trace_blocks(regions: Regions, height: int, width: int, side: int) -> Iterator[Traced]:
    """Yield the borders within each block.

    Args:
        regions: Gives the region numbers, 0 and more, of a window.
        height: Rows of the raster.
        width: Columns of the raster.
        side: Height and width of the blocks.
    """
    for window in grid(height, width, side):
        yield _trace_block(_with_frame(regions, window, height, width), window, height, width)


def join_pieces(traced: Iterable[Traced]) -> Iterator[Arc]:
    """Yield whole arcs, joined across blocks; closed ones start at their first corner.

    An arc and its direction do not depend on the blocks.

    Args:
        traced: What the blocks show, in any order.
    """
    for arc, is_ring in join_chains((block.pieces, block.cuts) for block in traced):
        yield _canonical(arc, is_ring=is_ring)


def join_chains(
    blocks: Iterable[tuple[Sequence[Arc], Set[Corner]]],
) -> Iterator[tuple[Arc, bool]]:
    """Yield chains of pieces as soon as they end, and whether they are closed without an end.

    Memory holds the chains that are not finished yet.

    Args:
        blocks: Pieces of each block, and those of their ends at which another piece goes on.
    """
    loose: dict[Corner, _Chain] = {}
    for pieces, cuts in blocks:
        for piece in pieces:
            chain = _Chain(piece, cuts)
            while chain.open_ends and not chain.is_ring:
                joint = next((end for end in chain.open_ends if end in loose), None)
                if joint is None:
                    loose |= dict.fromkeys(chain.open_ends, chain)
                    break
                other = loose[joint]
                for end in other.open_ends:
                    del loose[end]
                chain = other.join(chain, joint)
            else:
                yield chain.arc(), chain.is_ring


class _Chain:
    """Pieces that follow each other."""

    def __init__(self, piece: Arc, cuts: Set[Corner]) -> None:
        self.pieces = deque([piece])
        self.head = _corner(piece.points[0])
        self.tail = _corner(piece.points[-1])
        self.open_ends = {end for end in (self.head, self.tail) if end in cuts}
        self.num_short = int(len(piece.points) < _SHORT)

    @property
    def is_ring(self) -> bool:
        return self.head == self.tail and bool(self.open_ends)

    def join(self, other: _Chain, joint: Corner) -> _Chain:
        """Return the longer of the two chains with the shorter one added at their joint."""
        if len(other.pieces) > len(self.pieces):
            return other.join(self, joint)
        at_tail = self.tail == joint
        if at_tail != (other.head == joint):
            other.flip()
        if at_tail:
            self.pieces.extend(other.pieces)
            self.tail = other.tail
        else:
            self.pieces.extendleft(reversed(other.pieces))
            self.head = other.head
        self.num_short += other.num_short
        if self.num_short > 512 + len(self.pieces) // 2:
            self.pieces = deque(_without_short(self.pieces))
            self.num_short = 0
        # Two arcs that close to a ring stay open at their other joint.
        self.open_ends = (self.open_ends | other.open_ends) - {joint}
        return self

    def flip(self) -> None:
        self.pieces = deque(piece.reversed() for piece in reversed(self.pieces))
        self.head, self.tail = self.tail, self.head

    def arc(self) -> Arc:
        return _concatenate(self.pieces)


def _without_short(pieces: Iterable[Arc]) -> Iterator[Arc]:
    """Yield pieces that follow each other, the short ones put together."""
    for is_short, group in groupby(pieces, key=lambda piece: len(piece.points) < _SHORT):
        if is_short:
            yield _concatenate(group)
        else:
            yield from group


def _concatenate(pieces: Iterable[Arc]) -> Arc:
    pieces = list(pieces)
    points = [pieces[0].points[:1], *(piece.points[1:] for piece in pieces)]
    return Arc(np.concatenate(points), pieces[0].left, pieces[0].right)


def _corner(point: NDArray[np.int32]) -> Corner:
    return int(point[0]), int(point[1])


def _canonical(arc: Arc, *, is_ring: bool) -> Arc:
    """Return the arc from the smaller region's view, rings from their first corner on.

    Corners at which it goes straight on are left out.
    """
    if arc.left > arc.right:
        arc = arc.reversed()
    points = arc.points
    if is_ring:
        start = int(np.lexsort((points[:-1, 1], points[:-1, 0]))[0])
        points = np.roll(points[:-1], -start, axis=0)
        points = np.concatenate([points, points[:1]])
    steps = np.sign(np.diff(points, axis=0))
    is_turn = np.ones(len(points), bool)
    is_turn[1:-1] = (steps[1:] != steps[:-1]).any(axis=1)
    return Arc(points[is_turn], arc.left, arc.right)


def _with_frame(regions: Regions, window: Window, height: int, width: int) -> NDArray[np.int64]:
    """Return the window with one pixel more on each side, `OUTSIDE` beyond the raster."""
    top, left = max(0, window.row - 1), max(0, window.col - 1)
    bottom = min(height, window.row + window.height + 1)
    right = min(width, window.col + window.width + 1)
    framed = np.full((window.height + 2, window.width + 2), OUTSIDE, np.int64)
    row, col = top - window.row + 1, left - window.col + 1
    framed[row : row + bottom - top, col : col + right - left] = regions(
        Window(top, left, bottom - top, right - left)
    )
    return framed


def _trace_block(ids: NDArray[np.int64], window: Window, height: int, width: int) -> Traced:
    rows, cols = window.height, window.width
    # Borders that leave a corner (row, col) of the block, 0..rows and 0..cols.
    up = ids[:-1, :-1] != ids[:-1, 1:]
    down = ids[1:, :-1] != ids[1:, 1:]
    left = ids[:-1, :-1] != ids[1:, :-1]
    right = ids[:-1, 1:] != ids[1:, 1:]
    degree = up.astype(np.int8) + down + left + right
    is_node = degree > 2
    _mark_raster_corners(is_node, window, height, width)
    is_vertex = is_node | ((degree == 2) & (up != down))
    is_stop = is_node.copy()
    is_stop[[0, -1]] = is_stop[:, [0, -1]] = True
    is_key = (degree > 0) & (is_vertex | is_stop)

    is_last_row = window.row + rows == height
    is_last_col = window.col + cols == width
    across = right[:, :-1].copy()  # from corner (r, c) to (r, c + 1)
    along = down[:-1].copy()  # from corner (r, c) to (r + 1, c)
    if not is_last_row:
        across[-1] = False
    if not is_last_col:
        along[:, -1] = False
    starts, ends = _runs(across, is_key)
    num_across = len(starts)
    down_starts, down_ends = _runs(along.T, is_key.T)
    starts = np.concatenate([starts, down_starts[:, ::-1]])
    ends = np.concatenate([ends, down_ends[:, ::-1]])
    row, col = starts.T
    is_across = np.arange(len(starts)) < num_across
    below = ids[row + 1, col + 1]
    lefts = np.where(is_across, ids[row, col + 1], below)
    rights = np.where(is_across, below, ids[row + 1, col])
    offset = np.array([window.row, window.col], np.int32)
    pieces = [
        Arc(points + offset, left, right)
        for points, left, right in _link(starts, ends, lefts, rights, is_stop)
    ]
    cuts = np.argwhere(is_stop & ~is_node) + offset
    shown = is_vertex[: rows + is_last_row, : cols + is_last_col]
    return Traced(window, shown, pieces, {_corner(cut) for cut in cuts})


def _mark_raster_corners(
    is_node: NDArray[np.bool_], window: Window, height: int, width: int
) -> None:
    for row, is_row in ((0, window.row == 0), (-1, window.row + window.height == height)):
        for col, is_col in ((0, window.col == 0), (-1, window.col + window.width == width)):
            if is_row and is_col:
                is_node[row, col] = True


def _runs(
    edges: NDArray[np.bool_], is_key: NDArray[np.bool_]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return where straight runs of edges along the lines begin and end, each (N, 2)."""
    starts = np.argwhere(edges & is_key[:, :-1])
    ends = np.argwhere(edges & is_key[:, 1:])
    ends[:, 1] += 1
    return starts.astype(np.int32), ends.astype(np.int32)


def _link(
    starts: NDArray[np.int32],
    ends: NDArray[np.int32],
    lefts: NDArray[np.int64],
    rights: NDArray[np.int64],
    is_stop: NDArray[np.bool_],
) -> Iterator[tuple[NDArray[np.int32], int, int]]:
    """Yield chains of straight runs, from stop to stop or closed, with left and right."""
    cols = is_stop.shape[1]
    both = np.stack([starts[:, 0] * cols + starts[:, 1], ends[:, 0] * cols + ends[:, 1]])
    names, index = np.unique(both, return_inverse=True)
    num_runs = len(starts)
    first: list[int] = index.ravel()[:num_runs].tolist()
    last: list[int] = index.ravel()[num_runs:].tolist()
    stops = is_stop.ravel()[names].tolist()
    touching: list[list[int]] = [[] for _ in names]
    for run, (a, b) in enumerate(zip(first, last, strict=True)):
        touching[a].append(run)
        touching[b].append(run)
    is_used = bytearray(len(first))
    where = np.stack(np.divmod(names, cols), axis=1).astype(np.int32)

    def walk(run: int, start: int) -> tuple[NDArray[np.int32], int, int]:
        forward = first[run] == start
        sides = (lefts[run], rights[run]) if forward else (rights[run], lefts[run])
        path = [start]
        point = start
        while True:
            is_used[run] = 1
            point = last[run] if first[run] == point else first[run]
            path.append(point)
            if stops[point] or point == start:
                return where[path], int(sides[0]), int(sides[1])
            one, other = touching[point]
            run = other if one == run else one

    for point, is_end in enumerate(stops):
        if is_end:
            for run in touching[point]:
                if not is_used[run]:
                    yield walk(run, point)
    for run in range(len(first)):
        if not is_used[run]:
            yield walk(run, first[run])
