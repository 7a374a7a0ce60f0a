"""Run an iterator ahead of its reader, on a thread of its own."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")

_PATIENCE = 0.1
"""Seconds after which a thread that waits to hand over an item looks whether it should stop."""


class _End(Generic[T]):
    """Nothing comes any more, because of an error or because all is done."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def ahead(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    """Yield what `items` yields, computed on another thread, up to `depth` items ahead.

    An error of `items` is raised where its item would have come. Closing the generator stops the
    thread after the item that it is at, and closes `items`.

    Args:
        items: Read on the other thread alone.
        depth: Finished items that may wait.
    """
    queue: Queue[T | _End[T]] = Queue(depth)
    is_stopped = Event()

    def put(item: T | _End[T]) -> None:
        while not is_stopped.is_set():
            try:
                queue.put(item, timeout=_PATIENCE)
            except Full:
                continue
            return

    def work() -> None:
        error = None
        try:
            for item in items:
                put(item)
                if is_stopped.is_set():
                    break
        except BaseException as raised:
            error = raised
        finally:
            if isinstance(items, Generator):
                items.close()
            put(_End(error))

    thread = Thread(target=work, name="delineate-ahead", daemon=True)
    thread.start()
    try:
        while True:
            item = queue.get()
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
            # An item may be large: it is not to outlive its use here.
            del item
    finally:
        is_stopped.set()
        while True:
            try:
                queue.get_nowait()
            except Empty:
                break
        thread.join()
