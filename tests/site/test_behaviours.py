"""The page of behaviours is made of tests that there are."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from failwell.catalog import CARDS
from failwell.site.fragments import FragmentError, render
from failwell.site.fragments.behaviours import TESTS, broken, promises


def test_what_others_break_is_a_promise_of_ours() -> None:
    known = {promise.key for promise in promises()}
    assert [key for key in broken() if key not in known] == []


def test_only_libraries_that_are_pinned_are_measured() -> None:
    pinned = set(re.findall(r'"([\w-]+)==', (TESTS.parent / "pyproject.toml").read_text(encoding="utf-8")))
    measured = {peer for peers in broken().values() for peer in peers}
    assert measured <= {*pinned, *sys.stdlib_module_names}


def test_every_pattern_promises_something() -> None:
    promised = {promise.about for promise in promises()}
    assert [slug for slug in CARDS if slug not in promised] == []


def test_a_promise_is_a_sentence() -> None:
    short = [promise.key for promise in promises() if len(promise.words.split()) < 3]
    assert short == []


def test_a_promise_is_found_where_it_stands() -> None:
    first = next(promise for promise in promises() if promise.about == "circuit_breaker")
    line = (TESTS / first.path).read_text(encoding="utf-8").splitlines()[first.line - 1]
    assert f"def {first.test}(" in line


def test_a_claim_is_read_from_its_test(tmp_path: Path) -> None:
    (tmp_path / "peers").mkdir()
    tests = [
        '@breaks("retry::test_it", "one", "two")\ndef test_a(peer): ...',
        '@breaks("retry::test_it", "two")\ndef test_b(peer): ...',
    ]
    (tmp_path / "peers" / "test_x.py").write_text("\n".join(tests), encoding="utf-8")
    assert broken(tmp_path) == {"retry::test_it": ["one", "two"]}


def test_the_tables_name_promise_test_and_peers() -> None:
    text = render("behaviours", "all")
    assert "| All rejections" not in text
    row = next(
        line
        for line in text.splitlines()
        if line.startswith("| Each rejection is a new error | `patterns/test_circuit")
    )
    assert row.endswith("| purgatory |")
    assert "### [Circuit breaker](/patterns/circuit_breaker.md)" in text
    assert "| Policy |" in render("behaviours", "broken")


def test_another_list_is_refused() -> None:
    with pytest.raises(FragmentError, match="all and broken, not 'some'"):
        render("behaviours", "some")
