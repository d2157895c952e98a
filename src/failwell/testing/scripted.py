"""Operations that do what a script says, and remember how they were called."""

from __future__ import annotations

import asyncio
import enum
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, cast

from failwell import virtual

__all__ = ["HANG", "AsyncScripted", "Called", "Scripted", "async_failing", "failing", "slow"]


class _Hang(enum.Enum):
    HANG = "hang"

    def __repr__(self) -> str:
        return self.name


HANG: Final = _Hang.HANG
"""In a script: the call does not come back, unless it is cancelled or `Scripted.release` lets it go on."""


class _Slow:
    """In a script: something that takes its time."""

    def __init__(self, seconds: float, outcome: Any) -> None:
        self.seconds = seconds
        self.outcome = outcome

    def __repr__(self) -> str:
        return f"slow({self.seconds:g}, {self.outcome!r})"


def slow(seconds: float, outcome: Any = None) -> Any:
    """In a script: the call takes ``seconds``, and then ends as ``outcome`` says.

    Args:
        seconds: How long it takes.
        outcome: What an entry of a script can be: a value, an error, a function.

    Raises:
        ValueError: If ``seconds`` is not a number of 0 or more.
    """
    if isinstance(cast("Any", seconds), bool) or not isinstance(cast("Any", seconds), (int, float)) or not seconds >= 0:
        raise ValueError(f"seconds must be a number of 0 or more, got {seconds!r}")
    return _Slow(seconds, outcome)


class Called:
    """One call of a scripted operation.

    Attributes:
        args: The positional arguments.
        kwargs: The keyword arguments.
        started: When it started, on the monotonic clock; in virtual time, seconds since the start.
        ended: When it ended; None while it is under way.
        error: What it raised, or what cancelled it; None if it returned.
    """

    __slots__ = ("args", "ended", "error", "kwargs", "started")

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], started: float) -> None:
        self.args = args
        self.kwargs = kwargs
        self.started = started
        self.ended: float | None = None
        self.error: BaseException | None = None

    def __repr__(self) -> str:
        given = [*map(repr, self.args), *(f"{name}={value!r}" for name, value in self.kwargs.items())]
        how = "under way" if self.ended is None else "returned" if self.error is None else type(self.error).__name__
        return f"<call({', '.join(given)}) at {self.started:g}: {how}>"


class _Script:
    """What both kinds share: the script, and what is remembered."""

    def __init__(self, script: tuple[Any, ...], name: str) -> None:
        if not script:
            raise TypeError('a script needs an entry, e.g. failing(ConnectionError, "ok")')
        if not isinstance(cast("Any", name), str):
            raise TypeError(f"name must be a text, got {name!r}")
        self.script = script
        self.__name__ = self.__qualname__ = name
        self._lock = threading.Lock()
        self._calls: list[Called] = []
        self._under_way = 0
        self._most = 0
        self._held: dict[Called, Callable[[], None]] = {}

    @property
    def calls(self) -> list[Called]:
        """The calls so far, in the order in which they started."""
        with self._lock:
            return list(self._calls)

    @property
    def times(self) -> list[float]:
        """When each call started."""
        return [call.started for call in self.calls]

    @property
    def most_at_once(self) -> int:
        """The most calls that were under way at one moment."""
        return self._most

    def release(self) -> None:
        """Let the calls that hang return None."""
        with self._lock:
            held = list(self._held.values())
            self._held.clear()
        for let_go in held:
            let_go()

    def reset(self) -> None:
        """Forget the calls, and start with the first entry again."""
        with self._lock:
            self._calls.clear()
            self._most = self._under_way

    def _start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Called, Any]:
        with self._lock:
            entry = self.script[min(len(self._calls), len(self.script) - 1)]
            call = Called(args, kwargs, time.monotonic())
            self._calls.append(call)
            self._under_way += 1
            self._most = max(self._most, self._under_way)
        return call, entry

    def _end(self, call: Called, error: BaseException | None) -> None:
        with self._lock:
            self._under_way -= 1
            self._held.pop(call, None)
            call.ended = time.monotonic()
            call.error = error

    def _hold(self, call: Called, let_go: Callable[[], None]) -> None:
        with self._lock:
            self._held[call] = let_go

    def _raised(self, entry: Any) -> None:
        """Raise an entry that is an error."""
        if isinstance(entry, type) and issubclass(entry, BaseException):
            entry = _made(entry, f"{self.__name__} failed")
        if isinstance(entry, BaseException):
            raise entry

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(_brief, self.script))})"


class Scripted(_Script):
    """A plain function that does what a script says. `failing` makes one."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the next entry says.

        Args:
            *args: Anything; it is remembered.
            **kwargs: Anything; it is remembered.
        """
        call, entry = self._start(args, kwargs)
        error: BaseException | None = None
        try:
            while isinstance(entry, _Slow):
                time.sleep(entry.seconds)
                entry = entry.outcome
            if entry is HANG:
                event = virtual.make_event()
                self._hold(call, event.set)
                event.wait()
                return None
            self._raised(entry)
            return entry(*args, **kwargs) if callable(entry) else entry
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._end(call, error)
            del error  # a frame and its own traceback would keep each other alive


class AsyncScripted(_Script):
    """An async function that does what a script says. `async_failing` makes one."""

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the next entry says.

        Args:
            *args: Anything; it is remembered.
            **kwargs: Anything; it is remembered.
        """
        call, entry = self._start(args, kwargs)
        error: BaseException | None = None
        try:
            while isinstance(entry, _Slow):
                await asyncio.sleep(entry.seconds)
                entry = entry.outcome
            if entry is HANG:
                return await self._hang(call)
            self._raised(entry)
            answer = entry(*args, **kwargs) if callable(entry) else entry
            return await answer if asyncio.iscoroutine(answer) else answer
        except BaseException as raised:
            error = raised
            raise
        finally:
            self._end(call, error)
            del error

    async def _hang(self, call: Called) -> None:
        loop = asyncio.get_running_loop()
        released: asyncio.Future[None] = loop.create_future()

        def finish() -> None:
            if not released.done():
                released.set_result(None)

        def let_go() -> None:
            with suppress(RuntimeError):  # its loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(finish)

        self._hold(call, let_go)
        await released


def failing(*script: Any, name: str = "operation") -> Scripted:
    """A plain operation that ends as told, call after call; the last entry holds for all further calls.

    Args:
        *script: An exception (a type or an object) is raised, `HANG` never comes back, `slow` takes its time, a
            function is called with the call's arguments and says what happens, anything else is returned.
        name: What the operation is called.

    Raises:
        TypeError: If there is no entry.
    """
    return Scripted(script, name)


def async_failing(*script: Any, name: str = "operation") -> AsyncScripted:
    """The same as `failing`, as an async operation.

    Args:
        *script: As `failing` takes it; a function may be async.
        name: What the operation is called.

    Raises:
        TypeError: If there is no entry.
    """
    return AsyncScripted(script, name)


def _made(error_type: type[BaseException], said: str) -> BaseException:
    try:
        return error_type(said)
    except Exception:  # it wants other arguments than a message
        return error_type.__new__(error_type)


def _brief(entry: Any) -> str:
    return entry.__name__ if isinstance(entry, type) else repr(entry)
