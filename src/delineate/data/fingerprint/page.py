"""The fingerprint as one offline page of numbers and histograms."""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

from delineate.data.fingerprint.fingerprint import ClassStatistics, Fingerprint, Quantiles
from delineate.files import write_text
from delineate.pages import (
    Section,
    Tile,
    figure,
    figures,
    legend,
    paragraph,
    render_page,
    table,
    tiles,
)
from delineate.pages.bars import Bars, plot_bars

ALL, INSIDE = (110, 130, 150), (213, 94, 0)
"""Colours of all pixels and of the foreground's, which differ in lightness too."""


def write_page(path: Path, fingerprint: Fingerprint, title: str) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        fingerprint: What is shown.
        title: Of the page.
    """
    sections = [
        Section("Overview", [_tiles(fingerprint), _shares(fingerprint)]),
        Section("Classes and objects", [_objects(fingerprint), _areas(fingerprint)]),
        Section(
            "Values",
            [
                paragraph("Pixels drawn evenly from each image, each histogram over its own sum."),
                paragraph(
                    "In images that were not looked at, a pixel's values alone tell "
                    f"{fingerprint.information:.2f} bits of its class; normalised by their image's "
                    f"own mean and deviation {fingerprint.information_normalised:.2f} bits."
                ),
                _channels(fingerprint),
            ],
        ),
    ]
    lead = (
        f"The training images in numbers; what a plan rests on. Digest {fingerprint.digest[:12]}."
    )
    write_text(path, render_page(title, sections, lead=lead))


def _tiles(fingerprint: Fingerprint) -> Markup:
    heights, widths = fingerprint.heights, fingerprint.widths
    return tiles(
        [
            Tile("training images", f"{fingerprint.num_images:,}", _groups(fingerprint)),
            Tile(
                "median size",
                f"{heights['50']:.0f} × {widths['50']:.0f}",
                f"height {_span(heights)}, width {_span(widths)} pixels",
            ),
            Tile(
                "channels",
                str(fingerprint.in_channels),
                f"of {fingerprint.dtype}; texture {fingerprint.texture:.2f} (0 smooth, 1 noise)",
            ),
            Tile("pixel", *_describe_spacing(fingerprint.spacing)),
            Tile("without foreground", f"{fingerprint.empty_share:.0%}", "of the images"),
        ]
    )


def _groups(fingerprint: Fingerprint) -> str:
    if fingerprint.num_groups == fingerprint.num_images:
        return "each a group of its own"
    return f"in {fingerprint.num_groups:,} groups"


def _span(quantiles: Quantiles) -> str:
    return f"{quantiles['0.5']:.0f} to {quantiles['99.5']:.0f}"


def _describe_spacing(spacing: Quantiles) -> tuple[str, str]:
    if not spacing:
        return "unknown", "the files do not tell its size on the ground"
    low, high = spacing["0.5"], spacing["99.5"]
    return f"{spacing['50']:.3g} m", f"a side; {low:.3g} to {high:.3g} m"


def _shares(fingerprint: Fingerprint) -> Markup:
    rows = [(name, f"{share:.3%}") for name, share in fingerprint.class_shares.items()]
    return table("Share of the pixels that count", ("class", "share"), rows)


def _objects(fingerprint: Fingerprint) -> Markup:
    headings = (
        "class",
        "images with it",
        "objects",
        "per image",
        "area",
        "width",
        "longer side",
        "elongation",
        "skeleton",
        "boundary",
        "touching",
        "contrast",
    )
    rows = [(name, *_describe(one)) for name, one in fingerprint.classes.items()]
    caption = (
        "Objects are 8-connected parts. Area and longer side of the bounding box: median, in "
        "pixels (5th to 95th percentile); width is that of the object a pixel belongs to. "
        "Elongation: length in widths. Skeleton: its length against the area. Boundary: share of "
        "the class's pixels on its edge. "
        "Touching: share of objects within two pixels of another. Contrast to the surroundings, "
        "in standard deviations."
    )
    return table(caption, headings, rows)


def _describe(one: ClassStatistics) -> tuple[str, ...]:
    if not one.num_objects:
        return ("0 %", "0", *("–",) * 9)
    return (
        f"{one.image_share:.0%}",
        f"{one.num_objects:,}",
        f"{one.objects_per_image['50']:.0f}",
        f"{one.area['50']:.0f} ({one.area['5']:.0f}–{one.area['95']:.0f})",
        f"{one.typical_width:.1f}",
        f"{one.extent['50']:.0f} ({one.extent['5']:.0f}–{one.extent['95']:.0f})",
        f"{one.elongation:.1f}",
        f"{one.thinness:.1%}",
        f"{one.boundary_share:.0%}",
        f"{one.touching_share:.0%}",
        "–" if one.contrast is None else f"{one.contrast:.2f}",
    )


def _areas(fingerprint: Fingerprint) -> Markup:
    return figures(
        [
            figure(
                plot_bars(
                    name,
                    "area of an object, pixels",
                    [f"{edge:.0f}" for edge in one.area_histogram.edges],
                    [Bars(one.area_histogram.counts, INSIDE)],
                ),
                f"{one.num_objects:,} objects",
            )
            for name, one in fingerprint.classes.items()
            if one.num_objects
        ]
    )


def _channels(fingerprint: Fingerprint) -> Markup:
    drawings = []
    for number, channel in enumerate(fingerprint.channels, start=1):
        caption = (
            f"mean {channel.mean:.4g}, standard deviation {channel.std:.4g}; "
            f"{channel.between_images:.0%} of the spread lies between images; clipped to the 0.5th "
            f"and 99.5th percentile the deviation is {channel.clipped_std:.4g}"
        )
        sides = (
            ("inside", channel.foreground_mean, channel.foreground_std),
            ("outside of", channel.background_mean, channel.background_std),
        )
        for where, mean, std in sides:
            if mean is not None and std is not None:
                caption += f"; {where} the foreground mean {mean:.4g}, deviation {std:.4g}"
        drawings.append(
            figure(
                plot_bars(
                    f"channel {number}",
                    "value",
                    [f"{edge:.4g}" for edge in channel.histogram.edges],
                    [
                        Bars(channel.histogram.counts, ALL),
                        Bars(channel.foreground_histogram.counts, INSIDE),
                    ],
                ),
                caption,
                legend({"all pixels": ALL, "foreground": INSIDE}),
            )
        )
    return figures(drawings)
