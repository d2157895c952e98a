"""The drawings in diagrams/ are those that the code makes now."""

from __future__ import annotations

from pathlib import Path

import pytest

from failwell.catalog import CARDS
from failwell.cli.diagrams import drawings, stale
from failwell.flow.draw import FORMATS

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
