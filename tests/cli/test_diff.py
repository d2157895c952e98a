"""``failwell diff``: two targets side by side, for a pull request and for tools."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from failwell.cli import app

OWN = """
from failwell import Cache, Fallback, Policy, Retry, Timeout
from failwell.backoff import Exponential, Fixed


def backup(): ...


class Odd(Policy):
    def __init__(self, name):
        self.name = name

    async def run(self, call, rt):
        return await call()


before = Timeout(30) >> Retry(3, Fixed(1)) >> Fallback(backup)
after = Timeout(30) >> Fallback(backup) >> Retry(3, Fixed(1)) >> Timeout(5)
inverted = Timeout(5) >> Retry(3, Fixed(1)) >> Timeout(30)
racing = Timeout(3) >> Retry(3, Exponential(2, jitter="full"))
picky = Retry(2, Fixed(1), on=ConnectionError)
broad = Retry(2, Fixed(1), on=(ConnectionError, TimeoutError))


class StatusError(Exception):
    def __init__(self, message, *, response):
        super().__init__(message)


statuses = Retry(2, Fixed(1), on=(ConnectionError, StatusError))
spare_picky = Fallback(picky(backup), on=Exception)
spare_broad = Fallback(broad(backup), on=Exception)
barred = Odd("a | b ` c")


@after
def fetch(): ...


async def by_hand(fetch):
    for number in range(3):
        try:
            return await fetch()
        except ConnectionError:
            if number == 2:
                raise
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
    assert app.run(["diff", *arguments]) == status
    return capsys.readouterr().out


def rows(told: str) -> dict[str, list[str]]:
    """The table, read by a real Markdown parser."""
    found: list[list[str]] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(told)
    for token, following in itertools.pairwise(tokens):
        if token.type == "tr_open":
            found.append([])
        elif token.type in ("td_open", "th_open"):
            found[-1].append(following.content)
    return {name: cells for name, *cells in found}


def test_two_targets_are_compared_as_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:before", "own:after", "--hang", "0.05")
    assert told.startswith(
        "## `own:before` and `own:after`\n\n"
        "They behave differently. With 10 % failures and 5 % hangs of each operation:\n\n"
    )
    table = rows(told)
    assert table[""] == ["`own:before`", "`own:after`"]
    assert table["layers"] == [
        "`Timeout(30) >> Retry(3, backoff=Fixed(1)) >> Fallback(backup)`",
        "**`Timeout(30) >> Fallback(backup) >> Retry(3, backoff=Fixed(1)) >> Timeout(5)`**",
    ]
    assert table["paths"] == ["13", "**31**"]
    assert table["success"] == ["94.4 %", "**99.9 %**"]
    assert table["worst latency"] == ["30 s", "30 s"]
    assert table["calls of backup"] == ["0.101", "**0.00337**"]
    assert table["most calls of backup"] == ["3", "**1**"]
    assert "most calls of operation" not in table  # it is the same
    assert table["raised"] == ["ConnectionError, TimeoutExceeded"] * 2
    assert "**Bold** is what differs.\n" in told
    assert "### 12 paths only in `own:before`, the likeliest\n\n- 8.5 %: operation (attempt 1) fails -> backup " in told
    lines = told.partition("### 12 paths")[2].partition("###")[0].splitlines()
    assert len([line for line in lines if line.startswith("- ")]) == 5


