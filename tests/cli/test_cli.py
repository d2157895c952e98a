from __future__ import annotations

import json
import os
import stat
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from failwell.catalog import CARDS, GROUPS
from failwell.cli import app, diagrams, files, main, targets, words
from failwell.flow.draw import FORMATS, theme

OWN = """
from failwell import Cache, Policy, Retry, Saga, Timeout

print("noise")
stack = Timeout(30) >> Retry(3)
many = Retry(5) >> Retry(3) >> Timeout(5)
number = 3


@stack
def fetch(url): raise SystemError("its body never runs")


@stack
async def afetch(url): ...


def plain(): ...


class Holder:
    inner = Retry(2)


class Forgetful(Policy):
    runs = 0

    async def run(self, call, rt):
        Forgetful.runs += 1
        await rt.decide("which?", list(range(Forgetful.runs + 1)), lambda: 0)
        return await call()


forgetful = Forgetful()
"""


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a module of the user's."""
    (tmp_path / "own.py").write_text(OWN, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints that does its work."""
    assert app.run(arguments) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that cannot do its work."""
    assert app.run(arguments) == 2
    output, error = capsys.readouterr()
    lines = [line for line in error.splitlines() if line != "noise"]
    assert len(lines) == 1, error
    assert lines[0].startswith("failwell: ")
    assert output == ""
    return lines[0].removeprefix("failwell: ")


# --- what it tells ---------------------------------------------------------------------------------


def test_without_a_command_it_tells_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys)
    assert all(f"  {name} " in told for name in ("list", "show", "draw", "explain", "diagrams", "site"))


def test_list_names_every_pattern_in_its_group(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "list")
    used = [group for group in GROUPS if any(card.group == group for card in CARDS.values())]
    assert [told.index(group) for group in used] == sorted(told.index(group) for group in used)
    assert all(f"  {slug} " in told for slug in CARDS)


@pytest.mark.parametrize("slug", CARDS)
def test_show_tells_a_card_and_what_follows_from_the_code(slug: str, capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "show", slug)
    card = CARDS[slug]
    assert card.intent in told
    assert "Do not use when" in told
    assert "└─" in told
    assert max(map(len, told.splitlines())) < 200


def test_show_computes_its_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "show", "retry")
    assert "success 90 % without it, 99.9 % with it" in told
    assert "mean wait 0.12 s, worst 3 s; a hang is never ended" in told


def test_a_share_is_never_rounded_up_to_certainty() -> None:
    assert [words.share(p) for p in (1, 0, 0.9999999, 0.999, 1 - 1e-12)] == [
        "100 %",
        "0 %",
        "99.99999 %",
        "99.9 %",
        "almost 100 %",
    ]


def test_explain_tells_paths_and_their_odds(capsys: pytest.CaptureFixture[str]) -> None:
    told = said(capsys, "explain", "own:fetch", "--fail", "0.5", "--outcomes", "ok,fail")
    assert "success   87.5 %" in told
    assert "fetch 1.75 (at most 3)" in told
    assert "50 %  fetch (attempt 1) ok -> return" in told


def test_explain_tells_all_paths_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    short = said(capsys, "explain", "own:stack")
    long = said(capsys, "explain", "own:stack", "--paths")
    assert ("more (--paths tells all)" in short) == (len(long) > len(short))
    assert "more (--paths" not in long


def test_explain_gives_data_to_tools(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "explain", "retry", "--hang", "0.1", "--json"))
    assert found["odds"] == {"fail": 0.1, "hang": 0.1}
    assert found["report"]["worst_latency"] is None
    assert found["report"]["success"] == pytest.approx(0.8 * 1.11)
    assert sum(path["probability"] for path in found["paths"]) == pytest.approx(1)


def test_what_a_module_prints_stays_out_of_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(said(capsys, "explain", "own:stack", "--json"))["target"] == "own:stack"


