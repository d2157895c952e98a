"""Results that builds keep for the next one: what follows from the package's source alone is made once.

They are in one file of a folder that git ignores, under a digest of everything that they follow from: every file of
the package, the version of Python, and every installed distribution with its version. Another text of the package is
another file, so nothing in it is ever out of date. A file that is damaged counts as none.
"""

from __future__ import annotations

import hashlib
import json
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

import failwell

PACKAGE = Path(failwell.__file__).resolve().parent
FILES = 4
"""How many are kept: whoever goes back and forth between a few states of the source finds each of them again."""


def digest(package: Path = PACKAGE) -> str:
    """Stands for the text of the package and for what runs it.

    Args:
        package: The folder with its source.
    """
    found = hashlib.sha256(f"{sys.version}\n{sys.platform}\n".encode())
    for folder in sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}):
        found.update("\n".join(sorted(path.name for path in Path(folder).glob("*.dist-info"))).encode())
    for path in sorted(package.rglob("*")):
        if path.suffix != ".pyc" and path.is_file():
            text = path.read_bytes()
            found.update(f"\n{path.relative_to(package).as_posix()} {len(text)}\n".encode())
            found.update(text)
    return found.hexdigest()


LOADED = digest()
"""The text that this process runs, as nearly as it can be known: taken when it is loaded."""


class Kept:
    """What earlier builds left behind, and what this one leaves to later ones.

    Args:
        folder: Where the files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / f"{LOADED}.json"
        self._found = _read(self._file) if digest() == LOADED else {}
        self._used: dict[str, str] = {}

    def get(self, name: str, make: Callable[[], str]) -> str:
        """A result, from an earlier build or made now.

        Args:
            name: Says all that it depends on, but for the source of the package.
            make: Makes it.
        """
        if name not in self._used:
            self._used[name] = self._found[name] if name in self._found else make()
        return self._used[name]

    def save(self) -> None:
        """Leaves the results of this build behind, unless they are there or the source has changed meanwhile."""
        if self._used.keys() <= self._found.keys() or digest() != LOADED:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self._used).encode()
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", suffix=".tmp", delete=False) as fresh:
            fresh.write(hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
        Path(fresh.name).replace(self._file)
        for old in sorted(self._folder.glob("*.json"), key=_age)[FILES:]:
            old.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, str]:
    try:
        seal, text = file.read_bytes().split(b"\n", 1)
        if hashlib.sha256(text).hexdigest().encode() != seal:
            return {}
        found = json.loads(text)
        file.touch()  # the oldest ones are removed
    except (OSError, ValueError):
        return {}
    return dict(found)


def _age(file: Path) -> float:
    try:
        return -file.stat().st_mtime
    except OSError:  # another build has removed it
        return 0.0
