"""What ten thousand concurrent calls through one object cost, beside a bare `asyncio.gather` of the same calls.

All calls are under way at the same time, or wait for each other: the operation waits for a gate that opens when the
last of them has arrived. So what is measured is what a policy keeps for each call that it holds, and what it does to
wake them up.
"""

import asyncio
import gc
import statistics
import tracemalloc
from collections.abc import Callable, Coroutine
from time import process_time
from typing import Any

from failwell import AdaptiveLimit, Bulkhead, Cache, CircuitBreaker, LoadShedder, RateLimiter
from failwell.bench.jobs import NotDoingTheJob
from failwell.bench.results import CrowdResult

#: Seconds after which a run is given up in which somebody was lost.
PATIENCE = 60.0

Function = Callable[[int], Coroutine[Any, Any, int]]
Guard = Callable[[Function], Function]


def _important(number: int) -> str:
    return "critical"


def guards(calls: int) -> dict[str, tuple[Callable[[], Guard], bool]]:
    """Name -> a maker of a policy, and whether all calls have one argument.

    Args:
        calls: How many calls there are at once.
    """
    return {
        "circuit breaker": (CircuitBreaker, False),
        "circuit breaker with a window": (lambda: CircuitBreaker(failure_rate=0.5, slow_call=60.0), False),
        "cache, one key": (lambda: Cache(3600.0), True),
        "rate limiter": (lambda: RateLimiter(calls, burst=calls), False),
        "adaptive limit": (lambda: AdaptiveLimit(calls, max=calls), False),
        "load shedder": (lambda: LoadShedder(2 * calls, priority=_important), False),
        "bulkhead of 500": (lambda: Bulkhead(500, max_queue=calls), False),
    }


class _Tally:
    """What the operation sees: how many calls it got, how many at once, and how many have not ended."""

    def __init__(self) -> None:
        self.total = self.most = self.here = 0


async def _all_at_once(guard: Guard | None, calls: int, expected: int, argument: Callable[[int], int]) -> _Tally:
    """Everybody waits in the operation until as many have come as are expected, or as are let in."""
    gate = asyncio.Event()
    tally = _Tally()

    async def operation(value: int) -> int:
        tally.total += 1
        tally.here += 1
        tally.most = max(tally.most, tally.here)
        if tally.here == expected:
            gate.set()
        await gate.wait()
        tally.here -= 1
        return value

    guarded = operation if guard is None else guard(operation)
    try:
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(*[guarded(argument(number)) for number in range(calls)])
    except TimeoutError as error:
        raise NotDoingTheJob(f"{tally.total} calls were made, and then nothing happened any more") from error
    if answers != [argument(number) for number in range(calls)]:
        raise NotDoingTheJob("a call got the answer of another")
    return tally


def _once(guard: Guard | None, calls: int, expected: int, argument: Callable[[int], int]) -> tuple[float, _Tally]:
    gc.collect()
    started = process_time()
    tally = asyncio.run(_all_at_once(guard, calls, expected, argument))
    return process_time() - started, tally


def _memory(guard: Guard | None, calls: int, expected: int, argument: Callable[[int], int]) -> int:
    """The most bytes that were allocated at once."""
    gc.collect()
    tracemalloc.start()
    try:
        asyncio.run(_all_at_once(guard, calls, expected, argument))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _itself(number: int) -> int:
    return number


def _nought(number: int) -> int:
    return 0


def measure_crowd(
    *, calls: int = 10_000, runs: int = 7, progress: Callable[[str], None] = lambda _: None
) -> list[CrowdResult]:
    """Time and memory of so many concurrent calls, as shares of what the same calls take without a policy.

    Each run of a policy directly follows one of the bare calls; the median of the ratios counts.

    Args:
        calls: How many calls at once.
        runs: How many runs each.
        progress: Told what is measured now.

    Raises:
        NotDoingTheJob: If a call is lost, answered wrongly, or made more or less often than it should be.
    """
    found: list[CrowdResult] = []
    for name, (make, same) in guards(calls).items():
        progress(name)
        argument = _nought if same else _itself
        made = 1 if same else calls
        most = min(made, 500) if "500" in name else made
        times: list[float] = []
        for _ in range(runs):
            bare, _ = _once(None, calls, calls, _itself)
            guarded, tally = _once(make(), calls, most, argument)
            if (tally.total, tally.most, tally.here) != (made, most, 0):
                raise NotDoingTheJob(
                    f"{name}: {tally.total} calls were made, {tally.most} at once, {tally.here} did not end; "
                    f"{made}, {most} and 0 would be right"
                )
            times.append(guarded / bare)
        memory = _memory(make(), calls, most, argument) / _memory(None, calls, calls, _itself)
        found.append(
            CrowdResult(
                policy=name,
                calls=calls,
                time_to_bare=round(statistics.median(times), 2),
                memory_to_bare=round(memory, 2),
            )
        )
    return found
