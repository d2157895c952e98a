"""What is known about fallback."""

from __future__ import annotations

from failwell import Fallback
from failwell.catalog.card import NYGARD, Card

__all__ = ["CARD"]

# What the example is about; never executed.


def claude_sonnet(prompt: str) -> str:
    """A second language model."""
    raise NotImplementedError


def gemini_pro(prompt: str) -> str:
    """A third one."""
    raise NotImplementedError


def llama_local(prompt: str) -> str:
    """A small one on this machine."""
    raise NotImplementedError


CARD = Card(
    slug="fallback",
    name="Fallback",
    group="Answer anyway",
    intent="When the first choice fails, answer with the next best.",
    also_known_as=("fallback cascade", "failover", "graceful degradation of one call"),
    use_when=(
        "another service, an older answer or a default is better than an error",
        "the first choice can be down for longer than a retry may take",
        "the caller must always get something",
    ),
    avoid_when=(
        "a wrong answer does more harm than an error",
        "the alternative depends on the thing that has just failed",
        "nobody would notice that the first choice is gone: watch for degraded answers",
    ),
    error_types=("Exception",),
    effort="medium",
    related=("cache", "retry", "stack"),
    symptoms=("unavailable", "down", "outage", "provider fails", "backup", "default answer", "degraded"),
    module="failwell.patterns.fallback",
    sources=(NYGARD, 'Netflix Hystrix, "How it works" (https://github.com/Netflix/Hystrix/wiki/How-it-Works)'),
    operation="gpt4",
    outcomes=("ok", "fail"),
    make=lambda: Fallback(claude_sonnet, gemini_pro, llama_local),
    make_alternatives=lambda: (Fallback(llama_local),),
)
