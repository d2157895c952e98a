"""``failwell show``."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import click

from failwell.cli.words import share

__all__ = ["show"]


@click.command()
@click.argument("pattern")
def show(pattern: str) -> None:
    """Show one pattern: what it is for, what it costs and gains, and its flow as text."""
    from failwell.catalog import exploration, numbers
    from failwell.cli.targets import pattern as find
    from failwell.flow.draw import draw
    from failwell.flow.story import seconds

    card = find(pattern)
    found = numbers(card)
    bold = click.style(card.name, bold=True)
    click.echo(f"{bold} ({card.group.lower()})\n{card.intent}")
    _field("Also known as", card.also_known_as)
    _field("Use when", card.use_when, bullets=True)
    _field("Do not use when", card.avoid_when, bullets=True)
    _field("Errors", card.error_types)
    _field("Effort", (card.effort,))
    _field("Related", card.related)
    hang = "a hang is never ended" if found.worst_hang == float("inf") else f"with hangs {seconds(found.worst_hang)}"
    _field(
        "Computed for 10 % failures",
        (
            f"success {share(found.bare)} without it, {share(found.success)} with it"
            + (f" ({share(found.degraded)} degraded)" if found.degraded else ""),
            f"mean wait {seconds(found.mean)}, worst {seconds(found.worst)}; {hang}",
            f"{found.calls:.3g} calls on average, {found.most_calls} at most",
        ),
        bullets=True,
    )
    click.echo(f"\n{click.style('Flow', bold=True)}")
    click.echo(textwrap.indent(draw(exploration(card).graph(), "txt").decode().rstrip(), "  "))
    _field("Code", (card.module,))
    _field("Sources", card.sources, bullets=True)


def _field(name: str, values: Sequence[str], *, bullets: bool = False) -> None:
    if not values:
        return
    click.echo(f"\n{click.style(name, bold=True)}")
    for value in values if bullets else [", ".join(values)]:
        lead = "  - " if bullets else "  "
        click.echo(textwrap.fill(value, 98, initial_indent=lead, subsequent_indent=" " * len(lead), **_WHOLE_WORDS))


_WHOLE_WORDS: Any = {"break_long_words": False, "break_on_hyphens": False}
