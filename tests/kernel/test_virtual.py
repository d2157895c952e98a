from __future__ import annotations

import asyncio
import collections
import random
import signal
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import Timeout, explore, virtual
from failwell.virtual import Clock, Deadlock, VirtualLoop

REAL = {name: getattr(time, name) for name in ("sleep", "time", "monotonic", "perf_counter", "monotonic_ns", "time_ns")}


@pytest.fixture(autouse=True)
def _real_time_is_back() -> Any:
    chance = random.getstate()
    yield
    assert {name: getattr(time, name) for name in REAL} == REAL
    assert random.getstate() == chance
    assert virtual.current_clock() is None


def clocks() -> tuple[float, ...]:
    return time.monotonic(), time.time(), time.perf_counter(), time.monotonic_ns() / 1e9, time.time_ns() / 1e9


# --- on a loop ---


def test_time_starts_at_zero_and_only_waiting_moves_it() -> None:
    async def main() -> None:
        assert clocks() == (0,) * 5
        sum(range(10_000))
        assert clocks() == (0,) * 5
        await asyncio.sleep(86_400)
        assert clocks() == (86_400,) * 5
        time.sleep(0.5)  # noqa: ASYNC251
        assert asyncio.get_running_loop().time() == 86_400.5

    started = time.perf_counter()
    virtual.run(main())
    assert time.perf_counter() - started < 5


def test_the_result_and_the_error_come_out() -> None:
    async def fails() -> None:
        raise KeyError("own")

    assert virtual.run(asyncio.sleep(5, "answer")) == "answer"
    with pytest.raises(KeyError, match="own"):
        virtual.run(fails())


def test_the_same_seed_gives_the_same_run() -> None:
    async def main() -> list[float]:
        return [random.random() for _ in range(3)]

    assert virtual.run(main(), seed=1) == virtual.run(main(), seed=1) != virtual.run(main(), seed=2)
    with virtual.clock(seed=1):
        assert [random.random() for _ in range(3)] == virtual.run(main(), seed=1)
    with virtual.clock():
        assert [random.random() for _ in range(3)] == virtual.run(main()) == virtual.run(main(), seed=0)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8))
def test_timers_fire_in_order_at_their_time(delays: list[float]) -> None:
    fired: list[tuple[float, float]] = []

    async def one(delay: float) -> None:
        await asyncio.sleep(delay)
        fired.append((delay, time.monotonic()))

    async def main() -> None:
        await asyncio.gather(*map(one, delays))

    virtual.run(main())
    assert [d for d, _ in fired] == pytest.approx(sorted(delays), abs=1e-8)
    assert all(at == pytest.approx(delay, abs=1e-8) for delay, at in fired)


def test_it_runs_inside_a_running_loop_which_goes_on_afterwards() -> None:
    async def inner() -> float:
        await asyncio.sleep(60)
        assert asyncio.current_task() is not outer_task[0]
        return time.monotonic()

    outer_task: list[Any] = []

    async def main() -> float:
        outer_task.append(asyncio.current_task())
        loop = asyncio.get_running_loop()
        found = virtual.run(inner())
        with pytest.raises(KeyError):
            virtual.run(fails())
        assert asyncio.get_running_loop() is loop
        assert asyncio.current_task() is outer_task[0]
        async with asyncio.timeout(5):
            await asyncio.sleep(0.001)
        return found

    async def fails() -> None:
        raise KeyError

    assert asyncio.run(main()) == 60
    outer_task.clear()
    assert virtual.run(main()) == 60


def test_what_is_left_at_the_end_is_cancelled() -> None:
    ended: list[str] = []

    async def left() -> None:
        try:
            await asyncio.sleep(9)
        finally:
            ended.append("task")

    async def stream() -> Any:
        try:
            yield 1
        finally:
            ended.append("generator")

    kept: list[Any] = []

    async def main() -> None:
        kept.append(asyncio.create_task(left()))
        kept.append(stream())
        await anext(kept[1])
        await asyncio.sleep(1)

    virtual.run(main())
    assert sorted(ended) == ["generator", "task"]


def test_a_task_that_fails_at_the_end_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        try:
            await asyncio.sleep(9)
        finally:
            raise KeyError("late")

    async def stubborn() -> None:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            await asyncio.sleep(1)

    async def main() -> None:
        left.extend([asyncio.create_task(fails()), asyncio.create_task(stubborn())])
        await asyncio.sleep(0)

    left: list[Any] = []
    virtual.run(main())
    [reported] = caplog.records
    assert reported.getMessage().startswith("unhandled exception while virtual.run() ended")
    assert reported.exc_info
    assert repr(reported.exc_info[1]) == "KeyError('late')"


