"""How things are: the states of health, and the report on all of them.

This is in the kernel because it is about every pattern that says which situation it is in, such as a breaker, and
no pattern imports another. `HealthCheck` finds out how one thing is; here is what is said about it.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from failwell.policy import Pattern, flag

__all__ = [
    "BADNESS",
    "DEGRADED",
    "HEALTHY",
    "UNHEALTHY",
    "UNKNOWN",
    "HealthRegistry",
    "HealthReport",
    "HealthState",
    "HealthStatus",
    "health",
]


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
BADNESS = {state: place for place, state in enumerate(HealthState)}
"""How bad each is, compared with the others."""


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
            known = _known(watched)
            name = getattr(watched, "name", None) if known is None else known.name
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
            worst = max(worst, counts, key=BADNESS.__getitem__)
        return HealthReport(worst, checks, critical)

    def __repr__(self) -> str:
        return f"<HealthRegistry of {', '.join(self._watched) or 'nothing'}>"


def _of(watched: Pattern, name: str) -> HealthStatus:
    known = _known(watched)
    if known is not None:
        return known._replace(name=name)
    found = watched.situation(watched.live_state(), time.monotonic())
    return HealthStatus(name, HEALTHY if found == next(iter(watched.situations())) else DEGRADED)


def _known(watched: Pattern) -> HealthStatus | None:
    """What a health check knows; None for any other pattern."""
    known = getattr(watched, "known", None)
    return known if isinstance(known, HealthStatus) else None


health = HealthRegistry()
"""What is registered for the whole process."""
