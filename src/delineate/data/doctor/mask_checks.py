"""Checks of what masks hold, beyond what they mean: palettes, forms, and files of class names."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from delineate.data.doctor.findings import Evidence, Finding, RecodeMask, Remedy, count, sample
from delineate.data.doctor.records import Examination, MaskRecord
from delineate.data.mask_decoder import MaskDecoder
from delineate.data.mask_tally import Tally, codes_of

MAX_ODD_SHARE = 0.2
"""Masks in another form than most are told of if at most this share of the set has it."""

MAX_LEGEND_BYTES = 100_000
"""Larger files are no list of class names."""

_MIN_SHARE = 0.001
_CODE = re.compile(r"#([0-9a-fA-F]{6})\b")
_TRIPLE = re.compile(r"(?<!\d)(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})(?!\d)")
_SUFFIXES = (".json", ".csv", ".txt", ".yaml", ".yml")
_NAMES = re.compile(r"class|label|legend|palette|colou?r", re.I)


def usable_masks(examination: Examination) -> dict[str, tuple[MaskRecord, Tally]]:
    """Return the masks that could be read, by their paths."""
    records = [mask for pair in examination.pairs for mask in pair.masks]
    records += examination.others
    return {mask.path: (mask, mask.tally) for mask in records if mask.tally is not None}


def check_palettes(examination: Examination) -> Iterator[Finding]:
    """Find masks whose palettes give one index different colours."""
    colours: dict[int, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path, (_, tally) in usable_masks(examination).items():
        for index, colour in tally.palette.items():
            colours[index][colour].append(path)
    odd = {index: found for index, found in colours.items() if len(found) > 1}
    if not odd:
        return
    examples = "; ".join(
        f"index {index} is "
        + ", ".join(f"#{colour:06X} in {count(files, 'file')}" for colour, files in found.items())
        for index, found in sorted(odd.items())[:3]
    )
    files = {path for found in odd.values() for paths in found.values() for path in paths}
    index, found = sorted(odd.items())[0]
    yield Finding(
        "palette-order",
        "warning",
        tuple(sorted(files)),
        f"the palettes of {count(files, 'mask')} differ in their order: {examples}",
        "whoever reads the indices takes one class for another; here such masks are read by their "
        "colours",
        "nothing for delineate, which needs the legend alone; for other tools, write all masks "
        "with one palette, as the copy by `delineate doctor DATA --fix OUT` has them",
        tuple(_recode(examination, path) for path in sorted(files))
        if _is_known(examination)
        else (),
        tuple(
            Evidence(paths[0], f"index {index} is #{colour:06X}") for colour, paths in found.items()
        ),
    )


def _is_known(examination: Examination) -> bool:
    """Whether the user has said what the colours mean."""
    decoder = examination.decoder
    return decoder is not None and decoder.reading == "colour" and not examination.meaning


def _recode(examination: Examination, path: str) -> Remedy:
    """Return the remedy that writes a mask's colours as the numbers of its classes."""
    decoder, tally = examination.decoder, usable_masks(examination)[path][1]
    assert isinstance(decoder, MaskDecoder)
    value_of = {code: value for value, group in enumerate(decoder.classes) for code in group}
    value_of |= dict.fromkeys(decoder.ignored, decoder.task.ignore_index)
    found = sorted(codes_of(tally, "colour"))
    return RecodeMask(
        path, "colour", tuple((code, value_of[code]) for code in found if code in value_of)
    )


