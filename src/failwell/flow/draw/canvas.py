"""A graph as JSON Canvas 1.0, for note-taking programs that have an endless board (Obsidian, Logseq's importers ...).

The format knows cards and arrows, and no shapes: the word of its role stands on each card, beside its colour.

Source: the specification (https://jsoncanvas.org/spec/1.0/).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from failwell.flow.draw import theme
from failwell.flow.draw.excalidraw import printable
from failwell.flow.draw.graphviz import Box, Scene, place
from failwell.flow.draw.svg import edge_ids

if TYPE_CHECKING:
    from failwell.flow.graph import Graph

__all__ = ["canvas"]

SCALE = 2.4
"""How much larger everything is than in an SVG: a card has a margin and larger letters."""
_MARGIN = 40
_LINE, _LETTER = 26, 9.6
_EDGE = 48
_NARROW = 120
_BREAK = "  \n"

Side = Literal["top", "right", "bottom", "left"]


def canvas(graph: Graph, *, scheme: theme.Scheme = "light", prefix: str = "", note: bool = True) -> str:
    """The graph as a JSON Canvas file.

    Args:
        graph: The graph to draw.
        scheme: ``"light"`` or ``"dark"``: the colours of cards and arrows.
        prefix: What all ids begin with; drawings that share a board need different ones.
        note: Whether cards with the stack's code and with its times stand above the flow.
    """
    scene = place(graph, note=note, legend=False)
    before = f"{prefix}-" if prefix else ""
    tell_layers = theme.several_layers(graph)
    names = edge_ids(graph)
    cards = [_card(box, f"{before}n{box.node.id}", scheme, tell_layers) for box in scene.boxes]
    frame = _around(cards)
    notes = list(_notes(graph, scene, before, frame["x"], frame["y"] - _MARGIN)) if note else []
    group = {
        "id": f"{before}flow",
        "type": "group",
        **frame,
        "label": printable(graph.title or "Flow"),
        "color": theme.QUIET.on(scheme),
    }
    edges: list[dict[str, Any]] = []
    for arrow in scene.arrows:
        edge = arrow.edge
        found: dict[str, Any] = {
            "id": f"{before}{names[edge]}",
            "fromNode": f"{before}n{edge.source}",
            "fromSide": _side(scene.boxes[edge.source], arrow.curve[0]),
            "toNode": f"{before}n{edge.target}",
            "toSide": _side(scene.boxes[edge.target], arrow.tip),
            "color": theme.style_of(arrow.role).stroke.on(scheme),
        }
        words = ", ".join(theme.edge_words(edge))
        edges.append({**found, "label": printable(words)} if words else found)
    return json.dumps({"nodes": [group, *notes, *cards], "edges": edges}, indent=2, ensure_ascii=False) + "\n"


def _card(box: Box, name: str, scheme: theme.Scheme, tell_layer: bool) -> dict[str, Any]:
    node = box.node
    role = "operation" if node.kind == "start" else node.role if node.role in theme.ROLES else "operation"
    layer = theme.layer_words(node) if tell_layer else ""
    words = [f"*{_plain(layer)}*"] if layer else []
    words += [f"**{_plain(node.title)}**", *map(_plain, node.details)]
    if role != "operation":
        words.append(f"*{role}*")
    wide = max(round(box.width * SCALE), _NARROW)
    return {
        "id": name,
        "type": "text",
        "x": round(box.x * SCALE - wide / 2),
        "y": round((box.y - box.height / 2) * SCALE),
        "width": wide,
        "height": round(box.height * SCALE),
        "color": theme.style_of(role).stroke.on(scheme),
        "text": _BREAK.join(words),
    }


def _notes(graph: Graph, scene: Scene, before: str, left: int, bottom: int) -> Iterable[dict[str, Any]]:
    """The code above the flow, and beside it what takes time."""
    texts: list[tuple[str, Sequence[str], str]] = []
    if scene.note:
        code = [printable(line) for line in scene.note.lines]
        fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", "\n".join(code))), default=0))
        texts.append(("code", code, "\n".join([f"{fence}python", *code, fence])))
    if graph.timing:
        texts.append(("timing", graph.timing, _BREAK.join(["**Timing**", *map(_plain, graph.timing)])))
    for name, lines, text in texts:
        wide = round(max(map(len, lines)) * _LETTER) + 2 * _EDGE
        high = (len(lines) + 1) * _LINE + _EDGE
        yield {
            "id": f"{before}{name}",
            "type": "text",
            "x": left,
            "y": bottom - high,
            "width": wide,
            "height": high,
            "text": text,
        }
        left += wide + _MARGIN


def _around(cards: Iterable[dict[str, Any]]) -> dict[str, int]:
    """A frame around cards."""
    inside = list(cards)
    left, top = (min(card[key] for card in inside) - _MARGIN for key in ("x", "y"))
    right = max(card["x"] + card["width"] for card in inside) + _MARGIN
    bottom = max(card["y"] + card["height"] for card in inside) + _MARGIN
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


def _side(box: Box, point: tuple[float, float]) -> Side:
    """The side of a box on which an arrow meets it."""
    across = (point[0] - box.x) / max(box.width / 2, 1)
    down = (point[1] - box.y) / max(box.height / 2, 1)
    if abs(down) >= abs(across):
        return "bottom" if down > 0 else "top"
    return "right" if across > 0 else "left"


_MARKUP = re.compile(r"[\\`*{}\[\]<>#|~=$^%!&]|(?<!\w)_|_(?!\w)|^[-+](?= )|(?<=^\d)[.)]")


def _plain(text: str) -> str:
    """Text that is not taken for Markdown."""
    return _MARKUP.sub(lambda found: f"\\{found[0]}", printable(text))
