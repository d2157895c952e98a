"""A health check under many threads for seconds; the short twin is in `tests.patterns.test_health_check`."""

from __future__ import annotations

import pytest

from tests.patterns.test_health_check import check_under_load
from tests.soak.test_soak import no_thread_left

pytestmark = pytest.mark.soak


def test_a_health_check_makes_one_probe_at_a_time_for_everybody() -> None:
    with no_thread_left():
        check_under_load()
