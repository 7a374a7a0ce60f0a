"""Divide samples into training, validation and test, so that what belongs together stays so."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

from delineate.data.pairing import Split
from delineate.errors import UsageError

_NUM_SHOWN = 5


def assign_splits(
    groups: Sequence[str],
    fixed: Sequence[Split | None],
    shares: tuple[float, float, float],
    seed: int,
) -> list[Split]:
    """Return the split of every sample.

    A sample whose folder (or CSV row) says `val` or `test` stays there. The others are the pool:
    the splits that nobody named are drawn from it by their shares, and the rest is the training
    split. So a folder with `train` and `val` gets its test split out of `train`, unless the share
    of test is 0. Groups are drawn, not samples, in the order of a hash of seed and group: the order
    of the files does not matter, and a new group seldom moves an old one.

    Args:
        groups: The group of every sample.
        fixed: The split that is given for every sample, or None.
        shares: Of training, validation and test, counted in groups. Each split that is drawn gets
            at least one group while one is left for training.
        seed: Seed of the draw.

    Raises:
        UsageError: If the shares do not add up to 1.
    """
    if abs(sum(shares) - 1.0) > 0.005:
        raise UsageError(f"the shares of `data.split` should add up to 1, got {shares}")
    share_of: dict[Split, float] = {"val": shares[1], "test": shares[2]}
    drawn = [split for split, share in share_of.items() if share > 0 and split not in fixed]
    pool = sorted(
        {group for group, split in zip(groups, fixed, strict=True) if split in (None, "train")},
        key=lambda group: _place(seed, group),
    )
    total = shares[0] + sum(share_of[split] for split in drawn)
    split_of: dict[str, Split] = dict.fromkeys(pool, "train")
    start = 0
    for number, split in enumerate(drawn, start=1):
        available = len(pool) - start - 1  # one group is left for training
        wanted = int(len(pool) * share_of[split] / total + 0.5)
        taken = max(min(wanted, available - (len(drawn) - number)), min(1, available), 0)
        split_of |= dict.fromkeys(pool[start : start + taken], split)
        start += taken
    return [
        split_of[group] if split is None or split == "train" else split
        for group, split in zip(groups, fixed, strict=True)
    ]


def name_validation(
    names: Sequence[str], groups: Sequence[str], splits: Sequence[Split], wanted: Sequence[str]
) -> list[Split]:
    """Return the splits where validation images are named and all others train, but for test.

    Args:
        names: Of all samples.
        groups: The group of every sample.
        splits: The split of every sample as it would be; its test split stays.
        wanted: Names of the validation images; none leaves the splits as they are.

    Raises:
        UsageError: If a name is no sample's or a test sample's, or tears a group.
    """
    if not wanted:
        return list(splits)
    chosen = set(wanted)
    tested = {name for name, split in zip(names, splits, strict=True) if split == "test"}
    pool: dict[str, set[str]] = defaultdict(set)
    for name, group in zip(names, groups, strict=True):
        if name not in tested:
            pool[group].add(name)
    torn = {name for members in pool.values() if members & chosen for name in members - chosen}
    for faulty, what in (
        (chosen - set(names), "names images that are not there"),
        (chosen & tested, "names images of the test split"),
        (torn, "leaves out images of the groups that it names"),
    ):
        if faulty:
            shown = ", ".join(sorted(faulty)[:_NUM_SHOWN])
            more = ", ..." if len(faulty) > _NUM_SHOWN else ""
            raise UsageError(
                f"data.validation {what} ({len(faulty)}: {shown}{more}); name images as the "
                "inventory does, without their endings, or leave data.validation out"
            )
    return [
        split if split == "test" else "val" if name in chosen else "train"
        for name, split in zip(names, splits, strict=True)
    ]


def _place(seed: int, group: str) -> bytes:
    """Return what a group is ordered by; names of files need not be UTF-8."""
    return hashlib.sha256(f"{seed}:{group}".encode(errors="surrogateescape")).digest()
