"""One recorded request: its record, and its drawing."""

from __future__ import annotations

import asyncio
import functools
import json

from failwell import Fallback, Outcome, Retry, Timeout, virtual
from failwell.backoff import Exponential
from failwell.flow import Exploration, explore
from failwell.flow.draw.timeline import flow_with_times
from failwell.flow.trace import match, timed
from failwell.policy import labels
from failwell.site.fragments import fragment
from failwell.site.fragments.patterns import framed

__all__ = ["drawn_request", "explored_stack", "record", "recorded_request"]

POLICY = Fallback(Fallback.value("old price")) >> Timeout(2) >> Retry(3, Exponential(0.2))
"""The stack of the page; a test holds both to each other."""


@functools.cache
def record() -> str:
    """What one request through the stack of the page left behind, as JSON."""
    attempts = iter(["reset", "hang"])

    async def fetch_price(symbol: str) -> str:
        await asyncio.sleep(0.12)
        if next(attempts) == "reset":
            raise ConnectionResetError("reset by prices.example")
        await asyncio.sleep(3600)
        return symbol

    async def main() -> str:
        outcome = await POLICY.outcome(fetch_price, "ACME")
        return outcome.to_json(indent=2)

    return virtual.run(main())


@functools.cache
def explored_stack() -> Exploration:
    """All paths of the stack of the page."""
    return explore(POLICY, "fetch_price")


@fragment("request", from_source=True)
def drawn_request() -> str:
    """The flow of the page's stack with the path of the recorded request lit up, and its timeline."""
    exploration, outcome = explored_stack(), Outcome.from_json(record())
    image = flow_with_times(
        exploration.graph(),
        match(exploration, outcome),
        timed(exploration, outcome),
        prefix="request",
        layers=labels(exploration.layers),
    )
    return framed(image, f"What happened to one request through {exploration.title}")


@fragment("request-record", from_source=True)
def recorded_request(events: str = "2") -> str:
    """The record of the request, as far as it is worth reading.

    Args:
        events: How many events are shown.
    """
    data = json.loads(record())
    left_out = len(data["events"]) - int(events)
    data["events"] = data["events"][: int(events)]
    text = json.dumps(data, indent=2)
    more = f"\n\n... and {left_out} more events." if left_out > 0 else ""
    return f"```json\n{text}\n```{more}"
