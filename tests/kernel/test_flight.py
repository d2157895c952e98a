"""One caller does the work, the others wait for it; however that one ends, they wait no longer."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextvars import copy_context
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import Policy, Timeout, errors, virtual
from failwell.derive import Call
from failwell.flight import Flight, Flights
from failwell.runtime import Abandoned, Runtime, Signal
from tests.kernel.world import Hang, World


class Once(Policy):
    """All who ask for one thing at a time share one call."""

    async def run(self, call: Call, rt: Runtime) -> Any:
        flights: Flights[Any] = rt.state
        flight, leads = flights.join(call.args, "first")
        if flight.is_own:
            return await call()
        while not leads:
            await rt.wait(flight.landed)
            if flight.answer is not None:
                return flight.answer
            if flight.error is not None:
                raise flight.error.with_traceback(flight.traceback)
            flight, leads = flights.join(call.args, "again")
        with flights.leading(flight, rt):
            try:
                flight.answer = await call()
            except LookupError as error:
                flight.fail(error)
                raise
            return flight.answer

    def situations(self) -> Mapping[str, Callable[[], Any]]:
        return {"ready": Flights}


def together(world: World, *steps: tuple[float, Callable[[], Any]]) -> list[Any]:
    """Do things of a world, each at its own moment, in tasks or threads; what each gave or raised, and when."""
    found: list[Any] = [None] * len(steps)

    def note(place: int, what: Any) -> None:
        found[place] = what, time.monotonic()

    async def in_task(place: int, start: float, step: Callable[[], Any]) -> None:
        await asyncio.sleep(start)
        try:
            note(place, await step())
        except Exception as error:
            note(place, error)

    def in_thread(place: int, start: float, step: Callable[[], Any]) -> None:
        time.sleep(start)
        try:
            note(place, step())
        except Exception as error:
            note(place, error)

    async def all_tasks() -> None:
        await asyncio.gather(*(in_task(place, *step) for place, step in enumerate(steps)))

    def all_threads() -> None:
        for place, step in enumerate(steps):
            virtual.start_thread(functools.partial(in_thread, place, *step))
        time.sleep(1000)

    world.do(all_tasks if world.asynchronous else all_threads)
    return found


def answers(found: list[Any]) -> list[Any]:
    return [what for what, _ in found]


# --- who gets what ---


def test_one_does_the_work_and_all_have_its_answer_at_once(world: World) -> None:
    operation = world.operation("answer", takes=5)
    once = Once()(operation)
    found = together(world, (0, once), (1, once), (2, once), (6, once))
    assert answers(found) == ["answer"] * 4
    begun = operation.log.times[0]
    assert [round(when - begun) for _, when in found] == [5, 5, 5, 11]
    assert len(operation.log.calls) == 2


def test_each_key_has_its_own(world: World) -> None:
    operation = world.operation("answer", takes=5)
    once = Once()(operation)
    together(world, (0, lambda: once(1)), (1, lambda: once(2)), (2, lambda: once(1)))
    assert [args for args, _ in operation.log.calls] == [(1,), (2,)]


def test_an_error_is_for_all_and_grows_no_longer_with_them(world: World) -> None:
    error = LookupError("none such")
    once = Once()(world.operation(error, takes=5))
    found = together(world, *[(float(start), once) for start in range(5)] * 6)
    assert all(one is error for one in answers(found))
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert len(frames) < 20
    assert frames[-1] == "end"  # and it still leads to where it was raised


def test_an_error_that_is_not_for_all_has_another_one_try(world: World) -> None:
    operation = world.operation(ValueError("mine"), "answer", takes=5)
    once = Once()(operation)
    found = together(world, (0, once), (1, once), (2, once))
    assert isinstance(found[0][0], ValueError)
    assert answers(found)[1:] == ["answer"] * 2
    assert len(operation.log.calls) == 2


# --- who leads goes ---


def test_when_the_one_who_leads_gives_up_another_one_leads_at_once(world: World) -> None:
    operation = world.operation(Hang, "answer", takes=1)
    once = Once()
    guarded, impatient = once(operation), (Timeout(3) >> once)(operation)
    found = together(world, (0, impatient), (1, guarded), (2, guarded))
    assert isinstance(found[0][0], errors.TimeoutExceeded)
    assert answers(found)[1:] == ["answer"] * 2
    begun = operation.log.times[0]
    assert [round(when - begun) for _, when in found] == [3, 4, 4]
    assert len(operation.log.calls) == 2
    assert once.live_state().under_way == {}


def test_one_who_waits_and_goes_disturbs_nobody(world: World) -> None:
    operation = world.operation("answer", takes=5)
    once = Once()
    found = together(world, (0, once(operation)), (1, (Timeout(2) >> once)(operation)), (2, once(operation)))
    assert isinstance(found[1][0], errors.TimeoutExceeded)
    assert (found[0][0], found[2][0], len(operation.log.calls)) == ("answer", "answer", 1)


def test_who_waited_knows_that_it_leads_again(world: World) -> None:
    notes: list[Any] = []
    once = Once()

    def work() -> str:
        flight = once.live_state().under_way[()]
        notes.append((flight.note, flight.is_own, flight.key))
        if len(notes) == 1:
            raise ValueError
        return "answer"

    guarded = once(world.operation(work, takes=5))
    together(world, (0, guarded), (1, guarded))
    assert notes == [("first", True, ()), ("again", True, ())]


class Slow(Policy):
    """Takes its time before it leads, so that its thread is abandoned by then."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def run(self, call: Call, rt: Runtime) -> Any:
        flights: Flights[Any] = rt.state
        flight, leads = flights.join()
        assert leads
        await rt.decide("slowly", (None,), time.sleep, self.seconds)
        with flights.leading(flight, rt):
            return await call()

    def situations(self) -> Mapping[str, Callable[[], Any]]:
        return {"ready": Flights}


