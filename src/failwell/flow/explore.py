"""Run a policy once under every possible outcome, in virtual time.

The exploring runtime answers each question of a run (how did the operation end? is the cache fresh?)
with one of the possible answers, and the whole policy runs again from the start for each answer that
was not tried yet. Nothing is forked or copied; functions of the user's are never executed. What is
left is a list of paths, which partition everything that can happen.

Source: stateless model checking, as in Patrice Godefroid, "Model Checking for Programming Languages
using VeriSoft" (POPL 1997).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias

from failwell.derive import Call
from failwell.errors import NotDeterministic, TooManyPaths
from failwell.events import Attempt, Event, GaveUp
from failwell.policy import Operation, Pattern, Policy, Protected, labels, matching, protected
from failwell.runtime import LATE, AsyncRuntime, Mark, name_of
from failwell.virtual import Deadlock, VirtualLoop, outside_running_loop, patched, seeded

if TYPE_CHECKING:
    from failwell.flow.graph import Graph
    from failwell.flow.report import Report

__all__ = ["Answer", "Choice", "Exploration", "Kind", "Path", "explore"]

Kind = Literal["operation", "decision", "situation", "jitter"]
Outcomes: TypeAlias = Sequence["str | type[Exception]"]
Odds: TypeAlias = "float | Mapping[str, float]"


class Answer:
    """What an explored operation returns: it stands for any value, and knows whose it is."""

    __slots__ = ("operation",)

    def __init__(self, operation: str) -> None:
        self.operation = operation

    def __repr__(self) -> str:
        return f"answer of {self.operation}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and self.operation == other.operation

    def __hash__(self) -> int:
        return hash(self.operation)


class Choice:
    """One question of a run and the answer that this path gives to it.

    Attributes:
        kind: What was asked: how an ``operation`` ended, how a user function decided, in which
            ``situation`` a layer is, or which end of its range a jittered wait takes.
        subject: The operation, question or layer.
        option: The answer.
        options: All possible answers.
        layer: The layer that asked; empty for the protected operation itself.
    """

    __slots__ = ("kind", "layer", "option", "options", "subject")

    def __init__(self, kind: Kind, subject: str, option: str, options: tuple[str, ...], layer: str) -> None:
        self.kind: Kind = kind
        self.subject = subject
        self.option = option
        self.options = options
        self.layer = layer

    def __repr__(self) -> str:
        return f"{self.subject}: {self.option}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.kind, self.subject, self.option, self.options, self.layer


class Path:
    """One way through a policy.

    Attributes:
        trace: Everything that happened, in order: choices and events.
        result: What was returned, or None.
        error: What was raised, or None.
        elapsed: Virtual seconds; infinite for a path that never ends.
        degraded: Whether the answer is not the real one.
    """

    __slots__ = ("degraded", "elapsed", "error", "result", "trace")

    def __init__(
        self,
        trace: tuple[Choice | Event, ...],
        result: Any,
        error: BaseException | None,
        elapsed: float,
        degraded: bool = False,
    ) -> None:
        self.trace = trace
        self.result = result
        self.error = error
        self.elapsed = elapsed
        self.degraded = degraded

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The answers that make this path what it is."""
        return tuple(step for step in self.trace if isinstance(step, Choice))

    @property
    def events(self) -> tuple[Event, ...]:
        """What the layers reported, with virtual times."""
        return tuple(step for step in self.trace if isinstance(step, Event))

    @property
    def ends(self) -> bool:
        """Whether the path comes to an end."""
        return self.elapsed != float("inf")

    @property
    def calls(self) -> dict[str, int]:
        """Operation -> how often it was called."""
        counted: dict[str, int] = {}
        for step in self.trace:
            if isinstance(step, Choice) and step.kind == "operation":
                counted[step.subject] = counted.get(step.subject, 0) + 1
        return counted

    def probability(
        self, fail: Odds = 0.1, hang: Odds = 0.0, *, situations: Mapping[str, Mapping[str, float]] | None = None
    ) -> float:
        """How likely this path is.

        Args:
            fail: The odds that an operation fails: one number, or operation -> number.
            hang: The odds that it hangs.
            situations: Layer -> situation -> odds. Without it a layer is in its first situation.
        """
        likely = 1.0
        for choice in self.choices:
            likely *= _odds(choice, fail, hang, situations or {})
        return likely

    def __str__(self) -> str:
        from failwell.flow.story import tell

        return tell(self)

    def __repr__(self) -> str:
        return f"<Path {self}>"


