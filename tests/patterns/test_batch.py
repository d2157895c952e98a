from __future__ import annotations

import asyncio
import functools
import gc
import itertools
import pickle
import re
import threading
import time
import tracemalloc
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import (
    Batch,
    BatchFailure,
    BatchItem,
    BatchResult,
    CircuitBreaker,
    Fallback,
    Outcome,
    Retry,
    Router,
    Saga,
    Step,
    Timeout,
    Validate,
    backoff,
    errors,
    explore,
    listening,
    virtual,
)
from failwell.events import Event, ItemFailed, ItemStarted, ItemSucceeded, Progressed
from failwell.flow.draw.sequence import happy_path, sequence
from failwell.policy import Operation, Policy, is_async
from tests.kernel.world import Hang, World
from tests.patterns.test_cancellation import cancelled_at
from tests.soak.test_soak import hammer

ONE = backoff.Fixed(1.0)


class Work:
    """Processes items after a script: item -> the outcome of each attempt, of which the last holds for all further."""

    def __init__(self, world: World, script: dict[Any, Any] | None = None, takes: float = 0.0) -> None:
        self.world = world
        self.script = script or {}
        self.takes = takes
        self.calls: Counter[Any] = Counter()
        self.order: list[Any] = []
        self.active = self.most = 0
        self.lock = threading.Lock()
        self.process = self.make()

    def start(self, item: Any) -> Any:
        with self.lock:
            outcomes = self.script.get(item, ())
            outcome = outcomes[min(self.calls[item], len(outcomes) - 1)] if outcomes else f"did {item}"
            self.calls[item] += 1
            self.order.append(item)
            self.active += 1
            self.most = max(self.most, self.active)
        return outcome

    def end(self, outcome: Any) -> Any:
        with self.lock:
            self.active -= 1
        if isinstance(outcome, BaseException) or (isinstance(outcome, type) and issubclass(outcome, BaseException)):
            raise outcome
        return outcome

    def make(self) -> Any:
        async def process(item: Any) -> Any:
            outcome = self.start(item)
            if self.takes:
                await asyncio.sleep(self.takes)
            if outcome is Hang:
                await asyncio.get_running_loop().create_future()
            return self.end(outcome)

        def process_plain(item: Any) -> Any:
            outcome = self.start(item)
            if self.takes:
                time.sleep(self.takes)
            return self.end(outcome)

        made: Any = process if self.world.asynchronous else process_plain
        made.__name__ = "process"
        return made


def ran(world: World, batch: Batch, items: Any, **more: Any) -> BatchResult:
    result: BatchResult = world.do(lambda: batch(items, **more))
    return result


def told(world: World, batch: Batch, items: Any) -> Outcome[BatchResult]:
    outcome: Outcome[BatchResult] = world.do(lambda: batch.outcome(items))
    return outcome


# --- each item has its turn ---

outcome_lists = st.lists(st.sampled_from(["ok", "down", "bad"]), min_size=1, max_size=4)


@settings(max_examples=60)
@given(
    script=st.lists(outcome_lists, max_size=12),
    attempts=st.integers(0, 3),
    batch_size=st.integers(1, 5),
    max_concurrent=st.integers(1, 4),
    asynchronous=st.booleans(),
    takes=st.sampled_from([0.0, 1.0]),
)
def test_every_item_ends_as_it_would_alone_and_none_is_lost_or_run_twice(
    script: list[list[str]], attempts: int, batch_size: int, max_concurrent: int, asynchronous: bool, takes: float
) -> None:
    world = World(asynchronous)
    meant = {"ok": "fine", "down": ConnectionError("down"), "bad": ValueError("bad")}
    work = Work(world, {n: [meant[word] for word in words] for n, words in enumerate(script)}, takes)
    retry = Retry(attempts, backoff.Fixed(0.0)) if attempts else None
    batch = Batch(work.process, retry, batch_size, max_concurrent)
    result = ran(world, batch, range(len(script)))

    made: dict[int, int] = {}
    ended: dict[int, str] = {}
    for item, words in enumerate(script):
        for attempt in range(1, max(attempts, 1) + 1):
            made[item], ended[item] = attempt, words[min(attempt, len(words)) - 1]
            if ended[item] != "down":
                break
    assert dict(work.calls) == made
    good = [item for item in ended if ended[item] == "ok"]
    assert result.by_index == dict.fromkeys(good, "fine")
    assert list(result.by_index) == good
    assert [(f.index, f.item, f.attempts, f.error) for f in result.failed] == [
        (item, item, made[item], meant[word]) for item, word in ended.items() if word != "ok"
    ]
    assert (result.done, result.unfinished, result.ok) == (len(script), [], len(good) == len(script))
    assert work.most <= min(max_concurrent, batch_size)


def test_results_and_failures_stand_in_the_order_of_the_items(world: World) -> None:
    async def slow(item: int) -> int:
        await asyncio.sleep(10 - item)
        return plain(item)

    def slow_plain(item: int) -> int:
        time.sleep(10 - item)
        return plain(item)

    def plain(item: int) -> int:
        if item % 3 == 0:
            raise ValueError(item)
        return item * item

    process = slow if world.asynchronous else slow_plain
    for size in (2, 4, 100):
        result = ran(world, Batch(process, batch_size=size, max_concurrent=4), range(10))
        assert result.succeeded == [1, 4, 16, 25, 49, 64]
        assert result.by_index == {n: n * n for n in (1, 2, 4, 5, 7, 8)}
        assert [failure.index for failure in result.failed] == [0, 3, 6, 9]


