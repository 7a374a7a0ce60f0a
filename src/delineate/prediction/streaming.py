"""Compute the probabilities of a raster band by band, in memory that its size does not change.

The raster is cut into strips of bounded width, each strip into bands, the rows that a row of tiles
makes final. Three things run at once, on threads of their own: reading and normalising tiles, the
network, for several tiles where they share the cores, and blending, which is the caller's thread,
so that what the caller does with a band runs beside the network too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from delineate.prediction.ahead import ahead
from delineate.prediction.predictor import add_tile, as_batch
from delineate.prediction.seams import SeamMeter, SeamSums
from delineate.prediction.strips import Strip
from delineate.prediction.tile_workers import side_by_side
from delineate.tiling import Span, TilePlan, Window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from delineate.preprocessing import Preprocessing

    TileProbs = Callable[[NDArray[np.float32]], NDArray[np.float32]]
    """Normalised tiles (B, in_channels, h, w) in, probabilities (B, num_classes, h, w) out."""

BATCHES_AHEAD = 2
"""Batches that may wait between two of the threads."""


class WindowSource(Protocol):
    """A raster that is read by windows, such as a `RasterReader`."""

    @property
    def height(self) -> int:
        """Rows."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the pixels."""

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Return pixels (h, w, C) and which of them hold data, (h, w)."""


@dataclass(frozen=True, eq=False)
class Band:
    """A part of the raster whose probabilities are final."""

    strip: int
    row: int
    """Number of the strip and of the row of tiles."""
    window: Window
    """Where it lies in the raster."""
    probs: NDArray[np.float32]
    """(num_classes, height, width) in [0, 1]; overwritten when the next band is asked for."""
    valid: NDArray[np.bool_]
    """Pixels that hold data, (height, width); the others' probabilities mean nothing."""
    seams: SeamSums
    """How far neighbouring tiles of this row, and of it and the row above, disagree."""


@dataclass(eq=False)
class _Batch:
    """Tiles of one row and one shape."""

    strip: int
    row: int
    cols: list[int]
    """Numbers of the columns of tiles within the strip."""
    arrays: NDArray[np.float32]
    """The normalised tiles, then their probabilities."""


@dataclass(frozen=True, eq=False)
class _RowEnd:
    """All tiles of a row have been given out."""

    strip: int
    row: int
    valid: NDArray[np.bool_]
    """Of the pixels that the row's tiles see."""
    num_skipped: int


def stream_bands(
    tile_probs: TileProbs,
    source: WindowSource,
    preprocessing: Preprocessing,
    plan: TilePlan,
    strips: Sequence[Strip],
    *,
    num_classes: int,
    batch_size: int = 1,
    num_workers: int = 1,
    first: tuple[int, int] = (0, 0),
    on_tiles: Callable[[int], None] | None = None,
) -> Iterator[Band]:
    """Yield the bands of a raster, strip by strip and from top to bottom.

    Tiles without any data are not computed. A band is the same whatever `first` is.

    Args:
        tile_probs: Anything that computes probabilities, such as `Predictor.tile_probs`.
        source: The raster.
        preprocessing: Fixed for the whole raster, as `Preprocessing.for_windows` returns it.
        plan: The tiles.
        strips: Of that plan.
        num_classes: Channels of the probabilities.
        batch_size: Tiles in a batch.
        num_workers: Batches computed at once.
        first: Strip and row of tiles of the first band that is wanted.
        on_tiles: Called with the number of tiles done since the last call, skipped ones included.

    Raises:
        Whatever `tile_probs` and `source.read` raise.
    """
    batches = _read_batches(source, preprocessing, plan, strips, batch_size, first)
    read = ahead(batches, BATCHES_AHEAD)
    computed = side_by_side(_computing(tile_probs), read, num_workers, BATCHES_AHEAD)
    # Workers have threads of their own; one worker is to compute beside the blending too.
    events = computed if num_workers > 1 else ahead(computed, BATCHES_AHEAD)
    blender = None
    # One for all strips: two at once would be the peak of the memory.
    height = max(row.kept_stop - row.kept_start for row in plan.rows)
    room = np.empty((num_classes, height, max(s.stop - s.start for s in strips)), np.float32)
    with closing(read), closing(events):
        for event in events:
            if blender is None or blender.number != event.strip:
                blender = _Blender(event.strip, strips[event.strip], plan, event.row, room)
            is_wanted = (event.strip, event.row) >= first
            if isinstance(event, _Batch):
                blender.add(event)
                num_done = len(event.cols)
            else:
                band = blender.finish(event)
                num_done = event.num_skipped
                if is_wanted:
                    yield band
                blender.move()
            if on_tiles is not None and is_wanted:
                on_tiles(num_done)


