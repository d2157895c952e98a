"""The state machine of a layer, found by running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration
    from failwell.flow.graph import Graph

__all__ = ["states"]


def states(exploration: Exploration) -> tuple[Graph, ...]:
    """The state machine of each layer that keeps a state.

    Args:
        exploration: What was explored.
    """
    raise NotImplementedError
