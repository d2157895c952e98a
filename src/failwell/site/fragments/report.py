"""What the command prints, as it prints it."""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
from pathlib import Path

from failwell.cli.app import run
from failwell.site.fragments import fragment

__all__ = ["command"]

COLUMNS = "100"


class _Terminal(io.StringIO):
    """A terminal of a usual width."""

    def isatty(self) -> bool:
        return True


def _of_the_package(*arguments: str) -> bool:
    """Whether a command line is about the package itself, not about a file or about code of others."""
    targets = [argument for argument in arguments if ":" in argument]
    files = [argument for argument in arguments if Path(argument).exists()]
    return all(target.startswith("failwell.") for target in targets) and not files


@fragment("command", from_source=_of_the_package)
def command(*arguments: str) -> str:
    """A command line and what it prints on a terminal.

    Args:
        *arguments: What stands after ``failwell``.

    Raises:
        ValueError: If the command fails.
    """
    output, errors = _Terminal(), io.StringIO()
    before, columns = [*sys.path], os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = COLUMNS
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            status = run(arguments)
    finally:
        sys.path[:] = before
        del os.environ["COLUMNS"]
        if columns is not None:
            os.environ["COLUMNS"] = columns
    if status:
        raise ValueError(f"failwell {shlex.join(arguments)} ends with status {status}: {errors.getvalue().strip()}")
    printed = output.getvalue().rstrip("\n")
    return f"````console\n$ failwell {shlex.join(arguments)}\n{printed}\n````"
