"""Tests that write themselves: a pytest file with a test for each way through a policy."""

from __future__ import annotations

import builtins
import itertools
import keyword
import re
import textwrap
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from failwell import errors
from failwell.errors import TooManyStates
from failwell.flow.explore import ORDINARY
from failwell.flow.states import keeps_state, transitions
from failwell.flow.story import Step, told
from failwell.policy import Pattern, labels, matching

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration
    from failwell.flow.path import Choice, Path

__all__ = ["Subject", "failures_to_try", "kinds_of_failure", "telling_paths", "test_file"]


class Subject(NamedTuple):
    """How a test file comes by the policy that it tests.

    Attributes:
        module: The module to import from.
        name: What to import from it.
        expression: The policy, in terms of that name.
        operation: What the policy protects, where it does not say so itself.
        command: The command that makes the file again.
    """

    module: str
    name: str
    expression: str
    operation: str
    command: str


def kinds_of_failure(layers: Iterable[Pattern], *, bare: bool = False) -> tuple[type[Exception], ...]:
    """An exception type for each way in which the layers tell failures apart.

    Two types are of one kind if every ``on=`` among the layers handles both or neither.

    Args:
        layers: The layers of a policy.
        bare: Whether types count that want other arguments than a message; the explorer raises them without any.
    """
    filters: list[Any] = []
    types: list[type[Exception]] = [*ORDINARY]
    for layer in layers:
        for name, on in layer.describe().items():
            if name == "on" or name.endswith("_on"):
                with suppress(TypeError):  # it means something else by that word
                    filters.append(matching(name, on))
                    named: tuple[Any, ...] = (on,) if isinstance(on, type) or callable(on) else tuple(on)
                    types += [one for one in named if isinstance(one, type) and issubclass(one, Exception)]
    found: dict[tuple[bool, ...], type[Exception]] = {}
    for one in types:
        try:
            error = one("failed")
        except Exception:  # it wants other arguments than a message
            if not bare:
                continue
            error = one.__new__(one)
        found.setdefault(tuple(_handles(on, error) for on in filters), one)
    return tuple(found.values())


def _handles(on: Any, error: Exception) -> bool:
    try:
        return bool(on(error))
    except Exception:  # a predicate that looks for more than this error has
        return False


_ORDINARY: tuple[type[Exception], ...] = (
    ConnectionError,
    TimeoutError,
    OSError,
    errors.TransientError,
    ValueError,
)


def failures_to_try(layers: Iterable[Pattern]) -> tuple[type[Exception], ...]:
    """Exception types that show which errors the layers handle: some ordinary ones, and each that they name.

    Args:
        layers: The layers of a policy.
    """
    named: list[Any] = []
    for layer in layers:
        for name, on in layer.describe().items():
            if (name == "on" or name.endswith("_on")) and (isinstance(on, (type, tuple, list))):
                named += [on] if isinstance(on, type) else on
    found = [one for one in named if isinstance(one, type) and issubclass(one, Exception) and one is not Exception]
    return tuple(dict.fromkeys([*_ORDINARY, *filter(_can_be_made, found)]))


def _can_be_made(error: type[Exception]) -> bool:
    try:
        error("failed")
    except Exception:  # it wants other arguments than a message
        return False
    return True


