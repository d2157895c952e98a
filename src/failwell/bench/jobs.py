"""What the contenders of a row have to do, and the proof that they do it.

A peer that was configured so that it does not retry, or whose cache never hits, would look fast. Each job
therefore checks a contender before it is timed, with scripted operations, through the same call that is timed.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import Any, Final
from unittest import mock

from failwell.bench.timing import Stage
from failwell.errors import AuthenticationError

#: Every retry here calls at most three times, the first call included.
ATTEMPTS: Final = 3
#: Every circuit breaker here opens after five failures in a row.
FAILURES: Final = 5
#: A time limit or a time to live that never ends while the clock is watched.
LONG: Final = 3600.0
#: As many calls in a time as nobody makes, and the time: short, because some remember all calls of that time.
OFTEN: Final = 10**9
#: See `OFTEN`, in seconds.
BRIEFLY: Final = 0.01
#: More calls at once than anybody makes.
MANY: Final = 1_000
#: How many items a batch has.
ITEMS: Final = 100
#: A time limit that ends soon, to see that it ends.
SHORT: Final = 0.02
#: How long a hanging operation hangs unless it is stopped. Not for ever: a contender without a time limit has to be
#: found out. It is so long that no stall of a busy machine lets a hang end before a `SHORT` limit does.
HANG = 30.0

Build = Callable[..., Callable[..., Any]]


class NotDoingTheJob(AssertionError):
    """A contender does not do what its row is about, so its figure would mean nothing."""


def expect(condition: bool, what: str) -> None:
    """Raise `NotDoingTheJob` unless the condition holds (also under `python -O`, unlike `assert`)."""
    if not condition:
        raise NotDoingTheJob(what)


@dataclass(slots=True)
class Tally:
    """How often a scripted operation was called, and how often it hung until the hang was over by itself."""

    calls: int = 0
    hung_to_the_end: int = 0
    released: threading.Event = field(default_factory=threading.Event)


Step = type[Exception] | str


def scripted(stage: Stage, *script: Step) -> tuple[Callable[..., Any], Tally]:
    """An operation that follows a script: an exception type raises, "hang" hangs, "ok" returns its argument.

    The last step repeats for ever.
    """
    tally = Tally()

    def step() -> Step:
        tally.calls += 1
        return script[min(tally.calls, len(script)) - 1]

    def operation(value: object) -> object:
        now = step()
        if isinstance(now, type):
            raise now("scripted")
        if now == "hang":
            tally.hung_to_the_end += not tally.released.wait(HANG)
        return value

    async def async_operation(value: object) -> object:
        now = step()
        if isinstance(now, type):
            raise now("scripted")
        if now == "hang":
            await asyncio.sleep(HANG)
            tally.hung_to_the_end += 1
        return value

    return (async_operation if stage.is_async else operation), tally


def raises(stage: Stage, fn: Callable[..., Any], argument: object = 1) -> Exception | None:
    """The exception that a call ends with, or None."""
    try:
        stage.call(fn, argument)
    except Exception as error:
        return error
    return None


@contextlib.contextmanager
def waits(stage: Stage) -> Generator[list[float], None, None]:
    """The lengths of all waits that are asked for meanwhile, other than zero: on the event loop, or in a thread."""
    asked: list[float] = []

    def noting(wait: Callable[..., Any], seconds_of: Callable[..., float | None]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            seconds = seconds_of(*args, **kwargs)
            if seconds is not None and seconds > 0:
                asked.append(seconds)
            return wait(*args, **kwargs)

        return noted

    def timeout_of(_: object, timeout: float | None = None) -> float | None:
        return timeout

    with contextlib.ExitStack() as patches:
        patches.enter_context(mock.patch("time.sleep", noting(time.sleep, float)))
        condition = threading.Condition
        patches.enter_context(mock.patch.object(condition, "wait", noting(condition.wait, timeout_of)))
        if stage.runner is not None:
            loop = stage.runner.get_loop()

            def call_at(when: float, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:  # every timer ends up here
                if (seconds := when - loop.time()) > 0:
                    asked.append(seconds)
                return usual(when, *args, **kwargs)

            usual = loop.call_at
            patches.enter_context(mock.patch.object(loop, "call_at", call_at))
        yield asked


def pauses(stage: Stage, fn: Callable[..., Any], calls: int = 20) -> float:
    """How often a call lets others run: turns of the event loop, or calls of `time.sleep`.

    A wait of zero seconds is not the same everywhere: some yield to the event loop (or enter the kernel), some
    go on at once. That difference costs more than most libraries do, so the table has to say it.
    """
    if not stage.is_async:
        with mock.patch("time.sleep") as sleep:
            for _ in range(calls):
                fn(1)
        return sleep.call_count / calls

    async def counting() -> float:
        loop = asyncio.get_running_loop()
        turns = 0
        stopped = False

        def turn() -> None:
            nonlocal turns
            turns += 1
            if not stopped:
                loop.call_soon(turn)

        loop.call_soon(turn)
        for _ in range(calls):
            await fn(1)
        stopped = True
        return turns / calls

    return float(stage.call(counting))


def bare(operation: Callable[..., Any]) -> Callable[..., Any]:
    """Nothing around the operation."""
    return operation


# --- the operations that are timed -----------------------------------------------------------------------------


def plain(value: object) -> object:
    """The cheapest operation there is."""
    return value


async def async_plain(value: object) -> object:
    """The cheapest async operation: it never suspends."""
    return value


async def suspends(value: object) -> object:
    """An async operation that gives the event loop one turn."""
    await asyncio.sleep(0)
    return value


async def awaits_future(value: object) -> object:
    """An async operation that waits for a future, as one that reads from a socket does."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[object] = loop.create_future()
    loop.call_soon(future.set_result, value)
    return await future


