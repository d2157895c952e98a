from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import weakref
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import (
    Bulkhead,
    Cache,
    CircuitBreaker,
    Deadline,
    Fallback,
    Hedge,
    Policy,
    Retry,
    Timeout,
    backoff,
    errors,
    explore,
    not_idempotent,
    virtual,
)
from failwell.events import Hedged, Rejected
from failwell.flow.draw.sequence import happy_path, sequence, unhappy_path
from failwell.flow.draw.timeline import bars
from failwell.flow.trace import alone, match
from failwell.runtime import UnexpectedAwaitable
from tests.kernel.test_first_and_threads import no_thread_left, paced
from tests.kernel.world import Hang, World, kinds
from tests.soak.test_soak import hammer

NOTED: ContextVar[str] = ContextVar("noted", default="nothing")


def hedges(outcome: Any) -> list[tuple[int, float, float]]:
    """Number, waited seconds and time of each further attempt."""
    return [(event.number, event.seconds, event.time) for event in outcome.events if isinstance(event, Hedged)]


def later(world: World, policy: Policy, operation: Any, *args: Any) -> Any:
    """What a call gives, a while after it: threads that were left behind have ended by then."""

    def plain() -> Any:
        outcome = policy.outcome(operation, *args)
        time.sleep(100)
        return outcome

    async def on_loop() -> Any:
        outcome = await policy.outcome(operation, *args)
        await asyncio.sleep(100)
        return outcome

    return world.do(on_loop if world.asynchronous else plain)


# --- both worlds ---


def test_an_answer_before_the_delay_is_asked_for_once(world: World) -> None:
    operation = world.operation("answer", takes=0.5)
    outcome = world.run(Hedge(1), operation, 1, key=2)
    assert (outcome.unwrap(), outcome.elapsed, outcome.events) == ("answer", 0.5, ())
    assert operation.log.calls == [((1,), {"key": 2})]


def test_a_late_answer_is_asked_for_once_more_and_the_first_one_wins(world: World) -> None:
    operation = paced(world, (30, "slow"), (0.5, "quick"))
    outcome = later(world, Hedge(1), operation)
    assert (outcome.value, outcome.elapsed, outcome.degraded) == ("quick", 1.5, False)
    assert hedges(outcome) == [(2, 1, 1)]
    assert operation.starts == [0, 1]
    lost = (0, 1.5, "cancelled") if world.asynchronous else (0, 30, "done")
    assert sorted(operation.ends) == [lost, (1, 1.5, "done")]


def test_the_attempt_that_was_late_may_still_win(world: World) -> None:
    operation = paced(world, (1.5, "late"), (5, "later"))
    outcome = later(world, Hedge(1), operation)
    assert (outcome.value, outcome.elapsed) == ("late", 1.5)


def test_each_further_one_starts_after_another_delay(world: World) -> None:
    operation = paced(world, (30, "a"), (30, "b"), (30, "c"), (0, "d"))
    outcome = later(world, Hedge(1, max_hedges=3), operation)
    assert (outcome.value, outcome.elapsed) == ("d", 3)
    assert hedges(outcome) == [(2, 1, 1), (3, 1, 2), (4, 1, 3)]


def test_there_are_no_more_than_max_hedges(world: World) -> None:
    operation = paced(world, (30, "slow"))
    outcome = later(world, Hedge(1, max_hedges=2), operation)
    assert (outcome.value, outcome.elapsed, operation.starts) == ("slow", 30, [0, 1, 2])


def test_without_a_delay_all_start_at_once(world: World) -> None:
    operation = paced(world, (30, "slow"), (2, "quick"))
    outcome = later(world, Hedge(0), operation)
    assert (outcome.value, outcome.elapsed, operation.starts) == ("quick", 2, [0, 0])


def test_the_arguments_are_the_same_for_all(world: World) -> None:
    operation = world.operation(ConnectionError, ConnectionError, "answer")
    world.run(Hedge(1, max_hedges=2), operation, "a", b="c")
    assert operation.log.calls == [(("a",), {"b": "c"})] * 3


