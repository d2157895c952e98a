"""Random stacks as text, and real runs of them that follow an explored path."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import strategies as st

from failwell import (
    AdaptiveLimit,
    Bulkhead,
    Cache,
    CircuitBreaker,
    CredentialRefresh,
    Deadline,
    Degrade,
    ExponentialRecovery,
    Fallback,
    Feature,
    HealthCheck,
    Hedge,
    InContext,
    Policy,
    RateLimiter,
    Retry,
    SafeCall,
    Saga,
    Stack,
    Step,
    Timeout,
    Validate,
    Workflow,
    listening,
    virtual,
)
from failwell.backoff import Exponential, Fixed
from failwell.events import Event, Waiting
from failwell.flow import Answer, Choice, Exploration, Path, explore
from failwell.policy import Operation, Pattern, labels
from failwell.runtime import Mark

PATTERNS: dict[str, Any] = {
    "AdaptiveLimit": AdaptiveLimit,
    "Bulkhead": Bulkhead,
    "Cache": Cache,
    "CircuitBreaker": CircuitBreaker,
    "Deadline": Deadline,
    "Degrade": Degrade,
    "Feature": Feature,
    "HealthCheck": HealthCheck,
    "CredentialRefresh": CredentialRefresh,
    "Exponential": Exponential,
    "ExponentialRecovery": ExponentialRecovery,
    "Fallback": Fallback,
    "Fixed": Fixed,
    "Hedge": Hedge,
    "InContext": InContext,
    "RateLimiter": RateLimiter,
    "Retry": Retry,
    "SafeCall": SafeCall,
    "Saga": Saga,
    "Step": Step,
    "Timeout": Timeout,
    "Validate": Validate,
    "Workflow": Workflow,
}
FUNCTIONS = ("operation", "backup", "archive", "reserve", "release", "charge", "refund", "ship", "refresh", "is_good")

# Binary fractions, so that sums are exact and some waits end at the very moment of a timeout.
EXACT = (0.5, 1.0, 1.5, 2.0, 4.0)
ROUNDED = (0.1, 0.2, 0.3, 0.7, 1.1)


def _layers(
    seconds: tuple[float, ...], jitter: bool, cut: tuple[float, ...], hedges: bool = False
) -> st.SearchStrategy[str]:
    wait = st.sampled_from(seconds)
    fixed = wait.map(lambda s: f"Fixed({s})")
    full = wait.map(lambda s: f"Exponential({s}, jitter='full')")
    backoff = st.one_of(st.just("Fixed(0)"), fixed, *([full] if jitter else []))
    attempts = st.integers(1, 3)
    limit = st.one_of(st.none(), wait)
    budget = st.sampled_from(["", "", ", budget=purse"])
    retry = st.builds(
        lambda n, b, m, x: f"Retry({n}, backoff={b}, max_elapsed={m}{x})", attempts, backoff, limit, budget
    )
    timeout = st.builds(
        lambda s, d: f"Timeout({s}{d})", st.sampled_from(cut), st.sampled_from(["", ", default='late'"])
    )
    deadline = st.sampled_from(cut).map(lambda s: f"Deadline({s})")
    hedge = st.sampled_from(cut).map(lambda s: f"Hedge({s})")
    others = [
        "Fallback(backup)",
        "Fallback(backup, archive)",
        "Fallback(Fallback.value('spare'))",
        "Fallback(backup, on=TimeoutError)",
        "SafeCall('default')",
    ]
    caches = ["Cache(4)", "Cache(0, stale_if_error=2)", "Cache(1, stale_if_error=1, degraded='store')"]
    breakers = [
        "CircuitBreaker(1, recovery_timeout=2)",
        "CircuitBreaker(2, recovery_timeout=1)",
        "CircuitBreaker(1, recovery_timeout=4, on=TimeoutError)",
        "CircuitBreaker(1, recovery_timeout=1, recovery=ExponentialRecovery(max_probes=1))",
    ]
    gates = [
        "RateLimiter(1, per=2)",
        "RateLimiter(1, per=2, max_wait=2)",
        "RateLimiter(1, per=2, burst=2)",
        "Bulkhead(1)",
        "AdaptiveLimit(4)",
        "AdaptiveLimit(2, failure_rate=0.0, on=TimeoutError)",
        "Bulkhead(1, max_queue=1, queue_timeout=1)",
    ]
    checks = ["Validate(output=is_good)", "Validate(input=is_good)", "InContext('http', target='carts')"]
    credentials = ["CredentialRefresh(Held(refresh, expired), on=ConnectionError)"]
    racing = [hedge] if hedges else []
    return st.one_of(
        retry, timeout, deadline, *racing, *map(st.sampled_from, (others, caches, breakers, gates, checks, credentials))
    )


def _saga(seconds: tuple[float, ...]) -> st.SearchStrategy[str]:
    retry = st.one_of(st.just("None"), st.sampled_from(seconds).map(lambda s: f"Retry(2, backoff=Fixed({s}))"))
    last = st.sampled_from(["", ", Step(ship)"])
    timeout = st.one_of(st.none(), st.sampled_from(seconds))
    return st.builds(
        lambda r, x, t: f"Saga([Step(reserve, release, retry={r}), Step(charge, refund){x}], timeout={t})",
        retry,
        last,
        timeout,
    )


def stacks(
    seconds: tuple[float, ...] = EXACT,
    *,
    jitter: bool = True,
    sagas: bool = True,
    cut: tuple[float, ...] | None = None,
    most: int = 3,
    hedges: bool = False,
) -> st.SearchStrategy[str]:
    """Texts such as ``Timeout(2.0) >> Retry(3, backoff=Fixed(1.0)) >> operation``."""
    layers = st.lists(_layers(seconds, jitter, cut or seconds, hedges), min_size=1, max_size=most)
    inside = st.one_of(st.just("operation"), _saga(seconds)) if sagas else st.just("operation")
    return st.builds(lambda outer, inner: " >> ".join([*outer, inner]), layers, inside)


AFFORDABLE = "retry budget left"
EXPIRED = "credential expired"


class Purse:
    """A budget that allows what the path says."""

    def __init__(self, withdraw: Callable[[], bool]) -> None:
        self.withdraw = withdraw

    def deposit(self) -> None:
        """Calls pay for nothing."""


class Held:
    """A credential that does as the path says."""

    def __init__(self, refresh: Callable[[], Any], expired: Callable[[], bool]) -> None:
        self.refresh = refresh
        self._expired = expired

    @property
    def is_expired(self) -> bool:
        return self._expired()


def built(text: str, function: Callable[[str], Any], path: Path | None = None, *outer: Policy) -> Any:
    """The function that a text describes, its layers in the situations of a path."""
    names = {**PATTERNS, **{name: function(name) for name in FUNCTIONS}}
    names["Held"], names["expired"] = Held, function(EXPIRED) if path else lambda: False
    names["purse"] = Purse(function(AFFORDABLE) if path else lambda: True)
    *around, innermost = (eval(part, names) for part in text.split(" >> "))
    layers: list[Policy] = [*outer, *around]
    flat = Stack(*layers).layers if layers else ()
    named: list[Pattern] = [*flat, *([innermost] if isinstance(cast("Any", innermost), Operation) else [])]
    for layer, label in zip(named, labels(named), strict=True):
        for choice in path.choices if path else ():
            if choice.kind == "situation" and choice.subject == label:
                layer._live = layer.situations()[choice.option]()
    return Stack(*layers)(innermost)


def _never_run(name: str) -> Any:
    async def function(*args: Any) -> None:
        raise AssertionError(f"{name} was executed")

    function.__name__ = function.__qualname__ = name
    return function


def explored(text: str, *outer: Policy, limit: int = 1500) -> Exploration:
    """All paths of the stack that a text describes."""
    return explore(built(text, _never_run, None, *outer), limit=limit)


# --- real runs -----------------------------------------------------------------------------------


def fingerprint(event: Event) -> tuple[Any, ...]:
    """An event as plain data, its errors by what they say; times to the nanosecond."""
    values: list[Any] = []
    for name in event.fields:
        if name == "context":  # what is explored belongs to no request
            continue
        value = getattr(event, name)
        if isinstance(value, BaseException):
            value = type(value).__name__, str(value)
        values.append(round(value, 9) if isinstance(value, float) else value)
    return type(event).__name__, *values


class Ended:
    """How a real run went."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.result: Any = None
        self.error: Exception | None = None
        self.elapsed = float("inf")
        self.degraded = False