def test_who_is_abandoned_before_it_leads_keeps_nobody_waiting() -> None:
    operation = World(asynchronous=False).operation("answer")
    slow = Slow(3)
    with virtual.clock():
        assert isinstance((Timeout(2) >> slow).outcome(operation).error, errors.TimeoutExceeded)
        flight = slow.live_state().under_way[None]
        time.sleep(2)
        assert flight.landed.is_set
        assert slow.live_state().under_way == {}
    assert operation.log.calls == []


class Lease:
    """What a thread works under that may be abandoned at any moment."""

    def __init__(self) -> None:
        self.ended = Signal()


class InThread:
    """A runtime that says what its thread works under."""

    def __init__(self, lease: Lease | None) -> None:
        self._lease = lease

    def lease(self) -> Lease | None:
        return self._lease


def test_who_is_abandoned_while_it_leads_lands_at_that_moment() -> None:
    flights, lease = Flights[str](), Lease()
    flight, _ = flights.join("key")
    with flights.leading(flight, InThread(lease)):
        assert not flight.landed.is_set
        lease.ended.set()
        assert flight.landed.is_set
        other, leads = flights.join("key")
        assert leads
        assert other is not flight
    assert flights.under_way["key"] is other  # what was abandoned takes nobody else's place away


def test_who_is_abandoned_just_as_it_begins_to_lead_lands_at_once() -> None:
    flights, lease = Flights[str](), Lease()
    lease.ended.set()
    flight, _ = flights.join()
    with flights.leading(flight, InThread(lease)):
        assert flight.landed.is_set
        assert flights.under_way == {}


def test_a_lease_is_not_troubled_with_what_landed_before_it_ended() -> None:
    flights, lease = Flights[str](), Lease()
    for _ in range(3):
        flight, _ = flights.join()
        with flights.leading(flight, InThread(lease)):
            pass
    assert lease.ended._wakers == {}  # pyright: ignore[reportPrivateUsage]


def test_who_stays_whatever_happens_needs_no_runtime() -> None:
    flights = Flights[str]()
    flight, _ = flights.join()
    with pytest.raises(KeyboardInterrupt), flights.leading(flight, None):
        assert flight.is_own
        raise KeyboardInterrupt
    assert flight.landed.is_set
    assert not flight.is_own


def test_a_coroutine_that_is_closed_from_elsewhere_lands_as_well() -> None:
    async def hang() -> None:
        await asyncio.sleep(0)

    once = Once()
    work = cast("Any", once(hang)())
    copy_context().run(work.send, None)
    flight = once.live_state().under_way[()]
    copy_context().run(work.close)
    assert flight.landed.is_set
    assert once.live_state().under_way == {}


# --- inside of the work ---


def test_who_is_inside_of_the_work_does_not_wait_for_it(world: World) -> None:
    depth: list[int] = []

    def bottom() -> Any:
        depth.append(1)
        return "bottom" if len(depth) == 3 else guarded()

    async def bottom_async() -> Any:
        depth.append(1)
        return "bottom" if len(depth) == 3 else await guarded()

    guarded: Any = Once()(bottom_async if world.asynchronous else bottom)
    assert world.do(guarded) == "bottom"
    assert len(depth) == 3


