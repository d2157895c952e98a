"""The derived function does the same as the coroutine of ``run``; where it could not, it is not derived."""

from __future__ import annotations

import importlib.util
import linecache
import sys
import textwrap
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from failwell import Fallback, Policy, Retry, Timeout, backoff, virtual
from failwell.derive import _same, derive
from failwell.events import bus
from failwell.patterns import fallback, retry, timeout
from tests.kernel.world import World

HEAD = """
from __future__ import annotations
import asyncio, time
from failwell import Policy
from failwell.policy import Policy as Base

LIMIT = 3

class Mine(Policy):
    def __init__(self, number=1):
        self.number = number

"""


def module_of(tmp_path: Path, text: str, *, head: str = HEAD) -> Any:
    """Import a module made of a class with this ``run``."""
    path = tmp_path / f"mine_{len(list(tmp_path.iterdir()))}.py"
    path.write_text(head + textwrap.indent(textwrap.dedent(text), "    "))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def is_derived(policy: type[Policy], *, blocking: bool = True) -> bool:
    ways = [
        derive(policy.run, blocking=blocking, outermost=o, innermost=i) for o in (True, False) for i in (True, False)
    ]
    assert len({way is None for way in ways}) == 1
    return ways[0] is not None


def both(policy: Policy, *script: Any, takes: float = 0) -> list[Any]:
    """What comes out of a policy in all four ways, which must be the same thing."""
    found = []
    for asynchronous in (True, False):
        for driven in (True, False):
            with pytest.MonkeyPatch.context() as patch:
                if driven:
                    patch.setattr("failwell.policy.derive", lambda *_, **__: None)
                world = World(asynchronous)
                outcome = world.run(policy, world.operation(*script, takes=takes), 7)
                found.append((outcome.value, repr(outcome.error), outcome.elapsed, outcome.degraded, outcome.events))
    assert [f[:4] for f in found] == [found[0][:4]] * 4
    return [found[0][0], found[0][1]]


@pytest.mark.parametrize("pattern", [Retry, Timeout, Fallback])
def test_our_patterns_are_derived(pattern: type[Policy]) -> None:
    assert is_derived(pattern, blocking=True)
    assert is_derived(pattern, blocking=False)


def test_a_pattern_without_source_works_the_same() -> None:
    """Typed at a prompt, or taken from a file that is not there."""
    for module, name, make in (
        (retry, "Retry", lambda cls: cls(3, backoff=backoff.Fixed(1))),
        (timeout, "Timeout", lambda cls: cls(2.5)),
        (fallback, "Fallback", lambda cls: cls(fallback.Fallback.value(1))),
    ):
        text = Path(module.__file__ or "").read_text()
        space: dict[str, Any] = {"__name__": "typed_at_a_prompt"}
        exec(compile(text, "<prompt>", "exec"), space)
        typed: type[Policy] = space[name]
        assert not is_derived(typed)
        for script in (("answer",), (ConnectionError, "answer"), (ConnectionError("no"),), (ValueError("no"),)):
            assert both(make(typed), *script, takes=1) == both(make(getattr(module, name)), *script, takes=1)


def test_errors_point_to_the_one_real_text() -> None:
    for asynchronous in (True, False):
        world = World(asynchronous)
        outcome = world.run(Retry(2, backoff=backoff.Fixed(1)), world.operation(ConnectionError))
        assert outcome.error is not None
        frames = traceback.extract_tb(outcome.error.__traceback__)
        [ours] = [frame for frame in frames if frame.filename == retry.__file__]
        assert ours.name == "run"
        assert ours.line == "raise _annotated(failure, attempt, elapsed, reason)"


@pytest.mark.parametrize(
    "text",
    [
        """
        async def run(self, call, rt):
            await rt.sleep(self.number)
            return await call(), call.args, LIMIT
        """,
        """
        async def run(me, inner, world):
            async def twice():
                first = await inner()
                await world.sleep(1)
                return first, await inner()
            return await world.shielded(twice)
        """,
        """
        async def run(self, call, rt):
            "Has a docstring, and a lambda."
            value, poor = await rt.graded(lambda: call())
            return [value, poor, [one for one in call.args]]
        """,
        """
        async def run(self, call, rt):
            from failwell.runtime import LATE
            answer = await rt.within(5, call)
            return "late" if answer is LATE else answer
        """,
        """
        async def run(self, call, rt):
            async def once():
                return await call()
            return await once()
        """,
    ],
)
def test_a_policy_of_the_users_own_is_derived(tmp_path: Path, text: str) -> None:
    module = module_of(tmp_path, text)
    assert is_derived(module.Mine)
    both(module.Mine(), "answer")
    both(module.Mine(2), OSError("no"))
    both(Timeout(9) >> module.Mine(2) >> Timeout(8), "answer", takes=2)


