from __future__ import annotations

import asyncio
import functools
import gc
import json
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import (
    Cache,
    CircuitBreaker,
    Deadline,
    Fallback,
    Outcome,
    Retry,
    Saga,
    Timeout,
    errors,
    explore,
    listening,
    virtual,
)
from failwell.events import Event, HealthChanged
from failwell.flow.states import state_machine, transitions
from failwell.patterns.health_check import HealthCheck, HealthRegistry, HealthReport, HealthState, HealthStatus, health
from failwell.policy import is_async
from tests.flow.stacks import explored, fingerprint, follow
from tests.kernel.world import Hang, World, kinds
from tests.patterns.test_cancellation import cancelled_at
from tests.soak.test_soak import hammer, no_thread_left

HEALTHY, DEGRADED, UNKNOWN, UNHEALTHY = HealthState
DOWN = ConnectionError("down")


def in_turn(world: World, waits: list[float], look: Callable[[], Any]) -> list[Any]:
    """What ``look`` gives after each wait; it may be async in an async world."""
    seen: list[Any] = []

    def plain() -> None:
        for wait in waits:
            time.sleep(wait)
            seen.append(look())

    async def main() -> None:
        for wait in waits:
            await asyncio.sleep(wait)
            seen.append(await look())

    world.do(main if world.asynchronous else plain)
    return seen


# --- what a probe says ---


@pytest.mark.parametrize("answer", [None, True, 0, "", [], {}, 1.5, "unhealthy", HEALTHY, object()])
def test_whatever_a_probe_returns_is_healthy_unless_it_says_otherwise(world: World, answer: Any) -> None:
    status = world.do(HealthCheck(world.of(lambda: answer)))
    assert status.status is HEALTHY
    assert status.ok
    assert status.error is None


@pytest.mark.parametrize("answer", [False, UNHEALTHY, UNKNOWN, HealthStatus("x", UNHEALTHY)])
def test_a_probe_fails_by_what_it_returns(world: World, answer: Any) -> None:
    status = world.do(HealthCheck(world.operation(lambda: answer, name="ping")))
    assert status.status is UNHEALTHY
    assert not status.ok
    assert isinstance(status.error, errors.UnavailableError)
    assert str(status.error).startswith("ping answered ")


def test_a_probe_that_raises_is_no_error_of_the_check(world: World) -> None:
    outcome: Outcome[HealthStatus] = world.do(HealthCheck(world.operation(DOWN), name="db").outcome)
    status = outcome.unwrap()
    assert (status.name, status.status, status.error) == ("db", UNHEALTHY, DOWN)
    assert not outcome.degraded


def test_what_is_degraded_is_usable_and_no_failure(world: World) -> None:
    for probe in (
        world.of(lambda: DEGRADED),
        world.of(lambda: HealthStatus("part", DEGRADED)),
        Fallback(Fallback.value("spare"))(world.operation(DOWN)),
        Cache(0.5, stale_if_error=60)(world.operation(1, DOWN)),
    ):
        check = HealthCheck(probe, 1)
        seen = in_turn(world, [0, 1], check)
        assert seen[-1].status is DEGRADED
        assert seen[-1].ok
        assert seen[-1].error is None


def test_a_report_of_others_can_be_what_a_probe_returns(world: World) -> None:
    inner = HealthRegistry()
    leaf = inner.register(HealthCheck(lambda: True, name="leaf"))
    check = HealthCheck(world.of(inner), 1)
    assert world.do(check).status is UNHEALTHY  # nothing is known of the leaf
    leaf()
    assert world.do(HealthCheck(world.of(inner))).status is HEALTHY


def test_a_slow_answer_is_a_degraded_one(world: World) -> None:
    assert world.do(HealthCheck(world.operation(1, takes=1.0), slow_call=1.0)).status is HEALTHY
    slow = world.do(HealthCheck(world.operation(1, takes=1.5), slow_call=1.0))
    assert (slow.status, slow.took) == (DEGRADED, 1.5)
    assert world.do(HealthCheck(world.operation(DOWN, takes=1.5), slow_call=1.0)).status is UNHEALTHY


def test_a_probe_that_hangs_needs_a_limit_of_time(world: World) -> None:
    status = world.do(HealthCheck(Timeout(2)(world.operation(Hang))))
    assert status.status is UNHEALTHY
    assert isinstance(status.error, errors.TimeoutExceeded)
    assert status.took == 2


