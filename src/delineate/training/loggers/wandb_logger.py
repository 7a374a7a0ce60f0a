"""Weights & Biases: a run of a project, kept on this machine unless it is to be sent."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from delineate.training.loggers.logger import End, RunFacts


class WandbLogger:
    """Logs metrics, settings and pictures to one W&B run.

    Writes into the run folder only, to be sent by ``wandb sync``, unless `WANDB_MODE` says
    otherwise: a question for an account would hold a training up, and data leave a machine when
    somebody says so.
    """

    modules = ("wandb",)
    """What the extra brings."""

    def __init__(self) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        self._wandb: Any = wandb
        self._run: Any = None

    def start(self, facts: RunFacts) -> None:
        """Open the run, or the one that a resumed training has had."""
        known = facts.identity("wandb")
        identity = known["id"] if known else secrets.token_hex(4)
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT") or facts.project,
            dir=str(facts.folder),
            id=identity,
            name=facts.name,
            resume="allow",
            mode=None if os.environ.get("WANDB_MODE") else "offline",
            config=dict(facts.settings),
            settings=self._wandb.Settings(console="off", silent=True),
        )
        if known is None:
            facts.remember("wandb", {"id": identity})
        # A process that was killed may have taken with it what had not been sent yet; a server
        # takes no step again.
        for epoch, scalars in facts.past:
            if epoch >= self._run.step:
                self.log_scalars(scalars, epoch)

    def log_scalars(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Log the numbers of an epoch."""
        self._run.log(dict(scalars), step=epoch)

    def log_picture(self, name: str, picture: NDArray[np.uint8], epoch: int) -> None:
        """Log a picture."""
        self._run.log({name: self._wandb.Image(picture)}, step=epoch)

    def close(self, end: End, summary: Mapping[str, float | str]) -> None:
        """Log what came of it, and end the run."""
        self._run.summary.update({f"best/{name}": value for name, value in summary.items()})
        self._run.finish(exit_code=0 if end == "finished" else 1)
