"""One path against time: who was busy when, for how long, and what cut it short.

Each layer and each operation has a lane. Calls, waits and limits are bars as long as they last; what takes
no time at all is a mark with its words beside it. The numbers are those of the path's steps, the same as
in a flow that has the path lit up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import quoteattr

from failwell.events import (
    Cancelled,
    Compensating,
    Event,
    Hedged,
    Outcome,
    Queued,
    Slept,
    StepStarted,
    TimedOut,
    Waiting,
)
from failwell.flow.draw import theme
from failwell.flow.draw.metrics import text_width, wrapped
from failwell.flow.draw.svg import digest, document, flow_of, num, outlined, plain
from failwell.flow.path import Choice, Path
from failwell.flow.story import Step, placed, seconds, tell
from failwell.flow.trace import Recorded, alone

if TYPE_CHECKING:
    from typing import Any

    from failwell.flow.graph import Graph

__all__ = ["Bar", "bars", "flow_with_times", "timeline", "timeline_text"]

FOREVER = float("inf")
CALLER = "caller"


class Bar(NamedTuple):
    """What one step of a path does in time.

    Attributes:
        step: The number of the step, from 1.
        lane: The layer or operation that does it.
        kind: ``"call"``, ``"wait"``, ``"limit"``, ``"moment"`` or ``"whole"`` (the call itself, from start to end).
        role: The role of the drawing language.
        words: What it is and how it ended.
        start: Seconds since the call began.
        end: The same; infinite for what never ends.
        sure: Whether these times are known; else it was somewhere between them.
    """

    step: int
    lane: str
    kind: str
    role: str
    words: str
    start: float
    end: float
    sure: bool = True


def bars(path: Path) -> list[Bar]:
    """What each step of a path does in time, in the order of the steps.

    Args:
        path: A path of an exploration, or one that was recorded.
    """
    clock = _Clock(path)
    told = placed(path)
    found: list[Bar] = []
    for number, (step, lead, at) in enumerate(told, 1):
        if step.kind == "end":
            ended = f" after {seconds(path.elapsed)}" if path.ends else ""
            detail = f" {step.detail}" if step.detail else ""
            found.append(Bar(number, CALLER, "whole", step.role, f"{step.title}{detail}{ended}", 0.0, path.elapsed))
            continue
        item = path.trace[at]
        answer = told[number][0].via if told[number][0].via != "time is up" else ""
        words = " ".join(filter(None, (*_counted(step), answer)))
        if isinstance(item, Choice) and item.kind == "operation":
            start, end, sure = clock.call(lead, at)
            error = clock.error_after(at) if isinstance(path, Recorded) and answer == "fails" else ""
            said = f"{words or 'call'}{error}"
            found.append(Bar(number, step.title, "call", step.role, said, start, end, sure))
        elif isinstance(item, Choice):
            asked = step.title.removeprefix(f"{item.layer}") if item.layer else step.title
            said = f"{asked.strip('? ')}{'? ' if asked.strip('? ') else ''}{answer}"
            found.append(Bar(number, item.layer or CALLER, "moment", step.role, said, *clock.moment(at)))
        else:
            kind, start, end = clock.event(at, item)
            what = " ".join(
                filter(None, (step.title.removeprefix(f"{item.layer}: "), *_counted(step._replace(detail=""))))
            )
            said = f"{what}, {step.detail}" if step.detail else what
            found.append(Bar(number, item.layer or CALLER, kind, step.role, said, start, end))
    return found


def _counted(step: Step) -> Iterator[str]:
    """What differs between repetitions of a step, and what is said about it."""
    name, value = step.counter
    if value:
        yield value if name == step.title else f"{name} {value}"
    if step.detail:
        yield step.detail


class _Clock:
    """When the items of a trace were. Choices have no time of their own: they are when their neighbours are."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trace = path.trace
        self.real = isinstance(path, Recorded)
        self.starts: list[float] = []
        now = 0.0
        for at, item in enumerate(self.trace):
            if isinstance(item, Event):
                now = item.time
            self.starts.append(now)
            if isinstance(item, Waiting):
                now += item.delay
            elif isinstance(item, Queued):
                now = self._turn(at, item)

    def moment(self, at: int) -> tuple[float, float]:
        return self.starts[at], self.starts[at]

    def next_time(self, at: int) -> float:
        """When something was reported after an item, or the end."""
        return next((item.time for item in self.trace[at + 1 :] if isinstance(item, Event)), self.path.elapsed)

    def _turn(self, at: int, queued: Queued) -> float:
        """When it was a waiting call's turn, or nobody waited any more."""
        latest = min(self.next_time(at), queued.time + queued.seconds)
        return queued.time if latest == FOREVER else max(queued.time, latest)

    def _struck(self, at: int, event: TimedOut) -> float:
        """When a limit was reached; it is reported after what had been done was undone."""
        moment = event.time
        for item in reversed(self.trace[:at]):
            if isinstance(item, (StepStarted, TimedOut)):
                break
            if isinstance(item, Compensating) and item.time >= event.seconds:
                moment = item.time
        return moment

    def call(self, lead: int, at: int) -> tuple[float, float, bool]:
        """From when to when an operation ran, and whether that is known."""
        choice = self.trace[at]
        start = self.starts[lead]
        if isinstance(choice, Choice) and choice.option == "hang":
            return start, max(start, self._cut(choice.subject, at)), True
        if not self.real:  # in an exploration an operation that ends takes no time
            return start, start, True
        around = [at]  # calls with nothing reported between them share the time around them
        while (after := around[-1] + 1) < len(self.trace) and isinstance(self.trace[after], Choice):
            around.append(after)
        before = at
        while before > 0 and isinstance(self.trace[before - 1], Choice):
            before -= 1
            around.append(before)
        queue = self.trace[lead - 1] if lead else None
        if isinstance(queue, Queued) and lead == at:  # since when it was called is not reported
            return queue.time, max(queue.time, self.next_time(at)), False
        alike = sum(isinstance(one, Choice) and one.kind == "operation" for one in map(self.trace.__getitem__, around))
        return start, max(start, self.next_time(at)), alike == 1

    def _cut(self, operation: str, at: int) -> float:
        """When an operation that hung was cut short."""
        for item in self.trace[at + 1 :]:
            if isinstance(item, Cancelled) and item.operation == operation:
                return item.time
        later = (item for item in self.trace[at + 1 :] if isinstance(item, Event) and not isinstance(item, Hedged))
        return next((event.time for event in later), self.path.elapsed)

    def event(self, at: int, event: Event) -> tuple[str, float, float]:
        """What kind of bar an event is, and from when to when."""
        start = event.time
        if isinstance(event, Waiting):
            return "wait", start, max(start, min(start + event.delay, self.next_time(at)))
        if isinstance(event, Queued):
            return "wait", start, self._turn(at, event)
        if isinstance(event, Slept):
            return "wait", max(0.0, start - event.seconds), start
        if isinstance(event, TimedOut):
            struck = self._struck(at, event)
            return "limit", max(0.0, struck - event.seconds), struck
        return "moment", start, start

    def error_after(self, at: int) -> str:
        """The type of the error that a call raised, if the next report says so."""
        for item in self.trace[at + 1 :]:
            if isinstance(item, Choice):
                break
            for value in item:
                if isinstance(value, BaseException):
                    return f" ({type(value).__name__})"
        error = self.path.error
        return f" ({type(error).__name__})" if error is not None and at == len(self.trace) - 1 else ""


