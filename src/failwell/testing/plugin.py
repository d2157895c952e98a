"""Tests in virtual time, for pytest: ``pytest_plugins = ["failwell.testing.plugin"]`` in the top ``conftest.py``.

A test that asks for the fixture ``virtual_time``, or is marked ``@pytest.mark.virtual_time``, runs in virtual
time that starts at 0. It may be async; that takes no other plugin. Waits cost nothing, and chance is seeded:
``@pytest.mark.virtual_time(seed=7)``.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any

import pytest

from failwell import virtual

__all__ = ["VirtualTime", "virtual_time"]

NAME = "virtual_time"


class VirtualTime:
    """What the fixture ``virtual_time`` gives."""

    @property
    def now(self) -> float:
        """Virtual seconds since the test began."""
        return time.monotonic() if virtual.current_clock() is not None else 0.0

    @staticmethod
    def advance(seconds: float) -> None:
        """Let time pass, in a plain test; an async one awaits `asyncio.sleep`, so that its tasks go on meanwhile.

        Args:
            seconds: How much.
        """
        time.sleep(seconds)


@pytest.fixture(scope="session")  # it keeps nothing, and Hypothesis refuses what is made anew for each test
def virtual_time() -> VirtualTime:
    """Runs the test in virtual time."""
    return VirtualTime()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known.

    Args:
        config: What pytest is configured with.
    """
    config.addinivalue_line("markers", f"{NAME}(seed=0): run in virtual time, async or plain; see failwell.testing")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Put a test into virtual time, if it is to be; pytest then runs it as any other.

    Args:
        pyfuncitem: The test.
    """
    marker = pyfuncitem.get_closest_marker(NAME)
    if marker is None and NAME not in pyfuncitem.fixturenames:
        return
    seed = _seed(*marker.args, **marker.kwargs) if marker is not None else 0
    test: Any = pyfuncitem.obj
    if type(pyfuncitem).__module__.startswith("pytest_asyncio."):  # in its auto mode it has wrapped the test already
        test = inspect.unwrap(test)
    given = getattr(test, "hypothesis", None)
    if given is None:
        pyfuncitem.obj = _in_virtual_time(test, seed)
    else:  # each example has a time of its own
        given.inner_test = _in_virtual_time(given.inner_test, seed)


def _seed(seed: int = 0) -> int:
    return seed


def _in_virtual_time(test: Callable[..., Any], seed: int) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        if inspect.iscoroutinefunction(test):
            virtual.run(test(*args, **kwargs), seed=seed)
            return
        with virtual.clock(seed=seed):
            test(*args, **kwargs)

    return run
