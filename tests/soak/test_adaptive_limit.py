"""One adaptive limit under many threads, and ten thousand calls of one loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest

from failwell import AdaptiveLimit, errors
from tests.soak.test_soak import hammer, no_thread_left

pytestmark = pytest.mark.soak


def test_no_place_is_lost_under_many_threads() -> None:
    limit = AdaptiveLimit(8, min=2, max=24, lost_after=1e6)
    lock, now, most = threading.Lock(), [0], [0]

    @limit
    def operation(ticket: tuple[int, int]) -> tuple[int, int]:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        try:
            if ticket[1] % 100 == 99:
                raise TimeoutError(ticket)
            return ticket
        finally:
            with lock:
                now[0] -= 1

    def work(place: int, number: int) -> None:
        ticket = place, number
        with contextlib.suppress(errors.ConcurrencyLimitedError, TimeoutError):
            assert operation(ticket) == ticket
        assert 2 <= limit.limit <= 24

    with no_thread_left():
        hammer(work)
    assert (now[0], limit.active, len(limit.live_state().out)) == (0, 0, 0)
    assert most[0] <= 24


def test_ten_thousand_calls_of_one_loop_all_end() -> None:
    limit = AdaptiveLimit(50, max=500)

    async def operation(number: int) -> int:
        await asyncio.sleep(0.001)
        return number

    async def main() -> tuple[int, int]:
        found = await asyncio.gather(*(limit.outcome(operation, number) for number in range(10_000)))
        return sum(one.ok for one in found), limit.rejected

    with no_thread_left():
        answered, refused = asyncio.run(main())
    assert answered + refused == 10_000
    assert answered >= 50
    assert limit.active == 0
