"""What an evaluation found, and how it is written down."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from delineate.evaluation.expectation import compare_expectation
from delineate.metrics.confusion import CONVENTION
from delineate.metrics.images import summarise_images

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from delineate.evaluation.details import Details
    from delineate.evaluation.intervals import Intervals
    from delineate.evaluation.scoring import SplitScores
    from delineate.evaluation.slices import Slice

FORMAT_VERSION = 2

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
    """(C, h, w), for the slider, of full size or that of pictures; None shows the mask alone."""


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
    tuned_model: Path | None = None
    """The model file with thresholds and post-processing chosen on this split, where asked for."""
    choices: tuple[str, ...] = ()
    """What was chosen for it and why, in sentences."""
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
        """What `metrics.json` holds, in the form of `MetricsDocument`."""
        return {
            "format_version": FORMAT_VERSION,
            "convention": CONVENTION,
            "split": self.split,
            "task": self.scores.task.as_dict(),
            "data": self.data,
            "model": self.model,
            "prediction": self.prediction,
            "alerts": list(self.alerts),
            **self.scores.as_dict(),
            "averages": {
                "without_background": self.scores.counts.averages(),
                "with_background": self.scores.counts.averages(with_background=True),
            },
            "intervals": None if self.intervals is None else self.intervals.as_dict(),
            "slices": [part.as_dict() for part in self.slices],
            **self._seen(),
        }

    def _seen(self) -> dict[str, Any]:
        details, images = self.details, self.scores.as_dict()["images"]
        if details is None:
            return {"calibration": None, "shapes": None, "expectation": None, "images": images}
        expectation = compare_expectation(self.scores, details)
        names = self.scores.task.class_names
        by_class = zip(names, details.calibration.class_scores(), strict=True)
        seen = zip(images, details.qualities, details.in_training, details.measures, strict=True)
        return {
            "calibration": {**details.calibration.scores(), "classes": dict(by_class)},
            "shapes": summarise_images(details.measures, self.scores.task),
            "expectation": None if expectation is None else expectation.as_dict(),
            "images": [
                {
                    **image,
                    "quality": {**asdict(quality), "in_training": in_training},
                    "shapes": {name: part.as_dict() for name, part in measures.items()},
                }
                for image, quality, in_training, measures in seen
            ],
        }

    @property
    def metrics_path(self) -> Path:
        """The numbers, as JSON."""
        return self.folder / "metrics.json"

    @property
    def report_path(self) -> Path:
        """The report, one offline HTML file."""
        return self.folder / "report.html"
