"""Ctrl-C and SIGTERM: end after the current step, with a usable model."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from delineate.processes import ALONE, Team

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Notes the first signal for the loop to look at; a second one ends the program at once.

    Signals reach Python's main thread only; in another thread nothing is changed. Of several
    processes, a signal to one counts for all from their next `settle` on; a second one ends none
    of them, since torchrun passes on each signal that the terminal has sent to all already.
    """

    def __init__(self, team: Team = ALONE) -> None:
        self.signal_number: int | None = None
        self._team = team
        self._settled = 0
        self._former: dict[int, Any] = {}

    @property
    def is_requested(self) -> bool:
        """Whether a signal has come."""
        if self._team.is_alone:
            return self.signal_number is not None
        return self._settled > 0

    def settle(self) -> None:
        """Have all processes agree on whether a signal has come; each calls it as often."""
        if not self._team.is_alone:
            self._settled = self._team.most(self.signal_number or 0)

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()

    def raise_if_requested(self) -> None:
        """End the program as the signal asked: KeyboardInterrupt, or exit code 143 for SIGTERM."""
        number = self._settled or self.signal_number
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if number == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)

    def _note(self, number: int, frame: FrameType | None) -> None:
        is_second = self.signal_number is not None and self._team.is_alone
        self.signal_number = number
        if is_second:
            self._restore()
            self.raise_if_requested()

    def _restore(self) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}
