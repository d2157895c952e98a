from __future__ import annotations

import asyncio
import copy
import gc
import itertools
import pickle
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failwell import Credential, CredentialRefresh, Retry, Timeout, backoff, explore, virtual
from failwell.errors import AuthenticationError, TimeoutExceeded
from failwell.events import CredentialRefreshed, CredentialRefreshFailed, CredentialRefreshing
from tests.kernel.world import Hang, World, kinds
from tests.soak.test_soak import hammer

REFRESHES = [CredentialRefreshing, CredentialRefreshed]


class Issuer:
    """Issues token after token; knows which of them it still accepts."""

    def __init__(self, world: World, takes: float = 0.0, script: tuple[Any, ...] = ()) -> None:
        self.asked: list[float] = []
        self.accepts: set[str] = set()
        self.under_way = 0
        self.takes = takes
        self.script = list(script)
        self.fetch: Any = self._async if world.asynchronous else self._plain

    def _begin(self) -> None:
        assert self.under_way == 0, "two refreshes at once"
        self.under_way += 1
        self.asked.append(time.monotonic())

    def _end(self) -> str:
        if self.script and (outcome := self.script.pop(0)) is not None:
            raise outcome
        token = f"token-{len(self.asked)}"
        self.accepts = {token}
        return token

    async def _async(self) -> str:
        self._begin()
        try:
            await asyncio.sleep(self.takes)
            return self._end()
        finally:
            self.under_way -= 1

    def _plain(self) -> str:
        self._begin()
        try:
            time.sleep(self.takes)
            return self._end()
        finally:
            self.under_way -= 1

    def check(self, token: str) -> str:
        if token not in self.accepts:
            raise AuthenticationError("401")
        return f"answer for {token}"


def api(world: World, issuer: Issuer, credential: Any, takes: float = 0.0) -> Any:
    """An operation that reads the credential when it begins, and is accepted or refused when it ends."""

    def call() -> Any:
        token = credential.value
        made.calls.append(token)
        return token

    async def asynchronous() -> str:
        token = call()
        await asyncio.sleep(takes)
        return issuer.check(token)

    def plain() -> str:
        token = call()
        time.sleep(takes)
        return issuer.check(token)

    made: Any = asynchronous if world.asynchronous else plain
    made.calls = []
    return made


def in_turn(world: World, *steps: Callable[[], Any] | float) -> list[Any]:
    """Do things of a world one after the other, in one virtual time; a number is a wait. The results or errors."""
    found: list[Any] = []

    def plainly() -> None:
        for step in steps:
            try:
                found.append(time.sleep(step) if isinstance(step, (int, float)) else step())
            except Exception as error:
                found.append(error)

    async def main() -> None:
        for step in steps:
            try:
                found.append(await asyncio.sleep(step) if isinstance(step, (int, float)) else await settled(step()))
            except Exception as error:
                found.append(error)

    async def settled(answer: Any) -> Any:
        return await answer if asyncio.iscoroutine(answer) else answer

    if world.asynchronous:
        virtual.run(main())
    else:
        with virtual.clock():
            plainly()
    return [one for one, step in zip(found, steps, strict=True) if not isinstance(step, (int, float))]


def made(world: World, *, takes: float = 0.0, script: tuple[Any, ...] = (), lifetime: Any = None, **more: Any) -> Any:
    """An issuer, a credential of it, a layer around that, and an operation under it."""
    issuer = Issuer(world, takes, script)
    credential = Credential(issuer.fetch, lifetime=lifetime, margin=more.pop("margin", 0))
    policy = CredentialRefresh(credential, **more)
    operation = api(world, issuer, credential)
    return SimpleNamespace(
        issuer=issuer, credential=credential, policy=policy, operation=operation, guarded=policy(operation)
    )


# --- when it is refreshed ---


def test_it_is_fetched_before_it_is_used_first_and_then_used_while_it_is_good(world: World) -> None:
    it = made(world, lifetime=60)
    answers = in_turn(world, it.guarded, 30, it.guarded, 29.9, it.guarded)
    assert answers == ["answer for token-1"] * 3
    assert it.issuer.asked == [0]


def test_when_it_has_expired_it_is_refreshed_before_it_is_used(world: World) -> None:
    it = made(world, lifetime=60)
    first, later = in_turn(world, lambda: it.policy.outcome(it.operation), 60, lambda: it.policy.outcome(it.operation))
    assert it.operation.calls == ["token-1", "token-2"]
    for outcome in (first, later):
        assert [type(event) for event in outcome.events] == REFRESHES
        assert outcome.events[0].reason == CredentialRefreshing.EXPIRED


def test_a_lifetime_counts_from_when_it_was_asked_for_and_ends_by_the_margin_early(world: World) -> None:
    it = made(world, lifetime=60, margin=10, takes=5)
    in_turn(world, it.guarded, 44.9, it.guarded, 0.1, it.guarded, 44, it.guarded)
    assert it.issuer.asked == [0, 50]


