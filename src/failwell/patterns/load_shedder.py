"""Load shedder: when there is more than can be done, leave out what matters least.

Use where calls are of different worth, such as a checkout and a recommendation, and too many may come at once.
Do not use where all are worth the same (a bulkhead refuses whoever comes late), or to protect the other side:
a shedder protects who has it, so it stands in front of your own work.

The load is the share of the capacity that is under way, or what ``load`` says, if that is more. The least
important calls are shed first: a growing share of them, then all of them, then a share of the next ones. What is
left at last is for the most important calls alone.

Source: "Site Reliability Engineering" (2016), ch. 21, Handling Overload; David Yanacek, "Using load shedding to
avoid overload" (Amazon Builders' Library, 2019).
"""

from __future__ import annotations

import functools
import logging
import math
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias, cast

from failwell.derive import Call
from failwell.errors import LoadShedError
from failwell.events import Rejected
from failwell.policy import Policy, at_least, is_async, not_negative, number, optional_text
from failwell.runtime import Runtime, name_of, refuse_awaitable

__all__ = ["LoadShedder"]

log = logging.getLogger("failwell")

Priority: TypeAlias = "Callable[..., str | Awaitable[str]] | ContextVar[str]"


class LoadShedder(Policy):
    """Refuse calls when there is too much to do, the least important first.

    Between ``start`` and the load that is reserved, each priority but the first has an equal part. Within its part
    a growing share of its calls is shed; above it all are, until the load has come down to where its part begins.
    So a priority is never shed before all that matter less are. Calls of the first one are refused only when
    ``capacity`` is under way.

    Args:
        capacity: How many calls may be under way.
        priority: How important a call is, one of ``priorities``: a function of the call's arguments, or a context
            variable (where it has no value, the call is one of the least important). Nobody is asked while the
            load is below ``start``.
        priorities: The names of the priorities, the most important first; two at least.
        start: The load, from 0 to 1, above which the least important calls are shed.
        reserve: The share of the capacity that is for the most important calls alone.
        load: Another measure of the load, from 0 to 1, such as that of the processor; a plain function. What it
            raises is logged, and its last answer holds. So it does instead of a number above 1, such as a percentage,
            which is logged once.
        load_every: Seconds for which an answer of ``load`` holds.
        name: What the layer is called in events and drawings.

    Raises:
        ValueError: If a number is out of its range; on a call, if its priority is none of ``priorities``.
        TypeError: If an argument is of the wrong kind.
        LoadShedError: On a call that is shed; it has its ``priority``.
    """

    def __init__(
        self,
        capacity: int,
        priority: Priority,
        priorities: Sequence[str] = ("critical", "normal", "sheddable"),
        start: float = 0.7,
        reserve: float = 0.1,
        load: Callable[[], float] | None = None,
        load_every: float = 1.0,
        name: str | None = None,
    ) -> None:
        at_least(1, capacity=capacity)
        if not (isinstance(priority, ContextVar) or callable(cast("Any", priority))):
            raise TypeError(f"priority must be a function of the call's arguments or a ContextVar, got {priority!r}")
        given: Any = priorities
        if not isinstance(given, (tuple, list)) or not all(isinstance(one, str) for one in cast("list[Any]", given)):
            raise TypeError(f"priorities must be names, the most important first, got {priorities!r}")
        if len(priorities) < 2 or len(set(priorities)) < len(priorities):
            raise ValueError(f"priorities must be two different names or more, got {priorities!r}")
        for parameter, value in (("start", start), ("reserve", reserve)):
            number(parameter, value)
            if not 0 <= value < 1:
                raise ValueError(f"{parameter} must be a share of at least 0 and below 1, got {value!r}")
        if start >= 1 - reserve:
            raise ValueError(f"start must be below what is not reserved, {1 - reserve:g}, got {start!r}")
        if load is not None and (not callable(cast("Any", load)) or is_async(load)):
            raise TypeError(f"load must be a plain function that gives a number from 0 to 1, got {load!r}")
        not_negative(load_every=load_every)
        optional_text(name=name)
        self.capacity = capacity
        self.priority = priority
        self.priorities = tuple(priorities)
        self.start = start
        self.reserve = reserve
        self.load = load
        self.load_every = load_every
        self.name = name
        self.can_wait = len(self.priorities) - 1  # how many priorities are less than the first
        self.part = (1 - reserve - start) / self.can_wait

    async def run(self, call: Call, rt: Runtime) -> Any:
        work: _Work = rt.state
        if self.load is not None and work.is_due(rt.now(), self.load_every):
            work.hear(await rt.decide("load", (None,), _told_by, self.load), self.load)
        if not work.admits_all(self):
            ask: Any = self._in_context if isinstance(self.priority, ContextVar) else self.priority
            ask = functools.partial(ask, **call.kwargs) if call.kwargs else ask
            priority = await rt.decide("priority", self.priorities, ask, *call.args)
            rank = self._rank_of(priority)
            share = work.enter(self, rank)
            if 0 < share < 1:
                share = work.enter(self, rank, rt.between(0.0, 1.0))
            if share:
                rt.emit(Rejected, f"{self.priorities[rank]} calls are shed", None)
                raise LoadShedError(rt.operation, self.priorities[rank])
        try:
            return await call()
        finally:
            work.leave()

    def _in_context(self, *args: Any, **kwargs: Any) -> str:
        return cast("ContextVar[str]", self.priority).get(self.priorities[-1])

    def _rank_of(self, priority: Any) -> int:
        try:
            return self.priorities.index(priority)
        except ValueError:
            known = ", ".join(self.priorities)
            raise ValueError(f"the priority of a call must be one of {known}, got {priority!r}") from None

    @property
    def active(self) -> int:
        """How many calls are under way now."""
        return self._work.active

    @property
    def rejected(self) -> dict[str, int]:
        """How many calls of each priority have been refused so far."""
        shed = self._work.shed.copy()
        return {priority: shed.get(priority, 0) for priority in self.priorities}

    @property
    def _work(self) -> _Work:
        work: _Work = self.live_state()
        return work

    def situations(self) -> Mapping[str, Callable[[], _Work]]:
        """All are admitted; the least important ones are shed; only the most important are left; not even they are."""
        found: dict[str, Callable[[], _Work]] = {"calm": _Work}
        if self.can_wait > 1:
            found["busy"] = lambda: _Pinned(1)
        found["overloaded"] = lambda: _Pinned(self.can_wait)
        found["full"] = lambda: _Pinned(self.can_wait, self.capacity)
        return found

    def situation(self, state: _Work, now: float) -> str:
        """Which of its situations a state is in.

        Args:
            state: A state that one of ``situations()`` made.
            now: Monotonic seconds.
        """
        if state.active >= self.capacity:
            return "full"
        parts = state.parts(self)
        if parts <= 0:
            return "calm"
        shut = max(min(state.closed, math.ceil(parts)), parts)
        return "overloaded" if shut >= self.can_wait or self.can_wait == 1 else "busy"


