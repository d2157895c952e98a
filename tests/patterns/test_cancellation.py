"""A call of any pattern can be cancelled at any moment: it ends, leaks nothing, and the object works on.

Each case runs again and again; run number k is cancelled before step k of the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import (
    AdaptiveLimit,
    Bulkhead,
    Cache,
    CircuitBreaker,
    Credential,
    CredentialRefresh,
    Deadline,
    Fallback,
    Hedge,
    InContext,
    LoadShedder,
    Policy,
    RateLimiter,
    Retry,
    RetryBudget,
    Router,
    SafeCall,
    Saga,
    Stack,
    Timeout,
    TimeWindow,
    Validate,
    Workflow,
    backoff,
    listening,
    virtual,
)
from failwell.events import Event
from failwell.testing import Fault
from tests.kernel.world import Hang, World

PATTERNS: dict[str, Callable[[], Policy]] = {
    "Retry": lambda: Retry(3, backoff.Fixed(1.0), on=Exception, on_retry=calls_back),
    "Retry with a budget": lambda: Retry(3, backoff.Fixed(1.0), on=Exception, budget=RetryBudget()),
    "CredentialRefresh": lambda: CredentialRefresh(Credential(fetches, lifetime=2.0), on=Exception),
    "Retry of results": lambda: Retry(3, backoff.Fixed(0.0), retry_result=lambda result: result is None),
    "Timeout": lambda: Timeout(2.5),
    "Timeout with default": lambda: Timeout(1.5, default=None),
    "Deadline": lambda: Deadline(2.5),
    "Hedge": lambda: Hedge(0.75, max_hedges=2),
    "Fallback": lambda: Fallback(World(True).operation(ConnectionError, takes=1.0), World(True).operation("poor")),
    "Cache": lambda: Cache(5.0, stale_if_error=5.0),
    "Cache in a store": lambda: Cache(5.0, store=Shelf()),
    "CircuitBreaker": lambda: CircuitBreaker(99, slow_call=0.5, on_open=calls_back),
    "CircuitBreaker with a window": lambda: CircuitBreaker(99, window=TimeWindow(60.0)),
    "RateLimiter": lambda: RateLimiter(1, max_wait=99.0),
    "Bulkhead": lambda: Bulkhead(1, max_queue=1, queue_timeout=2.0),
    "AdaptiveLimit": lambda: AdaptiveLimit(1, max=2, on=Exception, on_change=calls_back),
    "LoadShedder": lambda: LoadShedder(1, weighs),
    "SafeCall": lambda: SafeCall("poor", on_error=calls_back),
    "LoadShedder with a share": lambda: LoadShedder(9, weighs, start=0.0, load=lambda: 0.1),
    "Validate": lambda: Validate(accepts, accepts),
    "InContext": lambda: InContext("http", target="carts"),
    "Fault": lambda: Fault(slow=1.0, delay=0.5),
    "Workflow": lambda: Workflow(
        attempt_timeout=1.5,
        global_timeout=4,
        alert_threshold=1,
        on_alert=calls_back,
        retry={"max_attempts": 2, "backoff": "fixed", "initial_delay": 0.5},
        bulkhead={"max_concurrent": 1, "max_queue": 1},
        fallback={"function": World(True).operation("poor", takes=0.5), "use_cache": True},
    ),
    "Fallback to a router": lambda: Fallback(Router({"slow": World(True).operation("poor", takes=1.0)}, selects)),
}


async def fetches() -> str:
    await asyncio.sleep(0.5)
    return "token"


async def calls_back(event: Event) -> None:
    await asyncio.sleep(0.5)


async def accepts(*anything: Any) -> bool:
    await asyncio.sleep(0.25)
    return True


async def weighs(*anything: Any) -> str:
    await asyncio.sleep(0.25)
    return "normal"


async def selects(*anything: Any) -> str:
    await asyncio.sleep(0.25)
    return "slow"


class Shelf:
    """A slow store."""

    async def get(self, key: Any) -> None:
        await asyncio.sleep(0.1)

    async def set(self, key: Any, entry: Any, seconds: float) -> None:
        await asyncio.sleep(0.1)


class Loop(virtual.VirtualLoop):
    """Cancels a task before one of its steps."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.left = step
        self.victim: asyncio.Task[Any] | None = None
        self.events: list[Event] = []
        self.heard_before = 0

    def strike(self) -> None:
        assert self.victim is not None
        self.left = -1
        self.heard_before = len(self.events)
        self.victim.cancel()

    def _run_once(self) -> None:
        if self.victim is not None and not self.victim.done():
            if self.left == 0:
                self.strike()
            elif self.left > 0:
                self.left -= 1
        super()._run_once()  # type: ignore[misc]

    def pending(self) -> list[Any]:
        """Timers and tasks that are left."""
        timers = [t for t in self._scheduled if not t.cancelled()]  # type: ignore[attr-defined]
        return [*timers, *(t for t in asyncio.all_tasks(self) if not t.done())]


