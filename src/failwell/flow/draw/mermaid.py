"""A graph as a Mermaid flowchart, for places that render Mermaid themselves: repositories, wikis, notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from failwell.flow.draw import theme
from failwell.flow.draw.metrics import wrapped

if TYPE_CHECKING:
    from failwell.flow.graph import Graph

__all__ = ["escaped", "mermaid"]

_SHAPES: dict[theme.Shape, tuple[str, str]] = {
    "rectangle": ("[", "]"),
    "diamond": ("{", "}"),
    "circle": ("((", "))"),
    "hexagon": ("{{", "}}"),
    "rounded": ("(", ")"),
    "parallelogram": ("[\\", "\\]"),
    "ellipse": ("([", "])"),
}
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ,?–…")
_INSIDE = frozenset("_.:-+/=")  # harmless between two letters or digits, markup at the edge of a word


def mermaid(graph: Graph, scheme: theme.Scheme = "light") -> str:
    """The graph as a Mermaid flowchart.

    Boxes carry their own colours, text included, so they can be read on a page of either scheme; lines
    take the page's.

    Args:
        graph: The graph to write.
        scheme: Which colours the boxes have.
    """
    tell_layers = theme.several_layers(graph)
    back = theme.back_edges(graph)
    lines = [f"%% {_comment(graph.title)}"] if graph.title else []
    lines += ["flowchart TD", f"  accTitle: {_comment(f'{graph.kind.capitalize()} of {graph.title}')}"]
    for node in graph.nodes:
        before, after = _SHAPES[theme.shape_of(node)]
        layer = theme.layer_words(node) if tell_layers else ""
        layer = f"<small>{escaped(layer)}</small>" if layer else ""
        lines_of = (node.title, *node.details)
        if node.kind == "end":  # a circle grows with its longest line
            lines_of = tuple(line for text in lines_of for line in wrapped(text, 90, 14))
        words = [layer, *map(escaped, lines_of)]
        role = "start" if node.kind == "start" else node.role if node.role in theme.ROLES else "operation"
        lines.append(f'  n{node.id}{before}"{"<br>".join(filter(None, words))}"{after}:::{role}')
    for edge in graph.edges:
        line = "-.->" if edge in back else "-->"
        answer = "<br>".join(map(escaped, theme.edge_words(edge)))
        said = f'|"{answer}"|' if answer else ""
        lines.append(f"  n{edge.source} {line}{said} n{edge.target}")
    for name in dict.fromkeys(["start", *(n.role if n.role in theme.ROLES else "operation" for n in graph.nodes)]):
        look = theme.style_of(name)
        lines.append(
            f"  classDef {name} fill:{look.fill.on(scheme)},stroke:{look.stroke.on(scheme)},"
            f"color:{theme.TEXT.on(scheme)},stroke-width:2px"
        )
    return "\n".join([*lines, ""])


def escaped(text: str) -> str:
    """Text for the inside of Mermaid's quotes. Whatever could be markup becomes its number.

    Args:
        text: Any text.
    """
    out: list[str] = []
    for at, character in enumerate(text):
        inside = (
            character in _INSIDE and 0 < at < len(text) - 1 and text[at - 1].isalnum() and text[at + 1].isalnum()
        ) and not (character == "." and text[:at].isdigit())
        if character in _PLAIN or inside or (character.isalnum() and not character.isascii()):
            out.append(character)
        elif character.isspace():
            out.append(" ")
        elif character.isprintable():
            out.append(f"#{ord(character)};")
        else:
            out.append("#65533;")
    return "".join(out)


def _comment(text: str) -> str:
    """One line that Mermaid does not read as a directive."""
    return " ".join(text.split()).replace("{", "(").replace("}", ")").replace(";", ",").replace("#", "")
