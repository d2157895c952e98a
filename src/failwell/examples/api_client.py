"""A client of an API that fails in every way an API can: resets, 503, hangs, broken answers, a total outage.

``python -m failwell.examples.api_client`` tells what each call went through.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from failwell import Cache, Fallback, Outcome, Retry, Timeout
from failwell.backoff import Exponential
from failwell.errors import TransientError, transient
from failwell.examples import unavailable
from failwell.examples.story import quietly, table, tell

try:
    import httpx

    from failwell.examples.flaky_server import FlakyServer
except ModuleNotFoundError as missing:
    raise unavailable(missing, __name__) from None

Rates = dict[str, Any]

YESTERDAY: Rates = {"EUR/USD": 1.07, "old": True}

recovery = (
    Fallback(Fallback.value(YESTERDAY), on=transient)  # has the last word, once; a 404 is an answer and no outage
    >> Cache(ttl=0, stale_if_error=3600)  # always asks; keeps real answers only, for when nobody answers
    >> Retry(max_attempts=3, backoff=Exponential(0.1), max_elapsed=2.5)  # no Retry-After keeps us longer than 2.5 s
    >> Timeout(0.6)  # innermost: a hang costs one attempt, not the call
)


def rates_in(response: httpx.Response) -> Rates:
    """What the server said. That a broken body is worth another attempt is something only the client can know."""
    try:
        rates: Rates = response.raise_for_status().json()
    except ValueError as broken:
        raise TransientError("the body is no JSON") from broken
    return rates


class Call(NamedTuple):
    """What became of one call, and how often the server was asked for it."""

    path: str
    outcome: Outcome[Rates]
    requests: int


async def ask(*paths: str) -> list[Call]:
    """Ask for all paths at once, then once more with the server down.

    Args:
        *paths: What to ask for.
    """
    with FlakyServer() as server:
        async with httpx.AsyncClient(base_url=server.url) as http:

            async def get(path: str) -> Rates:
                return rates_in(await http.get(path))

            outcomes = await asyncio.gather(*(recovery.outcome(get, path) for path in paths))
            requests = [len(server.requests[path]) for path in paths]
            server.stop()
            down = Call(f"{paths[0]} (server down)", await recovery.outcome(get, paths[0]), 0)
    return [*map(Call, paths, outcomes, requests), down]


def ask_plainly(*paths: str) -> list[Call]:
    """The same stack around a plain client, one call after the other.

    A plain call that is out of time goes on in an abandoned thread; the client's own timeout ends that.

    Args:
        *paths: What to ask for.
    """
    with FlakyServer() as server, httpx.Client(base_url=server.url, timeout=0.8) as http:

        def get(path: str) -> Rates:
            return rates_in(http.get(path))

        return [Call(path, recovery.outcome(get, path), len(server.requests[path])) for path in paths]


def show(title: str, calls: Sequence[Call]) -> None:
    """Print the story of each call, then all of them as a table.

    Args:
        title: What stands above.
        calls: What happened.
    """
    print(f"\n== {title} ==")
    for call in calls:
        print(f"\nGET {call.path}", *tell(call.outcome), sep="\n  ")
    print()
    titles = ("call", "requests", "seconds", "ended")
    print(*table(titles, [(path, asked, f"{o.elapsed:.1f}", ended(o)) for path, o, asked in calls]), sep="\n")


def ended(outcome: Outcome[Rates]) -> str:
    """How a call ended, in one word."""
    return "degraded" if outcome.degraded else "answered" if outcome.ok else "failed"


def main() -> int:
    """Run it all; the exit status."""
    print(*recovery.layers, sep="\n  >> ")
    everything = ("/steady", "/slow", "/resets", "/busy", "/busy-until", "/hangs", "/cut", "/garbled", "/missing")
    show("on an event loop", asyncio.run(ask(*everything, "/broken")))
    show("in plain code", ask_plainly("/hangs", "/resets", "/missing"))
    return 0


if __name__ == "__main__":
    sys.exit(quietly(main))
