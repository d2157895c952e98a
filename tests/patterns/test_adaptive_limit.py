from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import pickle
import random
import statistics
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import AdaptiveLimit, Fallback, Retry, Timeout, backoff, errors, explore, listening, virtual
from failwell.events import Event, LimitChanged, Rejected
from failwell.flow.states import transitions
from tests.kernel.world import Hang, World, kinds
from tests.patterns.test_bulkhead import together
from tests.soak.test_soak import hammer

ROUND = 20
"""How many calls a round has at least."""


def changes(events: list[Event]) -> list[tuple[int, int]]:
    return [(event.before, event.after) for event in events if isinstance(event, LimitChanged)]


async def batches(limit: AdaptiveLimit, operation: Any, at_once: int, number: int) -> list[Any]:
    """Calls that come ``at_once``, the next when all of them are back."""
    guarded = limit(operation)
    found: list[Any] = []
    for _ in range(number):
        found += await asyncio.gather(*(guarded() for _ in range(at_once)), return_exceptions=True)
    return found


def operation(seconds: float = 0.1, error: type[Exception] | None = None) -> Any:
    async def call() -> str:
        await asyncio.sleep(seconds)
        if error is not None:
            raise error("no")
        return "answer"

    return call


# --- what a caller sees ---


def test_as_many_calls_as_the_limit_are_under_way_and_the_next_is_refused_at_once(world: World) -> None:
    limit, slow = AdaptiveLimit(2), world.operation("answer", takes=10)
    outcomes = together(world, *[(after, lambda: limit.outcome(slow)) for after in (0, 1, 2, 10.5)])
    assert [one.ok for one in outcomes] == [True, True, False, True]
    refused = outcomes[2].error
    assert type(refused) is errors.ConcurrencyLimitedError
    assert (refused.limit, refused.operation, refused.retry_after) == (2, "operation", None)
    assert str(refused) == "operation was not called: 2 calls are under way, which is the limit at the moment"
    [event] = outcomes[2].events
    assert isinstance(event, Rejected)
    assert (event.reason, event.layer, outcomes[2].elapsed) == ("limit reached", "AdaptiveLimit", 0)
    assert (limit.active, limit.rejected, limit.limit) == (0, 1, 2)


@pytest.mark.parametrize("outcome", ["answer", None, 0, ValueError("mine")])
def test_whatever_comes_out_is_passed_on_and_its_place_is_free_again(world: World, outcome: Any) -> None:
    limit = AdaptiveLimit(1)
    got = world.run(limit, world.operation(outcome), 1, key=2)
    assert (got.error if isinstance(outcome, Exception) else got.value) is outcome
    assert (limit.active, kinds(got)) == (0, [])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_is_no_exception_passes_frees_the_place_and_says_nothing(world: World, error: type[BaseException]) -> None:
    limit = AdaptiveLimit(1, failure_rate=0.0, on=BaseException)
    for _ in range(3):
        with pytest.raises(error):
            world.run(limit, world.operation(error))
    assert (limit.active, limit.limit) == (0, 1)


def test_each_rejection_is_a_new_error_and_can_be_pickled(world: World) -> None:
    guarded = AdaptiveLimit(1)(world.operation("answer", takes=5))
    _, one, other = together(world, (0, guarded), (1, guarded), (2, guarded))
    assert one is not other
    again = pickle.loads(pickle.dumps(one))
    assert (type(again), again.limit, str(again)) == (errors.ConcurrencyLimitedError, 1, str(one))


def test_one_object_is_one_limit_whatever_it_protects(world: World) -> None:
    limit = AdaptiveLimit(1)
    found = together(world, (0, limit(world.operation("one", takes=5))), (1, limit(world.operation("other"))))
    assert (found[0], type(found[1])) == ("one", errors.ConcurrencyLimitedError)


def test_a_retry_does_not_hammer_a_limit_that_is_reached(world: World) -> None:
    limit = AdaptiveLimit(1)
    stack, slow = Retry(5, backoff.Fixed(0.1)) >> limit, world.operation("answer", takes=5)
    together(world, (0, lambda: stack.call(slow)), (1, lambda: stack.call(slow)))
    assert limit.rejected == 1


