"""What is known about stack."""

from __future__ import annotations

from failwell import Cache, Fallback, Retry, Timeout
from failwell.catalog.card import NYGARD, Card

__all__ = ["CARD"]

# What the example is about; never executed.


def backup_api() -> str:
    """The same service in another region."""
    raise NotImplementedError


def cached_response() -> str:
    """The last good answer."""
    raise NotImplementedError


CARD = Card(
    slug="stack",
    name="Stack",
    group="Combine",
    intent="Put several patterns around one call; their order decides what happens.",
    also_known_as=("combined recovery stack", "policy composition", "resilience pipeline"),
    use_when=(
        "an operation can fail, hang and be down for long",
        "no pattern alone covers all of that",
    ),
    avoid_when=(
        "one pattern covers what really happens",
        "nobody has looked at what the order means: draw it first",
    ),
    error_types=("Exception",),
    effort="medium",
    related=("cache", "fallback", "retry", "timeout"),
    symptoms=("several failures", "order", "combine", "production", "resilient service", "llm service"),
    module="failwell.policy",
    sources=(
        NYGARD,
        'Polly, "Resilience pipelines" (https://www.pollydocs.org/pipelines/)',
    ),
    operation="api_call",
    make=lambda: Cache(3600) >> Fallback(backup_api, cached_response) >> Retry(3) >> Timeout(30),
)
