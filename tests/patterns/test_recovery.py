from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import (
    AdaptiveRecovery,
    CircuitBreaker,
    ExponentialRecovery,
    PartialRecovery,
    RecoveryPattern,
    Retry,
    backoff,
    errors,
    explore,
    listening,
    virtual,
)
from failwell.circuit import Circuit
from failwell.events import CircuitOpened, Event, Rejected
from failwell.flow.states import transitions
from failwell.probing import Probe, left
from tests.kernel.world import Hang, World, kinds
from tests.patterns.test_circuit_breaker import DOWN, in_turn
from tests.soak.test_soak import hammer

SHOP = ("checkout", "search", "ads")


def feature(name: str = "ads", **ignored: Any) -> str:
    return name


def state(breaker: CircuitBreaker) -> str:
    return str(breaker.history[-1].after)


# --- a recovery of one's own -------------------------------------------------------------------------


class Noted(RecoveryPattern):
    """Remembers what it was asked."""

    def __init__(self, seconds: Any = 10.0) -> None:
        self.seconds = seconds
        self.asked: list[str] = []

    def should_attempt_recovery(self, probe: Probe) -> bool:
        self.asked.append(f"attempt at {probe.now:g}")
        return True

    def handle_success(self, probe: Probe) -> bool:
        self.asked.append(f"success after {probe.seconds:g} s")
        return len(self.asked) >= 7

    def handle_failure(self, probe: Probe) -> Any:
        self.asked.append(f"failure {probe.error!r}, {probe.recovery_timeout:g}")
        return self.seconds


def test_a_recovery_of_ones_own_is_told_what_happens_and_decides(world: World) -> None:
    mine = Noted()
    breaker = CircuitBreaker(1, recovery_timeout=50, recovery=mine)
    once = breaker(world.operation(DOWN, DOWN, "a", "b", "c", takes=2))
    in_turn(world, once, 10, once, 10)
    told = breaker.recovering
    assert isinstance(told, Noted)
    in_turn(world, lambda: time.sleep(24) if not world.asynchronous else asyncio.sleep(24), once, once)
    assert told.asked == [
        f"failure {DOWN!r}, 50",
        "attempt at 12",
        f"failure {DOWN!r}, 50",
        "attempt at 24",
        "success after 2 s",
        "attempt at 26",
        "success after 2 s",
    ]
    assert mine.asked == [], "each circuit has a copy of its own"
    assert (state(breaker), breaker.recovering) == ("closed", None)


def test_circuits_that_share_a_recovery_do_not_share_what_it_remembers() -> None:
    mine = Noted()
    one, other = CircuitBreaker(1, recovery=mine), CircuitBreaker(1, recovery=mine)
    one.open()
    other.open()
    seen = [breaker.recovering for breaker in (one, other)]
    assert [len(recovery.asked) for recovery in seen if isinstance(recovery, Noted)] == [1, 1]
    assert seen[0] is not seen[1]


def test_a_changed_copy_of_a_breaker_goes_on_where_the_circuit_is(world: World) -> None:
    breaker = CircuitBreaker(1, 10, recovery=ExponentialRecovery())
    twin = breaker.replace(failure_threshold=3)
    in_turn(world, breaker(world.operation(DOWN)), 10, twin(world.operation(DOWN)))
    assert [change.seconds for change in twin.history] == [10, 0, 20]
    assert twin.recovering is breaker.recovering


def test_a_call_that_it_refuses_is_not_made_and_may_come_back(world: World) -> None:
    class AtNight(RecoveryPattern):
        def should_attempt_recovery(self, probe: Probe) -> Any:
            return [] if probe.now < 100 else ["yes"]

    operation = world.operation("back")
    breaker = CircuitBreaker(recovery_timeout=10, recovery=AtNight())
    outcome = lambda: breaker.outcome(operation)  # noqa: E731
    refused, made = in_turn(world, breaker.open, 15, outcome, 85, outcome)[1:]
    assert isinstance(refused.error, errors.CircuitOpenError)
    assert refused.error.retry_after == 10
    assert kinds(refused) == ["Rejected"]
    assert (made.value, kinds(made)) == ("back", ["CircuitHalfOpened", "CircuitClosed"]), "the first probe is news"
    assert operation.log.times == [100]


@pytest.mark.parametrize("answer", ["soon", None, True, (1, 2, 3), -1, math.nan, (5, 1)])
def test_a_break_that_is_none_is_refused_and_changes_nothing(world: World, answer: Any) -> None:
    breaker = CircuitBreaker(1, recovery=Noted(answer))
    error = world.run(breaker, world.operation(DOWN)).error
    assert isinstance(error, (TypeError, ValueError))
    assert str(error).startswith("Noted.handle_failure must return seconds")
    assert error.__context__ is DOWN
    assert (breaker.state, breaker.history) == ("closed", ())


def test_an_error_in_a_recovery_is_heard_of_and_costs_no_place(world: World) -> None:
    class Broken(RecoveryPattern):
        def handle_success(self, probe: Probe) -> bool:
            raise ZeroDivisionError

    breaker = CircuitBreaker(recovery=Broken())
    breaker.open()
    breaker.half_open()
    for _ in range(2):
        assert isinstance(world.run(breaker, world.operation("back")).error, ZeroDivisionError)
    assert breaker.state == "half-open"


def test_a_break_of_no_time_lets_probes_go_on(world: World) -> None:
    breaker = CircuitBreaker(1, recovery=Noted(0))
    once = breaker(world.operation(DOWN, DOWN, "back"))
    assert in_turn(world, once, lambda: str(breaker.state), once, lambda: str(breaker.state), once) == [
        DOWN,
        "half-open",
        DOWN,
        "half-open",
        "back",
    ]
    assert [(change.after, change.seconds) for change in breaker.history] == [("open", 0), ("half-open", 0)]


