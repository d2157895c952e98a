from __future__ import annotations

import asyncio
import contextlib
import enum
import gc
import itertools
import logging
import math
import pickle
import random
import threading
import time
import weakref
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import AdaptiveLimit, Fallback, LoadShedder, Retry, Timeout, backoff, errors, explore, virtual
from failwell.events import Rejected
from failwell.flow.states import transitions
from failwell.patterns import load_shedder as module
from tests.kernel.world import World, kinds
from tests.patterns.test_bulkhead import together
from tests.soak.test_soak import hammer

NAMES = ("critical", "normal", "sheddable")


def itself(priority: str, *more: Any, **named: Any) -> str:
    return priority


def filled(shedder: LoadShedder, active: int) -> LoadShedder:
    """Others are under way."""
    shedder.live_state().active = active
    return shedder


def admitted(shedder: LoadShedder, priority: str, calls: int = 1) -> int:
    """How many of some calls that end at once are admitted."""
    guarded = shedder(lambda priority: 1)
    found = 0
    for _ in range(calls):
        with contextlib.suppress(errors.LoadShedError):
            found += guarded(priority)
    return found


# --- who is shed ---


def test_while_there_is_room_all_are_admitted_and_nobody_is_asked_for_a_priority(world: World) -> None:
    def never(*anything: Any) -> str:
        raise AssertionError("asked")

    outcome = world.run(LoadShedder(10, never), world.operation("answer"), 1, key=2)
    assert (outcome.unwrap(), kinds(outcome)) == ("answer", [])


def test_the_least_important_calls_are_shed_first_and_the_most_important_last(world: World) -> None:
    shedder, slow = LoadShedder(10, itself), world.operation("answer", takes=10)
    calls = [(n, lambda: shedder.call(slow, "normal")) for n in range(8)]  # 8 of 10: all of the sheddable
    later = [lambda: shedder.outcome(slow, "sheddable"), lambda: shedder.outcome(slow, "normal")]
    later += [lambda: shedder.outcome(slow, "normal"), *[lambda: shedder.outcome(slow, "critical")] * 2]
    *_, sheddable, normal, late, critical, last = together(
        world, *calls, *((8 + n / 10, one) for n, one in enumerate(later))
    )
    assert [one.ok for one in (sheddable, normal, late, critical, last)] == [False, True, False, True, False]
    refused = sheddable.error
    assert type(refused) is errors.LoadShedError
    assert (refused.priority, refused.operation, refused.retry_after) == ("sheddable", "operation", None)
    assert str(refused) == "operation was not called: calls of priority sheddable are shed at the moment"
    [event] = sheddable.events
    assert isinstance(event, Rejected)
    assert (event.reason, event.layer) == ("sheddable calls are shed", "LoadShedder")
    assert (shedder.active, shedder.rejected) == (0, {"critical": 1, "normal": 1, "sheddable": 1})


@given(
    capacity=st.integers(1, 200),
    names=st.integers(2, 6).map(lambda n: tuple("abcdef"[:n])),
    start=st.floats(0, 0.9),
    reserve=st.floats(0, 0.09),
    steps=st.lists(st.tuples(st.floats(0, 1.2), st.floats(0, 1.2)), min_size=1, max_size=30),
)
def test_no_call_is_shed_while_one_that_matters_less_is_admitted_in_the_same_state(
    capacity: int, names: tuple[str, ...], start: float, reserve: float, steps: list[tuple[float, float]]
) -> None:
    shedder = LoadShedder(capacity, itself, names, start, reserve)
    work = shedder.live_state()
    for inside, outside in steps:  # the way there decides too: who was shut out stays out for a while
        work.active, work._heard = round(inside * capacity), outside
        shares = [work._share(shedder, rank) for rank in range(len(names))]
        assert shares == sorted(shares)
        assert all(0 <= share <= 1 for share in shares)
        for less, more in itertools.pairwise(reversed(shares)):
            assert less == 1 or more == 0, "some of the more important are shed before all of the less important"
        assert shares[0] == float(work.active >= capacity), "the most important are refused only when nothing is left"
        if work.active < capacity and max(work.active / capacity, outside) <= start:
            assert not any(shares)


