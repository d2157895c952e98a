"""Checkers for files of other programs: JSON Canvas by its specification, Excalidraw by what its editor reads.

Each returns everything that is wrong with a document, in words; nothing if it is sound.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Check = Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _filled(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _size(value: Any) -> bool:
    return _number(value) and value >= 0


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _one_of(*allowed: object) -> Check:
    return lambda value: not isinstance(value, list | dict) and value in allowed


def _matching(pattern: str) -> Check:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _either(*checks: Check) -> Check:
    return lambda value: any(check(value) for check in checks)


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(check(one) for one in value)


def _nothing(value: Any) -> bool:
    return value is None


def _wrong_keys(where: str, found: Any, needed: Mapping[str, Check], allowed: Mapping[str, Check]) -> Iterator[str]:
    if not isinstance(found, dict):
        yield f"{where} is no object"
        return
    for key, check in needed.items():
        if key not in found:
            yield f"{where} lacks {key}"
        elif not check(found[key]):
            yield f"{where}: {key} is {found[key]!r}"
    for key, value in found.items():
        if key in allowed and not allowed[key](value):
            yield f"{where}: {key} is {value!r}"
        if key not in needed and key not in allowed:
            yield f"{where}: {key} is not known"


def _twice(ids: list[Any]) -> Iterator[str]:
    for name, count in Counter(map(str, ids)).items():
        if count > 1:
            yield f"{count} things are called {name}"


# --- JSON Canvas 1.0 (https://jsoncanvas.org/spec/1.0/) ----------------------------------------------

_COLOUR = _either(_matching("#[0-9a-fA-F]{6}"), _one_of("1", "2", "3", "4", "5", "6"))
_SIDE, _END = _one_of("top", "right", "bottom", "left"), _one_of("none", "arrow")
_NODE: dict[str, Check] = {
    "id": _filled,
    "type": _one_of("text", "file", "link", "group"),
    "x": _whole,
    "y": _whole,
    "width": _whole,
    "height": _whole,
}
_NODE_KINDS: dict[str, tuple[dict[str, Check], dict[str, Check]]] = {
    "text": ({"text": _text}, {}),
    "file": ({"file": _filled}, {"subpath": _matching("#.+")}),
    "link": ({"url": _filled}, {}),
    "group": (
        {},
        {"label": _text, "background": _filled, "backgroundStyle": _one_of("cover", "ratio", "repeat")},
    ),
}
_EDGE: dict[str, Check] = {"id": _filled, "fromNode": _filled, "toNode": _filled}
_EDGE_MORE: dict[str, Check] = {
    "fromSide": _SIDE,
    "fromEnd": _END,
    "toSide": _SIDE,
    "toEnd": _END,
    "color": _COLOUR,
    "label": _text,
}


def wrong_with_canvas(document: Any) -> list[str]:
    """What of a document is not as JSON Canvas 1.0 says."""
    wrong = list(_wrong_keys("the canvas", document, {}, {"nodes": _list_of(_any), "edges": _list_of(_any)}))
    if wrong:
        return wrong
    nodes, edges = document.get("nodes", []), document.get("edges", [])
    for node in nodes:
        kind = node.get("type") if isinstance(node, dict) else None
        needed, allowed = _NODE_KINDS.get(str(kind), ({}, {}))
        where = f"node {node.get('id')}" if isinstance(node, dict) else "a node"
        wrong += _wrong_keys(where, node, {**_NODE, **needed}, {"color": _COLOUR, **allowed})
    for edge in edges:
        where = f"edge {edge.get('id')}" if isinstance(edge, dict) else "an edge"
        wrong += _wrong_keys(where, edge, _EDGE, _EDGE_MORE)
    if wrong:
        return wrong
    known = [node["id"] for node in nodes]
    wrong += _twice([*known, *(edge["id"] for edge in edges)])
    for edge in edges:
        wrong += [
            f"edge {edge['id']}: there is no {edge[end]}" for end in ("fromNode", "toNode") if edge[end] not in known
        ]
    return wrong


def _any(value: Any) -> bool:
    return True


# --- Excalidraw, version 2 of its file ---------------------------------------------------------------

_PAINT = _either(_matching("#[0-9a-fA-F]{6}"), _one_of("transparent"))
_ID = _filled
_POINT: Check = lambda value: isinstance(value, list) and len(value) == 2 and all(map(_number, value))  # noqa: E731
_BASE: dict[str, Check] = {
    "id": _ID,
    "type": _one_of("rectangle", "diamond", "ellipse", "text", "line", "arrow"),
    "x": _number,
    "y": _number,
    "width": _size,
    "height": _size,
    "angle": _number,
    "strokeColor": _PAINT,
    "backgroundColor": _PAINT,
    "fillStyle": _one_of("hachure", "cross-hatch", "solid", "zigzag"),
    "strokeWidth": lambda value: _number(value) and value > 0,
    "strokeStyle": _one_of("solid", "dashed", "dotted"),
    "roughness": _one_of(0, 1, 2),
    "opacity": lambda value: _number(value) and 0 <= value <= 100,
    "groupIds": _list_of(_ID),
    "frameId": _either(_nothing, _ID),
    "index": _matching("[a-z][0-9A-Za-z]+"),
    "roundness": _either(
        _nothing, lambda value: isinstance(value, dict) and value.keys() == {"type"} and value["type"] in (1, 2, 3)
    ),
    "seed": lambda value: _whole(value) and 0 < value < 2**31,
    "version": lambda value: _whole(value) and value > 0,
    "versionNonce": lambda value: _whole(value) and 0 <= value < 2**31,
    "isDeleted": _one_of(False),
    "boundElements": _list_of(
        lambda one: isinstance(one, dict) and one.keys() == {"id", "type"} and one["type"] in ("text", "arrow")
    ),
    "updated": _whole,
    "link": _either(_nothing, _filled),
    "locked": _flag,
}
_HEAD = _either(_nothing, _one_of("arrow", "bar", "circle", "circle_outline", "triangle", "triangle_outline"))
_TIE: dict[str, Check] = {
    "elementId": _ID,
    "focus": _number,
    "gap": _size,
    "fixedPoint": _POINT,
    "mode": _one_of("inside", "orbit", "skip"),
}
_TIED = _either(_nothing, lambda value: isinstance(value, dict) and not [*_wrong_keys("", value, _TIE, {})])
_ALONG: dict[str, Check] = {
    "points": lambda value: _list_of(_POINT)(value) and len(value) > 1 and value[0] == [0, 0],
    "startBinding": _TIED,
    "endBinding": _TIED,
    "startArrowhead": _HEAD,
    "endArrowhead": _HEAD,
}
_KINDS: dict[str, dict[str, Check]] = {
    "text": {
        "text": _filled,
        "originalText": _filled,
        "fontSize": lambda value: _number(value) and value > 0,
        "fontFamily": _one_of(1, 2, 3, 5, 6, 7, 8, 9),
        "textAlign": _one_of("left", "center", "right"),
        "verticalAlign": _one_of("top", "middle", "bottom"),
        "containerId": _either(_nothing, _ID),
        "lineHeight": lambda value: _number(value) and value > 0,
        "autoResize": _flag,
    },
    "line": {**_ALONG, "polygon": _flag},
    "arrow": {**_ALONG, "elbowed": _flag},
}
_EXTRA: dict[str, Check] = {"customData": lambda value: isinstance(value, dict)}
_TEXT_EXTRA: dict[str, Check] = {"labelPosition": lambda value: _number(value) and 0 <= value <= 1}
_FILE: dict[str, Check] = {
    "type": _one_of("excalidraw"),
    "version": _one_of(2),
    "source": _filled,
    "elements": _list_of(lambda value: isinstance(value, dict)),
    "appState": lambda value: isinstance(value, dict) and _PAINT(value.get("viewBackgroundColor")),
    "files": lambda value: isinstance(value, dict),
}


def wrong_with_excalidraw(document: Any) -> list[str]:
    """What of a document an Excalidraw editor would have to repair, or could not read."""
    wrong = list(_wrong_keys("the file", document, _FILE, {}))
    if wrong:
        return wrong
    elements = document["elements"]
    for element in elements:
        kind = str(element.get("type"))
        more = {**_EXTRA, **(_TEXT_EXTRA if kind == "text" else {})}
        wrong += _wrong_keys(f"element {element.get('id')}", element, {**_BASE, **_KINDS.get(kind, {})}, more)
    if wrong:
        return wrong
    by_id = {element["id"]: element for element in elements}
    wrong += _twice([element["id"] for element in elements])
    places = [element["index"] for element in elements]
    if places != sorted(set(places)):
        wrong.append("the places of the elements are not in order")
    for element in elements:
        wrong += _wrong_ties(element, by_id)
        wrong += _wrong_shape(element)
    return wrong


def _wrong_ties(element: dict[str, Any], by_id: Mapping[str, dict[str, Any]]) -> Iterator[str]:
    """Ties that lead nowhere, or that the other side knows nothing of."""
    name, kind = element["id"], element["type"]
    if element["frameId"] is not None and element["frameId"] not in by_id:
        yield f"{name} is in the frame {element['frameId']}, which is not there"
    for bound in element["boundElements"]:
        other = by_id.get(bound["id"])
        if other is None:
            yield f"{name} holds {bound['id']}, which is not there"
        elif other["type"] != bound["type"]:
            yield f"{name} holds {bound['id']} as {bound['type']}, but it is {other['type']}"
        elif bound["type"] == "text" and other["containerId"] != name:
            yield f"{name} holds the text {bound['id']}, which does not know it"
        elif bound["type"] == "arrow" and name not in _ends(other):
            yield f"{name} holds the arrow {bound['id']}, which does not know it"
    yield from (
        f"{name} holds {one} twice" for one, n in Counter(b["id"] for b in element["boundElements"]).items() if n > 1
    )
    if sum(bound["type"] == "text" for bound in element["boundElements"]) > 1:
        yield f"{name} holds several texts"
    others = [element["containerId"]] if kind == "text" else _ends(element) if kind == "arrow" else []
    for other in others:
        if other is None:
            continue
        if other not in by_id:
            yield f"{name} is tied to {other}, which is not there"
        elif {"id": name, "type": kind} not in by_id[other]["boundElements"]:
            yield f"{name} is tied to {other}, which does not know it"
        elif kind == "arrow" and by_id[other]["type"] not in ("rectangle", "diamond", "ellipse", "text"):
            yield f"{name} is tied to {other}, which arrows cannot be tied to"
        elif kind == "text" and by_id[other]["type"] not in ("rectangle", "diamond", "ellipse", "arrow"):
            yield f"{name} is in {other}, which holds no text"


def _ends(arrow: dict[str, Any]) -> list[str | None]:
    return [tie and tie["elementId"] for tie in (arrow["startBinding"], arrow["endBinding"])]


def _wrong_shape(element: dict[str, Any]) -> Iterator[str]:
    """Sizes that the points, or the words, do not have."""
    name = element["id"]
    if element["type"] in ("line", "arrow"):
        for axis, size in enumerate(("width", "height")):
            along = [point[axis] for point in element["points"]]
            if abs(max(along) - min(along) - element[size]) > 0.21:
                yield f"{name}: its points have another {size}"
    if element["type"] == "line" and element["polygon"] and element["points"][0] != element["points"][-1]:
        yield f"{name} is a polygon that is not closed"
    if element["type"] == "text":
        high = (element["text"].count("\n") + 1) * element["fontSize"] * element["lineHeight"]
        if abs(high - element["height"]) > 0.11:
            yield f"{name}: its lines have another height"
        if re.sub(r"\s", "", element["text"]) != re.sub(r"\s", "", element["originalText"]):
            yield f"{name} says something else than what was written"
