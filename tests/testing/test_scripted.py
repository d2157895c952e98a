from __future__ import annotations

import asyncio
import functools
import gc
import threading
import time
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import Bulkhead, Retry, Timeout, backoff, errors, virtual
from failwell.testing import HANG, AsyncScripted, Called, Scripted, async_failing, failing, slow
from tests.kernel.world import World
from tests.soak.test_soak import hammer

ONE = backoff.Fixed(1.0)


def made(world: World, *script: Any, name: str = "operation") -> Any:
    return (async_failing if world.asynchronous else failing)(*script, name=name)


def test_each_call_does_what_the_next_entry_says_and_the_last_one_holds(world: World) -> None:
    load = made(world, ConnectionError, OSError("disk"), "ok", 7)
    outcomes = [world.run(Retry(1), load) for _ in range(6)]
    assert [type(outcome.error) for outcome in outcomes[:2]] == [ConnectionError, OSError]
    assert [str(outcome.error) for outcome in outcomes[:2]] == ["operation failed", "disk"]
    assert [outcome.value for outcome in outcomes[2:]] == ["ok", 7, 7, 7]


def test_calls_are_remembered_with_arguments_times_and_ends(world: World) -> None:
    load = made(world, slow(0.5, ConnectionError), slow(2, "ok"), name="load")
    assert world.run(Retry(2, ONE), load, "cart", limit=3).unwrap() == "ok"
    assert [(call.args, call.kwargs) for call in load.calls] == [(("cart",), {"limit": 3})] * 2
    assert [(call.started, call.ended) for call in load.calls] == [(0, 0.5), (1.5, 3.5)]
    assert load.times == [0, 1.5]
    assert [type(call.error) for call in load.calls] == [ConnectionError, type(None)]
    assert list(map(repr, load.calls)) == [
        "<call('cart', limit=3) at 0: ConnectionError>",
        "<call('cart', limit=3) at 1.5: returned>",
    ]


def test_a_hang_ends_when_it_is_cut(world: World) -> None:
    load = made(world, HANG, "ok")
    outcome = world.run(Retry(2, ONE) >> Timeout(3), load)
    assert (outcome.value, outcome.elapsed) == ("ok", 4)
    if world.asynchronous:
        assert isinstance(load.calls[0].error, asyncio.CancelledError)
        assert load.calls[0].ended == 3


def test_a_hang_that_nobody_ends_is_told_and_not_waited_for(world: World) -> None:
    load = made(world, HANG)
    with pytest.raises(virtual.Deadlock):
        world.do(load)


def test_hanging_calls_can_be_let_go() -> None:
    load = async_failing(HANG)

    async def main() -> None:
        calls = [asyncio.ensure_future(load(number)) for number in range(3)]
        await asyncio.sleep(1)
        assert [call.ended for call in load.calls] == [None] * 3
        assert repr(load.calls[2]) == "<call(2) at 0: under way>"
        calls[0].cancel()
        load.release()
        load.release()
        first, *others = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(first, asyncio.CancelledError)
        assert others == [None, None]

    virtual.run(main())


def test_a_hanging_thread_can_be_let_go_in_real_time() -> None:
    load = failing(HANG, "ok")
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(load()), daemon=True)
    thread.start()
    while not load.calls:
        time.sleep(0.001)
    while not load._held:
        time.sleep(0.001)
    load.release()
    thread.join(5)
    assert answers == [None]


def test_letting_go_what_hung_on_a_loop_that_is_closed_does_no_harm() -> None:
    load = async_failing(HANG)
    coroutine: Any = load()
    loop = asyncio.new_event_loop()
    asyncio._set_running_loop(loop)
    try:
        coroutine.send(None)
    finally:
        asyncio._set_running_loop(None)
    loop.close()
    load.release()
    coroutine.close()


def test_a_function_in_a_script_says_what_happens(world: World) -> None:
    def refuse(name: str) -> str:
        raise KeyError(name)

    load = made(world, lambda name: name.upper(), refuse)
    assert world.run(Retry(1), load, "cart").unwrap() == "CART"
    assert repr(world.run(Retry(1), load, "cart").error) == "KeyError('cart')"


