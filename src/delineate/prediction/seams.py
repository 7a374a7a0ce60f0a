"""Measure how far neighbouring tiles disagree where one hands over to the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from delineate.tiling import Span

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class SeamSums:
    """Absolute differences between two tiles' probabilities of the same pixel, along the seams."""

    count: int = 0
    """Number of probabilities compared."""
    total: float = 0.0
    """Sum of the differences."""
    largest: float = 0.0
    """Largest difference."""

    def __add__(self, other: SeamSums) -> SeamSums:
        """Return the sums over both."""
        return SeamSums(
            self.count + other.count, self.total + other.total, max(self.largest, other.largest)
        )

    @property
    def mean(self) -> float | None:
        """Mean difference; None where no tiles overlap."""
        return self.total / self.count if self.count else None


class SeamMeter:
    """Compares the tiles of a strip, which come row by row and from left to right.

    Two neighbours are compared along the line of pixels where the second begins to be the nearer
    one, as far as those pixels are their own along the other axis.
    """

    def __init__(self, rows: Sequence[Span], cols: Sequence[Span]) -> None:
        """Take the rows and columns of tiles."""
        self._rows = rows
        self._cols = cols
        self._left: tuple[int, int, NDArray[np.float32]] | None = None
        self._above: dict[int, tuple[int, NDArray[np.float32]]] = {}
        self._pairs: list[tuple[slice, slice, NDArray[np.float32]]] = []

    def add(self, row: int, col: int, probs: NDArray[np.float32]) -> None:
        """Compare a tile's probabilities, (C, h, w), with those of its neighbours before it."""
        rows, cols = self._rows[row], self._cols[col]
        own_rows = slice(rows.own_start - rows.start, rows.own_stop - rows.start)
        own_cols = slice(cols.own_start - cols.start, cols.own_stop - cols.start)
        if self._left is not None and self._left[:2] == (row, col - 1):
            line = probs[:, own_rows, cols.own_start - cols.start]
            self._compare(
                slice(rows.own_start, rows.own_stop),
                slice(cols.own_start, cols.own_start + 1),
                line - self._left[2],
            )
        above = self._above.pop(col, None)
        if above is not None and above[0] == row - 1:
            line = probs[:, rows.own_start - rows.start, own_cols]
            self._compare(
                slice(rows.own_start, rows.own_start + 1),
                slice(cols.own_start, cols.own_stop),
                line - above[1],
            )
        self._left = None
        if cols.own_stop < cols.stop and col + 1 < len(self._cols):
            self._left = (row, col, probs[:, own_rows, cols.own_stop - cols.start].copy())
        if rows.own_stop < rows.stop and row + 1 < len(self._rows):
            self._above[col] = (row, probs[:, rows.own_stop - rows.start, own_cols].copy())

    def take(self, valid: NDArray[np.bool_], row: int, left: int) -> SeamSums:
        """Return the sums since the last call.

        Args:
            valid: Pixels that count, of the rows that the tiles of `row` see, from column `left`.
            row: The row of tiles that has just been added.
            left: First column of `valid`.
        """
        top = self._rows[row].start
        sums = SeamSums()
        for rows, cols, differences in self._pairs:
            counted = valid[
                rows.start - top : rows.stop - top, cols.start - left : cols.stop - left
            ].ravel()
            values = np.abs(differences[:, counted])
            if values.size:
                total = float(values.sum(dtype=np.float64))
                sums += SeamSums(values.size, total, float(values.max()))
        self._pairs = []
        return sums

    def _compare(self, rows: slice, cols: slice, differences: NDArray[np.float32]) -> None:
        self._pairs.append((rows, cols, differences))
