"""Policies: what wraps a function, how policies stack, and how the function that really runs is put together."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
import threading
import time
import types
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeAlias, TypeVar, cast, overload

from failwell.derive import Call, PlainCall, derive
from failwell.events import Event, Outcome, listening
from failwell.runtime import (
    TAKES_CALL,
    Alternative,
    AsyncRuntime,
    BlockingRuntime,
    Mark,
    Runtime,
    UnexpectedAwaitable,
    name_of,
)
from failwell.switch import switch

__all__ = [
    "Matches",
    "On",
    "Operation",
    "Pattern",
    "Policy",
    "Protected",
    "Stack",
    "is_async",
    "matching",
    "not_idempotent",
    "protected",
]

T = TypeVar("T")
P = ParamSpec("P")

On: TypeAlias = "type[BaseException] | tuple[type[BaseException], ...] | Callable[[Exception], object]"
"""Which errors a pattern handles: a type, a tuple of types, or a predicate.

What a predicate raises itself takes the place of the operation's error, which is its ``__context__``.
"""


class Matches(Protocol):
    """A normalised ``on=``: whether an error is one that the pattern handles."""

    def __call__(self, error: Exception, /) -> object:
        """Anything truthy: handle it."""
        ...


def matching(name: str, on: Any) -> Matches:
    """Turn an ``on=`` argument into a predicate.

    Args:
        name: The parameter, for the message.
        on: An exception type, a tuple of them, or a predicate.

    Raises:
        TypeError: If it is none of these.
    """
    if _is_error_type(on):
        on = (on,)
    if isinstance(on, (tuple, list, set, frozenset)):
        types: tuple[Any, ...] = tuple(cast("Iterable[Any]", on))
        for one in types:
            if not _is_error_type(one):
                raise TypeError(f"{name} must hold exception types, got {one!r}")
        # Most types can match neither of the two errors that need a second look, so most calls need not pay for it.
        if any(issubclass(one, StopIteration) or issubclass(StopIteration, one) for one in types) or issubclass(
            UnexpectedAwaitable, types
        ):
            return lambda error: isinstance(_unpacked(error), types) and not isinstance(error, UnexpectedAwaitable)
        return lambda error: isinstance(error, types)
    if not callable(on) or inspect.isclass(on):
        raise TypeError(f"{name} must be an exception type, a tuple of them or a predicate, got {on!r}")
    if is_async(on):
        raise TypeError(f"{name} must be a plain predicate, got the async function {name_of(on)}")

    def asked(error: Exception) -> object:
        kind = error.__class__
        if kind is UnexpectedAwaitable:
            return False
        return on(_unpacked(error) if kind is _Stopped else error)

    return asked


def _is_error_type(one: Any) -> bool:
    return inspect.isclass(one) and issubclass(one, BaseException)


def number(name: str, value: Any, *, whole: bool = False) -> None:
    """Refuse a parameter that is no number.

    Args:
        name: The parameter, for the message.
        value: What was given.
        whole: Whether it must be a whole number.

    Raises:
        TypeError: If it is none; True and False are none either.
        ValueError: If it is larger than a float can be.
    """
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        raise TypeError(f"{name} must be a {'whole ' * whole}number, got {value!r}")
    if isinstance(value, int) and value.bit_length() > 1000:
        raise ValueError(f"{name} must be a number of a sensible size, got one of {value.bit_length():,} bits")


# The same for parameters that several patterns have, each given by its name: `at_least(1, max_queue=max_queue)`.


def at_least(least: int, **values: Any) -> None:
    """Refuse parameters that are no whole numbers, or are below ``least``."""
    for name, value in values.items():
        number(name, value, whole=True)
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value!r}")


def not_negative(**values: Any) -> None:
    """Refuse parameters that are no seconds, or negative; infinite ones are for ever."""
    for name, value in values.items():
        number(name, value)
        if not value >= 0:
            raise ValueError(f"{name} must be a number of seconds that is not negative, got {value!r}")


def duration(**values: Any) -> None:
    """Refuse parameters that are no seconds, or none that are above 0 and come to an end."""
    for name, value in values.items():
        number(name, value)
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a finite number of seconds above 0, got {value!r}")


def share(**values: Any) -> None:
    """Refuse parameters that are no share of something: above 0 and up to 1."""
    for name, value in values.items():
        number(name, value)
        if not 0 < value <= 1:
            raise ValueError(f"{name} must be a share above 0 and up to 1, got {value!r}")


def flag(**values: Any) -> None:
    """Refuse parameters that are neither True nor False."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise TypeError(f"{name} must be True or False, got {value!r}")


