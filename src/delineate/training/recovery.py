"""What is done when steps stay refused: back to good weights, more slowly, and a few times only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from delineate.errors import DataError
from delineate.model_file import FILE_NAME, load_model
from delineate.processes import ALONE, Team

if TYPE_CHECKING:
    from delineate.training.assembly import Parts
    from delineate.training.preparation import Preparation
    from delineate.training.step import Batch, Stepper

MAX_REFUSED_STEPS = 10
"""Steps in a row without a finite loss or gradient, after which training goes back."""
MAX_ROLLBACKS = 3
"""How often training goes back before it stops."""
ROLLBACK_FACTOR = 0.1
"""What the learning rate is multiplied by each time."""


@dataclass(frozen=True)
class Suspects:
    """The images of batches that no step could be made on."""

    names: tuple[str, ...]
    damaged: tuple[str, ...]
    """Those whose patches held values that are not finite."""


@dataclass(frozen=True)
class Recovery:
    """Goes back to the last weights that are known to be good.

    Those are the weights of the best epoch, whose validation was finite, or the first ones. The
    steps are counted on, so that the length of training stays.
    """

    learning_rate: float
    """Peak of the schedule, as it was set."""
    put_back: Callable[[], str]
    """Puts good weights in, with a fresh optimizer, and says which."""
    find_suspects: Callable[[Sequence[Batch]], Suspects]
    report: Callable[[str], None]

    def peak_rate(self, num_rollbacks: int) -> float:
        """Return the peak learning rate after so many times."""
        return self.learning_rate * ROLLBACK_FACTOR**num_rollbacks

    def go_back(self, reason: str, step: int, num_rollbacks: int, refused: Sequence[Batch]) -> None:
        """Put good weights in.

        Args:
            reason: Why, as the beginning of a sentence.
            step: Steps made so far.
            num_rollbacks: How often that was done before.
            refused: The batches of the last step that was refused, if there was one.

        Raises:
            DataError: If it was done often enough; names the images of the batches.
        """
        if num_rollbacks >= MAX_ROLLBACKS:
            raise DataError(
                f"{reason}, after going back to good weights {num_rollbacks} times with a learning "
                f"rate down to {self.peak_rate(num_rollbacks):g}{self._name_images(refused)}; look "
                "for damaged values in the images, or lower training.learning_rate (it is "
                f"{self.learning_rate:g})"
            )
        where = self.put_back()
        self.report(
            f"after step {step} {reason}: back to {where}, the learning rate is "
            f"{self.peak_rate(num_rollbacks + 1):g} at its peak from now on"
        )

    def _name_images(self, refused: Sequence[Batch]) -> str:
        if not refused:
            return ""
        suspects = self.find_suspects(refused)
        damaged = (
            f"those of {', '.join(suspects.damaged)} hold values that are not finite"
            if suspects.damaged
            else "all their pixels are finite"
        )
        return f"; the last refused step had patches of {', '.join(suspects.names)} ({damaged})"


class GoodWeights:
    """The weights that a training can go back to: of the best epoch, else the first ones."""

    def __init__(self, prep: Preparation, parts: Parts) -> None:
        """Remember the weights as they are: the first ones."""
        self._prep = prep
        self._parts = parts
        state = parts.network.state_dict()
        self._first = {name: value.detach().cpu().clone() for name, value in state.items()}

    def put_back(self, stepper: Stepper, best_epoch: int) -> str:
        """Go on from them, with an optimizer and an average that remember nothing; say which.

        Args:
            stepper: Steps on the network.
            best_epoch: The epoch that the run's model file is of; 0 before there is one.
        """
        weights = self._first
        if best_epoch:
            team = self._parts.team
            found = load_model(self._prep.run / FILE_NAME) if team.is_main else None
            weights = team.share(found.network.state_dict() if found else {})
        stepper.restart(weights)
        if self._parts.average is not None:
            self._parts.average.restart(weights)
        return f"the weights of epoch {best_epoch}" if best_epoch else "the first weights"


def find_suspects(batches: Sequence[Batch], names: Sequence[str], team: Team = ALONE) -> Suspects:
    """Return the images that the batches of all processes are from.

    Args:
        batches: Of one step, each with image (B, C, H, W) and source (B,).
        names: Of all training images.
        team: All processes of the training; each calls this.
    """
    shown, damaged = set(), set()
    for batch in batches:
        for index, patch in zip(batch["source"].tolist(), batch["image"], strict=True):
            shown.add(names[index])
            if not torch.isfinite(patch).all():
                damaged.add(names[index])
    found = team.share(team.gather((shown, damaged)))
    return Suspects(*(tuple(sorted(set().union(*parts))) for parts in zip(*found, strict=True)))
