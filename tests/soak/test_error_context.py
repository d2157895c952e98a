"""Contexts, the off switch and injected faults under many threads at once."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from failwell import InContext, Retry, Timeout, backoff, errors
from failwell.errors import context_of, current_context
from failwell.switch import switch
from failwell.testing import Fault, disabled, enabled
from tests.soak.test_soak import Failure, hammer, no_thread_left

pytestmark = pytest.mark.soak


def test_every_error_knows_its_own_request() -> None:
    here = threading.local()

    def fail(ticket: tuple[int, int]) -> None:
        inside = current_context()
        assert inside is not None
        assert inside.correlation_id == f"{ticket}"
        raise Failure(ticket)

    guarded = (
        InContext("http", "GET", correlation_id=lambda: here.ticket)
        >> Retry(2, backoff.Fixed(0.0))
        >> Timeout(30)
        >> InContext("database")
    )(fail)

    def work(place: int, number: int) -> None:
        ticket = place, number
        here.ticket = f"{ticket}"
        with pytest.raises(Failure) as caught:
            guarded(ticket)
        known = context_of(caught.value)
        assert known is not None
        assert (known.correlation_id, caught.value.ticket) == (here.ticket, ticket)
        notes = [note for note in caught.value.__notes__ if note.startswith("context: ")]
        assert notes == [
            f"context: database fail, correlation id {ticket}",
            f"context: http GET, correlation id {ticket}",
        ]
        assert current_context() is None

    with no_thread_left():
        hammer(work)


def test_each_thread_has_the_switch_as_it_left_it() -> None:
    def fail() -> None:
        raise ConnectionError

    guarded = Retry(2, backoff.Fixed(0.0))(fail)

    def attempts() -> int:
        with pytest.raises(ConnectionError) as caught:
            guarded()
        return 1 + bool(getattr(caught.value, "__notes__", ()))

    def work(place: int, number: int) -> None:
        assert attempts() == 2
        with disabled():
            assert attempts() == 1
            with enabled():
                assert attempts() == 2
        assert attempts() == 2

    before = switch.touched  # threads that were abandoned by tests before this one
    hammer(work)
    assert switch.touched <= before
    assert not switch.is_off()


def test_no_more_faults_are_injected_than_the_limit_and_each_is_counted() -> None:
    chaos = Fault(fail=0.5, slow=0.1, delay=0.0, seed=3, limit=5_000)
    guarded = chaos(lambda: "real")
    seen: Counter[str] = Counter()
    lock = threading.Lock()

    def work(place: int, number: int) -> None:
        try:
            answer = guarded()
        except ConnectionError:
            answer = "failure"
        with lock:
            seen[answer] += 1

    hammer(work)
    assert chaos.injected["failure"] == seen["failure"]
    assert sum(chaos.injected.values()) <= 5_000


def test_what_hangs_by_injection_goes_on_when_it_stops() -> None:
    chaos = Fault(hang=1.0)
    guarded = chaos(lambda: "real")
    stopping = threading.Event()

    def stop_now_and_then() -> None:
        while not stopping.wait(0.001):
            chaos.stop()
            chaos.start()
        chaos.stop()

    stopper = threading.Thread(target=stop_now_and_then, daemon=True)
    stopper.start()
    try:
        hammer(lambda place, number: None if guarded() == "real" else pytest.fail("another answer"))
    finally:
        stopping.set()
        stopper.join(5)


def test_types_are_registered_while_others_are_asked() -> None:
    def work(place: int, number: int) -> None:
        kind = type("Mine", (Exception,), {})
        if number % 50 == 0:
            errors.register(permanent=[kind])
            assert errors.classify(kind()) == "permanent"
        else:
            assert errors.classify(kind()) == "unknown"
        assert errors.classify(TimeoutError()) == "transient"

    from failwell import classification

    before = dict(classification._registered)
    try:
        hammer(work)
    finally:
        classification._registered.clear()
        errors.register()
        classification._registered.update(before)
