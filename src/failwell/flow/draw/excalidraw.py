"""A graph as an Excalidraw file: the same drawing by hand, to be moved about and written on.

Every box is an Excalidraw shape with its words bound to it, every arrow is bound to its two boxes and
carries its answer as a label, so that a box can be dragged and its arrows follow. Excalidraw has no
hexagon and no parallelogram: those are closed lines, grouped with a frame that cannot be seen, which
holds the words and the arrows.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from failwell.flow.draw import theme
from failwell.flow.draw.curves import Point, between, length, sampled, spread, thinned
from failwell.flow.draw.graphviz import CIRCLE, Arrow, Box, Legend, Scene, place
from failwell.flow.draw.metrics import text_width
from failwell.flow.draw.svg import edge_ids, legend_size, mark, outline

if TYPE_CHECKING:
    from failwell.flow.graph import Graph

__all__ = ["excalidraw", "printable"]

SCALE = 1.75
"""How much larger everything is than in an SVG: hand-drawn letters need room, and have one size in a box."""
SIZE = 18
HAND, CODE = 5, 8
"""Excalidraw's numbers for its hand-drawn face and for the hand-drawn one for code."""
_LEADING = 1.25
_WIDER = 1.12
"""How much wider the hand-drawn face is than the letters that the places were found for."""
_CLEAR = "transparent"
_CURVED, _ROUND_CORNERS = 2, 3

Element: TypeAlias = "dict[str, Any]"


