"""What a call costs, as it was measured."""

from __future__ import annotations

from failwell.site.fragments import fragment


@fragment("benchmark")
def benchmark() -> str:
    """The tables of the benchmark run that is on record."""
    from failwell.bench import table

    return table()
