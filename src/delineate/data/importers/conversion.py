"""Write a data set of another format in the plain layout that `train` reads."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from delineate.data.importers import FORMATS, Collection, ImportOptions
from delineate.data.importers.annotation import VOID, Item
from delineate.data.importers.guessing import guess_format
from delineate.data.importers.layout import DatasetWriter
from delineate.errors import DataError, UnknownNameError, UnreadableFileError
from delineate.files import write_folder, write_text
from delineate.progress import progress_bar
from delineate.rasters import (
    PLANES,
)

if TYPE_CHECKING:
    from delineate.data.importers.annotation import Overlaps

RECORD = "import.json"
"""Says in a folder that it was made by an import, and from what."""

_NUM_LISTED = 20


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
        writer = DatasetWriter(folder, collection)
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


def _write_items(writer: DatasetWriter, items: Sequence[Item]) -> list[str]:
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
