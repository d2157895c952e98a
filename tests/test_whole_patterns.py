"""A pattern is whole: file, card, page, drawings, tests, benchmark rows, and a program with what others use.

That the page has its ten sections is what `tests/site/test_pages.py` sees to, that the drawings are up to date
`tests/test_diagrams.py`, and that each program runs `tests/snippets`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import re
import sys
from pathlib import Path

import pytest

from failwell import patterns
from failwell.bench.rows import all_rows
from failwell.catalog import CARDS
from failwell.site.fragments.behaviours import promises
from failwell.site.fragments.patterns import page_of
from tests.site.test_pages import fences, sections

ROOT = Path(__file__).resolve().parent.parent
LEAST_PROMISES = 8
ON_A_PAGE = [slug for slug in CARDS if page_of(slug).startswith("/patterns/")]
"""Stacks are another matter: their page is about composition."""


def imported(program: str) -> set[str]:
    """The top-level packages that a program imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(program)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_every_file_of_a_pattern_has_a_card() -> None:
    files = {f"failwell.patterns.{module.name}" for module in pkgutil.iter_modules(patterns.__path__)}
    assert files - {card.module for card in CARDS.values()} == set()


@pytest.mark.parametrize("slug", ON_A_PAGE)
def test_its_file_says_what_it_is_for_and_where_it_comes_from(slug: str) -> None:
    words = " ".join((importlib.import_module(CARDS[slug].module).__doc__ or "").split())
    assert re.search(r"\. Use (when|where|to|at|for) ", words)
    assert " Do not use " in words
    assert " Source: " in words


@pytest.mark.parametrize("slug", CARDS)
def test_it_has_a_page_and_all_its_views_are_drawn(slug: str) -> None:
    assert (ROOT / "docs" / page_of(slug).lstrip("/")).is_file()
    for ending in ("svg", "png", "mmd", "dot", "excalidraw", "canvas", "txt"):
        assert (ROOT / "diagrams" / f"{slug}.{ending}").is_file(), "run `failwell diagrams`"


@pytest.mark.parametrize("slug", CARDS)
def test_its_tests_are_promises(slug: str) -> None:
    promised = [promise for promise in promises() if promise.about == slug]
    assert len(promised) >= LEAST_PROMISES


@pytest.mark.parametrize("slug", CARDS)
def test_it_is_timed_async_and_plain(slug: str) -> None:
    rows = [row for row in all_rows() if row.group == CARDS[slug].name]
    assert {row.is_async for row in rows} == {True, False}


@pytest.mark.parametrize("slug", ON_A_PAGE)
def test_a_program_does_the_same_job_with_something_else(slug: str) -> None:
    programs = fences(sections(ROOT / "docs" / page_of(slug).lstrip("/"))["In the wild"])
    others = [imported(program) - sys.stdlib_module_names - {"failwell"} for program in programs]
    by_itself = any("failwell" not in imported(program) for program in programs)
    assert by_itself or any(others), "every program of the section needs failwell alone"
    for name in set().union(*others):
        assert importlib.util.find_spec(name), f"{name} is not installed, so that nothing has run it"
