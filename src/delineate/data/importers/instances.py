"""Read instance masks: files in which every object has a number of its own, or a file of its own.

Pictures and stacks of pages (as StarDist and Cellpose use them) alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from delineate.config import DataConfig
from delineate.data.discovery import relative_path
from delineate.data.importers.annotation import Collection, ImportOptions, Item, Notes, Piece
from delineate.data.importers.objects import BACKGROUND
from delineate.data.importers.stacks import SLICE_GROUPS, read_pieces
from delineate.data.inventory import build_inventory
from delineate.data.mask_decoder import as_integers
from delineate.data.pairing import read_entry
from delineate.errors import DataError
from delineate.morphology import label_components
from delineate.rasters import read_raster

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.data.inventory import Sample

DEFAULT_CLASS = "object"


def read_instances(src: Path, options: ImportOptions) -> Collection:
    """Read images and instance masks, which are paired by their names and folders.

    Every number but 0 is foreground. What the numbers say beyond that, which pixels belong to one
    object, is not kept; objects that touch grow together, and are counted. `--images` and `--masks`
    name folders or files where names do not tell.

    Raises:
        DataError: If images and masks cannot be paired.
    """
    notes = Notes()
    root = src if src.is_dir() else src.absolute().parent
    config = DataConfig(
        images=() if options.images is None else (str(options.images.absolute()),),
        masks=() if options.masks is None else (str(options.masks.absolute()),),
    )
    inventory = build_inventory(root, config)
    names = options.classes or (DEFAULT_CLASS,)
    if len(names) != 1:
        raise DataError(
            f"instance masks have one class, besides background, and --classes names {len(names)}"
        )
    is_alone = len(inventory.samples) == 1
    items = [
        Item(
            sample.name,
            _reader(sample, options, is_alone, notes),
            read_entry(PurePosixPath(relative_path(sample.image, root))).split,
        )
        for sample in inventory.samples
    ]
    return Collection(
        (BACKGROUND, *names),
        items,
        notes,
        background=BACKGROUND,
        groups=SLICE_GROUPS if len(items) > 1 else None,
    )


def _reader(
    sample: Sample, options: ImportOptions, is_alone: bool, notes: Notes
) -> Callable[[], Iterator[Piece]]:
    def read_target(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
        numbers = as_integers(pixels[..., 0], sample.masks[0])
        target = np.asarray(numbers != 0, np.uint8)
        _note_merged(len(np.unique(numbers[numbers != 0])), target, sample.name, notes)
        return target

    def read() -> Iterator[Piece]:
        if len(sample.masks) > 1:
            target = np.any(
                [as_integers(read_raster(path).pixels[..., 0], path) != 0 for path in sample.masks],
                axis=0,
            ).astype(np.uint8)
            _note_merged(len(sample.masks), target, sample.name, notes)
            yield Piece(sample.name, sample.image, target)
            return
        yield from read_pieces(
            sample.name,
            [sample.image],
            sample.masks[0],
            read_target,
            plane=options.plane,
            is_alone=is_alone,
            notes=notes,
        )

    return read


def _note_merged(num_objects: int, target: NDArray[np.uint8], where: str, notes: Notes) -> None:
    num_parts = len(label_components(target)[1]) - 1
    notes.add(
        "objects that touch others and grow together with them",
        where,
        max(num_objects - num_parts, 0),
    )
