"""A short run from end to end, and the run that is on record."""

from dataclasses import replace
from pathlib import Path

import pytest

from failwell import bench
from failwell.bench import jobs, peers, run
from failwell.bench.__main__ import main
from failwell.bench.results import load, targets
from failwell.bench.rows import all_rows


def test_a_quick_run_gives_valid_json_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file = tmp_path / "benchmark.json"
    assert main(["--quick", "--json", str(file)]) == 0
    data = load(file)
    assert data["quick"]
    assert data["versions"] == peers.installed()
    assert data["missing"] == sorted(peers.PEERS.keys() - data["versions"].keys())
    assert [row["key"] for row in data["rows"]] == [row.key for row in all_rows()]
    for row in data["rows"]:
        for contender in row["contenders"]:
            assert contender["ns"] == sorted(contender["ns"])
            assert contender["ns"][0] > 0
            assert contender["overhead"] == sorted(contender["overhead"])
            assert contender["to_bare"] > 0
    assert [entry["name"] for entry in data["imports"]] == ["asyncio", "failwell"]
    assert all(entry["paths"] > 0 and entry["events"] > entry["paths"] for entry in data["explorer"])
    printed = capsys.readouterr().out
    for target in targets(data):
        assert target.promise in printed
    table = bench.table(file)
    assert all(f"### {row['group']}" in table for row in data["rows"])


def test_nothing_is_timed_when_somebody_does_not_do_the_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def idle(fn: object, *args: object) -> object:
        return fn

    row = next(row for row in all_rows() if row.key == "retry-sync")
    wrong = replace(row, contenders=[replace(row.contenders[0], build=idle)])
    monkeypatch.setattr(run, "all_rows", lambda: [wrong])
    assert main(["--quick"]) == 1
    assert "nothing was timed: Retry, sync, success: by hand:" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--seconds", "0"], ["--json", "no/such/folder/b.json"], ["--nonsense"]])
def test_bad_input_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_missing_peer_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch):
    versions = {name: version for name, version in peers.installed().items() if name != "tenacity"}
    row = next(row for row in all_rows() if row.key == "retry-sync")
    names = [contender.name for contender in run.taking_part(row, versions)]
    assert "tenacity" not in names
    assert "failwell" in names


def test_the_run_on_record_is_whole_and_renders():
    path = Path(__file__).parents[2] / bench.RECORD
    data = load(path)
    assert not data["quick"]
    assert not data["missing"]
    assert data["versions"].keys() == peers.PEERS.keys()
    assert {row["key"] for row in data["rows"]} <= {row.key for row in all_rows()}
    table = bench.table()
    assert "### Retry" in table
    assert "### Explorer" in table
    assert table.count("| **failwell** |") == len(data["rows"]) + 1


def test_the_record_says_nothing_about_the_machine_but_its_processor():
    text = (Path(__file__).parents[2] / bench.RECORD).read_text(encoding="utf-8")
    assert "/" not in text
    assert "\\\\" not in text


def test_the_page_asks_for_the_table():
    page = Path(__file__).parents[2] / "docs" / "evidence" / "benchmark.md"
    assert "<!-- generated: benchmark -->" in page.read_text(encoding="utf-8").splitlines()


def test_jobs_are_checked_also_when_assertions_are_off():
    with pytest.raises(jobs.NotDoingTheJob):
        jobs.expect(False, "anything")
