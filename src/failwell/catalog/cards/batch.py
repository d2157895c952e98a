"""What is known about batch."""

from __future__ import annotations

from failwell import Batch, Retry
from failwell.catalog.card import Card

__all__ = ["CARD"]

# What the example is about; never executed.


def score_customer(row: dict[str, float]) -> float:
    """Computes the score of one customer from a row of features."""
    raise NotImplementedError


CARD = Card(
    slug="batch",
    name="Batch",
    group="Try again",
    intent="Process many items, each with attempts of its own, and tell at the end which of them failed.",
    also_known_as=("bulk processing", "partial failure", "skip and continue", "batch with retry"),
    use_when=(
        "each item can be done by itself, and most will go well",
        "one bad item must not take the good ones with it",
        "there are more items than fit into memory, or they come from a generator",
    ),
    avoid_when=(
        "all or nothing must happen: that is a transaction or a saga",
        "the other side takes many items in one call, which is cheaper",
        "it must go on after the process has died: keep a checkpoint",
    ),
    error_types=("Exception", "ExceptionGroup"),
    effort="low",
    related=("retry", "saga", "bulkhead", "rate_limiter"),
    symptoms=("one bad row", "import stops", "half of the rows", "out of memory", "bulk", "progress", "million items"),
    module="failwell.patterns.batch",
    sources=(
        "Amazon Web Services, Reporting batch item failures "
        "(https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html)",
        "Spring Batch, Partial processing (https://docs.spring.io/spring-batch/1.0.x/cases/partial.html)",
    ),
    operation="batch",
    outcomes=("ok", "fail"),
    make=lambda: Batch(score_customer, retry=Retry.batch_item()),
    make_alternatives=lambda: (Batch(score_customer),),
)
