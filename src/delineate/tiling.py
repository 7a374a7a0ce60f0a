"""Windows that cover an image, and the weights with which overlapping tiles are blended.

Numbers only: no torch, no files. A tile never leaves the image. Along an axis shorter than the
tile there is one window of the image's own size; else the last tile is moved inward until it ends
at the border.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from delineate.errors import ShapeError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Blend = Literal["gaussian", "average"]

_SIGMAS_PER_TILE = 8.0


@dataclass(frozen=True, order=True)
class Window:
    """A rectangle of pixels: its first row and column, its height and width."""

    row: int
    col: int
    height: int
    width: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and the columns, to index the last two axes of an array."""
        return (
            slice(self.row, self.row + self.height),
            slice(self.col, self.col + self.width),
        )


def _starts(length: int, tile: int, overlap: float, multiple: int) -> list[int]:
    if length <= tile:
        return [0]
    # The small term undoes the rounding of products such as 10 * (1 - 0.9).
    step = max(1, math.floor(tile * (1.0 - overlap) + 1e-9))
    if step > multiple:
        step -= step % multiple
    last = length - tile
    return [*range(0, last, step), last]


def tile_windows(
    height: int, width: int, tile_size: tuple[int, int], overlap: float, *, multiple: int = 1
) -> list[Window]:
    """Return windows that cover every pixel of an image, row by row.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        tile_size: Height and width of a tile, in pixels.
        overlap: Least share of a tile that it has in common with its neighbour, in [0, 1).
        multiple: Tiles start at multiples of this (the network's stride) where their step is
            longer, except the last of a row or column; the overlap grows by less than this.

    Returns:
        Windows of one and the same size, sorted by row, then column.

    Raises:
        ShapeError: If the image has no pixels.
        UsageError: If the tile has no pixels or `overlap` is outside [0, 1).
    """
    if height < 1 or width < 1:
        raise ShapeError(f"an image of {height}x{width} pixels has nothing to cover")
    if min(tile_size) < 1:
        raise UsageError(f"tile size is {tile_size[0]}x{tile_size[1]}; it must be at least 1x1")
    if not 0 <= overlap < 1:
        raise UsageError(f"overlap is {overlap}; it must be at least 0 and below 1")
    rows = _starts(height, tile_size[0], overlap, multiple)
    cols = _starts(width, tile_size[1], overlap, multiple)
    size = min(height, tile_size[0]), min(width, tile_size[1])
    return [Window(row, col, *size) for row in rows for col in cols]


def blend_weights(tile_size: tuple[int, int], kind: Blend = "gaussian") -> NDArray[np.float32]:
    """Return the weight of each pixel of a tile, (height, width), in (0, 1].

    ``gaussian`` trusts the middle of a tile most; its standard deviation is an eighth of the side.
    ``average`` weighs all alike.

    Raises:
        UnknownNameError: If `kind` is neither.
    """
    if kind == "average":
        return np.ones(tile_size, dtype=np.float32)
    if kind != "gaussian":
        raise UnknownNameError("blend", str(kind), list(get_args(Blend)))
    bells = []
    for side in tile_size:
        offsets = np.arange(side) - (side - 1) / 2
        bells.append(np.exp(-0.5 * (offsets * _SIGMAS_PER_TILE / side) ** 2))
    return np.multiply.outer(*bells).astype(np.float32)
