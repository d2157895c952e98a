"""The state machine of a layer, found by running it.

Calls that answer, calls that fail, calls that stay under way and time that passes are tried one after the
other, breadth first, each sequence from the start on a fresh state in virtual time. What the layer calls
its situation becomes a box; what leads from one to another, and how often it has to happen, an arrow.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import inspect
import math
import random
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast

from failwell.derive import Call
from failwell.errors import NotDeterministic, TooManyStates
from failwell.events import Event, Role
from failwell.flow.explore import CHANCE, borrow_chance, failure_of, give_chance_back, handled_type
from failwell.flow.graph import Edge, Graph, Node
from failwell.flow.path import Answer
from failwell.flow.story import seconds
from failwell.policy import Pattern, labels, protected
from failwell.runtime import Alternative, AsyncRuntime, Mark, Signal, deadline, name_of
from failwell.virtual import VirtualLoop, outside_running_loop, patched, resolution

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration

__all__ = ["StateMachine", "keeps_state", "state_machine", "states", "transitions"]


class StateMachine(Graph):
    """A state machine as data: a box for each situation of a layer, an arrow for each way between them."""

    kind: ClassVar = "states"


def states(exploration: Exploration) -> tuple[Graph, ...]:
    """The state machine of each layer that keeps a state, outermost first.

    Args:
        exploration: What was explored.

    Raises:
        TooManyStates: If a layer has more states than can be looked at.
    """
    named = zip(exploration.layers, labels(exploration.layers), strict=True)
    return tuple(state_machine(layer, label) for layer, label in named if keeps_state(layer))


def transitions(policy: Any, layer: str, *, limit: int = 2_000) -> list[str]:
    """The state machine of one layer in words, such as ``"closed -> 5 failures, CircuitOpened -> open"``.

    Args:
        policy: What `explore` takes.
        layer: The layer's label, e.g. ``"CircuitBreaker"``.
        limit: How many states at most, see `state_machine`.

    Raises:
        LookupError: If there is no such layer.
        TooManyStates: If there are more states than ``limit``.
    """
    from failwell.flow.explore import explore

    found = explore(policy, outcomes=("ok",)).layers
    known = dict(zip(labels(found), found, strict=True))
    if layer not in known:
        raise LookupError(f"there is no layer {layer!r}; there are {', '.join(known) or 'none'}")
    machine = state_machine(known[layer], layer, limit=limit)
    told: list[str] = []
    for edge in machine.edges:
        how = ", ".join(filter(None, (edge.label, edge.detail)))
        ends = machine.nodes[edge.source].title, how, machine.nodes[edge.target].title
        told.append(" -> ".join(filter(None, ends)))
    return told


def keeps_state(layer: Pattern) -> bool:
    """Whether a layer has a state machine: several situations, and a way to tell which one it is in.

    Args:
        layer: A pattern.
    """
    return len(layer.situations()) > 1 and type(layer).situation is not Pattern.situation


def state_machine(layer: Pattern, label: str | None = None, *, limit: int = 2_000) -> Graph:
    """The state machine of one layer: its situations, and what leads from one to another.

    ```python
    from failwell import CircuitBreaker
    from failwell.flow.states import state_machine

    machine = state_machine(CircuitBreaker(failure_threshold=3, recovery_timeout=30))
    for edge in machine.edges[1:]:
        print(f"{machine.nodes[edge.source].title} -> {machine.nodes[edge.target].title}: {edge.label}")
        #> closed -> open: 3 failures
        #> open -> half-open: after 30 s
        #> half-open -> closed: ok
        #> half-open -> open: fails
    ```

    One action is repeated until the situation changes or the state is one that was met before; where the state
    is a new one each time, as often as the layer's parameters could count to. Actions that take turns are
    tried as well, breadth first, but not without end. Functions of the user's are never called.

    Args:
        layer: A pattern with ``situations()`` and ``situation()``.
        label: What the layer is called; by default its own label.
        limit: How many states at most one repeated action may come through.

    Raises:
        TypeError: If the layer does not say which situation it is in.
        TooManyStates: If there are more states than ``limit``.
        NotDeterministic: If the layer keeps state outside of ``situations()``.
    """
    if isinstance(limit, bool) or not isinstance(cast("Any", limit), int) or limit < 1:
        raise ValueError(f"limit must be a whole number of states of at least 1, got {limit!r}")
    if not isinstance(cast("Any", layer), Pattern) or not keeps_state(layer):
        raise TypeError(f"{layer!r} has no state machine: it needs situations(), several, and situation(state, now)")
    label = layer.label if label is None else label
    world = _World(layer, label)
    with outside_running_loop(), patched(world.loop.clock), world.set_apart():
        machine = _Machine(world, limit)
        machine.search()
    return _drawn(machine, layer, label)


# --- what can happen ---------------------------------------------------------------------------------


class _Action(NamedTuple):
    """One thing that happens to a layer.

    ``ok``, ``fail``: a call that answers or fails at once. ``hang``: one that waits or stays under way. ``slow``:
    one that answers after some seconds. ``end``, ``break``: the oldest call under way answers or fails.
    ``pass``: nothing but time. ``answer`` is which answer the user's functions give, ``low``
    whether what is random comes out at its lowest; otherwise it is at its highest.
    """

    kind: Literal["ok", "fail", "hang", "slow", "end", "break", "pass"]
    seconds: float = 0.0
    answer: int = 0
    low: bool = False


class _Seen(NamedTuple):
    """What came of an action.

    Attributes:
        counts: Whether it was something of its own, and left a trace where it had to.
        called: Whether the operation was called.
        end: How the call ended: ``"answer"``, ``"degraded"``, ``"under way"``, ``"waits"`` or an error's type.
        events: What was reported.
        asked: What functions of the user's were asked, and their possible answers.
    """

    counts: bool
    called: bool = False
    end: str = ""
    events: tuple[Event, ...] = ()
    asked: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @property
    def refused(self) -> bool:
        """Whether an error came without a call."""
        return not self.called and self.end not in ("", "answer", "degraded", "waits")


_PASS: Literal["pass"] = "pass"


class _Moment(float):
    """A monotonic time, as opposed to a number of seconds or a count: what is computed from it knows that."""

    __slots__ = ()

    def __add__(self, other: float) -> Any:
        return _Moment(float(self) + other)

    __radd__ = __add__

    def __sub__(self, other: float) -> Any:
        left = float(self) - other
        return left if isinstance(other, _Moment) else _Moment(left)

    def __rsub__(self, other: float) -> Any:
        return other - float(self)


class _Script:
    """One call: how its operation ends, and what became of it so far."""

    __slots__ = ("action", "answers", "asked", "called", "task")

    def __init__(self, action: _Action) -> None:
        self.action = action
        self.called = False
        self.answers: list[asyncio.Future[Any]] = []  # of operations that are under way
        self.asked: list[tuple[str, tuple[Any, ...]]] = []
        self.task: asyncio.Task[Any]

    @property
    def is_under_way(self) -> bool:
        return not self.task.done() and any(not answer.done() for answer in self.answers)


class _World:
    """A layer in virtual time, its state, and the calls that are in it."""

    def __init__(self, layer: Pattern, label: str) -> None:
        self.layer = layer
        self.label = label
        self.loop = VirtualLoop()
        self.heard: list[Event] = []
        self.calls: list[_Script] = []
        self.state: Any = None
        self.acts = 0  # how much was done so far
        self.turns = 0  # of the loop, since then
        self.horizon = math.inf  # how old a moment must be for its age not to matter
        self._taken: Any = None
        self._error_type = handled_type((layer,))

    @contextlib.contextmanager
    def set_apart(self) -> Generator[None]:
        """Keep what surrounds this world out of it."""
        asyncio._set_running_loop(self.loop)
        no_deadline = deadline.set(None)  # one that the caller runs under is none of the layer's
        borrow_chance()
        try:
            yield
        finally:
            with contextlib.suppress(BaseException):  # what a call raises while it is cleared away was told before
                self.clear()
            give_chance_back()
            deadline.reset(no_deadline)
            asyncio._set_running_loop(None)
            self.loop.close()

    def start(self, make: Callable[[], Any]) -> None:
        """Begin anew, in a fresh state."""
        self.clear()
        self._taken = None
        self.turns = 0
        random.setstate(CHANCE)
        self.loop.clock.now = _Moment(0.0)
        self.state = make()

    def clear(self) -> None:
        """Forget all calls."""
        for _ in range(3):
            for call in self.calls:
                call.task.cancel()
            self._settle()
            self._let_go()
        self.loop._scheduled.clear()  # type: ignore[attr-defined] # timers that nobody waits for any more
        self.calls.clear()

    @property
    def now(self) -> _Moment:
        """The virtual time."""
        return cast("_Moment", self.loop.clock.now)

    def situation(self, later: float = 0.0) -> str:
        """Which situation the layer is in, or will be in if nothing happens for some seconds."""
        return self.layer.situation(self.state, self.now + later)

    def key(self) -> tuple[Any, ...]:
        """What is equal for equal states."""
        under_way = sum(one.is_under_way for one in self.calls)
        return self.situation(), self._print(), len(self.calls) - under_way, under_way

    def _print(self) -> Any:
        """The fingerprint of the state; taken once, until something happens."""
        if self._taken is None:
            self._taken = _fingerprint(self.state, self.now, self.horizon)
        return self._taken

    def act(self, action: _Action, *, again: bool = False) -> _Seen:
        """Let something happen.

        Args:
            action: What happens.
            again: Whether it is known that it counts.
        """
        self.acts += 1
        self.turns = 0
        self.heard.clear()
        if action.kind == _PASS:
            self._taken = None
            self._pass(action.seconds)
            return self._seen(True)
        if action.kind in ("end", "break"):
            self._taken = None
            under_way = [one for one in self.calls if one.is_under_way]
            if not under_way:
                return _Seen(False)
            self._end(under_way[0], action.kind == "end")
            return self._seen(True)
        before = None if again else self._print()
        self._taken = None
        script = self._call(action)
        if script.task.done() or action.kind in ("ok", "fail"):
            is_over = script.task.done() and action.kind in ("ok", "fail")
            return self._seen(is_over and (action.kind == "ok" or script.called), script)
        left_a_trace = again or before != self._print()
        self._taken = None
        if action.kind == "slow":
            if (left_a_trace and not again) or not script.is_under_way:
                return self._seen(False, script)
            self._pass(action.seconds)
            if script.is_under_way:
                self._end(script, True)
            return self._seen(script.task.done(), script)
        return self._seen(left_a_trace, script)

    def _seen(self, counts: bool, script: _Script | None = None) -> _Seen:
        self._let_go()
        if script is None:
            return _Seen(counts, events=tuple(self.heard))
        if not script.task.done():
            end = "under way" if script.is_under_way else "waits"
        elif script.task.cancelled():
            end = "CancelledError"
        else:
            error = script.task.exception()
            end = script.task.result() if error is None else type(error).__name__
        return _Seen(counts, script.called, end, tuple(self.heard), tuple(script.asked))

    def _call(self, action: _Action) -> _Script:
        script = _Script(action)
        self.calls.append(script)
        script.task = asyncio.Task(self._run(script), loop=self.loop)
        self._settle()
        return script

    async def _run(self, script: _Script) -> str:
        rt = _Runtime(self, script)
        with Mark(tentative=True) as mark:
            await self.layer.run(Call(rt.operate, (), {}, "operation"), cast("Any", rt))
        return "degraded" if mark.degraded else "answer"

    def _end(self, script: _Script, well: bool) -> None:
        for answer in script.answers:
            if not answer.done() and well:
                answer.set_result(Answer("operation"))
            elif not answer.done():
                answer.set_exception(self.failure("operation"))
        self._settle()

    def failure(self, name: str) -> Exception:
        """An error that the layer handles, if it handles any."""
        return failure_of(self._error_type, name)

    def _pass(self, left: float) -> None:
        clock = self.loop.clock
        until = self.now + left
        while (due := self.next_timer()) is not None and due <= until + resolution(until):
            clock.now = _Moment(max(clock.now, due))
            self._settle()
        clock.now = _Moment(max(clock.now, until))
        self._settle()

    def next_timer(self) -> float | None:
        """When something happens by itself, if something does."""
        timers = cast("list[asyncio.TimerHandle]", self.loop._scheduled)  # type: ignore[attr-defined] # asyncio's heap
        return min((timer.when() for timer in timers if not timer.cancelled()), default=None)

    def _settle(self) -> None:
        """Let everything happen that needs no time."""
        loop: Any = self.loop
        while loop._ready or ((due := self.next_timer()) is not None and due <= self.now + resolution(self.now)):
            loop._run_once()
            self.turns += 1
            if self.turns > _TURNS:
                raise TooManyStates(self.label, self.turns, "a wait of next to no time")

    def _let_go(self) -> None:
        """Of calls that are over nothing is kept; Ctrl-C ends everything."""
        for one in self.calls:
            if one.task.done() and not one.task.cancelled():
                error = one.task.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
        self.calls = [one for one in self.calls if not one.task.done()]


_TURNS = 100_000
"""How often the loop may turn for one action: a layer that looks again and again in no time would never settle."""


class _Runtime(AsyncRuntime):
    """What one call of a layer asks: its operation ends as the script says, and functions of the user's never run."""

    __slots__ = ("script", "world")

    def __init__(self, world: _World, script: _Script) -> None:
        super().__init__(world.label, "operation", world.state, "operation")
        self.world = world
        self.script = script

    def now(self) -> float:
        return self.world.now

    wall_time = now

    def between(self, low: float, high: float, waits: bool = True) -> float:
        return low if self.script.action.low else high

    def emit(self, event: Any, *args: Any, **kwargs: Any) -> None:
        self.world.heard.append(event(self.layer, self.operation, self.world.now, None, *args, **kwargs))

    async def announce(self, callback: Any, event: Any, *args: Any, **kwargs: Any) -> None:
        self.emit(event, *args, **kwargs)

    async def invoke(self, fn: Callable[..., Any], args: Sequence[Any] = (), kwargs: Any = None, name: str = "") -> Any:
        known = protected(fn)
        name = name or (known.name if known else name_of(fn))
        says = Alternative.of(fn)
        if says is not None and says.never_fails:
            return Answer(name)
        return await self.operate(name=name)

    in_thread = invoke

    async def decide(self, question: str, options: Sequence[Any], fn: Callable[..., Any], *args: Any) -> Any:
        if len(options) > 1:
            self.script.asked.append((question, tuple(options)))
        return options[min(self.script.action.answer, len(options) - 1)]

    async def operate(self, *args: Any, name: str = "operation") -> Answer:
        """What stands for the operation."""
        script = self.script
        script.called = True
        if script.action.kind in ("hang", "slow"):
            answer: asyncio.Future[Any] = self.world.loop.create_future()
            script.answers.append(answer)
            await answer
        elif script.action.kind == "fail":
            raise self.world.failure(name)
        return Answer(name)


