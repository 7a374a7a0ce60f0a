"""Read COCO: one JSON of images, categories and annotations with polygons or run lengths.

https://cocodataset.org/#format-data. Polygons are drawn by pycocotools, the format's own reference,
after their numbers were found sane: it fails hard on absurd ones.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from delineate.data.importers.annotation import Collection, ImportOptions, Notes, Patch, Region
from delineate.data.importers.objects import Drawing, collect
from delineate.data.importers.painting import (
    box_points,
    fill_polygons,
    read_points,
    trim,
    window_of,
)
from delineate.data.importers.sources import (
    ImageFinder,
    files_ending,
    needs_extra,
    read_json,
    split_of,
    stem_of,
)
from delineate.data.pairing import read_entry
from delineate.errors import DataError, UnreadableFileError

_MAX_STEPS = 10_000_000
"""Longest outline, in pixels, that pycocotools draws: it takes memory for each step."""

_MAX_SHIFT = 40
"""Most bits of a packed run length; images have fewer pixels."""

_SECTIONS = ("images", "annotations", "categories")


def is_coco(document: Any) -> bool:
    """Return whether a JSON document is COCO's."""
    return isinstance(document, dict) and all(
        isinstance(document.get(section), list) for section in _SECTIONS
    )


def read_coco(src: Path, options: ImportOptions) -> Collection:
    """Read a COCO file, or a folder with `annotations/*.json` and images.

    A category that several categories share by name is one class. Where a pixel belongs to several
    objects, the smaller one lies above: COCO names no order, and parts are smaller than wholes.

    Raises:
        DataError: If there is no such file, or what it says is not COCO.
    """
    with needs_extra("import"):
        import pycocotools.mask as _  # noqa: F401
    notes = Notes()
    documents = {src: read_json(src)} if src.is_file() else _documents(src, notes)
    root = options.images or (src if src.is_dir() else _image_root(src))
    finder = ImageFinder([root])
    drawings: list[Drawing] = []
    classes: dict[str, None] = {}
    for path, document in documents.items():
        if not is_coco(document):
            raise UnreadableFileError(
                f"{path} has no lists 'images', 'annotations' and 'categories'; it is not COCO"
            )
        names = _categories(document["categories"], path)
        classes |= dict.fromkeys(names.values())
        drawings += _read_file(document, names, path, finder, notes)
    if not drawings:
        raise DataError(f"{src} lists no image")
    return collect(drawings, list(classes), options, notes, overlaps="smaller")


def _image_root(path: Path) -> Path:
    """Return the folder to search for images of an annotation file."""
    parent = path.absolute().parent
    is_label_folder = read_entry(PurePosixPath(parent.name) / path.name).role == "mask"
    return parent.parent if is_label_folder else parent


def _documents(folder: Path, notes: Notes) -> dict[Path, Any]:
    """Return the annotation files of a folder; those of instances alone, where there are any."""
    found = {path: read_json(path) for path in files_ending(folder, ".json")}
    found = {path: document for path, document in found.items() if is_coco(document)}
    if not found:
        raise DataError(f"{folder} holds no COCO file (.json with images and annotations)")
    instances = {path: found[path] for path in found if path.name.startswith("instances")}
    for path in found.keys() - (instances or found).keys():
        notes.add("other annotation files; they are left out", path.name)
    return instances or found


def _categories(entries: list[Any], path: Path) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for entry in entries:
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), int):
            raise UnreadableFileError(f"{path} has a category without an id: {str(entry)[:80]}")
        names[entry["id"]] = str(entry.get("name", f"class_{entry['id']}"))
    return names


def _read_file(
    document: Any, names: dict[Any, str], path: Path, finder: ImageFinder, notes: Notes
) -> list[Drawing]:
    by_image: dict[Any, list[Any]] = defaultdict(list)
    known = set()
    for image in document["images"]:
        if not isinstance(image, dict) or not isinstance(image.get("id"), int | str):
            raise UnreadableFileError(f"{path} has an image without an id: {str(image)[:80]}")
        known.add(image["id"])
    for annotation in document["annotations"]:
        where = annotation.get("image_id") if isinstance(annotation, dict) else None
        if not isinstance(where, int | str) or where not in known:
            notes.add("annotations of images that are not listed; they are left out", path.name)
            continue
        by_image[where].append(annotation)
    drawings = []
    for image in document["images"]:
        annotations = by_image[image["id"]]
        if not annotations:
            notes.add("images without an annotation; they become background", path.name)
        drawings.append(_drawing(image, annotations, names, path, finder, notes))
    return drawings


def _drawing(
    image: dict[str, Any],
    annotations: Sequence[Any],
    names: dict[Any, str],
    path: Path,
    finder: ImageFinder,
    notes: Notes,
) -> Drawing:
    name = str(image.get("file_name"))
    height, width = image.get("height"), image.get("width")
    is_sized = isinstance(height, int) and isinstance(width, int)

    def regions(size: tuple[int, int]) -> list[Region]:
        return [
            region
            for annotation in annotations
            if (region := _region(annotation, names, name, notes)) is not None
        ]

    return Drawing(
        name=stem_of(PurePosixPath(name.replace("\\", "/"))),
        find=lambda: finder.find(image.get("file_name"), near=path),
        regions=regions,
        split=split_of(path),
        size=(int(str(height)), int(str(width))) if is_sized else None,
    )


