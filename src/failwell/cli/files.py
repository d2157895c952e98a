"""Writing files so that nobody ever finds half of one."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from failwell.cli.refusal import Refused

__all__ = ["check_writable", "write"]


def check_writable(path: Path) -> None:
    """Refuse a file that cannot be written, before any work is done for it.

    Args:
        path: The file.

    Raises:
        Refused: If its folder is not there or not writable, or a folder has its name.
    """
    folder = path.parent
    try:
        for above in path.parents:
            if above.exists() and not above.is_dir():
                raise Refused(f"cannot write {path}: {above} is a file, not a folder, choose another folder")
        if not folder.is_dir():
            raise Refused(f"cannot write {path}: there is no folder {folder}, make it first")
        if path.is_dir():
            raise Refused(f"cannot write {path}: it is a folder, give a file's name")
        target = path if path.exists() and not path.is_file() else folder
    except OSError as error:  # a folder on the way that cannot be entered, a name that is too long
        raise Refused(f"cannot write {path}: {(error.strerror or str(error)).lower()}, choose another file") from None
    if not os.access(target, os.W_OK):
        raise Refused(f"cannot write {path}: permission denied, choose another folder")


def write(path: Path, content: bytes) -> None:
    """Replace a file as a whole: it holds the old content or the new one, whatever happens in between.

    Args:
        path: The file; a link is followed, a device or pipe is written to.
        content: What it shall hold.

    Raises:
        Refused: If it cannot be written.
    """
    check_writable(path)
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(content)
        else:
            _replace(Path(os.path.realpath(path)), content)
    except OSError as error:
        raise Refused(f"cannot write {path}: {(error.strerror or str(error)).lower()}, choose another file") from None


def _replace(path: Path, content: bytes) -> None:
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_mask()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:  # Ctrl-C too
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
