from __future__ import annotations

import copy
import http.client
import pickle
import time
import urllib.error
from types import SimpleNamespace
from typing import Any

import pytest

from failwell import classification, errors
from failwell.errors import ErrorContext, Transport, classify


def stranger(path: str, *bases: type[BaseException], **attributes: Any) -> BaseException:
    """An error of a library that need not be installed: only its qualified name counts."""
    module, _, name = path.rpartition(".")
    made = type(name, bases or (Exception,), {"__module__": module, "__qualname__": name})
    error = made("no")
    for key, value in attributes.items():
        setattr(error, key, value)
    return error


def status(code: int) -> Any:
    return SimpleNamespace(status_code=code)


def http_error(code: int) -> urllib.error.HTTPError:
    error = urllib.error.HTTPError("http://x", code, "no", http.client.HTTPMessage(), None)
    error.close()
    return error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectionResetError(), "transient"),
        (TimeoutError(), "transient"),
        (errors.TimeoutExceeded(1), "transient"),
        (errors.UnavailableError(), "transient"),
        (ValueError(), "permanent"),
        (UnicodeDecodeError("utf-8", b"", 0, 1, ""), "permanent"),
        (KeyError(), "permanent"),
        (PermissionError(), "permanent"),
        (errors.AuthenticationError(), "permanent"),
        (NotImplementedError(), "permanent"),
        (RuntimeError(), "unknown"),
        (OSError(), "unknown"),
        (FileNotFoundError(), "unknown"),
        (errors.SagaError(KeyError()), "unknown"),
        (KeyboardInterrupt(), "unknown"),
        (http.client.RemoteDisconnected("gone"), "transient"),
        (http_error(503), "transient"),
        (http_error(404), "permanent"),
        (urllib.error.URLError(ConnectionRefusedError()), "transient"),
        (urllib.error.URLError("unknown url type"), "unknown"),
        (stranger("aiohttp.client_exceptions.ClientConnectionError"), "transient"),
        (stranger("aiohttp.client_exceptions.ClientResponseError", status=429), "transient"),
        (stranger("aiohttp.client_exceptions.ClientResponseError", status=400), "permanent"),
        (stranger("redis.exceptions.ConnectionError"), "transient"),
        (stranger("redis.exceptions.BusyLoadingError"), "transient"),
        (stranger("redis.exceptions.AuthenticationError"), "permanent"),
        (stranger("redis.exceptions.ResponseError"), "unknown"),
        (stranger("sqlalchemy.exc.DBAPIError", connection_invalidated=True), "transient"),
        (stranger("sqlalchemy.exc.DBAPIError", orig=SimpleNamespace(sqlstate="40P01")), "transient"),
        (stranger("sqlalchemy.exc.DBAPIError", orig=SimpleNamespace(pgcode="08006")), "transient"),
        (stranger("sqlalchemy.exc.DBAPIError", orig=SimpleNamespace(sqlstate="42601")), "unknown"),
        (stranger("sqlalchemy.exc.DBAPIError", orig=Exception("database is locked")), "transient"),
        (stranger("sqlalchemy.exc.DBAPIError", orig=Exception("no such table")), "unknown"),
        (stranger("sqlalchemy.exc.IntegrityError"), "permanent"),
        (stranger("botocore.exceptions.ConnectionError"), "transient"),
        (stranger("botocore.exceptions.ClientError", response={"Error": {"Code": "SlowDown"}}), "transient"),
        (
            stranger("botocore.exceptions.ClientError", response={"ResponseMetadata": {"HTTPStatusCode": 503}}),
            "transient",
        ),
        (stranger("botocore.exceptions.ClientError", response={"Error": {"Code": "NoSuchKey"}}), "permanent"),
        (stranger("botocore.exceptions.ClientError", response=None), "permanent"),
        (stranger("botocore.exceptions.ClientError", response={"Error": None}), "unknown"),
        (stranger("grpc.RpcError", code=lambda: SimpleNamespace(name="UNAVAILABLE")), "transient"),
        (stranger("grpc.RpcError", code=SimpleNamespace(name="ABORTED")), "transient"),
        (stranger("grpc.RpcError", code=lambda: SimpleNamespace(name="NOT_FOUND")), "permanent"),
        (stranger("grpc.RpcError"), "permanent"),
        (stranger("mine.RpcError"), "unknown"),
    ],
    ids=repr,
)
def test_an_error_is_known_by_its_nearest_known_class(error: BaseException, kind: str) -> None:
    assert classify(error) == kind
    assert errors.transient(error) is (kind == "transient")


def test_the_errors_of_httpx_are_recognised() -> None:
    import httpx

    request = httpx.Request("GET", "http://x")

    def answered(code: int) -> Exception:
        response = httpx.Response(code, request=request)
        return httpx.HTTPStatusError("no", request=request, response=response)  # type: ignore[no-any-return]

    for name in ("ConnectTimeout", "ReadTimeout", "PoolTimeout", "ConnectError", "ReadError", "RemoteProtocolError"):
        assert classify(getattr(httpx, name)("no")) == "transient", name
    for name in ("UnsupportedProtocol", "InvalidURL"):
        assert classify(getattr(httpx, name)("no")) == "permanent", name
    assert classify(answered(503)) == "transient"
    assert classify(answered(404)) == "permanent"