def _region(
    annotation: dict[str, Any], names: dict[Any, str], where: str, notes: Notes
) -> Region | None:
    number, category = annotation.get("id"), annotation.get("category_id")
    if not isinstance(category, int) or category not in names:
        raise DataError(
            f"{where}: annotation {number} has the category {category!r}, which is not listed"
        )
    segmentation, box = annotation.get("segmentation"), annotation.get("bbox")
    if not segmentation and not box:
        notes.add("objects without outline or box; they are left out", where)
        return None
    if not segmentation:
        notes.add("objects with a box and no outline; pixels of the box do not count", where)

    def paint(size: tuple[int, int]) -> Patch:
        try:
            return _paint_segmentation(segmentation, size) if segmentation else fill_box(box, size)
        except DataError as error:
            raise DataError(f"{where}: annotation {number}: {error}") from error

    return Region(names[category] if segmentation else None, paint)


def fill_box(box: Any, size: tuple[int, int]) -> Patch:
    """Return the pixels of a box [left, top, width, height].

    Raises:
        DataError: If it is no such box.
    """
    points = read_points(box)
    if points.shape != (2, 2):
        raise DataError(f"its box is {str(box)[:60]} and not [left, top, width, height]")
    (left, top), (width, height) = points.tolist()
    return fill_polygons([[box_points(left, top, left + width, top + height)]], size)


def _paint_segmentation(segmentation: Any, size: tuple[int, int]) -> Patch:
    if isinstance(segmentation, dict):
        return trim(_decode_runs(segmentation, size))
    if not isinstance(segmentation, list):
        raise DataError(f"its segmentation is a {type(segmentation).__name__}")
    parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
    return _fill_outlines([points for part in parts if len(points := read_points(part)) >= 3], size)


def _fill_outlines(outlines: Sequence[NDArray[np.float64]], size: tuple[int, int]) -> Patch:
    """Draw polygons in the window that they span, as pycocotools does."""
    from pycocotools import mask as reference

    if not outlines:
        return Patch(0, 0, np.zeros((0, 0), bool))
    steps = sum(
        float(np.abs(np.diff(points, axis=0, append=points[:1])).max(axis=1).sum())
        for points in outlines
    )
    if steps > _MAX_STEPS:
        return fill_polygons([[points] for points in outlines], size)
    top, left, bottom, right = window_of(np.vstack(outlines), size)
    if bottom <= top or right <= left:
        return Patch(0, 0, np.zeros((0, 0), bool))
    shifted = [(points - (left, top)).ravel().tolist() for points in outlines]
    runs = reference.frPyObjects(shifted, bottom - top, right - left)
    with warnings.catch_warnings():
        # Its arrays are of before NumPy 2, which converts them with a warning.
        warnings.simplefilter("ignore", DeprecationWarning)
        pixels = reference.decode(reference.merge(runs))
    return Patch(top, left, pixels.astype(bool))


def _decode_runs(segmentation: dict[str, Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode run lengths down the columns, plain or packed, of an image of `size`."""
    counts, said = segmentation.get("counts"), segmentation.get("size")
    if not isinstance(said, list) or [*size] != said:
        raise DataError(f"its run lengths are of an image of {said}, the image is {[*size]}")
    height, width = size
    runs = read_counts(_unpack_counts(counts) if isinstance(counts, str) else counts)
    if runs.sum() != height * width:
        raise DataError(
            f"its run lengths make {runs.sum()} pixels and the image has {height * width}"
        )
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return values.reshape(width, height).T


def _unpack_counts(text: str) -> list[int]:
    """Return the run lengths that a packed string holds.

    Each number is written in groups of five bits, the lowest first, in characters from "0" on; the
    sixth bit says that more follow, and the highest of the last group is the sign. From the third
    on, a number is the difference to the one before the last.

    pycocotools decodes them, too, but leaves pixels undefined where they are too short.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > _MAX_SHIFT:
            raise DataError("its packed run lengths hold what no packing makes")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts


def read_counts(counts: Any) -> NDArray[np.int64]:
    """Return run lengths as whole numbers.

    Raises:
        DataError: If they are none, or negative.
    """
    try:
        runs = np.asarray(counts, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError("its run lengths are no numbers") from error
    if runs.ndim != 1 or not (np.isfinite(runs) & (runs >= 0) & (runs == np.floor(runs))).all():
        raise DataError("its run lengths are no whole numbers from 0 up")
    if runs.sum() > 2**40:
        raise DataError(f"its run lengths make {runs.sum():.3g} pixels")
    return runs.astype(np.int64)
