from __future__ import annotations

import asyncio
import contextlib
import math
import os
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import Bulkhead, Fallback, Outcome, Retry, Timeout, backoff, errors, explore, listening, virtual
from failwell.events import Event, Queued, Rejected
from failwell.flow.path import Answer
from failwell.patterns import bulkhead as module
from failwell.runtime import deadline
from tests.kernel.world import Hang, World, kinds


def together(world: World, *calls: tuple[float, Callable[[], Any]]) -> list[Any]:
    """Do things of a world at the same time, each after some seconds; the results or errors."""
    found: list[Any] = [None] * len(calls)

    def plainly(place: int, after: float, call: Callable[[], Any]) -> None:
        time.sleep(after)
        try:
            found[place] = call()
        except Exception as error:
            found[place] = error

    async def on_loop(after: float, call: Callable[[], Any]) -> Any:
        await asyncio.sleep(after)
        return await call()

    async def main() -> None:
        found[:] = await asyncio.gather(*(on_loop(*one) for one in calls), return_exceptions=True)

    def threads() -> None:
        for place, (after, call) in enumerate(calls):
            virtual.start_thread(lambda place=place, after=after, call=call: plainly(place, after, call))
        time.sleep(10_000)

    world.do(main if world.asynchronous else threads)
    return found


# --- what a caller sees ---


def test_as_many_calls_as_allowed_are_under_way_and_the_next_is_refused(world: World) -> None:
    bulkhead, operation = Bulkhead(2), world.operation("answer", takes=10)
    outcomes = together(world, *[(after, lambda: bulkhead.outcome(operation)) for after in (0, 1, 2, 10.5)])
    assert [one.ok for one in outcomes] == [True, True, False, True]
    refused = outcomes[2].error
    assert type(refused) is errors.BulkheadFullError
    assert str(refused) == "operation was not called: its bulkhead is full"
    [event] = outcomes[2].events
    assert isinstance(event, Rejected)
    assert (event.reason, event.retry_after, event.layer, outcomes[2].elapsed) == ("bulkhead full", None, "Bulkhead", 0)
    assert operation.log.times == [0, 1, 10.5]
    assert (bulkhead.active, bulkhead.queued, bulkhead.rejected) == (0, 0, 1)


def test_some_may_queue_and_are_served_in_the_order_of_arrival(world: World) -> None:
    bulkhead, operation = Bulkhead(1, max_queue=2), world.operation("answer", takes=10)
    guarded = bulkhead(operation)
    calls = [(after, lambda after=after: guarded(after)) for after in (0, 1, 2, 3)]
    found = together(world, *calls)
    assert [type(one) for one in found] == [str, str, str, errors.BulkheadFullError]
    assert [args for args, _ in operation.log.calls] == [(0,), (1,), (2,)]
    assert operation.log.times == [0, 10, 20]


def test_a_wait_in_the_queue_is_reported_and_so_is_one_that_was_too_long(world: World) -> None:
    bulkhead, operation = Bulkhead(1, 5, queue_timeout=8), world.operation("answer", takes=10)
    first, late, served = together(world, *[(after, lambda: bulkhead.outcome(operation)) for after in (0, 1, 3)])
    assert kinds(first) == []
    assert type(late.error) is errors.BulkheadTimeoutError
    assert str(late.error) == "operation was not called: it waited 8 s in the queue of its bulkhead"
    assert [(type(e), e.time) for e in late.events] == [(Queued, 1), (Rejected, 9)]
    assert (late.events[0].seconds, late.events[1].reason, late.elapsed) == (8, "too long in the queue", 8)
    assert (kinds(served), served.value, served.elapsed) == (["Queued"], "answer", 17)
    assert (bulkhead.active, bulkhead.queued, bulkhead.rejected) == (0, 0, 1)


def test_without_a_timeout_it_waits_for_as_long_as_it_takes(world: World) -> None:
    bulkhead, operation = Bulkhead(1, 1), world.operation("answer", takes=500)
    _, waited = together(world, *[(after, lambda: bulkhead.outcome(operation)) for after in (0, 1)])
    assert waited.elapsed == 999
    assert waited.events[0].seconds == math.inf


