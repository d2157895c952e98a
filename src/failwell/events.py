"""What patterns report while they work, and how to listen.

An event is immutable. It says which layer it comes from, which operation it is about and when it
happened; its ``role`` is the word of the drawing language that gives it a shape and a colour.
With no listener no event is made.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, dataclass_transform, get_args

from failwell.context import ErrorContext, current_context

__all__ = [
    "Alerted",
    "Attempt",
    "CacheHit",
    "CacheMiss",
    "CacheStored",
    "Called",
    "Cancelled",
    "CircuitClosed",
    "CircuitHalfOpened",
    "CircuitOpened",
    "Compensated",
    "Compensating",
    "CompensationFailed",
    "CredentialRefreshFailed",
    "CredentialRefreshed",
    "CredentialRefreshing",
    "ErrorNoted",
    "Event",
    "FaultInjected",
    "FeatureDegraded",
    "FeatureRestored",
    "FellBack",
    "GaveUp",
    "HealthChanged",
    "Hedged",
    "ItemFailed",
    "ItemStarted",
    "ItemSucceeded",
    "LimitChanged",
    "Listener",
    "Outcome",
    "Progressed",
    "Queued",
    "Rejected",
    "Role",
    "Routed",
    "Slept",
    "StaleServed",
    "StepCompleted",
    "StepStarted",
    "StoreFailed",
    "TimedOut",
    "Waiting",
    "listening",
    "subscribe",
]

Role = Literal["operation", "decision", "success", "error", "recovery", "compensation"]

T = TypeVar("T")
log = logging.getLogger("failwell")


@dataclass_transform(frozen_default=True)
class _Record(tuple[Any, ...]):
    """An immutable record: annotations become fields.

    A tuple underneath, because a frozen dataclass costs 600 us per class at import and 1 us per object.
    """

    __slots__ = ()
    fields: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        own = [name for name, kind in cls.__annotations__.items() if "ClassVar" not in str(kind)]
        for place, name in enumerate(own, start=len(cls.fields)):
            setattr(cls, name, property(itemgetter(place)))
        cls.fields = (*cls.fields, *own)

    if TYPE_CHECKING:
        ...  # the signature follows from the annotations
    else:

        def __new__(cls, *values, **named):
            if named or len(values) != len(cls.fields):
                values = cls._arrange(values, named)
            return tuple.__new__(cls, values)

    @classmethod
    def _arrange(cls, values: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, ...]:
        rest = cls.fields[len(values) :]
        if len(values) > len(cls.fields) or set(rest) != set(named):
            raise TypeError(f"{cls.__name__} takes {', '.join(cls.fields)}; got {len(values)} values and {list(named)}")
        return (*values, *(named[name] for name in rest))

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and tuple[Any, ...].__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((type(self), tuple(self)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in self.fields)})"


class Event(_Record):
    """Base of all events.

    Attributes:
        layer: The layer that reports, e.g. ``"Retry"`` (``"Retry 2"`` for the second of its kind in a stack).
        operation: The name of the operation that the call is about.
        time: Monotonic seconds.
        context: The error context of the call, or None.
    """

    __slots__ = ()
    role: ClassVar[Role] = "operation"
    layer: str
    operation: str
    time: float
    context: ErrorContext | None


# --- trying again --------------------------------------------------------------------------------


class Attempt(Event):
    """An attempt starts; ``number`` counts from 1."""

    __slots__ = ()
    number: int


class Waiting(Event):
    """Attempt ``attempt`` failed with ``error`` (None: its result was rejected); the next follows after ``delay`` s.

    ``between`` is the range that the delay was drawn from.
    """

    __slots__ = ()
    role = "recovery"
    attempt: int
    delay: float
    between: tuple[float, float]
    error: BaseException | None


class GaveUp(Event):
    """No further attempt is made. ``reason`` says why."""

    __slots__ = ()
    role = "error"
    NO_ATTEMPT_LEFT: ClassVar = "no attempt left"
    NO_TIME_LEFT: ClassVar = "no time left"
    BUDGET_SPENT: ClassVar = "retry budget spent"
    attempts: int
    elapsed: float
    error: BaseException | None
    reason: str


class CredentialRefreshing(Event):
    """A new credential is asked for; ``reason`` says why the old one does not do."""

    __slots__ = ()
    role = "recovery"
    EXPIRED: ClassVar = "expired"
    REFUSED: ClassVar = "refused"
    reason: str


class CredentialRefreshed(Event):
    """There is a new credential, for everybody who waited for it."""

    __slots__ = ()
    role = "success"


class CredentialRefreshFailed(Event):
    """No new credential was to be had: the refresh ended with ``error``."""

    __slots__ = ()
    role = "error"
    error: BaseException


class ItemStarted(Event):
    """Item ``index`` (from 0) of a batch has its turn."""

    __slots__ = ()
    index: int  # type: ignore[assignment] # pyright: ignore[reportIncompatibleMethodOverride] # nobody searches it


class ItemSucceeded(Event):
    """Item ``index`` (from 0) of a batch is done, at attempt ``attempts``."""

    __slots__ = ()
    role = "success"
    index: int  # type: ignore[assignment] # pyright: ignore[reportIncompatibleMethodOverride] # nobody searches it
    attempts: int


class ItemFailed(Event):
    """Item ``index`` (from 0) of a batch finally failed with ``error``, after ``attempts`` attempts."""

    __slots__ = ()
    role = "error"
    index: int  # type: ignore[assignment] # pyright: ignore[reportIncompatibleMethodOverride] # nobody searches it
    attempts: int
    error: BaseException


class Progressed(Event):
    """A batch has come through ``done`` items, ``failed`` of them in vain; of ``total``, if anybody knows."""

    __slots__ = ()
    role = "decision"
    done: int
    failed: int
    total: int | None


# --- not waiting any longer ----------------------------------------------------------------------


class TimedOut(Event):
    """The operation was cancelled (async) or abandoned (sync) after ``seconds``."""

    __slots__ = ()
    role = "error"
    seconds: float


class Hedged(Event):
    """Attempt ``number`` (the first call is 1) starts beside those that have not answered for ``seconds``.

    0 seconds: it starts at once, because those before it have failed.
    """

    __slots__ = ()
    role = "recovery"
    number: int
    seconds: float


# --- not calling ---------------------------------------------------------------------------------


class Rejected(Event):
    """The call was refused without being made, or its result was: ``reason`` says why.

    ``retry_after`` says in how many seconds to come back; it is None where nobody can know.
    """

    __slots__ = ()
    role = "error"
    reason: str
    retry_after: float | None


class Queued(Event):
    """The call waits for its turn, for ``seconds`` at most (infinite: until it comes)."""

    __slots__ = ()
    role = "recovery"
    seconds: float


class CircuitOpened(Event):
    """The breaker lets nothing through for the next ``seconds``, because ``failures`` calls failed (or were slow)."""

    __slots__ = ()
    role = "error"
    failures: int
    seconds: float


class CircuitHalfOpened(Event):
    """The breaker lets probes through, to see whether the other side is back."""

    __slots__ = ()
    role = "recovery"


class CircuitClosed(Event):
    """The breaker lets everything through again."""

    __slots__ = ()
    role = "success"


class LimitChanged(Event):
    """An adaptive limit lets ``after`` calls be under way at once, where it were ``before``."""

    __slots__ = ()
    role = "decision"
    before: int
    after: int


# --- what foreign code does, which reports nothing by itself -----------------------------------------


class Called(Event):
    """An operation is called for the ``number``-th time."""

    __slots__ = ()
    number: int


class Slept(Event):
    """Nothing happened for ``seconds``: the code waited."""

    __slots__ = ()
    role = "recovery"
    seconds: float


class Cancelled(Event):
    """An operation that was under way was cancelled after ``seconds``."""

    __slots__ = ()
    role = "error"
    seconds: float


# --- choosing ------------------------------------------------------------------------------------


class Routed(Event):
    """The call goes to ``route``."""

    __slots__ = ()
    role = "decision"
    route: str


# --- answering anyway ----------------------------------------------------------------------------


class FellBack(Event):
    """What was tried failed with ``error``; ``alternative`` (number ``order`` from 1) is asked next."""

    __slots__ = ()
    role = "recovery"
    alternative: str
    order: int
    error: BaseException


class CacheHit(Event):
    """A fresh answer was found; it is ``age`` seconds old."""

    __slots__ = ()
    role = "decision"
    age: float


class CacheMiss(Event):
    """No fresh answer was found."""

    __slots__ = ()
    role = "decision"


class CacheStored(Event):
    """An answer was kept for ``ttl`` seconds; ``degraded`` says whether it is a degraded one."""

    __slots__ = ()
    role = "success"
    ttl: float
    degraded: bool


class StaleServed(Event):
    """The operation failed with ``error``; an answer of ``age`` seconds, past its time to live, was returned."""

    __slots__ = ()
    role = "recovery"
    age: float
    error: BaseException


class StoreFailed(Event):
    """A store could not be read or written; the call goes on without it."""

    __slots__ = ()
    role = "error"
    error: BaseException


class FeatureDegraded(Event):
    """Feature ``feature`` does not give its real answer; ``instead`` says what the caller gets.

    ``error`` is why, or None where the feature itself answered, and marked its answer as degraded. What is given
    instead is one of the words below, or the name of a fallback.
    """

    __slots__ = ()
    role = "recovery"
    LEFT_OUT: ClassVar = "left out"
    LAST_GOOD: ClassVar = "last good answer"
    ITS_OWN: ClassVar = "its own degraded answer"
    feature: str
    error: BaseException | None
    instead: str


class FeatureRestored(Event):
    """Feature ``feature`` is there again."""

    __slots__ = ()
    role = "success"
    feature: str


# --- undoing -------------------------------------------------------------------------------------


class StepStarted(Event):
    """Step ``step`` (number ``order`` from 1) of a saga starts."""

    __slots__ = ()
    step: str
    order: int


class StepCompleted(Event):
    """Step ``step`` is done and will be compensated if a later one fails."""

    __slots__ = ()
    role = "success"
    step: str


class Compensating(Event):
    """Step ``step`` is about to be undone, because of ``error``."""

    __slots__ = ()
    role = "compensation"
    step: str
    error: BaseException


class Compensated(Event):
    """Step ``step`` was undone."""

    __slots__ = ()
    role = "compensation"
    step: str


class CompensationFailed(Event):
    """Step ``step`` could not be undone: its compensation ended with ``error``."""

    __slots__ = ()
    role = "error"
    step: str
    error: BaseException


# --- watching ------------------------------------------------------------------------------------


class HealthChanged(Event):
    """What a health check looks at is now ``status``; ``error`` is what the last probe ended with, if it failed."""

    __slots__ = ()
    role = "decision"
    status: str
    error: BaseException | None


class Alerted(Event):
    """Somebody was told: ``count`` errors were counted."""

    __slots__ = ()
    role = "error"
    count: int  # type: ignore[assignment] # pyright: ignore[reportIncompatibleMethodOverride] # a field, as the others


class ErrorNoted(Event):
    """An ``error`` left a context, and now says so: ``where`` it happened. The request is in the event's context."""

    __slots__ = ()
    role = "error"
    where: str
    error: BaseException


