"""Code that never heard of us has paths, waits, a drawing and a report all the same."""

from __future__ import annotations

import asyncio
import functools
import inspect
import random
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import stamina
import tenacity
from hypothesis import given
from hypothesis import strategies as st

from failwell import Retry, Timeout, backoff, explore
from failwell.errors import NotDeterministic, TooManyPaths
from failwell.flow.draw import FORMATS, draw

Call = Callable[..., Awaitable[Any]]


@tenacity.retry(stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_exponential(), reraise=True)
async def with_tenacity(api: Call) -> Any:
    return await api()


@stamina.retry(on=ConnectionError, attempts=3, wait_jitter=0.0, wait_initial=1.0)
async def with_stamina(api: Call) -> Any:
    async with asyncio.timeout(5):
        return await api()


async def with_a_backup(primary: Call, backup: Call) -> Any:
    try:
        async with asyncio.timeout(2):
            return await primary()
    except (TimeoutError, ConnectionError):
        await asyncio.sleep(1)
        return await backup()


def stories(fn: Any, *outcomes: str) -> list[str]:
    return [str(path) for path in explore(fn, outcomes=outcomes or ("ok", "fail", "hang")).paths]


def test_a_retry_of_tenacity_tells_its_attempts_and_waits() -> None:
    assert stories(with_tenacity, "ok", "fail") == [
        "api (call 1) ok -> return after 0 s",
        "api (call 1) fails -> wait 1 s -> api (call 2) ok -> return after 1 s",
        "api (call 1) fails -> wait 1 s -> api (call 2) fails -> wait 2 s -> api (call 3) ok -> return after 3 s",
        "api (call 1) fails -> wait 1 s -> api (call 2) fails -> wait 2 s -> api (call 3) fails "
        "-> raise ConnectionError after 3 s",
    ]


def test_its_report_is_that_of_the_same_retry_of_ours() -> None:
    theirs = explore(with_tenacity).report(0.1, 0.02)
    ours = explore(Retry(3, backoff.Exponential(1)), "api").report(0.1, 0.02)
    assert theirs.success == pytest.approx(ours.success, abs=1e-12)
    assert theirs.calls == pytest.approx(ours.calls, abs=1e-12)
    assert explore(with_tenacity, outcomes=("ok", "fail")).report(0.1).mean_latency == pytest.approx(
        explore(Retry(3, backoff.Exponential(1)), "api", outcomes=("ok", "fail")).report(0.1).mean_latency
    )


def test_stamina_and_a_timeout_of_asyncio_cut_what_hangs() -> None:
    told = stories(with_stamina, "ok", "hang")
    assert told[0] == "api (call 1) ok -> return after 0 s"
    assert "api (call 1) hangs -> cancelled (after 5 s) -> raise TimeoutError after 5 s" in told


def test_each_dependency_is_an_operation_of_its_own() -> None:
    found = explore(with_a_backup)
    assert {name for path in found.paths for name in path.calls} == {"primary", "backup"}
    told = [str(path) for path in found.paths]
    assert (
        "primary (call 1) hangs -> cancelled (after 2 s) -> wait 1 s -> backup (call 1) ok -> return after 3 s" in told
    )
    assert found.report({"primary": 0.5, "backup": 0.1}).success == pytest.approx(1 - 0.5 * 0.1)


@pytest.mark.parametrize("ending", FORMATS)
@pytest.mark.parametrize("fn", [with_tenacity, with_stamina, with_a_backup], ids=lambda fn: fn.__name__)
def test_it_is_drawn_in_every_format(fn: Any, ending: str) -> None:
    assert draw(explore(fn).graph(), ending)


def test_the_drawing_folds_the_attempts() -> None:
    graph = explore(with_tenacity).graph()
    assert [(node.title, node.details) for node in graph.nodes if node.kind == "event"] == [
        ("api", ("call 1–3",)),
        ("wait", ("1 s, 2 s",)),
    ]


def test_attributes_of_a_dependency_are_operations() -> None:
    async def load(client: Any) -> Any:
        async with client.session.get("/users", timeout=3) as response:
            body = await response.json()
        await client.close()
        return body["name"]

    assert stories(load, "ok", "fail") == [
        "client.session.get (call 1) ok -> client.close (call 1) ok -> return after 0 s",
        "client.session.get (call 1) ok -> client.close (call 1) fails -> raise ConnectionError after 0 s",
        "client.session.get (call 1) fails -> raise ConnectionError after 0 s",
    ]
    assert explore(load).paths[0].ended == "answer of client.session.get.json()['name']"


def test_a_call_can_be_a_task() -> None:
    async def load(api: Any) -> Any:
        return await asyncio.create_task(api())

    assert len(explore(load)) == 3


def test_data_is_given_to_parameters_that_say_what_they_take() -> None:
    got: list[Any] = []

    async def ask(llm: Call, prompt: str, times: int, *, strict: bool, tags: list[str], depth: int = 7) -> Any:
        got[:] = [prompt, times, strict, tags, depth]
        return await llm(prompt)

    assert len(explore(ask)) == 3
    assert got == ["prompt", 1, True, [], 7]


