"""Builds and serves the site."""

# MkDocs is half typed:
# pyright: reportUnknownVariableType=false

from __future__ import annotations

import logging
import os
import re
import socket
import sys
from pathlib import Path

HOST = "127.0.0.1"


class SiteError(Exception):
    """The site could not be built or served; the message is one line that says why."""


def build(root: Path | None = None, to: Path | None = None) -> Path:
    """Builds the site, strictly: a warning is an error.

    Args:
        root: The checkout; by default the current folder.
        to: Where the site goes; by default `site/` in the checkout.

    Returns:
        The folder of the built site.

    Raises:
        SiteError: This is no checkout, the `site` extra is missing, or a page cannot be built.
    """
    configuration = _configuration(root)
    _silence_banner()
    try:
        from mkdocs.commands.build import build as mkdocs_build
        from mkdocs.config import load_config
        from mkdocs.exceptions import MkDocsException
    except ImportError:
        raise SiteError("building the site needs MkDocs: pip install 'failwell[site]'") from None
    try:
        config = load_config(str(configuration), strict=True, **({"site_dir": str(to)} if to else {}))
        config.plugins.on_startup(command="build", dirty=False)
        try:
            mkdocs_build(config)
        finally:
            config.plugins.on_shutdown()
    except (MkDocsException, OSError) as error:
        raise SiteError(f"the site was not built: {_first_cause(error)}") from error
    return Path(config.site_dir)


def serve(root: Path | None = None, port: int = 8000) -> None:
    """Builds the site, serves it on this machine only, prints its address, and builds again when a page changes.

    Args:
        root: The checkout; by default the current folder.
        port: The preferred port. If it is taken, another one is used.

    Raises:
        SiteError: As for `build`.
    """
    configuration = _configuration(root)
    _silence_banner()
    try:
        from mkdocs.commands.serve import serve as mkdocs_serve
        from mkdocs.exceptions import MkDocsException
    except ImportError:
        raise SiteError("serving the site needs MkDocs: pip install 'failwell[site]'") from None
    print("building the site ...", flush=True)
    server_log = logging.getLogger("mkdocs.livereload")
    server_log.setLevel(logging.INFO)
    server_log.addFilter(_announce)
    try:
        mkdocs_serve(str(configuration), dev_addr=f"{HOST}:{_free(port)}")
    except KeyboardInterrupt:
        return
    except MkDocsException as error:
        raise SiteError(f"the site was not built: {_first_cause(error)}") from error


def _first_cause(error: BaseException) -> BaseException:
    """What a page or fragment complained about, beneath MkDocs' "Aborted with a BuildError!"."""
    while error.__context__ is not None and type(error).__module__.startswith("mkdocs"):
        if not type(error.__context__).__module__.startswith("mkdocs"):
            break
        error = error.__context__
    return error


def _configuration(root: Path | None) -> Path:
    configuration = (root or Path.cwd()) / "mkdocs.yml"
    if not configuration.is_file():
        raise SiteError("there is no mkdocs.yml here: run this in a checkout of Failwell")
    return configuration


def _silence_banner() -> None:
    os.environ.setdefault("NO_MKDOCS_2_WARNING", "1")  # Material's, about a version that is pinned out


def _announce(record: logging.LogRecord) -> bool:
    """Says where the site is at the moment when MkDocs' server answers there, in place of its log line."""
    address = re.search(rf"Serving on (http://{re.escape(HOST)}:\d+/)", record.getMessage())
    if address:
        print(f"Failwell is at {address[1]} (Ctrl-C stops it)", flush=True)
    return address is None and record.levelno > logging.INFO


def _free(port: int) -> int:
    for candidate in (port, 0):
        with socket.socket() as probe:
            if sys.platform != "win32":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, candidate))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SiteError(f"no free port on {HOST}")
