"""What happened to one real call: which explored path it took, and when it was where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from failwell.errors import RecoveryError
from failwell.events import (
    Attempt,
    CacheHit,
    CacheMiss,
    Called,
    Cancelled,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Compensating,
    Event,
    FellBack,
    GaveUp,
    Hedged,
    ItemStarted,
    Outcome,
    Queued,
    Rejected,
    Routed,
    StepStarted,
    TimedOut,
)
from failwell.flow.path import Choice, Path
from failwell.recorded import annotations_of, redacted

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration

__all__ = ["Recorded", "alone", "match", "timed"]


class Recorded(Path):
    """A path that a real call took: its times are those of the call, counted from its start."""

    __slots__ = ()


def match(exploration: Exploration, outcome: Outcome[Any]) -> Path:
    """The explored path that a real call took.

    Events are compared by layer, type and what is counted or named in them (attempts, steps, alternatives,
    routes, reasons). Times, delays and messages may differ; of several paths the one with the same types of
    errors is taken, then the most usual one. Events of other functions that the call made are passed over.

    ```python
    from failwell import Outcome, Retry, explore
    from failwell.backoff import Fixed
    from failwell.flow.trace import match

    answers = iter([ConnectionError("reset"), "cart"])


    def fetch_cart() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


    policy = Retry(3, Fixed(0.1))
    recorded = policy.outcome(fetch_cart).to_json()
    print(match(explore(policy, "fetch_cart"), Outcome.from_json(recorded)))
    #> fetch_cart (attempt 1) fails -> wait 0.1 s -> fetch_cart (attempt 2) ok -> return after 0.1 s
    ```

    Args:
        exploration: All paths of what was called.
        outcome: What happened, see `Policy.outcome` and `Outcome.from_json`.

    Raises:
        LookupError: If it took none of the paths; the message says where it left them. Where layers keep a state
            that is normal: earlier calls, or others at the same time, leave it as no single call does.
    """
    found, _ = _matched(exploration, outcome)
    return found


def timed(exploration: Exploration, outcome: Outcome[Any]) -> Recorded:
    """The path that a real call took, with the times, errors and answer of that call.

    Args:
        exploration: All paths of what was called.
        outcome: What happened.

    Raises:
        LookupError: If it took none of the paths.
    """
    path, events = _matched(exploration, outcome)
    real = iter([_since(event, outcome.started) for event in events])
    trace = tuple(item if isinstance(item, Choice) else next(real) for item in path.trace)
    return Recorded(trace, outcome.value, outcome.error, outcome.elapsed, outcome.degraded)


def _since(event: Event, started: float) -> Event:
    layer, operation, time, *rest = event
    return type(event)(layer, operation, max(0.0, time - started), *rest)


# --- which path ----------------------------------------------------------------------------------


class _Mark(NamedTuple):
    """What of an event is the same on each call that goes this way."""

    layer: str
    event: str
    operation: str
    own: tuple[Any, ...]


_CHANGES = (CircuitOpened, CircuitClosed, CircuitHalfOpened)
"""What can depend on the calls before: an exploration knows one call, in each situation."""


def _matched(exploration: Exploration, outcome: Outcome[Any]) -> tuple[Path, list[Event]]:
    search = _Search(exploration, outcome)
    found = search.best(outcome.events)
    if found is None:
        layers = {event.layer for path in exploration.paths for event in path.events}
        layers |= {choice.layer for path in exploration.paths for choice in path.choices}
        usual = [event for event in outcome.events if not (isinstance(event, _CHANGES) and event.layer in layers)]
        if len(usual) < len(outcome.events):
            found = search.best(usual)
    if found is None:
        raise LookupError(search.complaint())
    return found


class _Search:
    """Goes through the paths once and remembers how far the nearest one came."""

    def __init__(self, exploration: Exploration, outcome: Outcome[Any]) -> None:
        self.paths = [path for path in exploration.paths if path.ends]
        self.outcome = outcome
        self.known = {event.operation for path in self.paths for event in path.events}
        self.renamed: dict[str, str] = {}
        names = {event.operation for event in outcome.events}
        if outcome.events and exploration.name not in names:  # a policy is explored with a name of its own
            self.renamed[outcome.events[0].operation] = exploration.name
        self.marks: dict[int, _Mark] = {}
        self.nearest: tuple[int, list[Event]] = (-1, [])

    def best(self, events: Sequence[Event]) -> tuple[Path, list[Event]] | None:
        """The path that fits best, and the events that are its own."""
        own = [e for e in events if self.renamed.get(e.operation, e.operation) in self.known or not self.known]
        marks = [_mark(event, self.renamed) for event in own]
        best: tuple[tuple[int, ...], Path] | None = None
        for path in self.paths:
            there = [event for event in path.trace if isinstance(event, Event)]
            same = 0
            for event, mark in zip(there, marks, strict=False):
                if self.mark(event) != mark:
                    break
                same += 1
            if same > self.nearest[0]:
                self.nearest = same, own
            if same == len(there) == len(marks) and self.ends_alike(path):
                differs = self.differs(path, there, own)
                if best is None or differs < best[0]:
                    best = differs, path
        return None if best is None else (best[1], own)

    def mark(self, event: Event) -> _Mark:
        """The mark of an explored event; paths share their events."""
        found = self.marks.get(id(event))
        if found is None:
            found = self.marks[id(event)] = _mark(event, {})
        return found

    def ends_alike(self, path: Path) -> bool:
        """Whether a path ends as the call did; an error of an operation's own may be another one."""
        error = self.outcome.error
        if error is None or path.error is None:
            return (error is None) == (path.error is None) and path.degraded == self.outcome.degraded
        return not isinstance(path.error, RecoveryError) or type(path.error).__name__ == type(error).__name__

    def differs(self, path: Path, there: Sequence[Event], here: Sequence[Event]) -> tuple[int, ...]:
        """How unlike a fitting path is: at its end, in its errors, and by what is unusual about it."""
        errors = sum(_error_names(mine) != _error_names(yours) for mine, yours in zip(there, here, strict=True))
        unusual = [choice for choice in path.choices if choice.kind != "operation"]
        return (
            int(type(path.error).__name__ != type(self.outcome.error).__name__),
            errors,
            sum(choice.options.index(choice.option) for choice in unusual),
        )

    def complaint(self) -> str:
        """Where the call left the paths, in one sentence."""
        same, own = self.nearest
        after = f"after {_told(own[same - 1])}" if same > 0 else "at its start"
        if 0 <= same < len(own):
            event = own[same]
            late = isinstance(event, TimedOut) or (isinstance(event, GaveUp) and event.reason == GaveUp.NO_TIME_LEFT)
            advice = ", or did an operation take so long that the time was up elsewhere" if late else ""
            return self.asked(f"has {_told(event)} {after}", advice)
        end, advice = "an answer", ""
        if self.outcome.error is not None:
            end = type(self.outcome.error).__name__
            advice = f", or should {end} be among the outcomes= to explore"
        elif self.outcome.degraded:
            end = "a degraded answer"
        return self.asked(f"ends with {end} {after}", advice)

    def asked(self, what: str, advice: str) -> str:
        """What the call did, and how it may have come to do so, the most usual first."""
        keeping = {choice.layer: None for path in self.paths for choice in path.choices if choice.kind == "situation"}
        if not keeping:
            return f"the outcome {what}, which this stack never does: was it recorded with another version{advice}?"
        return (
            f"the outcome {what}, which no call does on its own: did other calls leave or change a state "
            f"of {' or '.join(keeping)}, or was it recorded with another version{advice}?"
        )


