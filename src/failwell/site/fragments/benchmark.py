"""What a call costs, as it was measured."""

from __future__ import annotations

from failwell.site.fragments import fragment


@fragment("benchmark")
def benchmark() -> str:
    """The tables of the benchmark run that is on record.

    Raises:
        LookupError: There is none.
    """
    from failwell.bench import table

    try:
        return table()
    except FileNotFoundError as missing:
        raise LookupError(f"no benchmark run is on record; `make bench` makes one ({missing.filename})") from None
