"""The same drawing as a picture: the scene of the SVG, painted by the Graphviz of pygraphviz's wheel."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from failwell.flow.draw import theme
from failwell.flow.draw.graphviz import CIRCLE, CODE, DETAIL, LEADING, Arrow, Box, DrawingFailed, Scene, engine, place
from failwell.flow.draw.light import Light, light
from failwell.flow.draw.metrics import text_width
from failwell.flow.draw.svg import arrowhead, legend_size, mark, outline

if TYPE_CHECKING:
    from failwell.flow.graph import Graph
    from failwell.flow.path import Path

__all__ = ["png", "source_of"]

SHARPNESS = 144
_SANS = "Segoe UI,Helvetica Neue,Noto Sans,DejaVu Sans,Arial"
_MONO = "Menlo,Consolas,Noto Sans Mono,DejaVu Sans Mono"
_KAPPA = 0.5523


def png(
    graph: Graph,
    *,
    scheme: theme.Scheme = "light",
    note: bool = True,
    legend: bool = True,
    lit: Path | None = None,
    paint: bool = True,
) -> bytes:
    """The graph as PNG. Letters are the machine's own; a digest of what was painted stands in the file.

    Args:
        graph: The graph to draw.
        scheme: ``"light"`` or ``"dark"``.
        note: Whether the stack's code stands on a sticky note above the flow.
        legend: Whether the shapes are explained below it.
        lit: A path of the same exploration to light up.
        paint: Whether to paint it. Without, the file has no picture: it only says what it would be painted
            from, which takes much less time and is enough to compare it with another.

    Raises:
        ValueError: If ``lit`` is no path of the graph.
        DrawingFailed: If there is no Graphviz that paints.
    """
    lights = None if lit is None else light(graph, lit)
    source = _Painter(place(graph, note=note, legend=legend, lights=lights), scheme, lights).source()
    picture = engine(source, "nop2", "png:cairo") if paint else _SIGNATURE + _END
    if not picture.startswith(_SIGNATURE):
        raise DrawingFailed("this Graphviz paints no PNG: write .svg instead, or reinstall pygraphviz from its wheel")
    return _with_text(picture, {"Title": graph.title, "Software": "failwell", "Source": _digest(source)})


# --- what it was painted from ------------------------------------------------------------------------

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = struct.pack(">I4sI", 0, b"IEND", zlib.crc32(b"IEND"))


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode()).hexdigest()


def source_of(picture: bytes) -> str:
    """The digest of what a PNG was painted from: equal for equal drawings, whatever the machine's fonts.

    Args:
        picture: The content of a PNG that `png` made.
    """
    at = len(_SIGNATURE)
    while at + 8 <= len(picture):
        length, kind = struct.unpack(">I4s", picture[at : at + 8])
        if kind == b"iTXt":
            name, _, rest = picture[at + 8 : at + 8 + length].partition(b"\0")
            if name == b"Source":
                return rest.split(b"\0")[-1].decode()
        at += 12 + length
    return ""


def _with_text(picture: bytes, words: dict[str, str]) -> bytes:
    """Put words into a PNG, before its end, and leave out what depends on the machine's clock."""
    chunks = b""
    for name, value in words.items():
        body = b"iTXt" + name.encode() + b"\0\0\0\0\0" + value.encode()
        chunks += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return picture[:-12] + chunks + picture[-12:]


# --- painting ----------------------------------------------------------------------------------------


_LONGEST = 8_000
"""Graphviz refuses a literal of more than 16,384 letters, but joins several."""


def _in_pieces(text: str) -> str:
    """A long text as literals that Graphviz joins."""
    return " + ".join(f'"{text[at : at + _LONGEST]}"' for at in range(0, len(text), _LONGEST))