def test_the_mark_of_a_degraded_probe_stays_inside(world: World) -> None:
    check = HealthCheck(Fallback(Fallback.value(1))(world.operation(DOWN)))
    outcome: Outcome[HealthStatus] = world.do(check.outcome)
    assert outcome.unwrap().status is DEGRADED
    assert not outcome.degraded


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_passes_and_says_nothing(world: World, stop: type[BaseException]) -> None:
    check = HealthCheck(world.operation(stop, 1))
    with pytest.raises(stop):
        world.do(check)
    assert check.status is UNKNOWN
    assert world.do(check).status is HEALTHY


def test_an_awaitable_from_a_plain_probe_is_a_mistake_that_is_told() -> None:
    hidden = World(True).operation(1, name="hidden")
    check = HealthCheck(lambda: hidden())
    with pytest.raises(TypeError, match="<lambda> returned coroutine, an awaitable, under a plain call"):
        check()
    assert check.status is UNKNOWN


# --- not more than once in a while ---


def test_an_answer_is_good_for_one_interval(world: World) -> None:
    probe = world.operation(1)
    check = HealthCheck(probe, 10)
    in_turn(world, [0, 9.5, 0.5, 5, 5.5, 40], check)
    assert probe.log.times == [0, 10, 20.5, 60.5]


@pytest.mark.parametrize("outcome", [DOWN, False])
def test_a_failure_is_good_for_one_interval_too(world: World, outcome: Any) -> None:
    probe = world.operation(outcome)
    seen = in_turn(world, [0, 5, 5], HealthCheck(probe, 10))
    assert probe.log.times == [0, 10]
    assert [one.status for one in seen] == [UNHEALTHY] * 3
    assert [one.checked for one in seen] == [0, 0, 10]


def test_the_interval_counts_from_the_end_of_a_probe(world: World) -> None:
    probe = world.operation(1, takes=15.0)
    in_turn(world, [0, 9.5, 0.5], HealthCheck(probe, 10))
    assert probe.log.times == [0, 25]


def test_a_jump_of_the_wall_clock_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = World(False).operation(1)
    with virtual.clock():
        check = HealthCheck(probe, 10)
        check()
        for jump in (1e6, -1e6):
            monkeypatch.setattr(time, "time", lambda: jump)  # noqa: B023
            check()
            assert check.status is HEALTHY
    assert len(probe.log.calls) == 1


def test_many_tasks_share_one_probe() -> None:
    probe = World(True).operation(DOWN, takes=1.0)

    async def main() -> list[HealthStatus]:
        check = HealthCheck(probe, 0.001)  # what they waited for is good enough, however old it is by then
        return await asyncio.gather(*(check() for _ in range(100)))

    found = virtual.run(main())
    assert {one.status for one in found} == {UNHEALTHY}
    assert len(probe.log.calls) == 1


