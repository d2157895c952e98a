"""Every key of a workflow's configuration: its type, its default, its meaning, and what else it may be called.

The table of the page is made from this, and so is every error about a key.
"""

from __future__ import annotations

import builtins
import difflib
import enum
import importlib
import inspect
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self, cast

from failwell.recorded import redacted
from failwell.runtime import name_of

__all__ = [
    "KEYS",
    "TABLES",
    "Address",
    "BackoffStrategy",
    "Key",
    "RecoveryStrategy",
    "Wrong",
    "imported",
    "nearest",
    "shown",
]


class RecoveryStrategy(enum.StrEnum):
    """What a workflow is made of."""

    RETRY = "retry"
    CIRCUIT_BREAKER = "circuit_breaker"
    FALLBACK = "fallback"
    COMPENSATE = "compensate"
    DEADLINE = "deadline"
    BULKHEAD = "bulkhead"
    CACHE = "cache"


class BackoffStrategy(enum.StrEnum):
    """How the waits between attempts grow. ``JITTER`` is ``EXPONENTIAL`` with full jitter."""

    FIXED = "fixed"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"
    JITTER = "jitter"
    DECORRELATED = "decorrelated"
    FIBONACCI = "fibonacci"


# --- what is wrong -------------------------------------------------------------------------------


class Wrong(Exception):
    """What is wrong with a value, as the rest of a sentence that begins with its key."""


def shown(value: Any) -> str:
    """A value as a message shows it: short, in one line, and without what looks like a secret.

    Args:
        value: What somebody gave.
    """
    if callable(value) and not isinstance(value, enum.Enum):
        return name_of(value)
    try:
        text = redacted(" ".join(repr(value).split()))
    except Exception:  # it cannot even be shown
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def nearest(word: object, known: Iterable[str]) -> str | None:
    """The known word that somebody may have meant.

    Args:
        word: What they wrote.
        known: What there is.
    """
    found = difflib.get_close_matches(str(word), list(known), n=1, cutoff=0.6)
    return found[0] if found else None


# --- types ---------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """A type of values.

    Attributes:
        words: What it is, as the page's table says it.
        must: What a value must be, as an error says it.
        accept: Gives the value to work with; raises `Wrong`, or ValueError where ``must`` says it all.
    """

    words: str
    must: str
    accept: Callable[[Any], Any]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError
    if isinstance(value, int):
        _sensible(value)
    elif not math.isfinite(value):
        raise ValueError
    return value


def _sensible(value: int) -> None:
    if value.bit_length() > 1000:  # larger than a float can be
        raise ValueError


def _whole(least: int) -> Kind:
    def accept(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError
        _sensible(value)
        return value

    return Kind(f"whole number ≥ {least}", f"must be a whole number of at least {least}", accept)


def _seconds(*, zero: bool = False) -> Kind:
    def accept(value: Any) -> float:
        if _number(value) < 0 or (value == 0 and not zero):
            raise ValueError
        return cast("float", value)

    if zero:
        return Kind("seconds ≥ 0", "must be a number of seconds that is not negative", accept)
    return Kind("seconds > 0", "must be a number of seconds above 0", accept)


def _share(value: Any) -> float:
    if not 0 < _number(value) <= 1:
        raise ValueError
    return cast("float", value)


def _factor(value: Any) -> float:
    if _number(value) < 1:
        raise ValueError
    return cast("float", value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _anything(value: Any) -> Any:
    return value


def _jitter(value: Any) -> Any:
    if value in ("none", "full", "equal"):
        return value
    if not 0 <= _number(value) <= 1:
        raise ValueError
    return value


def _one_of(kind: type[enum.StrEnum]) -> Kind:
    words = ", ".join(repr(str(one)) for one in kind)

    def accept(value: Any) -> enum.StrEnum:
        if not isinstance(value, str):
            raise ValueError
        if value not in list(kind):
            near = nearest(value, map(str, kind))
            raise Wrong(
                f"must be one of {words}, got {shown(str(value))}" + (f": did you mean {near!r}?" if near else "")
            )
        return kind(value)

    return Kind(f"one of {words}", f"must be one of {words}", accept)


def _listed(kind: Kind) -> Callable[[Any], list[Any]]:
    """The same for each value of a list."""

    def accept(value: Any) -> list[Any]:
        if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
            raise ValueError
        found: list[Any] = []
        values: Sequence[Any] = value  # pyright: ignore[reportUnknownVariableType]
        for place, one in enumerate(values):
            try:
                found.append(kind.accept(one))
            except ValueError:
                raise Wrong(f"its value {place + 1} {kind.must}, got {shown(one)}") from None
            except Wrong as wrong:
                raise Wrong(f"its value {place + 1} {wrong}") from None
        return found

    return accept


# --- what is imported ----------------------------------------------------------------------------

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?")


def imported(name: str) -> Any:
    """What an importable name stands for: ``"package.module:thing"``, ``"builtins.ConnectionError"``, ``"KeyError"``.

    Args:
        name: The name.

    Raises:
        Wrong: If there is no such thing.
    """
    if not _NAME.fullmatch(name):
        raise Wrong(f"must be an importable name such as 'package.module:name', got {shown(name)}")
    module, _, path = name.partition(":")
    if not path:
        module, _, path = name.rpartition(".")
    if not module:
        module = "builtins"
    found: Any = _module(module, name) if module != "builtins" else builtins
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            near = nearest(part, dir(found))
            raise Wrong(
                f"cannot import {name!r}: {module} has no {part!r}" + (f", did you mean {near!r}?" if near else "")
            ) from None
    return found


def _module(module: str, name: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(f"{error.name}.")):
            parent, _, inside = error.name.rpartition(".")  # a method is written "package.module:Class.method"
            near = f", did you mean '{parent}:{name[len(parent) + 1 :]}'?" if _has(parent, inside) else ""
            raise Wrong(f"cannot import {name!r}: there is no module {error.name!r}{near}") from None
        raise Wrong(f"cannot import {name!r}: {module} needs {error.name!r}, which is not installed") from None
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())
        raise Wrong(f"cannot import {name!r}: {module} ends with {type(error).__name__}: {redacted(said)}") from None


def _has(module: str, name: str) -> bool:
    return hasattr(sys.modules.get(module), name)


def _error_type(value: Any) -> type[Exception]:
    found = imported(value) if isinstance(value, str) else value
    if not (inspect.isclass(found) and issubclass(found, Exception)):
        raise ValueError
    return found


_ERROR = Kind("error type", "must be a type of Exception, or its importable name", _error_type)


def _on(value: Any) -> Any:
    """One error type, several, or a predicate."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return tuple(_listed(_ERROR)(list(cast("Iterable[Any]", value))))
    found = imported(value) if isinstance(value, str) else value
    if inspect.isclass(found):
        return (_error_type(found),)
    return _function(found)


