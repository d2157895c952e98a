from __future__ import annotations

import asyncio
import contextvars
import gc
import pickle
import threading
import time
import weakref
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import (
    Bulkhead,
    CircuitBreaker,
    Deadline,
    Fallback,
    Policy,
    RateLimiter,
    Retry,
    Saga,
    Step,
    Timeout,
    backoff,
    errors,
    explore,
    listening,
    time_left,
    virtual,
)
from failwell.events import Event, TimedOut
from failwell.runtime import BlockingRuntime, current_deadline, deadline
from tests.kernel.world import Hang, World, kinds
from tests.soak.test_soak import hammer


def limits(outcome: Any) -> list[tuple[str, float]]:
    """Which layers ended something, and when."""
    return [(event.layer, event.time) for event in outcome.events if isinstance(event, TimedOut)]


def and_later(world: World, call: Any, *args: Any) -> Any:
    """What a call gives, a while after it: threads that were left behind have ended by then."""

    def plain() -> Any:
        answer = call(*args)
        time.sleep(60)
        return answer

    async def on_loop() -> Any:
        answer = await call(*args)
        await asyncio.sleep(60)
        return answer

    return world.do(on_loop if world.asynchronous else plain)


# --- both worlds ---


def test_an_answer_in_time_is_returned(world: World) -> None:
    operation = world.operation("answer", takes=2)
    outcome = world.run(Deadline(3), operation, 1, key=2)
    assert outcome.unwrap() == "answer"
    assert operation.log.calls == [((1,), {"key": 2})]
    assert (outcome.events, outcome.elapsed) == ((), 2)


@pytest.mark.parametrize("answer", [None, 0, "", [], NotImplemented])
def test_an_odd_answer_is_an_answer(world: World, answer: Any) -> None:
    assert world.run(Deadline(3), world.operation(answer)).unwrap() is answer


def test_an_operation_that_hangs_is_ended_at_the_deadline(world: World) -> None:
    outcome = world.run(Deadline(3), world.operation(Hang, name="fetch"))
    assert isinstance(outcome.error, errors.DeadlineExceeded)
    assert isinstance(outcome.error, TimeoutError)
    assert not isinstance(outcome.error, errors.TimeoutExceeded)
    assert str(outcome.error) == "fetch was not done by its deadline of 3 s"
    assert (outcome.error.seconds, outcome.error.operation, outcome.elapsed) == (3, "fetch", 3)
    [event] = outcome.events
    assert isinstance(event, TimedOut)
    assert (event.seconds, event.layer, event.operation, event.time) == (3, "Deadline", "fetch", 3)


@given(seconds=st.floats(0.001, 1e6), takes=st.floats(0, 1e6), asynchronous=st.booleans())
def test_it_ends_after_the_operation_or_its_time_whichever_comes_first(
    seconds: float, takes: float, asynchronous: bool
) -> None:
    world = World(asynchronous)
    outcome = world.run(Deadline(seconds), world.operation("answer", takes=takes))
    if takes != seconds:
        assert outcome.ok is (takes < seconds)
    assert outcome.elapsed == pytest.approx(min(seconds, takes))


@pytest.mark.parametrize("error", [TimeoutError("own"), errors.DeadlineExceeded(9), ValueError("own")])
@pytest.mark.parametrize("takes", [0, 1])
def test_an_error_of_the_operations_own_is_not_relabelled(world: World, error: Exception, takes: float) -> None:
    outcome = world.run(Deadline(3), world.operation(error, takes=takes))
    assert (outcome.error, outcome.events) == (error, ())


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_passes(world: World, error: type[BaseException]) -> None:
    with pytest.raises(error):
        world.run(Deadline(3), world.operation(error, takes=1 if not world.asynchronous else 0))


STEPS = st.sampled_from(["Deadline", "Timeout", "Retry"])


