"""Which boxes and arrows of a drawing one path goes through, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from failwell.flow.graph import Edge, Graph
    from failwell.flow.path import Path

__all__ = ["Light", "light", "numbered"]


class Light(NamedTuple):
    """A path that is lit up.

    Attributes:
        nodes: Node -> the numbers of the steps that reach it; the start is reached by step 0.
        edges: Arrow -> the numbers of the steps that it stands for.
    """

    nodes: dict[int, tuple[int, ...]]
    edges: dict[Edge, tuple[int, ...]]


def light(graph: Graph, path: Path) -> Light:
    """Find a path in a graph.

    Args:
        graph: A graph of the path's exploration.
        path: The path.

    Raises:
        ValueError: If it is no path of this graph.
    """
    visited, taken = graph.walk(path)
    found = Light({}, {})
    for step, node in enumerate(visited):
        found.nodes[node] = (*found.nodes.get(node, ()), step)
    for step, edge in enumerate(taken, 1):
        found.edges[edge] = (*found.edges.get(edge, ()), step)
    return found


def numbered(steps: tuple[int, ...]) -> str:
    """The numbers of steps as words beside an arrow.

    Args:
        steps: The numbers.
    """
    return f"step {', '.join(map(str, steps))}"
