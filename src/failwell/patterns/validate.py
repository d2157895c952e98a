"""Validate: refuse what makes no sense, before the call and after it.

Use when a bad argument would cost a call, a slot or money before the other side refuses it, or when an
answer can be wrong without being an error: an empty text, a price below zero. Do not use where the
operation checks the same thing at once and for free.

Source: Bertrand Meyer, "Applying Design by Contract", IEEE Computer 25(10), 1992.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from failwell.derive import Call
from failwell.errors import ValidationFailed
from failwell.events import Rejected
from failwell.policy import Policy, optional_callable, optional_text
from failwell.runtime import Runtime, UnexpectedAwaitable, name_of

__all__ = ["Validate"]


class Validate(Policy):
    """Check the arguments of a call, its result, or both.

    A validator accepts by returning anything truthy. It rejects by returning anything falsy, None included, or
    by raising ``ValueError`` or ``TypeError``, which is then the cause. What else it raises is raised as it is.

    Args:
        input: Called with the call's arguments (of a method with its object first). If it rejects, the operation
            is not called.
        output: Called with the result.
        name: What the layer is called in events and drawings.

    Raises:
        TypeError: If there is no validator, or one is not callable.
        ValidationFailed: On a call, if a validator rejects.
    """

    def __init__(
        self,
        input: Callable[..., object] | None = None,
        output: Callable[[Any], object] | None = None,
        name: str | None = None,
    ) -> None:
        if input is None and output is None:
            raise TypeError("Validate needs a validator, e.g. Validate(input=is_short) or Validate(output=is_polite)")
        optional_callable(input=input, output=output)
        optional_text(name=name)
        self.input = input
        self.output = output
        self.name = name

    async def run(self, call: Call, rt: Runtime) -> Any:
        if self.input is not None:
            check = functools.partial(self.input, **call.kwargs) if call.kwargs else self.input
            try:
                accepted = await rt.decide("input valid", (True, False), check, *call.args)
            except UnexpectedAwaitable:
                raise
            except (ValueError, TypeError) as error:
                raise _rejected(rt, "input", str(error)) from error
            if not accepted:
                raise _rejected(rt, "input", f"{name_of(self.input)} rejected it")
        if self.output is None:
            return await call()
        # Only an answer that is accepted counts: the mark of a degraded one that is not must not stay.
        result, is_degraded = await rt.tentative(call)
        try:
            accepted = await rt.decide("output valid", (True, False), self.output, result)
        except UnexpectedAwaitable:
            raise
        except (ValueError, TypeError) as error:
            raise _rejected(rt, "output", str(error)) from error
        if not accepted:
            raise _rejected(rt, "output", f"{name_of(self.output)} rejected it")
        if is_degraded:
            rt.degraded()
        return result


def _rejected(rt: Runtime, what: str, reason: str) -> ValidationFailed:
    """The error for a rejection, which is reported as well."""
    rt.emit(Rejected, f"{what} not valid", None)
    return ValidationFailed(rt.operation, what, reason)