def flaky(stage: Stage) -> Callable[..., Any]:
    """An operation that fails in every other call."""
    failing = False

    def operation(value: object) -> object:
        nonlocal failing
        failing = not failing
        if failing:
            raise ConnectionError("down")
        return value

    async def async_operation(value: object) -> object:
        nonlocal failing
        failing = not failing
        if failing:
            raise ConnectionError("down")
        return value

    return async_operation if stage.is_async else operation


def broken(value: object) -> object:
    """An operation that always fails."""
    raise ConnectionError("down")


async def async_broken(value: object) -> object:
    """An async operation that always fails."""
    raise ConnectionError("down")


def alternative(value: object) -> object:
    """What a fallback answers with."""
    return "alternative"


async def async_alternative(value: object) -> object:
    """What a fallback answers with, async."""
    return "alternative"


def instead(stage: Stage) -> Callable[..., Any]:
    """The alternative that fits the stage."""
    return async_alternative if stage.is_async else alternative


# --- the proofs ------------------------------------------------------------------------------------------------


def check_retry(stage: Stage, build: Build) -> None:
    """Success is returned; two failures are survived; the third one ends it; other errors are not retried."""
    operation, tally = scripted(stage, ConnectionError, ConnectionError, "ok")
    with waits(stage) as asked:
        expect(stage.call(stage.build(build, operation), 7) == 7, "a retry returns what the operation returned")
    expect(tally.calls == ATTEMPTS, f"a retry calls {ATTEMPTS} times here, not {tally.calls}")
    expect(not asked, f"the wait between two attempts is zero, not {asked} seconds")
    operation, tally = scripted(stage, ConnectionError)
    expect(raises(stage, stage.build(build, operation)) is not None, "a retry gives up")
    expect(tally.calls == ATTEMPTS, f"a retry gives up after {ATTEMPTS} calls, not {tally.calls}")
    operation, tally = scripted(stage, ValueError, "ok")
    expect(raises(stage, stage.build(build, operation)) is not None, "a retry lets other errors through")
    expect(tally.calls == 1, "a retry does not retry other errors")


def check_fallback(stage: Stage, build: Build) -> None:
    """Success is returned as it is; each failure is answered by the alternative, after one call."""
    operation, tally = scripted(stage, "ok")
    expect(stage.call(stage.build(build, operation, instead(stage)), 7) == 7, "a fallback returns a success")
    operation, tally = scripted(stage, ConnectionError)
    made = stage.build(build, operation, instead(stage))
    for calls in (1, 2, 3, 4, 5, 6, 7):
        expect(stage.call(made, 7) == "alternative", "a fallback answers a failure with its alternative")
        expect(tally.calls == calls, "a fallback tries the operation first, and once")


def check_timeout(stage: Stage, build: Build) -> None:
    """A fast operation is returned; a hanging one ends in an exception, in time."""
    operation, _ = scripted(stage, "ok")
    expect(stage.call(stage.build(build, operation, LONG), 7) == 7, "a timeout returns what came in time")
    operation, tally = scripted(stage, "hang")
    error = raises(stage, stage.build(build, operation, SHORT))
    late = tally.hung_to_the_end
    tally.released.set()
    expect(error is not None, "a timeout ends what hangs")
    expect(not late, "a timeout ends what hangs in time, not when the hang is over")


def check_cache_for_ever(stage: Stage, build: Build) -> None:
    """The second call with the same arguments is a hit, and other arguments are a miss."""
    operation, tally = scripted(stage, "ok")
    made = stage.build(build, operation, LONG)
    expect([stage.call(made, 7), stage.call(made, 7)] == [7, 7], "a cache returns the stored value")
    expect(tally.calls == 1, "the second call is a hit")
    expect(stage.call(made, 8) == 8 and tally.calls == 2, "other arguments are a miss")


