"""What a pattern's page says that the code knows: card, drawings, paths, parameters, figures, events.

Markers name a card of the catalog, e.g. ``<!-- generated: flow retry -->``. Links are written from the
root of the documents (``/patterns/retry.md``), so a fragment works on any page.
"""

from __future__ import annotations

import functools
import html
import importlib
import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from failwell import HealthCheck
from failwell import events as event_kinds
from failwell.catalog import Card
from failwell.catalog import card as card_of
from failwell.events import Event, Queued, Rejected, Slept, Waiting
from failwell.flow import Exploration, Graph, Path
from failwell.flow.draw import draw, theme
from failwell.flow.draw.sequence import happy_path, sequence, unhappy_path
from failwell.flow.draw.svg import edge_ids, svg
from failwell.flow.draw.text import sentences
from failwell.policy import Pattern
from failwell.site.fragments import fragment
from failwell.site.fragments._measures import (
    NB,
    Figures,
    Situations,
    all_situations,
    bare,
    calls,
    explored,
    figures,
    number,
    share,
    time,
)
from failwell.site.fragments._subjects import subject, subjects

FAIL = 0.1
"""The odds of a failure, or of a hang, that all figures of the pages are stated for."""
FORMATS = {
    "svg": "SVG",
    "excalidraw": "Excalidraw",
    "canvas": "JSON Canvas",
    "dot": "DOT",
    "mmd": "Mermaid",
    "txt": "text",
}
PREFIX = "flow"


# --- the card --------------------------------------------------------------------------------------


@fragment("card", from_source=True)
def card(slug: str) -> str:
    """What a pattern is for, and what it costs and gains.

    Args:
        slug: A card of the catalog.
    """
    shown = card_of(slug)
    facts = [
        ("Also known as", ", ".join(shown.also_known_as)),
        ("Use when", _listed(shown.use_when)),
        ("Do not use when", _listed(shown.avoid_when)),
        ("Errors", ", ".join(f"`{name}`" for name in shown.error_types)),
        ("Latency", latency_words(slug)),
        ("Reliability", gain_words(slug)),
        ("Effort", shown.effort),
        ("Symptoms", ", ".join(shown.symptoms)),
        ("Related", ", ".join(link_to(other) for other in shown.related)),
    ]
    lines = ['<div class="fw-card" markdown="1">', "", f"**{shown.intent}**", ""]
    for term, said in facts:
        lines += [term, f":   {said}", ""]
    return "\n".join([*lines, "</div>", "", *_comparison(slug)])


def _listed(items: Sequence[str]) -> str:
    return "\n".join(f"{'' if n == 0 else '    '}- {item}" for n, item in enumerate(items))


def page_of(slug: str) -> str:
    """The page of a card, from the root of the documents.

    Args:
        slug: A card of the catalog.
    """
    return "/composition.md" if slug == "stack" else f"/patterns/{slug}.md"


def link_to(slug: str) -> str:
    """A link to the page of a card.

    Args:
        slug: A card of the catalog.
    """
    return f"[{card_of(slug).name}]({page_of(slug)})"


def latency_words(slug: str) -> str:
    """What a pattern costs in time, as a word and in numbers.

    Args:
        slug: A card of the catalog.
    """
    with_it, without = (figures(one, FAIL) for one in _both(slug))
    added = with_it.mean - without.mean
    words = "none" if added == 0 else "low" if added < 0.05 else "medium" if added < 1 else "high"
    told = f"{words}: mean +{time(added)} at {share(FAIL)} failures" if added else "none while nothing hangs"
    with_it, without = (figures(one, 0, FAIL) for one in _both(slug))
    return f"{told}; a hang ends after {time(with_it.worst)}" if with_it.worst < without.worst else told


