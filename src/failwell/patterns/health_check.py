"""Health check: know whether what you depend on works, without asking it on every request.

Use to take a process out of the traffic that cannot serve (readiness), to show on a page what is broken, or
to switch features off before calls fail. Do not use a check of *others* to decide whether a process is
restarted (liveness): a database that is down is not brought back by restarting everybody who uses it. And do
not check before each call instead of handling its failure: a moment later the answer may be another one.

Source: Michael Nygard, "Release It!", 2nd ed., ch. 8-9; Google SRE Book, ch. 20 (lame ducks); Kubernetes,
"Liveness, Readiness, and Startup Probes".
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from failwell.background import Running
from failwell.derive import Call
from failwell.errors import DeadlineExceeded, UnavailableError
from failwell.events import HealthChanged
from failwell.flight import Flight, Flights
from failwell.policy import Operation, at_least, is_async, number, optional_callable, optional_text
from failwell.runtime import Runtime, UnexpectedAwaitable, name_of
from failwell.vitals import (
    BADNESS,
    DEGRADED,
    HEALTHY,
    UNHEALTHY,
    UNKNOWN,
    HealthRegistry,
    HealthReport,
    HealthState,
    HealthStatus,
    health,
)

__all__ = ["HealthCheck", "HealthRegistry", "HealthReport", "HealthState", "HealthStatus", "health"]


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

    def running(self) -> Running[HealthCheck]:
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
                is_worse = BADNESS[verdict] > BADNESS[status]
                streak = max(before.streak, 0) + 1 if is_worse else min(before.streak, 0) - 1
                is_enough = streak in (by.failure_threshold, -by.success_threshold)
                if is_enough or by.is_stale(before.checked, now):
                    status, since, streak = verdict, now, 0
            self.known = probing.answer = _Known(status, since, now, took, error, streak)
            return status is not before.status
