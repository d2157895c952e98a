"""Rules about layers that stop waiting."""

from __future__ import annotations

from collections.abc import Iterator

from failwell.events import TimedOut
from failwell.flow.lint.evidence import Evidence, chosen, less, order, span
from failwell.flow.lint.facts import CutQueue, EndedHang, Happened, Key, NeverEnds, NeverLet
from failwell.flow.lint.finding import Found
from failwell.policy import Pattern

__all__ = ["bulkhead_queue_outlasts_timeout", "hang_never_ended", "timeouts_nested_wrong"]


def timeouts_nested_wrong(evidence: Evidence) -> Iterator[Found]:
    """A limit of time that is not shorter than one around it can never be what ends a call."""
    for inner in evidence.layers:
        if evidence.facts.get(Happened(inner, TimedOut)) is not None:
            continue
        limit = _limit_alone(evidence, inner)
        if limit is None:
            continue
        for fact, seen in evidence.facts.all(EndedHang):
            outer, event = fact.by, seen.events[-1]
            if not (isinstance(event, TimedOut) and event.seconds <= limit and evidence.is_around(outer, inner)):
                continue
            if inner[1] != evidence.exploration.name and not chosen(seen.path, inner[1]):
                continue
            advice, remedy = _nested_right(evidence, outer, inner, event.seconds, limit)
            yield Found(
                seen.path,
                f"{evidence.name(inner)} ({span(limit)}) can never fire: {evidence.name(outer)} around it ends "
                f"everything after {span(event.seconds)}.",
                advice,
                (outer[0], inner[0]),
                remedy,
            )
            break


def _limit_alone(evidence: Evidence, layer: Key) -> float | None:
    """After how many seconds a layer would end a hang by itself."""
    alone = evidence.alone(layer)
    for fact, seen in alone.all(EndedHang) if alone is not None else ():
        event = seen.events[-1]
        if fact.by[0] == evidence.layers[layer].pattern.label and isinstance(event, TimedOut):
            return event.seconds
    return None


def _nested_right(
    evidence: Evidence, outer: Key, inner: Key, around: float, limit: float
) -> tuple[str, tuple[Pattern, ...]]:
    """The limits such that the inner one has its turn, with the time that attempts between them need."""
    own = evidence.amount(inner, "seconds", "timeout")
    between = [key for key in evidence.attempts if evidence.is_around(outer, key) and evidence.is_around(key, inner)]
    attempts, waits = 1, 0.0
    for key in between:
        attempts *= evidence.attempts[key]
        waits += sum(evidence.waits(key).values())
    if own is None:
        return f"Give {evidence.name(inner)} less than {span(around)}, or {evidence.name(outer)} more.", ()
    share = (around - waits) / attempts if around > waits else around / (2 * attempts)
    if attempts > 1:
        fitting = less(share)
        why = f", so that {attempts} attempts fit into {span(around)}"
    elif limit > around:
        theirs = evidence.amount(outer, "seconds", "timeout")
        if theirs is not None:
            swapped = evidence.with_changed((outer, {theirs[0]: limit}), (inner, {own[0]: around}))
            told = f"{evidence.told(outer, **{theirs[0]: limit})} outside, {evidence.told(inner, **{own[0]: around})}"
            return f"Turn the two limits round: {told} inside.", swapped
        fitting, why = less(around / 2), ""
    else:
        fitting, why = less(around / 2), f", so that it leaves some of the {span(around)}"
    changed = evidence.told(inner, **{own[0]: fitting})
    return f"Give the inner one less{why}: {changed}.", evidence.with_changed((inner, {own[0]: fitting}))


def bulkhead_queue_outlasts_timeout(evidence: Evidence) -> Iterator[Found]:
    """A queue in which a call may wait longer than a layer around it lets it."""
    for fact, seen in evidence.facts.all(CutQueue):
        queued, cut = seen.events
        waits, limit = getattr(queued, "seconds", 0.0), getattr(cut, "seconds", 0.0)
        if waits < limit:  # it is only that something else took the time before
            continue
        layer, by = fact.layer, fact.by
        parameter = next((name for name in ("queue_timeout", "max_wait") if name in evidence.parameters(layer)), "")
        fitting = less(limit / 2)
        told = f": {evidence.told(layer, **{parameter: fitting})}" if parameter else ""
        how_long = f"for {span(waits)}" if waits < float("inf") else "for as long as it takes"
        yield Found(
            seen.path,
            f"A call may wait {how_long} in the queue of {evidence.name(layer)}, but {evidence.name(by)} around it "
            f"ends everything after {span(limit)}.",
            f"Let it wait for {span(fitting)} at most, which leaves time for the call itself{told}.",
            (by[0], layer[0]),
            evidence.with_changed((layer, {parameter: fitting})) if parameter else (),
        )


def hang_never_ended(evidence: Evidence) -> Iterator[Found]:
    """An operation can hang, and nothing ends that. Said once, of all operations together."""
    hanging = sorted(evidence.facts.all(NeverEnds), key=lambda one: len(one[1].path.trace))
    if hanging:
        names = [fact.operation or "something" for fact, _ in hanging]
        told = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
        where = f"`Timeout(...)` around {told}"
        if names == [evidence.exploration.name] and evidence.exploration.layers:
            where = order(evidence.exploration.layers, "Timeout(...)", *names)
        seen = hanging[0][1]
        yield Found(seen.path, f"If {told} hangs, the call never ends.", f"Limit its time: {where}.")
    for fact, seen in evidence.facts.all(NeverLet):
        parameter = "queue_timeout" if "queue_timeout" in evidence.parameters(fact.layer) else "a limit"
        yield Found(
            seen.path,
            f"If nobody leaves {evidence.name(fact.layer)}, a call in its queue waits for ever.",
            f"Give its queue {parameter}.",
            (fact.layer[0],),
        )
