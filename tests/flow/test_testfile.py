"""Tests that write themselves: they hold on the stack as it is, and on no stack that behaves otherwise."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings

from failwell import Cache, Fallback, Retry, Timeout, explore
from failwell.errors import PermanentError, TooManyPaths
from failwell.flow.testfile import Subject, failures_to_try, kinds_of_failure, telling_paths
from failwell.flow.testfile import test_file as make_test_file
from tests.flow.stacks import FUNCTIONS, stacks

HEAD = """
from failwell import *
from failwell.backoff import *
from tests.flow.stacks import Held, Purse
class Busy(Exception): ...
def expired(): ...
def importance(*args): ...
purse = Purse(lambda: True)
""" + "".join(f"async def {name}(*args): ...\n" for name in FUNCTIONS)


@contextmanager
def module(expression: str) -> Iterator[types.ModuleType]:
    """A module of the user's that holds a stack."""
    made = types.ModuleType("theirs")
    exec(f"{HEAD}stack = {expression}", vars(made))
    sys.modules["theirs"] = made
    try:
        yield made
    finally:
        del sys.modules["theirs"]


def written(expression: str) -> str:
    with module(expression) as theirs:
        kinds = failures_to_try(explore(theirs.stack, outcomes=("ok",)).layers)
        subject = Subject("theirs", "stack", "stack", "", "failwell tests theirs:stack")
        explorations = [explore(theirs.stack, outcomes=("ok", kind, "hang"), limit=1_500) for kind in kinds]
        return make_test_file(explorations, subject, ("ok", *kinds, "hang"))


def failing(text: str, expression: str) -> list[str]:
    """The tests of a file that do not hold."""
    with module(expression):
        space: dict[str, Any] = {}
        exec(compile(text, "test_theirs.py", "exec"), space)
        tests: list[Callable[[], None]] = [test for name, test in space.items() if name.startswith("test_")]
        assert tests
        failed: list[str] = []
        for test in tests:
            try:
                test()
            except Exception:
                failed.append(test.__name__)
        return failed


STACK = (
    "Cache(60, stale_if_error=600) >> Fallback(backup, archive) >> "
    "Retry(3, Exponential(1, jitter='full'), on=(ConnectionError, TimeoutError)) >> Timeout(2)"
)
CHANGES = {
    "more attempts": ("Retry(3", "Retry(4"),
    "fewer attempts": ("Retry(3", "Retry(2"),
    "shorter waits": ("Exponential(1,", "Exponential(0.5,"),
    "waits without jitter": (", jitter='full'", ""),
    "waits that grow otherwise": ("Exponential(1, jitter='full')", "Fixed(1)"),
    "another limit in all": ("TimeoutError)) >>", "TimeoutError), max_elapsed=2) >>"),
    "more errors retried": ("on=(ConnectionError, TimeoutError)", "on=Exception"),
    "fewer errors retried": ("on=(ConnectionError, TimeoutError)", "on=ConnectionError"),
    "other errors retried": ("on=(ConnectionError, TimeoutError)", "on=(OSError, TimeoutError)"),
    "another timeout": ("Timeout(2)", "Timeout(3)"),
    "a timeout that answers": ("Timeout(2)", "Timeout(2, default=None)"),
    "no timeout": (" >> Timeout(2)", ""),
    "alternatives swapped": ("backup, archive", "archive, backup"),
    "one alternative less": ("backup, archive", "backup"),
    "fewer errors answered": ("Fallback(backup, archive)", "Fallback(backup, archive, on=ConnectionError)"),
    "another time to live": ("Cache(60", "Cache(61"),
    "nothing stale": (", stale_if_error=600", ""),
    "degraded answers stored": ("stale_if_error=600", "stale_if_error=600, degraded='store'"),
    "fewer errors hidden": ("stale_if_error=600", "stale_if_error=600, stale_on=ConnectionError"),
    "another order": (STACK, " >> ".join(reversed(STACK.split(" >> ")))),
    "cache and fallback swapped": (
        "Cache(60, stale_if_error=600) >> Fallback(backup, archive)",
        "Fallback(backup, archive) >> Cache(60, stale_if_error=600)",
    ),
    "retry and timeout swapped": (
        STACK[STACK.index("Retry") :],
        "Timeout(2) >> " + STACK[STACK.index("Retry") : STACK.index(" >> Timeout")],
    ),
}
TEXT = written(STACK)


