"""The test file that ``failwell tests`` writes for a card's example."""

from __future__ import annotations

from failwell.catalog import card
from failwell.flow import explore
from failwell.flow.testfile import Subject, failures_to_try
from failwell.flow.testfile import test_file as written
from failwell.site.fragments import fragment

__all__ = ["test_file"]


@fragment("test-file", from_source=True)
def test_file(slug: str) -> str:
    """A whole test file.

    Args:
        slug: A card of the catalog.
    """
    shown = card(slug)
    layers = explore(shown.example, shown.operation, outcomes=("ok",)).layers
    kinds = failures_to_try(layers)
    explorations = [explore(shown.example, shown.operation, outcomes=("ok", kind, "hang")) for kind in kinds]
    name = f'CARDS["{slug}"].example'
    subject = Subject("failwell.catalog", "CARDS", name, shown.operation, f"failwell tests {slug} -o test_{slug}.py")
    text = written(explorations, subject, ("ok", *kinds, "hang"))
    return f'```python title="test_{slug}.py"\n{text}```'
