"""Write a repaired copy of a data set: what `delineate doctor --fix` does."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

from delineate.data.discovery import relative_path
from delineate.data.doctor.findings import (
    DropFiles,
    DropOrientation,
    KeepInTraining,
    RecodeMask,
    Remedy,
    RemoveSpecks,
)
from delineate.data.doctor.pixel_repairs import SHAPING, remove_specks, repair_pixels
from delineate.data.doctor.repair_settings import copied_settings, index_colours, index_task
from delineate.errors import DataError, UsageError
from delineate.files import write_folder, write_text
from delineate.progress import track
from delineate.rasters import (
    TIFF_SUFFIXES,
    Raster,
    drop_jpeg_orientation,
    read_header,
    read_raster,
    write_mask,
    write_raster,
)

if TYPE_CHECKING:
    from delineate.data.doctor.diagnosis import Diagnosis
    from delineate.data.inventory import Sample
    from delineate.data.mask_decoder import MaskDecoder

RECORD = "repair.json"
"""Says in a folder that it is a repaired copy, and what was repaired."""

TABLE = "samples.csv"
"""The images of the copy, their masks, splits and groups."""


@dataclass(frozen=True)
class RepairSummary:
    """What a repaired copy holds."""

    out: Path
    num_images: int
    dropped: tuple[str, ...]
    """Files that were left out, relative to the data folder."""
    repairs: dict[str, int]
    """Kind of repair -> files that it changed."""
    left: tuple[str, ...]
    """Codes of the findings that a person has to settle."""


def repair(diagnosis: Diagnosis, out: Path) -> RepairSummary:
    """Write a copy of a data set in which every mechanical fault is repaired.

    The copy has the files under their own paths (rewritten ones end in .png or .tif), a table of
    images, masks, splits and groups, and a `data.yaml` that names it. The splits are those of the
    diagnosis, so that what was drawn stays. The original is not touched.

    Args:
        diagnosis: What was found; the remedies of its findings are applied.
        out: The folder to make; it must not exist, or be empty, and not lie within the data.

    Raises:
        UsageError: If `out` is not such a folder.
        DataError: If nothing would be left, or a repair does not fit its file.
        ResourceError: If the disk is full.
    """
    root = diagnosis.examination.listing.root
    if out.resolve().is_relative_to(root.resolve()):
        raise UsageError(
            f"{out} lies within the data, where the copy would be taken for a part of it; name a "
            "folder beside it"
        )
    with write_folder(out, marker=RECORD) as folder:
        return _Copy(diagnosis, folder, out).write()


class _Copy:
    """The copy while it is written."""

    def __init__(self, diagnosis: Diagnosis, folder: Path, out: Path) -> None:
        self._diagnosis = diagnosis
        self._folder = folder
        self._out = out
        self._root = diagnosis.examination.listing.root
        remedies = [remedy for finding in diagnosis.findings for remedy in finding.remedies]
        self._dropped = _find_dropped(remedies, self._split_of())
        # Where a split lost all its images it is drawn anew, and likenesses must not part then.
        self._joined = _join_likenesses(remedies, self._dropped)
        self._of_file: dict[str, list[Remedy]] = defaultdict(list)
        for remedy in remedies:
            if isinstance(remedy, DropFiles | KeepInTraining) or _is_of_colours(remedy):
                continue
            if remedy not in self._of_file[remedy.file]:
                self._of_file[remedy.file].append(remedy)
        decoder = diagnosis.examination.decoder
        # Where colours become numbers they have to in all masks, or the set has two legends.
        self._recoded = (
            decoder
            if decoder is not None
            and decoder.task.kind != "multilabel"
            and any(_is_of_colours(remedy) for remedy in remedies)
            else None
        )
        self._speck_pixels = max(
            (remedy.max_pixels for remedy in remedies if isinstance(remedy, RemoveSpecks)),
            default=0,
        )
        self._names: set[str] = set()
        self._repairs: Counter[str] = Counter()
        self._actions: list[dict[str, Any]] = []

    def write(self) -> RepairSummary:
        samples = [
            sample
            for sample in self._diagnosis.examination.listing.samples
            if self._path(sample.image) not in self._dropped
        ]
        if not samples:
            raise DataError(
                f"{self._diagnosis.data}: no image would be left after the repairs; settle the "
                "findings by hand"
            )
        rows: list[tuple[str, str, str, str]] = []
        for sample in track(samples, "repairing"):
            rows += self._write_sample(sample)
        self._write_table(rows)
        settings = copied_settings(self._diagnosis.settings, self._recoded)
        text = yaml.safe_dump({"path": TABLE, **settings}, sort_keys=False, allow_unicode=True)
        head = f"# A repaired copy, made by 'delineate doctor --fix'; see {RECORD}.\n"
        write_text(self._folder / "data.yaml", head + text)
        summary = RepairSummary(
            self._out,
            len(samples),
            tuple(sorted(self._dropped)),
            dict(self._repairs),
            tuple(
                sorted(
                    {finding.code for finding in self._diagnosis.findings if not finding.remedies}
                )
            ),
        )
        record = {
            "dropped": list(summary.dropped),
            "repairs": summary.repairs,
            "left_to_a_person": list(summary.left),
            "files": self._actions,
        }
        write_text(self._folder / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        return summary

    def _path(self, path: Path) -> str:
        """Return a file's path as findings name it."""
        return relative_path(path, self._root)

    def _split_of(self) -> dict[str, str]:
        return {
            self._path(sample.image): sample.split
            for sample in self._diagnosis.examination.listing.samples
        }

    def _write_sample(self, sample: Sample) -> Iterator[tuple[str, str, str, str]]:
        image = self._write_image(sample.image)
        masks = [mask for mask in sample.masks if self._path(mask) not in self._dropped]
        written = [self._write_mask(mask) for mask in masks]
        group = self._joined.get(self._path(sample.image), sample.group)
        for mask in written or [""]:
            yield image, mask, sample.split, group

    def _write_image(self, path: Path) -> str:
        remedies = self._of_file.get(self._path(path), [])
        if not remedies:
            return self._copy(path)
        self._note(path, remedies)
        content = path.read_bytes()
        if all(isinstance(remedy, DropOrientation) for remedy in remedies):
            plain = drop_jpeg_orientation(content)
            if plain is not None:
                target = self._claim(path, path.suffix)
                (self._folder / target).write_bytes(plain)
                return target
        raster = repair_pixels(read_raster(path), remedies, path, read_header(path).orientation)
        return self._write_raster(path, raster)

    def _write_mask(self, path: Path) -> str:
        remedies = self._of_file.get(self._path(path), [])
        if not remedies and self._recoded is None:
            return self._copy(path)
        orientation = read_header(path).orientation
        shaping = [remedy for remedy in remedies if isinstance(remedy, SHAPING)]
        others = [remedy for remedy in remedies if not isinstance(remedy, (*SHAPING, RemoveSpecks))]
        raster = repair_pixels(read_raster(path), shaping, path, orientation)
        raster = self._without_specks(raster, remedies, path)
        raster = repair_pixels(raster, others, path, orientation)
        self._note(path, remedies)
        if self._recoded is None:
            return self._write_raster(path, raster)
        return self._write_classes(path, raster, self._recoded)

    def _without_specks(self, raster: Raster, remedies: Sequence[Remedy], path: Path) -> Raster:
        """Remove specks where they were found, and where a mask gets its shape only now."""
        decoder = self._diagnosis.examination.decoder
        own = [remedy.max_pixels for remedy in remedies if isinstance(remedy, RemoveSpecks)]
        if decoder is None or not (own or (self._speck_pixels and remedies)):
            return raster
        try:
            target = decoder.decode_raster(raster, path)
        except DataError:
            # Its values get their meaning by a repair that is still to come.
            return raster
        pixels = remove_specks(raster.pixels, target, decoder.task, max([*own, self._speck_pixels]))
        return replace(raster, pixels=pixels)

    def _write_classes(self, path: Path, raster: Raster, decoder: MaskDecoder) -> str:
        """Write the class numbers of a mask of colours, with one colour table for all masks."""
        is_tiff = path.suffix.lower() in TIFF_SUFFIXES
        target = self._claim(path, ".tif" if is_tiff else ".png")
        write_mask(
            self._folder / target,
            decoder.decode_raster(raster, path),
            task=index_task(decoder.task),
            geo=raster.geo if is_tiff else None,
            colours=index_colours(decoder),
        )
        self._repairs["RecodeMask"] += 1
        return target

    def _write_raster(self, path: Path, raster: Raster) -> str:
        is_plain = raster.pixels.dtype == np.uint8 and raster.pixels.shape[2] in (1, 3, 4)
        ending = ".tif" if path.suffix.lower() in TIFF_SUFFIXES or not is_plain else ".png"
        target = self._claim(path, ending)
        write_raster(self._folder / target, raster)
        return target

    def _copy(self, path: Path) -> str:
        target = self._claim(path, path.suffix)
        shutil.copyfile(path, self._folder / target)
        return target

    def _claim(self, path: Path, ending: str) -> str:
        """Return the path of a file in the copy, and make its folder."""
        parts = [part for part in PurePosixPath(self._path(path)).parts if part != ".."]
        stem = PurePosixPath(*parts).with_suffix("")
        target = f"{stem}{ending}"
        if target.lower() in self._names:
            target = f"{stem}_{path.suffix.lstrip('.')}{ending}"
        self._names.add(target.lower())
        (self._folder / target).parent.mkdir(parents=True, exist_ok=True)
        return target

    def _note(self, path: Path, remedies: Sequence[Remedy]) -> None:
        for remedy in remedies:
            self._repairs[type(remedy).__name__] += 1
            self._actions.append({"repair": type(remedy).__name__, **asdict(remedy)})

    def _write_table(self, rows: Sequence[tuple[str, str, str, str]]) -> None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("image", "mask", "split", "group"))
        writer.writerows(rows)
        write_text(self._folder / TABLE, text.getvalue())


