from __future__ import annotations

import functools
import http.server
import inspect
import threading
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest

from failwell import Fallback, Retry, Timeout, backoff, errors, explore
from failwell.events import FellBack
from failwell.runtime import name_of
from tests.kernel.world import World, kinds

ONE = backoff.Fixed(1.0)


def test_the_real_answer_is_returned_and_no_alternative_is_asked(world: World) -> None:
    alternative = world.operation("poor")
    outcome = world.run(Fallback(alternative), world.operation("real"))
    assert (outcome.value, outcome.degraded, outcome.events) == ("real", False, ())
    assert alternative.log.calls == []


def test_an_alternative_gets_the_same_arguments_and_marks_the_answer(world: World) -> None:
    alternative = world.operation("poor", name="backup")
    error = ConnectionError("no")
    outcome = world.run(Fallback(alternative), world.operation(error), 1, key=2)
    assert (outcome.value, outcome.degraded) == ("poor", True)
    assert alternative.log.calls == [((1,), {"key": 2})]
    [event] = outcome.events
    assert isinstance(event, FellBack)
    assert (event.alternative, event.order, event.error) == ("backup", 1, error)


def test_alternatives_are_asked_in_order_until_one_answers(world: World) -> None:
    first, second, third = world.operation(KeyError("a")), world.operation("b"), world.operation("c")
    outcome = world.run(Fallback(first, second, third), world.operation(ConnectionError("no")))
    assert outcome.unwrap() == "b"
    assert (len(first.log.calls), len(second.log.calls), len(third.log.calls)) == (1, 1, 0)
    assert [(e.order, type(e.error)) for e in outcome.events if isinstance(e, FellBack)] == [
        (1, ConnectionError),
        (2, KeyError),
    ]


def test_an_alternative_that_asks_for_the_error_gets_the_one_before_it(world: World) -> None:
    def with_error(number: int, error: Exception) -> str:
        return f"{number} after {error}"

    def by_name(number: int, *, error: Exception) -> str:
        return with_error(number, error)

    def anything(*args: Any, error: Exception, **kwargs: Any) -> str:
        return with_error(args[0], error)

    def alone(error: Exception) -> str:
        return f"after {error}"

    def alone_by_name(*, error: Exception) -> str:
        return f"after {error}"

    def alone_by_place(error: Exception, /) -> str:
        return f"after {error}"

    broken = world.operation(OSError("second"))
    for alternative in (with_error, by_name, anything):
        assert world.run(Fallback(world.of(alternative)), world.operation(OSError("first")), 7).value == "7 after first"
        outcome = world.run(Fallback(broken, world.of(alternative)), world.operation(OSError("first")), 7)
        assert outcome.value == "7 after second"
    for alternative in (alone, alone_by_name, alone_by_place):
        assert world.run(Fallback(world.of(alternative)), world.operation(OSError("first")), 7).value == "after first"


def test_an_argument_of_the_callers_own_named_error_is_passed_on(world: World) -> None:
    def alternative(x: int, error: str) -> str:
        return error

    assert world.run(Fallback(world.of(alternative)), world.operation(OSError), 1, error="mine").value == "mine"


def test_a_built_in_function_without_a_signature_is_an_alternative(world: World) -> None:
    assert world.run(Fallback(dict), world.operation(OSError), [("a", 1)]).value == {"a": 1}
    assert world.run(Fallback(min), world.operation(OSError), 1, 2).value == 1


@pytest.mark.parametrize("on", [OSError, (KeyError, OSError), lambda error: isinstance(error, OSError)])
def test_only_errors_that_on_matches_are_answered(world: World, on: Any) -> None:
    policy = Fallback(Fallback.value(1), on=on)
    assert world.run(policy, world.operation(OSError)).value == 1
    outcome = world.run(policy, world.operation(ValueError("own")))
    assert isinstance(outcome.error, ValueError)
    assert (outcome.events, outcome.degraded) == ((), False)
    second = world.operation(1)
    outcome = world.run(Fallback(world.operation(ValueError), second, on=on), world.operation(OSError))
    assert isinstance(outcome.error, ValueError)
    assert second.log.calls == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_only_exceptions_are_answered_whatever_on_says(world: World, error: type[BaseException]) -> None:
    with pytest.raises(error):
        world.run(Fallback(Fallback.value(1), on=BaseException), world.operation(error))
    with pytest.raises(error):
        world.run(Fallback(world.operation(error), Fallback.value(1), on=BaseException), world.operation(OSError))


