"""Pair the images of a data set with their masks and divide them into splits."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from delineate.config import DataConfig, TaskConfig, read_settings
from delineate.data.pairing import (
    SPLIT_WORDS,
    Entry,
    Pair,
    Split,
    count,
    pair_entries,
    read_entry,
    sample,
)
from delineate.data.splitting import assign_splits
from delineate.errors import ConfigError, DataError, UnreadableFileError, UsageError
from delineate.files import write_text
from delineate.rasters import SUFFIXES

DATA_FILES = ("data.yaml", "data.yml")
"""Names under which a folder says what it cannot say by itself."""

_SKIPPED_FOLDERS = frozenset({"__MACOSX", "@eaDir"})


@dataclass(frozen=True)
class Sample:
    """An image and what belongs to it."""

    image: Path
    masks: tuple[Path, ...]
    """The mask, or several that are merged into one: the instances of the image."""
    split: Split
    group: str
    """Samples of one group are never in different splits by our doing."""
    name: str
    """Path of the image relative to the data set, without its ending; unique."""


@dataclass(frozen=True)
class Inventory:
    """All samples of a data set, in the order of their names."""

    root: Path
    samples: tuple[Sample, ...]

    def of(self, split: Split | Literal["all"]) -> tuple[Sample, ...]:
        """Return the samples of a split."""
        return tuple(sample for sample in self.samples if split in ("all", sample.split))


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


def _locate(data: Path) -> Path:
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


def build_inventory(data: Path, config: DataConfig, *, require_masks: bool = True) -> Inventory:
    """Find the images of a data set, their masks, groups and splits.

    Folders such as `images`, `masks`, `train`, `trainannot` or `images/val` tell what they hold;
    see `pair_entries` for how names are matched and `assign_splits` for how splits are drawn.
    Hidden files are left out.

    Args:
        data: A folder, a `data.yaml`, or a CSV file with the columns `image`, `mask` and, if
            wanted, `split` and `group`; its paths are relative to its folder, and the rows of one
            image list its instances.
        config: Patterns of the files, `mask_suffix`, `groups`, `split` and `exclude`.
        require_masks: Whether images without a mask are an error.

    Raises:
        DataError: If something does not fit; one message lists all of it.
        UnreadableFileError: If `data` is missing.
        UsageError: If `groups` is no regular expression or the shares do not add up to 1.
    """
    target = _locate(data)
    problems: list[str] = []
    if target.is_dir():
        root = target
        pairs, problems = pair_entries(_find_entries(root, config), config.mask_suffix)
        rows = [_Row(pair, None) for pair in pairs]
    else:
        root = target.parent
        rows, problems = _read_csv(target, config)
    rows.sort(key=lambda row: row.pair.image.path)
    if not rows and not problems:
        problems.append(
            "no image was found; images end in .png, .jpg, .tif, ... and are searched in all "
            "folders below"
        )
    bare = [str(row.pair.image.path) for row in rows if not row.pair.masks]
    if require_masks and bare:
        problems.append(_describe_bare(bare, len(rows)))
    groups, more = _read_groups(rows, config.groups)
    problems += more
    if problems:
        raise DataError(f"{data}: " + "; ".join(problems))
    splits = assign_splits(
        groups, [row.pair.image.split for row in rows], config.split, config.split_seed
    )
    names = _unique_names([row.pair.image.path for row in rows])
    samples = tuple(
        Sample(
            image=root / row.pair.image.path,
            masks=tuple(root / mask.path for mask in row.pair.masks),
            split=split,
            group=group,
            name=name,
        )
        for row, split, group, name in zip(rows, splits, groups, names, strict=True)
    )
    return Inventory(root, samples)


def save_inventory(inventory: Inventory, path: Path) -> None:
    """Write a CSV file of the samples, a row per mask, with paths relative to the data folder."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "mask", "split", "group"))
    for entry in inventory.samples:
        image = _relative(entry.image, inventory.root)
        for mask in entry.masks or (None,):
            where = "" if mask is None else _relative(mask, inventory.root)
            writer.writerow((image, where, entry.split, entry.group))
    write_text(path, text.getvalue())


