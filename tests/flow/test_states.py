"""State machines are found by running layers, and are what the layers really do."""

from __future__ import annotations

import asyncio
import enum
import random
import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import (
    AdaptiveRecovery,
    Bulkhead,
    Cache,
    CircuitBreaker,
    CountWindow,
    ExponentialRecovery,
    Fallback,
    LoadShedder,
    PartialRecovery,
    Policy,
    RateLimiter,
    Retry,
    Timeout,
    TimeWindow,
    virtual,
)
from failwell.errors import NotDeterministic, RecoveryError, TooManyStates
from failwell.events import CircuitOpened
from failwell.flow import Graph, explore
from failwell.flow.draw import FORMATS, draw, theme
from failwell.flow.states import keeps_state, state_machine, states
from failwell.flow.story import seconds
from failwell.policy import Pattern
from failwell.runtime import Signal


def ways(machine: Graph) -> set[tuple[str, str, str, str]]:
    """From, what, event, to."""
    name = [node.title for node in machine.nodes]
    return {(name[edge.source], edge.label, edge.detail, name[edge.target]) for edge in machine.edges if edge.source}


def told(machine: Graph) -> dict[str, tuple[str, ...]]:
    """What is said of each situation."""
    return {node.title: node.details for node in machine.nodes[1:]}


def roles(machine: Graph) -> dict[str, str]:
    return {node.title: node.role for node in machine.nodes[1:]}


# --- the textbook ------------------------------------------------------------------------------------


def test_the_breaker_is_the_textbook_picture() -> None:
    breaker = CircuitBreaker(5, recovery_timeout=60)
    machine = state_machine(breaker)
    assert ways(machine) == {
        ("closed", "5 failures", "CircuitOpened", "open"),
        ("open", "after 60 s", "", "half-open"),
        ("half-open", "ok", "CircuitClosed", "closed"),
        ("half-open", "fails", "CircuitOpened", "open"),
    }
    assert told(machine) == {
        "closed": ("calls pass",),
        "open": ("refused: CircuitOpenError",),
        "half-open": ("calls pass, 1 at a time",),
    }
    assert roles(machine) == {"closed": "success", "open": "error", "half-open": "recovery"}
    assert machine.title == repr(breaker)


@settings(max_examples=25, deadline=None)
@given(
    failures=st.integers(2, 60),
    seconds=st.sampled_from([0.1, 0.25, 1, 7.3, 30, 3600]),
    probes=st.integers(2, 5),
    at_once=st.integers(1, 4),
)
def test_the_numbers_of_a_breaker_are_on_its_arrows(failures: int, seconds: float, probes: int, at_once: int) -> None:
    breaker = CircuitBreaker(failures, seconds, probes, half_open_max_calls=at_once)
    machine = state_machine(breaker)
    assert ways(machine) == {
        ("closed", f"{failures} failures", "CircuitOpened", "open"),
        ("open", f"after {seconds:g} s", "", "half-open"),
        ("half-open", f"{probes} answers", "CircuitClosed", "closed"),
        ("half-open", "fails", "CircuitOpened", "open"),
    }
    assert told(machine)["half-open"] == (f"calls pass, {at_once} at a time",)


def fail() -> None:
    raise ConnectionError


@settings(max_examples=15, deadline=None)
@given(failures=st.integers(1, 20), seconds=st.sampled_from([0.25, 1, 30]), probes=st.integers(1, 3))
def test_a_live_breaker_does_what_its_arrows_say(failures: int, seconds: float, probes: int) -> None:
    breaker = CircuitBreaker(failures, seconds, probes)
    number = {label.split(" ")[0]: label for _, label, _, _ in ways(state_machine(breaker))}
    assert ("fails" in number) or str(failures) in number
    with virtual.clock() as clock:
        for count in range(1, failures + 1):
            assert breaker.state.value == "closed"
            breaker.outcome(fail)
            assert (breaker.state.value == "open") == (count == failures)
        clock.sleep(seconds * 0.999)
        assert breaker.state.value == "open"
        clock.sleep(seconds * 0.001 + 1e-9)
        assert breaker.state.value == "half-open"
        for count in range(1, probes + 1):
            breaker.call(int)
            assert (breaker.state.value == "closed") == (count == probes)


