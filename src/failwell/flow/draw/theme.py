"""The drawing language, in one place: which shape, colour and word each role has, in both schemes.

Every drawing and every page takes them from here. Strokes and fills pass WCAG 2.2 contrast against the
text, the fill and the board; the tests compute it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from failwell.flow.graph import Edge, Graph, Node

__all__ = [
    "BOARD",
    "NOTE",
    "QUIET",
    "ROLES",
    "START",
    "TEXT",
    "Both",
    "Role",
    "Scheme",
    "Shape",
    "arrow_role",
    "back_edges",
    "contrast",
    "edge_role",
    "edge_words",
    "layer_words",
    "node_words",
    "roles_in",
    "several_layers",
    "shape_of",
    "style_of",
]

Scheme: TypeAlias = Literal["light", "dark"]
Shape: TypeAlias = Literal["rectangle", "diamond", "circle", "hexagon", "rounded", "parallelogram", "ellipse"]


class Both(NamedTuple):
    """One colour in both schemes."""

    light: str
    dark: str

    def on(self, scheme: Scheme) -> str:
        """The colour in one scheme.

        Args:
            scheme: ``"light"`` or ``"dark"``.
        """
        return self.dark if scheme == "dark" else self.light


class Role(NamedTuple):
    """How one role looks.

    Attributes:
        word: What the legend calls it.
        shape: The shape of its boxes.
        stroke: The colour of its lines.
        fill: The colour of its boxes.
    """

    word: str
    shape: Shape
    stroke: Both
    fill: Both


TEXT = Both("#111111", "#F5F5F5")
QUIET = Both("#555B61", "#A9B0B8")
BOARD = Both("#FDFDFB", "#14171A")
NOTE = Both("#F4F4F0", "#0F1214")

ROLES: Mapping[str, Role] = {
    "operation": Role("operation", "rectangle", Both("#3A3F45", "#C3C9D0"), Both("#FFFFFF", "#1D2126")),
    "decision": Role("decision", "diamond", Both("#8A6100", "#FFD54F"), Both("#FFF4CC", "#3D2F00")),
    "recovery": Role("recovery", "rounded", Both("#1565C0", "#82B8FF"), Both("#E3EFFC", "#10294A")),
    "compensation": Role("compensation", "parallelogram", Both("#7B1FA2", "#D59BE8"), Both("#F3E5F8", "#34153F")),
    "error": Role("error", "hexagon", Both("#C62828", "#FF8A80"), Both("#FDE7E7", "#4A1717")),
    "success": Role("success", "ellipse", Both("#1B7F3B", "#66D08A"), Both("#E3F4E7", "#12351F")),
}
START = "start or end"
"""What the legend calls the circles."""


def style_of(role: str) -> Role:
    """The look of a role; one that is not known looks like an operation.

    Args:
        role: The name of a role.
    """
    return ROLES.get(role, ROLES["operation"])


def shape_of(node: Node) -> Shape:
    """Circles start and end; everything between has the shape of its role.

    Args:
        node: A node of a graph.
    """
    return "circle" if node.kind != "event" else style_of(node.role).shape


def contrast(one: str, other: str) -> float:
    """The contrast of two colours after WCAG 2.2, from 1 to 21.

    Args:
        one: A colour as ``#rrggbb``.
        other: Another one.
    """
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


# --- words: the same in every format ---------------------------------------------------------------


def several_layers(graph: Graph) -> bool:
    """Whether a reader must be told which layer a box belongs to.

    Args:
        graph: The graph to draw.
    """
    return len({node.layer for node in graph.nodes if node.layer}) > 1


def layer_words(node: Node) -> str:
    """The layer that a box belongs to, where its title does not say so (``Cache?``).

    Args:
        node: A node of a graph.
    """
    return "" if node.title.removesuffix("?") == node.layer else node.layer


def node_words(node: Node) -> str:
    """A box in one line: ``call_api (attempt 1-3)``.

    Args:
        node: A node of a graph.
    """
    return f"{node.title} ({', '.join(node.details)})" if node.details else node.title


def edge_words(edge: Edge) -> tuple[str, ...]:
    """The lines beside an arrow, none to two of them.

    Args:
        edge: An edge of a graph.
    """
    return tuple(filter(None, (edge.label, edge.detail)))


def edge_role(graph: Graph, edge: Edge) -> str:
    """What an arrow is coloured by: the answer that it stands for, else where it leads.

    Args:
        graph: The edge's graph.
        edge: The edge.
    """
    if edge.role in ROLES:
        return edge.role
    target = graph.nodes[edge.target]
    return target.role if target.role in ROLES else "operation"


def arrow_role(graph: Graph, edge: Edge, back: frozenset[Edge]) -> str:
    """What an arrow is painted in: in a flow, a way back is a recovery, whatever leads there.

    Args:
        graph: The edge's graph.
        edge: The edge.
        back: The graph's `back_edges`.
    """
    return "recovery" if edge in back and graph.kind == "flow" else edge_role(graph, edge)


def back_edges(graph: Graph) -> frozenset[Edge]:
    """The arrows that lead back to where the reader has been: the loops.

    Args:
        graph: The graph to draw.
    """
    following: dict[int, list[Edge]] = {}
    for edge in graph.edges:
        following.setdefault(edge.source, []).append(edge)
    found: set[Edge] = set()
    open_nodes, done = {0}, set[int]()
    visits = [(0, iter(following.get(0, ())))]
    while visits:
        here, edges = visits[-1]
        for edge in edges:
            if edge.target in open_nodes:
                found.add(edge)
            elif edge.target not in done:
                open_nodes.add(edge.target)
                visits.append((edge.target, iter(following.get(edge.target, ()))))
                break
        else:
            visits.pop()
            open_nodes.discard(here)
            done.add(here)
    return frozenset(found)


def roles_in(graph: Graph) -> Iterable[str]:
    """The roles that boxes of a graph have, in the order of the legend.

    Args:
        graph: The graph to draw.
    """
    present = {node.role if node.role in ROLES else "operation" for node in graph.nodes if node.kind == "event"}
    return [name for name in ROLES if name in present]
