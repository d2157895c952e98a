"""Every rule of the lint: a stack that it finds something in, and one near it where it finds nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from failwell import (
    Bulkhead,
    Cache,
    CircuitBreaker,
    Fallback,
    RateLimiter,
    Retry,
    Saga,
    Step,
    Timeout,
)
from failwell.backoff import Exponential, Fixed
from failwell.flow import Exploration, explore
from failwell.flow.lint import RULES, Finding
from failwell.policy import not_idempotent
from failwell.site.fragments import fragment
from failwell.site.fragments.patterns import table

__all__ = ["CASES", "Case", "found"]

# What the examples are about; never executed.


def mirror(key: str) -> str:
    """The same data elsewhere."""
    raise NotImplementedError


def load(key: str) -> str:
    """What the examples protect."""
    raise NotImplementedError


@not_idempotent
def charge(card: str) -> str:
    """Takes money, each time."""
    raise NotImplementedError


def send_mail(state: dict[str, Any]) -> None:
    """A step that cannot be undone."""


def book(state: dict[str, Any]) -> None:
    """A step that can be undone."""


def cancel(state: dict[str, Any]) -> None:
    """Undoes it."""


class Case(NamedTuple):
    """What shows a rule.

    Attributes:
        wrong: Makes something that the rule finds fault with.
        right: Makes something near it that it finds no fault with.
    """

    wrong: Callable[[], Any]
    right: Callable[[], Any]


CASES: Mapping[str, Case] = {
    "retry-not-idempotent": Case(
        lambda: Retry(3) >> Timeout(5) >> charge,
        lambda: Timeout(5) >> charge,
    ),
    "saga-step-cannot-be-undone": Case(
        lambda: Timeout(30) >> Saga([Step(send_mail), Step(book, cancel)]),
        lambda: Timeout(30) >> Saga([Step(book, cancel), Step(send_mail)]),
    ),
    "retry-cannot-finish": Case(
        lambda: Timeout(10) >> Retry(5, Exponential(1)),
        lambda: Timeout(20) >> Retry(5, Exponential(1)),
    ),
    "timeouts-nested-wrong": Case(
        lambda: Timeout(5) >> Retry(2, Fixed(1)) >> Timeout(10),
        lambda: Timeout(10) >> Retry(2, Fixed(1)) >> Timeout(4),
    ),
    "breaker-outside-retry": Case(
        lambda: CircuitBreaker() >> Retry(3) >> Timeout(5),
        lambda: Retry(3) >> CircuitBreaker() >> Timeout(5),
    ),
    "breaker-open-retried": Case(
        lambda: Retry(3, Fixed(1), on=Exception, respect_retry_after=False) >> CircuitBreaker() >> Timeout(5),
        lambda: Retry(3, Fixed(1)) >> CircuitBreaker() >> Timeout(5),
    ),
    "retry-amplification": Case(
        lambda: Timeout(30) >> Retry(4, Fixed(1)) >> Retry(3, Fixed(1)),
        lambda: Timeout(30) >> Retry(4, Fixed(1)),
    ),
    "limiter-inside-retry": Case(
        lambda: Retry(3, Fixed(0.1)) >> RateLimiter(2, per=60) >> Timeout(5),
        lambda: RateLimiter(2, per=60) >> Retry(3, Fixed(0.1)) >> Timeout(5),
    ),
    "bulkhead-queue-outlasts-timeout": Case(
        lambda: Timeout(5) >> Bulkhead(10, max_queue=20, queue_timeout=30),
        lambda: Timeout(5) >> Bulkhead(10, max_queue=20, queue_timeout=1),
    ),
    "cache-stores-degraded": Case(
        lambda: Cache(3600, degraded="store") >> Fallback(mirror) >> Timeout(5),
        lambda: Cache(3600) >> Fallback(mirror) >> Timeout(5),
    ),
    "stale-never-served": Case(
        lambda: Cache(60, stale_if_error=600) >> Fallback(Fallback.value("none")) >> Timeout(5),
        lambda: Fallback(Fallback.value("none")) >> Cache(60, stale_if_error=600) >> Timeout(5),
    ),
    "fallback-never-reached": Case(
        lambda: Fallback(Fallback.value("none"), mirror) >> Timeout(5),
        lambda: Fallback(mirror, Fallback.value("none")) >> Timeout(5),
    ),
    "fallback-calls-what-failed": Case(
        lambda: Timeout(5) >> Fallback(load, mirror),
        lambda: Timeout(5) >> Fallback(mirror),
    ),
    "layer-never-acts": Case(
        lambda: Retry(3) >> Fallback(Fallback.value("none")) >> Timeout(5),
        lambda: Fallback(Fallback.value("none")) >> Retry(3) >> Timeout(5),
    ),
    "backoff-cap-never-reached": Case(
        lambda: Retry(3, Exponential(1, max=30)) >> Timeout(5),
        lambda: Retry(3, Exponential(1)) >> Timeout(5),
    ),
    "hang-never-ended": Case(
        lambda: Retry(3),
        lambda: Retry(3) >> Timeout(5),
    ),
}
"""Rule -> what shows it."""


def explored(target: Any) -> Exploration:
    """One of the examples, explored.

    Args:
        target: A policy, or something that is protected by one.
    """
    return explore(target, "load", limit=100_000)


def found(rule: str, target: Any) -> list[Finding]:
    """What one rule finds in something.

    Args:
        rule: The name of the rule.
        target: A policy, or something that is protected by one.
    """
    return [finding for finding in explored(target).lint() if finding.rule == rule]


@fragment("lint-rules", from_source=True)
def lint_rules() -> str:
    """All rules in a table, each in a sentence."""
    rows = [[f"[{rule}](#{rule})", _sentence(find)] for rule, find in RULES.items()]
    return "\n".join(table(["Rule", "What it finds"], rows))


def _sentence(find: Callable[..., Any]) -> str:
    return (find.__doc__ or "").split("\n\n")[0].replace("\n", " ").strip()


@fragment("lint", from_source=True)
def lint(rule: str) -> str:
    """A stack that a rule finds something in, the finding, and a stack near it without one.

    Args:
        rule: The name of the rule.
    """
    case = CASES[rule]
    finding, *_ = found(rule, case.wrong())
    kind = "note" if finding.severity == "note" else "warning"
    said = [
        _stack(case.wrong()),
        "",
        f'!!! {kind} "{rule}"',
        f"    {finding.message}",
        "",
        f"    *Path:* {finding.path}",
        "",
        f"    *Advice:* {finding.advice}",
        "",
        "No finding:",
        "",
        _stack(case.right()),
    ]
    return "\n".join(said)


def _stack(target: Any) -> str:
    """A stack as code, a layer a line if it is a long one."""
    known = explored(target)
    parts = [repr(layer) for layer in known.layers]
    if known.name not in [getattr(layer, "__name__", "") for layer in known.layers]:
        parts.append(known.name)
    line = " >> ".join(parts)
    lines = [line] if len(line) <= 88 else [parts[0], *(f"    >> {part}" for part in parts[1:])]
    return "\n".join(["```text", *lines, "```"])
