"""`python -m failwell.site build|serve`."""

from __future__ import annotations

import logging
import sys
import time

from failwell.site.builder import SiteError, build, serve


def main(arguments: list[str]) -> int:
    """Runs one of the two and returns the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    try:
        match arguments:
            case ["build"]:
                started = time.perf_counter()
                folder = build()
                print(f"built {folder} in {time.perf_counter() - started:.1f} s")
            case ["serve"]:
                serve()
            case _:
                raise SiteError("say `build` or `serve`")
    except SiteError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
