"""The proofs have to notice a contender that does not do its job, or the table would compare nothing."""

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from failwell.bench import by_hand, jobs
from failwell.bench.timing import Stage

Function = Callable[..., Any]


def either(sync: Function, on_loop: Function) -> Function:
    def build(fn: Function, *args: Any) -> Function:
        return (on_loop if inspect.iscoroutinefunction(fn) else sync)(fn, *args)

    return build


PROOFS: dict[str, tuple[Function, Function]] = {
    "retry": (jobs.check_retry, either(by_hand.retry, by_hand.async_retry)),
    "fallback": (jobs.check_fallback, either(by_hand.fallback, by_hand.async_fallback)),
    "timeout": (jobs.check_timeout, either(by_hand.in_thread, by_hand.async_timeout)),
    "cache": (jobs.check_cache, either(by_hand.cache, by_hand.async_cache)),
    "stack": (jobs.check_stack, either(by_hand.stack, by_hand.async_stack)),
    "breaker": (jobs.check_breaker, either(by_hand.breaker, by_hand.async_breaker)),
    "open breaker": (
        jobs.check_open_breaker,
        lambda fn, other: by_hand.answered(either(by_hand.breaker, by_hand.async_breaker)(fn), other),
    ),
    "bucket": (jobs.check_limiter, either(by_hand.limiter, by_hand.async_limiter)),
    "window": (jobs.check_limiter, either(by_hand.window, by_hand.async_window)),
    "bulkhead": (jobs.check_bulkhead, either(by_hand.bulkhead, by_hand.async_bulkhead)),
    "router": (jobs.check_router, either(by_hand.router, by_hand.async_router)),
    "saga": (jobs.check_saga, either(by_hand.saga, by_hand.async_saga)),
    "hedge": (jobs.check_hedge, either(by_hand.hedge, by_hand.async_hedge)),
    "retry budget": (jobs.check_retry, either(by_hand.retry_budget, by_hand.async_retry_budget)),
    "credential": (
        jobs.check_credential_refresh,
        either(by_hand.credential_refresh, by_hand.async_credential_refresh),
    ),
    "batch": (jobs.check_batch, either(by_hand.batch, by_hand.async_batch)),
    "degrade": (jobs.check_degrade, either(by_hand.degrade, by_hand.async_degrade)),
    "context": (jobs.check_context, either(by_hand.error_context, by_hand.async_error_context)),
    "health check": (jobs.check_health_check, either(by_hand.health_check, by_hand.async_health_check)),
    "validate": (jobs.check_validate, either(by_hand.validate, by_hand.async_validate)),
}


@pytest.mark.parametrize("name", PROOFS)
def test_what_does_the_job_passes(name: str, stage: Stage):
    check, build = PROOFS[name]
    check(stage, build)


@pytest.fixture
def short_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """For contenders that wait for the end of a hang."""
    monkeypatch.setattr(jobs, "HANG", 0.01)


@pytest.mark.usefixtures("short_hangs")
@pytest.mark.parametrize("name", PROOFS)
def test_a_bare_call_passes_for_nothing(name: str, stage: Stage):
    check, _ = PROOFS[name]
    with pytest.raises((jobs.NotDoingTheJob, ConnectionError)):
        check(stage, lambda fn, *args: fn)


def wrong_retry(attempts: int, on: type[Exception] = ConnectionError, wait: float = 0) -> Function:
    def sync(fn: Function) -> Function:
        def retrying(value: object) -> object:
            for attempt in range(1, attempts + 1):
                try:
                    return fn(value)
                except on:
                    if attempt == attempts:
                        raise
                    time.sleep(wait)
            raise AssertionError

        return retrying

    def on_loop(fn: Function) -> Function:
        async def retrying(value: object) -> object:
            for attempt in range(1, attempts + 1):
                try:
                    return await fn(value)
                except on:
                    if attempt == attempts:
                        raise
                    await asyncio.sleep(wait)
            raise AssertionError

        return retrying

    return either(sync, on_loop)


@pytest.mark.parametrize(
    ("build", "what"),
    [
        (wrong_retry(4), "gives up after 3 calls, not 4"),
        (wrong_retry(3, Exception), "other errors"),
        (wrong_retry(3, wait=0.001), "wait between two attempts is zero"),
    ],
    ids=["one too many", "retries everything", "waits"],
)
def test_a_wrong_retry_is_noticed(build: Function, what: str, stage: Stage):
    with pytest.raises(jobs.NotDoingTheJob, match=what):
        jobs.check_retry(stage, build)


def test_a_fallback_that_does_not_try_first_is_noticed(stage: Stage):
    with pytest.raises(jobs.NotDoingTheJob):
        jobs.check_fallback(stage, lambda fn, alternative: alternative)


