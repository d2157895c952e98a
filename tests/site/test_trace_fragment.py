"""The page about one request draws the very request that its program makes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import failwell
from failwell import Outcome, backoff
from failwell.flow.trace import match
from failwell.site import fragments
from failwell.site.fragments.trace import POLICY, explored_stack, record

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explorer" / "trace.md"


def test_the_program_of_the_page_makes_the_call_that_is_drawn() -> None:
    text = PAGE.read_text(encoding="utf-8")
    program = re.findall(r"^policy = (.*)$", text, re.MULTILINE)
    assert program == ['Fallback(Fallback.value("old price")) >> Timeout(2) >> Retry(3, Exponential(0.2))']
    assert repr(POLICY) == repr(eval(program[0], {**vars(failwell), **vars(backoff)}))
    story = str(match(explored_stack(), Outcome.from_json(record()))).split(" -> ")
    assert [f"#> {step}" for step in story] == re.findall(r"^        (#> .*)$", text, re.MULTILINE)


def test_the_drawing_has_the_path_and_its_times() -> None:
    drawn = fragments.render("request")
    assert drawn.startswith('<figure class="fw-drawing"')
    assert 'id="request-step6"' in drawn
    assert 'id="request-time-s6"' in drawn
    assert "attempt 1 fails (ConnectionResetError)" in drawn


def test_the_record_is_shown_in_part() -> None:
    shown = fragments.render("request-record", "1")
    data = json.loads(re.findall(r"```json\n(.*?)\n```", shown, re.DOTALL)[0])
    assert len(data["events"]) == 1
    assert shown.endswith(f"... and {len(json.loads(record())['events']) - 1} more events.")
    assert "more events" not in fragments.render("request-record", "99")