def test_a_function_in_an_async_script_may_be_async() -> None:
    async def answer(name: str) -> str:
        await asyncio.sleep(1)
        return name

    load = async_failing(slow(1, answer))
    assert virtual.run(load("cart")) == "cart"
    assert load.calls[0].ended == 2


def test_errors_with_arguments_of_their_own_are_raised_too(world: World) -> None:
    class Odd(Exception):
        def __init__(self, code: int, *, reason: str) -> None:
            super().__init__(code, reason)

    assert isinstance(world.run(Retry(1), made(world, Odd)).error, Odd)
    assert isinstance(world.run(Retry(1), made(world, errors.UnavailableError)).error, errors.UnavailableError)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_is_raised_as_well(world: World, error: type[BaseException]) -> None:
    load = made(world, error)
    with pytest.raises(error):
        world.do(load)
    assert isinstance(load.calls[0].error, error)


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}])
def test_anything_else_is_returned_as_it_is(world: World, value: Any) -> None:
    assert world.do(made(world, value)) is value


def test_how_many_were_under_way_at_once_is_known() -> None:
    load = async_failing(slow(1, "ok"))
    guarded = Bulkhead(3, max_queue=99)(load)

    async def main() -> None:
        await asyncio.gather(*(guarded() for _ in range(10)))

    virtual.run(main())
    assert (load.most_at_once, len(load.calls)) == (3, 10)


def test_a_script_can_start_anew(world: World) -> None:
    load = made(world, "first", "second")
    assert [world.do(load), world.do(load)] == ["first", "second"]
    load.reset()
    assert (load.calls, load.most_at_once) == ([], 0)
    assert world.do(load) == "first"


def test_it_is_a_function_like_any_other() -> None:
    assert isinstance(failing(1), Scripted)
    assert isinstance(async_failing(1), AsyncScripted)
    guarded = Retry(2)(failing(1, name="load"))
    assert (guarded.__name__, guarded()) == ("load", 1)
    bound: Any = functools.partial(failing(ValueError), 1)
    assert isinstance(Retry(2).outcome(bound).error, ValueError)
    assert repr(failing(ConnectionError, HANG, slow(2, "ok"), "ok")) == (
        "Scripted(ConnectionError, HANG, slow(2, 'ok'), 'ok')"
    )


def test_a_script_that_is_gone_leaves_nothing() -> None:
    load = failing(ValueError)
    with pytest.raises(ValueError):
        load(1)
    gone = weakref.ref(load)
    del load
    gc.collect()
    assert gone() is None


def test_many_threads_may_call_one_script() -> None:
    load = failing("ok")

    def work(place: int, number: int) -> None:
        assert load(place, number) == "ok"

    rounds = hammer(work, threads=4, seconds=0.3)
    assert len(load.calls) == rounds
    assert len({call.args for call in load.calls}) == rounds
    assert all(call.ended is not None for call in load.calls)
    assert 1 <= load.most_at_once <= 4


@given(script=st.lists(st.sampled_from([ConnectionError, ValueError, "ok", 1]), min_size=1, max_size=6))
def test_a_script_is_played_in_its_order(script: list[Any]) -> None:
    load = failing(*script)
    for entry in [*script, script[-1]]:
        try:
            assert load() == entry
        except Exception as error:
            assert type(error) is entry  # noqa: PT017


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (lambda: failing(), "a script needs an entry"),
        (lambda: async_failing(), "a script needs an entry"),
        (lambda: failing(1, name=7), "name must be a text, got 7"),  # type: ignore[arg-type]
        (lambda: slow("1"), "seconds must be a number of 0 or more, got '1'"),  # type: ignore[arg-type]
        (lambda: slow(-1), "seconds must be a number of 0 or more, got -1"),
        (lambda: slow(float("nan")), "seconds must be a number of 0 or more, got nan"),
        (lambda: slow(True), "seconds must be a number of 0 or more, got True"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(start: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        start()


def test_a_call_knows_nothing_before_it_ends() -> None:
    call = Called((), {}, 0.0)
    assert (call.ended, call.error) == (None, None)
