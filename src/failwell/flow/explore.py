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
import random
import threading
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeAlias, TypeVar, cast

from failwell.derive import Call
from failwell.errors import DeadlineExceeded, NotDeterministic, TooManyPaths
from failwell.events import Attempt, Event, GaveUp
from failwell.flow.foreign import Chance, is_foreign, parameters, run_foreign
from failwell.flow.graph import Graph, compact_graph, unrolled_graph
from failwell.flow.path import Answer, Choice, Kind, Odds, Path
from failwell.flow.report import Report, make_report
from failwell.flow.spread import Lot, spread
from failwell.flow.standins import Unanswerable
from failwell.policy import Operation, Pattern, Policy, Protected, labels, matching, protected
from failwell.runtime import (
    LATE,
    Alternative,
    AsyncRuntime,
    Due,
    Mark,
    Signal,
    current_deadline,
    deadline,
    name_of,
    passed,
    without_deadline,
)
from failwell.switch import enabled
from failwell.virtual import Deadlock, VirtualLoop, outside_running_loop, patched, resolution

if TYPE_CHECKING:
    from failwell.flow.lint import Finding

__all__ = ["Diverged", "Exploration", "explore", "follow"]

Outcomes: TypeAlias = Sequence["str | type[Exception]"]


class Exploration:
    """All paths of a policy.

    Attributes:
        paths: The paths, in the order in which they were found.
        name: The operation's name.
        layers: The layers, outermost first.
        not_idempotent: Names of operations that are marked as such, see `failwell.not_idempotent`.
    """

    def __init__(
        self, paths: list[Path], name: str, layers: Sequence[Pattern], not_idempotent: Iterable[str] = ()
    ) -> None:
        self.paths = paths
        self.name = name
        self.layers = tuple(layers)
        self.not_idempotent = frozenset(not_idempotent)

    def graph(self, compact: bool = True) -> Graph:
        """The flow diagram: the smallest graph of all paths.

        Args:
            compact: Fold repeated attempts into one loop. Otherwise each is shown, and the graph has
                exactly the explored paths and no two nodes with equal futures.
        """
        return compact_graph(self._unrolled) if compact else self._unrolled

    @functools.cached_property
    def _unrolled(self) -> Graph:
        return unrolled_graph(self.paths, title=self.title)

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
        return make_report(self, fail, hang, situations)

    def lint(self) -> list[Finding]:
        """What is wrong with the policy, as far as its paths show it; each finding with a path as evidence."""
        from failwell.flow.lint import lint

        return lint(self)

    def states(self) -> tuple[Graph, ...]:
        """The state machine of each layer that keeps a state, as graphs that can be drawn."""
        from failwell.flow.states import states

        return states(self)

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


_MOST_QUESTIONS = 2_000
"""On one path. Each is answered anew on each path behind it, so more would take too long to wait for."""

_MOST_STEPS = 50_000
"""Of the event loop, on one path; who waits more often than that waits without end."""


class _Frame:
    """A question on the current path, and which of its answers is being tried."""

    __slots__ = ("choices", "index", "key", "last", "place")

    def __init__(self, key: tuple[Kind, str, tuple[str, ...], str], place: int) -> None:
        self.key = key
        self.place = place  # where in the trace it was asked
        kind, subject, options, layer = key
        self.choices = [Choice(kind, subject, option, options, layer) for option in options]
        self.index = 0
        # The short end of a jittered wait is tried only if it turns out that time is what decides.
        self.last = 0 if kind == "jitter" and subject.startswith("wait") else len(options) - 1


