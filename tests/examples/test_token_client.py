"""The token client against its server, for real: what the server saw of many callers, and what is left over."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from failwell import Credential, explore
from failwell.events import CredentialRefreshed, CredentialRefreshFailed, CredentialRefreshing, Event
from failwell.examples.token_client import (
    AT_ONCE,
    Order,
    Round,
    good_for,
    order_in,
    proof,
    recovery,
    refused,
    rounds,
    rounds_in_threads,
    token_in,
)
from failwell.examples.token_server import TokenServer

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/examples/token_client.md"


@pytest.fixture(scope="module")
def seen() -> dict[str, Round]:
    return {one.title: one for one in asyncio.run(rounds())}


def refreshes(one: Round) -> list[type[Event]]:
    """The events of all callers of a round that are about the token."""
    kinds = CredentialRefreshing, CredentialRefreshed, CredentialRefreshFailed
    return [type(event) for outcome in one.outcomes for event in outcome.events if isinstance(event, kinds)]


@pytest.mark.parametrize("title", ["no token yet", "it has expired", "and it can be had again"])
def test_twenty_callers_who_need_a_token_cause_one_request_for_it_and_no_refusal(
    seen: dict[str, Round], title: str
) -> None:
    one = seen[title]
    assert (len(one.outcomes), one.ended) == (AT_ONCE, f"{AT_ONCE} answered")
    assert (one.issued, one.refused) == (1, 0)
    assert refreshes(one) == [CredentialRefreshing, CredentialRefreshed]
    assert sorted(outcome.unwrap()["order"] for outcome in one.outcomes) == list(range(AT_ONCE))


def test_a_token_that_is_good_is_not_asked_for_again(seen: dict[str, Round]) -> None:
    one = seen["it is still good"]
    assert (one.issued, one.refused, one.ended) == (0, 0, f"{AT_ONCE} answered")


def test_twenty_callers_who_are_refused_cause_one_request_for_a_token_and_are_answered(seen: dict[str, Round]) -> None:
    one = seen["it was revoked"]
    assert (one.issued, one.refused, one.ended) == (1, AT_ONCE, f"{AT_ONCE} answered")
    assert refreshes(one) == [CredentialRefreshing, CredentialRefreshed]


def test_who_is_refused_with_a_new_token_too_is_told_so(seen: dict[str, Round]) -> None:
    one = seen["not allowed"]
    assert (one.issued, one.refused) == (1, 2)
    [outcome] = one.outcomes
    assert isinstance(outcome.error, httpx.HTTPStatusError)
    assert outcome.error.response.status_code == 401
    assert "failwell: refused again with a credential that was refreshed" in outcome.error.__notes__


def test_when_there_are_no_tokens_everybody_is_told_why(seen: dict[str, Round]) -> None:
    one = seen["no token to be had"]
    assert (one.issued, one.refused) == (0, 0)
    errors = [outcome.error for outcome in one.outcomes]
    assert all(isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 503 for error in errors)
    assert refreshes(one).count(CredentialRefreshFailed) < AT_ONCE


def test_threads_share_a_token_just_the_same() -> None:
    threads = threading.active_count()
    for one in rounds_in_threads():
        assert (one.issued, one.refused, one.ended) == (1, 0, f"{AT_ONCE} answered")
    idle = sum(thread.name == "failwell" for thread in threading.enumerate())
    assert threading.active_count() - idle <= threads


def test_threads_whose_token_is_revoked_meanwhile_are_answered_too() -> None:
    with TokenServer() as server, httpx.Client(base_url=server.url) as http:
        credential = Credential(
            lambda: token_in(http.post("/token", json={"client_secret": server.secret})), lifetime=good_for
        )
        guarded = recovery(credential)(
            lambda number: order_in(http.get(f"/orders/{number}", headers=proof(credential)))
        )
        answers: list[Order] = []

        def work() -> None:
            answers.extend(guarded(number) for number in range(5))

        guarded(0)
        workers = [threading.Thread(target=work) for _ in range(8)]
        for worker in workers:
            worker.start()
        server.revoke()
        for worker in workers:
            worker.join(30)
        assert len(answers) == 40
        assert server.issued == 2


def test_a_wrong_secret_is_raised_once_and_stays_secret() -> None:
    asked: list[int] = []

    async def main() -> BaseException | None:
        with TokenServer() as server:
            async with httpx.AsyncClient(base_url=server.url) as http:

                async def fetch_token() -> Order:
                    asked.append(1)
                    return token_in(await http.post("/token", json={"client_secret": "hunter2"}))

                outcome = await recovery(Credential(fetch_token)).outcome(fetch_token)
                return outcome.error

    error = asyncio.run(main())
    assert isinstance(error, httpx.HTTPStatusError)
    assert error.response.status_code == 401
    assert len(asked) == 1
    assert "hunter2" not in repr(error) + str(error)


def test_only_a_401_is_a_refusal() -> None:
    request = httpx.Request("GET", "http://127.0.0.1/")

    def error(status: int) -> Exception:
        return httpx.HTTPStatusError("", request=request, response=httpx.Response(status, request=request))

    assert [status for status in (400, 401, 403, 404, 500) if refused(error(status))] == [401]
    assert not refused(ValueError("401"))


def test_the_server_stops_when_its_block_fails() -> None:
    url = ""
    with pytest.raises(ZeroDivisionError), TokenServer() as server:
        url = server.url
        raise ZeroDivisionError
    address = urlsplit(url)
    with socket.socket() as probe:
        assert probe.connect_ex((address.hostname or "", address.port or 0)) != 0


def test_nobody_asks_for_a_token_in_order_to_draw_the_stack() -> None:
    def fetch_token() -> Order:
        raise AssertionError("asked")

    found = explore(recovery(Credential(fetch_token, lifetime=good_for)), outcomes=("ok", "hang"))
    assert {choice.subject for path in found.paths for choice in path.choices} >= {"fetch_token", "credential expired"}


# --- the program and its page ---


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=40, check=False)


def shape(text: str) -> Iterator[str]:
    """The lines of an output without what the clock decides, and which of the callers was first."""
    for line in text.strip().split("\n"):
        timeless = re.sub(r"^ +\d+\.\d s  ", "TIME ", line)
        yield re.sub(r"'order': \d+", "'order': N", timeless)


def test_the_page_shows_what_the_program_prints(pytestconfig: pytest.Config) -> None:
    done = program("-m", "failwell.examples.token_client")
    assert (done.returncode, done.stderr) == (0, "")
    text = PAGE.read_text(encoding="utf-8")
    fence = re.compile(r"(?<=```text\n)(\n== on.*?\n)(?=```\n)", re.DOTALL)
    [shown] = fence.findall(text)
    if pytestconfig.getoption("update_examples"):
        PAGE.write_text(fence.sub(lambda _: done.stdout, text), encoding="utf-8")
        return
    assert list(shape(shown)) == list(shape(done.stdout)), "pytest tests/examples --update-examples rewrites the page"


@pytest.mark.parametrize("package", ["httpx", "starlette", "uvicorn"])
def test_a_missing_package_is_one_sentence_and_status_2(package: str) -> None:
    run_it = "runpy.run_module('failwell.examples.token_client', run_name='__main__')"
    done = program("-c", f"import runpy, sys; sys.modules[{package!r}] = None; {run_it}")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"this example needs {package}: pip install 'failwell[examples]'\n"
