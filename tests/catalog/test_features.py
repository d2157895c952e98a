"""Every row of the page of features names what there is."""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import operator
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from failwell.catalog import CARDS
from failwell.catalog.features import FEATURES, Feature
from failwell.site.fragments import render

ROOT = Path(__file__).resolve().parents[2]
ROWS = [feature for rows in FEATURES.values() for feature in rows]


def found(name: str) -> Any:
    """The module or the object of a dotted name."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        return operator.attrgetter(".".join(parts[length:]))(module) if parts[length:] else module
    raise LookupError(name)


@functools.cache
def run_in(file: str) -> frozenset[str]:
    """The tests of a file that are not skipped."""
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return frozenset(
        node.name for node in functions if not any("skip" in ast.unparse(mark) for mark in node.decorator_list)
    )


@pytest.mark.parametrize("feature", ROWS, ids=lambda feature: feature.does)
def test_what_a_row_names_is_there(feature: Feature) -> None:
    if feature.where.startswith("failwell "):
        return
    name, _, parameter = feature.where.partition("(")
    thing = found(name)
    if parameter:
        assert parameter.removesuffix(")") in inspect.signature(thing).parameters


@pytest.mark.parametrize("where", sorted({row.where for row in ROWS if row.where.startswith("failwell ")}))
def test_a_command_has_the_options_that_a_row_names(where: str) -> None:
    words = where.split()
    shown = subprocess.run(
        [sys.executable, "-m", "failwell.cli", words[1], "--help"], capture_output=True, text=True, check=True
    )
    for word in words[2:]:
        assert word in re.split(r"[\s|\[\]]+", shown.stdout)


@pytest.mark.parametrize("feature", ROWS, ids=lambda feature: feature.does)
def test_the_test_of_a_row_is_run(feature: Feature) -> None:
    file, _, test = feature.test.partition("::")
    assert test in run_in(file)


def test_the_page_of_a_row_is_there() -> None:
    assert [row.page for row in ROWS if not (ROOT / "docs" / row.page).is_file()] == []


def test_no_row_stands_twice() -> None:
    does = [row.does for row in ROWS]
    assert sorted(set(does)) == sorted(does)


def test_every_pattern_has_a_row() -> None:
    pages = {row.page for row in ROWS}
    assert [slug for slug in CARDS if f"patterns/{slug}.md" not in pages and slug != "stack"] == []


def test_the_page_shows_every_row() -> None:
    text = render("features")
    assert text.count("\n| ") == len(ROWS) + len(FEATURES)
    assert all(f"## {group}" in text for group in FEATURES)
