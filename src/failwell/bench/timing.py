"""How a call is timed: calibrated loops, interleaved rounds, medians with their quartiles.

A machine with few cores and other work to do gives a noisy clock. Three things make the figures hold still:
hundreds of rounds whose loops last less than a scheduler's time slice, so that most of them run undisturbed;
everything that is compared measured side by side within each round; and differences taken inside a round
before the median is taken over the rounds.
"""

import asyncio
import contextlib
import gc
import random
import statistics
import types
from collections.abc import Callable, Coroutine, Generator, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import repeat
from time import perf_counter_ns
from typing import Any

#: Nanoseconds since some moment.
Clock = Callable[[], int]
#: Runs a timed loop of so many calls, and says how many nanoseconds it took.
Block = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median between its quartiles: half of the rounds lie from `low` to `high`."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """The spread of some measured values (of one value: that value, three times)."""
        found = list(values)
        if len(found) == 1:
            return cls(found[0], found[0], found[0])
        low, median, high = statistics.quantiles(found, n=4, method="inclusive")
        return cls(low, median, high)

    def rounded(self, digits: int = 1) -> list[float]:
        """The three figures as a list, for the JSON file."""
        return [round(self.low, digits), round(self.median, digits), round(self.high, digits)]


def _calls(n: int, clock: Clock, fn: Callable[..., Any]) -> int:
    started = clock()
    for _ in repeat(None, n):
        fn(1)
    return clock() - started


async def _awaited_calls(n: int, clock: Clock, fn: Callable[..., Any]) -> int:
    started = clock()
    for _ in repeat(None, n):
        await fn(1)
    return clock() - started


def _calls_caught(n: int, clock: Clock, fn: Callable[..., Any], other: Callable[..., Any]) -> int:
    started = clock()
    for _ in repeat(None, n):
        try:
            fn(1)
        except ConnectionError:
            other(1)
    return clock() - started


async def _awaited_calls_caught(n: int, clock: Clock, fn: Callable[..., Any], other: Callable[..., Any]) -> int:
    started = clock()
    for _ in repeat(None, n):
        try:
            await fn(1)
        except ConnectionError:
            await other(1)
    return clock() - started


def _own_code(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A copy of a timed loop whose bytecode belongs to one contender alone.

    CPython specialises bytecode for what it has seen. A loop shared by all contenders would be tuned for
    whichever ran first, and would charge the others for it.
    """
    assert isinstance(fn, types.FunctionType)
    return types.FunctionType(fn.__code__.replace(), fn.__globals__, fn.__name__)


class Stage:
    """Where the contenders of one row run: as plain calls, or as coroutines on one event loop.

    Builds, checks and times contenders in the same way for both, so that everything else is written once.
    """

    def __init__(self, runner: asyncio.Runner | None) -> None:
        self.runner = runner

    @property
    def is_async(self) -> bool:
        """Whether calls are awaited here."""
        return self.runner is not None

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        assert self.runner is not None
        return self.runner.run(coroutine)

    def build(self, build: Callable[..., Callable[..., Any]], *args: Any) -> Callable[..., Any]:
        """Make a contender. On the loop if there is one, because some libraries look for it already here."""
        if self.runner is None:
            return build(*args)

        async def building() -> Callable[..., Any]:
            return build(*args)

        made: Callable[..., Any] = self._run(building())
        return made

    def call(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Call once and give back what the caller of the contender would get."""
        if self.runner is None:
            return fn(*args)

        async def calling() -> Any:
            return await fn(*args)

        return self._run(calling())

    @contextlib.contextmanager
    def within(self, settings: Callable[[], AbstractContextManager[None]]) -> Generator[None, None, None]:
        """Enter a context manager where the calls are made, so that context variables reach all of them."""
        manager = settings()
        if self.runner is None:
            with manager:
                yield
            return

        async def enter() -> None:
            manager.__enter__()

        async def leave() -> None:
            manager.__exit__(None, None, None)

        self._run(enter())
        try:
            yield
        finally:
            self._run(leave())

    def block(
        self, fn: Callable[..., Any], other: Callable[..., Any] | None = None, *, clock: Clock = perf_counter_ns
    ) -> Block:
        """The timed loop around a contender; with `other`, around a call that is replaced when it fails."""
        if self.runner is None:
            timed = _own_code(_calls if other is None else _calls_caught)
            rest = (clock, fn) if other is None else (clock, fn, other)
            return lambda n: timed(n, *rest)
        awaited = _own_code(_awaited_calls if other is None else _awaited_calls_caught)
        awaited_rest = (clock, fn) if other is None else (clock, fn, other)
        return lambda n: self._run(awaited(n, *awaited_rest))


def calibrate(block: Block, target_ns: float) -> int:
    """How many calls take about `target_ns` (at least one). Warms the code up on the way."""
    n = 1
    while True:
        # The fastest of three, because a loop that was interrupted says nothing about how long calls take.
        took = max(1, min(block(n) for _ in range(3)))
        # A quarter of the target is long enough to extrapolate from; before that, grow, but
        # never more than tenfold on the word of so short a measurement.
        if took * 4 >= target_ns:
            return max(1, round(n * target_ns / took))
        n = max(n + 1, min(n * 10, round(n * target_ns / took)))


def interleave(
    blocks: Sequence[Sequence[Block]],
    *,
    seconds: float,
    block_ns: float,
    least: int = 3,
    seed: int = 0,
    progress: Callable[[float], None] = lambda _: None,
) -> list[list[list[float]]]:
    """Time groups of blocks in rounds for so many seconds; nanoseconds a call, by group, block and round.

    In each round every group has its turn, and the blocks of a group follow each other directly, in a new
    order each time. The garbage collector is off inside a block and has run just before it, so that nobody
    pays for what another one left lying about; what was there before the first round is out of its sight.
    """
    counts = [[calibrate(block, block_ns) for block in group] for group in blocks]
    samples: list[list[list[float]]] = [[[] for _ in group] for group in blocks]
    shuffle = random.Random(seed).shuffle
    gc.collect()
    gc.freeze()
    was_enabled = gc.isenabled()
    gc.disable()
    started = perf_counter_ns()
    rounds = 0
    try:
        while rounds < least or perf_counter_ns() - started < seconds * 1e9:
            progress(min(1.0, (perf_counter_ns() - started) / 1e9 / seconds) if seconds else 1.0)
            rounds += 1
            for group, numbers, found in zip(blocks, counts, samples, strict=True):
                order = list(range(len(group)))
                shuffle(order)
                for i in order:
                    gc.collect()
                    found[i].append(group[i](numbers[i]) / numbers[i])
    finally:
        if was_enabled:
            gc.enable()
        gc.unfreeze()
    return samples
