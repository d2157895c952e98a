"""A health check in the background, in a task or in a thread, for as long as a block runs.

This is in the kernel because it is no part of what a health check is: it calls one again and again.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Generic, Protocol, TypeVar, cast

from failwell import virtual
from failwell.vitals import HealthStatus

__all__ = ["Check", "Running"]


class Check(Protocol):
    """What is called again and again: a `HealthCheck`."""

    interval: float

    @property
    def is_async(self) -> bool:
        """Whether calling it gives an awaitable."""
        ...

    @property
    def known(self) -> HealthStatus:
        """What the last one said."""
        ...

    def __call__(self) -> Any:
        """Do it, if it is time."""
        ...


C = TypeVar("C", bound=Check)


class Running(Generic[C]):
    """Probes in the background for as long as a block runs; `HealthCheck.running` makes one."""

    _task: asyncio.Task[None]

    def __init__(self, check: C) -> None:
        self._check = check
        self._error: BaseException | None = None

    async def __aenter__(self) -> C:
        if not self._check.is_async:
            raise TypeError("this health check is plain: use `with check.running():`, which takes a thread")
        self._task = asyncio.get_running_loop().create_task(self._in_task())
        return self._check

    async def __aexit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        task = self._task
        task.cancel()
        interrupted: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as cancelled:
                interrupted = cancelled
        failure = None if task.cancelled() else task.exception()
        try:
            if interrupted is not None:
                raise interrupted
            if failure is not None and error is None:
                raise failure
        finally:
            del interrupted, failure  # a frame and its own traceback would keep each other alive

    async def _in_task(self) -> None:
        me = cast("asyncio.Task[None]", asyncio.current_task())
        while True:
            try:
                await self._check()
            except asyncio.CancelledError:
                if me.cancelling():
                    raise
                await asyncio.sleep(self._check.interval)  # the probe's own affair: something inside was cancelled
            else:
                await asyncio.sleep(self._until_due())

    def __enter__(self) -> C:
        if self._check.is_async:
            raise TypeError("this health check is async: use `async with check.running():`, which takes a task")
        self._stop, self._over = virtual.make_event(), virtual.make_event()
        virtual.start_thread(self._in_thread)
        return self._check

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        self._stop.set()
        self._over.wait()
        failure, self._error = self._error, None
        try:
            if failure is not None and error is None:
                raise failure
        finally:
            del failure  # as above

    def _in_thread(self) -> bool:
        try:
            is_over = False
            while not is_over:
                self._check()
                is_over = self._stop.wait(self._until_due())
        except BaseException as error:
            self._error = error
        finally:
            self._over.set()
        return True

    def _until_due(self) -> float:
        checked = self._check.known.checked
        left = 0.0 if checked is None else checked + self._check.interval - time.monotonic()
        return max(left, 0.0)
