"""Skeletons and the thickness along them, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from delineate.morphology import distance_map, skeleton
from delineate.raster_processing.components import BLOCK_SIDE, grid
from delineate.tiling import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_THICKNESS = 64
"""Thickness, in pixels, up to which skeletons are those of the whole raster."""


@dataclass(frozen=True, eq=False)
class ThinnedBlock:
    """The skeleton of a block."""

    window: Window
    thickness: NDArray[np.float32]
    """Thickness in pixels on the skeleton, 0 off it, (height, width)."""
    num_thick: int
    """Pixels farther inside than half of the thickness up to which the skeleton is exact."""


def thin_blocks(
    read: Callable[[Window], NDArray[Any]],
    height: int,
    width: int,
    *,
    max_thickness: int = MAX_THICKNESS,
    block_side: int = BLOCK_SIDE,
) -> Iterator[ThinnedBlock]:
    """Yield the skeleton of a mask, block by block, equal to `skeleton` of the whole.

    Thinning takes a layer of pixels off each side in turn, and what happens at a pixel depends on
    its neighbours in the turn before. A halo of twice the thickness is more than the turns that
    parts of this thickness need. Parts that are thicker still get a skeleton, which may depend on
    the blocks; `num_thick` tells where.

    Args:
        read: Gives the mask of a window, non-zero inside.
        height: Rows of the raster.
        width: Columns of the raster.
        max_thickness: In pixels.
        block_side: Height and width of the blocks.
    """
    halo = 2 * max_thickness + 4
    for window in grid(height, width, block_side):
        row, col = max(0, window.row - halo), max(0, window.col - halo)
        bottom = min(height, window.row + window.height + halo)
        right = min(width, window.col + window.width + halo)
        inside = read(Window(row, col, bottom - row, right - col)) != 0
        row, col = window.row - row, window.col - col
        inner = slice(row, row + window.height), slice(col, col + window.width)
        if not inside[inner].any():
            blank = np.zeros((window.height, window.width), np.float32)
            yield ThinnedBlock(window, blank, 0)
            continue
        # Beyond the crop, at the raster's border too, lies what is inside: unknown is not a border.
        distances = np.minimum(distance_map(inside), np.float32(2 * halo))
        lines = skeleton(inside)[inner]
        thickness = np.where(lines, thickness_at(distances)[inner], np.float32(0))
        num_thick = int((distances[inner] > max_thickness / 2 + 1).sum())
        yield ThinnedBlock(window, thickness, num_thick)


def thickness_at(distances: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the thickness of a part at the pixels of its skeleton.

    Args:
        distances: To the nearest pixel outside, (H, W), as `distance_map` gives them.

    Returns:
        (H, W) in pixels. Across a line of an odd number of pixels the distances around the middle
        are k, k + 1, k, for an even number k - 1, k, k: twice their mean, and a half, is 1/6 off.
    """
    means = cv2.blur(distances, (3, 3), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(2 * means + np.float32(0.5), dtype=np.float32)
