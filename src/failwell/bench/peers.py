"""Fifteen other libraries, each configured to do the job of a row.

Three attempts, `ConnectionError` only, no wait, no logging. Where a library offers several ways, it gets the one
that its documentation shows and that is fastest here. The comment in each function names the option that was used
and where its documentation has it.
"""

import asyncio
import contextlib
import functools
import importlib
import importlib.metadata
import inspect
import itertools
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from failwell.bench import by_hand
from failwell.bench.jobs import ATTEMPTS, FAILURES, LONG

Function = Callable[..., Any]

#: Distributions, and the modules that somebody imports who needs these patterns.
PEERS: Final[dict[str, tuple[str, ...]]] = {
    "aiolimiter": ("aiolimiter",),
    "anyio": ("anyio",),
    "async-lru": ("async_lru",),
    "backoff": ("backoff",),
    "cachetools": ("cachetools",),
    "circuitbreaker": ("circuitbreaker",),
    "hyx": ("hyx.retry", "hyx.timeout", "hyx.fallback", "hyx.circuitbreaker", "hyx.ratelimit", "hyx.bulkhead"),
    "interlock-cb": ("interlock",),
    "limits": ("limits", "limits.aio"),
    "opnieuw": ("opnieuw",),
    "purgatory": ("purgatory",),
    "pybreaker": ("pybreaker",),
    "pyfailsafe": ("failsafe",),
    "pyrate-limiter": ("pyrate_limiter",),
    "stamina": ("stamina",),
    "tenacity": ("tenacity",),
}

_NAMESPACE: Final = "failwell.bench"
_names = itertools.count()


def installed() -> dict[str, str]:
    """The peers that are installed here, with their versions."""
    found: dict[str, str] = {}
    for name in PEERS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _load(module: str) -> Any:
    # When it is needed, and as Any: none of them has to be installed here, and few are typed.
    return importlib.import_module(module)


@contextlib.contextmanager
def settings() -> Generator[None, None, None]:
    """What some peers want set around their calls rather than in them. Sets context variables."""
    versions = installed()
    with contextlib.ExitStack() as stack:
        if "opnieuw" in versions:
            stack.enter_context(_load("opnieuw.test_util").retry_immediately(_NAMESPACE))
        if "stamina" in versions:
            # Docs, "Instrumentation": an empty list of hooks switches the logging of retries off, None back on.
            instrumentation = _load("stamina.instrumentation")
            instrumentation.set_on_retry_hooks([])
            stack.callback(instrumentation.set_on_retry_hooks, None)
        yield


# --- retry ---------------------------------------------------------------------------------------------------------


def tenacity_retry(fn: Function, on: Any = ConnectionError, **options: Any) -> Function:
    """Tenacity's decorator."""
    # Docs, "Stopping", "Waiting before retrying", "Whether to retry"; `reraise` under "Error handling".
    tenacity = _load("tenacity")
    made: Function = tenacity.retry(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_none(),
        retry=tenacity.retry_if_exception_type(on),
        reraise=True,
        **options,
    )(fn)
    return made


def _no_sleep(seconds: float) -> None:
    """Stand in for `time.sleep`, where a library lets itself be told."""


def tenacity_retry_without_sleep(fn: Function) -> Function:
    """Tenacity's decorator without its `time.sleep(0)`."""
    # API reference of BaseRetrying: `sleep`, the function to wait with.
    return tenacity_retry(fn, sleep=_no_sleep)


def stamina_retry(fn: Function, on: Any = ConnectionError) -> Function:
    """Stamina's decorator."""
    # API reference of `retry`: `timeout=None` switches the limit off, the other three make every wait zero.
    made: Function = _load("stamina").retry(
        on=on, attempts=ATTEMPTS, timeout=None, wait_initial=0, wait_max=0, wait_jitter=0
    )(fn)
    return made


def backoff_retry(fn: Function, on: Any = ConnectionError) -> Function:
    """Backoff's decorator."""
    # README, "backoff.on_exception", "Jitter" (None switches it off), "Logging configuration" (None as well).
    backoff = _load("backoff")
    made: Function = backoff.on_exception(
        backoff.constant, on, max_tries=ATTEMPTS, interval=0, jitter=None, logger=None
    )(fn)
    return made


