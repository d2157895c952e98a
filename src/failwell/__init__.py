"""Error recovery patterns whose pictures, numbers and tests come from running them."""

from failwell import backoff, errors, virtual
from failwell.events import Outcome, listening, subscribe
from failwell.flow import explore
from failwell.patterns.cache import Cache
from failwell.patterns.fallback import Fallback
from failwell.patterns.retry import Retry
from failwell.patterns.saga import Saga, Step
from failwell.patterns.timeout import Timeout
from failwell.policy import Policy, Stack

__all__ = [
    "Cache",
    "Fallback",
    "Outcome",
    "Policy",
    "Retry",
    "Saga",
    "Stack",
    "Step",
    "Timeout",
    "backoff",
    "errors",
    "explore",
    "listening",
    "subscribe",
    "virtual",
]
