"""Making the patterns of a workflow from what was read, each with what the configuration says of it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, cast

from failwell import backoff as delays
from failwell.errors import ConfigurationError, SagaError, transient
from failwell.patterns.bulkhead import Bulkhead
from failwell.patterns.cache import Cache
from failwell.patterns.circuit_breaker import CircuitBreaker, CountWindow, TimeWindow
from failwell.patterns.deadline import Deadline
from failwell.patterns.fallback import Fallback
from failwell.patterns.retry import Retry
from failwell.patterns.timeout import Timeout
from failwell.policy import Policy, is_async, matching
from failwell.recorded import redacted
from failwell.runtime import name_of
from failwell.workflow.keys import Address, BackoffStrategy
from failwell.workflow.layers import AttemptsExhausted, Compensate, apart, outside, takes
from failwell.workflow.reading import Settings

__all__ = ["callback", "patterns"]


def patterns(s: Settings) -> dict[str, Policy]:
    """Layer -> the pattern that a configuration asks for."""
    makers: dict[str, Callable[[Settings], Policy | None]] = {
        "retry": _retry,
        "circuit_breaker": _circuit_breaker,
        "fallback": _fallback,
        "compensation": _compensate,
        "bulkhead": _bulkhead,
    }
    found = {table: s.ready.get(table) or make(s) for table, make in makers.items() if table in s}
    found["cache"] = _cache(s) if s.caches else None
    found["global_timeout"] = Deadline(s["global_timeout"]) if s["global_timeout"] else None
    found["attempt_timeout"] = Timeout(s["attempt_timeout"]) if s["attempt_timeout"] else None
    return {key: layer for key, layer in found.items() if layer is not None}


def _retry(s: Settings) -> Retry:
    give_up = s["retry.on_failure"] or s["retry.on_give_up"]
    name = "retry.on_failure" if s["retry.on_failure"] else "retry.on_give_up"
    about: Callable[[Any], tuple[Any, ...]] = (
        (lambda event: (event.error,)) if s["retry.on_failure"] else (lambda event: (event,))
    )
    if s["retry.retry_result"] is not None:
        _check_takes("retry.retry_result", s["retry.retry_result"], "the result")
    most, total = s["retry.max_attempts"], s["max_total_attempts"]
    return Retry(
        max_attempts=most if total is None else min(most, total),
        backoff=_backoff(s),
        on=_worth_it(s),
        retry_result=s["retry.retry_result"],
        max_elapsed=s["retry.max_elapsed"],
        respect_retry_after=s["retry.respect_retry_after"],
        on_retry=callback(
            "retry.on_retry", s["retry.on_retry"], lambda event: (event,), lambda event: (event.attempt, event.error)
        ),
        on_give_up=callback(name, give_up, about),
    )


def _check_takes(key: str, fn: Callable[..., Any], what: str, *, or_nothing: bool = False) -> None:
    """Refuse a function that cannot take what it will get: found out now, not in the middle of a failure."""
    wanted = takes(fn)
    if wanted is None or wanted[0] <= 1 <= wanted[1] or (or_nothing and wanted[1] == 0):
        return
    raise ConfigurationError(key, f"must take {what}, and {name_of(fn)} does not")


def _backoff(s: Settings) -> delays.Backoff:
    initial, longest, strategy = s["retry.initial_delay"], s["retry.max_delay"], s["retry.backoff"]
    jitter = s["retry.jitter"]
    if jitter is None:
        jitter = "full" if strategy is BackoffStrategy.JITTER else "none"
    match strategy:
        case BackoffStrategy.FIXED:
            return delays.Fixed(initial, jitter=jitter)
        case BackoffStrategy.LINEAR:
            return delays.Linear(initial, s["retry.step"], longest, jitter=jitter)
        case BackoffStrategy.FIBONACCI:
            return delays.Fibonacci(initial, longest, jitter=jitter)
        case BackoffStrategy.DECORRELATED:
            return delays.Decorrelated(initial, longest)
        case _:
            return delays.Exponential(initial, s["retry.multiplier"], longest, jitter=jitter)


class _Errors:
    """Which errors count: a predicate that code and drawings show by name.

    Args:
        name: What it is called.
        only: Types or a predicate; None: see ``default``.
        yes: Types that count besides.
        no: Types that do not.
        default: What decides where none of these does.
    """

    def __init__(
        self,
        name: str,
        only: Any,
        yes: Sequence[type[Exception]] = (),
        no: Sequence[type[Exception]] = (),
        default: Callable[[Exception], object] = bool,
    ) -> None:
        self.__name__ = self.__qualname__ = name
        self._yes, self._no = frozenset(yes), frozenset(no)
        self._others = default if only is None else matching(name, only)

    def __call__(self, error: Exception) -> bool:
        return not isinstance(error, AttemptsExhausted) and self._counts(error)

    def _counts(self, error: Exception) -> bool:
        for kind in type(error).__mro__:  # the nearest class decides, as in the taxonomy
            if kind in self._no:
                return False
            if kind in self._yes:
                return True
        return bool(self._others(error))


class _Answered(_Errors):
    """The same where errors come out of a workflow: behind one that it raises itself is the one that it is about."""

    def __call__(self, error: Exception) -> bool:
        behind = [error]
        while isinstance(behind[-1], (SagaError, AttemptsExhausted)) and isinstance(behind[-1].__cause__, Exception):
            behind.append(behind[-1].__cause__)
        return not isinstance(behind[-1], tuple(self._no)) and any(map(self._counts, behind))


def _worth_it(s: Settings) -> Any:
    """What a retry repeats."""
    only, yes, no = s["retry.on"], s["transient_errors"], s["permanent_errors"]
    if not (yes or no or s["max_total_attempts"]):
        return transient if only is None else only
    if only is None:
        return _Errors("transient_errors" if yes or no else "transient", None, yes, no, transient)
    return _Errors(_told(only), only, (), no)


def _told(only: Any) -> str:
    if isinstance(only, tuple):
        names = [kind.__name__ for kind in cast("tuple[type[Exception], ...]", only)]
        return names[0] if len(names) == 1 else f"({', '.join(names)})"
    return getattr(only, "__name__", type(only).__name__)


def _circuit_breaker(s: Settings) -> CircuitBreaker:
    table = "circuit_breaker."
    size, seconds = s[table + "window_size"], s[table + "window_duration"]
    window: CountWindow | TimeWindow | None = None if size is None else CountWindow(size)
    if seconds is not None:
        window = TimeWindow(seconds, size)
    names = ("failure_threshold", "recovery_timeout", "success_threshold", "failure_rate", "minimum_calls")
    more = ("slow_call", "slow_call_rate", "half_open_max_calls")
    only, no = s[table + "on"], s["permanent_errors"]
    on = Exception if only is None else only
    if no or s["max_total_attempts"]:
        on = _Errors("all but permanent_errors" if only is None else _told(only), only, (), no, _any)
    return CircuitBreaker(
        **{name: s[table + name] for name in (*names, *more)},
        window=window,
        on=on,
        name=s["name"],
        **{
            name: callback(table + name, s[table + name], lambda event: (event,))
            for name in ("on_open", "on_half_open", "on_close")
        },
    )


def _any(error: Exception) -> bool:
    return True


def _fallback(s: Settings) -> Fallback | None:
    given, usual = s["fallback.timeout"], s["attempt_timeout"]
    alternatives: list[Callable[..., Any]] = []
    for one in s["fallback.function"] or ():
        seconds = given or (usual if is_async(one) else None)  # a plain one would run in another thread
        alternative = _about_the_error(one)
        alternatives.append(apart(alternative if seconds is None else Timeout(seconds)(alternative)))
    if s["fallback.service"] is not None:
        alternatives.append(_service(s["fallback.service"], given or usual or 10.0))
    if "fallback.value" in s:
        alternatives.append(Fallback.value(s["fallback.value"]))
    return Fallback(*alternatives, on=_answered(s)) if alternatives else None


def _answered(s: Settings) -> Any:
    """Which errors a fallback, or the cache that it asks, answers."""
    only, timeouts = s["fallback.on"], s["fallback.on_timeout"]
    if only is None and timeouts:
        return Exception
    yes, no = ((TimeoutError,), ()) if timeouts else ((), (TimeoutError,))
    return _Answered("not a timeout" if only is None else _told(only), only, yes, no, _any)


def _service(address: Address, seconds: float) -> Callable[..., Any]:
    try:
        ask = Fallback.url(address.filled, timeout=seconds)
    except ModuleNotFoundError as missing:
        raise ConfigurationError("fallback.service", str(missing)) from None
    ask.__name__ = f"GET {redacted(address)}"  # what the environment filled in is not for drawings
    ask.__qualname__ = f"Fallback.url({redacted(address)!r})"
    return ask


def _about_the_error(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A function whose only parameter has one of the usual names of an error gets the error."""
    try:
        [parameter] = inspect.signature(fn).parameters
    except (TypeError, ValueError):
        return fn
    if parameter not in ("e", "err", "exc", "exception"):
        return fn
    if is_async(fn):

        @functools.wraps(fn)
        async def answer(error: Exception) -> Any:
            return await fn(error)

        del answer.__wrapped__  # its signature is the point
        return answer

    @functools.wraps(fn)
    def answer_plainly(error: Exception) -> Any:
        return fn(error)

    del answer_plainly.__wrapped__
    return answer_plainly