@pytest.mark.parametrize(
    ("breaker", "opens"),
    [
        (CircuitBreaker(50), {"50 failures"}),
        (CircuitBreaker(window=CountWindow(20), failure_rate=0.5, minimum_calls=8), {"8 failures"}),
        (CircuitBreaker(window=TimeWindow(30), failure_rate=0.5, minimum_calls=8), {"8 failures"}),
        (CircuitBreaker(4, window=TimeWindow(30)), {"4 failures"}),
        (CircuitBreaker(3, slow_call=2), {"3 failures", "3 answers after more than 2 s"}),
    ],
    ids=lambda one: repr(one) if isinstance(one, CircuitBreaker) else "",
)
def test_what_opens_a_breaker_is_found_whatever_it_counts(breaker: CircuitBreaker, opens: set[str]) -> None:
    machine = state_machine(breaker)
    assert {label for source, label, _, _ in ways(machine) if source == "closed"} == opens
    assert {title for _, _, _, title in ways(machine)} == {"closed", "open", "half-open"}


def test_a_cache_comes_round() -> None:
    machine = state_machine(Cache(60, stale_if_error=300))
    assert ways(machine) == {
        ("miss", "ok", "CacheStored", "fresh"),
        ("fresh", "after 60 s", "", "stale"),
        ("stale", "ok", "CacheStored", "fresh"),
        ("stale", "after 300 s", "", "miss"),
    }
    assert told(machine) == {
        "miss": ("calls pass",),
        "fresh": ("answered without a call",),
        "stale": ("calls pass", "a failure gets a degraded answer"),
    }
    assert roles(machine) == {"miss": "operation", "fresh": "success", "stale": "recovery"}


def test_a_cache_without_stale_answers_has_two_situations() -> None:
    assert ways(state_machine(Cache(0.5))) == {
        ("miss", "ok", "CacheStored", "fresh"),
        ("fresh", "after 0.5 s", "", "miss"),
    }


def test_a_cache_that_always_asks_has_no_fresh_answers() -> None:
    assert ways(state_machine(Cache(0, stale_if_error=10))) == {
        ("miss", "ok", "CacheStored", "stale"),
        ("stale", "after 10 s", "", "miss"),
    }


def test_a_rate_limiter_says_how_many_calls_it_takes_and_when_it_takes_more() -> None:
    machine = state_machine(RateLimiter(10, per=2))
    assert ways(machine) == {("allowed", "10 calls", "", "exceeded"), ("exceeded", "after 2 s", "", "allowed")}
    assert told(machine)["exceeded"] == ("refused: RateLimitedError",)
    assert roles(machine) == {"allowed": "success", "exceeded": "error"}


@settings(max_examples=15, deadline=None)
@given(
    rate=st.integers(2, 40),
    per=st.sampled_from([0.1, 0.25, 1, 7.3, 60, 3600]),
    ttl=st.sampled_from([0.1, 0.25, 1, 7.3, 60, 3600]),
    stale=st.sampled_from([0.2, 0.75, 3, 30, 86400]),
)
def test_the_numbers_of_other_layers_are_on_their_arrows(rate: int, per: float, ttl: float, stale: float) -> None:
    assert ways(state_machine(RateLimiter(rate, per=per))) == {
        ("allowed", f"{rate} calls", "", "exceeded"),
        ("exceeded", f"after {per:g} s", "", "allowed"),
    }
    assert ways(state_machine(Bulkhead(rate))) == {
        ("free", f"{rate} calls under way", "", "full"),
        ("full", "a call ends", "", "free"),
    }
    assert {label for _, label, _, _ in ways(state_machine(Cache(ttl, stale_if_error=stale)))} == {
        "ok",
        f"after {seconds(ttl)}",
        f"after {seconds(stale)}",
    }


def test_a_load_shedder_refuses_by_priority_and_counts_further_calls() -> None:
    machine = state_machine(LoadShedder(100, priority=str))
    assert told(machine) == {
        "calm": ("calls pass",),
        "busy": ("calls pass or are refused, by priority",),
        "overloaded": ("calls pass or are refused, by priority",),
        "full": ("refused: LoadShedError",),
    }
    assert ways(machine) == {
        ("calm", "71 calls under way", "", "busy"),
        ("busy", "a call ends", "", "calm"),
        ("busy", "19 more calls under way", "", "overloaded"),
        ("overloaded", "a call ends", "", "busy"),
        ("overloaded", "10 more calls under way", "", "full"),
        ("full", "a call ends", "", "overloaded"),
    }


