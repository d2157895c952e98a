"""Everything that a pattern asks of the world, in three words: asynchronous, blocking, exploring.

A pattern's ``run`` awaits only its ``call()`` and methods of the runtime that it is given, so the same
text serves an event loop, a plain thread and the explorer (`failwell.flow`), which answers every
question with each possible answer.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import inspect
import random
import threading
import time
import types
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Generator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context, ContextVar, Token, copy_context
from typing import Any, Concatenate, Final, Literal, ParamSpec, Protocol, Self, TypeVar, cast

from failwell import virtual
from failwell.context import ErrorContext
from failwell.errors import DeadlineExceeded
from failwell.events import Event, bus, log, where
from failwell.switch import switch

__all__ = [
    "LATE",
    "TAKES_CALL",
    "Abandoned",
    "AsyncRuntime",
    "BlockingRuntime",
    "Due",
    "Late",
    "Mark",
    "Pool",
    "Runtime",
    "Signal",
    "UnexpectedAwaitable",
    "current_deadline",
    "deadline",
    "name_of",
    "passed",
    "refuse_awaitable",
    "time_left",
    "without_deadline",
]

T = TypeVar("T")
P = ParamSpec("P")
EventType = Callable[Concatenate[str, str, float, "ErrorContext | None", P], Event]


class Late(enum.Enum):
    """The type of `LATE`."""

    LATE = "late"


LATE: Final = Late.LATE
"""What `Runtime.within` returns for a call that was not done in time."""

deadline: ContextVar[float | None] = ContextVar("failwell_deadline", default=None)
"""The monotonic time at which everything in this context must be over, or None; see `current_deadline`."""
_FOR_EVER = float("inf")


class Due(float):
    """A deadline: the monotonic time at which everything inside of a call must be over.

    Attributes:
        seconds: How long it was away when it was set.
        operation: What must be over.
        outer: The later deadline around it, or None.
        owner: The task that it ends by itself: who works there need not look at the clock. None once the call is over.
    """

    __slots__ = ("is_over", "operation", "outer", "owner", "seconds")

    seconds: float
    operation: str
    outer: float | None
    owner: Any

    def __new__(cls, moment: float, seconds: float, operation: str, outer: float | None) -> Self:
        """A deadline at a monotonic time."""
        due = super().__new__(cls, moment)
        due.seconds, due.operation, due.outer, due.owner, due.is_over = seconds, operation, outer, None, False
        return due

    def ends(self, token: Token[float | None]) -> None:
        """The call is over. What it left running, such as a task in the background, is nobody's to wait for now."""
        self.is_over = True
        self.owner = None
        try:
            deadline.reset(token)
        except ValueError:  # closed from another context, which never had this deadline
            pass

    def was_met_by(self, error: BaseException) -> bool:
        """Whether an error says of this very deadline that it has passed; of a group, whether each in it does."""
        if isinstance(error, BaseExceptionGroup):
            return all(map(self.was_met_by, cast("BaseExceptionGroup[BaseException]", error).exceptions))
        return isinstance(error, DeadlineExceeded) and error.at == float(self)


def current_deadline() -> float | None:
    """The monotonic time at which everything in this context must be over, or None.

    The deadline of a call that is over binds nobody any more, not even a task that the call left running.
    """
    until = deadline.get()
    while isinstance(until, Due) and until.is_over:
        until = until.outer
    return until


def time_left() -> float:
    """Seconds until the deadline that this code runs under: never less than 0, infinite without one.

    ```python
    from failwell import Deadline, time_left


    @Deadline(2)
    def ask() -> str:
        return f"{time_left():.1f} s are left"


    print(ask(), time_left())
    #> 2.0 s are left inf
    ```

    Give it to what has a time limit of its own, such as a client library, or send it on to the next service.
    """
    until = current_deadline()
    return _FOR_EVER if until is None else max(0.0, until - time.monotonic())


def passed(until: float, operation: str) -> DeadlineExceeded:
    """The error that says of a deadline that it has passed."""
    known = until if isinstance(until, Due) else Due(until, 0.0, operation, None)
    return DeadlineExceeded(known.seconds, known.operation, at=float(until))