def gain_words(slug: str) -> str:
    """What a pattern gains, as a word and in numbers.

    Args:
        slug: A card of the catalog.
    """
    if isinstance(card_of(slug).example, HealthCheck):
        return "none by itself: it tells, it does not mend"
    both = _both(slug)
    with_it, without = (figures(one, FAIL) for one in both)
    if without.half_done:
        removed = _gain(1 - without.half_done, 1 - with_it.half_done)
        return f"{removed}: left half done {share(without.half_done)} → {share(with_it.half_done)} of all calls"
    stored = [(name, figures(both[0], FAIL, situations=given)) for name, given in all_situations(both[0])]
    if with_it.answered == without.answered and stored:
        name, best = max(stored, key=lambda one: one[1].answered)
        words = _gain(without.answered, best.answered)
        if best.answered == without.answered:
            return _refusals(with_it, stored)
        return f"{words} with a {_stored(name)}: {share(without.answered)} → {share(best.answered)} answered"
    hung, alone = (figures(one, 0, FAIL) for one in both)
    if with_it.answered == without.answered and hung.worst < alone.worst:
        return f"none by itself: {share(with_it.answered)} answered, but no call waits for ever"
    words = _gain(without.answered, with_it.answered)
    return f"{words}: {share(without.answered)} → {share(with_it.answered)} answered"


def _refusals(with_it: Figures, stored: Sequence[tuple[str, Figures]]) -> str:
    """What a pattern is for that answers no more calls: it lets them go, without making them."""
    said = f"none by itself: {share(with_it.answered)} answered"
    refusing = [f"`{name.split(' ')[-1]}`" for name, found in stored if not any(found.calls.values())]
    return f"{said}, but no call is made while it is {' or '.join(refusing)}" if refusing else said


def _gain(before: float, after: float) -> str:
    """How much of what went wrong is gone, as a word."""
    removed = (after - before) / (1 - before) if before < 1 else 0.0
    return "none" if removed <= 0 else "medium" if removed < 0.5 else "high" if removed < 0.995 else "very high"


def _both(slug: str) -> tuple[Exploration, Exploration]:
    one = subject(slug)
    return explored(one.policy, one.operation), bare(one.policy, one.operation)


def _comparison(slug: str) -> Iterator[str]:
    """The pattern beside the bare operation: when calls fail, and when they hang."""
    with_it, without = _both(slug)
    steps = figures(without, FAIL).half_done > 0
    head = ["Of all calls", "", "Answered", *(["Left half done"] if steps else []), "Mean", "Worst case", "Calls"]
    rows: list[list[str]] = []
    for word, fail, hang in (("fail", FAIL, 0.0), ("hang", 0.0, FAIL)):
        cases: list[tuple[str, Exploration, Situations | None]] = [
            ("without", without, None),
            ("with it", with_it, None),
        ]
        cases += [(f"with it, {_stored(name)}", with_it, given) for name, given in all_situations(with_it)]
        for name, exploration, given in cases:
            found = figures(exploration, fail, hang, given)
            rows.append(
                [
                    f"{share(FAIL)}{NB}{word}" if name == "without" else "",
                    name,
                    share(found.answered) + (f" ({share(found.degraded)} degraded)" if found.degraded else ""),
                    *([share(found.half_done)] if steps else []),
                    time(found.mean),
                    time(_worst(exploration, given, hangs=bool(hang))),
                    calls(found.calls) if len(found.calls) < 4 else number(sum(found.calls.values())),
                ]
            )
    yield f"What `{name_of(slug)}` changes, computed from all of its paths:"
    yield ""
    yield from table(head, rows)


def _stored(situation: str) -> str:
    """``Cache fresh`` or ``CircuitBreaker open`` in the words of a reader."""
    layer, *_, found = situation.split(" ")
    if layer in ("Degrade", "HealthCheck"):
        return situation.removeprefix(f"{layer} ")
    kept = "answer in store" if layer == "Cache" else re.sub(r"(?<=[a-z])(?=[A-Z])", " ", layer).lower()
    return f"{found} {kept}"


