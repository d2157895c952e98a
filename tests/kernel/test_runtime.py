from __future__ import annotations

import asyncio
import functools
import threading
import time
from typing import Any
from unittest.mock import MagicMock

import pytest

from failwell import Policy, Timeout, virtual
from failwell.runtime import Abandoned, AsyncRuntime, BlockingRuntime, Mark, Signal, _Lease, deadline, name_of
from tests.kernel.world import World


class Does(Policy):
    """Runs one request of a test's own."""

    def __init__(self, what: Any) -> None:
        self.what = what

    async def run(self, call: Any, rt: Any) -> Any:
        return await self.what(rt, call)


def do(world: World, what: Any) -> Any:
    return world.run(Does(what), world.operation("answer")).unwrap()


def test_clocks_chance_and_what_is_left(world: World) -> None:
    async def ask(rt: Any, call: Any) -> Any:
        assert rt.time_left() == float("inf")
        token = deadline.set(rt.now() + 5)
        await rt.sleep(2)
        left = rt.time_left()
        deadline.reset(token)
        return rt.now(), rt.wall_time(), left, rt.between(3, 3), 1 <= rt.between(1, 2) <= 2

    assert do(world, ask) == (2, 2, 3, 3, True)


@pytest.mark.parametrize(("drawn", "seconds"), [(0.0, 1.0), (0.25, 1.5), (0.75, 2.5)])
def test_a_random_wait_is_drawn_evenly(monkeypatch: pytest.MonkeyPatch, drawn: float, seconds: float) -> None:
    monkeypatch.setattr("random.random", lambda: drawn)
    assert BlockingRuntime("layer", "operation").between(1, 3) == seconds


def test_a_plain_wait_of_nothing_does_not_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    for seconds in (0, 0.5, 1):
        BlockingRuntime("layer", "operation").sleep(seconds)
    assert slept == [0.5, 1]


def test_a_signal_that_comes_while_one_waits_is_no_timeout() -> None:
    async def main(signal: Signal, start: Any) -> bool:
        start(0.01, signal.set)
        return await AsyncRuntime("layer", "operation").wait(signal, 60)

    async def on_this_loop() -> bool:
        return await main(Signal(), asyncio.get_running_loop().call_later)

    assert asyncio.run(main(Signal(), lambda *args: threading.Timer(*args).start())) is True
    assert virtual.run(on_this_loop()) is True


