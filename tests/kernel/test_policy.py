from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock

import pytest

import failwell
from failwell import Cache, Fallback, Policy, Retry, Router, Stack, Timeout, backoff, errors, virtual
from failwell.policy import (
    Operation,
    Pattern,
    Protected,
    _Stopped,
    at_least,
    duration,
    flag,
    is_async,
    matching,
    not_negative,
    optional_callable,
    optional_text,
    protected,
    share,
)
from failwell.runtime import UnexpectedAwaitable, name_of
from tests.kernel.world import World

POLICIES = [Retry(backoff=backoff.Fixed(1)), Fallback(Fallback.value(1)), Timeout(5), Timeout(9) >> Retry()]


class Service:
    """Has functions of all kinds."""

    async def fetch(self, x: int) -> int:
        return x

    def read(self, x: int) -> int:
        return x

    @staticmethod
    async def static_fetch(x: int) -> int:
        return x

    @classmethod
    def class_read(cls, x: int) -> int:
        return x


class Called:
    """An object that is called."""

    def __call__(self, x: int) -> int:
        """Call it."""
        return x


class CalledAsync:
    async def __call__(self, x: int) -> int:
        return x


async def fetch(x: int, *, y: int = 2) -> int:
    """Fetch it."""
    return x


def read(x: int, *, y: int = 2) -> int:
    """Read it."""
    return x


def called(fn: Any) -> str:
    return f"{type(fn).__name__} {name_of(fn)}"


ASYNC: list[Any] = [
    fetch,
    functools.partial(fetch, y=3),
    functools.partial(functools.partial(fetch), y=3),
    Service().fetch,
    Service.static_fetch,
    CalledAsync(),
    functools.partial(CalledAsync()),
    AsyncMock(return_value=7),
    Retry()(fetch),
]
PLAIN: list[Any] = [
    read,
    functools.partial(read, y=3),
    Service().read,
    Service.class_read,
    Called(),
    abs,
    int,
    lambda x: x,
    Mock(return_value=7),
    MagicMock(return_value=7),
    Retry()(read),
]


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@pytest.mark.parametrize("fn", ASYNC, ids=called)
def test_what_is_async_stays_async(policy: Policy, fn: Any) -> None:
    guarded = policy(fn)
    assert is_async(fn)
    assert is_async(guarded)
    assert inspect.iscoroutinefunction(guarded)
    assert virtual.run(guarded(7)) == 7
    assert virtual.run(policy.call(fn, 7)) == 7


@pytest.mark.parametrize("policy", POLICIES, ids=repr)
@pytest.mark.parametrize("fn", PLAIN, ids=called)
def test_what_is_plain_stays_plain(policy: Policy, fn: Any) -> None:
    guarded = policy(fn)
    assert not is_async(fn)
    assert not inspect.iscoroutinefunction(guarded)
    assert guarded(7) == 7
    assert policy.call(fn, 7) == 7


@pytest.mark.parametrize("driven", [True, False])
@pytest.mark.parametrize("fn", [read, fetch])
def test_name_docstring_and_signature_are_kept(fn: Any, driven: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if driven:
        monkeypatch.setattr("failwell.policy.derive", lambda *_, **__: None)
    fn.noted = "by the user"
    for policy in POLICIES:
        guarded: Any = policy(fn)
        assert (guarded.__name__, guarded.__qualname__, guarded.__doc__) == (fn.__name__, fn.__qualname__, fn.__doc__)
        assert guarded.__module__ == __name__
        assert inspect.signature(guarded) == inspect.signature(fn)
        assert guarded.__wrapped__ is fn
        assert guarded.noted == "by the user"


def test_objects_and_partials_get_a_name_and_keep_what_is_theirs() -> None:
    called = Called()
    called.counter = 1  # type: ignore[attr-defined]
    guarded: Any = Retry()(called)
    assert (guarded.__name__, guarded.__doc__) == ("Called", "An object that is called.")
    assert not hasattr(guarded, "counter")
    assert list(inspect.signature(guarded).parameters) == ["x"]
    part: Any = Retry()(functools.partial(read, y=3))
    assert (part.__name__, part.__doc__) == ("read", "Read it.")
    assert Retry()(Mock()).__name__ == "Mock"


def test_methods_of_all_kinds_can_be_decorated() -> None:
    class Guarded:
        @Retry()
        def read(self, x: int) -> Any:
            return self, x

        @Retry()
        async def fetch(self, x: int) -> Any:
            return self, x

        @staticmethod
        @Retry()
        def inner_static(x: int) -> int:
            return x

        @Retry()
        @staticmethod
        def outer_static(x: int) -> int:
            return x

        @Retry()  # type: ignore[arg-type]
        @classmethod
        def outer_class(cls, x: int) -> Any:
            return cls, x

        @classmethod
        @Retry()
        def inner_class(cls, x: int) -> Any:
            return cls, x

    one = Guarded()
    assert one.read(1) == (one, 1)
    assert asyncio.run(one.fetch(1)) == (one, 1)
    assert (one.inner_static(1), one.outer_static(1), Guarded.outer_static(2)) == (1, 1, 2)
    assert one.outer_class(1) == one.inner_class(1) == (Guarded, 1)  # type: ignore[operator]


def generates() -> Iterator[int]:
    yield 1


async def generates_async() -> Any:
    yield 1


@types.coroutine
def old_style() -> Any:
    yield


class Generates:
    def __call__(self) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize(
    "fn",
    [generates, generates_async, functools.partial(generates), old_style, Generates(), functools.partial(Generates())],
)
def test_generator_functions_are_refused(fn: Any) -> None:
    with pytest.raises(TypeError, match="is a generator function; a policy protects functions that return once"):
        Retry()(fn)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="a policy protects a callable, got 3"):
        Retry()(3)  # type: ignore[arg-type]


