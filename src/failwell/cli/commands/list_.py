"""``failwell list``."""

from __future__ import annotations

import click

__all__ = ["list_"]


@click.command("list")
def list_() -> None:
    """Show all patterns, grouped by what they do."""
    from rich.console import Console
    from rich.table import Table

    from failwell.catalog import CARDS, GROUPS

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    group = ""
    for card in CARDS.values():
        if card.group != group:
            if group:
                table.add_row()
            group = card.group
            table.add_row(f"[not bold dim]{group}[/]", f"[dim]{GROUPS[group]}[/]")
        table.add_row(f"  {card.slug}", card.intent)
    console = Console()
    console.print(table)
    console.print("\nfailwell show PATTERN tells more, failwell draw PATTERN -o FILE draws it", style="dim")