def test_a_margin_never_takes_more_than_half_of_the_lifetime(world: World) -> None:
    it = made(world, lifetime=8, margin=60)
    in_turn(world, it.guarded, 3.9, it.guarded, 0.1, it.guarded)
    assert it.issuer.asked == [0, 4]


@pytest.mark.parametrize(
    ("says", "fetches"),
    [(60, 2), ("60", 2), (lambda token: 60.0, 2), (lambda token: "60", 2), (lambda token: None, 1), (None, 1)],
    ids=["seconds", "text", "function", "function of text", "function of nothing", "nothing"],
)
def test_the_value_itself_may_know_how_long_it_is_good(world: World, says: Any, fetches: int) -> None:
    if isinstance(says, str):
        with pytest.raises(TypeError, match="lifetime must be a number"):
            made(world, lifetime=says)
        return
    it = made(world, lifetime=says)
    in_turn(world, it.guarded, 61, it.guarded)
    assert len(it.issuer.asked) == fetches


def test_a_value_that_is_born_expired_is_used_all_the_same(world: World) -> None:
    it = made(world, lifetime=lambda token: -5)
    assert in_turn(world, it.guarded, it.guarded) == ["answer for token-1", "answer for token-2"]


@pytest.mark.parametrize("odd", [None, "", 0, False, ()])
def test_a_falsy_value_is_a_value(world: World, odd: Any) -> None:
    credential = Credential(world.of(lambda: odd))
    assert in_turn(world, CredentialRefresh(credential)(world.of(lambda: credential.value))) == [odd]
    assert not credential.is_expired


def test_one_that_is_refused_is_refreshed_and_used_once_more(world: World) -> None:
    it = made(world)
    in_turn(world, it.guarded)
    it.issuer.accepts.clear()
    [outcome] = in_turn(world, lambda: it.policy.outcome(it.operation))
    assert outcome.value == "answer for token-2"
    assert it.operation.calls == ["token-1", "token-1", "token-2"]
    assert [type(event) for event in outcome.events] == REFRESHES
    assert outcome.events[0].reason == CredentialRefreshing.REFUSED


def test_one_that_is_refused_again_is_no_endless_loop(world: World) -> None:
    it = made(world)
    refusing = world.operation(AuthenticationError("403, and that is final"))
    in_turn(world, it.guarded)
    error: Any = world.run(it.policy, refusing).error
    assert str(error) == "403, and that is final"
    assert error.__notes__ == ["failwell: refused again with a credential that was refreshed"]
    assert len(refusing.log.calls) == 2
    assert len(it.issuer.asked) == 2
    world.run(it.policy, refusing)
    assert len(error.__notes__) == 1


def test_one_fetched_for_this_very_call_and_refused_is_refreshed_once_more(world: World) -> None:
    it = made(world)
    operation = world.operation(AuthenticationError("not known here yet"), "fine")
    assert world.run(it.policy, operation).value == "fine"
    assert len(it.issuer.asked) == 2


@pytest.mark.parametrize("error", [ValueError("x"), ConnectionError("x"), PermissionError("x")])
def test_an_error_that_is_no_refusal_is_passed_on_at_once(world: World, error: Exception) -> None:
    it = made(world)
    operation = world.operation(error)
    outcome = world.run(it.policy, operation)
    assert outcome.error is error
    assert len(operation.log.calls) == 1
    assert not hasattr(error, "__notes__")


def test_an_error_of_another_kind_at_the_second_call_is_passed_on_as_it_is(world: World) -> None:
    it = made(world)
    outcome = world.run(it.policy, world.operation(AuthenticationError("401"), ConnectionError("reset")))
    assert isinstance(outcome.error, ConnectionError)
    assert not hasattr(outcome.error, "__notes__")
    assert outcome.error.__cause__ is None


@pytest.mark.parametrize(
    "on",
    [PermissionError, (KeyError, PermissionError), lambda error: getattr(error, "status", 0) == 401],
    ids=["a type", "a tuple", "a predicate"],
)
def test_on_takes_a_type_a_tuple_or_a_predicate(world: World, on: Any) -> None:
    error = PermissionError("no")
    error.status = 401  # type: ignore[attr-defined]
    it = made(world, on=on)
    assert world.run(it.policy, world.operation(error, "fine")).value == "fine"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_only_exceptions_are_handled_whatever_on_says(world: World, error: type[BaseException]) -> None:
    it = made(world, on=BaseException)
    with pytest.raises(error):
        world.run(it.policy, world.operation(error))
    assert len(it.issuer.asked) == 1


def test_what_the_operation_is_called_with_and_returns_is_its_own_affair(world: World) -> None:
    it = made(world)
    operation = world.operation(AuthenticationError("401"), None)
    outcome = world.run(it.policy, operation, 1, key=2)
    assert outcome.ok
    assert outcome.value is None
    assert operation.log.calls == [((1,), {"key": 2})] * 2


