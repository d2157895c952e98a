from __future__ import annotations

import gc
import time
import traceback
import weakref
from contextvars import copy_context
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import Fallback, Retry, Timeout, backoff, errors, explore, listening, virtual
from failwell.events import Attempt, GaveUp, Waiting
from failwell.runtime import deadline
from tests.kernel.world import World, kinds

ONE = backoff.Fixed(1.0)


def asking(after: Any, **headers: Any) -> Exception:
    error = ConnectionError("busy")
    if after is not None:
        error.retry_after = after  # type: ignore[attr-defined]
    if headers:
        error.response = SimpleNamespace(headers={k.replace("_", "-"): v for k, v in headers.items()})  # type: ignore[attr-defined]
    return error


def kinds_of(path: Any) -> list[str]:
    return [type(event).__name__ for event in path.events if isinstance(event, (Attempt, Waiting, GaveUp))]


# --- how often, and how long between ---


def test_the_first_answer_is_returned_and_nothing_waits(world: World) -> None:
    operation = world.operation("answer")
    outcome = world.run(Retry(), operation, 1, key=2)
    assert outcome.unwrap() == "answer"
    assert operation.log.calls == [((1,), {"key": 2})]
    assert kinds(outcome) == ["Attempt"]
    assert outcome.elapsed == 0


def test_a_transient_error_is_tried_again_after_the_backoff(world: World) -> None:
    operation = world.operation(ConnectionError, TimeoutError, "answer")
    outcome = world.run(Retry(backoff=backoff.Linear(1)), operation)
    assert outcome.unwrap() == "answer"
    assert operation.log.times == [0, 1, 3]
    assert [e.number for e in outcome.events if isinstance(e, Attempt)] == [1, 2, 3]
    waits = [e for e in outcome.events if isinstance(e, Waiting)]
    assert [(e.attempt, e.delay, e.between, type(e.error)) for e in waits] == [
        (1, 1, (1, 1), ConnectionError),
        (2, 2, (2, 2), TimeoutError),
    ]
    assert {e.layer for e in outcome.events} == {"Retry"}
    assert {e.operation for e in outcome.events} == {"operation"}


def test_max_attempts_counts_calls_and_nothing_waits_after_the_last(world: World) -> None:
    operation = world.operation(ConnectionError("no"))
    outcome = world.run(Retry(4, backoff=ONE), operation)
    assert isinstance(outcome.error, ConnectionError)
    assert operation.log.times == [0, 1, 2, 3]
    assert outcome.elapsed == 3
    [gave_up] = [e for e in outcome.events if isinstance(e, GaveUp)]
    assert (gave_up.attempts, gave_up.elapsed, gave_up.error, gave_up.reason) == (
        4,
        3,
        outcome.error,
        "no attempt left",
    )


def test_one_attempt_is_a_plain_call_with_a_note(world: World) -> None:
    outcome = world.run(Retry(1), world.operation(ConnectionError("no")))
    assert outcome.error is not None
    assert outcome.error.__notes__ == ["failwell gave up after 1 attempt in 0 s: no attempt left"]


@pytest.mark.parametrize("error", [ValueError, PermissionError, KeyError, errors.PermanentError, RuntimeError])
def test_permanent_and_unknown_errors_are_not_tried_again(world: World, error: type[Exception]) -> None:
    operation = world.operation(error("no"))
    outcome = world.run(Retry(), operation)
    assert type(outcome.error) is error
    assert len(operation.log.calls) == 1
    assert not hasattr(outcome.error, "__notes__")


@pytest.mark.parametrize("on", [KeyError, (KeyError, OSError), lambda error: "yes" * isinstance(error, KeyError)])
def test_on_takes_a_type_a_tuple_or_a_predicate(world: World, on: Any) -> None:
    operation = world.operation(KeyError("a"), ValueError("b"), "never")
    outcome = world.run(Retry(on=on, backoff=ONE), operation)
    assert isinstance(outcome.error, ValueError)
    assert len(operation.log.calls) == 2


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_only_exceptions_are_handled_whatever_on_says(world: World, error: type[BaseException]) -> None:
    operation = world.operation(error)
    with pytest.raises(error):
        world.run(Retry(on=BaseException), operation)
    assert len(operation.log.calls) == 1


