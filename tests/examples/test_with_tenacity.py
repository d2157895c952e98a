"""The client that retries with tenacity: for real, and as the explorer sees it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import pytest

from failwell import explore, virtual
from failwell.examples.with_tenacity import load_user, load_user_in_time
from failwell.flow import Path


@pytest.mark.parametrize("client", [load_user, load_user_in_time])
def test_each_explored_path_is_what_really_happens(client: Any) -> None:
    for path in explore(client).paths:
        assert really(client, [choice.option for choice in path.choices]) == (path.ended, path.elapsed)


def really(client: Any, outcomes: list[str]) -> tuple[str, float]:
    """How a run ends whose calls end so, and after how long."""
    left = iter(outcomes)

    async def get(url: str) -> str:
        outcome = next(left)
        if outcome == "hang":
            await asyncio.get_running_loop().create_future()
        if outcome == "fail":
            raise ConnectionError("no answer")
        return "a user"

    async def main() -> tuple[str, float]:
        try:
            ended = f"answer of {get.__name__}" if await client(get) else ""
        except Exception as error:
            ended = f"raise {type(error).__name__}"
        return ended, asyncio.get_running_loop().time()

    ended = virtual.run(main())
    assert next(left, None) is None
    return ended


def test_what_hangs_is_tried_again_by_one_of_the_two_only() -> None:
    def after_a_hang(client: Any) -> Path:
        return next(
            path for path in explore(client).paths if [c.option for c in path.choices] in (["hang"], ["hang", "ok"])
        )

    assert after_a_hang(load_user).ended == "raise TimeoutError"
    assert after_a_hang(load_user_in_time).ended == "answer of get"


def test_it_runs_as_a_program() -> None:
    command = [sys.executable, "-m", "failwell.examples.with_tenacity"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("get (call 1) ok -> return after 0 s\n")
