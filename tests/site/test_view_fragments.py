"""State machines, ways to end and timelines on pages."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from failwell.flow.classes import outcome_classes
from failwell.site.fragments import FragmentError, render
from failwell.site.fragments._measures import explored
from failwell.site.fragments._subjects import subject, subjects
from failwell.site.fragments.views import machines_of

STATEFUL = ("circuit_breaker", "rate_limiter", "bulkhead", "cache", "in-order")


@pytest.mark.parametrize("slug", STATEFUL)
def test_each_machine_of_a_stack_is_drawn_and_told_in_words(slug: str) -> None:
    text = render("states", slug)
    figures = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(figures) == len(machines_of(slug)) == text.count("<summary>The same in words</summary>")
    for figure, machine in zip(figures, machines_of(slug), strict=True):
        assert (ET.fromstring(figure)[0].text or "") == f"States of {machine.title}"
        assert figure.count('class="edge ') == len(machine.edges)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_a_pattern_without_a_state_has_no_machine() -> None:
    with pytest.raises(FragmentError, match="no layer of retry keeps a state"):
        render("states", "retry")


@pytest.mark.parametrize("slug", subjects())
def test_every_way_to_end_has_its_diagram(slug: str) -> None:
    text = render("ends", slug)
    classes = outcome_classes(explored(*subject(slug)[1:]))
    assert re.findall(r"^\*\*`?(.+?)`?\*\*: ", text, re.MULTILINE) == list(classes)
    assert text.count("```mermaid\n") == len(classes)


def test_one_way_to_end_can_be_picked() -> None:
    assert render("ends", "circuit_breaker", "CircuitOpenError").count("sequenceDiagram") == 1
    with pytest.raises(FragmentError, match="no path of retry ends so: CircuitOpenError; there are answered"):
        render("ends", "retry", "CircuitOpenError")


def test_a_timeline_is_that_of_the_longest_path_of_its_kind() -> None:
    text = render("timeline", "stack")
    image = re.search(r"<svg.*</svg>", text, re.DOTALL)
    assert image
    assert "the longest path" in (ET.fromstring(image[0])[0].text or "")
    assert render("timeline", "stack", "degraded") != text
    with pytest.raises(FragmentError, match="no path of stack ends so: upside down"):
        render("timeline", "stack", "upside down")
