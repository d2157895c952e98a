"""How long to wait before the next attempt.

A strategy is immutable and knows nothing of a particular call, so one object serves any number of
concurrent retries. ``delay(attempt)`` is the upper bound; ``bounds(attempt, previous)`` the range from
which a jittered delay is drawn.

Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

__all__ = ["Backoff", "Decorrelated", "Exponential", "Fibonacci", "Fixed", "Jitter", "Linear"]

Jitter: TypeAlias = Literal["none", "full", "equal"] | float
"""``"none"``; ``"full"``: between 0 and the delay; ``"equal"``: between half of it and all of it;
a fraction such as ``0.1``: ten percent to either side."""


class Backoff:
    """Base of the delay strategies. A strategy of your own overrides ``base``.

    Args:
        jitter: How a delay is spread, so that many callers do not come back at the same moment.
        max: The longest delay in seconds; it holds after jitter too.
    """

    def __init__(self, *, max: float = float("inf"), jitter: Jitter = "none") -> None:
        if not _is_jitter(jitter):
            raise ValueError(f"jitter must be 'none', 'full', 'equal' or a fraction from 0 to 1, got {jitter!r}")
        self.max = _seconds("max", max, infinite=True)
        self.jitter: Jitter = jitter

    def base(self, attempt: int) -> float:
        """The delay in seconds after attempt number ``attempt`` (from 1), before cap and jitter."""
        raise NotImplementedError(f"{type(self).__name__} must define base(attempt)")

    def delay(self, attempt: int) -> float:
        """The upper bound, in seconds, of the wait between attempt number ``attempt`` (from 1) and the next one."""
        if attempt < 1:
            raise ValueError(f"attempt counts from 1, got {attempt!r}")
        return self.bounds(attempt)[1]

    def bounds(self, attempt: int, previous: float | None = None) -> tuple[float, float]:
        """The shortest and longest wait, in seconds, after attempt number ``attempt`` (from 1).

        Args:
            attempt: The number of the attempt that failed.
            previous: The wait before it, for strategies that build on that.
        """
        base = self.base(attempt)
        if not 0.0 <= base <= self.max:
            base = max(0.0, min(base, self.max))
        if self.jitter == "none":
            return base, base
        if self.jitter == "full":
            return 0.0, base
        if self.jitter == "equal":
            return base / 2, base
        return base * (1 - self.jitter), min(base * (1 + self.jitter), self.max)

    def __repr__(self) -> str:
        """As one would type it: ``Exponential(1, max=8, jitter='full')``."""
        from inspect import signature

        shown: list[str] = []
        values = self._parameters()
        for name, parameter in signature(type(self)).parameters.items():
            value = values.get(name, parameter.default)
            if value == parameter.default and (shown or parameter.kind is parameter.KEYWORD_ONLY):
                continue
            text = repr(int(value) if isinstance(value, float) and value.is_integer() else value)
            text = "float('inf')" if text == "inf" else text
            shown.append(f"{name}={text}" if shown or parameter.kind is parameter.KEYWORD_ONLY else text)
        return f"{type(self).__name__}({', '.join(shown)})"

    def _parameters(self) -> dict[str, object]:
        return dict(vars(self))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).items()))


class Fixed(Backoff):
    """The same wait each time.

    Args:
        delay: The wait in seconds.
        jitter: How it is spread.
    """

    def __init__(self, delay: float = 1.0, *, jitter: Jitter = "none") -> None:
        self.seconds = _seconds("delay", delay)
        super().__init__(jitter=jitter)

    def base(self, attempt: int) -> float:
        """The same for every attempt."""
        return self.seconds

    def _parameters(self) -> dict[str, object]:
        values = super()._parameters()
        return {"delay": values.pop("seconds"), **values}


class Linear(Backoff):
    """Each wait is longer by the same step: 1 s, 2 s, 3 s ...

    Args:
        initial: The first wait in seconds.
        step: What each further wait adds, in seconds (default: ``initial``).
        max: The longest wait in seconds.
        jitter: How a wait is spread.
    """

    def __init__(
        self, initial: float = 1.0, step: float | None = None, max: float = 60.0, *, jitter: Jitter = "none"
    ) -> None:
        self.initial = _seconds("initial", initial)
        self.step = self.initial if step is None else _seconds("step", step)
        super().__init__(max=max, jitter=jitter)

    def base(self, attempt: int) -> float:
        """``initial + step * (attempt - 1)``."""
        return self.initial + self.step * (attempt - 1)


class Exponential(Backoff):
    """Each wait is a multiple of the one before: 1 s, 2 s, 4 s ...

    Args:
        initial: The first wait in seconds.
        multiplier: What each further wait is multiplied by; at least 1.
        max: The longest wait in seconds.
        jitter: How a wait is spread. ``"full"`` spreads a fleet best.
    """

    def __init__(
        self, initial: float = 1.0, multiplier: float = 2.0, max: float = 60.0, *, jitter: Jitter = "none"
    ) -> None:
        self.initial = _seconds("initial", initial)
        if not _is_number(multiplier):
            raise TypeError(f"multiplier must be a number, got {multiplier!r}")
        if not multiplier >= 1:
            raise ValueError(f"multiplier must be at least 1, got {multiplier!r}")
        self.multiplier = float(multiplier)
        super().__init__(max=max, jitter=jitter)

    def base(self, attempt: int) -> float:
        """``initial * multiplier ** (attempt - 1)``, infinite where a float cannot hold it."""
        try:
            return self.initial * self.multiplier ** (attempt - 1) if self.initial else 0.0
        except OverflowError:
            return float("inf")


class Fibonacci(Backoff):
    """Waits grow like the Fibonacci numbers: 1 s, 1 s, 2 s, 3 s, 5 s ...; gentler than doubling.

    Args:
        initial: The first wait in seconds.
        max: The longest wait in seconds.
        jitter: How a wait is spread.
    """

    def __init__(self, initial: float = 1.0, max: float = 60.0, *, jitter: Jitter = "none") -> None:
        self.initial = _seconds("initial", initial)
        super().__init__(max=max, jitter=jitter)

    def base(self, attempt: int) -> float:
        """``initial`` times Fibonacci number ``attempt``; the sum stops growing once it is over the cap."""
        now, following = self.initial, self.initial
        for _ in range(attempt - 1):
            if now > self.max or following == 0:
                break
            now, following = following, now + following
        return now


class Decorrelated(Backoff):
    """Each wait is drawn between ``initial`` and three times the wait before it (decorrelated jitter).

    Args:
        initial: The shortest wait in seconds, and the base of the first.
        max: The longest wait in seconds.
    """

    def __init__(self, initial: float = 1.0, max: float = 60.0) -> None:
        self.initial = _seconds("initial", initial)
        super().__init__(max=max)

    def base(self, attempt: int) -> float:
        """``initial * 3 ** attempt``: what the wait can grow to when every draw is the highest."""
        try:
            return self.initial * 3.0**attempt if self.initial else 0.0
        except OverflowError:
            return float("inf")

    def bounds(self, attempt: int, previous: float | None = None) -> tuple[float, float]:
        """From ``initial`` to three times ``previous`` (where it is not known: its own upper bound)."""
        highest = self.base(attempt) if previous is None or attempt == 1 else previous * 3
        return min(self.initial, self.max), min(max(highest, self.initial), self.max)


def _is_jitter(value: Any) -> bool:
    if isinstance(value, (int, float)):
        return not isinstance(value, bool) and 0 <= value <= 1
    return value in ("none", "full", "equal")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _seconds(name: str, value: float, *, infinite: bool = False) -> float:
    if not _is_number(value):
        raise TypeError(f"{name} must be a number of seconds, got {value!r}")
    if not value >= 0 or (value == float("inf") and not infinite):
        raise ValueError(f"{name} must be a number of seconds that is not negative, got {value!r}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{name} is too large a number of seconds") from None