class _Painter:
    """Writes a scene as Graphviz's own drawing operations, and its words as nodes without a shape."""

    def __init__(self, scene: Scene, scheme: theme.Scheme, lights: Light | None = None) -> None:
        self.scene = scene
        self.lights = lights
        self.scheme: theme.Scheme = scheme
        self.operations: list[str] = []
        self.words: list[str] = []

    def source(self) -> str:
        """The whole picture as DOT."""
        scene, board = self.scene, theme.BOARD.on(self.scheme)
        if scene.note:
            note, fold = scene.note, 10.0
            right, bottom = note.x + note.width, note.y + note.height
            self.pen(theme.QUIET.on(self.scheme), 1.0)
            corner = [(right, bottom - fold), (right - fold, bottom)]
            self.polygon([(note.x, note.y), (right, note.y), *corner, (note.x, bottom)], theme.NOTE.on(self.scheme))
            self.line([corner[0], (right - fold, bottom - fold), corner[1]])
            for number, line in enumerate(note.lines):
                y = note.y + 8 + CODE * 1.35 * (number + 0.5)
                self.say(line, note.x + note.width / 2, y, CODE, theme.TEXT, mono=True, width=note.width - 24)
        for arrow in scene.arrows:
            self.arrow(arrow)
        for box in scene.boxes:
            self.box(box)
        for entry in scene.legend:
            role = theme.style_of(entry.role)
            self.pen(role.stroke.on(self.scheme), 1.2)
            self.shape(entry.shape, entry.x, entry.y, *legend_size(entry.shape), role.fill.on(self.scheme))
            width = text_width(entry.word, 11) + 12
            self.say(entry.word, entry.x + 14 + width / 2, entry.y, 11, theme.QUIET, width=width)
        corners = "".join(
            f'c{n} [shape=point style=invis label="" width=0.001 height=0.001 pos="{x:g},{y:g}"];\n'
            for n, (x, y) in enumerate([(0, 0), (scene.width, scene.height)])
        )
        return (
            f'digraph {{ graph [label="" pad=0 dpi={SHARPNESS} notranslate=true bgcolor="{board}" '
            f"_background={_in_pieces(''.join(self.operations))}];\n"
            f'node [label="" shape=none fixedsize=true margin=0];\n{corners}{"".join(self.words)}}}\n'
        )

    def points(self, points: Sequence[tuple[float, float]]) -> str:
        """Points upwards from the bottom left corner, as Graphviz counts."""
        return " ".join(f"{x:.1f} {self.scene.height - y:.1f}" for x, y in points)

    def pen(self, colour: str, width: float, style: str = "solid") -> None:
        """Choose what the next lines look like."""
        thickness = f"setlinewidth({width:g})"
        self.operations.append(f"c 7 -{colour} S {len(thickness)} -{thickness} S {len(style)} -{style} ")

    def polygon(self, corners: Sequence[tuple[float, float]], fill: str) -> None:
        """A filled shape with straight sides."""
        self.operations.append(f"C 7 -{fill} P {len(corners)} {self.points(corners)} ")

    def line(self, points: Sequence[tuple[float, float]]) -> None:
        """A line of straight pieces."""
        self.operations.append(f"L {len(points)} {self.points(points)} ")

    def shape(self, shape: theme.Shape, x: float, y: float, wide: float, high: float, fill: str) -> None:
        """One of the shapes of the drawing language."""
        if shape in ("circle", "ellipse"):
            bottom = self.scene.height - y
            self.operations.append(f"C 7 -{fill} E {x:.1f} {bottom:.1f} {wide / 2:.1f} {high / 2:.1f} ")
        elif shape == "rounded":
            curve = list(_rounded(x, y, wide, high, min(high / 2, 19.0)))
            self.operations.append(f"C 7 -{fill} b {len(curve)} {self.points(curve)} ")
        else:
            self.polygon(outline(shape, x, y, wide, high), fill)

    def arrow(self, arrow: Arrow) -> None:
        """A curve with its tip and its words."""
        colour, width = theme.style_of(arrow.role).stroke, 1.6
        if self.lights is not None:
            colour, width = (colour, 3.2) if arrow.edge in self.lights.edges else (theme.QUIET, 1.0)
        self.pen(colour.on(self.scheme), width, "dashed" if arrow.back else "solid")
        self.operations.append(f"B {len(arrow.curve)} {self.points(arrow.curve)} ")
        self.pen(colour.on(self.scheme), 1.0)
        self.polygon(arrowhead(arrow), colour.on(self.scheme))
        x, y = arrow.label
        y -= len(arrow.words) * DETAIL * LEADING / 2
        for number, word in enumerate(arrow.words):
            self.say(word, x, y + DETAIL * LEADING * (number + 0.5), DETAIL, colour)

    def box(self, box: Box) -> None:
        """A node."""
        node = box.node
        role = theme.style_of("operation" if node.kind == "start" else node.role)
        stroke, fill, width = role.stroke.on(self.scheme), role.fill.on(self.scheme), 1.6
        dim = self.lights is not None and node.id not in self.lights.nodes
        if self.lights is not None:
            width = 1.0 if dim else 3.2
        if dim:
            stroke, fill = theme.QUIET.on(self.scheme), theme.BOARD.on(self.scheme)
        self.pen(stroke, width)
        top = box.y - sum(line.size * LEADING for line in box.lines) / 2
        if box.shape == "circle":
            middle = box.y - box.height / 2 + CIRCLE / 2
            self.shape("circle", box.x, middle, CIRCLE - 2, CIRCLE - 2, fill)
            strokes, solid = mark(node.kind, node.role, node.title, box.x, middle)
            self.pen(stroke, 2.6)
            for points in strokes:
                if solid:
                    self.polygon(points, stroke)
                elif points[1][0] - points[0][0] < 1 and points[0][1] == points[1][1]:  # a dot
                    self.shape("circle", *points[0], 1.0, 1.0, stroke)
                else:
                    self.line(points)
            top = middle + CIRCLE / 2 + 4
        else:
            self.shape(box.shape, box.x, box.y, box.width, box.height, fill)
        for line in box.lines:
            colour = theme.QUIET if dim or line.kind == "layer" else theme.TEXT
            self.say(line.text, box.x, top + line.size * LEADING / 2, line.size, colour, bold=line.kind == "title")
            top += line.size * LEADING

    def say(
        self,
        text: str,
        x: float,
        y: float,
        size: float,
        colour: theme.Both,
        *,
        bold: bool = False,
        mono: bool = False,
        width: float = 0.0,
    ) -> None:
        """A line of words: centred, or on the left of a given width."""
        label = text.replace("\\", "\\\\").replace('"', '\\"') + ("\\l" if width else "")
        face = (_MONO if mono else _SANS) + (" Bold" if bold else "")
        wide = (width or text_width(text, size, bold=bold) * 1.4 + 20) / 72
        self.words.append(
            f't{len(self.words)} [label="{label}" fontname="{face}" fontsize={size:g} '
            f'fontcolor="{colour.on(self.scheme)}" width={wide:.3f} height={size * 2.2 / 72:.3f} '
            f'pos="{x:.1f},{self.scene.height - y:.1f}"];\n'
        )


def _rounded(x: float, y: float, wide: float, high: float, r: float) -> Iterator[tuple[float, float]]:
    """A rectangle with round corners, as Bezier pieces."""
    left, right, top, bottom, k = x - wide / 2, x + wide / 2, y - high / 2, y + high / 2, r * (1 - _KAPPA)

    def straight(a: tuple[float, float], b: tuple[float, float]) -> Iterator[tuple[float, float]]:
        yield ((2 * a[0] + b[0]) / 3, (2 * a[1] + b[1]) / 3)
        yield ((a[0] + 2 * b[0]) / 3, (a[1] + 2 * b[1]) / 3)
        yield b

    yield (left + r, top)
    yield from straight((left + r, top), (right - r, top))
    yield from [(right - k, top), (right, top + k), (right, top + r)]
    yield from straight((right, top + r), (right, bottom - r))
    yield from [(right, bottom - k), (right - k, bottom), (right - r, bottom)]
    yield from straight((right - r, bottom), (left + r, bottom))
    yield from [(left + k, bottom), (left, bottom - k), (left, bottom - r)]
    yield from straight((left, bottom - r), (left, top + r))
    yield from [(left, top + k), (left + k, top), (left + r, top)]