def test_a_result_can_be_taken_apart(world: World) -> None:
    work = Work(world, {"b": [ValueError("bad")]})
    succeeded, failed = ran(world, Batch(work.process), ["a", "b", "c"])
    assert succeeded == ["did a", "did c"]
    assert [(failure.item, failure.attempts, failure.index) for failure in failed] == [("b", 1, 1)]


def test_what_is_falsy_or_an_error_that_was_returned_is_a_result_like_any_other(world: World) -> None:
    odd = [None, 0, "", [], False, ValueError("returned"), Ellipsis, float("nan")]
    result = ran(world, Batch(world.of(lambda item: item)), odd)
    assert len(result.succeeded) == len(odd)
    assert all(one is other for one, other in zip(result.succeeded, odd, strict=True))


def test_each_item_comes_to_the_process_as_it_is(world: World) -> None:
    items: list[Any] = [{"a": 1}, (1, 2), [3], {4}, object(), None, (), ({"deep": []},)]
    for retry in (None, Retry(2)):
        seen: list[Any] = []
        ran(world, Batch(world.of(seen.append), retry), items)
        assert all(one is other for one, other in zip(seen, items, strict=True))


def test_no_items_are_no_work(world: World) -> None:
    told: list[Event] = []
    result = ran(world, Batch(world.operation(), on_progress=told.append), [])
    assert (result.succeeded, result.failed, result.done, result.ok, told) == ([], [], 0, True, [])


def test_a_batch_in_which_everything_fails_is_told_as_any_other(world: World) -> None:
    result = ran(world, Batch(world.operation(ConnectionError)), range(3))
    assert [failure.index for failure in result.failed] == [0, 1, 2]
    assert not result.ok


def test_the_errors_of_all_items_can_be_raised_at_once(world: World) -> None:
    work = Work(world, {1: [ValueError("one")], 3: [OSError("three")]})
    result = ran(world, Batch(work.process), range(5))
    with pytest.raises(ExceptionGroup, match="2 items of 5 failed") as caught:
        result.raise_if_failed()
    assert [str(error) for error in caught.value.exceptions] == ["one", "three"]
    with pytest.raises(ExceptionGroup, match="1 item of 1 failed"):
        ran(world, Batch(work.process), [1]).raise_if_failed()
    ran(world, Batch(work.process), [0]).raise_if_failed()


def test_a_batch_with_failed_items_counts_as_degraded(world: World) -> None:
    work = Work(world, {1: [ValueError("one")]})
    assert told(world, Batch(work.process), range(3)).degraded
    assert not told(world, Batch(work.process), [0, 2]).degraded


def test_so_does_one_with_an_item_that_was_answered_by_a_fallback(world: World) -> None:
    for max_concurrent in (1, 2):
        poor = Fallback(world.operation("poor"))
        batch = Batch(world.operation(OSError), poor, max_concurrent=max_concurrent)
        outcome = told(world, batch, ["a", "b"])
        assert (outcome.unwrap().succeeded, outcome.degraded) == (["poor", "poor"], True)


# --- attempts ---


def test_each_item_gets_the_whole_policy_for_itself(world: World) -> None:
    work = Work(world, {"a": [ConnectionError("reset"), "late"], "b": [ConnectionError("down")]})
    batch = Batch(work.process, Retry(3, ONE))
    outcome = told(world, batch, ["a", "b", "c"])
    assert outcome.unwrap().succeeded == ["late", "did c"]
    [failure] = outcome.unwrap().failed
    assert (failure.item, failure.attempts, failure.index) == ("b", 3, 1)
    assert failure.error.__notes__ == ["failwell gave up after 3 attempts in 2 s: no attempt left"]
    assert outcome.elapsed == 3


def test_a_success_tells_its_attempts_too(world: World) -> None:
    heard: list[Any] = []
    work = Work(world, {"a": [ConnectionError("reset"), "late"]})
    ran(world, Batch(work.process, Retry(3, ONE), on_item=heard.append), ["a", "b"])
    assert [(event.index, event.attempts) for event in heard] == [(0, 2), (1, 1)]


def test_an_item_that_a_policy_refuses_was_not_attempted(world: World) -> None:
    breaker = CircuitBreaker(2, on=Exception)
    result = ran(world, Batch(world.operation(ValueError), breaker), range(4))
    assert [failure.attempts for failure in result.failed] == [1, 1, 0, 0]
    assert isinstance(result.failed[3].error, errors.CircuitOpenError)
    process = world.operation("fine")
    result = ran(world, Batch(process, Validate(input=lambda item: item > 1)), range(4))
    assert result.by_index == {2: "fine", 3: "fine"}
    assert [(failure.attempts, type(failure.error)) for failure in result.failed] == [(0, errors.ValidationFailed)] * 2
    assert len(process.log.calls) == 2


