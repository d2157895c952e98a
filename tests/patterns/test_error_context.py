from __future__ import annotations

import asyncio
import functools
import json
import logging
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import (
    Bulkhead,
    Cache,
    ContextFilter,
    Fallback,
    InContext,
    Policy,
    Retry,
    Saga,
    Timeout,
    backoff,
    errors,
    explore,
    listening,
    virtual,
)
from failwell.context import correlation_id
from failwell.errors import ErrorContext, Transport, context_of, current_context
from failwell.events import ErrorNoted, Event, Waiting
from tests.kernel.world import Hang, World, kinds
from tests.soak.test_soak import hammer

ONE = backoff.Fixed(1.0)


def notes(error: BaseException | None) -> list[str]:
    return list(getattr(error, "__notes__", []))


# --- what an error says ---


def test_a_call_that_works_out_reports_nothing_and_is_under_the_context(world: World) -> None:
    operation = world.operation(current_context, name="fetch")
    outcome = world.run(InContext("database", target="orders", correlation_id="req-7"), operation, 1, key=2)
    assert outcome.unwrap() == ErrorContext(Transport.DATABASE, "fetch", "orders", "req-7")
    assert outcome.events == ()
    assert operation.log.calls == [((1,), {"key": 2})]
    assert current_context() is None


def test_an_error_is_raised_as_it_is_with_one_note_and_one_event(world: World) -> None:
    error = ConnectionError("reset")
    outcome = world.run(InContext("http", "GET /cart", "carts", "req-7"), world.operation(error))
    assert outcome.error is error
    assert notes(error) == ["context: http GET /cart at carts, correlation id req-7"]
    [event] = outcome.events
    assert isinstance(event, ErrorNoted)
    assert (event.where, event.error, event.context) == ("http GET /cart at carts", error, context_of(error))
    assert context_of(error) == ErrorContext(Transport.HTTP, "GET /cart", "carts", "req-7")


def test_each_context_on_the_way_out_adds_its_note_and_the_innermost_is_kept(world: World) -> None:
    policy = InContext("http", "GET", "api", "req-7") >> InContext("cache", "get", "carts") >> InContext("database")
    error = world.run(policy, world.operation(ConnectionError("no"), name="load")).error
    assert notes(error) == [
        "context: database load, correlation id req-7",
        "context: cache get at carts, correlation id req-7",
        "context: http GET at api, correlation id req-7",
    ]
    assert error is not None
    assert context_of(error) == ErrorContext(Transport.DATABASE, "load", "", "req-7")


def test_an_error_object_that_is_raised_again_and_again_says_it_once(world: World) -> None:
    error = ConnectionError("same")
    operation = world.operation(error)
    numbers = (5, 7, 6)  # the latest counts, not the greatest
    ids = iter(f"req-{number}" for number in numbers)
    guarded = InContext("http", "GET", correlation_id=lambda: next(ids))(operation)
    for number in numbers:
        with pytest.raises(ConnectionError):
            world.do(guarded)
        assert notes(error) == [f"context: http GET, correlation id req-{number}"], "of the latest request"
        known = context_of(error)
        assert known is not None
        assert known.correlation_id == f"req-{number}"
    inside_a_retry = Retry(3, ONE) >> InContext("http", "GET", correlation_id="req-7")
    world.run(inside_a_retry, operation)
    assert [note for note in notes(error) if note.startswith("context")] == ["context: http GET, correlation id req-7"]


def test_a_note_that_was_there_stays(world: World) -> None:
    error = ConnectionError("no")
    error.add_note("mine")
    world.run(InContext(operation="load", correlation_id="a"), world.operation(error))
    assert notes(error) == ["mine", "context: load, correlation id a"]