def test_a_wait_of_zero_takes_no_time_and_tries_at_once(world: World) -> None:
    operation = world.operation(ConnectionError, "answer")
    outcome = world.run(Retry(backoff=backoff.Fixed(0)), operation)
    assert outcome.unwrap() == "answer"
    assert operation.log.times == [0, 0]


def test_the_default_backoff_is_spread_over_its_full_range() -> None:
    world = World(asynchronous=True)
    delays = set()
    for seed in range(5):
        operation = world.operation(ConnectionError, "answer")
        guarded = Retry()(operation)
        world.do(lambda guarded=guarded: guarded(), seed=seed)
        delays.add(operation.log.times[1])
    assert len(delays) == 5
    assert all(0 <= d <= 1 for d in delays)
    assert Retry().backoff == backoff.Exponential(jitter="full")


def test_decorrelated_waits_build_on_the_one_before(world: World) -> None:
    outcome = world.run(Retry(6, backoff.Decorrelated(1, max=20)), world.operation(ConnectionError))
    waits = [e for e in outcome.events if isinstance(e, Waiting)]
    assert [e.between for e in waits] == [(1, min(20, 3 * d)) for d in [1, *(e.delay for e in waits[:-1])]]


# --- limits of time ---


def test_no_attempt_starts_after_max_elapsed_and_the_wait_is_clipped_to_it(world: World) -> None:
    operation = world.operation(ConnectionError("no"))
    outcome = world.run(Retry(99, backoff=backoff.Fixed(2), max_elapsed=5), operation)
    assert operation.log.times == [0, 2, 4, 5]
    assert outcome.elapsed == 5
    assert outcome.error.__notes__ == ["failwell gave up after 4 attempts in 5 s: no time left"]  # type: ignore[union-attr]


def test_the_time_that_the_operation_takes_counts(world: World) -> None:
    operation = world.operation(ConnectionError("no"), takes=3)
    world.run(Retry(99, backoff=ONE, max_elapsed=5), operation)
    assert operation.log.times == [0, 4]


def test_a_wait_that_ends_no_sooner_than_the_deadline_is_not_begun(world: World) -> None:
    operation = world.operation(ConnectionError("no"))
    guarded = Retry(99, backoff=backoff.Fixed(2))

    def start() -> Any:
        deadline.set(time.monotonic() + 3)
        return guarded.outcome(operation)

    outcome = copy_context().run(world.do, start)
    assert operation.log.times == [0, 2]
    assert outcome.elapsed == 2
    assert outcome.error.__notes__ == ["failwell gave up after 2 attempts in 2 s: no time left"]


def test_a_random_wait_is_clipped_to_the_deadline_around_it(world: World) -> None:
    operation = world.operation(ConnectionError("no"))
    guarded = Retry(2, backoff=backoff.Fixed(1000, jitter="full"))

    def start() -> Any:
        deadline.set(time.monotonic() + 3)
        return guarded.outcome(operation)

    outcome = copy_context().run(world.do, start)
    assert len(operation.log.times) == 2
    assert outcome.elapsed < 3


def test_a_wait_that_its_own_limit_cuts_before_the_deadline_is_begun(world: World) -> None:
    operation = world.operation(ConnectionError("no"))
    guarded = Retry(99, backoff=backoff.Fixed(60), max_elapsed=3)

    def start() -> Any:
        deadline.set(time.monotonic() + 5)
        return guarded.outcome(operation)

    copy_context().run(world.do, start)
    assert operation.log.times == [0, 3]


@settings(max_examples=60, deadline=None)
@given(
    attempts=st.integers(1, 12),
    delay=st.floats(0, 10),
    limit=st.floats(0.001, 30),
    takes=st.floats(0, 3),
    start=st.floats(0, 1e6),
    asynchronous=st.booleans(),
)
def test_limits_hold_for_all_numbers(
    attempts: int, delay: float, limit: float, takes: float, start: float, asynchronous: bool
) -> None:
    world = World(asynchronous)
    operation = world.operation(ConnectionError("no"), takes=takes)
    guarded = Retry(attempts, backoff.Fixed(delay, jitter=0.5), max_elapsed=limit)(operation)
    before = world.operation("ready", takes=start)

    def plain() -> None:
        before()
        guarded()

    async def on_loop() -> None:
        await before()
        await guarded()

    with pytest.raises(ConnectionError) as caught:
        world.do(on_loop if asynchronous else plain)
    times = [t - start for t in operation.log.times]
    assert 1 <= len(times) <= attempts
    assert all(t <= limit * (1 + 1e-9) + 1e-6 for t in times)
    at_the_limit = [t for t in times[1:] if t >= limit * (1 - 1e-12)]
    assert len(at_the_limit) <= 1
    assert len(caught.value.__notes__) == 1


