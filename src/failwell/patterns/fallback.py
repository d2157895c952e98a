"""Fallback: when the first choice fails, answer with the next best.

Use when a poorer answer is better than none: a second provider, yesterday's figures, a default. Do not
use where a wrong answer does harm that an error would not, or where the alternative depends on the
thing that has just failed.

Source: Michael Nygard, "Release It!", 2nd ed., ch. 5; Netflix Hystrix, "How it works".
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeAlias

from failwell.derive import Call
from failwell.events import FellBack
from failwell.policy import On, Policy, matching
from failwell.runtime import Alternative, Runtime, name_of

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
                raise TypeError(
                    f"an alternative must be callable, got {alternative!r}: Fallback.value(x) takes a value"
                )
        self.alternatives = alternatives
        self.on = on
        self._handles = matching("on", on)
        self._asked = [(one, name_of(one), _arguments_of(one)) for one in alternatives]

    async def run(self, call: Call, rt: Runtime) -> Any:
        try:
            return await call()
        except Exception as first:
            if not self._handles(first):
                raise
            error, order = first, 0
            args = kwargs = None
            try:
                while True:
                    alternative, name, arguments = self._asked[order]
                    order += 1
                    rt.emit(FellBack, name, order, error)
                    try:
                        args, kwargs = arguments(call.args, call.kwargs, error)
                        answer = await rt.invoke(alternative, args, kwargs, name)
                    except Exception as failed:
                        _attach(failed, error)
                        if order == len(self._asked) or not self._handles(failed):
                            raise
                        error = failed
                    else:
                        rt.degraded()
                        return answer
            finally:
                del error, args, kwargs  # a frame and its own traceback would keep each other alive

    @staticmethod
    def value(value: Any) -> Callable[..., Any]:
        """An alternative that answers with a value.

        Args:
            value: What to answer. The same object each time, so do not change it.
        """

        def constant(*args: Any, **kwargs: Any) -> Any:
            return value

        Alternative(constant, never_fails=True)
        said = repr(value)
        constant.__name__ = f"value {said}"[:40]
        constant.__qualname__ = f"Fallback.value({said if len(said) <= 60 else '...'})"
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

        tls = httpx.create_ssl_context()  # takes longer than a request, so once for all of them

        def answer(response: Any) -> Any:
            is_json = "json" in response.raise_for_status().headers.get("content-type", "")
            return response.json() if is_json else response.text

        async def get(*args: Any, **kwargs: Any) -> Any:
            async with httpx.AsyncClient(timeout=timeout, verify=tls) as client:
                return answer(await client.get(_filled(url, args, kwargs)))

        def get_plain(*args: Any, **kwargs: Any) -> Any:
            with httpx.Client(timeout=timeout, verify=tls) as client:
                return answer(client.get(_filled(url, args, kwargs)))

        Alternative(get, plain_form=get_plain)
        get.__name__ = f"GET {url}"
        get.__qualname__ = f"Fallback.url({url!r})"
        return get


def _filled(url: str, args: Any, kwargs: Any) -> str:
    """Fill in a URL; a slash or a question mark in a value stays a part of that value."""
    from string import Formatter
    from urllib.parse import quote

    class Quoting(Formatter):
        def format_field(self, value: Any, format_spec: str) -> str:
            return quote(format(value, format_spec), safe="")

    return Quoting().vformat(url, args, kwargs)


Arguments: TypeAlias = Callable[[Any, Any, Exception], tuple[Any, Any]]


def _arguments_of(alternative: Callable[..., Any]) -> Arguments:
    """How an alternative is called: as the operation was, with the error too, or with the error alone."""
    try:
        parameters = inspect.signature(alternative).parameters
    except (TypeError, ValueError):  # some built-in functions have no signature
        return _as_it_was
    error = parameters.get("error")
    if error is None:
        return _as_it_was
    if len(parameters) > 1:
        return _with_error
    return _error_by_name if error.kind is error.KEYWORD_ONLY else _error_alone


def _as_it_was(args: Any, kwargs: Any, error: Exception) -> tuple[Any, Any]:
    return args, kwargs


def _with_error(args: Any, kwargs: Any, error: Exception) -> tuple[Any, Any]:
    return args, {"error": error, **kwargs}


def _error_alone(args: Any, kwargs: Any, error: Exception) -> tuple[Any, Any]:
    return (error,), None


def _error_by_name(args: Any, kwargs: Any, error: Exception) -> tuple[Any, Any]:
    return (), {"error": error}


def _attach(failed: BaseException, earlier: BaseException) -> None:
    """Have the chain of a later error lead to the earlier one."""
    known = _chain(earlier, set())
    if id(failed) in {id(one) for one in known}:
        return  # the same object again
    if failed.__suppress_context__ and failed.__cause__ is None:
        failed.__cause__ = earlier
        return
    link = _chain(failed, {id(one) for one in known})[-1]
    if link is failed or link.__cause__ is not None:
        link.__cause__ = earlier
    else:
        link.__context__ = earlier


def _chain(error: BaseException, end: set[int]) -> list[BaseException]:
    """An error and what it came from, up to an error in ``end``."""
    links: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and id(following) not in end:
        links.append(following)
        end = {*end, id(following)}
        following = following.__cause__ or following.__context__
    return links
