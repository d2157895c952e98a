"""The page of everything that Failwell does."""

from __future__ import annotations

from collections.abc import Iterator

from failwell.catalog.features import FEATURES, Feature
from failwell.site.fragments import fragment
from failwell.site.fragments.patterns import table

__all__ = ["features"]


@fragment("features", from_source=True)
def features() -> str:
    """All features: what each does, where it is, and the test that shows it."""
    return "\n".join(_groups())


def _groups() -> Iterator[str]:
    for group, rows in FEATURES.items():
        yield f"## {group}"
        yield ""
        yield from table(["What it does", "Where", "Shown by the test"], [_row(feature) for feature in rows])
        yield ""


def _row(feature: Feature) -> list[str]:
    file, _, test = feature.test.partition("::")
    words = test.removeprefix("test_").replace("_", " ")
    return [feature.does, f"[`{feature.where}`](/{feature.page})", f"{words} <small>`{file}`</small>"]