def _cache(s: Settings) -> Policy:
    if "cache" in s.ready:
        return s.ready["cache"]
    own = "cache" in s
    return Cache(
        ttl=s["cache.ttl"] if own else 0.0,
        key=s["cache.key"],
        stale_if_error=s["cache.stale_if_error"] if own else s["fallback.cache_ttl"],
        max_size=s["cache.max_size"],
        single_flight=s["cache.single_flight"],
        stale_on=_answered(s) if s["fallback.use_cache"] else Exception,
    )


def _compensate(s: Settings) -> Compensate:
    table = "compensation."
    for action in s[table + "actions"]:
        _check_takes(table + "actions", action, "the saved state or nothing", or_nothing=True)
    return Compensate(
        s[table + "actions"],
        save_state=s[table + "save_state"],
        in_reverse=s[table + "in_reverse"],
        timeout=s[table + "timeout"],
        on_compensation_start=callback(
            table + "on_compensation_start", s[table + "on_compensation_start"], lambda error: (error,)
        ),
        on_compensation_complete=callback(
            table + "on_compensation_complete", s[table + "on_compensation_complete"], lambda undone: (undone,)
        ),
    )


def _bulkhead(s: Settings) -> Bulkhead:
    return Bulkhead(
        s["bulkhead.max_concurrent"],
        s["bulkhead.max_queue"],
        s["bulkhead.queue_timeout"],
        threads=s["bulkhead.thread_pool_size"] if s["bulkhead.use_thread_pool"] else None,
        name=s["name"],
    )


