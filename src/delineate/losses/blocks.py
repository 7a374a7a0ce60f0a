"""What the two families of pixel sums share: the per-pixel loss and the walk over blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_ELEMENTS = 1 << 17
"""Logits in a block on a CPU, where it should fit the cache; other devices take all at once."""


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

    def focus(self, error: Tensor, entropy: Tensor) -> Tensor:
        """Return error^gamma x entropy."""
        return entropy if self.gamma == 0 else error.pow(self.gamma).mul_(entropy)

    def derivative(self, error: Tensor, entropy: Tensor) -> Tensor:
        """Return the derivative of `focus` to the logit of the error.

        error^gamma (gamma (1 - error) entropy + error) has no exponent gamma - 1, which would be
        infinite at error 0 where gamma < 1.
        """
        if self.gamma == 0:
            return error
        slope = (1 - error).mul_(entropy).mul_(self.gamma).add_(error)
        return slope.mul_(error.pow(self.gamma))


def iterate_blocks(
    num_rows: int, num_columns: int, row_size: int, device: torch.device
) -> Iterator[tuple[slice, slice]]:
    """Yield the row and column slices of blocks that cover a (rows, [channels,] columns) tensor.

    Args:
        num_rows: Rows of the tensor.
        num_columns: Columns of the tensor.
        row_size: Number of elements in one column of one row.
        device: Where it lies; only CPUs need blocks.
    """
    limit = BLOCK_ELEMENTS if device.type == "cpu" else num_rows * num_columns * row_size
    columns = max(1, min(num_columns, limit // row_size))
    rows = max(1, limit // (row_size * columns))
    for row in range(0, num_rows, rows):
        for column in range(0, num_columns, columns):
            yield slice(row, row + rows), slice(column, column + columns)


def sums_dtype(logits: Tensor) -> torch.dtype:
    """Return the type that sums over these logits are taken in: float32 or wider."""
    return torch.float64 if logits.dtype == torch.float64 else torch.float32