@pytest.mark.parametrize("answer", [None, 0, "", (None, None), (1, ValueError())])
def test_an_odd_answer_is_an_answer(world: World, answer: Any) -> None:
    outcome = world.run(Hedge(1), world.operation(answer))
    assert outcome.unwrap() is answer


@given(
    delay=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    script=st.lists(st.tuples(st.sampled_from([0.25, 0.75, 1.5, 4.0]), st.booleans()), min_size=1, max_size=4),
    asynchronous=st.booleans(),
)
def test_the_answer_is_the_earliest_that_any_attempt_gives(
    delay: float, script: list[tuple[float, bool]], asynchronous: bool
) -> None:
    world = World(asynchronous)
    said = [(takes, number if good else ConnectionError(number)) for number, (takes, good) in enumerate(script)]
    starts, ends, at = [0.0], [script[0][0]], 0.0
    for takes, _ in script[1:]:
        answered = min((end for end, (_, good) in zip(ends, script, strict=False) if good), default=float("inf"))
        at = min(at + delay, max(at, *ends)) if not any(good for _, good in script[: len(ends)]) else at + delay
        if answered <= at:
            break
        starts.append(at)
        ends.append(at + takes)
    won = [(end, number) for number, (end, (_, good)) in enumerate(zip(ends, script, strict=False)) if good]
    operation = paced(world, *said)
    outcome = later(world, Hedge(delay, max_hedges=len(script) - 1), operation) if len(script) > 1 else None
    if outcome is None:
        return
    assert operation.starts == starts
    if won:
        assert outcome.elapsed == min(won)[0]
        assert outcome.value in {number for end, number in won if end == min(won)[0]}
    else:
        assert outcome.elapsed == max(ends)
        assert outcome.error.args == (0,)


# --- failures ---


def test_an_attempt_that_fails_has_the_next_one_start_at_once(world: World) -> None:
    operation = paced(world, (0.25, ConnectionError()), (0.25, "answer"))
    outcome = later(world, Hedge(1), operation)
    assert (outcome.value, outcome.elapsed, hedges(outcome)) == ("answer", 0.5, [(2, 0, 0.25)])


def test_while_another_one_is_under_way_a_failure_starts_nothing(world: World) -> None:
    operation = paced(world, (5, "slow"), (0.25, ConnectionError()), (9, "late"))
    outcome = later(world, Hedge(2, max_hedges=2), operation)
    assert (outcome.value, outcome.elapsed, operation.starts) == ("slow", 5, [0, 2, 4])


def test_if_all_fail_the_error_of_the_first_is_raised_with_the_others_attached(world: World) -> None:
    first, second, third = ConnectionError("one"), TimeoutError("two"), ValueError("three")
    operation = paced(world, (5, first), (0.25, second), (0.25, third))
    outcome = later(world, Hedge(2, max_hedges=2), operation)
    assert (outcome.error, outcome.elapsed) == (first, 5)
    error: Any = outcome.error
    assert error.also_failed == (second, third)
    assert error.__notes__ == ["also failed: TimeoutError: two; ValueError: three"]
    assert (error.__cause__, error.__context__) == (None, None)


def test_an_error_object_that_is_raised_by_all_knows_of_no_others(world: World) -> None:
    error: Any = ConnectionError("the same")
    outcome = world.run(Hedge(1), world.operation(error))
    assert (outcome.error, error.also_failed) == (error, ())
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize("on", [ConnectionError, (ConnectionError, OSError), lambda e: isinstance(e, ConnectionError)])
def test_an_error_that_is_not_meant_ends_all_of_them_at_once(world: World, on: Any) -> None:
    wrong = ValueError("no such user")
    operation = world.operation(wrong)
    outcome = world.run(Hedge(1, on=on), operation)
    assert (outcome.error, len(operation.log.calls), outcome.events) == (wrong, 1, ())
    assert not hasattr(wrong, "also_failed")
    operation = paced(world, (30, "slow"), (0.25, wrong))
    outcome = later(world, Hedge(1, on=on), operation)
    assert (outcome.error, outcome.elapsed) == (wrong, 1.25)
    assert ((0, 1.25, "cancelled") in operation.ends) is world.asynchronous
    assert world.run(Hedge(1, on=on), world.operation(ConnectionError, "answer")).value == "answer"


