"""``failwell explain``."""

from __future__ import annotations

import contextlib
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from failwell.cli.odds import Given, Odds, given_in_words, given_odds, with_odds
from failwell.cli.options import explored_target, exploring
from failwell.cli.words import between, count, finite, latency, share

if TYPE_CHECKING:
    from failwell.cli.targets import Outcomes
    from failwell.flow import Exploration, Report
    from failwell.flow.lint import Finding

__all__ = ["explain", "explained"]

_FEW = 12


@click.command()
@click.argument("target")
@with_odds
@click.option("--paths", is_flag=True, help="Tell every path, not only the likeliest ones.")
@click.option("--strict", is_flag=True, help="Exit with status 1 if there is a warning.")
@click.option("--json", "as_json", is_flag=True, help="For tools; null stands for what never ends.")
@exploring
def explain(
    target: str,
    fail: Given,
    hang: Given,
    paths: bool,
    strict: bool,
    as_json: bool,
    operation: str | None,
    outcomes: Outcomes | None,
    limit: int,
) -> None:
    """Tell what can happen to a call through TARGET, how likely it is, and what is wrong with it."""
    from failwell.cli.targets import working

    fails, hangs = given_odds(fail, hang)
    exploration = explored_target(target, operation, outcomes or ("ok", "fail", "hang"), limit)
    all_paths = f"{len(exploration):,} paths"
    with working(f"weighing {all_paths}"):
        report = _weighed(exploration, fails, hangs)
        elsewhere = _in_other_situations(exploration, report, fails, hangs)
    with working(f"looking for what is wrong in {all_paths}"):
        findings = exploration.lint()
    if as_json:
        with contextlib.nullcontext() if sys.stdout.isatty() else working(f"writing {all_paths}"):
            _write_json(target, exploration, report, elsewhere, findings, fails, hangs)
    else:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        for line in explained(exploration, report, findings, fails, hangs, elsewhere, None if paths else _FEW):
            click.echo(line if width is None else _wrapped(line, width))
    if strict and any(finding.severity == "warning" for finding in findings):
        click.get_current_context().exit(1)


def _weighed(exploration: Exploration, fails: Odds, hangs: Odds) -> Report:
    from failwell.cli.refusal import Refused

    try:
        return exploration.report(fails, hangs)
    except ValueError as error:  # an operation that is not there
        raise Refused(f"{error}: give --fail and --hang for others") from None


def _in_other_situations(
    exploration: Exploration, report: Report, fails: Odds, hangs: Odds
) -> Mapping[str, Mapping[str, Report]]:
    """Layer -> situation other than the one that is assumed -> the report for it."""
    return {
        layer: {situation: exploration.report(fails, hangs, situations={layer: {situation: 1}}) for situation in others}
        for layer, (_, *others) in report.situations.items()
        if others
    }


# --- for tools -----------------------------------------------------------------------------------


def _write_json(
    target: str,
    exploration: Exploration,
    report: Report,
    elsewhere: Mapping[str, Mapping[str, Report]],
    findings: Iterable[Finding],
    fails: Odds,
    hangs: Odds,
) -> None:
    """Write everything as JSON; path by path, because all of them together need a lot of room."""
    import json

    from failwell.flow.story import sentence, told
    from failwell.policy import labels

    head = {
        "target": target,
        "title": exploration.title,
        "layers": labels(exploration.layers),
        "operation": exploration.name,
        "odds": {"fail": fails.as_data(report.calls), "hang": hangs.as_data(report.calls)},
        "report": report.as_dict(),
        "situations": {
            layer: {situation: _figures(one) for situation, one in reports.items()}
            for layer, reports in elsewhere.items()
        },
        "findings": [
            {
                "rule": finding.rule,
                "severity": finding.severity,
                "message": finding.message,
                "advice": finding.advice,
                "layers": list(finding.layers),
                "page": finding.page,
                "path": str(finding.path),
            }
            for finding in findings
        ],
    }
    written = json.dumps(finite(head), indent=2, allow_nan=False)
    click.echo(f'{written.removesuffix(chr(10) + "}")},\n  "paths": [')
    before = "    "
    for (p, path), story in zip(report.weighted(), told(exploration.paths), strict=True):
        one = {
            "story": sentence(path, story),
            "choices": [[choice.subject, choice.option] for choice in path.choices],
            "elapsed": finite(path.elapsed),
            "between": finite(list(path.between)),
            "error": None if path.error is None else type(path.error).__name__,
            "degraded": path.degraded,
            "probability": p,
        }
        sys.stdout.write(before + json.dumps(one, allow_nan=False))
        before = ",\n    "
    click.echo("\n  ]\n}")


