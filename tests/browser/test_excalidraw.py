"""Excalidraw itself opens our whiteboards: it repairs nothing in them, and the words fit their boxes."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from failwell.catalog import CARDS, exploration
from failwell.flow import Graph
from failwell.flow.draw import draw, theme
from failwell.site.packages import Package
from tests.browser import served

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("excalidraw")]

EXCALIDRAW = Package(
    name="@excalidraw/utils",
    version="0.1.5",
    sha512="WB2bj+Xe/Br0etBasU8KJug458O7fwSsPNYLc19RpL7Pl/g5ZzUkfY1G3+dZO6/z/phHGwVk5uIsXkeUZXHFrA==",
    files=("dist/prod/index.js",),  # the editor's own code for files and pictures, with its fonts inside
)
GRAPHS: dict[str, Graph] = {
    f"{slug}{'' if compact else '-unrolled'}": exploration(card).graph(compact)
    for slug, card in CARDS.items()
    for compact in (True, False)
}
EXPORT = """async (data) => {
  const svg = await excalidraw.exportToSvg({ data });
  document.body.replaceChildren(svg);
  await document.fonts.ready;
  return {
    svg: svg.outerHTML,
    lines: [...svg.querySelectorAll("text")].map((line) => [line.textContent, line.getComputedTextLength()]),
    fonts: [...document.fonts].filter((font) => font.status === "loaded").map((font) => font.family),
  };
}"""
Document = dict[str, Any]


@pytest.fixture(scope="module")
def editor(browser: Browser) -> Iterator[Page]:
    """A page that has Excalidraw's code, and may ask only its own server for anything."""
    folder = EXCALIDRAW.fetch(served.ROOT / ".cache/npm") / "dist/prod"
    with served.serving(folder) as address, browser.new_context() as context:
        page = context.new_page()
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.goto(f"{address}/")
        page.evaluate("async (url) => { window.excalidraw = await import(url); }", f"{address}/index.js")
        yield page
        assert [url for url in asked if not url.startswith((address, "data:", "blob:"))] == []
        assert [words for words in said if "subsetting" not in words and "favicon" not in words] == []


def opened(editor: Page, document: Document, **state: Any) -> Document:
    """What Excalidraw makes of a file: a picture, and in it the file as it has been read."""
    state = {"exportBackground": True, "exportEmbedScene": True, **state}
    made: Document = editor.evaluate(EXPORT, {**document, "appState": {**document["appState"], **state}})
    packed = re.search(r"<!-- payload-start -->(.*?)<!-- payload-end -->", made["svg"])
    assert packed is not None
    inside = json.loads(base64.b64decode(packed[1]).decode("latin-1"))
    made["read"] = json.loads(zlib.decompress(inside["encoded"].encode("latin-1")))
    return made


def file_of(name: str, scheme: theme.Scheme = "light") -> Document:
    found: Document = json.loads(draw(GRAPHS[name], "excalidraw", scheme=scheme))
    return found


@pytest.mark.parametrize("name", GRAPHS)
def test_excalidraw_reads_every_file_as_it_is(name: str, editor: Page) -> None:
    document = file_of(name)
    read = opened(editor, document)["read"]
    assert [element["id"] for element in read["elements"]] == [element["id"] for element in document["elements"]]
    for ours, theirs in zip(document["elements"], read["elements"], strict=True):
        for end in ("startBinding", "endBinding"):
            if ours.get(end):  # what only old versions ask for is dropped
                ours[end] = {key: ours[end][key] for key in ("elementId", "mode", "fixedPoint")}
        for size in ("width", "height"):  # of points, whose decimals are rounded one by one
            assert theirs[size] == pytest.approx(ours.pop(size), abs=0.25), ours["id"]
        assert {key: theirs.get(key) for key in ours} == ours


@pytest.mark.parametrize("name", GRAPHS)
def test_every_word_is_drawn_by_hand_and_fits_its_box(name: str, editor: Page) -> None:
    document = file_of(name)
    made = opened(editor, document)
    by_id = {element["id"]: element for element in document["elements"]}
    texts = [element for element in document["elements"] if element["type"] == "text"]
    drawn = {line: width for line, width in made["lines"] if line.strip()}
    assert {line.strip() for text in texts for line in text["text"].splitlines()} == {line.strip() for line in drawn}
    assert {"Excalifont", "Comic Shanns"} <= set(made["fonts"])
    for text in texts:
        box = by_id.get(text["containerId"])
        if box is None or box["type"] == "arrow":
            continue
        across, down = room(box)
        assert text["height"] <= down, f"{text['text']!r} is too high for its {box['type']}"
        for line in text["text"].splitlines():
            assert drawn[line] <= across, f"{line!r} is too wide for its {box['type']}"


def room(box: Document) -> tuple[float, float]:
    """How much of a shape Excalidraw gives to words before it breaks lines, or lets the shape grow."""
    share = {"rectangle": 1.0, "ellipse": 0.5**0.5, "diamond": 0.5}[box["type"]]
    return box["width"] * share - 10, box["height"] * share - 10


@pytest.mark.parametrize(("scheme", "inverted"), [("light", False), ("dark", False), ("light", True)])
def test_a_board_has_the_ground_of_its_scheme(scheme: theme.Scheme, inverted: bool, editor: Page) -> None:
    made = opened(editor, file_of("stack", scheme), exportWithDarkMode=inverted)
    ground = re.search(r'<rect x="0" y="0"[^>]*fill="(#\w+)"', made["svg"])
    assert ground is not None
    dark = theme.contrast(ground[1], "#FFFFFF") > theme.contrast(ground[1], "#000000")
    assert dark == (scheme == "dark" or inverted)
    if not inverted:
        assert ground[1].lower() == theme.BOARD.on(scheme).lower()
    inks = re.findall(r'<text[^>]*fill="(#\w+)"', made["svg"])
    assert inks
    assert min(theme.contrast(ink, ground[1]) for ink in inks) >= 4.5
