"""Code that never heard of us, explored: its dependencies become probes, its waits are virtual.

A probe is called, and the explorer chooses how the call ends. What the code does between two calls is
known by what it does to the clock: it waited. So retries written by hand, with another library or with
`asyncio.timeout` have paths, a drawing and a report like our own.
"""

from __future__ import annotations

import asyncio
import inspect
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from typing import Any, NoReturn, Protocol

from failwell.errors import NotDeterministic
from failwell.events import Attempt, Called, Cancelled, Event, Slept, Waiting, listening
from failwell.flow.path import Answer
from failwell.policy import is_async
from failwell.runtime import name_of

__all__ = ["Probe", "Recorder", "Unanswerable", "is_foreign", "parameters", "run_foreign"]


class Unanswerable(BaseException):
    """The explored code asked something that no explored operation can answer.

    No ``Exception``: the explored code must not take it for a failure of its operation.
    """


class Recorder(Protocol):
    """What a probe needs of the explorer."""

    def moment(self) -> float:
        """Virtual seconds."""
        ...

    async def operation(self, name: str, layer: str) -> Answer:
        """How a call of an operation ends."""
        ...

    def happened(self, event: Any, layer: str, operation: str, own: tuple[Any, ...], named: Any, /) -> None:
        """Keep an event."""
        ...


def is_foreign(fn: Any) -> bool:
    """Whether something is an async function (method, partial, object with an async ``__call__``) of the user's.

    Args:
        fn: Anything.
    """
    return callable(fn) and not inspect.isclass(fn) and is_async(fn)


_DATA: dict[Any, Callable[[str], Any]] = {
    "str": str,
    "bytes": str.encode,
    "int": lambda _: 1,
    "float": lambda _: 1.0,
    "bool": lambda _: True,
    "dict": lambda _: dict[Any, Any](),
    "list": lambda _: list[Any](),
    "set": lambda _: set[Any](),
    "tuple": lambda _: (),
    "None": lambda _: None,
}
"""What stands for data of a type, made from the parameter's name."""


