from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from failwell.testing import plugin

pytest_plugins = ["pytester"]


Run = Callable[[str], pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester) -> Run:
    """Run a test file; the plugin is named as users name it."""
    pytester.makeconftest('pytest_plugins = ["failwell.testing.plugin"]')

    def run_file(text: str) -> pytest.RunResult:
        pytester.makepyfile(text)
        return pytester.runpytest_inprocess("-q", "--strict-markers", "-W", "error", "-p", "no:cacheprovider")

    return run_file


def test_async_and_plain_tests_run_in_virtual_time(run: Run) -> None:
    result = run(
        """
        import asyncio, time
        import pytest
        from failwell import Retry, Timeout, backoff, errors
        from failwell.testing import HANG, async_failing, failing

        began = time.time()

        async def test_async(virtual_time):
            load = async_failing(ConnectionError, ConnectionError, "ok")
            assert await Retry(3, backoff.Fixed(3600)).call(load, 1) == "ok"
            assert load.times == [0, 3600, 7200]
            assert virtual_time.now == 7200

        def test_plain(virtual_time):
            load = failing(HANG)
            assert isinstance(Timeout(5).outcome(load).error, errors.TimeoutExceeded)
            virtual_time.advance(10)
            assert virtual_time.now == time.monotonic() == 15

        @pytest.mark.virtual_time
        async def test_marked():
            await asyncio.sleep(86400)
            assert time.monotonic() == 86400

        class TestClass:
            @pytest.mark.virtual_time
            async def test_method(self, tmp_path):
                await asyncio.sleep(86400)
                assert tmp_path.is_dir()

            @pytest.mark.parametrize("seconds", [1, 2])
            def test_parameters(self, seconds, virtual_time):
                time.sleep(seconds)
                assert virtual_time.now == seconds

        def test_real_time():
            assert time.time() >= began
            assert time.monotonic() > 1
        """
    )
    result.assert_outcomes(passed=7)


def test_a_whole_file_can_be_marked_and_chance_is_seeded(run: Run) -> None:
    result = run(
        """
        import asyncio, random
        import pytest

        pytestmark = pytest.mark.virtual_time(seed=7)

        async def test_async():
            await asyncio.sleep(10)
            assert random.random() == random.Random(7).random()

        def test_plain():
            assert random.random() == random.Random(7).random()
        """
    )
    result.assert_outcomes(passed=2)


def test_a_test_that_fails_fails(run: Run) -> None:
    result = run(
        """
        import asyncio
        import pytest

        async def test_assertion(virtual_time):
            await asyncio.sleep(1)
            assert virtual_time.now == 2

        async def test_deadlock(virtual_time):
            await asyncio.get_running_loop().create_future()

        @pytest.mark.xfail(raises=KeyError, strict=True)
        async def test_xfail(virtual_time):
            raise KeyError

        @pytest.mark.virtual_time(sead=1)
        async def test_misspelled():
            pass
        """
    )
    result.assert_outcomes(failed=3, xfailed=1)
    result.stdout.fnmatch_lines(["*assert 1.0 == 2*", "*nothing can happen any more*", "*sead*"])


def test_each_example_of_hypothesis_has_a_time_of_its_own(run: Run) -> None:
    result = run(
        """
        import asyncio, time
        from hypothesis import given, settings, strategies as st

        @given(seconds=st.floats(0, 1e6))
        @settings(database=None)
        async def test_async(virtual_time, seconds):
            assert virtual_time.now == 0
            await asyncio.sleep(seconds)
            assert abs(virtual_time.now - seconds) < 1e-6

        @given(seconds=st.integers(0, 10**6))
        @settings(database=None)
        def test_plain(virtual_time, seconds):
            assert virtual_time.now == 0
            time.sleep(seconds)
            assert virtual_time.now == seconds
        """
    )
    result.assert_outcomes(passed=2)


def test_fixtures_of_the_users_own_work_beside_it(run: Run) -> None:
    result = run(
        """
        import time
        import pytest
        from failwell.testing import failing

        @pytest.fixture
        def load():
            made = failing(ConnectionError, "ok")
            yield made
            assert len(made.calls) == 2

        def test_both(load, virtual_time):
            with pytest.raises(ConnectionError):
                load()
            time.sleep(3)
            assert load() == "ok"
            assert load.times == [0, 3]

        def test_outside_a_test_no_time_passes(request):
            from failwell.testing.plugin import VirtualTime
            assert VirtualTime().now == 0
        """
    )
    result.assert_outcomes(passed=2)


def test_the_tests_on_the_page_pass(pytester: pytest.Pytester) -> None:
    page = (Path(__file__).parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
    fences = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    [conftest] = [fence for fence in fences if "pytest_plugins" in fence]
    [tests] = [fence for fence in fences if "import pytest\n" in fence]
    pytester.makeconftest(conftest)
    pytester.makepyfile(tests)
    pytester.runpytest_subprocess("-q", "--strict-markers", "-W", "error").assert_outcomes(passed=3)


def test_a_test_that_another_plugin_has_wrapped_already_runs_in_virtual_time() -> None:
    """pytest-asyncio does so in its auto mode."""
    ended: list[float] = []

    async def test() -> None:
        await asyncio.sleep(3600)
        ended.append(time.monotonic())

    @functools.wraps(test)
    def wrapped() -> None:
        raise AssertionError("it would run on a loop of its own, in real time")

    class Item:
        fixturenames = ("virtual_time",)
        obj: Any = staticmethod(wrapped)

        def get_closest_marker(self, name: str) -> None:
            return None

    Item.__module__ = "pytest_asyncio.plugin"
    item: Any = Item()
    plugin.pytest_pyfunc_call(item)
    item.obj()
    assert ended == [3600]
