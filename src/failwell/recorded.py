"""Errors and values as plain data, so that what happened in one process can be looked at in another.

Whatever is written is written without secrets: passwords in addresses, tokens and keys are blotted out.
An error comes back as one of the same type where that type is loaded, else as a stand-in of the same name.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from failwell.context import ErrorContext, Transport
from failwell.redaction import BLOT, is_secret, redacted

__all__ = [
    "RecordedError",
    "Shown",
    "annotations_of",
    "as_field",
    "as_value",
    "check_fields",
    "context_as_data",
    "context_of",
    "error_as_data",
    "error_of",
    "field_of",
    "part",
    "redacted",
    "type_name",
]


# --- values --------------------------------------------------------------------------------------


class Shown:
    """What is left of a value that JSON cannot hold: how it was shown.

    Attributes:
        text: Its ``repr``.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Shown) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)


class _NotJson(Exception):
    """A value that JSON cannot hold."""


_type_of: Callable[[Any], Any] = type
_PLAIN = (str, bool, type(None))
_DEEPEST = 100
_LONGEST = 10_000  # bits of a number; beyond, Python refuses to write it


def as_value(value: Any) -> dict[str, Any]:
    """A value as ``{"value": ...}`` where JSON can hold it, else as ``{"shown": its repr}``; tuples become lists.

    Args:
        value: Anything.
    """
    if type(value) is Shown:
        return {"shown": value.text}
    try:
        return {"value": _json(value, _DEEPEST)}
    except _NotJson:
        return {"shown": _shown(value)}


def _json(value: Any, deep: int) -> Any:
    kind = _type_of(value)
    if kind in _PLAIN or (kind is int and value.bit_length() < _LONGEST) or (kind is float and math.isfinite(value)):
        return value
    if kind in (list, tuple) and deep:
        return [_json(one, deep - 1) for one in value]
    if kind is dict and deep and all(type(key) is str for key in value):
        return {key: _json(one, deep - 1) for key, one in value.items()}
    raise _NotJson


def _shown(value: Any) -> str:
    try:
        return redacted(repr(value))
    except Exception:  # whatever an odd value does, it must not hide what happened
        return f"<{type(value).__name__}>"


def as_field(value: Any, name: str = "") -> Any:
    """A field of an event as JSON, without secrets; nothing of its kind is lost where it is plain data.

    Args:
        value: What the field holds.
        name: What it is called; a text that is called a password or so is not written.
    """
    kind = _type_of(value)
    if kind is str:
        return BLOT if value and is_secret(name, value) else redacted(value)
    if kind in _PLAIN or (kind is int and value.bit_length() < _LONGEST):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if kind is tuple:
        return [as_field(one) for one in value]
    if _is(value, BaseException):
        return {"error": error_as_data(value)}
    return {"json" if key == "value" else key: _without_secrets(held) for key, held in as_value(value).items()}


def _without_secrets(data: Any, name: str = "") -> Any:
    """Plain data without what is secret by its form or its name."""
    if _is(data, dict):
        return {redacted(key): _without_secrets(one, key) for key, one in data.items()}
    if data and is_secret(name, data):
        return BLOT
    if _is(data, list):
        return [_without_secrets(one) for one in data]
    return redacted(data) if isinstance(data, str) else data


def field_of(data: Any, where: str) -> Any:
    """What `as_field` was given.

    Args:
        data: What it made of it.
        where: Where it stands, for the message.

    Raises:
        ValueError: If it is nothing that `as_field` makes.
    """
    if _is(data, list):
        return tuple(field_of(one, f"{where}[{place}]") for place, one in enumerate(data))
    if not _is(data, dict):
        return data
    [(key, held)] = data.items() if len(data) == 1 else [("", None)]
    match key, held:
        case "float", "inf" | "-inf" | "nan":
            return float(held)
        case "error", _:
            return error_of(held, f"{where}.error")
        case "json", _:
            return held
        case "shown", str():
            return Shown(held)
        case _:
            raise ValueError(f"{where} must be a plain value or one of error, float, json, shown, got {_brief(data)}")


