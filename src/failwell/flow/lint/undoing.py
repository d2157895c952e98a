"""Rules about layers that undo what was done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

from failwell.flow.lint.evidence import Evidence, order
from failwell.flow.lint.facts import Key, LeftDone
from failwell.flow.lint.finding import Found
from failwell.policy import Pattern

__all__ = ["saga_step_cannot_be_undone"]


def saga_step_cannot_be_undone(evidence: Evidence) -> Iterator[Found]:
    """A step without a compensation stands before a step that can fail."""
    for fact, seen in evidence.facts.all(LeftDone):
        remedy = _with_it_last(evidence, fact.layer, fact.step)
        last = f", do it last: {order(remedy)}" if remedy else ""
        yield Found(
            seen.path,
            f"Step {fact.step} of {evidence.name(fact.layer)} stays done when a later step fails: nothing undoes it.",
            f"Give it a compensation{last}, or, where there is nothing to undo, one that does nothing.",
            (fact.layer[0],),
            remedy,
        )


def _with_it_last(evidence: Evidence, layer: Key, name: str) -> tuple[Pattern, ...]:
    """The layers with one step at the end of its saga; nothing if a step stays done all the same."""
    steps = evidence.parameter(layer, "steps")
    if not isinstance(steps, (tuple, list)):
        return ()
    known: Sequence[Any] = cast("Sequence[Any]", steps)
    moved = [step for step in known if getattr(step, "name", "") == name]
    if len(moved) != 1:
        return ()
    order = (*(step for step in known if step is not moved[0]), moved[0])
    remedy = evidence.with_changed((layer, {"steps": order}))
    then = evidence.shown_by(remedy) if remedy else None
    return () if then is None or any(then.all(LeftDone)) else remedy
