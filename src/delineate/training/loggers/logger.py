"""What a logger is, and what it is told of a run."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from delineate.files import write_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TRACKING = "tracking.json"
"""Under which identity each tracker knows the run, so that a resumed training finds it again."""

_LOCK = threading.Lock()
"""Trackers, each on a thread, share the file."""

End = Literal["finished", "interrupted", "failed"]


@dataclass(frozen=True)
class RunFacts:
    """What a logger is told before the first epoch."""

    folder: Path
    project: str
    settings: Mapping[str, Any]
    """By their dotted names."""
    texts: Mapping[str, str]
    """Name of a file -> what it says."""
    past: tuple[tuple[int, Mapping[str, float]], ...] = ()
    """Epochs that a resumed training has behind it, with their numbers."""

    @property
    def first_epoch(self) -> int:
        """Where a training starts or goes on."""
        return self.past[-1][0] + 1 if self.past else 1

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.resolve().name

    def identity(self, tracker: str) -> dict[str, str] | None:
        """Return under which identity a tracker knows this run; None if it does not."""
        found: dict[str, str] | None = self._identities().get(tracker)
        return found

    def remember(self, tracker: str, identity: Mapping[str, str]) -> None:
        """Keep the identity that a tracker has given this run."""
        with _LOCK:
            known = self._identities() | {tracker: dict(identity)}
            write_text(self.folder / TRACKING, json.dumps(known, indent=1, sort_keys=True) + "\n")

    def _identities(self) -> dict[str, Any]:
        path = self.folder / TRACKING
        known: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
        return known


class Logger(Protocol):
    """Follows a training epoch by epoch."""

    def start(self, facts: RunFacts) -> None:
        """Open what is written to."""

    def log_scalars(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Take the numbers of an epoch, which is counted from 1."""

    def log_picture(self, name: str, picture: NDArray[np.uint8], epoch: int) -> None:
        """Take a picture, (H, W, 3)."""

    def close(self, end: End, summary: Mapping[str, float | str]) -> None:
        """Finish.

        Args:
            end: How training ended; one that was interrupted may go on.
            summary: The numbers of the best epoch, and why training ended; empty if it failed.
        """