class FaultInjected(Event):
    """A test made ``fault`` happen to a call that might have gone well."""

    __slots__ = ()
    role = "error"
    fault: str


# --- listening -----------------------------------------------------------------------------------

Listener: TypeAlias = Callable[[Event], object]


class _Bus:
    """Who listens. ``active`` is read on every call, so it is a plain attribute."""

    def __init__(self) -> None:
        self.active = 0
        self.everywhere: tuple[Listener, ...] = ()
        self.here: ContextVar[tuple[Listener, ...]] = ContextVar("failwell_listeners", default=())

    def publish(self, event: Event) -> None:
        """Hand an event to every listener; what a listener raises is logged, never passed on."""
        for listener in (*self.everywhere, *self.here.get()):
            try:
                listener(event)
            except Exception:
                log.exception("a failwell listener failed on %r", event)

    def enter(self, listener: Listener) -> Token[tuple[Listener, ...]]:
        """Have a listener hear this context, at the least price; `leave` with what this returns."""
        with _lock:
            self.active += 1
        return self.here.set((*self.here.get(), listener))

    def leave(self, token: Token[tuple[Listener, ...]]) -> None:
        """End what `enter` began."""
        with _lock:
            self.active -= 1
        with suppress(ValueError):  # closed from another context, which never had this listener
            self.here.reset(token)


