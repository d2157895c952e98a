"""Reading a configuration: every key known, every value of its type, nothing that contradicts something else.

What is wrong is said in one sentence that begins with the offending key, and tells the remedy. A key that has no
effect is wrong as well: whoever wrote it believes that it has one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from failwell.errors import ConfigurationError
from failwell.patterns.bulkhead import Bulkhead
from failwell.patterns.cache import Cache
from failwell.patterns.circuit_breaker import CircuitBreaker
from failwell.patterns.fallback import Fallback
from failwell.patterns.retry import Retry
from failwell.policy import Policy
from failwell.workflow.keys import KEYS, TABLES, Address, BackoffStrategy, Key, RecoveryStrategy, Wrong, nearest, shown

__all__ = ["Settings", "addressed", "canonical", "from_file", "settings_of", "within"]

READY: Mapping[str, type[Policy]] = {
    "retry": Retry,
    "circuit_breaker": CircuitBreaker,
    "fallback": Fallback,
    "bulkhead": Bulkhead,
    "cache": Cache,
}
"""What may be given instead of a table: a pattern that is made already, such as a breaker that others share."""

NEEDS: Mapping[RecoveryStrategy, str] = {
    RecoveryStrategy.RETRY: "retry",
    RecoveryStrategy.CIRCUIT_BREAKER: "circuit_breaker",
    RecoveryStrategy.FALLBACK: "fallback",
    RecoveryStrategy.COMPENSATE: "compensation",
    RecoveryStrategy.DEADLINE: "global_timeout",
    RecoveryStrategy.BULKHEAD: "bulkhead",
    RecoveryStrategy.CACHE: "cache",
}
"""What each strategy is configured by."""


class Settings:
    """A configuration that was read.

    Attributes:
        given: The names of the keys and the tables that were there.
        ready: Table -> the pattern that was given instead.
    """

    def __init__(self) -> None:
        self.given: set[str] = set()
        self.ready: dict[str, Policy] = {}
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self._values.get(name, KEYS[name].default)

    def __contains__(self, name: str) -> bool:
        return name in self.given

    def take(self, key: Key, value: Any) -> None:
        """Check one value and keep it."""
        try:
            self._values[key.name] = key.kind.accept(value)
        except ValueError:
            raise ConfigurationError(key.name, f"{key.kind.must}, got {shown(value)}") from None
        except Wrong as wrong:
            raise ConfigurationError(key.name, str(wrong)) from None
        self.given.add(key.name)

    @property
    def caches(self) -> bool:
        """Whether answers are kept."""
        return "cache" in self or self["fallback.use_cache"]


def from_file(path: str | os.PathLike[str], table: str | None = None) -> Mapping[str, Any]:
    """The configuration in a TOML file.

    Args:
        path: The file.
        table: The table in it that holds the configuration, with dots between its parts (default: all of it).

    Raises:
        ConfigurationError: If it is no TOML, or has no such table.
        OSError: If it cannot be read.
    """
    import tomllib

    try:
        found: Any = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        said = "it is no text" if isinstance(error, UnicodeDecodeError) else str(error)
        raise ConfigurationError(Path(path).name, f"cannot be read as TOML: {said}") from None
    return within(found, table, Path(path).name)


def within(config: Mapping[str, Any], table: str | None, said: str) -> Mapping[str, Any]:
    """The configuration in a table of a larger one.

    Args:
        config: The larger one.
        table: The table's name, with dots between its parts (default: all of it).
        said: What the larger one is called in messages.

    Raises:
        ConfigurationError: If there is no such table.
    """
    found: Any = config
    for part in (table or "").split("."):
        if not part:
            continue
        tables: dict[str, Any] = {key: value for key, value in found.items() if isinstance(value, Mapping)}
        if part not in tables:
            raise ConfigurationError(str(table), f"{said} has no such table; {_choice(part, tables)}")
        found = tables[part]
    whole: Mapping[str, Any] = found
    return whole


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Read a configuration.

    Args:
        config: Keys and tables by name.

    Raises:
        ConfigurationError: If it cannot be used.
    """
    settings = Settings()
    for name, value in canonical(config, "").items():
        if value is None:
            continue
        if name not in TABLES:
            settings.take(KEYS[name], value)
        elif isinstance(value, Mapping):
            settings.given.add(name)
            table: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
            for key, inside in canonical(table, name).items():
                if inside is not None or key == "fallback.value":
                    settings.take(KEYS[key], inside)
        elif name in READY and isinstance(value, READY[name]):
            settings.given.add(name)
            settings.ready[name] = value
        else:
            instead = f" or a {READY[name].__name__}" if name in READY else ""
            raise ConfigurationError(name, f"must be a table{instead}, got {shown(value)}")
    _check(settings)
    return settings