def test_the_errors_of_requests_are_recognised() -> None:
    import requests

    known = requests.exceptions

    def answered(code: int) -> Exception:
        response = requests.Response()
        response.status_code = code
        return known.HTTPError("no", response=response)  # type: ignore[no-any-return]

    for name in ("ConnectionError", "ConnectTimeout", "ReadTimeout", "ChunkedEncodingError", "ProxyError"):
        assert classify(getattr(known, name)("no")) == "transient", name
    for name in ("SSLError", "InvalidURL", "MissingSchema"):
        assert classify(getattr(known, name)("no")) == "permanent", name
    assert classify(answered(502)) == "transient"
    assert classify(answered(401)) == "permanent"


@pytest.mark.parametrize("library", ["sqlalchemy", "redis", "aiohttp", "grpc"])
def test_the_names_in_the_taxonomy_are_those_of_the_installed_library(library: str) -> None:
    import importlib

    for path in [path for path in classification.KNOWN if path.startswith(library + ".")]:
        module, _, name = path.rpartition(".")
        found = getattr(importlib.import_module(module), name)
        assert f"{found.__module__}.{found.__qualname__}" == path


def test_exactly_these_http_statuses_pass() -> None:
    response = {code: stranger("httpx.HTTPStatusError", response=status(code)) for code in range(400, 600)}
    passing = [code for code, error in response.items() if errors.transient(error)]
    assert passing == [408, 425, 429, 500, 502, 503, 504]


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of the machine cannot be changed here")
@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("Thu, 01 Jan 1970 01:00:00 GMT", 3600),
        ("Thu, 01 Jan 1970 01:00:00", 3600),
        ("Thu, 01 Jan 1970 03:00:00 +0200", 3600),
    ],
)
def test_a_date_means_the_same_in_every_zone(monkeypatch: pytest.MonkeyPatch, date: str, seconds: float) -> None:
    monkeypatch.setenv("TZ", "XXX+5")
    time.tzset()
    try:
        error = stranger("mine.Busy", response=SimpleNamespace(headers={"retry-after": date}))
        assert errors.retry_after(error, now=lambda: 0.0) == seconds
    finally:
        monkeypatch.undo()
        time.tzset()


def test_types_of_the_users_own_can_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classification, "_registered", dict(classification._registered))

    class Mine(Exception): ...

    class Worse(Mine): ...

    class Mild(ValueError): ...

    errors.register(transient=[Mine, Mild], permanent=[Worse])
    assert [classify(e()) for e in (Mine, Worse, Mild, ValueError)] == [
        "transient",
        "permanent",
        "transient",
        "permanent",
    ]
    with pytest.raises(TypeError, match=r"register\(permanent=...\) takes exception types, got 3"):
        errors.register(transient=[KeyError], permanent=[3])  # type: ignore[list-item]
    assert classify(KeyError()) == "permanent", "a refused registration changes nothing"


@pytest.mark.parametrize(
    "error",
    [
        errors.UnavailableError("down", retry_after=3),
        errors.TimeoutExceeded(2.5, "fetch"),
        errors.SagaError(KeyError("a"), ["x"], {"y": ValueError("b")}, step="z", state={"k": 1}),
        errors.TooManyPaths(10, {"Retry": 3}),
        errors.NotDeterministic("no"),
    ],
    ids=repr,
)
def test_errors_survive_copying_and_pickling(error: Exception) -> None:
    error.add_note("a note")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert repr(vars(twin)) == repr(vars(error))
        assert twin.__notes__ == ["a note"]
        assert repr(twin.__cause__) == repr(error.__cause__) or type(error) is not errors.SagaError


def test_an_error_of_a_saga_says_what_still_stands() -> None:
    cause = OSError("disk full")
    error = errors.SagaError(cause, ["pay", "book"], {"ship": KeyError("k")}, step="mail")
    assert str(error) == "saga failed at step 'mail' (OSError: disk full); undone: pay, book; NOT undone: ship"
    assert error.__cause__ is cause
    assert str(errors.SagaError(cause)) == "saga failed (OSError: disk full); nothing was undone"


def test_too_many_paths_says_how_many_and_which_layers_multiply() -> None:
    text = str(errors.TooManyPaths(12_000, {"Retry": 9, "Cache": 2}))
    assert text.startswith("more than 12,000 paths; they are multiplied by Retry (x9), Cache (x2): raise limit=")


def test_a_context_is_carried_by_value_and_ends_with_its_block() -> None:
    here = ErrorContext(Transport.HTTP, "GET", "orders", "abc")
    assert errors.current_context() is None
    with errors.context(here) as inside:
        assert errors.current_context() is inside is here
    assert errors.current_context() is None
    for twin in (copy.copy(here), pickle.loads(pickle.dumps(here))):
        assert twin == here
        assert hash(twin) == hash(here)
    assert here != ErrorContext()
    assert here != "here"
    assert repr(here) == "ErrorContext(Transport.HTTP, operation='GET', target='orders', correlation_id='abc')"