bus = _Bus()
_lock = threading.Lock()


def subscribe(listener: Listener) -> Callable[[], None]:
    """Call ``listener`` with every event of this process.

    Args:
        listener: A plain function. It runs in the caller's thread, so keep it short.

    Returns:
        A function that ends the subscription; calling it twice does no harm.
    """
    _check(listener)

    def own(event: Event) -> object:  # an identity of its own, so that one function can be subscribed twice
        return listener(event)

    with _lock:
        bus.everywhere = (*bus.everywhere, own)
        bus.active += 1

    def unsubscribe() -> None:
        with _lock:
            if own in bus.everywhere:
                bus.everywhere = tuple(known for known in bus.everywhere if known is not own)
                bus.active -= 1

    return unsubscribe


@contextmanager
def listening(listener: Listener) -> Generator[None]:
    """Call ``listener`` with the events of this block, of the tasks that it starts, and of `asyncio.to_thread`.

    A thread that the block starts by itself (`threading.Thread`, an executor) has a context of its own and is not
    heard; `subscribe` hears everything.

    ```python
    from failwell import Fallback, listening

    heard = []
    with listening(heard.append):
        print(Fallback(Fallback.value(0)).call(int, "many"))
        #> 0
    print([type(event).__name__ for event in heard])
    #> ['FellBack']
    ```

    What one of these reports after the block has ended is not heard.

    Args:
        listener: A plain function.
    """
    _check(listener)
    over = False

    def own(event: Event) -> object:
        return None if over else listener(event)

    token = bus.enter(own)
    try:
        yield
    finally:
        over = True
        bus.leave(token)


