from __future__ import annotations

import ast
import asyncio
import copy
import importlib
import logging
import pickle
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest

import failwell
from failwell import Outcome, Retry, backoff, errors, events, listening, subscribe
from failwell.events import Attempt, Event, GaveUp, Role, Waiting, bus
from tests.kernel.world import World

KINDS = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)]


def some(kind: Any = Waiting) -> Any:
    return kind(*range(len(kind.fields)))


@pytest.fixture(autouse=True)
def _nobody_is_left() -> Any:
    before = bus.active
    yield
    assert bus.active == before


@pytest.mark.parametrize("kind", KINDS)
def test_every_event_is_an_immutable_record_with_a_role(kind: type[Event]) -> None:
    event = some(kind)
    assert kind.role in get_args(Role)
    assert kind.__doc__
    assert [getattr(event, name) for name in kind.fields] == list(range(len(kind.fields)))
    assert kind.fields[:4] == ("layer", "operation", "time", "context")
    with pytest.raises(AttributeError):
        event.layer = "other"
    assert not hasattr(event, "__dict__")
    assert repr(event).startswith(f"{kind.__name__}(layer=0, operation=1, time=2, context=3")
    for twin in (copy.copy(event), copy.deepcopy(event), pickle.loads(pickle.dumps(event))):
        assert twin == event
        assert type(twin) is kind
        assert hash(twin) == hash(event)


def test_events_of_different_kinds_are_never_equal() -> None:
    started = Attempt("Retry", "fetch", 1.0, None, number=1)
    other = events.TimedOut("Retry", "fetch", 1.0, None, 1)
    assert started != other
    assert (started == other) is False
    assert started != tuple(started)
    assert started == Attempt("Retry", "fetch", 1.0, None, 1)
    assert (started != Attempt("Retry", "fetch", 1.0, None, 1)) is False
    assert started != Attempt("Retry", "fetch", 1.0, None, 2)
    assert started != Attempt("Retry", "fetch", 1.0, None, 0)


@pytest.mark.parametrize("values", [{}, {"number": 1, "more": 2}, {"wrong": 1}])
def test_an_event_takes_exactly_its_fields(values: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="Attempt takes layer, operation, time, context, number; got 4 values and"):
        Attempt("Retry", "fetch", 1.0, None, **values)
    with pytest.raises(TypeError, match="got 6 values"):
        Attempt("Retry", "fetch", 1.0, None, 1, 2)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"got 5 values and \['number'\]"):
        Attempt("Retry", "fetch", 1.0, None, 1, number=1)  # type: ignore[misc]


def test_an_event_of_the_users_own_is_one_like_ours() -> None:
    class Refreshed(Event):
        role = "recovery"
        SHARED: ClassVar = 1
        token: str

    assert Refreshed.fields == ("layer", "operation", "time", "context", "token")
    assert Refreshed("a", "b", 1.0, None, token="t").token == "t"


def test_an_event_carries_the_context_of_its_call(world: World) -> None:
    heard: list[Any] = []
    here = errors.ErrorContext(correlation_id="abc")
    guarded = Retry(2, backoff=backoff.Fixed(1))(world.operation(ConnectionError, "answer"))
    with listening(heard.append), errors.context(here):
        world.do(lambda: guarded())
    assert {e.context for e in heard} == {here}


# --- listening ---


def test_a_subscriber_hears_every_thread_and_task_until_it_unsubscribes(world: World) -> None:
    heard: list[Any] = []
    guarded = Retry()(World(False).operation("answer"))
    guarded_async = Retry()(World(True).operation("answer"))
    unsubscribe = subscribe(heard.append)
    again = subscribe(heard.append)
    thread = threading.Thread(target=guarded)
    thread.start()
    thread.join()
    asyncio.run(guarded_async())
    assert len(heard) == 4
    again()
    guarded()
    assert len(heard) == 5
    unsubscribe()
    unsubscribe()
    guarded()
    assert len(heard) == 5


def test_who_listens_in_a_block_hears_its_tasks_and_threads_only() -> None:
    heard: list[Any] = []
    guarded = Retry()(World(True).operation("answer"))
    plain = Retry()(World(False).operation("answer"))

    async def main() -> None:
        async def elsewhere() -> None:
            await started.wait()
            await guarded()

        started = asyncio.Event()
        other = asyncio.create_task(elsewhere())
        with listening(heard.append):
            inside = asyncio.create_task(guarded())
            started.set()
            await asyncio.to_thread(plain)
            await asyncio.gather(inside, other)
            late = asyncio.create_task(guarded())
        with listening(lambda event: None):
            await late

    asyncio.run(main())
    assert len(heard) == 2


