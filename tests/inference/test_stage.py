from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator

import pytest

from jamba_ray.inference.stage import stage


def test_items_keep_their_order_through_nested_stages() -> None:
    with (
        stage(i for i in range(100)) as numbers,
        stage(2 * i for i in numbers) as doubles,
        stage(i + 1 for i in doubles) as odd,
    ):
        assert list(odd) == list(range(1, 201, 2))


def test_one_item_is_computed_while_another_is_used_and_no_more() -> None:
    begun: list[int] = []

    def counting() -> Generator[int]:
        for i in range(10):
            begun.append(i)
            yield i

    with stage(counting()) as numbers:
        assert next(numbers) == 0
        deadline = time.monotonic() + 10
        while begun != [0, 1] and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert begun == [0, 1]


def test_a_fault_comes_after_the_items_before_it_and_the_first_one_wins() -> None:
    def faulty() -> Generator[int]:
        yield from (1, 2)
        raise ValueError("first")

    def later(items: Iterator[int]) -> Generator[int]:
        yield from items
        raise AssertionError("never reached")

    seen: list[int] = []

    def use() -> None:
        with stage(faulty()) as numbers, stage(later(numbers)) as same:
            seen.extend(same)

    with pytest.raises(ValueError, match="first"):
        use()
    assert seen == [1, 2]


def test_a_consumer_that_fails_ends_all_threads_and_closes_what_they_read() -> None:
    closed: list[str] = []

    def endless() -> Generator[int]:
        try:
            yield from iter(int, 1)
        finally:
            closed.append("source")

    def use() -> None:
        with stage(endless()) as numbers, stage(i for i in numbers) as same:
            next(same)
            raise OSError("the disk is full")

    before = threading.active_count()
    with pytest.raises(OSError, match="disk"):
        use()
    assert closed == ["source"]
    assert threading.active_count() == before