# --- errors --------------------------------------------------------------------------------------


class RecordedError:
    """What every stand-in for a recorded error is besides: its type is made anew, with the name of the one it is for.

    Where that type is loaded in this process, the stand-in derives from it as well.
    """

    def __init__(self, said: str) -> None:
        self._said = said

    def __str__(self) -> str:
        return self._said

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._said!r})"


_stand_ins: dict[tuple[str, type[BaseException] | None], type[Any]] = {}


def type_name(kind: type) -> str:
    """A type by name, with its module unless that goes without saying.

    Args:
        kind: The type.
    """
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_as_data(error: BaseException) -> dict[str, Any]:
    """An error as JSON: type, message, notes, and what it keeps in plain attributes; no secrets.

    Args:
        error: Any error.
    """
    try:
        said = str(error)
    except Exception:  # an error too odd to be told
        said = ""
    data: dict[str, Any] = {"type": type_name(type(error)), "message": redacted(said)}
    own = {
        name: BLOT if is_secret(name, value) else as_field(value)
        for name, value in _kept(error).items()
        if not name.startswith("_") and (type(value) in (*_PLAIN, int, float) or _is_plain_tuple(value))
    }
    if own:
        data["attributes"] = own
    notes = [redacted(str(note)) for note in getattr(error, "__notes__", ())]
    if notes:
        data["notes"] = notes
    return data


def _kept(error: BaseException) -> dict[str, Any]:
    slots = {name: getattr(error, name) for name in _slots(error.__class__) if hasattr(error, name)}
    return {**slots, **vars(error)}


def _slots(kind: type) -> list[str]:
    """The attributes for which objects of a type have a place outside of their ``__dict__``."""
    said: list[Any] = [vars(one).get("__slots__", ()) for one in reversed(kind.__mro__)]
    return [name for names in said for name in ((names,) if isinstance(names, str) else names)]


def _is_plain_tuple(value: Any) -> bool:
    return _type_of(value) is tuple and all(_type_of(one) in (*_PLAIN, int, float) for one in value)


def error_of(data: Any, where: str) -> BaseException:
    """An error of the same type name and message; built-in types come back as themselves.

    Args:
        data: What `error_as_data` made.
        where: Where it stands, for the message.

    Raises:
        ValueError: If it is nothing that `error_as_data` makes.
    """
    name, said = part(data, "type", str, where), part(data, "message", str, where)
    own: Any = part(data, "attributes", dict, where, {})
    notes = part(data, "notes", list, where, [])
    error = _made(name, said, plain=not own)
    slots = _slots(error.__class__)
    for key, value in own.items():
        kept = field_of(value, f"{where}.attributes.{key}")
        if key in slots:
            setattr(error, key, kept)
        else:
            error.__dict__[key] = kept
    if notes:
        error.__notes__ = [str(note) for note in notes]
    return error  # type: ignore[no-any-return]


def _made(name: str, said: str, *, plain: bool) -> Any:
    kind: Any = _loaded(name)
    if plain and kind is not None and kind.__module__ == "builtins":
        with suppress(TypeError):  # it wants more than a message
            error = kind(said)
            if str(error) == said:
                return error
    return _stand_in(name, kind)(said)


def _loaded(name: str) -> type[BaseException] | None:
    """The type of this name, if it is loaded; nothing is imported for it."""
    parts = name.split(".") if "." in name else ["builtins", name]
    for cut in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:cut]))
        for one in parts[cut:]:
            inside: Any = getattr(found, "__dict__", {})
            found = inside.get(one)
        if isinstance(found, type) and issubclass(found, BaseException):
            return found
    return None


def _stand_in(name: str, kind: type[BaseException] | None) -> type[Any]:
    if (name, kind) not in _stand_ins:
        module, _, own = name.rpartition(".")
        names = {"__module__": module or "builtins", "__qualname__": own}
        made: type[Any]
        try:
            made = type(own, (RecordedError, kind or Exception), names)
            made("")
        except Exception:  # a type that refuses to be derived from, or to be made of a message
            made = type(own, (RecordedError, Exception), names)
        _stand_ins[name, kind] = made
    return _stand_ins[name, kind]


