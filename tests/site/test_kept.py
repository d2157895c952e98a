"""What builds keep for the next one is never out of date, and never in the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from failwell.site import kept
from failwell.site.kept import Kept, digest


def never() -> str:
    raise AssertionError("it is there already")


def leave(folder: Path, **results: str) -> Path:
    """A build that made these results; gives the file that it left."""
    build = Kept(folder)
    for name, text in results.items():
        assert build.get(name, lambda text=text: text) == text
    build.save()
    return folder / f"{kept.LOADED}.json"


def test_the_next_build_finds_what_one_made(tmp_path: Path) -> None:
    leave(tmp_path, flow="a drawing\n", paths="« → »")
    build = Kept(tmp_path)
    assert build.get("flow", never) == "a drawing\n"
    assert build.get("paths", never) == "« → »"
    assert build.get("card", lambda: "new") == "new"


def test_one_build_makes_a_result_once(tmp_path: Path) -> None:
    build = Kept(tmp_path)
    assert build.get("flow", lambda: "a drawing") == build.get("flow", never)


def test_what_no_page_asks_for_any_more_is_dropped(tmp_path: Path) -> None:
    leave(tmp_path, flow="a drawing", card="a card")
    build = Kept(tmp_path)
    build.get("flow", never)
    build.get("paths", lambda: "paths")
    build.save()
    assert Kept(tmp_path).get("card", lambda: "made anew") == "made anew"


def cut(text: bytes) -> bytes:
    return text[:-1]


def other(text: bytes) -> bytes:
    return text.replace(b"drawing", b"DRAWING")


def nothing(text: bytes) -> bytes:
    return text[:0]


def noise(text: bytes) -> bytes:
    return b"\xff\xfe" + text[::-1]


@pytest.mark.parametrize("damage", [cut, other, nothing, noise])
def test_a_damaged_file_counts_as_none(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    file = leave(tmp_path, flow="a drawing")
    file.write_bytes(damage(file.read_bytes()))
    assert Kept(tmp_path).get("flow", lambda: "made anew") == "made anew"
    leave(tmp_path, flow="made anew")
    assert Kept(tmp_path).get("flow", never) == "made anew"


def test_a_folder_in_the_place_of_the_file_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / f"{kept.LOADED}.json").mkdir()
    assert Kept(tmp_path).get("flow", lambda: "made") == "made"


def test_a_process_that_runs_an_older_text_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(tmp_path, flow="a drawing")
    started = Kept(tmp_path)
    monkeypatch.setattr(kept, "digest", lambda: "of a text that was saved a moment ago")
    assert started.get("card", lambda: "a card") == "a card"
    started.save()
    later = Kept(tmp_path)
    assert later.get("flow", lambda: "made") == "made"
    later.save()
    monkeypatch.undo()
    assert Kept(tmp_path).get("card", lambda: "made") == "made"
    assert Kept(tmp_path).get("flow", never) == "a drawing"


def test_only_a_few_files_stay_and_no_half_written_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day, text in enumerate("abcdefgh"):
        monkeypatch.setattr(kept, "LOADED", text)
        monkeypatch.setattr(kept, "digest", lambda text=text: text)
        os.utime(leave(tmp_path, flow=text), (86400 * day, 86400 * day))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.json", "f.json", "g.json", "h.json"]


def test_every_file_of_the_package_counts_by_its_name_and_its_text(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/one.py").write_text("1")
    seen = [digest(tmp_path)]
    (tmp_path / "inner/one.py").write_text("2")
    seen.append(digest(tmp_path))
    (tmp_path / "inner/data.json").write_text("{}")
    seen.append(digest(tmp_path))
    (tmp_path / "inner/data.json").rename(tmp_path / "data.json")
    seen.append(digest(tmp_path))
    assert len(set(seen)) == len(seen)
    (tmp_path / "one.cpython-311.pyc").write_text("compiled")
    assert digest(tmp_path) == seen[-1]
