from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import Bulkhead, Outcome, RateLimiter, Retry, Timeout, backoff, errors, explore, virtual
from failwell.events import Queued, Rejected
from failwell.runtime import deadline
from tests.kernel.world import World, kinds


def at(world: World, guarded: Any, *moments: float) -> list[Any]:
    """Call a function of a world at several moments, one after the other; its results or errors."""
    found: list[Any] = []

    def plainly() -> None:
        for moment in moments:
            time.sleep(max(0.0, moment - time.monotonic()))
            try:
                found.append(guarded())
            except Exception as error:
                found.append(error)

    async def on_loop() -> None:
        for moment in moments:
            await asyncio.sleep(max(0.0, moment - time.monotonic()))
            try:
                found.append(await guarded())
            except Exception as error:
                found.append(error)

    world.do(on_loop if world.asynchronous else plainly)
    return found


# --- the definition ---


class Arrival(NamedTuple):
    """A call: when it comes, and how long it waits before it is cancelled (None: as long as it takes)."""

    tick: int
    leaves_after: int | None


TICK = 0.25
"""All times of the definition are multiples of it, so that floats are exact."""


def allowed(limiter: RateLimiter, starts: Sequence[float], now: float) -> bool:
    """Whether one more start at a moment keeps to the definition."""
    if limiter.burst is None:
        return sum(now - limiter.per < start <= now for start in starts) < limiter.rate
    return all(
        sum(other >= start for other in starts) + 1 <= limiter.burst + limiter.rate / limiter.per * (now - start)
        for start in starts
    )


def by_definition(limiter: RateLimiter, arrivals: Sequence[Arrival]) -> list[tuple[str, float]]:
    """What must become of each call: ("started", when), ("refused", how long it would wait) or ("cancelled", when)."""
    found: dict[int, tuple[str, float]] = {}
    starts: list[float] = []
    line: list[int] = []
    tick = 0
    while len(found) < len(arrivals):
        now = tick * TICK
        for number, arrival in enumerate(arrivals):
            if arrival.tick != tick:
                continue
            planned, moment = list(starts), now
            for _ in [*line, number]:
                while not allowed(limiter, planned, moment):
                    moment += TICK
                planned.append(moment)
            if moment - now > limiter.max_wait:
                found[number] = "refused", moment - now
            else:
                line.append(number)
        while line and allowed(limiter, starts, now):
            starts.append(now)
            found[line.pop(0)] = "started", now
        for number in list(line):
            leaves_after = arrivals[number].leaves_after
            if leaves_after is not None and arrivals[number].tick + leaves_after == tick:
                line.remove(number)
                found[number] = "cancelled", now + TICK / 2
        tick += 1
    return [found[number] for number in range(len(arrivals))]


def as_run(limiter: RateLimiter, arrivals: Sequence[Arrival]) -> list[tuple[str, float]]:
    """What really becomes of each call."""
    found: dict[int, tuple[str, float]] = {}

    async def operation(number: int) -> None:
        found[number] = "started", time.monotonic()

    guarded = limiter(operation)

    async def call(number: int) -> None:
        try:
            await guarded(number)
        except errors.RateLimitedError as error:
            found[number] = "refused", error.retry_after
        except asyncio.CancelledError:
            found[number] = "cancelled", time.monotonic()
            raise

    async def main() -> None:
        loop = asyncio.get_running_loop()
        calls: list[asyncio.Task[None]] = []
        for number, arrival in enumerate(arrivals):
            await asyncio.sleep(arrival.tick * TICK - time.monotonic())
            calls.append(asyncio.create_task(call(number)))
            if arrival.leaves_after is not None:
                loop.call_later((arrival.leaves_after + 0.5) * TICK, calls[-1].cancel)
        await asyncio.gather(*calls, return_exceptions=True)
        assert not limiter.live_state().turns

    virtual.run(main())
    return [found[number] for number in range(len(arrivals))]


