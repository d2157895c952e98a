"""What is known about retry budget."""

from __future__ import annotations

from failwell import Retry, RetryBudget
from failwell.backoff import Exponential
from failwell.catalog.card import Card

__all__ = ["CARD"]

CARD = Card(
    slug="retry_budget",
    name="Retry budget",
    group="Try again",
    intent="Let all retries of a process together be a fraction of its calls, so that an outage is not made worse.",
    also_known_as=("retry throttling", "retry token bucket", "retry quota"),
    use_when=(
        "many calls go to one service, and each of them is retried",
        "several layers or functions retry towards the same service",
        "a service that comes back is knocked over by those who waited for it",
    ),
    avoid_when=(
        "there are a few calls a minute: the minimum is all there is",
        "it is to replace the limit on attempts of a single call",
        "first attempts alone are too much for the service: limit or shed those",
    ),
    error_types=("ConnectionError", "TimeoutError", "TransientError", "UnavailableError"),
    effort="low",
    related=("retry", "circuit_breaker", "rate_limiter"),
    symptoms=(
        "retry storm",
        "amplification",
        "too many retries",
        "the service does not come back",
        "cascading failure",
        "overload after an outage",
        "metastable failure",
    ),
    module="failwell.patterns.retry_budget",
    sources=(
        'Finagle blog, "Retry Budgets" (https://finagle.github.io/blog/2016/02/08/retry-budgets/)',
        'Google SRE Book, "Handling Overload" (https://sre.google/sre-book/handling-overload/)',
    ),
    operation="call_api",
    make=lambda: Retry(max_attempts=3, backoff=Exponential(1.0), budget=RetryBudget()),
)
