"""What others that try again do under a limit of time from outside, where a deadline keeps a promise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import stamina
import tenacity

from failwell import virtual
from tests.peers.claims import breaks

RETRIES: dict[str, Callable[[Any], Any]] = {
    "tenacity": tenacity.retry(stop=tenacity.stop_after_attempt(9), wait=tenacity.wait_fixed(2), reraise=True),
    "stamina": stamina.retry(
        on=ConnectionError, attempts=9, timeout=60, wait_initial=2, wait_max=2, wait_jitter=0, wait_exp_base=1
    ),
}


@breaks("deadline::test_a_retry_begins_no_wait_that_it_would_not_survive", "stamina", "tenacity")
def test_a_wait_is_slept_through_until_the_limit_and_the_error_is_lost(peer: str) -> None:
    attempts: list[float] = []

    async def refused() -> None:
        attempts.append(time.monotonic())
        raise ConnectionError("refused")

    call: Callable[[], Awaitable[None]] = RETRIES[peer](refused)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await call()
        assert (attempts, time.monotonic()) == ([0, 2, 4], 5)

    stamina.set_active(True)
    virtual.run(main())
