"""Figures as people write them."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["between", "latency", "share"]


def share(p: float) -> str:
    """A probability as people write it, never rounded to certainty or to nothing."""
    percent = 100 * p
    for digits in range(1, 8):
        shown = f"{percent:.{digits}f}"
        if float(shown) not in (0, 100) or p in (0, 1):
            return f"{shown.rstrip('0').rstrip('.')} %"
    return "almost 100 %" if p > 0.5 else "almost 0 %"


def latency(value: float) -> str:
    """Seconds as people write them: three digits are enough, and what never ends takes for ever.

    Args:
        value: Seconds; may be infinite.
    """
    if math.isinf(value):
        return "forever"
    return f"{value:,.0f} s" if value >= 1000 else f"{value:.3g} s"


def between(bounds: tuple[float, float], written: Callable[[float], str]) -> str:
    """Two bounds, or the one figure that they both are.

    Args:
        bounds: The lower one and the upper one.
        written: How to write each.
    """
    low, high = map(written, bounds)
    return low if low == high else f"between {low} and {high}"
