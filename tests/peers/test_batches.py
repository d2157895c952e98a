"""What others that go through many items do where a batch keeps a promise."""

from __future__ import annotations

import asyncio
from functools import partial

import aiometer
import pytest

from tests.peers.claims import breaks


@breaks("batch::test_every_item_ends_as_it_would_alone_and_none_is_lost_or_run_twice", "aiometer")
def test_one_item_that_fails_ends_all_and_takes_the_answers_along(peer: str) -> None:
    started: list[int] = []

    async def process(item: int) -> int:
        started.append(item)
        await asyncio.sleep(0.001)
        if item == 3:
            raise ValueError("bad")
        return item

    async def main() -> None:
        answers = None
        with pytest.raises(ValueError, match="bad"):
            answers = await aiometer.run_all([partial(process, item) for item in range(100)], max_at_once=2)
        assert answers is None
        assert len(started) < 10

    asyncio.run(main())