def _worst(exploration: Exploration, given: Situations | None, *, hangs: bool) -> float:
    """The longest path among those that the row speaks of: without hangs, only paths on which nothing hangs."""
    odds = (0.0, FAIL) if hangs else (FAIL, 0.0)
    possible = [path for path in exploration.paths if path.probability(*odds, situations=given) > 0]
    return max(path.elapsed for path in possible)


def name_of(slug: str) -> str:
    """What code says for a card's example, without what goes without saying.

    Args:
        slug: A card of the catalog, or a stack of the composition page.
    """
    return repr(subject(slug).policy)


# --- drawings --------------------------------------------------------------------------------------


@functools.cache
def graph_of(slug: str, view: str = "compact") -> Graph:
    """The flow of an example as a graph.

    Args:
        slug: A card of the catalog, or a stack of the composition page.
        view: ``"compact"`` or ``"unrolled"``.

    Raises:
        ValueError: For any other view.
    """
    if view not in ("compact", "unrolled"):
        raise ValueError(f"a view is 'compact' or 'unrolled', not {view!r}")
    return explored(*subject(slug)[1:]).graph(compact=view == "compact")


def file_of(slug: str, view: str, ending: str) -> str:
    """Where a drawing is served, from the root of the site.

    Args:
        slug: A card of the catalog, or a stack of the composition page.
        view: ``"compact"`` or ``"unrolled"``.
        ending: One of `FORMATS`.
    """
    return f"diagrams/{slug}{'' if view == 'compact' else f'-{view}'}.{ending}"


@functools.cache
def files() -> Mapping[str, bytes]:
    """Every drawing that pages offer, by the path at which it is served."""
    return {
        file_of(slug, view, ending): draw(graph_of(slug, view), ending)
        for slug in subjects()
        for view in ("compact", "unrolled")
        for ending in FORMATS
    }


@fragment("flow", from_source=True)
def flow(slug: str, view: str = "compact") -> str:
    """The flow diagram with its transitions in words and as files.

    Args:
        slug: A card of the catalog, or a stack of the composition page.
        view: ``"compact"``: repeated attempts are one loop; ``"unrolled"``: each is shown.
    """
    graph = graph_of(slug, view)
    told = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences(graph))
    files = " · ".join(f"[{name}](/{file_of(slug, view, ending)})" for ending, name in FORMATS.items())
    return "\n".join(
        [
            drawing(graph, f"{PREFIX}-{slug}-{view}", f"Flow of {graph.title}"),
            "",
            f"<details><summary>The same in words</summary><ul>{told}</ul></details>",
            "",
            f"Download: {files}",
            "{ .fw-downloads }",
        ]
    )


def drawing(graph: Graph, prefix: str, label: str, *, note: bool = True, legend: bool = True) -> str:
    """A drawing in a frame that scrolls where the page is narrower.

    Args:
        graph: What to draw.
        prefix: What the ids in it begin with; unique on its page.
        label: What a screen reader calls the frame.
        note: Whether the code stands on a sticky note.
        legend: Whether the shapes are explained.
    """
    return framed(svg(graph, prefix=prefix, note=note, legend=legend), label)


def framed(image: str, label: str) -> str:
    """An image in its frame. The page learns how wide it is, so that one that is only a little too wide is scaled.

    Args:
        image: An SVG.
        label: What a screen reader calls the frame.
    """
    natural = re.sub(r'^<svg ([^>]*?\bwidth="([\d.]+)")', r'<svg style="--fw-wide: \2px" \1', image.strip(), count=1)
    label = html.escape(label)
    return f'<figure class="fw-drawing" tabindex="0" role="group" aria-label="{label}">\n{natural}\n</figure>'


