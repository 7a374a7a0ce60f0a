"""Tell whether two pictures show the same thing: a hash finds candidates, their pixels decide.

The hash is the sign pattern of the lowest frequencies of a thumbnail, as in PDQ
(https://github.com/facebook/ThreatExchange/tree/main/pdq): it survives another encoding, size,
brightness or contrast, and mirroring or turning the picture only permutes and negates frequencies,
so that all eight orientations cost one transform. Pictures of one kind (fundus photographs, frames
with the same bonnet) have similar hashes and are no copies. So candidates are laid over each other
by an affine map and compared in blocks, by their local structure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

NUM_ORIENTATIONS = 8
"""The ways to mirror and turn a picture by right angles."""

SIGHT = 256
"""Side, in pixels, to which pictures are squeezed for the final comparison."""

MAX_DISTANCE = 94
"""Hashes that differ in more than this many of 256 bits are no candidates; unrelated pictures
differ in 116 in their best orientation, and one pair in a thousand in fewer than 98."""

MIN_AGREEMENT = 0.7
"""Median correlation of the blocks of two pictures that show the same thing."""

MIN_FIT = 0.85
"""Correlation of thumbnails below which pictures are not compared."""

_NUM_FREQUENCIES = 16
_MIN_ROUGH_FIT = 0.4
_MIN_DETAIL = 2.0
_NUM_BLOCKS = 8
_MIN_BLOCKS = 36
_MIN_TEXTURED = 12
_MIN_STRENGTH = 0.1
_NOISE = 4.0
_CHUNK = 512


@dataclass(frozen=True)
class Candidate:
    """Two pictures of a list whose hashes are close."""

    first: int
    second: int
    distance: int
    """Bits in which the hashes differ, 0 to 256."""
    orientation: int
    """What to do to the second picture to make it look like the first; see `orient`."""


def orient(picture: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return a picture (H, W) transposed (4), then mirrored up-down (2) and left-right (1)."""
    if orientation & 4:
        picture = picture.T
    if orientation & 2:
        picture = picture[::-1]
    if orientation & 1:
        picture = picture[:, ::-1]
    return np.ascontiguousarray(picture)


def describe_orientation(orientation: int) -> str:
    """Return what `orient` does, in words; empty for nothing."""
    words = ("", "mirrored", "upside down and mirrored", "turned by 180 degrees")
    turned = ("transposed", "turned by 90 degrees", "turned by 90 degrees", "transposed")
    return turned[orientation & 3] if orientation & 4 else words[orientation and orientation & 3]


