from __future__ import annotations

import asyncio
import functools
import gc
import logging
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import Cache, Retry, SafeCall, Timeout, backoff, errors, explore, listening, safe_call, virtual
from failwell.events import Event, FellBack
from failwell.flow.draw.sequence import sequence
from failwell.patterns.safe_call import MISTAKES, log_it, no_mistake
from failwell.policy import is_async
from tests.kernel.world import Hang, World, kinds
from tests.soak.test_soak import hammer

EVERY_DAY = (ConnectionError("reset"), ValueError("no number"), KeyError("key"), OSError("disk"), TimeoutError("late"))


# --- both worlds ---


@given(
    script=st.lists(st.sampled_from(["fine", None, 0, *EVERY_DAY, TypeError("mistake")]), min_size=1, max_size=6),
    default=st.sampled_from([None, 0, "default", {"debug": False}]),
    asynchronous=st.booleans(),
)
def test_a_failure_is_answered_and_nothing_else_is_changed(script: list[Any], default: Any, asynchronous: bool) -> None:
    world = World(asynchronous)
    operation = world.operation(*script)
    policy = SafeCall(default, on_error=None)
    for meant in script:
        outcome = world.run(policy, operation, 1, a=2)
        failed = isinstance(meant, Exception)
        if isinstance(meant, TypeError):
            assert outcome.error is meant
        else:
            assert outcome.value is (default if failed else meant)
        assert outcome.degraded == (failed and not isinstance(meant, TypeError))
    assert operation.log.calls == [((1,), {"a": 2})] * len(script)


