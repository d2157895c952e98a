"""Recovery: how a circuit that is open comes back, without knocking over what has just got up.

Use when one probe after a fixed time is too little: an outage may be long, a service that comes up cannot take
all its calls at once, or some of them matter more. Do not use where a restart takes seconds and any call is
as good as another: a circuit breaker alone does that.

`ExponentialRecovery` waits longer after each probe that fails. `PartialRecovery` lets features come back one
after the other, the most important first. `AdaptiveRecovery` lets a share of the calls through, and more of
them as long as that goes well. Each is an argument: ``CircuitBreaker(recovery=ExponentialRecovery())``.

Source: Google, "Site Reliability Engineering" (2016), ch. 21 and 22; Van Jacobson and Michael Karels,
"Congestion Avoidance and Control" (1988).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, cast

from failwell.backoff import Exponential, Jitter
from failwell.events import log
from failwell.policy import at_least, duration, is_async, number, share
from failwell.probing import Probe, RecoveryPattern, left
from failwell.runtime import name_of, refuse_awaitable

__all__ = ["AdaptiveRecovery", "ExponentialRecovery", "PartialRecovery"]

Break: TypeAlias = float | tuple[float, float]


class ExponentialRecovery(RecoveryPattern):
    """Longer breaks after each probe that fails. The first is the breaker's ``recovery_timeout``.

    A circuit that closes begins anew with the first.

    Args:
        multiplier: What each further break is multiplied by; at least 1.
        max: The longest break in seconds, if the breaker's own is not longer.
        jitter: How a break is spread, so that many processes do not probe at the same moment: see `backoff.Jitter`.
        max_probes: How many probes may fail before the circuit stays open until it is reset (default: any number).

    Raises:
        ValueError: If a number is out of its range.
        TypeError: If an argument is of the wrong kind.
    """

    def __init__(
        self,
        multiplier: float = 2.0,
        max: float = 600.0,
        jitter: Jitter = "none",
        max_probes: int | None = None,
    ) -> None:
        Exponential(1.0, multiplier, max, jitter=jitter)  # says what is wrong with them
        if max_probes is not None:
            at_least(1, max_probes=max_probes)
        self.multiplier = multiplier
        self.max = max
        self.jitter: Jitter = jitter
        self.max_probes = max_probes
        self.gives_up = max_probes is not None
        self._failures: int = 0  # that which opened the circuit included

    def handle_failure(self, probe: Probe) -> Break:
        """Wait longer than the last time, or for good."""
        longest = max(self.max, probe.recovery_timeout)
        backoff = Exponential(probe.recovery_timeout, self.multiplier, longest, jitter=self.jitter)
        following = self._failures + 1
        if self.max_probes is not None:
            self._failures = min(following, self.max_probes + 1)
            if self._failures > self.max_probes:
                return math.inf
        elif following == 1 or backoff.base(self._failures) < min(backoff.base(following), longest):
            self._failures = following  # breaks that grow no more need not be counted
        return backoff.bounds(self._failures)


class _Gradual(RecoveryPattern):
    """What recoveries share that let more and more calls through."""

    def __init__(self, breaks: RecoveryPattern | None) -> None:
        given: Any = breaks
        if not (given is None or isinstance(given, RecoveryPattern)):
            raise TypeError(f"breaks must be a recovery such as ExponentialRecovery(), got {breaks!r}")
        self.breaks = breaks
        self.gives_up = breaks is not None and breaks.gives_up

    def _break(self, probe: Probe) -> Break:
        """No calls for a while, and then single probes again."""
        self.one_by_one = True
        return probe.recovery_timeout if self.breaks is None else self.breaks.handle_failure(probe)


class PartialRecovery(_Gradual):
    """Features come back one after the other, the most important first.

    First there are only probes of the most important feature. Each time that enough calls have succeeded in a row,
    one more feature is back; when all are, the circuit closes. Each failure takes the last one away again. When
    none is left, the circuit opens.

    Args:
        features: Their names, the most important first. What is none of them comes back last, with the last one.
        feature: A function of the call's arguments that says which one it is for.
        successes: How many calls must succeed in a row for the next feature to come back.
        patience: Seconds without a call of any feature that is back. Then one of another feature may probe instead:
            nobody may be using the important ones at the moment.
        breaks: How long the breaks are: another recovery (default: the breaker's ``recovery_timeout``).

    Raises:
        ValueError: If a number is out of its range, or ``features`` are none or not different.
        TypeError: If an argument is of the wrong kind.
    """

    def __init__(
        self,
        features: Sequence[str],
        feature: Callable[..., Any],
        successes: int = 3,
        patience: float = 10.0,
        breaks: RecoveryPattern | None = None,
    ) -> None:
        given: Any = features
        names = isinstance(given, (list, tuple)) and all(isinstance(one, str) for one in cast("list[Any]", given))
        if not names:
            raise TypeError(f"features must be names, the most important first, got {features!r}")
        if not features or len(set(features)) != len(features):
            raise ValueError(f"features must be different names, at least one, got {features!r}")
        asked: Any = feature
        if not callable(asked):
            raise TypeError(f"feature must be a function of the call's arguments, got {feature!r}")
        at_least(1, successes=successes)
        duration(patience=patience)
        super().__init__(breaks)
        self.features = tuple(features)
        self.feature = feature
        self.successes = successes
        self.patience = patience
        self._back = 1  # how many are
        self._in_a_row = 0
        self._last: float | None = None  # when a call was let through, or the first one asked

    def should_attempt_recovery(self, probe: Probe) -> bool:
        """Whether the call's feature is back, or nobody calls those that are."""
        if self._last is None:
            self._last = probe.now
        if self._rank(probe.feature) >= self._back and probe.now < self._last + self.patience:
            return False
        self._last = probe.now
        return True

    def retry_after(self, probe: Probe) -> float:
        """When a call of any feature is let through, unless others have called until then."""
        return left((self._last or 0.0) + self.patience, probe.now)

    def handle_success(self, probe: Probe) -> bool:
        """Enough of them bring the next feature back; whether there was none left."""
        self.one_by_one = False
        self._in_a_row += 1
        if self._in_a_row < self.successes:
            return False
        self._in_a_row = 0
        self._back += 1
        return self._back > len(self.features)

    def handle_failure(self, probe: Probe) -> Break:
        """The last feature goes again; with the first one all."""
        self._in_a_row = 0
        if self._back > 1:
            self._back -= 1
            return 0.0
        self._last = None
        return self._break(probe)

    @property
    def back(self) -> tuple[str, ...]:
        """The features that are back, as far as single probes have succeeded."""
        return self.features[: self._back]

    def _rank(self, feature: Any) -> int:
        """How many features are more important."""
        known = isinstance(feature, str) and feature in self.features
        return self.features.index(feature) if known else len(self.features) - 1


_MOST = 0.8
"""What share of the calls of a period must have ended before they are judged."""


class AdaptiveRecovery(_Gradual):
    """The share of calls that are let through follows what becomes of them.

    It begins with single probes. When one has succeeded, a small share is let through. After each period the
    share grows if the calls of that period went well, shrinks to what went well if too few did, and stays in
    between. What was learned with one share is forgotten with the next, so that nothing reacts to what is past.
    The circuit closes after a period in which all calls were let through and went well. It opens when so many have
    failed that less than the first share would be left.

    How well a call went is 1 for an answer, 0 for a failure, and ``latency / seconds`` for an answer that took
    longer than ``latency``. Where ``load`` is above ``max_load``, that much less counts: none at a load of 1. Load
    keeps the share small, but only failures open the circuit.

    Args:
        initial: The first share, above 0 and below 1.
        sensitivity: By which part of itself the share grows. Growing in larger steps than ``hysteresis`` has room
            for means going to and fro: keep ``(1 + sensitivity) * (target - hysteresis)`` below 1.
        hysteresis: How far below ``target`` calls must go before the share shrinks.
        target: How well they must go on average for the share to grow.
        period: How many seconds at least pass before the share changes. After so many one call is let through anyway.
        minimum_calls: How many calls at least are looked at before it does.
        patience: Seconds for which a share that was too much is not tried again; each time that it was, for longer.
        latency: How long a good answer takes at most, in seconds (default: any time).
        load: How busy the host is, from 0 to 1: ``"cpu"`` or ``"memory"`` (through psutil, the extra ``load``),
            or a function of your own that says so. What it raises, and what is no number, counts as 0.
        max_load: What load is none yet.
        breaks: How long the breaks are: another recovery (default: the breaker's ``recovery_timeout``).

    Raises:
        ValueError: If a number is out of its range.
        TypeError: If an argument is of the wrong kind.
        ImportError: If psutil is needed and not there.
    """

    def __init__(
        self,
        initial: float = 0.05,
        sensitivity: float = 0.5,
        hysteresis: float = 0.2,
        target: float = 0.95,
        period: float = 5.0,
        minimum_calls: int = 10,
        patience: float = 30.0,
        latency: float | None = None,
        load: Literal["cpu", "memory"] | Callable[[], float] | None = None,
        max_load: float = 0.8,
        breaks: RecoveryPattern | None = None,
    ) -> None:
        _only_a_part(initial=initial, max_load=max_load)
        number("sensitivity", sensitivity)
        if not 0 < sensitivity < math.inf:
            raise ValueError(f"sensitivity must be a finite number above 0, got {sensitivity!r}")
        share(target=target)
        number("hysteresis", hysteresis)
        if not 0 <= hysteresis < target:
            raise ValueError(f"hysteresis must be from 0 up and below the target of {target!r}, got {hysteresis!r}")
        duration(period=period)
        at_least(1, minimum_calls=minimum_calls)
        duration(patience=patience)
        if latency is not None:
            duration(latency=latency)
        super().__init__(breaks)
        self.initial = initial
        self.sensitivity = sensitivity
        self.hysteresis = hysteresis
        self.target = target
        self.period = period
        self.minimum_calls = minimum_calls
        self.patience = patience
        self.latency = latency
        self.max_load = max_load
        self.load = None if load is None else _Load(load)
        self._share = initial
        self._credit = 0.0  # what the calls that were not let through have saved up
        self._let_through = 0.0  # when the last call was
        self._since = self._until = 0.0  # when the first and the last of the calls began that are looked at
        self._too_much = self._try_at = math.inf  # the last share that was, and when to try it again
        self._wait = patience  # until the next time to try, each time longer
        self._made = self._calls = self._failed = 0  # how many they are, have ended, and have failed
        self._is_down = False  # whether the next failure opens the circuit
        self._well = 0.0  # how well those went, in sum

    @property
    def share(self) -> float:
        """The share of calls that are let through when single probes have succeeded."""
        return self._share

    def should_attempt_recovery(self, probe: Probe) -> bool:
        """Whether the call is one of the share."""
        if not self.one_by_one:
            self._credit += self._share
            if self._credit < 1 and probe.now < self._let_through + self.period:
                return False
            self._credit = max(self._credit - 1, 0.0)
            if self._made < self.minimum_calls or probe.now < self._since + self.period:
                self._made += 1
                self._until = probe.now
        self._let_through = probe.now
        return True

    def retry_after(self, probe: Probe) -> float:
        """When a call is let through, unless others have called until then."""
        return left(self._let_through + self.period, probe.now)

    def handle_success(self, probe: Probe) -> bool:
        """Count it; whether all calls went well for a period."""
        if self.one_by_one:
            self.one_by_one = False
            self._too_much, self._wait, self._is_down = math.inf, self.patience, False
            self._begin(self.initial, probe.now)
            return False
        before = self._share
        is_slow = self.latency is not None and probe.seconds > self.latency
        grows = self._ended(probe, (self.latency or 0.0) / probe.seconds if is_slow else 1.0)
        return grows and before == 1

    def handle_failure(self, probe: Probe) -> Break:
        """Count it; no calls for a while if too few are left that may be made."""
        if not self.one_by_one:
            self._ended(probe, 0.0)
            if not self._is_down:
                return 0.0
        self._is_down = False
        return self._break(probe)

    def _ended(self, probe: Probe, well: float) -> bool:
        """Take a call into account. When that was the last one of its period, adapt; whether all of them went well."""
        began = probe.now if probe.began is None else probe.began
        if self._since <= began <= self._until:  # else it began under another share, or is none of those looked at
            self._calls += 1
            self._failed += not well
            self._well += well
        over = self._since + self.period
        if self._made < self.minimum_calls or probe.now < over:
            return False
        if self._calls < _MOST * self._made and probe.now < over + 3 * self.period:
            return False  # failures are often quicker than answers: those are still to come
        calls = max(self._calls, 1)
        health = self._well / calls * min(1.0, (1 - probe.load) / (1 - self.max_load))
        if health >= self.target:
            self._begin(self._grown(probe.now), probe.now)
            return True
        if health < self.target - self.hysteresis:
            if self._share > self._room:  # it was tried, and it is too much still
                self._wait = min(self._wait * 2, self.patience * 8)
            self._too_much, self._try_at = min(self._share, self._too_much), probe.now + self._wait
            shrunk = min(self._share * health, self._room)
            # Slow answers and load keep the share small; only where failures alone would do so is the service down.
            self._is_down = shrunk < self.initial and 1 - self._failed / calls < self.target - self.hysteresis
            self._share = max(shrunk, self.initial)
        self._begin(self._share, probe.now)
        return False

    def _grown(self, now: float) -> float:
        """The next share: well below the one that was too much, unless it is time to try that again."""
        if self._share > self._room:
            self._too_much = math.inf  # it was tried, and it is not too much any more
        grown = min(1.0, self._share * (1 + self.sensitivity))
        return grown if now >= self._try_at else min(grown, self._room)

    @property
    def _room(self) -> float:
        """What the share may be without trying what was too much."""
        return self._too_much * (1 - self.hysteresis)

    def _begin(self, share: float, now: float) -> None:
        """Let another share through, and look at the calls of the next period."""
        self._share, self._since, self._until = share, now, now
        self._made, self._calls, self._failed, self._well = 0, 0, 0, 0.0


# --- how busy the host is ----------------------------------------------------------------------------


class _Load:
    """A source of load that gives a number from 0 to 1, whatever happens in it."""

    def __init__(self, source: Any) -> None:
        if isinstance(source, str):
            if source not in _MEASURES:
                raise ValueError(f"load must be {' or '.join(map(repr, _MEASURES))} or a function, got {source!r}")
            self._ask: Callable[[], Any] = _MEASURES[source](_psutil(source))
        elif not callable(source) or is_async(source):
            raise TypeError(f"load must be a plain function that returns a number from 0 to 1, got {source!r}")
        else:
            self._ask = source
        self._source = source

    def __call__(self) -> float:
        try:
            load = float(refuse_awaitable(self._source, self._ask()))
        except Exception:
            log.exception("the load input %r failed; it counts as no load", self)
            return 0.0
        return min(load, 1.0) if load > 0 else 0.0

    def __repr__(self) -> str:
        return repr(self._source) if isinstance(self._source, str) else name_of(self._source)


def _psutil(source: str) -> Any:
    try:
        import psutil  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError(f"load={source!r} needs psutil: pip install 'failwell[load]'") from error
    return psutil


class _Cpu:
    """The share of time in which the processors were busy since the last look that was long enough ago.

    psutil's own ``cpu_percent`` remembers a last look for each thread, so it says 0 to each new one.
    """

    def __init__(self, psutil: Any) -> None:
        self._psutil = psutil
        self._lock = threading.Lock()
        self._before = self._look()
        self._load = 0.0

    def _look(self) -> tuple[float, float]:
        """Seconds of all processors since the host was started: idle ones, and all."""
        times = self._psutil.cpu_times()._asdict()
        idle = times["idle"] + times.get("iowait", 0.0)
        return idle, sum(times.values()) - times.get("guest", 0.0) - times.get("guest_nice", 0.0)

    def __call__(self) -> float:
        with self._lock:
            idle, total = self._look()
            idle_before, total_before = self._before
            if total - total_before >= 0.1:
                self._load = 1 - (idle - idle_before) / (total - total_before)
                self._before = idle, total
            return self._load


def _memory(psutil: Any) -> Callable[[], float]:
    return lambda: psutil.virtual_memory().percent / 100


_MEASURES: dict[str, Callable[[Any], Callable[[], Any]]] = {"cpu": _Cpu, "memory": _memory}


def _only_a_part(**values: Any) -> None:
    """Refuse parameters that are no share of something, or all of it."""
    for name, value in values.items():
        number(name, value)
        if not 0 < value < 1:
            raise ValueError(f"{name} must be a share above 0 and below 1, got {value!r}")
