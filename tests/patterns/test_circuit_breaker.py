from __future__ import annotations

import asyncio
import gc
import itertools
import math
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from failwell import (
    CircuitBreaker,
    CircuitState,
    CountWindow,
    ExponentialRecovery,
    RecoveryPattern,
    Retry,
    Timeout,
    TimeWindow,
    backoff,
    errors,
    explore,
    listening,
    subscribe,
    virtual,
)
from failwell.circuit import Transition
from failwell.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, Event, Rejected
from tests.kernel.world import Hang, World, kinds

DOWN = ConnectionError("down")
LEGAL = {
    "closed": {"open", "forced-open", "disabled"},
    "open": {"half-open", "closed", "forced-open", "disabled"},
    "half-open": {"open", "closed", "forced-open", "disabled"},
    "forced-open": {"open", "half-open", "closed", "disabled"},
    "disabled": {"closed", "forced-open"},
}
BY_HAND = {
    "open": CircuitBreaker.open,
    "half-open": CircuitBreaker.half_open,
    "closed": CircuitBreaker.close,
    "forced-open": CircuitBreaker.force_open,
    "disabled": CircuitBreaker.disable,
}


def in_turn(world: World, *steps: Callable[[], Any] | float) -> list[Any]:
    """Do things of a world one after the other, in one virtual time; a number is a wait. What came of the others."""
    found: list[Any] = []

    def keep(step: Any, ended: Any) -> None:
        if not isinstance(step, (int, float)):
            found.append(ended)

    def plainly() -> None:
        for step in steps:
            try:
                keep(step, time.sleep(step) if isinstance(step, (int, float)) else step())
            except Exception as error:
                keep(step, error)

    async def on_loop() -> None:
        for step in steps:
            try:
                made = asyncio.sleep(step) if isinstance(step, (int, float)) else step()
                keep(step, await made if asyncio.iscoroutine(made) else made)
            except Exception as error:
                keep(step, error)

    world.do(on_loop if world.asynchronous else plainly)
    return found


def state_after(breaker: CircuitBreaker) -> CircuitState:
    """What the last call left it in; its clock has stopped with the virtual time of that call."""
    return breaker.history[-1].after if breaker.history else CircuitState.CLOSED


# --- the whole of it, beside a model -----------------------------------------------------------------


class Model:
    """What the breaker promises, written down in the plainest way."""

    def __init__(self, **parameters: Any) -> None:
        self.set = parameters
        self.state, self.era = "closed", 0
        self.log: list[tuple[float, bool, bool]] = []
        self.opened_by = self.good_probes = self.breaks = 0
        self.opened_at = 0.0
        self.calls: dict[int, tuple[int, float]] = {}  # era and start of each call under way
        self.probes: dict[int, float] = {}  # start of each probe that has a place
        self.events: list[str] = []
        self.pauses: list[float] = []

    def enter(self, state: str, now: float, opened_by: int = 0) -> None:
        self.state, self.opened_by, self.opened_at = state, opened_by, now
        self.era += 1
        self.log, self.probes, self.good_probes = [], {}, 0
        self.breaks = {"open": self.breaks + 1, "half-open": max(self.breaks, 1)}.get(state, 0)
        self.pauses += {"open": [self.pause], "forced-open": [math.inf]}.get(state, [])

    @property
    def pause(self) -> float:
        """How long this break is: of those in a row the first is as always."""
        longer = {"longer": (10, 20, 35), "gives up": (10, 20, math.inf)}.get(self.set["recovery"], (10,))
        return longer[min(max(self.breaks, 1), len(longer)) - 1]

    def seen(self, now: float) -> str:
        over = self.state == "open" and now - self.opened_at >= self.pause
        return "half-open" if over else self.state

    def lapse(self, now: float) -> bool:
        if self.seen(now) == self.state:
            return False
        self.enter("half-open", now, self.opened_by)
        return True

    def starts(self, call: int, now: float) -> float | str | None:
        """None: it is made. Else in how many seconds to come back."""
        if self.state in {"closed", "disabled"}:
            self.calls[call] = self.era, now
            return None
        if self.state == "forced-open":
            self.events.append("Rejected")
            return "never"
        begins = self.lapse(now)
        if self.state == "open":
            self.events.append("Rejected")
            return "never" if self.pause == math.inf else self.opened_at + self.pause - now
        places = [start for start in self.probes.values() if now - start < self.set["recovery_timeout"]]
        self.probes = {one: start for one, start in self.probes.items() if start in places}
        if len(places) >= self.set["half_open_max_calls"]:
            self.events.append("Rejected")
            return min(places) + self.set["recovery_timeout"] - now
        self.events += ["CircuitHalfOpened"] * begins
        self.calls[call] = self.era, now
        self.probes[call] = now
        return None

    def ends(self, call: int, now: float, how: str) -> None:
        era, start = self.calls.pop(call)
        is_slow = self.set["slow_call"] is not None and now - start > self.set["slow_call"]
        had_place = self.probes.pop(call, None) is not None
        if how in {"cancelled", "neutral"} or era != self.era or self.state == "disabled":
            return
        if self.state == "half-open":
            if not had_place:
                return
            if how == "fail" or is_slow:
                self.enter("open", now, 1)
                self.events.append("CircuitOpened 1")
                return
            self.good_probes += 1
            if self.good_probes == self.set["success_threshold"]:
                self.enter("closed", now)
                self.events.append("CircuitClosed")
            return
        is_failure = how == "fail" or (is_slow and self.set["slow_call_rate"] is None)
        self.log.append((now, is_failure, is_slow))
        count = self.trips(now)
        if count:
            self.enter("open", now, count)
            self.events.append(f"CircuitOpened {count}")

    def window(self, now: float) -> list[tuple[float, bool, bool]]:
        window = self.set["window"] or CountWindow(100)
        if isinstance(window, CountWindow):
            return self.log[-window.n :]
        young = [one for one in self.log if now - one[0] < window.seconds]
        return young[-window.max_calls :] if window.max_calls else young

    def in_a_row(self) -> int:
        return len(list(itertools.takewhile(lambda one: one[1], reversed(self.log))))

    def failures(self, now: float) -> int:
        if self.state != "closed":
            return self.opened_by
        if self.set["window"] is None and self.set["failure_rate"] is None:
            return self.in_a_row()
        return sum(failed for _, failed, _ in self.window(now))

    def trips(self, now: float) -> int:
        looked_at = self.window(now)
        failed, slow = sum(one[1] for one in looked_at), sum(one[2] for one in looked_at)
        most = {CountWindow: lambda w: w.n, TimeWindow: lambda w: w.max_calls or 1e9, type(None): lambda w: 100}
        window = self.set["window"]
        enough = len(looked_at) >= min(self.set["minimum_calls"], most[type(window)](window))
        rate, slow_rate = self.set["failure_rate"], self.set["slow_call_rate"]
        if rate is None and self.failures(now) >= self.set["failure_threshold"]:
            return self.failures(now)
        if rate is not None and enough and failed >= rate * len(looked_at):
            return failed
        if slow_rate is not None and enough and slow >= slow_rate * len(looked_at):
            return slow
        return 0

    def by_hand(self, after: str, now: float) -> bool:
        """Whether it is legal."""
        before = self.seen(now)
        if after == before:
            return True
        if after not in LEGAL[before]:
            return False
        self.lapse(now)
        self.breaks *= after != "open"  # nobody's probe has failed
        self.enter(after, now)
        self.events.append(
            {"closed": "CircuitClosed", "disabled": "CircuitClosed", "half-open": "CircuitHalfOpened"}.get(
                after, "CircuitOpened 0"
            )
        )
        return True


