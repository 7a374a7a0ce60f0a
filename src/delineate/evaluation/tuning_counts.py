"""Counts of one image at every threshold and many ways of post-processing, without redoing it.

Opening, closing and leaving out small parts commute with thresholding, so each is done once on
the codes and holds at every threshold (https://doi.org/10.1016/0167-8655(92)90069-6); what is in
the parts and in their holes comes from component trees. The counts are those of
`postprocess_mask` on the thresholded image, exactly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from delineate.evaluation.tuning_trees import NUM_LEVELS, ComponentTree, build_component_tree
from delineate.metrics.objects import match_objects
from delineate.morphology import label_components
from delineate.postprocess import postprocess_mask
from delineate.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    IntArray = NDArray[np.int64]
    BoolArray = NDArray[np.bool_]


class Step(NamedTuple):
    """One way of post-processing; the fields of `PostprocessingConfig`."""

    opening_radius: int = 0
    closing_radius: int = 0
    min_object_area: int = 0
    largest_only: bool = False
    min_hole_area: int = 0

    @property
    def radii(self) -> tuple[int, int]:
        """Of opening and closing."""
        return self.opening_radius, self.closing_radius


class Counts(NamedTuple):
    """Of one class of one image."""

    hits: IntArray
    """True positives, or matched objects, at each step and level, (num_steps, 256)."""
    alarms: IntArray
    """False positives, or predicted objects without a match."""
    num_positive: int
    """Positive pixels, or true objects."""
    num_counted: int
    """Pixels that count."""


def count_thresholds(codes: NDArray[np.uint8], positive: BoolArray, counted: BoolArray) -> Counts:
    """Return the counts of pixels at every level without post-processing, from a histogram.

    Args:
        codes: (H, W).
        positive: Pixels of the class, (H, W).
        counted: Pixels that count, (H, W).
    """
    by_level = np.stack(
        [
            np.bincount(codes[chosen & counted], minlength=NUM_LEVELS)[::-1].cumsum()[::-1]
            for chosen in (positive, ~positive)
        ]
    )
    return Counts(by_level[:1], by_level[1:], int((positive & counted).sum()), int(counted.sum()))


def count_pixels(
    codes: NDArray[np.uint8], positive: BoolArray, counted: BoolArray, steps: Sequence[Step]
) -> Counts:
    """Return the counts of pixels at every level for steps of the same radii.

    Filling the holes of the largest object is the one thing that is done level by level.

    Args:
        codes: (H, W).
        positive: Pixels of the class, (H, W).
        counted: Pixels that count, (H, W).
        steps: All with the radii of the first.
    """
    levels = open_and_close(codes, *steps[0].radii)
    sides = (positive & counted, ~positive & counted)
    tree = build_component_tree(levels, connectivity=8)
    area = tree.sum_pixels()
    inside = [tree.sum_pixels(side) for side in sides]
    holes = _HoleCounts(levels, tree, area, sides)
    counts = np.zeros((2, len(steps), NUM_LEVELS), dtype=np.int64)
    for index, step in enumerate(steps):
        if step.largest_only and step.min_hole_area > 1:
            for level, mask in _masks(levels, step._replace(opening_radius=0, closing_radius=0)):
                counts[:, index, level] = [(mask & side).sum() for side in sides]
            continue
        if step.largest_only:
            largest = tree.largest_by_level(area)
            for side, values in enumerate(inside):
                is_kept = area >= step.min_object_area
                counts[side, index] = np.append(np.where(is_kept, values, 0), 0)[largest]
            continue
        is_kept = area >= step.min_object_area
        for side, values in enumerate(inside):
            counts[side, index] = tree.sum_by_level(np.where(is_kept, values, 0))
        if step.min_hole_area > 1:
            counts[:, index] += holes.filled(step.min_object_area, step.min_hole_area)
    return Counts(counts[0], counts[1], int(sides[0].sum()), int(counted.sum()))


def count_objects(
    codes: NDArray[np.uint8], positive: BoolArray, counted: BoolArray, steps: Sequence[Step]
) -> Counts:
    """Return the counts of objects at every level for steps of the same radii.

    Objects and matches are those of `delineate.metrics.objects.match_objects` at an IoU of one
    half. Where holes are filled, levels are done one by one.

    Args:
        codes: (H, W).
        positive: Pixels of the class, (H, W).
        counted: Pixels that count, (H, W).
        steps: All with the radii of the first.
    """
    tree = build_component_tree(open_and_close(codes, *steps[0].radii), connectivity=8)
    truth, true_areas = label_components(positive & counted)
    area, seen = tree.sum_pixels(), tree.sum_pixels(counted)
    label, overlap = _largest_overlaps(tree, truth)
    union = seen + np.where(label > 0, true_areas[label], 0) - overlap
    is_match = (2 * overlap > union) & (overlap > 0)
    is_counted = is_match | (2 * seen >= area)
    counts = np.zeros((2, len(steps), NUM_LEVELS), dtype=np.int64)
    for index, step in enumerate(steps):
        if step.min_hole_area > 1:
            for level, mask in _masks(codes, step):
                matches = match_objects(mask, positive, counted)
                found = matches.ious.size
                counts[:, index, level] = found, matches.num_predicted - found
            continue
        is_kept = (area >= step.min_object_area) & is_counted
        if step.largest_only:
            largest = tree.largest_by_level(area)
            for side, chosen in enumerate((is_match, ~is_match)):
                counts[side, index] = np.append(is_kept & chosen, False)[largest]
            continue
        counts[0, index] = tree.sum_by_level((is_kept & is_match).astype(np.int64))
        counts[1, index] = tree.sum_by_level((is_kept & ~is_match).astype(np.int64))
    return Counts(counts[0], counts[1], len(true_areas) - 1, int(counted.sum()))


def open_and_close(
    codes: NDArray[np.uint8], opening_radius: int, closing_radius: int
) -> NDArray[np.uint8]:
    """Return the codes whose thresholded images are the opened and then closed ones.

    Args:
        codes: (H, W).
        opening_radius: Of the disc, in pixels.
        closing_radius: Of the disc, in pixels.
    """
    morphed: NDArray[Any] = codes
    if opening_radius:
        disc = _disc(opening_radius)
        morphed = cv2.dilate(cv2.erode(morphed, disc), disc)
    if closing_radius:
        disc = _disc(closing_radius)
        morphed = cv2.erode(cv2.dilate(morphed, disc), disc)
    return np.asarray(morphed, dtype=np.uint8)


def _masks(codes: NDArray[np.uint8], step: Step) -> Iterator[tuple[int, BoolArray]]:
    """Yield each level and the post-processed mask of ``codes >= level``."""
    task = Task("binary", ("object",))
    for level in range(1, NUM_LEVELS):
        mask = postprocess_mask((codes >= level).astype(np.uint8), task, **step._asdict())
        yield level, mask == 1


def _disc(radius: int) -> NDArray[np.uint8]:
    row, col = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(row**2 + col**2 <= radius**2, dtype=np.uint8)


class _HoleCounts:
    """Pixels in the holes that are left when small parts are out, at every level."""

    def __init__(
        self,
        levels: NDArray[np.uint8],
        tree: ComponentTree,
        area: IntArray,
        sides: tuple[BoolArray, BoolArray],
    ) -> None:
        self._levels = levels
        self._tree = tree
        self._area = area
        self._sides = sides
        self._min_object_area = -1
        self._holes: tuple[ComponentTree, IntArray, list[IntArray]] | None = None

    def filled(self, min_object_area: int, min_hole_area: int) -> IntArray:
        """Return positive and negative pixels that filling adds, (2, 256)."""
        if self._holes is None or min_object_area != self._min_object_area:
            self._min_object_area = min_object_area
            self._holes = self._find(min_object_area)
        tree, area, inside = self._holes
        is_filled = area < min_hole_area
        counts = np.zeros((2, NUM_LEVELS), dtype=np.int64)
        for side, values in enumerate(inside):
            at = tree.sum_by_level(np.where(is_filled, values, 0))
            # Below level k is, turned round, at or above level 256 - k.
            counts[side, 1:] = at[1:][::-1]
        return counts

    def _find(self, min_object_area: int) -> tuple[ComponentTree, IntArray, list[IntArray]]:
        levels = self._levels
        if min_object_area > 1:
            levels = self._tree.without_small(self._area, min_object_area).reshape(levels.shape)
        tree = build_component_tree(NUM_LEVELS - 1 - levels, connectivity=4)
        is_border = np.ones(levels.shape, dtype=bool)
        is_border[1:-1, 1:-1] = False
        # What reaches the border is no hole, however small.
        area = np.where(tree.sum_pixels(is_border) > 0, levels.size + 1, tree.sum_pixels())
        return tree, area, [tree.sum_pixels(side) for side in self._sides]


def _largest_overlaps(tree: ComponentTree, labels: NDArray[np.int32]) -> tuple[IntArray, IntArray]:
    """Return, for each part, the label that most of its pixels have, and how many; 0 is none."""
    num_labels = int(labels.max(initial=0)) + 1
    flat = labels.ravel()
    is_labelled = (flat > 0) & (tree.pixel_node >= 0)
    keys = tree.pixel_node[is_labelled].astype(np.int64) * num_labels + flat[is_labelled]
    keys, sizes = np.unique(keys, return_counts=True)
    starts = np.searchsorted(keys, np.arange(len(tree.level) + 1) * num_labels)
    label = np.zeros(len(tree.level), dtype=np.int64)
    overlap = np.zeros(len(tree.level), dtype=np.int64)
    handed_on: dict[int, list[tuple[IntArray, IntArray]]] = defaultdict(list)
    for nodes in tree.level_slices():
        own = slice(starts[nodes.start], starts[nodes.stop])
        parts = [(keys[own], sizes[own]), *handed_on.pop(int(tree.level[nodes.start]), [])]
        found, place = np.unique(np.concatenate([part[0] for part in parts]), return_inverse=True)
        totals = np.bincount(place, np.concatenate([part[1] for part in parts]), len(found))
        totals = totals.astype(np.int64)
        node, name = np.divmod(found, num_labels)
        order = np.argsort(totals, kind="stable")
        label[node[order]], overlap[node[order]] = name[order], totals[order]
        parent = tree.parent[node]
        for level in np.unique(tree.level[parent[parent >= 0]]):
            goes = (parent >= 0) & (tree.level[parent] == level)
            handed_on[int(level)].append((parent[goes] * num_labels + name[goes], totals[goes]))
    return label, overlap


def group_by_radii(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Yield the steps that one opened and closed image serves, in their order."""
    groups: dict[tuple[int, int], list[Step]] = defaultdict(list)
    for step in steps:
        groups[step.radii].append(step)
    yield from groups.values()
