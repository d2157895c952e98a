"""Rules about layers that try again."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from failwell.events import Attempt, FellBack, GaveUp, Hedged, Rejected, TimedOut
from failwell.flow.lint.evidence import Evidence, Placed, order, roomy, span, with_attribute
from failwell.flow.lint.facts import Attempted, CutWait, Happened, Key, Made, OutOfTime, Repeated, Seen
from failwell.flow.lint.finding import Found
from failwell.policy import Pattern

__all__ = ["backoff_cap_never_reached", "retry_amplification", "retry_cannot_finish", "retry_not_idempotent"]


def retry_cannot_finish(evidence: Evidence) -> Iterator[Found]:
    """The time is up before the last attempt, whatever happens."""
    for layer, reached in evidence.attempts.items():
        wanted = evidence.amount(layer, "max_attempts")
        if wanted is None or reached >= wanted[1]:
            continue
        cuts = [fact for fact, _ in evidence.facts.all(CutWait) if fact.layer == layer]
        seen = evidence.shortest([*(cut for cut in cuts if evidence.may_be_around(cut.by, layer)), OutOfTime(layer)])
        if seen is None:
            continue
        waits = _all_waits(evidence, layer, int(wanted[1]))
        if waits < _limit(evidence, layer, seen[1])[1] and _is_refused_inside(evidence, layer):
            continue  # it is refused before its time is up
        yield _cannot_finish(evidence, layer, reached, int(wanted[1]), waits, seen[1])


def _is_refused_inside(evidence: Evidence, layer: Key) -> bool:
    """Whether something inside of a layer refuses calls, so that attempts end for another reason than time."""
    refusing = [fact.layer for fact, _ in evidence.facts.all(Happened) if fact.event is Rejected]
    return any(evidence.is_around(layer, other) for other in refusing)


def _cannot_finish(evidence: Evidence, layer: Key, reached: int, wanted: int, waits: float, seen: Seen) -> Found:
    each = _time_of_an_attempt(evidence, layer)
    needed = waits + wanted * each if each else roomy(waits)
    name, limit = _limit(evidence, layer, seen)
    message = f"{evidence.name(layer)} never makes attempt {wanted}: "
    fewer = evidence.told(layer, max_attempts=reached)
    limits = _limits(evidence, layer, needed)
    if not limits:  # then it is not the waits that take the time
        return Found(
            seen.path,
            f"{message}{name} is {span(limit)}, and the attempts before it take longer.",
            f"Stop after {reached}: {fewer}.",
            (layer[0],),
            evidence.with_changed((layer, {"max_attempts": reached})),
        )
    more = " and ".join(evidence.told(one, **{parameter: needed}) for one, parameter in limits)
    with_time = f", so that each attempt has its {span(each)}" if each else ""
    remedy = evidence.with_changed(*((one, {parameter: needed}) for one, parameter in limits))
    then = evidence.shown_by(remedy) if remedy else None
    if then is not None and then.get(Attempted(layer, wanted)) is None:  # something else takes time before as well
        return Found(
            seen.path,
            f"{message}the waits before it take {span(waits)}, and {name} is {span(limit)}.",
            f"Stop after {reached}: {fewer}; or give it more than {span(needed)}, as not only its waits take time.",
            tuple(dict.fromkeys([layer[0], *(one[0] for one, _ in limits)])),
            evidence.with_changed((layer, {"max_attempts": reached})),
        )
    return Found(
        seen.path,
        f"{message}the waits before it take {span(waits)}, and {name} is {span(limit)}.",
        f"Give it at least {span(needed)}{with_time}: {more}; or stop after {reached}: {fewer}.",
        tuple(dict.fromkeys([layer[0], *(one[0] for one, _ in limits)])),
        remedy,
    )


def _all_waits(evidence: Evidence, layer: Key, attempts: int) -> float:
    """What all waits take together: those that were seen, and those that the backoff would ask for."""
    seen = evidence.waits(layer)
    backoff = evidence.parameter(layer, "backoff")
    total = before = 0.0
    for attempt in range(1, attempts):
        if attempt in seen:
            before = seen[attempt]
        elif hasattr(backoff, "bounds"):
            before = backoff.bounds(attempt, before)[1]
        total += before
    return total


def _time_of_an_attempt(evidence: Evidence, layer: Key) -> float:
    """The longest that one attempt takes, if something inside limits it; else 0."""
    inside = [evidence.alone(key) for key in evidence.layers if evidence.is_around(layer, key)]
    limits = [
        event.seconds
        for facts in inside
        if facts is not None
        for fact, seen in facts.all(Happened)
        if fact.event is TimedOut
        for event in seen.events
        if isinstance(event, TimedOut)
    ]
    return min(limits, default=0.0)


def _limits(evidence: Evidence, layer: Key, needed: float) -> list[tuple[Key, str]]:
    """What limits the time of a layer to less than it needs: its own limit, and layers around it."""
    found: list[tuple[Key, str]] = []
    own = evidence.amount(layer, "max_elapsed")
    if own is not None and own[1] < needed:
        found.append((layer, own[0]))
    placed = evidence.layers.get(layer)
    for outer in placed.outer if placed is not None else ():
        limit = evidence.amount(outer, "seconds", "timeout")
        if limit is not None and limit[1] < needed:
            found.append((outer, limit[0]))
    return found


def _limit(evidence: Evidence, layer: Key, seen: Seen) -> tuple[str, float]:
    """What ended it on a path, in words, and its seconds."""
    last = seen.events[-1]
    if isinstance(last, TimedOut):
        return f"the limit of {evidence.name((last.layer, last.operation))}", last.seconds
    own = evidence.amount(layer, "max_elapsed")
    if own is not None and isinstance(last, GaveUp) and last.elapsed >= own[1] - 1e-9:
        return f"its {own[0]}", own[1]
    for outer, parameter in reversed(_limits(evidence, layer, math.inf)):
        limit = evidence.parameter(outer, parameter)
        return f"the limit of {evidence.name(outer)}", limit
    return "the time it has", last.elapsed if isinstance(last, GaveUp) else 0.0


def retry_amplification(evidence: Evidence) -> Iterator[Found]:
    """Several layers try again, and their attempts multiply."""
    most: dict[str, int] = {}
    for fact, _ in evidence.facts.all(Made):
        most[fact.operation] = max(most.get(fact.operation, 0), fact.number)
    for operation, calls in most.items():
        if calls <= evidence.most_calls:
            continue
        seen = evidence.facts[Made(operation, calls)]
        attempts: dict[Key, int] = {}
        for event in seen.path.events:
            if isinstance(event, Attempt):
                key = event.layer, event.operation
                attempts[key] = max(attempts.get(key, 0), event.number)
        several = [
            one
            for key, number in attempts.items()
            if number > 1 and _takes_part(evidence, key, operation)
            for one in _multiplying(evidence, key, number)
        ]
        if len(several) < 2:
            continue
        *others, kept = several
        product = " x ".join(f"{one.attempts} of {one.name}" for one in several)
        keep = kept.name if kept.pattern is None else f"{kept.name}, `{kept.pattern!r}`,"
        remedy = evidence.without(*(one.key for one in others))
        then = f": {order(remedy)}" if remedy else ""
        yield Found(
            seen.path,
            f"One call can become {calls} calls of {operation}, just when it is in trouble: {product}.",
            f"Try again in one place: keep {keep} and leave out {' and '.join(one.name for one in others)}{then}.",
            tuple(dict.fromkeys(one.key[0] for one in several)),
            remedy,
        )


class _Multiplying(NamedTuple):
    """One of several layers that try again."""

    key: Key
    name: str
    attempts: int
    pattern: Pattern | None


def _multiplying(evidence: Evidence, key: Key, attempts: int) -> Iterator[_Multiplying]:
    """The layers that go by one label and one operation: one, or another one in an alternative as well."""
    placed = evidence.layers.get(key)
    twins = [(twin, tried) for twin in evidence.twins.get(key, []) if (tried := _attempts_of(evidence, twin)) > 1]
    if placed is None or not twins:
        yield _Multiplying(key, evidence.name(key), attempts, placed.pattern if placed is not None else None)
        return
    first = _attempts_of(evidence, placed)
    if first > 1:
        yield _Multiplying(key, evidence.name(key), first, placed.pattern)
    for twin, tried in twins:
        where = f"{evidence.name(key)} inside of {evidence.name(twin.outer[-1])}"
        yield _Multiplying(key, where, tried, twin.pattern)


def _attempts_of(evidence: Evidence, placed: Placed) -> int:
    """The most attempts that a layer makes by itself."""
    alone = evidence.alone_with(placed.pattern)
    return max((fact.number for fact, _ in alone.all(Attempted)), default=0) if alone is not None else 0


def _takes_part(evidence: Evidence, layer: Key, operation: str) -> bool:
    """Whether a layer is around an operation, as far as it is known."""
    if layer[1] == operation or layer not in evidence.layers:
        return True
    return any(evidence.is_around(layer, key) for key in evidence.layers if key[1] == operation) or (
        layer[1] == evidence.exploration.name
    )


def retry_not_idempotent(evidence: Evidence) -> Iterator[Found]:
    """An operation that must not happen twice is called again although it may have happened."""
    found: dict[tuple[str, Key], Seen] = {}
    for fact, seen in evidence.facts.all(Repeated):
        one = fact.operation, _who_repeats(evidence, fact.causes)
        if one not in found or len(seen.path.trace) < len(found[one].path.trace):
            found[one] = seen
    for (operation, by), seen in found.items():
        who = evidence.name(by) if by[0] else "the code"
        because = "failed or hung: it may have happened all the same"
        again = [key for key in evidence.attempts if _tries_again(evidence, key, operation)]
        if Hedged in evidence.facts.events(by):
            again.append(by)
        without = evidence.without(*again) if by in again else ()
        yield Found(
            seen.path,
            f"{who} calls {operation} again after it {because}, and it must not happen twice.",
            f"Leave {who} out around {operation}, or make the call safe to repeat, such as by an idempotency key, "
            "and take the mark away.",
            (by[0],) if by[0] else (),
            without,
        )


def _who_repeats(evidence: Evidence, causes: tuple[Key, ...]) -> Key:
    """The layer that has an operation called once more, of those that went on after its failure.

    What one does inside of another one's attempt is part of that attempt; what stands inside of a layer that went on
    later was over by then.
    """
    for place, layer in enumerate(causes):
        if not any(evidence.is_around(later, layer) for later in causes[place + 1 :]):
            return layer
    return "", ""


def _tries_again(evidence: Evidence, layer: Key, operation: str) -> bool:
    """Whether a layer does nothing but try an operation again, so that nothing else is lost without it."""
    only_that = evidence.attempts[layer] > 1 and FellBack not in evidence.facts.events(layer)
    return only_that and _takes_part(evidence, layer, operation)


def backoff_cap_never_reached(evidence: Evidence) -> Iterator[Found]:
    """The cap of a backoff is above the longest wait that there can be."""
    for layer, reached in evidence.attempts.items():
        wanted = evidence.amount(layer, "max_attempts")
        waits = evidence.waits(layer)
        if wanted is None or reached < wanted[1] or not waits:
            continue
        for name, backoff in evidence.parameters(layer).items():
            cap = getattr(backoff, "max", None)
            if not (hasattr(backoff, "bounds") and isinstance(cap, float) and math.isfinite(cap)):
                continue
            usual = _usual_cap(backoff)
            longest = max(waits.values())
            if cap == usual or cap <= longest:
                continue
            without = with_attribute(backoff, "max", usual if usual is not None else longest)
            enough = _attempts_to(backoff, cap)
            later = f", or make {enough} attempts: {evidence.told(layer, max_attempts=enough)}" if enough else ""
            yield Found(
                evidence.facts[Attempted(layer, reached)].path,
                f"The waits of {evidence.name(layer)} never come to their cap of {span(cap)}: "
                f"the longest of its {len(waits)} is {span(longest)}.",
                f"Leave the cap out: {evidence.told(layer, **{name: without})}{later}.",
                (layer[0],),
                evidence.with_changed((layer, {name: without})),
            )


def _usual_cap(backoff: Any) -> float | None:
    """The cap that nobody has to ask for."""
    parameter = inspect.signature(backoff.__class__).parameters.get("max")
    default = parameter.default if parameter is not None else None
    return float(default) if isinstance(default, (int, float)) else None


def _attempts_to(backoff: Any, cap: float) -> int:
    """How many attempts it takes for the last wait to be as long as the cap; 0 for more than a few."""
    for attempt in range(1, 12):
        if backoff.bounds(attempt)[1] >= cap:
            return attempt + 1
    return 0
