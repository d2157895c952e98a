"""A card per pattern: what people look for when something fails. Words only; every number is computed."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from failwell import Cache, Fallback, Policy, Retry, Saga, Timeout
from failwell.backoff import Exponential
from failwell.policy import Pattern

if TYPE_CHECKING:
    from failwell.flow import Exploration

__all__ = ["CARDS", "GROUPS", "Card", "Numbers", "card", "exploration", "nearest", "numbers"]

GROUPS: Mapping[str, str] = {
    "Try again": "the failure may be gone in a moment",
    "Stop waiting": "no answer comes",
    "Stop calling": "the other side is down or full",
    "Answer anyway": "a poorer answer is better than none",
    "Undo": "some of it is done already",
    "Resume": "the process itself may die",
    "Combine": "several kinds of failure at once",
}
"""What the patterns do, and the failure that each group is for, in the order in which a reader meets them."""


class Card(NamedTuple):
    """What is known about one pattern.

    Attributes:
        slug: Its name in addresses and commands.
        name: Its name in sentences.
        group: One of `GROUPS`.
        intent: What it is for, in one line.
        also_known_as: Other names of it.
        use_when: Situations that it is for.
        avoid_when: Situations in which it does harm or nothing.
        error_types: The errors that it handles or raises.
        effort: How much work it is to put in.
        related: Slugs of patterns that go with it, or do the same otherwise.
        symptoms: Words of the problem, as people say and search them.
        module: Where the implementation is.
        sources: Where it comes from, with addresses.
        operation: What the example protects.
        outcomes: How its operations end in the drawing of the catalog.
        make: Makes the exemplary policy.
        make_alternatives: Makes other settings, to compare with.
    """

    slug: str
    name: str
    group: str
    intent: str
    also_known_as: tuple[str, ...]
    use_when: tuple[str, ...]
    avoid_when: tuple[str, ...]
    error_types: tuple[str, ...]
    effort: str
    related: tuple[str, ...]
    symptoms: tuple[str, ...]
    module: str
    sources: tuple[str, ...]
    operation: str
    make: Callable[[], Pattern]
    outcomes: tuple[str, ...] = ("ok", "fail", "hang")
    make_alternatives: Callable[[], tuple[Pattern, ...]] = tuple

    @property
    def example(self) -> Pattern:
        """The exemplary policy, which is drawn; always the same object."""
        example: Pattern = _made(self.make)
        return example

    @property
    def alternatives(self) -> tuple[Pattern, ...]:
        """The same pattern set otherwise."""
        alternatives: tuple[Pattern, ...] = _made(self.make_alternatives)
        return alternatives


@functools.cache
def _made(make: Callable[[], Any]) -> Any:
    return make()


# --- what the examples are about; never executed ----------------------------------------------------


def claude_sonnet(prompt: str) -> str:
    """A second language model."""
    raise NotImplementedError


def gemini_pro(prompt: str) -> str:
    """A third one."""
    raise NotImplementedError


def llama_local(prompt: str) -> str:
    """A small one on this machine."""
    raise NotImplementedError


def backup_api() -> str:
    """The same service in another region."""
    raise NotImplementedError


def cached_response() -> str:
    """The last good answer."""
    raise NotImplementedError


def create_user(state: dict[str, Any]) -> None:
    """Step 1."""


def delete_user(state: dict[str, Any]) -> None:
    """Undoes step 1."""


def send_email(state: dict[str, Any]) -> None:
    """Step 2."""


def cancel_email(state: dict[str, Any]) -> None:
    """Undoes step 2."""


def activate_account(state: dict[str, Any]) -> None:
    """Step 3."""


def deactivate_account(state: dict[str, Any]) -> None:
    """Undoes step 3."""


# --- the cards ---------------------------------------------------------------------------------------

_NYGARD = 'Michael Nygard, "Release It!", 2nd ed., ch. 5 (https://pragprog.com/titles/mnee2/release-it-second-edition/)'

_ALL = (
    Card(
        slug="retry",
        name="Retry",
        group="Try again",
        intent="Call again after a pause, because many failures are gone in a moment.",
        also_known_as=("retry with backoff", "retry with exponential backoff"),
        use_when=(
            "failures are short: a lost connection, a restart, a full queue",
            "doing the operation twice does no harm",
            "the caller can wait a few seconds",
        ),
        avoid_when=(
            "the error stays, such as a wrong password or a missing row",
            "the operation must not happen twice and has no idempotency key",
            "the service is overloaded and more calls are the problem",
            "a layer further in retries already: attempts multiply",
        ),
        error_types=("ConnectionError", "TimeoutError", "TransientError", "UnavailableError"),
        effort="low",
        related=("timeout", "fallback", "stack"),
        symptoms=(
            "flaky",
            "transient",
            "connection reset",
            "503",
            "429",
            "network blip",
            "deadlock",
            "too many retries",
        ),
        module="failwell.patterns.retry",
        sources=(
            'Marc Brooker, "Exponential Backoff And Jitter" '
            "(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)",
            'Google SRE Book, "Addressing Cascading Failures" '
            "(https://sre.google/sre-book/addressing-cascading-failures/)",
        ),
        operation="call_api",
        make=lambda: Retry(max_attempts=3, backoff=Exponential(1.0)),
        make_alternatives=lambda: (Retry(max_attempts=5, backoff=Exponential(0.1)),),
    ),
    Card(
        slug="timeout",
        name="Timeout",
        group="Stop waiting",
        intent="Give up on an answer that does not come, so that the caller can go on.",
        also_known_as=("time limit", "deadline of one call"),
        use_when=(
            "an operation can hang: anything that goes over a network",
            "the caller has something better to do than to wait",
            "slots, threads or connections are held while waiting",
        ),
        avoid_when=(
            "the work must not be cut in the middle: make it idempotent or a saga first",
            "slow answers are normal and still wanted",
        ),
        error_types=("TimeoutExceeded", "TimeoutError"),
        effort="low",
        related=("retry", "fallback", "stack"),
        symptoms=("hangs", "hanging", "slow", "stuck", "no answer", "waits forever", "blocked threads"),
        module="failwell.patterns.timeout",
        sources=(
            _NYGARD,
            'Amazon Builders\' Library, "Timeouts, retries, and backoff with jitter" '
            "(https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/)",
        ),
        operation="slow_operation",
        make=lambda: Timeout(30),
        make_alternatives=lambda: (Timeout(2),),
    ),
    Card(
        slug="fallback",
        name="Fallback",
        group="Answer anyway",
        intent="When the first choice fails, answer with the next best.",
        also_known_as=("fallback cascade", "failover", "graceful degradation of one call"),
        use_when=(
            "another service, an older answer or a default is better than an error",
            "the first choice can be down for longer than a retry may take",
            "the caller must always get something",
        ),
        avoid_when=(
            "a wrong answer does more harm than an error",
            "the alternative depends on the thing that has just failed",
            "nobody would notice that the first choice is gone: watch for degraded answers",
        ),
        error_types=("Exception",),
        effort="medium",
        related=("cache", "retry", "stack"),
        symptoms=("unavailable", "down", "outage", "provider fails", "backup", "default answer", "degraded"),
        module="failwell.patterns.fallback",
        sources=(_NYGARD, 'Netflix Hystrix, "How it works" (https://github.com/Netflix/Hystrix/wiki/How-it-Works)'),
        operation="gpt4",
        outcomes=("ok", "fail"),
        make=lambda: Fallback(claude_sonnet, gemini_pro, llama_local),
        make_alternatives=lambda: (Fallback(llama_local),),
    ),
    Card(
        slug="cache",
        name="Cache",
        group="Answer anyway",
        intent="Answer from memory while an answer is fresh, and with an older one rather than with none.",
        also_known_as=("memoization with a time to live", "stale if error", "single flight"),
        use_when=(
            "the same question is asked often",
            "an answer may be some time old",
            "many callers ask at once and one load is enough",
        ),
        avoid_when=(
            "the answer must be current, such as a balance before a payment",
            "the key leaves out something that the answer depends on, such as who asks",
            "it stands outside a fallback and stores degraded answers",
        ),
        error_types=("Exception",),
        effort="low",
        related=("fallback", "stack"),
        symptoms=("stampede", "thundering herd", "same query", "rate limit", "expensive", "stale", "slow reads"),
        module="failwell.patterns.cache",
        sources=(
            "RFC 5861, HTTP Cache-Control Extensions for Stale Content (https://www.rfc-editor.org/rfc/rfc5861)",
            "Go, package singleflight (https://pkg.go.dev/golang.org/x/sync/singleflight)",
        ),
        operation="load",
        outcomes=("ok", "fail"),
        make=lambda: Cache(3600),
        make_alternatives=lambda: (Cache(60, stale_if_error=3600),),
    ),
    Card(
        slug="saga",
        name="Saga",
        group="Undo",
        intent="Run steps that each can be undone; when one fails, undo what was done, last first.",
        also_known_as=("compensation", "compensating transaction", "long-lived transaction"),
        use_when=(
            "one piece of work changes several systems that share no transaction",
            "each step has an action that undoes it",
            "half of the work is worse than none of it",
        ),
        avoid_when=(
            "one database transaction does it all",
            "a step cannot be undone: do that one last",
            "others must not see the work before all of it is done",
        ),
        error_types=("SagaError",),
        effort="high",
        related=("retry", "timeout"),
        symptoms=("half done", "inconsistent", "rollback", "distributed transaction", "orphan", "compensation failed"),
        module="failwell.patterns.saga",
        sources=(
            'Hector Garcia-Molina, Kenneth Salem, "Sagas" (https://doi.org/10.1145/38713.38742)',
            'Chris Richardson, "Pattern: Saga" (https://microservices.io/patterns/data/saga.html)',
        ),
        operation="saga",
        outcomes=("ok", "fail"),
        make=lambda: Saga(
            [(create_user, delete_user), (send_email, cancel_email), (activate_account, deactivate_account)]
        ),
    ),
    Card(
        slug="stack",
        name="Stack",
        group="Combine",
        intent="Put several patterns around one call; their order decides what happens.",
        also_known_as=("combined recovery stack", "policy composition", "resilience pipeline"),
        use_when=(
            "an operation can fail, hang and be down for long",
            "no pattern alone covers all of that",
        ),
        avoid_when=(
            "one pattern covers what really happens",
            "nobody has looked at what the order means: draw it first",
        ),
        error_types=("Exception",),
        effort="medium",
        related=("cache", "fallback", "retry", "timeout"),
        symptoms=("several failures", "order", "combine", "production", "resilient service", "llm service"),
        module="failwell.policy",
        sources=(
            _NYGARD,
            'Polly, "Resilience pipelines" (https://www.pollydocs.org/pipelines/)',
        ),
        operation="api_call",
        make=lambda: Cache(3600) >> Fallback(backup_api, cached_response) >> Retry(3) >> Timeout(30),
    ),
)

CARDS: Mapping[str, Card] = {one.slug: one for one in sorted(_ALL, key=lambda c: list(GROUPS).index(c.group))}
"""Every card by its slug, group by group."""


def card(slug: str) -> Card:
    """One card.

    Args:
        slug: Its slug.

    Raises:
        LookupError: If there is none; the message names the nearest one.
    """
    if slug in CARDS:
        return CARDS[slug]
    near = nearest(slug)
    raise LookupError(f"there is no pattern {slug!r}; {f'did you mean {near}?' if near else f'there are {_names()}'}")


def _names() -> str:
    return ", ".join(CARDS)


def nearest(name: str) -> str | None:
    """The slug that somebody may have meant, by its letters or by another name of the pattern.

    Args:
        name: What they wrote.
    """
    from difflib import get_close_matches

    words: dict[str, str] = {}
    for one in CARDS.values():
        for word in (one.slug, one.name, *one.also_known_as, *one.symptoms):
            words.setdefault(re.sub(r"[\s_-]+", " ", word.lower()), one.slug)
    wanted = re.sub(r"[\s_-]+", " ", name.lower()).strip()
    found = get_close_matches(wanted, words, n=1, cutoff=0.6)
    return words[found[0]] if found else None


# --- what the code can say is computed ---------------------------------------------------------------


def exploration(one: Card, outcomes: tuple[str, ...] | None = None) -> Exploration:
    """All paths of a card's example, explored once.

    Args:
        one: The card.
        outcomes: How operations can end; by default as in the catalog's drawing.
    """
    return _explored(one, outcomes or one.outcomes)


@functools.cache
def _explored(one: Card, outcomes: tuple[str, ...]) -> Exploration:
    from failwell.flow import explore

    return explore(one.example, one.operation, outcomes=outcomes)


class Numbers(NamedTuple):
    """What an example gains and costs, beside the same work without it.

    Attributes:
        bare: The share of calls that succeed without the pattern.
        success: The share that succeeds with it, degraded answers included.
        degraded: The share that gets a degraded answer.
        mean: Expected seconds that it adds to a call.
        worst: Seconds of the longest path on which nothing hangs.
        worst_hang: The same with hangs; infinite if a hang is never ended.
        calls: Expected number of calls, all operations together.
        most_calls: Most calls on one path.
    """

    bare: float
    success: float
    degraded: float
    mean: float
    worst: float
    worst_hang: float
    calls: float
    most_calls: int


def numbers(one: Card, fail: float = 0.1) -> Numbers:
    """The figures of a card's example for given odds; nothing of it is typed by hand.

    Args:
        one: The card.
        fail: The odds that an operation fails.
    """
    from failwell.flow import explore

    everything = exploration(one, ("ok", "fail", "hang"))
    report = everything.report(fail)
    alone = _without(one.example)
    return Numbers(
        bare=explore(alone, one.operation, outcomes=("ok", "fail")).report(fail).success,
        success=report.success,
        degraded=report.degraded,
        mean=report.mean_latency,
        worst=exploration(one, ("ok", "fail")).report(fail).worst_latency,
        worst_hang=report.worst_latency,
        calls=sum(report.calls.values()),
        most_calls=max(sum(path.calls.values()) for path in everything.paths),
    )


class _Nothing(Policy):
    """No recovery at all."""

    async def run(self, call: Any, rt: Any) -> Any:
        return await call()


def _without(pattern: Pattern) -> Pattern:
    return Saga([(step.action, None) for step in pattern.steps]) if isinstance(pattern, Saga) else _Nothing()
