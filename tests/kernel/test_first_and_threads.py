"""Calls that overlap, and blocking work in threads: what `Runtime.first` and `Runtime.in_thread` promise."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import time
import weakref
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import (
    AdaptiveLimit,
    Bulkhead,
    Cache,
    CircuitBreaker,
    Deadline,
    Fallback,
    Hedge,
    InContext,
    LoadShedder,
    Policy,
    RateLimiter,
    Retry,
    SafeCall,
    Timeout,
    Validate,
    backoff,
    errors,
    explore,
    virtual,
)
from failwell.events import Attempt
from failwell.runtime import Abandoned, AsyncRuntime, BlockingRuntime, Mark, Runtime
from failwell.switch import switch
from tests.kernel.world import Hang, World
from tests.patterns.test_cancellation import cancelled_at

variable: ContextVar[str] = ContextVar("variable", default="unset")


class Does(Policy):
    """Runs requests of a test's own."""

    def __init__(self, what: Any) -> None:
        self.what = what

    async def run(self, call: Any, rt: Any) -> Any:
        return await self.what(rt, call)


class Racing(Policy):
    """Calls again while an answer is late."""

    def __init__(self, delay: float = 1.0, calls: int = 2) -> None:
        self.delay = delay
        self.calls = calls

    async def run(self, call: Any, rt: Runtime) -> Any:
        return await rt.first([call] * self.calls, self.delay)


class RacingByName(Policy):
    """The same; here the delay is a plain name, and the number of a call goes into an event."""

    def __init__(self, delay: float = 1.0, calls: int = 2) -> None:
        self.delay = delay
        self.calls = calls

    async def run(self, call: Any, rt: Runtime) -> Any:
        delay = self.delay

        async def again() -> Any:
            rt.emit(Attempt, 2)
            return await call()

        return await rt.first((call, *[again for _ in range(self.calls - 1)]), delay)


