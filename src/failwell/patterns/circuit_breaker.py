"""Circuit breaker: stop calling what is down, and find out by single calls whether it is back.

Use when a service that is down costs its callers time or is kept down by their calls. Do not use for errors
that say nothing about the service's health (tell them apart with ``on=``), or where there is no call to spare.

Three states. *Closed*: calls are made and counted. *Open*: too many failed, so none is made for
``recovery_timeout`` seconds. *Half-open*: a few probes are made; they decide. Two more are set by hand:
*forced-open* (no call, until somebody says so) and *disabled* (every call, nothing counted).

Source: Michael Nygard, "Release It!", 2nd ed., ch. 5; Martin Fowler, "CircuitBreaker" (2014).
"""

from __future__ import annotations

import enum
import functools
import math
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self, TypeAlias, TypeVar

from failwell.derive import Call
from failwell.errors import CircuitOpenError, IllegalTransition
from failwell.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, Rejected, bus, where
from failwell.policy import On, Policy, matching, number
from failwell.probing import Probe, RecoveryPattern, left, pause
from failwell.runtime import Runtime

__all__ = ["CircuitBreaker", "CircuitState", "CountWindow", "TimeWindow", "Transition"]


class CircuitState(enum.StrEnum):
    """What a circuit breaker does with calls."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    FORCED_OPEN = "forced-open"
    DISABLED = "disabled"


CLOSED, OPEN, HALF_OPEN, FORCED_OPEN, DISABLED = CircuitState


class CountWindow:
    """Look at the last calls.

    Args:
        n: How many.

    Raises:
        ValueError: If it is below 1.
    """

    def __init__(self, n: int) -> None:
        _at_least_1("n", n)
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

    Args:
        seconds: How long a call is remembered.
        max_calls: How many calls are remembered at most, the latest (default: all of them).

    Raises:
        ValueError: If ``seconds`` is not above 0 and finite, or ``max_calls`` is below 1.
    """

    def __init__(self, seconds: float, max_calls: int | None = None) -> None:
        _duration("seconds", seconds)
        if max_calls is not None:
            _at_least_1("max_calls", max_calls)
        self.seconds = seconds
        self.max_calls = max_calls

    @property
    def most(self) -> float:
        """How many calls it ever holds."""
        return math.inf if self.max_calls is None else self.max_calls

    def __repr__(self) -> str:
        return f"TimeWindow({self.seconds!r}{'' if self.max_calls is None else f', max_calls={self.max_calls}'})"


Window: TypeAlias = CountWindow | TimeWindow