@fragment("paths", from_source=True)
def paths(slug: str) -> str:
    """Every path as a list; picking one lights it up in the compact flow of the same page.

    Args:
        slug: A card of the catalog, or a stack of the composition page.
    """
    exploration = explored(*subject(slug)[1:])
    graph = graph_of(slug)
    names = edge_ids(graph)
    prefix = f"{PREFIX}-{slug}-compact"
    told: list[str] = []
    for path in sorted(exploration.paths, key=_rarity):
        nodes, edges = graph.walk(path)
        lights = [f"{prefix}-n{node}" for node in nodes] + [f"{prefix}-{names[edge]}" for edge in edges]
        story = html.escape(str(path).replace(" -> ", " → "))
        told.append(
            f'<li data-lights="{" ".join(dict.fromkeys(lights))}"><button type="button" aria-pressed="false">{story}'
            f"<br><small>{html.escape(_odds(path))}</small>{_timeline(path)}</button></li>"
        )
    shown, rest = told[:_AT_ONCE], told[_AT_ONCE:]
    listed = [f'<ol class="fw-paths">{"".join(shown)}</ol>']
    if rest:
        listed.append(
            f"<details><summary>{len(rest)} more paths</summary>"
            f'<ol class="fw-paths" start="{len(shown) + 1}">{"".join(rest)}</ol></details>'
        )
    return "\n\n".join(listed)


_AT_ONCE = 12


def _rarity(path: Path) -> tuple[int, float]:
    """What is usual comes first: the usual situation, then what is likely."""
    found = _found(path)
    return len(found), -path.probability(FAIL, 0.001, situations=found)


def _found(path: Path) -> dict[str, dict[str, float]]:
    """The situations of a path that are not the usual ones."""
    choices = [choice for choice in path.choices if choice.kind == "situation"]
    return {choice.subject: {choice.option: 1.0} for choice in choices if choice.option != choice.options[0]}


def _odds(path: Path) -> str:
    found = _found(path)
    p = path.probability(FAIL, situations=found)
    if p and found:
        return f"{share(p)} of the calls that find it {', '.join(*found.values())}, at {share(FAIL)} failures"
    if p:
        return f"{share(p)} of all calls at {share(FAIL)} failures"
    if any(choice.option == "hang" for choice in path.choices):
        return "only if something hangs"
    decided = [c for c in path.choices if c.kind == "decision" and set(c.options) == {"yes", "no"}]
    unusual = dict.fromkeys(f"{c.subject}? {c.option}" for c in decided if c.option != c.options[0])
    return f"only where {', '.join(unusual)}" if unusual else "only where a jittered wait comes out short"


def _timeline(path: Path) -> str:
    """A bar of the time that a path takes: waiting for an answer, for a turn, and between attempts."""
    if path.elapsed == 0 or not path.ends:
        return ""
    bar: list[str] = []
    now = 0.0
    later = [*(event.time for event in path.events[1:]), path.elapsed]
    for event, following in zip(path.events, later, strict=True):
        if event.time > now:
            kind = ("recovery", "wait") if isinstance(event, Slept) else ("error", "no answer")
            bar.append(_stretch(*kind, event.time - now))
            now = event.time
        waits = event.delay if isinstance(event, Waiting) else event.seconds if isinstance(event, Queued) else 0.0
        until = min(now + waits, following)
        if until > now and math.isfinite(waits):
            bar.append(_stretch("recovery", "wait", until - now))
            now = until
    if path.elapsed > now:
        bar.append(_stretch("error", "no answer", path.elapsed - now))
    return f'<span class="fw-timeline">{"".join(bar)}</span>'


def _stretch(role: str, words: str, duration: float) -> str:
    return f'<span class="fw-{role}" style="flex-grow:{duration:.4g}">{words} {time(duration)}</span>'


@fragment("sequence", from_source=True)
def sequences(slug: str) -> str:
    """A path that ends well and one that does not, as sequence diagrams.

    Args:
        slug: A card of the catalog, or a stack of the composition page.
    """
    exploration = explored(*subject(slug)[1:])
    parts: list[str] = []
    for title, choose in (("When it works out", happy_path), ("When it does not", _refused_or_unhappy)):
        try:
            path = choose(exploration)
        except LookupError:
            continue
        parts += [f"**{title}**: {_sentence(path)}", lanes(sequence(exploration, path), title)]
    return "\n\n".join(parts)


