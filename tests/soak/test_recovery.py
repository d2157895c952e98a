"""One breaker under many threads, coming back in each of its ways, for seconds on end."""

# ruff: noqa: PT017 - whether a call is to fail depends on how many were made

from __future__ import annotations

import itertools
import threading
from collections import Counter

import pytest

from failwell import (
    AdaptiveRecovery,
    CircuitBreaker,
    ExponentialRecovery,
    PartialRecovery,
    RecoveryPattern,
    errors,
    subscribe,
)
from failwell.events import CircuitClosed, CircuitHalfOpened, CircuitOpened, Event
from tests.soak.test_soak import Failure, hammer, no_thread_left

pytestmark = pytest.mark.soak

FEATURES = ("checkout", "search", "ads")


@pytest.mark.parametrize(
    "recovery",
    [
        ExponentialRecovery(multiplier=1.5, max=0.01, jitter="full"),
        PartialRecovery(FEATURES, lambda ticket: FEATURES[ticket[1] % 3], patience=0.005),
        AdaptiveRecovery(initial=0.2, sensitivity=1.0, period=0.005, minimum_calls=3, load=lambda: 0.1),
    ],
    ids=lambda recovery: type(recovery).__name__,
)
def test_a_circuit_comes_back_again_and_again_and_loses_nothing(recovery: RecoveryPattern) -> None:
    made: Counter[str] = Counter()
    lock = threading.Lock()
    breaker = CircuitBreaker(3, recovery_timeout=0.001, recovery=recovery)
    heard: list[type[Event]] = []

    @breaker
    def operation(ticket: tuple[int, int]) -> tuple[int, int]:
        with lock:
            made["calls"] += 1
            is_down = made["calls"] % 400 < 60
        if is_down:
            raise Failure(ticket)
        return ticket

    def work(place: int, number: int) -> None:
        ticket = place, number
        how = "answered"
        try:
            assert operation(ticket) == ticket
        except Failure as error:
            how = "failed"
            assert error.ticket == ticket
        except errors.CircuitOpenError as error:
            how = "refused"
            assert error.retry_after is not None
            assert 0 <= error.retry_after < 30  # a thread that had to wait for its turn has an old idea of now
        with lock:
            made[how] += 1

    unsubscribe = subscribe(lambda event: heard.append(type(event)))
    try:
        with no_thread_left():
            rounds = hammer(work)
    finally:
        unsubscribe()
    assert made["answered"] + made["failed"] + made["refused"] == rounds
    assert made["answered"] + made["failed"] == made["calls"]
    changes = breaker.history
    assert all(one.after == two.before for one, two in itertools.pairwise(changes))
    assert breaker.live_state()._probes == {}
    told = Counter(heard)
    assert told[CircuitOpened] > 20
    assert abs(told[CircuitOpened] - told[CircuitHalfOpened]) <= 1
    assert told[CircuitClosed] <= told[CircuitHalfOpened]
    breaker.reset()
    assert breaker.recovering is None
    print(f"{told[CircuitOpened]} times open, {told[CircuitClosed]} times closed, {dict(made)}")