def test_many_threads_share_one_probe() -> None:
    under_way: list[int] = []
    most: list[int] = []

    def probe() -> None:
        under_way.append(1)
        most.append(len(under_way))
        time.sleep(0.05)
        under_way.pop()

    check = HealthCheck(probe, 60)
    found: list[HealthStatus] = []
    threads = [threading.Thread(target=lambda: found.append(check())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [one.status for one in found] == [HEALTHY] * 20
    assert most == [1]


def test_loops_in_several_threads_share_one_probe() -> None:
    calls: list[int] = []

    async def probe() -> None:
        calls.append(1)
        await asyncio.sleep(0.05)

    check = HealthCheck(probe, 60)
    found: list[HealthStatus] = []

    async def ask() -> HealthStatus:
        status: HealthStatus = await check()
        return status

    threads = [threading.Thread(target=lambda: found.append(asyncio.run(ask()))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert [one.status for one in found] == [HEALTHY] * 5
    assert len(calls) == 1


def test_a_cancelled_caller_harms_nobody() -> None:
    probe = World(True).operation(1, takes=2.0)

    async def main() -> None:
        check = HealthCheck(probe, 10)
        first, second, third = (asyncio.ensure_future(check()) for _ in range(3))
        await asyncio.sleep(1)
        third.cancel()  # it only waited
        first.cancel()  # it made the probe: another one goes on
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await second).status is HEALTHY
        assert time.monotonic() == 3
        assert third.cancelled()

    virtual.run(main())
    assert probe.log.times == [0, 1]


def test_an_abandoned_caller_harms_nobody() -> None:
    probe = World(False).operation(lambda: time.sleep(5), lambda: None, name="probe")
    with virtual.clock():
        check = HealthCheck(probe, 10)
        outcome: Any = Timeout(1).outcome(check)
        assert isinstance(outcome.error, errors.TimeoutExceeded)
        assert check().status is HEALTHY
        assert time.monotonic() == 1
        time.sleep(6)
        assert check.known.checked == 1
    assert len(probe.log.calls) == 2


def test_a_caller_whose_time_is_over_says_nothing_about_what_is_probed() -> None:
    probe = World(True).operation(1)
    check = HealthCheck(Timeout(5)(probe), 10)

    @Deadline(1)
    async def too_late() -> HealthStatus:
        time.sleep(2)  # noqa: ASYNC251 - so that the loop has no chance to end it
        status: HealthStatus = await check()
        return status

    async def main() -> HealthStatus:
        with pytest.raises(errors.DeadlineExceeded):
            await too_late()
        assert check.status is UNKNOWN
        status: HealthStatus = await check()
        return status

    assert virtual.run(main()).status is HEALTHY
    own = HealthCheck(Deadline(2)(World(False).operation(Hang)), 10)
    with virtual.clock():
        assert own().status is UNHEALTHY


@pytest.mark.parametrize("driven", [True, False])
def test_a_check_can_be_cancelled_at_every_step(driven: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if driven:
        monkeypatch.setattr("failwell.policy.derive", lambda *_, **__: None)

    async def calls_back(event: Event) -> None:
        await asyncio.sleep(0.5)

    for script in ((1,), (DOWN,), (Hang,)):
        for others in (0, 2):

            def make(script: Any = script, others: int = others) -> Any:
                probe = World(True).operation(*script, takes=1.0)
                check = HealthCheck(probe, 0.25, on_change=calls_back)

                async def ask() -> None:
                    await asyncio.gather(check(), *(check() for _ in range(others)))

                made: Any = ask
                made.log, made.check = probe.log, check
                return made

            async def again(ask: Any) -> None:
                ask.log.script, ask.log.takes = (1,), 0.0
                await asyncio.sleep(1)
                assert (await ask.check()).status is HEALTHY

            step = 0
            while cancelled_at(step, make, again):
                step += 1
                assert step < 200
            assert step >= 2


def test_a_probe_that_asks_for_itself_is_told_what_is_known(world: World) -> None:
    known: list[HealthState] = []

    def plain() -> None:
        known.append(check().status)

    async def on_loop() -> None:
        known.append((await check()).status)

    check = HealthCheck(on_loop if world.asynchronous else plain, 10)
    seen = in_turn(world, [0, 10], check)
    assert known == [UNKNOWN, HEALTHY]
    assert [one.status for one in seen] == [HEALTHY, HEALTHY]


# --- against flapping ---


@given(
    probes=st.lists(st.sampled_from([HEALTHY, DEGRADED, UNHEALTHY]), min_size=1, max_size=12),
    failures=st.integers(1, 4),
    successes=st.integers(1, 4),
    asynchronous=st.booleans(),
)
def test_the_status_changes_only_after_so_many_probes_in_a_row(
    probes: list[HealthState], failures: int, successes: int, asynchronous: bool
) -> None:
    world = World(asynchronous)
    check = HealthCheck(
        world.operation(*(functools.partial(HealthState, one) for one in probes)), 1, failures, successes
    )
    heard: list[Event] = []
    with listening(heard.append):
        seen = [one.status for one in in_turn(world, [1.0] * len(probes), check)]

    order = [HEALTHY, DEGRADED, UNHEALTHY]
    expected = [probes[0]]
    for place in range(1, len(probes)):
        now = expected[-1]
        changed_at = max((n for n in range(1, place) if expected[n] is not expected[n - 1]), default=0)
        tail = [order.index(one) - order.index(now) for one in probes[changed_at + 1 : place + 1]]
        worse = len(tail) >= failures and all(one > 0 for one in tail[-failures:])
        better = len(tail) >= successes and all(one < 0 for one in tail[-successes:])
        expected.append(probes[place] if worse or better else now)
    assert seen == expected
    changes = [after for before, after in zip([None, *expected], expected, strict=False) if after is not before]
    assert [event.status for event in heard if isinstance(event, HealthChanged)] == changes


def test_a_failure_below_the_threshold_is_told_all_the_same(world: World) -> None:
    check = HealthCheck(world.operation(1, DOWN), 1, failure_threshold=2)
    seen = in_turn(world, [0, 1, 1], check)
    assert [(one.status, one.error, one.since) for one in seen] == [
        (HEALTHY, None, 0),
        (HEALTHY, DOWN, 0),
        (UNHEALTHY, DOWN, 2),
    ]


def test_where_nothing_is_known_one_probe_decides(world: World) -> None:
    check = HealthCheck(world.operation(DOWN), 1, failure_threshold=5)
    assert check.status is UNKNOWN
    assert check.known == HealthStatus("operation", UNKNOWN)
    assert world.do(check).status is UNHEALTHY


def test_what_no_probe_has_confirmed_for_long_is_unknown(world: World) -> None:
    probe = world.operation(1, 1, DOWN)
    check = HealthCheck(probe, 10, failure_threshold=3)
    seen: list[Any] = []

    def look() -> None:
        seen.append((check.status, check.known.since))

    def plain() -> None:
        check()
        for wait in (29.5, 0.5):
            time.sleep(wait)
            look()
        check()
        look()
        time.sleep(30)
        check()
        look()

    async def main() -> None:
        await check()
        for wait in (29.5, 0.5):
            await asyncio.sleep(wait)
            look()
        await check()
        look()
        await asyncio.sleep(30)
        await check()
        look()

    heard: list[Event] = []
    with listening(heard.append):
        world.do(main if world.asynchronous else plain)
    assert seen == [(HEALTHY, 0), (UNKNOWN, 30), (HEALTHY, 0), (UNHEALTHY, 60)]
    assert [event.status for event in heard if isinstance(event, HealthChanged)] == ["healthy", "unhealthy"]


# --- what is reported ---


def test_a_change_is_reported_with_its_reason(world: World) -> None:
    check = HealthCheck(world.operation(1, DOWN, DOWN, 1), 1, name="database")
    heard: list[Event] = []
    with listening(heard.append):
        in_turn(world, [0, 1, 1, 1], check)
    changes = [event for event in heard if isinstance(event, HealthChanged)]
    assert [(event.status, event.error) for event in changes] == [
        ("healthy", None),
        ("unhealthy", DOWN),
        ("healthy", None),
    ]
    assert (changes[0].layer, changes[0].operation, changes[0].role) == ("HealthCheck database", "database", "decision")
    assert len(heard) == 3


def test_a_callback_gets_the_change_and_what_it_raises_changes_nothing(world: World) -> None:
    heard: list[str] = []

    def note(event: HealthChanged) -> None:
        heard.append(event.status)
        raise ZeroDivisionError

    check = HealthCheck(world.operation(1, DOWN), 1, on_change=world.of(note))
    seen = in_turn(world, [0, 1, 1], check)
    assert [one.status for one in seen] == [HEALTHY, UNHEALTHY, UNHEALTHY]
    assert heard == ["healthy", "unhealthy"]


def test_a_changed_copy_knows_the_same(world: World) -> None:
    probe = world.operation(1)
    check = HealthCheck(probe, 10)
    copy = check.replace(interval=5)
    turns = iter([check, copy, copy, check])
    seen = in_turn(world, [0, 4, 1, 1], lambda: next(turns)())
    assert probe.log.times == [0, 5]
    assert [one.checked for one in seen] == [0, 0, 5, 5]
    with virtual.clock():
        assert copy.replace(stale_after=10).known == check.replace(stale_after=10).known


def test_it_is_an_operation_like_any_other(world: World) -> None:
    check = HealthCheck(world.operation(DOWN, 1), 1, name="db")
    assert is_async(check) == world.asynchronous
    outcome = world.run(Retry(3), check)
    assert outcome.unwrap().status is UNHEALTHY
    assert kinds(outcome) == ["Attempt", "HealthChanged"]
    assert (check.label, check.__name__) == ("HealthCheck db", "db")
    assert HealthCheck(ping).__name__ == "healthcheck"
    saga = Saga([(lambda state: check(), None)]) if not world.asynchronous else None
    assert saga is None or list(saga()) == ["<lambda>"]


def test_an_old_error_is_let_go_with_the_next_probe() -> None:
    kept: list[weakref.ref[Any]] = []

    class Mine(Exception):
        def __init__(self) -> None:
            kept.append(weakref.ref(self))

    def probe() -> None:
        if len(kept) < 3:
            raise Mine

    with virtual.clock():
        gc.disable()
        try:
            check = HealthCheck(probe, 1)
            for _ in range(4):
                check()
                time.sleep(1)
            assert [one() for one in kept] == [None, None, None]
        finally:
            gc.enable()


# --- in the background ---


def test_a_check_runs_in_the_background_for_as_long_as_a_block(world: World) -> None:
    probe = world.operation(1, DOWN, takes=0.5)
    check = HealthCheck(probe, 10)
    seen: list[HealthState] = []

    def plain() -> None:
        with check.running() as running:
            assert running is check
            for wait in (1.0, 11.0, 10.0):
                time.sleep(wait)
                seen.append(check.status)
        time.sleep(100)

    async def main() -> None:
        async with check.running() as running:
            assert running is check
            for wait in (1.0, 11.0, 10.0):
                await asyncio.sleep(wait)
                seen.append(check.status)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await asyncio.sleep(100)

    world.do(main if world.asynchronous else plain)
    assert seen == [HEALTHY, UNHEALTHY, UNHEALTHY]
    assert probe.log.times == [0, 10.5, 21]


def test_callers_and_the_background_share_probes() -> None:
    probe = World(True).operation(1)

    async def main() -> None:
        check = HealthCheck(probe, 10)
        await check()
        async with check.running():
            for _ in range(6):
                await asyncio.sleep(4)
                await check()

    virtual.run(main())
    assert probe.log.times == [0, 10, 20]


def test_a_probe_in_a_task_is_cancelled_at_the_end_of_the_block() -> None:
    ended: list[str] = []

    async def probe() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(1)
            ended.append("cleaned up")

    async def main() -> float:
        async with HealthCheck(probe).running():
            await asyncio.sleep(1)
        return time.monotonic()

    assert virtual.run(main()) == 2
    assert ended == ["cleaned up"]


def test_a_block_that_is_cancelled_or_fails_ends_its_task_too() -> None:
    async def probe() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(5)

    async def main() -> None:
        async def block() -> None:
            async with HealthCheck(probe).running():
                await asyncio.sleep(30)

        task = asyncio.ensure_future(block())
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(1)
        task.cancel()  # once more, while it waits for the probe to clean up
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() == 6
        with pytest.raises(ZeroDivisionError):
            async with HealthCheck(probe).running():
                raise ZeroDivisionError
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtual.run(main())


def test_a_probe_whose_own_work_was_cancelled_does_not_end_the_background() -> None:
    def cancelled() -> None:
        raise asyncio.CancelledError

    probe = World(True).operation(cancelled, 1)

    async def main() -> HealthState:
        async with HealthCheck(probe, 10).running() as check:
            await asyncio.sleep(11)
            return check.status

    assert virtual.run(main()) is HEALTHY


def test_a_mistake_in_the_background_is_told_at_the_end_of_the_block() -> None:
    hidden = World(True).operation(1, name="hidden")
    check = HealthCheck(lambda: hidden())
    with pytest.raises(TypeError, match="returned coroutine"), check.running():
        pass
    with pytest.raises(ZeroDivisionError), check.running():
        raise ZeroDivisionError

    async def main(fails: bool) -> None:
        async def nonsense() -> None:
            raise KeyError("in the callback of a mistake")

        odd = HealthCheck(nonsense)
        odd._watch.settle = lambda *_: 1 / 0  # type: ignore[method-assign, assignment]
        async with odd.running():
            await asyncio.sleep(1)
            if fails:
                raise KeyError

    with pytest.raises(ZeroDivisionError):
        virtual.run(main(False))
    with pytest.raises(KeyError):
        virtual.run(main(True))


def test_a_thread_ends_with_its_block() -> None:
    probes: list[float] = []
    with no_thread_left():
        with HealthCheck(lambda: probes.append(time.monotonic()), 0.02).running() as check:
            until = time.monotonic() + 10
            while len(probes) < 3 and time.monotonic() < until:
                time.sleep(0.01)
            assert check.status is HEALTHY
        made = len(probes)
        time.sleep(0.1)
        assert len(probes) == made >= 3


def test_a_check_cannot_run_in_a_block_of_the_other_kind() -> None:
    async def probe() -> None: ...

    with pytest.raises(TypeError, match=r"is async: use `async with check.running\(\):`, which takes a task"):
        with HealthCheck(probe).running():
            pass

    async def main() -> None:
        async with HealthCheck(len).running():  # type: ignore[arg-type]
            pass

    with pytest.raises(TypeError, match=r"is plain: use `with check.running\(\):`, which takes a thread"):
        asyncio.run(main())


# --- all of them together ---

states = st.sampled_from([HEALTHY, DEGRADED, UNKNOWN, UNHEALTHY])


@given(found=st.lists(st.tuples(states, st.booleans()), max_size=5))
def test_a_report_is_as_bad_as_the_worst_that_is_critical(found: list[tuple[HealthState, bool]]) -> None:
    registry = HealthRegistry()
    for number, (state, critical) in enumerate(found):
        check = HealthCheck(functools.partial(HealthState, state), name=f"c{number}")
        if state is not UNKNOWN:
            check()
        registry.register(check, critical=critical)
    report = registry()
    assert [one.status for one in report.checks.values()] == [state for state, _ in found]
    order = [HEALTHY, DEGRADED, UNKNOWN, UNHEALTHY]
    counts = [order.index(state) if critical else min(order.index(state), 1) for state, critical in found]
    assert report.status is order[max(counts, default=0)]
    assert report.ok == (report.status in (HEALTHY, DEGRADED))
    assert report.critical == {f"c{number}" for number, (_, critical) in enumerate(found) if critical}


def test_a_report_makes_no_probe() -> None:
    probe = World(False).operation(1)
    registry = HealthRegistry()
    check = registry.register(HealthCheck(probe, name="db"))
    assert registry().checks["db"].status is UNKNOWN
    assert not registry().ok
    assert probe.log.calls == []
    check()
    assert registry().ok
    assert repr(registry) == "<HealthRegistry of db>"
    assert repr(HealthRegistry()) == "<HealthRegistry of nothing>"


def test_a_registered_check_does_not_get_lost() -> None:
    registry = HealthRegistry()
    registry.register(HealthCheck(lambda: True, name="nobody else holds it"))
    gc.collect()
    assert list(registry().checks) == ["nobody else holds it"]


def test_two_of_one_name_are_refused_and_one_is_not_twice_in_a_report() -> None:
    registry = HealthRegistry()
    check = HealthCheck(lambda: True, name="db")
    assert registry.register(check) is check
    registry.register(check, critical=False)
    registry.register(check.replace(interval=5), critical=False)
    assert list(registry().checks) == ["db"]
    assert registry().critical == frozenset()
    other = HealthCheck(lambda: True, name="db")
    with pytest.raises(
        ValueError, match=r"'db' is registered already, for HealthCheck\(.*\): give one of them another"
    ):
        registry.register(other)
    registry.register(other, name="another db")
    assert list(registry().checks) == ["db", "another db"]
    assert registry().checks["another db"].name == "another db"
    registry.unregister("db")
    registry.unregister("db")
    registry.register(other)
    registry.unregister(other)
    assert list(registry().checks) == []


def test_a_breaker_in_a_report_is_degraded_while_it_is_open() -> None:
    registry = HealthRegistry()
    breaker = registry.register(CircuitBreaker(1, recovery_timeout=30, name="payments"))
    with virtual.clock():
        assert registry().status is HEALTHY
        breaker.open()
        assert registry().checks["payments"].status is DEGRADED
        assert registry().status is DEGRADED
        time.sleep(31)
        assert registry().status is DEGRADED  # half-open
        breaker.close()
        assert registry().status is HEALTHY


def test_what_says_nothing_about_itself_cannot_be_registered() -> None:
    registry = HealthRegistry()
    for nothing in (7, Retry(), Retry):
        with pytest.raises(TypeError, match="a health report is about health checks and patterns with situations, got"):
            registry.register(nothing)  # type: ignore[type-var]
    with pytest.raises(ValueError, match=r"CircuitBreaker\(.*\) needs a name to be registered, got None"):
        registry.register(CircuitBreaker())
    with pytest.raises(ValueError, match="needs a name to be registered, got ''"):
        registry.register(HealthCheck(len), name="")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="critical must be True or False, got 1"):
        registry.register(HealthCheck(len), critical=1)  # type: ignore[arg-type]


def test_the_registry_of_the_process_is_empty_at_first() -> None:
    assert isinstance(health, HealthRegistry)
    assert health() == HealthReport(HEALTHY, {}, frozenset())


def test_a_report_is_json_without_secrets() -> None:
    def probe() -> None:
        raise ConnectionError("cannot reach postgres://app:hunter2@db.example/app")

    with virtual.clock():
        registry = HealthRegistry()
        registry.register(HealthCheck(probe, name="database"))()
        registry.register(HealthCheck(lambda: time.sleep(0.25), name="queue"), critical=False)()
        registry.register(HealthCheck(probe, name="https://ada:pa55@cache.example"))
        time.sleep(4)
        data = json.loads(json.dumps(registry().as_dict()))
        assert json.loads(json.dumps(registry().as_dict(errors=False)))["checks"]["database"].keys() == {
            "status",
            "for_seconds",
            "checked_seconds_ago",
            "took_seconds",
            "critical",
        }
    assert "hunter2" not in str(data)
    assert "pa55" not in str(data)
    assert data["status"] == "unhealthy"
    assert data["checks"]["database"]["error"] == {
        "type": "ConnectionError",
        "message": "cannot reach postgres://***@db.example/app",
    }
    assert data["checks"]["queue"] == {
        "status": "healthy",
        "for_seconds": 4.0,
        "checked_seconds_ago": 4.0,
        "took_seconds": 0.25,
        "critical": False,
    }
    assert data["checks"]["https://***@cache.example"] == {"status": "unknown", "critical": True}


# --- many at once ---


def test_threads_ask_and_report_at_the_same_time() -> None:
    check_under_load(threads=8, seconds=0.3)


def check_under_load(**how_long: Any) -> None:
    """Never two probes at once, never one before its time, and every status is one that a probe found."""
    probing = threading.Lock()
    interval = 0.01
    probes: list[float] = []
    last = [0.0]

    def probe() -> bool:
        assert probing.acquire(blocking=False), "two probes at once"
        try:
            assert time.monotonic() - last[0] >= interval, "a probe before its time"
            probes.append(time.monotonic())
            time.sleep(0.001)
            if len(probes) % 5 == 4:
                raise ConnectionError("now and then")
            last[0] = time.monotonic()
            return len(probes) % 3 != 0
        finally:
            probing.release()

    registry = HealthRegistry()
    check = registry.register(HealthCheck(probe, interval, stale_after=60, name="shared"))

    def work(place: int, number: int) -> None:
        status = check()
        assert not isinstance(status.error, AssertionError), status.error
        assert status.status in (HEALTHY, UNHEALTHY)
        assert (status.status is UNHEALTHY) == (status.error is not None)
        if number % 5 == 0:
            registry.register(HealthCheck(len, name=f"{place}"))  # type: ignore[arg-type]
            assert registry().checks[f"{place}"].status is UNKNOWN
            registry.unregister(f"{place}")

    hammer(work, **how_long)
    assert len(probes) > 2


# --- explored ---


def ping() -> None:
    raise AssertionError("the explorer must not run it")


def test_exploring_finds_what_each_probe_leads_to() -> None:
    paths = list(map(str, explore(HealthCheck(ping), outcomes=("ok", "fail")).paths))
    assert paths == [
        "HealthCheck? unknown -> ping ok -> now healthy -> return after 0 s",
        "HealthCheck? unknown -> ping fails -> now unhealthy -> return after 0 s",
        "HealthCheck? just probed -> return after 0 s",
        "HealthCheck? healthy -> ping ok -> return after 0 s",
        "HealthCheck? healthy -> ping fails -> now unhealthy -> return after 0 s",
        "HealthCheck? unhealthy -> ping ok -> now healthy -> return after 0 s",
        "HealthCheck? unhealthy -> ping fails -> return after 0 s",
    ]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Retry(1) >> HealthCheck(reserve, 4.0)", False),
        ("Retry(1) >> HealthCheck(reserve, 4.0, 2, 2, slow_call=1)", True),
        ("Timeout(2.0) >> HealthCheck(Retry(2, backoff=Fixed(1.0))(reserve))", False),
        ("Retry(1) >> HealthCheck(Timeout(2.0)(reserve))", True),
        ("Cache(1.0) >> HealthCheck(Fallback(Fallback.value('spare'))(reserve))", False),
    ],
)
def test_a_real_run_goes_each_of_the_explored_ways(text: str, plain: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [path for path in explored(text).paths if path.ends or not plain]
    assert len(paths) > 5
    for path in paths:
        real = follow(text, path, monkeypatch, plain=plain)
        expected = [fingerprint(event) for event in path.events]
        happened = [fingerprint(event) for event in real.events]
        if not path.ends:
            assert (happened[: len(expected)], real.elapsed) == (expected, float("inf"))
            continue
        assert happened == expected
        assert real.elapsed == pytest.approx(path.elapsed)
        assert (real.degraded, type(real.error)) == (path.degraded, type(path.error))
        if isinstance(path.result, HealthStatus):
            assert real.result._replace(error=None) == path.result._replace(error=None)


def test_a_probe_without_a_limit_of_time_may_never_end_and_one_with_it_does() -> None:
    assert [path for path in explore(HealthCheck(ping)).paths if not path.ends]
    assert all(path.ends for path in explore(HealthCheck(Timeout(2)(ping))).paths)


def test_the_state_machine_knows_thresholds_and_the_passing_of_time() -> None:
    assert transitions(HealthCheck(ping, 10, failure_threshold=2), "HealthCheck") == [
        "start -> unknown",
        "unknown -> ok, HealthChanged -> healthy",
        "unknown -> fails, HealthChanged -> unhealthy",
        "healthy -> after 30 s -> unknown",
        "healthy -> after 10 s, then a failure, then 10 s, then a failure, HealthChanged -> unhealthy",
        "unhealthy -> after 30 s -> unknown",
        "unhealthy -> after 10 s, then an answer, HealthChanged -> healthy",
    ]
    slow = transitions(HealthCheck(ping, 10, slow_call=1), "HealthCheck")
    assert any(way.endswith("-> degraded") for way in slow)


def test_in_the_drawing_failures_lead_to_what_is_drawn_as_an_error() -> None:
    machine = state_machine(HealthCheck(ping, 10, failure_threshold=2))
    assert {node.title: node.role for node in machine.nodes[1:]} == {
        "unknown": "operation",
        "healthy": "success",
        "unhealthy": "error",
    }
    assert [edge.role for edge in machine.edges[1:]] == ["success", "error", "", "error", "", "success"]


def test_what_only_a_probe_can_tell_is_no_situation_of_its_own() -> None:
    check = HealthCheck(lambda: DEGRADED)
    check()
    assert check.status is DEGRADED
    assert check.situation(check._watch, time.monotonic()) == "healthy"
    assert set(check.situations()) == {"unknown", "just probed", "healthy", "unhealthy"}


# --- arguments ---


def test_it_says_what_it_is() -> None:
    check = HealthCheck(ping, 5, failure_threshold=3, name="db")
    assert repr(check) == "HealthCheck(ping, interval=5, failure_threshold=3, name='db')"
    assert check.replace(success_threshold=2).success_threshold == 2
    with pytest.raises(TypeError):
        check("an argument")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"probe": 7}, "probe must be callable, got 7"),
        ({"interval": 0}, "interval must be above 0 seconds and finite, got 0"),
        ({"interval": float("inf")}, "interval must be above 0 seconds and finite, got inf"),
        ({"interval": None}, "interval must be a number, got None"),
        ({"slow_call": -1}, "slow_call must be above 0 seconds and finite, got -1"),
        ({"stale_after": float("nan")}, "stale_after must be above 0 seconds and finite, got nan"),
        ({"interval": 10, "stale_after": 9}, "stale_after must be at least interval, 10, got 9"),
        ({"failure_threshold": 0}, "failure_threshold must be at least 1, got 0"),
        ({"success_threshold": 1.5}, "success_threshold must be a whole number, got 1.5"),
        ({"name": 7}, "name must be a text, got 7"),
        ({"on_change": 7}, "on_change must be callable, got 7"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        HealthCheck(**{"probe": ping, **arguments})
