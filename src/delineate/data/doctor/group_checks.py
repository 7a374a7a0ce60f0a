"""Find groups (patient, scene, tile, sequence) that a split tears apart."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import cv2
import numpy as np

from delineate.data.doctor.findings import Evidence, Finding, count, sample
from delineate.data.doctor.likeness import hash_pictures
from delineate.data.doctor.name_groups import NameGroups, guess_groups
from delineate.data.doctor.records import Examination, PairRecord
from delineate.data.pairing import read_entry
from delineate.randomness import generator_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_LIKENESS = 0.57
"""How often two images of a group are more alike than two of different ones, at least."""

MAX_CHANCE = 0.01
"""Share of random groupings that may be as good as a guess."""

_MIN_SINGLE = 0.53
_NUM_DRAWS = 200
_MAX_IMAGES = 240
_COARSE = 8
_NUM_SHOWN = 24
_MIN_SERIES = 8
_SERIES_BITS = 12


def check_groups(examination: Examination) -> Iterator[Finding]:
    """Find groups that names suggest and content confirms, in more than one split."""
    pairs = [
        pair
        for pair in examination.pairs
        if pair.image.thumbnail is not None and pair.image.channels
    ]
    if examination.data.groups is not None or _has_groups(pairs) or len(pairs) < 4:
        return
    paths = [pair.image.path for pair in pairs]
    kinship = _measure_kinship(pairs)
    for guess in guess_groups(paths):
        likeness = _confirm(guess, kinship)
        if likeness is None:
            continue
        torn = _find_torn(guess, pairs)
        if torn:
            yield _describe_groups(guess, torn, likeness, len(set(guess.groups)))
        return
    yield from _check_series(pairs)


def _has_groups(pairs: Sequence[PairRecord]) -> bool:
    """Whether a CSV file names groups; else every image is its own."""
    return any(pair.sample.group != pair.image.path for pair in pairs)


@dataclass(frozen=True)
class _Kinship:
    """How far images are apart, for those that are compared."""

    chosen: slice
    ranks: tuple[NDArray[np.float64], ...]
    """For colours and for layout: rank of the distance of each pair, 0 to 1, (pairs,)."""
    first: NDArray[np.intp]
    second: NDArray[np.intp]


def _measure_kinship(pairs: Sequence[PairRecord]) -> _Kinship:
    chosen = slice(None, None, -(-len(pairs) // _MAX_IMAGES))
    images = [pair.image for pair in pairs[chosen]]
    depth = min(4, *(len(image.channels) for image in images))
    colours = np.array(
        [
            [
                value
                for channel in image.channels[:depth]
                for value in (channel.mean, channel.deviation)
            ]
            for image in images
        ]
    )
    thumbnails = [np.asarray(image.thumbnail) for image in images]
    side = (_COARSE, _COARSE)
    layouts = np.array(
        [
            cv2.resize(thumbnail, side, interpolation=cv2.INTER_AREA).ravel()
            for thumbnail in thumbnails
        ],
        np.float64,
    )
    first, second = np.triu_indices(len(images), 1)
    ranks = []
    for features in (colours, layouts):
        scaled = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-9)
        distances = np.sqrt(((scaled[first] - scaled[second]) ** 2).sum(axis=1))
        ranks.append(distances.argsort().argsort() / max(1, len(distances) - 1))
    return _Kinship(chosen, tuple(ranks), first, second)


def _confirm(guess: NameGroups, kinship: _Kinship) -> float | None:
    """Return how alike images of a group are, from 0.5 to 1; None where it may be chance.

    The measure is the probability that two images of one group are closer than two of different
    ones (the area under the ROC curve), averaged over colours and layout; both have to say so.
    """
    _, labels = np.unique(np.array(guess.groups)[kinship.chosen], return_inverse=True)
    scores = _score(labels, kinship)
    if scores is None or min(scores) < _MIN_SINGLE or np.mean(scores) < MIN_LIKENESS:
        return None
    likeness = float(np.mean(scores))
    rng = generator_for(0, len(labels))
    lucky = 0
    for _ in range(_NUM_DRAWS):
        drawn = _score(rng.permutation(labels), kinship)
        lucky += drawn is not None and float(np.mean(drawn)) >= likeness
    return likeness if lucky <= MAX_CHANCE * _NUM_DRAWS else None


def _score(labels: NDArray[np.intp], kinship: _Kinship) -> list[float] | None:
    same = labels[kinship.first] == labels[kinship.second]
    num_same = int(same.sum())
    num_other = len(same) - num_same
    if not num_same or not num_other:
        return None
    lowest = (num_same - 1) / 2
    return [
        1 - (float(ranks[same].sum()) * (len(same) - 1) / num_same - lowest) / num_other
        for ranks in kinship.ranks
    ]


def _find_torn(guess: NameGroups, pairs: Sequence[PairRecord]) -> dict[str, list[PairRecord]]:
    members: dict[str, list[PairRecord]] = defaultdict(list)
    for group, pair in zip(guess.groups, pairs, strict=True):
        members[group].append(pair)
    return {
        group: found
        for group, found in members.items()
        if len({pair.sample.split for pair in found}) > 1
    }


def _describe_groups(
    guess: NameGroups, torn: dict[str, list[PairRecord]], likeness: float, total: int
) -> Finding:
    found = [pair for pairs in torn.values() for pair in pairs]
    is_drawn = all(_fixed_split(pair) is None for pair in found)
    line = _groups_line(guess.pattern)
    fix = (
        f"keep them together by {line}"
        if is_drawn
        else f"move the images of a group into one split; or take the splits out of the folders' "
        f"names and have them drawn by {line}"
    )
    evidence = [
        Evidence(pair.image.path, f"{group}, {pair.sample.split}")
        for group, pairs in torn.items()
        for pair in _one_per_split(pairs)
    ]
    return Finding(
        "group-across-splits",
        "warning",
        tuple(sorted(pair.image.path for pair in found)),
        f"{len(torn)} of {total} groups that the names tell lie in more than one split "
        f"({sample(torn)}); two images of one group are more alike than two of different ones in "
        f"{likeness:.0%} of the cases",
        "a model that knows the patient, scene or tile from training scores better on it than on "
        "a new one",
        fix,
        evidence=tuple(evidence[:_NUM_SHOWN]),
    )


def _groups_line(pattern: str) -> str:
    """Return the setting as a flag and as YAML; both take a pattern in quotes as it is."""
    return f"`--data.groups '{pattern}'` (in data.yaml `groups: '{pattern}'`)"


def _one_per_split(pairs: Sequence[PairRecord]) -> list[PairRecord]:
    return list({pair.sample.split: pair for pair in reversed(pairs)}.values())


def _fixed_split(pair: PairRecord) -> str | None:
    return read_entry(PurePosixPath(pair.image.path)).split


def _check_series(pairs: Sequence[PairRecord]) -> Iterator[Finding]:
    """Find frames or slices, numbered one by one and like their neighbours, drawn at random."""
    series: dict[str, list[tuple[int, PairRecord]]] = defaultdict(list)
    for pair in pairs:
        found = re.fullmatch(r"(.*?)(\d+)\.\w+", pair.image.path)
        if found and _fixed_split(pair) is None:
            series[found[1]].append((int(found[2]), pair))
    torn: list[tuple[PairRecord, PairRecord]] = []
    members: list[PairRecord] = []
    for numbered in series.values():
        numbered.sort(key=lambda item: item[0])
        steps = np.diff([number for number, _ in numbered])
        if len(numbered) < _MIN_SERIES or (steps == 1).mean() < 0.8:
            continue
        ordered = [pair for _, pair in numbered]
        if _is_series(ordered):
            members += ordered
            torn += [
                (one, other)
                for one, other in pairwise(ordered)
                if one.sample.split != other.sample.split
            ]
    if torn:
        pattern = r"^(.*)\d\.\w+$"
        yield Finding(
            "series-across-splits",
            "warning",
            tuple(sorted(pair.image.path for pair in members)),
            f"{count(members, 'image')} are slices or frames of a series, as each looks like the "
            f"next; {len(torn)} neighbours are in different splits",
            "a slice between two that were trained on is no test of a new volume or scene",
            f"keep blocks of ten together by {_groups_line(pattern)}, or better, test on another "
            "series",
            evidence=tuple(
                Evidence(pair.image.path, pair.sample.split)
                for two in torn[: _NUM_SHOWN // 2]
                for pair in two
            ),
        )


def _is_series(ordered: Sequence[PairRecord]) -> bool:
    """Whether neighbours are clearly more alike than images that are far apart."""
    hashes, _ = hash_pictures(np.stack([np.asarray(pair.image.thumbnail) for pair in ordered]))
    upright = hashes[:, 0]
    near = np.bitwise_count(upright[1:] ^ upright[:-1]).sum(axis=1)
    half = len(upright) // 2
    far = np.bitwise_count(upright[half:] ^ upright[: len(upright) - half]).sum(axis=1)
    return bool(np.median(far) - np.median(near) >= _SERIES_BITS)