def _figures(report: Report) -> dict[str, Any]:
    whole = report.as_dict()
    return {name: whole[name] for name in ("success", "degraded", "outcomes", "mean_latency", "p50", "p99", "calls")}


# --- for people ----------------------------------------------------------------------------------


def explained(
    exploration: Exploration,
    report: Report,
    findings: Iterable[Finding],
    fails: Odds,
    hangs: Odds,
    elsewhere: Mapping[str, Mapping[str, Report]],
    most: int | None = _FEW,
) -> Iterator[str]:
    """What is known about a target, line by line.

    Args:
        exploration: What was explored.
        report: Its report.
        findings: What is wrong with it.
        fails: The odds that operations fail.
        hangs: The odds that they hang.
        elsewhere: Layer -> situation -> the report for it.
        most: How many paths to tell (None: all).
    """
    from failwell.flow.classes import DEGRADED

    yield exploration.title
    yield ""
    yield given_in_words(fails, hangs)
    degraded = f", {between(report.outcome_bounds[DEGRADED], share)} degraded" if report.degraded else ""
    yield f"  success   {between(report.success_bounds, share)}{degraded}{_BOUNDS * _is_bounds(report.success_bounds)}"
    yield f"  latency   {_latency(report)}"
    calls = [
        f"{name} {between(report.calls_bounds[name], count)} (at most {most_calls})"
        for name, most_calls in report.most_calls.items()
    ]
    yield f"  calls     {', '.join(calls)}"
    width = max(map(len, report.outcomes))
    yield from _column("ends", (f"{name:<{width}}  {between(p, share)}" for name, p in report.outcome_bounds.items()))
    others = [(f"{layer} {situation}", one) for layer, ones in elsewhere.items() for situation, one in ones.items()]
    said = (f"{where}: success {between(one.success_bounds, share)}, {_latency(one)}" for where, one in others)
    yield from _column("instead", said)
    if report.ages:
        yield f"  assumed   the longest waits before {' and '.join(report.ages)}, whose state ages meanwhile"
    yield ""
    yield "Whatever the odds:"
    yield f"  longest   {latency(report.worst_latency)}: {report.worst_path}"
    yield from _column("raised", (f"{name}: {path}" for name, path in report.raised_by.items()))
    if report.never_reached:
        yield f"  never     {', '.join(report.never_reached)}: on no path of these outcomes"
    yield ""
    yield from _found([*findings])
    shown = report.likeliest(most)
    yield f"Paths ({len(exploration):,}, {'the likeliest first' if len(shown) > 1 else 'no other'}):"
    for p, path in shown:
        yield f"  {share(p):>11}  {path}"
    if len(shown) < len(exploration):
        yield f"  ... and {len(exploration) - len(shown):,} more (--paths tells all)"


def _latency(report: Report) -> str:
    figures = {
        "mean": report.latency_bounds,
        "p50": report.percentile_bounds(0.5),
        "p99": report.percentile_bounds(0.99),
    }
    said = ", ".join(f"{name} {between(bounds, latency)}" for name, bounds in figures.items())
    return said + (_BOUNDS if any(map(_is_bounds, figures.values())) else "")


_BOUNDS = " (bounds: waits are random)"


def _is_bounds(bounds: tuple[float, float]) -> bool:
    low, high = bounds
    return low != high and high - low > 1e-9


def _column(word: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield f"  {'' if number else word:<10}{line}"


def _found(findings: list[Finding]) -> Iterator[str]:
    if not findings:
        yield "Nothing was found that is wrong with it."
        yield ""
        return
    counts = {kind: sum(finding.severity == kind for finding in findings) for kind in ("warning", "note")}
    counted = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts.items() if count]
    yield f"Found ({', '.join(counted)}):"
    for finding in findings:
        yield f"  {finding.severity}   {finding.rule}: {finding.message}"
        yield f"    {finding.advice}"
        yield f"    seen on: {finding.path}"
    yield ""


_COLUMN = re.compile(r" +\S+( %)? {2,}")
"""What stands before the text of a line: a word, or odds."""


def _wrapped(line: str, width: int) -> str:
    """A line that fits a terminal; what does not fit in goes on below, further to the right."""
    column = _COLUMN.match(line)
    margin = column.end() if column else len(line) - len(line.lstrip(" ")) + 2
    if len(line) <= width or width < margin + 30:
        return line
    return textwrap.fill(
        line,
        width,
        subsequent_indent=" " * margin,
        drop_whitespace=True,
        replace_whitespace=False,
        break_long_words=False,
        break_on_hyphens=False,
    )