# --- one refresh for all ---


def together(it: Any, number: int, apart: float = 0.0) -> list[Any]:
    """Calls of many tasks, some time apart."""

    async def one(place: int) -> Any:
        await asyncio.sleep(place * apart)
        return await it.guarded()

    async def main() -> list[Any]:
        return await asyncio.gather(*map(one, range(number)), return_exceptions=True)

    return virtual.run(main())


def test_a_hundred_callers_cause_one_refresh() -> None:
    it = made(World(True), takes=1, lifetime=60)
    assert together(it, 100) == ["answer for token-1"] * 100
    assert it.issuer.asked == [0]


def test_a_hundred_callers_who_are_refused_cause_one_refresh() -> None:
    it = made(World(True), takes=1)
    it.credential.keep("stolen")
    it.guarded = it.policy(api(World(True), it.issuer, it.credential, takes=0.5))
    assert together(it, 100, apart=0.02) == ["answer for token-1"] * 100
    assert it.issuer.asked == [0.5]


def test_a_refusal_that_comes_late_causes_no_further_refresh() -> None:
    it = made(World(True))
    slow, quick = (it.policy(api(World(True), it.issuer, it.credential, takes=takes)) for takes in (5, 1))

    async def main() -> list[str]:
        it.credential.keep("stolen")
        return await asyncio.gather(slow(), quick())

    assert virtual.run(main()) == ["answer for token-1"] * 2
    assert it.issuer.asked == [1]


def test_a_refusal_that_comes_after_the_new_one_has_expired_does_cause_one() -> None:
    it = made(World(True), lifetime=3)
    slow, quick = (it.policy(api(World(True), it.issuer, it.credential, takes=takes)) for takes in (5, 1))

    async def main() -> list[str]:
        it.credential.keep("stolen")
        return await asyncio.gather(slow(), quick())

    assert virtual.run(main()) == ["answer for token-2", "answer for token-1"]
    assert it.issuer.asked == [1, 5]


def test_who_comes_while_it_is_refreshed_waits_and_is_not_refused_in_vain() -> None:
    it = made(World(True), takes=2)
    operation = it.operation

    async def main() -> list[str]:
        it.credential.keep("stolen")
        first = asyncio.create_task(it.guarded())
        await asyncio.sleep(1)
        return await asyncio.gather(first, it.guarded(), it.guarded())

    assert virtual.run(main()) == ["answer for token-1"] * 3
    assert operation.calls == ["stolen", "token-1", "token-1", "token-1"]


def test_layers_around_one_credential_act_as_one() -> None:
    it = made(World(True), takes=1)
    other = CredentialRefresh(it.credential)
    copied = it.policy.replace(shielded=True)
    guarded = [policy(it.operation) for policy in (it.policy, other, copied)]

    async def main() -> list[str]:
        return await asyncio.gather(*(one() for one in guarded))

    assert virtual.run(main()) == ["answer for token-1"] * 3
    assert len(it.issuer.asked) == 1


def test_a_copy_with_another_credential_has_nothing_to_do_with_the_first_one() -> None:
    one, other = made(World(True), takes=1), made(World(True), takes=1)
    moved = one.policy.replace(credential=other.credential)(other.operation)

    async def main() -> list[str]:
        return await asyncio.gather(one.guarded(), moved())

    assert virtual.run(main()) == ["answer for token-1"] * 2
    assert (len(one.issuer.asked), len(other.issuer.asked)) == (1, 1)


class Outage(ConnectionError):
    pass


def test_a_refresh_that_fails_fails_everybody_who_waits_with_its_own_error_and_the_next_one_tries_anew() -> None:
    outage = Outage("the token server is down")
    it = made(World(True), takes=1, script=(outage,))
    assert together(it, 10) == [outage] * 10
    assert it.operation.calls == []
    assert together(it, 10) == ["answer for token-2"] * 10
    assert len(it.issuer.asked) == 2


def test_the_error_of_a_refresh_tells_of_the_refusal_that_it_was_for(world: World) -> None:
    it = made(world, script=(Outage("down"), Outage("still down")))
    it.credential.keep("stolen")
    refusals = AuthenticationError("first"), AuthenticationError("second")
    operation = world.operation(*refusals)
    outcome = world.run(it.policy, operation)
    assert isinstance(outcome.error, Outage)
    assert outcome.error.__cause__ is refusals[0]
    assert kinds(outcome) == ["CredentialRefreshing", "CredentialRefreshFailed"]
    failed = outcome.events[-1]
    assert isinstance(failed, CredentialRefreshFailed)
    assert failed.error is outcome.error
    assert world.run(it.policy, operation).error.__cause__ is refusals[1]  # type: ignore[union-attr]
    assert len(operation.log.calls) == 2


