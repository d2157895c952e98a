"""Hedge: when an answer is late, ask once more beside it, and take whichever comes first.

Use where a few calls take far longer than the others for no reason of their own (a busy replica, a lost
packet, a pause of its collector), and the same question to somebody else would be answered at once. Do
not use for what must not happen twice, or where all are slow because there is too much to do.

What loses is cancelled and waited for (async), or left behind in its thread, where nothing new starts (plain).

Source: Jeffrey Dean and Luiz Barroso, "The Tail at Scale", Communications of the ACM 56(2), 2013.
"""

from __future__ import annotations

from itertools import count
from typing import Any

from failwell.derive import Call
from failwell.events import Hedged
from failwell.policy import On, Policy, at_least, matching, number
from failwell.runtime import Runtime

__all__ = ["Hedge"]


class Hedge(Policy):
    """Start further attempts beside one whose answer is late; the first answer wins.

    An attempt that fails has the next one start at once. If all fail, the first one's own error is raised; those of
    the others are in its ``also_failed``, and a note names them.

    Args:
        delay: Seconds without an answer after which one more attempt starts. About what all but the slowest few
            answers take is a good choice.
        max_hedges: How many attempts there may be beside the first one.
        on: Which errors leave the answer to the other attempts: a type, a tuple of types or a predicate. Any other
            error ends all of them and is raised at once.

    Raises:
        ValueError: If ``delay`` is negative or not finite, or ``max_hedges`` is below 1.
        TypeError: If an argument is of the wrong kind.
    """

    def __init__(self, delay: float, max_hedges: int = 1, on: On = Exception) -> None:
        number("delay", delay)
        if not 0 <= delay < float("inf"):
            raise ValueError(f"delay must be a finite number of seconds that is not negative, got {delay!r}")
        at_least(1, max_hedges=max_hedges)
        self.delay = delay
        self.max_hedges = max_hedges
        self.on = on
        self._leaves_it_to_others = matching("on", on)

    async def run(self, call: Call, rt: Runtime) -> Any:
        numbers = count(2)
        failed: list[None] = []

        async def attempt() -> Any:
            try:
                return await call(), None
            except Exception as error:
                if self._leaves_it_to_others(error):
                    failed.append(None)
                    raise
                return None, error  # this settles it, as an answer does

        async def hedge() -> Any:
            number = next(numbers)
            rt.emit(Hedged, number, 0.0 if len(failed) == number - 1 else self.delay)
            return await attempt()

        delay = self.delay
        answer, error = await rt.first([attempt] + [hedge] * self.max_hedges, delay)
        if error is None:
            return answer
        try:
            raise error
        finally:
            del error
