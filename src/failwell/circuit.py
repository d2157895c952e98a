"""The circuit of a breaker: what it counts, which state it is in, and who may call.

It makes no calls and has no clock: whoever asks says what time it is. So every decision about a circuit can be read,
and tried, without waiting for anything. `CircuitBreaker` is the pattern that asks.
"""

from __future__ import annotations

import enum
import math
import random
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from failwell.errors import IllegalTransition
from failwell.policy import at_least, duration
from failwell.probing import Probe, RecoveryPattern, left, pause

__all__ = [
    "CLOSED",
    "DISABLED",
    "FORCED_OPEN",
    "HALF_OPEN",
    "OPEN",
    "Circuit",
    "CircuitState",
    "CountWindow",
    "Limits",
    "Permit",
    "Refusal",
    "TimeWindow",
    "Transition",
    "Window",
]


class CircuitState(enum.StrEnum):
    """What a circuit breaker does with calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    FORCED_OPEN = "forced-open"
    DISABLED = "disabled"


CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, DISABLED = CircuitState


# --- what is looked at ---------------------------------------------------------------------------


class CountWindow:
    """Look at the last calls.

    Args:
        n: How many.

    Raises:
        ValueError: If it is below 1.
    """

    def __init__(self, n: int) -> None:
        at_least(1, n=n)
        self.n = n

    @property
    def most(self) -> int:
        """How many calls it ever holds."""
        return self.n

    @property
    def seconds(self) -> float:
        """How long it holds a call."""
        return math.inf

    def __repr__(self) -> str:
        return f"CountWindow({self.n})"


class TimeWindow:
    """Look at the calls that ended within the last seconds.

    Each call that it remembers takes about 95 bytes: with a thousand calls a second, a minute of them is 6 MB.
    Where calls come fast, say with ``max_calls`` how many are enough.

    Args:
        seconds: How long a call is remembered.
        max_calls: How many calls are remembered at most, the latest (default: all of them).

    Raises:
        ValueError: If ``seconds`` is not above 0 and finite, or ``max_calls`` is below 1.
    """

    def __init__(self, seconds: float, max_calls: int | None = None) -> None:
        duration(seconds=seconds)
        if max_calls is not None:
            at_least(1, max_calls=max_calls)
        self.seconds = seconds
        self.max_calls = max_calls

    @property
    def most(self) -> float:
        """How many calls it ever holds."""
        return math.inf if self.max_calls is None else self.max_calls

    def __repr__(self) -> str:
        return f"TimeWindow({self.seconds!r}{'' if self.max_calls is None else f', max_calls={self.max_calls}'})"


Window: TypeAlias = CountWindow | TimeWindow


# --- what is said ---------------------------------------------------------------------------


class Transition(NamedTuple):
    """A change of state.

    Attributes:
        time: When, in monotonic seconds.
        before: The state that was left.
        after: The state that was entered.
        reason: Why.
        failures: How many failed (or slow) calls opened the circuit; 0 where it was something else.
        seconds: For how long no call is made; infinite until it is reset, 0 where calls are.
    """

    time: float
    before: CircuitState
    after: CircuitState
    reason: str
    failures: int = 0
    seconds: float = 0.0


class Permit:
    """Leave to make a call. What comes of the call counts as long as the circuit knows its permit.

    A closed circuit has one for everybody, its ``door``; each probe has its own.
    """

    __slots__ = ("feature", "is_first_probe", "is_probe")

    def __init__(self, is_probe: bool = False, is_first_probe: bool = False, feature: Any = None) -> None:
        self.is_probe = is_probe
        self.is_first_probe = is_first_probe
        self.feature = feature


class Refusal:
    """Why a call is not made, until when none is, and the failure that all began with."""

    __slots__ = ("cause", "reason", "until")

    def __init__(self, reason: str, until: float, cause: Exception | None) -> None:
        self.reason = reason
        self.until = until
        self.cause = cause

    def wait(self, now: float) -> float | None:
        """Seconds until then; None if somebody has to say so."""
        until = self.until
        seconds = until - now
        if now + seconds >= until:
            return None if seconds == math.inf else seconds
        return left(until, now)


GRANTED = Refusal("", 0.0, None)
"""The refusal of a call that is made: none."""


class Limits(NamedTuple):
    """The parameters of a breaker as the state machine needs them."""

    recovery_timeout: float
    success_threshold: int
    half_open_max_calls: int
    failures: float
    in_a_row: bool
    keeps: bool  # whether calls are kept: the last ``most``, for so many ``seconds``
    most: float
    seconds: float
    minimum_calls: float
    failure_rate: float | None
    slow_call_rate: float | None
    recovery: RecoveryPattern


_LEGAL: Mapping[CircuitState, frozenset[CircuitState]] = {
    CLOSED: frozenset({OPEN, FORCED_OPEN, DISABLED}),
    OPEN: frozenset({HALF_OPEN, CLOSED, FORCED_OPEN, DISABLED}),
    HALF_OPEN: frozenset({OPEN, CLOSED, FORCED_OPEN, DISABLED}),
    FORCED_OPEN: frozenset({OPEN, HALF_OPEN, CLOSED, DISABLED}),
    DISABLED: frozenset({CLOSED, FORCED_OPEN}),
}
Between: TypeAlias = Callable[[float, float, bool], float]
"""Draws a break; False says that no call waits for it."""


def _by_chance(low: float, high: float, waits: bool) -> float:
    return random.uniform(low, high)


class Circuit:
    """The state machine: it makes no calls and has no clock; whoever asks says what time it is.

    Args:
        state: What it starts in.
        remembers: How many transitions it keeps.
        due: When one that starts open becomes half-open (default: its recovery says so when somebody looks).
    """

    def __init__(self, state: CircuitState = CLOSED, remembers: int = 0, due: float | None = None) -> None:
        self._lock = threading.RLock()  # a destructor may call us while we make room for something
        self._history: deque[Transition] = deque(maxlen=remembers)
        self.recovery: RecoveryPattern | None = None
        self._enter(state, due=due)

    def _enter(
        self, state: CircuitState, failures: int = 0, cause: Exception | None = None, due: float | None = None
    ) -> None:
        """Begin anew in a state. Results that are still to come find their permits unknown."""
        self._state = state
        self.door = Permit() if state in {CLOSED, DISABLED} else None
        self.shut: Refusal | None = None  # while open, the answer to everybody; replaced whole, so it needs no lock
        self.failures = failures  # while closed those in a row, else those that opened it
        self._cause = cause
        self._due = due  # when an open circuit becomes half-open; None: nobody has looked yet
        self._is_news = False  # that it is half-open: nobody was told yet
        self._successes = 0
        self._probes: dict[Permit, float] = {}  # those under way, and when each loses its place
        self._calls: deque[tuple[float, bool, bool]] = deque()  # in the window: when, failed, slow
        self._failed = self._slow = 0  # how many of them
        if state not in {OPEN, HALF_OPEN}:
            self.recovery = None  # it has come back, or it is not to

    def admit(self, now: float, limits: Limits, feature: Any = None) -> tuple[Permit | None, Refusal]:
        """Ask to make a call: a permit, or None and why not."""
        with self._lock:
            if self.door is not None:  # it was closed since the caller looked
                return self.door, GRANTED
            if self._state is FORCED_OPEN:
                return None, Refusal("circuit forced open", math.inf, self._cause)
            recovery = self._recovering(now, limits)
            self._lapse(now)
            if self._state is OPEN:
                if self.has_given_up:
                    return None, Refusal("circuit open until it is reset", math.inf, self._cause)
                self.shut = Refusal("circuit open", self._due or 0.0, self._cause)
                return None, self.shut
            if recovery.one_by_one:
                for late in [permit for permit, until in self._probes.items() if now >= until]:
                    del self._probes[late]
                if len(self._probes) >= limits.half_open_max_calls:
                    return None, Refusal("probe under way", min(self._probes.values()), self._cause)
            probe = Probe(now, limits.recovery_timeout, feature)
            if not recovery.should_attempt_recovery(probe):
                return None, Refusal("not back yet", now + recovery.retry_after(probe), self._cause)
            permit = Permit(True, self._is_news, feature)
            self._is_news = False
            self._probes[permit] = now + limits.recovery_timeout
            return permit, GRANTED

    def ended(
        self,
        permit: Permit,
        now: float,
        began: float,
        load: float,
        error: Exception | None,
        slow_call: float,
        limits: Limits,
        between: Between,
    ) -> Transition | None:
        """A call ended with a verdict. The transition that follows, if one does."""
        slow = now - began > slow_call
        with self._lock:
            if permit is self.door:
                if self._state is DISABLED:
                    return None
                return self._count(now, slow, error, limits, between)
            if self._probes.pop(permit, None) is None:
                return None  # it began in another state, or its place was given away
            recovery = self._recovering(now, limits)
            probe = Probe(now, limits.recovery_timeout, permit.feature, began, load, error)
            if error is not None or slow:
                reason = "a probe was slow" if error is None else "a probe failed"
                return self._open(reason, 1, probe, recovery, between)
            self._successes += 1
            if not recovery.handle_success(probe) or self._successes < limits.success_threshold:
                return None
            return self._go(CLOSED, now, "probes succeeded")

    def leave(self, permit: Permit) -> None:
        """A probe is over. If there was no verdict, another one may take its place."""
        with self._lock:
            self._probes.pop(permit, None)

    def turn(self, after: CircuitState, now: float, limits: Limits, *, anew: bool = False) -> Transition | None:
        """Change the state by hand; None if that is its state already."""
        with self._lock:
            before = self._state_at(now)
            if after not in _LEGAL[before] and after is not before:
                raise IllegalTransition(before, after)
            if after is before:
                if anew:
                    self._enter(after)
                return None
            self._lapse(now)
            if after is OPEN:
                probe = Probe(now, limits.recovery_timeout)
                return self._open("by hand", 0, probe, limits.recovery.fresh(), _by_chance)
            return self._go(after, now, "by hand", seconds=math.inf if after is FORCED_OPEN else 0.0)

    def state_at(self, now: float) -> CircuitState:
        """The state, in which time alone may have made a difference."""
        with self._lock:
            return self._state_at(now)

    @property
    def has_given_up(self) -> bool:
        """Whether it stays open until somebody says otherwise."""
        return self._state is OPEN and self._due == math.inf

    def failure_count(self, now: float, limits: Limits) -> int:
        """The failures in a row or in the window; of a circuit that is not closed, those that opened it."""
        with self._lock:
            self._forget(now, limits)
            return self._failures(limits)

    @property
    def history(self) -> tuple[Transition, ...]:
        """The last transitions."""
        with self._lock:
            return tuple(self._history)

    # -- under the lock --

    def _state_at(self, now: float) -> CircuitState:
        is_due = self._state is OPEN and self._due is not None and now >= self._due
        return HALF_OPEN if is_due else self._state

    def _lapse(self, now: float) -> None:
        """Become half-open when the time has come."""
        if self._state_at(now) is not self._state:
            self._go(HALF_OPEN, now, "recovery timeout over", self.failures, self._cause)
            self._is_news = True

    def _recovering(self, now: float, limits: Limits) -> RecoveryPattern:
        """This circuit's own recovery. One that was made open, or half-open by hand, opens now for it."""
        if self.recovery is None:
            recovery = limits.recovery.fresh()
            _, longest = pause(recovery, recovery.handle_failure(Probe(now, limits.recovery_timeout)))
            self.recovery = recovery
            if self._due is None:
                self._due = now + longest
        return self.recovery

    def _open(
        self, reason: str, failures: int, probe: Probe, recovery: RecoveryPattern, between: Between
    ) -> Transition | None:
        """Make no calls for as long as the recovery says; None if that is no time at all, and probes go on."""
        low, high = pause(recovery, recovery.handle_failure(probe))
        if high == 0 and recovery is self.recovery:
            return None
        seconds = high if low == high else between(low, high, False)
        change = self._go(OPEN, probe.now, reason, failures, probe.error, seconds)
        self.recovery = recovery
        return change

    def _go(
        self,
        after: CircuitState,
        now: float,
        reason: str,
        failures: int = 0,
        cause: Exception | None = None,
        seconds: float = 0.0,
    ) -> Transition:
        change = Transition(now, self._state, after, reason, failures if after is OPEN else 0, seconds)
        self._enter(after, failures, cause if self._history.maxlen else None, now + seconds if after is OPEN else None)
        self._history.append(change)
        return change

    def _count(
        self, now: float, slow: bool, error: Exception | None, limits: Limits, between: Between
    ) -> Transition | None:
        """Take a call into account; open the circuit if it was one too many."""
        failed = error is not None or (slow and limits.slow_call_rate is None)
        calls = self._calls
        if limits.keeps:
            calls.append((now, failed, slow))
            if failed or slow:
                self._failed += failed
                self._slow += slow
            if len(calls) > limits.most or now - calls[0][0] >= limits.seconds:
                self._forget(now, limits)
        self.failures = self.failures + 1 if failed else 0
        if not (self.failures or self._failed or self._slow):
            return None
        failures = self._failures(limits)
        if failures >= limits.failures:
            reason = f"{failures} failure{'s' * (failures != 1)}"
        elif self._is_too_much(failures, limits.failure_rate, limits):
            reason = f"{failures} of {len(calls)} calls failed"
        elif self._is_too_much(self._slow, limits.slow_call_rate, limits):
            reason, failures = f"{self._slow} of {len(calls)} calls were slow", self._slow
        else:
            return None
        return self._open(
            reason, failures, Probe(now, limits.recovery_timeout, error=error), limits.recovery.fresh(), between
        )

    def _is_too_much(self, some: int, rate: float | None, limits: Limits) -> bool:
        calls = len(self._calls)
        return rate is not None and calls >= limits.minimum_calls and some / calls >= rate

    def _failures(self, limits: Limits) -> int:
        return self.failures if limits.in_a_row or self._state is not CLOSED else self._failed

    def _forget(self, now: float, limits: Limits) -> None:
        """Drop the calls that the window is past."""
        calls = self._calls
        while calls and (len(calls) > limits.most or now - calls[0][0] >= limits.seconds):
            _, failed, slow = calls.popleft()
            self._failed -= failed
            self._slow -= slow
