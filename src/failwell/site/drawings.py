"""A hook of MkDocs: the drawings that pages offer for download become files of the site."""

# MkDocs is half typed:
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import json
from typing import cast

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from failwell.site.fragments.patterns import files
from failwell.site.plugin import FailwellPlugin


def on_files(files_: Files, /, *, config: MkDocsConfig, **_: object) -> Files:
    """Adds every drawing in every format, made from the same graphs as the pages."""
    kept = cast(FailwellPlugin, config.plugins["failwell"]).kept
    texts: dict[str, str] = json.loads(kept.get("drawings", _texts))
    for path, text in texts.items():
        files_.append(File.generated(config, path, content=text))
    return files_


def _texts() -> str:
    return json.dumps({path: content.decode() for path, content in files().items()})
