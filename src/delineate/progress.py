"""Show progress: bars on a terminal, a plain line now and then elsewhere.

Everything goes to the standard error, so that a command's output can be piped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

T = TypeVar("T")

PLAIN_INTERVAL = 10.0
"""Seconds between two plain lines of one bar, at least."""


_is_quiet = ContextVar("is_quiet", default=False)


@contextmanager
def quiet(is_quiet: bool = True) -> Iterator[None]:
    """Show nothing while the block runs, if `is_quiet`: another process shows it for all."""
    token = _is_quiet.set(is_quiet or _is_quiet.get())
    try:
        yield
    finally:
        _is_quiet.reset(token)


def format_duration(seconds: float) -> str:
    """Return a duration for people: `42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_numbers(numbers: dict[str, float | str]) -> str:
    """Return `name value` pairs, floats with four significant digits."""
    return "  ".join(
        f"{name.replace('_', ' ')} {f'{value:.4g}' if isinstance(value, float) else value}"
        for name, value in numbers.items()
    )


class Bar(Protocol):
    """One line of progress."""

    def advance(self, n: int = 1, **numbers: float | str) -> None:
        """Count `n` more steps as done and show the named numbers from now on."""

    def resize(self, total: int) -> None:
        """Change how many steps there are in all."""


class _RichBar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task

    def advance(self, n: int = 1, **numbers: float | str) -> None:
        if numbers:
            self._progress.update(self._task, numbers=format_numbers(numbers))
        self._progress.advance(self._task, n)

    def resize(self, total: int) -> None:
        self._progress.update(self._task, total=total)

    def close(self) -> None:
        self._progress.remove_task(self._task)


class _PlainBar:
    def __init__(self, description: str, total: int | None) -> None:
        self._description = description
        self._total = total
        self._done = 0
        self._start = self._last_line = time.monotonic()
        self._numbers: dict[str, float | str] = {}

    def advance(self, n: int = 1, **numbers: float | str) -> None:
        self._done += n
        self._numbers.update(numbers)
        if time.monotonic() - self._last_line >= PLAIN_INTERVAL:
            self._print()

    def resize(self, total: int) -> None:
        self._total = total

    def close(self) -> None:
        if time.monotonic() - self._start >= PLAIN_INTERVAL:
            self._print()

    def _print(self) -> None:
        if _is_quiet.get():
            return
        now = time.monotonic()
        done = str(self._done) if self._total is None else f"{self._done}/{self._total}"
        left = ""
        if self._total and 0 < self._done < self._total:
            seconds = (now - self._start) / self._done * (self._total - self._done)
            left = f", {format_duration(seconds)} left"
        numbers = f"  {format_numbers(self._numbers)}" if self._numbers else ""
        print(  # noqa: T201 - this is where plain progress is printed
            f"{self._description}: {done}{left}{numbers}", file=sys.stderr, flush=True
        )
        self._last_line = now


class ProgressDisplay:
    """Bars and lines of one activity; several bars may be shown at once.

    On a terminal the bars are drawn by rich; elsewhere each bar prints a plain line at most every
    `PLAIN_INTERVAL` seconds.
    """

    def __init__(self, *, is_live: bool | None = None) -> None:
        self._is_live = sys.stderr.isatty() if is_live is None else is_live
        self._progress: Progress | None = None

    @property
    def is_live(self) -> bool:
        """Whether bars are drawn on a terminal."""
        return self._is_live

    def __enter__(self) -> ProgressDisplay:
        if self._is_live and not _is_quiet.get():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[numbers]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    @contextmanager
    def bar(self, description: str, total: int | None = None) -> Iterator[Bar]:
        """Show one bar while the block runs; `total` None means unknown."""
        bar: _RichBar | _PlainBar
        if self._progress is None:
            bar = _PlainBar(description, total)
        else:
            task = self._progress.add_task(description, total=total, numbers="")
            bar = _RichBar(self._progress, task)
        try:
            yield bar
        finally:
            bar.close()

    def print(self, line: str) -> None:
        """Print one lasting line, above the bars where there are any."""
        if _is_quiet.get():
            return
        if self._progress is None:
            print(line, file=sys.stderr, flush=True)  # noqa: T201 - the place for it
        else:
            self._progress.console.print(line, markup=False, highlight=False)


@contextmanager
def progress_bar(description: str, total: int | None = None) -> Iterator[Bar]:
    """Show a single bar while the block runs; `total` None means unknown."""
    with ProgressDisplay() as display, display.bar(description, total) as bar:
        yield bar


def track(iterable: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield what `iterable` yields, counting it on a bar; `total` defaults to its length."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with progress_bar(description, total) as bar:
        for item in iterable:
            yield item
            bar.advance()