def test_an_error_of_a_refresh_that_is_raised_again_tells_of_the_last_refusal_and_keeps_its_own_cause(
    world: World,
) -> None:
    always = Outage("always the same object")
    refusals = AuthenticationError("first"), AuthenticationError("second")
    it = made(world, script=(always, always))
    it.credential.keep("stolen")
    operation = world.operation(*refusals)
    for refusal in refusals:
        assert world.run(it.policy, operation).error is always
        assert always.__cause__ is refusal
    rooted = Outage("because of")
    rooted.__cause__ = root = KeyError("no such client")
    it = made(world, script=(rooted,))
    it.credential.keep("stolen")
    world.run(it.policy, world.operation(AuthenticationError))
    assert rooted.__cause__ is root


def test_a_refresh_that_raises_what_the_call_was_refused_with_makes_no_circle(world: World) -> None:
    refusal, wrapped = AuthenticationError("401"), AuthenticationError("wrapped")
    wrapped.__cause__ = refusal
    for raised in (refusal, wrapped):
        it = made(world, script=(refusal,))
        it.credential.keep("stolen")
        assert world.run(it.policy, world.operation(raised)).error is refusal
        assert refusal.__cause__ is None


def test_a_refused_refresh_token_is_not_refreshed(world: World) -> None:
    it = made(world, script=(AuthenticationError("the refresh token is revoked"),) * 9)
    operation = world.operation("never")
    outcome = world.run(it.policy, operation)
    assert str(outcome.error) == "the refresh token is revoked"
    assert (len(it.issuer.asked), operation.log.calls) == (1, [])


# --- cancellation, abandonment, and other ends ---


