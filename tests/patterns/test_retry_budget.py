from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
import weakref
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from failwell import Retry, RetryBudget, Timeout, backoff, explore, virtual
from failwell.events import GaveUp
from tests.kernel.world import Hang, World
from tests.soak.test_soak import hammer

ONE = backoff.Fixed(1.0)
NOW = backoff.Fixed(0)


def no_slack(calls: int, ratio: float, minimum: float, ttl: float) -> Fraction:
    """How many retries some calls allow, in exact numbers."""
    return Fraction(str(ratio)) * calls + Fraction(str(minimum)) * Fraction(str(ttl))


# --- the promise ---

# Times in binary fractions, so that the edge of a window is the same for all who compute it.
ticks = st.lists(st.tuples(st.integers(0, 48).map(lambda n: n / 16), st.booleans(), st.integers(1, 30)), max_size=60)


@settings(max_examples=300, deadline=None)
@given(
    steps=ticks,
    ratio=st.sampled_from([0, 0.1, 0.2, 0.29, 0.6, 0.7, 1, 2.5]),
    minimum=st.sampled_from([0, 0.1, 0.5, 1, 3]),
    ttl=st.sampled_from([0.625, 1.25, 2.5, 10]),
)
@example(steps=[(0.0, False, 30), (9.9375, True, 30)], ratio=0.1, minimum=0, ttl=10)
def test_at_each_retry_those_of_the_last_ttl_are_within_what_its_calls_and_the_minimum_allow(
    steps: list[tuple[float, bool, int]], ratio: float, minimum: float, ttl: float
) -> None:
    budget = RetryBudget(ratio, minimum, ttl)
    calls: list[float] = []
    retries: list[float] = []
    with virtual.clock() as clock:
        for wait, wants_to_retry, times in steps:
            clock.now += wait
            now = clock.now
            for _ in range(times):
                if not wants_to_retry:
                    budget.deposit()
                    calls.append(now)
                    continue
                before = budget.balance
                if budget.withdraw():
                    retries.append(now)
                    recent = sum(now - ttl < t <= now for t in retries)
                    paid = sum(now - ttl < t <= now for t in calls)
                    assert recent <= no_slack(paid, ratio, minimum, ttl)
                    assert budget.balance == before - 1
                else:  # and it is not stingy: one tenth of the ttl at either end is all that it may leave out
                    recent = sum(now - ttl * 11 / 10 < t <= now for t in retries)
                    paid = sum(now - ttl * 9 / 10 < t <= now for t in calls)
                    assert recent + 1 > no_slack(paid, ratio, minimum, ttl)
                    assert before == 0


@pytest.mark.parametrize(
    ("ratio", "calls", "allowed"), [(0.1, 10, 1), (0.1, 9, 0), (0.29, 100, 29), (0.6, 10, 6), (0.7, 10, 7), (2.5, 2, 5)]
)
def test_a_ratio_means_what_it_says_whatever_a_float_makes_of_it(ratio: float, calls: int, allowed: int) -> None:
    budget = RetryBudget(ratio, minimum_per_second=0)
    with virtual.clock():
        for _ in range(calls):
            budget.deposit()
        assert budget.balance == allowed
        assert sum(budget.withdraw() for _ in range(calls * 3)) == allowed


def test_the_minimum_is_there_without_any_call_and_comes_back() -> None:
    budget = RetryBudget(ratio=0, minimum_per_second=0.5, ttl=4)
    with virtual.clock():
        assert [budget.withdraw() for _ in range(3)] == [True, True, False]
        time.sleep(3.9)
        assert not budget.withdraw()
        time.sleep(0.5)
        assert [budget.withdraw() for _ in range(3)] == [True, True, False]


def test_in_the_long_run_the_extra_load_is_the_ratio() -> None:
    budget = RetryBudget(0.1, minimum_per_second=0)
    granted = 0
    with virtual.clock():
        for _ in range(60_000):
            budget.deposit()
            granted += budget.withdraw()
            time.sleep(0.01)
    assert 0.08 * 60_000 <= granted <= 0.1 * 60_000


