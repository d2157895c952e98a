"""Fallback: when the first choice fails, answer with the next best.

Use when a poorer answer is better than none: a second provider, yesterday's figures, a default. Do not
use where a wrong answer does harm that an error would not, or where the alternative depends on the
thing that has just failed.

Source: Michael Nygard, "Release It!", 2nd ed., ch. 5; Netflix Hystrix, "How it works".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from failwell.derive import Call
from failwell.events import FellBack
from failwell.policy import On, Policy, matching
from failwell.runtime import Runtime, name_of

__all__ = ["Fallback"]


class Fallback(Policy):
    """Ask alternatives in order until one answers.

    Args:
        *alternatives: Functions, async or plain, called with the same arguments, and with the error too
            where they have a parameter named ``error``; `Fallback.value` for a plain value,
            `Fallback.url` for another service.
        on: Which errors are answered by an alternative (default: every ``Exception``).

    Raises:
        TypeError: If there is no alternative, or one is not callable.
        Exception: On a call, when all fail: the last error; the earlier ones are its ``__cause__`` chain.
    """

    def __init__(self, *alternatives: Callable[..., Any], on: On = Exception) -> None:
        if not alternatives:
            raise TypeError("Fallback needs an alternative, e.g. Fallback(other_service) or Fallback.value([])")
        for alternative in alternatives:
            if not callable(alternative):
                raise TypeError(f"an alternative must be callable, got {alternative!r}: Fallback.value(x) takes a value")
        self.alternatives = alternatives
        self.on = on
        self._handles = matching("on", on)
        self._wants_error = [_has_error_parameter(one) for one in alternatives]

    async def run(self, call: Call, rt: Runtime) -> Any:
        try:
            return await call()
        except Exception as first:
            if not self._handles(first):
                raise
            error = first
            for order, alternative in enumerate(self.alternatives, start=1):
                name = name_of(alternative)
                rt.emit(FellBack, name, order, error)
                kwargs = {**call.kwargs, "error": error} if self._wants_error[order - 1] else call.kwargs
                try:
                    answer = await rt.invoke(alternative, call.args, kwargs, name)
                except Exception as failed:
                    if failed is not error and failed.__cause__ is None:
                        failed.__cause__ = error
                    if order == len(self.alternatives) or not self._handles(failed):
                        raise
                    error = failed
                else:
                    rt.degraded()
                    return answer

    @staticmethod
    def value(value: Any) -> Callable[..., Any]:
        """An alternative that answers with a value.

        Args:
            value: What to answer. The same object each time, so do not change it.
        """

        def constant(*args: Any, **kwargs: Any) -> Any:
            return value

        constant.__name__ = constant.__qualname__ = f"value {value!r}"[:40]
        return constant

    @staticmethod
    def url(url: str, *, timeout: float = 10.0) -> Callable[..., Any]:
        """An alternative that asks another service: GET ``url``, answered as JSON (else as text). Needs httpx.

        Placeholders are filled from the call's arguments: ``"https://backup.example/users/{0}"``.

        Args:
            url: Where to ask.
            timeout: Seconds before the request is given up.

        Raises:
            ModuleNotFoundError: If httpx is not installed.
        """
        try:
            import httpx
        except ModuleNotFoundError as missing:
            raise ModuleNotFoundError("Fallback.url needs httpx: pip install 'failwell[http]'") from missing

        async def get(*args: Any, **kwargs: Any) -> Any:
            async with httpx.AsyncClient(timeout=timeout) as client:
                response = (await client.get(url.format(*args, **kwargs))).raise_for_status()
            is_json = "json" in response.headers.get("content-type", "")
            return response.json() if is_json else response.text

        get.__name__ = get.__qualname__ = f"GET {url}"
        return get


def _has_error_parameter(fn: Callable[..., Any]) -> bool:
    try:
        return "error" in inspect.signature(fn).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature
        return False
