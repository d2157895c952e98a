from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings

from failwell import Cache, Fallback, Retry, Router, Saga, Step, Timeout, explore
from failwell.backoff import Exponential, Fixed
from failwell.flow.diff import Diff, Figure, by_error, diff, told_apart
from tests.flow.stacks import stacks
from tests.flow.test_report import few_paths


def backup() -> None: ...


def figures(found: Diff) -> dict[str, tuple[Any, Any]]:
    return {figure.name: (figure.a, figure.b) for figure in found.figures}


def test_one_policy_is_no_different_from_itself() -> None:
    stack = Timeout(9) >> Retry(3, Exponential(1)) >> Timeout(2)
    found = diff(explore(stack), explore(Timeout(9) >> stack.layers[1] >> stack.layers[2]))
    assert found.same
    assert not any(figure.differs for figure in found.figures)
    assert (found.a.paths, found.a.findings, found.b.paths, found.b.findings) == ((), (), (), ())


def test_figures_stand_side_by_side() -> None:
    p = Fraction(1, 10)
    found = diff(explore(Retry(2, Fixed(1)), "fetch"), explore(Retry(3, Fixed(1)) >> Timeout(4), "fetch"), p, 0)  # type: ignore[arg-type]
    assert figures(found) == {
        "success": ((1 - p**2,) * 2, (1 - p**3,) * 2),
        "worst latency": ((float("inf"),) * 2, (14, 14)),
        "mean latency": ((pytest.approx(0.1),) * 2, (pytest.approx(0.11),) * 2),
        "p99 latency": ((1, 1), (1, 1)),
        "answered": ((1 - p**2,) * 2, (1 - p**3,) * 2),
        "ConnectionError": ((p**2,) * 2, (p**3,) * 2),
        "never ends": ((0, 0), None),
        "TimeoutExceeded": (None, (0, 0)),
        "calls of fetch": ((1 + p,) * 2, (1 + p + p**2,) * 2),
        "most calls of fetch": ((2, 2), (3, 3)),
    }
    assert [figure.name for figure in found.figures if not figure.differs] == ["p99 latency"]


def test_paths_of_one_only_are_told_the_likeliest_first() -> None:
    found = diff(explore(Retry(2, Fixed(1))), explore(Retry(2, Fixed(2))), fail=0.1, hang=0.2)
    assert [(round(p, 3), str(path).count("wait 1 s")) for p, path in found.a.paths] == [
        (0.07, 1),
        (0.02, 1),
        (0.01, 1),
    ]
    assert [round(p, 3) for p, _ in found.b.paths] == [0.07, 0.02, 0.01]
    assert all("wait 2 s" in str(path) for _, path in found.b.paths)
    assert not found.same


@settings(deadline=None, max_examples=60)
@given(one=stacks(sagas=False, most=2), other=stacks(sagas=False, most=2))
def test_paths_of_both_are_those_that_tell_the_same(one: str, other: str) -> None:
    a, b = few_paths(one), few_paths(other)
    found, back = diff(a, b), diff(b, a)
    stories = {str(path) for path in a.paths}, {str(path) for path in b.paths}
    assert {str(path) for _, path in found.a.paths} >= stories[0] - stories[1]
    assert {str(path) for _, path in found.b.paths} >= stories[1] - stories[0]
    assert (found.a.paths, found.b.paths) == (back.b.paths, back.a.paths)
    assert found.same == back.same
    assert diff(a, a).same
    if found.same:
        assert not any(figure.differs for figure in found.figures)


def test_the_protected_operation_may_have_another_name() -> None:
    found = diff(explore(Retry(2, Fixed(1)), "fetch_v1"), explore(Retry(2, Fixed(1)), "fetch_v2"))
    assert found.same
    assert figures(found)["calls of fetch_v1 / fetch_v2"] == ((1.1, 1.1), (1.1, 1.1))
    assert len([name for name in figures(found) if name.startswith("calls of")]) == 1


def test_an_operation_of_one_only_is_never_called_by_the_other() -> None:
    found = diff(explore(Retry(2)), explore(Fallback(backup) >> Retry(2)), fail=1)
    assert figures(found)["calls of backup"] == (None, (1, 1))
    assert figures(found)["calls of operation"] == ((2, 2), (2, 2))


def test_odds_may_name_what_only_one_of_them_calls() -> None:
    a, b = explore(Retry(2, Fixed(0))), explore(Fallback(backup) >> Retry(2, Fixed(0)))
    found = diff(a, b, {"operation": 0.5, "backup": 0.5}, {"backup": 0.25})
    assert figures(found)["success"] == ((0.75, 0.75), (0.8125, 0.8125))
    with pytest.raises(ValueError, match="fail names 'oops', which is never called; called are backup, operation"):
        diff(a, b, {"oops": 0.5})
    with pytest.raises(ValueError, match="hang names 'oops'"):
        diff(a, b, 0.1, {"oops": 0.5})
    with pytest.raises(ValueError, match="hang=2 is no probability"):
        diff(a, b, 0.1, {"backup": 2})


