"""Rules about layers that answer anyway."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias, cast

from failwell.events import CircuitOpened, FellBack, StaleServed, TimedOut
from failwell.flow.lint.evidence import Evidence, order, span
from failwell.flow.lint.facts import EndedHang, Fell, FellOnto, Happened, Key, StoredDegraded
from failwell.flow.lint.finding import Found
from failwell.flow.lint.stopping import bulkhead_queue_outlasts_timeout, timeouts_nested_wrong
from failwell.flow.lint.trying_again import retry_cannot_finish
from failwell.flow.path import Path
from failwell.policy import Operation, Pattern, matching
from failwell.runtime import name_of

__all__ = [
    "cache_stores_degraded",
    "fallback_calls_what_failed",
    "fallback_never_reached",
    "layer_never_acts",
    "stale_never_served",
]

_Reason: TypeAlias = tuple[str, str, tuple[Pattern, ...]]
"""Why a layer never acts, what to do about it, and the layers with that done."""

_ABOUT_TIME = (retry_cannot_finish, timeouts_nested_wrong, bulkhead_queue_outlasts_timeout)
"""The rules that say why the time is up before something fails."""


def cache_stores_degraded(evidence: Evidence) -> Iterator[Found]:
    """A degraded answer is kept as if it were a real one."""
    for fact, seen in evidence.facts.all(StoredDegraded):
        layer = fact.layer
        how_long = span(getattr(seen.events[0], "ttl", 0.0))
        if "degraded" in evidence.parameters(layer):
            remedy = evidence.with_changed((layer, {"degraded": "skip"}))
            advice = f"Do not store what is degraded: {evidence.told(layer, degraded='skip')}."
        else:
            remedy = evidence.moved(layer, len(evidence.exploration.layers) - 1)
            where = f": {order(remedy)}" if remedy else ""
            advice = f"Put it inside of what degrades answers{where}."
        yield Found(
            seen.path,
            f"{evidence.name(layer)} stores a degraded answer for {how_long}: it is served long after "
            f"{evidence.exploration.name} works again.",
            advice,
            (layer[0],),
            remedy,
        )


def stale_never_served(evidence: Evidence) -> Iterator[Found]:
    """A layer could answer from what it has in store when the operation fails, and never comes to it."""
    for layer, placed in evidence.layers.items():
        alone = evidence.alone(layer)
        can = alone is not None and any(fact.event is StaleServed for fact, _ in alone.all(Happened))
        if alone is not None and placed.place is not None and not can and _keeps_for_ever(evidence, layer):
            yield _never_past_its_time(evidence, layer)
        if not can or placed.place is None or StaleServed in evidence.facts.events(layer):
            continue
        cut = _cut_from_outside(evidence, layer)
        suits = evidence.if_it_suits(layer, ("stale_on",))
        if cut is None and (suits is None or StaleServed in suits.events(layer)):
            continue
        reason = _cut_first(evidence, layer, cut) if cut is not None else _nothing_to_do(evidence, layer, "stale_on")
        if reason is None:
            continue
        why, advice, remedy = reason
        yield Found(
            evidence.shortest_path(_is_stale(layer)),
            f"{evidence.name(layer)} never serves a stale answer: {why}.",
            advice,
            (layer[0], *((cut[0],) if cut is not None else ())),
            remedy,
        )


def _keeps_for_ever(evidence: Evidence, layer: Key) -> bool:
    """Whether a layer is to serve what is past its time, though nothing that it stores ever is."""
    keeps, wanted = evidence.amount(layer, "ttl"), evidence.amount(layer, "stale_if_error")
    never_past = keeps is not None and math.isinf(keeps[1]) and wanted is not None and wanted[1] > 0
    return never_past and "stale" not in evidence.layers[layer].pattern.situations()


def _never_past_its_time(evidence: Evidence, layer: Key) -> Found:
    ttl = evidence.told_value(layer, "ttl")
    return Found(
        evidence.shortest_path(_is_troubled),
        f"{evidence.name(layer)} never serves a stale answer: with {ttl} nothing in store is ever past its time.",
        f"Give it a time to live that ends, or leave stale_if_error= out: {evidence.told(layer, stale_if_error=0)}.",
        (layer[0],),
        evidence.with_changed((layer, {"stale_if_error": 0})),
    )


def _is_stale(layer: Key) -> Any:
    """Says of a path whether its operation fails while the layer has something in store."""

    def shows(path: Path) -> bool:
        in_store = any(choice.subject == layer[0] and choice.option == "stale" for choice in path.choices)
        return in_store and _is_troubled(path)

    return shows


def _is_troubled(path: Path) -> bool:
    """Whether an operation fails on a path and the caller gets to feel it."""
    failed = any(choice.kind == "operation" and choice.option not in ("ok", "hang") for choice in path.choices)
    return failed and (path.degraded or path.error is not None)


def _cut_from_outside(evidence: Evidence, layer: Key) -> Key | None:
    """What ends a hang outside of a layer that would handle just that: a limit of time."""
    filter_ = evidence.parameter(layer, "stale_on")
    if not _is_about_time(filter_):
        return None
    cuts = [fact.by for fact, _ in evidence.facts.all(EndedHang)]
    if any(evidence.is_around(layer, by) for by in cuts):
        return None
    return next((by for by in cuts if evidence.is_around(by, layer)), None)


def _is_about_time(on: Any) -> bool:
    """Whether an ``on=`` takes nothing but what a limit of time raises."""
    kinds: tuple[Any, ...] = (on,) if isinstance(on, type) else cast("Any", on) if isinstance(on, tuple) else ()
    return bool(kinds) and all(isinstance(kind, type) and issubclass(kind, TimeoutError) for kind in kinds)


def _cut_first(evidence: Evidence, layer: Key, cut: Key) -> _Reason:
    limits = [key for key in evidence.layers if evidence.is_around(key, layer) and _ends_hangs(evidence, key)]
    remedy = evidence.put_inside(layer, limits)
    why = f"{evidence.name(cut)} outside of it ends a hang, so it sees nothing of that"
    return why, f"Put the limit inside: {order(remedy)}.", remedy


def _ends_hangs(evidence: Evidence, layer: Key) -> bool:
    alone = evidence.alone(layer)
    return alone is not None and any(fact.event is TimedOut for fact, _ in alone.all(Happened))


def fallback_never_reached(evidence: Evidence) -> Iterator[Found]:
    """An alternative that no path calls."""
    for layer, placed in evidence.layers.items():
        alone = evidence.alone(layer)
        if alone is None or placed.place is None or not any(fact.event is FellBack for fact, _ in alone.all(Happened)):
            continue
        name, alternatives = _alternatives(evidence, layer)
        reached = [fact.order for fact, _ in evidence.facts.all(Fell) if fact.layer == layer]
        missed = [order for order in range(1, len(alternatives) + 1) if order not in reached]
        if not missed:
            continue
        suits = evidence.if_it_suits(layer)
        if suits is None or Fell(layer, missed[0]) in dict(suits.all(Fell)):
            continue
        told = " and ".join(name_of(alternatives[order - 1]) for order in missed)
        if reached:
            before = name_of(alternatives[missed[0] - 2])
            why = f"{before}, which is asked first, always answers"
            others = [*alternatives]
            turned = (*others[: missed[0] - 2], *others[missed[0] - 1 :], others[missed[0] - 2])
            advice = f"Ask {before} last: {evidence.told(layer, **{name: turned})}."
            remedy = evidence.with_changed((layer, {name: turned}))
            path = evidence.facts[Fell(layer, missed[0] - 1)].path
        else:
            reason = _nothing_to_do(evidence, layer, "on")
            if reason is None:
                continue
            why, advice, remedy = reason
            path = evidence.shortest_path(_is_troubled)
        yield Found(path, f"{evidence.name(layer)} never asks {told}: {why}.", advice, (layer[0],), remedy)


def _alternatives(evidence: Evidence, layer: Key) -> tuple[str, tuple[Any, ...]]:
    """The parameter that holds the alternatives of a layer, and these."""
    for name, value in evidence.parameters(layer).items():
        if isinstance(value, (tuple, list)) and value and all(map(callable, cast("Any", value))):
            return name, tuple(cast("Any", value))
    return "", ()


def fallback_calls_what_failed(evidence: Evidence) -> Iterator[Found]:
    """An alternative that is the very operation that has just failed."""
    for fact, seen in evidence.facts.all(FellOnto):
        name, alternatives = _alternatives(evidence, fact.layer)
        others = tuple(one for place, one in enumerate(alternatives, 1) if place != fact.order)
        if others:
            instead = f"leave it out: {evidence.told(fact.layer, **{name: others})}"
            remedy = evidence.with_changed((fact.layer, {name: others}))
        else:
            instead = f"leave {evidence.name(fact.layer)} out"
            remedy = evidence.without(fact.layer)
        yield Found(
            seen.path,
            f"{evidence.name(fact.layer)} answers the failure of {fact.alternative} by calling {fact.alternative}.",
            f"Give it something that does not depend on {fact.alternative}, or {instead}. "
            "To try the same again, use a retry: it waits in between.",
            (fact.layer[0],),
            remedy,
        )


def layer_never_acts(evidence: Evidence) -> Iterator[Found]:
    """A layer that on no path does more than it does when all is well.

    A limit of time that is never reached is no finding: it stands there for what the model does not know, such as
    a server that asks for a long wait. What answers from a store or by alternatives has rules of its own.
    """
    for layer, placed in evidence.layers.items():
        alone = evidence.alone(layer)
        if alone is None or placed.place is None or isinstance(placed.pattern, Operation):
            continue  # an operation such as a saga is what is done, not what is put around it
        acts = {fact.event for fact, _ in alone.all(Happened)} - evidence.calm(layer)
        has_its_own_rule = FellBack in acts or StaleServed in acts
        if has_its_own_rule or acts <= {TimedOut}:
            continue
        does = "does anything"
        if CircuitOpened in acts:  # it may be open already, but what is inside never opens it
            acts, does = {CircuitOpened}, "opens"
        if acts & evidence.facts.events(layer):
            continue
        suits = evidence.if_it_suits(layer)
        if suits is None or acts & suits.events(layer):
            continue
        reason = _nothing_to_do(evidence, layer, "on")
        if reason is None:
            continue
        why, advice, remedy = reason
        yield Found(
            evidence.shortest_path(_is_troubled),
            f"{evidence.name(layer)} never {does}: {why}.",
            advice,
            (layer[0],),
            remedy,
        )


def _nothing_to_do(evidence: Evidence, layer: Key, parameter: str) -> _Reason | None:
    """Why nothing comes to a layer that it would handle, and what to do about that; None if another rule says it."""
    place = evidence.place(layer) or 0
    answers = evidence.always_answers(place)
    if answers is not None:
        one = evidence.exploration.layers[answers]
        why = f"`{one!r}` inside of it always answers"
        remedy = evidence.moved(layer, answers)
        if evidence.never_fails(evidence.exploration.layers[place]):  # inside, it would only take the other one's work
            return why, "Leave one of them out.", evidence.without(layer)
        raised = evidence.raised_inside(answers, layer, parameter)
        handles = parameter in evidence.parameters(layer)
        if handles and raised and not any(_is_handled(evidence, layer, parameter, error) for error in raised):
            told = " and ".join(sorted(type(error).__name__ for error in raised))
            return why, f"Put it inside of that, and have it handle what comes there, {told}; or leave it out.", ()
        return why, f"Put it inside of that: {order(remedy)}.", remedy
    raised = evidence.raised_inside(place)
    if any(_is_handled(evidence, layer, parameter, error) for error in raised):
        return _ended_from_outside(evidence, layer)
    told = " and ".join(sorted(type(error).__name__ for error in raised)) or "something else"
    if parameter not in evidence.parameters(layer):
        if _limits_around(evidence, layer):  # then nobody can say whether it would handle what comes later
            return None
        return f"out of what is inside comes {told}, which it does not handle", "Leave it out.", evidence.without(layer)
    handled = evidence.told_value(layer, parameter)
    return (
        f"out of what is inside comes {told}, and it handles {handled}",
        f"Change its {parameter}= to what really comes, or leave it out.",
        evidence.without(layer),
    )


def _is_handled(evidence: Evidence, layer: Key, parameter: str, error: Exception) -> bool:
    """Whether a layer would do something about an error."""
    try:
        return bool(matching(parameter, evidence.parameter(layer, parameter))(error))
    except Exception:  # it means something else, or it looks for what the error does not have
        return False


def _limits_around(evidence: Evidence, layer: Key) -> list[Key]:
    """The layers around one that end a call when its time is up, outermost first."""
    return [key for key in evidence.layers[layer].outer if TimedOut in evidence.facts.events(key)]


def _ended_from_outside(evidence: Evidence, layer: Key) -> _Reason | None:
    """What ends every call before a layer gets to see a failure; nothing where another rule says why."""
    limits = _limits_around(evidence, layer)
    said = [found for rule in _ABOUT_TIME for found in rule(evidence)]
    if not limits or said:
        return None
    return (
        f"{evidence.name(limits[-1])} around it ends every call before what is inside fails",
        f"Give {evidence.name(limits[-1])} more time, or what is inside less.",
        (),
    )
