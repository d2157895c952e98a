"""SVG that a page can theme, a screen reader can read, and a script can light up."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from failwell.flow.draw import theme
from failwell.flow.draw.graphviz import (
    CIRCLE,
    CODE,
    DETAIL,
    LEADING,
    Arrow,
    Box,
    Legend,
    Line,
    Note,
    place,
)
from failwell.flow.draw.light import light
from failwell.flow.draw.metrics import MONO, SANS
from failwell.flow.draw.text import sentences
from failwell.flow.story import tell

if TYPE_CHECKING:
    from failwell.flow.graph import Edge, Graph
    from failwell.flow.path import Path

__all__ = ["digest", "document", "edge_ids", "flow_of", "num", "outlined", "plain", "style", "svg"]


def svg(
    graph: Graph,
    *,
    scheme: theme.Scheme | None = None,
    prefix: str = "",
    note: bool = True,
    legend: bool = True,
    lit: Path | None = None,
) -> str:
    """The graph as SVG.

    Args:
        graph: The graph to draw.
        scheme: ``"light"``, ``"dark"``, or None to follow the page or the reader's setting.
        prefix: What all ids begin with; drawings that share a page need different ones.
        note: Whether the stack's code stands on a sticky note above the flow.
        legend: Whether the shapes are explained below it.
        lit: A path of the same exploration to light up; the rest steps back.

    Raises:
        ValueError: If ``lit`` is no path of the graph.
    """
    said = sentences(graph)
    heading = f"{graph.kind.capitalize()} of {graph.title}"
    if lit is not None:
        heading += ", with one path lit up"
        said = [f"The lit path: {tell(lit)}.", *said]
    prefix = prefix or digest(graph.title, *said)
    width, height, parts = flow_of(graph, prefix, note=note, legend=legend, lit=lit)
    return document(width, height, parts, prefix=prefix, title=heading, said=said, scheme=scheme)


def digest(*words: str) -> str:
    """A beginning for the ids of a drawing, made of what it says.

    Args:
        *words: What it says.
    """
    return f"fw-{hashlib.sha256('|'.join(words).encode()).hexdigest()[:8]}"


def document(
    width: float,
    height: float,
    parts: Sequence[str],
    *,
    prefix: str,
    title: str,
    said: Sequence[str],
    scheme: theme.Scheme | None,
) -> str:
    """A whole SVG: its size, its title and what it says in words, its colours, and what is drawn.

    Args:
        width: How wide it is.
        height: How high it is.
        parts: What is drawn.
        prefix: What its ids begin with.
        title: What it is.
        said: The same as the drawing, in sentences.
        scheme: ``"light"``, ``"dark"``, or None to follow the page or the reader's setting.
    """
    forced = f" fw-{scheme}" if scheme else ""
    wide, high = num(width), num(height)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}" height="{high}" '
        f'class="fw-flow{forced}" id={quoteattr(prefix)} role="img" '
        f"aria-labelledby={quoteattr(f'{prefix}-title {prefix}-desc')}>",
        f"<title id={quoteattr(f'{prefix}-title')}>{plain(title)}</title>",
        f"<desc id={quoteattr(f'{prefix}-desc')}>{plain(chr(10).join(said))}</desc>",
        f"<style>{style()}</style>",
        '<g class="graph">',
        f'<polygon class="fw-board" points="0,0 {wide},0 {wide},{high} 0,{high}"/>',
    ]
    return "\n".join([*lines, *parts, "</g>", "</svg>", ""])


def flow_of(
    graph: Graph, prefix: str, *, note: bool = True, legend: bool = True, lit: Path | None = None
) -> tuple[float, float, list[str]]:
    """Width, height and pieces of a drawing, for a document that may hold more than that.

    Args:
        graph: The graph to draw.
        prefix: What all ids begin with.
        note: Whether the stack's code stands on a sticky note above the flow.
        legend: Whether the shapes are explained below it.
        lit: A path to light up.
    """
    lights = None if lit is None else light(graph, lit)
    scene = place(graph, note=note, legend=legend, lights=lights)
    ids = edge_ids(graph)
    parts: list[str] = []
    if scene.note:
        parts += _note(scene.note)
    for arrow in scene.arrows:
        steps = None if lights is None else lights.edges.get(arrow.edge, ())
        parts += _arrow(graph, arrow, f"{prefix}-{ids[arrow.edge]}", steps, prefix)
    for box in scene.boxes:
        parts += _box(box, f"{prefix}-n{box.node.id}", None if lights is None else lights.nodes.get(box.node.id, ()))
    if scene.legend:
        parts += ['<g class="fw-legend" aria-hidden="true">', *(_legend(entry) for entry in scene.legend), "</g>"]
    return scene.width, scene.height, parts


def edge_ids(graph: Graph) -> dict[Edge, str]:
    """A name for each arrow: its ends, and where several join the same boxes also its answer.

    Args:
        graph: The graph to draw.
    """
    ends = [(edge.source, edge.target) for edge in graph.edges]
    names: dict[Edge, str] = {}
    for edge in graph.edges:
        name = f"e{edge.source}-{edge.target}"
        if ends.count((edge.source, edge.target)) > 1:
            name += f"-{re.sub(r'[^A-Za-z0-9]+', '-', edge.label).strip('-') or 'else'}"
        while name in names.values():
            name += "-more"
        names[edge] = name
    return names


# --- what it is painted with -------------------------------------------------------------------------


def style() -> str:
    """The colours and lines of every drawing.

    The page's own ``--fw-*`` colours win; then Material's scheme; then the reader's setting.
    """
    light, dark = (_colours(scheme) for scheme in ("light", "dark"))
    roles = "".join(
        f".fw-flow .fw-{name}{{--s:var(--_{name}-stroke);--f:var(--_{name}-fill)}}"
        f".fw-flow .fw-edge-{name}{{--s:var(--_{name}-stroke)}}"
        for name in theme.ROLES
    )
    return (
        f".fw-flow{{{light};max-width:100%;height:auto;font-family:{SANS}}}"
        f"@media (prefers-color-scheme:dark){{.fw-flow{{{dark}}}}}"
        f'[data-md-color-scheme="default"] .fw-flow,.fw-flow.fw-light{{{light}}}'
        f'[data-md-color-scheme="slate"] .fw-flow,.fw-flow.fw-dark{{{dark}}}'
        f"{roles}"
        ".fw-flow .fw-start{--s:var(--_operation-stroke);--f:var(--_operation-fill)}"
        ".fw-flow .fw-board{fill:var(--_board);stroke:none}"
        "svg.fw-flow .fw-node>.fw-shape.fw-shape,.fw-flow .fw-shape{fill:var(--f);stroke:var(--s)}"
        ".fw-flow .fw-shape{stroke-width:1.6;stroke-linejoin:round}"
        ".fw-flow .fw-mark{fill:none;stroke:var(--s);stroke-width:2.4;stroke-linecap:round;stroke-linejoin:round}"
        ".fw-flow .fw-mark.fw-solid{fill:var(--s)}"
        "svg.fw-flow .edge.fw-edge>path{fill:none;stroke:var(--s)}"
        "svg.fw-flow .edge.fw-edge>polygon{fill:var(--s);stroke:var(--s)}"
        ".fw-flow .edge>path{stroke-width:1.6}.fw-flow .edge>polygon{stroke-linejoin:round}"
        ".fw-flow .fw-edge-back>path{stroke-dasharray:6 4}"
        ".fw-flow text{fill:var(--_text);text-anchor:middle}"
        ".fw-flow .fw-title{font-size:14px;font-weight:600}"
        ".fw-flow .fw-detail{font-size:12px}"
        ".fw-flow .fw-layer{font-size:10px;letter-spacing:.03em;fill:var(--_quiet)}"
        ".fw-flow .fw-label{font-size:12px;fill:var(--s);stroke:var(--_board);stroke-width:4px;"
        "stroke-linejoin:round;paint-order:stroke}"
        ".fw-flow .fw-note>path{fill:var(--_note);stroke:var(--_quiet);stroke-width:1;stroke-linejoin:round}"
        f".fw-flow .fw-note text{{font-family:{MONO};font-size:11.5px;text-anchor:start;white-space:pre}}"
        ".fw-flow .fw-legend text{font-size:11px;fill:var(--_quiet);text-anchor:start}"
        ".fw-flow .fw-legend .fw-shape{stroke-width:1.2}"
        ".fw-flow .fw-dim{--s:var(--_quiet);--f:var(--_board)}.fw-flow .fw-dim text{fill:var(--_quiet)}"
        ".fw-flow .fw-dim>.fw-shape,.fw-flow .fw-dim>path{stroke-width:1}"
        ".fw-flow .fw-lit>.fw-shape,.fw-flow .fw-lit>path{stroke-width:3.2}"
        ".fw-flow .fw-number{font-size:12px;font-weight:600;fill:var(--_text);stroke:var(--_board);stroke-width:4px;"
        "stroke-linejoin:round;paint-order:stroke}"
    )


def _colours(scheme: str) -> str:
    dark = scheme == "dark"
    pairs = [
        ("text", theme.TEXT[dark]),
        ("quiet", theme.QUIET[dark]),
        ("board", theme.BOARD[dark]),
        ("note", theme.NOTE[dark]),
    ]
    names = {"note": "board-sunken"}
    for name, role in theme.ROLES.items():
        pairs += [(f"{name}-stroke", role.stroke[dark]), (f"{name}-fill", role.fill[dark])]
    return ";".join(f"--_{name}:var(--fw-{names.get(name, name)},{colour})" for name, colour in pairs)


# --- the pieces --------------------------------------------------------------------------------------


def _lighting(steps: tuple[int, ...] | None) -> tuple[str, str]:
    """What the class of a group says of the path that is lit up, and an attribute with the numbers of its steps."""
    if steps is None:
        return "", ""
    return (" fw-lit", f' data-step="{" ".join(map(str, steps))}"') if steps else (" fw-dim", "")


def _box(box: Box, name: str, steps: tuple[int, ...] | None) -> Iterator[str]:
    node = box.node
    kind = "start" if node.kind == "start" else node.role if node.role in theme.ROLES else "operation"
    told = theme.node_words(node)
    where = f" in {node.layer}" if node.layer else ""
    lit, when = _lighting(steps)
    yield f'<g class="node fw-node fw-{kind} fw-{node.kind}{lit}" id={quoteattr(name)} data-node="{node.id}"{when}>'
    word = node.kind if node.kind == "start" else f"{node.kind}, {kind}" if node.kind == "end" else kind
    yield f"<title>{plain(f'{word}: {told}{where}')}</title>"
    if box.shape == "circle":
        middle = box.y - box.height / 2 + CIRCLE / 2
        yield f'<circle class="fw-shape" cx="{num(box.x)}" cy="{num(middle)}" r="{num(CIRCLE / 2 - 1)}"/>'
        path, solid = mark(node.kind, node.role, node.title, box.x, middle)
        yield f'<g class="fw-mark{" fw-solid" * solid}"><path d="{_path(path)}"/></g>'
        yield from _lines(box.lines, box.x, middle + CIRCLE / 2 + 4)
    else:
        yield outlined(box.shape, box.x, box.y, box.width, box.height)
        high = sum(line.size * LEADING for line in box.lines)
        yield from _lines(box.lines, box.x, box.y - high / 2)
    yield "</g>"


def outlined(shape: theme.Shape, x: float, y: float, wide: float, high: float) -> str:
    """A shape of the drawing language.

    Args:
        shape: Which shape.
        x: Its middle.
        y: Its middle.
        wide: Its width.
        high: Its height.
    """
    if shape == "rectangle" or shape == "rounded":
        radius = min(high / 2, 19.0) if shape == "rounded" else min(2.0, high / 8)
        return (
            f'<rect class="fw-shape" x="{num(x - wide / 2)}" y="{num(y - high / 2)}" width="{num(wide)}" '
            f'height="{num(high)}" rx="{num(radius)}"/>'
        )
    if shape == "ellipse" or shape == "circle":
        return f'<ellipse class="fw-shape" cx="{num(x)}" cy="{num(y)}" rx="{num(wide / 2)}" ry="{num(high / 2)}"/>'
    corners = " ".join(f"{num(a)},{num(b)}" for a, b in outline(shape, x, y, wide, high))
    return f'<polygon class="fw-shape" points="{corners}"/>'


def outline(shape: theme.Shape, x: float, y: float, wide: float, high: float) -> list[tuple[float, float]]:
    """The corners of an angular shape.

    Args:
        shape: Which shape.
        x: Its middle.
        y: Its middle.
        wide: Its width.
        high: Its height.
    """
    left, right, top, bottom = x - wide / 2, x + wide / 2, y - high / 2, y + high / 2
    cut = min(14.0, wide / 4)
    if shape == "diamond":
        return [(x, top), (right, y), (x, bottom), (left, y)]
    if shape == "hexagon":
        return [
            (left + cut, top),
            (right - cut, top),
            (right, y),
            (right - cut, bottom),
            (left + cut, bottom),
            (left, y),
        ]
    if shape == "parallelogram":  # it leans back, to where things came from
        return [(left, top), (right - cut, top), (right, bottom), (left + cut, bottom)]
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


Strokes = list[list[tuple[float, float]]]


def mark(kind: str, role: str, title: str, x: float, y: float) -> tuple[Strokes, bool]:
    """The sign inside a circle, as strokes, and whether it is filled: go, done, failed, or without end.

    Args:
        kind: ``"start"`` or ``"end"``.
        role: The role of the end.
        title: What it says.
        x: Its middle.
        y: Its middle.
    """
    if kind == "start":
        return [[(x - 4, y - 6.5), (x + 7, y), (x - 4, y + 6.5), (x - 4, y - 6.5)]], True
    if role == "success":
        return [[(x - 7, y + 0.5), (x - 2, y + 5.5), (x + 7, y - 5)]], False
    if title == "never ends":
        return [[(x - 6, y), (x - 5.9, y)], [(x, y), (x + 0.1, y)], [(x + 6, y), (x + 6.1, y)]], False
    return [[(x - 5, y - 5), (x + 5, y + 5)], [(x + 5, y - 5), (x - 5, y + 5)]], False


def _path(strokes: Strokes) -> str:
    return "".join("M" + "L".join(f"{num(a)} {num(b)}" for a, b in stroke) for stroke in strokes)


def _lines(lines: Sequence[Line], x: float, top: float) -> Iterator[str]:
    for line in lines:
        baseline = top + line.size * (LEADING / 2 + 0.35)
        yield f'<text class="fw-{line.kind}" x="{num(x)}" y="{num(baseline)}">{plain(line.text)}</text>'
        top += line.size * LEADING


def _arrow(graph: Graph, arrow: Arrow, name: str, steps: tuple[int, ...] | None, prefix: str) -> Iterator[str]:
    edge = arrow.edge
    answer = f": {', '.join(theme.edge_words(edge))}" if theme.edge_words(edge) else ""
    told = f"{graph.nodes[edge.source].title} to {graph.nodes[edge.target].title}{answer}"
    lit, when = _lighting(steps)
    yield (
        f'<g class="edge fw-edge fw-edge-{arrow.role}{" fw-edge-back" * arrow.back}{lit}" id={quoteattr(name)} '
        f'data-from="{edge.source}" data-to="{edge.target}"{when}>'
    )
    yield f"<title>{plain(told)}</title>"
    start, *rest = (f"{num(a)} {num(b)}" for a, b in arrow.curve)
    yield f'<path d="M{start}C{" ".join(rest)}"/>'
    corners = " ".join(f"{num(a)},{num(b)}" for a, b in arrowhead(arrow))
    yield f'<polygon points="{corners}"/>'
    yield from _label(arrow, steps or (), prefix)
    yield "</g>"


def arrowhead(arrow: Arrow) -> list[tuple[float, float]]:
    """The corners of an arrow's tip.

    Args:
        arrow: The arrow.
    """
    (ax, ay), (bx, by) = arrow.curve[-1], arrow.tip
    length = max(((bx - ax) ** 2 + (by - ay) ** 2) ** 0.5, 0.1)
    dx, dy = (bx - ax) / length, (by - ay) / length
    half = 3.2
    return [(bx, by), (ax - dy * half, ay + dx * half), (ax + dy * half, ay - dx * half)]


def _label(arrow: Arrow, steps: tuple[int, ...], prefix: str) -> Iterator[str]:
    top = arrow.label[1] - len(arrow.words) * DETAIL * LEADING / 2
    for number, word in enumerate(arrow.words):
        y = top + DETAIL * (LEADING * (number + 0.5) + 0.35)
        kind, said = "label", plain(word)
        if steps and number == len(arrow.words) - 1:  # each number can be pointed at
            marks = ", ".join(f"<tspan id={quoteattr(f'{prefix}-step{step}')}>{step}</tspan>" for step in steps)
            kind, said = "number", f"step {marks}"
        yield f'<text class="fw-{kind}" x="{num(arrow.label[0])}" y="{num(y)}">{said}</text>'


def _note(note: Note) -> Iterator[str]:
    right, bottom, fold = note.x + note.width, note.y + note.height, 10.0
    yield '<g class="fw-note" aria-hidden="true">'
    yield (
        f'<path d="M{num(note.x)} {num(note.y)}H{num(right)}V{num(bottom - fold)}L{num(right - fold)} {num(bottom)}'
        f'H{num(note.x)}ZM{num(right)} {num(bottom - fold)}H{num(right - fold)}V{num(bottom)}"/>'
    )
    for number, line in enumerate(note.lines):
        y = note.y + 8 + CODE * 1.35 * (number + 0.5) + CODE * 0.35
        yield f'<text x="{num(note.x + 12)}" y="{num(y)}">{plain(line)}</text>'
    yield "</g>"


def _legend(entry: Legend) -> str:
    shape = outlined(entry.shape, entry.x, entry.y, *legend_size(entry.shape))
    return (
        f'<g class="fw-{entry.role}">{shape}<text x="{num(entry.x + 14)}" y="{num(entry.y + 3.9)}">'
        f"{plain(entry.word)}</text></g>"
    )


def legend_size(shape: theme.Shape) -> tuple[float, float]:
    """Width and height of a shape in the legend.

    Args:
        shape: Which shape.
    """
    return {"circle": (12.0, 12.0), "diamond": (18.0, 13.0)}.get(shape, (20.0, 11.0))


_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def plain(text: str) -> str:
    """Text that XML allows, and takes for nothing else.

    Args:
        text: Any text.
    """
    return escape(_FORBIDDEN.sub("\ufffd", text))


def num(value: float) -> str:
    """A coordinate, as short as it can be.

    Args:
        value: The coordinate.
    """
    return f"{round(value, 1) + 0.0:g}" if abs(value) < 1e5 else f"{value:.0f}"
