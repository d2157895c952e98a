"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from failwell.cli.refusal import Refused

if TYPE_CHECKING:
    from failwell.cli.targets import Outcomes
    from failwell.flow import Exploration

__all__ = ["explored_target", "exploring"]


def _outcomes(_: click.Context, __: click.Parameter, value: str | None) -> Outcomes | None:
    from failwell.cli.targets import exception

    if value is None:
        return None
    words = dict.fromkeys(part.strip() for part in value.split(",") if part.strip())
    if not words:
        raise Refused(f"--outcomes {value!r}: give some of ok, fail, hang and exceptions, with commas between them")
    try:
        found = [one if one in ("ok", "fail", "hang") else exception(one) for one in words]
    except Refused as error:
        raise Refused(f"--outcomes {value!r}: {error}") from None
    return tuple(dict.fromkeys(found))


_HOW = "How operations can end: ok,fail,hang; also exceptions by name, e.g. ok,ConnectionError,myapp.errors:Gone."


def exploring(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command ``--operation``, ``--outcomes`` and ``--limit``, which `explored_target` takes.

    Args:
        command: The function of a command.
    """
    for option in (
        click.option("--limit", metavar="N", default=10_000, help="Stop at more paths than this (10,000)."),
        click.option("--outcomes", metavar="LIST", callback=_outcomes, help=_HOW),
        click.option("--operation", metavar="NAME", help="What to call the protected operation."),
    ):
        command = option(command)
    return command


def explored_target(target: str, operation: str | None, outcomes: Outcomes | None, limit: int) -> Exploration:
    """All paths of what the user named.

    Args:
        target: A pattern's name or ``module:attribute``.
        operation: ``--operation``.
        outcomes: ``--outcomes``.
        limit: ``--limit``.

    Raises:
        Refused: If there is no such thing, or it cannot be explored.
    """
    from failwell.cli.targets import explored, resolve

    if limit < 1:
        raise Refused(f"--limit {limit}: give a number of paths of at least 1")
    return explored(resolve(target), operation=operation, outcomes=outcomes, limit=limit)
