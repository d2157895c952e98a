"""Code that never heard of us has paths, waits, a drawing and a report all the same."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
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

from failwell import CircuitBreaker, Retry, Timeout, backoff, explore, virtual
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


def test_settings_locks_and_texts_of_a_dependency_are_no_operations() -> None:
    async def load(client: Any, lock: Any) -> Any:
        client.headers["x-team"] = "shop"
        with lock:
            answer = await client["orders"].get("/")
        return f"{answer} {answer.id:>12}"

    assert stories(load, "ok", "fail")[1] == "client['orders'].get (call 1) fails -> raise ConnectionError after 0 s"


def test_whether_an_answer_counts_as_true_is_a_choice_and_the_same_one_each_time() -> None:
    async def load(get: Any) -> Any:
        response = await get()
        if not response.ok:
            raise ConnectionError
        return response if response.ok else None

    assert stories(load, "ok") == [
        "get (call 1) -> get.ok? yes -> return after 0 s",
        "get (call 1) -> get.ok? no -> raise ConnectionError after 0 s",
    ]
    assert explore(load).report(0.1, situations={"get.ok": {"yes": 0.5, "no": 0.5}}).success == pytest.approx(0.45)


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


def test_lots_that_decide_how_long_it_waits_give_bounds() -> None:
    async def load(api: Call) -> Any:
        await asyncio.sleep(random.uniform(1, 5))
        return await api()

    found = explore(load, outcomes=("ok", "fail"))
    assert [path.between for path in found.paths] == [(1, 5), (1, 5)]
    report = found.report(0.1)
    assert report.is_random
    assert report.latency_bounds == (1, 5)


def test_bounds_of_a_jitter_of_stamina_hold() -> None:
    @stamina.retry(on=ConnectionError, attempts=3, wait_initial=1.0, wait_jitter=2.0)
    async def load(api: Call) -> Any:
        return await api()

    found = explore(load, outcomes=("ok", "fail"))
    low, high = found.report(0.5).bounds["mean_latency"]
    for seed in range(200):
        script = [random.Random(seed * 7 + n).random() < 0.5 for n in range(3)]

        async def api(script: list[bool] = script) -> int:
            if script.pop():
                raise ConnectionError
            return 1

        async def main() -> float:
            with contextlib.suppress(ConnectionError):
                await load(api)
            return asyncio.get_running_loop().time()

        took, calls = virtual.run(main(), seed=seed), 3 - len(script)
        shape = [path.between for path in found.paths if path.calls == {"api": calls}]
        assert any(least <= took <= most + 1e-9 for least, most in shape)
    assert 0 < low < high


def test_other_lots_fall_the_same_way_on_each_path() -> None:
    async def load(api: Call) -> Any:
        await asyncio.sleep(random.expovariate(1))
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


breaker = CircuitBreaker(1, 60)


@breaker
async def guarded() -> int:
    return 1


async def calls_guarded(api: Call) -> Any:
    await api()
    return await guarded()


@pytest.mark.parametrize("fn", [calls_guarded, functools.partial(calls_guarded), tenacity.retry(calls_guarded)])
def test_code_that_calls_what_keeps_a_live_state_is_refused(fn: Any) -> None:
    with pytest.raises(TypeError, match="calls guarded, whose CircuitBreaker keeps a state of the running program"):
        explore(fn)


def test_the_state_of_policies_is_a_fresh_one_on_each_path() -> None:
    live = CircuitBreaker(1, 60)

    async def load(api: Call) -> Any:
        return await (Retry(2, backoff.Fixed(1), on=ConnectionError) >> live).call(api)

    assert stories(load, "ok", "fail")[1] == (
        "api (attempt 1) fails -> the circuit opens (after 1 failure, for 60 s) -> wait 1 s -> Retry: try (attempt 2) "
        "-> rejected (circuit open, again in 59 s) -> raise CircuitOpenError after 1 s"
    )
    assert (live.state, live.failure_count, live.history) == ("closed", 0, ())


def test_what_ends_a_program_ends_a_path() -> None:
    async def gives_up(api: Call) -> Any:
        try:
            return await api()
        except ConnectionError:
            sys.exit(3)

    async def cancels(api: Call) -> Any:
        await api()
        raise asyncio.CancelledError

    assert stories(gives_up, "ok", "fail")[1] == "api (call 1) fails -> raise SystemExit after 0 s"
    assert stories(cancels, "ok") == ["api (call 1) -> raise CancelledError after 0 s"]


def test_what_goes_on_beside_a_call_that_hangs_does_not_hide_that_it_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[explore.__module__], "_MOST_STEPS", 1000)

    async def beats() -> None:
        while True:  # noqa: ASYNC110 - a heartbeat
            await asyncio.sleep(1)

    async def load(api: Call) -> Any:
        heart = asyncio.create_task(beats())
        try:
            return await api()
        finally:
            heart.cancel()

    assert stories(load)[-1] == "api (call 1) hangs -> never ends"


def test_nothing_is_said_about_tasks_that_nobody_asks(capfd: pytest.CaptureFixture[str]) -> None:
    async def load(a: Any, b: Any) -> Any:
        done, _ = await asyncio.wait([asyncio.create_task(a()), asyncio.create_task(b())])
        return len(done)

    assert len(explore(load, outcomes=("ok", "fail"))) == 4
    gc.collect()
    assert capfd.readouterr().err == ""


def test_code_that_asks_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[explore.__module__], "_MOST_QUESTIONS", 50)

    async def poll(api: Call) -> Any:
        while True:
            try:
                return await api()
            except ConnectionError:
                await asyncio.sleep(1)

    with pytest.raises(
        TooManyPaths, match=r"a path that asked 50 questions goes on, perhaps without end.* api"
    ) as caught:
        explore(poll, outcomes=("ok", "fail"))
    assert caught.value.endless


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


async def equals(api: Call) -> Any:
    response: Any = await api()
    return 1 if response.status_code == 200 else 2


async def is_among(api: Call) -> Any:
    response: Any = await api()
    return response.status_code in (200, 201)


async def searches(api: Call) -> Any:
    response: Any = await api()
    return "error" in response


async def adds(api: Call) -> Any:
    response: Any = await api()
    try:
        return 1 + response.count
    except Exception:
        return 0


async def goes_through(api: Call) -> Any:
    response: Any = await api()
    return [line async for line in response.aiter_lines()]


async def forgets_to_await(api: Call) -> Any:
    return api(3)


async def calls_in_a_thread(api: Call) -> Any:
    return await asyncio.to_thread(api, 3)


async def compares_in_a_task(api: Call) -> Any:
    async with asyncio.TaskGroup() as group:
        return group.create_task(compares(api))


@pytest.mark.parametrize(
    ("fn", "what"),
    [
        (compares, "api.status_code stands for any value and cannot be compared with 500"),
        (counts, "api.items stands for any value and cannot be counted"),
        (equals, "api.status_code stands for any value and cannot be compared with 200"),
        (is_among, "cannot be compared with 200"),
        (searches, "the answer of api stands for any value and cannot be searched for 'error'"),
        (adds, "api.count stands for any value and cannot be calculated with 1"),
        (goes_through, r"api.aiter_lines\(\) stands for any value and cannot be gone through"),
        (forgets_to_await, "api was called and not awaited"),
        (calls_in_a_thread, r"call it with await api\(...\), and not in a thread"),
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
