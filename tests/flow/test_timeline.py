from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path as File
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import (
    Bulkhead,
    Cache,
    Fallback,
    Outcome,
    Policy,
    RateLimiter,
    Retry,
    Saga,
    Step,
    Timeout,
    explore,
    virtual,
)
from failwell.backoff import Exponential, Fixed
from failwell.errors import TooManyPaths
from failwell.events import Attempt, Called, Cancelled, Queued, Slept, TimedOut
from failwell.flow import Choice, Path
from failwell.flow.draw import draw, theme
from failwell.flow.draw.timeline import Bar, bars, flow_with_times, timeline, timeline_text
from failwell.flow.story import steps
from failwell.flow.trace import Recorded, match, timed
from failwell.policy import labels
from tests.flow.drawn import GRAPHS, HOSTILE, POLICIES
from tests.flow.stacks import explored, stacks

SVG = "{http://www.w3.org/2000/svg}"
FOREVER = float("inf")
STACK = Fallback(Fallback.value("spare")) >> Timeout(10) >> Retry(3, Fixed(1))


def path_of(policy: Any, story: str, operation: str = "fetch") -> Path:
    """The first path whose story holds some words."""
    return next(path for path in explore(policy, operation).paths if story in str(path))


def shown(path: Path) -> list[tuple[str, str, str, float, float]]:
    return [(bar.lane, bar.kind, bar.words, bar.start, bar.end) for bar in bars(path)]


# --- what is where ---------------------------------------------------------------------------------


def test_calls_waits_limits_and_the_end_are_bars_in_time() -> None:
    assert shown(path_of(STACK, "fails -> wait 1 s -> fetch (attempt 2) hangs")) == [
        ("fetch", "call", "attempt 1 fails", 0, 0),
        ("Retry", "wait", "wait 1 s", 0, 1),
        ("fetch", "call", "attempt 2 hangs", 1, 10),
        ("Timeout", "limit", "timed out, cancelled after 10 s", 0, 10),
        ("value 'spare'", "call", "fallback 1", 10, 10),
        ("caller", "whole", "return degraded answer after 10 s", 0, 10),
    ]


def test_what_hangs_for_ever_is_open_ended() -> None:
    path = path_of(Retry(2, Fixed(1)), "(attempt 2) hangs")
    assert shown(path)[-2:] == [
        ("fetch", "call", "attempt 2 hangs", 1, FOREVER),
        ("caller", "whole", "never ends", 0, FOREVER),
    ]
    drawn = timeline(path)
    assert drawn.count("fw-open") - drawn.count(".fw-open") == 2
    assert ">for ever<" in drawn
    assert "from 1 s for ever, fetch: attempt 2 hangs" in drawn


def test_a_wait_that_is_cut_short_is_as_long_as_it_was() -> None:
    path = path_of(Timeout(5) >> Retry(2, Fixed(9)), "wait 9 s -> timed out")
    assert ("Retry", "wait", "wait 9 s", 0, 5) in shown(path)


def test_choices_of_a_layer_are_moments_on_its_lane() -> None:
    path = path_of(Cache(60, stale_if_error=60), "stale")
    assert ("Cache", "moment", "stale", 0, 0) in shown(path)
    decided = path_of(Retry(2, Fixed(1), retry_result=lambda result: result is None), "yes")
    assert ("Retry", "moment", "retry this result? yes", 0, 0) in shown(decided)


def test_undoing_a_step_has_the_role_of_compensation() -> None:
    path = path_of(POLICIES["saga"], "unbook")
    [bar] = [bar for bar in bars(path) if bar.lane == "unbook"]
    assert (bar.role, bar.kind, bar.words) == ("compensation", "call", "undoes book ok")


def test_a_wait_in_a_queue_lasts_until_it_is_over() -> None:
    path = path_of(Bulkhead(1, max_queue=1, queue_timeout=3), "too long in the queue")
    kinds = [(bar.kind, bar.start, bar.end) for bar in bars(path) if bar.lane == "Bulkhead"]
    assert ("wait", 0, 3) in kinds
    assert kinds[-1] == ("moment", 3, 3)


