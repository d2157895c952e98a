"""One workflow under many threads, and under many tasks that are cancelled: what it counted is the truth."""

from __future__ import annotations

import asyncio
import random

import pytest

from failwell import Workflow, virtual
from tests.patterns.test_workflow import quick, under_load
from tests.soak.test_soak import hammer, no_thread_left

pytestmark = pytest.mark.soak


def test_counts_of_many_threads_are_the_truth_for_long() -> None:
    check, _ = under_load()
    with no_thread_left():
        hammer(check.work)
    check.done()


def test_ten_thousand_executions_some_of_them_cancelled_are_all_counted() -> None:
    workflow = Workflow(retry=quick(3), bulkhead={"max_concurrent": 500, "max_queue": 10_000}, fallback={"value": None})
    attempts = 0

    async def operation() -> int:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(random.random())
        if random.random() < 0.3:
            raise ConnectionError("no")
        return 1

    guarded = workflow(operation)

    async def main() -> tuple[int, int]:
        tasks = [asyncio.ensure_future(guarded()) for _ in range(10_000)]
        for task in tasks[::7]:
            asyncio.get_running_loop().call_later(random.random() * 10, task.cancel)
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        return sum(isinstance(one, asyncio.CancelledError) for one in ended), sum(one is None for one in ended)

    cancelled, degraded = virtual.run(main())
    found = workflow.get_metrics()
    assert (found["executions"], found["active"], found["cancelled"]) == (10_000, 0, cancelled)
    assert (found["degraded"], found["fallbacks"], found["attempts"]) == (degraded, degraded, attempts)
    assert found["bulkhead"] == {"active": 0, "queued": 0, "rejected": found["rejections"]}
