"""InContext: an error says where it happened and which request it belongs to.

Use when one request goes through several services, stores and queues, and somebody has to find out at
night which call of which request failed. Do not use for what only one function knows: let the error's
own message say that.

Source: Gregor Hohpe and Bobby Woolf, "Enterprise Integration Patterns", ch. 5 (Correlation Identifier).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, cast

from failwell.context import (
    ErrorContext,
    Transport,
    clean,
    context_of,
    correlation_id,
    current_context,
    enter,
    leave,
    note,
)
from failwell.derive import Call
from failwell.events import ErrorNoted
from failwell.policy import Policy, is_async
from failwell.runtime import Runtime, UnexpectedAwaitable

__all__ = ["ContextFilter", "InContext"]

LONGEST_ID = 128


class InContext(Policy):
    """Run a call under an error context: every event and log record inside carries it, and so does the error.

    What fails is raised as it is, with one note that names the place and the request, without secrets. A context
    inside of another one belongs to the same request.

    Args:
        transport: The kind of thing that the call goes to: a `Transport`, or its value such as ``"database"``.
        operation: What is done there (default: the name of the function).
        target: The name of what it goes to, such as ``"orders-primary"``.
        correlation_id: What ties together all that is done for one request: a text, or a plain function that is
            asked on each call, such as one that reads a header. Without it, or if the function raises or gives no
            text of up to 128 printable characters, the id of the context around is taken, or a new one made.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If there is no such transport, or the id is no text of up to 128 printable characters.
    """

    def __init__(
        self,
        transport: Transport | str = Transport.OTHER,
        operation: str | None = None,
        target: str = "",
        correlation_id: str | Callable[[], str | None] | None = None,
    ) -> None:
        known = [one.value for one in Transport]
        if not isinstance(transport, Transport) and transport not in known:
            raise ValueError(f"transport must be one of {', '.join(known)}, got {transport!r}")
        for name, text in (("operation", operation or ""), ("target", target)):
            if not isinstance(cast("Any", text), str):
                raise TypeError(f"{name} must be a text, got {text!r}")
        if callable(correlation_id) and is_async(correlation_id):
            raise TypeError(f"correlation_id must be a text or a plain function, got {correlation_id!r}")
        if isinstance(correlation_id, str) and not _is_id(correlation_id):
            raise ValueError(f"correlation_id must have 1 to {LONGEST_ID} printable characters, got {correlation_id!r}")
        if not (correlation_id is None or isinstance(correlation_id, str) or callable(cast("Any", correlation_id))):
            raise TypeError(
                f"correlation_id must be a text or a plain function, got {correlation_id!r}: give it as str(...)"
            )
        self.transport = Transport(transport)
        self.operation = operation
        self.target = target
        self.correlation_id = correlation_id
        self._given: Any = correlation_id

    async def run(self, call: Call, rt: Runtime) -> Any:
        known = self._given
        if known is None:
            known = correlation_id()
        elif not isinstance(known, str):
            try:
                known = await rt.decide("correlation id", (None,), known)
            except UnexpectedAwaitable:
                raise
            except Exception:  # such as a context variable without a value: a call must not fail for want of an id
                known = None
            if not _is_id(known):
                known = correlation_id()
        here = ErrorContext(self.transport, self.operation or rt.operation, self.target, known)
        before = enter(here)
        try:
            return await call()
        except Exception as error:
            note(error, here)
            rt.emit(ErrorNoted, here.where, error)
            raise
        finally:
            leave(before)


def _is_id(text: Any) -> bool:
    """Whether a text that came from outside can go into logs and headers as it is."""
    return isinstance(text, str) and 0 < len(text) <= LONGEST_ID and text.isprintable()


class ContextFilter(logging.Filter):
    """Gives every log record the fields ``correlation_id``, ``transport``, ``operation`` and ``target``.

    Add it to a handler: ``handler.addFilter(ContextFilter())``. (A logger's own filters do not see the records of the
    loggers below it.) A record that is written outside of any context, about an error that has left one, is given
    that one. Fields that a caller gave by ``extra=`` are left as they are. No record is dropped.

    Args:
        missing: What the fields hold where there is nothing to say.
    """

    def __init__(self, missing: str | None = "-") -> None:
        super().__init__()
        self.missing = missing

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; always True.

        Args:
            record: The record to complete.
        """
        here = current_context()
        if here is None and record.exc_info is not None and record.exc_info[1] is not None:
            here = context_of(record.exc_info[1])
        said = {} if here is None else _fields(here)
        for name in ("correlation_id", "transport", "operation", "target"):
            if not hasattr(record, name):
                setattr(record, name, said.get(name) or self.missing)
        return True


def _fields(here: ErrorContext) -> dict[str, str]:
    return {
        "correlation_id": clean(here.correlation_id or ""),
        "transport": here.transport.value,
        "operation": clean(here.operation),
        "target": clean(here.target),
    }
