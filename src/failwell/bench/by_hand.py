"""The same jobs written out by hand, in the plainest way that works: what a policy's overhead is compared with.

These know what they need and nothing more: one kind of error, no events, no choice of backoff, no validation.
"""

import asyncio
import functools
import inspect
import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from failwell.bench.jobs import ATTEMPTS, FAILURES, LONG
from failwell.errors import AuthenticationError

Function = Callable[..., Any]


def retry(fn: Function) -> Function:
    """Three attempts."""

    @functools.wraps(fn)
    def retrying(*args: Any, **kwargs: Any) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return fn(*args, **kwargs)
            except ConnectionError:
                if attempt == ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    return retrying


def async_retry(fn: Function) -> Function:
    """Three attempts, with a turn of the event loop between them."""

    @functools.wraps(fn)
    async def retrying(*args: Any, **kwargs: Any) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await fn(*args, **kwargs)
            except ConnectionError:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(0)
        raise AssertionError("unreachable")

    return retrying


def fallback(fn: Function, alternative: Function) -> Function:
    """One alternative."""

    @functools.wraps(fn)
    def falling_back(*args: Any, **kwargs: Any) -> Any:
        try:
            return fn(*args, **kwargs)
        except ConnectionError:
            return alternative(*args, **kwargs)

    return falling_back


def async_fallback(fn: Function, alternative: Function) -> Function:
    """One alternative."""

    @functools.wraps(fn)
    async def falling_back(*args: Any, **kwargs: Any) -> Any:
        try:
            return await fn(*args, **kwargs)
        except ConnectionError:
            return await alternative(*args, **kwargs)

    return falling_back


def in_thread(fn: Function, seconds: float) -> Function:
    """A thread for each call, left behind when it takes too long."""

    @functools.wraps(fn)
    def limited(*args: Any, **kwargs: Any) -> Any:
        results: list[Any] = []
        errors: list[BaseException] = []

        def work() -> None:
            try:
                results.append(fn(*args, **kwargs))
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(seconds)
        if results:
            return results[0]
        if errors:
            raise errors[0]
        raise TimeoutError

    return limited


def async_timeout(fn: Function, seconds: float) -> Function:
    """`asyncio.timeout` around the call."""

    @functools.wraps(fn)
    async def limited(*args: Any, **kwargs: Any) -> Any:
        async with asyncio.timeout(seconds):
            return await fn(*args, **kwargs)

    return limited


def cache(fn: Function, ttl: float) -> Function:
    """A dictionary of values and the times until which they are good."""
    entries: dict[Any, tuple[float, Any]] = {}
    monotonic = time.monotonic

    @functools.wraps(fn)
    def cached(*args: Any, **kwargs: Any) -> Any:
        key = (args, tuple(sorted(kwargs.items()))) if kwargs else args
        entry = entries.get(key)
        if entry is not None and monotonic() < entry[0]:
            return entry[1]
        value = fn(*args, **kwargs)
        entries[key] = (monotonic() + ttl, value)
        return value

    return cached


def async_cache(fn: Function, ttl: float) -> Function:
    """A dictionary of values and the times until which they are good."""
    entries: dict[Any, tuple[float, Any]] = {}
    monotonic = time.monotonic

    @functools.wraps(fn)
    async def cached(*args: Any, **kwargs: Any) -> Any:
        key = (args, tuple(sorted(kwargs.items()))) if kwargs else args
        entry = entries.get(key)
        if entry is not None and monotonic() < entry[0]:
            return entry[1]
        value = await fn(*args, **kwargs)
        entries[key] = (monotonic() + ttl, value)
        return value

    return cached


def stack(fn: Function, alternative: Function, seconds: float) -> Function:
    """Fallback, retry and timeout in one function, with a thread for each attempt."""
    attempt_once = in_thread(fn, seconds)

    @functools.wraps(fn)
    def recovering(*args: Any, **kwargs: Any) -> Any:
        for _ in range(ATTEMPTS):
            try:
                return attempt_once(*args, **kwargs)
            except (ConnectionError, TimeoutError):
                continue
        return alternative(*args, **kwargs)

    return recovering


