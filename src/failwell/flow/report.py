"""Numbers that follow from the paths: success, latency and load, exact for given odds.

Random waits are no matter of odds. A path takes the longest of each, so figures of latency are upper ends; how far
below the truth may be is said by bounds, which are called bounds.
"""

from __future__ import annotations

import bisect
import functools
import heapq
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from types import CodeType
from typing import TYPE_CHECKING, Any, cast

from failwell.flow.classes import ANSWERED, DEGRADED, NEVER_ENDS, outcome_class
from failwell.flow.fold import Fold, Weights
from failwell.policy import Operation, Pattern, labels
from failwell.runtime import name_of

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration
    from failwell.flow.path import Odds, Path

__all__ = ["Report", "make_report"]

FOREVER = float("inf")
_SLACK = 1e-12  # sums of floats may miss 1 by a little


class Report:
    """What follows from all paths of a policy for given odds.

    Where waits are random, a path takes the longest of each. Then ``mean_latency`` and ``percentile`` are upper
    ends, and `bounds` say between which figures the truth is. They know limits of time that race with a wait, but not
    what ages in a layer's state meanwhile (a quota, an answer): that is looked at after the longest wait only.

    Attributes:
        success: The probability that the call returns, degraded answers included.
        degraded: The probability that it returns a degraded answer.
        outcomes: How calls end -> probability: ``"answered"``, ``"degraded"``, the name of each type of error,
            ``"never ends"``; without what no path ends in. They sum up to 1.
        mean_latency: The expected virtual seconds of a call, successes and failures together.
        worst_latency: The longest path, whatever its odds; infinite if a hang is never ended.
        worst_path: That path.
        calls: Operation -> expected number of calls.
        most_calls: Operation -> most calls on any path.
        raised: Names of the error types that a caller can see.
        raised_by: Name of an error type -> the likeliest path that raises it.
        never_reached: Layers that do nothing on any path, and alternatives that no path calls.
        situations: Layer -> the situations that it can start in; without odds it is in the first.
        ages: Layers with a state that ages during a random wait around them, such as a quota: how they decide then is
            known for the longest wait only, and no bounds tell more.
        is_random: Whether random waits make the truth differ from the figures; then there are bounds.
    """

    def __init__(self, exploration: Exploration, fold: Fold) -> None:
        paths = exploration.paths
        self._fold = fold
        self._paths = paths
        self.outcomes: dict[str, float] = _outcomes(paths, fold)
        self.degraded = self.outcomes.get(DEGRADED, 0)
        self.success = self.outcomes.get(ANSWERED, 0) + self.degraded
        self.mean_latency = sum(p * path.elapsed for p, path in fold.weighted)
        self.worst_path = max(paths, key=lambda path: path.elapsed)
        self.worst_latency = self.worst_path.elapsed
        self.calls: dict[str, float] = fold.calls
        self.most_calls = fold.most_calls
        self.raised_by = _raised(paths, fold)
        self.raised = tuple(self.raised_by)
        self.never_reached = _never_reached(exploration.layers, fold)
        self.situations = fold.situations
        self.ages = _ages(labels(exploration.layers), fold)
        self.is_random = fold.times_differ or fold.ways_differ

    def percentile(self, q: float) -> float:
        """The latency, in seconds, that a share ``q`` of all calls does not exceed.

        Args:
            q: A share from 0 to 1, e.g. 0.99.

        Raises:
            ValueError: If it is no share.
        """
        _check_share(q)
        return _reached(self._by_latency, q)

    @functools.cached_property
    def _by_latency(self) -> tuple[list[Any], list[float]]:
        return _accumulated((p, path.elapsed) for p, path in self._fold.weighted)

    def percentile_bounds(self, q: float) -> tuple[float, float]:
        """Two latencies, in seconds, between which `percentile` is, however the random waits are drawn.

        Args:
            q: A share from 0 to 1, e.g. 0.99.

        Raises:
            ValueError: If it is no share.
        """
        _check_share(q)
        if not self.is_random:
            return self.percentile(q), self.percentile(q)
        if not self._fold.ways_differ:
            return _reached(self._by_end(0), q), _reached(self._by_end(1), q)
        return self._first_time(0, q), self._first_time(1, q)

    def _by_end(self, end: int) -> tuple[list[Any], list[float]]:
        return _accumulated((p, path.between[end]) for p, path in self._fold.weighted)

    def _first_time(self, end: int, q: float) -> float:
        """The first moment until which enough calls have ended, at best (end 0) or at worst (end 1)."""
        moments = sorted({path.between[end] for _, path in self._fold.leaves()})

        def share(moment: float) -> float:
            ended = self._fold.between(
                lambda path: int(path.between[1] <= moment), lambda path: int(path.between[0] <= moment)
            )
            return float(ended[1 - end])

        place = bisect.bisect_left(moments, q - _SLACK, key=share)
        return moments[min(place, len(moments) - 1)]

    @functools.cached_property
    def latency_bounds(self) -> tuple[float, float]:
        """Two figures, in seconds, between which the mean latency is, however the random waits are drawn."""
        if not self.is_random:
            return self.mean_latency, self.mean_latency
        return self._fold.between(lambda path: path.between[0], lambda path: path.between[1])

    @functools.cached_property
    def success_bounds(self) -> tuple[float, float]:
        """Two figures between which the success is; they differ where a limit of time races with a random wait."""
        return self._bounds(self.success, lambda path: path.ends and path.error is None)

    @functools.cached_property
    def outcome_bounds(self) -> dict[str, tuple[float, float]]:
        """The same for each of `outcomes`."""
        return {name: self._bounds(p, functools.partial(_is_of_class, name=name)) for name, p in self.outcomes.items()}

    @functools.cached_property
    def calls_bounds(self) -> dict[str, tuple[float, float]]:
        """The same for each of `calls`."""
        return {
            name: self._bounds(count, functools.partial(_calls_of, name=name)) for name, count in self.calls.items()
        }

    def _bounds(self, figure: float, of_path: Callable[[Path], float]) -> tuple[float, float]:
        if not self._fold.ways_differ:
            return figure, figure
        return self._fold.between(of_path, of_path)

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """All figures that random waits make uncertain, by name, each with its bounds; empty without such waits."""
        if not self.is_random:
            return {}
        return {
            "success": self.success_bounds,
            "mean_latency": self.latency_bounds,
            "p50": self.percentile_bounds(0.5),
            "p99": self.percentile_bounds(0.99),
        }

    def likeliest(self, count: int | None = None) -> list[tuple[float, Path]]:
        """The likeliest paths, each with its odds; equally likely ones in the order in which they were found.

        Args:
            count: How many (default: all). Paths without odds come last.
        """
        if count is None:
            return sorted(self.weighted(), key=lambda item: -item[0])
        return heapq.nsmallest(count, self.weighted(), key=lambda item: -item[0])  # of equal ones it keeps the order

    def weighted(self) -> Iterator[tuple[float, Path]]:
        """All paths in the order in which they were found, each with its odds."""
        odds = {id(path): p for p, path in self._fold.weighted}
        return ((odds.get(id(path), 0), path) for path in self._paths)

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            "success": self.success,
            "degraded": self.degraded,
            "outcomes": dict(self.outcomes),
            "mean_latency": self.mean_latency,
            "worst_latency": self.worst_latency,
            "p50": self.percentile(0.5),
            "p99": self.percentile(0.99),
            "bounds": {name: list(ends) for name, ends in self.bounds.items()},
            "calls": dict(self.calls),
            "most_calls": dict(self.most_calls),
            "raised": list(self.raised),
            "raised_by": {name: str(path) for name, path in self.raised_by.items()},
            "never_reached": list(self.never_reached),
            "ages": list(self.ages),
            "worst_path": str(self.worst_path),
        }

    def __repr__(self) -> str:
        success, mean = float(self.success), float(self.mean_latency)
        return f"<Report success={success:.6g} mean={mean:.4g} s worst={self.worst_latency:g} s>"


