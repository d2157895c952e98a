from __future__ import annotations

import asyncio
import signal
import threading
import time
from contextvars import ContextVar
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import Fallback, Policy, Retry, Timeout, backoff, errors, virtual
from failwell.events import TimedOut
from failwell.patterns.timeout import RAISE
from failwell.runtime import Signal
from tests.kernel.world import Hang, World, kinds

NOTED: ContextVar[str] = ContextVar("noted", default="nothing")


# --- both worlds ---


def test_an_answer_in_time_is_returned(world: World) -> None:
    operation = world.operation("answer", takes=2)
    outcome = world.run(Timeout(3), operation, 1, key=2)
    assert outcome.unwrap() == "answer"
    assert operation.log.calls == [((1,), {"key": 2})]
    assert (outcome.events, outcome.elapsed) == ((), 2)


def test_an_operation_that_hangs_is_ended_after_its_time(world: World) -> None:
    outcome = world.run(Timeout(3), world.operation(Hang, name="fetch"))
    assert isinstance(outcome.error, errors.TimeoutExceeded)
    assert isinstance(outcome.error, TimeoutError)
    assert str(outcome.error) == "fetch took longer than 3 s"
    assert (outcome.error.seconds, outcome.error.operation) == (3, "fetch")
    assert outcome.elapsed == 3
    [event] = outcome.events
    assert isinstance(event, TimedOut)
    assert (event.seconds, event.layer, event.operation, event.time) == (3, "Timeout", "fetch", 3)


def test_a_default_answers_instead_and_counts_as_degraded(world: World) -> None:
    outcome = world.run(Timeout(3, default=[]), world.operation(Hang))
    assert (outcome.value, outcome.error, outcome.degraded) == ([], None, True)
    assert kinds(outcome) == ["TimedOut"]
    assert world.run(Timeout(3, default=None), world.operation("real")).degraded is False
    assert world.run(Timeout(3, default="raise"), world.operation(Hang)).value == "raise"
    assert world.run(Timeout(3, default=ANY), world.operation(Hang)).value is ANY, "it equals everything"
    assert world.run(Timeout(3), world.operation(ANY)).value is ANY


@pytest.mark.parametrize("error", [TimeoutError("own"), errors.TimeoutExceeded(9), ValueError("own")])
def test_an_error_of_the_operations_own_is_not_relabelled(world: World, error: Exception) -> None:
    for takes in (0, 1):
        outcome = world.run(Timeout(3, default=1), world.operation(error, takes=takes))
        assert outcome.error is error
        assert outcome.events == ()


def test_of_nested_timeouts_the_shorter_one_ends_the_call(world: World) -> None:
    outcome = world.run(Timeout(5) >> Timeout(2), world.operation(Hang))
    assert [e.layer for e in outcome.events] == ["Timeout 2"]
    assert outcome.elapsed == 2
    outcome = world.run(Timeout(2) >> Timeout(5), world.operation(Hang))
    assert [e.layer for e in outcome.events] == ["Timeout"]
    assert outcome.elapsed == 2


def test_a_retry_inside_is_cut_in_its_wait_and_one_outside_tries_again(world: World) -> None:
    operation = world.operation(ConnectionError)
    outcome = world.run(Timeout(4) >> Retry(9, backoff=backoff.Fixed(3)), operation)
    assert isinstance(outcome.error, errors.TimeoutExceeded)
    assert operation.log.times == [0, 3]
    assert outcome.elapsed == 4
    operation = world.operation(Hang, "answer")
    outcome = world.run(Retry(backoff=backoff.Fixed(1)) >> Timeout(3), operation)
    assert outcome.unwrap() == "answer"
    assert operation.log.times == [0, 4]


def test_context_variables_are_kept_in_both_directions(world: World) -> None:
    seen: list[str] = []

    def operation() -> None:
        seen.append(NOTED.get())
        NOTED.set("by the operation")

    guarded = Timeout(3)(world.of(operation))

    def plain() -> str:
        NOTED.set("by the caller")
        guarded()
        return NOTED.get()

    async def on_loop() -> str:
        NOTED.set("by the caller")
        await guarded()
        return NOTED.get()

    token = NOTED.set("before")
    try:
        assert world.do(on_loop if world.asynchronous else plain) == "by the operation"
    finally:
        NOTED.reset(token)
    assert seen == ["by the caller"]


