"""Rate limiter: never make more calls in a time than the other side allows.

Use when a service has a quota, or when you would rather spread your own load than be told "too many
requests". Do not use to protect something slow from too many calls at the same time: that is what a
bulkhead is for.

A rate limiter looks at when calls *start*. It does not know how long they take.

Source: Jonathan Turner, "New directions in communications (or which way to the information age?)", IEEE
Communications 24(10), 1986 (the token bucket); ATM Forum, "Traffic Management Specification 4.0", 1996
(its form without a clock of its own, GCRA).
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

from failwell.derive import Call
from failwell.errors import RateLimitedError
from failwell.events import Queued, Rejected
from failwell.policy import Policy, at_least, not_negative, number, optional_text
from failwell.runtime import Runtime, Signal

__all__ = ["RateLimiter"]


class RateLimiter(Policy):
    """Let only so many calls start in a time; the others wait for their turn, or are refused.

    Without a ``burst`` no window of ``per`` seconds, wherever it begins, sees more than ``rate`` starts.
    With one, no window of t seconds sees more than ``burst + rate / per * t``.

    Who waits is served in the order of arrival; when a waiter is cancelled, those behind it move up.

    Args:
        rate: How many calls may start in ``per`` seconds; a whole number where there is no ``burst``.
        per: The length of the window in seconds.
        burst: How many calls may start at once after a quiet time (a token bucket that holds so many).
        max_wait: Seconds that a call may wait for its turn (default: none). A call whose turn comes later, or not
            before its deadline, is refused at once.
        name: What the layer is called in events and drawings.

    Raises:
        ValueError: If ``rate`` or ``per`` is not above 0 and finite, ``burst`` is below 1 or ``max_wait`` is negative.
        TypeError: If an argument is of the wrong kind.
        RateLimitedError: On a call, if its turn does not come in time; ``retry_after`` says when it would.
    """

    def __init__(
        self,
        rate: float,
        per: float = 1.0,
        burst: int | None = None,
        max_wait: float = 0.0,
        name: str | None = None,
    ) -> None:
        for parameter, value in (("rate", rate), ("per", per)):
            number(parameter, value)
            if not 0 < value < float("inf"):
                raise ValueError(f"{parameter} must be above 0 and finite, got {value!r}")
        if burst is not None:
            at_least(1, burst=burst)
        elif rate != int(rate):
            raise ValueError(f"rate must be a whole number of calls where there is no burst, got {rate!r}: widen per")
        not_negative(max_wait=max_wait)
        optional_text(name=name)
        self.rate = rate
        self.per = per
        self.burst = burst
        self.max_wait = max_wait
        self.name = name
        self.whole_rate = int(rate)  # calls in a window
        self.gap = per / rate  # seconds between calls on average

    async def run(self, call: Call, rt: Runtime) -> Any:
        line: _Line = rt.state
        if not line.admits(self, rt.now):
            turn, wait = line.join(self, rt.now, rt.time_left())
            if turn is None:
                rt.emit(Rejected, "rate limit exceeded", wait)
                raise RateLimitedError(rt.operation, wait)
            try:
                rt.emit(Queued, wait)
                await rt.wait(turn)  # until it is the first in line
                while (wait := line.start(self, rt.now)) > 0:
                    await rt.sleep(wait)
            finally:
                line.leave(turn)
        return await call()

    def situations(self) -> Mapping[str, Callable[[], _Line]]:
        """A call may start; it has to wait, as long as it would at most (or in vain); that would be too long."""
        found: dict[str, Callable[[], _Line]] = {"allowed": _Line}
        last = self.per if self.burst is None else self.gap
        forever = self.max_wait == float("inf")
        if self.max_wait > 0:
            found["queued"] = lambda: _Held(last if forever else self.max_wait)
        if forever:  # the line before it can be of any length
            found["stuck"] = lambda: _Held(last, before=1)
        if not forever:
            found["exceeded"] = lambda: _Held(self.max_wait + last)
        return found

    def situation(self, state: _Line, now: float) -> str:
        """Which of its situations a state is in.

        Args:
            state: A state that one of ``situations()`` made.
            now: Monotonic seconds.
        """
        due = state.due(self, now, len(state.turns))
        if due <= now:
            return "allowed"
        wait = due - now
        return "queued" if wait <= self.max_wait or math.isclose(wait, self.max_wait, rel_tol=1e-12) else "exceeded"


class _Line:
    """When calls started, and who waits for a turn, in the order of arrival.

    A start counts when it really happens, not when it was due, so a thread that wakes late does no harm.
    The clock is read under the lock, so what is written down is in order.
    """

    def __init__(self) -> None:
        self.starts: deque[float] = deque()  # without a burst: those of the last window
        # With one: the bucket was full at `since` and lost `taken` calls, so it is full again `taken` gaps later. A
        # sum of gaps would be off by its rounding, and 20 calls at once would be 19.
        self.since, self.taken, self.gap = -math.inf, 0, 1.0
        self.turns: OrderedDict[Signal, None] = OrderedDict()  # set for the first one; any of them may be cancelled
        self._window = 0.0
        self._lock = threading.Lock()

    def due(self, limit: RateLimiter, now: float, ahead: int) -> float:
        """When a call may start that has so many others before it."""
        if limit.burst is not None:
            since, taken = (now, 0) if self._is_full(limit, now) else (self.since, self.taken)
            return since + (taken + ahead + 1 - limit.burst) * limit.gap
        rate = limit.whole_rate
        rounds, place = divmod(ahead, rate) if ahead else (0, 0)
        place += len(self.starts) - rate
        moment = self.starts[place] + limit.per if place >= 0 else now  # when that start leaves the window
        return max(moment, now) + rounds * limit.per

    def admits(self, limit: RateLimiter, clock: Callable[[], float]) -> bool:
        """Let a call start at once, if it may and nobody waits longer for it."""
        with self._lock:
            now = clock()
            if self.due(limit, now, len(self.turns)) > now:
                return False
            self._count(limit, now)
            return True

    def join(self, limit: RateLimiter, clock: Callable[[], float], time_left: float) -> tuple[Signal | None, float]:
        """A turn at the end of the line, and in how many seconds it comes; no turn if it comes too late."""
        with self._lock:
            now = clock()
            due = self.due(limit, now, len(self.turns))
            wait = _seconds_until(due, now)
            most = limit.max_wait
            too_long = wait > most and not math.isclose(wait, most, rel_tol=1e-12)  # three times 0.1 s is 0.3 s
            if too_long or wait >= time_left:
                return None, wait
            turn = Signal()
            if not self.turns:
                turn.set()
            self.turns[turn] = None
            return turn, wait

    def start(self, limit: RateLimiter, clock: Callable[[], float]) -> float:
        """Let the first in line start, if it may; else the seconds until then."""
        with self._lock:
            now = clock()
            due = self.due(limit, now, 0)
            if due > now:
                return _seconds_until(due, now)
            self._count(limit, now)
            return 0.0

    def leave(self, turn: Signal) -> None:
        """A turn is over, taken or not: those behind it move up."""
        with self._lock:
            del self.turns[turn]
            first = next(iter(self.turns), turn)
        first.set()

    def _count(self, limit: RateLimiter, now: float) -> None:
        """Write down that a call starts now."""
        if limit.burst is not None:
            if self._is_full(limit, now):
                self.since, self.taken = now, 0
            self.taken += 1
            return
        starts = self.starts
        starts.append(now)
        if limit.per > self._window:
            self._window = limit.per  # the longest, where changed copies share this
        while starts and starts[0] + self._window <= now:
            starts.popleft()

    def _is_full(self, limit: RateLimiter, now: float) -> bool:
        """Whether nothing is missing from the bucket."""
        if limit.gap != self.gap:  # a changed copy shares this: what is missing comes back at its pace from now on
            missing = max(0.0, (self.since + self.taken * self.gap - now) / self.gap)
            self.since, self.taken, self.gap = now + missing * limit.gap, 0, limit.gap
        return self.since + self.taken * self.gap <= now


def _seconds_until(due: float, now: float) -> float:
    """So long that it is really over then, however the numbers are rounded."""
    wait = max(0.0, due - now)
    return wait if now + wait >= due else math.nextafter(wait, math.inf)


class _Held(_Line):
    """A line in which nobody may start for some seconds, to explore with."""

    def __init__(self, seconds: float, before: int = 0) -> None:
        super().__init__()
        self.turns.update((Signal(), None) for _ in range(before))
        self.seconds = seconds
        self.until: float | None = None

    def due(self, limit: RateLimiter, now: float, ahead: int) -> float:
        if self.until is None:
            self.until = now + self.seconds
        return max(self.until, super().due(limit, now, ahead))
