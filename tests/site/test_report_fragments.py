"""What the command prints, on a page."""

from __future__ import annotations

import os
import sys

import pytest

from failwell.site.fragments import FragmentError, render


def test_a_command_is_shown_with_what_it_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    path = [*sys.path]
    lines = render("command", "explain", "retry", "--fail", "0.5").split("\n")
    assert lines[:2] == ["````console", "$ failwell explain retry --fail 0.5"]
    assert lines[-1] == "````"
    assert "  success   87.5 %" in lines
    assert max(map(len, lines)) <= 100
    assert (sys.path, "COLUMNS" in os.environ) == (path, False)


def test_a_command_that_fails_fails_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "77")
    with pytest.raises(FragmentError, match="failwell explain oops ends with status 2: failwell: there is no pattern"):
        render("command", "explain", "oops")
    assert os.environ["COLUMNS"] == "77"