def test_a_plain_function_that_returns_an_awaitable_is_refused_and_frees_the_place() -> None:
    limit = AdaptiveLimit(1, failure_rate=0.0, on=Exception)
    for _ in range(2):
        with pytest.raises(TypeError, match="an awaitable"):
            limit.call(lambda: operation()())
    assert (limit.active, limit.limit) == (0, 1)


def test_a_filter_of_errors_that_raises_frees_the_place(world: World) -> None:
    def broken(error: Exception) -> bool:
        raise LookupError("filter")

    limit = AdaptiveLimit(1, on=broken)
    assert isinstance(world.run(limit, world.operation(ValueError)).error, LookupError)
    assert limit.active == 0


# --- how the limit grows ---


def test_a_round_in_which_the_limit_was_reached_adds_one(world: World) -> None:
    heard: list[Event] = []
    limit = AdaptiveLimit(1, on_change=heard.append)
    guarded = limit(world.operation("answer", takes=1))
    for _ in range(ROUND):  # the first answer of all only warms up
        world.do(lambda: guarded())
    assert (limit.limit, limit.usual_latency) == (1, None)
    world.do(lambda: guarded())
    assert (limit.limit, limit.usual_latency) == (2, 1.0)
    assert changes(heard) == [(1, 2)]
    assert heard[0].layer == "AdaptiveLimit"


