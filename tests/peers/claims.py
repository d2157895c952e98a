"""What is said about other libraries is measured: each test here fails as soon as it is not true any more."""

from __future__ import annotations

import pytest

__all__ = ["breaks"]


def breaks(promise: str, *peers: str) -> pytest.MarkDecorator:
    """Say that libraries break a promise of ours; the test, which gets their names one by one, shows that they do.

    Args:
        promise: The test that keeps it, e.g. ``"circuit_breaker::test_each_rejection_is_a_new_error"``.
        *peers: Distributions.
    """
    return pytest.mark.parametrize("peer", peers)
