"""The service on language models: what the explorer says of it, and what its bad day looks like."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from failwell import Timeout, explore, virtual
from failwell.errors import RateLimitedError, TimeoutExceeded, ValidationFailed
from failwell.events import CacheStored
from failwell.examples import llm_service as example
from failwell.examples.llm_service import LONG, PROMPTS, Call, as_drawn, in_order, llm_service, llm_service_in_order
from failwell.policy import Stack

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/examples/llm_service.md"


# --- as it is explored ---


def test_every_way_that_a_call_can_go_is_found() -> None:
    found = explore(llm_service)
    assert len(found) == 137
    assert {type(path.error) for path in found.paths} == {
        type(None),
        ConnectionError,
        RateLimitedError,
        TimeoutExceeded,
        ValidationFailed,
    }
    assert all(path.ends for path in found.paths)
    assert sum(path.probability(0.1, 0.01) for path in found.paths) == pytest.approx(1)


def test_the_drawing_fits_on_a_page() -> None:
    graph = explore(llm_service).graph()
    assert len(graph.nodes) <= 40
    assert max(len(node.title) for node in graph.nodes) <= 24
    titles = {node.title for node in graph.nodes}
    assert {"input valid?", "RateLimiter?", "Cache?", "Retry: try", "route?", "output valid?"} <= titles
    assert {"gpt4_mini", "gpt4", "local_llm", "cached_fallback", "timed out", "give up", "wait"} <= titles


def test_nobody_asks_a_model_in_order_to_draw_it() -> None:
    example.BAD_DAY.begin({})
    explore(llm_service)
    assert example.BAD_DAY.asked == []


def test_the_lint_finds_that_the_second_best_answer_is_kept_for_an_hour() -> None:
    [finding] = [one for one in explore(llm_service).lint() if one.rule == "cache-stores-degraded"]
    [stored] = [event for event in finding.path.events if isinstance(event, CacheStored)]
    assert (stored.degraded, stored.ttl) == (True, 3600)
    assert finding.path.degraded
    assert "1 h" in finding.message
    assert explore(llm_service_in_order).lint() == []


def test_in_order_more_calls_are_answered_and_fewer_by_the_second_best() -> None:
    drawn, ordered = (explore(one).report(fail=0.1, hang=0.01) for one in (llm_service, llm_service_in_order))
    assert ordered.success > drawn.success
    assert ordered.degraded < drawn.degraded / 50
    assert ordered.mean_latency < drawn.mean_latency
    assert drawn.worst_latency == ordered.worst_latency == 30
    assert drawn.calls["local_llm"] > 50 * ordered.calls["local_llm"]


# --- as it runs ---


def rested(layers: Stack) -> Stack:
    """The same layers with nothing left from the day before."""
    for layer in layers.layers:
        layer._live = None
    return layers


def live(layers: Stack) -> list[Call]:
    return virtual.run(example.live_through(rested(layers)))


def test_as_drawn_a_reset_costs_an_hour_of_poor_answers_and_a_hang_the_call() -> None:
    first, again, hang, empty, nothing = live(as_drawn)
    assert (first.outcome.degraded, first.asked) == (True, ("gpt4_mini", "local_llm"))
    assert (again.outcome.degraded, again.asked) == (True, ())
    assert (type(hang.outcome.error), hang.outcome.elapsed, hang.asked) == (TimeoutExceeded, 30, ("gpt4",))
    assert isinstance(empty.outcome.error, ValidationFailed)
    assert isinstance(nothing.outcome.error, ValidationFailed)
    assert nothing.asked == ()


def test_in_order_the_same_day_is_answered() -> None:
    first, again, hang, fine, nothing = live(in_order)
    assert [call.outcome.degraded for call in (first, again, hang, fine)] == [False] * 4
    assert first.outcome.value == again.outcome.value == "gpt4_mini on 'What is a saga?'"
    assert (first.asked, again.asked) == (("gpt4_mini", "gpt4_mini"), ())
    assert (hang.outcome.value, hang.outcome.elapsed) == (f"gpt4 on {LONG!r}", 6 + 1 + 4 + 2 + 4)
    assert nothing.outcome.error is not None
    assert len(PROMPTS) == 5


@pytest.mark.parametrize(
    ("local", "answer", "seconds"),
    [
        ("fine", "local_llm on 'Hello'", 1 + 2 + 2),
        ("reset", "Our assistant is out. Here is how to reach a person.", 1 + 2),
        ("nonsense", "Our assistant is out. Here is how to reach a person.", 1 + 2 + 2),
        ("hang", "Our assistant is out. Here is how to reach a person.", 1 + 2 + 5),
    ],
)
def test_when_the_cloud_is_down_the_small_model_answers_and_then_the_prepared_text(
    local: str, answer: str, seconds: float
) -> None:
    example.BAD_DAY.begin({"gpt4_mini": ["reset"] * 3, "local_llm": [local]})
    outcome = virtual.run(rested(in_order).outcome(example.cloud_llm, "Hello"))
    assert (outcome.value, outcome.degraded, outcome.elapsed) == (answer, True, seconds)
    assert example.BAD_DAY.asked == ["gpt4_mini"] * 3 + ["local_llm"]


def test_the_small_model_has_a_limit_of_its_own() -> None:
    [timeout, *_] = [layer for layer in in_order.layers if isinstance(layer, Timeout)]
    slowest = 3 * 6 + 1 + 2 + 5
    assert slowest < timeout.seconds


# --- the program and its page ---


def test_the_page_shows_what_the_program_prints(pytestconfig: pytest.Config) -> None:
    command = [sys.executable, "-W", "error", "-m", "failwell.examples.llm_service"]
    done = subprocess.run(command, cwd=ROOT / "src", capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    text = PAGE.read_text(encoding="utf-8")
    fence = re.compile(r"(?<=```text\n)(.+?)(?=```\n)", re.DOTALL)
    [shown] = fence.findall(text)
    printed = done.stdout.rstrip("\n") + "\n"
    if pytestconfig.getoption("update_examples"):
        PAGE.write_text(fence.sub(lambda _: printed, text), encoding="utf-8")
        return
    assert shown == printed, "pytest tests/examples --update-examples rewrites the page"
