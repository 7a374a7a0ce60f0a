"""The page of a comparison: scores, courses, settings that differ, and what stood in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from delineate.comparison.result import ComparedRun, Comparison, Course, show_interval
from delineate.pages import (
    Line,
    Section,
    bullets,
    figure,
    figures,
    legend,
    notice,
    plot_lines,
    render_page,
    table,
)
from delineate.pictures import PALETTE
from delineate.progress import format_duration

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STROKE = 0.012


def render(comparison: Comparison) -> str:
    """Return compare.html."""
    sections = [Section("Scores", _draw_scores(comparison))]
    sections += [Section("Courses", blocks) for blocks in _draw_courses(comparison.runs)]
    names = [run.name for run in comparison.runs]
    if comparison.differences:
        rows = [(setting, *values) for setting, values in comparison.differences]
        differing = table("Settings in which they differ", ("setting", *names), rows, is_text=True)
        sections.append(Section("What differs", [differing]))
    found = [f"{run.name}: {text}." for run in comparison.runs for text in run.findings]
    if found:
        sections.append(Section("What stood in their way", [bullets(found)]))
    return render_page("Runs compared", sections)


def _draw_scores(comparison: Comparison) -> list[Markup]:
    blocks = [bullets([f"{run.verdict}." for run in comparison.runs if run.verdict])]
    if comparison.warning:
        blocks.append(notice(f"{comparison.warning}."))
    rows = [(run.name, show_interval(run.dice), show_interval(run.iou)) for run in comparison.runs]
    caption = (
        f"{comparison.num_images} images of the {comparison.split} split in "
        f"{comparison.num_groups} groups; pooled scores with 95 % bootstrap intervals"
    )
    return [*blocks, table(caption, ("run", "Dice", "IoU"), rows)]


def _draw_courses(runs: tuple[ComparedRun, ...]) -> list[list[Markup]]:
    courses = [(run.name, run.course) for run in runs if run.course is not None]
    longest = max((max(course.seconds, default=0) for _, course in courses), default=0)
    if longest <= 0:
        return []
    colours = {name: PALETTE[index % len(PALETTE)] for index, (name, _) in enumerate(courses)}
    lines = [
        Line(*_points(course, longest), colours[name]) for name, course in courses if course.seconds
    ]
    time = f"time, 1.0 being {format_duration(longest)}"
    drawing = plot_lines("Validation Dice", time, "Dice", lines)
    caption = "Each point an epoch, at its best threshold; a run of one epoch is a stroke."
    return [[figures([figure(drawing, caption, legend(colours))])]]


def _points(course: Course, longest: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where a line goes; one point, through which none goes, becomes a short stroke."""
    x, y = np.array(course.seconds) / longest, np.array(course.dice)
    if len(x) == 1:
        return np.array([x[0] - _STROKE, x[0] + _STROKE]), np.repeat(y, 2)
    return x, y
