from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from failwell import CircuitBreaker, Fallback, Outcome, Retry, Timeout, virtual
from failwell.backoff import Fixed
from failwell.catalog import CARDS
from failwell.cli import app
from failwell.flow.draw import FORMATS
from tests.cli.test_cli import refused, said

OWN = """
from failwell import Cache, CircuitBreaker, Fallback, Retry, Timeout
from failwell.backoff import Fixed

stack = Fallback(Fallback.value("spare")) >> Timeout(10) >> Retry(3, Fixed(1))
stateful = Cache(60, stale_if_error=60) >> CircuitBreaker(2, 30) >> Retry(2)
breaking = Retry(2, Fixed(1), on=Exception) >> CircuitBreaker(3, 60)
always = Fallback(Fallback.value("spare"))


class CartError(Exception): ...


class PaymentError(Exception): ...


picky = Retry(2, Fixed(1), on=(CartError, PaymentError))
"""
STACK = Fallback(Fallback.value("spare")) >> Timeout(10) >> Retry(3, Fixed(1))


def fetch_from(*script: Any) -> Any:
    answers = iter(script)

    def fetch() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    return fetch


def recorded(*script: Any) -> Outcome[Any]:
    with virtual.clock():
        return STACK.outcome(fetch_from(*script))


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with stacks and with calls that were recorded."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    (tmp_path / "call.json").write_text(recorded(ConnectionError("reset"), "answer").to_json(indent=2))
    (tmp_path / "wrong.json").write_text(recorded(ValueError("no such cart")).to_json())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


# --- one path --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "told"),
    [
        ("happy", "attempt 2"),
        ("unhappy", "raise ConnectionError"),
        ("worst", "never ends"),
        ("1", "attempt 1 ok"),
    ],
)
def test_a_path_is_chosen_by_word_or_number(which: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert told in said(capsys, "draw", "retry", "--view", "timeline", "--path", which)


def test_without_a_word_the_happy_path_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    happy = said(capsys, "draw", "retry", "--view", "timeline", "--path", "happy")
    assert said(capsys, "draw", "retry", "--view", "timeline") == happy


def test_where_nothing_can_be_answered_the_other_path_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "draw", "retry", "--view", "timeline", "--outcomes", "fail")
    assert "raise ConnectionError" in told


