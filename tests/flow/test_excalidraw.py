"""Excalidraw files are sound, hold the whole drawing, and are the same everywhere."""

from __future__ import annotations

import copy
import json
import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import CircuitBreaker, Retry, Timeout
from failwell.flow import Edge, Graph, Node, explore
from failwell.flow.draw import draw, theme
from failwell.flow.draw.curves import inside, length
from failwell.flow.draw.excalidraw import SCALE, _index  # pyright: ignore[reportPrivateUsage]
from failwell.flow.draw.graphviz import place
from tests.flow import drawn
from tests.flow.drawn import HOSTILE
from tests.flow.whiteboards import wrong_with_excalidraw

GRAPHS = {**drawn.GRAPHS, "states": explore(CircuitBreaker(), "load").states()[0]}
every_graph = pytest.mark.parametrize("name", GRAPHS)
Document = dict[str, Any]


def file_of(graph: Graph, **options: Any) -> Document:
    found: Document = json.loads(draw(graph, "excalidraw", **options))
    return found


def by_id(document: Document) -> dict[str, Document]:
    return {element["id"]: element for element in document["elements"]}


@every_graph
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_file_is_sound(name: str, scheme: theme.Scheme) -> None:
    assert wrong_with_excalidraw(file_of(GRAPHS[name], scheme=scheme)) == []


@every_graph
def test_every_box_holds_its_words_and_its_role(name: str) -> None:
    graph = GRAPHS[name]
    found = by_id(file_of(graph))
    for node in graph.nodes:
        box = found[f"n{node.id}"]
        assert box["customData"]["node"] == node.id
        if node.kind == "start":
            continue
        assert box["customData"]["role"] == node.role
        words = found[f"n{node.id}-text"]
        said = re.sub(r"\s", "", words["text"])
        assert re.sub(r"\s", "", node.title + "".join(node.details)) in said
        if node.kind == "event":
            assert words["containerId"] == box["id"]
        else:  # a circle's words stand below it, and move with it
            assert set(words["groupIds"]) & set(box["groupIds"])


@every_graph
def test_every_arrow_is_tied_to_its_boxes_and_says_its_answer(name: str) -> None:
    graph = GRAPHS[name]
    found = by_id(file_of(graph))
    arrows = [element for element in found.values() if element["type"] == "arrow"]
    assert len(arrows) == len(graph.edges)
    back = theme.back_edges(graph)
    for edge, arrow in zip(graph.edges, arrows, strict=True):
        assert arrow["startBinding"]["elementId"] == f"n{edge.source}"
        assert arrow["endBinding"]["elementId"] == f"n{edge.target}"
        assert (arrow["strokeStyle"] == "dashed") == (edge in back)
        label = found.get(f"{arrow['id']}-text")
        assert (label["originalText"].split("\n") if label else []) == list(theme.edge_words(edge))


@every_graph
def test_shapes_tell_roles_apart_without_colour(name: str) -> None:
    graph = GRAPHS[name]
    found = by_id(file_of(graph))
    shapes = {
        "rectangle": ("rectangle", None),
        "rounded": ("rectangle", 3),
        "diamond": ("diamond", None),
        "ellipse": ("ellipse", None),
        "circle": ("ellipse", None),
    }
    for node in graph.nodes:
        box, shape = found[f"n{node.id}"], theme.shape_of(node)
        outline = found.get(f"n{node.id}-outline")
        if shape in shapes:
            assert (box["type"], (box["roundness"] or {}).get("type")) == shapes[shape]
            assert outline is None
        else:
            assert outline is not None
            assert outline["polygon"]
            assert len(outline["points"]) - 1 == {"hexagon": 6, "parallelogram": 4}[shape]
            assert set(outline["groupIds"]) & set(box["groupIds"]), "outline and words move together"
            assert (box["strokeColor"], box["backgroundColor"]) == ("transparent", "transparent")
    explained = {
        element["text"] for element in found.values() if element["id"].startswith("legend") and "text" in element
    }
    assert explained == {theme.START, *(theme.ROLES[role].word for role in theme.roles_in(graph))}


