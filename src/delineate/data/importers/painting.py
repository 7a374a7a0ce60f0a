"""Draw objects into masks: a pixel belongs to an object if its centre lies inside.

Coordinates are (x, y) in pixels; the upper left corner of the image is (0, 0) and the centre of its
first pixel (0.5, 0.5), as in COCO, CVAT and LabelMe.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.data.importers.annotation import VOID, Notes, Overlaps, Patch, Region
from delineate.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_POINTS = 1_000_000
"""Most points of one outline."""

MAX_COORDINATE = 1e7
"""Largest distance of a point from the origin, in pixels."""

_KEPT_BYTES = 2**28
"""Painted objects kept in memory while they are sorted by size; more are painted twice."""


def read_points(values: Any) -> NDArray[np.float64]:
    """Return points as (N, 2), from [x, y, x, y, ...] or [[x, y], ...].

    Raises:
        DataError: If they are no numbers, not finite, absurdly far away or too many.
    """
    try:
        flat = np.asarray(values, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"an outline holds {_glimpse(values)}, which are no points") from error
    if flat.size % 2 or (flat.ndim == 2 and flat.shape[1] != 2) or flat.ndim not in (1, 2):
        raise DataError(f"an outline holds {_glimpse(values)}, which are no pairs of x and y")
    if flat.size > 2 * MAX_POINTS:
        raise DataError(
            f"an outline has {flat.size // 2} points and outlines have at most {MAX_POINTS}"
        )
    points = flat.reshape(-1, 2)
    if not np.isfinite(points).all():
        raise DataError("an outline holds coordinates that are NaN or infinite")
    if np.abs(points).max(initial=0) > MAX_COORDINATE:
        raise DataError(
            f"an outline reaches to {np.abs(points).max():.3g} pixels and images are smaller"
        )
    return points


def _glimpse(values: Any) -> str:
    text = repr(values[:4] if isinstance(values, list | tuple) else values)
    return text if len(text) <= 60 else text[:60] + "..."


def fill_polygons(
    polygons: Sequence[Sequence[NDArray[np.float64]]], size: tuple[int, int]
) -> Patch:
    """Return the pixels inside any of several polygons.

    Args:
        polygons: Each an outline and its holes, (N, 2) of (x, y).
        size: (height, width) of the image.
    """
    from rasterio import Affine
    from rasterio.features import rasterize

    shapes = [
        {"type": "Polygon", "coordinates": [np.vstack([ring, ring[:1]]).tolist() for ring in rings]}
        for rings in ([ring for ring in polygon if len(ring) >= 3] for polygon in polygons)
        if rings
    ]
    if not shapes:
        return _nothing()
    corners = np.vstack([polygon[0] for polygon in polygons if len(polygon[0])])
    top, left, bottom, right = window_of(corners, size)
    if bottom <= top or right <= left:
        return _nothing()
    pixels = rasterize(
        shapes,
        out_shape=(bottom - top, right - left),
        transform=Affine.translation(left, top),
        dtype="uint8",
    )
    return Patch(top, left, pixels.astype(bool))


def window_of(points: NDArray[np.float64], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return top, left, bottom, right of the pixels that points span, within the image."""
    height, width = size
    low, high = np.floor(points.min(axis=0)), np.ceil(points.max(axis=0))
    left, top = max(int(low[0]), 0), max(int(low[1]), 0)
    return top, left, min(int(high[1]), height), min(int(high[0]), width)


def fill_ellipse(
    centre: tuple[float, float], radii: tuple[float, float], degrees: float, size: tuple[int, int]
) -> Patch:
    """Return the pixels inside an ellipse.

    Args:
        centre: (x, y).
        radii: Along its own x and y axis.
        degrees: Turn of its x axis towards the y axis of the image, so clockwise to the eye.
        size: (height, width) of the image.
    """
    reach = max(radii)
    (x, y), (radius_x, radius_y) = centre, radii
    corners = np.array([[x - reach, y - reach], [x + reach, y + reach]])
    top, left, bottom, right = window_of(corners, size)
    if bottom <= top or right <= left or min(radii) <= 0:
        return _nothing()
    rows, columns = np.mgrid[top:bottom, left:right] + 0.5
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    across = (columns - x) * cosine + (rows - y) * sine
    down = (rows - y) * cosine - (columns - x) * sine
    return Patch(top, left, (across / radius_x) ** 2 + (down / radius_y) ** 2 <= 1)


def box_points(
    left: float, top: float, right: float, bottom: float, degrees: float = 0
) -> NDArray[np.float64]:
    """Return the corners of a box, (4, 2), turned clockwise about its middle."""
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)
    middle = corners.mean(axis=0)
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turned: NDArray[np.float64] = (corners - middle) @ np.array([[cosine, sine], [-sine, cosine]])
    return np.asarray(turned + middle)


