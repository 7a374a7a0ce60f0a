"""Compute several tiles at once, each on a thread of its own with a part of the cores.

A network's layers run on all cores only as fast as the slowest of them: a core that reads or
blends for a moment makes the others wait. Tiles that are computed side by side do not wait for each
other, so that reading and blending take no more than their own time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

MAX_WORKERS = 4
"""Tiles computed at once, since each takes its memory; up to twice as many for the sake of cores
that would be idle."""


def choose_workers(num_cores: int) -> int:
    """Return how many tiles to compute at once, for the most cores in use: 2 x 1, 4 x 1, 4 x 4."""

    def worth(workers: int) -> tuple[int, bool, int]:
        return workers * (num_cores // workers), workers <= MAX_WORKERS, workers

    return max(range(min(2, num_cores), min(num_cores, 2 * MAX_WORKERS) + 1), key=worth)


def count_cores() -> int:
    """Return how many cores a network uses."""
    import torch

    return torch.get_num_threads()


def side_by_side(
    work: Callable[[T], R], items: Iterable[T], num_workers: int, depth: int
) -> Generator[R, None, None]:
    """Yield ``work(item)`` in the order of the items, several of them computed at once.

    An error is raised where its result would have come. Closing the generator waits for what is
    being computed and drops the rest.

    Args:
        work: Called on threads of its own, which share the cores; on the caller's for one worker.
        items: Read by the caller's thread.
        num_workers: Results computed at once.
        depth: Results, computed or not, that may wait beside those.
    """
    if num_workers == 1:
        yield from map(work, items)
        return
    import torch

    num_cores = torch.get_num_threads()
    share = max(1, num_cores // num_workers)
    waiting: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(
        num_workers, "delineate-tiles", initializer=torch.set_num_threads, initargs=(share,)
    )
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            del item
            if len(waiting) >= num_workers + depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        # The number holds for the thread that sets it and for those that start later.
        torch.set_num_threads(num_cores)
