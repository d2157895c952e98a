from __future__ import annotations

import asyncio
import pickle
import threading
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import Fallback, Policy, Retry, Timeout, backoff, errors, explore, virtual
from failwell.events import FaultInjected
from failwell.testing import Fault, async_failing, disabled, failing, fault
from tests.kernel.world import World, kinds
from tests.soak.test_soak import hammer

ONE = backoff.Fixed(1.0)


def injected(policy: Fault, world: World, calls: int = 200) -> str:
    """One letter a call: what was injected into it."""
    guarded = (Timeout(100.0) >> policy)(world.operation("real"))
    letters: list[str] = []

    def one() -> Any:
        return guarded()

    for _ in range(calls):
        before = policy.injected
        try:
            world.do(one)
        except (ConnectionError, TimeoutError):
            pass
        now = policy.injected
        [letter] = [kind[0] for kind in now if now[kind] > before[kind]] or ["."]
        letters.append(letter)
    return "".join(letters)


def test_without_shares_nothing_is_injected(world: World) -> None:
    outcome = world.run(Fault(), world.operation("real"), 1, key=2)
    assert (outcome.unwrap(), outcome.events, outcome.elapsed) == ("real", (), 0)


def test_a_failure_is_raised_and_the_call_is_not_made(world: World) -> None:
    operation = world.operation("real", name="fetch")
    outcome = world.run(Fault(fail=1), operation)
    assert repr(outcome.error) == "ConnectionError('fetch: a failure was injected')"
    assert operation.log.calls == []
    [event] = outcome.events
    assert isinstance(event, FaultInjected)
    assert (event.fault, event.layer, event.operation) == ("failure", "Fault", "fetch")


def test_a_delay_comes_before_the_call(world: World) -> None:
    operation = world.operation("real")
    outcome = world.run(Fault(slow=1, delay=2.5), operation)
    assert (outcome.unwrap(), outcome.elapsed, kinds(outcome)) == ("real", 2.5, ["FaultInjected"])
    assert operation.log.times == [2.5]
    assert world.run(Fault(slow=1), operation).elapsed == 1


def test_a_hang_ends_when_it_is_cut_and_the_call_is_not_made(world: World) -> None:
    operation = world.operation("real")
    outcome = world.run(Timeout(3) >> Fault(hang=1), operation)
    assert isinstance(outcome.error, errors.TimeoutExceeded)
    assert (outcome.elapsed, operation.log.calls) == (3, [])


def test_one_lot_decides_so_shares_add_up(world: World) -> None:
    policy = Fault(0.2, 0.3, 0.5, seed=1)
    letters = injected(policy, world)
    assert "." not in letters
    counted = policy.injected
    assert sum(counted.values()) == 200
    assert [kind[0] for kind in counted] == ["f", "h", "d"]
    assert {kind: letters.count(kind[0]) for kind in counted} == counted
    assert 25 <= counted["failure"] <= 55
    assert 40 <= counted["hang"] <= 80
    assert 80 <= counted["delay"] <= 120


@given(seed=st.integers(), shares=st.tuples(*[st.floats(0, 0.33)] * 3))
def test_the_same_seed_injects_the_same_faults(seed: int, shares: tuple[float, float, float]) -> None:
    first, second = (injected(Fault(*shares, seed=seed), World(False), 20) for _ in range(2))
    assert first == second


def test_plain_and_async_calls_get_the_same_faults() -> None:
    assert injected(Fault(0.3, 0.1, 0.2, seed=5), World(True)) == injected(Fault(0.3, 0.1, 0.2, seed=5), World(False))


def test_without_a_seed_the_order_is_another_each_time() -> None:
    assert injected(Fault(0.5), World(False)) != injected(Fault(0.5), World(False))


def test_what_a_program_draws_does_not_depend_on_it() -> None:
    import random

    before = random.getstate()
    Fault(0.5, slow=0.2, delay=0.0).outcome(lambda: 1)
    assert random.getstate() == before


def test_it_can_be_limited_to_some_calls(world: World) -> None:
    def is_for_tests(user: str, **_: Any) -> bool:
        return user.startswith("test")

    policy = Fault(fail=1, when=is_for_tests)
    guarded = policy(world.operation("real"))
    assert world.do(lambda: guarded("ada", x=1)) == "real"
    with pytest.raises(ConnectionError):
        world.do(lambda: guarded("test-7"))
    assert policy.injected == {"failure": 1, "hang": 0, "delay": 0}


def test_calls_that_are_left_out_do_not_use_up_lots(world: World) -> None:
    chosen = Fault(fail=0.5, seed=3, when=lambda number: number >= 10)
    guarded = chosen(world.operation("real"))

    def failed(number: int) -> bool:
        try:
            world.do(lambda: guarded(number))
        except ConnectionError:
            return True
        return False

    assert not any(map(failed, range(10)))
    found = [failed(number) for number in range(10, 30)]
    assert "".join("f" if one else "." for one in found) == injected(Fault(fail=0.5, seed=3), world, 20)