@given(reserve=st.floats(0, 0.2), capacity=st.integers(1, 300))
def test_what_is_reserved_is_left_for_the_most_important_alone(reserve: float, capacity: int) -> None:
    shedder = LoadShedder(capacity, itself, reserve=reserve)
    work = shedder.live_state()
    for _ in range(2 * capacity):
        work.enter(shedder, 1, 0.999999)  # whatever lot is drawn
    assert work.active <= math.ceil(capacity * (1 - reserve) - 1e-6)
    while work.enter(shedder, 0) == 0:
        pass
    assert work.active == capacity


@pytest.mark.parametrize(("active", "share"), [(70, 0.0), (73, 0.3), (75, 0.5), (79, 0.9), (80, 1.0)])
def test_the_share_that_is_shed_grows_with_the_load(active: int, share: float) -> None:
    shedder = filled(LoadShedder(100, itself), active)
    random.seed(1)
    assert admitted(shedder, "sheddable", 2000) == pytest.approx(2000 * (1 - share), abs=80)
    assert admitted(shedder, "normal", 100) == 100


def test_who_is_shut_out_comes_back_only_when_the_load_is_where_shedding_began() -> None:
    shedder = filled(LoadShedder(100, itself), 80)
    assert admitted(shedder, "sheddable", 100) == 0
    filled(shedder, 71)
    assert admitted(shedder, "sheddable", 100) == 0
    filled(shedder, 70)
    assert admitted(shedder, "sheddable", 100) == 100
    filled(shedder, 71)
    assert admitted(shedder, "sheddable", 100) > 50


def test_two_priorities_are_enough_and_many_are_fine() -> None:
    two = filled(LoadShedder(10, itself, ("users", "jobs"), reserve=0.2), 8)
    assert (admitted(two, "users"), admitted(two, "jobs")) == (1, 0)
    many = filled(LoadShedder(100, itself, [str(n) for n in range(11)], start=0.5, reserve=0.0), 75)
    assert [admitted(many, str(n)) for n in range(11)] == [1] * 6 + [0] * 5


# --- where the priority comes from ---


def test_the_priority_is_a_function_of_the_arguments(world: World) -> None:
    def by_path(path: str, *, user: str = "") -> str:
        return "critical" if path == "/checkout" else "normal" if user else "sheddable"

    shedder = filled(LoadShedder(100, by_path), 80)
    operation = world.operation("answer")
    assert world.run(shedder, operation, "/checkout").ok
    assert world.run(shedder, operation, "/", user="ada").ok
    assert not world.run(shedder, operation, "/").ok


def test_the_priority_may_be_a_context_variable(world: World) -> None:
    importance: ContextVar[str] = ContextVar("importance")
    shedder = filled(LoadShedder(100, importance), 80)
    operation = world.operation("answer")

    def told() -> Any:
        importance.set("critical")
        return world.run(shedder, operation)

    assert copy_context().run(told).ok
    unsaid = world.run(shedder, operation)
    assert isinstance(unsaid.error, errors.LoadShedError)
    assert unsaid.error.priority == "sheddable"


def test_a_member_of_an_enumeration_of_texts_is_a_priority() -> None:
    class Importance(enum.StrEnum):
        HIGH = "high"
        LOW = "low"

    shedder = filled(LoadShedder(10, lambda one: one, list(Importance)), 9)
    assert (admitted(shedder, Importance.HIGH), admitted(shedder, "low")) == (1, 0)
    assert shedder.rejected == {"high": 0, "low": 1}


@pytest.mark.parametrize("said", ["urgent", None, 3, []])
def test_an_unknown_priority_is_an_error_that_names_it(world: World, said: Any) -> None:
    shedder = filled(LoadShedder(10, lambda: said), 9)
    outcome = world.run(shedder, world.operation("answer"))
    assert isinstance(outcome.error, ValueError)
    assert f"must be one of critical, normal, sheddable, got {said!r}" in str(outcome.error)
    assert shedder.active == 9


