from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import Cache, Fallback, Retry, Timeout, explore
from failwell.backoff import Fixed
from failwell.flow import Report

HALF = Fraction(1, 2)


def spare() -> None: ...


@settings(deadline=None, max_examples=60)
@given(attempts=st.integers(1, 6), p=st.fractions(0, 1))
def test_retry_succeeds_unless_every_attempt_fails(attempts: int, p: Any) -> None:
    exploration = explore(Retry(attempts, Fixed(0)), outcomes=["ok", "fail"])
    report = exploration.report(fail=p)
    assert report.success == 1 - p**attempts  # exactly: these are fractions
    assert report.calls["operation"] == sum(p**n for n in range(attempts))
    assert exploration.report(fail=float(p)).success == pytest.approx(float(1 - p**attempts))


def test_hangs_that_a_timeout_ends_count_as_failures() -> None:
    fail, hang = Fraction(1, 10), Fraction(1, 20)
    report = explore(Retry(3, Fixed(1)) >> Timeout(5)).report(fail, hang)  # type: ignore[arg-type]
    assert report.success == 1 - (fail + hang) ** 3
    once, twice = fail + hang, (fail + hang) ** 2
    assert report.mean_latency == pytest.approx(float(5 * hang * (1 + once + twice) + once + twice))
    assert (report.worst_latency, report.most_calls) == (17, {"operation": 3})


def test_latency_is_told_for_any_share_of_the_calls() -> None:
    report = explore(Retry(3, Fixed(1)), outcomes=["ok", "fail"]).report(fail=0.1)
    assert [report.percentile(q) for q in (0, 0.5, 0.9, 0.91, 0.99, 0.991, 1)] == [0, 0, 0, 1, 1, 2, 2]
    for q in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="q must be a share from 0 to 1"):
            report.percentile(q)


def test_a_hang_that_nothing_ends_is_the_worst() -> None:
    report = explore(Retry(2)).report()
    assert (report.worst_latency, report.mean_latency) == (float("inf"), pytest.approx(0.1))
    assert not report.worst_path.ends
    assert explore(Retry(2)).report(hang=0.1).mean_latency == float("inf")
    assert explore(Retry(2)).report(fail=0, hang=0.1).success == 0.9


def test_calls_are_counted_for_each_operation() -> None:
    report = explore(Fallback(spare, Fallback.value(0))).report({"operation": HALF, "spare": Fraction(1, 4)})  # type: ignore[dict-item]
    assert report.calls == {"operation": 1, "spare": HALF, "value 0": Fraction(1, 8)}
    assert report.most_calls == {"operation": 1, "spare": 1, "value 0": 1}
    assert (report.success, report.degraded) == (1, HALF)


def test_an_operation_that_odds_do_not_name_never_fails() -> None:
    assert explore(Fallback(spare)).report({"operation": HALF}).success == 1  # type: ignore[dict-item]
    assert explore(Fallback(spare)).report(hang={"operation": 0.25}, fail=0).success == 0.75


def test_situations_can_be_given_odds() -> None:
    exploration = explore(Cache(60), outcomes=["ok", "fail"])
    assert exploration.report(HALF).success == HALF  # type: ignore[arg-type]
    warm = exploration.report(HALF, situations={"Cache": {"miss": Fraction(1, 4), "fresh": Fraction(3, 4)}})  # type: ignore[dict-item, arg-type]
    assert (warm.success, warm.calls) == (Fraction(7, 8), {"operation": Fraction(1, 4)})


def test_a_report_says_what_a_caller_can_see_raised() -> None:
    assert explore(Retry(2) >> Timeout(1)).report().raised == ("ConnectionError", "TimeoutExceeded")
    assert explore(Fallback.value(1) >> Timeout(1) if False else Fallback(Fallback.value(1))).report().raised == ()


def test_a_report_is_plain_data_too() -> None:
    report = explore(Retry(2, Fixed(1)) >> Timeout(5)).report(fail=0.5)
    data = report.as_dict()
    assert json.loads(json.dumps(data)) == data
    assert data == {
        "success": 0.75,
        "degraded": 0,
        "mean_latency": 0.5,
        "worst_latency": 11,
        "p50": 0,
        "p99": 1,
        "calls": {"operation": 1.5},
        "most_calls": {"operation": 2},
        "raised": ["ConnectionError", "TimeoutExceeded"],
        "worst_path": str(report.worst_path),
    }
    assert repr(report) == "<Report success=0.75 mean=0.5 s worst=11 s>"
    assert isinstance(report, Report)


@pytest.mark.parametrize(
    ("odds", "message"),
    [
        ({"fail": 1.5}, "fail=1.5 is no probability: give a number from 0 to 1"),
        ({"fail": -0.1}, "fail=-0.1 is no probability"),
        ({"hang": float("nan")}, "hang=nan is no probability"),
        ({"fail": "0.1"}, "fail='0.1' is no probability"),
        ({"fail": True}, "fail=True is no probability"),
        ({"fail": {"operation": 2}}, "fail=2 is no probability"),
        ({"hang": {"oops": 0.1}}, "hang names 'oops', which is never called; called are operation"),
        ({"fail": 0.6, "hang": 0.6}, "fail and hang of operation sum up to more than 1"),
        ({"fail": {"operation": 0.6}, "hang": 0.6}, "fail and hang of operation sum up to more than 1"),
        ({"situations": {"Retry": {"new": 1}}}, "situations names 'Retry'; layers with situations are Cache"),
        ({"situations": {"Cache": {"warm": 1}}}, "Cache has no situation 'warm'; it has fresh, miss"),
        ({"situations": {"Cache": {"miss": 2, "fresh": -1}}}, "the odds of Cache miss, 2, are no probability"),
        ({"situations": {"Cache": {"miss": 0.5}}}, "the odds of the situations of Cache sum up to 0.5, not to 1"),
    ],
)
def test_bad_odds_are_refused(odds: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explore(Cache(60)).report(**odds)


def test_where_nothing_has_situations_odds_for_them_are_refused() -> None:
    with pytest.raises(ValueError, match="layers with situations are none"):
        explore(Timeout(1)).report(situations={"Cache": {"miss": 1}})
