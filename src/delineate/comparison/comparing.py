"""Compare runs: scores, courses, settings, and whether a difference is more than chance."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from delineate.comparison.page import render
from delineate.comparison.result import ComparedRun, Comparison, Course
from delineate.config import flatten_settings, read_settings
from delineate.errors import DataError, UsageError
from delineate.evaluation.bootstrap import Interval
from delineate.evaluation.image_counts import FILE_NAME, ImageCounts, load_image_counts
from delineate.evaluation.intervals import difference_intervals, score_intervals
from delineate.evaluation.model_card import read_verdict
from delineate.files import write_text
from delineate.recipes.plan_folder import CONFIG

_NUM_SHOWN = 3
"""Names in an error message."""
_LONGEST_NAME = 40
_ABSENT = "–"


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
                findings=tuple(
                    f"{finding['name']}: {finding['what']}" for finding in read_verdict(folder)
                ),
            )
        )
    comparison = Comparison(
        split=split,
        num_images=len(first.names),
        num_groups=len(set(first.groups)),
        runs=tuple(compared),
        warning=score_intervals(first.counts, first.groups).warning,
        differences=_find_differences(folders),
        page=None if out is None else Path(out) / "compare.html",
    )
    if comparison.page is not None:
        write_text(comparison.page, render(comparison))
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
            f"{first} segments {_name_some(ours.task.class_names)} ({ours.task.kind}) and {other} "
            f"{_name_some(theirs.task.class_names)} ({theirs.task.kind}); compare runs of the same "
            "classes"
        )
    if ours.names != theirs.names:
        apart = sorted(set(ours.names) ^ set(theirs.names))
        raise DataError(
            f"{first} and {other} were scored on different images ({len(apart)} in one only: "
            f"{_name_some(apart)}); evaluate both on the same split of the same data: delineate "
            "evaluate RUN DATA --split test, then compare --split test"
        )


def _name_some(names: Sequence[str]) -> str:
    """Return the first names, long ones without their middle, and how many more there are."""
    half = _LONGEST_NAME // 2 - 1
    shown = [
        name if len(name) <= _LONGEST_NAME else f"{name[:half]}...{name[-half:]}"
        for name in names[:_NUM_SHOWN]
    ]
    more = len(names) - _NUM_SHOWN
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _find_differences(folders: Sequence[Path]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the settings in which runs differ, each with its value in every run."""
    settings = [
        flatten_settings(read_settings(folder / CONFIG)) if (folder / CONFIG).exists() else {}
        for folder in folders
    ]
    names = sorted({name for one in settings for name in one if not name.startswith("logging.")})
    values = {name: tuple(_show_value(one, name) for one in settings) for name in names}
    differing = {name: each for name, each in values.items() if len(set(each)) > 1}
    # what only one kind of loss or network has is said by the name of its kind
    return tuple(
        (name, each)
        for name, each in differing.items()
        if _ABSENT not in each or f"{name.partition('.')[0]}.name" not in differing
    )


def _show_value(settings: Mapping[str, Any], name: str) -> str:
    value = settings.get(name, _ABSENT)
    return "none" if value is None else str(value)


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
