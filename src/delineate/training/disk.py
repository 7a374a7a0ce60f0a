"""How much room a run takes on the disk, asked for before the first step."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from delineate.files import check_free_space
from delineate.training.checkpoint import FOLDER, NUM_KEPT, count_bytes

if TYPE_CHECKING:
    from torch import nn

OTHER_BYTES = 4_000_000
"""For the report, the pictures, the tables and the events."""


def check_room(run: Path, network: nn.Module, *, has_average: bool) -> None:
    """Refuse a training whose files would not fit on the disk of its run folder.

    Args:
        run: The run folder; what it holds already counts as there.
        network: What is trained, by AdamW.
        has_average: Whether an average of its weights is kept.

    Raises:
        ResourceError: If they would not; says what they need and what is free.
    """
    check_free_space(run / FOLDER, estimate_run_bytes(network, has_average) - _count_folder(run))


def estimate_run_bytes(network: nn.Module, has_average: bool) -> int:
    """Return the most that a run's files take at once, in bytes.

    A checkpoint holds the weights, two moments of each for AdamW, and their average. One is
    written while the former ones are still there. Each may hold a model file of its own, and the
    next is written beside them.
    """
    weights = count_bytes(network.state_dict())
    checkpoint = (4 if has_average else 3) * weights
    return (NUM_KEPT + 1) * (checkpoint + weights) + weights + OTHER_BYTES


def _count_folder(folder: Path) -> int:
    # A model file is linked into checkpoints and takes its room once.
    files = {
        (status.st_dev, status.st_ino): status.st_size
        for path in folder.rglob("*")
        if path.is_file()
        for status in (path.stat(),)
    }
    return sum(files.values())
