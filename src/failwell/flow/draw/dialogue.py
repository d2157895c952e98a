"""One path as lines of who says what to whom: the sequence diagram for a terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from failwell.flow.draw.sequence import sequence

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration
    from failwell.flow.path import Path

__all__ = ["dialogue"]

_WHO = re.compile(r"\s*participant (\w+) as (.*)")
_SAID = re.compile(r"\s*(\w+?)(-?-(?:>>|x|\)))[+-]?(\w+): (.*)")
_NOTE = re.compile(r"\s*Note over (\w+): (.*)")
_ENTITY = re.compile(r"#(\d+|lt|gt);")


def dialogue(exploration: Exploration, path: Path) -> str:
    """One path as lines of text.

    Args:
        exploration: Where the path comes from; it names the layers.
        path: The path.
    """
    names: dict[str, str] = {}
    lines: list[tuple[str, str]] = []
    for line in sequence(exploration, path).splitlines():
        if who := _WHO.fullmatch(line):
            names[who[1]] = _plainly(who[2])
        elif said := _SAID.fullmatch(line):
            arrow = "--x" if said[2].endswith("x") else "<--" if said[2].startswith("--") else "-->"
            pair = (names[said[3]], names[said[1]]) if arrow == "<--" else (names[said[1]], names[said[3]])
            lines.append((f"{pair[0]} {arrow} {pair[1]}", _plainly(said[4])))
        elif note := _NOTE.fullmatch(line):
            lines.append((names[note[1]], _plainly(note[2])))
    wide = max((len(who) for who, _ in lines), default=0)
    return "".join(f"{who:<{wide}}  {words}".rstrip() + "\n" for who, words in lines)


def _plainly(text: str) -> str:
    """What Mermaid shows for a text."""
    return _ENTITY.sub(lambda found: {"lt": "<", "gt": ">"}.get(found[1]) or chr(int(found[1])), text)
