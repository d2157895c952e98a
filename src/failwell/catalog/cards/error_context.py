"""What is known about error context."""

from __future__ import annotations

from failwell import InContext
from failwell.catalog.card import Card

__all__ = ["CARD"]

CARD = Card(
    slug="error_context",
    name="Error context",
    group="Combine",
    intent="Let every error, event and log line say where it happened and which request it belongs to.",
    also_known_as=("correlation id", "request id", "diagnostic context"),
    use_when=(
        "one request goes through several services, stores and queues",
        "many requests are served at once, and their log lines are mixed",
        "an error is handled far from where it was raised",
    ),
    avoid_when=(
        "a script does one thing after the other: its traceback says it all",
        "tracing is in place already: take its trace id for the correlation id",
    ),
    error_types=("Exception",),
    effort="low",
    related=("error_classification", "retry", "stack"),
    symptoms=(
        "which request",
        "correlation",
        "trace",
        "log lines mixed",
        "cannot reproduce",
        "who called",
        "password in the log",
    ),
    module="failwell.patterns.error_context",
    sources=(
        'Gregor Hohpe, Bobby Woolf, "Correlation Identifier" '
        "(https://www.enterpriseintegrationpatterns.com/patterns/messaging/CorrelationIdentifier.html)",
        'PEP 678, "Enriching Exceptions with Notes" (https://peps.python.org/pep-0678/)',
    ),
    operation="load_order",
    outcomes=("ok", "fail"),
    make=lambda: InContext("database", target="orders-primary"),
    make_alternatives=lambda: (InContext("http", "GET /orders", "orders-api", correlation_id="req-7"),),
)