# --- when all fail ---


def chain(error: BaseException | None) -> list[str]:
    found: list[str] = []
    while error is not None and len(found) < 20:
        found.append(str(error))
        error = error.__cause__ or error.__context__
    return found


def test_the_last_error_is_raised_with_the_earlier_ones_as_its_causes(world: World) -> None:
    first, second, third = OSError("first"), OSError("second"), OSError("third")
    policy = Fallback(world.operation(second), world.operation(third))
    outcome = world.run(policy, world.operation(first))
    assert outcome.error is third
    assert third.__cause__ is second
    assert second.__cause__ is first
    assert first.__cause__ is None
    assert outcome.degraded is False


def test_a_cause_that_an_alternative_gave_itself_stays_and_the_earlier_errors_follow_it(world: World) -> None:
    def explicit() -> None:
        raise OSError("second") from KeyError("inner")

    def implicit() -> None:
        try:
            raise KeyError("inner")
        except KeyError:
            raise OSError("second")  # noqa: B904

    def from_none() -> None:
        try:
            raise KeyError("inner")
        except KeyError:
            raise OSError("second") from None

    def from_error(error: Exception) -> None:
        raise OSError("second") from error

    last = OSError("third")

    def from_first() -> None:
        raise OSError("second") from firsts[-1]

    def from_first_deep() -> None:
        inner = KeyError("inner")
        inner.__cause__ = firsts[-1]
        raise OSError("second") from inner

    firsts = [OSError("first")]
    for broken in (from_first, from_first_deep):
        firsts.append(OSError("first"))
        outcome = world.run(Fallback(world.operation(OSError("zeroth")), world.of(broken)), world.operation(firsts[-1]))
        assert chain(outcome.error)[-2:] == ["zeroth", "first"]
    for broken, expected in (
        (explicit, ["second", "'inner'", "first"]),
        (implicit, ["second", "'inner'", "first"]),
        (from_none, ["second", "first"]),
        (from_error, ["second", "first"]),
    ):
        outcome = world.run(Fallback(world.of(broken)), world.operation(OSError("first")))
        assert chain(outcome.error) == expected
        last = OSError("third")
        outcome = world.run(Fallback(world.of(broken), world.operation(last)), world.operation(OSError("first")))
        assert chain(outcome.error) == ["third", *expected]
        outcome = world.run(
            Fallback(world.operation(OSError("zeroth")), world.of(broken)), world.operation(OSError("first"))
        )
        assert "zeroth" in chain(outcome.error) and "first" in chain(outcome.error)


def test_one_error_object_raised_by_all_is_raised_without_a_cycle(world: World) -> None:
    one, other = OSError("one"), OSError("other")
    policy = Fallback(world.operation(one), world.operation(other), world.operation(one))
    for _ in range(3):
        assert world.run(policy, world.operation(one)).error is one
    assert len(chain(one)) < 20


# --- alternatives of all kinds ---


def test_an_alternative_may_itself_be_protected(world: World) -> None:
    backup = world.operation(ConnectionError, ConnectionError, "poor")
    outcome = world.run(Fallback(Retry(backoff=ONE)(backup)), world.operation(OSError))
    assert (outcome.value, outcome.elapsed) == ("poor", 2)
    hopeless = Retry(2, backoff=ONE)(world.operation(ConnectionError("no")))
    outcome = world.run(Fallback(hopeless, Fallback.value("last")), world.operation(OSError))
    assert outcome.unwrap() == "last"


def test_an_alternative_whose_signature_cannot_be_read_is_called_as_the_operation_was(world: World) -> None:
    for nonsense in (3, inspect.Signature.empty):
        alternative = world.operation("poor")
        alternative.__signature__ = nonsense
        assert world.run(Fallback(alternative), world.operation(OSError), 1, key=2).value == "poor"
        assert alternative.log.calls == [((1,), {"key": 2})]


def test_a_value_never_fails_and_its_name_is_short() -> None:
    paths = map(str, explore(Fallback(Fallback.value(1)), outcomes=("ok", "fail")).paths)
    assert ["degraded" in path for path in paths] == [False, True]
    assert len(name_of(Fallback.value("x" * 100))) == 40


def test_an_async_call_accepts_plain_alternatives() -> None:
    world = World(asynchronous=True)
    assert world.run(Fallback(lambda: "plain"), world.operation(OSError)).value == "plain"