def test_what_follows_a_queue_is_when_the_wait_is_over() -> None:
    policy = RateLimiter(1, per=2, max_wait=2) >> Bulkhead(1, max_queue=1, queue_timeout=3)
    path = next(p for p in explore(policy, "fetch").paths if [c.option for c in p.choices] == ["queued", "stuck"])
    where = {(bar.lane, bar.kind): (bar.start, bar.end) for bar in bars(path) if bar.start}
    assert where["Bulkhead", "wait"] == (2, 5)
    queued = Queued("Bulkhead", "f", 0.0, None, 3.0)
    call = Choice("operation", "f", "hang", ("ok", "hang"), "")
    late = TimedOut("Timeout", "f", 9.0, None, 9.0)
    cut = bars(Path((queued, call, late), None, OSError(), 9.0))
    assert [(bar.start, bar.end) for bar in cut[:2]] == [(0, 3), (3, 9)]
    endless = Queued("Bulkhead", "f", 0.0, None, FOREVER)
    assert bars(Path((endless, call), None, None, FOREVER))[1].start == 0
    answered = Choice("operation", "f", "ok", ("ok", "hang"), "")
    assert bars(Recorded((queued, answered), "a", None, 2.0))[1][-3:] == (0, 2, False)


def test_a_limit_struck_before_what_was_done_was_undone() -> None:
    def book(state: object) -> None: ...
    def unbook(state: object) -> None: ...
    def pay(state: object) -> None: ...

    policy = Timeout(60) >> Saga([Step(book, unbook, retry=Retry(3, Fixed(10))), Step(pay)])
    path = path_of(policy, "pay (step 2) hangs -> undo book -> unbook (attempt 1) fails -> wait")
    [limit] = [bar for bar in bars(path) if bar.kind == "limit"]
    assert (limit.start, limit.end) == (0, 60)
    assert path.elapsed > 60
    again = path_of(
        Timeout(60) >> Retry(2, Fixed(90), on=Exception) >> Saga([Step(book, unbook), Step(pay)]),
        "wait 90 s -> timed out",
    )
    assert [(bar.start, bar.end) for bar in bars(again) if bar.kind == "limit"] == [(0, 60)]


def test_an_attempt_without_a_call_is_a_moment() -> None:
    path = path_of(Retry(2, Fixed(1)) >> Cache(60), "fresh")
    assert shown(path)[0] == ("Retry", "moment", "try attempt 1", 0, 0)


def test_code_that_sleeps_and_is_cancelled_is_told_by_its_reports() -> None:
    call = Choice("operation", "slow", "hang", ("ok", "hang"), "")
    trace = (
        Slept("", "", 2.0, None, 2.0),
        Called("", "slow", 2.0, None, 1),
        call,
        Slept("", "", 3.0, None, 1.0),
        Cancelled("", "slow", 7.0, None, 5.0),
    )
    found = shown(Path(trace, "answer", None, 7.0))
    assert found[0] == ("caller", "wait", "wait 2 s", 0, 2)
    assert found[1] == ("slow", "call", "call 1 hangs", 2, 7)


# --- a real call -----------------------------------------------------------------------------------


def real(policy: Any, *script: Any, takes: float = 0.25) -> tuple[Any, Recorded]:
    answers = iter(script)

    def fetch() -> str:
        time.sleep(takes)
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    with virtual.clock():
        time.sleep(100)
        outcome = policy.outcome(fetch)
    return outcome, timed(explore(policy, "fetch"), Outcome.from_json(outcome.to_json()))


def test_a_real_call_has_its_own_times_and_errors() -> None:
    outcome, path = real(STACK, ConnectionError("reset"), "answer")
    expected = [
        ("fetch", "call", "attempt 1 fails (ConnectionError)", 0, 0.25),
        ("Retry", "wait", "wait 1 s", 0.25, 1.25),
        ("fetch", "call", "attempt 2 ok", 1.25, 1.5),
        ("caller", "whole", "return after 1.5 s", 0, 1.5),
    ]
    assert shown(path) == expected
    alone = [(bar.lane, bar.kind, bar.start, bar.end) for bar in bars_of(outcome)]
    assert alone == [(lane, kind, start, end) for lane, kind, _, start, end in expected]


def bars_of(outcome: Outcome[Any]) -> list[Bar]:
    from failwell.flow.trace import alone

    return bars(alone(outcome))


def test_an_error_that_ends_the_call_is_named_at_the_call() -> None:
    _, path = real(Timeout(5), ConnectionError("reset"))
    assert shown(path)[0] == ("fetch", "call", "fails (ConnectionError)", 0, 0.25)