class Threaded(Policy):
    """Asks something that blocks before the call."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.work = work

    async def run(self, call: Any, rt: Runtime) -> Any:
        before = await rt.in_thread(self.work)
        return before, await call()


@pytest.fixture(params=[Racing, RacingByName])
def racing(request: pytest.FixtureRequest) -> type[Racing]:
    return request.param


def paced(world: World, *script: tuple[float, Any], name: str = "operation") -> Any:
    """An operation of a world whose calls take so long and end so; ``ends`` has when which was over, and how."""
    starts: list[float] = []
    ends: list[tuple[int, float, str]] = []

    def begin() -> tuple[int, float, Any]:
        place = len(starts)
        starts.append(time.monotonic())
        return place, *script[min(place, len(script) - 1)]

    def finish(place: int, outcome: Any) -> Any:
        ends.append((place, time.monotonic(), "done"))
        return World(True).operation().log.end(outcome)

    async def run(*args: Any) -> Any:
        place, seconds, outcome = begin()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            ends.append((place, time.monotonic(), "cancelled"))
            raise
        return finish(place, outcome)

    def run_plain(*args: Any) -> Any:
        place, seconds, outcome = begin()
        time.sleep(seconds)
        return finish(place, outcome)

    made: Any = run if world.asynchronous else run_plain
    made.__name__ = name
    made.starts, made.ends = starts, ends
    return made


@contextlib.contextmanager
def no_thread_left() -> Generator[None]:
    """Each thread that is started inside ends in time."""
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 5
    while busy() - before and time.monotonic() < until:
        time.sleep(0.001)
    assert busy() - before == set()


def busy() -> set[threading.Thread]:
    """All threads but those that wait to be used again."""
    return {thread for thread in threading.enumerate() if thread.name != "failwell"}


# --- the first of several calls ---


def test_a_call_that_answers_in_time_is_the_only_one(world: World, racing: type[Racing]) -> None:
    operation = paced(world, (0.5, "first"))
    outcome = world.run(racing(1.0, calls=3), operation)
    assert (outcome.unwrap(), outcome.elapsed, operation.starts) == ("first", 0.5, [0])


def test_a_late_call_gets_company_and_the_first_answer_wins(world: World, racing: type[Racing]) -> None:
    operation = paced(world, (10, "first"), (10, "second"), (1, "third"))
    outcome = world.run(racing(2.0, calls=3), operation)
    assert (outcome.unwrap(), outcome.elapsed, operation.starts) == ("third", 5, [0, 2, 4])


def test_the_first_call_may_still_win(world: World, racing: type[Racing]) -> None:
    operation = paced(world, (3, "first"), (10, "second"))
    outcome = world.run(racing(2.0), operation)
    assert (outcome.unwrap(), outcome.elapsed, operation.starts) == ("first", 3, [0, 2])


def test_no_delay_starts_all_at_once(world: World, racing: type[Racing]) -> None:
    operation = paced(world, (3, "first"), (2, "second"), (1, "third"))
    outcome = world.run(racing(0.0, calls=3), operation)
    assert (outcome.unwrap(), outcome.elapsed, operation.starts) == ("third", 1, [0, 0, 0])


def test_when_all_that_run_have_failed_the_next_starts_at_once(world: World, racing: type[Racing]) -> None:
    operation = paced(world, (3, ConnectionError("one")), (1.5, ConnectionError("two")), (1, "third"))
    outcome = world.run(racing(2.0, calls=3), operation)
    assert (outcome.unwrap(), outcome.elapsed, operation.starts) == ("third", 4.5, [0, 2, 3.5])


def test_one_failure_among_those_that_run_changes_nothing(world: World, racing: type[Racing]) -> None:
    operation = paced(world, (10, "first"), (1, ConnectionError("two")), (1, "third"))
    outcome = world.run(racing(2.0, calls=3), operation)
    assert (outcome.unwrap(), outcome.elapsed, operation.starts) == ("third", 5, [0, 2, 4])


def test_an_endless_delay_waits_for_failures_only(world: World, racing: type[Racing]) -> None:
    operation = paced(world, (100, ConnectionError("one")), (1, "second"))
    outcome = world.run(racing(float("inf")), operation)
    assert (outcome.unwrap(), outcome.elapsed, operation.starts) == ("second", 101, [0, 100])


def test_losers_have_ended_before_the_answer_is_given() -> None:
    operation = paced(World(True), (10, "first"), (1, "second"))
    outcome = World(True).run(Racing(2.0), operation)
    assert outcome.unwrap() == "second"
    assert operation.ends == [(1, 3, "done"), (0, 3, "cancelled")]


def test_a_loser_that_fails_or_answers_while_it_is_cancelled_changes_nothing(racing: type[Racing]) -> None:
    async def run() -> str:
        place = len(starts)
        starts.append(place)
        try:
            await asyncio.sleep(10 * (place < 2))
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            if place == 0:
                raise KeyError("cleanup") from None
        return f"answer {place}"

    starts: list[int] = []
    outcome = World(True).run(racing(2.0, calls=3), run)
    assert (outcome.unwrap(), outcome.elapsed) == ("answer 2", 5)


def test_a_call_that_is_cancelled_before_its_first_step_never_starts() -> None:
    async def instant() -> str:
        return "instant"

    never: list[Any] = []

    async def late() -> None:
        never.append(1)

    async def ask(rt: Any, call: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(task.cancel)
        await rt.first([late], 1)

    with pytest.raises(asyncio.CancelledError):
        World(True).run(Does(ask), instant)
    assert len(never) <= 1


def test_behind_a_plain_loser_nothing_new_starts() -> None:
    operation = paced(World(False), (10, ConnectionError("late")), (1, "second"))
    ended: list[str] = []

    def inner() -> Any:
        try:
            return (Retry(5, backoff.Fixed(1.0)) >> operation)()
        except Abandoned:
            ended.append("abandoned")
            raise

    with virtual.clock():
        assert Racing(2.0).call(inner) == "second"
        assert (time.monotonic(), ended) == (3, [])
        time.sleep(100)
    assert ended == ["abandoned"]
    assert operation.starts == [0, 2]


def test_behind_a_caller_that_was_itself_abandoned_no_call_is_added() -> None:
    operation = paced(World(False), (100, "first"))
    with virtual.clock():
        assert (Timeout(3, default="late") >> Racing(2.0, calls=9)).call(operation) == "late"
        time.sleep(1000)
    assert operation.starts == [0, 2]


# --- when all fail ---


def test_if_all_fail_the_first_error_is_raised_with_the_others_attached(world: World, racing: type[Racing]) -> None:
    cause = OSError("cause")
    errors = [ConnectionError("one"), TimeoutError("two"), ValueError()]
    errors[0].__cause__ = cause
    operation = paced(world, (3, errors[0]), (2, errors[1]), (1, errors[2]))
    outcome = world.run(racing(1.0, calls=3), operation)
    error: Any = outcome.error
    assert error is errors[0]
    assert error.also_failed == (errors[1], errors[2])
    assert error.__notes__ == ["also failed: TimeoutError: two; ValueError"]
    assert error.__cause__ is cause
    assert outcome.elapsed == 3


def test_a_single_call_that_fails_has_no_others(world: World, racing: type[Racing]) -> None:
    error: Any = world.run(racing(1.0, calls=1), world.operation(ConnectionError("one"))).error
    assert (error.also_failed, hasattr(error, "__notes__")) == ((), False)


def test_an_error_that_is_raised_again_and_again_collects_one_note(world: World, racing: type[Racing]) -> None:
    same, other = ConnectionError("same"), TimeoutError("other")
    same.add_note("of its own")
    for script in [(same, other), (same, other), (same, same)]:
        world.run(racing(), world.operation(*script))
        if script[1] is other:
            assert same.__notes__ == ["of its own", "also failed: TimeoutError: other"]
    assert same.__notes__ == ["of its own"]


class Frozen(Exception):
    """Refuses to be changed."""

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)


def test_an_error_that_cannot_be_changed_is_raised_as_it_is(world: World, racing: type[Racing]) -> None:
    error = world.run(racing(), world.operation(Frozen("one"), ConnectionError("two"))).error
    assert type(error) is Frozen
    assert not hasattr(error, "also_failed")


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_ends_a_plain_call_at_once(kind: type[BaseException], racing: type[Racing]) -> None:
    operation = paced(World(False), (10, "first"), (1, kind("stop")))
    with virtual.clock(), pytest.raises(kind, match="stop"):
        try:
            racing(2.0, calls=3).call(operation)
        finally:
            assert time.monotonic() == 3


def test_an_operation_that_is_cancelled_by_others_ends_it_at_once(racing: type[Racing]) -> None:
    operation = paced(World(True), (10, "first"), (1, asyncio.CancelledError))
    times: list[float] = []

    async def main() -> None:
        task = asyncio.ensure_future(racing(2.0, calls=3).call(operation))
        await asyncio.wait([task])
        times.append(time.monotonic())
        assert task.cancelled()
        assert task.cancelling() == 0

    virtual.run(main())
    assert times == [3]
    assert operation.ends == [(1, 3, "done"), (0, 3, "cancelled")]


def test_an_awaitable_under_a_plain_call_is_no_failure_to_try_again(racing: type[Racing]) -> None:
    calls: list[int] = []

    def sneaky() -> Any:
        calls.append(1)
        return asyncio.sleep(1)

    with virtual.clock(), pytest.raises(TypeError, match="sneaky returned coroutine"):
        racing().call(sneaky)
    assert calls == [1]


class Foreign(Policy):
    """Overlaps the call with a function of its own."""

    async def other(self) -> Any:
        raise ConnectionError("other")

    async def run(self, call: Any, rt: Runtime) -> Any:
        delay = 1.0
        return await rt.first((call, self.other), delay)


def test_a_call_from_elsewhere_that_has_no_plain_form_is_refused_by_name() -> None:
    with virtual.clock(), pytest.raises(TypeError, match="other returned coroutine"):
        Foreign().call(World(False).operation(ConnectionError))


def test_without_calls_there_is_no_first(world: World) -> None:
    async def ask(rt: Any, call: Any) -> Any:
        return await rt.first([], 1.0)

    outcome = world.run(Does(ask), world.operation("answer"))
    assert isinstance(outcome.error, ValueError)


def test_a_stop_iteration_of_a_plain_operation_comes_through(racing: type[Racing]) -> None:
    stop = StopIteration("over")
    outcome = World(False).run(racing(), World(False).operation(stop))
    assert outcome.error is stop


# --- what surrounds the calls ---


def test_context_variables_reach_the_calls_and_those_of_the_winner_stay_set(world: World, racing: type[Racing]) -> None:
    seen: list[str] = []
    operation = paced(world, (10, "first"), (1, "second"))

    def around(answer: Any = None) -> None:
        seen.append(variable.get())
        variable.set(f"set by call {len(seen)}")

    async def sets() -> Any:
        around()
        return await operation()

    def sets_plain() -> Any:
        around()
        return operation()

    fn: Any = sets if world.asynchronous else sets_plain

    async def main() -> tuple[Any, str]:
        token = variable.set("outside")
        answer = await racing(2.0).call(fn)
        inside = variable.get()
        variable.reset(token)
        return answer, inside

    def plain_main() -> tuple[Any, str]:
        token = variable.set("outside")
        try:
            return racing(2.0).call(fn), variable.get()
        finally:
            variable.reset(token)

    assert world.do(main if world.asynchronous else plain_main) == ("second", "set by call 2")
    assert seen == ["outside", "outside"]


@pytest.mark.parametrize("winner", ["first", "second"])
def test_only_the_winner_s_answer_can_be_degraded(world: World, racing: type[Racing], winner: str) -> None:
    takes = 5 if winner == "first" else 50
    real = paced(world, (0, ConnectionError("fails, so the call is answered by the fallback")), (10, "real"))
    poor = paced(world, (takes, "poor"))
    outcome = world.run(racing(2.0) >> Fallback(poor), real)
    assert (outcome.unwrap(), outcome.degraded) == (("poor", True) if winner == "first" else ("real", False))


def test_a_loser_that_is_degraded_early_does_not_count() -> None:
    marks: list[bool] = []

    async def ask(rt: Any, call: Any) -> Any:
        async def marked() -> Any:
            rt.degraded()
            await rt.sleep(100)

        with Mark() as mark:
            answer = await rt.first([marked, call], 1.0)
        marks.append(mark.degraded)
        return answer

    for world in (World(True), World(False)):
        assert world.run(Does(ask), world.operation("answer")).unwrap() == "answer"
    assert marks == [False, False]


def test_nothing_keeps_the_errors_alive(world: World, racing: type[Racing]) -> None:
    class Big(Exception):
        pass

    def fail() -> Any:
        error = Big("one")
        kept.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    kept: list[weakref.ref[Any]] = []
    gc.collect()
    gc.disable()
    try:
        world.run(racing(), world.operation(fail, fail))
        until = time.monotonic() + 5
        while any(one() is not None for one in kept) and time.monotonic() < until:
            time.sleep(0.001)  # a thread lets go of its work a moment after it has told the result
        assert len(kept) == 2
        assert [one() for one in kept] == [None, None]
    finally:
        gc.enable()


# --- cancelling ---


def test_a_cancelled_caller_cancels_all_and_waits_for_them(racing: type[Racing]) -> None:
    operation = paced(World(True), (100, "first"))
    times: list[float] = []

    async def main() -> None:
        task = asyncio.ensure_future(racing(2.0, calls=3).call(operation))
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.wait([task])
        times.append(time.monotonic())
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual.run(main())
    assert times == [5]
    assert sorted(operation.ends) == [(0, 5, "cancelled"), (1, 5, "cancelled"), (2, 5, "cancelled")]


@pytest.mark.parametrize("when", ["before the answer", "after the answer"])
def test_a_caller_that_is_cancelled_while_losers_end_still_waits_for_them(when: str, racing: type[Racing]) -> None:
    heard: list[tuple[int, float]] = []

    async def stubborn() -> Any:
        place = len(starts)
        starts.append(place)
        if place == 1 and when == "after the answer":
            return "answer"
        for _ in range(2):
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                heard.append((place, time.monotonic()))
        await asyncio.sleep(0)
        return "swallowed it"

    starts: list[int] = []

    async def main() -> None:
        task = asyncio.ensure_future(racing(2.0).call(stubborn))
        for _ in range(2):
            await asyncio.sleep(3)
            task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual.run(main())
    expected = {"before the answer": [(0, 3), (1, 3), (0, 6), (1, 6)], "after the answer": [(0, 2), (0, 3)]}
    assert heard == expected[when]


@given(
    script=st.lists(st.sampled_from(["answer", None, ConnectionError, Hang]), min_size=1, max_size=3),
    takes=st.sampled_from([0.0, 0.5, 2.0]),
    calls=st.integers(1, 3),
    stack=st.sampled_from(["", "retry inside", "retry outside", "timeout outside", "timeout inside"]),
)
@settings(max_examples=60)
def test_overlapping_calls_can_be_cancelled_at_every_step(
    script: list[Any], takes: float, calls: int, stack: str
) -> None:
    def make() -> Any:
        operation = World(True).operation(*script, takes=takes)
        policy: Policy = Racing(1.0, calls)
        retry, timeout = Retry(2, backoff.Fixed(0.5), on=Exception), Timeout(1.5)
        policy = {
            "": policy,
            "retry inside": policy >> retry,
            "retry outside": retry >> policy,
            "timeout outside": timeout >> policy,
            "timeout inside": policy >> timeout,
        }[stack]
        guarded: Any = policy(operation)
        guarded.log = operation.log
        return guarded

    async def again(guarded: Any) -> None:
        guarded.log.script, guarded.log.takes = ("fine",), 0
        assert await guarded() == "fine"

    step = 0
    while cancelled_at(step, make, again):
        step += 1
        assert step < 200
    assert step >= 2


def test_a_caller_that_is_closed_cancels_its_calls() -> None:
    cancelled: list[bool] = []

    async def operation() -> None:
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def main() -> Any:
        work = AsyncRuntime("layer", "operation").first([operation], 1)
        work.send(None)
        await asyncio.sleep(1)
        work.close()
        await asyncio.sleep(1)

    virtual.run(main())
    assert cancelled == [True]


def test_a_caller_that_is_closed_after_its_loop_does_not_complain() -> None:
    class Left(asyncio.Future[None]):
        def cancel(self, msg: Any = None) -> bool:
            raise RuntimeError("Event loop is closed")

    class Loop(virtual.VirtualLoop):
        def create_task(self, coro: Any, **options: Any) -> Any:
            coro.close()
            return Left(loop=self)

    loop = Loop()
    asyncio._set_running_loop(loop)
    try:
        work = AsyncRuntime("layer", "operation").first([asyncio.Event().wait], 1)
        work.send(None)
        work.close()
    finally:
        asyncio._set_running_loop(None)
        loop.close()


# --- in real time ---


def test_overlapping_calls_in_real_time() -> None:
    def slow_then_fast() -> str:
        calls.append(threading.current_thread())
        if len(calls) == 1:
            released.wait(10)
            return "slow"
        return "fast"

    async def slow_then_fast_async() -> str:
        calls.append(threading.current_thread())
        if len(calls) == 1:
            await asyncio.sleep(10)
        return "fast"

    calls: list[threading.Thread] = []
    released = threading.Event()
    started = time.monotonic()
    assert Racing(0.02).call(slow_then_fast) == "fast"
    released.set()
    assert len(set(calls)) == 2
    calls.clear()
    assert asyncio.run(Racing(0.02).call(slow_then_fast_async)) == "fast"
    assert 0.04 <= time.monotonic() - started < 5


# --- a worker thread ---


def test_blocking_work_leaves_the_loop_free_and_keeps_the_context() -> None:
    thread: list[threading.Thread] = []

    def work(*args: Any, **kwargs: Any) -> Any:
        thread.append(threading.current_thread())
        time.sleep(2)
        seen = variable.get()
        variable.set("inside")
        return seen, args, kwargs

    async def ask(rt: Any, call: Any) -> Any:
        ticks: list[float] = []

        async def tick() -> None:
            while True:
                await asyncio.sleep(0.75)
                ticks.append(rt.now())

        ticking = asyncio.ensure_future(tick())
        token = variable.set("outside")
        answer = await rt.in_thread(work, ("a",), {"b": 1})
        ticking.cancel()
        after = variable.get()
        variable.reset(token)
        return answer, after, ticks, rt.now()

    answer, after, ticks, now = World(True).run(Does(ask), World(True).operation("answer")).unwrap()
    assert answer == ("outside", ("a",), {"b": 1})
    assert (after, ticks, now) == ("inside", [0.75, 1.5], 2)
    assert thread != [threading.current_thread()]


def test_under_a_plain_call_blocking_work_runs_in_place() -> None:
    threads: list[threading.Thread] = []
    for driven in (False, True):
        world = World(False, driven)
        policy = Threaded(lambda: threads.append(threading.current_thread()))
        assert world.run(policy, world.operation("answer")).unwrap() == (None, "answer")
    assert threads == [threading.current_thread()] * 2


def test_an_error_of_blocking_work_comes_through(world: World) -> None:
    error = KeyError("missing")

    def work() -> None:
        raise error

    outcome = world.run(Threaded(work), world.operation("answer"))
    assert outcome.error is error


def test_blocking_work_that_turns_out_to_be_async_is_refused_by_name(world: World) -> None:
    async def work() -> None:
        raise AssertionError

    outcome = world.run(Threaded(work), world.operation("answer"))
    assert isinstance(outcome.error, TypeError)
    assert "work returned coroutine" in str(outcome.error)


def test_what_blocking_work_marks_as_degraded_reaches_the_caller(world: World) -> None:
    work = Fallback(Fallback.value("poor"))(World(False).operation(ConnectionError))
    outcome = world.run(Threaded(work), world.operation("answer"))
    assert (outcome.unwrap(), outcome.degraded) == (("poor", "answer"), True)


def test_a_cancelled_caller_leaves_the_thread_behind_and_nothing_new_starts_there() -> None:
    operation = World(False).operation(ConnectionError, takes=2.0)
    ended: list[Any] = []

    def work() -> None:
        try:
            Retry(9, backoff.Fixed(1.0)).call(operation)
        except BaseException as error:
            ended.append((time.monotonic(), type(error)))
            raise

    async def main() -> None:
        task = asyncio.ensure_future(Threaded(work).call(World(True).operation("answer")))
        await asyncio.sleep(4)
        task.cancel()
        await asyncio.wait([task])
        assert (task.cancelled(), time.monotonic()) == (True, 4)
        await asyncio.sleep(60)

    with no_thread_left():
        virtual.run(main())
    assert operation.log.times == [0, 3]
    assert ended == [(5, Abandoned)]


def test_a_timeout_ends_the_wait_for_blocking_work() -> None:
    policy = Timeout(1, default="late") >> Threaded(lambda: time.sleep(100))
    with no_thread_left():
        outcome = World(True).run(policy, World(True).operation("answer"))
    assert (outcome.unwrap(), outcome.elapsed) == ("late", 1)


@pytest.mark.parametrize("seconds", [0.0, 1.0])
def test_a_caller_of_blocking_work_can_be_cancelled_at_every_step(seconds: float) -> None:
    def make() -> Any:
        operation = World(True).operation("answer", takes=0.5)
        return Threaded(lambda: time.sleep(seconds) if seconds else None)(operation)

    async def again(guarded: Any) -> None:
        await asyncio.sleep(5)  # in which a thread that was left behind comes to its end
        assert await guarded() == (None, "answer")

    step = 0
    with no_thread_left():
        while cancelled_at(step, make, again):
            step += 1
            assert step < 200
    assert step >= 2


@pytest.mark.parametrize(
    "request_",
    [lambda rt: rt.first([print], 1), lambda rt: rt.in_thread(print), lambda rt: rt.invoke(print)],
    ids=["first", "in_thread", "invoke"],
)
def test_none_starts_in_an_abandoned_thread(request_: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ended: list[str] = []

    def late(asynchronous: bool) -> None:
        time.sleep(2)
        try:
            if asynchronous:
                request_(AsyncRuntime("layer", "operation")).send(None)
            else:
                request_(BlockingRuntime("layer", "operation"))
        except Abandoned as error:
            ended.append(str(error))
            raise

    loop = virtual.VirtualLoop()
    with virtual.clock():
        for asynchronous in (False, True):

            def on_a_loop(asynchronous: bool = asynchronous) -> None:
                asyncio._set_running_loop(loop)
                try:
                    late(asynchronous)
                finally:
                    asyncio._set_running_loop(None)

            Timeout(1, default=None).call(on_a_loop)
            time.sleep(9)
    loop.close()
    assert ended == ["the caller stopped waiting for this thread"] * 2
    assert capsys.readouterr().out == ""


def test_a_loop_in_an_abandoned_thread_adds_no_call_and_ends_those_that_run() -> None:
    ended = threading.Event()
    calls: list[str] = []

    async def operation() -> None:
        calls.append("started")
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            calls.append("cancelled")
            raise

    def on_a_loop() -> None:
        try:
            asyncio.run(Racing(0.2).call(operation))
        except Abandoned:
            ended.set()
            raise

    assert Timeout(0.05, default="late").call(on_a_loop) == "late"
    assert ended.wait(10)
    assert calls == ["started", "cancelled"]


def test_blocking_work_in_real_time() -> None:
    async def main() -> float:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(8):
                tasks.create_task(Threaded(lambda: time.sleep(0.05)).call(World(True).operation("answer")))
        started = time.monotonic()
        task = asyncio.ensure_future(Threaded(lambda: released.wait(10)).call(World(True).operation("answer")))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        return time.monotonic() - started

    released = threading.Event()
    assert asyncio.run(main()) < 5
    released.set()


# --- exploring ---


def told(policy: Policy, **options: Any) -> list[tuple[list[str], Any, float]]:
    """Each path: outcomes of its operations, how it ended, when."""
    found: list[tuple[list[str], Any, float]] = []
    for path in explore(policy, **options).paths:
        end = type(path.error).__name__ if path.error else "never" if not path.ends else "ok"
        found.append(([choice.option for choice in path.choices if choice.kind == "operation"], end, path.elapsed))
    return found


@pytest.mark.parametrize("policy", [Racing(2.0), RacingByName(2.0)])
def test_overlapping_calls_are_explored_with_right_times(policy: Policy) -> None:
    assert told(policy) == [
        (["ok"], "ok", 0),
        (["fail", "ok"], "ok", 0),
        (["fail", "fail"], "ConnectionError", 0),
        (["fail", "hang"], "never", float("inf")),
        (["hang", "ok"], "ok", 2),
        (["hang", "fail"], "never", float("inf")),
        (["hang", "hang"], "never", float("inf")),
    ]


def test_explored_odds_and_worst_cases_of_overlapping_calls() -> None:
    report = explore(Timeout(5) >> Racing(2.0)).report(fail=0.1, hang=0.1)
    assert report.success == pytest.approx(0.8 + 0.1 * 0.8 + 0.1 * 0.8)
    assert report.worst_latency == 5
    assert report.most_calls == {"operation": 2}


def test_overlapping_retries_are_explored_with_both_ends_of_a_jittered_wait() -> None:
    jittered = Retry(2, backoff.Fixed(4.0, jitter="full"))
    paths = told(Racing(3.0) >> jittered, outcomes=("ok", "fail"))
    assert (["fail", "ok"], "ok", 3) in paths  # the second call answers while the first one waits
    assert (["fail", "ok"], "ok", 0) in paths  # the wait was short, so the first call is done before
    outside = told(Retry(2, backoff.Fixed(4.0, jitter="full")) >> Racing(3.0), outcomes=("ok", "hang"))
    assert outside == [(["ok"], "ok", 0), (["hang", "ok"], "ok", 3), (["hang", "hang"], "never", float("inf"))]


def test_waits_before_the_calls_overlap_are_not_explored_twice() -> None:
    policy = Retry(2, backoff.Fixed(4.0, jitter="full")) >> Racing(3.0)
    paths = told(policy, outcomes=("ok", "fail"))
    assert (["fail", "fail", "fail", "ok"], "ok", 4) in paths
    assert {elapsed for _, _, elapsed in paths} == {0, 4}


class Reading(Policy):
    """Reads a file by blocking calls, then overlaps two calls."""

    async def run(self, call: Any, rt: Runtime) -> Any:
        await rt.in_thread(explode, name="read")
        await rt.in_thread(explode)
        return await rt.in_thread(Retry(2, backoff.Fixed(1.0))(explode))


def explode() -> None:
    raise AssertionError("never executed while exploring")


def test_blocking_work_is_explored_as_an_operation() -> None:
    paths = explore(Reading(), outcomes=("ok", "fail")).paths
    subjects = [[f"{choice.subject}: {choice.option}" for choice in path.choices] for path in paths]
    assert subjects == [
        ["read: ok", "explode: ok", "explode: ok"],
        ["read: ok", "explode: ok", "explode: fail", "explode: ok"],
        ["read: ok", "explode: ok", "explode: fail", "explode: fail"],
        ["read: ok", "explode: fail"],
        ["read: fail"],
    ]
    assert [path.elapsed for path in paths] == [0, 1, 1, 0, 0]


def test_explored_failures_keep_no_frames() -> None:
    [path] = explore(Racing(calls=3), outcomes=("fail",)).paths
    error: Any = path.error
    assert [one.__traceback__ for one in (error, *error.also_failed)] == [None] * 3


class Named(ConnectionError):
    """Means something else by the name, and cannot be told otherwise."""

    @property
    def also_failed(self) -> int:
        return 3


def test_an_explored_failure_may_use_the_name_for_something_else() -> None:
    assert told(Racing(), outcomes=(Named,)) == [(["Named", "Named"], "Named", 0)]


def test_a_user_s_state_is_the_same_on_each_replay() -> None:
    first, second = (explore(Racing(1.0, calls=3) >> Retry(2, backoff.Fixed(0.5))) for _ in range(2))
    assert [path.choices for path in first.paths] == [path.choices for path in second.paths]
    assert [path.elapsed for path in first.paths] == [path.elapsed for path in second.paths]


# --- errors that nobody sees are no noise ---


def test_a_cleanup_that_fails_while_its_caller_is_cancelled_is_not_reported_as_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def cleanup() -> None:
        await asyncio.sleep(1)
        raise ValueError("nobody sees this")

    async def main() -> None:
        task = asyncio.create_task(AsyncRuntime("layer", "operation").shielded(cleanup))
        await asyncio.sleep(0.5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    virtual.run(main())
    gc.collect()
    assert "never retrieved" not in caplog.text


def test_a_loser_that_fails_when_it_is_cancelled_is_not_reported_as_lost(caplog: pytest.LogCaptureFixture) -> None:
    async def slow() -> str:
        try:
            await asyncio.sleep(10)
        finally:
            raise ValueError("nobody sees this")

    async def quick() -> str:
        return "answer"

    async def main() -> str:
        return await AsyncRuntime("layer", "operation").first([slow, quick], 1.0)

    assert virtual.run(main()) == "answer"
    gc.collect()
    assert "never retrieved" not in caplog.text


# --- an abandoned thread and what is protected by itself ---

PLAIN_POLICIES: list[Policy] = [
    AdaptiveLimit(),
    Bulkhead(),
    Cache(60),
    CircuitBreaker(),
    Deadline(5),
    Fallback(Fallback.value(0)),
    Hedge(5),
    InContext(),
    LoadShedder(10, str),
    RateLimiter(10),
    Retry(),
    SafeCall(),
    Timeout(5),
    Validate(output=lambda answer: True),
]


@pytest.mark.parametrize("driven", [False, True])
@pytest.mark.parametrize("policy", PLAIN_POLICIES, ids=lambda policy: type(policy).__name__)
def test_no_protected_function_starts_in_an_abandoned_thread(
    policy: Policy, driven: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if driven:
        monkeypatch.setattr("failwell.policy.derive", lambda *_, **__: None)
    go_on, ended, started = threading.Event(), threading.Event(), list[int]()
    inner = policy(lambda: started.append(1))

    @Timeout(0.01)
    def outer() -> None:
        try:
            assert go_on.wait(10)
            inner()
        finally:
            ended.set()

    with pytest.raises(errors.TimeoutExceeded):
        outer()
    go_on.set()
    assert ended.wait(10)
    assert started == []
    inner()
    assert started == [1], "elsewhere it goes on as ever"


def test_calls_look_at_nothing_more_when_no_abandoned_thread_is_left() -> None:
    before, go_on = switch.touched, threading.Event()
    waits = Timeout(0.01)(Timeout(5)(go_on.wait))
    for _ in range(3):
        with pytest.raises(errors.TimeoutExceeded):
            waits(10)
    assert switch.touched >= before + 3
    go_on.set()
    for _ in range(1000):
        if switch.touched <= before:
            break
        time.sleep(0.01)
    assert switch.touched <= before