def place(pixels: NDArray[np.bool_], top: int, left: int, size: tuple[int, int]) -> Patch:
    """Return a bitmap that lies somewhere on the image, cut to it."""
    height, width = size
    rows = slice(max(-top, 0), max(min(len(pixels), height - top), 0))
    columns = slice(max(-left, 0), max(min(pixels.shape[1], width - left), 0))
    return Patch(max(top, 0), max(left, 0), pixels[rows, columns])


def trim(pixels: NDArray[np.bool_]) -> Patch:
    """Return the smallest window that holds all pixels of an object, (H, W) of the image."""
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows):
        return _nothing()
    top, left = int(rows[0]), int(columns[0])
    return Patch(top, left, pixels[top : rows[-1] + 1, left : columns[-1] + 1].copy())


def _nothing() -> Patch:
    return Patch(0, 0, np.zeros((0, 0), bool))


def paint_regions(
    regions: Sequence[Region],
    indices: Mapping[str, int],
    size: tuple[int, int],
    *,
    overlaps: Overlaps,
    where: str,
    notes: Notes,
) -> NDArray[np.uint8]:
    """Return the mask that objects make.

    Args:
        regions: The objects, in the order of the file.
        indices: Class -> its index in the mask; `VOID` for classes that do not count. Objects of
            other classes are left out.
        size: (height, width).
        overlaps: `smaller`: the object of fewer pixels lies above; `later`: the later one; `keep`:
            a band per class holds them all. Objects without a class (`label` None) lie below all.
        where: What notes call the image.
        notes: Takes what could not be kept.

    Returns:
        Class indices, (H, W); of `keep` 0 and 1, (K, H, W), `VOID` where nothing counts.
    """
    known = [region for region in regions if region.label is None or region.label in indices]
    others = sum(1 for region in regions if region.label is not None) - sum(
        1 for region in known if region.label is not None
    )
    notes.add("objects of classes that were not asked for; they become background", where, others)
    ordered = _order(known, size, overlaps, where, notes)
    if overlaps == "keep":
        return _paint_bands(ordered, indices, size)
    target = np.zeros(size, np.uint8)
    is_taken = np.zeros(size, bool)
    num_hidden = 0
    for region, patch in ordered:
        rows = slice(patch.top, patch.top + patch.pixels.shape[0])
        columns = slice(patch.left, patch.left + patch.pixels.shape[1])
        value = VOID if region.label is None else indices[region.label]
        window, pixels = target[rows, columns], patch.pixels
        if region.label is not None:
            num_hidden += int((pixels & is_taken[rows, columns] & (window != value)).sum())
            is_taken[rows, columns] |= pixels
        window[pixels] = value
    rule = "smaller object" if overlaps == "smaller" else "later object"
    notes.add(
        f"pixels claimed by objects of different classes; the {rule} has them", where, num_hidden
    )
    return target


def _order(
    regions: Sequence[Region],
    size: tuple[int, int],
    overlaps: Overlaps,
    where: str,
    notes: Notes,
) -> Iterator[tuple[Region, Patch]]:
    """Yield objects and their pixels from the lowest to the topmost."""
    patches: list[Patch | None] = []
    areas: list[int] = []
    kept = 0
    for region in regions:
        patch = region.paint(size)
        areas.append(int(patch.pixels.sum()))
        kept += patch.pixels.nbytes
        patches.append(patch if kept <= _KEPT_BYTES else None)
    notes.add(
        "objects that cover no pixel (too small, or outside of the image); they are left out",
        where,
        areas.count(0),
    )
    order = sorted(
        range(len(regions)),
        key=lambda number: (
            regions[number].label is not None,
            -areas[number] if overlaps == "smaller" else 0,
            number,
        ),
    )
    for number in order:
        if areas[number]:
            yield regions[number], patches[number] or regions[number].paint(size)


def _paint_bands(
    ordered: Iterable[tuple[Region, Patch]], indices: Mapping[str, int], size: tuple[int, int]
) -> NDArray[np.uint8]:
    num_classes = 1 + max((index for index in indices.values() if index != VOID), default=0)
    bands = np.zeros((num_classes, *size), np.uint8)
    is_void = np.zeros(size, bool)
    for region, patch in ordered:
        rows = slice(patch.top, patch.top + patch.pixels.shape[0])
        columns = slice(patch.left, patch.left + patch.pixels.shape[1])
        index = VOID if region.label is None else indices[region.label]
        if index == VOID:
            is_void[rows, columns] |= patch.pixels
        else:
            bands[index, rows, columns] |= patch.pixels
            is_void[rows, columns] &= ~patch.pixels
    bands[:, is_void] = VOID
    return bands