def telling_paths(explorations: Sequence[Exploration]) -> list[Path]:
    """Few paths that show everything: each is the shortest that does something which none before it does.

    Something is a step after another step, an attempt or wait of another number, an end, or what follows an error
    of a certain type. The path that takes longest and the one with most calls are among them.

    Args:
        explorations: The same policy, explored with failures of one type each.
    """
    paths = [path for exploration in explorations for path in exploration.paths]
    failures = {choice.option for path in paths for choice in path.choices if choice.kind == "operation"}
    shown: list[tuple[int, int, set[Any]]] = []
    numbers: dict[Any, int] = {}  # few different things happen on many paths
    for place, (path, story) in enumerate(zip(paths, told(paths), strict=True)):
        plain = [_whatever_failed(step, failures) for step in story]
        things = {
            *itertools.pairwise(plain),
            *((step.layer, step.title, step.counter) for step in story if step.kind != "end"),
            *((story[n].title, story[n + 1].via, plain[n + 1].title) for n in range(len(story) - 1)),
            path.degraded,
        }
        shown.append((len(path.trace), place, {numbers.setdefault(thing, len(numbers)) for thing in things}))
    first = explorations[0].paths
    extremes = [
        max((path for path in first if path.ends), key=lambda path: path.elapsed, default=first[0]),
        max(first, key=lambda path: sum(path.calls.values())),
    ]
    chosen = {place for place, path in enumerate(first) if any(path is one for one in extremes)}
    seen: set[Any] = set()
    for _, place, things in sorted(shown, key=lambda one: one[:2]):
        if not things <= seen:
            seen |= things
            chosen.add(place)
    return [paths[place] for place in sorted(chosen)]


def _whatever_failed(step: Step, failures: Collection[str]) -> Step:
    """A step without its numbers, and without the type of the error that led to it."""
    via = "fails" if step.via.startswith("raises ") else step.via
    title = "raise" if step.kind == "end" and step.title.removeprefix("raise ") in failures else step.title
    return step._replace(via=via, title=title, counter=("", ""), events=())


_MOST_STATES = 300
"""Of a layer whose state machine is tested; a search for more takes too long for a test."""


def test_file(explorations: Sequence[Exploration], subject: Subject, outcomes: Sequence[str | type[Exception]]) -> str:
    """The text of a pytest file that holds a policy to what it does now.

    Args:
        explorations: The same policy, explored with failures of one type each.
        subject: How the file comes by the policy.
        outcomes: How operations can end, all types of failures among them.
    """
    shown = ", ".join(one.__qualname__ if isinstance(one, type) else f'"{one}"' for one in outcomes)
    tests: list[str] = []
    names: dict[str, int] = {}
    for path in telling_paths(explorations):
        name = _name(path)
        names[name] = count = names.get(name, 0) + 1
        tests += ["", "", *_test(path, name if count == 1 else f"{name}_{count}", subject)]
    machines = [line for test in _machines(explorations[0].layers, subject) for line in ("", "", *test)]
    lines = [
        f'"""What {_quoted(subject.expression)} does, path by path.',
        "",
        *textwrap.wrap(_quoted(explorations[0].title), 100, break_long_words=False, break_on_hyphens=False),
        "",
        f"Made by `{_quoted(subject.command)}`; make it again when a change is meant.",
        "Each test answers what the policy asks and says what must come of it: no function of yours runs, no time",
        "passes. Together the tests show each step that the policy can take, and each number of attempts.",
        '"""',
        "",
        *_imports(subject, outcomes, pytest=any("pytest." in line for line in tests), machines=bool(machines)),
        "",
        f"OUTCOMES = ({shown}{',' * (len(outcomes) == 1)})",
        *tests,
        *machines,
    ]
    return "\n".join([*lines, ""])


def _machines(layers: Sequence[Pattern], subject: Subject) -> Iterable[list[str]]:
    """A test of each state machine that is not too large."""
    for layer, label in zip(layers, labels(layers), strict=True):
        if not keeps_state(layer):
            continue
        try:
            found = transitions(layer, labels([layer])[0], limit=_MOST_STATES)
        except TooManyStates:
            continue
        yield [
            f"def test_states_of_{_identifier(label)}():",
            f'    """How {_quoted(label)} goes from state to state, found by running it."""',
            f"    assert transitions({subject.expression}, {_text(label)}) == [",
            *(f"        {_text(one)}," for one in found),
            "    ]",
        ]