@every_graph
def test_labels_stand_on_their_arrows_and_on_nothing_else(name: str) -> None:
    found = by_id(file_of(GRAPHS[name]))
    boxes = [box for box in found.values() if "node" in box.get("customData", {}) and box["type"] != "text"]
    labels = [one for one in found.values() if one["type"] == "text" and by_arrow(found, one)]
    for at, label in enumerate(labels):
        assert not [other["id"] for other in (*boxes, *labels[:at]) if overlap(label, other)], label["text"]
        arrow = found[label["containerId"]]
        middle = arrow["points"][len(arrow["points"]) // 2]
        assert len(arrow["points"]) % 2 == 1, "old versions put a label on the middle point"
        assert arrow["x"] + middle[0] == pytest.approx(label["x"] + label["width"] / 2, abs=0.2)
        assert arrow["y"] + middle[1] == pytest.approx(label["y"] + label["height"] / 2, abs=0.2)


@every_graph
def test_arrows_end_at_the_edges_of_their_shapes(name: str) -> None:
    scene = place(GRAPHS[name])
    arrows = [one for one in file_of(GRAPHS[name])["elements"] if one["type"] == "arrow"]
    for placed, arrow in zip(scene.arrows, arrows, strict=True):
        for box, (x, y) in (
            (scene.boxes[placed.edge.source], arrow["points"][0]),
            (scene.boxes[placed.edge.target], arrow["points"][-1]),
        ):
            end = ((arrow["x"] + x) / SCALE, (arrow["y"] + y) / SCALE)
            around = [(end[0] + 2.5 * math.cos(a), end[1] + 2.5 * math.sin(a)) for a in range(7)]
            assert not all(inside(box, one) for one in around), "its tip can be seen"
            assert any(inside(box, one) for one in around), "it reaches its box"


def test_a_way_back_to_the_same_box_is_seen_whole() -> None:
    nodes = [Node(0, "start", "operation", "start"), Node(1, "event", "error", "open"), Node(2, "end", "error", "no")]
    graph = Graph(nodes, [Edge(0, 1), Edge(1, 1, "fails"), Edge(1, 2, "ok")], "loop", [None] * 3)
    document = file_of(graph)
    assert wrong_with_excalidraw(document) == []
    loop = by_id(document)["e1-1"]
    assert length([(x, y) for x, y in loop["points"]]) > 40


def by_arrow(found: dict[str, Document], text: Document) -> bool:
    return text["containerId"] is not None and found[text["containerId"]]["type"] == "arrow"


def overlap(one: Document, other: Document) -> bool:
    return all(
        one[at] + 1 < other[at] + other[size] and other[at] + 1 < one[at] + one[size]
        for at, size in (("x", "width"), ("y", "height"))
    )


def test_sticky_notes_hold_the_code_and_the_times() -> None:
    exploration = explore(Retry(3) >> Timeout(5), "load")
    found = by_id(file_of(exploration.graph()))
    assert re.sub(r"\s", "", found["code-text"]["text"]) == re.sub(r"\s", "", exploration.graph().title)
    assert found["timing-text"]["text"].splitlines() == [
        "Timing",
        "wait 0–1 s, 0–2 s",
        "time limit 5 s",
        f"at most {exploration.report().worst_latency:g} s",
    ]
    bare = by_id(file_of(exploration.graph(), note=False, legend=False))
    assert not bare.keys() & {"code", "timing", "legend0"}


def test_drawings_that_share_a_board_have_other_ids() -> None:
    one, other = (by_id(file_of(GRAPHS["saga"], prefix=prefix)) for prefix in ("one", "other"))
    assert not one.keys() & other.keys()
    both = {**file_of(GRAPHS["saga"]), "elements": [*one.values()]}
    assert wrong_with_excalidraw(both) == []
    groups = [{group for element in side.values() for group in element["groupIds"]} for side in (one, other)]
    assert not groups[0] & groups[1]


def test_colours_are_those_of_the_scheme() -> None:
    light, dark = (file_of(GRAPHS["retry"], scheme=scheme) for scheme in ("light", "dark"))
    assert light["appState"]["viewBackgroundColor"] == theme.BOARD.light
    assert dark["appState"]["viewBackgroundColor"] == theme.BOARD.dark
    known = {theme.TEXT.dark, theme.QUIET.dark, theme.NOTE.dark, "transparent"}
    known |= {colour.dark for role in theme.ROLES.values() for colour in (role.stroke, role.fill)}
    assert {element[key] for element in dark["elements"] for key in ("strokeColor", "backgroundColor")} <= known


def test_hostile_names_are_only_text() -> None:
    nodes = [Node(0, "start", "operation", "start"), Node(1, "event", "error", HOSTILE, (HOSTILE,), HOSTILE)]
    nodes.append(Node(2, "end", "unheard of", HOSTILE))
    graph = Graph(nodes, [Edge(0, 1), Edge(1, 2, HOSTILE), Edge(1, 2, "other")], HOSTILE, [None] * 3, ["\ud800\x00"])
    document = file_of(graph)
    assert wrong_with_excalidraw(document) == []
    assert "\x1b" not in json.dumps(document, ensure_ascii=False)


def test_places_in_the_order_never_run_out() -> None:
    places = [_index(number) for number in range(5000)]
    assert places == sorted(set(places))
    assert [places[n] for n in (0, 61, 62, 3905, 3906)] == ["a0", "az", "b00", "bzz", "c000"]


# --- the checker sees what is wrong ------------------------------------------------------------------

SOUND = file_of(GRAPHS["stack"])
OPTIONAL = {"customData", "labelPosition"}


@given(st.data())
def test_a_file_without_one_of_its_keys_is_rejected(data: st.DataObject) -> None:
    broken = copy.deepcopy(SOUND)
    places = [broken, *broken["elements"], *(e[k] for e in broken["elements"] for k in ("startBinding",) if e.get(k))]
    where = data.draw(st.sampled_from(places))
    key = data.draw(st.sampled_from(sorted(where.keys() - OPTIONAL)))
    del where[key]
    assert wrong_with_excalidraw(broken)


@given(st.data())
def test_a_file_with_a_tie_that_leads_nowhere_is_rejected(data: st.DataObject) -> None:
    broken = copy.deepcopy(SOUND)
    kept = data.draw(st.sampled_from([element for element in broken["elements"] if element["boundElements"]]))
    element = data.draw(st.sampled_from([e for e in broken["elements"] if e["type"] in ("arrow", "text")]))
    match data.draw(st.sampled_from(["renamed", "gone", "one-sided", "elsewhere", "twice", "unordered"])):
        case "renamed":
            kept["id"] = "renamed"
        case "gone":
            broken["elements"].remove(kept)
        case "one-sided":
            kept["boundElements"].pop(data.draw(st.integers(0, len(kept["boundElements"]) - 1)))
        case "elsewhere" if element["type"] == "arrow":
            element["endBinding"]["elementId"] = "nowhere"
        case "elsewhere":
            element["containerId"] = "nowhere"
        case "twice":
            broken["elements"].append(copy.deepcopy(kept))
        case _:
            broken["elements"].reverse()
    assert wrong_with_excalidraw(broken)


@given(st.data())
def test_a_file_with_a_value_of_another_kind_is_rejected(data: st.DataObject) -> None:
    broken = copy.deepcopy(SOUND)
    element = data.draw(st.sampled_from(broken["elements"]))
    key = data.draw(st.sampled_from(sorted(element.keys() - OPTIONAL)))
    element[key] = data.draw(st.sampled_from([{"a": 1}, [None], float("nan"), "", -1.5]))
    left = {"x": -1.5, "y": -1.5, "angle": -1.5}
    if left.get(key) != element[key]:
        assert wrong_with_excalidraw(broken)
