from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from delineate.prediction.tile_workers import choose_workers, side_by_side


@pytest.mark.parametrize(
    ("num_cores", "num_workers"), [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (8, 4), (16, 4), (13, 4)]
)
def test_workers_use_the_cores(num_cores: int, num_workers: int) -> None:
    assert choose_workers(num_cores) == num_workers


@pytest.mark.parametrize("num_workers", [1, 2, 3])
def test_results_keep_the_order_whatever_takes_long(num_workers: int) -> None:
    def work(item: int) -> int:
        time.sleep(0.01 * (3 - item % 4))
        return item * item

    assert list(side_by_side(work, range(12), num_workers, 2)) == [n * n for n in range(12)]


def test_workers_run_at_once_with_their_share_of_the_cores() -> None:
    num_cores = torch.get_num_threads()
    meeting = threading.Barrier(2)

    def work(item: int) -> tuple[int, int]:
        meeting.wait(10)
        return threading.get_ident(), torch.get_num_threads()

    try:
        torch.set_num_threads(4)
        found = list(side_by_side(work, range(4), 2, 0))
        assert {share for _, share in found} == {2}
        assert len({thread for thread, _ in found} - {threading.get_ident()}) == 2
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(num_cores)


def test_no_more_items_are_taken_than_may_wait() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = side_by_side(lambda item: item, items(), 2, 3)
    assert next(results) == 0
    assert len(taken) == 5
    results.close()
    assert len(taken) == 5
    assert not any("delineate-tiles" in thread.name for thread in threading.enumerate())


def test_an_error_comes_where_its_result_would_have() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise KeyError("three")
        return item

    results = side_by_side(work, range(10), 2, 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(results)
    assert not any("delineate-tiles" in thread.name for thread in threading.enumerate())
