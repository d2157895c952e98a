from __future__ import annotations

import functools
from typing import Any

import pytest

from failwell import (
    AdaptiveLimit,
    Cache,
    CircuitBreaker,
    Fallback,
    Hedge,
    Policy,
    RateLimiter,
    Retry,
    SafeCall,
    Stack,
    Timeout,
    backoff,
    errors,
    explore,
)
from failwell.events import FellBack, GaveUp, Waiting
from failwell.policy import labels
from tests.kernel.world import Hang, World, kinds

ONE = backoff.Fixed(1.0)


def test_the_outermost_layer_is_written_first() -> None:
    stack = Timeout(30) >> Retry(2, backoff=ONE) >> Fallback(max)
    assert isinstance(stack, Stack)
    assert [type(layer) for layer in stack.layers] == [Timeout, Retry, Fallback]
    assert repr(stack) == "Timeout(30) >> Retry(2, backoff=Fixed(1)) >> Fallback(max)"


def test_stacks_flatten_wherever_they_are_put() -> None:
    a, b, c, d = Timeout(4), Timeout(3), Timeout(2), Timeout(1)
    for stack in ((a >> b) >> (c >> d), a >> (b >> c) >> d, Stack(a, Stack(b, Stack(c)), d)):
        assert stack.layers == (a, b, c, d)
    assert a.layers == (a,)


def test_a_stack_ends_in_a_function(world: World) -> None:
    guarded = Timeout(30) >> Retry(backoff=ONE) >> world.operation(ConnectionError, "answer", name="fetch")
    assert guarded.__name__ == "fetch"
    assert world.do(lambda: guarded(1)) == "answer"
    with pytest.raises(TypeError, match="unsupported operand"):
        Timeout(30) >> 3  # type: ignore[operator]


def test_the_order_decides_what_happens(world: World) -> None:
    script = (Hang, ConnectionError, "answer")
    each = Retry(3, backoff=ONE) >> Timeout(5)
    outcome = world.run(each, world.operation(*script))
    assert (outcome.unwrap(), outcome.elapsed) == ("answer", 7)
    whole = Timeout(5) >> Retry(3, backoff=ONE)
    outcome = world.run(whole, world.operation(*script))
    assert isinstance(outcome.error, errors.TimeoutExceeded)
    assert outcome.elapsed == 5


def test_arguments_reach_the_operation_and_the_alternatives_through_all_layers(world: World) -> None:
    backup = world.operation("poor")
    operation = world.operation(ConnectionError)
    stack = Timeout(9) >> Fallback(backup) >> Timeout(8) >> Retry(2, backoff=ONE) >> Timeout(7)
    outcome = world.run(stack, operation, 1, 2, key=3)
    assert outcome.unwrap() == "poor"
    assert operation.log.calls == [((1, 2), {"key": 3})] * 2
    assert backup.log.calls == [((1, 2), {"key": 3})]
    assert kinds(outcome) == ["Attempt", "Waiting", "Attempt", "GaveUp", "FellBack"]


def test_layers_of_one_kind_are_told_apart(world: World) -> None:
    stack = Retry(2, backoff=ONE) >> Timeout(9) >> Retry(2, backoff=ONE)
    assert labels(stack.layers) == ["Retry", "Timeout", "Retry 2"]
    assert list(stack.describe()) == ["Retry", "Timeout", "Retry 2"]
    assert stack.describe()["Timeout"]["seconds"] == 9
    operation = world.operation(ConnectionError)
    outcome = world.run(stack, operation)
    assert len(operation.log.calls) == 4
    assert {e.layer for e in outcome.events} == {"Retry", "Retry 2"}


def test_policies_on_policies_are_the_same_as_a_stack(world: World) -> None:
    operation = world.operation(ConnectionError)
    guarded = Fallback(Fallback.value("poor"))(Retry(2, backoff=ONE)(operation))
    assert world.do(lambda: guarded()) == "poor"
    assert operation.log.times == [0, 1]


def test_a_stop_iteration_comes_out_of_a_plain_stack_as_it_is() -> None:
    world = World(asynchronous=False)
    stop = StopIteration("value")
    for driven in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if driven:
                patch.setattr("failwell.policy.derive", lambda *_, **__: None)
            for policy in (
                Retry(2, backoff=ONE, on=StopIteration),
                Retry(2),
                Fallback(world.operation(stop), on=StopIteration),
                Fallback(max, on=OSError),
                Timeout(5),
                Timeout(9) >> Fallback(world.operation(stop)) >> Retry(on=Exception, backoff=ONE) >> Timeout(5),
            ):
                outcome = world.run(policy, world.operation(stop))
                assert outcome.error is stop, policy
                assert all(e.error is stop for e in outcome.events if isinstance(e, (Waiting, GaveUp, FellBack)))
        assert world.run(Retry(backoff=ONE, on=StopIteration), world.operation(stop, "answer")).unwrap() == "answer"
        assert world.run(Fallback(Fallback.value(1)), world.operation(stop)).unwrap() == 1
        assert world.run(Fallback(lambda error: [error]), world.operation(stop)).unwrap() == [stop]
        assert world.run(Fallback(lambda x, error: [error]), world.operation(stop), 1).unwrap() == [stop]
        failed = StopIteration("second")
        outcome = world.run(Fallback(world.operation(failed)), world.operation(OSError("first")))
        assert outcome.error is failed
        assert isinstance(failed.__cause__, OSError)
        given_up = world.run(Retry(2, on=Exception, backoff=ONE), world.operation(stop)).error
        assert given_up is stop
        assert stop.__notes__ == ["failwell gave up after 2 attempts in 1 s: no attempt left"]