def test_nobody_queues_past_the_deadline_around_the_call(world: World) -> None:
    bulkhead, operation = Bulkhead(1, 1, queue_timeout=60), world.operation("answer", takes=10)

    def hurried() -> Any:
        deadline.set(time.monotonic() + 3)
        return bulkhead.outcome(operation)

    _, late = copy_context().run(together, world, (0, lambda: bulkhead.outcome(operation)), (1, hurried))
    assert isinstance(late.error, errors.BulkheadTimeoutError)
    assert late.elapsed == 3


def test_a_deadline_that_is_over_leaves_no_time_to_queue(world: World) -> None:
    bulkhead, operation = Bulkhead(1, 1), world.operation("answer", takes=10)

    def too_late() -> Any:
        deadline.set(time.monotonic() - 3)
        return bulkhead.outcome(operation)

    _, late = copy_context().run(together, world, (0, lambda: bulkhead.outcome(operation)), (1, too_late))
    assert (type(late.error), late.elapsed) == (errors.BulkheadTimeoutError, 0)
    assert str(late.error) == "operation was not called: it waited 0 s in the queue of its bulkhead"


@pytest.mark.parametrize("outcome", ["answer", ValueError("mine")])
def test_whatever_comes_out_is_passed_on_and_the_slot_is_free_again(world: World, outcome: Any) -> None:
    bulkhead = Bulkhead(1)
    got = world.run(bulkhead, world.operation(outcome), 1, key=2)
    assert (got.value, got.error) == ((outcome, None) if outcome == "answer" else (None, outcome))
    assert bulkhead.active == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_and_frees_the_slot_too(world: World, error: type[BaseException]) -> None:
    bulkhead = Bulkhead(1)
    with pytest.raises(error):
        world.run(bulkhead, world.operation(error))
    assert bulkhead.active == 0


def test_one_object_is_one_bulkhead_whatever_it_protects(world: World) -> None:
    bulkhead = Bulkhead(1)
    one, other = bulkhead(world.operation("one", takes=5)), bulkhead(world.operation("other"))
    found = together(world, (0, one), (1, other))
    assert (found[0], type(found[1])) == ("one", errors.BulkheadFullError)


def test_each_rejection_is_a_new_error(world: World) -> None:
    bulkhead = Bulkhead(1)
    guarded = bulkhead(world.operation("answer", takes=5))
    _, one, other = together(world, (0, guarded), (1, guarded), (2, guarded))
    assert isinstance(one, errors.BulkheadFullError)
    assert one is not other


def test_metrics_say_what_is_the_case_now(world: World) -> None:
    bulkhead, seen = Bulkhead(2, 1), list[tuple[int, int, int]]()
    guarded = bulkhead(world.operation("answer", takes=10))
    look = world.of(lambda: seen.append((bulkhead.active, bulkhead.queued, bulkhead.rejected)))
    together(world, (0, guarded), (1, guarded), (2, guarded), (3, guarded), (4, look), (15, look), (25, look))
    assert seen == [(2, 1, 1), (1, 0, 1), (0, 0, 1)]


def test_a_changed_copy_shares_the_slots_and_has_its_own_share_of_them(world: World) -> None:
    bulkhead = Bulkhead(4, 5)
    small = bulkhead.replace(max_concurrent=1)
    operation = world.operation("answer", takes=10)
    wide, narrow = bulkhead(operation), small(operation)
    together(world, (0, wide), (1, wide), (2, narrow), (3, wide))
    assert operation.log.times == [0, 1, 11, 11]  # the narrow one waits for both, and nobody gets in before it
    assert (bulkhead.active, small.active) == (0, 0)


def test_a_slot_that_becomes_free_serves_all_for_whom_there_is_room(world: World) -> None:
    wide = Bulkhead(3, 9)
    narrow = wide.replace(max_concurrent=1)
    operation = world.operation("answer", takes=10)
    together(world, (0, wide(operation)), (1, narrow(operation)), (2, wide(operation)), (3, wide(operation)))
    assert operation.log.times == [0, 10, 10, 10]


