"""Drawings in a real browser: sequence diagrams are drawn, picked paths light up."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser

from failwell import CircuitBreaker, Retry
from failwell.flow import explore
from failwell.flow.draw import draw
from failwell.flow.draw.sequence import sequence
from failwell.site.fragments import render
from failwell.site.fragments._measures import explored
from failwell.site.fragments._subjects import subject, subjects
from tests.flow.drawn import HOSTILE

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("light")]


def test_mermaid_draws_every_sequence(browser: Browser, address: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}/")
        page.add_script_tag(url=f"{address}/assets/vendor/mermaid.js")
        for slug in subjects():
            for number, text in enumerate(re.findall(r"```mermaid\n(.*?)```", render("sequence", slug), re.DOTALL)):
                drawn = page.evaluate(
                    "async ([name, text]) => (await mermaid.render(name, text)).svg", [f"{slug}-{number}", text]
                )
                people = re.findall(r"participant \w+ as (.+)", text)
                assert drawn.count('class="messageLine') == len(re.findall(r"^ +p\d+-", text, re.MULTILINE)), slug
                assert drawn.count('class="note"') == text.count("Note over"), slug
                assert all(name in drawn for name in people if re.fullmatch(r"\w+", name)), slug


def test_mermaid_draws_every_way_to_end_and_every_state_machine(browser: Browser, address: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}/")
        page.add_script_tag(url=f"{address}/assets/vendor/mermaid.js")

        def drawn(name: str, text: str) -> str:
            return str(page.evaluate("async ([name, text]) => (await mermaid.render(name, text)).svg", [name, text]))

        for slug in subjects():
            for number, text in enumerate(re.findall(r"```mermaid\n(.*?)```", render("ends", slug), re.DOTALL)):
                image = drawn(f"ends-{slug}-{number}", text)
                assert image.count('class="messageLine') == len(re.findall(r"^ +p\d+-", text, re.MULTILINE)), slug
                assert image.count('class="note"') == text.count("Note over"), slug
            for number, machine in enumerate(explored(*subject(slug)[1:]).states()):
                image = drawn(f"states-{slug}-{number}", draw(machine, "mmd").decode())
                assert all(node.title in image for node in machine.nodes), slug
                assert len(re.findall(r'data-edge="true"', image)) == len(machine.edges), slug


def test_mermaid_reads_a_sequence_whatever_its_operation_is_called(browser: Browser, address: str) -> None:
    names = [
        HOSTILE,
        "end",
        "loop x",
        "a as b",
        "Note over p0: x",
        "--x",
        "%% x",
        "x;y",
        "#35;",
        "activate p1",
        "",
        " ",
    ]
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}/")
        page.add_script_tag(url=f"{address}/assets/vendor/mermaid.js")
        for number, name in enumerate(names):
            found = explore(CircuitBreaker(1, name=name) >> Retry(2), name)
            text = sequence(found, found.paths[-1])
            image = page.evaluate("async ([n, t]) => (await mermaid.render(n, t)).svg", [f"hostile-{number}", text])
            assert image.count('class="messageLine') == len(re.findall(r"^ +p\d+-", text, re.MULTILINE)), name
            assert "\ufb02" not in image, name  # what Mermaid puts in the place of a number while it reads


def test_a_picked_path_lights_up_and_goes_out_again(browser: Browser, address: str) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}/patterns/retry/")
        buttons = page.locator(".fw-paths button")
        assert buttons.count() == 7
        buttons.nth(3).click()
        lit = page.locator("#flow-retry-compact .fw-lit").count()
        assert lit == len((page.locator(".fw-paths li").nth(3).get_attribute("data-lights") or "").split())
        assert buttons.nth(3).get_attribute("aria-pressed") == "true"
        buttons.nth(0).click()
        assert buttons.nth(3).get_attribute("aria-pressed") == "false"
        buttons.nth(0).click()
        assert page.locator(".fw-lit").count() == 0


@pytest.mark.parametrize("width", [360, 1440])
def test_a_drawing_fits_its_column_or_keeps_its_size_and_shows_its_start(
    width: int, browser: Browser, address: str
) -> None:
    measure = """frames => frames.map(frame => {
        const image = frame.querySelector("svg"), style = getComputedStyle(frame);
        const column = frame.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
        const start = (image.querySelector(".fw-start") ?? frame).getBoundingClientRect();
        const view = frame.getBoundingClientRect();
        return [parseFloat(image.getAttribute("width")), image.getBoundingClientRect().width, column,
                start.left >= view.left && start.right <= view.right];
    })"""
    seen = set[str]()
    with browser.new_context(viewport={"width": width, "height": 900}) as context:
        page = context.new_page()
        for path in ("composition/", "explorer/views/", "patterns/retry/"):
            page.goto(f"{address}/{path}")
            for natural, shown, column, start in page.locator(".fw-drawing:not(.fw-lanes)").evaluate_all(measure):
                scaled = column < natural <= 1.3 * column
                seen.add("scaled" if scaled else "whole" if natural <= column else "scrolls")
                assert shown == pytest.approx(column if scaled else natural, abs=1)
                assert start
    assert seen == ({"scaled", "scrolls"} if width == 360 else {"scaled", "whole"})
