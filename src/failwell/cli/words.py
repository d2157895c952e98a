"""Figures as people write them."""

from __future__ import annotations

__all__ = ["share"]


def share(p: float) -> str:
    """A probability as people write it, never rounded to certainty or to nothing."""
    percent = 100 * p
    for digits in range(1, 8):
        shown = f"{percent:.{digits}f}"
        if float(shown) not in (0, 100) or p in (0, 1):
            return f"{shown.rstrip('0').rstrip('.')} %"
    return "almost 100 %" if p > 0.5 else "almost 0 %"