def _function(value: Any) -> Callable[..., Any]:
    found: Any = imported(value) if isinstance(value, str) else value
    if not callable(found):
        kind = type(found).__name__
        raise Wrong(f"must be a function, and {shown(value)} is {'an' if kind[0] in 'aeiou' else 'a'} {kind}")
    return cast("Callable[..., Any]", found)


_FUNCTION_KIND = Kind("function", "must be a function or its importable name", _function)


def _functions(value: Any) -> Any:
    """One or several; a list of functions stays the same list, so that more can be added to it."""
    if isinstance(value, str) or callable(value):
        return [_function(value)]
    found = _listed(_FUNCTION_KIND)(value)
    named = any(isinstance(one, str) for one in cast("Sequence[Any]", value))
    return value if isinstance(value, list) and not named else found  # pyright: ignore[reportUnknownVariableType]


class Address(str):
    """An address as it was written; what the environment puts into it is kept apart, out of every message.

    Args:
        written: Such as ``"https://${BACKUP_HOST}/prices"``.
        environ: Where ``${NAME}`` is looked up.

    Raises:
        Wrong: If a variable is not set, or what comes out is no address.
    """

    filled: str

    def __new__(cls, written: str, environ: Mapping[str, str]) -> Self:
        """Look the variables up."""
        for name in _VARIABLE.findall(written):
            if name not in environ:
                raise Wrong(f"needs the environment variable {name}, which is not set")
        address = super().__new__(cls, written)
        address.filled = _VARIABLE.sub(lambda found: environ[found[1]], written)
        if not re.match(r"https?://.", address.filled):
            raise Wrong(
                "must be an address that begins with http:// or https://, also when its variables are filled in"
            )
        return address


_VARIABLE = re.compile(r"\$\{(\w+)\}")


def _url(value: Any) -> Address:
    if isinstance(value, Address):
        return value
    if not isinstance(value, str) or not re.match(r"https?://|\$\{\w+\}", value):
        raise ValueError
    return Address(value, os.environ)