@given(low=st.floats(0, 100), more=st.floats(0, 100), seed=st.integers(0, 99), by_hand=st.booleans())
def test_of_two_numbers_a_break_between_them_is_drawn(low: float, more: float, seed: int, by_hand: bool) -> None:
    breaker = CircuitBreaker(1, recovery=Noted((low, low + more)))
    with virtual.clock(seed=seed), listening(lambda event: heard.append(event)):
        heard: list[Any] = []
        breaker.open() if by_hand else breaker.outcome(World(False).operation(DOWN))
        [opened] = heard
        assert low <= opened.seconds <= low + more
        error = breaker.outcome(World(False).operation("back")).error
        if isinstance(error, errors.CircuitOpenError):
            assert error.retry_after == opened.seconds
            time.sleep(error.retry_after or 0.0)
        assert breaker.state == "half-open" or more == low == 0


def test_lists_of_a_recovery_of_ones_own_are_copied_but_not_its_functions() -> None:
    class Mine(RecoveryPattern):
        def __init__(self, inner: RecoveryPattern, load: Callable[[], float]) -> None:
            self.inner = inner
            self.load = load
            self.seen: dict[str, list[int]] = {}

    source = Noted()
    mine = Mine(Noted(), source.asked.__len__)
    copied = mine.fresh()
    assert copied.seen is not mine.seen
    assert copied.inner is not mine.inner
    assert copied.load is mine.load
    assert repr(mine).startswith("Mine(")


def test_a_recovery_that_cannot_be_copied_is_refused_before_the_first_outage() -> None:
    class Locked(RecoveryPattern):
        def __init__(self) -> None:
            self.lock = threading.Lock()

    with pytest.raises(TypeError, match=r"recovery must be something that fresh\(\) can copy, got Locked\(\): .*lock"):
        CircuitBreaker(recovery=Locked())


# --- longer breaks -----------------------------------------------------------------------------------


def test_each_probe_that_fails_makes_the_break_longer_up_to_a_limit(world: World) -> None:
    operation = world.operation(DOWN)
    breaker = CircuitBreaker(2, recovery_timeout=10, recovery=ExponentialRecovery(3, max=200))
    once = breaker(operation)
    refused = in_turn(world, once, once, *[step for wait in (10, 30, 90, 200, 200) for step in (wait, once, once)])
    assert [change.seconds for change in breaker.history if change.after == "open"] == [10, 30, 90, 200, 200, 200]
    assert operation.log.times == [0, 0, 10, 40, 130, 330, 530]
    assert [one.retry_after for one in refused if isinstance(one, errors.CircuitOpenError)] == [30, 90, 200, 200, 200]


def test_the_event_the_error_and_the_clock_agree_on_a_longer_break(world: World) -> None:
    heard: list[Event] = []
    tell = world.of(heard.append)
    breaker = CircuitBreaker(1, 10, recovery=ExponentialRecovery(), on_open=tell)
    once = breaker(world.operation(DOWN, DOWN, "back"))
    in_turn(world, once, 10, once, 5, once, lambda: states.append(str(breaker.state)), 15, once)
    assert [event.seconds for event in heard if isinstance(event, CircuitOpened)] == [10, 20]
    assert (states.pop(), state(breaker)) == ("open", "closed")


states: list[Any] = []


def test_a_circuit_that_closes_begins_with_the_first_break_again(world: World) -> None:
    breaker = CircuitBreaker(1, 10, recovery=ExponentialRecovery())
    once = breaker(world.operation(DOWN, DOWN, DOWN, "back", DOWN))
    in_turn(world, once, 10, once, 20, once, 40, once, once)
    assert [change.seconds for change in breaker.history if change.after == "open"] == [10, 20, 40, 10]


def test_after_so_many_probes_it_stays_open_until_it_is_reset(world: World) -> None:
    operation = world.operation(DOWN, DOWN, DOWN, "back")
    breaker = CircuitBreaker(1, 10, recovery=ExponentialRecovery(max_probes=2))
    once, outcome = breaker(operation), lambda: breaker.outcome(operation)
    *_, last, refused = in_turn(world, once, 10, once, 20, outcome, 1e9, outcome)
    assert [event.seconds for event in last.events if isinstance(event, CircuitOpened)] == [math.inf]
    assert (refused.error.retry_after, refused.error.__cause__) == (None, DOWN)
    assert str(refused.error) == "operation was not called: its circuit is open until it is reset"
    assert [(e.reason, e.retry_after) for e in refused.events if isinstance(e, Rejected)] == [
        ("circuit open until it is reset", None)
    ]
    assert breaker.state == "open"
    breaker.half_open()
    operation.log.script = (DOWN,)
    in_turn(world, once)
    assert breaker.history[-1].seconds == math.inf, "an operator's probe failed as well"
    breaker.reset()
    operation.log.script = (DOWN,)
    in_turn(world, once)
    assert breaker.history[-1].seconds == 10


def test_opening_it_by_hand_is_no_probe_that_failed(world: World) -> None:
    breaker = CircuitBreaker(1, 10, recovery=ExponentialRecovery(max_probes=1))
    once = breaker(world.operation(DOWN))
    in_turn(world, once, 10, breaker.open)
    assert [change.seconds for change in breaker.history] == [10, 0, 10]
    breaker.force_open()
    assert (breaker.history[-1].seconds, breaker.recovering) == (math.inf, None)
    breaker.half_open()
    in_turn(world, once)
    assert breaker.history[-1].seconds == math.inf, "the one probe that may fail did"


def test_a_first_break_that_is_longer_than_the_longest_is_kept(world: World) -> None:
    breaker = CircuitBreaker(1, recovery_timeout=900, recovery=ExponentialRecovery(max=600))
    once = breaker(world.operation(DOWN))
    in_turn(world, once, 900, once)
    assert [change.seconds for change in breaker.history] == [900, 0, 900]