@pytest.mark.usefixtures("short_hangs")
def test_a_timeout_that_comes_late_is_noticed(stage: Stage):
    def sync(fn: Function, seconds: float) -> Function:
        def late(value: object) -> object:
            answer = fn(value)
            if seconds < jobs.LONG:
                raise TimeoutError
            return answer

        return late

    def on_loop(fn: Function, seconds: float) -> Function:
        async def late(value: object) -> object:
            answer = await fn(value)
            if seconds < jobs.LONG:
                raise TimeoutError
            return answer

        return late

    with pytest.raises(jobs.NotDoingTheJob, match="not when the hang is over"):
        jobs.check_timeout(stage, either(sync, on_loop))


def test_a_wait_of_any_kind_is_noticed():
    calm = Stage(None)
    with jobs.waits(calm) as asked:
        time.sleep(0.001)
        threading.Event().wait(0.001)
        threading.Event().wait(timeout=0.001)
    assert asked == [0.001] * 3
    with jobs.waits(calm) as asked:
        time.sleep(0)
    assert asked == []
    with asyncio.Runner() as runner:
        loop = Stage(runner)
        with jobs.waits(loop) as asked:
            loop.call(asyncio.sleep, 0.01)
            loop.call(asyncio.sleep, 0)
        assert len(asked) == 1
        assert 0 < asked[0] <= 0.01


def test_a_cache_that_never_expires_is_noticed(stage: Stage):
    cache = PROOFS["cache"][1]
    with pytest.raises(jobs.NotDoingTheJob, match="expires"):
        jobs.check_cache(stage, lambda fn, ttl: cache(fn, jobs.LONG))


def test_a_cache_that_ignores_its_arguments_is_noticed(stage: Stage):
    cache = PROOFS["cache"][1]

    def deaf(fn: Function, ttl: float) -> Function:
        if stage.is_async:

            async def ignore_async() -> object:
                return await fn(7)

            kept_async = cache(ignore_async, ttl)

            async def answer_async(value: object) -> object:
                return await kept_async()

            return answer_async
        kept = cache(lambda: fn(7), ttl)
        return lambda value: kept()

    with pytest.raises(jobs.NotDoingTheJob, match="other arguments"):
        jobs.check_cache_for_ever(stage, deaf)


@pytest.mark.usefixtures("short_hangs")
def test_a_stack_without_a_timeout_is_noticed(stage: Stage):
    def without(fn: Function, alternative: Function, seconds: float) -> Function:
        retried = PROOFS["retry"][1](fn)
        return PROOFS["fallback"][1](retried, alternative)

    with pytest.raises(jobs.NotDoingTheJob, match="hang"):
        jobs.check_stack(stage, without)


def test_a_breaker_that_opens_too_late_is_noticed(stage: Stage):
    def counting_two(fn: Function) -> Function:
        return either(by_hand.breaker, by_hand.async_breaker)(wrong_retry(2)(fn))

    with pytest.raises(jobs.NotDoingTheJob):
        jobs.check_breaker(stage, counting_two)


def test_a_limiter_that_saves_up_two_bursts_is_noticed(stage: Stage):
    def twice(fn: Function, rate: int, per: float) -> Function:
        made = time.monotonic()
        admitted: list[float] = []

        def admit() -> None:
            saved_up = rate if time.monotonic() > made + per else 0
            if len(admitted) >= rate + saved_up:
                raise by_hand.TooMany
            admitted.append(time.monotonic())

        async def limited_async(value: object) -> object:
            admit()
            return await fn(value)

        def limited(value: object) -> object:
            admit()
            return fn(value)

        return limited_async if stage.is_async else limited

    jobs.check_limiter_at_first(stage, twice)
    with pytest.raises(jobs.NotDoingTheJob, match="burst"):
        jobs.check_limiter(stage, twice)


def test_pauses_are_counted():
    with asyncio.Runner() as runner:
        loop = Stage(runner)
        assert loop.call(jobs.async_plain, 3) == 3
        assert jobs.pauses(loop, jobs.async_plain) == 0
        assert jobs.pauses(loop, jobs.suspends) == 1
        assert jobs.pauses(loop, jobs.awaits_future) == pytest.approx(1, abs=1)
    calm = Stage(None)
    assert jobs.pauses(calm, jobs.plain) == 0
    assert jobs.pauses(calm, lambda value: time.sleep(0)) == 1


def test_the_flaky_operation_fails_every_other_time(stage: Stage):
    operation = jobs.flaky(stage)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            stage.call(operation, 1)
        assert stage.call(operation, 1) == 1