def optional_text(**values: Any) -> None:
    """Refuse parameters that are neither a text nor None."""
    for name, value in values.items():
        if not (value is None or isinstance(value, str)):
            raise TypeError(f"{name} must be a text, got {value!r}")


def optional_callable(**values: Any) -> None:
    """Refuse parameters that cannot be called and are not None."""
    for name, value in values.items():
        if not (value is None or callable(value)):
            raise TypeError(f"{name} must be callable, got {value!r}")


states_apart: ContextVar[dict[Pattern, Any] | None] = ContextVar("failwell_states_apart", default=None)
"""Where foreign code is explored: the states that policies have there instead of their live ones."""


class Pattern:
    """What every pattern is: one ``run``, its parameters, and its possible states.

    A pattern of your own subclasses `Policy`, takes its parameters in ``__init__`` under the names of its
    attributes, and writes ``run``.
    """

    _live: Any = None
    _origin: Pattern | None = None
    _live_lock = threading.Lock()

    async def run(self, call: Call, rt: Runtime) -> Any:
        """Do it once.

        Args:
            call: ``await call()`` runs the inner layer; it has ``args``, ``kwargs`` and ``name``.
            rt: The runtime: time, chance, state, events. Await nothing but ``call()`` and its methods.
        """
        raise NotImplementedError(f"{type(self).__name__} must define `async def run(self, call, rt)`")

    def situations(self) -> Mapping[str, Callable[[], Any]]:
        """Name -> maker of a fresh state, for patterns that keep one. The first is what a new object starts in."""
        return {}

    def situation(self, state: Any, now: float) -> str:
        """Which of its situations a state is in, for the state machine.

        Args:
            state: A state that one of ``situations()`` made.
            now: Monotonic seconds.

        Returns:
            One of the names of ``situations()``; by default the first.
        """
        return next(iter(self.situations()), "")

    def describe(self) -> dict[str, Any]:
        """The parameters by name, with their values."""
        values = {name: getattr(self, name, p.default) for name, p in _parameters(type(self)).items()}
        for name, value in values.items():
            if value is inspect.Parameter.empty:
                raise TypeError(f"{type(self).__name__} must keep its parameter {name!r} in an attribute of that name")
        return values

    def replace(self, **changes: Any) -> Self:
        """A copy with other parameters, which shares the live state with this one.

        Args:
            **changes: Parameters by name.

        Raises:
            TypeError: If there is no such parameter.
        """
        known = _parameters(type(self))
        for name in changes:
            if name not in known:
                raise TypeError(f"{type(self).__name__} has no parameter {name!r}; it has {', '.join(known)}")
        values = {**self._arguments(), **changes}
        positional: list[Any] = []
        for name, parameter in reversed(list(known.items())):  # what comes before *alternatives is positional, too
            if parameter.kind is parameter.VAR_POSITIONAL:
                positional = list(values.pop(name))
            elif positional or parameter.kind is parameter.POSITIONAL_ONLY:
                positional.insert(0, values.pop(name))
        changed = type(self)(*positional, **values)
        self.live_state()
        changed._live = self._live
        changed._origin = self.origin
        return changed

    def _arguments(self) -> dict[str, Any]:
        """What to construct an equal object with."""
        return self.describe()

    @property
    def origin(self) -> Pattern:
        """The object that this one is a changed copy of, directly or not; it stands for the state that they share."""
        return self._origin or self

    def live_state(self) -> Any:
        """The state that all calls through this object share; made on first use."""
        apart = states_apart.get()
        if apart is not None:
            makers = list(self.situations().values())
            return apart.setdefault(self.origin, makers[0]() if makers else None)
        if self._live is None:
            makers = list(self.situations().values())
            if makers:
                with Pattern._live_lock:
                    if self._live is None:
                        self._live = makers[0]()
        return self._live

    @property
    def label(self) -> str:
        """The name of this layer in events and drawings: its type, and its ``name`` if it was given one."""
        name = getattr(self, "name", None)
        return type(self).__name__ if name is None else f"{type(self).__name__} {name}"

    def __repr__(self) -> str:
        shown: list[str] = []
        for place, (name, p) in enumerate(_parameters(type(self)).items()):
            value = getattr(self, name, p.default)
            if p.kind is p.VAR_POSITIONAL:
                shown += [_brief(one) for one in value]
            elif place == 0 and p.kind is not p.KEYWORD_ONLY and not (value is p.default and (value or 0) == 0):
                shown.append(_brief(value))  # as one would type it: Timeout(30), Cache(60, stale_if_error=600)
            elif value is not p.default and value != p.default:
                shown.append(f"{name}={_brief(value)}")
        return f"{type(self).__name__}({', '.join(shown)})"