def async_stack(fn: Function, alternative: Function, seconds: float) -> Function:
    """Fallback, retry and timeout in one function, with `asyncio.timeout` around each attempt."""

    @functools.wraps(fn)
    async def recovering(*args: Any, **kwargs: Any) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with asyncio.timeout(seconds):
                    return await fn(*args, **kwargs)
            except (ConnectionError, TimeoutError):
                if attempt < ATTEMPTS:
                    await asyncio.sleep(0)
        return await alternative(*args, **kwargs)

    return recovering


class Open(Exception):
    """What the breaker below rejects a call with."""


def breaker(fn: Function) -> Function:
    """Counts failures in a row and rejects calls for a while after the fifth."""
    failures = 0
    opened = 0.0

    @functools.wraps(fn)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        nonlocal failures, opened
        if failures >= FAILURES and time.monotonic() < opened + LONG:
            raise Open
        try:
            result = fn(*args, **kwargs)
        except Exception:
            failures += 1
            opened = time.monotonic()
            raise
        failures = 0
        return result

    return guarded


def async_breaker(fn: Function) -> Function:
    """Counts failures in a row and rejects calls for a while after the fifth."""
    failures = 0
    opened = 0.0

    @functools.wraps(fn)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        nonlocal failures, opened
        if failures >= FAILURES and time.monotonic() < opened + LONG:
            raise Open
        try:
            result = await fn(*args, **kwargs)
        except Exception:
            failures += 1
            opened = time.monotonic()
            raise
        failures = 0
        return result

    return guarded


def answered(guarded: Function, alternative: Function) -> Function:
    """Any breaker, with an answer for whatever it ends with: its rejections, and the failures before them."""
    if inspect.iscoroutinefunction(alternative):

        async def answering_async(value: object) -> object:
            try:
                return await guarded(value)
            except Exception:
                return await alternative(value)

        return answering_async

    def answering(value: object) -> object:
        try:
            return guarded(value)
        except Exception:
            return alternative(value)

    return answering


class TooMany(Exception):
    """What the limits below reject a call with."""


def limiter(fn: Function, rate: int, per: float) -> Function:
    """A token bucket: no lock, and nobody waits."""
    tokens, filled = float(rate), time.monotonic()

    @functools.wraps(fn)
    def limited(*args: Any, **kwargs: Any) -> Any:
        nonlocal tokens, filled
        now = time.monotonic()
        tokens, filled = min(rate, tokens + (now - filled) * rate / per), now
        if tokens < 1:
            raise TooMany
        tokens -= 1
        return fn(*args, **kwargs)

    return limited


def async_limiter(fn: Function, rate: int, per: float) -> Function:
    """A token bucket: nobody waits."""
    tokens, filled = float(rate), time.monotonic()

    @functools.wraps(fn)
    async def limited(*args: Any, **kwargs: Any) -> Any:
        nonlocal tokens, filled
        now = time.monotonic()
        tokens, filled = min(rate, tokens + (now - filled) * rate / per), now
        if tokens < 1:
            raise TooMany
        tokens -= 1
        return await fn(*args, **kwargs)

    return limited


def window(fn: Function, rate: int, per: float) -> Function:
    """The times of the calls of one window: no lock, and nobody waits."""
    starts: deque[float] = deque()

    @functools.wraps(fn)
    def limited(*args: Any, **kwargs: Any) -> Any:
        now = time.monotonic()
        while starts and starts[0] <= now - per:
            starts.popleft()
        if len(starts) >= rate:
            raise TooMany
        starts.append(now)
        return fn(*args, **kwargs)

    return limited


def async_window(fn: Function, rate: int, per: float) -> Function:
    """The times of the calls of one window: nobody waits."""
    starts: deque[float] = deque()

    @functools.wraps(fn)
    async def limited(*args: Any, **kwargs: Any) -> Any:
        now = time.monotonic()
        while starts and starts[0] <= now - per:
            starts.popleft()
        if len(starts) >= rate:
            raise TooMany
        starts.append(now)
        return await fn(*args, **kwargs)

    return limited


def bulkhead(fn: Function, most: int) -> Function:
    """A semaphore; nobody waits."""
    slots = threading.Semaphore(most)

    @functools.wraps(fn)
    def limited(*args: Any, **kwargs: Any) -> Any:
        if not slots.acquire(blocking=False):
            raise TooMany
        try:
            return fn(*args, **kwargs)
        finally:
            slots.release()

    return limited


