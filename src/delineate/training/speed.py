"""The length of a training, from the speed of its first steps where a time is given."""

from __future__ import annotations

import time
from copy import deepcopy
from typing import TYPE_CHECKING

import torch

from delineate.progress import format_duration
from delineate.training.assembly import PatchSource, build_stepper
from delineate.training.length import (
    Length,
    Pace,
    length_of_epochs,
    length_of_time,
    measure_seconds,
)
from delineate.training.optimization import WeightAverage

if TYPE_CHECKING:
    from delineate.training.assembly import Parts
    from delineate.training.preparation import Preparation

FINISHING_SHARE = 0.1
FINISHING_SECONDS = 6.0
"""What is kept free for pictures and report: a share of the time, at most these seconds."""
TUNING_SHARE = 0.05
TUNING_SECONDS = 60.0
"""What is kept free for tuning before that: a share of the time, at most these seconds."""
MEASURING_SHARE = 0.04
"""Share of the time in which steps are measured; validation gets a quarter as much."""
MEASURING_SECONDS = 6.0
"""Time for measuring steps where the share is less, at most a tenth of the time."""
MEASURED_STEPS = 16


def fix_length(prep: Preparation, parts: Parts, started: float) -> tuple[Length, Pace | None]:
    """Return how long training lasts, and what watches over the time where one was given.

    Steps are measured on a copy of the network and with torch's generators put back after, so
    that the steps which count are the same as in a run of as many steps given as epochs.

    Args:
        prep: Data and settings.
        parts: Network, loss and validation.
        started: When training was called, on `time.monotonic`'s clock.
    """
    settings = prep.settings.training
    if settings.time is None:
        assert settings.epochs is not None  # exactly one of the two is set, see `prepare`
        height, width = settings.patch_size
        length = length_of_epochs(
            settings.epochs,
            steps_per_epoch=settings.steps_per_epoch,
            num_pixels=sum(height * width for height, width in prep.images.sizes),
            pixels_per_step=height
            * width
            * settings.batch_size
            * settings.accumulation
            * parts.team.size,
        )
        return length, None
    budget = max(MEASURING_SHARE * settings.time, min(MEASURING_SECONDS, settings.time / 10))
    step_seconds = _measure_step(prep, parts, budget)
    validation_seconds = parts.validator.estimate_seconds(MEASURING_SHARE / 4 * settings.time)
    length = length_of_time(
        _training_deadline(settings.time, started) - time.monotonic(),
        step_seconds=step_seconds,
        validation_seconds=validation_seconds,
        steps_per_epoch=settings.steps_per_epoch,
    )
    length = parts.team.share(length)
    return length, _watch(settings.time, started, length, validation_seconds)


def resume_pace(prep: Preparation, parts: Parts, started: float, length: Length) -> Pace | None:
    """Return what watches over the time of a training that goes on; None without a time.

    Args:
        prep: Data and settings.
        parts: Network, loss and validation.
        started: Now, less the time that training has taken before.
        length: As it was fixed at the start.
    """
    seconds = prep.settings.training.time
    if seconds is None:
        return None
    validation_seconds = parts.validator.estimate_seconds(MEASURING_SHARE / 4 * seconds)
    return _watch(seconds, started, length, validation_seconds)


def _watch(seconds: float, started: float, length: Length, validation_seconds: float) -> Pace:
    return Pace(
        end=_training_deadline(seconds, started),
        total_seconds=seconds,
        validation_seconds=validation_seconds,
        num_steps=length.num_steps,
    )


def _training_deadline(seconds: float, started: float) -> float:
    return tuning_deadline(seconds, started) - min(TUNING_SHARE * seconds, TUNING_SECONDS)


def tuning_deadline(seconds: float, started: float) -> float:
    """Return when tuning has to be done, on `time.monotonic`'s clock.

    Args:
        seconds: The time that was given for all of the training.
        started: When training was called.
    """
    return started + seconds - min(FINISHING_SHARE * seconds, FINISHING_SECONDS)


def describe_length(prep: Preparation, length: Length) -> list[str]:
    """Return the lines of plan.md on the length."""
    lines = [length.reason, f"Validation after every {length.steps_per_epoch} steps."]
    if prep.settings.training.time is not None:
        lines.insert(0, f"Time given: {format_duration(prep.settings.training.time)}.")
        lines.append(
            f"The same steps without a clock: --epochs {length.num_epochs} "
            f"--training.steps-per-epoch {length.steps_per_epoch}."
        )
    return lines


def _measure_step(prep: Preparation, parts: Parts, budget: float) -> float:
    """Return the seconds of one step, data loading included."""
    with torch.random.fork_rng():
        network = deepcopy(parts.network)
        stepper = build_stepper(prep, parts, network)
        decay = prep.settings.training.ema_decay
        average = WeightAverage(network, decay) if decay else None
        source = PatchSource(prep, parts, MEASURED_STEPS)
        steps = source.load_epoch(0)

        def make_step() -> None:
            stepper.step(next(steps), prep.settings.training.learning_rate)
            if average is not None:
                average.update()

        return measure_seconds(make_step, budget=budget, most=MEASURED_STEPS, team=parts.team)
