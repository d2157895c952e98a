"""What is known about cache."""

from __future__ import annotations

from failwell import Cache
from failwell.catalog.card import Card

__all__ = ["CARD"]

CARD = Card(
    slug="cache",
    name="Cache",
    group="Answer anyway",
    intent="Answer from memory while an answer is fresh, and with an older one rather than with none.",
    also_known_as=("memoization with a time to live", "stale if error", "single flight"),
    use_when=(
        "the same question is asked often",
        "an answer may be some time old",
        "many callers ask at once and one load is enough",
    ),
    avoid_when=(
        "the answer must be current, such as a balance before a payment",
        "the key leaves out something that the answer depends on, such as who asks",
        "it stands outside a fallback and stores degraded answers",
    ),
    error_types=("Exception",),
    effort="low",
    related=("fallback", "stack"),
    symptoms=("stampede", "thundering herd", "same query", "rate limit", "expensive", "stale", "slow reads"),
    module="failwell.patterns.cache",
    sources=(
        "RFC 5861, HTTP Cache-Control Extensions for Stale Content (https://www.rfc-editor.org/rfc/rfc5861)",
        "Go, package singleflight (https://pkg.go.dev/golang.org/x/sync/singleflight)",
    ),
    operation="load",
    outcomes=("ok", "fail"),
    make=lambda: Cache(3600),
    make_alternatives=lambda: (Cache(60, stale_if_error=3600),),
)