def _read_batches(
    source: WindowSource,
    preprocessing: Preprocessing,
    plan: TilePlan,
    strips: Sequence[Strip],
    batch_size: int,
    first: tuple[int, int],
) -> Iterator[_Batch | _RowEnd]:
    for number, strip in enumerate(strips):
        if number < first[0]:
            continue
        start = plan.rows[first[1] if number == first[0] else 0].kept_start
        rows = _Rows(source, strip.left, strip.right - strip.left)
        for index, row in enumerate(plan.rows):
            # Rows of tiles above the first wanted band are computed again if they reach into it.
            if row.kept_stop <= start:
                continue
            rows.move(row.start, row.stop)
            num_skipped = 0
            batch: list[int] = []
            for col_number, col in enumerate(strip.cols):
                place = (slice(None), slice(col.start - strip.left, col.stop - strip.left))
                if not rows.valid[place].any():
                    num_skipped += 1
                    continue
                is_full = len(batch) == batch_size
                if batch and (is_full or _width(strip.cols[batch[0]]) != _width(col)):
                    yield rows.cut(preprocessing, number, index, strip, batch)
                    batch = []
                batch.append(col_number)
            if batch:
                yield rows.cut(preprocessing, number, index, strip, batch)
            yield _RowEnd(number, index, rows.valid, num_skipped)


def _width(span: Span) -> int:
    return span.stop - span.start


class _Rows:
    """The rows of a strip that a row of tiles sees; each is read once."""

    def __init__(self, source: WindowSource, left: int, width: int) -> None:
        self.source = source
        self.left, self.width = left, width
        self.start = self.stop = 0
        self.pixels: NDArray[Any] = np.zeros((0, 0, 0))
        self.valid = np.zeros((0, 0), dtype=bool)

    def move(self, start: int, stop: int) -> None:
        """Hold the rows from `start` to `stop`, neither of which is above those held so far."""
        held = max(self.stop, start)
        window = Window(held, self.left, stop - held, self.width)
        pixels, valid = self.source.read(window)
        if held > start:
            kept = slice(start - self.start, None)
            pixels = np.concatenate([self.pixels[kept], pixels])
            valid = np.concatenate([self.valid[kept], valid])
        self.pixels, self.valid = pixels, valid
        self.start, self.stop = start, stop

    def cut(
        self, preprocessing: Preprocessing, number: int, row: int, strip: Strip, cols: list[int]
    ) -> _Batch:
        tiles = []
        for col in cols:
            left, right = strip.cols[col].start - self.left, strip.cols[col].stop - self.left
            valid = self.valid[:, left:right]
            pixels = self.pixels[:, left:right]
            tiles.append(preprocessing.network_input(pixels, None if valid.all() else valid))
        return _Batch(number, row, cols, as_batch(tiles))


def _computing(
    tile_probs: TileProbs,
) -> Callable[[_Batch | _RowEnd], _Batch | _RowEnd]:
    """Return what puts the probabilities in the place of a batch's tiles."""

    def compute(event: _Batch | _RowEnd) -> _Batch | _RowEnd:
        if isinstance(event, _Batch):
            event.arrays = tile_probs(event.arrays)
        return event

    return compute


class _Blender:
    """Sums the shares of a strip's tiles; holds the rows that are not final."""

    def __init__(
        self,
        number: int,
        strip: Strip,
        plan: TilePlan,
        first_row: int,
        room: NDArray[np.float32],
    ) -> None:
        self.number = number
        self.strip = strip
        self.plan = plan
        self.top = plan.rows[first_row].kept_start
        self.sums = room[:, :, : strip.stop - strip.start]
        self.sums[:] = 0
        self.meter = SeamMeter(plan.rows, strip.cols)
        self.num_final = 0

    def add(self, batch: _Batch) -> None:
        row = self.plan.rows[batch.row]
        for col, probs in zip(batch.cols, batch.arrays, strict=True):
            origin = (self.top, self.strip.start)
            add_tile(self.sums, probs, row, self.strip.cols[col], origin)
            self.meter.add(batch.row, col, probs)

    def finish(self, end: _RowEnd) -> Band:
        rows = self.plan.rows
        is_last = end.row + 1 == len(rows)
        bottom = rows[-1].kept_stop if is_last else rows[end.row + 1].kept_start
        self.num_final = bottom - self.top
        probs = self.sums[:, : self.num_final]
        # A weighted mean of probabilities may leave [0, 1] by a rounding.
        np.minimum(probs, 1, out=probs)
        first_row = self.top - rows[end.row].start
        first_col = self.strip.start - self.strip.left
        width = self.strip.stop - self.strip.start
        return Band(
            self.number,
            end.row,
            Window(self.top, self.strip.start, self.num_final, width),
            probs,
            end.valid[first_row : first_row + self.num_final, first_col : first_col + width],
            self.meter.take(end.valid, end.row, self.strip.left),
        )

    def move(self) -> None:
        """Drop the rows that were final."""
        num_left = self.sums.shape[1] - self.num_final
        self.sums[:, :num_left] = self.sums[:, self.num_final :]
        self.sums[:, num_left:] = 0
        self.top += self.num_final