def _odds(choice: Choice, fail: Odds, hang: Odds, situations: Mapping[str, Mapping[str, float]]) -> float:
    if choice.kind == "operation":
        if len(choice.options) == 1:
            return 1.0
        of_fail = fail if isinstance(fail, (int, float)) else fail.get(choice.subject, 0.0)
        of_hang = hang if isinstance(hang, (int, float)) else hang.get(choice.subject, 0.0)
        if "hang" not in choice.options:
            of_hang = 0.0
        ways_to_fail = [o for o in choice.options if o not in ("ok", "hang")]
        if not ways_to_fail:
            of_fail = 0.0
        if choice.option == "ok":
            return 1.0 - of_fail - of_hang
        return of_hang if choice.option == "hang" else of_fail / len(ways_to_fail)
    if choice.kind == "situation":
        given = situations.get(choice.subject)
        if given is not None:
            return given.get(choice.option, 0.0)
        return 1.0 if choice.option == choice.options[0] else 0.0
    if choice.kind == "jitter":
        return 1.0 if choice.option == choice.options[0] else 0.0
    return 1.0 / len(choice.options)


class Exploration:
    """All paths of a policy.

    Attributes:
        paths: The paths, in the order in which they were found.
        name: The operation's name.
        layers: The layers, outermost first.
    """

    def __init__(self, paths: list[Path], name: str, layers: Sequence[Pattern]) -> None:
        self.paths = paths
        self.name = name
        self.layers = tuple(layers)

    def graph(self, compact: bool = True) -> Graph:
        """The flow diagram: the smallest graph of all paths.

        Args:
            compact: Fold repeated attempts into one loop. Otherwise each is shown, and the graph has
                exactly the explored paths and no two nodes with equal futures.
        """
        from failwell.flow.graph import compact_graph, unrolled_graph

        unrolled = unrolled_graph(self.paths, title=self.title)
        return compact_graph(unrolled) if compact else unrolled

    def report(
        self,
        fail: Odds = 0.1,
        hang: Odds = 0.0,
        *,
        situations: Mapping[str, Mapping[str, float]] | None = None,
    ) -> Report:
        """What follows for given odds: success, latency, load. Exact, no simulation.

        Args:
            fail: The odds that an operation fails: one number, or operation -> number.
            hang: The odds that it hangs.
            situations: Layer -> situation -> odds. Without it a layer is in its first situation.

        Raises:
            ValueError: If odds are not between 0 and 1, or sum up to more than 1.
        """
        from failwell.flow.report import make_report

        return make_report(self, fail, hang, situations)

    @property
    def title(self) -> str:
        """What was explored, in one line."""
        return " >> ".join([*(repr(layer) for layer in self.layers), *([self.name] if self._wraps else [])])

    @property
    def _wraps(self) -> bool:
        return not (self.layers and isinstance(self.layers[-1], Operation))

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"<Exploration of {self.title}: {len(self.paths)} paths>"


# --- one run -------------------------------------------------------------------------------------


class _Frame:
    """A question on the current path, and which of its answers is being tried."""

    __slots__ = ("choices", "index", "key", "last")

    def __init__(self, key: tuple[Kind, str, tuple[str, ...], str]) -> None:
        self.key = key
        kind, subject, options, layer = key
        self.choices = [Choice(kind, subject, option, options, layer) for option in options]
        self.index = 0
        # The short end of a jittered wait is tried only if it turns out that time is what decides.
        self.last = 0 if key[0] == "jitter" else len(key[2]) - 1


