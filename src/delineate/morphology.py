"""Components, distances, opening, closing and skeletons of masks: one implementation for all.

A mask here is (H, W), bool or integer, and every non-zero pixel is inside. What lies beyond the
image neither erodes nor dilates.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EXACT_SIDE = 2048  # squared distances stay below 2**24, where float32 holds whole numbers
_EXACT_DISTANCE = 1290  # the square of a float32 that is a rounding off is closest to its own
_SMALL_RADIUS = 8  # up to here a disc as a kernel is faster than a distance map


def _inside(mask: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(mask != 0, dtype=bool)


def _as_bytes(mask: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(_inside(mask)).view(np.uint8)


def label_components(
    mask: NDArray[Any], *, connectivity: int = 8
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number the connected parts of a mask.

    Args:
        mask: (H, W), non-zero inside.
        connectivity: 8 lets pixels touch at corners, 4 at sides only.

    Returns:
        Labels, (H, W) int32, 0 outside and 1..N in the parts; areas in pixels, (N + 1,) int64,
        entry 0 that of the outside.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        _as_bytes(mask), connectivity=connectivity, ltype=cv2.CV_32S
    )
    return cast("NDArray[np.int32]", labels), stats[:, cv2.CC_STAT_AREA].astype(np.int64)


def remove_small(mask: NDArray[Any], min_area: int) -> NDArray[np.bool_]:
    """Return the mask without its 8-connected parts of fewer than `min_area` pixels."""
    inside = _inside(mask)
    if min_area <= 1:
        return inside
    labels, areas = label_components(inside)
    keeps = areas >= min_area
    keeps[0] = False
    return keeps[labels]


def largest_part(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Return the 8-connected part of most pixels alone; of equal ones the first, row by row."""
    labels, areas = label_components(mask)
    areas[0] = 0
    if areas.max() == 0:
        return _inside(mask)
    rivals = np.flatnonzero(areas == areas.max())
    chosen = int(rivals[0])
    if len(rivals) > 1:  # OpenCV does not promise to number parts in reading order
        is_rival = np.isin(labels, rivals)
        chosen = int(labels.ravel()[np.flatnonzero(is_rival)[0]])
    return np.asarray(labels == chosen, dtype=bool)


def fill_holes(mask: NDArray[Any], min_area: int | None = None) -> NDArray[np.bool_]:
    """Return the mask with its holes filled.

    A hole is a 4-connected part of the outside that does not touch the image's border.

    Args:
        mask: (H, W), non-zero inside.
        min_area: Holes of this many pixels and more stay; None fills all.
    """
    inside = _inside(mask)
    if inside.size == 0 or (min_area is not None and min_area <= 1):
        return inside
    labels, areas = label_components(~inside, connectivity=4)
    is_filled = np.ones(areas.shape, dtype=bool) if min_area is None else areas < min_area
    for border in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        is_filled[border] = False
    is_filled[0] = True  # label 0 is the mask itself
    return is_filled[labels]