@pytest.mark.parametrize("shielded", [False, True])
def test_cancelling_the_caller_that_refreshes_fails_nobody_else(shielded: bool) -> None:
    it = made(World(True), takes=2, shielded=shielded)

    async def main() -> tuple[list[str], float, float]:
        first = asyncio.create_task(it.guarded())
        others = [asyncio.create_task(it.guarded()) for _ in range(5)]
        await asyncio.sleep(1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        left = time.monotonic()
        return await asyncio.gather(*others), left, time.monotonic()

    answers, left, ended = virtual.run(main())
    if shielded:
        assert (answers, left, ended) == (["answer for token-1"] * 5, 2, 2)
    else:  # gone at once; the next one begins anew
        assert (answers, left, ended) == (["answer for token-2"] * 5, 1, 3)
    assert len(it.issuer.asked) == 2 - shielded


def test_a_shielded_refresh_is_kept_although_nobody_is_left() -> None:
    it = made(World(True), takes=2, shielded=True, lifetime=60)

    async def main() -> None:
        with pytest.raises(TimeoutExceeded):
            await (Timeout(1) >> it.policy)(it.operation)()
        assert time.monotonic() == 2
        assert it.credential.value == "token-1"
        assert await it.guarded() == "answer for token-1"

    virtual.run(main())
    assert it.issuer.asked == [0]


def test_a_waiter_who_is_cancelled_goes_at_once_and_is_missed_by_nobody() -> None:
    it = made(World(True), takes=2)

    async def main() -> str:
        first, second = asyncio.create_task(it.guarded()), asyncio.create_task(it.guarded())
        await asyncio.sleep(1)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert time.monotonic() == 1
        return await first

    assert virtual.run(main()) == "answer for token-1"
    assert len(it.issuer.asked) == 1


def test_a_refresh_that_hangs_can_be_cut_and_another_caller_takes_over() -> None:
    world = World(True)
    credential = Credential(world.operation(Hang, "token"))
    guarded = (Timeout(5) >> CredentialRefresh(credential))(lambda_value(credential))

    async def main() -> list[Any]:
        return await asyncio.gather(*(guarded() for _ in range(2)), later(), return_exceptions=True)

    async def later() -> Any:
        await asyncio.sleep(1)
        return await guarded()

    answers = virtual.run(main())
    assert [type(answer) for answer in answers[:2]] == [TimeoutExceeded] * 2
    assert answers[2] == "token"


def lambda_value(credential: Any) -> Any:
    async def value() -> Any:
        return credential.value

    return value


@pytest.mark.parametrize("shielded", [False, True])
def test_in_an_abandoned_thread_a_refresh_blocks_nobody(shielded: bool) -> None:
    world = World(False)
    fetch = world.operation("slow token", "quick token", takes=3)
    credential = Credential(fetch)
    policy = CredentialRefresh(credential, shielded=shielded)
    read = policy(lambda: credential.value)
    with virtual.clock():
        with pytest.raises(TimeoutExceeded):
            (Timeout(1) >> policy)(lambda: credential.value)()
        assert time.monotonic() == 1
        answer = read()
        assert time.monotonic() == (3 if shielded else 4)
    assert answer == ("slow token" if shielded else "quick token")
    assert len(fetch.log.calls) == 2 - shielded


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_no_exception_ends_a_refresh_and_the_next_caller_refreshes(
    world: World, error: type[BaseException]
) -> None:
    it = made(world, script=(error(),))
    with pytest.raises(error):
        in_turn(world, it.guarded)
    assert in_turn(world, it.guarded) == ["answer for token-2"]


def test_a_coroutine_that_is_closed_elsewhere_leaves_no_refresh_behind() -> None:
    it = made(World(True), takes=1)

    async def start() -> Any:
        call = it.guarded()
        call.send(None)
        return call

    virtual.run(start()).close()
    assert together(it, 2) == ["answer for token-2"] * 2


def test_a_refresh_that_needs_the_layer_itself_does_not_wait_for_itself(world: World) -> None:
    seen: list[str] = []

    def exchange() -> str:
        seen.append(credential.value)
        if len(seen) == 1:
            raise AuthenticationError("not even for a refresh")
        return "new"

    async def fetch() -> str:
        result: str = await guarded_exchange()
        return result

    def plain_fetch() -> str:
        result: str = guarded_exchange()
        return result

    credential: Any = Credential(fetch if world.asynchronous else plain_fetch, lifetime=10, margin=0)
    policy = CredentialRefresh(credential)
    guarded_exchange = policy(world.of(exchange))
    never, read = policy(world.of(lambda: "never")), policy(world.of(lambda: credential.value))
    _, refused, answer = in_turn(world, lambda: credential.keep("login"), 10, never, read)
    assert str(refused) == "not even for a refresh"
    assert answer == "new"
    assert seen == ["login", "login"]


def test_a_task_that_a_refresh_left_behind_is_a_caller_like_any_other() -> None:
    world = World(True)
    issuer = Issuer(world, takes=1)
    tasks: list[asyncio.Task[str]] = []

    async def later() -> str:
        await asyncio.sleep(5)
        credential.expire()
        return await guarded()  # type: ignore[no-any-return]

    async def fetch() -> Any:
        if not tasks:
            tasks.append(asyncio.create_task(later()))
        return await issuer.fetch()

    credential = Credential(fetch)
    guarded: Any = CredentialRefresh(credential)(api(world, issuer, credential))

    async def main() -> list[str]:
        return [await guarded(), await tasks[0]]

    assert virtual.run(main()) == ["answer for token-1", "answer for token-2"]


# --- what is a credential ---


@dataclass
class Lease:
    """A credential of a user's own; not hashable, and it shows its secret."""

    issuer: Any
    value: str = "s3cret-0"
    is_expired: bool = False

    def refresh(self) -> Any:
        if asyncio.iscoroutinefunction(self.issuer.fetch):
            return self._refresh()
        self.value = self.issuer.fetch()
        return None

    async def _refresh(self) -> None:
        self.value = await self.issuer.fetch()


def test_any_object_that_can_be_refreshed_will_do(world: World) -> None:
    issuer = Issuer(world)
    lease = Lease(issuer)
    policies = CredentialRefresh(lease), CredentialRefresh(lease)
    answers = in_turn(world, *(policy(api(world, issuer, lease)) for policy in policies))
    assert answers == ["answer for token-1"] * 2
    assert len(issuer.asked) == 1
    assert policies[0].live_state() is policies[1].live_state()


def test_a_copy_of_an_object_is_another_credential() -> None:
    lease = Lease(None)
    policy = CredentialRefresh(lease)
    for other in (copy.copy(lease), copy.deepcopy(lease), pickle.loads(pickle.dumps(lease))):
        assert CredentialRefresh(other).live_state() is not policy.live_state()
        assert CredentialRefresh(other).live_state() is CredentialRefresh(other).live_state()
    assert CredentialRefresh(lease).live_state() is policy.live_state()


def test_an_object_that_takes_no_attribute_works_too(world: World) -> None:
    class Fixed:
        __slots__ = ("asked",)
        is_expired = False

        def refresh(self) -> Any:
            self.asked += 1
            return world.of(lambda: None)()

    fixed = Fixed()
    fixed.asked = 0
    assert world.run(CredentialRefresh(fixed), world.operation(AuthenticationError, "fine")).value == "fine"
    assert fixed.asked == 1


def test_is_expired_may_be_kept_anywhere() -> None:
    class Proxy:
        def __getattr__(self, name: str) -> Any:
            if name == "is_expired":
                return False
            return getattr(Lease(Issuer(World(False))), name)

    proxy: Any = Proxy()
    assert CredentialRefresh(proxy).call(lambda: "fine") == "fine"


def test_an_async_refresh_under_a_plain_call_is_refused_by_name_and_spoils_nothing_for_others() -> None:
    async def fetch() -> str:
        return "token"

    credential = Credential(fetch)
    policy = CredentialRefresh(credential)
    outcome = policy.outcome(lambda: credential.value)
    assert str(outcome.error).startswith("fetch returned coroutine, an awaitable, under a plain call")
    assert kinds(outcome) == ["CredentialRefreshing"]  # nobody else is told that it failed: an async call may do it
    assert virtual.run(policy.call(lambda_value(credential))) == "token"


def test_a_plain_fetch_serves_async_and_plain_calls() -> None:
    credential = Credential(lambda: "token")
    policy = CredentialRefresh(credential)
    assert policy.call(lambda: credential.value) == "token"
    credential.expire()
    assert virtual.run(policy.call(lambda_value(credential))) == "token"


def test_a_credential_can_be_fetched_kept_and_forgotten_by_hand(world: World) -> None:
    it = made(world, lifetime=60)
    assert it.credential.is_expired
    with pytest.raises(LookupError, match="was not fetched yet"):
        _ = it.credential.value
    in_turn(world, it.credential.refresh, it.guarded)
    assert it.operation.calls == ["token-1"]
    it.credential.expire()
    assert it.credential.is_expired
    in_turn(world, it.guarded)
    assert it.operation.calls == ["token-1", "token-2"]
    it.credential.keep("from a file")
    assert it.credential.value == "from a file"
    assert len(it.issuer.asked) == 2


def test_who_is_refused_after_a_refresh_by_hand_makes_do_with_that() -> None:
    it = made(World(True))
    slow = it.policy(api(World(True), it.issuer, it.credential, takes=5))

    async def main() -> Any:
        it.credential.keep("stolen")
        call = asyncio.create_task(slow())
        await asyncio.sleep(1)
        await it.credential.refresh()
        return await call

    assert virtual.run(main()) == "answer for token-1"
    assert it.issuer.asked == [1]


@pytest.mark.parametrize("says", [lambda v: v, lambda v: [v], lambda v: float("nan")], ids=["text", "list", "nan"])
def test_a_lifetime_that_makes_no_sense_is_told_without_the_secret(world: World, says: Any) -> None:
    credential = Credential(world.of(lambda: "s3cret"), lifetime=says)
    error = world.run(CredentialRefresh(credential), world.operation("never")).error
    assert "lifetime must give seconds, it gave" in str(error)
    assert "s3cret" not in "".join(traceback.format_exception(error))
    assert credential.is_expired


# --- secrets ---


def test_a_secret_shows_nowhere(world: World) -> None:
    shown: list[str] = []
    issuer = Issuer(world)
    lease, credential = Lease(issuer, value="token-0"), Credential(issuer.fetch, lifetime=60)
    for one in (lease, credential):
        policy = CredentialRefresh(one)
        stack = Retry(2, backoff.Fixed(0), on=Exception) >> policy
        for script in ((AuthenticationError("401"), "fine"), (AuthenticationError("401"),), (ValueError("x"),)):
            outcome = world.run(stack, world.operation(*script))
            shown += [repr(outcome), repr(outcome.events)]
            if outcome.error is not None:
                shown += ["".join(traceback.format_exception(outcome.error)), repr(outcome.error.__notes__)]
        exploration = explore(stack)
        shown += [repr(policy), repr(stack), repr(policy.describe()), repr(stack.describe()), exploration.title]
        shown += [str(path) for path in exploration.paths]
        shown += [repr(exploration.graph().nodes), str(exploration.lint()), repr(exploration.report())]
        shown += [repr(policy.live_state()), repr(vars(policy.live_state()))]
    shown += [repr(credential), str(credential), f"{credential}"]
    assert len(issuer.asked) > 4
    assert [text for text in shown if "token-" in text] == []


def test_a_report_of_local_variables_does_not_list_the_secret(world: World) -> None:
    it = made(world)
    for script in ((AuthenticationError("401"),), (AuthenticationError("401"), ValueError("x"))):
        error: Any = world.run(it.policy, world.operation(*script)).error
        own = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if "failwell" in frame.f_code.co_filename]
        assert own
        for frame in own:
            assert "token-" not in repr(frame.f_locals)


