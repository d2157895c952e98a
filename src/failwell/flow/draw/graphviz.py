"""Graphviz: a graph as DOT, and the places that Graphviz finds for its boxes and arrows.

The layout runs in this process, in the engine that pygraphviz's wheel carries. Every box and every label
has a fixed size from our own text metrics, so the same graph gets the same places on every machine.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from failwell.flow.draw import theme
from failwell.flow.draw.light import Light, numbered
from failwell.flow.draw.metrics import code_lines, text_width, wrapped

if TYPE_CHECKING:
    from failwell.flow.graph import Edge, Graph, Node

__all__ = ["Arrow", "Box", "DrawingFailed", "Legend", "Line", "Note", "Scene", "dot", "engine", "place"]

TITLE, DETAIL, LAYER, CODE = 14.0, 12.0, 10.0, 11.5
LEADING = 1.28
CIRCLE = 34.0
MARGIN = 14.0
_TEXT_LIMIT = 140.0
_LABEL_LIMIT = 92.0


class DrawingFailed(Exception):
    """A drawing could not be made; the message is one line that says why and what to do."""


class Line(NamedTuple):
    """A line of text in a box."""

    text: str
    size: float
    kind: str


class Box(NamedTuple):
    """A node and its place; ``x`` and ``y`` are its middle, downwards from the top left corner."""

    node: Node
    shape: theme.Shape
    lines: tuple[Line, ...]
    x: float
    y: float
    width: float
    height: float


class Arrow(NamedTuple):
    """An edge, its curve (a start, then three points for each Bezier piece), its tip and its words."""

    edge: Edge
    role: str
    back: bool
    curve: tuple[tuple[float, float], ...]
    tip: tuple[float, float]
    words: tuple[str, ...]
    label: tuple[float, float]


class Note(NamedTuple):
    """A sticky note with code."""

    lines: tuple[str, ...]
    x: float
    y: float
    width: float
    height: float


class Legend(NamedTuple):
    """One entry of the legend; ``x`` and ``y`` are the middle of its mark."""

    role: str
    word: str
    shape: theme.Shape
    x: float
    y: float


class Scene(NamedTuple):
    """A drawing, ready to be painted."""

    width: float
    height: float
    boxes: tuple[Box, ...]
    arrows: tuple[Arrow, ...]
    note: Note | None
    legend: tuple[Legend, ...]


# --- sizes -----------------------------------------------------------------------------------------


def _lines(node: Node, tell_layer: bool) -> tuple[Line, ...]:
    limit = 104.0 if node.kind == "end" else _TEXT_LIMIT
    lines = [Line(text, TITLE, "title") for text in wrapped(node.title, limit, TITLE, bold=True)]
    for detail in node.details:
        lines += [Line(text, DETAIL, "detail") for text in wrapped(detail, limit, DETAIL)]
    layer = theme.layer_words(node) if tell_layer else ""
    if layer:
        lines.insert(0, Line(layer, LAYER, "layer"))
    return tuple(lines)


def block(lines: Sequence[Line]) -> tuple[float, float]:
    """Width and height of some lines of text.

    Args:
        lines: The lines.
    """
    widest = max((text_width(x.text, x.size, bold=x.kind == "title") for x in lines), default=0.0)
    return widest, sum(line.size * LEADING for line in lines)


def _size(shape: theme.Shape, lines: Sequence[Line]) -> tuple[float, float]:
    wide, high = block(lines)
    if shape == "circle":
        return _even(max(CIRCLE, wide + 8)), _even(CIRCLE + 4 + high)
    if shape == "diamond":
        height = max(2.3 * high, 52.0)
        return _even((wide + 14) / (1 - high / height)), _even(height)
    across = {"hexagon": 52, "parallelogram": 52, "rounded": 42, "ellipse": 46}.get(shape, 32)
    return _even(max(76.0, wide + across)), _even(max(38.0, high + (26 if shape == "ellipse" else 18)))


def _even(value: float) -> float:
    return 2.0 * round(value / 2)


def _library() -> Any:
    """The library that writes DOT; it has no types."""
    import graphviz  # pyright: ignore[reportMissingTypeStubs, reportMissingImports]

    return graphviz


# --- the engine ------------------------------------------------------------------------------------

_one_at_a_time = threading.Lock()


def engine(source: str, prog: str, form: str) -> bytes:
    """Run Graphviz in this process.

    Args:
        source: A graph as DOT.
        prog: The layout, e.g. ``"dot"``.
        form: The output format, e.g. ``"json"``.

    Raises:
        DrawingFailed: If there is no engine, or it cannot do this.
    """
    try:
        import pygraphviz  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        raise DrawingFailed(
            "this format needs pygraphviz, whose wheel carries Graphviz: pip install pygraphviz==2.0.4 "
            "(.mmd, .dot and .txt work without)"
        ) from None
    with _one_at_a_time, _without_chatter():
        try:
            graph: Any = pygraphviz.AGraph(string=source)
            drawn: bytes = graph.draw(format=form, prog=prog)
        except (ValueError, OSError) as error:
            raise DrawingFailed(f"Graphviz could not make {form}: {error}") from None
    return drawn


@contextlib.contextmanager
def _without_chatter() -> Generator[None, None, None]:
    """Keep what C libraries say about the machine's font set-up off standard error."""
    try:
        where = sys.__stderr__.fileno() if sys.__stderr__ is not None else 2
        kept = os.dup(where)
    except (OSError, ValueError):
        yield
        return
    silent = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(silent, where)
        yield
    finally:
        os.dup2(kept, where)
        os.close(kept)
        os.close(silent)


