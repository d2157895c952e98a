"""The statistics of the benchmark, on clocks that are known."""

import asyncio
import contextlib
import contextvars
import gc
import itertools
import statistics
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from failwell.bench.timing import Block, Spread, Stage, calibrate, interleave


def test_a_spread_is_median_and_quartiles():
    assert Spread.of([4, 1, 3, 2, 5]) == Spread(2, 3, 4)
    assert Spread.of([1, 2, 3, 4]) == Spread(1.75, 2.5, 3.25)
    assert Spread.of([7.0]) == Spread(7, 7, 7)
    assert Spread.of(float(n) for n in range(101)) == Spread(25, 50, 75)
    assert Spread(1.234, 5.678, 9.012).rounded() == [1.2, 5.7, 9.0]


def test_an_outlier_does_not_move_the_median():
    undisturbed = Spread.of([100.0] * 9)
    assert Spread.of([100.0] * 9 + [1e9]) == undisturbed


def linear(cost: float, fixed: float = 0, calls: list[int] | None = None) -> Block:
    """A loop on a clock of its own: so many nanoseconds a call, and some for the loop."""

    def block(n: int) -> int:
        if calls is not None:
            calls.append(n)
        return round(fixed + cost * n)

    return block


@pytest.mark.parametrize("cost", [0.3, 20, 1_000, 80_000, 5_000_000])
@pytest.mark.parametrize("fixed", [0, 300])
def test_a_loop_is_calibrated_to_the_wanted_length(cost: float, fixed: float):
    target = 400_000
    block = linear(cost, fixed)
    n = calibrate(block, target)
    assert n >= 1
    assert n == 1 or target * 0.8 <= block(n) <= target * 1.2


def test_calibration_is_not_fooled_by_an_interruption():
    took = iter([5_000_000])

    def block(n: int) -> int:
        return next(took, 100 * n)

    assert calibrate(block, 400_000) == pytest.approx(4_000, rel=0.2)


def test_calibration_grows_step_by_step():
    calls: list[int] = []
    calibrate(linear(0.001, calls=calls), 1_000)
    assert all(later <= 10 * earlier for earlier, later in itertools.pairwise(calls))


def test_rounds_are_interleaved_and_costs_come_out_per_call():
    order: list[str] = []

    def named(name: str, cost: float) -> Block:
        def block(n: int) -> int:
            order.append(name)
            assert not gc.isenabled() or not timed
            return round(cost * n)

        return block

    timed = False
    blocks = [[named("a", 100), named("b", 300)], [named("c", 5_000)]]
    calibrated = 0

    def progress(share: float) -> None:
        nonlocal timed, calibrated
        if not timed:
            timed, calibrated = True, len(order)

    samples = interleave(blocks, seconds=0, block_ns=100_000, least=20, progress=progress)
    assert gc.isenabled()
    assert [[set(found) for found in group] for group in samples] == [[{100.0}, {300.0}], [{5_000.0}]]
    assert {len(found) for group in samples for found in group} == {20}
    rounds = [order[i : i + 3] for i in range(calibrated, len(order), 3)]
    assert len(rounds) == 20
    assert {tuple(names) for names in rounds} == {("a", "b", "c"), ("b", "a", "c")}


def test_the_collector_is_switched_on_again_after_an_error():
    def broken(n: int) -> int:
        if not gc.isenabled():
            raise RuntimeError("in a round")
        return 100 * n

    with pytest.raises(RuntimeError, match="in a round"):
        interleave([[broken]], seconds=0, block_ns=1_000)
    assert gc.isenabled()


def test_differences_within_a_round_cancel_what_slows_the_whole_round():
    # A machine that runs twice as slowly in every second round: the medians of both are off, their difference is not.
    slow = [1, 2] * 10
    bare = [50.0 + 1_000 * s for s in slow]
    mine = [150.0 + 1_000 * s for s in slow]
    assert Spread.of(m - b for m, b in zip(mine, bare, strict=True)) == Spread(100, 100, 100)
    assert statistics.median(bare) == 1_550


@pytest.mark.parametrize("other", [False, True], ids=["plain", "caught"])
def test_a_block_calls_so_often(stage: Stage, other: bool):
    calls = {"fn": 0, "other": 0}

    def fn(value: int) -> None:
        calls["fn"] += 1
        if other:
            raise ConnectionError

    def instead(value: int) -> None:
        calls["other"] += 1

    async def async_fn(value: int) -> None:
        fn(value)

    async def async_instead(value: int) -> None:
        instead(value)

    ticks = iter(range(0, 100, 7))
    use, use_instead = (async_fn, async_instead) if stage.is_async else (fn, instead)
    block = stage.block(use, use_instead if other else None, clock=lambda: next(ticks))
    assert block(5) == 7
    assert calls == {"fn": 5, "other": 5 if other else 0}


def test_every_block_has_bytecode_of_its_own(plain: Stage):
    frames = []
    for _ in range(2):
        plain.block(lambda value: frames.append(sys._getframe(1).f_code))(1)
    assert frames[0] is not frames[1]


VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")


@contextlib.contextmanager
def setting() -> Iterator[None]:
    token = VARIABLE.set("set")
    try:
        yield
    finally:
        VARIABLE.reset(token)


def test_settings_reach_the_calls(stage: Stage):
    async def read_async() -> str:
        return VARIABLE.get()

    read = read_async if stage.is_async else VARIABLE.get
    with stage.within(setting):
        assert stage.call(read) == "set"
    assert stage.call(read) == "unset"


def test_contenders_are_built_where_they_run(on_loop: Stage):
    loops: list[asyncio.AbstractEventLoop] = []

    async def call() -> None:
        loops.append(asyncio.get_running_loop())

    def build() -> Callable[[], Coroutine[Any, Any, None]]:
        loops.append(asyncio.get_running_loop())
        return call

    on_loop.call(on_loop.build(build))
    assert loops[0] is loops[1]
