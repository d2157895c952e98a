"""A workflow: what its configuration says happens, what it counts is the truth, what is wrong is named."""

# ruff: noqa: E501 - a case of a long table is easier to find on one line

from __future__ import annotations

import asyncio
import contextvars
import copy
import gc
import json
import logging
import pickle
import random
import re
import sys
import threading
import time
import types
import weakref
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import failwell
from failwell import (
    Bulkhead,
    Cache,
    CircuitBreaker,
    CountWindow,
    Deadline,
    Fallback,
    Policy,
    Retry,
    Saga,
    Stack,
    Timeout,
    TimeWindow,
    backoff,
    errors,
    explore,
    listening,
    virtual,
)
from failwell.errors import ConfigurationError
from failwell.events import Alerted, Compensated, Compensating, Event, FellBack, Rejected, TimedOut
from failwell.flow import Path as Story
from failwell.flow import follow
from failwell.workflow import AttemptsExhausted, BackoffStrategy, RecoveryStrategy, Workflow, saved_state
from failwell.workflow.keys import KEYS, TABLES
from failwell.workflow.layers import Alarm, Calls, Compensate, LimitedCalls, OnError, Tally
from tests.flow import stacks
from tests.kernel.world import Hang, World, kinds
from tests.soak.test_soak import hammer


class Gone(Exception):
    """An error of the user's own."""


class Poisoned(ConnectionError):
    """One that its base is nothing like."""


def mirror(*args: Any, **kwargs: Any) -> str:
    return "mirror"


def undo(state: Any) -> None: ...


def quick(attempts: int = 3, **more: Any) -> dict[str, Any]:
    """The table of a retry that does not wait."""
    return {"max_attempts": attempts, "backoff": "fixed", "initial_delay": 0, **more}


def of_layers(workflow: Workflow) -> list[type]:
    return [type(layer) for layer in workflow.layers]


# --- what is made of a configuration -----------------------------------------------------------------


def test_every_layer_has_its_place() -> None:
    workflow = Workflow.from_config(
        {
            "attempt_timeout": 1,
            "global_timeout": 9,
            "max_total_attempts": 5,
            "alert_threshold": 3,
            "bulkhead": {},
            "cache": {},
            "circuit_breaker": {},
            "compensation": {"actions": [undo]},
            "fallback": {"value": 0},
            "retry": {},
        }
    )
    assert of_layers(workflow) == [
        Tally,
        Fallback,
        Cache,
        Alarm,
        OnError,
        Compensate,
        Deadline,
        Bulkhead,
        Retry,
        CircuitBreaker,
        Timeout,
        LimitedCalls,
    ]


def test_what_is_not_configured_is_no_layer() -> None:
    assert of_layers(Workflow(retry={})) == [Tally, OnError, Retry, Calls]
    assert of_layers(Workflow(global_timeout=1)) == [Tally, OnError, Deadline, Calls]


def test_a_retry_without_keys_is_the_usual_one() -> None:
    assert repr(Workflow(retry={}).layers[2]) == repr(Retry())
    made, usual = Workflow(retry={}).layers[2].describe(), Retry().describe()
    assert made == usual


@pytest.mark.parametrize(
    ("table", "pattern", "names"),
    [
        ("retry", Retry, {"max_attempts", "respect_retry_after", "max_elapsed", "retry_result"}),
        (
            "circuit_breaker",
            CircuitBreaker,
            {
                "failure_threshold",
                "recovery_timeout",
                "success_threshold",
                "failure_rate",
                "minimum_calls",
                "slow_call",
                "slow_call_rate",
                "half_open_max_calls",
            },
        ),
        ("bulkhead", Bulkhead, {"max_concurrent", "max_queue", "queue_timeout"}),
        ("cache", Cache, {"max_size", "key"}),
    ],
)
def test_a_key_has_the_default_of_the_parameter_that_it_stands_for(table: str, pattern: Any, names: set[str]) -> None:
    usual = (pattern(1) if pattern is Cache else pattern()).describe()
    assert {name: KEYS[f"{table}.{name}"].default for name in names} == {name: usual[name] for name in names}


BACKOFFS = {
    "fixed": backoff.Fixed(0.5),
    "linear": backoff.Linear(0.5, 0.25, 9),
    "exponential": backoff.Exponential(0.5, 3, 9),
    "jitter": backoff.Exponential(0.5, 3, 9, jitter="full"),
    "decorrelated": backoff.Decorrelated(0.5, 9),
    "fibonacci": backoff.Fibonacci(0.5, 9),
}


@pytest.mark.parametrize("strategy", [*BackoffStrategy, *map(str, BackoffStrategy)])
def test_each_backoff_strategy_is_one_of_the_delays(strategy: str) -> None:
    keys: dict[str, Any] = {"backoff": strategy, "initial_delay": 0.5}
    if strategy != "fixed":
        keys["max_delay"] = 9
    if strategy in ("exponential", "jitter"):
        keys["multiplier"] = 3
    if strategy == "linear":
        keys["step"] = 0.25
    assert Workflow(retry=keys).layers[2].describe()["backoff"] == BACKOFFS[strategy]


def test_jitter_spreads_any_wait_that_has_none_of_its_own() -> None:
    made = Workflow(retry={"backoff": "linear", "jitter": 0.1}).layers[2].describe()["backoff"]
    assert made.bounds(1) == (0.9, 1.1)


def test_windows_are_of_calls_of_seconds_or_of_both() -> None:
    def window(**keys: Any) -> Any:
        breaker = Workflow(circuit_breaker=keys).circuit_breaker
        assert breaker is not None
        return breaker.window

    assert window() is None
    assert window(window_size=None) is None  # as if it were not there
    by_calls, by_time, by_both = (
        window(window_size=10),
        window(window_duration=60),
        window(window_size=9, window_duration=6),
    )
    assert isinstance(by_calls, CountWindow)
    assert by_calls.n == 10
    assert isinstance(by_time, TimeWindow)
    assert (by_time.seconds, by_time.max_calls) == (60, None)
    assert (by_both.seconds, by_both.max_calls) == (6, 9)


SEED: dict[str, Any] = {
    "primary_strategy": RecoveryStrategy.RETRY,
    "secondary_strategies": [RecoveryStrategy.CIRCUIT_BREAKER, RecoveryStrategy.FALLBACK],
    "retry_config": {
        "max_attempts": 3,
        "initial_delay": 1.0,
        "max_delay": 60.0,
        "backoff_strategy": BackoffStrategy.EXPONENTIAL,
        "backoff_multiplier": 2.0,
        "jitter_range": 0.1,
        "retry_on_exceptions": [ConnectionError, TimeoutError],
        "retry_on_result": lambda r: r == "busy",
        "on_retry": lambda n, e: None,
        "on_failure": lambda e: None,
    },
    "circuit_breaker_config": {
        "failure_threshold": 5,
        "success_threshold": 2,
        "timeout": 60.0,
        "window_size": 10,
        "window_duration": 60.0,
        "on_open": lambda: None,
        "on_close": lambda: None,
        "on_half_open": lambda: None,
    },
    "fallback_config": {
        "fallback_value": "default_response",
        "fallback_function": lambda e: f"Error occurred: {e}",
        "fallback_service": "https://backup.example.com",
        "use_cache": True,
        "cache_ttl": 300.0,
        "fallback_on_exceptions": [errors.UnavailableError],
        "fallback_on_timeout": True,
    },
    "compensation_config": {
        "compensation_actions": [lambda state: None],
        "save_state": True,
        "use_sagas": True,
        "saga_timeout": 300.0,
        "on_compensation_start": lambda: None,
        "on_compensation_complete": lambda: None,
    },
    "bulkhead_config": {
        "max_concurrent": 10,
        "max_queue_size": 100,
        "queue_timeout": 30.0,
        "use_thread_pool": False,
        "thread_pool_size": 5,
        "track_metrics": True,
    },
    "max_total_attempts": 10,
    "global_timeout": 300.0,
    "transient_errors": [ConnectionError, TimeoutError],
    "permanent_errors": [ValueError, TypeError],
    "log_errors": True,
    "metrics_enabled": True,
    "alert_threshold": 10,
}
"""Every key, under the names that this configuration once had elsewhere."""


def test_other_names_of_keys_mean_the_same() -> None:
    plain = {
        **{k: v for k, v in SEED.items() if k not in TABLES.values() and k != "metrics_enabled"},
        "metrics": True,
        "retry": {
            **{k: v for k, v in SEED["retry_config"].items() if not k.startswith(("backoff", "jitter", "retry_on"))},
            "backoff": "exponential",
            "multiplier": 2.0,
            "jitter": 0.1,
            "on": [ConnectionError, TimeoutError],
            "retry_result": SEED["retry_config"]["retry_on_result"],
        },
        "circuit_breaker": {
            **{k: v for k, v in SEED["circuit_breaker_config"].items() if k != "timeout"},
            "recovery_timeout": 60.0,
        },
        "fallback": {
            k.removeprefix("fallback_").replace("on_exceptions", "on"): v for k, v in SEED["fallback_config"].items()
        },
        "compensation": {
            **{k: v for k, v in SEED["compensation_config"].items() if k.startswith(("save", "on"))},
            "actions": SEED["compensation_config"]["compensation_actions"],
            "in_reverse": True,
            "timeout": 300.0,
        },
        "bulkhead": {
            **{k: v for k, v in SEED["bulkhead_config"].items() if k != "max_queue_size"},
            "max_queue": 100,
        },
    }
    assert repr(Workflow.from_config(SEED)) == repr(Workflow.from_config(plain))


def test_a_pattern_that_is_made_already_may_stand_for_its_table(world: World) -> None:
    shared = CircuitBreaker(1)
    one, other = Workflow(circuit_breaker=shared), Workflow(circuit_breaker=shared)
    world.run(one, world.operation(ConnectionError))
    assert other.circuit_breaker is shared
    assert isinstance(world.run(other, world.operation("answer")).error, errors.CircuitOpenError)
    made = Workflow(retry=Retry(2), fallback=Fallback(mirror), bulkhead=Bulkhead(1), cache=Cache(1))
    assert of_layers(made) == [Tally, Fallback, Cache, OnError, Bulkhead, Retry, Calls]


