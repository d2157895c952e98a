"""The long runs: one object of each pattern under many threads, cancellation at every step of many stacks.

Each run says at its end how much it did; ``make soak`` with ``-rP`` shows it.
"""

# ruff: noqa: PT017 - whether a call is to fail depends on its ticket

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import Cache, Fallback, Policy, Retry, Saga, Stack, Timeout, backoff, errors
from tests.kernel.world import World
from tests.patterns import test_cancellation

pytestmark = pytest.mark.soak

THREADS = 32
SECONDS = 5.0
DEFAULT_EXAMPLES = settings().max_examples


class Failure(ConnectionError):
    """The operation's own; it knows for whom it was raised."""

    def __init__(self, ticket: Any) -> None:
        super().__init__(f"no answer for {ticket}")
        self.ticket = ticket


@contextlib.contextmanager
def no_thread_left() -> Generator[None]:
    """Everything that was started inside ends, workers that wait to be used again included."""
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 25  # a worker that nobody needs ends after ten seconds
    while set(threading.enumerate()) - before and time.monotonic() < until:
        time.sleep(0.05)
    assert set(threading.enumerate()) - before == set()


def hammer(work: Callable[[int, int], None], *, threads: int = THREADS, seconds: float = SECONDS) -> int:
    """Do ``work(thread, round)`` in many threads at once for some seconds, and once at least; how often it was done.

    Raises:
        ExceptionGroup: If anything went wrong anywhere.
    """
    go = threading.Event()
    wrong: list[Exception] = []
    rounds = [0] * threads
    until = [0.0]

    def run(place: int) -> None:
        go.wait()
        try:
            while (time.monotonic() < until[0] or not rounds[place]) and not wrong:  # each at least once
                work(place, rounds[place])
                rounds[place] += 1
        except Exception as error:
            wrong.append(error)

    started = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(threads)]
    for thread in started:
        thread.start()
    until[0] = time.monotonic() + seconds
    go.set()
    for thread in started:
        thread.join(seconds + 30)
        assert not thread.is_alive(), "a thread hangs"
    if wrong:
        raise ExceptionGroup("under load", wrong)
    print(f"{sum(rounds)} rounds in {threads} threads, {seconds:g} s; from {min(rounds)} to {max(rounds)} a thread")
    return sum(rounds)


def test_retry_gives_each_caller_its_own_answer() -> None:
    attempts = threading.local()

    def operation(ticket: tuple[int, int]) -> tuple[int, int]:
        attempts.made += 1
        if attempts.made <= ticket[1] % 4:
            raise Failure(ticket)
        return ticket

    guarded = Retry(3, backoff.Fixed(0.0))(operation)

    def work(place: int, number: int) -> None:
        attempts.made = 0
        ticket = place, number
        try:
            assert guarded(ticket) == ticket
            assert attempts.made == number % 4 + 1
        except Failure as error:
            assert error.ticket == ticket
            assert (number % 4, attempts.made) == (3, 3)
            assert len(error.__notes__) == 1

    with no_thread_left():
        hammer(work)


def test_timeout_gives_each_caller_its_own_answer_or_its_own_end_of_time() -> None:
    finished: Counter[bool] = Counter()
    lock = threading.Lock()
    limit = 0.5

    def operation(ticket: tuple[int, int]) -> tuple[int, int]:
        if ticket[1] % 50 == 49:
            time.sleep(limit + 0.5)
        elif ticket[1] % 10 == 9:
            raise Failure(ticket)
        return ticket

    guarded = Timeout(limit)(operation)

    def work(place: int, number: int) -> None:
        ticket = place, number
        started = time.monotonic()
        in_time = True
        try:
            assert guarded(ticket) == ticket
        except Failure as error:
            assert error.ticket == ticket
        except errors.TimeoutExceeded:
            # A machine that is busy may be late with a quick answer; nobody is told so before the time.
            assert time.monotonic() - started >= limit - 0.001
            in_time = False
        with lock:
            finished[in_time] += 1

    with no_thread_left():
        rounds = hammer(work)
    assert finished.total() == rounds
    assert finished[False] >= THREADS // 2
    print(f"timed out: {finished[False]}")


