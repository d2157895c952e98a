"""Never run: mypy and pyright, both strict, check that decorating keeps types."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, assert_type

from failwell import (
    AdaptiveLimit,
    Batch,
    BatchFailure,
    BatchItem,
    BatchResult,
    CircuitBreaker,
    Credential,
    CredentialRefresh,
    Deadline,
    Degrade,
    ExponentialRecovery,
    Fallback,
    Feature,
    HealthCheck,
    HealthState,
    Hedge,
    InContext,
    LoadShedder,
    Outcome,
    Policy,
    RecoveryPattern,
    Retry,
    RetryBudget,
    SafeCall,
    Stack,
    Timeout,
    Workflow,
    backoff,
    health,
    listening,
    safe_call,
    subscribe,
    time_left,
    virtual,
)
from failwell.events import Attempt, Event, GaveUp, LimitChanged, Waiting
from failwell.runtime import Runtime
from failwell.testing import Called, Fault, Scripted, disabled, failing


def read(name: str, *, limit: int = 10) -> list[str]:
    return [name] * limit


async def fetch(number: int, /, *rest: str) -> float:
    return float(number)


# A decorator keeps the signature, sync and async.


@Retry(max_attempts=3)
def guarded_read(name: str, *, limit: int = 10) -> list[str]:
    return [name] * limit


@Timeout(5)
@Retry(on=(KeyError, OSError))
async def guarded_fetch(number: int, /, *rest: str) -> float:
    return float(number)


assert_type(guarded_read("a", limit=2), list[str])
guarded_read(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
guarded_read("a", 2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


class Service:
    @Retry()
    def read(self, name: str) -> int:
        return len(name)

    @Retry()
    async def fetch(self, name: str) -> int:
        return len(name)

    @staticmethod
    @Retry()
    def parse(name: str) -> int:
        return len(name)

    @classmethod
    @Retry()
    def make(cls, name: str) -> int:
        return len(name)


assert_type(Service().read("a"), int)
assert_type(Service.parse("a"), int)
assert_type(Service.make("a"), int)
Service().read(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

# call() and outcome() take a function and its arguments.

assert_type(Retry().call(read, "a", limit=3), list[str])
assert_type(Retry().outcome(read, "a"), Outcome[list[str]])
assert_type(Retry().outcome(read, "a").unwrap(), list[str])
assert_type(Retry().outcome(read, "a").value, list[str] | None)
assert_type(Retry().outcome(read, "a").error, Exception | None)
Retry().call(read, 1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
Retry().outcome(read, nothing=1)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]

# >> makes a stack of policies and a function of a function.

assert_type(Timeout(30) >> Retry(), Stack)
assert_type(Deadline(5) >> Hedge(0.2, max_hedges=2, on=OSError), Stack)
assert_type(Deadline.until(time_left()), Deadline)
assert_type((Deadline(5) >> Hedge(0.2))(read)("a"), list[str])
assert_type(Hedge(1).call(read, "a"), list[str])
Hedge(delay="soon")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
assert_type(Timeout(30) >> Retry() >> Fallback(Fallback.value(0)), Stack)
protected_read = Timeout(30) >> Retry() >> read
protected_fetch = Timeout(30) >> fetch
assert_type(protected_read("a"), list[str])
protected_read(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


async def on_a_loop() -> None:
    assert_type(await guarded_fetch(1, "b"), float)
    assert_type(await Service().fetch("a"), int)
    assert_type(await Retry().call(fetch, 1, "b"), float)
    assert_type(await Retry().outcome(fetch, 1), Outcome[float])
    assert_type(await protected_fetch(1, "b"), float)
    await guarded_fetch(number=1)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


# Parameters, callbacks and presets.


def on_retry(event: Waiting) -> None:
    assert_type(event.delay, float)
    assert_type(event.error, BaseException | None)


async def on_give_up(event: GaveUp) -> None:
    assert_type(event.reason, str)


policy = Retry(5, backoff.Exponential(jitter="full"), on_retry=on_retry, on_give_up=on_give_up)
assert_type(policy.replace(max_attempts=2), Retry)
assert_type(Retry.critical(on=OSError), Retry)
Retry(on=lambda error: isinstance(error, OSError))
backoff.Fixed(1, jitter="half")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
Retry("3")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

# A budget, and a credential that knows the type of its value.

Retry(budget=RetryBudget(0.2, minimum_per_second=1, ttl=30))
Retry(budget=RetryBudget)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
assert_type(RetryBudget().balance, int)


async def fetch_token() -> dict[str, float]:
    return {"expires_in": 60.0}


def lease() -> str:
    return "token"


assert_type(Credential(fetch_token, lifetime=lambda token: token["expires_in"]).value, dict[str, float])
assert_type(Credential(lease, lifetime=60).value, str)
assert_type(CredentialRefresh(Credential(lease)).call(read, "a"), list[str])
CredentialRefresh(Credential(lease), on=(OSError, KeyError), shielded=True)
CredentialRefresh("token")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
Credential(lease, lifetime="60")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]

# Limits that adapt, and calls of different worth.


def weigh(path: str) -> str:
    return "critical" if path == "/checkout" else "normal"


async def weigh_slowly(path: str) -> str:
    return "normal"


limit = AdaptiveLimit(10, min=2, on_change=lambda event: assert_type(event, LimitChanged))
assert_type(limit.limit, int)
assert_type(limit.usual_latency, float | None)
assert_type(limit.replace(max=20), AdaptiveLimit)
shedder = LoadShedder(100, weigh, load=lambda: limit.active / limit.limit)
LoadShedder(100, weigh_slowly)
assert_type(LoadShedder(100, ContextVar[str]("importance")).rejected, dict[str, int])
assert_type((shedder >> limit).call(read, "a"), list[str])
AdaptiveLimit("10")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
LoadShedder(100, "critical")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

# Listening, and virtual time.

assert_type(subscribe(print), Callable[[], None])
with listening(lambda event: assert_type(event, Event)):
    assert_type(virtual.run(fetch(1)), float)
assert_type(Attempt("Retry", "fetch", 1.0, None, 1).number, int)
Attempt("Retry", "fetch", 1.0, None)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]

# A pattern of the user's own.


class Twice(Policy):
    async def run(self, call: Any, rt: Runtime) -> Any:
        rt.emit(Attempt, 1)
        rt.emit(Attempt, "1")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        await rt.announce(None, GaveUp, 1, 0.5, None, "enough")
        return await call(), await call()


assert_type(Twice().call(read, "a"), list[str])

# Operations.

check = health.register(HealthCheck(lambda: True, 5, name="database"), critical=False)
assert_type(check, HealthCheck)
assert_type(check.status, HealthState)
assert_type(check.known.as_dict(errors=False), dict[str, Any])
assert_type(health().ok, bool)
HealthCheck(read)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
page = Degrade([Feature("names", 1, read, last_good=60)], on=OSError)
assert_type(page.replace(max_concurrent=3), Degrade)
assert_type(page.degraded, frozenset[str])
Feature("names", "high", read)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

# A configuration.

workflow = Workflow.from_config({"retry": {"max_attempts": 3}})
assert_type(workflow, Workflow)
assert_type(workflow.execute(read, "a"), list[str])
assert_type(workflow(read)("a"), list[str])
assert_type(Workflow.retrying(3).replace(global_timeout=5), Workflow)
assert_type(workflow.health().error_rate, float)
Workflow(retry=3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
Workflow(retyr={})  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


async def executes() -> None:
    assert_type(await workflow.execute(fetch, 1), float)


# How a circuit comes back.

breaker = CircuitBreaker(recovery=ExponentialRecovery(jitter="full", max_probes=3))
assert_type(breaker.recovering, RecoveryPattern | None)
assert_type(breaker.call(read, "a"), list[str])
assert_type(ExponentialRecovery().fresh(), ExponentialRecovery)
CircuitBreaker(recovery=60)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
ExponentialRecovery(jitter="some")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]

# What tests use.

assert_type(failing(ConnectionError, "ok"), Scripted)
assert_type(failing("ok").calls, list[Called])
assert_type(Fault(fail=0.1).call(read, "a"), list[str])
Fault(error=7)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
with disabled():
    assert_type(InContext("http", correlation_id=lambda: "req-7").call(read, "a"), list[str])

# A default has a type of its own.

assert_type(safe_call(len, "abc", default=None), int | None)
assert_type(SafeCall(None).call(read, "a"), list[str])
safe_call(len, "abc")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]


async def once_on_a_loop() -> None:
    assert_type(await safe_call(fetch, 1, default="none"), float | str)


# A batch tells of each item.

assert_type(BatchResult().failed, list[BatchFailure])
assert_type(BatchResult().unfinished, list[BatchItem])
Batch(len, Retry.batch_item(), on_progress=lambda event: assert_type(event.total, int | None))
Batch(len, retry=3)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