def opnieuw_retry(fn: Function) -> Function:
    """Opnieuw's decorator."""
    # Docstring of `retry`: to retry without delay, use `retry_immediately`. (A retry window of zero never retries.)
    # It is a context manager, see `settings`.
    made: Function = _load("opnieuw").retry(
        retry_on_exceptions=ConnectionError, max_calls_total=ATTEMPTS, namespace=_NAMESPACE
    )(fn)
    return made


def hyx_retry(fn: Function, on: Any = ConnectionError) -> Function:
    """Hyx's decorator."""
    # Docs, "Retries": `attempts` counts the calls after the first; "Specify Delays" shows the backoff of zero.
    made: Function = _load("hyx.retry").retry(on=on, attempts=ATTEMPTS - 1, backoff=0)(fn)
    return made


def pyfailsafe_retry(fn: Function) -> Function:
    """Pyfailsafe's `run`, which has no form as a decorator: through a partial, the cheapest way."""
    # README, "Failsafe call with retries": "by default, retries are executed immediately".
    failsafe = _load("failsafe")
    policy = failsafe.RetryPolicy(allowed_retries=ATTEMPTS - 1, retriable_exceptions=[ConnectionError])
    return functools.partial(failsafe.Failsafe(retry_policy=policy).run, fn)


# --- fallback ------------------------------------------------------------------------------------------------------


def tenacity_fallback(fn: Function, alternative: Function) -> Function:
    """One attempt, and `retry_error_callback` for the answer."""
    # Docs, "Custom callbacks": the callback's value is the answer once the attempts are used up. It gets the state
    # of the call, with its arguments. `reraise` has to be off.
    tenacity = _load("tenacity")
    made: Function = tenacity.retry(
        stop=tenacity.stop_after_attempt(1),
        retry=tenacity.retry_if_exception_type(ConnectionError),
        retry_error_callback=_tenacity_callback(alternative),
    )(fn)
    return made


def _tenacity_callback(alternative: Function) -> Function:
    if inspect.iscoroutinefunction(alternative):

        async def answer_async(state: Any) -> Any:
            return await alternative(*state.args, **state.kwargs)

        return answer_async

    def answer(state: Any) -> Any:
        return alternative(*state.args, **state.kwargs)

    return answer


def hyx_fallback(fn: Function, alternative: Function, on: Any = ConnectionError) -> Function:
    """Hyx's decorator."""

    # Docs, "Fallback": the handler gets the error (or the result), then the arguments of the call.
    async def handler(error: object, *args: Any, **kwargs: Any) -> Any:
        return await alternative(*args, **kwargs)

    made: Function = _load("hyx.fallback").fallback(handler, on=on)(fn)
    return made


async def _call_option(option: Function, *args: Any) -> Any:
    return await option(*args)


def pyfailsafe_fallback(fn: Function, alternative: Function) -> Function:
    """Pyfailsafe's `FallbackFailsafe`, with functions as its options."""
    # README, "Using fallbacks": options are tried in turn. Left to itself it retries each option three times and
    # gives it a circuit breaker that opens after two failures; here it gets neither, as `Failsafe` has by default.
    return _pyfailsafe(fn, alternative, retries=0)


def _pyfailsafe(fn: Function, alternative: Function, retries: int) -> Function:
    failsafe = _load("failsafe")
    always_closed = _load("failsafe.circuit_breaker").AlwaysClosedCircuitBreaker

    def policy(option: object) -> Any:
        return failsafe.RetryPolicy(allowed_retries=retries, retriable_exceptions=[ConnectionError, TimeoutError])

    def breaker(option: object) -> Any:
        return always_closed()

    fallbacks = failsafe.FallbackFailsafe(
        [fn, alternative], retry_policy_factory=policy, circuit_breaker_factory=breaker
    )
    return functools.partial(fallbacks.run, _call_option)


# --- timeout -------------------------------------------------------------------------------------------------------


