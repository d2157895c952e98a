"""Degrade: answer with what works, and say what is missing.

Use when an answer is put together from several parts and some of them can be done without: a shop page
without its recommendations, a profile without its badge. Do not use where half an answer is taken for a
whole one, or where every part is needed: then one failure is a failure.

Source: Google SRE Book, ch. 22 ("Graceful Degradation"); Michael Nygard, "Release It!", 2nd ed., ch. 4-5.
"""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from failwell.derive import Call
from failwell.errors import FeatureDisabledError, ReadOnlyError, RecoveryError
from failwell.events import FeatureDegraded, FeatureRestored, FellBack
from failwell.keys import typed_key
from failwell.policy import (
    On,
    Operation,
    at_least,
    flag,
    is_async,
    matching,
    not_negative,
    number,
    optional_callable,
    optional_text,
)
from failwell.runtime import Runtime, name_of

__all__ = ["Answers", "Degrade", "Feature"]


class Degrade(Operation):
    """Ask several features for their parts of an answer, and do without those that fail.

    It is an operation, not a wrapper: ``degrade(user)`` asks each feature with the same arguments, those that
    matter most first, and returns `Answers`. Unless all of them are real, the answer counts as degraded.

    Features can be switched off by hand, all that change something, all below a priority, or one by one:
    ``degrade.read_only = True``, ``degrade.level = 5``, ``degrade.disable("recommendations")``. What is switched
    off is not asked; what stands in for it is.

    Args:
        features: The parts of the answer.
        on: Which errors are done without: a type, a tuple of types or a predicate. Any other fails the call.
        key: Makes the key of a last good answer from the call's arguments, where these are not hashable or do
            not matter.
        max_concurrent: How many features are asked at once: in tasks, or in threads where all is plain. While
            exploring they are asked one after the other, so the times that it tells are those of 1.
        max_kept: How many last good answers are kept; for a new one the oldest goes.
        name: What it is called in events and drawings.
        on_degrade: Called with the `FeatureDegraded` event.
        on_restore: Called with the `FeatureRestored` event, when a feature gives its real answer again.

    Raises:
        TypeError: If an argument is of the wrong kind; on a call, if an argument is not hashable, a last good
            answer is to be kept and there is no ``key``.
        ValueError: If there are no features, two have one name, or ``max_concurrent`` or ``max_kept`` is below 1.
        Exception: On a call, the error of a required feature.
        ReadOnlyError: On a call, for a required feature that writes, while only reading is possible.
    """

    def __init__(
        self,
        features: Iterable[Feature],
        on: On = Exception,
        key: Callable[..., Hashable] | None = None,
        max_concurrent: int = 1,
        max_kept: int = 1024,
        name: str | None = None,
        on_degrade: Callable[[FeatureDegraded], object] | None = None,
        on_restore: Callable[[FeatureRestored], object] | None = None,
    ) -> None:
        given: Any = features
        if not isinstance(given, Iterable):
            raise TypeError(f"features must be several Feature(name, priority, fn), got {features!r}")
        self.features = tuple(features)
        for feature in self.features:
            if not isinstance(cast("Any", feature), Feature):
                raise TypeError(f"a feature is Feature(name, priority, fn), got {feature!r}")
        names = [feature.name for feature in self.features]
        if not names:
            raise ValueError("features must have at least one feature, got none")
        for one in names:
            if names.count(one) > 1:
                raise ValueError(f"two features are named {one!r}: give one of them another name")
        at_least(1, max_concurrent=max_concurrent, max_kept=max_kept)
        optional_callable(key=key, on_degrade=on_degrade, on_restore=on_restore)
        optional_text(name=name)
        self.on = on
        self.key = key
        self.max_concurrent = max_concurrent
        self.max_kept = max_kept
        self.name = name
        self.on_degrade = on_degrade
        self.on_restore = on_restore
        self._may_lack = matching("on", on)
        self._keeps = any(feature.last_good for feature in self.features)
        in_order = sorted(self.features, key=lambda feature: -feature.priority)
        self._asked = [(feature, *_told_apart(feature, self.features)) for feature in in_order]
        asked = (fn for feature in self.features for fn in (feature.fn, feature.fallback) if fn)
        self._is_async = any(map(is_async, (*asked, *([key] if key else []))))

    async def run(self, call: Call, rt: Runtime) -> Answers:
        board: _Board = rt.state
        key: Hashable = None
        if self._keeps and self.key is None:
            key = _key(rt.operation, call.args, call.kwargs)
        elif self._keeps:
            key = await rt.decide("key", ("any",), functools.partial(cast("Any", self.key), *call.args, **call.kwargs))
        given: dict[str, _Given] = {}

        async def ask(feature: Feature, name: str, fallback: str) -> None:
            answer: Any = None
            error: Exception | None = None
            instead = ""
            refused = board.refusal(feature)
            try:
                try:
                    if refused is not None:
                        raise refused
                    call_it = functools.partial(rt.invoke, feature.fn, call.args, call.kwargs, name)
                    answer, is_degraded = await rt.graded(call_it)
                except Exception as failed:
                    if failed is not refused and not self._may_lack(failed):
                        raise
                    error, instead = failed, FeatureDegraded.LEFT_OUT
                    last = board.last_good(feature, key, rt.now())
                    if last is not None:
                        answer, instead = last.value, FeatureDegraded.LAST_GOOD
                    elif feature.fallback is not None:
                        rt.emit(FellBack, fallback, 1, error)
                        try:
                            answer = await rt.invoke(feature.fallback, call.args, call.kwargs, fallback)
                            instead = fallback
                        except Exception as failed_too:
                            if feature.required or not self._may_lack(failed_too):
                                raise
                            error = failed_too
                    elif feature.required:
                        raise
                else:
                    if is_degraded:
                        instead = FeatureDegraded.ITS_OWN
                    elif feature.last_good:
                        board.keep(feature, key, _Last(answer, rt.now()), self.max_kept)
                given[feature.name] = _Given(answer, instead, error)
                if instead:
                    rt.degraded()
                    board.lacks(feature)
                    await rt.announce(self.on_degrade, FeatureDegraded, feature.name, error, instead)
                elif board.has_again(feature):
                    await rt.announce(self.on_restore, FeatureRestored, feature.name)
            finally:
                del error, refused  # a frame and its own traceback would keep each other alive

        try:
            if self.max_concurrent == 1:
                for feature, name, fallback in self._asked:
                    await ask(feature, name, fallback)
            else:
                calls = [functools.partial(ask, *names) for names in self._asked]
                await rt.each(self.max_concurrent, calls)
            return Answers((feature.name, given[feature.name]) for feature, *_ in self._asked)
        finally:
            given.clear()  # the frames of errors know it, and it holds these errors

    @property
    def is_async(self) -> bool:
        """Whether any feature or fallback is async."""
        return self._is_async

    @property
    def label(self) -> str:
        return self.name or super().label

    @property
    def __name__(self) -> str:
        return self.name or super().__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Ask all features that are switched on.

        Args:
            *args: What each feature is called with.
            **kwargs: What each feature is called with.

        Returns:
            `Answers`; if any feature or fallback is async a coroutine that gives them.
        """
        return self._bound(*args, **kwargs)

    def __repr__(self) -> str:
        return super().__repr__().replace(repr(self.features), repr(list(self.features)), 1)

    # -- by hand --

    @property
    def read_only(self) -> bool:
        """Whether features that write are not asked at the moment."""
        return self._board.read_only

    @read_only.setter
    def read_only(self, value: bool) -> None:
        flag(read_only=value)
        self._board.read_only = value

    @property
    def level(self) -> float:
        """The priority below which features are not asked at the moment, unless they are required."""
        return self._board.level

    @level.setter
    def level(self, value: float) -> None:
        number("level", value)
        if value != value:
            raise ValueError(f"level must be a number that can be compared, got {value!r}")
        self._board.level = value

    @property
    def disabled(self) -> frozenset[str]:
        """The features that were switched off one by one."""
        return self._board.disabled

    def disable(self, *features: str) -> None:
        """Do not ask some features until they are enabled again.

        Args:
            *features: Their names.

        Raises:
            ValueError: If there is no such feature, or it is required.
        """
        for name in features:
            if self._named(name).required:
                raise ValueError(f"feature {name!r} is required: it cannot be switched off")
        self._board.switch(features, off=True)

    def enable(self, *features: str) -> None:
        """Ask some features again; without names all of those that were disabled.

        Args:
            *features: Their names.

        Raises:
            ValueError: If there is no such feature.
        """
        for name in features:
            self._named(name)
        self._board.switch(features or self.disabled, off=False)

    @property
    def degraded(self) -> frozenset[str]:
        """The features that did not give their real answer when they were last called for."""
        return frozenset(self._board.lacking)

    def _named(self, name: str) -> Feature:
        for feature in self.features:
            if feature.name == name:
                return feature
        raise ValueError(f"there is no feature {name!r}; there are {', '.join(one.name for one in self.features)}")

    @property
    def _board(self) -> _Board:
        board: _Board = self.live_state()
        return board

    def situations(self) -> Mapping[str, Callable[[], _Board]]:
        """All features on, after a call that lacked some, and what can be switched by hand."""
        names = {one.name for one in self.features if not one.required or one.fallback or one.last_good}
        found: dict[str, Callable[[], _Board]] = {"all on": _Board}
        if names:
            found["was degraded"] = lambda: _Prepared(lacking=names)
        if any(feature.writes for feature in self.features):
            found["read-only"] = lambda: _Prepared(read_only=True)
        if not all(feature.required for feature in self.features):
            found["required only"] = lambda: _Prepared(level=float("inf"))
        return found


class Feature:
    """One part of an answer, and what stands in for it.

    Args:
        name: What it is called in the result, in events and when it is switched off.
        priority: How much it matters; of a higher priority is asked earlier.
        fn: What gives the real answer; async or plain, and protected by policies of its own if it should be.
        fallback: What answers instead, called with the same arguments; `Fallback.value` for a plain value.
            None: the feature is left out.
        last_good: Seconds for which the last good answer to the same arguments stands in; it comes before ``fallback``.
        required: Whether the call fails when neither the feature nor what stands in for it answers. It cannot be
            switched off.
        writes: Whether it changes something. It is not asked while only reading is possible.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If ``last_good`` is negative, or given for a feature that writes.
    """

    def __init__(
        self,
        name: str,
        priority: float,
        fn: Callable[..., Any],
        fallback: Callable[..., Any] | None = None,
        last_good: float = 0.0,
        required: bool = False,
        writes: bool = False,
    ) -> None:
        if not isinstance(cast("Any", name), str):
            raise TypeError(f"name must be a text, got {name!r}")
        number("priority", priority)
        if priority != priority:
            raise ValueError(f"priority must be a number that can be compared, got {priority!r}")
        if not callable(fn):
            raise TypeError(f"fn of feature {name!r} must be callable, got {fn!r}")
        if fallback is not None and not callable(fallback):
            raise TypeError(
                f"fallback of feature {name!r} must be callable, got {fallback!r}: Fallback.value(x) takes a value"
            )
        not_negative(last_good=last_good)
        flag(required=required, writes=writes)
        if writes and last_good:
            raise ValueError(
                f"last_good of feature {name!r}, which writes, must be 0, got {last_good!r}: "
                "an older answer would say that something was written"
            )
        self.name = name
        self.priority = priority
        self.fn = fn
        self.fallback = fallback
        self.last_good = last_good
        self.required = required
        self.writes = writes

    def __repr__(self) -> str:
        shown = [repr(self.name), repr(self.priority), name_of(self.fn)]
        if self.fallback is not None:
            shown.append(f"fallback={name_of(self.fallback)}")
        rest = {name: getattr(self, name) for name in ("last_good", "required", "writes")}
        shown += [f"{name}={value!r}" for name, value in rest.items() if value]
        return f"Feature({', '.join(shown)})"


class _Given(NamedTuple):
    """What one feature gave, what it is if not the real answer, and why."""

    answer: Any
    instead: str
    error: Exception | None


class Answers(Mapping[str, Any]):
    """What a call got together: a mapping of features to their answers, which also says what is not the real one.

    Attributes:
        answers: Feature -> its answer, or what stands in for it. What is missing is not in it.
        degraded: The features that are answered by something else, in the order of their priority.
        missing: The features without any answer.
        errors: Feature -> why it did not give its real answer; not for one that degraded its answer by itself.
    """

    __slots__ = ("answers", "degraded", "errors", "missing")

    def __init__(self, given: Iterable[tuple[str, _Given]] = ()) -> None:
        found = dict(given)
        self.missing = tuple(name for name, one in found.items() if one.instead == FeatureDegraded.LEFT_OUT)
        self.degraded = tuple(name for name, one in found.items() if one.instead and name not in self.missing)
        self.answers: dict[str, Any] = {name: one.answer for name, one in found.items() if name not in self.missing}
        self.errors: dict[str, Exception] = {name: one.error for name, one in found.items() if one.error is not None}

    @property
    def is_complete(self) -> bool:
        """Whether every feature gave its real answer."""
        return not (self.degraded or self.missing)

    def __getitem__(self, feature: str) -> Any:
        return self.answers[feature]

    def __iter__(self) -> Iterator[str]:
        return iter(self.answers)

    def __len__(self) -> int:
        return len(self.answers)

    def __repr__(self) -> str:
        lacks = [f"{name}={getattr(self, name)!r}" for name in ("degraded", "missing") if getattr(self, name)]
        return f"Answers({', '.join([repr(self.answers), *lacks])})"


def _told_apart(feature: Feature, features: Iterable[Feature]) -> tuple[str, str]:
    """The names of a feature's functions; with the feature's own where several functions have one name."""
    every = [name_of(fn) for one in features for fn in (one.fn, one.fallback) if fn is not None]
    name, fallback = name_of(feature.fn), "" if feature.fallback is None else name_of(feature.fallback)
    return (
        name if every.count(name) == 1 else feature.name,
        fallback if every.count(fallback) <= 1 else f"{fallback} for {feature.name}",
    )


# --- what is switched off, and what was answered -------------------------------------------------


class _Last:
    """A good answer, and when it was given."""

    __slots__ = ("given_at", "value")

    def __init__(self, value: Any, given_at: float) -> None:
        self.value = value
        self.given_at = given_at


class _Board:
    """The switches, the features that were lacking, and the last good answers. Reading takes no lock."""

    def __init__(self) -> None:
        self.read_only = False
        self.level = float("-inf")
        self.disabled: frozenset[str] = frozenset()
        self.lacking: set[str] = set()
        self._kept: OrderedDict[Hashable, _Last] = OrderedDict()
        self._lock = threading.Lock()

    def refusal(self, feature: Feature) -> RecoveryError | None:
        """Why a feature must not be asked now, if it must not."""
        if self.read_only and feature.writes:
            return ReadOnlyError(feature.name)
        if not feature.required and (feature.priority < self.level or feature.name in self.disabled):
            return FeatureDisabledError(feature.name)
        return None

    def switch(self, features: Iterable[str], *, off: bool) -> None:
        with self._lock:
            self.disabled = self.disabled | set(features) if off else self.disabled - set(features)

    def lacks(self, feature: Feature) -> None:
        with self._lock:
            self.lacking.add(feature.name)

    def has_again(self, feature: Feature) -> bool:
        """Whether a feature was lacking until now; of several callers one is told so."""
        if feature.name not in self.lacking:
            return False
        with self._lock:
            was_lacking = feature.name in self.lacking
            self.lacking.discard(feature.name)
            return was_lacking

    def keep(self, feature: Feature, key: Hashable, last: _Last, most: int) -> None:
        place = feature.name, key
        with self._lock:
            while place not in self._kept and len(self._kept) >= most:
                self._kept.popitem(last=False)
            self._kept[place] = last  # in one go: who reads meanwhile finds the one or the other
            self._kept.move_to_end(place)

    def last_good(self, feature: Feature, key: Hashable, now: float) -> _Last | None:
        """The last good answer to the same arguments, unless it is too old."""
        last = self._kept.get((feature.name, key))
        return last if last is not None and now - last.given_at < feature.last_good else None


class _Prepared(_Board):
    """A board to explore with: something is switched, and every feature has a last good answer."""

    def __init__(self, *, lacking: Iterable[str] = (), read_only: bool = False, level: float = float("-inf")) -> None:
        super().__init__()
        self.lacking.update(lacking)
        self.read_only = read_only
        self.level = level

    def last_good(self, feature: Feature, key: Hashable, now: float) -> _Last | None:
        return _Last("the last good answer", 0.0) if feature.last_good else None


def _key(operation: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Hashable:
    key = typed_key(operation, args, kwargs)
    try:
        hash(key)
    except TypeError:
        raise TypeError(
            f"an argument of {operation} is not hashable, so its last good answer cannot be found again; "
            "give Degrade(key=...) a function that makes a key from the arguments"
        ) from None
    return key
