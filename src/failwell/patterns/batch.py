"""Batch: process many items so that the bad ones do not take the good ones with them.

Use when each item can be done by itself and most of them will go well: rows to score, records to send,
files to convert. Do not use where all or nothing must happen (that is a transaction or a saga), or where
the other side takes many items in one call, which is cheaper.

Source: Michael Minella, "The Definitive Guide to Spring Batch" (skip and retry of single items); Amazon
Web Services, "Reporting batch item failures".
"""

from __future__ import annotations

import functools
import inspect
import itertools
import operator
import threading
from bisect import bisect_left, insort
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Sized
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, NamedTuple, cast

from failwell.derive import Call
from failwell.events import ItemFailed, ItemStarted, ItemSucceeded, Progressed
from failwell.policy import Operation, Policy, at_least, flag, is_async, optional_callable, optional_text
from failwell.runtime import Runtime, UnexpectedAwaitable, name_of

__all__ = ["Batch", "BatchFailure", "BatchItem", "BatchResult"]


class Batch(Operation):
    """Process items one by one, each under a policy of its own; tell at the end which succeeded and which failed.

    It is an operation, not a wrapper: ``batch(items)`` runs it (awaitable if ``process`` is async) and returns a
    `BatchResult`. Every item has its turn, whatever becomes of the others; no failure of an item is raised, not
    even if all fail. An answer with failed items counts as degraded.

    Args:
        process: Called with one item, async or plain.
        retry: The policy that each item gets, e.g. ``Retry.batch_item()`` or a stack (default: one attempt).
        batch_size: How many items are taken at a time. The next ones are taken when these are done, so no more than
            these are in memory; with ``max_concurrent`` above 1, all wait for the slowest of them.
        max_concurrent: How many items are under way at once: in tasks if ``process`` is async, else in threads.
        on_item: Called with the `ItemSucceeded` or `ItemFailed` event of each item, in the thread that did it.
        on_progress: Called with the `Progressed` event each time that ``batch_size`` items are done.
        keep_results: Whether to keep what ``process`` returns. Without it, a million items take no more memory than
            ``batch_size``; failures are kept all the same.
        name: What the batch is called in events and drawings.

    Raises:
        TypeError: If an argument is of the wrong kind.
        ValueError: If ``batch_size`` or ``max_concurrent`` is below 1.
    """

    def __init__(
        self,
        process: Callable[[Any], Any],
        retry: Policy | None = None,
        batch_size: int = 100,
        max_concurrent: int = 1,
        on_item: Callable[[ItemSucceeded | ItemFailed], object] | None = None,
        on_progress: Callable[[Progressed], object] | None = None,
        keep_results: bool = True,
        name: str | None = None,
    ) -> None:
        if not callable(process):
            raise TypeError(f"process must be callable, got {process!r}")
        if retry is not None and not isinstance(cast("Any", retry), Policy):
            raise TypeError(f"retry must be a policy such as Retry(), got {retry!r}")
        at_least(1, batch_size=batch_size, max_concurrent=max_concurrent)
        for function in (process, getattr(process, "__call__", None)):  # noqa: B004 - not asking if callable
            if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
                raise TypeError(f"{name_of(process)} is a generator function; process must return once")
        optional_callable(on_item=on_item, on_progress=on_progress)
        self._is_async = is_async(process)
        for parameter, function in (("on_item", on_item), ("on_progress", on_progress)):
            if is_async(function) and not self._is_async:
                raise TypeError(f"{parameter} must be a plain function: nobody awaits it in a batch of plain calls")
        flag(keep_results=keep_results)
        optional_text(name=name)
        self.process = process
        self.retry = retry
        self.batch_size = batch_size
        self.max_concurrent = max_concurrent
        self.on_item = on_item
        self.on_progress = on_progress
        self.keep_results = keep_results
        self.name = name
        self._guarded = process if retry is None else retry(_Attempt(self))

    async def run(self, call: Call, rt: Runtime) -> Any:
        # While exploring there are no real items.
        supply = call.args[0] if call.args and isinstance(call.args[0], _Supply) else _Supply(_STAND_INS)

        async def one(index: int, item: Any) -> None:
            attempts: list[int] = []
            token = _attempts.set(attempts)
            try:
                rt.emit(ItemStarted, index)
                supply.notes.start(index)
                answer = await rt.invoke(self._guarded, [item])
            except UnexpectedAwaitable:  # a mistake in the program, the same for every item
                raise
            except Exception as error:
                rt.now()  # in a thread that was left behind, this is the end: its item stays without an outcome
                made = len(attempts) if self.retry is not None else 1
                supply.notes.fail(BatchFailure(item, supply.untangled(error), made, index))
                await rt.announce(self.on_item, ItemFailed, index, made, error)
            else:
                rt.now()
                made = len(attempts) if self.retry is not None else 1
                supply.notes.succeed(index, answer, keep=self.keep_results)
                await rt.announce(self.on_item, ItemSucceeded, index, made)
            finally:
                _forget(token)

        try:
            while not supply.is_over:
                if supply.is_async:
                    await rt.decide("items", (None,), supply.fetch, self.batch_size)
                else:
                    supply.read(self.batch_size)
                before = supply.notes.done
                if self.max_concurrent == 1:
                    for index, item in supply.notes.portion():
                        await one(index, item)
                else:
                    calls = [functools.partial(one, index, item) for index, item in supply.notes.portion()]
                    await rt.each(self.max_concurrent, calls)
                if supply.notes.done > before:
                    await rt.announce(
                        self.on_progress, Progressed, supply.notes.done, len(supply.notes.failed), supply.total
                    )
                    await rt.sleep(0.0)  # items that never wait must not keep the loop from everybody else
            supply.raise_error()
            if supply.notes.failed:
                rt.degraded()
            return supply.result
        finally:
            supply.forget()  # the errors lead back to this frame, which must not keep them alive

    @property
    def is_async(self) -> bool:
        """Whether ``process`` is async."""
        return self._is_async

    @property
    def __name__(self) -> str:
        return self.name or super().__name__

    def __call__(self, items: Iterable[Any] | AsyncIterable[Any], into: BatchResult | None = None) -> Any:
        """Process items.

        Args:
            items: Any iterable, also one without end; an async one if ``process`` is async. If it raises, what was
                taken from it until then is done first, then its error is raised.
            into: A new `BatchResult` to fill. Who keeps it knows what was done even if the batch is cancelled,
                interrupted or timed out; what was taken and not done is in its ``unfinished``.

        Returns:
            A `BatchResult`; if ``process`` is async a coroutine that gives it.

        Raises:
            TypeError: If ``items`` cannot be gone through, or is a text.
            ValueError: If ``into`` was used before.
        """
        return self._bound(self._supply(items, into))

    def outcome(self, items: Iterable[Any] | AsyncIterable[Any], into: BatchResult | None = None) -> Any:
        """Process items and tell how it went; no ``Exception`` is raised.

        Args:
            items: Any iterable.
            into: A new `BatchResult` to fill.

        Returns:
            An `Outcome`; if ``process`` is async, a coroutine that gives one.
        """
        return super().outcome(self._supply(items, into))

    def _supply(self, items: Any, into: BatchResult | None) -> _Supply:
        if isinstance(items, (str, bytes)):
            raise TypeError(f"items must be several things to process, got the text {items!r}")
        if not any(hasattr(items, name) for name in ("__iter__", "__getitem__", "__aiter__")):
            raise TypeError(f"items must be something to go through, such as a list, got {items!r}")
        if hasattr(items, "__aiter__") and not self._is_async:
            raise TypeError(f"items must be a plain iterable, as {name_of(self.process)} is a plain function")
        if not (into is None or isinstance(cast("Any", into), BatchResult)):
            raise TypeError(f"into must be a BatchResult(), got {into!r}")
        return _Supply(items, into)


