"""What rules judge by: the facts, the layers and their order, and what a layer does when it is alone."""

from __future__ import annotations

import copy
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from failwell.errors import RecoveryError, TimeoutExceeded
from failwell.events import Event
from failwell.flow.explore import explore
from failwell.flow.lint.facts import Attempted, Fact, Facts, Key, Seen, Waited
from failwell.flow.path import Choice, Path
from failwell.policy import Operation, Pattern, Policy, Stack, labels, matching, protected
from failwell.runtime import Alternative, name_of

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration

__all__ = ["Evidence", "Placed", "chosen", "less", "order", "roomy", "span", "with_attribute"]

_MOST_PATHS = 5_000
"""Of an exploration that only confirms a suspicion; where there are more, nothing is said."""


class Placed(NamedTuple):
    """A layer and where it stands.

    Attributes:
        key: Its label, and the operation that it protects.
        pattern: The layer itself.
        outer: The layers around it, outermost first; a layer whose alternative or step it protects is one of them.
        place: Its number among the explored layers, outermost first; None inside of an alternative or a step.
    """

    key: Key
    pattern: Pattern
    outer: tuple[Key, ...]
    place: int | None


class Evidence:
    """Everything that rules judge by.

    Args:
        exploration: What was explored.
        most_calls: How many calls of one operation are not too many where several layers multiply them.
    """

    def __init__(self, exploration: Exploration, most_calls: int = 10) -> None:
        self.exploration = exploration
        self.most_calls = most_calls
        self.facts = Facts(exploration.paths, exploration.not_idempotent)
        self.layers: dict[Key, Placed] = {}
        self._known: dict[tuple[tuple[int, ...], tuple[type[Exception], ...]], Exploration | None] = {}
        self.twins: dict[Key, list[Placed]] = {}  # layers that stand elsewhere with the same label and operation
        self._kept: list[Sequence[Pattern]] = []
        self._place(exploration.layers, exploration.name, (), top=True)

    def _place(self, chain: Sequence[Pattern], operation: str, outer: tuple[Key, ...], *, top: bool = False) -> None:
        for place, (pattern, label) in enumerate(zip(chain, labels(chain), strict=True)):
            key = label, operation if top or not isinstance(pattern, Operation) else pattern.__name__
            if key in self.layers:
                self.twins.setdefault(key, []).append(Placed(key, pattern, outer, None))
                continue
            self.layers[key] = Placed(key, pattern, outer, place if top else None)
            outer = (*outer, key)
            for inside, name in _inside(_parameters(pattern)):
                self._place(inside, name, outer)

    # -- facts --

    @functools.cached_property
    def attempts(self) -> dict[Key, int]:
        """Layer -> the most attempts it makes on any path."""
        found: dict[Key, int] = {}
        for fact, _ in self.facts.all(Attempted):
            found[fact.layer] = max(found.get(fact.layer, 0), fact.number)
        return found

    def waits(self, layer: Key) -> dict[int, float]:
        """Attempt -> the longest wait after it, as far as it was seen.

        Args:
            layer: A layer that makes attempts.
        """
        found: dict[int, float] = {}
        for fact, _ in self.facts.all(Waited):
            if fact.layer == layer:
                found[fact.attempt] = max(found.get(fact.attempt, 0.0), fact.longest)
        return found

    def shortest(self, facts: Iterable[Fact]) -> tuple[Fact, Seen] | None:
        """Of several facts the one that a shorter path shows than all others.

        Args:
            facts: What was seen, or was not.
        """
        seen = [(fact, how) for fact in facts if (how := self.facts.get(fact)) is not None]
        return min(seen, key=lambda one: len(one[1].path.trace), default=None)

    def shortest_path(self, shows: Callable[[Path], object]) -> Path:
        """The shortest path that shows something; if there is none, the shortest of all.

        Args:
            shows: Says of a path whether it does.
        """
        return min(self.exploration.paths, key=lambda path: (not shows(path), len(path.trace)))

    # -- layers --

    def name(self, layer: Key) -> str:
        """What to call a layer in a sentence.

        Args:
            layer: Which one.
        """
        label, operation = layer
        return label if operation == self.exploration.name or not operation else f"{label} of {operation}"

    def parameter(self, layer: Key, name: str) -> Any:
        """The value of a parameter; None where there is no such.

        Args:
            layer: Which layer.
            name: The parameter.
        """
        return self.parameters(layer).get(name)

    def amount(self, layer: Key, *names: str) -> tuple[str, float] | None:
        """The first of some parameters that is a number, with its name; None where none is.

        Args:
            layer: Which layer.
            *names: The parameters.
        """
        for name in names:
            value = self.parameter(layer, name)
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return name, value
        return None

    def parameters(self, layer: Key) -> Mapping[str, Any]:
        """The parameters of a layer, by name.

        Args:
            layer: Which layer.
        """
        placed = self.layers.get(layer)
        return _parameters(placed.pattern) if placed is not None else {}

    def is_around(self, outer: Key, inner: Key) -> bool:
        """Whether a layer is outside of another one.

        Args:
            outer: One layer.
            inner: The other one.
        """
        return inner in self.layers and outer in self.layers[inner].outer

    def may_be_around(self, outer: Key, inner: Key) -> bool:
        """Whether a layer is outside of another one, as far as that is known.

        Args:
            outer: One layer.
            inner: The other one.
        """
        return outer not in self.layers or inner not in self.layers or self.is_around(outer, inner)

    def place(self, layer: Key) -> int | None:
        """The number of a layer among the explored ones; None for one inside of an alternative or a step.

        Args:
            layer: Which layer.
        """
        return self.layers[layer].place if layer in self.layers else None

    # -- remedies --

    def told(self, layer: Key, **changes: Any) -> str:
        """A layer as code, changed.

        Args:
            layer: Which layer.
            **changes: Parameters by name.
        """
        changed = self.changed(layer, **changes)
        if changed is not None:
            return f"`{changed!r}`"
        return ", ".join(f"`{name}={_said(value)}`" for name, value in changes.items())

    def told_value(self, layer: Key, parameter: str) -> str:
        """A parameter as code.

        Args:
            layer: Which layer.
            parameter: Its name.
        """
        return f"{parameter}={_said(self.parameter(layer, parameter))}"

    def changed(self, layer: Key, **changes: Any) -> Pattern | None:
        """A layer with other parameters; None if it does not take them.

        Args:
            layer: Which layer.
            **changes: Parameters by name.
        """
        try:
            return self.layers[layer].pattern.replace(**changes)
        except Exception:  # a user's own may do anything
            return None

    def with_changed(self, *changes: tuple[Key, Mapping[str, Any]]) -> tuple[Pattern, ...]:
        """The explored layers with other parameters; nothing if that cannot be had.

        Args:
            *changes: Layers, each with its parameters by name.
        """
        layers = list(self.exploration.layers)
        for layer, values in changes:
            place = self.place(layer)
            changed = self.changed(layer, **values)
            if place is None or changed is None:
                return ()
            layers[place] = changed
        return tuple(layers)

    def without(self, *layers: Key) -> tuple[Pattern, ...]:
        """The explored layers but some; nothing if no layer would be left.

        Args:
            *layers: What to leave out.
        """
        places = {self.place(layer) for layer in layers}
        if None in places:
            return ()
        return tuple(one for place, one in enumerate(self.exploration.layers) if place not in places)

    def moved(self, layer: Key, to: int) -> tuple[Pattern, ...]:
        """The explored layers with one at another place; nothing if it is none of them.

        Args:
            layer: What to move.
            to: Its new number, outermost is 0; an operation such as a saga stays innermost.
        """
        place = self.place(layer)
        if place is None:
            return ()
        layers = list(self.exploration.layers)
        to = min(to, len(layers) - 1 - isinstance(layers[-1], Operation))
        one = layers.pop(place)
        layers.insert(to, one)
        return tuple(layers)

    def put_inside(self, layer: Key, others: Iterable[Key]) -> tuple[Pattern, ...]:
        """The explored layers with some of them directly inside of another one.

        Args:
            layer: The one that is to be outside.
            others: What to put inside of it; all of them are among the explored layers, and so is ``layer``.
        """
        moved = [place for key in others if (place := self.place(key)) is not None]
        changed: list[Pattern] = []
        for place, one in enumerate(self.exploration.layers):
            if place not in moved:
                changed.append(one)
            if place == self.place(layer):
                changed += [self.exploration.layers[other] for other in moved]
        return tuple(changed)

    # -- what would happen if --

    def alone(self, layer: Key) -> Facts | None:
        """What a layer does when nothing else is around its operation; None where that cannot be known.

        Args:
            layer: Which layer.
        """
        placed = self.layers.get(layer)
        return self.alone_with(placed.pattern) if placed is not None else None

    def alone_with(self, pattern: Pattern) -> Facts | None:
        """What a layer does that is not necessarily known by a name; None where that cannot be known.

        Args:
            pattern: The layer itself.
        """
        found = self._explored((pattern,), _suiting(_parameters(pattern), ("on", "stale_on")) or ())
        return Facts(found.paths) if found is not None else None

    def calm(self, layer: Key) -> set[type[Event]]:
        """The events that a layer reports alone even when all is well.

        Args:
            layer: Which layer.
        """
        placed = self.layers[layer]
        found = self._explored((placed.pattern,))
        return {type(event) for event in found.paths[0].events} if found is not None else set()

    def if_it_suits(self, layer: Key, names: tuple[str, ...] = ("on",)) -> Facts | None:
        """What the whole stack does when operations fail in a way that a layer handles; None if none is known.

        The explorer has operations fail in one way. What a layer does not do then it may do for other failures.

        Args:
            layer: Which layer.
            names: The parameters that say which errors it handles.
        """
        kinds = _suiting(self.parameters(layer), names)
        found = self._explored(self.exploration.layers, kinds) if kinds is not None else None
        return Facts(found.paths) if found is not None else None

    def raised_inside(self, place: int, layer: Key | None = None, parameter: str = "on") -> list[Exception]:
        """The errors that come out of what is inside of a layer, as far as that can be known; one of each type.

        Args:
            place: The number of the layer.
            layer: Have operations fail in a way that this one handles, too.
            parameter: What says which errors it handles.
        """
        inner = self.exploration.layers[place + 1 :]
        kinds = _suiting(self.parameters(layer), (parameter,)) if layer is not None else None
        found = self._explored(inner, kinds or ()) if inner else None
        paths = found.paths if found is not None else ()
        return list({type(path.error): path.error for path in paths if isinstance(path.error, Exception)}.values())

    def shown_by(self, layers: Sequence[Pattern]) -> Facts | None:
        """What other layers in place of the explored ones would show; None where that cannot be known.

        Args:
            layers: The layers, outermost first.
        """
        found = self._explored(layers)
        return Facts(found.paths, self.exploration.not_idempotent) if found is not None else None

    def always_answers(self, place: int) -> int | None:
        """The innermost layer inside of a place that never fails; None if there is none.

        Args:
            place: The number of a layer.
        """
        for inner in range(len(self.exploration.layers) - 1, place, -1):
            found = self._explored(self.exploration.layers[inner:])
            if found is None:  # with more layers around it there are only more paths
                return None
            if all(path.error is None for path in found.paths):
                return inner
        return None

    def never_fails(self, layer: Pattern) -> bool:
        """Whether a layer answers whatever its operation does.

        Args:
            layer: The layer.
        """
        found = self._explored((layer,))
        return found is not None and all(path.error is None for path in found.paths)

    def _explored(self, layers: Sequence[Pattern], failures: tuple[type[Exception], ...] = ()) -> Exploration | None:
        """Some layers, explored; None for more paths than is worth it."""
        key = tuple(map(id, layers)), failures
        if key not in self._known:
            ways: tuple[str | type[Exception], ...] = ("ok", *(failures or ("fail",)), "hang")
            try:
                self._known[key] = explore(_target(layers), self.exploration.name, outcomes=ways, limit=_MOST_PATHS)
            except (RecoveryError, TypeError, ValueError):
                self._known[key] = None
            self._kept.append(layers)  # an id is of use only as long as nothing else gets it
        return self._known[key]


