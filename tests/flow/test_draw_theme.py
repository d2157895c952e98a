from __future__ import annotations

import re
from pathlib import Path

import pytest

from failwell.events import Event
from failwell.flow.draw import theme
from failwell.flow.draw.metrics import code_lines, text_width, wrapped
from tests.flow.drawn import GRAPHS

SCHEMES: tuple[theme.Scheme, ...] = ("light", "dark")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_everything_can_be_told_from_its_ground(scheme: theme.Scheme) -> None:
    board = theme.BOARD.on(scheme)
    for ground in (board, theme.NOTE.on(scheme), *(role.fill.on(scheme) for role in theme.ROLES.values())):
        assert theme.contrast(theme.TEXT.on(scheme), ground) >= 7
        assert theme.contrast(theme.QUIET.on(scheme), ground) >= 4.5
    for name, role in theme.ROLES.items():
        assert theme.contrast(role.stroke.on(scheme), role.fill.on(scheme)) >= 3, name
        assert theme.contrast(role.stroke.on(scheme), board) >= 4.5, f"arrows of {name} carry words"


def test_contrast_is_that_of_wcag() -> None:
    assert theme.contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert theme.contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


def test_every_role_has_a_shape_and_a_word_of_its_own() -> None:
    shapes = [role.shape for role in theme.ROLES.values()]
    assert len({*shapes, "circle"}) == len(shapes) + 1
    assert len({role.word for role in theme.ROLES.values()}) == len(theme.ROLES)
    assert theme.ROLES["operation"].shape == "rectangle"
    assert theme.ROLES["decision"].shape == "diamond"
    assert theme.ROLES["error"].shape == "hexagon"


def test_every_role_of_an_event_is_known() -> None:
    def kinds(kind: type[Event]) -> list[type[Event]]:
        return [kind, *(inner for sub in kind.__subclasses__() for inner in kinds(sub))]

    assert {kind.role for kind in kinds(Event)} <= theme.ROLES.keys()


def test_the_site_has_the_same_colours() -> None:
    css = (Path(__file__).parents[2] / "docs/stylesheets/failwell.css").read_text(encoding="utf-8").lower()
    light, dark = css.split('[data-md-color-scheme="slate"]', 1)
    for name, role in theme.ROLES.items():
        for part, scheme in ((light, "light"), (dark, "dark")):
            for kind, colour in (("stroke", role.stroke), ("fill", role.fill)):
                found = re.search(rf"--fw-{name}-{kind}: (#\w+);", part)
                assert found, f"{name} {kind}"
                assert found[1] == colour.on("dark" if scheme == "dark" else "light").lower(), f"{name} {kind} {scheme}"


def test_loops_are_found() -> None:
    compact = GRAPHS["retry"]
    (back,) = theme.back_edges(compact)
    assert compact.nodes[back.source].title == "wait"
    assert back.detail == "attempt 2–3"
    assert not theme.back_edges(GRAPHS["retry-unrolled"])


def test_one_answer_that_leads_two_ways_says_which_attempt_goes_where() -> None:
    def ways(graph: str, title: str) -> dict[str, str]:
        found = GRAPHS[graph]
        return {found.nodes[e.target].title: e.detail for e in found.edges if found.nodes[e.source].title == title}

    assert ways("retry", "call_api") == {
        "return": "",
        "wait": "attempt 1–2",
        "give up": "attempt 3",
        "never ends": "",
    }
    assert ways("stack", "timed out") == {"wait": "attempt 1–2", "give up": "attempt 3"}


@pytest.mark.parametrize(
    "text", ["call_the_payment_service_of_the_shop", "raise ConnectionResetError", "x" * 90, "a b", ""]
)
def test_wrapped_lines_fit_and_lose_nothing(text: str) -> None:
    lines = wrapped(text, 100, 14, bold=True)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(text_width(line, 14, bold=True) <= 100 for line in lines)


def test_code_is_broken_between_layers_and_at_commas() -> None:
    lines = code_lines("Cache(60) >> Retry(backoff=Exponential(initial=1.0, multiplier=2.0, max=60.0)) >> load", 44)
    assert lines[0] == "Cache(60)"
    assert lines[-1] == ">> load"
    assert all(len(line) <= 44 for line in lines)


@pytest.mark.parametrize("limit", [60, 75, 90, 120, 200])
def test_a_line_never_breaks_inside_a_number(limit: float) -> None:
    text = "0.2-0.6 s, 0.2–1.8 s, 1,200.25 s, at 10.5"
    lines = wrapped(text, limit, 12)
    numbers = ["0.2", "0.6", "0.2", "1.8", "1,200.25", "10.5"]
    assert [one for line in lines for one in re.findall(r"\d+(?:[.,]\d+)*", line)] == numbers
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