# --- when two states are one -------------------------------------------------------------------------

_type_of: Callable[[Any], Any] = type
_ALIKE = frozenset({"_thread", "threading", "_asyncio", "asyncio", "contextvars", "_contextvars", "weakref", "random"})
"""Where things come from that say nothing about a state: locks, loops, futures, tasks."""


def _fingerprint(state: Any, now: float, horizon: float) -> Any:
    """The structure of a state as plain data; moments become relative to now, not further back than the horizon."""
    met: dict[int, int] = {}
    here = float(now)

    def of_moment(value: float) -> tuple[str, float]:
        return "moment", max(round(float.__sub__(value, here), 9), -horizon)

    def of(value: Any) -> Any:
        if isinstance(value, _Moment):
            return of_moment(value)
        if value is None or isinstance(value, (bool, int, str, bytes)):
            return value
        if isinstance(value, float):
            return round(value, 9)
        if isinstance(value, enum.Enum):
            return type(value).__name__, value.name
        if isinstance(value, Signal):
            return value.is_set
        if isinstance(value, BaseException):
            return type(value).__name__
        kind = _type_of(value)
        root = kind.__module__.partition(".")[0]
        if root in _ALIKE or isinstance(value, Pattern) or inspect.isroutine(value) or isinstance(value, type):
            return kind.__name__
        if hasattr(kind, "__fingerprint__"):  # it says itself that nothing in it makes a difference
            return kind.__name__
        if id(value) in met:
            return "again", met[id(value)]
        met[id(value)] = len(met)
        if isinstance(value, Mapping):
            pairs: Iterable[tuple[Any, Any]] = cast("Any", value).items()
            return kind.__name__, tuple((of(key), of(inner)) for key, inner in pairs)
        if isinstance(value, (set, frozenset)):
            return kind.__name__, tuple(sorted(map(of, cast("Iterable[Any]", value)), key=repr))
        if isinstance(value, (list, tuple, deque)):
            many = cast("Iterable[Any]", value)
            return kind.__name__, tuple([of_moment(one) if _type_of(one) is _Moment else of(one) for one in many])
        return kind.__name__, tuple((name, of(getattr(value, name))) for name in _attributes(value))

    return of(state)