@pytest.mark.parametrize("slug", CARDS)
@pytest.mark.parametrize("view", ["sequence", "timeline"])
def test_every_pattern_has_every_view(
    slug: str, view: str, own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "caller" in said(capsys, "draw", slug, "--view", view)
    ending = "mmd" if view == "sequence" else "svg"
    assert said(capsys, "draw", slug, "--view", view, "-o", f"x.{ending}") == ""
    assert (own_folder / f"x.{ending}").stat().st_size > 100


def test_a_sequence_reads_as_a_dialogue(capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "draw", "own:stack", "--view", "sequence", "--path", "1").splitlines()
    assert lines[0].split() == ["caller", "-->", "Fallback", "call"]
    assert any(line.startswith("Retry <-- operation") and line.endswith("ok") for line in lines)
    assert lines[-1].split() == ["caller", "answered", "after", "0", "s"]
    assert "#" not in "".join(lines)


@pytest.mark.parametrize("form", ["svg", "png", "txt"])
def test_a_path_lights_up_in_the_flow(form: str, own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["draw", "own:stack", "--path", "2", "-o", f"lit.{form}"]) == 0
    assert "lit up: operation (attempt 1) fails" in capsys.readouterr().err
    said(capsys, "draw", "own:stack", "-o", f"plain.{form}")
    assert (own_folder / f"lit.{form}").read_bytes() != (own_folder / f"plain.{form}").read_bytes()


def test_below_a_lit_flow_stands_its_timeline(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "draw", "own:stack", "--path", "2", "-o", "lit.svg", "--theme", "dark")
    root = ET.parse(own_folder / "lit.svg").getroot()
    ids = {element.get("id") for element in root.iter()}
    assert {"fw-times", "fw-lit", "fw-dim"} <= {name for e in root.iter() for name in (e.get("class") or "").split()}
    prefix = root.get("id")
    assert {f"{prefix}-step1", f"{prefix}-time-s1"} <= ids
    assert "fw-dark" in str(root.get("class"))
    told = said(capsys, "draw", "own:stack", "--path", "2")
    assert "attempt 1–3" in told
    assert "  1  at 0 s " in told


# --- a recorded call -------------------------------------------------------------------------------


def test_a_recorded_call_is_drawn_with_its_own_times(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "draw", "own:stack", "--trace", "call.json", "--view", "timeline")
    assert "attempt 1 fails (ConnectionError)" in told
    assert "return after 1 s" in told
    assert app.run(["draw", "own:stack", "--trace", "call.json", "-o", "call.svg"]) == 0
    assert "lit up: operation (attempt 1) fails -> wait 1 s -> " in capsys.readouterr().err
    assert "attempt 1 fails (ConnectionError)" in (own_folder / "call.svg").read_text(encoding="utf-8")
    sequence = said(capsys, "draw", "own:stack", "--trace", "call.json", "--view", "sequence")
    assert "attempt 2 at 1 s" in sequence


def test_an_error_that_is_not_explored_usually_is_explored_then(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "draw", "own:stack", "--trace", "wrong.json", "--view", "timeline")
    assert "attempt 1 raises ValueError" in told


def test_errors_of_the_targets_own_are_known_by_their_type(
    own_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(own_folder))
    import own  # pyright: ignore[reportMissingImports]

    with virtual.clock():
        outcome = own.picky.outcome(fetch_from(own.PaymentError("declined"), "answer"))
    (own_folder / "paid.json").write_text(outcome.to_json())
    monkeypatch.delitem(sys.modules, "own")
    told = said(capsys, "draw", "own:picky", "--trace", "paid.json", "--view", "timeline")
    assert "attempt 1 fails (PaymentError)" in told


def test_a_call_with_too_many_kinds_of_errors_is_told_by_its_first_complaint(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, "draw", "own:stack", "--trace", "wrong.json", "--limit", "8")
    assert "the outcome has FellBack 1 by Fallback after Attempt 1 by Retry, which this stack never does" in told


def test_a_call_that_others_had_a_hand_in_is_drawn_against_time_all_the_same(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    breaking = Retry(2, Fixed(1), on=Exception) >> CircuitBreaker(3, 60)
    with virtual.clock():
        for _ in range(2):
            outcome = breaking.outcome(fetch_from(ConnectionError("a"), ConnectionError("b")))
    (own_folder / "later.json").write_text(outcome.to_json())
    assert app.run(["draw", "own:breaking", "--trace", "later.json", "--view", "timeline"]) == 0
    told, note = capsys.readouterr()
    assert "attempt 1 fails (ConnectionError)" in told
    assert ">>" not in told  # it may be a call of another stack
    assert note.startswith("note: later.json is no call of own:breaking: the outcome has ")
    assert note.endswith("or was it recorded with another version? This is drawn from its events alone.\n")
    assert "state of CircuitBreaker, or" in note
    for view in ("flow", "sequence"):
        said_no = refused(capsys, "draw", "own:breaking", "--trace", "later.json", "--view", view)
        assert said_no.endswith("? --view timeline shows it all the same")


def test_a_call_may_come_from_standard_input(
    own_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    record = (own_folder / "call.json").read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(record)))
    assert "attempt 2 ok" in said(capsys, "draw", "own:stack", "--trace", "-", "--view", "timeline")


# --- states ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
def test_states_come_in_every_format(form: str, own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "draw", "own:stateful", "--view", "states", "--layer", "Cache", "-o", f"x.{form}") == ""
    assert (own_folder / f"x.{form}").stat().st_size > 100


def test_states_are_those_of_the_chosen_layer(capsys: pytest.CaptureFixture[str]) -> None:
    assert "half-open" in said(capsys, "draw", "own:stateful", "--view", "states", "--layer", "CircuitBreaker")
    assert "stale" in said(capsys, "draw", "own:stateful", "--view", "states", "--layer", "Cache")
    assert "fresh" in said(capsys, "draw", "cache", "--view", "states")


# --- bad input -------------------------------------------------------------------------------------

GOOD = json.loads(recorded("answer").to_json())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["own:stack", "--path", "0"], "--path 0: give happy, unhappy, worst, or a number from 1 to "),
        (["own:stack", "--path", "sad"], "--path sad: give happy, unhappy, worst, or a number from 1 to "),
        (["own:always", "--path", "unhappy", "--outcomes", "ok,fail"], "returns, choose another"),
        (["own:stack", "--path", "1", "--trace", "call.json"], "--trace finds the path by itself: leave out --path"),
        (["own:stack", "--path", "1", "-o", "x.mmd"], "cannot light up a path in x.mmd: use one of .svg, .png, .txt"),
        (["own:stack", "--trace", "call.json", "-o", "x.canvas"], "cannot light up a path in x.canvas"),
        (["own:stack", "--path", "1", "--view", "states"], "--path shows one path, a state machine has none"),
        (["own:stack", "--view", "timeline", "-o", "x.png"], "there is no timeline as .png, use one of .svg .txt"),
        (["own:stack", "--view", "sequence", "-o", "x.svg"], "there is no sequence as .svg, use one of .mmd .txt"),
        (["own:stack", "--view", "sequence", "-o", "x.gif"], "suffix .gif is not known, use one of .mmd .txt"),
        (["own:stack", "--view", "sequence", "-o", "x"], "a suffix is missing, use one of .mmd .txt"),
        (["own:stack", "--view", "board"], "Invalid value for '--view'"),
        (["own:stack", "--view", "timeline", "--unroll"], "--unroll is for the flow"),
        (["own:stack", "--layer", "Retry"], "--layer Retry: only --view states shows a single layer"),
        (["own:stack", "--view", "states"], "no layer of own:stack keeps a state: choose another --view"),
        (["own:stateful", "--view", "states"], "choose one with --layer Cache or CircuitBreaker"),
        (["own:stateful", "--view", "states", "--layer", "Retry"], "no layer of own:stateful with a state is called"),
        (["own:stack", "--trace", "absent.json"], "cannot read absent.json: no such file or directory, give a file"),
        (["own:stack", "--trace", "."], "cannot read .: is a directory"),
        (["own:stack", "--trace", "own.py"], "cannot read own.py: the record is no JSON: Expecting value in line 2"),
        (["own:stack", "--trace", "empty.json"], "cannot read empty.json: the record has no 'format'"),
        (["own:stack", "--trace", "spoiled.json"], "cannot read spoiled.json: the record.elapsed must be a number"),
        (
            ["cache", "--trace", "call.json"],
            "call.json is no call of cache: the outcome has Attempt 1 by Retry at its start",
        ),
        (["timeout", "--trace", "wrong.json"], "wrong.json is no call of timeout: the outcome has Attempt 1 by Retry"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_folder / "empty.json").write_text("{}")
    (own_folder / "spoiled.json").write_text(json.dumps({**GOOD, "elapsed": None}))
    before = sorted(path.name for path in own_folder.iterdir())
    assert message in refused(capsys, "draw", *arguments)
    assert sorted(path.name for path in own_folder.iterdir() if path.name != "__pycache__") == before


def test_a_stack_with_another_order_says_where_the_call_left_it(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Retry(2, Fixed(1)) >> Timeout(3)
    with virtual.clock():
        outcome = other.outcome(fetch_from(ConnectionError("a"), ConnectionError("b")))
    (own_folder / "other.json").write_text(outcome.to_json())
    told = refused(capsys, "draw", "own:stack", "--trace", "other.json")
    assert "the outcome has GaveUp 2 by Retry after Attempt 2 by Retry, which this stack never does" in told