def addressed(fallback: Mapping[Any, Any], environ: Mapping[str, str]) -> Mapping[Any, Any]:
    """The table of a fallback, with the variables of its address looked up.

    Args:
        fallback: The table.
        environ: Where to look.
    """
    found = dict(fallback)
    for name in ("service", "fallback_service"):
        if isinstance(found.get(name), str) and "${" in found[name]:
            try:
                found[name] = Address(found[name], environ)
            except Wrong as wrong:
                raise ConfigurationError(f"fallback.{name}", str(wrong)) from None
    return found


def canonical(config: Mapping[Any, Any], table: str) -> dict[str, Any]:
    """The same values under the names that `KEYS` and `TABLES` have for them.

    Args:
        config: What was given.
        table: Where; empty for what stands above the tables.
    """
    known = {key.short: key.name for key in KEYS.values() if key.table == table}
    known.update({alias: key.name for key in KEYS.values() if key.table == table for alias in key.aliases})
    if not table:
        known.update({name: name for pair in TABLES.items() for name in pair})
        known.update({other: name for name, other in TABLES.items()})
    found: dict[str, Any] = {}
    said: dict[str, str] = {}
    for name, value in config.items():
        here = f"{table}.{name}" if table else str(name)
        if name not in known:
            nested = None if table else _nested(value, str(name))
            advice = f": to read the table in it, ask for {nested!r}" if nested else _advice(name, known, table)
            raise ConfigurationError(here, f"there is no such key{advice}")
        key = known[name]
        if key in found:
            raise ConfigurationError(here, f"is given twice, as {said[key]!r} as well: leave one out")
        found[key], said[key] = value, name
    return found


def _nested(value: Any, path: str) -> str | None:
    """The first table in there that may be a configuration, under its whole name."""
    if not isinstance(value, Mapping):
        return None
    inside: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
    tops = {key.name for key in KEYS.values() if not key.table} | TABLES.keys() | set(TABLES.values())
    if tops & inside.keys():
        return path
    return next((found for key, one in inside.items() if (found := _nested(one, f"{path}.{key}"))), None)


def _advice(name: object, known: Mapping[str, str], table: str) -> str:
    elsewhere = [key for key in KEYS.values() if key.table != table and name in (key.short, *key.aliases)]
    near = nearest(name, known)
    if elsewhere:
        place = " or ".join(f"[{key.table}]" if key.table else "the top, above all tables" for key in elsewhere)
        return f" here: it belongs to {place}"
    if near is not None:
        return f": did you mean {known[near].rpartition('.')[2]!r}?"
    where = f"in [{table}]" if table else "here"
    names = dict.fromkeys(full.rpartition(".")[2] for full in known.values())
    return f"; {where} there are {', '.join(names)}"


def _choice(word: str, known: Collection[str]) -> str:
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near else f"there are {', '.join(known) or 'none'}"


# --- what contradicts something else -------------------------------------------------------------


def _check(settings: Settings) -> None:
    _strategies(settings)
    for check in (_attempts, _waits, _times, _errors, _breaker, _fallback, _others):
        for name, reason in check(settings):
            raise ConfigurationError(name, reason)


def _strategies(settings: Settings) -> None:
    """Every strategy that is named has what it needs, and is named once."""
    named = [("primary_strategy", settings["primary_strategy"])] if "primary_strategy" in settings else []
    named += [("secondary_strategies", one) for one in settings["secondary_strategies"]]
    seen: dict[RecoveryStrategy, str] = {}
    for key, strategy in named:
        if strategy in seen:
            where = "here" if seen[strategy] == key else f"as {seen[strategy]}"
            raise ConfigurationError(key, f"names {str(strategy)!r} twice, {where} as well: leave one out")
        seen[strategy] = key
        need = NEEDS[strategy]
        if need in settings or (strategy is RecoveryStrategy.CACHE and settings.caches):
            continue
        remedy = f"give {need}, the seconds that there are" if need in KEYS else f"add the table [{need}]"
        raise ConfigurationError(key, f"names {str(strategy)!r}, which is not configured: {remedy}")


Problems = Iterable[tuple[str, str]]


def _attempts(s: Settings) -> Problems:
    most, total = s["retry.max_attempts"], s["max_total_attempts"]
    if "retry.max_attempts" in s and total is not None and most > total:
        yield "retry.max_attempts", f"is {most}, more than max_total_attempts ({total}) allows: lower it"
    if "retry.on_failure" in s and "retry.on_give_up" in s:
        yield "retry.on_failure", "is called when on_give_up is: leave one out"


def _waits(s: Settings) -> Problems:
    backoff = s["retry.backoff"]
    if s["retry.initial_delay"] > s["retry.max_delay"]:
        wrong = "retry.initial_delay" if "retry.initial_delay" in s else "retry.max_delay"
        yield (
            wrong,
            f"makes the first wait ({s['retry.initial_delay']:g} s) longer than the longest "
            f"(max_delay, {s['retry.max_delay']:g} s)",
        )
    exponential = (BackoffStrategy.EXPONENTIAL, BackoffStrategy.JITTER)
    for name, fitting in (
        ("retry.multiplier", exponential),
        ("retry.step", (BackoffStrategy.LINEAR,)),
        ("retry.jitter", tuple(one for one in BackoffStrategy if one is not BackoffStrategy.DECORRELATED)),
        ("retry.max_delay", tuple(one for one in BackoffStrategy if one is not BackoffStrategy.FIXED)),
    ):
        if name in s and backoff not in fitting:
            yield name, f"has no effect with backoff = {str(backoff)!r}: leave it out, or take {_either(fitting)}"


