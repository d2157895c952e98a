"""The text of a module, as it is."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from failwell.site.fragments import fragment


@fragment("source")
def source(module: str) -> str:
    """A module's whole text as a fence with line numbers: the reference implementation, not a copy of it.

    Args:
        module: Its dotted name. It is located, never run.

    Raises:
        LookupError: There is no such module, or it has no text.
    """
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise LookupError(f"no module {module!r} with a source file")
    text = Path(spec.origin).read_text(encoding="utf-8").rstrip("\n")
    longest = max((len(ticks) for ticks in re.findall(r"`{3,}", text)), default=2)
    ticks = "`" * max(3, longest + 1)
    path = "/".join(["src", *module.split(".")]) + (".py" if not spec.submodule_search_locations else "/__init__.py")
    return f'{ticks}python title="{path}" linenums="1"\n{text}\n{ticks}'
