from __future__ import annotations

import asyncio
import enum
import functools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import Fallback, Outcome, Retry, Router, Saga, Timeout, backoff, errors, explore, listening, virtual
from failwell.events import Event, Routed
from failwell.policy import is_async
from tests.kernel.world import Hang, World, kinds

ONE = backoff.Fixed(1.0)


def ask(world: World, router: Router, *args: Any, **kwargs: Any) -> Outcome[Any]:
    """Call a router through a policy that does nothing, to see how it went."""
    return world.run(Retry(1), router, *args, **kwargs)


def by_length(prompt: str) -> str:
    return "fast" if len(prompt) < 5 else "quality"


# --- both worlds ---


@given(calls=st.lists(st.sampled_from(["a", "b", "c"]), max_size=8), asynchronous=st.booleans())
def test_each_call_goes_to_the_route_that_is_selected_and_to_no_other(calls: list[str], asynchronous: bool) -> None:
    world = World(asynchronous)
    routes = {name: world.operation(f"answer of {name}") for name in ("a", "b", "c")}
    router = Router(routes, world.of(lambda route, **_: route))
    answers = [ask(world, router, route, number=number).value for number, route in enumerate(calls)]
    assert answers == [f"answer of {route}" for route in calls]
    for name, operation in routes.items():
        assert operation.log.calls == [((name,), {"number": n}) for n, route in enumerate(calls) if route == name]


def test_a_router_is_called_like_a_function(world: World) -> None:
    router = Router({"fast": world.operation("mini"), "quality": world.operation("large")}, by_length)
    assert world.do(lambda: router("hi")) == "mini"
    assert world.do(lambda: router("a longer one")) == "large"


def test_the_choice_is_reported_before_the_route_is_called(world: World) -> None:
    heard: list[Event] = []
    quality = world.operation(lambda: [type(event) for event in heard])
    router = Router({"fast": world.operation(1), "quality": quality}, by_length)
    with listening(heard.append):
        assert world.do(lambda: router("a longer one")) == [Routed]
    [event] = heard
    assert isinstance(event, Routed)
    assert (event.route, event.layer, event.operation, event.role) == ("quality", "Router", "router", "decision")


def test_what_a_route_or_the_selection_raises_is_raised(world: World) -> None:
    error = ConnectionError("down")
    outcome = ask(world, Router({"a": world.operation(error), "b": world.operation(1)}, lambda: "a"))
    assert outcome.error is error
    mistake = ZeroDivisionError("in the selection")
    route = world.operation(1)
    outcome = ask(world, Router({"a": route}, world.operation(mistake), default="a"))
    assert outcome.error is mistake
    assert (route.log.calls, kinds(outcome)) == ([], ["Attempt"])


@pytest.mark.parametrize("unknown", ["c", "", None, 7, ["a"], True])
def test_an_unknown_route_is_refused_by_name_and_nothing_is_called(world: World, unknown: Any) -> None:
    routes = {"a": world.operation(1), "b": world.operation(2)}
    outcome = ask(world, Router(routes, lambda: unknown, name="models"))
    assert isinstance(outcome.error, errors.UnknownRouteError)
    assert isinstance(outcome.error, (errors.RecoveryError, LookupError))
    assert str(outcome.error) == f"models has no route {unknown!r}; it has a, b"
    assert (outcome.error.operation, outcome.error.route, outcome.error.known) == ("models", unknown, ("a", "b"))
    assert [one.log.calls for one in routes.values()] == [[], []]
    assert kinds(outcome) == ["Attempt"]


@pytest.mark.parametrize("unknown", ["c", None, ["a"]])
def test_an_unknown_route_falls_to_the_default(world: World, unknown: Any) -> None:
    routes = {"a": world.operation(1), "b": world.operation(2)}
    outcome = ask(world, Router(routes, lambda: unknown, default="b"))
    assert outcome.unwrap() == 2
    assert [event.route for event in outcome.events if isinstance(event, Routed)] == ["b"]


def test_a_route_may_be_named_by_a_string_enumeration(world: World) -> None:
    class Route(enum.StrEnum):
        FAST = "fast"

    assert ask(world, Router({"fast": world.operation(1)}, lambda: Route.FAST)).unwrap() == 1
    assert ask(world, Router({Route.FAST: world.operation(1)}, lambda: "fast")).unwrap() == 1


def test_an_unknown_route_is_not_worth_another_attempt() -> None:
    error = errors.UnknownRouteError("router", "x", ["a"])
    assert errors.classify(error) == "permanent"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.route, again.known) == (str(error), "x", ("a",))


