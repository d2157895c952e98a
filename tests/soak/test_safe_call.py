"""One safe call under many threads."""

from __future__ import annotations

import pytest

from failwell import SafeCall
from failwell.events import FellBack
from tests.soak.test_soak import THREADS, Failure, hammer, no_thread_left

pytestmark = pytest.mark.soak


def test_safe_call_gives_each_caller_its_own_answer_and_logs_each_error_once() -> None:
    told = [0] * THREADS

    def tell(event: FellBack) -> None:
        assert isinstance(event.error, Failure)
        told[event.error.ticket[0]] += 1

    def operation(ticket: tuple[int, int]) -> tuple[int, int]:
        if ticket[1] % 3 == 1:
            raise Failure(ticket)
        if ticket[1] % 100 == 0:
            raise TypeError("a mistake")
        return ticket

    guarded = SafeCall("default", on_error=tell)(operation)
    answered = [0] * THREADS

    def work(place: int, number: int) -> None:
        ticket = place, number
        try:
            answer = guarded(ticket)
        except TypeError:
            assert number % 100 == 0
            return
        answered[place] += answer == "default"
        assert answer == ("default" if number % 3 == 1 else ticket)

    with no_thread_left():
        hammer(work)
    assert told == answered
