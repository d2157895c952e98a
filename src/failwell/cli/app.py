"""The commands."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from failwell.cli.refusal import Refused

if TYPE_CHECKING:
    from failwell.flow import Exploration, Report

__all__ = ["cli", "run"]


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command; whatever goes wrong becomes one line on standard error.

    Args:
        arguments: What stands after ``failwell``; by default the command line's.

    Returns:
        The exit status: 0 is fine, 1 a check that failed, 2 bad input, 130 an interruption.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status: Any = cli.main(args=given, prog_name="failwell", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "failwell"
        return _refuse(f"{' '.join(error.format_message().split()).rstrip('.')} ({command} --help shows how)")
    except click.ClickException as error:
        return _refuse(error.format_message())
    except Refused as error:
        return _refuse(str(error))
    except (KeyboardInterrupt, click.Abort):
        print("failwell: stopped, nothing was left half-written", file=sys.stderr)
        return 130
    except (BrokenPipeError, _ReaderLeft):  # whoever read us has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status if isinstance(status, int) else 0


def _refuse(message: str) -> int:
    print(f"failwell: {' '.join(message.split())}", file=sys.stderr)
    return 2


def _version() -> str:
    try:
        return version("failwell")
    except PackageNotFoundError:
        return "unknown"


class _ReaderLeft(Exception):
    """Nobody reads what we print any more. An OSError would end in click's own exit status."""


class _Commands(click.Group):
    """The group of all commands."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the chosen command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise _ReaderLeft from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.version_option(_version(), message="%(prog)s %(version)s")
@click.pass_context
def cli(context: click.Context) -> None:
    """Error recovery patterns whose drawings and numbers come from running them.

    TARGET is a pattern's name (failwell list), or module:attribute of a stack or decorated function of your
    own, imported with the current folder on the path.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


# --- options that several commands share ---------------------------------------------------------------


