from __future__ import annotations

import asyncio
import functools
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest

from failwell import Cache, CircuitBreaker, Fallback, Retry, Router, Saga, Step, Timeout, backoff, explore, listening
from failwell.policy import Policy
from failwell.switch import VARIABLE, Switch, disabled, enabled, switch
from tests.kernel.world import Hang, World, kinds
from tests.soak.test_soak import hammer

ONE = backoff.Fixed(1.0)


@pytest.fixture(autouse=True)
def nothing_stays_touched() -> Iterator[None]:
    before = switch.touched  # threads that were abandoned by tests before this one
    yield
    assert switch.touched <= before


def test_a_disabled_call_is_the_plain_call(world: World) -> None:
    operation = world.operation(ConnectionError("down"), "up")
    policy = Timeout(5) >> Fallback(Fallback.value("poor")) >> Retry(3, ONE)
    with disabled():
        outcome = world.run(policy, operation, 1, key=2)
    assert (str(outcome.error), outcome.events, outcome.elapsed) == ("down", (), 0)
    assert getattr(outcome.error, "__notes__", []) == []
    assert operation.log.calls == [((1,), {"key": 2})]
    assert world.run(policy, operation).unwrap() == "up"


def test_functions_that_were_decorated_before_are_disabled_too_and_work_again_afterwards(world: World) -> None:
    operation = world.operation(ConnectionError, ConnectionError, ConnectionError, "up")
    guarded = Retry(3, ONE)(operation)
    with disabled(), pytest.raises(ConnectionError):
        world.do(guarded)
    assert len(operation.log.calls) == 1
    assert world.do(guarded) == "up"
    assert len(operation.log.calls) == 4


def test_no_state_is_looked_at_or_changed(world: World) -> None:
    operation = world.operation("first", OSError, OSError, OSError, "last")
    cache, breaker = Cache(60), CircuitBreaker(1)
    guarded = (cache >> breaker)(operation)
    assert world.do(guarded) == "first"
    with disabled():
        for _ in range(3):
            with pytest.raises(OSError):
                world.do(guarded)
        assert world.do(guarded) == "last"
    assert breaker.state.value == "closed"
    assert breaker.failure_count == 0


def test_a_block_inside_of_a_block_has_the_last_word(world: World) -> None:
    def answer() -> Any:
        return world.run(Fallback(Fallback.value("poor")), world.operation(OSError)).value

    assert answer() == "poor"
    with disabled():
        assert answer() is None
        with enabled():
            assert answer() == "poor"
            with disabled():
                assert answer() is None
            assert answer() == "poor"
        assert answer() is None
    with disabled(everywhere=True):
        assert answer() is None
        with enabled():
            assert answer() == "poor"
    assert answer() == "poor"


def test_nested_protected_functions_are_disabled_as_well(world: World) -> None:
    inner = world.operation(OSError)
    alternative = Fallback(Fallback.value("never"))(world.operation(KeyError))
    guarded = Fallback(alternative)(functools.partial(Retry(3, ONE)(inner)))
    with disabled(), pytest.raises(OSError):
        world.do(guarded)
    assert len(inner.log.calls) == 1


def test_methods_partials_and_objects_are_disabled() -> None:
    class Service:
        @Fallback(Fallback.value("poor"))
        def read(self, name: str) -> str:
            raise OSError(name)

        @classmethod
        @Fallback(Fallback.value("poor"))
        def make(cls) -> str:
            raise OSError("make")

    class Caller:
        async def __call__(self) -> str:
            raise OSError("called")

    guarded = Fallback(Fallback.value("poor"))(Caller())
    assert (Service().read("a"), Service.make(), asyncio.run(guarded())) == ("poor",) * 3
    with disabled():
        for call in (functools.partial(Service().read, "a"), Service.make, lambda: asyncio.run(guarded())):
            with pytest.raises(OSError):
                call()


