"""The API client against its server, for real: what each call went through, and what is left when it is over."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from failwell import Outcome, virtual
from failwell.errors import TimeoutExceeded, TransientError, UnavailableError
from failwell.events import Attempt, CacheMiss, CacheStored, Event, FellBack, GaveUp, StaleServed, TimedOut, Waiting
from failwell.examples.api_client import YESTERDAY, ask_plainly, rates_in, recovery
from failwell.examples.flaky_server import BEHAVIOURS, FlakyServer
from failwell.examples.story import chain

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/examples/api_client.md"
REAL = {"EUR/USD": 1.09}


class Run(NamedTuple):
    outcomes: dict[str, Outcome[Any]]
    requests: dict[str, list[float]]
    url: str
    seconds: float


def getter(http: httpx.AsyncClient) -> Callable[[str], Any]:
    async def get(path: str) -> dict[str, Any]:
        return rates_in(await http.get(path))

    return get


async def everything() -> Run:
    started = time.monotonic()
    with FlakyServer() as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            get = getter(http)
            found = await asyncio.gather(*(recovery.outcome(get, path) for path in BEHAVIOURS))
            outcomes = dict(zip(BEHAVIOURS, found, strict=True))
            server.stop()
            outcomes["down"] = await recovery.outcome(get, "/steady")
    return Run(outcomes, dict(server.requests), server.url, time.monotonic() - started)


@pytest.fixture(scope="module")
def run() -> Run:
    return asyncio.run(everything())


def kinds(outcome: Outcome[Any]) -> list[type[Event]]:
    return [type(event) for event in outcome.events]


SUCCESS = [CacheMiss, Attempt, CacheStored]
THREE_IN_VAIN = [CacheMiss, Attempt, Waiting, Attempt, Waiting, Attempt, GaveUp]
HANG = [CacheMiss, Attempt, TimedOut, Waiting, Attempt, CacheStored]


def errors(outcome: Outcome[Any]) -> list[Any]:
    return [event.error for event in outcome.events if isinstance(event, Waiting)]


def refused(url: str) -> bool:
    address = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((address.hostname or "", address.port or 0)) != 0


def soon(condition: Callable[[], bool]) -> bool:
    until = time.monotonic() + 2
    while not (done := condition()) and time.monotonic() < until:
        time.sleep(0.01)
    return done


@pytest.mark.parametrize(
    ("path", "requests"),
    [
        ("/steady", 1),
        ("/slow", 1),
        ("/resets", 3),
        ("/busy", 2),
        ("/busy-until", 2),
        ("/hangs", 2),
        ("/cut", 2),
        ("/garbled", 2),
    ],
)
def test_a_failure_that_passes_ends_in_the_real_answer(run: Run, path: str, requests: int) -> None:
    outcome = run.outcomes[path]
    assert outcome.unwrap() == REAL
    assert not outcome.degraded
    assert len(run.requests[path]) == requests
    assert kinds(outcome).count(Attempt) == requests


def test_a_slow_answer_within_the_time_is_waited_for(run: Run) -> None:
    assert kinds(run.outcomes["/slow"]) == SUCCESS
    assert run.outcomes["/slow"].elapsed >= 0.2


def test_resets_are_real(run: Run) -> None:
    found = errors(run.outcomes["/resets"])
    assert [type(error) for error in found] == [httpx.ReadError, httpx.ReadError]
    assert all(any(isinstance(one, ConnectionResetError) for one in chain(error)) for error in found)


def test_retry_after_in_seconds_is_honoured(run: Run) -> None:
    [waiting] = [event for event in run.outcomes["/busy"].events if isinstance(event, Waiting)]
    assert waiting.delay == 1.0
    first, second = run.requests["/busy"]
    assert second - first >= 1.0


def test_retry_after_as_a_date_is_honoured(run: Run) -> None:
    [busy] = errors(run.outcomes["/busy-until"])
    asked_again = run.requests["/busy-until"][1] + (time.time() - time.monotonic())
    date = parsedate_to_datetime(busy.response.headers["Retry-After"]).timestamp()
    assert asked_again >= date - 0.05


def test_a_hang_costs_one_attempt(run: Run) -> None:
    outcome = run.outcomes["/hangs"]
    assert kinds(outcome) == HANG
    assert [type(error) for error in errors(outcome)] == [TimeoutExceeded]
    assert outcome.elapsed >= 0.7


def test_a_truncated_body_is_asked_for_again(run: Run) -> None:
    assert [type(error) for error in errors(run.outcomes["/cut"])] == [httpx.RemoteProtocolError]


def test_a_malformed_body_is_asked_for_again(run: Run) -> None:
    assert [type(error) for error in errors(run.outcomes["/garbled"])] == [TransientError]


def test_a_404_is_asked_once_and_raised(run: Run) -> None:
    outcome = run.outcomes["/missing"]
    assert len(run.requests["/missing"]) == 1
    assert kinds(outcome) == [CacheMiss, Attempt]
    assert isinstance(outcome.error, httpx.HTTPStatusError)
    assert outcome.error.response.status_code == 404


def test_with_the_server_down_the_last_answer_is_given_again(run: Run) -> None:
    outcome = run.outcomes["down"]
    assert outcome.unwrap() == REAL
    assert outcome.degraded
    assert kinds(outcome) == [*THREE_IN_VAIN, StaleServed]
    assert {type(one) for one in errors(outcome)} == {httpx.ConnectError}


def test_what_was_never_answered_is_answered_by_the_fallback(run: Run) -> None:
    outcome = run.outcomes["/broken"]
    assert outcome.unwrap() == YESTERDAY
    assert outcome.degraded
    assert kinds(outcome) == [*THREE_IN_VAIN, FellBack]
    assert {type(one) for one in errors(outcome)} == {httpx.ReadError}


def test_a_stopped_server_refuses(run: Run) -> None:
    assert any(isinstance(one, ConnectionRefusedError) for one in chain(errors(run.outcomes["down"])[0]))
    assert refused(run.url)
    assert run.seconds < 5


def test_cancelling_in_the_middle_of_a_hang_leaves_nothing() -> None:
    async def main() -> str:
        with FlakyServer() as server:
            async with httpx.AsyncClient(base_url=server.url) as http:
                call = asyncio.create_task(recovery(getter(http))("/hangs"))
                assert await asyncio.to_thread(soon, lambda: bool(server.requests["/hangs"]))
                assert server.connections == 1
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
                assert asyncio.all_tasks() == {asyncio.current_task()}
                assert await asyncio.to_thread(soon, lambda: server.connections == 0)
                assert (await http.get("/steady")).is_success
            assert len(server.requests["/hangs"]) == 1
        return server.url

    assert refused(asyncio.run(main()))


def test_the_same_stack_serves_a_plain_client() -> None:
    threads = others()
    hangs, resets, gone = ask_plainly("/hangs", "/resets", "/missing")
    assert kinds(hangs.outcome) == HANG
    assert hangs.outcome.unwrap() == resets.outcome.unwrap() == REAL
    assert [type(error) for error in errors(resets.outcome)] == [httpx.ReadError, httpx.ReadError]
    assert isinstance(gone.outcome.error, httpx.HTTPStatusError)
    assert [call.requests for call in (hangs, resets, gone)] == [2, 3, 1]
    assert soon(lambda: others() == threads)


def others() -> int:
    """Threads but for those that wait a while for the next plain call with a timeout."""
    idle = sum(1 for thread in threading.enumerate() if thread.name == "failwell")
    assert idle <= len(HANG), "a thread that was abandoned ends with its call"
    return threading.active_count() - idle


def test_the_server_stops_when_its_block_fails() -> None:
    url = ""
    with pytest.raises(ZeroDivisionError), FlakyServer() as server:
        url = server.url
        raise ZeroDivisionError
    assert refused(url)


def test_no_retry_after_holds_a_caller_for_long() -> None:
    async def closed(path: str) -> dict[str, Any]:
        raise UnavailableError(retry_after=3600)

    outcome = virtual.run(recovery.outcome(closed, "/busy"))
    assert outcome.degraded
    assert outcome.elapsed == pytest.approx(2.5)


# --- the program and its page --------------------------------------------------------------------


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)


def shape(text: str) -> Iterator[str]:
    """The lines of an output without what the clock decides."""
    for line in text.strip().split("\n"):
        timeless = re.sub(r"[\d.]+ s old", "AGE", line)
        timeless = re.sub(r"\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT; next attempt in [\d.]+ s", "DATE", timeless)
        timeless = re.sub(r"^ +\d+\.\d s  ", "TIME ", timeless)
        yield re.sub(r"(\d  +)\d\.\d(  +\w)", r"\1SECONDS\2", timeless)  # a row of the table


def test_the_page_shows_what_the_program_prints(pytestconfig: pytest.Config) -> None:
    done = program("-m", "failwell.examples.api_client")
    assert (done.returncode, done.stderr) == (0, "")
    text = PAGE.read_text(encoding="utf-8")
    fence = re.compile(r"(?<=```text\n)(Fallback.*?\n)(?=```\n)", re.DOTALL)
    [shown] = fence.findall(text)
    if pytestconfig.getoption("update_examples"):
        PAGE.write_text(fence.sub(lambda _: done.stdout, text), encoding="utf-8")
        return
    assert list(shape(shown)) == list(shape(done.stdout)), "pytest tests/examples --update-examples rewrites the page"


@pytest.mark.parametrize("package", ["httpx", "starlette", "uvicorn"])
def test_a_missing_package_is_one_sentence_and_status_2(package: str) -> None:
    run_it = "runpy.run_module('failwell.examples.api_client', run_name='__main__')"
    done = program("-c", f"import runpy, sys; sys.modules[{package!r}] = None; {run_it}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"this example needs {package}: pip install 'failwell[examples]'\n"


def test_a_missing_package_fails_an_import_with_the_same_sentence() -> None:
    done = program("-c", "import sys; sys.modules['httpx'] = None; import failwell.examples.api_client")
    assert done.returncode == 1
    assert done.stderr.endswith("ModuleNotFoundError: this example needs httpx: pip install 'failwell[examples]'\n")


def test_a_reader_who_leaves_early_is_no_error() -> None:
    endless = "from failwell.examples.story import quietly\nquietly(lambda: [*map(print, range(10**9))])"
    command = [sys.executable, "-c", endless]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"0\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(20) == 0