@given(
    failures=st.integers(1, 30),
    first=st.floats(0.1, 100),
    multiplier=st.floats(1, 10),
    longest=st.floats(0.1, 1000),
    jitter=st.sampled_from(["none", "full", "equal", 0.1, 1.0]),
)
def test_breaks_stay_within_their_bounds(
    failures: int, first: float, multiplier: float, longest: float, jitter: Any
) -> None:
    recovery = ExponentialRecovery(multiplier, longest, jitter).fresh()
    found: list[Any] = [recovery.handle_failure(Probe(0.0, first)) for _ in range(failures)]
    for number, (low, high) in enumerate(found):
        right = min(first * multiplier**number, max(first, longest))
        least, most = {"none": (1, 1), "full": (0, 1), "equal": (0.5, 1), 0.1: (0.9, 1.1), 1.0: (0, 2)}[jitter]
        assert low == pytest.approx(right * least)
        assert high == pytest.approx(min(right * most, max(first, longest)))


def test_an_outage_that_never_ends_needs_no_more_memory() -> None:
    recovery = ExponentialRecovery(1.5, max=600).fresh()
    for _ in range(100_000):
        recovery.handle_failure(Probe(0.0, 10.0))
    assert recovery._failures < 20


def test_jitter_spreads_the_probes_of_many_processes() -> None:
    breakers = [CircuitBreaker(1, 30, recovery=ExponentialRecovery(jitter="equal")) for _ in range(200)]
    with virtual.clock(seed=3):
        for breaker in breakers:
            breaker.outcome(World(False).operation(DOWN))
    breaks = sorted(breaker.history[-1].seconds for breaker in breakers)
    assert 15 <= breaks[0] < 16 < 29 < breaks[-1] <= 30
    assert max(two - one for one, two in itertools.pairwise(breaks)) < 1


def test_a_clock_that_is_set_back_makes_no_break_longer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = CircuitBreaker(1, 10, recovery=ExponentialRecovery())
    once = breaker(world.operation(DOWN, "back"))
    found = in_turn(world, once, lambda: monkeypatch.setattr("time.time", lambda: -1e9), 10, once)
    assert found[-1] == "back"


# --- features ----------------------------------------------------------------------------------------


def shop(**changes: Any) -> CircuitBreaker:
    arguments = {"successes": 2, "patience": 60.0, **changes}
    return CircuitBreaker(1, 10, recovery=PartialRecovery(SHOP, feature, **arguments))


def back(breaker: CircuitBreaker) -> Any:
    recovery = breaker.recovering
    return recovery.back if isinstance(recovery, PartialRecovery) else recovery


def test_features_come_back_in_their_order(world: World) -> None:
    breaker = shop()
    once = breaker(world.operation("fine"))
    breaker.open()
    breaker.half_open()
    let_through: list[list[str]] = []

    def try_all() -> Any:
        let_through.append([])
        steps = [lambda name=name: once(name) for name in ("ads", "search", "checkout")]
        for name, result in zip(("ads", "search", "checkout"), in_turn(world, *steps), strict=True):
            let_through[-1] += [name] * (result == "fine")

    for _ in range(5):
        try_all()
    assert let_through == [
        ["checkout"],
        ["checkout"],
        ["search", "checkout"],
        ["ads", "search", "checkout"],
        ["ads", "search", "checkout"],
    ]
    assert state(breaker) == "closed"


def test_a_failure_takes_the_last_feature_away_again_and_with_the_first_one_all(world: World) -> None:
    breaker = shop()
    good, bad = breaker(world.operation("fine")), breaker(world.operation(DOWN))
    seen: list[Any] = []
    look = lambda: seen.append(back(breaker))  # noqa: E731
    ask = [lambda name=name: good(name) for name in ("checkout",) * 4]
    in_turn(world, breaker.open, 10, *ask, look, lambda: bad("search"), look, lambda: bad("checkout"), look)
    assert seen == [SHOP, SHOP[:2], SHOP[:1]]
    in_turn(world, lambda: bad("checkout"))
    assert state(breaker) == "open"


def test_successes_for_the_next_feature_are_counted_in_a_row() -> None:
    recovery = PartialRecovery(SHOP, feature, successes=2)
    good, bad = Probe(1.0, 60.0), Probe(1.0, 60.0, error=DOWN)
    for probe in (good, good, good, bad, good):
        recovery.handle_failure(probe) if probe.error else recovery.handle_success(probe)
    assert recovery.back == SHOP[:1], "the one before the failure counts no more"
    recovery.handle_success(good)
    assert recovery.back == SHOP[:2]


def test_patience_begins_anew_after_each_break() -> None:
    recovery = PartialRecovery(SHOP, feature, patience=10.0)
    assert recovery.should_attempt_recovery(Probe(0.0, 60.0, "checkout"))
    assert recovery.handle_failure(Probe(1.0, 60.0, "checkout", error=DOWN)) == 60.0
    assert not recovery.should_attempt_recovery(Probe(61.0, 60.0, "ads"))
    assert recovery.retry_after(Probe(61.0, 60.0, "ads")) == 10.0


def test_each_success_is_counted_whatever_the_breaker_itself_asks_for(world: World) -> None:
    breaker = CircuitBreaker(1, 10, success_threshold=3, recovery=PartialRecovery(["ads"], feature, successes=3))
    once = breaker(world.operation("fine"))
    in_turn(world, breaker.open, 10, once, once, once)
    assert state(breaker) == "closed"


def test_a_break_by_hand_is_drawn_too() -> None:
    breakers = [CircuitBreaker(recovery=ExponentialRecovery(jitter="equal")) for _ in range(20)]
    for breaker in breakers:
        breaker.open()
    assert len({breaker.history[-1].seconds for breaker in breakers}) > 15