# --- places ----------------------------------------------------------------------------------------


def place(graph: Graph, *, note: bool = True, legend: bool = True, lights: Light | None = None) -> Scene:
    """Find a place for everything in a drawing.

    Args:
        graph: The graph to draw.
        note: Whether the stack's code stands on a sticky note above the flow.
        legend: Whether the shapes are explained below it.
        lights: A path that is lit up: the numbers of its steps stand beside its arrows.

    Raises:
        DrawingFailed: If there is no Graphviz.
    """
    tell_layers = theme.several_layers(graph)
    shapes: list[theme.Shape] = [theme.shape_of(node) for node in graph.nodes]
    lines = [() if node.kind == "start" else _lines(node, tell_layers) for node in graph.nodes]
    sizes = [
        (CIRCLE, CIRCLE) if node.kind == "start" else _size(shape, text)
        for node, shape, text in zip(graph.nodes, shapes, lines, strict=True)
    ]
    back = theme.back_edges(graph)
    words = [
        tuple(line for text in theme.edge_words(edge) for line in wrapped(text, _LABEL_LIMIT, DETAIL))
        for edge in graph.edges
    ]
    if lights is not None:
        taken = [lights.edges.get(edge) for edge in graph.edges]
        words = [(*said, numbered(steps)) if steps else said for said, steps in zip(words, taken, strict=True)]
    laid_out = json.loads(engine(_skeleton(graph, sizes, words, back), "dot", "json"))
    _, _, wide, high = map(float, laid_out["bb"].split(","))

    code = code_lines(graph.title, max(34, min(48, int(wide / 7)))) if note and graph.title else []
    note_width = _even(max((text_width(x, CODE, mono=True) for x in code), default=0) + 24)
    note_height = _even(len(code) * CODE * 1.35 + 16)
    entries = _legend_sizes(graph) if legend else []
    width = max(wide, note_width if code else 0.0, min(sum(w for *_, w in entries), 280.0)) + 2 * MARGIN
    top = MARGIN + (note_height + 16 if code else 0.0)
    left = (width - wide) / 2

    def here(text: str) -> tuple[float, float]:
        x, y = map(float, text.split(","))
        return _round(x + left), _round(high - y + top)

    boxes: list[Box] = []
    for node, shape, text, size, found in zip(graph.nodes, shapes, lines, sizes, laid_out["objects"], strict=True):
        boxes.append(Box(node, shape, text, *here(found["pos"]), *size))
    arrows: list[Arrow] = []
    for edge, said, found in zip(graph.edges, words, laid_out.get("edges", ()), strict=True):
        tip, *curve = found["pos"].split(" ")
        label = here(found["lp"]) if "lp" in found else (0.0, 0.0)
        points = _from_inside(boxes[edge.source], tuple(map(here, curve)))
        points, end = _from_outside(boxes[edge.target], points, here(tip.removeprefix("e,")))
        arrows.append(Arrow(edge, theme.arrow_role(graph, edge, back), edge in back, points, end, said, label))
    bottom = top + high
    explained = _legend(entries, width, bottom + 22) if entries else ()
    height = (explained[-1].y + 10 if explained else bottom) + MARGIN
    sticky = Note(tuple(code), _round((width - note_width) / 2), MARGIN, note_width, note_height) if code else None
    return Scene(_round(width), _round(height), tuple(boxes), tuple(arrows), sticky, explained)


