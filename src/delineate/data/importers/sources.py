"""Read annotation files that nobody vouches for, and find the images that they name.

A name in an annotation is looked up among the images below the source folder and is never followed
as a path, so that no annotation makes the program read another file.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from delineate.data.pairing import SPLIT_WORDS, Split, read_entry
from delineate.errors import DataError, UnreadableFileError, UsageError
from delineate.files import format_bytes
from delineate.rasters import SUFFIXES, image_suffix

MAX_TEXT_BYTES = 2**31
"""Largest annotation file that is read."""

_SKIPPED = frozenset({"__MACOSX", "@eaDir"})


def read_text(path: Path) -> str:
    """Return an annotation file as text.

    Raises:
        UnreadableFileError: If it is missing, too large or no UTF-8.
    """
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise UnreadableFileError(
                f"{path} is {format_bytes(size)} and annotations are read up to "
                f"{format_bytes(MAX_TEXT_BYTES)}; divide it"
            )
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"{path} cannot be read as text: {error}") from error


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        UnreadableFileError: If it is missing, too large, nested too deeply or no JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableFileError(f"{path} is no JSON that can be read: {error}") from error


def read_xml(path: Path) -> Any:
    """Return the root element of an XML file; entities and document types are refused.

    Raises:
        UnreadableFileError: If it is missing, too large or no plain XML.
        UsageError: If defusedxml is not installed.
    """
    with needs_extra("import"):
        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import ParseError, fromstring
    text = read_text(path)
    try:
        return fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise UnreadableFileError(f"{path} is no XML that can be read: {reason}") from error


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a failed import inside the block into advice to install an extra.

    Raises:
        UsageError: If something cannot be imported.
    """
    try:
        yield
    except ImportError as error:
        raise UsageError(
            f"this format needs {error.name}, which is not installed; run "
            f"pip install 'delineate[{extra}]'"
        ) from error


def walk_files(root: Path, is_wanted: Callable[[Path], bool]) -> list[Path]:
    """Return the files below a folder, sorted; links to folders are not followed."""
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(
            name for name in subfolders if name[0] != "." and name not in _SKIPPED
        )
        found += [
            path
            for name in sorted(files)
            if name[0] != "." and is_wanted(path := Path(folder) / name)
        ]
    return found


def is_image(path: Path) -> bool:
    """Return whether a file is an image by its name."""
    return image_suffix(path) in SUFFIXES


def files_ending(root: Path, *endings: str) -> list[Path]:
    """Return the files below a folder whose names end so, in any case, sorted."""
    return walk_files(root, lambda path: path.name.lower().endswith(endings))


class ImageFinder:
    """The images below some folders, found by the ends of their paths."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = tuple(root.resolve() for root in roots)
        self._shown = ", ".join(map(str, roots))
        self._by_name: dict[str, list[Path]] = defaultdict(list)
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for root in roots:
            for path in walk_files(root, is_image):
                self._by_name[path.name.lower()].append(path)
                self._by_stem[stem_of(path).lower()].append(path)

    @property
    def images(self) -> list[Path]:
        """All images."""
        return sorted({path for paths in self._by_name.values() for path in paths})

    def find(self, name: object, *, has_ending: bool = True, near: Path | None = None) -> Path:
        """Return the image that an annotation names, by its name or the end of its path.

        Of several that fit, the one in the folder of the annotation is taken, or the one in the
        least folders.

        Args:
            name: A name, or a path as some other machine had it.
            has_ending: Whether `name` has the ending of the file.
            near: The annotation.

        Raises:
            DataError: If there is none, several fit, or it is a link that leads elsewhere.
        """
        parts = tuple(
            part for part in str(name).replace("\\", "/").split("/") if part not in ("", ".", "..")
        )
        if not isinstance(name, str) or not parts or "\0" in name:
            raise DataError(f"an image is named {name!r}, which is no name")
        table = self._by_name if has_ending else self._by_stem
        candidates = table.get(parts[-1].lower(), [])
        if len(candidates) > 1:
            candidates = _nearest(_longest_match(candidates, parts[:-1]), near)
        if not candidates:
            raise DataError(
                f"image {_shorten(name)} is not below {self._shown} (links to folders are not "
                "followed); name its folder by --images"
            )
        if len(candidates) > 1:
            listed = ", ".join(str(path) for path in candidates[:3])
            raise DataError(
                f"image {_shorten(name)} may be {listed}; name the right folder by --images"
            )
        return self.check(candidates[0])

    def check(self, path: Path) -> Path:
        """Return `path` unless it is a link that leads out of the folders.

        Raises:
            DataError: If it does.
        """
        target = path.resolve()
        if not any(target.is_relative_to(root) for root in self._roots):
            raise DataError(
                f"{path} is a link that leads out of {self._shown}; copy the file there, or name "
                "its folder by --images"
            )
        return path


def _longest_match(candidates: Sequence[Path], folders: tuple[str, ...]) -> list[Path]:
    """Return the candidates whose folders agree with the most of those that were written."""

    def agreement(path: Path) -> int:
        pairs = zip(reversed(path.parent.parts), reversed(folders), strict=False)
        return next(
            (number for number, (have, want) in enumerate(pairs) if have != want), len(folders)
        )

    best = max(map(agreement, candidates))
    return [path for path in candidates if agreement(path) == best]


def _nearest(candidates: Sequence[Path], near: Path | None) -> list[Path]:
    """Return the candidates beside an annotation or of its split, else those in least folders."""
    if near is not None:
        beside = [path for path in candidates if path.parent == near.parent]
        split = split_of(near)
        alike = [path for path in candidates if split is not None and split_of(path) == split]
        if beside or alike:
            candidates = beside or alike
    depth = min(len(path.parts) for path in candidates)
    return [path for path in candidates if len(path.parts) == depth]


def split_of(path: Path) -> Split | None:
    """Return the split that the name of an annotation file, or its nearest folders, tell."""
    words = re.findall("[a-z]+", path.stem.lower())
    found = [SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS and len(word) > 2]
    if found:
        return found[0]
    return read_entry(PurePosixPath(*path.parts[-4:])).split


def _shorten(name: str) -> str:
    return repr(name if len(name) <= 120 else name[:120] + "...")


def stem_of(path: Path | PurePosixPath) -> str:
    """Return the name of a file without its ending; that of `x.nii.gz` is `x`."""
    return path.name[: len(path.name) - len(image_suffix(path))]
