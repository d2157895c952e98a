"""Every backoff and every jitter, as a table and as a plot."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence

from failwell import backoff
from failwell.flow.story import seconds
from failwell.site.fragments import fragment
from failwell.site.fragments._measures import time
from failwell.site.fragments.patterns import framed, table

ATTEMPTS = range(1, 8)
STRATEGIES: Sequence[backoff.Backoff] = (
    backoff.Fixed(1),
    backoff.Linear(1),
    backoff.Fibonacci(1),
    backoff.Exponential(1),
    backoff.Decorrelated(1),
)
JITTERS: Sequence[backoff.Jitter] = ("none", "full", "equal", 0.1)
_ROLES = ("operation", "decision", "recovery", "error", "compensation")


@fragment("backoffs")
def backoffs() -> str:
    """The longest wait after each attempt, for every strategy."""
    rows = [
        [f"`{_call(one)}`", *(time(one.delay(attempt)) for attempt in ATTEMPTS), time(sum(map(one.delay, ATTEMPTS)))]
        for one in STRATEGIES
    ]
    curves = [
        (_call(one), role, [one.bounds(a) for a in ATTEMPTS]) for one, role in zip(STRATEGIES, _ROLES, strict=True)
    ]
    head = ["Wait after attempt", *map(str, ATTEMPTS), "In all"]
    return "\n".join([_plot("Waits of every backoff", curves, bands=False), "", *table(head, rows)])


@fragment("jitters")
def jitters() -> str:
    """The range that a wait is drawn from, for every jitter."""
    spread = [(jitter, backoff.Exponential(1, jitter=jitter)) for jitter in JITTERS]
    rows = [[f"`jitter={jitter!r}`", *(_range(*one.bounds(attempt)) for attempt in ATTEMPTS)] for jitter, one in spread]
    curves = [
        (f"jitter={jitter!r}", role, [one.bounds(a) for a in ATTEMPTS])
        for (jitter, one), role in zip(spread, _ROLES, strict=False)
    ]
    head = ["Wait after attempt", *map(str, ATTEMPTS)]
    return "\n".join([_plot("Ranges of every jitter", curves, bands=True), "", *table(head, rows)])


def _call(one: backoff.Backoff) -> str:
    return f"{type(one).__name__}(1)"


def _range(low: float, high: float) -> str:
    return time(low) if low == high else f"{low:.3g}–{time(high)}"


# --- the plot --------------------------------------------------------------------------------------

_LEFT, _TOP, _WIDE, _HIGH, _GAP = 44.0, 16.0, 620.0, 260.0, 150.0
Curve = tuple[str, str, list[tuple[float, float]]]


def _plot(title: str, curves: Sequence[Curve], *, bands: bool) -> str:
    """Waits over attempts as SVG: lines, or a bar from the shortest to the longest wait."""
    top = max(high for _, _, points in curves for _, high in points)
    wide, high = _LEFT + _WIDE + _GAP, _TOP + _HIGH + 40

    def x(attempt: float) -> float:
        return round(_LEFT + (attempt - ATTEMPTS[0] + 0.5) / len(ATTEMPTS) * _WIDE, 1)

    def y(wait: float) -> float:
        return round(_TOP + _HIGH * (1 - wait / top), 1)

    told = "; ".join(f"{name}: {', '.join(seconds(h) for _, h in points)}" for name, _, points in curves)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide:g} {high:g}" width="{wide:g}" height="{high:g}" '
        f'class="fw-plot" role="img" aria-label="{html.escape(title)}"><desc>{html.escape(told)}</desc>'
    ]
    parts += [
        f'<path class="fw-grid" d="M{_LEFT:g} {y(wait)}H{_LEFT + _WIDE:g}"/>'
        f'<text x="{_LEFT - 6:g}" y="{y(wait) + 4:g}" text-anchor="end">{wait} s</text>'
        for wait in range(0, int(top) + 1, 10)
    ]
    parts += [f'<text x="{x(a)}" y="{_TOP + _HIGH + 18:g}" text-anchor="middle">{a}</text>' for a in ATTEMPTS]
    parts.append(f'<text x="{_LEFT + _WIDE / 2:g}" y="{high - 4:g}" text-anchor="middle">after attempt</text>')
    parts += _bars(curves, x, y) if bands else _lines(curves, x, y)
    return framed("".join([*parts, "</svg>"]), title)


Place = Callable[[float], float]


def _lines(curves: Sequence[Curve], x: Place, y: Place) -> list[str]:
    parts: list[str] = []
    ends: list[float] = []
    for number, (name, role, points) in enumerate(curves):
        way = "L".join(f"{x(a)} {y(high)}" for a, (_, high) in zip(ATTEMPTS, points, strict=True))
        dash = ("", "7 4", "2 4", "10 4 2 4", "1 3")[number]
        end = y(points[-1][1])
        while any(abs(end - other) < 16 for other in ends):
            end += 16 if end < _TOP + _HIGH / 2 else -16
        ends.append(end)
        parts.append(
            f'<g class="fw-{role}"><path class="fw-curve" d="M{way}" stroke-dasharray="{dash}"/>'
            f'<text x="{_LEFT + _WIDE - 36:g}" y="{end + 4:g}">{html.escape(name)}</text></g>'
        )
    return parts


def _bars(curves: Sequence[Curve], x: Place, y: Place) -> list[str]:
    parts: list[str] = []
    for number, (name, role, points) in enumerate(curves):
        shift = (number - (len(curves) - 1) / 2) * 17
        bars = "".join(
            f'<rect class="fw-bar" x="{x(a) + shift - 6:g}" y="{y(high)}" width="12" '
            f'height="{max(2.0, round(y(low) - y(high), 1)):g}"/>'
            for a, (low, high) in zip(ATTEMPTS, points, strict=True)
        )
        row = _TOP + 14 + 20 * number
        parts.append(
            f'<g class="fw-{role}">{bars}'
            f'<rect class="fw-bar" x="{_LEFT + 14:g}" y="{row - 10:g}" width="12" height="12"/>'
            f'<text x="{_LEFT + 34:g}" y="{row:g}">{html.escape(name)}</text></g>'
        )
    return parts