class _Script:
    """Plays the world's part of a path: how operations end, and which lot is drawn."""

    def __init__(self, path: Path) -> None:
        self.outcomes = iter([c for c in path.choices if c.kind in ("operation", "decision") and len(c.options) > 1])
        self.lots = iter(list(_lots(path)))

    def next(self, name: str) -> str:
        choice = next(self.outcomes, None)
        if choice is None:  # after the end of a path that never ends, when its loop is closed
            return "ok"
        assert choice.subject == name or (choice.kind, name) == ("decision", "is_good")
        return choice.option


def _lots(path: Path) -> Iterator[float]:
    """0 for the short end of each jittered wait, 1 for the long one."""
    before: Choice | Event | None = None
    for item in path.trace:
        if isinstance(item, Waiting) and item.between[0] < item.between[1]:
            if isinstance(before, Choice) and before.kind == "jitter":
                yield 0.0
            elif item.delay > item.between[0]:
                yield 1.0
        before = item


def _failure_of(name: str, text: str) -> type[Exception]:
    """What the innermost layer that handles errors would handle."""
    if name in ("reserve", "release") and "retry=Retry" in text:
        return ConnectionError
    handling = [
        layer
        for layer in text.split(" >> ")[:-1]
        if layer.startswith(
            ("Retry", "Fallback", "AdaptiveLimit", "CircuitBreaker", "CredentialRefresh", "Hedge", "SafeCall")
        )
    ]
    return TimeoutError if handling and "on=TimeoutError" in handling[-1] else ConnectionError


