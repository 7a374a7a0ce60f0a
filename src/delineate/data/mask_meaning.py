"""Find out what the codes in masks mean, or say which setting would tell it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from delineate.config import DataConfig, TaskConfig
from delineate.data.mask_decoder import MaskDecoder, Reading, format_code
from delineate.errors import DataError
from delineate.task import Task

MAX_CLASSES = 64
"""Masks with more values than this are taken for instance numbers or greys, never for classes."""

_NUM_LISTED = 12
_EXTREME_SHARE = 0.95


@dataclass(frozen=True)
class Tally:
    """What one mask file holds."""

    path: Path
    form: Literal["grey", "palette", "colour", "bands"]
    counts: Mapping[int, int]
    """Pixels by grey value, palette index, 0xRRGGBB, or value in any band."""
    palette: Mapping[int, int]
    """0xRRGGBB of each palette index that occurs."""
    num_bands: int = 1
    """Bands of the file."""


class _Found:
    """Pixels and files by code, over all masks."""

    def __init__(self, tallies: Sequence[Tally], reading: Reading) -> None:
        self.reading = reading
        self.pixels: dict[int, int] = defaultdict(int)
        self.files: dict[int, int] = defaultdict(int)
        self.example: dict[int, Path] = {}
        for tally in tallies:
            for code, pixels in codes_of(tally, reading).items():
                self.pixels[code] += pixels
                self.files[code] += 1
                self.example.setdefault(code, tally.path)
        self.is_jpeg = any(tally.path.suffix.lower() in (".jpg", ".jpeg") for tally in tallies)

    def describe(self, codes: Iterable[int]) -> str:
        """Return codes with their pixels and files, the most frequent first."""
        ranked = sorted(codes, key=lambda code: (-self.pixels[code], code))
        listed = ", ".join(
            f"{format_code(code, self.reading)} ({self.pixels[code]} pixels in {self.files[code]} "
            f"file{'' if self.files[code] == 1 else 's'}, as {self.example[code].name})"
            for code in ranked[:_NUM_LISTED]
        )
        left = len(ranked) - _NUM_LISTED
        return listed + (f" and {left} more" if left > 0 else "")


def codes_of(tally: Tally, reading: Reading) -> dict[int, int]:
    """Return the pixels of a file by code."""
    codes: dict[int, int] = defaultdict(int)
    for key, pixels in tally.counts.items():
        if tally.form == "palette" and reading != "index":
            colour = tally.palette[key]
            codes[colour if reading == "colour" else colour & 0xFF] += pixels
        elif tally.form == "colour" and reading != "colour":
            codes[key & 0xFF] += pixels
        elif tally.form == "grey" and reading == "colour":
            codes[key * 0x010101] += pixels
        else:
            codes[key] += pixels
    return codes


def parse_code(text: str | int, setting: str) -> tuple[bool, int]:
    """Return (is a colour, code) of `#RRGGBB` or a number.

    Raises:
        DataError: If it is neither.
    """
    if isinstance(text, int):
        return False, text
    if re.fullmatch(r"-?\d{1,5}", text.strip()):
        return False, int(text)
    if found := re.fullmatch(r"#?([0-9a-fA-F]{6})", text.strip()):
        return True, int(found[1], 16)
    raise DataError(
        f"`data.{setting}` holds {text!r} and should hold colours such as '#3C1098' (in quotes) "
        "or values such as 3"
    )


def find_meaning(
    tallies: Sequence[Tally], data: DataConfig, task: TaskConfig, *, has_instances: bool
) -> MaskDecoder:
    """Return the decoder for masks that hold what `tallies` says.

    How masks are read, where no setting says otherwise:

    - Palettes are read by colour, since their order may change between files. Where the colours
      that occur are at most two greys they are grey values; where all files give an index the same
      colour, the index says the same as the colour and is the code.
    - Two values of which one is 0 are background and foreground of a binary task. Values 0 to K-1
      are the classes of a multiclass task, none of them background unless it is named so.
    - With a legend the classes are its entries, in its order. A legend of one class makes a binary
      task in which all else is background, as does one of two classes of which one is the
      background (named `background`, or by `task.background`).

    Args:
        tallies: One per file.
        data: `legend`, `ignore`, `foreground_value` and `mask_threshold`.
        task: What is asked for.
        has_instances: Whether images have several masks.

    Raises:
        DataError: If the masks leave the meaning open, or contradict the settings.
    """
    legend = {
        name: [
            parse_code(code, "legend") for code in (codes if isinstance(codes, tuple) else (codes,))
        ]
        for name, codes in data.legend.items()
    }
    ignored = [parse_code(code, "ignore") for code in data.ignore]
    words = [word for group in legend.values() for word in group] + ignored
    if task.kind == "multilabel" and not legend:
        decoder = _read_bands(tallies, task, tuple(code for _, code in ignored))
    else:
        reading = _choose_reading(tallies, words, data)
        if reading == "colour" and any(not is_colour for is_colour, _ in words):
            numbers = sorted({code for is_colour, code in words if not is_colour})
            raise DataError(
                f"the masks hold colours but `data.legend` or `data.ignore` has the values "
                f"{numbers}; write colours such as '#3C1098'"
            )
        found = _Found(tallies, reading)
        void = tuple(sorted({code for _, code in ignored}))
        if legend:
            meaning = {name: tuple(code for _, code in codes) for name, codes in legend.items()}
            decoder = _read_legend(found, meaning, void, task)
        else:
            decoder = _read_values(found, void, data, task)
    if has_instances and decoder.task.kind != "binary":
        raise DataError(
            f"some images have several masks, which are merged for a binary task, but the masks "
            f"make a {decoder.task.kind} task; give one mask per image"
        )
    return decoder


def _choose_reading(
    tallies: Sequence[Tally], words: Sequence[tuple[bool, int]], data: DataConfig
) -> Reading:
    if any(is_colour for is_colour, _ in words):
        return "colour"
    if data.mask_threshold is not None:
        return "grey"
    colours = {code for tally in tallies if tally.form == "colour" for code in tally.counts}
    if any(not _is_grey(code) for code in colours):
        return "colour"
    palettes: dict[int, set[int]] = defaultdict(set)
    for tally in tallies:
        for index, colour in tally.palette.items():
            palettes[index].add(colour)
    is_consistent = all(len(found) == 1 for found in palettes.values())
    is_grey = all(_is_grey(colour) for found in palettes.values() for colour in found)
    if not is_grey:
        return "index" if is_consistent else "colour"
    if not palettes or not is_consistent:
        return "grey"
    asked = {code for _, code in words}
    if data.foreground_value is not None:
        asked.add(data.foreground_value)
    grey, index = (set(_Found(tallies, reading).pixels) for reading in ("grey", "index"))
    if asked:
        return "index" if asked <= index and not asked <= grey else "grey"
    return "index" if len(grey) > 2 else "grey"


def _is_grey(colour: int) -> bool:
    return colour == (colour & 0xFF) * 0x010101


def _read_bands(
    tallies: Sequence[Tally], config: TaskConfig, ignored: tuple[int, ...]
) -> MaskDecoder:
    sizes = sorted({tally.num_bands for tally in tallies})
    names = config.class_names or tuple(f"class_{index}" for index in range(sizes[0]))
    if sizes != [len(names)]:
        raise DataError(
            f"the masks have {' and '.join(map(str, sizes))} bands but the task has {len(names)} "
            "classes, a band each; write the missing bands or correct `task.class_names`"
        )
    found = _Found(tallies, "bands")
    values = sorted(set(found.pixels) - set(ignored) - {0})
    if len(values) != 1:
        advice = "add 255 to `data.ignore`" if values == [1, 255] else "write 0 and 1"
        raise DataError(
            f"a band of a multilabel mask holds 0 and one other value, but the masks hold "
            f"{found.describe(found.pixels)}; {advice}"
        )
    return MaskDecoder(
        Task("multilabel", tuple(names)), "bands", ((values[0],),) * len(names), ignored
    )


def _read_legend(
    found: _Found,
    legend: dict[str, tuple[int, ...]],
    ignored: tuple[int, ...],
    config: TaskConfig,
) -> MaskDecoder:
    names = config.class_names or tuple(legend)
    if set(names) != set(legend):
        raise DataError(
            f"`task.class_names` is {', '.join(names)} but `data.legend` names "
            f"{', '.join(legend)}; leave `class_names` out, or name the same classes"
        )
    meant = [code for codes in legend.values() for code in codes]
    twice = sorted({code for code in meant if meant.count(code) > 1}) + sorted(
        set(meant) & set(ignored)
    )
    if twice and (config.kind != "multilabel" or set(twice) & set(ignored)):
        listed = ", ".join(format_code(code, found.reading) for code in twice)
        raise DataError(f"{listed} has two meanings in `data.legend` and `data.ignore`; keep one")
    background = config.background or _background_in(names)
    foreground = [name for name in names if name != background]
    kind = config.kind
    if kind == "auto":
        kind = "binary" if len(foreground) == 1 else "multiclass"
    rest: int | None = None
    if kind == "binary":
        if len(foreground) != 1:
            raise DataError(
                f"a binary task has one class besides its background but `data.legend` has "
                f"{', '.join(names)}; set `task.background` to one of two, or `task.kind` to "
                "multiclass"
            )
        task = Task("binary", (foreground[0],))
        classes = (legend.get(background or "", ()), legend[foreground[0]])
        rest = 0 if len(names) == 1 else None
    else:
        task = Task(kind, tuple(names), background=background if kind == "multiclass" else None)
        classes = tuple(legend[name] for name in names)
    known = set(meant) | set(ignored) | ({0} if kind == "multilabel" else set())
    unknown = set(found.pixels) - known
    if rest is None and unknown:
        what = "colours" if found.reading == "colour" else "values"
        text = ", ".join(repr(format_code(code, found.reading)) for code in sorted(unknown)[:12])
        text = text if found.reading == "colour" else text.replace("'", "")
        raise DataError(
            f"the masks hold {what} that `data.legend` does not name: {found.describe(unknown)}; "
            f"add them to the legend, or to `data.ignore`: [{text}] if they do not count"
        )
    wanted = {code for name in foreground for code in legend[name]}
    if not wanted & set(found.pixels):
        raise DataError(
            f"no class of `data.legend` occurs in the masks, which hold "
            f"{found.describe(found.pixels)}; correct the legend"
        )
    return MaskDecoder(task, found.reading, classes, ignored, rest)


def _background_in(names: Sequence[str]) -> str | None:
    return next((name for name in names if name.lower() == "background"), None)


def _read_values(
    found: _Found, ignored: tuple[int, ...], data: DataConfig, config: TaskConfig
) -> MaskDecoder:
    """Return the decoder where no legend is given."""
    if data.mask_threshold is not None:
        is_bright = data.foreground_value is None or data.foreground_value >= data.mask_threshold
        return MaskDecoder(
            _binary_task(config),
            found.reading,
            ((0,), (1,)) if is_bright else ((1,), (0,)),
            threshold=data.mask_threshold,
        )
    if found.reading == "colour":
        raise _needs_legend(found, ignored)
    values = sorted(set(found.pixels) - set(ignored))
    if data.foreground_value is not None:
        return _read_foreground(found, values, ignored, data.foreground_value, config)
    if config.kind != "multiclass" and _is_binary(values, config):
        if values in ([], [0]):
            raise DataError(
                f"no mask holds anything but background: {found.describe(found.pixels)}; check "
                "the masks, or set `data.foreground_value`"
            )
        return MaskDecoder(_binary_task(config), found.reading, ((0,), (values[1],)), ignored)
    names = config.class_names
    limit = len(names) if names else len(values)
    if config.kind == "binary" or limit < 2 or values[-1] >= limit or limit > MAX_CLASSES:
        raise _unclear(found, values, config)
    names = names or tuple(f"class_{index}" for index in range(limit))
    task = Task("multiclass", tuple(names), background=config.background or _background_in(names))
    classes = tuple((index,) for index in range(limit))
    return MaskDecoder(task, found.reading, classes, ignored)


def _is_binary(values: Sequence[int], config: TaskConfig) -> bool:
    """Whether values are 0 and one other, and names do not make them two classes."""
    if len(values) > 2 or (values and values[0] != 0):
        return False
    if config.kind == "binary":
        return True
    names = config.class_names
    return len(names) < 2 or (len(names) == 2 and _has_background(config))


def _has_background(config: TaskConfig) -> bool:
    return (config.background or _background_in(config.class_names)) in config.class_names


def _binary_task(config: TaskConfig) -> Task:
    background = config.background or _background_in(config.class_names)
    names = tuple(name for name in config.class_names if name != background)
    if len(names) > 1 or config.kind not in ("auto", "binary"):
        raise DataError(
            f"the masks hold two values, background and foreground, but `task` asks for "
            f"{config.kind} with the classes {', '.join(config.class_names) or '(none named)'}; "
            "name one class, or set `data.legend`"
        )
    return Task("binary", names or ("foreground",))


def _read_foreground(
    found: _Found,
    values: Sequence[int],
    ignored: tuple[int, ...],
    foreground: int,
    config: TaskConfig,
) -> MaskDecoder:
    others = tuple(value for value in values if value != foreground)
    if foreground not in values:
        raise DataError(
            f"`data.foreground_value` is {foreground} but the masks hold "
            f"{found.describe(found.pixels)}; name one of these"
        )
    if len(others) > 1:
        raise DataError(
            f"`data.foreground_value` is for masks of two values but these hold "
            f"{found.describe(values)}; if all but {foreground} is background, write "
            f"`--data.legend.foreground {foreground}` (in data.yaml "
            f"`legend: {{foreground: {foreground}}}`) instead, and if greys are smooth edges, add "
            f"`--data.mask-threshold {_middle(values)}`"
        )
    return MaskDecoder(_binary_task(config), found.reading, (others, (foreground,)), ignored)


def _middle(values: Sequence[int]) -> int:
    return (values[0] + values[-1] + 1) // 2


def _needs_legend(found: _Found, ignored: tuple[int, ...]) -> DataError:
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


def _unclear(found: _Found, values: Sequence[int], config: TaskConfig) -> DataError:
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
    elif len(values) == 2:
        advice = (
            f"write `--data.foreground-value {values[1]}` (in data.yaml `foreground_value: "
            f"{values[1]}`) or {values[0]}, whichever is the wanted class"
        )
    elif _is_smooth(found, values):
        cut = _middle(values)
        advice = (
            f"they look like smooth edges between {values[0]} and {values[-1]}: write "
            f"`--data.mask-threshold {cut}` (in data.yaml `mask_threshold: {cut}`)"
        )
    elif names:
        wrong = [value for value in values if value >= len(names)]
        advice = (
            f"{len(names)} classes are named, 0 to {len(names) - 1}, so {wrong[:_NUM_LISTED]} have "
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
            f"classes are numbered from 0 and {missing[:_NUM_LISTED]} are missing: name all classes"
            " by `task.class_names`, or write `data.legend` with a value for each class"
        )
    return DataError(f"the masks hold the values {listed}; {advice}")


def _is_smooth(found: _Found, values: Sequence[int]) -> bool:
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