# --- what the server asks for ---


@pytest.mark.parametrize(
    ("said", "waits"),
    [
        (asking(7), 7),
        (asking(2.5), 2.5),
        (asking(timedelta(seconds=4)), 4),
        (asking(None, Retry_After="7"), 7),
        (asking(None, retry_after="7"), 7),
        (asking(0), 0),
        (asking("soon"), 1),
        (asking(-3), 1),
        (asking(float("inf")), 1),
        (asking(float("nan")), 1),
        (asking([]), 1),
        (asking(None, Other="x"), 1),
        (asking(None), 1),
    ],
    ids=str,
)
def test_retry_after_beats_the_backoff_and_nonsense_does_not(world: World, said: Exception, waits: float) -> None:
    operation = world.operation(said, "answer")
    assert world.run(Retry(backoff=ONE), operation).elapsed == waits


@pytest.mark.parametrize(
    "form",
    ["%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %d %H:%M:%S %Y", "%a, %d %b %Y %H:%M:%S -0000"],
)
def test_retry_after_may_be_an_http_date_in_any_of_its_forms(form: str) -> None:
    moment = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)
    error = asking(None, Retry_After=moment.strftime(form))
    assert errors.retry_after(error, now=lambda: moment.timestamp() - 30) == 30
    assert errors.retry_after(error, now=lambda: moment.timestamp() + 30) == 0


def test_an_http_date_is_compared_with_the_wall_clock(world: World) -> None:
    operation = world.operation(asking(None, Retry_After=format_datetime(datetime.fromtimestamp(90, UTC))), "answer")
    assert world.run(Retry(backoff=ONE), operation).elapsed == 90


def test_retry_after_is_clipped_too_and_can_be_ignored(world: World) -> None:
    operation = world.operation(asking(60), "answer")
    assert world.run(Retry(backoff=ONE, max_elapsed=5), operation).elapsed == 5
    operation = world.operation(asking(60), "answer")
    assert world.run(Retry(backoff=ONE, respect_retry_after=False), operation).elapsed == 1


def test_an_error_that_cannot_be_asked_does_not_hide_itself(world: World) -> None:
    class Odd(ConnectionError):
        @property
        def retry_after(self) -> float:
            raise RuntimeError("not now")

    operation = world.operation(Odd("odd"), "answer")
    assert world.run(Retry(backoff=ONE), operation).unwrap() == "answer"


# --- results ---


def test_a_rejected_result_is_tried_again_and_the_last_one_is_returned(world: World) -> None:
    operation = world.operation(None, None, "answer")
    policy = Retry(2, backoff=ONE, retry_result=lambda result: result is None)
    outcome = world.run(policy, operation)
    assert (outcome.value, outcome.error) == (None, None)
    assert kinds(outcome) == ["Attempt", "Waiting", "Attempt", "GaveUp"]
    assert [e.error for e in outcome.events if isinstance(e, (Waiting, GaveUp))] == [None, None]
    outcome = world.run(policy.replace(max_attempts=3), world.operation(None, None, "answer"))
    assert outcome.unwrap() == "answer"


def test_a_degraded_answer_that_was_rejected_leaves_no_mark(world: World) -> None:
    rejecting = Retry(backoff=ONE, retry_result=lambda result: result is None)
    stack = rejecting >> Fallback(Fallback.value(None))
    outcome = world.run(stack, world.operation(KeyError, "real"))
    assert (outcome.value, outcome.degraded) == ("real", False)
    outcome = world.run(stack, world.operation(KeyError))
    assert (outcome.value, outcome.degraded) == (None, True)
    outcome = world.run(rejecting >> Fallback(Fallback.value("poor")), world.operation(KeyError))
    assert (outcome.value, outcome.degraded) == ("poor", True)


