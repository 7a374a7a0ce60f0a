"""How much of a gain is luck: settings chosen on some folds, judged on the others.

The best of many settings looks better than it is on the images that it was chosen on. So the
choice is made once without each fold and judged on that fold; the judged parts put together are a
score that no image had a say in that it is part of (nested cross-validation,
https://doi.org/10.1186/1471-2105-7-91). A setting is taken where its gain so measured is above
zero with the confidence asked for, by a one-sided t-test over groups of images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.evaluation.bootstrap import Interval, bootstrap
from delineate.evaluation.tuning_objectives import NUM_STATISTICS, mean_over_classes
from delineate.evaluation.tuning_search import Choice, SearchTable, count_mask
from delineate.postprocess import postprocess_mask
from delineate.randomness import generator_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.evaluation.tuning_predictions import KeptPrediction, PredictionStore

    FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Proof:
    """What a choice gains, and whether it is taken."""

    what: str
    """What was chosen: threshold, post-processing or temperature."""
    before: float | None
    """Score without the choice, of all images."""
    after: float | None
    """Score with it, of the images that it was chosen on."""
    nested_gain: Interval
    """Gain where each image is judged by a choice made without its fold, by groups."""
    is_taken: bool

    @property
    def gain(self) -> float | None:
        """Gain on the images that the choice was made on."""
        if self.before is None or self.after is None:
            return None
        return self.after - self.before

    @property
    def luck(self) -> float | None:
        """What of the gain does not show on images that had no say."""
        if self.gain is None or self.nested_gain.estimate is None:
            return None
        return self.gain - self.nested_gain.estimate

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return {**asdict(self), "gain": self.gain, "luck": self.luck}


@dataclass(frozen=True)
class Folds:
    """Images in parts that share no group."""

    group: NDArray[np.intp]
    """Group of each image, as a number from 0."""
    fold: NDArray[np.intp]
    """Fold of each image, as a number from 0."""

    @property
    def num_groups(self) -> int:
        """Number of groups."""
        return int(self.group.max()) + 1

    @property
    def num_folds(self) -> int:
        """Number of folds."""
        return int(self.fold.max()) + 1

    def sum_by_group(self, values: NDArray[Any]) -> FloatArray:
        """Return the sums over each group's images, (num_groups, ...), of (num_images, ...)."""
        sums = np.zeros((self.num_groups, *values.shape[1:]))
        np.add.at(sums, self.group, values)
        return sums


def assign_folds(groups: Sequence[str], num_folds: int, seed: int = 0) -> Folds:
    """Return folds of about as many groups each, fewer folds where there are fewer groups.

    Args:
        groups: Group of each image.
        num_folds: At most.
        seed: Of the order in which groups are dealt out.
    """
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    order = generator_for(seed, len(names)).permutation(len(names))
    fold_of_group = np.empty(len(names), dtype=np.intp)
    fold_of_group[order] = np.arange(len(names)) % min(num_folds, len(names))
    return Folds(group.astype(np.intp), fold_of_group[group])


def choose_without_each_fold(table: SearchTable, num_steps: int | None) -> list[Choice]:
    """Return the best choice of the other folds, for each fold."""
    total = table.sums.sum(axis=0)
    return [table.best(sums=total - own, num_steps=num_steps) for own in table.sums]


def judge_choices(
    store: PredictionStore, folds: Folds, table: SearchTable, choices: Sequence[Sequence[Choice]]
) -> FloatArray:
    """Return what each group adds, (groups, settings, classes, statistics).

    The masks are made as in prediction, image by image.

    Args:
        store: The predictions.
        folds: Group and fold of each image.
        table: Objective and steps.
        choices: For each setting, the choice that each fold is judged by.
    """
    per_image = np.zeros((len(store), len(choices), len(store.task.foreground), NUM_STATISTICS))
    for index, kept in enumerate(store):
        fold = int(folds.fold[index])
        done: dict[Choice, FloatArray] = {}
        for place, by_fold in enumerate(choices):
            choice = by_fold[fold]
            if choice not in done:
                done[choice] = _judge(store, kept, table, choice)
            per_image[index, place] = done[choice]
    return folds.sum_by_group(per_image)


def _judge(
    store: PredictionStore, kept: KeptPrediction, table: SearchTable, choice: Choice
) -> FloatArray:
    mask = store.mask(kept.output, choice.levels)
    mask = postprocess_mask(mask, store.task, **table.steps[choice.step]._asdict())
    counts = count_mask(mask, kept.target, store.task, table.objective)
    return np.stack([table.objective.statistics(*c)[0, 0] for c in counts])


def prove(
    what: str,
    table: SearchTable,
    *,
    before: Choice,
    after: Choice,
    judged_before: FloatArray,
    judged_after: FloatArray,
    confidence: float,
) -> Proof:
    """Return whether a choice is taken over another.

    Args:
        what: What the choice is about.
        table: Statistics of all images.
        before: What is used without it.
        after: The choice of all images.
        judged_before: Of each group by the choices of `before` made without it, (groups, classes,
            statistics).
        judged_after: Of each group by the choices of `after` made without it.
        confidence: How sure the gain must be.
    """
    shape = judged_before.shape[1:]

    def gains(sums: FloatArray) -> FloatArray:
        both = sums.reshape(len(sums), 2, *shape)
        scores = mean_over_classes(table.objective.score(both))
        return scores[:, 1:] - scores[:, :1]

    stacked = np.stack([judged_before, judged_after], axis=1).reshape(len(judged_before), -1)
    return prove_values(
        what,
        table.score(table.at(before)),
        table.score(table.at(after)),
        stacked,
        gains,
        confidence=confidence,
    )


def is_proved(gain: Interval, num_groups: int, confidence: float) -> bool:
    """Return whether a gain is above zero with a confidence, one-sided.

    The standard error of a bootstrap lacks a factor of sqrt(n / (n - 1)), and of few groups it is
    uncertain itself, hence Student's t. A setting that changes nothing is not taken; nor is any
    where there is one group only.

    Args:
        gain: Of choices judged on groups that had no say in them.
        num_groups: Groups that it is from.
        confidence: From 0.5 to 1.
    """
    if gain.estimate is None or gain.standard_error is None or num_groups < 2:
        return False
    from scipy.special import stdtrit

    quantile = float(stdtrit(num_groups - 1, confidence))
    needed = quantile * gain.standard_error * (num_groups / (num_groups - 1)) ** 0.5
    return bool(gain.estimate > max(needed, 0.0))


def prove_values(
    what: str,
    before: float,
    after: float,
    by_group: FloatArray,
    gains: Callable[[FloatArray], FloatArray],
    *,
    confidence: float,
) -> Proof:
    """Return whether a choice is taken, from sums by group and what gain they amount to.

    Args:
        what: What the choice is about.
        before: Score without it.
        after: Score with it.
        by_group: (groups, columns), judged by choices made without the group.
        gains: From sums, (n, columns), to the gain, (n, 1).
        confidence: How sure the gain must be.
    """
    interval = bootstrap(by_group, gains)[0]
    is_taken = is_proved(interval, len(by_group), confidence)
    return Proof(what, _number(before), _number(after), interval, is_taken)


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None