def test_partials_methods_and_callable_objects_are_explored() -> None:
    class Service:
        async def load(self, api: Call) -> Any:
            return await api()

        async def __call__(self, api: Call) -> Any:
            return await api()

    bound = functools.partial(with_a_backup, backup=_answers)
    assert (
        stories(Service().load)
        == stories(Service())
        == [
            "api (call 1) ok -> return after 0 s",
            "api (call 1) fails -> raise ConnectionError after 0 s",
            "api (call 1) hangs -> never ends",
        ]
    )
    assert {name for path in explore(bound).paths for name in path.calls} == {"primary"}


async def _answers() -> int:
    return 1


def test_a_probe_is_a_coroutine_function_for_whoever_looks() -> None:
    looked: list[bool] = []

    async def look(api: Any) -> Any:
        looked.append(inspect.iscoroutinefunction(api))
        return await tenacity.retry(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_none())(api)()

    assert len(explore(look, outcomes=("ok", "fail"))) == 3
    assert all(looked)


def test_calls_that_overlap_are_followed_in_their_order() -> None:
    async def both(a: Call, b: Call) -> Any:
        return await asyncio.gather(a(), b())

    told = stories(both)
    assert len(told) == 9
    assert "a (call 1) hangs -> b (call 1) fails -> raise ConnectionError after 0 s" in told


def test_policies_of_ours_inside_report_as_ever() -> None:
    async def load(api: Call) -> Any:
        return await (Retry(2, backoff.Fixed(2)) >> Timeout(1)).call(api)

    told = stories(load)
    assert "api (attempt 1) fails -> wait 2 s -> api (attempt 2) ok -> return after 2 s" in told
    assert explore(load).paths[1].waits == (2.0,)


def test_lots_are_the_same_on_each_path() -> None:
    async def load(api: Call) -> Any:
        await asyncio.sleep(random.random())
        return await api()

    assert len({path.waits for path in explore(load).paths}) == 1


def test_state_between_runs_is_found_out() -> None:
    calls: list[int] = []

    async def load(api: Call) -> Any:
        calls.append(1)
        await asyncio.sleep(len(calls))
        return await api()

    with pytest.raises(NotDeterministic, match="keeps state between runs"):
        explore(load)


def test_code_that_asks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[explore.__module__], "_MOST_QUESTIONS", 50)

    async def poll(api: Call) -> Any:
        while True:
            try:
                return await api()
            except ConnectionError:
                await asyncio.sleep(1)

    with pytest.raises(TooManyPaths, match=r"api"):
        explore(poll, outcomes=("ok", "fail"))


def test_code_that_waits_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[explore.__module__], "_MOST_STEPS", 1000)

    async def wait(api: Call) -> None:
        while True:  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(1)

    with pytest.raises(TypeError, match="goes on without end"):
        explore(wait)


async def compares(api: Call) -> Any:
    response: Any = await api()
    return response.status_code >= 500


async def counts(api: Call) -> Any:
    response: Any = await api()
    return len(response.items)


async def compares_in_a_task(api: Call) -> Any:
    async with asyncio.TaskGroup() as group:
        return group.create_task(compares(api))


@pytest.mark.parametrize(
    ("fn", "what"),
    [
        (compares, "api.status_code stands for any value and cannot be compared with 500"),
        (counts, "api.items stands for any value and cannot be counted"),
        (compares_in_a_task, "cannot be compared with 500"),
    ],
)
def test_a_decision_by_the_value_of_an_answer_is_refused_in_one_sentence(fn: Any, what: str) -> None:
    with pytest.raises(TypeError, match=what) as caught:
        explore(fn)
    assert "\n" not in str(caught.value)


async def waits(seconds: float) -> None:
    await asyncio.sleep(seconds)


@pytest.mark.parametrize("fn", [_answers, waits])
def test_without_a_dependency_there_is_nothing_to_explore(fn: Any) -> None:
    with pytest.raises(TypeError, match="takes no dependency to explore it with"):
        explore(fn)


def test_a_plain_function_is_refused() -> None:
    with pytest.raises(TypeError, match="an async function that takes what it calls as arguments"):
        explore(len)


@given(st.lists(st.sampled_from(["ok", "fail", "hang"]), min_size=1, max_size=3, unique=True), st.integers(1, 4))
def test_a_hand_written_loop_is_as_likely_as_the_formula(outcomes: list[str], attempts: int) -> None:
    async def loop(api: Call) -> Any:
        for attempt in range(attempts):
            try:
                return await api()
            except ConnectionError:
                if attempt == attempts - 1:
                    raise
                await asyncio.sleep(2**attempt)
        return None

    found = explore(loop, outcomes=tuple(outcomes))
    ours = explore(Retry(attempts, backoff.Exponential(1)), "api", outcomes=tuple(outcomes))
    assert sorted((path.elapsed, path.ended) for path in found.paths) == sorted(
        (path.elapsed, path.ended) for path in ours.paths
    )
    assert sum(path.probability(0.2, 0.1) for path in found.paths) == pytest.approx(1)