def test_what_calls_paid_long_ago_is_gone() -> None:
    budget = RetryBudget(1, minimum_per_second=0, ttl=10)
    with virtual.clock():
        for _ in range(50):
            budget.deposit()
        time.sleep(8.9)
        assert budget.balance == 50
        time.sleep(1.1)
        assert budget.balance == 0
        assert not budget.withdraw()


def test_a_balance_is_never_below_nothing() -> None:
    budget = RetryBudget(1, minimum_per_second=0, ttl=10)
    with virtual.clock():
        budget.deposit()
        time.sleep(8)
        assert budget.withdraw()
        time.sleep(2)  # the call is forgotten, the retry that it paid for is not
        assert budget.balance == 0
        budget.deposit()
        assert budget.balance == 0
        time.sleep(8)
        budget.deposit()
        time.sleep(1)
        assert budget.balance >= 1


def test_it_takes_the_same_memory_for_any_number_of_calls() -> None:
    def size() -> int:
        kept = [budget._calls, budget._retries]
        return sum(map(sys.getsizeof, kept)) + sum(map(len, kept))

    budget = RetryBudget()
    with virtual.clock():
        before = size()
        for _ in range(2_000):
            budget.deposit()
            budget.withdraw()
            time.sleep(0.013)
    assert size() == before


def test_a_budget_serves_one_virtual_run_after_the_other() -> None:
    budget = RetryBudget(0, minimum_per_second=0.1, ttl=10)
    for _ in range(3):
        with virtual.clock():
            assert [budget.withdraw(), budget.withdraw()] == [True, False]
            time.sleep(1000)
            assert budget.balance == 1


def test_the_time_of_day_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = RetryBudget(0, minimum_per_second=0.1, ttl=10)
    with virtual.clock():
        assert budget.withdraw()
        monkeypatch.setattr(time, "time", lambda: 4e9)
        assert not budget.withdraw()


# --- with Retry ---


def test_when_it_is_spent_only_the_extra_attempts_are_left_out(world: World) -> None:
    budget = RetryBudget(0, minimum_per_second=0.2, ttl=10)
    retry = Retry(2, ONE, budget=budget)
    down = world.operation(ConnectionError("down"))

    def ended(outcome: Any) -> tuple[str, ...]:
        return tuple(event.reason for event in outcome.events if isinstance(event, GaveUp))

    def plain() -> list[Any]:
        return [retry.outcome(down) for _ in range(4)]

    async def on_loop() -> list[Any]:
        return [await retry.outcome(down) for _ in range(4)]

    outcomes = world.do(on_loop if world.asynchronous else plain)
    assert [ended(outcome) for outcome in outcomes] == [(GaveUp.NO_ATTEMPT_LEFT,)] * 2 + [(GaveUp.BUDGET_SPENT,)] * 2
    assert len(down.log.calls) == 6
    assert outcomes[-1].elapsed == 0
    assert outcomes[-1].error.__notes__ == ["failwell gave up after 1 attempt in 0 s: retry budget spent"]


def test_several_retries_and_functions_share_it(world: World) -> None:
    budget = RetryBudget(0.5, minimum_per_second=0)
    paying, spending = world.operation("fine"), world.operation(ConnectionError("down"))
    patient = Retry(9, NOW, budget=budget)
    usual = patient.replace(max_attempts=3)

    def plain() -> None:
        for _ in range(7):
            usual.outcome(paying)
        patient.outcome(spending)

    async def on_loop() -> None:
        for _ in range(7):
            await usual.outcome(paying)
        await patient.outcome(spending)

    world.do(on_loop if world.asynchronous else plain)
    assert len(spending.log.calls) == 1 + 4  # eight calls were made


class Ledger:
    """Counts, and allows all."""

    def __init__(self) -> None:
        self.calls = self.retries = 0

    def deposit(self) -> None:
        self.calls += 1

    def withdraw(self) -> bool:
        self.retries += 1
        return True


