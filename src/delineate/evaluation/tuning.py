"""Choose threshold, post-processing and temperature on validation images.

Nothing here looks at a test split, and nothing is taken on trust: 0.5, no post-processing and no
temperature stay unless the choice proves itself on folds that it was not made on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.errors import DataError, UsageError
from delineate.evaluation.tuning_counts import Step
from delineate.evaluation.tuning_objectives import Objective
from delineate.evaluation.tuning_predictions import (
    NUM_LEVELS,
    PredictionStore,
    thresholds_of,
)
from delineate.evaluation.tuning_proof import (
    Folds,
    Proof,
    assign_folds,
    choose_without_each_fold,
    judge_choices,
    prove,
)
from delineate.evaluation.tuning_search import (
    Allowance,
    Choice,
    SearchTable,
    list_steps,
    search,
)
from delineate.evaluation.tuning_temperature import fit_temperature
from delineate.metrics.confusion import ConfusionCounts
from delineate.postprocess import postprocess_mask
from delineate.progress import progress_bar

if TYPE_CHECKING:
    from delineate.config import TuningConfig
    from delineate.evaluation.scoring import SplitScores
    from delineate.model_file import SegmentationModel

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Tuning:
    """What was chosen, why, and what it is worth."""

    thresholds: tuple[float, ...] | None
    """One per class; None where the task has none."""
    levels: tuple[int, ...]
    """The thresholds as levels of the kept predictions; empty where the task has none."""
    postprocessing: dict[str, Any]
    """Fields of `PostprocessingConfig`."""
    temperature: float
    objective: Objective
    proofs: tuple[Proof, ...]
    """Of threshold, post-processing and temperature, as far as they were looked for."""
    curves: dict[str, dict[str, list[float | None]]]
    """Class -> thresholds and the objective at them, without a choice of post-processing."""
    nested_score: float | None
    """The objective with what was taken, each fold judged by choices made without it."""
    num_images: int
    num_groups: int
    num_folds: int
    num_steps: int
    """Ways of post-processing that were tried."""
    num_steps_left_out: int
    """Ways that time or effort did not suffice for."""

    def proof(self, what: str) -> Proof | None:
        """Return the proof of a choice, None where it was not looked for."""
        return next((proof for proof in self.proofs if proof.what == what), None)

    def apply(self, model: SegmentationModel) -> None:
        """Put the choice and its proof into a model."""
        model.thresholds = self.thresholds
        model.prediction = {**model.prediction, "postprocessing": dict(self.postprocessing)}
        model.temperature = self.temperature
        model.tuning = self.as_dict()

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description; without clock, so that equal models are equal."""
        return {
            "format_version": FORMAT_VERSION,
            "objective": self.objective.name,
            "objective_in_words": self.objective.describe(),
            "thresholds": self.thresholds,
            "postprocessing": self.postprocessing,
            "temperature": self.temperature,
            "proofs": {proof.what: proof.as_dict() for proof in self.proofs},
            "nested_score": self.nested_score,
            "curves": self.curves,
            "num_images": self.num_images,
            "num_groups": self.num_groups,
            "num_folds": self.num_folds,
            "num_steps": self.num_steps,
            "num_steps_left_out": self.num_steps_left_out,
        }

    def rescore(self, scores: SplitScores, store: PredictionStore) -> SplitScores:
        """Return the scores of the same predictions with what was chosen.

        Args:
            scores: Of the images of the store, at any threshold.
            store: The predictions.
        """
        counts: dict[str, ConfusionCounts] = {}
        for kept in store:
            mask = store.mask(kept.output, self.levels)
            image = ConfusionCounts(store.task)
            image.update(postprocess_mask(mask, store.task, **self.postprocessing), kept.target)
            counts[kept.name] = image
        return replace(
            scores,
            thresholds=self.thresholds,
            counts=sum(counts.values(), start=ConfusionCounts(store.task)),
            images=tuple(replace(image, counts=counts[image.name]) for image in scores.images),
        )

    def describe(self) -> list[str]:
        """Return what was chosen and why, in sentences."""
        lines = [
            f"Objective: {self.objective.describe()}, on {self.num_images} validation images of "
            f"{self.num_groups} groups in {self.num_folds} folds."
        ]
        lines += [self._describe_proof(proof) for proof in self.proofs]
        if self.num_steps_left_out:
            lines.append(
                f"{self.num_steps_left_out} ways of post-processing were left out, for want of "
                "time or by evaluation.tuning.effort; `delineate evaluate MODEL DATA --split val "
                "--tune` takes the time it needs."
            )
        return lines

    def _describe_proof(self, proof: Proof) -> str:
        outcome = self._describe_choice(proof) if proof.is_taken else self._describe_rest(proof)
        nested = proof.nested_gain
        if proof.gain is None or nested.estimate is None:
            return f"{proof.what}: nothing to choose by; left as it is."
        if nested.standard_error is None:
            why = "one group of images cannot prove a gain"
        else:
            why = (
                f"it gains {proof.gain:+.4f} on the images it was chosen on and "
                f"{nested.estimate:+.4f} (standard error {nested.standard_error:.4f}) on images "
                "that had no say"
            )
        return f"{proof.what}: {outcome}; {why}."

    def _describe_choice(self, proof: Proof) -> str:
        levels = ", ".join(f"{threshold:.3f}" for threshold in self.thresholds or ())
        if proof.what == "temperature":
            return f"{self.temperature:.3f}"
        if proof.what == "threshold":
            return levels
        steps = [
            name.replace("_", " ") + ("" if value is True else f" {value}")
            for name, value in self.postprocessing.items()
            if value
        ]
        return (", ".join(steps) or "none") + (f" with threshold {levels}" if levels else "")

    def _describe_rest(self, proof: Proof) -> str:
        post = self.proof("post-processing")
        if proof.what == "threshold" and post is not None and post.is_taken:
            return "not changed by itself"
        kept = {"threshold": "0.5", "post-processing": "none", "temperature": "1"}[proof.what]
        return f"{kept} stays"