def _refused_or_unhappy(exploration: Exploration) -> Path:
    """Where the only layer can refuse a call, the shortest path on which it does: that is what it is for."""
    refused = [
        path
        for path in exploration.paths
        if path.ends and path.error is not None and any(isinstance(event, Rejected) for event in path.events)
    ]
    if len(exploration.layers) != 1 or not refused:
        return unhappy_path(exploration)
    return min(refused, key=lambda path: (sum(path.calls.values()), len(path.trace)))


def lanes(diagram: str, label: str) -> str:
    """A sequence diagram in a frame that scrolls where the page is too narrow for all of its lanes.

    Args:
        diagram: The text of the diagram.
        label: What a screen reader calls the frame.
    """
    count = len(re.findall(r"^\s*(?:create )?(?:participant|actor) ", diagram, re.MULTILINE))
    opening = f'<div class="fw-drawing fw-lanes" style="--fw-lanes: {count}" tabindex="0" role="group"'
    return f'{opening} aria-label="{html.escape(label)}" markdown="1">\n\n```mermaid\n{diagram}```\n\n</div>'


def _sentence(path: Path) -> str:
    end = f"`{type(path.error).__name__}`" if path.error else "a degraded answer" if path.degraded else "an answer"
    if not path.ends:
        return "it waits for ever."
    count = sum(path.calls.values())
    return f"{end} after {time(path.elapsed)} and {count} call{'s' * (count != 1)}."


# --- parameters ------------------------------------------------------------------------------------


class Parameter(NamedTuple):
    """One parameter of a pattern, as its signature and docstring know it."""

    name: str
    default: str
    effect: str


def parameters_of(documented: Callable[..., Any]) -> list[Parameter]:
    """The parameters of a class, from its signature and its docstring.

    Args:
        documented: A class with a Google-style docstring.

    Raises:
        LookupError: If a parameter is not documented.
    """
    effects = dict(_documented_arguments(inspect.getdoc(documented) or ""))
    found: list[Parameter] = []
    for name, parameter in inspect.signature(documented).parameters.items():
        stars = "*" * (parameter.kind is parameter.VAR_POSITIONAL) + "**" * (parameter.kind is parameter.VAR_KEYWORD)
        if stars + name not in effects:
            raise LookupError(f"{documented.__name__} does not say what {name} does")
        found.append(Parameter(stars + name, _default(parameter), effects[stars + name]))
    return found


def _documented_arguments(docstring: str) -> Iterator[tuple[str, str]]:
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", docstring, re.MULTILINE)
    if section is None:
        return
    for argument in re.split(r"^ {4}(?=\S)", section[1], flags=re.MULTILINE)[1:]:
        name, _, effect = argument.partition(":")
        yield name.strip(), " ".join(effect.split())


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return "any number" if parameter.kind is parameter.VAR_POSITIONAL else "required"
    value = parameter.default
    return _name(value.__name__ if callable(value) and hasattr(value, "__name__") else repr(value))


def _name(text: str) -> str:
    """Code that stays on one line."""
    return f"`{text}`{{ .fw-name }}"


@fragment("parameters", from_source=True)
def parameters(slug: str, name: str = "") -> str:
    """Every parameter, its default and its effect.

    Args:
        slug: A card of the catalog.
        name: Another class of the pattern's module; by default that of the example.
    """
    shown = card_of(slug)
    documented = _part_of(shown, name) if name else type(shown.example)
    rows = [[f"`{name}`", default, _cell(effect)] for name, default, effect in parameters_of(documented)]
    return "\n".join(table(["Parameter", "Default", "Effect"], rows))


def _part_of(shown: Card, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] | None = getattr(importlib.import_module(shown.module), name, None)
    if found is None:
        raise LookupError(f"{shown.module} has no {name}")
    return found


def _cell(text: str) -> str:
    """A docstring's text in a cell: double backticks are code there."""
    return re.sub(r"``(.+?)``|`(.+?)`", lambda m: f"`{m[1] or m[2]}`", text).replace("|", "\\|")


# --- figures ---------------------------------------------------------------------------------------


