"""What other circuit breakers do where ours keeps a promise."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from typing import Any

import circuitbreaker
import failsafe
import purgatory
import pybreaker
import pytest
from failsafe.circuit_breaker import CircuitBreaker as FailsafeBreaker
from hyx.circuitbreaker import consecutive_breaker
from interlock import CircuitBreaker as InterlockBreaker
from interlock import CircuitOpenError, Config
from purgatory.domain.model import OpenedState

from tests.peers.claims import breaks

Operation = Callable[..., Any]
Guard = Callable[[Any], Any]
SOON = 0.02


def of_circuitbreaker(fn: Operation) -> Operation:
    guard: Any = circuitbreaker.circuit(failure_threshold=1, recovery_timeout=SOON, name=str(id(fn)))
    guarded: Operation = guard(fn)
    return guarded


def of_hyx(fn: Operation) -> Operation:
    guarded: Operation = consecutive_breaker(failure_threshold=1, recovery_time_secs=SOON)(fn)
    return guarded


def of_purgatory(fn: Operation) -> Operation:
    guarded: Operation = purgatory.AsyncCircuitBreakerFactory(default_threshold=1, default_ttl=SOON)(str(id(fn)))(fn)
    return guarded


def of_pyfailsafe(fn: Operation) -> Operation:
    breaker = FailsafeBreaker(maximum_failures=0, reset_timeout_seconds=SOON)  # pyright: ignore[reportArgumentType] # a fraction works
    shield = failsafe.Failsafe(circuit_breaker=breaker)

    async def guarded(*args: Any) -> Any:
        return await shield.run(lambda: fn(*args))

    return guarded


def of_interlock(fn: Operation) -> Operation:
    config = Config(
        minimum_number_of_calls=1, window_size=1, wait_duration_in_open=SOON, permitted_calls_in_half_open=1
    )
    guarded: Operation = InterlockBreaker(name=str(id(fn)), config=config)(fn)
    return guarded


GUARDS: dict[str, Guard] = {
    "circuitbreaker": of_circuitbreaker,
    "hyx": of_hyx,
    "interlock-cb": of_interlock,
    "purgatory": of_purgatory,
    "pyfailsafe": of_pyfailsafe,
}


class Service:
    """Does as it is told, and counts."""

    def __init__(self) -> None:
        self.fails = True
        self.calls = 0
        self.gate: asyncio.Event | None = None

    async def call(self) -> str:
        self.calls += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.fails:
            raise ConnectionError("down")
        return "ok"


async def tripped(guard: Guard, service: Service) -> Operation:
    """A breaker that one failure has opened."""
    guarded = guard(service.call)
    for _ in range(3):
        with contextlib.suppress(Exception):
            await guarded()
    seen = service.calls
    with pytest.raises(Exception):
        await guarded()
    assert service.calls == seen, "it is open"
    return guarded


@breaks(
    "circuit_breaker::test_of_a_hundred_callers_only_as_many_probe_as_may",
    "circuitbreaker",
    "hyx",
    "purgatory",
    "pyfailsafe",
)
def test_more_than_one_of_a_hundred_callers_probes(peer: str) -> None:
    async def main() -> int:
        service = Service()
        guarded = await tripped(GUARDS[peer], service)
        await asyncio.sleep(2 * SOON)
        service.calls = 0
        service.gate = asyncio.Event()
        callers = [asyncio.create_task(guarded()) for _ in range(100)]
        await asyncio.sleep(SOON)
        service.gate.set()
        await asyncio.gather(*callers, return_exceptions=True)
        return service.calls

    assert asyncio.run(main()) > 1


@breaks("circuit_breaker::test_a_call_that_is_cancelled_counts_neither_way", "purgatory")
def test_a_cancelled_call_counts_as_a_failure(peer: str) -> None:
    async def main() -> None:
        service = Service()
        service.gate = asyncio.Event()
        guarded = GUARDS[peer](service.call)
        for _ in range(3):
            caller = asyncio.create_task(guarded())
            await asyncio.sleep(0)
            caller.cancel()
            await asyncio.gather(caller, return_exceptions=True)
        await guarded()

    with pytest.raises(OpenedState):
        asyncio.run(main())


@breaks("circuit_breaker::test_a_cancelled_probe_gives_its_place_back_and_judges_nothing", "circuitbreaker")
def test_a_cancelled_probe_closes_it(peer: str) -> None:
    breaker = circuitbreaker.CircuitBreaker(failure_threshold=1, recovery_timeout=SOON, name=peer)

    async def main() -> None:
        service = Service()
        guarded = await tripped(breaker, service)
        await asyncio.sleep(2 * SOON)
        service.gate = asyncio.Event()
        caller = asyncio.create_task(guarded())
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)

    asyncio.run(main())
    assert breaker.closed


@breaks(
    "circuit_breaker::test_a_failure_from_before_the_last_outage_does_not_count_after_it",
    "circuitbreaker",
    "hyx",
    "purgatory",
    "pyfailsafe",
)
def test_a_failure_from_before_the_outage_opens_it_again_after_it(peer: str) -> None:
    async def main() -> None:
        service = Service()
        guarded = GUARDS[peer](service.call)
        service.gate = gate = asyncio.Event()
        late = asyncio.create_task(guarded())
        await asyncio.sleep(0.001)
        service.gate = None
        for _ in range(3):
            with contextlib.suppress(Exception):
                await guarded()
        await asyncio.sleep(2 * SOON)
        service.fails = False
        for _ in range(3):
            await guarded()  # it is closed again
        service.fails = True
        gate.set()
        await asyncio.gather(late, return_exceptions=True)
        service.fails = False
        calls = service.calls
        with pytest.raises(Exception, match=r"(?i)open|failing|^$"):
            await guarded()
        assert service.calls == calls, "nobody asked the service, which is well"

    asyncio.run(main())


@breaks("circuit_breaker::test_each_rejection_is_a_new_error", "purgatory")
def test_all_rejections_are_one_object(peer: str) -> None:
    async def main() -> list[Exception]:
        guarded = await tripped(GUARDS[peer], Service())
        refused: list[Exception] = []
        for _ in range(3):
            try:
                await guarded()
            except Exception as error:
                refused.append(error)
        return refused

    first, *others = asyncio.run(main())
    assert others == [first, first]


@breaks("circuit_breaker::test_what_began_while_it_was_closed_says_nothing_about_later", "circuitbreaker")
def test_a_success_from_before_it_opened_closes_it(peer: str) -> None:
    breaker: Any = circuitbreaker.CircuitBreaker(failure_threshold=1, recovery_timeout=60, name="late success")

    async def main() -> None:
        service = Service()
        guarded = breaker(service.call)
        service.gate = gate = asyncio.Event()
        late = asyncio.create_task(guarded())
        await asyncio.sleep(0)
        service.gate = None
        with contextlib.suppress(ConnectionError):
            await guarded()
        assert breaker.opened
        service.fails = False
        gate.set()
        await late

    asyncio.run(main())
    assert breaker.closed


@breaks("circuit_breaker::test_a_probe_that_hangs_blocks_it_no_longer_than_an_open_circuit_would", "interlock-cb")
def test_a_probe_that_hangs_keeps_everybody_out(peer: str) -> None:
    async def main() -> int:
        service = Service()
        guarded = await tripped(GUARDS[peer], service)
        await asyncio.sleep(2 * SOON)
        service.gate = asyncio.Event()
        probe = asyncio.create_task(guarded())
        await asyncio.sleep(5 * SOON)
        service.calls = 0
        with pytest.raises(CircuitOpenError):
            await guarded()
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        return service.calls

    assert asyncio.run(main()) == 0


@breaks("circuit_breaker::test_a_clock_that_is_set_back_keeps_it_open_no_longer", "purgatory")
def test_a_clock_that_is_set_back_keeps_it_open(peer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time

    async def main() -> None:
        service = Service()
        guarded = await tripped(GUARDS[peer], service)
        monkeypatch.setattr(time, "time", lambda: real() - 3600)
        await asyncio.sleep(2 * SOON)
        service.fails = False
        await guarded()

    with pytest.raises(OpenedState):
        asyncio.run(main())


@breaks("circuit_breaker::test_an_error_that_is_none_of_its_business_counts_neither_way", "pybreaker")
def test_an_error_that_does_not_count_closes_it(peer: str) -> None:
    breaker = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=SOON, exclude=[LookupError])

    def fail(error: type[Exception]) -> None:
        raise error

    with contextlib.suppress(pybreaker.CircuitBreakerError):
        breaker.call(fail, ConnectionError)
    assert breaker.current_state == "open"
    time.sleep(2 * SOON)
    with pytest.raises(LookupError):
        breaker.call(fail, LookupError)
    assert breaker.current_state == "closed"


@breaks("circuit_breaker::test_calls_of_several_threads_do_not_wait_for_each_other", "pybreaker")
def test_calls_of_several_threads_are_made_one_after_the_other(peer: str) -> None:
    breaker = pybreaker.CircuitBreaker()
    inside = most = 0

    def call() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(SOON)
        inside -= 1

    threads = [threading.Thread(target=breaker.call, args=(call,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