def _check(listener: Any) -> None:
    if not callable(listener):
        raise TypeError(f"listener must be callable, got {listener!r}")
    if inspect.iscoroutinefunction(listener):
        raise TypeError(f"listener must be a plain function: nobody would await {listener!r}")


class Outcome(Generic[T]):
    """How one call ended.

    Attributes:
        value: What was returned, or None.
        error: What was raised, or None.
        events: What the layers reported on the way.
        elapsed: Seconds from start to end.
        degraded: Whether an alternative, a stale or a default answer stands in for the real one.
        started: When the call was made, on the same clock as the times of its events.
    """

    __slots__ = ("degraded", "elapsed", "error", "events", "started", "value")

    def __init__(
        self,
        value: T | None,
        error: Exception | None,
        events: tuple[Event, ...] = (),
        elapsed: float = 0.0,
        degraded: bool = False,
        started: float = 0.0,
    ) -> None:
        self.value = value
        self.error = error
        self.events = events
        self.elapsed = elapsed
        self.degraded = degraded
        self.started = started

    @property
    def ok(self) -> bool:
        """Whether the call returned."""
        return self.error is None

    def unwrap(self) -> T:
        """The value; raises the error if there is one."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]

    def as_dict(self) -> dict[str, Any]:
        """This outcome as data that JSON can hold: a value that it cannot hold as its ``repr``.

        What was returned is written as it is, secrets and all: replace ``value`` first where it must not be. In all the
        rest, secrets are blotted out as far as their form or their name tells them.
        """
        from failwell.recorded import as_field, as_value, error_as_data

        said = as_value(self.value) if self.error is None else {"error": error_as_data(self.error)}
        return {
            "format": _FORMAT,
            **said,
            "degraded": self.degraded,
            "started": as_field(self.started),
            "elapsed": as_field(self.elapsed),
            "events": [_event_as_data(event) for event in self.events],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome[Any]:
        """The outcome that `as_dict` wrote down.

        Errors come back as what they were if that is a built-in type, else as a stand-in with the same name and
        message (which derives from the real type where that is loaded). Tuples in the value come back as lists,
        and a value that JSON cannot hold as `failwell.recorded.Shown`.

        Args:
            data: What `as_dict` gave.

        Raises:
            ValueError: If it is no recorded outcome; the message says in one sentence what is wrong.
        """
        from failwell.recorded import Shown, error_of, field_of, part

        at = "the record"
        form = part(data, "format", int, at)
        if form != _FORMAT:
            raise ValueError(f"the record has format {form}, this version of failwell reads format {_FORMAT}")
        error = error_of(data["error"], "error") if "error" in data else None
        if error is not None and not isinstance(error, Exception):
            raise ValueError(f"error.type must be the type of an Exception, got {type(error).__name__!r}")
        value = Shown(part(data, "shown", str, at)) if "shown" in data else data.get("value")
        if error is None and not data.keys() & {"value", "shown"}:
            raise ValueError("the record has no 'value', 'shown' or 'error'")
        times = [field_of(part(data, name, (int, float, dict), at), name) for name in ("started", "elapsed")]
        if not all(isinstance(time, (int, float)) for time in times):
            raise ValueError("the record's 'started' and 'elapsed' must be numbers")
        events = part(data, "events", list, at)
        happened = tuple(_event_of(one, f"events[{place}]") for place, one in enumerate(events))
        return Outcome[Any](value, error, happened, times[1], part(data, "degraded", bool, at), times[0])

    def to_json(self, indent: int | None = None) -> str:
        """This outcome as JSON, see `as_dict`.

        Args:
            indent: How far to indent what is inside; None for all on one line.
        """
        import json

        return json.dumps(self.as_dict(), indent=indent, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Outcome[Any]:
        """The outcome that `to_json` wrote down, see `from_dict`.

        Args:
            text: What `to_json` gave.

        Raises:
            ValueError: If it is no recorded outcome; the message says in one sentence what is wrong.
        """
        import json

        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"the record is no JSON: {error.msg} in line {error.lineno}") from None
        except (UnicodeDecodeError, RecursionError):
            raise ValueError("the record is no JSON: it is no text, or nested too deeply") from None
        return cls.from_dict(data)

    def __repr__(self) -> str:
        what = f"value={self.value!r}" if self.error is None else f"error={self.error!r}"
        return f"Outcome({what}, events={len(self.events)}, elapsed={self.elapsed:g}, degraded={self.degraded})"


_FORMAT = 1
"""The form in which outcomes are written down; it goes up when older versions cannot read them any more."""
_stand_ins: dict[tuple[str, str, tuple[str, ...]], type[Event]] = {}


def _event_as_data(event: Event) -> dict[str, Any]:
    from failwell.recorded import as_field, context_as_data

    kind = type(event)
    name = kind.__name__ if kind.__module__ == __name__ else f"{kind.__module__}.{kind.__qualname__}"
    fields = {name: as_field(value, name) for name, value in zip(kind.fields, event, strict=True)}
    return {"event": name, "role": kind.role, "fields": {**fields, "context": context_as_data(event.context)}}


def _event_of(data: Any, at: str) -> Event:
    from failwell.recorded import check_fields, context_of, field_of, part

    name, role, fields = part(data, "event", str, at), part(data, "role", str, at), part(data, "fields", dict, at)
    if role not in get_args(Role):
        raise ValueError(f"{at}.role must be one of {', '.join(get_args(Role))}, got {role!r}")
    kind = _kind_of(name, role, tuple(fields))
    if set(kind.fields) != set(fields):
        raise ValueError(f"{at}: {name} takes {', '.join(kind.fields)}, the record has {', '.join(fields)}")
    values = {one: field_of(value, f"{at}.{one}") for one, value in fields.items() if one != "context"}
    check_fields(kind, values, at)
    return kind(**values, context=context_of(fields["context"], f"{at}.context"))


def _kind_of(name: str, role: Any, fields: tuple[str, ...]) -> type[Event]:
    """The type of an event by name; one that is not loaded is made anew, with the same name, role and fields."""
    own = globals().get(name)
    if isinstance(own, type) and issubclass(own, Event):
        return own
    known = list(Event.__subclasses__())
    for kind in known:
        known += kind.__subclasses__()
        if f"{kind.__module__}.{kind.__qualname__}" == name and kind not in _stand_ins.values():
            return kind
    key = name, role, fields
    if key not in _stand_ins:
        module, _, short = name.rpartition(".")
        further = {one: "Any" for one in fields if one not in Event.fields}
        inside = {
            "__slots__": (),
            "__module__": module,
            "__qualname__": short,
            "__annotations__": further,
            "role": role,
        }
        _stand_ins[key] = type(short, (Event,), inside)
    return _stand_ins[key]


def where(layer: str, operation: str, time: float) -> tuple[str, str, float, ErrorContext | None]:
    """The fields that every event starts with."""
    return layer, operation, time, current_context()
