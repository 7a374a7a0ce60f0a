"""Find several annotators of the same images, and say how far they agree."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.data.discovery import is_excluded
from delineate.data.doctor.findings import Evidence, Finding
from delineate.data.doctor.records import Examination
from delineate.errors import DataError
from delineate.rasters import SUFFIXES, read_raster

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_SHARE = 0.5
"""Share of the images that have a second mask, from which on it is another annotator's."""

MIN_AGREEMENT = 0.3
"""Mean Dice of two files of one image from which on they are masks of the same thing."""

_MAX_COMPARED = 24


def check_annotators(examination: Examination) -> Iterator[Finding]:
    """Find sets of masks that belong to the same images under another suffix."""
    masks_of = _find_masks(examination)
    labels = list(masks_of)
    if len(labels) < 2:
        return
    first, second = (masks_of[label] for label in labels[:2])
    shared = [image for image in first if image in second]
    root = examination.listing.root
    scores = [
        score
        for image in shared[:: max(1, -(-len(shared) // _MAX_COMPARED))]
        if (score := _dice(root / first[image], root / second[image])) is not None
    ]
    # Files of instances, of other classes or of depths go by several names, too.
    if not scores or np.mean(scores) < MIN_AGREEMENT:
        return
    chosen = examination.data.mask_suffix or labels[0]
    advice = (
        f"`--data.masks {chosen}` (in data.yaml `masks: [{chosen!r}]`)"
        if "/" in chosen or (root / chosen).is_dir()
        else f"`--data.mask-suffix {chosen}` (in data.yaml `mask_suffix: {chosen!r}`)"
    )
    yield Finding(
        "several-annotators",
        "warning",
        tuple(sorted({path for label in labels for path in masks_of[label].values()})),
        f"{len(shared)} images have masks by {len(labels)} annotators, named "
        f"{' and '.join(labels)}; the first two agree with a Dice of {np.mean(scores):.2f} on "
        f"average ({min(scores):.2f} to {max(scores):.2f} over {len(scores)} images)",
        "a model can agree with one annotator no better than another person does, and a training "
        "on both at once averages them",
        f"train on one: {advice}, and read the score beside their agreement",
        evidence=tuple(
            Evidence(image, label, mask=masks_of[label][image])
            for image in shared[:4]
            for label in labels[:2]
        ),
    )


def _find_masks(examination: Examination) -> dict[str, dict[str, str]]:
    """Return the mask of each image, by the suffix of its name or, without one, by its folder.

    Only what at least half of the images have is returned, the commonest first.
    """
    pairs = [pair for pair in examination.pairs if len(pair.masks) < 2]
    images = {pair.image.path for pair in examination.pairs}
    here = {_key(PurePosixPath(pair.image.path)): pair.image.path for pair in pairs}
    uses = Counter(stem for _, stem in here)
    anywhere = {stem: path for (_, stem), path in here.items() if uses[stem] == 1}
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for path in _list_files(examination):
        folder, stem = _key(path)
        if str(path) in images:
            continue
        for length in range(len(stem), 0, -1):
            base, suffix = stem[:length], stem[length:]
            image = here.get((folder, base)) or anywhere.get(base)
            if image is not None and not suffix[:1].isdecimal():
                found[suffix or folder][image] = str(path)
                break
    used = {
        label: masks
        for label, masks in found.items()
        if len(masks) >= max(2, MIN_SHARE * len(images))
    }
    return dict(sorted(used.items(), key=lambda item: (-len(item[1]), item[0])))


def _key(path: PurePosixPath) -> tuple[str, str]:
    """Return folder and name without ending."""
    return str(path.parent), path.stem


def _list_files(examination: Examination) -> list[PurePosixPath]:
    """Return the picture files of all folders that hold an image or a mask, sorted."""
    root = examination.listing.root
    records = [
        *(record for pair in examination.pairs for record in (pair.image, *pair.masks)),
        *examination.others,
    ]
    found = []
    for folder in sorted({PurePosixPath(record.path).parent for record in records}):
        for entry in os.scandir(root / folder):
            path = folder / entry.name
            if entry.name[0] != "." and path.suffix.lower() in SUFFIXES and entry.is_file():
                found.append(path)
    excluded = examination.data.exclude
    return sorted(
        path for path in found if not any(is_excluded(path, pattern) for pattern in excluded)
    )


def _dice(first: Path, second: Path) -> float | None:
    """Return the overlap of two masks, of which all but the commonest value counts."""
    try:
        one, other = _foreground(first), _foreground(second)
    except DataError:
        return None
    if one.shape != other.shape or not (one.any() or other.any()):
        return None
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


def _foreground(path: Path) -> NDArray[np.bool_]:
    pixels: NDArray[Any] = read_raster(path).pixels[..., 0]
    values, counts = np.unique(pixels, return_counts=True)
    return np.asarray(pixels != values[counts.argmax()])