def _attributes(value: Any) -> list[str]:
    """The names of what an object keeps, in its dict and in slots."""
    names: dict[str, None] = {}
    for one in type(value).__mro__:
        slots: Any = vars(one).get("__slots__", ())
        names |= dict.fromkeys(slots if not isinstance(slots, str) else (slots,))
    names |= dict.fromkeys(getattr(value, "__dict__", {}))
    return [name for name in names if name not in ("__dict__", "__weakref__") and hasattr(value, name)]


# --- searching ---------------------------------------------------------------------------------------


class _Entry(NamedTuple):
    """A state in which a situation was entered, and how to come there: by actions, through other situations."""

    situation: str
    make: Callable[[], Any]
    actions: tuple[_Action, ...]
    key: tuple[Any, ...]
    through: tuple[str, ...] = ()


class _Way(NamedTuple):
    """What leads from one situation to another.

    Attributes:
        runs: What is done, and how often.
        events: What is reported when the situation changes, if it is not what each call reports.
        answer: What a function of the user's has to say to it.
        waits: Whether the calls wait for their turn.
        visit: The how manyth time the situation has to be entered before this leads out of it.
        more: Whether there are such calls already.
    """

    runs: tuple[tuple[_Action, int], ...]
    events: tuple[Event, ...]
    answer: str = ""
    waits: bool = False
    visit: int = 1
    more: bool = False


