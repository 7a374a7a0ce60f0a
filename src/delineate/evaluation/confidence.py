"""How often a multiclass prediction is right at each confidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from delineate.metrics.curves import bin_edges

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NUM_BINS = 1024


class ConfidenceTally:
    """Pixels by the probability of their most probable class, wrong and right ones apart."""

    def __init__(self, num_classes: int) -> None:
        self.num_classes = num_classes
        self.edges = bin_edges(_NUM_BINS)
        self.counts = np.zeros((2, _NUM_BINS + 1), np.int64)

    def update(
        self, confidence: NDArray[np.float32], is_right: NDArray[np.bool_], counted: NDArray[Any]
    ) -> None:
        """Add one image.

        Args:
            confidence: Largest probability of each pixel, (H, W).
            is_right: Whether that class is the true one, (H, W).
            counted: Pixels that count, bool, (H, W).
        """
        bins = (confidence[counted] * np.float32(_NUM_BINS)).astype(np.intp)
        bins += is_right[counted] * np.intp(_NUM_BINS + 1)
        self.counts += np.bincount(bins, minlength=self.counts.size).reshape(2, -1)

    def reached(self, levels: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return how many pixels reach each level, and how many of them are right."""
        edges = np.ceil(levels * _NUM_BINS).astype(np.intp)
        above = self.counts[:, ::-1].cumsum(axis=1)[:, ::-1]
        return above.sum(axis=0)[edges], above[1][edges]