def test_a_credential_and_its_layer_show_themselves_as_one_would_type_them() -> None:
    def fetch_token() -> str:
        return "s3cret"

    def expiry(token: str) -> float:
        return 60

    assert repr(Credential(fetch_token)) == "Credential(fetch_token)"
    assert repr(Credential(fetch_token, 3600, margin=60)) == "Credential(fetch_token, lifetime=3600, margin=60)"
    assert repr(Credential(fetch_token, lifetime=expiry)) == "Credential(fetch_token, lifetime=expiry)"
    assert repr(CredentialRefresh(Credential(fetch_token))) == "CredentialRefresh(Credential(fetch_token))"
    changed = CredentialRefresh(Lease(None), on=PermissionError, shielded=True)
    assert repr(changed) == "CredentialRefresh(Lease, on=PermissionError, shielded=True)"
    again = changed.replace(shielded=False)
    assert again.credential is changed.credential
    assert repr(again.describe()["credential"]) == "Lease"


@pytest.mark.parametrize("by", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_credential_is_neither_copied_nor_pickled(by: Any) -> None:
    with pytest.raises(TypeError, match="neither copied nor pickled"):
        by(Credential(str))


# --- exploring ---


def never_run(*args: Any) -> Any:
    raise AssertionError("executed while exploring")


def test_the_explorer_finds_every_way_and_calls_nothing() -> None:
    credential = Credential(never_run, lifetime=never_run)
    found = explore(CredentialRefresh(credential), outcomes=("ok", "fail"))
    told = {str(path) for path in found.paths}
    assert len(told) == len(found.paths) == 9
    assert (
        "credential expired? no -> operation fails -> never_run (refresh, it was refused) ok -> operation ok "
        "-> return after 0 s" in told
    )
    assert (
        "credential expired? yes -> never_run (refresh, it has expired) fails -> raise AuthenticationError after 0 s"
        in told
    )
    assert max(path.calls.get("operation", 0) for path in found.paths) == 2
    assert max(path.calls.get("never_run", 0) for path in found.paths) == 2
    assert credential.is_expired


def test_the_explorer_looks_into_a_fetch_that_is_protected_itself() -> None:
    fetch = Retry(2, backoff.Fixed(1))(never_run)
    found = explore(CredentialRefresh(Credential(fetch)), outcomes=("ok", "fail"))
    assert max(path.elapsed for path in found.paths) == 2
    assert any("refresh the credential (it was refused)" in str(path) for path in found.paths)


def test_the_explorer_knows_that_layers_around_one_credential_are_one() -> None:
    """What the inner one was refused with again, the outer one has a newer credential for already: it does not ask."""
    credential = Credential(never_run)
    twice = explore(CredentialRefresh(credential) >> CredentialRefresh(credential), outcomes=("ok", "fail"))
    apart = explore(CredentialRefresh(credential) >> CredentialRefresh(Credential(never_run)), outcomes=("ok", "fail"))
    good = (
        "credential expired? no -> credential expired? no -> operation fails -> never_run (refresh, it was refused) ok"
    )
    again = f"{good} -> operation fails -> credential expired? no"
    assert any(str(path).startswith(again) for path in twice.paths)
    assert not any(str(path).startswith(again) for path in apart.paths)


def test_the_explorer_does_not_ask_an_object_of_the_users() -> None:
    class Asked:
        @property
        def is_expired(self) -> bool:
            raise AssertionError("asked while exploring")

        def refresh(self) -> None:
            raise AssertionError("refreshed while exploring")

    assert len(explore(CredentialRefresh(Asked()), outcomes=("ok",)).paths) == 2


# --- bad arguments ---

UNCHECKED: Any = CredentialRefresh
UNCHECKED_CREDENTIAL: Any = Credential


class WithMethod:
    def is_expired(self) -> bool:
        return False

    def refresh(self) -> None: ...


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UNCHECKED("s3cret"), r"credential must have refresh\(\) and is_expired, got str"),
        (lambda: UNCHECKED(Credential), r"credential must have .*, got Credential"),
        (lambda: UNCHECKED(SimpleNamespace(refresh=str)), "credential must have .*, got SimpleNamespace"),
        (lambda: UNCHECKED(WithMethod()), "is_expired of WithMethod must be a property or an attribute"),
        (lambda: UNCHECKED(Lease(None), on=3), "on must be an exception type, .*, got 3"),
        (lambda: UNCHECKED(Lease(None), shielded=1), "shielded must be True or False, got 1"),
        (lambda: UNCHECKED_CREDENTIAL("s3cret"), "fetch must be a function that gets a new value, got str"),
        (lambda: UNCHECKED_CREDENTIAL(str, lifetime=0), "lifetime must be above 0 seconds, got 0"),
        (lambda: UNCHECKED_CREDENTIAL(str, lifetime="60"), "lifetime must be a number, got '60'"),
        (lambda: UNCHECKED_CREDENTIAL(str, lifetime=float("nan")), "lifetime must be above 0 seconds, got nan"),
        (lambda: UNCHECKED_CREDENTIAL(str, margin=-1), "margin must be a finite number .*, got -1"),
        (lambda: UNCHECKED_CREDENTIAL(str, margin=float("inf")), "margin must be a finite number .*, got inf"),
        (lambda: UNCHECKED_CREDENTIAL(str, margin=None), "margin must be a number, got None"),
    ],
)
def test_bad_arguments_are_refused_by_name_and_value(make: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message) as caught:
        make()
    assert "s3cret" not in str(caught.value)


