"""The note beside a drawing says what takes time, as the paths have it."""

from __future__ import annotations

import pytest

from failwell import Cache, Fallback, Retry, Timeout
from failwell.backoff import Exponential, Fixed
from failwell.flow import Graph, explore
from failwell.flow.timing import timing
from failwell.policy import Pattern
from tests.flow.drawn import backup


@pytest.mark.parametrize(
    ("policy", "lines"),
    [
        (Retry(3, Exponential(1.0)), ["wait 1 s, 2 s", "at most 3 s where it ends", "a hang may never end"]),
        (Timeout(30), ["time limit 30 s", "at most 30 s"]),
        (Retry(2, Fixed(0.5)) >> Timeout(2), ["wait 0.5 s", "time limit 2 s", "at most 4.5 s"]),
        (Timeout(9) >> Timeout(4), ["time limit 4 s", "at most 4 s"]),
        (Cache(60) >> Timeout(5), ["keep an answer for 60 s", "time limit 5 s", "at most 5 s"]),
        (Fallback(backup), ["a hang may never end"]),
    ],
)
def test_waits_limits_and_the_worst_case_are_told(policy: Pattern, lines: list[str]) -> None:
    exploration = explore(policy, "load")
    assert sorted(timing(exploration.paths)) == sorted(lines)
    assert exploration.graph().timing == exploration.graph(compact=False).timing == timing(exploration.paths)


def test_many_waits_are_cut_short() -> None:
    graph = explore(Retry(9, Exponential(1.0, max=100)), "load", outcomes=("ok", "fail")).graph()
    assert graph.timing == ("wait 1 s, 2 s, 4 s, …, 100 s", "at most 227 s")


def test_what_takes_no_time_has_no_lines() -> None:
    assert explore(Fallback(backup), "load", outcomes=("ok", "fail")).graph().timing == ()
    assert Graph([], [], "", []).timing == ()
