"""Events for TensorBoard, in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from delineate.training.loggers.event_file import EventFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from delineate.training.loggers.logger import End, RunFacts

HYPERPARAMETERS = ("data.normalisation", "loss.", "model.", "training.")
"""Settings that TensorBoard lists as hyperparameters, by how their dotted names begin."""


class TensorBoardLogger:
    """Writes scalars, pictures, settings and notes as events.

    A disk that is full ends the events and not the training.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        """Take what is told, in a line, that no more events are written."""
        self._warn = warn
        self._events: EventFile | None = None

    def start(self, facts: RunFacts) -> None:
        """Open an event file; events of epochs that a resumed training makes again are dropped."""
        from torch.utils.tensorboard.summary import hparams, text

        self._events = EventFile(facts.folder, self._warn)
        if facts.first_epoch > 1:
            self._events.drop_from(facts.first_epoch)
            return
        chosen = {
            name: value if isinstance(value, bool | int | float) else str(value)
            for name, value in facts.settings.items()
            if name.startswith(HYPERPARAMETERS)
        }
        # The writer's own add_hparams makes a second folder of events for the same run.
        for summary in hparams(chosen, {"metrics/dice": 0.0, "metrics/mIoU": 0.0}):  # type: ignore[no-untyped-call]
            self._events.add(summary)
        for name, words in facts.texts.items():
            is_markdown = name.endswith(".md")
            self._events.add(text(name, words if is_markdown else _as_code(words)))  # type: ignore[no-untyped-call]

    def log_scalars(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Write the numbers of an epoch."""
        from torch.utils.tensorboard.summary import scalar

        for name, value in scalars.items():
            self._add(scalar(name, value), epoch)  # type: ignore[no-untyped-call]

    def log_picture(self, name: str, picture: NDArray[np.uint8], epoch: int) -> None:
        """Write a picture."""
        from torch.utils.tensorboard.summary import image

        self._add(image(name, picture, dataformats="HWC"), epoch)  # type: ignore[no-untyped-call]

    def close(self, end: End, summary: Mapping[str, float | str]) -> None:
        """Write what came of it, and finish."""
        from torch.utils.tensorboard.summary import text

        if summary:
            rows = "\n".join(f"| {name} | {value} |" for name, value in summary.items())
            table = f"| | |\n|---|---|\n{rows}"
            self._add(text("what came of it", table), 0)  # type: ignore[no-untyped-call]
        if self._events is not None:
            self._events.close()

    def _add(self, summary: object, step: int) -> None:
        if self._events is not None:
            self._events.add(summary, step)


def _as_code(text: str) -> str:
    """Return text that Markdown shows as it is."""
    return "\n".join(f"    {line}" for line in text.splitlines())