@pytest.mark.parametrize(
    "secret",
    [
        "postgres://app:hunter2@db.example/orders",
        "https://carts.example?token=hunter2",
        "Authorization: Bearer hunter2",
        "password=hunter2",
    ],
)
def test_no_secret_gets_into_notes_events_words_or_log_records(world: World, secret: str) -> None:
    error = ConnectionError("no")
    outcome = world.run(InContext("http", secret, secret, secret), world.operation(error))
    record = logging.LogRecord("shop", logging.ERROR, "", 0, "failed", None, (ConnectionError, error, None))
    assert ContextFilter().filter(record) is True
    event = outcome.events[0]
    assert isinstance(event, ErrorNoted)
    told = [*notes(error), event.where, str(event.context), *map(str, vars(record).values())]
    assert "hunter2" not in "".join(told)
    assert "hunter2" not in outcome.to_json()


def test_what_is_said_stays_on_one_line(world: World) -> None:
    error = world.run(InContext(target="a\nFAKE: all is well\x1b[2J"), world.operation(OSError())).error
    assert notes(error)[0].startswith("context: operation at a?FAKE: all is well?[2J, correlation id ")


def test_an_error_that_cannot_be_changed_is_raised_all_the_same(world: World) -> None:
    class Frozen(ConnectionError):
        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError(name)

    outcome = world.run(InContext(), world.operation(Frozen("no")))
    assert (type(outcome.error), notes(outcome.error), kinds(outcome)) == (Frozen, [], ["ErrorNoted"])


