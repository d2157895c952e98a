from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from failwell import Fallback, Retry, Saga, Step, Timeout, errors, explore, listening, virtual
from failwell.backoff import Fixed
from failwell.events import Compensated, Compensating, Event
from tests.kernel.world import Hang, World


class Log:
    """Actions and compensations that write down that they ran, and when."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ran: list[str] = []
        self.times: list[float] = []

    def __call__(self, name: str, *script: Any, takes: float = 0.0) -> Any:
        """A function of the world that writes its name down first."""
        operation = self.world.operation(*(script or (name.upper(),)), takes=takes, name=name)
        start = operation.log.start

        def noted(args: Any, kwargs: Any) -> Any:
            self.ran.append(name)
            self.times.append(time.monotonic())
            return start(args, kwargs)

        operation.log.start = noted
        return operation


@pytest.fixture
def log(world: World) -> Log:
    return Log(world)


def raised(world: World, saga: Any, state: Any = None) -> errors.SagaError:
    """Run a saga that fails."""
    with pytest.raises(errors.SagaError) as caught:
        world.do(lambda: saga(state))
    return caught.value


# --- forward ---


def test_steps_run_in_order_and_leave_their_results_in_the_state(world: World, log: Log) -> None:
    seen: list[dict[str, Any]] = []

    def look(state: Any) -> str:
        seen.append(dict(state))
        return "seen"

    saga = Saga([(log("reserve"), log("release")), Step(world.of(look), name="look"), (log("charge"), None)])
    state = {"order": 7}
    assert world.do(lambda: saga(state)) is state
    assert state == {"order": 7, "reserve": "RESERVE", "look": "seen", "charge": "CHARGE"}
    assert log.ran == ["reserve", "charge"]
    assert seen == [{"order": 7, "reserve": "RESERVE"}]


def test_without_a_state_it_starts_with_an_empty_one(world: World, log: Log) -> None:
    saga = Saga([(log("reserve"), None)])
    assert world.do(saga) == world.do(saga) == {"reserve": "RESERVE"}
    assert Saga([])() == {}


def test_what_happens_is_reported(world: World, log: Log) -> None:
    heard: list[Event] = []
    saga = Saga([(log("reserve"), log("release")), (log("charge", ValueError("no")), None)])
    with listening(heard.append):
        raised(world, saga)
    assert [(type(event).__name__, getattr(event, "step", ""), event.layer, event.operation) for event in heard] == [
        ("StepStarted", "reserve", "Saga", "saga"),
        ("StepCompleted", "reserve", "Saga", "saga"),
        ("StepStarted", "charge", "Saga", "saga"),
        ("Compensating", "reserve", "Saga", "saga"),
        ("Compensated", "reserve", "Saga", "saga"),
    ]
    assert [getattr(event, "order", None) for event in heard] == [1, None, 2, None, None]


# --- back ---


def test_completed_steps_are_undone_in_reverse_order(world: World, log: Log) -> None:
    failure = ValueError("no money")
    steps = [
        (log("reserve"), log("release")),
        (log("notify"), None),
        (log("pack"), log("unpack")),
        (log("charge", failure), log("refund")),
        (log("ship"), log("return")),
    ]
    state: dict[str, Any] = {}
    error = raised(world, Saga(steps), state)
    assert log.ran == ["reserve", "notify", "pack", "charge", "unpack", "release"]
    assert (error.step, error.compensated, error.failures) == ("charge", ("pack", "reserve"), {})
    assert error.cause is error.__cause__ is failure
    assert error.state is state
    assert list(state) == ["reserve", "notify", "pack"]
    assert str(error) == "saga failed at step 'charge' (ValueError: no money); undone: pack, reserve"


def test_a_compensation_gets_the_state(world: World, log: Log) -> None:
    release = log("release")
    state = {"order": 7}
    raised(world, Saga([(log("reserve"), release), (log("charge", ValueError), None)]), state)
    assert release.log.calls == [((state,), {})]


def test_every_compensation_is_tried_whatever_the_others_do(world: World, log: Log) -> None:
    stuck = ConnectionError("down")
    steps = [(log(f"do{n}"), log(f"undo{n}", *([stuck] if n == 2 else []))) for n in (1, 2, 3)]
    heard: list[Event] = []
    with listening(heard.append):
        error = raised(world, Saga([*steps, (log("fail", ValueError("no")), None)]))
    assert log.ran[-3:] == ["undo3", "undo2", "undo1"]
    assert (error.compensated, error.failures) == (("do3", "do1"), {"do2": stuck})
    assert str(error).endswith("undone: do3, do1; NOT undone: do2")
    assert [type(event).__name__ for event in heard][-6:] == [
        "Compensating",
        "Compensated",
        "Compensating",
        "CompensationFailed",
        "Compensating",
        "Compensated",
    ]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
def test_an_interrupted_saga_undoes_what_it_did_and_passes_the_interruption_on(
    world: World, log: Log, interruption: type[BaseException]
) -> None:
    saga = Saga([(log("reserve"), log("release")), (log("charge", interruption), None)])
    with pytest.raises(interruption):
        world.do(saga)
    assert log.ran == ["reserve", "charge", "release"]


def test_an_interrupted_compensation_keeps_no_other_from_being_tried(world: World, log: Log) -> None:
    steps = [(log("do1"), log("undo1")), (log("do2"), log("undo2", KeyboardInterrupt)), (log("fail", ValueError), None)]
    with pytest.raises(KeyboardInterrupt):
        world.do(Saga(steps))
    assert log.ran[-2:] == ["undo2", "undo1"]


def test_generator_exit_goes_on_at_once(world: World, log: Log) -> None:
    with pytest.raises(GeneratorExit):
        world.do(Saga([(log("reserve"), log("release")), (log("charge", GeneratorExit), None)]))
    assert log.ran == ["reserve", "charge"]
    steps = [(log("do1"), log("undo1")), (log("do2"), log("undo2", GeneratorExit)), (log("fail", ValueError), None)]
    with pytest.raises(GeneratorExit):
        world.do(Saga(steps))
    assert log.ran[-1] == "undo2"


def test_a_coroutine_that_is_closed_undoes_nothing() -> None:
    log = Log(World(asynchronous=True))
    work = Saga([(log("reserve"), log("release")), (log("charge", Hang), None)])()

    async def main() -> None:
        work.send(None)
        work.close()

    virtual.run(main())
    assert log.ran == ["reserve", "charge"]


def test_callbacks_get_the_events(world: World, log: Log) -> None:
    told: list[Event] = []
    saga = Saga(
        [(log("reserve"), log("release")), (log("pack"), log("unpack", ValueError)), (log("charge", ValueError), None)],
        on_compensation_start=world.of(told.append),
        on_compensation_complete=world.of(told.append),
    )
    raised(world, saga)
    assert [(type(event), event.step) for event in told if isinstance(event, (Compensating, Compensated))] == [
        (Compensating, "pack"),
        (Compensating, "reserve"),
        (Compensated, "reserve"),
    ]


def test_a_callback_that_fails_changes_nothing(world: World, log: Log, caplog: pytest.LogCaptureFixture) -> None:
    def broken(event: Event) -> None:
        raise RuntimeError("broken")

    saga = Saga([(log("reserve"), log("release")), (log("charge", ValueError), None)], on_compensation_start=broken)
    assert raised(world, saga).compensated == ("reserve",)
    assert "a failwell callback failed: broken" in caplog.text


# --- retries ---


def test_a_step_may_be_tried_again_forward_and_back(world: World, log: Log) -> None:
    down = ConnectionError("down")
    reserve, release = log("reserve", down, "reserved"), log("release", down, down, "released")
    step = Step(reserve, release, retry=Retry(3, Fixed(1)))
    error = raised(world, Saga([step, (log("charge", ValueError), None)]))
    assert log.ran == ["reserve", "reserve", "charge", "release", "release", "release"]
    assert log.times == [0, 1, 1, 1, 2, 3]
    assert (error.compensated, error.state) == (("reserve",), {"reserve": "reserved"})
    saga = Saga([step])
    assert world.do(saga) == world.do(saga) == {"reserve": "reserved"}


def test_under_an_async_saga_the_retry_of_a_plain_step_blocks_nobody() -> None:
    log, plain = Log(World(asynchronous=True)), Log(World(asynchronous=False))
    reserve = plain("reserve", ConnectionError, "reserved")
    saga = Saga([Step(reserve, None, retry=Retry(2, Fixed(5))), (log("charge"), None)])

    async def main() -> None:
        work = asyncio.create_task(saga())
        await asyncio.sleep(1)
        assert time.monotonic() == 1  # the loop went on meanwhile
        assert await work == {"reserve": "reserved", "charge": "CHARGE"}
        assert time.monotonic() == 5

    virtual.run(main())


def test_a_plain_step_with_a_retry_may_give_an_awaitable_to_an_async_saga() -> None:
    async def late() -> str:
        return "late"

    async def main() -> None:
        async with Saga() as saga:
            assert await saga.step(lambda state: late(), retry=Retry(2), name="late") == "late"

    virtual.run(main())


def test_steps_may_be_decorated_themselves(world: World, log: Log) -> None:
    charge = Fallback(log("invoice"))(log("charge", ValueError))
    release = Retry(2, Fixed(0))(log("release", ConnectionError, "released"))
    saga = Saga([(log("reserve"), release), (charge, None), (log("ship", ValueError), None)])
    error = raised(world, saga)
    assert log.ran == ["reserve", "charge", "invoice", "ship", "release", "release"]
    assert error.state == {"reserve": "RESERVE", "charge": "INVOICE"}


# --- sync and async ---


def test_one_async_step_makes_the_saga_async() -> None:
    log, plain = Log(World(asynchronous=True)), Log(World(asynchronous=False))
    assert not Saga([(plain("reserve"), plain("release"))]).is_async
    assert Saga([(plain("reserve"), log("release"))]).is_async
    saga = Saga([(plain("reserve"), plain("release")), (log("charge", ValueError), None)])
    assert saga.is_async
    with pytest.raises(errors.SagaError):
        virtual.run(saga())
    assert (plain.ran, log.ran) == (["reserve", "release"], ["charge"])


def test_an_awaitable_from_a_plain_step_is_refused_and_what_was_done_is_undone() -> None:
    log = Log(World(asynchronous=False))

    async def late() -> None: ...

    saga = Saga([(log("reserve"), log("release")), Step(lambda state: late(), name="charge")])
    with pytest.raises(TypeError, match="<lambda> returned coroutine, an awaitable, under a plain call"):
        saga()
    assert log.ran == ["reserve", "release"]


def test_an_awaitable_from_a_plain_compensation_counts_as_not_undone() -> None:
    log = Log(World(asynchronous=False))

    async def late() -> None: ...

    saga = Saga([(log("do1"), log("undo1")), (log("do2"), lambda state: late()), (log("fail", ValueError), None)])
    with pytest.raises(errors.SagaError) as caught:
        saga()
    assert caught.value.compensated == ("do1",)
    assert isinstance(caught.value.failures["do2"], TypeError)


def test_it_is_the_innermost_call_of_a_stack(world: World, log: Log) -> None:
    saga = Saga([(log("reserve"), log("release")), (log("charge", Hang), None)])
    outcome = world.run(Retry(2, Fixed(1), on=errors.SagaError) >> Timeout(30), Saga([(log("ok"), None)]), {"order": 7})
    assert outcome.value == {"order": 7, "ok": "OK"}
    if world.asynchronous:
        outcome = world.run(Timeout(3), saga, {})
        assert isinstance(outcome.error, errors.TimeoutExceeded)
        assert outcome.elapsed == 3
        assert log.ran == ["ok", "reserve", "charge", "release"]


def test_an_abandoned_saga_undoes_what_it_did_when_its_action_is_over() -> None:
    log = Log(World(asynchronous=False))
    saga = Saga([(log("reserve"), log("release")), (log("charge", takes=5), log("refund")), (log("ship"), None)])
    with virtual.clock():
        with pytest.raises(errors.TimeoutExceeded):
            Timeout(2).call(saga, {})
        assert time.monotonic() == 2
        time.sleep(4)
    assert log.ran == ["reserve", "charge", "refund", "release"]
    assert log.times == [0, 0, 5, 5]


def test_so_does_one_whose_steps_run_one_by_one() -> None:
    log = Log(World(asynchronous=False))

    def work() -> None:
        with Saga() as saga:
            saga.step(log("reserve"), log("release"))
            saga.step(log("charge", takes=5), log("refund"))

    with virtual.clock():
        with pytest.raises(errors.TimeoutExceeded):
            Timeout(2).call(work)
        time.sleep(4)
    assert log.ran == ["reserve", "charge", "refund", "release"]


# --- cancellation ---


@pytest.mark.parametrize("turn", range(8))
def test_a_cancelled_saga_undoes_what_it_did_and_passes_the_cancellation_on(turn: int) -> None:
    ran: list[str] = []

    def slow(name: str) -> Callable[[Any], Any]:
        async def run(state: Any) -> None:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            ran.append(name)

        run.__name__ = name
        return run

    async def main() -> None:
        saga = Saga([(slow(f"do{n}"), slow(f"undo{n}")) for n in (1, 2, 3)])
        task = asyncio.create_task(saga())
        for _ in range(turn):
            await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            done = [name for name in ran if name.startswith("do")]
            assert ran == [*done, *(f"un{name}" for name in reversed(done))]
        else:
            assert len(ran) == 3
        assert len(asyncio.all_tasks()) == 1

    virtual.run(main())


@pytest.mark.parametrize("turn", range(12))
@pytest.mark.parametrize("again", [0, 1])
def test_compensations_run_to_their_end_though_the_caller_is_cancelled(turn: int, again: int) -> None:
    ran: list[str] = []

    def compensation(name: str) -> Callable[[Any], Any]:
        async def run(state: Any) -> None:
            for _ in range(3):
                await asyncio.sleep(0)
            ran.append(name)

        return run

    async def fail(state: Any) -> None:
        raise ValueError

    async def main() -> None:
        saga = Saga([*(Step(len, compensation(name), name=name) for name in ("a", "b", "c")), (fail, None)])
        task = asyncio.create_task(saga())
        for _ in range(2 + turn):
            await asyncio.sleep(0)
        in_time = not task.done()
        for _ in range(1 + again):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError if in_time else errors.SagaError):
            await task
        assert ran == ["c", "b", "a"]
        assert len(asyncio.all_tasks()) == 1

    virtual.run(main())


def test_when_the_loop_ends_compensations_are_still_all_tried() -> None:
    log = Log(World(asynchronous=True))

    async def main() -> None:
        saga = Saga([(log("do1"), log("undo1")), (log("do2"), log("undo2", takes=9)), (log("fail", ValueError), None)])
        main.task = asyncio.create_task(saga())  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    virtual.run(main())
    assert log.ran[-2:] == ["undo2", "undo1"]


# --- timeout ---


def test_an_async_action_is_cut_when_the_time_is_over() -> None:
    log = Log(World(asynchronous=True))
    saga = Saga([(log("reserve", takes=2), log("release")), (log("charge", Hang), None)], timeout=5)
    heard: list[Event] = []
    with listening(heard.append), pytest.raises(errors.SagaError) as caught:
        virtual.run(saga())
    assert isinstance(caught.value.cause, errors.TimeoutExceeded)
    assert str(caught.value.cause) == "saga took longer than 5 s"
    assert (caught.value.step, log.ran, log.times) == ("charge", ["reserve", "charge", "release"], [0, 0 + 2, 5])
    assert "TimedOut" in [type(event).__name__ for event in heard]


def test_before_each_step_the_time_is_looked_at(world: World, log: Log) -> None:
    saga = Saga([Step(plain(log, "reserve", 3), log("release")), (log("charge"), None)], timeout=3)
    heard: list[Event] = []
    with listening(heard.append):
        error = raised(world, saga)
    assert isinstance(error.cause, errors.TimeoutExceeded)
    assert (error.step, error.compensated, log.ran) == ("charge", ("reserve",), ["reserve", "release"])
    assert [type(event).__name__ for event in heard] == [
        "StepStarted",
        "StepCompleted",
        "TimedOut",
        "Compensating",
        "Compensated",
    ]


def plain(log: Log, name: str, takes: float) -> Callable[[Any], None]:
    """A plain action that takes its time, in either world."""

    def action(state: Any) -> None:
        log.ran.append(name)
        clock = virtual.current_clock()
        assert clock is not None
        clock.now += takes

    action.__name__ = name
    return action


def test_in_time_it_is_as_if_there_were_no_limit(world: World, log: Log) -> None:
    assert world.do(Saga([(log("reserve", takes=2), None)], timeout=3)) == {"reserve": "RESERVE"}


# --- journal ---


class Journal:
    def __init__(self, fails_at: str = "") -> None:
        self.fails_at = fails_at
        self.entries: list[str] = []

    def record(self, happened: str, step: str, state: Any) -> None:
        self.entries.append(f"{step} {happened}")
        if self.entries[-1] == self.fails_at:
            raise OSError("disk full")


class AsyncJournal(Journal):
    async def record(self, happened: str, step: str, state: Any) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        super().record(happened, step, state)


def journal(world: World, fails_at: str = "") -> Journal:
    return AsyncJournal(fails_at) if world.asynchronous else Journal(fails_at)


def test_a_journal_is_told_everything(world: World, log: Log) -> None:
    kept = journal(world)
    steps = [(log("a"), log("undo_a")), (log("b"), log("undo_b", OSError)), (log("c", ValueError), None)]
    raised(world, Saga(steps, journal=kept))
    assert kept.entries == [
        "a started",
        "a completed",
        "b started",
        "b completed",
        "c started",
        "b compensating",
        "b failed",
        "a compensating",
        "a compensated",
    ]


def test_without_its_journal_no_step_goes_forward(world: World, log: Log) -> None:
    steps = [(log("a"), log("undo_a")), (log("b"), log("undo_b"))]
    error = raised(world, Saga(steps, journal=journal(world, "b started")))
    assert isinstance(error.cause, OSError)
    assert (error.step, log.ran) == ("b", ["a", "undo_a"])
    error = raised(world, Saga(steps, journal=journal(world, "b completed")))
    assert (error.step, log.ran[2:]) == ("b", ["a", "b", "undo_b", "undo_a"])


@pytest.mark.parametrize("at", ["a compensating", "a compensated", "b failed"])
def test_the_way_back_does_without(world: World, log: Log, at: str, caplog: pytest.LogCaptureFixture) -> None:
    steps = [(log("a"), log("undo_a")), (log("b"), log("undo_b", OSError)), (log("c", ValueError), None)]
    error = raised(world, Saga(steps, journal=journal(world, at)))
    assert (error.compensated, list(error.failures)) == (("a",), ["b"])
    assert "the journal of a saga failed" in caplog.text


# --- step by step ---


def one_by_one(world: World, saga: Saga, body: Callable[[Any], list[Any]]) -> Any:
    """Run a saga block; ``body`` gives the steps, as functions to call, and errors to raise between them."""

    async def run_async() -> list[Any]:
        async with saga as running:
            return [await _raise(do) if callable(do) else _raise(do) for do in body(running)]

    def run_plain() -> list[Any]:
        with saga as running:
            return [_raise(do) for do in body(running)]

    return world.do(run_async if world.asynchronous else run_plain)


def _raise(do: Any) -> Any:
    if isinstance(do, BaseException):
        raise do
    return do()


def test_steps_can_be_run_one_by_one(world: World, log: Log) -> None:
    saga = Saga()
    heard: list[Event] = []
    with listening(heard.append):
        results = one_by_one(
            world,
            saga,
            lambda running: [
                lambda: running.step(log("reserve"), log("release")),
                lambda: running.step(log("charge"), log("refund"), name="pay"),
            ],
        )
    assert results == ["RESERVE", "CHARGE"]
    assert [type(event).__name__ for event in heard] == ["StepStarted", "StepCompleted"] * 2


def test_an_error_of_a_step_undoes_those_before(world: World, log: Log) -> None:
    kept = journal(world)
    with pytest.raises(errors.SagaError) as caught:
        one_by_one(
            world,
            Saga(journal=kept),
            lambda running: [
                lambda: running.step(log("reserve"), log("release"), retry=Retry(2)),
                lambda: running.step(log("charge", ValueError("no")), log("refund")),
            ],
        )
    error = caught.value
    assert (error.step, error.compensated, error.state) == ("charge", ("reserve",), {"reserve": "RESERVE"})
    assert log.ran == ["reserve", "charge", "release"]
    assert kept.entries[-1] == "reserve compensated"


def test_so_does_an_error_outside_of_steps(world: World, log: Log) -> None:
    failure = LookupError("elsewhere")
    with pytest.raises(errors.SagaError) as caught:
        one_by_one(world, Saga(), lambda running: [lambda: running.step(log("reserve"), log("release")), failure])
    assert (caught.value.step, caught.value.cause, log.ran) == ("", failure, ["reserve", "release"])


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), asyncio.CancelledError()])
def test_an_interruption_undoes_and_goes_on(world: World, log: Log, interruption: BaseException) -> None:
    with pytest.raises(type(interruption)):
        one_by_one(world, Saga(), lambda running: [lambda: running.step(log("reserve"), log("release")), interruption])
    assert log.ran == ["reserve", "release"]


def test_generator_exit_ends_an_async_block_at_once() -> None:
    log = Log(World(asynchronous=True))
    with pytest.raises(GeneratorExit):
        one_by_one(
            log.world, Saga(), lambda running: [lambda: running.step(log("reserve"), log("release")), GeneratorExit()]
        )
    assert log.ran == ["reserve"]


def test_a_failed_step_that_is_handled_inside_of_the_block_fails_nothing(world: World, log: Log) -> None:
    failure = LookupError("later")

    def body(running: Any) -> list[Any]:
        async def handled() -> None:
            with pytest.raises(ValueError, match="no"):
                await running.step(log("charge", ValueError("no")))

        def handled_plain() -> None:
            with pytest.raises(ValueError, match="no"):
                running.step(log("charge", ValueError("no")))

        return [
            lambda: running.step(log("reserve"), log("release")),
            handled if world.asynchronous else handled_plain,
            lambda: running.step(log("charge"), log("refund")),
            failure,
        ]

    with pytest.raises(errors.SagaError) as caught:
        one_by_one(world, Saga(), body)
    assert (caught.value.step, caught.value.cause) == ("", failure)  # not the step that had failed before
    assert log.ran == ["reserve", "charge", "charge", "refund", "release"]


def test_the_time_counts_from_the_first_step(world: World, log: Log) -> None:
    def body(running: Any) -> list[Any]:
        return [
            lambda: running.step(log("reserve", takes=2), log("release")),
            lambda: running.step(log("charge", takes=2), log("refund")),
            lambda: running.step(log("ship"), None),
        ]

    with pytest.raises(errors.SagaError) as caught:
        one_by_one(world, Saga(timeout=3), body)
    assert isinstance(caught.value.cause, errors.TimeoutExceeded)
    cut = ["reserve", "charge", "release"]
    assert log.ran == (cut if world.asynchronous else ["reserve", "charge", "refund", "release"])


def test_a_block_that_is_over_takes_no_step() -> None:
    with Saga() as running:
        pass
    with pytest.raises(RuntimeError, match="this saga is over: run its steps inside of its block"):
        running.step(print)


def test_a_completed_step_has_its_name_for_itself(world: World, log: Log) -> None:
    with pytest.raises(errors.SagaError, match="two steps are named 'reserve': give one of them another name="):
        one_by_one(world, Saga(), lambda running: [lambda: running.step(log("reserve"))] * 2)


def test_a_saga_with_steps_is_called_and_a_block_takes_a_saga_of_its_own() -> None:
    with pytest.raises(TypeError, match="this saga has its steps already: call it"):
        Saga([(print, None)]).__enter__()
    saga = Saga()
    with saga, pytest.raises(RuntimeError, match=r"this saga is running already: use a new Saga\(\) for each block"):
        saga.__enter__()
    with saga:
        pass
    with pytest.raises(RuntimeError, match="this saga is not running"):
        saga.__exit__(None, None, None)


# --- one object, many runs ---


def test_one_saga_serves_many_tasks_at_once() -> None:
    async def reserve(state: Any) -> int:
        await asyncio.sleep(1 + state["order"] % 3)
        return int(state["order"])

    async def charge(state: Any) -> None:
        await asyncio.sleep(1)
        if state["order"] % 2:
            raise ValueError

    async def release(state: Any) -> None:
        await asyncio.sleep(1)
        released.append(state["reserve"])

    released: list[int] = []

    async def main() -> None:
        saga = Saga([(reserve, release), (charge, None)])
        found = await asyncio.gather(*(saga({"order": n}) for n in range(20)), return_exceptions=True)
        assert [isinstance(one, errors.SagaError) for one in found] == [bool(n % 2) for n in range(20)]
        assert sorted(released) == list(range(1, 20, 2))

    virtual.run(main())


def test_and_many_threads() -> None:
    found: list[dict[str, Any]] = []
    saga = Saga([Step(lambda state: state["order"] * 2, name="double")])
    threads = [threading.Thread(target=lambda n=n: found.append(saga({"order": n}))) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted((one["order"], one["double"]) for one in found) == [(n, 2 * n) for n in range(10)]


# --- what it is made of ---

UNCHECKED: Any = Saga
UNCHECKED_STEP: Any = Step


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: UNCHECKED([(print, None), (print, None)]),
            ValueError,
            "two steps are named 'print': give one of them",
        ),
        (lambda: UNCHECKED([print]), TypeError, r"a step is Step\(action, compensation\) or a pair"),
        (lambda: UNCHECKED([(print,)]), TypeError, "a step is Step"),
        (lambda: UNCHECKED([(1, None)]), TypeError, "action must be callable, got 1"),
        (lambda: UNCHECKED([(print, 2)]), TypeError, "compensation must be callable or None, got 2"),
        (lambda: UNCHECKED_STEP(print, retry=3), TypeError, r"retry must be a policy such as Retry\(\), got 3"),
        (lambda: UNCHECKED(timeout=0), ValueError, "timeout must be above 0 seconds and finite, got 0"),
        (lambda: UNCHECKED(timeout=float("inf")), ValueError, "timeout must be above 0 seconds and finite, got inf"),
        (lambda: UNCHECKED(timeout="3"), TypeError, "timeout must be a number, got '3'"),
        (lambda: UNCHECKED(journal=[]), TypeError, r"journal must have record\(\), got \[\]"),
        (lambda: UNCHECKED(on_compensation_start=1), TypeError, "on_compensation_start must be callable, got 1"),
        (lambda: UNCHECKED([])(3), TypeError, "state must be a mapping that can be changed, got 3"),
    ],
)
def test_bad_arguments_are_refused(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


def test_it_shows_its_steps() -> None:
    assert repr(Saga([(print, len), (ascii, None)], timeout=3)) == (
        "Saga([Step(print, len), Step(ascii, None)], timeout=3)"
    )
    assert Saga([(print, None)]).describe()["timeout"] is None


def test_a_changed_copy_is_a_saga_of_its_own() -> None:
    saga = Saga([(print, None)])
    assert saga.replace(timeout=3).timeout == 3
    assert saga.timeout is None


# --- callbacks and names ---


async def _async_callback(event: Event) -> None: ...


@pytest.mark.parametrize("name", ["on_compensation_start", "on_compensation_complete"])
def test_a_plain_saga_refuses_an_async_callback(name: str) -> None:
    callbacks: dict[str, Any] = {name: _async_callback}
    with pytest.raises(TypeError, match=name):
        Saga([(print, print)], **callbacks)
    with pytest.raises(TypeError, match=name), Saga(**callbacks):
        pass


@pytest.mark.parametrize("name", ["on_compensation_start", "on_compensation_complete"])
def test_a_callback_that_turns_out_to_be_async_keeps_nothing_from_being_undone(name: str) -> None:
    undone: list[str] = []

    def fails(state: Any) -> None:
        raise ConnectionError("down")

    steps = [Step(lambda state: 1, lambda state, n=n: undone.append(n), name=n) for n in ("first", "second")]
    callbacks: dict[str, Any] = {name: lambda event: _async_callback(event)}
    with pytest.raises(TypeError, match="awaitable"):
        Saga([*steps, (fails, None)], **callbacks)({})
    assert undone == ["second", "first"]


def test_steps_are_explored_under_their_own_names() -> None:
    saga = Saga([Step(lambda state: 1, None, name="reserve"), Step(lambda state: 2, None, name="charge")])
    assert explore(saga).report(fail=0.1).most_calls == {"reserve": 1, "charge": 1}


def test_what_is_no_list_of_steps_and_no_name_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="steps"):
        Saga(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="name"):
        Step(print, name=3)  # type: ignore[arg-type]


def test_a_saga_may_have_less_than_a_second() -> None:
    assert Saga([(print, None)], timeout=0.5).timeout == 0.5
