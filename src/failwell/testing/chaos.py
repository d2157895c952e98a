"""Fault: make a real dependency fail, hang or answer late, as often as asked for.

Use on a game day, or in a test against the real thing, to see that what is around a call does its job.
Put it innermost, where the fault would come from. Do not use in place of a scripted operation: a test
of one case should bring that case about, not wait for it.

Source: Casey Rosenthal and Nora Jones, "Chaos Engineering", O'Reilly 2020; Netflix, Failure Injection Testing.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from failwell.derive import Call
from failwell.events import FaultInjected
from failwell.policy import Policy, flag, is_async, number, optional_text
from failwell.runtime import Runtime, Signal

__all__ = ["Fault", "fault"]


class Fault(Policy):
    """Inject failures, hangs and delays into a share of all calls.

    One lot decides about a call, so the shares add up: with ``fail=0.1, hang=0.1`` eight of ten calls are left alone.
    The same seed injects the same faults into the same calls, counted in the order in which they come.

    Args:
        fail: The share of calls that fail without being made, from 0 to 1.
        hang: The share of calls that hang without being made, until they are cancelled or `stop` is called.
        slow: The share of calls that are made late.
        error: What a call fails with: an exception type, or a plain function that makes an exception.
        delay: How many seconds late.
        seed: What the lots follow; None: another order each time.
        when: Gets the call's arguments, and says whether anything may be injected into it (default: into every call).
        limit: How many faults are injected at most, all together (default: any number).
        active: Whether it injects from the beginning; `start` and `stop` change that at any time.
        name: What this layer is called in events and drawings.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If shares are not between 0 and 1 or add up to more than 1, or a number is below 0.
    """

    def __init__(
        self,
        fail: float = 0.0,
        hang: float = 0.0,
        slow: float = 0.0,
        *,
        error: type[Exception] | Callable[[], Exception] = ConnectionError,
        delay: float = 1.0,
        seed: int | None = None,
        when: Callable[..., object] | None = None,
        limit: int | None = None,
        active: bool = True,
        name: str | None = None,
    ) -> None:
        for what, share in (("fail", fail), ("hang", hang), ("slow", slow)):
            number(what, share)
            if not 0 <= share <= 1:
                raise ValueError(f"{what} must be a share from 0 to 1, got {share!r}")
        if fail + hang + slow > 1 + 1e-9:
            raise ValueError(f"fail, hang and slow must add up to 1 at most, got {fail!r}, {hang!r} and {slow!r}")
        if not callable(error) or is_async(error) or (isinstance(error, type) and not issubclass(error, Exception)):
            raise TypeError(f"error must be an exception type or a plain function that makes one, got {error!r}")
        number("delay", delay)
        if not 0 <= delay < float("inf"):
            raise ValueError(f"delay must be 0 seconds or more and finite, got {delay!r}")
        if seed is not None:
            number("seed", seed, whole=True)
        if when is not None and (not callable(when) or is_async(when)):
            raise TypeError(f"when must be a plain function of the call's arguments, got {when!r}")
        if limit is not None:
            number("limit", limit, whole=True)
            if limit < 0:
                raise ValueError(f"limit must be 0 faults or more, got {limit!r}")
        flag(active=active)
        optional_text(name=name)
        self.fail = fail
        self.hang = hang
        self.slow = slow
        self.error = error
        self.delay = delay
        self.seed = seed
        self.when = when
        self.limit = limit
        self.name = name
        self._at_first = active

    async def run(self, call: Call, rt: Runtime) -> Any:
        """Inject at most one fault into a call.

        Args:
            call: The call.
            rt: The runtime.
        """
        lot = _Lot(self, rt.state, call.args, call.kwargs)
        if self.fail and await rt.decide(self._question("failure"), _NO_OR_YES, lot.falls_on, "failure", rt.state):
            rt.emit(FaultInjected, "failure")
            raise await rt.decide("injected error", (self._stand_in(rt.operation),), self._made, rt.operation)
        if self.hang and await rt.decide(self._question("hang"), _NO_OR_YES, lot.falls_on, "hang", rt.state):
            rt.emit(FaultInjected, "hang")
            await rt.wait(lot.released)
        if self.slow and await rt.decide(self._question("delay"), _NO_OR_YES, lot.falls_on, "delay", rt.state):
            rt.emit(FaultInjected, "delay")
            await rt.sleep(self.delay)
        return await call()

    def _question(self, kind: str) -> str:
        return f"{self.name}: inject a {kind}" if self.name else f"inject a {kind}"

    def _made(self, operation: str) -> Exception:
        if not isinstance(self.error, type):
            return self.error()
        kind: Any = self.error
        made: Exception
        try:
            made = kind(f"{operation}: a failure was injected")
        except Exception:  # it wants other arguments than a message
            made = kind.__new__(kind)
        return made

    def _stand_in(self, operation: str) -> Exception:
        """The error while exploring, where functions of the user's are not run."""
        return self._made(operation) if isinstance(self.error, type) else ConnectionError("injected")

    def situations(self) -> Mapping[str, Callable[[], _Chaos]]:
        """What all calls share: the chance, the counts, and whether it is active."""
        return {"injecting": lambda: _Chaos(self.seed, active=self._at_first)}

    @property
    def active(self) -> bool:
        """Whether faults are injected at the moment."""
        chaos: _Chaos = self.live_state()
        return chaos.active

    def start(self) -> None:
        """Inject from now on."""
        self.live_state().switch(on=True)

    def stop(self) -> None:
        """Leave all calls alone from now on; those that hang by injection are made now."""
        self.live_state().switch(on=False)

    @property
    def injected(self) -> dict[str, int]:
        """How many faults of each kind were injected so far: ``failure``, ``hang``, ``delay``."""
        chaos: _Chaos = self.live_state()
        return chaos.counted()

    @property
    def shares(self) -> dict[str, float]:
        """The share of calls that each kind of fault is injected into."""
        return dict(zip(_KINDS, (self.fail, self.hang, self.slow), strict=True))

    @property
    def odds(self) -> dict[str, dict[str, float]]:
        """The odds of each of its questions, for ``report(situations=...)`` of an exploration."""
        left, found = 1.0, dict[str, dict[str, float]]()
        for kind, share in self.shares.items():
            if share:  # it asks only about what it can inject
                yes = min(1.0, share / left)
                found[self._question(kind)] = {"yes": yes, "no": 1 - yes}
                left -= share
        return found


