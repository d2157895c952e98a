"""Every snippet is a program that runs and prints what it says.

It runs in virtual time, in an empty folder. Keys in the info string say what is special about it:

    ```python {raises="ConnectionError"}    it must end with exactly this exception, after printing what it says
    ```python {clock="real"}                it needs real time (sockets, threads that really wait)
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
import traceback
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_examples.run_code as runner
from pytest_examples import CodeExample, EvalExample

from failwell import virtual
from tests.snippets import collect

EXAMPLES = collect.examples()
_output = re.compile(r"^( *#> ).*$", re.MULTILINE)


@contextlib.contextmanager
def virtual_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def run(main: Coroutine[Any, Any, Any], **_: object) -> Any:
        return virtual.run(main, seed=0)

    monkeypatch.setattr(asyncio, "run", run)
    with virtual.clock(seed=0):
        yield


def told(error: Exception, since: Path) -> str:
    """The traceback from the snippet's own first line on."""
    first = error.__traceback__
    while first is not None and not first.tb_frame.f_code.co_filename.startswith(str(since)):
        first = first.tb_next
    return "".join(traceback.format_exception(type(error), error, first))


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_a_snippet_prints_what_it_says(
    example: CodeExample, eval_example: EvalExample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = collect.settings(example)
    assert set(settings) <= collect.KEYS, f"{example}: known keys are {sorted(collect.KEYS)}"
    prints: list[runner.InsertPrintStatements] = []

    class Kept(runner.InsertPrintStatements):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            prints.append(self)

    monkeypatch.setattr(runner, "InsertPrintStatements", Kept)
    monkeypatch.setattr(runner, "create_example_traceback", lambda *_: None)  # crashes the session on Python 3.11
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # the runner leaves its own there
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    eval_example.set_config(line_length=120, target_version="py311")  # pyright: ignore[reportArgumentType]  it works

    raised: Exception | None = None
    unexpected = ""
    try:
        with contextlib.nullcontext() if settings.get("clock") == "real" else virtual_time(monkeypatch):
            eval_example._run(example, "check", None, False, None)
    except Exception as error:
        raised = error
        if type(error).__name__ != settings.get("raises"):
            unexpected = told(error, since=tmp_path)
    if unexpected:
        pytest.fail(f"{example}\n{unexpected}", pytrace=False)
    if "raises" in settings and raised is None:
        pytest.fail(f"{example} was to raise {settings['raises']}, and raised nothing", pytrace=False)

    [printed] = prints
    if eval_example.update_examples:
        if new := printed.updated_print_statements(example):
            example.source = new
            eval_example._mark_for_update(example)
        return
    printed.check_print_statements(example)
    claimed = CodeExample(**{**vars(example), "source": _output.sub(r"\1never printed", example.source)})
    left = printed._insert_print_statements(claimed)
    assert "#> never printed" not in left, f"{example} claims an output where nothing was printed:\n{left}"


def test_snippets_name_nothing_unknown_and_import_nothing_unused(tmp_path: Path) -> None:
    for example in EXAMPLES:
        name = re.sub(r"\W", "_", str(example))
        (tmp_path / f"{name}.py").write_text(example.source, encoding="utf-8")
    options = ["--isolated", "--quiet", "--target-version=py311", "--select=F,E9,I", "--ignore=F841"]
    ruff = [sys.executable, "-m", "ruff", "check", *options, str(tmp_path)]
    checked = subprocess.run(ruff, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("path", collect.files(), ids=lambda path: str(path.relative_to(collect.ROOT)))
def test_no_fence_is_skipped(path: Path) -> None:
    run = sorted(example.source.strip() for example in EXAMPLES if example.path == path)
    assert run == sorted(fence.strip() for fence in collect.fences(path))


@pytest.mark.parametrize("path", collect.files(), ids=lambda path: str(path.relative_to(collect.ROOT)))
def test_examples_are_fences_not_prompts(path: Path) -> None:
    assert not re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), re.MULTILINE), "write it as a ```python fence"
