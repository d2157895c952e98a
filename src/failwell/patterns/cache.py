"""Cache: answer from memory, and with an older answer rather than with none.

Use when the same question is asked often, or when an older answer is better than an error. Do not use
for answers that must be current, or where the key leaves out something that the answer depends on.

Source: RFC 5861 (stale-if-error); Go's ``golang.org/x/sync/singleflight`` (one load for many callers).
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Literal, Protocol

from failwell.derive import Call
from failwell.events import CacheHit, CacheMiss, CacheStored, StaleServed, StoreFailed
from failwell.policy import Policy, protected
from failwell.runtime import Runtime, Signal, name_of

__all__ = ["Cache", "Entry", "Store"]


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
        max_size: How many answers are kept in memory; the one not used for longest goes first.
        single_flight: Whether concurrent callers with one key share one call, and its error.
        store: Where to keep answers instead of in memory. One that fails is done without.
        degraded: Whether answers that an inner layer marked as degraded are stored: ``"skip"`` or ``"store"``.

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
    ) -> None:
        for name, value in (("ttl", ttl), ("stale_if_error", stale_if_error)):
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name} must be a number of seconds, got {value!r}")
            if not value >= 0:
                raise ValueError(f"{name} must be a number of seconds that is not negative, got {value!r}")
        if isinstance(max_size, bool) or not isinstance(max_size, int):
            raise TypeError(f"max_size must be a whole number of answers, got {max_size!r}")
        if max_size < 1:
            raise ValueError(f"max_size must be at least 1, got {max_size!r}")
        if key is not None and not callable(key):
            raise TypeError(f"key must be callable, got {key!r}")
        if degraded not in ("skip", "store"):
            raise ValueError(f"degraded must be 'skip' or 'store', got {degraded!r}")
        self.ttl = ttl
        self.key = key
        self.stale_if_error = stale_if_error
        self.max_size = max_size
        self.single_flight = single_flight
        self.store = store
        self.degraded = degraded

    async def run(self, call: Call, rt: Runtime) -> Any:
        memory: _Memory = rt.state
        if self.key is None:
            key = _typed_key(rt.function, call.args, call.kwargs)
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
            except Exception as broken:
                rt.emit(StoreFailed, broken)
        now = clock()
        if entry is not None and now < entry.fresh_until:
            rt.emit(CacheHit, now - entry.stored_at)
            if entry.degraded:
                rt.degraded()
            entry.used = True
            return entry.value
        rt.emit(CacheMiss)

        flight, leads = memory.join(key) if self.single_flight else (_Flight(), True)
        while not leads:
            await rt.wait(flight.landed)
            if flight.answer is not None:
                if flight.answer.degraded:
                    rt.degraded()
                return flight.answer.value
            if flight.error is not None:
                raise flight.error.with_traceback(flight.traceback)
            flight, leads = memory.join(key)  # the one who led was cancelled

        try:
            try:
                value, degraded = await rt.graded(call)
            except Exception as error:
                now = clock()
                if entry is None or now >= entry.fresh_until + self.stale_if_error:
                    flight.error, flight.traceback = error, error.__traceback__
                    raise
                rt.emit(StaleServed, now - entry.stored_at, error)
                rt.degraded()
                flight.answer = Entry(entry.value, entry.stored_at, entry.fresh_until, degraded=True)
                return entry.value
            now = clock()
            flight.answer = Entry(value, now, now + self.ttl, degraded)
            keep = self.ttl + self.stale_if_error
            if keep > 0 and not (degraded and self.degraded == "skip"):
                if self.store is None:
                    memory.set(key, flight.answer)
                else:
                    try:
                        await rt.decide("stored", (None,), self.store.set, key, flight.answer, keep)
                    except Exception as broken:
                        rt.emit(StoreFailed, broken)
                rt.emit(CacheStored, self.ttl, degraded)
            return value
        finally:
            memory.leave(key, flight)

    def clear(self) -> None:
        """Forget all answers that are kept in memory."""
        self.live_state().clear()

    def forget(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Forget the answer to one call.

        Args:
            fn: The function, protected or not.
            *args: What it was called with.
            **kwargs: What it was called with.
        """
        known = protected(fn)
        function = fn if known is None else known.fn
        key = _typed_key(function, args, kwargs) if self.key is None else (function, self.key(*args, **kwargs))
        self.live_state().discard(key)

    def situations(self) -> Mapping[str, Callable[[], _Memory]]:
        """Nothing stored, a fresh answer, and (with ``stale_if_error``) one that is past its time."""
        found: dict[str, Callable[[], _Memory]] = {"miss": lambda: _Memory(self.max_size)}
        if self.ttl > 0:
            found["fresh"] = lambda: _Prepared(Entry(_CACHED, 0.0, self.ttl))
        if self.stale_if_error > 0:
            found["stale"] = lambda: _Prepared(Entry(_CACHED, -self.ttl, 0.0))
        return found


_CACHED = "the stored answer"


class _Flight:
    """One call that several callers wait for."""

    __slots__ = ("answer", "error", "landed", "traceback")

    def __init__(self) -> None:
        self.landed = Signal()
        self.answer: Entry | None = None
        self.error: Exception | None = None
        self.traceback: Any = None


class _Memory:
    """Answers by key, and the calls that are under way.

    Reading takes no lock: a hit only marks its entry as used. Room is made by a second chance (the clock
    algorithm): the oldest entry goes, unless it was used since; then it counts as new.
    """

    def __init__(self, max_size: int) -> None:
        self.max_size = max_size
        self.entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._flights: dict[Hashable, _Flight] = {}
        self._lock = threading.Lock()

    def set(self, key: Hashable, entry: Entry) -> None:
        with self._lock:
            self.entries.pop(key, None)
            while len(self.entries) >= self.max_size:
                oldest, old = self.entries.popitem(last=False)
                if old.used:
                    old.used = False
                    self.entries[oldest] = old
            self.entries[key] = entry

    def join(self, key: Hashable) -> tuple[_Flight, bool]:
        """The call that is under way for a key, and whether the caller is the one to make it."""
        with self._lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            self._flights[key] = flight = _Flight()
            return flight, True

    def leave(self, key: Hashable, flight: _Flight) -> None:
        """The call is over, one way or the other."""
        with self._lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
        flight.landed.set()

    def clear(self) -> None:
        with self._lock:
            self.entries.clear()

    def discard(self, key: Hashable) -> None:
        with self._lock:
            self.entries.pop(key, None)


class _Prepared(_Memory):
    """A memory that holds one answer for whatever is asked, to explore with."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(1)
        self.entries = _Any({"any": entry})

    def set(self, key: Hashable, entry: Entry) -> None:
        self.entries["any"] = entry


class _Any(OrderedDict[Hashable, Entry]):
    """Has one value, under every key."""

    def get(self, key: Hashable, default: Any = None) -> Any:
        return self["any"]


def _typed_key(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
    """The function and its arguments with their types, so that 1, 1.0 and True differ."""
    if len(args) == 1 and not kwargs and type(args[0]) not in _NESTED:
        return function, args, type(args[0])  # the usual case, at half the price
    kinds = tuple(map(type, args))
    if kwargs or not _NESTED.isdisjoint(kinds):
        named = tuple((name, _typed(kwargs[name])) for name in sorted(kwargs))
        return function, tuple(map(_typed, args)), named
    return function, args, kinds


_NESTED = frozenset({tuple, frozenset})


def _typed(value: Any) -> Hashable:
    if type(value) is tuple or type(value) is frozenset:
        return type(value), type(value)(map(_typed, value))
    return type(value), value


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
