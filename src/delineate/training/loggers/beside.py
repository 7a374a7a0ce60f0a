"""A logger that cannot stop or hold up a training, whatever happens to it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from delineate.training.loggers.logger import End, Logger, RunFacts

MOST_WAITING = 64
"""Calls that may wait; each epoch makes two, so this many only wait for a server that is gone."""
CLOSING_SECONDS = 30.0
"""How long the end of a training waits for what is not logged yet, the time counted in that the
call under way has taken by then."""


class LoggerBeside:
    """Passes everything on to another logger, on a thread of its own.

    The first failure, or a logger that does not keep up, is said once; from then on nothing is
    passed on, and the training does not notice.
    """

    def __init__(self, name: str, logger: Logger, warn: Callable[[str], None]) -> None:
        self._name = name
        self._logger = logger
        self._warn = warn
        self._calls: queue.Queue[Callable[[], None] | None] = queue.Queue(MOST_WAITING)
        self._is_off = threading.Event()
        self._call_started: float | None = None
        # The context says whether this process shows anything.
        self._thread = threading.Thread(target=copy_context().run, args=(self._work,), daemon=True)

    def start(self, facts: RunFacts) -> None:
        """Open what is written to."""
        self._thread.start()
        self._pass_on(lambda: self._logger.start(facts))

    def log_scalars(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Take the numbers of an epoch."""
        self._pass_on(lambda: self._logger.log_scalars(scalars, epoch))

    def log_picture(self, name: str, picture: NDArray[np.uint8], epoch: int) -> None:
        """Take a picture."""
        self._pass_on(lambda: self._logger.log_picture(name, picture, epoch))

    def close(self, end: End, summary: Mapping[str, float | str]) -> None:
        """Finish, within `CLOSING_SECONDS`."""
        self._pass_on(lambda: self._logger.close(end, summary))
        self._pass_on(None)
        if not self._is_off.is_set():
            started = self._call_started
            waited = 0.0 if started is None else time.monotonic() - started
            self._thread.join(max(0.0, CLOSING_SECONDS - waited))
            if self._thread.is_alive():
                self._give_up(f"it has not answered for {CLOSING_SECONDS:.0f} s")

    def _pass_on(self, call: Callable[[], None] | None) -> None:
        if self._is_off.is_set():
            return
        try:
            self._calls.put_nowait(call)
        except queue.Full:
            self._give_up(f"it does not answer, {MOST_WAITING} calls are waiting")

    def _work(self) -> None:
        while (call := self._calls.get()) is not None and not self._is_off.is_set():
            self._call_started = time.monotonic()
            try:
                call()
            except Exception as error:
                self._give_up(f"{type(error).__name__}: {_first_line(error)}")
            self._call_started = None

    def _give_up(self, reason: str) -> None:
        if not self._is_off.is_set():
            self._is_off.set()
            self._warn(
                f"warning: {self._name} gets no more of this run ({reason}); training goes on, "
                "and results.csv and TensorBoard have everything"
            )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else "no reason given"
