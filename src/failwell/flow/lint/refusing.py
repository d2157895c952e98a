"""Rules about layers that refuse calls."""

from __future__ import annotations

from collections.abc import Iterator

from failwell.errors import transient
from failwell.events import (
    Attempt,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    GaveUp,
    Rejected,
    Waiting,
)
from failwell.flow.lint.evidence import Evidence, order, span
from failwell.flow.lint.facts import Attempted, Happened, Key, RefusedLater, RetriedEarly, Seen
from failwell.flow.lint.finding import Found
from failwell.policy import Pattern

__all__ = ["breaker_open_retried", "breaker_outside_retry", "limiter_inside_retry"]

_CIRCUIT = {CircuitOpened, CircuitHalfOpened, CircuitClosed}


def _is_breaker(evidence: Evidence, layer: Key) -> bool:
    alone = evidence.alone(layer)
    seen = evidence.facts.events(layer)
    return bool(_CIRCUIT & seen) or (
        alone is not None and any(fact.event in _CIRCUIT for fact, _ in alone.all(Happened))
    )


def breaker_outside_retry(evidence: Evidence) -> Iterator[Found]:
    """A breaker that stands outside of a retry sees one failure where there were many."""
    for breaker, placed in evidence.layers.items():
        if placed.place is None or not _is_breaker(evidence, breaker):
            continue
        inside = [
            (place, key)
            for key, number in evidence.attempts.items()
            if number > 1 and (place := evidence.place(key)) is not None and place > placed.place
        ]
        if not inside:
            continue
        place, retry = max(inside)
        calls = evidence.attempts[retry]
        seen = evidence.facts.get(Happened(retry, GaveUp)) or evidence.facts[Attempted(retry, calls)]
        remedy = evidence.moved(breaker, place)
        yield Found(
            seen.path,
            f"{evidence.name(breaker)} counts one failure for up to {calls} failed calls, because "
            f"{evidence.name(retry)} is inside of it: it opens late, and attempts go on while it should be open.",
            f"Turn them round: {order(remedy)}.",
            (breaker[0], retry[0]),
            remedy,
        )


def breaker_open_retried(evidence: Evidence) -> Iterator[Found]:
    """Trying again before a breaker lets anything through is of no use."""
    for fact, seen in evidence.facts.all(RetriedEarly):
        if not _is_breaker(evidence, fact.refuser):
            continue
        retry, breaker = fact.layer, fact.refuser
        advice, remedy = _left_alone(evidence, retry, breaker)
        yield Found(
            seen.path,
            f"{evidence.name(retry)} tries again {_when(seen)} though {evidence.name(breaker)} said that it refuses "
            f"every call for {_asked(seen)}.",
            advice,
            (retry[0], breaker[0]),
            remedy,
        )


def limiter_inside_retry(evidence: Evidence) -> Iterator[Found]:
    """Attempts use up the permits of a limiter inside, or try again before there is one."""
    found: dict[tuple[Key, Key], tuple[Seen, str]] = {}
    for fact, seen in evidence.facts.all(RefusedLater):
        attempt = seen.events[0]
        if isinstance(attempt, Attempt) and _retry_after(seen.events[-1]) is not None:
            what = f"the attempts of one call use up its permits, and attempt {attempt.number} is refused"
            found[fact.layer, fact.refuser] = seen, what
    for early, seen in evidence.facts.all(RetriedEarly):
        what = f"what it refuses for {_asked(seen)} is tried again {_when(seen)}"
        found.setdefault((early.layer, early.refuser), (seen, what))
    graver = set(found)
    for limiter in evidence.layers:
        refused = evidence.facts.get(Happened(limiter, Rejected))
        if refused is not None and any(_retry_after(event) is not None for event in refused.events):
            for retry, attempts in evidence.attempts.items():
                if attempts > 1 and (retry, limiter) not in found:
                    what = f"each attempt of a call takes a permit, up to {attempts} of them"
                    found[retry, limiter] = evidence.facts[Attempted(retry, 2)], what
    for (retry, limiter), (seen, what) in found.items():
        if _is_breaker(evidence, limiter) or not evidence.is_around(retry, limiter):
            continue
        place = evidence.place(retry)
        remedy = evidence.moved(limiter, place) if place is not None else ()
        where = f": {order(remedy)}" if remedy else ""
        yield Found(
            seen.path,
            f"{evidence.name(limiter)} is inside of {evidence.name(retry)}: {what}.",
            f"Ask for one permit a call, outside of the attempts{where}.",
            (retry[0], limiter[0]),
            remedy,
            meant=(retry, limiter) not in graver,  # where a quota counts each attempt, so does its limiter
        )


def _when(seen: Seen) -> str:
    """How soon the next attempt followed a refusal."""
    waiting = seen.events[-1]
    wait = waiting.delay if isinstance(waiting, Waiting) else 0.0
    return f"after {span(wait)}" if wait else "at once"


def _asked(seen: Seen) -> str:
    """How long the one who refused had asked to stay away."""
    return span(_retry_after(seen.events[0]) or 0.0)


def _retry_after(event: Event) -> float | None:
    return event.retry_after if isinstance(event, Rejected) else None


def _left_alone(evidence: Evidence, retry: Key, breaker: Key) -> tuple[str, tuple[Pattern, ...]]:
    """A retry that lets refusals pass, or waits for as long as it is asked to."""
    on = evidence.parameter(retry, "on")
    if on is not None and on is not transient:
        changes: dict[str, object] = {"on": transient}
        how = f"Let {evidence.name(retry)} try again only what may pass by itself, the default of on="
    elif evidence.parameter(retry, "respect_retry_after") is False:
        changes = {"respect_retry_after": True}
        how = "Let it wait for as long as it is asked to"
    else:
        return f"Let {evidence.name(retry)} pass on what {evidence.name(breaker)} raises when it refuses.", ()
    return f"{how}: {evidence.told(retry, **changes)}.", evidence.with_changed((retry, changes))
