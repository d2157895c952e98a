"""Runs one case in each of the four ways in which a policy can run, in virtual time.

A plain and an async function; from the derived text and by driving the coroutine of ``run``.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any

import pytest

from failwell import Outcome, Policy, virtual


class Hang:
    """In a script: never comes back."""


class Operation:
    """A scripted operation: each call takes the next outcome, the last one again and again.

    An exception (object or class) is raised, `Hang` hangs, a function is called, anything else is returned.
    """

    def __init__(self, script: tuple[Any, ...], takes: float = 0.0) -> None:
        self.script = script
        self.takes = takes
        self.times: list[float] = []
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        outcome = self.script[min(len(self.calls), len(self.script) - 1)]
        self.calls.append((args, kwargs))
        self.times.append(time.monotonic())
        return outcome

    @staticmethod
    def end(outcome: Any) -> Any:
        if isinstance(outcome, BaseException) or (isinstance(outcome, type) and issubclass(outcome, BaseException)):
            raise outcome
        return outcome() if callable(outcome) else outcome


class World:
    """One way to run: ``world.operation(...)`` makes an operation, ``world.run(policy, operation)`` runs it."""

    def __init__(self, asynchronous: bool, driven: bool = False) -> None:
        self.asynchronous = asynchronous
        self.driven = driven
        self.last: Operation | None = None

    def operation(self, *script: Any, takes: float = 0.0, name: str = "operation") -> Any:
        """A function of this world; what happened to it is in its ``log``."""
        log = Operation(script, takes)

        async def run(*args: Any, **kwargs: Any) -> Any:
            outcome = log.start(args, kwargs)
            if log.takes:
                await asyncio.sleep(log.takes)
            if outcome is Hang:
                await asyncio.get_running_loop().create_future()
            return log.end(outcome)

        def run_plain(*args: Any, **kwargs: Any) -> Any:
            outcome = log.start(args, kwargs)
            if log.takes:
                time.sleep(log.takes)
            if outcome is Hang:
                time.sleep(1e9)
            return log.end(outcome)

        made: Any = run if self.asynchronous else run_plain
        made.__name__ = made.__qualname__ = name
        made.log = log
        return made

    def of(self, plain: Callable[..., Any]) -> Any:
        """The form of a plain function that is at home in this world."""
        if not self.asynchronous:
            return plain

        @functools.wraps(plain)
        async def run(*args: Any, **kwargs: Any) -> Any:
            return plain(*args, **kwargs)

        return run

    def run(self, policy: Policy, operation: Any, *args: Any, **kwargs: Any) -> Outcome[Any]:
        """Run an operation once under a policy, in virtual time."""
        return self.do(lambda: policy.outcome(operation, *args, **kwargs))

    def do(self, start: Callable[[], Any], *, seed: int = 0) -> Any:
        """Call something of this world, in virtual time."""
        if self.asynchronous:

            async def main() -> Any:
                return await start()

            return virtual.run(main(), seed=seed)
        with virtual.clock(seed=seed):
            return start()


WAYS = {
    "async": (True, False),
    "plain": (False, False),
    "async, driven": (True, True),
    "plain, driven": (False, True),
}


@pytest.fixture(params=WAYS)
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> World:
    asynchronous, driven = WAYS[request.param]
    if driven:
        monkeypatch.setattr("failwell.policy.derive", lambda *_, **__: None)
    return World(asynchronous, driven)


def kinds(outcome: Outcome[Any]) -> list[str]:
    """The names of the events of an outcome."""
    return [type(event).__name__ for event in outcome.events]