def test_a_predicate_of_results_may_be_async_under_async_calls_only() -> None:
    async def is_none(result: Any) -> bool:
        return result is None

    world = World(asynchronous=True)
    assert world.run(Retry(backoff=ONE, retry_result=is_none), world.operation(None, 1)).unwrap() == 1
    world = World(asynchronous=False)
    outcome = world.run(Retry(retry_result=is_none), world.operation(None))
    assert isinstance(outcome.error, TypeError)
    assert "is_none" in str(outcome.error)


# --- budget and callbacks ---


def test_the_explorer_is_told_what_a_check_of_the_result_and_a_budget_can_answer() -> None:
    class Purse:
        def deposit(self) -> None: ...
        def withdraw(self) -> bool:
            raise AssertionError("never called while exploring")

    checked = explore(Retry(2, backoff=ONE, retry_result=bool), outcomes=("ok",))
    assert sorted(kinds_of(path) for path in checked.paths) == [
        ["Attempt"],
        ["Attempt", "Waiting", "Attempt"],
        ["Attempt", "Waiting", "Attempt", "GaveUp"],
    ]
    paid = explore(Retry(2, backoff=ONE, budget=Purse()), outcomes=("fail",))
    assert sorted(kinds_of(path) for path in paid.paths) == [
        ["Attempt", "GaveUp"],
        ["Attempt", "Waiting", "Attempt", "GaveUp"],
    ]


class Purse:
    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)
        self.deposits = 0

    def deposit(self) -> None:
        self.deposits += 1

    def withdraw(self) -> bool:
        return self.answers.pop(0)


def test_a_spent_budget_leaves_out_only_the_extra_attempts(world: World) -> None:
    purse = Purse(True, False)
    operation = world.operation(ConnectionError("no"))
    outcome = world.run(Retry(9, backoff=ONE, budget=purse), operation)
    assert len(operation.log.calls) == 2
    assert outcome.error.__notes__ == ["failwell gave up after 2 attempts in 1 s: retry budget spent"]  # type: ignore[union-attr]
    assert purse.deposits == 1
    assert world.run(Retry(budget=purse), world.operation("fine")).unwrap() == "fine"
    assert purse.deposits == 2


def test_callbacks_get_the_event(world: World) -> None:
    heard: list[Any] = []
    policy = Retry(2, backoff=ONE, on_retry=heard.append, on_give_up=heard.append)
    outcome = world.run(policy, world.operation(ConnectionError("no")))
    assert heard == [e for e in outcome.events if isinstance(e, (Waiting, GaveUp))]
    guarded = policy(world.operation(ConnectionError("no")))  # nobody listens
    with pytest.raises(ConnectionError):
        world.do(lambda: guarded())
    assert [type(e) for e in heard] == [Waiting, GaveUp] * 2


def test_a_callback_that_raises_changes_nothing_and_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: Any) -> None:
        raise RuntimeError("callback")

    outcome = world.run(Retry(2, backoff=ONE, on_retry=broken), world.operation(ConnectionError, "answer"))
    assert outcome.unwrap() == "answer"
    assert "a failwell callback failed: " in caplog.text
    assert "broken" in caplog.text