def test_random_waits_give_bounds() -> None:
    full = Retry(2, Exponential(2, jitter="full"))
    found = diff(
        explore(full, outcomes=["ok", "fail"]), explore(Retry(2, Exponential(2)), outcomes=["ok", "fail"]), 0.5
    )
    assert figures(found)["mean latency"] == ((0, 1), (1, 1))
    assert figures(found)["success"] == ((0.75, 0.75), (0.75, 0.75))


def test_findings_of_one_only_are_told() -> None:
    inverted = explore(Timeout(5) >> Retry(3, Fixed(1)) >> Timeout(10))
    sound = explore(Timeout(30) >> Retry(3, Fixed(1)) >> Timeout(5))
    found = diff(inverted, sound)
    rules = {finding.rule for finding in inverted.lint()} - {finding.rule for finding in sound.lint()}
    assert rules
    assert rules <= {finding.rule for finding in found.a.findings}
    assert not {(f.rule, f.message) for f in found.a.findings} & {(f.rule, f.message) for f in found.b.findings}


def test_a_difference_is_plain_data_too() -> None:
    found = diff(explore(Cache(60)), explore(Cache(60) >> Timeout(5)), 0.5, 0.25)
    data = found.as_dict(most=2)
    assert data["same"] is False
    assert data["figures"]["success"] == {"unit": "share", "a": [0.25, 0.25], "b": [0.25, 0.25], "differs": False}
    assert data["figures"]["never ends"]["b"] is None
    assert data["b"]["title"] == "Cache(60) >> Timeout(5) >> operation"
    assert data["b"]["layers"] == ["Cache(60)", "Timeout(5)"]
    assert (data["a"]["paths"], data["a"]["operation"], data["a"]["raised"]) == (4, "operation", ["ConnectionError"])
    assert data["a"]["paths_only_here"] == [
        {"story": "Cache? miss -> operation hangs -> never ends", "probability": 0.25}
    ]
    assert data["a"]["number_of_paths_only_here"] == 1
    assert [one["rule"] for one in data["a"]["findings_only_here"]] == ["hang-never-ended"]
    json.dumps(data)


def test_rounding_is_no_difference() -> None:
    assert not Figure("success", "share", (0.3, 0.3), (0.1 + 0.2, 0.3)).differs
    assert Figure("success", "share", (0.3, 0.3), (0.3, 0.31)).differs
    never = float("inf"), float("inf")
    assert not Figure("worst", "seconds", never, never).differs
    assert Figure("worst", "seconds", never, (5, 5)).differs
    assert Figure("calls", "count", None, (0, 0)).differs
    assert not Figure("calls", "count", None, None).differs


def test_errors_that_either_side_tells_apart_are_told_apart() -> None:
    plain, picky = explore(Timeout(5)), explore(Retry(2, Fixed(1), on=ValueError))
    assert told_apart(plain, plain) == ()
    assert told_apart(plain, picky) == told_apart(picky, plain) == (ConnectionError, ValueError)


def test_so_are_errors_that_layers_further_inside_tell_apart() -> None:
    retry = Retry(2, Fixed(1), on=ValueError)
    kinds = (ConnectionError, ValueError)
    for inside in (
        Fallback(retry(backup), on=Exception),
        Router({"one": retry(backup), "other": backup}, select=len),
        Saga([Step(backup, None), Step(backup, backup, retry=retry, name="again")]),
        Saga([Step(retry(backup))]),
    ):
        assert told_apart(explore(inside), explore(Timeout(5))) == kinds, inside


@pytest.mark.parametrize("on", [ValueError, OSError, (ConnectionError, TimeoutError), Exception])
def test_a_policy_does_nothing_else_with_any_error_than_itself(on: Any) -> None:
    def stack(on: Any) -> Any:
        return Fallback(backup, on=OSError) >> Retry(2, Fixed(1), on=on)

    usual, other = explore(stack(ConnectionError)), explore(stack(on))
    errors = told_apart(usual, other)
    a, b = (explore(stack(one), outcomes=("ok", *errors)) for one in (ConnectionError, on))
    assert by_error(a, a, errors) == (errors, (), ())
    found, back = by_error(a, b, errors), by_error(b, a, errors)
    assert (found.a, found.b) == (back.b, back.a)
    assert found.a
    assert found.b
    lengths = [len(path.trace) for path in found.a]
    assert lengths == sorted(lengths)
    assert not {str(path) for path in found.a} & {str(path) for path in b.paths}
