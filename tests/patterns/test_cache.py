from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import Cache, Fallback, Retry, Timeout, errors, listening, virtual
from failwell.events import CacheHit, CacheStored, Event, StaleServed
from failwell.patterns.cache import Entry
from tests.kernel.world import Hang, World, kinds


class Fresh:
    """An operation's answer that is never equal to another one."""


def called(world: World, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a function of a world and wait for it."""
    return world.do(lambda: function(*args, **kwargs))


def in_turn(world: World, *steps: Callable[[], Any] | float) -> list[Any]:
    """Do things of a world one after the other, in one virtual time; a number is a wait. The results or errors."""
    found: list[Any] = []

    def plainly() -> None:
        for step in steps:
            try:
                found.append(time.sleep(step) if isinstance(step, (int, float)) else step())
            except Exception as error:
                found.append(error)

    async def main() -> None:
        for step in steps:
            try:
                found.append(await (asyncio.sleep(step) if isinstance(step, (int, float)) else step()))
            except Exception as error:
                found.append(error)

    if world.asynchronous:
        virtual.run(main())
    else:
        with virtual.clock():
            plainly()
    return [one for one, step in zip(found, steps, strict=True) if not isinstance(step, (int, float))]


# --- answers ---


@pytest.mark.parametrize("stale_on", [errors.transient, ConnectionError, (ConnectionError, OSError)])
def test_a_stale_answer_stands_in_only_for_the_errors_it_may_hide(world: World, stale_on: Any) -> None:
    operation = world.operation("old", ConnectionError("reset"), LookupError("no such page"))
    cached = Cache(0, stale_if_error=60, stale_on=stale_on)(operation)
    first, hidden, shown = in_turn(world, cached, cached, cached)
    assert (first, hidden, str(shown)) == ("old", "old", "no such page")


def test_what_may_be_hidden_is_checked_when_the_cache_is_made() -> None:
    with pytest.raises(TypeError, match="stale_on"):
        Cache(1, stale_on="ConnectionError")  # type: ignore[arg-type]


def test_an_answer_is_given_again_until_its_time_is_over(world: World) -> None:
    operation = world.operation("first", "second")
    cached = Cache(10)(operation)
    answers = in_turn(world, cached, 9.5, cached, 0.5, cached, cached)
    assert answers == ["first", "first", "second", "second"]
    assert operation.log.times == [0, 10]


def test_what_happens_is_reported(world: World) -> None:
    cache, operation = Cache(10), world.operation("answer")
    first, second = in_turn(world, lambda: cache.outcome(operation), 4, lambda: cache.outcome(operation))
    assert kinds(first) == ["CacheMiss", "CacheStored"]
    stored = first.events[-1]
    assert (stored.ttl, stored.degraded, stored.layer) == (10, False, "Cache")
    [hit] = second.events
    assert isinstance(hit, CacheHit)
    assert (hit.age, hit.time, second.degraded) == (4, 4, False)


def test_errors_are_never_kept(world: World) -> None:
    operation = world.operation(ValueError("first"), "second")
    cached = Cache(10)(operation)
    error, answer = in_turn(world, cached, cached)
    assert (str(error), answer) == ("first", "second")


def test_none_is_an_answer_too(world: World) -> None:
    operation = world.operation(None)
    cached = Cache(10)(operation)
    assert in_turn(world, cached, cached) == [None, None]
    assert len(operation.log.calls) == 1


# --- keys ---


class Point(NamedTuple):
    x: float
    y: float


class Same(tuple[Any, ...]):
    __slots__ = ()


DIFFERENT: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((1,), {}),
    ((1.0,), {}),
    ((True,), {}),
    (("1",), {}),
    ((b"1",), {}),
    ((None,), {}),
    (((1,),), {}),
    (((1.0,),), {}),
    (((True,),), {}),
    ((((1,),),), {}),
    ((((1.0,),),), {}),
    ((Same([1]),), {}),
    ((Point(1, 2),), {}),
    ((Point(1, 2.0),), {}),
    (((1, 2),), {}),
    ((frozenset([1]),), {}),
    ((frozenset([1.0]),), {}),
    ((1, 2), {}),
    ((1, 2.0), {}),
    ((1, (2,)), {}),
    ((1, (2.0,)), {}),
    ((), {"a": 1}),
    ((), {"a": 1.0}),
    ((), {"a": (1,)}),
    ((), {"a": (True,)}),
    ((("a", 1),), {}),
    ((1,), {"a": 1}),
    ((int, 1), {}),
    ((int,), {}),
]


def test_arguments_that_differ_in_value_or_type_have_answers_of_their_own(world: World) -> None:
    operation = world.operation(Fresh)
    cached = Cache(60)(operation)
    both = [lambda a=args, k=kwargs: cached(*a, **k) for args, kwargs in DIFFERENT] * 2
    answers = in_turn(world, *both)
    assert len(set(answers)) == len(DIFFERENT) == len(operation.log.calls)
    assert answers[: len(DIFFERENT)] == answers[len(DIFFERENT) :]


@given(st.lists(st.recursive(st.integers(0, 1) | st.booleans() | st.floats(0, 1), st.lists, max_leaves=4), max_size=3))
def test_calls_share_an_answer_exactly_if_they_look_the_same(values: list[Any]) -> None:
    def frozen(value: Any) -> Any:
        return tuple(map(frozen, value)) if isinstance(value, list) else value

    cached = Cache(60)(lambda *args: repr(args))
    args = frozen(values)
    one = frozen([int(v) if not isinstance(v, list) else v for v in values])
    assert cached(*args) == repr(args)
    assert cached(*one) == repr(one)
    assert cached(*args) == repr(args)


def test_the_order_of_named_arguments_does_not_matter(world: World) -> None:
    operation = world.operation(Fresh)
    cached = Cache(60)(operation)
    one, other = in_turn(world, lambda: cached(a=1, b=2), lambda: cached(b=2, a=1))
    assert one is other


def test_functions_do_not_share_answers_though_they_share_a_cache(world: World) -> None:
    cache = Cache(60)
    one, other = cache(world.operation("one")), cache(world.operation("other"))
    assert in_turn(world, one, other, one) == ["one", "other", "one"]


def test_two_objects_of_a_class_do_not_share_answers(world: World) -> None:
    load = world.operation(Fresh)

    class Client:
        fetch = Cache(60)(load)

    mine, yours = Client(), Client()
    first, other, again = in_turn(world, lambda: mine.fetch(), lambda: yours.fetch(), lambda: mine.fetch())
    assert first is again
    assert first is not other


def test_an_argument_that_is_not_hashable_is_refused_with_a_hint(world: World) -> None:
    operation = world.operation("answer", name="fetch")
    cached = Cache(60)(operation)
    refused = in_turn(world, lambda: cached([1]), lambda: cached(1, a={}), lambda: cached(((1, []),)))
    assert [type(error) for error in refused] == [TypeError] * 3
    assert str(refused[0]) == (
        "an argument of fetch cannot be part of a cache key: [1] is not hashable; "
        "give Cache(key=...) a function that makes a key from the arguments"
    )
    assert "{} is not hashable" in str(refused[1])
    assert operation.log.calls == []


def test_a_function_that_is_not_hashable_is_refused_too() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> int:
            return 1

    with pytest.raises(TypeError, match=r"the arguments of Unhashable cannot be a cache key: give Cache\(key=\.\.\.\)"):
        Cache(60)(Unhashable())()


def test_a_key_of_ones_own_decides_what_is_the_same(world: World) -> None:
    operation = world.operation("first", "second")
    cached = Cache(60, key=lambda query, *, verbose: query["id"])(operation)
    answers = in_turn(
        world,
        lambda: cached({"id": 1}, verbose=True),
        lambda: cached({"id": 1.0}, verbose=False),
        lambda: cached({"id": 2}, verbose=True),
    )
    assert answers == ["first", "first", "second"]


def test_a_key_that_is_not_hashable_is_refused(world: World) -> None:
    def by_list(value: Any) -> Any:
        return [value]

    [error] = in_turn(world, lambda: Cache(60, key=by_list)(world.operation(1, name="fetch"))(1))
    assert str(error) == "the key that by_list made for fetch is not hashable"


def test_a_key_function_that_fails_fails_the_call(world: World) -> None:
    def broken(value: Any) -> Any:
        raise LookupError("no key")

    operation = world.operation(1)
    [error] = in_turn(world, lambda: Cache(60, key=broken)(operation)(1))
    assert (str(error), operation.log.calls) == ("no key", [])


# --- stale answers ---


def test_when_the_operation_fails_an_older_answer_stands_in(world: World) -> None:
    cache, failure = Cache(10, stale_if_error=5), ValueError("down")
    operation = world.operation("old", failure)
    outcomes = in_turn(world, *[lambda: cache.outcome(operation), 12, lambda: cache.outcome(operation)])
    stale = outcomes[1]
    assert (stale.value, stale.degraded, stale.error) == ("old", True, None)
    assert kinds(stale) == ["CacheMiss", "StaleServed"]
    served = stale.events[-1]
    assert isinstance(served, StaleServed)
    assert (served.age, served.error) == (12, failure)


@pytest.mark.parametrize(("after", "expected"), [(10, "old"), (14.5, "old"), (15, "down"), (15.5, "down")])
def test_an_answer_may_stand_in_up_to_the_end_of_its_window(world: World, after: float, expected: str) -> None:
    cached = Cache(10, stale_if_error=5)(world.operation("old", ValueError("down")))
    assert str(in_turn(world, cached, after, cached)[1]) == expected


def test_the_window_counts_until_the_failure_not_until_the_call(world: World) -> None:
    operation = world.operation("old", ValueError("down"), takes=3)
    cached = Cache(10, stale_if_error=5)(operation)
    assert str(in_turn(world, cached, 11, cached)[1]) == "old"
    operation = world.operation("old", ValueError("down"), takes=3)
    assert str(in_turn(world, Cache(10, stale_if_error=5)(operation), 12, Cache(10)(operation))[1]) == "down"


def test_without_a_ttl_it_is_always_asked_and_answers_only_for_a_failure(world: World) -> None:
    operation = world.operation("one", "two", ValueError("down"), ValueError("down"))
    cached = Cache(0, stale_if_error=5)(operation)
    assert [str(answer) for answer in in_turn(world, cached, 1, cached, 1, cached, 4, cached)] == [
        "one",
        "two",
        "two",
        "down",
    ]


def test_with_neither_nothing_is_kept(world: World) -> None:
    cache, operation = Cache(0), world.operation(Fresh)
    outcomes = in_turn(world, lambda: cache.outcome(operation), lambda: cache.outcome(operation))
    assert [kinds(outcome) for outcome in outcomes] == [["CacheMiss"]] * 2
    assert len(operation.log.calls) == 2


def test_what_is_no_exception_is_not_answered(world: World) -> None:
    cached = Cache(1, stale_if_error=9)(world.operation("old", KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        in_turn(world, cached, 2, cached)


def test_an_awaitable_under_a_plain_call_is_no_failure_to_answer() -> None:
    async def late() -> None: ...

    answers = iter([1, late()])
    cached = Cache(1, stale_if_error=9)(lambda: next(answers))
    with virtual.clock():
        assert cached() == 1
        time.sleep(2)
        with pytest.raises(TypeError, match="returned coroutine, an awaitable"):
            cached()


# --- degraded answers ---


def test_a_degraded_answer_is_not_kept(world: World) -> None:
    stack = Cache(60) >> Fallback(Fallback.value("spare"))
    operation = world.operation(ValueError, "real")
    first, second, third = in_turn(world, *[lambda: stack.outcome(operation)] * 3)
    assert [(one.value, one.degraded) for one in (first, second, third)] == [
        ("spare", True),
        ("real", False),
        ("real", False),
    ]
    assert kinds(first) == ["CacheMiss", "FellBack"]


def test_unless_asked_for_and_then_it_counts_as_degraded_each_time(world: World) -> None:
    stack = Cache(60, degraded="store") >> Fallback(Fallback.value("spare"))
    operation = world.operation(ValueError, "real")
    first, second = in_turn(world, *[lambda: stack.outcome(operation)] * 2)
    assert [(one.value, one.degraded) for one in (first, second)] == [("spare", True)] * 2
    stored = first.events[-1]
    assert isinstance(stored, CacheStored)
    assert stored.degraded
    assert kinds(second) == ["CacheHit"]


# --- one call for many callers ---


def test_a_hundred_tasks_cause_one_call() -> None:
    async def main() -> None:
        calls: list[int] = []

        async def load(number: int) -> object:
            calls.append(number)
            await asyncio.sleep(1)
            return object()

        cached = Cache(60)(load)
        answers = await asyncio.gather(*(cached(number % 2) for number in range(100)))
        assert calls == [0, 1]
        assert len(set(answers)) == 2
        assert time.monotonic() == 1

    virtual.run(main())


def test_twenty_threads_cause_one_call() -> None:
    calls: list[int] = []

    def load() -> object:
        calls.append(1)
        time.sleep(0.02)
        return object()

    cached, answers = Cache(60)(load), list[object]()
    threads = [threading.Thread(target=lambda: answers.append(cached())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(calls), len(answers), len(set(answers))) == (1, 20, 1)


def test_tasks_of_several_loops_cause_one_call() -> None:
    calls: list[int] = []

    async def load() -> object:
        calls.append(1)
        await asyncio.sleep(0.05)
        return object()

    cached, answers = Cache(60)(load), list[object]()

    async def several() -> None:
        answers.extend(await asyncio.gather(*(cached() for _ in range(5))))

    threads = [threading.Thread(target=lambda: asyncio.run(several())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(calls), len(answers), len(set(answers))) == (1, 20, 1)


def test_without_single_flight_each_caller_asks() -> None:
    async def main() -> None:
        calls: list[int] = []

        async def load() -> None:
            calls.append(1)
            await asyncio.sleep(1)

        cached = Cache(60, single_flight=False)(load)
        await asyncio.gather(*(cached() for _ in range(5)))
        await cached()
        assert len(calls) == 5

    virtual.run(main())


def test_all_who_wait_get_the_error_of_the_one_call() -> None:
    async def main() -> None:
        failure = ValueError("down")

        async def load() -> None:
            await asyncio.sleep(1)
            raise failure

        cached = Cache(60)(load)
        found = await asyncio.gather(*(cached() for _ in range(20)), return_exceptions=True)
        assert all(one is failure for one in found)
        frames, entry = 0, failure.__traceback__
        while entry is not None:
            frames, entry = frames + 1, entry.tb_next
        assert frames < 10  # it does not grow with the number of callers

    virtual.run(main())


def test_all_who_wait_know_that_the_answer_is_degraded() -> None:
    async def main() -> None:
        async def load() -> None:
            await asyncio.sleep(1)
            raise ValueError

        stack = Cache(60) >> Fallback(Fallback.value("spare"))
        outcomes = await asyncio.gather(*(stack.outcome(load) for _ in range(5)))
        assert [(one.value, one.degraded) for one in outcomes] == [("spare", True)] * 5

    virtual.run(main())


@pytest.mark.parametrize("cancelled_at", [0.0, 0.5, 1.5])
@pytest.mark.parametrize("store", [False, True])
def test_when_the_one_who_asks_is_cancelled_another_takes_over(cancelled_at: float, store: bool) -> None:
    async def main() -> None:
        started: list[float] = []

        async def load() -> str:
            started.append(time.monotonic())
            await asyncio.sleep(1)
            await asyncio.sleep(1)
            return "answer"

        cached = Cache(60, store=SlowStore() if store else None)(load)
        leader, *others = [asyncio.create_task(cached()) for _ in range(5)]
        await asyncio.sleep(cancelled_at)
        if cancelled_at:
            leader.cancel()
        others[2].cancel()
        found = await asyncio.gather(leader, *others, return_exceptions=True)
        assert isinstance(found[3], asyncio.CancelledError)
        assert isinstance(found[0], asyncio.CancelledError) == bool(cancelled_at)
        assert [found[1], found[2], found[4]] == ["answer"] * 3
        assert len(started) <= 2
        assert len(asyncio.all_tasks()) == 1

    virtual.run(main())


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 8)), max_size=4))
def test_whoever_is_cancelled_whenever_the_others_get_their_answer(cancellations: list[tuple[int, int]]) -> None:
    async def main() -> None:
        async def load() -> str:
            for _ in range(3):
                await asyncio.sleep(0)
            return "answer"

        cached = Cache(60)(load)
        tasks = [asyncio.create_task(cached()) for _ in range(5)]
        for turn in range(9):
            for who, when in cancellations:
                if when == turn:
                    tasks[who].cancel()
            await asyncio.sleep(0)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(one == "answer" or isinstance(one, asyncio.CancelledError) for one in found)
        gone = {who for who, _ in cancellations}
        assert all(one == "answer" for who, one in enumerate(found) if who not in gone)
        assert cached.__failwell__.layers[0].live_state().under_way == {}

    virtual.run(main())


def test_when_a_thread_is_abandoned_another_takes_over_at_once() -> None:
    operation = World(asynchronous=False).operation(Hang, "answer")
    stack = Timeout(2) >> Cache(60)
    with virtual.clock():
        first = stack.outcome(operation)
        assert isinstance(first.error, errors.TimeoutExceeded)
        second = stack.outcome(operation)
        assert (second.value, second.elapsed) == ("answer", 0)


def test_an_abandoned_thread_keeps_nothing() -> None:
    operation = World(asynchronous=False).operation("late", "in time", takes=3)
    cache = Cache(60)
    with virtual.clock():
        assert (Timeout(2) >> cache).outcome(operation).error is not None
        time.sleep(5)  # it has come to its end by now
        assert cache.live_state().entries == {}
        assert cache.call(operation) == "in time"
        answer = (Timeout(4) >> cache >> Timeout(9)).outcome(operation, 1)
        assert (answer.value, len(cache.live_state().entries)) == ("in time", 2)


def test_a_thread_that_is_abandoned_before_its_call_keeps_nobody_waiting() -> None:
    def slowly(item: str) -> str:
        time.sleep(3)
        return item

    operation = World(asynchronous=False).operation("answer")
    cache = Cache(60, key=slowly)
    with virtual.clock():
        assert isinstance((Timeout(2) >> cache).outcome(operation, "item").error, errors.TimeoutExceeded)
        time.sleep(5)
        answer = (Timeout(4) >> cache).outcome(operation, "item")
        assert (answer.value, len(operation.log.calls)) == ("answer", 1)


def test_an_error_is_let_go_of_once_nobody_has_it(world: World) -> None:
    class Refused(ValueError):
        """One that can be watched."""

    kept: list[weakref.ref[Any]] = []

    def load() -> None:
        error = Refused("down")
        kept.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error  # or this very frame would keep it alive

    cached: Any = Cache(60)(world.of(load))

    def fail() -> Any:
        with suppress(ValueError):
            return cached()

    async def fail_async() -> None:
        with suppress(ValueError):
            await cached()

    gc.collect()
    gc.disable()
    try:
        world.do(fail_async if world.asynchronous else fail)
        assert kept[0]() is None
    finally:
        gc.enable()


def test_a_call_inside_of_its_own_call_does_not_wait_for_itself(world: World) -> None:
    depth: list[int] = []

    def load() -> Any:
        depth.append(1)
        return "bottom" if len(depth) == 3 else guarded()

    async def load_async() -> Any:
        depth.append(1)
        return "bottom" if len(depth) == 3 else await guarded()

    guarded: Any = Cache(60)(load_async if world.asynchronous else load)
    assert called(world, guarded) == "bottom"
    assert len(depth) == 3


def test_an_answer_that_came_between_look_and_turn_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    cached = Cache(60, degraded="store")(lambda: calls.append(1))
    memory = cached.__failwell__.layers[0].live_state()  # type: ignore[attr-defined]
    board = memory.board

    def late(key: Hashable, shares: bool) -> Any:  # what another thread may do meanwhile
        if not memory.entries:
            memory.entries[key] = Entry("theirs", time.monotonic(), time.monotonic() + 60, degraded=True)
        return board(key, shares)

    monkeypatch.setattr(memory, "board", late)
    assert (cached(), calls) == ("theirs", [])


# --- room ---


def test_room_is_made_by_what_was_not_used_lately(world: World) -> None:
    operation = world.operation(Fresh)
    cache = Cache(60, max_size=3)
    cached = cache(operation)
    in_turn(world, *[lambda n=n: cached(n) for n in (1, 2, 3, 1, 4, 1, 3, 4)])
    assert [args[0] for args, _ in operation.log.calls] == [1, 2, 3, 4]  # 2 made room for 4; 1 had been used
    assert len(cache.live_state().entries) == 3
    in_turn(world, lambda: cached(5), lambda: cached(2))
    assert len(cache.live_state().entries) == 3


def test_if_all_were_used_the_oldest_goes(world: World) -> None:
    operation = world.operation(Fresh)
    cached = Cache(60, max_size=2)(operation)
    in_turn(world, *[lambda n=n: cached(n) for n in (1, 2, 1, 2, 3, 2, 1)])
    assert [args[0] for args, _ in operation.log.calls] == [1, 2, 3, 1]


def test_a_changed_copy_shares_the_answers(world: World) -> None:
    operation = world.operation("first", "second")
    cache = Cache(60)
    small = cache.replace(max_size=1)
    in_turn(world, lambda: cache.call(operation, 1), lambda: small.call(operation, 1))
    assert len(operation.log.calls) == 1
    called(world, small(operation), 2)
    assert len(cache.live_state().entries) == 1


def test_a_smaller_copy_makes_room_for_itself(world: World) -> None:
    operation = world.operation(Fresh)
    cache = Cache(60)
    cached, small = cache(operation), cache.replace(max_size=2)(operation)
    in_turn(world, *[lambda n=n: cached(n) for n in range(5)], lambda: small(9))
    assert len(cache.live_state().entries) == 2
    in_turn(world, lambda: small(4), lambda: small(9))
    assert len(operation.log.calls) == 6


def test_the_age_of_an_answer_counts_from_when_it_was_stored(world: World) -> None:
    ages: list[tuple[str, float]] = []

    def hear(event: Event) -> None:
        if isinstance(event, (CacheHit, StaleServed)):
            ages.append((type(event).__name__, event.age))

    cached = Cache(5, stale_if_error=60)(world.operation("answer", ConnectionError))
    with listening(hear):
        in_turn(world, 100, lambda: cached(), 3, lambda: cached(), 4, lambda: cached())
    assert ages == [("CacheHit", 3), ("StaleServed", 7)]


def test_a_stale_answer_to_explore_with_is_as_old_as_its_time_to_live() -> None:
    stale = Cache(5, stale_if_error=60).situations()["stale"]().entries.get("whatever")
    assert stale is not None
    assert (stale.stored_at, stale.fresh_until) == (-5, 0)


# --- forgetting ---


def test_one_answer_can_be_forgotten_or_all(world: World) -> None:
    operation = world.operation(Fresh)
    cache = Cache(60)
    cached = cache(operation)
    in_turn(world, lambda: cached(1), lambda: cached(2))
    cache.forget(cached, 1)
    cache.forget(cached, 3)
    in_turn(world, lambda: cached(1), lambda: cached(2))
    assert [args for args, _ in operation.log.calls] == [(1,), (2,), (1,)]
    cache.forget(operation, 2)
    cache.forget(cached, 1)
    assert cache.live_state().entries == {}
    in_turn(world, lambda: cached(1))
    cache.clear()
    assert cache.live_state().entries == {}


def test_forgetting_uses_the_key_of_ones_own() -> None:
    cache = Cache(60, key=lambda query: query["id"])
    cached = cache(lambda query: Fresh())
    first = cached({"id": 1})
    cache.forget(cached, {"id": 1})
    assert cached({"id": 1}) is not first


def test_a_method_is_forgotten_for_its_object() -> None:
    cache = Cache(60)

    class Client:
        @cache
        def fetch(self) -> Fresh:
            return Fresh()

        def bare(self) -> Fresh:
            return Fresh()

    mine, yours = Client(), Client()
    before, other = mine.fetch(), yours.fetch()
    cache.forget(mine.fetch)
    assert mine.fetch() is not before
    assert yours.fetch() is other
    bound = cache(mine.bare)
    before = bound()
    assert bound() is before
    cache.forget(mine.bare)
    assert bound() is not before


@pytest.mark.parametrize("everything", [True, False])
def test_what_was_asked_before_forgetting_is_not_kept_after(everything: bool) -> None:
    async def main() -> None:
        answers = iter(["old", "new"])

        async def load() -> str:
            answer = next(answers)
            await asyncio.sleep(2)
            return answer

        cache = Cache(60)
        cached = cache(load)
        early = asyncio.create_task(cached())
        await asyncio.sleep(1)
        cache.clear() if everything else cache.forget(cached)
        late = asyncio.create_task(cached())
        assert await early == "old"
        assert cache.live_state().entries == {}
        assert await late == "new"
        assert await cached() == "new"

    virtual.run(main())


# --- stores ---


class Memory:
    """A store that works."""

    def __init__(self) -> None:
        self.kept: dict[Any, tuple[Entry, float]] = {}

    def get(self, key: Hashable) -> Entry | None:
        found = self.kept.get(key)
        return None if found is None else found[0]

    def set(self, key: Hashable, entry: Entry, seconds: float) -> None:
        self.kept[key] = entry, seconds


class SlowStore(Memory):
    async def get(self, key: Hashable) -> Entry | None:  # type: ignore[override]
        await asyncio.sleep(0.25)
        return super().get(key)

    async def set(self, key: Hashable, entry: Entry, seconds: float) -> None:  # type: ignore[override]
        await asyncio.sleep(0.25)
        super().set(key, entry, seconds)


class Broken:
    def get(self, key: Hashable) -> Any:
        raise ConnectionError("get")

    def set(self, key: Hashable, entry: Entry, seconds: float) -> Any:
        raise ConnectionError("set")


class SlowlyBroken(Broken):
    async def get(self, key: Hashable) -> Any:
        await asyncio.sleep(1)
        raise ConnectionError("get")

    async def set(self, key: Hashable, entry: Entry, seconds: float) -> Any:
        await asyncio.sleep(1)
        raise ConnectionError("set")


def test_a_store_keeps_answers_instead_of_memory(world: World) -> None:
    store = SlowStore() if world.asynchronous else Memory()
    operation = world.operation("first", "second", ValueError)
    one, other = Cache(10, store=store), Cache(10, stale_if_error=20, store=store)
    answers = in_turn(
        world, lambda: one.call(operation), lambda: other.call(operation), 10, *[lambda: other.call(operation)] * 2
    )
    assert answers == ["first", "first", "second", "second"]
    assert one.live_state().entries == {}
    [(entry, seconds)] = store.kept.values()
    assert (entry.fresh_until - entry.stored_at, seconds) == (10, 30)
    assert in_turn(world, lambda: other.call(operation)) == ["second"]


def test_a_store_that_fails_is_done_without(world: World) -> None:
    cache = Cache(60, stale_if_error=60, store=SlowlyBroken() if world.asynchronous else Broken())
    outcome = world.run(cache, world.operation("answer"))
    assert outcome.unwrap() == "answer"
    assert kinds(outcome) == ["StoreFailed", "CacheMiss", "StoreFailed"]
    assert [str(getattr(event, "error", "")) for event in outcome.events] == ["get", "", "set"]
    assert isinstance(world.run(cache, world.operation(ValueError)).error, ValueError)


def test_an_async_store_under_a_plain_call_is_refused() -> None:
    cached = Cache(60, store=SlowStore())(lambda: 1)
    with pytest.raises(TypeError, match="get returned coroutine, an awaitable, under a plain call"):
        cached()

    class HalfAsync(Memory):
        set = SlowStore.set  # type: ignore[assignment]

    with pytest.raises(TypeError, match="set returned coroutine"):
        Cache(60, store=HalfAsync())(lambda: 1)()


# --- what it is made of ---


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"ttl": -1}, ValueError, "ttl must be a number of seconds that is not negative, got -1"),
        ({"ttl": float("nan")}, ValueError, "ttl must be a number of seconds that is not negative, got nan"),
        ({"ttl": "1"}, TypeError, "ttl must be a number, got '1'"),
        ({"ttl": True}, TypeError, "ttl must be a number, got True"),
        ({"ttl": 1, "stale_if_error": -2}, ValueError, "stale_if_error must be a number of seconds that is not"),
        ({"ttl": 1, "max_size": 0}, ValueError, "max_size must be at least 1, got 0"),
        ({"ttl": 1, "max_size": 1.5}, TypeError, "max_size must be a whole number, got 1.5"),
        ({"ttl": 1, "max_size": True}, TypeError, "max_size must be a whole number, got True"),
        ({"ttl": 1, "key": "id"}, TypeError, "key must be callable, got 'id'"),
        ({"ttl": 1, "degraded": "keep"}, ValueError, "degraded must be 'skip' or 'store', got 'keep'"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Cache(**arguments)


def test_situations_are_those_that_can_be() -> None:
    assert list(Cache(0).situations()) == ["miss"]
    assert list(Cache(1).situations()) == ["miss", "fresh"]
    assert list(Cache(1, stale_if_error=1).situations()) == ["miss", "fresh", "stale"]
    assert list(Cache(0, stale_if_error=1).situations()) == ["miss", "stale"]
    assert list(Cache(float("inf"), stale_if_error=1).situations()) == ["miss", "fresh"]


def test_the_situation_is_that_of_the_answer_that_was_stored_last() -> None:
    cache = Cache(10, stale_if_error=5)
    memory = cache.live_state()
    assert cache.situation(memory, 0) == "miss"
    memory.entries["key"] = Entry("answer", 0.0, 10.0)
    assert [cache.situation(memory, now) for now in (9.9, 10, 14.9, 15)] == ["fresh", "stale", "stale", "miss"]


def test_a_prepared_situation_holds_one_answer_for_any_key() -> None:
    memory = Cache(60).situations()["fresh"]()
    flight, leads = memory.board("key", True)
    assert leads
    assert memory.set("key", flight, 1) is False  # it brought nothing
    flight.answer = Entry("new", 0, 1)
    assert memory.set("key", flight, 1)
    assert memory.entries.get("another") is flight.answer


def test_a_listener_hears_what_a_hit_is_worth(world: World) -> None:
    heard: list[Event] = []
    cached = Cache(60)(world.operation("answer"))
    with listening(heard.append):
        in_turn(world, cached, 2, cached)
    assert [type(event).__name__ for event in heard] == ["CacheMiss", "CacheStored", "CacheHit"]


def test_a_retry_outside_asks_again_and_keeps_what_it_got(world: World) -> None:
    stack = Retry(2) >> Cache(60)
    operation = world.operation(ConnectionError, "answer")
    assert world.run(stack, operation).unwrap() == "answer"
    assert world.run(stack, operation).unwrap() == "answer"
    assert len(operation.log.calls) == 2


@pytest.mark.parametrize(("name", "value"), [("store", 3), ("single_flight", "yes")])
def test_what_cannot_work_is_refused_when_the_cache_is_made(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(TypeError, match=name):
        Cache(1, **arguments)
