"""One fold: an ordinary run whose plan, preprocessing and validation images are given."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from delineate.config import (
    Settings,
    build_settings,
    dump_settings,
    merge_settings,
    save_settings,
)
from delineate.data.fingerprint.fingerprint import FILE_NAME as FINGERPRINT
from delineate.data.fingerprint.fingerprint import load_fingerprint, save_fingerprint
from delineate.data.inventory import build_inventory, save_inventory
from delineate.distributed import choose_device
from delineate.model_file import FILE_NAME, read_model_info
from delineate.progress import ProgressDisplay
from delineate.recipes.plan_folder import CONFIG, INVENTORY, NOTES
from delineate.recipes.planning import digest_inventory
from delineate.training.checkpoint import FOLDER as CHECKPOINTS
from delineate.training.checkpoint import remove_checkpoints
from delineate.training.folds.ledger import Ledger
from delineate.training.folds.out_of_fold import is_predicted, predict_held_out
from delineate.training.folds.teaching import save_share
from delineate.training.preparation import load_preprocessing, reopen, save_preprocessing
from delineate.training.run_folder import prepare_run_folder
from delineate.training.trainer import train, train_prepared

if TYPE_CHECKING:
    from delineate.training.preparation import Preparation


@dataclass(frozen=True)
class FoldResult:
    """One training of a cross-validation."""

    run: Path
    num_images: int
    """Images that were held out."""
    dice: float | None
    """Of them, with the threshold that was tuned on them."""


def fold_folder(run: Path, fold: int) -> Path:
    """Return the run folder of a fold, counted from 1."""
    return run / f"fold-{fold}"


def run_fold(
    run: Path,
    ledger: Ledger,
    settings: Settings,
    wishes: Mapping[str, Any],
    fold: int,
    device: str,
) -> FoldResult:
    """Train what is left of a fold, and predict what it has held out.

    Args:
        run: The folder of the cross-validation.
        ledger: What is settled for all folds.
        settings: Of all folds.
        wishes: Settings that were given to go on with.
        fold: Counted from 1.
        device: auto, cpu, cuda, ...
    """
    folder, names = fold_folder(run, fold), ledger.held_out(fold)
    title = f"fold {fold} of {ledger.num_folds}: {len(names)} images are held out"
    prep = train_part(run, folder, ledger, settings, wishes, fold, device, title=title)
    if not is_predicted(run, names):
        if prep is None:
            prep = reopen(folder, Path(ledger.data), _settings_of(ledger, settings, fold))
        predict_held_out(
            run,
            folder / FILE_NAME,
            prep.validation_samples(),
            prep.plan.data.validation_images.samples,
            device=device,
        )
    scores = read_model_info(folder)["metrics"]["validation"]
    return FoldResult(folder, len(names), scores["pooled"]["dice"])


def train_part(
    run: Path,
    folder: Path,
    ledger: Ledger,
    settings: Settings,
    wishes: Mapping[str, Any],
    fold: int,
    device: str,
    *,
    title: str,
    teaching_share: float | None = None,
) -> Preparation | None:
    """Train what is left of a run that holds out the images of a fold.

    Args:
        run: The folder of the cross-validation.
        folder: That of the run.
        ledger: What is settled for all folds.
        settings: Of all folds.
        wishes: Settings that were given to go on with.
        fold: Counted from 1.
        device: auto, cpu, cuda, ...
        title: What is printed where there is something to train.
        teaching_share: Of the out-of-fold predictions in the loss; None learns labels alone.

    Returns:
        What was trained on; None where the training had begun before.
    """
    started = clock.monotonic()
    if _is_trained(folder):
        return None
    ProgressDisplay().print(title)
    if any(path.suffix != ".tmp" for path in (folder / CHECKPOINTS).glob("step-*")):
        train(ledger.data, run=folder, resume=True, device=device, overrides=wishes)
        return None
    prep = _settle(run, folder, ledger, settings, fold, teaching_share)
    train_prepared(prep, choose_device(device), started)
    return prep


def _is_trained(folder: Path) -> bool:
    """Return whether a training has ended, and not by an interruption."""
    has_results = all((folder / name).exists() for name in (FILE_NAME, "report.html"))
    return has_results and not (folder / CHECKPOINTS).exists()


def _settle(
    run: Path,
    folder: Path,
    ledger: Ledger,
    settings: Settings,
    fold: int,
    teaching_share: float | None,
) -> Preparation:
    """Write the plan of a run into its folder, and read its data."""
    own = _settings_of(ledger, settings, fold)
    prepare_run_folder(folder)
    remove_checkpoints(folder)
    save_settings(own, folder / CONFIG)
    digest = digest_inventory(build_inventory(Path(ledger.data), own.data))
    fingerprint = replace(load_fingerprint(run / FINGERPRINT), digest=digest)
    save_fingerprint(fingerprint, folder / FINGERPRINT)
    save_preprocessing(folder, load_preprocessing(run))
    if teaching_share is not None:
        save_share(folder, teaching_share)
    prep = reopen(folder, Path(ledger.data), own)
    save_inventory(prep.inventory, folder / INVENTORY)
    lines = [
        f"Fold {fold} of {ledger.num_folds}; ../{NOTES} says why each choice was made.",
        f"{len(ledger.held_out(fold))} images are held out, {len(prep.images)} to learn from.",
    ]
    if teaching_share is not None:
        lines.append(
            f"{teaching_share:.0%} of the loss is the cross-entropy to the out-of-fold predictions."
        )
    prep.note("Fold", lines)
    return prep


def _settings_of(ledger: Ledger, settings: Settings, fold: int) -> Settings:
    """Return the settings of a fold: those of all, its images, its seed and its time."""
    own: dict[str, Any] = {
        "data": {"validation": ledger.held_out(fold)},
        "training": {"seed": settings.training.seed + fold - 1},
    }
    if ledger.seconds_per_fold is not None:
        own["training"]["time"] = ledger.seconds_per_fold
    return build_settings(merge_settings(dump_settings(settings), own))