def test_a_name_is_the_name_of_breaker_and_bulkhead() -> None:
    workflow = Workflow(name="orders", circuit_breaker={}, bulkhead={})
    assert [layer.label for layer in workflow.layers if getattr(layer, "name", None)] == [
        "Bulkhead orders",
        "CircuitBreaker orders",
    ]


# --- what happens ------------------------------------------------------------------------------------


def test_a_transient_failure_is_tried_again(world: World) -> None:
    operation = world.operation(ConnectionError, ConnectionError, "success")
    workflow = Workflow.retrying(3, "exponential", 1.0)
    outcome = world.do(lambda: workflow.outcome(operation, 1, key=2))
    assert (outcome.unwrap(), outcome.elapsed, len(operation.log.calls)) == ("success", 3.0, 3)
    assert operation.log.calls[0] == ((1,), {"key": 2})


def test_execute_gives_what_the_function_gives(world: World) -> None:
    workflow = Workflow.retrying(2, "fixed", 0.0)
    assert world.do(lambda: workflow.execute(world.operation(ConnectionError, "answer"), 1)) == "answer"
    with pytest.raises(KeyError):
        world.do(lambda: workflow.execute(world.operation(KeyError("no"))))


def test_first_attempts_then_the_open_circuit_then_the_fallback(world: World) -> None:
    workflow = Workflow.from_config(
        {
            "primary_strategy": "retry",
            "secondary_strategies": ["circuit_breaker", "fallback"],
            "retry": {"max_attempts": 2, "backoff": "fixed", "initial_delay": 1},
            "circuit_breaker": {"failure_threshold": 4, "recovery_timeout": 60},
            "fallback": {"value": "poor"},
        }
    )
    operation = world.operation(ConnectionError)
    outcomes = [world.run(workflow, operation) for _ in range(4)]
    assert [outcome.unwrap() for outcome in outcomes] == ["poor"] * 4
    assert [len([k for k in kinds(o) if k == "Waiting"]) for o in outcomes] == [1, 1, 0, 0]
    assert len(operation.log.calls) == 4
    assert kinds(outcomes[-1]) == ["Attempt", "Rejected", "FellBack"]


def test_a_refusal_of_the_bulkhead_does_not_open_the_circuit() -> None:
    workflow = Workflow(bulkhead={"max_concurrent": 1}, circuit_breaker={"failure_threshold": 1})

    async def slow() -> str:
        await asyncio.sleep(1)
        return "answer"

    async def main() -> list[Any]:
        return await asyncio.gather(*(workflow.execute(slow) for _ in range(3)), return_exceptions=True)

    found = virtual.run(main())
    assert [type(one) for one in found] == [str, errors.BulkheadFullError, errors.BulkheadFullError]
    assert workflow.circuit_breaker is not None
    assert workflow.circuit_breaker.state == "closed"


def test_the_global_timeout_ends_attempts_and_waits(world: World) -> None:
    workflow = Workflow(
        primary_strategy="deadline",
        global_timeout=5,
        attempt_timeout=2,
        retry={"max_attempts": 9, "backoff": "fixed", "initial_delay": 1},
    )
    outcome = world.run(workflow, world.operation(Hang))
    assert isinstance(outcome.error, TimeoutError)
    assert outcome.elapsed == 5


@pytest.mark.parametrize(("on_timeout", "answer"), [(True, "poor"), (False, None)])
def test_a_fallback_answers_timeouts_unless_told_not_to(world: World, on_timeout: bool, answer: str | None) -> None:
    workflow = Workflow(global_timeout=5, fallback={"value": "poor", "on_timeout": on_timeout})
    outcome = world.run(workflow, world.operation(Hang))
    assert (outcome.value, outcome.elapsed) == (answer, 5)
    assert world.run(workflow, world.operation(ConnectionError)).value == "poor"


def test_a_fallback_for_some_errors_answers_these_and_timeouts(world: World) -> None:
    workflow = Workflow(fallback={"value": "poor", "on": [errors.UnavailableError]})
    assert world.run(workflow, world.operation(errors.UnavailableError())).value == "poor"
    assert world.run(workflow, world.operation(TimeoutError())).value == "poor"
    assert isinstance(world.run(workflow, world.operation(KeyError())).error, KeyError)


def test_a_fallback_for_some_errors_looks_at_what_was_behind_an_undoing_or_a_limit(world: World) -> None:
    config: dict[str, Any] = {"compensation": {"actions": [undo]}, "max_total_attempts": 2}
    own = Retry(3, backoff.Fixed(0.0))
    only = Workflow(**config, fallback={"value": "poor", "on": [ConnectionError]})
    assert world.run(only, world.operation(ConnectionError)).value == "poor"
    assert world.run(only, own(world.operation(ConnectionError))).value == "poor"
    assert isinstance(world.run(only, world.operation(KeyError)).error, errors.SagaError)
    never = Workflow(**config, attempt_timeout=5, fallback={"value": "poor", "on_timeout": False})
    assert world.run(never, world.operation(ConnectionError)).value == "poor"
    assert isinstance(world.run(never, world.operation(Hang)).error, errors.SagaError)
    assert isinstance(world.run(never, own(world.operation(TimeoutError))).error, errors.SagaError)
    limited = Workflow(max_total_attempts=2, fallback={"value": "poor", "on_timeout": False})
    assert world.run(limited, own(world.operation(ConnectionError))).value == "poor"


def test_the_last_good_answer_stands_in_where_the_work_was_undone(world: World) -> None:
    workflow = Workflow(
        compensation={"actions": [undo]}, fallback={"use_cache": True, "on": [ConnectionError], "on_timeout": False}
    )
    operation = world.operation("good", ConnectionError, KeyError)
    assert world.run(workflow, operation).value == "good"
    assert world.run(workflow, operation).value == "good"
    assert isinstance(world.run(workflow, operation).error, errors.SagaError)


def test_none_is_a_value_to_answer_with(world: World) -> None:
    outcome = world.run(Workflow(fallback={"value": None}), world.operation(ConnectionError))
    assert (outcome.value, outcome.error, outcome.degraded) == (None, None, True)


def test_alternatives_are_asked_in_order_functions_service_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRROR", "https://user:hunter2@mirror.example")
    workflow = Workflow(fallback={"function": [mirror], "service": "${MIRROR}/{0}", "value": "poor"})
    [fallback] = [layer for layer in workflow.layers if isinstance(layer, Fallback)]
    assert [getattr(one, "__name__", "") for one in fallback.alternatives] == [
        "mirror",
        "GET ${MIRROR}/{0}",
        "value 'poor'",
    ]
    assert "hunter2" not in repr(workflow)
    assert "hunter2" not in explore(workflow, outcomes=("ok", "fail")).title


def test_variables_of_an_address_may_come_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, float]] = []

    def url(address: str, *, timeout: float) -> Any:
        asked.append((address, timeout))
        return Fallback.value("mirrored")

    monkeypatch.setattr(Fallback, "url", staticmethod(url))
    for name, timeout in (("service", None), ("fallback_service", 2.0)):
        config = {"fallback": {name: "https://${HOST}/{0}", "timeout": timeout}, "attempt_timeout": None}
        workflow = Workflow.from_config(config, environ={"HOST": "mirror.example"})
        assert "mirror.example" not in repr(workflow)
        with pytest.raises(ConfigurationError, match="needs the environment variable HOST"):
            Workflow.from_config(config, environ={})
    assert asked == [("https://mirror.example/{0}", 10.0), ("https://mirror.example/{0}", 2.0)]


def test_a_ready_made_alternative_stays_what_it_is(world: World) -> None:
    workflow = Workflow(fallback={"function": [Fallback.value("ready"), "tests.patterns.test_workflow:mirror"]})
    assert world.run(workflow, world.operation(ConnectionError)).value == "ready"
    assert "Fallback.value('ready')" in repr(workflow)


def test_a_function_of_the_error_alone_gets_the_error(world: World) -> None:
    for name in ("error", "e", "err", "exc", "exception"):
        function: Any = eval(f"lambda {name}: str({name})")
        outcome = world.run(Workflow(fallback={"function": function}), world.operation(ConnectionError("down")), 1, 2)
        assert outcome.value == "down"


def test_a_fallback_function_may_be_async(world: World) -> None:
    async def answer(e: Exception) -> str:
        return f"late {e}"

    outcome = world.run(Workflow(fallback={"function": answer}), world.operation(ConnectionError("down")))
    if world.asynchronous:
        assert outcome.value == "late down"
    else:
        assert isinstance(outcome.error, TypeError)


def test_an_async_alternative_has_the_time_of_an_attempt() -> None:
    async def stuck(*args: Any) -> str:
        await asyncio.sleep(3600)
        return "never"

    async def fails() -> str:
        raise ConnectionError("down")

    usual = Workflow(attempt_timeout=2, fallback={"function": stuck, "value": "poor"})
    own = Workflow(attempt_timeout=2, fallback={"function": stuck, "value": "poor", "timeout": 0.5})
    assert [virtual.run(one.outcome(fails)).elapsed for one in (usual, own)] == [2.0, 0.5]


def test_the_last_good_answer_is_given_only_when_the_operation_fails(world: World) -> None:
    for table in ({"fallback": {"use_cache": True, "cache_ttl": 600}}, {"cache": {"stale_if_error": 600}}):
        workflow = Workflow.from_config({"primary_strategy": "cache", **table})
        operation = world.operation("first", "second", ConnectionError)

        def three(workflow: Workflow = workflow, operation: Any = operation) -> Any:
            guarded = workflow(operation)
            if not world.asynchronous:
                return [guarded(7), guarded(7), guarded(7)]

            async def main() -> list[Any]:
                return [await guarded(7), await guarded(7), await guarded(7)]

            return main()

        assert world.do(three) == ["first", "second", "second"]
        assert workflow.get_metrics()["stale_answers"] == 1
        assert isinstance(world.run(workflow, operation, 8).error, ConnectionError)


def test_executions_do_not_share_a_call_unless_told_to() -> None:
    charged: list[int] = []

    async def charge(amount: int) -> int:
        charged.append(amount)
        await asyncio.sleep(1)
        return amount

    async def main(workflow: Workflow) -> None:
        await asyncio.gather(*(workflow.execute(charge, 5) for _ in range(3)))

    virtual.run(main(Workflow(fallback={"use_cache": True})))
    assert charged == [5, 5, 5]
    virtual.run(main(Workflow(cache={"single_flight": True})))
    assert charged == [5, 5, 5, 5]