COUNT = _whole(1)
COUNT_0 = _whole(0)
SECONDS = _seconds()
SECONDS_0 = _seconds(zero=True)
SHARE = Kind("share, > 0 and ≤ 1", "must be a share above 0 and up to 1", _share)
FACTOR = Kind("number ≥ 1", "must be a number of at least 1", _factor)
FLAG = Kind("true or false", "must be true or false", _flag)
TEXT = Kind("text", "must be a text", _text)
ANYTHING = Kind("anything", "can be anything", _anything)
JITTER = Kind(
    "'none', 'full', 'equal' or a fraction", "must be 'none', 'full', 'equal' or a fraction from 0 to 1", _jitter
)
FUNCTION = _FUNCTION_KIND
FUNCTIONS = Kind("functions", "must be functions or their importable names", _functions)
ERRORS = Kind("error types", "must be a list of error types or their importable names", _listed(_ERROR))
ON = Kind("error types or a function", "must be error types, their importable names, or a function of the error", _on)
URL = Kind("address", "must be an address that begins with http:// or https://", _url)
STRATEGY = _one_of(RecoveryStrategy)
STRATEGIES = Kind("list of strategies", "must be a list of strategies", _listed(STRATEGY))
BACKOFF = _one_of(BackoffStrategy)


# --- the table -----------------------------------------------------------------------------------


class Key(NamedTuple):
    """One key.

    Attributes:
        name: With its table: ``"retry.max_attempts"``.
        kind: What its value must be.
        default: What holds without it.
        meaning: What it does.
        aliases: What else it may be called.
    """

    name: str
    kind: Kind
    default: Any
    meaning: str
    aliases: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        """The table that it is in; empty for those above the tables."""
        return self.name.rpartition(".")[0]

    @property
    def short(self) -> str:
        """Its name in its table."""
        return self.name.rpartition(".")[2]


TABLES: Mapping[str, str] = {
    "retry": "retry_config",
    "circuit_breaker": "circuit_breaker_config",
    "fallback": "fallback_config",
    "compensation": "compensation_config",
    "bulkhead": "bulkhead_config",
    "cache": "cache_config",
}
"""The tables, and what else each may be called."""

