"""Find pictures that occur more than once: byte for byte, pixel for pixel, or nearly so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from delineate.data.doctor.findings import (
    DropFiles,
    Evidence,
    Finding,
    KeepInTraining,
    Remedy,
    count,
    exclude_line,
    sample,
)
from delineate.data.doctor.likeness import (
    MIN_AGREEMENT,
    MIN_FIT,
    SIGHT,
    Candidate,
    compare_pictures,
    describe_orientation,
    find_candidates,
    fit_thumbnails,
    hash_pictures,
    orient,
)
from delineate.data.doctor.records import Examination, PairRecord
from delineate.errors import DataError
from delineate.pictures import to_rgb
from delineate.progress import progress_bar
from delineate.rasters import read_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_EVIDENCE = 60
"""Pictures that one finding shows at most."""

_CACHED_PICTURES = 256
_LARGE_SET = 5000


def check_exact_duplicates(examination: Examination) -> Iterator[Finding]:
    """Find images with equal pixels: an error across splits, a warning within one."""
    by_pixels: dict[str, list[PairRecord]] = defaultdict(list)
    for pair in examination.pairs:
        digest = pair.image.pixel_digest or pair.image.digest
        if digest and not pair.image.error:
            by_pixels[digest].append(pair)
    copies = [pairs for pairs in by_pixels.values() if len(pairs) > 1]
    across = [pairs for pairs in copies if len({pair.sample.split for pair in pairs}) > 1]
    within = [pairs for pairs in copies if len({pair.sample.split for pair in pairs}) == 1]
    if across:
        remedies, surplus = _keep_one(across)
        yield Finding(
            "duplicate-across-splits",
            "error",
            _paths(across),
            f"{count(across, 'image')} in more than one split, pixel for pixel: "
            f"{_describe_sets(across)}",
            "a model that has seen a test image scores better on it than on new ones",
            f"keep the training copy only: {exclude_line(surplus)}",
            remedies,
            _show(across),
        )
    if within:
        remedies, surplus = _keep_one(within)
        yield Finding(
            "duplicate-image",
            "warning",
            _paths(within),
            f"{count(within, 'image')} more than once in the same split, pixel for pixel: "
            f"{_describe_sets(within)}",
            "a copy counts double, in training and in the score",
            f"keep one of each: {exclude_line(surplus)}",
            remedies,
            _show(within),
        )


def _keep_one(copies: Sequence[Sequence[PairRecord]]) -> tuple[tuple[Remedy, ...], list[str]]:
    """Return the remedies, and all files but one copy of each image, a labelled one of training."""
    remedies: list[Remedy] = []
    surplus: list[str] = []
    for pairs in copies:
        files = tuple(sorted(pair.image.path for pair in pairs))
        ranked = sorted(
            pairs,
            key=lambda pair: (pair.sample.split != "train", not pair.masks, pair.image.path),
        )
        extra = ranked[1:]
        surplus += [path for pair in extra for path in _files_of(pair)]
        if len({pair.sample.split for pair in pairs}) > 1:
            remedies.append(KeepInTraining(files))
            extra = [pair for pair in extra if pair.sample.split == ranked[0].sample.split]
        if extra:
            remedies.append(DropFiles(tuple(sorted(pair.image.path for pair in extra))))
    return tuple(remedies), sorted(surplus)


def _files_of(pair: PairRecord) -> list[str]:
    return [pair.image.path, *(mask.path for mask in pair.masks)]


@dataclass(frozen=True)
class Likeness:
    """Two images that were found to show the same."""

    first: PairRecord
    second: PairRecord
    agreement: float
    """Median correlation of blocks, `MIN_AGREEMENT` to 1."""
    orientation: int
    """What makes the second look like the first; see `orient`."""


def find_near_duplicates(examination: Examination) -> list[Likeness]:
    """Return enough pairs of like images to connect all that show the same.

    Images with equal pixels are left out, but for one of them.
    """
    pairs: dict[str, PairRecord] = {}
    for pair in examination.pairs:
        if pair.image.thumbnail is not None and not pair.image.error:
            pairs.setdefault(pair.image.pixel_digest or pair.image.path, pair)
    images = list(pairs.values())
    if len(images) < 2:
        return []
    thumbnails = np.stack([np.asarray(pair.image.thumbnail, np.uint8) for pair in images])
    # In a large set every picture has some neighbours by chance, and each costs a comparison.
    max_neighbours = 12 if len(images) <= _LARGE_SET else 4
    candidates = find_candidates(*hash_pictures(thumbnails), max_neighbours=max_neighbours)
    if not candidates:
        return []
    root = [*range(len(images))]
    see = lru_cache(_CACHED_PICTURES)(_see)
    found: list[Likeness] = []
    with progress_bar("comparing look-alikes", total=len(candidates)) as bar:
        for candidate in candidates:
            bar.advance()
            ends = [_find_root(root, end) for end in (candidate.first, candidate.second)]
            if ends[0] == ends[1]:
                continue
            paths = [images[end].sample.image for end in (candidate.first, candidate.second)]
            agreement = _verify(thumbnails, candidate, paths, see)
            if agreement >= MIN_AGREEMENT:
                root[ends[1]] = ends[0]
                first, second = images[candidate.first], images[candidate.second]
                found.append(Likeness(first, second, agreement, candidate.orientation))
    return found


def _verify(
    thumbnails: NDArray[np.uint8], candidate: Candidate, paths: Sequence[Path], see: Any
) -> float:
    first = thumbnails[candidate.first]
    second = orient(thumbnails[candidate.second], candidate.orientation)
    fit = fit_thumbnails(first, second)
    if fit.correlation < MIN_FIT:
        return 0.0
    try:
        ours, theirs = (see(path) for path in paths)
    except DataError:  # it changed since it was examined
        return 0.0
    return compare_pictures(ours, orient(theirs, candidate.orientation), fit)


def _see(path: Path) -> NDArray[np.uint8]:
    """Return an image in grey, squeezed to (SIGHT, SIGHT)."""
    rgb = to_rgb(read_image(path))
    small = cv2.resize(rgb, (SIGHT, SIGHT), interpolation=cv2.INTER_AREA)
    return np.asarray(small.mean(axis=2).round(), np.uint8)


def _find_root(root: list[int], index: int) -> int:
    while root[index] != index:
        root[index] = root[root[index]]
        index = root[index]
    return index


def check_near_duplicates(examination: Examination) -> Iterator[Finding]:
    """Find images that show the same, encoded, sized, lit, cropped or mirrored another way."""
    likenesses = find_near_duplicates(examination)
    clusters = _cluster(likenesses)
    across = [pairs for pairs in clusters if len({pair.sample.split for pair in pairs}) > 1]
    within = [pairs for pairs in clusters if len({pair.sample.split for pair in pairs}) == 1]
    for code, found, where, why in (
        (
            "near-duplicate-across-splits",
            across,
            "lie in more than one split",
            "a model is tested on what it has seen in training, and the score flatters",
        ),
        (
            "near-duplicate",
            within,
            "lie in one split",
            "they count as one image, not as many: a set is smaller than it looks, and a split "
            "that is drawn anew may part them",
        ),
    ):
        if not found:
            continue
        files = _paths(found)
        advice = (
            f"keep each set in one split, by `data.groups` if the names tell the sets, or by a CSV "
            f"file with a column `group`; or leave the surplus out by "
            f"{exclude_line(_keep_one(found)[1])}"
        )
        yield Finding(
            code,
            "warning",
            files,
            f"{len(files)} images show the same in {count(found, 'set')} that {where}: "
            f"{_describe_sets(found)}{_describe_turned(likenesses, files)}",
            why,
            advice,
            tuple(KeepInTraining(_paths([pairs])) for pairs in found) if found is across else (),
            _show(found),
        )


def _cluster(likenesses: Iterable[Likeness]) -> list[list[PairRecord]]:
    """Return the sets of images that are connected, the largest first."""
    cluster_of: dict[str, list[PairRecord]] = {}
    for likeness in likenesses:
        merged: list[PairRecord] = []
        for pair in (likeness.first, likeness.second):
            for member in cluster_of.get(pair.image.path, [pair]):
                if member not in merged:
                    merged.append(member)
        for member in merged:
            cluster_of[member.image.path] = merged
    distinct = {id(cluster): cluster for cluster in cluster_of.values()}
    return sorted(distinct.values(), key=lambda pairs: (-len(pairs), pairs[0].image.path))


def _paths(sets: Iterable[Sequence[PairRecord]]) -> tuple[str, ...]:
    return tuple(sorted(pair.image.path for pairs in sets for pair in pairs))


def _describe_sets(sets: Sequence[Sequence[PairRecord]]) -> str:
    """Return a few sets in words: a.png (train) and b.png (test)."""
    return sample(
        " = ".join(f"{pair.image.path} ({pair.sample.split})" for pair in pairs[:3])
        + (f" = {len(pairs) - 3} more" if len(pairs) > 3 else "")
        for pairs in sets
    )


def _describe_turned(likenesses: Iterable[Likeness], files: Sequence[str]) -> str:
    turned = [
        f"{likeness.second.image.path} is {describe_orientation(likeness.orientation)}"
        for likeness in likenesses
        if likeness.orientation and likeness.second.image.path in files
    ]
    return f"; {sample(turned)}" if turned else ""


def _show(sets: Sequence[Sequence[PairRecord]]) -> tuple[Evidence, ...]:
    """Return two pictures of each set, of different splits where it lies in several."""
    shown: list[Evidence] = []
    for number, pairs in enumerate(sets, start=1):
        first, *others = sorted(
            pairs, key=lambda pair: (pair.sample.split != "train", pair.image.path)
        )
        second = next(
            (pair for pair in others if pair.sample.split != first.sample.split), others[0]
        )
        shown += [
            Evidence(pair.image.path, f"set {number}, {pair.sample.split}")
            for pair in (first, second)
        ]
    return tuple(shown[:MAX_EVIDENCE])
