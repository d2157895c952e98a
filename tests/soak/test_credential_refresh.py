"""Credential refresh under many threads for seconds; the short twin is in `tests.patterns.test_credential_refresh`."""

from __future__ import annotations

import pytest

from tests.patterns.test_credential_refresh import in_threads
from tests.soak.test_soak import SECONDS, no_thread_left

pytestmark = pytest.mark.soak


def test_threads_share_each_refresh() -> None:
    with no_thread_left():
        in_threads(SECONDS)
