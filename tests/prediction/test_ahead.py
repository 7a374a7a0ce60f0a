from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from delineate.prediction.ahead import ahead


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def test_items_come_in_order_from_another_thread() -> None:
    def where() -> Iterator[tuple[int, int]]:
        for index in range(20):
            yield index, threading.get_ident()

    items = list(ahead(where(), 2))
    assert [index for index, _ in items] == list(range(20))
    assert {thread for _, thread in items} != {threading.get_ident()}
    assert "delineate-ahead" not in names()


def test_an_error_comes_where_its_item_would_have() -> None:
    def fails() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("three")

    items = ahead(ahead(fails(), 1), 3)
    assert [next(items), next(items)] == [1, 2]
    with pytest.raises(KeyError, match="three"):
        next(items)
    assert "delineate-ahead" not in names()


def test_it_runs_no_further_ahead_than_told() -> None:
    made = []

    def count() -> Iterator[int]:
        for index in range(100):
            made.append(index)
            yield index

    items = ahead(count(), 2)
    assert next(items) == 0
    time.sleep(0.1)
    assert len(made) <= 4
    items.close()
    assert len(made) <= 5


def test_closing_ends_all_threads_and_closes_the_source() -> None:
    is_closed = threading.Event()

    def endless() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            is_closed.set()

    items = ahead(ahead(endless(), 2), 2)
    next(items)
    items.close()
    assert is_closed.is_set()
    assert "delineate-ahead" not in names()