@pytest.mark.parametrize("statement", ["rt.now()", "other.emit(1)", "(lambda: rt)().emit(1)", "print", "self.emit(2)"])
def test_only_events_of_the_runtime_are_left_out_when_nobody_listens(
    tmp_path: Path, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus, "active", 0)  # an abandoned thread of another test may listen still
    text = f"""
    async def run(self, call, rt):
        other = self
        {statement}
        return await call(), self.number

    def emit(self, value):
        self.number += value
    """
    module = module_of(tmp_path, text)
    expected = 1 + (statement == "other.emit(1)") + 2 * (statement == "self.emit(2)")
    assert module.Mine()(lambda: "a")() == ("a", expected)


@pytest.mark.parametrize(
    "text",
    [
        # awaits something that has no plain form by itself, but is made of what has
        """
        async def run(self, call, rt):
            return await self.helper(call, rt)

        async def helper(self, call, rt):
            await rt.sleep(1)
            return await call()
        """,
        """
        async def run(self, call, rt):
            later = call()
            return await later
        """,
        """
        async def run(self, call, rt):
            return await rt.shielded(self.helper(call))

        def helper(self, call):
            async def inner():
                return await call()
            return inner
        """,
        """
        async def run(self, call, rt):
            return await rt.graded(call=call)
        """,
        # gives a name a second meaning
        """
        async def run(self, call, rt):
            rt = rt
            return await call()
        """,
        """
        async def run(self, call, rt):
            _args = 3
            return await call(), _args
        """,
        """
        async def run(self, call, rt):
            return await call(), list(map(lambda call: call, call.args))
        """,
        """
        async def run(self, call, rt):
            try:
                return await call()
            except OSError as rt:
                raise KeyError from rt
        """,
        """
        async def run(self, call, rt):
            def again():
                nonlocal call
            return await call()
        """,
        # looks at its own frame
        """
        async def run(self, call, rt):
            return await call(), sorted(locals())
        """,
        """
        async def run(self, call, rt):
            return await super().run(call, rt) if self.number == 9 else await call()
        """,
        """
        async def run(self, call, rt):
            self.__private = 1
            return await call()
        """,
        # another signature
        """
        async def run(self, call, rt, *, more=4):
            return await call(), more
        """,
        # the call is used for more than calling
        """
        async def run(self, call, rt):
            call.note = 1
            return await call()
        """,
    ],
)
def test_what_could_mean_something_else_is_driven_instead(tmp_path: Path, text: str) -> None:
    module = module_of(tmp_path, text)
    assert derive(module.Mine.run, blocking=True, outermost=True, innermost=True) is None
    if "note" not in text:
        both(module.Mine(), "answer")
        both(module.Mine(), OSError("no"))
        both(Timeout(9) >> module.Mine() >> Retry(2, backoff=backoff.Fixed(1)), ConnectionError, "answer")


@pytest.mark.parametrize(
    "text",
    [
        """
        async def run(self, call, rt):
            await asyncio.sleep(1)
            return await call()
        """,
        """
        async def run(self, call, rt):
            async with asyncio.timeout(5):
                return await call()
        """,
        """
        async def run(self, call, rt):
            async for one in several():
                pass
            return [one async for one in several()], await call()
        """,
    ],
)
def test_what_needs_a_loop_works_on_one_and_says_so_elsewhere(tmp_path: Path, text: str) -> None:
    head = HEAD.replace("LIMIT = 3", "async def several():\n    await asyncio.sleep(0)\n    yield 1")
    module = module_of(tmp_path, text, head=head)
    assert not is_derived(module.Mine, blocking=True)
    assert is_derived(module.Mine, blocking=False)
    world = World(True)
    assert world.run(module.Mine(), world.operation("answer")).ok
    world = World(False)
    outcome = world.run(module.Mine(), world.operation("answer"))
    assert isinstance(outcome.error, (TypeError, RuntimeError))


def test_a_call_with_arguments_is_not_ours(tmp_path: Path) -> None:
    module = module_of(tmp_path, "async def run(self, call, rt):\n    return await call(1)\n")
    assert not is_derived(module.Mine)
    with pytest.raises(TypeError, match="positional argument"):
        module.Mine().call(lambda: 1)