def test_a_stale_answer_stands_in_for_the_errors_that_the_fallback_answers(world: World) -> None:
    workflow = Workflow(fallback={"use_cache": True, "on": [ConnectionError]})
    operation = world.operation("good", KeyError, ConnectionError)
    assert world.run(workflow, operation).value == "good"
    assert isinstance(world.run(workflow, operation).error, KeyError)
    assert world.run(workflow, operation).value == "good"


# --- transient and permanent -------------------------------------------------------------------------


def test_errors_that_are_said_to_be_transient_are_tried_again_and_permanent_ones_are_not(world: World) -> None:
    workflow = Workflow(transient_errors=[Gone, KeyError], permanent_errors=[ConnectionRefusedError], retry=quick())
    for error, calls in (
        (Gone(), 3),
        (KeyError(), 3),
        (ConnectionResetError(), 3),  # known to be transient anyhow
        (ConnectionRefusedError(), 1),
        (ValueError(), 1),
    ):
        operation = world.operation(error)
        assert world.run(workflow, operation).error is error
        assert len(operation.log.calls) == calls


def test_the_nearest_class_of_an_error_decides(world: World) -> None:
    workflow = Workflow(transient_errors=[ConnectionError], permanent_errors=[Poisoned], retry=quick())
    operation = world.operation(Poisoned())
    world.run(workflow, operation)
    assert len(operation.log.calls) == 1


def test_permanent_errors_do_not_open_the_circuit(world: World) -> None:
    workflow = Workflow(permanent_errors=[Gone], circuit_breaker={"failure_threshold": 2})
    for _ in range(5):
        world.run(workflow, world.operation(Gone()))
    assert workflow.circuit_breaker is not None
    assert workflow.circuit_breaker.history == ()
    for _ in range(2):
        world.run(workflow, world.operation(KeyError()))
    assert [change.after for change in workflow.circuit_breaker.history] == ["open"]


def test_a_predicate_or_an_importable_name_says_what_is_tried_again(world: World) -> None:
    for on in (lambda error: "again" in str(error), "tests.patterns.test_workflow:says_again"):
        workflow = Workflow(retry=quick(on=on), permanent_errors=["builtins.KeyError"])
        for error, calls in ((RuntimeError("again"), 3), (RuntimeError("no"), 1), (KeyError("again"), 1)):
            operation = world.operation(error)
            world.run(workflow, operation)
            assert len(operation.log.calls) == calls


def says_again(error: Exception) -> bool:
    return "again" in str(error)


# --- the total of all attempts -----------------------------------------------------------------------


def test_a_total_below_the_attempts_of_a_retry_of_its_own_ends_it_with_the_real_error(world: World) -> None:
    workflow = Workflow(max_total_attempts=2, retry={"backoff": "fixed", "initial_delay": 0})
    operation = world.operation(ConnectionError("real"))
    error = world.run(workflow, operation).error
    assert str(error) == "real"
    assert len(operation.log.calls) == 2


def test_attempts_that_the_function_makes_itself_count_too(world: World) -> None:
    own = Retry(3, backoff.Fixed(0.0))
    workflow = Workflow(max_total_attempts=4, retry=quick())
    operation = world.operation(ConnectionError("real"))
    guarded = workflow(own(operation))
    outcome = world.do(lambda: Policy.outcome(Timeout(99), guarded))
    assert isinstance(outcome.error, AttemptsExhausted)
    assert len(operation.log.calls) == 4
    assert str(outcome.error.__cause__) == "real"
    assert guarded.__name__ == operation.__name__
    assert workflow.get_metrics()["attempts"] == 4
    assert workflow.get_metrics()["rejections"] == 1
    fine = world.operation(ConnectionError, ConnectionError, ConnectionError, "answer")
    assert world.do(lambda: workflow(own(fine))()) == "answer"


def test_attempts_used_up_are_nothing_to_try_again_or_to_open_a_circuit(world: World) -> None:
    own = Retry(3, backoff.Fixed(0.0))
    workflow = Workflow(
        max_total_attempts=4, retry=quick(on=[Exception]), circuit_breaker={"failure_threshold": 2, "on": [Exception]}
    )
    outcome = world.do(lambda: workflow.outcome(own(world.operation(ConnectionError))))
    assert isinstance(outcome.error, AttemptsExhausted)
    assert workflow.circuit_breaker is not None
    assert workflow.circuit_breaker.failure_count == 1


def test_each_execution_has_a_total_of_its_own(world: World) -> None:
    workflow = Workflow(max_total_attempts=1, retry={})
    for _ in range(3):
        assert world.run(workflow, world.operation("answer")).value == "answer"


def test_used_up_attempts_survive_a_pickle() -> None:
    error = pickle.loads(pickle.dumps(AttemptsExhausted("fetch", 4)))
    assert (error.operation, error.attempts, str(error)) == (
        "fetch",
        4,
        "fetch was not called again: all 4 attempts of this execution are used up",
    )


# --- undoing -----------------------------------------------------------------------------------------


def test_compensations_run_in_reverse_with_the_saved_state(world: World) -> None:
    undone: list[Any] = []

    def cancel_payment(state: Any) -> None:
        undone.append(("payment", state["payment_id"], state["args"], state["kwargs"], str(state["error"])))

    def release_stock(state: Any) -> None:
        undone.append(("stock", state["items"]))

    def place(*args: Any, **kwargs: Any) -> None:
        saved_state().update(payment_id=17, items=["lamp"])
        raise ConnectionError("no carrier")

    workflow = Workflow.compensating(release_stock, cancel_payment, retry=quick(2))
    outcome = world.do(lambda: workflow.outcome(world.of(place), 1, express=True))
    assert undone == [("payment", 17, (1,), {"express": True}, "no carrier"), ("stock", ["lamp"])]
    error = outcome.error
    assert isinstance(error, errors.SagaError)
    assert (error.compensated, error.failures, str(error.cause)) == (
        ("cancel_payment", "release_stock"),
        {},
        "no carrier",
    )
    assert error.state["payment_id"] == 17
    assert workflow.get_metrics()["compensations"] == 2


def test_a_compensation_may_empty_the_state(world: World) -> None:
    def clear(state: Any) -> None:
        state.clear()

    error = world.run(Workflow.compensating(clear), world.operation(ConnectionError("no carrier"))).error
    assert isinstance(error, errors.SagaError)
    assert (error.compensated, str(error.cause), error.state) == (("clear",), "no carrier", {})


def test_compensations_can_run_in_the_order_in_which_they_are_listed(world: World) -> None:
    undone: list[str] = []
    actions = [lambda: undone.append("first"), lambda: undone.append("second")]
    workflow = Workflow(compensation={"actions": actions, "in_reverse": False})
    error = world.run(workflow, world.operation(KeyError)).error
    assert undone == ["first", "second"]
    assert isinstance(error, errors.SagaError)
    assert error.compensated == ("<lambda>", "<lambda> 2")


def test_without_saved_state_the_actions_get_only_what_the_operation_put_down(world: World) -> None:
    seen: list[Any] = []
    workflow = Workflow(compensation={"actions": [lambda state: seen.append(sorted(state))], "save_state": False})
    world.run(workflow, world.operation(KeyError), "argument")
    assert seen == [["error"]]


def test_actions_may_be_added_while_the_work_goes_on(world: World) -> None:
    undone: list[str] = []
    actions: list[Any] = []
    workflow = Workflow(primary_strategy="compensate", compensation={"actions": actions})

    def reserve() -> str:
        actions.append(lambda: undone.append("release"))
        return "reserved"

    def charge() -> str:
        actions.append(lambda: undone.append("refund"))
        raise ConnectionError("declined")

    assert world.do(lambda: workflow.execute(world.of(reserve))) == "reserved"
    assert not world.do(lambda: workflow.outcome(world.of(charge))).ok
    assert undone == ["refund", "release"]


def test_every_action_is_tried_and_what_failed_is_told(world: World) -> None:
    undone: list[str] = []

    def broken(state: Any) -> None:
        raise ValueError("cannot")

    workflow = Workflow(compensation={"actions": [lambda: undone.append("a"), broken, lambda: undone.append("b")]})
    error = world.run(workflow, world.operation(KeyError)).error
    assert isinstance(error, errors.SagaError)
    assert undone == ["b", "a"]
    assert [str(failure) for failure in error.failures.values()] == ["cannot"]
    assert workflow.get_metrics()["compensation_failures"] == 1


def test_what_was_never_begun_is_not_undone(world: World) -> None:
    undone: list[int] = []
    workflow = Workflow(circuit_breaker={"failure_threshold": 1}, compensation={"actions": [lambda: undone.append(1)]})
    world.run(workflow, world.operation(ConnectionError))
    assert undone == [1]
    assert isinstance(world.run(workflow, world.operation("fine")).error, errors.CircuitOpenError)
    assert undone == [1]


def test_a_success_undoes_nothing(world: World) -> None:
    workflow = Workflow(compensation={"actions": [mirror]}, retry=quick())
    outcome = world.run(workflow, world.operation(ConnectionError, "answer"))
    assert outcome.value == "answer"
    assert workflow.get_metrics()["compensations"] == 0


def test_work_that_takes_too_long_is_undone(world: World) -> None:
    undone: list[int] = []
    workflow = Workflow(compensation={"actions": [lambda: undone.append(1)], "timeout": 5})
    outcome = world.run(workflow, world.operation(Hang))
    assert isinstance(outcome.error, errors.SagaError)
    assert isinstance(outcome.error.cause, errors.TimeoutExceeded)
    assert (outcome.elapsed, undone) == (5, [1])
    assert world.run(workflow, world.operation("answer")).value == "answer"