def test_fallback_gives_each_caller_its_own_answer() -> None:
    def operation(ticket: tuple[int, int]) -> tuple[str, tuple[int, int]]:
        if ticket[1] % 3:
            raise Failure(ticket)
        return "real", ticket

    def second(ticket: tuple[int, int], error: Failure) -> tuple[str, tuple[int, int]]:
        assert error.ticket == ticket
        if ticket[1] % 3 == 2:
            raise Failure(ticket)
        return "second", ticket

    def third(ticket: tuple[int, int], error: Failure) -> tuple[str, tuple[int, int]]:
        assert error.ticket == ticket
        return "third", ticket

    fallback = Fallback(second, third)

    def work(place: int, number: int) -> None:
        ticket = place, number
        outcome = fallback.outcome(operation, ticket)
        assert outcome.unwrap() == (("real", "second", "third")[number % 3], ticket)
        assert outcome.degraded == bool(number % 3)

    with no_thread_left():
        hammer(work)


def test_cache_loads_once_per_key_and_ttl() -> None:
    ttl, keys = 0.25, 16
    loads: dict[int, list[tuple[float, float]]] = {key: [] for key in range(keys)}
    loading = [threading.Lock() for _ in range(keys)]

    def load(key: int) -> tuple[int, int]:
        assert loading[key].acquire(blocking=False), "two loads of one key at once"
        started = time.monotonic()
        time.sleep(0.002)
        loads[key].append((started, time.monotonic()))
        number = len(loads[key])
        loading[key].release()
        return key, number

    cached = Cache(ttl)(load)
    latest = [[0] * keys for _ in range(THREADS)]

    def work(place: int, number: int) -> None:
        key = (place + number) % keys
        answer = cached(key)
        assert answer[0] == key
        assert answer[1] >= latest[place][key], "an older answer after a newer one"
        latest[place][key] = answer[1]

    with no_thread_left():
        rounds = hammer(work)
    for times in loads.values():
        for (_, loaded), (again, _) in itertools.pairwise(times):
            assert again - loaded >= ttl - 0.001, "loaded again although the answer was fresh"
    made = sum(map(len, loads.values()))
    assert keys <= made <= keys * (SECONDS / ttl + 2)
    print(f"{made} loads for {rounds} answers")


def test_cache_under_failures_and_evictions_gives_each_caller_its_own_answer() -> None:
    def load(ticket: tuple[int, int]) -> tuple[int, int]:
        if ticket[1] % 7 == 6:
            raise Failure(ticket)
        return ticket

    cached = Cache(0.05, max_size=64)(load)

    def work(place: int, number: int) -> None:
        ticket = place % 4, number % 100  # eight threads ask for the same
        try:
            assert cached(ticket) == ticket
            assert number % 100 % 7 != 6
        except Failure as error:
            assert error.ticket == ticket

    with no_thread_left():
        hammer(work)


def test_saga_undoes_its_own_steps_and_no_others() -> None:
    taken: list[set[str]] = [set() for _ in range(THREADS)]

    def take(name: str, fails: Callable[[int], bool]) -> tuple[Callable[..., Any], Callable[..., Any]]:
        def action(state: dict[str, Any]) -> Any:
            if fails(state["number"]):
                raise Failure((state["place"], state["number"]))
            assert name not in taken[state["place"]]
            taken[state["place"]].add(name)
            return name, state["number"]

        def compensation(state: dict[str, Any]) -> None:
            assert state[name] == (name, state["number"])
            taken[state["place"]].remove(name)

        action.__name__ = name
        return action, compensation

    saga: Any = Saga(
        [take("one", lambda n: False), take("two", lambda n: n % 3 == 1), take("three", lambda n: n % 3 == 2)]
    )

    def work(place: int, number: int) -> None:
        try:
            state = saga({"place": place, "number": number})
            assert number % 3 == 0
            assert taken[place] == {"one", "two", "three"}
            assert state["three"] == ("three", number)
        except errors.SagaError as error:
            assert number % 3
            assert isinstance(error.cause, Failure)
            assert error.cause.ticket == (place, number)
            assert list(error.compensated) == ["two", "one"][2 - number % 3 :]
            assert not error.failures
            assert taken[place] == set()
        taken[place].clear()

    with no_thread_left():
        hammer(work)


