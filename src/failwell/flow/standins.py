"""What stands for the dependencies of foreign code, and for what they answer."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NoReturn

from failwell.flow.path import Answer

__all__ = ["Calling", "Probe", "Unanswerable", "Value"]


class Unanswerable(BaseException):
    """The explored code asked something that no explored operation can answer.

    No ``Exception``: the explored code must not take it for a failure of its operation.
    """


async def _code() -> None:
    """What a probe shows to those who look whether it is a coroutine function."""


class Probe:
    """Stands for a dependency: calling it is an operation, its attributes are probes too (``client.get``)."""

    __code__: types.CodeType = _code.__code__  # looks like a function to inspect.iscoroutinefunction
    __defaults__ = None
    __kwdefaults__ = None

    def __init__(self, name: str, call: Callable[[str], Calling]) -> None:
        self.__name__ = self.__qualname__ = name
        self._call = call

    def __call__(self, *args: Any, **kwargs: Any) -> Calling:
        """Do it; the explorer chooses how it ends.

        Args:
            *args: Whatever the code passes.
            **kwargs: Whatever the code passes.
        """
        return self._call(self.__name__)

    def __getattr__(self, name: str) -> Probe:
        if name.startswith("_"):
            raise AttributeError(name)
        return Probe(f"{self.__name__}.{name}", self._call)

    def __getitem__(self, key: object) -> Probe:
        return Probe(f"{self.__name__}[{key!r}]", self._call)

    def __setitem__(self, key: object, value: object) -> None:
        """A header or a setting: whatever it is, nothing is called."""

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *ignored: object) -> None:
        return None

    async def __aenter__(self) -> Probe:
        return self

    async def __aexit__(self, *ignored: object) -> None:
        return None

    def __repr__(self) -> str:
        return self.__name__


class Calling(Coroutine[Any, Any, Any]):
    """A call that can be awaited, or entered as clients let one do: ``async with session.get(url) as response``.

    Attributes:
        is_begun: Whether anybody awaited it, or gave it up.
    """

    def __init__(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        self.__name__ = self.__qualname__ = name
        self.is_begun = False
        self._work = work

    def __await__(self) -> Generator[Any, Any, Any]:
        self.is_begun = True
        return self._work.__await__()

    def send(self, value: Any) -> Any:
        """Go on."""
        self.is_begun = True
        return self._work.send(value)

    def throw(self, *error: Any) -> Any:
        """Go on with an error."""
        self.is_begun = True
        return self._work.throw(*error)

    def close(self) -> None:
        """End it."""
        self.is_begun = True
        self._work.close()

    async def __aenter__(self) -> Any:
        return await self

    async def __aexit__(self, *ignored: object) -> None:
        return None


class Value(Answer):
    """An answer whose parts stand for any value as well.

    Whether it counts as true is a choice of the explorer's. What else depends on the value is refused.
    """

    __slots__ = ("_truth",)

    def __init__(self, operation: str, truth: Callable[[str], bool]) -> None:
        super().__init__(operation)
        self._truth = truth

    def __getattr__(self, name: str) -> Value:
        if name.startswith("_"):
            raise AttributeError(name)
        return Value(f"{self.operation}.{name}", self._truth)

    def __call__(self, *args: Any, **kwargs: Any) -> Value:
        """What a part of an answer answers, such as ``response.json()``.

        Args:
            *args: Whatever the code passes.
            **kwargs: Whatever the code passes.
        """
        return Value(f"{self.operation}()", self._truth)

    def __getitem__(self, key: object) -> Value:
        return Value(f"{self.operation}[{key!r}]", self._truth)

    def __await__(self) -> Any:
        return self
        yield  # awaiting a part of an answer, such as a body that is read, takes no time

    def __bool__(self) -> bool:
        return self._truth(self.operation)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Answer):  # two parts of answers: the same one, or another
            return self.operation == other.operation
        raise self._unknown(f"be compared with {other!r}")

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = Answer.__hash__

    def __format__(self, specification: str) -> str:
        return str(self) if not specification else format(str(self), specification)

    def _unknown(self, what: str) -> Unanswerable:
        return Unanswerable(
            f"the {self!r} stands for any value and cannot {what}: let the function take what decides as an argument, "
            "or explore the part that calls"
        )


def _refusing(what: str) -> Callable[..., NoReturn]:
    def refuse(self: Value, *others: object) -> NoReturn:
        raise self._unknown(what.format(*others) if others else what)  # pyright: ignore[reportPrivateUsage]

    return refuse


for _names, _what in (
    ("lt le gt ge", "be compared with {0!r}"),
    ("contains", "be searched for {0!r}"),
    ("len", "be counted"),
    ("iter aiter next anext reversed", "be gone through"),
    ("int float index complex round trunc floor ceil", "be a number"),
    ("bytes", "be bytes"),
    ("add sub mul truediv floordiv mod pow matmul and or xor lshift rshift divmod", "be calculated with {0!r}"),
    (
        "radd rsub rmul rtruediv rfloordiv rmod rpow rmatmul",
        "be calculated with {0!r}",
    ),
    ("rand ror rxor rlshift rrshift rdivmod", "be calculated with {0!r}"),
    ("neg pos abs invert", "be calculated with"),
    ("setitem delitem", "be changed"),
):
    for _name in _names.split():
        setattr(Value, f"__{_name}__", _refusing(_what))