def test_a_drawing_says_where_no_way_back_was_found_within_its_bounds() -> None:
    assert told(state_machine(CircuitBreaker(recovery=AdaptiveRecovery()))) == {
        "closed": ("calls pass",),
        "open": ("refused: CircuitOpenError",),
        "half-open": ("calls pass, 1 at a time", "may have more ways out"),
    }
    given_up = told(state_machine(CircuitBreaker(recovery=ExponentialRecovery(max_probes=2))))
    assert given_up["given-up"] == ("refused: CircuitOpenError",)
    partial = told(state_machine(CircuitBreaker(recovery=PartialRecovery(["pay", "search"], len))))
    assert partial["half-open"] == ("calls pass or are refused, by feature, 1 at a time",)


def test_a_bulkhead_fills_and_empties() -> None:
    assert ways(state_machine(Bulkhead(4))) == {
        ("free", "4 calls under way", "", "full"),
        ("full", "a call ends", "", "free"),
    }
    machine = state_machine(Bulkhead(4, max_queue=2, queue_timeout=9))
    assert ways(machine) == {
        ("free", "4 calls under way", "", "queued"),
        ("queued", "a call ends", "", "free"),
        ("queued", "2 calls wait", "", "full"),
        ("full", "a call ends", "", "queued"),
        ("full", "after 9 s", "", "queued"),
    }
    assert told(machine) == {
        "free": ("calls pass",),
        "queued": ("calls wait",),
        "full": ("refused: BulkheadFullError",),
    }


# --- layers of a user's own --------------------------------------------------------------------------


class Blown(RecoveryError):
    """The fuse is blown."""


class Count:
    """A state of a user's own."""

    def __init__(self, failures: int = 0, by_hand: bool = False) -> None:
        self.failures = failures
        self.by_hand = by_hand
        self.calls = 0
        self.log: list[str] = []
        self.since = 0.0


class Fuse(Policy):
    """Blows for good after some failures, and can be taken out by hand. Counts everything, which means nothing."""

    def __init__(self, most: int = 3) -> None:
        self.most = most

    async def run(self, call: Any, rt: Any) -> Any:
        state: Count = rt.state
        state.calls += 1
        state.log.append("a call")
        if state.by_hand or state.failures >= self.most:
            raise Blown("the fuse is blown")
        try:
            return await call()
        except Exception:
            state.failures += 1
            if state.failures == self.most:
                rt.emit(CircuitOpened, self.most, float("inf"))
            raise

    def situations(self) -> Mapping[str, Callable[[], Count]]:
        return {"whole": Count, "out": lambda: Count(by_hand=True)}

    def situation(self, state: Count, now: float) -> str:
        return "out" if state.by_hand else "blown" if state.failures >= self.most else "whole"


def test_a_policy_of_ones_own_has_a_state_machine() -> None:
    machine = state_machine(Fuse(4))
    assert ways(machine) == {("whole", "4 failures", "CircuitOpened", "blown")}
    assert roles(machine) == {"whole": "success", "blown": "error", "out": "error"}


def test_a_situation_that_no_call_leads_to_says_so() -> None:
    assert told(state_machine(Fuse()))["out"] == ("no call leads here", "refused: Blown")


class Turns(Policy):
    """Trips when an answer is followed by a failure, three times in a row."""

    async def run(self, call: Any, rt: Any) -> Any:
        state: list[str] = rt.state
        try:
            result = await call()
        except Exception:
            state.append("f")
            raise
        else:
            state.append("o")
            return result
        finally:
            del state[:-4]

    def situations(self) -> Mapping[str, Callable[[], list[str]]]:
        return {"calm": list, "shaky": lambda: ["o", "f", "o", "f"]}

    def situation(self, state: list[str], now: float) -> str:
        return "shaky" if state == ["o", "f", "o", "f"] else "calm"


def test_actions_that_take_turns_are_found_where_no_single_one_leads_on() -> None:
    machine = state_machine(Turns())
    assert ways(machine) == {
        ("calm", "an answer, then a failure, then an answer, then a failure", "", "shaky"),
        ("shaky", "a call", "", "calm"),
    }


class Warming(Policy):
    """Cold until a while after its first call; cold again when it was not called for twice as long."""

    def __init__(self, seconds: float = 1.5) -> None:
        self.seconds = seconds

    async def run(self, call: Any, rt: Any) -> Any:
        state: Count = rt.state
        if not state.since or self.situation(state, rt.now()) == "gone":
            state.since = rt.now() + 1e-9
        return await call()

    def situations(self) -> Mapping[str, Callable[[], Count]]:
        return {"cold": Count, "warm": Count}

    def situation(self, state: Count, now: float) -> str:
        age = now - state.since if state.since else 0.0
        return "cold" if age < self.seconds else "warm" if age < 3 * self.seconds + 1 else "gone"


