"""The table of what to try first, run line by line; and the taxonomy as patterns use it."""

from __future__ import annotations

import asyncio
import errno
import socket
import urllib.error
import urllib.request
from typing import Any

import pytest

from failwell import Retry, Stack, backoff, classification, errors
from failwell.catalog import CARDS
from failwell.catalog.selection import SELECTION, Selected
from failwell.errors import classify
from failwell.policy import Policy
from tests.kernel.world import Hang, World
from tests.soak.test_soak import hammer

ONE = backoff.Fixed(1.0)


def type_names(policy: Policy) -> set[str]:
    layers = policy.layers if isinstance(policy, Stack) else (policy,)
    return {type(layer).__name__ for layer in layers}


@pytest.mark.parametrize("line", SELECTION, ids=lambda line: f"{line.error and line.error.__name__}-{line.slug}")
def test_the_pattern_of_each_line_handles_the_error_of_that_line(world: World, line: Selected) -> None:
    policy = line.make()
    shown = CARDS[line.slug].example
    assert type(shown).__name__ in type_names(policy), "it is shown with the pattern that it names"
    failure: Any = Hang if line.error is None else line.error
    if line.error is errors.ValidationFailed:  # the operation answers, and it is the layer that raises
        failure = ""
    if line.then == "refused":
        operation = world.operation(failure)
        guarded = policy(operation)
        seen: list[type[BaseException]] = []
        for _ in range(10):
            with pytest.raises(Exception) as caught:
                world.do(guarded)
            seen.append(caught.type)
        assert len(operation.log.calls) < 10, "the operation is left alone"
        assert issubclass(seen[-1], errors.RecoveryError)
        return
    operation = world.operation(failure, "real")
    outcome = world.run(policy, operation)
    assert outcome.ok
    assert outcome.degraded is (line.then == "degraded")
    assert (outcome.value == "real") is (line.then == "answered")


@pytest.mark.parametrize(
    "line", [line for line in SELECTION if line.error and line.then != "refused"], ids=lambda line: line.meaning
)
def test_another_kind_of_error_is_not_answered_by_it(world: World, line: Selected) -> None:
    odd = OverflowError("unheard of")
    outcome = world.run(line.make(), world.operation(odd))
    assert outcome.error is odd
    assert outcome.elapsed == 0


def test_each_line_is_about_another_error() -> None:
    assert len({line.error for line in SELECTION}) == len(SELECTION)


# --- what decides ---


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.EHOSTUNREACH, "no route to host"), "transient"),
        (OSError(errno.ENETUNREACH, "network is unreachable"), "transient"),
        (BlockingIOError(errno.EAGAIN, "busy"), "transient"),
        (OSError(errno.ENOSPC, "disk full"), "unknown"),
        (OSError("no number"), "unknown"),
        (PermissionError(errno.EACCES, "no"), "permanent"),
        (urllib.error.URLError(OSError(errno.EHOSTUNREACH, "no route to host")), "transient"),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), "transient"),
        (socket.gaierror(socket.EAI_NONAME, "no such name"), "permanent"),
        (urllib.error.URLError(socket.gaierror(socket.EAI_AGAIN, "try again")), "transient"),
    ],
    ids=repr,
)
def test_a_system_error_is_asked_for_its_number(error: Exception, kind: str) -> None:
    assert classify(error) == kind


def test_a_group_is_as_bad_as_the_worst_of_it() -> None:
    def group(*members: Exception) -> ExceptionGroup[Exception]:
        return ExceptionGroup("several", list(members))

    assert classify(group(ConnectionError(), TimeoutError())) == "transient"
    assert classify(group(ConnectionError(), ValueError())) == "permanent"
    assert classify(group(ConnectionError(), RuntimeError())) == "unknown"
    assert classify(group(ConnectionError(), group(TimeoutError()))) == "transient"
    assert classify(group(ConnectionError(), group(KeyError()))) == "permanent"
    assert classify(BaseExceptionGroup("cancelled", [asyncio.CancelledError(), ConnectionError()])) == "unknown"


def test_what_a_task_group_raises_is_retried_if_all_of_it_may_pass() -> None:
    calls: list[int] = []

    async def part(number: int) -> int:
        calls.append(number)
        await asyncio.sleep(0)
        if len(calls) <= 2:
            raise ConnectionError(number)
        return number

    async def load() -> list[int]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part(number)) for number in range(2)]
        return [task.result() for task in tasks]

    world = World(True)
    assert world.run(Retry(3, ONE), load).unwrap() == [0, 1]


