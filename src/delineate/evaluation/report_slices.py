"""The part of a report that says where the model fails."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from delineate.evaluation.slices import PROPERTIES, SMALL_GAP, Slice
from delineate.pages import bar, bullets, paragraph, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from delineate.evaluation.advice import Advice

_SCORES = {"dice": "Dice", "recall": "found", "share": "of the class"}


def draw_slices(slices: Sequence[Slice], *, draws_images: bool = False) -> list[Markup]:
    """Return what is weak and what to try, then every slice, as blocks of a page.

    Args:
        slices: In the order of `PROPERTIES`.
        draws_images: Whether images were drawn one by one, for want of groups.
    """
    weak = sorted(
        (part for part in slices if part.is_weak), key=lambda part: part.difference.estimate or 0
    )
    blocks = [
        paragraph(
            "Parts of the data that have something in common, each compared with the rest. Weak is "
            f"what is worse by {SMALL_GAP} or more and stays worse when "
            f"{'images' if draws_images else 'groups of images'} are drawn again and again (95 % "
            "interval of the difference below zero)."
            + (
                " There are too few groups to draw from, so images of one group count as if they "
                "had nothing in common: take this as a hint."
                if draws_images
                else ""
            )
        )
    ]
    if weak:
        blocks.append(bullets(_say_all(weak)))
    else:
        can_tell = any(part.difference.low is not None for part in slices)
        blocks.append(
            paragraph(
                "No part is weak by this rule."
                if can_tell
                else "There are too few images to call a part weak."
            )
        )
    for name, parts in groupby(slices, key=lambda part: part.trait):
        blocks.append(_table(PROPERTIES[name], list(parts)))
    return blocks


def _say_all(weak: Sequence[Slice]) -> list[str]:
    """Return a text per advice: all slices that it addresses, then what to try."""
    by_advice: dict[Advice, list[Slice]] = {}
    without = []
    for part in weak:
        if part.advice is None:
            without.append(part)
        else:
            by_advice.setdefault(part.advice, []).append(part)
    traits = {part.trait for parts in by_advice.values() for part in parts}
    texts = [_say(advice, parts) for advice, parts in by_advice.items()]
    # A middle third beside a weak end says nothing new.
    return texts + [f"{_describe(part)}." for part in without if part.trait not in traits]


def _say(advice: Advice, parts: Sequence[Slice]) -> str:
    return f"{'; '.join(_describe(part) for part in parts)}. {advice.describe()}"


def _describe(part: Slice) -> str:
    if part.score_name == "share":
        return f"{PROPERTIES[part.trait]}: {100 * (part.score or 0):.1f} % of {part.label}"
    gap = -(part.difference.estimate or 0.0)
    return (
        f"{PROPERTIES[part.trait]}, {part.label}: {_SCORES[part.score_name]} {part.score:.3f}, "
        f"{gap:.3f} below the rest"
    )


def _table(title: str, parts: Sequence[Slice]) -> Markup:
    is_confusion = parts[0].score_name == "share"
    rows = []
    for part in parts:
        label = f"{part.label} (weak)" if part.is_weak else part.label
        score = "–" if part.score is None else f"{part.score:.3f}"
        row: list[str | Markup] = [label, bar(part.score, score)]
        if not is_confusion:
            row += ["–" if part.rest is None else f"{part.rest:.3f}", _interval(part)]
        rows.append([*row, f"{part.count:,} {part.unit}"])
    headings = ["", _SCORES[parts[0].score_name].capitalize()]
    headings += [] if is_confusion else ["The rest", "Difference"]
    return table(title, [*headings, "Counted"], rows)


def _interval(part: Slice) -> str:
    found = part.difference
    if found.estimate is None:
        return "–"
    text = f"{found.estimate:+.3f}"
    if found.low is not None and found.high is not None:
        text += f" ({found.low:+.3f} to {found.high:+.3f})"
    return text