@given(seconds=st.floats(0.001, 1e6), takes=st.floats(0, 1e6), asynchronous=st.booleans())
def test_it_ends_after_the_operation_or_its_time_whichever_comes_first(
    seconds: float, takes: float, asynchronous: bool
) -> None:
    world = World(asynchronous)
    outcome = world.run(Timeout(seconds), world.operation("answer", takes=takes))
    if takes != seconds:
        assert outcome.ok is (takes < seconds)
    assert outcome.elapsed == pytest.approx(min(seconds, takes))


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_passes(world: World, error: type[BaseException]) -> None:
    with pytest.raises(error):
        world.run(Timeout(3, default=1), world.operation(error, takes=1 if not world.asynchronous else 0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (0, "seconds must be above 0 and finite, got 0"),
        (-1.0, "got -1.0"),
        (float("inf"), "got inf"),
        (float("nan"), "got nan"),
        ("1", "seconds must be a number, got '1'"),
        (True, "seconds must be a number, got True"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(wrong: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Timeout(wrong)


def test_the_repr_shows_a_default_only_where_there_is_one() -> None:
    assert repr(Timeout(3)) == "Timeout(3)"
    assert repr(Timeout(3, None)) == "Timeout(3, default=None)"
    assert repr(RAISE) == "RAISE"
    assert Timeout(3).replace(seconds=4).describe() == {"seconds": 4, "default": RAISE}


def test_a_very_long_time_is_possible_in_real_time() -> None:
    assert Timeout(1e300)(lambda: "answer")() == "answer"
    assert asyncio.run(Timeout(1e300).call(asyncio.sleep, 0.001, "answer")) == "answer"


# --- on a loop ---


def test_cancelling_the_caller_is_not_taken_for_a_timeout() -> None:
    async def main() -> None:
        task = asyncio.create_task(Timeout(5, default="late").call(asyncio.sleep, 9))
        await asyncio.sleep(2)
        task.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await task

    virtual.run(main())


@pytest.mark.parametrize("first", ["timer", "caller"])
def test_a_cancellation_at_the_very_moment_of_expiry_wins(first: str) -> None:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        task: Any = None
        if first == "caller":
            loop.call_later(5, lambda: task.cancel())
        task = asyncio.create_task(Timeout(5, default="late").call(asyncio.sleep, 9))
        await asyncio.sleep(0)
        if first == "timer":
            loop.call_later(5, lambda: task.cancel())
        await asyncio.wait([task])
        return task.cancelled()

    assert virtual.run(main())


@pytest.mark.parametrize("outer", [4, 5, 6])
@pytest.mark.parametrize("inside", [True, False])
def test_it_nests_with_asyncio_timeout(inside: bool, outer: float) -> None:
    async def main() -> str:
        async def limited() -> None:
            async with asyncio.timeout(5 if inside else outer):
                await (asyncio.sleep(9) if inside else Timeout(5).call(asyncio.sleep, 9))

        task = asyncio.current_task()
        assert task is not None
        try:
            await (Timeout(outer).call(limited) if inside else limited())
        except errors.TimeoutExceeded:
            return "ours"
        except TimeoutError:
            return "asyncio's"
        finally:
            assert task.cancelling() == 0
        return "none"

    ours_first = outer < 5 if inside else outer > 5
    if outer != 5:
        assert virtual.run(main()) == ("ours" if ours_first else "asyncio's")
    else:
        assert virtual.run(main()) in {"ours", "asyncio's"}


def test_it_works_around_and_inside_of_a_task_group() -> None:
    async def main() -> list[Any]:
        ended: list[Any] = []

        async def worker(seconds: float) -> None:
            try:
                await asyncio.sleep(seconds)
            finally:
                ended.append((seconds, time.monotonic()))

        async def group() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(worker(1))
                tasks.create_task(worker(9))

        with pytest.raises(errors.TimeoutExceeded):
            await Timeout(3).call(group)
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(Timeout(1).call(worker, 8))
                tasks.create_task(worker(7))
        assert caught.group_contains(errors.TimeoutExceeded)
        return ended

    assert virtual.run(main()) == [(1, 1), (9, 3), (8, 4), (7, 4)]


def test_an_operation_that_swallows_the_cancellation_answers_late_and_its_task_is_clean() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
        return "late answer"

    async def main() -> str:
        answer = await Timeout(3).call(stubborn)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        await asyncio.sleep(1)
        assert time.monotonic() == 5
        return answer

    assert virtual.run(main()) == "late answer"


@pytest.mark.parametrize("waits_first", [True, False])
def test_an_operation_that_answers_the_cancellation_with_a_value_is_done(waits_first: bool) -> None:
    async def obliging() -> str:
        if waits_first:
            await asyncio.sleep(1)
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            return "partial answer"
        return "answer"

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        assert await Timeout(3).call(obliging) == "partial answer"
        assert (task.cancelling(), time.monotonic()) == (0, 3)

    virtual.run(main())


def test_an_operation_that_fails_while_it_is_cancelled_fails_with_its_own_error() -> None:
    async def clumsy() -> None:
        try:
            await asyncio.sleep(9)
        finally:
            raise KeyError("in cleanup")

    async def main() -> None:
        with pytest.raises(KeyError):
            await Timeout(3).call(clumsy)
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    virtual.run(main())


def test_an_operation_that_never_suspends_arms_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once() -> str:
        time.sleep(9)  # noqa: ASYNC251
        return "answer"

    async def main() -> str:
        monkeypatch.setattr(asyncio.get_running_loop(), "call_later", None)
        return await Timeout(3).call(at_once)

    assert virtual.run(main()) == "answer"


def test_work_before_the_first_suspension_counts() -> None:
    async def slow_start() -> None:
        time.sleep(2)  # noqa: ASYNC251
        await asyncio.sleep(9)

    async def main() -> float:
        with pytest.raises(errors.TimeoutExceeded):
            await Timeout(3).call(slow_start)
        return time.monotonic()

    assert virtual.run(main()) == 3


def test_a_timer_outside_of_a_task_is_refused_clearly() -> None:
    step = Timeout(3).call(asyncio.sleep, 1)
    loop = virtual.VirtualLoop()
    asyncio._set_running_loop(loop)
    try:
        with pytest.raises(RuntimeError, match="a timeout needs a running asyncio task"):
            step.send(None)
    finally:
        asyncio._set_running_loop(None)
        loop.close()


def test_closing_the_coroutine_closes_the_operation() -> None:
    ended: list[str] = []

    async def operation() -> None:
        try:
            await asyncio.sleep(9)
        except GeneratorExit:
            ended.append("closed")
            raise

    async def main() -> None:
        step = Timeout(3).call(operation)
        step.send(None)
        step.close()

    virtual.run(main())
    assert ended == ["closed"]


def test_a_policy_may_limit_any_awaitable() -> None:
    class Limited(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            loop = asyncio.get_running_loop()
            future = loop.create_future()
            loop.call_later(2, future.set_result, "from a future")
            return await rt.within(3, lambda: future)

    async def nothing() -> None: ...

    assert virtual.run(Limited().call(nothing)) == "from a future"


# --- in threads ---


def trail(*layers: Policy) -> Any:
    """What an abandoned thread still does: an operation that runs on, under layers that would go on."""
    log: list[Any] = []
    operation = World(False).operation(ConnectionError, takes=5)
    stack: Any = Timeout(3, default="late")
    for layer in layers:
        stack = stack >> layer
    with virtual.clock():
        outcome = stack.outcome(operation)
        time.sleep(60)
        log += operation.log.times
    return outcome, log


@pytest.mark.parametrize(
    "layers",
    [
        (Retry(backoff=backoff.Fixed(1)),),
        (Fallback(lambda: pytest.fail("asked"), Fallback.value(1)),),
        (Timeout(50), Retry(backoff=backoff.Fixed(1))),
        (Retry(backoff=backoff.Fixed(1)), Timeout(50)),
        (Fallback(lambda: pytest.fail("asked")), Retry(2, backoff=backoff.Fixed(1)), Timeout(50)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("driven", [True, False])
def test_nothing_new_starts_in_an_abandoned_thread(layers: Any, driven: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if driven:
        monkeypatch.setattr("failwell.policy.derive", lambda *_, **__: None)
    outcome, calls = trail(*layers)
    assert outcome.value == "late"
    assert calls == [0]
    assert kinds(outcome)[-1] == "TimedOut"


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("failwell")]


def gone(before: list[threading.Thread]) -> bool:
    limit = time.monotonic() + 2
    while [t for t in threads() if t not in before] and time.monotonic() < limit:
        time.sleep(0.002)
    return [t for t in threads() if t not in before] == []


@pytest.mark.parametrize(
    "inner",
    [
        Retry(backoff=backoff.Fixed(60)),
        Timeout(60) >> Retry(backoff=backoff.Fixed(60)),
        Timeout(60) >> Timeout(60) >> Retry(backoff=backoff.Fixed(60)),
    ],
    ids=repr,
)
def test_a_sleep_in_an_abandoned_thread_ends_at_once_in_real_time_too(inner: Policy) -> None:
    operation = World(False).operation(ConnectionError)
    before = threads()
    with pytest.raises(errors.TimeoutExceeded):
        (Timeout(0.02) >> inner).call(operation)
    assert gone(before)
    assert len(operation.log.calls) == 1


def test_a_wait_for_a_signal_in_an_abandoned_thread_ends_at_once() -> None:
    class Waits(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            return await rt.wait(Signal())

    before = threads()
    with pytest.raises(errors.TimeoutExceeded):
        (Timeout(0.02) >> Waits()).call(lambda: None)
    assert gone(before)


def test_a_loop_in_an_abandoned_thread_starts_nothing_new_either() -> None:
    operation = World(True).operation(ConnectionError)
    asked = World(True).operation("answer")
    inner = Fallback(asked) >> Retry(backoff=backoff.Fixed(60))
    before = threads()
    with pytest.raises(errors.TimeoutExceeded):
        Timeout(0.05).call(lambda: asyncio.run(inner.call(operation)))
    assert gone(before)
    assert (len(operation.log.calls), asked.log.calls) == (1, [])
    soon = World(True).operation(ConnectionError, "answer")
    retried = Retry(backoff=backoff.Fixed(0.001)).call
    assert Timeout(5).call(lambda: asyncio.run(retried(soon))) == "answer"


def test_an_interrupt_in_the_waiting_caller_abandons_the_thread() -> None:
    operation = World(False).operation(ConnectionError)
    stack = Timeout(60) >> Retry(backoff=backoff.Fixed(60))
    before = threads()
    timer = threading.Timer(0.05, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        stack.call(operation)
    timer.join()
    assert gone(before)
    assert len(operation.log.calls) == 1


def test_the_running_function_runs_to_its_end() -> None:
    ended: list[float] = []

    def operation() -> None:
        time.sleep(5)
        ended.append(time.monotonic())

    with virtual.clock():
        with pytest.raises(errors.TimeoutExceeded):
            Timeout(3).call(operation)
        time.sleep(60)
    assert ended == [5]


def test_what_is_over_in_time_leaves_no_trace_on_the_one_around_it() -> None:
    """A long call under one limit that makes many short calls under limits of their own."""
    waiting: list[int] = []

    class Looks(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            waiting.append(len(rt.lease().ended._wakers))
            return await call()

    quick = Timeout(1)(lambda: None)

    def many() -> None:
        Looks().call(lambda: None)
        for _ in range(5):
            quick()
        Looks().call(lambda: None)

    Timeout(60).call(many)
    before, after = waiting
    assert before == after
