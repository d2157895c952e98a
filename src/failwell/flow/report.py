"""Numbers that follow from the paths: success, latency and load, exact for given odds."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

from failwell.flow.path import odds_of

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration
    from failwell.flow.path import Odds, Path

__all__ = ["Report", "make_report"]


class Report:
    """What follows from all paths of a policy for given odds.

    Attributes:
        success: The probability that the call returns, degraded answers included.
        degraded: The probability that it returns a degraded answer.
        mean_latency: The expected virtual seconds of a call, successes and failures together.
        worst_latency: The longest path, whatever its odds; infinite if a hang is never ended.
        worst_path: That path.
        calls: Operation -> expected number of calls.
        most_calls: Operation -> most calls on any path.
        raised: Names of the error types that a caller can see.
    """

    def __init__(self, weighted: list[tuple[float, Path]], paths: list[Path]) -> None:
        self._weighted = weighted
        self.success = sum(p for p, path in weighted if path.ends and path.error is None)
        self.degraded = sum(p for p, path in weighted if path.degraded)
        self.mean_latency = sum(p * path.elapsed for p, path in weighted)
        self.worst_path = max(paths, key=lambda path: path.elapsed)
        self.worst_latency = self.worst_path.elapsed
        self.calls: dict[str, float] = {}
        self.most_calls: dict[str, int] = {}
        for path in paths:
            for name, count in path.calls.items():
                self.calls.setdefault(name, 0)
                self.most_calls[name] = max(self.most_calls.get(name, 0), count)
        for p, path in weighted:
            for name, count in path.calls.items():
                self.calls[name] += p * count
        self.raised = tuple(sorted({type(path.error).__name__ for path in paths if path.error is not None}))

    def percentile(self, q: float) -> float:
        """The latency, in seconds, that a share ``q`` of all calls does not exceed.

        Args:
            q: A share from 0 to 1, e.g. 0.99.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"q must be a share from 0 to 1, e.g. 0.99, got {q!r}")
        by_latency = sorted(self._weighted, key=lambda item: item[1].elapsed)
        reached = list(itertools.accumulate(p for p, _ in by_latency))
        place = bisect.bisect_left(reached, q - 1e-12)  # sums of floats may miss 1 by a little
        return by_latency[min(place, len(by_latency) - 1)][1].elapsed

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain data."""
        return {
            "success": self.success,
            "degraded": self.degraded,
            "mean_latency": self.mean_latency,
            "worst_latency": self.worst_latency,
            "p50": self.percentile(0.5),
            "p99": self.percentile(0.99),
            "calls": dict(self.calls),
            "most_calls": dict(self.most_calls),
            "raised": list(self.raised),
            "worst_path": str(self.worst_path),
        }

    def __repr__(self) -> str:
        return f"<Report success={self.success:.6g} mean={self.mean_latency:.4g} s worst={self.worst_latency:g} s>"


def make_report(
    exploration: Exploration, fail: Odds, hang: Odds, situations: Mapping[str, Mapping[str, float]] | None
) -> Report:
    """The report of an exploration; see `Exploration.report`."""
    _check(exploration, fail, hang, situations or {})
    weighted: list[tuple[float, Path]] = []
    for path in exploration.paths:
        p = path.probability(fail, hang, situations=situations)
        if p > 0:
            weighted.append((p, path))
    return Report(weighted, exploration.paths)


def _check(exploration: Exploration, fail: Odds, hang: Odds, situations: Mapping[str, Mapping[str, float]]) -> None:
    """Refuse odds that are none, and odds of things that are not there."""
    # Paths share their choices, so few are different objects.
    choices = {id(choice): choice for path in exploration.paths for choice in path.choices}.values()
    operations = {choice.subject for choice in choices if choice.kind == "operation"}
    for name, odds in (("fail", fail), ("hang", hang)):
        given = odds if isinstance(odds, Mapping) else {"": odds}
        for operation, p in given.items():
            if isinstance(p, bool) or not isinstance(p, Real) or not 0 <= p <= 1:
                raise ValueError(f"{name}={p!r} is no probability: give a number from 0 to 1")
            if operation and operation not in operations:
                raise ValueError(f"{name} names {operation!r}, which is never called; called are {_listed(operations)}")
    for operation in sorted(operations):
        if odds_of(operation, fail) + odds_of(operation, hang) > 1:
            raise ValueError(f"fail and hang of {operation} sum up to more than 1")
    found = {choice.subject: choice.options for choice in choices if choice.kind == "situation"}
    for layer, of_layer in situations.items():
        if layer not in found:
            raise ValueError(f"situations names {layer!r}; layers with situations are {_listed(found)}")
        for situation, p in of_layer.items():
            if situation not in found[layer]:
                raise ValueError(f"{layer} has no situation {situation!r}; it has {_listed(found[layer])}")
            if not 0 <= p <= 1:
                raise ValueError(f"the odds of {layer} {situation}, {p!r}, are no probability")
        if abs(sum(of_layer.values()) - 1) > 1e-9:
            raise ValueError(f"the odds of the situations of {layer} sum up to {sum(of_layer.values()):g}, not to 1")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
