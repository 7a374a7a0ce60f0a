"""How far the predicted boundary runs from the true one: distances, surface Dice, boundary IoU.

The surface of a mask is the set of its pixels that have a side neighbour outside; what lies beyond
the image is outside. Distances run from pixel centre to pixel centre, between surface pixels, so a
boundary that is off by one pixel has the distance 1. They are exact: whole numbers of pixels are
compared, in both directions, and multiplied by the spacing last.

Where one of the two masks is empty there is no distance, whatever the other looks like: distances
are None, surface Dice and boundary IoU are 0. Where both are, all are None. Missed objects are
counted by `delineate.metrics.objects` and shown beside, so that missing one improves nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from delineate.errors import UsageError
from delineate.metrics.classes import check_masks, window_of_both

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.metrics.confusion import Scores

    FloatArray = NDArray[np.float64]

BOUNDARY_DISTANCES = ("hausdorff_distance", "hd95", "average_surface_distance")
"""Distances, in pixels or in the unit of the spacing; better when lower."""

BOUNDARY_SCORES = (*BOUNDARY_DISTANCES, "surface_dice", "boundary_iou")
"""What `boundary_scores` returns."""

BAND_FRACTION = 0.02
"""Width of the band of boundary IoU as a part of the image's diagonal, as in its paper."""

