from __future__ import annotations

import hashlib
import os
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from failwell import Retry, Timeout, explore
from failwell.flow import Edge, Graph, Node
from failwell.flow.draw import FORMATS, DrawingFailed, draw, graphviz, theme
from failwell.flow.draw.mermaid import escaped
from failwell.flow.draw.png import source_of
from failwell.flow.draw.text import sentences
from tests.flow.drawn import GRAPHS, HOSTILE

SVG = "{http://www.w3.org/2000/svg}"
every_graph = pytest.mark.parametrize("name", GRAPHS)


def hostile() -> Graph:
    nodes = [Node(0, "start", "operation", "start"), Node(1, "event", "operation", HOSTILE, (HOSTILE,), HOSTILE)]
    nodes.append(Node(2, "end", "unheard of", HOSTILE))
    return Graph(nodes, [Edge(0, 1), Edge(1, 2, HOSTILE), Edge(1, 2, "other")], HOSTILE, [None, None, None])


def classes(element: ET.Element) -> list[str]:
    return element.get("class", "").split()


@every_graph
def test_svg_holds_every_box_and_arrow_once(name: str) -> None:
    graph = GRAPHS[name]
    root = ET.fromstring(draw(graph, "svg", prefix="here"))
    groups = [group for group in root.iter(f"{SVG}g") if group.get("id")]
    boxes = {group.get("id"): group for group in groups if "fw-node" in classes(group)}
    arrows = [group for group in groups if "fw-edge" in classes(group)]
    assert boxes.keys() == {f"here-n{node.id}" for node in graph.nodes}
    assert len(arrows) == len(graph.edges)
    for node in graph.nodes:
        box = boxes[f"here-n{node.id}"]
        said = re.sub(r"\s", "", "".join(text.text or "" for text in box.iter(f"{SVG}text")))
        if node.kind != "start":
            assert f"fw-{node.role}" in classes(box)
            assert re.sub(r"\s", "", node.title + "".join(node.details)) in said
    for edge, arrow in zip(graph.edges, arrows, strict=True):
        assert (arrow.get("data-from"), arrow.get("data-to")) == (str(edge.source), str(edge.target))
        said = re.sub(r"\s", "", "".join(text.text or "" for text in arrow.iter(f"{SVG}text")))
        assert said == re.sub(r"\s", "", edge.label + edge.detail)


@every_graph
def test_svg_can_be_read_aloud_and_fits_a_phone(name: str) -> None:
    graph = GRAPHS[name]
    text = draw(graph, "svg", prefix="one").decode()
    root = ET.fromstring(text)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert all(str(one).startswith("one") for one in ids)
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "one-title one-desc"
    description = root.find(f"{SVG}desc")
    assert description is not None
    assert description.text == "\n".join(sentences(graph))
    assert root.get("viewBox")
    assert "max-width:100%" in text
    assert "@font-face" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


@every_graph
def test_boxes_lie_inside_and_apart(name: str) -> None:
    scene = graphviz.place(GRAPHS[name])
    for box in scene.boxes:
        assert box.width / 2 <= box.x <= scene.width - box.width / 2
        assert box.height / 2 <= box.y <= scene.height - box.height / 2
    for at, one in enumerate(scene.boxes):
        for other in scene.boxes[:at]:
            aside = abs(one.x - other.x) >= (one.width + other.width) / 2
            above = abs(one.y - other.y) >= (one.height + other.height) / 2
            assert aside or above, f"{one.node.title} overlaps {other.node.title}"
    spots = [(arrow.words, arrow.label) for arrow in scene.arrows if arrow.words]
    for words, (x, y) in spots:
        assert 0 < x < scene.width, words
        assert 0 < y < scene.height, words
    assert len({spot for _, spot in spots}) == len(spots)


def test_one_drawing_follows_page_material_and_reader() -> None:
    auto, dark = (draw(GRAPHS["retry"], "svg", scheme=scheme).decode() for scheme in (None, "dark"))
    assert "var(--fw-error-stroke,#C62828)" in auto
    assert "prefers-color-scheme:dark" in auto
    assert '[data-md-color-scheme="slate"]' in auto
    assert 'class="fw-flow fw-dark"' in dark
    with pytest.raises(ValueError, match="scheme must be"):
        draw(GRAPHS["retry"], "svg", scheme="blue")  # type: ignore[arg-type]


def test_note_and_legend_can_be_left_out() -> None:
    bare = draw(GRAPHS["retry"], "svg", note=False, legend=False).decode()
    assert '<g class="fw-note"' not in bare
    assert '<g class="fw-legend"' not in bare
    assert 'class="fw-note"' in draw(GRAPHS["retry"], "svg").decode()


@every_graph
def test_mermaid_holds_every_box_and_arrow(name: str) -> None:
    graph = GRAPHS[name]
    lines = draw(graph, "mmd").decode().splitlines()
    assert lines[1] == "flowchart TD"
    assert sum(bool(re.match(r"  n\d+[\[({]", line)) for line in lines) == len(graph.nodes)
    assert sum(bool(re.match(r"  n\d+ -", line)) for line in lines) == len(graph.edges)
    used = set(re.findall(r":::(\w+)", "\n".join(lines)))
    assert used == set(re.findall(r"classDef (\w+)", "\n".join(lines)))
    assert sum("-.->" in line for line in lines) == len(theme.back_edges(graph))