def test_a_call_through_several_layers_with_one_budget_is_one_call(world: World) -> None:
    ledger, other = Ledger(), Ledger()
    down = world.operation(ConnectionError("down"))
    stack = Retry(3, NOW, budget=ledger) >> Retry(1, NOW, budget=other) >> Retry(2, NOW, budget=ledger)
    world.run(stack, down)
    assert len(down.log.calls) == 6
    assert (ledger.calls, ledger.retries) == (1, 2 + 3 * 1)
    assert other.calls == 3
    world.run(stack, down)
    assert (ledger.calls, other.calls) == (2, 6)


def test_what_layers_with_one_budget_add_to_the_load_is_what_it_allowed(world: World) -> None:
    budget = RetryBudget(0.1, minimum_per_second=0.2, ttl=10)
    quick = Retry(3, NOW, budget=budget)
    guarded = (quick >> quick >> quick)(down := world.operation(ConnectionError("down")))

    def plain() -> None:
        for _ in range(100):
            with pytest.raises(ConnectionError):
                guarded()

    async def on_loop() -> None:
        for _ in range(100):
            with pytest.raises(ConnectionError):
                await guarded()

    world.do(on_loop if world.asynchronous else plain)
    assert len(down.log.calls) == 100 + 10 + 2


def test_a_call_counts_again_when_the_one_around_it_is_over(world: World) -> None:
    ledger = Ledger()
    inner = Retry(1, budget=ledger)(world.operation("fine"))
    retry = Retry(1, budget=ledger)

    def plain() -> None:
        retry.call(inner)
        retry.outcome(world.operation(ValueError))
        inner()

    async def on_loop() -> None:
        await retry.call(inner)
        await retry.outcome(world.operation(ValueError))
        await inner()

    world.do(on_loop if world.asynchronous else plain)
    assert ledger.calls == 3


def test_a_task_that_outlives_the_call_that_started_it_makes_calls_of_its_own() -> None:
    ledger = Ledger()
    retry = Retry(1, budget=ledger)
    chain: list[Any] = []

    @retry
    async def call() -> None:
        chain.append(weakref.ref(asyncio.current_task()))  # type: ignore[arg-type]

    async def worker(left: int) -> None:
        await asyncio.sleep(1)
        await call()
        if left:
            await retry.call(start, left - 1)

    tasks: list[asyncio.Task[None]] = []

    async def start(left: int) -> None:
        tasks.append(asyncio.create_task(worker(left)))

    async def main() -> None:
        await retry.call(start, 4)
        await asyncio.sleep(60)

    virtual.run(main())
    assert ledger.calls == 5 + 5


def test_a_call_inside_a_worker_thread_belongs_to_the_call_around_it() -> None:
    ledger = Ledger()
    retry = Retry(1, budget=ledger)
    assert (retry >> Timeout(5) >> retry)(lambda: "fine")() == "fine"
    assert ledger.calls == 1
    assert (Timeout(5) >> retry)(lambda: "fine")() == "fine"
    assert (Timeout(5) >> retry)(lambda: "fine")() == "fine"
    assert ledger.calls == 3


def test_a_budget_that_fails_to_count_fails_the_call_and_the_next_one_is_counted(world: World) -> None:
    class Broken(Ledger):
        def deposit(self) -> None:
            super().deposit()
            if self.calls == 1:
                raise RuntimeError("no ledger")

    ledger = Broken()
    retry = Retry(budget=ledger)
    assert str(world.run(retry, world.operation("never")).error) == "no ledger"
    assert world.run(retry >> retry, world.operation("fine")).value == "fine"
    assert ledger.calls == 2


def test_a_caller_who_is_cancelled_while_it_waits_takes_nothing_with_it() -> None:
    ledger = Ledger()
    down = World(True).operation(ConnectionError("down"), Hang)
    retry = Retry(3, ONE, budget=ledger)

    async def main() -> None:
        for seconds in (0.5, 1.5):
            call = asyncio.create_task(retry.call(down))
            await asyncio.sleep(seconds)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        down.log.script = ("fine",)
        assert await retry.call(down) == "fine"

    virtual.run(main())
    assert ledger.calls == 3
    assert ledger.retries == 1


def test_a_coroutine_that_is_closed_elsewhere_is_no_trouble() -> None:
    retry = Retry(3, ONE, budget=Ledger())
    call: Any = retry.call(World(True).operation(Hang))

    async def main() -> None:
        call.send(None)

    virtual.run(main())
    call.close()


