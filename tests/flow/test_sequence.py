"""Sequence diagrams: who calls whom, what comes back, and when."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import Bulkhead, Cache, CircuitBreaker, Fallback, Policy, RateLimiter, Retry, Router, Saga, Timeout
from failwell.backoff import Fixed
from failwell.errors import TooManyPaths
from failwell.flow import Exploration, Path, explore
from failwell.flow.classes import likeliest, outcome_classes
from failwell.flow.draw.sequence import sequence
from tests.flow.stacks import explored, stacks

ARROW = re.compile(r" +(p\d+)(->>|-->>|--x|-x)(p\d+): (.*)")


def messages(exploration: Exploration, path: Path) -> Iterator[tuple[str, str, str, str]]:
    """Who, how, whom, and what is said; notes are told as ``"note"``."""
    text = sequence(exploration, path)
    names = dict(re.findall(r"participant (p\d+) as (.*)", text))
    for line in text.split("\n"):
        if arrow := ARROW.fullmatch(line):
            yield names[arrow[1]], arrow[2], names[arrow[3]], arrow[4].replace("#58;", ":")
        elif note := re.fullmatch(r" +Note over (p\d+): (.*)", line):
            yield names[note[1]], "note", "", note[2].replace("#58;", ":")


def lines(exploration: Exploration, path: Path) -> list[str]:
    told = messages(exploration, path)
    return [f"{a}: {words}" if how == "note" else f"{a} {how} {b}: {words}" for a, how, b, words in told]


def likely(policy: Any, end: str, **options: Any) -> list[str]:
    """The diagram of the likeliest path that ends so."""
    exploration = explore(policy, **options)
    return lines(exploration, likeliest(outcome_classes(exploration)[end]))


def balance(exploration: Exploration, path: Path) -> list[str]:
    """Follow the arrows; who waits for an answer in the end."""
    waiting = ["caller"]
    for one, how, other, _ in messages(exploration, path):
        if how == "->>":
            assert waiting[-1] == one, f"{one} speaks while {waiting[-1]} is at work"
            waiting.append(other)
        elif how in ("-->>", "--x"):
            assert waiting.pop() == one
            assert waiting[-1] == other
        elif how == "-x":
            assert other in waiting[1:], f"{one} stops {other}, which does nothing"
            del waiting[waiting.index(other) :]
            assert waiting[-1] == one
    return waiting


@settings(max_examples=60, deadline=None)
@given(text=stacks(), data=st.data())
def test_every_call_is_answered_or_stopped(text: str, data: st.DataObject) -> None:
    try:
        exploration = explored(text)
    except TooManyPaths:
        return
    path = data.draw(st.sampled_from(exploration.paths))
    waiting = balance(exploration, path)
    assert (waiting == ["caller"]) == path.ends


@settings(max_examples=60, deadline=None)
@given(text=stacks(), data=st.data())
def test_an_operation_is_called_as_often_as_on_the_path(text: str, data: st.DataObject) -> None:
    try:
        exploration = explored(text)
    except TooManyPaths:
        return
    path = data.draw(st.sampled_from(exploration.paths))
    called = [other for _, how, other, _ in messages(exploration, path) if how == "->>"]
    for operation, count in path.calls.items():
        assert called.count(operation) == count


@settings(max_examples=60, deadline=None)
@given(text=stacks(), data=st.data())
def test_what_fails_is_never_told_as_an_answer(text: str, data: st.DataObject) -> None:
    """A layer may answer although what is inside of it failed, but then it says what it does instead."""
    try:
        exploration = explored(text)
    except TooManyPaths:
        return
    path = data.draw(st.sampled_from(exploration.paths))
    failed = False
    for _, how, _, words in messages(exploration, path):
        if how == "-->>":
            assert not failed, words
        elif how in ("--x", "-x"):
            failed = True
        elif how == "->>" or not words.startswith(("give up", "wait", "open", "rejected", "store failed")):
            failed = False


def backup() -> None: ...


POLICIES: dict[str, Policy] = {
    "breaker": CircuitBreaker(1),
    "breaker around retries": CircuitBreaker(1) >> Retry(2, backoff=Fixed(1)) >> Timeout(3),
    "retries around a breaker": Retry(6, backoff=Fixed(1)) >> CircuitBreaker(3),
    "fallback around a breaker": Fallback(backup) >> CircuitBreaker(1) >> Timeout(2),
    "limiter": Timeout(5) >> RateLimiter(10, max_wait=2),
    "bulkhead": Timeout(5) >> Bulkhead(2, max_queue=1, queue_timeout=3),
    "cache": Cache(60, stale_if_error=60) >> CircuitBreaker(1),
}


@pytest.mark.parametrize("name", POLICIES)
def test_every_call_is_answered_or_stopped_in_stacks_that_refuse_calls(name: str) -> None:
    exploration = explore(POLICIES[name])
    for path in exploration.paths:
        assert (balance(exploration, path) == ["caller"]) == path.ends


def test_an_error_goes_through_a_breaker_that_opens() -> None:
    policy = CircuitBreaker(1, recovery_timeout=30) >> Retry(2, backoff=Fixed(1))
    assert likely(policy, "ConnectionError")[-4:] == [
        "Retry --x CircuitBreaker: ConnectionError",
        "CircuitBreaker: open for 30 s after 1 failure",
        "CircuitBreaker --x caller: ConnectionError",
        "caller: failed after 1 s",
    ]


def test_a_refused_call_says_why_and_when_to_come_back() -> None:
    assert likely(CircuitBreaker(), "CircuitOpenError") == [
        "caller ->> CircuitBreaker: call",
        "CircuitBreaker: open",
        "CircuitBreaker: rejected: circuit open, come back in 60 s",
        "CircuitBreaker --x caller: CircuitOpenError",
        "caller: failed after 0 s",
    ]


def test_a_probe_closes_the_circuit_or_opens_it_again() -> None:
    exploration = explore(CircuitBreaker(), outcomes=("ok", "fail"))
    ends = [lines(exploration, path) for path in exploration.paths if path.choices[0].option == "half-open"]
    assert ends == [
        [
            "caller ->> CircuitBreaker: call",
            "CircuitBreaker: half-open",
            "CircuitBreaker ->> operation: call at 0 s",
            "operation -->> CircuitBreaker: ok",
            "CircuitBreaker: close the circuit",
            "CircuitBreaker -->> caller: answer",
            "caller: answered after 0 s",
        ],
        [
            "caller ->> CircuitBreaker: call",
            "CircuitBreaker: half-open",
            "CircuitBreaker ->> operation: call at 0 s",
            "operation --x CircuitBreaker: ConnectionError",
            "CircuitBreaker: open for 60 s after 1 failure",
            "CircuitBreaker --x caller: ConnectionError",
            "caller: failed after 0 s",
        ],
    ]


def test_a_call_that_had_to_wait_for_its_turn_is_made_later() -> None:
    exploration = explore(RateLimiter(1, per=2.0, max_wait=5), outcomes=("ok",))
    [queued] = [path for path in exploration.paths if path.elapsed and path.error is None]
    at = f"{queued.elapsed:g} s"
    assert lines(exploration, queued)[2:5] == [
        f"RateLimiter: wait for a turn, {at} at most",
        f"RateLimiter ->> operation: call at {at}",
        "operation -->> RateLimiter: ok",
    ]


def test_a_route_is_a_note_of_the_router() -> None:
    def small() -> None: ...
    def large() -> None: ...
    def select() -> str: ...

    exploration = explore(Router({"small": small, "large": large}, select), outcomes=("ok",))
    assert [lines(exploration, path)[1:3] for path in exploration.paths] == [
        ["Router: route? small", "Router ->> small: call at 0 s"],
        ["Router: route? large", "Router ->> large: call at 0 s"],
    ]


def test_a_step_that_fails_is_not_told_to_raise_what_the_saga_raises() -> None:
    def reserve() -> None: ...
    def release() -> None: ...

    told = likely(Saga([(reserve, release)]), "SagaError")
    assert "reserve --x Saga: ConnectionError" in told
    assert "Saga --x caller: SagaError" in told


def test_code_without_patterns_speaks_for_itself() -> None:
    async def checkout(charge: Callable[[], Awaitable[object]], ship: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(3):
                await charge()
        except (ConnectionError, TimeoutError):
            await asyncio.sleep(1)
            raise RuntimeError("no parcel") from None
        await ship()

    assert likely(checkout, "answered") == [
        "caller ->> checkout: call",
        "checkout ->> charge: call 1 at 0 s",
        "charge -->> checkout: ok",
        "checkout ->> ship: call 1 at 0 s",
        "ship -->> checkout: ok",
        "checkout -->> caller: answer",
        "caller: answered after 0 s",
    ]
    assert likely(checkout, "RuntimeError", outcomes=("ok", "hang"))[1:] == [
        "checkout ->> charge: call 1 at 0 s",
        "charge: no answer",
        "checkout -x charge: stop after 3 s",
        "checkout: wait 1 s",
        "checkout --x caller: RuntimeError",
        "caller: failed after 4 s",
    ]
    assert "charge --x checkout: fails" in likely(checkout, "RuntimeError", outcomes=("ok", "fail"))
