"""What is known about retry."""

from __future__ import annotations

from failwell import Retry
from failwell.backoff import Exponential
from failwell.catalog.card import Card

__all__ = ["CARD"]

CARD = Card(
    slug="retry",
    name="Retry",
    group="Try again",
    intent="Call again after a pause, because many failures are gone in a moment.",
    also_known_as=("retry with backoff", "retry with exponential backoff"),
    use_when=(
        "failures are short: a lost connection, a restart, a full queue",
        "doing the operation twice does no harm",
        "the caller can wait a few seconds",
    ),
    avoid_when=(
        "the error stays, such as a wrong password or a missing row",
        "the operation must not happen twice and has no idempotency key",
        "the service is overloaded and more calls are the problem",
        "a layer further in retries already: attempts multiply",
    ),
    error_types=("ConnectionError", "TimeoutError", "TransientError", "UnavailableError"),
    effort="low",
    related=("timeout", "fallback", "retry_budget", "stack"),
    symptoms=(
        "flaky",
        "transient",
        "connection reset",
        "503",
        "429",
        "network blip",
        "deadlock",
        "too many retries",
    ),
    module="failwell.patterns.retry",
    sources=(
        'Marc Brooker, "Exponential Backoff And Jitter" '
        "(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)",
        'Google SRE Book, "Addressing Cascading Failures" (https://sre.google/sre-book/addressing-cascading-failures/)',
    ),
    operation="call_api",
    make=lambda: Retry(max_attempts=3, backoff=Exponential(1.0)),
    make_alternatives=lambda: (Retry(max_attempts=5, backoff=Exponential(0.1)),),
)
