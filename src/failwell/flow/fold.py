"""All paths of an exploration folded into sums, in one pass over what they do not share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any, cast

from failwell.events import Attempt, Event, Waiting
from failwell.flow.path import Choice, Odds, Path, odds_of, odds_of_choice, shared_beginning

__all__ = ["Fold", "Weights", "operations"]

Situations = Mapping[str, Mapping[str, float]]


class Weights:
    """How likely each answer is; refuses odds that are none, and odds of what is not there.

    Args:
        fail: The odds that an operation fails: one number, or operation -> number.
        hang: The odds that it hangs.
        situations: Layer -> situation -> odds, and question -> answer -> odds.

    Raises:
        ValueError: If a number is no probability.
    """

    def __init__(self, fail: Odds, hang: Odds, situations: Situations) -> None:
        self.fail = fail
        self.hang = hang
        self.situations = situations
        self._known: dict[tuple[str, str, str, tuple[str, ...]], float] = {}
        self.asked: dict[str, tuple[str, ...]] = {}  # layer -> its situations
        self._operations: set[str] = set()
        self._asked: dict[str, set[tuple[str, ...]]] = {}
        for name, odds in (("fail", fail), ("hang", hang)):
            for p in odds.values() if isinstance(odds, Mapping) else (odds,):
                if not _is_probability(p):
                    raise ValueError(f"{name}={p!r} is no probability: give a number from 0 to 1")

    def of(self, choice: Choice) -> Any:
        """The odds of an answer. Each end of a random wait counts as certain: it is no matter of odds.

        Args:
            choice: The answer.

        Raises:
            ValueError: If the odds of its operation sum up to more than 1.
        """
        key = choice.kind, choice.subject, choice.option, choice.options
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._odds(choice)
        return found

    def _odds(self, choice: Choice) -> float:
        if choice.kind == "jitter":
            return 1
        if choice.kind == "operation":
            if odds_of(choice.subject, self.fail) + odds_of(choice.subject, self.hang) > 1:
                raise ValueError(f"fail and hang of {choice.subject} sum up to more than 1")
            self._operations.add(choice.subject)
        else:
            self._asked.setdefault(choice.subject, set()).add(choice.options)
            if choice.kind == "situation":
                self.asked[choice.subject] = choice.options
            if choice.subject in self.situations:
                self._check(choice.subject, choice.options)
        return odds_of_choice(choice, self.fail, self.hang, self.situations)

    def _check(self, layer: str, options: tuple[str, ...]) -> None:
        of_layer = self.situations[layer]
        if not isinstance(cast("Any", of_layer), Mapping):
            example = {layer: {options[0]: 1}}
            raise TypeError(f"situations must map {layer} to odds, e.g. {example}, got {of_layer!r}")
        for situation, p in of_layer.items():
            if situation not in options:
                raise ValueError(f"{layer} has no situation {situation!r}; it has {_listed(options)}")
            if not _is_probability(p):
                raise ValueError(f"the odds of {layer} {situation}, {p!r}, are no probability")
        if abs(sum(of_layer.values()) - 1) > 1e-9:
            raise ValueError(f"the odds of the situations of {layer} sum up to {sum(of_layer.values()):g}, not to 1")

    def all_used(self) -> None:
        """Say so if odds were given for something that no path asks.

        Raises:
            ValueError: Names it, and what there is.
        """
        for name, odds in (("fail", self.fail), ("hang", self.hang)):
            for operation in odds if isinstance(odds, Mapping) else ():
                if operation not in self._operations:
                    raise ValueError(
                        f"{name} names {operation!r}, which is never called; called are {_listed(self._operations)}"
                    )
        for layer in self.situations:
            if layer not in self._asked:
                raise ValueError(f"situations names {layer!r}; layers with situations are {_listed(self._asked)}")


def _is_probability(p: Any) -> bool:
    return not isinstance(p, bool) and isinstance(p, Real) and bool(0 <= cast("Any", p) <= 1)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


_Items = list["tuple[Any, Path] | int"]


class Fold:
    """What the paths add up to.

    Random waits are no matter of odds: of those that can decide what happens, the explorer has tried both ends. The
    paths of one end and those of the other are alternatives, so a sum over all paths has a least and a most value.

    Args:
        paths: The paths in the order in which they were found: depth first, so that each shares the start of the
            one before it.
        weights: How likely each answer is.

    Attributes:
        weighted: The paths whose random waits all take their longest, as far as they have any odds; with these.
        calls: Operation -> expected number of calls, of these paths.
        most_calls: Operation -> most calls on any path.
        acted: The layers that reported anything but a first attempt, on any path.
        waiting: The layers whose waits are random.
        situations: Layer -> the situations that it can start in.
        named: The operations that were called and the alternatives, routes and steps that were chosen, on any path.
        times_differ: Whether random waits make a path longer or shorter.
        ways_differ: Whether random waits can decide what happens.
    """

    def __init__(self, paths: Sequence[Path], weights: Weights) -> None:
        self.weighted: list[tuple[Any, Path]] = []
        self.calls: dict[str, Any] = {}
        self.most_calls: dict[str, int] = {}
        self.acted: set[str] = set()
        self.waiting: set[str] = set()
        self.named: set[str] = set()
        self.times_differ = False
        self._items: _Items = []
        self._groups: list[list[_Items]] = []
        self._order: list[int] = []  # groups, those inside of another one before that one
        open_groups: list[tuple[int, int, int]] = []  # place in the trace, place among the items, number
        # After each item of a trace: how likely it is until there, whether all waits took their longest, calls so
        # far, and where among the items what starts so begins.
        moments: list[tuple[Any, bool, dict[str, int], int]] = [(1, True, {}, 0)]
        before: tuple[Choice | Event, ...] = ()
        for path in paths:
            trace = path.trace
            place = shared_beginning(before, trace)
            before = trace
            first = trace[place] if place < len(trace) else None
            other_end = isinstance(first, Choice) and first.kind == "jitter"
            goes_on = False  # whether this is one more alternative of a group
            while open_groups and open_groups[-1][0] >= place and not goes_on:
                self._end_alternative(open_groups[-1])
                goes_on = other_end and open_groups[-1][0] == place
                if not goes_on:
                    self._order.append(open_groups.pop()[2])
            if other_end and not goes_on:
                open_groups.append((place, moments[place][3], len(self._groups)))
                self._begin(moments[place][3])
            del moments[place + 1 :]
            p, longest, counts, _ = moments[place]
            begins = len(self._items)
            for item in trace[place:]:
                if isinstance(item, Choice):
                    p = p * weights.of(item)
                    if item.kind == "operation":
                        self.named.add(item.subject)
                        counts = {**counts, item.subject: counts.get(item.subject, 0) + 1}
                    elif item.kind == "jitter":
                        longest = False
                else:
                    self._note(item)
                moments.append((p, longest, counts, begins))
            self._add(path, p, longest, counts)
        for group in reversed(open_groups):
            self._end_alternative(group)
            self._order.append(group[2])
        weights.all_used()
        self.situations = weights.asked
        self.ways_differ = bool(self._groups)

    def _add(self, path: Path, p: Any, longest: bool, counts: Mapping[str, int]) -> None:
        for name, count in counts.items():
            self.calls.setdefault(name, 0)
            if count > self.most_calls.get(name, 0):
                self.most_calls[name] = count
        if not p > 0:
            return
        self._items.append((p, path))
        low, high = path.between
        self.times_differ = self.times_differ or low != high
        if longest:
            self.weighted.append((p, path))
            for name, count in counts.items():
                self.calls[name] += p * count

    def _note(self, event: Event) -> None:
        if not (isinstance(event, Attempt) and event.number == 1):
            self.acted.add(event.layer)
        if isinstance(event, Waiting) and event.between[0] != event.between[1]:
            self.waiting.add(event.layer)
        for field in ("alternative", "route", "step"):
            name = getattr(event, field, None)
            if isinstance(name, str):
                self.named.add(name)

    def _begin(self, index: int) -> None:
        """What was found since an item is the first of several alternatives."""
        self._groups.append([self._items[index:]])
        self._items[index:] = [len(self._groups) - 1]

    def _end_alternative(self, group: tuple[int, int, int]) -> None:
        _, index, number = group
        self._groups[number].append(self._items[index + 1 :])
        del self._items[index + 1 :]

    def between(self, least: Callable[[Path], Any], most: Callable[[Path], Any]) -> tuple[Any, Any]:
        """The least and the most that something can be on average.

        Args:
            least: What it is on a path at least.
            most: What it is on a path at most.
        """
        found: dict[int, tuple[Any, Any]] = {}

        def summed(items: _Items) -> tuple[Any, Any]:
            low: Any = 0
            high: Any = 0
            for item in items:
                if isinstance(item, int):
                    low += found[item][0]
                    high += found[item][1]
                else:
                    low += item[0] * least(item[1])
                    high += item[0] * most(item[1])
            return low, high

        for group in self._order:
            ends = [summed(alternative) for alternative in self._groups[group]]
            found[group] = min(low for low, _ in ends), max(high for _, high in ends)
        return summed(self._items)

    def leaves(self) -> Iterable[tuple[Any, Path]]:
        """Every path that has any odds, whichever ends its random waits take, with these odds."""
        for items in (self._items, *(alternative for group in self._groups for alternative in group)):
            for item in items:
                if not isinstance(item, int):
                    yield item


def operations(paths: Iterable[Path]) -> set[str]:
    """The names of all operations that are called.

    Args:
        paths: The paths in the order in which they were found.
    """
    found: set[str] = set()
    before: tuple[Choice | Event, ...] = ()
    for path in paths:
        for item in path.trace[shared_beginning(before, path.trace) :]:
            if isinstance(item, Choice) and item.kind == "operation":
                found.add(item.subject)
        before = path.trace
    return found
