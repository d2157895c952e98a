"""What other retries, limits, caches and time limits do where ours keep a promise."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import async_lru
import backoff
import cachetools
import hyx.retry
import opnieuw
import pytest
import stamina
import tenacity
from hyx.bulkhead import bulkhead
from hyx.timeout import timeout

from failwell import virtual
from failwell.bench import jobs, peers
from failwell.bench.timing import Stage
from tests.peers.claims import breaks

Function = Callable[..., Any]


# --- retry ---------------------------------------------------------------------------------------

RETRIES: dict[str, Callable[..., Function]] = {
    "tenacity": lambda on: tenacity.retry(
        retry=tenacity.retry_if_exception_type(on), stop=tenacity.stop_after_attempt(3)
    ),
    "stamina": lambda on: stamina.retry(on=on, attempts=3, wait_initial=0, wait_max=0),
    "backoff": lambda on: backoff.on_exception(backoff.constant, on, max_tries=3, interval=0, jitter=None),
    "hyx": lambda on: hyx.retry.retry(on=on, attempts=2, backoff=0),
    "opnieuw": lambda on: opnieuw.retry(
        retry_on_exceptions=on, max_calls_total=3, retry_window_after_first_call_in_seconds=1
    ),
}


@breaks("retry::test_only_exceptions_are_handled_whatever_on_says", "backoff", "hyx", "stamina", "tenacity")
def test_a_cancelled_call_is_tried_again(peer: str) -> None:
    calls = 0

    async def operation() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(60)

    async def main() -> None:
        caller = asyncio.create_task(RETRIES[peer](BaseException)(operation)())
        await asyncio.sleep(1)
        caller.cancel()
        await asyncio.sleep(1)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)

    virtual.run(main())
    assert calls > 1


@breaks("policy::test_what_is_async_stays_async", "backoff", "opnieuw", "stamina")
def test_an_object_with_an_async_call_is_not_protected(peer: str) -> None:
    class Operation:
        __name__ = "operation"
        calls = 0

        async def __call__(self) -> None:
            self.calls += 1
            raise ConnectionError

    operation = Operation()
    guarded = RETRIES[peer](ConnectionError)(operation)

    async def main() -> None:
        await guarded()

    with pytest.raises(ConnectionError):
        asyncio.run(main())
    assert operation.calls == 1


@breaks("retry::test_concurrent_callers_share_nothing", "hyx")
def test_concurrent_calls_share_their_waits(peer: str) -> None:
    started: dict[int, list[float]] = {0: [], 1: []}

    async def operation(caller: int) -> None:
        started[caller].append(asyncio.get_running_loop().time())
        raise ConnectionError

    from hyx.retry.backoffs import expo

    async def main() -> None:
        guarded = hyx.retry.retry(on=ConnectionError, attempts=3, backoff=expo(min_delay_secs=1))(operation)
        await asyncio.gather(guarded(0), guarded(1), return_exceptions=True)

    virtual.run(main())
    assert started[0] != started[1]


@breaks("retry::test_no_attempt_starts_after_max_elapsed_and_the_wait_is_clipped_to_it", "stamina", "tenacity")
def test_the_last_wait_is_longer_than_the_time_there_is(peer: str) -> None:
    limited: dict[str, Function] = {
        "stamina": stamina.retry(
            on=ConnectionError, timeout=10, attempts=None, wait_initial=7, wait_max=7, wait_jitter=0
        ),
        "tenacity": tenacity.retry(stop=tenacity.stop_after_delay(10), wait=tenacity.wait_fixed(7), reraise=True),
    }

    async def operation() -> None:
        raise ConnectionError

    async def main() -> float:
        with pytest.raises(ConnectionError):
            await limited[peer](operation)()
        return asyncio.get_running_loop().time()

    assert virtual.run(main()) > 10


# --- timeout -------------------------------------------------------------------------------------


@breaks("timeout::test_an_error_of_the_operations_own_is_not_relabelled", "hyx")
def test_the_operations_own_timeout_error_is_relabelled(peer: str) -> None:
    async def operation() -> None:
        raise TimeoutError("the operation's own")

    with pytest.raises(Exception, match=r"^(?!the operation's own)"):
        asyncio.run(timeout(60)(operation)())


@breaks("timeout::test_context_variables_are_kept_in_both_directions", "hyx")
def test_what_the_operation_sets_in_its_context_is_lost(peer: str) -> None:
    variable: ContextVar[str] = ContextVar("variable", default="lost")

    async def operation() -> None:
        variable.set("kept")

    async def main() -> str:
        await timeout(60)(operation)()
        return variable.get()

    assert asyncio.run(main()) == "lost"


# --- bulkhead, rate limiter ----------------------------------------------------------------------


@breaks("bulkhead::test_slots_and_places_are_never_lost_or_given_twice", "hyx")
def test_a_cancelled_waiter_takes_a_slot_with_it(peer: str) -> None:
    limit = bulkhead(max_concurrency=1, max_capacity=3)

    async def operation(seconds: float) -> None:
        async with limit:
            await asyncio.sleep(seconds)

    async def main() -> None:
        first = asyncio.create_task(operation(5))
        await asyncio.sleep(1)
        waiters = [asyncio.create_task(operation(0)) for _ in range(2)]
        await asyncio.sleep(1)
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(first, *waiters, return_exceptions=True)
        async with asyncio.timeout(60):
            await asyncio.gather(*(operation(0) for _ in range(3)))

    with pytest.raises(Exception, match=r".*"):
        virtual.run(main())


@breaks("rate_limiter::test_a_burst_is_let_through_at_once_and_fills_up_again_slowly", "hyx")
def test_after_a_quiet_time_two_bursts_pass(peer: str) -> None:
    with asyncio.Runner() as runner, pytest.raises(jobs.NotDoingTheJob, match="no burst is larger"):
        jobs.check_limiter(Stage(runner), peers.hyx_limiter)


# --- cache ---------------------------------------------------------------------------------------

CACHES: dict[str, Callable[[Function], Function]] = {
    "cachetools": lambda fn: cachetools.cached(cachetools.TTLCache(100, 60), lock=threading.Lock())(fn),
    "functools": lambda fn: functools.lru_cache(fn),
    "async-lru": lambda fn: async_lru.alru_cache(fn),
}


@breaks("cache::test_twenty_threads_cause_one_call", "cachetools", "functools")
def test_twenty_threads_cause_twenty_calls(peer: str) -> None:
    calls: list[int] = []
    together = threading.Barrier(20)

    def operation() -> None:
        calls.append(1)
        time.sleep(0.05)

    guarded = CACHES[peer](operation)

    def work() -> None:
        together.wait()
        guarded()

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) > 1


@breaks(
    "cache::test_arguments_that_differ_in_value_or_type_have_answers_of_their_own",
    "async-lru",
    "cachetools",
    "functools",
)
def test_one_and_true_share_an_answer(peer: str) -> None:
    async def kind_async(value: object, unit: str) -> str:
        return type(value).__name__

    def kind(value: object, unit: str) -> str:
        return type(value).__name__

    async def main() -> list[str]:
        guarded = CACHES[peer](kind_async if peer == "async-lru" else kind)
        answers = [guarded(value, "s") for value in (1, 1.0, True)]
        return [await answer if inspect.isawaitable(answer) else answer for answer in answers]

    assert asyncio.run(main()) == ["int", "int", "int"]
