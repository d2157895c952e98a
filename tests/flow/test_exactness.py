"""What a report says is what happens: the same code, run for real again and again in virtual time with random failures.

Nothing of the explorer takes part in these runs. Seeds are fixed, so a test gives the same result each time; figures
are held to four standard errors, which the paths tell as well.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from failwell import (
    Cache,
    CircuitBreaker,
    Fallback,
    Policy,
    RateLimiter,
    Retry,
    Router,
    Saga,
    Step,
    Timeout,
    explore,
    virtual,
)
from failwell.backoff import Exponential, Fixed
from failwell.errors import TooManyPaths
from failwell.flow import Report
from failwell.flow.path import Path
from failwell.runtime import Mark
from tests.flow.stacks import FUNCTIONS, built, explored, stacks

RUNS = 200_000
SIGMAS = 4.0

Odds = Mapping[str, float]


class World:
    """Operations that fail and hang by chance, and counts of their calls.

    Args:
        fail: Operation -> the odds that it fails.
        hang: Operation -> the odds that it hangs.
        asynchronous: Whether its operations are async.
        error: What an operation that fails raises.
    """

    def __init__(
        self,
        fail: Odds,
        hang: Odds | None = None,
        *,
        asynchronous: bool = False,
        error: type[Exception] = ConnectionError,
    ) -> None:
        self.error = error
        self.fail = fail
        self.hang = hang or {}
        self.asynchronous = asynchronous
        self.chance = random.Random(7).random
        self.calls: Counter[str] = Counter()
        self.is_calm = False

    def __getattr__(self, name: str) -> Any:
        """An operation of this name."""
        fail = self.fail.get(name, 0.0)
        fail_or_hang = fail + self.hang.get(name, 0.0)
        counted, chance, error = self.calls, self.chance, self.error

        def hangs() -> bool:
            if self.is_calm:
                return False
            counted[name] += 1
            drawn = chance()
            if drawn < fail:
                raise error(name)
            return drawn < fail_or_hang

        def plain(*args: Any, **kwargs: Any) -> str:
            if hangs():
                time.sleep(1e9)
            return name

        async def run(*args: Any, **kwargs: Any) -> str:
            if hangs():
                await asyncio.get_running_loop().create_future()
            return name

        operation: Any = run if self.asynchronous else plain
        operation.__name__ = operation.__qualname__ = name
        setattr(self, name, operation)
        return operation


class Case(NamedTuple):
    """Something to run and to explore.

    Attributes:
        target: A protected function, a saga or a router.
        world: Whose operations it calls.
        situations: Layer -> situation -> odds.
        arrange: Brings a fresh start in these situations about, and returns the arguments of the call.
    """

    target: Any
    world: World
    situations: Mapping[str, Odds] = {}
    arrange: Callable[[int, World], tuple[Any, ...]] = lambda number, world: (number,)

    def report(self) -> Report:
        """What the explorer says."""
        return explore(self.target).report(self.world.fail, self.world.hang, situations=self.situations)

    def weighted(self) -> Iterator[tuple[float, Path]]:
        """All paths that have any odds."""
        for path in explore(self.target).paths:
            p = path.probability(self.world.fail, self.world.hang, situations=self.situations)
            if p:
                yield p, path


class Seen:
    """What came of many runs."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.elapsed = 0.0

    def add(self, started: float, mark: Mark, error: Exception | None) -> None:
        self.elapsed += time.monotonic() - started
        if error is not None:
            self.outcomes[type(error).__name__] += 1
        else:
            self.outcomes["degraded" if mark.degraded else "answered"] += 1


def run_plainly(case: Case, runs: int) -> Seen:
    """Call a plain target many times."""
    seen, target, world, arrange = Seen(), case.target, case.world, case.arrange
    with virtual.clock():
        for number in range(runs):
            arguments = arrange(number, world)
            started = time.monotonic()
            error = None
            with Mark() as mark:
                try:
                    target(*arguments)
                except Exception as raised:
                    error = raised
            seen.add(started, mark, error)
    return seen


def run_on_a_loop(case: Case, runs: int) -> Seen:
    """Call an async target many times."""
    seen, target, world, arrange = Seen(), case.target, case.world, case.arrange

    async def main() -> None:
        for number in range(runs):
            arguments = arrange(number, world)
            started = time.monotonic()
            error = None
            with Mark() as mark:
                try:
                    await target(*arguments)
                except Exception as raised:
                    error = raised
            seen.add(started, mark, error)

    virtual.run(main())
    return seen


def observed(case: Case, runs: int = RUNS) -> Seen:
    return run_on_a_loop(case, runs) if case.world.asynchronous else run_plainly(case, runs)


