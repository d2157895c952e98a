"""What two policies do differently: figures side by side, and the paths and findings that only one of them has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

from failwell.errors import TooManyStates
from failwell.flow.fold import operations
from failwell.flow.states import keeps_state, transitions
from failwell.flow.story import Step, told
from failwell.flow.testfile import kinds_of_failure
from failwell.policy import Pattern, Policy, labels, protected

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration
    from failwell.flow.lint import Finding
    from failwell.flow.path import Odds, Path
    from failwell.flow.report import Report

__all__ = ["Apart", "Diff", "Figure", "Side", "by_error", "diff", "told_apart"]

Bounds = tuple[float, float]


class Figure(NamedTuple):
    """One figure of both.

    Attributes:
        name: What it says, e.g. ``"success"`` or ``"calls of fetch"``.
        unit: ``"share"`` from 0 to 1, ``"seconds"`` or ``"count"``.
        a: Its bounds for the first policy, twice the same number where waits are not random; None if it has none.
        b: The same for the second.
    """

    name: str
    unit: Literal["share", "seconds", "count"]
    a: Bounds | None
    b: Bounds | None

    @property
    def differs(self) -> bool:
        """Whether there is a difference that is more than rounding."""
        if self.a is None or self.b is None:
            return self.a is not self.b
        return any(one != other and abs(one - other) > 1e-9 for one, other in zip(self.a, self.b, strict=True))


class Side(NamedTuple):
    """One of the two policies.

    Attributes:
        exploration: All its paths.
        report: What follows from them.
        findings: What is wrong with it and not with the other one.
        paths: The paths that the other one does not have, each with its odds, the likeliest first.
        states: The ways from state to state that the layers of the other one do not have, e.g.
            ``"CircuitBreaker: closed -> 5 failures, CircuitOpened -> open"``.
    """

    exploration: Exploration
    report: Report
    findings: tuple[Finding, ...]
    paths: tuple[tuple[float, Path], ...]
    states: tuple[str, ...] = ()


class Apart(NamedTuple):
    """What two policies do differently when operations raise errors that their layers tell apart.

    Attributes:
        errors: The types of these errors, one of each kind.
        a: The paths that only the first has, the shortest first.
        b: The paths that only the second has.
    """

    errors: tuple[type[Exception], ...]
    a: tuple[Path, ...]
    b: tuple[Path, ...]


class Diff(NamedTuple):
    """What two policies do differently.

    Attributes:
        a: The first.
        b: The second.
        figures: Their figures, side by side.
        apart: What they do with errors that their layers tell apart, see `by_error`; None if there was no need to look.
        not_compared: Why nobody could look, in words; empty if nothing was in the way.
    """

    a: Side
    b: Side
    figures: tuple[Figure, ...]
    apart: Apart | None = None
    not_compared: str = ""

    @property
    def same(self) -> bool:
        """Whether they behave the same: each path of one is a path of the other, told and timed in the same way.

        And their layers go from state to state in the same way.

        That is said of the outcomes that were explored. One kind of failure does not show what a layer does with
        another: `told_apart` and `by_error` look at that.
        """
        apart = self.apart is not None and (self.apart.a or self.apart.b)
        return not (self.a.paths or self.b.paths or self.a.states or self.b.states or apart or self.not_compared)

    def as_dict(self, most: int | None = None) -> dict[str, Any]:
        """The difference as plain data.

        Args:
            most: How many paths of each side to tell (None: all).
        """
        return {
            "same": self.same,
            "figures": {
                figure.name: {
                    "unit": figure.unit,
                    "a": None if figure.a is None else list(figure.a),
                    "b": None if figure.b is None else list(figure.b),
                    "differs": figure.differs,
                }
                for figure in self.figures
            },
            "a": _side_as_dict(self.a, most),
            "b": _side_as_dict(self.b, most),
            "errors": None if self.apart is None else _apart_as_dict(self.apart, most),
            "not_compared": self.not_compared or None,
        }


def _apart_as_dict(apart: Apart, most: int | None) -> dict[str, Any]:
    return {
        "types": [one.__name__ for one in apart.errors],
        "a": {"number_of_paths_only_here": len(apart.a), "paths_only_here": [str(path) for path in apart.a[:most]]},
        "b": {"number_of_paths_only_here": len(apart.b), "paths_only_here": [str(path) for path in apart.b[:most]]},
    }


def _side_as_dict(side: Side, most: int | None) -> dict[str, Any]:
    return {
        "title": side.exploration.title,
        "layers": [repr(layer) for layer in side.exploration.layers],
        "operation": side.exploration.name,
        "paths": len(side.exploration),
        "raised": list(side.report.raised),
        "findings_only_here": [
            {"rule": one.rule, "severity": one.severity, "message": one.message, "advice": one.advice}
            for one in side.findings
        ],
        "states_only_here": list(side.states),
        "number_of_paths_only_here": len(side.paths),
        "paths_only_here": [{"story": str(path), "probability": p} for p, path in side.paths[:most]],
    }


def diff(a: Exploration, b: Exploration, fail: Odds = 0.1, hang: Odds = 0.0) -> Diff:
    """Compare two policies.

    ```python
    from failwell import Retry, Timeout, backoff, explore
    from failwell.flow.diff import diff

    retry = Retry(2, backoff.Fixed(1))
    found = diff(explore(retry), explore(Timeout(5) >> retry), fail=0.5, hang=0.25)
    for figure in found.figures:
        if figure.differs:
            print(figure.name, figure.a, figure.b)
            #> worst latency (inf, inf) (5.0, 5.0)
            #> mean latency (inf, inf) (2.25, 2.25)
            #> p99 latency (inf, inf) (5.0, 5.0)
            #> never ends (0.375, 0.375) None
            #> TimeoutExceeded None (0.375, 0.375)
    print(found.b.paths[0][1])
    #> operation (attempt 1) hangs -> timed out (cancelled after 5 s) -> raise TimeoutExceeded after 5 s
    ```

    Operations are the same if their names are; the operations that the two protect are the same whatever their names.

    Args:
        a: All paths of the first.
        b: All paths of the second.
        fail: The odds that an operation fails: one number, or operation -> number.
        hang: The odds that it hangs.

    Raises:
        ValueError: If odds are none, or are given for an operation that neither of the two calls.
    """
    called = operations(a.paths), operations(b.paths)
    for name, odds in (("fail", fail), ("hang", hang)):
        for operation in odds if isinstance(odds, Mapping) else ():
            if operation not in called[0] | called[1]:
                known = ", ".join(sorted(called[0] | called[1])) or "none"
                raise ValueError(f"{name} names {operation!r}, which is never called; called are {known}")
    report_a = a.report(_of(fail, called[0]), _of(hang, called[0]))
    report_b = b.report(_of(fail, called[1]), _of(hang, called[1]))
    numbers: dict[tuple[Any, ...], int] = {}
    stories_a, stories_b = set(_stories(a, numbers)), set(_stories(b, numbers))
    findings_a, findings_b = a.lint(), b.lint()
    states_a, states_b = _states(a), _states(b)
    side_a = Side(
        a,
        report_a,
        _without(findings_a, findings_b),
        _others(a, report_a, numbers, stories_b),
        tuple(one for one in states_a if one not in states_b),
    )
    side_b = Side(
        b,
        report_b,
        _without(findings_b, findings_a),
        _others(b, report_b, numbers, stories_a),
        tuple(one for one in states_b if one not in states_a),
    )
    return Diff(side_a, side_b, tuple(_figures(side_a, side_b)))


_MOST_STATES = 300
"""Of a layer; where there are more, its parameters are compared instead."""


_known_states: WeakKeyDictionary[Exploration, list[str]] = WeakKeyDictionary()
"""What was found out about an exploration: a search for states takes longer than all else that is compared."""


def _states(exploration: Exploration) -> list[str]:
    """How the layers go from state to state, in words."""
    if exploration in _known_states:
        return _known_states[exploration]
    found: list[str] = []
    for layer, label in zip(exploration.layers, labels(exploration.layers), strict=True):
        if keeps_state(layer):
            try:
                ways = transitions(layer, labels([layer])[0], limit=_MOST_STATES)
            except TooManyStates:
                ways = [repr(layer)]
            found += [f"{label}: {way}" for way in ways]
    _known_states[exploration] = found
    return found


def told_apart(a: Exploration, b: Exploration) -> tuple[type[Exception], ...]:
    """An error of each kind that the layers of two policies tell apart, none if these take all errors alike.

    Args:
        a: All paths of the first.
        b: All paths of the second.
    """
    kinds = kinds_of_failure(_with_inner((*a.layers, *b.layers)), bare=True)
    return kinds if len(kinds) > 1 else ()


def _with_inner(layers: Iterable[Pattern]) -> Iterator[Pattern]:
    """These layers, and those around what they call besides: alternatives, routes, steps."""
    for layer in layers:
        yield layer
        yield from _with_inner(_layers_in(layer.describe()))


_MAPPING: Any = Mapping
_SEVERAL: Any = (tuple, list)


def _layers_in(value: Any) -> Iterator[Pattern]:
    known = protected(value)
    if known is not None:
        yield from known.layers
        value = known.fn
    if isinstance(value, Policy):
        yield from value.layers
    elif isinstance(value, Pattern):
        yield value
    elif isinstance(value, _MAPPING):
        yield from _layers_in(tuple(value.values()))
    elif isinstance(value, _SEVERAL):
        for one in value:
            yield from _layers_in(one)
    else:  # a step, say
        for one in getattr(value, "__dict__", {}).values():
            if isinstance(one, Policy) or callable(one):
                yield from _layers_in(one)


def by_error(a: Exploration, b: Exploration, errors: Iterable[type[Exception]]) -> Apart:
    """What two policies do differently with errors that their layers tell apart.

    ```python
    from failwell import Retry, backoff, explore
    from failwell.flow.diff import by_error, diff, told_apart

    before, after = (Retry(2, backoff.Fixed(1), on=on) for on in (ConnectionError, (ConnectionError, TimeoutError)))
    a, b = explore(before), explore(after)
    errors = told_apart(a, b)
    print(diff(a, b).same, [error.__name__ for error in errors])
    #> True ['ConnectionError', 'TimeoutError', 'OSError']
    found = by_error(*(explore(one, outcomes=("ok", *errors, "hang")) for one in (before, after)), errors)
    print(found.a[0])
    #> operation (attempt 1) raises TimeoutError -> raise TimeoutError after 0 s
    ```

    Args:
        a: All paths of the first, with these errors among the outcomes.
        b: The same of the second.
        errors: The errors, see `told_apart`.
    """
    numbers: dict[tuple[Any, ...], int] = {}
    told_a, told_b = list(_stories(a, numbers)), list(_stories(b, numbers))
    return Apart(tuple(errors), _shortest(a, told_a, set(told_b)), _shortest(b, told_b, set(told_a)))


def _shortest(exploration: Exploration, own: Iterable[_Story], others: set[_Story]) -> tuple[Path, ...]:
    """The paths whose story is none of the others, the shortest first."""
    both = zip(exploration.paths, own, strict=True)
    return tuple(sorted((path for path, story in both if story not in others), key=lambda path: len(path.trace)))


class _Of(Mapping[str, float]):
    """Odds, as far as they name operations that are there."""

    def __init__(self, odds: Mapping[str, float], known: set[str]) -> None:
        self.odds = odds
        self.known = known

    def __getitem__(self, key: str) -> float:
        return self.odds[key]

    def get(self, key: str, default: Any = None) -> Any:  # what is asked for a name that is not there may differ
        return self.odds.get(key, default)

    def __iter__(self) -> Iterator[str]:
        return (name for name in self.odds if name in self.known)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _of(odds: Odds, known: set[str]) -> Odds:
    return _Of(odds, known) if isinstance(odds, Mapping) else odds


# --- paths and findings --------------------------------------------------------------------------

_Story = tuple[tuple[int, ...], float]


def _stories(exploration: Exploration, numbers: dict[tuple[Any, ...], int]) -> Iterator[_Story]:
    """What each path tells, with numbers for its steps; the protected operation's name is left out."""
    own = exploration.name
    known: dict[int, tuple[Step, int]] = {}  # paths share their steps; a step that is kept keeps its id
    for path, story in zip(exploration.paths, told(exploration.paths), strict=True):
        steps: list[int] = []
        for step in story:
            found = known.get(id(step))
            if found is None:
                title = "" if step.title == own else step.title
                key = step.via, title, step.detail, step.counter
                found = known[id(step)] = step, numbers.setdefault(key, len(numbers))
            steps.append(found[1])
        yield tuple(steps), round(path.elapsed, 9)


