"""Read what a data set says about itself: `data.yaml`, and CSV files of paths."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any

from delineate.config import DataConfig, TaskConfig, read_settings
from delineate.data.discovery import is_excluded
from delineate.data.doctor.findings import DropFiles, Finding, count, sample
from delineate.data.pairing import SPLIT_WORDS, Entry, Pair
from delineate.errors import ConfigError, DataError, UnreadableFileError

DATA_FILES = ("data.yaml", "data.yml")
"""Names under which a folder says what it cannot say by itself."""


@dataclass(frozen=True)
class Row:
    """A pair, and the group that a CSV file names."""

    pair: Pair
    group: str | None


def read_data_file(data: Path) -> dict[str, dict[str, Any]]:
    """Return what the data set says about itself: settings in sections `data` and `task`.

    Args:
        data: A `data.yaml`, a folder that may hold one, or a CSV file. The YAML has the settings
            of the section `data`, and `kind`, `class_names` and `background` of the section
            `task`, side by side; `path` names the folder or CSV file, relative to the YAML.

    Raises:
        UnreadableFileError: If the YAML cannot be read.
        ConfigError: If it holds a key that is no such setting.
    """
    path = _data_file(data)
    settings: dict[str, dict[str, Any]] = {"data": {}, "task": {}}
    if path is None:
        return settings
    problems = []
    for key, value in read_settings(path).items():
        if key in TaskConfig.model_fields:
            settings["task"][key] = value
        elif key in DataConfig.model_fields:
            settings["data"][key] = value
        elif key != "path":
            names = [*DataConfig.model_fields, *TaskConfig.model_fields, "path"]
            close = get_close_matches(str(key), names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(names)}"
            problems.append(f"unknown key {key!r}; {hint}")
    if problems:
        raise ConfigError(f"{path}: {'; '.join(problems)}")
    return settings


def _data_file(data: Path) -> Path | None:
    if data.is_dir():
        return next((data / name for name in DATA_FILES if (data / name).is_file()), None)
    return data if data.suffix.lower() in (".yaml", ".yml") else None


def locate(data: Path) -> Path:
    """Return the folder or CSV file that holds the data."""
    if not data.exists():
        raise UnreadableFileError(
            f"{data} does not exist; name a folder of images and masks, a data.yaml or a CSV file"
        )
    path = _data_file(data)
    if path is None:
        return data
    named = read_settings(path).get("path")
    target = path.parent if named is None else path.parent / str(named)
    if not target.exists():
        raise UnreadableFileError(f"{path} says path: {named}, but {target} does not exist")
    return target


def read_csv(path: Path, config: DataConfig) -> tuple[list[Row], list[Finding]]:
    """Return the rows of a CSV file, one per image, and what is wrong with them."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFileError(f"{path} cannot be read as CSV: {error}") from error
    header = text.partition("\n")[0]
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    columns = reader.fieldnames or []
    if "image" not in columns:
        raise DataError(
            f"{path} has the columns {', '.join(columns)} but needs image and mask (and may have "
            "split and group); add a header line"
        )
    rows: dict[str, Row] = {}
    problems: list[str] = []
    missing: list[str] = []
    for number, row in enumerate(reader, start=2):
        image, mask = (
            (row.get("image") or "").strip(),
            (row.get("mask") or "").strip(),
        )
        if any(is_excluded(PurePosixPath(image), pattern) for pattern in config.exclude):
            continue
        missing += [name for name in (image, mask) if name and not (path.parent / name).is_file()]
        split_name = (row.get("split") or "").strip().lower()
        split = SPLIT_WORDS.get(split_name)
        if split_name and split is None:
            problems.append(f"line {number}: split {split_name!r} is none of train, val and test")
        group = (row.get("group") or "").strip() or None
        masks = (Entry(PurePosixPath(mask), "mask", split, ""),) if mask else ()
        former = rows.get(image)
        if former is None:
            entry = Entry(PurePosixPath(image), "image", split, "")
            rows[image] = Row(Pair(entry, masks), group)
        elif (former.pair.image.split, former.group) != (split, group):
            problems.append(f"line {number}: {image} is listed with another split or group before")
        else:
            rows[image] = replace(
                former, pair=replace(former.pair, masks=former.pair.masks + masks)
            )
    return list(rows.values()), list(_describe_rows(path, problems, missing))


def _describe_rows(
    path: Path, problems: Sequence[str], missing: Sequence[str]
) -> Iterator[Finding]:
    if problems:
        yield Finding(
            "table-row",
            "error",
            (path.name,),
            f"{count(problems, 'row')} of {path.name} that cannot be read: {'; '.join(problems)}",
            "a row that is not understood is an image in the wrong split, or lost",
            f"correct these rows of {path.name}",
        )
    if missing:
        yield Finding(
            "missing-file",
            "error",
            tuple(sorted(set(missing))),
            f"{count(missing, 'file')} that do not exist ({sample(missing)}); paths are relative "
            f"to {path.parent}",
            "a path that leads nowhere is a sample that is lost",
            f"correct the paths in {path.name}, or take their rows out",
            (DropFiles(tuple(sorted(set(missing)))),),
        )
