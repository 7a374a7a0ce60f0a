"""Windows that cover an image, and the weights with which overlapping tiles are blended.

Numbers only: no torch, no files. A tile never leaves the image. Along an axis shorter than the
tile there is one window of the image's own size; else the last tile is moved inward until it ends
at the border.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from delineate.errors import ShapeError, UnknownNameError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Blend = Literal["gaussian", "average"]
Tiling = Literal["blended", "exact"]

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

    def within(self, other: Window) -> Window:
        """Return the same place, counted from the first pixel of another window."""
        return Window(self.row - other.row, self.col - other.col, self.height, self.width)


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
    _check_tiles(height, width, tile_size, overlap)
    rows = _starts(height, tile_size[0], overlap, multiple)
    cols = _starts(width, tile_size[1], overlap, multiple)
    size = min(height, tile_size[0]), min(width, tile_size[1])
    return [Window(row, col, *size) for row in rows for col in cols]


def _check_tiles(height: int, width: int, tile_size: tuple[int, int], overlap: float) -> None:
    if height < 1 or width < 1:
        raise ShapeError(f"an image of {height}x{width} pixels has nothing to cover")
    if min(tile_size) < 1:
        raise UsageError(f"tile size is {tile_size[0]}x{tile_size[1]}; it must be at least 1x1")
    if not 0 <= overlap < 1:
        raise UsageError(f"overlap is {overlap}; it must be at least 0 and below 1")


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
    return np.multiply.outer(*(_bell(side) for side in tile_size)).astype(np.float32)


def _bell(side: int) -> NDArray[np.float64]:
    offsets = np.arange(side) - (side - 1) / 2
    return np.exp(-0.5 * (offsets * _SIGMAS_PER_TILE / side) ** 2)


def least_exact_tile(halo: int, stride: int) -> int:
    """Return the least side of a tile for exact tiling, in pixels.

    Four halos, so that half of a side is the tile's own; where the halo is less than the stride,
    what is left between two halos must still hold a step.
    """
    return max(4 * halo, 2 * (halo + stride))


@dataclass(frozen=True, eq=False)
class Span:
    """What a tile covers along one axis, and what its result there is worth.

    All positions are pixels of the image; stops are not included.
    """

    start: int
    stop: int
    """The network sees the pixels from `start` to `stop`."""
    kept_start: int
    kept_stop: int
    """Its result goes into these pixels; blended tiles keep all that they see."""
    own_start: int
    own_stop: int
    """Pixels nearer to the middle of this tile than of any other; no pixel is two tiles' own."""
    shares: NDArray[np.float32] | None = None
    """Share of this tile in each kept pixel; over all tiles they sum to 1. None: it is all."""


@dataclass(frozen=True, eq=False)
class TilePlan:
    """The tiles of an image: each span of rows with each span of columns.

    Shares of rows and columns multiply. Only the spans are held, so that the plan of a raster of
    10^6 x 10^6 pixels is small.
    """

    tiling: Tiling
    rows: tuple[Span, ...]
    cols: tuple[Span, ...]

    @property
    def num_tiles(self) -> int:
        """Number of tiles that cover the image once."""
        return len(self.rows) * len(self.cols)


def plan_tiles(
    height: int,
    width: int,
    tile_size: tuple[int, int],
    tiling: Tiling,
    *,
    overlap: float = 0.25,
    blend: Blend = "gaussian",
    stride: int = 1,
    halo: int = 0,
) -> TilePlan:
    """Return the tiles that cover an image.

    ``blended`` tiles are those of `tile_windows`, weighted as by `blend_weights`. ``exact`` tiles
    start at multiples of the stride and give only the pixels that are further than the halo from a
    cut, so that a local network computes the same as on the whole image; the last tile of an axis
    is cut so that it ends where the image ends, as the padding there is part of the result.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        tile_size: Height and width of a tile, in pixels.
        tiling: Which of the two.
        overlap: Least share of a tile in common with its neighbour; of blended tiles only.
        blend: How overlapping tiles are weighted; of blended tiles only.
        stride: The network's stride, in pixels.
        halo: How far the network sees, in pixels; of exact tiles only.

    Raises:
        ShapeError: If the image has no pixels.
        UsageError: If an argument is out of its range, or exact tiles are less than four halos
            high or wide.
    """
    _check_tiles(height, width, tile_size, overlap)
    if tiling == "exact":
        if min(tile_size) < least_exact_tile(halo, stride):
            raise UsageError(
                f"exact tiling with a halo of {halo} pixels takes tiles of at least "
                f"{least_exact_tile(halo, stride)} pixels a side, not "
                f"{tile_size[0]}x{tile_size[1]}; choose larger tiles or --tiling blended"
            )
        axes = [
            _exact_spans(length, tile, stride, halo)
            for length, tile in zip((height, width), tile_size, strict=True)
        ]
        return TilePlan("exact", *axes)
    rows, cols = (
        _blended_spans(_starts(length, tile, overlap, stride), min(length, tile), blend)
        for length, tile in zip((height, width), tile_size, strict=True)
    )
    return TilePlan("blended", rows, cols)


def _blended_spans(starts: list[int], side: int, blend: Blend) -> tuple[Span, ...]:
    weights = blend_weights((side, 1), blend)[:, 0].astype(np.float64)
    totals = np.zeros(starts[-1] + side)
    for start in starts:
        totals[start : start + side] += weights
    # Where one tile hands over to the next: the middle of what they share.
    cuts = [0, *((left + side + right) // 2 for left, right in pairwise(starts)), len(totals)]
    return tuple(
        Span(
            *(start, start + side, start, start + side),
            *(cuts[index], cuts[index + 1]),
            (weights / totals[start : start + side]).astype(np.float32),
        )
        for index, start in enumerate(starts)
    )


def _exact_spans(length: int, tile: int, stride: int, halo: int) -> tuple[Span, ...]:
    tile -= tile % stride
    if length <= tile:
        starts = [0]
    else:
        # One pixel more than two halos is shared, for the tiles to be compared where they meet.
        step = tile - 2 * halo - 1
        step -= step % stride
        last = -(-(length - tile) // stride) * stride
        starts = [*range(0, last, step), last]
    cuts = [0, *(start + halo for start in starts[1:]), length]
    return tuple(
        Span(start, min(start + tile, length), *(first, stop) * 2)
        for start, (first, stop) in zip(starts, pairwise(cuts), strict=True)
    )
