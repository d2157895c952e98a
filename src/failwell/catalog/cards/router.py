"""What is known about router."""

from __future__ import annotations

from failwell import Router
from failwell.catalog.card import Card

__all__ = ["CARD"]

# What the example is about; never executed.


def gpt4_mini(prompt: str) -> str:
    """A small language model: quick and cheap."""
    raise NotImplementedError


def gpt4(prompt: str) -> str:
    """A large one: slow and good."""
    raise NotImplementedError


def by_length(prompt: str) -> str:
    """The route of a prompt."""
    raise NotImplementedError


CARD = Card(
    slug="router",
    name="Router",
    group="Answer anyway",
    intent="Of several operations that do the same job, call the one that fits this call.",
    also_known_as=("content-based router", "dispatcher", "model routing"),
    use_when=(
        "calls differ in what they need: speed, quality, a region, a tenant",
        "each kind of call wants limits of its own",
        "the choice should be seen and counted, not buried in an `if`",
    ),
    avoid_when=(
        "the aim is to get away from what has just failed: that is a fallback",
        "one operation would do for all calls",
        "the choice needs a call of its own that can fail: it is then one more thing to protect",
    ),
    error_types=("UnknownRouteError", "LookupError"),
    effort="low",
    related=("fallback", "validate", "stack"),
    symptoms=("wrong model", "too expensive", "tenant", "region", "unknown route", "choose provider"),
    module="failwell.patterns.router",
    sources=(
        "Gregor Hohpe, Bobby Woolf, Content-Based Router "
        "(https://www.enterpriseintegrationpatterns.com/patterns/messaging/ContentBasedRouter.html)",
        "Microsoft, Gateway Routing pattern (https://learn.microsoft.com/azure/architecture/patterns/gateway-routing)",
    ),
    operation="router",
    outcomes=("ok", "fail"),
    make=lambda: Router({"fast": gpt4_mini, "quality": gpt4}, by_length),
)
