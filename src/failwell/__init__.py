"""Error recovery patterns whose pictures, numbers and tests come from running them."""

from failwell import backoff, errors, virtual
from failwell.events import Outcome, listening, subscribe
from failwell.patterns.fallback import Fallback
from failwell.patterns.retry import Retry
from failwell.patterns.timeout import Timeout
from failwell.policy import Policy, Stack

__all__ = [
    "Fallback",
    "Outcome",
    "Policy",
    "Retry",
    "Stack",
    "Timeout",
    "backoff",
    "errors",
    "listening",
    "subscribe",
    "virtual",
]