def test_calls_with_no_report_between_them_share_their_time() -> None:
    class Twice(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            await call()
            return await call()

    _, path = real(Twice(), "one", "two")
    assert [(bar.sure, bar.start, bar.end) for bar in bars(path)[:2]] == [(False, 0, 0.5), (False, 0, 0.5)]
    assert "between 0 s and 0.5 s, fetch: ok" in timeline(path)
    assert "fw-unsure" in timeline(path)


def test_an_outcome_can_be_drawn_without_its_stack() -> None:
    outcome, path = real(STACK, ConnectionError("reset"), "answer")
    assert "attempt 1 raises ConnectionError" in timeline(outcome)
    assert "attempt 1 fails (ConnectionError)" in timeline(path)
    assert "raises ConnectionError" in timeline_text(outcome)


# --- every path of random stacks -------------------------------------------------------------------


@settings(max_examples=60)
@given(text=stacks(jitter=True), pick=st.randoms(use_true_random=False))
def test_any_path_is_drawn_in_order_inside_and_apart(text: str, pick: Any) -> None:
    try:
        exploration = explored(text, limit=300)
    except TooManyPaths:
        return
    path = pick.choice(exploration.paths)
    found = bars(path)
    assert [bar.step for bar in found] == list(range(1, len(steps(path)) + 1))
    for bar in found:
        assert 0 <= bar.start <= bar.end <= path.elapsed + 1e-9
    calls = [bar.lane for bar in found if bar.kind == "call"]
    assert sorted(calls) == sorted(itertools.chain(*([name] * n for name, n in path.calls.items())))
    check_drawing(timeline(path, prefix="t", layers=labels(exploration.layers)), len(found))
    assert len(timeline_text(path).splitlines()) == len(found)


def check_drawing(text: str, count: int) -> None:
    root = ET.fromstring(text)
    ids = [str(element.get("id")) for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert {f"t-s{number}" for number in range(1, count + 1)} <= set(ids)
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "t-title t-desc"
    assert (root.findtext(f"{SVG}desc") or "").count("\n") == count - 1
    width, height = float(str(root.get("width"))), float(str(root.get("height")))
    spots: list[tuple[float, str]] = []
    for group in root.iter(f"{SVG}g"):
        if "fw-step" not in group.get("class", "").split():
            continue
        [words] = group.iter(f"{SVG}text")
        spots.append((float(str(words.get("y"))), str(words.get("x"))))
        assert 0 <= float(str(words.get("x"))) <= width
        assert 0 <= float(str(words.get("y"))) <= height
        assert "".join(words.itertext()).strip() != ""
        assert group.findtext(f"{SVG}title")
    assert len(set(spots)) == len(spots)


def test_the_same_bytes_in_every_process() -> None:
    program = (
        "import hashlib; from tests.flow.test_timeline import STACK, path_of\n"
        "from failwell.flow.draw.timeline import timeline\n"
        "print(hashlib.sha256(timeline(path_of(STACK, 'hangs')).encode()).hexdigest())"
    )
    root = File(__file__).parents[2]
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join([str(root), str(root / "src")])},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_lanes_stand_in_the_order_of_the_layers() -> None:
    path = path_of(STACK, "fails -> wait 1 s -> fetch (attempt 2) hangs")
    root = ET.fromstring(timeline(path, layers=["Fallback", "Timeout", "Retry"]))
    lanes = [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "fw-lane"]
    assert lanes == ["caller", "Timeout", "Retry", "fetch", "value 'spare'"]


@pytest.mark.parametrize(
    ("elapsed", "ticks"),
    [
        (0.0, ["0 s"]),
        (2e-5, ["0", "5 µs", "10 µs", "15 µs", "20 µs"]),
        (0.9, ["0", "200 ms", "400 ms", "600 ms", "800 ms"]),
        (2.0, ["0", "0.5 s", "1 s", "1.5 s", "2 s"]),
        (93.0, ["0", "15 s", "30 s", "45 s", "60 s", "75 s", "90 s"]),
        (7200.0, ["0", "0.5 h", "1 h", "1.5 h", "2 h"]),
        (90_000.0, ["0", "6 h", "12 h", "18 h", "24 h"]),
        (1e10, ["0", "100000 d"]),
    ],
)
def test_the_axis_has_round_moments(elapsed: float, ticks: list[str]) -> None:
    root = ET.fromstring(timeline(Path((Attempt("Retry", "f", 0.0, None, 1),), "a", None, elapsed)))
    assert [text.text for text in root.iter(f"{SVG}text") if text.get("class") == "fw-tick"] == ticks


def test_one_drawing_follows_the_page_or_has_its_own_scheme() -> None:
    path = path_of(STACK, "hangs")
    assert "var(--fw-error-stroke,#C62828)" in timeline(path)
    assert 'class="fw-flow fw-dark"' in timeline(path, scheme="dark")
    assert "<title id=" in timeline(path, title="a call of mine")
    assert "Timeline of a call of mine" in timeline(path, title="a call of mine")


def test_hostile_names_break_nothing() -> None:
    path = Path((Attempt(HOSTILE, HOSTILE, 0.0, None, 1),), "a", None, 3.0)
    check_drawing(timeline(path, title=HOSTILE, prefix="t"), 2)
    assert len(timeline_text(path).splitlines()) == 2


def test_the_text_names_every_step() -> None:
    told = timeline_text(path_of(STACK, "fails -> wait 1 s -> fetch (attempt 2) hangs"), title="mine")
    assert told.splitlines()[:4] == [
        "mine",
        "",
        "  1  at 0 s       |◆                               |  fetch          attempt 1 fails",
        "  2  0 s to 1 s   |░░░░                            |  Retry          wait 1 s",
    ]
    assert "|--------------------------------|  Timeout        timed out, cancelled after 10 s" in told


# --- a path that is lit up -------------------------------------------------------------------------


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("name", POLICIES)
def test_every_path_lights_up_its_own_boxes_and_arrows(name: str, compact: bool) -> None:
    exploration = explore(POLICIES[name], "call_api")
    graph = exploration.graph(compact)
    for path in exploration.paths[:6]:
        root = ET.fromstring(draw(graph, "svg", prefix="p", lit=path))
        groups = {
            str(group.get("id")): group
            for group in root.iter(f"{SVG}g")
            if {"fw-node", "fw-edge"} & set(group.get("class", "").split())
        }
        visited, taken = graph.walk(path)
        count = len(steps(path))
        lit = {key for key, group in groups.items() if "fw-lit" in group.get("class", "").split()}
        dim = {key for key, group in groups.items() if "fw-dim" in group.get("class", "").split()}
        assert lit | dim == set(groups)
        assert not lit & dim
        assert {key for key in lit if re.fullmatch(r"p-n\d+", key)} == {f"p-n{node}" for node in visited}
        assert len([key for key in lit if key.startswith("p-e")]) == len(set(taken))
        reached = [int(n) for key in lit if "-n" in key for n in str(groups[key].get("data-step")).split()]
        assert sorted(reached) == list(range(count + 1))
        ids = [str(element.get("id")) for element in root.iter() if element.get("id")]
        assert {f"p-step{number}" for number in range(1, count + 1)} <= set(ids)
        assert len(ids) == len(set(ids))
        assert (root.findtext(f"{SVG}desc") or "").startswith(f"The lit path: {path}.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_what_is_not_lit_can_still_be_read(scheme: theme.Scheme) -> None:
    assert theme.contrast(theme.QUIET.on(scheme), theme.BOARD.on(scheme)) >= 4.5
    drawn = draw(GRAPHS["retry"], "svg", lit=explore(POLICIES["retry"], "call_api").paths[0]).decode()
    assert ".fw-dim text{fill:var(--_quiet)}" in drawn
    assert "opacity" not in drawn


def test_a_lit_png_is_another_picture() -> None:
    exploration = explore(POLICIES["retry"], "call_api")
    plain, one, other = (
        draw(GRAPHS["retry"], "png", lit=lit) for lit in (None, exploration.paths[0], exploration.paths[-1])
    )
    assert len({plain, one, other}) == 3


def test_a_path_of_another_stack_lights_up_nothing() -> None:
    with pytest.raises(ValueError, match="this path is not one of"):
        draw(GRAPHS["retry"], "svg", lit=path_of(Cache(60), "fresh"))


def test_flow_and_timeline_stand_in_one_drawing_with_the_same_numbers() -> None:
    exploration = explore(STACK, "fetch")
    outcome, path = real(STACK, ConnectionError("reset"), "answer")
    text = flow_with_times(exploration.graph(), match(exploration, outcome), path, prefix="x")
    root = ET.fromstring(text)
    ids = [str(element.get("id")) for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for number in range(1, 5):
        assert {f"x-step{number}", f"x-time-s{number}"} <= set(ids)
    assert "return after 1.5 s" in text
    assert "with one path lit up and its timeline" in text
    assert flow_with_times(exploration.graph(), exploration.paths[0]).startswith("<svg")


def test_a_saga_and_long_waits_are_drawn() -> None:
    def book(state: object) -> None: ...

    policy = Timeout(7200) >> Saga([Step(book, book, name="trip", retry=Retry(3, Exponential(600, max=3600)))])
    path = path_of(policy, "wait 1200 s")
    check_drawing(timeline(path, prefix="t"), len(steps(path)))
