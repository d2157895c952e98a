"""The test file that ``failwell tests`` writes for a card's example."""

from __future__ import annotations

from failwell.catalog import card
from failwell.flow import explore
from failwell.flow.testfile import Subject, kinds_of_failure
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
    outcomes: tuple[str | type[Exception], ...] = ("ok", *kinds_of_failure(layers), "hang")
    name = f'CARDS["{slug}"].example'
    subject = Subject("failwell.catalog", "CARDS", name, shown.operation, f"failwell tests {slug} -o test_{slug}.py")
    text = written(explore(shown.example, shown.operation, outcomes=outcomes), subject, outcomes)
    return f'```python title="test_{slug}.py"\n{text}```'