# --- drawing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("target", ["retry", "own:stack", "own:fetch", "own:afetch", "own:Holder.inner"])
def test_draw_writes_every_format(target: str, form: str, own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "draw", target, "-o", f"flow.{form}") == ""
    assert (own_folder / f"flow.{form}").stat().st_size > 100
    assert {path.name for path in own_folder.iterdir()} - {"__pycache__"} == {"own.py", f"flow.{form}"}


def test_draw_without_a_file_tells_the_flow(capsys: pytest.CaptureFixture[str]) -> None:
    assert "[load] attempt 1–3" in said(capsys, "draw", "own:stack", "--operation", "load")
    assert "attempt 2" in said(capsys, "draw", "retry", "--unroll")


def test_draw_in_one_scheme(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "draw", "saga", "-o", "saga.svg", "--theme", "dark")
    assert "fw-dark" in (ET.parse(own_folder / "saga.svg").getroot().get("class") or "")


@pytest.mark.parametrize("form", ["excalidraw", "canvas"])
def test_draw_takes_a_flow_to_a_whiteboard(form: str, own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, "draw", "saga", "-o", f"light.{form}")
    said(capsys, "draw", "saga", "-o", f"dark.{form}", "--theme", "dark")
    light, dark = ((own_folder / f"{scheme}.{form}").read_text("utf-8") for scheme in ("light", "dark"))
    assert theme.ROLES["error"].stroke.light in light
    assert theme.ROLES["error"].stroke.dark in dark
    assert json.loads(light).keys() == json.loads(dark).keys()


