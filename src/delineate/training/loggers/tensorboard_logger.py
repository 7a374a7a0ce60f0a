"""Events for TensorBoard, in the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from delineate.training.loggers.logger import End, RunFacts

HYPERPARAMETERS = ("data.normalisation", "model.", "loss.", "augmentation.", "training.")
"""Settings that TensorBoard lists as hyperparameters, by how their dotted names begin."""


class TensorBoardLogger:
    """Writes scalars, pictures, settings and notes as events."""

    def __init__(self) -> None:
        self._events: Any = None

    def start(self, facts: RunFacts) -> None:
        """Open an event file; events of epochs that a resumed training makes again are dropped."""
        from torch.utils.tensorboard import SummaryWriter
        from torch.utils.tensorboard.summary import hparams

        purge = facts.first_epoch if facts.first_epoch > 1 else None
        self._events = SummaryWriter(str(facts.folder), purge_step=purge)
        if facts.first_epoch > 1:
            return
        chosen = {
            name: value if isinstance(value, bool | int | float) else str(value)
            for name, value in facts.settings.items()
            if name.startswith(HYPERPARAMETERS)
        }
        # The writer's own add_hparams makes a second folder of events for the same run.
        for summary in hparams(chosen, {"metrics/dice": 0.0, "metrics/mIoU": 0.0}):  # type: ignore[no-untyped-call]
            self._events.file_writer.add_summary(summary)
        for name, text in facts.texts.items():
            is_markdown = name.endswith(".md")
            self._events.add_text(name, text if is_markdown else _as_code(text), 0)

    def log_scalars(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Write the numbers of an epoch."""
        for name, value in scalars.items():
            self._events.add_scalar(name, value, epoch)
        self._events.flush()

    def log_picture(self, name: str, picture: NDArray[np.uint8], epoch: int) -> None:
        """Write a picture."""
        self._events.add_image(name, picture, epoch, dataformats="HWC")

    def close(self, end: End, summary: Mapping[str, float | str]) -> None:
        """Write what came of it, and finish."""
        if summary:
            rows = "\n".join(f"| {name} | {value} |" for name, value in summary.items())
            self._events.add_text("what came of it", f"| | |\n|---|---|\n{rows}", 0)
        self._events.close()


def _as_code(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines())