def async_bulkhead(fn: Function, most: int) -> Function:
    """`asyncio.Semaphore`, which everybody waits for."""
    slots = asyncio.Semaphore(most)

    @functools.wraps(fn)
    async def limited(*args: Any, **kwargs: Any) -> Any:
        async with slots:
            return await fn(*args, **kwargs)

    return limited


def router(fn: Function, other: Function) -> Function:
    """An `if`."""

    @functools.wraps(fn)
    def routing(value: int) -> Any:
        return fn(value) if value > 0 else other(value)

    return routing


def async_router(fn: Function, other: Function) -> Function:
    """An `if`."""

    @functools.wraps(fn)
    async def routing(value: int) -> Any:
        return await (fn(value) if value > 0 else other(value))

    return routing


def is_positive(value: int) -> bool:
    """What arguments have to be."""
    return value > 0


def is_small(value: int) -> bool:
    """What results have to be."""
    return value < 1000


def validate(fn: Function) -> Function:
    """Two checks."""

    @functools.wraps(fn)
    def validating(value: int) -> Any:
        if not is_positive(value):
            raise ValueError(value)
        result = fn(value)
        if not is_small(result):
            raise ValueError(result)
        return result

    return validating


def async_validate(fn: Function) -> Function:
    """Two checks."""

    @functools.wraps(fn)
    async def validating(value: int) -> Any:
        if not is_positive(value):
            raise ValueError(value)
        result = await fn(value)
        if not is_small(result):
            raise ValueError(result)
        return result

    return validating


def first_step(state: dict[str, Any]) -> object:
    """What a saga does first."""
    return None


def undo_first_step(state: dict[str, Any]) -> None:
    """What undoes it."""
    state["undone"] = True


def saga(fn: Function, undone: Function) -> Function:
    """Two steps, and the first one undone if the second one fails."""

    @functools.wraps(fn)
    def ordering(value: object) -> Any:
        state: dict[str, Any] = {"value": value}
        state["first"] = first_step(state)
        try:
            state["second"] = fn(value)
        except Exception:
            undo_first_step(state)
            undone(value)
            raise
        return state

    return ordering


def async_saga(fn: Function, undone: Function) -> Function:
    """Two steps, and the first one undone if the second one fails."""

    @functools.wraps(fn)
    async def ordering(value: object) -> Any:
        state: dict[str, Any] = {"value": value}
        state["first"] = first_step(state)
        try:
            state["second"] = await fn(value)
        except Exception:
            undo_first_step(state)
            await undone(value)
            raise
        return state

    return ordering


def hedge(fn: Function, delay: float) -> Function:
    """A thread for each attempt, the second one when the first has not answered in time."""

    @functools.wraps(fn)
    def hedging(*args: Any, **kwargs: Any) -> Any:
        answered = threading.Event()
        results: list[Any] = []

        def work() -> None:
            results.append(fn(*args, **kwargs))
            answered.set()

        threading.Thread(target=work, daemon=True).start()
        if not answered.wait(delay):
            threading.Thread(target=work, daemon=True).start()
            answered.wait()
        return results[0]

    return hedging


def async_hedge(fn: Function, delay: float) -> Function:
    """A task for each attempt, the second one when the first has not answered in time."""

    @functools.wraps(fn)
    async def hedging(*args: Any, **kwargs: Any) -> Any:
        attempts = {asyncio.ensure_future(fn(*args, **kwargs))}
        done, _ = await asyncio.wait(attempts, timeout=delay)
        if not done:
            attempts.add(asyncio.ensure_future(fn(*args, **kwargs)))
            done, _ = await asyncio.wait(attempts, return_when=asyncio.FIRST_COMPLETED)
        for attempt in attempts - done:
            attempt.cancel()
        return done.pop().result()

    return hedging


