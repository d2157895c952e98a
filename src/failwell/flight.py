"""One flight for many: one caller does the work, and all who want the same wait for it.

This is in the kernel because several patterns need it and none imports another. Each of them says by itself what
those who wait are given. What is here is the same for all of them, and easily got wrong:

- However the one who leads ends, with an answer, with an error, cancelled, closed or abandoned in its thread,
  nobody waits longer than that. Nobody but the one who leads does anything about the work: who waits and is
  cancelled just goes.
- A flight that landed with neither an answer nor an error was given up: who waited joins again, and one of them leads.
- Who is inside of the work must not wait for it, since that would be waiting for oneself: see `Flight.is_own`.

A ``run`` that uses it looks like this, with ``flights`` in the state of the pattern:

    flight, leads = flights.join(key)
    while not leads:
        await rt.wait(flight.landed)
        if flight.answer is not None:
            return flight.answer
        flight, leads = flights.join(key)  # the one who led gave up
    with flights.leading(flight, rt):
        flight.answer = await call()
        return flight.answer
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Generator, Hashable
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Generic, TypeVar

from failwell.runtime import Signal

__all__ = ["Flight", "Flights"]

T = TypeVar("T")


class Flight(Generic[T]):
    """Work that one caller does and others wait for.

    Attributes:
        key: What it is for.
        note: What was known when it left, such as why.
        landed: Set when it is over, however it ended.
        answer: What it brought, if it brought something.
        error: What it failed with, if those who wait are to fail with it too.
        traceback: Of the error, as it was when it was raised: each who raises it again makes it longer.
    """

    __slots__ = ("answer", "error", "key", "landed", "note", "traceback")

    def __init__(self, key: Hashable = None, note: Any = None) -> None:
        self.key = key
        self.note = note
        self.landed = Signal()
        self.answer: T | None = None
        self.error: Exception | None = None
        self.traceback: TracebackType | None = None

    def fail(self, error: Exception) -> None:
        """Have those who wait fail with an error as well."""
        self.error, self.traceback = error, error.__traceback__

    @property
    def is_own(self) -> bool:
        """Whether this code is part of the work itself."""
        return self in _led.get()


class Flights(Generic[T]):
    """What is under way, by key. A state of a pattern can extend it.

    Attributes:
        under_way: Key -> what can be joined at the moment; only to be read.
        lock: Held while something changes; what extends it changes its own things under it too.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.under_way: dict[Hashable, Flight[T]] = {}

    def join(self, key: Hashable = None, note: Any = None) -> tuple[Flight[T], bool]:
        """The flight to wait for, and whether the caller is the one who leads it: then a block of `leading` follows.

        Args:
            key: What it is for.
            note: Goes with a flight that leaves now.
        """
        with self.lock:
            known = self.under_way.get(key)
            if known is not None:
                return known, False
            self.under_way[key] = flight = Flight[T](key, note)
            return flight, True

    def close(self, flight: Flight[T]) -> None:
        """Let nobody join a flight any more; those who wait for it still do."""
        with self.lock:
            if self.under_way.get(flight.key) is flight:
                del self.under_way[flight.key]

    def forget(self, key: Hashable) -> None:
        """Let the next one who asks start anew; who waits already still gets what was under way."""
        with self.lock:
            self.under_way.pop(key, None)

    def forget_all(self) -> None:
        """The same for every key."""
        with self.lock:
            self.under_way.clear()

    @contextmanager
    def leading(self, flight: Flight[T], rt: Any) -> Generator[None]:
        """While the work is done: when the block ends the flight has landed, and earlier if its thread is abandoned.

        Args:
            flight: What `join` gave.
            rt: The runtime of the caller; None for one who stays until the work is over, whatever happens.
        """
        token = _led.set((*_led.get(), flight))
        land = functools.partial(self._land, flight)
        lease = None
        try:
            lease = None if rt is None else rt.lease()  # raises in a thread that is abandoned already
            if lease is not None and not lease.ended.add(flight, land):
                land()
            yield
        finally:
            with suppress(ValueError):  # its coroutine was closed from somewhere else
                _led.reset(token)
            if lease is not None:
                lease.ended.discard(flight)
            land()

    def _land(self, flight: Flight[T]) -> None:
        self.close(flight)
        flight.landed.set()


_led: ContextVar[tuple[Flight[Any], ...]] = ContextVar("failwell_led_flights", default=())
"""The work that this code is part of."""