# --- where it happened ---------------------------------------------------------------------------


def context_as_data(context: ErrorContext | None) -> dict[str, Any] | None:
    """An error context as JSON, without secrets.

    Args:
        context: The context of a call, or None.
    """
    if context is None:
        return None
    correlation = context.correlation_id
    return {
        "transport": context.transport.value,
        "operation": redacted(context.operation),
        "target": redacted(context.target),
        "correlation_id": None if correlation is None else redacted(correlation),
    }


def context_of(data: Any, where: str) -> ErrorContext | None:
    """What `context_as_data` was given, without its secrets.

    Args:
        data: What it made.
        where: Where it stands, for the message.

    Raises:
        ValueError: If it is nothing that `context_as_data` makes.
    """
    if data is None:
        return None
    transport = part(data, "transport", str, where)
    if transport not in {one.value for one in Transport}:
        known = ", ".join(one.value for one in Transport)
        raise ValueError(f"{where}.transport must be one of {known}, got {transport!r}")
    correlation = part(data, "correlation_id", (str, type(None)), where)
    operation, target = part(data, "operation", str, where), part(data, "target", str, where)
    return ErrorContext(Transport(transport), operation, target, correlation)


# --- reading what others wrote -------------------------------------------------------------------

_MISSING: Any = object()
_WORDS = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}


def part(data: Any, key: str, kind: Any, where: str, default: Any = _MISSING) -> Any:
    """One entry of an object, of the right kind.

    Args:
        data: What should be an object.
        key: The name of the entry.
        kind: Its type or types.
        where: Where the object stands, for the message.
        default: What it is if it is not there.

    Raises:
        ValueError: If it is missing or of another kind.
    """
    if not _is(data, dict):
        raise ValueError(f"{where} must be an object, got {_brief(data)}")
    found = data.get(key, default)
    if found is _MISSING:
        raise ValueError(f"{where} has no {key!r}")
    if found is not default and (not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool)):
        kinds: Any = kind if _is(kind, tuple) else (kind,)
        wanted = " or ".join(dict.fromkeys(_WORDS.get(one, "null") for one in kinds))
        raise ValueError(f"{where}.{key} must be {wanted}, got {_brief(found)}")
    return found


_FITS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "None": (type(None),),
    "NoneType": (type(None),),
    "BaseException": (BaseException,),
}
_PAIR = "tuple[float, float]"


def _fits(kind: str, value: Any) -> bool:
    if kind == _PAIR:
        return _is(value, tuple) and len(value) == 2 and all(_fits("float", one) for one in value)
    return isinstance(value, _FITS[kind]) and isinstance(value, bool) == (kind == "bool")


def check_fields(kind: type, values: Mapping[str, Any], where: str) -> None:
    """Refuse values that the fields of an event cannot have.

    Args:
        kind: The type of the event.
        values: Field -> value.
        where: Where it stands, for the message.

    Raises:
        ValueError: Naming the first field that is wrong.
    """
    said = annotations_of(kind)
    for name, value in values.items():
        kinds = [one.strip() for one in said.get(name, "").split("|")]
        if all(one in _FITS or one == _PAIR for one in kinds) and not any(_fits(one, value) for one in kinds):
            raise ValueError(f"{where}.{name} must be {' or '.join(kinds)}, got {_brief(value)}")


def annotations_of(kind: type) -> dict[str, str]:
    """The fields of an event type, each with its annotation as text.

    Args:
        kind: The type of an event.
    """
    return {
        name: said if isinstance(said, str) else getattr(said, "__name__", str(said))
        for base in reversed(kind.__mro__)
        for name, said in getattr(base, "__annotations__", {}).items()
    }


def _is(value: Any, kind: Any) -> bool:
    return isinstance(value, kind)


def _brief(value: Any) -> str:
    text = _shown(value)
    return text if len(text) < 60 else f"{text[:57]}..."