_read: weakref.WeakKeyDictionary[type, Mapping[str, inspect.Parameter]] = weakref.WeakKeyDictionary()


def _parameters(pattern: type) -> Mapping[str, inspect.Parameter]:
    if pattern not in _read:
        given = inspect.signature(pattern).parameters
        _read[pattern] = {n: p for n, p in given.items() if p.kind is not p.VAR_KEYWORD}
    return _read[pattern]


_FOREVER = float("inf")


def _brief(value: Any) -> str:
    """A value as one would type it: functions and error types by name, also inside of a plain container."""
    kind: type = value.__class__
    if kind is dict:
        return f"{{{', '.join(f'{key!r}: {_brief(one)}' for key, one in value.items())}}}"
    if kind is tuple or kind is list:
        shown = ", ".join(map(_brief, value))
        return f"[{shown}]" if kind is list else f"({shown}{',' * (len(value) == 1)})"
    if kind is float and value in (_FOREVER, -_FOREVER):  # their own repr is nothing that one can type
        return f"float('{value}')"
    if kind is ContextVar:  # its own repr shows where in memory it is
        return str(value.name)
    if Alternative.of(value) is not None:
        return str(value.__qualname__)
    return name_of(value) if callable(value) and not isinstance(value, Pattern) else repr(value)