@pytest.mark.parametrize("error", EVERY_DAY)
def test_an_error_of_every_day_is_answered_with_the_default(world: World, error: Exception) -> None:
    outcome = world.run(SafeCall("default"), world.operation(error))
    assert (outcome.value, outcome.degraded, kinds(outcome)) == ("default", True, ["FellBack"])
    [event] = outcome.events
    assert isinstance(event, FellBack)
    assert (event.alternative, event.order, event.layer) == ("default 'default'", 1, "SafeCall")
    assert event.error is error


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_program_is_not_hidden(
    world: World, mistake: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    error = mistake("a mistake")
    outcome = world.run(SafeCall("default"), world.operation(error))
    assert (outcome.error, outcome.events, caplog.text) == (error, (), "")
    assert world.run(SafeCall("default", on=Exception), world.operation(mistake("any"))).value == "default"


def test_a_call_with_the_wrong_arguments_is_a_mistake(world: World) -> None:
    def load(path: str) -> str:
        return path

    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        world.do(lambda: safe_call(world.of(load), default=None))
    assert world.do(lambda: safe_call(world.of(load), default="none", on=Exception)) == "none"


def test_which_errors_are_answered_can_be_said(world: World) -> None:
    for on in (KeyError, (KeyError, OSError), lambda error: isinstance(error, KeyError)):
        assert world.run(SafeCall(0, on=on), world.operation(KeyError("a"))).value == 0
        assert isinstance(world.run(SafeCall(0, on=on), world.operation(ValueError("b"))).error, ValueError)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_is_no_exception_passes(world: World, kind: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    for on in (no_mistake, BaseException):
        with pytest.raises(kind):
            world.run(SafeCall(0, on=on), world.operation(kind))
    assert caplog.text == ""


def test_the_default_is_the_very_object(world: World) -> None:
    for default in ([], {}, object(), None, ValueError("a value"), len, lambda: 1 / 0):
        outcome = world.run(SafeCall(default, on_error=None), world.operation(ValueError("no")))
        assert outcome.value is default


def test_an_error_that_is_returned_is_an_answer(world: World) -> None:
    error = ValueError("returned")
    outcome = world.run(SafeCall(0), world.operation(lambda: error))
    assert (outcome.value, outcome.degraded) == (error, False)


# --- the log ---


def test_what_is_answered_is_logged_with_its_traceback(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def load() -> str:
        raise ValueError("the file is empty")

    world.do(lambda: SafeCall({"debug": False}).call(world.of(load)))
    [record] = caplog.records
    assert (record.name, record.levelno) == ("failwell", logging.WARNING)
    assert record.getMessage() == "load failed, the answer is its default {'debug': False}"
    assert "raise ValueError" in caplog.text
    assert record.exc_info is not None


def test_a_long_default_is_cut_in_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.run(SafeCall("x" * 10_000), world.operation(ValueError("no")))
    assert len(caplog.records[0].getMessage()) < 100


def test_instead_of_the_log_somebody_else_can_be_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[FellBack] = []
    error = ValueError("no")
    assert world.run(SafeCall(0, on_error=world.of(heard.append)), world.operation(error)).value == 0
    assert [event.error for event in heard] == [error]
    assert world.run(SafeCall(0, on_error=None), world.operation(error)).value == 0
    assert caplog.text == ""


def test_who_is_told_and_fails_changes_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: FellBack) -> None:
        raise RuntimeError("broken")

    outcome = world.run(SafeCall(0, on_error=broken), world.operation(ValueError("no")))
    assert (outcome.value, outcome.degraded) == (0, True)
    assert "a failwell callback failed: broken" in caplog.text


def test_a_default_whose_repr_fails_is_answered_all_the_same(world: World) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    odd = Odd()
    policy = SafeCall(odd)
    assert world.run(policy, world.operation(ValueError("no"))).value is odd


# --- once ---


def test_a_function_is_called_once_with_its_arguments(world: World, caplog: pytest.LogCaptureFixture) -> None:
    operation = world.operation(0.9, ValueError("no"))
    assert world.do(lambda: safe_call(operation, "features", "weights", bias=1, default=0.0)) == 0.9
    assert world.do(lambda: safe_call(operation, "features", default=0.0)) == 0.0
    assert operation.log.calls == [(("features", "weights"), {"bias": 1}), (("features",), {})]
    assert len(caplog.records) == 1


def test_whether_it_is_async_depends_on_the_function() -> None:
    async def late() -> int:
        raise ValueError("no")

    pending = safe_call(late, default=7)
    assert asyncio.iscoroutine(pending)
    assert virtual.run(pending) == 7
    assert safe_call(int, "12", default=0) == 12
    assert virtual.run(safe_call(functools.partial(late), default=8)) == 8


def test_parameters_of_the_same_name_go_through_a_partial() -> None:
    def fn(fn: int, default: int, on: int) -> tuple[int, int, int]:
        return fn, default, on

    assert safe_call(functools.partial(fn, default=2, on=3), fn=1, default=None) == (1, 2, 3)


def test_an_awaitable_under_a_plain_call_is_no_failure() -> None:
    async def late() -> None: ...

    for on in (no_mistake, Exception, TypeError):
        with pytest.raises(TypeError, match="an awaitable, under a plain call"):
            safe_call(cast("Any", lambda: late()), default=0, on=on)


def test_bad_arguments_of_a_single_call_are_refused() -> None:
    with pytest.raises(TypeError, match=r"fn must be a function, which safe_call calls: .*, got 7"):
        safe_call(cast("Any", 7), default=0)

    def rows() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="rows is a generator function"):
        safe_call(rows, default=0)
    with pytest.raises(TypeError):
        safe_call(int)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]


# --- with others ---


def test_it_stands_around_a_retry_and_inside_a_cache(world: World) -> None:
    operation = world.operation(ConnectionError("down"))
    outcome = world.run(SafeCall("none") >> Retry(3, backoff.Fixed(1.0)), operation)
    assert (outcome.value, outcome.elapsed, len(operation.log.calls)) == ("none", 2, 3)
    cached = Cache(60) >> SafeCall("none", on_error=None)
    guarded = cached(world.operation(ConnectionError("down"), "real"))
    assert [world.do(guarded), world.do(guarded)] == ["none", "real"]  # a default is not kept


def test_a_hang_needs_a_timeout_inside(world: World) -> None:
    outcome = world.run(SafeCall("none") >> Timeout(2), world.operation(Hang))
    assert (outcome.value, outcome.elapsed) == ("none", 2)


def test_a_refusal_of_another_layer_is_answered_too(world: World) -> None:
    def refuse() -> None:
        raise errors.CircuitOpenError("load", 3.0)

    assert world.run(SafeCall("none"), world.of(refuse)).value == "none"


