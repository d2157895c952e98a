"""What is known about saga."""

from __future__ import annotations

from typing import Any

from failwell import Saga
from failwell.catalog.card import Card

__all__ = ["CARD"]

# What the example is about; never executed.


def create_user(state: dict[str, Any]) -> None:
    """Step 1."""


def delete_user(state: dict[str, Any]) -> None:
    """Undoes step 1."""


def send_email(state: dict[str, Any]) -> None:
    """Step 2."""


def cancel_email(state: dict[str, Any]) -> None:
    """Undoes step 2."""


def activate_account(state: dict[str, Any]) -> None:
    """Step 3."""


def deactivate_account(state: dict[str, Any]) -> None:
    """Undoes step 3."""


CARD = Card(
    slug="saga",
    name="Saga",
    group="Undo",
    intent="Run steps that each can be undone; when one fails, undo what was done, last first.",
    also_known_as=("compensation", "compensating transaction", "long-lived transaction"),
    use_when=(
        "one piece of work changes several systems that share no transaction",
        "each step has an action that undoes it",
        "half of the work is worse than none of it",
    ),
    avoid_when=(
        "one database transaction does it all",
        "a step cannot be undone: do that one last",
        "others must not see the work before all of it is done",
    ),
    error_types=("SagaError",),
    effort="high",
    related=("retry", "timeout"),
    symptoms=("half done", "inconsistent", "rollback", "distributed transaction", "orphan", "compensation failed"),
    module="failwell.patterns.saga",
    sources=(
        'Hector Garcia-Molina, Kenneth Salem, "Sagas" (https://doi.org/10.1145/38713.38742)',
        'Chris Richardson, "Pattern: Saga" (https://microservices.io/patterns/data/saga.html)',
    ),
    operation="saga",
    outcomes=("ok", "fail"),
    make=lambda: Saga([(create_user, delete_user), (send_email, cancel_email), (activate_account, deactivate_account)]),
)
