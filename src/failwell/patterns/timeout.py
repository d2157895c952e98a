"""Timeout: stop waiting for an answer that does not come.

Use when a caller can do something better than wait (answer, fall back, free its slot). Do not use where
the work must not be cut in the middle; make it idempotent or a saga first.

An async operation is cancelled. A plain one cannot be: its thread is *abandoned*. The caller goes on,
the user function that is running there runs to its end, and nothing new starts behind it.

Source: Michael Nygard, "Release It!", 2nd ed., ch. 5.
"""

from __future__ import annotations

import enum
from typing import Any, Final

from failwell.derive import Call
from failwell.errors import TimeoutExceeded
from failwell.events import TimedOut
from failwell.policy import Policy, number
from failwell.runtime import LATE, Runtime

__all__ = ["RAISE", "Timeout"]


class _Raise(enum.Enum):
    RAISE = "raise"

    def __repr__(self) -> str:
        return self.name


RAISE: Final = _Raise.RAISE
"""The default of ``Timeout(default=...)``: raise `TimeoutExceeded`."""


class Timeout(Policy):
    """Give an operation a limited time.

    Neither a cancellation from outside nor a ``TimeoutError`` of the operation's own is taken for it. Where a deadline
    around it comes first, or at the same moment, that ends the call.

    Args:
        seconds: How long the operation may take.
        default: What to answer instead of raising; the answer counts as degraded.

    Raises:
        ValueError: If ``seconds`` is not a number above 0.
        TimeoutExceeded: On a call, when the time is over and there is no default.
    """

    def __init__(self, seconds: float, default: Any = RAISE) -> None:
        number("seconds", seconds)
        if not 0 < seconds < float("inf"):
            raise ValueError(f"seconds must be above 0 and finite, got {seconds!r}")
        self.seconds = seconds
        self.default = default

    async def run(self, call: Call, rt: Runtime) -> Any:
        answer = await rt.within(self.seconds, call)
        if answer is not LATE:
            return answer
        rt.emit(TimedOut, self.seconds)
        if self.default is RAISE:
            raise TimeoutExceeded(self.seconds, rt.operation)
        rt.degraded()
        return self.default
