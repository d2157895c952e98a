"""The `failwell` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: status 0 is fine, 1 a check that failed, 2 bad input.

    Args:
        arguments: What stands after ``failwell``; by default the command line's.
    """
    try:
        from failwell.cli.app import run

        status = run(arguments)
    except KeyboardInterrupt:  # before or after what `run` watches over
        status = 130
    sys.exit(status)
