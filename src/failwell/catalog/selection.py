"""Which pattern for which error: the first thing to try. Each line can be run, and a test does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from failwell import CircuitBreaker, Fallback, Policy, Retry, Timeout, Validate, errors
from failwell.backoff import Fixed
from failwell.catalog.cards import CARDS
from failwell.patterns.credential_refresh import CredentialRefresh

__all__ = ["SELECTION", "Selected", "effort"]


class Selected(NamedTuple):
    """One line of the table.

    Attributes:
        error: The error, as the operation raises it; None: it does not answer at all.
        meaning: What that means.
        slug: The pattern to try first.
        make: Makes the policy that shows it.
        then: What the caller gets: ``"answered"``, the real answer after all; ``"degraded"``, a poorer one;
            ``"refused"``, an error at once, while the operation is left alone.
    """

    error: type[Exception] | None
    meaning: str
    slug: str
    make: Callable[[], Policy]
    then: Literal["answered", "degraded", "refused"]


class _Token:
    """A credential that is good again after a refresh."""

    is_expired = False

    def refresh(self) -> None:
        """Get a new one."""


SELECTION: tuple[Selected, ...] = (
    Selected(
        ConnectionError, "the network or a server had a moment", "retry", lambda: Retry(3, Fixed(1.0)), "answered"
    ),
    Selected(
        errors.UnavailableError,
        "the service is down, and more calls do not help it",
        "circuit_breaker",
        lambda: CircuitBreaker(failure_threshold=3),
        "refused",
    ),
    Selected(None, "no answer comes", "timeout", lambda: Timeout(5, default="the last known answer"), "degraded"),
    Selected(
        TimeoutError,
        "it is too slow today",
        "fallback",
        lambda: Fallback(Fallback.value("the last known answer"), on=TimeoutError),
        "degraded",
    ),
    Selected(
        errors.AuthenticationError,
        "the token has expired",
        "credential_refresh",
        lambda: CredentialRefresh(_Token()),
        "answered",
    ),
    Selected(
        errors.PermanentError,
        "the same call will fail in the same way",
        "fallback",
        lambda: Fallback(Fallback.value("something else"), on=errors.PermanentError),
        "degraded",
    ),
    Selected(
        errors.ValidationFailed,
        "it answers, but with nonsense",
        "validate",
        lambda: Retry(3, Fixed(1.0), on=errors.ValidationFailed) >> Validate(output=bool),
        "answered",
    ),
)
"""From the errors that people meet most to those that they meet least."""


def effort(line: Selected) -> str:
    """How much work the pattern of a line is to put in, as its card says.

    Args:
        line: A line of the table.
    """
    return CARDS[line.slug].effort
