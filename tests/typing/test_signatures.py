from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_mypy_sees_the_signatures_that_are_written_down() -> None:
    """Pyright reads this folder with the rest of the tests; mypy is told to read `src` only."""
    root = Path(__file__).parents[2]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "tests/typing/signatures.py"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.stdout + checked.stderr == ""
