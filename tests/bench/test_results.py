"""Reading results back, and reading the targets off them."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from failwell.bench import render
from failwell.bench.results import (
    ContenderResult,
    CrowdResult,
    ImportResult,
    Results,
    RowResult,
    checked,
    load,
    rivals,
    save,
    targets,
)


def contender(name: str, role: str, overhead: float, *, pauses: float = 0, closure: float = 100) -> ContenderResult:
    return ContenderResult(
        name=name,
        role=role,
        library=name if role == "peer" else "",
        note="",
        ns=[overhead + 50, overhead + 60, overhead + 70],
        overhead=[overhead - 1, overhead, overhead + 1],
        to_bare=(overhead + 60) / 60,
        to_closure=overhead / closure,
        pauses=pauses,
    )


def row(key: str, mine: float, peer: float, *, success: bool = True, hand: float = 100, **more: float) -> RowResult:
    return RowResult(
        key=key,
        group=key.partition("-")[0].title(),
        title=f"{'async' if 'async' in key else 'sync'}, {key}",
        success=success,
        contenders=[
            contender("bare call", "bare", 0),
            contender("by hand", "closure", hand, closure=hand),
            contender("failwell", "ours", mine, closure=hand),
            contender("other", "peer", peer, closure=hand, **more),
        ],
    )


def results(
    *rows: RowResult, import_ms: float = 5, events_per_second: float = 200_000, crowd: tuple[float, float] = (1.2, 1.3)
) -> Results:
    return Results(
        python="3.11.7",
        cpu="A processor",
        quick=False,
        rounds=9,
        versions={"other": "1.0"},
        missing=[],
        rows=list(rows),
        imports=[ImportResult(name="failwell", role="ours", ms=[import_ms, import_ms, import_ms])],
        explorer=[
            {
                "stack": "Retry(3)",
                "paths": 15,
                "events": 60,
                "seconds": [0.1, 0.2, 0.3],
                "paths_per_second": 75.0,
                "events_per_second": events_per_second,
            }
        ],
        crowd=[CrowdResult(policy="circuit breaker", calls=10_000, time_to_bare=crowd[0], memory_to_bare=crowd[1])],
    )


GOOD = results(
    row("retry-async", 300, 400),
    row("retry-sync", 300, 400),
    row("retry-failure-async", 300, 400, success=False),
    row("timeout-async", 90, 400),
    row("timeout-async-suspends", 90, 400),
    row("cache-sync", 300, 400),
    row("cache-async", 300, 400),
    row("stack-async", 2_499, 4_000),
)


def verdicts(data: Results) -> dict[str, bool | None]:
    return {target.promise: target.met for target in targets(data)}


def test_all_targets_can_be_met():
    found = verdicts(GOOD)
    assert len(found) == 12, list(found)
    assert set(found.values()) == {True}


@pytest.mark.parametrize(
    ("changed", "missed"),
    [
        (row("retry-async", 401, 900), "async retry at most 4 x"),
        (row("retry-sync", 601, 900), "sync retry at most 6 x"),
        (row("retry-sync", 400, 400), "every success row"),
        (row("retry-failure-async", 401, 400, success=False), "every failure row"),
        (row("timeout-async", 100, 400), "timeout below asyncio.timeout"),
        (row("cache-sync", 500, 400), "below cachetools"),
        (row("cache-async", 500, 400), "below async-lru"),
        (row("stack-async", 2_500, 4_000), "below 2,500 ns"),
    ],
    ids=lambda value: value["key"] if isinstance(value, dict) else value.replace(" ", "_"),
)
def test_each_target_can_be_missed(changed: RowResult, missed: str):
    data = copy.deepcopy(GOOD)
    data["rows"] = [changed if r["key"] == changed["key"] else r for r in data["rows"]]
    lost = [promise for promise, met in verdicts(data).items() if met is False]
    assert any(missed in promise for promise in lost)


@pytest.mark.parametrize("ratios", [(1.6, 1.0), (1.0, 1.6)])
def test_the_target_for_many_calls_at_once_can_be_missed(ratios: tuple[float, float]):
    promise = "10,000 concurrent calls at most 1.5 x time and memory (circuit breaker)"
    assert {t.promise: t.met for t in targets(results())}[promise]
    assert {t.promise: t.met for t in targets(results(crowd=ratios))}[promise] is False


def test_import_and_explorer_targets_can_be_missed():
    found = verdicts(results(*GOOD["rows"], import_ms=10.1, events_per_second=149_999))
    assert [promise for promise, met in found.items() if not met] == [
        "import at most 10 ms over asyncio",
        "explorer at least 150,000 events a second (Retry(3))",
    ]


def test_who_does_less_is_no_rival():
    # It goes on at once where we let the loop have its turn: faster, and not the same job.
    data = row("retry-failure-async", 3_000, 2_000, success=False, pauses=0)
    next(c for c in data["contenders"] if c["role"] == "ours")["pauses"] = 1.0
    assert rivals(data) == []
    next(c for c in data["contenders"] if c["role"] == "peer")["pauses"] = 1.05
    assert [c["name"] for c in rivals(data)] == ["other"]


def test_a_row_without_peers_decides_nothing():
    alone = row("timeout-sync", 300, 400)
    alone["contenders"] = [c for c in alone["contenders"] if c["role"] != "peer"]
    assert verdicts(results(alone))["overhead below every peer in every success row"] is None


def test_results_survive_a_file(tmp_path: Path):
    file = tmp_path / "benchmark.json"
    save(GOOD, file)
    assert load(file) == GOOD
    assert list(tmp_path.iterdir()) == [file]


def spoil(**changes: Any) -> dict[str, Any]:
    data = json.loads(json.dumps(GOOD))
    for path, value in changes.items():
        *way, last = path.split("__")
        target: Any = data
        for step in way:
            target = target[int(step)] if isinstance(target, list) else target[step]
        if value is KeyError:
            del target[last]
        else:
            target[last] = value
    return data


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ([], "results is no mapping"),
        (spoil(python=3), "results.python is 3, not of type str"),
        (spoil(cpu=KeyError), "results.cpu is missing"),
        (spoil(host="somewhere"), "results.host is unknown"),
        (spoil(rows={}), "results.rows is no list"),
        (spoil(versions=[]), "results.versions is no mapping"),
        (spoil(versions__other=1), "results.versions.other is 1"),
        (spoil(rows__0__contenders__1__ns=["x"]), r"results.rows\[0\].contenders\[1\].ns\[0\] is 'x'"),
        (spoil(rounds=True), "results.rounds is True, not of type int"),
    ],
)
def test_other_json_is_refused_by_name(data: object, what: str):
    with pytest.raises(ValueError, match=what):
        checked(data)


def test_figures_are_as_precise_as_they_are_worth():
    values = (0.04, 9.94, 127.4, 999.4, 999.6, 2_499.0, 31_249.0)
    assert [render.number(v) for v in values] == ["0.0", "9.9", "127", "999", "1,000", "2,500", "31,200"]


def test_tables_in_markdown_are_tables():
    from markdown_it import MarkdownIt

    text = render.markdown(GOOD)
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    assert sum(token.type == "table_open" for token in tokens) == 1 + len(GOOD["rows"]) + 3
    assert "**failwell**" in text
    assert "CPython 3.11.7 on A processor, 9 rounds" in text
    assert all(target.promise in text for target in targets(GOOD))
    for line in text.splitlines():
        assert line == line.rstrip()


def test_the_terminal_gets_plain_text():
    text = render.text(GOOD)
    assert "|" not in text
    assert "**" not in text
    assert "`" not in text
    assert "MISSED" not in text
    assert render.text(results(row("retry-async", 500, 400))).count("MISSED") == 2
