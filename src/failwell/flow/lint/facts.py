"""What paths show, collected for all rules in one go.

The explorer's paths share their beginnings, so they are read as a tree: what two paths have in common
is looked at once. Each fact is kept with the shortest path that shows it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from failwell.events import (
    Attempt,
    CacheStored,
    Called,
    Compensated,
    CompensationFailed,
    Event,
    FellBack,
    GaveUp,
    Hedged,
    Queued,
    Rejected,
    StepCompleted,
    StepStarted,
    TimedOut,
    Waiting,
)
from failwell.flow.path import Choice, Path, shared_beginning

__all__ = [
    "Attempted",
    "CutQueue",
    "CutWait",
    "EndedHang",
    "Facts",
    "Fell",
    "FellOnto",
    "Happened",
    "Key",
    "LeftDone",
    "Made",
    "NeverEnds",
    "NeverLet",
    "OutOfTime",
    "RefusedLater",
    "Repeated",
    "RetriedEarly",
    "Seen",
    "StoredDegraded",
    "Waited",
]

Key: TypeAlias = tuple[str, str]
"""A layer: its label and the operation that it protects."""


# --- facts ---------------------------------------------------------------------------------------


class Happened(NamedTuple):
    """A layer reported an event of this type."""

    layer: Key
    event: type[Event]


class Attempted(NamedTuple):
    """A layer made this attempt."""

    layer: Key
    number: int


class Waited(NamedTuple):
    """A layer waited after this attempt, for ``longest`` seconds at most."""

    layer: Key
    attempt: int
    longest: float


class CutWait(NamedTuple):
    """Time was up for ``by`` while ``layer`` waited for its next attempt."""

    layer: Key
    by: Key


class OutOfTime(NamedTuple):
    """A layer gave up for lack of time."""

    layer: Key


class EndedHang(NamedTuple):
    """Time was up for ``by`` while an operation hung."""

    by: Key
    operation: str


class Made(NamedTuple):
    """An operation was called for the ``number``-th time on one path."""

    operation: str
    number: int


class Repeated(NamedTuple):
    """An operation that must not happen twice was called again after it failed or hung.

    ``causes`` are the layers that made an attempt or asked an alternative since, in this order.
    """

    operation: str
    causes: tuple[Key, ...]


class Fell(NamedTuple):
    """A layer asked its alternative number ``order``."""

    layer: Key
    order: int


class FellOnto(NamedTuple):
    """A layer asked an alternative that is the operation that had just failed."""

    layer: Key
    alternative: str
    order: int


class StoredDegraded(NamedTuple):
    """A layer stored a degraded answer."""

    layer: Key


class CutQueue(NamedTuple):
    """Time was up for ``by`` while ``layer`` had the call wait for its turn."""

    layer: Key
    by: Key


class RetriedEarly(NamedTuple):
    """``layer`` waited less long after a rejection by ``refuser`` than that had asked for."""

    layer: Key
    refuser: Key


class RefusedLater(NamedTuple):
    """``refuser``, which had let the first attempt of ``layer`` through, refused a later one."""

    layer: Key
    refuser: Key


class LeftDone(NamedTuple):
    """A step stayed done although a later one failed."""

    layer: Key
    step: str


class NeverEnds(NamedTuple):
    """An operation hung, and nothing ended that; without a name it was something else that hung."""

    operation: str


class NeverLet(NamedTuple):
    """A layer had the call wait for its turn, which never came, and nothing ended that."""

    layer: Key


Fact: TypeAlias = (
    Happened
    | Attempted
    | Waited
    | CutWait
    | OutOfTime
    | EndedHang
    | Made
    | Repeated
    | Fell
    | FellOnto
    | StoredDegraded
    | CutQueue
    | RetriedEarly
    | RefusedLater
    | LeftDone
    | NeverEnds
    | NeverLet
)
F = TypeVar("F")


class Seen(NamedTuple):
    """How a fact was seen: on which path, and in which events."""

    path: Path
    events: tuple[Event, ...]


# --- reading -------------------------------------------------------------------------------------


class Facts:
    """All that a list of paths shows.

    Args:
        paths: Paths in the order in which the explorer found them.
        not_idempotent: Operations that must not happen twice.
    """

    def __init__(self, paths: Sequence[Path], not_idempotent: Collection[str] = ()) -> None:
        self._seen: dict[type, dict[Fact, Seen]] = {}
        self._read(paths, not_idempotent)

    def get(self, fact: Fact) -> Seen | None:
        """The shortest path that shows a fact, or None."""
        return self._seen.get(type(fact), {}).get(fact)

    def __getitem__(self, fact: Fact) -> Seen:
        return self._seen[type(fact)][fact]

    def all(self, kind: type[F]) -> Iterator[tuple[F, Seen]]:
        """The facts of one kind."""
        yield from self._seen.get(kind, {}).items()  # type: ignore[misc]

    def events(self, layer: Key) -> set[type[Event]]:
        """The types of events that a layer reports on any path."""
        return {fact.event for fact, _ in self.all(Happened) if fact.layer == layer}

    def _read(self, paths: Sequence[Path], not_idempotent: Collection[str]) -> None:
        nodes = [_Node(_Moment())]
        before: tuple[Choice | Event, ...] = ()
        for path in paths:
            trace = path.trace
            common = shared_beginning(before, trace)
            self._leave(nodes, common)
            for item in trace[common:]:
                node = _Node(nodes[-1].moment)
                node.go_on(item, not_idempotent)
                nodes.append(node)
            nodes[-1].best = path  # none below it is as short
            for fact in nodes[-1].moment.at_the_end(path):
                self._keep(fact, path, ())
            before = trace
        self._leave(nodes, -1)

    def _leave(self, nodes: list[_Node], depth: int) -> None:
        """Go back up the tree; what was seen on the way down was seen on the best path below."""
        while len(nodes) > depth + 1:
            node = nodes.pop()
            best = node.best
            if best is None:  # no path at all
                return
            for fact, events in node.seen:
                self._keep(fact, best, events)
            if nodes and (nodes[-1].best is None or len(best.trace) < len(nodes[-1].best.trace)):
                nodes[-1].best = best

    def _keep(self, fact: Fact, path: Path, events: tuple[Event, ...]) -> None:
        of_kind = self._seen.setdefault(type(fact), {})
        known = of_kind.get(fact)
        # Of several times on one path the first one counts, which is the last one that the way back comes to.
        if known is None or known.path is path or len(path.trace) < len(known.path.trace):
            of_kind[fact] = Seen(path, events)


class _Run(NamedTuple):
    """Where a saga stands: the steps that are done, and the one that was started and is not."""

    done: tuple[str, ...] = ()
    under_way: str = ""


class _Moment(NamedTuple):
    """What is known about the way so far. It never changes: the ways from here on share it.

    Attributes:
        last: Layer -> its last attempt or wait.
        calls: Operation -> how often it was called.
        trouble: The operations that failed or hung.
        tried: The last call of an operation.
        failing: The operation whose failure is being answered; none once something else happened.
        causes: Operation that must not happen twice and failed or hung -> the layers that made a further attempt or
            asked an alternative since its last call.
        hanging: The operations that hang.
        queued: The event of the layer in whose queue the call is.
        refused: The rejection that nobody has answered yet.
        refusers: The layers that have refused something.
        prepared: The layers that do not start in their first situation.
        runs: Saga -> where it stands.
    """

    last: dict[Key, Event] = {}  # noqa: RUF012 - never changed, always replaced
    calls: dict[str, int] = {}  # noqa: RUF012
    trouble: frozenset[str] = frozenset()
    tried: Choice | None = None
    failing: str = ""
    causes: dict[str, tuple[Key, ...]] = {}  # noqa: RUF012
    hanging: tuple[str, ...] = ()
    queued: Queued | None = None
    refused: Rejected | None = None
    refusers: frozenset[Key] = frozenset()
    prepared: frozenset[str] = frozenset()
    runs: dict[Key, _Run] = {}  # noqa: RUF012

    def at_the_end(self, path: Path) -> Iterator[Fact]:
        """What shows only when a path is over."""
        if path.ends:
            for layer, run in self.runs.items():
                yield from _left_done(layer, run)
        elif self.queued is not None:
            yield NeverLet((self.queued.layer, self.queued.operation))
        else:
            hung = self.tried is not None and self.tried.option == "hang"
            # Where the last call came to an end, another one hangs that was under way at the same time.
            names = (self.tried.subject,) if hung and self.tried is not None else self.hanging
            for name in names or ("",):
                yield NeverEnds(name)

    def because_of(self, layer: Key) -> _Moment:
        """The same moment when a layer goes on after a failure."""
        if not self.causes:
            return self
        causes = {name: tuple(dict.fromkeys((*layers, layer))) for name, layers in self.causes.items()}
        return self._replace(causes=causes)


def _left_done(layer: Key, run: _Run) -> Iterator[LeftDone]:
    """The steps that a run left done, if it failed: then one is under way for ever."""
    if run.under_way:
        for step in run.done:
            yield LeftDone(layer, step)


class _Node:
    """A place in the tree of paths: what is known there, what was seen on the last step, the shortest path below."""

    __slots__ = ("best", "moment", "seen")

    def __init__(self, moment: _Moment) -> None:
        self.moment = moment
        self.seen: list[tuple[Fact, tuple[Event, ...]]] = []
        self.best: Path | None = None

    def go_on(self, item: Choice | Event, not_idempotent: Collection[str]) -> None:
        """Look at what happens next."""
        if isinstance(item, Event):
            self._hear(item, (item.layer, item.operation))
        elif item.kind == "operation":
            self._call(item, not_idempotent)
        elif item.kind == "situation" and item.option != item.options[0]:
            self.moment = self.moment._replace(prepared=self.moment.prepared | {item.subject})

    def _note(self, fact: Fact, *events: Event) -> None:
        self.seen.append((fact, events))

    def _call(self, choice: Choice, not_idempotent: Collection[str]) -> None:
        before = self.moment
        name = choice.subject
        number = before.calls.get(name, 0) + 1
        self._note(Made(name, number))
        trouble = before.trouble
        causes = before.causes
        if name in not_idempotent and name in trouble:
            self._note(Repeated(name, causes[name]))
        if choice.option != "ok" and name not in trouble:
            trouble |= {name}
        if name in not_idempotent and name in trouble:
            causes = {**causes, name: ()}
        hanging = before.hanging
        if choice.option == "hang" and name not in hanging:
            hanging = (*hanging, name)
        calls = {**before.calls, name: number}
        failing = name if choice.option != "ok" else ""
        self.moment = before._replace(
            calls=calls,
            trouble=trouble,
            tried=choice,
            failing=failing,
            causes=causes,
            hanging=hanging,
            queued=None,
            refused=None,
        )

    def _hear(self, event: Event, layer: Key) -> None:
        self._note(Happened(layer, type(event)), event)
        if self.moment.queued is not None and not isinstance(event, TimedOut):
            self.moment = self.moment._replace(queued=None)
        match event:
            case Attempt():
                self._attempt(event, layer)
            case Waiting():
                self._waiting(event, layer)
            case GaveUp():
                if event.reason == GaveUp.NO_TIME_LEFT and self.moment.refused is None:
                    self._note(OutOfTime(layer), event)
            case TimedOut():
                self._timed_out(event, layer)
            case Rejected():
                self._rejected(event, layer)
            case Queued():
                self.moment = self.moment._replace(queued=event)
            case FellBack():
                self._fell_back(event, layer)
            case Called() | Hedged():
                self.moment = self.moment.because_of(layer)
            case CacheStored():
                if event.degraded:
                    self._note(StoredDegraded(layer), event)
            case StepStarted() | StepCompleted() | Compensated() | CompensationFailed():
                self._saga(event, layer)
            case _:
                pass

    def _attempt(self, event: Attempt, layer: Key) -> None:
        before = self.moment
        self._note(Attempted(layer, event.number), event)
        if event.number > 1:
            before = before.because_of(layer)
        self.moment = before._replace(last={**before.last, layer: event}, failing="", refused=None)

    def _waiting(self, event: Waiting, layer: Key) -> None:
        before = self.moment
        refused = before.refused
        if refused is None:
            self._note(Waited(layer, event.attempt, event.between[1]), event)
            self.moment = before._replace(last={**before.last, layer: event})
            return
        # How long this wait is follows from what was refused, and says nothing of the layer's own waits.
        if refused.retry_after is not None and event.delay < refused.retry_after - 1e-9:
            self._note(RetriedEarly(layer, (refused.layer, refused.operation)), refused, event)
        others = {key: last for key, last in before.last.items() if key != layer}
        self.moment = before._replace(last=others, refused=None)

    def _timed_out(self, event: TimedOut, layer: Key) -> None:
        before = self.moment
        for other, last in before.last.items():
            if other != layer and isinstance(last, Waiting):
                self._note(CutWait(other, layer), last, event)
        if before.queued is not None:
            self._note(CutQueue((before.queued.layer, before.queued.operation), layer), before.queued, event)
        elif before.tried is not None and before.tried.option == "hang":
            self._note(EndedHang(layer, before.tried.subject), event)
        runs = before.runs
        if layer in runs and not runs[layer].under_way:  # a saga whose time is up before its next step starts
            runs = {**runs, layer: runs[layer]._replace(under_way="the next step")}
        still = {key: last for key, last in before.last.items() if not isinstance(last, Waiting)}
        # A limit around one operation ends this one's hang, any other limit ends whatever hangs.
        ended = (event.operation,) if event.operation in before.hanging else before.hanging
        hanging = tuple(name for name in before.hanging if name not in ended)
        self.moment = before._replace(last=still, queued=None, refused=None, runs=runs, hanging=hanging)

    def _rejected(self, event: Rejected, layer: Key) -> None:
        before = self.moment
        if layer not in before.refusers and layer[0] not in before.prepared:
            for other, last in before.last.items():
                if isinstance(last, Attempt) and last.number > 1:
                    self._note(RefusedLater(other, layer), last, event)
        self.moment = before._replace(failing="", refused=event, refusers=before.refusers | {layer})

    def _fell_back(self, event: FellBack, layer: Key) -> None:
        before = self.moment
        self._note(Fell(layer, event.order), event)
        if event.alternative and event.alternative == before.failing:
            self._note(FellOnto(layer, event.alternative, event.order), event)
        self.moment = before.because_of(layer)

    def _saga(self, event: StepStarted | StepCompleted | Compensated | CompensationFailed, layer: Key) -> None:
        run = self.moment.runs.get(layer, _Run())
        if isinstance(event, StepStarted):
            if event.order == 1:  # it runs once more
                for fact in _left_done(layer, run):
                    self._note(fact)
                run = _Run()
            run = run._replace(under_way=event.step)
        elif isinstance(event, StepCompleted):
            run = _Run((*run.done, event.step))
        else:
            run = run._replace(done=tuple(step for step in run.done if step != event.step))
        self.moment = self.moment._replace(runs={**self.moment.runs, layer: run})
