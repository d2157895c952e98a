"""A card per pattern, one file each: what people look for when something fails. Words; numbers are computed."""

from __future__ import annotations

from collections.abc import Mapping

from failwell.catalog.card import GROUPS, Card
from failwell.catalog.cards import (
    adaptive_limit,
    batch,
    bulkhead,
    cache,
    circuit_breaker,
    credential_refresh,
    deadline,
    degrade,
    error_classification,
    error_context,
    fallback,
    health_check,
    hedge,
    load_shedder,
    rate_limiter,
    recovery,
    retry,
    retry_budget,
    router,
    safe_call,
    saga,
    stack,
    timeout,
    validate,
    workflow,
)

__all__ = ["CARDS"]

_ALL = (
    retry,
    retry_budget,
    credential_refresh,
    batch,
    timeout,
    deadline,
    hedge,
    circuit_breaker,
    recovery,
    rate_limiter,
    bulkhead,
    adaptive_limit,
    load_shedder,
    fallback,
    cache,
    router,
    validate,
    degrade,
    safe_call,
    saga,
    stack,
    workflow,
    health_check,
    error_classification,
    error_context,
)
"""In the order in which a reader meets them inside a group."""

CARDS: Mapping[str, Card] = {
    one.CARD.slug: one.CARD for one in sorted(_ALL, key=lambda module: list(GROUPS).index(module.CARD.group))
}
"""Every card by its slug, group by group."""