def test_policies_stand_around_a_router_and_around_a_route(world: World) -> None:
    flaky = world.operation(ConnectionError("reset"), "late")
    router = Router({"a": flaky, "b": world.operation(Hang)}, lambda route: route)
    outcome = world.run(Retry(2, ONE) >> Timeout(5), router, "a")
    assert (outcome.value, outcome.elapsed) == ("late", 1)
    outcome = world.run(Timeout(5), router, "b")
    assert isinstance(outcome.error, errors.TimeoutExceeded)
    assert "router took longer" in str(outcome.error)
    protected = Router({"a": Retry(2, ONE)(world.operation(ConnectionError("reset"), "late"))}, lambda: "a")
    assert world.do(lambda: protected()) == "late"
    stack = Fallback(Fallback.value("poor")) >> Router({"a": world.operation(OSError("down"))}, lambda: "a")
    assert world.do(stack) == "poor"


def test_a_router_may_be_a_route_a_step_and_an_alternative(world: World) -> None:
    inner = Router({"x": world.operation("x"), "y": world.operation("y")}, lambda _, last: last, name="inner")
    outer = Router({"deep": inner, "flat": world.operation("flat")}, lambda first, _: first)
    assert world.do(lambda: outer("deep", "y")) == "y"
    assert world.do(lambda: outer("flat", "y")) == "flat"
    always = Router({"x": world.operation("x")}, lambda *_: "x", name="pick")
    assert world.do(lambda: Saga([(always, None)])({})) == {"pick": "x"}
    assert world.run(Fallback(always), world.operation(OSError("down"))).unwrap() == "x"


# --- async or plain ---


def test_a_router_is_async_if_any_route_or_its_selection_is() -> None:
    on_loop, plain = World(True), World(False)
    a, b = on_loop.operation("async"), plain.operation("plain")
    assert not Router({"b": b}, by_length).is_async
    mixed = Router({"a": a, "b": b}, lambda route: route)
    selected = Router({"b": b}, on_loop.of(lambda route: route))
    for router in (mixed, selected, Timeout(3)(mixed), Timeout(3)(selected)):
        assert is_async(router)
    assert on_loop.do(lambda: mixed("a")) == "async"
    assert on_loop.do(lambda: mixed("b")) == "plain"
    assert on_loop.do(lambda: selected("b")) == "plain"
    assert is_async(Router({"a": mixed}, by_length))


def test_an_awaitable_in_a_plain_router_is_refused_by_name() -> None:
    world = World(False)
    hidden = World(True).operation("async", name="hidden")
    for router in (Router({"a": lambda: hidden()}, lambda: "a"), Router({"a": world.operation(1)}, lambda: hidden())):
        outcome = ask(world, router)
        assert isinstance(outcome.error, TypeError)
        assert "<lambda>" in str(outcome.error)


def test_what_is_no_exception_passes(world: World) -> None:
    for script in (KeyboardInterrupt, SystemExit):
        router = Router({"a": world.operation(script)}, lambda: "a", default="a")
        with pytest.raises(script):
            world.do(lambda: router())  # noqa: B023


def test_calls_at_the_same_time_do_not_mix() -> None:
    async def main() -> list[str]:
        async def echo(prompt: str) -> str:
            await asyncio.sleep(len(prompt))
            return prompt

        router = Router({"fast": echo, "quality": echo}, by_length)
        return await asyncio.gather(*(router("x" * n) for n in range(10)))

    assert virtual.run(main()) == ["x" * n for n in range(10)]


# --- explored ---


def gpt4_mini(prompt: str) -> None:
    raise AssertionError("the explorer must not run it")


def gpt4(prompt: str) -> None:
    raise AssertionError("the explorer must not run it")


def never(*_: Any) -> Any:
    raise AssertionError("the explorer must not run it")


def test_exploring_takes_every_route_and_runs_none() -> None:
    router = Router({"fast": gpt4_mini, "quality": gpt4}, never)
    assert [str(path) for path in explore(router).paths] == [
        "route? fast -> gpt4_mini ok -> return after 0 s",
        "route? fast -> gpt4_mini fails -> raise ConnectionError after 0 s",
        "route? fast -> gpt4_mini hangs -> never ends",
        "route? quality -> gpt4 ok -> return after 0 s",
        "route? quality -> gpt4 fails -> raise ConnectionError after 0 s",
        "route? quality -> gpt4 hangs -> never ends",
    ]


