"""Figures as people write them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

__all__ = ["between", "count", "finite", "latency", "share"]


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


def count(value: float) -> str:
    """An expected number, which need not be whole.

    Args:
        value: The number.
    """
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def between(bounds: tuple[float, float], written: Callable[[float], str]) -> str:
    """Two bounds, or the one figure that they both are.

    Args:
        bounds: The lower one and the upper one.
        written: How to write each.
    """
    low, high = map(written, bounds)
    return low if low == high else f"between {low} and {high}"


def finite(value: Any) -> Any:
    """The same without infinities, which JSON does not know: there, null stands for them.

    Args:
        value: Plain data.
    """
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [finite(inner) for inner in value]  # pyright: ignore[reportUnknownVariableType]
    return None if isinstance(value, float) and value in (float("inf"), float("-inf")) else value
