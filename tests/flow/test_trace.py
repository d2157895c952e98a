from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import (
    Cache,
    CircuitBreaker,
    Fallback,
    Outcome,
    Policy,
    Retry,
    Saga,
    Stack,
    Step,
    Timeout,
    explore,
    virtual,
)
from failwell.backoff import Fixed
from failwell.errors import TooManyPaths, TransientError
from failwell.events import Attempt, CircuitOpened, Event, GaveUp, TimedOut
from failwell.flow import Choice
from failwell.flow.draw.timeline import bars
from failwell.flow.story import placed, steps
from failwell.flow.trace import Recorded, alone, match, timed
from failwell.policy import protected
from tests.flow.stacks import _failure_of, built, explored, stacks

# --- real calls ------------------------------------------------------------------------------------


class World:
    """Operations that end as a script says, unless they hang; after the script they answer."""

    def __init__(self, text: str, script: list[str], takes: float = 0.0, *, plain: bool) -> None:
        self.text = text
        self.script: Iterator[str] = iter(script)
        self.takes = takes
        self.plain = plain
        self.calls: dict[str, int] = {}

    def function(self, name: str) -> Any:
        def says(*args: Any) -> bool:
            return next(self.script, "ok") != "fail"

        async def run(*args: Any) -> str:
            option = self.next(name)
            if option == "hang":
                await asyncio.get_running_loop().create_future()
            await asyncio.sleep(self.takes)
            return self.end(name, option)

        def run_plain(*args: Any) -> str:
            option = self.next(name)
            if option == "hang":
                time.sleep(1e9)
            time.sleep(self.takes)
            return self.end(name, option)

        made: Any = says if name == "is_good" else run_plain if self.plain else run
        made.__name__ = made.__qualname__ = name
        return made

    def next(self, name: str) -> str:
        self.calls[name] = self.calls.get(name, 0) + 1
        return next(self.script, "ok")

    def end(self, name: str, option: str) -> str:
        if option == "fail":
            raise _failure_of(name, self.text)(f"{name} failed")
        return name


def called(
    text: str, script: list[str], seed: int, *, plain: bool, takes: float = 0.0
) -> tuple[Outcome[Any], dict[str, int]] | None:
    """What a real call of a stack reports, and what it called; None if it never ends."""
    world = World(text, script, takes, plain=plain)
    target = protected(built(text, world.function))
    assert target is not None
    layers: Any = target.layers
    stack: Any = Stack(*layers)

    async def main() -> Outcome[Any]:
        return await stack.outcome(target.fn)

    try:
        if plain:
            with virtual.clock(seed=seed):
                return stack.outcome(target.fn), world.calls
        return virtual.run(main(), seed=seed), world.calls
    except virtual.Deadlock:
        return None


def plainly(result: Any) -> Any:
    """What an explored path returns, as a real call of these operations would."""
    if isinstance(result, dict):
        return {key: plainly(value) for key, value in result.items()}
    named = getattr(result, "operation", result)
    return "spare" if named == "value 'spare'" else named


SCRIPTS = st.lists(st.sampled_from(["ok", "fail", "fail", "hang"]), max_size=8)


@given(text=stacks(jitter=False), script=SCRIPTS)
def test_a_real_call_finds_the_path_that_it_took(text: str, script: list[str]) -> None:
    find_again(text, script, plain=False)


@given(text=stacks((1.0, 2.0), jitter=False, sagas=False, cut=(3.375,), most=2), script=SCRIPTS)
def test_so_does_a_plain_one(text: str, script: list[str]) -> None:
    if text.count("Timeout(") < 2:  # in threads, nobody knows who wins a tie
        find_again(text, script, plain=True)


def find_again(text: str, script: list[str], *, plain: bool) -> None:
    ran = called(text, script, 0, plain=plain)
    if ran is None:
        return
    outcome, calls = ran
    try:
        exploration = explored(text)
    except TooManyPaths:
        return
    again = Outcome.from_json(outcome.to_json())
    path = match(exploration, again)
    assert path in exploration.paths
    counted = {name: count for name, count in path.calls.items() if not name.startswith("value")}
    assert counted == calls
    assert path.degraded == outcome.degraded
    if outcome.error is None:
        assert plainly(path.result) == again.value
    else:
        assert type(path.error).__name__ == type(outcome.error).__name__
    for bar in bars(alone(again)):
        assert 0 <= bar.start <= bar.end <= outcome.elapsed + 1e-9
    real = timed(exploration, again)
    assert isinstance(real, Recorded)
    assert [type(item) for item in real.trace] == [type(item) for item in path.trace]
    assert (real.elapsed, real.degraded) == (outcome.elapsed, outcome.degraded)
    assert all(0 <= event.time <= outcome.elapsed + 1e-9 for event in real.events)
    assert [step.title for step in steps(real)] == [step.title for step in steps(path)]


