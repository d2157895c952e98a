"""Paths in words, and as the steps that drawings are made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

from failwell.events import (
    Attempt,
    CacheHit,
    CacheMiss,
    CacheStored,
    Called,
    Cancelled,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Compensated,
    Compensating,
    CompensationFailed,
    CredentialRefreshed,
    CredentialRefreshFailed,
    CredentialRefreshing,
    ErrorNoted,
    Event,
    FaultInjected,
    FeatureDegraded,
    FeatureRestored,
    FellBack,
    GaveUp,
    HealthChanged,
    Hedged,
    ItemFailed,
    ItemStarted,
    ItemSucceeded,
    LimitChanged,
    Progressed,
    Queued,
    Rejected,
    Routed,
    Slept,
    StaleServed,
    StepCompleted,
    StepStarted,
    StoreFailed,
    TimedOut,
    Waiting,
)
from failwell.flow.path import Choice, Path, shared_beginning

__all__ = ["Step", "lacking", "placed", "says_it_again", "seconds", "sentence", "signature", "steps", "tell", "told"]


class Step(NamedTuple):
    """One step of a path, as a drawing shows it. It knows no virtual time, so equal steps are equal.

    Attributes:
        via: The word on the way here, e.g. ``"fails"``.
        kind: ``"event"``, or ``"end"`` for the last step.
        role: The role of the drawing language.
        title: What happens.
        detail: More about it, the same each time.
        counter: What differs from one repetition to the next: ``("attempt", "2")``, ``("wait", "1 s")``.
        layer: The layer that it comes from.
        events: Type and own fields of the events that this step stands for.
    """

    via: str
    kind: str
    role: str
    title: str
    detail: str = ""
    counter: tuple[str, str] = ("", "")
    layer: str = ""
    events: tuple[str, ...] = ()


_WORDS = {"ok": "ok", "fail": "fails", "hang": "hangs"}
_LEAD_IN = (Attempt, Called, FellBack, Hedged, ItemStarted, StepStarted, Compensating, CredentialRefreshing)
_SILENT = (StepCompleted, Compensated, ItemSucceeded, Progressed, CredentialRefreshed, CredentialRefreshFailed)


def seconds(value: float) -> str:
    """Seconds as people write them.

    Args:
        value: Seconds; may be infinite.
    """
    if value == float("inf"):
        return "forever"
    return f"{round(value, 3):g} s"


def steps(path: Path) -> list[Step]:
    """The steps of a path, the end included.

    Args:
        path: A path of an exploration.
    """
    return next(told([path]))


def told(paths: Iterable[Path]) -> Iterator[list[Step]]:
    """The steps of each path; what a path has in common with the one before it is told only once.

    Args:
        paths: Paths in the order in which the explorer found them.
    """
    story: list[Step] = []
    moments = [(_Telling(), 0)]  # after each item of the trace: where the telling stands, how long the story is
    before: tuple[Choice | Event, ...] = ()
    for path in paths:
        common = shared_beginning(before, path.trace)
        del moments[common + 1 :]
        telling, length = moments[-1]
        del story[length:]
        for item in path.trace[common:]:
            telling = telling.on(item, story)
            moments.append((telling, len(story)))
        telling = telling.without_lead(story)
        yield [*story, _end(path, telling.via, telling.events)]
        before = path.trace


class _Telling(NamedTuple):
    """Where the telling of a path stands.

    Attributes:
        via: The word that leads to the next step.
        lead: An event that says what the next operation is called for.
        events: Signatures of the events since the last step.
        before: What happened last.
    """

    via: str = ""
    lead: Event | None = None
    events: tuple[str, ...] = ()
    before: Choice | Event | None = None

    def on(self, item: Choice | Event, story: list[Step]) -> _Telling:
        """Go on with what happened next; the steps that are complete now join the story."""
        if isinstance(item, Event):
            return self._report(item, story)._replace(before=item)
        if item.kind == "jitter":
            return self._replace(before=item)
        if item.kind == "operation":
            story.append(_operation(item, self.lead, self.via, self.events))
            via = "" if len(item.options) == 1 else _WORDS.get(item.option, f"raises {item.option}")
            return _Telling(via, before=item)
        clear = self.without_lead(story)
        story.append(Step(clear.via, "event", "decision", f"{item.subject}?", layer=item.layer, events=clear.events))
        return _Telling(item.option, before=item)

    def _report(self, event: Event, story: list[Step]) -> _Telling:
        if isinstance(event, _SILENT):
            return self._replace(events=(*self.events, signature(event)))
        clear = self.without_lead(story)
        events = (*clear.events, signature(event))
        if isinstance(event, _LEAD_IN):
            return _Telling(clear.via, event, events)
        if says_it_again(event, self.before):
            return _Telling(clear.via, None, events)
        via = "time is up" if isinstance(event, TimedOut) and not clear.via else clear.via
        story.append(_alone(event, via, events))
        return _Telling()

    def without_lead(self, story: list[Step]) -> _Telling:
        """A lead that no operation follows becomes a step of its own."""
        if self.lead is None:
            return self
        story.append(_alone(self.lead, self.via, self.events))
        return _Telling()


def says_it_again(event: Event, before: Choice | Event | None) -> bool:
    """Whether an event only repeats what was just shown as a choice.

    Args:
        event: What happened.
        before: What happened before it.
    """
    if not isinstance(before, Choice) or before.layer != event.layer:
        return False
    # A refusal that the user's own function decided on follows its "no" as the error that is raised.
    decided = isinstance(event, Rejected) and before.kind == "decision" and before.option == "no"
    injected = isinstance(event, FaultInjected) and before.subject.endswith(event.fault)
    by_fallback = isinstance(event, FeatureDegraded) and event.instead == before.subject
    return decided or injected or by_fallback or isinstance(event, (CacheHit, CacheMiss, Routed))


def _operation(choice: Choice, lead: Event | None, via: str, events: tuple[str, ...]) -> Step:
    if isinstance(lead, Attempt):
        return Step(via, "event", "operation", choice.subject, "", ("attempt", str(lead.number)), lead.layer, events)
    if isinstance(lead, Called):
        return Step(via, "event", "operation", choice.subject, "", ("call", str(lead.number)), events=events)
    if isinstance(lead, Hedged):
        detail, number = _words(lead)[1:]
        return Step(via, "event", "recovery", choice.subject, detail, number, lead.layer, events)
    if isinstance(lead, FellBack):
        return Step(via, "event", "recovery", choice.subject, f"fallback {lead.order}", layer=lead.layer, events=events)
    if isinstance(lead, ItemStarted):
        counter = ("item", str(lead.index + 1))
        return Step(via, "event", "operation", choice.subject, "", counter, lead.layer, events)
    if isinstance(lead, StepStarted):
        return Step(via, "event", "operation", choice.subject, f"step {lead.order}", layer=lead.layer, events=events)
    if isinstance(lead, Compensating):
        detail = "undoes its part" if lead.step == choice.subject else f"undoes {lead.step}"
        return Step(via, "event", "compensation", choice.subject, detail, layer=lead.layer, events=events)
    if isinstance(lead, CredentialRefreshing):
        detail = f"refresh, {_why(lead)}"
        return Step(via, "event", "recovery", choice.subject, detail, layer=lead.layer, events=events)
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
        case Slept():
            return "wait", "", ("wait", seconds(event.seconds))
        case Cancelled():
            return "cancelled", f"after {seconds(event.seconds)}", none
        case GaveUp():
            return "give up", event.reason, none
        case ItemStarted():
            return "take an item", "", ("item", str(event.index + 1))
        case ItemFailed():
            return "item failed", "", ("item", str(event.index + 1))
        case TimedOut():
            return "timed out", f"cancelled after {seconds(event.seconds)}", none
        case Hedged():
            late = f"after {seconds(event.seconds)} without an answer" if event.seconds else "at once"
            return f"{event.layer}: ask once more", late, ("hedge", str(event.number - 1))
        case FellBack():
            return f"fall back to {event.alternative}", f"fallback {event.order}", none
        case Routed():
            return f"take route {event.route}", "", none
        case Queued():
            return "wait for a turn", "" if event.seconds == float("inf") else f"{seconds(event.seconds)} at most", none
        case Rejected():
            again = "" if event.retry_after is None else f", again in {seconds(event.retry_after)}"
            return "rejected", f"{event.reason}{again}", none
        case CircuitOpened():
            failed = f"after {event.failures} failure{'s' * (event.failures != 1)}, " * bool(event.failures)
            return "the circuit opens", f"{failed}for {seconds(event.seconds)}", none
        case CircuitHalfOpened():
            return "the circuit is half-open", "", none
        case CircuitClosed():
            return "the circuit closes", "", none
        case LimitChanged():
            way = "grows" if event.after > event.before else "shrinks"
            return f"the limit {way}", f"from {event.before} to {event.after}", none
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
        case FeatureDegraded():
            return lacking(event), "", none
        case FeatureRestored():
            return f"{event.feature} is back", "", none
        case HealthChanged():
            return f"now {event.status}", "", none
        case StepStarted():
            return f"start {event.step}", f"step {event.order}", none
        case Compensating():
            return f"undo {event.step}", "", none
        case ErrorNoted():
            return "note the error", event.where, none
        case FaultInjected():
            return f"a {event.fault} is injected", "", none
        case CredentialRefreshing():
            return "refresh the credential", _why(event), none
        case CompensationFailed():
            return "compensation failed", f"{event.step} still stands", none
        case _:
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(event).__name__).lower()
            own = [f"{n} {getattr(event, n)}" for n in event.fields[len(Event.fields) :]]
            return words, ", ".join(own), none


def lacking(event: FeatureDegraded) -> str:
    """What becomes of a feature that does not give its real answer.

    Args:
        event: What was reported of it.
    """
    if event.instead == FeatureDegraded.LEFT_OUT:
        return f"leave out {event.feature}"
    if event.instead == FeatureDegraded.LAST_GOOD:
        return f"last good answer for {event.feature}"
    if event.instead == FeatureDegraded.ITS_OWN:
        return f"{event.feature} is degraded"
    return f"{event.instead} for {event.feature}"


def _why(event: CredentialRefreshing) -> str:
    return {event.EXPIRED: "it has expired", event.REFUSED: "it was refused"}.get(event.reason, event.reason)


def _range(event: Waiting) -> str:
    low, high = event.between
    if low == high or event.delay > high:
        return seconds(event.delay)
    spread = f"{low:g}–{seconds(high)}"
    if event.delay == low:
        return f"{seconds(event.delay)} of {spread}"
    return spread if event.delay == high else f"{seconds(event.delay)} of {spread}"


def signature(event: Event) -> str:
    """An event without its time, and its errors by type: equal for equal steps.

    Args:
        event: The event.
    """
    own = [getattr(event, name) for name in event.fields[len(Event.fields) :] if name not in ("elapsed", "age")]
    shown = [type(value).__name__ if isinstance(value, BaseException) else repr(_whole(value)) for value in own]
    return f"{event.layer}.{type(event).__name__}({', '.join(shown)})"


def _whole(value: object) -> object:
    """60.0 s are 60 s."""
    if isinstance(value, tuple):
        return tuple(map(_whole, cast("tuple[object, ...]", value)))
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _end(path: Path, via: str, events: tuple[str, ...]) -> Step:
    if not path.ends:
        return Step(via, "end", "error", "never ends", events=events)
    if path.error is not None:
        return Step(via, "end", "error", f"raise {type(path.error).__name__}", events=events)
    return Step(via, "end", "success", "return", "degraded answer" if path.degraded else "", events=events)


def placed(path: Path) -> list[tuple[Step, int, int]]:
    """The steps of a path, each with its place in the trace: where what leads to it stands, and where it stands itself.

    The end stands behind the trace.

    Args:
        path: A path of an exploration.
    """
    story: list[Step] = []
    found: list[tuple[Step, int, int]] = []
    telling, lead = _Telling(), -1
    for at, item in enumerate(path.trace):
        led = telling.lead is not None
        is_call = isinstance(item, Choice) and item.kind == "operation"
        telling = telling.on(item, story)
        if led and not is_call and len(story) > len(found):
            found.append((story[len(found)], lead, lead))
        if len(story) > len(found):
            found.append((story[len(found)], lead if led and is_call else at, at))
        if telling.lead is item:
            lead = at
    telling = telling.without_lead(story)
    found += [(step, lead, lead) for step in story[len(found) :]]
    end = len(path.trace)
    return [*found, (_end(path, telling.via, telling.events), end, end)]


def tell(path: Path) -> str:
    """A path as a sentence.

    Args:
        path: A path of an exploration.
    """
    return sentence(path, steps(path))


def sentence(path: Path, story: Iterable[Step]) -> str:
    """The same, where the steps are known.

    Args:
        path: A path of an exploration.
        story: Its steps.
    """
    parts: list[str] = []
    for step in story:
        if parts and step.via != "time is up":  # the step itself says so
            parts[-1] += f" {step.via}" if step.via else ""
        what, number = step.counter
        count = f" {number}" if step.title == what else f" ({what} {number})" if what else ""
        detail = f" ({step.detail})" if step.detail else ""
        parts.append(f"{step.title}{count}{detail}")
    time = f" after {seconds(path.elapsed)}" if path.ends else ""
    return " -> ".join(parts) + time
