from __future__ import annotations

import asyncio
import gc
import random
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from failwell import (
    Cache,
    CircuitBreaker,
    Fallback,
    Policy,
    Retry,
    Router,
    Saga,
    Step,
    Timeout,
    Validate,
    backoff,
    errors,
    explore,
    virtual,
)
from failwell.backoff import Exponential, Fixed
from failwell.events import Event, Waiting
from failwell.flow import Answer, Choice, Path
from failwell.policy import Stack
from failwell.runtime import deadline
from tests.flow.stacks import EXACT, ROUNDED, assert_same, explored, fingerprint, follow, stacks

SECOND = Fixed(1)


def taken(path: Path) -> list[str]:
    return [choice.option for choice in path.choices]


def ways(policy: Any, **options: Any) -> list[str]:
    """Each path as its choices, and how it ends."""
    return [f"{' '.join(taken(path))} -> {end(path)}" for path in explore(policy, **options).paths]


def end(path: Path) -> str:
    if not path.ends:
        return "never"
    what = type(path.error).__name__ if path.error else f"{path.result}{', degraded' * path.degraded}"
    return f"{what} after {path.elapsed:g}"


# --- the paths of single patterns, derived by hand ---


def test_a_retry_goes_on_while_attempts_are_left() -> None:
    assert ways(Retry(2, SECOND)) == [
        "ok -> answer of operation after 0",
        "fail ok -> answer of operation after 1",
        "fail fail -> ConnectionError after 1",
        "fail hang -> never",
        "hang -> never",
    ]


def test_a_timeout_ends_a_hang() -> None:
    assert ways(Timeout(3)) == [
        "ok -> answer of operation after 0",
        "fail -> ConnectionError after 0",
        "hang -> TimeoutExceeded after 3",
    ]
    assert ways(Timeout(3, default=7), outcomes=["hang"]) == ["hang -> 7, degraded after 3"]


def spare(*args: Any) -> None:
    raise AssertionError("a function of the user's was executed")


def test_a_fallback_asks_its_alternatives_in_order() -> None:
    assert ways(Fallback(spare, Fallback.value("none")), outcomes=["ok", "fail"]) == [
        "ok -> answer of operation after 0",
        "fail ok -> answer of spare, degraded after 0",
        "fail fail ok -> answer of value 'none', degraded after 0",
    ]
    [*_, last] = explore(Fallback(spare, Fallback.value("none")), outcomes=["fail"]).paths
    assert [choice.options for choice in last.choices] == [("fail",), ("fail",), ("ok",)]


def test_a_cache_starts_in_each_of_its_situations() -> None:
    assert ways(Cache(60, stale_if_error=60), outcomes=["ok", "fail"]) == [
        "miss ok -> answer of operation after 0",
        "miss fail -> ConnectionError after 0",
        "fresh -> the stored answer after 0",
        "stale ok -> answer of operation after 0",
        "stale fail -> the stored answer, degraded after 0",
    ]
    assert ways(Cache(60), outcomes=["ok"]) == [
        "miss ok -> answer of operation after 0",
        "fresh -> the stored answer after 0",
    ]
    first = explore(Cache(60)).paths[0].choices[0]
    assert (first.kind, first.subject, first.options, first.layer) == ("situation", "Cache", ("miss", "fresh"), "Cache")


def reserve(state: Any) -> None:
    spare()


def release(state: Any) -> None:
    spare()


async def charge(state: Any) -> None:
    spare()


def test_a_saga_compensates_in_reverse_order() -> None:
    saga = Saga([(reserve, release), (charge, None)])
    found = explore(saga, outcomes=["ok", "fail"])
    assert [[f"{choice.subject} {choice.option}" for choice in path.choices] for path in found.paths] == [
        ["reserve ok", "charge ok"],
        ["reserve ok", "charge fail", "release ok"],
        ["reserve ok", "charge fail", "release fail"],
        ["reserve fail"],
    ]
    assert found.paths[0].result == {"reserve": Answer("reserve"), "charge": Answer("charge")}
    undone, stuck, first = (path.error for path in found.paths[1:])
    assert isinstance(undone, errors.SagaError)
    assert (undone.step, undone.compensated, undone.failures) == ("charge", ("reserve",), {})
    assert isinstance(stuck, errors.SagaError)
    assert (stuck.compensated, list(stuck.failures)) == ((), ["reserve"])
    assert isinstance(first, errors.SagaError)
    assert first.step == "reserve"