class _Search:
    """Depth-first search by replay."""

    def __init__(self, outcomes: tuple[str, ...], make_error: Mapping[str, Callable[[str], Exception]]) -> None:
        self.frames: list[_Frame] = []
        self.depth = 0
        self.trace: list[Choice | Event] = []
        self.states: dict[int, Any] = {}
        self.recording = True
        self.outcomes = outcomes
        self.make_error = make_error
        self.loop = VirtualLoop()
        self.runtime: type[_ExploringRuntime] = _StraightRuntime
        self.timers: list[float] = []
        self.expired: int | None = None

    def start(self) -> None:
        self.timers = []
        self.expired = None
        self.depth = 0
        self.trace = []
        self.states = {}
        self.recording = True
        self.loop.clock.now = 0.0

    def choose(self, kind: Kind, subject: str, options: tuple[str, ...], layer: str) -> int:
        """The index of the answer to try on this path."""
        key = kind, subject, options, layer
        if not self.recording:
            return 0
        if self.depth == len(self.frames):
            self.frames.append(_Frame(key))
        frame = self.frames[self.depth]
        if frame.key != key:
            raise NotDeterministic(
                f"a replay asked {subject!r} {options} where the run before asked {frame.key[1]!r} {frame.key[2]}: "
                "the explored code keeps state between runs; keep it in situations()"
            )
        self.depth += 1
        if kind != "jitter" or frame.last:
            self.trace.append(frame.choices[frame.index])
        return frame.index

    def time_decides(self) -> None:
        """A limit of time cut this path short: the short end of its jittered waits may lead elsewhere."""
        for frame in self.frames[: self.depth]:
            if frame.key[0] == "jitter":
                frame.last = 1

    def advance(self) -> bool:
        """Move to the next untried answer; False when there is none."""
        del self.frames[self.depth :]
        while self.frames and self.frames[-1].index >= self.frames[-1].last:
            self.frames.pop()
        if not self.frames:
            return False
        self.frames[-1].index += 1
        return True

    # -- what an operation does --

    async def operation(self, name: str, layer: str, *, never_fails: bool = False) -> Answer:
        options = ("ok",) if never_fails else self.outcomes
        option = options[self.choose("operation", name, options, layer)]
        if option == "hang":
            await self.runtime.hang(self)
        if option != "ok":
            raise self.make_error[option](name)
        return Answer(name)

    def chain(self, layers: Sequence[Pattern], name: str, inner: Callable[..., Any], args: tuple[Any, ...] = ()) -> Any:
        """The layers around ``inner``, all on exploring runtimes; call it to get a coroutine."""
        following = inner
        for layer, label in reversed(list(zip(layers, labels(layers), strict=True))):
            call = Call(following, args, {}, name)
            following = functools.partial(_run_layer, layer, call, self.runtime(self, layer, label, name))
            args = ()
        return following

    async def user_function(self, fn: Callable[..., Any], name: str, layer: str, args: Sequence[Any]) -> Any:
        """A function of the user's inside a pattern: itself explored where it is made of patterns."""
        if isinstance(fn, Operation):
            return await self.chain((fn,), fn.__name__, _nothing_inside, tuple(args))()
        known = protected(fn)
        if known is not None:
            return await self.protected_function(known)
        return await self.operation(name or name_of(fn), layer, never_fails=getattr(fn, "never_fails", False))

    def protected_function(self, known: Protected[Any]) -> Any:
        layers: tuple[Pattern, ...] = known.layers
        if isinstance(known.fn, Operation):
            return self.chain((*layers, known.fn), known.name, _nothing_inside)()
        return self.chain(layers, known.name, functools.partial(self.operation, known.name, ""))()


def _run_layer(layer: Pattern, call: Call, rt: Any, *ignored: Any) -> Any:
    return layer.run(call, rt)


async def _nothing_inside(*args: Any) -> NoReturn:
    raise TypeError("an operation has no inner layer to call")


