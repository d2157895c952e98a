"""The built site on loopback, and one real browser for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser import served


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fresh strict build."""
    return served.build(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="package")
def address(site: Path) -> Iterator[str]:
    """Where that build is served."""
    with served.serving(site) as address:
        yield address


@pytest.fixture(scope="package")  # not longer: while Playwright runs, asyncio.run works for nobody else
def browser() -> Iterator[Browser]:
    with served.browser() as browser:
        yield browser