@given(
    limits_=st.lists(st.tuples(STEPS, st.sampled_from([1.0, 2.0, 2.0, 3.0])), min_size=1, max_size=5),
    asynchronous=st.booleans(),
)
def test_of_several_limits_the_earliest_counts_and_of_those_at_one_moment_the_outermost(
    limits_: list[tuple[str, float]], asynchronous: bool
) -> None:
    world = World(asynchronous)
    stack: Any = Deadline(2)
    for kind, seconds in limits_:
        layer: Policy = Retry(1) if kind == "Retry" else Deadline(seconds) if kind == "Deadline" else Timeout(seconds)
        stack = stack >> layer
    outcome = world.run(stack, world.operation(Hang))
    known = [(layer, getattr(layer, "seconds", 99)) for layer in stack.layers]
    least = min(seconds for _, seconds in known)
    first = next(layer for layer, seconds in known if seconds == least)
    raised = errors.DeadlineExceeded if isinstance(first, Deadline) else errors.TimeoutExceeded
    assert outcome.elapsed == least
    assert type(outcome.error) is raised
    assert outcome.error.seconds == least  # type: ignore[union-attr]
    [limit] = [event for event in outcome.events if isinstance(event, TimedOut)]
    same = [layer for layer, _ in known if type(layer) is type(first)]
    number = next(place for place, layer in enumerate(same, 1) if layer is first)
    assert limit.layer == type(first).__name__ + f" {number}" * (number > 1)


@pytest.mark.parametrize("inner", [Timeout(3), Deadline(3), Timeout(3, default="late"), Timeout(9, default="late")])
@pytest.mark.parametrize("between", [(), (Retry(9, backoff.Fixed(0)),), (Fallback(Fallback.value("other")),)])
def test_at_the_same_moment_it_is_the_one_outside_that_raises(world: World, inner: Policy, between: Any) -> None:
    stack: Any = Deadline(3)
    for layer in (*between, inner):
        stack = stack >> layer
    outcome = world.run(stack, world.operation(Hang))
    assert limits(outcome) == [("Deadline", 3)]
    assert type(outcome.error) is errors.DeadlineExceeded


def test_an_inner_one_never_gives_more_time(world: World) -> None:
    seen: list[float] = []
    outcome = world.run(Deadline(2) >> Deadline(60), world.of(lambda: seen.append(time_left())))
    assert (outcome.ok, seen) == (True, [2])
    assert world.run(Deadline(60) >> Deadline(2), world.of(lambda: seen.append(time_left()))).ok
    assert seen == [2, 2]


def test_what_is_left_is_known_inside_and_nowhere_else(world: World) -> None:
    seen: list[float] = []

    def note() -> None:
        seen.append(time_left())

    guarded = (Retry(3, backoff.Fixed(1)) >> Deadline(2))(world.operation(ConnectionError))
    noted = Deadline(5)(world.of(note))

    def plain() -> None:
        note()
        noted()
        note()
        with pytest.raises(ConnectionError):
            guarded()
        note()

    async def on_loop() -> None:
        note()
        await noted()
        note()
        with pytest.raises(ConnectionError):
            await guarded()
        note()

    world.do(on_loop if world.asynchronous else plain)
    assert seen == [float("inf"), 5, float("inf"), float("inf")]


def test_each_attempt_sees_less(world: World) -> None:
    seen: list[float] = []

    def operation() -> None:
        seen.append(time_left())
        raise ConnectionError

    world.run(Deadline(10) >> Retry(4, backoff.Fixed(3)), world.of(operation))
    assert seen == [10, 7, 4, 1]


def test_time_left_is_never_less_than_none() -> None:
    with virtual.clock():
        token = deadline.set(-5.0)
        assert (time_left(), BlockingRuntime("layer", "operation").time_left()) == (0.0, -5.0)
        deadline.reset(token)


# --- what is inside plans with it ---


def test_a_retry_begins_no_wait_that_it_would_not_survive(world: World) -> None:
    operation = world.operation(ConnectionError("refused"))
    outcome = world.run(Deadline(5) >> Retry(9, backoff.Fixed(2)), operation)
    assert operation.log.times == [0, 2, 4]
    assert outcome.elapsed == 4, "the answer is known now, so why wait"
    assert str(outcome.error) == "refused"
    assert outcome.error.__notes__ == ["failwell gave up after 3 attempts in 4 s: no time left"]  # type: ignore[union-attr]
    assert kinds(outcome)[-1] == "GaveUp"


def test_a_server_that_asks_for_more_time_than_there_is_is_not_waited_for(world: World) -> None:
    busy = errors.UnavailableError(retry_after=30)
    outcome = world.run(Deadline(5) >> Retry(), world.operation(busy))
    assert (outcome.error, outcome.elapsed) == (busy, 0)


