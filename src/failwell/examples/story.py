"""Tells what calls went through, from the events that they left."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from failwell import Outcome
from failwell.events import (
    Alerted,
    Attempt,
    CacheHit,
    CacheMiss,
    CacheStored,
    CircuitOpened,
    Compensated,
    Compensating,
    CompensationFailed,
    CredentialRefreshed,
    CredentialRefreshFailed,
    CredentialRefreshing,
    Event,
    FellBack,
    GaveUp,
    Rejected,
    Routed,
    StaleServed,
    TimedOut,
    Waiting,
)

__all__ = ["quietly", "table", "tell"]


def quietly(main: Callable[[], int]) -> int:
    """Run a program whose reader may leave early, as ``head`` does; that is no error.

    Args:
        main: The program; it gives its exit status.
    """
    try:
        status = main()
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to be written goes nowhere
        return 0
    return status


def tell(outcome: Outcome[Any]) -> Iterator[str]:
    """One line per event, with the seconds since the call started, and one for how it ended.

    Args:
        outcome: What ``policy.outcome(...)`` returned.
    """
    started = outcome.events[0].time if outcome.events else 0.0
    for event in outcome.events:
        yield f"{event.time - started:5.1f} s  {happening(event)}"
    ending = f"answered {outcome.value}" if outcome.error is None else f"failed with {name(outcome.error)}"
    yield f"{outcome.elapsed:5.1f} s  {ending}{', degraded' if outcome.degraded else ''}"


def happening(event: Event) -> str:
    """An event in words.

    Args:
        event: Any event; one that is not known here is told by its name.
    """
    match event:
        case Attempt():
            return f"attempt {event.number}"
        case TimedOut():
            return f"no answer within {event.seconds} s"
        case CircuitOpened():
            return f"the circuit opens for {event.seconds:g} s"
        case Alerted():
            return "somebody is told"
        case Compensating():
            return f"has to undo: {event.step}, because of {name(event.error)}"
        case Compensated():
            return f"undone: {event.step}"
        case CompensationFailed():
            return f"NOT undone: {event.step}, because of {name(event.error)}"
        case Waiting():
            return f"{name(event.error)}; next attempt in {event.delay:.1f} s"
        case GaveUp():
            return f"{name(event.error)}; gave up after {event.attempts} attempts: {event.reason}"
        case FellBack():
            return f"instead: {event.alternative}"
        case CacheHit():
            return f"found an answer of {event.age:.1f} s ago"
        case CacheMiss():
            return "nothing fresh in the cache"
        case CacheStored():
            return f"kept the {'degraded ' * event.degraded}answer"
        case StaleServed():
            return f"took the last answer, {event.age:.1f} s old"
        case CredentialRefreshing():
            return (
                f"asks for a new token, the old one {'has expired' if event.reason == event.EXPIRED else 'was refused'}"
            )
        case CredentialRefreshed():
            return "has a new token"
        case CredentialRefreshFailed():
            return f"got no token: {name(event.error)}"
        case Routed():
            return f"takes the route {event.route!r}"
        case Rejected():
            return f"refused: {event.reason}"
        case _:
            return type(event).__name__


def name(error: BaseException | None) -> str:
    """An error in a few words: of an HTTP error the status, else what the operating system said, else the message.

    Args:
        error: What was raised, or None where a result was rejected.
    """
    kind = type(error).__name__
    response: Any = getattr(error, "response", None)
    if response is not None:
        again = response.headers.get("Retry-After")
        return f"{response.status_code} {response.reason_phrase}" + (f", Retry-After: {again}" if again else "")
    beneath = [type(one).__name__ for one in chain(error) if isinstance(one, OSError)]
    if beneath:
        return kind if isinstance(error, OSError) else f"{kind} from {beneath[-1]}"
    return f"{kind}: {error}"


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, the one that led to it, the one that led to that ...

    Args:
        error: The outermost.
    """
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """The lines of a plain table.

    Args:
        titles: The heads of the columns.
        rows: What stands below them.
    """
    lines = [titles, *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in (titles, ["-" * width for width in widths], *lines[1:]):
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