def cancelled_at(step: int, make: Callable[[], Callable[[], Any]], again: Callable[[Any], Any], kind: str = "") -> bool:
    """Run a case, cancel it before a step, and check; False if it was over before."""
    loop = Loop(step)
    call = make()

    async def main() -> None:
        loop.victim = victim = asyncio.ensure_future(call())
        await asyncio.wait([victim])

    with virtual.patched(loop.clock), listening(loop.events.append):
        running = loop.create_task(main())
        hung = False
        try:
            try:
                loop.run_until_complete(running)
            except virtual.Deadlock:  # it hangs: the last moment at which it can be cancelled
                hung = True
                loop.strike()
                loop.run_until_complete(running)
            task = loop.victim
            assert task is not None
            struck = task.cancelling() > 0
            if struck:
                assert task.cancelled(), f"the cancellation was swallowed: {task}"
                assert task.cancelling() == 1
                heard = loop.events[loop.heard_before :]
                assert [e for e in heard if e.role != "compensation" and kind != "Saga"] == []
            elif not task.cancelled():
                task.exception()
            assert loop.pending() == []
            loop.victim = None
            loop.run_until_complete(again(call))
            assert loop.pending() == []
            return struck and not hung
        finally:
            loop.close()


outcomes = st.sampled_from(["answer", None, ConnectionError, ValueError, Hang])


@given(
    layers=st.lists(st.sampled_from(sorted(PATTERNS)), min_size=1, max_size=3),
    script=st.lists(outcomes, min_size=1, max_size=4),
    takes=st.sampled_from([0.0, 1.0, 2.0]),
)
def test_a_call_can_be_cancelled_at_every_step(layers: list[str], script: list[Any], takes: float) -> None:
    def make() -> Callable[[], Any]:
        stack = Stack(*(PATTERNS[name]() for name in layers))
        operation = World(True).operation(*script, takes=takes)
        guarded = stack(operation)
        guarded.log = operation.log
        return guarded

    async def again(guarded: Any) -> None:
        guarded.log.script, guarded.log.takes = ("fine",), 0.0
        assert await guarded() in ("fine", "answer", "poor", None)

    step = 0
    while cancelled_at(step, make, again):
        step += 1
        assert step < 200


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize("driven", [True, False])
def test_a_call_of_each_pattern_alone_can_be_cancelled_at_every_step(
    name: str, driven: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if driven:
        monkeypatch.setattr("failwell.policy.derive", lambda *_, **__: None)
    steps: dict[Any, int] = {}
    for script in (("answer",), (None, "answer"), (ConnectionError, "answer"), (ConnectionError,), (Hang,)):

        def make(script: Any = script) -> Any:
            operation = World(True).operation(*script, takes=1.0)
            guarded: Any = PATTERNS[name]()(operation)
            guarded.log = operation.log
            return guarded

        async def again(guarded: Any) -> None:
            guarded.log.script, guarded.log.takes = ("fine",), 0.0
            assert await guarded() in ("fine", "answer", "poor", None)

        while cancelled_at(steps.setdefault(script, 0), make, again):
            steps[script] += 1
    assert all(count >= 2 for count in steps.values())


@settings(max_examples=25)
@given(
    number=st.integers(1, 3),
    fails=st.integers(0, 3),
    outside=st.lists(st.sampled_from(["Retry", "Timeout", "Fallback"]), max_size=2),
    timeout=st.sampled_from([None, 1.5]),
)
def test_a_saga_that_is_cancelled_at_any_step_undoes_what_it_did(
    number: int, fails: int, outside: list[str], timeout: float | None
) -> None:
    done: list[int] = []

    def make() -> Callable[[], Any]:
        done.clear()

        def step(place: int) -> Any:
            async def action(state: Any) -> None:
                await asyncio.sleep(1)
                if place == fails:
                    raise ConnectionError("no")
                done.append(place)

            async def compensation(state: Any) -> None:
                await asyncio.sleep(1)
                done.remove(place)

            action.__name__ = f"step {place}"
            return action, compensation

        saga = Saga([step(place) for place in range(number)], timeout=timeout)
        guarded: Any = saga
        for name in outside:
            guarded = PATTERNS[name]()(guarded)
        return guarded

    async def again(guarded: Any) -> None:
        done.clear()
        try:
            await guarded()
        except Exception:
            pass

    def again_checked(guarded: Any) -> Any:
        assert done == [] or done == list(range(number))
        return again(guarded)

    step_number = 0
    while cancelled_at(step_number, make, again_checked, kind="Saga"):
        step_number += 1
        assert step_number < 300


def test_a_task_group_of_protected_calls_is_cancelled_as_one() -> None:
    operation = World(True).operation(ConnectionError)

    async def main() -> int:
        async with asyncio.timeout(10):
            async with asyncio.TaskGroup() as tasks:
                for make in PATTERNS.values():
                    tasks.create_task((Retry(99, backoff.Fixed(0.5), on=Exception) >> make()).call(operation))
        return 0

    with pytest.raises(TimeoutError):
        virtual.run(main())
