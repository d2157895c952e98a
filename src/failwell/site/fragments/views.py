"""Views of an exploration beside its flow: state machines, one sequence for each way to end, a path against time."""

from __future__ import annotations

import functools
import html

from failwell.flow import Graph
from failwell.flow.classes import likeliest, outcome_classes
from failwell.flow.draw.sequence import sequence
from failwell.flow.draw.text import sentences
from failwell.flow.draw.timeline import timeline
from failwell.site.fragments import fragment
from failwell.site.fragments._measures import explored
from failwell.site.fragments._subjects import subject
from failwell.site.fragments.patterns import drawing, framed, lanes


@functools.cache
def machines_of(slug: str) -> tuple[Graph, ...]:
    """The state machines of a card or a stack; they are searched for once.

    Args:
        slug: A card of the catalog, or a stack of the composition page.

    Raises:
        LookupError: If no layer keeps a state.
    """
    found = explored(*subject(slug)[1:]).states()
    if not found:
        raise LookupError(f"no layer of {slug} keeps a state")
    return found


@fragment("states", from_source=True)
def state_machines(slug: str) -> str:
    """The state machine of each layer that keeps a state, with its transitions in words.

    Args:
        slug: A card of the catalog, or a stack of the composition page.
    """
    parts: list[str] = []
    for number, machine in enumerate(machines_of(slug), 1):
        told = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences(machine))
        parts += [
            drawing(machine, f"states-{slug}-{number}", f"States of {machine.title}"),
            f"<details><summary>The same in words</summary><ul>{told}</ul></details>",
        ]
    return "\n\n".join(parts)


@fragment("ends", from_source=True)
def ends(slug: str, *classes: str) -> str:
    """The likeliest path of each way to end, as a sequence diagram.

    Args:
        slug: A card of the catalog, or a stack of the composition page.
        *classes: Which ways to end: ``answered``, ``degraded``, types of errors, ``"never ends"``; all by default.
    """
    exploration = explored(*subject(slug)[1:])
    found = outcome_classes(exploration)
    for name in classes:
        if name not in found:
            raise LookupError(f"no path of {slug} ends so: {name}; there are {', '.join(found)}")
    parts: list[str] = []
    for name in classes or tuple(found):
        path = likeliest(found[name])
        words = name if name.islower() else f"`{name}`"
        parts += [f"**{words}**: {html.escape(str(path))}.", lanes(sequence(exploration, path), f"How it ends: {name}")]
    return "\n\n".join(parts)


@fragment("timeline", from_source=True)
def timelines(slug: str, end: str = "") -> str:
    """One path against time.

    Args:
        slug: A card of the catalog, or a stack of the composition page.
        end: The way in which it ends, of which the longest path is drawn; by default the longest of all that end.
    """
    exploration = explored(*subject(slug)[1:])
    found = outcome_classes(exploration)
    if end and end not in found:
        raise LookupError(f"no path of {slug} ends so: {end}; there are {', '.join(found)}")
    path = max(found[end] if end else [path for path in exploration.paths if path.ends], key=lambda path: path.elapsed)
    prefix = f"timeline-{slug}{f'-{end}'.replace(' ', '-') if end else ''}"
    image = timeline(path, title=f"{exploration.title}, {end or 'the longest path'}", prefix=prefix)
    return framed(image, f"Timeline of {exploration.title}")