def test_the_start_and_the_end_of_undoing_are_told_once(world: World) -> None:
    told: list[Any] = []
    table: dict[str, Any] = {
        "actions": [undo, undo],
        "on_compensation_start": lambda: told.append("start"),
        "on_compensation_complete": lambda: told.append("complete"),
    }
    world.run(Workflow(compensation=table), world.operation(KeyError))
    table["on_compensation_start"] = lambda error: told.append(type(error))
    table["on_compensation_complete"] = told.append
    world.run(Workflow(compensation=table), world.operation(KeyError))
    assert told == ["start", "complete", KeyError, ["undo 2", "undo"]]


def test_a_callback_of_a_compensation_that_raises_stops_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    undone: list[int] = []
    workflow = Workflow(compensation={"actions": [lambda: undone.append(1)], "on_compensation_start": lambda: 1 / 0})
    assert isinstance(world.run(workflow, world.operation(KeyError)).error, errors.SagaError)
    assert undone == [1]
    assert "a callback of a compensation failed" in caplog.text


def test_a_cancelled_execution_is_undone_to_the_end() -> None:
    undone: list[str] = []

    async def slowly(state: Any) -> None:
        await asyncio.sleep(1)
        undone.append(state["what"])

    async def work() -> None:
        saved_state()["what"] = "half of it"
        await asyncio.sleep(3600)

    workflow = Workflow(compensation={"actions": [slowly]})

    async def main() -> None:
        task = asyncio.ensure_future(workflow.execute(work))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.sleep(0.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    virtual.run(main())
    assert undone == ["half of it"]
    assert workflow.get_metrics()["cancelled"] == 1


def test_what_is_no_exception_is_undone_and_goes_on(world: World) -> None:
    class Stop(BaseException): ...

    undone: list[int] = []
    workflow = Workflow(
        compensation={"actions": [lambda: undone.append(1)]}, fallback={"value": 0}, retry=quick(on=Exception)
    )
    with pytest.raises(Stop):
        world.do(lambda: workflow.execute(world.operation(Stop)))
    assert undone == [1]
    assert workflow.get_metrics()["cancelled"] == 1

    def stops() -> None:
        raise Stop

    workflow = Workflow(compensation={"actions": (lambda: undone.append(2), stops)})
    with pytest.raises(Stop):
        world.do(lambda: workflow.execute(world.operation(KeyError)))
    assert undone == [1, 2]


def test_a_plain_call_refuses_async_actions_and_callbacks_when_all_is_undone() -> None:
    undone: list[int] = []

    async def tell() -> None: ...

    def fails() -> None:
        raise KeyError("no")

    workflow = Workflow(compensation={"actions": [lambda: undone.append(1)], "on_compensation_complete": tell})
    with pytest.raises(TypeError, match="tell returned coroutine"):
        workflow.execute(fails)
    assert undone == [1]

    async def wrong() -> None: ...

    workflow = Workflow(compensation={"actions": [wrong]})
    with pytest.raises(errors.SagaError) as caught:
        workflow.execute(fails)
    assert isinstance(caught.value.failures["wrong"], TypeError)


def test_a_compensation_without_the_rest_of_a_workflow_works(world: World) -> None:
    seen: list[Any] = []
    outcome = world.run(Compensate([seen.append]), world.operation(KeyError), 1)
    assert isinstance(outcome.error, errors.SagaError)
    assert (seen[0]["args"], seen[0]["kwargs"]) == ((1,), {})
    assert world.run(Calls(), world.operation("a")).value == "a"
    assert world.run(LimitedCalls(1), world.operation("a")).value == "a"


def test_an_action_that_ends_its_own_thread_of_work_ends_the_undoing(world: World) -> None:
    undone: list[int] = []

    def stops() -> None:
        raise GeneratorExit

    workflow = Workflow(compensation={"actions": [lambda: undone.append(1), stops]})
    with pytest.raises(GeneratorExit):
        world.do(lambda: workflow.execute(world.operation(KeyError)))
    assert undone == []


def test_an_action_that_does_not_say_what_it_takes_gets_the_state(world: World) -> None:
    kept: list[Any] = []

    class Keep:
        __signature__ = "nobody knows"

        def __call__(self, state: Any) -> None:
            kept.append(state)

    keep = Keep()
    workflow = Workflow(compensation={"actions": [keep, keep]}, on_error=Keep())
    world.run(workflow, world.operation(KeyError), 1)
    assert [one["args"] for one in kept[:2]] == [(1,), (1,)]
    assert isinstance(kept[2], errors.SagaError)


def test_an_execution_that_is_closed_from_elsewhere_is_over() -> None:
    class Suspends:
        def __await__(self) -> Any:
            yield

    async def operation() -> None:
        await Suspends()

    for workflow in (Workflow(compensation={"actions": [undo]}), Workflow(max_total_attempts=1, retry={})):
        execution = workflow.execute(operation)
        contextvars.copy_context().run(execution.send, None)
        execution.close()
        found = workflow.get_metrics()
        assert (found["cancelled"], found["active"], found["compensations"]) == (1, 0, 0)
        with pytest.raises(LookupError):
            saved_state()


def test_an_execution_inside_of_another_one_is_one_of_its_own() -> None:
    workflow = Workflow(max_total_attempts=2, retry=quick(2))

    def count_down(number: int) -> int:
        return 0 if number == 0 else 1 + workflow.execute(count_down, number - 1)

    assert workflow.execute(count_down, 5) == 5
    found = workflow.get_metrics()
    assert (found["executions"], found["attempts"], found["successes"]) == (6, 6, 6)


def test_the_state_belongs_to_an_execution() -> None:
    with pytest.raises(LookupError, match="belongs to an execution"):
        saved_state()
    seen: list[Any] = []
    workflow = Workflow(retry={})

    def inner() -> None:
        seen.append(saved_state())

    def outer() -> None:
        seen.append(saved_state())
        workflow.execute(inner)
        assert saved_state() is seen[0]

    workflow.execute(outer)
    assert seen[0] is not seen[1]


def test_a_saga_runs_under_a_workflow(world: World) -> None:
    undone: list[str] = []

    def ship(state: Any) -> None:
        raise ConnectionError("no carrier")

    steps = [(world.of(lambda state: "reserved"), lambda state: undone.append("reserve")), (world.of(ship), None)]
    workflow = Workflow(fallback={"value": "tomorrow"}, metrics=True)
    assert world.do(lambda: workflow.execute(Saga(steps), {})) == "tomorrow"  # type: ignore[arg-type]
    assert undone == ["reserve"]
    assert workflow.get_metrics()["compensations"] == 0  # the saga's own, not the workflow's


# --- reporting ---------------------------------------------------------------------------------------


def test_an_error_is_reported_even_if_it_is_answered(world: World, caplog: pytest.LogCaptureFixture) -> None:
    reported: list[Exception] = []
    workflow = Workflow(log_errors=True, on_error=reported.append, retry=quick(), fallback={"value": "poor"})
    error = ConnectionError("no way to https://me:hunter2@db/ with token=abc")
    with caplog.at_level(logging.ERROR, "failwell.workflow"):
        assert world.run(workflow, world.operation(error)).value == "poor"
    assert reported == [error]
    [record] = caplog.records
    assert record.name == "failwell.workflow"
    assert record.getMessage().startswith("operation failed: ConnectionError: no way to https://***@db/")
    assert "hunter2" not in caplog.text
    assert "abc" not in caplog.text
    world.run(workflow, world.operation(ConnectionError, "answer"))
    assert len(reported) == 1  # what a further attempt averted is no error


def test_who_is_told_can_be_changed(world: World) -> None:
    told: list[Any] = []
    workflow = Workflow(alert_threshold=1, retry={})
    assert (workflow.on_error, workflow.on_alert) == (None, None)
    workflow.on_error = lambda e: told.append(e)
    workflow.on_alert = lambda count: told.append(count)
    error = KeyError("no")
    world.run(workflow, world.operation(error))
    assert told == [error, 1]
    assert workflow.on_alert is not None
    workflow.on_error = workflow.on_alert = None
    world.run(workflow, world.operation(error))
    assert told == [error, 1]
    with pytest.raises(ConfigurationError, match="on_alert: has no effect without alert_threshold"):
        Workflow(retry={}).on_alert = print
    with pytest.raises(ConfigurationError, match="on_error: must be a function, got 3"):
        workflow.on_error = 3  # type: ignore[assignment]


def test_a_callback_that_raises_never_changes_the_result(world: World, caplog: pytest.LogCaptureFixture) -> None:
    def broken(*args: Any) -> None:
        raise RuntimeError("broken callback")

    workflow = Workflow(
        on_error=broken,
        on_alert=broken,
        alert_threshold=1,
        retry=quick(2, on_retry=broken, on_give_up=broken),
        circuit_breaker={"failure_threshold": 1, "on_open": broken},
    )
    error = ConnectionError("real")
    outcome = world.run(workflow, world.operation(error))
    assert isinstance(outcome.error, errors.CircuitOpenError)
    assert outcome.error.__cause__ is error
    assert "broken callback" in caplog.text


def test_an_alert_comes_after_so_many_errors_and_again_after_so_many_more(world: World) -> None:
    told: list[int] = []
    workflow = Workflow(alert_threshold=3, on_alert=told.append, fallback={"value": 0})
    events: list[Event] = []
    with listening(events.append):
        for _ in range(7):
            world.run(workflow, world.operation(ConnectionError))
    assert told == [3, 6]
    assert [event.count for event in events if isinstance(event, Alerted)] == [3, 6]
    assert workflow.get_metrics()["alerts"] == 2


def test_old_errors_do_not_count_for_an_alert() -> None:
    told: list[int] = []
    workflow = Workflow(alert_threshold=3, alert_window=10, on_alert=told.append)

    async def fails() -> None:
        raise ConnectionError

    async def main() -> None:
        for pause in (6, 6, 6, 1, 1, 1):
            await workflow.outcome(fails)
            await asyncio.sleep(pause)

    virtual.run(main())
    assert told == [5]


def test_callbacks_get_what_they_have_parameters_for(world: World) -> None:
    told: list[Any] = []
    retry: dict[str, Any] = {
        "on_retry": lambda n, e: told.append((n, type(e))),
        "on_failure": lambda e: told.append(type(e)),
    }
    world.run(Workflow(retry=quick(2, **retry)), world.operation(ConnectionError))
    assert told == [(1, ConnectionError), ConnectionError]
    told.clear()
    retry = {"on_retry": told.append, "on_give_up": lambda: told.append("gave up")}
    world.run(Workflow(retry=quick(2, **retry)), world.operation(ConnectionError))
    assert [type(one).__name__ for one in told] == ["Waiting", "str"]
    told.clear()
    breaker: dict[str, Any] = {
        "failure_threshold": 1,
        "recovery_timeout": 1,
        "on_open": lambda: told.append("open"),
        "on_half_open": lambda *event: told.append(len(event)),
        "on_close": lambda event=None: told.append(type(event).__name__),
    }
    workflow = Workflow(circuit_breaker=breaker)

    def both() -> Any:
        fails, works = world.operation(ConnectionError), world.operation("answer")
        if not world.asynchronous:
            workflow.outcome(fails)
            time.sleep(2)
            return workflow.execute(works)

        async def main() -> Any:
            await workflow.outcome(fails)
            await asyncio.sleep(2)
            return await workflow.execute(works)

        return main()

    assert world.do(both) == "answer"
    assert told == ["open", 1, "CircuitClosed"]


def test_callbacks_may_be_async_under_async_calls() -> None:
    told: list[Any] = []

    async def tell(about: Any) -> None:
        await asyncio.sleep(0)
        told.append(about)

    async def fails() -> None:
        raise KeyError("no")

    workflow = Workflow(on_error=tell, on_alert=tell, alert_threshold=1)
    virtual.run(workflow.outcome(fails))
    assert [str(one) for one in told] == ["'no'", "1"]
    with pytest.raises(TypeError, match="tell returned coroutine"):
        workflow.execute(lambda: {}["no"])


def test_misuse_is_reported_as_what_it_is() -> None:
    reported: list[Any] = []

    async def answer() -> int:
        return 1

    workflow = Workflow(on_error=reported.append, alert_threshold=1, retry=quick(), compensation={"actions": [undo]})
    with pytest.raises(TypeError, match="an awaitable, under a plain call"):
        _ = workflow.execute(lambda: answer())
    assert reported == []
    assert workflow.get_metrics()["alerts"] == 0


# --- counting ----------------------------------------------------------------------------------------


def test_what_is_counted_is_there_from_the_start() -> None:
    metrics = Workflow(retry={}).get_metrics()
    assert set(metrics.values()) == {0}
    assert {"executions", "attempts", "successes", "failures", "fallbacks", "compensations"} <= set(metrics)


def test_a_bulkhead_is_counted_unless_told_not_to() -> None:
    assert Workflow(bulkhead={}).get_metrics()["bulkhead"] == {"active": 0, "queued": 0, "rejected": 0}
    assert "bulkhead" not in Workflow(bulkhead={"track_metrics": False}).get_metrics()


def test_without_metrics_executions_are_counted_all_the_same(world: World) -> None:
    workflow = Workflow(metrics=False, retry=quick(), fallback={"value": 0})
    world.run(workflow, world.operation(ConnectionError))
    found = workflow.get_metrics()
    assert (found["executions"], found["successes"], found["degraded"], found["attempts"]) == (1, 1, 1, 3)
    assert (found["retries"], found["fallbacks"]) == (0, 0)


def test_counts_start_anew_and_what_is_under_way_stays() -> None:
    workflow = Workflow(retry={})

    async def slow() -> None:
        await asyncio.sleep(1)

    async def main() -> None:
        await workflow.execute(slow)
        task = asyncio.ensure_future(workflow.execute(slow))
        await asyncio.sleep(0.5)
        assert workflow.get_metrics()["active"] == 1
        workflow.reset_metrics()
        assert workflow.get_metrics()["active"] == workflow.get_metrics()["executions"] == 1
        await task
        assert workflow.get_metrics()["active"] == 0
        assert workflow.get_metrics()["successes"] == 1

    virtual.run(main())


FAILS: dict[str, type[Exception]] = {"reset": ConnectionError, "gone": Gone}
CASE = st.tuples(
    st.lists(st.sampled_from(["answer", "gone", "hang", "reset"]), min_size=1, max_size=4),  # what the operation does
    st.sampled_from(["answer", "reset"]),  # what the alternative does
    st.sampled_from(["none", "value"]),  # what the last alternative does
    st.sampled_from([0.0, 0.5]),  # when it starts
    st.sampled_from([None, 0.25, 1.25]),  # when it is cancelled
)


@given(cases=st.lists(CASE, min_size=1, max_size=8), alert=st.sampled_from([1, 2, 3]), undone=st.booleans())
def test_what_is_counted_is_the_truth(cases: list[Any], alert: int, undone: bool) -> None:
    truth: Counter[str] = Counter()
    script: contextvars.ContextVar[tuple[list[str], str]] = contextvars.ContextVar("script")

    # Operation and alternative are made of the same patterns, and have the same names: nothing of theirs may count.
    async def fetch() -> str:
        truth["attempts"] += 1
        left = script.get()[0]
        doing = left.pop(0) if len(left) > 1 else left[0]
        await inner.execute(noise)
        if doing == "hang":
            await asyncio.sleep(3600)
        if doing in FAILS:
            raise FAILS[doing]("no")
        return "answer"

    async def instead() -> str:
        truth["alternative calls"] += 1
        if script.get()[1] == "reset":
            raise ConnectionError("no alternative")
        return "poor"

    instead.__name__ = "fetch"
    operation = (
        Fallback(Fallback.value("never asked"), on=LookupError) >> Retry(2, backoff.Fixed(0.0), on=OverflowError)
    )(fetch)
    alternative = (
        Retry(2, backoff.Fixed(0.0), on=ConnectionError) >> Fallback(Fallback.value("poor"), on=OverflowError)
    )(instead)

    noisy = iter(range(10**6))
    inner = Workflow(retry=quick(2, on=[KeyError]), fallback={"value": "noise"})

    async def noise() -> None:
        if next(noisy) % 2:
            raise KeyError("noise")

    @Retry(2, backoff.Fixed(0.0), on=ConnectionError)
    async def compensation(state: Any) -> None:
        truth["compensation calls"] += 1
        state["tries"] = state.get("tries", 0) + 1
        if state["tries"] == 1:
            raise ConnectionError("again")

    def reported(error: Exception) -> None:
        truth["errors"] += 1

    workflow = Workflow.from_config(
        {
            "attempt_timeout": 0.5,
            "retry": {"max_attempts": 2, "backoff": "fixed", "initial_delay": 0.25},
            "circuit_breaker": {"failure_threshold": 3, "recovery_timeout": 1},
            "fallback": {"function": alternative},
            "on_error": reported,
            "on_alert": lambda count: truth.update(alerts=1),
            "alert_threshold": alert,
            **({"compensation": {"actions": [compensation]}} if undone else {}),
        }
    )

    async def one(case: Any) -> None:
        doing, instead, _, starts, ends = case
        script.set((list(doing), instead))
        await asyncio.sleep(starts)
        task = asyncio.ensure_future(workflow.outcome(operation))
        if ends is not None:
            asyncio.get_running_loop().call_later(ends, task.cancel)
        try:
            outcome = await task
        except asyncio.CancelledError:
            truth["cancelled"] += 1
            return
        truth["successes" if outcome.ok else "failures"] += 1
        truth["degraded"] += outcome.degraded

    async def main() -> None:
        await asyncio.gather(*map(one, cases))

    virtual.run(main())
    found = workflow.get_metrics()
    ended = truth["successes"] + truth["failures"] + truth["cancelled"]
    assert found["executions"] == ended == len(cases)
    for name in ("successes", "failures", "cancelled", "degraded", "attempts", "alerts"):
        assert found[name] == truth[name], name
    assert found["active"] == 0
    assert found["fallbacks"] == truth["errors"]
    assert truth["alerts"] == truth["errors"] // alert
    assert found["compensations"] == truth["compensation calls"] // 2
    assert found["compensation_failures"] == 0


def test_counts_of_many_threads_are_the_truth() -> None:
    check, _ = under_load()
    hammer(check.work, seconds=1.0)
    check.done()


def under_load() -> tuple[Any, Workflow]:
    """Work for many threads on one workflow, and what must hold when they are done."""
    lock = threading.Lock()
    truth: Counter[str] = Counter()

    def count(name: str) -> None:
        with lock:
            truth[name] += 1

    def release(state: Any) -> None:
        assert state["args"] == (state["ticket"],)
        count("compensations")

    workflow = Workflow.from_config(
        {
            "retry": quick(3),
            "bulkhead": {"max_concurrent": 16, "max_queue": 99},
            "fallback": {"value": "poor", "on": [errors.SagaError], "on_timeout": False},
            "compensation": {"actions": [release]},
            "alert_threshold": 10,
            "on_alert": lambda: count("alerts"),
        }
    )

    @workflow
    def operation(ticket: tuple[int, int]) -> tuple[int, int]:
        count("attempts")
        saved_state()["ticket"] = ticket
        if random.random() < 0.4:
            raise ConnectionError("no")
        return ticket

    def work(place: int, number: int) -> None:
        answer = operation((place, number))
        assert answer in ((place, number), "poor")
        count("degraded" if answer == "poor" else "real")

    def done() -> None:
        found = workflow.get_metrics()
        assert found["executions"] == found["successes"] == truth["degraded"] + truth["real"]
        assert (found["active"], found["failures"], found["cancelled"]) == (0, 0, 0)
        for name in ("attempts", "degraded", "compensations"):
            assert found[name] == truth[name], name
        assert found["fallbacks"] == truth["degraded"]
        assert found["alerts"] == truth["alerts"] == truth["degraded"] // 10
        assert found["bulkhead"]["active"] == 0

    return types.SimpleNamespace(work=work, done=done), workflow


# --- health ------------------------------------------------------------------------------------------


def test_health_follows_the_latest_executions(world: World) -> None:
    workflow = Workflow(health_window=10, max_error_rate=0.25, retry=quick(1))
    assert workflow.health() == ("unknown", 0.0, 0.0, 0, None)
    assert workflow.is_healthy
    for _ in range(8):
        world.run(workflow, world.operation("answer"))
    for _ in range(2):
        world.run(workflow, world.operation(KeyError))
    assert workflow.health() == ("healthy", 0.2, 0.0, 10, None)
    assert json.loads(json.dumps(workflow.health().as_dict()))["status"] == "healthy"
    world.run(workflow, world.operation(KeyError))
    assert workflow.health() == ("unhealthy", 0.3, 0.0, 10, None)
    assert not workflow.is_healthy
    for _ in range(10):
        world.run(workflow, world.operation("answer"))
    assert workflow.health().status == "healthy"


def test_answers_that_are_not_the_real_ones_are_a_state_of_their_own(world: World) -> None:
    workflow = Workflow(fallback={"value": "poor"})
    world.run(workflow, world.operation(ConnectionError))
    assert workflow.health() == ("degraded", 0.0, 1.0, 1, None)
    assert workflow.is_healthy


def test_an_open_circuit_is_seen(world: World) -> None:
    alone, answered = Workflow(circuit_breaker={}), Workflow(circuit_breaker={}, fallback={"value": 0})
    for workflow, status in ((alone, "unhealthy"), (answered, "degraded")):
        assert workflow.circuit_breaker is not None
        workflow.circuit_breaker.open()
        assert (workflow.health().status, workflow.health().circuit) == (status, "open")
        workflow.circuit_breaker.half_open()
        world.run(workflow, world.operation("answer"))
        assert workflow.health().status == "healthy"
        workflow.circuit_breaker.open()
        workflow.circuit_breaker.half_open()
        assert workflow.health().status == "degraded"


# --- as a policy -------------------------------------------------------------------------------------


def test_a_workflow_is_a_stack_and_stacks(world: World) -> None:
    workflow = Workflow.retrying(2, "fixed", 1.0)
    assert isinstance(workflow, Stack)
    around = Timeout(9) >> workflow
    assert around.layers[1:] == workflow.layers
    assert world.run(around, world.operation(ConnectionError, "answer")).value == "answer"
    assert workflow.get_metrics()["retries"] == 1
    assert set(workflow.describe()) == {"Tally", "OnError", "Retry", "Calls"}


def test_a_workflow_decorates_functions_and_methods() -> None:
    workflow = Workflow.retrying(2, "fixed", 0.0)

    class Client:
        fails = 1

        @workflow
        def fetch(self, name: str) -> str:
            """Fetch it."""
            self.fails -= 1
            if self.fails >= 0:
                raise ConnectionError
            return name

        @staticmethod
        @workflow
        def version() -> int:
            return 1

    assert Client().fetch("a") == "a"
    assert Client.fetch.__doc__ == "Fetch it."
    assert Client.version() == 1
    with pytest.raises(TypeError, match="generator"):
        workflow(generates)


def generates() -> Any:
    yield


def test_a_changed_copy_shares_counts_and_circuit(world: World) -> None:
    workflow = Workflow(circuit_breaker={"failure_threshold": 1}, retry=quick(1), alert_threshold=2)
    told: list[Any] = []
    workflow.on_alert = told.append
    changed = workflow.replace(global_timeout=5, retry_config=quick(2))
    world.run(workflow, world.operation(ConnectionError))
    assert isinstance(world.run(changed, world.operation("answer")).error, errors.CircuitOpenError)
    assert changed.get_metrics() == workflow.get_metrics()
    assert changed.get_metrics()["executions"] == 2
    assert told == [2]
    assert Deadline in of_layers(changed)
    assert Deadline not in of_layers(workflow)
    with pytest.raises(ConfigurationError, match="did you mean 'global_timeout'"):
        workflow.replace(globl_timeout=3)
    shared = Workflow(circuit_breaker=CircuitBreaker(1))
    assert shared.replace(retry={}).circuit_breaker is shared.circuit_breaker


def test_what_is_explored_is_not_counted() -> None:
    workflow = Workflow.from_config(
        {**SEED, "secondary_strategies": [], "fallback_config": None, "bulkhead_config": None}
    )
    found = explore(workflow, outcomes=("ok", ConnectionError))
    assert len(found) > 5
    assert set(workflow.get_metrics().values()) == {0}
    assert workflow.circuit_breaker is not None
    assert workflow.circuit_breaker.failure_count == 0


def test_exploring_shows_alerts_compensations_and_the_total() -> None:
    workflow = Workflow(
        alert_threshold=5, max_total_attempts=3, compensation={"actions": [undo]}, retry=quick(2), fallback={"value": 0}
    )

    async def fetch() -> None: ...

    twice = Retry(2, backoff.Fixed(1.0))(fetch)
    paths = explore(workflow(twice), outcomes=("ok", "fail")).paths
    happened = {type(event) for path in paths for event in path.events}
    assert {Alerted, Compensating, Compensated, Rejected, FellBack} <= happened
    assert max(path.calls["fetch"] for path in paths) == 3


def test_a_real_execution_follows_an_explored_path(world: World) -> None:
    config: dict[str, Any] = {
        "attempt_timeout": 2,
        "global_timeout": 6,
        "retry": {"max_attempts": 3, "backoff": "fixed", "initial_delay": 1},
        "compensation": {"actions": [undo]},
        "fallback": {"value": "poor"},
    }
    for script, answers in (
        ((ConnectionError, "answer"), ("fail", "ok")),
        ((ConnectionError, Hang, ConnectionError), ("fail", "hang", "fail")),
        ((Hang, Hang, Hang), ("hang", "hang")),  # there is no time for a third attempt
    ):
        workflow = Workflow.from_config(config)
        path: Story = follow(
            workflow, *(f"operation: {answer}" for answer in answers), *([] if "ok" in answers else ["undo: ok"])
        )
        outcome = world.run(workflow, world.operation(*script))
        assert outcome.elapsed == path.elapsed
        assert outcome.degraded == path.degraded
        assert kinds(outcome) == [type(event).__name__ for event in path.events]


def _table(**choices: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=choices)


SECONDS = st.sampled_from([0.5, 1.0, 2.0, 4.0])
CONFIGS = st.tuples(
    _table(
        retry=st.builds(
            lambda n, s: f"{{'max_attempts': {n}, 'backoff': 'fixed', 'initial_delay': {s}}}",
            st.integers(1, 3),
            SECONDS,
        ),
        circuit_breaker=st.builds(
            lambda n, s: f"{{'failure_threshold': {n}, 'recovery_timeout': {s}}}", st.integers(1, 2), SECONDS
        ),
        bulkhead=st.sampled_from(
            ["{'max_concurrent': 1}", "{'max_concurrent': 1, 'max_queue': 1, 'queue_timeout': 1}"]
        ),
        fallback=st.sampled_from(
            [
                "{'function': backup}",
                "{'function': backup, 'on_timeout': False}",
                "{'value': 'spare', 'use_cache': True}",
            ]
        ),
        compensation=st.sampled_from(["{'actions': [release]}", "{'actions': [release, refund], 'in_reverse': False}"]),
        cache=st.sampled_from(["{'ttl': 2}", "{'stale_if_error': 4}"]),
        global_timeout=SECONDS.map(str),
        attempt_timeout=SECONDS.map(str),
        alert_threshold=st.sampled_from(["1", "3"]),
        max_total_attempts=st.sampled_from(["1", "2"]),
    ),
    st.sampled_from(["", "Retry(2, backoff=Fixed(1)) >> ", "Timeout(2) >> "]),
    st.sampled_from(["", " >> Retry(2, backoff=Fixed(0.5))"]),
)


@settings(max_examples=40)
@given(drawn=CONFIGS, plain=st.booleans())
def test_what_is_drawn_is_what_happens(drawn: Any, plain: bool) -> None:
    config, around, inside = drawn
    text = f"{around}Workflow({', '.join(f'{key}={value}' for key, value in config.items())}){inside} >> operation"
    try:
        paths = stacks.explored(text, limit=600).paths
    except (ConfigurationError, errors.TooManyPaths):
        reject()
    if plain:  # a thread that is abandoned keeps what it holds, and undoes its work when its caller is gone
        paths = [path for path in paths if not any(isinstance(event, TimedOut) for event in path.events) and path.ends]
    for path in random.Random(0).sample(paths, min(len(paths), 15)):
        with pytest.MonkeyPatch.context() as monkeypatch:
            stacks.assert_same(path, stacks.follow(text, path, monkeypatch, plain=plain))


def test_the_usual_workflows_have_names_of_their_own() -> None:
    assert of_layers(Workflow.retrying()) == [Tally, OnError, Retry, Calls]
    assert of_layers(Workflow.breaking(fallback_value="x")) == [Tally, Fallback, OnError, CircuitBreaker, Calls]
    assert of_layers(Workflow.breaking()) == [Tally, OnError, CircuitBreaker, Calls]
    assert of_layers(Workflow.falling_back(mirror)) == [Tally, Fallback, OnError, Calls]
    assert of_layers(Workflow.falling_back(Fallback.value(3), on=[OSError])) == [Tally, Fallback, OnError, Calls]
    assert of_layers(Workflow.compensating(undo)) == [Tally, OnError, Compensate, Calls]
    assert of_layers(Workflow.isolating(3, 2, queue_timeout=1)) == [Tally, OnError, Bulkhead, Calls]
    assert of_layers(Workflow.remembering(60)) == [Tally, Cache, OnError, Calls]
    assert of_layers(Workflow.finishing_within(3, retry={})) == [Tally, OnError, Deadline, Retry, Calls]
    assert of_layers(Workflow.retrying(3, max_delay=9, global_timeout=9)) == [Tally, OnError, Deadline, Retry, Calls]
    known = Workflow.breaking(failure_threshold=5, timeout=7.0, fallback_value="service_unavailable").circuit_breaker
    assert known is not None
    assert known.recovery_timeout == 7
    [retry] = [layer for layer in Workflow.retrying(backoff_strategy="fixed").layers if isinstance(layer, Retry)]
    assert retry.backoff == backoff.Fixed(1.0)
    with pytest.raises(ConfigurationError, match="max_atempts"):
        Workflow.retrying(max_atempts=3)


def test_an_execution_leaves_nothing_behind() -> None:
    workflow = Workflow(max_total_attempts=3, retry=quick(), compensation={"actions": [undo]}, fallback={"value": 0})

    class Thing: ...

    def fails(thing: Thing) -> None:
        saved_state()["thing"] = thing
        raise ConnectionError("no")

    gc.collect()
    gc.disable()
    try:
        thing = Thing()
        left = weakref.ref(thing)
        workflow.execute(fails, thing)
        del thing
        assert left() is None
    finally:
        gc.enable()


def test_names_come_from_the_package_and_load_when_they_are_used() -> None:
    assert failwell.Workflow is Workflow
    assert failwell.saved_state is saved_state
    assert "Workflow" in dir(failwell)


# --- files -------------------------------------------------------------------------------------------


def test_a_file_says_what_a_mapping_says(tmp_path: Path, world: World) -> None:
    file = tmp_path / "recovery.toml"
    file.write_text(
        """
        [workflows.orders]
        primary_strategy = "retry"
        secondary_strategies = ["fallback"]
        transient_errors = ["tests.patterns.test_workflow:Gone"]
        permanent_errors = ["builtins.ConnectionRefusedError", "KeyError"]
        [workflows.orders.retry]
        max_attempts = 2
        backoff = "fixed"
        initial_delay = 1
        [workflows.orders.fallback]
        function = "tests.patterns.test_workflow.mirror"
        """
    )
    for source in (file, str(file)):
        workflow = Workflow.from_config(source, "workflows.orders")
        outcome = world.run(workflow, world.operation(Gone()))
        assert (outcome.value, outcome.elapsed) == ("mirror", 1)


def test_a_table_of_a_larger_mapping_can_be_named_as_in_a_file() -> None:
    larger = {"workflows": {"orders": {"retry": {"max_attempts": 2}}}}
    assert Retry in of_layers(Workflow.from_config(larger, "workflows.orders"))
    with pytest.raises(ConfigurationError, match=r"workflows.order: it has no such table; did you mean 'orders'\?"):
        Workflow.from_config(larger, "workflows.order")


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    file = tmp_path / "recovery.toml"
    for text, table, said in (
        (b"retry = [", None, "recovery.toml: cannot be read as TOML: "),
        (b"\xff", None, "recovery.toml: cannot be read as TOML: it is no text"),
        (b"[orders]", "order", "order: recovery.toml has no such table; did you mean 'orders'?"),
        (b"[orders]\nx = 1", "orders.x", "orders.x: recovery.toml has no such table; there are none"),
        (b"", None, "primary_strategy: nothing is configured: add global_timeout or one of the tables "),
        (b"[retry]\nmax_attempts = 0", None, "retry.max_attempts: must be a whole number of at least 1, got 0"),
    ):
        file.write_bytes(text)
        with pytest.raises(ConfigurationError) as caught:
            Workflow.from_config(file, table)
        assert str(caught.value).startswith(said)
    with pytest.raises(FileNotFoundError):
        Workflow.from_config(tmp_path / "none.toml")
    with pytest.raises(TypeError, match="source must be a mapping or the path"):
        Workflow.from_config(3)  # type: ignore[arg-type]


# --- what is wrong -----------------------------------------------------------------------------------

VALID: dict[str, Any] = {
    "name": "orders",
    "primary_strategy": "retry",
    "secondary_strategies": ["circuit_breaker", "fallback", "compensate", "deadline", "bulkhead", "cache"],
    "global_timeout": 300.0,
    "attempt_timeout": 5,
    "max_total_attempts": 10,
    "transient_errors": ["builtins.ConnectionError", TimeoutError],
    "permanent_errors": ["builtins.ValueError", TypeError],
    "log_errors": True,
    "on_error": "builtins.print",
    "alert_threshold": 10,
    "alert_window": 60.0,
    "on_alert": print,
    "metrics": False,
    "health_window": 50,
    "max_error_rate": 0.2,
    "retry": {
        "max_attempts": 4,
        "initial_delay": 0.5,
        "max_delay": 30.0,
        "backoff": "linear",
        "step": 0.5,
        "jitter": "equal",
        "on": ["builtins.ConnectionError", TimeoutError],
        "retry_result": "builtins.bool",
        "max_elapsed": 100,
        "respect_retry_after": False,
        "on_retry": print,
        "on_give_up": "builtins.print",
    },
    "circuit_breaker": {
        "success_threshold": 2,
        "recovery_timeout": 60.0,
        "window_size": 10,
        "window_duration": 60.0,
        "failure_rate": 0.5,
        "minimum_calls": 5,
        "slow_call": 2.0,
        "slow_call_rate": 0.5,
        "half_open_max_calls": 2,
        "on": "builtins.OSError",
        "on_open": print,
        "on_half_open": print,
        "on_close": print,
    },
    "fallback": {
        "function": "tests.patterns.test_workflow:mirror",
        "timeout": 1.0,
        "value": "poor",
        "on": [OSError],
        "on_timeout": True,
    },
    "compensation": {
        "actions": ["tests.patterns.test_workflow:undo", undo],
        "save_state": False,
        "in_reverse": False,
        "timeout": 200.0,
        "on_compensation_start": print,
        "on_compensation_complete": print,
    },
    "bulkhead": {
        "max_concurrent": 5,
        "max_queue": 10,
        "queue_timeout": 3.0,
        "use_thread_pool": True,
        "thread_pool_size": 4,
        "track_metrics": False,
    },
    "cache": {"ttl": 1.0, "stale_if_error": 60.0, "max_size": 10, "key": "builtins.repr", "single_flight": True},
}
PLACES = [(key, None) for key in VALID] + [(table, key) for table in TABLES for key in VALID[table]]


def dotted(place: tuple[str, str | None]) -> str:
    return ".".join(filter(None, place))


def changed(place: tuple[str, str | None], value: Any = None, *, rename: str = "") -> dict[str, Any]:
    config = {key: dict(one) if isinstance(one, dict) else one for key, one in VALID.items()}
    table, key = (config, place[0]) if place[1] is None else (config[place[0]], place[1])
    if not rename:
        table[key] = value
    else:
        table[rename] = table.pop(key)
    return config


def refused(config: Any) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        Workflow.from_config(config)
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(f"{caught.value.key}: ")
    assert len(said) < 500
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.key, again.reason) == (said, caught.value.key, caught.value.reason)
    return caught.value


