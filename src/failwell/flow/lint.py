"""What is wrong with a policy, as far as its paths show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration
    from failwell.flow.path import Path

__all__ = ["Finding", "lint"]


class Finding(NamedTuple):
    """Something that is wrong with a policy.

    Attributes:
        rule: The name of the rule.
        path: A path that shows it.
        advice: What to change, with the order or value to change it to.
        page: Where the rule is explained, from the root of the site.
        message: What is wrong, in one sentence.
        layers: The layers that it is about.
    """

    rule: str
    path: Path
    advice: str
    page: str
    message: str
    layers: tuple[str, ...] = ()


def lint(exploration: Exploration) -> list[Finding]:
    """All findings of an exploration.

    Args:
        exploration: What was explored.
    """
    raise NotImplementedError
