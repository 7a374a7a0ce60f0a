"""Checks of images alone: their channels and type, and values that say nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from statistics import median

import numpy as np

from delineate.data.doctor.findings import (
    ConvertImage,
    DropFiles,
    Evidence,
    Finding,
    Remedy,
    count,
    exclude_line,
    sample,
)
from delineate.data.doctor.records import ChannelRecord, Examination, ImageRecord, PairRecord

DARK_SHARE = 0.04
"""An image whose values hardly exceed this share of its type's range is nearly black ..."""

DARK_CONTRAST = 0.1
"""... if they also stay below this share of what the images of the set reach."""

MIN_CLIPPED = 0.25
"""Share of pixels at the end of the range from which on an image is clipped ..."""

USUAL_CLIPPED = 0.02
"""... if at most this share is usual in the set: night skies and white paper are no fault."""

MIN_NODATA = 0.95
"""Share of pixels without data from which on an image holds next to nothing."""


def check_channels(examination: Examination) -> Iterator[Finding]:
    """Find images whose channels or bit depth differ from those of the set."""
    by_type: dict[str, list[ImageRecord]] = defaultdict(list)
    by_count: dict[str, list[ImageRecord]] = defaultdict(list)
    for pair in _decoded(examination):
        group = "1 to 4" if pair.image.num_channels <= 4 else str(pair.image.num_channels)
        by_type[f"{group} channels of {pair.image.dtype}"].append(pair.image)
        by_count[_name_channels(pair.image)].append(pair.image)
    if len(by_type) > 1:
        usual, odd, listed = _split_usual(by_type)
        both = examination.with_partners(image.path for image in odd)
        yield Finding(
            "mixed-types",
            "error",
            tuple(sorted(image.path for image in odd)),
            f"most images have {usual}, but {count(odd, 'image')} others do not: {listed}",
            "a network has one number of input channels, and one range of values to scale them by",
            f"convert them, or leave them out by {exclude_line(both)}",
            (DropFiles(tuple(sorted(both))),),
            tuple(Evidence(image.path, _name_channels(image)) for image in odd),
        )
    elif len(by_count) > 1:
        usual, odd, listed = _split_usual(by_count)
        wanted = by_count[usual][0].num_channels
        remedies: tuple[Remedy, ...] = tuple(ConvertImage(image.path, wanted) for image in odd)
        yield Finding(
            "mixed-channels",
            "warning",
            tuple(sorted(image.path for image in odd)),
            f"most images are {usual}, but {count(odd, 'image')} others are not: {listed}",
            "grey and colour are converted into each other, so this trains; but images from "
            "another source may look different, too",
            "nothing, if they belong together; a copy in one form is written by "
            "`delineate doctor DATA --fix OUT`",
            remedies,
            tuple(Evidence(image.path, _name_channels(image)) for image in odd),
        )


def _name_channels(image: ImageRecord) -> str:
    names = {1: "grey", 2: "grey with alpha", 3: "colour", 4: "colour with alpha (or 4 channels)"}
    return names.get(image.num_channels, f"{image.num_channels} channels")


def _split_usual(
    groups: dict[str, list[ImageRecord]],
) -> tuple[str, list[ImageRecord], str]:
    """Return the largest group's name, the images of the others, and these as text."""
    usual, *others = sorted(groups, key=lambda name: -len(groups[name]))
    listed = "; ".join(
        f"{name} ({len(groups[name])}: {sample(image.path for image in groups[name])})"
        for name in others
    )
    return usual, [image for name in others for image in groups[name]], listed