def wait_for(fn: Function, seconds: float) -> Function:
    """`asyncio.wait_for` of the standard library."""

    @functools.wraps(fn)
    async def limited(*args: Any, **kwargs: Any) -> Any:
        return await asyncio.wait_for(fn(*args, **kwargs), seconds)

    return limited


def hyx_timeout(fn: Function, seconds: float) -> Function:
    """Hyx's decorator, which makes a task for each call."""
    # Docs, "Timeouts", "Local Timeouts": the decorator.
    made: Function = _load("hyx.timeout").timeout(seconds)(fn)
    return made


def hyx_timeout_context(fn: Function, seconds: float) -> Function:
    """Hyx's context manager, which only sets a timer."""
    # Docs, "Timeouts", "Local Timeouts": the context manager.
    timeout = _load("hyx.timeout").timeout

    @functools.wraps(fn)
    async def limited(*args: Any, **kwargs: Any) -> Any:
        async with timeout(seconds):
            return await fn(*args, **kwargs)

    return limited


def in_pool(fn: Function, seconds: float) -> Function:
    """One thread pool for all calls, of the standard library. A call that hangs takes its thread out of the pool."""
    pool = ThreadPoolExecutor(max_workers=4)

    @functools.wraps(fn)
    def limited(*args: Any, **kwargs: Any) -> Any:
        return pool.submit(fn, *args, **kwargs).result(seconds)

    return limited


# --- cache ---------------------------------------------------------------------------------------------------------


def cachetools_cache(fn: Function, ttl: float) -> Function:
    """Cachetools' decorator without a lock: not safe in threads."""
    # Docs, "Memoizing decorators" and "Cache implementations".
    cachetools = _load("cachetools")
    made: Function = cachetools.cached(cachetools.TTLCache(maxsize=1024, ttl=ttl))(fn)
    return made


def cachetools_cache_locked(fn: Function, ttl: float) -> Function:
    """Cachetools' decorator with a lock: safe in threads."""
    # Docs, "Memoizing decorators": `lock`, for use from several threads.
    cachetools = _load("cachetools")
    made: Function = cachetools.cached(cachetools.TTLCache(maxsize=1024, ttl=ttl), lock=threading.Lock())(fn)
    return made


def lru_cache(fn: Function, ttl: float) -> Function:
    """`functools.lru_cache` of the standard library: written in C, and nothing in it ever expires."""
    return functools.lru_cache(maxsize=1024)(fn)


def async_lru_cache(fn: Function, ttl: float) -> Function:
    """The decorator of async-lru."""
    # README: "TTL (time-to-live in seconds, expiration on timeout)".
    made: Function = _load("async_lru").alru_cache(maxsize=1024, ttl=ttl)(fn)
    return made


# --- a stack of three ----------------------------------------------------------------------------------------------

_RETRIED: Final = (ConnectionError, TimeoutError)


def tenacity_stack(fn: Function, alternative: Function, seconds: float) -> Function:
    """Tenacity for retry and fallback, `asyncio.timeout` (or a thread) for the time limit."""
    # "Custom callbacks" again: `retry_error_callback` answers when the attempts are used up.
    limit = by_hand.async_timeout if inspect.iscoroutinefunction(fn) else by_hand.in_thread
    tenacity = _load("tenacity")
    made: Function = tenacity.retry(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_none(),
        retry=tenacity.retry_if_exception_type(_RETRIED),
        retry_error_callback=_tenacity_callback(alternative),
    )(limit(fn, seconds))
    return made