def test_a_policy_sees_the_item_as_the_argument_of_the_call(world: World) -> None:
    alternative = world.operation("poor")
    ran(world, Batch(world.operation(OSError), Fallback(alternative)), ["a", "b"])
    assert alternative.log.calls == [(("a",), {}), (("b",), {})]


def test_attempts_are_counted_for_each_item_also_of_a_batch_in_a_batch(world: World) -> None:
    seen: list[Any] = []
    inner_work = Work(world, {2: [ConnectionError("reset"), "late"]})
    inner = Batch(inner_work.process, Retry(2, backoff.Fixed(0.0)), on_item=lambda event: seen.append(event.attempts))
    tries: Counter[int] = Counter()

    async def outer(item: int) -> None:
        await inner([1, 2, 3])
        tries[item] += 1
        if tries[item] < 3:
            raise ConnectionError("again")

    def outer_plain(item: int) -> None:
        inner([1, 2, 3])
        tries[item] += 1
        if tries[item] < 3:
            raise ConnectionError("again")

    heard: list[Any] = []
    process: Any = outer if world.asynchronous else outer_plain
    ran(world, Batch(process, Retry(5, backoff.Fixed(0.0)), on_item=heard.append), ["x", "y"])
    assert [event.attempts for event in heard] == [3, 3]
    assert seen[:3] == [1, 2, 1]
    assert set(seen[3:]) == {1}


class Elsewhere(Policy):
    """Somebody's own, which calls in a thread that knows nothing of the caller's context."""

    async def run(self, call: Any, rt: Any) -> Any:
        answers: list[Any] = []
        thread = threading.Thread(target=lambda: answers.append(call()))
        thread.start()
        thread.join()
        return answers[0]


def test_where_nobody_can_count_nothing_breaks() -> None:
    heard: list[Any] = []
    result = Batch(str, Elsewhere(), on_item=heard.append)([1])
    assert (result.succeeded, heard[0].attempts) == (["1"], 0)


def test_a_process_may_be_protected_already_or_be_an_operation_itself(world: World) -> None:
    work = Work(world, {1: [ConnectionError("reset"), "late"]})
    assert ran(world, Batch(Retry(2, ONE)(work.process)), [0, 1]).succeeded == ["did 0", "late"]
    saga = Saga([Step(world.of(lambda state: state["order"] * 2), name="double")])
    [state] = ran(world, Batch(saga), [{"order": 4}]).succeeded
    assert state == {"order": 4, "double": 8}
    router = Router({"a": world.of(str.upper)}, lambda item: "a")
    result = ran(world, Batch(router, Retry(2)), ["x"])
    assert result.succeeded == ["X"]


# --- where items come from ---


def test_items_are_taken_a_portion_at_a_time(world: World) -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        for item in itertools.count():
            taken += 1
            yield item

    done = 0

    def process(item: int) -> None:
        nonlocal done
        assert taken - done <= 7
        done += 1
        if done == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ran(world, Batch(world.of(process), batch_size=7), endless())
    assert taken == 56


@pytest.mark.parametrize("max_concurrent", [1, 3])
def test_the_next_portion_is_taken_when_all_of_this_one_is_done(world: World, max_concurrent: int) -> None:
    happened: list[str] = []

    def items() -> Iterator[int]:
        for item in range(6):
            happened.append(f"take {item}")
            yield item

    batch = Batch(world.of(lambda item: happened.append(f"do {item}")), batch_size=3, max_concurrent=max_concurrent)
    ran(world, batch, items())
    assert happened[:3] == ["take 0", "take 1", "take 2"]
    assert sorted(happened[3:6]) == ["do 0", "do 1", "do 2"]
    assert happened[6:9] == ["take 3", "take 4", "take 5"]


@pytest.mark.parametrize("items", [[], [1, 2], (1, 2), {1, 2}, {1: "a"}, range(3), "generator", "getitem"])
def test_items_may_be_anything_that_can_be_gone_through(world: World, items: Any) -> None:
    class Old:
        def __getitem__(self, place: int) -> int:
            return (1, 2)[place]

    def make() -> Any:
        if items == "generator":
            return (n for n in (1, 2))
        return Old() if items == "getitem" else items

    assert ran(world, Batch(world.of(lambda item: item)), make()).succeeded == list(make())


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("abc", "items must be several things to process, got the text 'abc'"),
        (b"abc", "items must be several things to process, got the text b'abc'"),
        (7, "items must be something to go through, such as a list, got 7"),
        (None, "items must be something to go through, such as a list, got None"),
    ],
)
def test_what_cannot_be_gone_through_is_refused_at_once(world: World, items: Any, message: str) -> None:
    process = world.operation()
    for call in (Batch(process), Batch(process).outcome):
        with pytest.raises(TypeError, match=message):
            call(items)
    assert process.log.calls == []


def test_if_the_items_end_with_an_error_what_was_taken_is_done_first(world: World) -> None:
    def items() -> Iterator[int]:
        yield from range(5)
        raise OSError("the cursor is lost")

    work = Work(world)
    result = BatchResult()
    with pytest.raises(OSError, match="the cursor is lost"):
        ran(world, Batch(work.process, batch_size=3), items(), into=result)
    assert work.order == [0, 1, 2, 3, 4]
    assert (result.done, result.unfinished) == (5, [])


