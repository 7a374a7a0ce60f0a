"""Read `CVAT for images 1.1`: one XML of images with polygons, boxes, ellipses and masks.

https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from delineate.data.importers.annotation import Collection, ImportOptions, Notes, Patch, Region
from delineate.data.importers.coco import read_counts
from delineate.data.importers.objects import Drawing, collect
from delineate.data.importers.painting import (
    box_points,
    fill_ellipse,
    fill_polygons,
    place,
    read_points,
)
from delineate.data.importers.sources import ImageFinder, files_ending, read_xml, stem_of
from delineate.data.pairing import SPLIT_WORDS
from delineate.errors import DataError, UnreadableFileError

_WITHOUT_AREA = frozenset({"polyline", "points", "skeleton", "cuboid"})


def read_cvat(src: Path, options: ImportOptions) -> Collection:
    """Read `annotations.xml`, or a folder that holds it, and its images.

    Shapes lie above each other by their `z_order` and, where it is equal, as they are listed. Boxes
    that were drawn as boxes are taken for outlines: in CVAT they are what was asked for.

    Raises:
        DataError: If there is no such file, or it is of a video.
    """
    notes = Notes()
    files = [src] if src.is_file() else files_ending(src, ".xml")
    finder = ImageFinder([options.images or (src if src.is_dir() else src.absolute().parent)])
    drawings: list[Drawing] = []
    labels: dict[str, None] = {}
    for path in files:
        root = read_xml(path)
        if root.tag != "annotations":
            notes.add("other .xml files; they are left out", path.name)
            continue
        if root.find("track") is not None:
            raise UnreadableFileError(
                f"{path} holds tracks of a video; export it as 'CVAT for images 1.1'"
            )
        names = [name.text or "" for name in root.findall("./meta//label/name")]
        used = [shape.get("label", "") for image in root.iter("image") for shape in image]
        labels |= dict.fromkeys([*names, *sorted(set(used) - set(names))])
        drawings += [_drawing(image, path, finder, notes) for image in root.iter("image")]
    if not drawings:
        raise DataError(f"{src} holds no CVAT file (.xml with annotations of images)")
    return collect(drawings, list(labels), options, notes, overlaps="later")


def _drawing(image: Any, path: Path, finder: ImageFinder, notes: Notes) -> Drawing:
    name = image.get("name", "")
    try:
        size = (int(image.get("height")), int(image.get("width")))
    except (TypeError, ValueError) as error:
        raise UnreadableFileError(f"{path}: image {name!r} has no width and height") from error
    shapes = [shape for shape in image if shape.tag != "tag"]
    if not shapes:
        notes.add("images without a shape; they become background", name)

    def z_order(shape: Any) -> int:
        text = shape.get("z_order", "0")
        return int(text) if text.lstrip("-").isdigit() and len(text) < 10 else 0

    def regions(size: tuple[int, int]) -> list[Region]:
        found = []
        for shape in sorted(shapes, key=z_order):
            try:
                region = _region(shape, name, notes)
            except (DataError, ValueError, TypeError, OverflowError) as error:
                raise DataError(f"{path}, image {name}, {shape.tag}: {error}") from error
            found += [] if region is None else [region]
        return found

    return Drawing(
        name=stem_of(PurePosixPath(name.replace("\\", "/"))),
        find=lambda: finder.find(name),
        regions=regions,
        split=SPLIT_WORDS.get(image.get("subset", "").lower()),
        size=size,
    )


def _region(shape: Any, where: str, notes: Notes) -> Region | None:
    label = shape.get("label", "")
    if shape.tag in _WITHOUT_AREA:
        notes.add("lines, points, skeletons and cuboids; they are left out", where)
        return None
    if len(shape):
        notes.add("attributes of objects; they are left out", where, len(shape))
    if shape.tag == "polygon":
        pairs = [pair.split(",") for pair in shape.get("points", "").split(";") if pair]
        points = read_points([[float(number) for number in pair] for pair in pairs])
        return Region(label, lambda size: fill_polygons([[points]], size))
    if shape.tag == "box":
        left, top, right, bottom = _numbers(shape, "xtl", "ytl", "xbr", "ybr")
        degrees = float(shape.get("rotation", 0))
        corners = read_points(box_points(left, top, right, bottom, degrees))
        return Region(label, lambda size: fill_polygons([[corners]], size))
    if shape.tag == "ellipse":
        (x, y), (across, down) = read_points(_numbers(shape, "cx", "cy", "rx", "ry")).tolist()
        (degrees, _) = read_points([float(shape.get("rotation", 0)), 0]).ravel().tolist()
        return Region(label, lambda size: fill_ellipse((x, y), (across, down), degrees, size))
    if shape.tag == "mask":
        return Region(label, lambda size: _place_runs(shape, size))
    notes.add(f"shapes of the kind {shape.tag!r}; they are left out", where)
    return None


def _numbers(shape: Any, *names: str) -> list[float]:
    return [float(shape.get(name, "nan")) for name in names]


def _place_runs(shape: Any, size: tuple[int, int]) -> Patch:
    """Decode run lengths along the rows of a window, background first."""
    try:
        left, top, width, height = (
            int(shape.get(name)) for name in ("left", "top", "width", "height")
        )
        runs = read_counts([int(word) for word in shape.get("rle", "").split(",")])
    except (TypeError, ValueError) as error:
        raise DataError(f"a mask holds no whole numbers: {error}") from error
    is_inside = 0 < width <= size[1] and 0 < height <= size[0]
    if not is_inside or runs.sum() != width * height:
        raise DataError(
            f"a mask of {height}x{width} pixels has run lengths of {runs.sum()} pixels, in an "
            f"image of {size[0]}x{size[1]}"
        )
    values = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return place(values.reshape(height, width), top, left, size)