class Odd(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(code, reason)
        self.reason = reason


def test_an_error_with_arguments_of_its_own_is_passed_on(world: World) -> None:
    error = Odd(3, reason="x")
    assert world.run(InContext(), world.operation(error)).error is error


def test_an_error_keeps_its_context_when_it_is_pickled(world: World) -> None:
    error = world.run(InContext("file", "read", "a.csv", "req-7"), world.operation(ConnectionError("no"))).error
    twin = pickle.loads(pickle.dumps(error))
    assert context_of(twin) == ErrorContext(Transport.FILE, "read", "a.csv", "req-7")
    assert notes(twin) == notes(error)


def test_an_error_that_left_no_context_has_none() -> None:
    assert context_of(KeyError("a")) is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_without_a_note(world: World, error: type[BaseException]) -> None:
    made = error()
    with pytest.raises(error):
        world.run(InContext(), world.operation(made))
    assert notes(made) == []
    assert current_context() is None


def test_a_cancellation_passes_without_a_note_and_leaves_the_context() -> None:
    async def main() -> None:
        call = asyncio.ensure_future(InContext()(World(True).operation(Hang))())
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await call
        assert notes(caught.value) == []
        assert current_context() is None

    World(True).do(main)


def test_a_coroutine_that_is_closed_elsewhere_does_no_harm() -> None:
    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    async def main() -> None:
        coroutine: Any = InContext()(hang)()
        copy_context().run(coroutine.send, None)
        coroutine.close()
        assert current_context() is None

    World(True).do(main)


# --- one request, one id ---


def test_contexts_inside_belong_to_the_same_request_and_the_next_request_is_another(world: World) -> None:
    seen: list[str | None] = []

    def look() -> None:
        here = current_context()
        assert here is not None
        seen.append(here.correlation_id)

    inner = InContext("database")(world.of(look))

    async def request() -> None:
        look()
        await inner()

    def plain_request() -> None:
        look()
        inner()

    guarded: Any = InContext("http")(request if world.asynchronous else plain_request)
    for _ in range(2):
        world.do(guarded, seed=len(seen))
    assert seen[0] == seen[1] != seen[2] == seen[3]
    assert all(one is not None and len(one) == 16 for one in seen)


def test_ids_are_new_in_real_time_even_if_random_is_seeded() -> None:
    import random

    def made() -> str:
        random.seed(42)
        return correlation_id()

    before = random.getstate()
    try:
        assert made() != made()
        assert len(made()) == 16
        random.seed(42)
        state = random.getstate()
        correlation_id()
        assert random.getstate() == state, "what a program draws does not depend on its ids"
        with virtual.clock(seed=1):
            first = correlation_id()
        with virtual.clock(seed=1):
            assert correlation_id() == first, "in virtual time everything is repeatable"
    finally:
        random.setstate(before)


def test_an_id_can_come_from_outside(world: World) -> None:
    header: ContextVar[str] = ContextVar("header")
    guarded = InContext(correlation_id=header.get)(world.operation(current_context))

    def answered() -> Any:
        return world.do(guarded).correlation_id

    assert len(answered()) == 16, "a variable without a value is no reason to fail"
    for good in ("req-7", "x" * 128, "ein-schönes"):
        token = header.set(good)
        assert answered() == good
        header.reset(token)
    for bad in ("", "x" * 129, "a\nb", "a\x00", 7, None):
        token = header.set(bad)  # type: ignore[arg-type]
        assert len(answered()) == 16, bad
        header.reset(token)


def test_a_given_id_beats_that_of_the_context_around(world: World) -> None:
    policy = InContext(correlation_id="outer") >> InContext(correlation_id="inner")
    assert world.run(policy, world.operation(current_context)).unwrap().correlation_id == "inner"
    unknown = InContext(correlation_id="outer") >> InContext(correlation_id=lambda: None)
    assert world.run(unknown, world.operation(current_context)).unwrap().correlation_id == "outer"


def test_a_source_of_ids_that_is_async_after_all_is_a_misuse() -> None:
    async def read() -> str:
        return "req-7"

    with pytest.raises(TypeError, match="correlation_id must be a text or a plain function"):
        InContext(correlation_id=read)  # type: ignore[arg-type]
    plain = World(False)
    sneaky = InContext(correlation_id=lambda: read())  # type: ignore[arg-type,return-value]
    outcome = plain.run(sneaky, plain.operation("answer"))
    assert isinstance(outcome.error, TypeError)
    on_loop = World(True)
    assert on_loop.run(sneaky, on_loop.operation(current_context)).unwrap().correlation_id == "req-7"


def test_tasks_and_threads_of_the_call_are_under_its_context() -> None:
    def look() -> str | None:
        here = current_context()
        return here and here.correlation_id

    async def request() -> list[str | None]:
        async def task() -> str | None:
            return look()

        looked = [look(), await asyncio.ensure_future(task()), await asyncio.to_thread(look)]
        async with asyncio.TaskGroup() as group:
            more = [group.create_task(task()) for _ in range(3)]
        pool = ThreadPoolExecutor(1)
        looked.append(pool.submit(copy_context().run, look).result())
        stranger = pool.submit(look).result()
        pool.shutdown()
        assert stranger is None, "an executor knows no context by itself"
        return [*looked, *(one.result() for one in more)]

    assert asyncio.run(InContext(correlation_id="req-7")(request)()) == ["req-7"] * 7


@pytest.mark.parametrize(
    "layer", [Timeout(5), Bulkhead(1, threads=1), Retry(2, ONE), Cache(60), Fallback(Fallback.value(0))], ids=repr
)
def test_worker_threads_of_other_layers_keep_the_context_and_the_note(world: World, layer: Policy) -> None:
    assert world.run(InContext(correlation_id="a") >> layer, world.operation(current_context)).unwrap() is not None
    error = KeyError("no")
    if isinstance(layer, Fallback):
        return
    inside = layer >> InContext("database", "load", correlation_id="a")
    assert world.run(inside, world.operation(error)).error is error
    assert notes(error)[0] == "context: database load, correlation id a"
    assert current_context() is None


def test_a_time_that_is_over_says_whose_it_was(world: World) -> None:
    policy = InContext("http", "GET", "carts", "req-7") >> Timeout(2)
    outcome = world.run(policy, world.operation(Hang))
    assert isinstance(outcome.error, errors.TimeoutExceeded)
    assert notes(outcome.error) == ["context: http GET at carts, correlation id req-7"]
    assert [event.context and event.context.correlation_id for event in outcome.events] == ["req-7", "req-7"]


def test_a_caller_whose_time_is_over_is_not_left_in_the_context_of_the_call(world: World) -> None:
    outcome = world.run(Timeout(2, default=None) >> InContext("http"), world.operation(Hang))
    assert (outcome.ok, current_context()) == (True, None)


def test_concurrent_requests_do_not_mix() -> None:
    async def load(number: int) -> str | None:
        await asyncio.sleep(number % 3)
        here = current_context()
        if number % 2:
            raise ConnectionError(str(number))
        return here and here.correlation_id

    async def request(number: int) -> str | None:
        policy = InContext(correlation_id=f"req-{number}") >> InContext("database")
        try:
            return await policy(load)(number)
        except ConnectionError as error:
            return str(error.__notes__[1]).split()[-1]

    async def main() -> list[str | None]:
        return list(await asyncio.gather(*map(request, range(30))))

    assert World(True).do(main) == [f"req-{number}" for number in range(30)]


def test_threads_share_one_policy_and_not_one_request() -> None:
    def fail(ticket: str) -> None:
        raise ConnectionError(ticket)

    here = threading.local()
    guarded = InContext("http", correlation_id=lambda: here.id)(fail)

    def work(place: int, number: int) -> None:
        here.id = f"{place}-{number}"
        with pytest.raises(ConnectionError) as caught:
            guarded(here.id)
        known = context_of(caught.value)
        assert known is not None
        assert known.correlation_id == here.id == str(caught.value)
        assert len(notes(caught.value)) == 1
        assert current_context() is None

    hammer(work, threads=4, seconds=0.5)


def test_every_event_of_the_layers_inside_carries_the_context(world: World) -> None:
    heard: list[Event] = []
    with listening(heard.append):
        world.run(InContext("http", "GET", correlation_id="req-7") >> Retry(2, ONE), world.operation(OSError))
    assert {event.context and event.context.correlation_id for event in heard} == {"req-7"}


def test_a_saga_runs_under_a_context(world: World) -> None:
    seen: list[Any] = []
    saga = Saga([(world.of(lambda state: seen.append(current_context())), None)])
    world.do(lambda: InContext("other", correlation_id="a")(saga)({}))
    assert seen == [ErrorContext(Transport.OTHER, "saga", "", "a")]


# --- as a block ---


def test_a_block_is_a_context_too_and_takes_the_id_of_the_one_around() -> None:
    with errors.context(ErrorContext(Transport.HTTP, "GET")) as outer:
        assert outer.correlation_id is not None
        with errors.context(ErrorContext(Transport.CACHE, "get", "carts")) as inner:
            assert current_context() is inner
            assert inner.correlation_id == outer.correlation_id
        assert current_context() is outer
    assert current_context() is None


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"transport": "pigeon"}, ValueError, "transport must be one of http, database, .*, got 'pigeon'"),
        ({"transport": []}, ValueError, r"transport must be one of http, .*, got \[\]"),
        ({"operation": 3}, TypeError, "operation must be a text, got 3"),
        ({"target": None}, TypeError, "target must be a text, got None"),
        ({"correlation_id": 7}, TypeError, r"correlation_id must be a text, got 7: give it as str\(...\)"),
    ],
)
def test_a_context_that_could_not_be_told_is_refused_when_it_is_made(
    arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        ErrorContext(**arguments)
    assert ErrorContext("database") == ErrorContext(Transport.DATABASE)


def test_an_error_that_leaves_a_block_says_so() -> None:
    with pytest.raises(ConnectionError) as caught, errors.context(ErrorContext(operation="a", correlation_id="1")):
        with errors.context(ErrorContext(Transport.FILE, "read")):
            raise ConnectionError("no")
    assert notes(caught.value) == ["context: file read, correlation id 1", "context: a, correlation id 1"]
    with pytest.raises(KeyboardInterrupt), errors.context(ErrorContext()):
        raise KeyboardInterrupt
    assert current_context() is None


def test_a_context_of_nothing_in_particular_can_be_told() -> None:
    assert str(ErrorContext()) == "somewhere"
    assert str(ErrorContext(correlation_id="a")) == "somewhere, correlation id a"


# --- log records ---


class Kept(logging.Handler):
    def __init__(self, filter_: logging.Filter) -> None:
        super().__init__()
        self.addFilter(filter_)
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Any:
    made = logging.getLogger(f"shop.{request.node.name}")
    made.propagate = False
    handler = Kept(ContextFilter())
    made.addHandler(handler)
    yield made, handler.records
    made.removeHandler(handler)


def test_a_log_record_says_where_it_was_written(log: Any, world: World) -> None:
    logger, records = log
    write = world.of(lambda: logger.warning("slow"))
    world.run(InContext("database", "load", "orders", "req-7"), write)
    logger.warning("outside")
    fields = ("correlation_id", "transport", "operation", "target")
    assert [[getattr(record, name) for name in fields] for record in records] == [
        ["req-7", "database", "load", "orders"],
        ["-", "-", "-", "-"],
    ]


def test_a_record_about_an_error_says_where_that_happened_also_outside_of_the_context(log: Any) -> None:
    logger, records = log
    try:
        InContext("database", "load", correlation_id="req-7").call(functools.partial(int, "x"))
    except ValueError:
        logger.exception("the request failed")
    try:
        raise KeyError("elsewhere")
    except KeyError:
        logger.exception("another one")
    logger.warning("no error at all", exc_info=(None, None, None))
    assert [record.correlation_id for record in records] == ["req-7", "-", "-"]
    assert records[0].target == "-"


def test_fields_of_the_callers_own_are_left_as_they_are(log: Any) -> None:
    logger, records = log
    with errors.context(ErrorContext(Transport.HTTP, "GET", "carts", "req-7")):
        logger.warning("hello", extra={"target": "mine"})
    assert (records[0].target, records[0].operation) == ("mine", "GET")


def test_what_stands_for_nothing_can_be_chosen() -> None:
    record: Any = logging.makeLogRecord({"msg": "hello"})
    ContextFilter(missing=None).filter(record)
    assert json.dumps([record.correlation_id, record.target]) == "[null, null]"


# --- explored, stacked, described ---


def test_a_context_changes_nothing_but_what_errors_say() -> None:
    bare = Retry(2, ONE) >> Timeout(3)
    inside = InContext("http") >> Retry(2, ONE) >> Timeout(3)
    for one, other in zip(explore(bare).paths, explore(inside).paths, strict=True):
        assert (one.choices, one.elapsed, one.ended) == (other.choices, other.elapsed, other.ended)
        noted = [event for event in other.events if isinstance(event, ErrorNoted)]
        assert bool(noted) is (other.error is not None)


def test_it_draws_and_explains() -> None:
    asked: list[int] = []  # an error would only mean that it has no id

    def ask() -> str:
        asked.append(1)
        return "req-7"

    paths = explore(InContext("database", target="orders", correlation_id=ask), "load", outcomes=("ok", "fail")).paths
    assert asked == []
    assert [str(path) for path in paths] == [
        "load ok -> return after 0 s",
        "load fails -> note the error (database load at orders) -> raise ConnectionError after 0 s",
    ]


@given(
    transport=st.sampled_from([*Transport, *(one.value for one in Transport)]),
    operation=st.none() | st.text(max_size=9),
    target=st.text(max_size=9),
)
def test_whatever_a_place_is_called_it_is_told_on_one_line(transport: Any, operation: str | None, target: str) -> None:
    policy = InContext(transport, operation, target, "req-7")
    outcome = policy.outcome(functools.partial(int, "x"))
    [note] = notes(outcome.error)
    assert note.isprintable()
    assert note.endswith(", correlation id req-7")
    assert policy.replace(target="x").describe() == {**policy.describe(), "target": "x"}


def test_a_callback_is_under_the_context(world: World) -> None:
    seen: list[str | None] = []

    def look(event: Waiting) -> None:
        seen.append(event.context and event.context.correlation_id)

    world.run(InContext(correlation_id="a") >> Retry(2, ONE, on_retry=look), world.operation(TimeoutError, 1))
    assert seen == ["a"]


def test_it_says_what_it_is() -> None:
    assert repr(ErrorContext(Transport.HTTP)).startswith("ErrorContext(Transport.HTTP, ")
    assert repr(InContext("http", target="carts")) == "InContext(Transport.HTTP, target='carts')"
    assert InContext().label == "InContext"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"transport": "carrier pigeon"}, "transport must be one of http, database, .*, got 'carrier pigeon'"),
        ({"transport": 7}, "transport must be one of http, database, .*, got 7"),
        ({"operation": 7}, "operation must be a text, got 7"),
        ({"target": None}, "target must be a text, got None"),
        ({"correlation_id": 7}, "correlation_id must be a text or a plain function, got 7"),
        ({"correlation_id": ""}, "correlation_id must have 1 to 128 printable characters, got ''"),
        ({"correlation_id": "a\nb"}, "correlation_id must have 1 to 128 printable characters"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        InContext(**arguments)


def test_the_attempts_of_a_hedge_are_in_the_context_and_none_of_theirs_stays(world: World) -> None:
    from failwell.patterns.hedge import Hedge

    seen: list[Any] = []

    def look() -> None:
        seen.append(current_context())
        if len(seen) == 1:
            raise ConnectionError("first")

    outer, inner = InContext("http", correlation_id="req-7"), InContext("database")
    outcome = world.run(outer >> Hedge(1.0) >> inner, world.of(look))
    assert outcome.ok
    assert [here.transport for here in seen] == [Transport.DATABASE] * 2
    assert {here.correlation_id for here in seen} == {"req-7"}
    assert current_context() is None


def test_a_call_that_is_over_leaves_nothing_behind(world: World) -> None:
    import gc
    import weakref

    class Big(ConnectionError): ...

    gone: list[Any] = []

    def fail() -> None:
        error = Big("no")
        gone.append(weakref.ref(error))
        raise error

    guarded = InContext("http")(world.of(fail))
    for _ in range(3):
        with pytest.raises(Big):
            world.do(guarded)
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


def test_contexts_are_equal_if_all_that_they_say_is() -> None:
    here = ErrorContext(Transport.HTTP, "GET", "carts", "req-7")
    assert here == ErrorContext(Transport.HTTP, "GET", "carts", "req-7")
    assert hash(here) == hash(ErrorContext(Transport.HTTP, "GET", "carts", "req-7"))
    for other in (
        ErrorContext(Transport.CACHE, "GET", "carts", "req-7"),
        ErrorContext(Transport.HTTP, "PUT", "carts", "req-7"),
        ErrorContext(Transport.HTTP, "GET", "a", "req-7"),
        ErrorContext(Transport.HTTP, "GET", "z", "req-7"),
        ErrorContext(Transport.HTTP, "GET", "carts", "req-6"),
        ErrorContext(Transport.HTTP, "GET", "carts", "req-8"),
        "http GET at carts, correlation id req-7",
    ):
        assert here != other


def test_a_sequence_says_where_the_error_was_noted() -> None:
    from failwell.flow.draw.sequence import sequence, unhappy_path

    found = explore(InContext("database", target="orders"), "load", outcomes=("ok", "fail"))
    assert "Note over p1: note the error#58; database load at orders\n" in sequence(found, unhappy_path(found))