def _imports(subject: Subject, outcomes: Iterable[Any], *, pytest: bool, machines: bool) -> Iterable[str]:
    needed = {"failwell.flow": {"follow", "transitions"} if machines else {"follow"}}
    needed.setdefault(subject.module, set()).add(subject.name)
    for one in outcomes:
        if isinstance(one, type) and getattr(builtins, one.__name__, None) is not one:
            module = "failwell.errors" if getattr(errors, one.__name__, None) is one else one.__module__
            needed.setdefault(module, set()).add(one.__qualname__.partition(".")[0])
    theirs = [module for module in sorted(needed) if module.partition(".")[0] != "failwell"]
    if pytest:
        yield "import pytest"
    yield from (_import(module, needed[module]) for module in sorted(needed.keys() - set(theirs)))
    if theirs:
        yield ""
        yield from (_import(module, needed[module]) for module in theirs)


def _import(module: str, names: Iterable[str]) -> str:
    return f"from {module} import {', '.join(sorted(names))}"


def _test(path: Path, name: str, subject: Subject) -> Iterable[str]:
    answers = [_text(f"{choice.subject}: {choice.option}") for choice in path.choices]
    yield f"def test_{name}():"
    told, *more = textwrap.wrap(_quoted(str(path)), 100, break_long_words=False, break_on_hyphens=False)
    yield f'    """{told}' + ('"""' if not more else "")
    yield from (f"    {line}" for line in more)
    if more:
        yield '    """'
    yield "    path = follow("
    yield f"        {subject.expression},"
    yield from (f"        {answer}," for answer in answers)
    if subject.operation:
        yield f"        operation={_text(subject.operation)},"
    yield "        outcomes=OUTCOMES,"
    yield "    )"
    yield f"    assert path.calls == {{{', '.join(f'{_text(name)}: {count}' for name, count in path.calls.items())}}}"
    yield f"    assert path.waits == {_seconds(path.waits)}"
    yield f"    assert path.ended == {_text(path.ended)}"
    yield f"    assert path.elapsed == {_seconds(path.elapsed)}"
    if path.events:
        yield "    assert path.reports == ["
        yield from (f"        {_text(report)}," for report in path.reports)
        yield "    ]"
    else:
        yield "    assert path.reports == []"


def _seconds(value: float | tuple[float, ...]) -> str:
    if value == float("inf"):
        return 'float("inf")'
    if not value:
        return repr(value)
    exact = value if isinstance(value, tuple) else (value,)
    return repr(value) if all(one == round(one, 3) for one in exact) else f"pytest.approx({value!r})"


def _text(text: str) -> str:
    """Text as a literal, with the quotes that most formatters want."""
    return repr(text) if '"' in text or "\\" in repr(text) else f'"{text}"'


def _quoted(text: str) -> str:
    """Text for the inside of a docstring."""
    return text.replace("\\", "\\\\").replace('"""', "'''")


_ENOUGH = 90
"""Letters of a test's name."""


def _name(path: Path) -> str:
    said = [_words(choice) for choice in path.choices if len(choice.options) > 1]
    words = [_often(what, len(list(same))) for what, same in itertools.groupby(said)]
    name = ""
    for place, word in enumerate(words):
        longer = f"{name}_then_{_identifier(word)}" if name else _identifier(word)
        if len(longer) > _ENOUGH and place:
            return f"{name}_and_so_on_until_{_identifier(path.ended)[:40]}".rstrip("_")
        name = longer
    return name or "it_goes_its_only_way"


def _words(choice: Choice) -> str:
    if choice.kind == "operation":
        verb = {"ok": "answers", "fail": "fails", "hang": "hangs"}.get(choice.option, f"raises {choice.option}")
        return f"{choice.subject} {verb}"
    return f"{choice.subject} {choice.option}"


def _often(what: str, times: int) -> str:
    return what if times == 1 else f"{what} twice" if times == 2 else f"{what} {times} times"


def _identifier(text: str) -> str:
    found = re.sub(r"\W+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text)).strip("_").lower()
    return f"{found}_" if keyword.iskeyword(found) else found
