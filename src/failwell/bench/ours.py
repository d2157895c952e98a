"""Our patterns, each configured to do the job of a row."""

import inspect
from collections.abc import Callable
from typing import Any

from failwell import (
    Bulkhead,
    Cache,
    CircuitBreaker,
    Fallback,
    RateLimiter,
    Retry,
    Router,
    Saga,
    Step,
    Timeout,
    Validate,
    backoff,
)
from failwell.bench import by_hand
from failwell.bench.jobs import ATTEMPTS, FAILURES, LONG

Function = Callable[..., Any]


def retry(fn: Function) -> Function:
    """Three attempts without a wait."""
    return Retry(ATTEMPTS, backoff=backoff.Fixed(0), on=ConnectionError)(fn)


def fallback(fn: Function, alternative: Function) -> Function:
    """One alternative."""
    return Fallback(alternative, on=ConnectionError)(fn)


def timeout(fn: Function, seconds: float) -> Function:
    """A time limit."""
    return Timeout(seconds)(fn)


def cache(fn: Function, ttl: float) -> Function:
    """A cache whose entries expire."""
    return Cache(ttl)(fn)


def stack(fn: Function, alternative: Function, seconds: float) -> Function:
    """The three of them, composed."""
    stack = Fallback(alternative) >> Retry(ATTEMPTS, backoff=backoff.Fixed(0)) >> Timeout(seconds)
    return stack(fn)


def breaker(fn: Function) -> Function:
    """A circuit breaker."""
    return CircuitBreaker(failure_threshold=FAILURES, recovery_timeout=LONG)(fn)


def bucket(fn: Function, rate: int, per: float) -> Function:
    """A rate limiter with a burst."""
    return RateLimiter(rate, per, burst=rate)(fn)


def window(fn: Function, rate: int, per: float) -> Function:
    """A rate limiter without one: exact in each window."""
    return RateLimiter(rate, per)(fn)


def bulkhead(fn: Function, most: int) -> Function:
    """A bulkhead whose queue is of no length."""
    return Bulkhead(most)(fn)


def router(fn: Function, other: Function) -> Function:
    """A router with two routes."""
    return Router({"first": fn, "second": other}, select=_by_sign)


def _by_sign(value: int) -> str:
    return "first" if value > 0 else "second"


def validate(fn: Function) -> Function:
    """Both validators."""
    return Validate(by_hand.is_positive, by_hand.is_small)(fn)


def saga(fn: Function, undone: Function) -> Function:
    """A saga of two steps."""

    def second(state: dict[str, Any]) -> Any:
        return fn(state["value"])

    async def second_async(state: dict[str, Any]) -> Any:
        return await fn(state["value"])

    def undo(state: dict[str, Any]) -> Any:
        by_hand.undo_first_step(state)
        return undone(state["value"])

    action = second_async if inspect.iscoroutinefunction(fn) else second
    order = Saga([Step(by_hand.first_step, undo, name="first"), Step(action, name="second")])

    def ordering(value: object) -> Any:
        return order({"value": value})

    return ordering