arrivals = st.lists(
    st.builds(Arrival, st.integers(0, 30), st.none() | st.integers(0, 20)), min_size=1, max_size=25
).map(lambda calls: sorted(calls, key=lambda call: call.tick))


@settings(max_examples=300)
@given(
    rate=st.sampled_from([1, 2, 4]),
    per=st.sampled_from([1.0, 2.0, 4.0]),
    burst=st.none() | st.integers(1, 5),
    max_wait=st.sampled_from([0.0, 0.5, 1.0, 3.0, math.inf]),
    calls=arrivals,
)
def test_calls_start_wait_and_are_refused_exactly_as_defined(
    rate: int, per: float, burst: int | None, max_wait: float, calls: list[Arrival]
) -> None:
    limiter = RateLimiter(rate, per, burst, max_wait)
    assert as_run(limiter, calls) == by_definition(limiter, calls)


@settings(max_examples=100)
@given(
    rate=st.sampled_from([1, 2]),
    per=st.sampled_from([1.0, 4.0]),
    burst=st.none() | st.integers(1, 3),
    max_wait=st.sampled_from([0.0, 1.0, 3.0]),
    ticks=st.sets(st.integers(0, 20), min_size=1, max_size=10),
)
def test_so_do_plain_calls_in_threads(
    rate: int, per: float, burst: int | None, max_wait: float, ticks: set[int]
) -> None:
    limiter = RateLimiter(rate, per, burst, max_wait)
    found: dict[int, tuple[str, float]] = {}
    guarded = limiter(lambda number: found.setdefault(number, ("started", time.monotonic())))
    calls = [Arrival(tick, None) for tick in sorted(ticks)]

    def call(number: int) -> None:
        time.sleep(calls[number].tick * TICK)
        try:
            guarded(number)
        except errors.RateLimitedError as error:
            found[number] = "refused", error.retry_after

    with virtual.clock():
        for number in range(len(calls)):
            virtual.start_thread(lambda number=number: call(number))  # type: ignore[misc]
        time.sleep(1000)
    assert [found[number] for number in range(len(calls))] == by_definition(limiter, calls)
    assert not limiter.live_state().turns


@settings(max_examples=200)
@given(
    rate=st.floats(0.1, 20),
    per=st.floats(0.01, 100),
    burst=st.none() | st.integers(1, 5),
    max_wait=st.floats(0, 50),
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=40),
    begin=st.floats(0, 1e7),
)
def test_no_window_sees_more_starts_than_allowed_whatever_the_numbers(
    rate: float, per: float, burst: int | None, max_wait: float, gaps: list[float], begin: float
) -> None:
    whole = max(1, int(rate))
    limiter = RateLimiter(whole if burst is None else rate, per, burst, max_wait)
    starts: list[float] = []

    async def operation() -> None:
        starts.append(time.monotonic())

    async def main() -> None:
        await asyncio.sleep(begin)
        calls = []
        for gap in gaps:
            await asyncio.sleep(gap)
            calls.append(asyncio.create_task(limiter.outcome(operation)))
        await asyncio.gather(*calls)

    virtual.run(main())
    if burst is None:
        for start, later in zip(starts, starts[whole:], strict=False):
            assert later >= start + per
    else:
        for first, start in enumerate(starts):
            for last in range(first, len(starts)):
                seconds = starts[last] - start + 2 * math.ulp(starts[last])  # a clock can be read no finer than that
                assert last - first + 1 <= burst + rate / per * seconds + 1e-6


@given(
    rate=st.integers(1, 3),
    per=st.floats(1e-3, 1e3),
    burst=st.none() | st.integers(1, 3),
    begin=st.floats(0, 1e9),
    gaps=st.lists(st.floats(0, 2), max_size=6),
)
def test_who_comes_back_after_retry_after_is_let_through(
    rate: int, per: float, burst: int | None, begin: float, gaps: list[float]
) -> None:
    limiter = RateLimiter(rate, per, burst)
    guarded = limiter(lambda: None)
    with virtual.clock():
        time.sleep(begin)
        for gap in gaps:
            time.sleep(gap)
            try:
                guarded()
            except errors.RateLimitedError as error:
                time.sleep(error.retry_after)
                guarded()


