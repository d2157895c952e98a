"""Every page in a real browser, light and dark, on a phone and on a desk."""

from __future__ import annotations

import html.parser
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Response, ViewportSize

from tests.browser import served

pytestmark = pytest.mark.browser
PHONE: ViewportSize = {"width": 360, "height": 740}
DESK: ViewportSize = {"width": 1440, "height": 900}
COLOURS = "color-contrast"  # axe's slowest rule; colours are the same on a phone
ONE_OF_EACH_TOKEN = """() => {  // thousands of elements in a dozen colours: axe looks once at each
    const seen = new Set();
    for (const token of document.querySelectorAll(".highlight :is(code, .linenodiv) :is(span, a)")) {
        if (token.querySelector("span")) continue;
        if (seen.has(token.className)) token.replaceWith(...token.childNodes);
        seen.add(token.className);
    }
}"""

together = pytest.mark.xdist_group  # with several workers, a scheme stays with one: one build, one browser each


class Tab:
    """A browser tab in one colour scheme that keeps a record of what went wrong."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("requestfailed", lambda request: self.complaints.append(f"{request.url}: {request.failure}"))
        page.on("response", self._answered)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _answered(self, answer: Response) -> None:
        if answer.status >= 400:
            self.complaints.append(f"{answer.url} {answer.status}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def open(self, path: str) -> None:
        self.requests.clear()
        self.complaints.clear()
        self.page.set_viewport_size(DESK)
        self.page.goto(f"{self.address}/{path}", wait_until="load")
        if self.page.locator("pre.mermaid").count():  # Material draws it later, into a closed shadow root
            self.page.wait_for_function("!document.querySelector('pre.mermaid')")

    @property
    def elsewhere(self) -> list[str]:
        local = (self.address, "data:", "blob:")
        return [url for url in self.requests if not url.startswith(local)]


@pytest.fixture(scope="module", params=[pytest.param(scheme, marks=together(scheme)) for scheme in ("light", "dark")])
def tab(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Tab]:
    with browser.new_context(color_scheme=request.param, reduced_motion="reduce") as context:
        yield Tab(context.new_page(), address)


@pytest.mark.parametrize("path", served.pages())
def test_a_page_is_quiet_fits_and_is_accessible(tab: Tab, path: str) -> None:
    tab.open(path)
    tab.page.evaluate(ONE_OF_EACH_TOKEN)
    on_desk = {"too wide": too_wide(tab.page), "axe": serious(tab.page)}
    tab.page.set_viewport_size(PHONE)
    on_phone = {"too wide": too_wide(tab.page), "axe": serious(tab.page, but=COLOURS)}
    assert on_desk == on_phone == {"too wide": [], "axe": []}
    assert tab.elsewhere == []
    assert tab.complaints == []


def test_search_answers_the_keyboard_and_is_accessible(tab: Tab) -> None:
    tab.open("")
    tab.page.keyboard.press("s")
    tab.page.keyboard.type("backoff")
    found = tab.page.locator(".md-search-result__item a").first
    found.wait_for()
    assert serious(tab.page) == []
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**/patterns/retry/**")


DRAWING = """
<figure class="fw-drawing">
  <svg><g id="a" class="node"></g><g id="b" class="edge"></g><g id="c" class="node"></g></svg>
</figure>
<ol class="fw-paths">
  <li data-lights="a b"><button type="button">first</button></li>
  <li data-lights="c"><button type="button">second</button></li>
</ol>"""


def test_a_path_that_is_picked_lights_up_and_the_one_before_goes_out(tab: Tab) -> None:
    tab.open("")
    tab.page.evaluate("html => document.querySelector('article').insertAdjacentHTML('afterbegin', html)", DRAWING)

    def lit_after_picking(name: str) -> list[str]:
        tab.page.get_by_role("button", name=name, exact=True).press("Enter")
        lit = "[...document.querySelectorAll('.fw-lit, [aria-pressed=true]')].map(e => e.id || e.innerText)"
        return tab.page.evaluate(lit)

    assert lit_after_picking("first") == ["a", "b", "first"]
    assert lit_after_picking("second") == ["c", "second"]
    assert lit_after_picking("second") == []


def too_wide(page: Page) -> list[str]:
    """What makes the page scroll sideways."""
    return page.evaluate(
        """() => {
            const width = document.documentElement.clientWidth;
            if (document.documentElement.scrollWidth <= width) return [];
            return [...document.querySelectorAll("main *")]
                .filter((element) => element.getBoundingClientRect().right > width + 1)
                .map((element) => element.outerHTML.slice(0, 120)).slice(0, 5);
        }"""
    ) or (["the page"] if page.evaluate("document.documentElement.scrollWidth > innerWidth") else [])


def serious(page: Page, but: str = "") -> list[str]:
    """axe's serious and critical findings, perhaps without those of one rule."""
    rules = {but: {"enabled": False}} if but else {}
    found = Axe().run(page, options={"resultTypes": ["violations"], "rules": rules}).response["violations"]
    return [
        f"{finding['id']}: {node['html'][:160]} {node.get('failureSummary', '')[:200]}"
        for finding in found
        if finding["impact"] in ("serious", "critical")
        for node in finding["nodes"]
    ]


class Anchors(html.parser.HTMLParser):
    """Where a document can be linked to, and where it links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = {""}
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name == "id" or (name == "name" and tag == "a"):
                self.ids.add(value)
            elif name in ("href", "src"):
                self.links.append(value)


@together("light")
def test_every_link_and_anchor_leads_somewhere(site: Path) -> None:
    documents = {path: Anchors(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    broken: list[str] = []
    for path, document in documents.items():
        if path.name == "404.html":
            continue
        here = "http://site/" + path.relative_to(site).as_posix()
        for link in set(document.links):
            target, fragment = urldefrag(urljoin(here, link))
            parts = urlsplit(target)
            if parts.scheme not in ("http", "https") or parts.netloc != "site":
                continue
            file = site / unquote(parts.path).lstrip("/")
            file = file / "index.html" if file.is_dir() else file
            known = documents.get(file)
            if not file.is_file() or (known and unquote(fragment) not in known.ids):
                broken.append(f"{path.relative_to(site)} -> {link}")
    assert sorted(broken) == []


@together("light")
def test_pages_ask_no_other_host_for_anything(site: Path) -> None:
    """Beyond what a test browser happens to load: no script, style, font or image names another host."""
    loads = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//[^\"'>\s]+")
    assert [
        (path.relative_to(site).as_posix(), found)
        for path in site.rglob("*.html")
        for found in loads.findall(path.read_text(encoding="utf-8"))
    ] == []


@together("light")
def test_every_page_is_served_as_markdown_too(site: Path) -> None:
    listed = (site / "llms.txt").read_text(encoding="utf-8")
    sources = [path.relative_to(served.ROOT / "docs").as_posix() for path in (served.ROOT / "docs").rglob("*.md")]
    assert [name for name in sources if f"({name})" not in listed or not (site / name).is_file()] == []