def test_blocks_nest_and_each_listener_hears() -> None:
    outer: list[Any] = []
    inner: list[Any] = []
    guarded = Retry()(World(False).operation("answer"))
    with listening(outer.append):
        with listening(inner.append):
            guarded()
        guarded()
    assert (len(outer), len(inner)) == (2, 1)


def test_a_block_that_ends_in_another_context_leaves_nothing_switched_on() -> None:
    heard: list[Any] = []
    block = listening(heard.append)
    asyncio.run(_enter(block))
    block.__exit__(None, None, None)
    Retry()(World(False).operation("answer"))()
    assert heard == []
    assert bus.active == 0


async def _enter(block: Any) -> None:
    block.__enter__()


def test_a_listener_that_fails_is_logged_and_the_others_still_hear(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []

    def broken(event: Event) -> None:
        raise RuntimeError("listener")

    with listening(broken), listening(heard.append), caplog.at_level(logging.ERROR, "failwell"):
        assert Retry().call(lambda: "answer") == "answer"
    assert len(heard) == 1
    assert "a failwell listener failed on Attempt(" in caplog.text


@pytest.mark.parametrize("listen", [subscribe, listening])
def test_a_listener_must_be_a_plain_function(listen: Any) -> None:
    async def nobody_awaits(event: Event) -> None: ...

    def start(listener: Any) -> None:
        made = listen(listener)
        made.__enter__()

    with pytest.raises(TypeError, match="listener must be callable, got 3"):
        start(3)
    with pytest.raises(TypeError, match="listener must be a plain function: nobody would await"):
        start(nobody_awaits)


# --- outcomes ---


def test_an_outcome_tells_how_a_call_ended(world: World) -> None:
    good = world.run(Retry(), world.operation("answer"))
    assert (good.ok, good.value, good.error, good.unwrap()) == (True, "answer", None, "answer")
    assert repr(good) == "Outcome(value='answer', events=1, elapsed=0, degraded=False)"
    error = KeyError("no")
    bad = world.run(Retry(), world.operation(error))
    assert (bad.ok, bad.value, bad.error) == (False, None, error)
    assert repr(bad) == "Outcome(error=KeyError('no'), events=1, elapsed=0, degraded=False)"
    with pytest.raises(KeyError):
        bad.unwrap()
    twin = pickle.loads(pickle.dumps(good))
    assert (twin.value, twin.events, twin.elapsed) == (good.value, good.events, good.elapsed)
    assert Outcome(1, None).events == ()


def test_an_outcome_that_says_nothing_else_took_no_time_and_is_the_real_answer() -> None:
    assert repr(Outcome(1, None)) == "Outcome(value=1, events=0, elapsed=0, degraded=False)"


def test_what_is_no_exception_is_raised_by_outcome_too(world: World) -> None:
    with pytest.raises(KeyboardInterrupt):
        world.run(Retry(), world.operation(KeyboardInterrupt))


def test_reasons_of_giving_up_have_names() -> None:
    assert GaveUp.fields[4:] == ("attempts", "elapsed", "error", "reason")
    assert {GaveUp.NO_ATTEMPT_LEFT, GaveUp.NO_TIME_LEFT, GaveUp.BUDGET_SPENT} == {
        "no attempt left",
        "no time left",
        "retry budget spent",
    }


def test_importing_failwell_loads_little_more_than_asyncio() -> None:
    """The time is in the benchmark; here stands what would spoil it."""
    script = (
        "import asyncio, sys; before = set(sys.modules); import failwell; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout.split()
    assert not set(loaded) & {"click", "dataclasses", "email", "graphviz", "http", "httpx", "json", "rich", "urllib"}
    script = "import sys, failwell; print('failwell.flow' in sys.modules)"
    flow = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    assert flow.stdout.strip() == "False"


def test_every_public_name_is_found_where_it_lives() -> None:
    shown = failwell.__file__ or ""
    tree = ast.parse(Path(shown).read_text(encoding="utf-8"))
    checked = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    told = {
        alias.name: node.module for node in checked.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    for name in failwell.__all__:
        value = getattr(failwell, name)
        if name in told:
            assert getattr(importlib.import_module(str(told.pop(name))), name) is value
    assert told == {}, "what types are told of is public"


def test_the_public_names_are_listed_and_others_are_refused() -> None:
    assert set(failwell.__all__) <= set(dir(failwell))
    with pytest.raises(AttributeError, match="no_such_pattern"):
        failwell.no_such_pattern  # noqa: B018