class _Place:
    """What is known of a situation."""

    def __init__(self, name: str, *, reached: bool) -> None:
        self.name = name
        self.reached = reached  # by what calls and time do
        self.calls: dict[str, _Seen] = {}
        self.at_once: int | None = None  # how many calls it lets through at once
        self.everyday = set[type[Event]]()  # what is reported in it all the time
        self.refuses_by = ""  # the question whose answer decides whether a call is refused
        self.cut_short = False  # whether there was more to try


_MIXTURES = 4_000
"""How much is tried in a situation where actions take turns."""
_ROUNDS = 24
"""How often a situation may be left for one that is known already, in states that are new, without anything else."""
_PATIENCE = 256
"""How often an action is repeated at least that leaves another state each time, but the same situation."""


class _Machine:
    """Searches for situations, and for ways between them."""

    def __init__(self, world: _World, limit: int) -> None:
        self.world = world
        self.limit = limit
        self.places: dict[str, _Place] = {}
        self.ways: dict[tuple[str, str], list[_Way]] = {}
        numbers = list(_numbers(world.layer))
        self.durations = sorted({float(value) for value, is_duration in numbers if is_duration})
        world.horizon = 4 * sum(self.durations)
        counts = [int(value) for value, is_duration in numbers if not is_duration]
        self.rounds = min(2 * max(counts, default=0), _ROUNDS)
        self.patience = max(_PATIENCE, 2 * math.ceil(sum(value for value, _ in numbers)))

    def search(self) -> None:
        """Find everything: from the first situation, then from those that nothing led to."""
        for number, (name, make) in enumerate(self.world.layer.situations().items()):
            if name in self.places:
                continue
            self.world.start(make)
            if number and self.world.situation() != name:
                continue  # only the explorer tells it from another one
            self._search_from(_Entry(self.world.situation(), make, (), self._key()), reached=number == 0)

    def _search_from(self, start: _Entry, *, reached: bool) -> None:
        """Lap after lap, until so many have brought nothing new that no parameter counts any further."""
        lap, met, barren = [start], {start.key}, 0
        while lap:
            following: list[_Entry] = []
            something_new = False
            for entry in lap:
                is_first = entry.situation not in self.places
                if is_first:
                    self.places[entry.situation] = _Place(entry.situation, reached=reached)
                known = set(self.ways)
                for after, way in self._leave(entry, is_first):
                    pair = entry.situation, after.situation
                    if pair not in known:
                        visit = entry.through.count(entry.situation) + 1
                        self.ways.setdefault(pair, []).append(way._replace(visit=visit))
                        something_new = True
                    if after.key not in met:
                        met.add(after.key)
                        following.append(after._replace(through=(*entry.through, entry.situation)))
            # What comes round again in another state may lead elsewhere in the end: the fifth probe that fails.
            barren = 0 if something_new else barren + 1
            lap = following if barren <= self.rounds else []

    def _leave(self, entry: _Entry, is_first: bool) -> Generator[tuple[_Entry, _Way]]:
        """The ways out of a situation: first by doing one thing again and again, then by taking turns."""
        left: set[str] = set()
        if is_first:
            self.places[entry.situation].refuses_by = self._refuses_by(entry)
        self._go_to(entry)
        waits = self._waits(entry.situation, ())
        actions = deque([*self._calls(), *(_Action(_PASS, wait) for wait in waits[:1])])
        asked = False
        while actions:
            action = actions.popleft()
            self._go_to(entry)
            before = {entry.key}
            for count in range(1, self.patience + 1):
                seen = self.world.act(action)
                if is_first and count == 1 and not action.answer:
                    self.places[entry.situation].calls.setdefault(action.kind, seen)
                if seen.asked and not asked:
                    asked = True
                    options = max(len(options) for _, options in seen.asked)
                    for number in range(1, options):
                        actions += [_Action("ok", answer=number), _Action("fail", answer=number)]
                if not seen.counts:
                    if is_first and action.kind == "hang" and count > 1 and seen.refused:
                        self.places[entry.situation].at_once = count - 1
                    break
                key = self._key()
                if key[0] != entry.situation:
                    left.add(key[0])
                    if action.kind == "slow":
                        action = self._quickest(entry, action, count)
                        self._go_to(entry, (action,) * count)
                        key = self._key()
                    after = _Entry(key[0], entry.make, (*entry.actions, *[action] * count), key)
                    way = _way(((action, count),), seen)
                    yield after, way._replace(more=entry.key[2 if way.waits else 3] > 0)
                    break
                self.places[key[0]].everyday |= set(map(type, seen.events))
                if key in before or action.kind == _PASS:
                    break
                before.add(key)
                self.places[entry.situation].cut_short |= count == self.patience
                if count >= self.limit:
                    raise TooManyStates(self.world.label, count, action.kind)
        if is_first:
            yield from self._mix(entry, left)

    def _mix(self, entry: _Entry, left: set[str]) -> Generator[tuple[_Entry, _Way]]:
        """Sequences of different actions, the shortest first."""
        met = {entry.key}
        waiting: deque[tuple[tuple[_Action, ...], tuple[Any, ...]]] = deque([((), entry.key)])
        last = self.world.acts + _MIXTURES
        while waiting and self.world.acts < last:
            done, here = waiting.popleft()
            is_there = False
            for action in self._choices(entry, done):
                if not is_there:
                    self._go_to(entry, done, here)
                seen = self.world.act(action)
                is_there = False
                if not seen.counts:
                    continue
                key = self._key()
                is_there = key == here
                if key[0] != entry.situation:
                    if key[0] not in left:
                        left.add(key[0])
                        runs = _runs((*done, action))
                        yield _Entry(key[0], entry.make, (*entry.actions, *done, action), key), _way(runs, seen)
                elif key not in met:
                    met.add(key)
                    waiting.append(((*done, action), key))
        self.places[entry.situation].cut_short |= bool(waiting)

    def _refuses_by(self, entry: _Entry) -> str:
        """The question on which it depends whether a call is refused here; none if all are refused, or none is."""
        self._go_to(entry)
        asked = self.world.act(_Action("ok")).asked
        if not asked:
            return ""
        question, options = max(asked, key=lambda one: len(one[1]))
        ends = set[bool]()
        for number in range(len(options)):
            for low in (False, True):
                self._go_to(entry)
                ends.add(self.world.act(_Action("ok", answer=number, low=low)).refused)
        return question if len(ends) > 1 else ""

    def _choices(self, entry: _Entry, done: tuple[_Action, ...]) -> Generator[_Action]:
        """What can happen next; time does not pass twice in a row, and first only where calls need no operation."""
        yield from self._calls()
        seen = self.places[entry.situation].calls.get("ok")
        answers_by_itself = seen is not None and seen.end == "answer" and not seen.called
        if done[-1].kind != _PASS if done else answers_by_itself:
            self._go_to(entry, done)
            retry_after = self._retry_after()
            self._go_to(entry, done)
            for wait in self._waits(entry.situation, retry_after):
                yield _Action(_PASS, wait)

    def _calls(self) -> list[_Action]:
        slow = [_Action("slow", duration) for duration in self.durations]
        return [_Action("ok"), _Action("fail"), _Action("hang"), _Action("end"), _Action("break"), *slow]

    def _retry_after(self) -> tuple[float, ...]:
        """After how many seconds a call that is refused here may come back."""
        events = self.world.act(_Action("ok")).events
        said = [getattr(event, "retry_after", None) for event in events]
        return tuple(float(value) for value in said if isinstance(value, (int, float)) and 0 < value < math.inf)

    def _waits(self, situation: str, more: Iterable[float]) -> list[float]:
        """How long time may pass: until the situation changes by itself, and what parameters and rejections say."""
        world = self.world
        due = world.next_timer()
        until = math.inf if due is None else max(due - world.now, 0.0)
        change = _first_change(lambda wait: world.situation(wait) != situation, self.durations)
        last = min(change, until)
        found = {wait for wait in (*self.durations, *more) if wait < last}
        return [*([last] if last < math.inf else []), *sorted(found)]

    def _quickest(self, entry: _Entry, action: _Action, count: int) -> _Action:
        """The same slow call, no slower than it has to be."""

        def changed(duration: float) -> bool:
            self._go_to(entry)
            for _ in range(count):
                self.world.act(_Action("slow", duration))
            return self.world.situation() != entry.situation

        return _Action("slow", _first_change(changed, (), (action.seconds,)))

    def _key(self) -> tuple[Any, ...]:
        return self.world.key()

    def _go_to(self, entry: _Entry, done: tuple[_Action, ...] = (), key: tuple[Any, ...] | None = None) -> None:
        self.world.start(entry.make)
        for action in (*entry.actions, *done):
            self.world.act(action, again=True)
        if (key or (entry.key if not done else None)) not in (None, self._key()):
            raise NotDeterministic(
                f"{self.world.label} came to another state when the same was done again: "
                "it keeps state between runs; keep it in situations()"
            )


