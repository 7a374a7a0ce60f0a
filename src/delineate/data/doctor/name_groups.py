"""Guess from names which images belong together: patient, scene, tile, photograph."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from delineate.data.pairing import read_entry

MIN_SAME_PAIRS = 5
"""Pairs of images in one group that a guess needs."""

_MIN_NUMBERED = 0.8
_FIELDS = re.compile(r"([_\-. ]+)")
_FIELD = r"[^/_\-. ]+"


@dataclass(frozen=True)
class NameGroups:
    """A guess."""

    pattern: str
    """For `data.groups`: a regular expression on the relative path, with one group."""
    groups: tuple[str, ...]
    """What it finds in each path."""


def guess_groups(paths: Sequence[str]) -> list[NameGroups]:
    """Return the groupings that the names of images suggest, the coarsest first.

    Folders with numbers in their names are groups, and so are the first fields of names that end
    in another field (`0016E5_01260`) or in a letter behind a number (`Image_01L`). A grouping with
    few pairs, or whose groups are told apart by words alone, is none.

    Args:
        paths: Of images, relative, with forward slashes.
    """
    if not paths:
        return []
    found: dict[tuple[str, ...], NameGroups] = {}
    for pattern in (*_folder_patterns(paths), *_stem_patterns(paths)):
        matches = [re.search(pattern, path) for path in paths]
        groups = tuple(match[1] for match in matches if match is not None)
        if len(groups) == len(paths) and _is_plausible(groups):
            found.setdefault(_partition(groups), NameGroups(pattern, groups))
    return sorted(found.values(), key=lambda guess: len(set(guess.groups)))


def _is_plausible(groups: Sequence[str]) -> bool:
    sizes = Counter(groups)
    numbered = sum(any(letter.isdigit() for letter in name) for name in sizes)
    same = sum(size * (size - 1) // 2 for size in sizes.values())
    return len(sizes) > 1 and same >= MIN_SAME_PAIRS and numbered >= _MIN_NUMBERED * len(sizes)


def _partition(groups: Sequence[str]) -> tuple[str, ...]:
    """Return which images are together, whatever the groups are called."""
    first: dict[str, str] = {}
    return tuple(first.setdefault(name, str(index)) for index, name in enumerate(groups))


def _folder_patterns(paths: Sequence[str]) -> Iterator[str]:
    folders = [PurePosixPath(path).parts[:-1] for path in paths]
    for depth in range(min(map(len, folders), default=0)):
        names = {parts[depth] for parts in folders}
        if len(names) < 2 or all(_is_role_or_split(name) for name in names):
            continue
        shapes = {re.sub(r"\d+", "#", name) for name in names}
        if len(shapes) == 1:
            [shape] = shapes
            if shape.count("#") == 1:
                before, after = shape.split("#")
                if before:
                    yield rf"({_escape(before)}\d+{_escape(after)})/"
                    continue
        yield r"^" + r"[^/]+/" * depth + r"([^/]+)/"


def _is_role_or_split(name: str) -> bool:
    entry = read_entry(PurePosixPath(name) / "x.png")
    return not entry.scene


def _stem_patterns(paths: Sequence[str]) -> Iterator[str]:
    names = [_FIELDS.split(PurePosixPath(path).stem) for path in paths]
    lengths = {len(name) for name in names}
    if len(lengths) > 1:
        yield rf"(?:^|/)([^/]*{_FIELD})[_\-. ]+{_FIELD}\.\w+$"
        yield rf"(?:^|/)({_FIELD})[_\-. ][^/]*$"
        return
    [length] = lengths
    fields = [[name[place] for name in names] for place in range(0, length, 2)]
    joints = [""] + [_joint([name[place] for name in names]) for place in range(1, length, 2)]
    pieces = [_one_of(values) for values in fields]
    for last, values in enumerate(fields):
        if last and not _is_constant(fields[last - 1]):
            yield _enclose(pieces[:last], joints, fields) + joints[last]
        if all(re.fullmatch(r"\d+[A-Za-z]", value) for value in values):
            yield _enclose([*pieces[:last], r"\d+"], joints, fields) + "[A-Za-z]"


def _enclose(pieces: Sequence[str], joints: Sequence[str], fields: Sequence[Sequence[str]]) -> str:
    """Return a pattern of leading fields, with a group around those that vary."""
    first = next(place for place in range(len(pieces)) if not _is_constant(fields[place]))
    parts = [joint + piece for joint, piece in zip(joints, pieces, strict=False)]
    head = "".join(parts[:first]) + joints[first] if first else r"(?:^|/)"
    return f"{head}({pieces[first]}{''.join(parts[first + 1 :])})"


def _joint(separators: Sequence[str]) -> str:
    return _escape(separators[0]) if _is_constant(separators) else r"[_\-. ]+"


def _escape(text: str) -> str:
    return re.escape(text).replace(r"\ ", " ")


def _one_of(values: Sequence[str]) -> str:
    if _is_constant(values):
        return _escape(values[0])
    return r"\d+" if all(value.isdecimal() for value in values) else _FIELD


def _is_constant(values: Sequence[str]) -> bool:
    return len(set(values)) == 1
