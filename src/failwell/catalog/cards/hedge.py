"""What is known about hedge."""

from __future__ import annotations

from failwell import Hedge
from failwell.catalog.card import Card

__all__ = ["CARD"]

CARD = Card(
    slug="hedge",
    name="Hedge",
    group="Stop waiting",
    intent="When an answer is late, ask once more beside it and take whichever comes first.",
    also_known_as=("hedged request", "backup request", "speculative retry", "happy eyeballs"),
    use_when=(
        "a few calls take far longer than all the others",
        "the same question can be answered by another replica",
        "asking twice does no harm",
    ),
    avoid_when=(
        "the operation must not happen twice",
        "all answers are slow, because there is too much to do: more calls make it worse",
    ),
    error_types=("Exception",),
    effort="low",
    related=("timeout", "deadline", "retry", "bulkhead"),
    symptoms=("tail latency", "slow outliers", "p99", "sometimes slow", "stragglers", "one slow replica"),
    module="failwell.patterns.hedge",
    sources=(
        'Jeffrey Dean and Luiz André Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013 '
        "(https://research.google/pubs/the-tail-at-scale/)",
        'gRPC proposal A6, "gRPC Retry Design", on hedging '
        "(https://github.com/grpc/proposal/blob/master/A6-client-retries.md)",
    ),
    operation="ask_replica",
    make=lambda: Hedge(0.2),
    make_alternatives=lambda: (Hedge(0.2, max_hedges=2),),
)