class _Search:
    """Depth-first search by replay.

    A run goes the same way as the run before it up to the question that is answered differently now. On
    that way nothing is made anew: its part of the trace is kept, and what happens is compared with it.
    """

    def __init__(self, outcomes: tuple[str, ...], make_error: Mapping[str, Callable[[str], Exception]]) -> None:
        self.outcomes = outcomes
        self.make_error = make_error
        self.loop = VirtualLoop()
        self.clock = self.loop.clock
        self.runtime: type[_ExploringRuntime] = _StraightRuntime
        self.mark = Mark(tentative=True)
        self.not_idempotent: set[str] = set()
        self.looked_at: set[int] = set()
        self.chance: Chance | None = None  # what foreign code draws lots from
        self.draws = False  # whether the policy draws lots by itself: then it gets the same ones on each path
        self.frames: list[_Frame] = []
        self.trace: list[Choice | Event] = []
        self.errors: list[BaseException] = []
        self.states: dict[int, Any] = {}
        self.timers: list[float] = []
        self.sleeps = 0
        self.lots: list[Lot] = []
        self.limits: list[tuple[float, float]] = []

    def start(self) -> None:
        """Get ready for the next run."""
        self.depth = 0  # how many questions this run has asked
        self.place = 0  # how much of the trace it has come through
        del self.trace[self.frames[-1].place if self.frames else 0 :]
        self.errors.clear()
        self.states = {}
        self.timers = []
        self.sleeps = 0
        self.lots = []
        self.limits = []
        self.expired: int | None = None
        self.recording = True
        self.mark.degraded = False
        self.fault: Exception | None = None
        self.clock.now = 0.0
        if self.draws:
            random.setstate(CHANCE)

    def choose(self, kind: Kind, subject: str, options: tuple[str, ...], layer: str) -> int:
        """The index of the answer to try on this path."""
        if not self.recording:
            return 0
        key = kind, subject, options, layer
        if self.depth == len(self.frames):
            if self.depth >= _MOST_QUESTIONS:
                raise self.goes_on()
            self.frames.append(_Frame(key, self.place))
        frame = self.frames[self.depth]
        if frame.key != key or frame.place != self.place:
            raise self.differs(f"asked {subject!r} {options}")
        self.depth += 1
        if kind != "jitter" or frame.index:  # that a wait takes its longest goes without saying
            if self.place == len(self.trace):
                self.trace.append(frame.choices[frame.index])
            self.place += 1
        return frame.index

    def happened(self, event: Any, layer: str, operation: str, own: tuple[Any, ...], named: Mapping[str, Any]) -> None:
        """Keep an event."""
        place = self.place
        if place < len(self.trace):
            before: Any = self.trace[place]
            same = type(before) is event and before[0] == layer and before[1] == operation
            if not same or before[2] != self.clock.now:
                raise self.differs(f"reported {event.__name__}")
        elif self.recording:
            made = event(layer, operation, self.clock.now, None, *own, **named)
            self.trace.append(made)
            for value in own:
                if isinstance(value, BaseException):
                    self.errors.append(value)
            if event is GaveUp and made.reason == GaveUp.NO_TIME_LEFT:
                self.time_decides()
        else:
            return
        self.place = place + 1

    def finished(self) -> None:
        """Nothing that happens from now on belongs to the path."""
        self.recording = False
        if self.fault is None and (self.depth < len(self.frames) or self.place < len(self.trace)):
            self.differs("ended")
        for error in self.errors:  # thousands of paths must not keep the frames of their errors
            _forget_frames(error)

    def differs(self, what: str) -> Exception:
        """The error for a run that leaves the way of the run before it; kept, since a policy may swallow it."""
        here = self.trace[self.place] if self.place < len(self.trace) else None
        before = f"the run before it had {here!r}" if here is not None else "the run before it went on in another way"
        self.fault = NotDeterministic(
            f"a replay {what} where {before}: the explored code keeps state between runs "
            "(keep it in situations()) or depends on the order of a set"
        )
        self.recording = False
        del self.trace[self.place :]
        return self.fault

    def goes_on(self) -> Exception:
        """The error for a run that asks on and on; kept, since a policy may swallow it."""
        so_far = Path(tuple(self.trace), None, None, 0.0)
        self.fault = TooManyPaths(self.depth, _multipliers([so_far]), endless=True)
        self.recording = False
        return self.fault

    def moment(self) -> float:
        """Virtual seconds since the run began."""
        return self.clock.now

    def time_decides(self, since: int = 0) -> None:
        """A limit of time cut this path short: the short end of its jittered waits may lead elsewhere.

        Args:
            since: How many questions were asked before what was limited began.
        """
        for frame in self.frames[since : self.depth]:
            if frame.key[0] == "jitter":
                frame.last = 1

    def advance(self) -> bool:
        """Move to the next untried answer; False when there is none."""
        while self.frames and self.frames[-1].index >= self.frames[-1].last:
            self.frames.pop()
        if not self.frames:
            return False
        self.frames[-1].index += 1
        return True

    # -- what an operation does --

    async def operation(
        self, name: str, layer: str, *, never_fails: bool = False, fails_with: Callable[[str], Exception] | None = None
    ) -> Answer:
        options = ("ok",) if never_fails else self.outcomes
        option = options[self.choose("operation", name, options, layer)]
        if option == "hang":
            await self.runtime.hang(self)
        if option != "ok":
            raise fails_with(name) if fails_with and option == "fail" else self.make_error[option](name)
        return Answer(name)

    def chain(
        self,
        layers: Sequence[Pattern],
        name: str,
        inner: Callable[..., Any],
        args: tuple[Any, ...] = (),
        fails_with: Callable[[str], Exception] | None = None,
    ) -> Any:
        """The layers around ``inner``, all on exploring runtimes; call it to get a coroutine.

        ``fails_with`` makes the error of what the innermost layer calls, where that is an operation by itself.
        """
        following = inner
        for layer, label in reversed(list(zip(layers, labels(layers), strict=True))):
            call = Call(following, args, {}, name)
            runtime = self.runtime(self, layer, label, name, fails_with)
            following = functools.partial(_run_layer, layer, call, runtime)
            args = ()
            fails_with = None
        return following

    def user_function(
        self,
        fn: Callable[..., Any],
        name: str,
        layer: str,
        args: Sequence[Any],
        fails_with: Callable[[str], Exception] | None = None,
    ) -> Any:
        """A coroutine for a function of the user's inside a pattern: itself explored where it is made of patterns."""
        if isinstance(fn, Operation):
            return self.chain((fn,), fn.__name__, _nothing_inside, tuple(args), fails_with)()
        known = protected(fn)
        if known is not None:
            return self.protected_function(known)
        says = Alternative.of(fn)
        name = name or name_of(fn)
        self.look_at(fn, name)
        never_fails = says is not None and says.never_fails
        return self.operation(name, layer, never_fails=never_fails, fails_with=fails_with)

    def look_at(self, fn: Any, name: str) -> None:
        """See what an operation says about itself."""
        if id(fn) in self.looked_at:
            return
        self.looked_at.add(id(fn))
        if getattr(fn, "__failwell_not_idempotent__", False) is True:
            self.not_idempotent.add(name)

    def protected_function(self, known: Protected[Any]) -> Any:
        layers, fn = _flat(known)
        fails_with = functools.partial(failure_of, handled_type(layers))
        if isinstance(fn, Operation):
            return self.chain((*layers, fn), known.name, _nothing_inside, (), fails_with)()
        self.look_at(fn, known.name)
        inside = functools.partial(self.operation, known.name, "", fails_with=fails_with)
        return self.chain(layers, known.name, inside)()