@pytest.mark.parametrize("max_concurrent", [1, 2])
def test_items_may_come_from_an_async_generator(max_concurrent: int) -> None:
    taken: list[int] = []

    async def items(end: BaseException | None = None) -> AsyncIterator[int]:
        for item in range(7):
            await asyncio.sleep(1)
            taken.append(item)
            yield item
        if end is not None:
            raise end

    world = World(True)
    work = Work(world)
    batch = Batch(work.process, batch_size=3, max_concurrent=max_concurrent)
    assert ran(world, batch, items()).done == 7
    assert sorted(work.order) == taken == list(range(7))
    result = BatchResult()
    with pytest.raises(OSError, match="lost"):
        ran(world, batch, items(OSError("lost")), into=result)
    assert result.done == 7


def test_an_async_generator_that_is_cut_loses_no_item() -> None:
    async def items() -> AsyncIterator[int]:
        for item in itertools.count():
            await asyncio.sleep(1)
            yield item

    work = Work(World(True))
    result = BatchResult()
    batch = Batch(work.process, batch_size=3)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.5):
                await batch(items(), into=result)

    virtual.run(main())
    assert result.done == 3
    assert result.unfinished == [BatchItem(3, 3, False), BatchItem(4, 4, False)]


def test_async_items_need_an_async_process() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="items must be a plain iterable, as str is a plain function"):
        Batch(str)(items())


# --- several at once ---


def test_as_many_are_under_way_at_once_as_may_be(world: World) -> None:
    work = Work(world, takes=2.0)
    outcome = told(world, Batch(work.process, max_concurrent=5), range(20))
    assert (work.most, outcome.elapsed) == (5, 8)
    assert outcome.unwrap().succeeded == [f"did {n}" for n in range(20)]


def test_a_free_place_goes_to_the_next_item_at_once(world: World) -> None:
    def takes(item: float) -> float:
        return item

    async def process(item: float) -> float:
        await asyncio.sleep(takes(item))
        return item

    def process_plain(item: float) -> float:
        time.sleep(takes(item))
        return item

    batch = Batch(process if world.asynchronous else process_plain, max_concurrent=2)
    assert told(world, batch, [10, 1, 1, 1, 1, 1, 5]).elapsed == 10


def test_a_retry_of_one_item_holds_up_no_other(world: World) -> None:
    work = Work(world, {0: [ConnectionError("down")]}, takes=1.0)
    outcome = told(world, Batch(work.process, Retry(3, backoff.Fixed(4.0)), max_concurrent=2), range(10))
    assert outcome.elapsed == 11
    assert [failure.index for failure in outcome.unwrap().failed] == [0]


def test_concurrent_items_do_not_see_what_others_set_in_their_context(world: World) -> None:
    variable = ContextVar("variable", default="unset")

    def process(item: int) -> str:
        before = variable.get()
        variable.set(f"by {item}")
        return before

    def start(max_concurrent: int) -> Any:
        if world.asynchronous:

            async def main() -> Any:
                variable.set("of the caller")
                result = await Batch(world.of(process), max_concurrent=max_concurrent)(range(6))
                return result, variable.get()

            return virtual.run(main())

        def plain() -> Any:
            variable.set("of the caller")
            result = Batch(process, max_concurrent=max_concurrent)(range(6))
            return result, variable.get()

        return plain()

    result, after = start(3)
    assert (result.succeeded, after) == (["of the caller"] * 6, "of the caller")
    result, after = start(1)
    assert (result.succeeded[1], after) == ("by 0", "by 5")


def test_one_object_serves_many_callers_at_once() -> None:
    work = Work(World(True), takes=1.0)
    batch = Batch(work.process, batch_size=2, max_concurrent=2)

    async def main() -> list[BatchResult]:
        return await asyncio.gather(*(batch([f"{n}-{k}" for k in range(5)]) for n in range(8)))

    for number, result in enumerate(virtual.run(main())):
        assert result.succeeded == [f"did {number}-{k}" for k in range(5)]


def test_items_that_never_wait_leave_the_loop_to_others_between_portions() -> None:
    ticks: list[int] = []

    async def tick() -> None:
        while True:
            ticks.append(len(ticks))
            await asyncio.sleep(0)

    async def process(item: int) -> None: ...

    async def main() -> None:
        ticking = asyncio.create_task(tick())
        await Batch(process, batch_size=10)(range(100))
        ticking.cancel()

    virtual.run(main())
    assert len(ticks) >= 9


# --- cut short ---


