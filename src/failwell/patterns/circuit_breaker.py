"""Circuit breaker: stop calling what is down, and find out by single calls whether it is back.

Use when a service that is down costs its callers time or is kept down by their calls. Do not use for errors
that say nothing about the service's health (tell them apart with ``on=``), or where there is no call to spare.

Three states. *Closed*: calls are made and counted. *Open*: too many failed, so none is made for
``recovery_timeout`` seconds. *Half-open*: a few probes are made; they decide. Two more are set by hand:
*forced-open* (no call, until somebody says so) and *disabled* (every call, nothing counted).

Source: Michael Nygard, "Release It!", 2nd ed., ch. 5; Martin Fowler, "CircuitBreaker" (2014).
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, Self

from failwell.circuit import (
    CLOSED,
    DISABLED,
    FORCED_OPEN,
    HALF_OPEN,
    OPEN,
    Circuit,
    CircuitState,
    CountWindow,
    Limits,
    TimeWindow,
    Transition,
    Window,
)
from failwell.derive import Call
from failwell.errors import CircuitOpenError
from failwell.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, Rejected, bus, where
from failwell.policy import On, Policy, at_least, duration, matching, optional_callable, share
from failwell.probing import RecoveryPattern
from failwell.runtime import Runtime

__all__ = ["CircuitBreaker", "CircuitState", "CountWindow", "TimeWindow", "Transition"]


_FOR_EVER = float("inf")


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
        at_least(1, failure_threshold=failure_threshold)
        duration(recovery_timeout=recovery_timeout)
        at_least(
            1, success_threshold=success_threshold, minimum_calls=minimum_calls, half_open_max_calls=half_open_max_calls
        )
        if failure_rate is not None:
            share(failure_rate=failure_rate)
        if slow_call_rate is not None:
            share(slow_call_rate=slow_call_rate)
        if slow_call is not None:
            duration(slow_call=slow_call)
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
        optional_callable(on_open=on_open, on_half_open=on_half_open, on_close=on_close)
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
        self._limits = Limits(
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
            refusal = circuit.shut
            if refusal is None or now >= refusal.until:
                recovery, feature = self._comes_back, None
                if recovery.feature is not None and circuit.state_at(now) is HALF_OPEN:
                    says = functools.partial(recovery.feature, **call.kwargs) if call.kwargs else recovery.feature
                    feature = await rt.decide("feature", recovery.features, says, *call.args)
                    now = rt.now()
                permit, refusal = circuit.admit(now, self._limits, feature)
            if permit is None:
                left: Any = refusal.until - now
                if left == _FOR_EVER or now + left < refusal.until:  # nobody knows, or it is off by a rounding error
                    left = refusal.wait(now)
                rt.emit(Rejected, refusal.reason, left)
                raise CircuitOpenError(rt.operation, left) from refusal.cause
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
        return cls._preset(changes, failure_threshold=3, recovery_timeout=30.0)

    @classmethod
    def critical(cls, **changes: Any) -> Self:
        """For a service that is hard to do without and slow to restart: tolerates more and gives it more time."""
        return cls._preset(changes, failure_threshold=10, recovery_timeout=120.0)

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


def _copied(recovery: RecoveryPattern) -> None:
    """Try what is done when the circuit opens: then it would be too late to say that it cannot be done."""
    try:
        recovery.fresh()
    except Exception as error:
        raise TypeError(f"recovery must be something that fresh() can copy, got {recovery!r}: {error}") from error
