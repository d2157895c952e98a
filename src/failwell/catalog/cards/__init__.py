"""A card per pattern, one file each: what people look for when something fails. Words; numbers are computed."""

from __future__ import annotations

from collections.abc import Mapping

from failwell.catalog.card import GROUPS, Card
from failwell.catalog.cards import (
    bulkhead,
    cache,
    circuit_breaker,
    fallback,
    rate_limiter,
    retry,
    router,
    saga,
    stack,
    timeout,
    validate,
)

__all__ = ["CARDS"]

_ALL = (retry, timeout, circuit_breaker, rate_limiter, bulkhead, fallback, cache, router, validate, saga, stack)
"""In the order in which a reader meets them inside a group."""

CARDS: Mapping[str, Card] = {
    one.CARD.slug: one.CARD for one in sorted(_ALL, key=lambda module: list(GROUPS).index(module.CARD.group))
}
"""Every card by its slug, group by group."""
