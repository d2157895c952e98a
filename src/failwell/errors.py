"""What failwell raises, and which errors are worth another attempt.

An error is *transient* (the same call may well succeed in a moment), *permanent* (it will fail the
same way again) or *unknown*. Only transient errors are retried by default.

Errors of well-known libraries are recognised by qualified name, so nothing is imported to know them.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

__all__ = [
    "AuthenticationError",
    "BulkheadFullError",
    "BulkheadTimeoutError",
    "CircuitOpenError",
    "ConcurrencyLimitedError",
    "ConfigurationError",
    "DeadlineExceeded",
    "ErrorContext",
    "IllegalTransition",
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
    "current_context",
    "register",
    "retry_after",
    "transient",
]

Kind = Literal["transient", "permanent", "unknown"]


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
    """

    def __init__(self, seconds: float, operation: str = "operation") -> None:
        super().__init__(f"{operation} was not done by its deadline of {seconds:g} s")
        self.seconds = seconds
        self.operation = operation

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.seconds, self.operation), self.__dict__


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
        when = "until it is reset" if retry_after is None else f"for another {retry_after:.3g} s"
        super().__init__(f"{operation} was not called: its circuit is open {when}")

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
        super().__init__(f"{operation} was not called: its rate limit is exceeded for another {retry_after:.3g} s")

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
        super().__init__(f"{operation} was not called: {message}")

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
        super().__init__(f"{operation} was not called: {limit} calls are under way, which is the limit at the moment")

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
        super().__init__(f"{operation} was not called: calls of priority {priority} are shed at the moment")

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


# --- the taxonomy --------------------------------------------------------------------------------

_registered: dict[type[BaseException], Kind] = {}