def test_routes_are_equally_likely_unless_odds_are_given() -> None:
    found = explore(Router({"fast": gpt4_mini, "quality": gpt4}, never), outcomes=("ok", "fail"))
    assert found.report(fail=0.1).calls == {"gpt4_mini": 0.5, "gpt4": 0.5}
    given = found.report(fail={"gpt4": 0.5}, situations={"route": {"fast": 0.9, "quality": 0.1}})
    assert given.calls == {"gpt4_mini": 0.9, "gpt4": 0.1}
    assert given.success == pytest.approx(0.95)


def test_a_single_route_is_no_question() -> None:
    paths = explore(Router({"only": gpt4}, never), outcomes=("ok",)).paths
    assert list(map(str, paths)) == ["take route only -> gpt4 -> return after 0 s"]


def test_a_protected_route_is_explored_with_its_policies() -> None:
    router = Router({"fast": Retry(2, ONE)(gpt4_mini), "quality": gpt4}, never)
    paths = [str(path) for path in explore(Timeout(9) >> router, outcomes=("ok", "fail")).paths]
    assert (
        "route? fast -> gpt4_mini (attempt 1) fails -> wait 1 s -> gpt4_mini (attempt 2) ok -> return after 1 s"
        in paths
    )
    assert len(paths) == 5


def test_operations_of_one_name_are_told_apart_by_their_routes() -> None:
    def model(size: str, prompt: str) -> None: ...

    partials: dict[str, Callable[..., Any]] = {
        "fast": functools.partial(model, "mini"),
        "quality": functools.partial(model, "large"),
        "other": gpt4,
    }
    found = explore(Router(partials, never), outcomes=("ok",))
    assert found.report().calls == pytest.approx({"fast": 1 / 3, "quality": 1 / 3, "gpt4": 1 / 3})


# --- arguments ---


def test_a_router_says_what_it_is() -> None:
    router = Router({"fast": gpt4_mini, "quality": gpt4}, by_length, default="fast")
    assert repr(router) == "Router({'fast': gpt4_mini, 'quality': gpt4}, select=by_length, default='fast')"
    assert (router.label, router.__name__) == ("Router", "router")
    assert (router.replace(name="models").label, router.replace(name="models").__name__) == ("models", "models")
    assert router.replace(name="GPT").__name__ == "GPT"
    assert router.replace(default=None).describe() == {
        "routes": {"fast": gpt4_mini, "quality": gpt4},
        "select": by_length,
        "default": None,
        "name": None,
    }


def test_routes_are_those_of_the_day_it_was_made() -> None:
    routes: dict[str, Callable[..., Any]] = {"a": lambda: 1}
    router = Router(routes, lambda: "a")
    routes["a"] = lambda: 2
    assert router() == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], by_length), r"routes must map names to operations, got \[\]"),
        (({}, by_length), "routes must have at least one route, got {}"),
        (({1: gpt4}, by_length), "a route's name must be a text, got 1"),
        (({"a": 7}, by_length), "route 'a' must be callable, got 7"),
        (({"a": gpt4}, "a"), "select must be callable, got 'a'"),
        (({"a": gpt4}, by_length, "b"), "default must be one of the routes a, got 'b'"),
        (({"a": gpt4}, by_length, 7), "default must be one of the routes a, got 7"),
        (({"a": gpt4}, by_length, ["a"]), r"default must be one of the routes a, got \['a'\]"),
        (({"a": gpt4}, by_length, None, 7), "name must be a text, got 7"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(arguments: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Router(*arguments)


def test_what_protects_a_router_is_written_before_it() -> None:
    router: Any = Router({"a": gpt4}, by_length)
    with pytest.raises(TypeError, match="Router stands innermost: write Retry >> Router"):
        _ = router >> Retry(2)
    with pytest.raises(TypeError, match="unsupported operand"):
        _ = router >> 7


def test_a_router_and_a_saga_tell_how_a_call_went(world: World) -> None:
    good, bad = world.operation("answer", name="good"), world.operation(ConnectionError("reset"), name="bad")
    router = Router({"good": good, "bad": bad}, lambda route: route)
    outcome = world.do(lambda: router.outcome("good"))
    assert (outcome.value, kinds(outcome)) == ("answer", ["Routed"])
    assert isinstance(world.do(lambda: router.outcome("bad")).error, ConnectionError)
    saga = Saga([(good, None), (bad, None)])
    outcome = world.do(lambda: saga.outcome({}))
    assert isinstance(outcome.error, errors.SagaError)
    assert kinds(outcome) == ["StepStarted", "StepCompleted", "StepStarted"]