def test_an_error_of_the_predicate_is_raised(world: World) -> None:
    outcome = world.run(Fault(fail=1, when=lambda: 1 / 0), world.operation("real"))
    assert isinstance(outcome.error, ZeroDivisionError)


def test_it_can_be_limited_in_number(world: World) -> None:
    policy = Fault(fail=1, limit=2)
    assert injected(policy, world, 5) == "ff..."
    assert injected(Fault(fail=1, limit=0), world, 3) == "..."


def test_it_can_be_started_and_stopped_at_any_time(world: World) -> None:
    policy = Fault(fail=1, active=False)
    copy = policy.replace(fail=0.999999)
    guarded = policy(world.operation("real"))
    assert (world.do(guarded), policy.active) == ("real", False)
    policy.start()
    with pytest.raises(ConnectionError):
        world.do(guarded)
    assert (policy.active, copy.active, copy.injected) == (True, True, policy.injected)
    copy.stop()
    assert (world.do(guarded), policy.active) == ("real", False)
    assert repr(policy) == "Fault(1, active=False)"


def test_when_it_stops_calls_that_hang_are_made() -> None:
    async def main() -> None:
        policy = Fault(hang=1)
        call = asyncio.ensure_future(policy(async_failing("real"))())
        await asyncio.sleep(5)
        assert not call.done()
        policy.stop()
        assert await call == "real"
        policy.start()
        again = Timeout(3).outcome(policy(async_failing("real")))
        assert isinstance((await again).error, errors.TimeoutExceeded)

    virtual.run(main())


def test_when_it_stops_threads_that_hang_go_on() -> None:
    policy = Fault(hang=1)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(policy.call(failing("real"))), daemon=True)
    thread.start()
    while not policy.injected["hang"]:
        time.sleep(0.001)
    policy.stop()
    thread.join(5)
    assert answers == ["real"]


