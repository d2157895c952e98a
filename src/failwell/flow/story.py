"""Paths in words, and as the steps that drawings are made of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from failwell.events import (
    Attempt,
    CacheHit,
    CacheMiss,
    CacheStored,
    Compensated,
    Compensating,
    CompensationFailed,
    Event,
    FellBack,
    GaveUp,
    StaleServed,
    StepCompleted,
    StepStarted,
    StoreFailed,
    TimedOut,
    Waiting,
)
from failwell.flow.explore import Choice, Path

__all__ = ["Step", "seconds", "steps", "tell"]


class Step(NamedTuple):
    """One step of a path, as a drawing shows it. It knows no virtual time, so equal steps are equal.

    Attributes:
        via: The word on the way here, e.g. ``"fails"``.
        kind: ``"event"``, or ``"end"`` for the last step.
        role: The role of the drawing language.
        title: What happens.
        detail: More about it, the same each time.
        count: What differs from one repetition to the next: ``("attempt", "2")``, ``("wait", "1 s")``.
        layer: The layer that it comes from.
        events: Type and own fields of the events that this step stands for.
    """

    via: str
    kind: str
    role: str
    title: str
    detail: str = ""
    count: tuple[str, str] = ("", "")
    layer: str = ""
    events: tuple[str, ...] = ()


_WORDS = {"ok": "ok", "fail": "fails", "hang": "hangs"}
_LEAD_IN = (Attempt, FellBack, StepStarted, Compensating)
_SILENT = (StepCompleted, Compensated)


def seconds(value: float) -> str:
    """Seconds as people write them.

    Args:
        value: Seconds; may be infinite.
    """
    if value == float("inf"):
        return "forever"
    return f"{round(value, 3):g} s"


def steps(path: Path) -> Iterator[Step]:
    """The steps of a path, the end included.

    Args:
        path: A path of an exploration.
    """
    via = ""
    lead: list[Event] = []
    events: list[str] = []
    before: Choice | Event | None = None
    for item in path.trace:
        if isinstance(item, Event):
            if lead and not isinstance(item, _SILENT):
                for waiting in lead:
                    yield _alone(waiting, via, tuple(events))
                    via, events = "", []
                lead = []
            events.append(_signature(item))
            if isinstance(item, _LEAD_IN):
                lead.append(item)
            elif not isinstance(item, _SILENT) and not _says_it_again(item, before):
                if isinstance(item, TimedOut) and not via:
                    via = "time is up"
                yield _alone(item, via, tuple(events))
                via, events = "", []
        elif item.kind == "operation":
            *early, last = lead or [None]
            for waiting in early:
                if waiting is not None:
                    yield _alone(waiting, via, ())
                    via = ""
            yield _operation(item, last, via, tuple(events))
            lead, events = [], []
            via = "" if len(item.options) == 1 else _WORDS.get(item.option, f"raises {item.option}")
        elif item.kind != "jitter":
            for waiting in lead:
                yield _alone(waiting, via, tuple(events))
                via, events = "", []
            lead = []
            title = f"{item.subject}?"
            yield Step(via, "event", "decision", title, layer=item.layer, events=tuple(events))
            via, events = item.option, []
        before = item
    for waiting in lead:
        yield _alone(waiting, via, tuple(events))
        via, events = "", []
    yield _end(path, via, tuple(events))


def _says_it_again(event: Event, before: Choice | Event | None) -> bool:
    """Whether a decision was just shown as a choice."""
    return isinstance(event, (CacheHit, CacheMiss)) and isinstance(before, Choice) and before.layer == event.layer


def _operation(choice: Choice, lead: Event | None, via: str, events: tuple[str, ...]) -> Step:
    if isinstance(lead, Attempt):
        return Step(via, "event", "operation", choice.subject, "", ("attempt", str(lead.number)), lead.layer, events)
    if isinstance(lead, FellBack):
        return Step(via, "event", "recovery", choice.subject, f"fallback {lead.order}", layer=lead.layer, events=events)
    if isinstance(lead, StepStarted):
        return Step(via, "event", "operation", choice.subject, f"step {lead.order}", layer=lead.layer, events=events)
    if isinstance(lead, Compensating):
        detail = f"undoes {lead.step}"
        return Step(via, "event", "compensation", choice.subject, detail, layer=lead.layer, events=events)
    return Step(via, "event", "operation", choice.subject, layer=choice.layer, events=events)


def _alone(event: Event, via: str, events: tuple[str, ...]) -> Step:
    """An event as a step of its own."""
    title, detail, count = _words(event)
    return Step(via, "event", event.role, title, detail, count, event.layer, events)


def _words(event: Event) -> tuple[str, str, tuple[str, str]]:
    none = ("", "")
    match event:
        case Attempt():
            return f"{event.layer}: try", "", ("attempt", str(event.number))
        case Waiting():
            return "wait", "", ("wait", _range(event))
        case GaveUp():
            return "give up", event.reason, none
        case TimedOut():
            return "timed out", f"after {seconds(event.seconds)}", none
        case FellBack():
            return f"fall back to {event.alternative}", f"fallback {event.order}", none
        case CacheHit():
            return "answer found", "", none
        case CacheMiss():
            return "no answer found", "", none
        case CacheStored():
            return "store the answer", f"{'degraded, ' * event.degraded}for {seconds(event.ttl)}", none
        case StaleServed():
            return "serve the stale answer", "", none
        case StoreFailed():
            return "store failed", "", none
        case Compensating():
            return f"undo {event.step}", "", none
        case CompensationFailed():
            return "compensation failed", f"{event.step} still stands", none
        case _:
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(event).__name__).lower()
            own = [f"{n} {getattr(event, n)}" for n in event.fields[len(Event.fields) :]]
            return words, ", ".join(own), none


def _range(event: Waiting) -> str:
    low, high = event.between
    if low == high or event.delay > high:
        return seconds(event.delay)
    spread = f"{low:g}–{seconds(high)}"
    if event.delay == low:
        return f"{seconds(event.delay)} of {spread}"
    return spread if event.delay == high else f"{seconds(event.delay)} of {spread}"


def _signature(event: Event) -> str:
    """An event without its time, and its errors by type: equal for equal steps."""
    own = [getattr(event, name) for name in event.fields[len(Event.fields) :] if name not in ("elapsed", "age")]
    shown = [type(value).__name__ if isinstance(value, BaseException) else repr(value) for value in own]
    return f"{event.layer}.{type(event).__name__}({', '.join(shown)})"


def _end(path: Path, via: str, events: tuple[str, ...]) -> Step:
    if not path.ends:
        return Step(via, "end", "error", "never ends", events=events)
    if path.error is not None:
        return Step(via, "end", "error", f"raise {type(path.error).__name__}", events=events)
    return Step(via, "end", "success", "return", "degraded answer" if path.degraded else "", events=events)


def tell(path: Path) -> str:
    """A path as a sentence.

    Args:
        path: A path of an exploration.
    """
    told: list[str] = []
    for step in steps(path):
        if step.via and told:
            told[-1] += f" {step.via}" if not told[-1].endswith("?") else f" {step.via}"
        what, number = step.count
        count = f" {number}" if step.title == what else f" ({what} {number})" if what else ""
        detail = f" ({step.detail})" if step.detail else ""
        told.append(f"{step.title}{count}{detail}")
    time = "" if not path.ends else f" after {seconds(path.elapsed)}"
    return " -> ".join(told) + time
