"""What is known about validate."""

from __future__ import annotations

from failwell import Validate
from failwell.catalog.card import Card

__all__ = ["CARD"]

# What the example is about; never executed.


def is_prompt(prompt: str) -> bool:
    """Whether it is worth a call."""
    raise NotImplementedError


def is_answer(answer: str) -> bool:
    """Whether it is worth returning."""
    raise NotImplementedError


CARD = Card(
    slug="validate",
    name="Validate",
    group="Answer anyway",
    intent="Refuse what makes no sense, before the call and after it, so that other layers can act on it.",
    also_known_as=("guard", "precondition and postcondition", "sanity check"),
    use_when=(
        "a bad argument would cost a call, a slot or money before it is refused",
        "an answer can be wrong without being an error: empty, cut off, below zero",
        "a wrong answer should be tried again, replaced or kept out of a cache",
    ),
    avoid_when=(
        "the operation checks the same thing at once and for free",
        "the check itself is a call that can fail or hang: protect it like any other",
    ),
    error_types=("ValidationFailed",),
    effort="low",
    related=("retry", "fallback", "cache", "router"),
    symptoms=("empty answer", "garbage", "nonsense", "bad input", "truncated", "hallucination", "schema"),
    module="failwell.patterns.validate",
    sources=(
        'Bertrand Meyer, "Applying Design by Contract" (https://doi.org/10.1109/2.161279)',
        "Google SRE Book, Data Integrity (https://sre.google/sre-book/data-integrity/)",
    ),
    operation="ask",
    outcomes=("ok", "fail"),
    make=lambda: Validate(is_prompt, output=is_answer),
    make_alternatives=lambda: (Validate(output=is_answer),),
)