def test_a_policy_of_the_users_own_is_disabled_also_where_its_text_cannot_be_had(world: World) -> None:
    class Twice(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            return [await call(), await call()]

    space: dict[str, Any] = {"Policy": Policy}
    exec("class Typed(Policy):\n async def run(self, call, rt):\n  return [await call(), await call()]", space)
    for policy in (Twice(), space["Typed"]()):
        operation = world.operation(1, 2, 3)
        with disabled():
            assert world.run(policy, operation).unwrap() == 1
        assert world.run(policy, operation).unwrap() == [2, 3]


def test_a_saga_undoes_what_it_did_also_when_disabled(world: World) -> None:
    done: list[str] = []
    charge = world.operation(OSError("no"), name="charge")
    saga = Saga(
        [
            Step(world.of(lambda state: done.append("reserved")), world.of(lambda state: done.append("released"))),
            Step(charge, world.of(lambda state: None), retry=Retry(3, ONE, on=OSError), name="charge"),
        ]
    )
    with disabled():
        for run in (saga, Timeout(60)(saga)):
            done.clear()
            charge.log.calls.clear()
            with pytest.raises(Exception, match="saga failed at step 'charge'"):
                world.do(lambda run=run: run({}))
            assert done == ["reserved", "released"]
            assert len(charge.log.calls) == 1, "the retry of a step is a policy, and off"


def test_a_router_still_routes(world: World) -> None:
    router = Router({"a": world.operation("A"), "b": world.operation("B")}, lambda name: name)
    with disabled():
        assert world.do(lambda: router("b")) == "B"
        assert world.do(lambda: (Timeout(3) >> router)("a")) == "A"


def test_a_call_that_is_under_way_stays_as_it_was_when_it_started() -> None:
    world = World(True)
    operation = world.operation(ConnectionError, "up", takes=1.0)
    guarded = Retry(2, ONE)(operation)

    async def main() -> None:
        call = asyncio.ensure_future(guarded())
        await asyncio.sleep(0.5)
        with disabled(everywhere=True):
            await asyncio.sleep(5)
        assert await call == "up"
        with disabled():
            call = asyncio.ensure_future(world_fallback())
            await asyncio.sleep(0)
        with pytest.raises(OSError):
            await call

    world_fallback = Fallback(Fallback.value("poor"))(world.operation(OSError))
    world.do(main)


def test_tasks_and_worker_threads_of_the_block_are_in_it_and_other_threads_are_not() -> None:
    @Fallback(Fallback.value("poor"))
    def read() -> str:
        raise OSError("down")

    def told() -> str:
        try:
            return read()
        except OSError:
            return "plain"

    async def main() -> list[str]:
        async def task() -> str:
            return told()

        with disabled():
            return [await asyncio.ensure_future(task()), await asyncio.to_thread(told), told()]

    assert asyncio.run(main()) == ["plain"] * 3

    def elsewhere(run: Any) -> str:
        heard: list[str] = []
        thread = threading.Thread(target=lambda: heard.append(run(told)))
        thread.start()
        thread.join()
        return heard[0]

    with disabled():
        assert elsewhere(lambda fn: fn()) == "poor"
        assert elsewhere(copy_context().run) == "plain"
    with disabled(everywhere=True):
        assert elsewhere(lambda fn: fn()) == "plain"
    assert elsewhere(lambda fn: fn()) == "poor"


def test_a_block_that_is_closed_from_another_context_does_no_harm() -> None:
    def block() -> Any:
        with disabled():
            yield switch.is_off()

    generator = block()
    assert copy_context().run(next, generator)
    generator.close()
    assert not switch.is_off()


def test_a_function_that_turns_out_to_be_async_gives_its_awaitable() -> None:
    made = Retry()(lambda: World(True).operation("answer")())
    with disabled():
        assert asyncio.run(made()) == "answer"


def test_what_is_no_exception_passes(world: World) -> None:
    with disabled(), pytest.raises(KeyboardInterrupt):
        world.do(Retry()(world.operation(KeyboardInterrupt)))


def test_a_disabled_timeout_does_not_end_a_hang() -> None:
    async def main() -> None:
        guarded = Timeout(1)(World(True).operation(Hang))
        with disabled():
            await asyncio.wait_for(guarded(), 5)

    with pytest.raises(TimeoutError):
        World(True).do(main)


def test_what_is_drawn_does_not_depend_on_the_switch() -> None:
    stack = Timeout(5) >> Retry(2, ONE)
    with disabled():
        paths, foreign = explore(stack).paths, explore(loads).paths
    assert [str(path) for path in paths] == [str(path) for path in explore(stack).paths]
    assert [str(path) for path in foreign] == [str(path) for path in explore(loads).paths]
    assert any("attempt 2" in str(path) for path in foreign)


async def loads(fetch: Any) -> Any:
    return await Retry(2, ONE)(fetch)()


def test_nothing_is_heard_of_a_disabled_call(world: World) -> None:
    heard: list[Any] = []
    with listening(heard.append), disabled():
        outcome = world.run(Retry(2, ONE), world.operation(ConnectionError))
    assert (heard, kinds(outcome)) == ([], [])


@pytest.mark.parametrize("said", ["1", "true", "YES", "on", " anything "])
def test_the_environment_switches_a_whole_process_off_and_the_log_says_so(
    said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "failwell"):
        made = Switch({VARIABLE: said})
    assert made.is_off()
    assert made.touched
    assert caplog.messages == ["FAILWELL_DISABLED is set: no policy does anything in this process"]
    with made.turned(off=False):
        assert not made.is_off()


@pytest.mark.parametrize("said", ["", "0", "false", "No", " off "])
def test_the_environment_can_say_that_all_is_on(said: str, caplog: pytest.LogCaptureFixture) -> None:
    made = Switch({VARIABLE: said})
    assert (made.is_off(), made.touched, caplog.messages) == (False, 0, [])


def test_a_process_with_the_variable_calls_without_policies() -> None:
    code = "from failwell import Fallback; print(Fallback(Fallback.value(0)).call(int, 'many'))"
    run = functools.partial(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run(env={"PYTHONPATH": "src"}).stdout == "0\n"
    off = run(env={"PYTHONPATH": "src", VARIABLE: "1"})
    assert "ValueError: invalid literal" in off.stderr
    assert "FAILWELL_DISABLED is set" in off.stderr


def test_many_threads_may_switch_at_once() -> None:
    @Fallback(Fallback.value("poor"))
    def read() -> str:
        raise OSError("down")

    def work(place: int, number: int) -> None:
        assert read() == "poor"
        with disabled():
            with pytest.raises(OSError):
                read()
            with enabled():
                assert read() == "poor"
        assert read() == "poor"

    hammer(work, threads=4, seconds=0.5)