# --- nothing is kept ---


def test_nothing_of_a_call_is_kept_when_it_is_over(world: World) -> None:
    class Own(AuthenticationError):
        pass

    class Down(Outage):
        pass

    kept: list[weakref.ref[Any]] = []

    def refuse(kind: Any = Own) -> Any:
        error = kind("no")
        kept.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    it = made(world)
    failing = CredentialRefresh(Credential(world.of(lambda: refuse(Down))))

    def plain() -> None:
        for policy in (it.policy, failing):
            with pytest.raises((Own, Down)):
                policy.call(refuse)

    async def on_loop() -> None:
        for policy in (it.policy, failing):
            with pytest.raises((Own, Down)):
                await policy.call(world.of(refuse))

    gc.collect()
    gc.disable()
    try:
        world.do(on_loop if world.asynchronous else plain)
        assert len(kept) == 3
        assert [one() for one in kept] == [None] * 3
    finally:
        gc.enable()


# --- for all schedules ---


@settings(max_examples=200, deadline=None)
@given(
    starts=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), min_size=1, max_size=12),
    revoked=st.lists(st.integers(0, 40), max_size=4),
    takes=st.integers(0, 6),
    lifetime=st.sampled_from([None, 4, 11]),
    cancelled=st.sets(st.integers(0, 11), max_size=3),
    shielded=st.booleans(),
    fails=st.lists(st.booleans(), max_size=3),
)
def test_no_refresh_is_needless_and_no_caller_is_left_behind(
    starts: list[tuple[int, int]],
    revoked: list[int],
    takes: int,
    lifetime: float | None,
    cancelled: set[int],
    shielded: bool,
    fails: list[bool],
) -> None:
    """A fetch begins only while there is no credential that is good, or none that was not refused."""
    world = World(True)
    refused: set[str] = set()

    class Watched(Issuer):
        def _begin(self) -> None:
            super()._begin()
            if not credential.is_expired:
                assert credential.value in refused, "refreshed although nobody was refused with this one"

        def check(self, token: str) -> str:
            try:
                return super().check(token)
            except AuthenticationError:
                refused.add(token)
                raise

    issuer = Watched(world, takes, tuple(Outage("down") if fail else None for fail in fails))
    credential = Credential(issuer.fetch, lifetime=lifetime, margin=0)
    policy = CredentialRefresh(credential, shielded=shielded)
    attempts: dict[int, int] = {}

    async def caller(place: int, start: int, lasts: int) -> str:
        operation = api(world, issuer, credential, takes=lasts)
        await asyncio.sleep(start)
        try:
            return await policy.call(operation)  # type: ignore[no-any-return]
        finally:
            attempts[place] = len(operation.calls)

    async def revoke(moment: int) -> None:
        await asyncio.sleep(moment + 0.5)
        issuer.accepts.clear()

    async def main() -> list[Any]:
        calls = [asyncio.create_task(caller(n, *times)) for n, times in enumerate(starts)]
        others = [asyncio.create_task(revoke(moment)) for moment in revoked]
        for place in sorted(cancelled):
            if place < len(calls):
                others += [asyncio.create_task(cancel(calls[place], starts[place][0] + 0.75))]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.gather(*others)
        return answers

    async def cancel(task: asyncio.Task[str], moment: float) -> None:
        await asyncio.sleep(moment)
        task.cancel()

    answers = virtual.run(main())
    assert policy.live_state().under_way == {}
    assert all(count <= 2 for count in attempts.values())
    for place, answer in enumerate(answers):
        if isinstance(answer, AuthenticationError):
            assert attempts[place] == 2
        elif isinstance(answer, asyncio.CancelledError):
            assert place in cancelled
        else:
            assert isinstance(answer, (str, Outage))


