"""What the lint says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from failwell.flow.path import Path
    from failwell.policy import Pattern

__all__ = ["Finding", "Found", "Severity"]

Severity: TypeAlias = Literal["warning", "note"]


class Finding(NamedTuple):
    """Something that is wrong with a policy.

    Attributes:
        rule: The name of the rule.
        path: A path that shows it, the shortest one.
        advice: What to change, with the order or value to change it to.
        page: Where the rule is explained, from the root of the site.
        message: What is wrong, in one sentence.
        layers: The layers that it is about, as events and drawings call them.
        severity: ``"warning"``, or ``"note"`` for a fact that may well be meant.
        remedy: The layers with the advice applied, outermost first; empty where the advice is to change something
            that is no layer.
    """

    rule: str
    path: Path
    advice: str
    page: str
    message: str
    layers: tuple[str, ...] = ()
    severity: Severity = "warning"
    remedy: tuple[Pattern, ...] = ()


class Found(NamedTuple):
    """What a rule yields: a finding that does not know yet which rule it is of.

    ``meant`` is for a fact that may well be meant, though others that the rule finds may not.
    """

    path: Path
    message: str
    advice: str
    layers: tuple[str, ...] = ()
    remedy: tuple[Pattern, ...] = ()
    meant: bool = False
