"""What the two families of pixel sums share: the per-pixel loss and the walk over blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor


class PixelTerm(NamedTuple):
    """A per-pixel loss: error^gamma x cross-entropy, with smoothed labels.

    The error is 1 minus the probability of the true label, and the loss of a pixel ::

        weight (error^gamma (-log(1 - error)) + label_smoothing (z_true - mean_k z_k))

    where z are the logits of the labels to choose from (z and 0 for a channel on its own), and the
    weight is `positive_weight` or `negative_weight` by the label, or 1 where classes exclude each
    other. For gamma = 0 this is the cross-entropy with `label_smoothing` of the target spread
    evenly over the labels.
    """

    gamma: float = 0.0
    label_smoothing: float = 0.0
    positive_weight: float = 1.0
    negative_weight: float = 1.0

    def focus(self, error: Tensor, entropy: Tensor, out: Tensor) -> Tensor:
        """Return error^gamma x entropy, written into `out`."""
        if self.gamma == 0:
            return out.copy_(entropy)
        return torch.pow(error, self.gamma, out=out).mul_(entropy)

    def differentiate(self, error: Tensor, entropy: Tensor, work: Tensor) -> Tensor:
        """Return the derivative of `focus` to the logit of the error, written into `entropy`.

        error^gamma (gamma (1 - error) entropy + error) has no exponent gamma - 1, which would be
        infinite at error 0 where gamma < 1. `work` is overwritten.
        """
        if self.gamma == 0:
            return entropy.copy_(error)
        torch.addcmul(entropy, entropy, error, value=-1.0, out=entropy)
        torch.add(error, entropy, alpha=self.gamma, out=entropy)
        return entropy.mul_(torch.pow(error, self.gamma, out=work))


class Block(NamedTuple):
    """A part of a (rows, [channels,] columns) tensor."""

    rows: slice
    columns: slice
    num_rows: int
    num_columns: int

    def view(self, buffer: Tensor) -> Tensor:
        """Return the beginning of a (rows, [channels,] columns) buffer, as large as this block."""
        return buffer[: self.num_rows, ..., : self.num_columns]


def cut_blocks(
    num_rows: int, num_columns: int, row_size: int, limit: int, device: torch.device
) -> tuple[int, int, Iterator[Block]]:
    """Cover a (rows, [channels,] columns) tensor with blocks.

    Args:
        num_rows: Rows of the tensor.
        num_columns: Columns of the tensor.
        row_size: Number of elements in one column of one row.
        limit: Largest number of elements in a block on a CPU.
        device: Where the tensor lies; other devices take it all at once.

    Returns:
        The largest number of rows and of columns in a block, and the blocks.
    """
    if device.type != "cpu":
        limit = num_rows * num_columns * row_size
    columns = max(1, min(num_columns, limit // row_size))
    rows = max(1, min(num_rows, limit // (row_size * columns)))
    blocks = (
        Block(
            slice(row, row + rows),
            slice(column, column + columns),
            min(rows, num_rows - row),
            min(columns, num_columns - column),
        )
        for row in range(0, num_rows, rows)
        for column in range(0, num_columns, columns)
    )
    return rows, columns, blocks


def complement(values: Tensor, out: Tensor) -> Tensor:
    """Return 1 - values, written into `out`."""
    return torch.neg(values, out=out).add_(1.0)


def sums_dtype(logits: Tensor) -> torch.dtype:
    """Return the type that sums over these logits are taken in: float32 or wider."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32
