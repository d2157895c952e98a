"""What two policies do differently: figures side by side, and the paths and findings that only one of them has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from failwell.flow.fold import operations
from failwell.flow.story import Step, told

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration
    from failwell.flow.lint import Finding
    from failwell.flow.path import Odds, Path
    from failwell.flow.report import Report

__all__ = ["Diff", "Figure", "Side", "diff"]

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
    """

    exploration: Exploration
    report: Report
    findings: tuple[Finding, ...]
    paths: tuple[tuple[float, Path], ...]


class Diff(NamedTuple):
    """What two policies do differently.

    Attributes:
        a: The first.
        b: The second.
        figures: Their figures, side by side.
    """

    a: Side
    b: Side
    figures: tuple[Figure, ...]

    @property
    def same(self) -> bool:
        """Whether they behave the same: each path of one is a path of the other, told and timed in the same way."""
        return not (self.a.paths or self.b.paths)

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
    side_a = Side(a, report_a, _without(findings_a, findings_b), _others(a, report_a, numbers, stories_b))
    side_b = Side(b, report_b, _without(findings_b, findings_a), _others(b, report_b, numbers, stories_a))
    return Diff(side_a, side_b, tuple(_figures(side_a, side_b)))


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
