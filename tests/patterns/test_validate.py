from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import Cache, Fallback, Retry, Timeout, Validate, backoff, errors, explore
from failwell.events import Rejected
from tests.kernel.world import World, kinds

ONE = backoff.Fixed(1.0)
FALSY: list[Any] = [False, None, 0, "", [], {}]


# --- both worlds ---


def test_what_is_valid_passes_and_nothing_is_reported(world: World) -> None:
    seen: list[Any] = []
    operation = world.operation("answer")
    policy = Validate(
        lambda *args, **kwargs: seen.append((args, kwargs)) or True, lambda answer: seen.append(answer) or 1
    )
    outcome = world.run(policy, operation, 1, key=2)
    assert (outcome.unwrap(), outcome.events) == ("answer", ())
    assert seen == [((1,), {"key": 2}), "answer"]
    assert operation.log.calls == [((1,), {"key": 2})]


@given(prompt=st.text(max_size=6), answer=st.text(max_size=6), limit=st.integers(0, 6), asynchronous=st.booleans())
def test_only_valid_calls_are_made_and_only_valid_answers_come_back(
    prompt: str, answer: str, limit: int, asynchronous: bool
) -> None:
    world = World(asynchronous)
    operation = world.operation(answer)

    def is_short(text: str) -> bool:
        return len(text) <= limit

    outcome = world.run(Validate(is_short, is_short), operation, prompt)
    assert bool(operation.log.calls) is is_short(prompt)
    assert outcome.ok is (is_short(prompt) and is_short(answer))
    if not outcome.ok:
        assert isinstance(outcome.error, errors.ValidationFailed)
        assert outcome.error.what == ("output" if is_short(prompt) else "input")


@pytest.mark.parametrize("falsy", FALSY)
def test_anything_falsy_rejects_the_input_and_the_operation_is_not_called(world: World, falsy: Any) -> None:
    operation = world.operation("answer", name="fetch")
    outcome = world.run(Validate(world.operation(falsy, name="is_short")), operation, 1)
    assert isinstance(outcome.error, errors.ValidationFailed)
    assert str(outcome.error) == "the input of fetch is not valid: is_short rejected it"
    assert (outcome.error.operation, outcome.error.what, outcome.error.__cause__) == ("fetch", "input", None)
    assert operation.log.calls == []
    [event] = outcome.events
    assert isinstance(event, Rejected)
    assert (event.reason, event.retry_after, event.layer) == ("input not valid", None, "Validate")


@pytest.mark.parametrize("falsy", FALSY)
def test_anything_falsy_rejects_the_output(world: World, falsy: Any) -> None:
    outcome = world.run(
        Validate(output=world.operation(falsy, name="is_polite")), world.operation("answer", name="ask")
    )
    assert isinstance(outcome.error, errors.ValidationFailed)
    assert str(outcome.error) == "the output of ask is not valid: is_polite rejected it"
    assert (outcome.error.what, outcome.error.retry_after, outcome.value) == ("output", None, None)
    assert [event.reason for event in outcome.events if isinstance(event, Rejected)] == ["output not valid"]


@pytest.mark.parametrize(
    "error", [ValueError("42 is no price"), TypeError("42 is no price"), UnicodeError("42 is no price")]
)
def test_a_validator_that_raises_a_value_or_type_error_rejects_with_that_as_the_cause(
    world: World, error: Exception
) -> None:
    operation = world.operation("answer", name="fetch")
    for policy, what, calls in (
        (Validate(world.operation(error)), "input", 0),
        (Validate(output=world.operation(error)), "output", 1),
    ):
        outcome = world.run(policy, operation)
        assert isinstance(outcome.error, errors.ValidationFailed)
        assert outcome.error.__cause__ is error
        assert str(outcome.error) == f"the {what} of fetch is not valid: 42 is no price"
        assert kinds(outcome) == ["Rejected"]
        assert len(operation.log.calls) == calls


@pytest.mark.parametrize("error", [ConnectionError("no schema"), AssertionError("no"), KeyError("no")])
def test_any_other_error_of_a_validator_is_raised_as_it_is(world: World, error: Exception) -> None:
    for policy in (Validate(world.operation(error)), Validate(output=world.operation(error))):
        outcome = world.run(policy, world.operation("answer"))
        assert outcome.error is error
        assert outcome.events == ()


@pytest.mark.parametrize("error", [ValueError("own"), errors.ValidationFailed("inner")])
def test_an_error_of_the_operations_own_is_not_relabelled(world: World, error: Exception) -> None:
    outcome = world.run(Validate(lambda: True, lambda _: True), world.operation(error))
    assert outcome.error is error
    assert outcome.events == ()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_passes(world: World, error: type[BaseException]) -> None:
    for policy in (Validate(world.operation(error)), Validate(output=world.operation(error))):
        with pytest.raises(error):
            world.run(policy, world.operation("answer"))
    with pytest.raises(error):
        world.run(Validate(output=bool), world.operation(error))


