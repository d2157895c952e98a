"""Our patterns, each configured to do the job of a row."""

import inspect
from collections.abc import Callable
from typing import Any

from failwell import (
    AdaptiveLimit,
    Batch,
    Bulkhead,
    Cache,
    CircuitBreaker,
    Credential,
    CredentialRefresh,
    Deadline,
    Degrade,
    ExponentialRecovery,
    Fallback,
    Feature,
    HealthCheck,
    Hedge,
    InContext,
    LoadShedder,
    RateLimiter,
    Retry,
    RetryBudget,
    Router,
    SafeCall,
    Saga,
    Step,
    Timeout,
    Validate,
    Workflow,
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


def deadline(fn: Function, seconds: float) -> Function:
    """One budget of time."""
    return Deadline(seconds)(fn)


def hedge(fn: Function, delay: float) -> Function:
    """A second attempt beside a slow one."""
    return Hedge(delay)(fn)


def retry_budget(fn: Function) -> Function:
    """Three attempts, as long as a budget pays for them."""
    budget = RetryBudget(ratio=1.0, minimum_per_second=1e6)
    return Retry(ATTEMPTS, backoff=backoff.Fixed(0), on=ConnectionError, budget=budget)(fn)


def classified_retry(fn: Function) -> Function:
    """Three attempts for whatever the taxonomy calls transient."""
    return Retry(ATTEMPTS, backoff=backoff.Fixed(0))(fn)


def credential_refresh(fn: Function, fetch: Function) -> Function:
    """A token that is fetched again when it was refused."""
    return CredentialRefresh(Credential(fetch, lifetime=LONG))(fn)


def batch(fn: Function, items: int) -> Function:
    """So many items one after the other."""
    work = Batch(fn)

    def all_of_them(value: object) -> Any:
        return work([value] * items)

    return all_of_them


def recovering_breaker(fn: Function) -> Function:
    """A circuit breaker whose breaks get longer."""
    recovery = ExponentialRecovery(max=LONG)
    return CircuitBreaker(failure_threshold=FAILURES, recovery_timeout=LONG, recovery=recovery)(fn)


def adaptive_limit(fn: Function, most: int) -> Function:
    """A limit that could change."""
    return AdaptiveLimit(most, max=most)(fn)


def load_shedder(fn: Function, most: int) -> Function:
    """A capacity, all of it for important calls."""
    return LoadShedder(most, priority=_important)(fn)


def _important(value: object) -> str:
    return "critical"


def safe_call(fn: Function, alternative: Function) -> Function:
    """A default."""
    return SafeCall("alternative", on_error=None)(fn)


def degrade(fn: Function, instead: Function) -> Function:
    """Two features."""
    return Degrade([Feature("first", 1, fn, instead), Feature("second", 2, fn, instead)])


def workflow(fn: Function) -> Function:
    """Three attempts, from a configuration."""
    return Workflow.retrying(max_attempts=ATTEMPTS, backoff="fixed", initial_delay=0.0)(fn)


def error_context(fn: Function) -> Function:
    """A place for errors to name."""
    return InContext("http", target="bench", correlation_id="bench")(fn)


def health_check(fn: Function) -> Function:
    """A probe that is asked once an hour."""

    def probe() -> Any:
        return fn(1)

    async def probe_async() -> Any:
        return await fn(1)

    check = HealthCheck(probe_async if inspect.iscoroutinefunction(fn) else probe, interval=LONG)

    def asking(value: object) -> Any:
        return check()

    return asking