def test_the_valid_configuration_is_valid_and_has_nearly_every_key() -> None:
    Workflow.from_config(VALID)
    unused = set(KEYS) - {dotted(place) for place in PLACES}
    assert unused == {
        "retry.multiplier",
        "retry.on_failure",
        "circuit_breaker.failure_threshold",
        "fallback.service",
        "fallback.use_cache",
        "fallback.cache_ttl",
    }


@given(place=st.sampled_from(PLACES), data=st.data())
def test_a_misspelt_key_is_named_with_the_nearest_one(place: tuple[str, str | None], data: st.DataObject) -> None:
    name = place[1] or place[0]
    at = data.draw(st.integers(0, len(name)))
    how = data.draw(st.sampled_from(["drop", "double", "swap", "upper"]))
    wrong = {
        "drop": name[:at] + name[at + 1 :],
        "double": name[:at] + name[at : at + 1] * 2 + name[at + 1 :],
        "swap": name[:at] + name[at : at + 2][::-1] + name[at + 2 :],
        "upper": name[:at] + name[at:].upper(),
    }[how]
    known = (
        {k.short for k in KEYS.values()}
        | {a for k in KEYS.values() for a in k.aliases}
        | set(TABLES)
        | set(TABLES.values())
    )
    if wrong in known or not wrong:
        return
    error = refused(changed(place, rename=wrong))
    assert error.key == (f"{place[0]}.{wrong}" if place[1] else wrong)
    assert error.reason.startswith("there is no such key")
    if how != "upper" and len(name) > 2:  # two letters that change places are another word
        assert f"did you mean {name!r}?" in error.reason


