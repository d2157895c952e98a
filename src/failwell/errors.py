"""What failwell raises, and what errors of your own can derive from.

Which errors are worth another attempt is said in `failwell.classification`, where an error happened in
`failwell.context`. Both are offered here too.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any

from failwell.classification import Kind, classify, register, retry_after, transient
from failwell.context import ErrorContext, Transport, context, context_of, current_context

__all__ = [
    "AuthenticationError",
    "BulkheadFullError",
    "BulkheadTimeoutError",
    "CircuitOpenError",
    "ConcurrencyLimitedError",
    "ConfigurationError",
    "DeadlineExceeded",
    "ErrorContext",
    "FeatureDisabledError",
    "IllegalTransition",
    "Kind",
    "LoadShedError",
    "NotDeterministic",
    "PermanentError",
    "RateLimitedError",
    "ReadOnlyError",
    "RecoveryError",
    "SagaError",
    "TimeoutExceeded",
    "TooManyPaths",
    "TooManyStates",
    "TransientError",
    "Transport",
    "UnavailableError",
    "UnknownRouteError",
    "ValidationFailed",
    "classify",
    "context",
    "context_of",
    "current_context",
    "register",
    "retry_after",
    "transient",
]

# --- errors for users to derive from ------------------------------------------------------------


class TransientError(Exception):
    """Something that may well succeed when tried again. Derive your own transient errors from it."""


class UnavailableError(TransientError):
    """A service is down or refuses work for now.

    Args:
        message: What happened.
        retry_after: Seconds after which the service asks to be called again, if it said so.
    """

    def __init__(self, message: str = "service unavailable", *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(Exception):
    """Something that will fail in the same way however often it is tried."""


class AuthenticationError(PermanentError):
    """The credential was refused. Trying again helps only after it was refreshed."""


register(transient=[TransientError], permanent=[PermanentError])


# --- errors that failwell raises -----------------------------------------------------------------


class RecoveryError(Exception):
    """Base of every error that a pattern raises by itself (an operation's own error is passed on as it is).

    Attributes:
        retry_after: Seconds after which a new call may be admitted, or None where nobody can know.
    """

    retry_after: float | None = None


class TimeoutExceeded(RecoveryError, TimeoutError):
    """An operation took longer than its timeout allows.

    Attributes:
        seconds: The limit that was exceeded.
    """

    def __init__(self, seconds: float, operation: str = "operation") -> None:
        super().__init__(f"{operation} took longer than {seconds:g} s")
        self.seconds = seconds
        self.operation = operation

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.seconds, self.operation), self.__dict__


class DeadlineExceeded(RecoveryError, TimeoutError):
    """The deadline that an operation runs under has passed.

    Attributes:
        seconds: The time that there was in all.
        at: The monotonic time that was the deadline, if it is known.
        begun: Whether the operation was begun in time; otherwise nothing was done.
    """

    def __init__(
        self, seconds: float, operation: str = "operation", at: float | None = None, begun: bool = True
    ) -> None:
        super().__init__(
            f"{operation} was not done by its deadline of {seconds:g} s"
            if begun
            else f"{operation} was not begun: its deadline had passed before"
        )
        self.seconds = seconds
        self.operation = operation
        self.at = at
        self.begun = begun

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.seconds, self.operation, self.at, self.begun), self.__dict__


class SagaError(RecoveryError):
    """A saga failed; what had been done was undone as far as possible.

    Attributes:
        cause: The error of the step that failed (also ``__cause__``).
        step: The name of that step.
        compensated: Names of the steps that were undone, in the order of undoing.
        failures: Name of a step -> the error that its compensation ended with; these steps still stand.
        state: The saga's state as it was when it ended.
    """

    def __init__(
        self,
        cause: BaseException,
        compensated: Iterable[str] = (),
        failures: Mapping[str, BaseException] | None = None,
        *,
        step: str = "",
        state: Any = None,
    ) -> None:
        self.cause = cause
        self.compensated = tuple(compensated)
        self.failures = dict(failures or {})
        self.step = step
        self.state = state
        undone = f"undone: {', '.join(self.compensated)}" if self.compensated else "nothing was undone"
        still = f"; NOT undone: {', '.join(self.failures)}" if self.failures else ""
        where = f" at step {step!r}" if step else ""
        super().__init__(f"saga failed{where} ({type(cause).__name__}: {cause}); {undone}{still}")
        self.__cause__ = cause

    def __reduce__(self) -> tuple[Any, ...]:
        again = functools.partial(type(self), step=self.step, state=self.state)
        return again, (self.cause, self.compensated, self.failures), self.__dict__


# Where everybody is turned away, an error is made for each call and read by hardly anyone: what it says is put
# together when somebody asks.


class CircuitOpenError(RecoveryError):
    """A circuit breaker refused a call because too many calls before it failed.

    Attributes:
        operation: The operation that was not called.
        retry_after: Seconds after which the breaker lets a probe through, at the latest; None if it was forced open
            and stays so. What opened it is the ``__cause__``.
    """

    def __init__(self, operation: str = "operation", retry_after: float | None = None) -> None:
        self.operation = operation
        self.retry_after = retry_after

    def __str__(self) -> str:
        when = "until it is reset" if self.retry_after is None else f"for another {self.retry_after:.3g} s"
        return f"{self.operation} was not called: its circuit is open {when}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.operation, self.retry_after), self.__dict__


class IllegalTransition(RecoveryError):
    """A circuit breaker was told to do what makes no sense in its state; it stays as it is.

    Attributes:
        before: The state that it is in.
        after: The state that it was to enter.
    """

    def __init__(self, before: str, after: str) -> None:
        self.before = before
        self.after = after
        super().__init__(f"a circuit that is {before} cannot become {after}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.before, self.after), self.__dict__


class RateLimitedError(RecoveryError):
    """A rate limiter refused a call because too many were made lately.

    Attributes:
        operation: The operation that was not called.
        retry_after: Seconds after which a call is admitted.
    """

    def __init__(self, operation: str = "operation", retry_after: float = 0.0) -> None:
        self.operation = operation
        self.retry_after: float = retry_after  # pyright: ignore[reportIncompatibleVariableOverride] # a narrower promise

    def __str__(self) -> str:
        return f"{self.operation} was not called: its rate limit is exceeded for another {self.retry_after:.3g} s"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.operation, self.retry_after), self.__dict__


class BulkheadFullError(RecoveryError):
    """A bulkhead refused a call because as many as it holds are under way, and its queue is full.

    Attributes:
        operation: The operation that was not called.
    """

    def __init__(self, operation: str = "operation", message: str = "its bulkhead is full") -> None:
        self.operation = operation
        self.reason = message

    def __str__(self) -> str:
        return f"{self.operation} was not called: {self.reason}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.operation, self.reason), self.__dict__


class BulkheadTimeoutError(BulkheadFullError):
    """A call waited too long in the queue of a bulkhead."""


class ConcurrencyLimitedError(RecoveryError):
    """An adaptive limit refused a call because as many as it lets through at the moment are under way.

    Attributes:
        operation: The operation that was not called.
        limit: How many calls the limit lets through at the moment.
    """

    def __init__(self, operation: str = "operation", limit: int = 0) -> None:
        self.operation = operation
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.operation} was not called: {self.limit} calls are under way, which is the limit at the moment"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.operation, self.limit), self.__dict__


class LoadShedError(RecoveryError):
    """A load shedder refused a call because more important ones need what there is.

    Attributes:
        operation: The operation that was not called.
        priority: The priority of the call.
    """

    def __init__(self, operation: str = "operation", priority: object = "", retry_after: float | None = None) -> None:
        self.operation = operation
        self.priority = priority
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.operation} was not called: calls of priority {self.priority} are shed at the moment"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.operation, self.priority, self.retry_after), self.__dict__


class ReadOnlyError(RecoveryError):
    """A change was refused because the service only reads at the moment.

    Attributes:
        operation: The operation that was not called.
    """

    def __init__(self, operation: str = "operation") -> None:
        self.operation = operation
        super().__init__(f"{operation} was not called: it changes something, and only reading is possible now")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.operation,), self.__dict__


class FeatureDisabledError(RecoveryError):
    """A feature was not asked because it is switched off.

    Attributes:
        operation: The feature.
    """

    def __init__(self, operation: str = "operation") -> None:
        self.operation = operation
        super().__init__(f"{operation} was not called: it is switched off")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.operation,), self.__dict__


class ConfigurationError(RecoveryError, ValueError):
    """A configuration cannot be used.

    Attributes:
        key: The offending key, with dots between its parts.
    """

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(f"{key}: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.key, self.reason), self.__dict__


class UnknownRouteError(RecoveryError, LookupError):
    """A router was told to take a route that it does not have, and has no default.

    Attributes:
        operation: The router's name.
        route: What was chosen.
        known: The names of the routes that there are.
    """

    def __init__(self, operation: str, route: object, known: Iterable[str] = ()) -> None:
        self.operation = operation
        self.route = route
        self.known = tuple(known)
        super().__init__(f"{operation} has no route {route!r}; it has {', '.join(self.known)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.operation, self.route, self.known), self.__dict__


class ValidationFailed(RecoveryError):
    """An argument or a result was rejected by a validator.

    Attributes:
        operation: The operation that was not called, or whose result it is.
        what: ``"input"`` or ``"output"``.
    """

    def __init__(self, operation: str = "operation", what: str = "output", reason: str = "") -> None:
        self.operation = operation
        self.what = what
        self.reason = reason
        super().__init__(f"the {what} of {operation} is not valid{f': {reason}' * bool(reason)}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.operation, self.what, self.reason), self.__dict__


class TooManyPaths(RecoveryError):
    """An exploration met more paths than its limit.

    Attributes:
        seen: How many paths had been explored; of one without an end, how many questions it had asked.
        multiplied_by: Layer or operation -> how many alternatives it opens on one path.
        endless: Whether one path seems to have no end.
    """

    def __init__(self, seen: int, multiplied_by: Mapping[str, int], *, endless: bool = False) -> None:
        self.seen = seen
        self.multiplied_by = dict(multiplied_by)
        self.endless = endless
        what = ", ".join(f"{name} (x{n})" for name, n in self.multiplied_by.items())
        super().__init__(
            f"a path that asked {seen:,} questions goes on, perhaps without end; they come from {what}: give fewer "
            "attempts, or a loop an end"
            if endless
            else f"more than {seen:,} paths; they are multiplied by {what}: "
            "raise limit=, leave out an outcome, or give fewer attempts"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), endless=self.endless), (self.seen, self.multiplied_by), self.__dict__


class TooManyStates(RecoveryError):
    """A search for the state machine of a layer met more states than its limit.

    Attributes:
        layer: The layer.
        seen: How many states it had come through.
        action: What was done again and again.
    """

    def __init__(self, layer: str, seen: int, action: str) -> None:
        self.layer = layer
        self.seen = seen
        self.action = action
        super().__init__(
            f"{layer} has more than {seen:,} states: it is in a new one each time that {action!r} is repeated; "
            "raise limit=, or lower the numbers that it counts to"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.layer, self.seen, self.action), self.__dict__


class NotDeterministic(RecoveryError):
    """A replay asked another question than the run before it: the explored code keeps state between runs.

    Or it depends on something else that is not the same each time, such as the order of a set.
    """
