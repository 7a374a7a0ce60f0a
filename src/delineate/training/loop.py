"""The loop: steps, validations, and every reason to end."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from delineate.errors import DataError
from delineate.progress import Bar, ProgressDisplay
from delineate.training.history import EpochRecord
from delineate.training.interruption import Interruption
from delineate.training.length import Length, Pace
from delineate.training.optimization import Schedule, WeightAverage
from delineate.training.step import Batch, Stepper
from delineate.training.validation import Validation

MAX_REFUSED_STEPS = 10
"""Steps in a row without a finite loss, after which training stops."""


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


@dataclass
class Loop:
    """Trains until the steps are done, the score has stopped rising, or a signal comes."""

    stepper: Stepper
    average: WeightAverage | None
    load_epoch: Callable[[int], Iterator[list[Batch]]]
    """Epoch, counted from 0, to the batches of each of its steps."""
    validate: Callable[[], Validation]
    save_epoch: Callable[[EpochRecord, Validation, bool], None]
    """Called after each validation with its record and whether it is the best so far."""
    name_files: Callable[[Sequence[Batch]], list[str]]
    """Names the images of batches, for the message when a loss is not finite."""
    learning_rate: float
    patches_per_step: int
    interruption: Interruption
    display: ProgressDisplay
    started: float
    """When training was called, on `time.monotonic`'s clock."""
    pace: Pace | None = None
    """Watches the time where the length was given as a time."""
    early_stopping: int | None = None
    _num_refused: int = field(default=0, init=False)
    """Steps in a row, up to now, whose loss or gradient was not finite."""

    def run(self, length: Length, schedule: Schedule) -> Outcome:
        """Train for a length.

        Raises:
            DataError: If the loss stays not finite; names the images of the last batch.
        """
        best: Validation | None = None
        best_epoch = epoch = step = 0
        reason = "all steps were made"
        with self.display.bar("training", total=length.num_steps) as bar:
            while step < length.num_steps:
                dice = best.dice if best else None
                losses, step, length = self._train_epoch(epoch, step, length, schedule, bar, dice)
                epoch += 1
                if self.interruption.is_requested and best is not None:
                    break
                before = time.monotonic()
                validation = self.validate()
                record = EpochRecord(
                    epoch=epoch,
                    seconds=time.monotonic() - self.started,
                    train_loss=sum(losses) / len(losses) if losses else math.nan,
                    val_loss=validation.loss,
                    dice=validation.dice,
                    miou=validation.miou,
                    learning_rate=self.learning_rate * schedule.factor(step - 1),
                )
                is_best = best is None or _rank(validation) > _rank(best)
                if is_best:
                    best, best_epoch = validation, epoch
                self.save_epoch(record, validation, is_best)
                if self.pace is not None:
                    self.pace.validation_seconds = time.monotonic() - before
                self.display.print(_describe_epoch(record, length, is_best))
                if self.interruption.is_requested:
                    break
                if self.early_stopping and epoch - best_epoch >= self.early_stopping:
                    reason = f"the score has not risen for {self.early_stopping} epochs"
                    break
        if self.interruption.is_requested:
            reason = "training was interrupted"
        assert best is not None  # every way out of the loop has validated at least once
        return Outcome(step, length, best_epoch, best, reason)

    def _train_epoch(
        self,
        epoch: int,
        step: int,
        length: Length,
        schedule: Schedule,
        bar: Bar,
        dice: float | None,
    ) -> tuple[list[float], int, Length]:
        """Make the steps of one epoch; return losses, steps made in all, and the length now."""
        losses: list[float] = []
        before = time.monotonic()
        for batches in self.load_epoch(epoch):
            loss = self.stepper.step(batches, self.learning_rate * schedule.factor(step))
            step += 1
            if loss is None:
                self._count_refused(batches)
            else:
                self._num_refused = 0
                losses.append(loss)
                if self.average is not None:
                    self.average.update()
            now = time.monotonic()
            seconds, before = now - before, now
            shown: dict[str, float | str] = {} if loss is None else {"loss": loss}
            if dice is not None:
                shown["Dice"] = dice
            bar.advance(1, **shown, speed=f"{self.patches_per_step / seconds:.1f} patches/s")
            if self.pace is not None:
                fitting = self.pace.fitting_steps(seconds, step=step, length=length)
                if fitting is not None:
                    length = self._shorten(length, schedule, step, fitting)
                    bar.resize(length.num_steps)
            if self.interruption.is_requested or step >= length.num_steps:
                break
        return losses, step, length

    def _shorten(self, length: Length, schedule: Schedule, step: int, num_steps: int) -> Length:
        if num_steps > step:
            schedule.shorten(step, num_steps)
        self.display.print(
            f"the machine has become slower: {num_steps} steps instead of {length.num_steps}"
        )
        reason = f"{length.reason} Shortened to {num_steps} at step {step}: steps became slower."
        return replace(length, num_steps=num_steps, reason=reason)

    def _count_refused(self, batches: Sequence[Batch]) -> None:
        self._num_refused += 1
        if self._num_refused < MAX_REFUSED_STEPS:
            return
        names = ", ".join(self.name_files(batches))
        raise DataError(
            f"the loss or its gradient was not finite in {self._num_refused} steps in a row, the "
            f"last with patches of {names}; look for damaged values in these images, or lower "
            f"training.learning_rate (it is {self.learning_rate:g})"
        )


def _rank(validation: Validation) -> float:
    return -1.0 if math.isnan(validation.dice) else validation.dice


def _describe_epoch(record: EpochRecord, length: Length, is_best: bool) -> str:
    return (
        f"epoch {record.epoch}/{length.num_epochs}  {record.seconds:.0f} s  "
        f"train loss {record.train_loss:.4f}  val loss {record.val_loss:.4f}  "
        f"Dice {record.dice:.4f}  IoU {record.miou:.4f}  lr {record.learning_rate:.2e}"
        f"{'  best' if is_best else ''}"
    )
