"""Complete small programs on real servers, databases and files.

Each runs with ``python -m failwell.examples.NAME``, starts what it needs on this machine, and stops it again.
"""

from __future__ import annotations

import sys

__all__ = ["unavailable"]


def unavailable(missing: ModuleNotFoundError, module: str) -> BaseException:
    """What an example raises when a package that it needs is not installed.

    Args:
        missing: The failed import.
        module: The ``__name__`` of the example: a program ends with one sentence and status 2, an import fails.
    """
    package = (missing.name or "").partition(".")[0]
    if package == "failwell":
        return missing
    sentence = f"this example needs {package}: pip install 'failwell[examples]'"
    if module != "__main__":
        return ModuleNotFoundError(sentence, name=missing.name)
    print(sentence, file=sys.stderr)
    return SystemExit(2)
