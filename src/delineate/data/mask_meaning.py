"""Find out what the codes in masks mean, or say which setting would tell it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from delineate.config import DataConfig, TaskConfig
from delineate.data.mask_advice import MAX_CLASSES, fault, middle, needs_legend, unclear
from delineate.data.mask_decoder import MaskDecoder, format_code
from delineate.data.mask_reading import choose_reading
from delineate.data.mask_tally import FoundCodes, Tally
from delineate.errors import DataError
from delineate.task import Task


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
        FaultyDataError: If the masks leave the meaning open, or contradict the settings; proposes
            settings where some would do.
        DataError: If `legend` or `ignore` hold neither colours nor values.
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
        reading = choose_reading(tallies, words, data)
        if reading == "colour" and any(not is_colour for is_colour, _ in words):
            numbers = sorted({code for is_colour, code in words if not is_colour})
            raise fault(
                "mask-settings",
                f"the masks hold colours but `data.legend` or `data.ignore` has the values "
                f"{numbers}",
                "write colours such as '#3C1098'",
            )
        found = FoundCodes(tallies, reading)
        void = tuple(sorted({code for _, code in ignored}))
        if legend:
            meaning = {name: tuple(code for _, code in codes) for name, codes in legend.items()}
            decoder = _read_legend(found, meaning, void, task)
        else:
            decoder = _read_values(found, void, data, task)
    if has_instances and decoder.task.kind != "binary":
        raise fault(
            "several-masks",
            f"some images have several masks, which are merged for a binary task, but the masks "
            f"make a {decoder.task.kind} task",
            "give one mask per image",
            why="several files of classes say several things about one pixel",
        )
    return decoder


def _read_bands(
    tallies: Sequence[Tally], config: TaskConfig, ignored: tuple[int, ...]
) -> MaskDecoder:
    sizes = sorted({tally.num_bands for tally in tallies})
    names = config.class_names or tuple(f"class_{index}" for index in range(sizes[0]))
    if sizes != [len(names)]:
        raise fault(
            "band-count",
            f"the masks have {' and '.join(map(str, sizes))} bands but the task has {len(names)} "
            "classes, a band each",
            "write the missing bands or correct `task.class_names`",
        )
    found = FoundCodes(tallies, "bands")
    values = sorted(set(found.pixels) - set(ignored) - {0})
    if len(values) != 1:
        advice = "add 255 to `data.ignore`" if values == [1, 255] else "write 0 and 1"
        raise fault(
            "band-values",
            f"a band of a multilabel mask holds 0 and one other value, but the masks hold "
            f"{found.describe(found.pixels)}",
            advice,
            found=found,
            codes=sorted(values),
        )
    return MaskDecoder(
        Task("multilabel", tuple(names)), "bands", ((values[0],),) * len(names), ignored
    )


def _read_legend(
    found: FoundCodes,
    legend: dict[str, tuple[int, ...]],
    ignored: tuple[int, ...],
    config: TaskConfig,
) -> MaskDecoder:
    names = config.class_names or tuple(legend)
    if set(names) != set(legend):
        raise fault(
            "mask-settings",
            f"`task.class_names` is {', '.join(names)} but `data.legend` names {', '.join(legend)}",
            "leave `class_names` out, or name the same classes",
        )
    meant = [code for codes in legend.values() for code in codes]
    twice = sorted({code for code in meant if meant.count(code) > 1}) + sorted(
        set(meant) & set(ignored)
    )
    if twice and (config.kind != "multilabel" or set(twice) & set(ignored)):
        listed = ", ".join(format_code(code, found.reading) for code in twice)
        raise fault(
            "mask-settings",
            f"{listed} has two meanings in `data.legend` and `data.ignore`",
            "keep one",
        )
    background = config.background or _background_in(names)
    foreground = [name for name in names if name != background]
    kind = config.kind
    if kind == "auto":
        kind = "binary" if len(foreground) == 1 else "multiclass"
    rest: int | None = None
    classes: tuple[tuple[int, ...], ...]
    if kind == "binary":
        if len(foreground) != 1:
            raise fault(
                "mask-settings",
                f"a binary task has one class besides its background but `data.legend` has "
                f"{', '.join(names)}",
                "set `task.background` to one of two, or `task.kind` to multiclass",
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
        raise fault(
            f"unnamed-{what}",
            f"the masks hold {what} that `data.legend` does not name: {found.describe(unknown)}",
            f"add them to the legend, or to `data.ignore`: [{text}] if they do not count",
            why="a pixel without a name cannot be learned, and any guess would be wrong somewhere",
            found=found,
            codes=sorted(unknown),
            proposal={"ignore": tuple(format_code(c, found.reading) for c in sorted(unknown))},
        )
    wanted = {code for name in foreground for code in legend[name]}
    if not wanted & set(found.pixels):
        raise fault(
            "mask-settings",
            f"no class of `data.legend` occurs in the masks, which hold "
            f"{found.describe(found.pixels)}",
            "correct the legend",
        )
    return MaskDecoder(task, found.reading, classes, ignored, rest)


def _background_in(names: Sequence[str]) -> str | None:
    return next((name for name in names if name.lower() == "background"), None)


def _read_values(
    found: FoundCodes, ignored: tuple[int, ...], data: DataConfig, config: TaskConfig
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
        raise needs_legend(found, ignored)
    values = sorted(set(found.pixels) - set(ignored))
    if data.foreground_value is not None:
        return _read_foreground(found, values, ignored, data.foreground_value, config)
    if config.kind != "multiclass" and _is_binary(values, config):
        if values in ([], [0]):
            raise fault(
                "no-foreground",
                f"no mask holds anything but background: {found.describe(found.pixels)}",
                "check the masks, or set `data.foreground_value`",
                why="without a single pixel of the class there is nothing to learn",
                found=found,
                codes=sorted(values),
            )
        return MaskDecoder(_binary_task(config), found.reading, ((0,), (values[1],)), ignored)
    names = config.class_names
    limit = len(names) if names else len(values)
    if config.kind == "binary" or limit < 2 or values[-1] >= limit or limit > MAX_CLASSES:
        raise unclear(found, values, config)
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
        raise fault(
            "mask-settings",
            f"the masks hold two values, background and foreground, but `task` asks for "
            f"{config.kind} with the classes {', '.join(config.class_names) or '(none named)'}",
            "name one class, or set `data.legend`",
        )
    return Task("binary", names or ("foreground",))


def _read_foreground(
    found: FoundCodes,
    values: Sequence[int],
    ignored: tuple[int, ...],
    foreground: int,
    config: TaskConfig,
) -> MaskDecoder:
    others = tuple(value for value in values if value != foreground)
    if foreground not in values:
        raise fault(
            "mask-settings",
            f"`data.foreground_value` is {foreground} but the masks hold "
            f"{found.describe(found.pixels)}",
            "name one of these",
        )
    if len(others) > 1:
        raise fault(
            "mask-settings",
            f"`data.foreground_value` is for masks of two values but these hold "
            f"{found.describe(values)}",
            f"if all but {foreground} is background, write "
            f"`--data.legend.foreground {foreground}` (in data.yaml "
            f"`legend: {{foreground: {foreground}}}`) instead, and if greys are smooth edges, add "
            f"`--data.mask-threshold {middle(values)}`",
        )
    return MaskDecoder(_binary_task(config), found.reading, (others, (foreground,)), ignored)
