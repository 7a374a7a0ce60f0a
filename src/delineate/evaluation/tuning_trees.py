"""The connected parts of an image at every level at once, as a tree.

Thresholding an image of levels at k gives parts; at k - 1 they grow and merge. A node of the
component tree (max-tree, https://doi.org/10.1109/83.663500) is a part together with the run of
levels at which it stays the same, from its own level down to just above its parent's. Sums over
the pixels of each part (its area, its hits) are then known for all thresholds from one pass, and
leaving out parts by area is a choice among nodes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]

NUM_LEVELS = 256

_CROWDED = 0.1
"""Share of the pixels from which the pixels of a level are first joined by OpenCV: a saturated
network leaves two plateaus, and of those it is some times as fast."""


@dataclass(frozen=True)
class ComponentTree:
    """Nodes in the order of falling level, so a parent comes after its children."""

    level: IntArray
    """Highest level at which the part is this part, (N,)."""
    parent: IntArray
    """Node that the part grows into, (N,); -1 where there is none."""
    pixel_node: NDArray[np.int32]
    """Node of each pixel at the pixel's own level, (H * W,); -1 at level 0."""

    @property
    def parent_level(self) -> IntArray:
        """Level of the parent, (N,), 0 without one: the part is there at the levels above it."""
        levels = np.append(self.level, 0)
        return np.asarray(levels[self.parent], dtype=np.int64)

    def level_slices(self) -> Iterator[slice]:
        """Yield the nodes of one level after the other, the highest level first."""
        ends = np.flatnonzero(np.diff(self.level)) + 1
        starts = [0, *ends.tolist(), len(self.level)]
        for start, stop in pairwise(starts):
            if stop > start:
                yield slice(start, stop)

    def sum_pixels(self, values: NDArray[Any] | None = None) -> IntArray:
        """Return the sum of whole-numbered values over the pixels of each part, (N,).

        Args:
            values: (H, W); None counts the pixels.
        """
        is_inside = self.pixel_node >= 0
        weights = None if values is None else values.ravel()[is_inside]
        own = np.bincount(self.pixel_node[is_inside], weights, minlength=len(self.level))
        return self.sum_nodes(own.astype(np.int64))

    def sum_nodes(self, own: IntArray) -> IntArray:
        """Return what nodes have of their own, (N,), with what is in the parts below them."""
        sums = np.append(own, 0)  # the last entry takes what the roots hand on
        for nodes in self.level_slices():
            np.add.at(sums, self.parent[nodes], sums[nodes])
        return np.asarray(sums[:-1], dtype=np.int64)

    def first_pixels(self) -> IntArray:
        """Return the first pixel of each part in reading order, (N,)."""
        first = np.full(len(self.level) + 1, self.pixel_node.size, dtype=np.int64)
        pixels = np.flatnonzero(self.pixel_node >= 0)[::-1]
        first[self.pixel_node[pixels]] = pixels  # the last one written is the first in order
        for nodes in self.level_slices():
            np.minimum.at(first, self.parent[nodes], first[nodes])
        return first[:-1]

    def sum_by_level(self, values: IntArray) -> IntArray:
        """Return the sum of `values` (N,) over the parts there are at each level, (256,).

        Entry 0 repeats entry 1: there is no threshold at level 0.
        """
        size = NUM_LEVELS
        rises = np.bincount(self.level, values, minlength=size)
        rises -= np.bincount(self.parent_level, values, minlength=size)
        sums = np.rint(rises[::-1].cumsum()[::-1])
        sums[0] = sums[1]
        return np.asarray(sums, dtype=np.int64)

    def without_small(self, area: IntArray, min_area: int) -> NDArray[np.uint8]:
        """Return the levels, (H * W,), at which each pixel is in a part of `min_area` or more.

        Thresholding them gives what is left of the thresholded image without its small parts.

        Args:
            area: Pixels of each part, (N,).
            min_area: In pixels.
        """
        kept = np.where(area >= min_area, self.level, 0)
        kept = np.append(kept, 0)
        for nodes in reversed(list(self.level_slices())):
            inherited = kept[self.parent[nodes]]
            kept[nodes] = np.where(area[nodes] >= min_area, kept[nodes], inherited)
        return kept[self.pixel_node].astype(np.uint8)

    def largest_by_level(self, area: IntArray) -> IntArray:
        """Return the node of most pixels at each level, the first of equals, (256,); -1 is none."""
        first = self.first_pixels()
        largest = np.full(NUM_LEVELS, -1, dtype=np.int64)
        # From the best node on, each takes the levels that no better one has.
        order = np.lexsort((first, -area))
        is_open = np.ones(NUM_LEVELS, dtype=bool)
        is_open[0] = False
        below = self.parent_level
        while is_open.any() and len(order):
            node = order[0]
            levels = np.arange(below[node] + 1, self.level[node] + 1)
            taken = levels[is_open[levels]]
            largest[taken] = node
            is_open[taken] = False
            # What is left has to be there at an open level.
            opened = np.append(0, is_open.cumsum())
            order = order[opened[self.level[order] + 1] > opened[below[order] + 1]]
        return largest


