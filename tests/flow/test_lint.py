"""The lint finds what is wrong, shows it on a path, and says nothing where nothing is."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path as File
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from failwell import (
    Bulkhead,
    Cache,
    CircuitBreaker,
    CountWindow,
    Fallback,
    Policy,
    RateLimiter,
    Retry,
    Saga,
    Stack,
    Step,
    Timeout,
    explore,
    not_idempotent,
)
from failwell.backoff import Exponential, Fixed, Linear
from failwell.catalog import CARDS
from failwell.errors import CircuitOpenError, RateLimitedError, TimeoutExceeded, TooManyPaths, UnavailableError
from failwell.events import (
    Attempt,
    CacheMiss,
    CacheStored,
    CircuitOpened,
    Event,
    FellBack,
    GaveUp,
    Queued,
    Rejected,
    StaleServed,
    StepCompleted,
    StepStarted,
    TimedOut,
    Waiting,
)
from failwell.flow import Exploration, Path
from failwell.flow.lint import RULES, Finding, lint
from failwell.flow.lint.evidence import Evidence, less, roomy, span
from failwell.flow.lint.facts import Attempted, Facts, Happened, NeverEnds, Seen
from failwell.policy import Operation, Pattern
from failwell.runtime import LATE, deadline
from failwell.site.fragments import render
from failwell.site.fragments._subjects import subject
from failwell.site.fragments.lint import CASES, explored, found, load, mirror
from tests.flow.stacks import explored as explored_text
from tests.flow.stacks import stacks as texts

ROOT = File(__file__).resolve().parents[2]
PAGE = "docs/explorer/lint.md"


def rules(target: Any, **options: Any) -> list[str]:
    """The rules that find something in a target."""
    return [finding.rule for finding in explore(target, "load", **options).lint()]


def warnings(target: Any, **options: Any) -> list[str]:
    """The same without notes."""
    return [f.rule for f in explore(target, "load", **options).lint() if f.severity == "warning"]


def one(rule: str, target: Any) -> Finding:
    """The only finding of a rule."""
    [finding] = found(rule, target)
    return finding


def stacked(layers: tuple[Pattern, ...]) -> Any:
    """Something to explore that has these layers."""
    *around, last = layers
    if not isinstance(last, Operation):
        return Stack(*layers)  # type: ignore[arg-type]
    return Stack(*around)(last) if around else last  # type: ignore[arg-type]


def archive(key: str) -> str:
    raise NotImplementedError


# --- every rule ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
class TestEveryRule:
    def test_finds_fault_with_its_example(self, rule: str) -> None:
        exploration = explored(CASES[rule].wrong())
        findings = [finding for finding in exploration.lint() if finding.rule == rule]
        assert len(findings) == 1
        assert any(findings[0].path is path for path in exploration.paths)

    def test_finds_no_fault_with_the_example_near_it(self, rule: str) -> None:
        assert found(rule, CASES[rule].right()) == []

    def test_says_what_is_wrong_in_one_sentence_that_names_layers_and_what_to_do(self, rule: str) -> None:
        exploration = explored(CASES[rule].wrong())
        finding = one(rule, CASES[rule].wrong())
        for text in (finding.message, finding.advice):
            assert re.fullmatch(r"[A-Z`].*\.", text), text
            assert "\n" not in text
        names = [type(layer).__name__ for layer in exploration.layers]
        assert all(re.sub(r" \d+$", "", name) in names for name in finding.layers)
        if rule != "hang-never-ended":  # what is missing there has no name yet
            assert finding.layers
            assert any(name in finding.message for name in finding.layers)

    def test_advice_when_applied_makes_the_finding_go_away(self, rule: str) -> None:
        finding = one(rule, CASES[rule].wrong())
        if rule == "hang-never-ended":  # the lint cannot make the layer that is missing
            assert finding.remedy == ()
            assert "`Retry(3, backoff=Exponential(1, jitter='full')) >> Timeout(...) >> load`" in finding.advice
            assert found(rule, Retry(3) >> Timeout(1)) == []
            return
        assert finding.remedy
        assert found(rule, stacked(finding.remedy)) == []

    def test_is_explained_on_the_page(self, rule: str) -> None:
        finding = one(rule, CASES[rule].wrong())
        page, anchor = finding.page.split("#")
        text = (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert f"\n## {anchor}\n" in text
        assert f"<!-- generated: lint {anchor} -->" in text


@pytest.mark.parametrize("rule", RULES)
def test_the_page_shows_both_examples_and_the_finding(rule: str) -> None:
    finding = one(rule, CASES[rule].wrong())
    shown = render("lint", rule)
    assert shown.count("```text") == 2
    for said in (finding.message, finding.advice, str(finding.path), f'!!! {finding.severity} "{rule}"'):
        assert said in shown
    for target in (CASES[rule].wrong(), CASES[rule].right()):
        assert all(repr(layer) in shown for layer in explored(target).layers)
    assert f"[{rule}](#{rule})" in render("lint-rules")


@pytest.mark.parametrize(
    "rule",
    [
        "retry-not-idempotent",
        "saga-step-cannot-be-undone",
        "retry-cannot-finish",
        "timeouts-nested-wrong",
        "breaker-open-retried",
        "limiter-inside-retry",
        "bulkhead-queue-outlasts-timeout",
        "cache-stores-degraded",
        "fallback-calls-what-failed",
        "hang-never-ended",
    ],
)
def test_what_one_path_shows_is_shown_by_the_shortest(rule: str) -> None:
    exploration = explored(CASES[rule].wrong())
    finding = one(rule, CASES[rule].wrong())
    shorter = [path for path in exploration.paths if len(path.trace) < len(finding.path.trace)]
    without = Exploration(shorter, exploration.name, exploration.layers, exploration.not_idempotent)
    others = without.lint() if shorter else []
    assert rule not in [other.rule for other in others if other.severity == finding.severity]


def test_there_is_an_example_of_each_rule_and_no_other() -> None:
    assert list(CASES) == list(RULES)
    assert len(RULES) >= 10


def test_notes_come_last() -> None:
    findings = explore(Retry(3) >> Fallback(Fallback.value("none")), "load").lint()
    assert [(finding.rule, finding.severity) for finding in findings] == [
        ("layer-never-acts", "warning"),
        ("hang-never-ended", "note"),
    ]


# --- what is good --------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", CARDS)
def test_nothing_is_wrong_with_the_examples_of_the_catalog(slug: str) -> None:
    card = CARDS[slug]
    for policy in (card.make(), *card.make_alternatives()):
        exploration = explore(policy, card.operation, limit=100_000)
        assert [finding for finding in exploration.lint() if finding.severity == "warning"] == []


@pytest.mark.parametrize("slug", ["in-order", "llm-in-order", "home"])
def test_the_stacks_that_the_composition_page_recommends_have_no_finding_at_all(slug: str) -> None:
    known = subject(slug)
    assert explore(known.policy, known.operation).lint() == []


def test_the_stack_whose_retry_never_acts_is_found() -> None:
    known = subject("as-drawn")
    [finding] = explore(known.policy, known.operation).lint()
    assert finding.rule == "layer-never-acts"
    assert finding.layers == ("Retry",)
    assert [type(layer).__name__ for layer in finding.remedy] == ["Timeout", "Fallback", "Retry", "Cache"]


# --- retries -------------------------------------------------------------------------------------


class TestRetryCannotFinish:
    rule = "retry-cannot-finish"

    def test_is_quiet_where_only_a_hang_takes_the_time(self) -> None:
        assert found(self.rule, Timeout(5) >> Retry(3, Fixed(1))) == []
        assert found(self.rule, Timeout(10) >> Retry(3, Fixed(1)) >> Timeout(9)) == []

    def test_is_quiet_where_a_shorter_wait_may_make_it(self) -> None:
        assert found(self.rule, Timeout(10) >> Retry(5, Exponential(1, jitter="full"))) == []

    def test_finds_jittered_waits_that_cannot_make_it_however_short(self) -> None:
        finding = one(self.rule, Timeout(3) >> Retry(5, Exponential(2, jitter="equal")))
        assert finding.message == (
            "Retry never makes attempt 5: the waits before it take 30 s, and the limit of Timeout is 3 s."
        )

    def test_asks_for_the_time_of_every_attempt(self) -> None:
        finding = one(self.rule, Timeout(3) >> Retry(4, Fixed(1.5)) >> Timeout(0.75))
        assert "Give it at least 7.5 s, so that each attempt has its 0.75 s: `Timeout(7.5)`" in finding.advice
        assert "or stop after 2: `Retry(2, backoff=Fixed(1.5))`" in finding.advice

    def test_knows_the_limit_of_the_retry_itself(self) -> None:
        finding = one(self.rule, Retry(4, Fixed(3), max_elapsed=4) >> Timeout(1))
        assert "its max_elapsed is 4 s" in finding.message
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_widens_every_limit_that_is_too_narrow(self) -> None:
        target = Timeout(9) >> Timeout(8) >> Retry(4, Fixed(3), max_elapsed=5)
        finding = one(self.rule, target)
        assert found(self.rule, stacked(finding.remedy)) == []
        assert [layer.describe().get("seconds") for layer in finding.remedy[:2]] == [9.9, 9.9]

    def test_sees_the_retries_of_steps(self) -> None:
        async def pay(state: Any) -> None:
            raise NotImplementedError

        saga = Saga([Step(pay, mirror, retry=Retry(4, Fixed(3)))], timeout=5)
        finding = one(self.rule, saga)
        assert "Retry of pay never makes attempt 4" in finding.message
        assert "the limit of Saga is 5 s" in finding.message
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_asks_for_no_time_that_would_not_do(self) -> None:
        finding = one(self.rule, Timeout(5) >> Queue(3) >> Retry(3, Fixed(4)))
        assert finding.advice == (
            "Stop after 1: `Retry(1, backoff=Fixed(4))`; or give it more than 8.8 s, as not only its waits take time."
        )
        assert found(self.rule, stacked(finding.remedy)) == []
        saga = Saga([Step(load, retry=Retry(3, Fixed(4)))])
        finding = one(self.rule, (Timeout(5) >> Queue(3))(saga))
        assert finding.advice.startswith("Stop after 1")
        assert finding.remedy == ()

    def test_sees_the_retries_of_alternatives(self) -> None:
        def fallback(seconds: float) -> Any:
            return Timeout(seconds) >> Fallback(Retry(3, Fixed(2))(mirror)) >> Timeout(1)

        finding = one(self.rule, fallback(3))
        assert "Retry of mirror never makes attempt 3" in finding.message
        assert found(self.rule, stacked(finding.remedy)) == []
        assert found(self.rule, fallback(5)) == []

    def test_is_quiet_where_something_else_keeps_attempts_from_being_made(self) -> None:
        assert found(self.rule, Timeout(5) >> Retry(5, Fixed(0.1)) >> CircuitBreaker(2)) == []
        assert found(self.rule, Timeout(5) >> Retry(5, Fixed(0.1), on=Exception) >> CircuitBreaker(2)) == []
        assert found(self.rule, Retry(5, Fixed(0.1), on=Exception, max_elapsed=5) >> CircuitBreaker(2)) == []
        assert found(self.rule, Timeout(13) >> Retry(5, Fixed(3)) >> CircuitBreaker(2) >> Timeout(11)) == []
        assert len(found(self.rule, Timeout(9) >> Retry(5, Fixed(3)) >> CircuitBreaker(5) >> Timeout(1))) == 1

    def test_knows_a_limit_that_is_told_to_whoever_is_inside(self) -> None:
        class Until(Policy):
            def __init__(self, seconds: float) -> None:
                self.seconds = seconds

            async def run(self, call: Any, rt: Any) -> Any:
                token = deadline.set(rt.now() + self.seconds)
                try:
                    return await call()
                finally:
                    deadline.reset(token)

        finding = one(self.rule, Until(4) >> Retry(4, Fixed(3)))
        assert "the limit of Until is 4 s" in finding.message
        assert found(self.rule, stacked(finding.remedy)) == []
        late = one(self.rule, Hurried(4) >> Timeout(1))
        assert late.message == (
            "Hurried never makes attempt 4: the time it has is 0 s, and the attempts before it take longer."
        )

    def test_names_the_value_where_a_layer_cannot_be_had_with_it(self) -> None:
        class Short(Limit):
            def __init__(self, seconds: float) -> None:
                if seconds > 5:
                    raise RuntimeError("too long")
                super().__init__(seconds)

        finding = one(self.rule, Short(3) >> Again(5))
        assert "Give it at least 4.4 s: `Short(4.4)`" in finding.advice
        finding = one(self.rule, Short(3) >> Again(6))
        assert "Give it at least 5.5 s: `seconds=5.5`" in finding.advice
        assert finding.remedy == ()

    def test_says_so_where_it_is_not_the_waits_that_take_the_time(self) -> None:
        target = Retry(3, Fixed(0), max_elapsed=1) >> Queue(2)
        finding = one(self.rule, target)
        assert finding.message == (
            "Retry never makes attempt 3: its max_elapsed is 1 s, and the attempts before it take longer."
        )
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_sees_the_retries_of_a_saga_that_is_an_alternative(self) -> None:
        async def pay(state: Any) -> None:
            raise NotImplementedError

        saga = Saga([Step(pay, mirror, retry=Retry(4, Fixed(3)))])
        finding = one(self.rule, Timeout(5) >> Fallback(saga) >> Timeout(1))
        assert "Retry of pay never makes attempt 4" in finding.message
        assert found(self.rule, stacked(finding.remedy)) == []


def test_many_calls_of_one_retry_are_no_amplification() -> None:
    assert "retry-amplification" not in rules(Retry(20, Fixed(1)) >> Timeout(1), outcomes=("ok", "fail"))


def test_few_calls_of_two_retries_are_no_amplification() -> None:
    assert "retry-amplification" not in rules(Retry(5, Fixed(1)) >> Retry(2, Fixed(1)) >> Timeout(1))


def test_how_many_calls_are_too_many_can_be_said() -> None:
    exploration = explore(Timeout(60) >> Retry(3, Fixed(1)) >> Retry(2, Fixed(1)))
    assert [finding.rule for finding in lint(exploration, most_calls=5)] == ["retry-amplification"]
    assert lint(exploration, most_calls=6) == []


def test_a_retry_in_an_alternative_that_calls_the_same_operation_multiplies_it_as_well() -> None:
    def target(attempts: int) -> Any:
        return (Retry(4, Fixed(1)) >> Fallback(Retry(attempts, Fixed(1))(load)))(load)

    finding = one("retry-amplification", target(3))
    assert finding.message == (
        "One call can become 16 calls of load, just when it is in trouble: 4 of Retry x 3 of Retry inside of Fallback."
    )
    assert finding.advice.startswith(
        "Try again in one place: keep Retry inside of Fallback, `Retry(3, backoff=Fixed(1))`, and leave out Retry: "
    )
    assert found("retry-amplification", stacked(finding.remedy)) == []
    assert found("retry-amplification", (Retry(12, Fixed(0)) >> Fallback(Retry(1)(load)))(load)) == []


def test_of_two_retries_the_advice_names_each_as_the_drawings_do_and_shows_what_is_left() -> None:
    finding = one("retry-amplification", Timeout(60) >> Retry(4, Fixed(1)) >> Retry(3, Fixed(1)))
    assert finding.advice == (
        "Try again in one place: keep Retry 2, `Retry(3, backoff=Fixed(1))`, and leave out Retry: "
        "`Timeout(60) >> Retry(3, backoff=Fixed(1))`."
    )


def test_a_retry_around_a_saga_with_retries_is_amplification() -> None:
    saga = Saga([Step(load, mirror, retry=Retry(4, Fixed(1)))])
    finding = one("retry-amplification", Retry(3, Fixed(1), on=Exception)(saga))
    assert finding.message.startswith("One call can become 12 calls of load")
    assert found("retry-amplification", stacked(finding.remedy)) == []


def test_a_retry_beside_an_operation_does_not_multiply_it() -> None:
    alternative = Retry(8, Fixed(1))(mirror)
    target = Fallback(alternative) >> Retry(12, Fixed(1))
    assert "retry-amplification" not in rules(target, outcomes=("ok", "fail"), limit=100_000)


class TestRetryNotIdempotent:
    rule = "retry-not-idempotent"

    def test_needs_the_mark(self) -> None:
        assert found(self.rule, Retry(3)(load)) == []

    def test_says_nothing_of_calls_that_are_made_once(self) -> None:
        assert found(self.rule, (Timeout(5) >> Fallback(mirror))(marked("pay"))) == []

    def test_leaves_out_every_layer_that_would_repeat_it(self) -> None:
        target = Retry(2, on=Exception) >> Retry(2, on=Exception) >> Retry(2, on=Exception) >> Timeout(1)
        for finding in found(self.rule, target(marked("pay"))):
            assert [type(layer).__name__ for layer in finding.remedy] == ["Timeout"]

    def test_is_also_about_alternatives_and_steps(self) -> None:
        pay = marked("pay")
        assert "Retry of pay calls pay again" in one(self.rule, Fallback(Retry(2)(pay)) >> Timeout(1)).message
        assert "Retry of pay calls pay again" in one(self.rule, Saga([Step(pay, mirror, retry=Retry(2))])).message

    def test_is_about_a_retry_around_the_whole_as_well(self) -> None:
        finding = one(self.rule, Retry(2, on=Exception)(Saga([Step(marked("pay"), mirror)])))
        assert finding.layers == ("Retry",)

    def test_is_about_a_fallback_that_calls_the_same_again(self) -> None:
        pay = marked("pay")
        finding = one(self.rule, Fallback(pay)(pay))
        assert finding.message.startswith("Fallback calls pay again after it failed or hung")

    def test_blames_the_layer_that_repeats_an_alternative_and_not_the_one_that_asks_it(self) -> None:
        finding = one(self.rule, Retry(2) >> Fallback(marked("pay")) >> Timeout(1))
        assert finding.layers == ("Retry",)
        assert finding.advice.startswith("Leave Retry out around pay")
        assert [type(layer).__name__ for layer in finding.remedy] == ["Fallback", "Timeout"]
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_blames_no_alternative_that_was_asked_in_an_attempt_before(self) -> None:
        finding = one(self.rule, (Retry(2) >> Fallback(mirror) >> Timeout(1))(marked("pay")))
        assert finding.layers == ("Retry",)

    def test_blames_no_retry_that_was_over_when_an_alternative_was_asked(self) -> None:
        pay = marked("pay")
        findings = found(self.rule, (Fallback(pay) >> Retry(2, Fixed(1)) >> CircuitBreaker(1))(pay))
        assert {finding.layers for finding in findings} == {("Fallback",)}

    def test_sees_what_code_does_by_hand(self) -> None:
        async def twice(pay: Callable[[], Any]) -> None:
            try:
                await pay()
            except ConnectionError:
                await pay()

        assert rules(twice) == ["hang-never-ended"]
        known = explore(twice)
        again = Exploration(known.paths, known.name, known.layers, {"pay"})
        assert [finding.rule for finding in again.lint()] == ["retry-not-idempotent", "hang-never-ended"]


def marked(name: str) -> Any:
    async def function(*args: Any) -> None:
        raise AssertionError(f"{name} was executed")

    function.__name__ = function.__qualname__ = name
    return not_idempotent(function)


class TestBackoffCap:
    rule = "backoff-cap-never-reached"

    def test_is_quiet_about_a_cap_that_nobody_asked_for(self) -> None:
        assert found(self.rule, Retry(3, Exponential(1))) == []
        assert found(self.rule, Retry(3, Fixed(1))) == []

    def test_is_quiet_about_a_cap_that_is_reached(self) -> None:
        assert found(self.rule, Retry(5, Exponential(1, max=8))) == []
        assert found(self.rule, Retry(5, Exponential(1, max=5))) == []

    def test_says_how_many_attempts_would_reach_it(self) -> None:
        finding = one(self.rule, Retry(3, Linear(1, max=4)))
        assert finding.message == "The waits of Retry never come to their cap of 4 s: the longest of its 2 is 2 s."
        assert "or make 5 attempts: `Retry(5, backoff=Linear(1, step=1, max=4))`" in finding.advice
        assert found(self.rule, Retry(5, Linear(1, max=4))) == []

    def test_is_quiet_where_the_last_attempt_is_never_made(self) -> None:
        assert found(self.rule, Timeout(2) >> Retry(5, Exponential(1, max=30))) == []

    def test_a_cap_that_no_wait_ever_comes_to_is_only_left_out(self) -> None:
        finding = one(self.rule, Retry(3, Linear(1, 0, max=30)) >> Timeout(1))
        assert finding.advice == "Leave the cap out: `Retry(3, backoff=Linear(1, step=0))`."


# --- timeouts ------------------------------------------------------------------------------------


class TestTimeoutsNestedWrong:
    rule = "timeouts-nested-wrong"

    @pytest.mark.parametrize("inner", [5, 6, 500])
    def test_finds_an_inner_limit_that_is_not_shorter(self, inner: float) -> None:
        finding = one(self.rule, Timeout(5) >> Timeout(inner))
        assert finding.layers == ("Timeout", "Timeout 2")
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_is_quiet_about_a_shorter_one(self) -> None:
        assert found(self.rule, Timeout(5) >> Timeout(4.9)) == []
        assert found(self.rule, Timeout(5) >> Retry(3, Fixed(1)) >> Timeout(4)) == []

    def test_computes_a_limit_with_which_all_attempts_fit(self) -> None:
        finding = one(self.rule, Timeout(12) >> Retry(3, Fixed(1.5)) >> Timeout(20))
        assert finding.advice == "Give the inner one less, so that 3 attempts fit into 12 s: `Timeout(3)`."

    def test_is_quiet_where_no_hang_is_looked_at(self) -> None:
        assert self.rule not in rules(Timeout(5) >> Timeout(10), outcomes=("ok", "fail"))

    def test_looks_into_alternatives(self) -> None:
        finding = one(self.rule, Timeout(5) >> Fallback(Timeout(8)(mirror)) >> Timeout(1))
        assert finding.message == (
            "Timeout of mirror (8 s) can never fire: Timeout around it ends everything after 5 s."
        )
        assert finding.remedy == ()
        assert any(choice.subject == "mirror" for choice in finding.path.choices)

    def test_finds_a_saga_that_has_no_time_of_its_own(self) -> None:
        async def act(state: Any) -> None:
            raise NotImplementedError

        finding = one(self.rule, (Timeout(5))(Saga([Step(act)], timeout=20)))
        assert "Saga (20 s) can never fire" in finding.message
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_takes_the_alternative_as_evidence_not_the_operation(self) -> None:
        target = Timeout(5) >> Fallback(Timeout(8)(mirror))
        [finding] = explore(target, "load", outcomes=("hang", "fail", "ok")).lint()
        assert finding.rule == self.rule
        assert finding.path.calls == {"load": 1, "mirror": 1}

    def test_knows_limits_by_what_they_report_whatever_their_parameters_are_called(self) -> None:
        finding = one(self.rule, Timeout(5) >> Capped(8))
        assert finding.advice == "Give Capped less than 5 s, or Timeout more."
        finding = one(self.rule, Capped(5) >> Timeout(8))
        assert finding.advice == "Give the inner one less: `Timeout(2.5)`."
        assert found(self.rule, stacked(finding.remedy)) == []


def test_a_generous_limit_around_everything_is_no_fault() -> None:
    assert rules(Timeout(300) >> Retry(3, Fixed(1)) >> Timeout(5)) == []


class TestQueueOutlastsTimeout:
    rule = "bulkhead-queue-outlasts-timeout"

    def test_finds_a_queue_without_a_limit(self) -> None:
        finding = one(self.rule, Timeout(5) >> Bulkhead(1, max_queue=1))
        assert "for as long as it takes" in finding.message
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_finds_a_limiter_that_has_calls_wait_too_long(self) -> None:
        finding = one(self.rule, Timeout(1) >> RateLimiter(1, per=10, max_wait=20))
        assert "`RateLimiter(1, per=10, max_wait=0.5)`" in finding.advice
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_is_quiet_where_nothing_limits_the_time_or_nothing_waits(self) -> None:
        assert found(self.rule, Bulkhead(1, max_queue=1) >> Timeout(5)) == []
        assert found(self.rule, Timeout(5) >> Bulkhead(1)) == []

    def test_is_quiet_where_attempts_before_took_the_time(self) -> None:
        target = Timeout(10) >> Retry(3, Fixed(4), on=Exception) >> Bulkhead(1, max_queue=1, queue_timeout=4)
        assert found(self.rule, target >> Timeout(3)) == []


def test_hangs_are_told_once_however_many_there_are() -> None:
    finding = one("hang-never-ended", Fallback(mirror, archive))
    assert finding.message == "If load, mirror or archive hangs, the call never ends."
    assert finding.advice == "Limit its time: `Timeout(...)` around load, mirror or archive."
    assert str(finding.path) == "load hangs -> never ends"


def test_all_operations_that_hang_at_the_same_time_are_named() -> None:
    async def both(users: Callable[[], Any], orders: Callable[[], Any]) -> Any:
        return await asyncio.gather(users(), orders())

    finding = one("hang-never-ended", both)
    assert finding.message == "If orders or users hangs, the call never ends."
    assert finding.advice == "Limit its time: `Timeout(...)` around orders or users."

    async def one_limited(users: Callable[[], Any], orders: Callable[[], Any]) -> Any:
        return await asyncio.gather(Timeout(1).call(users), orders())

    assert one("hang-never-ended", one_limited).message == "If orders hangs, the call never ends."


def test_a_queue_that_nobody_leaves_is_told_as_well() -> None:
    finding = one("hang-never-ended", Bulkhead(1, max_queue=1) >> Timeout(5))
    assert finding.message == "If nobody leaves Bulkhead, a call in its queue waits for ever."
    assert found("hang-never-ended", Bulkhead(1, max_queue=1, queue_timeout=3) >> Timeout(5)) == []


def test_a_policy_that_waits_for_ever_by_itself_is_told() -> None:
    class Stuck(Policy):
        async def run(self, call: Any, rt: Any) -> Any:
            await call()
            await rt.sleep(float("inf"))

    finding = one("hang-never-ended", Stuck() >> Timeout(5))
    assert finding.message == "If something hangs, the call never ends."


# --- refusals ------------------------------------------------------------------------------------


class TestBreakers:
    def test_a_breaker_outside_of_two_retries_moves_inside_of_both(self) -> None:
        target = CircuitBreaker() >> Retry(2, Fixed(1)) >> Retry(2, Fixed(1)) >> Timeout(1)
        finding = one("breaker-outside-retry", target)
        assert [type(layer).__name__ for layer in finding.remedy] == ["Retry", "Retry", "CircuitBreaker", "Timeout"]
        assert found("breaker-outside-retry", stacked(finding.remedy)) == []

    def test_a_retry_that_never_tries_again_hides_no_failure(self) -> None:
        assert found("breaker-outside-retry", CircuitBreaker() >> Retry(1) >> Timeout(1)) == []

    def test_a_retry_that_waits_as_long_as_it_is_asked_to_is_no_fault(self) -> None:
        target = Retry(3, Fixed(1), on=Exception) >> CircuitBreaker(recovery_timeout=5) >> Timeout(1)
        assert found("breaker-open-retried", target) == []

    def test_a_retry_that_does_not_wait_long_enough_is_found(self) -> None:
        target = Retry(3, Fixed(1), on=Exception, max_elapsed=3) >> CircuitBreaker(recovery_timeout=5) >> Timeout(1)
        finding = one("breaker-open-retried", target)
        assert "tries again after 3 s" in finding.message
        assert "refuses every call for 5 s" in finding.message
        assert found("breaker-open-retried", stacked(finding.remedy)) == []

    def test_a_breaker_is_taken_for_no_limiter(self) -> None:
        target = Retry(3, Fixed(0), on=Exception, respect_retry_after=False) >> CircuitBreaker(2) >> Timeout(1)
        assert warnings(target) == ["breaker-open-retried"]

    def test_a_retry_that_must_try_again_is_told_to_wait_as_long_as_it_is_asked_to(self) -> None:
        class Shut(Fuse):
            error = UnavailableError("blown", retry_after=60.0)

        target = Retry(3, Fixed(1), respect_retry_after=False) >> Shut() >> Timeout(1)
        finding = one("breaker-open-retried", target)
        assert finding.advice == "Let it wait for as long as it is asked to: `Retry(3, backoff=Fixed(1))`."
        assert found("breaker-open-retried", stacked(finding.remedy)) == []

    def test_breakers_inside_of_foreign_code_are_judged_by_what_they_report(self) -> None:
        async def plain(fetch: Callable[[], Any]) -> Any:
            return await (Again(2) >> Refusing()).call(fetch)

        assert rules(plain) == []


class TestLimiters:
    rule = "limiter-inside-retry"

    def test_permits_that_last_for_all_attempts_may_be_meant_so(self) -> None:
        finding = one(self.rule, Retry(3, Fixed(0.1)) >> RateLimiter(10) >> Timeout(1))
        assert finding.message == (
            "RateLimiter is inside of Retry: each attempt of a call takes a permit, up to 3 of them."
        )
        assert finding.severity == "note"
        assert sum(isinstance(event, Attempt) for event in finding.path.events) == 2
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_one_attempt_takes_one_permit(self) -> None:
        assert found(self.rule, Retry(1) >> RateLimiter(10)) == []

    def test_attempts_that_use_up_the_permits_are_a_warning(self) -> None:
        assert one(self.rule, Retry(3, Fixed(0.1)) >> RateLimiter(2, per=60)).severity == "warning"

    def test_refused_attempts_that_are_tried_again_at_once_are_found(self) -> None:
        target = Retry(3, Fixed(0), on=Exception, respect_retry_after=False) >> RateLimiter(10) >> Timeout(1)
        finding = one(self.rule, target)
        assert finding.message.endswith("what it refuses for 1 s is tried again at once.")
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_a_full_bulkhead_is_taken_for_no_limiter(self) -> None:
        target = Retry(3, Fixed(0), on=Exception) >> Bulkhead(1) >> Timeout(1)
        assert found(self.rule, target) == []


# --- answers -------------------------------------------------------------------------------------


class TestStaleNeverServed:
    rule = "stale-never-served"

    def test_finds_a_limit_of_time_that_keeps_hangs_from_a_cache_that_is_for_them(self) -> None:
        target = Timeout(5) >> Cache(60, stale_if_error=600, stale_on=TimeoutError)
        finding = one(self.rule, target)
        assert finding.layers == ("Cache", "Timeout")
        assert found(self.rule, stacked(finding.remedy)) == []
        [other] = [path for path in explore(stacked(finding.remedy)).paths if StaleServed in map(type, path.events)]
        assert any(choice.option == "hang" for choice in other.choices)

    def test_puts_every_limit_inside(self) -> None:
        target = Timeout(2) >> Retry(2) >> Timeout(2) >> Cache(0, stale_if_error=60, stale_on=TimeoutError)
        finding = one(self.rule, target)
        assert [type(layer).__name__ for layer in finding.remedy] == ["Retry", "Cache", "Timeout", "Timeout"]
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_finds_a_filter_that_nothing_passes(self) -> None:
        saga = Saga([Step(load, mirror)])
        finding = one(self.rule, Cache(60, key=str, stale_if_error=60, stale_on=ConnectionError)(saga))
        assert "out of what is inside comes SagaError, and it handles stale_on=ConnectionError" in finding.message
        assert found(self.rule, stacked(finding.remedy)) == []

    @pytest.mark.parametrize("kind", [ConnectionError, ValueError, (KeyError, LookupError), TimeoutExceeded])
    def test_is_quiet_about_a_filter_for_what_an_operation_may_raise(self, kind: Any) -> None:
        assert found(self.rule, Cache(60, stale_if_error=60, stale_on=kind) >> Timeout(5)) == []

    def test_finds_a_cache_in_which_nothing_is_ever_past_its_time(self) -> None:
        finding = one(self.rule, Cache(float("inf"), stale_if_error=5) >> Timeout(1))
        assert "with ttl=inf nothing in store is ever past its time" in finding.message
        assert found(self.rule, stacked(finding.remedy)) == []
        assert found(self.rule, Cache(float("inf")) >> Timeout(1)) == []

    def test_is_quiet_about_a_cache_that_keeps_nothing_for_later(self) -> None:
        assert found(self.rule, Cache(60) >> Fallback(Fallback.value(0))) == []

    def test_is_quiet_about_a_predicate_that_looks_for_what_nobody_knows(self) -> None:
        def of_a_server(error: Exception) -> bool:
            return error.status == 503  # type: ignore[attr-defined]

        assert found(self.rule, Cache(60, stale_if_error=60, stale_on=of_a_server)) == []

    def test_looks_for_the_reason_inside_where_a_limit_inside_ends_hangs_as_well(self) -> None:
        cache = Cache(60, stale_if_error=600, stale_on=TimeoutError)
        assert found(self.rule, Timeout(5) >> cache >> Timeout(2)) == []
        finding = one(self.rule, Timeout(5) >> cache >> Fallback(Fallback.value(0)) >> Timeout(2))
        assert "`Fallback(Fallback.value(0))` inside of it always answers" in finding.message


class TestFallbackNeverReached:
    rule = "fallback-never-reached"

    def test_is_quiet_about_an_error_that_a_function_raises_which_is_protected_elsewhere(self) -> None:
        assert rules((Fallback(mirror, on=CircuitOpenError) >> Timeout(3))(load)) == ["hang-never-ended"]

    def test_names_each_alternative_behind_one_that_always_answers(self) -> None:
        finding = one(self.rule, Fallback(mirror, Fallback.value(0), archive, load))
        assert finding.message == "Fallback never asks archive and load: value 0, which is asked first, always answers."
        assert [fn.__name__ for fn in finding.remedy[0].describe()["alternatives"]] == [
            "mirror",
            "archive",
            "load",
            "value 0",
        ]
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_finds_a_fallback_around_one_that_always_answers(self) -> None:
        finding = one(self.rule, Fallback(mirror) >> Timeout(9) >> Fallback(Fallback.value(0)) >> Timeout(1))
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_of_two_that_always_answer_one_is_to_be_left_out(self) -> None:
        finding = one(self.rule, Fallback(Fallback.value(0)) >> Retry(2) >> Fallback(Fallback.value(1)) >> Timeout(1))
        assert finding.advice == "Leave one of them out."
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_is_quiet_about_a_filter_for_what_an_operation_may_raise(self) -> None:
        assert found(self.rule, Fallback(mirror, archive, on=KeyError) >> Retry(2, on=ValueError)) == []
        assert found(self.rule, Fallback(mirror, on=TimeoutError) >> Retry(2, on=ConnectionError)) == []

    def test_is_quiet_where_another_finding_says_why_the_time_is_up_before(self) -> None:
        target = Timeout(10) >> Fallback(mirror) >> Retry(4, Fixed(5))
        assert rules(target) == ["retry-cannot-finish"]
        queue = Timeout(3) >> Fallback(mirror) >> Queue(5)
        assert rules(queue) == ["bulkhead-queue-outlasts-timeout"]

    def test_names_the_limit_around_it_that_is_up_before_anything_fails(self) -> None:
        class Slow(Policy):
            async def run(self, call: Any, rt: Any) -> Any:
                await rt.sleep(5)
                return await call()

        finding = one(self.rule, Timeout(3) >> Fallback(mirror) >> Slow())
        assert finding.message == (
            "Fallback never asks mirror: Timeout around it ends every call before what is inside fails."
        )
        assert finding.advice == "Give Timeout more time, or what is inside less."
        assert finding.remedy == ()
        assert found(self.rule, Timeout(6) >> Fallback(mirror) >> Slow()) == []


def test_a_fallback_that_only_repeats_is_to_be_left_out() -> None:
    finding = one("fallback-calls-what-failed", Timeout(5) >> Fallback(load) >> Timeout(1))
    assert "leave Fallback out" in finding.advice
    assert found("fallback-calls-what-failed", stacked(finding.remedy)) == []


@pytest.mark.parametrize(
    "inside",
    [
        lambda: CircuitBreaker() >> Retry(1),
        lambda: CircuitBreaker() >> Timeout(3),
        lambda: Bulkhead(3) >> Timeout(3),
    ],
)
def test_a_fallback_that_is_asked_again_in_the_next_attempt_answers_no_failure_of_its_own(
    inside: Callable[[], Any],
) -> None:
    target = Retry(2) >> Fallback(mirror) >> inside()
    assert found("fallback-calls-what-failed", target) == []


def test_a_rejection_is_no_failure_of_what_failed_before() -> None:
    assert found("fallback-calls-what-failed", (Fallback(mirror) >> Twice() >> Fuse())(mirror)) == []
    assert len(found("fallback-calls-what-failed", (Fallback(mirror) >> Fuse())(mirror))) == 1


def test_a_fallback_around_one_with_the_same_alternative_calls_what_has_just_failed() -> None:
    finding = one("fallback-calls-what-failed", Fallback(mirror) >> Fallback(mirror) >> Fuse() >> Timeout(1))
    assert finding.layers == ("Fallback",)
    assert found("fallback-calls-what-failed", stacked(finding.remedy)) == []


class TestLayerNeverActs:
    rule = "layer-never-acts"

    @pytest.mark.parametrize("retry", [None, Retry(3, Fixed(1))])
    def test_is_quiet_about_a_saga_which_is_what_is_done(self, retry: Any) -> None:
        assert found(self.rule, Saga([Step(load, retry=retry)])) == []
        assert found(self.rule, Saga([Step(load), Step(mirror, retry=retry)])) == []
        assert found(self.rule, Timeout(9)(Saga([Step(load, retry=retry), Step(mirror)]))) == []

    def test_finds_a_filter_that_nothing_passes(self) -> None:
        finding = one(self.rule, Retry(3, on=ConnectionError)(Saga([Step(load, mirror)])))
        assert finding.message == (
            "Retry never does anything: out of what is inside comes SagaError, and it handles on=ConnectionError."
        )
        assert found(self.rule, stacked(finding.remedy)) == []
        several = one(self.rule, Retry(3, on=(ConnectionError, TimeoutError))(Saga([Step(load, mirror)])))
        assert "it handles on=(ConnectionError, TimeoutError)." in several.message

    def test_is_quiet_about_a_filter_for_what_an_operation_may_raise(self) -> None:
        assert found(self.rule, Retry(3, on=KeyError) >> CircuitBreaker(on=ValueError) >> Timeout(1)) == []

    def test_is_quiet_where_another_finding_says_why_the_time_is_up_before(self) -> None:
        assert found(self.rule, Timeout(10) >> Retry(2) >> Retry(4, Fixed(5))) == []
        assert found(self.rule, Timeout(10) >> Again(2) >> Retry(4, Fixed(5))) == []

    def test_is_moved_inside_alone_only_where_it_handles_what_comes_there(self) -> None:
        saga = Saga([Step(load, mirror), Step(mirror, archive)])
        finding = one(self.rule, (Retry(2, Fixed(1)) >> Fallback(Fallback.value(0)))(saga))
        assert finding.remedy == ()
        assert finding.advice == (
            "Put it inside of that, and have it handle what comes there, SagaError; or leave it out."
        )
        finding = one(self.rule, (Retry(2, Fixed(1), on=Exception) >> Fallback(Fallback.value(0)))(saga))
        assert found(self.rule, stacked(finding.remedy)) == []
        finding = one(self.rule, Retry(2, on=KeyError) >> Fallback(Fallback.value(0)) >> Timeout(1))
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_is_quiet_about_a_policy_that_reports_nothing(self) -> None:
        assert found(self.rule, Silent() >> Fallback(Fallback.value(0))) == []

    def test_finds_a_breaker_that_never_sees_a_failure(self) -> None:
        finding = one(self.rule, CircuitBreaker() >> Fallback(Fallback.value(0)) >> Timeout(1))
        assert (
            finding.message == "CircuitBreaker never opens: `Fallback(Fallback.value(0))` inside of it always answers."
        )
        assert found(self.rule, stacked(finding.remedy)) == []
        assert (
            found(
                self.rule,
                CircuitBreaker(slow_call=0.5, slow_call_rate=0.5, window=CountWindow(10)) >> Timeout(1, default=0),
            )
            == []
        )

    def test_is_quiet_about_a_policy_whose_on_means_something_else(self) -> None:
        class Sometimes(Again):
            def __init__(self, max_attempts: int, on: str) -> None:
                super().__init__(max_attempts)
                self.on = on

        assert found(self.rule, Sometimes(3, on="tuesday") >> Fallback(Fallback.value(0))) == []

    def test_finds_a_policy_that_handles_only_what_never_comes(self) -> None:
        class Swallowed(Event):
            pass

        class Picky(Policy):
            async def run(self, call: Any, rt: Any) -> Any:
                try:
                    return await call()
                except ConnectionError:
                    rt.emit(Swallowed)
                    return None

        finding = one(self.rule, Picky()(Saga([Step(load, mirror)])))
        assert finding.message == (
            "Picky never does anything: out of what is inside comes SagaError, which it does not handle."
        )
        assert found(self.rule, Picky() >> Timeout(1)) == []
        assert warnings(Cache(60, stale_if_error=9) >> Fallback(Fallback.value(0)) >> Timeout(1)) == [
            "stale-never-served"
        ]

    def test_says_less_where_more_would_take_too_long_to_know(self, monkeypatch: pytest.MonkeyPatch) -> None:
        exploration = explore(Retry(3, on=ConnectionError)(Saga([Step(load, mirror)])), "load")
        explored_for_real = Evidence._explored

        def only_the_whole(self: Evidence, layers: Any, *more: Any) -> Any:
            whole = len(layers) > 1 or not isinstance(layers[0], Saga)
            return explored_for_real(self, layers, *more) if whole else None

        monkeypatch.setattr(Evidence, "_explored", only_the_whole)
        [finding] = [finding for finding in exploration.lint() if finding.rule == self.rule]
        assert "out of what is inside comes something else" in finding.message


# --- sagas ---------------------------------------------------------------------------------------


class TestSagas:
    rule = "saga-step-cannot-be-undone"

    def test_the_last_step_needs_no_compensation(self) -> None:
        assert found(self.rule, Saga([Step(load, mirror), Step(archive)])) == []

    def test_each_step_is_told_and_none_is_moved_where_that_does_not_help(self) -> None:
        saga = Saga([Step(load), Step(mirror), Step(archive)])
        findings = found(self.rule, saga)
        assert sorted(finding.message.split()[1] for finding in findings) == ["load", "mirror"]
        assert all(finding.remedy == () for finding in findings)

    def test_a_step_is_moved_only_where_no_step_stays_done_then(self) -> None:
        [finding] = found(self.rule, Saga([Step(load), Step(mirror)]))
        assert finding.remedy == ()
        assert finding.advice == "Give it a compensation, or, where there is nothing to undo, one that does nothing."
        [finding] = found(self.rule, Saga([Step(load, retry=Retry(2)), Step(mirror, archive)]))
        assert "do it last" in finding.advice
        assert found(self.rule, stacked(finding.remedy)) == []

    def test_a_saga_that_is_run_again_is_no_fault_by_itself(self) -> None:
        saga = Saga([Step(load, mirror), Step(archive)])
        assert found(self.rule, Retry(2, on=Exception)(saga)) == []

    def test_time_that_is_up_between_two_steps_leaves_the_first_one_done(self) -> None:
        saga = Saga([Step(load, retry=Retry(2, Fixed(5))), Step(mirror, archive)], timeout=3)
        assert found(self.rule, saga)


# --- policies of a user's own --------------------------------------------------------------------


class Again(Policy):
    def __init__(self, max_attempts: int, pause: float = 1.0) -> None:
        self.max_attempts = max_attempts
        self.pause = pause

    async def run(self, call: Any, rt: Any) -> Any:
        for number in range(1, self.max_attempts + 1):
            rt.emit(Attempt, number)
            try:
                return await call()
            except Exception as error:
                if number == self.max_attempts:
                    rt.emit(GaveUp, number, 0.0, error, GaveUp.NO_ATTEMPT_LEFT)
                    raise
                rt.emit(Waiting, number, self.pause, (self.pause, self.pause), error)
                await rt.sleep(self.pause)
        return None


class Limit(Policy):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def run(self, call: Any, rt: Any) -> Any:
        answer = await rt.within(self.seconds, call)
        if answer is LATE:
            rt.emit(TimedOut, self.seconds)
            raise TimeoutExceeded(self.seconds)
        return answer


class Silent(Policy):
    async def run(self, call: Any, rt: Any) -> Any:
        return await call()


class Capped(Policy):
    def __init__(self, after: float) -> None:
        self.after = after

    run = Limit.run

    @property
    def seconds(self) -> float:
        return self.after


class Hurried(Policy):
    def __init__(self, max_attempts: int) -> None:
        self.max_attempts = max_attempts

    async def run(self, call: Any, rt: Any) -> Any:
        try:
            rt.emit(Attempt, 1)
            return await call()
        except Exception as error:
            rt.emit(GaveUp, 1, 0.0, error, GaveUp.NO_TIME_LEFT)
            raise


class Refusing(Policy):
    async def run(self, call: Any, rt: Any) -> Any:
        rt.emit(Rejected, "never", 60.0)
        raise RuntimeError("never")


class Single(Policy):
    def __init__(self, other: Callable[..., Any]) -> None:
        self.other = other

    async def run(self, call: Any, rt: Any) -> Any:
        try:
            return await call()
        except Exception as error:
            rt.emit(FellBack, self.other.__name__, 1, error)
            return await rt.invoke(self.other)


class Steps(Operation):
    @property
    def is_async(self) -> bool:
        return True

    async def run(self, call: Any, rt: Any) -> Any:
        for order, step in enumerate((load, mirror), 1):
            rt.emit(StepStarted, step.__name__, order)
            await rt.invoke(step)
            rt.emit(StepCompleted, step.__name__)


class Fuse(Policy):
    error: Exception = RuntimeError("blown")

    def situations(self) -> dict[str, Callable[[], list[bool]]]:
        return {"whole": lambda: [False], "blown": lambda: [True]}

    async def run(self, call: Any, rt: Any) -> Any:
        if rt.state[0]:
            rt.emit(Rejected, "blown", 60.0)
            raise self.error
        try:
            return await call()
        except Exception:
            rt.state[0] = True
            rt.emit(CircuitOpened, 1, 60.0)
            raise


class Twice(Policy):
    async def run(self, call: Any, rt: Any) -> Any:
        try:
            return await call()
        except ConnectionError:
            return await call()


class Turnstile(Policy):
    def situations(self) -> dict[str, Callable[[], list[int]]]:
        return {"open": lambda: [2]}

    async def run(self, call: Any, rt: Any) -> Any:
        if not rt.state[0]:
            rt.emit(Rejected, "no permit left", 60.0)
            raise RateLimitedError("load", 60.0)
        rt.state[0] -= 1
        return await call()


class Queue(Policy):
    def __init__(self, max_wait: float) -> None:
        self.max_wait = max_wait

    async def run(self, call: Any, rt: Any) -> Any:
        rt.emit(Queued, self.max_wait)
        await rt.sleep(self.max_wait)
        return await call()


class Memory(Policy):
    async def run(self, call: Any, rt: Any) -> Any:
        rt.emit(CacheMiss)
        answer, degraded = await rt.graded(call)
        rt.emit(CacheStored, 86400.0, degraded)
        return answer


class Instead(Policy):
    def __init__(self, *others: Callable[..., Any]) -> None:
        self.others = others

    async def run(self, call: Any, rt: Any) -> Any:
        try:
            return await call()
        except Exception as error:
            last = error
            for order, other in enumerate(self.others, 1):
                rt.emit(FellBack, other.__name__, order, last)
                try:
                    answer = await rt.invoke(other)
                except Exception as failed:
                    last = failed
                else:
                    rt.degraded()
                    return answer
            raise last from None


@pytest.mark.parametrize(
    ("rule", "wrong", "right"),
    [
        ("retry-cannot-finish", Limit(3) >> Again(5), Limit(6) >> Again(5)),
        ("retry-amplification", Limit(30) >> Again(4) >> Again(3), Limit(30) >> Again(3) >> Again(2)),
        ("timeouts-nested-wrong", Limit(3) >> Limit(5), Limit(5) >> Limit(3)),
        ("breaker-outside-retry", Fuse() >> Again(3) >> Limit(1), Again(3) >> Fuse() >> Limit(1)),
        ("breaker-open-retried", Again(3, 1) >> Fuse() >> Limit(1), Again(3, 60) >> Fuse() >> Limit(1)),
        ("limiter-inside-retry", Again(3) >> Turnstile() >> Limit(1), Again(2) >> Turnstile() >> Limit(1)),
        ("bulkhead-queue-outlasts-timeout", Limit(3) >> Queue(5), Limit(3) >> Queue(1)),
        ("cache-stores-degraded", Memory() >> Instead(mirror) >> Limit(1), Instead(mirror) >> Memory() >> Limit(1)),
        (
            "fallback-never-reached",
            Instead(mirror) >> Fallback(Fallback.value(0)),
            Fallback(Fallback.value(0)) >> Instead(mirror),
        ),
        ("fallback-never-reached", Instead(Fallback.value(0), mirror), Instead(mirror, Fallback.value(0))),
        ("fallback-calls-what-failed", Instead(load, mirror) >> Limit(1), Instead(mirror) >> Limit(1)),
        (
            "layer-never-acts",
            Again(3) >> Fallback(Fallback.value(0)) >> Limit(1),
            Fallback(Fallback.value(0)) >> Again(3) >> Limit(1),
        ),
        ("fallback-calls-what-failed", Single(load) >> Limit(1), Single(mirror) >> Limit(1)),
        ("saga-step-cannot-be-undone", Steps(), Saga([Step(load, mirror)])),
        (
            "cache-stores-degraded",
            Limit(9)(Fallback((Memory() >> Instead(mirror))(archive))(load)),
            Limit(9)(Fallback((Instead(mirror) >> Memory())(archive))(load)),
        ),
        ("hang-never-ended", Again(3), Again(3) >> Limit(1)),
    ],
)
def test_policies_of_ones_own_are_judged_by_what_they_report(rule: str, wrong: Any, right: Any) -> None:
    finding = one(rule, wrong)
    assert found(rule, right) == []
    if finding.remedy:
        assert found(rule, stacked(finding.remedy)) == []


def test_a_policy_that_cannot_describe_itself_is_no_obstacle() -> None:
    class Opaque(Policy):
        def __init__(self, secret: int) -> None:
            self._kept = secret

        async def run(self, call: Any, rt: Any) -> Any:
            rt.emit(Attempt, 1)
            return await call()

    assert warnings(Opaque(1) >> Fallback(mirror) >> Limit(1)) == []


def test_code_that_never_heard_of_patterns_is_judged_by_its_paths() -> None:
    async def plain(fetch: Callable[[], Any]) -> Any:
        return await fetch()

    [finding] = explore(plain).lint()
    assert finding.rule == "hang-never-ended"
    assert finding.message == "If fetch hangs, the call never ends."


def test_where_a_suspicion_takes_too_long_to_confirm_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    target = Retry(3) >> Fallback(Fallback.value(0)) >> Timeout(1)
    exploration = explore(target)
    assert [finding.rule for finding in exploration.lint()] == ["layer-never-acts"]

    def too_many(*args: Any, **options: Any) -> Any:
        raise TooManyPaths(1, {})

    monkeypatch.setattr("failwell.flow.lint.evidence.explore", too_many)
    assert exploration.lint() == []


# --- any stack -----------------------------------------------------------------------------------

FACTORIES: list[Callable[[], Policy]] = [
    lambda: Retry(2, Fixed(1)),
    lambda: Retry(3, Exponential(1, max=9), on=Exception, max_elapsed=4),
    lambda: Retry(3, Exponential(2, jitter="full"), on=Exception, respect_retry_after=False),
    lambda: Timeout(2),
    lambda: Timeout(5),
    lambda: Timeout(5, default=None),
    lambda: Fallback(mirror),
    lambda: Fallback(load, Fallback.value(0), archive),
    lambda: Fallback(Retry(2, Fixed(3))(mirror), on=TimeoutError),
    lambda: Cache(60, stale_if_error=60, degraded="store"),
    lambda: Cache(0, stale_if_error=60, stale_on=TimeoutError),
    lambda: CircuitBreaker(2, recovery_timeout=3),
    lambda: RateLimiter(2, per=4),
    lambda: RateLimiter(1, per=4, max_wait=6),
    lambda: Bulkhead(1, max_queue=1),
    lambda: Again(2),
    lambda: Fuse(),
    lambda: Queue(3),
    lambda: Memory(),
]


def _sagas() -> st.SearchStrategy[Any]:
    pay = marked("pay")
    made: list[Callable[[], Any]] = [
        lambda: Saga([Step(load), Step(pay, archive)]),
        lambda: Saga([Step(load, mirror, retry=Retry(2, Fixed(1))), Step(archive)], timeout=2),
    ]
    return st.sampled_from(made)


def _any_target() -> st.SearchStrategy[Any]:
    layers = st.lists(st.sampled_from(FACTORIES), min_size=1, max_size=4)
    inside = st.one_of(st.none(), st.just(lambda: marked("pay")), _sagas())

    def made(chosen: list[Callable[[], Policy]], inner: Any) -> Any:
        stack = Stack(*(make() for make in chosen))
        return stack if inner is None else stack(inner())

    return st.builds(made, layers, inside)


def _explored_or_not(target: Any) -> Exploration | None:
    try:
        return explore(target, "load", limit=400)
    except TooManyPaths:
        return None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(target=_any_target())
def test_findings_of_any_stack_are_true(target: Any) -> None:
    exploration = _explored_or_not(target)
    if exploration is None:
        return
    findings = exploration.lint()
    assert [finding[:7] for finding in findings] == [finding[:7] for finding in exploration.lint()]
    ended = all(path.ends for path in exploration.paths)
    assert ended == ("hang-never-ended" not in [finding.rule for finding in findings])
    for finding in findings:
        assert any(finding.path is path for path in exploration.paths)
        assert finding.message
        assert finding.advice
        _assert_true(finding, exploration)


def _assert_true(finding: Finding, exploration: Exploration) -> None:
    """Look at all paths for what a finding says of them."""
    events = [event for path in exploration.paths for event in path.events]
    mine = [event for event in events if event.layer in finding.layers]
    match finding.rule:
        case "retry-cannot-finish":
            number = int(re.search(r"never makes attempt (\d+)", finding.message)[1])  # type: ignore[index]
            who = finding.message.split(" never")[0].split(" of ")[0]
            attempts = [event.number for event in mine if isinstance(event, Attempt) and event.layer == who]
            assert number not in attempts or " of " in finding.message
        case "timeouts-nested-wrong":
            inner = finding.layers[1]
            fired = [event for event in events if isinstance(event, TimedOut) and event.layer == inner]
            assert not fired or " of " in finding.message
        case "stale-never-served":
            assert not [event for event in mine if isinstance(event, StaleServed)]
        case "layer-never-acts":
            outside = {type(event) for event in mine if event.operation == exploration.name}
            assert CircuitOpened not in outside
            assert " never opens" in finding.message or outside <= {Attempt, CacheMiss}
        case "retry-amplification":
            assert max(sum(path.calls.values()) for path in exploration.paths) > 10
        case "cache-stores-degraded":
            assert [event for event in finding.path.events if isinstance(event, CacheStored) and event.degraded]
        case "bulkhead-queue-outlasts-timeout":
            assert [event for event in finding.path.events if isinstance(event, Queued)]
        case "retry-not-idempotent":
            assert any(finding.path.calls.get(name, 0) > 1 for name in exploration.not_idempotent)
        case "hang-never-ended":
            assert not finding.path.ends
        case "breaker-open-retried" | "limiter-inside-retry":
            assert finding.severity == "note" or [event for event in finding.path.events if isinstance(event, Rejected)]
        case _:
            pass


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(target=_any_target())
def test_remedies_help_in_any_stack(target: Any) -> None:
    exploration = _explored_or_not(target)
    if exploration is None:
        return
    before = [finding.rule for finding in exploration.lint()]
    for finding in exploration.lint():
        if not finding.remedy:
            continue
        changed = _explored_or_not(stacked(finding.remedy))
        if changed is None:
            continue
        after = [(other.rule, other.message) for other in changed.lint()]
        same = [rule for rule, _ in after if rule == finding.rule]
        assert len(same) < before.count(finding.rule) or (finding.rule, finding.message) not in after


def _any_saga() -> st.SearchStrategy[Any]:
    """One to three steps, each with or without a compensation and a retry, perhaps with a limit of time."""
    retries = st.sampled_from([None, Retry(2, Fixed(1)), Retry(3, Fixed(4)), Retry(4, Exponential(1, max=20))])
    compensations = st.sampled_from([None, archive])
    actions = st.permutations([load, mirror, marked("pay")])
    kinds = st.lists(st.tuples(compensations, retries), min_size=1, max_size=3)
    cached = Timeout(30), Cache(60, key=str)
    around = st.sampled_from([(), (Timeout(5),), (Retry(3, Fixed(1), on=Exception),), cached])

    def made(actions: list[Any], kinds: list[Any], timeout: float | None, layers: tuple[Policy, ...]) -> Any:
        steps = [Step(act, undo, retry=retry) for act, (undo, retry) in zip(actions, kinds, strict=False)]
        saga = Saga(steps, timeout=timeout)
        return Stack(*layers)(saga) if layers else saga

    return st.builds(made, actions, kinds, st.sampled_from([None, 3, 20]), around)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
@given(saga=_any_saga())
def test_remedies_of_any_saga_cure(saga: Any) -> None:
    exploration = _explored_or_not(saga)
    if exploration is None:
        return
    findings = exploration.lint()
    assert "layer-never-acts" not in [f.rule for f in findings if f.layers == ("Saga",)]
    for finding in findings:
        changed = _explored_or_not(stacked(finding.remedy)) if finding.remedy else None
        if changed is not None:
            after = [other.rule for other in changed.lint()]
            before = [other.rule for other in findings]
            assert after.count(finding.rule) < before.count(finding.rule), finding


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=texts())
@example("Hedge(0.5) >> Saga([Step(reserve, release, retry=None), Step(charge, refund)], timeout=0.5)")
def test_reading_paths_as_a_tree_shows_what_reading_each_shows(text: str) -> None:
    try:
        paths = explored_text(text).paths
    except TooManyPaths:
        return
    marked_names = {"operation", "charge"}
    together = _lengths(Facts(paths, marked_names))
    one_by_one: dict[Any, int] = {}
    for path in paths:
        for fact, length in _lengths(Facts([path], marked_names)).items():
            one_by_one[fact] = min(length, one_by_one.get(fact, length))
    assert together == one_by_one


def _lengths(facts: Facts) -> dict[Any, int]:
    """Facts of two kinds may be equal as tuples (a step that hung, or was left done): the kind goes with them."""
    return {(kind, fact): len(seen.path.trace) for kind, known in facts._seen.items() for fact, seen in known.items()}


def test_a_fact_keeps_the_first_event_that_shows_it() -> None:
    exploration = explore(Retry(3, Fixed(1)), "load", outcomes=("ok", "fail"))
    facts = Facts(exploration.paths)
    seen = facts.get(Happened(("Retry", "load"), Waiting))
    assert isinstance(seen, Seen)
    assert [event.attempt for event in seen.events if isinstance(event, Waiting)] == [1]
    assert len(seen.path.calls) == 1
    assert facts.get(Attempted(("Retry", "load"), 4)) is None
    assert list(facts.all(NeverEnds)) == []


def test_no_paths_show_nothing() -> None:
    assert list(Facts([]).all(Happened)) == []
    path = Path((), None, None, 0.0)
    assert list(Facts([path]).all(Happened)) == []


# --- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.25, "0.25 s"),
        (90, "90 s"),
        (120, "2 min"),
        (3600, "1 h"),
        (5400, "90 min"),
        (86400, "24 h"),
        (172800, "2 days"),
        (float("inf"), "without end"),
    ],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert span(seconds) == said


@given(st.floats(0.001, 1e6))
def test_suggested_values_have_few_digits_and_are_on_the_right_side(value: float) -> None:
    assert value < roomy(value) <= 1.25 * value + 1e-9
    assert 0.89 * value <= less(value) <= value * (1 + 1e-6)
    assert roomy(0) == 0
    assert float(f"{less(value):.2g}") == less(value)
    assert float(f"{roomy(value):.3g}") == roomy(value)  # three where it went past a power of ten
