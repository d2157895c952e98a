"""`python -m failwell.bench [--quick] [--json FILE]`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from failwell.bench.jobs import NotDoingTheJob
from failwell.bench.render import markdown, text
from failwell.bench.results import save
from failwell.bench.run import FULL, QUICK, measure, terminal_progress


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write what was asked for. 0: measured; 1: somebody does not do its job; 2: bad input."""
    parser = argparse.ArgumentParser(prog="python -m failwell.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few seconds, only to see that everything works")
    parser.add_argument("--seconds", type=float, help=f"time for all rows together (default {FULL.seconds:g})")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    parser.add_argument("--markdown", action="store_true", help="print the tables as Markdown")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else FULL
    if options.seconds is not None:
        if not options.seconds > 0:
            parser.error(f"--seconds has to be more than 0, not {options.seconds:g}")
        plan = replace(plan, seconds=options.seconds)
    if options.json is not None and not options.json.parent.is_dir():
        parser.error(f"--json: there is no folder {options.json.parent}")
    try:
        results = measure(plan, progress=terminal_progress)
    except NotDoingTheJob as error:
        sys.stderr.write(f"\nnothing was timed: {error}\n")
        return 1
    terminal_progress("")
    sys.stdout.write((markdown if options.markdown else text)(results) + "\n")
    if options.json is not None:
        save(results, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