def test_degraded_is_seen_from_outside_of_all_layers(world: World) -> None:
    poor = Fallback(Fallback.value("poor"))
    operation = world.operation(OSError)
    for stack in (poor, Timeout(9) >> poor, Retry() >> Timeout(9) >> poor >> Timeout(8), poor >> Retry()):
        assert world.run(stack, operation).degraded
    inside = poor(operation)

    async def awaits_it() -> Any:
        return await inside()

    calls_it: Any = awaits_it if world.asynchronous else lambda: inside()
    assert world.run(Timeout(9), calls_it).degraded
    assert not world.run(poor, world.operation("real")).degraded


def test_an_attempt_that_failed_after_a_degraded_part_is_no_answer(world: World) -> None:
    class Graded(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            return await rt.graded(call)

    class Marks(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            rt.degraded()
            return await call()

    marked = Marks()
    assert world.run(Graded() >> marked, world.operation("x")).value == ("x", True)
    assert world.run(Graded() >> marked, world.operation("x")).degraded
    outcome = world.run(Fallback(Fallback.value("y")) >> Graded() >> marked, world.operation(OSError))
    assert outcome.degraded  # by the fallback
    outcome = world.run(Graded() >> marked, world.operation(OSError))
    assert not outcome.degraded


def test_what_is_no_policy_is_refused() -> None:
    with pytest.raises(TypeError, match="a stack is made of policies, got 3"):
        Stack(Timeout(1), 3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a stack needs at least one policy"):
        Stack()
    with pytest.raises(TypeError, match="use replace"):
        (Timeout(1) >> Timeout(2)).replace(seconds=3)


# --- decorators on top of each other ---


def test_two_decorators_are_one_stack(world: World) -> None:
    inner, outer = Retry(3, backoff=backoff.Fixed(1)), Timeout(30)
    guarded = outer(inner(world.operation(ConnectionError, ConnectionError, "answer")))
    assert explore(guarded).title == explore((outer >> inner)(world.operation("answer"))).title
    assert explore(guarded).report(fail=0.1).most_calls == {"operation": 3}
    assert world.do(guarded) == "answer"
    assert explore(outer >> inner(world.operation("answer"))).report(fail=0.1).most_calls == {"operation": 3}


def test_a_method_that_is_protected_twice_is_explored_as_one_stack() -> None:
    class Client:
        @Retry(3)
        def fetch(self) -> str:
            return "answer"

    assert explore(Timeout(30)(Client().fetch)).report(fail=0.1).most_calls == {"fetch": 3}
    assert Timeout(30)(Client().fetch)() == "answer"


def test_a_wrapper_around_a_protected_function_is_not_passed_over() -> None:
    calls: list[str] = []

    @Retry(2, backoff=backoff.Fixed(0))
    def fetch() -> str:
        return "answer"

    @functools.wraps(fetch)
    def counted() -> str:
        calls.append("counted")
        return fetch()

    assert Timeout(5)(counted)() == "answer"
    assert calls == ["counted"]
    with pytest.raises(TypeError, match="decorated"):
        explore(counted)


@pytest.mark.parametrize(
    "policy",
    [
        RateLimiter(5, max_wait=float("inf")),
        Cache(float("inf"), stale_if_error=60),
        Retry(3, backoff.Fibonacci(1, max=float("inf")), max_elapsed=float("inf")),
    ],
    ids=repr,
)
def test_a_repr_with_an_infinite_value_is_a_program(policy: Policy) -> None:
    again = eval(repr(policy).replace("Fibonacci", "backoff.Fibonacci"))
    assert again.describe() == policy.describe()
    assert repr(again) == repr(policy)


def broken(error: Exception) -> bool:
    raise KeyError("in the predicate")


@pytest.mark.parametrize(
    "policy",
    [
        Retry(3, ONE, on=broken),
        Fallback(Fallback.value("other"), on=broken),
        SafeCall("default", on=broken),
        CircuitBreaker(1, on=broken),
        AdaptiveLimit(5, on=broken),
        Hedge(1, on=broken),
    ],
    ids=lambda policy: type(policy).__name__,
)
def test_an_error_of_a_predicate_is_raised_with_the_operations_error_as_its_context(
    world: World, policy: Policy
) -> None:
    own = ConnectionError("reset")
    operation = world.operation(own)
    outcome = world.run(policy, operation)
    assert repr(outcome.error) == "KeyError('in the predicate')"
    assert outcome.error is not None
    assert outcome.error.__context__ is own
    attempts = 2 if isinstance(policy, Hedge) else 1  # there it is how that attempt failed
    assert len(operation.log.calls) == attempts