def test_the_tests_hold_on_the_stack_as_it_is() -> None:
    assert failing(TEXT, STACK) == []
    assert failing(TEXT, STACK.replace("60,", "60.0,")) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_behaviour_fails_some_test(change: str) -> None:
    before, after = CHANGES[change]
    assert before in STACK
    assert failing(TEXT, STACK.replace(before, after)), change


RESERVE = "Step(reserve, release, retry=Retry(2, Fixed(1)))"
SAGA = f"Saga([{RESERVE}, Step(charge, refund), (ship, None)], timeout=30)"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("refund", "None"),
        (
            f"{RESERVE}, Step(charge, refund)",
            f"Step(charge, refund), {RESERVE}",
        ),
        ("Retry(2", "Retry(3"),
        ("Fixed(1)", "Fixed(2)"),
        ("timeout=30", "timeout=20"),
        (", (ship, None)", ""),
    ],
)
def test_a_changed_saga_fails_some_test(before: str, after: str) -> None:
    text = written(SAGA)
    assert failing(text, SAGA) == []
    assert before in SAGA
    assert failing(text, SAGA.replace(before, after))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            "Timeout(20) >> Retry(3, Exponential(1)) >> Timeout(5)",
            "Timeout(17) >> Retry(3, Exponential(1)) >> Timeout(5)",
        ),
        (
            "Timeout(20) >> Retry(3, Fixed(1)) >> Timeout(5)",
            "Timeout(20) >> Retry(3, Fixed(1), max_elapsed=10) >> Timeout(5)",
        ),
        ("Retry(3, Fixed(1))", "Retry(3, Fixed(1), on=ConnectionError)"),
        ("Retry(3, Fixed(1))", "Retry(3, Fixed(1), on=(ConnectionError, TimeoutError))"),
        ("Retry(3, Fixed(1), on=(ConnectionError, TimeoutError)) >> Timeout(2)", "Retry(3, Fixed(1)) >> Timeout(2)"),
        ("Fallback(backup) >> Timeout(2)", "Fallback(backup, on=OSError) >> Timeout(2)"),
        ("Fallback(backup) >> Timeout(2)", "Fallback(backup, on=(TimeoutError, ConnectionError)) >> Timeout(2)"),
        ("CircuitBreaker(3, 30)", "CircuitBreaker(3, 30, on=ConnectionError)"),
        ("CircuitBreaker(3, 30)", "CircuitBreaker(4, 30)"),
        ("CircuitBreaker(3, 30)", "CircuitBreaker(3, 30, failure_rate=0.5, window=CountWindow(10))"),
        ("CircuitBreaker(3, 30)", "CircuitBreaker(3, 30, success_threshold=2)"),
        ("RateLimiter(5, burst=10)", "RateLimiter(5, burst=11)"),
        ("RateLimiter(5, per=2)", "RateLimiter(5, per=3)"),
        ("Bulkhead(3)", "Bulkhead(4)"),
        ("Bulkhead(3, max_queue=2)", "Bulkhead(3, max_queue=3)"),
        ("Cache(60, stale_if_error=600)", "Cache(60, stale_if_error=6000)"),
        ("Retry(3, budget=purse)", "Retry(3)"),
        ("Deadline(5)", "Deadline(6)"),
        ("Deadline(5) >> Retry(3, Fixed(3))", "Timeout(5) >> Retry(3, Fixed(3))"),
        ("Hedge(0.5)", "Hedge(0.25)"),
        ("Hedge(0.5)", "Hedge(0.5, max_hedges=2)"),
        ("Hedge(0.5)", "Hedge(0.5, on=ConnectionError)"),
        ("AdaptiveLimit(10)", "AdaptiveLimit(11)"),
        ("AdaptiveLimit(10)", "AdaptiveLimit(10, on=TimeoutError)"),
        ("LoadShedder(100, importance)", "LoadShedder(90, importance)"),
        ("LoadShedder(100, importance, start=0.5)", "LoadShedder(100, importance, start=0.6)"),
        ("SafeCall(0)", "SafeCall(1)"),
        ("SafeCall(0)", "SafeCall(0, on=ConnectionError)"),
        ("CircuitBreaker(3, 30)", "CircuitBreaker(3, 30, recovery=ExponentialRecovery())"),
        (
            "CircuitBreaker(3, 30, recovery=ExponentialRecovery(max_probes=2))",
            "CircuitBreaker(3, 30, recovery=ExponentialRecovery(max_probes=3))",
        ),
        (
            "CredentialRefresh(Held(refresh, expired), on=ConnectionError)",
            "CredentialRefresh(Held(refresh, expired), on=TimeoutError)",
        ),
        ("HealthCheck(operation, interval=10)", "HealthCheck(operation, interval=20)"),
        ("HealthCheck(operation)", "HealthCheck(operation, failure_threshold=2)"),
        ("Batch(operation, retry=Retry(2, Fixed(1)))", "Batch(operation, retry=Retry(2, Fixed(2)))"),
        ("Batch(operation, retry=Retry(2, Fixed(1)))", "Batch(operation)"),
        ("Degrade([Feature('one', 2, charge), Feature('two', 1, ship)])", "Degrade([Feature('one', 2, charge)])"),
        (
            "Degrade([Feature('one', 2, charge), Feature('two', 1, ship)])",
            "Degrade([Feature('one', 2, charge, required=True), Feature('two', 1, ship)])",
        ),
        ("InContext('http', target='carts')", "InContext('http', target='orders')"),
        (
            "Workflow.from_config({'primary_strategy': 'retry', 'retry': {'max_attempts': 2, 'initial_delay': 1}})",
            "Workflow.from_config({'primary_strategy': 'retry', 'retry': {'max_attempts': 3, 'initial_delay': 1}})",
        ),
    ],
)
def test_a_change_of_one_parameter_fails_some_test(before: str, after: str) -> None:
    text = written(before)
    assert failing(text, before) == []
    assert failing(text, after)


