"""Bulkhead: give each kind of work a share of its own, so that one that is stuck does not sink the ship.

Use when one slow dependency could take all threads, connections or memory away from the others. Do not
use where calls are quick and few, or to keep to a quota per second: that is what a rate limiter is for.

A bulkhead looks at how many calls are under way. It does not know how many there were in a second.

Source: Michael Nygard, "Release It!", 2nd ed., ch. 5; John Little, "A Proof for the Queuing Formula
L = lambda W", Operations Research 9(3), 1961 (how many are under way at a given rate).
"""

from __future__ import annotations

import functools
import os
import queue
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from contextvars import copy_context
from typing import Any, ParamSpec, TypeVar, cast

from failwell import virtual
from failwell.derive import Call
from failwell.errors import BulkheadFullError, BulkheadTimeoutError
from failwell.events import Queued, Rejected
from failwell.policy import Policy, at_least, is_async, number, optional_text
from failwell.runtime import AsyncRuntime, Runtime, Signal, name_of

__all__ = ["Bulkhead"]

T = TypeVar("T")
P = ParamSpec("P")


class Bulkhead(Policy):
    """Let only so many calls be under way at the same time; some may queue for a slot, the others are refused.

    Who waits is served in the order of arrival. One object is one bulkhead, whatever it protects.

    Args:
        max_concurrent: How many calls may be under way.
        max_queue: How many more may wait for a slot (default: none).
        queue_timeout: Seconds that a call may wait in the queue (default: until its slot comes, or its deadline);
            only where there is a ``max_queue``.
        threads: Run plain functions in threads of the bulkhead's own, this many; then no more calls than that are
            under way. A slot is taken until its thread is done, even if the caller has left. A timeout inside of the
            bulkhead runs plain functions in threads of its own, which do not count: put it outside.
        name: What the layer is called in events and drawings.

    Raises:
        ValueError: If ``max_concurrent`` or ``threads`` is below 1, ``max_queue`` is negative, or ``queue_timeout`` is
            not above 0 or given where nobody waits.
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
        at_least(1, max_concurrent=max_concurrent)
        at_least(0, max_queue=max_queue)
        if queue_timeout is not None:
            number("queue_timeout", queue_timeout)
            if not queue_timeout > 0:
                raise ValueError(f"queue_timeout must be above 0 seconds, got {queue_timeout!r}")
            if max_queue == 0:
                raise ValueError(f"queue_timeout={queue_timeout!r} has no effect with max_queue=0, as nobody waits")
        if threads is not None:
            at_least(1, threads=threads)
        optional_text(name=name)
        self.max_concurrent = max_concurrent
        self.max_queue = max_queue
        self.queue_timeout = queue_timeout
        self.threads = threads
        self.name = name
        self._room = max_concurrent if threads is None else min(max_concurrent, threads)
        self._pool = None if threads is None else _Pool(self._room, self.name or type(self).__name__)

    async def run(self, call: Call, rt: Runtime) -> Any:
        slots: _Slots = rt.state
        turn = slots.enter(self._room, self.max_queue)
        if turn is None:
            rt.emit(Rejected, "bulkhead full", None)
            raise BulkheadFullError(rt.operation)
        try:
            if turn is not _AT_ONCE:
                longest = _FOR_EVER if self.queue_timeout is None else self.queue_timeout
                patience = max(0.0, min(longest, rt.time_left()))
                rt.emit(Queued, patience)
                in_time = await rt.wait(turn, None if patience == _FOR_EVER else patience)
                if not in_time and slots.withdraw(turn):
                    rt.emit(Rejected, "too long in the queue", None)
                    raise BulkheadTimeoutError(rt.operation, f"it waited {patience:.3g} s in the queue of its bulkhead")
            if self._pool is None:
                return await call()
            return await rt.in_pool(_Job(self._pool, slots), call)
        finally:
            slots.leave(turn)

    def in_threads(self, fn: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
        """Make an async function of a plain one that blocks; it runs in this bulkhead's threads.

        A caller that is cancelled goes at once. The function runs on to its end and keeps its slot until then.

        Args:
            fn: A plain function, such as one that uses an old driver.

        Raises:
            TypeError: If it is async, or this bulkhead has no ``threads``.
        """
        pool = self._pool
        if pool is None:
            raise TypeError("in_threads needs threads of its own: Bulkhead(threads=4)")
        if not callable(fn) or is_async(fn):
            raise TypeError(f"in_threads takes a plain function, got {fn!r}")
        rt = AsyncRuntime(self.label, name_of(fn))

        @functools.wraps(fn)
        async def run(*args: P.args, **kwargs: P.kwargs) -> T:
            answer: T = await rt.elsewhere(_Job(pool, self.live_state()), fn, args, kwargs)
            return answer

        return self(run)

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
            found["queued"] = lambda: _JustInTime(self._room, at_once=self.queue_timeout is None)
            found["stuck"] = lambda: _Slots(self._room)
        found["full"] = lambda: _Slots(self._room, self.max_queue)
        return found

    def situation(self, state: _Slots, now: float) -> str:
        """Which of its situations a state is in; nobody can see of a queue whether a wait in it is in vain.

        Args:
            state: A state that one of ``situations()`` made.
            now: Monotonic seconds.
        """
        if state.active < self._room and not state.turns:
            return "free"
        return "queued" if len(state.turns) < self.max_queue else "full"


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
        # A dict, because whoever is cancelled may stand anywhere in a long queue.
        self.turns: OrderedDict[_Turn, None] = OrderedDict((_Turn(taken), None) for _ in range(queued))
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
            self.turns[turn] = None
            return turn

    def withdraw(self, turn: _Turn) -> bool:
        """Leave the queue; False if it is too late for that, because the turn came meanwhile."""
        with self._lock:
            if turn.has_slot:
                return False
            del self.turns[turn]
            self.rejected += 1
            return True

    def leave(self, turn: _Turn) -> None:
        """Give the slot to the first in the queue; who has none leaves the queue."""
        with self._lock:
            if not turn.has_slot:
                self.turns.pop(turn, None)
                return
            self.active -= 1
            if not self.turns:
                return
            served: list[_Turn] = []
            while self.turns and self.active < next(iter(self.turns)).room:  # a changed copy may have more, or less
                self.active += 1
                served.append(self.turns.popitem(last=False)[0])
                served[-1].has_slot = True
        for one in served:
            one.set()

    def keep(self, job: _Job) -> None:
        """The caller of a job leaves; if its thread still works, that takes a slot of its own."""
        with self._lock:
            if job.is_working:
                job.has_slot = True
                self.active += 1

    def ended(self, job: _Job) -> None:
        """The thread of a job is done; if its caller has left before, it gives the slot back."""
        with self._lock:
            job.is_working = False
        if job.has_slot:
            self.leave(_AT_ONCE)


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


class _Job:
    """A call in one of a bulkhead's own threads."""

    __slots__ = ("has_slot", "is_working", "pool", "slots")

    def __init__(self, pool: _Pool, slots: _Slots) -> None:
        self.pool = pool
        self.slots = slots
        self.is_working = True
        self.has_slot = False

    def start(self, work: Callable[[], object]) -> None:
        def do() -> None:
            try:
                work()
            finally:
                self.slots.ended(self)

        self.pool.start(do)

    def left(self) -> None:
        self.slots.keep(self)