# --- threads ---


def in_threads(seconds: float) -> None:
    """Callers in many threads; tokens are revoked now and then, and each that is refused is refreshed once."""
    issuer = Issuer(World(False))
    credential: Credential[str] = Credential(issuer.fetch)
    policy = CredentialRefresh(credential)
    revoked = itertools.count()

    @policy
    def call() -> str:
        return issuer.check(credential.value)

    times_revoked = [0]

    def work(place: int, number: int) -> None:
        try:
            assert call().startswith("answer for token-")
        except AuthenticationError:
            pass  # revoked between its refresh and its second call
        if place == 0 and number % 50 == 49:
            issuer.accepts.clear()
            times_revoked[0] = next(revoked) + 1

    hammer(work, seconds=seconds)
    assert len(issuer.asked) <= times_revoked[0] + 1
    assert policy.live_state().under_way == {}


def test_threads_share_each_refresh() -> None:
    in_threads(0.3)


def test_threads_that_start_together_cause_one_refresh() -> None:
    asked: list[int] = []

    def fetch() -> str:
        asked.append(1)
        time.sleep(0.05)
        return "token"

    credential = Credential(fetch)
    guarded = CredentialRefresh(credential)(lambda: credential.value)
    together = threading.Barrier(16)
    answers: list[str] = []

    def run() -> None:
        together.wait(10)
        answers.append(guarded())

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == ["token"] * 16
    assert len(asked) == 1


def test_failed_refreshes_are_told(world: World) -> None:
    it = made(world, script=(Outage("down"),))
    outcome = world.run(it.policy, it.operation)
    [begun, failed] = outcome.events
    assert isinstance(begun, CredentialRefreshing)
    assert isinstance(failed, CredentialRefreshFailed)
    assert (begun.layer, failed.error) == ("CredentialRefresh", outcome.error)