def test_how_long_it_takes_is_found_also_where_no_parameter_says_it() -> None:
    found = ways(state_machine(Warming()))
    assert ("warm", "after 4 s", "", "gone") in found
    assert ("gone", "a call", "", "cold") in found
    assert any(source == "cold" and label.endswith("1.5 s") and target == "warm" for source, label, _, target in found)


class Asked(Policy):
    """Is shut when a function of the user's says so."""

    def __init__(self, is_bad: Callable[[], bool]) -> None:
        self.is_bad = is_bad

    async def run(self, call: Any, rt: Any) -> Any:
        if await rt.decide("is it bad", (False, True), self.is_bad):
            rt.state.append("bad")
        return await call()

    def situations(self) -> Mapping[str, Callable[[], list[str]]]:
        return {"good": list, "bad": lambda: ["bad"]}

    def situation(self, state: list[str], now: float) -> str:
        return "bad" if state else "good"


def test_functions_of_the_user_are_never_called_and_both_their_answers_are_tried() -> None:
    def is_bad() -> bool:
        raise AssertionError("called")

    assert ways(state_machine(Asked(is_bad))) == {("good", "a call, is it bad: True", "", "bad")}


class Restless(Fuse):
    """Looks again and again whether somebody let it go on."""

    async def run(self, call: Any, rt: Any) -> Any:
        state: Count = rt.state
        while not state.by_hand:
            await rt.sleep(0)


def test_a_layer_that_never_settles_is_an_error_and_no_endless_search() -> None:
    with pytest.raises(TooManyStates, match="Restless"):
        state_machine(Restless())


class Forgetful(Fuse):
    """Keeps something where no replay can find it."""

    def __init__(self, most: int = 3) -> None:
        super().__init__(most)
        self.more = 0

    async def run(self, call: Any, rt: Any) -> Any:
        self.more += 1
        rt.state.failures = self.more
        return await call()


def test_a_layer_that_keeps_state_elsewhere_is_found_out() -> None:
    with pytest.raises(NotDeterministic, match=r"Forgetful .* keep it in situations"):
        state_machine(Forgetful(40))


# --- limits ------------------------------------------------------------------------------------------


def test_too_many_states_are_an_error_that_names_the_layer() -> None:
    with pytest.raises(TooManyStates, match="Breaker of mine has more than 30 states") as raised:
        state_machine(CircuitBreaker(50), "Breaker of mine", limit=30)
    assert (raised.value.layer, raised.value.seen, raised.value.action) == ("Breaker of mine", 30, "fail")
    assert len(state_machine(CircuitBreaker(50), limit=300).nodes) == 4
    with pytest.raises(TooManyStates, match="more than 2,000 states"):
        state_machine(CircuitBreaker(5000))


@pytest.mark.parametrize("limit", [0, -1, 1.5, True, "many"])
def test_a_limit_is_a_whole_number(limit: Any) -> None:
    with pytest.raises(ValueError, match="limit must be a whole number"):
        state_machine(CircuitBreaker(), limit=limit)


class Unsaid(Policy):
    """Has situations, but does not say in which one it is."""

    async def run(self, call: Any, rt: Any) -> Any:
        return await call()

    def situations(self) -> Mapping[str, Callable[[], Any]]:
        return {"one": list, "other": dict}


@pytest.mark.parametrize("layer", [Retry(), Unsaid(), "text", Cache(0)], ids=repr)
def test_what_keeps_no_state_has_no_state_machine(layer: Any) -> None:
    with pytest.raises(TypeError, match="has no state machine"):
        state_machine(layer)
    assert not (isinstance(layer, Pattern) and keeps_state(layer))


# --- stacks ------------------------------------------------------------------------------------------


def test_a_stack_has_one_machine_for_each_layer_that_keeps_a_state() -> None:
    exploration = explore(Cache(60) >> Retry(2) >> Cache(5) >> Timeout(3), limit=100_000)
    found = exploration.states()
    assert [machine.title for machine in found] == ["Cache(60)", "Cache(5)"]
    assert [machine.nodes[1].layer for machine in found] == ["Cache", "Cache 2"]
    assert states(explore(Retry(2))) == ()


def test_the_live_state_is_left_alone() -> None:
    breaker = CircuitBreaker(1)
    breaker.outcome(fail)
    state_machine(breaker)
    assert breaker.state.value == "open"
    assert breaker.failure_count == 1


class Interrupted(Fuse):
    """Somebody presses Ctrl-C."""

    async def run(self, call: Any, rt: Any) -> Any:
        if rt.state.calls:
            raise KeyboardInterrupt
        rt.state.calls = 1
        await call()


