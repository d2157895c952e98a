"""What a run leaves behind: plain data for a JSON file, and the targets that are read off it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypedDict, cast, get_args, get_origin, get_type_hints, is_typeddict


class ContenderResult(TypedDict):
    """One contender in one row. Nanoseconds a call: lower quartile, median, upper quartile."""

    name: str
    role: str
    library: str
    note: str
    #: The whole call.
    ns: list[float]
    #: What it takes over the bare call of the same round.
    overhead: list[float]
    #: The whole call divided by the bare call.
    to_bare: float
    #: The overhead divided by the overhead of the hand-written closure.
    to_closure: float
    #: Turns of the event loop (async) or calls of `time.sleep` (sync) in one call.
    pauses: float


class RowResult(TypedDict):
    """One job on one path."""

    key: str
    group: str
    title: str
    success: bool
    contenders: list[ContenderResult]


class ImportResult(TypedDict):
    """What an import adds to a process that has imported asyncio, in milliseconds (quartiles)."""

    name: str
    role: str
    ms: list[float]


class ExplorerResult(TypedDict):
    """How fast a stack is explored."""

    stack: str
    paths: int
    events: int
    #: One whole exploration (quartiles).
    seconds: list[float]
    paths_per_second: float
    events_per_second: float


class CrowdResult(TypedDict):
    """Many concurrent calls through one object, as shares of what the same calls take without it."""

    policy: str
    calls: int
    time_to_bare: float
    memory_to_bare: float


class Results(TypedDict):
    """A whole run. It says which Python and processor that was, and nothing else about the machine."""

    python: str
    cpu: str
    quick: bool
    rounds: int
    versions: dict[str, str]
    missing: list[str]
    rows: list[RowResult]
    imports: list[ImportResult]
    explorer: list[ExplorerResult]
    crowd: list[CrowdResult]


def _fits(value: object, hint: Any, where: str) -> Iterator[str]:
    """What is wrong with a value that came from a file, if anything."""
    if is_typeddict(hint):
        if not isinstance(value, dict):
            yield f"{where} is no mapping"
            return
        found = cast(dict[str, object], value)
        hints = get_type_hints(hint)
        for name in hints.keys() ^ found.keys():
            yield f"{where}.{name} is {'missing' if name in hints else 'unknown'}"
        for name in hints.keys() & found.keys():
            yield from _fits(found[name], hints[name], f"{where}.{name}")
    elif get_origin(hint) is list:
        if not isinstance(value, list):
            yield f"{where} is no list"
            return
        for i, item in enumerate(cast(list[object], value)):
            yield from _fits(item, get_args(hint)[0], f"{where}[{i}]")
    elif get_origin(hint) is dict:
        if not isinstance(value, dict):
            yield f"{where} is no mapping"
            return
        for name, item in cast(dict[str, object], value).items():
            yield from _fits(item, get_args(hint)[1], f"{where}.{name}")
    elif not isinstance(value, (int, float) if hint is float else hint) or (
        isinstance(value, bool) and hint is not bool
    ):
        yield f"{where} is {value!r}, not of type {hint.__name__}"


def checked(data: object) -> Results:
    """Take parsed JSON as results; `ValueError` names what is missing or of the wrong type."""
    wrong = sorted(_fits(data, Results, "results"))
    if wrong:
        raise ValueError("; ".join(wrong[:5]))
    return cast(Results, data)


def load(path: Path) -> Results:
    """Read the results of an earlier run."""
    return checked(json.loads(path.read_text(encoding="utf-8")))


def save(results: Results, path: Path) -> None:
    """Write results as JSON, whole or not at all."""
    text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8")
    new.replace(path)


# --- targets -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """Something that was promised, what was measured, and whether that is met (None: not measured)."""

    promise: str
    measured: str
    met: bool | None


#: Overhead of our retry, in overheads of the hand-written one.
ASYNC_RETRY_FACTOR: Final = 4.0
SYNC_RETRY_FACTOR: Final = 6.0
#: Nanoseconds that fallback, retry and timeout may add together.
STACK_NS: Final = 2_500.0
#: Milliseconds that `import failwell` may add to `import asyncio`.
IMPORT_MS: Final = 10.0
#: What many concurrent calls may cost, in costs of the same calls without a policy.
CROWD_FACTOR: Final = 1.5
#: Events that the explorer has to produce in a second.
EVENTS_PER_SECOND: Final = 150_000.0


def overhead(contender: ContenderResult) -> float:
    """The median overhead in nanoseconds."""
    return contender["overhead"][1]


def ours(row: RowResult) -> ContenderResult:
    """Our entry in a row."""
    return next(c for c in row["contenders"] if c["role"] == "ours")


def rivals(row: RowResult) -> list[ContenderResult]:
    """The peers that do as much as we do: those that let others run between two attempts at least as often."""
    least = ours(row)["pauses"] - 0.5
    return [c for c in row["contenders"] if c["role"] == "peer" and c["pauses"] >= least]


def _ns(value: float) -> str:
    return f"{value:,.0f} ns"


def _below_peers(rows: list[RowResult], promise: str) -> Target:
    contested = [row for row in rows if rivals(row)]
    if not contested:
        return Target(promise, "no peer was measured", None)
    lost: list[str] = []
    closest = ("", 0.0)
    for row in contested:
        best = min(rivals(row), key=overhead)
        mine = overhead(ours(row))
        share = mine / max(overhead(best), 1.0)
        where = f"{row['group']}, {row['title']}: {_ns(mine)}, {best['name']} {_ns(overhead(best))}"
        if mine >= overhead(best):
            lost.append(where)
        if share >= closest[1]:
            closest = (where, share)
    if lost:
        return Target(promise, f"lost {len(lost)} of {len(contested)}. " + "; ".join(lost), False)
    return Target(promise, f"all {len(contested)}; closest: {closest[0]}", True)


def targets(results: Results) -> list[Target]:
    """Every target, read off the results."""
    rows = {row["key"]: row for row in results["rows"]}
    everything = list(rows.values())
    found = [
        _below_peers([row for row in everything if row["success"]], "overhead below every peer in every success row"),
        _below_peers(
            [row for row in everything if not row["success"]], "overhead below every peer in every failure row"
        ),
    ]
    for key, factor, kind in (
        ("retry-async", ASYNC_RETRY_FACTOR, "async"),
        ("retry-sync", SYNC_RETRY_FACTOR, "sync"),
    ):
        promise = f"{kind} retry at most {factor:g} x the hand-written closure's overhead"
        if key in rows:
            ratio = ours(rows[key])["to_closure"]
            found.append(Target(promise, f"{ratio:.2f} x", ratio <= factor))
    for key, peers in (("cache-sync", "cachetools"), ("cache-async", "async-lru")):
        if key in rows:
            found.append(_below_peers([rows[key]], f"cached hit below {peers}"))
    for key, row in rows.items():
        if key.startswith("timeout-async"):
            mine = overhead(ours(row))
            bare = next(overhead(c) for c in row["contenders"] if c["role"] == "closure")
            found.append(
                Target(f"timeout below asyncio.timeout ({row['title']})", f"{_ns(mine)}, {_ns(bare)}", mine < bare)
            )
    if "stack-async" in rows:
        mine = overhead(ours(rows["stack-async"]))
        alone = [
            overhead(c) for c in rows.get("timeout-async", rows["stack-async"])["contenders"] if c["role"] == "closure"
        ]
        found.append(
            Target(
                f"fallback + retry + timeout below {_ns(STACK_NS)}",
                f"{_ns(mine)} (asyncio.timeout alone: {_ns(alone[0])})",
                mine < STACK_NS,
            )
        )
    for entry in results["imports"]:
        if entry["role"] == "ours":
            took = entry["ms"][1]
            found.append(Target(f"import at most {IMPORT_MS:g} ms over asyncio", f"{took:.1f} ms", took <= IMPORT_MS))
    for crowd in results["crowd"]:
        time, memory = crowd["time_to_bare"], crowd["memory_to_bare"]
        found.append(
            Target(
                f"{crowd['calls']:,} concurrent calls at most {CROWD_FACTOR:g} x time and memory ({crowd['policy']})",
                f"{time:.2f} x, {memory:.2f} x",
                max(time, memory) <= CROWD_FACTOR,
            )
        )
    for stack in results["explorer"]:
        rate = stack["events_per_second"]
        found.append(
            Target(
                f"explorer at least {EVENTS_PER_SECOND:,.0f} events a second ({stack['stack']})",
                f"{rate:,.0f}",
                rate >= EVENTS_PER_SECOND,
            )
        )
    return found