def test_a_predicate_that_raises_is_what_is_raised(world: World) -> None:
    def broken(error: Exception) -> bool:
        raise KeyError("in the predicate")

    outcome = world.run(Hedge(1, max_hedges=1, on=broken), world.operation(ConnectionError))
    assert isinstance(outcome.error, KeyError)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_passes(world: World, error: type[BaseException]) -> None:
    if world.asynchronous:  # a task hands these to its loop at once
        return
    with pytest.raises(error):
        world.run(Hedge(1), world.operation(error))


def test_an_awaitable_under_a_plain_call_is_refused_and_asked_for_once() -> None:
    calls: list[int] = []

    def operation() -> Any:
        calls.append(1)
        return World(True).operation("answer")()

    with pytest.raises(UnexpectedAwaitable):
        Hedge(1).call(operation)
    assert calls == [1]


@pytest.mark.skipif(not hasattr(sys, "getrefcount"), reason="counts references")
def test_an_error_that_was_dealt_with_leaves_nothing_behind(world: World) -> None:
    class Large:
        pass

    kept: list[weakref.ref[Large]] = []

    def operation() -> None:
        large = Large()
        kept.append(weakref.ref(large))
        raise (ConnectionError if len(kept) < 3 else ValueError)(len(kept))

    for on in (Exception, ConnectionError):
        kept.clear()
        outcome = later(world, Hedge(1, max_hedges=2, on=on), world.of(operation))
        assert len(kept) == 3
        del outcome
        gc.collect()
        assert [one() for one in kept] == [None] * 3


# --- what counts is the winner's ---


def test_only_the_winner_marks_its_answer_as_degraded(world: World) -> None:
    slow, quick = paced(world, (3, "slow")), paced(world, (0.5, "quick"))
    poor = Fallback(Fallback.value("poor"))(world.operation(ConnectionError))
    asked: list[Any] = []

    def first(*fns: Any) -> Any:
        asked.clear()

        def plain() -> Any:
            asked.append(None)
            return fns[len(asked) - 1]()

        async def run() -> Any:
            asked.append(None)
            return await fns[len(asked) - 1]()

        return run if world.asynchronous else plain

    outcome = later(world, Hedge(1), first(slow, poor))
    assert (outcome.value, outcome.degraded) == ("poor", True)
    outcome = later(world, Hedge(1), first(Fallback(Fallback.value("poor"))(paced(world, (9, OSError()))), quick))
    assert (outcome.value, outcome.degraded) == ("quick", False)


def test_what_the_winner_sets_in_its_context_stays_set(world: World) -> None:
    calls: list[None] = []

    def sets() -> str:
        calls.append(None)
        NOTED.set(f"by {len(calls)}")
        if len(calls) == 1:
            raise ConnectionError
        return "answer"

    guarded = Hedge(1)(world.of(sets))

    def plain() -> str:
        guarded()
        return NOTED.get()

    async def on_loop() -> str:
        await guarded()
        return NOTED.get()

    token = NOTED.set("before")
    try:
        assert world.do(on_loop if world.asynchronous else plain) == "by 2"
    finally:
        NOTED.reset(token)


# --- in a stack ---


def test_a_timeout_outside_ends_all_of_them(world: World) -> None:
    operation = paced(world, (30, "slow"))
    outcome = later(world, Timeout(3) >> Hedge(1, max_hedges=5), operation)
    assert (type(outcome.error), outcome.elapsed, operation.starts) == (errors.TimeoutExceeded, 3, [0, 1, 2])
    if world.asynchronous:
        assert operation.ends == [(number, 3, "cancelled") for number in range(3)]


