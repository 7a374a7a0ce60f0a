"""Histograms as inline SVG that takes its ink from the page, light or dark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 380, 240
LEFT, RIGHT, TOP, BOTTOM = 14, 14, 30, 44
"""Margins around the axes, in units of the view box."""
TICKS = 5
"""Labels along the horizontal axis, about."""


@dataclass(frozen=True)
class Bars:
    """The heights of one histogram's bars."""

    heights: Sequence[float]
    colour: Sequence[int]
    """(red, green, blue), 0 to 255."""


def plot_bars(title: str, x_label: str, edges: Sequence[str], series: Sequence[Bars]) -> Markup:
    """Return histograms over each other, each scaled to its own sum.

    The first is filled; the others are drawn as outlines, so that all stay visible and differ in
    more than colour.

    Args:
        title: Above the plot, and its name for screen readers.
        x_label: Under the horizontal axis.
        edges: The labels of the bars' edges, one more than there are bars.
        series: Histograms with the same bars.
    """
    num_bars = len(edges) - 1
    shares = [[height / (sum(bars.heights) or 1) for height in bars.heights] for bars in series]
    highest = max((share for row in shares for share in row), default=0) or 1
    floor = HEIGHT - BOTTOM
    step = (WIDTH - LEFT - RIGHT) / max(1, num_bars)
    scale = (floor - TOP) / highest
    parts = [
        Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}">').format(WIDTH, HEIGHT, title),
        Markup('<text class="title" x="{}" y="18">{}</text>').format(LEFT, title),
    ]
    for index, (bars, row) in enumerate(zip(series, shares, strict=True)):
        colour = "#{:02x}{:02x}{:02x}".format(*bars.colour)
        outline = f"M{LEFT:g},{floor:g}"
        for bar, share in enumerate(row):
            top = round(floor - share * scale, 1)
            left, right = round(LEFT + bar * step, 1), round(LEFT + (bar + 1) * step, 1)
            outline += f"L{left:g},{top:g}L{right:g},{top:g}"
        outline += f"L{WIDTH - RIGHT:g},{floor:g}"
        paint = (
            Markup('fill="{}" fill-opacity=".45"').format(colour)
            if index == 0
            else Markup('fill="none" stroke="{}" stroke-width="2"').format(colour)
        )
        parts.append(Markup('<path d="{}" {}/>').format(outline, paint))
    parts.append(
        Markup('<line class="axis" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
            LEFT, floor, WIDTH - RIGHT, floor
        )
    )
    stride = max(1, round(num_bars / TICKS))
    for bar in range(0, num_bars + 1, stride):
        anchor = "start" if bar == 0 else "end" if bar == num_bars else "middle"
        parts.append(
            Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
                round(LEFT + bar * step, 1), floor + 16, anchor, edges[bar]
            )
        )
    parts.append(
        Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
            WIDTH // 2, HEIGHT - 8, x_label
        )
    )
    return Markup("").join([*parts, Markup("</svg>")])
