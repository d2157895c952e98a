"""Credential refresh: get a new token before the old one expires, and when it was refused; once for all callers.

Use for whatever expires and can be had anew: an OAuth token, a lease of a secret store, a session. Do not use it
for a password that is wrong, or for a permission that is missing: a new token is refused in the same way.

Source: RFC 6749, section 1.5 (refresh tokens); RFC 6750, section 3 (the refusal of an access token).
"""

from __future__ import annotations

import copy
import inspect
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Generic, NoReturn, Protocol, TypeVar, overload

from failwell.derive import Call
from failwell.errors import AuthenticationError
from failwell.events import CredentialRefreshed, CredentialRefreshFailed, CredentialRefreshing
from failwell.flight import Flight, Flights
from failwell.policy import On, Pattern, Policy, flag, matching, number, states_apart
from failwell.runtime import Runtime, UnexpectedAwaitable, name_of

__all__ = ["Credential", "CredentialRefresh", "Refreshable"]

T = TypeVar("T")


class CredentialRefresh(Policy):
    """Call with a credential that is good: refresh it when it has expired, and once more when it was refused.

    However many callers need a new one, one of them gets it and all go on with that; if the refresh fails, all of
    them get its error. If the caller that refreshes is cancelled, another one takes over. Who is refused with a
    credential that was replaced meanwhile does not refresh again. A call is refused at most twice, and then raises
    what it was refused with. All layers around one credential act as one.

    Args:
        credential: A `Credential`, or any object with ``is_expired`` and ``refresh()``. The operation reads its
            secret from it.
        on: Which errors say that the credential was refused: a type, a tuple of types or a predicate.
        shielded: Whether a refresh that has begun is brought to its end although its caller is cancelled, who waits
            for that: for refresh tokens that work only once. Give ``refresh`` a limit of time of its own then.

    Raises:
        TypeError: If ``credential`` cannot be refreshed, or ``is_expired`` is a method of it.
    """

    def __init__(self, credential: Refreshable, on: On = AuthenticationError, shielded: bool = False) -> None:
        given: Any = credential
        if isinstance(given, type) or not callable(getattr(given, "refresh", None)):
            raise TypeError(f"credential must have refresh() and is_expired, got {_named(given)}")
        is_expired = inspect.getattr_static(given, "is_expired", None)
        if is_expired is None and not hasattr(given, "is_expired"):
            raise TypeError(f"credential must have refresh() and is_expired, got {_named(given)}")
        if inspect.isroutine(is_expired):
            raise TypeError(f"is_expired of {_named(given)} must be a property or an attribute, it is a method")
        flag(shielded=shielded)
        self.credential = credential
        self.on = on
        self.shielded = shielded
        self._is_refusal = matching("on", on)
        self._renewal = _renewal_of(given)
        self._renewal.origin = self._renewal.origin or self
        # Of a Credential, it is its user's function that is called, so that it is explored and drawn.
        own: Credential[Any] | None = given if isinstance(given, Credential) else None  # pyright: ignore[reportUnknownVariableType]
        self._fetch: Callable[[], Any] = given.refresh if own is None else own.fetch
        self._keep: Callable[[Any, float], object] = _kept_already if own is None else own.keep

    async def run(self, call: Call, rt: Runtime) -> Any:
        renewal: _Renewal = rt.state
        flight = _LANDED
        refused: Exception | None = None
        era = 0

        async def refresh() -> None:
            asked = rt.now()
            rt.emit(CredentialRefreshing, flight.note)
            try:
                await rt.decide("credential kept", (None,), self._keep, await rt.invoke(self._fetch), asked)
            except UnexpectedAwaitable:
                raise
            except Exception as error:
                flight.fail(error)
                rt.emit(CredentialRefreshFailed, error)
                raise
            renewal.done(flight)
            rt.emit(CredentialRefreshed)

        try:
            while True:
                used, era, under_way = era, renewal.era, renewal.under_way.get(None)
                reason = ""
                if refused is not None and used == era:
                    reason = CredentialRefreshing.REFUSED
                elif under_way is not None:
                    if under_way.is_own:
                        return await call()  # the refresh needs it for itself, and cannot wait for itself
                    reason = under_way.note
                elif await rt.decide("credential expired", (False, True), self._is_expired):
                    reason = CredentialRefreshing.EXPIRED
                if reason:
                    flight, leads = renewal.board(era, reason)
                    while not (leads or flight is _LANDED):
                        await rt.wait(flight.landed)
                        if flight.error is not None:
                            raise self._because_of(refused, flight.error.with_traceback(flight.traceback))
                        flight, leads = renewal.board(era, reason)  # it is refreshed; or who did that was cancelled
                    if leads:
                        with renewal.leading(flight, None if self.shielded else rt):
                            try:
                                if self.shielded:
                                    await rt.shielded(refresh)
                                else:
                                    await refresh()
                            except Exception as error:
                                self._because_of(refused, error)
                                raise
                era = renewal.era
                try:
                    return await call()
                except Exception as error:
                    if not self._is_refusal(error):
                        raise
                    if refused is not None:
                        _note_second_refusal(error)
                        raise
                    refused = error
        finally:
            refused, flight = None, _LANDED  # a frame and its own traceback would keep each other alive

    def situations(self) -> Mapping[str, Callable[[], Any]]:
        """One only: whether it has expired is for the credential to say."""
        return {"ready": _Renewal}

    @property
    def origin(self) -> Pattern:
        """The first layer around the same credential: all of them share their state."""
        return self._renewal.origin or self

    def live_state(self) -> Any:
        """What this layer shares with all others around the same credential."""
        return self._renewal if states_apart.get() is None else super().live_state()

    def describe(self) -> dict[str, Any]:
        """The parameters by name; a credential of the user's by its type, since it may show its secret."""
        shown = super().describe()
        if not isinstance(self.credential, Credential):
            shown["credential"] = _Unshown(self.credential)
        return shown

    def _arguments(self) -> dict[str, Any]:
        return super().describe()

    def __repr__(self) -> str:
        shown = copy.copy(self)
        shown.__dict__.update(self.describe())
        return Policy.__repr__(shown)

    def _is_expired(self) -> bool:
        return self.credential.is_expired

    def _because_of(self, refused: Exception | None, error: Exception) -> Exception:
        """The error of a refresh, which now knows of the refusal that it was for."""
        before = error.__cause__
        if refused is None or _comes_from(refused, error):
            return error
        if before is None or (isinstance(before, Exception) and self._is_refusal(before)):
            error.__cause__ = refused
        return error