class Policy(Pattern):
    """Something that wraps a function: a decorator, a way to call once, and a layer of a `Stack`."""

    @property
    def layers(self) -> tuple[Policy, ...]:
        """The layers, outermost first; a single policy is its own only layer."""
        return (self,)

    def __call__(self, fn: Callable[P, T]) -> Callable[P, T]:
        """Protect a function. Name, docstring, signature and whether it is async stay the same.

        Args:
            fn: A function, async or plain.

        Raises:
            TypeError: If it is not callable, or a generator function.
        """
        method: Any = fn
        if isinstance(method, (staticmethod, classmethod)):
            made: Callable[P, T] = _method(self, method)
            return made
        return protect(self.layers, fn)

    def call(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function once under this policy.

        The layers are put together anew on each call; decorate a function that is called often.

        Args:
            fn: A function, async or plain.
            *args: What it is called with.
            **kwargs: What it is called with.

        Returns:
            Its value; for an async function a coroutine.
        """
        return self(fn)(*args, **kwargs)

    @overload
    def outcome(  # type: ignore[overload-overlap] # a coroutine is a value too, but the first one fits first
        self, fn: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Outcome[T]]: ...
    @overload
    def outcome(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Outcome[T]: ...
    def outcome(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        """Run a function once and tell how it went; no ``Exception`` is raised.

        Args:
            fn: A function, async or plain.
            *args: What it is called with.
            **kwargs: What it is called with.

        Returns:
            An `Outcome`; for an async function a coroutine that gives one.
        """
        guarded = self(fn)
        if is_async(fn):
            return _outcome_async(guarded, args, kwargs)
        return _outcome_blocking(guarded, args, kwargs)

    @classmethod
    def _preset(cls, changes: Mapping[str, Any], **values: Any) -> Self:
        """One with parameters that have a name together, but for what the caller wants otherwise."""
        return cls(**{**values, **changes})

    @overload
    def __rshift__(self, inner: Policy) -> Stack: ...  # type: ignore[overload-overlap] # a policy can be called
    @overload
    def __rshift__(self, inner: Callable[P, T]) -> Callable[P, T]: ...
    def __rshift__(self, inner: Any) -> Any:
        """``outer >> inner`` is a stack; ``outer >> fn`` is the protected function."""
        if isinstance(inner, Policy):
            return Stack(self, inner)
        if callable(inner):
            return self(inner)
        return NotImplemented


def _method(policy: Policy, method: Any) -> Any:
    """The same kind of method, around the protected function."""
    return type(method)(policy(method.__func__))


def not_idempotent(fn: T) -> T:
    """Mark an operation that must not happen twice, so that the lint finds what would repeat it.

    Args:
        fn: A function, such as one that charges a card without an idempotency key.

    Returns:
        The function itself.
    """
    known: Any = fn
    known.__failwell_not_idempotent__ = True
    return fn


class Operation(Pattern):
    """A pattern that is called instead of wrapping something, such as a saga. It stacks as the innermost call."""

    @property
    def is_async(self) -> bool:
        """Whether calling it gives an awaitable."""
        raise NotImplementedError

    @property
    def __name__(self) -> str:
        return self.label.lower()

    def outcome(self, *args: Any, **kwargs: Any) -> Any:
        """Call it once and tell how it went; no ``Exception`` is raised.

        Args:
            *args: What it is called with.
            **kwargs: What it is called with.

        Returns:
            An `Outcome`; where it is async, a coroutine that gives one.
        """
        run = _outcome_async if self.is_async else _outcome_blocking
        return run(self._bound, args, kwargs)

    def __rshift__(self, other: object) -> Any:
        """Refused: an operation has nothing inside of it."""
        if isinstance(other, Policy):
            raise TypeError(f"{self.label} stands innermost: write {other.label} >> {self.label}")
        return NotImplemented

    @functools.cached_property
    def _bound(self) -> Callable[..., Any]:
        return assemble((self,), _no_inner, blocking=not self.is_async, name=self.__name__)


def _no_inner(*args: Any, **kwargs: Any) -> Any:
    raise TypeError("an operation has no inner layer to call")


class Stack(Policy):
    """Several policies around one function, outermost first. ``outer >> inner`` makes one.

    Args:
        *layers: Policies; stacks among them are flattened.
    """

    def __init__(self, *layers: Policy) -> None:
        flat: list[Policy] = []
        for layer in cast("tuple[Any, ...]", layers):
            if not isinstance(layer, Policy):
                raise TypeError(f"a stack is made of policies, got {layer!r}")
            flat += layer.layers
        if not flat:
            raise ValueError("a stack needs at least one policy")
        self._layers = tuple(flat)

    @property
    def layers(self) -> tuple[Policy, ...]:
        """The layers, outermost first."""
        return self._layers

    def describe(self) -> dict[str, Any]:
        """The layers in order, each with its parameters."""
        return {label: layer.describe() for layer, label in zip(self._layers, labels(self._layers), strict=True)}

    def replace(self, **changes: Any) -> Self:
        """Not for stacks: change a layer and stack anew.

        Raises:
            TypeError: Always.
        """
        raise TypeError("a stack has no parameters of its own: use replace() on one of its layers and stack anew")

    def __repr__(self) -> str:
        return " >> ".join(map(repr, self._layers))


# --- putting the function together ---------------------------------------------------------------


class Protected(Generic[T]):
    """What a protected function is made of; found in its ``__failwell__``."""

    __slots__ = ("fn", "guarded", "layers", "name")

    def __init__(self, guarded: Any, layers: Sequence[Pattern], fn: Callable[..., T], name: str) -> None:
        self.guarded = guarded
        self.layers = tuple(layers)
        self.fn = fn
        self.name = name


def protected(fn: Any) -> Protected[Any] | None:
    """What a function is protected by, or None.

    Args:
        fn: Any callable.
    """
    while isinstance(fn, (functools.partial, types.MethodType)):
        fn = fn.func if isinstance(fn, functools.partial) else fn.__func__
    found: Protected[Any] | None = getattr(fn, "__failwell__", None)
    # A wrapper around a protected function took over its attributes, but is something else.
    return found if isinstance(found, Protected) and found.guarded is fn else None


def is_async(fn: Any) -> bool:
    """Whether calling ``fn`` gives an awaitable, decided from what it is, without calling it.

    Args:
        fn: A function, partial, bound method, object with ``__call__``, or an `Operation`.
    """
    while isinstance(fn, functools.partial):
        fn = fn.func
    if isinstance(fn, Operation):
        return fn.is_async
    return (
        inspect.iscoroutinefunction(fn)
        or inspect.iscoroutinefunction(_call_of(fn))
        or getattr(fn, "_is_coroutine", None) is _MARK  # mocks and compiled code carry it
    )


_MARK: object = getattr(asyncio.coroutines, "_is_coroutine", type)
"""What asyncio marks a coroutine function with that is none by its code (a Mock has every attribute)."""


def _has_name(fn: Any) -> bool:
    return hasattr(fn, "__name__")


def _is_function(fn: Any) -> bool:
    return inspect.isroutine(fn)


def _call_of(fn: Any) -> Any:
    """The ``__call__`` of an object of the user's."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return None if inspect.isclass(fn) else getattr(fn.__class__, "__call__", None)  # noqa: B004 - not asking if callable


def labels(layers: Sequence[Pattern]) -> list[str]:
    """A name for each layer that no other layer of the stack has.

    Args:
        layers: The layers, outermost first.
    """
    seen: dict[str, int] = {}
    named: list[str] = []
    for layer in layers:
        seen[layer.label] = number = seen.get(layer.label, 0) + 1
        named.append(layer.label if number == 1 else f"{layer.label} {number}")
    return named


def protect(layers: Sequence[Policy], fn: Callable[P, T]) -> Callable[P, T]:
    """Wrap ``fn`` in layers, once and for all calls.

    Args:
        layers: The layers, outermost first.
        fn: A function, async or plain.
    """
    if not callable(fn):
        raise TypeError(f"a policy protects a callable, got {fn!r}")
    if any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in (fn, _call_of(fn))):
        raise TypeError(f"{name_of(fn)} is a generator function; a policy protects functions that return once")
    name = name_of(fn)
    blocking = not is_async(fn)
    inside: Any = fn
    all_layers: Sequence[Pattern] = layers
    known = protected(fn)
    if known is not None and known.guarded is fn:  # two decorators are one stack
        inside, all_layers = known.fn, (*layers, *known.layers)
    guarded = assemble(all_layers, inside, blocking=blocking, name=name)
    # What an object keeps in its __dict__ is its own; what a function keeps there was put there for all to see.
    given: Any = fn
    functools.update_wrapper(guarded, given, updated=("__dict__",) if _is_function(given) else ())
    if isinstance(given, functools.partial):
        guarded.__doc__ = given.func.__doc__
    if not _has_name(fn):
        guarded.__name__ = guarded.__qualname__ = name
    guarded.__failwell__ = Protected(guarded, all_layers, inside, name)  # type: ignore[attr-defined]
    return guarded