def hash_pictures(thumbnails: NDArray[np.uint8]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return the hashes of pictures in all orientations.

    Args:
        thumbnails: Grey, (N, S, S).

    Returns:
        Hashes, (N, 8, 4): 256 bits for each orientation of `orient`; and whether a picture has
        enough detail for its hash to mean something, (N,).
    """
    size = thumbnails.shape[-1]
    basis = _cosines(size)
    hashes = np.zeros((len(thumbnails), NUM_ORIENTATIONS, 4), np.uint64)
    has_detail = np.zeros(len(thumbnails), bool)
    signs = np.where(np.arange(_NUM_FREQUENCIES) % 2 == 1, np.float32(-1), np.float32(1))
    for start in range(0, len(thumbnails), _CHUNK):
        part = slice(start, start + _CHUNK)
        waves = basis @ thumbnails[part].astype(np.float32) @ basis.T
        waves[:, 0, 0] = 0
        has_detail[part] = np.sqrt((waves**2).sum(axis=(1, 2))) / size >= _MIN_DETAIL
        for orientation in range(NUM_ORIENTATIONS):
            turned = waves.transpose(0, 2, 1) if orientation & 4 else waves
            if orientation & 2:
                turned = turned * signs[:, None]
            if orientation & 1:
                turned = turned * signs
            flat = turned.reshape(len(turned), -1)
            bits = flat > np.median(flat[:, 1:], axis=1, keepdims=True)
            bits[:, 0] = False
            hashes[part, orientation] = np.packbits(bits, axis=1).view(np.uint64)
    return hashes, has_detail


def _cosines(size: int) -> Floats:
    """Return the lowest rows of the orthonormal cosine transform, (frequencies, size)."""
    places = (2 * np.arange(size) + 1) * np.pi / (2 * size)
    waves = np.cos(np.arange(_NUM_FREQUENCIES)[:, None] * places) * np.sqrt(2 / size)
    waves[0] /= np.sqrt(2)
    return np.asarray(waves, np.float32)


def find_candidates(
    hashes: NDArray[np.uint64],
    has_detail: NDArray[np.bool_],
    *,
    max_distance: int = MAX_DISTANCE,
    max_neighbours: int = 12,
) -> list[Candidate]:
    """Return pairs of pictures with close hashes, the closest first.

    Args:
        hashes: (N, 8, 4), of `hash_pictures`.
        has_detail: (N,); pictures without detail are left out.
        max_distance: Bits that may differ, in the best orientation.
        max_neighbours: At most as many of the closest are taken for each picture, so that a set
            whose pictures all look alike does not cost the square of its size.
    """
    chosen = np.flatnonzero(has_detail)
    table = np.ascontiguousarray(hashes[chosen].transpose(1, 0, 2))
    found: list[Candidate] = []
    for place, index in enumerate(chosen[:-1].tolist()):
        differing = table[:, place + 1 :] ^ table[0, place]
        distances = np.bitwise_count(differing).sum(axis=2, dtype=np.int64)
        # An upright match wins a tie: symmetric pictures look alike mirrored, too.
        best = distances.argmin(axis=0)
        nearest = distances.min(axis=0)
        close = np.flatnonzero(nearest <= max_distance)
        close = close[np.argsort(nearest[close], kind="stable")[:max_neighbours]]
        for other in close.tolist():
            second = int(chosen[place + 1 + other])
            found.append(Candidate(index, second, int(nearest[other]), int(best[other])))
    return sorted(found, key=lambda pair: (pair.distance, pair.first, pair.second))


@dataclass(frozen=True)
class Fit:
    """How one picture lies on another."""

    correlation: float
    """Of the local structure of both, -1 to 1."""
    transform: Floats
    """Affine map (2, 3) from places (x, y) in the first picture to places in the second; places
    run from 0 to 1 over a picture."""


def fit_thumbnails(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> Fit:
    """Lay one thumbnail over another by an affine map, from the better of two starts.

    Args:
        first: Grey, (S, S).
        second: Grey, (S, S), already in the orientation of the first.
    """
    ours, theirs = _flatten_light(first, 6), _flatten_light(second, 6)
    window = cv2.createHanningWindow(ours.shape[::-1], cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(ours, theirs, window)
    side = len(first)
    rough = [
        _refine(ours, theirs, np.array([[1, 0, x / side], [0, 1, y / side]], np.float32), 12)
        for x, y in ((0.0, 0.0), (right, down))
    ]
    best = max(rough, key=lambda fit: fit.correlation)
    if best.correlation < _MIN_ROUGH_FIT:  # most candidates end here, and cheaply
        return best
    return _refine(ours, theirs, best.transform, 60)


def compare_pictures(first: NDArray[np.uint8], second: NDArray[np.uint8], fit: Fit) -> float:
    """Return how well two pictures agree where they overlap, -1 to 1.

    Args:
        first: Grey, (S, S).
        second: Grey, (S, S), in the orientation of the first.
        fit: How thumbnails of both lie on each other; it is refined.

    Returns:
        The median correlation of those blocks of an 8 x 8 grid that have structure; 0 where fewer
        than 36 blocks overlap or fewer than 12 have structure.
    """
    size = len(first)
    # Finer than this lies the noise of sensors and of JPEG, which copies need not share.
    ours = _flatten_light(_bytes(cv2.GaussianBlur(first, (0, 0), 1.5)), 8)
    theirs = _flatten_light(_bytes(cv2.GaussianBlur(second, (0, 0), 1.5)), 8)
    half = (size // 2, size // 2)
    ours_half = cv2.resize(ours, half, interpolation=cv2.INTER_AREA)
    theirs_half = cv2.resize(theirs, half, interpolation=cv2.INTER_AREA)
    refined = _refine(_floats(ours_half), _floats(theirs_half), fit.transform, 20)
    pixel_map = _in_pixels(refined.transform, size)
    flags = cv2.WARP_INVERSE_MAP
    laid = _floats(cv2.warpAffine(theirs, pixel_map, (size, size), flags=flags | cv2.INTER_LINEAR))
    inside = _floats(
        cv2.warpAffine(
            np.ones_like(theirs), pixel_map, (size, size), flags=flags | cv2.INTER_NEAREST
        )
    )
    overlaps = _blocks(inside).mean(axis=1) > 0.9
    if overlaps.sum() < _MIN_BLOCKS:
        return 0.0
    a, b = (
        blocks - blocks.mean(axis=1, keepdims=True) for blocks in (_blocks(ours), _blocks(laid))
    )
    strengths = np.stack([(a * a).mean(axis=1), (b * b).mean(axis=1)])
    counted = overlaps & (strengths.max(axis=0) > _MIN_STRENGTH)
    if counted.sum() < _MIN_TEXTURED:
        return 0.0
    scores = (a * b).mean(axis=1) / np.sqrt(strengths.prod(axis=0) + 1e-6)
    return float(np.median(scores[counted]))


def _bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    return np.asarray(values, np.uint8)


def _floats(values: NDArray[Any]) -> Floats:
    return np.asarray(values, np.float32)


def _flatten_light(picture: NDArray[np.uint8], reach: int) -> Floats:
    """Return the local structure: less the local mean, over the local deviation."""
    values = picture.astype(np.float32)
    rest = values - _smooth(values, reach)
    deviation = np.sqrt(np.maximum(_smooth(rest * rest, reach), 0))
    return np.asarray(rest / (deviation + _NOISE), np.float32)


def _smooth(values: Floats, reach: int) -> Floats:
    """Return the mean around each pixel, nearly with the weights of a Gaussian; two boxes."""
    side = (2 * reach + 1, 2 * reach + 1)
    return _floats(cv2.blur(cv2.blur(values, side), side))


def _refine(ours: Floats, theirs: Floats, transform: Floats, num_steps: int) -> Fit:
    """Improve an affine map by maximising the correlation.

    ECC: https://doi.org/10.1109/TPAMI.2008.113.
    """
    side = len(ours)
    criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, num_steps, 1e-4)
    start = _in_pixels(transform, side)
    try:
        correlation, found = cv2.findTransformECC(
            ours, theirs, start, cv2.MOTION_AFFINE, criteria, np.ones(ours.shape, np.uint8), 5
        )
    except cv2.error:  # nothing in common: the iteration ran away
        return Fit(0.0, transform)
    shift = (found[:, 2] + 0.5 - found[:, :2].sum(axis=1) / 2) / side
    return Fit(float(correlation), np.column_stack([found[:, :2], shift]).astype(np.float32))


def _in_pixels(transform: Floats, side: int) -> Floats:
    """Return a map of places as a map of pixel centres, of pictures of `side` pixels."""
    shift = transform[:, 2] * side - 0.5 + transform[:, :2].sum(axis=1) / 2
    return np.column_stack([transform[:, :2], shift]).astype(np.float32)


def _blocks(picture: Floats) -> Floats:
    """Return the blocks of an 8 x 8 grid, (64, pixels)."""
    step = len(picture) // _NUM_BLOCKS
    grid = picture.reshape(_NUM_BLOCKS, step, _NUM_BLOCKS, step)
    return grid.swapaxes(1, 2).reshape(_NUM_BLOCKS**2, step * step)
