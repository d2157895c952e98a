"""How calls can end: answered, degraded, each type of error, never."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from failwell.flow.explore import Exploration
    from failwell.flow.path import Odds, Path

__all__ = ["ANSWERED", "DEGRADED", "NEVER_ENDS", "likeliest", "outcome_class", "outcome_classes"]

ANSWERED = "answered"
DEGRADED = "degraded"
NEVER_ENDS = "never ends"


def outcome_class(path: Path) -> str:
    """How a path ends: ``"answered"``, ``"degraded"``, the name of the error's type, or ``"never ends"``.

    Args:
        path: A path of an exploration.
    """
    if not path.ends:
        return NEVER_ENDS
    if path.error is not None:
        return type(path.error).__name__
    return DEGRADED if path.degraded else ANSWERED


def outcome_classes(exploration: Exploration) -> dict[str, list[Path]]:
    """All paths, by how they end; a way to end that no path takes is left out.

    ```python
    from failwell import Fallback, Timeout, explore
    from failwell.flow.classes import outcome_classes

    found = outcome_classes(explore(Fallback(Fallback.value("spare")) >> Timeout(5)))
    print({name: len(paths) for name, paths in found.items()})
    #> {'answered': 1, 'degraded': 2}
    ```

    Args:
        exploration: What was explored.

    Returns:
        The real answers first, then degraded ones, then the types of errors by name, then what never ends.
        The paths of each class are in the order in which they were found.
    """
    found: dict[str, list[Path]] = {}
    for path in exploration.paths:
        found.setdefault(outcome_class(path), []).append(path)
    errors = sorted(found.keys() - {ANSWERED, DEGRADED, NEVER_ENDS})
    return {name: found[name] for name in (ANSWERED, DEGRADED, *errors, NEVER_ENDS) if name in found}


def likeliest(paths: Sequence[Path], fail: Odds = 0.1, hang: Odds = 0.1) -> Path:
    """The likeliest of some paths; of several such the first.

    Args:
        paths: Paths of an exploration, at least one.
        fail: The odds that an operation fails: one number, or operation -> number.
        hang: The odds that it hangs.
    """
    return max(paths, key=lambda path: path.probability(fail, hang))