def assemble(layers: Sequence[Pattern], fn: Callable[..., Any], *, blocking: bool, name: str) -> Callable[..., Any]:
    """Chain layers around ``fn``.

    Args:
        layers: The layers, outermost first.
        fn: The innermost function.
        blocking: Whether it is a plain one.
        name: The name of the operation.
    """
    runtime: Any = BlockingRuntime if blocking else AsyncRuntime
    following = fn
    last = len(layers) - 1
    for place, label in reversed(list(enumerate(labels(layers)))):
        layer = layers[place]
        rt = runtime(label, name, layer.live_state(), fn)
        outermost, innermost = place == 0, place == last
        switched = outermost and isinstance(layer, Policy)
        factory = derive(
            type(layer).run, blocking=blocking, outermost=outermost, innermost=innermost, switched=switched
        )
        if factory is None or "run" in vars(layer):
            factory = _driving(blocking, outermost, innermost, switched)
        following = factory(layer, rt, following, name)
    return following


def _driving(blocking: bool, outermost: bool, innermost: bool, switched: bool) -> Callable[..., Callable[..., Any]]:
    """The same as a derived function, from the coroutine itself."""

    def factory(layer: Pattern, rt: Any, following: Callable[..., Any], name: str) -> Callable[..., Any]:
        def unpack(args: Any, kwargs: Any) -> Any:
            kind = PlainCall if blocking and innermost else Call
            call: Any = kind(following, args, kwargs, name, packed=not innermost)
            if not blocking:
                return layer.run(call, rt)
            return _drive(layer.run(cast("Any", _DrivenCall(call)), cast("Any", _Driven(rt))))

        def run_plain(*args: Any, **kwargs: Any) -> Any:
            if switched and switch.touched:
                if switch.is_off():
                    return rt.function(*args, **kwargs)
                rt.lease()
            return unpack(args, kwargs)

        async def run(*args: Any, **kwargs: Any) -> Any:
            if switched and switch.touched:
                if switch.is_off():
                    return await rt.function(*args, **kwargs)
                rt.lease()
            return await unpack(args, kwargs)

        if not outermost:
            return unpack
        return run_plain if blocking else run

    return factory