def check_cache(stage: Stage, build: Build) -> None:
    """A cache whose entries expire."""
    check_cache_for_ever(stage, build)
    operation, tally = scripted(stage, "ok")
    made = stage.build(build, operation, SHORT)
    stage.call(made, 7)
    stage.call(asyncio.sleep if stage.is_async else time.sleep, 2 * SHORT)
    stage.call(made, 7)
    expect(tally.calls == 2, "an entry expires")


def check_stack(stage: Stage, build: Build) -> None:
    """Failures are retried, hanging calls are ended and retried, and the alternative answers in the end."""
    for script, calls, answer in (
        (("ok",), 1, 7),
        ((ConnectionError, "ok"), 2, 7),
        ((ConnectionError,), ATTEMPTS, "alternative"),
        (("hang", "ok"), 2, 7),
        (("hang",), ATTEMPTS, "alternative"),
    ):
        operation, tally = scripted(stage, *script)
        seconds = SHORT if "hang" in script else LONG
        made = stage.build(build, operation, instead(stage), seconds)
        answered = stage.call(made, 7)
        late = tally.hung_to_the_end
        tally.released.set()
        expect(answered == answer, f"{script} is answered with {answer}")
        expect(tally.calls == calls, f"{script} takes {calls} calls, not {tally.calls}")
        expect(not late, f"{script}: a hang is ended in time")


def check_breaker(stage: Stage, build: Build) -> None:
    """After enough failures in a row the operation is not called any more, and a success resets the count."""
    operation, tally = scripted(stage, *[ConnectionError] * (FAILURES - 1), "ok", ConnectionError)
    made = stage.build(build, operation)
    for _ in range(2 * FAILURES + 10):
        raises(stage, made)
    expect(tally.calls == 2 * FAILURES, f"a breaker opens after {2 * FAILURES} of these calls, not {tally.calls}")


def check_open_breaker(stage: Stage, build: Build) -> None:
    """Once open, it answers at once and the operation is left alone."""
    operation, tally = scripted(stage, ConnectionError)
    made = stage.build(build, operation, instead(stage))
    answers = {stage.call(made, 7) for _ in range(FAILURES + 10)}
    expect(answers == {"alternative"}, f"a rejection is caught and answered, not {answers}")
    expect(tally.calls == FAILURES, f"an open breaker makes no calls: {FAILURES}, not {tally.calls}")


def check_limiter(stage: Stage, build: Build) -> None:
    """The same after a quiet time, in which nobody may save up more than one burst."""
    check_limiter_at_first(stage, build)
    operation, tally = scripted(stage, "ok")
    made = stage.build(build, operation, 3, 5 * SHORT)
    stage.call(asyncio.sleep if stage.is_async else time.sleep, 10 * SHORT)
    started = time.monotonic()
    while time.monotonic() < started + SHORT:
        raises(stage, made)
    expect(tally.calls <= 5, f"no burst is larger than 3 calls (and what the time since then allows): {tally.calls}")


def check_limiter_at_first(stage: Stage, build: Build) -> None:
    """As many calls as allowed are made at once; one more is refused, or waits."""
    operation, tally = scripted(stage, "ok")
    made = stage.build(build, operation, 3, 10 * SHORT)
    started = time.monotonic()
    for _ in range(3):
        expect(stage.call(made, 7) == 7, "a limiter returns what the operation returned")
    at_once = time.monotonic() - started
    refused = raises(stage, made) is not None
    waited = time.monotonic() - started - at_once
    expect(refused or waited > SHORT, "one call too many is refused or waits")
    expect(tally.calls == 3 + (not refused), "a call that is refused is not made")