def _lanes(found: Sequence[Bar], layers: Sequence[str]) -> list[str]:
    """The caller, the layers from the outermost in, then operations, each in the order in which it acts."""
    calls = dict.fromkeys(bar.lane for bar in found if bar.kind == "call")
    others = dict.fromkeys(bar.lane for bar in found if bar.kind != "call" and bar.lane not in (CALLER, *layers))
    acting = {bar.lane for bar in found}
    order = [CALLER, *(layer for layer in layers if layer in acting), *others, *calls]
    return list(dict.fromkeys(order))


def _path_of(happened: Path | Outcome[Any]) -> Path:
    return alone(happened) if isinstance(happened, Outcome) else happened


# --- the axis ------------------------------------------------------------------------------------

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_STEPS = {
    "d": (1, 2, 5, 10, 20, 50, 100),
    "h": (1, 2, 3, 6, 12),
    "min": (1, 2, 5, 10, 15, 30),
    "s": (1, 2, 5, 10, 15, 30),
    "ms": (1, 2, 5, 10, 20, 50, 100, 200, 500),
    "µs": (1, 2, 5, 10, 20, 50, 100, 200, 500),
}
_MOST_TICKS = 7


def _ticks(longest: float) -> list[tuple[float, str]]:
    """Round moments from the start to the end, with their words."""
    if longest <= 0:
        return [(0.0, "0 s")]
    steps = sorted(n * unit for unit, name in _UNITS for n in _STEPS[name])
    width = next((one for one in steps if longest / one <= _MOST_TICKS), 0.0)
    if not width:  # years
        width = 86400 * 10.0 ** math.ceil(math.log10(longest / 86400 / _MOST_TICKS))
    # 0.5 s and 0.5 h are what people say, 0.25 min is not.
    said = [(u, n) for u, n in _UNITS if u <= longest and (u <= 1 or (2 * width / u).is_integer())]
    unit, name = (said or [_UNITS[-1]])[0]
    count = int(longest / width + 1e-9)
    return [(n * width, f"{n * width / unit:.6g} {name}" if n else "0") for n in range(count + 1)]