class Runtime(Protocol):
    """What a pattern may ask. Methods marked *awaited* are awaited in ``run``; the others answer at once.

    Attributes:
        state: This policy's live state (while exploring: a fresh one), made by its ``situations()``.
        layer: The label of this layer, as events carry it.
        operation: The name of the protected operation.
        function: The protected function itself, as an identity; do not call it.
    """

    state: Any
    layer: str
    operation: str
    function: Any

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def wall_time(self) -> float:
        """Seconds since the epoch; only for comparing with dates that others sent."""
        ...

    def time_left(self) -> float:
        """Seconds until the deadline that this call runs under; infinite without one."""
        ...

    def between(self, low: float, high: float, waits: bool = True) -> float:
        """A random number of seconds from ``low`` to ``high``.

        Args:
            low: The least.
            high: The most.
            waits: Whether this call then waits for so long. If others may, it matters later which it was.
        """
        ...

    def emit(self, event: EventType[P], *args: P.args, **kwargs: P.kwargs) -> None:
        """Report an event, given by its type and the values of its own fields."""
        ...

    def degraded(self) -> None:
        """Mark the answer as not the real one, for `graded` and `Outcome.degraded`."""
        ...

    async def announce(
        self, callback: Callable[[Any], object] | None, event: EventType[P], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """*Awaited.* Report an event and hand it to the user's callback; what that raises is logged."""
        ...

    async def sleep(self, seconds: float) -> None:
        """*Awaited.* Wait. A wait of zero yields to the loop once and does not sleep."""
        ...

    async def invoke(self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None, name: str = "") -> Any:
        """*Awaited.* Call an operation of the user's: an alternative, a step, a compensation."""
        ...

    async def in_thread(
        self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None, name: str = ""
    ) -> Any:
        """*Awaited.* Call a plain function of the user's that blocks, such as an old driver.

        Under an async call it runs in a thread of its own, so that the loop stays free; a caller that is
        cancelled goes at once and leaves that thread behind, where nothing new starts. Under a plain call
        it runs in place: the caller's own thread is there to be blocked. Either way it sees the caller's
        context variables, and what it sets in them stays set.
        """
        ...

    async def in_pool(self, pool: Pool, call: Callable[[], Any]) -> Any:
        """*Awaited.* Run a plain call in a thread of the pattern's own, and wait for it.

        An async call runs in place: it belongs to its loop. A caller that is abandoned goes at once and leaves
        the pool's thread behind, where nothing new starts. Context variables are kept, as in `in_thread`.
        """
        ...

    async def decide(self, question: str, options: Sequence[T], fn: Callable[..., Any], *args: Any) -> T:
        """*Awaited.* Ask a function of the user's for one of ``options`` (a predicate: True or False)."""
        ...

    async def within(self, seconds: float, call: Callable[[], Any]) -> Any:
        """*Awaited.* Run a call; `LATE` if it is not done after ``seconds``.

        Where a deadline comes first, or at the same moment, that is what ends the call.

        Raises:
            DeadlineExceeded: If it had passed before, or nobody else ends the call: in a task that was started inside
                of it, in the thread of somebody else.
        """
        ...

    async def by(self, seconds: float, at: float | None, call: Callable[[], Any]) -> Any:
        """*Awaited.* Run a call under a deadline in ``seconds``, or at the monotonic time ``at``; `LATE` if it passes.

        Everything inside sees what is left by `time_left`, in tasks and threads that it starts as well. A deadline
        around it that is not later stays the one that counts: then that one ends the call, and never this method.
        A deadline that has passed already has nothing started. While exploring ``at`` counts for nothing.
        """
        ...

    async def first(self, calls: Sequence[Callable[[], Any]], delay: float) -> Any:
        """*Awaited.* Run calls that overlap; the first answer wins.

        The first call starts at once, each further one when ``delay`` seconds have passed without an answer,
        or earlier if all that were started have failed. The rest is cancelled and waited for (async) or
        left behind in its threads, where nothing new starts (plain). Only the call that wins counts:
        the context variables that it set stay set, and only its answer can be marked as degraded.

        If all fail, the error of the first call is raised as it is. The errors of the others are in its
        attribute ``also_failed``, in the order of their calls, and one note names them: they are neither
        its cause nor its context. What is no ``Exception`` ends everything at once.

        Raises:
            ValueError: If there are no calls.
        """
        ...

    async def each(self, limit: int, calls: Sequence[Callable[[], Any]]) -> None:
        """*Awaited.* Run all calls, at most ``limit`` at once, each started in its turn; over when all have ended.

        Async calls run in tasks, plain ones in threads, each in a copy of the caller's context: what one sets in
        it no other sees. What they return is dropped. While exploring they run one after the other.

        None of them should raise. If one does, no further one starts; those under way are cancelled and waited for
        (async) or left behind in their threads, where nothing new starts (plain), and its error is raised. The
        same becomes of them if the caller is cancelled, interrupted or abandoned.
        """
        ...

    async def wait(self, signal: Signal, timeout: float | None = None) -> bool:
        """*Awaited.* Wait until a signal is set; False if ``timeout`` seconds pass first."""
        ...

    async def shielded(self, fn: Callable[[], Any]) -> Any:
        """*Awaited.* Run cleanup to its end, whatever happens to the caller meanwhile; no deadline holds for it."""
        ...

    async def graded(self, call: Callable[[], Any]) -> tuple[Any, bool]:
        """*Awaited.* Run a call; its value, and whether an inner layer marked it as degraded."""
        ...

    async def tentative(self, call: Callable[[], Any]) -> tuple[Any, bool]:
        """*Awaited.* The same for a value that may be thrown away: outer layers do not know of the mark.

        Who passes the value on passes the mark on too, with `degraded`.
        """
        ...


TAKES_CALL: Final = frozenset({"within", "by", "first", "each", "shielded", "graded", "tentative", "in_pool"})
"""The methods that are given something to call: ``call`` itself, a lambda, a function made in ``run``.

It is their last argument: one such thing, or a list of them for `Runtime.each`. The first argument of
`Runtime.first` is a list or a tuple of such.
"""


class Pool(Protocol):
    """Where one call of `Runtime.in_pool` runs: in one of a pattern's own threads."""

    def start(self, work: Callable[[], object]) -> object:
        """Have ``work`` done by a thread, in a copy of this context."""
        ...

    def left(self) -> object:
        """The caller goes before the work is done."""
        ...


class _AnyThread:
    """Where a call runs that needs no threads of its pattern's own."""

    @staticmethod
    def start(work: Callable[[], object]) -> None:
        virtual.start_thread(work)

    @staticmethod
    def left() -> None: ...


_ANY_THREAD = _AnyThread()


# --- what both worlds share ----------------------------------------------------------------------


class Mark:
    """Whether the answer under way is a degraded one.

    A mark reaches the enclosing block when this one ends with an answer, unless it is ``tentative``.
    """

    __slots__ = ("_token", "degraded", "outer", "tentative")

    def __init__(self, *, tentative: bool = False) -> None:
        self.degraded = False
        self.tentative = tentative

    def __enter__(self) -> Self:
        self.outer = _mark.get()
        self._token = _mark.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, *ignored: object) -> None:
        with suppress(ValueError):  # closed from another context, which never had this mark
            _mark.reset(self._token)
        if self.degraded and kind is None and self.outer is not None and not self.tentative:
            self.outer.degraded = True