# --- what a caller sees ---


def test_as_many_calls_as_allowed_pass_and_the_next_is_told_when_to_come_back(world: World) -> None:
    operation = world.operation("answer")
    found = at(world, RateLimiter(3, per=10)(operation), 0, 2, 4, 6, 10)
    assert found[:3] == ["answer"] * 3
    refused = found[3]
    assert isinstance(refused, errors.RateLimitedError)
    assert (refused.operation, refused.retry_after) == ("operation", 4)
    assert str(refused) == "operation was not called: its rate limit is exceeded for another 4 s"
    assert found[4] == "answer"
    assert operation.log.times == [0, 2, 4, 10]


def test_the_window_slides_so_its_borders_give_nothing_away(world: World) -> None:
    operation = world.operation("answer")
    found = at(world, RateLimiter(2, per=1)(operation), 0.9, 0.95, 1.0, 1.05, 1.9)
    assert [isinstance(one, Exception) for one in found] == [False, False, True, True, False]


def test_a_burst_is_let_through_at_once_and_fills_up_again_slowly(world: World) -> None:
    operation = world.operation("answer")
    found = at(world, RateLimiter(2, per=1, burst=3)(operation), 0, 0, 0, 0, 0.5, 0.6, 10, 10, 10, 10)
    assert operation.log.times == [0, 0, 0, 0.5, 10, 10, 10]
    told = [one.retry_after for one in found if isinstance(one, errors.RateLimitedError)]
    assert told == [0.5, pytest.approx(0.4), 0.5]


@given(st.integers(1, 60), st.integers(1, 300), st.floats(0, 1e6))
def test_a_whole_burst_passes_at_once_whatever_its_numbers(rate: int, burst: int, start: float) -> None:
    with virtual.clock() as clock:
        clock.sleep(start)
        limiter = RateLimiter(rate, burst=burst)
        assert [limiter.call(int) for _ in range(burst)] == [0] * burst
        with pytest.raises(errors.RateLimitedError) as refused:
            limiter.call(int)
        assert refused.value.retry_after == pytest.approx(1 / rate, rel=1e-5)


def test_as_many_wait_as_fit_into_the_longest_wait() -> None:
    with virtual.clock():
        limiter = RateLimiter(10, burst=1, max_wait=0.3)
        limiter.call(int)
        assert [limiter.outcome(int).elapsed for _ in range(3)] == pytest.approx([0.1, 0.1, 0.1])
    limiter = RateLimiter(10, burst=20, max_wait=0.3)

    async def main() -> list[bool]:
        async def answers() -> None: ...

        outcomes = await asyncio.gather(*(limiter.outcome(answers) for _ in range(24)))
        return [outcome.ok for outcome in outcomes]

    assert virtual.run(main()) == [True] * 23 + [False]  # 20 at once, and three that wait 0.1, 0.2 and 0.3 s


def test_a_changed_copy_of_a_bucket_goes_on_from_what_is_missing() -> None:
    with virtual.clock() as clock:
        limiter = RateLimiter(1, burst=4)
        slow = limiter.replace(rate=0.5)
        for _ in range(4):
            limiter.call(int)
        assert isinstance(slow.outcome(int).error, errors.RateLimitedError)
        clock.sleep(2)  # one call is back, at the pace of the slow one
        assert [limiter.outcome(int).ok for _ in range(3)] == [True, False, False]


