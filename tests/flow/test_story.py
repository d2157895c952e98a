from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from failwell import Cache, Fallback, Policy, Retry, Router, Saga, Timeout, Validate, errors, explore
from failwell.backoff import Exponential, Fixed
from failwell.events import CacheHit, CacheMiss, FellBack, Rejected, StoreFailed
from failwell.flow.story import seconds, steps, told
from tests.flow.stacks import explored, stacks


def stories(policy: Any, *outcomes: Any) -> list[str]:
    return [str(path) for path in explore(policy, outcomes=outcomes or ("ok", "fail", "hang")).paths]


def spare(*args: Any) -> None: ...
def reserve(state: Any) -> None: ...
def release(state: Any) -> None: ...
def charge(state: Any) -> None: ...


def test_a_retry() -> None:
    assert stories(Retry(2, Fixed(1.5)) >> Timeout(5)) == [
        "operation (attempt 1) ok -> return after 0 s",
        "operation (attempt 1) fails -> wait 1.5 s -> operation (attempt 2) ok -> return after 1.5 s",
        "operation (attempt 1) fails -> wait 1.5 s -> operation (attempt 2) fails -> give up (no attempt left)"
        " -> raise ConnectionError after 1.5 s",
        "operation (attempt 1) fails -> wait 1.5 s -> operation (attempt 2) hangs -> timed out (cancelled after 5 s)"
        " -> give up (no attempt left) -> raise TimeoutExceeded after 6.5 s",
        "operation (attempt 1) hangs -> timed out (cancelled after 5 s) -> wait 1.5 s -> operation (attempt 2) ok"
        " -> return after 6.5 s",
        "operation (attempt 1) hangs -> timed out (cancelled after 5 s) -> wait 1.5 s -> operation (attempt 2) fails"
        " -> give up (no attempt left) -> raise ConnectionError after 6.5 s",
        "operation (attempt 1) hangs -> timed out (cancelled after 5 s) -> wait 1.5 s -> operation (attempt 2) hangs"
        " -> timed out (cancelled after 5 s) -> give up (no attempt left) -> raise TimeoutExceeded after 11.5 s",
    ]
    assert stories(Retry(2), "hang", KeyError) == [
        "operation (attempt 1) hangs -> never ends",
        "operation (attempt 1) raises KeyError -> raise KeyError after 0 s",
    ]


def test_a_wait_that_a_timeout_cuts_short() -> None:
    assert stories(Timeout(3) >> Retry(2, Exponential(4, jitter="equal")), "fail") == [
        "operation (attempt 1) -> wait 2–4 s -> timed out (cancelled after 3 s) -> raise TimeoutExceeded after 3 s",
        "operation (attempt 1) -> wait 2 s of 2–4 s -> operation (attempt 2) -> give up (no attempt left)"
        " -> raise ConnectionError after 2 s",
    ]
    clipped = Retry(2, Exponential(4, jitter="equal"), max_elapsed=3)
    assert stories(clipped, "fail")[0].startswith("operation (attempt 1) -> wait 3 s of 2–4 s -> operation (attempt 2)")


def test_nested_retries() -> None:
    assert stories(Retry(2, Fixed(1)) >> Retry(1), "fail") == [
        "Retry: try (attempt 1) -> operation (attempt 1) -> give up (no attempt left) -> wait 1 s"
        " -> Retry: try (attempt 2) -> operation (attempt 1) -> give up (no attempt left) -> give up (no attempt left)"
        " -> raise ConnectionError after 1 s"
    ]


def test_a_fallback() -> None:
    assert stories(Fallback(spare, Fallback.value(3)), "ok", "fail") == [
        "operation ok -> return after 0 s",
        "operation fails -> spare (fallback 1) ok -> return (degraded answer) after 0 s",
        "operation fails -> spare (fallback 1) fails -> value 3 (fallback 2) -> return (degraded answer) after 0 s",
    ]


def test_a_cache() -> None:
    assert stories(Cache(60, stale_if_error=60), "ok", "fail") == [
        "Cache? miss -> operation ok -> store the answer (for 60 s) -> return after 0 s",
        "Cache? miss -> operation fails -> raise ConnectionError after 0 s",
        "Cache? fresh -> return after 0 s",
        "Cache? stale -> operation ok -> store the answer (for 60 s) -> return after 0 s",
        "Cache? stale -> operation fails -> serve the stale answer -> return (degraded answer) after 0 s",
    ]
    kept = Cache(60, degraded="store") >> Fallback(Fallback.value(1))
    assert stories(kept, "fail")[0].endswith(
        "store the answer (degraded, for 60 s) -> return (degraded answer) after 0 s"
    )
    assert stories(Cache(0) >> Cache(0), "ok") == [
        "no answer found -> no answer found -> operation -> return after 0 s"
    ]


