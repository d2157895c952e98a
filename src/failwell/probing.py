"""How a circuit that is open comes back: what a breaker asks, and what answers it.

This is in the kernel because two patterns need it and none imports another: the breaker asks, the recoveries
answer. What is here by itself is the plainest recovery, and what a breaker does without any other.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Self, cast

__all__ = ["Probe", "RecoveryPattern", "left", "pause"]


class Probe(NamedTuple):
    """A call that may tell whether the other side is back, as a recovery sees it.

    Attributes:
        now: Monotonic seconds: when it asks to be made, or when it ended.
        recovery_timeout: The breaker's own.
        feature: What the recovery's ``feature`` said that it is for, if it has such a function.
        began: When it was made; None while it asks.
        load: What the recovery's ``load`` said when it ended, if it has such a function.
        error: The failure that it ended with, if it did.
    """

    now: float
    recovery_timeout: float
    feature: Any = None
    began: float | None = None
    load: float = 0.0
    error: Exception | None = None

    @property
    def seconds(self) -> float:
        """How long it took; 0 while it asks."""
        return 0.0 if self.began is None else self.now - self.began


class RecoveryPattern:
    """How a circuit comes back: after how long a break, by which calls, and when it is closed again.

    As it is here, it does what a breaker does without one. Subclass it and override what is to be different.
    An object of it is only a pattern to make more of: each circuit has a copy of its own from `fresh`, made when
    it opens and forgotten when it closes. So keep in attributes what is to be remembered from call to call. The
    methods are called one at a time, under the breaker's lock: they compute and return, and never wait.

    Attributes:
        one_by_one: Whether the breaker's ``half_open_max_calls`` holds at the moment. It may change.
        gives_up: Whether it ever leaves a circuit open until somebody resets it.
        features: What ``feature`` can say, for drawings.
        feature: A function of the call's arguments, asked before each probe; its answer is in `Probe.feature`.
        load: A function without arguments, asked after each probe; its answer is in `Probe.load`.
    """

    one_by_one: bool = True
    gives_up: bool = False
    features: tuple[Any, ...] = ()
    feature: Callable[..., Any] | None = None
    load: Callable[[], float] | None = None

    def should_attempt_recovery(self, probe: Probe) -> object:
        """Whether a call of a half-open circuit is to be made.

        Args:
            probe: The call.

        Returns:
            Anything truthy: make it.
        """
        return True

    def retry_after(self, probe: Probe) -> float:
        """In how many seconds a call that was not to be made may come back.

        Args:
            probe: The call.
        """
        return probe.recovery_timeout

    def handle_success(self, probe: Probe) -> object:
        """A probe succeeded.

        Args:
            probe: The call.

        Returns:
            Anything truthy: as far as it depends on this the circuit may close, when ``success_threshold``
            probes have succeeded.
        """
        return True

    def handle_failure(self, probe: Probe) -> float | tuple[float, float]:
        """The circuit opened, or a probe failed: in this order, from `fresh` on.

        Args:
            probe: The call.

        Returns:
            For how many seconds no call is made: 0 if probes go on, infinity if the circuit stays open until it is
            reset. Of two numbers one between them is drawn.
        """
        return probe.recovery_timeout

    def fresh(self) -> Self:
        """A copy for one circuit. What it keeps in attributes of its own it changes for itself only."""
        made = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, RecoveryPattern):
                setattr(made, name, value.fresh())
            elif not (callable(value) or isinstance(value, (str, bytes, tuple, frozenset, int, float))):
                setattr(made, name, copy.copy(value))
        return made

    def __repr__(self) -> str:
        """As one would type it: ``ExponentialRecovery(max=600.0, jitter=0.1)``."""
        shown: list[str] = []
        parameters: Mapping[str, inspect.Parameter] = inspect.signature(type(self)).parameters
        for place, (name, parameter) in enumerate(parameters.items()):
            value = getattr(self, name, parameter.default)
            if value is parameter.default or value == parameter.default:
                continue
            text = getattr(value, "__qualname__", None) if callable(value) else None
            text = repr(value) if text is None else cast("str", text)
            shown.append(
                text if place == len(shown) and parameter.kind is not parameter.KEYWORD_ONLY else f"{name}={text}"
            )
        return f"{type(self).__name__}({', '.join(shown)})"


def pause(recovery: RecoveryPattern, answer: Any) -> tuple[float, float]:
    """What `RecoveryPattern.handle_failure` answered, as the shortest and the longest break.

    Args:
        recovery: Whose answer it is, for the message.
        answer: A number of seconds, or two.

    Raises:
        TypeError: If it is neither.
        ValueError: If it is negative, no number, or the second one is smaller.
    """
    both = cast("Sequence[Any]", answer if isinstance(answer, tuple) else (answer, answer))
    if len(both) != 2 or any(isinstance(one, bool) or not isinstance(one, (int, float)) for one in both):
        raise TypeError(f"{type(recovery).__name__}.handle_failure must return seconds, got {answer!r}")
    if not 0 <= both[0] <= both[1]:
        raise ValueError(f"{type(recovery).__name__}.handle_failure must return seconds from 0 up, got {answer!r}")
    low, high = both
    return (high, high) if high == math.inf else (low, high)


def left(until: float, now: float) -> float:
    """Seconds from now, such that whoever waits that long does not come a rounding error too early.

    Args:
        until: A monotonic time.
        now: An earlier one.
    """
    seconds = until - now
    return seconds if now + seconds >= until else seconds + math.ulp(until)
