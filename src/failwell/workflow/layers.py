"""The layers that a workflow adds to the patterns: they count, report, raise the alarm, undo, and keep the total.

They are policies like any other. `Tally` is the outermost layer of a workflow and `Calls` (or `LimitedCalls`) the
innermost; between the two, what happens is the workflow's own doing, and what happens inside of `Calls` is somebody
else's. That is how an event is known to be one of this workflow, whatever other policies the operation and its
alternatives are made of.
"""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from typing import Any

from failwell.derive import Call
from failwell.errors import RecoveryError, SagaError, TimeoutExceeded
from failwell.events import (
    Alerted,
    CacheHit,
    CircuitOpened,
    Compensated,
    Compensating,
    CompensationFailed,
    Event,
    FellBack,
    Rejected,
    StaleServed,
    TimedOut,
    Waiting,
    bus,
    log,
)
from failwell.policy import Policy, is_async, protected
from failwell.recorded import redacted
from failwell.runtime import LATE, Alternative, Runtime, UnexpectedAwaitable, name_of

__all__ = [
    "COUNTED",
    "COUNTS",
    "Alarm",
    "AttemptsExhausted",
    "Calls",
    "Compensate",
    "LimitedCalls",
    "OnError",
    "Tally",
    "apart",
    "outside",
    "saved_state",
    "takes",
]

errors_log = logging.getLogger("failwell.workflow")


class AttemptsExhausted(RecoveryError):
    """An execution has called its operation as often as it may.

    Attributes:
        operation: The operation that was not called again.
        attempts: How often it was called.
    """

    def __init__(self, operation: str = "operation", attempts: int = 0) -> None:
        self.operation = operation
        self.attempts = attempts
        super().__init__(f"{operation} was not called again: all {attempts} attempts of this execution are used up")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.operation, self.attempts), self.__dict__


# --- one execution -------------------------------------------------------------------------------


class Execution:
    """One call through a workflow, from its outermost layer in.

    Attributes:
        counts: What it is counted in.
        state: What the operation put down for those that may have to undo it.
        attempts: How often the operation was called so far.
        last: The error that the last attempt ended with.
    """

    __slots__ = ("attempts", "counts", "last", "state")

    def __init__(self, counts: Counts) -> None:
        self.counts = counts
        self.state: MutableMapping[str, Any] = {}
        self.attempts = 0
        self.last: BaseException | None = None

    def hear(self, event: Event) -> None:
        """Count what this workflow's own layers report."""
        name = COUNTED.get(type(event))
        if name is not None and _layers_of.get() is self and not (isinstance(event, FellBack) and event.order > 1):
            self.counts.add(name)


COUNTED: Mapping[type[Event], str] = {
    Alerted: "alerts",
    CacheHit: "cache_hits",
    CircuitOpened: "circuit_openings",
    Compensated: "compensations",
    CompensationFailed: "compensation_failures",
    FellBack: "fallbacks",
    Rejected: "rejections",
    StaleServed: "stale_answers",
    TimedOut: "timeouts",
    Waiting: "retries",
}
ENDS = ("successes", "failures", "cancelled")
COUNTS = ("executions", "attempts", *ENDS, "degraded", *sorted(set(COUNTED.values())))
"""What is counted, in the order in which it is shown."""

_execution: ContextVar[Execution | None] = ContextVar("failwell_execution", default=None)
"""The execution that this code runs in: the nearest one."""

_layers_of: ContextVar[Execution | None] = ContextVar("failwell_layers_of", default=None)
"""The execution whose layers are at work; None inside of operations, alternatives, compensations and callbacks."""


def _back(variable: ContextVar[Any], token: Token[Any]) -> None:
    """Give a variable the value that it had before."""
    try:
        variable.reset(token)
    except ValueError:  # closed from another context, which never had this one
        pass


@contextmanager
def outside() -> Generator[None]:
    """While code runs that is not the workflow's own, such as the operation."""
    token = _layers_of.set(None)
    try:
        yield
    finally:
        _back(_layers_of, token)


def saved_state() -> MutableMapping[str, Any]:
    """What the operation puts down for the compensations of this execution, which get it as their argument.

    The same mapping for all attempts of one execution. The compensations also find there ``args`` and ``kwargs``,
    what the operation was called with, and ``error``, why it is to be undone.

    Raises:
        LookupError: If this code does not run in a workflow.
    """
    execution = _execution.get()
    if execution is None:
        raise LookupError("saved_state() belongs to an execution: call it in a function that a workflow runs")
    return execution.state