def _target(layers: Sequence[Pattern]) -> Any:
    """Something to explore that is made of some layers."""
    *around, last = layers
    if not isinstance(last, Operation):
        return Stack(*cast("Sequence[Policy]", layers))
    return Stack(*cast("Sequence[Policy]", around))(cast("Any", last)) if around else last


def _parameters(pattern: Pattern) -> dict[str, Any]:
    try:
        return pattern.describe()
    except Exception:  # a user's own may do anything
        return {}


def _inside(parameters: Mapping[str, Any]) -> Iterator[tuple[tuple[Pattern, ...], str]]:
    """The layers inside of a layer: around its alternatives, its routes, its steps; each with its operation."""
    for value in parameters.values():
        for one in _items(value):
            known = protected(one)
            if known is not None:
                yield known.layers, known.name
            elif isinstance(one, Operation):
                yield (one,), one.__name__
            elif not callable(one) and not isinstance(one, (str, bytes, type)):
                yield from _of_step(one)


def _of_step(step: Any) -> Iterator[tuple[tuple[Pattern, ...], str]]:
    """A step keeps functions, and a policy under which they run."""
    kept = [value for name, value in getattr(step, "__dict__", {}).items() if not name.startswith("_")]
    policies = [value for value in kept if isinstance(value, Policy)]
    for function in kept:
        known = protected(function)
        if callable(function) and not isinstance(function, Policy) and (policies or known):
            around = tuple(layer for policy in policies for layer in policy.layers)
            yield (*around, *(known.layers if known else ())), known.name if known else name_of(function)


