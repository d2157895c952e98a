"""Many calls at once: the proof notices what a policy loses, and the figures are ratios."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from failwell.bench import crowd
from failwell.bench.jobs import NotDoingTheJob

Function = Callable[[int], Coroutine[Any, Any, int]]


def test_each_policy_is_measured_beside_the_bare_calls():
    found = crowd.measure_crowd(calls=600, runs=1)
    assert [entry["policy"] for entry in found] == list(crowd.guards(600))
    assert all(entry["time_to_bare"] > 0 and entry["memory_to_bare"] > 0 for entry in found)


def skips_one(fn: Function) -> Function:
    async def guarded(value: int) -> int:
        return value if value == 7 else await fn(value)

    return guarded


def calls_twice(fn: Function) -> Function:
    async def guarded(value: int) -> int:
        await fn(value)
        return await fn(value)

    return guarded


def answers_others(fn: Function) -> Function:
    async def guarded(value: int) -> int:
        return await fn(value) // 2

    return guarded


def one_by_one(fn: Function) -> Function:
    lock = asyncio.Lock()

    async def guarded(value: int) -> int:
        async with lock:
            return await fn(value)

    return guarded


@pytest.mark.parametrize("guard", [skips_one, calls_twice, answers_others, one_by_one])
def test_a_policy_that_does_something_else_is_noticed(guard: object, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(crowd, "PATIENCE", 0.2)
    monkeypatch.setattr(crowd, "guards", lambda calls: {"wrong": (lambda: guard, False)})
    with pytest.raises(NotDoingTheJob):
        crowd.measure_crowd(calls=20, runs=1)
