"""What the command says when it cannot do what it was asked to."""

from __future__ import annotations

__all__ = ["Refused", "first_line"]


class Refused(Exception):
    """Bad input; the message is one line that says what was wrong and what to do."""


def first_line(error: BaseException) -> str:
    """An error in one line: its type and the first line of its message.

    Args:
        error: The error.
    """
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
