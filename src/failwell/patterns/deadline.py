"""Deadline: one budget of time for everything that a call does.

Use at the edge of a service, where somebody waits for an answer and will not wait longer: everything
inside, however deep, sees what is left of the time and plans with it. Do not use to limit a single
attempt: that is what a timeout is for.

A timeout only ends things. A deadline is known inside, so a retry does not begin a wait that it would not
survive, nobody queues in vain, and the next service can be told how much time there is.

Source: gRPC documentation, "Deadlines"; Google SRE Book, ch. 22.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Self

from failwell.derive import Call
from failwell.errors import DeadlineExceeded
from failwell.events import TimedOut
from failwell.policy import Policy, number
from failwell.runtime import LATE, Runtime

__all__ = ["Deadline"]


class Deadline(Policy):
    """Give everything inside one budget of time, which all of it can see.

    Of several deadlines the earliest counts, wherever it stands. The layer that set it ends the call and raises; no
    layer inside takes that for its own doing. `failwell.time_left` says what is left.

    Args:
        seconds: How long everything inside may take together.
        at: The monotonic time (`time.monotonic`) at which it must be over, for a call whose time began before; then
            ``seconds`` is what is reported and explored. See `until`.

    Raises:
        ValueError: If ``seconds`` is not a number above 0, or ``at`` is not finite.
        DeadlineExceeded: On a call, when the time is over; at once, if it was over before.
    """

    def __init__(self, seconds: float, at: float | None = None) -> None:
        number("seconds", seconds)
        if not (seconds > 0 or (seconds == 0 and at is not None)) or seconds == float("inf"):
            raise ValueError(f"seconds must be above 0 and finite, got {seconds!r}")
        if at is not None:
            number("at", at)
            if not float("-inf") < at < float("inf"):
                raise ValueError(f"at must be a finite monotonic time, got {at!r}")
        self.seconds = seconds
        self.at = at

    async def run(self, call: Call, rt: Runtime) -> Any:
        in_time = self.at is None or self.at > rt.now()
        answer = await rt.by(self.seconds, self.at, call)
        if answer is not LATE:
            return answer
        rt.emit(TimedOut, self.seconds)
        raise DeadlineExceeded(self.seconds, rt.operation, self.at, in_time)

    @classmethod
    def until(cls, moment: float | datetime) -> Self:
        """A deadline at a moment that somebody else fixed, such as the caller of this service. It may have passed.

        It is good for one request: make it when the request comes in. Of what a caller sends, "so many seconds are
        left" is better than a date, as two machines never agree about the time:
        ``Deadline.until(time.monotonic() + left)``.

        Args:
            moment: A monotonic time, or a date with its time zone.

        Raises:
            ValueError: If a date has no time zone, or a time is not finite.
            TypeError: If it is neither a number nor a date.
        """
        given: Any = moment
        if isinstance(given, datetime):
            at = time.monotonic() + _seconds_until(given)
        elif isinstance(given, bool) or not isinstance(given, (int, float)):
            raise TypeError(f"moment must be a monotonic time or a date with its time zone, got {given!r}")
        else:
            number("moment", given)
            at = given
            if not float("-inf") < at < float("inf"):
                raise ValueError(f"moment must be a finite monotonic time, got {given!r}")
        return cls(max(0.0, at - time.monotonic()), at)


def _seconds_until(date: datetime) -> float:
    if date.tzinfo is None:
        raise ValueError(f"moment must have a time zone, got {date!r}")
    return date.timestamp() - time.time()