# --- the drawing ---------------------------------------------------------------------------------

_PLOT = 560.0
_LABEL = 132.0
_MARGIN = 14.0
_ROW = 25.0
_BAR = 17.0
_MARK = 15.0
_SIZE = 12.0
_GAP = 6.0


class _Put(NamedTuple):
    """A bar with its place: its ends, its row, and where its words stand."""

    bar: Bar
    left: float
    right: float
    row: int
    words: float
    anchor: str


class _Scene:
    """Finds a place for each bar, so that no words lie upon others."""

    def __init__(self, path: Path, layers: Sequence[str]) -> None:
        self.bars = bars(path)
        self.lanes = _lanes(self.bars, layers)
        times = [time for bar in self.bars for time in (bar.start, bar.end) if time != FOREVER]
        self.longest = max(times, default=0.0)
        self.open = any(bar.end == FOREVER for bar in self.bars)
        self.names = {lane: wrapped(lane, _LABEL, _SIZE, bold=True) for lane in self.lanes}
        widest = max(text_width(line, _SIZE, bold=True) for lines in self.names.values() for line in lines)
        self.left = _MARGIN + max(48.0, widest) + 14
        self.plot = _PLOT * (0.78 if self.open else 1.0)
        self.right = self.left + _PLOT
        self.placed: list[_Put] = []
        self.tops: dict[str, tuple[float, float]] = {}
        y = _MARGIN
        for lane in self.lanes:
            rows = self._fill(lane)
            high = max(rows * _ROW, len(self.names[lane]) * 15.0) + 8
            self.tops[lane] = y, high
            y += high
        self.bottom = y
        self.width = max([self.right, *(self._reach(put)[1] for put in self.placed)]) + _MARGIN
        self.height = self.bottom + 34 + _MARGIN

    def x(self, time: float) -> float:
        """Where a moment is."""
        if time == FOREVER:
            return self.right
        return self.left + (self.plot * time / self.longest if self.longest else 0.0)

    def _fill(self, lane: str) -> int:
        """Put the bars of a lane into as few rows as they need."""
        taken: list[list[tuple[float, float]]] = []
        for bar in self.bars:
            if bar.lane != lane:
                continue
            left, right = self.x(bar.start), self.x(bar.end)
            right = max(right, left + _MARK)
            wide = text_width(_said(bar), _SIZE) * 1.06 + 4
            if wide + 2 * _GAP <= right - left:
                words, anchor = left + _GAP + 2, "start"
            elif right + _GAP + wide > self.right and left - _GAP - wide >= self.left:
                words, anchor = left - _GAP, "end"
            else:
                words, anchor = right + _GAP, "start"
            put = _Put(bar, left, right, 0, words, anchor)
            low, high = self._reach(put)
            row = next((n for n, spans in enumerate(taken) if all(high + 4 < a or b + 4 < low for a, b in spans)), -1)
            if row < 0:
                row = len(taken)
                taken.append([])
            taken[row].append((low, high))
            self.placed.append(put._replace(row=row))
        return len(taken)

    def _reach(self, put: _Put) -> tuple[float, float]:
        wide = text_width(_said(put.bar), _SIZE) * 1.06 + 4
        low, high = (put.words - wide, put.words) if put.anchor == "end" else (put.words, put.words + wide)
        return min(put.left, low), max(put.right, high)