def _answered(fn: Function, alternative: Function) -> Function:
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def recovering_async(*args: Any, **kwargs: Any) -> Any:
            try:
                return await fn(*args, **kwargs)
            except _RETRIED:
                return await alternative(*args, **kwargs)

        return recovering_async

    @functools.wraps(fn)
    def recovering(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except _RETRIED:
            return alternative(*args, **kwargs)

    return recovering


def stamina_stack(fn: Function, alternative: Function, seconds: float) -> Function:
    """Stamina for the retry; the rest by hand."""
    limit = by_hand.async_timeout if inspect.iscoroutinefunction(fn) else by_hand.in_thread
    return _answered(stamina_retry(limit(fn, seconds), _RETRIED), alternative)


def backoff_stack(fn: Function, alternative: Function, seconds: float) -> Function:
    """Backoff for the retry; the rest by hand."""
    limit = by_hand.async_timeout if inspect.iscoroutinefunction(fn) else by_hand.in_thread
    return _answered(backoff_retry(limit(fn, seconds), _RETRIED), alternative)


def hyx_stack(fn: Function, alternative: Function, seconds: float) -> Function:
    """Hyx for all three, with its faster form of timeout."""
    late = _load("hyx.timeout.exceptions").MaxDurationExceeded
    exhausted = _load("hyx.retry.exceptions").MaxAttemptsExceeded
    retried = hyx_retry(hyx_timeout_context(fn, seconds), (ConnectionError, late))
    return hyx_fallback(retried, alternative, on=exhausted)


def pyfailsafe_stack(fn: Function, alternative: Function, seconds: float) -> Function:
    """Pyfailsafe for retry and fallback, `asyncio.timeout` for the time limit."""
    return _pyfailsafe(by_hand.async_timeout(fn, seconds), alternative, retries=ATTEMPTS - 1)


# --- circuit breaker -----------------------------------------------------------------------------------------------


def circuitbreaker_breaker(fn: Function) -> Function:
    """Circuitbreaker's decorator."""
    # README, "Usage": `failure_threshold` and `recovery_timeout`.
    made: Function = _load("circuitbreaker").circuit(
        failure_threshold=FAILURES, recovery_timeout=int(LONG), name=f"failwell.bench.{next(_names)}"
    )(fn)
    return made


def pybreaker_breaker(fn: Function) -> Function:
    """Pybreaker's decorator. Its async form needs Tornado, so it has none here."""
    # README, "Usage": `fail_max` and `reset_timeout`.
    made: Function = _load("pybreaker").CircuitBreaker(fail_max=FAILURES, reset_timeout=LONG)(fn)
    return made


def purgatory_breaker(fn: Function) -> Function:
    """Purgatory's decorator."""
    # README: `default_threshold` and `default_ttl` of the factory, the name of the circuit on the decorator.
    purgatory = _load("purgatory")
    factory = (
        purgatory.AsyncCircuitBreakerFactory if inspect.iscoroutinefunction(fn) else purgatory.SyncCircuitBreakerFactory
    )
    made: Function = factory(default_threshold=FAILURES, default_ttl=LONG)("bench")(fn)
    return made


def hyx_breaker(fn: Function) -> Function:
    """Hyx's decorator."""
    # Docs, "Circuit Breakers": the consecutive breaker.
    made: Function = _load("hyx.circuitbreaker").consecutive_breaker(
        failure_threshold=FAILURES, recovery_time_secs=LONG
    )(fn)
    return made


def pyfailsafe_breaker(fn: Function) -> Function:
    """Pyfailsafe's circuit breaker, through a partial."""
    # README, "Circuit breakers".
    failsafe = _load("failsafe")
    breaker = failsafe.CircuitBreaker(maximum_failures=FAILURES, reset_timeout_seconds=LONG)
    return functools.partial(failsafe.Failsafe(circuit_breaker=breaker).run, fn)


def interlock_breaker(fn: Function) -> Function:
    """Interlock's decorator. It counts shares only: all of the last five calls."""
    # README, "Quickstart"; `Config` and its docstring.
    interlock = _load("interlock")
    config = interlock.Config(
        failure_rate_threshold=1.0,
        minimum_number_of_calls=FAILURES,
        window_size=FAILURES,
        wait_duration_in_open=LONG,
    )
    made: Function = interlock.CircuitBreaker(name=f"failwell.bench.{next(_names)}", config=config)(fn)
    return made


# --- rate limiter --------------------------------------------------------------------------------------------------


class Refused(Exception):
    """What a call ends with that a limiter said no to, where the library leaves that to its user."""


def aiolimiter_limiter(fn: Function, rate: int, per: float) -> Function:
    """Aiolimiter's leaky bucket, as a context manager; a call too many waits."""
    # Docs, "Usage": `AsyncLimiter(max_rate, time_period)` and `async with`.
    bucket = _load("aiolimiter").AsyncLimiter(rate, per)

    @functools.wraps(fn)
    async def limited(*args: Any, **kwargs: Any) -> Any:
        async with bucket:
            return await fn(*args, **kwargs)

    return limited


def hyx_limiter(fn: Function, rate: int, per: float) -> Function:
    """Hyx's decorator with a token bucket."""
    # Docs, "Rate Limiters", "Token Bucket".
    made: Function = _load("hyx.ratelimit").tokenbucket(max_executions=rate, per_time_secs=per, bucket_size=rate)(fn)
    return made


def limits_limiter(fn: Function, rate: int, per: float) -> Function:
    """Limits' moving window in memory."""
    # Docs, "Quickstart": a strategy on a storage, `hit`. Its items know whole seconds only.
    limits = _load("limits")
    item = limits.RateLimitItemPerSecond(rate, max(1, round(per)))
    if inspect.iscoroutinefunction(fn):
        aio = _load("limits.aio")
        window = aio.strategies.MovingWindowRateLimiter(aio.storage.MemoryStorage())

        @functools.wraps(fn)
        async def limited_async(*args: Any, **kwargs: Any) -> Any:
            if not await window.hit(item, "bench"):
                raise Refused
            return await fn(*args, **kwargs)

        return limited_async
    moving = limits.strategies.MovingWindowRateLimiter(limits.storage.MemoryStorage())

    @functools.wraps(fn)
    def limited(*args: Any, **kwargs: Any) -> Any:
        if not moving.hit(item, "bench"):
            raise Refused
        return fn(*args, **kwargs)

    return limited


def pyrate_limiter(fn: Function, rate: int, per: float) -> Function:
    """Pyrate-limiter's window in memory, which does not wait."""
    # README, "Quickstart" and "Limiter": `try_acquire(..., blocking=False)`; `try_acquire_async` on a loop.
    pyrate = _load("pyrate_limiter")
    limiter = pyrate.Limiter(pyrate.Rate(rate, max(1, round(per * 1000))))
    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def limited_async(*args: Any, **kwargs: Any) -> Any:
            if not await limiter.try_acquire_async("bench", blocking=False):
                raise Refused
            return await fn(*args, **kwargs)

        return limited_async

    @functools.wraps(fn)
    def limited(*args: Any, **kwargs: Any) -> Any:
        if not limiter.try_acquire("bench", blocking=False):
            raise Refused
        return fn(*args, **kwargs)

    return limited


# --- bulkhead ------------------------------------------------------------------------------------------------------


def hyx_bulkhead(fn: Function, most: int) -> Function:
    """Hyx's decorator."""
    # Docs, "Bulkhead".
    made: Function = _load("hyx.bulkhead").bulkhead(max_concurrency=most, max_capacity=most)(fn)
    return made


def interlock_bulkhead(fn: Function, most: int) -> Function:
    """Interlock's pipeline with a bulkhead only."""
    # Docs, "Resilience pipeline".
    interlock = _load("interlock")
    made: Function = interlock.Pipeline(interlock.BulkheadStrategy(most))(fn)
    return made


def anyio_bulkhead(fn: Function, most: int) -> Function:
    """Anyio's `CapacityLimiter`, which everybody waits for."""
    # Docs, "Using synchronization primitives", "Capacity limiters".
    slots = _load("anyio").CapacityLimiter(most)

    @functools.wraps(fn)
    async def limited(*args: Any, **kwargs: Any) -> Any:
        async with slots:
            return await fn(*args, **kwargs)

    return limited


# --- deadline ------------------------------------------------------------------------------------------------------


def anyio_deadline(fn: Function, seconds: float) -> Function:
    """Anyio's `fail_after`."""
    # Docs, "Cancellation and timeouts".
    fail_after = _load("anyio").fail_after

    @functools.wraps(fn)
    async def limited(*args: Any, **kwargs: Any) -> Any:
        with fail_after(seconds):
            return await fn(*args, **kwargs)

    return limited