def test_a_function_that_cannot_tell_the_priority_leaves_no_place_taken(world: World) -> None:
    def broken(*anything: Any) -> str:
        raise LookupError("who?")

    shedder = filled(LoadShedder(10, broken), 9)
    assert isinstance(world.run(shedder, world.operation("answer")).error, LookupError)
    assert shedder.active == 9


def test_the_priority_may_come_from_an_async_function_under_async_calls_only() -> None:
    async def look_it_up(who: str) -> str:
        await asyncio.sleep(1)
        return who

    shedder = filled(LoadShedder(10, look_it_up), 9)
    assert World(True).run(shedder, World(True).operation("answer"), "critical").ok
    refused = World(False).run(shedder, World(False).operation("answer"), "critical")
    assert isinstance(refused.error, TypeError)
    assert str(refused.error).startswith("look_it_up returned coroutine")


# --- another measure of the load ---


def test_another_measure_counts_where_it_is_higher(world: World) -> None:
    load = [0.0]
    shedder = LoadShedder(100, itself, load=lambda: load[0], load_every=0)
    operation = world.operation("answer")
    for load[0], admits in (0.5, [1, 1, 1]), (0.8, [1, 1, 0]), (0.9, [1, 0, 0]), (7.0, [1, 0, 0]), (-1.0, [1, 1, 1]):
        assert [world.run(shedder, operation, name).ok for name in NAMES] == [bool(one) for one in admits]


def test_it_is_asked_only_so_often_and_only_when_there_are_calls(world: World) -> None:
    asked: list[float] = []

    def load() -> float:
        asked.append(time.monotonic())
        return 0.0

    shedder = LoadShedder(100, itself, load=load, load_every=2)
    guarded = shedder(world.operation("answer"))
    together(world, *[(after, lambda: guarded("normal")) for after in (0, 0.5, 1, 1.9, 2, 2.5, 50, 51)])
    assert asked == [0, 2, 50]


