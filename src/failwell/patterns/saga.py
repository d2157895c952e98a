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
from typing import Any, Protocol, TypeAlias, cast

from failwell.derive import Call
from failwell.errors import SagaError, TimeoutExceeded
from failwell.events import Compensated, Compensating, CompensationFailed, StepCompleted, StepStarted, TimedOut, log
from failwell.policy import Operation, Policy, is_async, number, optional_callable, optional_text
from failwell.runtime import LATE, Runtime, UnexpectedAwaitable, name_of

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
        if retry is not None and not isinstance(cast("Any", retry), Policy):
            raise TypeError(f"retry must be a policy such as Retry(), got {retry!r}")
        optional_text(name=name)
        self.action = action
        self.compensation = compensation
        self.retry = retry
        self.name = name_of(action) if name is None else name
        self._guarded: dict[tuple[Any, bool], Callable[..., Any]] = {}

    def guarded(self, fn: Callable[..., Any], *, asynchronous: bool) -> Callable[..., Any]:
        """The action or the compensation under the step's own retry.

        Args:
            fn: One of the two.
            asynchronous: Whether the saga is async; then the retry of a plain function waits on the loop as well.
        """
        if self.retry is None:
            return fn
        if (fn, asynchronous) not in self._guarded:
            inside = _awaitable(fn) if asynchronous and not is_async(fn) else fn
            self._guarded[fn, asynchronous] = self.retry(inside)
        return self._guarded[fn, asynchronous]

    def __repr__(self) -> str:
        undo = "None" if self.compensation is None else name_of(self.compensation)
        return f"Step({name_of(self.action)}, {undo})"


