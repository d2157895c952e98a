"""What other retries do about errors that will not pass."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import failsafe
import hyx.retry
import pytest
import tenacity

from tests.peers.claims import breaks

Operation = Callable[[], Any]


def by_tenacity(fn: Operation) -> Any:
    return tenacity.retry(stop=tenacity.stop_after_attempt(3))(fn)()


def by_hyx(fn: Operation) -> Any:
    async def call() -> Any:
        return fn()

    return asyncio.run(hyx.retry.retry(attempts=3, backoff=0.0)(call)())  # pyright: ignore[reportArgumentType]


def by_pyfailsafe(fn: Operation) -> Any:
    async def call() -> Any:
        return fn()

    return asyncio.run(failsafe.Failsafe(retry_policy=failsafe.RetryPolicy(allowed_retries=2)).run(call))


RETRIES = {"tenacity": by_tenacity, "hyx": by_hyx, "pyfailsafe": by_pyfailsafe}


@breaks("error_classification::test_only_what_may_pass_is_tried_again", "tenacity", "hyx", "pyfailsafe")
def test_a_mistake_of_the_callers_is_made_again_and_again(peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    calls: list[None] = []

    def wrong() -> None:
        calls.append(None)
        raise ValueError("no number")

    with contextlib.suppress(Exception):
        RETRIES[peer](wrong)
    assert len(calls) >= 3