def _first_change(
    changed: Callable[[float], bool], likely: Sequence[float], probes: Iterable[float] | None = None
) -> float:
    """After how many seconds something changes for the first time; infinite if it does not."""
    if probes is None:
        sums = (one + other for one in likely for other in likely)
        probes = sorted({*likely, *sums, *(2.0**n for n in range(-20, 36))})
    before = 0.0
    for probe in probes:
        if changed(probe):
            low, high = before, probe
            while high - low > 2e-12 * high:
                middle = (low + high) / 2
                low, high = (low, middle) if changed(middle) else (middle, high)
            rounded = float(f"{high:.9g}")
            return rounded if changed(rounded) else high
        before = probe
    return math.inf


def _numbers(thing: Any, depth: int = 2) -> Generator[tuple[float, bool]]:
    """The numbers among the parameters of a layer, and whether each may be a duration."""
    with contextlib.suppress(TypeError, ValueError):
        for name, parameter in inspect.signature(_type_of(thing)).parameters.items():
            value = getattr(thing, name, None)
            if isinstance(value, bool) or value is None:
                continue
            if isinstance(value, (int, float)):
                if 0 < value < math.inf:
                    yield value, "float" in _type_names(parameter.annotation)
            elif depth and not callable(value) and not isinstance(value, (str, bytes, enum.Enum, Pattern)):
                yield from _numbers(value, depth - 1)