class _Pool:
    """Threads that are started when they are needed first, and end when they had nothing to do for a while.

    They do not keep the process alive.

    Args:
        size: How many threads at most.
        name: What they are called.
    """

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self.name = name
        self.start_anew()
        _pools.add(self)

    def start_anew(self) -> None:
        """Have neither threads nor work."""
        self._jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: int = 0
        self._busy: int = 0

    def start(self, work: Callable[[], object]) -> None:
        """Have ``work`` done by one of the threads, in a copy of this context."""
        if virtual.current_clock() is not None:
            virtual.start_thread(work)  # it holds the virtual clock still
            return
        with self._lock:
            if self._busy == self._threads < self.size:
                threading.Thread(target=self._serve, daemon=True, name=f"{self.name}-{self._threads + 1}").start()
                self._threads += 1
            self._busy += 1
        self._jobs.put(functools.partial(copy_context().run, work))

    def _serve(self) -> None:
        jobs = self._jobs
        while True:
            try:
                job = jobs.get(timeout=_IDLE)
            except queue.Empty:
                with self._lock:
                    if self._busy < self._threads:
                        self._threads -= 1
                        return
                continue  # somebody counts on it, so work is on its way
            job()
            del job  # what it holds must not live as long as this thread
            with self._lock:
                if jobs is not self._jobs:  # the job forked: this is the only thread of a process without others
                    return
                self._busy -= 1


_IDLE = 10.0
_pools: weakref.WeakSet[_Pool] = weakref.WeakSet()


def _start_anew() -> None:
    for pool in list(_pools):
        pool.start_anew()


# Threads do not survive a fork. (Windows has none: there, the arguments are taken and nothing is done.)
_at_fork: Any = getattr(os, "register_at_fork", dict)
_at_fork(after_in_child=_start_anew)
