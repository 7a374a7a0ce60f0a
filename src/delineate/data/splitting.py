"""Divide samples into training, validation and test, so that what belongs together stays so."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from delineate.data.pairing import Split
from delineate.errors import UsageError


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
    named: set[Split] = {split for split in fixed if split is not None}
    drawn: list[Split] = [
        split
        for split, share in (("val", shares[1]), ("test", shares[2]))
        if share > 0 and split not in named
    ]
    share_of = dict(zip(("train", "val", "test"), shares, strict=True))
    pool = sorted(
        {group for group, split in zip(groups, fixed, strict=True) if split in (None, "train")},
        key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest(),
    )
    total = shares[0] + sum(share_of[split] for split in drawn)
    split_of: dict[str, Split] = dict.fromkeys(pool, "train")
    start = 0
    for split in drawn:
        wanted = max(1, int(len(pool) * share_of[split] / total + 0.5))
        stop = min(start + wanted, max(start, len(pool) - 1))
        if split == "val" and "test" in drawn:
            stop = min(stop, max(start + 1, len(pool) - 2), max(start, len(pool) - 1))
        split_of |= dict.fromkeys(pool[start:stop], split)
        start = stop
    return [
        split if split in ("val", "test") else split_of[group]
        for group, split in zip(groups, fixed, strict=True)
    ]
