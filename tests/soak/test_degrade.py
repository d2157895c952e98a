"""Degrade under many threads for seconds; the short twin is in `tests.patterns.test_degrade`."""

from __future__ import annotations

import pytest

from tests.patterns.test_degrade import check_under_load
from tests.soak.test_soak import no_thread_left

pytestmark = pytest.mark.soak


def test_degrade_gives_each_caller_its_own_answers() -> None:
    with no_thread_left():
        check_under_load()
