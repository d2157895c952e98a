"""Workflow: a whole recovery from one configuration.

Use when the same kind of recovery is wanted around many calls, when its numbers belong in a file that operators can
change, or when metrics, alerts and health are wanted without wiring. Do not use for a single pattern, or where the
layers need another order: there, `Retry() >> Timeout(2)` says what it means.

Source: Microsoft, "Build resilient HTTP apps" (the standard handler's order of strategies); resilience4j, "Getting
started" (the order of its aspects).
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, ParamSpec, Self, TypeVar, cast

from failwell import backoff as delays
from failwell.errors import ConfigurationError, transient
from failwell.patterns.bulkhead import Bulkhead
from failwell.patterns.cache import Cache
from failwell.patterns.circuit_breaker import CircuitBreaker, CircuitState, CountWindow, TimeWindow
from failwell.patterns.deadline import Deadline
from failwell.patterns.fallback import Fallback
from failwell.patterns.retry import Retry
from failwell.patterns.timeout import Timeout
from failwell.policy import Policy, Stack, is_async, matching, protect, protected
from failwell.recorded import redacted
from failwell.workflow.keys import KEYS, Address, BackoffStrategy
from failwell.workflow.layers import (
    Alarm,
    AttemptsExhausted,
    Calls,
    Compensate,
    LimitedCalls,
    OnError,
    Tally,
    apart,
    outside,
    takes,
)
from failwell.workflow.reading import Settings, addressed, canonical, from_file, settings_of

__all__ = ["Health", "Workflow"]

T = TypeVar("T")
P = ParamSpec("P")


class Workflow(Stack):
    """Recovery made from a configuration. It is a stack: it decorates, calls, stacks, draws and explains.

    What is configured is a layer, whether it is named as a strategy or not; a strategy that is named must be
    configured. The layers always stand in this order, the outermost first:

    1. `Tally` counts executions.
    2. `Fallback` has the last word. Outside of everything, it answers open circuits, full bulkheads and timeouts too.
    3. `Cache` keeps real answers only, because no alternative answers inside of it.
    4. `Alarm` and `OnError` see each error that 2 and 3 may hide.
    5. `Compensate` undoes once, when no further attempt is made.
    6. `Deadline` (``global_timeout``) ends waits in the queue, attempts and waits between them.
    7. `Bulkhead`: an execution keeps its slot while it waits between attempts; a refusal is no failure for 9.
    8. `Retry` repeats what stands inside.
    9. `CircuitBreaker` counts each attempt. It refuses with an error that is not tried again.
    10. `Timeout` of one attempt (``attempt_timeout``): a hang is a failure for 8 and 9.
    11. `Calls` counts attempts.

    Args:
        name: What circuit breaker and bulkhead are called.
        primary_strategy: A `RecoveryStrategy` that must be configured.
        secondary_strategies: Further ones.
        global_timeout: Seconds for all attempts and waits of one execution.
        attempt_timeout: Seconds for one attempt.
        max_total_attempts: How often the operation may be called in one execution, whoever repeats it.
        transient_errors: Errors that are worth another attempt, besides those known to be.
        permanent_errors: Errors that are not, and that no circuit breaker counts.
        log_errors: Whether to log each error that no attempt could avert.
        on_error: Called with each such error.
        alert_threshold: Alert after so many of these errors.
        alert_window: Seconds within which errors count for an alert.
        on_alert: Called with the number of errors so far.
        metrics: Whether to count what the layers report.
        health_window: How many of the latest executions `health` looks at.
        max_error_rate: The share of failed executions above which the workflow is unhealthy.
        retry: The table of the retry, or a `Retry`.
        circuit_breaker: The table of the circuit breaker, or a `CircuitBreaker`, which others may share.
        fallback: The table of the fallback, or a `Fallback`.
        compensation: The table of the compensation.
        bulkhead: The table of the bulkhead, or a `Bulkhead`, which others may share.
        cache: The table of the cache, or a `Cache`.

    Raises:
        ConfigurationError: If something cannot be used; it names the key.
    """

    ORDER: ClassVar = (
        "fallback",
        "cache",
        "alarm",
        "on_error",
        "compensation",
        "global_timeout",
        "bulkhead",
        "retry",
        "circuit_breaker",
        "attempt_timeout",
    )
    """The layers between `Tally` and `Calls`, the outermost first."""

    def __init__(
        self,
        *,
        name: str | None = None,
        primary_strategy: str | None = None,
        secondary_strategies: Sequence[str] = (),
        global_timeout: float | None = None,
        attempt_timeout: float | None = None,
        max_total_attempts: int | None = None,
        transient_errors: Sequence[type[Exception] | str] = (),
        permanent_errors: Sequence[type[Exception] | str] = (),
        log_errors: bool = False,
        on_error: Callable[..., object] | str | None = None,
        alert_threshold: int | None = None,
        alert_window: float | None = None,
        on_alert: Callable[..., object] | str | None = None,
        metrics: bool = True,
        health_window: int = 100,
        max_error_rate: float = 0.1,
        retry: Mapping[str, Any] | Retry | None = None,
        circuit_breaker: Mapping[str, Any] | CircuitBreaker | None = None,
        fallback: Mapping[str, Any] | Fallback | None = None,
        compensation: Mapping[str, Any] | None = None,
        bulkhead: Mapping[str, Any] | Bulkhead | None = None,
        cache: Mapping[str, Any] | Cache | None = None,
    ) -> None:
        given = {key: value for key, value in locals().items() if key not in ("self", "__class__")}
        defaults = {key: KEYS[key].default for key in given if key in KEYS}
        s = settings_of({k: v for k, v in given.items() if k not in defaults or _differs(v, defaults[k])})
        self.name = s["name"]
        self._max_error_rate: float = s["max_error_rate"]
        self._track_bulkhead: bool = s["bulkhead.track_metrics"]
        self._config = given
        self._tally = Tally(events=s["metrics"], window=s["health_window"])
        self._reporter = OnError(log_errors=s["log_errors"])
        self._alarm = Alarm(s["alert_threshold"], s["alert_window"]) if "alert_threshold" in s else None
        self._calls = Calls() if s["max_total_attempts"] is None else LimitedCalls(s["max_total_attempts"])
        self.on_error = s["on_error"]
        self.on_alert = s["on_alert"]
        made: dict[str, Policy] = {"on_error": self._reporter, **_patterns(s)}
        if self._alarm is not None:
            made["alarm"] = self._alarm
        self._made = {key: made[key] for key in self.ORDER if key in made}
        super().__init__(self._tally, *self._made.values(), self._calls)

    @classmethod
    def from_config(
        cls,
        source: Mapping[str, Any] | str | os.PathLike[str],
        table: str | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Self:
        """A workflow from a mapping or from a TOML file.

        Args:
            source: Keys and tables by name, or the path of a file.
            table: The table in the file that holds the configuration, e.g. ``"workflows.orders"``.
            environ: Where the ``${NAME}`` in an address is looked up.

        Raises:
            ConfigurationError: If something cannot be used; it names the key.
            OSError: If the file cannot be read.
        """
        if not isinstance(cast("Any", source), (Mapping, str, os.PathLike)):
            raise TypeError(f"source must be a mapping or the path of a TOML file, got {source!r}")
        config: Any = source if isinstance(source, Mapping) else from_file(source, table)
        read = canonical(config, "")
        if not any(value is not None for value in read.values()):
            settings_of({})  # says what could be configured
        if isinstance(read.get("fallback"), Mapping):
            read["fallback"] = addressed(read["fallback"], environ)
        return cls(**{key: value for key, value in read.items() if value is not None})

    def replace(self, **changes: Any) -> Self:
        """A copy with other keys, which shares counts, circuit, slots and answers with this one.

        Args:
            **changes: Keys and tables of the configuration; a table replaces the whole one.

        Raises:
            ConfigurationError: If something cannot be used; it names the key.
        """
        callbacks = {"on_error": self.on_error, "on_alert": self.on_alert}
        config: dict[str, Any] = {**self._config, **callbacks, **canonical(changes, "")}
        changed = type(self)(**config)
        pairs: list[tuple[Any, Any]] = [(self._tally, changed._tally)]
        pairs += [(layer, changed._made.get(key)) for key, layer in self._made.items()]
        for layer, copy in pairs:
            if copy is not None and copy is not layer:
                copy._live, copy._origin = layer.live_state(), layer.origin
        return changed

    # -- running --

    def __call__(self, fn: Callable[P, T]) -> Callable[P, T]:
        """Protect a function, see `Policy`. Where it has layers of its own, the calls that they make are counted.

        Args:
            fn: A function, async or plain.
        """
        known = protected(fn)
        if known is None or known.guarded is not fn:
            return super().__call__(fn)
        counted = protect((self._calls,), known.fn)
        inside = cast("Sequence[Policy]", known.layers)
        guarded = protect((*self.layers[:-1], *inside), counted)
        functools.update_wrapper(guarded, fn, updated=())
        return guarded

    execute = Policy.call
    """Run a function once under this workflow: its value, or for an async function a coroutine that gives it."""

    # -- watching --

    @property
    def on_error(self) -> Callable[..., object] | None:
        """Called with each error that no attempt could avert, or with nothing if it takes nothing."""
        return self._on_error

    @on_error.setter
    def on_error(self, fn: Callable[..., object] | None) -> None:
        self._reporter.on_error = _callback("on_error", fn, lambda error: (error,))
        self._on_error = fn

    @property
    def on_alert(self) -> Callable[..., object] | None:
        """Called with the number of errors so far, when ``alert_threshold`` is reached."""
        return self._on_alert

    @on_alert.setter
    def on_alert(self, fn: Callable[..., object] | None) -> None:
        told = _callback("on_alert", fn, lambda event: (event.count,))
        if self._alarm is not None:
            self._alarm.on_alert = told
        elif told is not None:
            raise ConfigurationError("on_alert", "has no effect without alert_threshold")
        self._on_alert = fn

    @property
    def circuit_breaker(self) -> CircuitBreaker | None:
        """The circuit breaker, for its state and for opening and closing it by hand."""
        return cast("CircuitBreaker | None", self._made.get("circuit_breaker"))

    @property
    def bulkhead(self) -> Bulkhead | None:
        """The bulkhead, for what it holds now."""
        return cast("Bulkhead | None", self._made.get("bulkhead"))

    def get_metrics(self) -> dict[str, Any]:
        """What was counted so far, all of one moment.

        ``executions`` is the sum of ``successes``, ``failures``, ``cancelled`` and those that are ``active``.
        ``degraded`` counts the successes that were not the real answer, ``attempts`` the calls of the operation.
        """
        metrics: dict[str, Any] = self._tally.live_state().snapshot()
        if self.bulkhead is not None and self._track_bulkhead:
            held = self.bulkhead
            metrics["bulkhead"] = {"active": held.active, "queued": held.queued, "rejected": held.rejected}
        return metrics

    def reset_metrics(self) -> None:
        """Count anew. What is under way stays counted as active."""
        self._tally.live_state().reset()

    def health(self) -> Health:
        """How the latest executions went, and what follows for the state of the service."""
        executions, errors, degraded = self._tally.live_state().latest()
        circuit = None if self.circuit_breaker is None else self.circuit_breaker.state
        shut = circuit in (CircuitState.OPEN, CircuitState.FORCED_OPEN)
        if executions == 0 and not shut:
            status = "unknown"
        elif errors > self._max_error_rate:
            status = "unhealthy"
        elif degraded > self._max_error_rate or shut or circuit is CircuitState.HALF_OPEN:
            status = "degraded" if "fallback" in self._made or "cache" in self._made or not shut else "unhealthy"
        else:
            status = "healthy"
        return Health(status, errors, degraded, executions, None if circuit is None else str(circuit))

    @property
    def is_healthy(self) -> bool:
        """Whether nothing speaks against sending more work here: false only if `health` says ``"unhealthy"``."""
        return self.health().status != "unhealthy"

    # -- the usual ones --

    @classmethod
    def retrying(
        cls, max_attempts: int = 3, backoff: str = "exponential", initial_delay: float = 1.0, **config: Any
    ) -> Self:
        """Try again.

        Args:
            max_attempts: How many calls at most, the first one included.
            backoff: A `BackoffStrategy`.
            initial_delay: The first wait in seconds.
            **config: Any other key or table.
        """
        return _with(cls, "retry", config, max_attempts=max_attempts, backoff=backoff, initial_delay=initial_delay)

    @classmethod
    def breaking(
        cls, failure_threshold: int = 5, recovery_timeout: float = 60.0, fallback_value: Any = None, **config: Any
    ) -> Self:
        """Stop calling what is down.

        Args:
            failure_threshold: How many failures open the circuit.
            recovery_timeout: Seconds for which an open circuit makes no calls.
            fallback_value: What to answer instead of an error, if it is not None.
            **config: Any other key or table.
        """
        if fallback_value is not None:
            config["fallback"] = {"value": fallback_value, **(config.get("fallback") or {})}
        made = {"failure_threshold": failure_threshold, "recovery_timeout": recovery_timeout}
        return _with(cls, "circuit_breaker", config, **made)

    @classmethod
    def falling_back(cls, alternative: Callable[..., Any], *others: Callable[..., Any], **config: Any) -> Self:
        """Ask others, in order, when the operation fails.

        Args:
            alternative: Whom to ask first; `Fallback.value` makes one of a value.
            *others: Whom to ask then.
            **config: Any other key or table.
        """
        return _with(cls, "fallback", config, function=[alternative, *others])

    @classmethod
    def compensating(cls, action: Callable[..., Any], *others: Callable[..., Any], **config: Any) -> Self:
        """Undo what was done when the operation fails.

        Args:
            action: What undoes it.
            *others: What else undoes it; the last one runs first.
            **config: Any other key or table.
        """
        return _with(cls, "compensation", config, actions=[action, *others])

    @classmethod
    def isolating(cls, max_concurrent: int = 10, max_queue: int = 0, **config: Any) -> Self:
        """Let only so many executions be under way.

        Args:
            max_concurrent: How many.
            max_queue: How many more may wait.
            **config: Any other key or table.
        """
        return _with(cls, "bulkhead", config, max_concurrent=max_concurrent, max_queue=max_queue)

    @classmethod
    def remembering(cls, stale_if_error: float = 300.0, **config: Any) -> Self:
        """Answer with the last good answer when the operation fails.

        Args:
            stale_if_error: How many seconds old it may be.
            **config: Any other key or table.
        """
        return _with(cls, "cache", config, stale_if_error=stale_if_error)

    @classmethod
    def finishing_within(cls, seconds: float, **config: Any) -> Self:
        """Give an execution a limited time.

        Args:
            seconds: How much.
            **config: Any other key or table.
        """
        return cls.from_config({"primary_strategy": "deadline", "global_timeout": seconds, **config})


class Health(NamedTuple):
    """How a workflow is.

    Attributes:
        status: ``"healthy"``; ``"degraded"``: answers, but not the real ones, or the circuit is not closed;
            ``"unhealthy"``: too many executions fail; ``"unknown"``: none was made yet.
        error_rate: The share of the latest executions that failed.
        degraded_rate: The share that got an answer that is not the real one.
        executions: How many executions these are.
        circuit: The state of the circuit breaker, if there is one.
    """

    status: str
    error_rate: float
    degraded_rate: float
    executions: int
    circuit: str | None


W = TypeVar("W", bound=Workflow)


def _with(kind: type[W], table: str, config: dict[str, Any], **values: Any) -> W:
    """A workflow with one table made of values, to which the configuration may add."""
    added = {key: config.pop(key) for key in list(config) if f"{table}.{key}" in KEYS and key not in KEYS}
    return kind.from_config({**config, table: {**values, **added, **(config.get(table) or {})}})


def _differs(value: Any, default: Any) -> bool:
    return value is not default and not (type(value) is type(default) and value == default)


# --- the layers ----------------------------------------------------------------------------------


def _patterns(s: Settings) -> dict[str, Policy]:
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
    most, total = s["retry.max_attempts"], s["max_total_attempts"]
    return Retry(
        max_attempts=most if total is None else min(most, total),
        backoff=_backoff(s),
        on=_worth_it(s),
        retry_result=s["retry.retry_result"],
        max_elapsed=s["retry.max_elapsed"],
        respect_retry_after=s["retry.respect_retry_after"],
        on_retry=_callback(
            "retry.on_retry", s["retry.on_retry"], lambda event: (event,), lambda event: (event.attempt, event.error)
        ),
        on_give_up=_callback(name, give_up, about),
    )


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
        if isinstance(error, AttemptsExhausted):
            return False
        for kind in type(error).__mro__:  # the nearest class decides, as in the taxonomy
            if kind in self._no:
                return False
            if kind in self._yes:
                return True
        return bool(self._others(error))


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
            name: _callback(table + name, s[table + name], lambda event: (event,))
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
    return _Errors("not a timeout" if only is None else _told(only), only, yes, no, _any)


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
    import inspect

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
    return Compensate(
        s[table + "actions"],
        save_state=s[table + "save_state"],
        in_reverse=s[table + "in_reverse"],
        timeout=s[table + "timeout"],
        on_compensation_start=_callback(
            table + "on_compensation_start", s[table + "on_compensation_start"], lambda error: (error,)
        ),
        on_compensation_complete=_callback(
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


def _callback(key: str, fn: Callable[..., Any] | None, *ways: Callable[[Any], tuple[Any, ...]]) -> Any:
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
