"""Find several annotators of the same images, and say how far they agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.data.discovery import find_entries
from delineate.data.doctor.findings import Evidence, Finding
from delineate.data.doctor.records import Examination, PairRecord
from delineate.errors import DataError
from delineate.rasters import read_raster

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_SHARE = 0.5
"""Share of the images that have a second mask, from which on it is another annotator's."""

_MAX_COMPARED = 24


def check_annotators(examination: Examination) -> Iterator[Finding]:
    """Find sets of masks that belong to the same images under another suffix."""
    by_suffix = _find_suffixes(examination)
    suffixes = [*by_suffix]
    if len(suffixes) < 2:
        return
    first, second = suffixes[:2]
    shared = [image for image in by_suffix[first] if image in by_suffix[second]]
    both = [(by_suffix[first][image], by_suffix[second][image]) for image in shared]
    root = examination.listing.root
    scores = [
        score
        for one, other in both[:: max(1, -(-len(both) // _MAX_COMPARED))]
        if (score := _dice(root / one, root / other)) is not None
    ]
    agreement = (
        f"; the two agree with a Dice of {np.mean(scores):.2f} on average ({min(scores):.2f} to "
        f"{max(scores):.2f} over {len(scores)} images)"
        if scores
        else ""
    )
    chosen = examination.data.mask_suffix
    yield Finding(
        "several-annotators",
        "warning",
        tuple(sorted(path for suffix in suffixes for path in by_suffix[suffix].values())),
        f"{len(shared)} images have masks by {len(suffixes)} annotators, named "
        f"{' and '.join(suffixes)}{agreement}",
        "a model can agree with one annotator no better than another person does, and a training "
        "on both at once averages them",
        f"train on one: `--data.mask-suffix {chosen or first}` (in data.yaml `mask_suffix: "
        f"{chosen or first!r}`), and read the score beside their agreement",
        evidence=tuple(
            Evidence(image, suffix, mask=by_suffix[suffix][image])
            for image in shared[:4]
            for suffix in (first, second)
        ),
    )


def _find_suffixes(examination: Examination) -> dict[str, dict[str, str]]:
    """Return the mask of each image by what masks add to the names of images, commonest first."""
    root = examination.listing.root
    images = {pair.image.path: pair for pair in examination.pairs}
    stems = _stems(list(images.values()))
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for entry in find_entries(root, examination.data):
        path = str(entry.path)
        if path in images:
            continue
        for length in range(len(entry.stem) - 1, 0, -1):
            image = stems.get((str(entry.path.parent), entry.stem[:length]))
            if image is not None and not entry.stem[length].isdecimal():
                found[entry.stem[length:]][image] = path
                break
    used = {
        suffix: masks
        for suffix, masks in found.items()
        if len(masks) >= max(2, MIN_SHARE * len(images))
    }
    return dict(sorted(used.items(), key=lambda item: (-len(item[1]), item[0])))


def _stems(pairs: Sequence[PairRecord]) -> dict[tuple[str, str], str]:
    """Return images by folder and name without ending."""
    return {
        (
            str(PurePosixPath(pair.image.path).parent),
            PurePosixPath(pair.image.path).stem,
        ): pair.image.path
        for pair in pairs
    }


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