class CircuitBreaker(Policy):
    """Make no calls for a while after too many have failed.

    What an error that ``on`` does not match, or a call that is cancelled, says about the service is nothing:
    it counts neither as a failure nor as a success. A result counts only for the state in which its call began.

    Args:
        failure_threshold: How many failures open the circuit: in a row, or with a ``window`` within that.
            With ``failure_rate`` it does not apply.
        recovery_timeout: Seconds for which an open circuit makes no calls. It is also the time after which a
            probe that has not come back no longer keeps others from being made.
        success_threshold: How many probes must succeed to close the circuit again. One failure opens it.
        window: Which calls are looked at: `CountWindow` or `TimeWindow` (where a rate is given: the last 100).
        failure_rate: The share of failed calls, above 0 and up to 1, that opens the circuit.
        minimum_calls: How many calls must be in the window before a share of them says anything.
        slow_call: Seconds above which a call is slow. A slow answer counts as a failure.
        slow_call_rate: The share of slow calls that opens the circuit; slow answers are then no failures.
        half_open_max_calls: How many probes may be under way at once; until one has succeeded, if the ``recovery``
            lets more and more calls through after that.
        recovery: How the circuit comes back, if not after a fixed time by single probes: a `RecoveryPattern` such as
            `ExponentialRecovery`. Each circuit has a copy of its own.
        on: Which errors are failures: a type, a tuple of types or a predicate (default: every ``Exception``).
        name: What the layer is called in events, where there are several breakers.
        on_open: Called with the `CircuitOpened` event when calls have opened the circuit.
        on_half_open: Called with the `CircuitHalfOpened` event before the first probe.
        on_close: Called with the `CircuitClosed` event when probes have closed the circuit.

    Raises:
        ValueError: If a number is out of its range, or the window is too small for the circuit ever to open.
        TypeError: If an argument is of the wrong kind.
        CircuitOpenError: On a call that is not made. Its ``__cause__`` is the failure that opened the circuit.
    """

    def __init__(
        self,
        failure_threshold: int = 5,
        recovery_timeout: float = 60.0,
        success_threshold: int = 1,
        window: Window | None = None,
        failure_rate: float | None = None,
        minimum_calls: int = 10,
        slow_call: float | None = None,
        slow_call_rate: float | None = None,
        half_open_max_calls: int = 1,
        on: On = Exception,
        recovery: RecoveryPattern | None = None,
        name: str | None = None,
        on_open: Callable[[CircuitOpened], object] | None = None,
        on_half_open: Callable[[CircuitHalfOpened], object] | None = None,
        on_close: Callable[[CircuitClosed], object] | None = None,
    ) -> None:
        _at_least_1("failure_threshold", failure_threshold)
        _duration("recovery_timeout", recovery_timeout)
        _at_least_1("success_threshold", success_threshold)
        _at_least_1("minimum_calls", minimum_calls)
        _at_least_1("half_open_max_calls", half_open_max_calls)
        _rate("failure_rate", failure_rate)
        _rate("slow_call_rate", slow_call_rate)
        if slow_call is not None:
            _duration("slow_call", slow_call)
        elif slow_call_rate is not None:
            raise ValueError(
                f"slow_call_rate={slow_call_rate!r} needs slow_call, the seconds above which a call is slow"
            )
        given: Any = window
        if not (given is None or isinstance(given, (CountWindow, TimeWindow))):
            raise TypeError(f"window must be CountWindow(n) or TimeWindow(seconds), got {window!r}")
        if window is not None and failure_rate is None and failure_threshold > window.most:
            raise ValueError(f"failure_threshold={failure_threshold} can never be reached within {window!r}")
        comes_back: Any = recovery
        if not (comes_back is None or isinstance(comes_back, RecoveryPattern)):
            raise TypeError(f"recovery must be a RecoveryPattern such as ExponentialRecovery(), got {recovery!r}")
        if recovery is not None:
            _copied(recovery)
        named: Any = name
        if not (named is None or isinstance(named, str)):
            raise TypeError(f"name must be a string, got {name!r}")
        for callback, fn in (("on_open", on_open), ("on_half_open", on_half_open), ("on_close", on_close)):
            if not (fn is None or callable(fn)):
                raise TypeError(f"{callback} must be callable, got {fn!r}")
        self.failure_threshold = failure_threshold
        self.recovery_timeout = recovery_timeout
        self.success_threshold = success_threshold
        self.window = window
        self.failure_rate = failure_rate
        self.minimum_calls = minimum_calls
        self.slow_call = slow_call
        self.slow_call_rate = slow_call_rate
        self.half_open_max_calls = half_open_max_calls
        self.on = on
        self.recovery = recovery
        self.name = name
        self.on_open = on_open
        self.on_half_open = on_half_open
        self.on_close = on_close
        self._is_failure = matching("on", on)
        looked_at = window or (CountWindow(100) if failure_rate or slow_call_rate else None)
        self._comes_back = recovery or RecoveryPattern()
        self._load = self._comes_back.load
        self._limits = _Limits(
            recovery_timeout=recovery_timeout,
            success_threshold=success_threshold,
            half_open_max_calls=half_open_max_calls,
            failures=math.inf if failure_rate is not None else failure_threshold,
            in_a_row=window is None and failure_rate is None,
            keeps=looked_at is not None,
            most=math.inf if looked_at is None else looked_at.most,
            seconds=math.inf if looked_at is None else looked_at.seconds,
            minimum_calls=minimum_calls if looked_at is None else min(minimum_calls, looked_at.most),
            failure_rate=failure_rate,
            slow_call_rate=slow_call_rate,
            recovery=self._comes_back,
        )
        self._slow_call = math.inf if slow_call is None else slow_call
        self._is_timed = slow_call is not None
        self._counts_all = looked_at is not None or slow_call is not None
        self._live = Circuit(remembers=20)

    async def run(self, call: Call, rt: Runtime) -> Any:
        circuit: Circuit = rt.state
        permit = circuit.door
        if permit is None:
            now = rt.now()
            shut = circuit.shut
            answer: Permit | Refusal
            if shut is not None and now < shut.until:
                answer = shut
            else:
                recovery, feature = self._comes_back, None
                if recovery.feature is not None and circuit.state_at(now) is HALF_OPEN:
                    says = functools.partial(recovery.feature, **call.kwargs) if call.kwargs else recovery.feature
                    feature = await rt.decide("feature", recovery.features, says, *call.args)
                    now = rt.now()
                answer = circuit.admit(now, self._limits, feature)
            if isinstance(answer, Refusal):
                wait = None if answer.until == math.inf else left(answer.until, now)
                rt.emit(Rejected, answer.reason, wait)
                raise CircuitOpenError(rt.operation, wait) from answer.cause
            permit = answer
        started = 0.0
        try:
            if permit.is_probe:
                if permit.is_first_probe:
                    await rt.announce(self.on_half_open, CircuitHalfOpened)
                started = rt.now()
            elif self._is_timed:
                started = rt.now()
            result = await call()
        except Exception as error:
            if self._is_failure(error):
                now, load = rt.now(), 0.0
                if permit.is_probe and self._load is not None:
                    load = await rt.decide("load", (0.0, 1.0), self._load)
                change = circuit.ended(permit, now, started, load, error, self._slow_call, self._limits, rt.between)
                if change is not None:
                    await rt.announce(self.on_open, CircuitOpened, change.failures, change.seconds)
            raise
        else:
            if permit is circuit.door and not (circuit.failures or self._counts_all):
                return result  # nothing to count and nothing to forget: the usual case
            now, load = rt.now(), 0.0
            if permit.is_probe and self._load is not None:
                load = await rt.decide("load", (0.0, 1.0), self._load)
            change = circuit.ended(permit, now, started, load, None, self._slow_call, self._limits, rt.between)
            if change is None:
                return result
            if change.after is CLOSED:
                await rt.announce(self.on_close, CircuitClosed)
            else:
                await rt.announce(self.on_open, CircuitOpened, change.failures, change.seconds)
            return result
        finally:
            if permit.is_probe:
                circuit.leave(permit)

    @property
    def state(self) -> CircuitState:
        """What the next call meets: ``"closed"``, ``"open"``, ``"half-open"``, ``"forced-open"`` or ``"disabled"``."""
        return self._circuit.state_at(time.monotonic())

    @property
    def failure_count(self) -> int:
        """The failures that count at the moment; while the circuit is not closed, those that opened it."""
        return self._circuit.failure_count(time.monotonic(), self._limits)

    @property
    def history(self) -> tuple[Transition, ...]:
        """The last changes of state, the latest at the end."""
        return self._circuit.history

    @property
    def recovering(self) -> RecoveryPattern | None:
        """The circuit's own copy of its recovery, to look at; None while nothing is to come back."""
        return self._circuit.recovery

    def open(self) -> None:
        """Make no calls for the first break of its recovery; where the circuit is open, nothing changes.

        Raises:
            IllegalTransition: If the breaker is disabled.
        """
        self._by_hand(OPEN)

    def half_open(self) -> None:
        """Let probes through, without waiting any longer.

        Raises:
            IllegalTransition: If the circuit is not open.
        """
        self._by_hand(HALF_OPEN)

    def close(self) -> None:
        """Make all calls again, and count anew."""
        self._by_hand(CLOSED)

    def reset(self) -> None:
        """Close the circuit, whatever its state, and forget all that was counted."""
        self._by_hand(CLOSED, anew=True)

    def force_open(self) -> None:
        """Make no calls until told otherwise."""
        self._by_hand(FORCED_OPEN)

    def disable(self) -> None:
        """Make all calls and count nothing until told otherwise."""
        self._by_hand(DISABLED)

    def _by_hand(self, after: CircuitState, *, anew: bool = False) -> None:
        """Change the state and report it; callbacks are for what calls do."""
        now = time.monotonic()
        change = self._circuit.turn(after, now, self._limits, anew=anew)
        if change is None or not bus.active:
            return
        place = where(self.label, self.name or "", now)
        if after in {CLOSED, DISABLED}:
            bus.publish(CircuitClosed(*place))
        elif after is HALF_OPEN:
            bus.publish(CircuitHalfOpened(*place))
        else:
            bus.publish(CircuitOpened(*place, 0, change.seconds))

    @classmethod
    def high_traffic(cls, **changes: Any) -> Self:
        """For a service that is called all the time: trips early and looks again soon."""
        return _preset(cls, changes, failure_threshold=3, recovery_timeout=30.0)

    @classmethod
    def critical(cls, **changes: Any) -> Self:
        """For a service that is hard to do without and slow to restart: tolerates more and gives it more time."""
        return _preset(cls, changes, failure_threshold=10, recovery_timeout=120.0)

    @property
    def _circuit(self) -> Circuit:
        circuit: Circuit = self.live_state()
        return circuit

    def situations(self) -> Mapping[str, Callable[[], Circuit]]:
        """Closed with nothing counted, just opened, waiting for a probe; and given up, where the recovery may."""
        made = {"closed": Circuit, "open": lambda: Circuit(OPEN), "half-open": lambda: Circuit(HALF_OPEN)}
        return {**made, "given-up": lambda: Circuit(OPEN, due=math.inf)} if self._comes_back.gives_up else made

    def situation(self, state: Circuit, now: float) -> str:
        """Which of them a circuit is in: an open one is half-open as soon as it would let a probe through."""
        found = state.state_at(now)
        if found is OPEN and state.has_given_up and self._comes_back.gives_up:
            return "given-up"
        return {DISABLED: CLOSED, FORCED_OPEN: OPEN}.get(found, found).value