def test_a_file_is_replaced_as_a_whole_and_keeps_its_rights(
    own_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = own_folder / "flow.txt"
    target.write_text("old")
    target.chmod(0o640)
    said(capsys, "draw", "retry", "-o", "flow.txt")
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    said(capsys, "draw", "retry", "-o", "new.txt")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((own_folder / "new.txt").stat().st_mode) == 0o666 & ~mask

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    held = target.read_bytes()
    monkeypatch.setattr(files.os, "fsync", stop)
    assert app.run(["draw", "saga", "-o", "flow.txt"]) == 130
    assert target.read_bytes() == held
    assert {path.name for path in own_folder.iterdir()} - {"__pycache__"} == {"own.py", "flow.txt", "new.txt"}


def test_a_link_is_followed(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own_folder / "real.txt").write_text("old")
    (own_folder / "link.txt").symlink_to("real.txt")
    said(capsys, "draw", "retry", "-o", "link.txt")
    assert (own_folder / "link.txt").is_symlink()
    assert "call_api" in (own_folder / "real.txt").read_text(encoding="utf-8")


# --- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lst"], "No such command 'lst'"),
        (["show"], "Missing argument 'PATTERN'"),
        (["show", "retyr"], "there is no pattern 'retyr': did you mean retry?"),
        (["show", "compensating transaction"], "did you mean saga?"),
        (["show", "xyzzy"], f"there are {', '.join(CARDS)}"),
        (["draw", "xyzzy"], "a stack of your own is module:attribute"),
        (["draw", "own.stack"], "for a stack of your own write module:attribute, e.g. own:stack"),
        (["draw", "own.py:stack"], "write own:stack, without .py"),
        (["draw", "./own.py:stack"], "write own:stack, without folder signs and .py"),
        (["draw", ":stack"], "':stack' is no module:attribute"),
        (["draw", "own:"], "'own:' is no module:attribute"),
        (["draw", "onw:stack"], "there is no module 'onw': did you mean own?"),
        (["draw", "wholly_absent:stack"], "run this in the folder that holds it, or install it"),
        (["draw", "needs:stack"], "module 'needs' does not import: ModuleNotFoundError: No module named 'not_there'"),
        (["draw", "wrong:stack"], "SyntaxError: invalid syntax (wrong.py, line 1); repair it and try again"),
        (["draw", "exits:stack"], "module 'exits' does not import: SystemExit: 3 (exits.py, line 2)"),
        (["draw", "raises:stack"], "ValueError: two (raises.py, line 1); repair it and try again"),
        (["draw", "own:stakc"], "module 'own' has no attribute 'stakc': did you mean stack?"),
        (["draw", "own:zzz"], "policies in own: stack, many, fetch"),
        (["draw", "own:number"], "own:number is no policy: it is an int; policies in own: stack"),
        (["draw", "own:plain"], "it is a function without one, decorate it or write Retry() >> plain"),
        (["draw", "own:Retry"], "it is a class, name an object made of it, e.g. policy = Retry(...)"),
        (["draw", "own:forgetful"], "own:forgetful cannot be explored: "),
        (["draw", "own:many", "--limit", "100"], "own:many has more than 100 paths, multiplied by "),
        (["draw", "own:stack", "--limit", "0"], "--limit 0: give a number of paths of at least 1"),
        (["draw", "own:stack", "--limit", "x"], "Invalid value for '--limit'"),
        (
            ["draw", "retry", "--outcomes", "ok,maybe"],
            "--outcomes 'ok,maybe': there is no exception 'maybe': write mod",
        ),
        (["draw", "retry", "--outcomes", "ok,ConectionError"], "'ConectionError': did you mean ConnectionError?"),
        (["draw", "retry", "--outcomes", "KeyboardInterrupt"], "KeyboardInterrupt is no type of exceptions"),
        (["draw", "retry", "--outcomes", "ok,absent:Gone"], "--outcomes 'ok,absent:Gone': there is no module 'absent'"),
        (["draw", "retry", "--outcomes", "ok,own:Nothing"], "module 'own' has no 'Nothing'"),
        (["draw", "retry", "--outcomes", "ok,own:plain"], "own:plain is no type of exceptions"),
        (["draw", "retry", "--outcomes", " ,"], "--outcomes ' ,': give some of ok, fail, hang and exceptions"),
        (["draw", "retry", "-o", "flow.gif"], "cannot draw flow.gif: suffix .gif is not known, use one of .svg .png"),
        (["draw", "retry", "-o", "flow"], "cannot draw flow: a suffix is missing"),
        (["draw", "retry", "-o", "absent/flow.svg"], "there is no folder absent, make it first"),
        (["draw", "retry", "-o", "folder.svg"], "cannot write folder.svg: it is a folder"),
        (["draw", "retry", "-o", "own.py/flow.svg"], "own.py is a file, not a folder, choose another folder"),
        (["draw", "retry", "-o", "own.py/in/flow.svg"], "own.py is a file, not a folder, choose another folder"),
        (["explain", "retry", "--fail", "1.5"], "--fail 1.5 is no probability: give a number from 0 to 1"),
        (["explain", "retry", "--hang", "nan"], "--hang nan is no probability"),
        (["explain", "retry", "--fail", "0.6", "--hang", "0.6"], "sum up to more than 1"),
        (["explain", "retry", "--fail", "much"], "Invalid value for '--fail'"),
        (["diagrams"], "this is no checkout of Failwell: run it there, or name a folder with --to DIR"),
        (["diagrams", "--check", "--to", "absent"], "there is no folder absent to check"),
        (["diagrams", "--to", "own.py"], "own.py is no folder: give another one"),
        (["diagrams", "--to", "a" * 300], "file name too long, give another folder"),
        (["diagrams", "--check", "--to", "a" * 300], "file name too long, give another folder"),
        (["site", "build"], "there is no mkdocs.yml here"),
        (["site", "serve"], "there is no mkdocs.yml here"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_folder / "needs.py").write_text("import not_there\n")
    (own_folder / "wrong.py").write_text("def (:\n")
    (own_folder / "exits.py").write_text("import sys\nsys.exit(3)\n")
    (own_folder / "raises.py").write_text("raise ValueError('two\\nlines')\n")
    (own_folder / "folder.svg").mkdir()
    before = sorted(path.name for path in own_folder.iterdir())
    assert message in refused(capsys, *arguments)
    assert sorted(path.name for path in own_folder.iterdir() if path.name != "__pycache__") == before


def test_a_folder_without_permission(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own_folder / "locked").mkdir(mode=0o500)
    am_root = os.geteuid() == 0
    if am_root:  # who may write anywhere
        main_once = refused(capsys, "draw", "retry", "-o", "no such folder/flow.svg")  # loads what drawing needs
        assert "no such folder" in main_once
        os.seteuid(65534)
    try:
        assert "permission denied" in refused(capsys, "draw", "retry", "-o", "locked/flow.svg")
    finally:
        if am_root:
            os.seteuid(0)


def test_a_full_disk_leaves_the_old_file(
    own_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_folder / "flow.txt").write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    assert "cannot write flow.txt: no space left on device" in refused(capsys, "draw", "retry", "-o", "flow.txt")
    assert (own_folder / "flow.txt").read_text() == "old"
    assert len([*own_folder.glob(".*")]) == 0


def test_main_exits_with_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, status in ((["list"], 0), (["--version"], 0), (["show", "nothing at all"], 2)):
        with pytest.raises(SystemExit) as exit_:
            main(arguments)
        assert exit_.value.code == status
    capsys.readouterr()


@pytest.mark.parametrize(("terminal", "seconds"), [(True, 3.0), (True, 0.5), (False, 3.0)])
def test_progress_shows_on_a_terminal_after_a_second(
    terminal: bool, seconds: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, seconds, seconds])
    monkeypatch.setattr(targets.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with targets.progress("paths explored") as count:
        count(12_000)
    shown = capsys.readouterr().err
    assert shown == ("\r12,000 paths explored ...\r\x1b[K" if terminal and seconds > 1 else "")


# --- diagrams --------------------------------------------------------------------------------------


def test_diagrams_are_written_and_checked(
    own_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = diagrams.drawings()
    monkeypatch.setattr(diagrams, "drawings", lambda *_, **__: drawn)
    said(capsys, "diagrams", "--to", "out")
    said(capsys, "diagrams", "--check", "--to", "out")
    (own_folder / "out/retry.svg").write_text("edited")
    (own_folder / "out/saga.png").unlink()
    (own_folder / "out/gone.mmd").write_text("old")
    assert app.run(["diagrams", "--check", "--to", "out"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{Path('out/retry.svg')} is out of date",
        f"{Path('out/saga.png')} is missing",
        f"{Path('out/gone.mmd')} is not made any more: delete it",
    ]
    assert app.run(["diagrams", "--to", "out"]) == 0
    assert "2 of " in capsys.readouterr().err


def test_outcomes_are_exceptions_by_name_too(own_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own_folder / "gone.py").write_text("class Gone(Exception): ...\n\n\nclass Held:\n    class Lost(Gone): ...\n")
    given = "ok,ConnectionError,RateLimitedError,gone:Gone,gone:Held.Lost"
    told = said(capsys, "explain", "own:stack", "--outcomes", given, "--paths")
    for name in ("ConnectionError", "RateLimitedError", "Gone", "Lost"):
        assert f"raises {name}" in told
    assert "fails" not in told.partition("Paths (")[2]
    drawn = said(capsys, "draw", "own:stack", "--view", "sequence", "--path", "unhappy", "--outcomes", given)
    assert "Gone" in drawn or "ConnectionError" in drawn
    assert said(capsys, "diff", "own:stack", "own:stack", "--outcomes", given, "--check")
    written = said(capsys, "tests", "own:stack", "--outcomes", f"{given},fail")
    assert f"--outcomes {given},fail" in written
    assert "from gone import Gone, Held" in written
    assert "OUTCOMES = (" in written