def test_until_one_has_succeeded_only_single_probes_are_made() -> None:
    operation = World(True).operation("fine", takes=1)

    async def main() -> list[int]:
        breaker = shop()
        breaker.open()
        await asyncio.sleep(10)
        made: list[int] = []
        for _ in range(2):
            before = len(operation.log.calls)
            await asyncio.gather(*(breaker.outcome(operation, "checkout") for _ in range(50)))
            made.append(len(operation.log.calls) - before)
        return made

    assert virtual.run(main()) == [1, 50]


@pytest.mark.parametrize("name", ["cart", None, 3, ["checkout"]])
def test_what_is_no_feature_comes_back_with_the_last_one(world: World, name: Any) -> None:
    breaker = shop(successes=1)
    breaker.open()
    breaker.half_open()
    once = breaker(world.operation("fine"))
    steps = [lambda which=which: once(which) for which in (name, "checkout", name, "search", name)]
    found = in_turn(world, *steps)
    assert [isinstance(one, errors.CircuitOpenError) for one in found] == [True, False, True, False, False]
    assert state(breaker) == "closed"


def test_where_nobody_calls_what_is_back_another_feature_may_probe(world: World) -> None:
    breaker = shop(successes=1, patience=30.0)
    once = breaker(world.operation("fine"))
    found = in_turn(
        world,
        breaker.open,
        10,
        lambda: once("ads"),
        25,
        lambda: once("ads"),
        5,
        lambda: once("ads"),
        lambda: once("ads"),
    )
    assert [getattr(one, "retry_after", one) for one in found[1:]] == [30, 5, "fine", 30]
    assert back(breaker) == SHOP[:2]


def test_the_function_gets_the_arguments_and_is_asked_only_while_it_matters(world: World) -> None:
    asked: list[Any] = []

    def which(path: str, *, method: str = "GET") -> str:
        asked.append((path, method))
        return path

    breaker = CircuitBreaker(1, 10, recovery=PartialRecovery(["/pay"], world.of(which)))
    down, up = breaker(world.operation(DOWN)), breaker(world.operation("fine"))
    in_turn(world, lambda: up("/pay"), lambda: down("/pay"), lambda: up("/pay"))
    assert asked == [], "it is closed, then open"
    in_turn(world, 10, lambda: up("/pay", method="POST"), lambda: up("/pay"))
    assert asked == [("/pay", "POST"), ("/pay", "GET")]


def test_a_function_that_fails_is_heard_of_and_costs_no_place(world: World) -> None:
    def broken(*args: Any) -> str:
        raise ZeroDivisionError

    breaker = CircuitBreaker(1, 10, recovery=PartialRecovery(SHOP, broken))
    breaker.open()
    breaker.half_open()
    operation = world.operation("fine")
    found = in_turn(world, breaker(operation), breaker(operation))
    assert [type(one) for one in found] == [ZeroDivisionError] * 2
    assert operation.log.calls == []


def test_no_lock_is_held_while_functions_of_the_user_are_asked() -> None:
    free: list[bool] = []

    def look(*args: Any) -> Any:
        def take() -> None:
            taken = breaker.live_state()._lock.acquire(timeout=1)
            free.append(taken)
            if taken:
                breaker.live_state()._lock.release()

        other = threading.Thread(target=take)
        other.start()
        other.join()
        return 0.5 if not args else "checkout"

    for recovery in (PartialRecovery(SHOP, look), AdaptiveRecovery(load=look)):
        breaker = CircuitBreaker(1, recovery=recovery)
        breaker.open()
        breaker.half_open()
        breaker.call(World(False).operation("fine"), "/pay") if recovery.features else breaker.call(
            World(False).operation("fine")
        )
    assert free == [True, True]


@pytest.mark.parametrize("make", [lambda: PartialRecovery(SHOP, feature, 1), AdaptiveRecovery])
def test_a_cancelled_probe_gives_its_place_back_and_judges_nothing(make: Callable[[], RecoveryPattern]) -> None:
    async def main() -> None:
        breaker = CircuitBreaker(1, 10, recovery=make())
        breaker.open()
        await asyncio.sleep(10)
        probe = asyncio.ensure_future(breaker.call(World(True).operation(Hang), "checkout"))
        await asyncio.sleep(1)
        assert isinstance(
            (await breaker.outcome(World(True).operation("no"), "checkout")).error, errors.CircuitOpenError
        )
        probe.cancel()
        await asyncio.wait([probe])
        assert (breaker.state, breaker.live_state()._probes) == ("half-open", {})
        assert await breaker.call(World(True).operation("back"), "checkout") == "back"

    virtual.run(main())


def test_breaks_in_between_can_get_longer_too(world: World) -> None:
    for recovery in (
        PartialRecovery(SHOP, feature, breaks=ExponentialRecovery(max_probes=2)),
        AdaptiveRecovery(breaks=ExponentialRecovery(max_probes=2)),
    ):
        breaker = CircuitBreaker(1, 10, recovery=recovery)
        protected = breaker(world.operation(DOWN))
        once = lambda protected=protected: protected("checkout")  # noqa: E731
        in_turn(world, once, 10, once, 20, once, 1e6, once)
        assert [change.seconds for change in breaker.history if change.after == "open"] == [10, 20, math.inf]
        assert list(breaker.situations()) == ["closed", "open", "half-open", "given-up"]


# --- a share of the calls ----------------------------------------------------------------------------


def adaptive(**arguments: Any) -> AdaptiveRecovery:
    """One whose single probe has succeeded, at second 0."""
    recovery = AdaptiveRecovery(**arguments)
    recovery.handle_failure(Probe(-60.0, 60.0))
    assert recovery.one_by_one
    assert recovery.should_attempt_recovery(Probe(0.0, 60.0))
    assert not recovery.handle_success(Probe(0.0, 60.0))
    return recovery


def made(recovery: AdaptiveRecovery, calls: int, began: float) -> None:
    """Have so many calls let through at a time."""
    while calls:
        calls -= bool(recovery.should_attempt_recovery(Probe(began, 60.0)))