class Saga(Operation):
    """Run steps in order; when one fails, undo the completed ones in reverse order.

    A saga is called, not wrapped around something: ``saga(state)`` runs it (awaitable if any step is
    async) and returns the state. Compensations run to their end even if the caller is cancelled, and all
    of them are attempted. A cancelled saga undoes what it did and passes the cancellation on.

    Steps can also be run one by one: ``async with Saga() as saga: await saga.step(action, compensation)``.

    Args:
        steps: The steps: `Step` objects or pairs of action and compensation.
        timeout: Seconds for all actions together, from the first step on; when they are over, what was done is
            undone. An async action is cancelled; a plain one is not: the time is looked at before the next step.
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
        if not isinstance(cast("Any", steps), Iterable):
            raise TypeError(f"steps must be steps in their order, such as [Step(action, compensation)], got {steps!r}")
        self.steps = tuple(_step(one) for one in steps)
        names = [step.name for step in self.steps]
        for name in names:
            if names.count(name) > 1:
                raise _named_twice(name)
        if timeout is not None:
            number("timeout", timeout)
            if not 0 < timeout < float("inf"):
                raise ValueError(f"timeout must be above 0 seconds and finite, got {timeout!r}")
        if journal is not None and not hasattr(journal, "record"):
            raise TypeError(f"journal must have record(), got {journal!r}")
        optional_callable(
            on_compensation_start=on_compensation_start, on_compensation_complete=on_compensation_complete
        )
        self.timeout = timeout
        self.journal = journal
        self.on_compensation_start = on_compensation_start
        self.on_compensation_complete = on_compensation_complete
        self._is_async = any(is_async(fn) for step in self.steps for fn in (step.action, step.compensation) if fn)
        if self.steps and not self._is_async:
            self._refuse_async_callbacks()
        self._do = {kind: _Do(self, asynchronous=kind) for kind in (True, False)}
        self._undo = {kind: _Undo(self, asynchronous=kind) for kind in (True, False)}
        self._running: Running | None = None

    def _refuse_async_callbacks(self) -> None:
        for name in ("on_compensation_start", "on_compensation_complete"):
            if is_async(getattr(self, name)):
                raise TypeError(f"{name} must be a plain function: in a saga without an async step nobody awaits it")

    def __repr__(self) -> str:
        return super().__repr__().replace(repr(self.steps), repr(list(self.steps)), 1) if self.steps else "Saga()"

    async def run(self, call: Call, rt: Runtime) -> Any:
        state: State = call.args[0] if call.args and call.args[0] is not None else {}
        running = Running(self._do[self.is_async], state)
        try:
            for step in self.steps:
                await rt.invoke(running.do, (running, step))
        except GeneratorExit:  # nothing can be awaited any more
            raise
        except BaseException as error:
            undo = functools.partial(rt.invoke, self._undo[self.is_async], (running, error))
            running.raise_for(error, await rt.shielded(undo))
            raise
        return state

    @property
    def is_async(self) -> bool:
        """Whether any step is async."""
        return self._is_async

    def __call__(self, state: MutableMapping[str, Any] | None = None) -> Any:
        """Run the saga.

        Args:
            state: What actions and compensations get; a new mapping by default.

        Returns:
            The state; for a saga with an async step a coroutine that gives it.
        """
        if state is not None and not isinstance(cast("Any", state), MutableMapping):
            raise TypeError(f"state must be a mapping that can be changed, got {state!r}")
        return self._bound(state)

    async def __aenter__(self) -> Running:
        return self._enter(asynchronous=True)

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        running = self._leave()
        if error is not None and not isinstance(error, GeneratorExit):
            running.raise_for(error, await self._undo[True](running, error))

    def __enter__(self) -> Running:
        return self._enter(asynchronous=False)

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        running = self._leave()
        if error is not None:
            running.raise_for(error, self._undo[False](running, error))

    def _enter(self, *, asynchronous: bool) -> Running:
        if self.steps:
            raise TypeError("this saga has its steps already: call it; `with Saga() as saga` takes them one by one")
        if self._running is not None:
            raise RuntimeError("this saga is running already: use a new Saga() for each block")
        if not asynchronous:
            self._refuse_async_callbacks()
        self._running = Running(self._do[asynchronous], {})
        return self._running

    def _leave(self) -> Running:
        running, self._running = self._running, None
        if running is None:
            raise RuntimeError("this saga is not running: use `with Saga() as saga`")
        running.is_over = True
        return running


class Running:
    """A saga under way.

    Attributes:
        state: What actions and compensations get.
        done: The steps that were completed.
    """

    def __init__(self, do: Callable[[Running, Step], Any], state: State) -> None:
        self.do = do
        self.state = state
        self.done: list[Step] = []
        self.started = 0
        self.until: float | None = None  # when the time for all actions is over; known from the first step on
        self.failed: tuple[str, BaseException] | None = None
        self.is_over = False

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

        Raises:
            ValueError: If a completed step has the same name.
            RuntimeError: If the block of this saga is over: nothing would undo the step.
        """
        if self.is_over:
            raise RuntimeError("this saga is over: run its steps inside of its block")
        step = Step(action, compensation, retry, name)
        if any(step.name == other.name for other in self.done):
            raise _named_twice(step.name)
        return self.do(self, step)

    def raise_for(self, error: BaseException, way_back: tuple[list[str], dict[str, BaseException]]) -> None:
        """Say how the way back went. What is no failure of a step's goes on by itself.

        Args:
            error: What ended the saga.
            way_back: The steps that were undone, and the errors of those that were not.
        """
        step, known = self.failed or ("", None)
        self.failed = None  # a frame and its own traceback would keep each other alive
        if isinstance(error, Exception) and not isinstance(error, UnexpectedAwaitable):
            raise SagaError(error, *way_back, step=step if error is known else "", state=self.state) from error


class _Way(Operation):
    """A part of a saga's way, in the saga's name."""

    def __init__(self, saga: Saga, *, asynchronous: bool) -> None:
        self.saga = saga
        self.asynchronous = asynchronous

    @property
    def label(self) -> str:
        return self.saga.label

    @property
    def is_async(self) -> bool:
        return self.asynchronous

    def __call__(self, running: Running, what: Any) -> Any:
        return self._bound(running, what)

    @property
    def record(self) -> Callable[[str, str, Any], object]:
        return _nowhere if self.saga.journal is None else self.saga.journal.record


