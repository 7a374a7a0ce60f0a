"""Turn images with objects drawn on them into items: what COCO, YOLO, LabelMe and CVAT share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.data.importers.annotation import (
    MAX_CLASSES,
    VOID,
    Collection,
    ImportOptions,
    Item,
    Notes,
    Overlaps,
    Piece,
    Region,
)
from delineate.data.importers.painting import paint_regions
from delineate.data.pairing import Split
from delineate.errors import DataError, UnknownNameError
from delineate.rasters import Raster, read_header, upright, upright_size

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

BACKGROUND = "background"
_BACKGROUND_NAMES = frozenset({"background", "_background_", "__background__", "bg"})


@dataclass(frozen=True)
class Drawing:
    """An image and the objects that an annotation draws on it."""

    name: str
    """What the image is to be called."""
    find: Callable[[], Path | Raster]
    """Returns the image file, or its pixels where the annotation holds them."""
    regions: Callable[[tuple[int, int]], Sequence[Region]]
    """Returns the objects in an image of (height, width)."""
    split: Split | None = None
    size: tuple[int, int] | None = None
    """(height, width) that the annotation says; None where it says nothing."""


@dataclass(frozen=True)
class ClassTable:
    """Which classes are kept and what they are in the masks."""

    names: tuple[str, ...]
    """In the order of their indices."""
    indices: Mapping[str, int]
    """Class as it is written in the source -> its index, or `VOID`."""
    background: str | None


def choose_classes(found: Sequence[str], options: ImportOptions, *, keep: bool) -> ClassTable:
    """Return the classes that masks get: the background, and those that the source has.

    Args:
        found: Classes of the source, in its order.
        options: `classes` selects and orders them; `ignore` voids some.
        keep: Whether each class gets a band of its own, which needs no background.

    Raises:
        UnknownNameError: If the options name a class that is not there.
        DataError: If there is no class, or more than masks can hold.
    """
    for name in (*options.classes, *options.ignore):
        if name not in found:
            raise UnknownNameError("class", name, sorted(found))
    wanted = options.classes or tuple(dict.fromkeys(found))
    foreground = [
        name
        for name in wanted
        if name.lower() not in _BACKGROUND_NAMES and name not in options.ignore
    ]
    if not foreground:
        raise DataError("the source names no class; there is nothing to segment")
    first = 0 if keep else 1
    if len(foreground) + first > MAX_CLASSES:
        raise DataError(
            f"the source has {len(foreground)} classes and masks hold at most "
            f"{MAX_CLASSES - first}; choose some by --classes"
        )
    indices = {name: number for number, name in enumerate(foreground, start=first)}
    indices |= dict.fromkeys(options.ignore, VOID)
    if keep:
        return ClassTable(tuple(foreground), indices, None)
    indices |= {name: 0 for name in found if name.lower() in _BACKGROUND_NAMES}
    return ClassTable((BACKGROUND, *foreground), indices, BACKGROUND)


def collect(
    drawings: Sequence[Drawing],
    found: Sequence[str],
    options: ImportOptions,
    notes: Notes,
    *,
    overlaps: Overlaps,
) -> Collection:
    """Return the data set that drawings make.

    Args:
        drawings: The images.
        found: Classes of the source, in its order.
        options: What the user added.
        notes: Takes what cannot be kept.
        overlaps: The rule of the format, where the options leave it open.
    """
    rule = overlaps if options.overlaps == "auto" else options.overlaps
    table = choose_classes(found, options, keep=rule == "keep")
    items = [
        Item(drawing.name, _reader(drawing, table, rule, notes), drawing.split)
        for drawing in drawings
    ]
    return Collection(
        table.names,
        items,
        notes,
        background=table.background,
        is_multilabel=rule == "keep",
    )


def _reader(
    drawing: Drawing, table: ClassTable, rule: Overlaps, notes: Notes
) -> Callable[[], Iterator[Piece]]:
    def read() -> Iterator[Piece]:
        image = drawing.find()
        if isinstance(image, Raster):
            size, orientation = image.pixels.shape[:2], 1
        else:
            header = read_header(image)
            if header.num_pages > 1:
                raise DataError(f"{image} holds {header.num_pages} pictures and one was annotated")
            size, orientation = header.size, header.orientation
        drawn, turn = _drawn_size(drawing, size, orientation)
        target = paint_regions(
            drawing.regions(drawn),
            table.indices,
            drawn,
            overlaps=rule,
            where=drawing.name,
            notes=notes,
        )
        yield Piece(drawing.name, image, turn(target))

    return read


def _drawn_size(
    drawing: Drawing, size: tuple[int, int], orientation: int
) -> tuple[tuple[int, int], Callable[[NDArray[Any]], NDArray[Any]]]:
    """Return the size that objects were drawn in, and what turns their mask upright.

    Some programs draw on the pixels as they are stored, others as EXIF turns them; the size that
    the annotation says tells which. Where it says none, or both are alike, they are upright.
    """
    stored = upright_size(*size, orientation)
    if drawing.size in (None, size):
        return size, lambda target: target
    if drawing.size == stored:
        return stored, lambda target: np.ascontiguousarray(
            np.moveaxis(
                upright(np.moveaxis(target, (-2, -1), (0, 1)), orientation), (0, 1), (-2, -1)
            )
        )
    height, width = drawing.size or size
    raise DataError(
        f"{drawing.name} is {size[0]}x{size[1]} pixels but was annotated as {height}x{width}; "
        "find the image that was annotated"
    )
