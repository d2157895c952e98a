"""Safe call: answer with a default instead of an error, and say so in the log.

Use when the caller can go on without the answer: a setting that has a default, a hint, a picture of a
profile. Do not use where the default would be taken for the truth, or to get rid of an error that
nobody understands.

A default that hides a mistake in the program hides it for ever. So errors that only a mistake raises are
not answered, unless ``on=`` says so, and everything that is answered is logged with its traceback.

Source: Michael Nygard, "Release It!", 2nd ed., ch. 5; Tim Peters, PEP 20 ("Errors should never pass
silently. Unless explicitly silenced.").
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from reprlib import repr as shown
from typing import Any, Final, TypeVar, cast, overload

from failwell.derive import Call
from failwell.events import FellBack, log
from failwell.policy import On, Policy, matching
from failwell.runtime import Runtime

__all__ = ["MISTAKES", "SafeCall", "log_it", "no_mistake", "safe_call"]

T = TypeVar("T")
D = TypeVar("D")

MISTAKES: Final[tuple[type[Exception], ...]] = (
    AssertionError,
    AttributeError,
    ImportError,
    MemoryError,
    NameError,
    NotImplementedError,
    RecursionError,
    SyntaxError,
    SystemError,
    TypeError,
)
"""Errors that a mistake in the program raises, or a machine in trouble; trying to live with them helps nobody."""


def no_mistake(error: Exception) -> bool:
    """Whether an error is none of `MISTAKES`.

    Args:
        error: The error.
    """
    return not isinstance(error, MISTAKES)


def log_it(event: FellBack) -> None:
    """Write a warning with the error and its traceback to the logger ``failwell``.

    Args:
        event: What was reported.
    """
    log.warning("%s failed, the answer is its %s", event.operation, event.alternative, exc_info=event.error)


class SafeCall(Policy):
    """Answer with a default if the operation fails.

    The answer counts as degraded. Between this and ``Fallback.value(x)`` there are two differences: errors that only
    a mistake in the program raises pass through, and what is answered is logged.

    Args:
        default: What to answer instead, a value: a function is not called. It is the same object each time, so do
            not change it.
        on: Which errors are answered (default: every ``Exception`` but `MISTAKES`); ``on=Exception`` answers all.
        on_error: Called with the `FellBack` event instead of logging; None: do nothing.

    Raises:
        TypeError: If ``on`` or ``on_error`` is of the wrong kind.
    """

    def __init__(
        self,
        default: Any = None,
        on: On = no_mistake,
        on_error: Callable[[FellBack], object] | None = log_it,
    ) -> None:
        if on_error is not None and not callable(on_error):
            raise TypeError(f"on_error must be callable or None, got {on_error!r}")
        self.default = default
        self.on = on
        self.on_error = on_error
        self._handles = matching("on", on)

    async def run(self, call: Call, rt: Runtime) -> Any:
        try:
            return await call()
        except Exception as error:
            if not self._handles(error):
                raise
            await rt.announce(self.on_error, FellBack, f"default {shown(self.default)}", 1, error)
            rt.degraded()
            return self.default


@overload
def safe_call(
    fn: Callable[..., Coroutine[Any, Any, T]], /, *args: Any, default: D, on: On = ..., **kwargs: Any
) -> Coroutine[Any, Any, T | D]: ...
@overload
def safe_call(fn: Callable[..., T], /, *args: Any, default: D, on: On = ..., **kwargs: Any) -> T | D: ...
def safe_call(fn: Callable[..., Any], /, *args: Any, default: Any, on: On = no_mistake, **kwargs: Any) -> Any:
    """Call a function once; if it fails, answer with a default and log the error with its traceback.

    ```python
    from failwell import safe_call

    print(safe_call(int, "12", default=0), safe_call(int, "a dozen", default=0))
    #> 12 0
    ```

    Args:
        fn: A function, async or plain.
        *args: What it is called with.
        default: What to answer instead, a value.
        on: Which errors are answered (default: every ``Exception`` but `MISTAKES`); ``on=Exception`` answers all.
        **kwargs: What it is called with. A function with a parameter named ``default`` or ``on`` gets it through
            ``functools.partial``.

    Returns:
        Its value, or the default; for an async function a coroutine.

    Raises:
        TypeError: If ``fn`` is not callable, or ``on`` is of the wrong kind.
    """
    if not callable(cast("Any", fn)):
        raise TypeError(f"fn must be a function, which safe_call calls: safe_call(load, 7, default=None), got {fn!r}")
    return SafeCall(default, on)(fn)(*args, **kwargs)
