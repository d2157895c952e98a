"""A hook of MkDocs: the drawings that pages offer for download become files of the site."""

# MkDocs is half typed:
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from failwell.site.fragments.patterns import files


def on_files(files_: Files, /, *, config: MkDocsConfig, **_: object) -> Files:
    """Adds every drawing in every format, made from the same graphs as the pages."""
    for path, content in files().items():
        files_.append(File.generated(config, path, content=content))
    return files_