def test_validators_get_awaited_under_an_async_call_and_refused_under_a_plain_one() -> None:
    on_loop, plain = World(True), World(False)
    for make in (lambda check: Validate(check), lambda check: Validate(output=check)):
        assert isinstance(
            on_loop.run(make(on_loop.operation(False)), on_loop.operation(1)).error, errors.ValidationFailed
        )
        assert on_loop.run(make(on_loop.operation(True)), on_loop.operation(1)).unwrap() == 1
        outcome = plain.run(make(on_loop.operation(True, name="check")), plain.operation(1))
        assert isinstance(outcome.error, TypeError)
        assert "check" in str(outcome.error)
        assert outcome.events == (), "a misuse is no rejection"


# --- among other patterns ---


def test_a_degraded_answer_stays_marked(world: World) -> None:
    fallback = Fallback(Fallback.value("poor"))
    for check in (Validate(output=bool), Validate(bool), Validate(bool, bool)):
        args = (1,) if check.input else ()
        assert world.run(check >> fallback, world.operation(OSError("down")), *args).degraded is True
        assert world.run(check >> fallback, world.operation("real"), *args).degraded is False
    asked = world.operation(OSError("down"), "real")
    cached = (Cache(60) >> Validate(output=bool) >> fallback)(asked)
    assert [world.do(cached) for _ in range(3)] == ["poor", "real", "real"], "a degraded answer is not stored"


def test_the_mark_of_an_answer_that_was_rejected_does_not_stay(world: World) -> None:
    again = Retry(2, ONE, on=errors.ValidationFailed)
    policy = again >> Validate(output=lambda answer: answer == "real") >> Fallback(Fallback.value("poor"))
    outcome = world.run(policy, world.operation(OSError("down"), "real"))
    assert (outcome.value, outcome.degraded, outcome.elapsed) == ("real", False, 1)


def test_a_rejection_is_tried_again_only_where_it_is_asked_for(world: World) -> None:
    operation = world.operation("", "", "text")
    assert isinstance(world.run(Retry(3, ONE) >> Validate(output=bool), operation).error, errors.ValidationFailed)
    assert len(operation.log.calls) == 1
    outcome = world.run(Retry(3, ONE, on=errors.ValidationFailed) >> Validate(output=bool), operation)
    assert outcome.unwrap() == "text"


def test_a_fallback_answers_for_what_is_not_valid(world: World) -> None:
    outcome = world.run(Fallback(Fallback.value("?")) >> Validate(output=bool), world.operation(""))
    assert (outcome.value, outcome.degraded, kinds(outcome)) == ("?", True, ["Rejected", "FellBack"])


def test_each_rejection_is_a_new_error(world: World) -> None:
    guarded = Validate(output=bool)(world.operation(""))
    found: list[Exception] = []
    for _ in range(2):
        try:
            world.do(guarded)
        except errors.ValidationFailed as error:
            found.append(error)
    assert found[0] is not found[1]


# --- explored ---


def never(*_: Any) -> Any:
    raise AssertionError("the explorer must not run it")


def test_exploring_tries_yes_first_and_runs_no_validator() -> None:
    assert [str(path) for path in explore(Validate(never, never), "ask", outcomes=("ok", "fail")).paths] == [
        "input valid? yes -> ask ok -> output valid? yes -> return after 0 s",
        "input valid? yes -> ask ok -> output valid? no -> raise ValidationFailed after 0 s",
        "input valid? yes -> ask fails -> raise ConnectionError after 0 s",
        "input valid? no -> raise ValidationFailed after 0 s",
    ]


def test_what_is_asked_is_valid_unless_odds_say_otherwise() -> None:
    found = explore(Validate(never, never), "ask", outcomes=("ok", "fail"))
    assert found.report(fail=0.1).success == pytest.approx(0.9)
    given = {"input valid": {"yes": 0.8, "no": 0.2}, "output valid": {"yes": 0.5, "no": 0.5}}
    report = found.report(fail=0.1, situations=given)
    assert report.success == pytest.approx(0.8 * 0.9 * 0.5)
    assert report.calls == pytest.approx({"ask": 0.8})


def test_a_degraded_answer_stays_marked_on_every_path() -> None:
    policy = Validate(output=never) >> Fallback(never)
    for path in explore(policy, outcomes=("ok", "fail")).paths:
        fell_back = any(choice.subject == "never" and choice.option == "ok" for choice in path.choices)
        assert path.degraded is (fell_back and path.error is None)


# --- arguments ---


def is_short(text: str) -> bool:
    return len(text) < 9


def test_a_validation_says_what_it_is() -> None:
    assert repr(Validate(is_short)) == "Validate(is_short)"
    assert repr(Validate(output=is_short, name="polite")) == "Validate(output=is_short, name='polite')"
    assert Validate(is_short).label == "Validate"
    assert Validate(is_short).replace(name="polite").label == "Validate polite"
    assert Validate(is_short).describe() == {"input": is_short, "output": None, "name": None}
    heard = World(False).run(Validate(is_short, name="polite") >> Timeout(3), World(False).operation(1), "x" * 9)
    assert [event.layer for event in heard.events] == ["Validate polite"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Validate needs a validator"),
        ({"input": 7}, "input must be callable, got 7"),
        ({"output": "x"}, "output must be callable, got 'x'"),
        ({"input": is_short, "name": 7}, "name must be a text, got 7"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(arguments: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Validate(**arguments)