@pytest.mark.parametrize("wrong", [RuntimeError("no"), math.nan, "much", None])
def test_what_is_no_load_is_logged_or_ignored_and_the_last_answer_holds(
    wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[Any] = [0.95, wrong]

    def load() -> float:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    shedder = LoadShedder(100, itself, load=load, load_every=0)
    assert admitted(shedder, "normal") == 0
    with caplog.at_level(logging.ERROR):
        assert admitted(shedder, "normal") == 0
    assert ("could not tell the load" in caplog.text) == (not isinstance(wrong, float))
    assert shedder.active == 0


def test_a_load_above_one_is_reported_once_and_the_last_answer_holds(caplog: pytest.LogCaptureFixture) -> None:
    answers = [0.95, 90, 0.1, 5, math.inf, 1]

    def percent() -> float:
        return answers.pop(0)

    shedder = LoadShedder(100, itself, load=percent, load_every=0)
    with caplog.at_level(logging.ERROR):
        assert [admitted(shedder, "normal") for _ in range(6)] == [0, 0, 1, 1, 1, 0]
    [record] = caplog.records
    assert "percent told a load of 90, which is no share from 0 to 1" in record.getMessage()
    assert "divide a percentage by 100" in record.getMessage()
    assert shedder.active == 0


def test_what_is_no_exception_passes_through_and_the_next_caller_goes_on() -> None:
    def load() -> float:
        raise KeyboardInterrupt

    shedder = LoadShedder(100, itself, load=load, load_every=100)
    with pytest.raises(KeyboardInterrupt):
        admitted(shedder, "normal")
    assert (admitted(shedder, "normal"), shedder.active) == (1, 0)


def test_no_lock_is_held_while_the_load_is_measured() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def load() -> float:
        inside.set()
        assert go_on.wait(10)
        return 0.0

    shedder = LoadShedder(100, itself, load=load)
    waiting = threading.Thread(target=admitted, args=(shedder, "normal"))
    waiting.start()
    assert inside.wait(10)
    assert admitted(shedder, "normal", 50) == 50
    go_on.set()
    waiting.join(10)


def test_a_load_that_is_an_awaitable_in_disguise_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def hidden() -> float:
        return 1.0

    shedder = LoadShedder(100, itself, load=lambda: hidden())  # type: ignore[arg-type, return-value]
    assert admitted(shedder, "sheddable") == 1
    assert "an awaitable" in caplog.text


def test_it_does_not_oscillate_where_shedding_itself_brings_the_load_down() -> None:
    # A processor that does a hundred calls a second, half again as many calls, and a load that is a second old.
    share, per_second = [0.0], list[int]()
    shedder = LoadShedder(10_000, itself, load=lambda: share[0], load_every=1)

    async def main() -> None:
        guarded = shedder(World(True).operation(1))
        for _ in range(120):
            made = 0
            for number in range(150):
                with contextlib.suppress(errors.LoadShedError):
                    made += await guarded(NAMES[number % 3])
                await asyncio.sleep(1 / 150)
            share[0] = 0.5 * share[0] + 0.5 * min(made / 100, 1.0)
            per_second.append(made)

    virtual.run(main())
    assert min(per_second[60:]) >= 50
    assert max(per_second[60:]) <= 110
    assert 75 <= sum(per_second[60:]) / 60 <= 100


def test_it_takes_the_load_of_an_adaptive_limit_behind_it(world: World) -> None:
    limit = AdaptiveLimit(10)
    shedder = LoadShedder(1000, itself, load=lambda: limit.active / limit.limit, load_every=0)
    stack, slow = shedder >> limit, world.operation("answer", takes=10)
    found = together(
        world,
        *[(0, lambda: stack.outcome(slow, "normal"))] * 8,
        (1, lambda: stack.outcome(slow, "sheddable")),
        (2, lambda: stack.outcome(slow, "normal")),
        (3, lambda: stack.outcome(slow, "normal")),
        (4, lambda: stack.outcome(slow, "critical")),
    )
    assert [one.ok for one in found[8:]] == [False, True, False, True]


# --- what a caller sees ---


@pytest.mark.parametrize("outcome", ["answer", None, 0, ValueError("mine")])
def test_whatever_comes_out_is_passed_on_and_its_place_is_free_again(world: World, outcome: Any) -> None:
    shedder = LoadShedder(1, itself)
    got = world.run(shedder, world.operation(outcome), "normal")
    assert (got.error if isinstance(outcome, Exception) else got.value) is outcome
    assert shedder.active == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_and_frees_the_place_too(world: World, error: type[BaseException]) -> None:
    shedder = LoadShedder(1, itself)
    with pytest.raises(error):
        world.run(shedder, world.operation(error), "normal")
    assert shedder.active == 0


def test_a_retry_does_not_call_again_what_was_shed_and_a_fallback_answers(world: World) -> None:
    shedder = filled(LoadShedder(10, itself), 9)
    operation = world.operation("answer")
    outcome = world.run(Retry(5, backoff.Fixed(1)) >> shedder, operation, "sheddable")
    assert (type(outcome.error), outcome.elapsed, operation.log.calls) == (errors.LoadShedError, 0, [])
    assert world.run(Fallback(Fallback.value([])) >> shedder, operation, "sheddable").value == []
    assert shedder.rejected["sheddable"] == 2


def test_each_rejection_is_a_new_error_and_can_be_pickled() -> None:
    shedder = filled(LoadShedder(10, itself), 9)
    one, other = [shedder.outcome(itself, "normal").error for _ in range(2)]
    assert one is not other
    again = pickle.loads(pickle.dumps(one))
    assert (type(again), again.priority, str(again)) == (errors.LoadShedError, "normal", str(one))


def test_an_abandoned_call_keeps_its_place_until_it_really_ends() -> None:
    shedder = LoadShedder(1, itself)
    stack = Timeout(2) >> shedder
    slow = World(False).operation("answer", takes=10)
    with virtual.clock():
        assert isinstance(stack.outcome(slow, "critical").error, errors.TimeoutExceeded)
        assert isinstance(stack.outcome(slow, "critical").error, errors.LoadShedError)
        time.sleep(9)
        assert shedder.active == 0


def test_a_changed_copy_shares_the_load_and_has_its_own_rules(world: World) -> None:
    shedder = LoadShedder(10, itself)
    small = shedder.replace(capacity=2, priorities=("critical", "sheddable"))
    slow = world.operation("answer", takes=10)
    together(world, (0, lambda: shedder.call(slow, "normal")), (0, lambda: shedder.call(slow, "normal")))
    filled(shedder, 2)
    assert (small.active, admitted(shedder, "sheddable"), admitted(small, "critical")) == (2, 1, 0)
    assert small.rejected == {"critical": 1, "sheddable": 0}


def test_errors_are_freed_without_the_garbage_collector(world: World) -> None:
    kept: list[weakref.ref[Any]] = []

    class Kept(Exception):
        def __init__(self, code: int, *, ticket: str = "") -> None:
            super().__init__(code)
            kept.append(weakref.ref(self))

    def fails(priority: str) -> None:
        raise Kept(3, ticket="x")

    guarded = filled(LoadShedder(10, itself), 9)(world.of(fails))

    def plain() -> None:
        for _ in range(3):
            with contextlib.suppress(Kept):
                guarded("critical")

    async def on_loop() -> None:
        for _ in range(3):
            try:
                await guarded("critical")
            except Kept:
                pass

    gc.collect()
    gc.disable()
    try:
        world.do(on_loop if world.asynchronous else plain)
        assert [one() for one in kept if one() is not None] == []
    finally:
        gc.enable()


@pytest.mark.parametrize("capacity", [8, 32])
def test_under_many_threads_no_place_is_lost_and_no_more_are_under_way_than_allowed(capacity: int) -> None:
    shedder = LoadShedder(capacity, itself, load=lambda: random.random(), load_every=0.001)
    lock, now, most = threading.Lock(), [0], [0]
    shed: dict[str, int] = dict.fromkeys(NAMES, 0)

    @shedder
    def plain(priority: str) -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.0001)
        with lock:
            now[0] -= 1

    def work(place: int, number: int) -> None:
        try:
            plain(NAMES[number % 3])
        except errors.LoadShedError as error:
            with lock:
                shed[str(error.priority)] += 1

    hammer(work, seconds=0.3)
    assert most[0] <= capacity
    assert (now[0], shedder.active) == (0, 0)
    assert shedder.rejected == shed
    assert (shed["critical"] == 0) == (capacity == 32)  # that is as many as there are threads
    assert shed["sheddable"] > 0