def assert_exact(case: Case, runs: int = RUNS) -> None:
    """Success, every way to end, mean latency and calls are within four standard errors."""
    report, weighted = case.report(), list(case.weighted())
    assert not report.is_random, "then there are bounds instead"
    seen = observed(case, runs)

    def holds(what: str, figure: float, of_path: Callable[[Path], float], total: float) -> None:
        spread = math.sqrt(max(0.0, sum(p * of_path(path) ** 2 for p, path in weighted) - figure**2))
        error = SIGMAS * spread / math.sqrt(runs) + 1e-9
        assert total / runs == pytest.approx(figure, abs=error), what

    answered = seen.outcomes["answered"] + seen.outcomes["degraded"]
    holds("success", report.success, lambda path: float(path.ends and path.error is None), answered)
    assert set(seen.outcomes) - {"answered", "degraded"} <= set(report.outcomes)
    for name, p in report.outcomes.items():
        holds(name, p, lambda path, name=name: float(ending(path) == name), seen.outcomes[name])
    holds("mean latency", report.mean_latency, lambda path: path.elapsed, seen.elapsed)
    assert set(report.calls) == set(case.world.calls)
    for name, count in report.calls.items():
        holds(f"calls of {name}", count, lambda path, name=name: path.calls.get(name, 0), case.world.calls[name])


def ending(path: Path) -> str:
    if path.error is not None:
        return type(path.error).__name__
    return "degraded" if path.degraded else "answered"


# --- by arithmetic ---------------------------------------------------------------------------------


