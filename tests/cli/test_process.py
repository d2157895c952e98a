"""The command as people run it: a process of its own, in a folder of theirs."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

STACK = """
import sys

from failwell import Policy, Retry, Timeout


class Loud(Policy):
    told = False

    async def run(self, call, rt):
        if not Loud.told:
            Loud.told = True
            print("exploring", file=sys.stderr, flush=True)
        return await call()


mine = Timeout(5) >> Retry(2)
long = Retry(200)
huge = Loud() >> Retry(5) >> Retry(3) >> Timeout(5)
print("imported", flush=True)
"""
RUN = [sys.executable, "-m", "failwell.cli"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stacks.py").write_text(STACK, encoding="utf-8")
    return tmp_path


def failwell(folder: Path, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=timeout,
        check=False,
    )


def environment() -> dict[str, str]:
    src = str(Path(__file__).parents[2] / "src")
    return {**os.environ, "PYTHONPATH": src, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8"}


def test_a_stack_of_ones_own_is_drawn(folder: Path) -> None:
    done = failwell(folder, "draw", "stacks:mine", "-o", "mine.svg", "--operation", "buy")
    assert (done.returncode, done.stdout) == (0, "")
    assert "buy" in (folder / "mine.svg").read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == ["mine.svg", "stacks.py"]


def test_bad_input_has_status_2_and_no_traceback(folder: Path) -> None:
    done = failwell(folder, "draw", "stacks:mien", "-o", "mine.svg")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "imported\nfailwell: module 'stacks' has no attribute 'mien': did you mean mine?\n"
    assert sorted(path.name for path in folder.iterdir()) == ["stacks.py"]


def test_a_reader_who_leaves_early_is_no_error(folder: Path) -> None:
    process = subprocess.Popen(
        [*RUN, "explain", "stacks:long", "--outcomes", "ok,fail", "--paths"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 0
    assert error == b"imported\n"


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_leaves_no_file(folder: Path) -> None:
    process = subprocess.Popen(
        [*RUN, "draw", "stacks:huge", "--limit", "100000", "--unroll", "-o", "huge.txt"],
        cwd=folder,
        env=environment(),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - a background job has none
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"imported\n"
    assert process.stderr.readline() == b"exploring\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.strip() == b"failwell: stopped, nothing was left half-written"
    assert sorted(path.name for path in folder.iterdir()) == ["stacks.py"]


def test_list_starts_quickly(folder: Path) -> None:
    program = (
        "import sys; from failwell.cli.app import run; run(['list']); print(*sorted(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=True,
    )
    loaded = set(done.stderr.split())
    assert not loaded & {"pygraphviz", "graphviz", "failwell.flow.explore", "mkdocs"}


def test_what_the_readme_says_of_ones_own_stacks_works(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## Your own stacks\n")[2].partition("\n## ")[0]
    program, commands = re.findall(r"```(?:python|console)\n(.*?)```", section, re.DOTALL)
    (tmp_path / "shop.py").write_text(program, encoding="utf-8")
    said: list[str] = []
    for command in commands.splitlines():
        name, *arguments = command.split()
        done = failwell(tmp_path, *arguments)
        assert (name, done.returncode) == ("failwell", 0), done.stderr
        said.append(done.stdout)
    assert "fetch_cart" in (tmp_path / "cart.svg").read_text(encoding="utf-8")
    drawn, to_file, explained, to_tests, compared = said
    assert drawn
    assert not to_file
    assert not to_tests
    assert "def test_" in (tmp_path / "test_recover.py").read_text(encoding="utf-8")
    assert compared.startswith("## `shop:recover` and `shop:hasty`")
    assert all(word in explained for word in ("success", "latency", "calls", "longest", "Paths"))
