"""``failwell explain``: what it tells people, what it gives to tools, when it fails."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from failwell import explore
from failwell.catalog import CARDS
from failwell.cli import app, targets, words
from failwell.flow import Exploration
from failwell.flow.lint import Finding

OWN = """
from failwell import Cache, Fallback, RateLimiter, Retry, Timeout
from failwell.backoff import Exponential, Fixed


def gpt35(prompt): ...


def cached(prompt): ...


@Fallback(gpt35, cached)
def gpt4(prompt): ...


stack = Timeout(30) >> Retry(3, Fixed(1)) >> Timeout(5)
inverted = Timeout(5) >> Retry(3, Fixed(1)) >> Timeout(30)
limited = Retry(3) >> RateLimiter(5, per=1)
racing = Timeout(3) >> Retry(3, Exponential(2, jitter="full"))
stored = Cache(60, stale_if_error=600) >> stack
idle = Fallback(cached) >> Fallback(Fallback.value(0))
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a module of the user's."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert app.run(["explain", *arguments]) == status
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert app.run(["explain", *arguments]) == 2
    output, error = capsys.readouterr()
    assert (output, error.count("\n")) == ("", 1)
    return error.removeprefix("failwell: ").strip()


# --- for people ------------------------------------------------------------------------------------


def test_it_tells_figures_endings_and_the_longest_path(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:stack", "--fail", "0.2", "--hang", "0.05").splitlines()
    assert told[:12] == [
        "Timeout(30) >> Retry(3, backoff=Fixed(1)) >> Timeout(5) >> operation",
        "",
        "With 20 % failures and 5 % hangs of each operation:",
        "  success   98.4 %",
        "  latency   mean 0.641 s, p50 0 s, p99 7 s",
        "  calls     operation 1.31 (at most 3)",
        "  ends      answered         98.4 %",
        "            ConnectionError  1.3 %",
        "            TimeoutExceeded  0.3 %",
        "",
        "Whatever the odds:",
        "  longest   17 s: operation (attempt 1) hangs -> timed out (cancelled after 5 s) -> wait 1 s -> operation "
        "(attempt 2) hangs -> timed out (cancelled after 5 s) -> wait 1 s -> operation (attempt 3) hangs -> timed out "
        "(cancelled after 5 s) -> give up (no attempt left) -> raise TimeoutExceeded after 17 s",
    ]
    assert told[12].startswith("  raised    ConnectionError: operation (attempt 1) fails -> wait 1 s -> ")
    assert told[13].startswith("            TimeoutExceeded: operation (attempt 1) fails -> ")
    assert "  never     Timeout: on no path of these outcomes" in told


def test_random_waits_are_told_as_bounds_and_named_so(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:racing", "--fail", "0.2", "--outcomes", "ok,fail")
    assert "  success   between 96 % and 99.2 % (bounds: waits are random)\n" in told
    mean = "  latency   mean between 0 s and 0.44 s, p50 0 s, p99 between 0 s and 3 s (bounds: waits are random)\n"
    assert mean in told
    assert "  calls     operation between 1.2 and 1.24 (at most 3)\n" in told
    assert "TimeoutExceeded  between 0 % and 4 %\n" in told
    assert "bounds" not in said(capsys, "own:stack")


def test_it_says_where_only_the_longest_waits_were_looked_at(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:limited")
    assert "  assumed   the longest waits before RateLimiter, whose state ages meanwhile\n" in told
    assert "assumed" not in said(capsys, "own:racing")
    assert "assumed" not in said(capsys, "own:stored")


def test_each_operation_can_have_odds_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(
        capsys, "own:gpt4", "--fail", "gpt4=0.5", "--fail", "gpt35 = 0.25", "--fail", "0.0", "--hang", "gpt4=.1"
    )
    assert "With failures of gpt4 50 %, gpt35 25 %, others 0 %, and hangs of gpt4 10 %, others 0 %:" in told
    assert "calls     gpt4 1 (at most 1), gpt35 0.5 (at most 1), cached 0.125 (at most 1)" in told
    assert "success   90 %, 50 % degraded" in told
    others = said(capsys, "own:gpt4", "--fail", "gpt4=0.5")
    assert "gpt4 50 %, others 10 %, and hangs of 0 %:" in others
    assert "cached 0.05 (" in others


def test_other_situations_are_told_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:stored", "--fail", "0.5")
    assert "  instead   Cache fresh: success 100 %, mean 0 s, p50 0 s, p99 0 s\n" in told
    assert "            Cache stale: success 100 %, mean 0.75 s, p50 0 s, p99 2 s\n" in told
    assert "instead" not in said(capsys, "own:stack")


def test_what_is_never_reached_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:idle", "--outcomes", "ok,fail")
    assert "  never     Fallback, cached: on no path of these outcomes\n" in told


def test_findings_are_told_with_advice_and_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:inverted")
    assert "\nFound (" in told
    assert "  warning   timeouts-nested-wrong: " in told
    assert "\n    seen on: operation (attempt 1) " in told


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Finding]:
    """What the lint finds, at will."""
    findings: list[Finding] = []
    monkeypatch.setattr(Exploration, "lint", lambda _: findings)
    return findings


def finding(exploration: Exploration, severity: Any) -> Finding:
    path = exploration.paths[0]
    return Finding(
        "rule-of-thumb", path, "Do better.", "explorer/lint.md#rule-of-thumb", "It is bad.", ("Retry",), severity
    )


def test_strict_fails_on_warnings_and_not_on_notes(capsys: pytest.CaptureFixture[str], found: list[Finding]) -> None:
    exploration = explore(CARDS["retry"].example)
    assert "\nNothing was found that is wrong with it.\n" in said(capsys, "own:stack", "--strict")
    found.append(finding(exploration, "note"))
    assert "\nFound (1 note):\n  note   rule-of-thumb: It is bad.\n    Do better.\n    seen on: " in said(
        capsys, "own:stack", "--strict"
    )
    found += [finding(exploration, "warning")] * 2
    assert "\nFound (2 warnings, 1 note):\n" in said(capsys, "own:stack", "--strict", status=1)
    assert json.loads(said(capsys, "own:stack", "--strict", "--json", status=1))["findings"][1]["severity"] == "warning"
    said(capsys, "own:stack")


def test_the_likeliest_paths_are_told_first(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:stack", "--fail", "0.6").partition("Paths (15, the likeliest first):\n")[2].splitlines()
    odds = [line.split(" %")[0].strip() for line in told[:-1]]
    assert odds[:4] == ["40", "24", "21.6", "14.4"]
    assert told[-1] == "  ... and 3 more (--paths tells all)"
    every = said(capsys, "own:stack", "--paths").partition("Paths (15")[2].splitlines()[1:]
    assert len(every) == 15


def test_lines_are_wrapped_on_a_terminal_only(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    piped = said(capsys, "own:stack", "--paths")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "70")
    shown = said(capsys, "own:stack", "--paths")
    assert max(map(len, shown.splitlines())) <= 70 < max(map(len, piped.splitlines()))
    assert shown.split() == piped.split()
    monkeypatch.setenv("COLUMNS", "20")  # too narrow to be of any use
    assert said(capsys, "own:stack", "--paths") == piped


# --- for tools -------------------------------------------------------------------------------------


def test_the_data_is_complete_and_names_do_not_change(capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(said(capsys, "own:stored", "--hang", "0.1", "--json"))
    assert list(data) == ["target", "title", "layers", "operation", "odds", "report", "situations", "findings", "paths"]
    assert (data["target"], data["operation"]) == ("own:stored", "operation")
    assert data["layers"] == ["Cache", "Timeout", "Retry", "Timeout 2"]
    assert data["odds"] == {"fail": 0.1, "hang": 0.1}
    assert list(data["report"]) == [
        "success",
        "degraded",
        "outcomes",
        "mean_latency",
        "worst_latency",
        "p50",
        "p99",
        "bounds",
        "calls",
        "most_calls",
        "raised",
        "raised_by",
        "never_reached",
        "ages",
        "worst_path",
    ]
    assert list(data["situations"]["Cache"]) == ["fresh", "stale"]
    assert data["situations"]["Cache"]["fresh"]["success"] == 1
    assert sum(data["report"]["outcomes"].values()) == pytest.approx(1)
    first = data["paths"][0]
    assert list(first) == ["story", "choices", "elapsed", "between", "error", "degraded", "probability"]
    assert first["choices"] == [["Cache", "miss"], ["operation", "ok"]]
    assert sum(path["probability"] for path in data["paths"]) == pytest.approx(1)


def test_odds_of_each_operation_are_in_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(said(capsys, "own:gpt4", "--fail", "gpt4=0.5", "--json"))
    assert data["odds"] == {"fail": {"gpt4": 0.5, "gpt35": 0.1, "cached": 0.1}, "hang": 0.0}
    never = [path for path in data["paths"] if path["elapsed"] is None]
    assert all(path["between"] == [None, None] for path in never)
    assert len(never) == 3


def test_findings_are_in_the_data(capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(said(capsys, "own:inverted", "--json"))
    rules = [one["rule"] for one in data["findings"]]
    assert "timeouts-nested-wrong" in rules
    assert list(data["findings"][0]) == ["rule", "severity", "message", "advice", "layers", "page", "path"]


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--fail", "gpt5=0.1"],
            "fail names 'gpt5', which is never called; called are cached, gpt35, gpt4: give --fail",
        ),
        (["--hang", "gpt5=0.1"], "hang names 'gpt5', which is never called"),
        (["--fail", "gpt4=2"], "--fail gpt4=2 is no probability: give a number from 0 to 1"),
        (["--fail", "gpt4=much"], "Invalid value for '--fail': 'gpt4=much' is neither a number nor NAME=P"),
        (["--fail", "gpt4=0.9", "--hang", "0.2"], "--fail 0.9 and --hang 0.2 of gpt4 sum up to more than 1"),
        (["--fail", "0.9", "--hang", "0.2"], "--fail 0.9 and --hang 0.2 sum up to more than 1: give smaller ones"),
    ],
)
def test_bad_odds_are_refused_in_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in refused(capsys, "own:gpt4", *arguments)


# --- words -----------------------------------------------------------------------------------------


def test_figures_are_written_as_people_write_them() -> None:
    inf = float("inf")
    assert [words.latency(v) for v in (0, 0.12345, 7, 1234.5, inf)] == ["0 s", "0.123 s", "7 s", "1,234 s", "forever"]
    assert [words.count(v) for v in (1, 1.11111, 0.0001, 12345)] == ["1", "1.11", "0.0001", "12,345"]
    assert words.between((0, 1), words.latency) == "between 0 s and 1 s"
    assert words.between((0.1, 0.10000001), words.latency) == "0.1 s"
    assert words.between((1, inf), words.latency) == "between 1 s and forever"
    assert words.finite({"a": [inf, -inf, 1], "b": "x"}) == {"a": [None, None, 1], "b": "x"}


def test_work_that_takes_long_is_told_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with targets.working("weighing"):
        pass
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with targets.working("weighing"):
        pass
    assert capsys.readouterr().err == ""
    waits = iter([False, False, True])

    class Done:
        def wait(self, seconds: float) -> bool:
            assert seconds == 1
            return next(waits)

        def set(self) -> None: ...

    class Teller:
        def __init__(self, *, target: Callable[[], None], **_: object) -> None:
            self.start = target

        def join(self) -> None: ...

    moments = iter([0.0, 1.0, 2.0, 2.5])
    monkeypatch.setattr(targets, "threading", SimpleNamespace(Event=Done, Thread=Teller))
    monkeypatch.setattr(targets.time, "monotonic", lambda: next(moments))
    with targets.working("weighing"):
        pass
    assert capsys.readouterr().err == "\rweighing ... 1 s\rweighing ... 2 s\r\x1b[K"
