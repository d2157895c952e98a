"""``failwell draw``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import click

from failwell.cli.options import explored_target, exploring
from failwell.cli.refusal import Refused

if TYPE_CHECKING:
    from failwell import Outcome
    from failwell.cli.targets import Outcomes
    from failwell.flow import Exploration, Graph
    from failwell.flow import Path as Way

__all__ = ["draw_"]

View = Literal["flow", "sequence", "states", "timeline"]
_MOST_BOXES = 600
_PLACED = ("svg", "png", "excalidraw", "canvas")
_LIT = ("svg", "png", "txt")


class _Wanted(NamedTuple):
    """What the user asked for."""

    target: str
    output: str | None
    ending: str
    view: View
    scheme: Literal["light", "dark"] | None
    unroll: bool
    layer: str | None


class _Chosen(NamedTuple):
    """One path to show, and what happened on it: the path itself, or a call that took it."""

    way: Way
    happened: Way


@click.command("draw")
@click.argument("target")
@click.option("-o", "--output", "output", metavar="FILE", help="Where to write; the suffix picks the format.")
@click.option(
    "--view",
    type=click.Choice(["flow", "sequence", "states", "timeline"]),
    default="flow",
    help="What to draw: all paths (flow); one path, step by step (sequence) or against time (timeline); or the "
    "state machine of a layer (states).",
)
@click.option(
    "--path", "path", metavar="WHICH", help="One path: happy, unhappy, worst, or its number; lit up in a flow."
)
@click.option("--trace", "trace", metavar="FILE", help="A recorded call (Outcome.to_json): the path that it took.")
@click.option("--layer", metavar="NAME", help="Whose states, if several layers keep one.")
@click.option("--unroll", is_flag=True, help="Show each attempt on its own instead of folding them into a loop.")
@click.option("--theme", type=click.Choice(["auto", "light", "dark"]), default="auto", help="Colours (auto).")
@exploring
def draw_(
    target: str,
    output: str | None,
    view: View,
    path: str | None,
    trace: str | None,
    layer: str | None,
    unroll: bool,
    theme: Literal["auto", "light", "dark"],
    operation: str | None,
    outcomes: Outcomes | None,
    limit: int,
) -> None:
    """Draw TARGET: .svg .png .dot .mmd .txt .excalidraw .canvas; without -o as text on the terminal."""
    from failwell.cli.files import check_writable, write
    from failwell.flow.draw import DrawingFailed

    wanted = _Wanted(target, output, _ending(view, output), view, None if theme == "auto" else theme, unroll, layer)
    _check(wanted, path, trace)
    if output is not None:
        check_writable(Path(output))
    record = b"" if trace is None else _content(trace)
    exploration = explored_target(target, operation, outcomes, limit)
    chosen: _Chosen | None = None
    if trace is not None:
        recorded = _read(record, trace)  # again, now that the types of the target's errors are loaded
        try:
            exploration, chosen = _taken(exploration, recorded, trace, wanted.target, operation, outcomes, limit)
        except Refused as error:
            if view != "timeline":
                raise Refused(f"{error} --view timeline shows it all the same") from None
            from failwell.flow.trace import alone

            happened = alone(recorded)
            chosen = _Chosen(happened, happened)
            click.echo(f"note: {error} This is drawn from its events alone.", err=True)
    elif path is not None or view in ("sequence", "timeline"):
        way = _picked(exploration, path)
        chosen = _Chosen(way, way)
    try:
        content, told = _DRAWN[view](wanted, exploration, chosen)
    except DrawingFailed as error:
        raise Refused(str(error)) from None
    if output is None:
        click.echo(content, nl=False)
        return
    write(Path(output), content)
    click.echo(f"{output}: {told}", err=True)


# --- what fits together ----------------------------------------------------------------------------


def _endings(view: View) -> tuple[str, ...]:
    from failwell.flow.draw import FORMATS

    return {"sequence": ("mmd", "txt"), "timeline": ("svg", "txt")}.get(view, FORMATS)


def _ending(view: View, output: str | None) -> str:
    from failwell.flow.draw import FORMATS

    known = _endings(view)
    ending = "txt" if output is None else Path(output).suffix.removeprefix(".").lower()
    if ending in known:
        return ending
    what = f"suffix .{ending} is not known" if ending else "a suffix is missing"
    if ending in FORMATS:
        what = f"there is no {view} as .{ending}"
    raise Refused(f"cannot draw {output}: {what}, use one of {' '.join(f'.{one}' for one in known)}")


def _check(wanted: _Wanted, path: str | None, trace: str | None) -> None:
    """Refuse options that do not go together."""
    given = "--trace" if trace is not None else "--path"
    if path is not None and trace is not None:
        raise Refused("--trace finds the path by itself: leave out --path")
    if (path is not None or trace is not None) and wanted.view == "states":
        raise Refused(f"{given} shows one path, a state machine has none: leave it out, or choose another --view")
    if (path is not None or trace is not None) and wanted.view == "flow" and wanted.ending not in _LIT:
        known = ", ".join(f".{one}" for one in _LIT)
        raise Refused(f"cannot light up a path in {wanted.output}: use one of {known}, or leave out {given}")
    if wanted.layer is not None and wanted.view != "states":
        raise Refused(f"--layer {wanted.layer}: only --view states shows a single layer, add it or leave this out")
    if wanted.unroll and wanted.view != "flow":
        raise Refused(f"--unroll is for the flow: a {wanted.view} shows each attempt anyway, leave it out")


# --- which path ------------------------------------------------------------------------------------


def _picked(exploration: Exploration, which: str | None) -> Way:
    """The path that the user means; without a word the happy one, or what there is instead."""
    from failwell.flow.draw.sequence import happy_path, unhappy_path

    if which is None:
        try:
            return happy_path(exploration)
        except LookupError:
            return unhappy_path(exploration)
    if which == "worst":
        return exploration.report().worst_path
    if which in ("happy", "unhappy"):
        try:
            return happy_path(exploration) if which == "happy" else unhappy_path(exploration)
        except LookupError as error:
            raise Refused(f"--path {which}: {error}, choose another") from None
    if not which.isdecimal() or not 1 <= int(which) <= len(exploration):
        raise Refused(f"--path {which}: give happy, unhappy, worst, or a number from 1 to {len(exploration):,}")
    return exploration.paths[int(which) - 1]


def _content(trace: str) -> bytes:
    """A record as it was written, once it is known to be one."""
    try:
        with click.open_file(trace, "rb") as file:
            record = cast("bytes", file.read())
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        raise Refused(f"cannot read {trace}: {said}, give a file with the JSON of an outcome") from None
    _read(record, trace)
    return record


def _read(record: bytes, trace: str) -> Outcome[Any]:
    from failwell import Outcome

    try:
        return Outcome.from_json(record)
    except ValueError as error:
        raise Refused(f"cannot read {trace}: {error}") from None


def _taken(
    exploration: Exploration,
    outcome: Outcome[Any],
    trace: str,
    target: str,
    operation: str | None,
    outcomes: Outcomes | None,
    limit: int,
) -> tuple[Exploration, _Chosen]:
    """The path of a recorded call; where no path fails as the call did, its errors are explored as well."""
    from failwell.cli.targets import explored, resolve
    from failwell.flow.trace import match, timed

    try:
        return exploration, _Chosen(match(exploration, outcome), timed(exploration, outcome))
    except LookupError as error:
        said = str(error)
    also = _errors_of(outcome)
    if also:
        known = resolve(target)
        ways: Any = tuple(dict.fromkeys([*(outcomes or known.outcomes), *also]))
        try:
            wider = explored(known, operation=operation, outcomes=ways, limit=limit)
            return wider, _Chosen(match(wider, outcome), timed(wider, outcome))
        except (LookupError, Refused):  # still none, or too many paths with these errors
            pass
    raise Refused(f"{trace} is no call of {target}: {said}")


def _errors_of(outcome: Outcome[Any]) -> list[type[Exception]]:
    """The types of the errors that operations raised, as far as the record knows."""
    from failwell.errors import RecoveryError

    met: list[Any] = [outcome.error, *(value for event in outcome.events for value in event)]
    kinds = [type(error) for error in met if isinstance(error, Exception) and not isinstance(error, RecoveryError)]
    return list({kind.__name__: kind for kind in kinds}.values())


# --- the views -------------------------------------------------------------------------------------


def _flow(wanted: _Wanted, exploration: Exploration, chosen: _Chosen | None) -> tuple[bytes, str]:
    from failwell.flow.draw import draw
    from failwell.flow.draw.timeline import flow_with_times, timeline_text

    try:
        graph = exploration.graph(compact=not wanted.unroll)
    except RecursionError:
        raise Refused(f"{wanted.target} is too long to be drawn: give fewer attempts") from None
    advice = "draw it without --unroll" if wanted.unroll else "draw a part of the stack"
    _refuse_too_big(graph, wanted, advice)
    told = f"{len(graph.nodes)} boxes, {len(graph.edges)} arrows, {len(exploration):,} paths"
    if chosen is None:
        return draw(graph, wanted.ending, scheme=wanted.scheme), told
    told += f"; lit up: {chosen.way}"
    layers = _layers(exploration)
    if wanted.ending == "svg":
        drawn = flow_with_times(graph, chosen.way, chosen.happened, scheme=wanted.scheme, layers=layers)
        return drawn.encode(), told
    if wanted.ending == "txt":
        times = timeline_text(chosen.happened, layers=layers)
        return b"\n".join([draw(graph, "txt"), f"{chosen.way}\n".encode(), times.encode()]), told
    return draw(graph, wanted.ending, scheme=wanted.scheme, lit=chosen.way), told


def _timeline(wanted: _Wanted, exploration: Exploration, chosen: _Chosen | None) -> tuple[bytes, str]:
    from failwell.flow.draw.timeline import timeline, timeline_text
    from failwell.flow.trace import Recorded

    assert chosen is not None
    # A call that took none of the paths may be one of another stack.
    title = "" if isinstance(chosen.way, Recorded) else exploration.title
    layers = _layers(exploration)
    if wanted.ending == "txt":
        drawn = timeline_text(chosen.happened, title=title, layers=layers)
    else:
        drawn = timeline(chosen.happened, title=title, scheme=wanted.scheme, layers=layers)
    return drawn.encode(), str(chosen.happened)


def _sequence(wanted: _Wanted, exploration: Exploration, chosen: _Chosen | None) -> tuple[bytes, str]:
    from failwell.flow.draw.dialogue import dialogue
    from failwell.flow.draw.sequence import sequence

    assert chosen is not None
    told = sequence if wanted.ending == "mmd" else dialogue
    return told(exploration, chosen.happened).encode(), str(chosen.happened)


def _states(wanted: _Wanted, exploration: Exploration, chosen: _Chosen | None) -> tuple[bytes, str]:
    from failwell.errors import RecoveryError
    from failwell.flow.draw import draw
    from failwell.flow.states import keeps_state, state_machine

    named = zip(_layers(exploration), exploration.layers, strict=True)
    keeping = {label: layer for label, layer in named if keeps_state(layer)}
    if not keeping:
        raise Refused(f"no layer of {wanted.target} keeps a state: choose another --view")
    label = wanted.layer
    if label is None and len(keeping) > 1:
        raise Refused(f"several layers of {wanted.target} keep a state: choose one with --layer {_or(list(keeping))}")
    if label is not None and label not in keeping:
        raise Refused(f"no layer of {wanted.target} with a state is called {label}: --layer {_or(list(keeping))}")
    label = label or next(iter(keeping))
    try:
        graph = state_machine(keeping[label], label)
    except RecoveryError as error:
        raise Refused(f"the states of {label} cannot be drawn: {error}") from None
    _refuse_too_big(graph, wanted, "write .txt, or give smaller limits")
    told = f"{len(graph.nodes) - 1} states, {len(graph.edges) - 1} transitions of {label}"
    return draw(graph, wanted.ending, scheme=wanted.scheme), told


_DRAWN = {"flow": _flow, "timeline": _timeline, "sequence": _sequence, "states": _states}


def _refuse_too_big(graph: Graph, wanted: _Wanted, advice: str) -> None:
    if len(graph.nodes) > _MOST_BOXES and wanted.ending in _PLACED:
        raise Refused(f"a drawing of {len(graph.nodes):,} boxes cannot be read: {advice}, or write .txt")


def _layers(exploration: Exploration) -> list[str]:
    from failwell.policy import labels

    return labels(exploration.layers)


def _or(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last
