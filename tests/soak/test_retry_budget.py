"""A retry budget under many threads for seconds; the short twin is in `tests.patterns.test_retry_budget`."""

from __future__ import annotations

import pytest

from tests.patterns.test_retry_budget import count_in_threads
from tests.soak.test_soak import SECONDS, no_thread_left

pytestmark = pytest.mark.soak


def test_threads_together_get_exactly_what_was_paid_for() -> None:
    with no_thread_left():
        count_in_threads(SECONDS)
