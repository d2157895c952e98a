"""Which errors are known, and which pattern is for which error."""

from __future__ import annotations

from itertools import groupby

from failwell.catalog.selection import SELECTION, effort
from failwell.classification import KNOWN
from failwell.site.fragments import fragment
from failwell.site.fragments.patterns import link_to, table

OUTCOMES = {
    "answered": "the real answer, a little later",
    "degraded": "a poorer answer",
    "refused": "an error at once, while the operation is left alone",
}
LIBRARIES = {"builtins": "Python", "socket": "Python", "http": "Python", "urllib": "Python"}


@fragment("selection", from_source=True)
def selection() -> str:
    """Which pattern to try first, by the error that the operation raises."""
    rows = [
        [
            "none: it hangs" if line.error is None else f"`{line.error.__name__}`{{ .fw-name }}",
            line.meaning,
            link_to(line.slug),
            OUTCOMES[line.then],
            effort(line),
        ]
        for line in SELECTION
    ]
    return "\n".join(table(["Error", "What it means", "Pattern", "The caller gets", "Implementation effort"], rows))


@fragment("taxonomy", from_source=True)
def taxonomy() -> str:
    """The errors that are known by name, library by library."""
    rows: list[list[str]] = []
    for library, names in groupby(KNOWN, key=_library):
        by_kind: dict[str, list[str]] = {"transient": [], "permanent": [], "asked": []}
        for name in names:
            entry = KNOWN[name]
            by_kind["asked" if callable(entry) else entry].append(f"`{name.split('.')[-1]}`")
        rows.append([library, *(", ".join(sorted(found)) for found in by_kind.values())])
    return "\n".join(table(["Library", "Transient", "Permanent", "The error itself is asked"], rows))


def _library(name: str) -> str:
    package, _, _ = name.partition(".")
    return LIBRARIES.get(package, package)
