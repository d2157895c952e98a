"""The page of mutants says what the record says, and explains no mutant twice or in vain."""

from __future__ import annotations

import json
import re
import tomllib

import pytest

from failwell.site.fragments import FragmentError, render
from failwell.site.fragments.mutants import EVIDENCE

PAGE = (EVIDENCE / "mutants.md").read_text(encoding="utf-8")
RECORD = json.loads((EVIDENCE / "mutants.json").read_text(encoding="utf-8"))["modules"]
EXPLAINED = tomllib.loads((EVIDENCE / "mutants.toml").read_text(encoding="utf-8"))


def rows(markdown: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = [line for line in markdown.split("\n") if line.startswith("|")]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines[2:]]


def test_every_explanation_has_its_place_on_the_page() -> None:
    assert re.findall(r"<!-- generated: mutants ([\w-]+) -->", PAGE) == ["scores", *EXPLAINED, "unexplained"]


def test_every_survivor_on_record_stands_in_one_table() -> None:
    survived = sum(len(run["survivors"]) for run in RECORD.values())
    assert sum(len(rows(render("mutants", name))) for name in [*EXPLAINED, "unexplained"]) == survived


def test_the_scores_add_up() -> None:
    *modules, total = rows(render("mutants"))
    assert len(modules) == len(RECORD)
    for run in RECORD.values():
        assert run["killed"] + run["timed_out"] + run["survived"] == run["run"] <= run["made"]
        assert run["survived"] == len(run["survivors"])
    for column in range(1, 7):
        figures = [int(row[column].replace(",", "")) for row in [*modules, total]]
        assert sum(figures[:-1]) == figures[-1]


def test_an_unknown_explanation_is_refused() -> None:
    with pytest.raises(FragmentError, match="no explanation is named 'whim'"):
        render("mutants", "whim")
