"""What is wrong with a policy, as far as its paths show it.

Every rule follows from what paths show: events, choices, times. No rule knows a pattern by name, so a
policy of a user's own that reports the same events is judged as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from failwell.flow.lint.answering import (
    cache_stores_degraded,
    fallback_calls_what_failed,
    fallback_never_reached,
    layer_never_acts,
    stale_never_served,
)
from failwell.flow.lint.evidence import Evidence
from failwell.flow.lint.finding import Finding, Found, Severity
from failwell.flow.lint.refusing import breaker_open_retried, breaker_outside_retry, limiter_inside_retry
from failwell.flow.lint.stopping import bulkhead_queue_outlasts_timeout, hang_never_ended, timeouts_nested_wrong
from failwell.flow.lint.trying_again import (
    backoff_cap_never_reached,
    retry_amplification,
    retry_cannot_finish,
    retry_not_idempotent,
)
from failwell.flow.lint.undoing import saga_step_cannot_be_undone

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration

__all__ = ["NOTES", "RULES", "Finding", "Severity", "lint"]

_RULES: tuple[Callable[[Evidence], Iterator[Found]], ...] = (
    retry_not_idempotent,
    saga_step_cannot_be_undone,
    retry_cannot_finish,
    timeouts_nested_wrong,
    breaker_outside_retry,
    breaker_open_retried,
    retry_amplification,
    limiter_inside_retry,
    bulkhead_queue_outlasts_timeout,
    cache_stores_degraded,
    stale_never_served,
    fallback_never_reached,
    fallback_calls_what_failed,
    layer_never_acts,
    backoff_cap_never_reached,
    hang_never_ended,
)

RULES: Mapping[str, Callable[[Evidence], Iterator[Found]]] = {rule.__name__.replace("_", "-"): rule for rule in _RULES}
"""Every rule by its name, the gravest first."""

NOTES = frozenset({"backoff-cap-never-reached", "hang-never-ended"})
"""Rules all of whose findings are facts that may well be meant."""


def lint(exploration: Exploration, *, most_calls: int = 10) -> list[Finding]:
    """All findings of an exploration, warnings first.

    Args:
        exploration: What was explored.
        most_calls: How many calls of one operation, on one path, are not too many where several layers that try
            again multiply them.
    """
    evidence = Evidence(exploration, most_calls)
    findings = [
        Finding(
            rule,
            found.path,
            found.advice,
            f"explorer/lint.md#{rule}",
            found.message,
            found.layers,
            "note" if found.meant or rule in NOTES else "warning",
            found.remedy,
        )
        for rule, find in RULES.items()
        for found in find(evidence)
    ]
    return sorted(findings, key=lambda finding: finding.severity == "note")
