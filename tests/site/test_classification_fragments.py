from __future__ import annotations

import re

from failwell.catalog import CARDS
from failwell.catalog.selection import SELECTION
from failwell.classification import KNOWN
from failwell.site.fragments import render


def rows(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n")[2:]]


def test_the_selection_names_every_error_once_with_the_effort_of_its_pattern() -> None:
    told = rows(render("selection"))
    assert len(told) == len(SELECTION) == len({line[0] for line in told})
    for line, cells in zip(SELECTION, told, strict=True):
        assert cells[2].startswith(f"[{CARDS[line.slug].name}](")
        assert cells[4] == CARDS[line.slug].effort


def test_the_taxonomy_shows_every_known_error_in_one_place() -> None:
    told = rows(render("taxonomy"))
    shown = [name for line in told for cell in line[1:] for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(shown) == sorted(name.split(".")[-1] for name in KNOWN)
    assert [line[0] for line in told] == list(dict.fromkeys(line[0] for line in told)), "a library has one row"
    [python] = [line for line in told if line[0] == "Python"]
    assert "`ConnectionError`" in python[1]
    assert "`ValueError`" in python[2]
    assert "`OSError`" in python[3]
