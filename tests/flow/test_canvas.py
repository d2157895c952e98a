"""JSON Canvas files keep to the specification and hold the whole drawing."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from failwell import CircuitBreaker
from failwell.flow import Edge, Graph, Node, explore
from failwell.flow.draw import draw, theme
from tests.flow import drawn
from tests.flow.drawn import HOSTILE
from tests.flow.whiteboards import wrong_with_canvas

GRAPHS = {**drawn.GRAPHS, "states": explore(CircuitBreaker(), "load").states()[0]}
every_graph = pytest.mark.parametrize("name", GRAPHS)
Document = dict[str, Any]


def file_of(graph: Graph, **options: Any) -> Document:
    found: Document = json.loads(draw(graph, "canvas", **options))
    return found


def by_id(document: Document) -> dict[str, Document]:
    return {one["id"]: one for one in (*document["nodes"], *document["edges"])}


def read(markdown: str) -> str:
    """What a reader of Markdown sees."""
    tokens = [child for token in MarkdownIt().parse(markdown) for child in (token.children or [token])]
    return "".join("\n" if one.type in ("softbreak", "hardbreak") else one.content for one in tokens)


@every_graph
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_file_keeps_to_the_specification(name: str, scheme: theme.Scheme) -> None:
    assert wrong_with_canvas(file_of(GRAPHS[name], scheme=scheme)) == []


@every_graph
def test_every_card_says_what_it_is(name: str) -> None:
    graph = GRAPHS[name]
    found = by_id(file_of(graph, scheme="dark"))
    for node in graph.nodes:
        card = found[f"n{node.id}"]
        lines = read(card["text"]).split("\n")
        assert node.title in lines
        assert set(node.details) <= set(lines)
        if node.role != "operation":
            assert lines[-1] == node.role, "never by colour alone"
        assert card["color"] == theme.style_of(node.role).stroke.dark


@every_graph
def test_every_arrow_joins_its_cards_and_says_its_answer(name: str) -> None:
    graph = GRAPHS[name]
    edges = file_of(graph)["edges"]
    assert [(e["fromNode"], e["toNode"]) for e in edges] == [(f"n{e.source}", f"n{e.target}") for e in graph.edges]
    assert [e.get("label", "") for e in edges] == [", ".join(theme.edge_words(edge)) for edge in graph.edges]
    assert all({"fromSide", "toSide", "color"} <= edge.keys() for edge in edges)


@every_graph
def test_cards_lie_in_the_group_and_apart_from_each_other(name: str) -> None:
    nodes = file_of(GRAPHS[name])["nodes"]
    (group,) = [node for node in nodes if node["type"] == "group"]
    assert nodes[0] is group, "it lies behind the cards"
    assert group["label"] == GRAPHS[name].title
    cards = [node for node in nodes if node is not group]
    for at, card in enumerate(cards):
        inside = group["x"] <= card["x"] and group["y"] <= card["y"]
        inside &= card["x"] + card["width"] <= group["x"] + group["width"]
        inside &= card["y"] + card["height"] <= group["y"] + group["height"]
        assert inside == (card["id"] not in ("code", "timing"))
        for other in cards[:at]:
            aside = card["x"] >= other["x"] + other["width"] or other["x"] >= card["x"] + card["width"]
            above = card["y"] >= other["y"] + other["height"] or other["y"] >= card["y"] + card["height"]
            assert aside or above, f"{card['id']} overlaps {other['id']}"


def test_notes_hold_the_code_and_the_times() -> None:
    graph = GRAPHS["retry"]
    found = by_id(file_of(graph))
    assert found["code"]["text"].splitlines()[0] == "```python"
    assert "".join(found["code"]["text"].split())[9:-3] == "".join(graph.title.split())
    assert read(found["timing"]["text"]).split("\n") == ["Timing", *graph.timing]
    assert not by_id(file_of(graph, note=False)).keys() & {"code", "timing"}


def test_hostile_names_are_only_text() -> None:
    nodes = [Node(0, "start", "operation", "start"), Node(1, "event", "error", HOSTILE, ("1. # _a_ - ~b~",), "``")]
    graph = Graph(nodes, [Edge(0, 1, HOSTILE), Edge(0, 1, "other")], f"```` {HOSTILE}", [None] * 2, ["\ud800\x00"])
    document = file_of(graph)
    assert wrong_with_canvas(document) == []
    shown = "".join(c if c.isprintable() else "\ufffd" for c in HOSTILE)
    assert read(by_id(document)["n1"]["text"]).split("\n") == [shown, "1. # _a_ - ~b~", "error"]
    assert read(by_id(document)["code"]["text"]).replace("\n", "").count("````") == 1


def test_drawings_that_share_a_board_have_other_ids() -> None:
    one, other = (by_id(file_of(GRAPHS["saga"], prefix=prefix)) for prefix in ("one", "other"))
    assert not one.keys() & other.keys()


# --- the checker sees what is wrong ------------------------------------------------------------------

SOUND = file_of(GRAPHS["stack"])
OPTIONAL = {"color", "label", "fromSide", "toSide", "fromEnd", "toEnd", "background", "backgroundStyle"}


@given(st.data())
def test_a_file_without_one_of_its_keys_is_rejected(data: st.DataObject) -> None:
    broken = copy.deepcopy(SOUND)
    where = data.draw(st.sampled_from([*broken["nodes"], *broken["edges"]]))
    del where[data.draw(st.sampled_from(sorted(where.keys() - OPTIONAL)))]
    assert wrong_with_canvas(broken)


@given(st.data())
def test_a_file_with_an_arrow_to_nowhere_is_rejected(data: st.DataObject) -> None:
    broken = copy.deepcopy(SOUND)
    edge = data.draw(st.sampled_from(broken["edges"]))
    match data.draw(st.sampled_from(["from", "to", "gone", "twice"])):
        case "gone":
            broken["nodes"] = [node for node in broken["nodes"] if node["id"] != edge["toNode"]]
        case "twice":
            broken["edges"].append(copy.deepcopy(edge))
        case end:
            edge[f"{end}Node"] = "nowhere"
    assert wrong_with_canvas(broken)


@given(st.data())
def test_a_file_with_a_value_of_another_kind_is_rejected(data: st.DataObject) -> None:
    broken = copy.deepcopy(SOUND)
    where = data.draw(st.sampled_from([*broken["nodes"], *broken["edges"]]))
    where[data.draw(st.sampled_from([*sorted(where), "unknown"]))] = data.draw(
        st.sampled_from([1.5, True, None, [], {}])
    )
    assert wrong_with_canvas(broken)


@pytest.mark.parametrize(
    "document",
    [[], None, {"nodes": {}}, {"nodes": [1]}, {"edges": ["a"]}, {"cards": []}, {"nodes": [{"type": "file"}]}],
)
def test_what_is_no_canvas_is_rejected(document: Any) -> None:
    assert wrong_with_canvas(document)


def test_what_the_specification_allows_is_accepted() -> None:
    place = {"x": 0, "y": -1, "width": 10, "height": 10}
    nodes = [
        {"id": "a", "type": "file", "file": "a.md", "subpath": "#b", "color": "1", **place},
        {"id": "b", "type": "link", "url": "https://example.org", **place},
        {"id": "c", "type": "group", "background": "a.png", "backgroundStyle": "cover", **place},
    ]
    edges = [{"id": "d", "fromNode": "a", "fromEnd": "arrow", "toNode": "b", "toEnd": "none"}]
    assert wrong_with_canvas({}) == []
    assert wrong_with_canvas({"nodes": nodes, "edges": edges}) == []