def test_only_the_work_itself_is_inside(world: World) -> None:
    flights = Flights[str]()
    outer, _ = flights.join("outer")
    inner, _ = flights.join("inner")
    with flights.leading(outer, None):
        assert (outer.is_own, inner.is_own) == (True, False)
        with flights.leading(inner, None):
            assert (outer.is_own, inner.is_own) == (True, True)
            seen: list[bool] = []
            stranger = threading.Thread(target=lambda: seen.append(outer.is_own))
            stranger.start()
            stranger.join()
            assert seen == [False]
        assert (outer.is_own, inner.is_own) == (True, False)


# --- what can be joined ---


def test_what_is_forgotten_is_joined_by_nobody_and_still_lands() -> None:
    flights = Flights[str]()
    first, _ = flights.join("a")
    other, _ = flights.join("b")
    assert flights.join("a") == (first, False)
    flights.forget("a")
    flights.forget("never there")
    assert flights.join("b") == (other, False)
    second, leads = flights.join("a", "anew")
    assert (leads, second is first, second.note, first.note) == (True, False, "anew", None)
    with flights.leading(first, None):
        pass
    assert first.landed.is_set
    assert flights.under_way["a"] is second
    flights.forget_all()
    assert flights.under_way == {}


def test_what_is_closed_is_joined_by_nobody_and_has_not_landed() -> None:
    flights = Flights[str]()
    first, _ = flights.join()
    flights.close(Flight())
    assert flights.under_way[None] is first
    flights.close(first)
    assert flights.under_way == {}
    assert not first.landed.is_set


def test_a_flight_may_land_in_a_thread_that_holds_the_lock() -> None:
    """As one does whose coroutine the garbage collector closes, at any moment."""
    flights = Flights[str]()
    flight, _ = flights.join()
    with flights.lock, flights.leading(flight, None):
        pass
    assert flight.landed.is_set


# --- many at once ---


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 12)), max_size=6))
def test_whoever_is_cancelled_whenever_all_others_get_an_answer(cancellations: list[tuple[int, int]]) -> None:
    async def main() -> None:
        at_once: list[int] = []

        async def work() -> str:
            at_once.append(1)
            assert len(at_once) == 1
            try:
                for _ in range(3):
                    await asyncio.sleep(0)
            finally:
                at_once.pop()
            return "answer"

        once = Once()
        guarded = once(work)
        tasks = [asyncio.ensure_future(guarded()) for _ in range(6)]
        for turn in range(13):
            for who, when in cancellations:
                if when == turn:
                    tasks[who].cancel()
            await asyncio.sleep(0)
        found = await asyncio.gather(*tasks, return_exceptions=True)
        gone = {who for who, _ in cancellations}
        assert all(one == "answer" for who, one in enumerate(found) if who not in gone)
        assert once.live_state().under_way == {}

    virtual.run(main())


def test_threads_and_loops_share_one_call() -> None:
    once, at_once, most, made = Once(), [0], [0], [0]
    lock = threading.Lock()

    def work() -> str:
        with lock:
            at_once[0] += 1
            made[0] += 1
            most[0] = max(most[0], at_once[0])
        time.sleep(0.0005)
        with lock:
            at_once[0] -= 1
        return "answer"

    async def work_async() -> str:
        return work()

    plain, loops = once(work), once(work_async)
    got: list[Any] = []

    def in_thread() -> None:
        got.extend(plain() for _ in range(50))

    async def in_loop() -> None:
        for _ in range(50):
            got.extend(await asyncio.gather(loops(), loops()))

    threads = [threading.Thread(target=in_thread) for _ in range(8)]
    threads += [threading.Thread(target=lambda: asyncio.run(in_loop())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert got == ["answer"] * 800
    assert most == [1]
    assert made[0] < 800
    assert once.live_state().under_way == {}


def test_an_abandoned_thread_starts_nothing_when_it_would_lead() -> None:
    """It is not given the work of the one who gave up: nobody waits for its answer."""
    operation = World(asynchronous=False).operation(Hang, "late")
    once = Once()
    ended: list[type[BaseException]] = []

    def waits() -> Any:
        try:
            return once(operation)()
        except Abandoned as gone:
            ended.append(type(gone))
            raise

    with virtual.clock():
        found = together_in(
            (0, lambda: (Timeout(3) >> once).outcome(operation)), (1, lambda: Timeout(1).outcome(waits))
        )
        assert all(isinstance(one.error, errors.TimeoutExceeded) for one in found)
    assert (ended, len(operation.log.calls)) == ([Abandoned], 1)


def together_in(*steps: tuple[float, Callable[[], Any]]) -> list[Any]:
    """Do things in threads of the virtual time that runs already."""
    found: list[Any] = []

    def do(start: float, step: Callable[[], Any]) -> None:
        time.sleep(start)
        found.append(step())

    for one in steps:
        virtual.start_thread(functools.partial(do, *one))
    time.sleep(100)
    return found
