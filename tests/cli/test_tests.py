"""``failwell tests``: a file that pytest runs."""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from failwell.catalog import CARDS
from failwell.cli import app

MODULE = """
from failwell import Retry, Timeout, backoff

stack = Retry({attempts}, backoff.Fixed(1)) >> Timeout(5)

@stack
async def load(): ...

async def foreign(api):
    for attempt in range({attempts}):
        try:
            return await api()
        except ConnectionError:
            continue
    raise LookupError("nobody answers")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "shop.py").write_text(MODULE.format(attempts=3))
    sys.modules.pop("shop", None)
    return tmp_path


def run_pytest(folder: Path) -> subprocess.CompletedProcess[str]:
    # "-B": a module that is changed within a second keeps its size, and so its compiled form would be taken for current
    command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)


def test_pytest_runs_the_file_and_fails_it_when_the_stack_changes(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["tests", "shop:stack", "-o", "test_shop.py"]) == 0
    assert capsys.readouterr().err == "test_shop.py: 13 tests for 59 paths\n"
    before = run_pytest(project)
    assert before.returncode == 0, before.stdout
    assert "13 passed" in before.stdout
    (project / "shop.py").write_text(MODULE.format(attempts=2))
    after = run_pytest(project)
    assert after.returncode == 1
    assert "Diverged" in after.stdout


@pytest.mark.parametrize("target", ["shop:load", "shop:foreign", *CARDS])
def test_anything_that_can_be_explored_has_tests(
    target: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["tests", target]) == 0
    text = capsys.readouterr().out
    space: dict[str, object] = {}
    exec(text, space)
    tests = [test for name, test in space.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        assert callable(test)
        test()


@pytest.mark.parametrize(
    "arguments",
    [
        ["shop:stack", "-o", "unit/test_shop.py"],
        ["shop:stack", "--operation", "load it", "--outcomes", "ok,fail", "--limit", "500", "-o", "test it.py"],
        ["shop:stack", "-o", "./unit/it's \\new/test.py"],
        ["retry", "--limit", "10000", "-o", "test_retry.py"],
        ["shop:load", "--outcomes", "ok"],
    ],
)
def test_the_command_in_a_file_makes_the_same_file_again(
    arguments: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "unit" / "it's \\new").mkdir(parents=True)

    def made(words: list[str]) -> str:
        assert app.run(["tests", *words]) == 0
        said = capsys.readouterr().out
        return Path(words[-1]).read_text() if "-o" in words else said

    first = made(arguments)
    told = ast.get_docstring(ast.parse(first)) or ""
    command = told.partition("Made by `")[2].partition("`; make it again")[0]
    name, sub, *again = shlex.split(command)
    assert (name, sub) == ("failwell", "tests")
    assert again == arguments
    assert made(again) == first


def test_a_file_of_somebody_elses_is_not_replaced(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    theirs = project / "test_shop.py"
    theirs.write_text("def test_by_hand(): ...\n")
    assert app.run(["tests", "shop:stack", "-o", "test_shop.py"]) == 2
    assert "was not made by failwell tests: give another name, or --force" in capsys.readouterr().err
    assert theirs.read_text() == "def test_by_hand(): ...\n"
    assert app.run(["tests", "shop:stack", "-o", "test_shop.py", "--force"]) == 0
    assert app.run(["tests", "shop:stack", "-o", "test_shop.py"]) == 0  # this one was


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tests", "shop:stack", "-o", "tests.txt"], "give a name that ends in .py"),
        (["tests", "shop:stack", "-o", "no/where.py"], "there is no folder no"),
        (["tests", "shop:stak"], "did you mean stack?"),
        (["tests", "shop:stack", "--limit", "0"], "--limit 0: give a number of paths of at least 1"),
        (["tests", "shop:stack", "--limit", "5"], "more than 5 paths"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], said: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(arguments) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert sorted(path.name for path in project.glob("*.py")) == ["shop.py"]
