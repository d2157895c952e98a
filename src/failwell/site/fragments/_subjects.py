"""What the fragments are about: the examples of the catalog's cards, and the stacks that pages show whole."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from failwell import Cache, Deadline, Fallback, Retry, Timeout
from failwell.backoff import Exponential
from failwell.catalog import CARDS
from failwell.catalog.cards.stack import backup_api
from failwell.examples.llm_service import cloud_llm, llm_service, llm_service_in_order
from failwell.policy import Pattern, Policy

__all__ = ["LAYERS", "STACKS", "Subject", "subject", "subjects"]


class Subject(NamedTuple):
    """Something to draw and to compute with.

    Attributes:
        slug: What markers call it.
        policy: A policy, a stack, a saga, or foreign code.
        operation: What it protects.
        outcomes: How operations end in its drawing; figures always know hangs too.
    """

    slug: str
    policy: Pattern | Callable[..., Any]
    operation: str
    outcomes: tuple[str | type[Exception], ...] = ("ok", "fail", "hang")


CALM = ("ok", "fail")
LAYERS: Mapping[str, Policy] = {
    "timeout": Timeout(10),
    "retry": Retry(max_attempts=3, backoff=Exponential(1.0)),
    "fallback": Fallback(backup_api),
    "cache": Cache(60, stale_if_error=3600),
}
"""What is put into different orders."""


def _last_answer() -> Callable[..., object]:
    return Fallback.value("the last known answer")


@functools.cache
def _stacks() -> Mapping[str, Subject]:
    retry = Retry(max_attempts=3, backoff=Exponential(1.0))
    alternatives = Fallback(backup_api, _last_answer())
    made: dict[str, Policy] = {
        "as-drawn": Timeout(30) >> retry >> alternatives >> Cache(3600),
        "as-coded": Cache(3600) >> alternatives >> retry >> Timeout(30),
        "in-order": Fallback(_last_answer())
        >> Timeout(30)
        >> Fallback(backup_api)
        >> Cache(3600, stale_if_error=86400)
        >> retry
        >> Timeout(5),
    }
    home = Fallback(Fallback.value("cart unavailable")) >> Timeout(30) >> retry
    known = {slug: Subject(slug, policy, "call_api") for slug, policy in made.items()}
    talk = {"llm-as-drawn": llm_service, "llm-in-order": llm_service_in_order}
    known |= {slug: Subject(slug, service, cloud_llm.__name__) for slug, service in talk.items()}
    known["home"] = Subject("home", home, "fetch_cart")
    known["with-deadline"] = Subject("with-deadline", Deadline(6) >> Retry(4, Exponential(1.0)) >> Timeout(4), "fetch")
    known |= {slug: Subject(slug, fn, fn.__name__) for slug, fn in _foreign().items()}
    return known


def _foreign() -> Mapping[str, Callable[..., Any]]:
    """Code that knows nothing of us."""
    from failwell.examples.with_tenacity import load_user, load_user_in_time

    return {"with-tenacity": load_user, "with-tenacity-in-time": load_user_in_time}


STACKS = (
    "as-drawn",
    "as-coded",
    "in-order",
    "llm-as-drawn",
    "llm-in-order",
    "home",
    "with-deadline",
    "with-tenacity",
    "with-tenacity-in-time",
)
"""The stacks of the composition page, that of the first page, and code of others."""


def subject(slug: str) -> Subject:
    """What a marker names.

    Args:
        slug: A card of the catalog, or one of `STACKS`.

    Raises:
        LookupError: If there is none; the message says what there is.
    """
    if slug in STACKS:
        return _stacks()[slug]
    if slug not in CARDS:
        raise LookupError(f"there is no {slug!r}; there are {', '.join((*CARDS, *STACKS))}")
    one = CARDS[slug]
    return Subject(slug, one.example, one.operation, one.outcomes)


def subjects() -> tuple[str, ...]:
    """Every slug that markers can name."""
    return (*CARDS, *STACKS)
