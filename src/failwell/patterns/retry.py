"""Retry: try again, because many failures pass by themselves.

Use when a failure is likely to be gone in a moment (a network blip, a restart, a full queue) and doing
the operation twice does no harm. Do not use for errors that stay, or around a service that is
drowning: there, more calls are the problem.

Source: Marc Brooker, "Exponential Backoff And Jitter" (AWS, 2015); Google SRE Book, ch. 21-22.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Protocol, Self

from failwell import backoff as delays
from failwell.derive import Call
from failwell.errors import retry_after, transient
from failwell.events import Attempt, GaveUp, Waiting
from failwell.policy import On, Policy, flag, matching, number, optional_callable
from failwell.runtime import Runtime

__all__ = ["Budget", "Retry"]


class Budget(Protocol):
    """What ``budget=`` takes: a limit on the extra load that retries of a whole process may cause."""

    def deposit(self) -> object:
        """A call was made. One that passes several retries with the same budget is made once."""
        ...

    def withdraw(self) -> bool:
        """Whether one more attempt may be made; if so, it is counted."""
        ...


class Retry(Policy):
    """Call again until it succeeds, the error is not worth it, or a limit is reached.

    What finally failed is raised as it is, with one note that says how many attempts were made. Under a deadline no
    wait is begun that would last until it.

    Args:
        max_attempts: How many calls at most, the first one included.
        backoff: The wait between attempts (default: ``Exponential(jitter="full")``).
        on: Which errors are worth another attempt: a type, a tuple of types or a predicate
            (default: transient ones, see `failwell.errors`).
        retry_result: Says of a result that it is to be retried; the last one is returned all the same.
        max_elapsed: Seconds since the first call after which no attempt starts. Waits are clipped to it.
        budget: A limit shared by many calls, such as a `RetryBudget`; when it is spent, only the extra attempts are
            left out.
        respect_retry_after: Whether a server's ``Retry-After`` beats the computed wait.
        on_retry: Called with the `Waiting` event before each wait.
        on_give_up: Called with the `GaveUp` event.

    Raises:
        ValueError: If ``max_attempts`` is below 1 or ``max_elapsed`` is not above 0.
        TypeError: If an argument is of the wrong kind.
    """

    def __init__(
        self,
        max_attempts: int = 3,
        backoff: delays.Backoff | None = None,
        on: On = transient,
        retry_result: Callable[[Any], object] | None = None,
        max_elapsed: float | None = None,
        budget: Budget | None = None,
        respect_retry_after: bool = True,
        on_retry: Callable[[Waiting], object] | None = None,
        on_give_up: Callable[[GaveUp], object] | None = None,
    ) -> None:
        number("max_attempts", max_attempts, whole=True)
        if max_attempts < 1:
            raise ValueError(f"max_attempts must be at least 1 (the first call counts), got {max_attempts!r}")
        if isinstance(backoff, type) or not (backoff is None or hasattr(backoff, "bounds")):
            raise TypeError(f"backoff must be a strategy such as Exponential(1.0), got {backoff!r}")
        if max_elapsed is not None:
            number("max_elapsed", max_elapsed)
            if not max_elapsed > 0:
                raise ValueError(f"max_elapsed must be above 0 seconds, got {max_elapsed!r}")
        known = all(callable(getattr(budget, name, None)) for name in ("deposit", "withdraw"))
        if budget is not None and (isinstance(budget, type) or not known):
            raise TypeError(f"budget must be an object with deposit() and withdraw(), got {budget!r}")
        optional_callable(retry_result=retry_result, on_retry=on_retry, on_give_up=on_give_up)
        flag(respect_retry_after=respect_retry_after)
        self.max_attempts = max_attempts
        self.backoff = delays.Exponential(jitter="full") if backoff is None else backoff
        self.on = on
        self.retry_result = retry_result
        self.max_elapsed = max_elapsed
        self.budget = budget
        self.respect_retry_after = respect_retry_after
        self.on_retry = on_retry
        self.on_give_up = on_give_up
        self._worth_it = matching("on", on)

    async def run(self, call: Call, rt: Runtime) -> Any:
        started = rt.now()
        counted = None if self.budget is None else _Counted.unless_it_is(self.budget)
        attempt = 1
        waited = failure = traceback = None
        last = is_degraded = False
        low = high = 0.0
        result: Any = None
        try:
            if counted is not None:
                await rt.decide("call counted", (None,), counted.budget.deposit)
            while True:
                rt.emit(Attempt, attempt)
                failure = None
                try:
                    if self.retry_result is None:
                        return await call()
                    result, is_degraded = await rt.tentative(call)
                except Exception as error:
                    if not self._worth_it(error):
                        raise
                    failure = error
                    if traceback is not None:
                        _cut(error, traceback)
                    traceback = error.__traceback__
                else:
                    rejected = await rt.decide("retry this result", (False, True), self.retry_result, result)
                    if not rejected:
                        return _passed_on(result, is_degraded, rt)
                elapsed = rt.now() - started
                left = deadline = rt.time_left()
                if self.max_elapsed is not None:
                    left = min(left, self.max_elapsed - elapsed)
                reason = self._reason_to_stop(attempt, 0.0 if last else left)
                if not reason:
                    low, high = self._bounds(attempt, waited, failure, rt)
                    if min(low, left) >= deadline:  # after this wait the deadline would end the next attempt at once
                        reason = GaveUp.NO_TIME_LEFT
                if not reason and self.budget is not None:
                    affordable = await rt.decide("retry budget left", (True, False), self.budget.withdraw)
                    reason = "" if affordable else GaveUp.BUDGET_SPENT
                if reason:
                    await rt.announce(self.on_give_up, GaveUp, attempt, elapsed, failure, reason)
                    if failure is None:
                        return _passed_on(result, is_degraded, rt)
                    raise _annotated(failure, attempt, elapsed, reason)
                waited = rt.between(min(low, left), min(high, left))
                last = waited >= left  # the time is up when this wait is over; one more attempt then, as promised
                await rt.announce(self.on_retry, Waiting, attempt, waited, (low, high), failure)
                await rt.sleep(waited)
                attempt += 1
        finally:
            if counted is not None:
                counted.ends()
            del failure, traceback  # a frame and its own traceback would keep each other alive

    def _reason_to_stop(self, attempt: int, left: float) -> str:
        if attempt >= self.max_attempts:
            return GaveUp.NO_ATTEMPT_LEFT
        return GaveUp.NO_TIME_LEFT if left <= 0 else ""

    def _bounds(
        self, attempt: int, waited: float | None, failure: Exception | None, rt: Runtime
    ) -> tuple[float, float]:
        """The range of the next wait: what the server asks for, else what the strategy says."""
        if failure is not None and self.respect_retry_after:
            asked = retry_after(failure, rt.wall_time)
            if asked is not None:
                return asked, asked
        return self.backoff.bounds(attempt, waited)

    @classmethod
    def high_frequency(cls, **changes: Any) -> Self:
        """For calls made all the time, where a late answer is as bad as none: one quick second attempt."""
        return cls._preset(changes, max_attempts=2, backoff=delays.Exponential(0.1, max=0.1, jitter="full"))

    @classmethod
    def critical(cls, **changes: Any) -> Self:
        """For the call that has to get through: five attempts, up to 15 s of waiting in all."""
        return cls._preset(changes, max_attempts=5, backoff=delays.Exponential(1.0, max=8.0, jitter="full"))

    @classmethod
    def batch_item(cls, **changes: Any) -> Self:
        """For one item of many: two attempts, so that one bad item does not hold up the others."""
        return cls._preset(changes, max_attempts=2, backoff=delays.Fixed(0.5))


class _Counted:
    """A call that a budget was told of, for as long as it lasts: retries further in do not count it once more."""

    __slots__ = ("_token", "budget", "is_over", "outer")

    def __init__(self, budget: Budget, outer: _Counted | None) -> None:
        self.budget = budget
        self.outer = outer
        self.is_over = False
        self._token = _counted.set(self)

    @classmethod
    def unless_it_is(cls, budget: Budget) -> Self | None:
        """A call that begins here; None if it began in a retry further out."""
        outer = call = _counted.get()
        while call is not None:
            if call.budget is budget and not call.is_over:
                return None
            call = call.outer
        return cls(budget, outer)

    def ends(self) -> None:
        """Tasks that were started inside go on, and what they call from now on is called by nobody else."""
        self.is_over, self.outer = True, None
        with suppress(ValueError):  # its coroutine was closed from somewhere else
            _counted.reset(self._token)


_counted: ContextVar[_Counted | None] = ContextVar("failwell_counted_calls", default=None)


def _passed_on(result: Any, is_degraded: bool, rt: Runtime) -> Any:
    """A result on its way to the caller, with the mark of a degraded one."""
    if is_degraded:
        rt.degraded()
    return result


def _annotated(error: Exception, attempts: int, elapsed: float, reason: str) -> Exception:
    """The same error with one note, ready to be raised from the frame that caught it."""
    count = "1 attempt" if attempts == 1 else f"{attempts} attempts"
    prefix = "failwell gave up after "
    with suppress(Exception):  # an error that cannot be changed stays without a note
        notes = [n for n in getattr(error, "__notes__", ()) if not str(n).startswith(prefix)]
        error.__notes__ = [*notes, f"{prefix}{count} in {elapsed:.3g} s: {reason}"]
    caught = error.__traceback__
    return error.with_traceback(caught.tb_next if caught is not None else None)


def _cut(error: Exception, before: TracebackType) -> None:
    """Cut what an earlier attempt left in the traceback of an error object that is raised again and again."""
    entry = error.__traceback__
    while entry is not None:
        if entry.tb_next is before:
            entry.tb_next = None
        entry = entry.tb_next