def _told_by(load: Callable[[], float]) -> float | None:
    """What a function of the user's says of the load; None if it cannot tell."""
    try:
        told = float(refuse_awaitable(load, load()))
    except Exception:
        log.exception("failwell: %s could not tell the load; its last answer holds", name_of(load))
        return None
    return None if math.isnan(told) else told


class _Counts(dict[str, int]):
    """How many calls of each priority were shed."""

    __fingerprint__ = "counts"  # they make no difference to whether a call is made


class _Work:
    """How much is under way, and who is shut out because of it.

    Args:
        active: How many calls are under way.
    """

    def __init__(self, active: int = 0) -> None:
        self.active = active
        self.closed = 0  # how many of the priorities, the least important first, are shut out
        self.shed = _Counts()
        self._heard = 0.0  # the load, as the user's function has it
        self._was_above = False  # whether it was told that a load is at most 1
        self._due = -math.inf
        self._lock = threading.Lock()

    def is_due(self, now: float, every: float) -> bool:
        """Whether it is time to hear of the load again; the first who asks is to do it."""
        with self._lock:
            if self._due > now:
                return False
            self._due = now + every
            return True

    def hear(self, load: float | None, source: Callable[[], float]) -> None:
        """The load, as the user's function has it now; None if it could not tell."""
        if load is None:
            return
        with self._lock:
            if load <= 1:
                self._heard = load
                return
            is_news, self._was_above = not self._was_above, True
        if is_news:
            log.error(
                "failwell: %s told a load of %g, which is no share from 0 to 1; the last one that was holds: divide a "
                "percentage by 100, and limit what may be above 1 by min(1.0, ...)",
                name_of(source),
                load,
            )

    def parts(self, rules: LoadShedder) -> float:
        """How many parts the load is above the one at which the least important calls begin to be shed."""
        return round((max(self.active / rules.capacity, self._heard) - rules.start) / rules.part, 9)

    def admits_all(self, rules: LoadShedder) -> bool:
        """Let a call in whatever its priority, if there is room for all."""
        with self._lock:
            if self.parts(rules) > 0 or self.active >= rules.capacity:
                return False
            self.closed = 0
            self.active += 1
            return True

    def enter(self, rules: LoadShedder, rank: int, lot: float | None = None) -> float:
        """Let a call in, or not.

        Args:
            rules: The parameters.
            rank: The place of its priority, 0 for the most important.
            lot: A number from 0 to 1, drawn for this call if its like is shed in part.

        Returns:
            The share of such calls that is to be shed: 0 for one that is in, 1 for one that is shed. In between
            neither has happened, and a lot has to be drawn.
        """
        with self._lock:
            share = self._share(rules, rank)
            if lot is not None:
                share = float(lot < share)
            if share == 0:
                self.active += 1
            elif share == 1:
                name = rules.priorities[rank]
                self.shed[name] = self.shed.get(name, 0) + 1
            return share

    def leave(self) -> None:
        """A call is over."""
        with self._lock:
            self.active -= 1

    def _share(self, rules: LoadShedder, rank: int) -> float:
        """The share of the calls of a priority that is to be shed."""
        if self.active >= rules.capacity:
            return 1.0
        if rank == 0:
            return 0.0
        parts = min(max(self.parts(rules), 0.0), float(rules.can_wait))
        self.closed = max(min(self.closed, math.ceil(parts)), int(parts))
        part = rules.can_wait - rank
        return 1.0 if part < self.closed else min(max(parts - part, 0.0), 1.0)


class _Pinned(_Work):
    """A load that does not change, to explore with.

    Args:
        shut: How many of the priorities are shut out.
        active: How many calls are under way.
    """

    def __init__(self, shut: int, active: int = 0) -> None:
        super().__init__(active)
        self.shut = shut
        self._due = math.inf

    def parts(self, rules: LoadShedder) -> float:
        return float(self.shut)
