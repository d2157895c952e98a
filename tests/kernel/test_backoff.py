from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import backoff
from failwell.backoff import Backoff, Decorrelated, Exponential, Fibonacci, Fixed, Jitter, Linear

seconds = st.floats(0, 1e6)
jitters: Any = st.one_of(st.sampled_from(["none", "full", "equal"]), st.floats(0, 1))
capped = st.one_of(
    st.builds(Linear, seconds, seconds, max=seconds, jitter=jitters),
    st.builds(Exponential, seconds, st.floats(1, 1e6), max=seconds, jitter=jitters),
    st.builds(Fibonacci, seconds, max=seconds, jitter=jitters),
    st.builds(Decorrelated, seconds, max=seconds),
)


@given(capped, st.integers(1, 100_000), st.one_of(st.none(), seconds))
def test_caps_hold_after_jitter_and_after_thousands_of_attempts(
    strategy: Backoff, attempt: int, previous: float | None
) -> None:
    low, high = strategy.bounds(attempt, previous)
    assert 0 <= low <= high <= strategy.max
    assert strategy.delay(attempt) <= strategy.max
    assert strategy.delay(10**6) <= strategy.max


@given(capped)
def test_waits_never_shrink(strategy: Backoff) -> None:
    delays = [strategy.delay(attempt) for attempt in (*range(1, 40), 500, 5000)]
    assert delays == sorted(delays)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        (Fixed(2), [2, 2, 2, 2]),
        (Linear(1), [1, 2, 3, 4]),
        (Linear(1, 0.5, max=2), [1, 1.5, 2, 2]),
        (Exponential(), [1, 2, 4, 8]),
        (Exponential(0.5, 3, max=4), [0.5, 1.5, 4, 4]),
        (Exponential(0), [0, 0, 0, 0]),
        (Fibonacci(), [1, 1, 2, 3]),
        (Fibonacci(2, max=5), [2, 2, 4, 5]),
        (Fibonacci(0), [0, 0, 0, 0]),
        (Decorrelated(1, max=10), [3, 9, 10, 10]),
        (Decorrelated(0), [0, 0, 0, 0]),
        (Exponential(jitter="full"), [1, 2, 4, 8]),
        (Exponential(jitter="equal"), [1, 2, 4, 8]),
        (Exponential(jitter=0.5), [1.5, 3, 6, 12]),
    ],
    ids=repr,
)
def test_delay_is_the_upper_bound_of_each_wait(strategy: Backoff, expected: list[float]) -> None:
    assert [strategy.delay(attempt) for attempt in (1, 2, 3, 4)] == expected


@pytest.mark.parametrize(
    ("jitter", "low", "high"), [("none", 4, 4), ("full", 0, 4), ("equal", 2, 4), (0.1, 3.6, 4.4), (0, 4, 4)]
)
def test_jitter_spreads_a_wait(jitter: Jitter, low: float, high: float) -> None:
    assert Fixed(4, jitter=jitter).bounds(1) == pytest.approx((low, high))


def test_decorrelated_waits_are_up_to_three_times_the_one_before() -> None:
    strategy = Decorrelated(1, max=10)
    assert strategy.bounds(2, 2.5) == (1, 7.5)
    assert strategy.bounds(2, 0.1) == (1, 1)
    assert strategy.bounds(1, 9) == (1, 3)
    assert Decorrelated(5, max=2).bounds(3) == (2, 2)


def test_growth_without_a_cap_ends_in_infinity_not_in_an_error() -> None:
    for strategy in (Exponential(max=math.inf), Fibonacci(max=math.inf), Decorrelated(max=math.inf)):
        assert strategy.delay(5000) == math.inf


def test_strategies_are_values() -> None:
    assert Exponential(2) == Exponential(2)
    assert hash(Exponential(2)) == hash(Exponential(2))
    assert Exponential(2) != Exponential(3)
    assert Exponential(1) != Linear(1)
    assert repr(Exponential(jitter="full")) == "Exponential(1, jitter='full')"
    assert repr(Fixed(2)) == "Fixed(2)"
    assert eval(repr(Linear(1, 2, 3, jitter=0.1)), {**vars(backoff)}) == Linear(1, 2, 3, jitter=0.1)


def test_without_arguments_waits_start_at_a_second_and_end_at_a_minute() -> None:
    assert [(kind().delay(1), kind().delay(10**6)) for kind in (Linear, Exponential, Fibonacci)] == [(1, 60)] * 3
    assert (Decorrelated().bounds(1), Decorrelated().delay(10**6)) == ((1, 3), 60)
    assert Fixed().delay(1) == 1
    assert repr(Exponential(multiplier=math.inf)) == "Exponential(1, multiplier=float('inf'))"


def test_a_strategy_of_ones_own_only_says_its_base() -> None:
    class Squares(Backoff):
        def base(self, attempt: int) -> float:
            return float(attempt * attempt - 1)

    assert [Squares(max=20).delay(n) for n in (1, 2, 3, 9)] == [0, 3, 8, 20]

    class Wrong(Backoff):
        def base(self, attempt: int) -> float:
            return -1.0

    assert Wrong().bounds(1) == (0, 0)
    assert (repr(Wrong()), repr(Squares(max=20))) == ("Wrong()", "Squares(max=20)")
    with pytest.raises(NotImplementedError, match=r"Backoff must define base\(attempt\)"):
        Backoff().delay(1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fixed(-1), "delay must be a number of seconds that is not negative, got -1"),
        (lambda: Fixed(math.inf), "delay must be .* got inf"),
        (lambda: Fixed(math.nan), "delay must be .* got nan"),
        (lambda: Fixed("1"), "delay must be a number of seconds, got '1'"),  # type: ignore[arg-type]
        (lambda: Fixed(True), "delay must be a number of seconds, got True"),
        (lambda: Exponential(multiplier=0.5), "multiplier must be at least 1, got 0.5"),
        (lambda: Exponential(multiplier="2"), "multiplier must be a number, got '2'"),  # type: ignore[arg-type]
        (lambda: Linear(step=-1), "step must be"),
        (lambda: Linear(max=-1), "max must be"),
        (lambda: Fixed(jitter="half"), "jitter must be 'none', 'full', 'equal' or a fraction from 0 to 1, got 'half'"),  # type: ignore[arg-type]
        (lambda: Fixed(jitter=1.5), "jitter must be .* got 1.5"),
        (lambda: Fixed(jitter=True), "jitter must be .* got True"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_attempts_count_from_one_and_numbers_have_limits() -> None:
    with pytest.raises(ValueError, match="counts from 1"):
        backoff.Exponential().delay(0)
    with pytest.raises(ValueError, match="too large"):
        backoff.Fixed(10**400)
