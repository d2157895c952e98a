"""Ten thousand calls at once through one object."""

from __future__ import annotations

import time

import pytest

from tests.patterns.test_many_callers import LIMITS, check_all_end, seconds_to_cancel

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("name", LIMITS)
def test_of_ten_thousand_calls_each_ends_and_nobody_is_forgotten(name: str) -> None:
    started = time.perf_counter()
    check_all_end(name, 10_000)
    print(f"{name}: {(time.perf_counter() - started) * 100:.0f} us a call")


@pytest.mark.parametrize("name", LIMITS)
def test_ten_thousand_who_wait_are_cancelled_in_no_time(name: str) -> None:
    took = seconds_to_cancel(name, 10_000)
    print(f"{name}: {took * 100:.0f} us a call")
    assert took < 8 * 20 * min(seconds_to_cancel(name, 500) for _ in range(3))
