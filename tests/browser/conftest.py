"""The built site on loopback, and one real browser for all tests of this folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import served


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fresh strict build, which several workers share."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return served.build(tmp_path_factory.mktemp("site"))
    shared = tmp_path_factory.getbasetemp().parent / "site"  # beside the workers' own folders
    try:
        shared.mkdir()
    except FileExistsError:
        while not (shared / "built").exists():
            assert not (shared / "failed").exists(), "the site was not built; another test says why"
            time.sleep(0.05)
    else:
        try:
            served.build(shared / "pages")
        except BaseException:
            (shared / "failed").touch()
            raise
        (shared / "built").touch()
    return shared / "pages"


@pytest.fixture(scope="package")
def address(site: Path) -> Iterator[str]:
    """Where that build is served."""
    with served.serving(site) as address:
        yield address


@pytest.fixture(scope="package")  # not longer: while Playwright runs, asyncio.run works for nobody else
def browser() -> Iterator[Browser]:
    with served.browser() as browser:
        yield browser
