"""The catalog: a card for each pattern, grouped by what it does."""

from __future__ import annotations

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
        for one in cards:
            parts += [
                '<div class="fw-card" markdown="1">',
                f"### {link_to(one.slug)}",
                one.intent,
                drawing(graph_of(one.slug), f"catalog-{one.slug}", f"Flow of {one.name}", note=False, legend=False),
                f"Use when\n:   {'; '.join(one.use_when)}",
                f"Latency\n:   {latency_words(one.slug)}",
                f"Reliability\n:   {gain_words(one.slug)}",
                f"Effort\n:   {one.effort}",
                "</div>",
            ]
        parts.append("</div>")
    return "\n\n".join(parts)


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