@settings(max_examples=20)
@given(
    max_concurrent=st.integers(1, 3),
    batch_size=st.integers(1, 4),
    fails=st.sampled_from([None, 0, 1, 2]),
    outside=st.sampled_from([None, Timeout(60.0), Retry(2)]),
)
def test_a_batch_can_be_cancelled_at_every_step_and_what_it_took_is_accounted_for(
    max_concurrent: int, batch_size: int, fails: int | None, outside: Policy | None
) -> None:
    state: dict[str, Any] = {}

    def make() -> Callable[[], Any]:
        work = Work(World(True), {fails: [ConnectionError("no")]}, takes=1.0)
        batch = Batch(work.process, Retry(2, ONE), batch_size, max_concurrent, on_item=slowly)
        state.update(work=work, result=BatchResult(), batch=batch)
        call: Any = batch if outside is None else outside(batch)
        return functools.partial(call, range(5), into=state["result"])

    async def slowly(event: Event) -> None:
        await asyncio.sleep(0.5)

    async def again(call: Any) -> None:
        result, work = state["result"], state["work"]
        good, bad, left = set(result.by_index), {f.index for f in result.failed}, {f.index for f in result.unfinished}
        taken = len(good) + len(bad) + len(left)
        assert good | bad | left == set(range(taken))
        assert len(left) <= batch_size
        started = {one.index for one in result.unfinished if one.is_started}
        assert set(work.calls) == good | bad | started
        assert all(work.calls[item] == 1 for item in good)
        assert work.active <= len(started)
        work.calls.clear()
        await state["batch"](range(5))

    step = 0
    while cancelled_at(step, make, again):
        step += 1
        assert step < 300


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
@pytest.mark.parametrize("max_concurrent", [1, 2])
def test_what_is_no_exception_ends_the_batch_and_what_was_done_is_known(
    world: World, interruption: type[BaseException], max_concurrent: int
) -> None:
    work = Work(world, {4: [interruption]})
    result = BatchResult()
    heard: list[Event] = []
    with pytest.raises(interruption), listening(heard.append):
        ran(world, Batch(work.process, Retry(3, ONE), 3, max_concurrent), range(100), into=result)
    assert result.succeeded[:3] == ["did 0", "did 1", "did 2"]
    assert BatchItem(4, 4, True) in result.unfinished
    assert result.done + len(result.unfinished) == 6
    assert work.calls[4] == 1
    assert set(work.calls) <= set(range(6))
    assert not any(isinstance(event, ItemFailed) for event in heard)


@pytest.mark.parametrize("fails", [False, True])
def test_a_plain_batch_whose_time_is_over_starts_no_further_item(fails: bool) -> None:
    for max_concurrent in (1, 3):
        work = Work(World(False), {n: [ValueError("bad")] for n in range(20) if fails}, takes=2.0)
        result = BatchResult()
        batch = Batch(work.process, max_concurrent=max_concurrent)
        with virtual.clock():
            with pytest.raises(errors.TimeoutExceeded):
                Timeout(5.0).call(batch, range(20), into=result)
            at_once = result.done, len(work.order)
            time.sleep(100)
        assert at_once == (2 * max_concurrent, 3 * max_concurrent)
        assert (result.done, len(work.order)) == at_once
        assert [one.is_started for one in result.unfinished].count(True) == max_concurrent
        assert result.done + len(result.unfinished) == 20


def test_a_plain_batch_that_is_interrupted_while_it_waits_leaves_its_threads_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from failwell.runtime import BlockingRuntime

    work = Work(World(False), takes=1.0)
    result = BatchResult()

    def interrupted(*_: Any) -> bool:
        time.sleep(2.5)
        raise KeyboardInterrupt

    monkeypatch.setattr(BlockingRuntime, "wait", interrupted)
    with virtual.clock():
        with pytest.raises(KeyboardInterrupt):
            Batch(work.process, max_concurrent=2)(range(20), into=result)
        time.sleep(100)
    assert len(work.order) == 6
    assert (result.done, len(result.unfinished)) == (4, 16)


def test_what_is_left_can_be_done_by_another_call(world: World) -> None:
    items = iter(range(10))
    work = Work(world, {5: [KeyboardInterrupt, "at last"]})
    first = BatchResult()
    batch = Batch(work.process, batch_size=4)
    with pytest.raises(KeyboardInterrupt):
        ran(world, batch, items, into=first)
    rest = itertools.chain([one.item for one in first.unfinished], items)
    second = ran(world, batch, rest)
    assert [*first.succeeded, *second.succeeded] == [f"did {n}" if n != 5 else "at last" for n in range(10)]
    assert [n for n in work.calls if work.calls[n] > 1] == [5]


def test_a_result_is_filled_once(world: World) -> None:
    batch = Batch(world.operation("fine"))
    result = BatchResult()
    assert ran(world, batch, [1], into=result) is result
    with pytest.raises(ValueError, match=r"into must be a new BatchResult\(\), got <BatchResult: 1 done, 0 failed>"):
        batch([1], into=result)
    busy = BatchResult()
    pending = batch([1, 2], into=busy)
    with pytest.raises(ValueError, match="would be done twice"):
        batch([1, 2], into=busy)
    if world.asynchronous:
        pending.close()
    with pytest.raises(TypeError, match=r"into must be a BatchResult\(\), got \[\]"):
        batch([1], into=[])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_a_coroutine_that_is_closed_ends_at_once() -> None:
    for max_concurrent in (1, 2):
        work = Work(World(True), {1: [Hang]})
        result = BatchResult()
        running = Batch(work.process, max_concurrent=max_concurrent)([0, 1, 2, 3], into=result)

        async def main(running: Any = running) -> None:
            running.send(None)
            await asyncio.sleep(0)
            running.close()
            await asyncio.sleep(1)
            assert len(asyncio.all_tasks()) == 1

        virtual.run(main())
        assert result.done + len(result.unfinished) == 4