def _said(bar: Bar) -> str:
    return f"{bar.step}  {bar.words}"


def timeline(
    happened: Path | Outcome[Any],
    *,
    title: str = "",
    scheme: theme.Scheme | None = None,
    prefix: str = "",
    layers: Sequence[str] = (),
) -> str:
    """One path against time, as SVG.

    Args:
        happened: A path of an exploration, or an outcome. Of an outcome alone not all is known: give the
            path that `failwell.flow.trace.timed` makes of it.
        title: What was called, for readers that cannot see it.
        scheme: ``"light"``, ``"dark"``, or None to follow the page or the reader's setting.
        prefix: What all ids begin with; drawings that share a page need different ones.
        layers: The labels of the layers, outermost first, to order the lanes by.
    """
    path = _path_of(happened)
    said = _sentences(path)
    prefix = prefix or digest("timeline", title, *said)
    width, height, parts = _pieces(path, prefix, layers)
    heading = f"Timeline of {title}" if title else "Timeline of a call"
    return document(width, height, parts, prefix=prefix, title=heading, said=said, scheme=scheme)


def flow_with_times(
    graph: Graph,
    path: Path,
    happened: Path | Outcome[Any] | None = None,
    *,
    scheme: theme.Scheme | None = None,
    prefix: str = "",
    note: bool = True,
    legend: bool = True,
    layers: Sequence[str] = (),
) -> str:
    """A flow with one path lit up, and below it the timeline of that path, as one SVG.

    Args:
        graph: A graph of the path's exploration.
        path: The path to light up.
        happened: What the timeline shows, if that is a call that took this path; by default the path itself.
        scheme: ``"light"``, ``"dark"``, or None to follow the page or the reader's setting.
        prefix: What all ids begin with; drawings that share a page need different ones.
        note: Whether the stack's code stands on a sticky note above the flow.
        legend: Whether the shapes are explained below the flow.
        layers: The labels of the layers, outermost first, to order the lanes by.

    Raises:
        ValueError: If the path is none of the graph.
    """
    from failwell.flow.draw.text import sentences

    below = path if happened is None else _path_of(happened)
    said = [f"The lit path: {tell(path)}.", *_sentences(below), *sentences(graph)]
    prefix = prefix or digest("flow and timeline", graph.title, *said)
    wide, high, flow = flow_of(graph, prefix, note=note, legend=legend, lit=path)
    across, down, times = _pieces(below, f"{prefix}-time", layers)
    width = max(wide, across)
    parts = [
        f'<g transform="translate({num((width - wide) / 2)} 0)">',
        *flow,
        "</g>",
        f'<g transform="translate({num((width - across) / 2)} {num(high)})">',
        *times,
        "</g>",
    ]
    title = f"Flow of {graph.title}, with one path lit up and its timeline"
    return document(width, high + down, parts, prefix=prefix, title=title, said=said, scheme=scheme)


def _pieces(path: Path, prefix: str, layers: Sequence[str]) -> tuple[float, float, list[str]]:
    scene = _Scene(path, layers)
    parts = [f"<style>{_STYLE}</style>", '<g class="fw-times">', *_board(scene)]
    for put in scene.placed:
        parts += _drawn(scene, put, prefix)
    return scene.width, scene.height, [*parts, "</g>"]