_mark: ContextVar[Mark | None] = ContextVar("failwell_mark", default=None)


class Signal:
    """Wakes everyone who waits for it, on whatever loop or thread. It is set once."""

    __slots__ = ("_lock", "_wakers", "is_set")

    def __init__(self) -> None:
        self.is_set = False
        self._lock = threading.Lock()
        self._wakers: dict[object, Callable[[], None]] = {}

    def set(self) -> None:
        """Wake all who wait, and everyone who comes later at once."""
        with self._lock:
            self.is_set = True
            wakers = list(self._wakers.values())
            self._wakers.clear()
        for wake in wakers:
            wake()

    def add(self, key: object, wake: Callable[[], None]) -> bool:
        """Have ``wake`` called on `set`; False if it is set already."""
        with self._lock:
            if not self.is_set:
                self._wakers[key] = wake
            return not self.is_set

    def discard(self, key: object) -> None:
        """Forget a waiter."""
        with self._lock:
            self._wakers.pop(key, None)


class _Here:
    """The answers that are the same for every runtime."""

    __slots__ = ("function", "layer", "operation", "state")

    def __init__(self, layer: str, operation: str, state: Any = None, function: Any = None) -> None:
        self.layer = layer
        self.operation = operation
        self.state = state
        self.function = function

    def now(self) -> float:
        return time.monotonic()

    def wall_time(self) -> float:
        return time.time()

    def time_left(self) -> float:
        if deadline.get() is None:
            return _FOR_EVER
        until = current_deadline()
        return _FOR_EVER if until is None else until - self.now()

    def between(self, low: float, high: float, waits: bool = True) -> float:
        return low if low == high else low + (high - low) * random.random()

    def emit(self, event: EventType[P], *args: P.args, **kwargs: P.kwargs) -> None:
        if bus.active:
            bus.publish(event(*where(self.layer, self.operation, self.now()), *args, **kwargs))

    def degraded(self) -> None:
        mark = _mark.get()
        if mark is not None:
            mark.degraded = True

    @staticmethod
    def lease() -> _Lease | None:
        """What this thread works under, if a caller with a limited time waits for it; refuses to go on after that."""
        lease = _lease.get()
        if lease is not None and lease.ended.is_set:
            raise Abandoned("the caller stopped waiting for this thread")
        return lease


class Alternative:
    """What a ready-made alternative says about itself; kept in the function and good for that function only.

    Attributes:
        plain_form: What a plain call uses instead of it.
        never_fails: Whether the explorer need not try its failure.
    """

    __slots__ = ("never_fails", "owner", "plain_form")

    def __init__(self, owner: Any, *, plain_form: Callable[..., Any] | None = None, never_fails: bool = False) -> None:
        self.owner = owner
        self.plain_form = plain_form
        self.never_fails = never_fails
        owner.__failwell_alternative__ = self

    @staticmethod
    def of(fn: Any) -> Alternative | None:
        """What a function says about itself; a wrapper that took over its attributes, or a mock, says nothing."""
        found = getattr(fn, "__failwell_alternative__", None)
        return found if isinstance(found, Alternative) and found.owner is fn else None


class Abandoned(BaseException):
    """Ends a thread whose caller was told "timed out": nothing new may start there.

    A ``BaseException``, so that no handler of the operation's errors takes it for one.
    """


class _Lease:
    """The right of a worker thread to go on; it ends when its caller, or that one's caller, stops waiting.

    Attributes:
        due: The monotonic time at which its caller stops waiting, if it has said so.
    """

    __slots__ = ("due", "ended", "outer")

    def __init__(self, outer: _Lease | None, due: float = _FOR_EVER) -> None:
        self.outer = outer
        self.due = due
        self.ended = Signal()
        self.ended.add("abandoned", switch.touch)  # from then on calls ask whether they may still start
        if outer is not None and not outer.ended.add(self, self.ended.set):
            self.ended.set()

    def ends_by(self, moment: float) -> bool:
        """Whether its caller, or one further out, has stopped waiting when the monotonic clock shows ``moment``."""
        lease: _Lease | None = self
        while lease is not None and lease.due > moment:
            lease = lease.outer
        return lease is not None

    def settle(self) -> None:
        """The work was done in time."""
        if self.outer is not None:
            self.outer.ended.discard(self)


