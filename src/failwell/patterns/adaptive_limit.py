"""Adaptive limit: find out how many calls the other side bears at once, and keep to that.

Use when the right width of a bulkhead is unknown, or changes with deployments, neighbours and the time of day.
Do not use where the other side tells its limit, or where the time that a call takes says nothing about its
load: a limit that learns from noise is worse than one that was typed.

The limit grows by one while calls are as quick as usual, and shrinks by a share when they are not: additive
increase, multiplicative decrease, as TCP does it. It looks at rounds of calls, never at a single one.

Source: Van Jacobson, "Congestion Avoidance and Control" (SIGCOMM 1988); Lawrence Brakmo and Larry Peterson,
"TCP Vegas" (IEEE JSAC 13(8), 1995); Netflix, "Performance Under Load" (2018).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from failwell.derive import Call
from failwell.errors import ConcurrencyLimitedError, transient
from failwell.events import LimitChanged, Rejected
from failwell.policy import On, Policy, at_least, matching, number, optional_callable, optional_text
from failwell.runtime import Runtime

__all__ = ["AdaptiveLimit"]


class AdaptiveLimit(Policy):
    """Let only so many calls be under way as the other side bears; the others are refused at once.

    A round is as many calls as the limit, twenty at least, that began under the same limit. If its answers took
    too long on average, the limit shrinks in proportion, to a half at most; if too many calls failed, to a half.
    Otherwise it grows by one, if calls really came up to it. Cancelled calls, and errors that ``on`` does not
    match, say nothing.

    What is usual is measured while at most half of the limit is under way, so that nobody waits for anybody. Where
    that does not happen by itself, the limit is halved for one round in thirty. So let ``initial`` be less than
    what the other side surely bears: the first round is what the second is compared with.

    Args:
        initial: How many calls may be under way at first.
        min: The limit is never less.
        max: The limit is never more.
        tolerance: How many times as long as usual a round may take on average; above 1.
        target: Seconds that a round may take on average, where you know; nothing is measured as usual then.
        failure_rate: The share of failed calls in a round, at least 0 and below 1, above which the limit shrinks.
        on: Which errors are failures: a type, a tuple of types or a predicate (default: transient errors).
        lost_after: Seconds after which a call that has not come back counts as failed, and as not under way.
        name: What the layer is called in events and drawings.
        on_change: Called with the `LimitChanged` event.

    Raises:
        ValueError: If a number is out of its range.
        TypeError: If an argument is of the wrong kind.
        ConcurrencyLimitedError: On a call, if as many as the limit are under way.
    """

    def __init__(
        self,
        initial: int = 10,
        min: int = 1,
        max: int = 200,
        tolerance: float = 1.5,
        target: float | None = None,
        failure_rate: float = 0.1,
        on: On = transient,
        lost_after: float = 60.0,
        name: str | None = None,
        on_change: Callable[[LimitChanged], object] | None = None,
    ) -> None:
        at_least(1, min=min)
        at_least(min, max=max, initial=initial)
        if initial > max:
            raise ValueError(f"initial must be at most max={max}, got {initial!r}")
        number("tolerance", tolerance)
        if not 1 < tolerance < math.inf:
            raise ValueError(f"tolerance must be a finite number above 1, got {tolerance!r}")
        number("failure_rate", failure_rate)
        if not 0 <= failure_rate < 1:
            raise ValueError(f"failure_rate must be a share of at least 0 and below 1, got {failure_rate!r}")
        for parameter, duration in (("target", target), ("lost_after", lost_after)):
            if duration is not None or parameter == "lost_after":
                number(parameter, duration)
                if not cast("float", duration) > 0:
                    raise ValueError(f"{parameter} must be above 0 seconds, got {duration!r}")
        optional_text(name=name)
        optional_callable(on_change=on_change)
        self.initial = initial
        self.min = min
        self.max = max
        self.tolerance = tolerance
        self.target = target
        self.failure_rate = failure_rate
        self.on = on
        self.lost_after = lost_after
        self.name = name
        self.on_change = on_change
        self._is_failure = matching("on", on)

    async def run(self, call: Call, rt: Runtime) -> Any:
        permits: _Permits = rt.state
        permit, change = permits.enter(self, rt.now())
        if permit is None:
            if change is not None:
                await rt.announce(self.on_change, LimitChanged, *change)
            rt.emit(Rejected, "limit reached", None)
            raise ConcurrencyLimitedError(rt.operation, permits.room(self))
        try:
            if change is not None:
                await rt.announce(self.on_change, LimitChanged, *change)
            result = await call()
        except Exception as error:
            if self._is_failure(error):
                change = permits.ended(self, permit, rt.now(), failed=True)
                if change is not None:
                    await rt.announce(self.on_change, LimitChanged, *change)
            raise
        else:
            change = permits.ended(self, permit, rt.now(), failed=False)
            if change is not None:
                await rt.announce(self.on_change, LimitChanged, *change)
            return result
        finally:
            permits.leave(permit)

    @property
    def limit(self) -> int:
        """How many calls may be under way now."""
        return self._permits.bounded(self)

    @property
    def active(self) -> int:
        """How many calls are under way now."""
        return self._permits.active

    @property
    def rejected(self) -> int:
        """How many calls have been refused so far."""
        return self._permits.known.rejected

    @property
    def usual_latency(self) -> float | None:
        """The seconds that a call takes while nobody waits for anybody; None before the end of the first round."""
        return self._permits.known.usual

    @property
    def _permits(self) -> _Permits:
        permits: _Permits = self.live_state()
        return permits

    def situations(self) -> Mapping[str, Callable[[], _Permits]]:
        """A place is free; the call completes a round, so that its end decides; the limit is reached."""
        return {
            "free": lambda: _Permits(self.initial),
            "end of a round": lambda: _Permits(self.initial).almost_decided(self),
            "full": lambda: _Permits(self.initial, taken=self.initial),
        }

    def situation(self, state: _Permits, now: float) -> str:
        """Which of its situations a state is in; that a round ends makes no difference to whether a call is made.

        Args:
            state: A state that one of ``situations()`` made.
            now: Monotonic seconds.
        """
        return "free" if state.active < state.room(self) else "full"


class _Change(NamedTuple):
    """A new limit."""

    before: int
    after: int


class _Permit:
    """Leave to make a call."""

    __slots__ = ("condition", "is_out", "started")

    def __init__(self, condition: object, started: float) -> None:
        self.condition = condition
        self.started = started
        self.is_out = True


_LEAST = 20
"""How many calls a round has at least: the mean of fewer says too little."""
_LONGEST = 10
"""A round whose calls differ so much that their mean says little goes on, until it is so many times as long."""
_MEASURE_EVERY = 30
"""After how many rounds without one the limit is halved for a round, to measure how long a call usually takes."""


class _ByAge(dict[_Permit, None]):
    """The permits that are out, the oldest first."""

    __fingerprint__ = "permits"  # how many they are is said elsewhere


class _Experience:
    """What calls have told: in this round, and about what is usual.

    Args:
        room: How many may be under way.
    """

    __fingerprint__ = "experience"  # it makes no difference to whether a call is made

    def __init__(self, room: int) -> None:
        self.rejected = 0
        self.usual: float | None = None
        self.is_measuring = False
        self.rounds = 0  # since it was measured what is usual
        self.begin_round()
        self.begin_anew(room)

    def begin_round(self) -> None:
        """Count from nothing."""
        self.rounds += 1
        self.next_look = 0.0
        self.answers = self.failures = self.most = 0
        self.seconds = self.squares = 0.0

    def begin_anew(self, room: int) -> None:
        """From now on only calls count that begin from now on, and of these the first to answer do not count either.

        They are the quick ones, and would make all look quick.
        """
        self.condition = object()
        self.early = room

    def answered(self, seconds: float) -> None:
        """A call answered."""
        if self.early > 0:
            self.early -= 1
            return
        self.answers += 1
        self.seconds += seconds
        self.squares += seconds * seconds

    def is_clear(self, size: int) -> bool:
        """Whether there are calls enough for a round: so many that the standard error of the mean is a tenth of it."""
        calls = self.answers + self.failures
        if calls < size:
            self.next_look = size - self.failures
            return False
        known_well = self.squares * self.answers <= self.seconds**2 * (1 + self.answers / 100)
        self.next_look = self.answers * 1.05  # looking costs more than counting
        return known_well or calls >= _LONGEST * size

    def compare(self, mean: float, few: bool) -> float:
        """What is usual, to compare a round with; where few were under way, the round says so itself."""
        before = self.usual
        if before is None:
            self.usual = mean
            return mean
        if few:
            self.usual = (before + mean) / 2
            self.rounds = 0
        return before

    @staticmethod
    def size(limit: int) -> int:
        """How many calls make a round."""
        return max(_LEAST, limit)


class _Permits:
    """The limit, and the calls that are under way.

    Args:
        limit: How many may be under way.
        taken: How many others are, for ever, to explore with.
    """

    def __init__(self, limit: int, taken: int = 0) -> None:
        self.limit = limit
        self.active = taken
        self.out = _ByAge()
        self.known = _Experience(limit)
        self._lock = threading.Lock()

    def almost_decided(self, rules: AdaptiveLimit) -> _Permits:
        """The same one call before the end of a round; if that fails, too many have."""
        calls = self.known.size(self.limit)
        self.known.early = 0
        self.known.failures = min(int(rules.failure_rate * calls), calls - 1)
        self.known.answers = calls - 1 - self.known.failures
        self.known.most = self.limit
        return self

    def bounded(self, rules: AdaptiveLimit) -> int:
        """The limit; changed copies that share it may have bounds of their own."""
        limit = self.limit
        return limit if rules.min <= limit <= rules.max else min(max(limit, rules.min), rules.max)

    def half(self, rules: AdaptiveLimit) -> int:
        """Half of the limit, as far as that may go down."""
        return max(rules.min, self.bounded(rules) // 2)

    def room(self, rules: AdaptiveLimit) -> int:
        """How many may be under way now."""
        return self.half(rules) if self.known.is_measuring else self.bounded(rules)

    def enter(self, rules: AdaptiveLimit, now: float) -> tuple[_Permit | None, _Change | None]:
        """A permit, if one is left; and what lost calls have done to the limit, if it was they who had them all."""
        with self._lock:
            change = None
            if self.active >= self.room(rules):
                change = self._forget_lost(rules, now)
                if self.active >= self.room(rules):
                    self.known.rejected += 1
                    return None, change
            known = self.known
            permit = _Permit(known.condition, now)
            self.out[permit] = None
            self.active += 1
            if self.active > known.most:
                known.most = self.active
            return permit, change

    def leave(self, permit: _Permit) -> None:
        """A call is over; if it has not said how it went, that says nothing."""
        if permit.is_out:
            with self._lock:
                self._take_back(permit)

    def ended(self, rules: AdaptiveLimit, permit: _Permit, now: float, *, failed: bool) -> _Change | None:
        """A call ended and says something about the other side; what follows for the limit, if anything does."""
        with self._lock:
            known = self.known
            if not self._take_back(permit) or permit.condition is not known.condition:
                return None  # it was given up, or it began under another limit
            if failed:
                known.failures += 1
            else:
                known.answered(max(0.0, now - permit.started))
                if known.answers < known.next_look:
                    return None
            return self._decide(rules)

    # -- under the lock --

    def _take_back(self, permit: _Permit) -> bool:
        """Take a permit back; False if that was done before."""
        was_out = permit.is_out
        permit.is_out = False
        if was_out:
            del self.out[permit]
            self.active -= 1
        return was_out

    def _forget_lost(self, rules: AdaptiveLimit, now: float) -> _Change | None:
        """Give up calls that have been under way for too long; the oldest comes first, so most looks end at once."""
        lost = 0
        while self.out and now - (oldest := next(iter(self.out))).started >= rules.lost_after:
            self._take_back(oldest)
            lost += 1
        self.known.failures += lost
        return self._decide(rules) if lost else None

    def _decide(self, rules: AdaptiveLimit) -> _Change | None:
        """End the round if there is enough to go by, and set the limit."""
        known, before = self.known, self.bounded(rules)
        size = known.size(before)
        too_many_failed = known.failures > rules.failure_rate * size
        if not (too_many_failed or known.is_clear(size)):
            return None
        after = before
        if too_many_failed:
            after = before // 2
        else:
            few = known.most <= self.half(rules)
            mean = known.seconds / known.answers
            usual = known.compare(mean, few) if rules.target is None else rules.target
            if mean <= usual * (rules.tolerance if rules.target is None else 1.0):
                after += known.most >= before  # nobody asks for more than they have
            elif not few:  # so few are not slow because they are too many
                after = int(before * min(max(usual / mean, 0.5), 0.9))
        self.limit = after = min(max(after, rules.min), rules.max)
        was_measuring = known.is_measuring
        known.is_measuring = rules.target is None and known.rounds >= _MEASURE_EVERY and not was_measuring
        known.begin_round()
        if after < before or known.is_measuring or was_measuring:
            known.begin_anew(self.room(rules))
        return None if after == before else _Change(before, after)
