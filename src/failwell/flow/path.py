"""One way through a policy: what was asked, what was answered, what happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from failwell.events import Event, Slept, Waiting

__all__ = ["Answer", "Choice", "Kind", "Odds", "Path", "odds_of", "odds_of_choice", "shared_beginning"]

Kind = Literal["operation", "decision", "situation", "jitter"]
Odds: TypeAlias = "float | Mapping[str, float]"


class Answer:
    """What an explored operation returns: it stands for any value, and knows whose it is."""

    __slots__ = ("operation",)

    def __init__(self, operation: str) -> None:
        self.operation = operation

    def __repr__(self) -> str:
        return f"answer of {self.operation}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Answer) and self.operation == other.operation

    def __hash__(self) -> int:
        return hash(self.operation)


class Choice:
    """One question of a run and the answer that this path gives to it.

    Attributes:
        kind: What was asked: how an ``operation`` ended, how a user function decided, in which
            ``situation`` a layer is, or which end of its range a jittered wait takes.
        subject: The operation, question or layer.
        option: The answer.
        options: All possible answers.
        layer: The layer that asked; empty for the protected operation itself.
    """

    __slots__ = ("kind", "layer", "option", "options", "subject")

    def __init__(self, kind: Kind, subject: str, option: str, options: tuple[str, ...], layer: str) -> None:
        self.kind: Kind = kind
        self.subject = subject
        self.option = option
        self.options = options
        self.layer = layer

    def __repr__(self) -> str:
        return f"{self.subject}: {self.option}"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.kind, self.subject, self.option, self.options, self.layer


class Path:
    """One way through a policy.

    Attributes:
        trace: Everything that happened, in order: choices and events.
        result: What was returned, or None.
        error: What was raised, or None.
        elapsed: Virtual seconds; infinite for a path that never ends.
        degraded: Whether the answer is not the real one.
    """

    __slots__ = ("_between", "degraded", "elapsed", "error", "result", "trace")

    def __init__(
        self,
        trace: tuple[Choice | Event, ...],
        result: Any,
        error: BaseException | None,
        elapsed: float,
        degraded: bool = False,
        between: tuple[float, float] | None = None,
    ) -> None:
        self.trace = trace
        self.result = result
        self.error = error
        self.elapsed = elapsed
        self.degraded = degraded
        self._between = between

    @property
    def between(self) -> tuple[float, float]:
        """The least and the most virtual seconds that these steps can take, as waits may be random."""
        return self._between or (self.elapsed, self.elapsed)

    def vary(self, least: float, most: float) -> None:
        """Say between which seconds the time of these steps lies.

        Args:
            least: The least.
            most: The most.
        """
        self._between = least, most

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The answers that make this path what it is."""
        return tuple(step for step in self.trace if isinstance(step, Choice))

    @property
    def events(self) -> tuple[Event, ...]:
        """What the layers reported, with virtual times."""
        return tuple(step for step in self.trace if isinstance(step, Event))

    @property
    def ends(self) -> bool:
        """Whether the path comes to an end."""
        return self.elapsed != float("inf")

    @property
    def calls(self) -> dict[str, int]:
        """Operation -> how often it was called."""
        counted: dict[str, int] = {}
        for step in self.trace:
            if isinstance(step, Choice) and step.kind == "operation":
                counted[step.subject] = counted.get(step.subject, 0) + 1
        return counted

    @property
    def waits(self) -> tuple[float, ...]:
        """How long was waited between calls, wait by wait, in seconds."""
        events = (step for step in self.trace if isinstance(step, (Waiting, Slept)))
        return tuple(event.delay if isinstance(event, Waiting) else event.seconds for event in events)

    @property
    def ended(self) -> str:
        """How it ended: ``"answer of load"``, ``"raise ConnectionError"``, ``"never ends"``."""
        if not self.ends:
            return "never ends"
        if self.error is not None:
            return f"raise {type(self.error).__name__}"
        return f"{'degraded ' * self.degraded}{self.result!r}"

    @property
    def reports(self) -> list[str]:
        """What the layers reported, in words without times: ``"Timeout.TimedOut(5)"``."""
        from failwell.flow.story import signature

        return [signature(event) for event in self.events]

    @property
    def so_far(self) -> str:
        """What was asked and answered, one after the other."""
        return ", ".join(map(repr, self.choices)) or "nothing"

    def probability(
        self, fail: Odds = 0.1, hang: Odds = 0.0, *, situations: Mapping[str, Mapping[str, float]] | None = None
    ) -> float:
        """How likely this path is.

        Args:
            fail: The odds that an operation fails: one number, or operation -> number.
            hang: The odds that it hangs.
            situations: Layer -> situation -> odds. Without it a layer is in its first situation.
        """
        likely: Any = 1
        for choice in self.choices:
            likely *= odds_of_choice(choice, fail, hang, situations or {})
        return likely  # type: ignore[no-any-return] # exact for odds that are a Fraction

    def __str__(self) -> str:
        from failwell.flow.story import tell

        return tell(self)

    def __repr__(self) -> str:
        return f"<Path {self}>"


def odds_of_choice(choice: Choice, fail: Odds, hang: Odds, situations: Mapping[str, Mapping[str, float]]) -> float:
    """The odds of one answer among those that its question has.

    Args:
        choice: The answer.
        fail: The odds that an operation fails: one number, or operation -> number.
        hang: The odds that it hangs.
        situations: Layer -> situation -> odds, and question -> answer -> odds.
    """
    if choice.kind == "operation":
        return _odds_of_outcome(choice, odds_of(choice.subject, fail), odds_of(choice.subject, hang))
    if choice.kind in ("situation", "decision") and choice.subject in situations:
        return situations[choice.subject].get(choice.option, 0)
    if choice.kind == "decision" and set(choice.options) != {"yes", "no"}:
        return 1 / len(choice.options)  # routes
    # A yes or no, a situation, or the end of a jittered wait: what is asked for first is the usual one.
    return int(choice.option == choice.options[0])


def _odds_of_outcome(choice: Choice, fail: float, hang: float) -> float:
    """The odds of one outcome among those that were explored."""
    failures = [option for option in choice.options if option not in ("ok", "hang")]
    of_each = fail / len(failures) if len(failures) > 1 else fail  # not divided by 1: that would make a float of it
    odds = dict.fromkeys(failures, of_each)
    if "hang" in choice.options:
        odds["hang"] = hang
    of_others = sum(p for p in odds.values() if p)  # a float 0 would make floats of fractions
    if "ok" in choice.options:
        odds["ok"] = 1 - of_others
    elif of_others:
        return odds[choice.option] / of_others
    else:  # only outcomes without odds were explored
        return 1 / len(choice.options) if len(choice.options) > 1 else 1
    return odds[choice.option]


def odds_of(operation: str, odds: Odds) -> float:
    """The odds of one operation; one that a mapping does not name has none.

    Args:
        operation: The operation's name.
        odds: One number for all, or operation -> number.
    """
    return odds.get(operation, 0) if isinstance(odds, Mapping) else odds


def shared_beginning(one: Sequence[object], other: Sequence[object]) -> int:
    """How many items two traces start with together; paths that were found one after the other share them.

    Args:
        one: A trace, or part of one.
        other: Another.
    """
    for place, (mine, yours) in enumerate(zip(one, other, strict=False)):
        if mine is not yours:
            return place
    return min(len(one), len(other))
