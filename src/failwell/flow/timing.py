"""What of a policy takes time, in words: waits, limits, and how long it can last at worst."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from failwell.events import CacheStored, CircuitOpened, Event, Queued, Slept, TimedOut, Waiting
from failwell.flow.story import seconds

if TYPE_CHECKING:
    from failwell.flow.path import Path

__all__ = ["timing"]

_AT_ONCE = 4


def timing(paths: Iterable[Path]) -> tuple[str, ...]:
    """Lines for a note beside a drawing: ``wait 1 s, 2 s``, ``time limit 30 s``, ``at most 93 s``.

    Args:
        paths: All paths of an exploration.
    """
    found: dict[str, dict[str, None]] = {}
    longest, endless = 0.0, False
    for path in paths:
        for event in path.events:
            said = _said(event)
            if said is not None:
                found.setdefault(said[0], {})[said[1]] = None
        if path.ends:
            longest = max(longest, path.elapsed)
        else:
            endless = True
    lines = [f"{what} {_listed(list(times))}" for what, times in found.items()]
    if longest:
        lines.append(f"at most {seconds(longest)}{' where it ends' * endless}")
    if endless:
        lines.append("a hang may never end")
    return tuple(lines)


def _said(event: Event) -> tuple[str, str] | None:
    match event:
        case Waiting():
            low, high = event.between
            return "wait", seconds(high) if low == high else f"{low:g}–{seconds(high)}"
        case Slept():
            return "wait", seconds(event.seconds)
        case TimedOut():
            return "time limit", seconds(event.seconds)
        case Queued():
            return "queue for", seconds(event.seconds)
        case CircuitOpened():
            return "stay open for", seconds(event.seconds)
        case CacheStored():
            return "keep an answer for", seconds(event.ttl)
        case _:
            return None


def _listed(times: list[str]) -> str:
    return ", ".join([*times[: _AT_ONCE - 1], "…", times[-1]] if len(times) > _AT_ONCE else times)