windows = st.one_of(
    st.none(),
    st.builds(CountWindow, st.integers(3, 6)),
    st.builds(TimeWindow, st.sampled_from([5.0, 20.0])),
    st.builds(TimeWindow, st.sampled_from([5.0, 20.0]), st.integers(3, 6)),
)


class BesideItsModel(RuleBasedStateMachine):
    """Calls of many tasks that start, end, fail, hang and are cancelled at any time, and an operator who interferes."""

    @initialize(
        threshold=st.integers(1, 3),
        success_threshold=st.integers(1, 2),
        window=windows,
        failure_rate=st.sampled_from([None, 0.25, 0.5, 1.0]),
        minimum_calls=st.integers(1, 5),
        slow_call=st.sampled_from([None, 4.0]),
        slow_call_rate=st.sampled_from([None, 0.5]),
        half_open_max_calls=st.integers(1, 2),
        recovery=st.sampled_from([None, "plain", "longer", "gives up"]),
    )
    def make(self, threshold: int, **parameters: Any) -> None:
        if parameters["slow_call"] is None:
            parameters["slow_call_rate"] = None
        parameters |= {"failure_threshold": threshold, "recovery_timeout": 10.0}
        self.model = Model(**parameters)
        recoveries = {
            "plain": RecoveryPattern(),
            "longer": ExponentialRecovery(2, max=35),
            "gives up": ExponentialRecovery(2, max_probes=2),
        }
        parameters["recovery"] = recoveries.get(parameters["recovery"])
        self.breaker = CircuitBreaker(**parameters, on=OSError)
        self.loop = virtual.VirtualLoop()
        self.heard: list[Event] = []
        self.unsubscribe = subscribe(self.heard.append)
        self.calls: dict[int, tuple[asyncio.Task[Any], asyncio.Future[str]]] = {}
        self.started = 0
        self.protected = self.breaker(self.operation)

    async def operation(self, end: asyncio.Future[str]) -> str:
        how = await end
        if how == "fail":
            raise DOWN
        if how == "neutral":
            raise LookupError("no such thing")
        return how

    def turn(self) -> None:
        """Let everything happen that can happen now."""

        async def turns() -> None:
            for _ in range(5):
                await asyncio.sleep(0)

        with virtual.patched(self.loop.clock):
            self.loop.run_until_complete(turns())

    @rule()
    def a_call_starts(self) -> None:
        self.started += 1
        number = self.started
        end: asyncio.Future[str] = self.loop.create_future()
        with virtual.patched(self.loop.clock):
            task = self.loop.create_task(self.protected(end))
        self.turn()
        back = self.model.starts(number, self.now)
        if back is None:
            assert not task.done()
            self.calls[number] = task, end
            return
        error = task.exception()
        assert isinstance(error, errors.CircuitOpenError)
        assert error.retry_after == (None if back == "never" else back)

    @precondition(lambda self: self.calls)
    @rule(which=st.integers(0, 9), how=st.sampled_from(["ok", "fail", "fail", "neutral", "cancelled"]))
    def a_call_ends(self, which: int, how: str) -> None:
        number = list(self.calls)[which % len(self.calls)]
        task, end = self.calls.pop(number)
        if how == "cancelled":
            task.cancel()
        else:
            end.set_result(how)
        self.turn()
        self.model.ends(number, self.now, how)
        assert task.done()
        if how == "ok":
            assert task.result() == "ok"
        elif how == "cancelled":
            assert task.cancelled()
        else:
            assert isinstance(task.exception(), OSError if how == "fail" else LookupError)

    @rule(seconds=st.sampled_from([1.0, 4.0, 5.0, 6.0, 10.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.loop.clock.now += seconds

    @precondition(lambda self: self.breaker.state in {"open", "half-open"})
    @rule(how=st.sampled_from(["fail", "fail", "fail", "ok"]))
    def the_next_probe_ends(self, how: str) -> None:
        """What takes long to come by in any other way: many probes in a row that fail."""
        if self.model.seen(self.now) == "open" and self.model.pause < math.inf:
            self.loop.clock.now = max(self.now, self.model.opened_at + self.model.pause)
        self.a_call_starts()
        if self.started in self.calls:
            self.a_call_ends(len(self.calls) - 1, how)

    @rule(after=st.sampled_from(sorted(BY_HAND)))
    def an_operator_interferes(self, after: str) -> None:
        before = self.breaker.history
        with virtual.patched(self.loop.clock):
            if self.model.by_hand(after, self.now):
                BY_HAND[after](self.breaker)
                return
            with pytest.raises(errors.IllegalTransition):
                BY_HAND[after](self.breaker)
        assert self.breaker.history == before

    @rule()
    def an_operator_resets_it(self) -> None:
        with virtual.patched(self.loop.clock):
            self.breaker.reset()
        if self.model.seen(self.now) == "closed":
            self.model.enter("closed", self.now)
        else:
            self.model.by_hand("closed", self.now)

    @property
    def now(self) -> float:
        return self.loop.clock.now

    @invariant()
    def it_says_what_the_model_says(self) -> None:
        if not hasattr(self, "model"):
            return
        with virtual.patched(self.loop.clock):
            assert self.breaker.state == self.model.seen(self.now)
            assert self.breaker.failure_count == self.model.failures(self.now)
        pauses = [e.seconds for e in self.heard if isinstance(e, CircuitOpened)]
        assert pauses[-1:] == self.model.pauses[-1:]
        said = [type(e).__name__ + (f" {e.failures}" if isinstance(e, CircuitOpened) else "") for e in self.heard]
        assert said == self.model.events
        history = self.breaker.history
        assert len(history) <= 20
        assert all(one.after == two.before and one.time <= two.time for one, two in itertools.pairwise(history))
        assert all(one.after in LEGAL[one.before] for one in history)

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            for task, _ in self.calls.values():
                task.cancel()
            self.turn()
            self.loop.close()
            self.unsubscribe()


BesideItsModel.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestBesideItsModel = BesideItsModel.TestCase


# --- opening and closing -----------------------------------------------------------------------------


def test_it_opens_after_failures_in_a_row_and_then_makes_no_call(world: World) -> None:
    operation = world.operation(DOWN, "answer", DOWN, DOWN, DOWN, "never asked for")
    protected = CircuitBreaker(3)(operation)
    *_, refused = in_turn(world, *[protected] * 5, 20, protected)
    assert isinstance(refused, errors.CircuitOpenError)
    assert isinstance(refused, errors.RecoveryError)
    assert str(refused) == "operation was not called: its circuit is open for another 40 s"
    assert (refused.operation, refused.retry_after, refused.__cause__) == ("operation", 40, DOWN)
    assert len(operation.log.calls) == 5


def test_it_lets_one_call_through_when_its_time_is_over_and_closes_if_that_succeeds(world: World) -> None:
    operation = world.operation(DOWN, "back", "again", DOWN)
    breaker = CircuitBreaker(1, recovery_timeout=10)
    once = breaker(operation)
    results = in_turn(world, once, 9.5, once, 0.5, lambda: breaker.state, once, lambda: breaker.state, once, once, once)
    assert [type(one).__name__ if isinstance(one, Exception) else one for one in results] == [
        "ConnectionError",
        "CircuitOpenError",
        "half-open",
        "back",
        "closed",
        "again",
        "ConnectionError",
        "CircuitOpenError",
    ]
    assert operation.log.times == [0, 10, 10, 10]


def test_a_probe_that_fails_opens_it_for_another_time(world: World) -> None:
    operation = world.operation(DOWN)
    once = CircuitBreaker(3, recovery_timeout=10)(operation)
    results = in_turn(world, once, once, once, 10, once, 4, once, 6, once, once)
    assert [getattr(one, "retry_after", None) for one in results] == [None, None, None, None, 6, None, 10]
    assert operation.log.times == [0, 0, 0, 10, 20]


def test_as_many_probes_must_succeed_as_asked_for(world: World) -> None:
    operation = world.operation(DOWN, "one", "two", DOWN, "four", DOWN)
    breaker = CircuitBreaker(1, recovery_timeout=10, success_threshold=3)
    once = breaker(operation)
    in_turn(world, once, 10, once, once, lambda: states.append(breaker.state), once, 10, once, once)
    assert states.pop() == "half-open"
    assert [(one.before, one.after) for one in breaker.history] == [
        ("closed", "open"),
        ("open", "half-open"),
        ("half-open", "open"),
        ("open", "half-open"),
        ("half-open", "open"),
    ]


states: list[Any] = []


def test_what_happens_is_reported_once_each(world: World) -> None:
    operation = world.operation(DOWN, DOWN, "back")
    breaker = CircuitBreaker(2, recovery_timeout=10)
    outcome = [lambda: breaker.outcome(operation)] * 5
    ended = in_turn(world, *outcome[:4], 10, outcome[4])
    assert [kinds(one) for one in ended] == [
        [],
        ["CircuitOpened"],
        ["Rejected"],
        ["Rejected"],
        ["CircuitHalfOpened", "CircuitClosed"],
    ]
    [opened], [rejected], (half_opened, closed) = ended[1].events, ended[2].events, ended[4].events
    assert isinstance(opened, CircuitOpened)
    assert (opened.failures, opened.seconds, opened.layer, opened.operation) == (2, 10, "CircuitBreaker", "operation")
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.retry_after) == ("circuit open", 10)
    assert (half_opened.time, closed.time) == (10, 10)


def test_callbacks_get_the_events_and_one_that_fails_changes_nothing(world: World) -> None:
    seen: list[Event] = []

    def tell(event: Event) -> None:
        seen.append(event)
        raise RuntimeError("the pager is down")

    told = world.of(tell)
    operation = world.operation(DOWN, DOWN, "back")
    once = CircuitBreaker(2, 10, on_open=told, on_half_open=told, on_close=told)(operation)
    assert in_turn(world, once, once, 10, once) == [DOWN, DOWN, "back"]
    assert [type(event) for event in seen] == [CircuitOpened, CircuitHalfOpened, CircuitClosed]


def test_an_error_that_is_none_of_its_business_counts_neither_way(world: World) -> None:
    no_such_page = LookupError("no such page")
    operation = world.operation(DOWN, no_such_page, DOWN, no_such_page, "back")
    breaker = CircuitBreaker(2, recovery_timeout=10, on=OSError)
    once = breaker(operation)
    assert in_turn(world, once, once, once, lambda: breaker.state) == [DOWN, no_such_page, DOWN, "open"]
    breaker.reset()
    breaker.open()
    breaker.half_open()
    operation.log.calls.clear()
    operation.log.script = (no_such_page, "back")
    assert in_turn(world, once, lambda: breaker.state, once, lambda: breaker.state) == [
        no_such_page,
        "half-open",
        "back",
        "closed",
    ]


def test_a_predicate_that_fails_is_heard_of_and_costs_no_place(world: World) -> None:
    def broken(error: Exception) -> bool:
        raise ZeroDivisionError

    breaker = CircuitBreaker(1, on=broken)
    breaker.open()
    breaker.half_open()
    first, second = in_turn(world, *[breaker(world.operation(DOWN, "back"))] * 2)
    assert isinstance(first, ZeroDivisionError)
    assert second == "back"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_and_gives_its_place_back(world: World, error: type[BaseException]) -> None:
    breaker = CircuitBreaker(1)
    breaker.open()
    breaker.half_open()
    with pytest.raises(error):
        world.run(breaker, world.operation(error))
    assert breaker.state == "half-open"
    assert world.run(breaker, world.operation("back")).value == "back"
    assert breaker.state == "closed"
    with pytest.raises(error):
        world.run(breaker, world.operation(error))
    assert (breaker.state, breaker.failure_count) == ("closed", 0)


def test_each_rejection_is_a_new_error(world: World) -> None:
    once = CircuitBreaker(1)(world.operation(DOWN))
    _, *refused = in_turn(world, *[once] * 4)
    assert len({id(one) for one in refused}) == 3
    assert {one.__cause__ for one in refused} == {DOWN}
    lengths: list[int] = []
    for one in refused:
        traceback, length = one.__traceback__, 0
        while traceback is not None:
            traceback, length = traceback.tb_next, length + 1
        lengths.append(length)
    assert len(set(lengths)) == 1
    assert pickle.loads(pickle.dumps(refused[0])).retry_after == refused[0].retry_after


@given(
    started=st.floats(0, 1e9),
    recovery_timeout=st.floats(1e-3, 1e6),
    share=st.floats(0, 0.99),
    asynchronous=st.booleans(),
)
def test_who_comes_back_when_told_to_is_let_through(
    started: float, recovery_timeout: float, share: float, asynchronous: bool
) -> None:
    world = World(asynchronous)
    breaker, operation = CircuitBreaker(1, recovery_timeout), world.operation(DOWN, "back")

    def plainly() -> None:
        time.sleep(started)
        breaker.outcome(operation)
        time.sleep(recovery_timeout * share)
        time.sleep(breaker.outcome(operation).error.retry_after)
        assert breaker.call(operation) == "back"

    async def on_loop() -> None:
        await asyncio.sleep(started)
        await breaker.outcome(operation)
        await asyncio.sleep(recovery_timeout * share)
        await asyncio.sleep((await breaker.outcome(operation)).error.retry_after)
        assert await breaker.call(operation) == "back"

    world.do(on_loop if asynchronous else plainly)


def test_not_even_a_rounding_error_keeps_out_who_comes_back_when_told_to() -> None:
    breaker = CircuitBreaker(1, recovery_timeout=155.2439081628899)
    with virtual.clock():
        time.sleep(2.774496216283711)
        breaker.open()
        time.sleep(2.4945734693754362)
        error = breaker.outcome(World(False).operation("no")).error
        assert isinstance(error, errors.CircuitOpenError)
        assert error.retry_after is not None
        time.sleep(error.retry_after)
        assert breaker.call(World(False).operation("back")) == "back"


def test_a_circuit_that_closes_while_a_caller_asks_lets_it_through() -> None:
    breaker = CircuitBreaker()
    breaker.open()
    breaker.close()
    circuit = breaker.live_state()
    assert circuit.admit(0.0, breaker._limits)[0] is circuit.door


# --- what is counted ---------------------------------------------------------------------------------


def test_in_a_window_of_calls_the_share_of_failures_opens_it(world: World) -> None:
    breaker = CircuitBreaker(window=CountWindow(4), failure_rate=0.5, minimum_calls=4)
    once = breaker(world.operation(DOWN, "a", "b", "c", DOWN, "d", DOWN))
    seen: list[Any] = []
    in_turn(world, *[step for _ in range(7) for step in (once, lambda: seen.append(str(breaker.state)))])
    assert seen == ["closed"] * 6 + ["open"]
    [opened] = breaker.history
    assert (opened.reason, opened.failures) == ("2 of 4 calls failed", 2)


def test_a_success_can_be_the_call_that_makes_the_window_say_enough(world: World) -> None:
    breaker = CircuitBreaker(failure_rate=0.5, minimum_calls=3)
    once = breaker(world.operation(DOWN, DOWN, "answer"))
    outcome = in_turn(world, once, once, lambda: breaker.outcome(world.operation("answer")))[-1]
    assert (outcome.value, kinds(outcome), state_after(breaker)) == ("answer", ["CircuitOpened"], "open")


def test_in_a_window_of_time_old_failures_are_forgotten(world: World) -> None:
    breaker = CircuitBreaker(3, window=TimeWindow(60))
    once = breaker(world.operation(DOWN, "a", DOWN, "b", DOWN))
    in_turn(world, once, once, 59, once, 1, lambda: states.append(breaker.failure_count), once, once)
    assert (states.pop(), breaker.state) == (1, "closed")
    breaker = CircuitBreaker(3, window=TimeWindow(60))
    once = breaker(world.operation(DOWN, "a", DOWN, "b", DOWN))
    in_turn(world, once, once, 59, once, once, once)
    assert breaker.history[-1].reason == "3 failures"


def test_a_window_smaller_than_minimum_calls_is_enough_when_it_is_full(world: World) -> None:
    breaker = CircuitBreaker(window=CountWindow(2), failure_rate=1.0, minimum_calls=10)
    in_turn(world, *[breaker(world.operation(DOWN))] * 2)
    assert state_after(breaker) == "open"


@pytest.mark.parametrize(("failed", "of"), [(7, 100), (1, 3), (29, 100), (3, 10)])
def test_a_share_is_compared_without_rounding_errors(failed: int, of: int) -> None:
    breaker = CircuitBreaker(window=CountWindow(of), failure_rate=failed / of, minimum_calls=of)
    world = World(asynchronous=False)
    in_turn(world, *[breaker(world.operation(*["fine"] * (of - failed), DOWN))] * of)
    assert [one.failures for one in breaker.history] == [failed]


def test_a_slow_answer_counts_as_a_failure_and_is_returned(world: World) -> None:
    breaker = CircuitBreaker(2, slow_call=3)
    once, slow = breaker(world.operation("answer", takes=3)), breaker(world.operation("late", takes=3.5))
    assert in_turn(world, slow, once, slow, slow) == ["late", "answer", "late", "late"]
    assert breaker.history[-1].reason == "2 failures"


def test_a_slow_probe_opens_it_again(world: World) -> None:
    breaker = CircuitBreaker(1, 10, slow_call=3)
    breaker.open()
    breaker.half_open()
    assert world.run(breaker, world.operation("late", takes=4)).value == "late"
    assert (breaker.history[-1].after, breaker.history[-1].reason) == ("open", "a probe was slow")


def test_with_a_rate_for_them_slow_calls_are_counted_apart_from_failures(world: World) -> None:
    breaker = CircuitBreaker(3, slow_call=3, slow_call_rate=0.5, minimum_calls=4)
    slow = breaker(world.operation("late", takes=4))
    in_turn(world, slow, slow, slow)
    assert (breaker.state, breaker.failure_count) == ("closed", 0)
    in_turn(world, slow)
    assert breaker.history[-1][3:] == ("4 of 4 calls were slow", 4, 60)
    breaker.reset()
    in_turn(world, *[breaker(world.operation(DOWN))] * 3)
    assert breaker.history[-1].reason == "3 failures"


def test_many_calls_need_no_more_memory_than_the_window() -> None:
    world = World(asynchronous=False)
    counted = CircuitBreaker(window=CountWindow(50), failure_rate=1.0)
    timed = CircuitBreaker(window=TimeWindow(1e6, max_calls=50), failure_rate=1.0)
    for breaker in (counted, timed):
        in_turn(world, *[breaker(world.operation("fine"))] * 1000)
        assert len(breaker.live_state()._calls) == 50


# --- many callers ------------------------------------------------------------------------------------


def test_a_hundred_callers_that_fail_together_open_it_once() -> None:
    async def main() -> list[Event]:
        heard: list[Event] = []
        once = CircuitBreaker(3)(World(True).operation(DOWN, takes=1))
        with listening(heard.append):
            await asyncio.gather(*(once() for _ in range(100)), return_exceptions=True)
        return heard

    assert [type(event) for event in virtual.run(main())] == [CircuitOpened]


@pytest.mark.parametrize("places", [1, 3])
def test_of_a_hundred_callers_only_as_many_probe_as_may(places: int) -> None:
    operation = World(True).operation(DOWN, "back", takes=1)

    async def main() -> list[Any]:
        breaker = CircuitBreaker(1, 10, success_threshold=3, half_open_max_calls=places)
        once = breaker(operation)
        await asyncio.gather(once(), return_exceptions=True)
        await asyncio.sleep(10)
        found = await asyncio.gather(*(once() for _ in range(100)), return_exceptions=True)
        assert breaker.state == ("closed" if places == 3 else "half-open")
        return found

    found = virtual.run(main())
    assert found[:places] == ["back"] * places
    assert {type(one) for one in found[places:]} == {errors.CircuitOpenError}
    assert found[-1].retry_after == 10, "at the latest then, the probes have lost their places"
    assert len(operation.log.calls) == 1 + places


@pytest.mark.parametrize("ends", ["answer", DOWN])
def test_what_began_while_it_was_closed_says_nothing_about_later(ends: Any) -> None:
    async def main() -> None:
        breaker = CircuitBreaker(1, 10)
        late = asyncio.ensure_future(breaker.call(World(True).operation(ends, takes=15)))
        await asyncio.sleep(0)
        await breaker.outcome(World(True).operation(DOWN))
        await asyncio.sleep(12)
        assert breaker.state == "half-open"
        await asyncio.wait([late])
        assert breaker.state == "half-open"
        assert await breaker.call(World(True).operation("back")) == "back"
        assert breaker.state == "closed"

    virtual.run(main())


def test_a_failure_from_before_the_last_outage_does_not_count_after_it() -> None:
    async def main() -> None:
        breaker = CircuitBreaker(1, 10)
        late = asyncio.ensure_future(breaker.call(World(True).operation(DOWN, takes=30)))
        await asyncio.sleep(0)
        await breaker.outcome(World(True).operation(DOWN))
        await asyncio.sleep(10)
        await breaker.call(World(True).operation("back"))
        await asyncio.wait([late])
        assert isinstance(late.exception(), ConnectionError)
        assert (breaker.state, breaker.failure_count) == ("closed", 0)

    virtual.run(main())


def test_a_cancelled_probe_gives_its_place_back_and_judges_nothing() -> None:
    async def main() -> None:
        breaker = CircuitBreaker(1, 10)
        breaker.open()
        await asyncio.sleep(10)
        probe = asyncio.ensure_future(breaker.call(World(True).operation(Hang)))
        await asyncio.sleep(1)
        assert isinstance((await breaker.outcome(World(True).operation("no"))).error, errors.CircuitOpenError)
        probe.cancel()
        await asyncio.wait([probe])
        assert breaker.state == "half-open"
        outcome = await breaker.outcome(World(True).operation("back"))
        assert (outcome.value, kinds(outcome)) == ("back", ["CircuitClosed"])

    virtual.run(main())


def test_a_probe_that_is_cancelled_while_its_callback_runs_gives_its_place_back() -> None:
    async def never(event: Event) -> None:
        await asyncio.sleep(1e9)

    async def main() -> None:
        breaker = CircuitBreaker(1, 10, on_half_open=never)
        breaker.open()
        await asyncio.sleep(10)
        await Timeout(1).outcome(breaker(World(True).operation("no")))
        assert await breaker.call(World(True).operation("back")) == "back"

    virtual.run(main())


@pytest.mark.parametrize("ends", ["answer", DOWN])
def test_a_probe_that_hangs_blocks_it_no_longer_than_an_open_circuit_would(ends: Any) -> None:
    async def main() -> None:
        breaker = CircuitBreaker(1, 10, success_threshold=2)
        breaker.open()
        await asyncio.sleep(10)
        hung = asyncio.ensure_future(breaker.call(World(True).operation(ends, takes=25)))
        await asyncio.sleep(4)
        outcome = await breaker.outcome(World(True).operation("no"))
        assert isinstance(outcome.error, errors.CircuitOpenError)
        assert outcome.error.retry_after == 6
        assert [(e.reason, e.retry_after) for e in outcome.events if isinstance(e, Rejected)] == [
            ("probe under way", 6)
        ]
        await asyncio.sleep(6)
        assert await breaker.call(World(True).operation("back")) == "back"
        await asyncio.wait([hung])
        assert breaker.state == "half-open", "the probe came back too late to be heard"
        assert await breaker.call(World(True).operation("back")) == "back"
        assert breaker.state == "closed"

    virtual.run(main())


def test_a_call_that_is_cancelled_counts_neither_way() -> None:
    async def main() -> None:
        breaker = CircuitBreaker(1)
        hung = asyncio.ensure_future(breaker.call(World(True).operation(Hang)))
        await asyncio.sleep(1)
        hung.cancel()
        await asyncio.wait([hung])
        assert (breaker.state, breaker.failure_count) == ("closed", 0)
        assert await breaker.call(World(True).operation("answer")) == "answer"

    virtual.run(main())


def test_a_clock_that_is_set_back_keeps_it_open_no_longer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = CircuitBreaker(1, 10)
    once = breaker(world.operation(DOWN, "back"))
    found = in_turn(world, once, lambda: monkeypatch.setattr("time.time", lambda: -1e9), 10, once)
    assert found[-1] == "back"


def test_calls_of_several_threads_do_not_wait_for_each_other() -> None:
    together = threading.Barrier(8, timeout=10)
    protected = CircuitBreaker(failure_rate=0.5, slow_call=5.0)(lambda: together.wait() >= 0)
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(protected())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 8, "all of them were inside at once"


def test_a_callback_that_takes_long_makes_no_probe_slow() -> None:
    async def tell(event: Event) -> None:
        await asyncio.sleep(30)

    async def main() -> None:
        breaker = CircuitBreaker(1, 60, slow_call=2, on_half_open=tell)
        breaker.open()
        await asyncio.sleep(60)
        assert await breaker.call(World(True).operation("back", takes=1)) == "back"
        assert breaker.state == "closed"

    virtual.run(main())


def test_a_breaker_may_be_used_within_its_own_callbacks(world: World) -> None:
    seen: list[str] = []

    def tell(event: Event) -> None:
        seen.append(f"{type(event).__name__} while {breaker.state}, {breaker.failure_count} failed")
        if isinstance(event, CircuitOpened):
            breaker.half_open()

    breaker = CircuitBreaker(1, on_open=world.of(tell), on_close=world.of(tell))
    in_turn(world, *[breaker(world.operation(DOWN, "back"))] * 2)
    assert seen == ["CircuitOpened while open, 1 failed", "CircuitClosed while closed, 0 failed"]


def test_what_an_abandoned_thread_brings_counts_no_more() -> None:
    breaker = CircuitBreaker(1)
    operation = World(False).operation(DOWN, takes=5)
    with virtual.clock():
        outcome = (Timeout(2) >> breaker).outcome(operation)
        assert isinstance(outcome.error, errors.TimeoutExceeded)
        time.sleep(60)
    assert breaker.state == "closed"
    assert (breaker >> Timeout(2)).outcome(World(False).operation(DOWN)).error is DOWN
    assert breaker.state == "open"


def test_threads_that_hammer_it_find_it_consistent() -> None:
    heard: list[Event] = []
    under_way, most = [0], [0]
    lock = threading.Lock()
    breaker = CircuitBreaker(3, recovery_timeout=0.0005, half_open_max_calls=2, success_threshold=2)

    @breaker
    def operation(number: int) -> int:
        probing = breaker.live_state()._state is CircuitState.HALF_OPEN
        with lock:
            under_way[0] += probing
            most[0] = max(most[0], under_way[0])
        try:
            if number % 7 < 3:
                raise DOWN
            return number
        finally:
            with lock:
                under_way[0] -= probing

    def hammer() -> None:
        for number in range(3000):
            try:
                assert operation(number) == number
            except (ConnectionError, errors.CircuitOpenError):
                pass

    unsubscribe = subscribe(heard.append)
    try:
        threads = [threading.Thread(target=hammer) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        unsubscribe()
    changes = [event for event in heard if not isinstance(event, Rejected)]
    assert len(changes) >= 20
    opened, half_opened, closed = (
        sum(isinstance(event, kind) for event in changes) for kind in (CircuitOpened, CircuitHalfOpened, CircuitClosed)
    )
    assert opened == half_opened + (breaker.live_state()._state is CircuitState.OPEN)
    assert half_opened - 1 <= opened
    assert closed <= half_opened
    assert len(breaker.history) == 20
    assert all(one.after == two.before for one, two in itertools.pairwise(breaker.history))
    breaker.reset()
    assert operation(5) == 5


# --- by hand -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", LEGAL)
@pytest.mark.parametrize("after", LEGAL)
def test_what_makes_no_sense_is_refused_and_changes_nothing(before: str, after: str) -> None:
    breaker = CircuitBreaker()
    for step in {"closed": (), "half-open": ("open", "half-open")}.get(before, (before,)):
        BY_HAND[step](breaker)
    history = breaker.history
    if after == before:
        BY_HAND[after](breaker)
        assert breaker.history == history
    elif after in LEGAL[before]:
        BY_HAND[after](breaker)
        assert breaker.history[:-1] == history
        lasts = {"open": 60.0, "forced-open": float("inf")}.get(after, 0.0)
        assert breaker.history[-1][1:] == (before, after, "by hand", 0, lasts)
        assert breaker.state == after
    else:
        with pytest.raises(
            errors.IllegalTransition, match=f"a circuit that is {before} cannot become {after}"
        ) as caught:
            BY_HAND[after](breaker)
        assert (caught.value.before, caught.value.after) == (before, after)
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
        assert (breaker.history, breaker.state) == (history, before)


def test_one_that_is_forced_open_stays_so_until_somebody_says_otherwise(world: World) -> None:
    breaker = CircuitBreaker(recovery_timeout=10)
    once = breaker(world.operation("answer"))
    breaker.force_open()
    refused, state = in_turn(world, 1e6, once, lambda: breaker.state)
    assert (refused.retry_after, refused.__cause__, state) == (None, None, "forced-open")
    assert str(refused) == "operation was not called: its circuit is open until it is reset"
    breaker.close()
    assert in_turn(world, once) == ["answer"]


def test_one_that_is_disabled_makes_every_call_and_counts_none(world: World) -> None:
    breaker = CircuitBreaker(1, window=CountWindow(3))
    breaker.disable()
    assert in_turn(world, *[breaker(world.operation(DOWN, DOWN, "answer"))] * 3) == [DOWN, DOWN, "answer"]
    assert (breaker.state, breaker.failure_count, len(breaker.history)) == ("disabled", 0, 1)
    breaker.close()
    in_turn(world, breaker(world.operation(DOWN)))
    assert state_after(breaker) == "open"


def test_one_that_is_opened_by_hand_comes_back_by_itself(world: World) -> None:
    breaker = CircuitBreaker(recovery_timeout=10)
    once = breaker(world.operation("back"))
    first, second = in_turn(world, breaker.open, 4, once, 6, once)[1:]
    assert (first.retry_after, first.__cause__, second, breaker.state) == (6, None, "back", "closed")


def test_a_reset_forgets_what_was_counted_and_what_is_under_way() -> None:
    async def main() -> None:
        breaker = CircuitBreaker(2)
        late = asyncio.ensure_future(breaker.call(World(True).operation(DOWN, takes=1)))
        await asyncio.sleep(0)
        await breaker.outcome(World(True).operation(DOWN))
        assert breaker.failure_count == 1
        breaker.close()
        assert breaker.failure_count == 1, "it is closed already"
        breaker.reset()
        assert (breaker.failure_count, breaker.history) == (0, ())
        await asyncio.wait([late])
        assert breaker.failure_count == 0
        breaker.force_open()
        breaker.reset()
        assert breaker.state == "closed"

    virtual.run(main())


def test_changes_by_hand_are_reported_but_call_nobody_back() -> None:
    called: list[Event] = []
    breaker = CircuitBreaker(
        recovery_timeout=10, name="payments", on_open=called.append, on_half_open=called.append, on_close=called.append
    )
    heard: list[Any] = []
    with listening(heard.append):
        for change in ("open", "half-open", "closed", "forced-open", "disabled", "closed", "closed"):
            BY_HAND[change](breaker)
    assert [type(event) for event in heard] == [
        CircuitOpened,
        CircuitHalfOpened,
        CircuitClosed,
        CircuitOpened,
        CircuitClosed,
        CircuitClosed,
    ]
    assert [(e.failures, e.seconds) for e in heard if isinstance(e, CircuitOpened)] == [(0, 10), (0, float("inf"))]
    assert {(e.layer, e.operation) for e in heard} == {("CircuitBreaker payments", "payments")}
    assert called == []


def test_opening_it_by_hand_when_it_would_have_let_a_probe_through_starts_its_time_anew() -> None:
    breaker = CircuitBreaker(recovery_timeout=10)
    with virtual.clock():
        breaker.open()
        time.sleep(11)
        breaker.open()
        time.sleep(9)
        assert breaker.state == "open"
        time.sleep(1)
        breaker.half_open()  # which it is by now
        assert breaker.state == "half-open"
        breaker.close()
    assert [(one.time, one.after) for one in breaker.history] == [
        (0, "open"),
        (11, "half-open"),
        (11, "open"),
        (21, "half-open"),
        (21, "closed"),
    ]


# --- as a policy -------------------------------------------------------------------------------------


def test_a_changed_copy_shares_the_circuit(world: World) -> None:
    breaker = CircuitBreaker(5)
    strict = breaker.replace(failure_threshold=1)
    assert in_turn(world, strict(world.operation(DOWN))) == [DOWN]
    assert [one.after for one in breaker.history] == ["open"]
    assert breaker.history == strict.history


def test_the_error_that_opened_it_is_let_go_when_it_closes() -> None:
    class Mine(Exception):
        pass

    breaker = CircuitBreaker(1)
    world = World(asynchronous=False)
    for _ in range(3):
        world.run(breaker, world.operation(Mine))
        assert world.run(breaker, world.operation("no")).error is not None
    gc.collect()
    assert sum(isinstance(one, Mine) for one in gc.get_objects()) == 1
    breaker.close()
    gc.collect()
    assert not any(isinstance(one, Mine) for one in gc.get_objects())


def test_a_retry_outside_waits_for_as_long_as_the_circuit_is_open(world: World) -> None:
    operation = world.operation(DOWN, DOWN, "back")
    on = (ConnectionError, errors.CircuitOpenError)
    stack = Retry(5, backoff.Fixed(1), on=on) >> CircuitBreaker(2, 30)
    outcome = world.run(stack, operation)
    assert (outcome.value, operation.log.times) == ("back", [0, 1, 31])


def test_every_path_of_it_is_found_and_the_live_one_is_left_alone() -> None:
    breaker = CircuitBreaker(2, 30)
    told = [str(path) for path in explore(breaker, outcomes=("ok", "fail")).paths]
    assert [one.split(" -> ")[0] for one in told] == [
        "CircuitBreaker? closed",
        "CircuitBreaker? closed",
        "CircuitBreaker? open",
        "CircuitBreaker? half-open",
        "CircuitBreaker? half-open",
    ]
    assert [path.error.__class__.__name__ for path in explore(breaker, outcomes=("ok", "fail")).paths] == [
        "NoneType",
        "ConnectionError",
        "CircuitOpenError",
        "NoneType",
        "ConnectionError",
    ]
    assert (breaker.history, breaker.state) == ((), "closed")
    open_path = explore(breaker).paths[3]
    [rejected] = open_path.events
    assert isinstance(rejected, Rejected)
    assert rejected.retry_after == 30


def test_attempts_of_a_retry_open_it_also_while_exploring() -> None:
    stack = Retry(4, backoff.Fixed(5), on=Exception) >> CircuitBreaker(2, 10)
    found = explore(stack, outcomes=("ok", "fail"))
    longest = max(found.paths, key=lambda path: len(path.events) if path.choices[0].option == "closed" else 0)
    assert [type(event).__name__ for event in longest.events] == [
        "Attempt",
        "Waiting",
        "Attempt",
        "CircuitOpened",
        "Waiting",
        "Attempt",
        "Rejected",
        "Waiting",
        "Attempt",
        "CircuitHalfOpened",
        "CircuitOpened",
        "GaveUp",
    ]


def test_situations_are_told_from_the_state_and_the_time() -> None:
    breaker = CircuitBreaker(1, 10)
    made = {name: make() for name, make in breaker.situations().items()}
    assert list(made) == ["closed", "open", "half-open"]
    assert {name: breaker.situation(state, 5) for name, state in made.items()} == {name: name for name in made}
    with virtual.clock():
        breaker.open()
        live = breaker.live_state()
        assert [breaker.situation(live, now) for now in (0, 9.9, 10)] == ["open", "open", "half-open"]
        breaker.force_open()
        assert breaker.situation(live, 1e9) == "open"
        breaker.disable()
        assert breaker.situation(live, 0) == "closed"


def test_tunings_with_a_name_can_be_changed() -> None:
    assert repr(CircuitBreaker.high_traffic()) == "CircuitBreaker(3, recovery_timeout=30.0)"
    assert repr(CircuitBreaker.critical(name="ledger")) == "CircuitBreaker(10, recovery_timeout=120.0, name='ledger')"
    assert CircuitBreaker.high_traffic(failure_threshold=4).failure_threshold == 4


def test_it_is_called_by_its_name_in_events(world: World) -> None:
    outcome = world.run(CircuitBreaker(1, name="payments"), world.operation(DOWN))
    assert [event.layer for event in outcome.events] == ["CircuitBreaker payments"]
    outcome = world.run(CircuitBreaker(1) >> CircuitBreaker(1), world.operation(DOWN))
    assert [event.layer for event in outcome.events] == ["CircuitBreaker 2", "CircuitBreaker"]


def test_the_repr_shows_what_is_not_the_default() -> None:
    breaker = CircuitBreaker(3, window=TimeWindow(60, max_calls=100), on=OSError)
    assert repr(breaker) == "CircuitBreaker(3, window=TimeWindow(60, max_calls=100), on=OSError)"
    assert repr([CountWindow(3), TimeWindow(2.5)]) == "[CountWindow(3), TimeWindow(2.5)]"
    assert repr(CircuitState.HALF_OPEN) == "<CircuitState.HALF_OPEN: 'half-open'>"
    assert breaker.describe()["recovery_timeout"] == 60
    assert Transition(1, CircuitState.CLOSED, CircuitState.OPEN, "by hand").failures == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"failure_threshold": 0}, "failure_threshold must be at least 1, got 0"),
        ({"failure_threshold": 2.5}, "failure_threshold must be a whole number, got 2.5"),
        ({"failure_threshold": True}, "failure_threshold must be a whole number, got True"),
        ({"recovery_timeout": 0}, "recovery_timeout must be a finite number of seconds above 0, got 0"),
        ({"recovery_timeout": float("inf")}, "recovery_timeout .* got inf"),
        ({"recovery_timeout": float("nan")}, "recovery_timeout .* got nan"),
        ({"recovery_timeout": "60"}, "recovery_timeout must be a number, got '60'"),
        ({"success_threshold": 0}, "success_threshold must be at least 1, got 0"),
        ({"half_open_max_calls": 0}, "half_open_max_calls must be at least 1, got 0"),
        ({"minimum_calls": 0}, "minimum_calls must be at least 1, got 0"),
        ({"failure_rate": 0}, "failure_rate must be a share above 0 and up to 1, got 0"),
        ({"failure_rate": 50}, "failure_rate must be a share above 0 and up to 1, got 50"),
        ({"slow_call": 0}, "slow_call must be a finite number of seconds above 0, got 0"),
        ({"slow_call_rate": 0.5}, "slow_call_rate=0.5 needs slow_call"),
        ({"slow_call": 1, "slow_call_rate": 1.5}, "slow_call_rate must be a share .* got 1.5"),
        ({"window": 100}, r"window must be CountWindow\(n\) or TimeWindow\(seconds\), got 100"),
        ({"window": CountWindow(3)}, r"failure_threshold=5 can never be reached within CountWindow\(3\)"),
        ({"window": TimeWindow(9, max_calls=4)}, "failure_threshold=5 can never be reached within TimeWindow"),
        ({"name": 3}, "name must be a string, got 3"),
        ({"on": "OSError"}, "on must be an exception type"),
        ({"on_open": "page me"}, "on_open must be callable, got 'page me'"),
        ({"on_half_open": 1}, "on_half_open must be callable, got 1"),
        ({"on_close": 1}, "on_close must be callable, got 1"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        CircuitBreaker(**arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CountWindow(0), "n must be at least 1, got 0"),
        (lambda: CountWindow("9"), "n must be a whole number, got '9'"),  # type: ignore[arg-type]
        (lambda: TimeWindow(0), "seconds must be a finite number of seconds above 0, got 0"),
        (lambda: TimeWindow(1, 0), "max_calls must be at least 1, got 0"),
    ],
)
def test_a_window_of_nothing_is_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()
