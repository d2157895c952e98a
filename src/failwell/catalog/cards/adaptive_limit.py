"""What is known about adaptive limit."""

from __future__ import annotations

from failwell import AdaptiveLimit
from failwell.catalog.card import Card

__all__ = ["CARD"]

CARD = Card(
    slug="adaptive_limit",
    name="Adaptive limit",
    group="Stop calling",
    intent="Find out how many calls the other side bears at once, and keep to that while it changes.",
    also_known_as=("adaptive concurrency", "AIMD", "congestion control", "concurrency limits", "automatic bulkhead"),
    use_when=(
        "nobody knows how many calls the other side bears at once",
        "it bears more or fewer from hour to hour, as neighbours and deployments come and go",
        "calls become slow before they fail when there are too many of them",
    ),
    avoid_when=(
        "the other side tells its limit: use a rate limiter or a bulkhead",
        "how long a call takes says nothing about the load, as with long polling",
        "there are only a few calls a minute: it would learn from noise",
    ),
    error_types=("ConcurrencyLimitedError",),
    effort="low",
    related=("bulkhead", "load_shedder", "rate_limiter", "timeout", "circuit_breaker"),
    symptoms=(
        "latency grows with load",
        "what is the right pool size",
        "server overloaded",
        "queue builds up",
        "collapse under load",
        "capacity changes",
        "too many in flight",
    ),
    module="failwell.patterns.adaptive_limit",
    sources=(
        "Netflix Technology Blog, Performance Under Load "
        "(https://netflixtechblog.medium.com/performance-under-load-3e6fa9a60581)",
        'Van Jacobson, "Congestion Avoidance and Control", SIGCOMM 1988 (https://dl.acm.org/doi/10.1145/52324.52356)',
        'Lawrence Brakmo and Larry Peterson, "TCP Vegas: End to End Congestion Avoidance on a Global Internet", '
        "IEEE JSAC 13(8), 1995 (https://doi.org/10.1109/49.464716)",
        "Envoy, Adaptive Concurrency "
        "(https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/adaptive_concurrency_filter)",
    ),
    operation="query",
    outcomes=("ok", "fail"),
    make=lambda: AdaptiveLimit(10, min=2, max=100),
    make_alternatives=lambda: (AdaptiveLimit(10, target=0.5),),
)