def make_report(
    exploration: Exploration, fail: Odds, hang: Odds, situations: Mapping[str, Mapping[str, float]] | None
) -> Report:
    """The report of an exploration; see `Exploration.report`."""
    return Report(exploration, Fold(exploration.paths, Weights(fail, hang, situations or {})))


# --- outcomes ------------------------------------------------------------------------------------


def _is_of_class(path: Path, name: str) -> bool:
    return outcome_class(path) == name


def _calls_of(path: Path, name: str) -> int:
    return path.calls.get(name, 0)


def _outcomes(paths: list[Path], fold: Fold) -> dict[str, float]:
    found: dict[str, Any] = dict.fromkeys(map(outcome_class, paths), 0)
    for p, path in fold.weighted:
        found[outcome_class(path)] += p
    errors = sorted(found.keys() - {ANSWERED, DEGRADED, NEVER_ENDS})
    return {name: found[name] for name in (ANSWERED, DEGRADED, *errors, NEVER_ENDS) if name in found}


def _raised(paths: list[Path], fold: Fold) -> dict[str, Path]:
    """The likeliest path of each type of error; where none has any odds, the first."""
    likeliest: dict[str, tuple[Any, Path]] = {}
    for p, path in itertools.chain(fold.weighted, fold.leaves(), ((0, path) for path in paths)):
        if path.error is not None:
            name = type(path.error).__name__
            if name not in likeliest or p > likeliest[name][0]:
                likeliest[name] = p, path
    return {name: likeliest[name][1] for name in sorted(likeliest)}


