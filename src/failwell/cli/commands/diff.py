"""``failwell diff``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from failwell.cli.odds import Given, Odds, given_in_words, given_odds, with_odds
from failwell.cli.options import explored_target, exploring
from failwell.cli.refusal import Refused
from failwell.cli.words import between, count, finite, latency, share

if TYPE_CHECKING:
    from failwell.cli.targets import Outcomes
    from failwell.flow.diff import Bounds, Diff, Figure, Side

__all__ = ["compared", "diff_"]

_FEW = 5
_MANY = 20


@click.command("diff")
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@with_odds
@click.option("--check", is_flag=True, help="Exit with status 1 if they behave differently.")
@click.option("--json", "as_json", is_flag=True, help="For tools; null stands for what never ends.")
@exploring
def diff_(
    a: str,
    b: str,
    fail: Given,
    hang: Given,
    check: bool,
    as_json: bool,
    operation: str | None,
    outcomes: Outcomes | None,
    limit: int,
) -> None:
    """Compare the targets A and B, as Markdown for a pull request: figures, findings, and paths of one only."""
    from failwell.cli.targets import working
    from failwell.flow.diff import diff

    fails, hangs = given_odds(fail, hang)
    first, second = (explored_target(one, operation, outcomes or ("ok", "fail", "hang"), limit) for one in (a, b))
    with working(f"comparing {len(first):,} paths with {len(second):,}"):
        try:
            found = diff(first, second, fails, hangs)
        except ValueError as error:  # odds of an operation that is not there
            raise Refused(f"{error}: give --fail and --hang for others") from None
    if found.same and outcomes is None:
        found = _with_errors(found, a, b, operation, limit)
    if as_json:
        import json

        called = dict.fromkeys([*found.a.report.calls, *found.b.report.calls])
        head = {"targets": [a, b], "odds": {"fail": fails.as_data(called), "hang": hangs.as_data(called)}}
        click.echo(json.dumps(finite({**head, **found.as_dict()}), indent=2, allow_nan=False))
    else:
        for line in compared(found, (a, b), fails, hangs):
            click.echo(line)
    if check and not found.same:
        click.get_current_context().exit(1)


def _with_errors(found: Diff, a: str, b: str, operation: str | None, limit: int) -> Diff:
    """The same difference, looked at once more with an error of each kind that the layers tell apart."""
    from failwell.cli.targets import explored, resolve
    from failwell.flow.diff import by_error, told_apart

    errors = told_apart(found.a.exploration, found.b.exploration)
    if not errors:
        return found
    ways: tuple[str | type[Exception], ...] = ("ok", *errors, "hang")
    try:
        first, second = (explored(resolve(one), operation=operation, outcomes=ways, limit=limit) for one in (a, b))
    except Refused as error:  # too many paths
        return found._replace(not_compared=str(error))
    return found._replace(apart=by_error(first, second, errors))


def compared(found: Diff, names: Sequence[str], fails: Odds, hangs: Odds) -> Iterator[str]:
    """A difference as Markdown, line by line.

    Args:
        found: The difference.
        names: What the two targets are called.
        fails: The odds that operations fail.
        hangs: The odds that they hang.
    """
    sides = (found.a, found.b)
    yield f"## {_code(names[0])} and {_code(names[1])}"
    yield ""
    alike = f"{_counted(len(found.a.exploration), 'path')}, told and timed in the same way."
    errors = "" if found.apart is None else ", ".join(one.__name__ for one in found.apart.errors)
    if found.not_compared:
        yield f"They behave the same where operations answer, fail or hang: {alike}"
        yield f"Whether they tell errors apart in the same way is not known: {found.not_compared}."
    elif found.same:
        yield f"They behave the same: {alike}"
        if errors:
            yield f"So they do when operations raise one of {errors}."
    elif found.apart is not None:
        yield f"They behave differently when operations raise one of {errors}: see the paths below the figures."
        yield f"In the figures all failures are of one kind, and alike. {given_in_words(fails, hangs)}"
    else:
        yield f"They behave differently. {given_in_words(fails, hangs)}"
    yield ""
    yield f"| | {_code(names[0])} | {_code(names[1])} |"
    yield "|---|---|---|"
    yield _row("layers", [_layers(side) for side in sides])
    yield _row("paths", [f"{len(side.exploration):,}" for side in sides])
    for figure in found.figures:
        if figure.differs or not figure.name.startswith("most"):
            yield _figure(figure)
    yield _row("raised", [", ".join(side.report.raised) or "nothing" for side in sides])
    yield _row("never reached", [", ".join(side.report.never_reached) or "nothing" for side in sides])
    yield ""
    yield "**Bold** is what differs." + _BOUNDS * any(map(_is_random, found.figures))
    for side, name in zip(sides, names, strict=True):
        yield from _findings(side, name)
    for side, name in zip(sides, names, strict=True):
        yield from _paths(side.states[:_MANY], len(side.states), "first", name, what="way from state to state")
    for side, name in zip(sides, names, strict=True):
        yield from _paths([f"{share(p)}: {path}" for p, path in side.paths[:_FEW]], len(side.paths), "likeliest", name)
    if found.apart is not None:
        for paths, name in zip((found.apart.a, found.apart.b), names, strict=True):
            yield from _paths([str(path) for path in paths[:_FEW]], len(paths), "shortest", name)


_BOUNDS = " The truth is between two figures where two are given: these are bounds, because waits are random."


def _is_random(figure: Figure) -> bool:
    return any(bounds is not None and bounds[0] != bounds[1] for bounds in (figure.a, figure.b))


def _figure(figure: Figure) -> str:
    written = {"share": share, "seconds": latency, "count": count}[figure.unit]

    def shown(bounds: Bounds | None) -> str:
        return "never" if bounds is None else between(bounds, written)

    return _row(figure.name, [shown(figure.a), shown(figure.b)], bold=figure.differs)


def _layers(side: Side) -> str:
    return _code(" >> ".join(map(repr, side.exploration.layers))) if side.exploration.layers else "none"


def _row(name: str, cells: Sequence[str], *, bold: bool | None = None) -> str:
    shown = [*cells]
    if bold or (bold is None and cells[0] != cells[1]):
        shown[1] = f"**{shown[1]}**"
    return f"| {name} | {' | '.join(shown)} |"


def _code(text: str) -> str:
    """Text as it is; a bar would end the cell of a table."""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text.replace('|', chr(92) + '|')}{fence}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _findings(side: Side, name: str) -> Iterator[str]:
    if side.findings:
        yield ""
        yield f"### {_counted(len(side.findings), 'finding')} only in {_code(name)}"
        yield ""
    for finding in side.findings:
        yield f"- {finding.severity}: {finding.rule}: {finding.message} {finding.advice}"


def _paths(shown: Sequence[str], number: int, first: str, name: str, what: str = "path") -> Iterator[str]:
    if shown:
        which = f", the {first}" if len(shown) < number else ""
        yield ""
        counted = f"1 {what}" if number == 1 else f"{number:,} {what.replace('path', 'paths').replace('way ', 'ways ')}"
        yield f"### {counted} only in {_code(name)}{which}"
        yield ""
        yield from (f"- {path}" for path in shown)
