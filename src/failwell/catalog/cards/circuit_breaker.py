"""What is known about circuit breaker."""

from __future__ import annotations

from failwell import CircuitBreaker, CountWindow
from failwell.catalog.card import NYGARD, Card

__all__ = ["CARD"]

CARD = Card(
    slug="circuit_breaker",
    name="Circuit breaker",
    group="Stop calling",
    intent="Stop calling a service that is down, and find out by single calls whether it is back.",
    also_known_as=("breaker", "fuse", "fail fast"),
    use_when=(
        "a service that is down costs every caller the whole timeout",
        "callers that go on calling keep a service from coming back",
        "something better than waiting can be done at once, such as a fallback",
    ),
    avoid_when=(
        "calls are so few that no failure says anything about the next call",
        "errors come from the requests and not from the service: name the others in on=",
        "the other side sheds load by itself and says when to come back",
    ),
    error_types=("CircuitOpenError", "Exception"),
    effort="medium",
    related=("timeout", "fallback", "retry", "stack"),
    symptoms=(
        "down",
        "outage",
        "unavailable",
        "overloaded",
        "cascading failure",
        "fail fast",
        "breaker never closes",
        "every call times out",
    ),
    module="failwell.patterns.circuit_breaker",
    sources=(
        NYGARD,
        'Martin Fowler, "CircuitBreaker" (https://martinfowler.com/bliki/CircuitBreaker.html)',
        "Resilience4j, CircuitBreaker: windows, rates and slow calls "
        "(https://resilience4j.readme.io/docs/circuitbreaker)",
    ),
    operation="call_service",
    make=CircuitBreaker,
    make_alternatives=lambda: (
        CircuitBreaker.high_traffic(),
        CircuitBreaker.critical(),
        CircuitBreaker(window=CountWindow(50), failure_rate=0.5, recovery_timeout=10),
    ),
)
