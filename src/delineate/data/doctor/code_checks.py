"""Checks of what stands for what: inverted masks, and ids that are one off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Literal

import numpy as np

from delineate.data.doctor.content import Content
from delineate.data.doctor.findings import (
    Evidence,
    Finding,
    InvertMask,
    RecodeMask,
    count,
    exclude_line,
    sample,
)
from delineate.data.doctor.records import Examination, MaskRecord, PairRecord

MIN_FOREGROUND = 0.6
"""Median share of the foreground from which on a set is asked whether it is inverted."""

_MIN_IMAGES = 4
_MIN_AGREEING = 0.8
_NUM_SHOWN = 24
_MAX_CLASS = 64


def check_polarity(examination: Examination) -> Iterator[Finding]:
    """Find masks that are inverted: one against the others, or all of them."""
    decoder = examination.decoder
    if decoder is None or decoder.task.kind != "binary":
        return
    known = [
        (pair, pair.content)
        for pair in examination.pairs
        if pair.content is not None and all(pair.content.class_pixels)
    ]
    if len(known) < _MIN_IMAGES:
        return
    shares = np.array([_foreground_share(content) for _, content in known])
    inverted = _find_inverted(known, shares)
    if inverted:
        both = {path for pair in inverted for path in (pair.image.path, *_masks(pair))}
        yield Finding(
            "inverted-mask",
            "error",
            tuple(sorted(path for pair in inverted for path in _masks(pair))),
            f"{count(inverted, 'mask')} with foreground and background swapped, compared with the "
            f"others ({sample(pair.masks[0].path for pair in inverted)})",
            "an inverted mask teaches the opposite at every pixel",
            f"swap the values of these files (`delineate doctor DATA --fix OUT` does in a copy), "
            f"or leave them out by {exclude_line(both)}",
            tuple(InvertMask(pair.masks[0].path) for pair in inverted if len(pair.masks) == 1),
            tuple(_show(pair) for pair in inverted[:_NUM_SHOWN]),
        )
    is_chosen = examination.data.foreground_value is not None or examination.data.legend
    border = float(np.median([content.border_shares[1] for _, content in known]))
    share = float(np.median(shares))
    if not is_chosen and share >= MIN_FOREGROUND and border >= MIN_FOREGROUND:
        value = decoder.classes[0][0] if decoder.classes[0] else 0
        yield Finding(
            "foreground-is-most",
            "warning",
            (),
            f"the foreground covers {share:.0%} of the median image and {border:.0%} of its "
            "border, as a background does",
            "if the rare value is the one that is wanted, everything is learned and scored the "
            "wrong way round",
            f"if the other value is wanted, write `--data.foreground-value {value}` (in data.yaml "
            f"`foreground_value: {value}`); if not, write "
            f"`foreground_value: {decoder.classes[1][0]}` to say so",
            evidence=tuple(_show(pair) for pair, _ in known[:6]),
        )


def _foreground_share(content: Content) -> float:
    return content.class_pixels[1] / sum(content.class_pixels)


def _find_inverted(
    known: list[tuple[PairRecord, Content]], shares: np.ndarray[tuple[int], np.dtype[np.float64]]
) -> list[PairRecord]:
    """Return the pairs that are like the others once they are inverted, in two respects.

    The foreground is brighter (or darker) than the background in nearly all images, and covers
    about the same share of them.
    """
    steps = [_step(content) for _, content in known]
    usual = float(np.median([step for step in steps if step is not None] or [0]))
    agreeing = sum(step is not None and step * usual > 0 for step in steps)
    if usual == 0 or agreeing < _MIN_AGREEING * len(known):
        return []
    odds = np.log(shares / (1 - shares))
    middle = float(np.median(odds))
    if abs(middle) < 0.4:  # foreground and background are of one size, which tells nothing
        return []
    return [
        pair
        for (pair, _), step, odd in zip(known, steps, odds, strict=True)
        if step is not None
        and step * usual < 0
        and abs(step) >= 0.4 * abs(usual)
        and abs(-odd - middle) < abs(odd - middle)
    ]


def _step(content: Content) -> float | None:
    """Return by how much the foreground is brighter than the background."""
    if len(content.class_levels) < 2:
        return None
    below, above = content.class_levels[:2]
    return None if below is None or above is None else above - below


def check_off_by_one(examination: Examination) -> Iterator[Finding]:
    """Find masks whose ids count from one while the others, or the classes, count from zero."""
    reads_index = examination.decoder is not None and examination.decoder.reading == "index"
    forms = {"grey", "palette"} if reads_index else {"grey"}
    masks = {
        mask.path: _ids(mask)
        for pair in examination.pairs
        for mask in pair.masks
        if mask.tally is not None and mask.tally.form in forms
    }
    reading: Literal["grey", "index"] = "index" if reads_index else "grey"
    ignored = {code for code in examination.data.ignore if isinstance(code, int)} | {255}
    found = {path: ids - ignored for path, ids in masks.items() if ids - ignored}
    if len(found) < _MIN_IMAGES or examination.data.legend:
        return
    top = max(max(ids) for ids in found.values())
    if not 2 <= top < _MAX_CLASS:
        return
    names = examination.task.class_names
    if not any(0 in ids for ids in found.values()):
        if len(names) == top or (not names and top > 2):
            yield _describe_all(found, top, names, reading)
        return
    high = sorted(path for path, ids in found.items() if top in ids)
    suspects = [path for path in high if 0 not in found[path]]
    others = Counter(0 in ids for path, ids in found.items() if path not in high)
    is_expected_top = len(names) == top + 1
    if (
        is_expected_top
        or len(suspects) != len(high)
        or len(high) > 0.3 * len(found)
        or others[True] < _MIN_AGREEING * others.total()
    ):
        return
    # A class that only these files hold would be missing from all others, and background from
    # these: together that is hardly chance.
    both = {
        path
        for pair in examination.pairs
        for path in (pair.image.path, *_masks(pair))
        if set(_masks(pair)) & set(high)
    }
    image_of = {path: pair.image.path for pair in examination.pairs for path in _masks(pair)}
    yield Finding(
        "ids-one-off",
        "error",
        tuple(high),
        f"{count(high, 'mask')} that hold the id {top} and no 0, while the others hold 0 to "
        f"{top - 1} ({sample(high)}): their ids count from one",
        "every pixel of such a mask names the wrong class",
        f"subtract 1 in these files (`delineate doctor DATA --fix OUT` does in a copy), or leave "
        f"them out by {exclude_line(both)}",
        tuple(
            RecodeMask(path, reading, tuple((code, code - 1) for code in sorted(found[path])))
            for path in high
        ),
        tuple(Evidence(image_of[path], mask=path) for path in high[:_NUM_SHOWN]),
    )


def _describe_all(
    found: dict[str, set[int]],
    top: int,
    names: tuple[str, ...],
    reading: Literal["grey", "index"],
) -> Finding:
    listed = names or tuple(f"class_{number}" for number in range(1, top + 1))
    legend = ", ".join(f"{name}: {number}" for number, name in enumerate(listed, start=1))
    return Finding(
        "ids-from-one",
        "error",
        tuple(sorted(found)),
        f"the ids of all {len(found)} masks count from 1 to {top}, and no mask holds 0",
        "classes are counted from zero; read as they are, every pixel names its neighbour's class",
        f"say what the ids mean, in data.yaml `legend: {{{legend}}}`",
        tuple(
            RecodeMask(path, reading, tuple((code, code - 1) for code in sorted(ids)))
            for path, ids in sorted(found.items())
        ),
    )


def _ids(mask: MaskRecord) -> set[int]:
    return set() if mask.tally is None else set(mask.tally.counts)


def _masks(pair: PairRecord) -> list[str]:
    return [mask.path for mask in pair.masks]


def _show(pair: PairRecord) -> Evidence:
    mask = pair.masks[0].path if len(pair.masks) == 1 else None
    return Evidence(pair.image.path, mask=mask)
