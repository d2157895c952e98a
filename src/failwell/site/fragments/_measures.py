"""What a policy costs and gains, beside the same operation without it. Every figure comes from its paths."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from failwell import Batch, Degrade, Feature, Policy, Saga, Step
from failwell.events import Compensated, ItemStarted, StepCompleted
from failwell.flow import Exploration, Path, explore
from failwell.flow.story import seconds
from failwell.policy import Pattern

__all__ = ["Figures", "bare", "explored", "figures", "number", "share", "time", "total_calls"]

Situations = Mapping[str, Mapping[str, float]]
NB = "\u00a0"


class Bare(Policy):
    """No recovery at all: what a pattern is compared with."""

    async def run(self, call: Any, rt: Any) -> Any:
        """Call the operation, once."""
        return await call()


class Figures(NamedTuple):
    """What follows from all paths for given odds.

    Attributes:
        answered: The share of calls that return, degraded answers included.
        degraded: The share of calls that return a degraded answer.
        half_done: The share of calls that end with a step done and not undone, although the whole has failed.
        mean: Expected seconds of a call.
        worst: Seconds of the longest path, whatever its odds.
        calls: Operation -> expected number of calls.
        most: Most calls, to everything together, on one path.
    """

    answered: float
    degraded: float
    half_done: float
    mean: float
    worst: float
    calls: Mapping[str, float]
    most: int


EVERYTHING = ("ok", "fail", "hang")


@functools.cache
def explored(
    policy: Pattern, operation: str = "operation", outcomes: tuple[str | type[Exception], ...] = EVERYTHING
) -> Exploration:
    """All paths of a policy; it is explored once, however many fragments ask.

    Args:
        policy: A policy, a stack or a saga.
        operation: What it protects.
        outcomes: How operations can end.
    """
    return explore(policy, operation, outcomes=outcomes)


@functools.cache
def bare(policy: Pattern, operation: str = "operation") -> Exploration:
    """The same work without recovery: the operation alone, the steps of a saga without their compensations.

    Of features, the one answer that needs all of them.

    Args:
        policy: A policy, a stack or a saga.
        operation: What it protects.
    """
    if isinstance(policy, Saga):
        return explore(Saga([Step(step.action, None, name=step.name) for step in policy.steps]))
    if isinstance(policy, Degrade):
        return explore(Degrade([Feature(one.name, one.priority, one.fn, required=True) for one in policy.features]))
    if isinstance(policy, Batch):  # a loop over its items, which ends with the first that fails
        events = (event for path in explored(policy).paths for event in path.events)
        taken = sorted({event.index for event in events if isinstance(event, ItemStarted)})
        return explore(Saga([Step(policy.process, name=f"item {index + 1}") for index in taken]))
    return explore(Bare(), operation)


def figures(
    exploration: Exploration, fail: float = 0.1, hang: float = 0.0, situations: Situations | None = None
) -> Figures:
    """The figures of an exploration.

    Args:
        exploration: What was explored.
        fail: The odds that an operation fails.
        hang: The odds that it hangs.
        situations: Layer -> situation -> odds.
    """
    report = exploration.report(fail, hang, situations=situations)
    possible = [path for path in exploration.paths if _possible(path, situations)]
    half_done = sum(path.probability(fail, hang, situations=situations) for path in possible if _half_done(path))
    return Figures(
        answered=report.success,
        degraded=report.degraded,
        half_done=half_done,
        mean=report.mean_latency,
        worst=max(path.elapsed for path in possible),
        calls=report.calls,
        most=max(total_calls(path) for path in possible),
    )


def _possible(path: Path, situations: Situations | None) -> bool:
    """Whether a path starts in a situation that is asked for; failures and hangs always may happen."""
    given = situations or {}
    return all(
        given[choice.subject].get(choice.option, 0) > 0
        if choice.subject in given
        else choice.option == choice.options[0]
        for choice in path.choices
        if choice.kind == "situation"
    )


def _half_done(path: Path) -> bool:
    done = [event.step for event in path.events if isinstance(event, StepCompleted)]
    undone = {event.step for event in path.events if isinstance(event, Compensated)}
    failed = path.error is not None or not path.ends
    return failed and any(step not in undone for step in done)


def total_calls(path: Path) -> int:
    """How many calls one path makes, to everything together.

    Args:
        path: A path of an exploration.
    """
    return sum(path.calls.values())


# --- as people write them ------------------------------------------------------------------------


def share(p: float) -> str:
    """A probability in percent, with as many digits as tell it from 0 and from 1.

    Args:
        p: From 0 to 1.
    """
    rest = min(p, 1 - p)
    if rest < 1e-12:
        return f"{round(100 * p)}{NB}%"
    digits = max(1, 1 - math.floor(math.log10(100 * rest)))
    text = f"{100 * p:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}{NB}%"


def time(value: float) -> str:
    """Seconds, with a space that does not break.

    Args:
        value: Seconds; may be infinite.
    """
    return seconds(float(f"{value:.3g}") if math.isfinite(value) else value).replace(" ", NB)


def number(value: float) -> str:
    """A count that need not be whole.

    Args:
        value: The count.
    """
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def calls(counted: Mapping[str, float]) -> str:
    """Expected calls, the operation's own first.

    Args:
        counted: Operation -> expected number of calls.
    """
    told = [f"{number(count)} to {name}" for name, count in counted.items() if count]
    return ", ".join(told) if len(counted) > 1 and told else number(next(iter(counted.values()), 0.0))


def all_situations(exploration: Exploration) -> list[tuple[str, Situations]]:
    """Each combination of situations other than the first ones, with a word for it.

    Args:
        exploration: What was explored.
    """
    found: dict[str, tuple[str, ...]] = {}
    for path in exploration.paths:
        for choice in path.choices:
            if choice.kind == "situation":
                found.setdefault(choice.subject, choice.options)
    combined = itertools.product(*([(layer, option) for option in options] for layer, options in found.items()))
    return [
        (", ".join(f"{layer} {option}" for layer, option in one), {layer: {option: 1.0} for layer, option in one})
        for one in combined
        if one and any(option != found[layer][0] for layer, option in one)
    ]
