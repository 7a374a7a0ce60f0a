"""Tell the format of a data set by what lies in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from delineate.config import read_settings
from delineate.data.importers import FORMATS
from delineate.data.importers.coco import is_coco
from delineate.data.importers.labelme import is_labelme
from delineate.data.importers.nnunet import is_nnunet
from delineate.data.importers.sources import read_json, walk_files
from delineate.data.importers.vector_files import ENDINGS
from delineate.errors import DelineateError, UnreadableFileError, UsageError

_NUM_LOOKED_AT = 8
"""JSON files that are opened to see what they are."""

_LARGE_BYTES = 2**25
"""JSON files beyond this are taken for COCO, which alone makes such files."""


def guess_format(src: Path) -> str:
    """Return the one of `FORMATS` that a file or folder is in.

    Raises:
        UnreadableFileError: If `src` does not exist.
        UsageError: If it could be none of them, or several.
    """
    if not src.exists():
        raise UnreadableFileError(f"{src} does not exist; name a folder or an annotation file")
    files = [src] if src.is_file() else walk_files(src, lambda _: True)
    found = {name for path in files if (name := _by_name(path))}
    found |= _by_json([path for path in files if path.suffix.lower() == ".json"])
    if not found and _is_yolo(files):
        found.add("yolo")
    if len(found) == 1:
        return found.pop()
    choices = ", ".join(FORMATS)
    if found:
        listed = " or ".join(sorted(found))
        raise UsageError(f"{src} may be {listed}; say which by --format, or import a part of it")
    raise UsageError(
        f"nothing in {src} tells its format; say which by --format: {choices} (images with masks "
        "in a picture each need no import, 'delineate train' reads them)"
    )


def _by_name(path: Path) -> str | None:
    name = path.name.lower()
    if name.endswith(ENDINGS):
        return "vectors"
    if name.endswith(("_labelids.png", "_labeltrainids.png")):
        return "cityscapes"
    if path.parent.name == "SegmentationClass":
        return "voc"
    if name.endswith(".xml") and _begins_with_annotations(path):
        return "cvat"
    return None


def _begins_with_annotations(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"<annotations" in file.read(4096)
    except OSError:
        return False


def _by_json(files: list[Path]) -> set[str]:
    tests = {"coco": is_coco, "labelme": is_labelme, "nnunet": is_nnunet}
    found = set()
    for path in sorted(files, key=lambda path: (path.name != "dataset.json", path))[
        :_NUM_LOOKED_AT
    ]:
        if path.stat().st_size > _LARGE_BYTES:
            found.add("coco")
            continue
        document = _read(path)
        found |= {name for name, is_it in tests.items() if is_it(document)}
    return found


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except DelineateError:
        return None


def _is_yolo(files: list[Path]) -> bool:
    for path in files:
        if path.suffix.lower() in (".yaml", ".yml"):
            try:
                return "names" in read_settings(path)
            except DelineateError:
                continue
    return any(path.suffix.lower() == ".txt" and "labels" in path.parts for path in files)
