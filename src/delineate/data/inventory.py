"""Pair the images of a data set with their masks and divide them into splits."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from delineate.config import DataConfig
from delineate.data.discovery import find_entries, list_images, relative_path
from delineate.data.listing import Row, locate, read_csv, read_data_file
from delineate.data.pairing import Split, count, pair_entries, sample
from delineate.data.splitting import assign_splits
from delineate.errors import DataError, UsageError
from delineate.files import write_text

__all__ = [
    "Inventory",
    "Sample",
    "build_inventory",
    "list_images",
    "read_data_file",
    "save_inventory",
]


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
    target = locate(data)
    problems: list[str] = []
    if target.is_dir():
        root = target
        pairs, problems = pair_entries(find_entries(root, config), config.mask_suffix)
        rows = [Row(pair, None) for pair in pairs]
    else:
        root = target.parent
        rows, problems = read_csv(target, config)
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
        image = relative_path(entry.image, inventory.root)
        for mask in entry.masks or (None,):
            where = "" if mask is None else relative_path(mask, inventory.root)
            writer.writerow((image, where, entry.split, entry.group))
    write_text(path, text.getvalue())


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


def _read_groups(rows: Sequence[Row], pattern: str | None) -> tuple[list[str], list[str]]:
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
    rows: Sequence[Row], groups: Sequence[str], named: Sequence[bool]
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


def _unique_names(paths: Sequence[PurePosixPath]) -> list[str]:
    bare = [str(path.with_suffix("")) for path in paths]
    uses = Counter(bare)
    return [str(path) if uses[name] > 1 else name for path, name in zip(paths, bare, strict=True)]
