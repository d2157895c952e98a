"""The long runs of deadline and hedge: one object under many threads and tasks."""

# ruff: noqa: PT017 - which error is raised depends on chance

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from typing import Any

import pytest

from failwell import Bulkhead, Deadline, Hedge, Retry, Timeout, backoff, errors, time_left
from tests.soak.test_soak import SECONDS, hammer, no_thread_left

pytestmark = pytest.mark.soak


def test_threads_under_one_deadline_object_each_have_their_own() -> None:
    ended: Counter[str] = Counter()
    lock = threading.Lock()
    stack = Deadline(0.02) >> Retry(9, backoff.Fixed(0.004)) >> Timeout(0.01)

    def work(place: int, round_: int) -> None:
        began = time.monotonic()

        def operation() -> tuple[int, int]:
            assert time_left() <= 0.02
            pause = random.choice((0.0, 0.0, 0.005, 0.03))
            if pause:
                time.sleep(pause)
            if random.random() < 0.3:
                raise ConnectionError(place)
            return place, round_

        try:
            assert stack.call(operation) == (place, round_)
            how = "answered"
        except ConnectionError as error:
            assert error.args == (place,)
            how = "failed"
        except errors.DeadlineExceeded as error:
            assert error.seconds == 0.02
            assert time.monotonic() - began >= 0.02
            how = "too late"
        except errors.TimeoutExceeded:
            how = "timed out"
        assert time_left() == float("inf")
        with lock:
            ended[how] += 1

    with no_thread_left():
        rounds = hammer(work)
    print(f"{rounds:,} calls: {dict(ended)}")
    assert rounds == ended.total()
    assert set(ended) == {"answered", "failed", "too late", "timed out"}


def test_tasks_under_one_deadline_object_each_have_their_own() -> None:
    ended: Counter[str] = Counter()
    limit = Deadline(0.02)
    inner = Timeout(60) >> Deadline(60)

    async def operation(seconds: float) -> str:
        assert time_left() <= 0.02
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(inner.call(asyncio.sleep, seconds))
            tasks.create_task(inner.call(asyncio.sleep, seconds / 2))
        return "answered"

    async def one(until: float) -> None:
        while time.monotonic() < until:
            outcome = await limit.outcome(operation, random.choice((0.0, 0.005, 0.015, 0.04)))
            assert isinstance(outcome.error, errors.DeadlineExceeded | None)
            ended[type(outcome.error).__name__] += 1
            assert time_left() == float("inf")

    async def main() -> None:
        until = time.monotonic() + SECONDS
        await asyncio.gather(*(one(until) for _ in range(64)))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    print(dict(ended))
    assert set(ended) == {"NoneType", "DeadlineExceeded"}


def test_threads_that_share_a_hedge_get_their_own_answers_and_leave_nothing() -> None:
    bulkhead = Bulkhead(10_000)
    stack = Hedge(0.002, max_hedges=2) >> bulkhead
    made: Counter[str] = Counter()
    lock = threading.Lock()

    def work(place: int, round_: int) -> None:
        tries: list[None] = []

        def operation(said: Any) -> Any:
            tries.append(None)
            number = len(tries)
            time.sleep(random.choice((0.0, 0.001, 0.01)))
            if random.random() < 0.2:
                raise ConnectionError(number)
            return said

        try:
            assert stack.call(operation, (place, round_)) == (place, round_)
            how = "answered"
        except ConnectionError:
            assert len(tries) == 3
            how = "failed"
        with lock:
            made[how] += 1
            made["attempts"] += len(tries)

    with no_thread_left():
        rounds = hammer(work)
    print(f"{rounds:,} calls: {dict(made)}")
    assert rounds == made["answered"] + made["failed"]
    assert rounds < made["attempts"] <= 3 * rounds
    assert bulkhead.active == 0