def test_a_caller_that_is_interrupted_abandons_its_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = BlockingRuntime("layer", "operation")
    interrupted, ended = threading.Event(), threading.Event()
    starts: list[str] = []

    def call() -> None:
        assert interrupted.wait(10)
        try:
            runtime.invoke(starts.append, ("something new",))
        finally:
            ended.set()

    def interrupt(*_: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(BlockingRuntime, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            runtime.within(60, call)
    interrupted.set()
    assert ended.wait(10)
    assert starts == []


def test_wait_says_whether_the_signal_came_in_time(world: World) -> None:
    async def ask(rt: Any, call: Any) -> Any:
        signal = Signal()
        early = await rt.wait(signal, 3)
        when = rt.now()
        signal.set()
        return early, when, await rt.wait(signal, 3), await rt.wait(signal), rt.now(), len(signal._wakers)

    assert do(world, ask) == (False, 3, True, True, 3, 0)


def test_a_signal_wakes_tasks_and_threads_wherever_they_wait() -> None:
    signal = Signal()
    woken: list[str] = []
    blocking = BlockingRuntime("layer", "operation")
    on_loop = AsyncRuntime("layer", "operation")

    def in_thread() -> None:
        blocking.wait(signal)
        woken.append("thread")

    async def in_loop(name: str) -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(on_loop.wait(signal, 60))
        woken.append(name)

    waiting = [threading.Thread(target=in_thread), threading.Thread(target=lambda: asyncio.run(in_loop("other loop")))]
    for thread in waiting:
        thread.start()

    async def main() -> None:
        task = asyncio.create_task(in_loop("this loop"))
        while len(signal._wakers) < 5:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        signal.set()
        await task

    asyncio.run(main())
    for thread in waiting:
        thread.join()
    assert sorted(woken) == ["other loop", "this loop", "thread"]


def test_a_signal_does_not_mind_a_loop_that_is_gone_or_a_waiter_that_was_served() -> None:
    signal = Signal()
    runtime = AsyncRuntime("layer", "operation")
    loop = asyncio.new_event_loop()
    step = runtime.wait(signal)

    async def start() -> None:
        step.send(None)

    loop.run_until_complete(start())
    loop.close()
    signal.set()

    async def served_twice() -> bool:
        again = Signal()
        asyncio.get_running_loop().call_later(1, again.set)
        return await runtime.wait(again, 1)

    assert virtual.run(served_twice()) in {True, False}
    with pytest.raises(BaseException):
        step.throw(asyncio.CancelledError)


def test_cleanup_runs_to_its_end_and_the_cancellation_is_passed_on() -> None:
    ended: list[float] = []
    runtime = AsyncRuntime("layer", "operation")

    async def cleanup(fails: bool) -> str:
        await asyncio.sleep(5)
        ended.append(time.monotonic())
        if fails:
            raise KeyError("cleanup")
        return "cleaned"

    async def main() -> None:
        assert await runtime.shielded(lambda: cleanup(False)) == "cleaned"
        with pytest.raises(KeyError):
            await runtime.shielded(lambda: cleanup(True))
        for fails in (False, True):
            task = asyncio.create_task(runtime.shielded(lambda fails=fails: cleanup(fails)))
            for _ in range(3):
                await asyncio.sleep(1)
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    virtual.run(main())
    assert ended == [5, 10, 15, 20]


def test_cleanup_that_is_itself_cancelled_by_somebody_passes_that_on() -> None:
    async def cleanup() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(1)

    async def main() -> None:
        runtime = AsyncRuntime("layer", "operation")
        with pytest.raises(asyncio.CancelledError):
            await runtime.shielded(cleanup)
        task = asyncio.create_task(runtime.shielded(cleanup))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    virtual.run(main())


def test_cleanup_in_an_abandoned_thread_runs_to_its_end() -> None:
    ended: list[Any] = []

    async def ask(rt: Any, call: Any) -> Any:
        async def cleanup() -> None:
            await rt.sleep(5)
            ended.append(rt.now())

        try:
            await rt.sleep(20)
        finally:
            await rt.shielded(cleanup)

    with virtual.clock():
        assert (Timeout(3, default="late") >> Does(ask)).call(lambda: None) == "late"
        time.sleep(60)
    assert ended == [8]


@pytest.mark.parametrize(
    "request_",
    [
        lambda rt: rt.now(),
        lambda rt: rt.wall_time(),
        lambda rt: rt.time_left(),
        lambda rt: rt.between(1, 2),
        lambda rt: rt.degraded(),
        lambda rt: rt.emit(None),
        lambda rt: rt.announce(None, None),
        lambda rt: rt.sleep(0),
        lambda rt: rt.invoke(print),
        lambda rt: rt.decide("?", (), print),
        lambda rt: rt.within(1, print),
        lambda rt: rt.wait(Signal()),
        lambda rt: rt.graded(print),
        lambda rt: rt.tentative(print),
    ],
)
def test_every_request_in_an_abandoned_thread_ends_it(request_: Any, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes: list[Any] = []

    def late(seconds: float) -> None:
        time.sleep(seconds)
        try:
            request_(BlockingRuntime("layer", "operation"))
        except Abandoned as error:
            outcomes.append(str(error))
            raise

    with virtual.clock():
        Timeout(1, default=None).call(late, 2)
        time.sleep(9)
    assert outcomes == ["the caller stopped waiting for this thread"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (print, "print"),
        (functools.partial(functools.partial(print)), "print"),
        (World, "World"),
        (MagicMock(), "MagicMock"),
        (functools.partial(MagicMock()), "MagicMock"),
        (World(True), "World"),
    ],
)
def test_everything_has_a_name(fn: Any, name: str) -> None:
    assert name_of(fn) == name


def test_a_mark_reaches_the_block_around_it_when_that_answers() -> None:
    runtime = AsyncRuntime("layer", "operation")
    runtime.degraded()  # nobody asks
    with Mark() as outer:
        with Mark(tentative=True) as inner:
            runtime.degraded()
        assert (inner.degraded, outer.degraded) == (True, False)
        with pytest.raises(KeyError), Mark():
            runtime.degraded()
            raise KeyError
        assert not outer.degraded
        with Mark():
            runtime.degraded()
        assert outer.degraded
        with Mark() as clean:
            pass
        assert not clean.degraded


def test_a_limit_that_is_over_ends_those_inside_of_it_even_if_they_come_late() -> None:
    outer = _Lease(None)
    inside = _Lease(outer)
    settled = _Lease(outer)
    settled.settle()
    outer.ended.set()
    assert (inside.ended.is_set, settled.ended.is_set, _Lease(outer).ended.is_set) == (True, False, True)
    outer.settle()


def test_a_thread_keeps_what_it_set_only_where_it_was_in_time() -> None:
    before = deadline.get()

    def sets(seconds: float) -> None:
        time.sleep(seconds)
        deadline.set(99.0)

    with virtual.clock():
        Timeout(1, default=None).call(sets, 5)
        assert deadline.get() == before
