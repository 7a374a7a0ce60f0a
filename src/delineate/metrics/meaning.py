"""What a number of the metrics means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

MetricGroup = Literal["pixels", "curves", "calibration", "boundary", "objects", "topology"]


@dataclass(frozen=True)
class Metric:
    """One line of the table of metrics."""

    group: MetricGroup
    """What it looks at."""
    better: Literal["higher", "lower", "zero"]
    """Which way is better."""
    unit: Literal["share", "distance", "count"]
    """A share is in [0, 1]; a distance is in pixels, or in the unit of the spacing."""
    meaning: str
    """One sentence for people, to be shown beside the number."""