def tune(
    store: PredictionStore,
    groups: Mapping[str, str] | Sequence[str],
    config: TuningConfig,
    *,
    fixed: Mapping[str, Any] | None = None,
    deadline: float | None = None,
    description: str = "tuning",
) -> Tuning:
    """Choose what is best for the objective, and prove it.

    Args:
        store: Predictions of validation images, never of test images.
        groups: Group of each image, by name or in the order of the store.
        config: Objective, and what is tried.
        fixed: Post-processing that somebody has asked for, as fields of `PostprocessingConfig`;
            where it does anything, it stays and thresholds are chosen for it.
        deadline: When to be done, on `time.monotonic`'s clock; None goes by `config.effort`
            alone, so that the same predictions give the same choice.
        description: What the progress bar says.

    Raises:
        DataError: If there is no image.
        UsageError: If an image has no group.
    """
    if not len(store):
        raise DataError("there is no validation image to tune on")
    folds = assign_folds(_list_groups(store, groups), config.folds)
    objective = Objective(config.objective, config.beta, config.least_precision, config.miss_cost)
    given = Step(**(fixed or {}))
    steps = (
        [given]
        if any(given)
        else list_steps(
            store.task,
            objective,
            opening_radii=config.opening_radii,
            closing_radii=config.closing_radii,
            min_object_areas=config.min_object_areas,
            min_hole_areas=config.min_hole_areas,
            largest_only=config.largest_only,
        )
    )
    num_pairs = len({step.radii for step in steps})
    num_passes = 1 if len(steps) == 1 else num_pairs + 1
    with progress_bar(description, total=num_passes * len(store)) as bar:
        table = search(
            store,
            folds.fold,
            objective,
            steps,
            can_go_on=Allowance(store, config.effort, deadline).allows,
            on_image=bar.advance,
        )
    choice, proofs, nested_score = _choose(store, folds, table, config.confidence)
    temperature = 1.0
    if config.temperature:
        fitted, proof = fit_temperature(
            store.samples, store.task, folds, confidence=config.confidence
        )
        temperature = fitted if proof.is_taken else 1.0
        proofs = (*proofs, proof)
    has_threshold = store.task.has_threshold
    return Tuning(
        thresholds=thresholds_of(choice.levels) if has_threshold else None,
        levels=choice.levels,
        postprocessing=table.steps[choice.step]._asdict(),
        temperature=temperature,
        objective=objective,
        proofs=proofs,
        curves=_curves(table) if has_threshold else {},
        nested_score=nested_score,
        num_images=len(store),
        num_groups=folds.num_groups,
        num_folds=folds.num_folds,
        num_steps=len(table.steps),
        num_steps_left_out=len(steps) - len(table.steps),
    )


def _list_groups(store: PredictionStore, groups: Mapping[str, str] | Sequence[str]) -> list[str]:
    if isinstance(groups, Mapping):
        missing = [name for name in store.names if name not in groups]
        if missing:
            raise UsageError(f"{len(missing)} images have no group, such as {missing[0]}")
        return [groups[name] for name in store.names]
    if len(groups) != len(store):
        raise UsageError(f"{len(groups)} groups for {len(store)} images; give one for each")
    return list(groups)


def _choose(
    store: PredictionStore, folds: Folds, table: SearchTable, confidence: float
) -> tuple[Choice, tuple[Proof, ...], float | None]:
    """Return what is taken of ever richer choices, their proofs, and the score so proved."""
    choice = table.untouched
    by_fold = [choice] * folds.num_folds
    families: list[tuple[str, int]] = []
    if table.task.has_threshold:
        families.append(("threshold", 1))
    if len(table.steps) > 1:
        families.append(("post-processing", len(table.steps)))
    nested = [by_fold]
    for _, num_steps in families:
        nested.append(
            choose_without_each_fold(table, num_steps) if folds.num_folds > 1 else by_fold
        )
    judged = judge_choices(store, folds, table, nested)
    taken = 0
    proofs: list[Proof] = []
    for place, (what, num_steps) in enumerate(families, start=1):
        wanted = table.best(num_steps=num_steps)
        proof = prove(
            what,
            table,
            before=choice,
            after=wanted,
            judged_before=judged[:, taken],
            judged_after=judged[:, place],
            confidence=confidence,
        )
        proofs.append(proof)
        if proof.is_taken:
            choice, taken = wanted, place
    score = table.score(judged[:, taken].sum(axis=0))
    return choice, tuple(proofs), score if np.isfinite(score) else None


def _curves(table: SearchTable) -> dict[str, dict[str, list[float | None]]]:
    levels = range(1, NUM_LEVELS)
    scores = table.objective.score(table.sums[:, 0].sum(axis=0))
    return {
        name: {
            "thresholds": list(thresholds_of(levels)),
            "scores": [float(s) if np.isfinite(s) else None for s in curve[1:]],
        }
        for name, curve in zip(table.task.class_names, scores, strict=True)
    }
