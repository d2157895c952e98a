"""What is known about degrade."""

from __future__ import annotations

from failwell import Degrade, Fallback, Feature, Timeout
from failwell.catalog.card import NYGARD, Card

__all__ = ["CARD"]

# What the example is about; never executed.


def load_product(number: int) -> str:
    """The product itself."""
    raise NotImplementedError


def load_reviews(number: int) -> list[str]:
    """What others say about it."""
    raise NotImplementedError


def recommend(number: int) -> list[str]:
    """What else one might like."""
    raise NotImplementedError


CARD = Card(
    slug="degrade",
    name="Degrade",
    group="Answer anyway",
    intent="Answer with the parts that work, and say which are missing.",
    also_known_as=("graceful degradation", "partial response", "feature toggle", "kill switch", "read-only mode"),
    use_when=(
        "an answer has several parts, and some of them can be done without",
        "an old part, or none, is better than no answer at all",
        "somebody wants to switch features off when it gets tight",
        "reading should go on while nothing can be written",
    ),
    avoid_when=(
        "half an answer is taken for a whole one, as a balance without its last bookings",
        "every part is needed: then one failure is a failure",
        "there is one part only: that is a fallback, or a cache",
    ),
    error_types=("Exception", "FeatureDisabledError", "ReadOnlyError"),
    effort="medium",
    related=("fallback", "cache", "timeout", "circuit_breaker", "health_check"),
    symptoms=(
        "one widget takes the page down",
        "optional feature fails the request",
        "database read-only",
        "switch feature off",
        "partial outage",
    ),
    module="failwell.patterns.degrade",
    sources=(
        "Google SRE Book, ch. 22, Load Shedding and Graceful Degradation "
        "(https://sre.google/sre-book/addressing-cascading-failures/)",
        NYGARD,
    ),
    operation="degrade",
    outcomes=("ok", "fail"),
    make=lambda: Degrade(
        [
            Feature("product", 10, load_product, required=True),
            Feature("reviews", 5, load_reviews, last_good=3600),
            Feature("recommendations", 1, recommend),
        ]
    ),
    make_alternatives=lambda: (
        Degrade(
            [
                Feature("product", 10, Timeout(2)(load_product), required=True),
                Feature("reviews", 5, Timeout(0.5)(load_reviews), fallback=Fallback.value([])),
                Feature("recommendations", 1, Timeout(0.3)(recommend)),
            ]
        ),
    ),
)