class _Stopped(Exception):
    """Takes a StopIteration through a coroutine, which would take it for the end of an await."""

    def __init__(self, error: StopIteration) -> None:
        super().__init__(repr(error))
        self.error = error
        self.__notes__ = getattr(error, "__notes__", [])

    def unpacked(self) -> StopIteration:
        """The error itself, with what was attached to this one on the way."""
        if self.__notes__:
            self.error.__notes__ = self.__notes__
        if self.__cause__ is not None:
            self.error.__cause__ = self.__cause__
        return self.error


def _unpacked(value: Any) -> Any:
    """A value that leaves a driven coroutine, such as an error in an event or among the arguments of an alternative.

    What holds no such error stays the object that it is: a state that a step changes must not be a copy.
    """
    if isinstance(value, _Stopped):
        return value.unpacked()
    kind = value.__class__
    if kind is tuple and any(isinstance(one, _Stopped) for one in value):
        return tuple(one.unpacked() if isinstance(one, _Stopped) else one for one in value)
    if kind is dict and any(isinstance(one, _Stopped) for one in tuple(value.values())):
        return {key: one.unpacked() if isinstance(one, _Stopped) else one for key, one in value.items()}
    return value


class _Asked:
    """A request of a driven coroutine, answered on the spot."""

    __slots__ = ("ask",)

    def __init__(self, ask: Callable[[], Any]) -> None:
        self.ask = ask

    def __await__(self) -> Self:
        return self

    def __next__(self) -> Any:
        try:
            answer = self.ask()
        except StopIteration as error:
            raise _Stopped(error) from error.__cause__
        raise StopIteration(answer)