class Refreshable(Protocol):
    """What `CredentialRefresh` takes: a `Credential`, or anything else that expires and can be had anew."""

    @property
    def is_expired(self) -> bool:
        """Whether it is to be refreshed before it is used again."""
        ...

    def refresh(self) -> Any:
        """Get a new one; may be async under async calls."""
        ...


class Credential(Generic[T]):
    """A secret that expires and can be fetched anew.

    The operation reads its ``value`` each time that it is called. The value is shown by nothing but ``value``
    itself: neither by ``repr`` nor in an event, a drawing or an error.

    Args:
        fetch: Gets a new value; a plain or an async function, which may be protected by policies of its own.
        lifetime: Seconds for which a value is good, counted from the moment at which it was asked for: a number, or a
            function of the value that knows (None where it says nothing). None: until it is refused.
        margin: Seconds before the end at which the value counts as expired, so that it does not expire on its way;
            never more than half of the lifetime.

    Raises:
        ValueError: If ``lifetime`` or ``margin`` is out of range.
        TypeError: If an argument is of the wrong kind.
    """

    @overload
    def __init__(
        self,
        fetch: Callable[[], Coroutine[Any, Any, T]],
        lifetime: float | Callable[[T], float | str | None] | None = None,
        margin: float = 10.0,
    ) -> None: ...
    @overload
    def __init__(
        self,
        fetch: Callable[[], T],
        lifetime: float | Callable[[T], float | str | None] | None = None,
        margin: float = 10.0,
    ) -> None: ...
    def __init__(
        self,
        fetch: Callable[[], Any],
        lifetime: float | Callable[[Any], float | str | None] | None = None,
        margin: float = 10.0,
    ) -> None:
        if not callable(fetch):
            raise TypeError(f"fetch must be a function that gets a new value, got {type(fetch).__name__}")
        if lifetime is not None and not callable(lifetime):
            number("lifetime", lifetime)
            if not lifetime > 0:
                raise ValueError(f"lifetime must be above 0 seconds, got {lifetime!r}")
        number("margin", margin)
        if not 0 <= margin < float("inf"):
            raise ValueError(f"margin must be a finite number of seconds that is not negative, got {margin!r}")
        self.fetch = fetch
        self.lifetime = lifetime
        self.margin = margin
        self._current: tuple[T, float] | None = None  # the value, and when it counts as expired

    @property
    def value(self) -> T:
        """The secret itself.

        Raises:
            LookupError: If it was never fetched; a call through `CredentialRefresh` fetches it before.
        """
        current = self._current
        if current is None:
            raise LookupError("this credential was not fetched yet: refresh() it, or call through CredentialRefresh")
        return current[0]

    @property
    def is_expired(self) -> bool:
        """Whether there is no value, or its time is over but for the margin."""
        current = self._current
        return current is None or time.monotonic() >= current[1]

    def expire(self) -> None:
        """Forget the value; the next call fetches a new one."""
        self._current = None

    def keep(self, value: T, asked: float | None = None) -> None:
        """Use a value from now on that was got in another way, such as one from a file.

        Args:
            value: The secret.
            asked: When it was asked for, in monotonic seconds (default: now).
        """
        since = time.monotonic() if asked is None else asked
        seconds = self.lifetime(value) if callable(self.lifetime) else self.lifetime
        good_for = float("inf") if seconds is None else _seconds(seconds)
        self._current = value, since + good_for - min(self.margin, max(0.0, good_for / 2))
        _renewal_of(self).done()

    def refresh(self) -> Any:
        """Fetch a new value now; a coroutine if ``fetch`` is async. Calls through `CredentialRefresh` need not ask.

        A call that is refused with the value from before makes do with this one.
        """
        asked = time.monotonic()
        fetched = self.fetch()
        if inspect.isawaitable(fetched):
            return self._refresh(fetched, asked)
        self.keep(fetched, asked)
        return None

    async def _refresh(self, fetching: Any, asked: float) -> None:
        self.keep(await fetching, asked)

    def __repr__(self) -> str:
        """As one would type it; without the value."""
        shown = [name_of(self.fetch)]
        if self.lifetime is not None:
            shown.append(f"lifetime={name_of(self.lifetime) if callable(self.lifetime) else self.lifetime}")
        if self.margin != 10:
            shown.append(f"margin={self.margin}")
        return f"Credential({', '.join(shown)})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a credential is neither copied nor pickled: share the object, or make another one")


