"""What is known about workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from failwell.catalog.card import Card

if TYPE_CHECKING:
    from failwell.workflow import Workflow

__all__ = ["CARD"]

# What the example is about; never executed.


async def mirror(symbol: str) -> str:
    """The same service in another region."""
    raise NotImplementedError


def _example() -> Workflow:
    from failwell.workflow import Workflow

    return Workflow.from_config(
        {
            "primary_strategy": "retry",
            "secondary_strategies": ["circuit_breaker", "fallback", "deadline"],
            "global_timeout": 10,
            "attempt_timeout": 3,
            "retry": {"max_attempts": 3, "initial_delay": 1, "backoff": "fixed"},
            "circuit_breaker": {"failure_threshold": 5, "recovery_timeout": 30},
            "fallback": {"function": mirror},
        }
    )


def _alternatives() -> tuple[Workflow, ...]:
    from failwell.workflow import Workflow

    return (
        Workflow.retrying(3),
        Workflow.breaking(5, fallback_value="closed for now"),
        Workflow.finishing_within(10, attempt_timeout=3, retry={"max_attempts": 3, "backoff": "exponential"}),
    )


CARD = Card(
    slug="workflow",
    name="Workflow",
    group="Combine",
    intent="Make a whole recovery from one configuration, with metrics, alerts and health.",
    also_known_as=("error recovery workflow", "resilience configuration", "recovery pipeline", "standard handler"),
    use_when=(
        "operators are to change limits without a release",
        "many calls want the same kind of recovery with other numbers",
        "executions are to be counted, alerts raised and health asked for without wiring",
    ),
    avoid_when=(
        "one pattern is enough",
        "the layers have to stand in another order: stack them by hand",
        "several steps are to be undone one by one: that is a saga",
    ),
    error_types=("ConfigurationError", "AttemptsExhausted", "SagaError"),
    effort="low",
    related=("stack", "retry", "circuit_breaker", "fallback", "saga", "bulkhead", "cache", "deadline"),
    symptoms=("configuration", "toml", "settings", "metrics", "alert", "health", "global timeout", "error recovery"),
    module="failwell.workflow.workflow",
    sources=(
        'Microsoft, "Build resilient HTTP apps" (https://learn.microsoft.com/dotnet/core/resilience/http-resilience)',
        'resilience4j, "Getting started" (https://resilience4j.readme.io/docs/getting-started-3)',
    ),
    operation="quote",
    make=_example,
    make_alternatives=_alternatives,
)
