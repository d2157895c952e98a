"""The same jobs written out by hand, in the plainest way that works: what a policy's overhead is compared with.

These know what they need and nothing more: one kind of error, no events, no choice of backoff, no validation.
"""

import asyncio
import functools
import threading
import time
from collections.abc import Callable
from typing import Any

from failwell.bench.jobs import ATTEMPTS, FAILURES, LONG

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
