"""Say which setting tells what the values of masks mean, where they leave it open."""

from __future__ import annotations

from collections.abc import Sequence

from delineate.config import TaskConfig
from delineate.data.mask_tally import NUM_LISTED, FoundCodes
from delineate.errors import DataError

MAX_CLASSES = 64
"""Masks with more values than this are taken for instance numbers or greys, never for classes."""

_EXTREME_SHARE = 0.95


def middle(values: Sequence[int]) -> int:
    """Return the value halfway between the lowest and the highest, rounded up."""
    return (values[0] + values[-1] + 1) // 2


def needs_legend(found: FoundCodes, ignored: tuple[int, ...]) -> DataError:
    """Return the error for colours without a legend, with a legend to fill in."""
    colours = sorted(set(found.pixels) - set(ignored), key=lambda code: (-found.pixels[code], code))
    if len(colours) > MAX_CLASSES:
        return DataError(
            f"the masks hold {len(colours)} colours, which smooth edges or JPEG make: "
            f"{found.describe(colours)}; write the masks as PNG without smoothing, or, if they "
            "mean bright against dark, set `--data.mask-threshold 128`"
        )
    lines = "\n".join(
        f'  {"background" if code == 0 else f"class_{number}"}: "#{code:06X}"'
        f"  # {found.pixels[code]} pixels in {found.files[code]} files"
        for number, code in enumerate(colours, start=1)
    )
    return DataError(
        "the masks hold colours and nothing says what they mean; put this into data.yaml beside "
        'the images, with the true names, and colours that do not count into `ignore: ["#..."]`:\n'
        f"legend:\n{lines}"
    )


def unclear(found: FoundCodes, values: Sequence[int], config: TaskConfig) -> DataError:
    """Return the error for values that are neither two nor 0 to K-1, with the likely setting."""
    names = config.class_names
    listed = found.describe(values)
    rest = [value for value in values if value != 255]
    if not values:
        return DataError("every pixel of every mask is ignored; correct `data.ignore`")
    if len(values) == 1:
        return DataError(
            f"the masks hold one value only: {listed}; set `data.foreground_value` or "
            "`data.legend`, or check the masks"
        )
    is_row = rest == list(range(len(rest))) or (names and rest and rest[-1] < len(names))
    if 2 <= len(rest) <= MAX_CLASSES and is_row and rest != list(values):
        advice = (
            "if 255 marks pixels that do not count, write `--data.ignore 255` (in data.yaml "
            "`ignore: [255]`), else name it in `data.legend`"
        )
    elif len(values) == 2 and config.kind == "multiclass":
        advice = f"name both in `data.legend`: {{background: {values[0]}, foreground: {values[1]}}}"
    elif len(values) == 2:
        advice = (
            f"write `--data.foreground-value {values[1]}` (in data.yaml `foreground_value: "
            f"{values[1]}`) or {values[0]}, whichever is the wanted class"
        )
    elif _is_smooth(found, values):
        cut = middle(values)
        advice = (
            f"they look like smooth edges between {values[0]} and {values[-1]}: write "
            f"`--data.mask-threshold {cut}` (in data.yaml `mask_threshold: {cut}`)"
        )
    elif names:
        wrong = [value for value in values if value >= len(names)]
        advice = (
            f"{len(names)} classes are named, 0 to {len(names) - 1}, so {wrong[:NUM_LISTED]} have "
            "no name: add names, or list them in `data.ignore`"
            if wrong
            else "a binary task has two values: set `task.kind: multiclass`"
        )
    elif len(values) > MAX_CLASSES:
        advice = (
            "they look like instance numbers: write `--data.mask-threshold 1` (in data.yaml "
            "`mask_threshold: 1`) to make every instance foreground"
        )
    elif config.kind == "binary" or rest == list(range(len(rest))):
        advice = "a binary task has two values: set `task.kind: multiclass`, or `data.legend`"
    else:
        missing = sorted(set(range(values[-1])) - set(values))
        advice = (
            f"classes are numbered from 0 and {missing[:NUM_LISTED]} are missing: name all classes"
            " by `task.class_names`, or write `data.legend` with a value for each class"
        )
    return DataError(f"the masks hold the values {listed}; {advice}")


def _is_smooth(found: FoundCodes, values: Sequence[int]) -> bool:
    """Whether nearly all pixels lie at both ends of a range of greys, as smooth edges have it."""
    low, high = values[0], values[-1]
    if high > 255 or high - low < 64:
        return False
    margin = (high - low) / 8
    ends = sum(
        found.pixels[value] for value in values if value - low < margin or high - value < margin
    )
    share = ends / sum(found.pixels[value] for value in values)
    return share >= _EXTREME_SHARE or (found.is_jpeg and share >= 0.5)
