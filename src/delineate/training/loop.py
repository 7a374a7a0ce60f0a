"""The loop: steps, validations, and every reason to end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from delineate.processes import ALONE, Team
from delineate.progress import Bar, ProgressDisplay
from delineate.training.history import EpochRecord
from delineate.training.interruption import Interruption
from delineate.training.length import Length, Pace
from delineate.training.optimization import Schedule, WeightAverage
from delineate.training.recovery import MAX_REFUSED_STEPS, Recovery
from delineate.training.step import Batch, Stepper
from delineate.training.validation import Validation

if TYPE_CHECKING:
    from delineate.training.verdict.judging import Finding


@dataclass(frozen=True)
class Outcome:
    """How the loop ended."""

    num_steps: int
    length: Length
    """What was planned, as shortened on the way."""
    best_epoch: int
    best: Validation
    reason: str
    """Why training ended, in one sentence."""
    findings: tuple[Finding, ...] = ()
    """What stood in its way; found after the loop."""


@dataclass
class Position:
    """How far a training is; with the weights and generators, all that it needs to go on."""

    epoch: int = 0
    """Epochs that are over."""
    step: int = 0
    """Steps made in all."""
    losses: list[float] = field(default_factory=list)
    """Of the steps of the epoch that is not over."""
    steps_in_epoch: int = 0
    """Steps made in the epoch that is not over, refused ones included."""
    best_epoch: int = 0
    num_refused: int = 0
    """Steps in a row, up to now, whose loss or gradient was not finite."""
    num_rollbacks: int = 0
    """How often training has gone back to good weights."""


@dataclass
class Loop:
    """Trains until the steps are done, the score has stopped rising, or a signal comes."""

    stepper: Stepper
    average: WeightAverage | None
    load_epoch: Callable[[int, int], Iterator[list[Batch]]]
    """Epoch and first step, counted from 0, to the batches of each of its steps."""
    validate: Callable[[], Validation]
    save_epoch: Callable[[EpochRecord, Validation, bool], None]
    """Called after each validation with its record and whether it is the best so far."""
    save_checkpoint: Callable[[Position, Length, Schedule], None]
    checkpoint_every: float
    """Seconds between checkpoints; one more is saved when training is interrupted."""
    recovery: Recovery
    """Where training goes when its steps are refused; knows the learning rate."""
    patches_per_step: int
    interruption: Interruption
    display: ProgressDisplay
    started: float
    """When training was called, on `time.monotonic`'s clock."""
    pace: Pace | None = None
    """Watches the time where the length was given as a time."""
    early_stopping: int | None = None
    position: Position = field(default_factory=Position)
    """Where to start; moves on."""
    best: Validation | None = None
    """Of the best epoch before the start, if there is one."""
    team: Team = ALONE
    """All of its processes run this loop side by side and decide everything alike."""
    _saved: float = field(default_factory=time.monotonic, init=False)
    _refused: Sequence[Batch] = field(default=(), init=False)
    """Batches of the last step that was refused."""

    def run(self, length: Length, schedule: Schedule) -> Outcome:
        """Train for a length.

        Raises:
            DataError: If the loss stays not finite, in spite of going back; names the images of
                the last batch.
        """
        at = self.position
        best = self.best
        reason = "all steps were made"
        with self.display.bar("training", total=length.num_steps) as bar:
            if at.step:
                bar.advance(at.step)
            while at.step < length.num_steps or at.steps_in_epoch:
                length = self._train_epoch(length, schedule, bar, best.dice if best else None)
                is_cut = self.interruption.is_requested
                if is_cut:
                    self._save(length, schedule)
                    if best is not None:
                        break
                losses = at.losses
                before = time.monotonic()
                validation = self._validate()
                at.epoch += 1
                at.losses, at.steps_in_epoch = [], 0
                record = EpochRecord(
                    epoch=at.epoch,
                    seconds=time.monotonic() - self.started,
                    train_loss=sum(losses) / len(losses) if losses else math.nan,
                    val_loss=validation.loss,
                    dice=validation.dice,
                    miou=validation.miou,
                    learning_rate=self._rate(schedule, at.step - 1),
                )
                is_best = best is None or _rank(validation) > _rank(best)
                if is_best:
                    best, at.best_epoch = validation, at.epoch
                self.save_epoch(record, validation, is_best)
                self.interruption.settle()
                if self.pace is not None:
                    self.pace.validation_seconds = time.monotonic() - before
                self.display.print(_describe_epoch(record, length, is_best))
                if self.interruption.is_requested:
                    if not is_cut:  # a cut epoch was saved before its validation
                        self._save(length, schedule)
                    break
                if self.early_stopping and at.epoch - at.best_epoch >= self.early_stopping:
                    reason = f"the score has not risen for {self.early_stopping} epochs"
                    break
        if self.interruption.is_requested:
            reason = "training was interrupted"
        assert best is not None  # every way out of the loop has validated at least once
        return Outcome(at.step, length, at.best_epoch, best, reason)

    def _train_epoch(
        self, length: Length, schedule: Schedule, bar: Bar, dice: float | None
    ) -> Length:
        """Make the steps that are left of one epoch; return the length as it is now."""
        at = self.position
        if at.steps_in_epoch >= length.steps_per_epoch or at.step >= length.num_steps:
            return length  # was interrupted between the last step and the validation
        before = time.monotonic()
        for batches in self.load_epoch(at.epoch, at.steps_in_epoch):
            loss = self.stepper.step(batches, self._rate(schedule, at.step))
            at.step += 1
            at.steps_in_epoch += 1
            if loss is None:
                at.num_refused += 1
                self._refused = batches
                if at.num_refused == MAX_REFUSED_STEPS:
                    self._go_back(
                        "the loss or its gradient was not finite in "
                        f"{MAX_REFUSED_STEPS} steps in a row"
                    )
            else:
                at.num_refused = 0
                at.losses.append(loss)
                if self.average is not None:
                    self.average.update()
            now = time.monotonic()
            seconds, before = now - before, now
            self.interruption.settle()
            shown: dict[str, float | str] = {} if loss is None else {"loss": loss}
            if dice is not None:
                shown["Dice"] = dice
            bar.advance(1, **shown, speed=f"{self.patches_per_step / seconds:.1f} patches/s")
            if self.pace is not None:
                fitting = self.pace.fitting_steps(seconds, step=at.step, length=length)
                fitting = self.team.share(fitting)
                if fitting is not None:
                    length = self._shorten(length, schedule, at.step, fitting)
                    bar.resize(length.num_steps)
            if self.interruption.is_requested or at.step >= length.num_steps:
                break
            if self.team.share(now - self._saved >= self.checkpoint_every):
                self._save(length, schedule)
                self._saved = before = time.monotonic()
        return length

    def _shorten(self, length: Length, schedule: Schedule, step: int, num_steps: int) -> Length:
        if num_steps > step:
            schedule.shorten(step, num_steps)
        self.display.print(
            f"the machine has become slower: {num_steps} steps instead of {length.num_steps}"
        )
        reason = f"{length.reason} Shortened to {num_steps} at step {step}: steps became slower."
        return replace(length, num_steps=num_steps, reason=reason)

    def _rate(self, schedule: Schedule, step: int) -> float:
        return self.recovery.peak_rate(self.position.num_rollbacks) * schedule.factor(step)

    def _validate(self) -> Validation:
        """Validate; weights that are not finite, or predict what is not, are given up before."""
        while True:
            if self.stepper.is_sound():
                validation = self.validate()
                if math.isfinite(validation.loss):
                    return validation
            self._go_back("the weights or what they predict were no longer finite")

    def _go_back(self, reason: str) -> None:
        at = self.position
        self.recovery.go_back(reason, at.step, at.num_rollbacks, self._refused)
        at.num_rollbacks += 1
        at.num_refused = 0

    def _save(self, length: Length, schedule: Schedule) -> None:
        if self.stepper.is_sound():  # else the checkpoint before is the one to go on from
            self.save_checkpoint(self.position, length, schedule)


def _rank(validation: Validation) -> float:
    return -1.0 if math.isnan(validation.dice) else validation.dice


def _describe_epoch(record: EpochRecord, length: Length, is_best: bool) -> str:
    return (
        f"epoch {record.epoch}/{length.num_epochs}  {record.seconds:.0f} s  "
        f"train loss {record.train_loss:.4f}  val loss {record.val_loss:.4f}  "
        f"Dice {record.dice:.4f}  IoU {record.miou:.4f}  lr {record.learning_rate:.2e}"
        f"{'  best' if is_best else ''}"
    )