_STYLE = (
    ".fw-flow .fw-lane{font-size:12px;font-weight:600;text-anchor:start}"
    ".fw-flow .fw-rule{stroke:var(--_quiet);stroke-width:.6;opacity:.55}"
    ".fw-flow .fw-grid{stroke:var(--_quiet);stroke-width:.6;stroke-dasharray:2 4}"
    ".fw-flow .fw-axis{stroke:var(--_quiet);stroke-width:1.2}"
    ".fw-flow .fw-tick{font-size:11px;fill:var(--_quiet)}"
    ".fw-flow .fw-limit-line{stroke:var(--_error-stroke);stroke-width:1.6;stroke-dasharray:5 3}"
    ".fw-flow .fw-step .fw-said{font-size:12px;text-anchor:start}"
    ".fw-flow .fw-step .fw-said.fw-before{text-anchor:end}"
    ".fw-flow .fw-step :is(.fw-before,.fw-beside){stroke:var(--_board);stroke-width:4px;stroke-linejoin:round;"
    "paint-order:stroke}"
    ".fw-flow .fw-step .fw-count{font-weight:600;fill:var(--_quiet)}"
    ".fw-flow .fw-step.fw-open .fw-shape,.fw-flow .fw-step.fw-limit .fw-shape,.fw-flow .fw-step.fw-unsure .fw-shape"
    "{stroke-dasharray:5 3}"
    ".fw-flow .fw-step.fw-limit .fw-shape{fill:none}"
    ".fw-flow .fw-stop{fill:none;stroke:var(--s);stroke-width:3}"
)


def _board(scene: _Scene) -> Iterator[str]:
    """Lanes with their names, and the axis with its moments."""
    for lane in scene.lanes:
        y, _ = scene.tops[lane]
        if lane != scene.lanes[0]:
            yield f'<path class="fw-rule" d="M{num(_MARGIN)} {num(y)}H{num(scene.width - _MARGIN)}"/>'
        for number, line in enumerate(scene.names[lane]):
            yield f'<text class="fw-lane" x="{num(_MARGIN)}" y="{num(y + 20 + number * 15)}">{plain(line)}</text>'
    y = scene.bottom + 4
    end = scene.right if scene.open else scene.x(scene.longest)
    yield f'<path class="fw-axis" d="M{num(scene.left)} {num(y)}H{num(max(end, scene.left + _MARK))}"/>'
    if scene.open:
        yield (
            f'<path class="fw-axis" d="M{num(end - 6)} {num(y - 4)}L{num(end)} {num(y)}L{num(end - 6)} {num(y + 4)}" '
            'style="fill:none"/>'
        )
    for time, words in _ticks(scene.longest):
        x = scene.x(time)
        yield f'<path class="fw-grid" d="M{num(x)} {num(_MARGIN)}V{num(y)}"/>'
        yield f'<path class="fw-axis" d="M{num(x)} {num(y)}v5"/>'
        yield f'<text class="fw-tick" x="{num(x)}" y="{num(y + 18)}">{plain(words)}</text>'
    if scene.open:
        yield f'<text class="fw-tick" x="{num(end)}" y="{num(y + 18)}" style="text-anchor:end">for ever</text>'
    for bar in scene.bars:
        if bar.kind == "limit":
            yield f'<path class="fw-limit-line" d="M{num(scene.x(bar.end))} {num(_MARGIN)}V{num(y)}"/>'


