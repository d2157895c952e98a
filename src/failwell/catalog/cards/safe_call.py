"""What is known about safe calls."""

from __future__ import annotations

from failwell import SafeCall
from failwell.catalog.card import NYGARD, Card

__all__ = ["CARD"]

CARD = Card(
    slug="safe_call",
    name="Safe call",
    group="Answer anyway",
    intent="Answer with a default instead of an error, and say so in the log.",
    also_known_as=("safe execute", "default on error", "error suppression", "safe navigation of errors"),
    use_when=(
        "the caller can go on without the answer, and a default says enough",
        "a setting, a hint or a picture is nice to have and not worth an error page",
        "somebody reads the log",
    ),
    avoid_when=(
        "the default would be taken for the truth: a score of zero, an empty list of debts",
        "something was to be done, not answered: a payment that failed has no default",
        "the answer has to be computed or fetched: that is a fallback",
    ),
    error_types=("Exception",),
    effort="low",
    related=("fallback", "retry", "timeout"),
    symptoms=("default value", "try except pass", "swallowed", "missing config", "optional", "ignore error"),
    module="failwell.patterns.safe_call",
    sources=(NYGARD, "Tim Peters, PEP 20, The Zen of Python (https://peps.python.org/pep-0020/)"),
    operation="load_settings",
    outcomes=("ok", "fail"),
    make=lambda: SafeCall({}),
)
