"""Expected against true scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from delineate.evaluation.details import Details
    from delineate.evaluation.scoring import SplitScores

FEWEST = 3
"""Images below which there is no correlation."""


@dataclass(frozen=True)
class Expectation:
    """How well the expected Dice of the images foretells the true one."""

    pairs: tuple[tuple[float, float], ...]
    """(expected, true) of each image that has both."""
    mean_error: float
    """Mean absolute difference."""
    correlation: float | None
    """Pearson's; None for few images, or where either does not vary."""
    rank_correlation: float | None
    """Spearman's."""

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description, without the pairs."""
        return {
            "num_images": len(self.pairs),
            "mean_error": self.mean_error,
            "correlation": self.correlation,
            "rank_correlation": self.rank_correlation,
        }


def compare_expectation(scores: SplitScores, details: Details) -> Expectation | None:
    """Return what expected and true Dice have in common; None if no image has both."""
    pairs = [
        (quality.expected_dice, image.scores["dice"])
        for image, quality in zip(scores.images, details.qualities, strict=True)
    ]
    known = tuple((e, t) for e, t in pairs if e is not None and t is not None)
    if not known:
        return None
    expected, true = np.asarray(known).T
    return Expectation(
        known,
        float(np.abs(expected - true).mean()),
        _correlation(expected, true),
        _correlation(_ranks(expected), _ranks(true)),
    )


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks, equal values sharing their mean."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[group], dtype=np.float64)


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    if len(first) < FEWEST or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])
