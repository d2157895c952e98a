"""Which errors are worth another attempt, and when.

An error is *transient* (the same call may well succeed in a moment), *permanent* (it will fail in the
same way again) or *unknown*. Only transient errors are retried by default.

Use when several layers or several libraries are involved, so that all agree. Do not use for an error
that one layer has to treat in a special way: give that layer its ``on=``.

Errors of well-known libraries are recognised by qualified name, so nothing is imported to know them.

Source: RFC 9110, section 15; PostgreSQL, "Error Codes"; Google Cloud and AWS on which errors to retry.
"""

from __future__ import annotations

import errno
import functools
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

__all__ = ["KNOWN", "Kind", "classify", "register", "retry_after", "transient"]

Kind = Literal["transient", "permanent", "unknown"]


def classify(error: BaseException) -> Kind:
    """Say whether an error is ``"transient"``, ``"permanent"`` or ``"unknown"``.

    The nearest class in the error's MRO that was registered or is known, and has something to say, decides.

    Args:
        error: The error to look at.
    """
    error_type: Any = type(error)
    certain = _certain  # that of before the look, in case somebody registers a type meanwhile
    entries = _entries(error_type, _generation)
    if entries and not callable(entries[0]) and len(certain) < 1024:
        certain[error_type] = entries[0]
    for entry in entries:
        kind = _asked(entry, error) if callable(entry) else entry
        if kind != "unknown":
            return kind
    return "unknown"


def transient(error: BaseException) -> bool:
    """The default of ``Retry(on=...)``: whether another attempt is worth it."""
    return (_certain.get(error.__class__) or classify(error)) == "transient"


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
    global _generation, _certain
    with _lock:
        _registered.update(found)
        _generation += 1  # what somebody has just looked up, and not kept yet, is out of date
        _certain = {}


# --- how some errors are asked -------------------------------------------------------------------

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
_TRANSIENT_ERRNO = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EAGAIN})


def _by_errno(error: Any) -> Kind:
    """No way to the host, or a resource that is busy: the other system errors say nothing about the next call."""
    return "transient" if error.errno in _TRANSIENT_ERRNO else "unknown"


def _by_name_lookup(error: Any) -> Kind:
    """A name server that does not answer may do so in a moment; a name that does not exist will not."""
    import socket

    return "transient" if error.errno == socket.EAI_AGAIN else "permanent"


def _by_members(error: Any) -> Kind:
    """What a task group raises: as bad as the worst of it."""
    kinds = {classify(one) for one in error.exceptions}
    return "permanent" if "permanent" in kinds else "transient" if kinds == {"transient"} else "unknown"


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


KNOWN: Mapping[str, Kind | Callable[[Any], Kind]] = {
    # the standard library
    "builtins.ConnectionError": "transient",
    "builtins.TimeoutError": "transient",
    "builtins.OSError": _by_errno,
    "builtins.BaseExceptionGroup": _by_members,
    "builtins.ValueError": "permanent",
    "builtins.TypeError": "permanent",
    "builtins.PermissionError": "permanent",
    "builtins.LookupError": "permanent",
    "builtins.AttributeError": "permanent",
    "builtins.NameError": "permanent",
    "builtins.AssertionError": "permanent",
    "builtins.ArithmeticError": "permanent",
    "builtins.NotImplementedError": "permanent",
    "socket.gaierror": _by_name_lookup,
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
"""Qualified name of an error type -> its kind, or how to ask one of its errors."""

_registered: dict[type[BaseException], Kind] = {}
_generation = 0
_certain: dict[type[BaseException], Kind] = {}  # error types of which all errors are of one kind
_lock = threading.Lock()


@functools.lru_cache(maxsize=1024)
def _entries(error_type: type[BaseException], generation: int) -> tuple[Kind | Callable[[Any], Kind], ...]:
    """What is registered or known about an error type and its bases, the nearest first."""
    entries: list[Kind | Callable[[Any], Kind]] = []
    for one in error_type.__mro__:
        entry = _registered.get(one) or KNOWN.get(f"{one.__module__}.{one.__qualname__}")
        if entry is not None:
            entries.append(entry)
    return tuple(entries)


def _asked(entry: Callable[[Any], Kind], error: BaseException) -> Kind:
    """What the entry of a class says about one error; an error too odd to be asked is unknown."""
    try:
        return entry(error)
    except Exception:
        return "unknown"


# --- when it asks to be tried again --------------------------------------------------------------


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
