"""What is known about rate limiter."""

from __future__ import annotations

from failwell import RateLimiter
from failwell.catalog.card import Card

__all__ = ["CARD"]

CARD = Card(
    slug="rate_limiter",
    name="Rate limiter",
    group="Stop calling",
    intent="Never make more calls in a time than the other side allows.",
    also_known_as=("throttle", "quota", "token bucket", "sliding window"),
    use_when=(
        "a service has a quota and answers too many calls with an error, or with a bill",
        "your own service has to spread what its callers bring in bursts",
        "a retry or a batch could send everything at once",
    ),
    avoid_when=(
        "what hurts is how many calls are under way, not how many start: use a bulkhead",
        "several processes share the quota: each of them would get all of it",
        "calls are so few that the quota is never reached",
    ),
    error_types=("RateLimitedError",),
    effort="low",
    related=("bulkhead", "retry", "stack"),
    symptoms=("429", "too many requests", "quota exceeded", "throttled", "rate limit", "burst", "load spike"),
    module="failwell.patterns.rate_limiter",
    sources=(
        'RFC 6585, section 4, "429 Too Many Requests" (https://www.rfc-editor.org/rfc/rfc6585#section-4)',
        "Generic cell rate algorithm, the token bucket without a clock of its own "
        "(https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm)",
        'Stripe, "Scaling your API with rate limiters" (https://stripe.com/blog/rate-limiters)',
    ),
    operation="call_api",
    outcomes=("ok", "fail"),
    make=lambda: RateLimiter(10, max_wait=2),
    make_alternatives=lambda: (RateLimiter(10, burst=20),),
)