class _ExploringRuntime(AsyncRuntime):
    """Answers every question with a choice; time is virtual, events are kept, user functions never run."""

    __slots__ = ("policy", "search")

    def __init__(self, search: _Search, policy: Pattern, layer: str, operation: str) -> None:
        self.search = search
        self.policy = policy
        self.layer = layer
        self.operation = operation
        self.function = operation

    @property
    def state(self) -> Any:  # type: ignore[override]
        states = self.search.states
        key = id(self.policy)
        if key not in states:
            situations = self.policy.situations()
            if not situations:
                return None
            names = tuple(situations)
            chosen = names[0]
            if len(names) > 1:
                chosen = names[self.search.choose("situation", self.layer, names, self.layer)]
            states[key] = situations[chosen]()
        return states[key]

    def now(self) -> float:
        return self.search.loop.clock.now

    wall_time = now

    def between(self, low: float, high: float) -> float:
        if low == high:
            return low
        return (high, low)[self.search.choose("jitter", f"wait of {self.layer}", ("longest", "shortest"), self.layer)]

    def emit(self, event: Any, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        search = self.search
        if search.recording:
            happened = event(self.layer, self.operation, search.loop.clock.now, None, *args, **kwargs)
            search.trace.append(happened)
            if type(happened) is GaveUp and happened.reason == GaveUp.NO_TIME_LEFT:
                search.time_decides()

    async def announce(self, callback: Any, event: Any, *args: Any, **kwargs: Any) -> None:  # type: ignore[override]
        self.emit(event, *args, **kwargs)

    async def sleep(self, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.search.time_decides()
            raise

    async def invoke(self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None, name: str = "") -> Any:
        return await self.search.user_function(fn, name, self.layer, args)

    async def decide(self, question: str, options: Sequence[Any], fn: Callable[..., Any], *args: Any) -> Any:
        if len(options) == 1:
            return options[0]
        said = tuple(("no", "yes")[o] if isinstance(o, bool) else str(o) for o in options)
        return options[self.search.choose("decision", question, said, self.layer)]


    @staticmethod
    async def hang(search: _Search) -> None:
        """Never come back, unless cancelled."""
        await search.loop.create_future()


class _NeverEnds(BaseException):
    """Ends a path that waits for ever."""


class _StraightRuntime(_ExploringRuntime):
    """Exploring without an event loop, which is ten times as fast: possible while only one thing happens at a time.

    A wait moves the clock and returns. Where a timer is due before its end, the wait is cancelled at
    that moment, as asyncio would do it: a `CancelledError` on its way to the timer's owner.
    """

    __slots__ = ()

    async def sleep(self, seconds: float) -> None:
        _pass_time(self.search, max(0.0, seconds), jitter_matters=True)

    @staticmethod
    async def hang(search: _Search) -> None:
        _pass_time(search, float("inf"))

    async def within(self, seconds: float, call: Callable[[], Any]) -> Any:  # type: ignore[override]
        search = self.search
        place = len(search.timers)
        search.timers.append(search.loop.clock.now + seconds)
        try:
            return await call()
        except asyncio.CancelledError:
            if search.expired != place:
                raise
            search.expired = None
            return LATE
        finally:
            del search.timers[place:]

    async def shielded(self, fn: Callable[[], Any]) -> Any:
        search = self.search
        outside, search.timers = search.timers, [float("inf")] * len(search.timers)
        try:
            result = await fn()
        finally:
            search.timers = outside
        if search.expired is None:
            _pass_time(search, 0.0, only_if_late=True)
        return result


def _pass_time(search: _Search, wait: float, *, jitter_matters: bool = False, only_if_late: bool = False) -> None:
    """Let virtual time pass, up to the first timer."""
    clock = search.loop.clock
    due = min(search.timers, default=float("inf"))
    until = clock.now + wait
    if until < due or (only_if_late and until <= due):
        clock.now = until
        return
    if due == float("inf"):
        search.recording = False
        raise _NeverEnds
    if jitter_matters:
        search.time_decides()
    clock.now = max(clock.now, due)
    search.expired = search.timers.index(due)
    raise asyncio.CancelledError


# --- exploring -----------------------------------------------------------------------------------


def explore(
    policy: Pattern | Callable[..., Any],
    operation: str = "operation",
    *,
    outcomes: Outcomes = ("ok", "fail", "hang"),
    limit: int = 10_000,
    progress: Callable[[int], object] | None = None,
) -> Exploration:
    """Find every path that a policy can take.

    Args:
        policy: A policy, a stack, a saga, or a function decorated by a policy.
        operation: The name of the protected operation (a decorated function brings its own).
        outcomes: How an operation can end: ``"ok"``, ``"fail"``, ``"hang"``, exception types.
        limit: How many paths at most.
        progress: Called with the number of paths found so far, now and then.

    Raises:
        TooManyPaths: If there are more paths than ``limit``.
        NotDeterministic: If the policy keeps state between runs.
        TypeError: If ``policy`` is nothing that can be explored.
    """
    layers, name, inner = _what(policy, operation)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValueError(f"limit must be a whole number of paths of at least 1, got {limit!r}")
    names, makers = _ways(outcomes, layers)
    search = _Search(names, makers)
    inside = _nothing_inside if inner is None else functools.partial(search.operation, name, "")
    paths: list[Path] = []
    with outside_running_loop(), patched(search.loop.clock), seeded(0), _no_collection():
        asyncio._set_running_loop(search.loop)
        try:
            more = True
            while more:
                if len(paths) >= limit:
                    raise TooManyPaths(len(paths), _multipliers(paths))
                search.start()
                run = search.chain(layers, name, inside)
                path = _one_path(search, run)
                if path is None:  # it really suspends: start anew, on the loop
                    search.runtime, search.frames = _ExploringRuntime, []
                    paths.clear()
                    continue
                paths.append(path)
                if progress is not None and len(paths) % 1000 == 0:
                    progress(len(paths))
                more = search.advance()
        finally:
            asyncio._set_running_loop(None)
            search.loop.close()
    return Exploration(paths, name, layers)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the cyclic garbage collector: paths hold no cycles, and going through them all again halves the speed."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _what(policy: Any, operation: str) -> tuple[tuple[Pattern, ...], str, bool | None]:
    """Layers, operation's name, and whether there is an operation inside (a saga is its own)."""
    if isinstance(policy, Operation):
        return (policy,), policy.__name__, None
    if isinstance(policy, Policy):
        return policy.layers, operation, True
    known = protected(policy)
    if known is None:
        raise TypeError(
            f"explore takes a policy, a saga or a function decorated by a policy, got {policy!r}"
        )
    if isinstance(known.fn, Operation):
        return (*known.layers, known.fn), known.name, None
    return known.layers, known.name, True


def _ways(
    outcomes: Outcomes, layers: Sequence[Pattern]
) -> tuple[tuple[str, ...], dict[str, Callable[[str], Exception]]]:
    names: list[str] = []
    makers: dict[str, Callable[[str], Exception]] = {}
    for outcome in outcomes:
        if isinstance(outcome, type) and issubclass(outcome, Exception):
            names.append(outcome.__name__)
            makers[outcome.__name__] = functools.partial(_make, outcome)
        elif outcome in ("ok", "fail", "hang"):
            names.append(str(outcome))
        else:
            raise ValueError(f"outcomes are 'ok', 'fail', 'hang' and exception types, got {outcome!r}")
    if not names or len(set(names)) != len(names):
        raise ValueError(f"outcomes must be different ones, at least one, got {tuple(outcomes)!r}")
    makers["fail"] = functools.partial(_make, _handled_type(layers))
    return tuple(names), makers


_CANDIDATES: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, OSError, ValueError, RuntimeError)


def _handled_type(layers: Sequence[Pattern]) -> type[Exception]:
    """An exception that the innermost layer's ``on=`` handles; ConnectionError where it would handle anything."""
    for layer in reversed(layers):
        on = getattr(layer, "on", None)
        if on is None:
            continue
        given = [on] if isinstance(on, type) else list(on) if isinstance(on, (tuple, list, set, frozenset)) else []
        handles = matching("on", on)
        for candidate in (*_CANDIDATES, *given):
            if handles(_make(candidate, "operation")):
                return candidate
        break
    return ConnectionError


def _make(error_type: type[Exception], name: str) -> Exception:
    try:
        return error_type(f"{name} failed")
    except TypeError:  # it wants other arguments than a message
        return error_type.__new__(error_type)


def _one_path(search: _Search, run: Callable[[], Any]) -> Path | None:
    """Follow the current choices to their end; None if that needs an event loop after all."""
    with Mark() as mark:
        if search.runtime is _StraightRuntime:
            ended, result, error = _straight(search, run)
            if not ended:
                return None
        else:
            result, error = _on_loop(search, run)
    trace = tuple(search.trace)
    if isinstance(error, _NeverEnds):
        return Path(trace, None, None, float("inf"))
    if error is None:
        return Path(trace, result, None, search.loop.clock.now, mark.degraded)
    if not isinstance(error, Exception) or isinstance(error, NotDeterministic):
        raise error
    error.__traceback__ = None  # thousands of paths must not keep thousands of frames alive
    return Path(trace, None, error, search.loop.clock.now)


def _straight(search: _Search, run: Callable[[], Any]) -> tuple[bool, Any, BaseException | None]:
    coroutine = run()
    try:
        copy_context().run(coroutine.send, None)
    except StopIteration as done:
        return True, done.value, None
    except BaseException as error:
        return True, None, error
    search.recording = False
    with contextlib.suppress(BaseException):  # whatever its cleanup does: this run does not count
        coroutine.close()
    return False, None, None


def _on_loop(search: _Search, run: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    loop = search.loop
    task: asyncio.Task[Any] = asyncio.Task(run(), loop=loop)
    try:
        while not task.done():
            loop._run_once()  # type: ignore[attr-defined]
    except Deadlock:
        return None, _NeverEnds()
    finally:
        search.recording = False
        moment = loop.clock.now
        _clear(loop)
        loop.clock.now = moment
        loop._scheduled.clear()  # type: ignore[attr-defined]
    error = task.exception()
    return (None, error) if error is not None else (task.result(), None)


def _clear(loop: VirtualLoop) -> None:
    """Cancel what a path left behind."""
    for _ in range(3):
        left = asyncio.all_tasks(loop)
        if not left:
            return
        for task in left:
            task.cancel()
        with contextlib.suppress(Deadlock):
            while any(not task.done() for task in left):
                loop._run_once()  # type: ignore[attr-defined]
        for task in left:
            if task.done() and not task.cancelled():
                task.exception()


def _multipliers(paths: Sequence[Path]) -> dict[str, int]:
    """Layer or operation -> how many alternatives it opens on one path."""
    found: dict[str, int] = {}
    for path in paths[-1000:]:
        for step in path.trace:
            if type(step) is Attempt:
                found[step.layer] = max(found.get(step.layer, 0), step.number)
            elif isinstance(step, Choice) and len(step.options) > 1:
                found[step.subject] = len(step.options)
    return dict(sorted(found.items(), key=lambda item: -item[1]))