def check_bulkhead(stage: Stage, build: Build) -> None:
    """Two calls are under way at once, and no third."""
    inside: set[object] = set()
    seen: list[int] = []

    @contextlib.contextmanager
    def counted() -> Generator[None, None, None]:
        call = object()
        inside.add(call)
        seen.append(len(inside))
        yield
        inside.remove(call)

    def operation(value: object) -> object:
        with counted():
            time.sleep(SHORT)
        return value

    async def async_operation(value: object) -> object:
        with counted():
            await asyncio.sleep(SHORT)
        return value

    made = stage.build(build, async_operation if stage.is_async else operation, 2)

    async def all_at_once() -> None:
        await asyncio.gather(*(made(7) for _ in range(4)), return_exceptions=True)

    if stage.is_async:
        stage.call(all_at_once)
    else:
        threads = [threading.Thread(target=raises, args=(stage, made)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expect(max(seen) == 2, f"two calls are under way at once, not {max(seen)}")
    expect(stage.call(made, 7) == 7, "a bulkhead returns what the operation returned, also when it was full before")


def check_router(stage: Stage, build: Build) -> None:
    """The route is taken that the argument names."""
    operation, tally = scripted(stage, "ok")
    made = stage.build(build, operation, instead(stage))
    expect(stage.call(made, 1) == 1 and stage.call(made, -1) == "alternative", "the argument selects the route")
    expect(tally.calls == 1, "only the route that was selected is called")


def check_validate(stage: Stage, build: Build) -> None:
    """What is valid passes; what is not is refused before the call, or after it."""
    operation, tally = scripted(stage, "ok")
    made = stage.build(build, operation)
    expect(stage.call(made, 1) == 1, "a valid argument and a valid result pass")
    expect(raises(stage, made, -1) is not None and tally.calls == 1, "no call is made with a bad argument")
    expect(raises(stage, made, 1000) is not None and tally.calls == 2, "a bad result is not returned")


def check_saga(stage: Stage, build: Build) -> None:
    """Both steps are done; if the second fails, the first is undone and the caller hears of it."""
    undone, undoing = scripted(stage, "ok")
    operation, tally = scripted(stage, "ok")
    state = stage.call(stage.build(build, operation, undone), 7)
    expect(type(state) is dict, "a saga returns its state")
    done = state["second"] == 7 and tally.calls == 1 and undoing.calls == 0
    expect(done, "both steps are done and none is undone")
    operation, tally = scripted(stage, ConnectionError)
    expect(raises(stage, stage.build(build, operation, undone)) is not None, "a step that fails fails the saga")
    expect(undoing.calls == 1, f"the step before it is undone once, not {undoing.calls} times")


def check_hedge(stage: Stage, build: Build) -> None:
    """An answer in time is returned; beside a slow attempt a second one answers."""
    operation, tally = scripted(stage, "ok")
    expect(stage.call(stage.build(build, operation, LONG), 7) == 7 and tally.calls == 1, "one attempt is enough")
    operation, tally = scripted(stage, "hang", "ok")
    expect(stage.call(stage.build(build, operation, SHORT), 7) == 7, "the second attempt answers")
    late = tally.hung_to_the_end
    tally.released.set()
    expect(tally.calls == 2 and not late, "the second attempt starts while the first one hangs")


def fetch() -> str:
    """A new token."""
    return "token"


def check_credential_refresh(stage: Stage, build: Build) -> None:
    """A refused token is fetched anew and the call is made again, once."""
    operation, tally = scripted(stage, AuthenticationError, "ok")
    error = raises(stage, stage.build(build, operation, fetch))
    expect(error is None and tally.calls == 2, "a call that was refused is made again")
    operation, tally = scripted(stage, AuthenticationError)
    expect(raises(stage, stage.build(build, operation, fetch)) is not None, "a credential that stays refused is told")
    expect(tally.calls == 2, f"a refused call is made twice, not {tally.calls} times")


def check_batch(stage: Stage, build: Build) -> None:
    """Every item is processed once, and those that fail cost the others nothing."""
    operation, tally = scripted(stage, "ok", ConnectionError, "ok")
    made = stage.build(build, operation, ITEMS)
    expect(stage.call(made, 7) is not None and tally.calls == ITEMS, f"{ITEMS} items are processed, not {tally.calls}")


def check_degrade(stage: Stage, build: Build) -> None:
    """A part that fails is answered by something else, and the others by themselves."""
    operation, _ = scripted(stage, "ok", ConnectionError)
    answers = stage.call(stage.build(build, operation, instead(stage)), 7)
    expect(answers != 7, "both parts are in the answer")
    given = sorted(map(str, (answers["first"], answers["second"])))
    expect(given == ["7", "alternative"], f"one part is real and one is not: {given}")


def check_context(stage: Stage, build: Build) -> None:
    """What fails says where."""
    operation, _ = scripted(stage, "ok", ConnectionError)
    made = stage.build(build, operation)
    expect(stage.call(made, 7) == 7, "an answer passes")
    error = raises(stage, made)
    expect(any("bench" in note for note in getattr(error, "__notes__", ())), "an error has a note of the place")


def check_health_check(stage: Stage, build: Build) -> None:
    """The probe is asked once, and what it says is good for a while."""
    operation, tally = scripted(stage, "ok", ConnectionError)
    made = stage.build(build, operation)
    answers = [stage.call(made, 1) for _ in range(3)]
    expect(all(map(bool, answers)) and tally.calls == 1, f"the probe is asked once, not {tally.calls} times")