def period(
    recovery: AdaptiveRecovery, number: int, well: int, bad: int = 0, load: float = 0.0, seconds: float = 0.0
) -> list[Any]:
    """Calls of one period that all end at its end; what came of them."""
    now = (number + 1) * 5.0
    made(recovery, well + bad, now - (seconds or 0.5))
    probe = Probe(now, 60.0, began=now - (seconds or 0.5), load=load)
    share = well / (well + bad)
    goes_well = [int(share * (n + 1) + 1e-9) > int(share * n + 1e-9) for n in range(well + bad)]  # evenly mixed
    return [recovery.handle_success(probe) if w else recovery.handle_failure(probe) for w in goes_well]


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
def test_of_many_calls_the_share_is_let_through(share: float) -> None:
    recovery = adaptive(initial=share, period=1e6)
    made = [recovery.should_attempt_recovery(Probe(1.0, 60.0)) for _ in range(1000)]
    assert sum(made) == pytest.approx(1000 * share, abs=2)
    gaps = [len(list(some)) for made_it, some in itertools.groupby(made) if not made_it]
    assert max(gaps) <= math.ceil(1 / share), "evenly, not by chance"


def test_where_calls_are_few_one_is_let_through_each_period(world: World) -> None:
    breaker = CircuitBreaker(1, 10, recovery=AdaptiveRecovery(initial=0.01))
    once = breaker(world.operation("fine"))
    found = in_turn(world, breaker.open, 10, once, once, 3, once, 2, once, once)
    assert [getattr(one, "retry_after", one) for one in found[1:]] == ["fine", 5, 2, "fine", 5]


def test_the_share_grows_while_calls_go_well_and_the_circuit_closes_after_all_of_them_did() -> None:
    recovery = adaptive(initial=0.1, sensitivity=1.0)
    shares: list[float] = []
    for number in itertools.count():
        closes = any(period(recovery, number, 10))
        if closes:
            break
        shares.append(recovery.share)
    assert shares == [0.2, 0.4, 0.8, 1.0]


def test_the_share_shrinks_to_what_went_well_and_stays_in_between() -> None:
    recovery = adaptive(initial=0.1, sensitivity=1.0, hysteresis=0.2)
    for number in range(3):
        period(recovery, number, 10)
    assert recovery.share == pytest.approx(0.8)
    period(recovery, 3, 9, 1)
    assert recovery.share == pytest.approx(0.8), "nine of ten is neither"
    period(recovery, 4, 4, 6)
    assert recovery.share == pytest.approx(0.3), "three of the eight that had to be waited for"
    period(recovery, 5, 10)
    assert recovery.share == pytest.approx(0.6)
    period(recovery, 6, 10)
    assert recovery.share == pytest.approx(0.64), "as far as there is room below what was too much"
    period(recovery, 40, 10)
    assert recovery.share == pytest.approx(1.0), "after some time it is tried again"
    assert any(period(recovery, 41, 10))


def test_a_try_that_fails_makes_the_next_one_wait_longer() -> None:
    recovery = adaptive(initial=0.1, sensitivity=1.0, patience=30.0)
    tries: list[int] = []
    for number in range(120):
        too_much = recovery.share > 0.5
        tries += [number] * too_much
        period(recovery, number, *((5, 5) if too_much else (10, 0)))
    gaps = [two - one for one, two in itertools.pairwise(tries)]
    assert gaps == sorted(gaps)
    assert gaps[-1] * 5 >= 8 * 30
    assert len(tries) < 10


def test_what_was_too_much_is_forgotten_with_a_break() -> None:
    recovery = adaptive(initial=0.4, sensitivity=1.0)
    period(recovery, 0, 0, 10)
    assert recovery.one_by_one, "nothing is left"
    recovery.handle_success(Probe(100.0, 60.0))
    period(recovery, 20, 10)
    assert recovery.share == pytest.approx(0.8)


def test_calls_that_began_under_another_share_are_not_counted() -> None:
    recovery = adaptive(initial=0.1)
    late = Probe(4.0, 60.0, began=-0.5, error=DOWN)
    assert [recovery.handle_failure(late) for _ in range(100)] == [0.0] * 100
    period(recovery, 0, 10)
    assert recovery.share > 0.1


def test_nothing_changes_before_the_period_is_over_and_enough_calls_were_made() -> None:
    recovery = adaptive(initial=0.1)
    made(recovery, 100, 1.0)
    for _ in range(100):
        recovery.handle_success(Probe(4.9, 60.0, began=1.0))
    assert recovery.share == 0.1
    recovery.handle_success(Probe(5.0, 60.0, began=4.95))
    assert recovery.share == pytest.approx(0.15)
    made(recovery, 9, 20.0)
    for _ in range(9):
        recovery.handle_success(Probe(500.0, 60.0, began=20.0))
    assert recovery.share == pytest.approx(0.15)
    made(recovery, 1, 500.0)
    recovery.handle_success(Probe(500.0, 60.0, began=500.0))
    assert recovery.share > 0.2


def test_failures_that_are_quicker_than_answers_do_not_speak_for_all() -> None:
    recovery = adaptive(initial=0.1)
    made(recovery, 100, 1.0)
    assert [recovery.handle_failure(Probe(5.5, 60.0, began=1.0, error=DOWN)) for _ in range(20)] == [0.0] * 20
    assert recovery.share == 0.1
    for _ in range(59):
        recovery.handle_success(Probe(15.0, 60.0, began=1.0))
    assert recovery.share == 0.1
    recovery.handle_success(Probe(15.0, 60.0, began=1.0))
    assert recovery.share == pytest.approx(0.1), "three quarters went well, which is neither"