def build_component_tree(levels: NDArray[np.uint8], connectivity: int) -> ComponentTree:
    """Return the tree of the parts of ``levels >= k`` for k from 255 to 1.

    Args:
        levels: (H, W).
        connectivity: 8 lets pixels touch at corners, 4 at sides only.
    """
    flat = levels.ravel()
    zone = _join_crowded_levels(levels, connectivity)
    order = np.argsort(flat, kind="stable")[::-1]
    num_at = np.bincount(flat, minlength=NUM_LEVELS)
    pixel_stops = num_at[::-1].cumsum()[::-1]  # of level k in `order`: [stops[k + 1], stops[k])
    ends = _sort_edges(flat, zone, levels.shape, connectivity)
    pixel_node = np.full(flat.size, -1, dtype=np.int32)
    local = np.empty(flat.size, dtype=np.int64)
    roots = np.empty(flat.size, dtype=np.int64)  # of each node, the node that it is now part of
    parents = np.full(flat.size, -1, dtype=np.int64)
    node_levels: list[IntArray] = []
    num_nodes = 0
    for level in range(NUM_LEVELS - 1, 0, -1):
        pixels = order[pixel_stops[level + 1] if level < NUM_LEVELS - 1 else 0 : pixel_stops[level]]
        if not len(pixels):
            continue
        leaders = zone[pixels]
        zones = leaders[leaders == pixels]
        local[zones] = np.arange(len(zones))
        local[pixels] = local[leaders]
        first, second = ends[level]
        is_older = flat[first] > level  # the second end is always of this level
        tops = _find_roots(roots, pixel_node[first[is_older]])
        tops, joined = np.unique(tops, return_inverse=True)
        origin = np.empty(len(first), dtype=np.int64)
        origin[is_older] = len(zones) + joined
        origin[~is_older] = local[first[~is_older]]
        num_parts, part = _connect(origin, local[second], len(zones) + len(tops))
        pixel_node[pixels] = num_nodes + part[local[pixels]]
        parents[tops] = roots[tops] = num_nodes + part[len(zones) :]
        new = slice(num_nodes, num_nodes + num_parts)
        roots[new] = np.arange(new.start, new.stop)
        node_levels.append(np.full(num_parts, level, dtype=np.int64))
        num_nodes += num_parts
    found = np.concatenate(node_levels) if node_levels else np.empty(0, dtype=np.int64)
    return ComponentTree(found, parents[:num_nodes].copy(), pixel_node)


def _join_crowded_levels(levels: NDArray[np.uint8], connectivity: int) -> NDArray[np.int32]:
    """Return a number for each pixel, (H * W,), equal for pixels known to be joined."""
    zone = np.arange(levels.size, dtype=np.int32)
    crowded = np.flatnonzero(np.bincount(levels.ravel()) > _CROWDED * levels.size)
    for level in crowded[crowded > 0]:
        is_at = (levels == level).view(np.uint8)
        count, labels = cv2.connectedComponents(is_at, connectivity=connectivity)
        pixels = np.flatnonzero(is_at)
        numbers = labels.ravel()[pixels]
        leader = np.empty(count, dtype=np.int32)
        leader[numbers[::-1]] = pixels[::-1]
        zone[pixels] = leader[numbers]
    return zone


def _sort_edges(
    flat: NDArray[np.uint8],
    zone: NDArray[np.int32],
    shape: tuple[int, ...],
    connectivity: int,
) -> list[tuple[NDArray[np.int32], NDArray[np.int32]]]:
    """Return for each level the pairs of neighbours of which the lower is at this level."""
    index = np.arange(flat.size, dtype=np.int32).reshape(shape)
    pairs = [(index[:, :-1], index[:, 1:]), (index[:-1], index[1:])]
    if connectivity == 8:
        pairs += [(index[:-1, :-1], index[1:, 1:]), (index[:-1, 1:], index[1:, :-1])]
    firsts, seconds = [], []
    for one, other in pairs:
        a, b = one.ravel(), other.ravel()
        counts = (flat[a] > 0) & (flat[b] > 0) & (zone[a] != zone[b])
        a, b = a[counts], b[counts]
        is_lower = flat[a] < flat[b]
        firsts.append(np.where(is_lower, b, a))
        seconds.append(np.where(is_lower, a, b))
    first, second = np.concatenate(firsts), np.concatenate(seconds)
    lower = flat[second]
    order = np.argsort(lower, kind="stable")
    stops = np.bincount(lower, minlength=NUM_LEVELS).cumsum()
    first, second = first[order], second[order]
    starts = np.append(0, stops[:-1])
    return [(first[a:b], second[a:b]) for a, b in zip(starts, stops, strict=True)]


def _find_roots(roots: IntArray, nodes: NDArray[np.int32]) -> IntArray:
    """Return the nodes that `nodes` are now part of, and shorten the way there."""
    found = roots[nodes]
    while True:
        further = roots[found]
        if np.array_equal(further, found):
            break
        found = roots[further]
    roots[nodes] = found
    return found


def _connect(first: IntArray, second: IntArray, count: int) -> tuple[int, IntArray]:
    """Return how many parts `count` points fall into by these pairs, and the part of each."""
    # A level has few pairs as a rule, so graph libraries would spend their time on set-up.
    leader = np.arange(count)
    while len(first):
        one, other = leader[first], leader[second]
        is_apart = one != other
        first, second = first[is_apart], second[is_apart]
        one, other = one[is_apart], other[is_apart]
        np.minimum.at(leader, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(shorter := leader[leader], leader):
            leader = shorter
    is_leader = leader == np.arange(count)
    return int(is_leader.sum()), (is_leader.cumsum() - 1)[leader]
