"""Saga: a transaction over several services, as steps that can each be undone.

Use when one piece of work changes several systems that share no transaction: reserve, charge, ship. Do
not use where one database transaction will do, or where a step cannot be undone at all; do that step
last.

Source: Hector Garcia-Molina and Kenneth Salem, "Sagas", SIGMOD 1987.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any, Protocol, TypeAlias

from failwell.derive import Call
from failwell.errors import SagaError, TimeoutExceeded
from failwell.events import Compensated, Compensating, CompensationFailed, StepCompleted, StepStarted, TimedOut, log
from failwell.policy import Operation, Policy, is_async
from failwell.runtime import LATE, Runtime, name_of, refuse_awaitable

__all__ = ["Journal", "Running", "Saga", "Step"]

State: TypeAlias = MutableMapping[str, Any]


class Journal(Protocol):
    """Where a saga writes down what it does, so that somebody can finish or undo it after a crash."""

    def record(self, happened: str, step: str, state: Any) -> object:
        """Write one entry: ``"started"``, ``"completed"``, ``"compensating"``, ``"compensated"`` or ``"failed"``."""
        ...


class Step:
    """One step of a saga and how to undo it.

    Args:
        action: What to do; it gets the saga's state, and what it returns is kept there under the step's name.
        compensation: What undoes it; it gets the state too. None: there is nothing to undo.
        retry: A policy under which both run, e.g. ``Retry()``; both must then be safe to repeat.
        name: The step's name (default: the action's).
    """

    def __init__(
        self,
        action: Callable[..., Any],
        compensation: Callable[..., Any] | None = None,
        retry: Policy | None = None,
        name: str | None = None,
    ) -> None:
        if not callable(action):
            raise TypeError(f"action must be callable, got {action!r}")
        if compensation is not None and not callable(compensation):
            raise TypeError(f"compensation must be callable or None, got {compensation!r}")
        if retry is not None and not isinstance(retry, Policy):
            raise TypeError(f"retry must be a policy such as Retry(), got {retry!r}")
        self.action = action
        self.compensation = compensation
        self.retry = retry
        self.name = name_of(action) if name is None else name
        self.run_action = action if retry is None else retry(action)
        self.run_compensation = compensation if retry is None or compensation is None else retry(compensation)

    def __repr__(self) -> str:
        undo = "nothing to undo" if self.compensation is None else name_of(self.compensation)
        return f"Step({name_of(self.action)}, {undo})"


class Saga(Operation):
    """Run steps in order; when one fails, undo the completed ones in reverse order.

    A saga is called, not wrapped around something: ``saga(state)`` runs it (awaitable if any step is
    async) and returns the state. Compensations run to their end even if the caller is cancelled, and all
    of them are attempted. A cancelled saga undoes what it did and passes the cancellation on.

    Steps can also be run one by one: ``async with Saga() as saga: await saga.step(action, compensation)``.

    Args:
        steps: The steps: `Step` objects or pairs of action and compensation.
        timeout: Seconds for all actions together; when they are over, what was done is undone.
        journal: Where to write down what happens.
        on_compensation_start: Called with the `Compensating` event of each step.
        on_compensation_complete: Called with the `Compensated` event of each step.

    Raises:
        ValueError: If two steps have one name, or ``timeout`` is not above 0.
        SagaError: On a call, when a step fails; it says what was and what was not undone.
    """

    def __init__(
        self,
        steps: Iterable[Step | tuple[Callable[..., Any], Callable[..., Any] | None]] = (),
        timeout: float | None = None,
        journal: Journal | None = None,
        on_compensation_start: Callable[[Compensating], object] | None = None,
        on_compensation_complete: Callable[[Compensated], object] | None = None,
    ) -> None:
        self.steps = tuple(_step(one) for one in steps)
        names = [step.name for step in self.steps]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two steps are named {name!r}: give one of them another name=")
        if timeout is not None and not 0 < timeout < float("inf"):
            raise ValueError(f"timeout must be above 0 seconds and finite, got {timeout!r}")
        self.timeout = timeout
        self.journal = journal
        self.on_compensation_start = on_compensation_start
        self.on_compensation_complete = on_compensation_complete
        self._running: Running | None = None

    async def run(self, call: Call, rt: Runtime) -> Any:
        state: State = call.args[0] if call.args and call.args[0] is not None else {}
        record = _nowhere if self.journal is None else self.journal.record
        limit = float("inf") if self.timeout is None else self.timeout
        started = rt.now()
        done: list[Step] = []
        current = ""

        async def forward() -> None:
            nonlocal current
            for order, step in enumerate(self.steps, start=1):
                current = step.name
                if rt.now() - started >= limit:
                    rt.emit(TimedOut, limit)
                    raise TimeoutExceeded(limit, rt.operation)
                await rt.decide("journal", (None,), record, "started", step.name, state)
                rt.emit(StepStarted, step.name, order)
                state[step.name] = await rt.invoke(step.run_action, (state,), None, name_of(step.action))
                done.append(step)
                await rt.decide("journal", (None,), record, "completed", step.name, state)
                rt.emit(StepCompleted, step.name)

        try:
            if self.timeout is None or not self.is_async:
                await forward()  # a plain action cannot be cut: its time is looked at before each step
            elif await rt.within(limit, forward) is LATE:
                rt.emit(TimedOut, limit)
                raise TimeoutExceeded(limit, rt.operation)
        except GeneratorExit:  # nothing can be awaited any more
            raise
        except BaseException as error:
            undo = functools.partial(rt.invoke, _Undo(self, asynchronous=self.is_async), (done, state, error))
            undone, failures = await rt.shielded(undo)
            if not isinstance(error, Exception):
                raise
            raise SagaError(error, undone, failures, step=current, state=state) from error
        return state

    @property
    def is_async(self) -> bool:
        """Whether any step is async."""
        return any(is_async(fn) for step in self.steps for fn in (step.action, step.compensation) if fn is not None)

    def __call__(self, state: MutableMapping[str, Any] | None = None) -> Any:
        """Run the saga.

        Args:
            state: What actions and compensations get; a new mapping by default.

        Returns:
            The state; for a saga with an async step a coroutine that gives it.
        """
        if state is not None and not isinstance(state, MutableMapping):
            raise TypeError(f"state must be a mapping that can be changed, got {state!r}")
        return self._bound(state)

    async def __aenter__(self) -> Running:
        return self._enter(asynchronous=True)

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        running, self._running = self._running, None
        if running is not None and error is not None and not isinstance(error, GeneratorExit):
            running.raise_for(error, await _Undo(self, asynchronous=True)(running.done, running.state, error))

    def __enter__(self) -> Running:
        return self._enter(asynchronous=False)

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        running, self._running = self._running, None
        if running is not None and error is not None:
            running.raise_for(error, _Undo(self, asynchronous=False)(running.done, running.state, error))

    def _enter(self, *, asynchronous: bool) -> Running:
        if self.steps:
            raise TypeError("this saga has its steps already: call it; `with Saga() as saga` takes them one by one")
        if self._running is not None:
            raise RuntimeError("this saga is running already: use a new Saga() for each block")
        self._running = Running(asynchronous)
        return self._running


class Running:
    """A saga whose steps are run one by one.

    Attributes:
        state: What actions and compensations get.
    """

    def __init__(self, asynchronous: bool) -> None:
        self.asynchronous = asynchronous
        self.state: State = {}
        self.done: list[Step] = []
        self.current = ""

    def step(
        self,
        action: Callable[..., Any],
        compensation: Callable[..., Any] | None = None,
        retry: Policy | None = None,
        name: str | None = None,
    ) -> Any:
        """Run one step now; if a later one fails, it is undone.

        Args:
            action: What to do; it gets the state.
            compensation: What undoes it; it gets the state too.
            retry: A policy under which both run.
            name: The step's name (default: the action's).

        Returns:
            What the action returned; under ``async with`` a coroutine that gives it.
        """
        step = Step(action, compensation, retry, name)
        if any(step.name == other.name for other in self.done):
            raise ValueError(f"two steps are named {step.name!r}: give one of them another name=")
        self.current = step.name
        if self.asynchronous:
            return self._run_async(step)
        return self._keep(step, refuse_awaitable(action, step.run_action(self.state)))

    async def _run_async(self, step: Step) -> Any:
        result = step.run_action(self.state)
        return self._keep(step, await result if inspect.isawaitable(result) else result)

    def _keep(self, step: Step, result: Any) -> Any:
        self.state[step.name] = result
        self.done.append(step)
        self.current = ""
        return result

    def raise_for(self, error: BaseException, way_back: tuple[list[str], dict[str, BaseException]]) -> None:
        """Say how the way back went; what is no `Exception` goes on by itself."""
        if isinstance(error, Exception):
            raise SagaError(error, *way_back, step=self.current, state=self.state) from error


class _Undo(Operation):
    """The way back of a saga: run with the completed steps, the state and the error."""

    def __init__(self, saga: Saga, *, asynchronous: bool) -> None:
        self.saga = saga
        self.asynchronous = asynchronous

    @property
    def label(self) -> str:
        return self.saga.label

    @property
    def is_async(self) -> bool:
        return self.asynchronous

    def __call__(self, done: list[Step], state: State, error: BaseException) -> Any:
        return self._bound(done, state, error)

    async def run(self, call: Call, rt: Runtime) -> tuple[list[str], dict[str, BaseException]]:
        done, state, cause = call.args
        saga = self.saga
        record = _nowhere if saga.journal is None else saga.journal.record
        undone: list[str] = []
        failures: dict[str, BaseException] = {}

        async def note(happened: str, step: Step) -> None:
            try:
                await rt.decide("journal", (None,), record, happened, step.name, state)
            except Exception:  # a journal that fails must not keep anything from being undone
                log.exception("the journal of a saga failed at %r", step.name)

        async def undo() -> None:
            for step in reversed(done):
                if step.run_compensation is None:
                    continue
                await note("compensating", step)
                await rt.announce(saga.on_compensation_start, Compensating, step.name, cause)
                try:
                    await rt.invoke(step.run_compensation, (state,), None, name_of(step.compensation))
                except Exception as failure:
                    failures[step.name] = failure
                    rt.emit(CompensationFailed, step.name, failure)
                    await note("failed", step)
                else:
                    undone.append(step.name)
                    await note("compensated", step)
                    await rt.announce(saga.on_compensation_complete, Compensated, step.name)

        await rt.shielded(undo)
        return undone, failures


def _step(given: Any) -> Step:
    if isinstance(given, Step):
        return given
    if isinstance(given, tuple) and len(given) == 2:  # pyright: ignore[reportUnknownArgumentType]
        return Step(*given)  # pyright: ignore[reportUnknownArgumentType]
    raise TypeError(f"a step is Step(action, compensation) or a pair (action, compensation), got {given!r}")


def _nowhere(happened: str, step: str, state: Any) -> None:
    """The journal of a saga without one."""