def excalidraw(
    graph: Graph,
    *,
    scheme: theme.Scheme = "light",
    prefix: str = "",
    note: bool = True,
    legend: bool = True,
) -> str:
    """The graph as an Excalidraw file.

    Args:
        graph: The graph to draw.
        scheme: ``"light"`` or ``"dark"``: the colours in the file. An editor in dark mode inverts a light
            file by itself.
        prefix: What all ids begin with; drawings that share a board need different ones.
        note: Whether sticky notes with the stack's code and with its times stand beside the flow.
        legend: Whether the shapes are explained below it.
    """
    board = _Board(graph, scheme, prefix)
    scene = place(graph, note=note, legend=legend)
    names = edge_ids(graph)
    ways = [
        [
            (x * SCALE, y * SCALE)
            for x, y in between(sampled(arrow), scene.boxes[arrow.edge.source], scene.boxes[arrow.edge.target])
        ]
        for arrow in scene.arrows
    ]
    spots = _label_spots(scene, ways)
    for arrow, way, spot in zip(scene.arrows, ways, spots, strict=True):  # boxes lie above the arrows' ends
        board.arrow(arrow, names[arrow.edge], scene.boxes, way, spot)
    for box in scene.boxes:
        board.box(box)
    if note:
        board.notes(scene)
    for number, entry in enumerate(scene.legend):
        board.explain(entry, f"legend{number}")
    document = {
        "type": "excalidraw",
        "version": 2,
        "source": "failwell",
        "elements": board.numbered(),
        "appState": {"viewBackgroundColor": theme.BOARD.on(scheme)},
        "files": {},
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


class _Board:
    """Collects elements, and remembers what is bound to what."""

    def __init__(self, graph: Graph, scheme: theme.Scheme, prefix: str) -> None:
        self.scheme: theme.Scheme = scheme
        self.prefix = f"{prefix}-" if prefix else ""
        self.elements: list[Element] = []
        self.bound: dict[str, list[dict[str, str]]] = {}
        self.tell_layers = theme.several_layers(graph)
        self.graph = graph

    def numbered(self) -> list[Element]:
        """All elements, each with what is bound to it and with its place in the order."""
        for number, element in enumerate(self.elements):
            element["index"] = _index(number)
            element["boundElements"] = self.bound.get(element["id"], [])
        return self.elements

    # -- the pieces --

    def box(self, box: Box) -> None:
        """A node: its shape and its words."""
        node = box.node
        name = self.name(f"n{node.id}")
        role = "start" if node.kind == "start" else node.role if node.role in theme.ROLES else "operation"
        told: dict[str, Any] = {"node": node.id, "kind": node.kind, "role": role, "layer": printable(node.layer)}
        if box.shape == "circle":
            self.circle(box, name, told)
            return
        shape = _scaled(box.x - box.width / 2, box.y - box.height / 2, box.width, box.height)
        self.shape(box.shape, name, role, shape, told)
        layer = theme.layer_words(node) if self.tell_layers else ""
        logical = [layer] if layer else []
        self.bind_text(name, [line.text for line in box.lines], [*logical, node.title, *node.details], shape)

    def circle(self, box: Box, name: str, told: Mapping[str, Any]) -> None:
        """A start or an end: a circle with a sign in it, and words below."""
        node, role = box.node, str(told["role"])
        group = [f"{name}-group"]
        top = box.y - box.height / 2
        shape = _scaled(box.x - CIRCLE / 2, top, CIRCLE, CIRCLE)
        self.shape("circle", name, role, shape, told, group)
        strokes, solid = mark(node.kind, node.role, node.title, box.x, top + CIRCLE / 2)
        for number, stroke in enumerate(strokes):
            points = [(x * SCALE, y * SCALE) for x, y in stroke]
            if math.dist(points[0], points[-1]) < 1 and len(points) == 2:  # a dot
                (x, y), wide = points[0], 4.0
                dot = (x - wide / 2, y - wide / 2, wide, wide)
                self.shape("circle", f"{name}-mark{number}", role, dot, told, group, filled_with_stroke=True)
            else:
                self.line(f"{name}-mark{number}", role, points, group, filled_with_stroke=solid, thick=True)
        if box.lines:
            words = [line.text for line in box.lines]
            high = len(words) * SIZE * _LEADING
            below = (top + CIRCLE) * SCALE + 6
            self.text(f"{name}-text", words, (box.x * SCALE, below + high / 2), group=group, told=told)

    def shape(
        self,
        shape: theme.Shape,
        name: str,
        role: str,
        at: tuple[float, float, float, float],
        told: Mapping[str, Any],
        group: Sequence[str] = (),
        *,
        filled_with_stroke: bool = False,
    ) -> None:
        """One of the shapes of the drawing language."""
        x, y, wide, high = at
        look = theme.style_of(role)
        stroke, fill = look.stroke.on(self.scheme), look.fill.on(self.scheme)
        if filled_with_stroke:
            fill = stroke
        if shape in ("hexagon", "parallelogram"):
            group = [*group, f"{name}-group"]
            corners = outline(shape, 0, 0, wide / SCALE, high / SCALE)
            middle = (x + wide / 2, y + high / 2)
            points = [(middle[0] + a * SCALE, middle[1] + b * SCALE) for a, b in corners]
            self.line(f"{name}-outline", role, [*points, points[0]], group, closed=True)
            stroke = fill = _CLEAR  # what follows only holds the words and the arrows
        kind = {"circle": "ellipse", "ellipse": "ellipse", "diamond": "diamond"}.get(shape, "rectangle")
        self.add(
            kind,
            name,
            (x, y, wide, high),
            stroke=stroke,
            fill=fill,
            group=group,
            roundness={"type": _ROUND_CORNERS} if shape == "rounded" else None,
            told=dict(told),
        )

    def line(
        self,
        name: str,
        role: str,
        points: Sequence[Point],
        group: Sequence[str],
        *,
        closed: bool = False,
        filled_with_stroke: bool = False,
        thick: bool = False,
    ) -> None:
        """Straight pieces; closed ones are filled."""
        look = theme.style_of(role)
        stroke = look.stroke.on(self.scheme)
        fill = stroke if filled_with_stroke else look.fill.on(self.scheme) if closed else _CLEAR
        self.linear(
            "line",
            name,
            points,
            stroke=stroke,
            fill=fill,
            group=group,
            strokeWidth=4 if thick else 2,
            roughness=0 if thick else 1,
            polygon=closed or filled_with_stroke,
            startBinding=None,
            endBinding=None,
            startArrowhead=None,
            endArrowhead=None,
        )

    def arrow(self, arrow: Arrow, name: str, boxes: Sequence[Box], way: Sequence[Point], spot: int) -> None:
        """An edge with its answer."""
        edge, name = arrow.edge, self.name(name)
        source, target = boxes[edge.source], boxes[edge.target]
        colour = theme.style_of(arrow.role).stroke.on(self.scheme)
        share, points = _around(way, spot) if arrow.words else (0.5, thinned(way))
        element = self.linear(
            "arrow",
            name,
            points,
            stroke=colour,
            fill=_CLEAR,
            strokeStyle="dashed" if arrow.back else "solid",
            roundness={"type": _CURVED},
            elbowed=False,
            startBinding=self.binding(source, points[0], name),
            endBinding=self.binding(target, points[-1], name),
            startArrowhead=None,
            endArrowhead="triangle",
            told={"from": edge.source, "to": edge.target, "role": arrow.role, "back": arrow.back},
        )
        if arrow.words:
            middle = points[len(points) // 2]
            words = list(theme.edge_words(edge))
            self.text(f"{name}-text", arrow.words, middle, colour=colour, inside=name, whole=words, labelPosition=share)
            self.bound.setdefault(element["id"], []).append({"id": f"{name}-text", "type": "text"})

    def binding(self, box: Box, end: Point, arrow: str) -> dict[str, Any]:
        """Ties an end of an arrow to a box, in the words of old and new versions of Excalidraw."""
        name = self.name(f"n{box.node.id}")
        tied = self.bound.setdefault(name, [])
        if {"id": arrow, "type": "arrow"} not in tied:
            tied.append({"id": arrow, "type": "arrow"})
        high = CIRCLE if box.shape == "circle" else box.height
        left, top = (box.x - box.width / 2) * SCALE, (box.y - box.height / 2) * SCALE
        wide = CIRCLE if box.shape == "circle" else box.width
        left = (box.x - wide / 2) * SCALE
        # Towards the middle of the box from where the arrow meets it: a moved box keeps its arrows on their sides.
        across = 0.5 + (min(max((end[0] - left) / (wide * SCALE), 0.0), 1.0) - 0.5) / 2
        down = 0.5 + (min(max((end[1] - top) / (high * SCALE), 0.0), 1.0) - 0.5) / 2
        fixed = [_apart(across), _apart(down)]
        return {"elementId": name, "focus": 0, "gap": 1, "fixedPoint": fixed, "mode": "orbit"}

    def notes(self, scene: Scene) -> None:
        """The code above the flow, and beside it what takes time."""
        bottom = min(box.y - box.height / 2 for box in scene.boxes) * SCALE - 24
        right = scene.width * SCALE / 2
        if scene.note:
            wide, high = _text_size(scene.note.lines, CODE)
            left = right - wide / 2 - 12
            self.note("code", scene.note.lines, (left, bottom - high - 24, wide + 24, high + 24), CODE)
            right = left + wide + 48
        if self.graph.timing:
            lines = ("Timing", *self.graph.timing)
            wide, high = _text_size(lines, HAND)
            self.note("timing", lines, (right, bottom - high - 24, wide + 24, high + 24), HAND)

    def note(self, name: str, lines: Sequence[str], shape: tuple[float, float, float, float], face: int) -> None:
        """A sticky note. It is a rectangle, which every version of Excalidraw knows."""
        name = self.name(name)
        told = {"role": "note"}
        fill = theme.NOTE.on(self.scheme)
        self.add("rectangle", name, shape, stroke=theme.QUIET.on(self.scheme), fill=fill, told=told, strokeWidth=1)
        self.bind_text(name, lines, lines, shape, align="left", face=face)

    def explain(self, entry: Legend, name: str) -> None:
        """An entry of the legend."""
        name = self.name(name)
        group = [f"{name}-group"]
        wide, high = legend_size(entry.shape)
        shape = _scaled(entry.x - wide / 2, entry.y - high / 2, wide, high)
        self.shape(entry.shape, name, entry.role, shape, {"role": entry.role, "legend": True}, group)
        width = text_width(entry.word, SIZE) * _WIDER
        middle = ((entry.x + 14) * SCALE + width / 2, entry.y * SCALE)
        quiet = theme.QUIET.on(self.scheme)
        self.text(f"{name}-text", [entry.word], middle, colour=quiet, group=group, align="left")

    # -- elements --

    def bind_text(
        self,
        container: str,
        lines: Sequence[str],
        whole: Sequence[str],
        at: tuple[float, float, float, float],
        *,
        align: str = "center",
        face: int = HAND,
    ) -> None:
        """Words that belong to a shape."""
        x, y, wide, high = at
        self.bound.setdefault(container, []).insert(0, {"id": f"{container}-text", "type": "text"})
        group = [one for element in self.elements if element["id"] == container for one in element["groupIds"]]
        middle = (x + wide / 2, y + high / 2)
        if align == "left":
            middle = (x + 12 + _text_size(lines, face)[0] / 2, middle[1])
        name = f"{container}-text"
        self.text(name, lines, middle, inside=container, whole=whole, align=align, face=face, group=group)

    def text(
        self,
        name: str,
        lines: Sequence[str],
        middle: Point,
        *,
        colour: str = "",
        inside: str | None = None,
        whole: Sequence[str] = (),
        align: str = "center",
        face: int = HAND,
        group: Sequence[str] = (),
        told: Mapping[str, Any] | None = None,
        labelPosition: float | None = None,  # noqa: N803
    ) -> None:
        """Words around a point."""
        wide, high = _text_size(lines, face)
        said = "\n".join(map(printable, lines))
        self.add(
            "text",
            name,
            (middle[0] - wide / 2, middle[1] - high / 2, wide, high),
            stroke=colour or theme.TEXT.on(self.scheme),
            fill=_CLEAR,
            group=group,
            told=told,
            text=said,
            originalText="\n".join(map(printable, whole)) or said,
            fontSize=SIZE,
            fontFamily=face,
            textAlign=align,
            verticalAlign="middle" if inside else "top",
            containerId=inside,
            lineHeight=_LEADING,
            autoResize=True,
            **({} if labelPosition is None else {"labelPosition": labelPosition}),
        )

    def linear(self, kind: str, name: str, points: Sequence[Point], **more: Any) -> Element:
        """Something along points."""
        (x, y), across, down = points[0], [p[0] for p in points], [p[1] for p in points]
        size = (max(across) - min(across), max(down) - min(down))
        relative = [[_n(a - x), _n(b - y)] for a, b in points]
        return self.add(kind, name, (x, y, *size), points=relative, **more)

    def add(
        self,
        kind: str,
        name: str,
        at: tuple[float, float, float, float],
        *,
        stroke: str,
        fill: str,
        group: Sequence[str] = (),
        told: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Element:
        """One element; what is not said is as in a new one."""
        x, y, wide, high = map(_n, at)
        element: Element = {
            "id": name,
            "type": kind,
            "x": x,
            "y": y,
            "width": wide,
            "height": high,
            "angle": 0,
            "strokeColor": stroke,
            "backgroundColor": fill,
            "fillStyle": "solid",
            "strokeWidth": 2,
            "strokeStyle": "solid",
            "roughness": 1,
            "opacity": 100,
            "groupIds": list(group),
            "frameId": None,
            "index": None,
            "roundness": None,
            "seed": _number(name, "seed"),
            "version": 1,
            "versionNonce": _number(name, "version"),
            "isDeleted": False,
            "boundElements": [],
            "updated": 1,
            "link": None,
            "locked": False,
            **more,
        }
        if told:
            element["customData"] = dict(told)
        self.elements.append(element)
        return element

    def name(self, name: str) -> str:
        """The id of an element."""
        return f"{self.prefix}{name}"


# --- numbers, the same on every machine --------------------------------------------------------------


def _number(name: str, what: str) -> int:
    """A number for the roughness of a line: different for each, and always the same."""
    return int.from_bytes(hashlib.sha256(f"{what} {name}".encode()).digest()[:4], "big") >> 1 or 1


_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _index(number: int) -> str:
    """The place of an element as Excalidraw writes it: ``a0`` to ``az``, then ``b00`` to ``bzz``, and so on."""
    for long, letter in enumerate("abcdefgh", 1):
        if number < 62**long:
            digits = ""
            for _ in range(long):
                number, digit = divmod(number, 62)
                digits = _DIGITS[digit] + digits
            return letter + digits
        number -= 62**long
    raise OverflowError("too many elements")


def _n(value: float) -> float:
    """One decimal is enough, and a whole number is written as one."""
    rounded = round(value, 1) + 0.0
    return int(rounded) if rounded == int(rounded) else rounded


def _apart(share: float) -> float:
    """A share that is never quite a half, which Excalidraw takes for a tie that was not made by hand."""
    return 0.5001 if abs(share - 0.5) < 1e-4 else round(share, 4)


def _scaled(*numbers: float) -> Any:
    return tuple(number * SCALE for number in numbers)


def _text_size(lines: Sequence[str], face: int) -> tuple[float, float]:
    wide = max((text_width(line, SIZE, mono=face == CODE) for line in lines), default=0.0)
    return wide * (1.0 if face == CODE else _WIDER), len(lines) * SIZE * _LEADING


def printable(text: str) -> str:
    """Text without letters that a picture cannot show.

    Args:
        text: Any text.
    """
    return "".join(c if c.isprintable() else " " if c.isspace() else "\ufffd" for c in text)


# --- labels ------------------------------------------------------------------------------------------


_Area: TypeAlias = "tuple[float, float, float, float]"
"""A middle, a width and a height."""


def _label_spots(scene: Scene, ways: Sequence[Sequence[Point]]) -> list[int]:
    """Where on its way each arrow has its label: near the place found for it, but on no box, label or other arrow."""
    taken: list[_Area] = [(*way[-1], 60.0, 60.0) for way in ways]  # the tips; then boxes and labels
    taken += [
        (box.x * SCALE, box.y * SCALE, box.width * SCALE, box.height * SCALE + 8 * (box.shape == "circle"))
        for box in scene.boxes
    ]
    frames = [_frame(way) for way in ways]
    spots: list[int] = []
    for number, (arrow, way) in enumerate(zip(scene.arrows, ways, strict=True)):
        spot = 0
        if arrow.words:
            wish = (arrow.label[0] * SCALE, arrow.label[1] * SCALE)
            size = _text_size(arrow.words, HAND)
            others = [(frames[at], other) for at, other in enumerate(ways) if at != number]
            spot = _free_spot(way, wish, size, taken, others)
            taken.append((*way[spot], *size))
        spots.append(spot)
    return spots


def _free_spot(
    way: Sequence[Point],
    wish: Point,
    size: Point,
    taken: Sequence[_Area],
    others: Sequence[tuple[_Area, Sequence[Point]]],
) -> int:
    """The place on a way next to the wish where nothing is in the way, or as little as can be."""
    least, best = math.inf, 0
    for at in sorted(range(len(way) // 8, len(way) - len(way) // 8), key=lambda at: math.dist(way[at], wish)):
        label = (*way[at], *size)
        blocked = sum(_meet(label, area) for area in taken)
        crossed = sum(
            _meet(label, frame) and any(_meet(label, (x, y, 0.0, 0.0)) for x, y in other) for frame, other in others
        )
        if 2 * blocked + crossed < least:
            least, best = 2 * blocked + crossed, at
        if not least:
            break
    return best


def _meet(one: _Area, other: _Area) -> bool:
    return abs(one[0] - other[0]) < (one[2] + other[2]) / 2 and abs(one[1] - other[1]) < (one[3] + other[3]) / 2


def _frame(way: Sequence[Point]) -> _Area:
    left, right = min(x for x, _ in way), max(x for x, _ in way)
    top, bottom = min(y for _, y in way), max(y for _, y in way)
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _around(way: Sequence[Point], spot: int) -> tuple[float, list[Point]]:
    """A place as a share of its way, and the way with that place in its middle, where old versions put a label."""
    before, after = way[: spot + 1], way[spot:]
    share = length(before) / max(length(way), 1.0)
    count = max(len(thinned(before)), len(thinned(after))) - 2
    return round(share, 3), [*spread(before, count), *spread(after, count)[1:]]