_lease: ContextVar[_Lease | None] = ContextVar("failwell_lease", default=None)


class _Errand:
    """A call in a thread of its own, under a lease that ends when nobody waits for it any more."""

    __slots__ = ("answer", "call", "context", "error", "is_done", "lease", "pool", "tell")

    answer: Any

    def __init__(
        self,
        outer: _Lease | None,
        call: Callable[[], Any],
        tell: Callable[[], None],
        pool: Pool = _ANY_THREAD,
        due: float = _FOR_EVER,
    ) -> None:
        self.lease = _Lease(outer, due)
        self.pool = pool
        self.call = call
        self.tell = tell
        self.error: BaseException | None = None
        self.is_done = False
        pool.start(self.work)

    def work(self) -> bool:
        """What the thread does; whether it may be used again."""
        _lease.set(self.lease)
        try:
            self.answer = self.call()
        except BaseException as error:
            self.error = error
        finally:
            self.context = copy_context()
            self.is_done = True
            self.tell()
            if not self.lease.ended.add("over", switch.untouch):
                switch.untouch()
        return not self.lease.ended.is_set

    def leave(self, done: bool) -> None:
        """Nobody waits any more: where it is not done by now, nothing new may start."""
        self.lease.settle()
        if not done:
            self.lease.ended.set()
            self.pool.left()

    def result(self) -> Any:
        """What came of it, as if it had run in this thread."""
        _take_over(self.context)
        if self.error is not None:
            try:
                raise self.error
            finally:
                self.error = None  # the frame of `work` must not keep the traceback alive
        return self.answer


_MISSING: Any = object()


def _take_over(context: Context) -> None:
    """Keep what work elsewhere set in its context, as a call in the caller's own would."""
    for variable, value in context.items():
        if variable is not _lease and variable.get(_MISSING) is not value:
            variable.set(value)


def _decides(error: BaseException | None) -> bool:
    """Whether a call that ended so settles `Runtime.first`: with an answer, or with what is no failure of it."""
    return not isinstance(error, Exception) or isinstance(error, UnexpectedAwaitable)


def _with_others(errors: Sequence[BaseException]) -> BaseException:
    """The first of several errors, which now knows of the others."""
    error, *others = errors
    others = [other for other in others if other is not error]
    known: Any = error
    with suppress(Exception):  # an error that cannot be changed stays as it is
        known.also_failed = tuple(others)
        notes = [note for note in getattr(error, "__notes__", ()) if not str(note).startswith(_ALSO_FAILED)]
        told = [_ALSO_FAILED + "; ".join(map(_told, others))] if others else []
        if notes or told or hasattr(error, "__notes__"):
            error.__notes__ = notes + told
    return error


_ALSO_FAILED = "also failed: "


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _refuse_none(calls: Sequence[Any]) -> None:
    if not calls:
        raise ValueError("first() needs at least one call, got none")


def _callback_failed(callback: object) -> None:
    log.exception("a failwell callback failed: %s", name_of(callback))


def name_of(fn: Any) -> str:
    """The name by which a callable is known in events, errors and drawings.

    Args:
        fn: Any callable.
    """
    while True:
        name = getattr(fn, "__name__", None)
        if isinstance(name, str):
            return name
        if not isinstance(fn, functools.partial):
            return type(fn).__name__
        fn = fn.func


# --- on an event loop ----------------------------------------------------------------------------


@types.coroutine
def _one_turn() -> Generator[None, None, None]:
    yield


class _Nothing:
    """Nothing to wait for: awaiting it costs less than a coroutine that does nothing."""

    __slots__ = ("_end",)

    def __init__(self) -> None:
        self._end: Generator[Any, None, None] = cast("Any", iter(()))

    def __await__(self) -> Generator[Any, None, None]:
        return self._end  # it is at its end, and stays there


_NOTHING = _Nothing()


