"""What is known about timeout."""

from __future__ import annotations

from failwell import Timeout
from failwell.catalog.card import NYGARD, Card

__all__ = ["CARD"]

CARD = Card(
    slug="timeout",
    name="Timeout",
    group="Stop waiting",
    intent="Give up on an answer that does not come, so that the caller can go on.",
    also_known_as=("time limit", "deadline of one call"),
    use_when=(
        "an operation can hang: anything that goes over a network",
        "the caller has something better to do than to wait",
        "slots, threads or connections are held while waiting",
    ),
    avoid_when=(
        "the work must not be cut in the middle: make it idempotent or a saga first",
        "slow answers are normal and still wanted",
    ),
    error_types=("TimeoutExceeded", "TimeoutError"),
    effort="low",
    related=("deadline", "hedge", "retry", "fallback", "stack"),
    symptoms=("hangs", "hanging", "slow", "stuck", "no answer", "waits forever", "blocked threads"),
    module="failwell.patterns.timeout",
    sources=(
        NYGARD,
        'Amazon Builders\' Library, "Timeouts, retries, and backoff with jitter" '
        "(https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/)",
    ),
    operation="slow_operation",
    make=lambda: Timeout(30),
    make_alternatives=lambda: (Timeout(2),),
)
