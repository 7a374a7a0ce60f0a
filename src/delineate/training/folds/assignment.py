"""Divide images into folds: by group, of like size and like content.

Balance of the number of images comes first, then that of the classes: the share of each class's
pixels, and the number of images that show it. Finding the best division is a problem of
partitioning; here groups are dealt out from the largest on and then exchanged as long as that
helps, which comes close and is the same whatever the order of the files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.task import Task

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

IMAGE_TOLERANCE = 0.05
"""Imbalance of the number of images, as a share of a fold, that better balanced classes may cost
where groups are of different sizes. Groups of one size are dealt out evenly."""

_MAX_PASSES = 10
_MAX_PARTNERS = 400
_LEAST_GAIN = 1e-9


def count_class_pixels(targets: Iterable[NDArray[Any]], task: Task) -> NDArray[np.int64]:
    """Return the pixels of each class in each image, (images, classes).

    Args:
        targets: (H, W) each; multilabel (C, H, W).
        task: What they mean. A binary task counts background and foreground.
    """
    num_values = 2 if task.kind == "binary" else task.num_classes
    rows = [
        (target == 1).sum(axis=(1, 2))
        if task.kind == "multilabel"
        else np.bincount(target.ravel(), minlength=256)[:num_values]
        for target in targets
    ]
    return np.asarray(rows, dtype=np.int64).reshape(-1, num_values)


def divide_into_folds(
    groups: Sequence[str], contents: NDArray[np.integer[Any]], num_folds: int, *, seed: int = 0
) -> NDArray[np.intp]:
    """Return the fold of each image, 0 to `num_folds` - 1; no fold is empty and no group torn.

    Args:
        groups: Group of each image; at least as many different ones as folds.
        contents: Pixels of each class in each image, (images, classes).
        num_folds: At least 2.
        seed: Decides between divisions that are as good.
    """
    names, member = np.unique(np.asarray(groups, dtype=object), return_inverse=True)
    assert 2 <= num_folds <= len(names)  # the caller tells users what to do
    place = np.argsort([_digest(seed, name) for name in names], kind="stable")
    rank = np.empty_like(place)
    rank[place] = np.arange(len(names))
    division = _Division(
        *_measure_groups(rank[member], np.asarray(contents, dtype=np.float64), num_folds),
        num_folds=num_folds,
    )
    division.deal()
    division.exchange()
    return division.fold[rank[member]]


def _measure_groups(
    member: NDArray[np.intp], contents: FloatArray, num_folds: int
) -> tuple[FloatArray, FloatArray]:
    """Return images, (groups,), and contents, (groups, features), of each group.

    Contents are in shares of what a fold should get of them.
    """
    features = np.concatenate([contents, contents > 0], axis=1)
    features = features[:, features.sum(axis=0) > 0]
    sums = np.zeros((int(member.max()) + 1, features.shape[1]))
    np.add.at(sums, member, features)
    return np.bincount(member).astype(np.float64), sums * (num_folds / features.sum(axis=0))


@dataclass
class _Division:
    """Groups in folds, and how far the folds are from equal."""

    sizes: FloatArray
    """Images of each group, (G,)."""
    contents: FloatArray
    """Of each group, (G, F)."""
    num_folds: int

    def __post_init__(self) -> None:
        self.fold = np.full(len(self.sizes), -1, dtype=np.intp)
        self._images = np.zeros(self.num_folds)
        self._sums = np.zeros((self.num_folds, self.contents.shape[1]))

    def deal(self) -> None:
        """Give each group, from the largest on, to one of the folds with the fewest images."""
        rarity = self.contents.max(axis=1, initial=0)
        for group in np.lexsort((-rarity, -self.sizes)):
            fewest = np.flatnonzero(self._images == self._images.min())
            costs = self._costs(self._sums[fewest] + self.contents[group])
            gains = costs - self._costs(self._sums[fewest])
            self._put(int(group), int(fewest[gains.argmin()]))

    def exchange(self) -> None:
        """Move and swap groups as long as classes get better balanced."""
        mean = self.sizes.sum() / self.num_folds
        is_even = bool((self.sizes == self.sizes[0]).all())
        slack = 0.0 if is_even else self.num_folds * (IMAGE_TOLERANCE * mean) ** 2
        limit = max(slack, float(((self._images - mean) ** 2).sum())) + _LEAST_GAIN
        step = -(-len(self.sizes) // _MAX_PARTNERS)
        for number in range(_MAX_PASSES):
            partners = np.arange(number % step, len(self.sizes), step)
            changed = [self._improve(group, partners, limit) for group in range(len(self.sizes))]
            if not any(changed) and step == 1:
                break

    def _improve(self, group: int, partners: NDArray[np.intp], limit: float) -> bool:
        """Move a group, or swap it with a partner, where that helps most; say whether it did."""
        mine = int(self.fold[group])
        partners = partners[self.fold[partners] != mine]
        folds = np.flatnonzero(np.arange(self.num_folds) != mine)
        if np.count_nonzero(self.fold == mine) == 1:
            folds = folds[:0]  # a fold must not be left empty
        # A move is a swap with nothing.
        theirs = np.concatenate([self.fold[partners], folds])
        back = np.concatenate([self.contents[partners], np.zeros((len(folds), self._width))])
        images_back = np.concatenate([self.sizes[partners], np.zeros(len(folds))])
        if not len(theirs):
            return False
        gains = (
            self._costs(self._sums[mine] - self.contents[group] + back)
            + self._costs(self._sums[theirs] + self.contents[group] - back)
            - self._costs(self._sums[[mine]])
            - self._costs(self._sums[theirs])
        )
        mean = self.sizes.sum() / self.num_folds
        spread = float(((self._images - mean) ** 2).sum())
        moved = self.sizes[group] - images_back
        spreads = (
            spread
            + (self._images[mine] - moved - mean) ** 2
            + (self._images[theirs] + moved - mean) ** 2
            - (self._images[mine] - mean) ** 2
            - (self._images[theirs] - mean) ** 2
        )
        gains[spreads > limit] = np.inf
        best = int(gains.argmin())
        if gains[best] > -_LEAST_GAIN:
            return False
        if best < len(partners):
            self._put(int(partners[best]), mine)
        self._put(group, int(theirs[best]))
        return True

    @property
    def _width(self) -> int:
        return int(self.contents.shape[1])

    def _costs(self, sums: FloatArray) -> FloatArray:
        """Return how far folds of such contents, (n, F), are from what each should get, (n,)."""
        return np.asarray(((sums - 1) ** 2).sum(axis=1))

    def _put(self, group: int, fold: int) -> None:
        former = int(self.fold[group])
        if former >= 0:
            self._images[former] -= self.sizes[group]
            self._sums[former] -= self.contents[group]
        self.fold[group] = fold
        self._images[fold] += self.sizes[group]
        self._sums[fold] += self.contents[group]


def _digest(seed: int, name: str) -> bytes:
    """Return what groups are ordered by; names of files need not be UTF-8."""
    return hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()