def test_a_saga() -> None:
    assert stories(Saga([(reserve, release), (charge, None)]), "ok", "fail") == [
        "reserve (step 1) ok -> charge (step 2) ok -> return after 0 s",
        "reserve (step 1) ok -> charge (step 2) fails -> release (undoes reserve) ok -> raise SagaError after 0 s",
        "reserve (step 1) ok -> charge (step 2) fails -> release (undoes reserve) fails"
        " -> compensation failed (reserve still stands) -> raise SagaError after 0 s",
        "reserve (step 1) fails -> raise SagaError after 0 s",
    ]


def test_what_leads_to_no_operation_is_told_by_itself() -> None:
    assert stories(Saga([(Retry(1)(reserve), None)]), "ok") == [
        "start reserve (step 1) -> reserve (attempt 1) -> return after 0 s"
    ]
    decided = Retry(1, retry_result=spare)
    assert stories(decided, "ok") == [
        "operation (attempt 1) -> retry this result? no -> return after 0 s",
        "operation (attempt 1) -> retry this result? yes -> give up (no attempt left) -> return after 0 s",
    ]


def test_a_decision_is_told_once() -> None:
    routes = {"fast": spare, "quality": charge}
    assert stories(Validate(spare) >> Router(routes, spare), "ok") == [
        "input valid? yes -> route? fast -> spare -> return after 0 s",
        "input valid? yes -> route? quality -> charge -> return after 0 s",
        "input valid? no -> raise ValidationFailed after 0 s",
    ]


def test_a_choice_that_was_no_question_is_told() -> None:
    assert stories(Router({"only": spare}, spare), "ok") == ["take route only -> spare -> return after 0 s"]


def test_a_refusal_says_why_and_when_to_come_back() -> None:
    class Refuses(Policy):
        def __init__(self, seconds: float | None = None) -> None:
            self.seconds = seconds

        async def run(self, call: Any, rt: Any) -> Any:
            rt.emit(Rejected, "full", self.seconds)
            raise errors.BulkheadFullError(rt.operation)

    assert stories(Refuses(), "ok") == ["rejected (full) -> raise BulkheadFullError after 0 s"]
    assert stories(Refuses(90), "ok") == ["rejected (full, again in 90 s) -> raise BulkheadFullError after 0 s"]


def test_a_saga_whose_compensation_is_a_stack() -> None:
    saga = Saga([(reserve, Retry(1)(release)), (charge, None)])
    assert stories(saga, "ok", "fail")[1] == (
        "reserve (step 1) ok -> charge (step 2) fails -> undo reserve -> release (attempt 1) ok"
        " -> raise SagaError after 0 s"
    )
    nested = Fallback(Retry(1)(spare))
    assert stories(nested, "ok", "fail")[1].startswith(
        "operation fails -> fall back to spare (fallback 1) -> spare (attempt 1)"
    )


def test_events_that_no_pattern_of_ours_reports_that_way() -> None:
    class Mine(Policy):
        def __init__(self, asks: bool) -> None:
            self.asks = asks

        async def run(self, call: Any, rt: Any) -> Any:
            if self.asks:
                await rt.decide("lucky", ("no", "yes"), spare)
            rt.emit(CacheHit, 3.0)
            rt.emit(CacheMiss)
            rt.emit(StoreFailed, ValueError())
            rt.emit(FellBack, "somewhere", 1, ValueError())
            return await rt.decide("again", ("no", "yes"), spare) if self.asks else 1

    assert stories(Mine(asks=False)) == [
        "answer found -> no answer found -> store failed -> fall back to somewhere (fallback 1) -> return after 0 s"
    ]
    assert stories(Mine(asks=True))[0] == (
        "lucky? no -> no answer found -> store failed -> fall back to somewhere (fallback 1) -> again? no"
        " -> return after 0 s"
    )


def test_seconds_are_written_as_people_write_them() -> None:
    values = (0, 0.5, 1.0, 2.3456, 60, float("inf"))
    assert [seconds(value) for value in values] == ["0 s", "0.5 s", "1 s", "2.346 s", "60 s", "forever"]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(text=stacks())
def test_what_paths_have_in_common_is_told_as_if_they_had_nothing(text: str) -> None:
    try:
        paths = explored(text).paths
    except errors.TooManyPaths:
        return
    assert list(told(paths)) == [steps(path) for path in paths]


@pytest.mark.parametrize("policy", [Retry(2), Cache(9) >> Timeout(1), Saga([(reserve, release)])])
def test_a_step_knows_no_virtual_time(policy: Any) -> None:
    for path in explore(policy).paths:
        for step in steps(path):
            assert hash(step) == hash(step._replace())
            assert all("0x" not in event for event in step.events)