@pytest.mark.parametrize("inner", [Timeout(60), Deadline(60), Timeout(3)])
def test_all_of_them_see_the_deadline_around_them(world: World, inner: Policy) -> None:
    operation = paced(world, (30, "slow"))
    outcome = later(world, Deadline(3) >> Hedge(2) >> inner, operation)
    assert (type(outcome.error), outcome.elapsed, operation.starts) == (errors.DeadlineExceeded, 3, [0, 2])
    assert kinds(outcome) == ["Hedged", "TimedOut"]


def test_a_timeout_inside_limits_each_of_them(world: World) -> None:
    operation = paced(world, (30, "slow"), (30, "slow"), (1, "quick"))
    outcome = later(world, Hedge(2, max_hedges=2) >> Timeout(3), operation)
    assert (outcome.value, outcome.elapsed, operation.starts) == ("quick", 5, [0, 2, 4])


def test_a_loser_gives_its_slot_back(world: World) -> None:
    bulkhead, breaker = Bulkhead(2), CircuitBreaker(1)
    operation = paced(world, (30, "slow"), (0.5, "quick"), (0, "again"))
    outcome = later(world, Hedge(1) >> breaker >> bulkhead, operation)
    assert outcome.value == "quick"
    assert (bulkhead.active, breaker.failure_count) == (0, 0)


def test_a_full_bulkhead_inside_refuses_the_further_attempt_and_the_first_one_answers(world: World) -> None:
    operation = paced(world, (5, "slow"), (0, "quick"))
    outcome = later(world, Hedge(1) >> Bulkhead(1), operation)
    assert (outcome.value, outcome.elapsed, operation.starts) == ("slow", 5, [0])


def test_behind_an_open_circuit_each_attempt_is_refused_at_once_and_around_it_only_the_call(world: World) -> None:
    breaker, operation = CircuitBreaker(), world.operation("answer")
    breaker.open()
    for policy, refused in ((Hedge(1, max_hedges=2) >> breaker, 3), (breaker >> Hedge(1, max_hedges=2), 1)):
        outcome = world.run(policy, operation)
        assert isinstance(outcome.error, errors.CircuitOpenError)
        assert sum(isinstance(event, Rejected) for event in outcome.events) == refused
        assert (outcome.elapsed, operation.log.calls) == (0, [])


def test_a_cache_outside_keeps_the_answer_and_asks_nothing_again(world: World) -> None:
    operation = paced(world, (30, "slow"), (0.5, "quick"))
    guarded = (Cache(60) >> Hedge(1))(operation)

    def plain() -> Any:
        return guarded(), guarded()

    async def on_loop() -> Any:
        return await guarded(), await guarded()

    assert world.do(on_loop if world.asynchronous else plain) == ("quick", "quick")
    assert len(operation.starts) == 2


def test_a_retry_outside_tries_all_of_it_again(world: World) -> None:
    operation = world.operation(ConnectionError, ConnectionError, "answer")
    outcome = world.run(Retry(2, backoff.Fixed(1)) >> Hedge(5), operation)
    assert (outcome.value, operation.log.times) == ("answer", [0, 0, 1])


# --- on a loop ---