_LOOKUPS_PER_PIXEL = 1  # of the rectangle; past that a tree of the goal finds the rest sooner
_FREE_LOOKUPS = 2**16  # never worth a tree


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two surfaces, both with at least one pixel, in the unit of the spacing."""

    from_mask: FloatArray
    """Of each surface pixel of the prediction to the nearest one of the target."""
    from_target: FloatArray
    """Of each surface pixel of the target to the nearest one of the prediction."""

    def hausdorff(self, percentile: float = 100.0) -> float:
        """Return the larger of the two directed distances at a percentile, 100 being the maximum.

        Percentiles are interpolated linearly between the two nearest ranks.

        Raises:
            UsageError: If the percentile is not in [0, 100].
        """
        if not 0 <= percentile <= 100:
            raise UsageError(f"a percentile lies between 0 and 100, got {percentile}")
        directed = (self.from_mask, self.from_target)
        return max(float(np.percentile(distances, percentile)) for distances in directed)

    @property
    def average(self) -> float:
        """The mean over the surface pixels of both masks together."""
        total = float(self.from_mask.sum()) + float(self.from_target.sum())
        return total / (self.from_mask.size + self.from_target.size)

    def dice(self, tolerance: float) -> float:
        """Return the share of both surfaces that lies within `tolerance` of the other one.

        Three pixels of 0.1 mm are within 0.3 mm, although 3 * 0.1 > 0.3 in floating point.
        """
        limit = tolerance * (1 + 1e-12)
        near = np.count_nonzero(self.from_mask <= limit)
        near += np.count_nonzero(self.from_target <= limit)
        return float(near / (self.from_mask.size + self.from_target.size))


def surface_distances(
    mask: NDArray[Any], target: NDArray[Any], spacing: tuple[float, float] | None = None
) -> SurfaceDistances | None:
    """Return the distances between the surfaces of two masks; None if one of them is empty.

    Args:
        mask: Prediction, (H, W), non-zero inside.
        target: Truth, (H, W), non-zero inside.
        spacing: Height and width of a pixel in the unit wanted; None counts pixels.

    Raises:
        ShapeError: If the shapes differ or are not (H, W).
        UsageError: If the spacing is not two positive numbers.
    """
    return _distances(_cropped(mask, target, spacing), spacing)


def _distances(pair: _Pair | None, spacing: tuple[float, float] | None) -> SurfaceDistances | None:
    if pair is None or not (pair.mask.any() and pair.target.any()):
        return None
    surfaces = _surface(pair.mask), _surface(pair.target)
    height, width = (1.0, 1.0) if spacing is None else spacing
    # Equal sides are whole squares of pixels until the very end.
    scale, sides = (height, (1.0, 1.0)) if height == width else (1.0, (height, width))
    return SurfaceDistances(
        scale * _distances_between(surfaces[0], surfaces[1], sides),
        scale * _distances_between(surfaces[1], surfaces[0], sides),
    )


def hausdorff_distance(
    mask: NDArray[Any],
    target: NDArray[Any],
    spacing: tuple[float, float] | None = None,
    *,
    percentile: float = 100.0,
) -> float | None:
    """Return the (percentile) Hausdorff distance; None if a mask is empty (`surface_distances`)."""
    distances = surface_distances(mask, target, spacing)
    return None if distances is None else distances.hausdorff(percentile)


def boundary_iou(
    mask: NDArray[Any],
    target: NDArray[Any],
    spacing: tuple[float, float] | None = None,
    *,
    width: float | None = None,
) -> float | None:
    """Return the IoU of the two masks' inner bands along their boundaries, in [0, 1].

    A pixel of a mask is in its band if the outside is within `width` pixels, rows and columns
    counted apart (https://arxiv.org/abs/2103.16562 and its authors' code, which it equals).

    Args:
        mask: Prediction, (H, W), non-zero inside.
        target: Truth, (H, W), non-zero inside.
        spacing: Height and width of a pixel in the unit of `width`; None counts pixels.
        width: Of the band; None takes `BAND_FRACTION` of the image's diagonal in pixels. At least
            a pixel is taken in each direction.

    Returns:
        None if both masks are empty.

    Raises:
        ShapeError: If the shapes differ or are not (H, W).
        UsageError: If the spacing or the width is not positive.
    """
    reach = _band_reach(mask, spacing, width)
    return _band_iou(_cropped(mask, target, spacing), reach)


def _band_reach(
    mask: NDArray[Any], spacing: tuple[float, float] | None, width: float | None
) -> list[int]:
    if width is None:
        width, spacing = BAND_FRACTION * math.hypot(*mask.shape), None
    if not width > 0:
        raise UsageError(f"the band of boundary IoU needs a positive width, got {width}")
    return [max(1, round(width / side)) for side in spacing or (1.0, 1.0)]


def _band_iou(pair: _Pair | None, reach: list[int]) -> float | None:
    if pair is None:
        return None
    kernel = np.ones([2 * steps + 1 for steps in reach], dtype=np.uint8)
    bands = [inside & (1 - _eroded(inside, kernel)) for inside in (pair.mask, pair.target)]
    union = np.count_nonzero(bands[0] | bands[1])
    return np.count_nonzero(bands[0] & bands[1]) / union


def boundary_scores(
    mask: NDArray[Any],
    target: NDArray[Any],
    spacing: tuple[float, float] | None = None,
    *,
    tolerance: float | None = None,
    width: float | None = None,
) -> Scores:
    """Return `BOUNDARY_SCORES` of one class in one image.

    Args:
        mask: Prediction, (H, W), non-zero inside.
        target: Truth, (H, W), non-zero inside.
        spacing: Height and width of a pixel in the unit wanted; None counts pixels.
        tolerance: Of the surface Dice, in that unit; None takes two pixels (of the longer side).
        width: Of the band of boundary IoU, in that unit; None as in `boundary_iou`.

    Raises:
        ShapeError: If the shapes differ or are not (H, W).
        UsageError: If the spacing, the tolerance or the width is out of range.
    """
    if tolerance is not None and not tolerance >= 0:
        raise UsageError(f"the tolerance of surface Dice must be 0 or more, got {tolerance}")
    pair = _cropped(mask, target, spacing)
    overlap = _band_iou(pair, _band_reach(mask, spacing, width))
    distances = _distances(pair, spacing)
    if distances is None:
        found: list[float | None] = [None, None, None, None if overlap is None else 0.0]
    else:
        if tolerance is None:
            tolerance = 2.0 if spacing is None else 2.0 * max(spacing)
        found = [
            distances.hausdorff(),
            distances.hausdorff(95.0),
            distances.average,
            distances.dice(tolerance),
        ]
    return dict(zip(BOUNDARY_SCORES, [*found, overlap], strict=True))


class _Pair(NamedTuple):
    mask: NDArray[np.uint8]
    target: NDArray[np.uint8]


def _cropped(
    mask: NDArray[Any], target: NDArray[Any], spacing: tuple[float, float] | None
) -> _Pair | None:
    """Return both masks as 0 and 1, cut to the rectangle that holds them; None if both are empty.

    Nothing is inside beyond the rectangle, as nothing is beyond the image.
    """
    check_masks(mask, target)
    if spacing is not None and not (
        len(spacing) == 2 and all(0 < side < np.inf for side in spacing)
    ):
        raise UsageError(f"the spacing must be the height and width of a pixel, got {spacing}")
    window = window_of_both(mask, target)
    pair = _Pair(*(np.asarray(m[window] != 0).view(np.uint8) for m in (mask, target)))
    return pair if pair.mask.size else None


def _eroded(inside: NDArray[np.uint8], kernel: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(
        cv2.erode(inside, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0), dtype=np.uint8
    )


def _surface(inside: NDArray[np.uint8]) -> NDArray[np.bool_]:
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], dtype=np.uint8)
    return np.asarray(inside != _eroded(inside, cross))


def _distances_between(
    start: NDArray[np.bool_], goal: NDArray[np.bool_], sides: tuple[float, float]
) -> FloatArray:
    """Return each start pixel's distance to the nearest goal pixel, row by row.

    The nearest goal pixel of each column is known from `_column_distances`; from a start pixel,
    columns are looked at from near to far until they alone are farther than the best so far. That
    is a few look-ups per pixel where the surfaces are near each other, as they mostly are. Where
    they are not, a k-d tree finds the rest.
    """
    heights = _column_distances(goal).ravel()
    at_row, at_col = np.divmod(np.flatnonzero(start), start.shape[1])
    at_row *= start.shape[1]
    below = np.square(np.append(np.arange(start.shape[0]) * sides[0], np.inf))
    pixels = np.arange(at_row.size)
    squares = below[heights[at_row + at_col]]
    best = squares.copy()
    step, lookups_left = 0, max(_LOOKUPS_PER_PIXEL * start.size, _FREE_LOOKUPS)
    while True:
        step += 1
        aside = (step * sides[1]) ** 2
        is_open = best > aside
        if not is_open.all():
            squares[pixels] = best
            pixels, at_row, at_col, best = (a[is_open] for a in (pixels, at_row, at_col, best))
        if not pixels.size:
            return np.asarray(np.sqrt(squares))
        lookups_left -= 2 * pixels.size
        if lookups_left < 0:
            break
        for beside in (np.maximum(at_col - step, 0), np.minimum(at_col + step, start.shape[1] - 1)):
            # Beyond the rectangle its last column is meant, which is nearer than `aside` says.
            np.minimum(best, aside + below[heights[at_row + beside]], out=best)

    from scipy.spatial import KDTree  # rarely needed

    points, goals = np.stack([at_row // start.shape[1], at_col], axis=1), np.argwhere(goal)
    nearest = KDTree(goals * sides, leafsize=32).query(points * sides)[1]
    # from whole pixels again, as the tree's coordinates are rounded
    squares[pixels] = np.square((points - goals[nearest]) * sides).sum(axis=1)
    return np.asarray(np.sqrt(squares))


def _column_distances(goal: NDArray[np.bool_]) -> NDArray[np.integer[Any]]:
    """Return the rows from each pixel to the nearest goal pixel of its column.

    Where a column has none, it is the number of all rows.
    """
    height = goal.shape[0]
    dtype = np.int16 if height < np.iinfo(np.int16).max else np.int32
    rows = np.where(goal, dtype(0), dtype(height))
    for row in range(1, height):
        np.minimum(rows[row], rows[row - 1] + dtype(1), out=rows[row])
    for row in range(height - 2, -1, -1):
        np.minimum(rows[row], rows[row + 1] + dtype(1), out=rows[row])
    return rows
