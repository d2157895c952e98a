"""Error recovery patterns whose pictures, numbers and tests come from running them."""

import importlib
from typing import TYPE_CHECKING, Any

from failwell import backoff, errors, virtual
from failwell.events import Outcome, listening, subscribe
from failwell.policy import Policy, Stack, not_idempotent
from failwell.runtime import time_left

if TYPE_CHECKING:
    from failwell.flow.explore import explore
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
    from failwell.probing import RecoveryPattern
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

# Who retries need not wait until sagas, workflows and the explorer are loaded: a name is when it is used first.
_HOMES = {
    "flow": "explore",
    "patterns.adaptive_limit": "AdaptiveLimit",
    "patterns.batch": "Batch BatchFailure BatchItem BatchResult",
    "patterns.bulkhead": "Bulkhead",
    "patterns.cache": "Cache",
    "patterns.circuit_breaker": "CircuitBreaker CircuitState CountWindow TimeWindow",
    "patterns.credential_refresh": "Credential CredentialRefresh",
    "patterns.deadline": "Deadline",
    "patterns.degrade": "Answers Degrade Feature",
    "patterns.error_context": "ContextFilter InContext",
    "patterns.fallback": "Fallback",
    "patterns.health_check": "HealthCheck HealthRegistry HealthReport HealthState HealthStatus health",
    "patterns.hedge": "Hedge",
    "patterns.load_shedder": "LoadShedder",
    "patterns.rate_limiter": "RateLimiter",
    "patterns.recovery": "AdaptiveRecovery ExponentialRecovery PartialRecovery",
    "patterns.retry": "Retry",
    "patterns.retry_budget": "RetryBudget",
    "patterns.router": "Router",
    "patterns.safe_call": "SafeCall safe_call",
    "patterns.saga": "Saga Step",
    "patterns.timeout": "Timeout",
    "patterns.validate": "Validate",
    "probing": "RecoveryPattern",
    "workflow": "Workflow saved_state",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"failwell.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
