"""What is known about health check."""

from __future__ import annotations

from failwell import HealthCheck, Timeout
from failwell.catalog.card import Card

__all__ = ["CARD"]

# What the example is about; never executed.


@Timeout(2)
def ping_database() -> None:
    """Ask the database for nothing."""
    raise NotImplementedError


CARD = Card(
    slug="health_check",
    name="Health check",
    group="Combine",
    intent="Know how what you depend on is, from one probe for all who ask.",
    also_known_as=("readiness probe", "liveness probe", "heartbeat", "health endpoint"),
    use_when=(
        "a load balancer must know whether this process can serve",
        "features are to be switched off before calls fail",
        "somebody wants to see at a glance what is broken",
    ),
    avoid_when=(
        "it would restart a process because something else is down",
        "it would stand before each call: the call itself is the check, a breaker remembers it",
        "nobody acts on the answer",
    ),
    error_types=("Exception",),
    effort="low",
    related=("timeout", "circuit_breaker", "degrade"),
    symptoms=(
        "healthz",
        "readiness",
        "liveness",
        "flapping",
        "restart loop",
        "health endpoint overloads the database",
        "503 from the load balancer",
    ),
    module="failwell.patterns.health_check",
    sources=(
        "Kubernetes, Liveness, Readiness, and Startup Probes "
        "(https://kubernetes.io/docs/concepts/configuration/liveness-readiness-startup-probes/)",
        "David Yanacek, Implementing health checks (https://aws.amazon.com/builders-library/implementing-health-checks/)",
    ),
    operation="healthcheck",
    make=lambda: HealthCheck(ping_database, interval=10),
    make_alternatives=lambda: (HealthCheck(ping_database, interval=10, failure_threshold=3),),
)
