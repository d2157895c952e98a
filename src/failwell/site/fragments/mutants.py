"""What the tests of kernel and patterns notice, as mutation testing found it."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from failwell.site.fragments import fragment
from failwell.site.fragments.patterns import table

ROOT = Path(__file__).resolve().parents[4]
EVIDENCE = ROOT / "docs" / "evidence"


@fragment("mutants")
def mutants(what: str = "scores") -> str:
    """The run that is on record: the ``scores``, or the survivors that one explanation covers.

    Args:
        what: ``scores``; or the name of an explanation in ``docs/evidence/mutants.toml``; or ``unexplained``.

    Raises:
        LookupError: No run is on record, or no explanation has this name.
    """
    try:
        modules = json.loads((EVIDENCE / "mutants.json").read_text(encoding="utf-8"))["modules"]
        explained = tomllib.loads((EVIDENCE / "mutants.toml").read_text(encoding="utf-8"))
    except FileNotFoundError as missing:
        raise LookupError(f"no run is on record; `make mutants` makes one ({missing.filename})") from None
    if what == "scores":
        return "\n".join(_scores(modules, explained))
    if what != "unexplained" and what not in explained:
        raise LookupError(f"no explanation is named {what!r}; there are {', '.join(explained)} and unexplained")
    return "\n".join(_survivors(modules, explained, what))


def _scores(modules: Mapping[str, Any], explained: Mapping[str, Any]) -> Iterator[str]:
    rows: list[list[str]] = []
    total = [0] * 6
    changed: list[str] = []
    for path, run in modules.items():
        reasons = [_reason(path, one, explained) for one in run["survivors"]]
        equivalent = sum(bool(reason and explained[reason]["equivalent"]) for reason in reasons)
        made = run["made"] - run["no_program"] if "seed" not in run else run["made"]
        counts = [made, run["run"], run["killed"], run["timed_out"], run["survived"], equivalent]
        total = [one + more for one, more in zip(total, counts, strict=True)]
        module = path.removeprefix("src/failwell/").removesuffix(".py").replace("/", ".")
        rows.append([f"`{module}`", *_figures(counts)])
        if _digest(ROOT / path) != run["source"]:
            changed.append(f"`{module}`")
    rows.append(["**all**", *_figures(total)])
    head = ["Module", "Mutants", "Run", "Killed", "Timed out", "Survived", "of these equivalent", "Score"]
    yield from table(head, rows)
    if changed:
        yield ""
        yield f"Changed since this run, so that their figures are those of an older text: {', '.join(changed)}."


def _figures(counts: Sequence[int]) -> list[str]:
    _, run, killed, timed_out, _, equivalent = counts
    judged = run - equivalent
    return [*(f"{count:,}" for count in counts), f"{(killed + timed_out) / judged:.1%}" if judged else "-"]


def _survivors(modules: Mapping[str, Any], explained: Mapping[str, Any], what: str) -> Iterator[str]:
    rows = [
        [f"`{Path(path).stem}`:{one['line']}", _code(one["before"]), _code(one["after"])]
        for path, run in modules.items()
        for one in run["survivors"]
        if (_reason(path, one, explained) or "unexplained") == what
    ]
    if rows:
        yield from table(["Where", "The line", "The mutant that lives"], rows)
    else:
        yield "None."


def _code(text: str) -> str:
    line = " ".join(text.split("\n")) or "(nothing)"
    fence = "``" if "`" in line else "`"
    return f"{fence}{line}{fence}".replace("|", "\\|")


def _reason(path: str, survivor: Mapping[str, Any], explained: Mapping[str, Any]) -> str | None:
    """The first explanation that knows a survivor: by module, part of the line, and part of what became of it."""
    for name, reason in explained.items():
        for module, before, after in reason["mutants"]:
            if path.endswith(f"/{module}.py") and before in survivor["before"] and after in survivor["after"]:
                return name
    return None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.exists() else ""
