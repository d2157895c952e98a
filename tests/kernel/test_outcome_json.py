from __future__ import annotations

import asyncio
import json
import math
import re
import time
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import Fallback, Outcome, Retry, Timeout, backoff, errors, events, virtual
from failwell.events import Event, Rejected, Waiting
from failwell.recorded import RecordedError, Shown, redacted
from tests.kernel.world import Hang, World

KINDS: list[Any] = [
    kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event) and kind is not Event
]


class OddError(ValueError):
    def __init__(self, code: int, where: str) -> None:
        super().__init__(code, where)
        self.code = code

    def __str__(self) -> str:
        return f"odd {self.code}"


class Refreshed(Event):
    role = "recovery"
    SHARED: ClassVar = 1
    ticket: str
    tries: int


class Renewed(Event):
    role = "recovery"
    token: str
    details: object


# --- any outcome comes back ------------------------------------------------------------------------

names = st.text(max_size=8)
numbers = st.floats(allow_nan=False) | st.integers()
plain: st.SearchStrategy[Any] = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
error_objects: st.SearchStrategy[Any] = st.one_of(
    st.builds(
        lambda kind, said: kind(said),
        st.sampled_from([ValueError, KeyError, ConnectionError, OSError, asyncio.CancelledError, StopIteration]),
        st.text(),
    ),
    st.builds(OddError, st.integers(), names),
    st.builds(errors.TimeoutExceeded, st.floats(0.001, 1e6), names),
    st.builds(errors.CircuitOpenError, names, st.none() | st.floats(0, 1e6)),
    st.builds(errors.SagaError, st.builds(ValueError, names), st.lists(names, max_size=2), step=names),
    st.just(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")),
    st.just(ExceptionGroup("several", [ValueError("one")])),
)
contexts = st.none() | st.builds(
    errors.ErrorContext, st.sampled_from(list(errors.Transport)), names, names, st.none() | names
)
OF_A_FIELD: dict[str, st.SearchStrategy[Any]] = {
    "str": names,
    "int": st.integers(),
    "int | None": st.none() | st.integers(),
    "float": numbers,
    "bool": st.booleans(),
    "float | None": st.none() | numbers,
    "tuple[float, float]": st.tuples(numbers, numbers),
    "BaseException": error_objects,
    "BaseException | None": st.none() | error_objects,
    "ErrorContext | None": contexts,
}


def some_event(kind: Any) -> st.SearchStrategy[Event]:
    said = {
        name: text for base in reversed(kind.__mro__) for name, text in vars(base).get("__annotations__", {}).items()
    }
    return st.tuples(*(OF_A_FIELD[said[name]] for name in kind.fields)).map(lambda values: kind(*values))


happened = st.lists(st.sampled_from([*KINDS, Refreshed]).flatmap(some_event), max_size=4).map(tuple)
outcomes: st.SearchStrategy[Outcome[Any]] = st.one_of(
    st.builds(Outcome, json_values, st.none(), happened, numbers, st.booleans(), numbers),
    st.builds(
        Outcome,
        st.none(),
        error_objects.filter(lambda error: isinstance(error, Exception)),
        happened,
        numbers,
        st.just(False),
        numbers,
    ),
)


def alike(one: Any, other: Any) -> bool:
    """Whether two fields of events hold the same: errors by type and message."""
    if isinstance(one, BaseException):
        return type(one).__name__ == type(other).__name__ and redacted(str(one)) == str(other)
    if isinstance(one, str):
        return redacted(one) == other
    if isinstance(one, errors.ErrorContext):
        return one.transport is other.transport and redacted(one.target) == other.target
    return bool(one == other) and type(one) is type(other)


@given(outcomes)
def test_every_outcome_comes_back(outcome: Outcome[Any]) -> None:
    again = Outcome.from_json(outcome.to_json())
    assert again.value == outcome.value
    assert (again.error is None) == (outcome.error is None)
    assert again.error is None or alike(outcome.error, again.error)
    assert (again.started, again.elapsed, again.degraded) == (outcome.started, outcome.elapsed, outcome.degraded)
    assert [type(event) for event in again.events] == [type(event) for event in outcome.events]
    for before, after in zip(outcome.events, again.events, strict=True):
        assert all(alike(mine, yours) for mine, yours in zip(before, after, strict=True))
    assert again.as_dict() == outcome.as_dict()


@given(st.recursive(plain | st.binary(), lambda inner: st.lists(inner) | st.tuples(inner) | st.sets(st.integers())))
def test_any_value_becomes_json(value: Any) -> None:
    text = Outcome(value, None).to_json(indent=2)
    json.loads(text, parse_constant=pytest.fail)
    again = Outcome.from_json(text)
    assert again.as_dict() == Outcome(value, None).as_dict()


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError


def test_a_value_that_json_cannot_hold_is_shown() -> None:
    deep: list[Any] = []
    for _ in range(200):
        deep = [deep]
    for value, text in [({1, 2}, "{1, 2}"), (math.inf, "inf"), ({1: 2}, "{1: 2}"), (Broken(), "<Broken>")]:
        again = Outcome.from_json(Outcome(value, None).to_json())
        assert again.value == Shown(text)
        assert repr(again.value) == text
    shown = Outcome.from_json(Outcome(deep, None).to_json()).value
    assert isinstance(shown, Shown)
    assert shown.text.startswith("[[[")
    assert Outcome.from_json(Outcome(10**9999, None).to_json()).value == Shown("<int>")
    assert Outcome.from_json(Outcome((1, (2,)), None).to_json()).value == [1, [2]]
    assert len({Shown("a"), Shown("a"), Shown("b")}) == 2


# --- errors ----------------------------------------------------------------------------------------


def recorded(error: Any) -> Any:
    return Outcome.from_json(Outcome(None, error).to_json()).error


def test_a_built_in_error_comes_back_as_itself() -> None:
    again = recorded(ConnectionResetError("reset by peer"))
    assert type(again) is ConnectionResetError
    assert str(again) == "reset by peer"
    assert str(recorded(FileNotFoundError(2, "No such file"))) == "[Errno 2] No such file"
    key = recorded(KeyError("symbol"))
    assert isinstance(key, KeyError)
    assert (type(key).__name__, str(key), repr(key)) == ("KeyError", "'symbol'", """KeyError("'symbol'")""")


def test_other_errors_come_back_as_stand_ins_of_the_same_name() -> None:
    again = recorded(OddError(7, "here"))
    assert isinstance(again, OddError)  # its type is loaded here
    assert isinstance(again, RecordedError)
    assert (str(again), again.code) == ("odd 7", 7)
    record = Outcome(None, ValueError("no")).as_dict()
    record["error"]["type"] = "httpx_of_another_machine.ConnectTimeout"
    one, other = Outcome.from_dict(record).error, Outcome.from_dict(record).error
    assert type(one) is type(other)
    assert (type(one).__name__, type(one).__module__) == ("ConnectTimeout", "httpx_of_another_machine")
    assert str(one) == "no"
    assert Outcome(None, one).as_dict() == record


def test_our_own_errors_keep_what_they_know() -> None:
    again = recorded(errors.RateLimitedError("fetch", 2.5))
    assert isinstance(again, errors.RateLimitedError)
    assert (again.retry_after, again.operation) == (2.5, "fetch")
    assert str(again) == str(errors.RateLimitedError("fetch", 2.5))
    saga = recorded(errors.SagaError(ValueError("no"), ["book"], {}, step="pay", state={"card": "4000"}))
    assert (saga.compensated, saga.step) == (("book",), "pay")
    assert "4000" not in Outcome(None, saga).to_json()


class Slotted(Exception):
    __slots__ = "code"  # noqa: PLC0205 # Python takes the name of one alone, too
    code: int


class MoreSlots(Slotted):
    __slots__ = ("left_empty", "where")


def test_what_an_error_keeps_in_slots_is_kept() -> None:
    error = MoreSlots("no")
    error.code, error.where, vars(error)["extra"] = 7, ("a", 1), "x"  # type: ignore[attr-defined]
    again = recorded(error)
    assert isinstance(again, MoreSlots)
    assert (again.code, again.where, again.extra) == (7, ("a", 1), "x")  # type: ignore[attr-defined]
    assert not hasattr(again, "left_empty")
    assert Outcome(None, again).as_dict() == Outcome(None, error).as_dict()


def test_notes_are_kept(world: World) -> None:
    outcome = world.run(Retry(2, backoff=backoff.Fixed(1)), world.operation(ConnectionError("down")))
    again = Outcome.from_json(outcome.to_json())
    assert again.error is not None
    assert again.error.__notes__ == ["failwell gave up after 2 attempts in 1 s: no attempt left"]


def test_an_error_too_odd_to_be_told_has_no_message() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert (type(recorded(Mute())).__name__, str(recorded(Mute()))) == ("Mute", "")


def test_unwrap_raises_a_recorded_error_by_its_real_type() -> None:
    with pytest.raises(errors.TimeoutExceeded, match="fetch took longer than 5 s"):
        Outcome.from_json(Outcome(None, errors.TimeoutExceeded(5, "fetch")).to_json()).unwrap()


# --- real runs -------------------------------------------------------------------------------------


def test_a_real_run_is_recorded_whole(world: World) -> None:
    async def spare() -> str:
        return "spare"

    policy = Fallback(world.of(lambda: "spare")) >> Timeout(5) >> Retry(3, backoff=backoff.Fixed(1))
    where = errors.ErrorContext(errors.Transport.HTTP, "GET", "https://u:hunter2@prices.example", "req-7")
    with errors.context(where):
        outcome = world.run(policy, world.operation(ConnectionError("down"), Hang, name="fetch"))
    again = Outcome.from_json(outcome.to_json())
    assert (again.value, again.degraded, again.elapsed, again.started) == ("spare", True, 5, 0)
    assert [type(event).__name__ for event in again.events] == ["Attempt", "Waiting", "Attempt", "TimedOut", "FellBack"]
    waiting = again.events[1]
    assert isinstance(waiting, Waiting)
    assert type(waiting.error) is ConnectionError
    assert waiting.context == errors.ErrorContext(errors.Transport.HTTP, "GET", "https://***@prices.example", "req-7")
    assert "hunter2" not in outcome.to_json()


def test_an_outcome_knows_when_its_call_was_made() -> None:
    async def main() -> Outcome[str]:
        await asyncio.sleep(7)

        async def fetch() -> str:
            await asyncio.sleep(2)
            return "answer"

        return await Retry().outcome(fetch)

    outcome = virtual.run(main())
    assert (outcome.started, outcome.elapsed) == (7, 2)


@pytest.mark.parametrize(
    ("text", "without"),
    [
        ("postgresql://app:s3cret@db.example/orders", "postgresql://***@db.example/orders"),
        ("GET https://api.example/v1?api_key=abc123&symbol=X", "GET https://api.example/v1?api_key=***&symbol=X"),
        ("Authorization: Basic dXNlcjpwYXNz, retry", "Authorization: ***, retry"),
        ("{'password': 'pa55', 'user': 'me'}", "{'password': '***', 'user': 'me'}"),
        ("sent Bearer eyJhbGciOi.J9 to it", "sent Bearer *** to it"),
        ("redis://:p@ss@cache:6379/0", "redis://***@cache:6379/0"),
        ("orders-primary is down", "orders-primary is down"),
        ("postgresql://u:p#w@h/db", "postgresql://***@h/db"),
        ("postgresql://u:p/w?x@h/db", "postgresql://***@h/db"),
        ("amqp://u:1@a,amqp://v:2#3@b", "amqp://***@a,amqp://***@b"),
        ("http://localhost:4873/@scope/tool@1.0", "http://localhost:4873/@scope/tool@1.0"),
        ("http://[::1]/a@b", "http://[::1]/a@b"),
        ('password="my secret phrase", user="me"', 'password="***", user="me"'),
        (r"'password': 'it\'s mine', 'user': 'me'", "'password': '***', 'user': 'me'"),
        (r"{\"password\": \"my secret\", \"user\": 1}", r"{\"password\": \"***\", \"user\": 1}"),
        ('private_key="-----BEGIN KEY-----\nMII\n', 'private_key="***'),
        ("{'api_key': b'abc'}", "{'api_key': b'***'}"),
        ("{'token': ['abc', 'def'], 'a': 1}", "{'token': ***, 'a': 1}"),
        ("token=Hidden('abc def'), a=1", "token=***, a=1"),
        ("max_tokens=100", "max_tokens=100"),
        ('Cookie: session=abc; theme="a b"; last=c\nHost: x', "Cookie: ***\nHost: x"),
        ("{'set-cookie': 'sid=abc; Path=/', 'a': 1}", "{'set-cookie': '***', 'a': 1}"),
        ("cookies={'sid': 'abc'}", "cookies=***"),
        ('Authorization: Digest username="u", response="abc", then', "Authorization: ***, then"),
        ("Authorization: AWS4-HMAC Credential=AK/1, SignedHeaders=a;b, Signature=ab then", "Authorization: *** then"),
        ("[(b'authorization', b'Basic abc'), (b'host', b'x')]", "[(b'authorization', b'***'), (b'host', b'x')]"),
    ],
)
def test_secrets_are_blotted_out(text: str, without: str) -> None:
    assert redacted(text) == without
    assert redacted(without) == without


BITS = [
    "token",
    "=",
    ":",
    '"',
    "'",
    "\\",
    "://",
    "@",
    "a",
    "b'",
    " ",
    ",",
    ";",
    "(",
    "]",
    "Cookie: ",
    "Authorization: ",
]


@given(st.text() | st.lists(st.sampled_from(BITS), max_size=12).map("".join))
def test_what_has_no_secrets_left_stays(text: str) -> None:
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize(
    "bit", ["a.", *BITS, "://a:b", "token=", 'token="', "token  ", "cookie:a=b;", "authorization a="]
)
def test_a_long_text_takes_no_longer_than_its_length(bit: str) -> None:
    def seconds(times: int) -> float:
        start = time.process_time()
        redacted(bit * times)
        return time.process_time() - start

    short, long = (min(seconds(times) for _ in range(3)) for times in (2_000, 32_000))
    assert long < 16 * 6 * max(short, 1e-4)  # sixteen times as long; each start anew would make it 256


def test_what_is_called_a_secret_is_not_written() -> None:
    error = OddError(7, "here")
    vars(error).update(token="s3cr3t", api_key=("s3cr3t",), password=3141592, max_tokens=100, secret=None, user="me")
    record = Outcome(None, error, (Renewed("Mine", "fetch", 1.0, None, "s3cr3t", {"password": "s3cr3t", "a": [1]}),))
    text = record.to_json()
    assert "s3cr3t" not in text
    assert "3141592" not in text
    again = Outcome.from_json(text)
    assert vars(again.error)["token"] == "***"
    assert (vars(again.error)["max_tokens"], vars(again.error)["user"], vars(again.error)["secret"]) == (
        100,
        "me",
        None,
    )
    [event] = again.events
    assert (event.token, event.details) == ("***", {"password": "***", "a": [1]})  # type: ignore[attr-defined]
    assert again.as_dict() == record.as_dict()


def test_what_was_returned_is_written_as_it_is() -> None:
    assert Outcome.from_json(Outcome({"token": "s3cr3t"}, None).to_json()).value == {"token": "s3cr3t"}
    assert "secrets and all" in str(Outcome.as_dict.__doc__)


def test_an_event_of_another_program_comes_back_as_one_of_the_same_name() -> None:
    record = Outcome("a", None, (Refreshed("Mine", "fetch", 1.0, None, "t", 2),)).as_dict()
    record["events"][0]["event"] = "elsewhere.Renewed"
    [event] = Outcome.from_dict(record).events
    assert (type(event).__name__, event.role, event.layer) == ("Renewed", "recovery", "Mine")
    assert (event.ticket, event.tries) == ("t", 2)  # type: ignore[attr-defined]
    assert Outcome.from_dict(record).as_dict() == record
    assert type(Outcome.from_dict(record).events[0]) is type(event)


# --- bad records -----------------------------------------------------------------------------------


def good() -> dict[str, Any]:
    event = Rejected("Breaker", "fetch", 1.0, errors.ErrorContext(), "open", 3.0)
    return json.loads(Outcome("a", None, (event,), 1.0).to_json())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "the record is no JSON: Expecting property name enclosed in double quotes in line 1"),
        (b"\xff\xfe\xff", "the record is no JSON: it is no text"),
        ("[" * 100_000, "the record is no JSON: it is no text, or nested too deeply"),
        ("[]", "the record must be an object, got []"),
        ("{}", "the record has no 'format'"),
        ('{"format": 2}', "the record has format 2, this version of failwell reads format 1"),
    ],
)
def test_what_is_no_record_is_refused_in_one_sentence(text: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}") as caught:
        Outcome.from_json(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("format", True, "the record.format must be a number, got True"),
        ("elapsed", "1", "the record.elapsed must be a number or an object, got '1'"),
        ("elapsed", {"json": []}, "the record's 'started' and 'elapsed' must be numbers"),
        ("elapsed", {"odd": 1}, "elapsed must be a plain value or one of error, float, json, shown, got {'odd': 1}"),
        ("degraded", 0, "the record.degraded must be true or false, got 0"),
        ("events", {}, "the record.events must be a list, got {}"),
        ("events", [7], "events[0] must be an object, got 7"),
        ("error", {"type": "ValueError"}, "error has no 'message'"),
        ("error", {"type": "KeyboardInterrupt", "message": ""}, "error.type must be the type of an Exception, got"),
        ("events/0/event", 7, "events[0].event must be a text, got 7"),
        ("events/0/role", "x", "events[0].role must be one of operation, decision, success, error, recovery, comp"),
        ("events/0/event", "Attempt", "events[0]: Attempt takes layer, operation, time, context, number, the record"),
        ("events/0/fields", {"layer": "a"}, "events[0]: Rejected takes layer, operation, time, context, reason"),
        ("events/0/fields/time", "soon", "events[0].time must be float, got 'soon'"),
        ("events/0/fields/retry_after", [1], "events[0].retry_after must be float or None, got (1,)"),
        ("events/0/fields/reason", True, "events[0].reason must be str, got True"),
        ("events/0/fields/context/transport", "x", "events[0].context.transport must be one of http, database"),
        ("events/0/fields/context/target", None, "events[0].context.target must be a text, got None"),
    ],
)
def test_a_spoiled_record_is_refused_in_one_sentence(where: str, value: Any, message: str) -> None:
    record: Any = good()
    *way, last = where.split("/")
    inside = record
    for key in way:
        inside = inside[int(key) if key.isdigit() else key]
    inside[last] = value
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        Outcome.from_dict(record)


@given(st.data())
def test_no_spoiled_record_breaks_anything(data: st.DataObject) -> None:
    record: Any = good()
    inside = record
    while True:
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(inside[key], (dict, list)) and inside[key] and data.draw(st.booleans()):
            inside = inside[key]
            continue
        if data.draw(st.booleans()):
            inside[key] = data.draw(json_values)
        else:
            del inside[key]
        break
    said: list[str] = []
    try:
        Outcome.from_dict(record).to_json()
    except ValueError as error:
        said.append(str(error))
    assert not any("\n" in one for one in said)


def test_a_record_without_an_answer_is_refused() -> None:
    record = good()
    del record["value"]
    with pytest.raises(ValueError, match="the record has no 'value', 'shown' or 'error'"):
        Outcome.from_dict(record)