class _Do(_Way):
    """One step forward."""

    async def run(self, call: Call, rt: Runtime) -> Any:
        running, step = call.args
        state = running.state
        limit = float("inf") if self.saga.timeout is None else self.saga.timeout

        async def act() -> Any:
            action = step.guarded(step.action, asynchronous=self.asynchronous)
            return await rt.invoke(action, (state,), None, step.name)

        try:
            await rt.decide("journal", (None,), self.record, "started", step.name, state)
            now = rt.now()
            running.until = running.until or now + limit
            running.started += 1
            result: Any = LATE
            if now < running.until:
                rt.emit(StepStarted, step.name, running.started)
                if self.asynchronous and self.saga.timeout is not None:
                    result = await rt.within(running.until - now, act)
                else:  # a plain action cannot be cut: its time is looked at before the next step
                    result = await act()
            if result is LATE:
                rt.emit(TimedOut, limit)
                raise TimeoutExceeded(limit, rt.operation)
            state[step.name] = result
            running.done.append(step)
            await rt.decide("journal", (None,), self.record, "completed", step.name, state)
            rt.emit(StepCompleted, step.name)
        except BaseException as error:
            running.failed = step.name, error
            raise
        return result


class _Undo(_Way):
    """The way back: every completed step is undone, or at least that is tried."""

    async def run(self, call: Call, rt: Runtime) -> tuple[list[str], dict[str, BaseException]]:
        running, cause = call.args
        state = running.state
        undone: list[str] = []
        failures: dict[str, BaseException] = {}
        misused: list[BaseException] = []

        async def note(happened: str, step: Step) -> None:
            try:
                await rt.decide("journal", (None,), self.record, happened, step.name, state)
            except Exception:  # a journal that fails must not keep anything from being undone
                log.exception("the journal of a saga failed at %r", step.name)

        async def tell(callback: Any, event: Any, *about: Any) -> None:
            try:
                await rt.announce(callback, event, *about)
            except UnexpectedAwaitable as misuse:  # said when the steps are undone, and not instead
                misused.append(misuse)

        async def undo() -> None:
            for step in reversed(running.done):
                if step.compensation is None:
                    continue
                compensation = step.guarded(step.compensation, asynchronous=self.asynchronous)
                await note("compensating", step)
                await tell(self.saga.on_compensation_start, Compensating, step.name, cause)
                try:
                    await rt.invoke(compensation, (state,), None, name_of(step.compensation))
                except GeneratorExit:  # nothing can be awaited any more
                    raise
                except BaseException as failure:  # whatever it is, the other steps are still to be undone
                    failures[step.name] = failure
                    rt.emit(CompensationFailed, step.name, failure)
                    await note("failed", step)
                else:
                    undone.append(step.name)
                    await note("compensated", step)
                    await tell(self.saga.on_compensation_complete, Compensated, step.name)

        await rt.shielded(undo)
        for failure in (*failures.values(), *misused):
            if not isinstance(failure, Exception) or failure in misused:
                raise failure
        return undone, failures


def _awaitable(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    async def run(state: Any) -> Any:
        result = fn(state)
        return await result if inspect.isawaitable(result) else result

    return run


def _named_twice(name: str) -> ValueError:
    return ValueError(f"two steps are named {name!r}: give one of them another name=")


def _step(given: Any) -> Step:
    if isinstance(given, Step):
        return given
    if isinstance(given, tuple) and len(given) == 2:  # pyright: ignore[reportUnknownArgumentType]
        return Step(*given)  # pyright: ignore[reportUnknownArgumentType]
    raise TypeError(f"a step is Step(action, compensation) or a pair (action, compensation), got {given!r}")


def _nowhere(happened: str, step: str, state: Any) -> None:
    """The journal of a saga without one."""