def test_a_batch_that_is_closed_from_another_context_ends_as_well() -> None:
    work = Work(World(True), {0: [Hang]})
    running = Batch(work.process)([0])

    async def main() -> None:
        from contextvars import copy_context

        copy_context().run(running.send, None)
        running.close()

    virtual.run(main())
    assert work.order == [0]


# --- what is reported ---


def test_what_happens_is_reported(world: World) -> None:
    work = Work(world, {"b": [ValueError("bad")]})
    outcome = told(world, Batch(work.process, batch_size=2), ["a", "b", "c"])
    assert [(type(event), *event[4:]) for event in outcome.events] == [
        (ItemStarted, 0),
        (ItemSucceeded, 0, 1),
        (ItemStarted, 1),
        (ItemFailed, 1, 1, outcome.unwrap().failed[0].error),
        (Progressed, 2, 1, 3),
        (ItemStarted, 2),
        (ItemSucceeded, 2, 1),
        (Progressed, 3, 1, 3),
    ]
    assert {(event.layer, event.operation) for event in outcome.events} == {("Batch", "batch")}
    assert ItemSucceeded.role == "success"
    assert ItemFailed.role == "error"


def test_how_many_there_are_is_told_where_it_is_known(world: World) -> None:
    told: list[Progressed] = []
    batch = Batch(world.operation("fine"), batch_size=2, on_progress=told.append)
    ran(world, batch, range(3))
    ran(world, batch, (n for n in range(3)))
    assert [(event.done, event.total) for event in told] == [(2, 3), (3, 3), (2, None), (3, None)]


@pytest.mark.parametrize("max_concurrent", [1, 3])
def test_callbacks_hear_of_each_item_and_each_portion(world: World, max_concurrent: int) -> None:
    heard: list[Any] = []
    work = Work(world, {1: [ValueError("bad")]})
    batch = Batch(
        work.process,
        batch_size=3,
        max_concurrent=max_concurrent,
        on_item=world.of(heard.append),
        on_progress=world.of(heard.append),
    )
    ran(world, batch, range(4))
    assert sorted(event.index for event in heard[:3]) == [0, 1, 2]
    assert [type(event) for event in heard[3:]] == [Progressed, ItemSucceeded, Progressed]
    assert {event.index: type(event) for event in heard[:3]}[1] is ItemFailed


def test_a_callback_that_fails_changes_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("broken")

    result = ran(world, Batch(world.operation("fine"), on_item=broken, on_progress=broken), range(3))
    assert result.succeeded == ["fine"] * 3
    assert caplog.text.count("a failwell callback failed: broken") == 4


def test_an_async_callback_of_a_plain_batch_is_refused() -> None:
    async def late(event: Event) -> None: ...

    for name in ("on_item", "on_progress"):
        with pytest.raises(TypeError, match=f"{name} must be a plain function: nobody awaits it"):
            Batch(str, **{name: late})  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="awaitable"):
            Batch(str, **{name: lambda event: late(event)})([1, 2])  # type: ignore[arg-type]


@pytest.mark.parametrize("max_concurrent", [1, 2])
@pytest.mark.parametrize("retry", [None, Retry(3)])
def test_an_awaitable_from_a_plain_process_is_a_mistake_and_no_failure_of_each_item(
    max_concurrent: int, retry: Retry | None
) -> None:
    calls: list[int] = []

    async def late() -> None: ...

    def process(item: int) -> Any:
        calls.append(item)
        return late()

    result = BatchResult()
    with pytest.raises(TypeError, match="an awaitable, under a plain call"):
        Batch(process, retry, max_concurrent=max_concurrent)(range(100), into=result)
    assert result.failed == []
    assert len(calls) <= max_concurrent


def test_an_async_process_may_be_hidden_from_an_async_batch() -> None:
    async def late(item: int) -> int:
        return item * 2

    class Hidden:
        async def __call__(self, item: int) -> int:
            return await late(item)

    assert is_async(Batch(Hidden()))
    assert virtual.run(Batch(Hidden())([1, 2])).succeeded == [2, 4]
    assert virtual.run(Batch(functools.partial(late))([1, 2])).succeeded == [2, 4]


# --- memory ---


def test_a_long_batch_takes_no_more_memory_than_a_short_one() -> None:
    def work(count: int) -> int:
        batch = Batch(lambda item: bytes(1000), batch_size=50, keep_results=False)
        tracemalloc.start()
        try:
            result = batch(bytes(1000) for _ in range(count))
            assert (result.done, result.succeeded, result.by_index) == (count, [], {})
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    work(200)
    assert work(20_000) < work(2_000) * 1.2 + 20_000