def test_a_run_that_is_decorated_or_replaced_is_driven(tmp_path: Path) -> None:
    text = """
    def same(fn):
        return fn

    @same
    async def run(self, call, rt):
        return await call()
    """
    module = module_of(tmp_path, text)
    assert not is_derived(module.Mine)
    both(module.Mine(), "answer")
    policy: Any = Retry()

    async def run(call: Any, rt: Any) -> Any:
        return "mine", await call()

    policy.run = run
    both(policy, "answer")
    assert derive(print, blocking=True, outermost=True, innermost=True) is None


def test_run_may_use_the_variables_around_its_class(tmp_path: Path) -> None:
    def make(limit: int) -> Callable[[], Policy]:
        class Closed(Policy):
            async def run(self, call: Any, rt: Any) -> Any:
                return await call(), limit

        return Closed

    assert is_derived(make(3))  # type: ignore[arg-type]
    assert both(make(3)(), "answer")[0] == ("answer", 3)
    assert both(make(4)(), "answer")[0] == ("answer", 4)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.number + 1", "self.number + 2"),
        ("self.number + 1", "self.number - 1"),
        ("self.number + 1", "self.counter + 1"),
        ("self.number + 1", "(lambda: self.number + 3)()"),
        ("class Mine", "\nclass Mine"),
        ("class Mine", "class Yours"),
        ("return", "return ("),
        ("async def", "def"),
    ],
)
def test_a_file_that_was_changed_after_the_import_is_noticed(tmp_path: Path, old: str, new: str) -> None:
    """What runs is what was imported, not what stands in the file by now."""
    module = module_of(tmp_path, "async def run(self, call, rt):\n    return await call(), self.number + 1\n")
    path = Path(module.__file__)
    path.write_text(path.read_text().replace(old, new))
    linecache.checkcache(str(path))
    assert not is_derived(module.Mine)
    both(module.Mine(), "answer")
    assert module.Mine().call(lambda: "a") == ("a", 2)


@pytest.mark.parametrize(
    "texts",
    [
        ("async def run(): return a", "async def run(): return b"),
        ("async def run(): a = 1", "async def run(): b = 1"),
        ("async def run(): return 1", "async def run(): return 2"),
        ("async def run(): return 1", "async def run(): return 1.0"),
        ("async def run(): return lambda: a", "async def run(): return lambda: b"),
        ("async def run(): pass", "async def run(): 'documented'"),
    ],
)
def test_texts_that_differ_in_a_name_or_a_constant_are_not_the_same(texts: tuple[str, str]) -> None:
    one, other = (compile(text, "file", "exec").co_consts[0] for text in texts)
    assert _same(one, one)
    assert not _same(one, other)
    assert not _same(other, one)


@pytest.mark.parametrize("told", ["rt.emit(Attempt, self.number())", "await rt.announce(None, Attempt, self.number())"])
def test_the_fields_of_an_event_are_only_computed_when_somebody_listens(tmp_path: Path, told: str) -> None:
    path = tmp_path / "tells.py"
    text = """
        from failwell import Policy
        from failwell.events import Attempt

        class Tells(Policy):
            numbers = 0

            def number(self):
                self.numbers += 1
                return self.numbers

            async def run(self, call, rt):
                TOLD
                return await call()
    """
    path.write_text(textwrap.dedent(text).replace("TOLD", told))
    spec = importlib.util.spec_from_file_location("tells", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    policy = module.Tells()
    policy.call(time.time)
    assert policy.numbers == 0
    assert [event.number for event in policy.outcome(time.time).events] == [1]


def test_a_file_that_is_gone_is_noticed(tmp_path: Path) -> None:
    module = module_of(tmp_path, "async def run(self, call, rt):\n    return await call()\n")
    Path(module.__file__).unlink()
    linecache.clearcache()
    assert not is_derived(module.Mine)
    assert module.Mine().call(lambda: "a") == "a"


def test_an_interrupt_passes_through_a_driven_run() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("failwell.policy.derive", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            Retry().call(World(False).operation(KeyboardInterrupt))
        with pytest.raises(RuntimeError, match="own") as caught:
            Retry().call(World(False).operation(RuntimeError("own")))
        assert caught.value.__cause__ is None


def test_deriving_is_done_once_per_class(monkeypatch: pytest.MonkeyPatch) -> None:
    Timeout(5)(time.sleep)
    monkeypatch.setattr("failwell.derive._Text", None)
    Timeout(6)(time.sleep)
    with virtual.clock():
        Timeout(6).call(time.sleep, 1)
    assert sys.modules["failwell.derive"] is not None
