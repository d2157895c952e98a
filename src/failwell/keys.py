"""Which calls are the same: a key that is made of their arguments."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any

__all__ = ["typed_key"]

_PLAIN: frozenset[Any] = frozenset({str, int, float, bool, bytes, type(None)})


def typed_key(function: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
    """What was called and its arguments with their types, so that 1, 1.0 and True differ.

    Args:
        function: What was called, or its name.
        args: What it was called with.
        kwargs: What it was called with.

    Returns:
        A key; hashable if all arguments are.
    """
    if len(args) == 1 and not kwargs:
        kind = _type_of(args[0])
        if kind in _PLAIN:
            return function, kind, args[0]  # the usual case, at half the price
    kinds = tuple(map(_type_of, args))
    if not kwargs and _PLAIN.issuperset(kinds):
        return function, args, kinds
    named = tuple((name, _typed(kwargs[name])) for name in sorted(kwargs))
    return function, tuple(map(_typed, args)), named


def _typed(value: Any) -> Hashable:
    """A value with its type; of what may hold other values, these with theirs."""
    for holder in _HOLDERS:
        if isinstance(value, holder):
            return _type_of(value), holder(map(_typed, value))
    return _type_of(value), value


_HOLDERS: tuple[Any, ...] = (tuple, frozenset)
_type_of: Callable[[Any], Hashable] = type