def check_forms(examination: Examination) -> Iterator[Finding]:
    """Find masks that hold colours among masks of values, or values among colours."""
    forms: dict[str, list[str]] = defaultdict(list)
    for path, (_, tally) in usable_masks(examination).items():
        codes = codes_of(tally, "colour")
        is_grey = all(code == (code & 0xFF) * 0x010101 for code in codes)
        if tally.form == "bands":
            forms["bands"].append(path)
        elif tally.form == "palette" or not (is_grey or tally.form == "grey"):
            forms["colours"].append(path)
        elif len(codes) > 1:  # a mask of black alone fits either form
            forms["values"].append(path)
    total = sum(map(len, forms.values()))
    usual = max(forms, key=lambda form: len(forms[form]), default="")
    odd = sorted(path for form, paths in forms.items() if form != usual for path in paths)
    if odd and len(odd) <= MAX_ODD_SHARE * total:
        other = next(form for form in forms if form != usual)
        yield Finding(
            "mask-form",
            "warning",
            tuple(odd),
            f"{count(odd, 'mask')} of {total} hold {other} while the others hold {usual} "
            f"({sample(odd)})",
            "masks of two makers seldom mean the same by the same value",
            "write them in the form of the others, or leave them out by `exclude`",
            evidence=tuple(Evidence(path) for path in odd),
        )


def check_legend_files(examination: Examination) -> Iterator[Finding]:
    """Find files of class names and colours that contradict the masks."""
    pixels: dict[int, int] = defaultdict(int)
    for _, tally in usable_masks(examination).values():
        if tally.form in ("palette", "colour"):
            for code, number in codes_of(tally, "colour").items():
                pixels[code] += number
    total = sum(pixels.values())
    found = {code for code, number in pixels.items() if number >= _MIN_SHARE * total}
    if not 2 <= len(found) <= 64:
        return
    for path in _legend_files(examination.listing.root):
        legend = _read_legend(path)
        if len(legend) < 2 or found <= set(legend):
            continue
        unnamed = ", ".join(f"#{code:06X}" for code in sorted(found - set(legend))[:8])
        absent = [f"{name} (#{code:06X})" for code, name in legend.items() if code not in pixels]
        yield Finding(
            "legend-file",
            "warning",
            (path.relative_to(examination.listing.root).as_posix(),),
            f"{path.name} names {len(legend)} colours, but the masks hold {unnamed}, which it does "
            f"not name" + (f", and not {sample(absent)}" if absent else ""),
            "whoever takes the legend from this file finds none of these classes in the masks",
            "do not copy it: write `legend` in data.yaml with the colours that the masks hold",
        )


def _legend_files(root: Path) -> list[Path]:
    return sorted(
        path
        for path in (
            *root.iterdir(),
            *(p for d in root.iterdir() if d.is_dir() for p in d.glob("*")),
        )
        if path.suffix.lower() in _SUFFIXES
        and _NAMES.search(path.name)
        and path.is_file()
        and path.stat().st_size <= MAX_LEGEND_BYTES
    )


def _read_legend(path: Path) -> Mapping[int, str]:
    """Return the colours that a file names, in any of the usual forms."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return {}
    if path.suffix.lower() == ".json":
        try:
            return dict(_walk(json.loads(text)))
        except (ValueError, RecursionError):
            return {}
    legend = {}
    for line in text.splitlines():
        name = " ".join(re.findall(r"[^\W\d_]{2,}", _CODE.sub("", line)))
        if hexadecimal := _CODE.search(line):
            legend[int(hexadecimal[1], 16)] = name
        elif triple := _TRIPLE.search(line):
            red, green, blue = (int(part) for part in triple.groups())
            if max(red, green, blue) <= 255:
                legend[red << 16 | green << 8 | blue] = name
    return legend


def _walk(node: Any) -> Iterator[tuple[int, str]]:
    """Yield (colour, name) of every object in a JSON document that has both."""
    if isinstance(node, dict):
        texts = [value for value in node.values() if isinstance(value, str)]
        codes = [found for text in texts if (found := _CODE.fullmatch(text.strip()))]
        names = [text for text in texts if not _CODE.fullmatch(text.strip())]
        if codes:
            yield int(codes[0][1], 16), str(node.get("name", names[0] if names else ""))
        for key, value in node.items():
            if isinstance(value, str) and not codes and (found := _CODE.fullmatch(key.strip())):
                yield int(found[1], 16), value
            yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)
