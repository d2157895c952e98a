"""Long runs of ``failwell explain`` in a process of its own: progress on a terminal, Ctrl-C at any time."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.test_process import RUN, environment, failwell

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and terminals")

STACK = """
import sys

import failwell.flow.lint
from failwell import Retry, Timeout

stack = Retry(3) >> Timeout(5)
large = Retry(4) >> Retry(3) >> Timeout(5)


def slowly(function):
    def call(*given):
        import time
        until = time.monotonic() + 20
        while time.monotonic() < until:  # work, as it looks from outside
            pass
        return function(*given)
    return call
"""
SLOW = {
    "weighing": ("failwell.flow.explore", "make_report"),
    "looking for what is wrong": ("failwell.flow.lint", "lint"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "stacks.py").write_text(STACK, encoding="utf-8")
    for number, (module, name) in enumerate(SLOW.values()):
        slow = f"from stacks import *\nmodule = sys.modules['{module}']\nmodule.{name} = slowly(module.{name})\n"
        (tmp_path / f"slow{number}.py").write_text(slow, encoding="utf-8")
    return tmp_path


class OnTerminal:
    """A process whose standard error is a terminal."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [*RUN, *arguments],
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=theirs,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - see there
        )
        os.close(theirs)
        self.shown = ""

    def until(self, text: str) -> None:
        """Read what is shown until there is something."""
        for part in self._parts():
            self.shown += part
            if text in self.shown:
                return
        raise AssertionError(f"{text!r} was never shown: {self.shown!r}")

    def end(self) -> tuple[int, str]:
        """Wait for the end: status and output."""
        assert self.process.stdout is not None
        output = self.process.stdout.read().decode()
        self.shown += "".join(self._parts())
        os.close(self.terminal)
        self.process.stdout.close()
        return self.process.wait(60), output

    def _parts(self) -> Iterator[str]:
        while True:
            try:
                part = os.read(self.terminal, 10_000)
            except OSError:  # the other end is closed
                return
            if not part:
                return
            yield part.decode()


@pytest.mark.parametrize(("number", "what"), list(enumerate(SLOW)))
def test_ctrl_c_after_the_exploring_ends_it_at_once(folder: Path, number: int, what: str) -> None:
    run = OnTerminal(folder, "explain", f"slow{number}:stack")
    run.until(f"{what}")
    started = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    status, output = run.end()
    assert (status, output) == (130, "")
    assert time.monotonic() - started < 10
    assert re.search(r"\r\x1b\[K\s*failwell: stopped, nothing was left half-written\r\n$", run.shown)
    assert re.search(r"\r" + what + r".* 15 paths ... 1 s", run.shown)


def test_nothing_but_the_answer_is_left_on_a_terminal(folder: Path) -> None:
    run = OnTerminal(folder, "explain", "stacks:large")
    status, output = run.end()
    assert status == 0
    assert output.startswith("Retry(4, ")
    last = run.shown.rsplit("\r", 1)[-1]
    assert last in ("", "\x1b[K")  # what was shown meanwhile is gone


def test_no_progress_is_shown_to_a_file(folder: Path) -> None:
    done = failwell(folder, "explain", "stacks:large", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    assert sum(path["probability"] for path in data["paths"]) == pytest.approx(1)


@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2])
def test_ctrl_c_at_any_time_leaves_no_traceback(folder: Path, delay: float) -> None:
    run = OnTerminal(folder, "draw", "stacks:large", "--unroll", "-o", "drawn.txt")
    time.sleep(delay)
    run.process.send_signal(signal.SIGINT)
    status, output = run.end()
    if "Traceback" in run.shown:  # Python was still starting, and no line of the command had run
        assert not re.search(r'failwell/cli/__init__\.py", line \d+, in main', run.shown)
        assert delay < 1
    else:
        assert status in (0, 130, -signal.SIGINT)
    assert output == ""
    left = {path.name for path in folder.iterdir()} - {"stacks.py", "slow0.py", "slow1.py"}
    assert left == ({"drawn.txt"} if status == 0 else set())