@settings(max_examples=40)
@given(stacks(jitter=True))
def test_the_tests_of_any_stack_hold_on_it(text: str) -> None:
    *layers, inside = text.split(" >> ")
    expression = " >> ".join(layers if inside == "operation" else [*layers, inside])
    try:
        made = written(expression)
    except TooManyPaths:
        return
    assert failing(made, expression) == []


def test_few_tests_show_everything() -> None:
    found = explore(Retry(4) >> Retry(3) >> Timeout(5), limit=100_000)
    shown = telling_paths([found])
    assert len(shown) < 30 < 8_000 < len(found)
    assert {path.ended for path in shown} == {path.ended for path in found.paths}
    assert max(path.calls["operation"] for path in shown) == 12


def test_there_is_an_error_for_each_way_in_which_layers_tell_failures_apart() -> None:
    assert kinds_of_failure(Timeout(1).layers) == (ConnectionError,)
    assert kinds_of_failure(Retry().layers) == (ConnectionError, OSError)
    assert kinds_of_failure((Fallback(len, on=PermanentError) >> Retry()).layers) == (
        ConnectionError,
        OSError,
        PermanentError,
    )
    assert kinds_of_failure(Cache(1, stale_if_error=1, stale_on=lambda error: error.status == 503).layers) == (  # type: ignore[attr-defined]
        ConnectionError,
    )


class OnDuty(Exception):
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)


def test_an_error_that_cannot_be_made_from_a_message_is_left_out() -> None:
    assert OnDuty not in kinds_of_failure(Retry(on=(OnDuty, KeyError)).layers)


def test_the_file_reads_well() -> None:
    text = written("Retry(2, Fixed(0.1), on=(Busy, ConnectionError))")
    assert 'def test_operation_raises_connection_error_then_operation_answers():\n    """operation (attempt 1) ' in text
    assert "from theirs import Busy, stack\n" in text
    assert 'OUTCOMES = ("ok", ConnectionError, TimeoutError, OSError, TransientError, ValueError, Busy, "hang")' in text
    assert "import pytest" not in text
    assert "pytest.approx(" in written("Retry(4, Exponential(0.1, multiplier=1.7))")
    assert all(len(line) < 130 for line in text.split("\n"))


def test_names_are_identifiers_of_their_own() -> None:
    text = written(STACK)
    names = [line.removeprefix("def ").split("(")[0] for line in text.split("\n") if line.startswith("def ")]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() and len(name) < 160 for name in names)
