"""One path, by the answers that lead along it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from failwell import Cache, Fallback, Retry, Saga, Timeout, backoff, explore
from failwell.errors import TooManyPaths
from failwell.events import GaveUp
from failwell.flow import Diverged, Path, follow
from tests.flow.stacks import built, stacks


def _never_run(name: str) -> Any:
    def function(*args: Any) -> None:
        raise AssertionError(f"{name} was executed")

    function.__name__ = function.__qualname__ = name
    return function


STACK = Retry(3, backoff.Fixed(1)) >> Timeout(5)


@settings(max_examples=60)
@given(stacks())
def test_each_explored_path_is_the_one_that_its_choices_lead_along(text: str) -> None:
    stack = built(text, _never_run)
    try:
        paths = explore(stack, limit=1_500).paths
    except TooManyPaths:
        return
    for path in paths[:40]:
        found = follow(stack, *map(repr, path.choices))
        assert (str(found), found.ended, found.waits) == (str(path), path.ended, path.waits)
        assert found.choices == path.choices
        assert list(map(type, found.events)) == list(map(type, path.events))


def test_questions_with_one_answer_may_be_left_out() -> None:
    path = follow(Fallback(Fallback.value(0)), "load: fail", operation="load")
    assert path.ended == "degraded answer of 0" or path.degraded


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (("operation: ok", "operation: ok"), "the path ends (answer of operation) before it comes to 'operation: ok'"),
        (("operation: fail",), "the policy asks for 'operation' (ok, fail, hang) where no answer is left; "),
        (("backup: ok",), "where the next answer is 'backup: ok'; until then: nothing"),
        (("operation: fail", "operation: explodes"), "the next answer is 'operation: explodes'; until then: operation"),
        ((), "no answer is left"),
    ],
)
def test_a_policy_that_asks_something_else_is_told_apart(answers: tuple[str, ...], said: str) -> None:
    with pytest.raises(Diverged) as caught:
        follow(STACK, *answers)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_changes_a_stack_diverges() -> None:
    answers = [f"operation: {outcome}" for outcome in ("fail", "fail", "ok")]
    assert follow(STACK, *answers).calls == {"operation": 3}
    with pytest.raises(Diverged):
        follow(Retry(2, backoff.Fixed(1)) >> Timeout(5), *answers)


def test_kinds_of_failure_are_told_by_name() -> None:
    path = follow(STACK, "operation: ValueError", outcomes=("ok", ValueError, ConnectionError))
    assert (path.ended, path.calls) == ("raise ValueError", {"operation": 1})


def test_situations_are_answers_too() -> None:
    cache = Cache(60, stale_if_error=60)
    path = follow(cache, "Cache: stale", "operation: fail")
    assert path.degraded
    assert follow(cache, "Cache: fresh").calls == {}


def test_sagas_and_decorated_functions_are_followed() -> None:
    def reserve(state: dict[str, object]) -> None: ...
    def release(state: dict[str, object]) -> None: ...
    def charge(state: dict[str, object]) -> None: ...

    path = follow(Saga([(reserve, release), (charge, None)]), "reserve: ok", "charge: fail", "release: ok")
    assert path.ended == "raise SagaError"

    @STACK
    async def load() -> None:
        raise AssertionError("it never runs")

    assert follow(load, "load: ok").ended == "answer of load"


def test_a_path_says_how_it_ended_and_what_it_waited() -> None:
    path: Path = follow(STACK, "operation: fail", "operation: hang", "operation: fail")
    assert path.waits == (1.0, 1.0)
    assert path.ended == "raise ConnectionError"
    assert any(isinstance(event, GaveUp) for event in path.events)
    assert follow(Retry(2, backoff.Fixed(1)), "operation: hang").ended == "never ends"