def _either(words: Iterable[str]) -> str:
    return " or ".join(repr(str(word)) for word in words)


def _times(s: Settings) -> Problems:
    whole = s["global_timeout"]
    for name in ("attempt_timeout", "bulkhead.queue_timeout", "compensation.timeout", "retry.max_elapsed"):
        if whole is not None and s[name] is not None and s[name] > whole:
            yield name, f"is {s[name]:g} s, longer than global_timeout ({whole:g} s) allows: lower it"


def _errors(s: Settings) -> Problems:
    for error in s["transient_errors"]:
        if error in s["permanent_errors"]:
            yield "permanent_errors", f"names {error.__name__}, as transient_errors does: decide for one"
    if "retry" in s.ready and "transient_errors" in s:
        yield "transient_errors", "has no effect on a Retry that is made already: give it on="
    only = s["retry.on"]
    if isinstance(only, tuple):
        for error in cast("tuple[type[Exception], ...]", only):
            if error in s["permanent_errors"]:
                yield "retry.on", f"names {error.__name__}, which permanent_errors says not to try again"
    for error in s["transient_errors"]:
        if "retry" not in s:
            yield "transient_errors", "has no effect without [retry]"
        elif only is not None and not (isinstance(only, tuple) and issubclass(error, only)):
            yield "transient_errors", f"names {error.__name__}, which retry.on does not try again: decide for one"


def _breaker(s: Settings) -> Problems:
    size, rate = s["circuit_breaker.window_size"], s["circuit_breaker.failure_rate"]
    slow = s["circuit_breaker.slow_call_rate"]
    if rate is not None and "circuit_breaker.failure_threshold" in s:
        yield "circuit_breaker.failure_threshold", "has no effect with failure_rate: leave one out"
    if size is not None and rate is None and s["circuit_breaker.failure_threshold"] > size:
        yield (
            "circuit_breaker.window_size",
            f"is {size}, so failure_threshold ({s['circuit_breaker.failure_threshold']}) is never reached",
        )
    if "circuit_breaker.minimum_calls" in s and rate is None and slow is None:
        yield "circuit_breaker.minimum_calls", "has no effect without failure_rate or slow_call_rate"
    if slow is not None and "circuit_breaker.slow_call" not in s:
        yield "circuit_breaker.slow_call_rate", "needs slow_call, the seconds above which a call is slow"


def _fallback(s: Settings) -> Problems:
    answers = [name for name in ("function", "service", "value", "use_cache") if f"fallback.{name}" in s]
    if "fallback" in s and "fallback" not in s.ready and not answers:
        yield "fallback", "has nothing to answer with: give function, service or value, or use_cache = true"
    if "fallback.use_cache" in s and len(answers) == 1 and not s["fallback.use_cache"]:
        yield "fallback.use_cache", "is false, so nothing is left to answer with: give function, service or value"
    if s["fallback.use_cache"] and "cache" in s:
        yield "fallback.use_cache", "makes a cache, and [cache] does, too: leave one out"
    if "fallback.cache_ttl" in s and not s["fallback.use_cache"]:
        yield "fallback.cache_ttl", "has no effect without use_cache = true"
    if "fallback.timeout" in s and not {"fallback.function", "fallback.service"} & s.given:
        yield "fallback.timeout", "has no effect without function or service"
    on = s["fallback.on"]
    if isinstance(on, tuple) and not s["fallback.on_timeout"]:
        for error in cast("tuple[type[Exception], ...]", on):
            if issubclass(error, TimeoutError):
                yield "fallback.on_timeout", f"is false, and fallback.on names {error.__name__}: decide for one"


def _others(s: Settings) -> Problems:
    for name in ("alert_window", "on_alert"):
        if name in s and "alert_threshold" not in s:
            yield name, "has no effect without alert_threshold"
    if "compensation" in s and "compensation.actions" not in s:
        yield "compensation.actions", "is missing: give the functions that undo the work"
    if "bulkhead.queue_timeout" in s and not s["bulkhead.max_queue"]:
        yield "bulkhead.queue_timeout", "has no effect without max_queue: nobody waits"
    if "cache" in s and "cache" not in s.ready and s["cache.ttl"] == s["cache.stale_if_error"] == 0:
        yield "cache.stale_if_error", "is 0, and so is ttl: no answer would ever be kept"
    if not s.given - {"name"}:
        tables = ", ".join(f"[{name}]" for name in TABLES)
        yield "primary_strategy", f"nothing is configured: add global_timeout or one of the tables {tables}"
