"""Cache: answer from memory, and with an older answer rather than with none.

Use when the same question is asked often, or when an older answer is better than an error. Do not use
for answers that must be current, or where the key leaves out something that the answer depends on.

Source: RFC 5861 (stale-if-error); Go's ``golang.org/x/sync/singleflight`` (one load for many callers).
"""

from __future__ import annotations

import functools
import inspect
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Literal, Protocol

from failwell.derive import Call
from failwell.events import CacheHit, CacheMiss, CacheStored, StaleServed, StoreFailed
from failwell.flight import Flight, Flights
from failwell.keys import typed_key
from failwell.policy import On, Policy, at_least, flag, matching, not_negative, optional_callable, protected
from failwell.runtime import Runtime, UnexpectedAwaitable, name_of, refuse_awaitable

__all__ = ["Cache", "Entry", "Store"]


class Cache(Policy):
    """Remember answers for a while; ask once, however many callers wait.

    The key covers the function and its arguments with their types: ``1``, ``1.0`` and ``True`` differ.
    Errors are never stored. If the caller that loads is cancelled, another one takes over.

    Args:
        ttl: Seconds for which an answer is fresh. 0 with ``stale_if_error``: always ask, and use the
            stored answer only when that fails.
        key: Makes the key from the call's arguments, for arguments that are not hashable or do not matter.
        stale_if_error: Seconds past its ``ttl`` for which an answer may still be given when the operation
            fails; it counts as degraded.
        max_size: How many answers are kept in memory. For a new one an old one goes that was not used lately.
        single_flight: Whether concurrent callers with one key share one call, and its error.
        store: Where to keep answers instead of in memory. One that fails is done without.
        degraded: Whether answers that an inner layer marked as degraded are stored: ``"skip"`` or ``"store"``.
        stale_on: Which errors a stale answer may stand in for: a type, a tuple of types or a predicate, such as
            `failwell.errors.transient` where "not found" is an answer too.

    Raises:
        ValueError: If a duration is negative, ``max_size`` is below 1 or ``degraded`` is another word.
        TypeError: On a call, if an argument is not hashable and there is no ``key``.
    """

    def __init__(
        self,
        ttl: float,
        key: Callable[..., Hashable] | None = None,
        stale_if_error: float = 0.0,
        max_size: int = 1024,
        single_flight: bool = True,
        store: Store | None = None,
        degraded: Literal["skip", "store"] = "skip",
        stale_on: On = Exception,
    ) -> None:
        not_negative(ttl=ttl, stale_if_error=stale_if_error)
        at_least(1, max_size=max_size)
        optional_callable(key=key)
        if degraded not in ("skip", "store"):
            raise ValueError(f"degraded must be 'skip' or 'store', got {degraded!r}")
        flag(single_flight=single_flight)
        if store is not None and not (hasattr(store, "get") and hasattr(store, "set")):
            raise TypeError(f"store must have get() and set(), got {store!r}")
        self.ttl = ttl
        self.key = key
        self.stale_if_error = stale_if_error
        self.max_size = max_size
        self.single_flight = single_flight
        self.store = store
        self.degraded = degraded
        self.stale_on = stale_on
        self._may_hide = matching("stale_on", stale_on)

    async def run(self, call: Call, rt: Runtime) -> Any:
        memory: _Memory = rt.state
        if self.key is None:
            key = typed_key(rt.function, call.args, call.kwargs)
        else:
            make = functools.partial(self.key, *call.args, **call.kwargs)
            key = rt.function, await rt.decide("key", ("any",), make)
        try:
            entry = memory.entries.get(key)
        except TypeError:
            raise _not_hashable(rt.operation, call.args, call.kwargs, self.key) from None
        clock = rt.now
        if self.store is not None:
            clock = rt.wall_time
            try:
                entry = await rt.decide("stored answer", (entry,), self.store.get, key)
            except UnexpectedAwaitable:
                raise
            except Exception as broken:
                rt.emit(StoreFailed, broken)
        if entry is not None and (now := clock()) < entry.fresh_until:
            rt.emit(CacheHit, now - entry.stored_at)
            if entry.degraded:
                rt.degraded()
            entry.used = True
            return entry.value
        rt.emit(CacheMiss)

        flight, leads = memory.board(key, self.single_flight)
        try:
            while not leads:
                await rt.wait(flight.landed)
                if flight.answer is not None:
                    return _shared(flight.answer, rt)
                if flight.error is not None:
                    raise flight.error.with_traceback(flight.traceback)
                flight, leads = memory.board(key, self.single_flight)  # the one who led was cancelled

            with memory.leading(flight, rt):
                landed = memory.entries.get(key)
                if landed is not None and landed is not entry and clock() < landed.fresh_until:
                    flight.answer = landed  # another thread's call landed between our look and our turn
                    return _shared(landed, rt)
                try:
                    value, degraded = await rt.graded(call)
                except UnexpectedAwaitable:
                    raise
                except Exception as error:
                    now = clock()
                    if entry is None or now >= entry.fresh_until + self.stale_if_error or not self._may_hide(error):
                        flight.fail(error)
                        raise
                    rt.emit(StaleServed, now - entry.stored_at, error)
                    rt.degraded()
                    flight.answer = Entry(entry.value, entry.stored_at, entry.fresh_until, degraded=True)
                    return entry.value
                now = clock()
                flight.answer = Entry(value, now, now + self.ttl, degraded)
                keep = self.ttl + self.stale_if_error
                if keep == 0 or (degraded and self.degraded == "skip"):
                    return value
                if self.store is not None:
                    try:
                        await rt.decide("stored", (None,), self.store.set, key, flight.answer, keep)
                    except UnexpectedAwaitable:
                        raise
                    except Exception as broken:
                        rt.emit(StoreFailed, broken)
                        return value
                elif not memory.set(key, flight, self.max_size):
                    return value
                rt.emit(CacheStored, self.ttl, degraded)
                return value
        finally:
            del flight  # a frame and its own traceback would keep each other alive

    def clear(self) -> None:
        """Forget all answers that are kept in memory; what is being loaded now is not kept either."""
        self.live_state().clear()

    def forget(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Forget the answer to one call that is kept in memory; if it is being loaded now, it is not kept either.

        Args:
            fn: The function, protected or not.
            *args: What it was called with.
            **kwargs: What it was called with.
        """
        known = protected(fn)
        if known is not None:
            if inspect.ismethod(fn):  # decorated in its class, so the object is an argument
                args = (fn.__self__, *args)
            fn = known.fn
        key = typed_key(fn, args, kwargs)
        if self.key is not None:
            key = fn, refuse_awaitable(self.key, self.key(*args, **kwargs))
        self.live_state().discard(key)

    def situations(self) -> Mapping[str, Callable[[], _Memory]]:
        """Nothing stored, a fresh answer, and (with ``stale_if_error``) one that is past its time."""
        found: dict[str, Callable[[], _Memory]] = {"miss": _Memory}
        if self.ttl > 0:
            found["fresh"] = lambda: _Prepared(Entry(_CACHED, 0.0, self.ttl))
        if self.stale_if_error > 0 and self.ttl < float("inf"):
            found["stale"] = lambda: _Prepared(Entry(_CACHED, -self.ttl, 0.0))
        return found

    def situation(self, state: _Memory, now: float) -> str:
        """Which of them the answer is in that was stored last."""
        entry = next(reversed(state.entries.values()), None)
        if entry is None or now >= entry.fresh_until + self.stale_if_error:
            return "miss"
        return "fresh" if now < entry.fresh_until else "stale"


class Entry:
    """A stored answer.

    Attributes:
        value: The answer.
        stored_at: When it was stored: monotonic seconds in memory, seconds since the epoch in a store.
        fresh_until: Until when it is fresh, on the same clock.
        degraded: Whether it stands in for the real answer.
        used: Whether it was asked for since room was last made.
    """

    __slots__ = ("degraded", "fresh_until", "stored_at", "used", "value")

    def __init__(self, value: Any, stored_at: float, fresh_until: float, degraded: bool = False) -> None:
        self.value = value
        self.stored_at = stored_at
        self.fresh_until = fresh_until
        self.degraded = degraded
        self.used = False


class Store(Protocol):
    """Where answers are kept when several processes share them. Both methods may be async under async calls."""

    def get(self, key: Hashable) -> Any:
        """The `Entry` of a key, or None."""
        ...

    def set(self, key: Hashable, entry: Entry, seconds: float) -> Any:
        """Keep an entry for at least ``seconds``."""
        ...


_CACHED = "the stored answer"


def _shared(answer: Entry, rt: Runtime) -> Any:
    """The answer that somebody else got."""
    if answer.degraded:
        rt.degraded()
    return answer.value


class _Memory(Flights[Entry]):
    """Answers by key, and the calls that are under way.

    Reading takes no lock: a hit only marks its entry as used. Room is made by a second chance (the clock
    algorithm): the oldest entry goes, unless it was used since; then it counts as new.
    """

    def __init__(self) -> None:
        super().__init__()
        self.entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self.era = 0  # goes up when something is forgotten: what was asked before must not be kept after

    def set(self, key: Hashable, flight: Flight[Entry], max_size: int) -> bool:
        """Keep what a flight brought, if nothing was forgotten since it left."""
        with self.lock:
            if flight.answer is None or flight.note != self.era:
                return False
            self.entries.pop(key, None)
            while len(self.entries) >= max_size:
                oldest, old = self.entries.popitem(last=False)
                if old.used:
                    old.used = False
                    self.entries[oldest] = old
            self.entries[key] = flight.answer
            return True

    def board(self, key: Hashable, shares: bool) -> tuple[Flight[Entry], bool]:
        """The call to wait for, or to make: one of one's own if it is not shared, or made by what it would wait for."""
        with self.lock:
            if shares:
                flight, leads = self.join(key, self.era)
                if leads or not flight.is_own:
                    return flight, leads
            return Flight(key, self.era), True

    def clear(self) -> None:
        with self.lock:
            self.era += 1
            self.entries.clear()
            self.forget_all()

    def discard(self, key: Hashable) -> None:
        with self.lock:
            self.era += 1
            self.entries.pop(key, None)
            self.forget(key)


class _Prepared(_Memory):
    """A memory that holds one answer for whatever is asked, to explore with."""

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self.entries = _Any({"any": entry})

    def set(self, key: Hashable, flight: Flight[Entry], max_size: int) -> bool:
        return super().set("any", flight, max_size)


class _Any(OrderedDict[Hashable, Entry]):
    """Has one value, under every key."""

    def get(self, key: Hashable, default: Any = None) -> Any:
        return super().get("any", default)


def _not_hashable(operation: str, args: tuple[Any, ...], kwargs: dict[str, Any], key: Any) -> TypeError:
    if key is not None:
        return TypeError(f"the key that {name_of(key)} made for {operation} is not hashable")
    for value in (*args, *kwargs.values()):
        try:
            hash(value)
        except TypeError:
            return TypeError(
                f"an argument of {operation} cannot be part of a cache key: {value!r} is not hashable; "
                "give Cache(key=...) a function that makes a key from the arguments"
            )
    return TypeError(f"the arguments of {operation} cannot be a cache key: give Cache(key=...)")
