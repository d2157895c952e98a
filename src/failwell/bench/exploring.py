"""How fast the explorer walks through stacks."""

from collections.abc import Callable
from time import perf_counter

import failwell
from failwell.bench.results import ExplorerResult
from failwell.bench.timing import Spread
from failwell.flow.explore import explore


def _backup_api() -> None:
    """An alternative that is never called: the explorer decides how it ends."""


def _cached_response() -> None:
    """Another one."""


def stacks(quick: bool = False) -> list[tuple[str, failwell.Policy, int]]:
    """What is explored: a name, the policy, and how many paths it may have."""
    found: list[tuple[str, failwell.Policy, int]] = [
        ("Retry(3)", failwell.Retry(3), 10_000),
        (
            "Cache >> Fallback >> Retry >> Timeout",
            failwell.Cache(3600)
            >> failwell.Fallback(_backup_api, _cached_response)
            >> failwell.Retry(3)
            >> failwell.Timeout(30),
            10_000,
        ),
    ]
    if not quick:
        nested = failwell.Retry(5) >> failwell.Retry(3) >> failwell.Timeout(5)
        found.append(("Retry(5) >> Retry(3) >> Timeout(5)", nested, 100_000))
    return found


def _explore(policy: failwell.Policy, limit: int) -> tuple[float, int, int]:
    started = perf_counter()
    paths = explore(policy, limit=limit).paths
    return perf_counter() - started, len(paths), sum(len(path.events) for path in paths)


def measure_explorer(
    *, seconds: float, quick: bool = False, progress: Callable[[int], None] = lambda _: None
) -> list[ExplorerResult]:
    """Explore each stack again and again for `seconds`, at least once."""
    results: list[ExplorerResult] = []
    for number, (name, policy, limit) in enumerate(stacks(quick)):
        progress(number)
        # The first time pays for what every later one finds ready. Of a stack that takes long that share is small,
        # so there the first time counts and is perhaps the only one.
        first, paths, events = _explore(policy, limit)
        took = [first] if first > seconds / 2 else []
        until = perf_counter() + seconds - sum(took)
        while not took or perf_counter() < until:
            took.append(_explore(policy, limit)[0])
        spread = Spread.of(took)
        results.append(
            ExplorerResult(
                stack=name,
                paths=paths,
                events=events,
                seconds=[round(value, 6) for value in (spread.low, spread.median, spread.high)],
                paths_per_second=round(paths / spread.median),
                events_per_second=round(events / spread.median),
            )
        )
    return results
