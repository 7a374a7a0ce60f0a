"""Checks of where masks lie: shifted against their images, or strewn with specks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from delineate.data.doctor.content import SPECK_PIXELS, TINY_PIXELS, Content
from delineate.data.doctor.edges import REACH
from delineate.data.doctor.findings import (
    DropFiles,
    Evidence,
    Finding,
    RemoveSpecks,
    count,
    exclude_line,
    sample,
)
from delineate.data.doctor.records import Examination, PairRecord

MIN_SHIFT = 3
"""Pixels by which a single mask has to be off; outlines are drawn that inexactly."""

MIN_COMMON_SHIFT = 2
"""Pixels by which all masks have to be off together; chance is averaged out."""

MIN_PEAK = 7.0
"""Height of the best shift over places further off, in their deviations."""

MAX_HERE = 0.5
"""Of that height, how much the unshifted mask reaches at most, for it to count as shifted."""

MIN_TRUST = 0.7
"""Share of the masks of a set that lie on edges, for a single one beside them to be suspect."""

MIN_TINY_SHARE = 0.2
"""Share of the parts that are tiny, from which on a set is said to have tiny objects."""

MIN_SPECKS = 3
"""Specks in a whole set from which on they are worth a word."""

_NUM_SHOWN = 24
_FAR = 11


@dataclass(frozen=True)
class _Peak:
    """Where outlines lie on edges best."""

    shift: tuple[int, int]
    """Rows down and columns right by which to move the mask."""
    height: float
    """In deviations of the agreement at places further off."""
    here: float
    """The same for the mask where it is."""

    @property
    def distance(self) -> float:
        return float(np.hypot(*self.shift))


def _find_peak(agreement: NDArray[np.float32]) -> _Peak:
    places = np.abs(np.arange(-REACH, REACH + 1))
    is_far = np.maximum(places[:, None], places) >= _FAR
    mean, deviation = float(agreement[is_far].mean()), float(agreement[is_far].std())
    scale = max(deviation, 1e-6)
    row, col = np.unravel_index(int(agreement.argmax()), agreement.shape)
    return _Peak(
        (int(row) - REACH, int(col) - REACH),
        (float(agreement.max()) - mean) / scale,
        (float(agreement[REACH, REACH]) - mean) / scale,
    )


def check_shifted_masks(examination: Examination) -> Iterator[Finding]:
    """Find masks whose outlines lie on the image's edges only after they are moved."""
    measured = [
        (pair, pair.content.agreement)
        for pair in examination.pairs
        if pair.content is not None and pair.content.agreement is not None
    ]
    if not measured:
        return
    common = _find_peak(np.mean([agreement for _, agreement in measured], axis=0))
    if (
        len(measured) > 1
        and common.distance >= MIN_COMMON_SHIFT
        and common.height >= MIN_PEAK
        and common.here <= 0.7 * common.height
    ):
        yield _describe_common(measured, common)
        return
    peaks = [(pair, _find_peak(agreement)) for pair, agreement in measured]
    clear = [peak for _, peak in peaks if peak.height >= MIN_PEAK]
    on_edges = sum(peak.distance < MIN_SHIFT for peak in clear)
    if not clear or on_edges < MIN_TRUST * len(clear) or on_edges < 3:
        return
    usual = float(np.median([peak.height for peak in clear if peak.distance < MIN_SHIFT]))
    shifted = [
        (pair, peak)
        for pair, peak in peaks
        if peak.distance >= MIN_SHIFT
        and peak.height >= max(MIN_PEAK, 0.3 * usual)
        and peak.here <= MAX_HERE * peak.height
    ]
    if shifted:
        yield _describe_shifted(shifted, len(measured))


def _describe_common(
    measured: Sequence[tuple[PairRecord, NDArray[np.float32]]], peak: _Peak
) -> Finding:
    return Finding(
        "masks-shifted",
        "warning",
        tuple(sorted(mask.path for pair, _ in measured for mask in pair.masks)),
        f"the masks lie {_beside(peak)} of the edges of their images, all together",
        "a network learns to draw beside the objects, and every score counts on masks that do",
        "look at the pictures; write the masks again, with the origin of their images",
        evidence=tuple(_show(pair, peak) for pair, _ in measured[:_NUM_SHOWN]),
    )


