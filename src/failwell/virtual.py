"""Virtual time: waits cost nothing, clocks tell a time that only waiting moves, chance follows a seed.

`run(main())` is `asyncio.run` in virtual time; `clock()` is the same for plain code. Inside, asyncio's
timers, ``time.sleep``, ``time.monotonic``, ``time.time``, ``time.perf_counter`` and ``random`` are
virtual; the clock starts at 0.0 and stands still while any thread works.

What took a reference before (``from time import sleep``) still holds the real function; other threads
of the process keep real time.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import heapq
import itertools
import math
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, TypeVar, cast

__all__ = ["Clock", "Deadlock", "VirtualLoop", "clock", "current_clock", "make_event", "run", "start_thread"]

T = TypeVar("T")


class Deadlock(RuntimeError):
    """Everybody waits and no timer is set: in virtual time nothing can happen any more."""


class _Waiter:
    """One thread that waits for a virtual moment, or to be woken before it."""

    __slots__ = ("due", "event", "place", "stuck")

    def __init__(self, due: float, place: int) -> None:
        self.due = due
        self.place = place
        self.event = threading.Event()
        self.stuck = False

    def __lt__(self, other: _Waiter) -> bool:
        return (self.due, self.place) < (other.due, other.place)


class Clock:
    """A clock that several threads share; it moves only when all of them wait, to the earliest moment asked for.

    Attributes:
        now: Virtual seconds since the start.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self._lock = threading.Lock()
        self._working = 1  # threads that work and so hold the clock still; the creator is the first
        self._waiting: list[_Waiter] = []
        self._place = itertools.count()
        self._ended = False

    def sleep(self, seconds: float) -> None:
        """Wait for some virtual seconds."""
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self.wait(self.make_waiter(seconds))

    def make_waiter(self, timeout: float | None) -> _Waiter:
        """Something to `wait` with, due in ``timeout`` seconds (None: only when woken)."""
        return _Waiter(float("inf") if timeout is None else self.now + timeout, next(self._place))

    def wait(self, waiter: _Waiter) -> None:
        """Block this thread until the waiter is due or woken."""
        with self._lock:
            if waiter.event.is_set():
                return
            if self._ended:
                raise Deadlock("this virtual time is over")
            heapq.heappush(self._waiting, waiter)
            self._leave()
        try:
            waiter.event.wait()
        except BaseException:  # a signal: this thread goes on to work
            self.wake(waiter)
            raise
        if waiter.stuck:
            over = "this virtual time is over"
            nobody = "everybody waits in virtual time and no timer is set, so nothing can happen any more"
            raise Deadlock(over if self._ended else nobody)

    def wake(self, waiter: _Waiter) -> None:
        """End a wait early."""
        with self._lock:
            self._release(waiter)

    def enter(self) -> None:
        """A thread starts to work."""
        with self._lock:
            self._working += 1

    def leave(self) -> None:
        """A thread ends its work."""
        with self._lock:
            self._leave()

    def nobody_else(self) -> bool:
        """Whether the calling thread is the only one that works, and none waits."""
        return self._working == 1 and not self._waiting

    def end(self) -> None:
        """Let nobody wait any more: who does (in an abandoned thread) gets a `Deadlock`."""
        with self._lock:
            self._ended = True
            for waiter in tuple(self._waiting):
                waiter.stuck = True
                self._release(waiter)

    def _leave(self) -> None:
        self._working -= 1
        if self._working == 0 and self._waiting:
            first = self._waiting[0]
            if first.due == float("inf"):
                first.stuck = True
            else:
                self.now = max(self.now, first.due)
            self._release(first)

    def _release(self, waiter: _Waiter) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)
            heapq.heapify(self._waiting)
            self._working += 1
        waiter.event.set()


_clock: ContextVar[Clock | None] = ContextVar("failwell_virtual_clock", default=None)


def current_clock() -> Clock | None:
    """The virtual clock that this code runs under, or None in real time."""
    return _clock.get()


# --- what blocking code waits with ---------------------------------------------------------------


