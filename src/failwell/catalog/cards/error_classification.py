"""What is known about error classification."""

from __future__ import annotations

from failwell import Retry
from failwell.backoff import Exponential
from failwell.catalog.card import Card

__all__ = ["CARD"]

CARD = Card(
    slug="error_classification",
    name="Error classification",
    group="Combine",
    intent="Say of each error whether it will pass, so that every layer does the right thing about it.",
    also_known_as=("error taxonomy", "transient and permanent errors", "retryable errors"),
    use_when=(
        "an operation fails in more than one way, and only some of them pass",
        "several libraries raise errors of their own for the same thing",
        "every retry of a project should agree on what is worth another attempt",
    ),
    avoid_when=(
        "one layer has to treat one error in a special way: give it on=",
        "an error is sometimes transient and sometimes not, and does not say which: let its source say so first",
    ),
    error_types=("TransientError", "UnavailableError", "PermanentError", "AuthenticationError"),
    effort="low",
    related=("retry", "circuit_breaker", "fallback", "error_context"),
    symptoms=(
        "which errors to retry",
        "retryable",
        "retries a wrong password",
        "404",
        "400",
        "is not retried",
        "unknown error",
        "transient",
        "permanent",
    ),
    module="failwell.classification",
    sources=(
        'Google Cloud, "Retry strategy" (https://cloud.google.com/storage/docs/retry-strategy)',
        'RFC 9110, "HTTP Semantics", section 15 (https://www.rfc-editor.org/rfc/rfc9110#section-15)',
    ),
    operation="load",
    outcomes=("ok", ConnectionError, ValueError, RuntimeError),
    make=lambda: Retry(max_attempts=3, backoff=Exponential(1.0)),
    make_alternatives=lambda: (Retry(max_attempts=3, backoff=Exponential(1.0), on=Exception),),
)
