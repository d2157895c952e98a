from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from failwell import Cache, CircuitBreaker, Fallback, Policy, RateLimiter, Retry, Router, Saga, Step, Timeout, explore
from failwell.backoff import Exponential, Fixed
from failwell.errors import TooManyPaths
from failwell.flow import Exploration, Report
from failwell.flow.classes import outcome_classes
from tests.flow.stacks import explored, stacks

HALF = Fraction(1, 2)


def few_paths(text: str) -> Exploration:
    """All paths of a random stack, if they are few."""
    try:
        return explored(text, limit=300)
    except TooManyPaths:
        reject()


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
    fails = "operation (attempt 1) fails -> wait 1 s -> operation (attempt 2)"
    assert data == {
        "success": 0.75,
        "degraded": 0,
        "outcomes": {"answered": 0.75, "ConnectionError": 0.25, "TimeoutExceeded": 0},
        "mean_latency": 0.5,
        "worst_latency": 11,
        "p50": 0,
        "p99": 1,
        "bounds": {},
        "calls": {"operation": 1.5},
        "most_calls": {"operation": 2},
        "raised": ["ConnectionError", "TimeoutExceeded"],
        "raised_by": {
            "ConnectionError": f"{fails} fails -> give up (no attempt left) -> raise ConnectionError after 1 s",
            "TimeoutExceeded": f"{fails} hangs -> timed out (cancelled after 5 s) -> give up (no attempt left) "
            "-> raise TimeoutExceeded after 6 s",
        },
        "never_reached": [],
        "ages": [],
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
        ({"situations": {"Cache": {"miss": "most"}}}, "the odds of Cache miss, 'most', are no probability"),
    ],
)
def test_bad_odds_are_refused(odds: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explore(Cache(60)).report(**odds)


def test_where_nothing_has_situations_odds_for_them_are_refused() -> None:
    with pytest.raises(ValueError, match="layers with situations are none"):
        explore(Timeout(1)).report(situations={"Cache": {"miss": 1}})


# --- outcomes --------------------------------------------------------------------------------------


def test_every_way_to_end_has_its_odds() -> None:
    fail, hang = Fraction(1, 10), Fraction(1, 20)
    report = explore(Fallback(spare, on=ConnectionError) >> Timeout(2)).report({"operation": fail}, {"operation": hang})  # type: ignore[dict-item]
    assert report.outcomes == {
        "answered": 1 - fail - hang,
        "degraded": fail,
        "ConnectionError": 0,  # of the alternative, which has no odds to fail here
        "TimeoutExceeded": hang,
        "never ends": 0,
    }
    assert (report.success, report.degraded) == (1 - hang, fail)


@settings(deadline=None, max_examples=100)
@given(text=stacks(), fail=st.fractions(0, "1/2"), hang=st.fractions(0, "1/2"))
def test_outcomes_are_the_classes_of_the_paths_and_sum_up_to_certainty(text: str, fail: Any, hang: Any) -> None:
    exploration = few_paths(text)
    report = exploration.report(fail, hang)
    classes = outcome_classes(exploration)
    assert list(report.outcomes) == list(classes)
    for name, paths in classes.items():
        assert report.outcomes[name] == sum(path.probability(fail, hang) for path in paths)
    assert sum(report.outcomes.values()) == 1
    assert report.success == report.outcomes.get("answered", 0) + report.degraded
    for name, count in report.calls.items():
        assert count == sum(path.probability(fail, hang) * path.calls.get(name, 0) for path in exploration.paths)
        assert report.most_calls[name] == max(path.calls.get(name, 0) for path in exploration.paths)


def test_a_report_says_by_which_path_an_error_is_raised() -> None:
    report = explore(Retry(2, Fixed(1)) >> Timeout(5)).report(fail=0.01, hang=0.2)
    assert [str(path).count("hangs") for path in report.raised_by.values()] == [1, 2]
    assert tuple(report.raised_by) == report.raised
    assert all(type(path.error).__name__ == name for name, path in report.raised_by.items())


def test_decisions_can_be_given_odds() -> None:
    def small() -> None: ...

    def large() -> None: ...

    router = Router({"small": small, "large": large}, select=lambda: "small")
    exploration = explore(Retry(1) >> router, outcomes=["ok", "fail"])
    assert exploration.report(0).calls == {"small": 0.5, "large": 0.5}
    mostly_small = exploration.report(0, situations={"route": {"small": Fraction(9, 10), "large": Fraction(1, 10)}})  # type: ignore[dict-item]
    assert mostly_small.calls == {"small": Fraction(9, 10), "large": Fraction(1, 10)}
    assert repr(mostly_small) == "<Report success=1 mean=0 s worst=0 s>"
    with pytest.raises(ValueError, match="route has no situation 'medium'; it has large, small"):
        exploration.report(situations={"route": {"medium": 1}})


# --- what is never reached -------------------------------------------------------------------------


def test_layers_that_never_act_and_alternatives_never_called_are_named() -> None:
    def archive() -> None: ...

    def never(exploration: Exploration) -> tuple[str, ...]:
        return exploration.report().never_reached

    assert never(explore(Fallback(spare, archive) >> Retry(2) >> Timeout(5))) == ()
    assert never(explore(Retry(2, on=KeyError) >> Retry(2, on=ConnectionError))) == ("Retry",)
    assert never(explore(Timeout(30) >> Timeout(5))) == ("Timeout",)
    assert never(explore(Retry(2) >> Timeout(5), outcomes=["ok", "fail"])) == ("Timeout",)
    value = Fallback.value(0)
    assert never(explore(Fallback(value, archive), outcomes=["ok", "fail"])) == ("archive",)
    assert never(explore(Fallback(archive) >> Fallback(value), outcomes=["ok", "fail"])) == ("Fallback", "archive")
    assert never(explore(Cache(60) >> Retry(2))) == ()


def test_steps_and_routes_that_are_never_reached_are_named() -> None:
    def release() -> None: ...

    def charge() -> None: ...

    def refund() -> None: ...

    saga = Saga([Step(spare, release), Step(charge, refund)])
    assert explore(saga).report().never_reached == ("refund",)  # nothing comes after the last step
    assert explore(Retry(2) >> Router({"a": spare, "b": charge}, select=str)).report().never_reached == ()


def test_a_layer_that_reports_nothing_is_not_said_to_do_nothing() -> None:
    class Silent(Policy):
        def __init__(self, *given: int) -> None:  # and it does not keep its parameter
            del given

        async def run(self, call: Any, rt: Any) -> Any:
            return await call()

    class Told(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            async def inner() -> Any:
                if rt.now() > 10:
                    rt.emit(None)
                return await call()

            return await inner()

    assert explore(Silent(1)).report().never_reached == ()
    assert explore(Told()).report().never_reached == ("Told",)


# --- random waits ----------------------------------------------------------------------------------

FULL: Any = Exponential(2, jitter="full")


def test_without_random_waits_there_are_no_bounds() -> None:
    report = explore(Retry(3, Exponential(2)) >> Timeout(5)).report(0.1, 0.1)
    assert (report.is_random, report.bounds) == (False, {})
    assert report.latency_bounds == (report.mean_latency, report.mean_latency)
    assert report.success_bounds == (report.success, report.success)
    assert report.percentile_bounds(0.99) == (report.percentile(0.99), report.percentile(0.99))
    assert report.calls_bounds == {"operation": (report.calls["operation"],) * 2}
    with pytest.raises(ValueError, match="q must be a share from 0 to 1"):
        report.percentile_bounds(2)


def test_a_random_wait_gives_latency_two_bounds() -> None:
    half, p = Fixed(4, jitter="equal"), 0.125
    report = explore(Retry(3, half), outcomes=["ok", "fail"]).report(p)
    waits = p + p**2
    assert report.mean_latency == 4 * waits
    assert report.latency_bounds == (2 * waits, 4 * waits)
    assert report.success_bounds == (1 - p**3, 1 - p**3)
    assert [report.percentile_bounds(q) for q in (0.5, 0.95, 0.995)] == [(0, 0), (2, 4), (4, 8)]
    assert report.percentile(0.995) == 8
    assert report.bounds == {
        "success": (1 - p**3, 1 - p**3),
        "mean_latency": (2 * waits, 4 * waits),
        "p50": (0, 0),
        "p99": (4, 8),
    }


def test_a_limit_that_races_with_a_random_wait_gives_success_two_bounds() -> None:
    p = Fraction(1, 5)
    report = explore(Timeout(3) >> Retry(3, FULL), outcomes=["ok", "fail"]).report(p)  # type: ignore[arg-type]
    # At worst both waits are so long that the limit comes before the third attempt, at best there is no wait.
    assert report.success == 1 - p**2
    assert report.success_bounds == (1 - p**2, 1 - p**3)
    assert report.outcome_bounds == {
        "answered": (1 - p**2, 1 - p**3),
        "ConnectionError": (0, p**3),
        "TimeoutExceeded": (0, p**2),
    }
    assert report.calls_bounds == {"operation": (1 + p, 1 + p + p**2)}
    assert report.latency_bounds == (0, pytest.approx(2 * float(p) + float(p) ** 2))
    assert report.percentile_bounds(1) == (0, 3)
    assert report.percentile_bounds(0.9) == (0, 2)


def test_a_limit_that_was_reached_takes_the_same_time_however_long_the_waits_were() -> None:
    exploration = explore(Timeout(5) >> Retry(2, FULL) >> Timeout(2))
    hung = [path for path in exploration.paths if str(path).count("hangs") == 2]
    assert {path.between for path in hung} == {(4, 5), (5, 5)}
    assert all(path.between == (5, 5) for path in hung if path.elapsed == 5)
    assert explore(Retry(2, FULL) >> Timeout(2)).report(hang=1, fail=0).percentile_bounds(1) == (4, 6)


def test_waits_of_a_policy_that_reports_nothing_are_known_as_well() -> None:
    class Patient(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            await rt.sleep(rt.between(1, 3))
            return await rt.within(2, lambda: self.after(call, rt))

        @staticmethod
        async def after(call: Any, rt: Any) -> Any:
            await rt.sleep(rt.between(0, 1))
            return await call()

    exploration = explore(Patient())
    assert [path.between for path in exploration.paths] == [(1, 4), (1, 4), (3, 5)]


def test_layers_whose_state_ages_during_random_waits_are_named() -> None:
    limiter, breaker = RateLimiter(5), CircuitBreaker()
    assert explore(Cache(60) >> Retry(3) >> breaker >> limiter).report().ages == ("CircuitBreaker", "RateLimiter")
    assert explore(breaker >> Retry(3)).report().ages == ()
    assert explore(Retry(3, Fixed(1)) >> breaker).report().ages == ()
    assert explore(Retry(2, Fixed(1)) >> Cache(60) >> Retry(2) >> breaker).report().ages == ("CircuitBreaker",)


@settings(deadline=None, max_examples=150)
@given(text=stacks(sagas=False), fail=st.floats(0, 0.5), hang=st.floats(0, 0.5))
def test_figures_are_within_their_bounds(text: str, fail: float, hang: float) -> None:
    exploration = few_paths(text)
    report = exploration.report(fail, hang)

    def holds(bounds: tuple[float, float], figure: float) -> bool:
        return bounds[0] <= figure + 1e-9 and figure <= bounds[1] + 1e-9

    assert holds(report.latency_bounds, report.mean_latency)
    assert holds(report.success_bounds, report.success)
    assert all(holds(report.outcome_bounds[name], p) for name, p in report.outcomes.items())
    assert all(holds(report.calls_bounds[name], count) for name, count in report.calls.items())
    assert all(holds(report.percentile_bounds(q), report.percentile(q)) for q in (0, 0.5, 0.9, 0.99, 1))
    if "jitter" not in text:
        assert report.bounds == {}