def test_the_nearest_key_is_offered() -> None:
    for place in PLACES:
        name = place[1] or place[0]
        if len(name) < 4:
            continue
        error = refused(changed(place, rename=name[:-2] + name[-1]))
        assert f"did you mean {name!r}?" in error.reason


WRONG: list[Any] = [
    object(),
    "not a number",
    "no.such_module:thing",
    -1,
    2.5,
    float("inf"),
    True,
    [1],
    [[]],
    {"a": 1},
    float("nan"),
    10**400,
    b"x",
]


@given(place=st.sampled_from(PLACES), value=st.sampled_from(WRONG))
def test_a_value_of_a_wrong_type_is_named_with_what_it_must_be(place: tuple[str, str | None], value: Any) -> None:
    if dotted(place) == "fallback.value":
        return  # anything
    try:
        Workflow.from_config(changed(place, value))
    except ConfigurationError:
        error = refused(changed(place, value))
    else:
        assert is_plausible(dotted(place), value)
        return
    assert error.key.startswith(dotted(place)) or contradicts(error)
    if error.key == dotted(place) and not contradicts(error):
        assert (
            "must be" in error.reason
            or "cannot import" in error.reason
            or "its value 1" in error.reason
            or "names" in error.reason
        )


def is_plausible(key: str, value: Any) -> bool:
    """Whether a value that is wrong elsewhere is right here."""
    if value is True:
        return KEYS[key].kind.words == "true or false"
    if isinstance(value, str):
        return key == "name"
    return type(value) is float and value == 2.5 and "seconds" in KEYS[key].kind.words


