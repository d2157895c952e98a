"""Graphs that the tests of the drawings share."""

from __future__ import annotations

from failwell import Cache, Fallback, Retry, Saga, Timeout
from failwell.backoff import Exponential
from failwell.flow import Graph, explore


def backup() -> None: ...
def last_resort() -> None: ...
def book(state: object) -> None: ...
def unbook(state: object) -> None: ...
def pay(state: object) -> None: ...
def refund(state: object) -> None: ...


POLICIES = {
    "retry": Retry(3, Exponential(1.0)),
    "timeout": Timeout(30),
    "fallback": Fallback(backup, last_resort),
    "cache": Cache(3600, stale_if_error=60),
    "saga": Saga([(book, unbook), (pay, refund)]),
    "stack": Cache(3600) >> Fallback(backup) >> Retry(3) >> Timeout(30),
}
GRAPHS: dict[str, Graph] = {
    f"{name}{'' if compact else '-unrolled'}": explore(policy, "call_api").graph(compact)
    for name, policy in POLICIES.items()
    for compact in (True, False)
}
HOSTILE = 'end"] --> x{{<b>&amp;#quot; `*_bold_*` %%{init}%% \\N 1. • 日本 \x01\x1b]]>'
