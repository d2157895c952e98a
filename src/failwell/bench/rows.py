"""The rows of the benchmark: what is measured, and who takes part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from failwell.bench import by_hand, jobs, ours, peers
from failwell.bench.jobs import BRIEFLY, LONG, MANY, OFTEN, Build
from failwell.bench.timing import Stage

Function = Callable[..., Any]

#: `bare` is the operation alone; `closure` the same job by hand; `information` takes part in no comparison.
Role = Literal["bare", "closure", "ours", "peer", "information"]


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to do the job of a row. `library` is the distribution that it needs."""

    name: str
    role: Role
    build: Build
    library: str = ""
    note: str = ""
    #: Another proof than the row's, for one that does a part of the job only.
    check: Callable[[Stage, Build], None] | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One job on one path, and everybody who is timed at it."""

    key: str
    group: str
    title: str
    is_async: bool
    contenders: Sequence[Contender]
    #: Proves that a contender does the job, or raises `NotDoingTheJob`.
    check: Callable[[Stage, Build], None]
    #: Everything that `Contender.build` needs for the timed call: the operation first.
    arguments: Callable[[Stage], Sequence[Any]]
    #: What the bare call has to do by hand when the operation fails; None on a success path.
    after_failure: Callable[[Stage, Function], Function] | None = None
    #: Whether threads take part. Then the processor time of all of them is measured: how long the system takes to
    #: find a new thread a free core depends on what else runs there, and swings by a factor of thirty.
    threads: bool = False

    @property
    def success(self) -> bool:
        """Whether nothing fails in this row."""
        return self.after_failure is None


def _hand(build: Build, name: str = "by hand", note: str = "") -> Contender:
    return Contender(name, "closure", build, note=note)


def _ours(build: Build, note: str = "") -> Contender:
    return Contender("failwell", "ours", build, note=note)


def _peer(library: str, build: Build, name: str = "", note: str = "") -> Contender:
    return Contender(name or library, "peer", build, library, note)


# --- what is timed: the arguments of `build`, the operation first --------------------------------------------------


def _plain(stage: Stage) -> Function:
    return jobs.async_plain if stage.is_async else jobs.plain


def _succeeding(stage: Stage) -> Sequence[Any]:
    return (_plain(stage),)


def _failing_once(stage: Stage) -> Sequence[Any]:
    return (jobs.flaky(stage),)


def _succeeding_or_instead(stage: Stage) -> Sequence[Any]:
    return _plain(stage), jobs.instead(stage)


def _failing_or_instead(stage: Stage) -> Sequence[Any]:
    return (jobs.async_broken if stage.is_async else jobs.broken), jobs.instead(stage)


def _succeeding_for_long(stage: Stage) -> Sequence[Any]:
    return _plain(stage), LONG


def _answered(build: Build) -> Build:
    """A breaker, with an answer for its rejections."""

    def answered(fn: Function, alternative: Function) -> Function:
        return by_hand.answered(build(fn), alternative)

    return answered


def _opened(contenders: Sequence[Contender]) -> list[Contender]:
    """The same breakers, for the calls that they refuse."""
    return [replace(contender, build=_answered(contender.build)) for contender in contenders]


def _often(stage: Stage) -> Sequence[Any]:
    return _plain(stage), OFTEN, BRIEFLY


def _many(stage: Stage) -> Sequence[Any]:
    return _plain(stage), MANY


def _limited(operation: Function) -> Callable[[Stage], Sequence[Any]]:
    return lambda stage: (operation, LONG)


def _stacked(operation: Function) -> Callable[[Stage], Sequence[Any]]:
    return lambda stage: (operation, jobs.instead(stage), LONG)


def _again(stage: Stage, operation: Function) -> Function:
    return operation


def _instead(stage: Stage, operation: Function) -> Function:
    return jobs.instead(stage)


# --- the rows ------------------------------------------------------------------------------------------------------

_RETRY: Final = (
    _hand(by_hand.retry),
    _ours(ours.retry),
    _peer("backoff", peers.backoff_retry),
    _peer("opnieuw", peers.opnieuw_retry),
    _peer("stamina", peers.stamina_retry),
    _peer("tenacity", peers.tenacity_retry),
)
_SYNC_RETRY: Final = (
    *_RETRY,
    _peer("tenacity", peers.tenacity_retry_without_sleep, "tenacity, sleep off", "given a `sleep=` that does nothing"),
)
_ASYNC_RETRY: Final = (
    _hand(by_hand.async_retry),
    *_RETRY[1:],
    _peer("hyx", peers.hyx_retry),
    _peer("pyfailsafe", peers.pyfailsafe_retry),
)
_FALLBACK: Final = (
    _hand(by_hand.fallback),
    _ours(ours.fallback),
    _peer("tenacity", peers.tenacity_fallback, note="one attempt and a `retry_error_callback`"),
)
_ASYNC_FALLBACK: Final = (
    _hand(by_hand.async_fallback),
    *_FALLBACK[1:],
    _peer("hyx", peers.hyx_fallback),
    _peer("pyfailsafe", peers.pyfailsafe_fallback),
)
_TIMEOUT: Final = (
    _hand(by_hand.in_thread, "by hand: a thread for each call"),
    _ours(ours.timeout),
    Contender(
        "ThreadPoolExecutor",
        "information",
        peers.in_pool,
        note="standard library; a call that hangs takes its thread out of the pool",
    ),
)
_ASYNC_TIMEOUT: Final = (
    _hand(by_hand.async_timeout, "by hand: `asyncio.timeout`"),
    _ours(ours.timeout),
    Contender("asyncio.wait_for", "peer", peers.wait_for, note="standard library"),
    _peer("hyx", peers.hyx_timeout, "hyx, decorator"),
    _peer("hyx", peers.hyx_timeout_context, "hyx, context manager"),
)
_CACHE: Final = (
    _hand(by_hand.cache, note="no lock, no limit on its size, `1` and `1.0` are the same key"),
    _ours(ours.cache),
    _peer("cachetools", peers.cachetools_cache, "cachetools", "no lock"),
    _peer("cachetools", peers.cachetools_cache_locked, "cachetools, lock"),
    Contender(
        "functools.lru_cache",
        "information",
        peers.lru_cache,
        note="written in C; nothing in it ever expires",
        check=jobs.check_cache_for_ever,
    ),
)
_ASYNC_CACHE: Final = (
    _hand(by_hand.async_cache, note="no limit on its size, `1` and `1.0` are the same key"),
    _ours(ours.cache),
    _peer("async-lru", peers.async_lru_cache),
)
_STACK: Final = (
    _hand(by_hand.stack, note="a thread for each attempt"),
    _ours(ours.stack),
    _peer("backoff", peers.backoff_stack, "backoff + by hand"),
    _peer("stamina", peers.stamina_stack, "stamina + by hand"),
    _peer("tenacity", peers.tenacity_stack, "tenacity + by hand", "its callback as the fallback"),
)
_ASYNC_STACK: Final = (
    _hand(by_hand.async_stack, note="one function, `asyncio.timeout` in its loop"),
    _ours(ours.stack),
    _peer("backoff", peers.backoff_stack, "backoff + by hand", "`asyncio.timeout` and a `try`"),
    _peer("hyx", peers.hyx_stack, "hyx", "all three; its timeout as a context manager"),
    _peer("pyfailsafe", peers.pyfailsafe_stack, "pyfailsafe + `asyncio.timeout`"),
    _peer("stamina", peers.stamina_stack, "stamina + by hand", "`asyncio.timeout` and a `try`"),
    _peer("tenacity", peers.tenacity_stack, "tenacity + `asyncio.timeout`", "its callback as the fallback"),
)
_BREAKER: Final = (
    _hand(by_hand.breaker, note="not safe in threads, no half-open state"),
    _ours(ours.breaker),
    _peer("circuitbreaker", peers.circuitbreaker_breaker),
    _peer("interlock-cb", peers.interlock_breaker, note="a share of the last five calls"),
    _peer("purgatory", peers.purgatory_breaker),
    _peer("pybreaker", peers.pybreaker_breaker),
)
_ASYNC_BREAKER: Final = (
    _hand(by_hand.async_breaker, note="no half-open state"),
    *_BREAKER[1:5],
    _peer("hyx", peers.hyx_breaker),
    _peer("pyfailsafe", peers.pyfailsafe_breaker),
)
_BUCKET: Final = (
    _hand(by_hand.limiter, note="a token bucket without a lock, nobody waits"),
    _ours(ours.bucket),
)
_ASYNC_BUCKET: Final = (
    _hand(by_hand.async_limiter, note="a token bucket, nobody waits"),
    *_BUCKET[1:],
    _peer("aiolimiter", peers.aiolimiter_limiter, note="a leaky bucket"),
    Contender(
        "hyx",
        "information",
        peers.hyx_limiter,
        "hyx",
        note="admits twice the burst after a quiet time",
        check=jobs.check_limiter_at_first,
    ),
)
_WINDOW: Final = (
    _hand(by_hand.window, note="the times of the last calls, without a lock, nobody waits"),
    _ours(ours.window),
    _peer("limits", peers.limits_limiter, note="its moving window"),
    _peer("pyrate-limiter", peers.pyrate_limiter),
)
_ASYNC_WINDOW: Final = (
    _hand(by_hand.async_window, note="the times of the last calls, nobody waits"),
    *_WINDOW[1:],
)
_BULKHEAD: Final = (
    _hand(by_hand.bulkhead, note="`threading.Semaphore`, nobody waits"),
    _ours(ours.bulkhead),
    _peer("interlock-cb", peers.interlock_bulkhead),
)
_ASYNC_BULKHEAD: Final = (
    _hand(by_hand.async_bulkhead, note="`asyncio.Semaphore`"),
    _ours(ours.bulkhead),
    _peer("anyio", peers.anyio_bulkhead),
    _peer("hyx", peers.hyx_bulkhead),
    _peer("interlock-cb", peers.interlock_bulkhead),
)
_ROUTER: Final = (_hand(by_hand.router, note="an `if`"), _ours(ours.router))
_ASYNC_ROUTER: Final = (_hand(by_hand.async_router, note="an `if`"), _ours(ours.router))
_VALIDATE: Final = (_hand(by_hand.validate), _ours(ours.validate))
_ASYNC_VALIDATE: Final = (_hand(by_hand.async_validate), _ours(ours.validate))
_SAGA: Final = (_hand(by_hand.saga), _ours(ours.saga))
_ASYNC_SAGA: Final = (_hand(by_hand.async_saga), _ours(ours.saga))


def _both(
    key: str,
    group: str,
    title: str,
    sync: Sequence[Contender],
    on_loop: Sequence[Contender],
    check: Callable[[Stage, Build], None],
    arguments: Callable[[Stage], Sequence[Any]],
    after_failure: Callable[[Stage, Function], Function] | None = None,
) -> list[Row]:
    return [
        Row(f"{key}-async", group, f"async, {title}", True, on_loop, check, arguments, after_failure),
        Row(f"{key}-sync", group, f"sync, {title}", False, sync, check, arguments, after_failure),
    ]


def all_rows() -> list[Row]:
    """Every row."""
    stack = "Fallback >> Retry >> Timeout, "
    broken = "failure, then the alternative"
    on_threads = "sync, success (processor time of all threads)"
    rows = [
        *_both("retry", "Retry", "success", _RETRY, _ASYNC_RETRY, jobs.check_retry, _succeeding),
        *_both(
            "retry-failure",
            "Retry",
            "one failure, then success",
            _SYNC_RETRY,
            _ASYNC_RETRY,
            jobs.check_retry,
            _failing_once,
            _again,
        ),
        *_both(
            "fallback", "Fallback", "success", _FALLBACK, _ASYNC_FALLBACK, jobs.check_fallback, _succeeding_or_instead
        ),
        *_both(
            "fallback-failure",
            "Fallback",
            broken,
            _FALLBACK,
            _ASYNC_FALLBACK,
            jobs.check_fallback,
            _failing_or_instead,
            _instead,
        ),
    ]
    for key, title, operation in (
        ("timeout-async", "async, the operation does not suspend", jobs.async_plain),
        ("timeout-async-suspends", "async, it gives the loop one turn", jobs.suspends),
        ("timeout-async-future", "async, it waits for a future", jobs.awaits_future),
    ):
        rows.append(Row(key, "Timeout", title, True, _ASYNC_TIMEOUT, jobs.check_timeout, _limited(operation)))
    rows += [
        Row(
            "timeout-sync",
            "Timeout",
            on_threads,
            False,
            _TIMEOUT,
            jobs.check_timeout,
            _limited(jobs.plain),
            threads=True,
        ),
        *_both("cache", "Cache", "hit", _CACHE, _ASYNC_CACHE, jobs.check_cache, _succeeding_for_long),
    ]
    for key, title, operation in (
        ("stack-async", "async, success, the operation does not suspend", jobs.async_plain),
        ("stack-async-suspends", "async, success, it gives the loop one turn", jobs.suspends),
    ):
        rows.append(Row(key, "Stack", stack + title, True, _ASYNC_STACK, jobs.check_stack, _stacked(operation)))
    rows.append(
        Row(
            "stack-sync",
            "Stack",
            stack + on_threads,
            False,
            _STACK,
            jobs.check_stack,
            _stacked(jobs.plain),
            threads=True,
        )
    )
    return [
        *rows,
        *_both(
            "breaker", "Circuit breaker", "success, closed", _BREAKER, _ASYNC_BREAKER, jobs.check_breaker, _succeeding
        ),
        *_both(
            "breaker-open",
            "Circuit breaker",
            "open, the rejection is caught and answered",
            _opened(_BREAKER),
            _opened(_ASYNC_BREAKER),
            jobs.check_open_breaker,
            _failing_or_instead,
            _instead,
        ),
        *_both("bucket", "Rate limiter", "admitted by a bucket", _BUCKET, _ASYNC_BUCKET, jobs.check_limiter, _often),
        *_both("window", "Rate limiter", "admitted by a window", _WINDOW, _ASYNC_WINDOW, jobs.check_limiter, _often),
        *_both("bulkhead", "Bulkhead", "a slot is free", _BULKHEAD, _ASYNC_BULKHEAD, jobs.check_bulkhead, _many),
        *_both(
            "router",
            "Router",
            "the first of two routes",
            _ROUTER,
            _ASYNC_ROUTER,
            jobs.check_router,
            _succeeding_or_instead,
        ),
        *_both("saga", "Saga", "two steps, both done", _SAGA, _ASYNC_SAGA, jobs.check_saga, _succeeding_or_instead),
        *_both(
            "validate", "Validate", "argument and result", _VALIDATE, _ASYNC_VALIDATE, jobs.check_validate, _succeeding
        ),
    ]


def find(key: str) -> Row:
    """One row by its key."""
    return next(row for row in all_rows() if row.key == key)
