"""The way of an arrow as points: many of them to measure by, few of them to draw a curve through."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from failwell.flow.draw.graphviz import CIRCLE
from failwell.flow.draw.svg import outline

if TYPE_CHECKING:
    from failwell.flow.draw.graphviz import Arrow, Box

__all__ = ["Point", "between", "inside", "length", "sampled", "spread", "thinned"]

Point: TypeAlias = "tuple[float, float]"
_PER_PIECE = 12


def sampled(arrow: Arrow) -> list[Point]:
    """Points along an arrow, close to each other, from its box to its tip.

    Args:
        arrow: An arrow of a scene.
    """
    start, *rest = arrow.curve
    found = [start]
    for at in range(0, len(rest), 3):
        corners = (found[-1], *rest[at : at + 3])
        for step in range(1, _PER_PIECE + 1):
            t = step / _PER_PIECE
            weights = ((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t**3)
            x, y = (sum(w * p[axis] for w, p in zip(weights, corners, strict=True)) for axis in (0, 1))
            found.append((x, y))
    return [*found, arrow.tip]


def inside(box: Box, point: Point) -> bool:
    """Whether a point lies in the shape of a box.

    Args:
        box: A box of a scene.
        point: A point.
    """
    if box.shape == "circle":
        return math.dist(point, (box.x, box.y - box.height / 2 + CIRCLE / 2)) < CIRCLE / 2
    if box.shape == "ellipse":
        return ((point[0] - box.x) / (box.width / 2)) ** 2 + ((point[1] - box.y) / (box.height / 2)) ** 2 < 1
    corners = outline(box.shape, box.x, box.y, box.width, box.height)  # clockwise, as y grows downwards
    sides = zip(corners, [*corners[1:], corners[0]], strict=True)
    return all((b[0] - a[0]) * (point[1] - a[1]) > (b[1] - a[1]) * (point[0] - a[0]) for a, b in sides)


def between(way: Sequence[Point], source: Box, target: Box) -> list[Point]:
    """The part of a way that lies outside of both its boxes; all of it if there is none.

    Args:
        way: The points of an arrow.
        source: The box that it leaves.
        target: The box that it reaches.
    """
    first, last = 0, len(way) - 1
    while first < last and inside(source, way[first + 1]):
        first += 1
    while last > first and inside(target, way[last - 1]):
        last -= 1
    if last - first < 2:
        return list(way)
    found = list(way[first : last + 1])
    found[0] = _edge(source, found[0], found[1])
    found[-1] = _edge(target, found[-1], found[-2])
    return found


def _edge(box: Box, within: Point, outside: Point) -> Point:
    """Where a line leaves a box."""
    if not inside(box, within):
        return within
    for _ in range(12):
        middle = ((within[0] + outside[0]) / 2, (within[1] + outside[1]) / 2)
        within, outside = (middle, outside) if inside(box, middle) else (within, middle)
    return outside


def length(way: Sequence[Point]) -> float:
    """How long a way of straight pieces is.

    Args:
        way: Its points.
    """
    return sum(itertools.starmap(math.dist, itertools.pairwise(way)))


def spread(way: Sequence[Point], count: int) -> list[Point]:
    """The ends of a way, and some points between them at equal distances.

    Args:
        way: Its points.
        count: How many points between the ends.
    """
    apart, found, gone = length(way) / (count + 1), [way[0]], 0.0
    for one, other in itertools.pairwise(way):
        step = math.dist(one, other)
        while step and len(found) <= count and gone + step >= apart * len(found) - 1e-9:
            t = (apart * len(found) - gone) / step
            found.append((one[0] + (other[0] - one[0]) * t, one[1] + (other[1] - one[1]) * t))
        gone += step
    return [*found, *[way[-1]] * (count + 2 - len(found))]


def thinned(way: Sequence[Point], tolerance: float = 5.0) -> list[Point]:
    """As few points as tell the way: a person draws a curve through three, not through fifty.

    Args:
        way: Its points.
        tolerance: How far off the way what is drawn may be.
    """
    for count in (0, 1, 2, 3, 4):
        few = spread(way, count)
        if all(_off(point, few) <= tolerance for point in way):
            return few
    return spread(way, 6)


def _off(point: Point, way: Sequence[Point]) -> float:
    """How far a point lies from a way of straight pieces."""
    return min(_off_piece(point, one, other) for one, other in itertools.pairwise(way))


def _off_piece(point: Point, a: Point, b: Point) -> float:
    square = math.dist(a, b) ** 2
    along = (point[0] - a[0]) * (b[0] - a[0]) + (point[1] - a[1]) * (b[1] - a[1])
    t = min(max(along / square, 0.0), 1.0) if square else 0.0
    return math.dist(point, (a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])))