@given(at_once=st.integers(1, 9), rounds=st.integers(1, 8))
def test_a_limit_that_is_never_reached_stays(at_once: int, rounds: int) -> None:
    limit = AdaptiveLimit(10, min=1, max=50)
    virtual.run(batches(limit, operation(), at_once, 1 + rounds * ROUND // at_once))
    assert limit.limit == 10


def test_it_never_grows_past_its_maximum_and_does_not_drop_there() -> None:
    limit = AdaptiveLimit(4, max=6)
    heard: list[Event] = []
    with listening(heard.append):
        virtual.run(batches(limit, operation(), 6, 150))
    assert changes(heard) == [(4, 5), (5, 6)]


# --- how it shrinks ---


async def phases(limit: AdaptiveLimit, *phases: tuple[float, int]) -> list[int]:
    """The limit after each of several phases: seconds that a call takes, how often as many come as there is room."""
    seen: list[int] = []
    for seconds, number in phases:
        for _ in range(number):
            await batches(limit, operation(seconds), limit.limit, 1)
        seen.append(limit.limit)
    return seen


@pytest.mark.parametrize(("slow", "after"), [(0.14, 16), (0.16, 9), (0.2, 8), (9.0, 8)])
def test_a_slow_round_shrinks_it_in_proportion_to_a_half_at_most(slow: float, after: int) -> None:
    limit = AdaptiveLimit(16, max=16)

    async def main() -> None:
        for at_once in (16, 16, 4):  # to warm up, and one round
            await batches(limit, operation(0.1), at_once, 1)
        assert limit.usual_latency == pytest.approx(0.1)
        await batches(limit, operation(slow), 16, 2)

    virtual.run(main())
    assert limit.limit == after


def test_one_slow_answer_does_not_shrink_it() -> None:
    limit = AdaptiveLimit(10, max=10)

    async def main() -> None:
        await batches(limit, operation(0.1), 10, 5)
        for _ in range(5):
            await batches(limit, operation(5.0), 1, 1)  # fifty times as long as usual
            await batches(limit, operation(0.1), 10, 20)
            assert limit.limit == 10

    virtual.run(main())


def test_slow_answers_while_few_are_under_way_are_the_new_usual() -> None:
    limit = AdaptiveLimit(10)

    async def main() -> None:
        await batches(limit, operation(0.1), 2, 30)
        assert limit.usual_latency == pytest.approx(0.1)
        await batches(limit, operation(0.4), 2, 200)

    virtual.run(main())
    assert limit.limit == 10
    assert limit.usual_latency == pytest.approx(0.4, rel=0.01)


def test_a_server_that_has_become_slower_for_good_does_not_leave_it_at_its_minimum() -> None:
    limit = AdaptiveLimit(8, min=2, max=8)
    *_, low, high = virtual.run(phases(limit, (0.1, 20), (0.5, 10), (0.5, 200)))
    assert low < 8
    assert high == 8


def test_a_target_in_seconds_holds_however_long_it_lasts() -> None:
    limit = AdaptiveLimit(8, min=2, max=8, target=0.2)
    quick, slow, much_later, quick_again = virtual.run(phases(limit, (0.1, 20), (0.5, 30), (0.5, 500), (0.1, 200)))
    assert (quick, slow, much_later, quick_again) == (8, 2, 2, 8)
    assert limit.usual_latency is None


def test_too_many_failures_halve_it_without_waiting_for_the_end_of_the_round() -> None:
    limit = AdaptiveLimit(16)
    heard: list[Event] = []
    with listening(heard.append):
        virtual.run(batches(limit, operation(error=ConnectionError), 3, 1))
    assert changes(heard) == [(16, 8)]


def test_what_fails_at_the_same_time_shrinks_it_once(world: World) -> None:
    limit = AdaptiveLimit(16)
    guarded = limit(world.operation(TimeoutError, takes=5))
    together(world, *[(number / 100, guarded) for number in range(16)])
    assert limit.limit == 8


@pytest.mark.parametrize("failing", [1, 2])
def test_a_few_failures_are_borne(failing: int) -> None:
    limit = AdaptiveLimit(4, max=4, failure_rate=0.1)

    async def main() -> None:
        for _ in range(20):
            await batches(limit, operation(error=ConnectionError), failing, 1)
            await batches(limit, operation(), 4, 6)
        assert limit.limit == 4

    virtual.run(main())


@pytest.mark.parametrize("error", [ValueError, KeyError, errors.CircuitOpenError, errors.RateLimitedError])
def test_errors_that_say_nothing_about_the_load_are_no_failures(world: World, error: type[Exception]) -> None:
    limit = AdaptiveLimit(4)
    for _ in range(60):
        world.run(limit, world.operation(error, takes=1))
    assert (limit.limit, limit.usual_latency) == (4, None)


def test_on_says_what_a_failure_is(world: World) -> None:
    limit = AdaptiveLimit(4, on=lambda error: "overload" in str(error))
    for _ in range(4):
        world.run(limit, world.operation(ConnectionError("reset")))
    assert limit.limit == 4
    for _ in range(4):
        world.run(limit, world.operation(ValueError("overload")))
    assert limit.limit == 2


def test_it_never_shrinks_below_its_minimum(world: World) -> None:
    limit = AdaptiveLimit(10, min=3)
    for _ in range(30):
        world.run(limit, world.operation(TimeoutError))
    assert limit.limit == 3


# --- calls that do not end as they should ---


def test_a_cancelled_call_frees_its_place_and_says_nothing() -> None:
    limit = AdaptiveLimit(2, failure_rate=0.0, on=BaseException, target=0.001)
    guarded = limit(operation(50))

    async def main() -> None:
        for _ in range(50):
            calls = [asyncio.create_task(guarded()) for _ in range(2)]
            await asyncio.sleep(1)
            assert limit.active == 2
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            assert (limit.active, limit.limit) == (0, 2)

    virtual.run(main())


def test_calls_that_hang_do_not_block_it_for_ever() -> None:
    limit, heard = AdaptiveLimit(8, lost_after=30), list[Event]()
    guarded = limit(World(True).operation(*[Hang] * 8, "answer"))

    async def main() -> None:
        hung = [asyncio.create_task(guarded()) for _ in range(8)]
        await asyncio.sleep(29)
        with pytest.raises(errors.ConcurrencyLimitedError):
            await guarded()
        await asyncio.sleep(2)
        assert await guarded() == "answer"
        assert (limit.active, limit.limit) == (0, 4)
        for call in hung:  # whatever they come to in the end changes nothing any more
            call.cancel()
        await asyncio.wait(hung)
        assert (limit.active, limit.limit) == (0, 4)

    with listening(heard.append):
        virtual.run(main())
    assert changes(heard) == [(8, 4)]


def test_where_all_calls_hang_fewer_and_fewer_are_made() -> None:
    limit = AdaptiveLimit(16, lost_after=10)
    hangs = World(True).operation(Hang)

    async def main() -> None:
        calls: list[Any] = []
        for _ in range(1000):
            calls.append(asyncio.create_task(limit.outcome(hangs)))
            await asyncio.sleep(0.1)
        for call in calls:
            call.cancel()
        await asyncio.wait(calls)

    virtual.run(main())
    by_time = [sum(start <= moment < start + 10 for moment in hangs.log.times) for start in range(0, 100, 10)]
    assert by_time[0] == 16
    assert max(by_time[5:]) <= 2
    assert min(by_time[:9]) >= 1


def test_a_refusal_can_tell_of_a_limit_that_lost_calls_have_shrunk() -> None:
    limit, heard = AdaptiveLimit(8, lost_after=30), list[Event]()
    guarded = limit(World(True).operation(Hang))

    async def main() -> None:
        early = [asyncio.create_task(guarded()) for _ in range(3)]
        await asyncio.sleep(20)
        late = [asyncio.create_task(guarded()) for _ in range(5)]
        await asyncio.sleep(11)
        with pytest.raises(errors.ConcurrencyLimitedError) as refused:
            await guarded()
        assert refused.value.limit == 4
        for call in early + late:
            call.cancel()
        await asyncio.wait(early + late)

    with listening(heard.append):
        virtual.run(main())
    assert [type(event) for event in heard] == [LimitChanged, Rejected]
    assert limit.active == 0


def test_an_abandoned_call_keeps_its_place_until_it_really_ends_and_says_nothing() -> None:
    limit = AdaptiveLimit(1, target=0.001)
    stack = Timeout(2) >> limit
    slow = World(False).operation("answer", takes=10)
    with virtual.clock():
        assert stack.outcome(slow).error is not None
        assert isinstance(stack.outcome(slow).error, errors.ConcurrencyLimitedError)
        time.sleep(9)
        assert (limit.active, limit.limit) == (0, 1)


def test_a_timeout_inside_of_it_is_a_failure_that_it_learns_from(world: World) -> None:
    limit = AdaptiveLimit(16)
    stack = limit >> Timeout(1)
    for _ in range(3):
        assert isinstance(world.run(stack, world.operation(Hang)).error, errors.TimeoutExceeded)
    assert limit.limit == 8


def test_a_clock_that_jumps_back_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    limit, now = AdaptiveLimit(2, max=2), [1e6]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    @limit
    def jumps(by: float) -> str:
        now[0] += by
        return "answer"

    for _ in range(100):
        assert jumps(-3600.0) == "answer"
    assert limit.usual_latency == 0
    for _ in range(100):
        assert jumps(3600.0) == "answer"
    assert (limit.active, limit.limit) == (0, 2)


def test_a_call_may_enter_the_limit_again_from_inside(world: World) -> None:
    limit = AdaptiveLimit(2)
    inner = limit(world.operation("inner"))
    outer = limit(world.operation(lambda: "outer"))
    assert world.do(lambda: outer()) == "outer"

    @limit
    async def nested() -> Any:
        return await inner()

    if world.asynchronous:
        assert virtual.run(nested()) == "inner"
    assert limit.active == 0


# --- callbacks ---


def test_a_callback_that_raises_changes_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: Any) -> None:
        raise RuntimeError("callback")

    limit = AdaptiveLimit(1, on_change=broken)
    for _ in range(ROUND + 1):
        assert world.run(limit, world.operation("answer")).unwrap() == "answer"
    assert (limit.limit, limit.active) == (2, 0)
    assert "broken" in caplog.text
    for _ in range(3):
        assert isinstance(world.run(limit, world.operation(TimeoutError)).error, TimeoutError)
    assert limit.limit == 1


def test_a_caller_that_is_cancelled_in_a_callback_leaves_no_place_taken() -> None:
    async def slowly(event: Any) -> None:
        await asyncio.sleep(5)

    async def main() -> None:
        limit = AdaptiveLimit(1, on_change=slowly)
        guarded = limit(operation())
        for _ in range(ROUND):
            await guarded()
        call = asyncio.create_task(guarded())
        await asyncio.sleep(1)
        call.cancel()
        await asyncio.wait([call])
        assert (limit.limit, limit.active, call.cancelled()) == (2, 0, True)

    virtual.run(main())


# --- under random interleavings ---


class Caller(NamedTuple):
    """A call: when it comes, how long it takes, when it is cancelled, how it ends."""

    comes: int
    takes: int
    cancelled_after: int | None
    fails: type[Exception] | None


callers = st.lists(
    st.builds(
        Caller,
        st.integers(0, 60),
        st.integers(0, 20),
        st.none() | st.integers(0, 12),
        st.sampled_from([None, None, TimeoutError, ValueError]),
    ),
    min_size=1,
    max_size=80,
).map(lambda calls: sorted(calls, key=lambda call: call.comes))


@settings(max_examples=150)
@given(
    least=st.integers(1, 3),
    initial=st.integers(3, 6),
    most=st.integers(6, 8),
    lost_after=st.sampled_from([5.0, 1000.0]),
    target=st.none() | st.sampled_from([0.5, 8.0]),
    calls=callers,
)
def test_places_are_never_lost_or_given_twice_and_bounds_hold(
    least: int, initial: int, most: int, lost_after: float, target: float | None, calls: list[Caller]
) -> None:
    limit = AdaptiveLimit(initial, least, most, target=target, lost_after=lost_after)
    under_way: dict[int, float] = {}
    heard: list[Event] = []

    async def work(number: int) -> None:
        not_lost = sum(time.monotonic() - started < lost_after for started in under_way.values())
        assert not_lost < limit.limit  # so this one makes as many as the limit at most
        assert limit.active <= limit.limit
        under_way[number] = time.monotonic()
        try:
            await asyncio.sleep(calls[number].takes)
        finally:
            del under_way[number]
        fails = calls[number].fails
        if fails is not None:
            raise fails("no")

    guarded = limit(work)

    async def call(number: int) -> None:
        had_room = limit.active < limit.limit
        try:
            await guarded(number)
        except errors.ConcurrencyLimitedError:
            assert not had_room or limit.live_state().known.is_measuring
        except (TimeoutError, ValueError):
            pass
        finally:
            assert least <= limit.limit <= most
            assert limit.active >= 0

    async def main() -> None:
        tasks: list[asyncio.Task[None]] = []
        for number, one in enumerate(calls):
            await asyncio.sleep(one.comes - time.monotonic())
            tasks.append(asyncio.create_task(call(number)))
            if one.cancelled_after is not None:
                asyncio.get_running_loop().call_later(one.cancelled_after, tasks[-1].cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            if not task.cancelled():
                task.result()

    with listening(heard.append):
        virtual.run(main())
    assert limit.active == 0
    assert len(limit.live_state().out) == 0
    told = changes(heard)
    assert all(least <= after <= most and before != after for before, after in told)
    assert [before for before, _ in told] == [initial, *(after for _, after in told)][: len(told)]


# --- it finds what a server bears ---


class Server:
    """So many workers, and a queue for all others: it becomes slow before it fails."""

    def __init__(self, workers: int, seconds: Callable[[], float]) -> None:
        self.workers = workers
        self.seconds = seconds
        self.busy = 0
        self.queue: list[asyncio.Future[None]] = []

    async def serve(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self.queue.append(turn)
        self.next()
        try:
            await turn
            await asyncio.sleep(self.seconds())
        finally:
            if turn.done() and not turn.cancelled():
                self.busy -= 1
            self.next()

    def next(self) -> None:
        while self.queue and self.busy < self.workers:
            turn = self.queue.pop(0)
            if not turn.done():
                turn.set_result(None)
                self.busy += 1


class Seen(NamedTuple):
    """What was the case in some seconds: the mean limit, seconds per answer, answers per second."""

    limit: float
    latency: float
    rate: float


async def watched(limit: AdaptiveLimit, server: Server, seconds: float, served: list[int]) -> Seen:
    """Let as many clients as there are counters call again and again."""
    guarded = limit(server.serve)
    took: list[float] = []
    limits: list[int] = []

    async def client(place: int) -> None:
        while True:
            started = time.monotonic()
            try:
                await guarded()
                took.append(time.monotonic() - started)
                served[place] += 1
            except errors.ConcurrencyLimitedError:
                pass
            await asyncio.sleep(random.uniform(0, 0.1))

    clients = [asyncio.create_task(client(place)) for place in range(len(served))]
    for _ in range(round(seconds * 10)):
        await asyncio.sleep(0.1)
        limits.append(limit.limit)
    for one in clients:
        one.cancel()
    await asyncio.wait(clients)
    return Seen(statistics.mean(limits), statistics.mean(took), len(took) / seconds)


@pytest.mark.parametrize(
    ("spread", "seconds"),
    [
        ("none", lambda: 0.1),
        ("some", lambda: random.gammavariate(4, 0.025)),
        ("a lot", lambda: random.expovariate(10)),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
@pytest.mark.parametrize("seed", [0, 1])
def test_it_settles_near_what_the_server_bears_and_follows_when_that_changes(
    spread: str, seconds: Callable[[], float], seed: int
) -> None:
    limit = AdaptiveLimit(5)

    async def main() -> list[Seen]:
        server, served = Server(20, seconds), [0] * 60
        await watched(limit, server, 15, served)
        before = await watched(limit, server, 30, served)
        server.workers = 10
        await watched(limit, server, 15, served)
        after = await watched(limit, server, 30, served)
        server.workers = 20
        await watched(limit, server, 15, served)
        return [before, after, await watched(limit, server, 30, served)]

    for seen, workers in zip(virtual.run(main(), seed=seed), (20, 10, 20), strict=True):
        assert 0.8 * workers <= seen.limit <= 1.5 * workers, seen
        assert seen.latency <= 0.1 * 1.4, seen  # the queue would make it 0.6 s without a limit
        assert seen.rate >= 0.8 * workers * 10, seen


def test_too_high_a_start_comes_down() -> None:
    limit = AdaptiveLimit(50)

    async def main() -> Seen:
        server, served = Server(10, lambda: 0.1), [0] * 60
        await watched(limit, server, 120, served)
        return await watched(limit, server, 30, served)

    seen = virtual.run(main())
    assert 8 <= seen.limit <= 15, seen
    assert seen.latency <= 0.15, seen


def test_callers_of_the_same_kind_get_the_same_share() -> None:
    limit, served = AdaptiveLimit(5), [0] * 40

    async def main() -> None:
        await watched(limit, Server(10, lambda: 0.1), 60, served)

    virtual.run(main())
    assert min(served) > 0.5 * statistics.mean(served)
    assert max(served) < 1.5 * statistics.mean(served)


# --- one object, many callers ---


def test_a_changed_copy_shares_what_was_learned_and_has_its_own_bounds(world: World) -> None:
    limit = AdaptiveLimit(8)
    narrow, wide = limit.replace(max=8, min=1), limit.replace(min=6, max=200)
    for _ in range(3):
        world.run(limit, world.operation(TimeoutError))
    assert (limit.limit, narrow.limit, wide.limit) == (4, 4, 6)
    held, seen = limit(world.operation("answer", takes=5)), list[tuple[int, int]]()
    look = world.of(lambda: seen.append((limit.active, wide.active)))
    together(world, (0, held), (0, held), (0, held), (1, look))
    assert seen == [(3, 3)]


def test_under_many_threads_and_loops_no_place_is_lost() -> None:
    limit = AdaptiveLimit(4, min=2, max=12, lost_after=1e6)
    lock, now, most = threading.Lock(), [0], [0]

    def step(by: int) -> None:
        with lock:
            now[0] += by
            most[0] = max(most[0], now[0])

    @limit
    def plain(number: int) -> int:
        step(1)
        try:
            if number % 50 == 0:
                raise TimeoutError(number)
            return number
        finally:
            step(-1)

    def work(place: int, number: int) -> None:
        with contextlib.suppress(errors.ConcurrencyLimitedError, TimeoutError):
            assert plain(number) == number

    hammer(work, seconds=0.3)
    assert most[0] <= 12
    assert (now[0], limit.active, len(limit.live_state().out)) == (0, 0, 0)
    assert 2 <= limit.limit <= 12


def test_it_keeps_no_more_after_many_calls_than_after_few(world: World) -> None:
    limit = AdaptiveLimit(2)
    guarded = limit(world.operation("answer"))
    sizes: list[int] = []
    for _ in range(4):
        for _ in range(50):
            world.do(lambda: guarded())
        known = limit.live_state().known
        sizes.append(len(pickle.dumps({k: v for k, v in vars(known).items() if k != "condition"})))
    assert max(sizes) - min(sizes) < 40


def test_errors_are_freed_without_the_garbage_collector(world: World) -> None:
    kept: list[weakref.ref[Any]] = []

    class Kept(TimeoutError):
        def __init__(self, code: int, *, ticket: str = "") -> None:
            super().__init__(code)
            kept.append(weakref.ref(self))

    def fails() -> None:
        raise Kept(3, ticket="x")

    limit = AdaptiveLimit(16)
    guarded = limit(world.of(fails))

    def plain() -> None:
        for _ in range(4):
            with contextlib.suppress(Kept):
                guarded()

    async def on_loop() -> None:
        for _ in range(4):
            try:
                await guarded()
            except Kept:
                pass

    gc.collect()
    gc.disable()
    try:
        world.do(on_loop if world.asynchronous else plain)
        assert [one() for one in kept if one() is not None] == []
    finally:
        gc.enable()
    assert limit.limit == 8


# --- what it is made of ---


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"min": 0}, ValueError, "min must be at least 1, got 0"),
        ({"min": 1.5}, TypeError, "min must be a whole number, got 1.5"),
        ({"initial": 2, "min": 3}, ValueError, "initial must be at least 3, got 2"),
        ({"initial": True}, TypeError, "initial must be a whole number, got True"),
        ({"initial": 300}, ValueError, "initial must be at most max=200, got 300"),
        ({"max": 4, "min": 5}, ValueError, "max must be at least 5, got 4"),
        ({"tolerance": 1}, ValueError, "tolerance must be a finite number above 1, got 1"),
        ({"tolerance": math.inf}, ValueError, "tolerance must be a finite number above 1, got inf"),
        ({"tolerance": "2"}, TypeError, "tolerance must be a number, got '2'"),
        ({"target": 0}, ValueError, "target must be above 0 seconds, got 0"),
        ({"target": math.nan}, ValueError, "target must be above 0 seconds, got nan"),
        ({"failure_rate": 1}, ValueError, "failure_rate must be a share of at least 0 and below 1, got 1"),
        ({"failure_rate": None}, TypeError, "failure_rate must be a number, got None"),
        ({"lost_after": 0}, ValueError, "lost_after must be above 0 seconds, got 0"),
        ({"lost_after": None}, TypeError, "lost_after must be a number, got None"),
        ({"on": 3}, TypeError, "on must be an exception type"),
        ({"name": 3}, TypeError, "name must be a text, got 3"),
        ({"on_change": 3}, TypeError, "on_change must be callable, got 3"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        AdaptiveLimit(**arguments)


def test_generators_are_refused() -> None:
    def generator() -> Any:
        yield 1

    with pytest.raises(TypeError, match="generator"):
        AdaptiveLimit()(generator)


def test_its_name_is_its_label() -> None:
    assert AdaptiveLimit(4, name="search").label == "AdaptiveLimit search"
    assert repr(AdaptiveLimit(4, max=20)) == "AdaptiveLimit(4, max=20)"


# --- explored ---


def test_the_explorer_sees_a_free_place_the_end_of_a_round_and_a_full_limit() -> None:
    found = [str(path) for path in explore(AdaptiveLimit(10), outcomes=("ok", "fail")).paths]
    assert found == [
        "AdaptiveLimit? free -> operation ok -> return after 0 s",
        "AdaptiveLimit? free -> operation fails -> raise ConnectionError after 0 s",
        "AdaptiveLimit? end of a round -> operation ok -> the limit grows (from 10 to 11) -> return after 0 s",
        "AdaptiveLimit? end of a round -> operation fails -> the limit shrinks (from 10 to 5) -> "
        "raise ConnectionError after 0 s",
        "AdaptiveLimit? full -> rejected (limit reached) -> raise ConcurrencyLimitedError after 0 s",
    ]


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.99])
def test_at_the_end_of_a_round_one_more_failure_is_too_much_whatever_the_rate(rate: float) -> None:
    told = [str(path) for path in explore(AdaptiveLimit(30, failure_rate=rate), outcomes=("fail",)).paths]
    assert "the limit shrinks (from 30 to 15)" in told[1]


def test_a_stack_with_it_is_explored() -> None:
    report = explore(Fallback(Fallback.value(0)) >> AdaptiveLimit(10) >> Timeout(2)).report(hang=0.1)
    assert (report.success, report.worst_latency) == (1, 2)


@pytest.mark.parametrize("limit", [AdaptiveLimit(10), AdaptiveLimit(100, max=5000)], ids=repr)
def test_its_state_machine_is_that_of_its_places(limit: AdaptiveLimit) -> None:
    assert transitions(limit, "AdaptiveLimit") == [
        "start -> free",
        f"free -> {limit.initial} calls under way -> full",
        "full -> a call ends -> free",
    ]