def apart(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The same function; what policies of its own report is not counted as the workflow's.

    Args:
        fn: An alternative, a compensation.
    """
    if Alternative.of(fn) is not None:
        return fn
    if protected(fn) is not None or not hasattr(fn, "__name__"):
        return _Apart()(fn)  # a function that is explored itself must stay one

    if is_async(fn):

        @functools.wraps(fn)
        async def run(*args: Any, **kwargs: Any) -> Any:
            with outside():
                return await fn(*args, **kwargs)

        return run

    @functools.wraps(fn)
    def run_plain(*args: Any, **kwargs: Any) -> Any:
        with outside():
            return fn(*args, **kwargs)

    return run_plain


class _Apart(Policy):
    """What is inside is not the workflow's own."""

    async def run(self, call: Call, rt: Runtime) -> Any:
        with outside():
            return await call()


# --- counting ------------------------------------------------------------------------------------


class Counts:
    """What became of the executions of one workflow, for any number of threads.

    Args:
        window: How many of the latest executions its health looks at.
    """

    def __init__(self, window: int) -> None:
        self._lock = threading.Lock()
        self._numbers = dict.fromkeys(COUNTS, 0)
        self._latest: deque[tuple[bool, bool]] = deque(maxlen=window)

    def add(self, name: str) -> None:
        """Count one more of something."""
        with self._lock:
            self._numbers[name] += 1

    def attempt(self, execution: Execution, most: float) -> bool:
        """Whether an execution may call its operation once more; if so, it is counted."""
        with self._lock:
            if execution.attempts >= most:
                return False
            execution.attempts += 1
            self._numbers["attempts"] += 1
            return True

    def ended(self, how: str, degraded: bool) -> None:
        """Count the end of an execution; all that belongs to it at once, so that no snapshot sees a half of it."""
        with self._lock:
            self._numbers[how] += 1
            if degraded:
                self._numbers["degraded"] += 1
            if how != "cancelled":  # that says nothing about the service
                self._latest.append((how == "failures", degraded))

    def snapshot(self) -> dict[str, int]:
        """All numbers at one moment. Those that are under way are ``active``."""
        with self._lock:
            found = dict(self._numbers)
        return {**found, "active": found["executions"] - sum(found[end] for end in ENDS)}

    def latest(self) -> tuple[int, float, float]:
        """How many executions the window holds, and the shares of failed and of degraded ones among them."""
        with self._lock:
            seen = list(self._latest)
        failed, degraded = (sum(column) for column in zip(*seen, strict=True)) if seen else (0, 0)
        return len(seen), failed / max(1, len(seen)), degraded / max(1, len(seen))

    def reset(self) -> None:
        """Count anew; what is under way is counted when it ends."""
        with self._lock:
            under_way = self._numbers["executions"] - sum(self._numbers[end] for end in ENDS)
            self._numbers = {**dict.fromkeys(COUNTS, 0), "executions": under_way}
            self._latest.clear()


class Tally(Policy):
    """Count executions and what becomes of them; the outermost layer of a workflow.

    Args:
        events: Whether to count what the other layers report, too. It costs some microseconds a call.
        window: How many of the latest executions `Workflow.health` looks at.
    """

    def __init__(self, *, events: bool = True, window: int = 100) -> None:
        self.events = events
        self.window = window

    async def run(self, call: Call, rt: Runtime) -> Any:
        """Count the execution, and what its layers report."""
        execution = Execution(rt.state)
        execution.counts.add("executions")
        inside, at_work = _execution.set(execution), _layers_of.set(execution)
        heard = bus.enter(execution.hear) if self.events else None
        end, degraded = "cancelled", False
        try:
            answer, degraded = await rt.graded(call)
            end = "successes"
            return answer
        except Exception:
            end = "failures"
            raise
        finally:
            if heard is not None:
                bus.leave(heard)
            _back(_layers_of, at_work)
            _back(_execution, inside)
            execution.last = None  # a frame and its own traceback would keep each other alive
            execution.counts.ended(end, degraded)

    def situations(self) -> Mapping[str, Callable[[], Counts]]:
        """Nothing counted yet."""
        return {"": functools.partial(Counts, self.window)}


# --- reporting -----------------------------------------------------------------------------------


class _Errors:
    """The errors that were counted.

    Args:
        before: How many were counted before, to explore with.
    """

    def __init__(self, before: int = 0) -> None:
        self._lock = threading.Lock()
        self._since: deque[float] = deque([0.0] * before)
        self.total = before

    def one_more(self, now: float, threshold: int, window: float) -> int:
        """Count an error; how many there were in all if it is time to tell somebody, else 0."""
        with self._lock:
            self.total += 1
            self._since.append(now)
            while now - self._since[0] > window:
                self._since.popleft()
            if len(self._since) < threshold:
                return 0
            self._since.clear()
            return self.total


class OnError(Policy):
    """Report each error that the layers inside could not avert.

    It stands inside of the fallback and the cache: an outage that they answer is an outage all the same.

    Args:
        log_errors: Whether to log each error (logger ``failwell.workflow``, without what looks like a secret).
        on_error: Called with each error.
    """

    def __init__(self, *, log_errors: bool = False, on_error: Callable[[Exception], object] | None = None) -> None:
        self.log_errors = log_errors
        self.on_error = on_error

    async def run(self, call: Call, rt: Runtime) -> Any:
        """Report the error that goes through."""
        try:
            return await call()
        except UnexpectedAwaitable:
            raise
        except Exception as error:
            try:
                if self.log_errors:
                    await rt.decide("error logged", (None,), _log, rt.operation, error)
                if self.on_error is not None:
                    await rt.decide("error reported", (None,), self.on_error, error)
            except UnexpectedAwaitable:
                raise
            except Exception:
                log.exception("on_error of a workflow failed")
            raise


class Alarm(Policy):
    """Tell somebody when there are too many errors; they are counted where `OnError` reports them.

    Args:
        threshold: Tell somebody after so many errors, and again after so many more.
        window: Only errors of the last ``window`` seconds count (default: all).
        on_alert: Called with the `Alerted` event.
    """

    def __init__(
        self, threshold: int, window: float | None = None, on_alert: Callable[[Alerted], object] | None = None
    ) -> None:
        self.threshold = threshold
        self.window = window
        self.on_alert = on_alert

    async def run(self, call: Call, rt: Runtime) -> Any:
        """Count the error that goes through."""
        try:
            return await call()
        except UnexpectedAwaitable:
            raise
        except Exception:
            window = float("inf") if self.window is None else self.window
            count = rt.state.one_more(rt.now(), self.threshold, window)
            if count:
                await rt.announce(self.on_alert, Alerted, count)
            raise

    def situations(self) -> Mapping[str, Callable[[], _Errors]]:
        """No error so far; and one short of the alert."""
        found: dict[str, Callable[[], _Errors]] = {"quiet": _Errors}
        if self.threshold > 1:
            found["one error short of an alert"] = functools.partial(_Errors, self.threshold - 1)
        return found


def _log(operation: str, error: Exception) -> None:
    errors_log.error("%s failed: %s", operation, redacted(f"{type(error).__name__}: {error}"))


# --- undoing -------------------------------------------------------------------------------------


class Compensate(Policy):
    """Undo what an operation did when it has finally failed.

    The actions run as a saga's compensations do: all of them, whatever becomes of the others, to their end even if
    the caller is cancelled. Where the operation was never called, because it was refused before, nothing is undone.

    Args:
        actions: What undoes the work. Each gets `saved_state`, or nothing if it takes nothing. A list is looked at
            when something is to be undone, so the operation may add to it.
        save_state: Whether the actions find the operation's arguments in the state, as ``args`` and ``kwargs``.
        in_reverse: Whether the last action runs first, as befits actions that were added while the work went on.
        timeout: Seconds for the work that would have to be undone, retries included.
        on_compensation_start: Called with the error before the first action.
        on_compensation_complete: Called with the names of the actions that succeeded after the last one.

    Raises:
        SagaError: On a call, when the operation fails; it says what was and what was not undone.
    """

    def __init__(
        self,
        actions: Sequence[Callable[..., Any]],
        save_state: bool = True,
        in_reverse: bool = True,
        timeout: float | None = None,
        on_compensation_start: Callable[[BaseException], object] | None = None,
        on_compensation_complete: Callable[[list[str]], object] | None = None,
    ) -> None:
        self.actions = actions
        self.save_state = save_state
        self.in_reverse = in_reverse
        self.timeout = timeout
        self.on_compensation_start = on_compensation_start
        self.on_compensation_complete = on_compensation_complete
        self._known = [(action, apart(action)) for action in actions]

    async def run(self, call: Call, rt: Runtime) -> Any:
        """Undo what was begun if it fails."""
        execution = _execution.get()
        state: MutableMapping[str, Any] = {} if execution is None else execution.state
        if self.save_state:
            state.update(args=call.args, kwargs=call.kwargs)
        try:
            if self.timeout is None:
                return await call()
            answer = await rt.within(self.timeout, call)
            if answer is not LATE:
                return answer
            rt.emit(TimedOut, self.timeout)
            raise TimeoutExceeded(self.timeout, rt.operation)
        except (GeneratorExit, UnexpectedAwaitable):  # nothing can be awaited any more; nothing was begun
            raise
        except BaseException as error:
            if execution is not None and execution.attempts == 0:
                raise
            cause = error
            undone: list[str] = []
            failures: dict[str, BaseException] = {}
            misused: list[BaseException] = []

            async def tell(fn: Callable[..., object] | None, about: Any) -> None:
                try:
                    if fn is not None:
                        await rt.decide("compensation reported", (None,), fn, about)
                except UnexpectedAwaitable as misuse:  # said when all is undone, and not instead
                    misused.append(misuse)
                except Exception:
                    log.exception("a callback of a compensation failed")

            async def undo() -> None:
                await tell(self.on_compensation_start, cause)
                for name, action in self._named():
                    rt.emit(Compensating, name, cause)
                    try:
                        await rt.invoke(self._apart(action), (state,) if _takes_state(action) else (), None, name)
                    except GeneratorExit:
                        raise
                    except BaseException as failure:  # whatever it is, the other actions are still to run
                        failures[name] = failure
                        rt.emit(CompensationFailed, name, failure)
                    else:
                        undone.append(name)
                        rt.emit(Compensated, name)
                await tell(self.on_compensation_complete, list(undone))

            state["error"] = cause
            try:
                await rt.shielded(undo)
            finally:
                # A frame and its own traceback would keep each other alive. An action may have emptied the state.
                state.pop("error", None)
                del cause
            for failure in (*misused, *failures.values()):
                if failure in misused or not isinstance(failure, Exception):
                    raise failure from error
            if not isinstance(error, Exception):
                raise
            raise SagaError(error, undone, failures, step=rt.operation, state=dict(state)) from error

    def _named(self) -> list[tuple[str, Callable[..., Any]]]:
        """The actions in the order in which they run, each under a name of its own."""
        found: list[tuple[str, Callable[..., Any]]] = []
        seen: Counter[str] = Counter()
        for action in self.actions:
            name = name_of(action)
            seen[name] += 1
            found.append((name if seen[name] == 1 else f"{name} {seen[name]}", action))
        return found[::-1] if self.in_reverse else found

    def _apart(self, action: Callable[..., Any]) -> Callable[..., Any]:
        return next((known for given, known in self._known if given is action), None) or apart(action)


def _takes_state(action: Callable[..., Any]) -> bool:
    """Whether an action has a parameter for the state."""
    wanted = takes(action)
    return wanted is None or wanted[1] > 0


def takes(fn: Callable[..., Any]) -> tuple[int, float] | None:
    """How many positional arguments a function needs, and how many it can take; None if it does not say.

    Args:
        fn: Any callable.
    """
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # some built-in functions have no signature
        return None
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    most = float("inf") if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(places)
    return sum(p.default is p.empty for p in places), most


# --- keeping the total ---------------------------------------------------------------------------


_WITHOUT_LIMIT = float("inf")


class Calls(Policy):
    """Count the calls of the operation; the innermost layer of a workflow, right around the operation itself."""

    async def run(self, call: Call, rt: Runtime) -> Any:
        """Count the call."""
        execution = _execution.get()
        if execution is not None:  # else it is used without a tally
            execution.counts.attempt(execution, _WITHOUT_LIMIT)
        token = _layers_of.set(None)
        try:
            return await call()
        finally:
            _back(_layers_of, token)


class LimitedCalls(Policy):
    """The same with a limit.

    Args:
        most: How often the operation may be called in one execution, whoever repeats it.

    Raises:
        AttemptsExhausted: On a call that is not made. Its ``__cause__`` is what the last one ended with.
    """

    def __init__(self, most: int) -> None:
        self.most = most

    async def run(self, call: Call, rt: Runtime) -> Any:
        """Count the call, or refuse it."""
        execution = _execution.get()
        if execution is None:
            return await call()
        if not execution.counts.attempt(execution, self.most):
            rt.emit(Rejected, "attempts used up", None)
            raise AttemptsExhausted(rt.operation, execution.attempts) from execution.last
        token = _layers_of.set(None)
        try:
            return await call()
        except Exception as error:
            execution.last = error
            raise
        finally:
            _back(_layers_of, token)