def _others(
    exploration: Exploration, report: Report, numbers: dict[tuple[Any, ...], int], stories: set[_Story]
) -> tuple[tuple[float, Path], ...]:
    """The paths whose story is none of these, the likeliest first."""
    both = zip(report.weighted(), _stories(exploration, numbers), strict=True)
    return tuple(sorted((one for one, story in both if story not in stories), key=lambda one: -one[0]))


def _without(findings: Iterable[Finding], others: Iterable[Finding]) -> tuple[Finding, ...]:
    known = {(other.rule, other.message) for other in others}
    return tuple(one for one in findings if (one.rule, one.message) not in known)


# --- figures -------------------------------------------------------------------------------------


def _figures(a: Side, b: Side) -> Iterator[Figure]:
    one, other = a.report, b.report
    yield Figure("success", "share", one.success_bounds, other.success_bounds)
    yield Figure("worst latency", "seconds", _twice(one.worst_latency), _twice(other.worst_latency))
    yield Figure("mean latency", "seconds", one.latency_bounds, other.latency_bounds)
    yield Figure("p99 latency", "seconds", one.percentile_bounds(0.99), other.percentile_bounds(0.99))
    for name in dict.fromkeys([*one.outcomes, *other.outcomes]):
        yield Figure(name, "share", one.outcome_bounds.get(name), other.outcome_bounds.get(name))
    names = a.exploration.name, b.exploration.name
    renamed = names[0] != names[1] and names[0] in one.calls and names[1] in other.calls
    for name in dict.fromkeys([*one.calls, *(name for name in other.calls if not (renamed and name == names[1]))]):
        theirs = names[1] if renamed and name == names[0] else name
        what = name if theirs == name else f"{name} / {theirs}"
        yield Figure(f"calls of {what}", "count", one.calls_bounds.get(name), other.calls_bounds.get(theirs))
        yield Figure(f"most calls of {what}", "count", _most(one, name), _most(other, theirs))


def _twice(value: float) -> Bounds:
    return value, value


def _most(report: Report, name: str) -> Bounds | None:
    count = report.most_calls.get(name)
    return None if count is None else (count, count)
