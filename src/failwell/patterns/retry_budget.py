"""Retry budget: retries stay a fraction of the calls, however much fails.

Use where many calls go to one service and are retried: in an outage every one of them would come back as
often as its retry allows, at the moment when the service can bear it least. Do not use it instead of a limit
on attempts, or for a handful of calls a minute, where the minimum is all there is.

Source: Finagle's ``RetryBudget`` (2016); Google SRE Book, ch. 21, "Handling Overload".
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from fractions import Fraction

from failwell.policy import number

__all__ = ["RetryBudget"]


class RetryBudget:
    """A limit on the extra load that retries may cause, shared by everything that it is given to.

    ``Retry(budget=...)`` tells it of each call and asks it before each further attempt. When it is spent, only
    the extra attempts are left out; first attempts are never held up. What it promises holds at the moment of
    each retry: the retries of the last ``ttl`` seconds, this one included, are at most

        ``ratio`` x the calls of these seconds + ``minimum_per_second`` x ``ttl``

    It takes the same memory for any number of calls: time is counted in tenths of the ``ttl``. So that the promise
    is kept to the letter, a call counts for nine tenths of the ``ttl`` at least, and a retry for eleven at most.
    One object serves any number of retries, functions, tasks and threads.

    Args:
        ratio: How many retries each call pays for; 0.1 is one for ten calls.
        minimum_per_second: How many retries there may be in a second although no call paid for them, so that
            a service with few calls can retry at all. They may come all at once: ``ttl`` seconds' worth of them.
        ttl: Seconds for which a call pays, and for which a retry counts.

    Raises:
        ValueError: If ``ratio`` or ``minimum_per_second`` is negative or infinite, or ``ttl`` is not above 0.
        TypeError: If one of them is no number.
    """

    def __init__(self, ratio: float = 0.1, minimum_per_second: float = 1.0, ttl: float = 10.0) -> None:
        for name, value in (("ratio", ratio), ("minimum_per_second", minimum_per_second)):
            number(name, value)
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} must be a finite number that is not negative, got {value!r}")
        number("ttl", ttl)
        if not 0 < ttl < math.inf:
            raise ValueError(f"ttl must be a finite number of seconds above 0, got {ttl!r}")
        self.ratio = ratio
        self.minimum_per_second = minimum_per_second
        self.ttl = ttl
        # In whole coins nothing is lost by rounding: a ratio of 0.29 is 29 retries for 100 calls, not 28.
        of_a_call, reserve = _as_typed(ratio), _as_typed(minimum_per_second) * _as_typed(ttl)
        self._price = math.lcm(of_a_call.denominator, reserve.denominator)
        self._of_a_call = int(of_a_call * self._price)
        self._reserve = int(reserve * self._price)
        self._lock = threading.Lock()
        self._now = 0
        # Calls of up to `ttl` seconds and retries of no less: what the edges of the slices hide is never in favour
        # of another retry.
        self._calls: deque[int] = deque([0] * _SLICES, maxlen=_SLICES)
        self._retries: deque[int] = deque([0] * (_SLICES + 1), maxlen=_SLICES + 1)

    def deposit(self) -> None:
        """A call was made."""
        with self._lock:
            self._turn_to_now()
            self._calls[-1] += 1

    def withdraw(self) -> bool:
        """Whether one more attempt may be made; if so, it is counted.

        A caller that is cancelled before that attempt does not give it back: it counts until its time is over.
        """
        with self._lock:
            affordable = self._left() >= self._price
            if affordable:
                self._retries[-1] += 1
            return affordable

    @property
    def balance(self) -> int:
        """How many retries it would allow now, if all came at once."""
        with self._lock:
            return max(0, self._left() // self._price)

    def _left(self) -> int:
        """What is left to spend; below 0 where calls have run out of time before the retries that they paid for."""
        self._turn_to_now()
        return self._reserve + self._of_a_call * sum(self._calls) - self._price * sum(self._retries)

    def _turn_to_now(self) -> None:
        """Begin the slice of time that it is now, and forget those that are too old."""
        now = int(time.monotonic() / self.ttl * _SLICES)
        passed = now - self._now
        if passed:
            # A clock that is behind is another one, such as that of the next virtual run: there is no past in it.
            new = min(passed, _SLICES + 1) if passed > 0 else _SLICES + 1
            self._calls.extend([0] * new)
            self._retries.extend([0] * new)
            self._now = now

    def __repr__(self) -> str:
        """As one would type it: ``RetryBudget(0.2, ttl=30)``. What is left of it is its ``balance``."""
        shown = [_plain(self.ratio)] if self.ratio != 0.1 else []
        if self.minimum_per_second != 1:
            shown.append(f"minimum_per_second={_plain(self.minimum_per_second)}")
        if self.ttl != 10:
            shown.append(f"ttl={_plain(self.ttl)}")
        return f"RetryBudget({', '.join(shown)})"


_SLICES = 10


def _as_typed(value: float) -> Fraction:
    """0.1 as a tenth, and not as the binary fraction next to it."""
    return Fraction(repr(value))


def _plain(value: float) -> str:
    return repr(int(value) if isinstance(value, float) and value.is_integer() else value)
