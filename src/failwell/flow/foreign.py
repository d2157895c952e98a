"""Code that never heard of us, explored: its dependencies become probes, its waits are virtual.

A probe is called, and the explorer chooses how the call ends. What the code does between two calls is
known by what it does to the clock: it waited. So retries written by hand, with another library or with
`asyncio.timeout` have paths, a drawing and a report like our own.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from failwell.errors import NotDeterministic
from failwell.events import Attempt, Called, Cancelled, Event, Slept, Waiting, listening
from failwell.flow.path import Answer, Kind
from failwell.flow.standins import Calling, Probe, Unanswerable, Value
from failwell.policy import is_async, protected, states_apart
from failwell.runtime import name_of

__all__ = ["Chance", "Recorder", "is_foreign", "parameters", "run_foreign"]


class Recorder(Protocol):
    """What a probe needs of the explorer."""

    def moment(self) -> float:
        """Virtual seconds."""
        ...

    async def operation(self, name: str, layer: str) -> Answer:
        """How a call of an operation ends."""
        ...

    def choose(self, kind: Kind, subject: str, options: tuple[str, ...], layer: str, /) -> int:
        """Which answer to try."""
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
        TypeError: If it has none, so that nothing it does could be explored; or if it calls a protected function
            whose layers keep a state, which would change.
    """
    found = {
        name: parameter
        for name, parameter in inspect.signature(fn).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    _refuse_live_state(fn)
    if not any(_data_of(parameter) is None for parameter in found.values()):
        raise TypeError(
            f"{name_of(fn)} takes no dependency to explore it with: give it what it calls as an argument without "
            f"a default, e.g. async def {name_of(fn)}(fetch), or decorate it with a policy"
        )
    return found


def _refuse_live_state(fn: Any) -> None:
    """Functions that were protected before work on the state that the program has; that is not to be touched."""
    while not inspect.isfunction(fn):
        kind: type = fn.__class__
        fn = getattr(fn, "func", None) or getattr(fn, "__func__", None) or vars(kind).get("__call__")
        if fn is None:
            return
    for wrapped in (fn, inspect.unwrap(fn)):
        for name, value in _names_in(wrapped):
            known = None if inspect.isclass(value) else protected(value)
            keeping = [layer for layer in known.layers if layer.situations()] if known is not None else []
            if keeping:
                raise TypeError(
                    f"{name_of(fn)} calls {name}, whose {keeping[0].label} keeps a state of the running program: take "
                    f"{name} as an argument, or explore {name} itself"
                )


def _names_in(fn: Any) -> Iterator[tuple[str, Any]]:
    """The globals and outer variables that a function names."""
    code = getattr(fn, "__code__", None)
    if code is None:
        return
    for name in code.co_names:
        if name in fn.__globals__:
            yield name, fn.__globals__[name]
    for name, cell in zip(code.co_freevars, fn.__closure__ or (), strict=False):
        with suppress(ValueError):  # it has no value yet
            yield name, cell.cell_contents


def _data_of(parameter: inspect.Parameter) -> Callable[[str], Any] | None:
    said: Any = parameter.annotation
    kind = said if isinstance(said, str) else said.__name__ if inspect.isclass(said) else str(said)
    kind = kind.removeprefix("typing.").strip("'\"")
    if kind.startswith("Optional["):
        kind = kind.removeprefix("Optional[").removesuffix("]")
    choices = [one.strip().partition("[")[0] for one in kind.split("|")]
    found = [_DATA[one] for one in choices if one in _DATA]
    return found[0] if len(found) == len(choices) else None


class _Run:
    """One run of foreign code."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.counts: dict[str, int] = {}
        self.seen = 0.0  # until when the path accounts for the time
        self.under_way = 0
        self.counted = False  # whether what comes next is counted by who calls
        self.calls: list[Calling] = []
        self.truths: dict[tuple[int, str], bool] = {}

    def catch_up(self) -> None:
        """Time that went by with nothing under way was waited for."""
        now = self.recorder.moment()
        if now > self.seen and not self.under_way:
            self.recorder.happened(Slept, "", "", (now - self.seen,), {})
        self.seen = max(self.seen, now)

    def called(self, name: str) -> Calling:
        """A probe is called; what it returns is to be awaited."""
        calling = Calling(name, self._call(name))
        self.calls.append(calling)
        return calling

    def truth(self, call: int, said: str) -> bool:
        """Whether a value counts as true: a choice, and the same one each time."""
        if (call, said) not in self.truths:
            self.truths[call, said] = self.recorder.choose("decision", said, ("yes", "no"), "") == 0
        return self.truths[call, said]

    async def _call(self, name: str) -> Answer:
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
        return Value(answer.operation, functools.partial(self.truth, count))

    def check_awaited(self) -> None:
        """Refuse code that called a probe as a plain function: it got something to await instead of an answer."""
        forgotten = [calling for calling in self.calls if not calling.is_begun]
        for calling in forgotten:
            calling.close()
        if forgotten:
            raise Unanswerable(
                f"{forgotten[0].__name__} was called and not awaited: the explorer stands in for async functions, so "
                f"call it with await {forgotten[0].__name__}(...), and not in a thread"
            )

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
        value = Probe(name, run.called) if make is None else make(name)
        if parameter.kind is parameter.KEYWORD_ONLY:
            named[name] = value
        else:
            given.append(value)
    apart = states_apart.set({})
    try:
        with listening(run.hear):
            try:
                return await fn(*given, **named)
            finally:
                with suppress(NotDeterministic):
                    run.catch_up()
                run.check_awaited()
    finally:
        states_apart.reset(apart)


class Chance:
    """Answers ``random.random`` and ``random.uniform`` with one end of what they could say.

    Attributes:
        high: Which end.
        asked: Whether anything was drawn so far.
    """

    def __init__(self) -> None:
        self.high = True
        self.asked = False

    @contextmanager
    def patched(self) -> Generator[None]:
        """In this block."""
        before = random.random, random.uniform
        random.random, random.uniform = self._random, self._uniform
        try:
            yield
        finally:
            random.random, random.uniform = before

    def _random(self) -> float:
        self.asked = True
        return 1 - 2**-53 if self.high else 0.0

    def _uniform(self, a: float, b: float) -> float:
        self.asked = True
        return max(a, b) if self.high else min(a, b)
