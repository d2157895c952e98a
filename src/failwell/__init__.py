"""Error recovery patterns whose pictures, numbers and tests come from running them."""

from typing import TYPE_CHECKING, Any

from failwell import backoff, errors, virtual
from failwell.events import Outcome, listening, subscribe
from failwell.patterns.adaptive_limit import AdaptiveLimit
from failwell.patterns.batch import Batch, BatchFailure, BatchItem, BatchResult
from failwell.patterns.bulkhead import Bulkhead
from failwell.patterns.cache import Cache
from failwell.patterns.circuit_breaker import CircuitBreaker, CircuitState, CountWindow, TimeWindow
from failwell.patterns.credential_refresh import Credential, CredentialRefresh
from failwell.patterns.deadline import Deadline
from failwell.patterns.degrade import Answers, Degrade, Feature
from failwell.patterns.error_context import ContextFilter, InContext
from failwell.patterns.fallback import Fallback
from failwell.patterns.health_check import (
    HealthCheck,
    HealthRegistry,
    HealthReport,
    HealthState,
    HealthStatus,
    health,
)
from failwell.patterns.hedge import Hedge
from failwell.patterns.load_shedder import LoadShedder
from failwell.patterns.rate_limiter import RateLimiter
from failwell.patterns.recovery import AdaptiveRecovery, ExponentialRecovery, PartialRecovery
from failwell.patterns.retry import Retry
from failwell.patterns.retry_budget import RetryBudget
from failwell.patterns.router import Router
from failwell.patterns.safe_call import SafeCall, safe_call
from failwell.patterns.saga import Saga, Step
from failwell.patterns.timeout import Timeout
from failwell.patterns.validate import Validate
from failwell.policy import Policy, Stack, not_idempotent
from failwell.probing import RecoveryPattern
from failwell.runtime import time_left

if TYPE_CHECKING:
    from failwell.flow import explore
    from failwell.workflow import Workflow, saved_state

__all__ = [
    "AdaptiveLimit",
    "AdaptiveRecovery",
    "Answers",
    "Batch",
    "BatchFailure",
    "BatchItem",
    "BatchResult",
    "Bulkhead",
    "Cache",
    "CircuitBreaker",
    "CircuitState",
    "ContextFilter",
    "CountWindow",
    "Credential",
    "CredentialRefresh",
    "Deadline",
    "Degrade",
    "ExponentialRecovery",
    "Fallback",
    "Feature",
    "HealthCheck",
    "HealthRegistry",
    "HealthReport",
    "HealthState",
    "HealthStatus",
    "Hedge",
    "InContext",
    "LoadShedder",
    "Outcome",
    "PartialRecovery",
    "Policy",
    "RateLimiter",
    "RecoveryPattern",
    "Retry",
    "RetryBudget",
    "Router",
    "SafeCall",
    "Saga",
    "Stack",
    "Step",
    "TimeWindow",
    "Timeout",
    "Validate",
    "Workflow",
    "backoff",
    "errors",
    "explore",
    "health",
    "listening",
    "not_idempotent",
    "safe_call",
    "saved_state",
    "subscribe",
    "time_left",
    "virtual",
]


def __getattr__(name: str) -> Any:
    # A service that protects its calls never explores them: it need not wait for the explorer to load.
    if name == "explore":
        from failwell.flow import explore

        return explore
    if name in ("Workflow", "saved_state"):
        from failwell import workflow

        return getattr(workflow, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