fault = Fault
"""The same, to be read as a verb: ``fault(fail=0.1)(fetch)``."""

_NO_OR_YES = (False, True)
_KINDS = ("failure", "hang", "delay")


class _Chaos:
    """What all calls through one `Fault` share."""

    def __init__(self, seed: int | None, *, active: bool) -> None:
        self.active = active
        self.released = Signal()  # set when it stops, for those that hang
        self._chance = random.Random(seed)
        self._counts: Counter[str] = Counter()
        self._lock = threading.Lock()

    def switch(self, *, on: bool) -> None:
        with self._lock:
            self.active = on
            released, self.released = self.released, Signal()
        released.set()

    def draw(self, shares: Mapping[str, float], limit: int | None) -> str:
        """The fault of the next call, or nothing."""
        with self._lock:
            if not self.active:
                return ""
            lot = self._chance.random()
            for kind, share in shares.items():
                if lot < share:
                    if limit is not None and self._counts.total() >= limit:
                        return ""
                    self._counts[kind] += 1
                    return kind
                lot -= share
        return ""

    def counted(self) -> dict[str, int]:
        with self._lock:
            return {kind: self._counts[kind] for kind in _KINDS}


class _Lot:
    """What happens to one call. It is drawn when it is first asked for, which the explorer never does."""

    __slots__ = ("_drawn", "_how", "args", "kwargs", "released")

    def __init__(self, how: Fault, state: _Chaos, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._how = how
        self._drawn: str | None = None
        self.released = state.released
        self.args = args
        self.kwargs = kwargs

    def falls_on(self, kind: str, state: _Chaos) -> bool:
        if self._drawn is None:
            how = self._how
            may = state.active and (how.when is None or how.when(*self.args, **self.kwargs))
            self._drawn = state.draw(how.shares, how.limit) if may else ""
        return self._drawn == kind
