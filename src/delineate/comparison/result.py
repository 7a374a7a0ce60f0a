"""What a comparison says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from delineate.evaluation.bootstrap import Interval


@dataclass(frozen=True)
class Course:
    """The validation scores of a run over its time."""

    seconds: tuple[float, ...]
    dice: tuple[float, ...]


@dataclass(frozen=True)
class ComparedRun:
    """One run of a comparison."""

    name: str
    dice: Interval
    """Pooled, macro mean over the foreground."""
    iou: Interval
    difference: Interval | None
    """Dice less that of the first run; None for the first."""
    verdict: str
    course: Course | None
    """None where the run has no results.csv."""
    findings: tuple[str, ...] = ()
    """What stood in the way of its training."""


@dataclass(frozen=True)
class Comparison:
    """Runs on the same images."""

    split: str
    num_images: int
    num_groups: int
    runs: tuple[ComparedRun, ...]
    warning: str | None
    """One sentence where the images are too few to tell."""
    differences: tuple[tuple[str, tuple[str, ...]], ...]
    """Settings in which the runs differ, by dotted names, with the value in each run."""
    page: Path | None
    """compare.html, where it was asked for."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        document = asdict(self)
        document["page"] = None if self.page is None else str(self.page)
        return document


def show_interval(interval: Interval) -> str:
    """Return an estimate with its interval, as 0.912 (0.890 to 0.931)."""
    if interval.estimate is None:
        return "–"
    if interval.low is None or interval.high is None:
        return f"{interval.estimate:.4f}"
    return f"{interval.estimate:.4f} ({interval.low:.4f} to {interval.high:.4f})"
