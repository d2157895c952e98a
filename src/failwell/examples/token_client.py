"""A client whose token expires, is revoked, and for a while cannot be had: on an event loop and in threads.

``python -m failwell.examples.token_client`` tells what its calls went through.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from failwell import Credential, CredentialRefresh, Outcome, Policy, Retry, Timeout
from failwell.backoff import Exponential
from failwell.examples import unavailable
from failwell.examples.story import quietly, table, tell

try:
    import httpx

    from failwell.examples.token_server import TokenServer
except ModuleNotFoundError as missing:
    raise unavailable(missing, __name__) from None

Token = dict[str, Any]
Order = dict[str, Any]
AT_ONCE = 20


def good_for(token: Token) -> float:
    """The server says for how many seconds its token is good."""
    seconds: float = token["expires_in"]
    return seconds


def refused(error: Exception) -> bool:
    """What httpx raises for a 401. A 403 is another matter: no token would help."""
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 401


def proof(credential: Credential[Token]) -> dict[str, str]:
    """The header that goes with a call. It is made anew each time, and so it has the token of now."""
    return {"Authorization": f"Bearer {credential.value['access_token']}"}


def token_in(response: httpx.Response) -> Token:
    """What the token server said."""
    token: Token = response.raise_for_status().json()
    return token


def order_in(response: httpx.Response) -> Order:
    """What the API said."""
    order: Order = response.raise_for_status().json()
    return order


def recovery(credential: Credential[Token]) -> Policy:
    """What stands around each call.

    Args:
        credential: The token that all calls share.
    """
    return (
        Retry(max_attempts=3, backoff=Exponential(0.1))  # outermost: a token server that is busy is worth another try
        >> CredentialRefresh(credential, on=refused)
        >> Timeout(2)  # innermost: it limits the call, and never cuts a refresh that others wait for
    )


class Round(NamedTuple):
    """Many calls at once: how they ended, and what the server saw of them."""

    title: str
    outcomes: Sequence[Outcome[Order]]
    issued: int
    refused: int

    @property
    def ended(self) -> str:
        """How many calls ended how."""
        ways = Counter("answered" if one.ok else type(one.error).__name__ for one in self.outcomes)
        return ", ".join(f"{count} {way}" for way, count in ways.items())


async def rounds() -> list[Round]:
    """Round after round, on an event loop."""
    found: list[Round] = []
    with TokenServer() as server:
        async with httpx.AsyncClient(base_url=server.url) as http:

            async def fetch_token() -> Token:
                return token_in(await http.post("/token", json={"client_secret": server.secret}))

            credential = Credential(fetch_token, lifetime=good_for, margin=0.1)
            stack = recovery(credential)

            async def get(path: str) -> Order:
                return order_in(await http.get(path, headers=proof(credential)))

            async def at_once(title: str, *paths: str) -> None:
                before = server.issued, server.refused
                outcomes = await asyncio.gather(*(stack.outcome(get, path) for path in paths))
                found.append(Round(title, outcomes, server.issued - before[0], server.refused - before[1]))

            orders = [f"/orders/{number}" for number in range(AT_ONCE)]
            await at_once("no token yet", *orders)
            await at_once("it is still good", *orders)
            await asyncio.sleep(server.lifetime)
            await at_once("it has expired", *orders)
            server.revoke()
            await at_once("it was revoked", *orders)
            await at_once("not allowed", "/audit")
            credential.expire()
            server.is_up = False
            await at_once("no token to be had", *orders)
            server.is_up = True
            await at_once("and it can be had again", *orders)
    return found


def rounds_in_threads() -> list[Round]:
    """The same with a plain client, in threads that share one credential."""
    found: list[Round] = []
    with TokenServer() as server, httpx.Client(base_url=server.url) as http, ThreadPoolExecutor(AT_ONCE) as threads:

        def fetch_token() -> Token:
            return token_in(http.post("/token", json={"client_secret": server.secret}))

        credential = Credential(fetch_token, lifetime=good_for, margin=0.1)
        stack = recovery(credential)

        def get(path: str) -> Order:
            return order_in(http.get(path, headers=proof(credential)))

        def one(path: str) -> Outcome[Order]:
            return stack.outcome(get, path)

        def at_once(title: str, *paths: str) -> None:
            before = server.issued, server.refused
            outcomes = list(threads.map(one, paths))
            found.append(Round(title, outcomes, server.issued - before[0], server.refused - before[1]))

        orders = [f"/orders/{number}" for number in range(AT_ONCE)]
        at_once("no token yet", *orders)
        time.sleep(server.lifetime)
        at_once("it has expired", *orders)
    return found


def show(title: str, found: Sequence[Round]) -> None:
    """Print the story of one call of each round, then all rounds as a table.

    Args:
        title: What stands above.
        found: What happened.
    """
    print(f"\n== {title} ==")
    for one in found:
        # Of many callers one refreshes and has something to tell; the others wait, or are refused and wait.
        telling = max(one.outcomes, key=lambda outcome: len(outcome.events))
        print(f"\n{one.title}: one of {len(one.outcomes)}", *tell(telling), sep="\n  ")
    print()
    titles = ("round", "calls", "tokens issued", "calls refused", "ended")
    print(*table(titles, [(one.title, len(one.outcomes), *one[2:], one.ended) for one in found]), sep="\n")


def main() -> int:
    """Run it all; the exit status."""
    show("on an event loop", asyncio.run(rounds()))
    show("in threads", rounds_in_threads())
    return 0


if __name__ == "__main__":
    sys.exit(quietly(main))