def test_what_a_policy_asks_of_a_user_function_has_every_answer() -> None:
    retry = Retry(2, SECOND, retry_result=spare, on_retry=spare, on_give_up=spare)
    assert ways(retry, outcomes=["ok"]) == [
        "ok no -> answer of operation after 0",
        "ok yes ok no -> answer of operation after 1",
        "ok yes ok yes -> answer of operation after 1",
    ]


def test_an_alternative_that_is_a_stack_itself_is_explored_as_one() -> None:
    backup = Retry(2, SECOND)(spare)
    assert ways(Fallback(backup), outcomes=["ok", "fail"]) == [
        "ok -> answer of operation after 0",
        "fail ok -> answer of spare, degraded after 0",
        "fail fail ok -> answer of spare, degraded after 1",
        "fail fail fail -> ConnectionError after 1",
    ]
    picky = Retry(2, SECOND, on=KeyError)(spare)
    assert ways(Fallback(picky), outcomes=["fail"]) == ["fail fail fail -> KeyError after 1"]
    saga = Saga([(reserve, release)])
    assert ways(Fallback(saga), outcomes=["fail"]) == ["fail fail -> SagaError after 0"]
    assert ways(Fallback(Timeout(3)(saga)), outcomes=["fail"]) == ["fail fail -> SagaError after 0"]
    nested = explore(Saga([(Timeout(2)(charge), None)]), outcomes=["hang"]).paths
    assert [(path.elapsed, [event.layer for event in path.events]) for path in nested] == [(2, ["Saga", "Timeout"])]


# --- what can be explored ---


def test_a_decorated_function_brings_its_name() -> None:
    @Timeout(1)
    async def fetch() -> None:
        spare()

    found = explore(fetch)
    assert (found.name, found.title) == ("fetch", "Timeout(1) >> fetch")
    assert [str(choice) for path in found.paths for choice in path.choices] == [
        "fetch: ok",
        "fetch: fail",
        "fetch: hang",
    ]
    assert [layer.label for layer in found.layers] == ["Timeout"]
    assert (len(found), repr(found)) == (3, "<Exploration of Timeout(1) >> fetch: 3 paths>")


def test_the_operation_of_a_policy_can_be_named() -> None:
    assert explore(Timeout(1), "fetch").paths[0].result == Answer("fetch")
    assert explore(Timeout(1) >> Retry(2), "fetch").title.endswith(">> fetch")


def test_a_saga_stacks_as_the_innermost_call() -> None:
    saga = Saga([(charge, None)])
    found = explore(Timeout(3)(saga))
    assert (found.name, found.title) == ("saga", f"Timeout(3) >> {saga!r}")
    assert ways(Timeout(3)(saga)) == [
        f"ok -> {{'charge': {Answer('charge')}}} after 0",
        "fail -> SagaError after 0",
        "hang -> TimeoutExceeded after 3",
    ]
    assert explore(saga).title == repr(saga)


def test_a_partial_of_a_decorated_function_is_explored_as_that() -> None:
    import functools

    assert explore(functools.partial(Timeout(1)(spare), 1)).name == "spare"


