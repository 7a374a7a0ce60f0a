"""Pair the images of a data set with their masks and divide them into splits."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from delineate.config import DataConfig
from delineate.data.discovery import find_entries, list_images, relative_path
from delineate.data.doctor.findings import Evidence, FaultyDataError, Finding, count, sample
from delineate.data.listing import Row, locate, read_csv, read_data_file
from delineate.data.pairing import Pairing, Split, pair_entries
from delineate.data.pairing_findings import describe_bare, describe_pairing
from delineate.data.splitting import assign_splits, name_validation
from delineate.errors import UsageError
from delineate.files import write_text

__all__ = [
    "Inventory",
    "Listing",
    "Sample",
    "build_inventory",
    "list_images",
    "list_samples",
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

    def join_validation(self) -> Inventory:
        """Return the same data set with all samples for training that are not for testing."""
        samples = (
            sample if sample.split == "test" else replace(sample, split="train")
            for sample in self.samples
        )
        return Inventory(self.root, tuple(samples))


@dataclass(frozen=True)
class Listing:
    """Everything that a look at names finds in a data set, faults included."""

    root: Path
    samples: tuple[Sample, ...]
    """Every image in the order of the names; without masks where none or several fit."""
    others: tuple[Path, ...]
    """Masks that belong to no sample."""
    findings: tuple[Finding, ...]
    """What is wrong with names, folders, rows and groups."""


def list_samples(data: Path, config: DataConfig, *, require_masks: bool = True) -> Listing:
    """Find the images of a data set, their masks, groups and splits, and what is wrong with them.

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
        DataError: If a pattern of `config` names nothing, or a CSV file has no column `image`.
        UnreadableFileError: If `data` is missing.
        UsageError: If `groups` is no regular expression, the shares do not add up to 1, or
            `validation` does not fit the images.
    """
    target = locate(data)
    findings: list[Finding] = []
    pairing = Pairing((), {}, ())
    if target.is_dir():
        root = target
        pairing = pair_entries(find_entries(root, config), config.mask_suffix)
        rows = [Row(pair, None) for pair in pairing.pairs]
        findings += describe_pairing(pairing, config.mask_suffix)
    else:
        root = target.parent
        rows, findings = read_csv(target, config)
    rows.sort(key=lambda row: row.pair.image.path)
    paths = [str(row.pair.image.path) for row in rows]
    if not rows and not findings:
        findings.append(_no_images())
    bare = [
        str(row.pair.image.path)
        for row in rows
        if not row.pair.masks and row.pair.image not in pairing.ambiguous
    ]
    if require_masks and bare:
        findings.append(describe_bare(bare, paths))
    groups, more = _read_groups(rows, config.groups)
    findings += more
    splits = assign_splits(
        groups, [row.pair.image.split for row in rows], config.split, config.split_seed
    )
    names = _unique_names([row.pair.image.path for row in rows])
    splits = name_validation(names, groups, splits, config.validation)
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
    loose = {mask for found in pairing.ambiguous.values() for _, mask in found}
    others = sorted({mask.path for mask in loose.union(pairing.orphans)})
    return Listing(root, samples, tuple(root / path for path in others), tuple(findings))


def build_inventory(data: Path, config: DataConfig, *, require_masks: bool = True) -> Inventory:
    """Return the samples of a data set without faults; see `list_samples`.

    Raises:
        FaultyDataError: If something does not fit; one message lists all of it.
        DataError: If a pattern of `config` names nothing, or a CSV file has no column `image`.
        UnreadableFileError: If `data` is missing.
        UsageError: If `groups` is no regular expression or the shares do not add up to 1.
    """
    listing = list_samples(data, config, require_masks=require_masks)
    if listing.findings:
        raise FaultyDataError(listing.findings, subject=str(data))
    return Inventory(listing.root, listing.samples)


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


def _no_images() -> Finding:
    return Finding(
        "no-images",
        "error",
        (),
        "no image was found; images end in .png, .jpg, .tif, ... and are searched in all folders "
        "below",
        "there is nothing to learn from",
        "name the folder that holds the images, or say where they are: `--data.images FOLDER`",
    )


def _read_groups(rows: Sequence[Row], pattern: str | None) -> tuple[list[str], list[Finding]]:
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
                Finding(
                    "group-pattern",
                    "error",
                    tuple(unmatched),
                    f"data.groups {pattern!r} does not match {count(unmatched, 'image')} "
                    f"({sample(unmatched)})",
                    "images without a group may lie in a split apart from those they belong to",
                    "widen the pattern `data.groups`",
                )
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
) -> Iterator[Finding]:
    """Yield the finding of groups that lie in more than one of the splits that are given."""
    splits: dict[str, set[str]] = defaultdict(set)
    members: dict[str, list[str]] = defaultdict(list)
    for row, group, is_named in zip(rows, groups, named, strict=True):
        if is_named and row.pair.image.split is not None:
            splits[group].add(row.pair.image.split)
            members[group].append(str(row.pair.image.path))
    torn = sorted(group for group, found in splits.items() if len(found) > 1)
    if torn:
        files = sorted(path for group in torn for path in members[group])
        yield Finding(
            "group-in-splits",
            "error",
            tuple(files),
            f"{count(torn, 'group')} in more than one split ({sample(torn)})",
            "a model knows the patient, scene or tile of a test image already; the score flatters",
            "move their images into one split, or correct the groups",
            evidence=tuple(Evidence(path) for path in files),
        )


def _unique_names(paths: Sequence[PurePosixPath]) -> list[str]:
    bare = [str(path.with_suffix("")) for path in paths]
    uses = Counter(bare)
    return [str(path) if uses[name] > 1 else name for path, name in zip(paths, bare, strict=True)]
