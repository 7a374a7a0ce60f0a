"""Say which setting tells what the values of masks mean, where they leave it open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from delineate.config import TaskConfig
from delineate.data.doctor.findings import Evidence, FaultyDataError, Finding
from delineate.data.mask_decoder import format_code
from delineate.data.mask_tally import NUM_LISTED, FoundCodes

MAX_CLASSES = 64
"""Masks with more values than this are taken for instance numbers or greys, never for classes."""

MAX_EVIDENCE = 6
"""How many files a finding about masks shows."""

_EXTREME_SHARE = 0.95


def middle(values: Sequence[int]) -> int:
    """Return the value halfway between the lowest and the highest, rounded up."""
    return (values[0] + values[-1] + 1) // 2


def fault(
    code: str,
    what: str,
    fix: str,
    *,
    why: str = "the settings contradict the masks, so no class can be told",
    found: FoundCodes | None = None,
    codes: Sequence[int] = (),
    proposal: Mapping[str, Any] | None = None,
) -> FaultyDataError:
    """Return the error of one finding about masks.

    Args:
        code: Name of the finding.
        what: What is.
        fix: What settles it.
        why: Why it matters.
        found: Tells which files hold `codes`.
        codes: What the finding is about; the rarest are shown first.
        proposal: Settings of the section `data` with which the masks could be read.
    """
    files: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    if found is not None:
        files = found.files_of(codes)
        rarest = sorted((c for c in codes if c in found.fullest), key=lambda c: found.pixels[c])
        shown: dict[str, str] = {}
        for one in rarest:
            pixels, path = found.fullest[one]
            text = f"{pixels} pixels of {format_code(one, found.reading)}"
            if str(path) not in shown and len(shown) < MAX_EVIDENCE:
                shown[str(path)] = text
        evidence = tuple(Evidence(file, caption) for file, caption in shown.items())
    finding = Finding(code, "error", tuple(files), what, why, fix, evidence=evidence)
    return FaultyDataError([finding], proposal=proposal)


def needs_legend(found: FoundCodes, ignored: tuple[int, ...]) -> FaultyDataError:
    """Return the error for colours without a legend, with a legend to fill in."""
    colours = sorted(set(found.pixels) - set(ignored), key=lambda code: (-found.pixels[code], code))
    if len(colours) > MAX_CLASSES:
        return fault(
            "smooth-colours",
            f"the masks hold {len(colours)} colours, which smooth edges or JPEG make: "
            f"{found.describe(colours)}",
            "write the masks as PNG without smoothing, or, if they mean bright against dark, set "
            "`--data.mask-threshold 128` (in data.yaml `mask_threshold: 128`)",
            why="a blend of two classes' colours is the colour of neither",
            found=found,
            codes=colours[MAX_CLASSES:],
            proposal={"mask_threshold": 128},
        )
    names = {
        code: "background" if code == 0 else f"class_{number}"
        for number, code in enumerate(colours, start=1)
    }
    lines = "\n".join(
        f'  {name}: "#{code:06X}"  # {found.pixels[code]} pixels in {len(found.paths[code])} files'
        for code, name in names.items()
    )
    return fault(
        "no-legend",
        f"the masks hold {len(colours)} colours and nothing says what they mean",
        "put this into data.yaml beside the images, with the true names, and colours that do not "
        f'count into `ignore: ["#..."]`:\nlegend:\n{lines}',
        why="a colour is no class until it has a name",
        found=found,
        codes=colours,
        proposal={"legend": {name: f"#{code:06X}" for code, name in names.items()}},
    )


def unclear(found: FoundCodes, values: Sequence[int], config: TaskConfig) -> FaultyDataError:
    """Return the error for values that are neither two nor 0 to K-1, with the likely setting."""
    names = config.class_names
    rest = [value for value in values if value != 255]
    if not values:
        return fault(
            "nothing-counts", "every pixel of every mask is ignored", "correct `data.ignore`"
        )
    if len(values) == 1:
        return fault(
            "single-value",
            f"the masks hold one value only: {found.describe(values)}",
            "set `data.foreground_value` or `data.legend`, or check the masks",
            why="a class needs something that it is told from",
            found=found,
            codes=values,
        )
    code, advice, odd, proposal = _advise(found, values, rest, config)
    what = f"the masks hold the values {found.describe(values)}"
    if code == "smooth-edges":
        kind = ", some of them JPEG," if found.is_jpeg else ""
        what = f"the masks{kind} hold {len(values)} grey values; {_say_cut(found, values)}"
    return fault(
        code,
        what,
        advice,
        why=_WHY.get(code, "classes are numbered from 0, and a gap or a stray value is a mistake"),
        found=found,
        codes=odd or values,
        proposal=proposal if not names or code in ("void-value", "unnamed-values") else None,
    )


_WHY = {
    "void-value": "void pixels that count as a class are learned and scored as if they were one",
    "smooth-edges": "the grey between background and foreground is neither until a cut is named",
    "instance-numbers": "numbers of objects are no classes: they change from image to image",
    "two-values": "which of two values is wanted is not ours to guess",
    "unnamed-values": "a value without a name is a class nobody meant, or noise",
}


def _advise(
    found: FoundCodes, values: Sequence[int], rest: list[int], config: TaskConfig
) -> tuple[str, str, Sequence[int], dict[str, Any] | None]:
    """Return (code, advice, values to blame, settings that would do) for two values or more."""
    names = config.class_names
    is_row = rest == list(range(len(rest))) or (names and rest and rest[-1] < len(names))
    if 2 <= len(rest) <= MAX_CLASSES and is_row and rest != list(values):
        return (
            "void-value",
            "if 255 marks pixels that do not count, write `--data.ignore 255` (in data.yaml "
            "`ignore: [255]`), else name it in `data.legend`",
            [255],
            {"ignore": (255,)},
        )
    low, high = values[0], values[-1]
    if len(values) == 2 and config.kind == "multiclass":
        return (
            "two-values",
            f"name both in `data.legend`: {{background: {low}, foreground: {high}}}",
            (),
            {"legend": {"background": low, "foreground": high}},
        )
    if len(values) == 2:
        advice = (
            f"write `--data.foreground-value {high}` (in data.yaml `foreground_value: {high}`) or "
            f"{low}, whichever is the wanted class"
        )
        return "two-values", advice, (), {"foreground_value": high}
    if _is_smooth(found, values):
        cut = middle(values)
        advice = (
            f"they look like smooth edges between {low} and {high}: write "
            f"`--data.mask-threshold {cut}` (in data.yaml `mask_threshold: {cut}`)"
        )
        return "smooth-edges", advice, values[1:-1], {"mask_threshold": cut}
    if names:
        wrong = [value for value in values if value >= len(names)]
        advice = (
            f"{len(names)} classes are named, 0 to {len(names) - 1}, so {wrong[:NUM_LISTED]} have "
            f"no name: add names, or list them in `data.ignore` (in data.yaml `ignore: "
            f"{wrong[:NUM_LISTED]}`)"
            if wrong
            else "a binary task has two values: set `task.kind: multiclass`"
        )
        return "unnamed-values", advice, wrong, {"ignore": tuple(wrong)}
    if len(values) > MAX_CLASSES:
        advice = (
            "they look like instance numbers: write `--data.mask-threshold 1` (in data.yaml "
            "`mask_threshold: 1`) to make every instance foreground"
        )
        return "instance-numbers", advice, (), {"mask_threshold": 1}
    legend = {f"class_{value}": value for value in values}
    if config.kind == "binary" or rest == list(range(len(rest))):
        advice = "a binary task has two values: set `task.kind: multiclass`, or `data.legend`"
        return "many-values", advice, (), None
    missing = sorted(set(range(values[-1])) - set(values))
    begin = "begin at 1, one off" if list(values) == list(range(1, high + 1)) else "leave gaps"
    listed = ", ".join(f"{name}: {value}" for name, value in legend.items())
    advice = (
        f"classes are numbered from 0 and {missing[:NUM_LISTED]} are missing: name all classes by "
        f"`task.class_names`, or, if the numbers {begin}, write `data.legend` with a value for "
        f"each class (in data.yaml `legend: {{{listed}}}`)"
    )
    return "class-numbers", advice, (), {"legend": legend}


def _say_cut(found: FoundCodes, values: Sequence[int]) -> str:
    """Say how many pixels are grey, and how much the place of the cut matters."""
    low, high = values[0], values[-1]
    total = sum(found.pixels[value] for value in values)
    grey = sum(found.pixels[value] for value in values if low < value < high)
    quarters = [low + (high - low) * part // 4 for part in (1, 2, 3)]
    above = [sum(found.pixels[v] for v in values if v >= cut) for cut in quarters]
    change = max(abs(above[0] - above[1]), abs(above[2] - above[1])) / max(1, above[1])
    return (
        f"{grey} of {total} pixels ({100 * grey / total:.2g} %) lie between {low} and {high}, and "
        f"a cut at {quarters[0]} or {quarters[2]} instead of {quarters[1]} changes the foreground "
        f"by {100 * change:.2g} %"
    )


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