@given(
    seconds=st.sampled_from([0.5, 1.0, 3.0, 7.0]),
    waits=st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    jitter=st.sampled_from(["none", "full"]),
    takes=st.sampled_from([0.0, 0.25, 1.0]),
    attempts=st.integers(1, 4),
    limit=st.sampled_from([0.5, 2.0, 60.0]),
    asynchronous=st.booleans(),
)
def test_nothing_inside_goes_on_after_it(
    seconds: float, waits: float, jitter: Any, takes: float, attempts: int, limit: float, asynchronous: bool
) -> None:
    world = World(asynchronous)
    operation = world.operation(ConnectionError, takes=takes)
    stack = (
        Deadline(seconds)
        >> Retry(attempts, backoff.Fixed(waits, jitter=jitter))
        >> Bulkhead(1, max_queue=1)
        >> RateLimiter(2, per=1.0, max_wait=9.0)
        >> Timeout(limit)
    )
    outcome = world.run(stack, operation)
    assert outcome.elapsed <= seconds
    assert all(when < seconds for when in operation.log.times)
    if isinstance(outcome.error, errors.DeadlineExceeded):
        assert limits(outcome)[-1] == ("Deadline", seconds)


def test_nobody_queues_for_a_turn_that_comes_at_the_deadline_or_later(world: World) -> None:
    limiter, operation = RateLimiter(1, per=4, max_wait=60), world.operation("answer")
    guarded = {left: (Deadline(left) >> limiter).outcome for left in (3, 4, 5)}

    def plain() -> Any:
        return [limiter.call(operation), *(guarded[left](operation) for left in guarded)]

    async def on_loop() -> Any:
        return [await limiter.call(operation), *[await guarded[left](operation) for left in guarded]]

    _, three, four, five = world.do(on_loop if world.asynchronous else plain)
    for refused in (three, four):
        assert isinstance(refused.error, errors.RateLimitedError)
        assert (refused.error.retry_after, refused.elapsed) == (4, 0)
    assert (five.value, five.elapsed) == ("answer", 4)


def test_nobody_waits_for_a_slot_past_the_deadline(world: World) -> None:
    bulkhead = Bulkhead(1, max_queue=1)
    bulkhead._live = bulkhead.situations()["stuck"]()
    outcome = and_later(world, (Deadline(3) >> bulkhead).outcome, world.operation("answer"))
    assert (type(outcome.error), outcome.elapsed) == (errors.DeadlineExceeded, 3)
    assert limits(outcome) == [("Deadline", 3)]
    assert (bulkhead.active, bulkhead.queued) == (1, 0)


def test_a_breaker_takes_the_end_of_a_call_for_no_verdict(world: World) -> None:
    breaker = CircuitBreaker(failure_threshold=1)
    outcome = world.run(Deadline(3) >> breaker, world.operation(Hang))
    assert isinstance(outcome.error, errors.DeadlineExceeded)
    assert breaker.failure_count == 0


def test_compensations_have_the_time_that_they_need(world: World) -> None:
    left: list[float] = []
    undone: list[float] = []

    def undo(state: Any) -> None:
        left.append(time_left())
        if len(left) < 3:
            raise ConnectionError
        undone.append(time.monotonic())

    saga = Saga(
        [
            Step(world.of(lambda state: None), world.of(undo), retry=Retry(5, backoff.Fixed(1)), name="one"),
            Step(world.operation("late", takes=10, name="two"), None),
        ]
    )
    outcome = and_later(world, Deadline(3).outcome, saga, {})
    ended = 3 if world.asynchronous else 10  # a plain step runs to its end before the saga can undo anything
    assert (left, undone) == ([float("inf")] * 3, [ended + 2])
    assert isinstance(outcome.error, errors.DeadlineExceeded)


def test_a_deadline_of_another_is_passed_on_as_it_is(world: World) -> None:
    other = errors.DeadlineExceeded(1, "elsewhere", at=1.0)
    assert world.run(Deadline(3), world.operation(other)).error is other
    several = ExceptionGroup("several", [other, ValueError()])
    assert world.run(Deadline(3), world.operation(several)).error is several


# --- a deadline that has passed ---


