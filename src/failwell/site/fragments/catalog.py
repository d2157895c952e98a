"""The catalog: a card for each pattern, grouped by what it does."""

from __future__ import annotations

import re
from collections.abc import Sequence

from failwell.catalog import CARDS, GROUPS
from failwell.site.fragments import fragment
from failwell.site.fragments.patterns import drawing, gain_words, graph_of, latency_words, link_to


@fragment("catalog", from_source=True)
def catalog() -> str:
    """Every card with its small diagram; a plain list for readers without style sheets or scripts."""
    parts: list[str] = []
    for group, failure in GROUPS.items():
        cards = [one for one in CARDS.values() if one.group == group]
        if not cards:
            continue
        parts += [f"## {group}", f"*When {failure}.*", '<div class="fw-cards" markdown="1">']
        images = [
            drawing(graph_of(one.slug), f"catalog-{one.slug}", f"Flow of {one.name}", note=False, legend=False)
            for one in cards
        ]
        for one, image, wide in zip(cards, images, _rows(images), strict=True):
            parts += [
                f'<div class="fw-card{" fw-wide" * wide}" markdown="1">',
                f"### {link_to(one.slug)}",
                one.intent,
                image,
                f"Use when\n:   {'; '.join(one.use_when)}",
                f"Latency\n:   {latency_words(one.slug)}",
                f"Reliability\n:   {gain_words(one.slug)}",
                f"Effort\n:   {one.effort}",
                "</div>",
            ]
        parts.append("</div>")
    return "\n\n".join(parts)


WIDE = 600
"""Drawings from this width on, in pixels, take a row of their own."""


def _rows(images: Sequence[str]) -> list[bool]:
    """Which cards take a row of their own: those with wide drawings, and one that would stand beside nothing."""
    wide = [float(re.findall(r'width="([\d.]+)"', image)[0]) >= WIDE for image in images]
    if wide.count(False) % 2:
        wide[max(place for place, one in enumerate(wide) if not one)] = True
    return wide


@fragment("failures", from_source=True)
def failures() -> str:
    """What kind of failure is it? Each answer leads to the cards that are for it."""
    parts = ['<div class="fw-cards" markdown="1">']
    for group, failure in GROUPS.items():
        cards = [one for one in CARDS.values() if one.group == group]
        if cards:
            told = "\n".join(f"- {link_to(one.slug)}. {one.intent}" for one in cards)
            parts += ['<div class="fw-card" markdown="1">', f"**{failure[0].upper()}{failure[1:]}**", told, "</div>"]
    return "\n\n".join([*parts, "</div>"])
