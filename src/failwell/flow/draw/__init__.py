"""Drawings of a graph: SVG and PNG, DOT, Mermaid, plain text, and whiteboards, all in one drawing language."""

from __future__ import annotations

from typing import TYPE_CHECKING

from failwell.flow.draw.graphviz import DrawingFailed

if TYPE_CHECKING:
    from failwell.flow.draw.theme import Scheme
    from failwell.flow.graph import Graph
    from failwell.flow.path import Path

__all__ = ["FORMATS", "DrawingFailed", "draw"]

FORMATS = ("svg", "png", "dot", "mmd", "txt", "excalidraw", "canvas")


def draw(
    graph: Graph,
    format: str = "svg",
    *,
    scheme: Scheme | None = None,
    prefix: str = "",
    note: bool = True,
    legend: bool = True,
    lit: Path | None = None,
) -> bytes:
    """A graph as the content of a file.

    The same graph gives the same bytes on every machine, except for ``png``, which is painted with the
    machine's own fonts.

    Args:
        graph: What to draw: ``explore(policy).graph()``.
        format: One of `FORMATS`.
        scheme: ``"light"`` or ``"dark"``. By default an SVG follows its page or its reader, and the others
            are light.
        prefix: What the ids of an SVG or a whiteboard begin with; drawings that share a page or a board need
            different ones.
        note: Whether the stack's code stands on a sticky note above the flow (SVG, PNG, whiteboards).
        legend: Whether the shapes are explained below it (SVG, PNG, Excalidraw).
        lit: A path of the same exploration to light up, its steps numbered (SVG, PNG).

    Raises:
        ValueError: If the format is not known, or ``lit`` is no path of the graph.
        DrawingFailed: If it needs Graphviz and there is none.
    """
    if scheme not in (None, "light", "dark"):
        raise ValueError(f"scheme must be 'light', 'dark' or None, got {scheme!r}")
    if format == "svg":
        from failwell.flow.draw.svg import svg

        return svg(graph, scheme=scheme, prefix=prefix, note=note, legend=legend, lit=lit).encode()
    if format == "png":
        from failwell.flow.draw.png import png

        return png(graph, scheme=scheme or "light", note=note, legend=legend, lit=lit)
    if format == "dot":
        from failwell.flow.draw.graphviz import dot

        return dot(graph, scheme or "light").encode()
    if format == "mmd":
        from failwell.flow.draw.mermaid import mermaid

        return mermaid(graph, scheme or "light").encode()
    if format == "txt":
        from failwell.flow.draw.text import text

        return text(graph).encode()
    if format == "excalidraw":
        from failwell.flow.draw.excalidraw import excalidraw

        return excalidraw(graph, scheme=scheme or "light", prefix=prefix, note=note, legend=legend).encode()
    if format == "canvas":
        from failwell.flow.draw.canvas import canvas

        return canvas(graph, scheme=scheme or "light", prefix=prefix, note=note).encode()
    raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