_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_TRANSIENT_GRPC = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "ABORTED"})
_TRANSIENT_SQLSTATE = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03"})
_TRANSIENT_AWS = frozenset(
    {
        "InternalError",
        "InternalFailure",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestTimeout",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)


def _by_status(error: Any) -> Kind:
    """The HTTP status decides: overload, gateway trouble and 500 pass; 4xx will stay."""
    status = getattr(error, "status", None)
    if status is None:
        status = getattr(getattr(error, "response", None), "status_code", None)
    return "transient" if status in _TRANSIENT_STATUS else "permanent"


def _by_reason(error: Any) -> Kind:
    """A `URLError` only wraps what happened."""
    return classify(error.reason) if isinstance(error.reason, BaseException) else "unknown"


def _by_sql_state(error: Any) -> Kind:
    """A lost connection, a deadlock or a serialization failure passes; a missing table does not."""
    if getattr(error, "connection_invalidated", False):
        return "transient"
    driver_error = getattr(error, "orig", None)
    state = getattr(driver_error, "sqlstate", None) or getattr(driver_error, "pgcode", None)
    if state is not None:
        return "transient" if state in _TRANSIENT_SQLSTATE or state.startswith("08") else "unknown"
    return "transient" if "database is locked" in str(driver_error) else "unknown"


def _by_grpc_code(error: Any) -> Kind:
    code = getattr(error, "code", None)
    name = getattr(code() if callable(code) else code, "name", "")
    return "transient" if name in _TRANSIENT_GRPC else "permanent"


def _by_aws_code(error: Any) -> Kind:
    response: Any = getattr(error, "response", None) or {}
    code = response.get("Error", {}).get("Code", "")
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return "transient" if code in _TRANSIENT_AWS or status in _TRANSIENT_STATUS else "permanent"


_known: dict[str, Kind | Callable[[Any], Kind]] = {
    # the standard library
    "builtins.ConnectionError": "transient",
    "builtins.TimeoutError": "transient",
    "builtins.ValueError": "permanent",
    "builtins.TypeError": "permanent",
    "builtins.PermissionError": "permanent",
    "builtins.LookupError": "permanent",
    "builtins.AttributeError": "permanent",
    "builtins.NameError": "permanent",
    "builtins.AssertionError": "permanent",
    "builtins.ArithmeticError": "permanent",
    "builtins.NotImplementedError": "permanent",
    "http.client.RemoteDisconnected": "transient",
    "http.client.IncompleteRead": "transient",
    "urllib.error.HTTPError": _by_status,
    "urllib.error.URLError": _by_reason,
    # HTTP clients
    "httpx.TimeoutException": "transient",
    "httpx.NetworkError": "transient",
    "httpx.RemoteProtocolError": "transient",
    "httpx.ProxyError": "transient",
    "httpx.UnsupportedProtocol": "permanent",
    "httpx.InvalidURL": "permanent",
    "httpx.HTTPStatusError": _by_status,
    "requests.exceptions.ConnectionError": "transient",
    "requests.exceptions.Timeout": "transient",
    "requests.exceptions.ChunkedEncodingError": "transient",
    "requests.exceptions.SSLError": "permanent",
    "requests.exceptions.HTTPError": _by_status,
    "urllib3.exceptions.TimeoutError": "transient",
    "urllib3.exceptions.ProtocolError": "transient",
    "urllib3.exceptions.NewConnectionError": "transient",
    "aiohttp.client_exceptions.ClientConnectionError": "transient",
    "aiohttp.client_exceptions.ClientPayloadError": "transient",
    "aiohttp.client_exceptions.ClientConnectorCertificateError": "permanent",
    "aiohttp.client_exceptions.ClientSSLError": "permanent",
    "aiohttp.client_exceptions.ClientResponseError": _by_status,
    # databases and caches
    "sqlalchemy.exc.DBAPIError": _by_sql_state,
    "sqlalchemy.exc.IntegrityError": "permanent",
    "sqlalchemy.exc.ProgrammingError": "permanent",
    "sqlalchemy.exc.DataError": "permanent",
    "sqlalchemy.exc.DisconnectionError": "transient",
    "sqlalchemy.exc.TimeoutError": "transient",
    "redis.exceptions.ConnectionError": "transient",
    "redis.exceptions.TimeoutError": "transient",
    "redis.exceptions.BusyLoadingError": "transient",
    "redis.exceptions.TryAgainError": "transient",
    "redis.exceptions.AuthenticationError": "permanent",
    "redis.exceptions.AuthorizationError": "permanent",
    # clouds and RPC
    "botocore.exceptions.ConnectionError": "transient",
    "botocore.exceptions.HTTPClientError": "transient",
    "botocore.exceptions.ClientError": _by_aws_code,
    "grpc.RpcError": _by_grpc_code,
    "grpc.aio._call.AioRpcError": _by_grpc_code,
}


def register(*, transient: Iterable[type[BaseException]] = (), permanent: Iterable[type[BaseException]] = ()) -> None:
    """Tell the taxonomy about your own error types. They and their subclasses are recognised from then on.

    The nearest registered or known class of an error decides, so a subclass can differ from its base.

    Args:
        transient: Types that are worth another attempt.
        permanent: Types that are not.

    Raises:
        TypeError: If something given is no exception type.
    """
    found: dict[type[BaseException], Kind] = {}
    kinds: list[tuple[Kind, Iterable[Any]]] = [("transient", transient), ("permanent", permanent)]
    for kind, types in kinds:
        for error_type in types:
            if not (isinstance(error_type, type) and issubclass(error_type, BaseException)):
                raise TypeError(f"register({kind}=...) takes exception types, got {error_type!r}")
            found[error_type] = kind
    _registered.update(found)
    _nearest.cache_clear()


def classify(error: BaseException) -> Kind:
    """Say whether an error is ``"transient"``, ``"permanent"`` or ``"unknown"``.

    The nearest class in the error's MRO that was registered or is known decides.

    Args:
        error: The error to look at.
    """
    error_type: Any = type(error)
    kind = _nearest(error_type)
    return _asked(kind, error) if callable(kind) else kind


@functools.lru_cache(maxsize=1024)
def _nearest(error_type: type[BaseException]) -> Kind | Callable[[Any], Kind]:
    """The entry of the nearest class that was registered or is known."""
    for one in error_type.__mro__:
        kind = _registered.get(one) or _OURS.get(one) or _known.get(f"{one.__module__}.{one.__qualname__}")
        if kind is not None:
            return kind
    return "unknown"


def _asked(kind: Callable[[Any], Kind], error: BaseException) -> Kind:
    """What the entry of the nearest class says; an error too odd to be asked is unknown."""
    try:
        return kind(error)
    except Exception:
        return "unknown"


_OURS: dict[type[BaseException], Kind] = {TransientError: "transient", PermanentError: "permanent"}


def transient(error: BaseException) -> bool:
    """The default of ``Retry(on=...)``: whether another attempt is worth it."""
    return classify(error) == "transient"


def retry_after(error: BaseException, now: Callable[[], float]) -> float | None:
    """The seconds after which an error asks to be tried again, if it says so.

    Looked for in the error's ``retry_after`` attribute (seconds or a `timedelta`), then in a ``Retry-After``
    header of its ``response`` (seconds or an HTTP date, RFC 9110 section 10.2.3). Nonsense counts as not said.

    Args:
        error: The error to ask.
        now: The wall clock (seconds since the epoch) that an HTTP date is compared with.
    """
    try:
        said = _what_it_says(error)
        if said is None:
            return None
        seconds = _in_seconds(said, now)
    except Exception:  # whatever an odd error answers, it must not hide the error itself
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _what_it_says(error: Any) -> Any:
    said = getattr(error, "retry_after", None)
    if said is not None:
        return said
    response = getattr(error, "response", None)
    headers = getattr(response, "headers", None) if response is not None else None
    headers = headers or getattr(error, "headers", None)
    if headers is None:
        return None
    get: Any = getattr(headers, "get", None)
    return (get("Retry-After") or get("retry-after")) if callable(get) else None


def _in_seconds(said: Any, now: Callable[[], float]) -> float:
    if hasattr(said, "total_seconds"):
        return float(said.total_seconds())
    try:
        return float(said)
    except ValueError:
        return max(0.0, _date(said) - now())


def _date(http_date: str) -> float:
    from email.utils import mktime_tz, parsedate_tz  # a slow import that only an HTTP date needs

    parsed = parsedate_tz(http_date)
    if parsed is None:
        raise ValueError(f"no HTTP date: {http_date!r}")
    return mktime_tz((*parsed[:9], parsed[9] or 0))  # a date without a zone is UTC (RFC 9110 section 5.6.7)


# --- where an error happened ---------------------------------------------------------------------


class Transport(enum.Enum):
    """The kind of thing that a call goes to."""

    HTTP = "http"
    DATABASE = "database"
    BROKER = "broker"
    CACHE = "cache"
    SECRETS = "secrets"
    FILE = "file"
    OTHER = "other"


class ErrorContext:
    """Where a call goes and which request it belongs to; every event of the call carries it.

    Args:
        transport: The kind of target.
        operation: What is done there, e.g. ``"connect"``.
        target: The name of the target, e.g. ``"orders-primary"``. Never put a credential here.
        correlation_id: What ties together everything done for one request.
    """

    __slots__ = ("correlation_id", "operation", "target", "transport")

    def __init__(
        self,
        transport: Transport = Transport.OTHER,
        operation: str = "",
        target: str = "",
        correlation_id: str | None = None,
    ) -> None:
        self.transport = transport
        self.operation = operation
        self.target = target
        self.correlation_id = correlation_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ErrorContext) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.transport, self.operation, self.target, self.correlation_id

    def __repr__(self) -> str:
        return (
            f"ErrorContext({self.transport}, operation={self.operation!r}, target={self.target!r}, "
            f"correlation_id={self.correlation_id!r})"
        )


_context: ContextVar[ErrorContext | None] = ContextVar("failwell_error_context", default=None)


def current_context() -> ErrorContext | None:
    """The error context that this code runs under, or None."""
    return _context.get()


@contextmanager
def context(value: ErrorContext) -> Generator[ErrorContext]:
    """Run a block under an error context.

    Args:
        value: The context that events of this block carry.
    """
    token = _context.set(value)
    try:
        yield value
    finally:
        _context.reset(token)
