"""The rows of the benchmark: what is measured, and who takes part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from failwell.bench import by_hand, jobs, ours, peers
from failwell.bench.jobs import BRIEFLY, ITEMS, LONG, MANY, OFTEN, Build
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


def _with_token(stage: Stage) -> Sequence[Any]:
    return _plain(stage), jobs.fetch


def _of_many_items(stage: Stage) -> Sequence[Any]:
    return _plain(stage), ITEMS


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
_DEADLINE: Final = (_hand(by_hand.in_thread, "by hand: a thread for each call"), _ours(ours.deadline))
_ASYNC_DEADLINE: Final = (
    _hand(by_hand.async_timeout, "by hand: `asyncio.timeout`"),
    _ours(ours.deadline),
    Contender("asyncio.wait_for", "peer", peers.wait_for, note="standard library"),
    _peer("anyio", peers.anyio_deadline),
    _peer("hyx", peers.hyx_timeout, note="what is inside does not see what is left"),
)
_HEDGE: Final = (_hand(by_hand.hedge), _ours(ours.hedge))
_ASYNC_HEDGE: Final = (_hand(by_hand.async_hedge, note="who cancels it leaves its tasks behind"), _ours(ours.hedge))
_RETRY_BUDGET: Final = (_hand(by_hand.retry_budget, note="two counts, never forgotten"), _ours(ours.retry_budget))
_ASYNC_RETRY_BUDGET: Final = (
    _hand(by_hand.async_retry_budget, note="two counts, never forgotten"),
    _ours(ours.retry_budget),
)
_CREDENTIAL: Final = (_hand(by_hand.credential_refresh), _ours(ours.credential_refresh))
_ASYNC_CREDENTIAL: Final = (_hand(by_hand.async_credential_refresh), _ours(ours.credential_refresh))
_BATCH: Final = (_hand(by_hand.batch), _ours(ours.batch))
_ASYNC_BATCH: Final = (_hand(by_hand.async_batch), _ours(ours.batch))
_RECOVERY: Final = (_BREAKER[0], _ours(ours.recovering_breaker), *_BREAKER[2:])
_ASYNC_RECOVERY: Final = (_ASYNC_BREAKER[0], _ours(ours.recovering_breaker), *_ASYNC_BREAKER[2:])
_ADAPTIVE: Final = (_BULKHEAD[0], _ours(ours.adaptive_limit))
_ASYNC_ADAPTIVE: Final = (_ASYNC_BULKHEAD[0], _ours(ours.adaptive_limit))
_SHEDDER: Final = (_BULKHEAD[0], _ours(ours.load_shedder))
_ASYNC_SHEDDER: Final = (_ASYNC_BULKHEAD[0], _ours(ours.load_shedder))
_SAFE_CALL: Final = (_FALLBACK[0], _ours(ours.safe_call), *_FALLBACK[2:])
_ASYNC_SAFE_CALL: Final = (_ASYNC_FALLBACK[0], _ours(ours.safe_call), *_ASYNC_FALLBACK[2:])
_DEGRADE: Final = (_hand(by_hand.degrade), _ours(ours.degrade))
_ASYNC_DEGRADE: Final = (_hand(by_hand.async_degrade), _ours(ours.degrade))
_WORKFLOW: Final = (_RETRY[0], _ours(ours.workflow, "it counts and judges each execution as well"))
_ASYNC_WORKFLOW: Final = (_ASYNC_RETRY[0], _WORKFLOW[1])
_CLASSIFICATION: Final = (_RETRY[0], _ours(ours.classified_retry), *_SYNC_RETRY[2:])
_ASYNC_CLASSIFICATION: Final = (_ASYNC_RETRY[0], _ours(ours.classified_retry), *_ASYNC_RETRY[2:])
_CONTEXT: Final = (_hand(by_hand.error_context), _ours(ours.error_context))
_ASYNC_CONTEXT: Final = (_hand(by_hand.async_error_context), _ours(ours.error_context))
_HEALTH: Final = (_hand(by_hand.health_check), _ours(ours.health_check))
_ASYNC_HEALTH: Final = (_hand(by_hand.async_health_check), _ours(ours.health_check))


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
        Row(
            "deadline-async",
            "Deadline",
            "async, success",
            True,
            _ASYNC_DEADLINE,
            jobs.check_timeout,
            _succeeding_for_long,
        ),
        Row(
            "deadline-sync",
            "Deadline",
            on_threads,
            False,
            _DEADLINE,
            jobs.check_timeout,
            _succeeding_for_long,
            threads=True,
        ),
        Row(
            "hedge-async",
            "Hedge",
            "async, the first attempt answers",
            True,
            _ASYNC_HEDGE,
            jobs.check_hedge,
            _succeeding_for_long,
        ),
        Row("hedge-sync", "Hedge", on_threads, False, _HEDGE, jobs.check_hedge, _succeeding_for_long, threads=True),
        *_both(
            "retry-budget",
            "Retry budget",
            "one failure, then success",
            _RETRY_BUDGET,
            _ASYNC_RETRY_BUDGET,
            jobs.check_retry,
            _failing_once,
            _again,
        ),
        *_both(
            "credential",
            "Credential refresh",
            "the credential is good",
            _CREDENTIAL,
            _ASYNC_CREDENTIAL,
            jobs.check_credential_refresh,
            _with_token,
        ),
        *_both("batch", "Batch", "a hundred items", _BATCH, _ASYNC_BATCH, jobs.check_batch, _of_many_items),
        *_both("recovery", "Recovery", "success, closed", _RECOVERY, _ASYNC_RECOVERY, jobs.check_breaker, _succeeding),
        *_both(
            "adaptive", "Adaptive limit", "far below its limit", _ADAPTIVE, _ASYNC_ADAPTIVE, jobs.check_bulkhead, _many
        ),
        *_both(
            "shedder", "Load shedder", "far below its capacity", _SHEDDER, _ASYNC_SHEDDER, jobs.check_bulkhead, _many
        ),
        *_both(
            "safe-call",
            "Safe call",
            "success",
            _SAFE_CALL,
            _ASYNC_SAFE_CALL,
            jobs.check_fallback,
            _succeeding_or_instead,
        ),
        *_both(
            "safe-call-failure",
            "Safe call",
            "failure, then the default",
            _SAFE_CALL,
            _ASYNC_SAFE_CALL,
            jobs.check_fallback,
            _failing_or_instead,
            _instead,
        ),
        *_both(
            "degrade",
            "Degrade",
            "two features, both answered",
            _DEGRADE,
            _ASYNC_DEGRADE,
            jobs.check_degrade,
            _succeeding_or_instead,
        ),
        *_both(
            "workflow",
            "Workflow",
            "three attempts from a configuration, success",
            _WORKFLOW,
            _ASYNC_WORKFLOW,
            jobs.check_retry,
            _succeeding,
        ),
        *_both(
            "classification",
            "Error classification",
            "a failure that is known to pass, then success",
            _CLASSIFICATION,
            _ASYNC_CLASSIFICATION,
            jobs.check_retry,
            _failing_once,
            _again,
        ),
        *_both("context", "Error context", "success", _CONTEXT, _ASYNC_CONTEXT, jobs.check_context, _succeeding),
        *_both(
            "health",
            "Health check",
            "an answer that is good enough",
            _HEALTH,
            _ASYNC_HEALTH,
            jobs.check_health_check,
            _succeeding,
        ),
    ]


def find(key: str) -> Row:
    """One row by its key."""
    return next(row for row in all_rows() if row.key == key)