def test_the_nearest_class_that_has_something_to_say_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classification, "_registered", dict(classification._registered))

    class Disk(OSError): ...

    class Wrong(Disk, ValueError): ...

    assert classify(Disk(errno.EHOSTUNREACH, "x")) == "transient"
    assert classify(Wrong("x")) == "permanent", "OSError knows nothing of it, ValueError does"
    errors.register(permanent=[Disk])
    assert classify(Disk(errno.EHOSTUNREACH, "x")) == "permanent"
    classification._entries.cache_clear()


def test_an_error_that_cannot_be_asked_is_unknown_and_does_not_hide_itself(world: World) -> None:
    class Odd(OSError):
        @property
        def errno(self) -> int:  # type: ignore[override]
            raise RuntimeError("no")

    error = Odd("x")
    assert classify(error) == "unknown"
    assert world.run(Retry(3, ONE), world.operation(error)).error is error


def test_only_what_may_pass_is_tried_again(world: World) -> None:
    for error, calls in ((ConnectionError(), 3), (ValueError(), 1), (RuntimeError(), 1)):
        operation = world.operation(error)
        world.run(Retry(3, ONE), operation)
        assert len(operation.log.calls) == calls, error


def test_types_may_be_registered_while_others_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classification, "_registered", dict(classification._registered))

    def work(place: int, number: int) -> None:
        kind = type(f"Mine{place}", (Exception,), {})
        assert classify(kind()) == "unknown"
        errors.register(transient=[kind])
        assert classify(kind()) == "transient"
        assert classify(ConnectionError()) == "transient"

    hammer(work, threads=4, seconds=0.3)
    classification._entries.cache_clear()


def test_what_was_looked_up_before_a_type_was_registered_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(Exception): ...

    known = dict(classification._registered)

    class Slow(dict[Any, Any]):
        """Somebody registers the type in the middle of looking it up."""

        def get(self, key: Any, default: Any = None) -> Any:
            found = super().get(key, default)
            if key is Mine and Mine not in self:
                errors.register(transient=[Mine])
            return found

    monkeypatch.setattr(classification, "_registered", Slow(known))
    assert classify(Mine()) == "unknown"
    assert classify(Mine()) == "transient"
    classification._entries.cache_clear()


# --- what libraries really raise ---


@pytest.fixture
def nobody() -> str:
    """An address on this machine that nobody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


def by_urllib(address: str) -> None:
    urllib.request.urlopen(f"http://{address}/", timeout=5)


def by_httpx(address: str) -> None:
    import httpx

    httpx.get(f"http://{address}/", trust_env=False)


def by_requests(address: str) -> None:
    import requests

    session = requests.Session()
    session.trust_env = False
    with session:
        session.get(f"http://{address}/", timeout=5)


def by_aiohttp(address: str) -> None:
    import aiohttp

    async def get() -> None:
        async with aiohttp.ClientSession() as session, session.get(f"http://{address}/"):
            pass

    asyncio.run(get())


def by_redis(address: str) -> None:
    import redis.backoff
    import redis.retry

    host, port = address.split(":")
    client = redis.Redis(host, int(port), retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0))
    try:
        client.ping()
    finally:
        client.close()


def by_grpc(address: str) -> None:
    import grpc

    with grpc.insecure_channel(address) as channel:
        channel.unary_unary("/shop.Orders/Load")(b"", timeout=5)


@pytest.mark.parametrize(
    "ask", [by_urllib, by_httpx, by_requests, by_aiohttp, by_redis, by_grpc], ids=lambda ask: ask.__name__
)
def test_a_refused_connection_may_pass_in_every_library(ask: Any, nobody: str) -> None:
    with pytest.raises(Exception) as caught:
        ask(nobody)
    assert classify(caught.value) == "transient"


def test_what_a_database_raises_is_told_apart(tmp_path: Any) -> None:
    import sqlalchemy as sa
    from sqlalchemy.exc import SQLAlchemyError

    address = f"sqlite:///{tmp_path / 'orders.db'}"
    first, second = (sa.create_engine(address, connect_args={"timeout": 0.0}) for _ in range(2))
    with first.begin() as work:
        work.execute(sa.text("create table orders (id integer primary key)"))

    def raised(statement: str) -> Exception:
        with pytest.raises(SQLAlchemyError) as caught, second.begin() as work:
            work.execute(sa.text(statement))
        return caught.value

    with first.begin() as work:
        work.execute(sa.text("insert into orders values (1)"))
        assert classify(raised("insert into orders values (2)")) == "transient", "somebody else is writing"
    assert classify(raised("insert into orders values (1)")) == "permanent", "it is there already"
    assert classify(raised("select * from customers")) == "unknown", "SQLite has no code for a missing table"
    first.dispose()
    second.dispose()