def test_calls_that_never_come_back_are_waited_for_no_longer_than_three_more_periods() -> None:
    recovery = adaptive(initial=0.1)
    period(recovery, 0, 10)
    assert recovery.share == pytest.approx(0.15)
    made(recovery, 100, 6.0)
    recovery.handle_success(Probe(24.0, 60.0, began=23.0))
    assert recovery.share == pytest.approx(0.15)
    recovery.handle_success(Probe(25.0, 60.0, began=24.0))
    assert recovery.share == 0.1, "none of them went well"


def test_where_everything_fails_again_it_opens_when_the_period_is_over() -> None:
    recovery = adaptive(initial=0.1)
    found = period(recovery, 0, 0, 10)
    assert found == [0.0] * 7 + [60.0, 60.0, 60.0]
    assert recovery.one_by_one


def test_answers_that_are_slow_keep_the_share_small_but_do_not_open_it() -> None:
    recovery = adaptive(initial=0.1, latency=1.0)
    for number in range(5):
        found = period(recovery, number, 10, seconds=4.0)
        assert recovery.share == 0.1
        assert not any(found)
    period(recovery, 5, 10, seconds=1.0)
    assert recovery.share > 0.1


def test_load_keeps_the_share_small_but_does_not_open_it() -> None:
    recovery = adaptive(initial=0.1, max_load=0.8)
    for number, load in enumerate((1.0, 0.95, 0.9)):
        period(recovery, number, 10, load=load)
        assert recovery.share == 0.1
    period(recovery, 3, 10, load=0.8)
    assert recovery.share > 0.1


def test_a_failure_now_and_then_under_load_does_not_open_it() -> None:
    recovery = adaptive(initial=0.1)
    for number in range(20):
        assert period(recovery, number, 9, 1, load=1.0).count(60.0) == 0
    assert (recovery.share, recovery.one_by_one) == (0.1, False)


@pytest.mark.parametrize("last", ["fails", "answers"])
def test_too_many_failures_open_it_whichever_call_comes_last(last: str) -> None:
    recovery = adaptive(initial=0.1)
    made(recovery, 10, 4.0)
    good, bad = Probe(5.0, 60.0, began=4.0), Probe(5.0, 60.0, began=4.0, error=DOWN)
    for _ in range(6):
        assert recovery.handle_failure(bad) == 0.0
    recovery.handle_success(good)
    recovery.handle_success(good) if last == "answers" else None
    assert recovery.handle_failure(bad) == 60.0


@pytest.mark.parametrize(
    ("source", "right"),
    [
        (lambda: 0.25, 0.25),
        (lambda: 7, 1.0),
        (lambda: -1, 0.0),
        (lambda: math.nan, 0.0),
        (lambda: True, 1.0),
    ],
)
def test_a_load_input_of_ones_own_is_brought_between_0_and_1(source: Any, right: float) -> None:
    load = AdaptiveRecovery(load=source).load
    assert load is not None
    assert load() == right


def test_a_load_input_that_fails_counts_as_no_load_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def later() -> float:
        return 1.0

    def broken() -> float:
        raise OSError("no such sensor")

    with caplog.at_level(logging.ERROR, logger="failwell"):
        for source in (broken, lambda: None, lambda: later()):
            load = AdaptiveRecovery(load=source).load  # type: ignore[arg-type]
            assert load is not None
            assert load() == 0.0
    assert len(caplog.records) == 3
    assert "broken" in caplog.text


def test_asking_for_the_load_makes_no_answer_slow(world: World) -> None:
    def slowly() -> float:
        time.sleep(30)
        return 0.1

    breaker = CircuitBreaker(1, 10, slow_call=2, recovery=AdaptiveRecovery(load=slowly))
    breaker.open()
    breaker.half_open()
    assert world.run(breaker, world.operation("fine", takes=1)).value == "fine"
    assert breaker.history[-1].after == "half-open"