async def _settled(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


async def _begun(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


class AsyncRuntime(_Here):
    """The runtime of async calls, on asyncio."""

    __slots__ = ()

    def announce(
        self, callback: Callable[[Any], object] | None, event: EventType[P], *args: P.args, **kwargs: P.kwargs
    ) -> Awaitable[None]:
        if callback is None and not bus.active:
            return _NOTHING
        return self._announced(callback, event(*where(self.layer, self.operation, self.now()), *args, **kwargs))

    async def _announced(self, callback: Callable[[Any], object] | None, happened: Event) -> None:
        if bus.active:
            bus.publish(happened)
        if callback is not None:
            try:
                result = callback(happened)
                if inspect.isawaitable(result):
                    await result
            except Exception:
                _callback_failed(callback)

    def sleep(self, seconds: float) -> Awaitable[None]:
        if _lease.get() is not None:  # a loop of its own in a worker thread that may be abandoned
            return self._sleep_while_wanted(seconds)
        return asyncio.sleep(seconds) if seconds > 0 else _one_turn()

    async def _sleep_while_wanted(self, seconds: float) -> None:
        lease = self.lease()
        assert lease is not None
        await self.wait(lease.ended, seconds)
        self.lease()

    def invoke(self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None, name: str = "") -> Any:
        if _lease.get() is not None:
            self.lease()
        result = fn(*args, **kwargs) if kwargs else fn(*args)
        # A coroutine is what the caller awaits anyhow; another one around it would cost as much as all the rest.
        return result if inspect.iscoroutine(result) else _settled(result)

    async def decide(self, question: str, options: Sequence[T], fn: Callable[..., Any], *args: Any) -> T:
        answer: Any = fn(*args)
        if inspect.isawaitable(answer):
            answer = await answer
        chosen: T = answer
        return chosen

    def within(self, seconds: float, call: Callable[[], Awaitable[Any]]) -> Awaitable[Any]:
        self.lease()
        if deadline.get() is not None:
            until = current_deadline()
            if until is not None and (left := until - time.monotonic()) <= seconds:
                if left <= 0:
                    raise passed(until, self.operation)
                if isinstance(until, Due) and until.owner is asyncio.current_task():
                    return call()  # who set it ends it
                return self._before(until, left, call)
        return _limited(seconds, call)

    async def _before(self, until: float, left: float, call: Callable[[], Awaitable[Any]]) -> Any:
        """Run a call that has to end before the deadline around it, where nobody else sees to that."""
        answer = await _limited(left, call)
        if answer is LATE:
            raise passed(until, self.operation)
        return answer

    async def by(self, seconds: float, at: float | None, call: Callable[[], Awaitable[Any]]) -> Any:
        self.lease()
        now = time.monotonic()
        moment = now + seconds if at is None else at
        outer = current_deadline()
        if outer is not None and outer <= moment:
            return await self.within(_FOR_EVER, call)
        if moment <= now:
            return LATE
        due = Due(moment, seconds, self.operation, outer)
        due.owner = asyncio.current_task()
        token = deadline.set(due)
        try:
            return await _limited(moment - now, call)
        except (DeadlineExceeded, BaseExceptionGroup) as error:
            if not due.was_met_by(error):
                raise
            return LATE
        finally:
            due.ends(token)

    async def in_thread(
        self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None, name: str = ""
    ) -> Any:
        return await self.elsewhere(_ANY_THREAD, fn, args, kwargs)

    async def elsewhere(self, pool: Pool, fn: Callable[..., Any], args: Sequence[Any], kwargs: Any) -> Any:
        """The same in one of a pool's threads."""
        finished = Signal()
        errand = _Errand(self.lease(), functools.partial(_called_plainly, fn, args, kwargs), finished.set, pool)
        done = False
        try:
            done = await self.wait(finished)
        finally:
            errand.leave(done)
        return errand.result()

    async def in_pool(self, pool: Pool, call: Callable[[], Awaitable[Any]]) -> Any:
        return await call()

    async def first(self, calls: Sequence[Callable[[], Awaitable[Any]]], delay: float) -> Any:
        _refuse_none(calls)
        loop = asyncio.get_running_loop()
        trials: list[asyncio.Task[tuple[Any, bool]]] = []
        contexts: list[Context] = []
        winner: int | None = None
        try:
            for call in calls:
                self.lease()
                contexts.append(copy_context())
                trials.append(loop.create_task(self.tentative(call), context=contexts[-1]))
                winner = await _winner(loop, trials, _FOR_EVER if len(trials) == len(calls) else delay)
                if winner is not None:
                    break
        except GeneratorExit:  # closed from outside: nothing can be waited for here
            with suppress(RuntimeError):  # the loop is closed as well
                _cancel(trials)
            raise
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):  # that one was passed on to them when it came
                _cancel(trials)
            await _ended(loop, trials)
            raise
        try:
            _cancel(trials)
            await _ended(loop, trials)
            _take_over(contexts[winner or 0])
            if winner is None:
                raise _with_others([cast("BaseException", trial.exception()) for trial in trials])
            answer, degraded = trials[winner].result()
        finally:
            trials.clear()  # a frame and its own traceback would keep each other alive
        if degraded:
            self.degraded()
        return answer

    async def each(self, limit: int, calls: Sequence[Callable[[], Awaitable[Any]]]) -> None:
        self.lease()
        loop = asyncio.get_running_loop()
        turns = _Turns(loop, calls)
        try:
            await turns.taken(limit)
        except GeneratorExit:  # closed from outside: nothing can be waited for here
            with suppress(RuntimeError):  # the loop is closed as well
                _cancel(turns.running)
            raise
        except BaseException as error:
            turns.todo.clear()
            if not isinstance(error, asyncio.CancelledError):  # that one was passed on to them when it came
                _cancel(turns.running)
            await _ended(loop, tuple(turns.running))
            raise
        try:
            if turns.failed:
                _cancel(turns.running)
                await _ended(loop, tuple(turns.running))
                turns.failed[0].result()
        finally:
            turns.failed.clear()  # a frame and its own traceback would keep each other alive

    async def wait(self, signal: Signal, timeout: float | None = None) -> bool:
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[bool] = loop.create_future()

        def resolve(value: bool) -> None:
            if not woken.done():
                woken.set_result(value)

        def wake() -> None:
            if asyncio._get_running_loop() is loop:
                resolve(True)
            else:
                with suppress(RuntimeError):  # its loop is closed: nobody waits there any more
                    loop.call_soon_threadsafe(resolve, True)

        if not signal.add(woken, wake):
            return True
        timer = None if timeout is None else loop.call_later(timeout, resolve, False)
        try:
            return await woken
        finally:
            signal.discard(woken)
            if timer is not None:
                timer.cancel()

    async def shielded(self, fn: Callable[[], Coroutine[Any, Any, T]]) -> T:
        with without_deadline():
            task = asyncio.ensure_future(fn())
        interrupted: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait((task,))
            except asyncio.CancelledError as error:
                interrupted = error
        if interrupted is None:
            return task.result()
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not report it as lost
        try:
            raise interrupted
        finally:
            interrupted = None  # a frame and its own traceback would keep each other alive

    async def graded(self, call: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        with Mark() as mark:
            return await call(), mark.degraded

    async def tentative(self, call: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
        with Mark(tentative=True) as mark:
            return await call(), mark.degraded


@contextmanager
def without_deadline() -> Generator[None]:
    """Let what begins here take its time."""
    token = deadline.set(None)
    try:
        yield
    finally:
        deadline.reset(token)


@types.coroutine
def _limited(seconds: float, call: Callable[[], Awaitable[Any]]) -> Generator[Any, Any, Any]:
    """Run a call; `LATE` if it is not done after some seconds."""
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    awaitable: Any = call()
    work: Any = awaitable if hasattr(awaitable, "send") else awaitable.__await__()
    waits_for: Any
    try:
        waits_for = work.send(None)
    except StopIteration as done:
        return done.value
    # It really suspends; only now is a timer worth its price (most calls never get here in tests and caches).
    limited = cast("Generator[Any, Any, Any]", _until(loop, due, work, waits_for))
    return (yield from limited)


@types.coroutine
def _until(loop: asyncio.AbstractEventLoop, due: float, work: Any, waits_for: Any) -> Generator[Any, Any, Any]:
    """Go on with work that waits for something; `LATE` if it is not done when the loop's clock shows ``due``."""
    task = asyncio.current_task()
    if task is None:
        work.close()
        raise RuntimeError("a timeout needs a running asyncio task")
    before = task.cancelling()
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        task.cancel()

    timer = loop.call_at(due, expire)
    try:
        while True:
            try:
                yield waits_for
            except BaseException as thrown:
                waits_for = work.throw(thrown)
            else:
                break
        steps: Generator[Any, Any, Any] = work
        answer: Any = yield from steps
    except StopIteration as done:  # it ended on what was thrown into it
        answer = done.value
    except BaseException as error:
        # As in asyncio.timeout: the cancellation is ours if nobody else asked for one as well.
        if expired and task.uncancel() <= before and isinstance(error, asyncio.CancelledError):
            return LATE
        raise
    finally:
        timer.cancel()
    if expired:
        task.uncancel()
    return answer


async def _winner(loop: asyncio.AbstractEventLoop, trials: Sequence[asyncio.Task[Any]], delay: float) -> int | None:
    """Which one settles it; None if all failed, or ``delay`` seconds passed."""
    due = loop.time() + delay
    while True:
        for place, trial in enumerate(trials):
            if trial.done() and (trial.cancelled() or _decides(trial.exception())):
                return place
        running = [trial for trial in trials if not trial.done()]
        left = due - loop.time()
        if not running or left <= 0:
            return None
        await _one_ends(loop, running, left)


class _Wait(asyncio.Future[None]):
    """A wait for tasks. Who cancels it cancels them, before they make one more step."""

    tasks: Collection[asyncio.Task[Any]] = ()

    def cancel(self, msg: Any | None = None) -> bool:
        _cancel(self.tasks)
        return super().cancel(msg)

    def wake(self, *ignored: object) -> None:
        if not self.done():
            self.set_result(None)


class _Turns:
    """Calls that run in tasks, so many at once; one that ends makes room for the next."""

    def __init__(self, loop: asyncio.AbstractEventLoop, calls: Sequence[Callable[[], Awaitable[Any]]]) -> None:
        self.loop = loop
        self.todo = deque(calls)
        self.context = copy_context()
        self.running: set[asyncio.Task[Any]] = set()
        self.failed: list[asyncio.Task[Any]] = []
        self.over = _Wait(loop=loop)
        self.over.tasks = self.running  # who cancels this wait cancels them

    async def taken(self, limit: int) -> None:
        while self.todo and len(self.running) < limit:
            self.start()
        if self.running:
            await self.over

    def start(self) -> None:
        task = self.loop.create_task(_begun(self.todo.popleft()), context=self.context.copy())
        self.running.add(task)
        task.add_done_callback(self.ended)

    def ended(self, task: asyncio.Task[Any]) -> None:
        self.running.discard(task)
        if task.cancelled() or task.exception() is not None:
            self.failed.append(task)
            self.todo.clear()
        if self.todo and not self.over.done():
            self.start()
        elif self.failed or not self.running:
            self.over.wake()


async def _one_ends(loop: asyncio.AbstractEventLoop, running: Sequence[asyncio.Task[Any]], timeout: float) -> None:
    """Wait until one of several tasks ends, or some time has passed."""
    wait = _Wait(loop=loop)
    wait.tasks = running
    for task in running:
        task.add_done_callback(wait.wake)
    timer = None if timeout == _FOR_EVER else loop.call_later(timeout, wait.wake)
    try:
        await wait
    finally:
        for task in running:
            task.remove_done_callback(wait.wake)
        if timer is not None:
            timer.cancel()


def _cancel(tasks: Collection[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


async def _ended(loop: asyncio.AbstractEventLoop, tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait for the end of tasks that were cancelled, however often the caller is cancelled meanwhile."""
    interrupted: asyncio.CancelledError | None = None
    while running := [task for task in tasks if not task.done()]:
        try:
            await _one_ends(loop, running, _FOR_EVER)
        except asyncio.CancelledError as error:
            interrupted = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not report it as lost
    if interrupted is not None:
        try:
            raise interrupted
        finally:
            interrupted = None  # a frame and its own traceback would keep each other alive


# --- in a plain thread ---------------------------------------------------------------------------


class BlockingRuntime(_Here):
    """The runtime of plain calls: the same answers, waited for in the calling thread."""

    __slots__ = ()

    def now(self) -> float:
        if _lease.get() is not None:
            self.lease()
        return time.monotonic()

    def wall_time(self) -> float:
        self.lease()
        return time.time()

    def time_left(self) -> float:
        self.lease()
        return super().time_left()

    def between(self, low: float, high: float, waits: bool = True) -> float:
        self.lease()
        return super().between(low, high)

    def emit(self, event: EventType[P], *args: P.args, **kwargs: P.kwargs) -> None:
        if _lease.get() is not None:
            self.lease()
        if bus.active:
            bus.publish(event(*where(self.layer, self.operation, time.monotonic()), *args, **kwargs))

    def degraded(self) -> None:
        self.lease()
        super().degraded()

    def announce(
        self, callback: Callable[[Any], object] | None, event: EventType[P], *args: P.args, **kwargs: P.kwargs
    ) -> None:
        self.lease()
        if callback is None and not bus.active:
            return
        happened = event(*where(self.layer, self.operation, time.monotonic()), *args, **kwargs)
        if bus.active:
            bus.publish(happened)
        if callback is not None:
            try:
                result = callback(happened)
            except Exception:
                _callback_failed(callback)
            else:
                refuse_awaitable(callback, result)

    def sleep(self, seconds: float) -> None:
        lease = self.lease()
        if lease is not None:
            self.wait(lease.ended, seconds)  # ends at once when nobody waits for this thread any more
        elif seconds > 0:  # time.sleep(0) costs 67 us
            time.sleep(min(seconds, threading.TIMEOUT_MAX))

    def invoke(self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None, name: str = "") -> Any:
        self.lease()
        known = Alternative.of(fn)
        if known is not None and known.plain_form is not None:
            fn = known.plain_form
        return refuse_awaitable(fn, fn(*args, **(kwargs or {})))

    def in_thread(self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None, name: str = "") -> Any:
        self.lease()
        return _called_plainly(fn, args, kwargs)

    def in_pool(self, pool: Pool, call: Callable[[], Any]) -> Any:
        finished = Signal()
        errand = _Errand(self.lease(), call, finished.set, pool)
        done = False
        try:
            done = self.wait(finished)
        finally:
            errand.leave(done)
        return errand.result()

    def decide(self, question: str, options: Sequence[T], fn: Callable[..., Any], *args: Any) -> T:
        self.lease()
        result: T = refuse_awaitable(fn, fn(*args))
        return result

    def within(self, seconds: float, call: Callable[[], T]) -> T | Literal[Late.LATE]:
        until = current_deadline()
        if until is not None and (left := until - time.monotonic()) <= seconds:
            return self._before(until, left, call)
        return self._limited(seconds, call)

    def _before(self, until: float, left: float, call: Callable[[], T]) -> T:
        """Run a call that the deadline around it ends."""
        lease = self.lease()
        if left <= 0:
            raise passed(until, self.operation)
        if lease is not None and lease.ends_by(until):
            return call()
        answer = self._limited(left, call)
        if answer is LATE:
            raise passed(until, self.operation)
        return answer

    def by(self, seconds: float, at: float | None, call: Callable[[], T]) -> T | Literal[Late.LATE]:
        self.lease()
        now = time.monotonic()
        moment = now + seconds if at is None else at
        outer = current_deadline()
        if outer is not None and outer <= moment:
            return self.within(_FOR_EVER, call)
        if moment <= now:
            return LATE
        due = Due(moment, seconds, self.operation, outer)
        token = deadline.set(due)
        try:
            return self._limited(moment - now, call, moment)
        except (DeadlineExceeded, BaseExceptionGroup) as error:
            if not due.was_met_by(error):
                raise
            return LATE
        finally:
            due.ends(token)

    def _limited(self, seconds: float, call: Callable[[], T], due: float | None = None) -> T | Literal[Late.LATE]:
        """Run a call; `LATE` if it is not done after some seconds."""
        finished = Signal()
        due = time.monotonic() + seconds if due is None else due
        errand = _Errand(self.lease(), call, finished.set, due=due)
        done = False
        try:
            done = self.wait(finished, seconds)
        finally:
            errand.leave(done)
        answer: T | Literal[Late.LATE] = errand.result() if done else LATE
        return answer

    def first(self, calls: Sequence[Callable[[], Any]], delay: float) -> Any:
        _refuse_none(calls)
        errands: list[_Errand] = []
        news = [Signal()]  # a signal is set once, so each wait has one of its own
        winner: int | None = None

        def tell() -> None:
            news[0].set()

        try:
            for call in calls:
                trial = functools.partial(self.tentative, functools.partial(_called_plainly, call))
                errands.append(_Errand(self.lease(), trial, tell))
                winner = self._winner(errands, news, _FOR_EVER if len(errands) == len(calls) else delay)
                if winner is not None:
                    break
            else:
                return self._all_failed(errands)
        finally:
            for errand in errands:
                errand.leave(errand.is_done)
        answer, degraded = errands[winner].result()
        if degraded:
            self.degraded()
        return answer

    def _winner(self, errands: Sequence[_Errand], news: list[Signal], delay: float) -> int | None:
        """Which one settles it; None if all failed, or ``delay`` seconds passed."""
        due = time.monotonic() + delay
        while True:
            news[0] = Signal()  # who ends from now on sets this one; who ended before is seen below
            ended = [errand.is_done for errand in errands]
            for place, errand in enumerate(errands):
                if ended[place] and _decides(errand.error):
                    return place
            left = due - time.monotonic()
            if all(ended) or left <= 0:
                return None
            self.wait(news[0], None if left == _FOR_EVER else left)

    @staticmethod
    def _all_failed(errands: Sequence[_Errand]) -> Any:
        first = errands[0]
        first.error = _with_others([cast("BaseException", errand.error) for errand in errands])
        for errand in errands[1:]:
            errand.error = None  # as in `_Errand.result`
        return first.result()

    def each(self, limit: int, calls: Sequence[Callable[[], Any]]) -> None:
        lease = self.lease()
        todo = deque(calls)
        threads = min(limit, len(todo))
        ended: list[int] = []
        failed: list[BaseException] = []
        over = Signal()

        def work() -> None:
            try:
                for call in _taken_from(todo):
                    self.lease()
                    copy_context().run(_called_plainly, call)
            except BaseException as error:
                failed.append(error)
                todo.clear()
                over.set()

        def tell() -> None:
            ended.append(1)
            if len(ended) == threads:
                over.set()

        errands: list[_Errand] = []
        try:
            if threads == 1:  # nobody else is there: the caller's own thread does it
                work()
            elif threads:
                for _ in range(threads):
                    errands.append(_Errand(lease, work, tell))  # noqa: PERF401 - if one cannot start, the others end
                self.wait(over)
        finally:
            for errand in errands:
                errand.leave(errand.is_done)
        try:
            if failed:
                raise failed[0]
        finally:
            failed.clear()  # a frame and its own traceback would keep each other alive

    def wait(self, signal: Signal, timeout: float | None = None) -> bool:
        lease = self.lease()
        if timeout is not None and lease is not None and lease.ends_by(time.monotonic() + timeout):
            timeout = (
                None  # of several limits at the same moment the outermost has its way, whichever thread wakes first
            )
        woken = virtual.make_event()
        try:
            if (lease is None or lease.ended.add(woken, woken.set)) and signal.add(woken, woken.set):
                woken.wait(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        finally:
            signal.discard(woken)
            if lease is not None:
                lease.ended.discard(woken)
        self.lease()
        return signal.is_set

    def shielded(self, fn: Callable[[], T]) -> T:
        token = _lease.set(None)  # cleanup goes on in an abandoned thread too
        try:
            with without_deadline():
                return fn()
        finally:
            _lease.reset(token)

    def graded(self, call: Callable[[], T]) -> tuple[T, bool]:
        self.lease()
        with Mark() as mark:
            return call(), mark.degraded

    def tentative(self, call: Callable[[], T]) -> tuple[T, bool]:
        self.lease()
        with Mark(tentative=True) as mark:
            return call(), mark.degraded


def _taken_from(todo: deque[T]) -> Generator[T]:
    """What is left, one after the other; several threads may take from it at once."""
    with suppress(IndexError):
        while True:
            yield todo.popleft()


def _called_plainly(fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None) -> Any:
    return refuse_awaitable(fn, fn(*args, **(kwargs or {})))


class UnexpectedAwaitable(TypeError):
    """Something under a plain call returned an awaitable. No pattern takes it for a failure of the operation."""


def refuse_awaitable(fn: Any, result: T) -> T:
    """Return a plain result; close an awaitable one and say whose it is.

    Args:
        fn: What returned it.
        result: What it returned.

    Raises:
        UnexpectedAwaitable: If the result is awaitable: it would never be awaited under a plain call.
    """
    if hasattr(result, "__await__") and inspect.isawaitable(result):
        given: Any = result
        if isinstance(given, Coroutine):
            given.close()
        elif asyncio.isfuture(given):
            given.cancel()
        raise UnexpectedAwaitable(
            f"{name_of(fn)} returned {type(result).__name__!s}, an awaitable, under a plain call: "
            "make it an async function, or protect an async function"
        )
    return result
