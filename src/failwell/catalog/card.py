"""What is known about one pattern, and the groups that patterns come in."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from failwell.policy import Pattern

__all__ = ["GROUPS", "NYGARD", "Card"]

GROUPS: Mapping[str, str] = {
    "Try again": "the failure may be gone in a moment",
    "Stop waiting": "no answer comes",
    "Stop calling": "the other side is down or full",
    "Answer anyway": "a poorer answer is better than none",
    "Undo": "some of it is done already",
    "Resume": "the process itself may die",
    "Combine": "several kinds of failure at once",
}
"""What the patterns do, and the failure that each group is for, in the order in which a reader meets them."""

NYGARD = 'Michael Nygard, "Release It!", 2nd ed., ch. 5 (https://pragprog.com/titles/mnee2/release-it-second-edition/)'
"""The book that half of the patterns come from."""


class Card(NamedTuple):
    """What is known about one pattern.

    Attributes:
        slug: Its name in addresses and commands.
        name: Its name in sentences.
        group: One of `GROUPS`.
        intent: What it is for, in one line.
        also_known_as: Other names of it.
        use_when: Situations that it is for.
        avoid_when: Situations in which it does harm or nothing.
        error_types: The errors that it handles or raises.
        effort: How much work it is to put in.
        related: Slugs of patterns that go with it, or do the same otherwise.
        symptoms: Words of the problem, as people say and search them.
        module: Where the implementation is.
        sources: Where it comes from, with addresses.
        operation: What the example protects.
        outcomes: How its operations end in the drawing of the catalog.
        make: Makes the exemplary policy.
        make_alternatives: Makes other settings, to compare with.
    """

    slug: str
    name: str
    group: str
    intent: str
    also_known_as: tuple[str, ...]
    use_when: tuple[str, ...]
    avoid_when: tuple[str, ...]
    error_types: tuple[str, ...]
    effort: str
    related: tuple[str, ...]
    symptoms: tuple[str, ...]
    module: str
    sources: tuple[str, ...]
    operation: str
    make: Callable[[], Pattern]
    outcomes: tuple[str | type[Exception], ...] = ("ok", "fail", "hang")
    make_alternatives: Callable[[], tuple[Pattern, ...]] = tuple

    @property
    def example(self) -> Pattern:
        """The exemplary policy, which is drawn; always the same object."""
        example: Pattern = _made(self.make)
        return example

    @property
    def alternatives(self) -> tuple[Pattern, ...]:
        """The same pattern set otherwise."""
        alternatives: tuple[Pattern, ...] = _made(self.make_alternatives)
        return alternatives


@functools.cache
def _made(make: Callable[[], Any]) -> Any:
    return make()