def test_the_load_of_the_host_comes_from_psutil(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, cpu = (AdaptiveRecovery(load=source).load for source in ("memory", "cpu"))  # type: ignore[arg-type]
    assert memory is not None
    assert cpu is not None
    assert 0 < memory() < 1
    until = time.perf_counter() + 0.4
    while time.perf_counter() < until:
        pass
    assert 0 < cpu() <= 1
    found: list[float] = []
    other = threading.Thread(target=lambda: found.append(cpu()))
    other.start()
    other.join()
    assert found[0] > 0, "a thread that asks for the first time gets the same"
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(ImportError, match=r"load='cpu' needs psutil: pip install 'failwell\[load\]'"):
        AdaptiveRecovery(load="cpu")


# --- and it does not oscillate -----------------------------------------------------------------------


def simulated(
    recovery: AdaptiveRecovery, capacity: Callable[[float], float], *, seconds: int = 600, seed: int = 0
) -> list[float]:
    """Fifty calls a second, at random moments, to a service that can do a share of them and takes some time.

    One in fifty of the others fails as well. The share of each second; 1 where the circuit is closed.
    """
    breaker = CircuitBreaker(5, recovery_timeout=10, recovery=recovery)
    shares: list[float] = []
    rate = 50

    async def main() -> None:
        now = asyncio.get_running_loop().time
        can_do, looked_at = 0.0, 0.0

        async def service() -> None:
            nonlocal can_do, looked_at
            most = capacity(now()) * rate
            can_do, looked_at = min(most, can_do + most * (now() - looked_at)), now()
            await asyncio.sleep(random.uniform(0.1, 0.5))
            if can_do < 1 or random.random() < 0.02:
                raise ConnectionError
            can_do -= 1

        protected = breaker(service)
        calls: set[asyncio.Future[Any]] = set()
        breaker.open()
        for second in range(seconds):
            while now() < second + 1:
                call = asyncio.ensure_future(protected())
                calls.add(call)
                call.add_done_callback(lambda done: (calls.discard(done), done.cancelled() or done.exception()))
                await asyncio.sleep(random.expovariate(rate))
            live = breaker.recovering
            shares.append(live.share if isinstance(live, AdaptiveRecovery) and not live.one_by_one else 0.0)
            shares[-1] = 1.0 if breaker.state == "closed" else shares[-1]
        await asyncio.gather(*calls, return_exceptions=True)

    virtual.run(main(), seed=seed)
    return shares


def turns(shares: list[float]) -> int:
    """How often it goes the other way."""
    steps = [two - one for one, two in itertools.pairwise(shares) if two != one]
    return sum((one > 0) != (two > 0) for one, two in itertools.pairwise(steps))


@pytest.mark.parametrize("capacity", [0.3, 0.6])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_share_settles_where_the_service_can_do_some_of_the_calls(capacity: float, seed: int) -> None:
    settled = simulated(AdaptiveRecovery(), lambda _: capacity, seconds=700, seed=seed)[100:]
    assert turns(settled) <= 16, "two for each time that more is tried"
    same = sum(one == two for one, two in itertools.pairwise(settled))
    assert same > 0.93 * len(settled)
    near = sum(0.7 * capacity < share < 1.4 * capacity for share in settled)
    assert near > 0.85 * len(settled)


def test_without_patience_or_hysteresis_it_goes_to_and_fro() -> None:
    calm, restless = (
        turns(simulated(recovery, lambda _: 0.5, seed=1)[100:])
        for recovery in (AdaptiveRecovery(), AdaptiveRecovery(patience=0.001, hysteresis=0.0))
    )
    assert restless > 3 * calm


def test_the_share_follows_a_service_that_comes_back_goes_down_and_comes_back() -> None:
    shares = simulated(AdaptiveRecovery(), lambda now: 0.4 if now < 200 else 0.0 if now < 260 else 3.0)
    assert 0.2 < shares[150] < 0.9
    assert max(shares[215:260]) == 0.0
    assert shares[-1] == 1.0


def test_it_closes_soon_after_the_service_is_well() -> None:
    shares = simulated(AdaptiveRecovery(), lambda _: 3.0, seconds=120)
    assert shares[0] == 0.0
    assert 30 < shares.index(1.0) < 80


# --- as a policy -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "recovery",
    [
        ExponentialRecovery(jitter=0.1, max_probes=3),
        PartialRecovery(SHOP, feature),
        AdaptiveRecovery(load=lambda: 1 / 0),
        Noted((1.0, 2.0)),
    ],
)
def test_exploring_finds_the_same_paths_each_time_and_leaves_the_live_one_alone(recovery: RecoveryPattern) -> None:
    breaker = CircuitBreaker(2, 30, recovery=recovery)
    paths = [[str(path) for path in explore(breaker).paths] for _ in range(2)]
    assert paths[0] == paths[1]
    assert (breaker.history, breaker.recovering) == ((), None)
    assert vars(recovery) == vars(recovery.fresh()) or isinstance(recovery, Noted)


def test_the_explorer_says_the_longer_break_and_what_is_not_back_yet() -> None:
    breaker = CircuitBreaker(3, 30, recovery=ExponentialRecovery(max_probes=3))
    told = [str(path) for path in explore(breaker, outcomes=("ok", "fail")).paths]
    assert (
        "CircuitBreaker? half-open -> operation fails -> the circuit opens (after 1 failure, for 60 s) "
        "-> raise ConnectionError after 0 s"
    ) in told
    assert (
        "CircuitBreaker? given-up -> rejected (circuit open until it is reset) -> raise CircuitOpenError after 0 s"
        in told
    )
    told = [str(path) for path in explore(shop(), outcomes=("ok",)).paths]
    assert (
        "CircuitBreaker? half-open -> feature? ads -> rejected (not back yet, again in 60 s) "
        "-> raise CircuitOpenError after 0 s"
    ) in told


def test_the_state_machine_shows_when_it_gives_up() -> None:
    breaker = CircuitBreaker(3, 30, recovery=ExponentialRecovery(max_probes=3))
    assert transitions(breaker, "CircuitBreaker") == [
        "start -> closed",
        "closed -> 3 failures, CircuitOpened -> open",
        "open -> after 30 s -> half-open",
        "half-open -> ok, CircuitClosed -> closed",
        "half-open -> fails, CircuitOpened -> open",
        "half-open -> fails, the 3rd time, CircuitOpened -> given-up",
    ]


@pytest.mark.parametrize(("most", "words"), [(2, "the 2nd time"), (4, "the 4th time"), (11, "the 11th time")])
def test_the_state_machine_counts_as_far_as_a_parameter_does(most: int, words: str) -> None:
    breaker = CircuitBreaker(3, 30, recovery=ExponentialRecovery(max_probes=most))
    assert transitions(breaker, "CircuitBreaker")[-1] == f"half-open -> fails, {words}, CircuitOpened -> given-up"


def test_a_break_that_is_drawn_is_explored_at_both_ends_and_nobody_waits_for_it() -> None:
    breaker = CircuitBreaker(1, 30, recovery=ExponentialRecovery(jitter=0.1))
    stack = Retry(2, backoff.Fixed(30), on=Exception) >> breaker
    paths = [path for path in explore(stack, outcomes=("ok", "fail")).paths if path.choices[0].option == "closed"]
    breaks = [event for path in paths for event in path.events if isinstance(event, CircuitOpened) and not event.time]
    assert {event.seconds for event in breaks} == {27.0, 33.0}, "the second attempt is between the two"
    found = {(type(event).__name__, path.elapsed) for path in paths for event in path.events}
    assert {("Rejected", 30.0), ("CircuitHalfOpened", 30.0)} <= found
    assert all(path.between == (path.elapsed, path.elapsed) for path in paths)


