"""Cross-validation: as many trainings as folds, then one model of all of them."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from delineate.config import Settings, build_settings, merge_settings
from delineate.data.cache import ImageCache
from delineate.data.inventory import build_inventory
from delineate.data.masks import MaskDecoder
from delineate.errors import UsageError
from delineate.evaluation.bootstrap import Interval
from delineate.evaluation.result import Evaluation
from delineate.evaluation.suspects import Suspect
from delineate.model_file import FILE_NAME, read_model_info
from delineate.processes import count_processes
from delineate.progress import ProgressDisplay
from delineate.recipes.plan_folder import NOTES, Notes, collect_wishes
from delineate.training.folds.ensemble import Pool, join_models, judge_ensemble, tune_ensemble
from delineate.training.folds.fold import FoldResult, run_fold
from delineate.training.folds.label_check import TABLE, check_labels
from delineate.training.folds.ledger import Ledger, pool_of
from delineate.training.folds.out_of_fold import FOLDER
from delineate.training.folds.settling import begin, reopen_ledger
from delineate.training.folds.student import StudentResult, train_student


@dataclass(frozen=True)
class CrossValidation:
    """What a cross-validation ends with."""

    run: Path
    model: Path
    """The model file of all networks."""
    folds: tuple[FoldResult, ...]
    validation: dict[str, Any]
    """Scores of the out-of-fold predictions, pooled over all images."""
    dice: Interval
    """Pooled, of the out-of-fold predictions."""
    thresholds: tuple[float, ...] | None
    suspects: tuple[Suspect, ...]
    """Regions whose labels the predictions contradict."""
    suspects_path: Path
    report: Path
    student: StudentResult | None
    """The single network, where it was asked for."""
    seconds: float


def cross_validate(
    data: Path | str | None = None,
    *,
    folds: int | None = None,
    run: Path | str | None = None,
    config: Path | str | None = None,
    time: float | str | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    device: str = "auto",
    recipe: str = "generic",
    misses_cost_more: bool = False,
    resume: bool = False,
    exist_ok: bool = False,
    distill: bool = False,
    overrides: Mapping[str, Any] | None = None,
) -> CrossValidation:
    """Train a network for each fold of the images, and join them to one model.

    The images of the training and validation splits are divided into folds (`divide_into_folds`);
    each is held out of one training. Its predictions by that training's network are kept, scored,
    and what threshold, post-processing and temperature are chosen on. The model averages the
    probabilities of all networks. The test split is not touched.

    Each fold is a run of its own in ``run/fold-<n>``. The plan is made once, of all images.

    Args:
        data: A folder, a data.yaml or a CSV of paths; may be left out with `resume`.
        folds: At least 2, such as 5; may be left out with `resume`.
        run: Folder of the cross-validation; None takes the first free runs/<data name>-<n>.
        config: A YAML file of settings.
        time: Length of all folds together, in seconds or as a text such as 10m.
        epochs: Length of each fold in epochs, instead of a time.
        seed: Seed of the first fold; the others count on.
        device: auto, cpu, cuda, cuda:1, mps.
        recipe: generic, medical, aerial, thin, defect, or a YAML file of settings.
        misses_cost_more: Whether a missed pixel is worse than a false alarm.
        resume: Whether to go on with the cross-validation in `run`.
        exist_ok: Whether to write over an earlier run in the same folder.
        distill: Whether to train one network more, which learns from the out-of-fold predictions
            as well as from the labels, in ``run/student``, and to say how it compares; may be
            asked for with `resume` when all else is done.
        overrides: Settings by section, as in the configuration file; they go over it.

    Raises:
        ConfigError: If a setting is unknown or does not fit.
        DataError: If the data are not usable or have fewer groups than folds.
        UsageError: If arguments contradict each other or the run folder is taken.
        KeyboardInterrupt: After Ctrl-C; `resume` goes on.
    """
    started = clock.monotonic()
    if count_processes() > 1:
        raise UsageError(
            "cross-validation runs in one process and torchrun has started "
            f"{count_processes()}; start it without torchrun"
        )
    wishes = collect_wishes(overrides, time=time, epochs=epochs, seed=seed)
    run = None if run is None else Path(run)
    deadline: float | None = None
    if resume:
        run, ledger = reopen_ledger(data, run, config, wishes, folds, distill=distill)
        device = ledger.device if device == "auto" else device
        _say(f"run folder {run}: going on with its {ledger.num_folds} folds")
    else:
        run, ledger = begin(
            data,
            folds,
            run=run,
            config=None if config is None else Path(config),
            wishes=wishes,
            recipe=recipe,
            misses_cost_more=misses_cost_more,
            device=device,
            exist_ok=exist_ok,
            distill=distill,
            started=started,
        )
        wishes = {}  # are in the ledger's settings
        if ledger.seconds_per_fold is not None:
            deadline = started + ledger.settings["training"]["time"]
        _say(f"run folder {run}; its plan.md says why each choice was made")
    settings = build_settings(merge_settings(ledger.settings, wishes))
    results = [
        run_fold(run, ledger, settings, wishes, fold, device)
        for fold in range(1, ledger.num_folds + 1)
    ]
    student = train_student(run, ledger, settings, wishes, device) if ledger.is_distilled else None
    evaluation, suspects = _conclude(run, ledger, settings, results, student, deadline)
    intervals = evaluation.intervals
    assert intervals is not None  # `judge_ensemble` makes them
    return CrossValidation(
        run=run,
        model=run / FILE_NAME,
        folds=tuple(results),
        validation=evaluation.scores.as_dict(),
        dice=intervals.pooled["dice"],
        thresholds=evaluation.scores.thresholds,
        suspects=suspects,
        suspects_path=run / FOLDER / TABLE,
        report=evaluation.report_path,
        student=student,
        seconds=clock.monotonic() - started,
    )


def _say(line: str) -> None:
    ProgressDisplay().print(line)


def _conclude(
    run: Path,
    ledger: Ledger,
    settings: Settings,
    results: Sequence[FoldResult],
    student: StudentResult | None,
    deadline: float | None,
) -> tuple[Evaluation, tuple[Suspect, ...]]:
    """Join the folds' models, tune and judge by the out-of-fold predictions, check the labels."""
    models = [result.run / FILE_NAME for result in results]
    inventory = build_inventory(Path(ledger.data), settings.data)
    samples = pool_of(inventory)
    decoder = MaskDecoder.from_dict(read_model_info(models[0])["decoder"])
    images = ImageCache(samples, decoder, limit_gib=settings.data.cache_gib)
    pool = Pool(run, inventory.root.name, samples, images, settings)
    model = join_models(models, settings, inventory)
    _say("choosing threshold and post-processing")
    tuning = tune_ensemble(model, pool, deadline=deadline)
    evaluation = judge_ensemble(model, pool, tuning)
    suspects = check_labels(pool, model.task, tuning.thresholds)
    _note(run, "Threshold and post-processing", tuning.describe())
    _note(run, "What came of it", _describe_results(results, evaluation, suspects))
    if student is not None:
        _note(run, "One network instead of several", student.describe())
    return evaluation, suspects


def _note(run: Path, heading: str, lines: Sequence[str]) -> None:
    """Add a section to plan.md, where it was not added before the end of an earlier process."""
    path = run / NOTES
    if not path.exists() or f"## {heading}\n" not in path.read_text(encoding="utf-8"):
        Notes.reopen(path).add(heading, lines)


def _describe_results(
    results: Sequence[FoldResult], evaluation: Evaluation, suspects: Sequence[Suspect]
) -> list[str]:
    """Return lines on what came of it, for plan.md."""
    lines = [
        f"{result.run.name}: Dice "
        f"{'undefined' if result.dice is None else f'{result.dice:.4f}'} on the "
        f"{result.num_images} images that it held out."
        for result in results
    ]
    dice = evaluation.scores.pooled["dice"]
    if dice is not None:
        lines.append(f"All out-of-fold predictions, pooled: Dice {dice:.4f}.")
    lines.append(f"{len(suspects)} regions whose labels look doubtful: {FOLDER}/{TABLE}.")
    return lines
