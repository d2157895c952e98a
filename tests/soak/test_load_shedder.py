"""One load shedder under many threads, and ten thousand calls of one loop."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter

import pytest

from failwell import LoadShedder, errors
from tests.soak.test_soak import hammer, no_thread_left

pytestmark = pytest.mark.soak

NAMES = ("critical", "normal", "sheddable")


def test_no_place_is_lost_under_many_threads() -> None:
    shedder = LoadShedder(32, lambda name, ticket: name, load=lambda: random.random() / 1.2, load_every=0.01)
    lock, now, most = threading.Lock(), [0], [0]
    shed: Counter[object] = Counter()

    @shedder
    def operation(name: str, ticket: tuple[int, int]) -> tuple[int, int]:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        with lock:
            now[0] -= 1
        return ticket

    def work(place: int, number: int) -> None:
        ticket = place, number
        try:
            assert operation(NAMES[number % 3], ticket) == ticket
        except errors.LoadShedError as error:
            with lock:
                shed[error.priority] += 1

    with no_thread_left():
        hammer(work)
    assert most[0] <= 32
    assert (now[0], shedder.active) == (0, 0)
    assert shedder.rejected == {name: shed[name] for name in NAMES}
    assert shed["critical"] == 0  # there is a place for each thread
    assert 0 < shed["normal"] < shed["sheddable"]
    print(f"shed: {dict(shed)}")


def test_of_ten_thousand_calls_at_once_the_most_important_are_made() -> None:
    shedder = LoadShedder(5000, lambda number: NAMES[min(number % 10, 2)])

    async def operation(number: int) -> int:
        await asyncio.sleep(0.2)
        return number

    async def main() -> Counter[str]:
        found = await asyncio.gather(*(shedder.outcome(operation, number) for number in range(10_000)))
        return Counter(NAMES[min(number % 10, 2)] for number, one in enumerate(found) if one.ok)

    with no_thread_left():
        made = asyncio.run(main())
    assert made["critical"] == 1000
    assert made["normal"] / 1000 > made["sheddable"] / 8000
    assert made.total() + sum(shedder.rejected.values()) == 10_000
    assert shedder.active == 0
    print(f"made: {dict(made)}")
