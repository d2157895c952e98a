from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import pickle
import time
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import Cache, CircuitBreaker, Fallback, Outcome, Retry, Timeout, backoff, errors, explore, virtual
from failwell.events import Event, FeatureDegraded, FeatureRestored, FellBack
from failwell.patterns.degrade import Answers, Degrade, Feature
from failwell.policy import is_async
from tests.flow.stacks import explored, fingerprint, follow
from tests.kernel.world import Hang, World, kinds
from tests.patterns.test_cancellation import cancelled_at
from tests.soak.test_soak import hammer

DOWN = ConnectionError("down")


def ask(world: World, degrade: Degrade, *args: Any, **kwargs: Any) -> Outcome[Answers]:
    outcome: Outcome[Answers] = world.do(lambda: degrade.outcome(*args, **kwargs))
    return outcome


def told(outcome: Outcome[Any]) -> list[tuple[str, str]]:
    return [(event.feature, event.instead) for event in outcome.events if isinstance(event, FeatureDegraded)]


# --- what a call gets together ---

ways = st.lists(
    st.tuples(
        st.integers(-3, 3),
        st.sampled_from(["answers", "fails"]),
        st.sampled_from(["none", "answers", "fails"]),
        st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


@given(features=ways, asynchronous=st.booleans())
def test_every_feature_is_answered_or_stood_in_for_or_missing_and_the_most_important_is_asked_first(
    features: list[tuple[int, str, str, bool]], asynchronous: bool
) -> None:
    world = World(asynchronous)
    asked: list[str] = []

    def operation(name: str, way: str) -> Any:
        def answer() -> str:
            asked.append(name)
            if way == "fails":
                raise ConnectionError(name)
            return name

        return world.operation(answer, name=name)

    made = [
        Feature(f"f{n}", priority, operation(f"f{n}", way), None if spare == "none" else operation(f"s{n}", spare))
        for n, (priority, way, spare, _) in enumerate(features)
    ]
    for feature, (*_, required) in zip(made, features, strict=True):
        feature.required = required
    outcome = ask(world, Degrade(made))

    expected: list[str] = []
    real, stood_in, missing = [], [], []
    failed = None
    in_order = sorted(enumerate(features), key=lambda one: -one[1][0])
    for number, (_, way, spare, required) in in_order:
        expected.append(f"f{number}")
        if way == "answers":
            real.append(f"f{number}")
            continue
        if spare != "none":
            expected.append(f"s{number}")
        if spare == "answers":
            stood_in.append(f"f{number}")
        elif required:
            failed = expected[-1]
            break
        else:
            missing.append(f"f{number}")
    assert asked == expected
    if failed is not None:
        assert isinstance(outcome.error, ConnectionError)
        assert str(outcome.error) == failed
        return
    found = outcome.unwrap()
    assert found.answers == {**{n: n for n in real}, **{n: n.replace("f", "s") for n in stood_in}}
    assert (list(found.degraded), list(found.missing)) == (stood_in, missing)
    assert set(found.errors) == {*stood_in, *missing}
    assert outcome.degraded == bool(stood_in or missing) == (not found.is_complete)


def test_features_and_fallbacks_get_the_arguments_of_the_call(world: World) -> None:
    good, bad, spare = world.operation(1), world.operation(DOWN), world.operation(2)
    degrade = Degrade([Feature("good", 1, good), Feature("bad", 1, bad, spare)])
    assert ask(world, degrade, "ada", page=3).unwrap().answers == {"good": 1, "bad": 2}
    for operation in (good, bad, spare):
        assert operation.log.calls == [(("ada",), {"page": 3})]


def test_features_of_one_priority_are_asked_in_the_order_given(world: World) -> None:
    asked: list[str] = []
    features = [Feature(name, 1, world.of(functools.partial(asked.append, name))) for name in "xaz"]
    ask(world, Degrade(features))
    assert asked == ["x", "a", "z"]


@pytest.mark.parametrize("odd", [None, False, 0, "", [], StopAsyncIteration])
def test_an_answer_is_an_answer_whatever_it_is(world: World, odd: Any) -> None:
    found = ask(world, Degrade([Feature("odd", 1, world.of(lambda: odd))])).unwrap()
    assert found.answers == {"odd": odd}
    assert found.is_complete


def test_the_result_is_a_mapping(world: World) -> None:
    degrade = Degrade([Feature("a", 2, world.operation(1)), Feature("b", 1, world.operation(DOWN))])
    found = ask(world, degrade).unwrap()
    assert (found["a"], found.get("a"), found.get("b"), found.get("b", 0)) == (1, 1, None, 0)
    assert "a" in found
    assert "b" not in found
    with pytest.raises(KeyError):
        found["b"]
    assert (found, dict(found), list(found), len(found)) == ({"a": 1}, {"a": 1}, ["a"], 1)
    again = pickle.loads(pickle.dumps(found))
    assert (again, again.missing, repr(again.errors)) == (found, ("b",), repr(found.errors))
    assert repr(found) == "Answers({'a': 1}, missing=('b',))"
    assert repr(Answers()) == "Answers({})"


def test_the_error_of_a_required_feature_is_raised_as_it_is_and_later_ones_are_not_asked(world: World) -> None:
    later = world.operation(1)
    degrade = Degrade([Feature("first", 2, world.operation(DOWN), required=True), Feature("later", 1, later)])
    outcome = ask(world, degrade)
    assert outcome.error is DOWN
    assert (outcome.events, later.log.calls, outcome.degraded) == ((), [], False)
    assert degrade.degraded == frozenset()


def test_a_required_feature_whose_fallback_fails_raises_the_last_error_with_the_first_behind_it(world: World) -> None:
    worse = ValueError("worse")
    degrade = Degrade([Feature("only", 1, world.operation(DOWN), world.operation(worse), required=True)])
    outcome = ask(world, degrade)
    assert outcome.error is worse
    assert worse.__context__ is DOWN


def test_a_fallback_that_fails_leaves_the_feature_out_and_its_error_leads_to_the_first(world: World) -> None:
    worse = ValueError("worse")
    outcome = ask(world, Degrade([Feature("only", 1, world.operation(DOWN), world.operation(worse, name="spare"))]))
    assert outcome.unwrap().errors == {"only": worse}
    assert worse.__context__ is DOWN
    assert told(outcome) == [("only", "left out")]
    assert kinds(outcome) == ["FellBack", "FeatureDegraded"]


def test_only_errors_that_on_names_are_done_without(world: World) -> None:
    bug = TypeError("a bug")
    later = world.operation(1)
    degrade = Degrade([Feature("a", 2, world.operation(bug)), Feature("b", 1, later)], on=ConnectionError)
    assert ask(world, degrade).error is bug
    assert later.log.calls == []
    spare = Degrade([Feature("a", 2, world.operation(DOWN), world.operation(bug))], on=ConnectionError)
    assert ask(world, spare).error is bug
    assert ask(world, Degrade([Feature("a", 2, world.operation(DOWN))], on=ConnectionError)).unwrap().missing == ("a",)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_passes_at_once(world: World, stop: type[BaseException]) -> None:
    spare, later = world.operation(1), world.operation(2)
    degrade = Degrade([Feature("a", 2, world.operation(stop), spare), Feature("b", 1, later)])
    with pytest.raises(stop):
        world.do(lambda: degrade())
    assert (spare.log.calls, later.log.calls) == ([], [])


def test_a_feature_that_hangs_is_cut_by_its_own_limit_and_the_others_are_asked(world: World) -> None:
    features = [
        Feature("slow", 2, Timeout(0.5)(world.operation(Hang)), Fallback.value("nothing")),
        Feature("b", 1, world.operation("fine")),
    ]
    outcome = ask(world, Degrade(features))
    assert outcome.unwrap().answers == {"slow": "nothing", "b": "fine"}
    assert isinstance(outcome.unwrap().errors["slow"], errors.TimeoutExceeded)
    assert outcome.elapsed == pytest.approx(0.5)


def test_a_limit_of_time_around_all_of_them_is_an_end_and_no_degradation(world: World) -> None:
    spare = world.operation(1)
    degrade = Degrade([Feature("slow", 1, world.operation(Hang), spare)], name="page")
    outcome = world.run(Timeout(2), degrade)
    assert isinstance(outcome.error, errors.TimeoutExceeded)
    assert spare.log.calls == []
    assert "page took longer" in str(outcome.error)


# --- what is reported ---


def test_a_caller_is_told_what_is_degraded_and_how(world: World) -> None:
    features = [
        Feature("real", 4, world.operation(1)),
        Feature("value", 3, world.operation(DOWN), Fallback.value([])),
        Feature("asked", 2, world.operation(DOWN), world.operation(2, name="elsewhere")),
        Feature("own", 1, Fallback(Fallback.value(3))(world.operation(DOWN))),
        Feature("none", 0, world.operation(DOWN)),
    ]
    outcome = ask(world, Degrade(features, name="page"))
    assert outcome.degraded
    assert told(outcome) == [
        ("value", "value []"),
        ("asked", "elsewhere"),
        ("own", "its own degraded answer"),
        ("none", "left out"),
    ]
    found = outcome.unwrap()
    assert found.degraded == ("value", "asked", "own")
    assert found.missing == ("none",)
    assert set(found.errors) == {"value", "asked", "none"}
    [first, *_] = [event for event in outcome.events if isinstance(event, FeatureDegraded)]
    assert (first.layer, first.operation, first.role, first.error) == ("page", "page", "recovery", DOWN)
    assert [event.order for event in outcome.events if isinstance(event, FellBack) and event.layer == "page"] == [1, 1]


def test_a_feature_that_answers_again_is_reported_once(world: World) -> None:
    flaky = world.operation(DOWN, DOWN, 1, 1)
    degrade = Degrade([Feature("flaky", 1, flaky)])
    seen = [(kinds(ask(world, degrade)), degrade.degraded) for _ in range(4)]
    assert seen == [
        (["FeatureDegraded"], {"flaky"}),
        (["FeatureDegraded"], {"flaky"}),
        (["FeatureRestored"], frozenset()),
        ([], frozenset()),
    ]


def test_callbacks_get_the_events_and_what_they_raise_changes_nothing(world: World) -> None:
    heard: list[Event] = []

    def note(event: Event) -> None:
        heard.append(event)
        raise ZeroDivisionError

    degrade = Degrade([Feature("a", 1, world.operation(DOWN, 1))], on_degrade=world.of(note), on_restore=world.of(note))
    assert [ask(world, degrade).unwrap().answers for _ in range(2)] == [{}, {"a": 1}]
    assert [type(event) for event in heard] == [FeatureDegraded, FeatureRestored]


def test_nothing_is_reported_while_all_is_well(world: World) -> None:
    outcome = ask(world, Degrade([Feature("a", 1, world.operation(1)), Feature("b", 1, world.operation(2))]))
    assert (outcome.events, outcome.degraded, outcome.unwrap().is_complete) == ((), False, True)


# --- the last good answer ---


def test_the_last_good_answer_stands_in_until_it_is_too_old(world: World) -> None:
    spare = world.operation("spare")
    feature = Feature("a", 1, world.operation("good", DOWN), spare, last_good=10)
    degrade = Degrade([feature])
    seen: list[Any] = []

    def plain() -> None:
        for wait in (0.0, 9.5, 0.5):
            time.sleep(wait)
            seen.append(degrade().answers)

    async def main() -> None:
        for wait in (0.0, 9.5, 0.5):
            await asyncio.sleep(wait)
            seen.append((await degrade()).answers)

    world.do(main if world.asynchronous else plain)
    assert seen == [{"a": "good"}, {"a": "good"}, {"a": "spare"}]
    assert len(spare.log.calls) == 1


@pytest.mark.parametrize(("one", "other"), [((1,), (True,)), ((1,), (1.0,)), (((1, 2),), ((1.0, 2),)), ((), ("x",))])
def test_nobody_gets_the_last_answer_to_another_question(world: World, one: Any, other: Any) -> None:
    answers = world.operation("for one", DOWN)
    degrade = Degrade([Feature("a", 1, answers, last_good=60)])
    ask(world, degrade, *one)
    assert ask(world, degrade, *one).unwrap().answers == {"a": "for one"}
    assert ask(world, degrade, *other).unwrap().missing == ("a",)
    assert ask(world, degrade, *one, lang="en").unwrap().missing == ("a",)


def test_each_feature_has_its_own_last_answer(world: World) -> None:
    features = [Feature(name, 1, world.operation(name, DOWN), last_good=60) for name in "ab"]
    degrade = Degrade(features)
    ask(world, degrade, "x")
    assert ask(world, degrade, "x").unwrap().answers == {"a": "a", "b": "b"}


def test_a_degraded_answer_is_not_kept_as_a_good_one(world: World) -> None:
    inner = Fallback(Fallback.value("poor"), on=ValueError)(world.operation(ValueError("x"), DOWN))
    degrade = Degrade([Feature("a", 1, inner, last_good=60)])
    assert ask(world, degrade).unwrap().answers == {"a": "poor"}
    assert ask(world, degrade).unwrap().missing == ("a",)


def test_a_falsy_last_answer_is_an_answer(world: World) -> None:
    degrade = Degrade([Feature("a", 1, world.operation(None, DOWN), Fallback.value("spare"), last_good=60)])
    ask(world, degrade)
    assert ask(world, degrade).unwrap().answers == {"a": None}


def test_what_cannot_be_hashed_needs_a_key(world: World) -> None:
    operation = world.operation("good", DOWN)
    degrade = Degrade([Feature("a", 1, operation, last_good=60)])
    for bad in (ask(world, degrade, ["x"]), ask(world, degrade, ids={"x"})):
        assert isinstance(bad.error, TypeError)
        assert "give Degrade(key=...) a function that makes a key" in str(bad.error)
    assert operation.log.calls == []
    keyed = degrade.replace(key=world.of(lambda ids: tuple(ids)))
    ask(world, keyed, ["x"])
    assert ask(world, keyed, ids=["x"]).unwrap().answers == {"a": "good"}
    assert ask(world, keyed, ["y"]).unwrap().missing == ("a",)
    unkept = Degrade([Feature("a", 1, world.operation("good"))])
    assert ask(world, unkept, ["x"]).unwrap().answers == {"a": "good"}


def test_no_more_last_answers_are_kept_than_allowed(world: World) -> None:
    def answer(number: int) -> int:
        if asked.count(number):
            raise DOWN
        asked.append(number)
        return number

    asked: list[int] = []
    degrade = Degrade([Feature("a", 1, world.of(answer), last_good=60)], max_kept=3)
    for number in range(5):
        ask(world, degrade, number)
    kept = [ask(world, degrade, number).unwrap().get("a") for number in range(5)]
    assert kept == [None, None, 2, 3, 4]


# --- switched by hand ---


def test_a_feature_that_is_switched_off_is_not_asked_and_stood_in_for(world: World) -> None:
    a, b = world.operation("a"), world.operation("b")
    degrade = Degrade([Feature("a", 2, a, Fallback.value("instead")), Feature("b", 1, b)])
    degrade.disable("a", "b")
    outcome = ask(world, degrade)
    found = outcome.unwrap()
    assert (found.answers, found.degraded, found.missing) == ({"a": "instead"}, ("a",), ("b",))
    assert [type(error) for error in found.errors.values()] == [errors.FeatureDisabledError] * 2
    assert str(found.errors["b"]) == "b was not called: it is switched off"
    assert outcome.degraded
    assert (a.log.calls, b.log.calls) == ([], [])
    degrade.enable("a")
    assert degrade.disabled == {"b"}
    degrade.enable()
    outcome = ask(world, degrade)
    assert outcome.unwrap().is_complete
    assert kinds(outcome) == ["FeatureRestored"] * 2


def test_the_last_good_answer_stands_in_for_what_is_switched_off(world: World) -> None:
    degrade = Degrade([Feature("a", 2, world.operation("good"), last_good=60)])
    ask(world, degrade)
    degrade.disable("a")
    assert ask(world, degrade).unwrap().answers == {"a": "good"}


def test_below_a_level_only_required_features_are_asked(world: World) -> None:
    features = [Feature(f"f{n}", n, world.operation(n), required=n == 1) for n in range(4)]
    degrade = Degrade(features)
    assert degrade.level == float("-inf")
    degrade.level = 2
    assert ask(world, degrade).unwrap().answers == {"f3": 3, "f2": 2, "f1": 1}
    degrade.level = float("inf")
    assert ask(world, degrade).unwrap().answers == {"f1": 1}
    degrade.level = float("-inf")
    assert len(ask(world, degrade).unwrap().answers) == 4


def test_what_writes_is_refused_while_only_reading_is_possible(world: World) -> None:
    write, queue = world.operation("written"), world.operation("written later")
    features = [Feature("read", 3, world.operation("data")), Feature("log", 2, write, writes=True)]
    degrade = Degrade([*features, Feature("order", 1, write, queue, required=True, writes=True)])
    assert not degrade.read_only
    degrade.read_only = True
    found = ask(world, degrade).unwrap()
    assert found.answers == {"read": "data", "order": "written later"}
    assert found.missing == ("log",)
    assert [type(error) for error in found.errors.values()] == [errors.ReadOnlyError] * 2
    assert write.log.calls == []
    degrade.read_only = False
    assert ask(world, degrade).unwrap().is_complete


def test_a_required_write_without_a_stand_in_is_refused_with_the_reason(world: World) -> None:
    degrade = Degrade([Feature("order", 1, world.operation(1), required=True, writes=True)], on=ConnectionError)
    degrade.read_only = True
    error = ask(world, degrade).error
    assert isinstance(error, errors.ReadOnlyError)
    assert error.operation == "order"
    assert ask(world, Degrade([Feature("a", 1, world.operation(1))], on=ConnectionError)).unwrap().is_complete


def test_a_circuit_breaker_makes_reading_only_automatic(world: World) -> None:
    write = world.operation(DOWN, DOWN, "written")
    guarded = CircuitBreaker(2, recovery_timeout=30)(write)
    degrade = Degrade([Feature("log", 1, guarded, writes=True)])
    missing = [ask(world, degrade).unwrap().missing for _ in range(5)]
    assert missing == [("log",)] * 5
    assert len(write.log.calls) == 2


def test_a_changed_copy_shares_switches_and_answers(world: World) -> None:
    degrade = Degrade(
        [Feature("a", 1, world.operation("good", DOWN), last_good=60), Feature("b", 1, world.operation(1))]
    )
    ask(world, degrade)
    copy = degrade.replace(name="copy")
    copy.disable("b")
    assert ask(world, degrade).unwrap().answers == {"a": "good"}
    assert degrade.disabled == {"b"}
    assert copy.degraded == {"a", "b"}


def test_switching_what_is_not_there_or_required_is_refused() -> None:
    degrade = Degrade([Feature("a", 1, len, required=True), Feature("b", 1, len)])
    with pytest.raises(ValueError, match="feature 'a' is required: it cannot be switched off"):
        degrade.disable("b", "a")
    for switch in (degrade.disable, degrade.enable):
        with pytest.raises(ValueError, match="there is no feature 'c'; there are a, b"):
            switch("b", "c")
    assert degrade.disabled == frozenset()
    nonsense: Any = "yes"
    with pytest.raises(TypeError, match="read_only must be True or False, got 'yes'"):
        degrade.read_only = nonsense
    with pytest.raises(TypeError, match="level must be a number, got 'yes'"):
        degrade.level = nonsense
    with pytest.raises(ValueError, match="level must be a number that can be compared, got nan"):
        degrade.level = float("nan")


# --- async or plain, and together with others ---


def test_it_is_async_if_any_function_of_it_is() -> None:
    on_loop, plain = World(True), World(False)
    a, b = on_loop.operation(1), plain.operation(2)
    assert not Degrade([Feature("b", 1, b, b)]).is_async
    for degrade in (
        Degrade([Feature("a", 1, a), Feature("b", 1, b)]),
        Degrade([Feature("b", 1, b, a)]),
        Degrade([Feature("b", 1, b, last_good=1)], key=on_loop.of(lambda: 0)),
    ):
        assert is_async(degrade)
        assert is_async(Retry(1)(degrade))
        assert on_loop.do(lambda: degrade())["b"] == 2  # noqa: B023


def test_an_awaitable_in_plain_code_is_refused_by_name_and_not_done_without() -> None:
    hidden = World(True).operation(1, name="hidden")
    for degrade in (
        Degrade([Feature("a", 1, lambda: hidden(), Fallback.value(0))]),
        Degrade([Feature("a", 1, World(False).operation(DOWN), lambda: hidden())]),
    ):
        outcome = degrade.outcome()
        assert isinstance(outcome.error, TypeError)
        assert "<lambda> returned coroutine" in str(outcome.error)


def test_it_stacks_and_nests(world: World) -> None:
    flaky = world.operation(DOWN, "late")
    inner = Degrade([Feature("x", 1, flaky, required=True), Feature("y", 1, world.operation(DOWN))], name="inner")
    outer = Degrade([Feature("part", 1, inner)], name="outer")
    outcome = world.run(Timeout(9) >> Retry(2, backoff.Fixed(1)), inner)
    assert outcome.unwrap().answers == {"x": "late"}
    assert (outcome.elapsed, outcome.degraded) == (1, True)
    found = ask(world, outer).unwrap()
    assert found.degraded == ("part",)
    assert found["part"].missing == ("y",)


def test_a_cache_around_it_does_not_keep_what_is_degraded(world: World) -> None:
    degrade = Degrade([Feature("a", 1, world.operation(DOWN, 1))])
    cached = Cache(60)(degrade)

    def plain() -> list[Any]:
        return [cached().answers for _ in range(3)]

    async def main() -> list[Any]:
        return [(await cached()).answers for _ in range(3)]

    assert world.do(main if world.asynchronous else plain) == [{}, {"a": 1}, {"a": 1}]


def test_calls_at_the_same_time_do_not_mix() -> None:
    async def echo(number: int) -> int:
        await asyncio.sleep(number % 3)
        if number % 2:
            raise DOWN
        return number

    async def double(number: int) -> int:
        await asyncio.sleep(number % 2)
        return 2 * number

    degrade = Degrade([Feature("echo", 1, echo), Feature("double", 1, double)])

    async def main() -> list[Answers]:
        return await asyncio.gather(*map(degrade, range(12)))

    for number, found in enumerate(virtual.run(main())):
        assert found.answers == ({"double": 2 * number} if number % 2 else {"echo": number, "double": 2 * number})
        assert found.missing == (("echo",) if number % 2 else ())


def test_a_feature_may_call_the_whole_again() -> None:
    def page(depth: int) -> int:
        return 0 if depth == 0 else degrade(depth - 1)["page"] + 1

    degrade = Degrade([Feature("page", 1, page, last_good=60)])
    assert degrade(5)["page"] == 5


# --- several at once ---


def test_features_are_asked_at_once_as_many_as_allowed(world: World) -> None:
    def made(most: int) -> Degrade:
        features = [Feature(f"f{n}", -n, world.operation(n, takes=1.0)) for n in range(6)]
        return Degrade(features, max_concurrent=most)

    for most, seconds in ((1, 6), (2, 3), (4, 2), (99, 1)):
        outcome = ask(world, made(most))
        assert outcome.elapsed == pytest.approx(seconds)
        assert outcome.unwrap().answers == {f"f{n}": n for n in range(6)}
        assert outcome.unwrap().is_complete


def test_however_they_end_the_result_is_in_the_order_of_priority(world: World) -> None:
    features = [
        Feature("slow", 4, world.operation(1, takes=3.0)),
        Feature("spare", 3, world.operation(DOWN, takes=2.0), world.operation(2, takes=0.5)),
        Feature("none", 2, world.operation(DOWN, takes=1.0)),
        Feature("own", 1, Fallback(Fallback.value(3))(world.operation(DOWN))),
        Feature("off", 0, world.operation(DOWN)),
    ]
    outcome = ask(world, Degrade(features, max_concurrent=5))
    found = outcome.unwrap()
    assert list(found.answers.items()) == [("slow", 1), ("spare", 2), ("own", 3)]
    assert (found.degraded, found.missing) == (("spare", "own"), ("none", "off"))
    assert list(found.errors) == ["spare", "none", "off"]
    assert outcome.degraded
    assert outcome.elapsed == pytest.approx(3)
    assert sorted(told(outcome)) == [
        ("none", "left out"),
        ("off", "left out"),
        ("own", "its own degraded answer"),
        ("spare", "operation for spare"),
    ]


def test_a_required_feature_that_fails_ends_the_others(world: World) -> None:
    slow = world.operation("late", takes=5.0)
    features = [Feature("slow", 2, slow), Feature("only", 1, world.operation(DOWN, takes=1.0), required=True)]
    outcome = ask(world, Degrade(features, max_concurrent=2))
    assert outcome.error is DOWN
    assert outcome.elapsed == pytest.approx(1)


@pytest.mark.parametrize("most", [1, 3])
def test_context_variables_of_the_caller_are_seen(world: World, most: int) -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    degrade = Degrade([Feature(name, 1, world.of(who.get)) for name in "abc"], max_concurrent=most)

    def plain() -> Any:
        who.set("ada")
        return degrade().answers

    async def main() -> Any:
        who.set("ada")
        return (await degrade()).answers

    assert world.do(main if world.asynchronous else plain) == dict.fromkeys("abc", "ada")


def test_cancelling_at_any_step_ends_at_once_and_nothing_more_is_asked() -> None:
    for seconds in (0.5, 1.5, 2.5):
        asked: list[str] = []

        def slow(name: str, fails: bool = False) -> Any:
            async def run() -> str:
                asked.append(name)  # noqa: B023
                await asyncio.sleep(1)
                if fails:
                    raise DOWN
                return name

            return run

        features = [Feature("a", 3, slow("a", fails=True), slow("spare")), Feature("b", 2, slow("b"))]
        degrade = Degrade([*features, Feature("c", 1, slow("c"))])

        async def main() -> float:
            call = asyncio.ensure_future(degrade())  # noqa: B023
            await asyncio.sleep(seconds)  # noqa: B023
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            return time.monotonic()

        assert virtual.run(main()) == seconds
        assert asked == ["a", "spare", "b"][: int(seconds + 0.5)]


@pytest.mark.parametrize("driven", [True, False])
@pytest.mark.parametrize("most", [1, 2])
def test_it_can_be_cancelled_at_every_step(most: int, driven: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if driven:
        monkeypatch.setattr("failwell.policy.derive", lambda *_, **__: None)

    async def calls_back(event: Event) -> None:
        await asyncio.sleep(0.5)

    for script in (("fine",), (DOWN,), (Hang,)):

        def make(script: Any = script) -> Any:
            operations = [World(True).operation(*script, takes=1.0) for _ in range(3)]
            features = [
                Feature(f"f{n}", -n, one, World(True).operation("poor", takes=1.0)) for n, one in enumerate(operations)
            ]
            made: Any = Degrade(features, max_concurrent=most, on_degrade=calls_back, on_restore=calls_back)
            made.operations = operations
            return made

        async def again(degrade: Any) -> None:
            for one in degrade.operations:
                one.log.script, one.log.takes = ("fine",), 0.0
            assert (await degrade()).answers == {"f0": "fine", "f1": "fine", "f2": "fine"}

        step = 0
        while cancelled_at(step, make, again):
            step += 1
            assert step < 200
        assert step >= 2


@pytest.mark.parametrize("most", [1, 2])
def test_neither_a_result_nor_an_error_is_kept_alive_by_its_own_frames(most: int) -> None:
    kept: list[weakref.ref[Any]] = []

    class Mine(Exception):
        def __init__(self, number: int) -> None:
            super().__init__(number)
            kept.append(weakref.ref(self))

    def fails(number: int) -> None:
        raise Mine(number)

    features = [Feature("a", 3, fails, fails), Feature("b", 2, fails, Fallback.value(0)), Feature("c", 1, fails)]
    degrade = Degrade([*features, Feature("d", 0, len, required=True)], on=Mine, max_concurrent=most)
    gc.disable()
    try:
        with pytest.raises(TypeError):
            degrade(1)
        assert [one() for one in kept] == [None] * 4
        kept.clear()
        degrade.features[-1].fn = degrade._asked[-1][0].fn = str
        result = degrade(1)
        assert result.missing == ("a", "c")
        del result
        assert [one() for one in kept] == [None] * 4
    finally:
        gc.enable()


def test_threads_switch_and_call_at_the_same_time() -> None:
    check_under_load(threads=8, seconds=0.3)


def check_under_load(**how_long: Any) -> None:
    """Each caller gets its own answers, and of what is switched on only."""
    turns = itertools.count()

    def echo(ticket: tuple[int, int]) -> tuple[int, int]:
        if next(turns) % 3 == 2:
            raise ConnectionError("now and then")
        return ticket

    def surely(ticket: tuple[int, int]) -> tuple[int, int]:
        return ticket

    degrade = Degrade(
        [
            Feature("echo", 3, echo, lambda ticket: ("spare", ticket)),
            Feature("required", 2, surely, required=True),
            Feature("kept", 1, echo, last_good=60),
            Feature("write", 0, surely, writes=True),
        ],
        max_kept=64,
    )

    def work(place: int, number: int) -> None:
        if number % 7 == 6:
            degrade.disable("kept") if number % 2 else degrade.enable("kept")
        if number % 11 == 10:
            degrade.read_only = not degrade.read_only
        ticket = place, number % 50
        found = degrade(ticket)
        assert found["echo"] in (ticket, ("spare", ticket))
        assert ("echo" in found.degraded) == (found["echo"] != ticket)
        assert found["required"] == ticket
        assert found.get("kept", ticket) == ticket
        assert found.get("write", ticket) == ticket
        assert set(found.answers) | set(found.missing) == {"echo", "required", "kept", "write"}
        assert len(degrade._board._kept) <= 64

    hammer(work, **how_long)


# --- explored ---


def never(*_: Any) -> Any:
    raise AssertionError("the explorer must not run it")


def product(*_: Any) -> Any:
    return never()


def reviews(*_: Any) -> Any:
    return never()


def basket(*_: Any) -> Any:
    return never()


def test_exploring_finds_every_combination_and_runs_none() -> None:
    features = [Feature("product", 9, product, required=True), Feature("reviews", 5, reviews, Fallback.value([]))]
    paths = list(map(str, explore(Degrade(features), outcomes=("ok", "fail")).paths))
    assert paths == [
        "Degrade? all on -> product ok -> reviews ok -> return after 0 s",
        "Degrade? all on -> product ok -> reviews fails -> value [] (fallback 1) -> return (degraded answer) after 0 s",
        "Degrade? all on -> product fails -> raise ConnectionError after 0 s",
        "Degrade? was degraded -> product ok -> reviews ok -> reviews is back -> return after 0 s",
        "Degrade? was degraded -> product ok -> reviews fails -> value [] (fallback 1) "
        "-> return (degraded answer) after 0 s",
        "Degrade? was degraded -> product fails -> raise ConnectionError after 0 s",
        "Degrade? required only -> product ok -> value [] (fallback 1) -> return (degraded answer) after 0 s",
        "Degrade? required only -> product fails -> raise ConnectionError after 0 s",
    ]


def test_exploring_knows_last_good_answers_and_reading_only() -> None:
    features = [Feature("reviews", 5, reviews, last_good=60), Feature("basket", 1, basket, writes=True)]
    paths = list(map(str, explore(Degrade(features, key=never), outcomes=("fail",)).paths))
    assert paths == [
        "Degrade? all on -> reviews -> leave out reviews -> basket -> leave out basket "
        "-> return (degraded answer) after 0 s",
        "Degrade? was degraded -> reviews -> last good answer for reviews -> basket -> leave out basket "
        "-> return (degraded answer) after 0 s",
        "Degrade? read-only -> reviews -> last good answer for reviews -> leave out basket "
        "-> return (degraded answer) after 0 s",
        "Degrade? required only -> last good answer for reviews -> leave out basket "
        "-> return (degraded answer) after 0 s",
    ]


PAGE = (
    "Degrade([Feature('a', 3, reserve, required=True), Feature('b', 2, charge, refund, last_good=9), "
    "Feature('c', 1, ship, writes=True)])"
)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (f"Retry(1) >> {PAGE}", False),
        (f"Retry(1) >> {PAGE}", True),
        (f"Retry(2, backoff=Fixed(1.0)) >> {PAGE}", False),
        (f"Timeout(2.0) >> {PAGE}", False),
        ("Fallback(backup) >> Degrade([Feature('a', 1, Timeout(1.0)(reserve), Retry(2, Fixed(0.5))(release))])", False),
        ("Timeout(3.0) >> Degrade([Feature('a', 1, Fallback(Fallback.value('spare'))(reserve))])", True),
    ],
)
def test_a_real_run_goes_each_of_the_explored_ways(text: str, plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = explored(text).paths
    if plain:
        paths = [path for path in paths if path.ends]
    assert len(paths) > 5
    for path in paths:
        real = follow(text, path, monkeypatch, plain=plain)
        expected = [fingerprint(event) for event in path.events]
        happened = [fingerprint(event) for event in real.events]
        if not path.ends:
            assert (happened[: len(expected)], real.elapsed) == (expected, float("inf"))
            continue
        assert happened == expected
        assert real.elapsed == pytest.approx(path.elapsed)
        assert (real.degraded, type(real.error)) == (path.degraded, type(path.error))
        if isinstance(path.result, Answers):
            assert str(real.result).replace("'spare'", "answer of value 'spare'") == str(path.result)


def test_a_situation_is_left_out_where_nothing_can_be_in_it() -> None:
    assert list(Degrade([Feature("a", 1, len, required=True)]).situations()) == ["all on"]
    assert list(Degrade([Feature("a", 1, len)]).situations()) == ["all on", "was degraded", "required only"]


def test_the_report_says_how_much_of_an_answer_there_will_be() -> None:
    features = [Feature("product", 9, product, required=True), Feature("reviews", 5, reviews)]
    report = explore(Degrade(features), outcomes=("ok", "fail")).report(fail=0.1)
    assert report.success == pytest.approx(0.9)
    assert report.calls == {"product": 1.0, "reviews": pytest.approx(0.9)}


def test_operations_of_one_name_are_told_apart_by_their_features() -> None:
    def part(which: str) -> None: ...

    features = [Feature(name, 1, functools.partial(part, name), functools.partial(part)) for name in ("a", "b")]
    found = explore(Degrade(features), outcomes=("fail",)).paths[0]
    assert found.calls == {"a": 1, "part for a": 1, "b": 1, "part for b": 1}


# --- arguments ---


def test_it_says_what_it_is() -> None:
    features = [
        Feature("product", 9, product, required=True),
        Feature("reviews", 5, reviews, Fallback.value([]), last_good=60),
        Feature("basket", 1, basket, writes=True),
    ]
    degrade = Degrade(features, max_kept=8)
    assert repr(degrade) == (
        "Degrade([Feature('product', 9, product, required=True), "
        "Feature('reviews', 5, reviews, fallback=value [], last_good=60), "
        "Feature('basket', 1, basket, writes=True)], max_kept=8)"
    )
    assert degrade.replace(max_concurrent=4).max_concurrent == 4
    assert (degrade.label, degrade.__name__) == ("Degrade", "degrade")
    assert (degrade.replace(name="page").label, degrade.replace(name="page").__name__) == ("page", "page")
    assert degrade.describe()["features"] == tuple(features)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Feature(7, 1, len), "name must be a text, got 7"),  # type: ignore[arg-type]
        (lambda: Feature("a", "x", len), "priority must be a number, got 'x'"),  # type: ignore[arg-type]
        (lambda: Feature("a", float("nan"), len), "priority must be a number that can be compared, got nan"),
        (lambda: Feature("a", 1, 7), "fn of feature 'a' must be callable, got 7"),  # type: ignore[arg-type]
        (
            lambda: Feature("a", 1, len, []),  # type: ignore[arg-type]
            r"fallback of feature 'a' must be callable, got \[\]: Fallback.value\(x\) takes a value",
        ),
        (lambda: Feature("a", 1, len, last_good=-1), "last_good must be a number of seconds that is not neg.*, got -1"),
        (lambda: Feature("a", 1, len, last_good="x"), "last_good must be a number, got 'x'"),  # type: ignore[arg-type]
        (lambda: Feature("a", 1, len, required=1), "required must be True or False, got 1"),  # type: ignore[arg-type]
        (lambda: Feature("a", 1, len, writes=None), "writes must be True or False, got None"),  # type: ignore[arg-type]
        (lambda: Feature("a", 1, len, last_good=5, writes=True), "last_good of feature 'a', which writes, must be 0"),
        (lambda: Degrade(7), r"features must be several Feature\(name, priority, fn\), got 7"),  # type: ignore[arg-type]
        (lambda: Degrade([len]), r"a feature is Feature\(name, priority, fn\), got <built-in"),  # type: ignore[list-item]
        (lambda: Degrade([]), "features must have at least one feature, got none"),
        (lambda: Degrade([Feature("a", 1, len)] * 2), "two features are named 'a': give one of them another name"),
        (lambda: Degrade([Feature("a", 1, len)], max_concurrent=0), "max_concurrent must be at least 1, got 0"),
        (lambda: Degrade([Feature("a", 1, len)], max_kept=0), "max_kept must be at least 1, got 0"),
        (lambda: Degrade([Feature("a", 1, len)], max_kept=1.5), "max_kept must be a whole number, got 1.5"),  # type: ignore[arg-type]
        (lambda: Degrade([Feature("a", 1, len)], key=7), "key must be callable, got 7"),  # type: ignore[arg-type]
        (lambda: Degrade([Feature("a", 1, len)], on_degrade=7), "on_degrade must be callable, got 7"),  # type: ignore[arg-type]
        (lambda: Degrade([Feature("a", 1, len)], on_restore=7), "on_restore must be callable, got 7"),  # type: ignore[arg-type]
        (lambda: Degrade([Feature("a", 1, len)], name=7), "name must be a text, got 7"),  # type: ignore[arg-type]
        (lambda: Degrade([Feature("a", 1, len)], on="x"), "on must be an exception type"),  # type: ignore[arg-type]
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(make: Callable[[], Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


@pytest.mark.parametrize("error", [errors.FeatureDisabledError("a"), errors.ReadOnlyError("a")])
def test_its_errors_can_be_sent_to_another_process(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.operation) == (type(error), str(error), "a")
