"""What the fragments are about: the cards of the catalog, and the stacks of the composition page."""

from __future__ import annotations

from typing import NamedTuple

from failwell import Cache, Fallback, Retry, Saga, Timeout, backoff
from failwell.policy import Pattern


class Card(NamedTuple):
    slug: str
    name: str
    group: str
    intent: str
    also_known_as: tuple[str, ...]
    use_when: tuple[str, ...]
    avoid_when: tuple[str, ...]
    error_types: tuple[str, ...]
    effort: str
    related: tuple[str, ...]
    example: Pattern
    alternatives: tuple[Pattern, ...] = ()


def backup_service() -> None: ...
def last_resort() -> None: ...
def create_user(s): ...
def delete_user(s): ...
def send_email(s): ...
def cancel_email(s): ...
def activate_account(s): ...
def deactivate_account(s): ...


CARDS = {
    card.slug: card
    for card in (
        Card(
            "retry",
            "Retry",
            "Try again",
            "Try again, because many failures pass by themselves.",
            ("backoff",),
            ("a",),
            ("b",),
            ("ConnectionError",),
            "low",
            ("timeout", "fallback"),
            Retry(backoff=backoff.Exponential()),
            (Retry(5, backoff.Exponential()),),
        ),
        Card(
            "timeout",
            "Timeout",
            "Stop waiting",
            "Stop waiting.",
            ("time limit",),
            ("a",),
            ("b",),
            ("TimeoutError",),
            "low",
            ("retry",),
            Timeout(30),
        ),
        Card(
            "fallback",
            "Fallback",
            "Answer anyway",
            "Answer.",
            ("x",),
            ("a",),
            ("b",),
            ("Exception",),
            "low",
            ("retry",),
            Fallback(backup_service, last_resort),
        ),
        Card(
            "cache",
            "Cache",
            "Answer anyway",
            "Answer.",
            ("x",),
            ("a",),
            ("b",),
            ("Exception",),
            "low",
            ("retry",),
            Cache(60, stale_if_error=3600),
        ),
        Card(
            "saga",
            "Saga",
            "Undo",
            "Answer.",
            ("x",),
            ("a",),
            ("b",),
            ("Exception",),
            "low",
            ("retry",),
            Saga([(create_user, delete_user), (send_email, cancel_email), (activate_account, deactivate_account)]),
        ),
    )
}


def card_of(slug: str) -> Card:
    if slug not in CARDS:
        raise LookupError(f"there is no card {slug!r}; there are {', '.join(CARDS)}")
    return CARDS[slug]


def example_of(slug: str) -> Pattern:
    return card_of(slug).example


def slugs() -> list[str]:
    return list(CARDS)
