from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from failwell import Cache, Fallback, Retry, Saga, Timeout, errors, explore
from failwell.backoff import Exponential, Fixed
from failwell.flow import Exploration, Graph, Path
from failwell.flow.graph import unrolled_graph
from failwell.flow.story import steps
from tests.flow.stacks import EXACT, ROUNDED, explored, stacks

Way = tuple[tuple[Any, ...], ...]


def sequences(paths: list[Path]) -> set[Way]:
    return {tuple((step.via, step._replace(via="")) for step in steps(path)) for path in paths}


def accepted(graph: Graph) -> set[Way]:
    """Every way from the start to an end."""
    found: set[Way] = set()
    left: list[tuple[int, Way]] = [(0, ())]
    while left:
        here, way = left.pop()
        out = graph.following(here)
        if not out:
            found.add(way)
        left += [(edge.target, (*way, (edge.label, graph.parts[edge.target]))) for edge in out]
    return found


def futures(graph: Graph) -> list[tuple[Any, ...]]:
    """For each node its label and what can follow it, as one value."""
    known: dict[int, int] = {}
    numbers: dict[Any, int] = {}
    order: list[int] = []
    left = [(0, False)]
    while left:
        here, done = left.pop()
        if done:
            order.append(here)
        elif here not in known:
            known[here] = -1
            left += [(here, True), *((edge.target, False) for edge in graph.following(here))]
    found: list[tuple[Any, ...]] = []
    for here in order:
        future = graph.parts[here], frozenset((edge.label, known[edge.target]) for edge in graph.following(here))
        known[here] = numbers.setdefault(future, len(numbers))
        found.append(future)
    return found


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(text=stacks((*EXACT, *ROUNDED)))
def test_a_graph_says_what_the_paths_say_and_no_more(text: str) -> None:
    try:
        exploration = explored(text)
    except errors.TooManyPaths:
        return
    unrolled = exploration.graph(compact=False)
    assert accepted(unrolled) == sequences(exploration.paths)
    told = {tuple(event for _, part in way if part for event in part.events) for way in accepted(unrolled)}
    assert told == {tuple(path.reports) for path in exploration.paths}
    distinct = futures(unrolled)
    assert len(distinct) == len(set(distinct)) == len(unrolled.nodes)
    compact = exploration.graph()
    assert len(compact.nodes) <= len(unrolled.nodes)
    for graph in (unrolled, compact):
        lit = [graph.walk(path) for path in exploration.paths]
        assert {node for nodes, _ in lit for node in nodes} == {node.id for node in graph.nodes}
        assert {edge for _, edges in lit for edge in edges} == set(graph.edges)
        assert all(graph.nodes[nodes[-1]].kind == "end" for nodes, _ in lit)


def test_paths_in_any_order_give_the_same_graph() -> None:
    paths = explore(Retry(3) >> Fallback(_spare) >> Timeout(2)).paths
    in_order = unrolled_graph(paths)
    scattered = unrolled_graph([*paths[::3], *paths[1::3], *paths[2::3]])
    assert accepted(scattered) == accepted(in_order) == sequences(paths)
    assert len(scattered.nodes) == len(in_order.nodes)


def _spare() -> None: ...


def drawn(graph: Graph) -> list[str]:
    """Each edge as text."""
    names = [f"{node.title}{f' [{chr(59).join(node.details)}]' * bool(node.details)}" for node in graph.nodes]
    return [
        f"{names[edge.source]} -{edge.label}{f' ({edge.detail})' * bool(edge.detail)}-> {names[edge.target]}"
        for edge in graph.edges
    ]


def test_repeated_attempts_become_one_loop_that_says_what_differs() -> None:
    assert drawn(explore(Retry(3, Exponential(1)), outcomes=["ok", "fail"]).graph()) == [
        "start --> operation [attempt 1–3]",
        "operation [attempt 1–3] -ok-> return",
        "operation [attempt 1–3] -fails (attempt 1–2)-> wait [1 s, 2 s]",
        "wait [1 s, 2 s] - (attempt 2–3)-> operation [attempt 1–3]",
        "operation [attempt 1–3] -fails (attempt 3)-> give up [no attempt left]",
        "give up [no attempt left] --> raise ConnectionError",
    ]


def test_unrolled_each_attempt_is_shown() -> None:
    assert drawn(explore(Retry(2, Fixed(1)), outcomes=["ok", "fail"]).graph(compact=False)) == [
        "start --> operation [attempt 1]",
        "operation [attempt 1] -ok-> return",
        "operation [attempt 1] -fails-> wait [1 s]",
        "wait [1 s] --> operation [attempt 2]",
        "operation [attempt 2] -ok-> return",
        "operation [attempt 2] -fails-> give up [no attempt left]",
        "give up [no attempt left] --> raise ConnectionError",
    ]


def test_many_waits_are_cut_short_and_equal_ones_said_once() -> None:
    [wait] = [node for node in explore(Retry(9, Exponential(1))).graph().nodes if node.title == "wait"]
    assert wait.details == ("1 s, 2 s, 4 s, …, 60 s",)
    [wait] = [node for node in explore(Retry(9, Fixed(2))).graph().nodes if node.title == "wait"]
    assert wait.details == ("2 s",)


def test_numbers_with_gaps_are_listed() -> None:
    from failwell.flow.graph import _count_range

    assert _count_range([("attempt", "3"), ("attempt", "1"), ("", "")]) == ("attempt 1, 3",)
    assert _count_range([("attempt", "2")]) == ("attempt 2",)
    assert _count_range([("attempt", str(n)) for n in (1, 2, 3, 5, 7, 9)]) == ("attempt 1, 2, 3, …, 9",)
    assert _count_range([]) == ()


def test_edges_carry_the_role_of_what_leads_along_them() -> None:
    def roles(exploration: Exploration) -> set[tuple[str, str]]:
        return {(edge.label, edge.role) for edge in exploration.graph().edges}

    assert roles(explore(Cache(9) >> Timeout(1), outcomes=["ok", "hang", KeyError])) == {
        ("", ""),
        ("miss", "decision"),
        ("fresh", "decision"),
        ("ok", "success"),
        ("hangs", "error"),
        ("raises KeyError", "error"),
    }


def test_a_node_says_where_it_comes_from() -> None:
    graph = explore(Timeout(3) >> Retry(2, Fixed(5)), outcomes=["fail"]).graph(compact=False)
    assert [(node.id, node.kind, node.role, node.title, node.layer) for node in graph.nodes] == [
        (0, "start", "operation", "start", ""),
        (1, "event", "operation", "operation", "Retry"),
        (2, "event", "recovery", "wait", "Retry"),
        (3, "event", "error", "timed out", "Timeout"),
        (4, "end", "error", "raise TimeoutExceeded", ""),
    ]
    assert graph.nodes[1].events == ("Retry.Attempt(1)",)
    assert graph.title == "Timeout(3) >> Retry(2, backoff=Fixed(5)) >> operation"
    assert repr(graph) == f"<Graph of {graph.title}: 5 nodes, 4 edges>"


def test_a_path_of_something_else_is_refused() -> None:
    graph = explore(Timeout(1)).graph()
    with pytest.raises(ValueError, match=r"this path is not one of Timeout\(1\) >> operation: no way for"):
        graph.walk(explore(Retry(2)).paths[-1])


def test_a_graph_is_made_once() -> None:
    exploration = explore(Saga([(_spare, None)]))
    assert exploration.graph(compact=False) is exploration.graph(compact=False)
