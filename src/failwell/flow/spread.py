"""How far the length of a path can vary, because some of its waits are random."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from failwell.virtual import resolution

__all__ = ["Lot", "spread"]


Lot: TypeAlias = "tuple[float, float, float, float, tuple[float, ...]]"
"""A random wait of one path, as seconds: when it was drawn, what was drawn, its lower and its upper end, and when the
limits of time around it are over. A plain tuple, because there is one for each wait of each path."""


def spread(elapsed: float, lots: Sequence[Lot], limits: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """The least and the most seconds that a path's steps can take, or None if that is one number.

    Every other draw of the same waits that leads to the same steps takes a time between the two.

    Args:
        elapsed: What the path takes with the ends that it has drawn.
        lots: Its random waits, in order.
        limits: When each limit of time is over, and when what it limited had ended.
    """
    if not lots or elapsed == float("inf"):
        return None
    shorter = longer = 0.0
    for at, drawn, low, high, around in lots:
        if around and limits:
            return _within(elapsed, lots, limits)
        shorter += min(drawn - low, elapsed - at)
        longer += high - drawn
    return (max(0.0, elapsed - shorter), elapsed + longer) if shorter or longer else None


def _within(elapsed: float, lots: Sequence[Lot], limits: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """The same where some of the waits are inside of a limit of time."""
    reached = set[float]()  # limits that ended what was inside of them
    left = dict[float, float]()  # by how much the waits inside of each other limit can be longer in all
    for due, ended in limits:
        if abs(due - ended) < resolution(due):
            reached.add(due)
        elif ended < due:  # later only where nothing can be ended, as in cleanup
            left[due] = min(left.get(due, due), due - ended)
    shorter = longer = 0.0
    for at, drawn, low, high, around in lots:
        if not reached.isdisjoint(around):
            continue  # all inside of the limit was over at that moment, however long this wait was
        shorter += min(drawn - low, elapsed - at)
        more = min([high - drawn, *(left[due] for due in around if due in left)])
        longer += more
        for due in around:
            if due in left:
                left[due] -= more
    if not shorter and not longer:
        return None
    return max(0.0, elapsed - shorter), elapsed + longer
