"""Finding a card, and what its example comes to when it is run."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from failwell import Degrade, Feature, Policy, Saga
from failwell.catalog.card import Card
from failwell.catalog.cards import CARDS
from failwell.policy import Pattern

if TYPE_CHECKING:
    from failwell.flow import Exploration

__all__ = ["Numbers", "card", "exploration", "nearest", "numbers"]


def card(slug: str) -> Card:
    """One card.

    Args:
        slug: Its slug.

    Raises:
        LookupError: If there is none; the message names the nearest one.
    """
    if slug in CARDS:
        return CARDS[slug]
    near = nearest(slug)
    raise LookupError(f"there is no pattern {slug!r}; {f'did you mean {near}?' if near else f'there are {_names()}'}")


def _names() -> str:
    return ", ".join(CARDS)


def nearest(name: str) -> str | None:
    """The slug that somebody may have meant, by words or letters of its names and of the problems that it is for.

    Args:
        name: What they wrote.
    """
    from difflib import get_close_matches

    wanted = _plain(name)
    words: dict[str, str] = {}
    near: list[str] = []
    for kind in range(3):  # a pattern's own name counts for more than another name, and that for more than a problem
        of_kind: list[str] = []
        for one in CARDS.values():
            for word in map(_plain, ((one.slug, one.name), one.also_known_as, one.symptoms)[kind]):
                words.setdefault(word, one.slug)
                of_kind.append(word)
        near += [word for word in of_kind if word == wanted]
        near += [word for word in of_kind if f" {wanted} " in f" {word} "]
    near += [word for word in words if f" {word} " in f" {wanted} "]
    near += get_close_matches(wanted, words, n=1, cutoff=0.65)
    return words[near[0]] if near else None


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.lower()).strip()


# --- what the code can say is computed ---------------------------------------------------------------


def exploration(one: Card, outcomes: tuple[str | type[Exception], ...] | None = None) -> Exploration:
    """All paths of a card's example, explored once.

    Args:
        one: The card.
        outcomes: How operations can end; by default as in the catalog's drawing.
    """
    return _explored(one, outcomes or one.outcomes)


@functools.cache
def _explored(one: Card, outcomes: tuple[str | type[Exception], ...]) -> Exploration:
    from failwell.flow import explore

    return explore(one.example, one.operation, outcomes=outcomes)


class Numbers(NamedTuple):
    """What an example gains and costs, beside the same work without it.

    Attributes:
        bare: The share of calls that succeed without the pattern.
        success: The share that succeeds with it, degraded answers included.
        degraded: The share that gets a degraded answer.
        mean: Expected seconds that it adds to a call.
        worst: Seconds of the longest path on which nothing hangs.
        worst_hang: The same with hangs; infinite if a hang is never ended.
        calls: Expected number of calls, all operations together.
        most_calls: Most calls on one path.
    """

    bare: float
    success: float
    degraded: float
    mean: float
    worst: float
    worst_hang: float
    calls: float
    most_calls: int


def numbers(one: Card, fail: float = 0.1) -> Numbers:
    """The figures of a card's example for given odds; nothing of it is typed by hand.

    Args:
        one: The card.
        fail: The odds that an operation fails.
    """
    from failwell.flow import explore

    everything = exploration(one, ("ok", "fail", "hang"))
    report = everything.report(fail)
    alone = _without(one.example)
    return Numbers(
        bare=explore(alone, one.operation, outcomes=("ok", "fail")).report(fail).success,
        success=report.success,
        degraded=report.degraded,
        mean=report.mean_latency,
        worst=exploration(one, ("ok", "fail")).report(fail).worst_latency,
        worst_hang=report.worst_latency,
        calls=sum(report.calls.values()),
        most_calls=max(sum(path.calls.values()) for path in everything.paths),
    )


class _Nothing(Policy):
    """No recovery at all."""

    async def run(self, call: Any, rt: Any) -> Any:
        return await call()


def _without(pattern: Pattern) -> Pattern:
    if isinstance(pattern, Degrade):  # one answer that needs all of its parts
        return Degrade([Feature(one.name, one.priority, one.fn, required=True) for one in pattern.features])
    return Saga([(step.action, None) for step in pattern.steps]) if isinstance(pattern, Saga) else _Nothing()
