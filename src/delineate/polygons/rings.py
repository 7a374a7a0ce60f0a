"""Put arcs together to rings, and rings to polygons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Point = tuple[int, int]
    Path = list[Point]


def build_rings(arcs: Sequence[NDArray[np.int32]]) -> tuple[Path, list[Path]]:
    """Return the outline of a region and its holes, closed rings of corners (row, col).

    Rings touch themselves nowhere, and each other at single corners.

    Args:
        arcs: The region's borders, each walked with the region on its left.
    """
    paths: list[Path] = [[(r, c) for r, c in arc.tolist()] for arc in arcs]
    leaving: dict[Point, list[int]] = {}
    for index, path in enumerate(paths):
        leaving.setdefault(path[0], []).append(index)
    shell: Path = []
    holes: list[Path] = []
    while leaving:
        start = next(iter(leaving))
        ring = list(paths[_take(leaving, start, leaving[start][0])])
        while ring[-1] != start:
            point = ring[-1]
            choices = leaving[point]
            best = choices[0]
            if len(choices) > 1:
                # The region meets itself at this corner. It is connected elsewhere, so one of the
                # two parts of the outside is a hole: turn right, and stay with one of them.
                best = min(choices, key=lambda i: _turn(ring[-2], point, paths[i][1]))
            ring += paths[_take(leaving, point, best)][1:]
        if _doubled_area(ring) > 0:
            shell = ring
        else:
            holes.append(ring)
    return shell, holes


def _take(leaving: dict[Point, list[int]], point: Point, index: int) -> int:
    leaving[point].remove(index)
    if not leaving[point]:
        del leaving[point]
    return index


def _turn(before: Point, here: Point, after: Point) -> float:
    """Return the angle by which one turns, positive to the left (rows run downward)."""
    x1, y1 = here[1] - before[1], before[0] - here[0]
    x2, y2 = after[1] - here[1], here[0] - after[0]
    return math.atan2(x1 * y2 - y1 * x2, x1 * x2 + y1 * y2)


def _doubled_area(ring: Path) -> int:
    """Return twice the area, positive where the inside is on the left (rows run downward)."""
    return sum(b[0] * a[1] - a[0] * b[1] for a, b in zip(ring[1:], ring[:-1], strict=True))