def _from_inside(box: Box, curve: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    """Let an arrow begin under a box whose corners are not where the engine, which knows rectangles, thinks."""
    if box.shape not in ("parallelogram", "rounded"):
        return curve
    (x, y), reach = curve[0], 0.35
    steps = (reach, reach / 2)
    inside = [(_round(x + (box.x - x) * step), _round(y + (box.y - y) * step)) for step in steps]
    return (inside[0], inside[0], inside[1], *curve)


def _from_outside(
    box: Box, curve: tuple[tuple[float, float], ...], tip: tuple[float, float]
) -> tuple[tuple[tuple[float, float], ...], tuple[float, float]]:
    """Let an arrow end at a hexagon's side, not under it: the engine's own hexagons are more pointed."""
    if box.shape != "hexagon" or not _in_hexagon(box, tip):
        return curve, tip
    *before, a, b, c, d = curve
    head = math.dist(d, tip)
    steps = [_split(a, b, c, d, n / 64) for n in range(64, 0, -1)]
    outside = [piece for piece in steps if not _in_hexagon(box, piece[-1])]
    if not outside:
        return curve, tip
    on_tip = [
        (_round(d[0] + (tip[0] - d[0]) * n / 16), _round(d[1] + (tip[1] - d[1]) * n / 16)) for n in range(15, 0, -1)
    ]
    end = next((point for point in on_tip if not _in_hexagon(box, point)), outside[0][-1])
    piece = next((piece for piece in outside if math.dist(piece[-1], end) >= head), outside[-1])
    return (*before, *piece), end


def _in_hexagon(box: Box, point: tuple[float, float]) -> bool:
    across, down = abs(point[0] - box.x), abs(point[1] - box.y) / (box.height / 2)
    return down < 1 and across < box.width / 2 - min(14.0, box.width / 4) * down


def _split(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float], t: float
) -> tuple[tuple[float, float], ...]:
    """The first part of a Bezier curve, after de Casteljau."""

    def mix(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
        return one[0] + (other[0] - one[0]) * t, one[1] + (other[1] - one[1]) * t

    ab, bc, cd = mix(a, b), mix(b, c), mix(c, d)
    abc, bcd = mix(ab, bc), mix(bc, cd)
    found = (a, ab, abc, mix(abc, bcd))
    return tuple((_round(x), _round(y)) for x, y in found)


def _round(value: float) -> float:
    return round(value, 1) + 0.0


def _legend_sizes(graph: Graph) -> list[tuple[str, str, theme.Shape, float]]:
    entries: list[tuple[str, str, theme.Shape]] = [("start", theme.START, "circle")]
    roles = ((name, theme.ROLES[name]) for name in theme.roles_in(graph))
    entries.extend((name, role.word, role.shape) for name, role in roles)
    return [(*entry, 26 + text_width(entry[1], 11) + 14) for entry in entries]


def _legend(entries: Sequence[tuple[str, str, theme.Shape, float]], width: float, y: float) -> tuple[Legend, ...]:
    rows: list[list[tuple[str, str, theme.Shape, float]]] = [[]]
    for entry in entries:
        if rows[-1] and sum(w for *_, w in rows[-1]) + entry[3] > width - 2 * MARGIN + 14:
            rows.append([])
        rows[-1].append(entry)
    found: list[Legend] = []
    for number, row in enumerate(rows):
        x = (width - sum(w for *_, w in row) + 14) / 2
        for role, word, shape, wide in row:
            found.append(Legend(role, word, shape, _round(x + 10), _round(y + number * 20)))
            x += wide
    return tuple(found)


def _skeleton(
    graph: Graph, sizes: Sequence[tuple[float, float]], words: Sequence[Sequence[str]], back: frozenset[Edge]
) -> str:
    """What the engine needs to know: sizes, and which way is the main one."""
    source: Any = _library().Digraph(
        graph_attr={"label": "", "nodesep": "0.3", "ranksep": "0.3", "rankdir": "TB"},
        node_attr={"label": "", "fixedsize": "true", "shape": "box"},
        edge_attr={"label": "", "arrowsize": "0.7"},
    )
    engine_shapes = {"diamond": "diamond", "hexagon": "hexagon", "ellipse": "ellipse"}
    for node, (wide, high) in zip(graph.nodes, sizes, strict=True):
        shape = "circle" if node.kind == "start" else engine_shapes.get(theme.shape_of(node), "box")
        source.node(f"n{node.id}", label="", shape=shape, width=f"{wide / 72:.4f}", height=f"{high / 72:.4f}")
    for edge, said in zip(graph.edges, words, strict=True):
        attributes = {"label": ""}
        if said:
            wide, high = block([Line(text, DETAIL, "label") for text in said])
            attributes["label"] = (
                f'<<TABLE FIXEDSIZE="TRUE" WIDTH="{round(wide) + 14}" HEIGHT="{round(high) + 6}" BORDER="0" '
                'CELLBORDER="0"><TR><TD></TD></TR></TABLE>>'
            )
        if theme.shape_of(graph.nodes[edge.target]) in ("circle", "parallelogram"):
            attributes["headport"] = "n"
        attributes["weight"] = _weight(graph, edge, back)
        source.edge(f"n{edge.source}", f"n{edge.target}", **attributes)
    return str(source.source)


def _weight(graph: Graph, edge: Edge, back: frozenset[Edge]) -> str:
    """How straight an arrow should be: what goes on stands in one line, what ends leaves it sideways."""
    if graph.nodes[edge.target].kind == "end":
        return "1"
    if edge in back:
        return "2"
    return "3" if edge.role == "error" else "8"


# --- DOT for people ----------------------------------------------------------------------------------

_DOT_SHAPES: dict[theme.Shape, dict[str, str]] = {
    "rectangle": {"shape": "box"},
    "diamond": {"shape": "diamond"},
    "circle": {"shape": "circle"},
    "hexagon": {"shape": "hexagon"},
    "rounded": {"shape": "box", "style": "filled,rounded"},
    "parallelogram": {"shape": "polygon", "sides": "4", "skew": "-0.3"},
    "ellipse": {"shape": "ellipse"},
}


def dot(graph: Graph, scheme: theme.Scheme = "light") -> str:
    """The graph as DOT, for Graphviz or an editor that knows it.

    Args:
        graph: The graph to write.
        scheme: ``"light"`` or ``"dark"``.
    """
    graphviz = _library()
    text = theme.TEXT.on(scheme)
    source: Any = graphviz.Digraph(
        "flow",
        comment=graph.title.replace("\n", " "),
        graph_attr={
            "label": "".join(f"{graphviz.escape(line)}\\l" for line in code_lines(graph.title, 64)),
            "labelloc": "t",
            "bgcolor": theme.BOARD.on(scheme),
            "fontcolor": theme.QUIET.on(scheme),
            "fontname": "Helvetica,Arial,sans-serif",
            "fontsize": "11",
            "nodesep": "0.35",
            "ranksep": "0.35",
        },
        node_attr={
            "fontname": "Helvetica,Arial,sans-serif",
            "fontsize": "13",
            "fontcolor": text,
            "penwidth": "1.5",
            "style": "filled",
        },
        edge_attr={"fontname": "Helvetica,Arial,sans-serif", "fontsize": "11", "arrowsize": "0.7", "penwidth": "1.3"},
    )
    tell_layers = theme.several_layers(graph)
    for node in graph.nodes:
        role = theme.style_of("operation" if node.kind == "start" else node.role)
        lines = (
            [node.title, *node.details]
            if node.kind != "event" or not tell_layers
            else [*filter(None, [theme.layer_words(node)]), node.title, *node.details]
        )
        look = dict(_DOT_SHAPES[theme.shape_of(node)])
        if node.kind == "end":
            lines = [part for line in lines for part in wrapped(line, 84, 13)]
            look["margin"] = "0.02"
        source.node(
            f"n{node.id}",
            label="\\n".join(graphviz.escape(line) for line in lines),
            **{"class": f"fw-{_known(node.role, node.kind)}"},
            color=role.stroke.on(scheme),
            fillcolor=role.fill.on(scheme),
            **look,
        )
    back = theme.back_edges(graph)
    for edge in graph.edges:
        role_name = theme.arrow_role(graph, edge, back)
        colour = theme.style_of(role_name).stroke.on(scheme)
        source.edge(
            f"n{edge.source}",
            f"n{edge.target}",
            label="\\n".join(graphviz.escape(f" {word} ") for word in theme.edge_words(edge)),
            **{"class": f"fw-edge-{role_name}"},
            color=colour,
            fontcolor=colour,
            weight=_weight(graph, edge, back),
            **({"style": "dashed"} if edge in back else {}),
        )
    return str(source.source)


def _known(role: str, kind: str) -> str:
    if kind == "start":
        return "start"
    return role if role in theme.ROLES else "operation"
