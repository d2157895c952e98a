"""Health check: know whether what you depend on works, without asking it on every request.

Use to take a process out of the traffic that cannot serve (readiness), to show on a page what is broken, or
to switch features off before calls fail. Do not use a check of *others* to decide whether a process is
restarted (liveness): a database that is down is not brought back by restarting everybody who uses it. And do
not check before each call instead of handling its failure: a moment later the answer may be another one.

Source: Michael Nygard, "Release It!", 2nd ed., ch. 8-9; Google SRE Book, ch. 20 (lame ducks); Kubernetes,
"Liveness, Readiness, and Startup Probes".
"""

from __future__ import annotations

import asyncio
import enum
import functools
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

from failwell import virtual
from failwell.derive import Call
from failwell.errors import DeadlineExceeded, UnavailableError
from failwell.events import HealthChanged
from failwell.flight import Flight, Flights
from failwell.policy import Operation, Pattern, at_least, flag, is_async, number, optional_callable, optional_text
from failwell.runtime import Runtime, UnexpectedAwaitable, name_of

__all__ = ["HealthCheck", "HealthRegistry", "HealthReport", "HealthState", "HealthStatus", "health"]


class HealthState(enum.StrEnum):
    """How something is, the best first."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    UNHEALTHY = "unhealthy"

    @property
    def ok(self) -> bool:
        """Whether it can be used: it is healthy, or degraded."""
        return self in (HEALTHY, DEGRADED)


HEALTHY, DEGRADED, UNKNOWN, UNHEALTHY = HealthState
_BADNESS = {state: place for place, state in enumerate(HealthState)}


class HealthStatus(NamedTuple):
    """How one thing is, and how that is known.

    Attributes:
        name: What was looked at.
        status: How it is.
        since: Since when, in monotonic seconds; None if it was never probed.
        checked: When the last probe ended, in monotonic seconds; None if there was none.
        took: How many seconds the last probe took.
        error: What the last probe failed with, or None. It may have failed while the status is still good: see
            ``failure_threshold``.
    """

    name: str
    status: HealthState
    since: float | None = None
    checked: float | None = None
    took: float = 0.0
    error: Exception | None = None

    @property
    def ok(self) -> bool:
        """Whether it can be used."""
        return self.status.ok

    def as_dict(self, *, errors: bool = True) -> dict[str, Any]:
        """The status as data that JSON can hold, with ages instead of moments, and without secrets.

        Args:
            errors: Whether to tell what the last probe failed with; not for everybody to read.
        """
        from failwell.recorded import error_as_data

        now = time.monotonic()
        data: dict[str, Any] = {"status": self.status.value}
        if self.since is not None:
            data["for_seconds"] = round(max(0.0, now - self.since), 3)
        if self.checked is not None:
            data["checked_seconds_ago"] = round(max(0.0, now - self.checked), 3)
            data["took_seconds"] = round(self.took, 3)
        if errors and self.error is not None:
            told = error_as_data(self.error)
            data["error"] = {"type": told["type"], "message": told["message"]}
        return data


class HealthCheck(Operation):
    """Ask a probe how something is, at most once in a while, however many want to know.

    It is an operation: ``check()`` gives a `HealthStatus` and never raises what the probe raises. Callers who come
    while a probe is under way wait for that one; if its caller is cancelled, another one goes on. Nothing is known
    before the first probe, so the first call makes one.

    A probe fails if it raises, returns False, or returns a state (or a status, or a report) that is not ``ok``. It
    finds something degraded if it says so, if its answer is marked as degraded, as one of a fallback is, or if
    it is slow. Anything else that it returns, None included, is healthy. To give it a limited time put a
    `Timeout` around it: a probe that hangs never says anything.

    Args:
        probe: What to ask; an async or plain function without parameters.
        interval: Seconds for which the answer of a probe is good enough.
        failure_threshold: How many probes in a row must find something worse before the status gets worse. Where
            nothing is known, one decides at once.
        success_threshold: How many probes in a row must find something better before the status gets better.
        slow_call: Seconds above which a good answer means degraded.
        stale_after: Seconds after the last probe at which nothing is known any more (default: three intervals).
        name: What it is called in reports, events and drawings (default: the name of the probe).
        on_change: Called with the `HealthChanged` event.

    Raises:
        TypeError: If an argument is of the wrong kind; on a call, if a plain probe returns an awaitable.
        ValueError: If a number is out of its range.
        DeadlineExceeded: On a call, if the caller's own deadline had passed before the probe.
    """

    def __init__(
        self,
        probe: Callable[[], Any],
        interval: float = 10.0,
        failure_threshold: int = 1,
        success_threshold: int = 1,
        slow_call: float | None = None,
        stale_after: float | None = None,
        name: str | None = None,
        on_change: Callable[[HealthChanged], object] | None = None,
    ) -> None:
        if not callable(probe):
            raise TypeError(f"probe must be callable, got {probe!r}")
        for parameter, seconds in (("interval", interval), ("slow_call", slow_call), ("stale_after", stale_after)):
            if seconds is not None or parameter == "interval":
                number(parameter, seconds)
                if not 0 < cast("float", seconds) < math.inf:
                    raise ValueError(f"{parameter} must be above 0 seconds and finite, got {seconds!r}")
        if stale_after is not None and stale_after < interval:
            raise ValueError(f"stale_after must be at least interval, {interval!r}, got {stale_after!r}")
        at_least(1, failure_threshold=failure_threshold, success_threshold=success_threshold)
        optional_text(name=name)
        optional_callable(on_change=on_change)
        self.probe = probe
        self.interval = interval
        self.failure_threshold = failure_threshold
        self.success_threshold = success_threshold
        self.slow_call = slow_call
        self.stale_after = stale_after
        self.name = name
        self.on_change = on_change
        self._is_async = is_async(probe)
        self._asked = name_of(probe)
        self._stale = 3 * interval if stale_after is None else stale_after

    async def run(self, call: Call, rt: Runtime) -> HealthStatus:
        watch: _Watch = rt.state
        while True:
            probing, leads = watch.board(rt.now(), self.interval)
            if probing is None:
                return self._status(watch.known, rt.now())
            if leads:
                break
            await rt.wait(probing.landed)
            if probing.answer is not None:
                return self._status(probing.answer, rt.now())
        error: Exception | None = None
        try:
            with watch.leading(probing, rt):
                started = rt.now()
                ask = functools.partial(rt.invoke, self.probe, (), None, self._asked)
                try:
                    answer, is_degraded = await rt.tentative(ask)
                except UnexpectedAwaitable:
                    raise
                except Exception as failed:
                    if isinstance(failed, DeadlineExceeded) and rt.time_left() <= 0:
                        raise  # the caller's own time is over, which says nothing about what is probed
                    verdict, error = UNHEALTHY, failed
                else:
                    verdict = _verdict(answer)
                    if verdict is HEALTHY and (is_degraded or rt.now() - started > (self.slow_call or math.inf)):
                        verdict = DEGRADED
                    elif verdict is UNHEALTHY:
                        error = UnavailableError(f"{self._asked} answered {answer!s}")
                now = rt.now()
                has_changed = watch.settle(probing, verdict, now, now - started, error, self)
            if has_changed:
                await rt.announce(self.on_change, HealthChanged, verdict.value, error)
            return self._status(probing.answer or watch.known, now)
        finally:
            del error, probing  # a frame and its own traceback would keep each other alive

    @property
    def is_async(self) -> bool:
        """Whether the probe is async."""
        return self._is_async

    @property
    def __name__(self) -> str:
        return self.name or super().__name__

    def __call__(self) -> Any:
        """How it is now, from a probe that is no older than ``interval``.

        Returns:
            A `HealthStatus`; for an async probe a coroutine that gives it.
        """
        return self._bound()

    @property
    def known(self) -> HealthStatus:
        """How it is as far as is known, without a probe."""
        return self._status(self._watch.known, time.monotonic())

    @property
    def status(self) -> HealthState:
        """The same in a word."""
        return self.known.status

    def running(self) -> Running:
        """Probe in the background, once in each interval, for as long as a block runs.

        ``async with check.running():`` does it in a task, for an async probe; ``with check.running():`` in a thread,
        for a plain one. At the end of the block a probe that is under way is cancelled (async), or waited for (plain).
        """
        return Running(self)

    def _status(self, known: _Known, now: float) -> HealthStatus:
        name = self._asked if self.name is None else self.name
        status, since = known.status, known.since
        if known.checked is not None and self.is_stale(known.checked, now):
            status, since = UNKNOWN, known.checked + self._stale
        return HealthStatus(name, status, since, known.checked, known.took, known.error)

    def is_stale(self, checked: float | None, now: float) -> bool:
        """Whether a probe that ended then says nothing any more.

        Args:
            checked: When it ended, in monotonic seconds; None for no probe.
            now: Monotonic seconds.
        """
        return checked is None or now - checked >= self._stale

    @property
    def _watch(self) -> _Watch:
        watch: _Watch = self.live_state()
        return watch

    def situations(self) -> Mapping[str, Callable[[], _Watch]]:
        """Never probed, just probed, and each status when it is time for the next probe."""

        def due(status: HealthState) -> Callable[[], _Watch]:
            return lambda: _Watch(_Known(status, -self.interval, -self.interval))

        found: dict[str, Callable[[], _Watch]] = {"unknown": _Watch}
        found["just probed"] = lambda: _Watch(_Known(HEALTHY, 0.0, 0.0))
        for status in (HEALTHY, *([DEGRADED] if self.slow_call else []), UNHEALTHY):
            found[status.value] = due(status)
        return found

    def situation(self, state: _Watch, now: float) -> str:
        """The status; a degraded one counts as healthy where only the probe itself can tell it."""
        status = self._status(state.known, now).status
        return HEALTHY.value if status is DEGRADED and not self.slow_call else status.value


def _verdict(answer: Any) -> HealthState:
    """What the answer of a probe means."""
    if isinstance(answer, (HealthStatus, HealthReport)):
        answer = answer.status
    if isinstance(answer, HealthState):
        return answer if answer.ok else UNHEALTHY
    return UNHEALTHY if answer is False else HEALTHY


# --- what is known -------------------------------------------------------------------------------


class _Known(NamedTuple):
    """What the probes so far say."""

    status: HealthState = UNKNOWN
    since: float | None = None
    checked: float | None = None
    took: float = 0.0
    error: Exception | None = None
    streak: int = 0  # how many probes in a row found something worse; below 0, something better


class _Watch(Flights[_Known]):
    """What is known, and the probe that is under way. Reading takes no lock."""

    def __init__(self, known: _Known = _Known()) -> None:  # noqa: B008 - it cannot be changed
        super().__init__()
        self.known = known

    def board(self, now: float, interval: float) -> tuple[Flight[_Known] | None, bool]:
        """The probe to wait for, and whether the caller is the one to make it; None if what is known has to do."""
        with self.lock:
            if self.known.checked is not None and now - self.known.checked < interval:
                return None, False
            probing, leads = self.join()
            return None if probing.is_own else probing, leads

    def settle(
        self,
        probing: Flight[_Known],
        verdict: HealthState,
        now: float,
        took: float,
        error: Exception | None,
        by: HealthCheck,
    ) -> bool:
        """Take note of what a probe found; whether the status is another one now."""
        with self.lock:
            before = self.known
            status, since, streak = before.status, before.since, 0
            if verdict is not status:
                is_worse = _BADNESS[verdict] > _BADNESS[status]
                streak = max(before.streak, 0) + 1 if is_worse else min(before.streak, 0) - 1
                is_enough = streak in (by.failure_threshold, -by.success_threshold)
                if is_enough or by.is_stale(before.checked, now):
                    status, since, streak = verdict, now, 0
            self.known = probing.answer = _Known(status, since, now, took, error, streak)
            return status is not before.status


# --- in the background ---------------------------------------------------------------------------


class Running:
    """Probes in the background for as long as a block runs; `HealthCheck.running` makes one."""

    _task: asyncio.Task[None]

    def __init__(self, check: HealthCheck) -> None:
        self._check = check
        self._error: BaseException | None = None

    async def __aenter__(self) -> HealthCheck:
        if not self._check.is_async:
            raise TypeError("this health check is plain: use `with check.running():`, which takes a thread")
        self._task = asyncio.get_running_loop().create_task(self._in_task())
        return self._check

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        task = self._task
        task.cancel()
        interrupted: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as cancelled:
                interrupted = cancelled
        failure = None if task.cancelled() else task.exception()
        try:
            if interrupted is not None:
                raise interrupted
            if failure is not None and error is None:
                raise failure
        finally:
            del interrupted, failure  # a frame and its own traceback would keep each other alive

    async def _in_task(self) -> None:
        me = cast("asyncio.Task[None]", asyncio.current_task())
        while True:
            try:
                await self._check()
            except asyncio.CancelledError:
                if me.cancelling():
                    raise
                await asyncio.sleep(self._check.interval)  # the probe's own affair: something inside was cancelled
            else:
                await asyncio.sleep(self._until_due())

    def __enter__(self) -> HealthCheck:
        if self._check.is_async:
            raise TypeError("this health check is async: use `async with check.running():`, which takes a task")
        self._stop, self._over = virtual.make_event(), virtual.make_event()
        virtual.start_thread(self._in_thread)
        return self._check

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._stop.set()
        self._over.wait()
        failure, self._error = self._error, None
        try:
            if failure is not None and error is None:
                raise failure
        finally:
            del failure  # as above

    def _in_thread(self) -> bool:
        try:
            is_over = False
            while not is_over:
                self._check()
                is_over = self._stop.wait(self._until_due())
        except BaseException as error:
            self._error = error
        finally:
            self._over.set()
        return True

    def _until_due(self) -> float:
        checked = self._check.known.checked
        left = 0.0 if checked is None else checked + self._check.interval - time.monotonic()
        return max(left, 0.0)


# --- all of them together ------------------------------------------------------------------------


class HealthReport(NamedTuple):
    """How everything is that is registered.

    Attributes:
        status: The worst of those that are critical; the trouble of any other makes it degraded at most.
        checks: Name -> status, in the order in which they were registered.
        critical: The names of those without which nothing works.
    """

    status: HealthState
    checks: Mapping[str, HealthStatus]
    critical: frozenset[str]

    @property
    def ok(self) -> bool:
        """Whether everything that is critical can be used: the answer to a readiness probe."""
        return self.status.ok

    def as_dict(self, *, errors: bool = True) -> dict[str, Any]:
        """The report as data that JSON can hold, without secrets.

        Args:
            errors: Whether to tell what probes failed with; not for everybody to read.
        """
        from failwell.redaction import redacted

        checks = {
            redacted(name): {**one.as_dict(errors=errors), "critical": name in self.critical}
            for name, one in self.checks.items()
        }
        return {"status": self.status.value, "checks": checks}


Watched = TypeVar("Watched", bound=Pattern)


class HealthRegistry:
    """What a report is about. ``health`` is the one of the whole process; make others for other readers.

    Call it for a `HealthReport` of what is known. That makes no probe and waits for nothing: who wants to know more
    calls the checks, or has them `running`.
    """

    def __init__(self) -> None:
        self._watched: dict[str, tuple[Pattern, bool]] = {}
        self._lock = threading.Lock()

    def register(self, watched: Watched, *, name: str | None = None, critical: bool = True) -> Watched:
        """Have something in the report, and hold it, until it is unregistered.

        Args:
            watched: A `HealthCheck`, or any other pattern that says which situation it is in, such as a breaker.
                That one is healthy in the first of its situations and degraded in any other: an open circuit is a
                trouble that is being handled.
            name: What it is called in the report (default: its own name).
            critical: Whether nothing works without it.

        Returns:
            ``watched`` itself.

        Raises:
            TypeError: If it says nothing about itself.
            ValueError: If it has no name, or another one has the same.
        """
        given: Any = watched
        if not isinstance(given, Pattern) or type(given).situation is Pattern.situation:
            raise TypeError(f"a health report is about health checks and patterns with situations, got {watched!r}")
        flag(critical=critical)
        if name is None:
            name = watched.known.name if isinstance(watched, HealthCheck) else getattr(watched, "name", None)
        if not (isinstance(name, str) and name):
            raise ValueError(f"{watched!r} needs a name to be registered, got {name!r}")
        with self._lock:
            other, _ = self._watched.get(name, (watched, True))
            if other.origin is not watched.origin:
                raise ValueError(
                    f"{name!r} is registered already, for {other!r}: give one of them another name, or unregister it"
                )
            self._watched[name] = watched, critical
        return watched

    def unregister(self, watched: str | Pattern) -> None:
        """Leave something out from now on.

        Args:
            watched: It, or its name in the report. What is not registered is ignored.
        """
        with self._lock:
            for name, (one, _) in list(self._watched.items()):
                if name == watched or one is watched:
                    del self._watched[name]

    def __call__(self) -> HealthReport:
        """How everything is, as far as is known."""
        with self._lock:
            watched = dict(self._watched)
        checks = {name: _of(one, name) for name, (one, _) in watched.items()}
        critical = frozenset(name for name, (_, is_critical) in watched.items() if is_critical)
        worst = HEALTHY
        for name, one in checks.items():
            counts = one.status if name in critical or one.status is HEALTHY else DEGRADED
            worst = max(worst, counts, key=_BADNESS.__getitem__)
        return HealthReport(worst, checks, critical)

    def __repr__(self) -> str:
        return f"<HealthRegistry of {', '.join(self._watched) or 'nothing'}>"


def _of(watched: Pattern, name: str) -> HealthStatus:
    if isinstance(watched, HealthCheck):
        return watched.known._replace(name=name)
    found = watched.situation(watched.live_state(), time.monotonic())
    return HealthStatus(name, HEALTHY if found == next(iter(watched.situations())) else DEGRADED)


health = HealthRegistry()
"""What is registered for the whole process."""