@given(
    text=stacks(jitter=True),
    script=st.lists(st.sampled_from(["ok", "fail", "hang"]), max_size=6),
    seed=st.integers(0, 999),
    takes=st.sampled_from([0.0, 0.01, 0.3, 0.75]),
)
def test_whatever_delays_and_calls_last_the_path_is_the_right_one_or_none(
    text: str, script: list[str], seed: int, takes: float
) -> None:
    ran = called(text, script, seed, plain=False, takes=takes)
    if ran is None:
        return
    outcome, calls = ran
    try:
        path = match(explored(text), Outcome.from_json(outcome.to_json()))
    except TooManyPaths:
        return
    except LookupError:  # explored operations take no time, so time can be up where it never is there
        assert takes
        return
    assert {name: count for name, count in path.calls.items() if not name.startswith("value")} == calls


# --- which of several ------------------------------------------------------------------------------


def call_of(policy: Policy, *script: Any, name: str = "fetch") -> Outcome[Any]:
    """A real call, written down and read back."""
    answers = iter(script)

    def fetch() -> Any:
        answer = next(answers)
        if isinstance(answer, BaseException):
            raise answer
        return answer() if callable(answer) else answer

    fetch.__name__ = fetch.__qualname__ = name
    return recorded(policy, fetch)


def recorded(policy: Any, function: Any) -> Outcome[Any]:
    with virtual.clock():
        return Outcome.from_json(policy.outcome(function).to_json())


DOWN = ConnectionError("down")
TWICE = Retry(2, Fixed(1))


def test_errors_may_be_of_another_type_but_equal_ones_are_preferred() -> None:
    class Flaky(TransientError):
        pass

    path = match(explore(TWICE, "fetch"), call_of(TWICE, Flaky(), "answer"))
    assert str(path).startswith("fetch (attempt 1) fails -> wait 1 s -> fetch (attempt 2) ok")
    several = explore(TWICE, "fetch", outcomes=("ok", "fail", TimeoutError))
    assert "raises TimeoutError -> wait" in str(match(several, call_of(TWICE, TimeoutError("slow"), "answer")))
    assert "fails -> wait" in str(match(several, call_of(TWICE, DOWN, "answer")))


def test_of_paths_that_look_alike_the_usual_one_is_taken() -> None:
    policy = Cache(60, stale_if_error=60)
    path = match(explore(policy, "fetch"), call_of(policy, "answer"))
    assert [choice.option for choice in path.choices] == ["miss", "ok"]


def test_a_degraded_answer_is_not_taken_for_a_real_one() -> None:
    policy = Timeout(5, default="late")
    exploration = explore(policy, "fetch")
    assert match(exploration, call_of(policy, "answer")).degraded is False
    late = call_of(policy, lambda: time.sleep(9))
    assert match(exploration, late).degraded is True
    with pytest.raises(LookupError, match=r"^the outcome ends with a degraded answer at its start, which"):
        match(exploration, Outcome("answer", None, (), 0.0, True))


def test_a_policy_need_not_be_explored_under_the_name_of_the_function() -> None:
    assert len(match(explore(TWICE), call_of(TWICE, DOWN, "answer")).calls) == 1


def test_events_of_functions_that_the_call_used_are_passed_over() -> None:
    @Retry(3, Fixed(0.1))
    def token() -> str:
        if next(attempts) < 2:
            raise DOWN
        return "token"

    attempts = iter(range(9))
    outcome = call_of(TWICE, token)
    assert {event.operation for event in outcome.events} == {"fetch", "token"}
    exploration = explore(TWICE, "fetch")
    assert str(match(exploration, outcome)) == "fetch (attempt 1) ok -> return after 0 s"
    assert timed(exploration, outcome).elapsed == pytest.approx(0.2)


def test_a_breaker_may_open_because_of_the_calls_before() -> None:
    breaker = CircuitBreaker(3)
    for _ in range(2):
        call_of(breaker, DOWN)
    outcome = call_of(breaker, DOWN)
    assert any(isinstance(event, CircuitOpened) for event in outcome.events)
    path = match(explore(breaker, "fetch"), outcome)
    assert [choice.option for choice in path.choices] == ["closed", "fail"]


def test_secrets_in_names_do_not_keep_a_call_from_its_path() -> None:
    def spare() -> str:
        return "spare"

    spare.__name__ = spare.__qualname__ = "GET https://me:pa55@spare.example"
    policy = Fallback(spare)
    outcome = call_of(policy, DOWN)
    assert "pa55" not in outcome.to_json()
    assert match(explore(policy, "fetch"), outcome).degraded


def test_a_path_that_never_ends_is_taken_by_no_call() -> None:
    exploration = explore(Retry(1), "fetch", outcomes=("hang",))
    with pytest.raises(LookupError, match="ends with an answer at its start"):
        match(exploration, Outcome("answer", None))


# --- no path ---------------------------------------------------------------------------------------