def _outcomes(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    given = tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    unknown = [one for one in given if one not in ("ok", "fail", "hang")]
    if unknown or not given:
        raise Refused(f"--outcomes {value!r}: give some of ok, fail and hang, with commas between them")
    return given


def _exploring(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--limit", metavar="N", default=10_000, help="Stop at more paths than this (10,000)."),
        click.option("--outcomes", metavar="LIST", callback=_outcomes, help="How operations can end: ok,fail,hang."),
        click.option("--operation", metavar="NAME", help="What to call the protected operation."),
    ):
        command = option(command)
    return command


def _explored(target: str, operation: str | None, outcomes: tuple[str, ...] | None, limit: int) -> Exploration:
    from failwell.cli.targets import explored, resolve

    if limit < 1:
        raise Refused(f"--limit {limit}: give a number of paths of at least 1")
    return explored(resolve(target), operation=operation, outcomes=outcomes, limit=limit)


# --- list and show -------------------------------------------------------------------------------------


@cli.command("list")
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


@cli.command()
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
            f"success {_share(found.bare)} without it, {_share(found.success)} with it"
            + (f" ({_share(found.degraded)} degraded)" if found.degraded else ""),
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


def _share(p: float) -> str:
    """A probability as people write it, never rounded to certainty or to nothing."""
    percent = 100 * p
    for digits in range(1, 8):
        shown = f"{percent:.{digits}f}"
        if float(shown) not in (0, 100) or p in (0, 1):
            return f"{shown.rstrip('0').rstrip('.')} %"
    return "almost 100 %" if p > 0.5 else "almost 0 %"


# --- draw ----------------------------------------------------------------------------------------------


@cli.command("draw")
@click.argument("target")
@click.option("-o", "--output", "output", metavar="FILE", help="Where to write; the suffix picks the format.")
@click.option("--unroll", is_flag=True, help="Show each attempt on its own instead of folding them into a loop.")
@click.option("--theme", type=click.Choice(["auto", "light", "dark"]), default="auto", help="Colours (auto).")
@_exploring
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
    exploration = _explored(target, operation, outcomes, limit)
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


# --- explain -------------------------------------------------------------------------------------------


@cli.command()
@click.argument("target")
@click.option("--fail", metavar="P", type=float, default=0.1, help="The odds that an operation fails (0.1).")
@click.option("--hang", metavar="P", type=float, default=0.0, help="The odds that it hangs (0).")
@click.option("--paths", is_flag=True, help="Tell every path, not only the first ones.")
@click.option("--json", "as_json", is_flag=True, help="For tools; null stands for what never ends.")
@_exploring
def explain(
    target: str,
    fail: float,
    hang: float,
    paths: bool,
    as_json: bool,
    operation: str | None,
    outcomes: tuple[str, ...] | None,
    limit: int,
) -> None:
    """Tell what can happen to a call through TARGET, and how likely it is."""
    for name, odds in (("--fail", fail), ("--hang", hang)):
        if not 0 <= odds <= 1:
            raise Refused(f"{name} {odds:g} is no probability: give a number from 0 to 1")
    if fail + hang > 1:
        raise Refused(f"--fail {fail:g} and --hang {hang:g} sum up to more than 1: give smaller ones")
    exploration = _explored(target, operation, outcomes or ("ok", "fail", "hang"), limit)
    report = exploration.report(fail, hang)
    if as_json:
        import json

        found = _finite({"target": target, **_as_data(exploration, report, fail, hang)})
        click.echo(json.dumps(found, indent=2, allow_nan=False))
        return
    for line in _explained(exploration, report, fail, hang, None if paths else 12):
        click.echo(line)


def _as_data(exploration: Exploration, report: Report, fail: float, hang: float) -> dict[str, Any]:
    return {
        "title": exploration.title,
        "odds": {"fail": fail, "hang": hang},
        "report": report.as_dict(),
        "paths": [
            {
                "story": str(path),
                "choices": [[choice.subject, choice.option] for choice in path.choices],
                "elapsed": path.elapsed,
                "error": None if path.error is None else type(path.error).__name__,
                "degraded": path.degraded,
                "probability": path.probability(fail, hang),
            }
            for path in exploration.paths
        ],
    }


def _finite(value: Any) -> Any:
    """The same without infinities, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [_finite(inner) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return None if isinstance(value, float) and value in (float("inf"), float("-inf")) else value


def _explained(exploration: Exploration, report: Report, fail: float, hang: float, most: int | None) -> Iterator[str]:
    from failwell.flow.story import seconds

    yield exploration.title
    yield ""
    yield f"With {_share(fail)} failures and {_share(hang)} hangs of each operation:"
    degraded = f", {_share(report.degraded)} of them degraded" if report.degraded else ""
    yield f"  success   {_share(report.success)}{degraded}"
    yield f"  latency   mean {seconds(report.mean_latency)}, p50 {seconds(report.percentile(0.5))}, " + (
        f"p99 {seconds(report.percentile(0.99))}"
    )
    calls = [f"{name} {count:.3g} (at most {report.most_calls[name]})" for name, count in report.calls.items()]
    yield f"  calls     {', '.join(calls)}"
    yield ""
    yield "Whatever the odds:"
    yield f"  longest   {seconds(report.worst_latency)}: {report.worst_path}"
    yield f"  raised    {', '.join(report.raised) or 'nothing'}"
    yield ""
    shown = exploration.paths[:most]
    yield f"Paths ({len(exploration):,}):"
    for path in shown:
        yield f"  {_share(path.probability(fail, hang)):>11}  {path}"
    if len(shown) < len(exploration):
        yield f"  ... and {len(exploration) - len(shown):,} more (--paths tells all)"


# --- diagrams ------------------------------------------------------------------------------------------


@cli.command("diagrams")
@click.option("--check", is_flag=True, help="Write nothing; name what is out of date and exit with status 1.")
@click.option("--to", "to", metavar="DIR", help="Another folder than diagrams/ of the checkout.")
def diagrams_(check: bool, to: str | None) -> None:
    """Write every pattern in every format, with an index, into diagrams/."""
    from failwell.cli.diagrams import drawings, stale, write_all
    from failwell.cli.targets import progress

    folder = Path(to or "diagrams")
    if to is None and not Path("mkdocs.yml").is_file():
        raise Refused("this is no checkout of Failwell: run it there, or name a folder with --to DIR")
    try:
        is_folder, taken = folder.is_dir(), folder.exists()
    except OSError as error:  # a name that is too long, a folder on the way that cannot be entered
        raise Refused(f"cannot use {folder}: {(error.strerror or str(error)).lower()}, give another folder") from None
    if taken and not is_folder:
        raise Refused(f"{folder} is no folder: give another one")
    if check and not is_folder:
        raise Refused(f"there is no folder {folder} to check: run this without --check to make it")
    with progress("files drawn") as count:
        files = drawings(count)
    if check:
        wrong = stale(folder, files)
        for line in wrong:
            click.echo(line)
        if wrong:
            click.echo(
                f"{len(wrong)} of {len(files)} files: run `failwell diagrams` and commit what it writes", err=True
            )
            click.get_current_context().exit(1)
        click.echo(f"{folder}: all {len(files)} files are up to date", err=True)
        return
    changed = write_all(folder, files)
    click.echo(f"{folder}: {len(changed)} of {len(files)} files written, the others are up to date", err=True)


# --- site ----------------------------------------------------------------------------------------------


@cli.group()
def site() -> None:
    """Build or serve the site, in a checkout."""


@site.command()
@click.option("--to", "to", metavar="DIR", help="Another folder than site/.")
def build(to: str | None) -> None:
    """Build the site."""
    from failwell.site.builder import SiteError
    from failwell.site.builder import build as build_site

    try:
        built = build_site(to=Path(to) if to else None)
    except SiteError as error:
        raise Refused(str(error)) from None
    click.echo(f"{built}: built", err=True)


@site.command()
@click.option("--port", metavar="N", type=click.IntRange(1, 65535), default=8000, help="The preferred port (8000).")
def serve(port: int) -> None:
    """Build the site, serve it on this machine only, and build again when a page changes."""
    from failwell.site.builder import SiteError
    from failwell.site.builder import serve as serve_site

    try:
        serve_site(port=port)
    except SiteError as error:
        raise Refused(str(error)) from None