def test_a_deadline_that_has_passed_has_nothing_started(world: World) -> None:
    operation = world.operation("answer")
    for layers in (Deadline.until(-1.0), Deadline.until(-1.0) >> Deadline(3), Deadline(3) >> Deadline.until(-1.0)):
        outcome = world.run(layers, operation)
        assert (type(outcome.error), outcome.elapsed) == (errors.DeadlineExceeded, 0)
        assert len(limits(outcome)) == 1
        assert str(outcome.error) == "operation was not begun: its deadline had passed before"
    assert operation.log.calls == []


def test_a_deadline_that_passes_between_two_calls_says_which_one_was_not_begun(world: World) -> None:
    guarded = Deadline(3, at=3.0)(world.operation(Hang))

    def plainly() -> list[errors.DeadlineExceeded]:
        found: list[errors.DeadlineExceeded] = []
        for _ in range(2):
            with pytest.raises(errors.DeadlineExceeded) as raised:
                guarded()
            found.append(raised.value)
        return found

    async def on_loop() -> list[errors.DeadlineExceeded]:
        found: list[errors.DeadlineExceeded] = []
        for _ in range(2):
            with pytest.raises(errors.DeadlineExceeded) as raised:
                await guarded()
            found.append(raised.value)
        return found

    first, second = world.do(on_loop if world.asynchronous else plainly)
    assert (first.begun, second.begun, first.at, second.at) == (True, False, 3, 3)
    assert str(first) == "operation was not done by its deadline of 3 s"


@pytest.mark.parametrize("inner", [Timeout(9), Deadline(9), Timeout(9, default="late")])
def test_after_the_deadline_no_limit_inside_starts_anything(world: World, inner: Policy) -> None:
    operation = world.operation("answer")

    def late() -> Any:
        deadline.set(time.monotonic() - 1)
        return inner.outcome(operation)

    outcome = copy_context().run(world.do, late)
    assert isinstance(outcome.error, errors.DeadlineExceeded)
    assert (outcome.events, operation.log.calls) == ((), [])


@pytest.mark.parametrize("inner", [Timeout(9), Deadline(9), Timeout(2, default="late"), Timeout(9, default="late")])
def test_a_deadline_that_nobody_else_watches_is_kept_by_who_is_limited_inside(world: World, inner: Policy) -> None:
    def start() -> Any:
        deadline.set(time.monotonic() + 2)
        return inner.outcome(world.operation(Hang))

    outcome = copy_context().run(world.do, start)
    assert (type(outcome.error), outcome.elapsed) == (errors.DeadlineExceeded, 2)


def test_who_answers_before_a_deadline_that_nobody_watches_has_answered(world: World) -> None:
    def start() -> Any:
        deadline.set(time.monotonic() + 2)
        return Timeout(9).outcome(world.operation("answer", takes=1))

    assert copy_context().run(world.do, start).unwrap() == "answer"


def test_until_counts_from_a_moment_and_not_from_the_call(world: World) -> None:
    operation, seen = world.operation(Hang), list[float]()
    before = world.operation("ready", takes=2)
    note = world.of(lambda: seen.append(time_left()))

    def plain() -> Any:
        limit = Deadline.until(5.0)
        before()
        limit.call(note)
        return limit.outcome(operation)

    async def on_loop() -> Any:
        limit = Deadline.until(5.0)
        await before()
        await limit.call(note)
        return await limit.outcome(operation)

    outcome = world.do(on_loop if world.asynchronous else plain)
    assert (outcome.elapsed, seen) == (3, [3])
    assert (outcome.error.seconds, outcome.error.at) == (5, 5)


def test_until_takes_a_date_with_its_time_zone() -> None:
    with virtual.clock():
        now = datetime.fromtimestamp(time.time(), UTC)
        limit = Deadline.until(now + timedelta(seconds=7))
        assert limit.seconds == pytest.approx(7)
        assert limit.at == pytest.approx(7)
        assert Deadline.until(now - timedelta(days=1)).seconds == 0
        with pytest.raises(ValueError, match="moment must have a time zone"):
            Deadline.until(datetime(2030, 1, 1))