@fragment("numbers", from_source=True)
def numbers(slug: str) -> str:
    """Success, latency and load for the example, for the presets and for another tuning.

    Args:
        slug: A card of the catalog.
    """
    shown = card_of(slug)
    kind = type(shown.example)
    tunings = [shown.example, *shown.alternatives, *(presets(kind) if kind.__module__ == shown.module else [])]
    rows: list[list[str]] = []
    for tuning in dict.fromkeys(tunings):
        exploration = explored(tuning, shown.operation)
        found = figures(exploration, FAIL)
        rows.append(
            [
                f"`{_called(tuning)}`{{ .fw-setting }}",
                share(found.answered),
                time(found.mean),
                time(_worst(exploration, None, hangs=False)),
                time(found.worst),
                number(sum(found.calls.values())),
                str(found.most),
            ]
        )
    head = ["Tuning", "Answered", "Mean", "Worst, failures", "Worst, hangs", "Mean calls", "Most calls"]
    return "\n".join([f"At {share(FAIL)} failures:", "", *table(head, rows)])


def presets(kind: type[Pattern]) -> list[Pattern]:
    """A pattern's named tunings: its class methods that need no argument.

    Args:
        kind: The class of a pattern.
    """
    made: list[Pattern] = []
    for name, member in vars(kind).items():
        if isinstance(member, classmethod) and not name.startswith("_") and not _needed(getattr(kind, name)):
            tuning = getattr(kind, name)()
            tuning.__dict__["_preset"] = f"{kind.__name__}.{name}()"
            made.append(tuning)
    return made


def _needed(fn: Callable[..., Any]) -> list[str]:
    """The parameters that a function cannot be called without."""
    known = inspect.signature(fn).parameters.values()
    return [p.name for p in known if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _called(tuning: Pattern) -> str:
    return str(vars(tuning).get("_preset", repr(tuning)))


# --- events ----------------------------------------------------------------------------------------


def events_of(shown: Card) -> list[type[Event]]:
    """The events that a pattern emits: those that its module names, and those that exploring it meets.

    Args:
        shown: A card of the catalog.
    """
    named = [
        value
        for value in vars(importlib.import_module(shown.module)).values()
        if isinstance(value, type) and issubclass(value, Event) and value is not Event
    ]
    met = [type(event) for path in explored(shown.example, shown.operation).paths for event in path.events]
    order = list(vars(event_kinds).values())
    return sorted(dict.fromkeys([*named, *met]), key=lambda kind: order.index(kind) if kind in order else len(order))


@fragment("events", from_source=True)
def events(slug: str) -> str:
    """The events that a pattern emits, with their fields.

    Args:
        slug: A card of the catalog.
    """
    rows: list[list[str]] = []
    for kind in events_of(card_of(slug)):
        meaning = (inspect.getdoc(kind) or "").split("\n\n")[0]
        own = ", ".join(f"`{name}`" for name in kind.fields[len(Event.fields) :])
        word = theme.style_of(kind.role).word
        role = f'<span class="fw-role fw-{kind.role}">{word}</span>'
        rows.append([_name(kind.__name__), role, own, _cell(" ".join(meaning.split()))])
    shared = ", ".join(f"`{name}`" for name in Event.fields)
    return "\n".join([*table(["Event", "Role", "Fields", "Meaning"], rows), "", f"Every event also has {shared}."])


# --- tables ----------------------------------------------------------------------------------------


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The lines of a table.

    Args:
        head: The words above the columns.
        rows: The cells.
    """
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


@fragment("sources")
def sources(slug: str) -> str:
    """Where a pattern comes from.

    Args:
        slug: A card of the catalog.
    """
    return "\n".join(f"- {_linked(source)}" for source in card_of(slug).sources)


def _linked(source: str) -> str:
    """``Title (https://...)`` as a link."""
    found = re.fullmatch(r"(.*) \((https?://\S+)\)", source)
    return source if found is None else f"[{found[1]}]({found[2]})"