def check_values(examination: Examination) -> Iterator[Finding]:
    """Find images that are constant, nearly black, clipped, NaN or without data."""
    pairs = [pair for pair in _decoded(examination) if pair.image.size is not None]
    empty = [pair for pair in pairs if not pair.image.channels]
    filled = [pair for pair in pairs if pair.image.channels]
    constant = [pair for pair in filled if all(c.low == c.high for c in _colours(pair.image))]
    if empty or constant:
        yield _describe(
            examination,
            "constant-image",
            [*empty, *constant],
            "that hold one value or none",
            "there is nothing to see in them, so whatever their masks say cannot be learned",
        )
    lively = [pair for pair in filled if pair not in constant]
    # Black is zero, or the lowest value where there are negative ones, as in computed tomography.
    black = min((c.low for pair in lively for c in _colours(pair.image)), default=0.0)
    reaches = [_reach(pair.image) - min(black, 0.0) for pair in lively]
    usual = median(reaches) if reaches else 0.0
    dark = [
        pair
        for pair, reach in zip(lively, reaches, strict=True)
        # Floats have no brightest value: their scale is anybody's.
        if np.isfinite(_range(pair.image))
        and reach <= DARK_CONTRAST * usual
        and reach <= DARK_SHARE * _range(pair.image)
    ]
    if dark:
        yield _describe(
            examination,
            "nearly-black",
            dark,
            "with nearly no light, compared with the others",
            "a shutter that stayed closed or a conversion that divided teaches nothing",
        )
    for end, where in ((_share_high, "at the brightest value"), (_share_low, "at zero")):
        clipped = _find_clipped([pair for pair in lively if pair not in dark], end)
        if clipped:
            worst = max(end(pair.image) for pair in clipped)
            yield _describe(
                examination,
                "clipped-image",
                clipped,
                f"with up to {100 * worst:.0f} % of the pixels {where}, unlike the others",
                "what is clipped has lost its texture for good",
            )
    yield from _check_missing(examination, pairs)


def _check_missing(examination: Examination, pairs: Sequence[PairRecord]) -> Iterator[Finding]:
    broken = [pair for pair in pairs if pair.image.num_nan]
    if broken:
        most = max(pair.image.num_nan / _area(pair.image) for pair in broken)
        yield Finding(
            "nan-pixels",
            "warning",
            tuple(sorted(pair.image.path for pair in broken)),
            f"{count(broken, 'image')} with NaN or infinite pixels, up to {100 * most:.2g} % of "
            f"them ({sample(pair.image.path for pair in broken)})",
            "one NaN spreads over a whole network; here such pixels do not count, and are filled "
            "with the mean",
            "nothing, if they are gaps in the recording; else write the files again",
            evidence=tuple(Evidence(pair.image.path) for pair in broken),
        )
    bare = [
        pair for pair in pairs if pair.image.num_nodata / max(1, _area(pair.image)) >= MIN_NODATA
    ]
    if bare:
        yield _describe(
            examination,
            "nodata-image",
            bare,
            f"of which {100 * MIN_NODATA:.0f} % or more have the nodata value",
            "pixels without data do not count, so these add next to nothing",
        )


def _describe(
    examination: Examination, code: str, pairs: Sequence[PairRecord], what: str, why: str
) -> Finding:
    images = [pair.image for pair in pairs]
    both = examination.with_partners(image.path for image in images)
    return Finding(
        code,
        "warning",
        tuple(sorted(image.path for image in images)),
        f"{count(images, 'image')} {what} ({sample(image.path for image in images)})",
        why,
        f"look at {'it' if len(images) == 1 else 'them'}, and leave out what is of no use by "
        f"{exclude_line(both)}",
        (DropFiles(tuple(sorted(both))),) if code != "clipped-image" else (),
        tuple(Evidence(image.path) for image in images),
    )


def _decoded(examination: Examination) -> list[PairRecord]:
    """Return the pairs whose image was decoded."""
    return [pair for pair in examination.pairs if pair.image.error is None and pair.image.dtype]


def _colours(image: ImageRecord) -> tuple[ChannelRecord, ...]:
    """Return the channels without one that may be alpha."""
    return image.channels[:-1] if image.num_channels in (2, 4) else image.channels


def _reach(image: ImageRecord) -> float:
    """Return the value that nearly all pixels of the brightest channel stay below."""
    return max(channel.mean + 2 * channel.deviation for channel in _colours(image))


def _range(image: ImageRecord) -> float:
    kind = np.dtype(image.dtype)
    return float(np.iinfo(kind).max) if kind.kind in "iu" else np.inf


def _share_high(image: ImageRecord) -> float:
    top = _range(image)
    return max((c.share_at_high for c in _colours(image) if c.high == top), default=0.0)


def _share_low(image: ImageRecord) -> float:
    if not np.isfinite(_range(image)):
        return 0.0
    return min((c.share_at_low if c.low == 0 else 0.0) for c in _colours(image))


def _find_clipped(
    pairs: Sequence[PairRecord], end: Callable[[ImageRecord], float]
) -> list[PairRecord]:
    shares = [end(pair.image) for pair in pairs]
    if not shares or median(shares) > USUAL_CLIPPED:
        return []
    return [pair for pair, share in zip(pairs, shares, strict=True) if share >= MIN_CLIPPED]


def _area(image: ImageRecord) -> int:
    height, width = image.size or (0, 0)
    return height * width
