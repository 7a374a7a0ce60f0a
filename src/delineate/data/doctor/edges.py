"""How well the outlines of a mask lie on the edges of its image, by shift of the mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

REACH = 16
"""Largest shift that is tried, in pixels up, down, left and right."""

_MIN_POINTS = 60
_MAX_POINTS = 3000
_CLIP = 6.0
_LIGHT = 12


def edge_agreement(
    grey: NDArray[np.float32], labels: NDArray[Any], counted: NDArray[np.bool_] | None = None
) -> NDArray[np.float32] | None:
    """Return how strong the image's edges are under the mask's outlines, for every small shift.

    Edges are gradients over their local mean, so that a strong edge elsewhere does not outweigh
    the rest of the picture.

    Args:
        grey: The image, finite, (H, W).
        labels: Class indices, (H, W).
        counted: Pixels whose label counts, (H, W); None counts all. Outlines against pixels that
            do not count are left out.

    Returns:
        (2 REACH + 1, 2 REACH + 1); entry (REACH + dy, REACH + dx) is the mean edge under the
        outlines if the mask is moved down by dy and right by dx; 0 is an average place, in
        deviations of the picture. None where the picture is too small, or there is hardly any
        outline or edge.
    """
    height, width = labels.shape
    if min(height, width) < 4 * REACH:
        return None
    rows, cols = _outline_points(labels, counted)
    if len(rows) < _MIN_POINTS:
        return None
    edges = _edges(grey)
    if edges is None:
        return None
    inside = edges[REACH : height - REACH, REACH : width - REACH]
    edges = (edges - inside.mean()) / max(float(inside.std()), 1e-6)
    side = 2 * REACH + 1
    windows = np.lib.stride_tricks.sliding_window_view(edges, (side, side))
    return np.asarray(windows[rows - REACH, cols - REACH].mean(axis=0), np.float32)


def _outline_points(
    labels: NDArray[Any], counted: NDArray[np.bool_] | None
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of pixels on either side of outlines, not near the border."""
    on_outline = np.zeros(labels.shape, bool)
    for axis in (0, 1):
        ahead, behind = [slice(None)] * 2, [slice(None)] * 2
        ahead[axis], behind[axis] = slice(1, None), slice(None, -1)
        differs = labels[tuple(ahead)] != labels[tuple(behind)]
        if counted is not None:
            differs &= counted[tuple(ahead)] & counted[tuple(behind)]
        on_outline[tuple(ahead)] |= differs
        on_outline[tuple(behind)] |= differs
    on_outline[:REACH] = on_outline[-REACH:] = False
    on_outline[:, :REACH] = on_outline[:, -REACH:] = False
    places = np.flatnonzero(on_outline)
    # Evenly strided: neighbours on an outline say the same.
    places = places[:: max(1, -(-len(places) // _MAX_POINTS))]
    rows, cols = np.unravel_index(places, labels.shape)
    return rows, cols


def _edges(grey: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """Return the gradient over its local mean, (H, W); None for an image of one value."""
    smooth = cv2.GaussianBlur(grey, (0, 0), 1.0)
    gradient = cv2.magnitude(
        cv2.Scharr(smooth, cv2.CV_32F, 1, 0), cv2.Scharr(smooth, cv2.CV_32F, 0, 1)
    )
    mean = float(gradient.mean())
    if mean == 0 or not np.isfinite(mean):
        return None
    side = 2 * _LIGHT + 1
    return np.asarray(
        np.minimum(gradient / (cv2.blur(gradient, (side, side)) + 0.1 * mean), _CLIP), np.float32
    )