def _items(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from cast("Any", value).values()
    elif isinstance(value, (tuple, list)):
        yield from cast("Sequence[Any]", value)
    else:
        yield value


def _suiting(parameters: Mapping[str, Any], names: tuple[str, ...]) -> tuple[type[Exception], ...] | None:
    """Failures that a layer with these parameters handles; None if none is known."""
    kinds: list[type[Exception]] = [ConnectionError]
    for name in names:
        value = parameters.get(name)
        if value is None:
            continue
        handled = _handled(name, value)
        if handled is None:
            return None
        kinds.append(handled)
    return tuple(dict.fromkeys(kinds))


_KINDS: tuple[type[Exception], ...] = (
    ConnectionError,
    TimeoutError,
    TimeoutExceeded,
    OSError,
    ValueError,
    LookupError,
    RuntimeError,
)


def _handled(name: str, on: Any) -> type[Exception] | None:
    """A type of error that an ``on=`` handles; None where none is known."""
    try:
        handles = matching(name, on)
    except TypeError:
        return None
    given: Any = (on,) if isinstance(on, type) else () if callable(on) else tuple(on)
    kinds: tuple[type[Exception], ...] = (*_KINDS, *given)
    for kind in kinds:
        try:
            if handles(kind.__new__(kind)):
                return kind
        except Exception:
            continue
    return None


# --- as people write it --------------------------------------------------------------------------


def order(layers: Iterable[Pattern], *inside: str) -> str:
    """Layers as code, outermost first.

    Args:
        layers: The layers.
        *inside: What is inside of them.
    """
    return f"`{' >> '.join([*map(repr, layers), *inside])}`"


def _said(value: Any) -> str:
    """A value as one would type it."""
    if value.__class__ is tuple:
        return f"({', '.join(map(_said, value))})"
    if Alternative.of(value) is not None:
        return str(value.__qualname__)
    return name_of(value) if callable(value) else repr(value)


# --- numbers -------------------------------------------------------------------------------------


def span(value: float) -> str:
    """A duration as people say it: ``"1 h"``, ``"2 min"``, ``"7.5 s"``.

    Args:
        value: Seconds; may be infinite.
    """
    if math.isinf(value):
        return "without end"
    for unit, size, least in (("days", 86_400, 172_800), ("h", 3_600, 3_600), ("min", 60, 120)):
        if value >= least and value % size == 0:
            return f"{value / size:g} {unit}"
    return f"{round(value, 3):g} s"


def roomy(value: float) -> float:
    """Somewhat more than a number, with two digits; nothing is more than nothing.

    Args:
        value: A number that is not negative.
    """
    if not value:
        return 0
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return _whole(math.ceil(round(value * 1.1 / step, 6)) * step)


def less(value: float) -> float:
    """A number cut to two digits.

    Args:
        value: A number above 0.
    """
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return _whole(math.floor(round(value / step, 6)) * step)


def _whole(value: float) -> float:
    """A number without the noise of its last digits; a whole one as an int, as one would type it."""
    clean = float(f"{value:.6g}")
    return int(clean) if clean.is_integer() else clean


def with_attribute(value: Any, name: str, changed: Any) -> Any:
    """A copy of an object of values, with one of them changed.

    Args:
        value: The object.
        name: The attribute.
        changed: Its new value.
    """
    made = copy.copy(value)
    setattr(made, name, changed)
    return made


def chosen(path: Path, subject: str) -> bool:
    """Whether an operation is called on a path.

    Args:
        path: A path.
        subject: The operation.
    """
    return any(isinstance(item, Choice) and item.subject == subject for item in path.trace)
