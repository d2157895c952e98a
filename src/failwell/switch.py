"""The off switch: calls as if there were no policies.

Where it is off, a protected function is the function itself: no retry, no timeout, no event, and no
state is looked at or changed. A saga or a router is the work itself, not something around it: it goes
on as ever, and only the policies around it and inside of it are off. A call that is under way stays as
it was when it started.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar

__all__ = ["VARIABLE", "Switch", "disabled", "enabled", "switch"]

VARIABLE = "FAILWELL_DISABLED"
"""The environment variable that switches policies off for a whole process. It is read once, on import."""


class Switch:
    """Whether policies do anything.

    Args:
        environment: The environment variables.

    Attributes:
        touched: How many have a say in whether a call is an ordinary one: blocks, and threads that were abandoned.
            While nobody has, all is on: every call reads this, so it is plain.
    """

    __slots__ = ("_everywhere", "_here", "_lock", "touched")

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._lock = threading.Lock()
        self._here: ContextVar[bool | None] = ContextVar("failwell_disabled", default=None)
        self._everywhere = self.touched = 0
        if environment.get(VARIABLE, "").strip().lower() not in ("", "0", "false", "no", "off"):
            self._everywhere = self.touched = 1
            logging.getLogger("failwell").warning("%s is set: no policy does anything in this process", VARIABLE)

    def is_off(self) -> bool:
        """Whether a call that starts here and now goes without its policies; a block around it has the last word."""
        here = self._here.get()
        return self._everywhere > 0 if here is None else here

    def touch(self) -> None:
        """Somebody has a say from now on."""
        with self._lock:
            self.touched += 1

    def untouch(self) -> None:
        """Not any more."""
        with self._lock:
            self.touched -= 1

    @contextmanager
    def turned(self, *, off: bool) -> Generator[None]:
        """Turn it for a block, and for the tasks that the block starts.

        Args:
            off: Which way.
        """
        self.touch()
        token = self._here.set(off)
        try:
            yield
        finally:
            with suppress(ValueError):  # closed from another context, which never was in this block
                self._here.reset(token)
            self.untouch()

    @contextmanager
    def off_everywhere(self) -> Generator[None]:
        """Turn it off for the whole process during a block."""
        with self._lock:
            self.touched += 1
            self._everywhere += 1
        try:
            yield
        finally:
            with self._lock:
                self.touched -= 1
                self._everywhere -= 1


switch = Switch(os.environ)


@contextmanager
def disabled(*, everywhere: bool = False) -> Generator[None]:
    """Call without policies during a block.

    By default that holds for this block, the tasks that it starts, and `asyncio.to_thread`. A thread that it starts by
    itself (`threading.Thread`, an executor) has a context of its own and is not in the block.

    ```python
    from failwell import Fallback
    from failwell.testing import disabled


    @Fallback(Fallback.value(0))
    def count(text: str) -> int:
        return int(text)


    print(count("many"))
    #> 0
    with disabled():
        try:
            count("many")
        except ValueError as error:
            print(error)
            #> invalid literal for int() with base 10: 'many'
    ```

    Args:
        everywhere: For all threads of this process, except for blocks that are `enabled`.
    """
    with switch.off_everywhere() if everywhere else switch.turned(off=True):
        yield


@contextmanager
def enabled() -> Generator[None]:
    """Call with policies during a block, although they are disabled around it or in the whole process."""
    with switch.turned(off=False):
        yield
