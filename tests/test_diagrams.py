"""The drawings in diagrams/ are those that the code makes now."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from failwell.catalog import CARDS, exploration
from failwell.cli.diagrams import drawings, stale
from failwell.flow.classes import outcome_classes
from failwell.flow.draw import FORMATS
from failwell.flow.draw.png import source_of
from failwell.flow.draw.text import sentences
from tests.flow.whiteboards import wrong_with_canvas, wrong_with_excalidraw

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def fresh() -> dict[str, bytes]:
    return drawings()


def test_diagrams_are_up_to_date(fresh: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert stale(Path("diagrams"), fresh) == [], "run `failwell diagrams` and commit what it writes"


def test_every_pattern_is_there_in_every_format(fresh: dict[str, bytes]) -> None:
    assert {f"{slug}.{ending}" for slug in CARDS for ending in FORMATS} <= fresh.keys()
    index = fresh["README.md"].decode()
    assert all(f"({name})" in index for name in fresh if name != "README.md")
    assert {name for name in re.findall(r"\]\((.+?)\)", index) if name not in fresh} == set()


@pytest.mark.parametrize("slug", CARDS)
def test_every_view_of_a_pattern_is_there(slug: str, fresh: dict[str, bytes]) -> None:
    found = exploration(CARDS[slug])
    graphs = found.graph(), found.graph(compact=False)
    folded = sentences(graphs[0]) != sentences(graphs[1])
    assert (f"{slug}-unrolled.svg" in fresh) == (folded and len(graphs[1].nodes) <= 200)
    assert sum(name.startswith(f"{slug}-states") for name in fresh) == len(found.states()) * len(FORMATS)
    ends = [name for name in fresh if name.startswith(f"{slug}-sequence-")]
    assert len(ends) == len(outcome_classes(found))
    assert all(b"sequenceDiagram" in fresh[name] for name in ends)
    takes_time = any(path.elapsed and path.ends for path in found.paths)
    assert (f"{slug}-timeline.svg" in fresh) == takes_time


def test_whiteboards_open_in_the_programs_that_they_are_for(fresh: dict[str, bytes]) -> None:
    boards = {name: json.loads(content) for name, content in fresh.items() if name.endswith((".excalidraw", ".canvas"))}
    assert len(boards) >= 2 * len(CARDS)
    check = {"excalidraw": wrong_with_excalidraw, "canvas": wrong_with_canvas}
    assert {name: wrong for name, board in boards.items() if (wrong := check[name.rpartition(".")[2]](board))} == {}


def test_a_check_needs_no_pictures(fresh: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "retry.png").write_bytes(fresh["retry.png"])
    unpainted = drawings(paint=False)
    assert len(unpainted["retry.png"]) < 1000 < len(fresh["retry.png"])
    assert {name: source_of(one) if name.endswith(".png") else one for name, one in unpainted.items()} == {
        name: source_of(one) if name.endswith(".png") else one for name, one in fresh.items()
    }
    assert stale(tmp_path, {"retry.png": unpainted["retry.png"]}) == []
    assert stale(tmp_path, {"retry.png": unpainted["saga.png"]}) == [f"{tmp_path / 'retry.png'} is out of date"]


def test_ids_of_two_drawings_never_meet(fresh: dict[str, bytes]) -> None:
    ids = [one for name, text in fresh.items() if name.endswith(".svg") for one in re.findall(rb'\bid="(.+?)"', text)]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("name", "in_order"),
    [
        ("retry-unrolled", ["attempt 1", "(wait) 1 s", "attempt 2", "(wait) 2 s", "attempt 3", "{give up}", "raise"]),
        ("retry", ["attempt 1–3", "(return)", "(wait) 1 s, 2 s", "attempt 2–3: back to", "{give up}", "raise"]),
        (
            "fallback",
            ["[gpt4]", "claude_sonnet", "fallback 1", "gemini_pro", "fallback 2", "llama_local", "fallback 3"],
        ),
        ("timeout", ["[slow_operation]", "(return)", "{timed out} cancelled after 30 s", "(raise TimeoutExceeded)"]),
        ("saga", ["step 1", "step 2", "step 3", "cancel_email", "delete_user", "(raise SagaError)"]),
        (
            "stack",
            [
                "<Cache?>",
                "[api_call] attempt 1–3",
                "cancelled after 30 s",
                "{give up}",
                "fallback 1",
                "fallback 2",
                "raise",
            ],
        ),
    ],
)
def test_the_whiteboards_are_told(fresh: dict[str, bytes], name: str, in_order: list[str]) -> None:
    told = fresh[f"{name}.txt"].decode().partition("\nstart\n")[2]
    at = 0
    for words in in_order:
        found = told.find(words, at)
        assert found >= 0, f"{words!r} does not follow in\n{told}"
        at = found