_LANDED = Flight[None]()
"""Somebody else's refresh, which is over and went well."""


class _Renewal(Flights[None]):
    """What all layers around one credential share: how often it was refreshed, and the refresh that is under way."""

    def __init__(self, credential: object = None) -> None:
        super().__init__()
        self.of = id(credential)  # a copy of the credential takes this along, and is another one
        self.origin: Pattern | None = None
        self.era = 0

    def board(self, era: int, reason: str) -> tuple[Flight[None], bool]:
        """The refresh to wait for, and whether the caller is the one to do it; none if one was done since ``era``."""
        with self.lock:
            return self.join(note=reason) if self.era == era else (_LANDED, False)

    def done(self, flight: Flight[None] = _LANDED) -> None:
        """There is a new credential; from this moment on, nobody has to wait for the refresh that brought it."""
        with self.lock:
            self.era += 1
            self.close(flight)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Renewal, ()  # of a copy, which has no credential yet


def _renewal_of(credential: Any) -> _Renewal:
    """The one that belongs to a credential; an object that takes no attribute has one for each layer."""
    with _making:
        known = getattr(credential, _KEPT_AS, None)
        if not isinstance(known, _Renewal) or known.of != id(credential):
            known = _Renewal(credential)
            with suppress(Exception):
                setattr(credential, _KEPT_AS, known)
        return known


_KEPT_AS = "__failwell_renewal__"
_making = threading.Lock()


def _kept_already(value: Any, asked: float) -> None:
    """A credential of the user's keeps what it got by itself."""


def _comes_from(error: BaseException, other: BaseException) -> bool:
    """Whether ``other`` is an error, or what led to it."""
    left: list[BaseException | None] = [error]
    seen: set[int] = set()
    while left:
        one = left.pop()
        if one is other:
            return True
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            left += [one.__cause__, one.__context__]
    return False


def _note_second_refusal(error: Exception) -> None:
    note = "failwell: refused again with a credential that was refreshed"
    with suppress(Exception):  # an error that cannot be changed stays without a note
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def _seconds(lifetime: Any) -> float:
    """A lifetime as a number; what is wrong with it is said without showing it, since it comes from a secret."""
    try:
        seconds = float(lifetime)
    except (TypeError, ValueError):
        raise TypeError(f"lifetime must give seconds, it gave {type(lifetime).__name__}") from None
    if seconds != seconds:
        raise ValueError("lifetime must give seconds, it gave nan")
    return seconds


def _named(credential: object) -> str:
    """A credential of the user's by its type: what it shows of itself may be the secret."""
    return credential.__name__ if isinstance(credential, type) else type(credential).__name__


class _Unshown:
    """Stands for a credential where parameters are shown."""

    def __init__(self, credential: object) -> None:
        self.name = _named(credential)

    def __repr__(self) -> str:
        return self.name