B = TypeVar("B", bound=CircuitBreaker)


def _preset(kind: type[B], changes: dict[str, Any], **values: Any) -> B:
    return kind(**{**values, **changes})


# --- the state machine ---------------------------------------------------------------------------


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


class _Limits(NamedTuple):
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

    def admit(self, now: float, limits: _Limits, feature: Any = None) -> Permit | Refusal:
        """Ask to make a call."""
        with self._lock:
            if self.door is not None:  # it was closed since the caller looked
                return self.door
            if self._state is FORCED_OPEN:
                return Refusal("circuit forced open", math.inf, self._cause)
            recovery = self._recovering(now, limits)
            self._lapse(now)
            if self._state is OPEN:
                if self.has_given_up:
                    return Refusal("circuit open until it is reset", math.inf, self._cause)
                self.shut = Refusal("circuit open", self._due or 0.0, self._cause)
                return self.shut
            if recovery.one_by_one:
                for late in [permit for permit, until in self._probes.items() if now >= until]:
                    del self._probes[late]
                if len(self._probes) >= limits.half_open_max_calls:
                    return Refusal("probe under way", min(self._probes.values()), self._cause)
            probe = Probe(now, limits.recovery_timeout, feature)
            if not recovery.should_attempt_recovery(probe):
                return Refusal("not back yet", now + recovery.retry_after(probe), self._cause)
            permit = Permit(True, self._is_news, feature)
            self._is_news = False
            self._probes[permit] = now + limits.recovery_timeout
            return permit

    def ended(
        self,
        permit: Permit,
        now: float,
        began: float,
        load: float,
        error: Exception | None,
        slow_call: float,
        limits: _Limits,
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

    def turn(self, after: CircuitState, now: float, limits: _Limits, *, anew: bool = False) -> Transition | None:
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

    def failure_count(self, now: float, limits: _Limits) -> int:
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

    def _recovering(self, now: float, limits: _Limits) -> RecoveryPattern:
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
        self, now: float, slow: bool, error: Exception | None, limits: _Limits, between: Between
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

    def _is_too_much(self, some: int, rate: float | None, limits: _Limits) -> bool:
        calls = len(self._calls)
        return rate is not None and calls >= limits.minimum_calls and some / calls >= rate

    def _failures(self, limits: _Limits) -> int:
        return self.failures if limits.in_a_row or self._state is not CLOSED else self._failed

    def _forget(self, now: float, limits: _Limits) -> None:
        """Drop the calls that the window is past."""
        calls = self._calls
        while calls and (len(calls) > limits.most or now - calls[0][0] >= limits.seconds):
            _, failed, slow = calls.popleft()
            self._failed -= failed
            self._slow -= slow


# --- what parameters may be ----------------------------------------------------------------------


def _at_least_1(name: str, value: Any) -> None:
    number(name, value, whole=True)
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")


def _duration(name: str, value: Any) -> None:
    number(name, value)
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a finite number of seconds above 0, got {value!r}")


def _copied(recovery: RecoveryPattern) -> None:
    """Try what is done when the circuit opens: then it would be too late to say that it cannot be done."""
    try:
        recovery.fresh()
    except Exception as error:
        raise TypeError(f"recovery must be something that fresh() can copy, got {recovery!r}: {error}") from error


def _rate(name: str, value: Any) -> None:
    if value is not None:
        number(name, value)
        if not 0 < value <= 1:
            raise ValueError(f"{name} must be a share above 0 and up to 1, got {value!r}")
