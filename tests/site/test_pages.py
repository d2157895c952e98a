"""Pages keep to their template, and no figure on them is typed by hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from failwell.catalog import CARDS
from failwell.policy import Operation
from failwell.site.fragments.patterns import page_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
PATTERNS = sorted((DOCS / "patterns").glob("*.md"))
WRITTEN = [*PATTERNS, DOCS / "index.md", DOCS / "catalog.md", DOCS / "composition.md", DOCS / "testing.md"]
SECTIONS = [
    "What happens",
    "Use it",
    "How it works",
    "Tune it",
    "Watch it",
    "Test it",
    "Pitfalls",
    "In the wild",
    "Sources",
]
GENERATED = {
    "": {"card"},
    "What happens": {"flow", "paths", "sequence"},
    "How it works": {"source"},
    "Tune it": {"parameters", "numbers"},
    "Watch it": {"events"},
}
"""What each section takes from the code; the card is above the first of them."""
NAMES = r"\b[45]\d\d\b|RFC \d+|PEP \d+|[Ss]ection [\d.]+|HTTP/\d(\.\d)?|Python 3\.\d+"
"""Numbers that are names: of a status, of a document."""


def by_name(path: Path) -> str:
    return path.relative_to(DOCS).as_posix()


def sections(page: Path) -> dict[str, str]:
    """The text of a page by its second-level headings; what is above them under an empty one."""
    lines = page.read_text(encoding="utf-8").split("\n")
    found: dict[str, list[str]] = {"": []}
    starts = {
        token.map[0]: lines[token.map[0]].lstrip("# ")
        for token in MarkdownIt().parse("\n".join(lines))
        if token.type == "heading_open" and token.tag == "h2" and token.map
    }
    for number, line in enumerate(lines):
        if number in starts:
            found[starts[number]] = []
        else:
            found[list(found)[-1]].append(line)
    return {heading: "\n".join(text) for heading, text in found.items()}


def fences(text: str) -> list[str]:
    """The Python programs of a text."""
    return [token.content for token in MarkdownIt().parse(text) if token.type == "fence" and "python" in token.info]


@pytest.mark.parametrize("page", PATTERNS, ids=by_name)
def test_a_pattern_page_has_all_sections_in_their_order(page: Path) -> None:
    assert list(sections(page)) == ["", *SECTIONS]


@pytest.mark.parametrize("page", PATTERNS, ids=by_name)
def test_each_section_takes_from_the_code_what_the_code_can_say(page: Path) -> None:
    text = sections(page)
    for heading, wanted in GENERATED.items():
        given = {words.split()[0] for words in re.findall(r"<!-- generated: (.*?) -->", text[heading])}
        assert wanted <= given, f"{heading or 'the top'} of {page.name} lacks {wanted - given}"


@pytest.mark.parametrize("page", PATTERNS, ids=by_name)
def test_programs_are_async_and_plain_and_decorated_and_in_a_stack(page: Path) -> None:
    programs = fences(sections(page)["Use it"])
    plain = [program for program in programs if "async def" not in program]
    assert any("async def" in program for program in programs)
    assert plain
    name = type(CARDS[page.stem].example).__name__
    if isinstance(CARDS[page.stem].example, Operation):  # it is called, not put around a function
        assert any(re.search(r">> \w+|\.outcome\(\w+, \{", program) for program in programs)
        return
    assert any(re.search(rf"^@{name}\(", program, re.MULTILINE) for program in programs)
    assert any(">> " in program for program in programs)


@pytest.mark.parametrize("page", PATTERNS, ids=by_name)
def test_pitfalls_come_as_pairs_of_programs(page: Path) -> None:
    parts = re.split(r"^### ", sections(page)["Pitfalls"], flags=re.MULTILINE)[1:]
    assert len(parts) >= 3
    for part in parts:
        programs = fences(part)
        assert len(programs) >= 2, part.split("\n")[0]
        assert all("#>" in program or "raises=" in part for program in programs), part.split("\n")[0]


@pytest.mark.parametrize("page", WRITTEN, ids=by_name)
def test_no_figure_is_typed_by_hand(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    typed: list[str] = []
    for heading, section in sections(page).items():
        if heading == "Sources":
            continue
        for token in MarkdownIt().parse(section):
            if token.type != "inline":
                continue
            words = " ".join(child.content for child in token.children or [] if child.type == "text")
            typed += [f"{heading}: {words}"] * bool(re.search(r"\d", re.sub(NAMES, "", words)))
    assert typed == []
    assert text.startswith("# ")


def test_every_card_has_its_page() -> None:
    assert [slug for slug in CARDS if not (DOCS / page_of(slug).lstrip("/")).is_file()] == []