def contradicts(error: ConfigurationError) -> bool:
    return any(words in error.reason for words in ("has no effect", "longer than", "there is no such key"))


@pytest.mark.parametrize("strategy", RecoveryStrategy)
def test_a_strategy_that_is_named_must_be_configured(strategy: RecoveryStrategy) -> None:
    for key, value in (("primary_strategy", str(strategy)), ("secondary_strategies", [str(strategy)])):
        error = refused({key: value, "log_errors": True})
        assert error.key == key
        assert f"names '{strategy}', which is not configured" in error.reason


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"primary_strategy": "retry", "secondary_strategies": ["retry"], "retry": {}}, "secondary_strategies: names 'retry' twice"),
        ({"secondary_strategies": ["retry", "retry"], "retry": {}}, "secondary_strategies: names 'retry' twice, here"),
        ({"primary_strategy": "retyr"}, "primary_strategy: must be one of 'retry', .* did you mean 'retry'"),
        ({"secondary_strategies": ["retry", "x"]}, "secondary_strategies: its value 2 must be one of"),
        ({"retry": {}, "retry_config": {}}, "retry_config: is given twice, as 'retry' as well: leave one out"),
        ({"retry": {"on": [OSError], "retry_on_exceptions": []}}, "retry.retry_on_exceptions: is given twice"),
        ({"retry": 3}, "retry: must be a table or a Retry, got 3"),
        ({"retry": Cache(1)}, "retry: must be a table or a Retry, got Cache"),
        ({"compensation": 3}, "compensation: must be a table, got 3"),
        ({"retry": {"failure_threshold": 3}}, r"retry.failure_threshold: there is no such key here: it belongs to \[circuit_breaker\]"),
        ({"retry": {"global_timeout": 3}}, "retry.global_timeout: there is no such key here: it belongs to the top"),
        ({"max_attempts": 3}, r"max_attempts: there is no such key here: it belongs to \[retry\]"),
        ({"zzz": 3}, "zzz: there is no such key; here there are name, primary_strategy"),
        ({"cache": {"zzz": 3}}, r"cache.zzz: there is no such key; in \[cache\] there are ttl, stale_if_error"),
        ({3: 3}, "3: there is no such key"),
        ({"name": "x"}, "primary_strategy: nothing is configured"),
        ({"max_total_attempts": 2, "retry": {"max_attempts": 3}}, r"retry.max_attempts: is 3, more than max_total_attempts \(2\)"),
        ({"retry": {"initial_delay": 9, "max_delay": 3}}, "retry.initial_delay: makes the first wait .9 s. longer"),
        ({"retry": {"max_delay": 0.5}}, "retry.max_delay: makes the first wait .1 s. longer than the longest"),
        ({"retry": {"backoff": "fixed", "multiplier": 2}}, "retry.multiplier: has no effect with backoff = 'fixed'.*'exponential' or 'jitter'"),
        ({"retry": {"multiplier": 0.5}}, "retry.multiplier: must be a number of at least 1, got 0.5"),
        ({"retry": {"jitter": 2}}, "retry.jitter: must be 'none', 'full', 'equal' or a fraction from 0 to 1, got 2"),
        ({"retry": {"jitter": []}}, "retry.jitter: must be 'none'"),
        ({"fallback": {"service": 3}}, "fallback.service: must be an address that begins with http:// or https://, got 3"),
        ({"fallback": {"service": "${PATH}/x"}}, "fallback.service: must be an address that begins with http:// or https://, also"),
        ({"global_timeout": 0}, "global_timeout: must be a number of seconds above 0, got 0"),
        ({"retry": {"initial_delay": -1}}, "retry.initial_delay: must be a number of seconds that is not negative, got -1"),
        ({"log_errors": 3}, "log_errors: must be true or false, got 3"),
        ({"primary_strategy": 3}, "primary_strategy: must be one of 'retry'"),
        ({"health_window": 10**400}, "health_window: must be a whole number of at least 1, got 1000"),
        ({"max_error_rate": float("inf")}, "max_error_rate: must be a share above 0 and up to 1, got inf"),
        ({"max_error_rate": 0}, "max_error_rate: must be a share above 0 and up to 1, got 0"),
        ({"name": " "}, "name: must be a text, got ' '"),
        ({"retry": {"step": 2}}, "retry.step: has no effect with backoff = 'jitter'"),
        ({"retry": {"backoff": "decorrelated", "jitter": "full"}}, "retry.jitter: has no effect"),
        ({"retry": {"backoff": "fixed", "max_delay": 9}}, "retry.max_delay: has no effect"),
        ({"retry": {"on_failure": print, "on_give_up": print}}, "retry.on_failure: is called when on_give_up is"),
        ({"retry": {"on_retry": lambda a, b, c: None}}, "retry.on_retry: must be a function that can take 0 or 1 or 2 arguments"),
        ({"global_timeout": 3, "attempt_timeout": 4}, r"attempt_timeout: is 4 s, longer than global_timeout \(3 s\)"),
        ({"global_timeout": 3, "compensation": {"actions": [undo], "timeout": 4}}, "compensation.timeout: is 4 s, longer"),
        ({"transient_errors": [KeyError]}, r"transient_errors: has no effect without \[retry\]"),
        ({"transient_errors": [KeyError], "permanent_errors": [KeyError], "retry": {}}, "permanent_errors: names KeyError, as transient"),
        ({"transient_errors": [KeyError], "retry": {"on": [OSError]}}, "transient_errors: names KeyError, which retry.on does not"),
        ({"transient_errors": [KeyError], "retry": Retry()}, "transient_errors: has no effect on a Retry that is made already"),
        ({"permanent_errors": [KeyError], "retry": {"on": [KeyError]}}, "retry.on: names KeyError, which permanent_errors"),
        ({"permanent_errors": [KeyboardInterrupt]}, "permanent_errors: its value 1 must be a type of Exception.*KeyboardInterrupt"),
        ({"permanent_errors": ["failwell:Retry"]}, "permanent_errors: its value 1 must be a type of Exception.*'failwell:Retry'"),
        ({"permanent_errors": ["KeyErorr"]}, "permanent_errors: its value 1 cannot import 'KeyErorr': builtins has no 'KeyErorr', did you mean 'KeyError'"),
        ({"permanent_errors": ["no.where:Gone"]}, "permanent_errors: its value 1 cannot import 'no.where:Gone': there is no module 'no'"),
        ({"permanent_errors": ["broken_module:X"]}, "cannot import 'broken_module:X': broken_module ends with RuntimeError: token=\\*\\*\\*"),
        ({"permanent_errors": ["needy_module:X"]}, "needy_module needs 'not_installed', which is not installed"),
        ({"permanent_errors": ["a b"]}, "must be an importable name such as"),
        ({"permanent_errors": KeyError}, "permanent_errors: must be a list of error types"),
        ({"on_error": "builtins.__debug__", "retry": {}}, "on_error: must be a function, and 'builtins.__debug__' is a bool"),
        ({"circuit_breaker": {"failure_rate": 0.5, "failure_threshold": 3}}, "circuit_breaker.failure_threshold: has no effect with failure_rate"),
        ({"circuit_breaker": {"window_size": 3}}, r"circuit_breaker.window_size: is 3, so failure_threshold \(5\) is never reached"),
        ({"circuit_breaker": {"minimum_calls": 3}}, "circuit_breaker.minimum_calls: has no effect without"),
        ({"circuit_breaker": {"slow_call_rate": 0.3}}, "circuit_breaker.slow_call_rate: needs slow_call"),
        ({"fallback": {}}, "fallback: has nothing to answer with"),
        ({"fallback": {"use_cache": False}}, "fallback.use_cache: is false, so nothing is left"),
        ({"fallback": {"use_cache": True}, "cache": {}}, "fallback.use_cache: makes a cache, and .cache. does"),
        ({"fallback": {"value": 1, "cache_ttl": 3}}, "fallback.cache_ttl: has no effect without use_cache"),
        ({"fallback": {"value": 1, "timeout": 3}}, "fallback.timeout: has no effect without function or service"),
        ({"fallback": {"value": 1, "on_timeout": False, "on": [TimeoutError]}}, "fallback.on_timeout: is false, and fallback.on names TimeoutError"),
        ({"fallback": {"service": "ftp://x"}}, "fallback.service: must be an address that begins with"),
        ({"fallback": {"service": "${NOT_SET_HERE}/x"}}, "fallback.service: needs the environment variable NOT_SET_HERE, which is not set"),
        ({"alert_window": 3, "retry": {}}, "alert_window: has no effect without alert_threshold"),
        ({"on_alert": print, "retry": {}}, "on_alert: has no effect without alert_threshold"),
        ({"compensation": {}}, "compensation.actions: is missing"),
        ({"compensation": {"actions": [3]}}, "compensation.actions: its value 1 must be a function, and 3 is an int"),
        ({"compensation": {"actions": [undo, lambda a, b: None]}}, "compensation.actions: must take the saved state or nothing, and <lambda> does not"),
        ({"retry": {"retry_result": lambda: True}}, "retry.retry_result: must take the result, and <lambda> does not"),
        ({"on_error": "builtins.dict.fromkeys", "retry": {}}, "there is no module 'builtins.dict', did you mean 'builtins:dict.fromkeys'"),
        ({"workflows": {"orders": {"retry_config": {}}}}, "workflows: there is no such key: to read the table in it, ask for 'workflows.orders'"),
        ({"workflows": {"orders": {"zzz": {}}}}, "workflows: there is no such key; here there are name"),
        ({"bulkhead": {"queue_timeout": 3}}, "bulkhead.queue_timeout: has no effect without max_queue"),
        ({"cache": {"stale_if_error": 0}}, "cache.stale_if_error: is 0, and so is ttl"),
    ],
)  # fmt: skip
def test_what_contradicts_or_has_no_effect_is_named(
    config: Any, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_module.py").write_text("raise RuntimeError('token=hunter2')")
    (tmp_path / "needy_module.py").write_text("import not_installed")
    monkeypatch.syspath_prepend(str(tmp_path))
    error = refused(config)
    assert re.search(said, str(error)), str(error)


def test_nothing_secret_is_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKUP", "hunter2")
    for config in (
        {"fallback": {"service": "ftp://me:hunter2@host/x"}},
        {"fallback": {"service": "${BACKUP}/x"}},
        {"retry": {"max_attempts": "password=hunter2"}},
        {"retry": {"api_key": "hunter2"}},
        {"api_key": "hunter2"},
        {"name": {"password": "hunter2"}},
        {"on_error": "https://me:hunter2@host"},
    ):
        assert "hunter2" not in str(refused(config))


def test_a_value_that_cannot_be_shown_is_named_by_its_type() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError

    assert refused({"name": Odd()}).reason == "must be a text, got a Odd"
    assert len(refused({"name": ["x" * 999]}).reason) < 120


def test_a_service_needs_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "httpx", None)
    error = refused({"fallback": {"service": "https://backup.example"}})
    assert (error.key, "pip install" in error.reason) == ("fallback.service", True)


def test_every_key_is_told_apart_from_its_other_names() -> None:
    for table in ("", *TABLES):
        names = [name for key in KEYS.values() if key.table == table for name in (key.short, *key.aliases)]
        assert len(names) == len(set(names))
    assert copy.copy(KEYS["retry.on"]) == KEYS["retry.on"]
