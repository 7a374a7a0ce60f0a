"""Read LabelMe: a JSON per image with its shapes. https://github.com/wkentaro/labelme."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from delineate.data.importers.annotation import Collection, ImportOptions, Notes, Patch, Region
from delineate.data.importers.objects import Drawing, collect
from delineate.data.importers.painting import (
    fill_ellipse,
    fill_polygons,
    place,
    read_points,
)
from delineate.data.importers.sources import ImageFinder, files_ending, read_json, stem_of
from delineate.data.pairing import read_entry
from delineate.errors import DataError
from delineate.rasters import Raster, apply_palette, read_embedded

_IGNORED = "__ignore__"
"""The label that LabelMe's own converter gives to pixels that do not count."""

_WITHOUT_AREA = ("line", "linestrip", "point", "points")


def is_labelme(document: Any) -> bool:
    """Return whether a JSON document is LabelMe's."""
    return (
        isinstance(document, dict)
        and isinstance(document.get("shapes"), list)
        and "imagePath" in document
    )


def read_labelme(src: Path, options: ImportOptions) -> Collection:
    """Read a folder of LabelMe files and their images.

    An image that is not there is taken from the file, where it is embedded. Later shapes lie above
    earlier ones, as in LabelMe; the label `__ignore__` does not count.

    Raises:
        DataError: If there is no LabelMe file.
    """
    notes = Notes()
    root = src if src.is_dir() else src.absolute().parent
    finder = ImageFinder([root] if options.images is None else [root, options.images])
    drawings, labels = [], set()
    for path in [src] if src.is_file() else files_ending(root, ".json"):
        document = read_json(path)
        if not is_labelme(document):
            notes.add("other .json files; they are left out", path.name)
            continue
        shapes = [shape for shape in document["shapes"] if isinstance(shape, dict)]
        if not shapes:
            notes.add("images without a shape; they become background", path.name)
        labels |= {str(shape.get("label")) for shape in shapes} - {_IGNORED}
        drawings.append(_drawing(document, shapes, path, root, finder, notes))
    if not drawings:
        raise DataError(f"{src} holds no LabelMe file (.json with shapes and imagePath)")
    return collect(drawings, sorted(labels), options, notes, overlaps="later")


def _drawing(
    document: dict[str, Any],
    shapes: list[dict[str, Any]],
    path: Path,
    root: Path,
    finder: ImageFinder,
    notes: Notes,
) -> Drawing:
    height, width = document.get("imageHeight"), document.get("imageWidth")
    is_sized = isinstance(height, int) and isinstance(width, int)

    def regions(size: tuple[int, int]) -> list[Region]:
        found = []
        for number, shape in enumerate(shapes, start=1):
            try:
                region = _region(shape, path.name, notes)
            except DataError as error:
                raise DataError(f"{path}, shape {number}: {error}") from error
            found += [] if region is None else [region]
        return found

    return Drawing(
        name=stem_of(PurePosixPath(str(document["imagePath"]).replace("\\", "/"))),
        find=lambda: _find(document, path, finder),
        regions=regions,
        split=read_entry(PurePosixPath(path.relative_to(root).as_posix())).split
        if path.is_relative_to(root)
        else None,
        size=(int(str(height)), int(str(width))) if is_sized else None,
    )


def _find(document: dict[str, Any], path: Path, finder: ImageFinder) -> Path | Raster:
    try:
        return finder.find(document["imagePath"], near=path)
    except DataError as error:
        data = document.get("imageData")
        if not isinstance(data, str):
            raise DataError(f"{path}: {error}") from error
    raster = read_embedded(_decode(data), path)
    if raster.palette is None:
        return raster
    return Raster(apply_palette(raster, path))


def _decode(text: Any) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise DataError(f"an embedded picture is no base64: {error}") from error


def _region(shape: dict[str, Any], where: str, notes: Notes) -> Region | None:
    kind = shape.get("shape_type") or "polygon"
    label = str(shape.get("label"))
    if kind in _WITHOUT_AREA:
        notes.add("lines and points, which have no area; they are left out", where)
        return None
    points = read_points(shape.get("points"))
    name = None if label == _IGNORED else label
    if kind == "polygon":
        return Region(name, lambda size: fill_polygons([[points]], size))
    if kind not in ("rectangle", "circle", "mask"):
        notes.add(f"shapes of the kind {kind!r}; they are left out", where)
        return None
    if len(points) != 2:
        raise DataError(f"a {kind} has 2 points and this one has {len(points)}")
    if kind == "circle":
        (x, y), (radius_x, radius_y) = points[0].tolist(), (points[1] - points[0]).tolist()
        radius = float(np.hypot(radius_x, radius_y))
        return Region(name, lambda size: fill_ellipse((x, y), (radius, radius), 0, size))
    if kind == "rectangle":
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
        return Region(name, lambda size: fill_polygons([[corners]], size))
    corner = np.floor(points.min(axis=0)).astype(int).tolist()
    return Region(name, lambda size: _place_bitmap(shape.get("mask"), corner, where, size))


def _place_bitmap(text: Any, corner: list[int], where: str, size: tuple[int, int]) -> Patch:
    raster = read_embedded(_decode(text), Path(where))
    return place(raster.pixels[..., 0] > 0, corner[1], corner[0], size)