def test_ctrl_c_ends_a_search_at_once() -> None:
    with pytest.raises(KeyboardInterrupt):
        state_machine(Interrupted())
    assert len(state_machine(Fuse()).nodes) == 4


def test_nothing_around_the_search_is_touched() -> None:
    random.seed(7)
    before = random.getstate()

    async def main() -> Graph:
        machine = state_machine(CircuitBreaker(2))
        await asyncio.sleep(0)
        return machine

    assert ways(asyncio.run(main())) == ways(state_machine(CircuitBreaker(2)))
    assert random.getstate() == before


# --- drawings ----------------------------------------------------------------------------------------

MACHINES = {
    "breaker": state_machine(CircuitBreaker()),
    "cache": state_machine(Cache(60, stale_if_error=300)),
    "bulkhead": state_machine(Bulkhead(4, max_queue=2)),
    "fuse": state_machine(Fuse()),
}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", MACHINES)
def test_every_format_draws_every_machine(name: str, format: str) -> None:
    machine = MACHINES[name]
    drawn = draw(machine, format)
    assert drawn == draw(machine, format)
    if format != "png":
        text = drawn.decode()
        assert all(node.title in text for node in machine.nodes[1:])


@pytest.mark.parametrize("name", MACHINES)
def test_the_svg_is_titled_as_a_state_machine_and_tells_every_way(name: str) -> None:
    machine = MACHINES[name]
    root = ET.fromstring(draw(machine, "svg"))
    title, described = root[0].text or "", root[1].text or ""
    assert title == f"States of {machine.title}"
    for source, label, event, target in ways(machine):
        assert source in described
        assert f"{', '.join(filter(None, (label, event)))}: {target}" in described


@pytest.mark.parametrize("name", MACHINES)
def test_the_start_leads_to_the_first_situation_and_every_role_is_one_of_the_drawing_language(name: str) -> None:
    machine = MACHINES[name]
    assert [edge.target for edge in machine.following(0)] == [1]
    assert {node.role for node in machine.nodes} <= theme.ROLES.keys()
    assert [node.id for node in machine.nodes] == list(range(len(machine.nodes)))


def test_a_way_back_is_painted_in_its_own_role() -> None:
    machine = MACHINES["breaker"]
    back = theme.back_edges(machine)
    assert {edge.label: theme.arrow_role(machine, edge, back) for edge in back} == {"ok": "success", "fails": "error"}


# --- what a state may be made of ---------------------------------------------------------------------


class Mood(enum.Enum):
    """An enum in a state."""

    GOOD = 1
    BAD = 2


class Slotted:
    """A state in slots, which knows itself."""

    __slots__ = ("failed", "itself", "lock", "mood", "never", "signal", "weights")

    def __init__(self, mood: Mood = Mood.GOOD) -> None:
        self.mood = mood
        self.failed: set[int] = set()
        self.signal = Signal()
        self.lock = threading.Lock()
        self.itself = self
        self.weights = {"a": 0.1}


class Moody(Policy):
    """In a bad mood after two failures of its own function, until it is asked to do something else that works."""

    def __init__(self, cheer_up: Callable[[], object]) -> None:
        self.cheer_up = cheer_up

    async def run(self, call: Any, rt: Any) -> Any:
        state: Slotted = rt.state
        if state.mood is Mood.GOOD:
            try:
                return await call()
            except Exception:
                state.failed.add(len(state.failed))
                state.weights["a"] += 0.1
                if len(state.failed) == 2:
                    state.mood = Mood.BAD
                    state.signal.set()
                raise
        answer = await rt.invoke(self.cheer_up)
        state.mood = Mood.GOOD
        state.failed.clear()
        return answer

    def situations(self) -> Mapping[str, Callable[[], Slotted]]:
        return {"good": Slotted, "bad": lambda: Slotted(Mood.BAD)}

    def situation(self, state: Slotted, now: float) -> str:
        return state.mood.name.lower()


def test_a_state_may_be_made_of_anything() -> None:
    def joke() -> None:
        raise AssertionError("called")

    expected = {("good", "2 failures", "", "bad"), ("bad", "ok", "", "good")}
    assert ways(state_machine(Moody(joke))) == expected
    assert ways(state_machine(Moody(Retry(2)(joke)))) == expected


def test_an_alternative_that_never_fails_is_not_made_to_fail() -> None:
    assert ways(state_machine(Moody(Fallback.value("a joke")))) == {
        ("good", "2 failures", "", "bad"),
        ("bad", "ok", "", "good"),
    }
