"""Every key of a workflow's configuration, from the table that reads it."""

from __future__ import annotations

import enum
from typing import Any

from failwell.site.fragments import fragment
from failwell.site.fragments.patterns import table
from failwell.workflow.keys import KEYS, TABLES, Key
from failwell.workflow.layers import COUNTED, COUNTS

ALL = "all"


@fragment("workflow-keys", from_source=True)
def workflow_keys(which: str = ALL) -> str:
    """Every key with its type, its default, its meaning and its other names.

    Args:
        which: A table of the configuration, ``top`` for what stands above them, or ``all``.
    """
    known = {"top": "", **{name: name for name in TABLES}}
    if which not in (ALL, *known):
        raise LookupError(f"there is no table {which!r}; there are {', '.join((ALL, *known))}")
    parts: list[str] = []
    for name, place in known.items():
        if which not in (ALL, name):
            continue
        rows = [_row(key) for key in KEYS.values() if key.table == place]
        if which == ALL:
            parts += [f"**`[{name}]`**" if place else "**Above the tables**", ""]
        parts += [*table(["Key", "Value", "Default", "Meaning", "Also called"], rows), ""]
    return "\n".join(parts)


@fragment("workflow-metrics", from_source=True)
def workflow_metrics() -> str:
    """What a workflow counts, and what each number counts."""
    rows = [[f"`{name}`{{ .fw-name }}", _counted(name)] for name in (*COUNTS, "active")]
    return "\n".join(table(["Number", "What it counts"], rows))


_MEANINGS = {
    "executions": "Executions that were begun.",
    "attempts": "Calls of the operation.",
    "successes": "Executions that returned, degraded answers included.",
    "failures": "Executions that ended with an error.",
    "cancelled": "Executions that were cancelled.",
    "degraded": "Executions whose answer was not the real one.",
    "active": "Executions that are under way.",
    "fallbacks": "Executions for which an alternative was asked.",
}


def _counted(name: str) -> str:
    """In words, or as the event that it counts."""
    if name in _MEANINGS:
        return _MEANINGS[name]
    kinds = [f"`{kind.__name__}`" for kind, counted in COUNTED.items() if counted == name]
    return f"Events {' and '.join(kinds)}."


def _row(key: Key) -> list[str]:
    aliases = ", ".join(f"`{alias}`" for alias in key.aliases)
    return [f"`{key.short}`{{ .fw-name }}", key.kind.words, _default(key.default), key.meaning, aliases]


def _default(value: Any) -> str:
    if value is None or value == ():
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{str(value)!r}`" if isinstance(value, (str, enum.Enum)) else f"`{value:g}`"