class _VirtualEvent:
    """`threading.Event` in virtual time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._set = False
        self._waiters: list[_Waiter] = []

    def set(self) -> None:
        self._set = True
        for waiter in self._waiters:
            self._clock.wake(waiter)

    def wait(self, timeout: float | None = None) -> bool:
        waiter = self._clock.make_waiter(timeout)
        self._waiters.append(waiter)
        if not self._set:
            self._clock.wait(waiter)
        return self._set


def make_event() -> threading.Event | _VirtualEvent:
    """An event to wait for, in whatever time this code runs under."""
    clock = _clock.get()
    return threading.Event() if clock is None else _VirtualEvent(clock)


class _Worker:
    """A daemon thread that takes one piece of work after the other, and ends when it had none for a while.

    Handing work to a thread that waits costs half of starting one, or less.
    """

    __slots__ = ("inbox",)

    def __init__(self) -> None:
        self.inbox: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, daemon=True, name="failwell").start()

    def _serve(self) -> None:
        while True:
            try:
                work = self.inbox.get(timeout=_IDLE)
            except queue.Empty:
                try:
                    _idle.remove(self)
                except ValueError:
                    continue  # somebody has just taken it, so work is on its way
                return
            is_wanted = work()
            del work  # what it holds must not live as long as this thread
            if not is_wanted:
                return
            _idle.append(self)


_IDLE = 10.0
_idle: collections.deque[_Worker] = collections.deque()
# Threads do not survive a fork. (Windows has none: there, the arguments are taken and nothing is done.)
_at_fork: Any = getattr(os, "register_at_fork", dict)
_at_fork(after_in_child=_idle.clear)


def start_thread(work: Callable[[], object]) -> None:
    """Run ``work`` in a daemon thread, in a copy of this context; it holds the virtual clock still, if there is one.

    Where ``work`` returns something true, its thread may be used again; one that was abandoned is not.
    """
    clock = _clock.get()
    context = copy_context()
    if clock is None:
        try:
            worker = _idle.pop()
        except IndexError:
            worker = _Worker()
        worker.inbox.put(functools.partial(context.run, work))
        return

    def hold() -> None:
        try:
            context.run(work)
        finally:
            clock.leave()

    clock.enter()
    threading.Thread(target=hold, daemon=True, name="failwell-virtual").start()


# --- the event loop ------------------------------------------------------------------------------


def resolution(now: float) -> float:
    """Timers that are due this soon after a moment are due with it: a nanosecond, more where a float knows no less.

    Args:
        now: The moment.
    """
    return max(1e-9, 2 * math.ulp(now))


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio event loop whose time jumps to the next timer.

    It has no selector and no sockets, so it runs wherever Python runs, in a browser as well.

    Args:
        clock: The clock to move; a new one by default.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self.clock = clock or Clock()
        self._selector = self
        self._jobs: dict[Executor, int] = {}
        self._idle: asyncio.Future[None] | None = None
        self._waiter: _Waiter | None = None
        self._woken = False

    @property
    def _clock_resolution(self) -> float:  # asyncio fires timers that are due before now + resolution
        return resolution(self.clock.now)

    @_clock_resolution.setter
    def _clock_resolution(self, value: float) -> None:
        """Asyncio sets that of the real clock."""

    def time(self) -> float:
        """Virtual seconds since the start."""
        return self.clock.now

    def select(self, timeout: float | None) -> list[Any]:
        """Called by asyncio when nothing is ready: wait for a thread's work, or jump to the next timer."""
        if timeout is not None and timeout <= 0:
            return []
        timers = cast("list[asyncio.TimerHandle]", self._scheduled)  # type: ignore[attr-defined] # asyncio's heap
        due = timers[0].when() if timers else None
        clock = self.clock
        if due is not None and clock.nobody_else() and not self._woken:
            clock.now = max(clock.now, due)  # the usual case: nobody else is there
            return []
        self._waiter = waiter = clock.make_waiter(None if due is None else max(0.0, due - clock.now))
        try:
            if not self._woken:
                clock.wait(waiter)
        finally:
            self._waiter = None
            self._woken = False  # what woke us is in the queue of callbacks already
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """Nothing comes from a selector."""

    def _write_to_self(self) -> None:
        self._woken = True
        waiter = self._waiter
        if waiter is not None:
            self.clock.wake(waiter)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run blocking work in a thread; the clock stands still meanwhile, unless the work itself sleeps."""
        from concurrent.futures import ThreadPoolExecutor

        if executor is None:
            executor = self._default_executor  # type: ignore[has-type]
        if executor is None:  # as many workers as asyncio takes at most; on every machine, so that runs are alike
            executor = self._default_executor = ThreadPoolExecutor(32, "failwell-virtual")
        context = copy_context()
        context.run(_clock.set, self.clock)
        # A job that waits for a free worker does not hold the clock; each worker that is busy does.
        self._jobs[executor] = jobs = self._jobs.get(executor, 0) + 1
        if jobs <= _workers(executor):
            self.clock.enter()
        try:
            in_thread = isinstance(executor, ThreadPoolExecutor)  # another process has a clock of its own
            work: Future[T] = executor.submit(*((context.run, func) if in_thread else (func,)), *args)
        except BaseException:
            self._job_done(executor)
            raise
        result = asyncio.wrap_future(work, loop=self)
        # The callback is queued behind the one that hands over the result, so the loop sees that first.
        work.add_done_callback(lambda _: self._hand_back(executor))
        return result

    def _hand_back(self, executor: Executor) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for this job any more
            self.call_soon_threadsafe(self._job_done, executor)

    def _job_done(self, executor: Executor) -> None:
        self._jobs[executor] = jobs = self._jobs[executor] - 1
        if jobs < _workers(executor):
            self.clock.leave()
        if self._idle is not None and not any(self._jobs.values()):
            self._idle.set_result(None)
            self._idle = None

    async def jobs_done(self) -> None:
        """Wait until no thread works for this loop."""
        if any(self._jobs.values()):
            self._idle = self.create_future()
            await self._idle


def _workers(executor: Executor) -> float:
    return getattr(executor, "_max_workers", float("inf"))


# --- the patched standard library ----------------------------------------------------------------

_NAMES = ("sleep", "monotonic", "time", "perf_counter", "monotonic_ns", "time_ns", "perf_counter_ns")
_real: dict[str, Any] = {name: getattr(time, name) for name in _NAMES}
_users = 0
_users_lock = threading.Lock()


def _reader(name: str) -> Callable[[], float]:
    real = _real[name]
    scale = 1_000_000_000 if name.endswith("_ns") else 1

    def read() -> float:
        clock = _clock.get()
        if clock is None:
            return real()  # type: ignore[no-any-return]
        return clock.now if scale == 1 else round(clock.now * scale)

    read.__name__ = name
    return read


def _sleep(seconds: float) -> None:
    clock = _clock.get()
    _real["sleep"](seconds) if clock is None else clock.sleep(seconds)


_virtual: dict[str, Any] = {name: _reader(name) for name in _NAMES if name != "sleep"} | {"sleep": _sleep}


@contextmanager
def patched(clock: Clock) -> Generator[None]:
    """Make ``time`` follow ``clock`` for this context; everybody else keeps real time."""
    global _users
    with _users_lock:
        _users += 1
        for name in _NAMES:
            setattr(time, name, _virtual[name])
    token = _clock.set(clock)
    try:
        yield
    finally:
        _clock.reset(token)
        with _users_lock:
            _users -= 1
            if _users == 0:
                for name in _NAMES:
                    setattr(time, name, _real[name])


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Let ``random`` follow ``seed`` and restore it afterwards."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)


@contextmanager
def clock(*, seed: int = 0) -> Generator[Clock]:
    """Run plain code in virtual time.

    Args:
        seed: What ``random`` is seeded with; it is restored afterwards.
    """
    own = Clock()
    try:
        with patched(own), seeded(seed):
            yield own
    finally:
        own.end()


@contextmanager
def outside_running_loop() -> Generator[None, None, None]:
    """Let another loop run here although one is running already, as in a browser or a notebook."""
    running = asyncio._get_running_loop()
    if running is None:
        yield
        return
    # From 3.14 on the current task is remembered by thread, not by loop: it has to step aside as well, and first.
    swap: Any = getattr(asyncio.tasks, "_swap_current_task", _remembered_by_loop)  # from 3.12 on
    task = swap(running, None)
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(running)
        swap(running, task)


def _remembered_by_loop(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any] | None) -> None:
    """Before 3.12 there is nothing to do."""


def run(main: Coroutine[Any, Any, T], *, seed: int = 0) -> T:
    """Run a coroutine in virtual time that starts at 0.0.

    Like `asyncio.run`, except that it may be called while another loop is running.

    ```python
    import asyncio
    import time

    from failwell import virtual


    async def main() -> None:
        await asyncio.sleep(86_400)
        print(time.monotonic())
        #> 86400.0


    virtual.run(main())
    ```

    Args:
        main: The coroutine.
        seed: What ``random`` is seeded with, so that every jitter is the same each time.

    Raises:
        Deadlock: If every task waits and no timer is set.
        TypeError: If ``main`` is no coroutine.
    """
    if not asyncio.iscoroutine(main):
        raise TypeError(f"virtual.run takes a coroutine, got {main!r}: write run(main()), with the call")
    loop = VirtualLoop()
    with outside_running_loop(), patched(loop.clock), seeded(seed):
        try:
            return loop.run_until_complete(main)
        finally:
            _close(loop)


def _close(loop: VirtualLoop) -> None:
    """End what is left on a loop, as `asyncio.run` does."""
    try:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            with contextlib.suppress(Deadlock):
                loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        for task in left:
            if task.done() and not task.cancelled() and task.exception() is not None:
                message = "unhandled exception while virtual.run() ended"
                loop.call_exception_handler({"message": message, "exception": task.exception(), "task": task})
        loop.run_until_complete(loop.shutdown_asyncgens())
        with contextlib.suppress(Deadlock):
            loop.run_until_complete(loop.jobs_done())
    finally:
        loop.clock.end()
        loop.close()
