"""How long training lasts: from epochs, or from a time and the measured speed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from delineate.processes import ALONE, Team
from delineate.progress import format_duration

MAX_VALIDATIONS = 20
"""Validations in a run whose length is a time, at most."""
VALIDATION_SHARE = 0.1
"""Share of a given time that validation may take."""
SAFETY_SHARE = 0.015
"""Share of a given time that is kept free for what the measurement did not see."""
OVERRUN_SHARE = 0.03
"""Expected overrun, as a share of the given time, from which the rest is shortened."""
LEAST_STEPS = 5
"""Steps over which the speed is looked at, at least."""


@dataclass(frozen=True)
class Length:
    """How many optimizer steps, and how many of them between validations."""

    num_steps: int
    steps_per_epoch: int
    reason: str
    """Where the numbers come from, in one sentence."""

    @property
    def num_epochs(self) -> int:
        """Number of validations."""
        return math.ceil(self.num_steps / self.steps_per_epoch)


def length_of_epochs(
    epochs: int, *, steps_per_epoch: int | None, num_pixels: int, pixels_per_step: int
) -> Length:
    """Return the length of a number of epochs.

    Args:
        epochs: Passes over the training split.
        steps_per_epoch: Steps of an epoch; None shows as many pixels as the split has.
        num_pixels: Pixels of the training split.
        pixels_per_step: Pixels of all patches of one optimizer step.
    """
    if steps_per_epoch is None:
        steps_per_epoch = max(1, math.ceil(num_pixels / pixels_per_step))
        reason = f"{steps_per_epoch} steps show as many pixels as the training split has"
    else:
        reason = f"{steps_per_epoch} steps per epoch were asked for"
    num_steps = epochs * steps_per_epoch
    return Length(num_steps, steps_per_epoch, f"{epochs} epochs, {num_steps} steps: {reason}.")


def length_of_time(
    seconds: float,
    *,
    step_seconds: float,
    validation_seconds: float,
    steps_per_epoch: int | None = None,
) -> Length:
    """Return the length that fits into a time, validation included.

    Validations are as many as fit into a tenth of the time, at most `MAX_VALIDATIONS` and at
    least one, at the end, without which there is no threshold.

    Args:
        seconds: Time that is left for training and validation.
        step_seconds: Measured time of one optimizer step.
        validation_seconds: Measured time of one validation.
        steps_per_epoch: Steps between validations where they are given.
    """
    seconds = max(seconds, 0.0) * (1 - SAFETY_SHARE)
    measured = (
        f"a step takes {step_seconds:.3f} s and a validation {validation_seconds:.2f} s, "
        f"and {format_duration(seconds)} are left for both"
    )
    if steps_per_epoch is not None:
        epoch_seconds = steps_per_epoch * step_seconds + validation_seconds
        epochs = max(1, int(seconds / epoch_seconds))
        num_steps = epochs * steps_per_epoch
        reason = f"{num_steps} steps: {measured}; {steps_per_epoch} steps per epoch were asked for."
        return Length(num_steps, steps_per_epoch, reason)
    affordable = int(seconds * VALIDATION_SHARE / max(validation_seconds, 1e-9))
    num_validations = min(max(affordable, 1), MAX_VALIDATIONS)
    num_steps = int((seconds - num_validations * validation_seconds) / step_seconds)
    num_validations = max(1, min(num_validations, num_steps))
    steps_per_epoch = max(1, num_steps // num_validations)
    num_steps = steps_per_epoch * num_validations
    if affordable < 1:
        note = "one validation exceeds a tenth of the time, so there is one only, at the end"
    else:
        note = f"validations take at most a tenth of the time, so there are {num_validations}"
    return Length(num_steps, steps_per_epoch, f"{num_steps} steps: {measured}; {note}.")


class Pace:
    """Watches whether training ends in time, and says how many steps fit if it does not."""

    def __init__(
        self, *, end: float, total_seconds: float, validation_seconds: float, num_steps: int
    ) -> None:
        """Start watching.

        Args:
            end: When training should be over, on `time.monotonic`'s clock.
            total_seconds: The whole time that was given.
            validation_seconds: Measured time of one validation.
            num_steps: Steps that are planned.
        """
        self.validation_seconds = validation_seconds
        self._end = end
        self._tolerance = OVERRUN_SHARE * total_seconds
        self._check_every = max(LEAST_STEPS, num_steps // 10)
        self._seconds: list[float] = []
        self._is_first = True

    def fitting_steps(self, seconds: float, *, step: int, length: Length) -> int | None:
        """Note what a step took; return how many steps fit in all where that is fewer.

        Args:
            seconds: Time of the step that has just been made.
            step: Steps that have been made.
            length: What is planned.

        Returns:
            None as long as the overrun to be expected is tolerable.
        """
        if self._is_first:  # waits for the loading processes to start
            self._is_first = False
            return None
        self._seconds.append(seconds)
        if len(self._seconds) < self._check_every or step >= length.num_steps:
            return None
        step_seconds = sum(self._seconds) / len(self._seconds)
        self._seconds.clear()
        num_validations = length.num_epochs - step // length.steps_per_epoch
        needed = (length.num_steps - step) * step_seconds
        needed += num_validations * self.validation_seconds
        seconds_left = self._end - time.monotonic()
        if needed - seconds_left <= self._tolerance:
            return None
        # Fewer steps pass fewer validations, so each step bears its share of them.
        share = self.validation_seconds / length.steps_per_epoch
        fitting = (seconds_left - self.validation_seconds) / (step_seconds + share)
        return step + min(max(0, int(fitting)), length.num_steps - step)


def measure_seconds(
    action: Callable[[], None], *, budget: float, most: int, team: Team = ALONE
) -> float:
    """Return the lower quartile of an action's times, the first half left out as warming up.

    Not the median: other load can only make a run slower, and a run that turns out too long is
    shortened, while one that was planned too short stays so.

    Args:
        action: What is measured.
        budget: Seconds after which no further run is started; two runs are made in any case.
        most: Runs, at most.
        team: Processes that make each run together, and so equally many.
    """
    start = time.perf_counter()
    seconds: list[float] = []
    while len(seconds) < 2 or (
        len(seconds) < most and team.share(time.perf_counter() - start < budget)
    ):
        before = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - before)
    settled = sorted(seconds[len(seconds) // 2 :])
    return settled[len(settled) // 4]