def attempt(number: int, layer: str = "Retry") -> Event:
    return Attempt(layer, "fetch", 0.0, None, number)


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (
            Outcome(1, None, (attempt(2),)),
            "the outcome has Attempt 2 by Retry at its start, which this stack never does",
        ),
        (
            Outcome(1, None, (attempt(1), CircuitOpened("CircuitBreaker", "fetch", 0.0, None, 5, 60.0))),
            "the outcome has CircuitOpened by CircuitBreaker after Attempt 1 by Retry, which this stack never does: "
            "was it recorded with another version?",
        ),
        (
            Outcome(1, None, (attempt(1), TimedOut("Timeout", "fetch", 0.0, None, 5.0))),
            "the outcome has TimedOut by Timeout after Attempt 1 by Retry, which this stack never does: was it "
            "recorded with another version, or did an operation take so long that the time was up elsewhere?",
        ),
        (
            Outcome(1, None, (attempt(1), GaveUp("Retry", "fetch", 0.0, None, 1, 0.0, None, GaveUp.NO_TIME_LEFT))),
            "the outcome has GaveUp 1 by Retry after Attempt 1 by Retry, which this stack never does: was it "
            "recorded with another version, or did an operation take so long that the time was up elsewhere?",
        ),
        (
            Outcome(None, ValueError("no"), (attempt(1),)),
            "the outcome ends with ValueError after Attempt 1 by Retry, which this stack never does: was it "
            "recorded with another version, or should ValueError be among the outcomes= to explore?",
        ),
    ],
)
def test_a_call_that_took_no_path_is_told_where_it_left_them(outcome: Outcome[Any], message: str) -> None:
    with pytest.raises(LookupError) as caught:
        match(explore(TWICE, "fetch"), outcome)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("inside", [False, True])
def test_where_layers_keep_a_state_other_calls_may_be_the_reason(inside: bool) -> None:
    policy: Policy = Retry(2, Fixed(1), on=Exception) >> CircuitBreaker(3, 60)
    explored_too: Policy = Fallback(policy(backup)) if inside else policy
    first, second = call_of(policy, DOWN, DOWN), call_of(policy, DOWN)
    assert match(explore(policy, "fetch"), first).error is not None
    assert [type(event).__name__ for event in second.events][1:3] == ["CircuitOpened", "Waiting"]
    with pytest.raises(LookupError) as caught:
        match(explore(explored_too, "fetch"), second)
    assert str(caught.value).startswith("the outcome has ")
    assert str(caught.value).endswith(
        ", which no call does on its own: did other calls leave or change a state of CircuitBreaker, "
        "or was it recorded with another version?"
    )


def test_an_error_that_is_explored_is_found() -> None:
    outcome = call_of(TWICE, ValueError("no such cart"))
    exploration = explore(TWICE, "fetch", outcomes=("ok", "fail", ValueError))
    assert str(match(exploration, outcome)) == "fetch (attempt 1) raises ValueError -> raise ValueError after 0 s"


# --- without the stack -----------------------------------------------------------------------------


def backup() -> str:
    return "spare"


def book(state: object) -> None: ...
def unbook(state: object) -> None: ...


def pay(state: object) -> None:
    raise DOWN


@pytest.mark.parametrize(
    ("policy", "script", "told"),
    [
        (
            TWICE,
            (DOWN, "answer"),
            "fetch (attempt 1) raises ConnectionError -> wait 1 s -> fetch (attempt 2) ok -> return",
        ),
        (TWICE, (ValueError(),), "fetch (attempt 1) raises ValueError -> raise ValueError"),
        (Timeout(5), ("answer",), "operation ok -> return"),
        (
            Timeout(5),
            (lambda: time.sleep(9),),
            "fetch hangs -> timed out (cancelled after 5 s) -> raise TimeoutExceeded",
        ),
        (Cache(60), ("answer",), "no answer found -> fetch ok -> store the answer (for 60 s) -> return"),
        (
            Fallback(backup) >> Retry(1),
            (DOWN,),
            "fetch (attempt 1) raises ConnectionError -> give up (no attempt left) -> backup (fallback 1) ok -> return",
        ),
        (
            Timeout(9) >> Retry(2, Fixed(1), on=Exception) >> CircuitBreaker(1),
            (DOWN,),
            "Retry: try (attempt 1) -> CircuitBreaker",
        ),
    ],
)
def test_events_alone_tell_most_of_it(policy: Policy, script: tuple[Any, ...], told: str) -> None:
    outcome = call_of(policy, *script)
    path = alone(outcome)
    if "CircuitBreaker" in told:
        assert path.calls == {"fetch": 1}  # the second attempt was refused
        return
    assert str(path).startswith(told)


def test_a_saga_is_told_by_its_events() -> None:
    path = alone(recorded(TWICE, Saga([Step(book, unbook), Step(pay)])))
    assert path.calls == {"book": 1, "pay": 1, "undo book": 1}
    assert [choice.option for choice in path.choices] == ["ok", "ConnectionError", "ok"]


def test_each_step_of_a_path_has_its_place() -> None:
    for path in explore(Timeout(9) >> TWICE >> Cache(60), "fetch").paths:
        places = placed(path)
        assert [step for step, _, _ in places] == steps(path)
        assert [at for _, _, at in places] == sorted({at for _, _, at in places})
        for step, lead, at in places[:-1]:
            item = path.trace[at]
            assert step.title == item.subject if isinstance(item, Choice) and item.kind == "operation" else lead == at
        assert places[-1][2] == len(path.trace)