def retry_budget(fn: Function) -> Function:
    """A count of calls and one of retries."""
    calls, retries = 0, 0

    @functools.wraps(fn)
    def retrying(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls, retries
        calls += 1
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return fn(*args, **kwargs)
            except ConnectionError:
                if attempt == ATTEMPTS or retries > 10 + calls:
                    raise
                retries += 1
        raise AssertionError("unreachable")

    return retrying


def async_retry_budget(fn: Function) -> Function:
    """A count of calls and one of retries."""
    calls, retries = 0, 0

    @functools.wraps(fn)
    async def retrying(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls, retries
        calls += 1
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await fn(*args, **kwargs)
            except ConnectionError:
                if attempt == ATTEMPTS or retries > 10 + calls:
                    raise
                retries += 1
                await asyncio.sleep(0)
        raise AssertionError("unreachable")

    return retrying


def credential_refresh(fn: Function, fetch: Function) -> Function:
    """A token with a time; a new one when that is over, or when it was refused."""
    token, until = fetch(), time.monotonic() + LONG

    @functools.wraps(fn)
    def authenticated(*args: Any, **kwargs: Any) -> Any:
        nonlocal token, until
        if time.monotonic() > until:
            token, until = fetch(), time.monotonic() + LONG
        try:
            return fn(*args, **kwargs)
        except AuthenticationError:
            token, until = fetch(), time.monotonic() + LONG
            return fn(*args, **kwargs)

    return authenticated


def async_credential_refresh(fn: Function, fetch: Function) -> Function:
    """A token with a time; a new one when that is over, or when it was refused."""
    token, until = fetch(), time.monotonic() + LONG

    @functools.wraps(fn)
    async def authenticated(*args: Any, **kwargs: Any) -> Any:
        nonlocal token, until
        if time.monotonic() > until:
            token, until = fetch(), time.monotonic() + LONG
        try:
            return await fn(*args, **kwargs)
        except AuthenticationError:
            token, until = fetch(), time.monotonic() + LONG
            return await fn(*args, **kwargs)

    return authenticated


def batch(fn: Function, items: int) -> Function:
    """A loop with a `try`."""

    def processing(value: object) -> object:
        done: list[Any] = []
        failed: list[tuple[int, Exception]] = []
        for place in range(items):
            try:
                done.append(fn(value))
            except Exception as error:
                failed.append((place, error))
        return done, failed

    return processing


def async_batch(fn: Function, items: int) -> Function:
    """A loop with a `try`."""

    async def processing(value: object) -> object:
        done: list[Any] = []
        failed: list[tuple[int, Exception]] = []
        for place in range(items):
            try:
                done.append(await fn(value))
            except Exception as error:
                failed.append((place, error))
        return done, failed

    return processing


def degrade(fn: Function, instead: Function) -> Function:
    """A `try` for each of two parts."""

    def answering(value: object) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for name in ("first", "second"):
            try:
                parts[name] = fn(value)
            except Exception:
                parts[name] = instead(value)
        return parts

    return answering


def async_degrade(fn: Function, instead: Function) -> Function:
    """A `try` for each of two parts."""

    async def answering(value: object) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        for name in ("first", "second"):
            try:
                parts[name] = await fn(value)
            except Exception:
                parts[name] = await instead(value)
        return parts

    return answering


def error_context(fn: Function) -> Function:
    """A context variable that is set and set back."""

    @functools.wraps(fn)
    def placed(*args: Any, **kwargs: Any) -> Any:
        token = place.set("bench")
        try:
            return fn(*args, **kwargs)
        except Exception as error:
            error.add_note("in bench")
            raise
        finally:
            place.reset(token)

    return placed


def async_error_context(fn: Function) -> Function:
    """A context variable that is set and set back."""

    @functools.wraps(fn)
    async def placed(*args: Any, **kwargs: Any) -> Any:
        token = place.set("bench")
        try:
            return await fn(*args, **kwargs)
        except Exception as error:
            error.add_note("in bench")
            raise
        finally:
            place.reset(token)

    return placed


place: ContextVar[str] = ContextVar("place", default="")


def health_check(fn: Function) -> Function:
    """The last answer and its time."""
    known: list[tuple[float, Any]] = []

    def checked(value: object) -> Any:
        if known and time.monotonic() < known[0][0]:
            return known[0][1]
        try:
            fn(value)
            status = True
        except Exception:
            status = False
        known[:] = [(time.monotonic() + LONG, status)]
        return status

    return checked


def async_health_check(fn: Function) -> Function:
    """The last answer and its time."""
    known: list[tuple[float, Any]] = []

    async def checked(value: object) -> Any:
        if known and time.monotonic() < known[0][0]:
            return known[0][1]
        try:
            await fn(value)
            status = True
        except Exception:
            status = False
        known[:] = [(time.monotonic() + LONG, status)]
        return status

    return checked
