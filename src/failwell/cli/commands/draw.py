"""``failwell draw``."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from failwell.cli.options import explored_target, exploring
from failwell.cli.refusal import Refused

__all__ = ["draw_"]


@click.command("draw")
@click.argument("target")
@click.option("-o", "--output", "output", metavar="FILE", help="Where to write; the suffix picks the format.")
@click.option("--unroll", is_flag=True, help="Show each attempt on its own instead of folding them into a loop.")
@click.option("--theme", type=click.Choice(["auto", "light", "dark"]), default="auto", help="Colours (auto).")
@exploring
def draw_(
    target: str,
    output: str | None,
    unroll: bool,
    theme: Literal["auto", "light", "dark"],
    operation: str | None,
    outcomes: tuple[str, ...] | None,
    limit: int,
) -> None:
    """Draw the flow of TARGET: .svg .png .dot .mmd .txt; without -o as text on the terminal."""
    from failwell.cli.files import check_writable, write
    from failwell.flow.draw import FORMATS, DrawingFailed, draw

    ending = "txt" if output is None else Path(output).suffix.removeprefix(".").lower()
    if ending not in FORMATS:
        what = f"suffix .{ending} is not known" if ending else "a suffix is missing"
        raise Refused(f"cannot draw {output}: {what}, use one of {' '.join(f'.{one}' for one in FORMATS)}")
    if output is not None:
        check_writable(Path(output))
    exploration = explored_target(target, operation, outcomes, limit)
    try:
        graph = exploration.graph(compact=not unroll)
    except RecursionError:
        raise Refused(f"{target} is too long to be drawn: give fewer attempts") from None
    if len(graph.nodes) > _MOST_BOXES and ending in ("svg", "png"):
        advice = "draw it without --unroll" if unroll else "draw a part of the stack"
        raise Refused(f"a drawing of {len(graph.nodes):,} boxes cannot be read: {advice}, or write .txt")
    try:
        content = draw(graph, ending, scheme=None if theme == "auto" else theme)
    except DrawingFailed as error:
        raise Refused(str(error)) from None
    if output is None:
        click.echo(content, nl=False)
        return
    write(Path(output), content)
    counted = f"{len(graph.nodes)} boxes, {len(graph.edges)} arrows, {len(exploration):,} paths"
    click.echo(f"{output}: {counted}", err=True)


_MOST_BOXES = 600