# --- awaitables under plain calls ---


class Waits:
    def __await__(self) -> Any:
        yield


class Pool(Waits):
    """Awaitable, with an async close, as connection pools are."""

    async def close(self) -> None: ...


@pytest.mark.parametrize("driven", [True, False])
@pytest.mark.parametrize("policy", [*POLICIES, Retry(on=Exception), Retry(on=lambda error: True)], ids=repr)
def test_a_plain_call_that_returns_an_awaitable_is_refused_by_name_once(
    policy: Policy, driven: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if driven:
        monkeypatch.setattr("failwell.policy.derive", lambda *_, **__: None)
    made: list[Any] = []

    def looks_plain() -> Any:
        made.append(fetch(1))
        return made[-1]

    with pytest.raises(TypeError, match="looks_plain returned coroutine, an awaitable, under a plain call"):
        policy(looks_plain)()
    assert len(made) == 1, "no pattern takes this for a failure of the operation"
    assert inspect.getcoroutinestate(made[0]) == inspect.CORO_CLOSED


def test_an_awaitable_of_any_kind_is_refused_and_ended_where_it_can_be() -> None:
    loop = asyncio.new_event_loop()
    future = loop.create_future()
    for awaitable in (future, Waits(), Pool()):
        with pytest.raises(TypeError, match="an awaitable, under a plain call"):
            Retry().call(lambda awaitable=awaitable: awaitable)
    assert future.cancelled()
    loop.close()


# --- parameters ---


def test_replace_gives_a_changed_copy_that_shares_the_state() -> None:
    class Counts(Policy):
        def __init__(self, step: int = 1, unit: str = "") -> None:
            self.step, self.unit = step, unit

        def situations(self) -> Mapping[str, Callable[[], Any]]:
            return {"new": lambda: [0]}

        async def run(self, call: Any, rt: Any) -> Any:
            rt.state[0] += self.step
            return await call(), rt.state[0]

    first = Counts()
    second = first.replace(step=10)
    assert (second.step, second.unit) == (10, "")
    assert first.call(lambda: "a") == ("a", 1)
    assert second.call(lambda: "a") == ("a", 11)
    assert Counts().call(lambda: "a") == ("a", 1)
    with pytest.raises(TypeError, match="Counts has no parameter 'steps'; it has step, unit"):
        first.replace(steps=2)
    assert repr(second) == "Counts(10)"


def test_the_live_state_is_made_once_however_many_threads_ask_first(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = Retry()

    class Taken:
        """The lock, when another thread was quicker."""

        def __enter__(self) -> None:
            policy._live = "made by the other"

        def __exit__(self, *ignored: object) -> None: ...

    monkeypatch.setattr(policy, "situations", lambda: {"new": lambda: "made by this one"})
    monkeypatch.setattr(Pattern, "_live_lock", Taken())
    assert policy.live_state() == "made by the other"


def test_every_parameter_of_a_public_name_can_be_given_by_name() -> None:
    public = [getattr(module, name) for module in (failwell, backoff, errors, virtual) for name in module.__all__]
    for one in filter(inspect.isroutine, [*public, *(kind.__init__ for kind in public if inspect.isclass(kind))]):
        if isinstance(one, types.FunctionType):
            kinds = {parameter.kind for name, parameter in inspect.signature(one).parameters.items() if name != "self"}
            if inspect.Parameter.VAR_KEYWORD in kinds and inspect.Parameter.VAR_POSITIONAL in kinds:
                # It calls a function with whatever names that has, the names of our own parameters among them.
                assert inspect.Parameter.POSITIONAL_OR_KEYWORD not in kinds, one
            else:
                assert inspect.Parameter.POSITIONAL_ONLY not in kinds, one


def test_a_repr_leaves_out_what_equals_its_default() -> None:
    zero = float("0")
    assert repr(Cache(1, stale_if_error=zero, max_size=int("1024"))) == "Cache(1)"
    assert repr(Cache(1, stale_if_error=2, max_size=1023)) == "Cache(1, stale_if_error=2, max_size=1023)"


def test_a_repr_is_what_one_would_type() -> None:
    class Given(Policy):
        def __init__(self, *, first: object = None) -> None:
            self.first = first

    assert repr(Fallback(max, on=(KeyError, OSError))) == "Fallback(max, on=(KeyError, OSError))"
    assert (
        repr(Given(first={"a": max, "b": [min, (Timeout(3),)]})) == "Given(first={'a': max, 'b': [min, (Timeout(3),)]})"
    )


def test_replace_knows_positional_parameters() -> None:
    class Odd(Policy):
        def __init__(self, first: int, /, second: int, *more: int, named: int = 0, **rest: int) -> None:
            self.first, self.second, self.more, self.named = first, second, more, named

    changed = Odd(1, 2, 3, 4, named=5).replace(second=9)
    assert changed.describe() == {"first": 1, "second": 9, "more": (3, 4), "named": 5}
    assert Odd(1, 2).replace(named=7).describe() == {"first": 1, "second": 2, "more": (), "named": 7}


def test_a_policy_without_run_says_what_is_missing(world: World) -> None:
    class Empty(Policy):
        pass

    outcome = world.run(Empty(), world.operation(1))
    assert isinstance(outcome.error, NotImplementedError)
    assert "Empty must define `async def run(self, call, rt)`" in str(outcome.error)


def test_the_call_knows_its_arguments_and_name(world: World) -> None:
    class Looks(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            kept = call
            return await kept(), call.args, call.kwargs, call.name, kept.args, kept.kwargs, kept.name

    expected = ("answer", (1,), {"k": 2}, "fetch", (1,), {"k": 2}, "fetch")
    for policy in (Looks(), Timeout(5) >> Looks(), Looks() >> Timeout(5)):
        assert world.run(policy, world.operation("answer", name="fetch"), 1, k=2).value == expected


def test_what_a_function_is_protected_by_can_be_asked() -> None:
    stack = Timeout(5) >> Retry()
    guarded = stack(read)
    found = protected(functools.partial(guarded, 1))
    assert isinstance(found, Protected)
    assert (found.layers, found.fn, found.name) == (stack.layers, read, "read")
    assert protected(read) is None
    assert protected(Mock()) is None


@pytest.mark.parametrize("on", [OSError, (OSError,), [OSError], {OSError}, frozenset({OSError})])
def test_on_is_normalised_to_a_predicate(on: Any) -> None:
    matches = matching("on", on)
    assert matches(ConnectionError())
    assert not matches(ValueError())
    assert not matching("on", ())(ValueError())


def test_on_needs_a_second_look_at_two_errors() -> None:
    carried = _Stopped(StopIteration(1))
    for on, matches in ((StopIteration, True), (Exception, True), (OSError, False)):
        assert bool(matching("on", on)(carried)) is matches, on
    refused = UnexpectedAwaitable("fetch returned coroutine")
    for on in (TypeError, Exception, UnexpectedAwaitable, (OSError, TypeError), lambda error: True):
        assert not matching("on", on)(refused), on


# --- operations ---


class Doubles(Operation):
    def __init__(self, asynchronous: bool) -> None:
        self.asynchronous = asynchronous

    @property
    def is_async(self) -> bool:
        return self.asynchronous

    def __call__(self, x: int) -> Any:
        return self._bound(x)

    async def run(self, call: Any, rt: Any) -> Any:
        return call.args[0] * 2


def test_functions_get_the_very_objects_that_the_caller_gave(world: World) -> None:
    itself: dict[str, Any] = {}
    itself["me"] = itself
    given = (itself, [itself], (itself,))

    def note(*args: Any, **kwargs: Any) -> str:
        itself.setdefault("seen", []).append([*args, *kwargs.values()])
        return "a"

    note = world.of(note)
    router = Router({"a": note}, note)
    operation = world.operation(StopIteration("down"))
    world.do(lambda: router(*given, k=itself))
    world.do(lambda: (Fallback(note) >> operation)(*given, k=itself))
    assert len(itself["seen"]) == 3
    assert all(one is same for seen in itself["seen"] for one, same in zip(seen, [*given, itself], strict=True))


class CallsInner(Doubles):
    async def run(self, call: Any, rt: Any) -> Any:
        return await call()


def test_an_operation_is_called_and_stacks_innermost(world: World) -> None:
    doubles = Doubles(world.asynchronous)
    assert is_async(doubles) is world.asynchronous
    assert is_async(functools.partial(doubles, 1)) is world.asynchronous
    assert world.do(lambda: doubles(4)) == 8
    guarded = Timeout(5) >> Retry() >> doubles
    assert guarded.__name__ == "doubles"
    assert world.do(lambda: guarded(4)) == 8
    broken = CallsInner(world.asynchronous)
    with pytest.raises(TypeError, match="an operation has no inner layer to call"):
        world.do(lambda: broken(4))
    with pytest.raises(NotImplementedError):
        is_async(Operation())
    assert isinstance(doubles, Pattern)
    assert not isinstance(doubles, (Policy, Stack))


def test_a_parameter_that_is_not_kept_is_named() -> None:
    class Forgetful(Policy):
        def __init__(self, limit: int) -> None: ...

    with pytest.raises(TypeError, match="Forgetful must keep its parameter 'limit'"):
        Forgetful(3).describe()


def test_a_call_that_is_closed_from_another_context_is_closed_quietly() -> None:
    class Suspends:
        def __await__(self) -> Any:
            yield self

    async def operation() -> None:
        await Suspends()

    for call in (Retry(2, retry_result=lambda result: False)(operation)(), Retry().outcome(operation)):
        contextvars.copy_context().run(call.send, None)
        call.close()


# --- what parameters may be ---


@pytest.mark.parametrize(
    ("check", "good", "bad", "error", "message"),
    [
        (functools.partial(at_least, 2), [2, 3], 1, ValueError, "calls must be at least 2, got 1"),
        (functools.partial(at_least, 0), [0], -1, ValueError, "calls must be at least 0, got -1"),
        (functools.partial(at_least, 1), [1], 1.5, TypeError, "calls must be a whole number, got 1.5"),
        (functools.partial(at_least, 1), [1], True, TypeError, "calls must be a whole number, got True"),
        (
            not_negative,
            [0, 0.5, float("inf")],
            -0.1,
            ValueError,
            "calls must be a number of seconds that is not negative, got -0.1",
        ),
        (
            not_negative,
            [0],
            float("nan"),
            ValueError,
            "calls must be a number of seconds that is not negative, got nan",
        ),
        (not_negative, [0], None, TypeError, "calls must be a number, got None"),
        (duration, [1, 0.5], 0, ValueError, "calls must be a finite number of seconds above 0, got 0"),
        (
            duration,
            [1],
            float("inf"),
            ValueError,
            "calls must be a finite number of seconds above 0, got inf",
        ),
        (duration, [1], float("nan"), ValueError, "calls must be a finite number of seconds above 0, got nan"),
        (duration, [1], None, TypeError, "calls must be a number, got None"),
        (share, [1, 0.5], 0, ValueError, "calls must be a share above 0 and up to 1, got 0"),
        (share, [1], 1.1, ValueError, "calls must be a share above 0 and up to 1, got 1.1"),
        (share, [1], True, TypeError, "calls must be a number, got True"),
        (flag, [True, False], 1, TypeError, "calls must be True or False, got 1"),
        (flag, [True], None, TypeError, "calls must be True or False, got None"),
        (optional_text, ["", "a", None], b"a", TypeError, "calls must be a text, got b'a'"),
        (optional_callable, [print, None], "print", TypeError, "calls must be callable, got 'print'"),
    ],
)
def test_a_parameter_that_is_refused_is_named_with_its_value(
    check: Callable[..., None], good: list[Any], bad: Any, error: type[Exception], message: str
) -> None:
    for one in good:
        check(calls=one)
        check(first=one, calls=one)
    with pytest.raises(error) as refused:
        check(first=good[0], calls=bad)
    assert str(refused.value) == message
