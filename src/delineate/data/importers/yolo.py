"""Read YOLO segmentation labels: a text file per image, a line per object, shares of the image.

https://docs.ultralytics.com/datasets/segment/. A line is `class x1 y1 x2 y2 ...`; one with four
numbers after the class is a box.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from delineate.config import read_settings
from delineate.data.importers.annotation import Collection, ImportOptions, Notes, Patch, Region
from delineate.data.importers.objects import Drawing, collect
from delineate.data.importers.painting import box_points, fill_polygons, read_points
from delineate.data.importers.sources import ImageFinder, files_ending, read_text, stem_of
from delineate.data.pairing import read_entry
from delineate.errors import DataError

_SLACK = 0.01
"""How far outside of the image a point may lie, as a share of its side; rounding makes some."""

_NAME_FILES = ("classes.txt", "obj.names", "labels.names")


def read_yolo(src: Path, options: ImportOptions) -> Collection:
    """Read a folder of images and labels; `data.yaml`, beside them or given as SRC, names classes.

    Images without a label file hold background, as they do in YOLO. Where a pixel belongs to
    several objects, the smaller one lies above.

    Raises:
        DataError: If there are no labels.
    """
    notes = Notes()
    root = src if src.is_dir() else src.absolute().parent
    finder = ImageFinder([options.images or root])
    labels = _label_files(root)
    images = finder.images
    if not labels:
        raise DataError(f"{root} holds no label file (.txt with the name of an image)")
    if not images:
        raise DataError(f"{options.images or root} holds no image; name their folder by --images")
    by_key: dict[tuple[object, str], Path] = {}
    by_stem: dict[str, list[Path]] = {}
    for path in labels:
        by_key[_key(path, root)] = path
        by_stem.setdefault(path.stem, []).append(path)
    names, highest = _read_names(src, root), -1
    drawings, used = [], set()
    for image in images:
        stem = stem_of(image)
        label = by_key.get(_key(image, options.images or root))
        if label is None and len(by_stem.get(stem, [])) == 1:
            [label] = by_stem[stem]
        lines = [] if label is None else read_text(label).split("\n")
        if label is None:
            notes.add("images without a label file; they become background", image.name)
        else:
            used.add(label)
        highest = max([highest, *map(_class_number, lines)])
        drawings.append(_drawing(image, label, lines, names, root, finder, notes))
    for path in labels:
        if path not in used:
            notes.add("label files without an image; they are left out", path.name)
    if not names:
        names.update({number: f"class_{number}" for number in range(highest + 1)})
        notes.add("classes without a name (no data.yaml names them)", count=highest + 1)
    return collect(
        drawings, [names[key] for key in sorted(names)], options, notes, overlaps="smaller"
    )


def _label_files(root: Path) -> list[Path]:
    skipped = {*_NAME_FILES, "train.txt", "val.txt", "test.txt", "readme.txt", "license.txt"}
    texts = files_ending(root, ".txt")
    return [
        path for path in texts if path.name.lower() not in skipped and "README" not in path.name
    ]


def _key(path: Path, root: Path) -> tuple[object, str]:
    """Return what an image and its labels have in common: split, folders and name."""
    below = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
    entry = read_entry(PurePosixPath(below.as_posix()))
    return (entry.split, entry.scene), stem_of(path)


def _read_names(src: Path, root: Path) -> dict[int, str]:
    """Return class names by number, from `data.yaml` or a list of names."""
    files = [src] if src.is_file() else sorted(root.glob("*.yaml")) + sorted(root.glob("*.yml"))
    for path in files:
        names = read_settings(path).get("names")
        if isinstance(names, list):
            return {number: str(name) for number, name in enumerate(names)}
        if isinstance(names, dict) and all(isinstance(key, int) for key in names):
            return {key: str(name) for key, name in names.items()}
    for name in _NAME_FILES:
        for path in files_ending(root, name):
            lines = [line.strip() for line in read_text(path).split("\n")]
            return dict(enumerate(line for line in lines if line))
    return {}


def _class_number(line: str) -> int:
    first = line.split(maxsplit=1)[:1]
    return int(first[0]) if first and first[0].isdigit() and len(first[0]) < 6 else -1


def _drawing(
    image: Path,
    label: Path | None,
    lines: Sequence[str],
    names: dict[int, str],
    root: Path,
    finder: ImageFinder,
    notes: Notes,
) -> Drawing:
    where = image.name

    def regions(size: tuple[int, int]) -> list[Region]:
        found = []
        for number, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    found.append(_region(line, names, where, notes))
                except DataError as error:
                    raise DataError(f"{label}, line {number}: {error}") from error
        return found

    below = image.relative_to(root) if image.is_relative_to(root) else Path(image.name)
    split = read_entry(PurePosixPath(below.as_posix())).split
    return Drawing(stem_of(image), lambda: finder.check(image), regions, split)


def _region(line: str, names: dict[int, str], where: str, notes: Notes) -> Region:
    words = line.split()
    index = _class_number(line)
    if index not in names:
        raise DataError(f"its class is {words[0][:20]!r} and the classes are 0 to {max(names)}")
    try:
        numbers = [float(word) for word in words[1:]]
    except ValueError as error:
        raise DataError(f"it holds something else than numbers: {line[:60]!r}") from error
    if len(numbers) == 4:
        notes.add("objects with a box and no outline; pixels of the box do not count", where)
        x, y, width, height = read_points(numbers).ravel().tolist()
        shares = box_points(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        return Region(None, lambda size: _fill_shares(shares, size))
    points = read_points(numbers)
    if len(points) < 3:
        raise DataError(f"it has {len(points)} points and an outline has at least 3")
    if points.min() < -_SLACK or points.max() > 1 + _SLACK:
        raise DataError(
            f"its points reach from {points.min():g} to {points.max():g} and YOLO writes shares of "
            "the image, 0 to 1; divide x by the width and y by the height"
        )
    return Region(names[index], lambda size: _fill_shares(points, size))


def _fill_shares(shares: Any, size: tuple[int, int]) -> Patch:
    height, width = size
    return fill_polygons([[np.asarray(shares) * (width, height)]], size)
