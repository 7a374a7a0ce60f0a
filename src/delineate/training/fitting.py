"""From parts to a trained model: the loop, what it writes on the way, and what comes after it."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from delineate.config import dump_settings, flatten_settings
from delineate.data.dataset import explain_worker_errors
from delineate.errors import DelineateError
from delineate.progress import ProgressDisplay
from delineate.rasters import write_image
from delineate.recipes.plan_folder import CONFIG, NOTES
from delineate.training.assembly import Parts, PatchSource, build_stepper
from delineate.training.checkpoint import remove_checkpoints
from delineate.training.disk import check_room
from delineate.training.gallery import EpochPictures, draw_gallery
from delineate.training.history import EpochRecord, History
from delineate.training.interruption import Interruption
from delineate.training.left_out import LeftOut
from delineate.training.length import Length
from delineate.training.loggers.logger import RunFacts
from delineate.training.loggers.opening import open_loggers
from delineate.training.loop import Loop, Outcome, Position
from delineate.training.optimization import Schedule
from delineate.training.preparation import Preparation
from delineate.training.recovery import GoodWeights, Recovery, find_suspects
from delineate.training.results import save_run_model
from delineate.training.resuming import Unfinished, restore_training, save_training
from delineate.training.speed import describe_length, fix_length, resume_pace, tuning_deadline
from delineate.training.tuning import tune_run
from delineate.training.verdict.evidence import gather_evidence
from delineate.training.verdict.judging import describe_findings, judge, save_findings

if TYPE_CHECKING:
    from delineate.training.step import Batch
    from delineate.training.validation import Validation


def fit(
    prep: Preparation,
    parts: Parts,
    interruption: Interruption,
    display: ProgressDisplay,
    started: float,
    unfinished: Unfinished | None,
) -> Outcome:
    """Fix the length, train, and write down each epoch and what came of it."""
    settings = prep.settings.training
    good = GoodWeights(prep, parts)

    def report(sentence: str) -> None:
        display.print(sentence)
        prep.note("On the way", [f"{sentence[0].upper()}{sentence[1:]}."])

    if parts.team.is_main:
        check_room(prep.run, parts.network, has_average=parts.average is not None)
    stepper = build_stepper(prep, parts, parts.network, report)
    best: Validation | None = None
    if unfinished is None:
        if parts.team.is_main:
            remove_checkpoints(prep.run)  # of an earlier run that is written over
        length, pace = fix_length(prep, parts, started)
        prep.note("Length", describe_length(prep, length))
        schedule = Schedule(length.num_steps, settings.warmup_fraction)
        position = Position()
    else:
        best = restore_training(unfinished, prep, parts, stepper)
        length, schedule, position = unfinished.length, unfinished.schedule, unfinished.position
        pace = resume_pace(prep, parts, started, length)
    records = unfinished.records if unfinished else ()
    history = History(None, records)
    if parts.team.is_main:
        history = _start_history(prep, display, records)
    num_pictures = prep.settings.logging.pictures if parts.team.is_main else 0
    pictures = EpochPictures(
        prep.task, num_pictures, lambda picture: history.add_picture("epochs", picture)
    )

    left_out = LeftOut(
        prep.images,
        report,
        met=unfinished.left_out if unfinished else (),
        team=parts.team,
    )

    def save_epoch(record: EpochRecord, validation: Validation, is_best: bool) -> None:
        left_out.settle()
        if is_best and parts.team.is_main:
            save_run_model(prep, parts, validation)
        history.add(record)
        pictures.show(validation, record.epoch)

    def save_checkpoint(position: Position, length: Length, schedule: Schedule) -> None:
        left_out.settle()
        save_training(
            prep,
            parts,
            stepper,
            position=position,
            length=length,
            schedule=schedule,
            records=history.records,
            elapsed=clock.monotonic() - started,
            left_out=sorted(left_out.met),
        )

    source = PatchSource(prep, parts, length.steps_per_epoch, left_out.met)

    def load_epoch(epoch: int, first_step: int) -> Iterator[list[Batch]]:
        for batches in source.load_epoch(epoch, first_step):
            left_out.note(batches)
            yield batches

    names = [sample.name for sample in prep.images.samples]
    recovery = Recovery(
        settings.learning_rate,
        put_back=lambda: good.put_back(stepper, position.best_epoch),
        find_suspects=lambda batches: find_suspects(batches, names, parts.team),
        report=report,
    )
    loop = Loop(
        stepper=stepper,
        average=parts.average,
        load_epoch=load_epoch,
        validate=parts.validator.run,
        save_epoch=save_epoch,
        save_checkpoint=save_checkpoint,
        checkpoint_every=settings.checkpoint_every,
        recovery=recovery,
        patches_per_step=settings.batch_size * settings.accumulation * parts.team.size,
        interruption=interruption,
        display=display,
        started=started,
        pace=pace,
        early_stopping=settings.early_stopping,
        position=position,
        best=best,
        team=parts.team,
    )
    try:
        with explain_worker_errors():
            outcome = loop.run(length, schedule)
        deadline = None if settings.time is None else tuning_deadline(settings.time, started)
        if interruption.is_requested:  # somebody waits for the end
            deadline = clock.monotonic()
        tuned = parts.validator.collect(outcome.best)
        if parts.team.is_main:
            tuned = tune_run(prep, tuned, display, deadline=deadline)
            gallery = draw_gallery(prep, tuned)
            history.add_picture("validation", gallery)
            write_image(prep.run / "figures" / "gallery.png", gallery)
        outcome = replace(outcome, best=parts.validator.spread(tuned))
        if not interruption.is_requested:
            evidence = gather_evidence(
                prep,
                outcome.best,
                history.records,
                num_steps=outcome.num_steps,
                num_rollbacks=position.num_rollbacks,
            )
            outcome = replace(outcome, findings=parts.team.share(judge(evidence)))
        history.conclude(
            outcome.best_epoch, outcome.reason, is_interrupted=interruption.is_requested
        )
    except BaseException as error:
        with suppress(DelineateError):  # it must not hide the error before
            history.close()
            if isinstance(error, DelineateError):
                prep.note("What came of it", [f"Failed: {error}."])
        raise
    history.close()
    prep.note(
        "What came of it",
        [
            f"Ended after {outcome.num_steps} steps: {outcome.reason}.",
            f"Best epoch: {outcome.best_epoch} of {len(history.records)}.",
            *([outcome.length.reason] if outcome.length != length else []),
            *left_out.describe(),
        ],
    )
    if parts.team.is_main and not interruption.is_requested:
        save_findings(outcome.findings, prep.run)
        prep.note("What stood in its way", describe_findings(outcome.findings))
    return outcome


def _start_history(
    prep: Preparation, display: ProgressDisplay, records: Sequence[EpochRecord]
) -> History:
    """Open the files and loggers that each epoch is written to."""
    logging = prep.settings.logging
    facts = RunFacts(
        folder=prep.run,
        project=logging.project,
        settings=flatten_settings(dump_settings(prep.settings)),
        texts={name: (prep.run / name).read_text("utf-8") for name in (CONFIG, NOTES)},
        past=tuple((record.epoch, record.scalars()) for record in records),
    )
    return History(prep.run, records, open_loggers(logging.to, facts, display.print))