def test_a_whole_stack_gives_each_caller_its_own_answer() -> None:
    def operation(ticket: tuple[int, int]) -> tuple[int, int]:
        if ticket[1] % 5 == 4:
            raise Failure(ticket)
        return ticket

    poor = Fallback(lambda ticket: ("poor", ticket))
    stack: Policy = Timeout(30) >> poor >> Cache(0.05) >> Retry(2, backoff.Fixed(0.0))
    guarded = stack(operation)

    def work(place: int, number: int) -> None:
        ticket = place, number % 200
        assert guarded(ticket) == (("poor", ticket) if number % 200 % 5 == 4 else ticket)

    with no_thread_left():
        hammer(work)


@pytest.mark.parametrize("asynchronous", [True, False], ids=["tasks", "threads"])
def test_ten_thousand_calls_for_one_key_cause_one_load(asynchronous: bool) -> None:
    loads: list[float] = []
    callers = 10_000

    async def load(key: str) -> str:
        loads.append(time.monotonic())
        await asyncio.sleep(0.2)
        return key.upper()

    def load_plain(key: str) -> str:
        loads.append(time.monotonic())
        time.sleep(0.2)
        return key.upper()

    started = time.monotonic()
    with no_thread_left():
        if asynchronous:
            cached = Cache(60.0)(load)

            async def main() -> list[str]:
                return await asyncio.gather(*(cached("key") for _ in range(callers)))

            answers = asyncio.run(main())
        else:
            answers = _in_threads(Cache(60.0)(load_plain), callers)
        took = time.monotonic() - started
    assert answers == ["KEY"] * callers
    assert len(loads) == 1
    print(f"{callers} answers, {len(loads)} load, {took:.2f} s")


def _in_threads(cached: Callable[[str], str], callers: int, threads: int = 500) -> list[str]:
    """Many calls from as many threads as any machine bears at once; each thread calls again and again."""
    answers: list[str] = []
    together = threading.Barrier(threads)

    def run() -> None:
        together.wait(60)
        for _ in range(callers // threads):
            answers.append(cached("key"))  # noqa: PERF401 - each at its own time

    started = [threading.Thread(target=run, daemon=True) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(60)
    return answers


@pytest.fixture
def cancelled(monkeypatch: pytest.MonkeyPatch) -> Generator[None]:
    """Counts the runs that are cancelled."""
    original = test_cancellation.cancelled_at
    runs = [0]

    def counted(*args: Any, **kwargs: Any) -> bool:
        runs[0] += 1
        return original(*args, **kwargs)

    monkeypatch.setattr(test_cancellation, "cancelled_at", counted)
    yield
    print(f"{runs[0]} runs, each cancelled before another step")


@pytest.mark.usefixtures("cancelled")
def test_random_stacks_can_be_cancelled_at_every_step() -> None:
    @settings(max_examples=20 * DEFAULT_EXAMPLES, deadline=None, database=None)
    @given(
        layers=st.lists(st.sampled_from(sorted(test_cancellation.PATTERNS)), min_size=1, max_size=3),
        script=st.lists(test_cancellation.outcomes, min_size=1, max_size=4),
        takes=st.sampled_from([0.0, 1.0, 2.0]),
    )
    def check(layers: list[str], script: list[Any], takes: float) -> None:
        def make() -> Any:
            stack = Stack(*(test_cancellation.PATTERNS[name]() for name in layers))
            operation = World(True).operation(*script, takes=takes)
            guarded: Any = stack(operation)
            guarded.log = operation.log
            return guarded

        async def again(guarded: Any) -> None:
            guarded.log.script, guarded.log.takes = ("fine",), 0.0
            assert await guarded() in ("fine", "answer", "poor", None)

        step = 0
        while test_cancellation.cancelled_at(step, make, again):
            step += 1
            assert step < 200

    check()


@pytest.mark.usefixtures("cancelled")
def test_random_sagas_can_be_cancelled_at_every_step() -> None:
    test: Any = test_cancellation.test_a_saga_that_is_cancelled_at_any_step_undoes_what_it_did
    longer = settings(max_examples=20 * 25, deadline=None, database=None)
    longer(
        given(
            number=st.integers(1, 3),
            fails=st.integers(0, 3),
            outside=st.lists(st.sampled_from(["Retry", "Timeout", "Fallback"]), max_size=2),
            timeout=st.sampled_from([None, 1.5]),
        )(test.hypothesis.inner_test)
    )()
