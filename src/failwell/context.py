"""Where a call goes, and which request it belongs to.

A context is carried by a context variable into all that happens inside: tasks and worker threads of
failwell's own, every event, log records, and a note on the error that leaves it. An error keeps it, so
that a handler far outside still knows which request it was.
"""

from __future__ import annotations

import enum
import os
import random
from collections.abc import Generator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from typing import Any

from failwell import virtual

__all__ = ["ErrorContext", "Transport", "context", "context_of", "current_context", "enter", "leave", "note"]


class Transport(enum.Enum):
    """The kind of thing that a call goes to."""

    HTTP = "http"
    DATABASE = "database"
    BROKER = "broker"
    CACHE = "cache"
    SECRETS = "secrets"
    FILE = "file"
    OTHER = "other"

    def __repr__(self) -> str:
        return str(self)


class ErrorContext:
    """Where a call goes and which request it belongs to; every event of the call carries it.

    Args:
        transport: The kind of target, also as a text: ``"database"``.
        operation: What is done there, e.g. ``"connect"``.
        target: The name of the target, e.g. ``"orders-primary"``. Never put a credential here.
        correlation_id: What ties together everything done for one request.

    Raises:
        TypeError: If an argument is no text.
        ValueError: If there is no such transport.
    """

    __slots__ = ("correlation_id", "operation", "target", "transport")

    def __init__(
        self,
        transport: Transport | str = Transport.OTHER,
        operation: str = "",
        target: str = "",
        correlation_id: str | None = None,
    ) -> None:
        # What is wrong is said here: later, in the place of an error that is about to say where it was, nobody
        # would look for it.
        if type(transport) is not Transport:
            known = [one.value for one in Transport]
            if transport not in known:
                raise ValueError(f"transport must be one of {', '.join(known)}, got {transport!r}")
            transport = Transport(transport)
        what: Any = operation
        if not isinstance(what, str):
            raise TypeError(f"operation must be a text, got {what!r}")
        where: Any = target
        if not isinstance(where, str):
            raise TypeError(f"target must be a text, got {where!r}")
        request: Any = correlation_id
        if request is not None and not isinstance(request, str):
            raise TypeError(f"correlation_id must be a text, got {request!r}: give it as str(...)")
        self.transport = transport
        self.operation = operation
        self.target = target
        self.correlation_id = correlation_id

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ErrorContext) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.transport, self.operation, self.target, self.correlation_id

    def __str__(self) -> str:
        """In words, without secrets and on one line: ``database connect at orders-primary, correlation id 7f3a``."""
        said = self.where
        return said if self.correlation_id is None else f"{said}{_ID}{clean(self.correlation_id)}"

    @property
    def where(self) -> str:
        """The same without the request."""
        transport = "" if self.transport is Transport.OTHER else self.transport.value
        place = f"at {clean(self.target)}" if self.target else ""
        return " ".join(filter(None, (transport, clean(self.operation), place))) or "somewhere"

    def __repr__(self) -> str:
        return (
            f"ErrorContext({self.transport}, operation={self.operation!r}, target={self.target!r}, "
            f"correlation_id={self.correlation_id!r})"
        )


_context: ContextVar[ErrorContext | None] = ContextVar("failwell_error_context", default=None)
_ID = ", correlation id "


def current_context() -> ErrorContext | None:
    """The error context that this code runs under, or None."""
    return _context.get()


@contextmanager
def context(value: ErrorContext) -> Generator[ErrorContext]:
    """Run a block under an error context; an error that leaves it gets a note that says so.

    Args:
        value: The context that events of this block carry. Without a correlation id it takes that of the context
            around it, or a new one.
    """
    inside = value
    if value.correlation_id is None:
        inside = ErrorContext(value.transport, value.operation, value.target, correlation_id())
    token = enter(inside)
    try:
        yield inside
    except Exception as error:
        note(error, inside)
        raise
    finally:
        leave(token)


def context_of(error: BaseException) -> ErrorContext | None:
    """The innermost context that an error has left, also long after; None if it has left none.

    Args:
        error: Any error.
    """
    found = getattr(error, "__failwell_context__", None)
    return found if isinstance(found, ErrorContext) else None


def correlation_id() -> str:
    """The id of the request that this code runs for; a new one if there is none."""
    outer = _context.get()
    if outer is not None and outer.correlation_id is not None:
        return outer.correlation_id
    # Programs seed `random`, and an id that two processes have tells nobody apart. In virtual time all is repeatable.
    return (os.urandom(8) if virtual.current_clock() is None else random.randbytes(8)).hex()


def enter(value: ErrorContext) -> Token[ErrorContext | None]:
    """Go under a context.

    Args:
        value: The context.

    Returns:
        What `leave` takes.
    """
    return _context.set(value)


def leave(token: Token[ErrorContext | None]) -> None:
    """Go back to the context that there was before.

    Args:
        token: What `enter` gave.
    """
    try:
        _context.reset(token)
    except ValueError:  # closed from another context, which was never under this one
        pass


def note(error: Exception, inside: ErrorContext) -> None:
    """Have an error say where it happened: once, however often the same object is raised.

    Args:
        error: The error that leaves the context.
        inside: The context.
    """
    said = f"context: {inside.where}"
    known: Any = error
    with suppress(Exception):  # an error that cannot be changed stays as it is
        others = [one for one in getattr(error, "__notes__", ()) if one != said and not str(one).startswith(said + _ID)]
        error.__notes__ = [*others, f"context: {inside}"]
        before = context_of(error)
        if before is None or before.correlation_id != inside.correlation_id:
            known.__failwell_context__ = inside


def clean(text: str) -> str:
    """A text for one line of a log: no secrets that can be told by their form, no control characters.

    Args:
        text: Any text.
    """
    from failwell.redaction import redacted  # a slow import that only an error or a log line needs

    return "".join(one if one.isprintable() else "?" for one in redacted(text))