@pytest.mark.parametrize("driven", [True, False])
def test_a_plain_call_refuses_an_async_alternative_by_name(driven: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if driven:
        monkeypatch.setattr("failwell.policy.derive", lambda *_, **__: None)
    world = World(asynchronous=False)
    backup = World(asynchronous=True).operation("poor", name="backup")
    outcome = world.run(Fallback(backup, Fallback.value("hidden")), world.operation(OSError))
    assert isinstance(outcome.error, TypeError)
    assert "backup returned coroutine, an awaitable, under a plain call" in str(outcome.error)


def test_a_value_answers_any_arguments_with_the_same_object(world: World) -> None:
    value: list[int] = []
    outcome = world.run(Fallback(Fallback.value(value)), world.operation(OSError), 1, error=2)
    assert outcome.value is value
    assert [e.alternative for e in outcome.events if isinstance(e, FellBack)] == ["value []"]
    assert repr(Fallback(Fallback.value([]), max, on=OSError)) == "Fallback(Fallback.value([]), max, on=OSError)"


def test_bad_arguments_are_refused_by_name_and_value() -> None:
    with pytest.raises(TypeError, match="Fallback needs an alternative"):
        Fallback()
    with pytest.raises(TypeError, match=r"an alternative must be callable, got \[\]: Fallback.value"):
        Fallback([])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="on must be an exception type"):
        Fallback(max, on=3)  # type: ignore[arg-type]


def test_replace_keeps_the_alternatives() -> None:
    changed = Fallback(max, min).replace(on=OSError)
    assert (changed.alternatives, changed.on) == ((max, min), OSError)
    assert Fallback(max).replace(alternatives=(min,)).alternatives == (min,)


# --- another service ---


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status = 503 if "broken" in self.path else 200
        body, kind = (b'{"path": "%s"}' % self.path.encode(), "application/json; charset=utf-8")
        if "text" in self.path:
            body, kind = self.path.encode(), "text/plain"
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def really(world: World, policy: Any, operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Run in real time: there are real sockets."""
    import asyncio

    outcome = policy.outcome(operation, *args, **kwargs)
    return asyncio.run(outcome) if world.asynchronous else outcome


def test_another_service_is_asked_by_url(world: World, server: str) -> None:
    backup = Fallback.url(server + "/users/{0}/{part}?all={1:03d}")
    outcome = really(world, Fallback(backup), world.operation(OSError), "a/b?c d", 7, part="é")
    assert outcome.unwrap() == {"path": "/users/a%2Fb%3Fc%20d/%C3%A9?all=007"}
    assert outcome.degraded
    assert kinds(outcome) == ["FellBack"]
    assert really(world, Fallback(Fallback.url(server + "/text")), world.operation(OSError)).value == "/text"
    assert repr(Fallback(backup)).startswith("Fallback(Fallback.url('http://127.0.0.1")


def test_a_service_that_fails_is_a_failing_alternative(world: World, server: str) -> None:
    policy = Fallback(Fallback.url(server + "/broken"), Fallback.value("last"))
    assert really(world, policy, world.operation(OSError)).value == "last"
    outcome = really(world, Fallback(Fallback.url(server + "/broken")), world.operation(OSError("first")))
    assert errors.classify(outcome.error) == "transient"
    assert isinstance(outcome.error.__cause__, OSError)


def test_without_httpx_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "httpx", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'failwell\[http\]'"):
        Fallback.url("http://127.0.0.1")


def test_a_timeout_outside_covers_the_alternatives(world: World) -> None:
    from tests.kernel.world import Hang

    stack = Timeout(3) >> Fallback(world.operation(Hang))
    assert isinstance(world.run(stack, world.operation(OSError)).error, errors.TimeoutExceeded)


def test_an_alternative_that_has_every_attribute_is_itself_called(world: World) -> None:
    backup = Mock(return_value="from backup")
    assert world.do(Fallback(backup)(world.operation(ConnectionError))) == "from backup"
    assert backup.call_count == 1
    assert "raise ConnectionError" in {end.title for end in explore(Fallback(backup)).graph().nodes}


def test_a_wrapper_around_a_ready_made_alternative_is_not_passed_over() -> None:
    seen: list[str] = []
    value = Fallback.value("poor")

    @functools.wraps(value)
    def counted(*args: Any) -> Any:
        seen.append("counted")
        return value(*args)

    assert Fallback(counted).call(World(False).operation(ConnectionError)) == "poor"
    assert seen == ["counted"]
    assert len(explore(Fallback(counted), outcomes=("ok", "fail"))) == 3
