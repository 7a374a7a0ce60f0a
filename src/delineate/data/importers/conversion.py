"""Write a data set of another format in the plain layout that `train` reads."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import yaml

from delineate.data.importers import FORMATS, Collection, ImportOptions
from delineate.data.importers.annotation import VOID, Item, Piece
from delineate.data.importers.guessing import guess_format
from delineate.errors import DataError, UnknownNameError, UnreadableFileError
from delineate.files import write_folder, write_text
from delineate.pictures import class_colours
from delineate.progress import progress_bar
from delineate.rasters import (
    PLANES,
    SUFFIXES,
    GeoReference,
    Raster,
    image_suffix,
    read_header,
    sniff,
    write_image,
    write_mask,
    write_raster,
)
from delineate.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.data.importers.annotation import Overlaps

RECORD = "import.json"
"""Says in a folder that it was made by an import, and from what."""

_NUM_LISTED = 20
_MAX_NAME = 120
_ENDINGS = {"jpeg": ".jpg", "tiff": ".tif", "ppm": ".ppm"}


@dataclass(frozen=True)
class ImportSummary:
    """What an import wrote."""

    out: Path
    format: str
    num_images: int
    splits: dict[str, int]
    """Images by split; those of no split are drawn when a training starts."""
    class_pixels: dict[str, int]
    class_images: dict[str, int]
    """Images in which each class occurs."""
    num_void: int
    """Pixels that do not count."""
    notes: tuple[str, ...]
    """What could not be kept, a line each."""
    skipped: tuple[str, ...]
    """What was left out because it is wrong, a line each."""
    seconds: float


def import_dataset(
    src: Path,
    *,
    out: Path,
    format: str | None = None,
    images: Path | None = None,
    masks: Path | None = None,
    classes: Sequence[str] = (),
    ignore: Sequence[str] = (),
    overlaps: str = "auto",
    label_field: str | None = None,
    crs: str | None = None,
    plane: str | None = None,
    skip_bad: bool = False,
    exist_ok: bool = False,
) -> ImportSummary:
    """Convert a data set into `images/`, `masks/` and `data.yaml`.

    Masks hold class indices with a colour table (GeoTIFF where the image is georeferenced), 255
    where nothing counts. The folder appears under its name when it is whole.

    Args:
        src: The folder, or the annotation file.
        out: The folder to make.
        format: One of `FORMATS`; None tells it by the files.
        images: Folder of the images, where they are not below `src`.
        masks: Folder or file of the masks (instances).
        classes: The classes to keep, in the order of their indices; empty keeps all.
        ignore: Classes whose pixels do not count.
        overlaps: What a pixel of several objects becomes: `smaller` gives it to the smaller object,
            `later` to the later one, `keep` writes a band per class, `auto` does what is usual in
            the format.
        label_field: Property of vector features that names their class.
        crs: Coordinate system of vectors whose file names none, such as EPSG:32616.
        plane: How volumes are sliced: axial, coronal or sagittal; None slices across the widest
            spacing.
        skip_bad: Leave images out whose annotation is wrong, and list them, instead of stopping.
        exist_ok: Replace `out` where an earlier import made it.

    Raises:
        UsageError: If an argument is wrong, or `out` exists.
        DataError: If something in `src` is wrong; one message lists all of it.
        ResourceError: If the disk is full.
    """
    start = time.monotonic()
    src, out = Path(src), Path(out)
    for what, name, choices in (
        ("plane", plane, PLANES),
        ("format", format, FORMATS),
        ("rule of overlaps", overlaps, ("auto", "smaller", "later", "keep")),
    ):
        if name is not None and name not in choices:
            raise UnknownNameError(what, name, list(choices))
    if not src.exists():
        raise UnreadableFileError(f"{src} does not exist; name a folder or an annotation file")
    options = ImportOptions(
        images,
        masks,
        tuple(classes),
        tuple(ignore),
        cast("Overlaps", overlaps),
        label_field,
        crs,
        plane,
    )
    with write_folder(out, marker=RECORD, exist_ok=exist_ok) as folder:
        name = format or guess_format(src)
        collection = FORMATS[name](src, options)
        writer = _Writer(folder, collection)
        problems = _write_items(writer, collection.items)
        if problems and not skip_bad:
            raise DataError(_describe(src, problems, len(collection.items)))
        first = 0 if collection.background is None else 1
        if not any(writer.class_pixels[first:]):
            listed = ", ".join(collection.classes[first : first + 8])
            unread = f" ({len(problems)} could not be read: {problems[0]})" if problems else ""
            raise DataError(
                f"{src}: no pixel of {listed} lies on any of {writer.num_images} images{unread}; "
                "check that annotations and images belong together"
            )
        summary = ImportSummary(
            out=out,
            format=name,
            num_images=writer.num_images,
            splits=dict(writer.splits),
            class_pixels=dict(zip(collection.classes, map(int, writer.class_pixels), strict=True)),
            class_images=dict(zip(collection.classes, map(int, writer.class_images), strict=True)),
            num_void=writer.num_void,
            notes=collection.notes.lines(),
            skipped=tuple(problems),
            seconds=time.monotonic() - start,
        )
        write_text(folder / "data.yaml", _data_yaml(collection, name, writer.num_void > 0))
        write_text(folder / RECORD, json.dumps(_record(summary, src), indent=1) + "\n")
    return summary


def _write_items(writer: _Writer, items: Sequence[Item]) -> list[str]:
    """Write all images; return what is wrong with those that could not be written."""
    problems = []
    with progress_bar("importing", total=len(items)) as bar:
        for item in items:
            try:
                writer.write(item)
            except DataError as error:
                problems.append(str(error))
            bar.advance(images=str(writer.num_images))
    return problems


def _describe(src: Path, problems: list[str], total: int) -> str:
    listed = "".join(f"\n  {problem}" for problem in problems[:_NUM_LISTED])
    more = f"\n  and {len(problems) - _NUM_LISTED} more" if len(problems) > _NUM_LISTED else ""
    return (
        f"{src}: {len(problems)} of {total} files cannot be imported; correct them, or leave them "
        f"out by --skip-bad:{listed}{more}"
    )


class _Writer:
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
        elif ending == ".png":
            write_image(
                image,
                piece.image.pixels.squeeze(-1)
                if piece.image.pixels.shape[2] == 1
                else piece.image.pixels,
            )
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


def _data_yaml(collection: Collection, format_name: str, has_void: bool) -> str:
    settings: dict[str, Any] = {}
    if collection.parts:
        settings["kind"] = "multilabel"
        settings["legend"] = {name: list(group) for name, group in collection.parts.items()}
    elif collection.is_multilabel:
        settings |= {"kind": "multilabel", "class_names": list(collection.classes)}
    else:
        settings["legend"] = {name: index for index, name in enumerate(collection.classes)}
        if collection.background is not None and len(collection.classes) > 1:
            settings["background"] = collection.background
    if has_void:
        settings["ignore"] = [VOID]
    if collection.groups is not None:
        settings["groups"] = collection.groups
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    return (
        f"# Made by 'delineate import' from {format_name}; see {RECORD} for what it left out.\n"
        + text
    )


def _record(summary: ImportSummary, src: Path) -> dict[str, Any]:
    return {
        "source": src.name,
        "format": summary.format,
        "num_images": summary.num_images,
        "class_pixels": summary.class_pixels,
        "class_images": summary.class_images,
        "void_pixels": summary.num_void,
        "not_kept": list(summary.notes),
        "skipped": list(summary.skipped),
    }