def test_neither_items_nor_frames_are_kept_alive_by_a_cycle(world: World) -> None:
    class Item: ...

    def process(item: Item) -> None:
        raise ValueError("bad")

    gone: list[Any] = []

    def items() -> Iterator[Item]:
        for _ in range(4):
            item = Item()
            gone.append(weakref.ref(item))
            yield item

    for retry, max_concurrent in itertools.product((None, Retry(2, backoff.Fixed(0.0), on=Exception)), (1, 2)):
        gone.clear()
        gc.collect()
        gc.disable()
        try:
            batch = Batch(world.of(process), retry, max_concurrent=max_concurrent)
            assert world.do(lambda: batch(items())).done == 4  # noqa: B023
            until = time.monotonic() + 5
            while any(one() for one in gone) and time.monotonic() < until:
                time.sleep(0.001)  # a thread lets go of what it did
            assert [one() for one in gone] == [None] * 4
        finally:
            gc.enable()


def test_a_failure_that_is_kept_keeps_no_other_items_alive(world: World) -> None:
    class Item:
        def __init__(self, number: int) -> None:
            self.number = number

    def process(item: Item) -> None:
        if item.number == 3:
            raise ValueError("bad")

    for max_concurrent in (1, 2):
        gone: list[Any] = []

        def items(gone: list[Any] = gone) -> Iterator[Item]:
            for number in range(50):
                item = Item(number)
                gone.append(weakref.ref(item))
                yield item

        batch = Batch(world.of(process), max_concurrent=max_concurrent, batch_size=10)
        [failure] = world.do(lambda: batch(items())).failed  # noqa: B023
        gc.collect()
        until = time.monotonic() + 5
        while sum(one() is not None for one in gone) > 2 and time.monotonic() < until:
            time.sleep(0.001)  # a thread lets go of what it did
        assert sum(one() is not None for one in gone) <= 2  # the failed one, and the last that was looked at
        assert failure.item.number == 3


def test_an_error_has_the_traceback_of_the_process_and_not_that_of_the_batch(world: World) -> None:
    def process(item: int) -> None:
        raise ValueError("bad")

    result = ran(world, Batch(world.of(process)), [1])
    traceback = result.failed[0].error.__traceback__
    names: list[str] = []
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert names[-1] == "process"
    assert "one" not in names


def test_an_error_object_that_is_raised_for_every_item_keeps_a_short_traceback(world: World) -> None:
    always = ValueError("always the same")

    def length() -> int:
        traceback, count = always.__traceback__, 0
        while traceback is not None:
            traceback, count = traceback.tb_next, count + 1
        return count

    lengths: list[int] = []

    def process(item: int) -> None:
        lengths.append(length())
        raise always

    result = ran(world, Batch(world.of(process)), range(50))
    assert len(result.failed) == 50
    assert max(lengths) == lengths[1]


def test_a_result_and_its_parts_can_be_pickled() -> None:
    result: Any = Batch(int)(["1", "x", "3"])
    again = pickle.loads(pickle.dumps(result))
    assert again.succeeded == [1, 3]
    assert [(f.item, f.attempts, f.index, str(f.error)) for f in again.failed] == [
        (f.item, f.attempts, f.index, str(f.error)) for f in result.failed
    ]
    assert again.by_index == {0: 1, 2: 3}


# --- explored ---


def score(row: str) -> None:
    raise AssertionError("the explorer must not run it")


def test_exploring_goes_through_two_items_and_runs_none() -> None:
    assert [str(path) for path in explore(Batch(score), outcomes=("ok", "fail")).paths] == [
        "score (item 1) ok -> score (item 2) ok -> return after 0 s",
        "score (item 1) ok -> score (item 2) fails -> item failed (item 2) -> return (degraded answer) after 0 s",
        "score (item 1) fails -> item failed (item 1) -> score (item 2) ok -> return (degraded answer) after 0 s",
        "score (item 1) fails -> item failed (item 1) -> score (item 2) fails -> item failed (item 2) "
        "-> return (degraded answer) after 0 s",
    ]


@pytest.mark.parametrize("max_concurrent", [1, 4])
def test_the_policy_of_an_item_is_explored_with_it(max_concurrent: int) -> None:
    found = explore(Batch(score, Retry(2, ONE), max_concurrent=max_concurrent), outcomes=("ok", "fail"))
    assert len(found) == 9
    assert (
        "take an item (item 1) -> score (attempt 1) ok -> take an item (item 2) -> score (attempt 1) fails -> wait 1 s "
        "-> score (attempt 2) ok -> return after 1 s"
    ) in map(str, found.paths)
    assert found.report(fail=0.1).calls == pytest.approx({"score": 2.2})
    assert found.report(fail=0.1).degraded == pytest.approx(1 - 0.99**2)
    assert [event.attempts for event in found.paths[-1].events if isinstance(event, ItemFailed)] == [2, 2]


def test_an_item_fails_with_an_error_that_its_policy_handles() -> None:
    found = explore(Batch(score, Retry(2, ONE, on=KeyError)), outcomes=("ok", "fail"))
    assert len(found) == 9
    assert {type(event.error) for event in found.paths[-1].events if isinstance(event, ItemFailed)} == {KeyError}
    nested = Router({"only": Timeout(3)(Batch(score, Retry(2, ONE, on=KeyError)))}, lambda: "only")
    assert len(explore(nested, outcomes=("ok", "fail"))) == 9


