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

import itertools
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import cv2
import numpy as np

from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERTEX, SEED = 1, 2
"""Bits of the raster of pins: a corner at a pixel's upper left, a seed in its middle."""

_TILE_SIDE = 256
_NUM_TILES = 4096
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
    # Long arcs are cut into runs of a length counted from their first corner.
    breaks = [*range(0, len(points) - 1, _RUN_LENGTH), len(points) - 1]
    is_kept[breaks] = True
    places = 2 * points.astype(np.int64)
    limit = 4 * tolerance**2
    runs = list(itertools.pairwise(breaks))
    while runs:
        start, stop = runs.pop()
        if stop - start < 2:
            continue
        run = places[start : stop + 1]
        squared = _squared_distances(run)
        farthest = int(squared.argmax())
        if squared[farthest] <= limit and is_clear(run, pins):
            continue
        # Where the run goes back to its start, or is not clear, any corner splits it.
        middle = start + farthest if 0 < farthest < stop - start else (start + stop) // 2
        is_kept[middle] = True
        runs += [(start, middle), (middle, stop)]
    return points[is_kept]


def is_clear(run: NDArray[np.int64], pins: Pins) -> bool:
    """Tell whether the convex hull of a run holds no pins but the run's own corners."""
    near = pins.within(run.min(axis=0), run.max(axis=0))
    if len(near) <= len(run):
        own = set(map(tuple, run.tolist()))
        near = np.array([pin for pin in near.tolist() if tuple(pin) not in own], np.int64)
    else:
        scale = 1 << 32
        names = near[:, 0] * scale + near[:, 1]
        near = near[~np.isin(names, run[:, 0] * scale + run[:, 1])]
    if len(near) == 0:
        return True
    corners = cv2.convexHull((run - run[0]).astype(np.int32)).reshape(-1, 2).astype(np.int64)
    near = near - run[0]
    edges = np.roll(corners, -1, axis=0) - corners
    offsets = near[:, None] - corners
    turns = edges[:, 0] * offsets[..., 1] - edges[:, 1] * offsets[..., 0]
    # Inside or on the hull: on one and the same side of all its edges, or on them.
    is_inside = (turns >= 0).all(axis=1) | (turns <= 0).all(axis=1)
    return not is_inside.any()


def _squared_distances(run: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the squared distance of each corner from the chord between the ends."""
    chord = (run[-1] - run[0]).astype(np.float64)
    offsets = (run - run[0]).astype(np.float64)
    length = float(chord @ chord)
    if length == 0:
        return np.asarray((offsets**2).sum(axis=1))
    share = np.clip(offsets @ chord / length, 0, 1)
    return np.asarray(((offsets - share[:, None] * chord) ** 2).sum(axis=1))
