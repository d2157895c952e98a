"""What is known about bulkhead."""

from __future__ import annotations

from failwell import Bulkhead
from failwell.catalog.card import NYGARD, Card

__all__ = ["CARD"]

CARD = Card(
    slug="bulkhead",
    name="Bulkhead",
    group="Stop calling",
    intent="Give each kind of work a share of its own, so that one that is stuck does not take everything with it.",
    also_known_as=("isolation", "concurrency limit", "semaphore", "pool of threads"),
    use_when=(
        "one slow dependency could take all threads, connections or memory",
        "several kinds of work share a process and must not starve each other",
        "the other side can do only so much at the same time",
    ),
    avoid_when=(
        "the limit is a number of calls in a time: use a rate limiter",
        "calls are quick and few",
        "work inside of it enters it again: it would wait for itself",
    ),
    error_types=("BulkheadFullError", "BulkheadTimeoutError"),
    effort="low",
    related=("rate_limiter", "timeout", "fallback", "stack"),
    symptoms=(
        "rejected by the bulkhead",
        "thread pool exhausted",
        "connection pool exhausted",
        "too many concurrent",
        "one endpoint slows all",
        "noisy neighbour",
        "blocked threads",
        "cascading failure",
    ),
    module="failwell.patterns.bulkhead",
    sources=(
        NYGARD,
        "Azure Architecture Center, Bulkhead pattern "
        "(https://learn.microsoft.com/en-us/azure/architecture/patterns/bulkhead)",
        "Little's law, how many are under way at a given rate (https://en.wikipedia.org/wiki/Little%27s_law)",
    ),
    operation="query",
    outcomes=("ok", "fail"),
    make=lambda: Bulkhead(10, max_queue=20, queue_timeout=2),
    make_alternatives=lambda: (Bulkhead(10),),
)