def test_who_may_wait_waits_for_its_turn(world: World) -> None:
    limiter, operation = RateLimiter(1, per=4, max_wait=5), world.operation("answer")
    outcomes = at(world, lambda: limiter.outcome(operation), 0, 1)
    assert [one.value for one in outcomes] == ["answer"] * 2
    assert operation.log.times == [0, 4]
    [queued] = outcomes[1].events
    assert isinstance(queued, Queued)
    assert (queued.seconds, queued.time, queued.layer, outcomes[1].elapsed) == (3, 1, "RateLimiter", 3)


def test_who_would_wait_too_long_is_refused_at_once(world: World) -> None:
    limiter, operation = RateLimiter(1, per=4, max_wait=2), world.operation("answer")
    outcomes = at(world, lambda: limiter.outcome(operation), 0, 1)
    assert kinds(outcomes[1]) == ["Rejected"]
    [rejected] = outcomes[1].events
    assert isinstance(rejected, Rejected)
    assert (rejected.reason, rejected.retry_after, outcomes[1].elapsed) == ("rate limit exceeded", 3, 0)
    assert operation.log.times == [0]


def test_nobody_waits_past_the_deadline_around_the_call(world: World) -> None:
    limiter, operation = RateLimiter(1, per=4, max_wait=60), world.operation("answer")

    def start() -> Any:
        deadline.set(time.monotonic() + 3)
        return limiter.outcome(operation)

    outcomes = copy_context().run(lambda: at(world, start, 0, 0, 2))
    assert [one.ok for one in outcomes] == [True, False, True]
    assert outcomes[1].error.retry_after == 4


def test_each_rejection_is_a_new_error(world: World) -> None:
    one, other = at(world, RateLimiter(1)(world.operation(1)), 0, 0, 0)[1:]
    assert isinstance(one, errors.RateLimitedError)
    assert one is not other


def test_errors_and_answers_are_passed_on_and_both_count(world: World) -> None:
    failure = ValueError("mine")
    operation = world.operation(failure, "answer")
    found = at(world, RateLimiter(2)(operation), 0, 0, 0)
    assert found[:2] == [failure, "answer"]
    assert isinstance(found[2], errors.RateLimitedError)


def test_one_object_is_one_limit_whatever_it_protects(world: World) -> None:
    limiter = RateLimiter(1)
    one, other = limiter(world.operation("one")), limiter(world.operation("other"))
    turn = iter([one, other])
    found = at(world, lambda: next(turn)(), 0, 0)
    assert found[0] == "one"
    assert isinstance(found[1], errors.RateLimitedError)


def test_a_changed_copy_counts_the_same_calls(world: World) -> None:
    limiter, operation = RateLimiter(4, per=10), world.operation("answer")
    strict, patient = limiter.replace(rate=2), limiter.replace(max_wait=99)
    turn = iter([limiter, limiter, strict, limiter, limiter, limiter, patient])
    found = at(world, lambda: next(turn).call(operation), 0, 1, 2, 3, 4, 5, 6)
    assert [one == "answer" for one in found] == [True, True, False, True, True, False, True]
    assert operation.log.times == [0, 1, 3, 4, 10]


def test_a_retry_outside_comes_back_when_it_is_told_to(world: World) -> None:
    stack = Retry(2, backoff.Fixed(60), on=errors.RateLimitedError) >> RateLimiter(1, per=5)
    operation = world.operation("answer")
    outcomes = at(world, lambda: stack.outcome(operation), 0, 1)
    assert [one.value for one in outcomes] == ["answer", "answer"]
    assert operation.log.times == [0, 5]


# --- waiting ---


def waits_in_turn(limiter: RateLimiter, cancelled: Sequence[int] = ()) -> list[tuple[int, float]]:
    """Six calls at once, some of which are cancelled after a quarter of a second: who starts when."""
    started: list[tuple[int, float]] = []

    async def operation(number: int) -> None:
        started.append((number, time.monotonic()))

    async def main() -> None:
        guarded = limiter(operation)
        calls = [asyncio.create_task(guarded(number)) for number in range(6)]
        await asyncio.sleep(0.25)
        for number in cancelled:
            calls[number].cancel()
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in found] == [n in cancelled for n in range(6)]
        assert len(asyncio.all_tasks()) == 1

    virtual.run(main())
    return started