def _run_layer(layer: Pattern, call: Call, rt: Any, *ignored: Any) -> Any:
    return layer.run(call, rt)


async def _nothing_inside(*args: Any) -> NoReturn:
    raise TypeError("an operation has no inner layer to call")


class _ExploringRuntime(AsyncRuntime):
    """Answers every question with a choice; time is virtual, events are kept, user functions never run."""

    __slots__ = ("fails_with", "policy", "search", "shared")

    def __init__(
        self,
        search: _Search,
        policy: Pattern,
        layer: str,
        operation: str,
        fails_with: Callable[[str], Exception] | None = None,
    ) -> None:
        self.fails_with = fails_with
        self.search = search
        self.policy = policy
        self.shared = id(policy.origin)  # changed copies share their state
        self.layer = layer
        self.operation = operation
        self.function = operation

    @property
    def state(self) -> Any:
        states = self.search.states
        key = self.shared
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
        return self.search.clock.now

    wall_time = now

    def between(self, low: float, high: float, waits: bool = True) -> float:
        if low == high:
            return low
        search = self.search
        if not waits:  # a later call may come between the two, so both are tried, and no time passes here
            return (high, low)[search.choose("jitter", f"break of {self.layer}", ("longest", "shortest"), self.layer)]
        drawn = (high, low)[search.choose("jitter", f"wait of {self.layer}", ("longest", "shortest"), self.layer)]
        if search.recording:
            timers = search.timers
            search.lots.append((search.clock.now, drawn, low, high, tuple(timers) if timers else ()))
        return drawn

    def emit(self, event: Any, *args: Any, **kwargs: Any) -> None:
        self.search.happened(event, self.layer, self.operation, args, kwargs)

    async def announce(self, callback: Any, event: Any, *args: Any, **kwargs: Any) -> None:
        self.search.happened(event, self.layer, self.operation, args, kwargs)

    async def sleep(self, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.search.time_decides()
            raise

    async def wait(self, signal: Signal, timeout: float | None = None) -> bool:
        try:
            return await super().wait(signal, timeout)
        except asyncio.CancelledError:
            self.search.time_decides()
            raise

    def invoke(self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None, name: str = "") -> Any:
        return self.search.user_function(fn, name, self.layer, args, self.fails_with)

    in_thread = invoke

    async def first(self, calls: Sequence[Callable[[], Any]], delay: float) -> Any:
        search = self.search
        before = search.depth

        def later(call: Callable[[], Any]) -> Any:
            search.time_decides(before)  # a shorter wait in the calls before might have answered by now
            return call()

        return await super().first([*calls[:1], *(functools.partial(later, call) for call in calls[1:])], delay)

    async def each(self, limit: int, calls: Sequence[Callable[[], Any]]) -> None:
        for call in calls:
            await call()

    async def by(self, seconds: float, at: float | None, call: Callable[[], Any]) -> Any:
        return await super().by(seconds, None, call)  # a moment of the real clock is none here

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
        search = self.search
        search.sleeps += 1
        if search.sleeps > _MOST_STEPS:
            raise _goes_on()
        until = search.clock.now + max(0.0, seconds)
        if search.timers and min(search.timers) < until + resolution(until):
            search.time_decides()
            _time_is_up(search, min(*search.timers, until))
        search.clock.now = until

    async def wait(self, signal: Signal, timeout: float | None = None) -> bool:
        if not signal.is_set:  # nobody else is there who could set it
            await (self.hang(self.search) if timeout is None else self.sleep(timeout))
        return signal.is_set

    @staticmethod
    async def hang(search: _Search) -> None:
        due = min(search.timers, default=float("inf"))
        if due == float("inf"):
            search.finished()
            raise _NeverEnds
        _time_is_up(search, due)

    def within(self, seconds: float, call: Callable[[], Any]) -> Any:
        now = self.search.clock.now
        until = current_deadline()
        if until is None or until - now > seconds:
            return self._limited(now + seconds, call)  # one coroutine less on the way that most calls take
        return self._until_deadline(until, now, call)

    async def _until_deadline(self, until: float, now: float, call: Callable[[], Any]) -> Any:
        if until <= now or (answer := await self._limited(until, call)) is LATE:
            raise passed(until, self.operation)
        return answer

    async def by(self, seconds: float, at: float | None, call: Callable[[], Any]) -> Any:
        now = self.search.clock.now
        moment = now + seconds
        outer = current_deadline()
        if outer is not None and outer <= moment:
            return await self.within(float("inf"), call)
        if moment <= now:
            return LATE
        due = Due(moment, seconds, self.operation, outer)
        token = deadline.set(due)
        try:
            return await self._limited(moment, call)
        except DeadlineExceeded as error:
            if not due.was_met_by(error):
                raise
            return LATE
        finally:
            due.ends(token)

    async def _limited(self, due: float, call: Callable[[], Any]) -> Any:
        """Run a call; `LATE` if it is not done at a virtual moment."""
        search = self.search
        place = len(search.timers)
        search.timers.append(due)
        try:
            return await call()
        except asyncio.CancelledError:
            if search.expired != place:
                raise
            search.expired = None
            return LATE
        finally:
            if search.lots:
                search.limits.append((due, search.clock.now))
            del search.timers[place:]

    async def first(self, calls: Sequence[Callable[[], Any]], delay: float) -> Any:
        return await _ExploringRuntime.hang(self.search)  # calls that overlap need a loop: suspending asks for it

    async def shielded(self, fn: Callable[[], Any]) -> Any:
        search = self.search
        timers, expired = search.timers, search.expired
        search.timers, search.expired = [float("inf")] * len(timers), None
        try:
            with without_deadline():
                return await fn()
        except _NeverEnds:
            timers = []  # nothing comes after this
            raise
        finally:
            search.timers, search.expired = timers, expired
            now = search.clock.now
            if min(timers[:expired], default=float("inf")) < now + resolution(now):
                _time_is_up(search, now)  # a timer that could do nothing until now


def _time_is_up(search: _Search, moment: float) -> NoReturn:
    """Go to the moment at which a timer cuts a wait; of several that are due, the outermost has its way."""
    clock = search.clock
    clock.now = max(clock.now, moment)
    latest = clock.now + resolution(clock.now)
    search.expired = next(place for place, due in enumerate(search.timers) if due < latest)
    if search.expired < len(search.timers) - 1:
        search.time_decides()  # a shorter wait before the inner limit began might have let that one end first
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

    ```python
    from failwell import Retry, backoff, explore

    found = explore(Retry(2, backoff=backoff.Fixed(1)), outcomes=("ok", "fail"))
    for path in found.paths[:2]:
        print(path)
        #> operation (attempt 1) ok -> return after 0 s
        #> operation (attempt 1) fails -> wait 1 s -> operation (attempt 2) ok -> return after 1 s
    print(f"{found.report(fail=0.1).success:.2f}")
    #> 0.99
    ```

    Args:
        policy: A policy, a stack, a saga, a function decorated by a policy (its body is never run), or any other
            async function: its body runs, and each parameter without a default becomes a probe, an operation named
            after it. A parameter annotated as ``str``, ``int`` or the like is given some value of that type.
        operation: The name of the protected operation (a decorated function brings its own).
        outcomes: How an operation can end: ``"ok"``, ``"fail"``, ``"hang"``, exception types.
        limit: How many paths at most.
        progress: Called with the number of paths found so far, now and then.

    Raises:
        TooManyPaths: If there are more paths than ``limit``, or one without end.
        NotDeterministic: If the policy keeps state between runs.
        TypeError: If ``policy`` is nothing that can be explored.
    """
    _check_limit(limit)
    search, start, layers, name = _prepared(_Search, policy, operation, outcomes)
    with _exploring(search):
        paths = _all_paths(search, start, limit, progress)
        if search.chance is not None and search.chance.asked:
            search.chance.high = False
            _spread_between(paths, _all_paths(search, start, limit, progress))
    return Exploration(paths, name, layers, search.not_idempotent)


def _all_paths(search: _Search, start: _Start, limit: int, progress: Callable[[int], object] | None) -> list[Path]:
    paths: list[Path] = []
    search.frames = []
    run = start()
    while not paths or search.advance():
        if len(paths) >= limit:
            raise TooManyPaths(len(paths), _multipliers(paths))
        search.start()
        path = _one_path(search, run)
        if path is None:  # something about the policy was learned: start anew
            if search.runtime is _ExploringRuntime:
                gc.enable()  # an event loop makes garbage that is not to pile up
            search.frames = []
            run = start()
            paths.clear()
            continue
        paths.append(path)
        if progress is not None and len(paths) % 1000 == 0:
            progress(len(paths))
    return paths


def _spread_between(longest: Sequence[Path], shortest: Sequence[Path]) -> None:
    """Tell the paths of foreign code how long they take if every lot falls low."""
    low = {path.choices: path.elapsed for path in shortest}
    for path in longest:
        other = low.get(path.choices, path.elapsed)
        path.vary(min(other, path.elapsed), max(other, path.elapsed))


def follow(
    policy: Pattern | Callable[..., Any],
    *answers: str,
    operation: str = "operation",
    outcomes: Outcomes = ("ok", "fail", "hang"),
) -> Path:
    """Run a policy once, with given answers: one path, as `explore` would find it.

    ```python
    from failwell import Retry, Timeout, backoff
    from failwell.flow import follow

    stack = Retry(3, backoff.Fixed(1)) >> Timeout(5)
    path = follow(stack, "load: fail", "load: hang", "load: ok", operation="load")
    print(path.calls, path.waits, path.elapsed)
    #> {'load': 3} (1.0, 1.0) 7.0
    ```

    Args:
        policy: What `explore` takes.
        *answers: What each question is answered with, in order: ``"operation: fail"``, ``"Cache: stale"``; as the
            choices of a path are written.
        operation: The name of the protected operation (a decorated function brings its own).
        outcomes: How an operation can end.

    Raises:
        Diverged: If the policy asks another question, more of them, or fewer.
        TypeError: If ``policy`` is nothing that can be explored.
    """
    search, start, _, _ = _prepared(_Follower, policy, operation, outcomes)
    search.answers = answers
    with _exploring(search):
        path = None
        while path is None:
            search.start()
            search.next = 0
            path = _one_path(search, start())
    if search.next < len(answers):
        raise Diverged(f"the path ends ({path.ended}) before it comes to {answers[search.next]!r}; it is: {path}")
    return path


class Diverged(AssertionError):
    """A policy did not take the path that it was to follow."""


class _Follower(_Search):
    """Gives the answers that it was told."""

    answers: tuple[str, ...]
    next: int

    def choose(self, kind: Kind, subject: str, options: tuple[str, ...], layer: str) -> int:
        """The index of the answer that comes next."""
        if not self.recording:
            return 0
        given = self.answers[self.next] if self.next < len(self.answers) else None
        possible = [f"{subject}: {option}" for option in options]
        index = 0
        if given in possible:
            index = possible.index(given)
            self.next += 1
        elif len(options) > 1 and kind != "jitter":  # a question with one answer may be left out
            instead = "no answer is left" if given is None else f"the next answer is {given!r}"
            self.fault = Diverged(
                f"the policy asks for {subject!r} ({', '.join(options)}) where {instead}; "
                f"until then: {Path(tuple(self.trace), None, None, self.moment()).so_far}"
            )
            self.recording = False
            raise self.fault
        if kind != "jitter" or index:
            self.trace.append(Choice(kind, subject, options[index], options, layer))
            self.place += 1
        return index


SearchType = TypeVar("SearchType", bound="_Search")
_Start: TypeAlias = Callable[[], Callable[[], Any]]


def _prepared(
    kind: type[SearchType], policy: Any, operation: str, outcomes: Outcomes
) -> tuple[SearchType, _Start, tuple[Pattern, ...], str]:
    """A search, what makes the thing that is run again and again, its layers and its name."""
    if not isinstance(cast("Any", operation), str):
        raise TypeError(f"operation must be the name of the protected operation, got {operation!r}")
    layers, name, inner = _what(policy, operation)
    names, makers = _ways(outcomes, layers)
    search = kind(names, makers)
    search.look_at(policy, name)  # a decorated function has the marks of what it decorates
    if inner == "foreign":
        search.runtime, search.draws, search.chance = _ExploringRuntime, True, Chance()

        def start() -> Callable[[], Any]:
            return functools.partial(run_foreign, policy, search)

    else:
        inside = functools.partial(search.operation, name, "") if inner == "operation" else _nothing_inside

        def start() -> Callable[[], Any]:
            chain: Callable[[], Any] = search.chain(layers, name, inside)
            return chain

    return search, start, layers, name


@contextlib.contextmanager
def _exploring(search: _Search) -> Generator[None]:
    """What surrounds all runs of a search."""
    with outside_running_loop(), patched(search.clock), _set_apart(search), search.mark, enabled():
        try:
            if search.chance is None:
                yield
            else:
                with search.chance.patched():
                    yield
        except Unanswerable as error:
            raise TypeError(str(error)) from None


def _check_limit(limit: Any) -> None:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValueError(f"limit must be a whole number of paths of at least 1, got {limit!r}")


@contextlib.contextmanager
def _set_apart(search: _Search) -> Generator[None]:
    """Keep what surrounds the explorer out of it, and the other way round."""
    asyncio._set_running_loop(search.loop)
    no_deadline = deadline.set(None)  # one that the caller runs under is none of the policy's
    search.loop.set_exception_handler(_never_mind)
    was_on = gc.isenabled()
    if search.runtime is _StraightRuntime:
        gc.disable()  # paths hold no cycles, and going through them all again and again costs a third of the time
    borrow_chance()
    try:
        yield
    finally:
        give_chance_back()
        if was_on:
            gc.enable()
        else:
            gc.disable()
        deadline.reset(no_deadline)
        asyncio._set_running_loop(None)
        search.loop.close()


def _never_mind(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A task of the explored code that nobody asks for its error belongs to a path, not to a log."""


CHANCE = random.Random(0).getstate()
_real_chance: list[Any] = []
_chance_lock = threading.Lock()


def borrow_chance() -> None:
    """Put ``random`` into one known state, until it is given back; explorations in several threads may overlap."""
    with _chance_lock:
        _real_chance.append(_real_chance[0] if _real_chance else random.getstate())
        random.setstate(CHANCE)


def give_chance_back() -> None:
    """Let ``random`` go on from where it was before it was borrowed."""
    with _chance_lock:
        random.setstate(_real_chance.pop())


def _what(policy: Any, operation: str) -> tuple[tuple[Pattern, ...], str, Literal["operation", "nothing", "foreign"]]:
    """Layers, the operation's name, and what is inside: an operation, nothing (a saga is its own), foreign code."""
    if isinstance(policy, Operation):
        return (policy,), policy.__name__, "nothing"
    if isinstance(policy, Policy):
        return policy.layers, operation, "operation"
    known = protected(policy)
    if known is None:
        if not is_foreign(policy):
            raise TypeError(
                "explore takes a policy, a saga, a function decorated by a policy, or an async function that takes "
                f"what it calls as arguments, got {policy!r}"
            )
        parameters(policy)
        return (), name_of(policy), "foreign"
    layers, fn = _flat(known)
    if isinstance(fn, Operation):
        return (*layers, fn), known.name, "nothing"
    return layers, known.name, "operation"


def _flat(known: Protected[Any]) -> tuple[tuple[Pattern, ...], Any]:
    """All layers around a function, also where a protected method or partial was protected once more."""
    layers, fn = known.layers, known.fn
    while (inside := protected(fn)) is not None:
        layers, fn = (*layers, *inside.layers), inside.fn
    return layers, fn


def _ways(
    outcomes: Sequence[Any], layers: Sequence[Pattern]
) -> tuple[tuple[str, ...], dict[str, Callable[[str], Exception]]]:
    names: list[str] = []
    makers: dict[str, Callable[[str], Exception]] = {}
    for outcome in outcomes:
        if isinstance(outcome, type) and issubclass(outcome, Exception):
            names.append(outcome.__name__)
            makers[outcome.__name__] = functools.partial(failure_of, outcome)
        elif outcome in ("ok", "fail", "hang"):
            names.append(str(outcome))
        else:
            raise ValueError(f"outcomes are 'ok', 'fail', 'hang' and exception types, got {outcome!r}")
    if not names or len(set(names)) != len(names):
        raise ValueError(f"outcomes must be different ones, at least one, got {tuple(outcomes)!r}")
    makers["fail"] = functools.partial(failure_of, handled_type(layers))
    return tuple(names), makers


ORDINARY: tuple[type[Exception], ...] = (ConnectionError, TimeoutError, OSError, ValueError, RuntimeError)
"""Errors that operations raise every day."""


def handled_type(layers: Sequence[Pattern]) -> type[Exception]:
    """An exception that the innermost layer's ``on=`` handles; ConnectionError where it would handle anything."""
    for layer in reversed(layers):
        on: Any = getattr(layer, "on", None)
        try:
            handles = matching("on", on)
        except TypeError:  # this layer has none, or means something else by it
            continue
        given = (on,) if isinstance(on, type) else () if callable(on) else tuple(on)
        candidates: tuple[type[Exception], ...] = (*ORDINARY, *given)
        for candidate in candidates:
            with contextlib.suppress(Exception):  # a predicate that looks for more than this error has
                if handles(failure_of(candidate, "operation")):
                    return candidate
        break
    return ConnectionError


def failure_of(error_type: type[Exception], name: str) -> Exception:
    try:
        return error_type(f"{name} failed")
    except Exception:  # it wants other arguments than a message
        return error_type.__new__(error_type)


def _one_path(search: _Search, run: Callable[[], Any]) -> Path | None:
    """Follow the current choices to their end; None if that needs an event loop, or the same lots each time."""
    if search.runtime is _StraightRuntime:
        ended, result, error = _straight(search, run)
        if not ended:
            search.runtime = _ExploringRuntime
            _clear(search.loop)
            return None
    else:
        result, error = _on_loop(search, run)
    if error is not None and not isinstance(error, (Exception, _NeverEnds, asyncio.CancelledError, SystemExit)):
        raise _in_group(error)  # Ctrl-C says nothing about the policy
    search.finished()
    if search.fault is not None:
        if search.draws or not isinstance(search.fault, NotDeterministic):
            raise search.fault
        search.draws = True
        return None
    trace = tuple(search.trace)
    if error is None:
        now = search.clock.now
        between = spread(now, search.lots, search.limits) if search.lots else None
        return Path(trace, result, None, now, search.mark.degraded, between)
    if isinstance(error, _NeverEnds):
        return Path(trace, None, None, float("inf"))
    _forget_frames(error)
    now = search.clock.now
    between = spread(now, search.lots, search.limits) if search.lots else None
    return Path(trace, None, error, now, False, between)


def _goes_on() -> Unanswerable:
    return Unanswerable("it goes on without end: it waits again and again and calls nothing")


def _in_group(error: BaseException) -> BaseException:
    """What a task group wrapped, if it is for us."""
    inside: tuple[BaseException, ...] = getattr(error, "exceptions", ())
    return next((one for one in map(_in_group, inside) if isinstance(one, Unanswerable)), error)


def _forget_frames(error: BaseException) -> None:
    """Let go of the frames that an error, and those that it came from, went through."""
    left: list[Any] = [error]
    while left:
        one = left.pop()
        if isinstance(one, BaseException) and one.__traceback__ is not None:
            one.__traceback__ = None
            beside = getattr(one, "also_failed", ())
            left += [one.__cause__, one.__context__, *(beside if isinstance(beside, tuple) else ())]


def _straight(search: _Search, run: Callable[[], Any]) -> tuple[bool, Any, BaseException | None]:
    """Run to the end without a loop; False first if that cannot be done: it suspends, or has work done elsewhere."""
    coroutine = run()
    result = error = None
    try:
        copy_context().run(coroutine.send, None)
    except StopIteration as done:
        result = done.value
    except BaseException as raised:
        error = raised
    else:
        search.recording = False
        with contextlib.suppress(BaseException):  # whatever its cleanup does: this run does not count
            coroutine.close()
        return False, None, None
    return not search.loop._ready, result, error  # type: ignore[attr-defined] # what asyncio keeps callbacks in


def _on_loop(search: _Search, run: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    loop = search.loop
    task: asyncio.Task[Any] = asyncio.Task(run(), loop=loop)
    try:
        for _ in range(_MOST_STEPS):
            if task.done():
                break
            loop._run_once()  # type: ignore[attr-defined]
        else:
            if any(isinstance(item, Choice) and item.option == "hang" for item in search.trace):
                return None, _NeverEnds()  # something beside what hangs goes on
            raise _goes_on()
    except Deadlock:
        return None, _NeverEnds()
    except SystemExit as ended:  # a task passes it on to its loop
        return None, ended
    finally:
        search.finished()
        moment = loop.clock.now
        _clear(loop)
        loop.clock.now = moment
        loop._scheduled.clear()  # type: ignore[attr-defined] # timers that nobody waits for any more
    if task.cancelled():
        return None, asyncio.CancelledError()
    error = task.exception()
    return (None, error) if error is not None else (task.result(), None)


def _clear(loop: VirtualLoop) -> None:
    """Cancel what a path left behind; what will not end after a few requests is left alone."""
    for _ in range(3):
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        with contextlib.suppress(Deadlock):
            while not all(task.done() for task in left):
                loop._run_once()  # type: ignore[attr-defined]
        for task in left:
            if task.done() and not task.cancelled():
                task.exception()  # retrieved, so that asyncio does not report it as lost


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
