"""What happened in each epoch: results.csv, loggers, and the curves as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from delineate.files import write_atomically, write_text

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from delineate.training.loggers.logger import End, Logger


@dataclass(frozen=True)
class EpochRecord:
    """One row of results.csv; a score that is undefined is NaN."""

    epoch: int
    """Counted from 1."""
    seconds: float
    """Since training was called."""
    train_loss: float
    """Mean over the steps of the epoch."""
    val_loss: float
    """Mean over the validation images, each taken whole."""
    dice: float
    """Pooled over the validation split at its best threshold; macro mean over the foreground."""
    miou: float
    """IoU by the same rule."""
    learning_rate: float
    """Of the last step."""

    def scalars(self) -> dict[str, float]:
        """Return the numbers that loggers take, by the names of the columns."""
        return {
            "train/loss": self.train_loss,
            "val/loss": self.val_loss,
            "metrics/dice": self.dice,
            "metrics/mIoU": self.miou,
            "lr": self.learning_rate,
        }


COLUMNS: dict[str, Callable[[EpochRecord], str]] = {
    "epoch": lambda record: str(record.epoch),
    "time": lambda record: f"{record.seconds:.1f}",
    "train/loss": lambda record: f"{record.train_loss:.6g}",
    "val/loss": lambda record: f"{record.val_loss:.6g}",
    "metrics/dice": lambda record: f"{record.dice:.6g}",
    "metrics/mIoU": lambda record: f"{record.miou:.6g}",
    "lr": lambda record: f"{record.learning_rate:.6g}",
}
"""Column of results.csv -> the text of its cell."""


class History:
    """Writes each epoch down as soon as it is over.

    The files are those of a run folder: results.csv and figures/curves.png; loggers are told of
    everything that comes after the records it starts with.
    """

    def __init__(
        self,
        run: Path | None,
        records: Sequence[EpochRecord] = (),
        loggers: Sequence[Logger] = (),
    ) -> None:
        """Start the file, with the epochs that a resumed training has behind it.

        Args:
            run: The run folder; None writes nothing and remembers the records only.
            records: Of the epochs before.
            loggers: Started; this closes them.
        """
        self.records = list(records)
        self._run = run
        self._loggers = loggers
        self._end: End = "failed"
        self._summary: dict[str, float | str] = {}
        if run is None:
            return
        self._write_table(run)

    def add(self, record: EpochRecord) -> None:
        """Write one epoch down."""
        self.records.append(record)
        if self._run is None:
            return
        self._write_table(self._run)
        for logger in self._loggers:
            logger.log_scalars(record.scalars(), record.epoch)

    def add_picture(self, name: str, picture: NDArray[np.uint8]) -> None:
        """Show a picture, (H, W, 3), beside the last epoch's numbers."""
        for logger in self._loggers:
            logger.log_picture(name, picture, self.records[-1].epoch if self.records else 0)

    def conclude(self, best_epoch: int, reason: str, *, is_interrupted: bool = False) -> None:
        """Say that training has come to its end; what is closed without it has failed."""
        self._end = "interrupted" if is_interrupted else "finished"
        best = [record for record in self.records if record.epoch == best_epoch]
        self._summary = {
            "reason": reason,
            "epoch": str(best_epoch),
            **{name: value for record in best for name, value in record.scalars().items()},
        }

    def close(self) -> None:
        """Finish the files and the loggers, and draw the curves."""
        if self._run is None:
            return
        for logger in self._loggers:
            logger.close(self._end, self._summary)
        if self.records:
            draw_curves(self.records, self._run / "figures" / "curves.png")

    def _write_table(self, run: Path) -> None:
        """Write results.csv anew: a full disk leaves the former one as it was."""
        rows = io.StringIO()
        table = csv.writer(rows, lineterminator="\n")
        table.writerow(COLUMNS)
        for record in self.records:
            table.writerow([text(record) for text in COLUMNS.values()])
        write_text(run / "results.csv", rows.getvalue())


def draw_curves(records: Sequence[EpochRecord], path: Path) -> None:
    """Draw loss, scores and learning rate over the epochs, the best epoch marked."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [record.epoch for record in records]
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    loss, scores, rate = figure.subplots(1, 3)
    _plot(loss, epochs, {"training": [r.train_loss for r in records]}, "#7f7f7f")
    _plot(loss, epochs, {"validation": [r.val_loss for r in records]}, "#1f6feb")
    _plot(scores, epochs, {"Dice": [r.dice for r in records]}, "#1f6feb")
    _plot(scores, epochs, {"IoU": [r.miou for r in records]}, "#d97706")
    _plot(rate, epochs, {"learning rate": [r.learning_rate for r in records]}, "#7f7f7f")
    best = max(records, key=lambda record: record.dice if record.dice == record.dice else -1.0)
    scores.axvline(best.epoch, color="#7f7f7f", linestyle=":", linewidth=1)
    titles = ("Loss", f"Validation: best Dice {best.dice:.4f}, epoch {best.epoch}", "Learning rate")
    for axes, title in zip((loss, scores, rate), titles, strict=True):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    loss.legend(frameon=False)
    scores.legend(frameon=False)
    with write_atomically(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _plot(axes: Axes, epochs: list[int], curve: dict[str, list[float]], colour: str) -> None:
    marker = "o" if len(epochs) < 30 else None
    for label, values in curve.items():
        axes.plot(epochs, values, label=label, color=colour, marker=marker, markersize=3)