# --- arguments ---


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seconds": 0}, "seconds must be above 0 and finite, got 0"),
        ({"seconds": -1.0}, "got -1.0"),
        ({"seconds": float("inf")}, "got inf"),
        ({"seconds": float("nan")}, "got nan"),
        ({"seconds": "1"}, "seconds must be a number, got '1'"),
        ({"seconds": True}, "seconds must be a number, got True"),
        ({"seconds": -1, "at": 1.0}, "seconds must be above 0 and finite, got -1"),
        ({"seconds": 1, "at": float("inf")}, "at must be a finite monotonic time, got inf"),
        ({"seconds": 1, "at": float("nan")}, "at must be a finite monotonic time, got nan"),
        ({"seconds": 1, "at": "soon"}, "at must be a number, got 'soon'"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(wrong: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Deadline(**wrong)


@pytest.mark.parametrize("wrong", ["noon", None, True, timedelta(seconds=3)])
def test_until_refuses_what_is_no_moment(wrong: Any) -> None:
    with pytest.raises(TypeError, match="moment must be a monotonic time or a date with its time zone, got"):
        Deadline.until(wrong)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_until_refuses_a_moment_that_is_not_finite_by_its_own_name(wrong: float) -> None:
    with pytest.raises(ValueError, match=f"moment must be a finite monotonic time, got {wrong}"):
        Deadline.until(wrong)


def test_repr_replace_and_pickled_errors() -> None:
    assert repr(Deadline(3)) == "Deadline(3)"
    assert Deadline(3).replace(seconds=4).describe() == {"seconds": 4, "at": None}
    for begun in (True, False):
        error = errors.DeadlineExceeded(3, "fetch", 7.0, begun)
        error.add_note("noted")
        again = pickle.loads(pickle.dumps(error))
        told = (again.seconds, again.operation, again.at, again.begun)
        assert (str(again), told) == (str(error), (3, "fetch", 7.0, begun))
        assert again.__notes__ == ["noted"]


# --- on a loop ---


def test_cancelling_the_caller_is_not_taken_for_the_deadline() -> None:
    async def main() -> None:
        task = asyncio.create_task(Deadline(5).call(asyncio.sleep, 9))
        await asyncio.sleep(2)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task
        assert time_left() == float("inf")

    virtual.run(main())


def test_a_code_block_that_holds_the_loop_past_the_deadline_starts_nothing_more() -> None:
    """The timer had no chance to strike, so each layer looks at the clock."""
    calls: list[str] = []

    def plain() -> None:
        calls.append("called")

    async def called() -> None:
        calls.append("called")

    async def stalls() -> None:
        time.sleep(10)  # noqa: ASYNC251 - that is the point
        await Retry(9, backoff.Fixed(0)).call(Timeout(60)(called))

    async def stalls_plainly() -> None:
        time.sleep(10)  # noqa: ASYNC251
        Timeout(60).call(plain)

    for operation in (stalls, stalls_plainly):
        outcome = virtual.run(Deadline(3).outcome(operation))
        assert type(outcome.error) is errors.DeadlineExceeded
        assert (outcome.error.seconds, outcome.error.operation) == (3, operation.__name__)
        assert limits(outcome) == [("Deadline", 10)]
    assert calls == []


def test_a_plain_call_that_blocks_the_loop_is_given_up_at_the_deadline_all_the_same() -> None:
    async def blocks() -> None:
        Timeout(60).call(time.sleep, 50)

    outcome = virtual.run(Deadline(3).outcome(blocks))
    assert (type(outcome.error), outcome.elapsed, limits(outcome)) == (errors.DeadlineExceeded, 3, [("Deadline", 3)])


@pytest.mark.parametrize("inner", [Timeout(60), Deadline(60), Timeout(3), Retry(9, backoff.Fixed(1)) >> Timeout(9)])
def test_tasks_of_a_group_see_it_and_it_is_raised_by_itself(inner: Policy) -> None:
    left: list[float] = []

    async def worker() -> None:
        left.append(time_left())
        await asyncio.sleep(99)

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(inner.call(worker))

    async def gathered() -> None:
        await asyncio.gather(*(inner.call(worker) for _ in range(3)))

    for operation in (group, gathered):
        outcome = virtual.run(Deadline(3).outcome(operation))
        assert (type(outcome.error), outcome.elapsed) == (errors.DeadlineExceeded, 3)
        assert limits(outcome)[-1] == ("Deadline", 3)
    assert left == [3] * 6


def test_a_task_that_nobody_waits_for_keeps_the_deadline_by_itself() -> None:
    async def starts() -> asyncio.Task[Any]:
        task = asyncio.create_task(Timeout(60).outcome(asyncio.sleep, 99))
        await asyncio.wait([task])
        return task

    async def main() -> None:
        task: Any = None

        async def operation() -> None:
            nonlocal task
            task = asyncio.create_task(Timeout(60).outcome(asyncio.sleep, 99))
            await asyncio.sleep(99)

        outcome = await Deadline(3).outcome(operation)
        assert isinstance(outcome.error, errors.DeadlineExceeded)
        inner = await task
        assert (type(inner.error), inner.error.operation, inner.elapsed) == (errors.DeadlineExceeded, "operation", 3)

    virtual.run(main())


def test_a_task_that_a_call_leaves_behind_is_free_of_its_deadline() -> None:
    async def main() -> None:
        left: list[float] = []
        tasks: list[asyncio.Task[Any]] = []

        async def background() -> str:
            left.append(time_left())
            await asyncio.sleep(2)
            left.append(time_left())
            return await Timeout(9).call(asyncio.sleep, 5, "written")

        async def operation() -> str:
            tasks.append(asyncio.create_task(background()))
            await asyncio.sleep(1)
            return "answer"

        async def outer() -> str:
            return await Deadline(3).call(operation)

        assert await Deadline(60).call(outer) == "answer"
        assert await tasks[0] == "written"
        assert left == [3, float("inf")]

    virtual.run(main())


def test_a_task_that_is_left_behind_inside_of_another_deadline_has_that_one() -> None:
    async def main() -> None:
        left: list[float] = []

        async def background() -> None:
            await asyncio.sleep(2)
            left.append(time_left())

        async def operation() -> asyncio.Task[None]:
            return asyncio.create_task(background())

        async def outer() -> None:
            await (await Deadline(3).call(operation))

        await Deadline(60).call(outer)
        assert left == [58]

    virtual.run(main())


def test_a_task_that_is_left_behind_keeps_nothing_of_the_call_alive() -> None:
    async def main() -> None:
        background: list[asyncio.Task[Any]] = []

        async def operation() -> None:
            background.append(asyncio.create_task(asyncio.sleep(99)))

        task = asyncio.create_task(Deadline(3).call(operation))
        await task
        gone = weakref.ref(task)
        del task
        await asyncio.sleep(0)
        gc.collect()
        assert gone() is None
        background[0].cancel()

    virtual.run(main())


def test_a_thread_of_the_operations_own_sees_it_and_keeps_it() -> None:
    def in_thread() -> Any:
        return time_left(), Timeout(60).outcome(time.sleep, 99)

    async def operation() -> Any:
        await asyncio.sleep(1)
        return await asyncio.shield(asyncio.to_thread(in_thread))

    async def main() -> None:
        task = asyncio.create_task(Deadline(5).outcome(operation))
        outcome = await task
        assert (type(outcome.error), outcome.elapsed) == (errors.DeadlineExceeded, 5)

    virtual.run(main())


def test_closing_the_coroutine_from_elsewhere_closes_the_operation() -> None:
    ended: list[str] = []

    async def operation() -> None:
        try:
            await asyncio.sleep(9)
        except GeneratorExit:
            ended.append("closed")
            raise

    async def main() -> None:
        step = Deadline(3).call(operation)
        step.send(None)
        contextvars.Context().run(step.close)

    virtual.run(main())
    assert ended == ["closed"]


def test_an_operation_that_does_not_wait_arms_no_timer() -> None:
    async def main() -> None:
        async def quick() -> str:
            return "answer"

        with patch.object(asyncio.get_running_loop(), "call_at", side_effect=AssertionError):
            assert await Deadline(3).call(quick) == "answer"
            assert await (Deadline(3) >> Timeout(60)).call(quick) == "answer"

    virtual.run(main())


def test_a_limit_that_the_deadline_makes_needless_arms_no_timer() -> None:
    async def main() -> int:
        loop: Any = asyncio.get_running_loop()
        with patch.object(loop, "call_at", wraps=loop.call_at) as armed:

            async def waits() -> None:
                await asyncio.sleep(0)

            await (Deadline(3) >> Timeout(60) >> Deadline(9)).call(waits)
        return armed.call_count

    assert virtual.run(main()) == 1


# --- in threads ---


def test_nothing_new_starts_in_a_thread_that_is_left_behind() -> None:
    operation = World(False).operation(ConnectionError, takes=5)
    events: list[Event] = []
    with virtual.clock(), listening(events.append):
        with pytest.raises(errors.DeadlineExceeded):
            (Deadline(3) >> Retry(9, backoff.Fixed(0)) >> Timeout(60)).call(operation)
        time.sleep(60)
    assert operation.log.times == [0]
    assert [type(event).__name__ for event in events] == ["Attempt", "TimedOut"]


def test_a_limit_inside_that_cannot_be_reached_needs_no_thread() -> None:
    threads: list[int] = []

    def operation() -> None:
        threads.append(threading.active_count())

    with virtual.clock():
        before = threading.active_count()
        (Deadline(3) >> Timeout(60) >> Timeout(60)).call(operation)
    assert threads == [before + 1]


def test_the_context_of_the_caller_is_as_before(world: World) -> None:
    noted: contextvars.ContextVar[str] = contextvars.ContextVar("noted", default="nothing")

    def operation() -> None:
        noted.set("by the operation")

    guarded = Deadline(3)(world.of(operation))

    def plain() -> Any:
        guarded()
        return noted.get(), current_deadline(), deadline.get()

    async def on_loop() -> Any:
        await guarded()
        return noted.get(), current_deadline(), deadline.get()

    assert copy_context().run(world.do, on_loop if world.asynchronous else plain) == ("by the operation", None, None)


def test_one_object_serves_many_threads() -> None:
    limit = Deadline(30)
    inner = Deadline(60)

    def work(place: int, round_: int) -> None:
        def ask() -> tuple[int, int, bool]:
            return place, round_, 0 < inner.call(time_left) <= 30

        assert limit.call(ask) == (place, round_, True)
        assert time_left() == float("inf")

    assert hammer(work, seconds=0.3) > 32


# --- exploring ---


def test_it_bounds_the_worst_case_and_its_paths_are_those_that_happen() -> None:
    found = explore(Deadline(5) >> Retry(3, backoff.Fixed(3)) >> Timeout(4))
    assert [str(path) for path in found.paths[2:]] == [
        "operation (attempt 1) fails -> wait 3 s -> operation (attempt 2) fails -> give up (no time left) "
        "-> raise ConnectionError after 3 s",
        "operation (attempt 1) fails -> wait 3 s -> operation (attempt 2) hangs -> timed out (cancelled after 5 s) "
        "-> raise DeadlineExceeded after 5 s",
        "operation (attempt 1) hangs -> timed out (cancelled after 4 s) -> give up (no time left) "
        "-> raise TimeoutExceeded after 4 s",
    ]
    assert found.report().worst_latency == 5


def test_a_moment_of_the_real_clock_is_explored_as_the_time_that_was_left() -> None:
    assert explore(Deadline.until(time.monotonic() + 5)).report().worst_latency == pytest.approx(5, abs=0.1)
    [path] = explore(Deadline.until(time.monotonic() - 5)).paths
    assert isinstance(path.error, errors.DeadlineExceeded)


@pytest.mark.parametrize("outside", [(), (Retry(1),)])
def test_exploring_on_a_loop_finds_the_same_paths(outside: tuple[Policy, ...]) -> None:
    class Suspends(Policy):
        """Has the explorer take its event loop."""

        async def run(self, call: Any, rt: Any) -> Any:
            return await rt.first([call], 0.0)

    stacks: list[list[Any]] = []
    for inside in ((), (Suspends(),)):
        stack: Any = Deadline(5)
        for layer in (*outside, Retry(3, backoff.Fixed(2)), Deadline(9), Timeout(4), *inside):
            stack = stack >> layer
        stacks.append([(str(path.error), path.elapsed, path.reports) for path in explore(stack).paths])
    assert stacks[0] == stacks[1]


def test_foreign_code_is_explored_with_what_is_left() -> None:
    async def handler(fetch: Any) -> Any:
        return await Deadline(4).call(retried, fetch)

    async def retried(fetch: Any) -> Any:
        return await Retry(3, backoff.Fixed(3)).call(fetch)

    found = explore(handler)
    assert found.report().worst_latency == 4
    assert {type(path.error).__name__ for path in found.paths if path.error} == {"ConnectionError", "DeadlineExceeded"}
