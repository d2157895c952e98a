"""How far the length of a path can vary, because some of its waits are random."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from failwell.virtual import resolution

__all__ = ["Lot", "spread"]


class Lot(NamedTuple):
    """A random wait of one path.

    Attributes:
        at: Virtual seconds at which it was drawn.
        drawn: Its seconds on this path, one of the two ends.
        low: Its lower end in seconds.
        high: Its upper end in seconds.
        limits: When the limits of time around it are over, outermost first.
    """

    at: float
    drawn: float
    low: float
    high: float
    limits: tuple[float, ...]


def spread(elapsed: float, lots: Sequence[Lot], limits: Iterable[tuple[float, float]]) -> tuple[float, float] | None:
    """The least and the most seconds that a path's steps can take, or None if that is one number.

    Every other draw of the same waits that leads to the same steps takes a time between the two.

    Args:
        elapsed: What the path takes with the ends that it has drawn.
        lots: Its random waits, in order.
        limits: When each limit of time is over, and when what it limited had ended.
    """
    if not lots or elapsed == float("inf"):
        return None
    reached = set[float]()  # limits that ended what was inside of them
    left = dict[float, float]()  # by how much the waits inside of each other limit can be longer in all
    for due, ended in limits:
        if abs(due - ended) < resolution(due):
            reached.add(due)
        elif ended < due:  # later only where nothing can be ended, as in cleanup
            left[due] = min(left.get(due, due), due - ended)
    shorter = longer = 0.0
    for lot in lots:
        if not reached.isdisjoint(lot.limits):
            continue  # all inside of the limit was over at that moment, however long this wait was
        shorter += min(lot.drawn - lot.low, elapsed - lot.at)
        more = min([lot.high - lot.drawn, *(left[due] for due in lot.limits if due in left)])
        longer += more
        for due in lot.limits:
            if due in left:
                left[due] -= more
    if not shorter and not longer:
        return None
    return max(0.0, elapsed - shorter), elapsed + longer