def distance_map(
    mask: NDArray[Any], spacing: tuple[float, float] | None = None
) -> NDArray[np.float32]:
    """Return each inside pixel's Euclidean distance to the nearest outside pixel, exactly.

    Distances run from pixel centre to pixel centre, so they are at least 1 pixel inside and 0
    outside. Without any outside pixel they are infinite.

    Args:
        mask: (H, W), non-zero inside.
        spacing: Height and width of a pixel in the unit wanted; None counts pixels.

    Returns:
        Distances, (H, W) float32, the true values rounded.
    """
    inside = _inside(mask)
    if inside.all():
        return np.full(inside.shape, np.inf, dtype=np.float32)
    if spacing is None and max(inside.shape) <= _EXACT_SIDE:
        distances = cv2.distanceTransform(_as_bytes(inside), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        if distances.max() <= _EXACT_DISTANCE:
            # Some of OpenCV's code paths are a rounding off; the squares are whole numbers.
            return cast("NDArray[np.float32]", np.sqrt(np.rint(distances * distances)))
    from scipy.ndimage import distance_transform_edt  # not needed for most images

    return np.asarray(distance_transform_edt(inside, sampling=spacing), dtype=np.float32)


def nearest_inside(mask: NDArray[Any]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row and column, each (H, W), of the inside pixel nearest to each pixel.

    An inside pixel is its own nearest. The mask must not be empty.
    """
    from scipy.ndimage import distance_transform_edt

    rows, cols = distance_transform_edt(
        ~_inside(mask), return_distances=False, return_indices=True
    ).astype(np.intp, copy=False)
    return rows, cols


def signed_distance(mask: NDArray[Any]) -> NDArray[np.float32]:
    """Return each pixel's distance to the mask's boundary, negative inside, in pixels.

    The boundary runs half a pixel from the nearest pixel centre of the other side: the value is
    the distance to that centre less 0.5, negated inside. So it is never 0, it is -0.5 and 0.5 on
    the two sides of an edge, and swapping inside and outside changes nothing but the sign.

    A mask without a boundary gets the image's diagonal, which no distance in the image reaches:
    positive everywhere if the mask is empty, negative if it is full.

    Args:
        mask: (H, W), non-zero inside.

    Returns:
        (H, W) float32.
    """
    inside = _inside(mask)
    if inside.all() or not inside.any():
        diagonal = float(np.hypot(*inside.shape))
        return np.full(inside.shape, -diagonal if inside.any() else diagonal, dtype=np.float32)
    outward = distance_map(~inside) - np.float32(0.5)
    inward = np.float32(0.5) - distance_map(inside)
    return np.where(inside, inward, outward)


def skeleton(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """Thin a mask to lines one pixel wide, keeping its parts and its holes.

    Pixels of the contour are taken off in two alternating passes, from the south-east and from the
    north-west, as long as what remains is connected as before (Guo and Hall's conditions,
    https://doi.org/10.1145/62065.62074, as in scikit-image's `thin` and MATLAB's `bwmorph`). The
    number of 8-connected parts and of 4-connected holes does not change.

    Args:
        mask: (H, W), non-zero inside.

    Returns:
        (H, W), within the mask.
    """
    inside = _as_bytes(mask)
    thinned = np.zeros(mask.shape, dtype=bool)
    left, top, width, height = cv2.boundingRect(inside) if inside.size else (0, 0, 0, 0)
    window = (slice(top, top + height), slice(left, left + width))
    padded = np.pad(inside[window], 1)
    flat, width = padded.ravel(), width + 2
    # from the east, counter-clockwise
    steps = np.array([1, 1 - width, -width, -1 - width, -1, width - 1, width, width + 1])
    tables = _thinning_tables()
    position = np.zeros(flat.size, dtype=np.intp)

    def is_removable(pixels: NDArray[np.intp], table: NDArray[np.bool_]) -> NDArray[np.bool_]:
        neighbours = np.zeros(pixels.shape, dtype=np.uint8)
        for bit, step in enumerate(steps):
            neighbours |= flat[pixels + step] << np.uint8(bit)
        return table[neighbours]

    def remaining_once(pixels: NDArray[np.intp]) -> NDArray[np.intp]:
        pixels = pixels[flat[pixels] != 0]
        turns = np.arange(pixels.size)
        position[pixels] = turns  # of duplicates the last one stays
        return np.asarray(pixels[position[pixels] == turns])

    # A pixel is looked at again only if a neighbour has gone since the last pass of the same kind.
    first = pixels = np.flatnonzero(cv2.erode(padded, np.ones((3, 3), np.uint8)) != padded)
    changed = removed = np.zeros(0, dtype=np.intp)
    while True:
        for table in tables:
            removed_before, changed_before = removed, changed
            removed = pixels[is_removable(pixels, table)]
            flat[removed] = 0
            changed = remaining_once((removed[:, None] + steps).ravel())
            pixels = remaining_once(np.concatenate([changed, changed_before, first]))
            first = first[:0]
        if not (removed.size or removed_before.size):
            break
    thinned[window] = padded[1:-1, 1:-1] != 0
    return thinned


@cache
def _thinning_tables() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which of the 256 neighbourhoods let their centre go, in either pass."""
    x = (np.arange(256)[:, None] >> np.arange(8)) & 1 == 1  # x[:, 0] is the east neighbour
    following = np.roll(x, -1, axis=1)
    sides, corners = x[:, ::2], x[:, 1::2]
    num_crossings = (~sides & (corners | following[:, 1::2])).sum(axis=1)
    num_pairs = np.minimum(
        (sides | corners).sum(axis=1), (corners | following[:, 1::2]).sum(axis=1)
    )
    is_simple = (num_crossings == 1) & (num_pairs >= 2) & (num_pairs <= 3)
    east, west = (
        (x[:, (first + 1) % 8] | x[:, (first + 2) % 8] | ~x[:, (first + 7) % 8]) & x[:, first]
        for first in (0, 4)
    )
    return np.asarray(is_simple & ~east), np.asarray(is_simple & ~west)


def erode(mask: NDArray[Any], radius: int) -> NDArray[np.bool_]:
    """Return the pixels around which a disc of `radius` pixels lies inside the mask."""
    if radius <= _SMALL_RADIUS:
        eroded = cv2.erode(_as_bytes(mask), _disc(radius))
        return np.asarray(eroded, dtype=bool).reshape(mask.shape)
    # Exact for any radius, in a time that does not depend on it.
    return distance_map(mask) > radius


def dilate(mask: NDArray[Any], radius: int) -> NDArray[np.bool_]:
    """Return the pixels that a disc of `radius` pixels around an inside pixel reaches."""
    if radius <= _SMALL_RADIUS:
        dilated = cv2.dilate(_as_bytes(mask), _disc(radius))
        return np.asarray(dilated, dtype=bool).reshape(mask.shape)
    return distance_map(mask == 0) <= radius


@cache
def _disc(radius: int) -> NDArray[np.uint8]:
    rows, cols = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(rows * rows + cols * cols <= radius * radius, dtype=np.uint8)


def opening(mask: NDArray[Any], radius: int) -> NDArray[np.bool_]:
    """Erode, then dilate by a disc: what is thinner than the disc goes."""
    return dilate(erode(mask, radius), radius) if radius > 0 else _inside(mask)


def closing(mask: NDArray[Any], radius: int) -> NDArray[np.bool_]:
    """Dilate, then erode by a disc: gaps thinner than the disc are bridged."""
    return erode(dilate(mask, radius), radius) if radius > 0 else _inside(mask)