def test_a_state_that_was_made_open_is_told_that_it_opened() -> None:
    breaker = CircuitBreaker(1, 30, recovery=ExponentialRecovery(max_probes=3))
    given_up = breaker.situations()["given-up"]()
    assert isinstance(given_up, Circuit)
    assert breaker.situation(given_up, 1e9) == "given-up"
    assert CircuitBreaker().situation(given_up, 1e9) == "open", "one without such a situation"


def test_threads_that_hammer_it_find_it_consistent() -> None:
    breaker = CircuitBreaker(
        3,
        recovery_timeout=0.001,
        recovery=AdaptiveRecovery(initial=0.2, period=0.002, minimum_calls=3, breaks=ExponentialRecovery(max=0.004)),
    )
    heard: list[Event] = []

    @breaker
    def operation(number: int) -> int:
        if number % 40 < 12:
            raise DOWN
        return number

    def work(place: int, number: int) -> None:
        try:
            assert operation(number) == number
        except (ConnectionError, errors.CircuitOpenError):
            pass
        live = breaker.recovering
        assert live is None or (isinstance(live, AdaptiveRecovery) and 0 <= live.share <= 1)

    with listening(heard.append):
        hammer(work, seconds=0.5)
    assert breaker.live_state()._probes == {}
    changes = breaker.history
    assert all(one.after == two.before for one, two in itertools.pairwise(changes))
    assert len(changes) >= 1


# --- what is refused ---------------------------------------------------------------------------------


def test_it_is_shown_as_one_would_type_it() -> None:
    assert repr(ExponentialRecovery()) == "ExponentialRecovery()"
    assert repr(ExponentialRecovery(3.0, jitter=0.1)) == "ExponentialRecovery(3.0, jitter=0.1)"
    assert repr(PartialRecovery(["a"], feature, breaks=ExponentialRecovery(max=60))) == (
        "PartialRecovery(('a',), feature, breaks=ExponentialRecovery(max=60))"
    )
    assert repr(AdaptiveRecovery(load=feature)) == "AdaptiveRecovery(load=feature)"  # type: ignore[arg-type]
    breaker = CircuitBreaker(recovery=ExponentialRecovery(max_probes=3))
    assert repr(breaker) == "CircuitBreaker(5, recovery=ExponentialRecovery(max_probes=3))"


async def some_load() -> float:
    return 0.5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CircuitBreaker(recovery="slow"), "recovery must be a RecoveryPattern such as .*, got 'slow'"),  # type: ignore[arg-type]
        (lambda: CircuitBreaker(recovery=ExponentialRecovery), "recovery must be a RecoveryPattern"),  # type: ignore[arg-type]
        (lambda: ExponentialRecovery(0.5), "multiplier must be at least 1, got 0.5"),
        (lambda: ExponentialRecovery(max=-1), "max must be a number of seconds that is not negative, got -1"),
        (lambda: ExponentialRecovery(jitter="some"), "jitter must be .* got 'some'"),  # type: ignore[arg-type]
        (lambda: ExponentialRecovery(max_probes=0), "max_probes must be at least 1, got 0"),
        (lambda: PartialRecovery("checkout", feature), "features must be names, .* got 'checkout'"),
        (lambda: PartialRecovery([1], feature), r"features must be names, .* got \[1\]"),  # type: ignore[list-item]
        (lambda: PartialRecovery(None, feature), "features must be names, .* got None"),  # type: ignore[arg-type]
        (lambda: PartialRecovery({"b", "a"}, feature), "features must be names, .* got {"),  # type: ignore[arg-type]
        (lambda: PartialRecovery([], feature), r"features must be different names, at least one, got \[\]"),
        (lambda: PartialRecovery(["a", "a"], feature), "features must be different names"),
        (lambda: PartialRecovery(SHOP, "ads"), "feature must be a function of the call's arguments, got 'ads'"),  # type: ignore[arg-type]
        (lambda: PartialRecovery(SHOP, feature, 0), "successes must be at least 1, got 0"),
        (lambda: PartialRecovery(SHOP, feature, patience=0), "patience must be a finite number .* got 0"),
        (lambda: PartialRecovery(SHOP, feature, breaks=5), r"breaks must be a recovery .*, got 5"),  # type: ignore[arg-type]
        (lambda: AdaptiveRecovery(0), "initial must be a share above 0 and below 1, got 0"),
        (lambda: AdaptiveRecovery(sensitivity=0), "sensitivity must be a finite number above 0, got 0"),
        (lambda: AdaptiveRecovery(sensitivity=math.inf), "sensitivity must be a finite number above 0, got inf"),
        (lambda: AdaptiveRecovery(target=1.5), "target must be a share above 0 and up to 1, got 1.5"),
        (lambda: AdaptiveRecovery(hysteresis=0.95), "hysteresis must be from 0 up and below the target of 0.95"),
        (lambda: AdaptiveRecovery(period=0), "period must be a finite number of seconds above 0, got 0"),
        (lambda: AdaptiveRecovery(minimum_calls=0), "minimum_calls must be at least 1, got 0"),
        (lambda: AdaptiveRecovery(patience=0), "patience must be a finite number of seconds above 0, got 0"),
        (lambda: AdaptiveRecovery(latency=0), "latency must be a finite number of seconds above 0, got 0"),
        (lambda: AdaptiveRecovery(max_load=1), "max_load must be a share above 0 and below 1, got 1"),
        (lambda: AdaptiveRecovery(load="disk"), "load must be 'cpu' or 'memory' or a function, got 'disk'"),  # type: ignore[arg-type]
        (lambda: AdaptiveRecovery(load=0.5), "load must be a plain function that returns a number"),  # type: ignore[arg-type]
        (lambda: AdaptiveRecovery(load=some_load), "load must be a plain function that returns a number"),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@given(now=st.floats(0, 1e9), wait=st.floats(0, 1e6))
def test_who_waits_as_long_as_is_left_is_not_too_early(now: float, wait: float) -> None:
    until = now + wait
    assert now + left(until, now) >= until