def test_who_waits_is_served_in_the_order_of_arrival() -> None:
    assert waits_in_turn(RateLimiter(2, max_wait=9)) == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 2)]
    assert waits_in_turn(RateLimiter(1, burst=2, max_wait=9)) == [(0, 0), (1, 0), (2, 1), (3, 2), (4, 3), (5, 4)]


def test_the_turn_of_a_cancelled_waiter_passes_on_to_those_behind() -> None:
    limiter = RateLimiter(1, max_wait=9)
    assert waits_in_turn(limiter, [1, 3]) == [(0, 0), (2, 1), (4, 2), (5, 3)]
    assert not limiter.live_state().turns


def test_the_turn_of_an_abandoned_thread_passes_on() -> None:
    operation = World(asynchronous=False).operation("answer")
    limiter = RateLimiter(1, per=4, max_wait=99)
    with virtual.clock():
        limiter.call(operation)
        left = (Timeout(1) >> limiter).outcome(operation)
        assert isinstance(left.error, errors.TimeoutExceeded)
        assert limiter.outcome(operation).elapsed == 3
    assert operation.log.times == [0, 4]


def test_plain_callers_in_threads_wait_in_line() -> None:
    limiter, started = RateLimiter(2, max_wait=99), list[float]()
    guarded = limiter(lambda: started.append(time.monotonic()))
    done: list[None] = []
    with virtual.clock():
        for _ in range(5):
            virtual.start_thread(lambda: done.append(guarded()))
        time.sleep(3)
    assert (sorted(started), len(done)) == ([0, 0, 1, 1, 2], 5)


def test_a_start_counts_when_it_happens_not_when_it_was_due() -> None:
    limiter = RateLimiter(1, per=10, max_wait=99)
    line = limiter.live_state()
    assert line.admits(limiter, lambda: 0.0)
    turn, wait = line.join(limiter, lambda: 0.0, 99)
    assert (turn.is_set, wait) == (True, 10)
    assert line.start(limiter, lambda: 9.0) == 1
    assert line.start(limiter, lambda: 13.0) == 0  # the thread woke late
    line.leave(turn)
    assert not line.admits(limiter, lambda: 22.0)
    assert line.admits(limiter, lambda: 23.0)


# --- threads and loops ---


def test_threads_that_hammer_it_never_exceed_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = RateLimiter(20, per=0.05, max_wait=5)
    line, starts = limiter.live_state(), list[float]()
    count: Callable[[Any, float], None] = line._count

    def write_down(limit: Any, now: float) -> None:
        starts.append(now)
        count(limit, now)

    monkeypatch.setattr(line, "_count", write_down)
    guarded, answers = limiter(lambda: "answer"), list[str]()

    async def several() -> None:
        guarded_too = limiter(World(True).of(lambda: "answer"))
        answers.extend(await asyncio.gather(*(guarded_too() for _ in range(15))))

    threads = [threading.Thread(target=lambda: [answers.append(guarded()) for _ in range(15)]) for _ in range(6)]
    threads += [threading.Thread(target=lambda: asyncio.run(several())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == ["answer"] * 120
    assert starts == sorted(starts)
    assert all(later >= start + 0.05 for start, later in zip(starts, starts[20:], strict=False))
    assert not line.turns


# --- what it is made of ---


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"rate": 0}, ValueError, "rate must be above 0 and finite, got 0"),
        ({"rate": math.inf}, ValueError, "rate must be above 0 and finite, got inf"),
        ({"rate": math.nan}, ValueError, "rate must be above 0 and finite, got nan"),
        ({"rate": "5"}, TypeError, "rate must be a number, got '5'"),
        ({"rate": True}, TypeError, "rate must be a number, got True"),
        ({"rate": 0.5}, ValueError, "rate must be a whole number of calls where there is no burst, got 0.5: widen per"),
        ({"rate": 1, "per": 0}, ValueError, "per must be above 0 and finite, got 0"),
        ({"rate": 1, "per": None}, TypeError, "per must be a number, got None"),
        ({"rate": 1, "burst": 0}, ValueError, "burst must be at least 1, got 0"),
        ({"rate": 1, "burst": 1.5}, TypeError, "burst must be a whole number, got 1.5"),
        ({"rate": 1, "max_wait": -1}, ValueError, "max_wait must be a number of seconds that is not negative, got -1"),
        ({"rate": 1, "max_wait": math.nan}, ValueError, "max_wait must be a number of seconds that is not neg"),
        ({"rate": 1, "max_wait": None}, TypeError, "max_wait must be a number, got None"),
        ({"rate": 1, "name": 3}, TypeError, "name must be a text, got 3"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message.replace("(", r"\(")):
        RateLimiter(**arguments)