def _describe_shifted(shifted: Sequence[tuple[PairRecord, _Peak]], total: int) -> Finding:
    listed = [f"{pair.image.path} ({_beside(peak)})" for pair, peak in shifted]
    both = {
        path for pair, _ in shifted for path in (pair.image.path, *(m.path for m in pair.masks))
    }
    return Finding(
        "mask-shifted",
        "warning",
        tuple(sorted(mask.path for pair, _ in shifted for mask in pair.masks)),
        f"{count(shifted, 'mask')} of {total} whose outlines lie beside the edges of the image: "
        f"{sample(listed)}",
        "training on a mask that lies askew teaches to draw beside the object",
        f"look at them; replace what is wrong, or leave it out by {exclude_line(both)}",
        (DropFiles(tuple(sorted(both))),),
        tuple(_show(pair, peak) for pair, peak in shifted[:_NUM_SHOWN]),
    )


def _beside(peak: _Peak) -> str:
    """Return where a mask lies, as opposed to where it should be moved."""
    down, right = -peak.shift[0], -peak.shift[1]
    parts = [
        f"{abs(number)} px {word}"
        for number, word in (
            (down, "below" if down > 0 else "above"),
            (right, "right" if right > 0 else "left"),
        )
        if number
    ]
    return " and ".join(parts)


def _show(pair: PairRecord, peak: _Peak) -> Evidence:
    mask = pair.masks[0].path if len(pair.masks) == 1 else None
    return Evidence(pair.image.path, _beside(peak), mask=mask)


def check_specks(examination: Examination) -> Iterator[Finding]:
    """Find parts and holes of one or two pixels, and sets full of tiny objects."""
    decoder = examination.decoder
    if decoder is None:
        return
    known = [(pair, pair.content) for pair in examination.pairs if pair.content is not None]
    speckled = [
        (pair, content)
        for pair, content in known
        if any(parts.num_specks for parts in content.class_parts)
    ]
    total = sum(parts.num_specks for _, content in speckled for parts in content.class_parts)
    if total >= MIN_SPECKS:
        yield _describe_specks(speckled, total)
    first = 1 if decoder.task.kind == "binary" else 0
    parts = [part for _, content in known for part in content.class_parts[first:]]
    num_parts = sum(part.count - part.num_specks for part in parts)
    num_tiny = sum(part.num_tiny for part in parts)
    if num_parts and num_tiny >= MIN_TINY_SHARE * num_parts:
        holders = [
            pair
            for pair, content in known
            if any(part.num_tiny for part in content.class_parts[first:])
        ]
        yield Finding(
            "tiny-objects",
            "warning",
            tuple(sorted(mask.path for pair in holders for mask in pair.masks)),
            f"{num_tiny} of {num_parts} objects have fewer than {TINY_PIXELS} pixels, in "
            f"{count(holders, 'image')}",
            "a network that halves its resolution twice has one pixel for such an object, and a "
            "border drawn one pixel off halves its score",
            "use images of a higher resolution, or keep `model.stem_stride: 1`; if they are slips, "
            "remove them",
            evidence=tuple(
                Evidence(pair.image.path, mask=_single(pair)) for pair in holders[:_NUM_SHOWN]
            ),
        )


def _describe_specks(speckled: Sequence[tuple[PairRecord, Content]], total: int) -> Finding:
    # Where the instances of an image are files, a gap between two is of none of them.
    files = sorted(_single(pair) or pair.image.path for pair, _ in speckled)
    return Finding(
        "specks",
        "warning",
        tuple(files),
        f"{total} specks and pinholes of {SPECK_PIXELS} pixels or fewer in the masks of "
        f"{count(speckled, 'image')} ({sample(files)})",
        "slips of a pen or of a conversion count as objects, and a network that learns them draws "
        "specks",
        "a copy without them is written by `delineate doctor DATA --fix OUT`; keep them if they "
        "are true",
        tuple(
            RemoveSpecks(pair.masks[0].path, SPECK_PIXELS)
            for pair, _ in speckled
            if len(pair.masks) == 1
        ),
        tuple(_show_speck(pair, content) for pair, content in speckled[:_NUM_SHOWN]),
    )


def _show_speck(pair: PairRecord, content: Content) -> Evidence:
    row, col = next(parts.speck for parts in content.class_parts if parts.speck is not None)
    number = sum(parts.num_specks for parts in content.class_parts)
    height, width = pair.image.size or (row + 1, col + 1)
    box = (max(0, row - 16), max(0, col - 16), min(height, row + 17), min(width, col + 17))
    return Evidence(
        pair.image.path, f"{number} {'speck' if number == 1 else 'specks'}", box, _single(pair)
    )


def _single(pair: PairRecord) -> str | None:
    return pair.masks[0].path if len(pair.masks) == 1 else None