def _drawn(scene: _Scene, put: _Put, prefix: str) -> Iterator[str]:
    bar = put.bar
    role = bar.role if bar.role in theme.ROLES else "operation"
    marks = f" fw-{bar.kind}{' fw-open' * (bar.end == FOREVER)}{' fw-unsure' * (not bar.sure)}"
    top, _ = scene.tops[bar.lane]
    y = top + 4 + put.row * _ROW + _ROW / 2
    yield (
        f'<g class="fw-step fw-{role}{marks}" id={quoteattr(f"{prefix}-s{bar.step}")} data-step="{bar.step}" '
        f"data-lane={quoteattr(plain(bar.lane))}>"
    )
    yield f"<title>{plain(_sentence(bar))}</title>"
    wide = put.right - put.left
    if bar.end == FOREVER:
        yield _open_ended(put, y)
    elif bar.kind == "moment" or wide <= _MARK:
        yield outlined(theme.style_of(role).shape, put.left + _MARK / 2, y, _MARK, _MARK - 3)
    else:
        shape = "rectangle" if bar.kind in ("limit", "whole") else theme.style_of(role).shape
        yield outlined("rounded" if shape == "ellipse" else shape, (put.left + put.right) / 2, y, wide, _BAR)
    if bar.kind == "limit":
        x, half = num(put.right), _BAR / 2 + 2
        yield f'<path class="fw-stop" d="M{x} {num(y - half)}V{num(y + half)}"/>'
    on_board = bar.kind == "limit" or put.words > put.right
    place = " fw-before" if put.anchor == "end" else " fw-beside" if on_board else ""
    yield f'<text class="fw-said{place}" x="{num(put.words)}" y="{num(y + 4.2)}">'
    yield f'<tspan class="fw-count">{bar.step}</tspan><tspan dx="5">{plain(bar.words)}</tspan></text>'
    yield "</g>"


def _open_ended(put: _Put, y: float) -> str:
    """A bar that goes on beyond the drawing: an arrow."""
    left, right, high = put.left, put.right, _BAR / 2
    corners = [
        (left, y - high),
        (right - 12, y - high),
        (right, y),
        (right - 12, y + high),
        (left, y + high),
    ]
    points = " ".join(f"{num(a)},{num(b)}" for a, b in corners)
    return f'<polygon class="fw-shape" points="{points}"/>'


# --- in words ------------------------------------------------------------------------------------


def _sentences(path: Path) -> list[str]:
    """Each step in words, with its times."""
    return [f"{bar.step}. {_sentence(bar)}." for bar in bars(path)]


def _sentence(bar: Bar) -> str:
    return f"{_span(bar)}, {bar.lane}: {bar.words}"


def _span(bar: Bar) -> str:
    if bar.end == FOREVER:
        return f"from {seconds(bar.start)} for ever"
    if seconds(bar.start) == seconds(bar.end):
        return f"at {seconds(bar.start)}"
    return f"{'' if bar.sure else 'between '}{seconds(bar.start)} {'to' if bar.sure else 'and'} {seconds(bar.end)}"


_COLUMNS = 32


def timeline_text(happened: Path | Outcome[Any], *, title: str = "", layers: Sequence[str] = ()) -> str:
    """One path against time, as lines for a terminal.

    Args:
        happened: A path of an exploration, or an outcome.
        title: What was called.
        layers: The labels of the layers, outermost first.
    """
    path = _path_of(happened)
    found = bars(path)
    longest = max((time for bar in found for time in (bar.start, bar.end) if time != FOREVER), default=0.0)
    ends = any(bar.end == FOREVER for bar in found)
    scale = (_COLUMNS - (6 if ends else 1)) / longest if longest else 0.0
    wide = max(len(bar.lane) for bar in found)
    spans = [_span(bar) for bar in found]
    span = max(map(len, spans))
    lines = [title, ""] if title else []
    for bar, when in zip(found, spans, strict=True):
        first = int(bar.start * scale)
        last = _COLUMNS - 1 if bar.end == FOREVER else int(bar.end * scale)
        mark = _MARKS.get(bar.kind, "█")
        drawn = mark * (last - first) + (">" if bar.end == FOREVER else mark) if last > first else "◆"
        picture = f"|{' ' * first}{drawn:<{_COLUMNS - first}}|"
        lines.append(f"{bar.step:>3}  {when:<{span}}  {picture}  {bar.lane:<{wide}}  {bar.words}")
    return "\n".join([*lines, ""])


_MARKS = {"wait": "░", "limit": "-", "whole": "═"}