@pytest.mark.parametrize("attempts", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("p", [Fraction(0), Fraction(1, 10), Fraction(2, 3), Fraction(1)], ids=str)
def test_retry_is_answered_unless_every_attempt_fails(attempts: int, p: Any) -> None:
    report = explore(Retry(attempts, Fixed(1))).report(p)
    assert report.success == 1 - p**attempts
    assert report.outcomes == {"answered": 1 - p**attempts, "ConnectionError": p**attempts, "never ends": 0}
    assert not isinstance(report.success, float)
    assert report.calls == {"operation": sum(p**n for n in range(attempts))}


# --- by running it ---------------------------------------------------------------------------------


def test_retry() -> None:
    world = World({"fetch": 0.3})
    assert_exact(Case(Retry(4, Exponential(1))(world.fetch), world))


def test_retry_of_what_a_timeout_cuts() -> None:
    world = World({"fetch": 0.2}, {"fetch": 0.05}, asynchronous=True)
    assert_exact(Case((Retry(3, Exponential(1)) >> Timeout(5))(world.fetch), world))


def test_fallback_whose_alternatives_have_odds_of_their_own() -> None:
    world = World({"gpt4": 0.25, "gpt35": 0.1, "cached": 0.5})
    assert_exact(Case(Fallback(world.gpt35, world.cached)(world.gpt4), world))


def test_cache_in_its_situations() -> None:
    world = World({"fetch": 0.3})
    guarded: Any = Cache(60, stale_if_error=600)(Retry(2, Fixed(1))(world.fetch))
    odds = {"miss": 0.5, "fresh": 0.3, "stale": 0.2}

    def arrange(number: int, world: World) -> tuple[Any, ...]:
        """A key that was never asked for; in part of the cases an answer is stored before, now or some time ago."""
        drawn = world.chance()
        if drawn >= odds["miss"]:
            world.is_calm = True
            guarded(number)
            world.is_calm = False
            if drawn >= odds["miss"] + odds["fresh"]:
                time.sleep(100)
        return (number,)

    assert_exact(Case(guarded, world, {"Cache": odds}, arrange))


def test_saga_with_retries_in_its_steps() -> None:
    world = World({"reserve": 0.2, "charge": 0.4, "ship": 0.2, "release": 0.3, "refund": 0.1})
    twice = Retry(2, Fixed(1))
    saga = Saga(
        [
            Step(world.reserve, world.release, retry=twice),
            Step(world.charge, world.refund, retry=twice),
            Step(world.ship, None),
        ]
    )
    assert_exact(Case(saga, world, arrange=lambda number, world: ({},)))


def test_the_production_stack() -> None:
    fail = {"api_call": 0.2, "backup_api": 0.1, "last_answer": 0.05}
    world = World(fail, {"api_call": 0.1, "backup_api": 0.2}, asynchronous=True)
    alternatives = Fallback(world.backup_api, world.last_answer)
    stack = Timeout(30) >> alternatives >> Cache(3600) >> Retry(3, Exponential(1)) >> Timeout(5)
    assert_exact(Case(stack(world.api_call), world))


def test_circuit_breaker_in_its_situations_inside_of_a_retry() -> None:
    world = World({"fetch": 0.4})
    breaker = CircuitBreaker(2, recovery_timeout=3)
    guarded: Any = (Retry(4, Fixed(1), on=Exception) >> breaker)(world.fetch)
    odds = {"closed": 0.6, "open": 0.3, "half-open": 0.1}

    def arrange(number: int, world: World) -> tuple[Any, ...]:
        breaker.reset()
        drawn = world.chance()
        if drawn >= odds["closed"]:
            breaker.open()
            if drawn >= odds["closed"] + odds["open"]:
                time.sleep(3)
        return (number,)

    assert_exact(Case(guarded, world, {"CircuitBreaker": odds}, arrange), RUNS // 4)


def test_rate_limiter_and_router() -> None:
    world = World({"small": 0.3, "large": 0.1, "spare": 0.2})
    limiter = RateLimiter(1, per=10)
    router = Router({"small": world.small, "large": world.large}, lambda number: ("small", "large")[number % 4 == 0])
    guarded: Any = (Fallback(world.spare) >> Retry(2, Fixed(1)) >> limiter)(router)
    odds = {"route": {"small": 0.75, "large": 0.25}}

    def arrange(number: int, world: World) -> tuple[Any, ...]:
        time.sleep(1000)  # whatever the limiter counted is forgotten
        return (number,)

    assert_exact(Case(guarded, world, odds, arrange), RUNS // 4)


# --- between bounds --------------------------------------------------------------------------------

FULL = Exponential(2, jitter="full")


@pytest.mark.parametrize(
    "stack",
    [
        Retry(3),
        Retry(3, FULL) >> Timeout(3),
        Timeout(4) >> Retry(3, FULL),
        Timeout(5) >> Retry(4, FULL) >> Timeout(2),
        Retry(4, FULL, max_elapsed=5) >> Timeout(2),
        Fallback(Fallback.value(0), on=ConnectionError) >> Timeout(6) >> Retry(3, Fixed(3, jitter=0.5)) >> Timeout(2),
    ],
    ids=repr,
)
def test_what_random_waits_do_is_within_the_bounds(stack: Policy) -> None:
    runs, hang = 20_000, {"fetch": 0.1} if "Timeout" in repr(stack) else {}
    world = World({"fetch": 0.3}, hang, asynchronous=True)
    case = Case(stack(world.fetch), world)
    report = case.report()
    assert report.is_random
    seen = observed(case, runs)
    longest = max(path.between[1] for p, path in case.weighted() if p)

    def holds(what: str, bounds: tuple[float, float], most: float, total: float) -> None:
        error = SIGMAS * most / 2 / math.sqrt(runs)  # no figure from 0 to most spreads more
        assert bounds[0] - error <= total / runs <= bounds[1] + error, what

    holds("mean latency", report.latency_bounds, longest, seen.elapsed)
    holds("success", report.success_bounds, 1, seen.outcomes["answered"] + seen.outcomes["degraded"])
    for name, bounds in report.outcome_bounds.items():
        holds(name, bounds, 1, seen.outcomes[name])
    holds("calls", report.calls_bounds["fetch"], report.most_calls["fetch"], world.calls["fetch"])
    assert report.latency_bounds[0] < report.latency_bounds[1]


@settings(deadline=None, max_examples=60)
@given(text=stacks(sagas=False), fail=st.sampled_from([0.1, 0.4]), hang=st.sampled_from([0.0, 0.2]))
def test_whatever_the_stack_what_happens_is_within_the_bounds(text: str, fail: float, hang: float) -> None:
    runs = 300
    if "jitter" in text and any(name in text for name in ("RateLimiter", "CircuitBreaker", "Cache")):
        reject()  # what ages during a random wait is no limit of time, and its other end is not explored
    if not text.startswith("Timeout"):
        text = f"Timeout(20.0) >> {text}"  # so that every run comes to an end
    handlers = "Retry", "Fallback", "CircuitBreaker", "CredentialRefresh", "SafeCall", "AdaptiveLimit"
    handling = [layer for layer in text.split(" >> ") if layer.startswith(handlers)]
    kind: Any = TimeoutError if handling and "on=TimeoutError" in handling[-1] else ConnectionError
    failing = [name for name in FUNCTIONS if name != "is_good"]  # that one only judges, and finds everything good
    world = World(dict.fromkeys(failing, fail), dict.fromkeys(failing, hang), asynchronous=True, error=kind)
    try:
        exploration = explored(text, limit=400)
    except TooManyPaths:
        reject()
    report = exploration.report(fail, hang)
    seen = observed(Case(lambda: built(text, lambda name: getattr(world, name))(), world, arrange=lambda *_: ()), runs)

    def holds(what: str, bounds: tuple[float, float], most: float, total: float) -> None:
        error = 5 * most / 2 / math.sqrt(runs) + 1e-6
        assert bounds[0] - error <= total / runs <= bounds[1] + error, what

    holds("mean latency", report.latency_bounds, max(path.between[1] for path in exploration.paths), seen.elapsed)
    for name, bounds in report.outcome_bounds.items():
        holds(name, bounds, 1, seen.outcomes[name])
    assert set(seen.outcomes) <= set(report.outcomes)
    for name, bounds in report.calls_bounds.items():
        if name in failing:
            holds(f"calls of {name}", bounds, report.most_calls[name], world.calls[name])
