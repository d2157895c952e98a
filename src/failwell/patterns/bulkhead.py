"""Bulkhead: give each kind of work a share of its own, so that one that is stuck does not sink the ship.

Use when one slow dependency could take all threads, connections or memory away from the others. Do not
use where calls are quick and few, or to keep to a quota per second: that is what a rate limiter is for.

A bulkhead looks at how many calls are under way. It does not know how many there were in a second.

Source: Michael Nygard, "Release It!", 2nd ed., ch. 5; John Little, "A Proof for the Queuing Formula
L = lambda W", Operations Research 9(3), 1961 (how many are under way at a given rate).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, cast

from failwell.derive import Call
from failwell.errors import BulkheadFullError, BulkheadTimeoutError
from failwell.events import Queued, Rejected
from failwell.policy import Policy, number
from failwell.runtime import Runtime, Signal

__all__ = ["Bulkhead"]


class Bulkhead(Policy):
    """Let only so many calls be under way at the same time; some may queue for a slot, the others are refused.

    Who waits is served in the order of arrival. One object is one bulkhead, whatever it protects.

    Args:
        max_concurrent: How many calls may be under way.
        max_queue: How many more may wait for a slot (default: none).
        queue_timeout: Seconds that a call may wait in the queue (default: until its slot comes).
        name: What the layer is called in events and drawings.

    Raises:
        ValueError: If ``max_concurrent`` is below 1, ``max_queue`` is negative or ``queue_timeout`` not above 0.
        TypeError: If an argument is of the wrong kind.
        BulkheadFullError: On a call, if all slots are taken and the queue is full.
        BulkheadTimeoutError: On a call, if it waited too long in the queue.
    """

    def __init__(
        self,
        max_concurrent: int = 10,
        max_queue: int = 0,
        queue_timeout: float | None = None,
        threads: int | None = None,
        name: str | None = None,
    ) -> None:
        for parameter, value, least in (("max_concurrent", max_concurrent, 1), ("max_queue", max_queue, 0)):
            number(parameter, value, whole=True)
            if value < least:
                raise ValueError(f"{parameter} must be at least {least}, got {value!r}")
        if queue_timeout is not None:
            number("queue_timeout", queue_timeout)
            if not queue_timeout > 0:
                raise ValueError(f"queue_timeout must be above 0 seconds, got {queue_timeout!r}")
        if threads is not None:
            number("threads", threads, whole=True)
            if threads < 1:
                raise ValueError(f"threads must be at least 1, got {threads!r}")
        if not (name is None or isinstance(cast("Any", name), str)):
            raise TypeError(f"name must be a text, got {name!r}")
        self.max_concurrent = max_concurrent
        self.max_queue = max_queue
        self.queue_timeout = queue_timeout
        self.threads = threads
        self.name = name

    async def run(self, call: Call, rt: Runtime) -> Any:
        slots: _Slots = rt.state
        turn = slots.enter(self.max_concurrent, self.max_queue)
        if turn is None:
            rt.emit(Rejected, "bulkhead full", None)
            raise BulkheadFullError(rt.operation)
        try:
            if turn is not _AT_ONCE:
                patience = rt.time_left() if self.queue_timeout is None else min(self.queue_timeout, rt.time_left())
                rt.emit(Queued, patience)
                in_time = await rt.wait(turn, None if patience == _FOR_EVER else max(0.0, patience))
                if not in_time and slots.withdraw(turn):
                    rt.emit(Rejected, "too long in the queue", None)
                    raise BulkheadTimeoutError(rt.operation, f"it waited {patience:.3g} s in the queue of its bulkhead")
            return await call()
        finally:
            slots.leave(turn)

    @property
    def active(self) -> int:
        """How many calls are under way now."""
        return cast("_Slots", self.live_state()).active

    @property
    def queued(self) -> int:
        """How many calls wait for a slot now."""
        return len(cast("_Slots", self.live_state()).turns)

    @property
    def rejected(self) -> int:
        """How many calls have been refused so far, at once or after a wait."""
        return cast("_Slots", self.live_state()).rejected

    def situations(self) -> Mapping[str, Callable[[], _Slots]]:
        """A slot is free; the call queues, and gets one just in time or never; the queue is full as well."""
        found: dict[str, Callable[[], _Slots]] = {"free": _Slots}
        if self.max_queue > 0:
            found["queued"] = lambda: _JustInTime(self.max_concurrent, at_once=self.queue_timeout is None)
            found["stuck"] = lambda: _Slots(self.max_concurrent)
        found["full"] = lambda: _Slots(self.max_concurrent, self.max_queue)
        return found

    def situation(self, state: _Slots, now: float) -> str:
        """Which of its situations a state is in; nobody can see of a queue whether a wait in it is in vain.

        Args:
            state: A state that one of ``situations()`` made.
            now: Monotonic seconds.
        """
        if state.active < self.max_concurrent and not state.turns:
            return "free"
        return "queued" if len(state.turns) < self.max_queue else "full"

    @property
    def label(self) -> str:
        return self.name or super().label


_FOR_EVER = float("inf")


class _Turn(Signal):
    """A place in the queue; set when it has become a slot."""

    __slots__ = ("has_slot", "room")

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.has_slot = False


_AT_ONCE = _Turn(0)
"""The turn of everybody who need not wait."""
_AT_ONCE.has_slot = True


class _Slots:
    """The calls that are under way, and those that wait.

    A slot that becomes free goes to the first in the queue in the same moment, so nobody can come between.

    Args:
        taken: Slots that others hold for ever, to explore with.
        queued: Turns that others wait for, to explore with.
    """

    def __init__(self, taken: int = 0, queued: int = 0) -> None:
        self.active = taken
        self.rejected = 0
        self.turns: deque[_Turn] = deque(_Turn(taken) for _ in range(queued))
        self._lock = threading.Lock()

    def enter(self, room: int, queue: int) -> _Turn | None:
        """A slot, a place in the queue, or None."""
        with self._lock:
            if self.active < room and not self.turns:
                self.active += 1
                return _AT_ONCE
            if len(self.turns) >= queue:
                self.rejected += 1
                return None
            turn = _Turn(room)
            self.turns.append(turn)
            return turn

    def withdraw(self, turn: _Turn) -> bool:
        """Leave the queue; False if it is too late for that, because the turn came meanwhile."""
        with self._lock:
            if turn.has_slot:
                return False
            self.turns.remove(turn)
            self.rejected += 1
            return True

    def leave(self, turn: _Turn) -> None:
        """Give the slot to the first in the queue; who has none leaves the queue."""
        with self._lock:
            if not turn.has_slot:
                if turn in self.turns:
                    self.turns.remove(turn)
                return
            self.active -= 1
            served: list[_Turn] = []
            while self.turns and self.active < self.turns[0].room:  # a changed copy may have more room, or less
                self.active += 1
                served.append(self.turns.popleft())
                served[-1].has_slot = True
        for one in served:
            one.set()


class _JustInTime(_Slots):
    """Slots of which one becomes free for whoever waits, to explore with.

    Args:
        taken: How many slots others hold.
        at_once: Whether it becomes free at once; otherwise it does at the last moment.
    """

    def __init__(self, taken: int, *, at_once: bool) -> None:
        super().__init__(taken)
        self.at_once = at_once

    def enter(self, room: int, queue: int) -> _Turn | None:
        turn = super().enter(room, queue)
        if turn is not _AT_ONCE and self.at_once:
            self.leave(_AT_ONCE)
        return turn

    def withdraw(self, turn: _Turn) -> bool:
        self.leave(_AT_ONCE)
        return super().withdraw(turn)
