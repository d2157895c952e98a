"""Very many calls at once through one object: none is lost, none waits for ever, and each costs what it did before.

``make soak`` does the same with ten thousand.
"""

from __future__ import annotations

import asyncio
import gc
import random
import time
from collections.abc import Callable
from typing import Any

import pytest

from failwell import Bulkhead, Policy, RateLimiter, errors, virtual

LIMITS: dict[str, Callable[[int], Policy]] = {
    "bulkhead": lambda calls: Bulkhead(calls // 20, max_queue=calls),
    "bulkhead with patience": lambda calls: Bulkhead(calls // 20, max_queue=calls, queue_timeout=5.5),
    "rate limiter": lambda calls: RateLimiter(calls // 20, max_wait=1e6),
    "rate limiter with a burst": lambda calls: RateLimiter(calls / 20, burst=calls // 20, max_wait=1e6),
}


def check_all_end(name: str, calls: int) -> None:
    """Each of very many calls is made, in the order of arrival, or refused; a third of them is cancelled on the way."""
    policy = LIMITS[name](calls)
    chance = random.Random(calls)
    started: list[int] = []
    under_way = most = 0

    async def operation(number: int) -> int:
        nonlocal under_way, most
        started.append(number)
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(1)
        finally:
            under_way -= 1
        return number

    async def main() -> list[Any]:
        guarded = policy(operation)
        tasks = [asyncio.create_task(guarded(number)) for number in range(calls)]
        for task in chance.sample(tasks, calls // 3):
            asyncio.get_running_loop().call_later(chance.uniform(0, 10), task.cancel)
        return await asyncio.gather(*tasks, return_exceptions=True)

    found = virtual.run(main())
    answers = [one for one in found if isinstance(one, int)]
    cancelled = sum(isinstance(one, asyncio.CancelledError) for one in found)
    refused = sum(isinstance(one, errors.BulkheadTimeoutError) for one in found)
    assert len(answers) + cancelled + refused == calls
    assert 0 < cancelled <= calls // 3
    assert started == sorted(started)
    assert under_way == 0
    state = policy.live_state()
    assert not state.turns
    if isinstance(policy, Bulkhead):
        assert most <= calls // 20
        assert (policy.active, policy.queued, policy.rejected) == (0, 0, refused)
        assert (refused > 0) == (policy.queue_timeout is not None)


def seconds_to_cancel(name: str, calls: int) -> float:
    """How long it takes to cancel all who wait, those who came last first."""
    policy = LIMITS[name](calls)

    async def main() -> float:
        guarded = policy(asyncio.sleep)
        tasks = [asyncio.create_task(guarded(3600)) for _ in range(calls)]
        await asyncio.sleep(0.01)
        gc.disable()  # it would look at all that the tests before this one have left
        before = time.process_time()
        for task in reversed(tasks):
            task.cancel()
        await asyncio.wait(tasks)
        return time.process_time() - before

    try:
        return asyncio.run(main())
    finally:
        gc.enable()


@pytest.mark.parametrize("name", LIMITS)
def test_of_very_many_calls_each_ends_and_nobody_is_forgotten(name: str) -> None:
    check_all_end(name, 600)


@pytest.mark.parametrize("name", LIMITS)
def test_cancelling_a_long_queue_from_its_end_costs_as_much_a_call_as_a_short_one(name: str) -> None:
    short, long = (min(seconds_to_cancel(name, calls) for _ in range(3)) for calls in (500, 4000))  # noise only adds
    assert long < 8 * 4 * short