def callback(key: str, fn: Callable[..., Any] | None, *ways: Callable[[Any], tuple[Any, ...]]) -> Any:
    """A callback that is called in the way that fits its parameters; with nothing if it takes nothing.

    Args:
        key: The key that it was given as, for the message.
        fn: The callback.
        *ways: From what a pattern calls it with to arguments: the usual way first.
    """
    if fn is None:
        return None
    if not callable(cast("Any", fn)):
        raise ConfigurationError(key, f"must be a function, got {fn!r}")
    wanted = takes(fn)
    lengths = {len(way(_Probe())): way for way in reversed(ways)}
    fitting = [way for length, way in lengths.items() if wanted is None or wanted[0] <= length <= wanted[1]]
    usual = ways[0] if ways[0] in fitting else (fitting[0] if fitting else None)
    if usual is None:
        if wanted is None or wanted[0] > 0:
            counts = " or ".join(str(length) for length in sorted({0, *lengths}))
            raise ConfigurationError(key, f"must be a function that can take {counts} arguments")
        usual = _nothing

    chosen = usual
    if is_async(fn):

        @functools.wraps(fn)
        async def tell(about: Any) -> Any:
            with outside():
                return await fn(*chosen(about))

        return tell

    @functools.wraps(fn)
    def tell_plainly(about: Any) -> Any:
        with outside():
            return fn(*chosen(about))

    return tell_plainly


class _Probe:
    """Stands for an event while the number of arguments is counted."""

    def __getattr__(self, name: str) -> None:
        return None


def _nothing(about: Any) -> tuple[Any, ...]:
    return ()
