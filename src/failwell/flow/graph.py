"""The flow diagram: the smallest graph of all paths, and its compact quotient."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, NamedTuple

from failwell.flow.path import Path
from failwell.flow.story import Step, steps, told
from failwell.flow.timing import timing

__all__ = ["Edge", "Graph", "Node", "compact_graph", "unrolled_graph"]


class Node(NamedTuple):
    """One box of a drawing.

    Attributes:
        id: A number that is unique in its graph; the start is 0.
        kind: ``"start"``, ``"event"`` or ``"end"``.
        role: ``"operation"``, ``"decision"``, ``"success"``, ``"error"``, ``"recovery"`` or ``"compensation"``.
        title: What happens.
        details: More lines: counts, times, order.
        layer: The layer that it comes from.
        events: Signatures of the events that it stands for.
    """

    id: int
    kind: str
    role: str
    title: str
    details: tuple[str, ...] = ()
    layer: str = ""
    events: tuple[str, ...] = ()


class Edge(NamedTuple):
    """One arrow of a drawing.

    Attributes:
        source: The id of the node that it leaves.
        target: The id of the node that it reaches.
        label: The answer that leads this way (``"ok"``, ``"fails"``, ``"hangs"``, ``"miss"`` ...) or nothing.
        role: ``"success"``, ``"error"``, ``"decision"`` or ``""``.
        detail: In a compact graph, for a way back: what it repeats, e.g. ``"attempt 2-3"``. Where one answer
            leads several ways: which repetitions go this way, e.g. ``"attempt 3"``.
    """

    source: int
    target: int
    label: str = ""
    role: str = ""
    detail: str = ""


class Graph:
    """A flow diagram as data.

    Attributes:
        nodes: The nodes, the start first, in the order in which a reader meets them.
        edges: The edges.
        title: What was explored.
        timing: Lines that say what of it takes time, see `failwell.flow.timing.timing`.
        kind: What it shows: ``"flow"`` or ``"states"``.
    """

    kind: ClassVar = "flow"

    def __init__(
        self,
        nodes: Sequence[Node],
        edges: Sequence[Edge],
        title: str,
        parts: Sequence[Step | None],
        timing: Sequence[str] = (),
    ) -> None:
        self.nodes = tuple(nodes)
        self.edges = tuple(edges)
        self.title = title
        self.parts = tuple(parts)
        self.timing = tuple(timing)

    def following(self, node: int) -> tuple[Edge, ...]:
        """The edges that leave a node.

        Args:
            node: The node's id.
        """
        return tuple(edge for edge in self.edges if edge.source == node)

    def walk(self, path: Path) -> tuple[tuple[int, ...], tuple[Edge, ...]]:
        """The nodes and edges of one path, to light it up.

        Args:
            path: A path of the same exploration.

        Raises:
            ValueError: If it is none.
        """
        here = 0
        visited, taken = [0], list[Edge]()
        for step in steps(path):
            edge = self._ways.get((here, step.via, _as_node(step))) or self._ways.get(
                (here, step.via, _without_counts(step))
            )
            if edge is None:
                raise ValueError(f"this path is not one of {self.title}: no way for {step.title!r}")
            here = edge.target
            visited.append(here)
            taken.append(edge)
        return tuple(visited), tuple(taken)

    @functools.cached_property
    def _ways(self) -> dict[tuple[int, str, Step | None], Edge]:
        return {(edge.source, edge.label, self.parts[edge.target]): edge for edge in self.edges}

    def __repr__(self) -> str:
        return f"<Graph of {self.title}: {len(self.nodes)} nodes, {len(self.edges)} edges>"


def unrolled_graph(paths: Iterable[Path], title: str = "") -> Graph:
    """The minimal acyclic graph whose ways from start to end are exactly the paths.

    Args:
        paths: All paths of an exploration.
        title: What was explored.
    """
    paths = list(paths)
    automaton = _Automaton()
    for story in told(paths):
        automaton.add(story)
    automaton.close(0)
    nodes = [Node(0, "start", "operation", "start")]
    parts: list[Step | None] = [None]
    edges: list[Edge] = []
    known: dict[tuple[Step, int], int] = {}
    open_nodes = [(0, automaton.number(automaton.root))]
    for here, state in open_nodes:
        for step, after in automaton.ways[state].items():
            key = _as_node(step), after
            if key not in known:
                known[key] = len(nodes)
                nodes.append(_node(len(nodes), step, _details(step)))
                parts.append(key[0])
                open_nodes.append((known[key], after))
            edges.append(Edge(here, known[key], step.via, _edge_role(step.via, nodes[here])))
    return Graph(nodes, edges, title, parts, timing(paths))


class _Automaton:
    """Steps on edges, as few states as possible; it grows by one path after the other and never holds the whole tree.

    What lies behind the current path is closed: each state there is known by what can follow it, so that
    equal futures are one state.

    Source: Daciuk, Mihov, Watson, Watson, "Incremental Construction of Minimal Acyclic Finite-State
    Automata" (Computational Linguistics 26(1), 2000).
    """

    def __init__(self) -> None:
        self.root: dict[Step, int] = {}
        self.ways: list[dict[Step, int]] = []  # of each closed state: a step, and the state that it leads to
        self._numbers: dict[frozenset[tuple[Step, int]], int] = {}
        self._path: list[tuple[Step, dict[Step, int]]] = []  # the way of the last path, with what follows each step

    def add(self, story: Sequence[Step]) -> None:
        """Let a path be a way from start to end."""
        common = 0
        for (before, _), step in zip(self._path, story, strict=False):
            if before is not step and before != step:
                break
            common += 1
        self.close(common)
        here = self._path[-1][1] if self._path else self.root
        for step in story[common:]:
            known = here.get(step)  # closed already, if paths came in another order than the explorer's
            following = {} if known is None else dict(self.ways[known])
            self._path.append((step, following))
            here = following

    def close(self, length: int) -> None:
        """Nothing more is added behind the first steps of the current path."""
        while len(self._path) > length:
            step, following = self._path.pop()
            here = self._path[-1][1] if self._path else self.root
            here[step] = self.number(following)

    def number(self, following: dict[Step, int]) -> int:
        """The state that is known by what follows it."""
        state = frozenset(following.items())
        if state not in self._numbers:
            self._numbers[state] = len(self.ways)
            self.ways.append(following)
        return self._numbers[state]


def compact_graph(unrolled: Graph) -> Graph:
    """The quotient of an unrolled graph that ignores counts: repeated attempts become one loop.

    Args:
        unrolled: The graph to fold.
    """
    groups: dict[Step | None, int] = {}
    members: list[list[int]] = []
    place: list[int] = []
    for node, part in zip(unrolled.nodes, unrolled.parts, strict=True):
        key = None if part is None else _without_counts(part)
        if key not in groups:
            groups[key] = len(members)
            members.append([])
        members[groups[key]].append(node.id)
        place.append(groups[key])
    nodes: list[Node] = []
    parts: list[Step | None] = []
    for (key, number), inside in zip(groups.items(), members, strict=True):
        if key is None:
            nodes.append(unrolled.nodes[0])
            parts.append(None)
            continue
        counts = [part.counter for i in inside if (part := unrolled.parts[i]) is not None and part.counter[1]]
        details = (*_count_range(counts), *([key.detail] if key.detail else []))
        nodes.append(_node(number, key, details))
        parts.append(key)
    merged: dict[_Way, list[Edge]] = {}
    for edge in unrolled.edges:
        merged.setdefault((place[edge.source], place[edge.target], edge.label), []).append(edge)
    which = _repetitions(unrolled, merged)
    edges: list[Edge] = []
    for way, alike in merged.items():
        counts = [part.counter for edge in alike if (part := unrolled.parts[edge.target]) is not None]
        detail = which.get(way) or (", ".join(_count_range(counts)) if way[1] <= way[0] else "")
        edges.append(Edge(*way, alike[0].role, detail))
    return Graph(nodes, edges, unrolled.title, parts, unrolled.timing)


_Way = tuple[int, int, str]


def _repetitions(unrolled: Graph, merged: Mapping[_Way, Sequence[Edge]]) -> dict[_Way, str]:
    """Where one answer leads several ways, which attempts go which way, if that is what decides."""
    counters = _counters(unrolled)
    alike: dict[tuple[int, str], list[_Way]] = {}
    for way in merged:
        alike.setdefault((way[0], way[2]), []).append(way)
    found: dict[_Way, str] = {}
    for ways in alike.values():
        seen = [[counters[edge.source] for edge in merged[way]] for way in ways]
        names = set[tuple[str, str]](seen[0][0]) if len(ways) > 1 else set[tuple[str, str]]()
        for one in (one for group in seen for one in group):
            names &= one.keys()
        for layer, name in sorted(names):
            values = [set[str]().union(*(one[layer, name] for one in group)) for group in seen]
            if sum(map(len, values)) == len(set[str]().union(*values)):  # no attempt goes two ways
                for way, mine in zip(ways, values, strict=True):
                    found.setdefault(way, ", ".join(_count_range([(name, value) for value in mine])))
    return found


def _counters(unrolled: Graph) -> list[dict[tuple[str, str], frozenset[str]]]:
    """For each node the numbers that its counters can have when it is reached."""
    counters: list[dict[tuple[str, str], frozenset[str]]] = [{} for _ in unrolled.nodes]
    waiting = [0] * len(unrolled.nodes)
    for edge in unrolled.edges:
        waiting[edge.target] += 1
    following: dict[int, list[int]] = {}
    for edge in unrolled.edges:
        following.setdefault(edge.source, []).append(edge.target)
    ready = [0]
    while ready:
        here = ready.pop()
        part = unrolled.parts[here]
        if part is not None and part.counter[1].isdigit():
            counters[here][part.layer, part.counter[0]] = frozenset({part.counter[1]})
        for target in following.get(here, ()):
            for key, values in counters[here].items():
                counters[target][key] = counters[target].get(key, frozenset()) | values
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return counters


def _as_node(step: Step) -> Step:
    return step._replace(via="")


def _without_counts(step: Step) -> Step:
    return step._replace(via="", counter=(step.counter[0], ""), events=())


def _node(number: int, step: Step, details: tuple[str, ...]) -> Node:
    return Node(number, step.kind, step.role, step.title, details, step.layer, step.events)


def _details(step: Step) -> tuple[str, ...]:
    return (*_count_range([step.counter]), *([step.detail] if step.detail else []))


def _count_range(counts: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """``attempt 1–3`` for numbers in a row, ``1 s, 2 s`` for waits."""
    values: dict[str, list[str]] = {}
    for name, value in counts:
        if value and value not in values.setdefault(name, []):
            values[name].append(value)
    return tuple(
        f"{name} {_numbers(found)}" if all(map(str.isdigit, found)) else _listed(found)
        for name, found in sorted(values.items())
    )


def _numbers(found: Sequence[str]) -> str:
    numbers = sorted(map(int, found))
    first, last = numbers[0], numbers[-1]
    in_a_row = last - first == len(numbers) - 1
    return f"{first}–{last}" if in_a_row and first < last else _listed([str(number) for number in numbers])


def _listed(values: list[str]) -> str:
    return ", ".join([*values[:3], "…", values[-1]] if len(values) > 5 else values)


def _edge_role(label: str, source: Node) -> str:
    if source.role == "decision":
        return "decision"
    if label == "ok":
        return "success"
    return "error" if label in ("fails", "hangs", "time is up") or label.startswith("raises ") else ""
