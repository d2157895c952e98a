"""A build of the site, a server for it, and a browser that can reach nothing else."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.browser import chromium

ROOT = chromium.ROOT
HOST = "127.0.0.1"


def build(to: Path) -> Path:
    """Builds the site, strictly, in a process of its own: MkDocs leaves much behind."""
    code = "import sys, pathlib, failwell.site; failwell.site.build(to=pathlib.Path(sys.argv[1]))"
    built = subprocess.run([sys.executable, "-c", code, str(to)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, f"the site was not built:\n{built.stderr[-3000:]}"
    return to


def pages() -> list[str]:
    """The path of every page, from the files that are to become pages."""
    docs = ROOT / "docs"
    names = [path.relative_to(docs).with_suffix("").as_posix() for path in sorted(docs.rglob("*.md"))]
    return [name.removesuffix("index") if name.split("/")[-1] == "index" else f"{name}/" for name in names]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serves a folder on this machine only."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Chromium without a window and without any other host."""
    found = chromium.find()
    alone = f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {HOST}"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=str(found.executable), args=[*chromium.FLAGS, alone], env={**os.environ, **found.env}
        )
        try:
            yield started
        finally:
            started.close()
