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

from failwell.errors import ConfigurationError
from failwell.patterns.bulkhead import Bulkhead
from failwell.patterns.cache import Cache
from failwell.patterns.circuit_breaker import CircuitBreaker, CircuitState
from failwell.patterns.fallback import Fallback
from failwell.patterns.health_check import HealthState
from failwell.patterns.retry import Retry
from failwell.policy import Policy, Stack, protect, protected
from failwell.workflow.keys import KEYS
from failwell.workflow.layers import Alarm, Calls, LimitedCalls, OnError, Tally
from failwell.workflow.making import callback, patterns
from failwell.workflow.reading import addressed, canonical, from_file, settings_of, within

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
        made: dict[str, Policy] = {"on_error": self._reporter, **patterns(s)}
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
            table: The table in there that holds the configuration, e.g. ``"workflows.orders"``.
            environ: Where the ``${NAME}`` in an address is looked up.

        Raises:
            ConfigurationError: If something cannot be used; it names the key.
            OSError: If the file cannot be read.
        """
        if not isinstance(cast("Any", source), (Mapping, str, os.PathLike)):
            raise TypeError(f"source must be a mapping or the path of a TOML file, got {source!r}")
        config: Any = within(source, table, "it") if isinstance(source, Mapping) else from_file(source, table)
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
        self._reporter.on_error = callback("on_error", fn, lambda error: (error,))
        self._on_error = fn

    @property
    def on_alert(self) -> Callable[..., object] | None:
        """Called with the number of errors so far, when ``alert_threshold`` is reached."""
        return self._on_alert

    @on_alert.setter
    def on_alert(self, fn: Callable[..., object] | None) -> None:
        told = callback("on_alert", fn, lambda event: (event.count,))
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
            status = HealthState.UNKNOWN
        elif errors > self._max_error_rate or (shut and not {"fallback", "cache"} & self._made.keys()):
            status = HealthState.UNHEALTHY
        elif degraded > self._max_error_rate or shut or circuit is CircuitState.HALF_OPEN:
            status = HealthState.DEGRADED
        else:
            status = HealthState.HEALTHY
        return Health(status, errors, degraded, executions, None if circuit is None else str(circuit))

    @property
    def is_healthy(self) -> bool:
        """Whether nothing speaks against sending more work here: false only if `health` says ``"unhealthy"``."""
        return self.health().status is not HealthState.UNHEALTHY

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
        status: Healthy; degraded: there are answers, but too many are not the real ones, or the circuit is not closed;
            unhealthy: too many executions fail, or nobody answers while the circuit is open; unknown: none was made.
        error_rate: The share of the latest executions that failed.
        degraded_rate: The share that got an answer that is not the real one.
        executions: How many executions these are.
        circuit: The state of the circuit breaker, if there is one.
    """

    status: HealthState
    error_rate: float
    degraded_rate: float
    executions: int
    circuit: str | None

    def as_dict(self) -> dict[str, Any]:
        """The same as data that JSON can hold."""
        return {**self._asdict(), "status": str(self.status)}


W = TypeVar("W", bound=Workflow)


def _with(kind: type[W], table: str, config: dict[str, Any], **values: Any) -> W:
    """A workflow with one table made of values, to which the configuration may add."""
    own = {name: key.short for key in KEYS.values() if key.table == table for name in (key.short, *key.aliases)}
    added = {own[name]: config.pop(name) for name in list(config) if name in own and name not in KEYS}
    return kind.from_config({**config, table: {**values, **added, **(config.get(table) or {})}})


def _differs(value: Any, default: Any) -> bool:
    return value is not default and not (type(value) is type(default) and value == default)
