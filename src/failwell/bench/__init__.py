"""What a call costs: ours, by hand, and with fifteen other libraries, measured in one run.

`python -m failwell.bench` (or `make bench`) measures and prints; `table()` is the last recorded run as Markdown.
"""

from pathlib import Path

from failwell.bench.render import markdown
from failwell.bench.results import load

__all__ = ["RECORD", "table"]

#: Where the run that the site shows is recorded, from the top of the repository.
RECORD = Path("docs", "evidence", "benchmark.json")


def table(path: Path | None = None) -> str:
    """The recorded run as Markdown tables. Reads `docs/evidence/benchmark.json` unless told otherwise."""
    return markdown(load(path or Path(__file__).resolve().parents[3] / RECORD))
