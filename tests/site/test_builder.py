"""Building and serving, where no browser is needed."""

from __future__ import annotations

import json
import os
import re
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


def small_site(root: Path, home: str = "# Home\n", page: str = "index.md") -> Path:
    """The documents of a site of one page, which builds in a moment."""
    (root / "docs" / "assets").mkdir(parents=True)
    (root / "docs" / "index.md").write_text(home, encoding="utf-8")
    shutil.copy(ROOT / "docs/assets/mermaid-theme.js", root / "docs/assets")
    cache = json.dumps(str(ROOT / ".cache/npm"))
    settings = f"{{site_name: Small, nav: [{{Page: {page}}}], plugins: [{{failwell: {{cache: {cache}}}}}]}}"
    (root / "mkdocs.yml").write_text(settings, encoding="utf-8")
    return root


@pytest.mark.parametrize(("page", "built"), [("index.md", True), ("gone.md", False)])
def test_a_page_of_the_navigation_that_is_missing_fails_the_build(page: str, built: bool, tmp_path: Path) -> None:
    small_site(tmp_path, page=page)
    if built:
        assert (builder.build(tmp_path) / "index.html").is_file()
        return
    with pytest.raises(SiteError, match="warning"):
        builder.build(tmp_path)


def test_a_page_with_a_diagram_brings_mermaid_from_the_site_itself(tmp_path: Path) -> None:
    small_site(tmp_path, '# Home\n\n<i title="a&quot;b">one</i>\n\n```mermaid\ngraph LR; a["b & c"] --> b\n```\n')
    (tmp_path / "docs/plain.md").write_text("# Not mermaid\n", encoding="utf-8")
    settings = (tmp_path / "mkdocs.yml").read_text(encoding="utf-8")
    settings = settings.replace("nav: [{Page: index.md}]", "nav: [index.md, plain.md], markdown_extensions: [FENCES]")
    settings = settings.replace("}]}", "}, {mermaid2: {javascript: assets/vendor/mermaid.js}}]}")
    fence = "{name: mermaid, class: mermaid, format: !!python/name:mermaid2.fence_mermaid_custom }"
    settings = settings.replace("FENCES", f"{{pymdownx.superfences: {{custom_fences: [{fence}]}}}}")
    (tmp_path / "mkdocs.yml").write_text(settings, encoding="utf-8")
    builder.build(tmp_path)
    page = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert page.count("mermaid.js") == page.count('<script src="assets/vendor/mermaid.js">') == 1
    assert page.count("window.mermaidConfig = ") == 1
    assert page.count('class="mermaid"') == 1
    assert '<i title="a&quot;b">one</i>' in page  # the rest of the page is as it was
    assert "aside" not in page
    assert "mermaid.js" not in (tmp_path / "site/plain/index.html").read_text(encoding="utf-8")


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


def test_serving_prints_an_address_that_answers(tmp_path: Path) -> None:
    small_site(tmp_path, "# What failed?\n")
    command = [sys.executable, "-u", "-c", "from failwell.site import serve; serve(port=0)"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout is not None
            said: list[str] = []
            for line in process.stdout:
                said.append(line)
                if "http://" in line:
                    break
            address = re.search(r"http://127\.0\.0\.1:\d+/", said[-1])
            assert address, "".join(said)
            with urllib.request.urlopen(address[0], timeout=60) as answer:
                assert b"What failed?" in answer.read()
        finally:
            process.terminate()


def built_again(root: Path, package: Path) -> tuple[str, list[str]]:
    """The one page of a small site and what was made anew for it, from a process that runs this package."""
    code = (
        "import failwell.site.plugin as plugin, failwell.site; real = plugin.render\n"
        "plugin.render = lambda *marker: print('made', *marker) or real(*marker)\n"
        "failwell.site.build()"
    )
    env = {**os.environ, "PYTHONPATH": str(package.parent), "SOURCE_DATE_EPOCH": "0"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=root, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = [line.removeprefix("made ") for line in done.stdout.splitlines() if line.startswith("made ")]
    return (root / "site" / "index.html").read_text(encoding="utf-8"), made


def test_a_build_makes_again_what_the_source_changed_and_nothing_else(tmp_path: Path) -> None:
    home = "# Home\n\n<!-- generated: flow timeout -->\n\n<!-- generated: source failwell.errors -->\n"
    small_site(tmp_path, home)
    package = Path(shutil.copytree(builder.__file__.removesuffix("/site/builder.py"), tmp_path / "src/failwell"))
    first, made = built_again(tmp_path, package)
    assert made == ["flow timeout", "source failwell.errors"]
    assert first.count("<svg") == 1
    assert "data-aside" not in first
    again, made = built_again(tmp_path, package)
    assert made == ["source failwell.errors"]  # which may be any module's, and costs nothing
    assert again == first

    [kept] = (tmp_path / ".cache/site").glob("*.json")
    kept.write_bytes(kept.read_bytes()[:-100])
    again, made = built_again(tmp_path, package)
    assert made == ["flow timeout", "source failwell.errors"]
    assert again == first

    timeout = package / "catalog/cards/timeout.py"
    text = timeout.read_text(encoding="utf-8")
    assert "Timeout(30)" in text
    timeout.write_text(text.replace("Timeout(30)", "Timeout(31)"), encoding="utf-8")
    changed, made = built_again(tmp_path, package)
    assert made == ["flow timeout", "source failwell.errors"]
    assert "31 s" in changed
    assert "31 s" not in first
