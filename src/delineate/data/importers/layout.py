"""Write images and masks in the plain layout: `images/` and `masks/`, a folder per split."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from delineate.data.importers.annotation import VOID, Collection, Item, Piece
from delineate.errors import DataError
from delineate.pictures import class_colours
from delineate.rasters import (
    SUFFIXES,
    GeoReference,
    Raster,
    image_suffix,
    read_header,
    sniff,
    write_mask,
    write_raster,
)
from delineate.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_NAME = 120
_ENDINGS = {"jpeg": ".jpg", "tiff": ".tif", "ppm": ".ppm"}


class DatasetWriter:
    """Writes images and masks into a folder, and counts what they hold."""

    def __init__(self, folder: Path, collection: Collection) -> None:
        self._folder = folder
        self._collection = collection
        self._names: set[str] = set()
        self._task = _mask_task(collection)
        self.num_images = 0
        self.num_void = 0
        self.splits: Counter[str] = Counter()
        self.class_pixels = np.zeros(len(collection.classes), np.int64)
        self.class_images = np.zeros(len(collection.classes), np.int64)

    def write(self, item: Item) -> None:
        """Write the images of an item, all or none."""
        written: list[Path] = []
        counted: list[tuple[str, NDArray[np.int64], int]] = []
        try:
            for piece in item.read():
                split = str(piece.split or item.split or "")
                written += self._write_piece(piece, split)
                counted.append((split, *self._count(piece.target)))
        except BaseException:
            for path in written:
                path.unlink(missing_ok=True)
            raise
        for split, pixels, num_void in counted:
            self.num_images += 1
            self.splits[split] += 1
            self.class_pixels += pixels
            self.class_images += pixels > 0
            self.num_void += num_void

    def _write_piece(self, piece: Piece, split: str) -> list[Path]:
        stem = self._claim(piece.name)
        geo: GeoReference | None = None
        if isinstance(piece.image, Raster):
            size = piece.image.pixels.shape[:2]
            geo, ending = piece.image.geo, ".png" if _fits_png(piece.image) else ".tif"
        else:
            header = read_header(piece.image)
            size, geo, ending = header.size, header.geo, _ending(piece.image)
        if piece.target.shape[-2:] != size:
            found = "x".join(map(str, piece.target.shape[-2:]))
            raise DataError(
                f"{piece.image if isinstance(piece.image, Path) else piece.name} is "
                f"{size[0]}x{size[1]} pixels but its mask {found}; find the right pair"
            )
        image = self._folder / "images" / split / (stem + ending)
        mask_ending = ".png" if geo is None and self._task.kind != "multilabel" else ".tif"
        mask = self._folder / "masks" / split / (stem + mask_ending)
        image.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(piece.image, Path):
            shutil.copyfile(piece.image, image)
        else:
            write_raster(image, piece.image)
        write_mask(mask, piece.target, task=self._task, geo=geo, colours=_colours(self._collection))
        return [image, mask]

    def _count(self, target: NDArray[np.uint8]) -> tuple[NDArray[np.int64], int]:
        """Return the pixels of each class, and those that do not count."""
        if self._collection.is_multilabel and not self._collection.parts:
            pixels = np.array([(band == 1).sum() for band in target], np.int64)
            return pixels, int((target[0] == VOID).sum())
        found = np.bincount(target.ravel(), minlength=256)
        if self._collection.parts:
            groups = self._collection.parts.values()
            return np.array([found[list(group)].sum() for group in groups]), int(found[VOID])
        return found[: len(self._collection.classes)], int(found[VOID])

    def _claim(self, name: str) -> str:
        """Return a safe name that no other image has; folders count where names clash."""
        parts = [part for part in name.split("/") if part not in ("", ".", "..")]
        short, long = safe_name(parts[-1] if parts else ""), safe_name("_".join(parts))
        numbered = (f"{long}_{number}" for number in count(2))
        choice = next(
            name for name in chain((short, long), numbered) if name.lower() not in self._names
        )
        self._names.add(choice.lower())
        return choice


def safe_name(text: str) -> str:
    """Return a file name without what some system cannot hold in one; letters of all scripts stay.

    Raises nothing: a name of which nothing is left becomes `image`.
    """
    plain = re.sub(r"[^\w.\- ()+,=@]", "_", text).strip(" .")
    return plain[:_MAX_NAME] or "image"


def _mask_task(collection: Collection) -> Task:
    if collection.is_multilabel and not collection.parts:
        return Task("multilabel", collection.classes)
    if collection.parts:
        highest = max(value for group in collection.parts.values() for value in group)
        return Task("multiclass", tuple(f"value_{value}" for value in range(highest + 1)))
    names = collection.classes
    return Task("multiclass", names if len(names) > 1 else (*names, "unused"))


def _colours(collection: Collection) -> NDArray[np.uint8]:
    task = _mask_task(collection)
    if task.kind == "multilabel":
        return class_colours(task.num_classes)
    has_ground = collection.background is not None or bool(collection.parts)
    colours = class_colours(task.num_classes - has_ground)
    return np.concatenate([np.zeros((1, 3), np.uint8), colours]) if has_ground else colours


def _fits_png(raster: Raster) -> bool:
    return (
        raster.pixels.dtype == np.uint8
        and raster.pixels.shape[2] in (1, 3)
        and raster.geo is None
        and raster.spacing is None
    )


def _ending(path: Path) -> str:
    """Return the ending to give to a copy: its own, or what its bytes say."""
    ending = image_suffix(path)
    kind = sniff(path)
    return ending if ending in SUFFIXES else _ENDINGS.get(kind, f".{kind}")
