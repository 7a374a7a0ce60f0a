"""Simplify arcs so that none crosses or touches another, and no region vanishes.

Douglas and Peucker's method (https://doi.org/10.3138/FM57-6770-U75U-7727) on each arc, whose ends
stay. A run of corners is replaced by its chord only where the convex hull of the run holds no
*pin*: no corner at which any other border, or the same one elsewhere, turns or ends, and no seed, a
point inside each region. Then the chord can be reached from the run without passing a pin, and so
can all others from theirs; straight lines that can do so between runs that do not cross do not
cross either. Each region keeps its seed, hence an area. All of this looks at the neighbourhood of a
run alone, so a raster of any size takes the same memory.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2
import numpy as np

from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERTEX, SEED = 1, 2
"""Bits of the raster of pins: a corner at a pixel's upper left, a seed in its middle."""

_TILE_SIDE = 256
_NUM_TILES = 512
_RUN_LENGTH = 512


class Pins:
    """The corners and seeds of a raster, looked up by place.

    Places are doubled: the upper left corner of pixel (r, c) is (2r, 2c), its middle
    (2r + 1, 2c + 1).
    """

    def __init__(
        self, read: Callable[[Window], NDArray[np.uint8]], height: int, width: int
    ) -> None:
        """Look up in a raster of `VERTEX` and `SEED` bits.

        Args:
            read: Gives the bits of a window.
            height: Rows, one more than the regions' raster has.
            width: Columns, one more than the regions' raster has.
        """
        self._read = read
        self._size = height, width
        self._tiles: OrderedDict[tuple[int, int], NDArray[np.int64]] = OrderedDict()

    def within(self, low: NDArray[np.int64], high: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the pins in a box of doubled places, borders included, (N, 2)."""
        first, last = low // (2 * _TILE_SIDE), high // (2 * _TILE_SIDE)
        found = [
            self._tile(row, col)
            for row in range(int(first[0]), int(last[0]) + 1)
            for col in range(int(first[1]), int(last[1]) + 1)
        ]
        pins: NDArray[np.int64] = found[0] if len(found) == 1 else np.concatenate(found)
        return pins[((pins >= low) & (pins <= high)).all(axis=1)]

    def _tile(self, row: int, col: int) -> NDArray[np.int64]:
        if (row, col) in self._tiles:
            self._tiles.move_to_end((row, col))
            return self._tiles[row, col]
        top, left = row * _TILE_SIDE, col * _TILE_SIDE
        rows = min(_TILE_SIDE, self._size[0] - top)
        cols = min(_TILE_SIDE, self._size[1] - left)
        bits = self._read(Window(top, left, rows, cols))
        corners = 2 * np.argwhere(bits & VERTEX)
        seeds = 2 * np.argwhere(bits & SEED) + 1
        pins: NDArray[np.int64] = np.concatenate([corners, seeds]) + np.array([2 * top, 2 * left])
        self._tiles[row, col] = pins
        if len(self._tiles) > _NUM_TILES:
            self._tiles.popitem(last=False)
        return pins


def simplify(points: NDArray[np.int32], tolerance: float, pins: Pins) -> NDArray[np.int32]:
    """Return the corners of an arc that are kept.

    Args:
        points: Corners (N, 2); an arc that ends where it begins stays closed.
        tolerance: Farthest that a corner left out may lie from the result, in pixels.
        pins: What no chord may sweep over.
    """
    if tolerance <= 0 or len(points) < 3:
        return points
    is_kept = np.zeros(len(points), bool)
    places = 2 * points.astype(np.int64)
    # Long arcs are cut into runs of a length counted from their first corner.
    breaks = [*range(0, len(points) - 1, _RUN_LENGTH), len(points) - 1]
    is_kept[breaks] = True
    for first, last in pairwise(breaks):
        run = places[first : last + 1]
        near = pins.within(run.min(axis=0), run.max(axis=0))
        for middle in _split(run, 4 * tolerance**2, near):
            is_kept[first + middle] = True
    return points[is_kept]


def _split(run: NDArray[np.int64], limit: float, near: NDArray[np.int64]) -> Iterator[int]:
    """Yield the corners of a run at which it must be split, by their numbers."""
    numbers = _own_numbers(run, near)
    is_closed = (run[0] == run[-1]).all()
    pieces = [(0, len(run) - 1, near, numbers)]
    while pieces:
        start, stop, near, numbers = pieces.pop()
        if stop - start < 2:
            continue
        piece = run[start : stop + 1]
        squared = _squared_distances(piece)
        farthest = int(squared.argmax())
        is_in_box = (near >= piece.min(axis=0)) & (near <= piece.max(axis=0))
        is_near = is_in_box[:, 0] & is_in_box[:, 1]
        near, numbers = near[is_near], numbers[is_near]
        if squared[farthest] <= limit:
            is_foreign = (numbers < start) | (numbers > stop)
            if is_closed and stop == len(run) - 1:
                is_foreign &= numbers != 0
            if not _holds_any(piece, near[is_foreign]):
                continue
        # Where the piece goes back to its start, any corner splits it.
        middle = start + farthest if 0 < farthest < stop - start else (start + stop) // 2
        yield middle
        pieces += [(start, middle, near, numbers), (middle, stop, near, numbers)]


def _own_numbers(run: NDArray[np.int64], pins: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return for each pin which corner of the run it is, -1 for none; of equal ones the first."""
    scale = 1 << 32
    names, first = np.unique(run[:, 0] * scale + run[:, 1], return_index=True)
    wanted = pins[:, 0] * scale + pins[:, 1]
    place = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    return np.where(names[place] == wanted, first[place], -1)


def _holds_any(run: NDArray[np.int64], pins: NDArray[np.int64]) -> bool:
    """Tell whether any pin lies in the convex hull of a run, its border included."""
    if len(pins) == 0:
        return False
    corners = cv2.convexHull((run - run[0]).astype(np.int32)).reshape(-1, 2).astype(np.int64)
    edges = np.roll(corners, -1, axis=0) - corners
    offsets = (pins - run[0])[:, None] - corners
    turns = edges[:, 0] * offsets[..., 1] - edges[:, 1] * offsets[..., 0]
    # On one and the same side of all edges, or on them.
    return bool(((turns >= 0).all(axis=1) | (turns <= 0).all(axis=1)).any())


def _squared_distances(run: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the squared distance of each corner from the chord between the ends."""
    chord = (run[-1] - run[0]).astype(np.float64)
    offsets = (run - run[0]).astype(np.float64)
    length = float(chord @ chord)
    if length > 0:
        share = np.minimum(np.maximum(offsets @ chord / length, 0), 1)
        offsets -= share[:, None] * chord
    return np.asarray(np.einsum("ij,ij->i", offsets, offsets))