def list_images(sources: Sequence[Path | str]) -> list[Path]:
    """Return the images that files, folders and glob patterns name, each once.

    Folders are searched with all their subfolders; files that are masks by their names are left
    out.

    Raises:
        UnreadableFileError: If a source does not exist or holds no image.
    """
    found: dict[Path, None] = {}
    for source in map(Path, sources):
        if source.is_dir():
            pairs, _ = pair_entries(map(read_entry, _walk(source)))
            images = sorted(source / pair.image.path for pair in pairs)
        elif source.exists():
            images = [source]
        else:
            images = sorted(_glob(source)) if any(c in str(source) for c in "*?[") else []
        if not images:
            raise UnreadableFileError(f"{source} does not exist or holds no image")
        found |= dict.fromkeys(images)
    return list(found)


def _glob(pattern: Path) -> Iterator[Path]:
    root = Path(pattern.anchor) if pattern.is_absolute() else Path()
    for path in root.glob(str(pattern.relative_to(root))):
        if path.is_file() and path.suffix.lower() in SUFFIXES:
            yield path


@dataclass(frozen=True)
class _Row:
    """A pair, and the group that a CSV file names."""

    pair: Pair
    group: str | None


def _walk(root: Path) -> Iterator[PurePosixPath]:
    """Yield the image files below a folder, relative to it; hidden ones are left out."""
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(
            name for name in subfolders if name[0] != "." and name not in _SKIPPED_FOLDERS
        )
        below = Path(folder).relative_to(root)
        for name in sorted(files):
            if name[0] != "." and Path(name).suffix.lower() in SUFFIXES:
                yield PurePosixPath((below / name).as_posix())


def _find_entries(root: Path, config: DataConfig) -> Iterator[Entry]:
    """Yield the files of a data set with their roles."""
    images, masks = (_expand(root, patterns) for patterns in (config.images, config.masks))
    is_parallel = len(config.images) == len(config.masks) and not any(
        pattern_is_glob for pattern_is_glob in map(_is_glob, (*config.images, *config.masks))
    )
    files = dict.fromkeys([*_walk(root), *images, *masks])
    for path in files:
        if any(_is_excluded(path, pattern) for pattern in config.exclude):
            continue
        entry = read_entry(path)
        if path in masks:
            entry = replace(entry, role="mask")
        elif path in images:
            entry = replace(entry, role="image")
        elif (
            (config.images and config.masks)
            or (
                (config.images and entry.role == "image") or (config.masks and entry.role == "mask")
            )
            or (config.images and entry.role is None)
        ):
            continue
        if is_parallel and (config.images or config.masks):
            number, below = (masks if entry.role == "mask" else images)[path]
            entry = replace(entry, scene=f"{number}:{read_entry(below).scene}")
        yield entry


def _expand(root: Path, patterns: Sequence[str]) -> dict[PurePosixPath, tuple[int, PurePosixPath]]:
    """Return the files that patterns name, with the pattern's number and the path below it."""
    found: dict[PurePosixPath, tuple[int, PurePosixPath]] = {}
    for number, pattern in enumerate(patterns):
        folder = root / pattern
        if folder.is_dir():
            below = {PurePosixPath(_relative(folder / path, root)): path for path in _walk(folder)}
        else:
            paths = [folder] if folder.is_file() else _glob(folder)
            below = {PurePosixPath(_relative(path, root)): PurePosixPath() for path in paths}
        if not below:
            raise DataError(f"{folder} holds no image; correct `data.images` or `data.masks`")
        found |= {path: (number, rest) for path, rest in below.items()}
    return found


def _is_glob(pattern: str) -> bool:
    return any(character in pattern for character in "*?[")