def _type_names(annotation: Any) -> list[str]:
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return [part.strip() for part in text.split("|")]


def _runs(actions: Iterable[_Action]) -> tuple[tuple[_Action, int], ...]:
    found: list[tuple[_Action, int]] = []
    for action in actions:
        if found and found[-1][0] == action:
            found[-1] = action, found[-1][1] + 1
        else:
            found.append((action, 1))
    return tuple(found)


def _way(runs: tuple[tuple[_Action, int], ...], seen: _Seen) -> _Way:
    answer = ""
    if seen.asked and runs[-1][0].answer:
        question, options = seen.asked[-1]
        answer = f"{question}: {options[min(runs[-1][0].answer, len(options) - 1)]}"
    return _Way(runs, seen.events, answer, seen.end == "waits")


# --- drawing -----------------------------------------------------------------------------------------


def _drawn(machine: _Machine, layer: Pattern, label: str) -> Graph:
    """The graph of what was found."""
    places = list(machine.places.values())
    number = {place.name: n for n, place in enumerate(places, 1)}
    nodes = [
        Node(0, "start", "operation", "start"),
        *(
            Node(number[place.name], "event", _role(place, machine), place.name, tuple(_details(place)), label)
            for place in places
        ),
    ]
    edges = [Edge(0, 1)]
    for place in _perhaps_not_all_of(machine):
        node = nodes[number[place.name]]
        nodes[node.id] = node._replace(details=(*node.details, "may have more ways out"))
    for (source, target), ways in machine.ways.items():
        everyday = machine.places[source].everyday
        for words, role, way in _told(ways):
            reports = [type(event).__name__ for event in way.events if type(event) not in everyday]
            edges.append(Edge(number[source], number[target], words, role, reports[-1] if reports else ""))
    return StateMachine(nodes, edges, repr(layer), [None] * len(nodes))


