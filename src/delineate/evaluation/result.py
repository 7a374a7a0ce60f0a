"""What an evaluation found, and how it is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from delineate.metrics.confusion import CONVENTION

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from delineate.evaluation.details import Details
    from delineate.evaluation.intervals import Intervals
    from delineate.evaluation.scoring import SplitScores
    from delineate.evaluation.slices import Slice

FORMAT_VERSION = 1

SplitName = Literal["train", "val", "test"]
Rank = Literal["worst", "median", "best"]


@dataclass(frozen=True)
class Example:
    """An image to show in the report."""

    rank: Rank
    name: str
    dice: float | None
    """Mean over the foreground classes of this image."""
    pixels: NDArray[Any]
    target: NDArray[Any]
    mask: NDArray[np.uint8]
    probs: NDArray[Any] | None = None
    """(C, H, W), for the slider; None shows the mask alone."""


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on a split, and what was written about them."""

    split: SplitName
    data: dict[str, Any]
    """Name of the data set and a digest of the files of the split."""
    model: dict[str, Any]
    """Name, digest and architecture of the model."""
    prediction: dict[str, Any]
    """How the model was applied."""
    scores: SplitScores
    examples: tuple[Example, ...]
    folder: Path
    """Holds `metrics.json` and `report.html`."""
    intervals: Intervals | None = None
    """How sure the scores are."""
    details: Details | None = None
    """What else was seen of the images."""
    slices: tuple[Slice, ...] = ()
    """The scores of parts of the data."""
    groups: tuple[str, ...] = ()
    """Group of each image."""
    alerts: tuple[str, ...] = ()
    """What a reader of the numbers must not miss."""

    @property
    def metrics(self) -> dict[str, Any]:
        """What `metrics.json` holds."""
        return {
            "format_version": FORMAT_VERSION,
            "convention": CONVENTION,
            "split": self.split,
            "task": self.scores.task.as_dict(),
            "data": self.data,
            "model": self.model,
            "prediction": self.prediction,
            **self.scores.as_dict(),
        }

    @property
    def metrics_path(self) -> Path:
        """The numbers, as JSON."""
        return self.folder / "metrics.json"

    @property
    def report_path(self) -> Path:
        """The report, one offline HTML file."""
        return self.folder / "report.html"