@pytest.mark.parametrize(
    "text", [HOSTILE, "`code`", "1. list", "- item", "_x_", 'a"b', "#quot;", "end", "x;y", "__init__"]
)
def test_mermaid_text_is_only_text(text: str) -> None:
    safe = escaped(text)
    assert not re.search(r"[\"`<>{}\[\]|\\*]|^\d+\.|^-|\b__|&", safe)
    for entity in re.findall(r"#[^;]*;?", safe):
        assert re.fullmatch(r"#\d+;", entity)
    printable = "".join(c if c.isprintable() else "\ufffd" for c in text)
    assert re.sub(r"#(\d+);", lambda m: chr(int(m[1])), safe) == printable


def test_names_of_functions_stay_readable_in_mermaid() -> None:
    assert escaped("call_api") == "call_api"
    assert escaped("shop.orders") == "shop.orders"


@pytest.mark.parametrize("form", FORMATS)
def test_hostile_names_break_no_format(form: str) -> None:
    content = draw(hostile(), form)
    if form == "svg":
        root = ET.fromstring(content)
        ids = [e.get("id") for e in root.iter() if e.get("id")]
        assert len(ids) == len(set(ids))
        assert not list(root.iter(f"{SVG}b"))
    if form == "dot":
        laid_out = graphviz.engine(content.decode(), "dot", "plain").decode()
        assert sum(line.startswith("node ") for line in laid_out.splitlines()) == 3


@every_graph
def test_dot_is_read_by_graphviz(name: str) -> None:
    graph = GRAPHS[name]
    lines = graphviz.engine(draw(graph, "dot").decode(), "dot", "plain").decode().splitlines()
    assert sum(line.startswith("node ") for line in lines) == len(graph.nodes)
    assert sum(line.startswith("edge ") for line in lines) == len(graph.edges)


def test_png_is_a_picture_that_says_what_it_was_painted_from() -> None:
    light, again, dark = (draw(GRAPHS["retry"], "png", scheme=scheme) for scheme in ("light", "light", "dark"))
    wide, high = struct.unpack(">II", light[16:24])
    scene = graphviz.place(GRAPHS["retry"])
    assert (wide, high) == pytest.approx((scene.width * 2, scene.height * 2), abs=3)
    assert source_of(light) == source_of(again) != source_of(dark)
    assert source_of(b"\x89PNG\r\n\x1a\n") == ""


def test_text_names_every_box_and_answer() -> None:
    told = draw(GRAPHS["saga"], "txt").decode()
    for word in ("[book] step 1", "\\unbook\\ undoes book", "(raise SagaError) error", "{compensation failed}", "ok: "):
        assert word in told
    assert "\x1b" not in told


def test_the_whiteboard_of_retry() -> None:
    told = draw(GRAPHS["retry-unrolled"], "txt").decode()
    order = [
        told.index(word) for word in ("attempt 1", "(wait) 1 s", "attempt 2", "(wait) 2 s", "attempt 3", "give up")
    ]
    assert order == sorted(order)


def test_the_whiteboard_of_saga_undoes_the_last_step_first() -> None:
    said = sentences(GRAPHS["saga-unrolled"])
    assert any(s.startswith("pay (step 2) leads to") and "fails: unbook (undoes book)" in s for s in said)
    assert any(s.startswith("book (step 1) leads to") and "fails: raise SagaError" in s for s in said)


def test_long_chains_are_told_without_recursion() -> None:
    nodes = [Node(0, "start", "operation", "start"), *(Node(n, "event", "operation", f"s{n}") for n in range(1, 3000))]
    graph = Graph(nodes, [Edge(n, n + 1) for n in range(2999)], "long", [None] * 3000)
    assert draw(graph, "txt").decode().count("\n") == 3002
    assert draw(graph, "mmd")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format must be one of svg, png"):
        draw(GRAPHS["retry"], "gif")


def test_without_the_engine_the_advice_is_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygraphviz", None)
    with pytest.raises(DrawingFailed, match="pip install pygraphviz"):
        draw(GRAPHS["retry"], "svg")
    assert draw(GRAPHS["retry"], "mmd")


def test_what_graphviz_cannot_do_is_one_line() -> None:
    with pytest.raises(DrawingFailed, match="Graphviz could not make"):
        graphviz.engine("digraph { a }", "no-such-layout", "json")


def test_same_bytes_in_every_process() -> None:
    program = (
        "import hashlib; from tests.flow.drawn import GRAPHS; from failwell.flow.draw import draw, FORMATS\n"
        "drawn = b''.join(draw(g, f) for g in GRAPHS.values() for f in FORMATS if f != 'png')\n"
        "print(hashlib.sha256(drawn).hexdigest())"
    )
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "src")])
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = hashlib.sha256(b"".join(draw(g, f) for g in GRAPHS.values() for f in FORMATS if f != "png")).hexdigest()
    assert found == {here}


def test_a_large_drawing_is_painted_too() -> None:
    graph = explore(Retry(20) >> Timeout(30), outcomes=("ok", "fail")).graph(compact=False)
    assert len(graph.nodes) > 40
    assert draw(graph, "png").startswith(b"\x89PNG")