def _perhaps_not_all_of(machine: _Machine) -> list[_Place]:
    """The situations where there was more to try, and from which no way leads back to the first one."""
    back = {next(iter(machine.places))}
    while more := {source for source, target in machine.ways if target in back and source not in back}:
        back |= more
    found = [place for place in machine.places.values() if place.cut_short and place.name not in back]
    # Where every call is refused, only time leads out: when it does is looked for without a bound.
    return [place for place in found if "ok" in place.calls and not place.calls["ok"].refused]


def _role(place: _Place, machine: _Machine) -> Role:
    """What colour and shape fit what becomes of calls; where they need no operation, what has led there."""
    seen = [place.calls[kind] for kind in ("ok", "fail") if kind in place.calls]
    if any(one.refused for one in seen):
        return "error"
    if any(one.end == "waits" or any(event.role == "recovery" for event in one.events) for one in seen):
        return "recovery"
    leading = [role for (_, to), ways in machine.ways.items() if to == place.name for _, role, _ in _told(ways) if role]
    if seen and not seen[0].called and leading and set(leading) == {"error"}:
        return "error"
    return "success" if not seen or not seen[0].called or not seen[0].events else "operation"


def _details(place: _Place) -> Generator[str]:
    """What becomes of a call."""
    good, bad = (place.calls.get(kind, _Seen(False)) for kind in ("ok", "fail"))
    if not place.reached:
        yield "no call leads here"
    if good.called or place.refuses_by:
        passing = f"calls pass or are refused, by {place.refuses_by}" if place.refuses_by else "calls pass"
        yield f"{passing}, {place.at_once} at a time" if place.at_once else passing
    elif good.end == "waits":
        yield "calls wait"
    elif good.refused:
        yield f"refused: {good.end}"
    elif good.end:
        yield "answered without a call"
    if bad.called and bad.end in ("answer", "degraded"):
        yield f"a failure gets {'a degraded' if bad.end == 'degraded' else 'an'} answer"