def test_a_task_that_will_not_end_does_not_keep_the_run_from_ending() -> None:
    async def immortal() -> None:
        try:
            await asyncio.sleep(9)
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    async def main() -> None:
        left.append(asyncio.create_task(immortal()))
        await asyncio.sleep(0)

    left: list[Any] = []
    virtual.run(main())
    left[0]._log_destroy_pending = False


def test_a_deadlock_is_a_clear_error() -> None:
    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match="everybody waits in virtual time and no timer is set"):
        virtual.run(main())


def test_only_a_coroutine_is_run() -> None:
    async def main() -> None: ...

    with pytest.raises(TypeError, match=r"virtual.run takes a coroutine, got <function .*: write run\(main\(\)\)"):
        virtual.run(main)  # type: ignore[arg-type]


# --- threads ---


@pytest.mark.parametrize(("jobs", "takes"), [(1, 1), (32, 1), (33, 2), (70, 3)])
def test_threads_sleep_in_virtual_time_side_by_side(jobs: int, takes: float) -> None:
    async def main() -> float:
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 1) for _ in range(jobs)))
        return time.monotonic()

    assert virtual.run(main()) == takes


def test_the_clock_stands_still_while_a_thread_works() -> None:
    async def main() -> tuple[float, float]:
        timer = asyncio.create_task(asyncio.sleep(1))
        await asyncio.to_thread(REAL["sleep"], 0.05)
        worked = time.monotonic()
        await timer
        return worked, time.monotonic()

    assert virtual.run(main()) == (0, 1)


def test_a_thread_sees_the_clock_and_wakes_the_loop() -> None:
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        event = asyncio.Event()

        def work() -> float:
            time.sleep(3)
            loop.call_soon_threadsafe(event.set)
            return time.monotonic()

        job = asyncio.create_task(asyncio.to_thread(work))
        await event.wait()
        return [time.monotonic(), await job]

    assert virtual.run(main()) == [3, 3]


def test_a_job_goes_on_when_the_task_that_waited_for_it_is_cancelled() -> None:
    ended: list[float] = []

    def work(seconds: float) -> None:
        time.sleep(seconds)
        ended.append(time.monotonic())

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.to_thread(work, 5)
        assert time.monotonic() == 1
        await asyncio.sleep(1)
        assert time.monotonic() == 2
        asyncio.create_task(asyncio.to_thread(work, 7))  # noqa: RUF006
        await asyncio.sleep(0)

    virtual.run(main())
    assert ended == [5, 9]


def test_pools_of_the_users_own_work_as_well() -> None:
    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(2) as pool:
            jobs = [loop.run_in_executor(pool, time.sleep, 1) for _ in range(5)]
            for job in jobs[-1:]:
                job.cancel()
            await asyncio.wait(jobs)
            took = time.monotonic()
        with pytest.raises(RuntimeError, match="shutdown"):
            loop.run_in_executor(pool, time.sleep, 1)
        await asyncio.sleep(1)
        return [took, time.monotonic()]

    assert virtual.run(main()) == [2, 3]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # fork with threads, from 3.12 on
def test_another_process_has_a_clock_of_its_own() -> None:
    async def main(pool: ProcessPoolExecutor) -> float:
        return await asyncio.get_running_loop().run_in_executor(pool, pow, 2, 5)

    with ProcessPoolExecutor(1) as pool:
        assert virtual.run(main(pool)) == 32


def test_a_thread_that_waits_for_ever_gets_the_deadlock() -> None:
    async def main() -> None:
        def work() -> None:
            event = virtual.make_event()
            event.wait()

        await asyncio.to_thread(work)

    with pytest.raises(Deadlock):
        virtual.run(main())


def test_a_thread_that_is_left_waiting_does_not_keep_the_run_from_ending() -> None:
    async def main() -> None:
        jobs.append(asyncio.ensure_future(asyncio.to_thread(left.wait)))
        await asyncio.sleep(1)

    with virtual.clock() as own:
        left = virtual._VirtualEvent(own)
    jobs: list[Any] = []
    virtual.run(main())


def test_other_threads_keep_real_time() -> None:
    seen: list[float] = []

    def outside() -> None:
        seen.append(time.monotonic())
        time.sleep(0.001)
        seen.append(time.monotonic())

    real = time.monotonic()
    with virtual.clock():
        thread = threading.Thread(target=outside)
        thread.start()
        thread.join()
        assert time.monotonic() == 0
    assert real <= seen[0] < seen[1]


# --- plain code ---


