"""Batches under load: many threads on one object, each batch with threads of its own."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
import tracemalloc
from collections import Counter

import pytest

from failwell import Batch, BatchResult, Retry, Timeout, backoff, errors
from tests.soak.test_soak import THREADS, Failure, hammer, no_thread_left

pytestmark = pytest.mark.soak

Ticket = tuple[int, int, int]


def test_batch_loses_no_item_and_runs_none_twice() -> None:
    calls: Counter[Ticket] = Counter()
    lock = threading.Lock()

    def process(ticket: Ticket) -> Ticket:
        with lock:
            calls[ticket] += 1
            attempt = calls[ticket]
        if ticket[2] % 5 == 4 or (ticket[2] % 5 == 2 and attempt == 1):
            raise Failure(ticket)
        return ticket

    batch = Batch(process, Retry(2, backoff.Fixed(0.0)), batch_size=8, max_concurrent=3)

    def work(place: int, number: int) -> None:
        tickets = [(place, number, k) for k in range(20)]
        result = batch(iter(tickets))
        assert result.by_index == {k: tickets[k] for k in range(20) if k % 5 != 4}
        assert [(f.index, f.item, f.attempts) for f in result.failed] == [(k, tickets[k], 2) for k in (4, 9, 14, 19)]
        assert all(isinstance(f.error, Failure) and f.error.ticket == f.item for f in result.failed)
        with lock:
            made = [calls.pop(ticket) for ticket in tickets]
        assert made == [2 if k % 5 in (2, 4) else 1 for k in range(20)]

    with no_thread_left():
        hammer(work)
    assert not calls


def test_batches_whose_time_is_over_account_for_every_item() -> None:
    def process(item: int) -> int:
        time.sleep(0.002)
        return item

    limited = Timeout(0.1)(Batch(process, batch_size=16, max_concurrent=2))
    cut = [0] * THREADS

    def work(place: int, number: int) -> None:
        result = BatchResult()
        items = itertools.count() if number % 2 else range(3)
        try:
            limited(items, into=result)
            assert result.succeeded == [0, 1, 2]
        except errors.TimeoutExceeded:
            cut[place] += 1
            time.sleep(0.5)  # what was under way ends meanwhile
            done = result.done
            left = [one.index for one in result.unfinished]
            assert sorted([*result.by_index, *left]) == list(range(done + len(left)))
            assert len(left) <= 16
            time.sleep(0.1)
            assert result.done == done, "something was done after the end"

    with no_thread_left():
        hammer(work)
    assert sum(cut) >= THREADS
    print(f"{sum(cut)} batches were cut")


@pytest.mark.parametrize("asynchronous", [True, False], ids=["async", "plain"])
@pytest.mark.parametrize("max_concurrent", [1, 8])
def test_half_a_million_items_take_no_more_memory_than_a_thousand(asynchronous: bool, max_concurrent: int) -> None:
    async def process(item: int) -> int:
        return item

    def process_plain(item: int) -> int:
        return item

    work = process if asynchronous else process_plain
    batch = Batch(work, max_concurrent=max_concurrent, keep_results=False)

    def most(count: int) -> int:
        tracemalloc.start()
        try:
            made = batch(item for item in range(count))
            result: BatchResult = asyncio.run(made) if asynchronous else made
            assert result.done == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    most(1_000)
    few, many = most(1_000), most(500_000)
    assert many < few + 100_000
    print(f"{few:,} bytes for 1,000 items, {many:,} for 500,000")