class BatchFailure(NamedTuple):
    """An item that finally failed.

    Attributes:
        item: The item.
        error: What its last attempt ended with, traceback included.
        attempts: How often ``process`` was called for it; 0 if a policy refused it.
        index: Its place among all items, from 0.
    """

    item: Any
    error: Exception
    attempts: int
    index: int  # type: ignore[assignment] # pyright: ignore[reportIncompatibleMethodOverride] # nobody searches it


class BatchItem(NamedTuple):
    """An item that was taken and has no outcome.

    Attributes:
        item: The item.
        index: Its place among all items, from 0.
        is_started: Whether its turn had come: then it may have had its effect.
    """

    item: Any
    index: int  # type: ignore[assignment] # pyright: ignore[reportIncompatibleMethodOverride] # nobody searches it
    is_started: bool


class BatchResult:
    """What became of the items. ``succeeded, failed = batch(items)`` takes it apart.

    It grows while the batch runs, so one that was handed in as ``into=`` tells of all that was done, however
    the batch ended.
    """

    def __init__(self) -> None:
        self._notes = _Notes()

    @property
    def succeeded(self) -> list[Any]:
        """What ``process`` returned, in the order of the items; empty with ``keep_results=False``."""
        return self._notes.succeeded

    @property
    def failed(self) -> list[BatchFailure]:
        """A `BatchFailure` for each item that finally failed, in the order of the items."""
        return self._notes.failed

    @property
    def unfinished(self) -> list[BatchItem]:
        """What was taken and has no outcome, in the order of the items; empty unless the batch was cut short."""
        return self._notes.unfinished()

    @property
    def done(self) -> int:
        """How many items have an outcome."""
        return self._notes.done

    @property
    def ok(self) -> bool:
        """Whether no item failed and none is unfinished."""
        return not self.failed and not self.unfinished

    @property
    def by_index(self) -> dict[int, Any]:
        """The results by the index of their item, in the order of the items."""
        return self._notes.by_index()

    def raise_if_failed(self) -> None:
        """Do nothing if no item failed.

        Raises:
            ExceptionGroup: With the errors of all items that failed, in their order.
        """
        if self.failed:
            count = "1 item" if len(self.failed) == 1 else f"{len(self.failed)} items"
            raise ExceptionGroup(f"{count} of {self.done} failed", [failure.error for failure in self.failed])

    def __iter__(self) -> Iterator[Any]:
        """First what succeeded, then what failed."""
        return iter((self.succeeded, self.failed))

    def __repr__(self) -> str:
        left = f", {len(self.unfinished)} unfinished" if self.unfinished else ""
        return f"<BatchResult: {self.done} done, {len(self.failed)} failed{left}>"


