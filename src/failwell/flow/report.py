"""Numbers that follow from the paths: success, latency and load, exact for given odds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration, Odds, Path

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
                self.calls.setdefault(name, 0.0)
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
        reached = 0.0
        latency = 0.0
        for p, path in sorted(self._weighted, key=lambda item: item[1].elapsed):
            latency = path.elapsed
            reached += p
            if reached >= q - 1e-12:
                break
        return latency

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
    _check(fail, hang, situations)
    weighted: list[tuple[float, Path]] = []
    for path in exploration.paths:
        p = path.probability(fail, hang, situations=situations)
        if p > 0:
            weighted.append((p, path))
    return Report(weighted, exploration.paths)


def _check(fail: Odds, hang: Odds, situations: Mapping[str, Mapping[str, float]] | None) -> None:
    of = dict[str, dict[str, float]]()
    for name, odds in (("fail", fail), ("hang", hang)):
        given = {"": odds} if isinstance(odds, (int, float)) else dict(odds)
        for operation, p in given.items():
            if not 0 <= p <= 1:
                raise ValueError(f"{name}={p!r} is no probability: give a number from 0 to 1")
            of.setdefault(operation, {})[name] = p
    for operation, p_by_name in of.items():
        total = sum(p_by_name.values()) + (sum(of.get("", {}).values()) if operation and len(p_by_name) == 1 else 0)
        if sum(p_by_name.values()) > 1 or (operation and len(p_by_name) == 1 and total > 1):
            raise ValueError(f"fail and hang of {operation or 'an operation'} sum up to more than 1")
    for layer, odds in (situations or {}).items():
        if abs(sum(odds.values()) - 1) > 1e-9:
            raise ValueError(f"the odds of the situations of {layer} sum up to {sum(odds.values()):g}, not to 1")
