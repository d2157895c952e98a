"""What is known about recovery."""

from __future__ import annotations

from failwell import AdaptiveRecovery, CircuitBreaker, ExponentialRecovery, PartialRecovery
from failwell.catalog.card import NYGARD, Card

__all__ = ["CARD"]


def _area(path: str) -> str:
    """What part of a shop a request is for."""
    return path.split("/")[1]


CARD = Card(
    slug="recovery",
    name="Recovery",
    group="Stop calling",
    intent="Let a service that was down come back step by step, instead of all at once and again and again.",
    also_known_as=("slow start", "ramp-up", "exponential break", "gradual recovery"),
    use_when=(
        "an outage may be long, and each probe costs somebody a timeout",
        "a service that comes up is knocked over by all its callers at once",
        "some features matter more than others, and are to be back first",
        "a service comes back with a part of its strength",
    ),
    avoid_when=(
        "a restart takes seconds and the service can take all calls at once: a circuit breaker alone will do",
        "calls are so few that a share of them is no call at all",
        "the other side tells its callers how much it can take: do as it says",
    ),
    error_types=("CircuitOpenError", "Exception"),
    effort="medium",
    related=("circuit_breaker", "rate_limiter", "bulkhead", "fallback", "timeout"),
    symptoms=(
        "flapping",
        "breaker opens and closes again and again",
        "down again right after it came up",
        "everybody comes back at once",
        "cold cache",
        "slow to recover",
        "overloaded",
    ),
    module="failwell.patterns.recovery",
    sources=(
        NYGARD,
        'Google, "Site Reliability Engineering", ch. 22, Addressing Cascading Failures '
        "(https://sre.google/sre-book/addressing-cascading-failures/)",
        "Van Jacobson, Michael Karels, Congestion Avoidance and Control (https://ee.lbl.gov/papers/congavoid.pdf)",
        "Polly, circuit breaker: a generator for the duration of breaks "
        "(https://www.pollydocs.org/strategies/circuit-breaker.html)",
    ),
    operation="call_service",
    make=lambda: CircuitBreaker(recovery_timeout=30, recovery=ExponentialRecovery(max=600, max_probes=8)),
    make_alternatives=lambda: (
        CircuitBreaker(recovery_timeout=30, recovery=PartialRecovery(["checkout", "search", "ads"], _area)),
        CircuitBreaker(recovery_timeout=30, recovery=AdaptiveRecovery(breaks=ExponentialRecovery(jitter=0.1))),
    ),
)