# --- latency -------------------------------------------------------------------------------------


def _check_share(q: float) -> None:
    if not 0 <= q <= 1:
        raise ValueError(f"q must be a share from 0 to 1, e.g. 0.99, got {q!r}")


def _accumulated(weighted: Iterator[tuple[Any, float]]) -> tuple[list[Any], list[float]]:
    """Latencies in order, and the share of calls that each is enough for."""
    by_latency = sorted(weighted, key=lambda item: item[1])
    return list(itertools.accumulate(p for p, _ in by_latency)), [latency for _, latency in by_latency]


def _reached(accumulated: tuple[list[Any], list[float]], q: float) -> float:
    shares, latencies = accumulated
    return latencies[min(bisect.bisect_left(shares, q - _SLACK), len(latencies) - 1)]


# --- what is never reached -----------------------------------------------------------------------


def _never_reached(layers: tuple[Pattern, ...], fold: Fold) -> tuple[str, ...]:
    found: list[str] = []
    for layer, label in zip(layers, labels(layers), strict=True):
        if label not in fold.acted and _reports(layer.run):
            found.append(label)
        found += [name for name, also in _declared(layer) if not {name, also} & fold.named]
    return tuple(dict.fromkeys(found))


def _ages(layers: list[str], fold: Fold) -> tuple[str, ...]:
    outermost = min((layers.index(layer) for layer in fold.waiting if layer in layers), default=len(layers))
    return tuple(layer for layer in layers[outermost + 1 :] if layer in fold.situations)


def _reports(run: Callable[..., Any]) -> bool:
    """Whether a layer reports events at all; one that never does cannot be seen to act."""
    code: CodeType | None = getattr(inspect.unwrap(run), "__code__", None)
    left = [code] if code is not None else []
    while left:
        one = left.pop()
        if {"emit", "announce"} & set(one.co_names):
            return True
        left += [inner for inner in one.co_consts if isinstance(inner, CodeType)]
    return False


def _declared(layer: Pattern) -> Iterator[tuple[str, str]]:
    """What a layer can call instead of what it protects: alternatives, routes, steps and what undoes them.

    Each with another name that it may be called by.
    """
    try:
        parameters = layer.describe()
    except TypeError:  # a policy that does not keep its parameters cannot tell them
        return
    for value in parameters.values():
        if isinstance(value, Mapping):
            for key, one in value.items():  # pyright: ignore[reportUnknownVariableType]
                if _is_function(one):
                    yield name_of(one), str(key)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, (tuple, list)):
            for one in cast("list[Any]", value):
                name, undo = getattr(one, "name", None), getattr(one, "compensation", None)
                if hasattr(one, "action") and isinstance(name, str):
                    yield name, name
                    if callable(undo):
                        yield name_of(undo), name_of(undo)
                elif _is_function(one):
                    yield name_of(one), name_of(one)


def _is_function(one: Any) -> bool:
    """Whether something is called for an answer: types are not, and patterns tell of their own operations."""
    return callable(one) and not inspect.isclass(one) and not isinstance(one, Operation)