def test_no_call_is_kept_when_it_is_over() -> None:
    retry = Retry(2, NOW, budget=RetryBudget())

    class Answer:
        pass

    kept: list[weakref.ref[Answer]] = []

    @retry
    def operation() -> Answer:
        answer = Answer()
        kept.append(weakref.ref(answer))
        if len(kept) % 2:
            raise ConnectionError(answer)
        return answer

    gc.disable()
    try:
        operation()
        assert [one() for one in kept] == [None, None]
    finally:
        gc.enable()


def test_the_explorer_shows_both_answers_and_never_asks_the_budget_itself() -> None:
    budget = RetryBudget()
    found = explore(Retry(3, ONE, budget=budget), outcomes=("ok", "fail"))
    reasons = {event.reason for path in found.paths for event in path.events if isinstance(event, GaveUp)}
    assert reasons == {GaveUp.BUDGET_SPENT, GaveUp.NO_ATTEMPT_LEFT}
    assert budget.balance == 10
    spent = found.report(fail=1, situations={"retry budget left": {"no": 1}})
    assert spent.calls == {"operation": 1}
    assert found.report(fail=1).calls == {"operation": 3}


# --- threads ---


def count_in_threads(seconds: float) -> None:
    """Calls and retries of many threads; what was allowed is what was paid for."""
    budget = RetryBudget(0.25, minimum_per_second=1, ttl=60)
    granted = [0] * 32
    made = [0] * 32

    def work(place: int, number: int) -> None:
        budget.deposit()
        made[place] += 1
        granted[place] += budget.withdraw()
        assert 0 <= budget.balance <= 60 + sum(made) / 4 + 32

    rounds = hammer(work, seconds=seconds)
    assert sum(made) == rounds
    assert sum(granted) == 60 + rounds // 4


def test_threads_together_get_exactly_what_was_paid_for() -> None:
    count_in_threads(0.3)


def test_the_first_to_ask_gets_the_last_retry_and_nobody_else() -> None:
    budget = RetryBudget(0, minimum_per_second=0.1, ttl=10)
    together = threading.Barrier(8)
    got: list[bool] = []

    def ask() -> None:
        together.wait(10)
        got.append(budget.withdraw())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sorted(got) == [False] * 7 + [True]


# --- parameters ---


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"ratio": -0.1}, "ratio must be a finite number that is not negative, got -0.1"),
        ({"ratio": float("nan")}, "ratio must be a finite number that is not negative, got nan"),
        ({"ratio": "0.1"}, "ratio must be a number, got '0.1'"),
        ({"ratio": True}, "ratio must be a number, got True"),
        ({"minimum_per_second": float("inf")}, "minimum_per_second must be a finite number .*, got inf"),
        ({"minimum_per_second": -1}, "minimum_per_second must be .*, got -1"),
        ({"ttl": 0}, "ttl must be a finite number of seconds above 0, got 0"),
        ({"ttl": float("inf")}, "ttl must be .*, got inf"),
        ({"ttl": None}, "ttl must be a number, got None"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused_by_name_and_value(wrong: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        RetryBudget(**wrong)


def test_a_class_is_no_budget() -> None:
    with pytest.raises(TypeError, match=r"budget must be an object with deposit\(\) and withdraw\(\), got <class"):
        Retry(budget=RetryBudget)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("budget", "shown"),
    [
        (RetryBudget(), "RetryBudget()"),
        (RetryBudget(0.2), "RetryBudget(0.2)"),
        (RetryBudget(1.0, minimum_per_second=2.0, ttl=30.0), "RetryBudget(1, minimum_per_second=2, ttl=30)"),
        (RetryBudget(ttl=0.5), "RetryBudget(ttl=0.5)"),
    ],
)
def test_it_shows_itself_as_one_would_type_it(budget: RetryBudget, shown: str) -> None:
    assert repr(budget) == shown
    assert repr(Retry(5, ONE, budget=budget)) == f"Retry(5, backoff=Fixed(1), budget={shown})"
