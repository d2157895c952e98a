"""A stack with 65,535 paths, explained by the command: how long that takes and how much room it needs."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.cli.test_process import failwell

resource = pytest.importorskip("resource")

pytestmark = pytest.mark.soak

STACK = """
from failwell import Retry, Timeout

nested = Retry(5) >> Retry(3) >> Timeout(5)
"""


@pytest.mark.parametrize("form", ["text", "--json"])
def test_a_large_stack_is_explained(tmp_path: Path, form: str) -> None:
    (tmp_path / "large.py").write_text(STACK, encoding="utf-8")
    started = time.monotonic()
    options = [form] if form.startswith("--") else []
    done = failwell(tmp_path, "explain", "large:nested", "--limit", "100000", *options, timeout=600)
    took = time.monotonic() - started
    room = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    assert (done.returncode, done.stderr) == (0, "")
    if form == "--json":
        paths = json.loads(done.stdout)["paths"]
        assert len(paths) == 65_535
        assert sum(path["probability"] for path in paths) == pytest.approx(1)
    else:
        assert "Paths (65,535, the likeliest first):" in done.stdout
    print(f"{form}: {took:.1f} s, {room:.0f} MB at most")