def test_a_caller_that_is_cancelled_ends_all_of_them_and_waits_for_their_cleanup() -> None:
    ended: list[tuple[int, float]] = []
    started: list[int] = []

    async def operation() -> None:
        started.append(number := len(started))
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(0.5)
            ended.append((number, time.monotonic()))

    async def main() -> None:
        task = asyncio.create_task(Hedge(1, max_hedges=3).call(operation))
        await asyncio.sleep(2.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(ended) == [(0, 3), (1, 3), (2, 3)]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual.run(main())


def test_a_hundred_callers_share_nothing() -> None:
    async def main() -> list[str]:
        guarded = Hedge(1)

        async def one(number: int) -> str:
            calls: list[None] = []

            async def operation(number: int) -> str:
                calls.append(None)
                await asyncio.sleep(30 if len(calls) == 1 and number % 2 else 0.5)
                return f"{number} by {len(calls)}"

            return await guarded.call(operation, number)

        return await asyncio.gather(*map(one, range(100)))

    assert virtual.run(main()) == [f"{number} by {1 + number % 2}" for number in range(100)]


# --- in threads ---


def test_nothing_new_starts_in_the_thread_of_a_loser() -> None:
    calls: list[float] = []

    def operation() -> str:
        calls.append(time.monotonic())
        if len(calls) == 1:
            time.sleep(5)
            raise ConnectionError
        return "answer"

    with no_thread_left():
        outcome = later(World(False), Hedge(1) >> Retry(9, backoff.Fixed(1)), operation)
    assert (outcome.value, calls) == ("answer", [0, 1])


def test_one_object_serves_many_threads() -> None:
    hedge = Hedge(0.001, max_hedges=2)

    def work(place: int, round_: int) -> None:
        calls: list[None] = []

        def operation(said: Any) -> Any:
            calls.append(None)
            if round_ % 3 == 0 and len(calls) == 1:
                raise ConnectionError
            if round_ % 3 == 1 and len(calls) == 1:
                time.sleep(0.005)
            return said

        assert hedge.call(operation, (place, round_)) == (place, round_)

    before = threading.active_count()
    assert hammer(work, seconds=0.3) > 32
    assert threading.active_count() < before + 300


# --- arguments ---


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"delay": -1}, "delay must be a finite number of seconds that is not negative, got -1"),
        ({"delay": float("inf")}, "delay must be .*, got inf"),
        ({"delay": float("nan")}, "delay must be .*, got nan"),
        ({"delay": "1"}, "delay must be a number, got '1'"),
        ({"delay": None}, "delay must be a number, got None"),
        ({"max_hedges": 0}, "max_hedges must be at least 1, got 0"),
        ({"max_hedges": 1.5}, "max_hedges must be a whole number, got 1.5"),
        ({"max_hedges": True}, "max_hedges must be a whole number, got True"),
        ({"on": "errors"}, "on must be an exception type"),
        ({"on": (int,)}, "on must hold exception types"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(wrong: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Hedge(**{"delay": 1, **wrong})


def test_repr_and_replace() -> None:
    assert repr(Hedge(0.2)) == "Hedge(0.2)"
    changed = Hedge(0.2, on=OSError).replace(max_hedges=2)
    assert repr(changed) == "Hedge(0.2, max_hedges=2, on=OSError)"
    assert changed.describe() == {"delay": 0.2, "max_hedges": 2, "on": OSError}


# --- exploring ---


def test_its_paths_are_those_of_a_race() -> None:
    assert [str(path) for path in explore(Timeout(5) >> Hedge(1), "ask").paths] == [
        "ask ok -> return after 0 s",
        "ask fails -> ask (hedge 1) (at once) ok -> return after 0 s",
        "ask fails -> ask (hedge 1) (at once) fails -> raise ConnectionError after 0 s",
        "ask fails -> ask (hedge 1) (at once) hangs -> timed out (cancelled after 5 s) "
        "-> raise TimeoutExceeded after 5 s",
        "ask hangs -> ask (hedge 1) (after 1 s without an answer) ok -> return after 1 s",
        "ask hangs -> ask (hedge 1) (after 1 s without an answer) fails -> timed out (cancelled after 5 s) "
        "-> raise TimeoutExceeded after 5 s",
        "ask hangs -> ask (hedge 1) (after 1 s without an answer) hangs -> timed out (cancelled after 5 s) "
        "-> raise TimeoutExceeded after 5 s",
    ]


def test_what_it_gains_and_costs_is_computed() -> None:
    report = explore(Timeout(5) >> Hedge(1)).report(fail=0.0, hang=0.1)
    assert report.success == pytest.approx(0.99)
    assert report.calls == {"operation": pytest.approx(1.1)}
    assert report.most_calls == {"operation": 2}
    assert report.mean_latency == pytest.approx(0.09 * 1 + 0.01 * 5)


@pytest.mark.parametrize("on", [TimeoutError, (TimeoutError,)])
def test_the_failure_that_is_explored_is_one_that_it_handles(on: Any) -> None:
    found = explore(Hedge(1, on=on), outcomes=("ok", "fail"))
    assert [path.calls["operation"] for path in found.paths] == [1, 2, 2]
    found = explore(Hedge(1, on=on), outcomes=("ok", ValueError))
    assert [path.calls["operation"] for path in found.paths] == [1, 1]


def test_the_lint_finds_what_must_not_happen_twice() -> None:
    @not_idempotent
    def charge() -> None: ...

    [finding] = explore((Timeout(5) >> Hedge(1))(charge)).lint()
    assert finding.rule == "retry-not-idempotent"
    assert finding.message.startswith("Hedge calls charge again after it failed or hung")
    assert [type(layer) for layer in finding.remedy] == [Timeout]
    assert explore((Timeout(5) >> Timeout(1))(charge)).lint() == []


def test_the_sequence_shows_who_is_still_asked_and_who_is_stopped() -> None:
    found = explore(Timeout(5) >> Hedge(1), "ask")
    told = [line.strip() for line in sequence(found, happy_path(found)).splitlines()]
    assert told[6:] == [
        "p0->>p1: call",
        "p1->>p2: call",
        "p2->>p3: call at 0 s",
        "Note over p3: no answer",
        "p2->>p3: hedge 1 at 1 s",
        "p3-->>p2: ok",
        "p2-xp3: stop",
        "p2-->>p1: answer",
        "p1-->>p0: answer",
        "Note over p0: answered after 1 s",
    ]
    through = sequence(explore(Hedge(1) >> Timeout(9)), happy_path(explore(Hedge(1) >> Timeout(9))))
    assert [line.strip() for line in through.splitlines()][-5:] == [
        "p3-->>p2: ok",
        "p2-->>p1: answer",
        "p1-xp2: stop",
        "p1-->>p0: answer",
        "Note over p0: answered after 1 s",
    ]
    assert "hedge 1 at 0 s" in sequence(found, unhappy_path(found))


def test_the_timeline_shows_that_they_overlap() -> None:
    found = explore(Timeout(5) >> Hedge(1, max_hedges=2), "ask")
    last = [(bar.lane, bar.words, bar.start, bar.end) for bar in bars(found.paths[-1])]
    assert last == [
        ("ask", "hangs", 0, 5),
        ("ask", "hedge 1 after 1 s without an answer hangs", 1, 5),
        ("ask", "hedge 2 after 1 s without an answer hangs", 2, 5),
        ("Timeout", "timed out, cancelled after 5 s", 0, 5),
        ("caller", "raise TimeoutExceeded after 5 s", 0, 5),
    ]


LATE, LOST, GOOD = (30, "late"), (0.25, ConnectionError()), (0.25, "answer")


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ((GOOD,), ["ok"]),
        ((LATE, GOOD), ["hang", "ok"]),
        ((LOST, GOOD), ["fail", "ok"]),
        ((LATE, LOST), ["hang", "fail"]),
        ((LOST, LOST), ["fail", "fail"]),
    ],
)
def test_a_real_call_is_found_among_the_paths(script: Any, options: list[str]) -> None:
    stack = Deadline(5) >> Hedge(1)
    outcome = later(World(True), stack, paced(World(True), *script))
    path = match(explore(stack), outcome)
    assert [choice.option for choice in path.choices] == options
    guessed = [choice.option for choice in alone(outcome).choices]
    assert guessed[:-1] == options[:-1]


def test_an_operation_that_hangs_is_explored_with_the_times_that_really_pass(world: World) -> None:
    for path in explore(Deadline(9) >> Hedge(1, max_hedges=2) >> Retry(2, backoff.Fixed(0.5))).paths:
        if any(choice.option == "hang" for choice in path.choices) and not world.asynchronous:
            continue  # which of two threads asks first at one moment is not said
        ways = {"ok": "answer", "fail": ConnectionError, "hang": Hang}
        operation = world.operation(*[ways[choice.option] for choice in path.choices])
        outcome = world.run(Deadline(9) >> Hedge(1, max_hedges=2) >> Retry(2, backoff.Fixed(0.5)), operation)
        assert (outcome.elapsed, type(outcome.error)) == (path.elapsed, type(path.error)), str(path)
        assert kinds(outcome) == [type(event).__name__ for event in path.events], str(path)