_STAND_INS = ("one item", "another item")
"""What a batch is explored with."""

_attempts: ContextVar[list[int] | None] = ContextVar("failwell_batch_attempts", default=None)
"""One entry for each attempt at the item that is under way here."""


def _forget(token: Token[list[int] | None]) -> None:
    try:  # for every item; suppress() would cost as much as all the rest
        _attempts.reset(token)
    except ValueError:  # closed from another context, which never had these attempts
        pass


class _Attempt(Operation):
    """One attempt at an item. It counts, which the policy around it would not tell."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    async def run(self, call: Call, rt: Runtime) -> Any:
        attempts = _attempts.get()
        if attempts is not None:  # somebody's own policy may call it in a context that knows of nothing
            attempts.append(1)
        return await rt.invoke(self.batch.process, list(call.args))

    @property
    def label(self) -> str:
        return ""  # it reports nothing, and what it calls is what the policy protects

    @property
    def is_async(self) -> bool:
        return self.batch.is_async

    @property
    def __name__(self) -> str:
        return name_of(self.batch.process)

    def __call__(self, item: Any) -> Any:
        return self._bound(item)


class _Notes:
    """What is known of the items, each noted as soon as it was taken, so that none is lost.

    Items may be done in several threads at once, and in any order.
    """

    def __init__(self) -> None:
        self.succeeded: list[Any] = []
        self.failed: list[BatchFailure] = []
        self.done = 0
        self.is_used = False
        self.open: dict[int, Any] = {}  # the items of this portion that have no outcome yet
        self.started: set[int] = set()
        self.kept: list[int] = []  # whose results of this portion stand at the end of `succeeded`
        self.lock = threading.Lock()

    def start(self, index: int) -> None:
        self.started.add(index)

    def succeed(self, index: int, result: Any, *, keep: bool) -> None:
        with self.lock:
            self._settle(index)
            if keep:
                behind = len(self.kept) - bisect_left(self.kept, index)
                insort(self.kept, index)
                self.succeeded.insert(len(self.succeeded) - behind, result)

    def fail(self, failure: BatchFailure) -> None:
        with self.lock:
            self._settle(failure.index)
            insort(self.failed, failure, key=_index)

    def _settle(self, index: int) -> None:
        del self.open[index]
        self.started.discard(index)
        self.done += 1

    def portion(self) -> list[tuple[int, Any]]:
        """The items that are to be done now."""
        with self.lock:
            self.kept.clear()
            return list(self.open.items())

    def unfinished(self) -> list[BatchItem]:
        with self.lock:
            return [BatchItem(item, index, index in self.started) for index, item in self.open.items()]

    def by_index(self) -> dict[int, Any]:
        with self.lock:
            others = {failure.index for failure in self.failed}.union(self.open)
            mine = (index for index in itertools.count() if index not in others)
            return dict(zip(mine, self.succeeded, strict=False))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, lock=threading.Lock())


_index = operator.attrgetter("index")


class _Supply:
    """Where the items come from, portion by portion.

    Attributes:
        result: What the caller gets.
        notes: What it knows.
        is_async: Whether they have to be waited for.
        is_over: Whether there are no more.
        total: How many there are in all, if anybody knows.
    """

    def __init__(self, items: Iterable[Any] | AsyncIterable[Any], result: BatchResult | None = None) -> None:
        self.result = BatchResult() if result is None else result
        self.notes = self.result._notes  # pyright: ignore[reportPrivateUsage]
        if self.notes.is_used:
            raise ValueError(f"into must be a new BatchResult(), got {result!r}: what it tells of would be done twice")
        self.notes.is_used = True
        self.is_over = False
        self.total = len(items) if isinstance(items, Sized) else None
        self._items: Any
        if isinstance(items, AsyncIterable):
            self.is_async, self._items = True, aiter(items)
        else:
            self.is_async, self._items = False, iter(items)
        self._taken = 0
        self._error: Exception | None = None
        self._last: TracebackType | None = None

    def read(self, size: int) -> None:
        """Take up to ``size`` items."""
        until = self._taken + size
        try:
            for item in itertools.islice(self._items, size):
                self._take(item)
        except Exception as error:
            self._error = error
        self.is_over = self._taken < until

    async def fetch(self, size: int) -> None:
        """The same from an async iterable."""
        try:
            for _ in range(size):
                self._take(await anext(self._items))
        except StopAsyncIteration:
            self.is_over = True
        except Exception as error:
            self._error, self.is_over = error, True

    def _take(self, item: Any) -> None:
        self.notes.open[self._taken] = item
        self._taken += 1

    def raise_error(self) -> None:
        """Raise what the items themselves ended with, if it was an error."""
        error, self._error = self._error, None
        try:
            if error is not None:
                raise error
        finally:
            del error  # a frame and its own traceback would keep each other alive

    def forget(self) -> None:
        """Let go of what was noted: it is the caller's now."""
        del self.result, self.notes, self._last

    def untangled(self, error: Exception) -> Exception:
        """An error without the frame of the batch, which knows all items, and without what it brought from before.

        One object that is raised again and again would drag a longer traceback along each time.
        """
        entry = error.__traceback__
        while entry is not None:
            if entry.tb_next is self._last:
                entry.tb_next = None
            entry = entry.tb_next
        own = error.__traceback__
        self._last = own.tb_next if own is not None else None
        return error.with_traceback(self._last)