# --- what it is made of ---


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"capacity": 0}, ValueError, "capacity must be at least 1, got 0"),
        ({"capacity": 1.5}, TypeError, "capacity must be a whole number, got 1.5"),
        ({"priority": "normal"}, TypeError, "priority must be a function of the call's arguments or a ContextVar"),
        ({"priorities": "abc"}, TypeError, "priorities must be names, the most important first, got 'abc'"),
        ({"priorities": [1, 2]}, TypeError, r"priorities must be names, the most important first, got \[1, 2\]"),
        ({"priorities": ["a"]}, ValueError, r"priorities must be two different names or more, got \['a'\]"),
        ({"priorities": ["a", "a"]}, ValueError, r"priorities must be two different names or more"),
        ({"start": 1}, ValueError, "start must be a share of at least 0 and below 1, got 1"),
        ({"start": "0"}, TypeError, "start must be a number, got '0'"),
        ({"reserve": -0.1}, ValueError, "reserve must be a share of at least 0 and below 1, got -0.1"),
        ({"start": 0.7, "reserve": 0.3}, ValueError, "start must be below what is not reserved, 0.7, got 0.7"),
        ({"load": 0.5}, TypeError, "load must be a plain function that gives a number from 0 to 1, got 0.5"),
        ({"load": World(True).operation()}, TypeError, "load must be a plain function"),
        ({"load_every": -1}, ValueError, "load_every must be a number of seconds that is not negative, got -1"),
        ({"name": 3}, TypeError, "name must be a text, got 3"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LoadShedder(**{"capacity": 10, "priority": itself, **arguments})


def test_its_name_is_its_label() -> None:
    assert LoadShedder(10, itself, name="web").label == "LoadShedder web"
    assert repr(LoadShedder(10, ContextVar("importance"))) == "LoadShedder(10, priority=importance)"
    assert repr(LoadShedder(10, itself, start=0.5)) == "LoadShedder(10, priority=itself, start=0.5)"


# --- explored ---


def test_the_explorer_sees_who_is_shed_at_which_load() -> None:
    found = [str(path) for path in explore(LoadShedder(100, itself), outcomes=("ok",)).paths]
    shed = "rejected ({0} calls are shed) -> raise LoadShedError after 0 s"
    passes = "operation -> return after 0 s"
    assert found == [
        f"LoadShedder? calm -> {passes}",
        f"LoadShedder? busy -> priority? critical -> {passes}",
        f"LoadShedder? busy -> priority? normal -> {passes}",
        f"LoadShedder? busy -> priority? sheddable -> {shed.format('sheddable')}",
        f"LoadShedder? overloaded -> priority? critical -> {passes}",
        f"LoadShedder? overloaded -> priority? normal -> {shed.format('normal')}",
        f"LoadShedder? overloaded -> priority? sheddable -> {shed.format('sheddable')}",
        f"LoadShedder? full -> priority? critical -> {shed.format('critical')}",
        f"LoadShedder? full -> priority? normal -> {shed.format('normal')}",
        f"LoadShedder? full -> priority? sheddable -> {shed.format('sheddable')}",
    ]


def test_the_explorer_measures_nothing_and_asks_nobody() -> None:
    asked: list[Any] = []  # an error would only be logged

    def note(*anything: Any) -> Any:
        asked.append(anything)

    shedder = LoadShedder(10, note, ("users", "jobs"), load=note)
    assert len(explore(shedder, outcomes=("ok",)).paths) == 5
    assert asked == []


def test_what_the_explorer_says_is_what_happens(world: World) -> None:
    for path in explore(LoadShedder(100, itself), outcomes=("ok",)).paths:
        shedder = LoadShedder(100, itself)
        said = {choice.subject: choice.option for choice in path.choices}
        shedder._live = shedder.situations()[said["LoadShedder"]]()
        real = world.run(shedder, world.operation("answer"), said.get("priority", "normal"))
        assert [str(event) for event in real.events] == [str(event) for event in path.events]
        assert (type(real.error), str(real.error)) == (type(path.error), str(path.error))


def test_its_state_machine_is_that_of_its_load() -> None:
    assert transitions(LoadShedder(100, itself), "LoadShedder") == [
        "start -> calm",
        "calm -> 71 calls under way -> busy",
        "busy -> 19 more calls under way -> overloaded",
        "busy -> a call ends -> calm",
        "overloaded -> 10 more calls under way -> full",
        "overloaded -> a call ends -> busy",
        "full -> a call ends -> overloaded",
    ]
    assert transitions(LoadShedder(10, itself, ("users", "jobs")), "LoadShedder") == [
        "start -> calm",
        "calm -> 8 calls under way -> overloaded",
        "overloaded -> 2 more calls under way -> full",
        "overloaded -> a call ends -> calm",
        "full -> a call ends -> overloaded",
    ]


def test_what_was_shut_out_shows_in_its_situation() -> None:
    shedder = filled(LoadShedder(100, itself), 95)
    admitted(shedder, "normal")
    work = shedder.live_state()
    assert [shedder.situation(filled(shedder, n).live_state(), 0.0) for n in (85, 80, 70, 100)] == [
        "overloaded",
        "busy",
        "calm",
        "full",
    ]
    assert work.closed == 2
    assert module._Pinned(1).parts(shedder) == 1
