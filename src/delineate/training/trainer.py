"""Training: from a data set to a run folder with a model that can be used."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from delineate.data.dataset import explain_worker_errors
from delineate.errors import DataError, UsageError
from delineate.memory import keep_freed_memory
from delineate.model_file import FILE_NAME
from delineate.processes import ALONE, Team, choose_team_device, count_restarts, join_team
from delineate.progress import ProgressDisplay, quiet
from delineate.recipes.plan_folder import collect_wishes
from delineate.training.assembly import assemble
from delineate.training.checkpoint import find_checkpoint, remove_checkpoints, sweep_debris
from delineate.training.fitting import fit
from delineate.training.interruption import Interruption
from delineate.training.preparation import Preparation, prepare, reopen
from delineate.training.results import write_results
from delineate.training.resuming import (
    Unfinished,
    check_contents,
    check_num_processes,
    find_unfinished,
)

if TYPE_CHECKING:
    import torch

    from delineate.training.verdict.judging import Finding


@dataclass(frozen=True)
class TrainingResult:
    """What training ends with."""

    run: Path
    """The run folder."""
    model: Path
    """The model file in it."""
    validation: dict[str, Any]
    """Scores of the best epoch on the validation split."""
    thresholds: tuple[float, ...] | None
    """Tuned on the validation split, one per class; None where the argmax decides."""
    best_epoch: int
    num_steps: int
    seconds: float
    reason: str
    """Why training ended."""
    findings: tuple[Finding, ...] = ()
    """What stood in its way, and what to do about each."""


def train(
    data: Path | str | None = None,
    *,
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
    overrides: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Train a model on images and masks; the test split is not touched.

    On the CPU the same data, seed, settings, number of steps and threads give the same model,
    whether training was interrupted and resumed or not. Ctrl-C (or SIGTERM) ends training after
    the current step and keeps the best model.

    Started by torchrun, its processes train one model together: a step is that of one process with
    all their batches in one, whatever their number. Each process returns the same result; the
    first writes all files. A process that dies ends all; where torchrun then starts them anew, they
    go on from the last checkpoint in `run`.

    Args:
        data: A folder, a data.yaml or a CSV of paths; may be left out with `resume`.
        run: The run folder; None takes the first free runs/<data name>-<n>.
        config: A YAML file of settings.
        time: Length in seconds, or as a text such as 10m; reading the data, validation and the
            report are inside it.
        epochs: Length in epochs, instead of a time.
        seed: Seed of the weights, the patches and the augmentation.
        device: auto, cpu, cuda, cuda:1, mps.
        recipe: generic, medical, aerial, thin, defect, or a YAML file of settings.
        misses_cost_more: Whether a missed pixel is worse than a false alarm.
        resume: Whether to go on with the training in `run` that was interrupted or killed.
        exist_ok: Whether to write over an earlier run in the same folder.
        overrides: Settings by section, as in the configuration file; they go over it.

    Raises:
        ConfigError: If a setting is unknown or does not fit.
        DataError: If the data are not usable, or the loss does not stay finite.
        DelineateError: If another process failed; with its message.
        ResourceError: If another process is gone.
        UsageError: If arguments contradict each other or the run folder is taken.
        KeyboardInterrupt: After Ctrl-C, once the model and the results are saved.
    """
    started = clock.monotonic()
    wishes = collect_wishes(overrides, time=time, epochs=epochs, seed=seed)
    run = None if run is None else Path(run)
    with join_team(device) as team, quiet(not team.is_main):
        unfinished: Unfinished | None = None
        is_again = run is not None and count_restarts() > 0
        if resume or (is_again and team.share(team.is_main and _has_checkpoint(run))):
            unfinished, prep, where = _reopen(
                data, run, None if is_again else config, wishes, device, team
            )
            started -= unfinished.elapsed
        elif data is None:
            raise UsageError("train needs DATA: a folder, a data.yaml or a CSV of paths")
        else:
            where = choose_team_device(device, team)
            prep = prepare(
                Path(data),
                run=run,
                config=None if config is None else Path(config),
                wishes=wishes,
                recipe=recipe,
                misses_cost_more=misses_cost_more,
                device=where.type,
                exist_ok=exist_ok or is_again,
                team=team,
            )
        return train_prepared(prep, where, started, unfinished, team)


def train_prepared(
    prep: Preparation,
    where: torch.device,
    started: float,
    unfinished: Unfinished | None = None,
    team: Team = ALONE,
) -> TrainingResult:
    """Train on what `prepare` has settled, or go on with it; see `train`.

    Args:
        prep: Data, settings and run folder.
        where: The device.
        started: When training began, on `time.monotonic`'s clock.
        unfinished: Where to go on; None begins.
        team: All processes of the training.

    Raises:
        DataError: If the loss does not stay finite.
        KeyboardInterrupt: After Ctrl-C, once the model and the results are saved.
    """
    with Interruption(team) as interruption, ProgressDisplay() as display, keep_freed_memory():
        if unfinished is None:
            display.print(f"run folder {prep.run}; its plan.md says why each choice was made")
        else:
            _announce(unfinished, prep, display)
        parts = assemble(prep, where, team)
        # Torch may tell of a killed process while an error before it is being dealt with.
        with explain_worker_errors():
            outcome = fit(prep, parts, interruption, display, started, unfinished)
        if team.is_main:
            write_results(prep, outcome.best)
        interruption.settle()
    interruption.raise_if_requested()
    if team.is_main:
        remove_checkpoints(prep.run)
    return TrainingResult(
        run=prep.run,
        model=prep.run / FILE_NAME,
        validation=outcome.best.scores.as_dict(),
        thresholds=outcome.best.scores.thresholds,
        best_epoch=outcome.best_epoch,
        num_steps=outcome.num_steps,
        seconds=clock.monotonic() - started,
        reason=outcome.reason,
        findings=outcome.findings,
    )


def _has_checkpoint(run: Path | None) -> bool:
    if run is None:
        return False
    try:
        find_checkpoint(run)
    except DataError:
        return False
    return True


def _reopen(
    data: Path | str | None,
    run: Path | None,
    config: Path | str | None,
    wishes: Mapping[str, Any],
    device: str,
    team: Team,
) -> tuple[Unfinished, Preparation, torch.device]:
    """Return what a run folder holds unfinished, with its data read again."""
    if run is None:
        raise UsageError("--resume needs the folder of the training to go on with: --run DIR")
    if config is not None:
        raise UsageError("--resume goes on with the settings of the run; leave --config out")
    found: Unfinished | None = None
    if team.is_main:
        if not run.is_dir():
            raise UsageError(f"run folder {run} is not there; name the folder of a training")
        sweep_debris(run)
        found = find_unfinished(run, wishes)
    unfinished = team.share(found)
    assert unfinished is not None  # the first process has found it
    check_num_processes(unfinished, run, team.size)
    where = choose_team_device(unfinished.device if device == "auto" else device, team)
    where_data = unfinished.data if data is None else Path(data)
    prep = reopen(run, where_data, unfinished.settings, team, unfinished.load_memory())
    check_contents(unfinished, prep)
    return unfinished, prep, where


def _announce(unfinished: Unfinished, prep: Preparation, display: ProgressDisplay) -> None:
    step = unfinished.position.step
    for fault in unfinished.checkpoint.damaged:
        display.print(f"passed over a checkpoint: {fault}")
    total = unfinished.length.num_steps
    display.print(f"run folder {prep.run}: going on after step {step} of {total}")
    prep.note("Resumed", [f"After step {step}."])