def test_its_name_is_its_label(world: World) -> None:
    limiter = RateLimiter(1, name="quota")
    outcomes: list[Outcome[Any]] = at(world, lambda: limiter.outcome(world.operation(1)), 0, 0)
    assert [event.layer for event in outcomes[1].events] == ["RateLimiter quota"]
    assert RateLimiter(1).label == "RateLimiter"


# --- explored ---


@pytest.mark.parametrize(
    ("limiter", "paths"),
    [
        (RateLimiter(5, per=10), {"allowed": (None, 0), "exceeded": (10, 0)}),
        (RateLimiter(5, per=10, burst=3), {"allowed": (None, 0), "exceeded": (2, 0)}),
        (RateLimiter(5, per=10, max_wait=3), {"allowed": (None, 0), "queued": (None, 3), "exceeded": (13, 0)}),
        (
            RateLimiter(5, per=10, max_wait=math.inf),
            {"allowed": (None, 0), "queued": (None, 10), "stuck": (None, math.inf)},
        ),
        (
            RateLimiter(5, per=10, burst=1, max_wait=math.inf),
            {"allowed": (None, 0), "queued": (None, 2), "stuck": (None, math.inf)},
        ),
    ],
    ids=str,
)
def test_exploring_it_shows_every_situation(limiter: RateLimiter, paths: dict[str, tuple[float | None, float]]) -> None:
    found = explore(limiter, outcomes=("ok",)).paths
    assert [path.choices[0].option for path in found] == list(paths) == list(limiter.situations())
    seen = [(getattr(path.error, "retry_after", None), path.elapsed) for path in found]
    assert seen == list(paths.values())


def test_a_prepared_state_is_in_the_situation_that_it_is_named_after() -> None:
    limiter = RateLimiter(2, per=10, max_wait=15)
    for name, make in limiter.situations().items():
        assert limiter.situation(make(), 1e6) == name


def test_a_live_state_says_its_situation() -> None:
    limiter = RateLimiter(1, per=10, max_wait=15)
    line = limiter.live_state()
    assert limiter.situation(line, 0.0) == "allowed"
    line.admits(limiter, lambda: 0.0)
    assert limiter.situation(line, 5.0) == "queued"
    line.join(limiter, lambda: 5.0, 99)
    assert limiter.situation(line, 5.0) == "queued"
    line.join(limiter, lambda: 5.0, 99)
    assert limiter.situation(line, 5.0) == "exceeded"
    assert RateLimiter(1).situation(RateLimiter(1).situations()["exceeded"](), 0.0) == "exceeded"


def test_a_prepared_wait_begins_when_it_is_come_upon() -> None:
    late = Retry(2, backoff.Fixed(100), on=Exception) >> Bulkhead() >> RateLimiter(1, per=10, max_wait=3)
    waits = [
        event.seconds
        for path in explore(late, outcomes=("ok", "fail")).paths
        for event in path.events
        if isinstance(event, Queued)
    ]
    assert waits
    assert set(waits) == {3}