def follow(text: str, path: Path, monkeypatch: pytest.MonkeyPatch, *, plain: bool = False) -> Ended:
    """Run the real stack in virtual time, in a world that behaves as the path says."""
    script = _Script(path)
    ended = Ended()

    def end(name: str, option: str) -> Answer:
        if option == "fail":
            raise _failure_of(name, text)(f"{name} failed")
        return Answer(name)

    def scripted(name: str) -> Any:
        async def function(*args: Any) -> Answer:
            option = script.next(name)
            if option == "hang":
                await asyncio.get_running_loop().create_future()
            return end(name, option)

        def plain_function(*args: Any) -> Answer:
            option = script.next(name)
            if option == "hang":
                time.sleep(1e9)
            return end(name, option)

        def says(*args: Any) -> bool:
            return script.next(name) != "no"

        made: Any = says if name in ("is_good", AFFORDABLE, EXPIRED) else plain_function if plain else function
        made.__name__ = made.__qualname__ = name
        return made

    target = built(text, scripted, path)

    async def main() -> None:
        with listening(ended.events.append), Mark() as mark:
            try:
                ended.result = await target()
            except Exception as error:
                ended.error = error
        ended.elapsed = time.monotonic()
        ended.degraded = mark.degraded and ended.error is None

    def plain_main() -> None:
        with listening(ended.events.append), Mark() as mark:
            try:
                ended.result = target()
            except Exception as error:
                ended.error = error
        ended.elapsed = time.monotonic()
        ended.degraded = mark.degraded and ended.error is None

    with monkeypatch.context() as patched:
        patched.setattr(random, "random", lambda: next(script.lots))
        try:
            if plain:
                with virtual.clock():
                    plain_main()
            else:
                virtual.run(main())
        except virtual.Deadlock:
            ended.elapsed = float("inf")
    return ended


def assert_same(path: Path, real: Ended) -> None:
    """What the explorer said is what really happened."""
    expected = [fingerprint(event) for event in path.events]
    happened = [fingerprint(event) for event in real.events]
    if not path.ends:  # when its loop is closed, cleanup goes on
        assert (happened[: len(expected)], real.elapsed) == (expected, float("inf"))
        return
    assert happened == expected
    assert real.elapsed == pytest.approx(path.elapsed, abs=1e-9)
    assert real.degraded == path.degraded
    assert (type(real.error), str(real.error)) == (type(path.error), str(path.error))
    expected_result = "spare" if path.result == Answer("value 'spare'") else path.result
    assert real.result == expected_result
