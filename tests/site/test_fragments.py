"""Markers in pages become what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from failwell.site import fragments

ROOT = Path(__file__).resolve().parents[2]


def test_a_marker_is_replaced_by_what_its_function_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"shout": lambda word: word.upper()}
    monkeypatch.setattr(fragments, "known", lambda: given)
    page = 'Before\n\n<!-- generated: shout "go on" -->\n\nAfter'
    assert fragments.fill(page, "page.md") == "Before\n\nGO ON\n\nAfter"


def test_an_indented_marker_indents_what_it_becomes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "known", lambda: {"two": lambda: "a\nb\n"})
    assert fragments.fill('=== "Tab"\n\n    <!-- generated: two -->', "page.md") == '=== "Tab"\n\n    a\n    b'


@pytest.mark.parametrize("ticks", ["```", "````", "~~~"])
def test_a_marker_inside_a_fence_is_text(ticks: str) -> None:
    page = f"{ticks}html\n<!-- generated: nothing -->\n{ticks}\n"
    assert fragments.fill(page, "page.md") == page


def test_other_comments_stay() -> None:
    page = "<!-- a remark -->\ntext <!-- generated: source failwell.backoff --> text"
    assert fragments.fill(page, "page.md") == page


@pytest.mark.parametrize(
    ("marker", "complaint"),
    [
        ("<!-- generated: sorce failwell -->", "no fragment 'sorce'; there are "),
        ("<!-- generated: source -->", "source takes MODULE; it got nothing"),
        ("<!-- generated: source failwell.nowhere -->", "no module 'failwell.nowhere' with a source file"),
        ("<!-- generated: source nowhere.at.all -->", "no module 'nowhere.at.all' with a source file"),
        ("<!-- generated: -->", "no fragment ''"),
        ('<!-- generated: source "failwell -->', "No closing quotation"),
    ],
)
def test_a_wrong_marker_is_one_sentence_that_names_page_line_and_marker(marker: str, complaint: str) -> None:
    with pytest.raises(fragments.FragmentError) as caught:
        fragments.fill(f"# Title\n\n{marker}\n", "docs/page.md")
    message = str(caught.value)
    assert message.startswith(f"docs/page.md, line 3: {marker}: ")
    assert complaint in message
    assert "\n" not in message


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(fragments.FragmentError, match=r"there are .*\bsource\b"):
        fragments.render("sorce")


def test_two_fragments_cannot_share_a_name() -> None:
    fragments.known()
    with pytest.raises(ValueError, match="two fragments are named 'source'"):
        fragments.fragment("source")(str)


def test_source_is_the_text_of_the_module() -> None:
    text = fragments.render("source", "failwell.backoff")
    first, *lines, last = text.split("\n")
    assert first == '```python title="src/failwell/backoff.py" linenums="1"'
    assert last == "```"
    assert "\n".join(lines) == (ROOT / "src/failwell/backoff.py").read_text(encoding="utf-8").rstrip("\n")


def test_source_that_holds_fences_gets_a_longer_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "with_a_fence.py").write_text('"""Use it:\n\n```python\npass\n```\n"""\n', encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    text = fragments.render("source", "with_a_fence")
    assert text.startswith("````python ")
    assert text.endswith("\n````")


@pytest.mark.parametrize(
    ("marker", "follows"),
    [
        (["flow", "retry"], True),
        (["command", "explain", "stack", "--fail", "0.1"], True),
        (["command", "explain", "failwell.examples.llm_service:llm_service"], True),
        (["command", "explain", "shop:recover"], False),
        (["command", "explain", __file__], False),
        (["mutants"], False),
        (["benchmark"], False),
        (["source", "failwell.errors"], False),
        (["nothing"], False),
    ],
)
def test_only_what_follows_from_the_source_of_the_package_may_be_kept(marker: list[str], follows: bool) -> None:
    assert fragments.follows_from_source(*marker) == follows
