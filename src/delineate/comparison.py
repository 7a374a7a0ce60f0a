"""Runs side by side: scores, courses, and whether a difference is more than chance."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from delineate.errors import DataError, UsageError
from delineate.evaluation.bootstrap import Interval
from delineate.evaluation.image_counts import FILE_NAME, ImageCounts, load_image_counts
from delineate.evaluation.intervals import difference_intervals, score_intervals
from delineate.files import write_text
from delineate.pages import (
    Line,
    Section,
    figure,
    figures,
    legend,
    paragraph,
    plot_lines,
    render_page,
    table,
)
from delineate.pictures import PALETTE

_NUM_SHOWN = 5


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


@dataclass(frozen=True)
class Comparison:
    """Runs on the same images."""

    split: str
    num_images: int
    num_groups: int
    runs: tuple[ComparedRun, ...]
    warning: str | None
    """One sentence where the images are too few to tell."""
    page: Path | None
    """compare.html, where it was asked for."""

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        document = asdict(self)
        document["page"] = None if self.page is None else str(self.page)
        return document


def compare(
    runs: Sequence[Path | str], *, split: str = "val", out: Path | str | None = None
) -> Comparison:
    """Compare runs on the images of one split, image by image.

    Every run is compared with the first: the difference of the pooled Dice, with a 95 % bootstrap
    interval over the groups of images, which are drawn for both runs alike.

    Args:
        runs: Run folders, two or more; for another split than val each needs its evaluation
            (`delineate evaluate RUN DATA --split test`).
        split: val, test or train.
        out: Folder for compare.html and compare.json; None writes nothing.

    Raises:
        DataError: If a run lacks its counts, or the runs saw other images or classes.
        UsageError: If there are fewer than two runs, or one is not there.
    """
    folders = [Path(run) for run in runs]
    if len(folders) < 2:
        raise UsageError("compare needs two runs or more: delineate compare RUN RUN")
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"run {folder} is not there; name the folder of a run")
    loaded = [load_image_counts(_find_counts(folder, split)) for folder in folders]
    names = _name_runs(folders)
    for name, counts in zip(names[1:], loaded[1:], strict=True):
        _check_same(names[0], loaded[0], name, counts)
    first = loaded[0]
    compared = []
    for name, folder, counts in zip(names, folders, loaded, strict=True):
        own = score_intervals(counts.counts, counts.groups)
        difference = None
        if counts is not first:
            difference = difference_intervals(counts.counts, first.counts, first.groups).pooled[
                "dice"
            ]
        compared.append(
            ComparedRun(
                name=name,
                dice=own.pooled["dice"],
                iou=own.pooled["iou"],
                difference=difference,
                verdict=_judge(name, names[0], difference),
                course=_read_course(folder / "results.csv"),
            )
        )
    comparison = Comparison(
        split=split,
        num_images=len(first.names),
        num_groups=len(set(first.groups)),
        runs=tuple(compared),
        warning=score_intervals(first.counts, first.groups).warning,
        page=None if out is None else Path(out) / "compare.html",
    )
    if comparison.page is not None:
        write_text(comparison.page, _render(comparison))
        text = json.dumps(comparison.to_json(), indent=1, sort_keys=True)
        write_text(comparison.page.with_suffix(".json"), text + "\n")
    return comparison


def _find_counts(run: Path, split: str) -> Path:
    return run / FILE_NAME if split == "val" else run / f"evaluation-{split}" / FILE_NAME


def _name_runs(folders: Sequence[Path]) -> list[str]:
    """Return the folders' names, or their paths where names are the same."""
    names = [folder.resolve().name for folder in folders]
    return names if len(set(names)) == len(names) else [str(folder) for folder in folders]


def _check_same(first: str, ours: ImageCounts, other: str, theirs: ImageCounts) -> None:
    if ours.task != theirs.task:
        raise DataError(
            f"{first} segments {', '.join(ours.task.class_names)} and {other} "
            f"{', '.join(theirs.task.class_names)}; compare runs of the same classes"
        )
    if ours.names != theirs.names:
        apart = sorted(set(ours.names) ^ set(theirs.names))
        shown = ", ".join(apart[:_NUM_SHOWN]) + (", ..." if len(apart) > _NUM_SHOWN else "")
        raise DataError(
            f"{first} and {other} were scored on different images ({len(apart)} in one only: "
            f"{shown}); evaluate both on the same split of the same data"
        )


def _judge(name: str, first: str, difference: Interval | None) -> str:
    """Return the difference as a sentence."""
    if difference is None:
        return ""
    if difference.estimate is None or difference.low is None or difference.high is None:
        return "Dice is not defined for both"
    points, low, high = (
        100 * value for value in (difference.estimate, difference.low, difference.high)
    )
    if not difference.excludes_zero:
        return (
            f"no difference shown between {name} and {first}: {points:+.1f} points of Dice, 95 % "
            f"interval {low:+.1f} to {high:+.1f}"
        )
    if points < 0:
        points, low, high = -points, -high, -low
        word = "worse"
    else:
        word = "better"
    return (
        f"{name} is {word} than {first} by {points:.1f} points of Dice, 95 % interval {low:.1f} to "
        f"{high:.1f}"
    )


def _read_course(path: Path) -> Course | None:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return Course(
            tuple(float(row["time"]) for row in rows),
            tuple(float(row["metrics/dice"]) for row in rows),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} cannot be read as the results of a run: {error}") from error


def _render(comparison: Comparison) -> str:
    rows = [
        (run.name, show_interval(run.dice), show_interval(run.iou), run.verdict or "–")
        for run in comparison.runs
    ]
    blocks = [
        table(
            f"{comparison.num_images} images of the {comparison.split} split in "
            f"{comparison.num_groups} groups; pooled scores with 95 % bootstrap intervals",
            ("run", "Dice", "IoU", "against the first"),
            rows,
        )
    ]
    if comparison.warning:
        blocks.append(paragraph(comparison.warning))
    sections = [Section("Scores", blocks)]
    courses = [(run.name, run.course) for run in comparison.runs if run.course is not None]
    longest = max((max(course.seconds, default=0) for _, course in courses), default=0)
    if longest > 0:
        colours = {
            name: PALETTE[index % len(PALETTE)] for index, (name, _) in enumerate(courses, start=1)
        }
        lines = [
            Line(np.array(course.seconds) / longest, np.array(course.dice), colours[name])
            for name, course in courses
        ]
        drawing = plot_lines("Validation Dice", f"time, 1 being {longest:.0f} s", "Dice", lines)
        caption = "Each point an epoch, at its best threshold."
        sections.append(Section("Courses", [figures([figure(drawing, caption, legend(colours))])]))
    return render_page("Runs compared", sections)


def show_interval(interval: Interval) -> str:
    """Return an estimate with its interval, as 0.912 (0.890 to 0.931)."""
    if interval.estimate is None:
        return "–"
    if interval.low is None or interval.high is None:
        return f"{interval.estimate:.4f}"
    return f"{interval.estimate:.4f} ({interval.low:.4f} to {interval.high:.4f})"
