"""`Runtime.each`: many calls, a few at a time."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from contextvars import ContextVar
from typing import Any

import pytest

from failwell import Policy, Timeout, errors, explore, virtual
from failwell.runtime import AsyncRuntime, BlockingRuntime, UnexpectedAwaitable
from tests.kernel.world import World


class Twice(Policy):
    """Makes its call several times, a few at once."""

    def __init__(self, times: int, limit: int) -> None:
        self.times = times
        self.limit = limit

    async def run(self, call: Any, rt: Any) -> Any:
        calls = [call] * self.times
        await rt.each(self.limit, calls)
        return "all done"


@pytest.mark.parametrize(
    ("times", "limit", "takes"), [(0, 3, 0), (1, 3, 2), (6, 1, 12), (6, 2, 6), (7, 3, 6), (6, 99, 2)]
)
def test_no_more_run_at_once_than_may_and_no_fewer(world: World, times: int, limit: int, takes: float) -> None:
    operation = world.operation("fine", takes=2.0)
    outcome = world.run(Twice(times, limit), operation, "a", b=1)
    assert (outcome.value, outcome.elapsed) == ("all done", takes)
    assert operation.log.calls == [(("a",), {"b": 1})] * times


def test_an_error_ends_all_and_is_raised(world: World) -> None:
    for kind in (ValueError, KeyboardInterrupt):
        for limit in (1, 2):
            operation = world.operation("fine", "fine", "fine", kind("no"), "fine", takes=1.0)
            with pytest.raises(kind, match="no"):
                world.run(Twice(20, limit), operation).unwrap()
            assert 4 <= len(operation.log.calls) <= 3 + limit


def test_what_is_under_way_is_cancelled_and_waited_for() -> None:
    ended: list[str] = []

    async def main() -> None:
        async def operation() -> None:
            number = len(ended) + 1
            try:
                await asyncio.sleep(5)
            finally:
                await asyncio.sleep(1)
                ended.append(f"{number} at {time.monotonic():g} s")

        task = asyncio.create_task(Twice(9, 3).call(operation))
        await asyncio.sleep(2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() == 3
        assert len(ended) == 3
        assert len(asyncio.all_tasks()) == 1

    virtual.run(main())


def test_one_that_fails_has_the_others_cancelled_and_waited_for() -> None:
    ended: list[float] = []

    async def main() -> None:
        started = 0

        async def operation() -> None:
            nonlocal started
            started += 1
            if started == 2:
                await asyncio.sleep(2)
                raise ValueError("no")
            try:
                await asyncio.sleep(5)
            finally:
                await asyncio.sleep(1)
                ended.append(time.monotonic())

        with pytest.raises(ValueError, match="no"):
            await Twice(9, 3).call(operation)
        assert (time.monotonic(), ended, started) == (3, [3, 3], 3)

    virtual.run(main())


def test_a_call_that_fails_before_it_can_be_awaited_ends_all() -> None:
    async def main() -> None:
        def broken() -> Any:
            raise ValueError("no coroutine")

        with pytest.raises(ValueError, match="no coroutine"):
            await AsyncRuntime("layer", "operation").each(2, [broken] * 5)

    virtual.run(main())


def test_something_thrown_into_it_ends_what_is_under_way() -> None:
    ended: list[int] = []

    async def operation() -> None:
        try:
            await asyncio.sleep(5)
        finally:
            ended.append(1)

    async def main() -> None:
        running = AsyncRuntime("layer", "operation").each(2, [operation] * 5)
        running.send(None)
        await asyncio.sleep(1)
        waits_for: Any = running.throw(ValueError("thrown"))
        assert waits_for is not None
        await asyncio.sleep(1)
        with pytest.raises(ValueError, match="thrown"):
            running.send(None)
        assert ended == [1, 1]

    virtual.run(main())


def test_after_that_nothing_starts_though_a_call_takes_no_notice() -> None:
    started: list[int] = []

    async def stubborn() -> None:
        started.append(1)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(5)

    async def main() -> None:
        running = AsyncRuntime("layer", "operation").each(2, [stubborn] * 5)
        running.send(None)
        await asyncio.sleep(1)
        running.throw(ValueError("thrown"))
        await asyncio.sleep(1)
        with pytest.raises(ValueError, match="thrown"):
            running.send(None)
        assert len(started) == 2

    virtual.run(main())


def test_a_plain_caller_waits_for_no_other_call_when_one_has_failed() -> None:
    calls: list[float] = []
    number = itertools.count(1)

    def operation() -> None:
        calls.append(time.monotonic())
        time.sleep(10 * next(number))
        raise ValueError(f"after {time.monotonic():g} s")

    with virtual.clock():
        with pytest.raises(ValueError, match="after 10 s"):
            BlockingRuntime("layer", "operation").each(3, [operation] * 9)
        assert time.monotonic() == 10
        time.sleep(100)
    assert calls == [0, 0, 0]


def test_one_that_is_closed_leaves_nothing_running() -> None:
    async def main() -> None:
        running = AsyncRuntime("layer", "operation").each(2, [lambda: asyncio.sleep(5)] * 5)
        running.send(None)
        running.close()
        await asyncio.sleep(1)
        assert len(asyncio.all_tasks()) == 1

    virtual.run(main())


def test_each_call_has_a_context_of_its_own(world: World) -> None:
    variable = ContextVar("variable", default="unset")
    seen: list[str] = []

    def operation() -> None:
        seen.append(variable.get())
        variable.set("set by another")

    for limit in (1, 2):
        world.run(Twice(4, limit), world.of(operation))
    assert seen == ["unset"] * 8
    assert variable.get() == "unset"


def test_threads_that_a_plain_caller_leaves_behind_start_nothing_new() -> None:
    operation = World(False).operation("fine", takes=2.0)
    with virtual.clock():
        with pytest.raises(errors.TimeoutExceeded):
            (Timeout(3) >> Twice(20, 4)).call(operation)
        time.sleep(100)
    assert len(operation.log.calls) == 8


def test_an_awaitable_under_a_plain_call_is_refused() -> None:
    async def late() -> None: ...

    for limit in (1, 3):
        with pytest.raises(UnexpectedAwaitable):
            BlockingRuntime("layer", "operation").each(limit, [late] * 5)


def test_a_thread_that_cannot_be_started_ends_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    real = virtual.start_thread

    def start(work: Any) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        started.append(work)
        real(work)

    go = threading.Event()
    monkeypatch.setattr(virtual, "start_thread", start)
    calls: list[int] = []

    def operation() -> None:
        calls.append(1)
        go.wait(10)

    with pytest.raises(RuntimeError, match="new thread"):
        BlockingRuntime("layer", "operation").each(3, [operation] * 20)
    go.set()
    time.sleep(0.05)
    assert len(calls) <= 2


def test_exploring_goes_through_them_one_after_the_other() -> None:
    paths = [str(path) for path in explore(Twice(2, 9), outcomes=("ok", "fail")).paths]
    assert paths == [
        "operation ok -> operation ok -> return after 0 s",
        "operation ok -> operation fails -> raise ConnectionError after 0 s",
        "operation fails -> raise ConnectionError after 0 s",
    ]
