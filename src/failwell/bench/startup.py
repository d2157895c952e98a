"""How long `import failwell` takes, in fresh processes, beside what the peers take."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable

from failwell.bench.results import ImportResult
from failwell.bench.timing import Spread

#: What a service imports that protects its calls; names of the package are loaded when they are used.
EVERYDAY = ("retry", "timeout", "fallback", "cache", "circuit_breaker")

# Timed inside the new process: starting the interpreter takes longer than the import, and is nobody's fault.
_CODE = """
from time import perf_counter_ns as now
{before}
started = now()
{imports}
print(now() - started)
"""


def import_ns(modules: Iterable[str], *, over: str = "asyncio") -> int:
    """Import modules in a fresh process that has imported `over` already; nanoseconds."""
    code = _CODE.format(
        before=f"import {over}" if over else "", imports="\n".join(f"import {module}" for module in modules)
    )
    # Installed packages have their compiled modules; a machine that is told to write none has to have ours as well.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return int(done.stdout)


def measure_imports(
    libraries: dict[str, tuple[str, ...]], *, runs: int, progress: Callable[[int], None] = lambda _: None
) -> list[ImportResult]:
    """Milliseconds that each import adds to asyncio's, and asyncio's own; interleaved."""
    subjects: dict[str, tuple[tuple[str, ...], str]] = {
        "asyncio": (("asyncio",), ""),
        "failwell": (("failwell", *(f"failwell.patterns.{name}" for name in EVERYDAY)), "asyncio"),
        **{name: (modules, "asyncio") for name, modules in libraries.items()},
    }
    samples: dict[str, list[float]] = {name: [] for name in subjects}
    # The first run fills the file cache and writes the compiled modules; it does not count.
    for number in range(runs + 1):
        progress(number)
        for name, (modules, over) in subjects.items():
            took = import_ns(modules, over=over) / 1e6
            if number:
                samples[name].append(took)
    roles = {"asyncio": "bare", "failwell": "ours"}
    return [
        ImportResult(name=name, role=roles.get(name, "peer"), ms=Spread.of(found).rounded(2))
        for name, found in samples.items()
    ]