def _relative(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _is_excluded(path: PurePosixPath, pattern: str) -> bool:
    text = str(path)
    return fnmatchcase(text, pattern) or text.startswith(pattern.rstrip("/") + "/")


def _describe_bare(bare: list[str], total: int) -> str:
    folders = {str(PurePosixPath(path).parent) for path in bare}
    patterns = sorted(f"{folder}/*" for folder in folders) if len(folders) == 1 else bare[:1]
    advice = (
        f"add the masks, or leave the images out by `--data.exclude {patterns[0]!r}` (in data.yaml "
        f"`exclude: [{patterns[0]!r}]`)"
    )
    if len(bare) == total:
        advice = (
            "name masks as their images (or with a suffix such as _mask), in a folder of their own "
            "(masks, labels, ...), or say where they are: `--data.masks FOLDER`"
        )
    return f"{count(bare, 'image')} of {total} without a mask ({sample(bare)}); {advice}"


def _read_groups(rows: Sequence[_Row], pattern: str | None) -> tuple[list[str], list[str]]:
    """Return the group of every row, and what is wrong with them."""
    if pattern is None:
        groups = [row.group if row.group is not None else str(row.pair.image.path) for row in rows]
        named = [row.group is not None for row in rows]
    else:
        try:
            expression = re.compile(pattern)
        except re.error as error:
            raise UsageError(
                f"data.groups {pattern!r} is no regular expression: {error}"
            ) from error
        paths = [str(row.pair.image.path) for row in rows]
        found = [expression.search(path) for path in paths]
        unmatched = [path for path, match in zip(paths, found, strict=True) if match is None]
        if unmatched:
            return paths, [
                f"data.groups {pattern!r} does not match {count(unmatched, 'image')} "
                f"({sample(unmatched)}); widen the pattern"
            ]
        groups = [
            "/".join(part or "" for part in match.groups()) or match[0]
            for match in found
            if match is not None
        ]
        named = [True] * len(groups)
    return groups, list(_check_groups(rows, groups, named))


def _check_groups(
    rows: Sequence[_Row], groups: Sequence[str], named: Sequence[bool]
) -> Iterator[str]:
    """Yield a sentence if a group lies in more than one of the splits that are given."""
    splits: dict[str, set[str]] = defaultdict(set)
    for row, group, is_named in zip(rows, groups, named, strict=True):
        if is_named and row.pair.image.split is not None:
            splits[group].add(row.pair.image.split)
    torn = sorted(group for group, found in splits.items() if len(found) > 1)
    if torn:
        yield (
            f"{count(torn, 'group')} in more than one split ({sample(torn)}); move their images "
            "into one split, or correct the groups"
        )


def _unique_names(paths: Iterable[PurePosixPath]) -> list[str]:
    listed = list(paths)
    bare = [str(path.with_suffix("")) for path in listed]
    return [
        str(path) if bare.count(name) > 1 else name for path, name in zip(listed, bare, strict=True)
    ]


def _read_csv(path: Path, config: DataConfig) -> tuple[list[_Row], list[str]]:
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
    rows: dict[str, _Row] = {}
    problems: list[str] = []
    missing: list[str] = []
    for number, row in enumerate(reader, start=2):
        image, mask = (
            (row.get("image") or "").strip(),
            (row.get("mask") or "").strip(),
        )
        if any(_is_excluded(PurePosixPath(image), pattern) for pattern in config.exclude):
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
            rows[image] = _Row(Pair(entry, masks), group)
        elif (former.pair.image.split, former.group) != (split, group):
            problems.append(f"line {number}: {image} is listed with another split or group before")
        else:
            rows[image] = replace(
                former, pair=replace(former.pair, masks=former.pair.masks + masks)
            )
    if missing:
        problems.append(
            f"{count(missing, 'file')} that do not exist ({sample(missing)}); paths are relative "
            f"to {path.parent}"
        )
    return list(rows.values()), problems