@pytest.mark.parametrize("thing", [spare, 7, None, Retry])
def test_what_cannot_be_explored_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match="explore takes a policy, a saga, a function decorated by a policy, or"):
        explore(thing)


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [
        (["ok", "explode"], "outcomes are 'ok', 'fail', 'hang' and exception types, got 'explode'"),
        ([KeyboardInterrupt], "outcomes are 'ok', 'fail', 'hang' and exception types"),
        ([], "outcomes must be different ones, at least one"),
        (["ok", "ok"], "outcomes must be different ones, at least one"),
    ],
)
def test_bad_outcomes_are_refused(outcomes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explore(Retry(), outcomes=outcomes)


@pytest.mark.parametrize("limit", [0, -1, 2.5, True, "9"])
def test_a_bad_limit_is_refused(limit: Any) -> None:
    with pytest.raises(ValueError, match="limit must be a whole number of paths of at least 1, got"):
        explore(Retry(), limit=limit)


# --- outcomes ---


class Odd(Exception):
    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)


def raised(policy: Policy, **options: Any) -> list[str]:
    paths = explore(policy, **options).paths
    return sorted({type(path.error).__name__ for path in paths if path.error is not None})


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Retry(2), "ConnectionError"),
        (Timeout(1), "ConnectionError"),
        (Retry(2, on=KeyError), "KeyError"),
        (Retry(2, on=(KeyError, IndexError)), "KeyError"),
        (Retry(2, on=OSError), "ConnectionError"),
        (Retry(2, on=TimeoutError), "TimeoutError"),
        (Retry(2, on=Odd), "Odd"),
        (Retry(2, on=lambda error: isinstance(error, ValueError)), "ValueError"),
        (Retry(2, on=lambda error: False), "ConnectionError"),
        (Retry(2) >> Retry(2, on=KeyError) >> Timeout(1), "KeyError"),
    ],
)
def test_a_failure_is_one_that_the_innermost_layer_handles(policy: Policy, expected: str) -> None:
    assert raised(policy, outcomes=["ok", "fail"]) == [expected]


def test_a_predicate_that_looks_for_more_than_an_error_has_is_no_obstacle() -> None:
    def overloaded(error: Any) -> bool:
        return bool(error.status == 503)

    assert raised(Retry(2, on=overloaded), outcomes=["fail"]) == ["AttributeError"]  # as it would in real


def test_an_attribute_named_on_may_mean_something_else() -> None:
    class Weekly(Policy):
        def __init__(self, on: str) -> None:
            self.on = on

        async def run(self, call: Any, rt: Any) -> Any:
            return await call()

    assert raised(Weekly("monday")) == ["ConnectionError"]


def test_several_kinds_of_failure_can_be_explored_at_once() -> None:
    assert ways(Retry(2, SECOND), outcomes=["ok", ConnectionError, KeyError, Odd]) == [
        "ok -> answer of operation after 0",
        "ConnectionError ok -> answer of operation after 1",
        "ConnectionError ConnectionError -> ConnectionError after 1",
        "ConnectionError KeyError -> KeyError after 1",
        "ConnectionError Odd -> Odd after 1",
        "KeyError -> KeyError after 0",
        "Odd -> Odd after 0",
    ]


# --- jitter ---


def waits(path: Path) -> list[float]:
    return [event.delay for event in path.events if isinstance(event, Waiting)]


def test_a_jittered_wait_takes_its_longest_where_nothing_races_with_it() -> None:
    found = explore(Retry(3, Exponential(1, jitter="full")), outcomes=["ok", "fail"]).paths
    assert [waits(path) for path in found] == [[], [1], [1, 2], [1, 2]]
    assert all(choice.kind == "operation" for path in found for choice in path.choices)


def test_where_a_timeout_cuts_a_wait_its_shortest_is_explored_too() -> None:
    found = explore(Timeout(2) >> Retry(2, Exponential(4, jitter="equal")), outcomes=["fail", "ok"]).paths
    assert [(taken(path), waits(path), end(path)) for path in found] == [
        (["fail"], [4], "TimeoutExceeded after 2"),
        (["fail", "shortest"], [2], "TimeoutExceeded after 2"),
        (["ok"], [], "answer of operation after 0"),
    ]
    shorter = explore(Timeout(3) >> Retry(2, Exponential(4, jitter="equal")), outcomes=["fail", "ok"]).paths
    assert [(taken(path), waits(path), end(path)) for path in shorter] == [
        (["fail"], [4], "TimeoutExceeded after 3"),
        (["fail", "shortest", "fail"], [2], "ConnectionError after 2"),
        (["fail", "shortest", "ok"], [2], "answer of operation after 2"),
        (["ok"], [], "answer of operation after 0"),
    ]