# --- under random interleavings ---


class Caller(NamedTuple):
    """A call: when it comes, how long it takes, when it is cancelled, how it ends."""

    comes: int
    takes: int
    cancelled_after: int | None
    fails: bool


callers = st.lists(
    st.builds(Caller, st.integers(0, 20), st.integers(0, 8), st.none() | st.integers(0, 12), st.booleans()),
    min_size=1,
    max_size=20,
).map(lambda calls: sorted(calls, key=lambda call: call.comes))


@settings(max_examples=300)
@given(
    room=st.integers(1, 3),
    queue=st.integers(0, 4),
    patience=st.none() | st.sampled_from([0.5, 3.25, 6.75]),
    calls=callers,
)
def test_slots_and_places_are_never_lost_or_given_twice(
    room: int, queue: int, patience: float | None, calls: list[Caller]
) -> None:
    bulkhead = Bulkhead(room, queue, patience if queue else None)
    under_way = most = 0
    started: dict[int, float] = {}

    async def operation(number: int) -> int:
        nonlocal under_way, most
        started[number] = time.monotonic()
        under_way += 1
        most = max(most, under_way)
        try:
            await asyncio.sleep(calls[number].takes)
        finally:
            under_way -= 1
        if calls[number].fails:
            raise ValueError(number)
        return number

    guarded = bulkhead(operation)
    ended: dict[int, str] = {}

    async def call(number: int) -> None:
        had_room = bulkhead.active < room
        had_place = bulkhead.queued < queue
        came = time.monotonic()
        try:
            assert await guarded(number) == number
            ended[number] = "answered"
        except ValueError:
            ended[number] = "failed"
        except errors.BulkheadTimeoutError:
            assert patience is not None
            assert time.monotonic() == came + patience
            assert not had_room
            ended[number] = "late"
        except errors.BulkheadFullError:
            assert not had_room
            assert not had_place
            assert time.monotonic() == came
            ended[number] = "full"
        except asyncio.CancelledError:
            ended[number] = "cancelled"
            raise
        finally:
            assert 0 <= bulkhead.active <= room
            assert bulkhead.queued <= queue
            # Nobody waits while there is a slot.
            assert bulkhead.active == room or bulkhead.queued == 0

    async def main() -> None:
        loop = asyncio.get_running_loop()
        tasks: list[asyncio.Task[None]] = []
        for number, one in enumerate(calls):
            await asyncio.sleep(one.comes - time.monotonic())
            tasks.append(asyncio.create_task(call(number)))
            if one.cancelled_after is not None:
                loop.call_later(one.cancelled_after, tasks[-1].cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            if not task.cancelled():
                task.result()

    virtual.run(main())
    assert most <= room
    in_order_of_arrival = [started[number] for number in sorted(started)]
    assert in_order_of_arrival == sorted(in_order_of_arrival)
    assert set(started) >= {number for number, how in ended.items() if how in ("answered", "failed")}
    assert not set(started) & {number for number, how in ended.items() if how in ("full", "late")}
    assert (bulkhead.active, bulkhead.queued) == (0, 0)
    assert bulkhead.rejected == sum(how in ("full", "late") for how in ended.values())


@pytest.mark.parametrize("who", ["holder", "waiter"])
def test_a_waiter_that_is_cancelled_in_the_moment_of_its_turn_passes_it_on(who: str) -> None:
    async def main() -> None:
        bulkhead, done = Bulkhead(1, 5), asyncio.Event()
        guarded = bulkhead(done.wait)
        holder, first, second = [asyncio.create_task(guarded()) for _ in range(3)]
        await asyncio.sleep(1)
        done.set()
        await asyncio.sleep(0)  # the holder goes on, and its end gives the slot to the first waiter ...
        if who == "holder":
            await asyncio.sleep(0)
        first.cancel()  # ... which is cancelled before it has seen that
        assert await holder
        assert await second
        assert first.cancelled() or await first
        assert (bulkhead.active, bulkhead.queued) == (0, 0)

    virtual.run(main())


def test_a_slot_that_comes_in_the_moment_in_which_patience_ends_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    bulkhead, operation = Bulkhead(1, 1, queue_timeout=5), World(False).operation("answer")
    slots = bulkhead.live_state()
    slots.enter(1, 1)
    withdraw: Callable[[Any], bool] = slots.withdraw

    def a_little_late(turn: Any) -> bool:  # what another thread may do meanwhile
        slots.leave(module._AT_ONCE)
        return withdraw(turn)

    monkeypatch.setattr(slots, "withdraw", a_little_late)
    with virtual.clock():
        outcome = bulkhead.outcome(operation)
    assert (outcome.value, outcome.elapsed, kinds(outcome)) == ("answer", 5, ["Queued"])
    assert (bulkhead.active, bulkhead.rejected) == (0, 0)


def test_an_abandoned_thread_leaves_the_queue_at_once() -> None:
    bulkhead, operation = Bulkhead(1, 5), World(False).operation("answer", takes=10)
    left, queued, served = together(
        World(False),
        (0, lambda: bulkhead.call(operation)),
        (1, lambda: (Timeout(2) >> bulkhead).outcome(operation)),
        (3.5, lambda: bulkhead.queued),
        (4, lambda: bulkhead.outcome(operation)),
    )[1:]
    assert (type(left.error), queued) == (errors.TimeoutExceeded, 0)
    assert (served.value, served.elapsed) == ("answer", 16)
    assert operation.log.times == [0, 10]


def test_an_abandoned_call_keeps_its_slot_until_it_really_ends() -> None:
    bulkhead, operation = Bulkhead(1), World(False).operation("answer", takes=10)
    stack = Timeout(2) >> bulkhead
    with virtual.clock():
        assert stack.outcome(operation).error is not None
        assert bulkhead.active == 1
        assert isinstance(stack.outcome(operation).error, errors.BulkheadFullError)
        time.sleep(9)
        assert bulkhead.active == 0


# --- threads and loops ---


def test_threads_and_loops_that_hammer_it_share_its_slots() -> None:
    bulkhead = Bulkhead(3, 1000)
    lock, now, most, answers = threading.Lock(), [0], [0], list[int]()

    def step(by: int) -> None:
        with lock:
            now[0] += by
            most[0] = max(most[0], now[0])

    @bulkhead
    def plain(number: int) -> int:
        step(1)
        time.sleep(0.0005)
        step(-1)
        return number

    @bulkhead
    async def on_loop(number: int) -> int:
        step(1)
        try:
            await asyncio.sleep(0.0005)
        finally:
            step(-1)
        return number

    async def several() -> None:
        calls = [asyncio.create_task(on_loop(number)) for number in range(40)]
        for call in calls[::4]:
            asyncio.get_running_loop().call_later(0.01, call.cancel)
        found = await asyncio.gather(*calls, return_exceptions=True)
        answers.extend(one for one in found if isinstance(one, int))

    threads = [threading.Thread(target=lambda: [answers.append(plain(n)) for n in range(40)]) for _ in range(8)]
    threads += [threading.Thread(target=lambda: asyncio.run(several())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most[0] <= 3
    assert 8 * 40 + 2 * 30 <= len(answers) <= 10 * 40
    assert now[0] == 0
    assert (bulkhead.active, bulkhead.queued, bulkhead.rejected) == (0, 0, 0)


# --- threads of its own ---


def test_plain_functions_run_in_so_many_threads_of_its_own() -> None:
    bulkhead = Bulkhead(threads=3, max_queue=100, name="database")
    used, callers = set[str](), set[str]()
    lock, now, most = threading.Lock(), [0], [0]

    def query(number: int) -> int:
        with lock:
            used.add(threading.current_thread().name)
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.002)
        with lock:
            now[0] -= 1
        return number

    guarded, answers = bulkhead(query), list[int]()
    threads = [threading.Thread(target=lambda n=n: answers.append(guarded(n))) for n in range(20)]
    for thread in threads:
        callers.add(thread.name)
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(20))
    assert used <= {"database-1", "database-2", "database-3"}
    assert most[0] <= 3
    assert (bulkhead.active, bulkhead.queued, bulkhead.rejected) == (0, 0, 0)


def test_no_more_calls_are_under_way_than_there_are_threads(world: World) -> None:
    bulkhead, operation = Bulkhead(10, threads=2), world.operation("answer", takes=5)
    found = together(world, *[(after, lambda: bulkhead.call(operation)) for after in (0, 1, 2)])
    assert found[:2] == ["answer", "answer"]
    assert isinstance(found[2], errors.BulkheadFullError)
    assert bulkhead.active == 0


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_its_threads_pass_on_what_they_raise_and_what_they_set(world: World, error: type[BaseException]) -> None:
    bulkhead, variable = Bulkhead(threads=1), ContextVar("variable", default="before")
    with pytest.raises(error, match="mine"):
        world.do(lambda: bulkhead.call(world.operation(error("mine"))))
    assert bulkhead.active == 0

    def operation() -> str:
        seen = variable.get()
        variable.set("after")
        return seen

    def check() -> Any:
        variable.set("during")
        return bulkhead.call(operation), variable.get()

    assert copy_context().run(check) == ("during", "after")


def test_what_is_inside_of_it_runs_there_too_and_is_heard() -> None:
    heard: list[Event] = []
    stack = Bulkhead(threads=1) >> Retry(2, backoff.Fixed(0)) >> Fallback(Fallback.value("poor"), on=KeyError)
    operation = World(False).operation(ConnectionError, KeyError)
    with listening(heard.append):
        outcome = stack.outcome(operation)
    assert (outcome.value, outcome.degraded) == ("poor", True)
    assert [type(event).__name__ for event in heard] == ["Attempt", "Waiting", "Attempt", "FellBack"]


def test_a_slot_is_taken_until_its_thread_is_done_though_the_caller_has_left() -> None:
    bulkhead, operation = Bulkhead(threads=1), World(False).operation("answer", takes=10)
    stack = Timeout(2) >> bulkhead
    with virtual.clock():
        outcome = stack.outcome(operation)
        assert (type(outcome.error), outcome.elapsed, bulkhead.active) == (errors.TimeoutExceeded, 2, 1)
        assert isinstance(stack.outcome(operation).error, errors.BulkheadFullError)
        time.sleep(9)
        assert bulkhead.active == 0
        assert Bulkhead(threads=1).outcome(operation).value == "answer"


def test_who_leaves_in_the_moment_in_which_its_thread_is_done_leaves_no_slot_taken() -> None:
    slots = Bulkhead(threads=1).live_state()
    job = module._Job(module._Pool(1, "quick"), slots)
    slots.ended(job)
    job.left()
    assert slots.active == 0


def test_nothing_new_starts_in_its_threads_when_the_caller_has_left() -> None:
    operation = World(False).operation(ConnectionError, "answer", takes=10)
    bulkhead = Bulkhead(threads=1)
    with virtual.clock():
        outcome = (Timeout(2) >> bulkhead >> Retry(2, backoff.Fixed(1))).outcome(operation)
        assert isinstance(outcome.error, errors.TimeoutExceeded)
        time.sleep(30)
    assert operation.log.times == [0]
    assert bulkhead.active == 0


def test_a_blocking_function_becomes_an_async_one_that_leaves_the_loop_free() -> None:
    bulkhead = Bulkhead(threads=2, max_queue=9)

    def query(number: int, *, unit: str) -> str:
        """Ask the old driver."""
        time.sleep(10)
        return f"{number} {unit}"

    ask = bulkhead.in_threads(query)

    async def main() -> None:
        async def tick() -> None:
            await asyncio.sleep(5)
            assert (time.monotonic(), bulkhead.active, bulkhead.queued) == (5, 2, 1)

        *answers, _ = await asyncio.gather(*(ask(n, unit="rows") for n in range(3)), tick())
        assert answers == ["0 rows", "1 rows", "2 rows"]
        assert (time.monotonic(), bulkhead.active) == (20, 0)

    virtual.run(main())
    assert (ask.__name__, ask.__doc__) == ("query", "Ask the old driver.")


def test_who_is_cancelled_goes_at_once_and_its_thread_keeps_the_slot() -> None:
    bulkhead = Bulkhead(threads=1)
    ask = bulkhead.in_threads(lambda: time.sleep(10))

    async def main() -> None:
        with contextlib.suppress(TimeoutError):
            await Timeout(2).call(ask)
        assert (time.monotonic(), bulkhead.active) == (2, 1)
        with pytest.raises(errors.BulkheadFullError):
            await ask()
        await asyncio.sleep(9)
        assert bulkhead.active == 0
        await ask()
        assert time.monotonic() == 21

    virtual.run(main())


def test_its_threads_are_used_again_and_end_when_they_had_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE", 0.02)
    guarded = Bulkhead(threads=2, name="brief")(threading.current_thread)
    first = guarded()
    assert guarded() is first
    assert (first.name, first.daemon) == ("brief-1", True)
    first.join(5)
    assert not first.is_alive()
    assert guarded() is not first


def test_a_thread_does_not_end_while_somebody_counts_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = module._Pool(1, "slow")
    monkeypatch.setattr(module, "_IDLE", 0.001)
    done = threading.Event()
    pool.start(lambda: None)
    with pool._lock:
        pool._busy += 1  # somebody has come, and has not yet handed over what is to be done
    time.sleep(0.02)
    pool._jobs.put(done.set)
    assert done.wait(5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads, from 3.12 on
def test_after_a_fork_it_has_threads_again_at_once() -> None:
    guarded = Bulkhead(8, threads=8)(time.sleep)
    _at_the_same_time(guarded)
    child = os.fork()
    if child == 0:
        started = time.monotonic()
        code = 1
        try:
            _at_the_same_time(guarded)
            code = 0 if time.monotonic() - started < 5 else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    _at_the_same_time(guarded)


def _at_the_same_time(guarded: Callable[[float], None]) -> None:
    ready = threading.Barrier(8)
    done: list[int] = []

    def call() -> None:
        ready.wait(5)
        guarded(0.05)
        done.append(1)

    threads = [threading.Thread(target=call, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(8)
    assert len(done) == 8


def test_a_thread_that_forks_belongs_to_the_bulkhead_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE", 0.05)
    bulkhead = Bulkhead(threads=1)

    def fork() -> threading.Thread:
        module._start_anew()  # as in the child
        return threading.current_thread()

    before = bulkhead.call(fork)
    before.join(5)
    assert not before.is_alive()
    assert bulkhead.call(threading.current_thread) is not before
    assert bulkhead.active == 0


def test_if_no_thread_can_be_started_the_slot_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    bulkhead = Bulkhead(threads=1)

    def refuse(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            bulkhead.call(int)
    assert (bulkhead.active, bulkhead.call(int)) == (0, 0)


def test_in_threads_takes_plain_functions_and_needs_threads() -> None:
    with pytest.raises(TypeError, match=r"in_threads needs threads of its own: Bulkhead\(threads=4\)"):
        Bulkhead().in_threads(int)
    wrong: list[Any] = [World(True).operation(), 3]
    for one in wrong:
        with pytest.raises(TypeError, match="in_threads takes a plain function, got"):
            Bulkhead(threads=1).in_threads(one)


def test_an_awaitable_out_of_a_thread_is_refused() -> None:
    ask = Bulkhead(threads=1).in_threads(lambda: World(True).operation()())
    with pytest.raises(TypeError, match="returned coroutine, an awaitable"):
        virtual.run(ask())


# --- what it is made of ---


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"max_concurrent": 0}, ValueError, "max_concurrent must be at least 1, got 0"),
        ({"max_concurrent": 1.5}, TypeError, "max_concurrent must be a whole number, got 1.5"),
        ({"max_concurrent": True}, TypeError, "max_concurrent must be a whole number, got True"),
        ({"max_queue": -1}, ValueError, "max_queue must be at least 0, got -1"),
        ({"max_queue": None}, TypeError, "max_queue must be a whole number, got None"),
        ({"queue_timeout": 0}, ValueError, "queue_timeout must be above 0 seconds, got 0"),
        ({"queue_timeout": math.nan}, ValueError, "queue_timeout must be above 0 seconds, got nan"),
        ({"queue_timeout": "1"}, TypeError, "queue_timeout must be a number, got '1'"),
        ({"queue_timeout": 5}, ValueError, "queue_timeout=5 has no effect with max_queue=0, as nobody waits"),
        ({"threads": 0}, ValueError, "threads must be at least 1, got 0"),
        ({"threads": "4"}, TypeError, "threads must be a whole number, got '4'"),
        ({"name": 3}, TypeError, "name must be a text, got 3"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Bulkhead(**arguments)


def test_its_name_is_its_label(world: World) -> None:
    bulkhead = Bulkhead(1, name="payments")
    guarded = bulkhead(world.operation(1, takes=5))
    outcomes: list[Outcome[Any]] = together(world, (0, guarded), (1, lambda: bulkhead.outcome(world.operation(1))))
    assert [event.layer for event in outcomes[1].events] == ["Bulkhead payments"]
    assert Bulkhead().label == "Bulkhead"


# --- explored ---


@pytest.mark.parametrize(
    ("bulkhead", "paths"),
    [
        (Bulkhead(), {"free": (Answer, 0), "full": (errors.BulkheadFullError, 0)}),
        (
            Bulkhead(2, 3, 5),
            {
                "free": (Answer, 0),
                "queued": (Answer, 5),
                "stuck": (errors.BulkheadTimeoutError, 5),
                "full": (errors.BulkheadFullError, 0),
            },
        ),
        (
            Bulkhead(2, 3),
            {
                "free": (Answer, 0),
                "queued": (Answer, 0),
                "stuck": (type(None), math.inf),
                "full": (errors.BulkheadFullError, 0),
            },
        ),
        (Bulkhead(9, threads=1), {"free": (Answer, 0), "full": (errors.BulkheadFullError, 0)}),
    ],
    ids=str,
)
def test_exploring_it_shows_every_situation(bulkhead: Bulkhead, paths: dict[str, tuple[type, float]]) -> None:
    found = explore(bulkhead, outcomes=("ok",)).paths
    assert [path.choices[0].option for path in found] == list(paths) == list(bulkhead.situations())
    assert [(type(path.error or path.result), path.elapsed) for path in found] == list(paths.values())


def test_a_live_state_says_its_situation() -> None:
    bulkhead = Bulkhead(1, 1)
    slots, seen = bulkhead.live_state(), list[str]()
    for _ in range(3):
        seen.append(bulkhead.situation(slots, 0.0))
        slots.enter(1, 1)
    assert seen == ["free", "queued", "full"]
    known = {name: bulkhead.situation(make(), 0.0) for name, make in bulkhead.situations().items()}
    assert known == {"free": "free", "queued": "queued", "stuck": "queued", "full": "full"}


def test_a_wait_in_the_queue_that_is_cut_is_explored_with_shorter_waits_before_it() -> None:
    spare = Bulkhead(1, 1, queue_timeout=3)(World(True).operation(name="spare"))
    stack = Timeout(4) >> Fallback(spare) >> Retry(2, backoff.Fixed(2, jitter="full"), on=Exception)
    paths = explore(stack, outcomes=("ok", "fail")).paths
    waited = [path.elapsed for path in paths if any(isinstance(event, Queued) for event in path.events)]
    assert {4.0, 3.0} <= set(waited)


def test_a_function_in_its_threads_is_explored_like_any_other() -> None:
    guarded = Bulkhead(threads=2).in_threads(World(False).operation(Hang, name="query"))
    assert [str(path).split(" -> ")[0] for path in explore(guarded, outcomes=("ok",)).paths] == [
        "Bulkhead? free",
        "Bulkhead? full",
    ]
