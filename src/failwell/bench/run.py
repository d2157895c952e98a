"""One whole run: check everybody, time everybody, hand back plain data."""

import asyncio
import contextlib
import platform
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns, process_time_ns

from failwell.bench import jobs, peers
from failwell.bench.crowd import measure_crowd
from failwell.bench.exploring import measure_explorer
from failwell.bench.results import ContenderResult, Results, RowResult
from failwell.bench.rows import Contender, Row, all_rows
from failwell.bench.startup import measure_imports
from failwell.bench.timing import Block, Spread, Stage, interleave

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long to measure, and what."""

    #: Seconds for all rows together.
    seconds: float
    #: How long one loop lasts, in milliseconds: less than a time slice, much more than a call.
    block_ms: float
    import_runs: int
    #: Seconds for each stack that is explored.
    explorer_seconds: float
    #: How many calls are made at once, and how often that is done.
    crowd: tuple[int, int]
    quick: bool = False


#: About 80 seconds: long enough for medians that repeat to a few per cent on a machine with other work.
FULL = Plan(seconds=50, block_ms=0.4, import_runs=9, explorer_seconds=2, crowd=(10_000, 7))
#: A few seconds, to see that everything works. Its figures mean little.
QUICK = Plan(seconds=0.2, block_ms=0.1, import_runs=1, explorer_seconds=0.02, crowd=(600, 1), quick=True)


def cpu_model() -> str:
    """The processor's name as it gives it itself, or its architecture."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    return platform.processor() or platform.machine()


@contextlib.contextmanager
def _peers_may_be_old() -> Generator[None, None, None]:
    # A peer that calls something deprecated is no reason to stop, whatever the warning filters say.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def taking_part(row: Row, versions: dict[str, str]) -> list[Contender]:
    """The contenders of a row whose library is installed."""
    return [c for c in row.contenders if not c.library or c.library in versions]


def check(stage: Stage, row: Row, contender: Contender) -> None:
    """See that a contender does the job of its row; `NotDoingTheJob` says who does not, and what."""
    try:
        (contender.check or row.check)(stage, contender.build)
    except Exception as error:
        what = error if isinstance(error, jobs.NotDoingTheJob) else f"{type(error).__name__}: {error}"
        raise jobs.NotDoingTheJob(f"{row.group}, {row.title}: {contender.name}: {what}") from error


def _blocks(stage: Stage, row: Row, contenders: Sequence[Contender]) -> tuple[list[Block], list[float]]:
    operation = row.arguments(stage)[0]
    other = row.after_failure(stage, operation) if row.after_failure else None
    clock = process_time_ns if row.threads else perf_counter_ns
    blocks = [stage.block(operation, other, clock=clock)]
    pauses = [0.0 if other else jobs.pauses(stage, operation)]
    for contender in contenders:
        made = stage.build(contender.build, *row.arguments(stage))
        pauses.append(jobs.pauses(stage, made))
        blocks.append(stage.block(made, clock=clock))
    return blocks, pauses


def _row_result(
    row: Row, contenders: Sequence[Contender], samples: list[list[float]], pauses: list[float]
) -> RowResult:
    bare = samples[0]
    over = [Spread.of(mine - base for mine, base in zip(found, bare, strict=True)) for found in samples]
    hand = next((o.median for c, o in zip(contenders, over[1:], strict=True) if c.role == "closure"), 0.0)
    found: list[ContenderResult] = []
    everybody = [Contender("bare call", "bare", jobs.bare), *contenders]
    for contender, ns, overhead, count in zip(everybody, samples, over, pauses, strict=True):
        ratio = Spread.of(mine / base for mine, base in zip(ns, bare, strict=True))
        found.append(
            ContenderResult(
                name=contender.name,
                role=contender.role,
                library=contender.library,
                note=contender.note,
                ns=Spread.of(ns).rounded(),
                overhead=overhead.rounded(),
                to_bare=round(ratio.median, 3),
                # An overhead too small to be told from nothing divides nothing.
                to_closure=round(overhead.median / hand, 3) if hand >= 1 else 0.0,
                pauses=count,
            )
        )
    return RowResult(key=row.key, group=row.group, title=row.title, success=row.success, contenders=found)


def measure(plan: Plan = FULL, *, rows: Sequence[Row] | None = None, progress: Progress = lambda _: None) -> Results:
    """Measure everything that the plan asks for."""
    rows = all_rows() if rows is None else rows
    versions = peers.installed()
    with contextlib.ExitStack() as around:
        around.enter_context(_peers_may_be_old())
        runner = around.enter_context(asyncio.Runner(debug=False))
        plain, on_loop = Stage(None), Stage(runner)
        for stage in (plain, on_loop):
            around.enter_context(stage.within(peers.settings))
        stages = [on_loop if row.is_async else plain for row in rows]
        fields = [taking_part(row, versions) for row in rows]
        for row, stage, contenders in zip(rows, stages, fields, strict=True):
            progress(f"checking {row.group}, {row.title}")
            for contender in contenders:
                check(stage, row, contender)
        made = [_blocks(stage, row, field) for row, stage, field in zip(rows, stages, fields, strict=True)]
        samples = interleave(
            [blocks for blocks, _ in made],
            seconds=plan.seconds,
            block_ns=plan.block_ms * 1e6,
            progress=lambda share: progress(f"timing, {share:.0%}"),
        )
    imports = measure_imports(
        {} if plan.quick else {name: peers.PEERS[name] for name in versions},
        runs=plan.import_runs,
        progress=lambda n: progress(f"imports, run {n + 1} of {plan.import_runs + 1}"),
    )
    explorer = measure_explorer(
        seconds=plan.explorer_seconds,
        quick=plan.quick,
        progress=lambda n: progress(f"explorer, stack {n + 1}"),
    )
    calls, runs = plan.crowd
    crowd = measure_crowd(calls=calls, runs=runs, progress=lambda name: progress(f"{calls:,} calls at once: {name}"))
    return Results(
        python=platform.python_version(),
        cpu=cpu_model(),
        quick=plan.quick,
        rounds=len(samples[0][0]),
        versions=versions,
        missing=sorted(peers.PEERS.keys() - versions.keys()),
        rows=[
            _row_result(row, field, found, pauses)
            for row, field, found, (_, pauses) in zip(rows, fields, samples, made, strict=True)
        ],
        imports=imports,
        explorer=explorer,
        crowd=crowd,
    )


def terminal_progress(message: str) -> None:
    """Say on one line of the terminal what is going on; nowhere else."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{message}")
        sys.stderr.flush()
