"""What is known about deadline."""

from __future__ import annotations

from failwell import Deadline
from failwell.catalog.card import Card

__all__ = ["CARD"]

CARD = Card(
    slug="deadline",
    name="Deadline",
    group="Stop waiting",
    intent="One budget of time for everything that a call does, which all of it can see.",
    also_known_as=("time budget", "deadline propagation", "request timeout", "overall timeout"),
    use_when=(
        "somebody waits for the answer and will not wait longer",
        "several retries, waits and services share the time of one request",
        "the next service should know how much time there is",
    ),
    avoid_when=(
        "only a single attempt is to be limited: use a timeout",
        "the work must be finished however long it takes",
    ),
    error_types=("DeadlineExceeded", "TimeoutError"),
    effort="low",
    related=("timeout", "retry", "hedge", "stack"),
    symptoms=("too slow in all", "retries take too long", "work for nobody", "caller has gone", "slow", "hangs"),
    module="failwell.patterns.deadline",
    sources=(
        'gRPC documentation, "Deadlines" (https://grpc.io/docs/guides/deadlines/)',
        'Google SRE Book, ch. 22, "Addressing Cascading Failures" '
        "(https://sre.google/sre-book/addressing-cascading-failures/)",
    ),
    operation="handle_request",
    make=lambda: Deadline(5),
    make_alternatives=lambda: (Deadline(1),),
)