KEYS: Mapping[str, Key] = {
    key.name: key
    for key in (
        Key("name", TEXT, None, "What the circuit breaker and the bulkhead are called in events and drawings."),
        Key(
            "primary_strategy",
            STRATEGY,
            None,
            "The strategy that the workflow is about. What it needs must be there.",
        ),
        Key("secondary_strategies", STRATEGIES, (), "The other ones. What they need must be there, too."),
        Key(
            "global_timeout",
            SECONDS,
            None,
            "Time for all attempts and waits of one execution (strategy `deadline`). Alternatives are asked after it.",
        ),
        Key("attempt_timeout", SECONDS, None, "Time for one attempt."),
        Key(
            "max_total_attempts",
            COUNT,
            None,
            "How often the operation may be called in one execution, whoever repeats it.",
        ),
        Key("transient_errors", ERRORS, (), "Errors that are worth another attempt, besides those known to be."),
        Key(
            "permanent_errors",
            ERRORS,
            (),
            "Errors that are not. They say nothing about the service, so a circuit breaker does not count them.",
        ),
        Key("log_errors", FLAG, False, "Log each error that no attempt could avert."),
        Key("on_error", FUNCTION, None, "Called with each error that no attempt could avert."),
        Key("alert_threshold", COUNT, None, "Alert after so many of these errors, and again after so many more."),
        Key("alert_window", SECONDS, None, "Only errors of the last seconds count for an alert."),
        Key("on_alert", FUNCTION, None, "Called with the number of errors so far."),
        Key("metrics", FLAG, True, "Count what the layers report, not only executions.", ("metrics_enabled",)),
        Key("health_window", COUNT, 100, "How many of the latest executions `health()` looks at."),
        Key("max_error_rate", SHARE, 0.1, "The share of failed executions above which the workflow is unhealthy."),
        # retry
        Key("retry.max_attempts", COUNT, 3, "How many calls at most, the first one included."),
        Key("retry.initial_delay", SECONDS_0, 1.0, "The first wait."),
        Key("retry.max_delay", SECONDS_0, 60.0, "The longest wait."),
        Key("retry.backoff", BACKOFF, BackoffStrategy.JITTER, "How the waits grow.", ("backoff_strategy",)),
        Key("retry.multiplier", FACTOR, 2.0, "What each exponential wait is multiplied by.", ("backoff_multiplier",)),
        Key("retry.step", SECONDS_0, None, "What each linear wait adds (default: the first wait)."),
        Key("retry.jitter", JITTER, None, "How a wait is spread.", ("jitter_range",)),
        Key(
            "retry.on",
            ON,
            None,
            "Which errors are worth another attempt (default: transient ones).",
            ("retry_on_exceptions",),
        ),
        Key("retry.retry_result", FUNCTION, None, "Says of a result that it is to be retried.", ("retry_on_result",)),
        Key("retry.max_elapsed", SECONDS, None, "Time after which no attempt starts."),
        Key("retry.respect_retry_after", FLAG, True, "Whether a server's `Retry-After` beats the computed wait."),
        Key("retry.on_retry", FUNCTION, None, "Called before each wait: with the event, or with attempt and error."),
        Key("retry.on_give_up", FUNCTION, None, "Called with the event when no further attempt is made."),
        Key("retry.on_failure", FUNCTION, None, "The same, called with the error."),
        # circuit breaker
        Key("circuit_breaker.failure_threshold", COUNT, 5, "How many failures open the circuit."),
        Key("circuit_breaker.success_threshold", COUNT, 1, "How many probes must succeed to close it again."),
        Key(
            "circuit_breaker.recovery_timeout", SECONDS, 60.0, "How long an open circuit makes no calls.", ("timeout",)
        ),
        Key("circuit_breaker.window_size", COUNT, None, "Look at so many of the last calls."),
        Key("circuit_breaker.window_duration", SECONDS, None, "Look at the calls of the last seconds."),
        Key("circuit_breaker.failure_rate", SHARE, None, "The share of failed calls that opens the circuit instead."),
        Key("circuit_breaker.minimum_calls", COUNT, 10, "How many calls there must be before a share counts."),
        Key("circuit_breaker.slow_call", SECONDS, None, "Time above which an answer is slow, and counts as a failure."),
        Key("circuit_breaker.slow_call_rate", SHARE, None, "The share of slow calls that opens the circuit instead."),
        Key("circuit_breaker.half_open_max_calls", COUNT, 1, "How many probes may be under way at once."),
        Key("circuit_breaker.on", ON, None, "Which errors are failures (default: all but `permanent_errors`)."),
        Key("circuit_breaker.on_open", FUNCTION, None, "Called when the circuit opens, with the event."),
        Key("circuit_breaker.on_half_open", FUNCTION, None, "Called before the first probe, with the event."),
        Key("circuit_breaker.on_close", FUNCTION, None, "Called when the circuit closes, with the event."),
        # fallback
        Key(
            "fallback.function",
            FUNCTIONS,
            None,
            "What to ask instead, with the same arguments or with the error. Several are asked in order.",
            ("fallback_function",),
        ),
        Key(
            "fallback.service",
            URL,
            None,
            "The address to ask after them. `${NAME}` is taken from the environment.",
            ("fallback_service",),
        ),
        Key(
            "fallback.timeout",
            SECONDS,
            None,
            "Time for each of them (default: `attempt_timeout` for async functions and the service).",
        ),
        Key("fallback.value", ANYTHING, None, "What to answer in the end.", ("fallback_value",)),
        Key(
            "fallback.on",
            ON,
            None,
            "Which errors are answered so (default: all).",
            ("fallback_on_exceptions",),
        ),
        Key("fallback.on_timeout", FLAG, True, "Whether timeouts are.", ("fallback_on_timeout",)),
        Key("fallback.use_cache", FLAG, False, "Whether the last good answer is asked for first."),
        Key("fallback.cache_ttl", SECONDS, 300.0, "How old it may be."),
        # compensation
        Key(
            "compensation.actions",
            FUNCTIONS,
            None,
            "What undoes the work, each called with the saved state, or with nothing.",
            ("compensation_actions",),
        ),
        Key("compensation.save_state", FLAG, True, "Whether the arguments of the call are in that state."),
        Key("compensation.in_reverse", FLAG, True, "Whether the last action runs first, as in a saga.", ("use_sagas",)),
        Key(
            "compensation.timeout", SECONDS, None, "Time for the work that would have to be undone.", ("saga_timeout",)
        ),
        Key("compensation.on_compensation_start", FUNCTION, None, "Called with the error before the first action."),
        Key("compensation.on_compensation_complete", FUNCTION, None, "Called with what was undone, after the last."),
        # bulkhead
        Key("bulkhead.max_concurrent", COUNT, 10, "How many executions may be under way."),
        Key("bulkhead.max_queue", COUNT_0, 0, "How many more may wait.", ("max_queue_size", "queue_size")),
        Key("bulkhead.queue_timeout", SECONDS, None, "How long one may wait."),
        Key("bulkhead.use_thread_pool", FLAG, False, "Whether plain functions run in threads of the bulkhead's own."),
        Key("bulkhead.thread_pool_size", COUNT, 5, "How many threads these are."),
        Key("bulkhead.track_metrics", FLAG, True, "Whether `get_metrics()` shows the bulkhead."),
        # cache
        Key("cache.ttl", SECONDS_0, 0.0, "How long an answer is given without asking."),
        Key(
            "cache.stale_if_error",
            SECONDS_0,
            300.0,
            "How long after that it may stand in for an error.",
            ("cache_ttl",),
        ),
        Key("cache.max_size", COUNT, 1024, "How many answers are kept."),
        Key("cache.key", FUNCTION, None, "Makes the key from the call's arguments (default: all of them)."),
        Key("cache.single_flight", FLAG, False, "Whether executions with one key share one call."),
    )
}
"""Every key by its name, table by table."""