def parameters(fn: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters that must be given something: those without a default.

    Args:
        fn: A function.

    Raises:
        TypeError: If it has none, so that nothing it does could be explored.
    """
    found = {
        name: parameter
        for name, parameter in inspect.signature(fn).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    if not any(_data_of(parameter) is None for parameter in found.values()):
        raise TypeError(
            f"{name_of(fn)} takes no dependency to explore it with: give it what it calls as an argument without "
            f"a default, e.g. async def {name_of(fn)}(fetch), or decorate it with a policy"
        )
    return found


def _data_of(parameter: inspect.Parameter) -> Callable[[str], Any] | None:
    said: Any = parameter.annotation
    kind = said if isinstance(said, str) else getattr(said, "__name__", str(said))
    return _DATA.get(kind.partition("[")[0].strip())


class _Run:
    """One run of foreign code."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.counts: dict[str, int] = {}
        self.seen = 0.0  # until when the path accounts for the time
        self.under_way = 0
        self.counted = False  # whether what comes next is counted by who calls

    def catch_up(self) -> None:
        """Time that went by with nothing under way was waited for."""
        now = self.recorder.moment()
        if now > self.seen and not self.under_way:
            self.recorder.happened(Slept, "", "", (now - self.seen,), {})
        self.seen = max(self.seen, now)

    async def call(self, name: str) -> Answer:
        """A probe is called."""
        self.catch_up()
        self.counts[name] = count = self.counts.get(name, 0) + 1
        if not self.counted:
            self.recorder.happened(Called, "", name, (count,), {})
        self.counted = False
        started = self.recorder.moment()
        self.under_way += 1
        try:
            answer = await self.recorder.operation(name, "")
        except asyncio.CancelledError:
            self.seen = max(self.seen, self.recorder.moment())
            self.recorder.happened(Cancelled, "", name, (self.recorder.moment() - started,), {})
            raise
        finally:
            self.under_way -= 1
        return _Value(answer.operation)

    def hear(self, event: Event) -> None:
        """A failwell policy inside the foreign code reports."""
        with suppress(NotDeterministic):  # which is known to the explorer by now
            self.catch_up()
            self._keep(event)
            self.counted = isinstance(event, Attempt)
            if isinstance(event, Waiting):
                self.seen += event.delay

    def _keep(self, event: Event) -> None:
        self.recorder.happened(type(event), event.layer, event.operation, tuple(event)[len(Event.fields) :], {})


async def run_foreign(fn: Callable[..., Any], recorder: Recorder) -> Any:
    """Run foreign code once, with probes for its dependencies.

    Args:
        fn: An async function.
        recorder: Who answers and keeps what happens.
    """
    run = _Run(recorder)
    given: list[Any] = []
    named: dict[str, Any] = {}
    for name, parameter in parameters(fn).items():
        make = _data_of(parameter)
        value = Probe(name, run.call) if make is None else make(name)
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[name] = value
        else:
            given.append(value)
    with listening(run.hear):
        try:
            return await fn(*given, **named)
        finally:
            with suppress(NotDeterministic):
                run.catch_up()


async def _code() -> None:
    """What a probe shows to those who look whether it is a coroutine function."""


class Probe:
    """Stands for a dependency: calling it is an operation, its attributes are probes too (``client.get``)."""

    __code__: types.CodeType = _code.__code__  # looks like a function to inspect.iscoroutinefunction
    __defaults__ = None
    __kwdefaults__ = None

    def __init__(self, name: str, call: Callable[[str], Coroutine[Any, Any, Any]]) -> None:
        self.__name__ = self.__qualname__ = name
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> _Calling:
        """Do it; the explorer chooses how it ends.

        Args:
            *args: Whatever the code passes.
            **kwargs: Whatever the code passes.
        """
        return _Calling(self._call(self.__name__))

    def __getattr__(self, name: str) -> Probe:
        if name.startswith("_"):
            raise AttributeError(name)
        return Probe(f"{self.__name__}.{name}", self._call)

    async def __aenter__(self) -> Probe:
        return self

    async def __aexit__(self, *ignored: object) -> None:
        return None

    def __repr__(self) -> str:
        return self.__name__


class _Calling(Coroutine[Any, Any, Any]):
    """A call that can be awaited, or entered as clients let one do: ``async with session.get(url) as response``."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._work.__await__()

    def send(self, value: Any) -> Any:
        """Go on."""
        return self._work.send(value)

    def throw(self, *error: Any) -> Any:
        """Go on with an error."""
        return self._work.throw(*error)

    def close(self) -> None:
        """End it."""
        self._work.close()

    async def __aenter__(self) -> Any:
        return await self._work

    async def __aexit__(self, *ignored: object) -> None:
        return None


class _Value(Answer):
    """An answer whose parts stand for any value as well. It cannot be compared: then its value would matter."""

    __slots__ = ()

    def __getattr__(self, name: str) -> _Value:
        if name.startswith("_"):
            raise AttributeError(name)
        return _Value(f"{self.operation}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> _Value:
        return _Value(f"{self.operation}()")

    def __getitem__(self, key: object) -> _Value:
        return _Value(f"{self.operation}[{key!r}]")

    def __await__(self) -> Any:
        return self
        yield  # awaiting a part of an answer, such as a body that is read, takes no time

    def __iter__(self) -> NoReturn:
        raise self._unknown("be gone through")

    def __len__(self) -> NoReturn:
        raise self._unknown("be counted")

    def __bool__(self) -> bool:
        return True

    def __lt__(self, other: object) -> NoReturn:
        raise self._unknown(f"be compared with {other!r}")

    __le__ = __gt__ = __ge__ = __lt__

    def __int__(self) -> NoReturn:
        raise self._unknown("be a number")

    __float__ = __index__ = __int__

    def _unknown(self, what: str) -> Unanswerable:
        return Unanswerable(
            f"the {self!r} stands for any value and cannot {what}: let the function take what decides as a "
            "parameter with a default, or explore the part that calls"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and self.operation == other.operation

    __hash__ = Answer.__hash__