def _is_of_colours(remedy: Remedy) -> bool:
    return isinstance(remedy, RecodeMask) and remedy.reading == "colour"


def _find_dropped(remedies: Sequence[Remedy], split_of: Mapping[str, str]) -> set[str]:
    dropped: set[str] = set()
    for remedy in remedies:
        if isinstance(remedy, DropFiles):
            dropped |= set(remedy.files)
    for remedy in remedies:
        if isinstance(remedy, KeepInTraining):
            images = [path for path in remedy.files if path in split_of and path not in dropped]
            for split in ("train", "val", "test"):
                if any(split_of[path] == split for path in images):
                    dropped |= {path for path in images if split_of[path] != split}
                    break
    return dropped


def _join_likenesses(remedies: Sequence[Remedy], dropped: set[str]) -> dict[str, str]:
    """Return one group for all images of a set that shows the same, where several are kept."""
    group_of: dict[str, str] = {}
    for remedy in remedies:
        if isinstance(remedy, KeepInTraining):
            kept = [path for path in remedy.files if path not in dropped]
            known = {group_of[path] for path in kept if path in group_of}
            group = min(known, default=kept[0] if kept else "")
            group_of |= {path: group for path, other in group_of.items() if other in known}
            group_of |= dict.fromkeys(kept, group)
    return group_of