def test_so_it_is_on_a_loop() -> None:
    stack = Timeout(2) >> Retry(2, Exponential(4, jitter="equal"))
    assert ways(OnALoop() >> stack, outcomes=["fail"]) == ways(stack, outcomes=["fail"])


def test_where_time_ends_the_attempts_the_shortest_waits_are_explored_too() -> None:
    found = explore(Retry(4, Exponential(2, 1, jitter="equal"), max_elapsed=3), outcomes=["fail"]).paths
    assert [waits(path) for path in found] == [[2, 1], [1, 2], [1, 1, 1]]
    reasons = [getattr(path.events[-1], "reason", "") for path in found]
    assert reasons == ["no time left", "no time left", "no attempt left"]


# --- the real code agrees ---

PROPERTY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@settings(PROPERTY, max_examples=60)
@given(text=stacks((*EXACT, *ROUNDED), hedges=True))
def test_a_real_run_in_the_same_world_goes_the_explored_way(text: str) -> None:
    paths = _all_paths(text)
    with pytest.MonkeyPatch.context() as patch:
        for path in paths[:: 1 + len(paths) // 30]:
            assert_same(path, follow(text, path, patch))


@settings(PROPERTY, max_examples=20)
@given(text=stacks((1.0, 2.0), sagas=False, cut=(3.375,), most=2))  # in threads, nobody knows who wins a tie
def test_so_does_a_plain_function(text: str) -> None:
    paths = [path for path in _all_paths(text) if path.ends and text.count("Timeout(") < 2]
    with pytest.MonkeyPatch.context() as patch:
        for path in paths[:: 1 + len(paths) // 8]:
            assert_same(path, follow(text, path, patch, plain=True))


def _all_paths(text: str) -> list[Path]:
    try:
        return explored(text).paths
    except errors.TooManyPaths:
        return []


class OnALoop(Policy):
    """Needs a real event loop, and does nothing else."""

    async def run(self, call: Any, rt: Any) -> Any:
        await asyncio.sleep(0)
        return await call()


def told(path: Path) -> tuple[Any, ...]:
    trace = [fingerprint(item) if isinstance(item, Event) else item for item in path.trace]
    return trace, path.result, type(path.error), str(path.error), round(path.elapsed, 9), path.degraded


@settings(PROPERTY, max_examples=30)
@given(text=stacks((*EXACT, *ROUNDED)))
def test_a_policy_that_needs_a_loop_changes_no_path(text: str) -> None:
    paths = _all_paths(text)
    if 0 < len(paths) <= 100:
        on_loop = explored(text, OnALoop()).paths
        assert [told(path) for path in on_loop] == [told(path) for path in paths]


@settings(PROPERTY, max_examples=40)
@given(text=stacks(), fail=st.floats(0, 0.5), hang=st.floats(0, 0.5))
def test_the_paths_partition_everything_that_can_happen(text: str, fail: float, hang: float) -> None:
    paths = _all_paths(text)
    situations = {
        choice.subject: {option: 1 / len(choice.options) for option in choice.options}
        for path in paths
        for choice in path.choices
        if choice.kind == "situation"
    }
    if paths:
        total = sum(path.probability(fail, hang, situations=situations) for path in paths)
        assert total == pytest.approx(1)
        assert len({path.choices for path in paths}) == len(paths)


# --- foreign policies ---


class Mine(Policy):
    """A policy made of one function."""

    def __init__(self, body: Callable[..., Any]) -> None:
        self.body = body

    async def run(self, call: Any, rt: Any) -> Any:
        return await self.body(call, rt)


def test_a_policy_may_wait_with_asyncio() -> None:
    async def patient(call: Any, rt: Any) -> Any:
        await asyncio.sleep(2)
        async with asyncio.timeout(5):
            return await call()

    assert ways(Mine(patient)) == [
        "ok -> answer of operation after 2",
        "fail -> ConnectionError after 2",
        "hang -> TimeoutError after 7",
    ]


def test_a_policy_without_situations_has_no_state() -> None:
    async def tells(call: Any, rt: Any) -> Any:
        return rt.state

    assert ways(Mine(tells)) == [" -> None after 0"]


def test_a_policy_may_start_tasks() -> None:
    async def twice(call: Any, rt: Any) -> Any:
        first, second = asyncio.create_task(call()), asyncio.create_task(call())
        done, _ = await asyncio.wait([first, second], return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()  # the other one is left behind

    assert ways(Mine(twice), outcomes=["ok", "hang"]) == [
        "ok ok -> answer of operation after 0",
        "ok hang -> answer of operation after 0",
        "hang ok -> answer of operation after 0",
        "hang hang -> never",
    ]


def test_a_task_that_will_not_end_does_not_hold_up_the_explorer() -> None:
    async def leaves_a_stubborn_task(call: Any, rt: Any) -> Any:
        async def stubborn() -> None:
            while True:
                try:
                    await asyncio.get_running_loop().create_future()
                except asyncio.CancelledError:
                    continue

        async def failing() -> None:
            try:
                await asyncio.sleep(9)
            finally:
                raise ValueError("while it was cancelled")

        tasks.extend([asyncio.create_task(stubborn()), asyncio.create_task(failing())])
        await asyncio.sleep(1)
        return await call()

    tasks: list[asyncio.Task[None]] = []
    assert ways(Mine(leaves_a_stubborn_task), outcomes=["ok"]) == ["ok -> answer of operation after 1"]


def test_a_task_that_nobody_waits_for_starts_all_the_same() -> None:
    async def leaves_a_task(call: Any, rt: Any) -> Any:
        tasks.append(asyncio.create_task(call()))
        return "later"

    tasks: list[asyncio.Task[Any]] = []
    assert ways(Mine(leaves_a_task), outcomes=["ok", "fail"]) == [" -> later after 0"]


def test_a_policy_with_a_state_of_its_own_is_not_deterministic() -> None:
    class Forgets(Policy):
        calls = 0

        async def run(self, call: Any, rt: Any) -> Any:
            self.calls += 1
            if self.calls % 2:
                await rt.decide("lucky", (True, False), bool)
            return await call()

    with pytest.raises(errors.NotDeterministic, match=r"a replay asked 'operation' .*keep it in situations"):
        explore(Forgets())
    with pytest.raises(errors.NotDeterministic, match="a replay asked 'operation'"):
        explore(Fallback(spare) >> Forgets())  # a layer that handles every error does not hide it


def _counting(*bodies: Callable[..., Any]) -> Policy:
    """Does another thing in each run."""
    runs = iter(range(99))

    async def body(call: Any, rt: Any) -> Any:
        return await bodies[next(runs) % len(bodies)](call, rt)

    return Mine(body)


async def _plainly(call: Any, rt: Any) -> Any:
    return await call()


async def _reporting(call: Any, rt: Any) -> Any:
    from failwell.events import CacheMiss

    rt.emit(CacheMiss)
    return await call()


async def _at_once(call: Any, rt: Any) -> Any:
    return 7


async def _late(call: Any, rt: Any) -> Any:
    await rt.sleep(1)
    return await _reporting(call, rt)


async def _twice(call: Any, rt: Any) -> Any:
    await rt.decide("first", (True, False), bool)
    return await _reporting(call, rt)


@pytest.mark.parametrize(
    ("bodies", "message"),
    [
        ((_reporting, _plainly), "a replay asked 'operation' .* where the run before it had CacheMiss"),
        ((_plainly, _at_once), "a replay ended where"),
        ((_reporting, _late), "a replay reported CacheMiss where the run before it had CacheMiss"),
        ((_reporting, _at_once), "a replay ended where the run before it had CacheMiss"),
    ],
)
def test_a_run_that_leaves_the_way_of_the_run_before_is_refused(bodies: Any, message: str) -> None:
    with pytest.raises(errors.NotDeterministic, match=message):
        explore(_counting(*bodies))


def test_a_policy_that_draws_lots_draws_the_same_on_each_path() -> None:
    async def impatient(call: Any, rt: Any) -> Any:
        await rt.sleep(random.random())
        return await _reporting(call, rt)

    random.seed(5)
    expected = random.random()
    random.seed(5)
    once, again = explore(Mine(impatient)), explore(Mine(impatient))
    assert random.random() == expected  # the caller's own chance is left alone
    assert len({path.elapsed for path in (*once.paths, *again.paths) if path.ends}) == 1


def test_what_is_no_exception_ends_the_exploration() -> None:
    async def interrupted(call: Any, rt: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        explore(Mine(interrupted))


def test_a_policy_that_calls_a_missing_inner_layer_is_told_so() -> None:
    from failwell.policy import Operation

    class Hollow(Operation):
        @property
        def is_async(self) -> bool:
            return True

        async def run(self, call: Any, rt: Any) -> Any:
            return await call()

    [path] = explore(Hollow()).paths
    assert str(path.error) == "an operation has no inner layer to call"


def test_a_shield_holds_back_a_timer_until_it_is_done() -> None:
    async def tidy(call: Any, rt: Any) -> Any:
        async def cleanup() -> None:
            await rt.sleep(2)

        try:
            return await call()
        finally:
            await rt.shielded(cleanup)

    for around in (Mine(tidy), OnALoop() >> Mine(tidy)):
        assert ways(Timeout(1) >> around) == [
            "ok -> TimeoutExceeded after 2",
            "fail -> TimeoutExceeded after 2",
            "hang -> TimeoutExceeded after 3",
        ]
        both = explore(Stack(Timeout(2), Timeout(1), around)).paths
        assert [[event.seconds for event in path.events] for path in both] == [[2], [2], [2]]  # type: ignore[attr-defined]
        assert ways(Timeout(9) >> around, outcomes=["ok"]) == ["ok -> answer of operation after 2"]

    async def stuck(call: Any, rt: Any) -> Any:
        async def cleanup() -> None:
            await rt.sleep(2)
            await call()

        return await rt.shielded(cleanup)

    assert ways(Timeout(1) >> Mine(stuck), outcomes=["hang"]) == ["hang -> never"]


# --- the explorer keeps to itself ---


def test_live_state_is_never_touched() -> None:
    cache = Cache(60)
    with virtual.clock():
        assert cache.call(len, "abc") == 3
        explore(cache(len))
        assert cache.live_state().entries
        assert len(cache.live_state().entries) == 1
        assert cache.call(len, "abc") == 3


def test_it_can_run_inside_a_running_loop_and_leaves_it_as_it_was() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        found = len(explore(Retry(2)).paths)
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(1)
        return found

    assert virtual.run(main()) == 5
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_a_deadline_of_the_caller_is_none_of_the_policys() -> None:
    token = deadline.set(-1.0)
    try:
        assert len(explore(Retry(2)).paths) == 5
    finally:
        deadline.reset(token)


def test_listeners_do_not_hear_of_it() -> None:
    from failwell import listening

    heard: list[Event] = []
    with listening(heard.append):
        explore(Retry(2))
    assert heard == []


def test_the_garbage_collector_is_left_as_it_was() -> None:
    assert gc.isenabled()
    explore(Retry(1))
    assert gc.isenabled()
    gc.disable()
    try:
        explore(Retry(1))
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_errors_do_not_keep_frames() -> None:
    for path in explore(Retry(2) >> Fallback(spare) >> Timeout(1)).paths:
        for error in (path.error, *(getattr(event, "error", None) for event in path.events)):
            left = error
            while left is not None:
                assert left.__traceback__ is None
                left = left.__cause__ or left.__context__


# --- many paths ---


def test_more_paths_than_the_limit_are_refused_with_what_multiplies_them() -> None:
    with pytest.raises(errors.TooManyPaths) as caught:
        explore(Retry(5) >> Retry(3) >> Timeout(5), limit=500)
    assert caught.value.seen == 500
    assert caught.value.multiplied_by == {"Retry": 5, "Retry 2": 3, "operation": 3}
    assert str(caught.value).startswith("more than 500 paths; they are multiplied by Retry (x5), ")
    assert len(explore(Retry(2), limit=5)) == 5


def test_progress_is_told_now_and_then() -> None:
    told: list[int] = []
    explore(Retry(5) >> Retry(2) >> Timeout(5), limit=10_000, progress=told.append)
    assert told[:2] == [1000, 2000]


def test_five_hundred_attempts_are_no_problem() -> None:
    found = explore(Retry(500, Fixed(1)), outcomes=["ok", "fail"])
    assert len(found) == 501
    assert found.paths[-1].elapsed == 499
    assert len(found.graph(compact=False).nodes) == 1 + 500 + 499 + 3
    assert len(found.graph().nodes) == 6


# --- what a path says ---


def test_a_path_knows_its_calls_events_and_end() -> None:
    path = explore(Retry(2, SECOND) >> Fallback(spare), outcomes=["fail"]).paths[0]
    assert path.calls == {"operation": 2, "spare": 2}
    assert [type(event).__name__ for event in path.events] == [
        "Attempt",
        "FellBack",
        "Waiting",
        "Attempt",
        "FellBack",
        "GaveUp",
    ]
    assert [event.time for event in path.events] == [0, 0, 0, 1, 1, 1]
    assert path.ends
    assert not explore(Retry(1), outcomes=["hang"]).paths[0].ends
    assert repr(path) == f"<Path {path}>"


def test_answers_and_choices_compare_by_what_they_say() -> None:
    assert Answer("a") == Answer("a") != Answer("b")
    assert len({Answer("a"), Answer("a"), "a"}) == 2
    assert repr(Answer("a")) == "answer of a"
    one, same, other = (Choice("operation", "a", option, ("ok", "fail"), "") for option in ("ok", "ok", "fail"))
    assert one == same != other
    assert one != "ok"
    assert len({one, same, other}) == 2


@pytest.mark.parametrize(
    ("outcomes", "fail", "hang", "expected"),
    [
        (["ok", "fail", "hang"], 0.25, 0.5, [0.25, 0.25, 0.5]),
        (["ok", "fail"], 0.25, 0.5, [0.75, 0.25]),
        (["ok", "hang"], 0.25, 0.5, [0.5, 0.5]),
        (["ok", KeyError, ValueError], 0.5, 0.0, [0.5, 0.25, 0.25]),
        (["ok"], 0.25, 0.5, [1]),
        (["fail", "hang"], 0.2, 0.6, [0.25, 0.75]),
        (["fail", "hang"], 0, 0, [0.5, 0.5]),
        (["fail"], 0.25, 0, [1]),
        (["fail"], 0, 0, [1]),
    ],
)
def test_odds_are_those_among_the_explored_outcomes(
    outcomes: Any, fail: float, hang: float, expected: list[float]
) -> None:
    paths = explore(Timeout(1), outcomes=outcomes).paths
    assert [path.probability(fail, hang) for path in paths] == pytest.approx(expected)


def test_odds_may_differ_from_operation_to_operation() -> None:
    paths = explore(Fallback(spare), outcomes=["ok", "fail"]).paths
    odds = [path.probability({"operation": 0.25, "spare": 0.5}, {}) for path in paths]
    assert odds == [0.75, 0.125, 0.125]
    assert [path.probability({"operation": 0.25}) for path in paths] == [0.75, 0.25, 0]


def test_routes_are_equally_likely_a_yes_or_no_is_the_usual_one_and_jitter_has_no_odds() -> None:
    paths = explore(Router({"a": spare, "b": release}, spare), outcomes=["ok"]).paths
    assert [path.probability() for path in paths] == [0.5, 0.5]
    assert [path.probability(situations={"route": {"a": 0.9, "b": 0.1}}) for path in paths] == [0.9, 0.1]
    paths = explore(Retry(2, retry_result=spare), outcomes=["ok"]).paths
    assert [path.probability() for path in paths] == [1, 0, 0]
    paths = explore(Validate(spare, spare), outcomes=["ok"]).paths
    assert [path.probability() for path in paths] == [1, 0, 0]
    half = {"output valid": {"yes": 0.5, "no": 0.5}}
    assert [path.probability(situations=half) for path in paths] == [0.5, 0.5, 0]
    paths = explore(Timeout(3) >> Retry(2, Exponential(4, jitter="equal")), outcomes=["fail", "ok"]).paths
    assert [path.probability(0.5) for path in paths] == [0.5, 0, 0, 0.5]


def test_a_layer_is_in_its_first_situation_unless_odds_say_otherwise() -> None:
    paths = explore(Cache(60), outcomes=["ok"]).paths
    assert [path.probability() for path in paths] == [1, 0]
    assert [path.probability(situations={"Cache": {"miss": 0.25, "fresh": 0.75}}) for path in paths] == [0.25, 0.75]
    assert [path.probability(situations={"Cache": {"fresh": 1}}) for path in paths] == [0, 1]


def test_steps_of_a_saga_may_have_a_retry_of_their_own() -> None:
    saga = Saga([Step(reserve, release, retry=Retry(2, backoff.Fixed(1)))])
    assert ways(saga, outcomes=["ok", "fail"])[1:] == [
        f"fail ok -> {{'reserve': {Answer('reserve')}}} after 1",
        "fail fail -> SagaError after 1",
    ]


@pytest.mark.parametrize("after", [1, 7, 30])
def test_an_interrupt_ends_the_exploration(after: int) -> None:
    steps = iter(range(after))

    class Interrupted(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            if next(steps, None) is None:
                raise KeyboardInterrupt
            return await call()

    with pytest.raises(KeyboardInterrupt):
        explore(Retry(3, backoff=backoff.Fixed(1)) >> Interrupted() >> Retry(4, backoff=backoff.Fixed(1)))


def test_changed_copies_share_their_state_as_they_do_in_real_life() -> None:
    breaker = CircuitBreaker(1, 60)
    other = breaker.replace(failure_threshold=2)(spare)
    told = [str(path) for path in explore(Fallback(other) >> breaker, outcomes=("ok", "fail")).paths]
    assert told == [str(path) for path in explore(Fallback(breaker(spare)) >> breaker, outcomes=("ok", "fail")).paths]
    assert sum("CircuitBreaker?" in path for path in told) == len(told)
    assert all(path.count("CircuitBreaker?") == 1 for path in told)


def test_an_error_that_wants_more_than_a_message_is_that_error_all_the_same() -> None:
    class Refused(Exception):
        def __init__(self, response: Any) -> None:
            super().__init__(response.status_code)

    found = explore(Retry(2, Fixed(1), on=Refused), outcomes=("fail",))
    assert [type(path.error) for path in found.paths] == [Refused]
    assert found.paths[0].calls == {"operation": 2}


def test_explorations_that_overlap_leave_chance_as_it_was() -> None:
    before = random.getstate()
    inside, go_on = threading.Event(), threading.Event()

    class Waits(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            inside.set()
            go_on.wait(10)
            return await call()

    other = threading.Thread(target=lambda: explore(Waits(), outcomes=("ok",)))
    other.start()
    assert inside.wait(10)
    explore(Retry(2), outcomes=("ok",), progress=lambda _: None)
    overlapping = threading.Thread(target=lambda: explore(Waits(), outcomes=("ok",)))
    overlapping.start()
    go_on.set()
    other.join()
    overlapping.join()
    assert random.getstate() == before


def test_a_policy_that_waits_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[explore.__module__], "_MOST_STEPS", 100)

    class Forever(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            while True:
                await rt.sleep(1)

    with pytest.raises(TypeError, match="it goes on without end: it waits again and again and calls nothing"):
        explore(Forever())