def test_the_compact_drawing_of_a_batch_is_a_loop_over_its_items() -> None:
    graph = explore(Batch(score, Retry(2, ONE)), outcomes=("ok", "fail")).graph()
    titles = [node.title for node in graph.nodes]
    assert sorted(titles) == ["give up", "item failed", "return", "return", "score", "start", "take an item", "wait"]
    here = {node.title: node.id for node in graph.nodes}
    back = {(edge.source, edge.detail) for edge in graph.edges if edge.target == here["take an item"] and edge.source}
    assert back == {(here["score"], "item 2"), (here["item failed"], "item 1")}


def test_as_messages_the_policy_of_an_item_stands_between_the_batch_and_its_process() -> None:
    found = explore(Batch(score, Retry(2, ONE)), outcomes=("ok", "fail"))
    text = sequence(found, happy_path(found))
    who = dict(re.findall(r"participant (\w+) as (\w+)", text))
    said = [(who[one], who[other], words) for one, other, words in re.findall(r"(p\d)->>(p\d): (.*)", text)]
    assert said[:3] == [
        ("caller", "Batch", "call"),
        ("Batch", "Retry", "item 1"),
        ("Retry", "score", "attempt 1 at 0 s"),
    ]


def test_a_batch_in_a_saga_a_router_and_a_stack_is_explored(world: World) -> None:
    batch = Batch(score)
    saga = Saga([(batch, None)])
    assert len(explore(saga, outcomes=("ok", "fail"))) == 4
    assert len(explore(Timeout(9) >> batch, outcomes=("ok", "fail", "hang"))) == 7
    process = world.operation("fine")
    assert world.do(lambda: (Timeout(9) >> Batch(process))([1, 2])).succeeded == ["fine", "fine"]
    assert world.run(Timeout(9), Batch(process), [1, 2]).unwrap().done == 2


# --- arguments ---


def test_a_batch_says_what_it_is() -> None:
    batch = Batch(score, Retry(2, ONE), batch_size=10)
    assert repr(batch) == "Batch(score, retry=Retry(2, backoff=Fixed(1)), batch_size=10)"
    assert (batch.label, batch.__name__) == ("Batch", "batch")
    named = batch.replace(name="nightly")
    assert (named.label, named.__name__, named.batch_size) == ("Batch nightly", "nightly", 10)
    assert list(batch.describe()) == [
        "process",
        "retry",
        "batch_size",
        "max_concurrent",
        "on_item",
        "on_progress",
        "keep_results",
        "name",
    ]
    assert isinstance(batch, Operation)


def test_a_result_says_how_far_it_came() -> None:
    result = BatchResult()
    assert repr(result) == "<BatchResult: 0 done, 0 failed>"
    work = Work(World(False), {3: [ValueError("bad")], 5: [KeyboardInterrupt]})
    with pytest.raises(KeyboardInterrupt):
        Batch(work.process)(range(8), into=result)
    assert repr(result) == "<BatchResult: 5 done, 1 failed, 3 unfinished>"
    assert not result.ok
    [failure] = result.failed
    assert isinstance(failure, BatchFailure)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"process": 7}, "process must be callable, got 7"),
        ({"retry": 3}, r"retry must be a policy such as Retry\(\), got 3"),
        ({"retry": Retry}, r"retry must be a policy such as Retry\(\), got <class"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 1.5}, "batch_size must be a whole number, got 1.5"),
        ({"batch_size": True}, "batch_size must be a whole number, got True"),
        ({"max_concurrent": 0}, "max_concurrent must be at least 1, got 0"),
        ({"max_concurrent": "4"}, "max_concurrent must be a whole number, got '4'"),
        ({"on_item": 7}, "on_item must be callable, got 7"),
        ({"on_progress": 7}, "on_progress must be callable, got 7"),
        ({"keep_results": 0}, "keep_results must be True or False, got 0"),
        ({"name": 7}, "name must be a text, got 7"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Batch(**{"process": score, **arguments})


def test_a_generator_function_is_no_process() -> None:
    def rows(item: int) -> Iterator[int]:
        yield item

    async def rows_async(item: int) -> AsyncIterator[int]:
        yield item

    for process in (rows, rows_async):
        for retry in (None, Retry(2)):
            with pytest.raises(TypeError, match=f"{process.__name__} is a generator function"):
                Batch(process, retry)


# --- many threads ---


def test_under_many_threads_each_caller_gets_its_own_results() -> None:
    def process(ticket: tuple[int, int, int]) -> tuple[int, int, int]:
        if ticket[2] % 3 == 1:
            raise ConnectionError(str(ticket))
        return ticket

    batch = Batch(process, Retry(2, backoff.Fixed(0.0)), batch_size=4, max_concurrent=2)

    def work(place: int, number: int) -> None:
        tickets = [(place, number, k) for k in range(7)]
        result = batch(tickets)
        assert result.by_index == {k: tickets[k] for k in range(7) if k % 3 != 1}
        assert [(f.index, f.item, f.attempts) for f in result.failed] == [(k, tickets[k], 2) for k in (1, 4)]

    hammer(work, seconds=0.3)