def test_what_behaves_the_same_is_said_to(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:after", "own:fetch", "--check")
    assert "They behave the same: 31 paths, told and timed in the same way.\nSo they do when operations raise " in told
    assert rows(told)["calls of operation / fetch"] == ["1.11", "1.11"]
    assert "###" not in told


def test_what_differs_by_the_type_of_an_error_only_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:picky", "own:broad", "--check", status=1)
    assert "They behave differently when operations raise one of ConnectionError, TimeoutError, OSError: see " in told
    table = rows(told)
    assert table["paths"] == ["5", "5"]
    assert table["success"] == ["99 %", "99 %"]  # the figures are of failures of one kind
    alone = "operation (attempt 1) raises TimeoutError -> raise TimeoutError after 0 s"
    assert f"### 2 paths only in `own:picky`\n\n- {alone}\n" in told
    assert (
        "### 6 paths only in `own:broad`, the shortest\n\n- operation (attempt 1) raises TimeoutError -> wait" in told
    )
    data = json.loads(said(capsys, "own:picky", "own:broad", "--json"))
    assert data["same"] is False
    assert data["errors"]["types"] == ["ConnectionError", "TimeoutError", "OSError"]
    assert data["errors"]["a"]["paths_only_here"][0] == alone
    assert data["errors"]["b"]["number_of_paths_only_here"] == 6


def test_errors_that_want_more_than_a_message_are_told_apart_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert "raises StatusError -> wait 1 s" in said(capsys, "own:picky", "own:statuses", "--check", status=1)


def test_errors_are_told_apart_inside_of_alternatives_too(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:spare_picky", "own:spare_broad", "--check", status=1)
    assert "### " in told


def test_where_errors_are_not_told_apart_nothing_is_said_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert "So they do" not in said(capsys, "own:barred", "own:barred", "--check")
    assert json.loads(said(capsys, "own:barred", "own:barred", "--json"))["errors"] is None


def test_who_chooses_the_outcomes_compares_by_them_alone(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:picky", "own:broad", "--check", "--outcomes", "ok,fail")
    assert "They behave the same: 3 paths, told and timed in the same way.\n\n" in told


def test_too_many_paths_to_tell_errors_apart_are_no_equality(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:picky", "own:broad", "--check", "--limit", "8", status=1)
    assert "They behave the same where operations answer, fail or hang: 5 paths, told and timed" in told
    assert "Whether they tell errors apart in the same way is not known: own:picky has more than 8 paths, m" in told
    data = json.loads(said(capsys, "own:picky", "own:broad", "--limit", "8", "--json"))
    assert (data["same"], data["errors"]) == (False, None)
    assert data["not_compared"].startswith("own:picky has more than 8 paths")


def test_check_fails_if_they_differ(capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "own:before", "own:after")
    assert "They behave differently." in said(capsys, "own:before", "own:after", "--check", status=1)
    assert json.loads(said(capsys, "own:before", "own:after", "--check", "--json", status=1))["same"] is False


def test_findings_of_one_only_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:inverted", "own:after", "--outcomes", "ok,hang")
    assert " only in `own:inverted`\n\n- warning: " in told
    assert "- warning: timeouts-nested-wrong: " in told


def test_random_waits_are_told_as_bounds_and_named_so(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:racing", "own:racing", "--fail", "0.2", "--outcomes", "ok,fail")
    assert rows(told)["success"] == ["between 96 % and 99.2 %"] * 2
    assert "these are bounds, because waits are random.\n" in told


def test_odds_can_be_those_of_one_operation(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:inverted", "own:after", "--fail", "0", "--fail", "backup=0.5", "--hang", "operation=1")
    assert "With failures of backup 50 %, others 0 %, and hangs of operation 100 %, others 0 %:" in told
    assert rows(told)["success"] == ["0 %", "**50 %**"]
    assert app.run(["diff", "own:before", "own:after", "--fail", "oops=1"]) == 2
    assert "fail names 'oops', which is never called; called are backup, operation" in capsys.readouterr().err


def test_bars_and_backticks_do_not_break_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    table = rows(said(capsys, "own:barred", "own:inverted"))
    assert table["layers"][0] == "``Odd('a | b ` c')``"
    assert all(len(cells) == 2 for cells in table.values())


def test_code_without_layers_can_be_compared(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "own:by_hand", "own:before", "--operation", "fetch")
    table = rows(told)
    assert table["layers"][0] == "none"
    assert table["calls of fetch"] == ["1.11", "**1.01**"]
    assert table["calls of backup"] == ["never", "**0.101**"]


def test_tools_get_data(capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads(said(capsys, "own:before", "own:after", "--hang", "backup=0.5", "--json"))
    assert list(data) == ["targets", "odds", "same", "figures", "a", "b", "errors", "not_compared"]
    assert data["targets"] == ["own:before", "own:after"]
    assert data["odds"] == {"fail": 0.1, "hang": {"operation": 0.0, "backup": 0.5}}
    assert list(data["figures"]["success"]) == ["unit", "a", "b", "differs"]
    assert list(data["a"]) == [
        "title",
        "layers",
        "operation",
        "paths",
        "raised",
        "findings_only_here",
        "states_only_here",
        "number_of_paths_only_here",
        "paths_only_here",
    ]
    assert len(data["b"]["paths_only_here"]) == data["b"]["number_of_paths_only_here"] == 30
    same = json.loads(said(capsys, "retry", "retry", "--json"))
    assert same["same"] is True
    assert same["figures"]["worst latency"]["a"] == [None, None]  # it never ends


def test_bad_targets_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["diff", "own:before", "own:afte"]) == 2
    assert "did you mean after?" in capsys.readouterr().err
    assert app.run(["diff", "own:before"]) == 2
    assert "Missing argument 'B'" in capsys.readouterr().err


def test_parameters_of_a_state_are_a_difference(capsys: pytest.CaptureFixture[str], own_folder: Path) -> None:
    (own_folder / "breakers.py").write_text(
        "from failwell import CircuitBreaker, RateLimiter\n"
        "a = CircuitBreaker(3, 30)\nb = CircuitBreaker(4, 30)\nc = RateLimiter(1000)\nd = RateLimiter(1001)\n"
    )
    assert app.run(["diff", "breakers:a", "breakers:b", "--check"]) == 1
    told = capsys.readouterr().out
    assert "### 1 way from state to state only in `breakers:a`" in told
    assert "- CircuitBreaker: closed -> 3 failures, CircuitOpened -> open" in told
    assert app.run(["diff", "breakers:a", "breakers:a", "--check"]) == 0
    assert app.run(["diff", "breakers:c", "breakers:d", "--check"]) == 1