def test_plain_code_runs_in_virtual_time() -> None:
    with virtual.clock() as own:
        time.sleep(3600)
        assert clocks() == (3600,) * 5
        assert own.now == 3600
        with pytest.raises(ValueError, match="sleep length must be non-negative"):
            time.sleep(-1)
        with virtual.clock():
            assert time.monotonic() == 0
            assert virtual.run(asyncio.sleep(5, "nested")) == "nested"
        assert time.monotonic() == 3600
    assert time.sleep is REAL["sleep"]


def test_time_is_real_again_after_an_error() -> None:
    with pytest.raises(KeyError), virtual.clock():
        raise KeyError


def test_a_thread_left_behind_ends_when_its_time_is_over() -> None:
    ended: list[str] = []
    inside = threading.Event()

    def work() -> None:
        try:
            inside.set()
            time.sleep(60)
        except Deadlock as error:
            ended.append(str(error))
            own.sleep(1)

    def quiet() -> None:
        with pytest.raises(Deadlock, match="this virtual time is over"):
            work()

    with virtual.clock() as own:
        virtual.start_thread(quiet)
        inside.wait()
    limit = time.monotonic() + 2
    while not ended and time.monotonic() < limit:
        time.sleep(0.001)
    assert ended == ["this virtual time is over"]


def test_a_signal_that_breaks_a_wait_leaves_the_clock_right() -> None:
    with virtual.clock() as own:
        event = virtual.make_event()
        own.enter()  # somebody else works, so that this thread really waits
        timer = threading.Timer(0.02, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            event.wait(5)
        timer.join()
        own.leave()
        time.sleep(1)
        assert own.now == 1


def test_an_event_wakes_a_thread_early() -> None:
    with virtual.clock():
        event = virtual.make_event()

        def work() -> None:
            time.sleep(2)
            event.set()

        virtual.start_thread(work)
        assert event.wait(9)
        assert time.monotonic() == 2
        assert event.wait(9)
        assert virtual.make_event().wait(3) is False
        assert time.monotonic() == 5


def test_nobody_else_waits_or_works() -> None:
    own = Clock()
    assert own.nobody_else()
    own.enter()
    assert not own.nobody_else()
    own.leave()
    waiter = own.make_waiter(1)
    own.wake(waiter)
    own.wait(waiter)
    assert own.now == 0


def test_a_loop_can_be_used_by_itself() -> None:
    loop = VirtualLoop()
    try:
        assert loop.run_until_complete(asyncio.sleep(5, "answer")) == "answer"
        assert loop.time() == 5
    finally:
        loop.close()


def test_a_loop_that_is_woken_before_it_waits_does_not_wait() -> None:
    loop = VirtualLoop()
    try:
        loop._write_to_self()
        assert loop.select(None) == []
        loop.call_later(5, print)
        loop._write_to_self()
        assert loop.select(5) == []
        assert loop.time() == 0, "what woke it comes before the timer"
    finally:
        loop.close()


@pytest.mark.parametrize("seconds", [16_000_000.0, 20_000_000.0, 3e9, 1e15])
def test_a_timer_far_in_the_future_fires(seconds: float) -> None:
    async def main() -> float:
        await asyncio.sleep(seconds)
        await asyncio.sleep(max(1.0, seconds / 1e6))
        return time.monotonic()

    assert virtual.run(main()) == pytest.approx(seconds + max(1.0, seconds / 1e6))


def test_a_timeout_far_in_the_future_is_explored_and_run() -> None:
    (path,) = [path for path in explore(Timeout(20_000_000)).paths if path.choices[0].option == "hang"]
    assert type(path.error).__name__ == "TimeoutExceeded"
    assert path.elapsed == 20_000_000


# --- threads that are used again ---


def test_a_thread_is_used_again_and_ends_when_it_had_no_work_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "_IDLE", 0.05)
    monkeypatch.setattr(virtual, "_idle", collections.deque())
    used: list[threading.Thread] = []
    for _ in range(2):
        done = threading.Event()
        virtual.start_thread(lambda done=done: (used.append(threading.current_thread()), done.set(), True)[-1])
        assert done.wait(5)
        while not virtual._idle and used[-1].is_alive():
            time.sleep(0.001)
    assert used[0] is used[1]
    used[0].join(5)
    assert not used[0].is_alive()
    assert len(virtual._idle) == 0


def test_a_thread_that_was_just_taken_waits_on_for_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtual, "_IDLE", 0.01)
    worker = virtual._Worker()
    time.sleep(0.1)
    done = threading.Event()
    worker.inbox.put(done.set)
    assert done.wait(5)


def test_a_plain_sleep_of_zero_is_no_time_and_no_error() -> None:
    with virtual.clock() as clock:
        time.sleep(0)
        assert clock.now == 0