def _told(event: Event) -> str:
    own = [getattr(event, name) for name in ("number", "attempt", "attempts", "order") if name in event.fields]
    return f"{' '.join(map(str, [type(event).__name__, *own]))} by {event.layer}"


def _mark(event: Event, renamed: dict[str, str]) -> _Mark:
    operation = redacted(renamed.get(event.operation, event.operation))
    own = tuple(redacted(value) if isinstance(value, str) else value for _, value in _counted(event))
    return _Mark(event.layer, type(event).__name__, operation, own)


_continuous: dict[type[Event], frozenset[str]] = {}


def _counted(event: Event) -> Iterator[tuple[str, Any]]:
    """The fields that name or count something; times, and what an error says, differ from call to call."""
    kind = type(event)
    if kind not in _continuous:
        said = annotations_of(kind)
        _continuous[kind] = frozenset(name for name in kind.fields if "float" in said.get(name, ""))
    for name in kind.fields[len(Event.fields) :]:
        value = getattr(event, name)
        if name not in _continuous[kind] and (value is None or isinstance(value, (str, int))):
            yield name, value
    if isinstance(event, Hedged):
        yield "late", event.seconds > 0


def _error_names(event: Event) -> tuple[str, ...]:
    return tuple(type(value).__name__ for value in event if isinstance(value, BaseException))


# --- without the stack ---------------------------------------------------------------------------

_GOES_ON = (
    Attempt,
    CacheMiss,
    Called,
    CircuitHalfOpened,
    Compensating,
    FellBack,
    Hedged,
    ItemStarted,
    Queued,
    Routed,
    StepStarted,
)
"""After these something inside is called."""
_NOT_CALLED = (CacheHit, Rejected)


def alone(outcome: Outcome[Any]) -> Recorded:
    """A real call as a path, as far as its events alone can tell.

    Without the stack nobody knows what an event does not say; calls of operations are read from the events
    around them. `timed` knows better.

    Args:
        outcome: What happened.
    """
    trace: list[Choice | Event] = []
    first = outcome.events[0].operation if outcome.events else "operation"
    pending: tuple[int, str] | None = 0, first  # where the next call would stand, and what it is called
    for event in outcome.events:
        error = next((value for value in event if isinstance(value, BaseException)), None)
        inwards = error is None and isinstance(event, _GOES_ON)
        if pending is not None and (not inwards or isinstance(event, Hedged)) and not isinstance(event, _NOT_CALLED):
            trace.insert(pending[0], _choice(pending[1], _ending(event, error)))
        trace.append(_since(event, outcome.started))
        pending = (len(trace), _called(event)) if isinstance(event, _GOES_ON) else None
    if pending is not None:
        trace.insert(pending[0], _choice(pending[1], "ok" if outcome.error is None else type(outcome.error).__name__))
    return Recorded(tuple(trace), outcome.value, outcome.error, outcome.elapsed, outcome.degraded)


def _choice(name: str, option: str) -> Choice:
    return Choice("operation", name, option, ("ok", option) if option != "ok" else ("ok", "fail"), "")


def _ending(event: Event, error: BaseException | None) -> str:
    if isinstance(event, (TimedOut, Cancelled)):
        return "hang"
    if isinstance(event, Hedged):
        return "hang" if event.seconds else "fail"
    if error is not None:
        return type(error).__name__
    return "fail" if isinstance(event, CircuitOpened) else "ok"


def _called(event: Event) -> str:
    """What is called after an event, as far as it says."""
    if isinstance(event, Compensating):
        return f"undo {event.step}"
    for field in ("alternative", "step", "route"):
        if hasattr(event, field):
            return str(getattr(event, field))
    return event.operation
