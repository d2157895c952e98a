"""What the tests promise, pattern by pattern, and which other libraries were measured to break it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from failwell.catalog import CARDS
from failwell.site.fragments import fragment
from failwell.site.fragments.patterns import link_to, table

__all__ = ["Promise", "behaviours", "broken", "promises"]

TESTS = Path(__file__).resolve().parents[4] / "tests"
ROOMS = ("patterns", "kernel", "testing")
"""Where the tests of promises are, below `TESTS`."""


class Promise(NamedTuple):
    """What a test says that the code does.

    Attributes:
        about: The pattern's slug, or the part of the kernel.
        test: The name of the test.
        path: Its file, below the folder of tests.
        line: Where it starts.
    """

    about: str
    test: str
    path: str
    line: int

    @property
    def words(self) -> str:
        """The name of the test as a sentence."""
        words = self.test.removeprefix("test_").replace("_", " ")
        return words[:1].upper() + words[1:]

    @property
    def key(self) -> str:
        """How other tests refer to it."""
        return f"{self.about}::{self.test}"


def promises(folder: Path = TESTS) -> Iterator[Promise]:
    """All promises, in the order of their files.

    Args:
        folder: The folder of tests.
    """
    for room in ROOMS:
        for path in sorted((folder / room).glob("test_*.py")):
            about = path.stem.removeprefix("test_")
            for found in _functions(path):
                yield Promise(about, found.name, f"{room}/{path.name}", found.lineno)


def broken(folder: Path = TESTS) -> dict[str, list[str]]:
    """`Promise.key` -> the libraries that break it, as the tests in ``peers`` measure.

    Args:
        folder: The folder of tests.
    """
    found: dict[str, list[str]] = {}
    for path in sorted((folder / "peers").glob("test_*.py")):
        for function in _functions(path):
            for mark in function.decorator_list:
                if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "breaks":
                    promise, *peers = [str(ast.literal_eval(argument)) for argument in mark.args]
                    known = found.setdefault(promise, [])
                    known += [peer for peer in peers if peer not in known]
    return found


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
            yield node


@fragment("behaviours")
def behaviours(what: str = "all") -> str:
    """What the tests promise.

    Args:
        what: ``all``, one table a pattern; or ``broken``: what other libraries were measured to break.

    Raises:
        LookupError: There is no such list.
    """
    if what == "all":
        return "\n".join(_by_pattern())
    if what != "broken":
        raise LookupError(f"behaviours has the lists all and broken, not {what!r}")
    by_key = {promise.key: promise for promise in promises()}
    rows = [
        [_linked(by_key[key].about), by_key[key].words, ", ".join(sorted(peers))] for key, peers in broken().items()
    ]
    return "\n".join(table(["Pattern", "Promise", "Measured to break it"], sorted(rows)))


def _by_pattern() -> Iterator[str]:
    peers = broken()
    found = list(promises())
    for about in [*CARDS, *sorted({promise.about for promise in found} - CARDS.keys())]:
        rows = [
            [promise.words, f"`{promise.path}:{promise.line}`", ", ".join(sorted(peers.get(promise.key, ())))]
            for promise in found
            if promise.about == about
        ]
        if rows:
            yield f"### {_linked(about)}"
            yield ""
            yield from table(["Promise", "Test", "Measured to break it"], rows)
            yield ""


def _linked(about: str) -> str:
    return link_to(about) if about in CARDS else about.replace("_", " ").capitalize()
