"""The start of a cross-validation, and of going on with one: what is settled for all folds."""

from __future__ import annotations

import math
import shutil
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.config import build_settings, dump_settings, merge_settings, read_settings
from delineate.data.inventory import build_inventory
from delineate.distributed import choose_device
from delineate.errors import ConfigError, DataError, UsageError
from delineate.progress import format_duration
from delineate.recipes.plan_folder import CONFIG, write_plan
from delineate.recipes.planning import Plan, make_plan
from delineate.training.folds.assignment import count_class_pixels, divide_into_folds
from delineate.training.folds.ledger import (
    Ledger,
    digest_pool,
    load_ledger,
    pool_of,
)
from delineate.training.folds.out_of_fold import FOLDER
from delineate.training.folds.student import FOLDER as STUDENT
from delineate.training.preparation import save_preprocessing
from delineate.training.resuming import refuse_changes, refuse_other_data
from delineate.training.run_folder import (
    FOLDS,
    choose_run_folder,
    is_cross_validation,
    prepare_run_folder,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.data.inventory import Sample

CLOSING_SHARE = 0.1
"""Share of a given time that is kept for what comes after the folds."""
CLOSING_SECONDS = 120.0
"""It is at most these seconds."""
LEAST_SECONDS = 2.0
"""A fold of less time is refused."""


def begin(
    data: Path | str | None,
    num_folds: int | None,
    *,
    run: Path | None,
    config: Path | None,
    wishes: Mapping[str, Any],
    recipe: str,
    misses_cost_more: bool,
    device: str,
    exist_ok: bool,
    distill: bool,
    started: float,
) -> tuple[Path, Ledger]:
    """Plan all folds and write the plan into the run folder.

    Args and errors are those of `cross_validate`; `started` is on `time.monotonic`'s clock.
    """
    if data is None:
        raise UsageError("train needs DATA: a folder, a data.yaml or a CSV of paths")
    if num_folds is None or num_folds < 2:
        raise UsageError(f"folds is {num_folds}; cross-validation takes 2 or more, such as 5")
    data = Path(data)
    run = choose_run_folder(run, data, exist_ok=exist_ok)
    plan = make_plan(
        data,
        config=config,
        wishes=wishes,
        recipe=recipe,
        misses_cost_more=misses_cost_more,
        device=choose_device(device).type,
        joins_validation=True,
        num_trainings=num_folds + distill,
    )
    if plan.settings.data.validation:
        raise ConfigError(
            "data.validation names validation images, and cross-validation holds each image out "
            "once; leave data.validation out, or folds"
        )
    samples = pool_of(plan.data.inventory)
    fold = _divide(plan, samples, num_folds, data)
    ledger = Ledger(
        data=str(data.resolve()),
        device=device,
        num_folds=num_folds,
        fold_of={
            sample.name: int(number) + 1 for sample, number in zip(samples, fold, strict=True)
        },
        digests=digest_pool(samples),
        settings=dump_settings(plan.settings),
        seconds_per_fold=_share_time(plan.settings.training.time, num_folds + distill, started),
        is_distilled=distill,
    )
    if is_cross_validation(run):
        for folder in (*run.glob("fold-*"), run / FOLDER, run / STUDENT):
            shutil.rmtree(folder, ignore_errors=True)
    prepare_run_folder(run)
    notes = write_plan(plan, run)
    save_preprocessing(run, plan.data.preprocessing)
    notes.add("Folds", _describe_folds(plan, samples, ledger))
    ledger.save(run)
    return run, ledger


def _divide(plan: Plan, samples: Sequence[Sample], num_folds: int, data: Path) -> NDArray[np.intp]:
    groups = [sample.group for sample in samples]
    num_groups = len(set(groups))
    if num_groups < num_folds:
        unit = "images" if num_groups == len(samples) else "groups of images"
        advice = "add data" if unit == "images" else "add data, or look at data.groups"
        if num_groups > 1:
            advice = f"give --folds {num_groups} or fewer, {advice}"
        raise DataError(
            f"{data} has {num_groups} {unit} outside of its test split and cannot be divided into "
            f"{num_folds} folds; {advice}"
        )
    targets = (image.target for image in plan.data.images)
    contents = count_class_pixels(targets, plan.data.task)
    return divide_into_folds(groups, contents, num_folds, seed=plan.settings.data.split_seed)


def _share_time(seconds: float | None, num_parts: int, started: float) -> float | None:
    """Return the time of each training, from that of all together."""
    if seconds is None:
        return None
    closing = min(CLOSING_SHARE * seconds, CLOSING_SECONDS)
    left = seconds - closing - (clock.monotonic() - started)
    if left < num_parts * LEAST_SECONDS:
        needed = (seconds - left + num_parts * LEAST_SECONDS) * 1.1
        raise UsageError(
            f"of {format_duration(seconds)}, {format_duration(max(left, 0))} are left for "
            f"{num_parts} trainings after the data were read; give --time "
            f"{math.ceil(needed)}s or more"
        )
    return left / num_parts


def _describe_folds(plan: Plan, samples: Sequence[Sample], ledger: Ledger) -> list[str]:
    """Return lines on the folds, for plan.md."""
    lines = []
    if ledger.seconds_per_fold is not None:
        lines.append(f"Time of each: {format_duration(ledger.seconds_per_fold)}.")
    counts = count_class_pixels((image.target for image in plan.data.images), plan.data.task)
    names = list(plan.fingerprint.class_shares)
    group_of = {sample.name: sample.group for sample in samples}
    for fold in range(1, ledger.num_folds + 1):
        held_out = set(ledger.held_out(fold))
        rows = [index for index, sample in enumerate(samples) if sample.name in held_out]
        num_groups = len({group_of[name] for name in held_out})
        shares = counts[rows].sum(axis=0) / np.maximum(counts.sum(axis=0), 1)
        text = ", ".join(f"{share:.1%} of {n}" for n, share in zip(names, shares, strict=True))
        lines.append(f"Fold {fold} holds out {len(rows)} images in {num_groups} groups: {text}.")
    return lines


def reopen_ledger(
    data: Path | str | None,
    run: Path | None,
    config: Path | str | None,
    wishes: Mapping[str, Any],
    num_folds: int | None,
    *,
    distill: bool,
) -> tuple[Path, Ledger]:
    """Return what was settled, once it is sure that nothing has changed.

    Args and errors are those of `cross_validate`.
    """
    if run is None:
        raise UsageError("--resume needs the folder of the training to go on with: --run DIR")
    if config is not None:
        raise UsageError("--resume goes on with the settings of the run; leave --config out")
    if not is_cross_validation(run):
        raise UsageError(
            f"{run} holds no cross-validation (no {FOLDS}); name the folder of one, or leave "
            "--resume out to begin"
        )
    ledger = load_ledger(run)
    if num_folds not in (None, ledger.num_folds):
        raise UsageError(
            f"{run} has {ledger.num_folds} folds and cannot go on with {num_folds}; leave --folds "
            "out, or start a new training"
        )
    if data is not None:
        ledger = replace(ledger, data=str(data))
    before = build_settings(ledger.settings)
    now = build_settings(merge_settings(read_settings(run / CONFIG), wishes))
    refuse_changes(before, now, run / CONFIG)
    where = Path(ledger.data)
    samples = pool_of(build_inventory(where, before.data))
    refuse_other_data(ledger.digests, digest_pool(samples), data=where, run=run)
    if distill and not ledger.is_distilled:
        ledger = replace(ledger, is_distilled=True)
        ledger.save(run)
    return run, ledger