def test_a_callback_may_be_async_under_async_calls_only(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []

    async def told(event: Any) -> None:
        heard.append(event)

    async def broken(event: Any) -> None:
        raise RuntimeError("callback")

    world = World(asynchronous=True)
    outcome = world.run(Retry(2, backoff=ONE, on_retry=told, on_give_up=broken), world.operation(ConnectionError))
    assert isinstance(outcome.error, ConnectionError)
    assert [type(e) for e in heard] == [Waiting]
    assert "broken" in caplog.text
    world = World(asynchronous=False)
    outcome = world.run(Retry(2, backoff=ONE, on_retry=told), world.operation(ConnectionError, "answer"))
    assert isinstance(outcome.error, TypeError)
    assert "told" in str(outcome.error)


# --- the error that is raised in the end ---


def test_the_original_error_is_raised_with_one_note(world: World) -> None:
    error = ConnectionError("no")
    error.add_note("of the operation's own")
    outcome = world.run(Retry(backoff=ONE), world.operation(error))
    assert outcome.error is error
    assert error.__notes__ == ["of the operation's own", "failwell gave up after 3 attempts in 2 s: no attempt left"]
    assert (error.__cause__, error.__context__) == (None, None)


def test_one_error_object_raised_in_call_after_call_keeps_one_note(world: World) -> None:
    error = ConnectionError("no")
    for _ in range(5):
        world.run(Retry(backoff=ONE), world.operation(error))
    assert len(error.__notes__) == 1
    world.run(Retry(backoff=ONE) >> Retry(2, backoff=ONE), world.operation(error))
    assert len(error.__notes__) == 1


def test_an_error_that_cannot_be_changed_is_raised_as_it_is(world: World) -> None:
    class Frozen(ConnectionError):
        def __setattr__(self, name: str, value: object) -> None:
            raise AttributeError(name)

    error = Frozen("no")
    assert world.run(Retry(backoff=ONE), world.operation(error)).error is error


def test_the_time_that_was_spent_counts_from_the_start_of_the_call(world: World) -> None:
    operation = world.operation(ConnectionError)
    before = Fallback(world.operation(ConnectionError, name="later"), on=ConnectionError)
    late = Retry(9, backoff=backoff.Fixed(2), max_elapsed=5)
    outcome = world.run(Retry(2, backoff=backoff.Fixed(100)) >> before >> late, operation)
    gave_up = [event for event in outcome.events if isinstance(event, GaveUp) and event.attempts > 2]
    assert [(event.time, event.attempts, event.elapsed) for event in gave_up] == [(5, 4, 5), (110, 4, 5)]


@pytest.mark.parametrize("attempts", [2, 5])
def test_an_error_object_that_is_raised_again_keeps_the_traceback_of_its_last_time(world: World, attempts: int) -> None:
    def length(attempts: int) -> int:
        error = world.run(Retry(attempts, backoff=ONE), world.operation(ConnectionError("no"))).error
        assert error is not None
        return len(traceback.extract_tb(error.__traceback__))

    assert length(attempts) == length(1)


@pytest.mark.parametrize("same_object", [True, False])
@pytest.mark.parametrize("asynchronous", [True, False])
def test_the_traceback_is_no_longer_than_that_of_a_plain_loop(same_object: bool, asynchronous: bool) -> None:
    def make(error: ConnectionError | None) -> Any:
        def inner() -> None:
            raise error or ConnectionError("no")

        async def inner_async() -> None:
            inner()

        return inner_async if asynchronous else inner

    def by_hand(fn: Any) -> Any:
        async def loop_async() -> Any:
            for attempt in range(5):
                try:
                    return await fn()
                except ConnectionError:
                    if attempt == 4:
                        raise
            return None

        def loop() -> Any:
            for attempt in range(5):
                try:
                    return fn()
                except ConnectionError:
                    if attempt == 4:
                        raise
            return None

        return loop_async if asynchronous else loop

    world = World(asynchronous)

    def length(protect: Any) -> int:
        guarded = protect(make(ConnectionError("no") if same_object else None))
        with pytest.raises(ConnectionError) as caught:
            world.do(lambda: guarded())
        return len(traceback.extract_tb(caught.value.__traceback__))

    assert length(Retry(5, backoff=backoff.Fixed(0))) <= length(by_hand)


@pytest.mark.parametrize(
    "policy",
    [
        Retry(backoff=ONE),
        Fallback(Fallback.value(1)),
        Fallback(lambda: int("x"), lambda: int("y")),
        Retry(backoff=ONE) >> Fallback(lambda error: int("x"), on=KeyError),
        Timeout(5),
        Timeout(5) >> Retry(backoff=ONE) >> Timeout(1),
    ],
    ids=repr,
)
@pytest.mark.parametrize("script", [(ConnectionError, "answer"), (ConnectionError,), (KeyError,)], ids=repr)
def test_errors_are_freed_without_the_garbage_collector(world: World, policy: Any, script: Any) -> None:
    if not world.asynchronous and "Timeout" in repr(policy):
        return  # the worker thread ends in its own time
    kept: list[weakref.ref[Any]] = []

    class Kept(Exception):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            kept.append(weakref.ref(self))

    made = tuple(type(one.__name__, (Kept, one), {}) if isinstance(one, type) else one for one in script)
    guarded = policy(world.operation(*made))

    def plain() -> None:
        try:
            guarded()
        except Exception:
            pass

    async def on_loop() -> None:
        try:
            await guarded()
        except Exception:
            pass

    gc.collect()
    gc.disable()
    try:
        world.do(on_loop if world.asynchronous else plain)
        assert [one() for one in kept if one() is not None] == []
    finally:
        gc.enable()


# --- one object, many callers ---


def test_concurrent_callers_share_nothing(world: World) -> None:
    policy = Retry(3, backoff=backoff.Decorrelated(1, 10))
    operations = [world.operation(ConnectionError, ConnectionError, number) for number in range(3)]
    if world.asynchronous:
        import asyncio

        async def main() -> Any:
            return await asyncio.gather(*(policy.call(o) for o in operations))

        assert virtual.run(main()) == [0, 1, 2]
    else:
        with virtual.clock():
            assert [policy.call(o) for o in operations] == [0, 1, 2]
    assert [len(o.log.calls) for o in operations] == [3, 3, 3]


# --- construction ---


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_attempts": 0}, "max_attempts must be at least 1.*got 0"),
        ({"max_attempts": True}, "max_attempts must be a whole number, got True"),
        ({"max_attempts": 2.0}, "max_attempts must be a whole number, got 2.0"),
        ({"backoff": 1.0}, "backoff must be a strategy.*got 1.0"),
        ({"on": 3}, "on must be an exception type.*got 3"),
        ({"on": (ValueError, 3)}, "on must hold exception types, got 3"),
        ({"on": int}, "on must be an exception type.*got <class 'int'>"),
        ({"max_elapsed": 0}, "max_elapsed must be above 0 seconds, got 0"),
        ({"max_elapsed": float("nan")}, "max_elapsed must be above 0 seconds, got nan"),
        ({"max_elapsed": "1"}, "max_elapsed must be a number, got '1'"),
        ({"budget": 3}, r"budget must be an object with deposit\(\) and withdraw\(\), got 3"),
        ({"retry_result": 3}, "retry_result must be callable, got 3"),
        ({"on_retry": 3}, "on_retry must be callable, got 3"),
        ({"on_give_up": 3}, "on_give_up must be callable, got 3"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_by_name_and_value(wrong: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Retry(**wrong)


def test_an_async_predicate_is_refused_because_nobody_could_await_it() -> None:
    async def worth_it(error: Exception) -> bool:
        return True

    with pytest.raises(TypeError, match="on must be a plain predicate, got the async function worth_it"):
        Retry(on=worth_it)


def test_presets_can_be_changed() -> None:
    assert Retry.high_frequency().max_attempts == 2
    assert Retry.critical(max_attempts=7).max_attempts == 7
    assert Retry.batch_item().backoff == backoff.Fixed(0.5)
    assert [repr(preset()) for preset in (Retry.high_frequency, Retry.critical, Retry.batch_item)] == [
        "Retry(2, backoff=Exponential(0.1, max=0.1, jitter='full'))",
        "Retry(5, backoff=Exponential(1, max=8, jitter='full'))",
        "Retry(2, backoff=Fixed(0.5))",
    ]
    for preset in (Retry.high_frequency, Retry.critical, Retry.batch_item):
        assert isinstance(preset(on=KeyError), Retry)


def test_the_repr_shows_what_differs_from_the_defaults() -> None:
    assert repr(Retry(5, ONE, on=KeyError)) == "Retry(5, backoff=Fixed(1), on=KeyError)"


def test_events_of_a_call_are_only_made_when_somebody_listens(world: World) -> None:
    heard: list[Any] = []
    guarded = Retry(backoff=ONE)(world.operation(ConnectionError, "answer"))
    with listening(heard.append):
        assert world.do(lambda: guarded()) == "answer"
    assert [type(e) for e in heard] == [Attempt, Waiting, Attempt]


@pytest.mark.parametrize(("name", "value"), [("backoff", backoff.Fixed), ("backoff", 3), ("respect_retry_after", "no")])
def test_what_cannot_work_is_refused_when_the_retry_is_made(name: str, value: Any) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(TypeError, match=name):
        Retry(**arguments)


@pytest.mark.parametrize("missing", ["deposit", "withdraw"])
def test_a_budget_needs_both_of_its_methods(missing: str) -> None:
    half: Any = SimpleNamespace(deposit=lambda: None, withdraw=lambda: True)
    delattr(half, missing)
    with pytest.raises(TypeError, match="budget"):
        Retry(budget=half)
