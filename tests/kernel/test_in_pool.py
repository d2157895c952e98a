"""A pattern may bring threads of its own for plain calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from typing import Any

import pytest

from failwell import Policy, Retry, Timeout, backoff, errors, explore, virtual
from failwell.derive import Call
from failwell.runtime import Runtime
from tests.kernel.world import World


class Pool:
    """Notes what it was asked to do, and does it in a new thread."""

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.abandoned = 0

    def start(self, work: Callable[[], object]) -> None:
        def run() -> None:
            self.threads.append(threading.current_thread().name)
            work()

        virtual.start_thread(run)

    def left(self) -> None:
        self.abandoned += 1


class Elsewhere(Policy):
    """Runs plain calls in its pool."""

    def __init__(self) -> None:
        self.pool = Pool()

    async def run(self, call: Call, rt: Runtime) -> Any:
        return await rt.in_pool(self.pool, call)


def test_a_plain_call_runs_in_a_thread_of_the_pool_and_an_async_one_in_place(world: World) -> None:
    policy = Elsewhere()
    here = threading.current_thread().name
    where = world.run(policy, world.operation(lambda: threading.current_thread().name)).unwrap()
    assert (where == here) == world.asynchronous
    assert policy.pool.threads == ([] if world.asynchronous else [where])


def test_arguments_answers_and_errors_go_through(world: World) -> None:
    policy, failure = Elsewhere(), ValueError("mine")
    operation = world.operation("answer", failure)
    assert world.run(policy, operation, 1, key=2).unwrap() == "answer"
    assert operation.log.calls == [((1,), {"key": 2})]
    assert world.run(policy, operation).error is failure
    assert policy.pool.abandoned == 0


def test_context_variables_are_seen_there_and_what_is_set_stays_set() -> None:
    variable = ContextVar("variable", default="before")

    def operation() -> str:
        seen = variable.get()
        variable.set("after")
        return seen

    def check() -> tuple[str, str]:
        variable.set("during")
        return Elsewhere().call(operation), variable.get()

    assert copy_context().run(check) == ("during", "after")


def test_an_abandoned_caller_goes_at_once_and_nothing_new_starts_behind_it() -> None:
    operation = World(False).operation(ConnectionError, "answer", takes=10)
    policy = Elsewhere()
    with virtual.clock():
        outcome = (Timeout(2) >> policy >> Retry(2, backoff.Fixed(1))).outcome(operation)
        assert (type(outcome.error), outcome.elapsed) == (errors.TimeoutExceeded, 2)
        time.sleep(30)
    assert operation.log.times == [0]
    assert policy.pool.abandoned == 1


def test_nothing_is_started_for_who_is_abandoned_already() -> None:
    policy = Elsewhere()

    class Late(Policy):
        async def run(self, call: Call, rt: Runtime) -> Any:
            try:
                return await rt.sleep(5)
            finally:
                await call()

    with virtual.clock():
        outcome = (Timeout(2) >> Late() >> policy).outcome(World(False).operation("answer"))
        assert isinstance(outcome.error, errors.TimeoutExceeded)
        time.sleep(30)
    assert policy.pool.threads == []


@pytest.mark.parametrize("outcome", ["ok", "fail", "hang"])
def test_exploring_needs_no_threads(outcome: str) -> None:
    policy = Elsewhere()
    [path] = explore(policy, outcomes=(outcome,)).paths
    assert (path.error is not None, path.ends) == (outcome == "fail", outcome != "hang")
    assert policy.pool.threads == []