class _DrivenCall:
    """A plain call in the clothes of an async one."""

    def __init__(self, call: Call) -> None:
        self.plain = call
        self.args, self.kwargs, self.name = call.args, call.kwargs, call.name

    def __call__(self) -> _Asked:
        return _Asked(self.plain)


_AWAITED = frozenset(name for name, method in vars(Runtime).items() if inspect.iscoroutinefunction(method))


class _Driven:
    """The blocking runtime in the clothes of an async one, for a coroutine that is driven without a loop."""

    def __init__(self, rt: BlockingRuntime) -> None:
        self._rt = rt

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._rt, name)
        if not callable(found) or name == "function":
            return found

        def request(*args: Any, **kwargs: Any) -> Any:
            if name in TAKES_CALL:
                args = tuple(map(_plainly, args))
                kwargs = {key: _plainly(one) for key, one in kwargs.items()}
            ask = functools.partial(
                found, *map(_unpacked, args), **{key: _unpacked(one) for key, one in kwargs.items()}
            )
            return _Asked(ask) if name in _AWAITED else ask()

        return request


def _plainly(given: Any) -> Any:
    """An argument of a request that takes something to call, or several such."""
    if isinstance(given, (list, tuple)):
        return tuple(map(_plainly, cast("Sequence[Any]", given)))
    return _plain(given) if callable(given) else given


def _plain(fn: Callable[[], Any]) -> Callable[[], Any]:
    """The plain form of something that the runtime is to call, such as ``call`` itself or a cleanup."""
    return fn.plain if isinstance(fn, _DrivenCall) else lambda: _drive(fn())


def _drive(work: Any) -> Any:
    """Run a coroutine that awaits nothing but its call and its runtime."""
    if isinstance(work, _Asked):
        return work.ask()
    try:
        work.send(None)
    except StopIteration as done:
        return done.value
    except _Stopped as carried:
        stopped = carried.unpacked()
    else:
        work.close()
        raise TypeError("run awaited something that is neither its call nor its runtime: that has no plain form")
    try:
        raise stopped
    finally:
        del stopped  # a frame and its own traceback would keep each other alive


# --- outcomes ------------------------------------------------------------------------------------


class _Watch(Generic[T]):
    """Collects what one call reports, and how it ended."""

    value: T | None = None
    error: Exception | None = None

    def __enter__(self) -> Self:
        self._events: list[Event] = []
        self._mark = Mark()
        self._listening = listening(self._events.append)
        self._started = time.monotonic()
        self._mark.__enter__()
        self._listening.__enter__()
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        self._elapsed = time.monotonic() - self._started
        self._listening.__exit__(None, None, None)
        self._mark.__exit__(kind)
        self.error = error if isinstance(error, Exception) else None
        return self.error is not None

    def outcome(self) -> Outcome[T]:
        degraded = self._mark.degraded and self.error is None
        return Outcome(self.value, self.error, tuple(self._events), self._elapsed, degraded, self._started)


async def _outcome_async(guarded: Callable[..., Awaitable[T]], args: Any, kwargs: Any) -> Outcome[T]:
    watch = _Watch[T]()
    try:
        with watch:
            watch.value = await guarded(*args, **kwargs)
        return watch.outcome()
    finally:
        del watch  # the error's traceback holds this frame, which must not hold the error


def _outcome_blocking(guarded: Callable[..., T], args: Any, kwargs: Any) -> Outcome[T]:
    watch = _Watch[T]()
    try:
        with watch:
            watch.value = guarded(*args, **kwargs)
        return watch.outcome()
    finally:
        del watch
