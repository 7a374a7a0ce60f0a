"""Offline HTML pages: one file, no script, no network, light and dark, readable on paper."""

from delineate.pages.plots import Line, Mark, plot_lines
from delineate.pages.rendering import (
    Row,
    Section,
    Tile,
    bar,
    details,
    figure,
    figures,
    heat_table,
    legend,
    paragraph,
    picture_rows,
    render_page,
    table,
    tiles,
)

__all__ = [
    "Line",
    "Mark",
    "Row",
    "Section",
    "Tile",
    "bar",
    "details",
    "figure",
    "figures",
    "heat_table",
    "legend",
    "paragraph",
    "picture_rows",
    "plot_lines",
    "render_page",
    "table",
    "tiles",
]
