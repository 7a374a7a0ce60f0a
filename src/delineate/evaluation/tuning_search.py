"""Statistics of every threshold and post-processing, added up by fold, and the best of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from delineate.evaluation.tuning_counts import (
    Counts,
    Step,
    count_objects,
    count_pixels,
    count_thresholds,
    group_by_radii,
)
from delineate.evaluation.tuning_objectives import NUM_STATISTICS, Objective, mean_over_classes
from delineate.evaluation.tuning_predictions import MIDDLE_LEVEL, NUM_LEVELS
from delineate.metrics.objects import match_objects
from delineate.postprocess import postprocess_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.evaluation.tuning_predictions import KeptPrediction, PredictionStore
    from delineate.task import Task

    FloatArray = NDArray[np.float64]
    BoolArray = NDArray[np.bool_]


_SECONDS_PER_MEGAPIXEL = 5.0
_SECONDS_PER_IMAGE = 0.1
"""What one class at one pair of radii may take, until the first has been measured."""
MAX_TREE_PIXELS = 3 * 2**19
"""Pixels whose parts are looked at together, 1.6 million: about 250 MB. A larger image is cut for
the search, so that an object across a cut counts as two there; the proof judges whole images."""


class Choice(NamedTuple):
    """One setting: a way of post-processing, and a level for each class."""

    step: int
    """Index into `SearchTable.steps`."""
    levels: tuple[int, ...]
    """One per class; empty where the task has no thresholds."""


@dataclass(frozen=True)
class SearchTable:
    """What each fold adds to the objective at every setting."""

    task: Task
    objective: Objective
    steps: tuple[Step, ...]
    """The first is what there is without a choice."""
    sums: FloatArray
    """(folds, steps, classes, levels, statistics): one level only where there is no threshold,
    and of a multiclass task the foreground classes."""

    @property
    def untouched(self) -> Choice:
        """Thresholds of one half and the first step."""
        num_classes = self.task.num_classes if self.task.has_threshold else 0
        return Choice(0, (MIDDLE_LEVEL,) * num_classes)

    def score(self, sums: FloatArray) -> float:
        """Return the mean score of the classes, (classes, statistics) being their sums."""
        return float(mean_over_classes(self.objective.score(sums)))

    def at(self, choice: Choice, sums: FloatArray | None = None) -> FloatArray:
        """Return the statistics at a setting, (classes, statistics).

        Args:
            choice: The setting.
            sums: (steps, classes, levels, statistics); None takes those of all folds.
        """
        whole = self.sums.sum(axis=0) if sums is None else sums
        levels = choice.levels or (0,) * whole.shape[1]
        return whole[choice.step, np.arange(whole.shape[1]), list(levels)]

    def best(self, *, sums: FloatArray | None = None, num_steps: int | None = None) -> Choice:
        """Return the setting of the best score.

        Of several ways of post-processing with the same score the first is taken. Of several
        thresholds the run of them nearest to 0.5 is taken, and its middle.

        Args:
            sums: As for `at`.
            num_steps: How many of the steps, the first ones, are to be chosen from.
        """
        whole = (self.sums.sum(axis=0) if sums is None else sums)[:num_steps]
        scores = self.objective.score(whole)  # (steps, classes, levels)
        if not self.task.has_threshold:
            return Choice(_first_best(mean_over_classes(scores[..., 0])), ())
        scores[..., 0] = np.nan  # at level 0 everything is positive, whatever the prediction
        is_defined = np.isfinite(scores)
        peaks = np.where(is_defined, scores, -np.inf).max(axis=-1)
        step = _first_best(mean_over_classes(np.where(np.isfinite(peaks), peaks, np.nan)))
        return Choice(step, tuple(best_level(curve) for curve in scores[step]))


def best_level(scores: FloatArray) -> int:
    """Return the level of the best of the defined scores, (256,); the middle one without any.

    Where several levels share it, the run of them nearest to the middle is taken, and its middle.
    """
    is_defined = np.isfinite(scores)
    if not is_defined.any():
        return MIDDLE_LEVEL
    peak = scores[is_defined].max()
    best = np.flatnonzero(is_defined & (scores == peak))
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    run = min(runs, key=lambda levels: int(np.abs(levels - MIDDLE_LEVEL).min()))
    middle = int(run[0] + run[-1] + (run[0] + run[-1] < NUM_LEVELS)) // 2
    return min(middle, int(run[-1]))


def _first_best(scores: FloatArray) -> int:
    return int(np.where(np.isfinite(scores), scores, -np.inf).argmax())


def list_steps(
    task: Task,
    objective: Objective,
    *,
    opening_radii: Sequence[int],
    closing_radii: Sequence[int],
    min_object_areas: Sequence[int],
    min_hole_areas: Sequence[int],
    largest_only: bool,
) -> list[Step]:
    """Return the ways of post-processing to be tried, the simplest radii first.

    Holes are left alone where objects are counted and where only the largest object is kept; in a
    task without thresholds and without a background class, closing too.
    """
    can_grow = task.has_threshold or task.background is not None
    radii = product({0, *opening_radii}, {0, *closing_radii} if can_grow else {0})
    has_holes = can_grow and not objective.counts_objects
    # One pixel is the least area there is: leaving out less leaves out nothing.
    objects = sorted({0, *(area for area in min_object_areas if area > 1)})
    holes = sorted({0, *(area for area in min_hole_areas if area > 1 and has_holes)})
    steps: list[Step] = []
    for opening, closing in sorted(radii, key=lambda pair: (sum(pair), pair)):
        steps += [Step(opening, closing, a, False, h) for a, h in product(objects, holes)]
        if largest_only:
            steps.append(Step(opening, closing, 0, True, 0))
    return steps


class Allowance:
    """Says whether one more pair of radii fits into effort and time."""

    def __init__(self, store: PredictionStore, effort: float, deadline: float | None) -> None:
        """Start before the first pair.

        Args:
            store: What is gone through for each pair.
            effort: Millions of pixels, once per class, in all.
            deadline: On `time.monotonic`'s clock; None has all time.
        """
        num_classes = len(store.task.foreground)
        self._megapixels = store.num_pixels * num_classes / 1e6
        self._left = effort
        self._deadline = deadline
        self._seconds = _SECONDS_PER_MEGAPIXEL * self._megapixels
        self._seconds += _SECONDS_PER_IMAGE * len(store) * num_classes
        self._last: float | None = None

    def allows(self) -> bool:
        """Return whether one more pair of radii may be tried."""
        now = time.monotonic()
        if self._last is not None:
            self._seconds = now - self._last
        self._last = now
        self._left -= self._megapixels
        has_time = self._deadline is None or now + 1.2 * self._seconds < self._deadline
        return self._left >= 0 and has_time


def search(
    store: PredictionStore,
    folds: NDArray[np.intp],
    objective: Objective,
    steps: Sequence[Step],
    *,
    can_go_on: Callable[[], bool] = lambda: True,
    on_image: Callable[[], None] = lambda: None,
) -> SearchTable:
    """Return the statistics of all thresholds and of as many steps as may be tried.

    Images are read once for each pair of radii. Memory: 32 bytes per fold, step, class and level.

    Args:
        store: The predictions.
        folds: Fold of each image, (num_images,).
        objective: What is counted.
        steps: As from `list_steps`; the first is tried in any case.
        can_go_on: Asked before each pair of radii; the search ends at the first no.
        on_image: Called after each image that was counted once more.
    """
    tables = [_add_up(store, folds, objective, steps[:1], on_image)]
    tried = list(steps[:1])
    for group in group_by_radii(steps[1:]):
        if not can_go_on():
            break
        tables.append(_add_up(store, folds, objective, group, on_image))
        tried += group
    return SearchTable(store.task, objective, tuple(tried), np.concatenate(tables, axis=1))


def _add_up(
    store: PredictionStore,
    folds: NDArray[np.intp],
    objective: Objective,
    steps: Sequence[Step],
    on_image: Callable[[], None],
) -> FloatArray:
    task = store.task
    num_classes = len(task.foreground)
    num_levels = NUM_LEVELS if task.has_threshold else 1
    shape = (int(folds.max()) + 1, len(steps), num_classes, num_levels, NUM_STATISTICS)
    sums = np.zeros(shape)
    for index, kept in enumerate(store):
        for place, counts in enumerate(_count_classes(kept, task, objective, steps)):
            sums[folds[index], :, place] += objective.statistics(*counts)
        on_image()
    return sums


def _count_classes(
    kept: KeptPrediction, task: Task, objective: Objective, steps: Sequence[Step]
) -> list[Counts]:
    """Return the counts of each foreground class of an image, (steps, levels) each."""
    if not task.has_threshold:
        masks = [postprocess_mask(kept.output, task, **step._asdict()) for step in steps]
        by_step = [count_mask(mask, kept.target, task, objective) for mask in masks]
        return [
            Counts(
                np.asarray([[counts[place].hits.item()] for counts in by_step]),
                np.asarray([[counts[place].alarms.item()] for counts in by_step]),
                by_step[0][place].num_positive,
                by_step[0][place].num_counted,
            )
            for place in range(len(task.foreground))
        ]
    found = []
    for index in range(task.num_classes):
        positive, counted = class_truth(kept.target, task, index)
        codes = kept.output[index]
        if list(steps) == [Step()] and not objective.counts_objects:
            found.append(count_thresholds(codes, positive, counted))
            continue
        count = count_objects if objective.counts_objects else count_pixels
        parts = [
            count(codes[piece], positive[piece], counted[piece], steps)
            for piece in _cut(codes.shape[0], codes.shape[1])
        ]
        found.append(
            Counts(
                np.sum([part.hits for part in parts], axis=0),
                np.sum([part.alarms for part in parts], axis=0),
                sum(part.num_positive for part in parts),
                sum(part.num_counted for part in parts),
            )
        )
    return found


def _cut(height: int, width: int) -> list[tuple[slice, slice]]:
    """Return pieces of an image of at most `MAX_TREE_PIXELS`."""
    if height * width <= MAX_TREE_PIXELS:
        return [(slice(None), slice(None))]
    side = math.isqrt(MAX_TREE_PIXELS)
    rows, cols = (
        [slice(start, start + side) for start in range(0, length, side)]
        for length in (height, width)
    )
    return list(product(rows, cols))


def count_mask(
    mask: NDArray[np.uint8], target: NDArray[np.uint8], task: Task, objective: Objective
) -> list[Counts]:
    """Return the counts of each foreground class of a mask, single numbers in (1, 1) arrays.

    Args:
        mask: Class indices, (H, W); multilabel (C, H, W).
        target: Labels of the same shape.
        task: The classes.
        objective: Whether pixels or objects are counted.
    """
    found = []
    for index in task.foreground:
        positive, counted = class_truth(target, task, index)
        predicted, _ = class_truth(mask, task, index)
        if objective.counts_objects:
            matches = match_objects(predicted, positive, counted)
            hits, num_positive = matches.ious.size, matches.num_objects
            alarms = matches.num_predicted - hits
        else:
            hits = int((predicted & positive & counted).sum())
            alarms = int((predicted & ~positive & counted).sum())
            num_positive = int((positive & counted).sum())
        found.append(
            Counts(np.asarray([[hits]]), np.asarray([[alarms]]), num_positive, int(counted.sum()))
        )
    return found


def class_truth(labels: NDArray[np.uint8], task: Task, index: int) -> tuple[BoolArray, BoolArray]:
    """Return the pixels of a class and those that count for it, (H, W) each."""
    plane = labels[index] if task.kind == "multilabel" else labels
    wanted = index if task.kind == "multiclass" else 1
    return np.asarray(plane == wanted), np.asarray(plane != task.ignore_index)