def _told(ways: Sequence[_Way]) -> Generator[tuple[str, str, _Way]]:
    """Words and role of each way that is worth an arrow: what a call does, then what else does it."""
    by_answer: dict[str, list[_Way]] = {}
    for way in ways:
        by_answer.setdefault(way.answer, []).append(way)
    for answer, alike in by_answer.items():
        for words, role, way in _told_alike(alike):
            again = f", the {_ordinal(way.visit)} time" if way.visit > 1 else ""
            yield f"{words}{again}, {answer}" if answer else f"{words}{again}", role, way


def _told_alike(ways: Sequence[_Way]) -> Generator[tuple[str, str, _Way]]:
    alone = {way.runs[0][0].kind: way for way in reversed(ways) if len(way.runs) == 1}
    good, bad = alone.get("ok"), alone.get("fail")
    yield from _calls_told(good, bad, ("a call", "calls"), ("ok", "answers"), ("fails", "failures"))
    if _PASS in alone:
        yield _words(alone[_PASS]), "", alone[_PASS]
    elif "slow" in alone and not good:
        slow = min((way for way in ways if way.runs[0][0].kind == "slow"), key=lambda way: way.runs[0][0].seconds)
        yield _words(slow), "", slow
    if not (good or bad):
        if "hang" in alone:
            yield _words(alone["hang"]), "", alone["hang"]
        names = ("a call ends", "calls end"), _NAMES["end"], _NAMES["break"]
        yield from _calls_told(alone.get("end"), alone.get("break"), *names)
    for way in ways:
        if len(way.runs) > 1:
            yield _words(way), _role_of(way), way


def _role_of(way: _Way) -> str:
    """Good or bad, where all calls on a way end alike."""
    kinds = {action.kind for action, _ in way.runs} - {_PASS}
    return "error" if kinds in ({"fail"}, {"break"}) else "success" if kinds in ({"ok"}, {"end"}) else ""


_OneOrMany = tuple[str, str]


def _calls_told(
    good: _Way | None, bad: _Way | None, either: _OneOrMany, well: _OneOrMany, badly: _OneOrMany
) -> Generator[tuple[str, str, _Way]]:
    """What calls do, however they end if that makes no difference."""
    if good and bad and good.runs[0][1] == bad.runs[0][1]:
        yield _counted(good.runs[0][1], either), "", good
        return
    if good:
        yield _counted(good.runs[0][1], well), "success", good
    if bad:
        yield _counted(bad.runs[0][1], badly), "error", bad


_NAMES: Mapping[str, _OneOrMany] = {
    "ok": ("an answer", "answers"),
    "fail": ("a failure", "failures"),
    "hang": ("a call under way", "calls under way"),
    "end": ("a call answers", "calls answer"),
    "break": ("a call fails", "calls fail"),
    "slow": ("an answer", "answers"),
}


_WAITING: _OneOrMany = ("a call waits", "calls wait")


def _words(way: _Way) -> str:
    """What is done, in words."""
    said: list[str] = []
    for action, count in way.runs:
        if action.kind == _PASS:
            said.append(seconds(action.seconds))
        elif action.kind == "hang" and way.waits:
            said.append(_counted(count, ("one more call waits", "more calls wait") if way.more else _WAITING))
        elif action.kind == "hang" and way.more:
            said.append(_counted(count, ("one more call under way", "more calls under way")))
        else:
            after = f" after {_about(action.seconds)}" if action.kind == "slow" else ""
            said.append(_counted(count, _NAMES[action.kind]) + after)
    if way.runs[0][0].kind == _PASS:
        said[0] = f"after {said[0]}"
    return ", then ".join(said)


def _about(value: float) -> str:
    """``more than 2 s`` for what is only just more."""
    return f"{'more than ' * (float(f'{value:.9g}') != value)}{seconds(value)}"


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _counted(count: int, names: _OneOrMany) -> str:
    return names[0] if count == 1 else f"{count:,} {names[1]}"
