"""A drawing in words: an indented tree for people, and sentences for screen readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from failwell.flow.draw import theme

if TYPE_CHECKING:
    from failwell.flow.graph import Edge, Graph, Node

__all__ = ["sentences", "text"]

_BRACKETS: dict[theme.Shape, tuple[str, str]] = {
    "rectangle": ("[", "]"),
    "diamond": ("<", ">"),
    "circle": ("(", ")"),
    "hexagon": ("{", "}"),
    "rounded": ("(", ")"),
    "parallelogram": ("\\", "\\"),
    "ellipse": ("(", ")"),
}


def text(graph: Graph) -> str:
    """The graph as a tree of lines. A box that was told already is named by its number.

    Args:
        graph: The graph to tell.
    """
    numbers: dict[int, int] = {}
    met_again = _met_again(graph)
    back = theme.back_edges(graph)
    lines = [graph.title, ""] if graph.title else []
    # What is still to be told: the arrow to it, the indent of its line, and whether it is the last of its branch.
    # What nothing leads to has a line of its own.
    reached = {edge.target for edge in graph.edges}
    begin = [0, *(node.id for node in graph.nodes[1:] if node.id not in reached)]
    left: list[tuple[Edge | None, int, str, bool]] = [(None, here, "", True) for here in reversed(begin)]
    while left:
        edge, here, indent, last = left.pop()
        lead = "" if edge is None else indent + ("└─ " if last else "├─ ")
        answer = "" if edge is None or not theme.edge_words(edge) else f"{', '.join(theme.edge_words(edge))}: "
        if here in numbers:
            again = "back to" if edge in back else "on to"
            lines.append(f"{lead}{answer}{again} {numbers[here]} {graph.nodes[here].title}")
            continue
        numbers[here] = len(numbers)
        number = f"{numbers[here]} " if here in met_again else ""
        lines.append(f"{lead}{answer}{number}{_in_words(graph, graph.nodes[here])}")
        inner = "" if edge is None else indent + ("   " if last else "│  ")
        out = graph.following(here)
        left += [(edge, edge.target, inner, edge is out[-1]) for edge in reversed(out)]
    return "\n".join([*lines, ""])


def _met_again(graph: Graph) -> set[int]:
    seen, again = set[int](), set[int]()
    for edge in graph.edges:
        (again if edge.target in seen else seen).add(edge.target)
    return again


def _in_words(graph: Graph, node: Node) -> str:
    if node.kind == "start":
        return "start"
    before, after = _BRACKETS[theme.shape_of(node)]
    more = [*node.details]
    if theme.several_layers(graph) and theme.layer_words(node):
        more.append(theme.layer_words(node))
    if node.role in theme.ROLES and node.role != "operation":
        more.append(node.role)
    return " ".join(filter(None, (f"{before}{node.title}{after}", ", ".join(more))))


def sentences(graph: Graph) -> list[str]:
    """Every transition of the graph in words, a sentence for each box that leads somewhere.

    Args:
        graph: The graph to tell.
    """
    said: list[str] = []
    for node in graph.nodes:
        ways: list[str] = []
        for edge in graph.following(node.id):
            answer = ", ".join(theme.edge_words(edge))
            target = theme.node_words(graph.nodes[edge.target])
            ways.append(f"{answer}: {target}" if answer else target)
        if ways:
            said.append(f"{theme.node_words(node)} leads to {'; '.join(ways)}.")
        elif node.id and not any(edge.target == node.id for edge in graph.edges):
            said.append(f"{theme.node_words(node)} stands alone.")
    return said