class Odd(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(code, reason)


def test_any_error_can_be_injected(world: World) -> None:
    for error in (TimeoutError, Odd, errors.UnavailableError):
        outcome = world.run(Fault(fail=1, error=error), world.operation("real"))
        assert type(outcome.error) is error
        assert type(explore(Fault(fail=1, error=error)).paths[-1].error) is error
    made = world.run(Fault(fail=1, error=lambda: Odd(7, reason="x")), world.operation("real")).error
    assert isinstance(made, Odd)
    assert pickle.loads(pickle.dumps(KeyError("a"))).args == ("a",)


def test_each_injected_error_is_a_new_one(world: World) -> None:
    guarded = Fault(fail=1)(world.operation("real"))
    found: list[Exception] = []
    for _ in range(2):
        with pytest.raises(ConnectionError) as caught:
            world.do(guarded)
        found.append(caught.value)
    assert found[0] is not found[1]


def test_it_is_switched_off_with_all_other_policies(world: World) -> None:
    with disabled():
        assert world.run(Fault(fail=1), world.operation("real")).unwrap() == "real"


def test_a_real_dependency_can_be_made_to_fail_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Client:
        def get(self, name: str) -> str:
            return f"real {name}"

    client = Client()
    monkeypatch.setattr(client, "get", fault(fail=1)(client.get))
    with pytest.raises(ConnectionError, match="get: a failure was injected"):
        client.get("cart")


def test_what_is_around_it_does_its_job(world: World) -> None:
    stack = Fallback(Fallback.value("poor")) >> Retry(3, ONE) >> Timeout(2) >> Fault(0.3, 0.2, 0.1, seed=4)
    guarded = stack(world.operation("real"))
    answers = [world.do(guarded) for _ in range(100)]
    assert set(answers) == {"real", "poor"}
    assert answers.count("poor") < 30


def test_a_cancelled_call_that_hangs_ends_at_once_and_counts_once() -> None:
    async def main() -> None:
        policy = Fault(hang=1)
        call = asyncio.ensure_future(policy(async_failing("real"))())
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert policy.injected["hang"] == 1

    virtual.run(main())


def test_many_threads_share_one_sequence_of_lots() -> None:
    policy = Fault(fail=0.25, seed=9)
    guarded = policy(lambda: "real")
    lock = threading.Lock()
    seen = {"failure": 0, "calls": 0}

    def work(place: int, number: int) -> None:
        failed = 0
        try:
            assert guarded() == "real"
        except ConnectionError:
            failed = 1
        with lock:
            seen["failure"] += failed
            seen["calls"] += 1

    hammer(work, threads=4, seconds=0.4)
    alone = Fault(fail=0.25, seed=9)
    again = alone(lambda: "real")
    for _ in range(seen["calls"]):
        alone_failed = alone.injected["failure"]
        try:
            again()
        except ConnectionError:
            assert alone.injected["failure"] == alone_failed + 1
    assert policy.injected["failure"] == seen["failure"] == alone.injected["failure"]


# --- explored ---


def never(*_: Any) -> Any:
    raise AssertionError("the explorer must not run it")


def test_exploring_tries_each_fault_and_runs_no_function_of_the_users() -> None:
    policy = Fault(0.1, 0.1, 0.1, error=never, when=never, delay=2)
    assert [str(path) for path in explore(Timeout(5) >> policy, "fetch", outcomes=("ok",)).paths] == [
        "inject a failure? no -> inject a hang? no -> inject a delay? no -> fetch -> return after 0 s",
        "inject a failure? no -> inject a hang? no -> inject a delay? yes -> fetch -> return after 2 s",
        "inject a failure? no -> inject a hang? yes -> timed out (cancelled after 5 s)"
        " -> raise TimeoutExceeded after 5 s",
        "inject a failure? yes -> raise ConnectionError after 0 s",
    ]
    assert policy.injected == {"failure": 0, "hang": 0, "delay": 0}


def test_a_fault_that_is_not_asked_for_is_not_asked_about() -> None:
    assert len(explore(Fault(slow=0.1), outcomes=("ok",)).paths) == 2
    assert len(explore(Fault(), outcomes=("ok",)).paths) == 1


def test_nothing_is_injected_unless_odds_say_so() -> None:
    chaos = Fault(0.1, 0.1, 0.4, delay=1)
    found = explore(Retry(2, ONE) >> Timeout(2) >> chaos, outcomes=("ok",))
    assert found.report(fail=0).success == 1
    report = found.report(fail=0, situations=chaos.odds)
    assert report.success == pytest.approx(1 - 0.2**2)
    assert explore(Fault(1.0), outcomes=("ok",)).report(situations=Fault(1.0).odds).success == 0


@given(shares=st.tuples(*[st.floats(0.01, 0.33)] * 3))
def test_the_odds_are_those_of_the_shares(shares: tuple[float, float, float]) -> None:
    chaos = Fault(*shares, delay=7)
    paths = explore(chaos, outcomes=("ok",)).paths
    found = sorted(path.probability(0, 0, situations=chaos.odds) for path in paths)
    assert found == pytest.approx(sorted([*shares, 1 - sum(shares)]))


def test_two_of_them_are_told_apart_by_their_names() -> None:
    stack: Policy = Fault(fail=0.1, name="prices") >> Fault(fail=0.2)
    assert [str(path) for path in explore(stack, outcomes=("ok",)).paths][-1] == (
        "prices: inject a failure? yes -> raise ConnectionError after 0 s"
    )
    both = {**Fault(fail=0.1, name="prices").odds, **Fault(fail=0.2).odds}
    assert explore(stack, outcomes=("ok",)).report(situations=both).success == pytest.approx(0.9 * 0.8)


# --- arguments ---


def test_it_says_what_it_is() -> None:
    assert repr(Fault(0.1, slow=0.2, delay=3, seed=7, name="prices")) == (
        "Fault(0.1, slow=0.2, delay=3, seed=7, name='prices')"
    )
    assert Fault(name="prices").label == "Fault prices"
    assert Fault(0.1).replace(slow=0.5).describe()["slow"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fail": "often"}, "fail must be a number, got 'often'"),
        ({"hang": 1.5}, "hang must be a share from 0 to 1, got 1.5"),
        ({"slow": float("nan")}, "slow must be a share from 0 to 1, got nan"),
        ({"fail": 0.6, "hang": 0.6}, "fail, hang and slow must add up to 1 at most, got 0.6, 0.6 and 0.0"),
        ({"error": 7}, "error must be an exception type or a plain function that makes one, got 7"),
        ({"error": KeyboardInterrupt}, "error must be an exception type or a plain function"),
        ({"error": int}, "error must be an exception type or a plain function"),
        ({"delay": -1}, "delay must be 0 seconds or more and finite, got -1"),
        ({"delay": float("inf")}, "delay must be 0 seconds or more and finite, got inf"),
        ({"seed": 1.5}, "seed must be a whole number, got 1.5"),
        ({"when": 7}, "when must be a plain function of the call's arguments, got 7"),
        ({"limit": -1}, "limit must be 0 faults or more, got -1"),
        ({"limit": 1.5}, "limit must be a whole number, got 1.5"),
        ({"active": 1}, "active must be True or False, got 1"),
        ({"name": 7}, "name must be a text, got 7"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Fault(**arguments)


def test_async_functions_are_refused_where_nobody_would_await_them() -> None:
    async def late(*_: Any) -> Any: ...

    with pytest.raises(TypeError, match="when must be a plain function"):
        Fault(when=late)
    with pytest.raises(TypeError, match="error must be an exception type"):
        Fault(error=late)  # type: ignore[arg-type]


def test_a_call_that_was_looked_at_before_it_stopped_is_left_alone_after(world: World) -> None:
    policy = Fault(fail=1, when=lambda: policy.stop() is None)
    assert world.run(policy, world.operation("real")).unwrap() == "real"
    assert policy.injected["failure"] == 0
