"""A file with the configuration of workflows is something to draw and to explain."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.test_cli import refused, said

CONFIG = """
[workflows.orders]
name = "orders"
global_timeout = 9

[workflows.orders.retry]
max_attempts = 3
backoff = "fixed"
on = ["own_service:Busy"]

[workflows.orders.fallback]
service = "${MIRROR}/orders/{0}"

[workflows.broken.retry]
max_atempts = 3
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "recovery.toml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "own_service.py").write_text("print('loading')\n\n\nclass Busy(Exception): ...\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_table_of_a_file_is_drawn_without_what_the_environment_holds(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said(capsys, "draw", "recovery.toml:workflows.orders", "-o", "orders.svg")
    drawn = (own_folder / "orders.svg").read_text(encoding="utf-8")
    assert "give up" in drawn
    assert "${MIRROR}" in drawn
    assert "invalid" not in drawn


def test_a_file_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "explain", "recovery.toml:workflows.orders")
    assert "Retry(3" in told
    assert "timed out (cancelled after 9 s)" in told


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("recovery.toml:workflows.broken", "retry.max_atempts: there is no such key: did you mean 'max_attempts'?"),
        ("recovery.toml:workflows.order", "recovery.toml has no such table; did you mean 'orders'?"),
        ("recovery.toml", "workflows: there is no such key"),
        ("nothing.toml", "nothing.toml cannot be read: No such file or directory"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(target: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refused(capsys, "draw", target)


def test_the_command_says_that_a_file_will_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert ".toml" in said(capsys, "--help")


@pytest.mark.parametrize("target", ["recovery.toml:workflows.orders", "./recovery.toml:workflows.orders", "plain.toml"])
def test_the_tests_of_a_file_pass_and_fail_when_it_changes(
    target: str, own_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MIRROR", raising=False)
    (own_folder / "plain.toml").write_text('name = "plain"\n[retry]\nmax_attempts = 3\nbackoff = "fixed"\n')
    (own_folder / "unit").mkdir()
    said(capsys, "tests", target, "--outcomes", "ok,fail", "-o", "unit/test_it.py")
    written = (own_folder / "unit" / "test_it.py").read_text(encoding="utf-8")
    assert 'Workflow.from_config("plain.toml")' in written or '"recovery.toml", "workflows.orders", environ=' in written
    assert str(own_folder) not in written

    def tested() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "unit/test_it.py"]
        return subprocess.run(command, cwd=own_folder, capture_output=True, text=True, timeout=100, check=False)

    ran = tested()
    assert ran.returncode == 0, ran.stdout
    assert "passed" in ran.stdout
    for file in own_folder.glob("*.toml"):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("max_attempts = 3", "max_attempts = 2"), encoding="utf-8")
    assert tested().returncode == 1
