"""Puts the third-party browser files where the pages look for them, in a folder that git ignores."""

from __future__ import annotations

import tempfile
from pathlib import Path

from failwell.site.packages import MERMAID

VENDOR = "assets/vendor"


def place(docs: Path, cache: Path) -> None:
    """Writes the browser files into the documents' folder, and only those that changed.

    Args:
        docs: The folder with the pages.
        cache: Where fetched packages are kept.
    """
    mermaid = MERMAID.fetch(cache)
    adapted = (mermaid / "dist/mermaid.min.js").read_bytes() + b"\n" + (docs / "assets/mermaid-theme.js").read_bytes()
    vendor = docs / VENDOR
    vendor.mkdir(parents=True, exist_ok=True)
    _write(vendor / "mermaid.js", adapted)
    _write(vendor / "mermaid.LICENSE.txt", (mermaid / "LICENSE").read_bytes())


def _write(target: Path, content: bytes) -> None:
    if target.is_file() and target.read_bytes() == content:
        return  # an untouched file does not make a serving site build again
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".", suffix=".tmp", delete=False) as fresh:
        fresh.write(content)
    Path(fresh.name).chmod(0o644)
    Path(fresh.name).replace(target)
