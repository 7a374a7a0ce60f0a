"""Line plots as inline SVG that takes its ink from the page, light or dark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

WIDTH, HEIGHT = 380, 320
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 30, 44
"""Margins around the axes, in units of the view box."""

DASHES = ("none", "7 3", "2 3", "9 3 2 3")
"""Line styles, so that lines differ in more than colour."""


@dataclass(frozen=True)
class Line:
    """A line through points, in data units."""

    x: NDArray[Any]
    y: NDArray[Any]
    colour: Sequence[int]
    """(red, green, blue), 0 to 255."""


@dataclass(frozen=True)
class Mark:
    """A labelled point."""

    x: float
    y: float
    label: str
    key: str = ""
    """Name by which a script finds the mark to move it."""


def plot_lines(
    title: str,
    x_label: str,
    y_label: str,
    lines: Sequence[Line],
    *,
    marks: Sequence[Mark] = (),
    dots: Sequence[tuple[float, float]] = (),
    has_diagonal: bool = False,
) -> Markup:
    """Return a plot of lines over the unit square.

    Points that are not finite interrupt nothing: they are left out. Points closer than half a
    unit of the view box are merged, so that thousands of them stay a small picture.

    Args:
        title: Above the plot, and its name for screen readers.
        x_label: Under the horizontal axis, 0 to 1.
        y_label: Beside the vertical axis, 0 to 1.
        lines: Drawn in order, the line style cycling with the colour.
        marks: Points of note.
        dots: Small points, such as one per image.
        has_diagonal: Whether to draw the line of chance, from (0, 0) to (1, 1).
    """
    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, title),
        Markup('<text class="title" x="{}" y="18">{}</text>').format(LEFT, title),
    ]
    parts += _axes(x_label, y_label)
    if has_diagonal:
        parts.append(_segment("guide", 0, 0, 1, 1))
    for index, line in enumerate(lines):
        parts.append(
            Markup(
                '<polyline points="{}" fill="none" stroke="{}" stroke-width="2.2" '
                'stroke-linejoin="round" stroke-dasharray="{}"/>'
            ).format(
                _points(line),
                "#{:02x}{:02x}{:02x}".format(*line.colour),
                DASHES[index // 10 % len(DASHES)] if len(lines) > 10 else "none",
            )
        )
    for x, y in dots:
        parts.append(
            Markup('<circle class="dot" cx="{}" cy="{}" r="3"/>').format(_across(x), _down(y))
        )
    for mark in marks:
        parts.append(_draw_mark(mark))
    parts.append(Markup("</svg>"))
    return Markup("").join(parts)


def plot_area() -> dict[str, float]:
    """Return where the unit square lies in a plot, in units of its view box."""
    return {
        "left": LEFT,
        "top": TOP,
        "width": WIDTH - LEFT - RIGHT,
        "height": HEIGHT - TOP - BOTTOM,
    }


def _across(x: float) -> float:
    return round(LEFT + x * (WIDTH - LEFT - RIGHT), 1)


def _down(y: float) -> float:
    return round(TOP + (1 - y) * (HEIGHT - TOP - BOTTOM), 1)


def _segment(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
        kind, _across(x1), _down(y1), _across(x2), _down(y2)
    )


def _axes(x_label: str, y_label: str) -> list[Markup]:
    parts = []
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        parts.append(_segment("grid", tick, 0, tick, 1))
        parts.append(_segment("grid", 0, tick, 1, tick))
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
                _across(tick), _down(0) + 16, f"{tick:.1f}"
            )
        )
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="end">{}</text>').format(
                LEFT - 6, _down(tick) + 4, f"{tick:.1f}"
            )
        )
    middle = _down(0.5)
    return [
        *parts,
        _segment("axis", 0, 0, 1, 0),
        _segment("axis", 0, 0, 0, 1),
        Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
            _across(0.5), HEIGHT - 8, x_label
        ),
        Markup(
            '<text transform="translate(13 {}) rotate(-90)" text-anchor="middle">{}</text>'
        ).format(middle, y_label),
    ]


def _points(line: Line) -> str:
    points: list[tuple[float, float]] = []
    for x, y in zip(np.asarray(line.x, float), np.asarray(line.y, float), strict=True):
        if not (np.isfinite(x) and np.isfinite(y)):
            continue
        point = (_across(float(x)), _down(float(y)))
        if not points or abs(point[0] - points[-1][0]) + abs(point[1] - points[-1][1]) >= 0.5:
            points.append(point)
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _draw_mark(mark: Mark) -> Markup:
    is_right = mark.x > 0.6
    return Markup(
        '<g data-mark="{}" transform="translate({} {})"><circle class="mark" r="4.5"/>'
        '<text class="mark-label" x="{}" y="{}" text-anchor="{}">{}</text></g>'
    ).format(
        mark.key,
        _across(mark.x),
        _down(mark.y),
        -9 if is_right else 9,
        18 if mark.y > 0.5 else -10,
        "end" if is_right else "start",
        mark.label,
    )
