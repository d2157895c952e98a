"""Building and serving, where no browser is needed."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from failwell.site import SiteError, builder

ROOT = Path(__file__).resolve().parents[2]


def test_a_folder_that_is_no_checkout_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match=r"there is no mkdocs\.yml here"):
        builder.build(tmp_path)


@pytest.mark.parametrize(("page", "built"), [("index.md", True), ("gone.md", False)])
def test_a_page_of_the_navigation_that_is_missing_fails_the_build(page: str, built: bool, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Home\n", encoding="utf-8")
    (tmp_path / "docs" / "assets").mkdir()
    shutil.copy(ROOT / "docs/assets/mermaid-theme.js", tmp_path / "docs/assets")
    cache = json.dumps(str(ROOT / ".cache/npm"))
    settings = f"{{site_name: Small, nav: [{{Page: {page}}}], plugins: [{{failwell: {{cache: {cache}}}}}]}}"
    (tmp_path / "mkdocs.yml").write_text(settings, encoding="utf-8")
    if built:
        assert (builder.build(tmp_path) / "index.html").is_file()
        return
    with pytest.raises(SiteError, match="warning"):
        builder.build(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text("# Home\n", encoding="utf-8")
    (tmp_path / "mkdocs.yml").write_text("{site_name: Small, plugins: []}", encoding="utf-8")
    with pytest.raises(SiteError, match="not built"):
        builder.build(tmp_path, tmp_path / ("a" * 300))


def test_a_taken_port_is_replaced() -> None:
    with socket.socket() as taken:
        taken.bind((builder.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert builder._free(port) != port


def test_serving_prints_an_address_that_answers() -> None:
    command = [sys.executable, "-u", "-c", "from failwell.site import serve; serve(port=0)"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "http://" in line)
            address = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert b"Failwell" in answer.read()
        finally:
            process.terminate()
