"""Error recovery patterns whose pictures, numbers and tests come from running them."""

from typing import TYPE_CHECKING, Any

from failwell import backoff, errors, virtual
from failwell.events import Outcome, listening, subscribe
from failwell.patterns.bulkhead import Bulkhead
from failwell.patterns.cache import Cache
from failwell.patterns.circuit_breaker import CircuitBreaker, CircuitState, CountWindow, TimeWindow
from failwell.patterns.fallback import Fallback
from failwell.patterns.rate_limiter import RateLimiter
from failwell.patterns.retry import Retry
from failwell.patterns.router import Router
from failwell.patterns.saga import Saga, Step
from failwell.patterns.timeout import Timeout
from failwell.patterns.validate import Validate
from failwell.policy import Policy, Stack, not_idempotent

if TYPE_CHECKING:
    from failwell.flow import explore

__all__ = [
    "Bulkhead",
    "Cache",
    "CircuitBreaker",
    "CircuitState",
    "CountWindow",
    "Fallback",
    "Outcome",
    "Policy",
    "RateLimiter",
    "Retry",
    "Router",
    "Saga",
    "Stack",
    "Step",
    "TimeWindow",
    "Timeout",
    "Validate",
    "backoff",
    "errors",
    "explore",
    "listening",
    "not_idempotent",
    "subscribe",
    "virtual",
]


def __getattr__(name: str) -> Any:
    # A service that protects its calls never explores them: it need not wait for the explorer to load.
    if name == "explore":
        from failwell.flow import explore

        return explore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
