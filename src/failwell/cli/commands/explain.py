"""``failwell explain``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from failwell.cli.options import explored_target, exploring
from failwell.cli.refusal import Refused
from failwell.cli.words import share

if TYPE_CHECKING:
    from failwell.flow import Exploration, Report

__all__ = ["explain"]


@click.command()
@click.argument("target")
@click.option("--fail", metavar="P", type=float, default=0.1, help="The odds that an operation fails (0.1).")
@click.option("--hang", metavar="P", type=float, default=0.0, help="The odds that it hangs (0).")
@click.option("--paths", is_flag=True, help="Tell every path, not only the first ones.")
@click.option("--json", "as_json", is_flag=True, help="For tools; null stands for what never ends.")
@exploring
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
    exploration = explored_target(target, operation, outcomes or ("ok", "fail", "hang"), limit)
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
    yield f"With {share(fail)} failures and {share(hang)} hangs of each operation:"
    degraded = f", {share(report.degraded)} of them degraded" if report.degraded else ""
    yield f"  success   {share(report.success)}{degraded}"
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
        yield f"  {share(path.probability(fail, hang)):>11}  {path}"
    if len(shown) < len(exploration):
        yield f"  ... and {len(exploration) - len(shown):,} more (--paths tells all)"