def test_exploring_shows_the_default_and_writes_no_log(caplog: pytest.LogCaptureFixture) -> None:
    assert [str(path) for path in explore(SafeCall(0), "load").paths] == [
        "load ok -> return after 0 s",
        "load fails -> fall back to default 0 (fallback 1) -> return (degraded answer) after 0 s",
        "load hangs -> never ends",
    ]
    found = explore(SafeCall(0), outcomes=("ok", ValueError, TypeError))
    assert [path.ended for path in found.paths] == [
        "answer of operation",
        "degraded 0",
        "raise TypeError",
    ]
    assert caplog.text == ""


def test_odds_of_an_answer_are_certain_if_nothing_hangs() -> None:
    report = explore(SafeCall(0), outcomes=("ok", "fail")).report(fail=0.1)
    assert (report.success, report.degraded) == (pytest.approx(1), pytest.approx(0.1))


# --- what stays behind ---


def test_an_answered_error_keeps_nothing_alive(world: World) -> None:
    class Thing: ...

    gone: list[Any] = []

    def load() -> None:
        thing = Thing()
        gone.append(weakref.ref(thing))
        raise ValueError("no")

    guarded = SafeCall(0, on_error=None)(world.of(load))
    gc.collect()
    gc.disable()
    try:
        assert world.do(guarded) == 0
        assert gone[0]() is None
    finally:
        gc.enable()


def test_an_error_that_passes_keeps_the_traceback_of_a_plain_call() -> None:
    def load() -> None:
        raise TypeError("a mistake")

    with pytest.raises(TypeError) as caught:
        SafeCall(0)(load)()
    assert caught.traceback[-1].name == "load"
    assert not hasattr(caught.value, "__notes__")


# --- arguments ---


def test_a_policy_says_what_it_is() -> None:
    assert repr(SafeCall()) == "SafeCall()"
    assert repr(SafeCall(0)) == "SafeCall(0)"
    assert repr(SafeCall({}, on=OSError, on_error=None)) == "SafeCall({}, on=OSError, on_error=None)"
    policy = SafeCall("a").replace(default="b")
    assert policy.describe() == {"default": "b", "on": no_mistake, "on_error": log_it}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on": 7}, "on must be an exception type, a tuple of them or a predicate, got 7"),
        ({"on": (ValueError, 7)}, "on must hold exception types, got 7"),
        ({"on_error": 7}, "on_error must be callable or None, got 7"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        SafeCall(0, **arguments)


def test_a_decorated_function_stays_what_it_was() -> None:
    @SafeCall(0)
    def score(row: str) -> int:
        """Score a row."""
        return int(row)

    @SafeCall(0)
    async def score_async(row: str) -> int:
        return int(row)

    assert (score.__name__, score.__doc__, is_async(score), is_async(score_async)) == (
        "score",
        "Score a row.",
        False,
        True,
    )
    assert (score("7"), virtual.run(score_async("x"))) == (7, 0)


def test_events_reach_listeners() -> None:
    heard: list[Event] = []
    with listening(heard.append):
        safe_call(int, "x", default=0)
    assert [type(event) for event in heard] == [FellBack]


def test_under_many_threads_each_caller_gets_its_own_answer() -> None:
    def operation(place: int, number: int) -> tuple[int, int]:
        time.sleep(0.001)
        if number % 3 == 1:
            raise ValueError(number)
        return place, number

    guarded: Callable[..., Any] = SafeCall("default", on_error=None)(operation)

    def work(place: int, number: int) -> None:
        assert guarded(place, number) == ("default" if number % 3 == 1 else (place, number))

    hammer(work, seconds=0.3)


def test_as_messages_the_default_is_seen() -> None:
    found = explore(SafeCall(0), "load", outcomes=("ok", "fail"))
    [failed] = [path for path in found.paths if path.degraded]
    assert "Note over p1: fall back to default 0" in sequence(found, failed)
    within = explore(Retry(2, backoff.Fixed(1.0)) >> SafeCall(0), "load", outcomes=("fail",))
    assert "Note over p2: fall back to default 0" in sequence(within, within.paths[0])
